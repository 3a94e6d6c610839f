"""Measure how long a look takes: `OMP_NUM_THREADS=1 python -m demo.times`; see docs/demo.md.

The processor's time of the answer to the page's request: for each published network one path, and ten paths; for each
published player of Catch a game.
"""

from __future__ import annotations

import base64
import io
import time

import numpy as np
from PIL import Image, ImageDraw

from ram.system.command import command_line
from ram.system.cpu import num_threads, prepare_cpu
from ram.system.parsing import Parser

REPEATS = 50


def measure() -> None:
    """Print the median milliseconds of the processor's time for each network, in a Markdown table."""
    prepare_cpu()  # before paddle is imported
    from demo.answers import answer
    from demo.games import answer_game, load_players
    from demo.networks import load_networks

    networks, data = load_networks(None, None, "./data"), drawing()
    print(f"Median of {REPEATS}, processor's time, {num_threads()} thread(s)\n")
    print("| network | one path, ms | ten paths, ms |\n|---|---|---|")
    for name in networks:
        canvas = {"x": 10, "y": 20, "pieces": 0, "seed": 1}
        request = {"id": 1, "network": name, "source": "drawing", "data": data, "canvas": canvas, "seed": 1}
        one, ten = (median(answer, networks, {**request, "mode": mode}) for mode in ("path", "paths"))
        print(f"| {name} | {one:.0f} | {ten:.0f} |", flush=True)
    players = load_players(None)
    for name in players:
        game = median(answer_game, players, {"id": 1, "player": name, "game": 1, "moves": []})
        print(f"\nA game of {name}: {game:.0f} ms")


def median(function, known: dict, request: dict) -> float:
    """Measure the median milliseconds of the processor's time of an answer."""
    times = []
    for _ in range(REPEATS + 3):
        start = time.process_time()
        function(known, request)
        times.append(1000 * (time.process_time() - start))
    return float(np.median(times[3:]))


def drawing() -> str:
    """Draw a seven as the page does: 280 x 280 pixels, a PNG in base64."""
    image, content = Image.new("L", (280, 280)), io.BytesIO()
    ImageDraw.Draw(image).line([(75, 60), (205, 60), (125, 230)], 255, 18, "curve")
    image.save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode("ascii")


if __name__ == "__main__":
    command_line("python -m demo.times", lambda: Parser(prog="demo.times").parse_args() and measure())
