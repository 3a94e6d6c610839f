"""Draw how many balls were caught over the frames of one or several trainings.

python -m catch.curve caught.png logs/catch_seed1.jsonl logs/catch_seed2.jsonl logs/catch_seed3.jsonl
"""

from __future__ import annotations

import sys

import numpy as np
from matplotlib.figure import Figure

from ram.draw import files
from ram.draw.style import BLUE, GRAY, VERMILLION, WIDTH
from ram.system.command import command_line
from utils import UserError, file_access, from_json

COLORS = {"greedy": BLUE, "sampled": VERMILLION}


def read_log(path: str) -> list[dict]:
    """Return the records of a training's log.

    Raises:
        UserError: it cannot be read, or is no log of Catch.
    """
    with file_access("read", path), open(path, encoding="utf-8", errors="replace") as file:
        lines = file.readlines()
    try:
        records = [from_json(line) for line in lines]
        complete = all(isinstance(record[name], (int, float)) for record in records for name in ("frames", *COLORS))
    except (ValueError, TypeError, KeyError):
        complete = False
    if not complete or not lines:
        raise UserError(f"{path} is no log of Catch")
    return records


def curve(logs: list[list[dict]]) -> Figure:
    """Draw the mean over trainings, and a band from the worst to the best of them, as far as all have come.

    Raises:
        UserError: they are not of one length, so that their records are not of the same frames.
    """
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")  # without pyplot: no window, no global state
    axis = figure.subplots()
    count = min(map(len, logs))
    frames = [[record["frames"] for record in log[:count]] for log in logs]
    other = next((number for number, counts in enumerate(frames) if counts != frames[0]), None)
    if other is not None:
        raise UserError(f"log {other + 1} is of a training of another length than log 1: their means would mix frames")
    frames = np.array(frames[0]) / 1e6
    for name, color in COLORS.items():
        values = np.array([[record[name] for record in log[:count]] for log in logs])  # (trainings, records)
        axis.plot(frames, values.mean(axis=0), color=color, label=f"{name}, mean of {len(logs)}")
        axis.fill_between(frames, values.min(axis=0), values.max(axis=0), color=color, alpha=0.2, linewidth=0)
    axis.axhline(85, color=GRAY, linestyle="--", label="paper, about, after 20 million frames")
    axis.set_xlabel("million frames")
    axis.set_ylabel("caught, in percent of 2,000 games")
    axis.set_ylim(0, 100)
    axis.grid(color=GRAY, alpha=0.4)
    axis.legend(loc="lower right")
    return figure


def main(argv: list[str]) -> None:
    """Write the picture."""
    if len(argv) < 2:
        raise UserError("give the picture to write, and the logs of one or several trainings")
    files.write(argv[0], files.png(curve([read_log(path) for path in argv[1:]]), dpi=100))


if __name__ == "__main__":
    command_line("catch.curve", lambda: main(sys.argv[1:]))
