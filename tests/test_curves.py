"""Curves: files of every layout, means and bands over runs, and bad files refused in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT
from matplotlib.collections import PolyCollection
from PIL import Image

import visualize
from config import get_config
from ram.draw import curves
from ram.draw.curves import Curve
from ram.draw.style import to_pixels
from ram.evaluation import Evaluation
from ram.runs import seeds
from utils import UserError


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
    curve = curves.read_group(f"both={a},{b}")
    assert curve.label == "both" and curve.runs == 2 and curve.epochs.tolist() == [1, 2, 3]
    assert curve.mean["val_err"].tolist() == [15, 6, 2] and curve.mean["val_acc"].tolist() == [85, 94, 98]
    assert curve.std["val_err"][:2] == pytest.approx([np.sqrt(50), np.sqrt(8)]) and np.isnan(curve.std["val_err"][2])
    assert curve.mean["train_err"].tolist() == [49, 48, 47]
    figure = curves.curves_figure([curve], "title")
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
        curves.read_group(f"x={logs[0]},{logs[1]}"),
        curves.read_group(str(tmp_path / "x_results.json")),
    )
    assert read.label == "x" and read.runs == 2
    assert read.mean.keys() == joined.mean.keys() == {"val_err", "val_acc", "train_err", "train_acc"}
    for key in read.mean:
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
    curve = curves.read_curve(str(tmp_path / "c.json"))
    assert curve.epochs.tolist() == [1, 2]
    assert curve.mean["val_err"].tolist() == [10, 4] and curve.mean["val_acc"].tolist() == [90, 96]
    if isinstance(content, dict) and isinstance(content.get("val_err"), dict):
        assert curve.std["val_acc"].tolist() == [1, 2]


@pytest.mark.parametrize("of", ["val", "test"])
@pytest.mark.parametrize("one, other", [("err", "acc"), ("acc", "err")])
def test_one_quantity_gives_the_other(tmp_path, of, one, other):
    (tmp_path / "c.json").write_text(json.dumps({"epochs": [1, 2], f"{of}_{one}": [30, 20], f"train_{one}": [3, 2]}))
    mean = curves.read_curve(str(tmp_path / "c.json")).mean
    assert mean[f"{of}_{other}"].tolist() == [70, 80] and mean[f"train_{other}"].tolist() == [97, 98]


def test_a_log_that_is_being_written(tmp_path):
    path = store(tmp_path / "run.jsonl", [*records(10, 4), {**records(1, 3)[1]}])
    path.write_text(path.read_text() + '{"epoch": 3, "val_')
    assert curves.read_curve(str(path)).mean["val_err"].tolist() == [10, 3], "of an epoch logged twice, the last"
    assert curves.read_curve(str(store(path, records(10)))).epochs.tolist() == [1]


def test_curves_command_needs_no_paddle(tmp_path):
    log = store(tmp_path / "run.jsonl", records(10, 4))
    script = "import sys; sys.modules['paddle'] = None; import visualize; visualize.run(sys.argv[1:])"
    command = [sys.executable, "-c", script, "curves", str(log), f"two runs={log},{log}", f"--plots_dir={tmp_path}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=100)
    with Image.open(tmp_path / "curves_run_two-runs.png") as image:
        assert image.width == 1350


KERAS = {"learning_steps": [0, 10, 20], "accuracy": [0.1, 0.75, 0.9], "accuracy_std": [0.003, 0.004, 0.003]}


def test_results_of_the_keras_version_stand_beside_a_log(tmp_path):
    (tmp_path / "mnist_results.json").write_text(json.dumps(KERAS, indent=4))
    theirs = curves.read_group(f"keras={tmp_path / 'mnist_results.json'}")
    assert theirs.label == "keras" and theirs.epochs.tolist() == [0, 10, 20] and theirs.runs == 1
    assert theirs.mean["test_acc"] == pytest.approx([10, 75, 90]) and theirs.mean["test_err"] == pytest.approx(
        [90, 25, 10]
    )
    assert theirs.std["test_err"] == pytest.approx([0.3, 0.4, 0.3]) and "val_err" not in theirs.mean
    ours = curves.read_group(f"ours={store(tmp_path / 'a.jsonl', records(20, 8))}")
    figure = curves.curves_figure([ours, theirs], "title")
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["ours", "keras (test images)", "validation", "test", "training", "+- one standard deviation"]
    styles = {name: handle.get_linestyle() for name, handle in zip(names, figure.legends[0].get_lines())}
    drawn = [axis.lines[-1] for axis in figure.axes]
    assert [line.get_ydata().tolist() for line in drawn] == [pytest.approx([90, 25, 10]), pytest.approx([10, 75, 90])]
    assert drawn[0].get_linestyle() == styles["test"] != styles["validation"]
    bands = [collection for collection in figure.axes[1].collections if isinstance(collection, PolyCollection)]
    assert len(bands) == 1 and bands[0].get_paths()[0].vertices[:, 1].min() == pytest.approx(9.7)
    visualize.run(["curves", f"keras={tmp_path / 'mnist_results.json'}", f"--out={tmp_path / 'k'}"])
    assert (tmp_path / "k.png").exists()


@pytest.mark.parametrize("name, written", [("v1.2", "v1.2.png"), ("a.png", "a.png"), ("a.gif", "a.png")])
def test_out_keeps_its_name(tmp_path, name, written):
    store(tmp_path / "run.jsonl", records(10, 4))
    visualize.run(["curves", str(tmp_path / "run.jsonl"), f"--out={tmp_path / 'out' / name}"])
    assert [path.name for path in (tmp_path / "out").iterdir()] == [written]


def test_epochs_are_whole_numbers():
    figure = curves.curves_figure([curves.curve_of(records(10, 4, 2), "a")], "title")
    assert all(tick == round(tick) for axis in figure.axes for tick in axis.get_xticks())


def test_perfect_and_single_epochs_can_be_drawn():
    zeros = {"val_err": np.array([0.0]), "val_acc": np.array([100.0])}
    nothing = {key: np.array([np.nan]) for key in zeros}
    figure = curves.curves_figure([Curve("a", np.array([1]), zeros, nothing, 1, False)], "title")
    assert to_pixels(figure).shape[1] == 900


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
    "percent.json": json.dumps({**KERAS, "accuracy": [10, 75, 90]}),
    "no_std.json": json.dumps({key: KERAS[key] for key in ("learning_steps", "accuracy")}),
    "short.json": json.dumps({**KERAS, "learning_steps": [0, 10]}),
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
        curves.read_group(f"x={path},{path}")
    assert curves.read_group(f"x={path}").label == "x"
    path.write_text('{"epochs": [1], "test_err": [1]}')
    log = store(tmp_path / "run.jsonl", records(10, 4))
    with pytest.raises(UserError, match="no quantity in common"):
        curves.read_group(f"x={path},{log}")
    with pytest.raises(UserError, match="at most 7"):
        visualize.run(["curves", *[str(path)] * 8])


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
