"""Write digits as thin and thick drawings, to try `--predict` on strokes of every width.

    python experiments/make_strokes.py data/strokes [COUNT]

The skeletons of the first COUNT (100) training images of MNIST that seed 1 holds out are drawn on 840x840 pixels, with
strokes from 1 to 52 pixels wide: from 1/840 to 1/16 of the height. Each width has three folders: light on dark, dark on
light, and photographs (dark ink on unevenly lit, noisy paper, as JPEG). The class is the last figure of a file's name.
"""

from __future__ import annotations

import os
import sys

import numpy as np
from PIL import Image, ImageDraw

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from data_loader import held_out
from ram.data.sources import fetch
from ram.system.command import command_line
from utils import UserError, is_there

WIDTHS = (1, 3, 7, 15, 31, 52)  # pixels
SCALE = 30  # pixels of the drawing in one of MNIST's


def skeleton(mask: np.ndarray) -> np.ndarray:
    """Thin a mask (H, W) to lines one pixel wide, as Zhang and Suen (1984) do."""
    image = np.pad(mask, 1).astype(int)
    changed = True
    while changed:
        changed = False
        for first in (True, False):
            around = ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))  # from north, clockwise
            n = [np.roll(image, shift, (0, 1)) for shift in around]
            rises = sum((n[i] == 0) & (n[(i + 1) % 8] == 1) for i in range(8))
            triples = ((0, 2, 4), (2, 4, 6)) if first else ((0, 2, 6), (0, 4, 6))
            open_side = np.logical_and(*(n[a] * n[b] * n[c] == 0 for a, b, c in triples))
            drop = (image == 1) & (sum(n) >= 2) & (sum(n) <= 6) & (rises == 1) & open_side
            image[drop] = 0
            changed |= bool(drop.any())
    return image[1:-1, 1:-1].astype(bool)


def drawn(digit: np.ndarray, width: int, scale: int = SCALE) -> np.ndarray:
    """Draw the skeleton of a digit (28, 28), light on dark, with round strokes of a width in pixels."""
    picture = Image.new("L", (28 * scale, 28 * scale))
    pen = ImageDraw.Draw(picture)
    points = set(zip(*(axis.tolist() for axis in np.nonzero(skeleton(digit >= 128)))))
    for y, x in points:
        for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1), (1, -1)):
            corner = dy and dx and ((y, x + dx) in points or (y + dy, x) in points)  # joined already
            if (y + dy, x + dx) in points and not corner:
                ends = [((x + 0.5) * scale, (y + 0.5) * scale), ((x + dx + 0.5) * scale, (y + dy + 0.5) * scale)]
                pen.line(ends, fill=255, width=width)
                if width > 2:
                    for a, b in ends:
                        pen.ellipse([a - width / 2, b - width / 2, a + width / 2, b + width / 2], fill=255)
    return np.asarray(picture)


def photographed(ink: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Make a drawing (H, W) dark ink on unevenly lit, noisy paper."""
    height, width = ink.shape
    across, down = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    paper = 215 + 15 * across + 10 * down
    gray = paper * (1 - ink / 255 * 0.8) + random.normal(0, 4, ink.shape)
    return gray.clip(0, 255).astype(np.uint8)


def main(arguments: list[str]) -> None:
    """Write the drawings to a new folder.

    Raises:
        UserError: the arguments are others, or there is something at the folder's path.
    """
    arguments = [*arguments, "100"] if len(arguments) == 1 else arguments
    if len(arguments) != 2 or not arguments[0] or not arguments[1].isdecimal():
        raise UserError("usage: python experiments/make_strokes.py FOLDER [COUNT]")
    folder, count = os.path.normpath(arguments[0]), arguments[1]
    begun = folder + ".part"  # an interrupted call leaves no folder that looks whole
    for name in (folder, begun):
        if is_there(name):
            raise UserError(f"{name} is there already: name a new folder, or move it away")
    mnist = fetch("mnist", "./data")
    random = np.random.default_rng(0)
    chosen = held_out(len(mnist["train_images"]), valid_size=0.1, seed=1)[1][: int(count)]
    for width in WIDTHS:
        for kind in ("light", "dark", "photo"):
            os.makedirs(os.path.join(begun, f"{width:02d}-{kind}"), exist_ok=True)
        for i, (digit, label) in enumerate(zip(mnist["train_images"][chosen], mnist["train_labels"][chosen])):
            ink = drawn(digit, width)
            for kind, pixels in (("light", ink), ("dark", 255 - ink), ("photo", photographed(ink, random))):
                name = f"{i:04d}_{label}.{'jpg' if kind == 'photo' else 'png'}"
                Image.fromarray(pixels).save(os.path.join(begun, f"{width:02d}-{kind}", name), quality=85)
    os.rename(begun, folder)


if __name__ == "__main__":
    command_line("make_strokes.py", lambda: main(sys.argv[1:]))
