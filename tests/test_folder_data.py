"""Tests of ram.data.folders, and of a data set of one's own through training, resume, test and prediction."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_main import RUN, Place, as_main, refusal

from config import get_config
from data_loader import AugmentedSplit, get_test, get_train_valid
from ram.data import fitting, folders, images, own
from ram.runs import checkpoint
from ram.runs.settings import settings
from utils import UserError

posix = pytest.mark.skipif(os.name != "posix", reason="links of POSIX")


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def write_set(root, part="train", names=("b", "a"), count=4, shape=(6, 5)):
    """Images whose first pixel is ten times the place of their class in `names`, and whose second is their number."""
    for place, name in enumerate(names):
        for number in range(count):
            pixels = np.full(shape, 100)
            pixels[0, 0], pixels[0, 1] = 10 * place, number
            write(root / part / name / f"{number}.png", pixels)


def config_of(root, *flags):
    return get_config(["--dataset=folder", f"--data_dir={root}", *flags])


def load(root, part, image_size=None):
    """Images, labels and classes of a part, as a command would load them."""
    size = [f"--image_size={image_size}"] if image_size else []
    return own.load(config_of(root, *size), (part,)).parts[part]


def error_of(root, part="train", image_size=None):
    with pytest.raises(UserError) as caught:
        load(root, part, image_size)
    message = str(caught.value)
    assert message and "\n" not in message
    return message


# ---- reading


def test_folders_are_classes_and_every_image_is_there_once(tmp_path):
    write_set(tmp_path)
    (tmp_path / "train" / "a" / "notes.txt").write_text("not an image by its name")
    (tmp_path / "train" / "a" / ".thumb.png").write_text("hidden")
    (tmp_path / "train" / ".git").mkdir()
    pixels, labels, classes = load(tmp_path, "train")
    assert classes == ["a", "b"] and pixels.shape == (8, 1, 6, 5) and pixels.dtype == np.uint8
    assert labels.dtype == np.int64
    found = sorted(zip(pixels[:, 0, 0, 0] // 10, pixels[:, 0, 0, 1], labels))
    assert found == [(place, number, 1 - place) for place in (0, 1) for number in range(4)]


def test_order_is_mixed_and_always_the_same(tmp_path):
    write_set(tmp_path, count=30)
    labels = load(tmp_path, "train")[1]
    assert 5 < labels[:20].sum() < 15 and not (np.diff(labels) >= 0).all()
    np.testing.assert_array_equal(labels, load(tmp_path, "train")[1])


def test_one_coloured_image_makes_the_set_coloured(tmp_path):
    write_set(tmp_path)
    write(tmp_path / "train" / "b" / "z.png", np.full((6, 5, 3), (200, 100, 50)))
    write_set(tmp_path, "test")
    for part in ("train", "test"):  # the test images are grey, but the model is one for RGB
        pixels, _, _ = load(tmp_path, part)
        assert pixels.shape[1:] == (3, 6, 5)
        grey = pixels[pixels[:, 0, 1, 1] == 100]
        assert len(grey) == 8 and (grey[:, 0] == grey[:, 1]).all() and (grey[:, 0] == grey[:, 2]).all()


def test_images_of_several_sizes_need_image_size(tmp_path):
    write_set(tmp_path)
    write(tmp_path / "train" / "b" / "wide.png", np.full((10, 20), 200))
    message = error_of(tmp_path)
    assert "--image_size" in message and "10x20" in message and "6x5" in message and "wide.png" in message
    pixels, _, _ = load(tmp_path, "train", 16)
    assert pixels.shape == (9, 1, 16, 16)
    wide = pixels[pixels.max(axis=(1, 2, 3)) == 200][0, 0]
    assert (wide[4:12] == 200).all() and not wide[:4].any() and not wide[12:].any()


def test_parts_have_to_fit_those_of_train(tmp_path):
    write_set(tmp_path)
    write_set(tmp_path, "valid", names=["a"], shape=(7, 7))
    assert "7x7" in error_of(tmp_path, "valid")
    write_set(tmp_path, "test", names=["a", "c"])
    message = error_of(tmp_path, "test")
    assert os.path.join("test", "c") in message and "no class" in message and "a, b" in message


def test_part_may_lack_a_class_but_train_may_not(tmp_path):
    write_set(tmp_path)
    write_set(tmp_path, "test", names=["b"])
    _, labels, classes = load(tmp_path, "test")
    assert classes == ["a", "b"] and labels.tolist() == [1] * 4
    (tmp_path / "train" / "c").mkdir()
    assert os.path.join("train", "c") in error_of(tmp_path)


def test_part_alone_speaks_for_itself(tmp_path):
    write_set(tmp_path, "test", names=["x", "y"])
    pixels, _, classes = load(tmp_path, "test")
    assert classes == ["x", "y"] and pixels.shape == (8, 1, 6, 5)


def test_a_single_class_is_told_where_a_training_begins(tmp_path, capsys):
    write_set(tmp_path, os.path.join("images", "train"), names=["a", "b"])  # as archives often unpack
    get_train_valid(config_of(tmp_path))
    told = f"[!] {tmp_path} has a single class, images: there is nothing to tell apart; if the data set is "
    assert f"{told}{tmp_path / 'images'}, give that as --data_dir\n" in capsys.readouterr().out
    assert get_train_valid(config_of(tmp_path / "images"))[0].classes == ["a", "b"]
    write_set(tmp_path / "one", names=["a"])
    assert "single class" not in capsys.readouterr().out
    get_train_valid(config_of(tmp_path / "one"))
    assert "single class, a: there is nothing to tell apart\n" in capsys.readouterr().out
    write_set(tmp_path / "two", names=["b"], part="")
    get_train_valid(config_of(tmp_path / "two"))
    assert "single class, b: there is nothing to tell apart\n" in capsys.readouterr().out


def test_what_is_missing_is_said(tmp_path):
    assert os.path.join(str(tmp_path), "train") + " does not exist" in error_of(tmp_path)
    (tmp_path / "train").mkdir()
    assert "no folders in it" in error_of(tmp_path)
    (tmp_path / "train" / "a").mkdir()
    assert "no images in it" in error_of(tmp_path)
    write_set(tmp_path, names=["a"])
    message = error_of(tmp_path, "test")
    assert os.path.join(str(tmp_path), "test") + " does not exist: there is train, and " in message
    assert message.endswith("beside that it takes images in " + os.path.join(str(tmp_path), "test", "CLASS") + "/")
    (tmp_path / "test" / "a").mkdir(parents=True)
    assert "no images" in error_of(tmp_path, "test")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_file_that_is_no_image_is_named(tmp_path, content):
    write_set(tmp_path)
    (tmp_path / "train" / "a" / "5.png").write_bytes(content)
    message = error_of(tmp_path)
    assert os.path.join("a", "5.png") in message and "repair or remove it" in message


def test_truncated_image_is_named(tmp_path):
    write_set(tmp_path)
    path = tmp_path / "train" / "a" / "3.png"
    path.write_bytes(path.read_bytes()[:50])
    assert os.path.join("a", "3.png") in error_of(tmp_path)


@posix
def test_links_out_of_the_folder_are_not_followed(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    write_set(root)
    write(elsewhere / "c" / "0.png", np.zeros((6, 5)))
    (root / "train" / "c").symlink_to(elsewhere / "c")
    assert "link out of" in error_of(root) and os.path.join("train", "c") in error_of(root)
    (root / "train" / "c").unlink()
    (root / "train" / "a" / "9.png").symlink_to(elsewhere / "c" / "0.png")
    assert "link out of" in error_of(root) and "9.png" in error_of(root)
    (root / "train" / "a" / "9.png").unlink()
    (root / "train" / "a" / "9.png").symlink_to(root / "train" / "a" / "0.png")
    assert len(load(root, "train")[0]) == 9
    (tmp_path / "link").symlink_to(root)  # the data set itself may be one
    assert len(load(tmp_path / "link", "train")[0]) == 9


def test_set_that_is_too_large_for_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    write_set(tmp_path)
    monkeypatch.setattr(folders, "MAX_BYTES", 8 * 16 * 16)
    assert len(load(tmp_path, "train", 16)[0]) == 8
    message = error_of(tmp_path, image_size=17)
    assert "--image_size" in message and "17x17" in message and "8 images" in message
    monkeypatch.setattr(folders, "MAX_BYTES", 5 * 2**24)
    message = error_of(tmp_path, image_size=4096)  # 0.125 GiB
    assert "take 0.1 GiB of memory" in message and "at most 0.078125 GiB" in message


def test_images_are_not_made_smaller_than_they_are_wanted(tmp_path, monkeypatch):
    write_set(tmp_path)
    stripes = np.tile(np.repeat([0, 200], 2), (21, 6))[:, :21].astype(np.uint8)
    write(tmp_path / "train" / "a" / "0.png", stripes)
    monkeypatch.setattr(images, "LONGEST", 16)
    pixels, _, _ = load(tmp_path, "train", 16)
    wanted = fitting.fit(stripes[None], 16, 16)
    assert any(np.array_equal(image, wanted) for image in pixels), "the stripes, not a gray that was enlarged"


def test_images_that_are_too_large_need_image_size(tmp_path):
    write(tmp_path / "train" / "a" / "0.png", np.zeros((1, 5000)))
    assert "1x5000" in error_of(tmp_path) and "--image_size" in error_of(tmp_path)
    assert load(tmp_path, "train", 8)[0].shape == (1, 1, 8, 8)


# ---- splits


def test_share_of_train_is_held_out_where_there_is_no_valid(tmp_path):
    write_set(tmp_path, count=20)
    train, valid = get_train_valid(config_of(tmp_path, "--valid_size=0.25"))
    assert (len(train), len(valid)) == (30, 10) and train.classes == valid.classes == ["a", "b"]
    assert not set(train.rows) & set(valid.rows)
    assert train.image_shape == valid.image_shape == (1, 6, 5) and train.num_classes == 2


def test_own_validation_images_are_used(tmp_path):
    write_set(tmp_path, count=20)
    write_set(tmp_path, "valid", count=3)
    train, valid = get_train_valid(config_of(tmp_path))
    assert (len(train), len(valid)) == (40, 6)
    pixels, labels = valid.batch(np.arange(6))
    assert (pixels[:, 0, 0, 0] // 10 == 1 - labels).all() and sorted(labels) == [0] * 3 + [1] * 3
    train, valid = get_train_valid(config_of(tmp_path, "--limit=5"))
    assert (len(train), len(valid)) == (5, 5)


def test_test_images(tmp_path):
    write_set(tmp_path)
    write_set(tmp_path, "test", count=2)
    split = get_test(config_of(tmp_path))
    assert len(split) == 4 and split.classes == ["a", "b"]


@pytest.mark.parametrize("affine", [0.0, 10.0])
def test_channels_are_augmented_alike(tmp_path, affine):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 12, 9)).astype(np.uint8)
    for number, planes in enumerate(pixels.transpose(1, 2, 3, 0)):
        write(tmp_path / "train" / "a" / f"{number}.png", planes)
    train, _ = get_train_valid(config_of(tmp_path, f"--augment_rotate={affine}", "--augment_scale=0"))
    assert train.image_shape == (3, 12, 9)
    index = np.arange(len(train))
    coloured = train.batch(index, epoch=3)[0]
    for channel in range(3):
        grey = AugmentedSplit(train, train.seed, train.shift, train.rotate, train.scale, train.shear, flip=train.flip)
        grey.images = train.images[:, channel : channel + 1]
        np.testing.assert_array_equal(coloured[:, channel : channel + 1], grey.batch(index, epoch=3)[0])
    assert (coloured != train.images[train.rows]).any()


# ---- a training on colour


def coloured(colour, number):
    """Pixels (12, 12, 3) of one of two colours of equal luminance: a grey model could not tell them apart."""
    noise = np.random.default_rng(number).integers(-20, 21, (12, 12, 1))
    return np.clip(np.array({"red": (200, 62, 60), "green": (40, 140, 80)}[colour]) + noise, 0, 255)


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """A data set of red and green images."""
    root = tmp_path_factory.mktemp("folder") / "colours"
    for part, count in (("train", 60), ("test", 20)):
        for offset, colour in enumerate(("red", "green")):
            for number in range(count):
                write(root / part / colour / f"{number}.png", coloured(colour, 1000 * offset + number))
    return root


NAME = f"{RUN}_folder_colours"


class Own(Place):
    """A place for runs on a data set of one's own."""

    def __init__(self, root: Path, data: Path):
        super().__init__(root, data)
        self.latest, self.best = self.ckpt / f"{NAME}_ckpt.pdparams", self.ckpt / f"{NAME}_model_best.pdparams"
        self.log = self.logs / f"{NAME}.jsonl"

    def arguments(self, *flags):
        return super().arguments("--dataset=folder", "--epochs=4", *flags)


def test_colour_goes_through_training_resume_test_and_prediction(tmp_path, colours, capsys):
    whole, parts = Own(tmp_path / "whole", colours), Own(tmp_path / "parts", colours)
    constant = ["--lr_schedule=constant", "--std_end=0.11"]  # what does not depend on the number of epochs
    whole.run(*constant)
    parts.run("--epochs=2", *constant)
    parts.run("--resume=True", "--epochs=4")
    for kind in ("model", "ema"):
        ours, theirs = (checkpoint.read(str(place.latest))[kind] for place in (parts, whole))
        assert all((ours[name] == theirs[name]).all() for name in theirs)

    content = checkpoint.read(str(whole.best))
    assert content["classes"] == ["green", "red"] and content["image_shape"] == [3, 12, 12]
    with np.load(whole.plots / NAME / "glimpses_0001.npz") as stored:
        assert stored["images"].shape == (9, 3, 12, 12) and stored["probabilities"].shape == (9, 2)

    _, out, _ = as_main(capsys, whole, "--is_train=False")
    assert "[*] folder_colours test, M=10" in out
    correct, count = map(int, out.split("Test Acc: ")[1].split()[0].split("/"))
    assert count == 40 and correct >= 38

    images = [str(colours / "test" / colour / "0.png") for colour in ("red", "green")]
    status, out, _ = as_main(capsys, whole, "--json", "--predict", *images)
    assert status == 0 and [json.loads(line)["class"] for line in out.splitlines()] == ["red", "green"]
    _, out, _ = as_main(capsys, whole, f"--weights={whole.best}", "--data_dir=elsewhere", "--predict", images[0])
    assert f"{images[0]}: red (" in out

    classes = tmp_path / "classes"
    write_set(classes, "test", names=["red", "blue"], shape=(12, 12, 3))
    message = refusal(whole, "--is_train=False", f"--weights={whole.best}", f"--data_dir={classes}")
    assert "(green, red)" in message and "(blue, red)" in message
    grey = tmp_path / "grey"
    write_set(grey, "test", names=["red", "green"], shape=(12, 12))
    message = refusal(whole, "--is_train=False", f"--weights={whole.best}", f"--data_dir={grey}")
    assert "3 channels" in message
    write_set(tmp_path / "colours", names=["red", "blue"], shape=(12, 12, 3))
    message = refusal(whole, "--resume=True", "--epochs=9", f"--data_dir={tmp_path / 'colours'}")
    assert "blue is new, green is gone, red has 4 images (then 60)" in message


def test_mnist_and_fashion_mnist_have_their_classes(tmp_path, tiny_mnist, capsys):
    place = Place(tmp_path / "place", tiny_mnist.folder)
    with tiny_mnist.registered():
        place.run("--epochs=1", "--limit=64")
        assert checkpoint.read(str(place.best))["classes"] == list("0123456789")
    own = tmp_path / "own"
    write_set(own, names=["a"], shape=(28, 28))
    write_set(own, "test", names=["a"], shape=(28, 28))
    message = refusal(place, "--is_train=False", f"--weights={place.best}", "--dataset=folder", f"--data_dir={own}")
    assert "0, 1, 2" in message and "(a)" in message


def test_image_size_is_kept_by_the_checkpoint(tmp_path, colours, capsys):
    place = Own(tmp_path / "place", colours)
    place.run("--epochs=1", "--image_size=16")
    best = place.ckpt / f"{RUN}_folder16_colours_model_best.pdparams"
    assert checkpoint.read(str(best))["image_shape"] == [3, 16, 16]
    place.arguments = lambda *flags: [f"--plots_dir={place.plots}", "--use_gpu=False", f"--data_dir={colours}", *flags]
    status, out, _ = as_main(capsys, place, "--is_train=False", f"--weights={best}")
    assert status == 0 and "[*] folder16_colours test" in out


def test_missing_test_images_are_an_error_of_one_line(tmp_path, colours):
    place = Own(tmp_path / "place", colours)
    place.run("--epochs=1", "--limit=20")
    small = tmp_path / "colours"
    write(small / "train" / "red" / "0.png", coloured("red", 0))
    assert "test does not exist" in refusal(place, "--is_train=False", f"--data_dir={small}")


def test_class_with_a_single_image_and_a_set_of_one_class(tmp_path):
    write_set(tmp_path / "one", names=["only"], count=3, shape=(12, 12))
    place = Own(tmp_path / "place", tmp_path / "one")
    place.run("--epochs=1", "--valid_size=0.4")
    record = json.loads((place.logs / f"{RUN}_folder_one.jsonl").read_text())
    assert record["val_acc"] == 100


def test_settings_of_a_prediction_are_no_settings_of_a_training():
    kept = settings(get_config(["--predict", "a", "b", "--json", "--invert"]))
    assert not {"predict", "json", "invert"} & set(kept)


def test_scans_of_digits_from_scikit_learn(tmp_path, capsys):
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target)):
        part = "train" if number < 1400 else "test"
        write(tmp_path / "digits" / part / str(label) / f"{number}.png", np.rint(pixels * 255 / 16))
    place = Own(tmp_path / "place", tmp_path / "digits")
    flags = ["--patch_size=4", "--num_glimpses=6", "--glimpse_hidden=64", "--loc_hidden=64", "--hidden_size=128"]
    flags += ["--augment_shift=0", "--epochs=10", "--init_lr=0.003"]
    place.run(*flags)
    _, out, _ = as_main(capsys, place, "--is_train=False", *flags)
    correct, count = map(int, out.split("Test Acc: ")[1].split()[0].split("/"))
    assert count == 397 and correct > 0.5 * count, correct  # ten classes
