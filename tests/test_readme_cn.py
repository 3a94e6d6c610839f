"""Every Chinese page says what its English twin says: the same blocks in the same order, with the same facts.

Words are not compared, but all that is not translated: commands, flags and other code, numbers, links and pictures.
"""

from __future__ import annotations

import os
import re
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAIRS = {ROOT / f"{name}.md": ROOT / f"{name}_cn.md" for name in ("README", "SECURITY")}
PAIRS.update({ROOT / "docs" / path.name: path for path in sorted((ROOT / "docs/zh_CN").glob("*.md"))})
IN_LINE = r"`([^`]+)`"  # code within a sentence
UNITS = {"million": 10**6, "万": 10**4, "亿": 10**8}  # 1.5 million are 150 of what Chinese counts in


class Block(NamedTuple):
    """A heading ("#", "##", ...), list item ("-" or "1."), table row ("|"), fenced block ("```") or paragraph ("")."""

    kind: str
    text: str


def blocks(text: str) -> list[Block]:
    """What a README consists of, in order; the lines of an item or a paragraph are joined, those of code are not."""
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
    found = re.findall(r"(\d+(?:[.,]\d+)*)( million\b| ?[万亿])?", text)
    return sorted(
        str(int(Decimal(number.replace(",", "")) * UNITS[unit.strip()])) if unit else number for number, unit in found
    )


def anchors(text: str) -> dict[str, str]:
    """The anchor that GitHub makes of each heading, with the heading's number, which is the same in both languages."""
    titles = [block.text.lstrip("# ") for block in blocks(text) if block.kind.startswith("#")]
    return {re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")): str(i) for i, title in enumerate(titles)}


def links(text: str, page: Path) -> list[str]:
    """All targets, pictures marked by "!", headings by their number, files by the English one of a pair."""
    return sorted(mark + target(link, page) for mark, link in re.findall(r"(!?)\[[^\]]*\]\(([^)\s]+)\)", text))


def target(link: str, page: Path) -> str:
    if "://" in link:
        return link
    path, _, heading = link.partition("#")
    file = (page.parent / path).resolve() if path else page
    if heading:
        headings = anchors(file.read_text(encoding="utf-8")) if file.exists() else {}
        heading = "#" + headings.get(heading, f"{heading} (no such heading)")
    name = os.path.relpath(file, ROOT) if path else ""
    return name.replace("docs/zh_CN/", "docs/").replace("_cn.md", ".md") + heading


def commands(text: str) -> list[str]:
    """The lines of a fenced block without comments, which begin with two spaces and `#`."""
    return [re.sub(r"  +# .*", "", line).rstrip() for line in text.splitlines()]


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().strip("|").split(" | ")]


def untranslatable(cell: str) -> str | None:
    """A cell that is nothing but code, numbers and signs, without white space; None if it has words."""
    if re.search(r"[^\W\d]", re.sub(IN_LINE, "", cell)):
        return None
    return re.sub(r"\s", "", cell).replace("、", ",")


def facts(block: Block, page: Path) -> list[tuple[str, object]]:
    """What a translation of the block must share with it, each with its name."""
    if block.kind == "```":
        return [("code", commands(block.text)), ("numbers", numbers(block.text))]
    found: list[tuple[str, object]] = [("links", links(block.text, page))]
    for part in cells(block.text) if block.kind == "|" else [block.text]:
        found += [("numbers", numbers(part)), ("code", sorted(set(re.findall(IN_LINE, part))))]
        if block.kind == "|":
            found.append(("cell", untranslatable(part)))
    return found


def differences(*pages: Path) -> list[str]:
    """What an English and a Chinese page do not share, block by block; ends at a block that only one of them has."""
    english, chinese = (page.read_text(encoding="utf-8") for page in pages)
    counts = [len(anchors(text)) for text in (english, chinese)]
    found = [] if counts[0] == counts[1] else [f"{counts[0]} headings against {counts[1]}"]
    for a, b in zip_longest(blocks(english), blocks(chinese), fillvalue=Block("end", "the end")):
        where = f"in\n  {a.text}\n  {b.text}"
        if a.kind != b.kind:
            return [*found, f"not the same kind of block {where}"]
        for ours, theirs in zip_longest(facts(a, pages[0]), facts(b, pages[1]), fillvalue=("nothing", None)):
            if ours != theirs:
                found.append(f"{ours} against {theirs} {where}")
    return found


pairs = pytest.mark.parametrize("english, chinese", PAIRS.items(), ids=[path.stem for path in PAIRS])


@pairs
def test_both_say_the_same(english, chinese):
    found = differences(english, chinese)
    assert not found, "\n".join(found)


@pairs
def test_each_links_to_the_other_at_the_top(english, chinese):
    to_chinese = chinese.relative_to(english.parent).as_posix()
    to_english = english.name if english.parent == chinese.parent else f"../{english.name}"
    assert english.read_text(encoding="utf-8").splitlines()[2] == f"English | [简体中文]({to_chinese})"
    assert chinese.read_text(encoding="utf-8").splitlines()[2] == f"[English]({to_english}) | 简体中文"


@pairs
def test_no_english_sentence_is_left(english, chinese):
    """Four English words in a row, outside code and titles of papers, were forgotten."""
    for block in blocks(chinese.read_text(encoding="utf-8")):
        words = re.sub(rf"{IN_LINE}|\*[^*]*\*", "", block.text)
        assert block.kind == "```" or not re.search(r"\b[a-z]+( [a-z]+){3}", words), block.text


@pairs
def test_no_heading_of_one_file_is_there_twice(english, chinese):
    for text in (english.read_text(encoding="utf-8"), chinese.read_text(encoding="utf-8")):
        assert len(anchors(text)) == sum(block.kind.startswith("#") for block in blocks(text))


SMALL = """# Title

![A picture](a.png) of 1,300 digits, [made](#making) by `--flag`, and see [the rest](#the-rest).

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

![图](a.png)，由 `--flag` [制作](#制作)，共 1,300 个数字，另见[其余](#其余)。

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


def small_differences(folder: Path, chinese: str) -> list[str]:
    pages = folder / "small.md", folder / "small_cn.md"
    for page, text in zip(pages, (SMALL, chinese)):
        page.write_text(text, encoding="utf-8")
    return differences(*pages)


def test_a_translation_is_no_difference(tmp_path):
    assert small_differences(tmp_path, SMALL_CN) == []


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
        ("(a.png)", "(b.png)"),
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
def test_a_difference_is_noticed(tmp_path, old, new):
    assert old in SMALL_CN
    assert small_differences(tmp_path, SMALL_CN.replace(old, new))
