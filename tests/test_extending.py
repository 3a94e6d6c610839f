"""The programs in docs/extending.md run as they stand there, and what they replace trains."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest
from helpers import ROOT, long_test

import data_loader
import main
import model
from config import get_config
from ram.runs import checkpoint

PAGES = [ROOT / "docs" / "extending.md", ROOT / "docs" / "zh_CN" / "extending.md"]
GLIMPSE, CORE, DATA = range(3)


def programs(page) -> list[str]:
    """Return the programs of a page, in their order."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def run(tmp_path, tiny_mnist, monkeypatch, capsys):
    """Run one of the programs in a folder of its own, with a small data set in MNIST's place; return what it prints."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(tiny_mnist.folder)
    for module, name in ((model, "GlimpseNetwork"), (model, "CoreNetwork"), (data_loader, "_load")):
        monkeypatch.setattr(module, name, getattr(module, name))  # is put back, whatever the program sets

    def run_program(number: int) -> str:
        with tiny_mnist.registered():
            exec(compile(programs(PAGES[0])[number], "docs/extending.md", "exec"), {"__name__": "extending"})
        return capsys.readouterr().out

    return run_program


def weights(folder: str) -> dict[str, np.ndarray]:
    return checkpoint.read(f"{folder}/ckpt/ram_6_8x8_1_ckpt.pdparams")["model"]


def test_there_are_three_short_programs_the_same_in_both_languages():
    assert len(programs(PAGES[0])) == 3 and programs(PAGES[0]) == programs(PAGES[1])
    for program in programs(PAGES[0]):
        lines = [line for line in program.splitlines() if line.strip() and not line.startswith(("import", "from"))]
        assert len(lines) <= 20


def test_a_new_glimpse_network_trains(run):
    assert "the plain one trains" in run(GLIMPSE)
    first = weights("product")["sensor.fc5.weight"]
    assert first.shape == (128, 128)
    untrained = model.RecurrentAttention(8, 1, 1, 1, 128, 128, 0.05, 256, 10, reinforce_core=0.1)
    untrained.initialize(1)
    assert not np.array_equal(untrained.sensor.fc5.weight.numpy(), first)
    main.main(get_config(["--ckpt_dir=product/ckpt", "--export=product/exported"]))  # is compared with the live model
    assert os.path.exists("product/exported/about.json")


def test_a_new_core_trains(run):
    assert "the plain one trains" in run(CORE)
    first = weights("gru")["rnn.h2h.weight"]
    assert first.shape == (256, 768)
    untrained = model.RecurrentAttention(8, 1, 1, 1, 128, 128, 0.05, 256, 10, core_init="glorot")
    untrained.initialize(1)
    assert not np.array_equal(untrained.rnn.h2h.weight.numpy(), first)


@long_test()
def test_a_new_data_set_is_learned(run):
    right, count = re.findall(r"Test Acc: (\d+)/(\d+)", run(DATA))[-1]
    assert count == "500" and int(right) > 400  # of three colors: guessing is 167
    assert weights("squares")["classifier.fc.bias"].shape == (3,)
