"""Draw what a model does: glimpses in single images, the confusion of classes, mistakes, a training's paths.

Arrays in, matplotlib figures out: nothing here depends on Paddle, a model or a file.

Letters: N images, T glimpses each, k patches per glimpse of g x g pixels, C channels, H x W pixels. Locations are
(x, y) in [-1, 1] as everywhere; places are (x, y) in pixels as `imshow` counts them: 0 is the middle of the first.
`geometry` is always the retina's `modules.Geometry`, which turns locations into places.
"""

from __future__ import annotations

from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ram.draw.snapshots import Shown, Snapshot
from ram.draw.style import (
    BLUE,
    GRAY,
    MAX_COLUMNS,
    SMALL,
    TEXT,
    VERMILLION,
    WIDTH,
    at,
    brief,
    evenly_spaced,
    ink_on,
    show,
    step_colors,
    write,
)

MAX_CLASSES = 10  # bars that a picture has room for


class Look(NamedTuple):
    """One image, with the glimpses and answers of a model."""

    image: np.ndarray  # (C, H, W), uint8 or in [0, 1]
    label: int
    locations: np.ndarray  # (T, 2)
    glimpses: np.ndarray  # (T, k, C, g, g) in [0, 1]
    probabilities: np.ndarray  # (T, classes) after each glimpse


# ----------------------------------------------------------------------------------------------------------- glimpses


def spread(places: np.ndarray, distance: float, shape: tuple[int, int], rounds: int = 300) -> np.ndarray:
    """Move places (T, 2) apart until no two are closer than `distance`, as far as an image (H, W) has room."""
    size, t = np.array(shape[::-1]), np.arange(len(places))
    low = np.minimum(distance / 2 - 0.5, (size - 1) / 2)  # an image without room has all badges in its middle
    high = size - 1 - low
    # Places that coincide, also those that the border pushes together, part in directions of their own.
    shift = 1e-3 * np.stack([np.cos(t), np.sin(t)], 1)
    for _ in range(rounds):
        apart = (places + shift)[:, None] - (places + shift)[None]  # (T, T, 2)
        gap = np.linalg.norm(apart, axis=-1)
        push = np.clip(distance - gap, 0, None) / np.maximum(gap, 1e-9) / 2  # no place pushes itself: apart is 0
        places = np.clip(places + 0.5 * (push[..., None] * apart).sum(1), low, high)
    return places


def draw_path(axis, locations: np.ndarray, shape: tuple[int, int], geometry, until=None, badges=None) -> None:
    """Draw the path of fixations over an image that `show` has drawn.

    Args:
        locations: (T, 2).
        shape: H, W of the image.
        geometry: the retina's `modules.Geometry`.
        until: draw only the first `until` fixations.
        badges: diameter of a numbered badge in pixels of the image; None: no numbers, the first is a ring.
    """
    H, W = shape
    places, colors = geometry.places(locations, shape), step_colors(len(locations))
    aside = places if badges is None else spread(places, badges, shape)
    until = len(places) if until is None else until
    for i in range(1, until):
        axis.plot(*zip(places[i - 1], places[i]), color="black", lw=2.4, alpha=0.6, zorder=3)
        axis.plot(*zip(places[i - 1], places[i]), color=colors[i], lw=1.3, zorder=4)
    for i in range(until):
        if badges is None:
            ring = {"facecolors": "none", "edgecolors": [colors[i]], "linewidths": 1.3, "s": 20}
            dot = {"color": [colors[i]], "edgecolors": "black", "linewidths": 0.4, "s": 11}
            axis.scatter(*places[i], zorder=5, **(ring if i == 0 else dot))
            continue
        axis.plot(*zip(places[i], aside[i]), color=colors[i], lw=0.9, zorder=5)
        axis.scatter(*places[i], s=8, color=[colors[i]], edgecolors="black", linewidths=0.5, zorder=6)
        axis.scatter(*aside[i], s=125, color=[colors[i]], edgecolors="black", linewidths=0.6, zorder=7 + i)
        style = {"ha": "center", "va": "center_baseline", "color": ink_on(colors[i]), "weight": "bold"}
        axis.text(*aside[i], str(i + 1), fontsize=SMALL if i < 99 else 5, zorder=7.5 + i, **style)
    axis.set(xlim=(-0.5, W - 0.5), ylim=(H - 0.5, -0.5))


def draw_boxes(axis, locations: np.ndarray, shape: tuple[int, int], geometry, colors: np.ndarray) -> None:
    """Draw a frame around what each patch reads: the finest solid, coarser ones dashed."""
    for corners, color in zip(geometry.corners(locations, shape), colors):
        for scale, (corner, width) in enumerate(zip(corners, geometry.widths())):
            line = {"lw": 1.4} if scale == 0 else {"lw": 0.7, "alpha": 0.55, "ls": (0, (4, 4))}
            axis.add_patch(Rectangle(corner - 0.5, width, width, fill=False, ec=color, zorder=2, **line))


def glimpses_figure(looks: list[Look], geometry, classes: list[str], title: str, until: int | None = None) -> Figure:
    """Draw a band per image: the image with path and boxes, what each patch saw, and the classes after each glimpse.

    Args:
        looks: the images.
        geometry: the retina's `modules.Geometry`.
        classes: their names, in the order of the labels.
        title: the line above all.
        until: draw only the first `until` glimpses, and the boxes of the last of them alone: a frame of a film.
    """
    T, k = looks[0].glimpses.shape[:2]
    columns = evenly_spaced(T, MAX_COLUMNS)
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
    """Draw the whole image with path and boxes, and the answer above it."""
    left, top, side = place
    shape, colors = look.image.shape[1:], step_colors(len(look.locations))
    final = look.probabilities[-1 if until is None else until - 1]
    answer = int(final.argmax())
    color = BLUE if answer == look.label else VERMILLION
    text = f"shown: {brief(classes[look.label])}   answer: {brief(classes[answer])} ({final[answer]:.0%})"
    write(figure, left, top, text, TEXT if len(text) < 36 else SMALL, color=color, weight="bold")
    axis = at(figure, left, top + 0.24, side, side)
    show(axis, look.image)
    boxed = slice(None) if until is None else slice(until - 1, until)
    draw_boxes(axis, look.locations[boxed], shape, geometry, colors[boxed])
    draw_path(axis, look.locations, shape, geometry, until, badges=0.19 * max(shape) / side)


def draw_glimpses(figure: Figure, look: Look, geometry, columns, place: tuple, until: int | None) -> None:
    """Draw a column per glimpse with what each patch gave the network, finest first."""
    left, top, cell, gap = place
    colors, widths = step_colors(len(look.locations)), geometry.widths()
    for scale in range(geometry.k):
        middle = top + 0.24 + scale * (cell + gap) + cell / 2
        name = f"{widths[scale]}x{widths[scale]}"
        write(figure, left - 0.08, middle, name, SMALL, ha="right", va="center")
    for column, t in enumerate(columns):
        if until is not None and t >= until:
            break
        x = left + column * (cell + gap)
        badge = {"boxstyle": "circle,pad=0.25", "fc": colors[t], "ec": "black", "lw": 0.6}
        style = {"ha": "center", "va": "center_baseline", "weight": "bold", "bbox": badge}
        write(figure, x + cell / 2, top + 0.12, str(t + 1), SMALL, **{**style, "color": ink_on(colors[t])})
        for scale in range(geometry.k):
            axis = at(figure, x, top + 0.24 + scale * (cell + gap), cell, cell)
            show(axis, look.glimpses[t, scale])
            for spine in axis.spines.values():
                spine.set(color=colors[t], linewidth=1.2)


def draw_classes(figure: Figure, look: Look, classes, columns, place: tuple, until: int | None) -> None:
    """Draw bars of the class probabilities after each glimpse; of many classes, those that matter most."""
    left, top, cell, gap, height = place
    weight = look.probabilities.max(0)
    weight[look.label] = 2
    bars = np.sort(np.argsort(-weight, kind="stable")[:MAX_CLASSES])
    for column, t in enumerate(columns):
        if until is not None and t >= until:
            break
        axis = at(figure, left + column * (cell + gap), top, cell, height)
        probabilities = look.probabilities[t]
        answer = int(probabilities.argmax())
        colors = [BLUE if c == look.label else VERMILLION if c == answer else GRAY for c in bars]
        axis.barh(range(len(bars)), probabilities[bars], color=colors, height=0.8)
        axis.set(xlim=(0, 1), ylim=(len(bars) - 0.4, -0.6), xticks=[0, 0.5, 1], yticks=[])
        axis.set_xticklabels(["0", "", "1"] if column == 0 else [], fontsize=SMALL - 1)
        axis.tick_params(length=2, pad=1)
        axis.spines[["top", "right"]].set_visible(False)
        color = BLUE if answer == look.label else VERMILLION
        name = f"{classes[answer]}: " if len(classes[answer]) < 3 else ""
        axis.set_title(f"{name}{probabilities[answer]:.0%}", fontsize=SMALL, color=color, pad=2)
        if column == 0:
            names = [brief(classes[c]) for c in bars]
            axis.set_yticks(range(len(bars)), names, fontsize=SMALL - 0.5)
            if max(map(len, names)) < 3:  # long names leave no room for the label
                axis.set_ylabel("probability of each class\nafter the glimpse", fontsize=SMALL, labelpad=3)


def confusion_figure(counts: np.ndarray, classes: list[str], title: str) -> Figure:
    """Draw counts (classes, classes) of images by true class (rows) and answer (columns)."""
    figure = Figure(figsize=(WIDTH * 0.7, WIDTH * 0.66), layout="constrained")
    axis = figure.subplots()
    share = counts / counts.sum(1, keepdims=True).clip(1)
    norm = LogNorm(1e-3, 1, clip=True)
    drawn = axis.imshow(np.where(share > 0, share, 1e-9), norm=norm, cmap="cividis")
    if len(classes) <= 20:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                color = ink_on(matplotlib.colormaps["cividis"](norm(share[row, column])))
                axis.text(column, row, f"{count:,}", ha="center", va="center", fontsize=TEXT - 1, color=color)
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


def path_cell(axis, shown: Shown, geometry, boxes: bool = False) -> None:
    """Draw an image with its path, framed and titled by whether the answer is right."""
    show(axis, shown.image)
    shape = shown.image.shape[1:]
    if boxes:
        draw_boxes(axis, shown.locations[-1:], shape, geometry, step_colors(len(shown.locations))[-1:])
    draw_path(axis, shown.locations, shape, geometry)
    color = BLUE if shown.answer == shown.label else VERMILLION
    for spine in axis.spines.values():
        spine.set(color=color, linewidth=1.8)
    answer, label = brief(str(shown.answer)), brief(str(shown.label))
    title = f"{answer if shown.answer == shown.label else f'{label} as {answer}'} ({shown.probability:.0%})"
    axis.set_title(title, fontsize=SMALL if len(title) < 16 else 0.7 * SMALL, color=color, pad=3)


def grid_figure(shown: list[Shown], geometry, title: str, columns: int = 8) -> Figure:
    """Draw images with their paths, row by row."""
    cell, gap = (WIDTH - 0.24) / columns - 0.1, 0.1
    rows = max(1, -(-len(shown) // columns))
    figure = Figure(figsize=(WIDTH, 0.45 + rows * (cell + 0.27)))
    write(figure, 0.12, 0.12, title, weight="bold")
    for i, one in enumerate(shown):
        row, column = divmod(i, columns)
        axis = at(figure, 0.12 + column * (cell + gap), 0.65 + row * (cell + 0.27) - 0.02, cell, cell - 0.02)
        path_cell(axis, one, geometry)
    return figure


def snapshot_figure(snapshot: Snapshot, geometry, title: str) -> Figure:
    """Draw one epoch: the images in three columns."""
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
    """Draw a row per epoch and a column per image."""
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
