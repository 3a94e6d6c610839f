"""Drawings of what a model does: arrays in, matplotlib figures out. Nothing here knows Paddle, a model or a file.

Letters: N images, T glimpses each, k patches per glimpse of g x g pixels, C channels, H x W pixels. Locations are
(x, y) in [-1, 1] as everywhere; places are (x, y) in pixels as `imshow` counts them: 0 is the middle of the first.
Figures are made without pyplot: no display is needed, and no state is shared. Colours are those of Okabe and Ito, maps
are viridis and cividis, so that the colour-blind can tell them apart.
"""

from __future__ import annotations

from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

WIDTH = 9.0  # inches: the README shows 900 pixels
BLUE, VERMILLION, GREY, INK = "#0072B2", "#D55E00", "#BBBBBB", "#222222"
PALETTE = (BLUE, VERMILLION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
TEXT, SMALL = 9, 7.5  # points
# How fonts begin that can write Chinese names of classes; DejaVu, matplotlib's own, cannot.
CHINESE = ("Noto Sans CJK", "Noto Sans SC", "Source Han Sans", "WenQuanYi", "PingFang", "Microsoft YaHei", "SimHei")
MAX_COLUMNS = 12  # glimpses that a picture has room for
MAX_CLASSES = 10  # bars that it has room for


class Look(NamedTuple):
    """One image, and all that a model saw of it."""

    image: np.ndarray  # (C, H, W), uint8 or in [0, 1]
    label: int
    locations: np.ndarray  # (T, 2)
    glimpses: np.ndarray  # (T, k, C, g, g) in [0, 1]
    probabilities: np.ndarray  # (T, classes) after each glimpse


def plain_text(figure: Figure) -> None:
    """Have all text of a figure drawn as it stands: a $ begins no formula, Chinese is written if a font is there.

    Names of classes and files come from the user, and may hold anything.
    """
    chinese = sorted(font.name for font in font_manager.fontManager.ttflist if font.name.startswith(CHINESE))
    families = [*matplotlib.rcParams["font.family"], *chinese[:1]]
    for text in figure.findobj(Text):
        text.set_parse_math(False)
        text.set_fontfamily(families)


def to_pixels(figure: Figure, dpi: int = 100) -> np.ndarray:
    """A figure as an image (H, W, 3), uint8."""
    figure.set_dpi(dpi)
    plain_text(figure)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def step_colours(count: int) -> np.ndarray:
    """Colours (count, 4) from early to late, all of them visible on black."""
    return matplotlib.colormaps["viridis"](np.linspace(0.3, 1, count) if count > 1 else np.array([0.3]))


def ink_on(colour) -> str:
    """Black or white, whichever is readable on the colour."""
    return "black" if np.dot(colour[:3], (0.299, 0.587, 0.114)) > 0.45 else "white"


def show(axis, image: np.ndarray) -> None:
    """An image (C, H, W) without ticks: grey, or in colour if it has three channels."""
    top = 255 if image.dtype == np.uint8 else 1
    picture = image.transpose(1, 2, 0) if len(image) == 3 else image[0]
    axis.imshow(picture, cmap="gray", vmin=0, vmax=top, interpolation="nearest")
    bare(axis)


def bare(axis) -> None:
    """No ticks."""
    axis.set_xticks([])
    axis.set_yticks([])


def brief(name: str) -> str:
    """A class's name, cut where it would need too much room."""
    return name if len(name) <= 10 else name[:9] + "."


def at(figure: Figure, left: float, top: float, width: float, height: float):
    """Axes at a place in inches, from the top left corner."""
    total_width, total_height = figure.get_size_inches()
    y = total_height - top - height
    return figure.add_axes((left / total_width, y / total_height, width / total_width, height / total_height))


def write(figure: Figure, left: float, top: float, text: str, size: float = TEXT, **more) -> None:
    """Text at a place in inches, from the top left corner."""
    width, height = figure.get_size_inches()
    figure.text(left / width, 1 - top / height, text, fontsize=size, **{"va": "top", "color": INK, **more})


# ----------------------------------------------------------------------------------------------------------- glimpses


def spread(places: np.ndarray, distance: float, shape: tuple[int, int], rounds: int = 300) -> np.ndarray:
    """Places (T, 2) moved apart until no two are closer than `distance`, as far as the image has room."""
    places = places + 1e-3 * np.stack([np.cos(np.arange(len(places))), np.sin(np.arange(len(places)))], 1)
    margin = distance / 2 - 0.5
    low, high = np.full(2, margin), np.maximum(margin, np.array(shape[::-1]) - 1 - margin)
    for _ in range(rounds):
        apart = places[:, None] - places[None]  # (T, T, 2)
        gap = np.linalg.norm(apart, axis=-1)
        np.fill_diagonal(gap, np.inf)
        push = np.clip(distance - gap, 0, None) / gap / 2
        places = np.clip(places + 0.5 * (push[..., None] * apart).sum(1), low, high)
    return places


def draw_path(axis, locations: np.ndarray, shape: tuple[int, int], geometry, until=None, badges=None) -> None:
    """The path of fixations over an image that `show` has drawn.

    Args:
        locations: (T, 2).
        shape: H, W of the image.
        geometry: the retina's `modules.Geometry`.
        until: draw only the first so many.
        badges: diameter of a numbered badge in pixels of the image; None: no numbers, the first is a ring.
    """
    H, W = shape
    places, colours = geometry.places(locations, shape), step_colours(len(locations))
    aside = places if badges is None else spread(places, badges, shape)
    until = len(places) if until is None else until
    for i in range(1, until):
        axis.plot(*zip(places[i - 1], places[i]), color="black", lw=2.4, alpha=0.6, zorder=3)
        axis.plot(*zip(places[i - 1], places[i]), color=colours[i], lw=1.3, zorder=4)
    for i in range(until):
        if badges is None:
            ring = {"facecolors": "none", "edgecolors": [colours[i]], "linewidths": 1.3, "s": 20}
            dot = {"color": [colours[i]], "edgecolors": "black", "linewidths": 0.4, "s": 11}
            axis.scatter(*places[i], zorder=5, **(ring if i == 0 else dot))
            continue
        axis.plot(*zip(places[i], aside[i]), color=colours[i], lw=0.9, zorder=5)
        axis.scatter(*places[i], s=8, color=[colours[i]], edgecolors="black", linewidths=0.5, zorder=6)
        axis.scatter(*aside[i], s=125, color=[colours[i]], edgecolors="black", linewidths=0.6, zorder=7 + i)
        style = {"ha": "center", "va": "center_baseline", "color": ink_on(colours[i]), "weight": "bold"}
        axis.text(*aside[i], str(i + 1), fontsize=SMALL if i < 99 else 5, zorder=7.5 + i, **style)
    axis.set(xlim=(-0.5, W - 0.5), ylim=(H - 0.5, -0.5))


def draw_boxes(axis, locations: np.ndarray, shape: tuple[int, int], geometry, colours: np.ndarray) -> None:
    """A frame around what each patch reads: the finest solid, coarser ones dashed."""
    for corners, colour in zip(geometry.corners(locations, shape), colours):
        for scale, (corner, width) in enumerate(zip(corners, geometry.widths())):
            line = {"lw": 1.4} if scale == 0 else {"lw": 0.7, "alpha": 0.55, "ls": (0, (4, 4))}
            axis.add_patch(Rectangle(corner - 0.5, width, width, fill=False, ec=colour, zorder=2, **line))


def glimpses_figure(looks: list[Look], geometry, classes: list[str], title: str, until: int | None = None) -> Figure:
    """One band per image: the image with path and boxes, what each patch saw, and the classes after each glimpse.

    Args:
        looks: the images.
        geometry: the retina's `modules.Geometry`.
        classes: their names, in the order of the labels.
        title: above all.
        until: draw only the first so many glimpses, and the boxes of the last of them alone: a frame of a film.
    """
    T, k = looks[0].glimpses.shape[:2]
    columns = np.unique(np.linspace(0, T - 1, min(T, MAX_COLUMNS)).round().astype(int))
    side, left, gap = 2.75, 3.5, 0.07  # inches: the whole image, where the columns begin, between two of them
    cell = min(0.8, (WIDTH - left - 0.1) / len(columns) - gap)
    below = 0.24 + k * (cell + gap) + 0.24  # the top of the bars, from the top of the band
    bars = max(1.1, side + 0.24 - below)
    band = below + bars + 0.25
    figure = Figure(figsize=(WIDTH, 0.45 + band * len(looks)))
    write(figure, 0.12, 0.12, title, weight="bold")
    for row, look in enumerate(looks):
        top = 0.45 + row * band
        draw_whole(figure, look, geometry, classes, (0.12, top, side), until)
        draw_glimpses(figure, look, geometry, columns, (left, top, cell, gap), until)
        draw_classes(figure, look, classes, columns, (left, top + below, cell, gap, bars), until)
    return figure


def draw_whole(figure: Figure, look: Look, geometry, classes, place: tuple, until: int | None) -> None:
    """The whole image with path and boxes, and the answer above it."""
    left, top, side = place
    shape, colours = look.image.shape[1:], step_colours(len(look.locations))
    final = look.probabilities[-1 if until is None else until - 1]
    said = int(final.argmax())
    colour = BLUE if said == look.label else VERMILLION
    answer = f"shown: {brief(classes[look.label])}   answer: {brief(classes[said])} ({final[said]:.0%})"
    write(figure, left, top, answer, TEXT if len(answer) < 36 else SMALL, color=colour, weight="bold")
    axis = at(figure, left, top + 0.24, side, side)
    show(axis, look.image)
    boxed = slice(None) if until is None else slice(until - 1, until)
    draw_boxes(axis, look.locations[boxed], shape, geometry, colours[boxed])
    draw_path(axis, look.locations, shape, geometry, until, badges=0.19 * shape[1] / side)


def draw_glimpses(figure: Figure, look: Look, geometry, columns, place: tuple, until: int | None) -> None:
    """A column per glimpse with what each patch gave the network, finest first."""
    left, top, cell, gap = place
    colours, widths = step_colours(len(look.locations)), geometry.widths()
    for scale in range(geometry.k):
        middle = top + 0.24 + scale * (cell + gap) + cell / 2
        name = f"{widths[scale]}x{widths[scale]}"
        write(figure, left - 0.08, middle, name, SMALL, ha="right", va="center")
    for column, t in enumerate(columns):
        if until is not None and t >= until:
            break
        x = left + column * (cell + gap)
        badge = {"boxstyle": "circle,pad=0.25", "fc": colours[t], "ec": "black", "lw": 0.6}
        style = {"ha": "center", "va": "center_baseline", "weight": "bold", "bbox": badge}
        write(figure, x + cell / 2, top + 0.12, str(t + 1), SMALL, **{**style, "color": ink_on(colours[t])})
        for scale in range(geometry.k):
            axis = at(figure, x, top + 0.24 + scale * (cell + gap), cell, cell)
            show(axis, look.glimpses[t, scale])
            for spine in axis.spines.values():
                spine.set(color=colours[t], linewidth=1.2)


def draw_classes(figure: Figure, look: Look, classes, columns, place: tuple, until: int | None) -> None:
    """Bars of the class probabilities after each glimpse; of many classes, those that matter most."""
    left, top, cell, gap, height = place
    weight = look.probabilities.max(0)
    weight[look.label] = 2
    bars = np.sort(np.argsort(-weight, kind="stable")[:MAX_CLASSES])
    for column, t in enumerate(columns):
        if until is not None and t >= until:
            break
        axis = at(figure, left + column * (cell + gap), top, cell, height)
        probabilities = look.probabilities[t]
        said = int(probabilities.argmax())
        colours = [BLUE if c == look.label else VERMILLION if c == said else GREY for c in bars]
        axis.barh(range(len(bars)), probabilities[bars], color=colours, height=0.8)
        axis.set(xlim=(0, 1), ylim=(len(bars) - 0.4, -0.6), xticks=[0, 0.5, 1], yticks=[])
        axis.set_xticklabels(["0", "", "1"] if column == 0 else [], fontsize=SMALL - 1)
        axis.tick_params(length=2, pad=1)
        axis.spines[["top", "right"]].set_visible(False)
        colour = BLUE if said == look.label else VERMILLION
        name = f"{classes[said]}: " if len(classes[said]) < 3 else ""
        axis.set_title(f"{name}{probabilities[said]:.0%}", fontsize=SMALL, color=colour, pad=2)
        if column == 0:
            names = [brief(classes[c]) for c in bars]
            axis.set_yticks(range(len(bars)), names, fontsize=SMALL - 0.5)
            if max(map(len, names)) < 3:  # long names need the room themselves
                axis.set_ylabel("probability of each class\nafter the glimpse", fontsize=SMALL, labelpad=3)


# ------------------------------------------------------------------------------------------------------------- policy


BINS = 20  # per axis of a heat map


class Heat(NamedTuple):
    """Where glimpses were taken, step by step, in numbers of times as often as uniform ones."""

    ratio: np.ndarray  # (T, BINS, BINS), rows from top to bottom; NaN where a uniform glimpse never falls
    notes: list[str]  # what stands under each map
    extent: tuple[float, float, float, float]  # left, right, bottom, top of the maps, in pixels
    ticks: list[float]  # of both axes
    about: str  # what the maps and the notes are
    frame: tuple[float, float, float, float] | None = None  # left, top, width, height of something to mark


def histogram(places: np.ndarray, low: tuple[float, float], high: tuple[float, float]) -> np.ndarray:
    """Counts (BINS, BINS) of places (n, 2), rows along y; what lies outside is not counted."""
    ranges = [[low[1], high[1]], [low[0], high[0]]]
    return np.histogram2d(places[:, 1], places[:, 0], bins=BINS, range=ranges)[0]


def image_heat(locations: np.ndarray, shape: tuple[int, int], unit_pixels: float | None) -> Heat:
    """Heat over the image, of locations (n, T, 2)."""
    H, W = shape
    n, T = locations.shape[:2]
    counts = np.stack([histogram(locations[:, t], (-1, -1), (1, 1)) for t in range(T)])
    share = counts / counts.sum((1, 2), keepdims=True).clip(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = np.nansum(share * np.log2(share * BINS**2), axis=(1, 2))
    half_x, half_y = (W / 2, H / 2) if unit_pixels is None else (unit_pixels, unit_pixels)
    extent = (W / 2 - half_x, W / 2 + half_x, H / 2 + half_y, H / 2 - half_y)
    about = (
        "Place in the image, in pixels; colour: times as often as uniform glimpses; below: bits between the map and a "
        "uniform one"
    )
    return Heat(share * BINS**2, [f"{b:.2f} bits" for b in bits], extent, [0, W // 2, W], about)


def object_heat(offsets: np.ndarray, uniform: np.ndarray, side: tuple[int, int]) -> Heat:
    """Heat around the middle of an object that is somewhere in each image.

    Args:
        offsets: (n, T, 2) of the glimpses from the object's middle, in pixels.
        uniform: (m, 2), the same for glimpses that are uniform over the image.
        side: height and width of the object in pixels.
    """
    h, w = side
    low, high = (-w, -h), (w, h)  # as far again as the object itself reaches
    reference = histogram(uniform, low, high) / len(uniform)
    reference[reference == 0] = np.nan
    steps = np.moveaxis(offsets, 1, 0)  # (T, n, 2)
    ratio = np.stack([histogram(places, low, high) / len(places) / reference for places in steps])
    inside = [(np.abs(places) < np.array([w, h]) / 2).all(1).mean() for places in (uniform, *steps)]
    about = (
        f"Place from the middle of the digit, whose {w}x{h} pixels are framed; below: glimpses with their middle "
        f"in the frame (uniform: {inside[0]:.0%})"
    )
    frame = (-w / 2, -h / 2, w, h)
    return Heat(
        ratio, [f"{share:.0%} inside" for share in inside[1:]], (-w, w, h, -h), [-w // 2, 0, w // 2], about, frame
    )


def policy_figure(heats: list[Heat], title: str) -> Figure:
    """Heat maps of every step, a row for each kind, on one colour scale whose middle is what uniform glimpses give."""
    T = len(heats[0].ratio)
    steps = np.unique(np.linspace(0, T - 1, min(T, MAX_COLUMNS)).round().astype(int))
    extreme = max(2.0, *(np.nanmax(heat.ratio) for heat in heats))
    norm = LogNorm(1 / extreme, extreme, clip=True)
    left, right, gap = 0.5, 0.75, 0.08
    cell = (WIDTH - left - right) / max(4, len(steps)) - gap
    row = cell + 0.75
    figure = Figure(figsize=(WIDTH, 0.42 + row * len(heats)))
    write(figure, 0.12, 0.1, title, weight="bold")
    for number, heat in enumerate(heats):
        top = 0.42 + number * row
        write(figure, left, top, heat.about, SMALL + 0.5)
        for column, t in enumerate(steps):
            axis = at(figure, left + column * (cell + gap), top + 0.38, cell, cell)
            drawn = np.where(heat.ratio[t] == 0, 1e-9, heat.ratio[t])  # a logarithmic scale has no zero; NaN stays
            axis.imshow(drawn, norm=norm, cmap="cividis", extent=heat.extent, interpolation="nearest")
            if heat.frame:
                axis.add_patch(Rectangle(heat.frame[:2], *heat.frame[2:], fill=False, ec="white", lw=1, ls=(0, (3, 2))))
            axis.set_title(str(t + 1), fontsize=TEXT, pad=2)
            axis.set_xlabel(heat.notes[t], fontsize=SMALL, labelpad=2)
            axis.set(xticks=heat.ticks, yticks=heat.ticks)
            axis.tick_params(labelsize=SMALL - 1, length=2, pad=1, labelleft=column == 0, labelbottom=False)
    height = row * len(heats) - 0.75
    bar = at(figure, WIDTH - right + 0.05, 0.42 + 0.38, 0.13, height)
    figure.colorbar(ScalarMappable(norm, "cividis"), cax=bar)
    powers = [p for p in (0.01, 0.1, 1, 10, 100) if 1 / extreme <= p <= extreme]
    bar.set_yticks(powers, [f"{p:g}x" for p in powers], fontsize=SMALL)
    bar.minorticks_off()
    return figure


def confusion_figure(counts: np.ndarray, classes: list[str], title: str) -> Figure:
    """Counts (classes, classes) of images by true class (rows) and answer (columns)."""
    figure = Figure(figsize=(WIDTH * 0.7, WIDTH * 0.66), layout="constrained")
    axis = figure.subplots()
    share = counts / counts.sum(1, keepdims=True).clip(1)
    norm = LogNorm(1e-3, 1, clip=True)
    drawn = axis.imshow(np.where(share > 0, share, 1e-9), norm=norm, cmap="cividis")
    if len(classes) <= 20:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                colour = ink_on(matplotlib.colormaps["cividis"](norm(share[row, column])))
                axis.text(column, row, f"{count:,}", ha="center", va="center", fontsize=TEXT - 1, color=colour)
        names = [brief(name) for name in classes]
        axis.set_xticks(range(len(names)), names, rotation=0 if max(map(len, names)) < 4 else 45)
        axis.set_yticks(range(len(names)), names)
    axis.set_xlabel("answer", fontsize=TEXT)
    axis.set_ylabel("true class", fontsize=TEXT)
    axis.set_title(title, fontsize=TEXT, weight="bold", loc="left")
    bar = figure.colorbar(drawn, ax=axis, shrink=0.9)
    bar.set_ticks([1e-3, 1e-2, 0.1, 1], labels=["0.1 %", "1 %", "10 %", "100 %"])
    bar.set_label("share of the true class's images", fontsize=TEXT)
    return figure


class Shown(NamedTuple):
    """One image with its path of fixations, and what was said of it."""

    image: np.ndarray  # (C, H, W)
    locations: np.ndarray  # (T, 2)
    label: str  # name of the true class
    said: str
    probability: float  # of what was said


def path_cell(axis, shown: Shown, geometry, boxes: bool = False) -> None:
    """An image with its path, framed and titled by whether the answer is right."""
    show(axis, shown.image)
    shape = shown.image.shape[1:]
    if boxes:
        draw_boxes(axis, shown.locations[-1:], shape, geometry, step_colours(len(shown.locations))[-1:])
    draw_path(axis, shown.locations, shape, geometry)
    colour = BLUE if shown.said == shown.label else VERMILLION
    for spine in axis.spines.values():
        spine.set(color=colour, linewidth=1.8)
    said, label = brief(str(shown.said)), brief(str(shown.label))
    title = f"{said if shown.said == shown.label else f'{label} as {said}'} ({shown.probability:.0%})"
    axis.set_title(title, fontsize=SMALL if len(title) < 16 else 0.7 * SMALL, color=colour, pad=3)


def grid_figure(shown: list[Shown], geometry, title: str, columns: int = 8) -> Figure:
    """Images with their paths, row by row."""
    cell, gap = (WIDTH - 0.24) / columns - 0.1, 0.1
    rows = max(1, -(-len(shown) // columns))
    figure = Figure(figsize=(WIDTH, 0.45 + rows * (cell + 0.27)))
    write(figure, 0.12, 0.12, title, weight="bold")
    for i, one in enumerate(shown):
        row, column = divmod(i, columns)
        axis = at(figure, 0.12 + column * (cell + gap), 0.65 + row * (cell + 0.27) - 0.02, cell, cell - 0.02)
        path_cell(axis, one, geometry)
    return figure


# ----------------------------------------------------------------------------------------------------------- training


class Snapshot(NamedTuple):
    """The fixed images of a training as the model of one epoch looked at them."""

    epoch: int
    shown: list[Shown]


def snapshot_of(
    arrays: dict[str, np.ndarray], epoch: int
) -> tuple[Snapshot, tuple[int, int, int, float | None] | None]:
    """Arrange what `Trainer.glimpses` gave after an epoch.

    Returns:
        the snapshot; and the retina's g, k, s and unit_pixels, None where the arrays do not hold them.

    Raises:
        ValueError, KeyError, IndexError, TypeError: they are other arrays.
    """
    images, locations, labels, probabilities = (
        arrays[name] for name in ("images", "locations", "labels", "probabilities")
    )
    N, T = locations.shape[:2]
    C, H, W = images.shape[1:]
    expected = {"images": (N, C, H, W), "labels": (N,), "locations": (N, T, 2)}
    if 0 in (N, T, H, W) or C not in (1, 3) or any(arrays[name].shape != shape for name, shape in expected.items()):
        raise ValueError("its arrays do not fit together")
    names = arrays["classes"] if "classes" in arrays else np.arange(probabilities.shape[1]).astype(str)
    parts = (images, locations, names[labels], names[probabilities.argmax(1)], probabilities.max(1))
    retina = None
    if "retina" in arrays:
        g, k, s, unit_pixels = arrays["retina"].tolist()
        retina = int(g), int(k), int(s), unit_pixels or None
    return Snapshot(epoch, [Shown(*(part[i] for part in parts)) for i in range(N)]), retina


def snapshot_figure(snapshot: Snapshot, geometry, title: str) -> Figure:
    """One epoch: the images in three columns."""
    columns, cell, gap = 3, 1.9, 0.12
    rows = -(-len(snapshot.shown) // columns)
    figure = Figure(figsize=(0.12 + columns * (cell + gap), 0.4 + rows * (cell + 0.3)))
    write(figure, 0.12, 0.12, title, weight="bold")
    for i, one in enumerate(snapshot.shown):
        row, column = divmod(i, columns)
        axis = at(figure, 0.12 + column * (cell + gap), 0.6 + row * (cell + 0.3), cell, cell)
        path_cell(axis, one, geometry, boxes=True)
    return figure


def training_figure(snapshots: list[Snapshot], geometry, title: str) -> Figure:
    """A row per epoch and a column per image."""
    columns = max(len(snapshot.shown) for snapshot in snapshots)
    left, gap = 0.75, 0.06
    cell = (WIDTH - left - 0.1) / max(columns, 5) - gap
    line = cell + 0.24
    figure = Figure(figsize=(WIDTH, 0.45 + line * len(snapshots)))
    write(figure, 0.12, 0.12, title, weight="bold")
    for row, snapshot in enumerate(snapshots):
        top = 0.62 + row * line
        write(figure, left - 0.1, top + cell / 2, f"epoch\n{snapshot.epoch}", TEXT, ha="right", va="center")
        for column, one in enumerate(snapshot.shown):
            path_cell(at(figure, left + column * (cell + gap), top, cell, cell), one, geometry)
    return figure


# ------------------------------------------------------------------------------------------------------------- curves


class Curve(NamedTuple):
    """A quantity's mean and standard deviation over runs, epoch by epoch."""

    label: str
    epochs: np.ndarray  # (n,)
    mean: dict[str, np.ndarray]  # by quantity, (n,)
    std: dict[str, np.ndarray]  # NaN where there is a single run
    runs: int  # how many at most
    averaged: bool  # whether it comes from means already


def curves_figure(curves: list[Curve], title: str) -> Figure:
    """Error on a logarithmic scale and accuracy, over epochs: validation solid with a band, training dashed."""
    lines = -(-(len(curves) + 3) // 5)  # of the legend
    figure = Figure(figsize=(WIDTH, 3.7 + 0.2 * lines))
    bottom = (0.55 + 0.2 * lines) / figure.get_figheight()
    figure.subplots_adjust(0.065, bottom, 0.99, 1 - 0.4 / figure.get_figheight(), wspace=0.17)
    panels = zip(figure.subplots(1, 2), (("val_err", "train_err"), ("val_acc", "train_acc")), ("error", "accuracy"))
    for axis, keys, name in panels:
        for curve, colour in zip(curves, PALETTE):
            for key, line in zip(keys, ({"lw": 1.6}, {"lw": 1, "ls": (0, (3, 2))})):
                if key in curve.mean:
                    draw_curve(axis, curve, key, colour, line)
        axis.set_xlabel("epoch", fontsize=TEXT)
        axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axis.set_ylabel(f"{name} in %", fontsize=TEXT)
        axis.tick_params(labelsize=SMALL)
        axis.grid(alpha=0.3, which="both", lw=0.5)
        axis.spines[["top", "right"]].set_visible(False)
    log_percent(figure.axes[0])
    handles = [Line2D([], [], color=colour, lw=1.6) for _, colour in zip(curves, PALETTE)]
    names = [curve.label + (f" ({curve.runs} runs)" if curve.runs > 1 else "") for curve in curves]
    kinds = {"validation": "-", "training": (0, (3, 2))}
    handles += [Line2D([], [], color=INK, lw=1.2, ls=style) for style in kinds.values()]
    names += list(kinds)
    if any(np.isfinite(std).any() for curve in curves for std in curve.std.values()):
        handles.append(Patch(color=GREY, alpha=0.6, lw=0))
        names.append("+- one standard deviation")
    figure.legend(handles, names, loc="lower center", ncol=min(5, len(names)), fontsize=SMALL, frameon=False)
    write(figure, 0.12, 0.1, title, weight="bold")
    return figure


def draw_curve(axis, curve: Curve, key: str, colour: str, line: dict) -> None:
    """A mean, and a band of one standard deviation around it where there is one."""
    mean, std = curve.mean[key], curve.std[key]
    axis.plot(curve.epochs, mean, color=colour, marker="o" if len(mean) == 1 else None, ms=3, **line)
    if np.isfinite(std).any():
        low, high = np.clip([mean - std, mean + std], 1e-3, 100)  # a logarithmic axis has no zero
        axis.fill_between(curve.epochs, low, high, color=colour, alpha=0.2, lw=0)


def log_percent(axis) -> None:
    """A logarithmic y axis in percent with plain numbers, with room for the lines, not for all of the bands."""
    values = np.concatenate([line.get_ydata() for line in axis.lines])
    values = values[values > 0]
    low, high = (0.8 * values.min(), min(100, 1.2 * values.max())) if len(values) else (0.1, 100)
    axis.set_ylim(low, high)
    axis.set_yscale("log", nonpositive="mask")
    ticks = [tick for tick in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if low <= tick <= high]
    axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
