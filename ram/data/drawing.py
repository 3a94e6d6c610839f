"""Find the drawing in a picture: on a sheet that lies somewhere, unevenly lit, framed or ruled, light or dark.

Pictures are gray uint8 arrays (1, H, W). What is looked for is one drawing, such as a digit.
"""

from __future__ import annotations

import numpy as np

from ram.data.components import Part, filled, parts_of, spread, squareness
from ram.data.conversion import BadImage
from ram.data.fitting import FAINT, INK, border_level, resize

LOOKED_AT = 400  # pixels: the longer side of the small copy that is searched
NOISE = 5  # standard deviations: what stands out by less is noise
SPECK = 0.06  # of the drawing's longer side: what is smaller is dust
PART = 0.25  # of the drawing's longer side: what is smaller and far away is no second drawing
SHEET = 0.93  # of a sheet's convex hull is covered by a quadrilateral
NOTHING = "nothing is drawn in it, or nothing that stands out; --fit=False shows the whole picture to the model"
SEVERAL = "it shows several drawings: give a picture of each; --fit=False shows the whole picture to the model"


def find_drawing(image: np.ndarray, invert: bool | None = None) -> np.ndarray:
    """Cut out what is drawn in a picture.

    Args:
        image: (1, H, W) uint8.
        invert: whether it is dark on light; None: the picture tells.

    Returns:
        (1, h, w) uint8, light on black, as large as the drawing.

    Raises:
        BadImage: nothing is drawn, or several drawings are.
    """
    small = small_copy(image)
    sheet = find_sheet(small)
    if sheet is not None:
        image, small = on_sheet(image, small, sheet)
    light = lighting(small)
    difference = small - light
    dark = is_dark(difference) if invert is None else invert
    ink = strength(small, light, dark)
    mask = significant(ink)
    if mask is None:
        raise BadImage(NOTHING)
    kept = one_drawing(without_lines(mask))
    near = spread(kept, 2)
    top, left, bottom, right = box_of(near)
    scale_y, scale_x = image.shape[1] / small.shape[0], image.shape[2] / small.shape[1]
    rows = slice(int(top * scale_y), max(int(top * scale_y) + 1, int(np.ceil(bottom * scale_y))))
    columns = slice(int(left * scale_x), max(int(left * scale_x) + 1, int(np.ceil(right * scale_x))))
    cut = image[0, rows, columns].astype(np.float32)
    shape = cut.shape
    level = enlarged(light[top:bottom, left:right], shape)
    inside = enlarged(near[top:bottom, left:right].astype(np.float32), shape) > 0.25
    ink = np.clip(strength(cut, level, dark), 0, 255) * inside
    ink *= 255 / max(ink.max(), 1)
    ink[ink < 255 * INK] = 0
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    return np.rint(ink[None, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]).astype(np.uint8)


def small_copy(image: np.ndarray) -> np.ndarray:
    """Return a picture as (h, w) float32, with its longer side at most LOOKED_AT."""
    factor = min(1, LOOKED_AT / max(image.shape))
    return resize(image, *(max(1, round(side * factor)) for side in image.shape[1:]))[0].astype(np.float32)


def enlarged(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return float32 values (h, w) interpolated to another shape."""
    return resize(values[None].astype(np.float32), *shape)[0]


# ------------------------------------------------------------------------------------------------------------- light


def lighting(gray: np.ndarray) -> np.ndarray:
    """Compute how light the background (h, w) is, as a smooth surface: a polynomial of the second degree.

    The surface begins as the level of the border and follows what lies near it; ink and other things do not.
    """
    h, w = gray.shape
    y, x = np.mgrid[: h : max(1, h // 100), : w : max(1, w // 100)]
    values = gray[y, x].ravel()
    u, v = (2 * x / max(w - 1, 1) - 1).ravel(), (2 * y / max(h - 1, 1) - 1).ravel()
    terms = np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], 1)
    level = np.full(values.shape, border_level(gray))
    coefficients = np.zeros(6)
    coefficients[0] = level[0]
    for count, reach in ((3, 64), (3, 48), (3, 32), (6, 32), (6, 24), (6, 24)):
        near = np.abs(values - level) < reach
        if near.sum() < 20:
            break
        solution = np.linalg.lstsq(terms[near, :count], values[near], rcond=None)[0]
        coefficients = np.concatenate([solution, np.zeros(6 - count)])
        level = np.clip(terms @ coefficients, 0, 255)
    v, u = np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in (h, w)), indexing="ij")
    c = coefficients
    surface = c[0] + c[1] * u + c[2] * v + c[3] * u * u + c[4] * u * v + c[5] * v * v
    return np.clip(surface, 0, 255).astype(np.float32)


def is_dark(difference: np.ndarray) -> bool:
    """Tell from the difference to the background whether a drawing is dark on light."""
    darker, lighter = -difference.min(), difference.max()
    return bool(darker > FAINT and darker > 2 * lighter)


def strength(gray: np.ndarray, light: np.ndarray, dark: bool) -> np.ndarray:
    """Compute how strongly each pixel is drawn, at most 255: dark ink as a share of the light that falls on it."""
    return 255 * (1 - gray / np.maximum(light, 16)) if dark else gray - light


def significant(ink: np.ndarray) -> np.ndarray | None:
    """Return the mask of what is drawn; None where nothing stands out of the noise."""
    noise = float(np.percentile(np.abs(ink), 25)) / 0.32  # of a normal distribution, the standard deviation
    least = max(FAINT, NOISE * noise)
    strongest = ink.max()
    return ink >= max(least, INK * strongest) if strongest >= least else None


# ------------------------------------------------------------------------------------------------------------- sheet


def find_sheet(gray: np.ndarray) -> np.ndarray | None:
    """Find the mask of a sheet of paper, with something on it, that does not fill the picture; None if there is none.

    A sheet is one level in four corners that differs from what surrounds it, and what is drawn on it leaves holes.
    """
    flat, smooth = gray - border_level(gray), gray - lighting(gray)
    for values in (flat, -flat, smooth, -smooth):
        top = values.max()
        if top < FAINT:
            continue
        mask = values > 0.4 * np.percentile(values[values > 0.5 * top], 50)
        labels, parts = parts_of(mask)
        whole = filled(labels == parts[0].label)
        area = whole.sum()
        if not 0.1 * mask.size < area < 0.97 * mask.size:
            continue
        holes = (whole & (labels != parts[0].label)).sum()
        if 0.0005 * area < holes < 0.35 * area and squareness(whole) > SHEET and has_edge(values, whole):
            return whole
    return None


def has_edge(values: np.ndarray, region: np.ndarray) -> bool:
    """Tell whether values fall at the edge of a region, and not slowly, as light does."""
    inside = region & spread(~region, 5) & ~spread(~region, 1)
    outside = spread(region, 5) & ~spread(region, 1)
    if not inside.any() or not outside.any():
        return False
    step = np.median(values[inside]) - np.median(values[outside])
    return bool(step > max(FAINT, 0.5 * (np.median(values[region]) - np.median(values[~region]))))


def on_sheet(image: np.ndarray, small: np.ndarray, sheet: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the part of a picture that shows the sheet, and its small copy; what is not sheet has its level."""
    rim = max(2, round(0.015 * max(small.shape)))
    inside = ~spread(~sheet, rim)
    if not inside.any():
        inside = sheet
    top, left, bottom, right = box_of(inside)
    scale_y, scale_x = image.shape[1] / small.shape[0], image.shape[2] / small.shape[1]
    cut = image[0, int(top * scale_y) : int(bottom * scale_y), int(left * scale_x) : int(right * scale_x)]
    within = enlarged(inside[top:bottom, left:right].astype(np.float32), cut.shape) > 0.5
    surface = enlarged(lighting(np.where(inside, small, np.median(small[inside]))[top:bottom, left:right]), cut.shape)
    cut = np.where(within, cut, np.rint(surface)).astype(np.uint8)[None]
    return cut, small_copy(cut)


# ----------------------------------------------------------------------------------------------------------- drawing


def without_lines(mask: np.ndarray) -> np.ndarray:
    """Remove ruling, which runs from border to border, and keep the strokes that cross it."""
    for turned in (False, True):
        lines = ruling(mask.T).T if turned else ruling(mask)
        if lines.any():
            mask = crossed(mask.T, lines.T).T if turned else crossed(mask, lines)
    return mask


def ruling(mask: np.ndarray) -> np.ndarray:
    """Find thin lines that run from the left border to the right one, and not only along the upper or lower one.

    Faint lines may have gaps.
    """
    h, w = mask.shape
    thick = max(2, round(0.02 * h))
    drawn, mask = mask, run_lengths(~mask.T).T <= 0.02 * w
    labels, parts = parts_of(mask)
    lines = np.zeros_like(mask)
    for part in parts:
        if part.left > 0.02 * w or part.right < 0.98 * w:
            continue
        inside = labels == part.label
        lengths = run_lengths(inside)
        thin = inside & (lengths <= thick)
        pieces, found = parts_of(thin)  # a line is cut into these by what crosses it
        long = [
            p.label for p in found if 0.05 * w <= p.right - p.left and p.height <= 2 * thick + 0.1 * (p.right - p.left)
        ]
        line = np.isin(pieces, long)
        mass = np.convolve(line.sum(axis=1), np.ones(2 * thick + 1))[thick:-thick]  # a line may be slightly turned
        line &= (mass > 0.6 * w)[:, None]
        if line.any():
            lines |= line & (lengths <= 1 + 1.5 * np.median(lengths[line]))  # what is thicker is a stroke
    edge = max(1, round(0.03 * h))
    lines &= drawn
    return lines if lines[edge:-edge].any() else np.zeros_like(lines)  # it may be the bar of a 7 that fills the picture


def run_lengths(mask: np.ndarray) -> np.ndarray:
    """Compute for each pixel (H, W) of a mask how many there are above and below it without a gap, itself included."""
    lengths = -mask.astype(int)
    for side in (slice(None), slice(None, None, -1)):
        count = np.cumsum(mask[side], axis=0)
        lengths += (count - np.maximum.accumulate(np.where(mask[side], 0, count), axis=0))[side]
    return np.where(mask, lengths, 0)


def crossed(mask: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Remove lines from a mask, but for the places where ink goes on above and below."""
    rest = mask & ~lines
    reach = max(2, round(0.02 * mask.shape[0])) + 2
    above, below = rest.copy(), rest.copy()
    for step in range(1, reach + 1):
        above[step:] |= rest[:-step]
        below[:-step] |= rest[step:]
    return rest | (lines & above & below)


def one_drawing(mask: np.ndarray) -> np.ndarray:
    """Return the mask of the one drawing, without frames, dust and what only reaches in from outside.

    Raises:
        BadImage: there is none, or there are several.
    """
    labels, parts = parts_of(mask)
    parts = without_frames(labels, parts)
    parts = without_surroundings(labels, parts)
    if not parts:
        raise BadImage(NOTHING)
    largest = max(parts, key=lambda part: part.side)
    groups = grouped([part for part in parts if part.side >= SPECK * largest.side])
    sides = [max(part.side for part in group) for group in groups]
    if sum(side >= PART * max(sides) for side in sides) > 1:
        raise BadImage(SEVERAL)
    drawing = groups[int(np.argmax(sides))]
    kept = np.isin(labels, [part.label for part in drawing])
    top, left, bottom, right = box_of(kept)
    height, width = bottom - top, right - left
    if kept.sum() > 0.85 * height * width and max(height, width) < 2.5 * min(height, width) and min(height, width) > 8:
        raise BadImage(NOTHING)  # an area, not strokes
    return kept


def without_frames(labels: np.ndarray, parts: list[Part]) -> list[Part]:
    """Leave out parts that are rectangles drawn around others."""
    return [part for part in parts if not (is_frame(labels, part) and any(is_within(o, part) for o in parts))]


def is_within(inner: Part, outer: Part) -> bool:
    """Tell whether a part of some size lies in the box of another."""
    inside = inner.top > outer.top and inner.left > outer.left
    return inside and inner.bottom < outer.bottom and inner.right < outer.right and inner.side > 0.2 * outer.side


def is_frame(labels: np.ndarray, part: Part) -> bool:
    """Tell whether a part consists of the four sides of a rectangle, perhaps slightly turned."""
    inside = labels[part.top : part.bottom, part.left : part.right] == part.label
    h, w = inside.shape
    if min(h, w) < 10:
        return False
    strip_h, strip_w = max(2, round(0.1 * h)), max(2, round(0.1 * w))
    middle = inside[strip_h:-strip_h, strip_w:-strip_w].sum()
    covered = [
        inside[:strip_h].any(axis=0).mean(),
        inside[-strip_h:].any(axis=0).mean(),
        inside[:, :strip_w].any(axis=1).mean(),
        inside[:, -strip_w:].any(axis=1).mean(),
    ]
    return middle < 0.15 * part.area and min(covered) > 0.85


def without_surroundings(labels: np.ndarray, parts: list[Part]) -> list[Part]:
    """Leave out parts along the border of the picture, such as a desk or a shadow, where others lie inside."""
    rim = np.concatenate([labels[0], labels[-1], labels[1:-1, 0], labels[1:-1, -1]])
    along = np.bincount(rim[rim >= 0], minlength=len(parts) + 1)
    inner = [part for part in parts if along[part.label] == 0]
    largest = max((part.side for part in inner), default=0)
    if largest < 0.1 * max(labels.shape):
        return parts
    # Strokes may touch the border, and they are not small.
    return [p for p in parts if not along[p.label] or (along[p.label] <= 0.1 * len(rim) and p.side >= PART * largest)]


def grouped(parts: list[Part]) -> list[list[Part]]:
    """Group parts that are no further apart than the height of the larger of two."""
    groups: list[list[Part]] = []
    for part in parts:
        near = [group for group in groups if any(distance(part, o) <= max(part.height, o.height) for o in group)]
        groups = [group for group in groups if group not in near] + [[part, *(o for group in near for o in group)]]
    return groups


def distance(a: Part, b: Part) -> float:
    """Compute the distance in pixels between the boxes of two parts."""
    return float(np.hypot(max(0, a.left - b.right, b.left - a.right), max(0, a.top - b.bottom, b.top - a.bottom)))


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return top, left, bottom and right of what is True."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
