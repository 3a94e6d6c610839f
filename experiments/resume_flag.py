"""Print --resume=True where a training command can go on, and nothing where it has to start.

    python main.py FLAGS $(python experiments/resume_flag.py FLAGS)

It can where a training of its name was begun with the very settings that it asks for, its length included.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from config import get_config
from ram.runs import checkpoint, seeds
from ram.runs.files import RunFiles
from ram.runs.settings import deciding, settings
from utils import UserError


def can_go_on(config) -> bool:
    """Whether the first of the command's runs that has a checkpoint was begun with these settings."""
    for one in seeds.each(config):
        files = RunFiles(one)
        if files.started():
            return deciding(settings(one)) == deciding(checkpoint.read_latest(files.latest)["settings"])
    return False


if __name__ == "__main__":
    try:
        print("--resume=True" if can_go_on(get_config(sys.argv[1:])) else "")
    except UserError as error:
        print(f"main.py: {error}", file=sys.stderr)
        sys.exit(2)
