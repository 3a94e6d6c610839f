"""Write the generated parts of the pages: what stands between `<!-- make: NAME -->` and `<!-- /make -->`.

python docs/make.py            # write them
python docs/make.py --check    # name the pages whose parts are not what would be written; status 1 if there are any
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import flags
import tables

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(?<=^<!-- make: )([\w-]+)( -->\n)(.*?)(?=^<!-- /make -->$)", re.MULTILINE | re.DOTALL)

# What a block's name stands for: a function of the language, "en" or "zh", that returns Markdown.
BLOCKS = {**tables.BLOCKS, **flags.BLOCKS}


def pages() -> list[Path]:
    """List the pages in both languages."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def language(page: Path) -> str:
    """Name the language of a page: "zh" in docs/zh_CN/ and of *_cn.md, else "en"."""
    return "zh" if page.parent.name == "zh_CN" or page.stem.endswith("_cn") else "en"


def written(text: str, language: str) -> str:
    """Return a page's text with every block written anew.

    Raises:
        KeyError: for a block that no function makes.
    """
    return BLOCK.sub(lambda block: f"{block[1]}{block[2]}\n{BLOCKS[block[1]](language)}\n\n", text)


def stale() -> dict[Path, str]:
    """Find the pages whose blocks are not what would be written, with the text that they should have."""
    texts = {page: page.read_text(encoding="utf-8") for page in pages()}
    anew = {page: written(text, language(page)) for page, text in texts.items()}
    return {page: anew[page] for page, text in texts.items() if text != anew[page]}


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print("usage: python docs/make.py [--check]", file=sys.stderr)
        return 2
    pages_to_write = stale()
    for page, text in pages_to_write.items():
        name = page.relative_to(ROOT).as_posix()
        if arguments:
            print(f"{name} is stale: python docs/make.py writes it", file=sys.stderr)
        else:
            page.write_text(text, encoding="utf-8")
            print(f"[*] {name}")
    return int(bool(arguments and pages_to_write))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
