"""docs/flags.md and its Chinese twin say what the table in config.py says, and the Chinese follows the English."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest
from helpers import ROOT

from config import BEFORE, FLAGS, GROUPS

CHINESE = json.loads((ROOT / "docs" / "zh_CN" / "flags.json").read_text(encoding="utf-8"))
PAGES = ("docs/flags.md", "docs/zh_CN/flags.md")


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_chinese_translates_today_s_english(flag):
    entry = CHINESE["flags"].get(flag.name)
    assert entry, f"docs/zh_CN/flags.json lacks --{flag.name}"
    assert entry["en"] == flag.help, f"the help of --{flag.name} has changed: translate it anew"
    assert re.search("[\u4e00-\u9fff]", entry["zh"])


def test_no_flag_or_group_is_translated_that_does_not_exist():
    assert set(CHINESE["flags"]) == {flag.name for flag in FLAGS} and list(CHINESE["groups"]) == list(GROUPS)


@pytest.mark.parametrize("page", PAGES)
def test_every_flag_is_on_the_page_with_its_default_and_what_it_decides(page):
    words = {"same": "相同", "keep": "保留", "change": "可变"} if "zh_CN" in page else {}
    text = (ROOT / page).read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if re.match(r"\| `--\w+` \|.*\|.*\|.*\|", line)]
    assert [row[0].strip("`-") for row in rows] == [flag.name for flag in FLAGS]
    for row, flag in zip(rows, FLAGS):
        assert row[1] == f"`{flag.default}`" and len(row) == 7
        assert row[5] == ("-" if flag.decides == "use" else words.get(flag.on_resume, flag.on_resume))
    older = re.findall(r"^\| `--(\w+)` \| `([^`]*)` \|$", text, re.MULTILINE)
    assert dict(older) == {name: str(value) for name, value in BEFORE.items()}


def test_pages_are_stale_after_a_default_has_changed(tmp_path):
    for folder in ("docs", "experiments", "ram"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for path in [*ROOT.glob("*.py"), *ROOT.glob("*.md")]:
        shutil.copy(path, tmp_path)
    file = tmp_path / "config.py"
    text = file.read_text(encoding="utf-8")
    changed = text.replace('Flag("epochs", number(int, 1, 10**4), 300,', 'Flag("epochs", number(int, 1, 10**4), 301,')
    assert changed != text
    file.write_text(changed, encoding="utf-8")

    def run(*flags):
        command = [sys.executable, str(tmp_path / "docs" / "make.py"), *flags]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    checked = run("--check")
    assert checked.returncode == 1
    assert checked.stderr.splitlines() == [f"{page} is stale: python docs/make.py writes it" for page in PAGES]
    assert run().returncode == 0 and run("--check").returncode == 0
    assert all("`301`" in (tmp_path / page).read_text(encoding="utf-8") for page in PAGES)
