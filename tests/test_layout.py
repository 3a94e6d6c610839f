"""The house: which module may import which. Its map, with the reasons, is in docs/developing.md."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from helpers import ROOT

FOLDERS = ("ram", "catch", "demo")  # of what is run; tests and experiments may import anything
TOP = {path.stem: path for path in sorted(ROOT.glob("*.py"))}
COMMANDS = {"main", "visualize", "benchmark", "hubconf"}
STORY = {"config", "data_loader", "modules", "model", "trainer", "utils"}
# What a part of ram/ may take of the top level; parts that are not named here may take the whole story.
ALLOWED = {
    "ram.presets": set(),
    "ram.data": {"utils"},
    "ram.draw": {"utils"},
    "ram.system": {"utils"},
    "ram.fast": {"utils", "modules"},
    "ram.runs": {"utils", "config"},
}


def modules() -> dict:
    """Every module of the project by its dotted name."""
    found = dict(TOP)
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            found[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports(name: str, everywhere: bool = True) -> set[str]:
    """The modules of the project that a module imports; without `everywhere`, only those that it needs to be loaded."""
    tree, found = ast.parse(MODULES[name].read_text(encoding="utf-8")), set()
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name} imports by a relative path"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {module for module in found & MODULES.keys() if MODULES[module].stem != "__init__"}


def test_the_top_level_is_small():
    assert len(TOP) <= 10 and TOP.keys() >= STORY | COMMANDS


@pytest.mark.parametrize("name", MODULES)
def test_nobody_imports_a_command(name):
    assert not imports(name) & COMMANDS


@pytest.mark.parametrize("part", ALLOWED)
def test_parts_import_what_they_may(part):
    for name in MODULES:
        if f"{name}.".startswith(f"{part}."):
            assert imports(name) & TOP.keys() <= ALLOWED[part], name


def test_the_networks_stand_alone():
    assert not {module for module in imports("modules") if module.startswith("ram")}


def test_catch_and_demo_are_apart():
    for name in MODULES:
        others = {module.split(".")[0] for module in imports(name)} - {name.split(".")[0]}
        assert "demo" not in others and ("catch" not in others or name.startswith("demo")), name


@pytest.mark.parametrize("command", ["main", "benchmark", "visualize", "catch.__main__", "demo.__main__"])
def test_commands_set_up_the_processor_before_paddle_is_imported(command):
    """Else its matrix products have the slow kernels and one thread: some three times the time."""
    code = f"import sys, {command}; sys.exit('paddle' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_no_circles():
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name not in done:
            for module in imports(name, everywhere=False):
                visit(module, (*path, name))
            done.add(name)

    for name in MODULES:
        visit(name, ())
