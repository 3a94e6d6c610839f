"""benchmark.py beside another project's trainer: what it says where that cannot run, and which cases are compared."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from helpers import ROOT, long_test

import benchmark
from config import get_config
from ram.build import build_model
from ram.speed import sides
from ram.speed.against import FILES, NAMES
from ram.speed.cases import CASES, printed_by
from utils import UserError


def run(*flags: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "benchmark.py", *flags], cwd=ROOT, capture_output=True, text=True)


def says_one_line(ended: subprocess.CompletedProcess, *parts: str) -> bool:
    (line,) = [line for line in ended.stderr.replace("\r", "\n").splitlines() if line.startswith("benchmark.py: ")]
    return ended.returncode == 2 and "Traceback" not in ended.stderr and all(part in line for part in parts)


@pytest.mark.parametrize("more", [["--quick", "--case=mnist"], ["--quality"], ["--sides=none.png", "--quick"]])
def test_a_folder_that_is_no_checkout_is_one_line(tmp_path, more):
    ended = run(f"--against={tmp_path}", *more)
    assert says_one_line(ended, f"--against={tmp_path} has no config.py", "github.com/kevinzakka")


@pytest.mark.parametrize(
    "flags, says",
    [
        (["--plot", "--json=speed.json"], "--json says nothing about --plot"),
        (["--ablation", "--quick"], "--quick says nothing about --ablation"),
        (["--quality", "--case=mnist"], "--case says nothing about --quality"),
        (["--against=x", "--quality", "--quick"], "--quick says nothing about --quality"),
        (["--processes", "--ablation"], "--processes and --ablation are two"),
        (["--sides", "--quality", "--against=x"], "--sides and --quality are two"),
        (["--quality_preset=mnist"], "is for --quality"),
        (["--against_python=python"], "is for --against"),
    ],
)
def test_flags_that_say_nothing_are_refused(flags, says):
    with pytest.raises(UserError, match=says):
        benchmark.main(flags)


def test_the_home_is_meant_by_a_tilde(monkeypatch):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, "/nowhere")
    with pytest.raises(UserError, match="--json=/nowhere/speed.json: there is no folder /nowhere"):
        benchmark.main(["--json=~/speed.json"])


@pytest.mark.parametrize(
    "target, says", [("diary.txt", "no figures"), ("none/a.json", "no folder"), ("", "no ordinary")]
)
def test_where_figures_cannot_go_is_known_before_they_are_measured(tmp_path, target, says):
    (tmp_path / "diary.txt").write_text("a diary")
    assert says_one_line(run(f"--json={tmp_path / target}"), says)
    assert (tmp_path / "diary.txt").read_text() == "a diary"


def test_earlier_figures_are_moved_aside(tmp_path, capsys):
    path = tmp_path / "speed.json"
    for figures in ({"first": 1}, {"second": 2}):
        benchmark.make_way(str(path))
        benchmark.write(str(path), figures)
    assert json.loads(path.read_text()) == {"second": 2}
    (kept,) = (tmp_path / "old").rglob("speed.json")
    assert json.loads(kept.read_text()) == {"first": 1} and f"{path} was moved to" in capsys.readouterr().out
    (tmp_path / "link.json").symlink_to(path)
    with pytest.raises(UserError, match="no ordinary file"):
        benchmark.make_way(str(tmp_path / "link.json"))


@pytest.fixture
def checkout(tmp_path):
    """A folder with the files of a checkout."""
    for name in FILES:
        (tmp_path / name).write_text("")
    return tmp_path


@long_test()
def test_a_python_without_torch_is_one_line(checkout):
    try:
        import torch  # noqa: F401
    except ImportError:
        assert says_one_line(run(f"--against={checkout}"), "No module named 'torch'", "--against_python=PATH")
    else:
        pytest.skip("this Python has PyTorch")


def test_a_python_that_does_not_exist_is_one_line(checkout):
    ended = run(f"--against={checkout}", f"--against_python={checkout}/python")
    assert says_one_line(ended, f"--against_python={checkout}/python cannot be started")


def test_what_stops_a_measurement_is_said_in_one_line():
    assert printed_by("print(2)\nprint(3.5)") == 3.5
    with pytest.raises(UserError, match="^there are no images$"):
        printed_by("from utils import UserError\nraise UserError('there are no images')")


def test_only_presets_of_mnist_are_trained_to_a_quality():
    assert says_one_line(run("--quality", "--quality_preset=cluttered60"), "it must be a preset of MNIST")


@pytest.mark.parametrize("name, weights", list(zip(NAMES, (242_317, 289_421, 307_853))))
def test_the_networks_that_are_compared_are_the_papers(name, weights):
    """The reference has as many weights with the flags that are handed to it: counted when the two were compared."""
    config = get_config(CASES[name])
    side = config.canvas_size if "cluttered" in name else 28
    model = build_model(config, (1, side, side), 10)
    assert sum(weight.size for weight in model.parameters()) == weights and config.batch_size == 128


@long_test()
def test_cost_against_side_is_measured_and_drawn(tiny_mnist, tmp_path, monkeypatch):
    monkeypatch.setattr(sides, "SIDES", (60, 1000))
    monkeypatch.setattr(sides, "WHOLE_SIDES", (60, 1000))
    monkeypatch.setattr(sides, "BYTES", 2**22)  # few images: all turns take seconds
    with tiny_mnist.registered():
        figures = sides.measure(str(tiny_mnist.folder), None, quick=True)
    for what in ("train_us", "evaluate_us"):
        assert figures[what].keys() == {"ram", "whole", "conv"}
        assert all(row.keys() == {"60", "1000"} and min(row.values()) > 0 for row in figures[what].values())
        assert figures[what]["whole"]["1000"] > 2 * figures[what]["ram"]["1000"]
    assert figures["ratios"]["evaluate"]["conv"] > figures["ratios"]["evaluate"]["ram"]
    assert "RAM, 8 glimpses" in sides.table(figures)
    sides.plot(figures, str(tmp_path / "sides.png"))
    assert (tmp_path / "sides.png").stat().st_size > 10_000
