"""Tests of data sets of one's own through the commands: what people bring is taken as they expect, or refused."""

from __future__ import annotations

import dataclasses
import gzip
import importlib.util
import json
import os
import runpy
import shutil
import sys
import unicodedata
import zipfile
import zlib
from pathlib import Path
from unittest import mock

import numpy as np
import paddle
import pytest
from helpers import NAMES, ROOT, easy_images, long_test, run_as_main
from PIL import Image
from test_images import chunk

from config import get_config, run_name
from data_loader import get_test, get_train_valid
from ram.data import arrays, layout, shares, sources
from ram.data.idx import to_idx
from ram.runs import checkpoint, sizes
from utils import UserError

posix = pytest.mark.skipif(os.name != "posix", reason="links and names of POSIX")
FAST = (
    "--hidden_size=16 --glimpse_hidden=8 --loc_hidden=8 --num_glimpses=2 --patch_size=6 --use_gpu=False --epochs=1 "
    "--batch_size=16 --plot_freq=0 --augment_shift=0 --augment_rotate=0 --augment_scale=0 --augment_shear=0"
).split()


class Place:
    """Folders for the files of a run, and main.py in this process on a data set of one's own."""

    def __init__(self, root: Path, capsys):
        self.root, self.capsys = root, capsys

    def arguments(self, data, *flags, kind="folder"):
        folders = [f"--{name}_dir={self.root / name}" for name in ("ckpt", "logs", "plots")]
        return [*FAST, f"--dataset={kind}", f"--data_dir={data}", *folders, *flags]

    def call(self, data, *flags, kind="folder"):
        """Status, output and errors."""
        self.capsys.readouterr()
        try:
            run_as_main(self.arguments(data, *flags, kind=kind))
            status = 0
        except SystemExit as ended:
            status = ended.code
        return (status, *self.capsys.readouterr())

    def run(self, data, *flags, kind="folder"):
        """The output of a command that succeeds."""
        status, out, err = self.call(data, *flags, kind=kind)
        assert status == 0, err
        return out

    def refuse(self, data, *flags, kind="folder"):
        """The line with which a command is refused."""
        status, _, err = self.call(data, *flags, kind=kind)
        lines = [line for line in err.splitlines() if line.startswith("main.py: ")]
        assert status == 2 and len(lines) == 1 and "Traceback" not in err, err
        return lines[0]

    def best(self, data, *flags, kind="folder"):
        """The content of the best checkpoint."""
        name = run_name(get_config(self.arguments(data, *flags, kind=kind)))
        return checkpoint.read(str(self.root / "ckpt" / f"{name}_model_best.pdparams"))


@pytest.fixture
def place(tmp_path, capsys):
    (tmp_path / "place").mkdir()
    return Place(tmp_path / "place", capsys)


def write(path, level=100, size=(9, 8), seed=0, **options):
    """An image file of one gray level with some noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(-4, 5, size)
    Image.fromarray(np.clip(level + noise, 0, 255).astype(np.uint8)).save(path, **options)


def write_classes(folder, counts, size=(9, 8)):
    """Class folders with so many images each, the higher its place the lighter."""
    for place, (name, count) in enumerate(counts.items()):
        for number in range(count):
            write(folder / name / f"{number:03d}.png", 30 + 150 * place // len(counts), size, 1000 * place + number)


# ---- 1: palettes


def write_indexed(path, colors, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, len(colors), (9, 8)).astype(np.uint8)
    image = Image.frombytes("P", (8, 9), pixels.tobytes())
    image.putpalette([level for color in colors for level in color])
    image.save(path)


@pytest.mark.parametrize("ending", ["png", "gif", "bmp"])
def test_01_indexed_images_are_trained_in_the_colors_that_they_show(tmp_path, place, ending):
    for name, colors, channels in (
        ("colored", [(200, 30, 90), (20, 90, 160)], 3),
        ("gray", [(20, 20, 20), (99, 99, 99), (200, 200, 200)], 1),
    ):
        for label in "ab":
            for number in range(6):
                write_indexed(tmp_path / name / "train" / label / f"{number}.{ending}", colors, number)
        place.run(tmp_path / name)
        assert place.best(tmp_path / name)["image_shape"] == [channels, 9, 8]


# ---- 2, 3, 4: layouts


@pytest.mark.parametrize("train, valid, test", [("Training", "val", "TESTING"), ("train", "Validation", "test")])
def test_02_usual_names_of_the_parts_are_taken(tmp_path, place, train, valid, test):
    data = tmp_path / "set"
    write_classes(data / train, {"x": 5, "y": 7})
    write_classes(data / valid, {"x": 3, "y": 2})
    write_classes(data / test, {"x": 2, "y": 2})
    write_classes(data / "unlabelled", {"z": 2})
    (data / "LICENSE").write_text("free")
    out = place.run(data)
    assert "Train on 12 samples, validate on 5 samples" in out
    assert f"[!] {data}: not looked at: LICENSE, unlabelled\n" in out
    assert "/4 (" in place.run(data, "--is_train=False")


def test_02_two_names_of_one_part_are_an_error(tmp_path, place):
    for name in ("train", "dev", "valid"):
        write_classes(tmp_path / "set" / name, {"x": 4, "y": 4})
    assert "dev and valid, which mean the same" in place.refuse(tmp_path / "set")


def test_03_images_below_a_class_folder_belong_to_it(tmp_path, place):
    data = tmp_path / "set"
    write_classes(data / "train", {"oak": 3, "elm": 3})
    write(data / "train" / "oak" / "2021" / "may" / "a.png")
    write(data / "train" / "oak" / "2021" / "b.png")
    write(data / "train" / "elm" / "2022" / "a.png")
    write(data / "train" / "elm" / ".cache" / "no.png")
    assert "Train on 7 samples, validate on 2 samples" in place.run(data)


def test_04_what_is_not_taken_is_counted_by_ending(tmp_path, place):
    data = tmp_path / "set"
    write_classes(data / "train", {"p": 4, "q": 4})
    for name in ("p/1.heic", "p/sub/2.HEIC", "q/3.heic", "p/scan", "q/notes.txt", "stray.png"):
        (data / "train" / name).parent.mkdir(exist_ok=True)
        (data / "train" / name).write_bytes(b"?")
    out = place.run(data)
    (line,) = [line for line in out.splitlines() if "not taken" in line]
    assert "3 .heic, 1 .png, 1 .txt, 1 no ending; convert HEIC to JPEG first" in line
    assert "1 of them in no folder of a class" in line


def test_04_a_class_of_phone_photos_alone_is_told_the_remedy(tmp_path, place):
    write_classes(tmp_path / "set" / "train", {"p": 4})
    (tmp_path / "set" / "train" / "q").mkdir()
    (tmp_path / "set" / "train" / "q" / "IMG_0001.HEIC").write_bytes(b"?")
    message = place.refuse(tmp_path / "set")
    assert os.path.join("train", "q") in message and "1 .heic" in message and "convert HEIC to JPEG" in message


def write_lists(data, lists, names=None, ending=""):
    """Images below DIR/images and lists of them: each line a path and a label."""
    for part, labels in lists.items():
        lines = []
        for number, label in enumerate(labels):
            name = f"images/{part}/my {number}{ending}"
            write(data / (name if ending else name), 40 + 60 * label % 200, seed=number, format="PNG")
            lines.append(f"{name} {label}\n")
        (data / f"{part}_list.txt").write_text("".join(lines))
    if names:
        (data / "label_list.txt").write_text("\n".join(names), encoding="utf-8-sig")


@pytest.mark.parametrize(
    "names, classes",
    [(None, ["3", "7"]), (["3 tulip", "7 wild rose"], ["tulip", "wild rose"])],
    ids=["numbers", "names"],
)
def test_04_lists_win_over_folders(tmp_path, place, names, classes):
    data = tmp_path / "set"
    write_lists(data, {"train": [3, 7, 7, 3, 3], "val": [7, 3], "test": [3, 7, 7]}, names)
    write_classes(data / "train", {"other": 9})
    out = place.run(data)
    assert "Train on 5 samples, validate on 2 samples" in out
    assert "test_list.txt, train_list.txt, val_list.txt say which images there are" in out
    assert "not looked at: train\n" in out  # the lists name what is in images
    assert place.best(data)["classes"] == classes
    assert "/3 (" in place.run(data, "--is_train=False")


def test_04_lines_that_are_no_path_and_label_are_named(tmp_path, place):
    data = tmp_path / "set"
    write_lists(data, {"train": [0, 1, 0, 1]}, ["pear", "plum"], ".png")
    for line, named in (("images/train/my 0.png one", "line 5"), ("a.png", "line 5"), ("a.png 2", "label 2")):
        lines = (data / "train_list.txt").read_text().splitlines()[:4]
        (data / "train_list.txt").write_text("\n".join([*lines, line]))
        message = place.refuse(data)
        assert "train_list.txt" in message and named in message


def test_04_paths_that_stand_twice_are_refused(tmp_path, place):
    """With one label, copies would be trained on and validated; with two, one is wrong."""
    data = tmp_path / "set"
    write_lists(data, {"train": [0, 1, 0, 1]}, None, ".png")
    lines = (data / "train_list.txt").read_text().splitlines()
    path = lines[1].rsplit(None, 1)[0]
    for again in (lines[1], f"./{path} 0"):
        (data / "train_list.txt").write_text("\n".join([*lines, again]))
        message = place.refuse(data)
        assert "train_list.txt, line 5: " in message and message.endswith("stands in line 2, too")


def test_04_lists_may_name_only_what_is_inside(tmp_path, place):
    data = tmp_path / "set"
    write_lists(data, {"train": [0, 1] * 4}, None, ".png")
    write(tmp_path / "elsewhere.png")
    for outside in ("../elsewhere.png", str(tmp_path / "elsewhere.png")):
        lines = (data / "train_list.txt").read_text().splitlines(keepends=True)[:8]
        (data / "train_list.txt").write_text("".join([*lines, f"{outside} 0\n"]))
        assert "elsewhere.png" in place.refuse(data) and "--follow_links=True" in place.refuse(data)
        place.run(data, "--follow_links=True")


def test_04_class_folders_alone_give_the_same_test_for_every_seed(tmp_path, place):
    data = tmp_path / "set"
    write_classes(data, {"n": 20, "m": 10, "o": 2, "p": 1})
    tests, trains = set(), set()
    for seed in (1, 2, 3):
        config = get_config(place.arguments(data, "--test_size=0.3", f"--random_seed={seed}"))
        test, (train, valid) = get_test(config), get_train_valid(config)
        assert len(test) == 10 and np.bincount(test.labels).tolist() == [3, 6, 1]  # m, n, o; p has one image
        assert len(train) + len(valid) == 23
        seen = {image.tobytes() for image in test.images}
        assert not seen & {image.tobytes() for image in train.images}
        tests.add(frozenset(seen))
        trains.add(train.images[train.rows].tobytes())
    assert len(tests) == 1 and len(trains) == 3
    place.run(data, "--test_size=0.3")
    assert "/10 (" in place.run(data, "--test_size=0.3", "--is_train=False")
    place.run(data, "--test_size=0")
    assert "nothing of" in place.refuse(data, "--test_size=0", "--is_train=False")
    write_classes(tmp_path / "parts" / "train", {"n": 4})
    assert "class folders alone" in place.refuse(tmp_path / "parts", "--test_size=0.3")


def npz_arrays(color, counts=(20, 6, 8), classes=3, side=10):
    shape = (3, side, side) if color else (1, side, side)
    found = {}
    for prefix, count in zip(("train", "val", "test"), counts):
        images, labels = easy_images(count, count, classes, shape)
        labels[:classes] = range(classes)
        found[f"{prefix}_images"] = images.transpose(0, 2, 3, 1) if color else images[:, 0]
        found[f"{prefix}_labels"] = labels[:, None].astype(np.uint8)
    return found


@pytest.mark.parametrize("color", [False, True], ids=["gray", "RGB"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_04_npz_is_taken_as_a_file_or_in_a_folder(tmp_path, place, color, save):
    (tmp_path / "set").mkdir()
    content = npz_arrays(color)
    save(tmp_path / "set" / "blood.npz", **content)
    for data in (tmp_path / "set", tmp_path / "set" / "blood.npz"):
        assert "Train on 20 samples, validate on 6 samples" in place.run(data)
        assert place.best(data)["image_shape"] == [3 if color else 1, 10, 10]
        assert "/8 (" in place.run(data, "--is_train=False")
        config = get_config(place.arguments(data))
        images = content["test_images"].transpose(0, 3, 1, 2) if color else content["test_images"][:, None]
        np.testing.assert_array_equal(get_test(config).batch(np.arange(8))[0], images)
    assert "Train on 20" in place.run(tmp_path / "set", "--image_size=14")
    assert place.best(tmp_path / "set", "--image_size=14")["image_shape"][1:] == [14, 14]
    assert "class folders alone" in place.refuse(tmp_path / "set", "--test_size=0.5")


def test_04_own_share_of_test_images_does_not_follow_a_model_to_other_data(tmp_path, place):
    write_classes(tmp_path / "cats", {"cat": 12, "dog": 12})
    place.run(tmp_path / "cats", "--test_size=0.3")
    name = run_name(get_config(place.arguments(tmp_path / "cats", "--test_size=0.3")))
    best = place.root / "ckpt" / f"{name}_model_best.pdparams"
    for part in ("train", "test"):
        write_classes(tmp_path / "parts" / part, {"cat": 4, "dog": 4})
    assert "/8 (" in place.run(tmp_path / "parts", f"--weights={best}", "--is_train=False")
    assert "class folders alone" in place.refuse(tmp_path / "parts", "--test_size=0.3")


def test_04_a_part_of_which_nothing_can_be_used_is_refused(tmp_path, place):
    for part in ("train", "val", "test"):
        write_classes(tmp_path / "set" / part, {"cat": 6, "dog": 6})
    place.run(tmp_path / "set")
    for part, flags in (("test", ["--is_train=False"]), ("val", [])):
        for path in (tmp_path / "set" / part).rglob("*.png"):
            path.write_bytes(path.read_bytes()[:40])
        title = {"test": "test", "val": "validation"}[part]
        assert f"none of the {title} images" in place.refuse(tmp_path / "set", "--skip_broken=True", *flags)


def test_04_several_runs_are_refused_before_anything_is_moved_or_trained(tmp_path, place):
    for part in ("train", "test"):
        write_classes(tmp_path / "set" / part, {"cat": 6, "dog": 6})
    place.run(tmp_path / "set", "--num_runs=2")
    before = {path.name: path.read_bytes() for path in (place.root / "ckpt").iterdir() if path.is_file()}
    (tmp_path / "set" / "test" / "cat" / "0.png").write_bytes(b"x")
    assert "cannot be used" in place.refuse(tmp_path / "set", "--num_runs=2")
    assert {path.name: path.read_bytes() for path in (place.root / "ckpt").iterdir() if path.is_file()} == before


def test_04_runs_of_different_length_are_brought_to_one_length_or_refused(tmp_path, place):
    for part in ("train", "test"):
        write_classes(tmp_path / "set" / part, {"cat": 6, "dog": 6})
    place.run(tmp_path / "set", "--num_runs=2")
    name = run_name(get_config(place.arguments(tmp_path / "set")))
    shutil.copytree(place.root / "ckpt", tmp_path / "short")
    place.run(tmp_path / "set", "--num_runs=2", "--epochs=3", "--resume=True")
    latest = f"{name}_seed2_ckpt.pdparams"
    shutil.copy(tmp_path / "short" / latest, place.root / "ckpt" / latest)  # stopped there
    flags = place.arguments(tmp_path / "set", "--num_runs=2", "--resume=True")
    run_as_main([flag for flag in flags if flag != "--epochs=1"])  # three are adopted from the first run
    results = json.loads((place.root / "logs" / f"{name}_results.json").read_text())
    assert [run["epochs"] for run in results["runs"]] == [3, 3]
    refused = place.refuse(tmp_path / "set", "--num_runs=2", "--epochs=2", "--resume=True")
    assert "was trained for 3 epochs: --epochs=2 is less" in refused


def test_04_several_runs_on_data_with_test_images_are_resumed(tmp_path, place):
    np.savez(tmp_path / "blood.npz", **npz_arrays(False))
    for part in ("train", "test"):
        write_classes(tmp_path / "pets" / part, {"cat": 6, "dog": 6})
    for data in (tmp_path / "blood.npz", tmp_path / "pets"):
        place.run(data, "--num_runs=2")
        assert "over 2 runs" in place.run(data, "--num_runs=2", "--epochs=2", "--resume=True")


@posix
def test_04_what_says_which_images_there_are_may_be_a_link_where_that_is_allowed(tmp_path, place):
    np.savez(tmp_path / "blood.npz", **npz_arrays(False))
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "blood.npz").symlink_to(tmp_path / "blood.npz")
    write_lists(tmp_path / "lists", {"train": [0, 1] * 4}, None, ".png")
    shutil.move(tmp_path / "lists" / "train_list.txt", tmp_path / "list.txt")
    (tmp_path / "lists" / "train_list.txt").symlink_to(tmp_path / "list.txt")
    for data in ("archive", "lists"):
        assert "is a link out of" in place.refuse(tmp_path / data)
        place.run(tmp_path / data, "--follow_links=True")


@pytest.mark.parametrize(
    "change, named",
    [
        ({"train_labels": np.zeros((20, 14), np.uint8)}, "multi-label"),
        ({"train_images": np.zeros((20, 10, 10, 10), np.uint8)}, "3D"),
        ({"train_images": np.zeros((20, 5, 10, 10, 3), np.uint8)}, "3D"),
        ({"train_images": np.zeros((20, 10, 10), np.float32)}, "not uint8"),
        ({"train_images": np.array([None] * 20)}, "no plain array"),
        ({"train_labels": np.zeros(19, np.uint8)}, "one whole number per image"),
        ({"test_images": np.zeros((8, 11, 10), np.uint8)}, "11 x 10"),
    ],
)
def test_04_npz_of_other_kinds_is_refused_in_words(tmp_path, place, change, named):
    content = {**npz_arrays(False), **change}
    np.savez(tmp_path / "odd.npz", **content)
    flags = ["--is_train=False"] if "test_images" in change else []
    if flags:
        np.savez(tmp_path / "odd.npz", **npz_arrays(False))
        place.run(tmp_path / "odd.npz")
        np.savez(tmp_path / "odd.npz", **content)
    assert named in place.refuse(tmp_path / "odd.npz", *flags)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\3\4" + bytes(90), b"PK\5\6" + bytes(18)])
def test_04_npz_that_is_none_is_refused(tmp_path, place, content):
    (tmp_path / "bad.npz").write_bytes(content)
    assert "bad.npz cannot be used" in place.refuse(tmp_path / "bad.npz")


def test_04_npz_with_a_header_that_lies_takes_no_memory(tmp_path, place):
    np.savez_compressed(tmp_path / "a.npz", **npz_arrays(False))
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (3000000000, 30, 30), }"
    for shape in (header, header.replace(b"3000000000", b"2000000")):
        with zipfile.ZipFile(tmp_path / "lie.npz", "w") as archive:
            for name in ("train_images", "train_labels"):
                data = b"\x93NUMPY\1\0" + (118).to_bytes(2, "little") + shape.ljust(117) + b"\n" + bytes(50)
                archive.writestr(f"{name}.npy", data)
        assert "lie.npz cannot be used" in place.refuse(tmp_path / "lie.npz")


def test_04_several_archives_in_a_folder_are_listed(tmp_path, place):
    (tmp_path / "set").mkdir()
    for name in ("path.npz", "blood.npz"):
        np.savez(tmp_path / "set" / name, **npz_arrays(False))
    np.savez(tmp_path / "set" / "features.npz", features=np.zeros(3))
    assert "(blood.npz, path.npz)" in place.refuse(tmp_path / "set")


# ---- 5: classes of unequal frequency


def test_05_validation_has_every_class_and_training_too():
    labels = np.repeat([0, 1, 2, 3, 4], [60, 7, 3, 2, 1])
    drawn = set()
    for seed in range(60):
        rest, held = shares.draw_by_class(labels, 0.1, "split", seed)
        assert sorted([*rest, *held]) == list(range(73))
        assert np.bincount(labels[held], minlength=5).tolist() == [6, 1, 1, 1, 0]
        drawn.add(tuple(held))
    assert len(drawn) > 50
    again = shares.draw_by_class(labels, 0.1, "split", 7)
    np.testing.assert_array_equal(again[1], shares.draw_by_class(labels, 0.1, "split", 7)[1])


def test_05_class_without_validation_is_named(tmp_path, place):
    write_classes(tmp_path / "set" / "train", {"many": 30, "two": 2, "single": 1})
    out = place.run(tmp_path / "set")
    assert "a single image, and so none for validation, of single\n" in out
    write_lists(tmp_path / "named", {"train": [0, 1] * 4 + [2]}, ["pear", "plum", "fig", "none"], ".png")
    listed = place.run(tmp_path / "named")
    assert "no training image of none\n" in listed and "none for validation, of fig\n" in listed
    assert "Train on 29 samples, validate on 4 samples" in out
    write_classes(tmp_path / "own" / "train", {"many": 6, "few": 2})
    write_classes(tmp_path / "own" / "val", {"many": 3})
    assert "no validation image of few\n" in place.run(tmp_path / "own")
    write_classes(tmp_path / "ones" / "train", {"a": 1, "b": 1})
    assert "two training images" in place.refuse(tmp_path / "ones")


def test_05_test_shows_the_worst_classes_and_the_balanced_accuracy(tmp_path, place):
    data = tmp_path / "set"
    counts = {f"class{number:02d}": 3 for number in range(13)}
    write_classes(data / "train", counts)
    write_classes(data / "test", {**counts, "class00": 9})
    place.run(data)
    lines = place.run(data, "--is_train=False", "--M=1").splitlines()
    classes, balanced, last = lines[-3:]
    assert last.startswith("[*] Test Acc: ") and balanced.startswith("[*] Balanced accuracy: ")
    assert classes.startswith("[*] Accuracy of the 10 worst of 13 classes: ") and classes.count("%") == 10
    shown = [float(part.split("%")[0].split()[-1]) for part in classes.split(": ", 1)[1].split(", ")]
    assert shown == sorted(shown) and len(shown) == 10
    right = [int(part.split("(")[1].split("/")[0]) for part in classes.split(", ")]
    assert sum(right) <= int(last.split(": ")[1].split("/")[0])


def test_05_balanced_accuracy_is_the_mean_of_the_classes(tmp_path, place):
    data = tmp_path / "set"
    write_classes(data / "train", {"dark": 38, "light": 2})
    write_classes(data / "test", {"dark": 19, "light": 1})
    place.run(data, "--init_lr=1e-9")
    *_, classes, balanced, last = place.run(data, "--is_train=False", "--M=1").splitlines()
    rates = [float(part.split("%")[0].split()[-1]) for part in classes.split(": ", 1)[1].split(", ")]
    assert float(balanced.split(": ")[1].split("%")[0]) == pytest.approx(np.mean(rates), abs=0.01)


def test_05_balanced_weights_enter_the_classification_loss():
    from model import Rollout
    from trainer import hybrid_loss

    labels = np.array([0] * 8 + [2] * 2)
    weights = shares.balanced_weights(labels, 4)
    np.testing.assert_allclose(weights, [10 / 16, 0, 10 / 4, 0])
    assert weights[labels].mean() == pytest.approx(1)
    random = np.random.default_rng(0)
    log_probs = np.log(random.dirichlet(np.ones(4), 10)).astype(np.float32)
    shape = (10, 2)
    rollout = Rollout(
        *[paddle.to_tensor(log_probs) if name == "log_probs" else paddle.zeros(shape) for name in Rollout._fields]
    )
    for smoothing in (0.0, 0.2):
        given = {"smoothing": smoothing, "weights": paddle.to_tensor(weights)}
        _, parts = hybrid_loss(rollout, paddle.to_tensor(labels), 1.0, **given)
        target = (1 - smoothing) * np.eye(4)[labels] + smoothing / 4
        expected = -(weights[labels] * (target * log_probs).sum(1)).mean()
        assert float(parts["action"]) == pytest.approx(expected, rel=1e-5)


def test_05_balanced_weights_change_a_training_and_equal_ones_do_not(tmp_path, place):
    data = tmp_path / "set"
    write_classes(data / "train", {"dark": 30, "light": 6})
    found = []
    for flags in ([], ["--class_weights=equal"], ["--class_weights=balanced"]):
        place.run(data, *flags)
        found.append(place.best(data)["model"]["classifier.fc.bias"])
    assert (found[0] == found[1]).all() and (found[0] != found[2]).any()


# ---- 6: the same images?


@pytest.fixture
def pets(tmp_path):
    data = tmp_path / "one" / "pets"
    write_classes(data / "train", {"cat": 8, "dog": 6})
    write_classes(data / "test", {"cat": 2, "dog": 2})
    return data


def test_06_resume_on_other_images_says_what_differs(tmp_path, place, pets):
    place.run(pets)
    moved = tmp_path / "moved" / "pets"
    shutil.copytree(pets, moved)
    place.run(moved, "--resume=True", "--epochs=2")  # the same images elsewhere
    write(moved / "train" / "dog" / "new.png")
    assert "dog has 7 images (then 6)" in place.refuse(moved, "--resume=True", "--epochs=3")
    assert "dog has 7 images (then 6)" in place.refuse(moved, "--is_train=False")
    (moved / "train" / "dog" / "new.png").unlink()
    write(moved / "train" / "cat" / "003.png", 77)
    assert "cat has other names or contents" in place.refuse(moved, "--resume=True", "--epochs=3")
    write(moved / "train" / "cow" / "1.png")
    assert "cow is new" in place.refuse(moved, "--resume=True", "--epochs=3")


def test_06_own_validation_images_are_compared_on_resume(tmp_path, place, pets):
    write_classes(pets / "val", {"cat": 2, "dog": 2})
    place.run(pets)
    write(pets / "val" / "cat" / "one more.png")
    assert "the validation images" in place.refuse(pets, "--resume=True", "--epochs=2")
    place.run(pets, "--is_train=False")  # they decide on nothing that is tested
    shutil.rmtree(place.root / "ckpt")
    assert "--valid_size=0.3 is not used" in place.run(pets, "--valid_size=0.3")


def test_06_folders_of_one_name_are_told_apart_at_the_test(tmp_path, place, pets):
    place.run(pets)
    other = tmp_path / "two" / "pets"
    write_classes(other / "train", {"cat": 8, "dog": 7})
    write_classes(other / "test", {"cat": 2, "dog": 2})
    assert "are not those that the model was trained with" in place.refuse(other, "--is_train=False")
    weights = next((place.root / "ckpt").glob("*best.pdparams"))
    out = place.run(other, "--is_train=False", f"--weights={weights}")
    assert "dog has 7 images (then 6)" in out and out.splitlines()[-1].startswith("[*] Test Acc")
    shutil.rmtree(other / "train")
    out = place.run(other, "--is_train=False")
    assert "has no training images: they are not compared" in out and "Test Acc" in out


def test_06_checkpoint_that_is_older_than_fingerprints_is_resumed(tmp_path, place, pets):
    config = get_config(place.arguments(pets))
    place.run(pets)
    latest = place.root / "ckpt" / f"{run_name(config)}_ckpt.pdparams"
    content = checkpoint.read(str(latest))
    del content["data"]
    checkpoint.write(str(latest), content)
    assert "not recorded which images" in place.run(pets, "--resume=True", "--epochs=2")
    before, after = get_train_valid(config, {}), get_train_valid(config, None)
    assert before[1].rows.tolist() != after[1].rows.tolist() and len(before[1]) == 1


@pytest.mark.parametrize(
    "data",
    [
        {"integer": 7},
        {"background": "pink"},
        {"train": {"cat": [1, 2]}},
        {"train": {"cat": "many"}},
        {"floating": [1]},
        {"by_class": "yes"},
        {"integer": np.arange(2)},
        5,
    ],
)
def test_06_what_a_strange_checkpoint_says_of_its_data_is_checked(tmp_path, place, pets, data):
    place.run(pets)
    (path,) = (place.root / "ckpt").glob("*best.pdparams")
    content, odd = checkpoint.read(str(path)), str(tmp_path / "odd.pdparams")
    checkpoint.write(odd, {**content, "data": data})
    flags = ["--is_train=False"], ["--predict", str(pets / "test")], [f"--export={tmp_path / 'export'}"]
    for wish in flags:
        message = place.refuse(pets, f"--weights={odd}", *wish)
        assert "damaged" in message and odd in message


# ---- 7, 8: depth and transparency


def deep(path, level, size=(9, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(abs(hash(path.name)) % 1000)
    Image.fromarray((level + random.integers(0, 9, size)).astype(np.uint16)).save(path)


def test_07_deep_images_of_a_data_set_have_one_scale(tmp_path, place):
    data = tmp_path / "scans"
    for number in range(6):
        deep(data / "train" / "faint" / f"{number}.png", 180)
        deep(data / "train" / "strong" / f"{number}.png", 3000)
        deep(data / "test" / "faint" / f"{number}.png", 180)
    config = get_config(place.arguments(data))
    train, valid = get_train_valid(config)
    assert train.about["integer"] == 4095
    assert train.images.max() == np.rint(3008 * 255 / 4095) and train.images.min() == np.rint(180 * 255 / 4095)
    place.run(data)
    best = place.best(data)
    assert best["data"]["integer"] == 4095 and best["data"]["background"] == "black"
    test = get_test(config, best["data"])
    assert test.images.max() <= 12  # without the training part, 188 would have been taken for 188 of 255
    shutil.rmtree(data / "train")
    assert get_test(config, best["data"]).images.max() <= 12
    assert get_test(config, {}).images.max() > 180  # an older file: by each image's own largest value

    seen = {}
    from ram.data import kept
    from ram.use import deploy, predict

    picture = data / "test" / "faint" / "0.png"
    seen["predict"] = predict.prepare(str(picture), config, (1, 9, 8), kept.conversion(best["data"]))
    (weights,) = (place.root / "ckpt").glob("*best.pdparams")
    place.run(data, f"--export={tmp_path / 'export'}", f"--weights={weights}")
    about = json.loads((tmp_path / "export" / "about.json").read_text())
    assert about["data"]["integer"] == 4095 and about["data"]["train"] == {
        k: list(v) for k, v in best["data"]["train"].items()
    }
    seen["deploy"] = deploy.read(str(picture), about["image_shape"], False, about["data"])
    for pixels in seen.values():
        np.testing.assert_array_equal(pixels[0], np.rint(np.asarray(Image.open(picture)) * np.float32(255 / 4095)))
    out = place.run(data, f"--weights={weights}", "--json", "--predict", str(picture))
    assert json.loads(out)["class"] in ("faint", "strong")


@pytest.mark.parametrize("largest, white", [(0.6, 1), (1.005, 1), (90.0, 255)])
def test_07_floating_point_images_have_one_scale(tmp_path, place, largest, white):
    for label, factor in (("a", 0.5), ("b", 1.0)):
        for number in range(4):
            path = tmp_path / "set" / "train" / label / f"{number}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((9, 8), factor * largest, np.float32)).save(path)
    train, _ = get_train_valid(get_config(place.arguments(tmp_path / "set")))
    assert train.about["floating"] == white
    assert sorted(set(train.images.ravel().tolist())) == [
        min(255, round(float(np.float32(factor * largest) * np.float32(255 / white)))) for factor in (0.5, 1.0)
    ]


def test_07_values_that_nothing_holds_are_refused(tmp_path, place):
    write_classes(tmp_path / "set" / "train", {"a": 3})
    Image.fromarray(np.full((9, 8), 90_000, np.int32)).save(tmp_path / "set" / "train" / "a" / "z.tif")
    message = place.refuse(tmp_path / "set")
    assert "z.tif" in message and "90000" in message


@pytest.mark.parametrize("inks, background", [((40, 90), "white"), ((170, 210), "black"), ((40, 250), "black")])
def test_08_one_background_for_a_data_set(tmp_path, place, inks, background):
    data = tmp_path / "icons"
    for label, ink in zip("ab", inks):
        for number in range(5):
            image = Image.new("RGBA", (8, 9), (0, 0, 0, 0))
            image.paste((ink, ink, ink, 255), (2, 2, 6, 7 - number % 2))
            path = data / "train" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
    out = place.run(data)
    assert "Train on" in out and place.best(data)["data"]["background"] == background
    train, _ = get_train_valid(get_config(place.arguments(data)))
    corners = train.images[:, :, 0, 0]
    assert (corners == (255 if background == "white" else 0)).all()


# ---- 9, 10, 11: broken images and names


def test_09_what_stands_beside_the_pixels_of_a_png_breaks_no_command(tmp_path, place):
    data = tmp_path / "set"
    for part, count in (("train", 5), ("test", 2)):
        write_classes(data / part, {"a": count, "b": count})
    plain, _ = get_train_valid(get_config(place.arguments(data)))
    profile = chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(bytes(3_000_000)))
    text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"<x/>" * 600_000))
    beside = [chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff"), profile, text, chunk(b"tEXt", b"Software\0" + b"z" * 1_200_000)]
    for number, path in enumerate(sorted(data.rglob("*.png"))):
        content = path.read_bytes()
        at = content.index(b"IDAT") - 4
        path.write_bytes(content[:at] + beside[number % len(beside)] + content[at:])
    again, _ = get_train_valid(get_config(place.arguments(data)))
    np.testing.assert_array_equal(again.images, plain.images)
    assert "Train on 8 samples, validate on 2 samples" in place.run(data)
    assert "/4 (" in place.run(data, "--is_train=False")
    assert place.run(data, "--predict", str(data / "test")).count("test/") == 4


def test_10_all_broken_images_are_named_at_once_and_may_be_skipped(tmp_path, place):
    data = tmp_path / "set"
    write_classes(data / "train", {"a": 20, "b": 8})
    write_classes(data / "val", {"a": 3, "b": 3})
    write_classes(data / "test", {"a": 3, "b": 3})
    broken = [f"train/a/{number:03d}.png" for number in range(2, 13)] + ["val/b/001.png", "test/a/002.png"]
    for name in broken:
        path = data / name
        path.write_bytes(path.read_bytes()[:60])
    message = place.refuse(data)
    assert message.startswith("main.py: 13 images cannot be used: ") and "; and 3 more; " in message
    assert sum(name in message for name in broken) == 10 and "--skip_broken=True" in message
    assert not list((place.root / "ckpt").glob("*.pdparams"))
    out = place.run(data, "--skip_broken=True")
    assert "Train on 17 samples, validate on 5 samples" in out
    name = run_name(get_config(place.arguments(data)))
    listed = (place.root / "logs" / f"{name}_skipped.txt").read_text().splitlines()
    assert len(listed) == 13 and all(
        any(line.startswith(str(data / name) + ": ") for line in listed) for name in broken
    )
    assert "/5 (" in place.run(data, "--is_train=False")  # the checkpoint says that broken images are skipped
    assert len((place.root / "logs" / f"{name}_skipped.txt").read_text().splitlines()) == 13
    message = place.refuse(data, "--is_train=False", "--skip_broken=False")
    assert message.startswith("main.py: 1 image cannot be used: ") and "repair or remove it" in message
    place.run(data, "--resume=True", "--epochs=2")


def test_10_what_is_wrong_with_the_test_is_known_before_the_training(tmp_path, place):
    data = tmp_path / "set"
    write_classes(data / "train", {"a": 20, "b": 8})
    place.run(data)  # without images for the test there can be a training
    write_classes(data / "test", {"a": 3, "b": 3})
    (data / "test" / "a" / "002.png").write_bytes(b"none")
    message = place.refuse(data)
    assert message.startswith("main.py: 1 image cannot be used: ") and "test/a/002.png" in message
    place.run(data, "--resume=True", "--epochs=2")  # which had begun
    shutil.rmtree(data / "test")
    for number in range(3):
        write(data / "test" / f"{number}.png")  # without labels
    out = place.run(data)
    assert f"There can be no test so far: {data / 'test'} has no folders in it" in out and "[*] Train on " in out
    assert "has no folders in it" in place.refuse(data, "--is_train=False")


@posix
@pytest.mark.parametrize("part", ["train", "test"])
def test_10_a_pipe_is_no_image_and_is_not_waited_for(tmp_path, place, part):
    data = tmp_path / "set"
    for name in ("train", "test"):
        write_classes(data / name, {"a": 20, "b": 8})
    os.mkfifo(data / part / "a" / "pipe.png")
    assert "not taken: 1 no ordinary file" in place.run(data)
    (data / "train_list.txt").write_text("train/a/000.png 0\ntrain/a/001.png 0\ntrain/a/pipe.png 0\n")
    if part == "train":
        assert "pipe.png" in place.refuse(data)


def test_10_class_of_broken_images_alone_is_refused(tmp_path, place):
    write_classes(tmp_path / "set" / "train", {"a": 4, "b": 1})
    (tmp_path / "set" / "train" / "b" / "000.png").write_bytes(b"none")
    assert "no image of b" in place.refuse(tmp_path / "set", "--skip_broken=True")


@posix
def test_11_names_that_are_no_text_are_escaped_where_they_are_shown(tmp_path, place):
    root = os.fsencode(tmp_path / "set" / "train")
    names = ["\u732b".encode("gbk"), "\u72d7".encode("gbk"), b"$x_{1$"]
    try:
        for name in names:
            os.makedirs(os.path.join(root, name))
    except OSError:
        pytest.skip("this file system takes text alone")
    for level, name in enumerate(names):
        for number in range(4):
            write(Path(os.fsdecode(os.path.join(root, name))) / f"{number}.png", 60 + 60 * level, (12, 12), number)
    shutil.copytree(tmp_path / "set" / "train", tmp_path / "set" / "test")
    log = ["--use_visualdl=True"] if importlib.util.find_spec("visualdl") else []
    out = place.run(tmp_path / "set", "--plot_freq=1", *log)
    assert "Best validation accuracy" in out
    classes = place.best(tmp_path / "set")["classes"]
    assert len(classes) == 3 and all(name.isprintable() for name in classes)
    out = place.run(tmp_path / "set", "--is_train=False")
    assert "Test Acc" in out
    arguments = ["visualize.py", "glimpses", *place.arguments(tmp_path / "set"), "--num_images=2"]
    with mock.patch.object(sys, "argv", arguments):
        runpy.run_path(str(ROOT / "visualize.py"), run_name="__main__")
    picture = next((tmp_path / "set" / "test").rglob("*.png"))
    assert place.call(tmp_path / "set", "--predict", str(picture))[0] == 0


@posix
def test_11_composed_and_decomposed_names_are_one_class(tmp_path, place):
    data = tmp_path / "set"
    composed, decomposed = (unicodedata.normalize(form, "\u00e9tang") for form in ("NFC", "NFD"))
    write_classes(data / "train", {composed: 5, "mer": 5})
    write_classes(data / "test", {decomposed: 2, "mer": 2})
    place.run(data)
    assert place.best(data)["classes"] == ["mer", composed]
    assert "/4 (" in place.run(data, "--is_train=False")
    shutil.move(data / "train" / composed / "000.png", tmp_path / "000.png")
    write_classes(data / "train", {decomposed: 2})
    assert "Train on 9 samples" in place.run(data) and len(place.best(data)["classes"]) == 2


# ---- 12: large images


@pytest.mark.parametrize(
    "size, given, expected",
    [
        ((48, 40), {}, (8, 3, 2, 8)),
        ((60, 60), {}, (8, 3, 2, 8)),
        ((100, 64), {}, (14, 3, 2, 8)),
        ((256, 256), {}, (32, 3, 2, 8)),
        ((4096, 10), {}, (512, 3, 2, 8)),
        ((256, 256), {"patch_size": 16}, (16, 4, 2, 32)),
        ((200, 200), {"num_patches": 2, "num_glimpses": 5}, (26, 2, 2, 5)),
        ((90, 90), {"glimpse_scale": 3}, (12, 3, 3, 8)),
        ((90, 90), {"glimpse_scale": 1}, (12, 1, 1, 8)),
    ],
)
def test_12_flags_follow_from_the_size(size, given, expected):
    assert tuple(sizes.suited_flags(size, given).values()) == expected
    g, k, s, T = expected
    if not given:
        assert T * g * g >= 0.1 * size[0] * size[1] and g * s ** (k - 1) >= max(size) / 3


def bare(place, data, *flags):
    """Arguments without flags about looking."""
    return [
        flag for flag in place.arguments(data, *flags) if "num_glimpses=2" not in flag and "patch_size=6" not in flag
    ]


def run_bare(place, data, *flags):
    place.capsys.readouterr()
    try:
        run_as_main(bare(place, data, *flags))
        status = 0
    except SystemExit as ended:
        status = ended.code
    return (status, *place.capsys.readouterr())


def test_12_large_images_settle_the_flags_before_the_run_is_named(tmp_path, place):
    data = tmp_path / "set"
    for part in ("train", "test"):
        write_classes(data / part, {"a": 4, "b": 4}, (48, 40))
    status, out, err = run_bare(place, data)
    assert status == 0, err
    line = "Images of 48x40: --patch_size=8 --num_patches=3 --glimpse_scale=2 --num_glimpses=8 follow from their size"
    assert line in out
    best = place.root / "ckpt" / "ram_8_8x8_2_k3_h16_g8_l8_folder_set_model_best.pdparams"
    saved = checkpoint.read(str(best))["settings"]
    assert (saved["num_glimpses"], saved["patch_size"], saved["glimpse_scale"], saved["num_patches"]) == (8, 8, 2, 3)
    for wish in (
        ["--is_train=False"],
        ["--predict", str(data / "test"), "--save_pictures=False"],
        ["--resume"],
    ):
        status, out, err = run_bare(place, data, *wish, *(["--epochs=2"] if wish == ["--resume"] else []))
        assert status == 0, err
    shutil.rmtree(data / "train")
    status, _, err = run_bare(place, data, "--is_train=False")
    assert status == 2 and "--patch_size --num_patches --glimpse_scale --num_glimpses" in err
    flags = "--patch_size=8 --num_patches=3 --glimpse_scale=2 --num_glimpses=8".split()
    assert run_bare(place, data, "--is_train=False", *flags)[0] == 0
    assert run_bare(place, data, "--is_train=False", f"--weights={best}")[0] == 0


@long_test()
def test_12_export_finds_the_run_of_large_images(tmp_path, place):
    data = tmp_path / "set"
    write_classes(data / "train", {"a": 4, "b": 4}, (44, 60))
    assert run_bare(place, data)[0] == 0
    status, out, err = run_bare(place, data, f"--export={tmp_path / 'out'}")
    assert status == 0 and "ram_8_8x8_2_k3_" in out, err


def test_12_small_images_keep_the_defaults_and_image_size_decides(tmp_path, place):
    data = tmp_path / "set"
    write_classes(data / "train", {"a": 4, "b": 4}, (32, 30))
    status, out, _ = run_bare(place, data)
    assert status == 0 and "follow from" not in out
    assert list((place.root / "ckpt").glob("ram_6_8x8_1_h16_g8_l8_folder_set_model_best*"))
    status, out, _ = run_bare(place, data, "--image_size=64")
    assert status == 0 and "Images of 64x64" in out
    assert list((place.root / "ckpt").glob("ram_8_8x8_2_k3_*_folder64_set_model_best*"))


def test_12_given_flags_that_see_little_get_a_line_of_advice(tmp_path, place):
    data = tmp_path / "set"
    write_classes(data / "train", {"a": 3, "b": 3}, (80, 80))
    out = place.run(data, "--num_patches=1", "--glimpse_scale=1")
    (line,) = [line for line in out.splitlines() if "see more" in line]
    assert "2 finest patches of 6x6 cover 1.1 % of 80x80 pixels, and the widest patch is 6 wide" in line
    assert "80x80: --num_patches=3 follows from their size" in place.run(data, "--glimpse_scale=3")
    assert "see more" not in place.run(
        data, "--patch_size=24", "--num_glimpses=2", "--num_patches=2", "--glimpse_scale=2"
    )


def test_12_patches_that_are_all_the_same_get_a_line_of_advice(tmp_path, place):
    data, says = tmp_path / "set", "--num_patches=3 with --glimpse_scale=1: all patches are the same"
    write_classes(data / "train", {"a": 3, "b": 3}, (20, 20))
    assert says in place.run(data, "--num_patches=3", "--glimpse_scale=1")
    assert says not in place.run(data, "--num_patches=3", "--glimpse_scale=2")


# ---- 13: start from other weights


def test_13_training_starts_from_what_fits(tmp_path, place):
    gray, colored = tmp_path / "gray", tmp_path / "colored"
    write_classes(gray / "train", {name: 4 for name in "abc"})
    for number, label in enumerate("pqrst" * 3):
        path = colored / "train" / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (9, 8, 3), np.uint8)).save(path)
    place.run(gray)
    (path,) = (place.root / "ckpt").glob("*gray_model_best.pdparams")
    out = place.run(colored, f"--weights={path}", "--init_lr=1e-12")
    (line,) = [line for line in out.splitlines() if "Starting from the weights" in line]
    assert "classifier.fc.weight ([16, 3] there, [16, 5] here)" in line and "classifier.fc.bias ([3] there" in line
    assert "drawn anew" in line and line.count("there") == 3
    old, new = checkpoint.read(str(path))["ema"], place.best(colored)["model"]
    for name, value in old.items():
        if value.shape == new[name].shape:
            np.testing.assert_allclose(new[name], value, atol=1e-6)
    write_classes(colored / "test", {"p": 2})
    assert "knows other classes" in place.refuse(colored, f"--weights={path}", "--is_train=False")
    content = checkpoint.read(str(path))
    checkpoint.write(str(tmp_path / "same.pdparams"), content)
    out = place.run(gray, f"--weights={tmp_path / 'same.pdparams'}")
    assert f"Starting from the weights in {tmp_path / 'same.pdparams'}\n" in out


def test_13_weights_of_which_only_biases_fit_are_refused(tmp_path, place):
    data = tmp_path / "set"
    write_classes(data / "train", {name: 4 for name in "abc"})
    place.run(data)
    (path,) = (place.root / "ckpt").glob("*model_best.pdparams")
    content = checkpoint.read(str(path))
    biases = {name: value if value.ndim == 1 else value[None] for name, value in content["ema"].items()}
    checkpoint.write(str(tmp_path / "biases.pdparams"), {**content, "model": biases, "ema": biases})
    assert "biases.pdparams cannot start this training: nothing but biases" in place.refuse(
        data, f"--weights={tmp_path / 'biases.pdparams'}"
    )
    endless = {name: value * np.float32(np.nan) for name, value in content["ema"].items()}
    checkpoint.write(str(tmp_path / "nan.pdparams"), {**content, "model": endless, "ema": endless})
    assert "not finite" in place.refuse(data, f"--weights={tmp_path / 'nan.pdparams'}")


# ---- 14: links


@posix
def test_14_links_are_followed_where_that_is_asked_for(tmp_path, place):
    data, elsewhere = tmp_path / "set", tmp_path / "elsewhere"
    write_classes(data / "train", {"a": 6})
    write_classes(data / "test", {"a": 2})
    write_classes(elsewhere, {"deep": 6})
    write(elsewhere / "single.png")
    (data / "train" / "b").symlink_to(elsewhere / "deep")
    (data / "train" / "a" / "z.png").symlink_to(elsewhere / "single.png")
    (data / "train" / "a" / "loop").symlink_to(data / "train" / "a")
    (data / "train" / "a" / "self").symlink_to("self")
    assert "is a link out of" in place.refuse(data) and "--follow_links=True" in place.refuse(data)
    out = place.run(data, "--follow_links=True")
    assert "Train on 11 samples, validate on 2 samples" in out
    assert "links to folders that were taken already" in out
    assert "is a link out of" in place.refuse(data, "--is_train=False")  # no checkpoint can ask for it


# ---- 15: IDX sets


def write_idx(folder, prefix="", zipped=False, dotted=False, first=0, classes=4, shape=(11, 9), counts=(24, 8)):
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in zip(("train", "t10k"), counts):
        images, labels = easy_images(count, count, classes, (1, *shape))
        labels[:classes] = range(classes)
        for kind, array, axes in (("images", images[:, 0], 3), ("labels", labels.astype(np.uint8) + first, 1)):
            name = f"{prefix}{part}-{kind}{'.' if dotted else '-'}idx{axes}-ubyte" + ".gz" * zipped
            raw = to_idx(np.ascontiguousarray(array))
            (folder / name).write_bytes(gzip.compress(raw) if zipped else raw)


@pytest.mark.parametrize(
    "options, classes",
    [
        ({}, list("0123")),
        ({"prefix": "emnist-letters-", "zipped": True, "first": 1}, list("1234")),
        ({"dotted": True, "first": 6, "shape": (30, 31)}, list("6789")),
    ],
    ids=["plain", "EMNIST", "as archives name them"],
)
def test_15_any_idx_set_trains_and_is_tested(tmp_path, place, options, classes):
    data = tmp_path / "kuzushiji"
    write_idx(data, **options)
    assert "Train on 20 samples, validate on 4 samples" in place.run(data, kind="idx")
    best = place.best(data, kind="idx")
    assert best["classes"] == classes and best["image_shape"] == [1, *options.get("shape", (11, 9))]
    assert "/8 (" in place.run(data, "--is_train=False", kind="idx")
    images, _ = easy_images(5, 5, 4, (1, *options.get("shape", (11, 9))))
    Image.fromarray(images[0, 0]).save(tmp_path / "own.png")
    assert place.call(data, "--predict", str(tmp_path / "own.png"), kind="idx")[0] == 0
    write_idx(data, **{**options, "counts": (25, 8)})
    assert "images (then" in place.refuse(data, "--is_train=False", kind="idx")


def test_15_folder_raw_is_found_and_several_sets_are_listed(tmp_path, place):
    write_idx(tmp_path / "KMNIST" / "raw")
    assert "Train on 20" in place.run(tmp_path / "KMNIST", kind="idx")
    write_idx(tmp_path / "EMNIST", prefix="emnist-digits-")
    write_idx(tmp_path / "EMNIST", prefix="emnist-byclass-")
    assert "(emnist-byclass-*, emnist-digits-*)" in place.refuse(tmp_path / "EMNIST", kind="idx")
    (tmp_path / "empty").mkdir()
    assert "holds no IDX files" in place.refuse(tmp_path / "empty", kind="idx")


@pytest.mark.parametrize(
    "name, content, named",
    [
        ("train-labels-idx1-ubyte", to_idx(np.zeros(23, np.uint8)), "24 training images, but 23 labels"),
        ("train-images-idx3-ubyte", to_idx(np.zeros((24, 11), np.uint8)), "24 x 11"),
        ("train-images-idx3-ubyte", to_idx(np.zeros((24, 11, 9), np.uint8))[:-5], "truncated"),
        ("train-images-idx3-ubyte", to_idx(np.zeros((24, 11, 9), np.uint8)) + b"x", "too long"),
        ("train-images-idx3-ubyte", b"\0\0\x08\x03" + b"\xff" * 12, "too large"),
        ("train-images-idx3-ubyte", b"<html>", "not an IDX file"),
        ("train-labels-idx1-ubyte", b"\0\0\x0b\x01\0\0\0\x18" + bytes(48), "of type 11: unsigned bytes"),
        ("train-labels-idx1-ubyte", b"\0\0\x09\x01\0\0\0\x18" + bytes(24), "of type 9: unsigned bytes"),
        ("train-labels-idx1-ubyte", None, "no file of train labels"),
    ],
)
def test_15_idx_files_that_do_not_fit_are_named(tmp_path, place, name, content, named):
    write_idx(tmp_path / "set")
    if content is None:
        (tmp_path / "set" / name).unlink()
    else:
        (tmp_path / "set" / name).write_bytes(content)
    assert named in place.refuse(tmp_path / "set", kind="idx")


def test_15_another_set_in_the_place_of_mnist_is_neither_trained_nor_replaced(tmp_path, place, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_idx(tmp_path / "data" / "mnist", shape=(28, 28))
    before = {path: path.read_bytes() for path in (tmp_path / "data" / "mnist").iterdir()}
    message = place.refuse(tmp_path / "data", kind="mnist")
    assert "use --dataset=idx, or delete it to have MNIST fetched" in message and "24 x 28 x 28" in message
    assert {path: path.read_bytes() for path in (tmp_path / "data" / "mnist").iterdir()} == before
    assert "Train on 20" in place.run(tmp_path / "data" / "mnist", kind="idx")


# ---- 16: the same files under other names, in other places


def as_archives_name_them(data, arrays):
    for role, array in arrays.items():
        (data / "mnist").mkdir(exist_ok=True)
        (data / "mnist" / NAMES[role].replace("-idx", ".idx")).write_bytes(to_idx(array))


def as_torchvision_keeps_them(data, arrays):
    (data / "MNIST" / "raw").mkdir(parents=True)
    for role, array in arrays.items():
        (data / "MNIST" / "raw" / (NAMES[role] + ".gz")).write_bytes(gzip.compress(to_idx(array)))


def as_keras_keeps_them(data, arrays):
    np.savez_compressed(data / "mnist.npz", **{sources.KERAS[role]: array for role, array in arrays.items()})


@pytest.mark.parametrize("write_them", [as_archives_name_them, as_torchvision_keeps_them, as_keras_keeps_them])
def test_16_the_same_files_elsewhere_are_taken_by_the_command(tmp_path, place, tiny_mnist, write_them):
    (tmp_path / "data").mkdir()
    write_them(tmp_path / "data", tiny_mnist.arrays)
    with tiny_mnist.registered():
        files = dataclasses.replace(sources.DATASETS["mnist"], archive="mnist.npz", folders=("MNIST/raw", "."))
        with mock.patch.dict(sources.DATASETS, mnist=files):
            assert "Train on 540 samples, validate on 60 samples" in place.run(tmp_path / "data", kind="mnist")
            assert "/100 (" in place.run(tmp_path / "data", "--is_train=False", kind="mnist")


# ---- layouts and their helpers


def test_names_that_are_shown():
    assert layout.shown("plain name") == "plain name" and layout.shown("\u732b") == "\u732b"
    assert layout.shown("e\u0301") == "\u00e9" and layout.shown("a\nb") == "a\\nb"
    assert layout.shown(os.fsdecode(b"\xc3\xa8\xe8")).isascii()


def test_limits_of_arrays(monkeypatch, tmp_path):
    monkeypatch.setattr(arrays, "MAX_BYTES", 1000)
    write_idx(tmp_path / "set")
    with pytest.raises(UserError, match="too large"):
        arrays.idx_set(str(tmp_path / "set")).read("train")


@long_test()
def test_12_pictures_find_the_run_of_large_images(tmp_path, place):
    data = tmp_path / "set"
    for part in ("train", "test"):
        write_classes(data / part, {"a": 4, "b": 4}, (40, 48))
    assert run_bare(place, data, "--plot_freq=1")[0] == 0
    for command in (["glimpses", "--num_images=2"], ["training"]):
        with mock.patch.object(sys, "argv", ["visualize.py", command[0], *bare(place, data), *command[1:]]):
            runpy.run_path(str(ROOT / "visualize.py"), run_name="__main__")
    assert list((place.root / "plots").rglob("ram_8_8x8_2_k3_*"))


def test_13_validation_images_that_the_weights_have_seen_are_counted(tmp_path, place):
    data = tmp_path / "set"
    write_classes(data / "train", {"a": 30, "b": 12})
    place.run(data, "--valid_size=0.5")
    (path,) = (place.root / "ckpt").glob("*model_best.pdparams")
    kept = str(tmp_path / "first.pdparams")
    shutil.copy(path, kept)
    assert "[!]" not in place.run(data, f"--weights={kept}", "--valid_size=0.5")
    out = place.run(data, f"--weights={kept}", "--valid_size=0.5", "--random_seed=2")
    first, second = (
        get_train_valid(get_config(place.arguments(data, "--valid_size=0.5", f"--random_seed={seed}")))
        for seed in (1, 2)
    )
    seen = len(np.intersect1d(first[0].rows, second[1].rows))
    assert seen > 0 and f"{seen} of the 21 validation images were among those" in out
    write(data / "train" / "a" / "new.png")
    assert "validation images were" not in place.run(data, f"--weights={kept}", "--random_seed=2")


@posix
def test_names_with_line_breaks_stay_in_one_line(tmp_path, place):
    data = tmp_path / "set"
    write_classes(data / "train", {"a\nb": 4, "c": 4})
    out = place.run(data)
    assert "Train on" in out and place.best(data)["classes"] == ["a\\nb", "c"]
    write(data / "train" / "c" / "odd\nsize.png", size=(5, 5))
    assert "5x5" in place.refuse(data)
    (data / "train" / "c" / "odd\nsize.png").write_bytes(b"none")
    assert "odd\\nsize.png" in place.refuse(data)


def test_13_a_model_is_not_tested_on_images_that_it_was_trained_on(tmp_path, place):
    data = tmp_path / "set"
    write_classes(data, {"a": 30, "b": 20})
    place.run(data)
    (path,) = (place.root / "ckpt").glob("*model_best.pdparams")
    test = [f"--weights={path}", "--is_train=False"]
    assert "/10 (" in place.run(data, *test)
    assert "/5 (" in place.run(data, *test, "--test_size=0.1")
    refusal = place.refuse(data, *test, "--test_size=0.5")
    assert "--test_size=0.5 takes images that" in refusal and "held out 0.2 of them" in refusal
    out = place.run(data, f"--weights={path}", "--test_size=0.3")
    assert "[!] these weights were trained with --test_size=0.2 of the same images" in out
    write_classes(tmp_path / "others", {"a": 12, "b": 10})  # of which any share may be tested
    assert "/11 (" in place.run(tmp_path / "others", *test, "--test_size=0.5")
