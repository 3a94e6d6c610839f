"""Pictures: boxes where the retina reads, numbers that are right, files that open, and bad ones refused in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import paddle
import pytest
from helpers import ROOT, folders
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from PIL import Image

import main
import visualize
from config import get_config
from modules import Geometry, Retina
from ram.draw import figures as pictures
from ram.draw.figures import Curve, Look, Shown, Snapshot
from ram.evaluation import Evaluation, evaluate
from ram.runs import seeds
from utils import UserError

SMALL = "--hidden_size=16 --glimpse_hidden=12 --loc_hidden=8 --num_glimpses=3 --patch_size=6 --use_gpu=False".split()
TWO_SCALES = [*SMALL, "--num_patches=2", "--glimpse_scale=2"]
RUN = "ram_3_6x6_2_k2_h16_g12_l8"
CANVAS = [*SMALL, "--dataset=translated_mnist", "--canvas_size=40"]


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_mnist):
    """A folder with a trained model of two scales and one of canvases, and the flags that keep files there."""
    root = tmp_path_factory.mktemp("place")
    flags = folders(root, tiny_mnist.folder)
    with tiny_mnist.registered():
        main.main(get_config([*TWO_SCALES, *flags, "--epochs=3", "--init_lr=0.02", "--ema=0.9"]))
        main.main(get_config([*CANVAS, *flags, "--epochs=1", "--plot_freq=0"]))
        yield root, flags


# ---- geometry


@pytest.mark.parametrize(
    "geometry", [(8, 1, 1, None), (12, 3, 2, None), (5, 2, 3, 7.0), (3, 4, 2, 13.0)], ids=lambda g: str(g)
)
def test_boxes_are_where_the_retina_reads(geometry):
    geometry, H, W = Geometry(*geometry), 21, 30
    random = np.random.default_rng(1)
    image = random.integers(0, 256, (1, 1, H, W)).astype(np.uint8)
    edges = [(-1, -1), (1, 1), (0, 0), (1, -1), (0.999, 0.3)]
    locations = np.concatenate([random.uniform(-1, 1, (60, 2)), edges]).astype(np.float32)
    retina = Retina(geometry.g, geometry.k, geometry.s, geometry.unit_pixels)
    copies = paddle.to_tensor(np.repeat(image, len(locations), axis=0))
    phi = retina.foveate(copies, paddle.to_tensor(locations)).numpy().reshape(-1, geometry.k, geometry.g, geometry.g)
    far = 200  # zeros all around
    padded = np.pad(image[0, 0] / 255, far)
    corners = geometry.corners(locations, (H, W))
    for seen, of_scales in zip(phi, corners):
        for patch, (x, y), width in zip(seen, of_scales, geometry.widths()):
            box = padded[far + y : far + y + width, far + x : far + x + width]
            cell = width // geometry.g
            pooled = box.reshape(geometry.g, cell, geometry.g, cell).mean((1, 3))
            assert np.allclose(patch, pooled, atol=1e-5)


def test_drawn_boxes_surround_the_pixels_that_are_read_and_dots_are_in_their_middle():
    geometry, locations = Geometry(4, 2, 3), np.array([[0.1, -0.4], [1.0, 1.0]])
    axis = Figure().subplots()
    pictures.draw_boxes(axis, locations, (20, 30), geometry, pictures.step_colours(2))
    corners = geometry.corners(locations, (20, 30))
    assert corners[0, 0].tolist() == [16 - 2, 6 - 2] and corners[0, 1].tolist() == [16 - 6, 6 - 6]
    drawn = [(*patch.get_xy(), patch.get_width(), patch.get_height()) for patch in axis.patches]
    assert drawn[:2] == [(13.5, 3.5, 4, 4), (9.5, -0.5, 12, 12)] and len(drawn) == 4
    assert geometry.places(locations, (20, 30))[0].tolist() == [15.5, 5.5]
    pictures.draw_path(axis, locations, (20, 30), geometry, badges=2)
    assert {text.get_text() for text in axis.texts} == {"1", "2"}
    assert np.allclose(axis.lines[0].get_xydata(), geometry.places(locations, (20, 30)))


def test_badges_do_not_hide_each_other():
    places = np.array([[5.0, 5.0]] * 6 + [[20.0, 20.0]])
    moved = pictures.spread(places, 3, (28, 28))
    gaps = np.linalg.norm(moved[:, None] - moved, axis=-1) + 100 * np.eye(7)
    assert gaps.min() > 2.7 and np.abs(moved[6] - 20).max() < 0.1
    assert (moved >= 0).all() and (moved <= 27).all()


# ---- glimpses


@pytest.mark.parametrize("core", ["relu", "lstm"])
def test_states_are_those_of_the_rollout(core):
    from ram.build import build_model

    config = get_config([*TWO_SCALES, f"--core={core}"])
    model = build_model(config, (1, 28, 28), 10)
    model.initialize(1)
    images = paddle.to_tensor(np.random.default_rng(0).integers(0, 256, (5, 1, 28, 28)).astype(np.uint8))
    from model import Noise, draw_noise

    rollout = model.plain_rollout(images, Noise(*map(paddle.to_tensor, draw_noise(5, 3, "test", 1))))
    states = list(visualize.states(model, model.prepare(images), rollout.locations))
    assert len(states) == 3
    assert np.allclose(model.classifier(states[-1]).numpy(), rollout.log_probs.numpy(), atol=1e-5)
    baselines = np.concatenate([model.baseliner(h).numpy() for h in states[:-1]], 1)
    assert np.allclose(baselines, rollout.baselines.numpy(), atol=1e-5)


def test_a_close_look_is_the_first_rollout_of_the_evaluation(place):
    config = visualize.parse("glimpses", [*TWO_SCALES, *place[1]])
    model, split, config = visualize.trained_model(config)
    rollouts = []
    evaluate(model, split, 3, 1, "sampled", config.random_seed, lambda index, rollout: rollouts.append(rollout))
    looks = visualize.look_closely(model, split, np.array([4, 9]), config)
    for look, i in zip(looks, (4, 9)):
        assert look.label == split.labels[i] and np.array_equal(look.image, split.images[i])
        assert np.allclose(look.locations, rollouts[0].locations[i].numpy(), atol=1e-5)
        assert np.allclose(np.log(look.probabilities[-1]), rollouts[0].log_probs[i].numpy(), atol=1e-4)
        assert look.probabilities.shape == (3, 10) and np.allclose(look.probabilities.sum(1), 1, atol=1e-5)
        x, y = visualize.geometry_of(config).corners(look.locations, (28, 28))[1, 0]
        padded = np.pad(look.image[0] / 255, 20)
        assert np.allclose(look.glimpses[1, 0, 0], padded[20 + y : 26 + y, 20 + x : 26 + x], atol=1e-5)


def test_glimpses_are_shown_as_pixels_whatever_the_normalisation(place):
    config = visualize.parse("glimpses", [*SMALL, *place[1]])
    from data_loader import get_test
    from ram.build import build_model

    split = get_test(config)
    looks = []
    for flags in ([], ["--pixel_mean=0.1307", "--pixel_std=0.3081"]):
        config = visualize.parse("glimpses", [*SMALL, *place[1], *flags, "--locations=mean"])
        model = build_model(config, split.image_shape, 10)
        model.initialize(1)
        looks.append(visualize.look_closely(model, split, np.array([0]), config)[0])
    assert np.allclose(looks[0].glimpses[0], looks[1].glimpses[0], atol=1e-5)
    assert looks[0].locations[0].tolist() == [0, 0]


def test_glimpses_command(place, capsys):
    root, flags = place
    visualize.run(["glimpses", *TWO_SCALES, *flags, "--num_images=2"])
    folder = root / "plots" / RUN
    assert [line for line in capsys.readouterr().out.splitlines() if "Wrote" in line] == [
        f"[*] Wrote {folder / name}" for name in ("glimpses.png", "glimpses.gif")
    ]
    with Image.open(folder / "glimpses.png") as image:
        assert image.format == "PNG" and image.width == 1350 and image.height > 900
    with Image.open(folder / "glimpses.gif") as film:
        assert film.format == "GIF" and film.n_frames == 2 * 3 and film.width == 900 and film.info["loop"] == 0
        frames, durations = [], []
        for number in range(film.n_frames):
            film.seek(number)
            frames.append(np.asarray(film.convert("RGB")))
            durations.append(film.info["duration"])
    assert durations == [900] * 5 + [2500]
    assert all((a != b).any() for a, b in zip(frames, frames[1:]))


def test_own_pictures_are_replaced_and_others_are_not(place, tmp_path):
    root, flags = place
    command = ["glimpses", *TWO_SCALES, *flags, "--num_images=1", f"--out={tmp_path / 'a' / 'picture.png'}"]
    visualize.run(command)
    path = tmp_path / "a" / "picture.png"
    first = path.read_bytes()
    visualize.run([*command, "--first=1"])
    assert path.read_bytes() != first
    Image.new("RGB", (9, 9)).save(path)
    mine = path.read_bytes()
    with pytest.raises(UserError, match="was not made by this command"):
        visualize.run(command)
    assert path.read_bytes() == mine and sorted(p.name for p in path.parent.iterdir()) == ["picture.gif", "picture.png"]


def test_many_classes_and_glimpses_and_colours_fit_in():
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(40), 30)
    image = random.integers(0, 256, (3, 32, 24)).astype(np.uint8)
    look = Look(image, 7, random.uniform(-1, 1, (30, 2)), random.random((30, 1, 3, 6, 6)), probabilities)
    classes = [f"a long name {c}" for c in range(40)]
    figure = pictures.glimpses_figure([look], Geometry(6, 1, 1), classes, "title")
    bars = [axis for axis in figure.axes if axis.containers]
    assert len(bars) == 12 and all(len(axis.containers[0]) == 10 for axis in bars)
    assert pictures.to_pixels(figure).shape[1:] == (900, 3)


def test_names_are_drawn_as_they_stand(tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr(pictures, "CHINESE", ("STIXGeneral",))  # a font that is always there, with letters of its own
    odd = ["$\\nothing$", "_a", "\u1d81"]
    shown = [Shown(np.zeros((1, 8, 8), np.uint8), np.zeros((2, 2)), name, "b", 0.5) for name in odd]
    figures = [
        pictures.grid_figure(shown, Geometry(4, 1, 1), odd[0]),
        pictures.confusion_figure(np.eye(3, dtype=int), odd, odd[0]),
    ]
    for number, figure in enumerate(figures):
        visualize.write_png(str(tmp_path / f"{number}.png"), figure)
    store(tmp_path / "_a$\\x$b.jsonl", records(10, 4))
    visualize.run(["curves", str(tmp_path / "_a$\\x$b.jsonl"), f"--out={tmp_path / 'c'}"])
    assert [str(warning.message) for warning in recwarn if "missing from" in str(warning.message)] == []
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["0.png", "1.png", "c.png"]


# ---- policy


def test_all_looks_add_up_to_the_evaluation(place):
    config = visualize.parse("policy", [*TWO_SCALES, *place[1], "--M=3"])
    model, split, config = visualize.trained_model(config)
    locations, probabilities = visualize.look_at_all(model, split, config)
    result = evaluate(model, split, 3, 3, "sampled", config.random_seed)
    assert locations.shape == (3, 100, 3, 2) and np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert (probabilities.argmax(1) == split.labels).sum() == result.correct
    assert not np.array_equal(locations[0], locations[1])


def test_heat_of_uniform_and_of_fixed_glimpses():
    grid = (np.stack(np.meshgrid(np.arange(200), np.arange(200)), -1).reshape(-1, 2) + 0.5) / 100 - 1
    fixed = np.full_like(grid, [0.93, -0.45])  # x to the right, y above the middle
    heat = pictures.image_heat(np.stack([grid, fixed], 1), (40, 60), None)
    assert np.allclose(heat.ratio[0], 1) and heat.notes[0] == "0.00 bits"
    row, column = np.unravel_index(heat.ratio[1].argmax(), heat.ratio[1].shape)
    assert (row, column) == (5, 19) and heat.ratio[1].max() == pictures.BINS**2 and heat.notes[1] == "8.64 bits"
    assert heat.extent == (0, 60, 40, 0)
    assert pictures.image_heat(grid[:, None], (40, 60), 13.0).extent == (17, 43, 33, 7)


def test_heat_around_an_object():
    uniform = np.random.default_rng(0).uniform(-40, 40, (100_000, 2))
    offsets = np.stack([uniform, np.zeros_like(uniform), np.full_like(uniform, 9.0)], 1)
    heat = pictures.object_heat(offsets, uniform, (10, 20))
    assert heat.notes == ["3% inside", "100% inside", "0% inside"] and heat.frame == (-10, -5, 20, 10)
    assert np.allclose(heat.ratio[0], 1)


@pytest.mark.parametrize("unit", [[], ["--unit_pixels=17"]], ids=["whole", "unit_pixels"])
def test_the_digit_is_found_on_its_canvas(place, unit):
    from data_loader import get_test

    config = visualize.parse("policy", [*CANVAS, *place[1], *unit])
    split = get_test(config)
    images, _ = split.batch(np.arange(len(split)))
    rows, columns = (images[:, 0] > 0).any(2), (images[:, 0] > 0).any(1)
    low = np.stack([columns.argmax(1), rows.argmax(1)], 1)
    high = 40 - np.stack([columns[:, ::-1].argmax(1), rows[:, ::-1].argmax(1)], 1)
    middle = (low + high) / 2
    locations = (middle - 20) / (config.unit_pixels or 20)
    heats = visualize.heats(split, locations[None, :, None].astype(np.float32), config)
    assert heats[1].notes == ["100% inside"]
    ratio = np.nan_to_num(heats[1].ratio[0])
    assert ratio[9:11, 9:11].sum() == pytest.approx(ratio.sum()), "all of them in the middle"


@pytest.mark.parametrize("flags", [TWO_SCALES, CANVAS], ids=["images", "canvases"])
def test_policy_command(place, tmp_path, flags, capsys):
    visualize.run(["policy", *flags, *place[1], "--M=2", "--num_mistakes=9", f"--out={tmp_path / 'p.png'}"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.png", "p_confusion.png", "p_mistakes.png"]
    sizes = {}
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            image.load()
            sizes[path.name] = image.size
    assert sizes["p.png"][0] == sizes["p_mistakes.png"][0] == 1350
    assert sizes["p_mistakes.png"][1] > 400, "two rows"


def test_confusion_has_true_classes_in_rows():
    figure = pictures.confusion_figure(np.array([[5, 2], [0, 1234]]), ["cat", "dog"], "title")
    found = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert found == {(0, 0): "5", (1, 0): "2", (1, 1): "1,234"}


def test_a_model_that_makes_no_mistakes_has_an_empty_grid():
    assert pictures.to_pixels(pictures.grid_figure([], Geometry(6, 1, 1), "none wrong")).shape[2] == 3


@pytest.mark.parametrize("command", ["glimpses", "policy"])
def test_a_baseline_has_nothing_to_draw(place, tmp_path, tiny_mnist, command):
    flags = ["--model=fc64", "--use_gpu=False", *folders(tmp_path, tiny_mnist.folder)]
    main.main(get_config([*flags, "--epochs=1", "--limit=64"]))
    with pytest.raises(UserError, match="no glimpses to draw"):
        visualize.run([command, *flags])


# ---- training


def test_training_command(place, tmp_path):
    visualize.run(["training", str(place[0] / "plots" / RUN), f"--plots_dir={tmp_path}"])
    assert sorted(path.name for path in (tmp_path / RUN).iterdir()) == ["training.gif", "training.png"]
    with Image.open(tmp_path / RUN / "training.png") as image:
        assert image.width == 1350
    with Image.open(tmp_path / RUN / "training.gif") as film:
        assert film.n_frames == 3


def test_training_finds_the_run_by_its_flags(place, tmp_path):
    visualize.run(["training", *TWO_SCALES, *place[1], f"--out={tmp_path / 't'}"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.gif", "t.png"]


def test_stored_glimpses_read_back(place):
    snapshot, retina = visualize.read_snapshot(str(place[0] / "plots" / RUN / "glimpses_0002.npz"))
    assert snapshot.epoch == 2 and retina == (6, 2, 2, None) and len(snapshot.shown) == 9
    with np.load(place[0] / "plots" / RUN / "glimpses_0002.npz") as arrays:
        for i, shown in enumerate(snapshot.shown):
            assert shown.label == str(arrays["labels"][i]) and shown.said == str(arrays["probabilities"][i].argmax())
            assert shown.probability == arrays["probabilities"][i].max()
            assert np.array_equal(shown.locations, arrays["locations"][i])


def test_a_row_per_epoch_and_a_column_per_image():
    shown = [Shown(np.zeros((1, 8, 8), np.uint8), np.zeros((2, 2)), "3", said, 0.5) for said in "34"]
    figure = pictures.training_figure([Snapshot(1, shown), Snapshot(20, shown)], Geometry(4, 1, 1), "title")
    assert [axis.get_title() for axis in figure.axes] == ["3 (50%)", "3 as 4 (50%)"] * 2
    assert {"epoch\n1", "epoch\n20"} <= {text.get_text() for text in figure.texts}


def test_stored_epochs_are_in_order_and_a_folder_has_a_name_wherever_it_is_seen_from(place, tmp_path, monkeypatch):
    folder = tmp_path / "my_run"
    folder.mkdir()
    for name in ("10000", "9998", "9999", "copy"):
        source = place[0] / "plots" / RUN / "glimpses_0001.npz"
        (folder / f"glimpses_{name}.npz").write_bytes(source.read_bytes())
    assert [visualize.epoch_of(path) for path in visualize.stored_epochs(str(folder))] == [9998, 9999, 10000]
    monkeypatch.chdir(folder)
    visualize.run(["training", ".", f"--plots_dir={tmp_path / 'plots'}"])
    assert sorted(path.name for path in (tmp_path / "plots" / "my_run").iterdir()) == ["training.gif", "training.png"]


def test_epochs_are_chosen_from_first_to_last():
    assert visualize.early_ones(list(range(1, 151)), 6) == [1, 3, 7, 20, 55, 150]
    assert visualize.early_ones([1, 2, 3, 4, 5, 6, 7], 6)[::5] == [1, 7]
    assert visualize.evenly([1, 2, 3], 24) == [1, 2, 3] and visualize.evenly(list(range(100)), 3) == [0, 50, 99]
    for count in range(1, 40):
        chosen = visualize.early_ones(list(range(count)), 6)
        assert len(set(chosen)) == len(chosen) == min(count, 6) and chosen[-1] == count - 1


# ---- curves


def records(*errors, **more):
    """Records of epochs with these validation errors."""
    return [
        {"epoch": e, "val_err": v, "val_acc": 100 - v, "train_acc": 50.0 + e, "val_loss": 1, "train_loss": 2, **more}
        for e, v in enumerate(errors, 1)
    ]


def store(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_mean_and_band_over_runs(tmp_path):
    a, b = store(tmp_path / "a.jsonl", records(10, 4, 2)), store(tmp_path / "b.jsonl", records(20, 8))
    curve = visualize.read_group(f"both={a},{b}")
    assert curve.label == "both" and curve.runs == 2 and curve.epochs.tolist() == [1, 2, 3]
    assert curve.mean["val_err"].tolist() == [15, 6, 2] and curve.mean["val_acc"].tolist() == [85, 94, 98]
    assert curve.std["val_err"][:2] == pytest.approx([np.sqrt(50), np.sqrt(8)]) and np.isnan(curve.std["val_err"][2])
    assert curve.mean["train_err"].tolist() == [49, 48, 47]
    figure = pictures.curves_figure([curve], "title")
    error, accuracy = figure.axes
    assert error.lines[0].get_ydata().tolist() == [15, 6, 2] and error.get_yscale() == "log"
    assert accuracy.lines[0].get_ydata().tolist() == [85, 94, 98]
    band = next(c for c in accuracy.collections if isinstance(c, PolyCollection)).get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(85 - np.sqrt(50)) and band[:, 1].max() == pytest.approx(94 + np.sqrt(8))
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["both (2 runs)", "validation", "training", "+- one standard deviation"]


def test_results_of_several_runs_give_the_same_curve_as_their_logs(tmp_path):
    histories = [records(10, 4, 2, best=True), records(20, 8, best=True)]
    done = [seeds.Run(i, f"r{i}", history, Evaluation(0.1, 9, 10)) for i, history in enumerate(histories)]
    (tmp_path / "x_results.json").write_text(json.dumps(seeds.results(get_config([]), done)))
    logs = [store(tmp_path / f"{i}.jsonl", history) for i, history in enumerate(histories)]
    joined, read = (
        visualize.read_group(f"x={logs[0]},{logs[1]}"),
        visualize.read_group(str(tmp_path / "x_results.json")),
    )
    assert read.label == "x" and read.runs == 2
    for key in visualize.QUANTITIES:
        assert np.allclose(read.mean[key], joined.mean[key])
        assert np.allclose(read.std[key], joined.std[key], equal_nan=True)


@pytest.mark.parametrize(
    "content",
    [
        {"epochs": [1, 2], "val_err": {"mean": [10, 4], "std": [1, 2]}},
        {"epochs": [1, 2], "val_acc": [90, 96]},
        records(10, 4),
        {"epochs": records(10, 4), "runs": [{}, {}]},
    ],
    ids=["columns of means", "columns", "list", "objects"],
)
def test_other_layouts(tmp_path, content):
    (tmp_path / "c.json").write_text(json.dumps(content))
    curve = visualize.read_curve(str(tmp_path / "c.json"))
    assert curve.epochs.tolist() == [1, 2]
    assert curve.mean["val_err"].tolist() == [10, 4] and curve.mean["val_acc"].tolist() == [90, 96]
    if isinstance(content, dict) and isinstance(content.get("val_err"), dict):
        assert curve.std["val_acc"].tolist() == [1, 2]


def test_a_log_that_is_being_written(tmp_path):
    path = store(tmp_path / "run.jsonl", [*records(10, 4), {**records(1, 3)[1]}])
    path.write_text(path.read_text() + '{"epoch": 3, "val_')
    assert visualize.read_curve(str(path)).mean["val_err"].tolist() == [10, 3], "of an epoch logged twice, the last"
    assert visualize.read_curve(str(store(path, records(10)))).epochs.tolist() == [1]


def test_curves_command(place, tmp_path):
    log = place[0] / "logs" / f"{RUN}.jsonl"
    visualize.run(["curves", str(log), f"two runs={log},{log}", f"--plots_dir={tmp_path}"])
    with Image.open(tmp_path / f"curves_{RUN}_two-runs.png") as image:
        assert image.width == 1350


@pytest.mark.parametrize("name, written", [("v1.2", "v1.2.png"), ("a.png", "a.png"), ("a.gif", "a.png")])
def test_out_keeps_its_name(tmp_path, name, written):
    store(tmp_path / "run.jsonl", records(10, 4))
    visualize.run(["curves", str(tmp_path / "run.jsonl"), f"--out={tmp_path / 'out' / name}"])
    assert [path.name for path in (tmp_path / "out").iterdir()] == [written]


def test_epochs_are_whole_numbers():
    figure = pictures.curves_figure([visualize.curve_of(records(10, 4, 2), "a")], "title")
    assert all(tick == round(tick) for axis in figure.axes for tick in axis.get_xticks())


def test_perfect_and_single_epochs_can_be_drawn():
    zeros = {"val_err": np.array([0.0]), "val_acc": np.array([100.0])}
    nothing = {key: np.array([np.nan]) for key in zeros}
    figure = pictures.curves_figure([Curve("a", np.array([1]), zeros, nothing, 1, False)], "title")
    assert pictures.to_pixels(figure).shape[1] == 900


# ---- what is refused


BAD_CURVES = {
    "missing.jsonl": None,
    "empty.jsonl": "",
    "text.jsonl": "no json\n",
    "middle.jsonl": '{"epoch": 1, "val_err": 2}\nhalf\n{"epoch": 2, "val_err": 2}\n',
    "binary.jsonl": b"\x80\xff\x00",
    "number.json": "3",
    "strings.json": '["a"]',
    "no_epochs.json": '{"val_err": [1]}',
    "none.json": '{"epochs": []}',
    "lengths.json": '{"epochs": [1, 2], "val_err": [1]}',
    "words.json": '{"epochs": [1], "val_err": ["low"]}',
    "other.jsonl": '{"epoch": 1, "loss": 2}\n',
    "deep.json": "[" * 100_000,
    "infinite.jsonl": '{"epoch": Infinity, "val_err": 2}\n',
}


@pytest.mark.parametrize("name", BAD_CURVES)
def test_bad_curves(tmp_path, name):
    if BAD_CURVES[name] is not None:
        content = BAD_CURVES[name]
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        visualize.run(["curves", str(tmp_path / name), f"--plots_dir={tmp_path / 'plots'}"])
    assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "plots").exists()


def test_means_are_not_averaged_again_and_too_many_curves_are_refused(tmp_path):
    path = tmp_path / "m.json"
    path.write_text('{"epochs": [1], "val_err": {"mean": [1], "std": [1]}}')
    with pytest.raises(UserError, match="give it alone"):
        visualize.read_group(f"x={path},{path}")
    assert visualize.read_group(f"x={path}").label == "x"
    with pytest.raises(UserError, match="at most 7"):
        visualize.run(["curves", *[str(path)] * 8])


@pytest.mark.parametrize("damage", ["cut", "text", "other arrays", "pickle", "labels"])
def test_bad_glimpses(place, tmp_path, damage):
    whole, path = place[0] / "plots" / RUN / "glimpses_0001.npz", tmp_path / "glimpses_0001.npz"
    with np.load(whole) as file:
        arrays = dict(file)
    if damage == "cut":
        path.write_bytes(whole.read_bytes()[:500])
    elif damage == "text":
        path.write_text("nothing")
    elif damage == "other arrays":
        np.savez(path, a=np.zeros(3))
    elif damage == "pickle":
        np.savez(path, **{**arrays, "labels": np.array([{}] * 9)})
    else:
        np.savez(path, **{**arrays, "labels": arrays["labels"] + 90})
    with pytest.raises(UserError, match="holds no glimpses") as caught:
        visualize.run(["training", str(tmp_path), f"--plots_dir={tmp_path}"])
    assert "\n" not in str(caught.value)


def test_refusals(place, tmp_path):
    root, flags = place
    for arguments, words in (
        ([], "a command is missing"),
        (["draw"], "'draw' is not a command"),
        (["glimpses", *SMALL, *flags, f"--ckpt_dir={tmp_path}"], "does not exist"),
        (["glimpses", *TWO_SCALES, *flags, "--first=99"], "the 100 test images are numbered from 0"),
        (["glimpses", "--num_image=3"], "did you mean --num_images"),
        (["glimpses", "--num_images=0"], "out of range"),
        (["training", str(tmp_path)], "holds no glimpses"),
        (["curves"], "FILE"),
        (["curves", "a.jsonl", f"--out={tmp_path}"], "is a folder: give the name of a file in it"),
        (["curves", "a.jsonl", "--out=new/"], "is a folder: give the name of a file in it"),
        (["policy", *TWO_SCALES, *flags, "--M=1", f"--out={root / 'logs' / f'{RUN}.jsonl'}" + "/x"], "cannot make"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            visualize.run(arguments)
        assert "\n" not in str(caught.value)


def test_on_the_command_line_an_error_is_one_line_and_status_2(tmp_path):
    command = [sys.executable, str(ROOT / "visualize.py"), "curves", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == f"visualize.py: cannot read {tmp_path / 'none'}: No such file or directory\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a full disk")
def test_standard_output_on_a_full_disk_is_an_error_of_one_line(tmp_path):
    command = [sys.executable, str(ROOT / "visualize.py"), "curves", str(store(tmp_path / "a.jsonl", records(10, 4)))]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*command, f"--plots_dir={tmp_path}"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=100
        )
    assert done.returncode == 2 and done.stderr.startswith("visualize.py: ") and done.stderr.count("\n") == 1
