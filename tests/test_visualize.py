"""Pictures: boxes where the retina reads, numbers that are right, files that open, and bad ones refused in one line."""

from __future__ import annotations

import numpy as np
import paddle
import pytest
from helpers import folders
from PIL import Image

import main
import visualize
from config import get_config
from ram.draw import snapshots
from ram.evaluation import evaluate
from ram.use import looking
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


@pytest.mark.parametrize("core", ["relu", "lstm"])
def test_states_are_those_of_the_rollout(core):
    from ram.build import build_model

    config = get_config([*TWO_SCALES, f"--core={core}"])
    model = build_model(config, (1, 28, 28), 10)
    model.initialize(1)
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 28, 28)).astype(np.uint8)
    from model import Noise, draw_noise

    noise = Noise(*map(paddle.to_tensor, draw_noise(5, 3, "test", 1)))
    rollout = model.plain_rollout(paddle.to_tensor(images), noise)
    states = [
        paddle.to_tensor(sight.h_t) for sight in looking.look(model, images, noise, along=rollout.locations.numpy())
    ]
    assert len(states) == 3
    assert np.allclose(model.classifier(states[-1]).numpy(), rollout.log_probs.numpy(), atol=1e-5)
    baselines = np.concatenate([model.baseliner(h).numpy() for h in states[:-1]], 1)
    assert np.allclose(baselines, rollout.baselines.numpy(), atol=1e-5)


def test_a_close_look_is_the_first_rollout_of_the_evaluation(place):
    config = visualize.parse("glimpses", [*TWO_SCALES, *place[1]])
    model, split, config = visualize.trained_model(config)
    rollouts = []
    evaluate(model, split, 3, 1, "sampled", config.random_seed, lambda index, rollout: rollouts.append(rollout))
    looks = looking.look_closely(model, split, np.array([4, 9]), config)
    for seen, i in zip(looks, (4, 9)):
        assert seen.label == split.labels[i] and np.array_equal(seen.image, split.images[i])
        assert np.allclose(seen.locations, rollouts[0].locations[i].numpy(), atol=1e-5)
        assert np.allclose(np.log(seen.probabilities[-1]), rollouts[0].log_probs[i].numpy(), atol=1e-4)
        assert seen.probabilities.shape == (3, 10) and np.allclose(seen.probabilities.sum(1), 1, atol=1e-5)
        x, y = visualize.geometry_of(config).corners(seen.locations, (28, 28))[1, 0]
        padded = np.pad(seen.image[0] / 255, 20)
        assert np.allclose(seen.glimpses[1, 0, 0], padded[20 + y : 26 + y, 20 + x : 26 + x], atol=1e-5)


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
        looks.append(looking.look_closely(model, split, np.array([0]), config)[0])
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
    notes = tmp_path / "a" / "other.png.tmp"
    notes.write_text("notes")
    visualize.run([*command, f"--out={tmp_path / 'a' / 'other.png'}"])
    assert notes.read_text() == "notes"


@pytest.mark.parametrize("flag", ["--predict=x", "--export=x", "--resume"])
def test_what_is_no_drawing_is_refused(flag):
    with pytest.raises(UserError, match=f"{flag.split('=')[0]} is for main.py"):
        visualize.parse("glimpses", [flag])


def test_which_of_several_runs_is_drawn_is_said(capsys):
    visualize.parse("glimpses", ["--num_runs=3", "--random_seed=2"])
    assert capsys.readouterr().out == "[*] Of the 3 runs, that with --random_seed=2 is drawn\n"


def test_a_drawing_needs_no_flag_of_a_training():
    assert visualize.parse("glimpses", ["--momentum=0.9", "--preset=cluttered60"]).momentum == 0.9


def test_all_looks_add_up_to_the_evaluation(place):
    config = visualize.parse("policy", [*TWO_SCALES, *place[1], "--M=3"])
    model, split, config = visualize.trained_model(config)
    locations, probabilities = looking.look_at_all(model, split, config)
    result = evaluate(model, split, 3, 3, "sampled", config.random_seed)
    assert locations.shape == (3, 100, 3, 2) and np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert (probabilities.argmax(1) == split.labels).sum() == result.correct
    assert not np.array_equal(locations[0], locations[1])


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
    heats = looking.heats(split, locations[None, :, None].astype(np.float32), visualize.geometry_of(config))
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


@pytest.mark.parametrize("command", ["glimpses", "policy"])
def test_a_baseline_has_nothing_to_draw(place, tmp_path, tiny_mnist, command):
    flags = ["--model=fc64", "--use_gpu=False", *folders(tmp_path, tiny_mnist.folder)]
    main.main(get_config([*flags, "--epochs=1", "--limit=64"]))
    with pytest.raises(UserError, match="no glimpses to draw"):
        visualize.run([command, *flags])


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
    snapshot = snapshots.read_snapshot(str(place[0] / "plots" / RUN / "glimpses_0002.npz"))
    assert snapshot.epoch == 2 and snapshot.retina == (6, 2, 2, None, 0) and len(snapshot.shown) == 9
    with np.load(place[0] / "plots" / RUN / "glimpses_0002.npz") as arrays:
        for i, shown in enumerate(snapshot.shown):
            assert shown.label == str(arrays["labels"][i]) and shown.answer == str(arrays["probabilities"][i].argmax())
            assert shown.probability == arrays["probabilities"][i].max()
            assert np.array_equal(shown.locations, arrays["locations"][i])


def test_stored_epochs_are_in_order_and_a_folder_has_a_name_wherever_it_is_seen_from(place, tmp_path, monkeypatch):
    folder = tmp_path / "my_run"
    folder.mkdir()
    for name in ("10000", "9998", "9999", "copy"):
        source = place[0] / "plots" / RUN / "glimpses_0001.npz"
        (folder / f"glimpses_{name}.npz").write_bytes(source.read_bytes())
    assert [snapshots.epoch_of(path) for path in snapshots.stored_epochs(str(folder))] == [9998, 9999, 10000]
    monkeypatch.chdir(folder)
    visualize.run(["training", ".", f"--plots_dir={tmp_path / 'plots'}"])
    assert sorted(path.name for path in (tmp_path / "plots" / "my_run").iterdir()) == ["training.gif", "training.png"]


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
        (["glimpses", *SMALL, *flags, f"--ckpt_dir={tmp_path}"], "there is nothing to draw: .* does not exist"),
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
