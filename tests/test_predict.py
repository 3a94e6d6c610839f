"""Tests of predict and images: own images of every kind, hostile ones too, are made to fit, classified and drawn."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import warnings
import zlib

import hypothesis
import numpy as np
import paddle
import pytest
from helpers import long_test, run_measured
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_main import ROOT, Place, as_main

from config import get_config
from data_loader import get_test
from model import Noise, draw_noise
from modules import Geometry, Retina
from ram.build import build, build_model, complete
from ram.data import conversion, fitting, images, jpeg
from ram.data.images import BadImage
from ram.data.sources import DATASETS
from ram.runs import checkpoint
from ram.runs.find import find
from ram.runs.weights import read
from ram.use import predict

posix = pytest.mark.skipif(os.name != "posix", reason="links and pipes of POSIX")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_mnist):
    """A place with a small trained model: the lighter an image, the higher its class."""
    place = Place(tmp_path_factory.mktemp("predict") / "place", tiny_mnist.folder)
    with tiny_mnist.registered():  # for no longer: other tests mean the real MNIST
        place.run("--epochs=20")
    return place


@pytest.fixture
def own(tmp_path):
    """A folder for own images."""
    folder = tmp_path / "own"
    folder.mkdir()
    return folder


def write_grey(path, level=100, size=(28, 28), seed=0):
    """A grey image with some noise, width first; returns its pixels."""
    noise = np.random.default_rng(seed).integers(-5, 6, size[::-1])
    pixels = np.clip(level + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def records(trained, capsys, *flags, status=0):
    """The objects that --json prints, by the name of the image."""
    found, out, _ = as_main(capsys, trained, "--json", *map(str, flags))
    assert found == status
    return {os.path.basename(record["image"]): record for record in map(json.loads, out.splitlines())}


# ---- what is computed


def test_prediction_is_the_mean_of_m_plain_rollouts(trained, own, capsys):
    pixels = write_grey(own / "a.png")
    record = records(trained, capsys, "--M=7", "--random_seed=3", "--fit=False", "--predict", own / "a.png")["a.png"]
    config = get_config(trained.arguments())
    content = checkpoint.read(str(trained.best))
    model = build(read(str(trained.best)), config)
    model.locator.std = content["settings"]["std"]
    noise = draw_noise(7, 3, "predict", 3, zlib.crc32(pixels.tobytes()))
    copies = paddle.to_tensor(np.repeat(pixels[None, None], 7, axis=0))
    rollout = model.plain_rollout(copies, Noise(*map(paddle.to_tensor, noise)))
    expected = np.exp(rollout.log_probs.numpy()).mean(axis=0)
    np.testing.assert_allclose(record["probabilities"], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(record["path"], rollout.locations.numpy()[0], rtol=1e-4, atol=1e-5)
    assert record["label"] == expected.argmax() and record["class"] == str(expected.argmax())
    assert record["probability"] == max(record["probabilities"])
    assert sum(record["probabilities"]) == pytest.approx(1)


def test_test_images_are_classified_as_well_as_by_the_test(trained, own, capsys, tiny_mnist):
    arrays = tiny_mnist.arrays
    for number, pixels in enumerate(arrays["test_images"]):
        Image.fromarray(pixels).save(own / f"{number:03d}.png")
    answers = records(trained, capsys, "--save_pictures=False", "--fit=False", "--predict", own)
    found = [record["label"] for _, record in sorted(answers.items())]
    with tiny_mnist.registered():
        _, out, _ = as_main(capsys, trained, "--is_train=False")
    correct = (np.array(found) == arrays["test_labels"]).sum()
    assert correct == pytest.approx(int(out.split("Test Acc: ")[1].split("/")[0]), abs=5) and correct > 50


def test_what_else_is_predicted_changes_no_bit(trained, own, capsys):
    for number, name in enumerate("abc"):
        write_grey(own / f"{name}.png", 60 * number + 30, seed=number)
    (own / "broken.png").write_text("no image")
    together = records(trained, capsys, "--fit=False", "--predict", own, status=1)
    assert list(together) == ["a.png", "b.png", "c.png"]
    alone = records(trained, capsys, "--fit=False", "--predict", own / "b.png")
    assert alone["b.png"] == together["b.png"]
    assert (
        records(trained, capsys, "--random_seed=2", "--fit=False", "--predict", own / "b.png")["b.png"]
        != alone["b.png"]
    )


@pytest.mark.parametrize("flags", [["--M=1"], ["--M=10"], ["--M=100"], ["--locations=mean"]], ids=lambda f: f[0])
def test_no_company_of_images_changes_a_bit(flags, real_mnist):
    config = get_config(["--preset=mnist", "--ckpt_dir=./none", "--predict=x", *flags])
    model = build(complete(find(config), config), config)
    check_company(model, config, get_test(real_mnist()).images[: 700 // config.M])


def test_no_company_of_images_changes_a_bit_of_convolutions():
    config = get_config(["--glimpse_network=conv", "--num_patches=2", "--glimpse_scale=2", "--predict=x"])
    model = build_model(config, (1, 28, 28), 10)
    model.initialize(1)
    check_company(model, config, np.random.default_rng(0).integers(0, 256, (70, 1, 28, 28), dtype=np.uint8))


def check_company(model, config, some):
    """Predict images in batches that are filled with other images and in another order, and alone."""
    count, order = len(some), np.random.default_rng(0).permutation(len(some))
    arguments = config.num_glimpses, config.M, config.locations, 1
    together = predict.look(model, some, *arguments)
    for indices in (order, order[: count // 2], *order[:5, None]):
        for index, answer in zip(indices, predict.look(model, some[indices], *arguments)):
            assert (answer.probabilities == together[index].probabilities).all()
            assert (answer.locations == together[index].locations).all()


def test_a_file_that_is_named_twice_is_answered_twice(trained, own, capsys):
    path = str(own / "a.png")
    write_grey(path)
    status, out, _ = as_main(capsys, trained, "--fit=False", "--predict", str(own / "b.png"), path, path, path)
    assert status == 1 and sum(line.startswith(path) for line in out.splitlines()) == 3


def test_copies_that_do_not_fit_into_memory_at_once_give_the_same(trained, own, capsys, monkeypatch):
    write_grey(own / "a.png")
    at_once = records(trained, capsys, "--M=9", "--fit=False", "--predict", own)["a.png"]
    monkeypatch.setattr(predict, "PIXELS_AT_ONCE", 4 * 28 * 28)
    apart = records(trained, capsys, "--M=9", "--fit=False", "--predict", own)["a.png"]
    np.testing.assert_allclose(apart["probabilities"], at_once["probabilities"], rtol=1e-4)
    np.testing.assert_allclose(apart["path"], at_once["path"], atol=1e-5)


def test_mean_locations_start_in_the_middle_and_need_no_seed(trained, own, capsys):
    write_grey(own / "a.png")
    one, two = (
        records(trained, capsys, "--locations=mean", *flags, "--fit=False", "--predict", own)["a.png"]
        for flags in (["--M=5"], ["--random_seed=9"])
    )
    assert one == two and one["path"][0] == [0, 0] and len(one["path"]) == 3


# ---- what is printed and written


def test_line_for_people(trained, own, capsys):
    write_grey(own / "my digit.png")
    status, out, err = as_main(capsys, trained, "--fit=False", "--predict", str(own / "my digit.png"))
    record = records(trained, capsys, "--fit=False", "--predict", own)["my digit.png"]
    path = " ".join(f"({x:.2f},{y:.2f})" for x, y in record["path"])
    picture = trained.plots / "predict" / "my digit_path.png"
    percent = f"{100 * record['probability']:.2f} %"
    assert status == 0 and err == ""
    assert out.splitlines()[-1] == f"{own / 'my digit.png'}: {record['class']} ({percent}), path {path}, {picture}"


def test_json_is_alone_on_the_standard_output_of_a_process(trained, own):
    write_grey(own / "a.png")
    (own / "b.png").write_text("no image")
    status, out, err = trained.call("--use_gpu=True", "--json", "--fit=False", "--predict", str(own))
    assert status == 1 and json.loads(out)["image"] == str(own / "a.png")
    assert f"main.py: skipped {own / 'b.png'}: it is no image" in err and "Traceback" not in err


def test_names_that_the_terminal_cannot_write_are_escaped(trained, own, monkeypatch):
    write_grey(own / "\u732b.png")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    status, out, err = trained.call("--fit=False", "--predict", str(own / "\u732b.png"))
    assert status == 0 and r"\u732b.png: " in out, err


@posix
def test_names_that_would_break_a_line_are_escaped(trained, own, capsys):
    write_grey(own / "a\nb.png")
    _, out, _ = as_main(capsys, trained, "--fit=False", "--predict", str(own))
    assert r"a\nb.png" in out and "a\nb" not in out
    assert "a\nb.png" in records(trained, capsys, "--fit=False", "--predict", own)


def test_pictures_show_the_path_and_replace_nothing(trained, own, capsys):
    (own / "other").mkdir()
    write_grey(own / "a.png")
    write_grey(own / "other" / "a.png", 200)
    found = [
        json.loads(line)
        for line in as_main(capsys, trained, "--json", "--fit=False", "--predict", str(own))[1].splitlines()
    ]
    pictures = [record["picture"] for record in found]
    assert [os.path.basename(path) for path in pictures] == ["a_path.png", "a_path-2.png"]
    with Image.open(pictures[0]) as picture:
        assert picture.size == (448, 448)
        colours = {colour for _, colour in picture.convert("RGB").getcolors(10**6)}
    assert {(0xE6, 0x9F, 0x00), (0x56, 0xB4, 0xE9)} <= colours
    before = open(pictures[0], "rb").read()
    again = records(trained, capsys, "--fit=False", "--predict", own / "a.png", pictures[0])
    assert again["a.png"]["picture"].endswith("a_path-2.png") and open(pictures[0], "rb").read() == before
    assert records(trained, capsys, "--fit=False", "--predict", own / "a.png")["a.png"]["picture"] == pictures[0]
    write_grey(pictures[0])  # a picture of the user's own, in the place of an earlier one
    others = open(pictures[0], "rb").read()
    again = records(trained, capsys, "--fit=False", "--predict", own / "a.png")
    assert again["a.png"]["picture"].endswith("a_path-2.png") and open(pictures[0], "rb").read() == others


def test_box_lies_where_the_retina_looks(own):
    path = str(own / "a.png")
    predict.save_picture(path, np.zeros((3, 28, 56), np.uint8), np.array([[0.0, 0.5]]), Geometry(8, 1, 1))
    pixels = np.asarray(
        Image.open(path).convert("RGB")
    )  # 8 times as large: the patch begins at column 28 - 4 and row 21 - 4
    assert pixels.shape == (224, 448, 3)
    rows, columns = np.nonzero((pixels == (0x56, 0xB4, 0xE9)).all(axis=2))
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (17 * 8, 25 * 8, 24 * 8, 32 * 8)


@pytest.mark.parametrize("colors, mode", [(1, "P"), (253, "P"), (254, "RGB"), (784, "RGB")])
def test_pictures_show_the_very_pixels_whatever_their_colors(own, colors, mode):
    path, random = str(own / "a.png"), np.random.default_rng(colors)
    codes = np.resize(random.choice(2**24, colors, replace=False), (28, 28))
    image = np.stack([codes >> 16, codes >> 8 & 255, codes & 255]).astype(np.uint8)
    for channels in (image, image[:1]):
        predict.save_picture(path, channels, np.zeros((0, 2)), None)
        with Image.open(path) as picture:
            assert picture.mode == (mode if channels is image else "P" if colors == 1 else picture.mode)
            shown = np.asarray(picture.convert("RGB"))[8::16, 8::16].transpose(2, 0, 1)
        assert (shown == channels).all()


def locations_at_borders(size, unit_pixels):
    """Coordinates in [-1, 1] on every border between two pixels of `size`, and the float32 numbers next to them."""
    unit = size / 2 if unit_pixels is None else unit_pixels
    exact = ((np.arange(size + 1) - size / 2) / unit).astype(np.float32)
    around = np.concatenate([exact, *(np.nextafter(exact, np.float32(to)) for to in (-2, 2))])
    return around[np.abs(around) <= 1]


@pytest.mark.parametrize("unit_pixels", [None, 13.0, 26.0])
@pytest.mark.parametrize(
    "g, H, W", [(8, 28, 28), (5, 28, 28), (8, 27, 41), (3, 45, 20), pytest.param(12, 60, 60, marks=long_test())]
)
def test_frames_surround_the_very_pixels_that_the_retina_reads(g, H, W, unit_pixels):
    columns, rows = locations_at_borders(W, unit_pixels), locations_at_borders(H, unit_pixels)
    count = max(len(columns), len(rows))
    locations = np.stack([np.resize(columns, count), np.resize(rows, count)], 1)
    numbers = np.stack(np.meshgrid(np.arange(1, W + 1), np.arange(1, H + 1))).astype(np.float32)  # x + 1, y + 1
    images = paddle.to_tensor(np.repeat(numbers[None], count, axis=0))
    seen = Retina(g, 1, 1, unit_pixels).foveate(images, paddle.to_tensor(locations)).numpy().reshape(count, 2, g * g)
    for location, patch in zip(locations, seen):
        picture = Image.new("RGB", (W * 8, H * 8))
        predict.draw_path(picture, location[None], (H, W), 8, Geometry(g, 1, 1, unit_pixels))
        y, x = np.nonzero((np.asarray(picture) == (0x56, 0xB4, 0xE9)).all(axis=2))
        framed = [x.min() // 8 + 1, x.max() // 8 + 1, y.min() // 8 + 1, y.max() // 8 + 1]
        inside = patch[:, patch[0] > 0]  # what lies outside the image is 0
        assert framed == [*inside[0][[0, -1]], *inside[1][[0, -1]]], location


def test_only_pictures_are_written(trained, own, capsys):
    write_grey(own / "a.png")
    before = trained.files()
    as_main(capsys, trained, "--fit=False", "--predict", str(own))
    after = trained.files()
    assert {name: content for name, content in after.items() if not name.startswith("plots/predict")} == {
        name: content for name, content in before.items() if not name.startswith("plots/predict")
    }


# ---- what is looked for


@posix
def test_folder_is_walked_in_order_without_hidden_files_and_links_out(trained, own, capsys, tmp_path):
    for name in ("b.png", "a.JPG", "sub/c.gif", ".hidden.png", ".dir/d.png", "sub2/e.bmp"):
        (own / name).parent.mkdir(exist_ok=True)
        write_grey(own / name)
    (own / "README.txt").write_text("not looked at")
    outside = tmp_path / "outside"
    outside.mkdir()
    write_grey(outside / "secret.png")
    (own / "out.png").symlink_to(outside / "secret.png")
    (own / "outdir").symlink_to(outside)
    (own / "loop").symlink_to(own)
    (own / "within.png").symlink_to(own / "b.png")
    status, out, err = as_main(capsys, trained, "--json", "--fit=False", "--predict", str(own))
    names = [os.path.relpath(json.loads(line)["image"], own) for line in out.splitlines()]
    assert names == ["a.JPG", "b.png", "within.png", "sub/c.gif", "sub2/e.bmp"]
    assert status == 1 and err.count("main.py: skipped") == 2
    assert f"skipped {own / 'out.png'}: it is a link out of" in err and f"skipped {own / 'outdir'}: it is" in err


def test_pictures_of_earlier_answers_are_no_images(trained, own, capsys):
    write_grey(own / "a.png")
    flags = ["--json", "--fit=False", f"--plots_dir={own / 'plots'}", "--predict"]
    for _ in range(2):
        status, out, _ = as_main(capsys, trained, *flags, str(own))
        assert status == 0 and [json.loads(line)["image"] for line in out.splitlines()] == [str(own / "a.png")]
    write_grey(own / "plots" / "predict" / "mine.png")
    status, out, _ = as_main(capsys, trained, *flags, str(own))
    names = [os.path.basename(json.loads(line)["image"]) for line in out.splitlines()]
    assert status == 0 and names == ["a.png", "mine.png"]
    (own / "plots" / "predict" / "mine.png").unlink()
    (own / "plots" / "predict" / "mine_path.png").unlink()
    status, out, _ = as_main(capsys, trained, *flags, str(own / "plots" / "predict"))  # unless they are asked for
    assert status == 0 and json.loads(out)["image"] == str(own / "plots" / "predict" / "a_path.png")


def test_the_longest_names_have_pictures_too(trained, own, capsys):
    names = ["\U0001f600" * 62 + ".png", "a" * 251 + ".png"]
    for name in names:
        write_grey(own / name)
    status, out, _ = as_main(capsys, trained, "--json", "--fit=False", "--predict", str(own))
    found = {os.path.basename(record["image"]): record["picture"] for record in map(json.loads, out.splitlines())}
    assert status == 0 and set(found) == set(names) and all(map(os.path.exists, found.values()))


def test_nothing_to_predict_is_said(trained, own, capsys):
    status, out, err = as_main(capsys, trained, "--fit=False", "--predict", str(own), str(own / "absent.png"))
    assert status == 1 and f"skipped {own}: there is no image in it" in err
    assert f"skipped {own / 'absent.png'}: No such file or directory" in err


def test_no_model_is_an_error(trained, own, capsys, tmp_path, tiny_mnist):
    write_grey(own / "a.png")
    status, out, err = as_main(
        capsys, Place(tmp_path / "empty", tiny_mnist.folder), "--fit=False", "--predict", str(own)
    )
    assert status == 2 and "nothing to predict with" in err


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"classes": ["a", "b"]}, "10 classes"),
        ({"classes": 5}, "10 classes"),
        ({"image_shape": [2, 28, 28]}, "(2, 28, 28)"),
        ({"image_shape": [1, 10**9, 10**9]}, "1000000000"),
        ({"image_shape": "large"}, "large"),
    ],
)
def test_checkpoint_that_contradicts_itself_is_refused(trained, own, capsys, tmp_path, change, expected):
    write_grey(own / "a.png")
    content = {**checkpoint.read(str(trained.best)), **change}
    checkpoint.write(str(tmp_path / "odd.pdparams"), content)
    status, _, err = as_main(
        capsys, trained, f"--weights={tmp_path / 'odd.pdparams'}", "--fit=False", "--predict", str(own)
    )
    assert status == 2 and err.startswith("main.py: ") and err.count("\n") == 1
    assert expected in err and "odd.pdparams" in err


def test_names_of_classes_come_from_the_checkpoint_or_the_data_set(trained, own, capsys, tmp_path):
    write_grey(own / "a.png")
    content = checkpoint.read(str(trained.best))
    del content["classes"], content["image_shape"]  # as in files that were written before these were
    fashion = {**content["settings"], "dataset": "fashion_mnist"}
    digits, clothes = (list(DATASETS[name].classes) for name in ("mnist", "fashion_mnist"))
    own_names = list("zyxwvutsrq")
    for name, changes, expected in (
        ("old", {}, digits),
        ("fashion", {"settings": fashion}, clothes),
        ("own", {"classes": own_names, "settings": fashion}, own_names),
    ):
        path = tmp_path / f"{name}.pdparams"
        checkpoint.write(str(path), {**content, **changes})
        record = records(trained, capsys, f"--weights={path}", "--fit=False", "--predict", own)["a.png"]
        assert record["class"] == expected[record["label"]]
    paddle.save({name: paddle.to_tensor(value) for name, value in content["ema"].items()}, str(tmp_path / "bare"))
    assert records(trained, capsys, f"--weights={tmp_path / 'bare'}", "--fit=False", "--predict", own)["a.png"][
        "class"
    ].isdigit()


# ---- images of every kind


def test_every_way_to_store_a_grey_image_gives_the_same_pixels(own):
    pixels = write_grey(own / "8bit.png", 100)
    image = Image.fromarray(pixels)
    Image.fromarray(pixels.astype(np.uint16) * 257).save(own / "16bit.png")
    Image.fromarray(pixels.astype(np.uint16) * 257).save(own / "16bit.tif")
    Image.fromarray(pixels.astype(np.float32)).save(own / "float.tif")
    Image.fromarray(pixels.astype(np.float32) / 255).save(own / "unit.tif")
    image.convert("RGB").save(own / "rgb.png")
    image.convert("RGBA").save(own / "rgba.png")
    image.convert("LA").save(own / "la.png")
    image.convert("P").save(own / "p.png")
    image.convert("RGB").quantize(256).save(own / "palette.gif")
    image.save(own / "bmp.bmp")
    image.save(own / "webp.webp", lossless=True)
    for path in sorted(own.iterdir()):
        found = images.read(str(path), 1)
        assert found.dtype == np.uint8 and found.shape == (1, 28, 28), path.name
        assert np.abs(found[0].astype(int) - pixels).max() <= 1, path.name
        colour = images.read(str(path), 3)
        assert colour.shape == (3, 28, 28) and np.abs(colour.astype(int) - pixels).max() <= 1, path.name


def test_colour_becomes_luminance_for_a_grey_model_only(own):
    Image.new("RGB", (5, 4), (200, 100, 50)).save(own / "a.png")
    assert images.read(str(own / "a.png"), 3)[:, 0, 0].tolist() == [200, 100, 50]
    assert abs(int(images.read(str(own / "a.png"), 1)[0, 0, 0]) - (0.299 * 200 + 0.587 * 100 + 0.114 * 50)) <= 1
    Image.new("CMYK", (5, 4), (0, 0, 0, 255)).save(own / "a.tif")
    assert images.read(str(own / "a.tif"), 3).max() == 0


@pytest.mark.parametrize("ink, background", [(0, 255), (255, 0), (60, 255), (200, 0)])
def test_transparency_gets_a_background_that_differs_from_what_is_drawn(own, ink, background):
    for mode, colour in (("RGBA", (ink, ink, ink)), ("LA", (ink,))):
        image = Image.new(mode, (20, 20), (*[0] * len(colour), 0))
        image.paste((*colour, 255), (5, 5, 10, 15))
        image.save(own / f"{mode}.png")
        pixels = images.read(str(own / f"{mode}.png"), 1)[0]
        assert pixels[0, 0] == background and pixels[7, 7] == ink


def test_photograph_is_turned_as_the_camera_was_held(own):
    image = Image.new("L", (30, 20), 0)
    image.paste(255, (0, 0, 30, 5))  # light above
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    image.save(own / "a.jpg", exif=exif, quality=95)
    pixels = images.read(str(own / "a.jpg"), 1)[0]
    assert pixels.shape == (30, 20) and pixels[:, -3:].min() > 200 and pixels[:, :10].max() < 50


def test_large_images_are_shrunk_and_extreme_ones_survive(own):
    for size in ((5000, 300), (1, 9000), (2049, 1), (2048, 2048)):
        Image.new("L", size, 77).save(own / "a.png")
        pixels = images.read(str(own / "a.png"), 1, images.LONGEST)
        assert max(pixels.shape) <= images.LONGEST and (pixels == 77).all()
        for fitted in (fitting.fit(pixels, 28, 28), fitting.fit_drawing(pixels, 28, 20)):
            assert fitted.shape == (1, 28, 28)


def test_fit_keeps_the_aspect_in_the_middle_of_black():
    image = np.full((3, 10, 20), 200, np.uint8)
    fitted = fitting.fit(image, 40, 40)
    assert (fitted[:, 10:30] == 200).all() and not fitted[:, :10].any() and not fitted[:, 30:].any()
    small = fitting.fit(image, 40, 40, enlarge=False)
    assert (small[:, 15:25, 10:30] == 200).all() and small.sum() == image.sum()
    assert fitting.fit(image, 5, 5, enlarge=False).shape == (3, 5, 5)
    np.testing.assert_array_equal(fitting.fit(image, 10, 20), image)


# ---- digits


def digit(size=(400, 300), at=(60, 90), scale=10):
    """A drawn seven, light on dark, in float 0 to 1: strokes of a known shape at a known place."""
    pixels = np.zeros(size[::-1])
    x, y = at
    pixels[y : y + 2 * scale, x : x + 12 * scale] = 1
    pixels[y : y + 18 * scale, x + 10 * scale : x + 12 * scale] = 1
    return pixels


def test_drawing_is_cut_out_scaled_to_20_pixels_and_centred_by_mass():
    fitted = [
        fitting.fit_drawing(np.rint(255 * digit(size, at, scale)).astype(np.uint8)[None], 28, 20)
        for size, at, scale in (((400, 300), (60, 90), 10), ((900, 900), (500, 20), 25), ((300, 220), (150, 5), 10))
    ]
    for image in fitted:
        rows, columns = np.flatnonzero(image[0].any(axis=1)), np.flatnonzero(image[0].any(axis=0))
        assert rows[-1] - rows[0] + 1 == 20 and columns[-1] - columns[0] + 1 == 13 and image.max() == 255
        mass = image[0] / image.sum()
        assert abs((mass.sum(axis=1) * np.arange(28)).sum() - 14) <= 0.51
        assert abs((mass.sum(axis=0) * np.arange(28)).sum() - 14) <= 0.51
        assert np.abs(image.astype(int) - fitted[0]).mean() < 1


def test_photograph_of_a_drawing_gives_nearly_the_drawing():
    ink = digit()
    expected = fitting.fit_drawing(np.rint(255 * ink).astype(np.uint8)[None], 28, 20)
    random = np.random.default_rng(0)
    light = np.linspace(190, 235, 400) + random.normal(0, 4, (300, 400))  # uneven and noisy
    photo = np.clip(light * (1 - ink) + 40 * ink, 0, 255).astype(np.uint8)[None]
    assert fitting.is_dark_on_light(photo) and not fitting.is_dark_on_light(255 - photo)
    assert np.abs(fitting.fit_drawing(255 - photo, 28, 20).astype(int) - expected).mean() < 4


def test_nothing_drawn_is_fitted_whole():
    grey = np.full((1, 50, 100), 90, np.uint8)
    np.testing.assert_array_equal(fitting.fit_drawing(grey, 28, 20), fitting.fit(grey, 28, 28))
    assert not fitting.is_dark_on_light(grey) and not fitting.is_dark_on_light(np.full((1, 9, 9), 255, np.uint8))


def test_real_digits_come_back_from_large_dark_on_light_pictures(real_mnist):
    originals = get_test(real_mnist()).images[:300, 0]
    for original in originals:
        large = np.full((1, 400, 330), 255, np.uint8)
        large[0, 60:340, 40:320] = 255 - original.repeat(10, axis=0).repeat(10, axis=1)
        assert fitting.is_dark_on_light(large) and not fitting.is_dark_on_light(original[None])
        again = fitting.fit_drawing(255 - large, 28, 20)[0].astype(int)
        # what is faint at the edge of a stroke was taken for paper, so a digit may grow or move by a pixel
        shifts = [np.roll(again, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
        assert min(np.abs(shifted - original).mean() for shifted in shifts) < 0.5 * original.mean()


def test_invert_decides_and_is_automatic_where_it_is_plain(own):
    config = get_config(["--fit=False", "--predict=x"])
    for name, level in (("light.png", 0), ("dark.png", 255)):
        pixels = np.full((28, 28), level, np.uint8)
        pixels[10:18, 12:14] = 255 - level
        Image.fromarray(pixels).save(own / name)
    light = predict.prepare(str(own / "light.png"), config, (1, 28, 28))
    np.testing.assert_array_equal(light, predict.prepare(str(own / "dark.png"), config, (1, 28, 28)))
    assert light[0, 0, 0] == 0 and light[0, 12, 12] == 255
    for flag, inverted in (("--invert", True), ("--invert=False", False)):
        config = get_config(["--fit=False", "--predict=x", flag])
        for name, level in (("light.png", 0), ("dark.png", 255)):
            prepared = predict.prepare(str(own / name), config, (1, 28, 28))
            assert prepared[0, 0, 0] == (255 - level if inverted else level)
    folder = get_config(
        ["--fit=False", "--predict=x", "--dataset=folder"]
    )  # such a model may have been trained on dark on light
    assert predict.prepare(str(own / "dark.png"), folder, (1, 28, 28))[0, 0, 0] == 255


def test_what_the_model_sees_depends_on_what_it_was_trained_on(own):
    Image.fromarray(np.rint(255 * digit((40, 30), (5, 5), 1)).astype(np.uint8)).save(own / "a.png")
    seen = {
        dataset: predict.prepare(str(own / "a.png"), get_config(["--predict=x", f"--dataset={dataset}"]), shape)
        for dataset, shape in (
            ("mnist", (1, 28, 28)),
            ("fashion_mnist", (1, 28, 28)),
            ("translated_mnist", (1, 60, 60)),
            ("folder", (3, 60, 60)),
        )
    }
    heights = {name: np.ptp(np.flatnonzero((image > 60).any(axis=(0, 2)))) + 1 for name, image in seen.items()}
    assert heights["mnist"] == 20 and heights["fashion_mnist"] == 28
    assert heights["translated_mnist"] == 18 and 26 <= heights["folder"] <= 28
    assert seen["folder"].shape == (3, 60, 60)


# ---- hostile files


def png(width, height):
    """A PNG that claims to have so many pixels of one bit."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def encoded(kind, mode="L", **options):
    """A small image as the bytes of a file."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    Image.fromarray(noise).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
HOSTILE = {
    "bomb": (png(60000, 60000), "pixels"),
    "large bomb": (png(12000, 9000), "12000x9000 pixels: at most 100,000,000"),
    "much too little": (png(3000, 3000), "truncated"),
    "text": (b"hello", "no image of a format"),
    "empty": (b"", "no image of a format"),
    "cut JPEG": (encoded("JPEG")[:400], ""),
    "cut PNG": (encoded("PNG")[:400], ""),
    "a program for GhostScript": (EPS, "no image of a format"),
    "archive": (b"PK\x03\x04" + bytes(100), "no image of a format"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_named_and_skipped_and_the_others_predicted(trained, own, capsys, name):
    content, expected = HOSTILE[name]
    (own / "bad.png").write_bytes(content)
    write_grey(own / "good.png")
    status, out, err = as_main(
        capsys, trained, "--json", "--fit=False", "--predict", str(own / "bad.png"), str(own / "good.png")
    )
    assert status == 1 and json.loads(out)["image"] == str(own / "good.png")
    assert err.count("skipped") == 1 and f"skipped {own / 'bad.png'}: " in err and expected in err


def test_name_that_lies_about_the_format_does_not_matter(own):
    (own / "a.png").write_bytes(encoded("JPEG", "RGB"))
    assert images.read(str(own / "a.png"), 3).shape == (3, 24, 24)


@posix
def test_what_is_no_ordinary_file_is_not_opened(own):
    os.mkfifo(own / "pipe.png")
    for path in (own / "pipe.png", "/dev/zero", own):
        with pytest.raises(BadImage, match="no ordinary file"):
            images.read(str(path), 1)


SAMPLES = [
    encoded("PNG"),
    encoded("PNG", "P"),
    encoded("JPEG", "RGB"),
    encoded("GIF", "P"),
    encoded("TIFF", "RGB"),
    encoded("TIFF", "L", compression="tiff_lzw"),
    encoded("BMP", "RGB"),
    encoded("WEBP", "RGB"),
    encoded("PPM", "RGB"),
    encoded("TGA", "RGBA"),
    encoded("ICO", "RGBA"),
    encoded("PCX", "L"),
]


@hypothesis.settings(max_examples=400, deadline=5000)
@given(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    st.floats(0.05, 1),
)
def test_no_damage_gets_through_as_anything_but_bad_image(tmp_path_factory, sample, changes, kept):
    content = bytearray(sample)
    for place, value in changes:
        content[int(place * min(len(content), 200))] = value  # most of a header
    path = tmp_path_factory.getbasetemp() / "damaged.png"
    path.write_bytes(content[: max(1, int(kept * len(content)))])
    for channels in (1, 3):
        try:
            pixels = images.read(str(path), channels, images.LONGEST)
        except BadImage as error:
            assert "\n" not in str(error) and str(error)
            continue
        assert pixels.dtype == np.uint8 and pixels.shape[0] == channels and max(pixels.shape) <= images.LONGEST
        assert fitting.fit(pixels, 28, 28).shape == (channels, 28, 28)


@posix
def test_reader_that_leaves_early_ends_it_quietly(trained, own):
    for number in range(300):
        write_grey(own / f"{number}.png", seed=number)
    process = trained.start("--json", "--fit=False", "--predict", str(own))
    assert json.loads(process.stdout.readline())
    process.stdout.close()
    error = process.stderr.read()
    assert process.wait(timeout=60) == 141 and "Traceback" not in error
    process.stderr.close()


def test_importing_predict_changes_no_limit_of_pillow():
    code = "from PIL import Image; before = Image.MAX_IMAGE_PIXELS; from ram.data import images; "
    code += "assert before == Image.MAX_IMAGE_PIXELS"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# ---- patterns, and answers without pictures


def test_patterns_that_no_shell_expanded_are_expanded(trained, own, capsys):
    (own / "deep" / "er").mkdir(parents=True)
    for name in ("b1.png", "b2.png", "c1.bmp", "b[3].png", "deep/er/b4.png"):
        write_grey(own / name)
    for pattern, expected in (
        ("b?.png", ["b1.png", "b2.png"]),
        ("*1.*", ["b1.png", "c1.bmp"]),
        ("b[3].png", ["b[3].png"]),  # a file of that very name
        ("[bc]1.???", ["b1.png", "c1.bmp"]),
        ("**/b4.png", ["b4.png"]),
        ("d*", ["b4.png"]),  # a folder
    ):
        assert list(records(trained, capsys, "--fit=False", "--predict", own / pattern)) == expected, pattern
    status, out, err = as_main(capsys, trained, "--fit=False", "--predict", str(own / "z*.png"))
    assert status == 1 and f"skipped {own / 'z*.png'}: No such file" in err


def test_answers_without_pictures(trained, own, capsys, tmp_path):
    write_grey(own / "a.png")
    flags = [f"--plots_dir={tmp_path / 'none'}", "--fit=False", "--save_pictures=False", "--predict", str(own)]
    status, out, _ = as_main(capsys, trained, *flags)
    assert status == 0 and out.splitlines()[-1].endswith(")") and "_path.png" not in out
    record = records(trained, capsys, *flags)["a.png"]
    assert record["picture"] is None and not (tmp_path / "none").exists()
    assert record["label"] == records(trained, capsys, "--fit=False", "--predict", own)["a.png"]["label"]


# ---- photographs of more than 100 megapixels


def large_photograph(path, size, **options):
    """A JPEG of so many pixels, with a dark seven on light paper; made from strips, so that little memory is used."""
    picture = Image.new("L", size, 230)
    w, h = size
    picture.paste(30, (w // 3, h // 4, 2 * w // 3, h // 4 + h // 16))
    picture.paste(30, (2 * w // 3 - w // 20, h // 4, 2 * w // 3, 3 * h // 4))
    picture.save(path, "JPEG", quality=40, **options)


@posix
@pytest.mark.parametrize("size", [*long_test((12032, 9024)), (16000, 12400)])  # 108 and 198 megapixels
def test_large_baseline_jpeg_is_decoded_small(trained, own, size):
    large_photograph(own / "a.jpg", size)
    flags = trained.arguments("--use_gpu=False", "--save_pictures=False", "--predict", str(own / "a.jpg"))
    command = [sys.executable, str(ROOT / "main.py"), *flags]
    status, text, peak = run_measured(command, cwd=ROOT)
    assert status == 0 and "a.jpg: " in text, text
    assert peak < 1e9, peak


@pytest.mark.parametrize(
    "kind, size, options", [("progressive", (10016, 10016), {"progressive": True}), ("too large", (16000, 12512), {})]
)
def test_large_files_of_other_kinds_are_refused_and_told_the_remedy(own, kind, size, options):
    large_photograph(own / "a.jpg", (64, 64), **options)
    content = bytearray((own / "a.jpg").read_bytes())
    at = content.index(b"\xff\xc2" if options else b"\xff\xc0")
    content[at + 5 : at + 9] = struct.pack(">HH", *size[::-1])
    (own / "a.jpg").write_bytes(content)
    with pytest.raises(BadImage, match="save it smaller"):
        images.read(str(own / "a.jpg"), 1, images.LONGEST)


@pytest.mark.parametrize("kind", ["WEBP", "JPEG2000", "AVIF", "TIFF"])
def test_formats_whose_decoders_take_much_memory_are_read_up_to_fewer_pixels(own, monkeypatch, kind):
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {kind}")
    ink = Image.new("L", (120, 100), 250)
    ink.paste(20, (50, 20, 60, 80))
    options = {"strip_size": 2**30, "compression": "tiff_lzw"} if kind == "TIFF" else {}
    ink.convert("RGB").save(own / "a", kind, **options)
    assert images.read(str(own / "a"), 1, images.LONGEST).shape == (1, 100, 120)
    monkeypatch.setattr(images, "MAX_BYTES", 90_000)
    with pytest.raises(BadImage, match="120x100 pixels: at most [0-9,]+ of such a file are read; save it smaller"):
        images.read(str(own / "a"), 1, images.LONGEST)
    ink.convert("RGB").save(own / "a", "PNG")
    assert images.read(str(own / "a"), 1, images.LONGEST).shape == (1, 100, 120)


def test_image_inside_an_icon_may_not_be_larger_than_any_other(own):
    inside = png(10000, 9000)
    directory = struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(inside), 22)
    (own / "a.ico").write_bytes(directory + inside)
    with pytest.raises(BadImage, match="far too many pixels"):
        images.read(str(own / "a.ico"), 3, images.LONGEST)


def test_large_jpeg_has_its_own_size_where_nothing_is_shrunk(own):
    large_photograph(own / "a.jpg", (8000, 4000))
    assert images.size(str(own / "a.jpg")) == (4000, 8000)
    assert max(images.read(str(own / "a.jpg"), 1, images.LONGEST).shape) <= images.LONGEST


def test_tiles_of_large_images_give_what_the_whole_image_gives(own, monkeypatch):
    random = np.random.default_rng(2)
    for name, pixels in (
        ("rgb.png", random.integers(0, 256, (53, 37, 3))),
        ("rgba.png", random.integers(0, 256, (37, 53, 4))),
        ("wide.png", random.integers(0, 256, (2, 90))),
    ):
        Image.fromarray(pixels.astype(np.uint8)).save(own / name)
    Image.fromarray(random.integers(0, 256, (41, 40, 3), np.uint8)).quantize(20).save(own / "palette.gif")
    before = {path: images.read(str(path), 3, 20) for path in own.iterdir()}
    monkeypatch.setattr(conversion, "TILE", 7)
    for path, pixels in before.items():
        np.testing.assert_array_equal(images.read(str(path), 3, 20), pixels)
        assert images.measure(str(path)).color == (path.name != "wide.png")


# Large images that take next to no room in a file, each in a process that may take 700 MB more than when it starts.
MODEST = """
import resource, sys
import main
from ram.data import images
with open("/proc/self/statm") as statm:
    used = int(statm.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 700 * 10**6, used + 700 * 10**6))
for channels in (1, 3):
    images.read(sys.argv[1], channels, images.LONGEST)
images.measure(sys.argv[1])
"""


def large_png(path, color, channels, *extra):
    """A PNG of 100 million pixels of 8 bits."""
    packer, row = zlib.compressobj(1), bytes(1 + 10_000 * channels)
    content = b"".join(packer.compress(row) for _ in range(10_000)) + packer.flush()
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 10_000, 10_000, 8, color, 0, 0, 0)), *extra, (b"IDAT", content)]
    chunks = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + b"\0\0\0\0IEND\xaeB\x60\x82")


TRANSPARENT = [(b"PLTE", bytes(range(256)) * 3), (b"tRNS", bytes([0, 128, 255]))]
TURNED = [(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0")]


@long_test()
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads what Linux says of a process")
@pytest.mark.parametrize("color, channels, extra", [(4, 2, []), (6, 4, TURNED), (3, 1, TRANSPARENT)])
def test_hundred_megapixels_take_less_than_700_megabytes(own, color, channels, extra):
    large_png(own / "a.png", color, channels, *extra)
    done = subprocess.run(
        [sys.executable, "-c", MODEST, str(own / "a.png")], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-500:]


def test_baseline_jpeg_whose_colors_come_in_several_scans_is_not_decoded_small(own):
    Image.new("RGB", (64, 64), (200, 10, 90)).save(own / "a.jpg")
    content = (own / "a.jpg").read_bytes()
    with open(own / "a.jpg", "rb") as file:
        assert jpeg.size_in_one_scan(file) == (64, 64)
    scan = content.index(b"\xff\xda")
    several = content[: scan + 4] + b"\x01\x01\x00\x00\x3f\x00" + content[scan + 14 :]
    for damaged in (several, content[:scan], content[:30], b"\xff\xd8" + b"\xff" * 5000, b"", content[:2] + bytes(9)):
        assert jpeg.size_in_one_scan(io.BytesIO(damaged)) is None


def test_reading_a_large_photograph_leaves_pillows_limit_as_it_was(own):
    large_photograph(own / "a.jpg", (11008, 9344))
    before = Image.MAX_IMAGE_PIXELS
    pixels = images.read(str(own / "a.jpg"), 1, images.LONGEST)
    assert images.LONGEST // 2 < max(pixels.shape) <= images.LONGEST and pixels.min() < 60 and pixels.max() > 200
    assert Image.MAX_IMAGE_PIXELS == before
    with pytest.raises(Image.DecompressionBombWarning), warnings.catch_warnings():
        warnings.simplefilter("error")
        Image.open(own / "a.jpg")
