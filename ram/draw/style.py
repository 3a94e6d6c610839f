"""Define the look of all pictures: sizes, colors, fonts, and the few operations that every figure is made of.

Figures are made without pyplot: no display is needed, and no state is shared. Colors are those of Okabe and Ito, maps
are viridis and cividis, so that the color-blind can tell them apart.
"""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

WIDTH = 9.0  # inches: the README shows 900 pixels
BLUE, VERMILLION, GRAY, INK = "#0072B2", "#D55E00", "#BBBBBB", "#222222"
PALETTE = (BLUE, VERMILLION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
TEXT, SMALL = 9, 7.5  # points
# Name prefixes of fonts for Chinese names of classes, which matplotlib's own, DejaVu, lacks.
CHINESE = ("Noto Sans CJK", "Noto Sans SC", "Source Han Sans", "WenQuanYi", "PingFang", "Microsoft YaHei", "SimHei")
MAX_COLUMNS = 12  # glimpses that a picture has room for


def plain_text(figure: Figure) -> None:
    """Draw all text of a figure as it stands: a $ begins no formula, and Chinese gets a font if there is one.

    Names of classes and files come from the user, and may hold anything.
    """
    chinese = sorted(font.name for font in font_manager.fontManager.ttflist if font.name.startswith(CHINESE))
    families = [*matplotlib.rcParams["font.family"], *chinese[:1]]
    for text in figure.findobj(Text):
        text.set_parse_math(False)
        text.set_fontfamily(families)


def to_pixels(figure: Figure, dpi: int = 100) -> np.ndarray:
    """Draw a figure as an image (H, W, 3), uint8."""
    figure.set_dpi(dpi)
    plain_text(figure)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def step_colors(count: int) -> np.ndarray:
    """Choose colors (count, 4) from early to late, all of them visible on black."""
    return matplotlib.colormaps["viridis"](np.linspace(0.3, 1, count) if count > 1 else np.array([0.3]))


def ink_on(color) -> str:
    """Choose black or white, whichever is readable on the color."""
    return "black" if np.dot(color[:3], (0.299, 0.587, 0.114)) > 0.45 else "white"


def evenly_spaced(count: int, most: int) -> np.ndarray:
    """Choose at most `most` of the numbers 0 to count - 1, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def show(axis, image: np.ndarray) -> None:
    """Draw an image (C, H, W) without ticks: gray, or in color if it has three channels."""
    top = 255 if image.dtype == np.uint8 else 1
    picture = image.transpose(1, 2, 0) if len(image) == 3 else image[0]
    axis.imshow(picture, cmap="gray", vmin=0, vmax=top, interpolation="nearest")
    bare(axis)


def bare(axis) -> None:
    """Remove the ticks."""
    axis.set_xticks([])
    axis.set_yticks([])


def brief(name: str) -> str:
    """Cut a class's name where it would need too much room."""
    return name if len(name) <= 10 else name[:9] + "."


def at(figure: Figure, left: float, top: float, width: float, height: float):
    """Add axes at a place in inches, from the top left corner."""
    total_width, total_height = figure.get_size_inches()
    y = total_height - top - height
    return figure.add_axes((left / total_width, y / total_height, width / total_width, height / total_height))


def write(figure: Figure, left: float, top: float, text: str, size: float = TEXT, **more) -> None:
    """Write text at a place in inches, from the top left corner."""
    width, height = figure.get_size_inches()
    figure.text(left / width, 1 - top / height, text, fontsize=size, **{"va": "top", "color": INK, **more})
