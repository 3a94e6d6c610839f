"""What the README says about commands, flags, metrics, files and code is what there is."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import config
import visualize
from ram.use import publish as publishing

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text between a heading of the second level and the next one."""
    found = re.search(rf"^## {re.escape(title)} *\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, f"the README has no section '{title}'"
    return found[1]


def blocks(text: str) -> list[str]:
    """The contents of all fenced blocks."""
    return re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows whose first cell begins with a piece of code."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def flags() -> dict[str, object]:
    """Every flag with its default."""
    actions = [action for action in config.build_parser()._actions if action.dest != "help"]
    return {option: action.default for action in actions for option in action.option_strings}


def test_quick_start_is_two_lines():
    assert blocks(section("Quick start")) == [
        "python -m pip install -r requirements.txt && python main.py\n",
        "python -m pip install -r requirements-dev.txt && python -m pytest\n",
    ]
    assert section("Quick start").count("```") == 4


def test_every_flag_is_there_with_its_default():
    table = rows(section("Every flag"))
    names = [row[0].strip("`") for row in table]
    assert len(names) == len(set(names))
    assert {row[0].strip("`"): row[1].strip("`") for row in table} == {
        flag: str(default) for flag, default in flags().items()
    }
    assert all(len(row) == 3 and row[2] for row in table)


def test_flags_stand_in_the_order_and_groups_of_the_parser():
    expected = []
    for group in config.build_parser()._action_groups[2:]:  # the first two are argparse's own
        expected += [f"**{group.title}**", *(action.option_strings[0] for action in group._group_actions)]
    found = re.findall(r"^\| (?:(\*\*.*?\*\*)|`(--\w+)`) \|", section("Every flag"), re.MULTILINE)
    assert [heading or flag for heading, flag in found] == expected


def test_no_flag_is_named_that_does_not_exist():
    named = set(re.findall(r"(?<![\w-])--[a-zA-Z][\w-]*", README))
    for file in ("benchmark.py", "ram/use/publish.py", "visualize.py"):
        named -= set(re.findall(r'"(--\w+)"', (ROOT / file).read_text(encoding="utf-8")))
    # Those of paddle.distributed.launch:
    launcher = {"--nproc_per_node", "--gpus", "--nnodes", "--rank", "--master", "--log_dir"}
    assert named <= {"--flag", "--logdir", *flags(), *launcher}  # --flag=VALUE is any, --logdir VisualDL's


def test_every_command_is_understood():
    commands = [line for block in blocks(README) for line in block.splitlines() if "python main.py" in line]
    assert len(commands) > 5
    for command in commands:
        arguments = shlex.split(command.split("&&")[-1].split(" | ")[0], comments=True)
        config.get_config(arguments[2:])
    for block in blocks(README):
        for arguments in re.findall(r"python -m ram\.use\.publish(.*)", block):
            publishing.get_arguments(shlex.split(arguments, comments=True))
        for command in re.findall(r"python visualize\.py (.*)", block):
            name, *arguments = shlex.split(command, comments=True)
            visualize.parse(name, arguments)
    for arguments in re.findall(r"get_config\((\[.*?\])\)", README):
        config.get_config(ast.literal_eval(arguments))


def test_every_metric_is_defined_once():
    tree = ast.parse((ROOT / "trainer.py").read_text(encoding="utf-8"))
    records = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "record"
    ]
    assert len(records) == 1, "trainer.py is expected to make the record of an epoch in one place"
    keys = [ast.literal_eval(key) for key in records[0].keys]
    assert [row[0].strip("`") for row in rows(section("Metrics"))] == keys


def test_every_linked_file_exists():
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", README) if "://" not in link]
    assert "docs/images/ram.png" in links and "LICENSE" in links
    titles = re.findall(r"^#+ (.*)", README, re.MULTILINE)
    headings = {re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")) for title in titles}
    for link in links:
        if link.startswith("#"):
            assert link[1:] in headings, link
        else:
            assert (ROOT / link).exists(), link


def test_every_named_piece_of_code_exists():
    named = re.findall(r"\[`([\w/]+\.py)`\]\(\1\) `([\w.]+)`", README)
    assert len(named) > 8
    for file, name in named:
        scope = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
        for part in name.split("."):
            found = [node for node in scope if getattr(node, "name", None) == part]
            assert found, f"{file} has no {name}"
            scope = found[0].body


def test_predicted_steps_of_several_gpus_follow_from_the_formula():
    """With what the README assumes: 6 ms, 2 us per image, 242,317 float32 parameters, and two kinds of networks."""

    def step_ms(n: int, batch: int, bandwidth: float, latency_ms: float) -> float:
        ring = 2 * (n - 1) / n * 4 * 242_317 / bandwidth * 1000 + 2 * (n - 1) * latency_ms
        return 6 + 0.002 * batch / n + ring

    machines = [(1, 10e9, 0.01), (8, 10e9, 0.01), (16, 1.25e9, 0.05), (32, 1.25e9, 0.05)]
    table = re.findall(r"^\| ([\d,]+) \| ([\d.]+ ms \|.*)", section("More than one process"), re.MULTILINE)
    assert len(table) == 4
    for batch, cells in table:
        times = [step_ms(n, int(batch.replace(",", "")), *network) for n, *network in machines]
        found = [[float(number) for number in re.findall(r"[\d.]+", cell)] for cell in cells.split("|")[:4]]
        for number, ((ms, *faster), time) in enumerate(zip(found, times)):
            assert ms == round(time, 1 if time < 100 else 0), (batch, machines[number])
            assert faster == ([round(times[0] / time, 1)] if number else []), (batch, machines[number])


def test_the_diagram_is_small():
    assert (ROOT / "docs" / "images" / "ram.png").stat().st_size < 200_000


def test_no_marker_is_left():
    assert re.findall(r"@@\w*@@", README) == []
