"""The pages, in both languages: each has its twin, and says what there is about commands, flags, files and code.

Words are not compared, but all that is not translated: commands, flags and other code, numbers, links and pictures.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from decimal import Decimal
from itertools import zip_longest
from math import sqrt
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers import ROOT

import config
import visualize
from catch import config as catch_config
from demo.command import parse as demo_flags
from ram.use import publish as publishing

IN_LINE = r"`([^`]+)`"  # code within a sentence
UNITS = {"million": 10**6, "万": 10**4, "亿": 10**8}  # 1.5 million are 150 of what Chinese counts in


# ------------------------------------------------------------------------------------------------------------ the pages


def twin(english: Path) -> Path:
    """The page that says the same in Chinese: PAGE_cn.md at the top, docs/zh_CN/PAGE.md of the manual."""
    if english.parent == ROOT:
        return english.with_name(f"{english.stem}_cn.md")
    return english.parent / "zh_CN" / english.name


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


ENGLISH = [page for page in sorted(ROOT.glob("*.md")) if not page.stem.endswith("_cn")] + sorted(ROOT.glob("docs/*.md"))
CHINESE = {twin(page): page for page in ENGLISH}
PAGES = [*ENGLISH, *CHINESE]
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES if page.exists()}
UNLISTED = {"docs/catch.md"}  # their line in the READMEs waits for figures
of_pages = pytest.mark.parametrize("page", TEXTS, ids=name)
of_pairs = pytest.mark.parametrize("page", [page for page in ENGLISH if twin(page) in TEXTS], ids=name)


def section(page: Path, title: str) -> str:
    """The text between a heading of the second level and the next one."""
    found = re.search(rf"^## {re.escape(title)} *\n(.*?)(?=^## |\Z)", TEXTS[page], re.MULTILINE | re.DOTALL)
    assert found, f"{name(page)} has no section '{title}'"
    return found[1]


def fenced(text: str) -> list[str]:
    """The contents of all fenced blocks."""
    return re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    """The text without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> list[str]:
    """What GitHub makes of each heading to link to, in their order, which is the same in both languages."""
    titles = re.findall(r"^#+ (.*)", prose(text), re.MULTILINE)
    return [re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")) for title in titles]


def target(page: Path, link: str) -> str:
    """Where a link leads, said alike in both languages: an address, or an English page or file and a heading's number.

    Raises:
        AssertionError: there is no such file, or no such heading in it.
    """
    if "://" in link:
        return link
    path, _, heading = link.partition("#")
    file = (page.parent / path).resolve() if path else page
    assert file.exists(), f"{name(page)} links to {link}: no such file"
    place = ""
    if heading:
        found = anchors(TEXTS.get(file, ""))
        assert heading in found, f"{name(page)} links to {link}: no such heading"
        place = f"#{found.index(heading)}"
    return name(file).replace("docs/zh_CN/", "docs/").replace("_cn.md", ".md") + place


def links(page: Path, text: str) -> list[str]:
    """The targets of all links, pictures marked by "!", in some order that both languages share."""
    return sorted(mark + target(page, to) for mark, to in re.findall(r"(!?)\[[^\]]*\]\(([^)\s]+)\)", text))


def test_every_page_has_its_twin():
    assert len(ENGLISH) > 5 and not [name(page) for page in PAGES if page not in TEXTS]
    assert sorted(ROOT.glob("*_cn.md")) + sorted(ROOT.glob("docs/zh_CN/*.md")) == sorted(CHINESE)


@of_pairs
def test_each_links_to_the_other_at_the_top(page):
    there, back = [("", ""), ("zh_CN/", "../")][page.parent != ROOT]
    assert TEXTS[page].splitlines()[2] == f"English | [简体中文]({there}{twin(page).name})"
    assert TEXTS[twin(page)].splitlines()[2] == f"[English]({back}{page.name}) | 简体中文"


@of_pages
def test_links_lead_to_files_and_headings(page):
    assert links(page, prose(TEXTS[page]))


@of_pages
def test_no_heading_is_there_twice(page):
    found = anchors(TEXTS[page])
    assert len(found) == len(set(found))


def test_every_page_of_the_manual_is_in_the_readme():
    found = set(links(ROOT / "README.md", TEXTS[ROOT / "README.md"]))
    pages = {name(page) for page in ENGLISH} - {"README.md", "docs/README.md"} - UNLISTED
    assert pages <= {link.split("#")[0] for link in found}


# ----------------------------------------------------------------------------------------------------------- the README


@pytest.mark.parametrize("file, most", [("README.md", 18_000), ("README_cn.md", 20_000)])
def test_the_readme_is_short(file, most):
    assert len(TEXTS[ROOT / file].splitlines()) <= 220 and (ROOT / file).stat().st_size <= most


@pytest.mark.parametrize("file, title", [("README.md", "Quick start"), ("README_cn.md", "快速开始")])
def test_quick_start_is_two_lines(file, title):
    quick_start = section(ROOT / file, title)
    assert fenced(quick_start) == [
        "python -m pip install -r requirements.txt && python main.py\n",
        "python -m pip install -r requirements-dev.txt && python -m pytest\n",
    ]
    assert quick_start.count("```") == 4


def test_the_gate_runs_the_readme_s_test_command():
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.findall(r'^tests="(.*)"$', gate, re.MULTILINE) == [
        fenced(section(ROOT / "README.md", "Quick start"))[1].strip()
    ]
    assert "README" not in re.sub(r"#.*", "", gate)


def test_the_workflow_is_the_gate():
    (workflow,) = (ROOT / ".github" / "workflows").iterdir()
    text = workflow.read_text(encoding="utf-8")
    assert re.findall(r"^ +- run: (.*)$", text, re.MULTILINE) == ["bash .ci/run"]


@of_pages
def test_rows_of_a_table_have_as_many_cells(page):
    tables = re.findall(r"(?:^\|.*\n)+", prose(TEXTS[page]), re.MULTILINE)
    for rows in map(str.splitlines, tables):
        assert set(rows[1]) <= set("|-: ") and len({len(cells(row)) for row in [rows[0], *rows[2:]]}) == 1, rows[0]
        assert rows[1].count("|") == len(cells(rows[0])) + 1


def test_pictures_of_the_pages_are_there_and_small():
    shown = {link[1:] for page in TEXTS for link in links(page, prose(TEXTS[page])) if link.startswith("!docs")}
    drawn = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "images").iterdir()}
    assert "docs/images/ram.png" in shown <= drawn
    assert (ROOT / "docs" / "images" / "ram.png").stat().st_size < 200_000
    assert sum((ROOT / path).stat().st_size for path in drawn) < 6_000_000


# -------------------------------------------------------------------------------------------- commands, flags and code


PLACEHOLDERS = {"S": "1", "R": "0", "TASK": "mnist", "NAME": "conv", "N": "3"}


def commands(text: str) -> list[list[str]]:
    """The words of every command, of fenced lines and of code in sentences, with values in the place of letters."""
    lines = [line for block in fenced(text) for line in block.splitlines()] + re.findall(IN_LINE, prose(text))
    found = []
    for line in lines:
        for part in re.split(r" && | \| | > ", line):
            if re.match(r"\s*(\$ )?(python|bash) ", part):
                words = shlex.split(part, comments=True)
                found.append(
                    [re.sub(r"(?<==)\w+$", lambda value: PLACEHOLDERS.get(value[0], value[0]), w) for w in words]
                )
    return found


def flags_in(file: str) -> set[str]:
    return set(re.findall(r'"(--[a-z][\w-]*)"', (ROOT / file).read_text(encoding="utf-8")))


def understood(words: list[str]) -> bool:
    """Whether there is such a command; raises what its own parser raises where it does not understand the flags."""
    words = words[words.index("python") if "python" in words else 0 :]
    if words[:3] == ["python", "-m", "paddle.distributed.launch"]:
        words = ["python", *words[words.index("main.py") :]]
    if words[:2] == ["python", "main.py"]:
        config.get_config([word for word in words[2:] if word not in ("...", "[flags]")])
    elif words[:2] == ["python", "visualize.py"]:
        visualize.parse(words[2], words[3:])
    elif words[:2] == ["python", "benchmark.py"]:
        assert {word.split("=")[0] for word in words[2:] if word.startswith("--")} <= flags_in("benchmark.py"), words
    elif words[:3] == ["python", "-m", "catch"]:
        catch_config.get_config(words[3:])
    elif words[:3] == ["python", "-m", "ram.use.publish"]:
        publishing.get_arguments(words[3:])
    elif words[:3] == ["python", "-m", "demo"] or words[:2] == ["python", "demo/app.py"]:
        demo_flags(words[words.index("demo/app.py" if "demo/app.py" in words else "demo") + 1 :])
    elif words[0] == "bash" or (words[0] == "python" and words[1].endswith(".py")):
        return (ROOT / words[1]).exists()
    return True


@of_pages
def test_every_command_is_understood(page):
    for words in commands(TEXTS[page]):
        try:
            assert understood(words), f"{name(page)}: there is no {words[1]}"
        except (SystemExit, Exception) as error:
            if isinstance(error, SystemExit) and not error.code:
                continue  # --help
            raise AssertionError(f"{name(page)}: {shlex.join(words)}: {error!r}") from error
    for arguments in re.findall(r"get_config\((\[[^*\]]*\])\)", TEXTS[page]):
        config.get_config(ast.literal_eval(arguments))


def test_commands_are_looked_at():
    found = [words for page in ENGLISH for words in commands(TEXTS[page])]
    modules = ("python -m ram.use.publish", "python -m catch")
    for start in ("python main.py", "python visualize.py", "python benchmark.py", *modules, "bash"):
        assert [words for words in found if shlex.join(words).startswith(start)], start


@pytest.mark.parametrize(
    "command",
    [
        "python main.py --no_such_flag",
        "python main.py --preset=nonsense",
        "python visualize.py policy --no_such_flag",
        "python benchmark.py --no_such_flag",
        "python -m catch --no_such_flag",
        "python -m ram.use.publish",
        "bash experiments/nonsense.sh",
    ],
)
def test_a_wrong_command_is_noticed(command, capsys):
    text = f"```\n{command}\n```\n"
    (words,) = commands(text)
    try:
        wrong = not understood(words)
    except (SystemExit, Exception, AssertionError):
        wrong = True
    assert wrong


def known_flags() -> set[str]:
    """All flags of the project's own commands, and of others that its pages use."""
    ours = {option for action in config.build_parser()._actions for option in action.option_strings}
    files = ["benchmark.py", "visualize.py", "tests/conftest.py", "docs/make.py"]
    for folder in ("ram", "catch", "demo", "experiments"):
        files += [path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.py")]
    launcher = {"--nproc_per_node", "--gpus", "--nnodes", "--rank", "--master", "--log_dir"}
    return ours.union(
        {"--flag", "--logdir"}, launcher, *map(flags_in, files)
    )  # --flag=VALUE is any, --logdir VisualDL's


@of_pages
def test_no_flag_is_named_that_does_not_exist(page):
    assert set(re.findall(r"(?<![\w-])--[a-zA-Z][\w-]*", TEXTS[page])) <= known_flags()


@of_pages
def test_every_named_piece_of_code_exists(page):
    """A file in code, linked or not, and behind it names in code: the file defines them."""
    shown = r"(?:\[`([\w/]+\.py)`\]\(([^)]*)\)|`([\w/]+\.py)`)"
    for linked, link, plain, names in re.findall(rf"{shown} ((?:`[\w.]+`(?:, |、| (?=`))?)+)", TEXTS[page]):
        file = ROOT / (linked or plain)
        assert not linked or (page.parent / link).resolve() == file, f"{name(page)}: {linked} leads to {link}"
        for dotted in re.findall(IN_LINE, names):
            if dotted.endswith(".py"):
                continue
            scope = ast.parse(file.read_text(encoding="utf-8")).body
            for part in dotted.split("."):
                found = [node for node in scope if part in defined(node)]
                assert found, f"{name(page)}: {linked or plain} has no {dotted}"
                scope = getattr(found[0], "body", [])


def defined(node: ast.AST) -> list[str]:
    """What a statement defines: a function, a class, or variables."""
    targets = getattr(node, "targets", [getattr(node, "target", None)])
    return [getattr(node, "name", ""), *(target.id for target in targets if isinstance(target, ast.Name))]


def test_pieces_of_code_are_named():
    for page in ("README.md", "README_cn.md", "docs/developing.md"):
        assert re.search(r"\.py`(\]\([^)]*\))? `\w", TEXTS[ROOT / page]), page


def test_every_metric_is_defined_once():
    tree = ast.parse((ROOT / "trainer.py").read_text(encoding="utf-8"))
    records = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "record"
    ]
    assert len(records) == 1, "trainer.py is expected to make the record of an epoch in one place"
    keys = [ast.literal_eval(key) for key in records[0].keys]
    rows = re.findall(r"^\| `(\w+)` \|", section(ROOT / "docs" / "training.md", "Logged metrics"), re.MULTILINE)
    assert rows == keys


# ------------------------------------------------------------------------------------------------------------- figures


@of_pages
def test_printed_test_errors_are_measured(page):
    """A line as the test command prints it is one of experiments/results.json, to the image."""
    results = json.loads((ROOT / "experiments" / "results.json").read_text(encoding="utf-8"))
    measured = {f"{error:.2f}" for test in results["tests"] for error in test["errors"]}
    for right, percent, error in re.findall(r"Test Acc: (\d+)/10000 \(([\d.]+)% - Error: ([\d.]+)%\)", TEXTS[page]):
        assert error in measured and f"{100 - int(right) / 100:.2f}" == error, (name(page), error)
        assert f"{int(right) / 100:.2f}" == percent


@pytest.mark.parametrize("file, title", [("README.md", "Results"), ("docs/results.md", "Test errors")])
def test_errors_in_the_text_stand_in_the_tables(file, title):
    """A figure with two decimals beside the tables is one of theirs, or the sampling error that its text says it is."""
    text = section(ROOT / file, title)
    outside = re.sub(r"<!-- make.*?<!-- /make -->", "", text, flags=re.DOTALL)
    for shown, percent in re.findall(r"\+-(\d\.\d\d) at ([\d.]+) %", outside):
        p = float(percent) / 100
        assert shown == f"{100 * sqrt(p * (1 - p) / 10_000):.2f}"
    outside = re.sub(r"\+-\d\.\d\d at [\d.]+ %", "", outside)
    tables = TEXTS[ROOT / "docs" / "results.md"]
    tables = " ".join(re.findall(r"<!-- make.*?<!-- /make -->", tables, flags=re.DOTALL))
    figures = re.findall(r"(?<![\d.])\d+\.\d\d(?![\d.])", outside) + re.findall(r"(\d+\.\d) times", outside)
    for number in figures:
        assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.])", tables), f"{file}: {number} is in no table"


# -------------------------------------------------------------------------------- both languages say the same, by block


class Block(NamedTuple):
    """A heading ("#", "##", ...), list item ("-" or "1."), table row ("|"), fenced block ("```") or paragraph ("")."""

    kind: str
    text: str


def blocks(text: str) -> list[Block]:
    """What a page consists of, in order; the lines of an item or a paragraph are joined, those of code are not."""
    found: list[Block] = []
    inside = False  # a paragraph or an item, which the next line goes on with
    for part in re.split(r"^(```.*?^```)$", text, flags=re.MULTILINE | re.DOTALL):
        if part.startswith("```"):
            found.append(Block("```", part))
            inside = False
            continue
        for line in part.splitlines():
            start = re.match(r"(#+|-|\d+\.)(?= )|\|", line)
            if start:
                kind = re.sub(r"\d+", "1", start[0])
                found.append(Block(kind, line))
                inside = kind in ("-", "1.")
            elif not line.strip():
                inside = False
            elif inside:
                found[-1] = Block(found[-1].kind, f"{found[-1].text} {line.strip()}")
            else:
                found.append(Block("", line))
                inside = True
    return found


def numbers(text: str) -> list[str]:
    """All numbers, sorted, since languages order them differently: of "12x12 of 1,300" these are 1,300, 12 and 12."""
    found = re.findall(r"(\d+(?:[.,]\d+)*)( million\b| ?[万亿])?", re.sub(r"\]\([^)]*\)", "]", text))
    return sorted(
        str(int(Decimal(number.replace(",", "")) * UNITS[unit.strip()])) if unit else number for number, unit in found
    )


def lines_of_code(text: str) -> list[str]:
    """The lines of a fenced block without comments, which begin with two spaces and `#`."""
    return [re.sub(r"  +# .*", "", line).rstrip() for line in text.splitlines()]


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<= )\|(?= |$)", row.strip()[1:])[:-1]]


def untranslatable(cell: str) -> str | None:
    """A cell that is nothing but code, numbers and signs, without white space; None if it has words."""
    if re.search(r"[^\W\d]", re.sub(IN_LINE, "", cell)):
        return None
    return re.sub(r"\s", "", cell).translate(str.maketrans("、，；", ",,;"))


def facts(block: Block, page: Path) -> list[tuple[str, object]]:
    """What a translation of the block must share with it, each with its name."""
    if block.kind == "```":
        return [("code", lines_of_code(block.text)), ("numbers", numbers(block.text))]
    found: list[tuple[str, object]] = [("links", links(page, block.text))]
    for part in cells(block.text) if block.kind == "|" else [block.text]:
        found += [("numbers", numbers(part)), ("code", sorted(set(re.findall(IN_LINE, part))))]
        if block.kind == "|":
            found.append(("cell", untranslatable(part)))
    return found


def differences(english: str, chinese: str, page: Path, other: Path) -> list[str]:
    """What the two texts do not share, block by block; ends at a block that only one of them has."""
    found = []
    for a, b in zip_longest(blocks(english), blocks(chinese), fillvalue=Block("end", "the end")):
        where = f"in\n  {a.text}\n  {b.text}"
        if a.kind != b.kind:
            return [*found, f"not the same kind of block {where}"]
        for ours, theirs in zip_longest(facts(a, page), facts(b, other), fillvalue=("nothing", None)):
            if ours != theirs:
                found.append(f"{ours} against {theirs} {where}")
    return found


@of_pairs
def test_both_languages_say_the_same(page):
    other = twin(page)
    english = TEXTS[page].replace(TEXTS[page].splitlines()[2], "")  # the line that links to the other language
    chinese = TEXTS[other].replace(TEXTS[other].splitlines()[2], "")
    found = differences(english, chinese, page, other)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("page", [page for page in CHINESE if page in TEXTS], ids=name)
def test_no_english_sentence_is_left(page):
    """Four English words in a row, outside code and titles of papers, were forgotten."""
    for block in blocks(TEXTS[page]):
        words = re.sub(rf"{IN_LINE}|\*[^*]*\*|<!--.*?-->", "", block.text)
        assert block.kind == "```" or not re.search(r"\b[a-z]+( [a-z]+){3}", words), block.text


SMALL = """# Title

![A picture](docs/images/ram.png) of 1,300 digits, [made](#making) by `--flag`, and see [the rest](#the-rest).

## Making

```
python main.py --M=1    # one of 10
python main.py --M=2    # two of 10
```

- one item,
  and its second line
- another item, of 1.5 million

1. first
2. second

## The rest

| flag | default | meaning |
|---|---|---|
| `--M` | `10` | rollouts, `1` or more |
| `--std` | `0.15` | spread |
| ours | 0.50 +- 0.05 | 11 min |
"""
SMALL_CN = """# 标题

![图](docs/images/ram.png)，由 `--flag` [制作](#制作)，共 1,300 个数字，另见[其余](#其余)。

## 制作

```
python main.py --M=1    # 共 10 个，取一个
python main.py --M=2    # 共 10 个，取两个
```

- 一项，及其第二行
- 另一项，共 150 万

1. 第一
2. 第二

## 其余

| 参数 | 默认值 | 含义 |
|---|---|---|
| `--M` | `10` | rollout 数，至少为 `1` |
| `--std` | `0.15` | 宽度 |
| 本项目 | 0.50 +- 0.05 | 11 分钟 |
"""


def differences_of_small(chinese: str) -> list[str]:
    """Compare the two small pages as if they were the READMEs; a link to nothing is a difference, too."""
    page, other = ROOT / "README.md", ROOT / "README_cn.md"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TEXTS, page, SMALL)
        patch.setitem(TEXTS, other, chinese)
        try:
            return differences(SMALL, chinese, page, other)
        except AssertionError as error:
            return [str(error)]


def test_a_translation_is_no_difference():
    assert differences_of_small(SMALL_CN) == []


@pytest.mark.parametrize(
    "old, new",
    [
        ("## 制作\n\n", ""),
        ("## 其余", "### 其余"),
        ("python main.py --M=2    # 共 10 个，取两个\n", ""),
        ("--M=2 ", "--M=3 "),
        ("# 共 10 个，取两个", "# 共 20 个，取两个"),
        ("    # 共 10 个，取两个", " 共 10 个，取两个"),
        ("```\n\n- 一项", "```\n\n多一段\n\n- 一项"),
        ("- 另一项，共 150 万\n", ""),
        ("1. 第一\n2. 第二", "- 第一\n- 第二"),
        ("1,300", "1,301"),
        ("150 万", "150 亿"),
        ("150 万", "1.5 万"),
        ("`--flag` ", ""),
        ("`--flag`", "`--flags`"),
        ("(docs/images/ram.png)", "(docs/images/curves.png)"),
        ("(docs/images/ram.png)", "(docs/images/nonsense.png)"),
        ("![图]", "[图]"),
        ("[制作](#制作)", "制作"),
        ("(#制作)", "(#做)"),
        ("[制作](#制作)", "[制作](#其余)"),
        ("| `--M` | `10` | rollout 数，至少为 `1` |\n", ""),
        ("| `--std` | `0.15`", "| `--std` | `0.05`"),
        ("`--std` | `0.15`", "`--sdt` | `0.15`"),
        ("`10` | rollout 数，至少为 `1`", "`1` | rollout 数，至少为 `10`"),
        (
            "| `--std` | `0.15` | 宽度 |\n| 本项目 | 0.50 +- 0.05 | 11 分钟 |",
            "| 本项目 | 0.50 +- 0.05 | 11 分钟 |\n| `--std` | `0.15` | 宽度 |",
        ),
        ("0.50 +- 0.05", "0.05 +- 0.50"),
        ("0.50 +- 0.05", "0.50 - 0.05"),
        ("11 分钟", "17 分钟"),
        (" | 11 分钟", " 11 分钟"),
        ("11 分钟 |\n", "11 分钟 |\n\n多一段\n"),
    ],
)
def test_a_difference_is_noticed(old, new):
    assert old in SMALL_CN
    assert differences_of_small(SMALL_CN.replace(old, new))
