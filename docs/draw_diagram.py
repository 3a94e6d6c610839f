"""Draw the README's diagram of the model, docs/images/ram.png.

    python docs/draw_diagram.py [FILE]

The digit is the first training image of MNIST if data/mnist holds it, else a stroke; the path of glimpses is made up.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no display is needed
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
# Okabe and Ito's palette, which the color-blind can tell apart: the loss that trains a network.
SUPERVISED, REINFORCE, BASELINE = "#0072B2", "#D55E00", "#009E73"
INK, GRAY = "#222222", "#8a8a8a"
WIDTH, HEIGHT, UNITS_PER_INCH = 172, 86, 13.2
PATCH = 8  # pixels, as in the default recipe
PATH = [(5, 6), (8, 13), (7, 21), (14, 15), (19, 19), (23, 9)]  # row and column of the middle of each glimpse


def digit() -> np.ndarray:
    """Make a picture (28, 28) of a digit."""
    file = ROOT / "data" / "mnist" / "train-images-idx3-ubyte"
    if file.is_file():
        return np.frombuffer(file.read_bytes()[16 : 16 + 28 * 28], np.uint8).reshape(28, 28)
    rows, columns = np.mgrid[:28, :28]
    ring = np.hypot(rows - 18, columns - 14) - 5.5
    stem = np.abs(columns - 16 + 0.45 * (rows - 4)) + 10 * ((rows < 4) | (rows > 16))
    return (255 * np.clip(2.2 - np.minimum(np.abs(ring), stem), 0, 1)).astype(np.uint8)


class Canvas:
    """A drawing in units of 1 / UNITS_PER_INCH inch, (0, 0) bottom left."""

    def __init__(self):
        self.figure = plt.figure(figsize=(WIDTH / UNITS_PER_INCH, HEIGHT / UNITS_PER_INCH))
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))
        self.axes.axis("off")

    def text(self, x, y, text, size=15, color=INK, **more):
        more = {"ha": "center", "va": "center", "linespacing": 1.15, **more}
        self.axes.text(x, y, text, fontsize=size, color=color, **more)

    def box(self, x, y, width, height, text, color):
        corner = (x - width / 2, y - height / 2)
        style = "round,pad=0,rounding_size=1.2"
        self.axes.add_patch(FancyBboxPatch(corner, width, height, style, fc=color, ec="none", zorder=3))
        self.text(x, y, text, color="white", weight="bold", zorder=4)

    def badge(self, x, y, text, color=REINFORCE, radius=3.0):
        self.axes.add_patch(Circle((x, y), radius, fc="white", ec=color, lw=2, zorder=3))
        self.text(x, y - 0.1, text, color=color, zorder=4)

    def arrow(self, start, end, color=INK, stops=False, bend=0.0, head=True):
        """Draw an arrow, dashed where the gradient stops."""
        self.axes.add_patch(
            FancyArrowPatch(
                start,
                end,
                arrowstyle="-|>" if head else "-",
                connectionstyle=f"arc3,rad={bend}",
                mutation_scale=20,
                lw=2.2,
                color=color,
                linestyle=(0, (2.6, 1.6)) if stops else "solid",
                shrinkA=0,
                shrinkB=0,
                zorder=2,
            )
        )

    def picture(self, pixels, left, bottom, size, color=INK):
        where = (left, left + size, bottom, bottom + size)
        self.axes.imshow(255 - pixels, cmap="gray", vmin=0, vmax=255, extent=where, interpolation="nearest", zorder=1)
        self.axes.add_patch(Rectangle((left, bottom), size, size, fill=False, ec=color, lw=1.6, zorder=2))
        self.axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT), aspect="auto")


def draw(file: Path) -> None:
    """Draw the diagram."""
    canvas, image = Canvas(), digit()
    draw_image(canvas, image)
    columns = [58, 100, 158]
    for x, t in zip(columns, (1, 2, len(PATH))):
        draw_column(canvas, x, t, image)
    for t, x in enumerate((79, 121), 1):
        draw_locator(canvas, x, t)
    draw_time(canvas, columns)
    draw_legend(canvas)
    canvas.figure.canvas.draw()
    buffer = io.BytesIO()
    canvas.figure.savefig(buffer, format="png", dpi=140, facecolor="white")
    plt.close(canvas.figure)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.open(buffer).convert("RGB").quantize(96, dither=Image.Dither.NONE).save(file, optimize=True)


IMAGE = (2, 27, 34)  # left, bottom, size
ROW = {"image": 2.5, "glimpse": 14, "sensor": 34, "core": 51, "head": 67}  # heights of the middles


def draw_image(canvas: Canvas, image: np.ndarray) -> None:
    """Draw the image with the boxes and the path of the glimpses."""
    left, bottom, size = IMAGE
    pixel = size / 28
    canvas.picture(image, left, bottom, size)
    canvas.text(left + size / 2, bottom + size + 3, "image $x$")
    middles = [(left + (c + 0.5) * pixel, bottom + size - (r + 0.5) * pixel) for r, c in PATH]
    for (row, column), start, end in zip(PATH, middles[:1] + middles, middles):
        corner = (left + (column - PATCH // 2) * pixel, bottom + size - (row + PATCH // 2) * pixel)
        box = Rectangle(corner, PATCH * pixel, PATCH * pixel, fill=False, ec=SUPERVISED, lw=2.2, zorder=3)
        canvas.axes.add_patch(box)
        if start != end:
            canvas.arrow(start, end, REINFORCE, head=False)
    for t, (x, y) in enumerate(middles, 1):
        canvas.axes.add_patch(Circle((x, y), 1.75, fc=REINFORCE, ec="white", lw=1.2, zorder=4))
        canvas.text(x, y - 0.1, str(t), 13, "white", weight="bold", zorder=5)


def crop(image: np.ndarray, middle: tuple[int, int]) -> np.ndarray:
    """Cut out the glimpse of PATCH x PATCH pixels around a place, with zeros outside the image."""
    padded = np.pad(image, PATCH)
    top, left = (place + PATCH - PATCH // 2 for place in middle)
    return padded[top : top + PATCH, left : left + PATCH]


def draw_column(canvas: Canvas, x: float, t: int, image: np.ndarray) -> None:
    """Draw glimpse, glimpse network, core and the readers of its state at step t, with the location at the left."""
    glimpse, sensor, core, head = (ROW[name] for name in ("glimpse", "sensor", "core", "head"))
    side, step = 11, "T" if t == len(PATH) else str(t)
    canvas.picture(crop(image, PATH[t - 1]), x - side / 2, glimpse - side / 2, side, SUPERVISED)
    canvas.arrow((x, ROW["image"]), (x, glimpse - side / 2 - 0.2), GRAY)
    canvas.text(x + 1.6, 5.3, "retina", 14, ha="left")
    canvas.arrow((x, glimpse + side / 2), (x, sensor - 5), SUPERVISED)
    canvas.box(x, sensor, 21, 10, "glimpse\nnetwork", SUPERVISED)
    canvas.arrow((x, sensor + 5), (x, core - 4), SUPERVISED)
    canvas.text(x + 1.5, (sensor + core) / 2 + 0.6, f"$g_{step}$", 16, ha="left")
    canvas.box(x, core, 21, 8, f"core  $h_{step}$", SUPERVISED)
    if t == len(PATH):
        canvas.arrow((x, core + 4), (x, head - 4), SUPERVISED)
        canvas.box(x, head, 21, 8, "action", SUPERVISED)
        canvas.arrow((x - 10.5, head), (x - 15, head), SUPERVISED)
        canvas.text(x - 16, head, "class", ha="right")
    else:
        canvas.arrow((x, core + 4), (x, head - 4), BASELINE, stops=True)
        canvas.box(x, head, 21, 8, "baseline", BASELINE)
        canvas.arrow((x + 10.5, head), (x + 15, head), BASELINE)
        canvas.text(x + 16, head, f"$b_{step}$", 16, ha="left")
    place = x - 21
    canvas.badge(place, 17, f"$l_{step}$")
    canvas.arrow((place + 3, 16.6), (x - side / 2 - 0.3, 15), REINFORCE, stops=True)
    canvas.arrow((place + 2.6, 18.8), (x - 8, sensor - 5.2), REINFORCE, stops=True, bend=-0.12)


def draw_locator(canvas: Canvas, x: float, t: int) -> None:
    """Draw the choice of the next location between two columns, as with `--reinforce_core=0`."""
    sensor, core = ROW["sensor"], ROW["core"]
    canvas.arrow((x - 13, core - 4), (x - 2, sensor + 4.2), REINFORCE, stops=True, bend=-0.2)
    canvas.box(x, sensor, 17, 8, "location", REINFORCE)
    canvas.arrow((x, sensor - 4), (x, 20.2), REINFORCE, stops=True)
    canvas.text(x - 1.4, 25, "sample", 14, ha="right")
    canvas.badge(x, 17, f"$l_{t + 1}$")


def draw_time(canvas: Canvas, columns: list[float]) -> None:
    """Draw the links between the columns: the image that all retinas share, and the state of the core."""
    first, second, last = columns
    core, half = ROW["core"], 10.5
    below = IMAGE[0] + 10
    canvas.axes.plot([below, below, last], [IMAGE[1], ROW["image"], ROW["image"]], color=GRAY, lw=2.2, zorder=1)
    canvas.text(first - 25.2, 17, "random", 14, ha="right")
    canvas.text(first - 11.3, core + 3.2, "$h_0 = 0$", 15, ha="right")
    canvas.arrow((first - 17, core), (first - half, core), SUPERVISED)
    canvas.arrow((first + half, core), (second - half, core), SUPERVISED)
    gap = (second + last) / 2
    canvas.arrow((second + half, core), (gap - 3, core), SUPERVISED, head=False)
    canvas.arrow((gap + 3, core), (last - half, core), SUPERVISED)
    for y in (core, 17):
        canvas.text(gap, y, "...", 22, weight="bold")


def draw_legend(canvas: Canvas) -> None:
    """Draw the meaning of each color and of the dashes."""
    y = 81
    entries = [
        (SUPERVISED, "learns by cross entropy", 3),
        (REINFORCE, "learns by REINFORCE", 51),
        (BASELINE, "learns the reward", 97),
        (None, "gradient stops", 141),
    ]
    for color, text, x in entries:
        if color:
            canvas.box(x + 2.5, y, 5, 4, "", color)
        else:
            canvas.arrow((x - 3, y), (x + 5, y), INK, stops=True)
        canvas.text(x + 7, y - 1, text, ha="left", va="baseline")


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images" / "ram.png"
    draw(target)
    print(f"[*] Wrote {target}: {target.stat().st_size / 1000:.0f} kB")
