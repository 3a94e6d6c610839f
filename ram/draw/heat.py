"""Draw heat maps of a policy: where glimpses are, step by step, against glimpses uniform over the image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ram.draw.style import MAX_COLUMNS, SMALL, TEXT, WIDTH, at, evenly_spaced, write

BINS = 20  # per axis of a heat map


class Heat(NamedTuple):
    """Heat maps: how often glimpses were taken at a place, step by step, divided by how often uniform ones are."""

    ratio: np.ndarray  # (T, BINS, BINS), rows from top to bottom; NaN where a uniform glimpse never falls
    notes: list[str]  # what stands under each map
    extent: tuple[float, float, float, float]  # left, right, bottom, top of the maps, in pixels
    ticks: tuple[list[float], list[float]]  # of the x axis, of the y axis
    caption: str  # of the maps and the notes
    frame: tuple[float, float, float, float] | None = None  # left, top, width, height of a marked rectangle


def histogram(places: np.ndarray, low: tuple[float, float], high: tuple[float, float]) -> np.ndarray:
    """Count places (n, 2) in (BINS, BINS) cells, rows along y; what lies outside is not counted."""
    ranges = [[low[1], high[1]], [low[0], high[0]]]
    return np.histogram2d(places[:, 1], places[:, 0], bins=BINS, range=ranges)[0]


def image_heat(locations: np.ndarray, shape: tuple[int, int], geometry) -> Heat:
    """Compute the heat over images (H, W), of locations (n, T, 2); geometry is the retina's `modules.Geometry`."""
    H, W = shape
    n, T = locations.shape[:2]
    counts = np.stack([histogram(locations[:, t], (-1, -1), (1, 1)) for t in range(T)])
    share = counts / counts.sum((1, 2), keepdims=True).clip(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = np.nansum(share * np.log2(share * BINS**2), axis=(1, 2))
    middle, reach = np.array([W, H]) / 2, geometry.reach(shape)
    (left, top), (right, bottom) = (middle - reach).tolist(), (middle + reach).tolist()
    caption = (
        f"Place in the image of {W}x{H} pixels; color: times as often as uniform glimpses; below: bits between the map "
        "and a uniform one"
    )
    ticks = [left, W / 2, right], [top, H / 2, bottom]
    return Heat(share * BINS**2, [f"{b:.2f} bits" for b in bits], (left, right, bottom, top), ticks, caption)


def object_heat(offsets: np.ndarray, uniform: np.ndarray, side: tuple[int, int]) -> Heat:
    """Compute the heat around the middle of an object that is somewhere in each image.

    Args:
        offsets: (n, T, 2) of the glimpses from the object's middle, in pixels.
        uniform: (m, 2), the same for glimpses that are uniform over the image.
        side: height and width of the object in pixels.
    """
    h, w = side
    low, high = (-w, -h), (w, h)  # twice the object's width and height
    reference = histogram(uniform, low, high) / len(uniform)
    reference[reference == 0] = np.nan
    steps = np.moveaxis(offsets, 1, 0)  # (T, n, 2)
    ratio = np.stack([histogram(places, low, high) / len(places) / reference for places in steps])
    inside = [(np.abs(places) < np.array([w, h]) / 2).all(1).mean() for places in (uniform, *steps)]
    caption = (
        f"Place from the middle of the digit, whose {w}x{h} pixels are framed; below: glimpses with their middle "
        f"in the frame (uniform: {inside[0]:.0%})"
    )
    notes = [f"{share:.0%} inside" for share in inside[1:]]
    frame, ticks = (-w / 2, -h / 2, w, h), ([-w / 2, 0, w / 2], [-h / 2, 0, h / 2])
    return Heat(ratio, notes, (-w, w, h, -h), ticks, caption, frame)


def policy_figure(heats: list[Heat], title: str) -> Figure:
    """Draw a map per step and a row per kind, on one color scale whose middle is what uniform glimpses give."""
    T = len(heats[0].ratio)
    steps = evenly_spaced(T, MAX_COLUMNS)
    extreme = max(2.0, *(np.nanmax(heat.ratio) for heat in heats))
    norm = LogNorm(1 / extreme, extreme, clip=True)
    left, right, gap = 0.5, 0.75, 0.08
    cell = (WIDTH - left - right) / max(4, len(steps)) - gap
    row = cell + 0.75
    figure = Figure(figsize=(WIDTH, 0.42 + row * len(heats)))
    write(figure, 0.12, 0.1, title, weight="bold")
    for number, heat in enumerate(heats):
        top = 0.42 + number * row
        write(figure, left, top, heat.caption, SMALL + 0.5)
        for column, t in enumerate(steps):
            axis = at(figure, left + column * (cell + gap), top + 0.38, cell, cell)
            drawn = np.where(heat.ratio[t] == 0, 1e-9, heat.ratio[t])  # a logarithmic scale has no zero; NaN stays
            axis.imshow(drawn, norm=norm, cmap="cividis", extent=heat.extent, interpolation="nearest")
            axis.set_anchor("N")  # maps of wide images stand right below their caption
            if heat.frame:
                axis.add_patch(Rectangle(heat.frame[:2], *heat.frame[2:], fill=False, ec="white", lw=1, ls=(0, (3, 2))))
            axis.set_title(str(t + 1), fontsize=TEXT, pad=2)
            axis.set_xlabel(heat.notes[t], fontsize=SMALL, labelpad=2)
            axis.set(xticks=heat.ticks[0], yticks=heat.ticks[1])
            axis.set(xlim=heat.extent[:2], ylim=heat.extent[2:])  # a tick outside would widen the axis
            axis.tick_params(labelsize=SMALL - 1, length=2, pad=1, labelleft=column == 0, labelbottom=False)
    height = row * len(heats) - 0.75
    bar = at(figure, WIDTH - right + 0.05, 0.42 + 0.38, 0.13, height)
    figure.colorbar(ScalarMappable(norm, "cividis"), cax=bar)
    powers = [p for p in (0.01, 0.1, 1, 10, 100) if 1 / extreme <= p <= extreme]
    bar.set_yticks(powers, [f"{p:g}x" for p in powers], fontsize=SMALL)
    bar.minorticks_off()
    return figure
