"""The READMEs are short, and what the pages say about commands, flags, metrics and code is what there is."""

from __future__ import annotations

import ast
import re
import shlex

import pytest
from helpers import ROOT

import config
import visualize
from ram.use import publish as publishing

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """Return the text between a heading of the second level and the next one."""
    found = re.search(rf"^## {re.escape(title)} *\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"there is no section '{title}'"
    return found[1]


def blocks(text: str) -> list[str]:
    """Return the contents of all fenced blocks."""
    return re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name, most", [("README.md", 16_000), ("README_cn.md", 20_000)])
def test_readme_is_short(name, most):
    assert len(read(name).splitlines()) <= 220 and len(read(name).encode()) <= most


@pytest.mark.parametrize("name, title", [("README.md", "Quick start"), ("README_cn.md", "快速开始")])
def test_quick_start_is_two_lines(name, title):
    text = section(read(name), title)
    assert blocks(text) == [
        "python -m pip install -r requirements.txt && python main.py\n",
        "python -m pip install -r requirements-dev.txt && python -m pytest\n",
    ]
    assert text.count("```") == 4


@pytest.mark.parametrize("name", NAMES)
def test_every_command_is_understood(name):
    for line in "\n".join(blocks(read(name))).splitlines():
        command = line.split("&&")[-1].split(" | ")[0]
        if command.strip().startswith("python main.py"):
            config.get_config(shlex.split(command, comments=True)[2:])
        if command.strip().startswith("python visualize.py"):
            _, _, task, *arguments = shlex.split(command, comments=True)
            visualize.parse(task, arguments)
        if command.strip().startswith("python -m ram.use.publish"):
            publishing.get_arguments(shlex.split(command, comments=True)[3:])
    for command in re.findall(r"`python main\.py ([^`]*)`", read(name)):
        if command != "--help":
            config.get_config(shlex.split(command))


@pytest.mark.parametrize("name", NAMES)
def test_no_flag_is_named_that_does_not_exist(name):
    named = set(re.findall(r"(?<![\w-])--[a-zA-Z][\w-]*", read(name)))
    for file in ("benchmark.py", "ram/use/publish.py", "visualize.py", "tests/conftest.py", "docs/make.py"):
        named -= set(re.findall(r'"(--[\w-]+)"', read(file)))
    flags = {option for action in config.build_parser()._actions for option in action.option_strings}
    launcher = {"--nproc_per_node", "--gpus", "--nnodes", "--rank", "--master", "--log_dir"}
    others = {"--flag", "--logdir", "--check"}  # --flag=VALUE is any, --logdir is VisualDL's, --check ruff's
    assert named <= {*others, *flags, *launcher}


def test_every_metric_is_defined_once():
    records = [
        node.value
        for node in ast.walk(ast.parse(read("trainer.py")))
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "record"
    ]
    assert len(records) == 1, "trainer.py is expected to make the record of an epoch in one place"
    keys = [ast.literal_eval(key) for key in records[0].keys]
    table = section(read("docs/training.md"), "Logged metrics")
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == keys


@pytest.mark.parametrize("name", NAMES)
def test_every_named_piece_of_code_exists(name):
    text = read(name)
    named = re.findall(r"(?:\[`|`)([\w/]+\.py)`(?:\]\([^)]*\))? ((?:`[\w.]+`(?:, |、| (?=`))?)+)", text)
    for file, names in named:
        for dotted in re.findall(r"`([\w.]+)`", names):
            if dotted.endswith(".py"):
                continue
            scope = ast.parse(read(file)).body
            for part in dotted.split("."):
                found = [node for node in scope if part in defined(node)]
                assert found, f"{file} has no {dotted}"
                scope = getattr(found[0], "body", [])
    assert named or name not in ("README.md", "README_cn.md", "docs/developing.md")


def defined(node: ast.AST) -> list[str]:
    """Name what a statement defines: a function, a class, or variables."""
    targets = getattr(node, "targets", [getattr(node, "target", None)])
    return [getattr(node, "name", ""), *(target.id for target in targets if isinstance(target, ast.Name))]


def test_the_diagram_is_small():
    assert (ROOT / "docs" / "images" / "ram.png").stat().st_size < 200_000
