"""Find what hangs together in a mask (H, W) of bool, and what such parts look like."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Part(NamedTuple):
    """Hold one connected part of a mask.

    Attributes:
        label: its number in the labels.
        area: pixels.
        top, left, bottom, right: the box around it; bottom and right are the first outside.
    """

    label: int
    area: int
    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def side(self) -> int:
        """Return the longer side of the box."""
        return max(self.height, self.right - self.left)


def parts_of(mask: np.ndarray, corners: bool = True) -> tuple[np.ndarray, list[Part]]:
    """Find the connected parts of a mask, the largest first.

    Args:
        mask: (H, W) bool.
        corners: whether pixels that meet at a corner hang together.

    Returns:
        labels (H, W), -1 where the mask is False, and the parts.
    """
    H, W = mask.shape
    stride = W + 2
    padded = np.zeros((H, stride), np.int8)
    padded[:, 1:-1] = mask
    steps = np.diff(padded.ravel(), prepend=0)
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)  # runs along the rows, in order
    first = np.searchsorted(ends, starts + stride, "left" if corners else "right")  # of those that touch from below
    after = np.searchsorted(starts, ends + stride, "right" if corners else "left")
    counts = np.maximum(after - first, 0)
    above = np.repeat(np.arange(len(starts)), counts)
    below = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
    root = np.arange(len(starts))
    while True:
        lowest = np.minimum(root[above], root[below])
        before = root.copy()
        np.minimum.at(root, above, lowest)
        np.minimum.at(root, below, lowest)
        root = root[root]
        if (root == before).all():
            break
    numbers = np.unique(root, return_inverse=True)[1].reshape(-1)  # (runs,), from 0
    lengths, rows = ends - starts, starts // stride
    labels = np.full((H, stride), -1)
    labels.ravel()[np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())] = np.repeat(
        numbers, lengths
    )
    count = int(numbers.max(initial=-1)) + 1
    box = np.array([[H, W, 0, 0]] * count).reshape(count, 4)
    np.minimum.at(box[:, 0], numbers, rows)
    np.minimum.at(box[:, 1], numbers, starts % stride - 1)
    np.maximum.at(box[:, 2], numbers, rows + 1)
    np.maximum.at(box[:, 3], numbers, ends % stride - 1)
    areas = np.bincount(numbers, lengths, count).astype(int)
    parts = [Part(label, int(areas[label]), *map(int, box[label])) for label in np.argsort(-areas, kind="stable")]
    return labels[:, 1:-1], parts


def filled(mask: np.ndarray) -> np.ndarray:
    """Fill the holes of a mask: what it surrounds."""
    H, W = mask.shape
    labels, parts = parts_of(~mask, corners=False)
    outside = [p.label for p in parts if p.top == 0 or p.left == 0 or p.bottom == H or p.right == W]
    return ~np.isin(labels, outside)


def spread(mask: np.ndarray, radius: int) -> np.ndarray:
    """Widen a mask by a radius in pixels, to all sides alike."""
    result = mask.copy()
    farthest = min(radius, len(mask) - 1)
    for y in range(-farthest, farthest + 1):
        reach = int((radius**2 - y**2) ** 0.5)
        rows = slice(max(0, y), mask.shape[0] + min(0, y))
        source = mask[max(0, -y) : mask.shape[0] + min(0, -y)]
        wide = np.zeros((source.shape[0], source.shape[1] + 1), np.int32)
        np.cumsum(source, axis=1, out=wide[:, 1:])
        columns = np.arange(mask.shape[1])
        low, high = np.maximum(columns - reach, 0), np.minimum(columns + reach + 1, mask.shape[1])
        result[rows] |= wide[:, high] > wide[:, low]
    return result


def squareness(mask: np.ndarray) -> float:
    """Compute which share of the convex hull the largest quadrilateral in it covers: 1 for a sheet, 0.64 for a disk."""
    hull = hull_of(mask)
    if len(hull) < 4:
        return 0.0
    x, y = hull.T
    # signed distance (times length) of each point c from the line through each pair a, b
    cross = (x[None, :, None] - x[:, None, None]) * (y[None, None] - y[:, None, None]) - (
        y[None, :, None] - y[:, None, None]
    ) * (x[None, None] - x[:, None, None])
    largest = (cross.max(axis=2) - cross.min(axis=2)).max() / 2
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    return float(largest / area) if area else 0.0


def hull_of(mask: np.ndarray) -> np.ndarray:
    """Compute the corners (N, 2) of the convex hull of a mask's pixels, as (x, y), at most some 100 of them."""
    rows = np.flatnonzero(mask.any(axis=1))
    left, right = mask[rows].argmax(axis=1), mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    ends = [*zip(left.tolist(), rows.tolist()), *zip(right.tolist(), rows.tolist())]
    points = sorted({(x, y + step) for x, y in ends for step in (0, 1)})  # corners of pixels

    def half(points):
        chain = []
        for x, y in points:
            while len(chain) > 1 and (chain[-1][0] - chain[-2][0]) * (y - chain[-2][1]) <= (
                chain[-1][1] - chain[-2][1]
            ) * (x - chain[-2][0]):
                chain.pop()
            chain.append((x, y))
        return chain[:-1]

    corners = np.array(half(points) + half(points[::-1]), float)
    return corners[:: max(1, len(corners) // 100)]
