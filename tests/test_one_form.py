"""One idea, one form: each stands in one place, so that whoever changes it changes all of it."""

from __future__ import annotations

import ast
import re

import pytest
from helpers import ROOT

SOURCES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [*ROOT.glob("*.py"), *(ROOT / "ram").rglob("*.py")]
    if path.name != "deploy.py"  # it stands alone: it needs nothing of the project
}


def places(pattern: str) -> list[str]:
    """The files in which a regular expression is found, once for each time."""
    return [name for name, text in SOURCES.items() for _ in re.findall(pattern, text, re.MULTILINE)]


@pytest.mark.parametrize(
    "idea, pattern, where",
    [
        ("a trained model from a file: the record", r"^class Trained\b", ["ram/runs/weights.py"]),
        ("a trained model from a file: found", r"^def find\(", ["ram/runs/find.py"]),
        ("a trained model from a file: built", r"^def build\(", ["ram/build.py"]),
        ("weights put into a model", r"set_state_dict\(\{name", ["ram/build.py"]),
        ("a checkpoint read", r"^def read_latest\(", ["ram/runs/checkpoint.py"]),
        ("a location in pixels, for arrays", r"^class Geometry\b", ["modules.py"]),
        ("the retina as the paper defines it", r"def foveate\(", ["modules.py"]),
        ("one step of the paper", r"self\.rnn\(self\.sensor\(", ["model.py"]),
        ("the plain walk", r"self\.step\(", ["model.py"]),
        ("the fast walk", r"^def walk\(", ["ram/fast/rollout.py"]),
        ("who goes the plain walk", r"\.walk\(x, noise", ["model.py", "ram/fast/check.py", "ram/use/looking.py"]),
        ("no noise", r"zeros\(\[.*- 1", ["model.py"]),
        ("errors in one line", r"^def command_line\(", ["ram/system/command.py"]),
        ("the exit status", r"sys\.exit\(", ["ram/system/command.py"]),
        ("cannot read, cannot write", r'f"cannot \{action\}', ["utils.py"]),
        ("JSON that may be anything", r"except RecursionError", ["utils.py"]),
        ("evaluation", r"^def evaluate\(", ["ram/evaluation.py"]),
        ("a step of the optimizer", r"clear_grad\(", ["ram/optimizer.py"]),
        ("the hybrid loss", r"^def hybrid_loss\(", ["trainer.py"]),
        ("where a run keeps its files", r"_model_best\.pdparams\"$", ["ram/runs/files.py", "ram/use/publish.py"]),
        ("all random numbers", r"np\.random\.(Generator|default_rng|seed)\(", ["utils.py"]),
    ],
)
def test_each_idea_has_one_place(idea, pattern, where):
    assert sorted(places(pattern)) == where, idea


def test_no_message_of_a_file_that_cannot_be_used_is_typed_twice():
    assert not places(r"[\"']cannot (read|write|make the folder) ")


def test_only_the_retinas_turn_locations_into_pixels():
    assert set(places(r"\* (np\.float32\()?self\.unit_pixels")) == {"modules.py", "ram/fast/retina.py"}


def test_presets_are_flat_literals():
    """Each is read alone: it names no other dictionary, and unpacks none."""
    tree = ast.parse(SOURCES["ram/presets.py"])
    (table,) = [node.value for node in tree.body if isinstance(node, ast.Assign)]
    assert len(table.keys) > 10
    assert {node.id for node in ast.walk(table) if isinstance(node, ast.Name)} <= {"Preset", "dict"}
    assert all(keyword.arg for node in ast.walk(table) if isinstance(node, ast.Call) for keyword in node.keywords)


def test_no_file_is_long():
    """A file that outgrows its one idea is split by idea; the table of flags is one idea, however long."""
    long = {name: text.count("\n") for name, text in SOURCES.items() if text.count("\n") > 400}
    assert set(long) <= {"config.py"}, long
