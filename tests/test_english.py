"""Docstrings begin with a verb and end with a period, and the spelling is American."""

from __future__ import annotations

import ast
import re

import pytest
from helpers import ROOT

NO_VERBS = set("The A An What Whether How Where As This These Its It So That Those Which".split())
BRITISH = re.compile(
    r"optimis(?!t)|colour|\bcentr(e|es|ed|ing)\b|normalis|neighbour|favour|behaviour|initialis|recognis|serialis|summaris"
    r"|organis|minimis|maximis|generalis|visualis|\blicence\b|\blabelled\b|\bmodell(ed|ing)\b|\bcancelled\b|\bartefact",
    re.IGNORECASE,
)
CHINESE = ("README_cn.md", "SECURITY_cn.md", "docs/zh_CN")
TEXTS = (".py", ".md", ".sh", ".toml", ".yml", ".json", ".ipynb")
FOLDERS = ("", "ram", "catch", "demo", "docs", "experiments", ".ci", ".github")
FILES = {
    path.relative_to(ROOT).as_posix(): path
    for folder in FOLDERS
    for path in sorted((ROOT / folder).glob("**/*" if folder else "*"))
    if path.is_file() and (path.suffix in TEXTS or path.name == "run")
}
SOURCES = [name for name in FILES if name.endswith(".py")]


def docstrings(name: str) -> list[tuple[str, str]]:
    """Return the functions and methods of a file that are verbs, each with its docstring."""
    texts = []
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            is_noun = any(ast.unparse(decorator).endswith("property") for decorator in node.decorator_list)
            text = ast.get_docstring(node)
            if text and not is_noun and not node.name.startswith("__"):
                texts.append((node.name, text))
    return texts


def faults(text: str) -> list[str]:
    """Name what is wrong with a docstring's first paragraph."""
    first = text.split("\n\n")[0].rstrip()
    wrong = [f"begins with {word}" for word in first.split()[:1] if word in NO_VERBS or not word[0].isupper()]
    return wrong + ["ends without a period"] * (not first.endswith("."))


@pytest.mark.parametrize("name", SOURCES)
def test_docstrings_begin_with_a_verb_and_end_with_a_period(name):
    assert not [f"{function}: {fault}" for function, text in docstrings(name) for fault in faults(text)]


def test_the_spelling_is_american():
    british = {
        name: BRITISH.findall(path.read_text(encoding="utf-8"))
        for name, path in FILES.items()
        if not name.startswith(CHINESE) and BRITISH.search(path.read_text(encoding="utf-8"))
    }
    assert not british


def test_faults_are_found():
    assert not faults("Compute it.\n\nThe rest")
    assert faults("The sum of all.") == ["begins with The"] and faults("compute it") != []
    assert BRITISH.search("the Optimiser") and not BRITISH.search("optimistic, centers, concentrated, labels")
    assert len(SOURCES) > 60 and "ram/build.py" in SOURCES and ".ci/run" in FILES
