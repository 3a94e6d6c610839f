"""Make the tables of flags, in both languages, from the table in config.py and docs/zh_CN/flags.json."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from words import table, translate

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from config import FLAGS, GROUPS, HEAD, Flag, help_of, scope
from ram.system.parsing import bool_or_auto, path, str2bool

CHINESE = json.loads((ROOT / "docs" / "zh_CN" / "flags.json").read_text(encoding="utf-8"))
HEADINGS = ["flag", "default", "allowed", "decides", "in the name", "when resumed", "meaning"]


def code(text: object) -> str:
    return f"`{text}`"


def allowed(flag: Flag) -> str:
    """List the values that a flag may have, or describe them in a form that needs no translation."""
    if flag.name == "preset":  # too many, and --preset=help says more
        return code("NAME") + ", " + code("help")
    if isinstance(flag.allowed, tuple):
        return ", ".join(map(code, flag.allowed))
    if flag.allowed in (str2bool, bool_or_auto):
        return "`True`, `False`" + ", `auto`" * (flag.allowed is bool_or_auto)
    if flag.allowed is path:
        return code(flag.metavar or "DIR") + " ..." * flag.several
    return code(flag.allowed.interval)


def meaning(flag: Flag, language: str) -> str:
    """Return a flag's help in a language, with the settings that the flag is for, and flags as code."""
    text = help_of(flag)
    if language == "zh":
        text = CHINESE["flags"][flag.name]["zh"] + (f"；仅用于 {scope(flag)}" if flag.only else "")
    return re.sub(r"--\w+(=\w+)?", lambda match: code(match[0]), text)


def row(flag: Flag, language: str) -> list:
    """Return the cells of a flag."""
    decides = translate(flag.decides, language)
    if flag.looking:
        decides += f"{'，' if language == 'zh' else ', '}{translate('RAM alone', language)}"
    name = translate("yes", language) if flag.mark == HEAD else None if flag.mark is None else code(f"_{flag.mark}")
    resumed = None if flag.decides == "use" else translate(flag.on_resume, language)
    return [
        code(f"--{flag.name}"), code(flag.default), allowed(flag), decides, name, resumed, meaning(flag, language),
    ]  # fmt: skip


def flags(language: str) -> str:
    """Return a heading and a table for each group of flags."""
    parts = []
    for title, group in GROUPS.items():
        heading = CHINESE["groups"][title] if language == "zh" else title
        parts.append(f"## {heading}\n\n" + table(HEADINGS, [row(flag, language) for flag in group], language))
    return "\n\n".join(parts)


def before(language: str) -> str:
    """Return the values that stand for flags which a file is too old to have."""
    rows = [[code(f"--{flag.name}"), code(flag.before)] for flag in FLAGS if flag.before is not None]
    return table(["flag", "before it existed"], rows, language)


BLOCKS = {"flags": flags, "flags-before": before}
