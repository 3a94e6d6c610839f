"""Make an image fit a model: scaled with its aspect, or cut out and centered as MNIST's digits were.

Images are uint8 arrays (C, H, W), C is 1 (gray) or 3 (RGB).
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from ram.data.components import spread

FAINT = 24  # of 255: what stands out from its background by less is no drawing
STROKE = 1.8  # pixels: the least width of a stroke in a box of 20
FINE = 12  # pixels of the drawing in one pixel of the box, where strokes are widened
INK = 0.25  # of the strongest stroke: less is paper, shadow or noise


def fit(image: np.ndarray, height: int, width: int, enlarge: bool = True) -> np.ndarray:
    """Place an image (C, h, w) in the middle of a black (C, height, width), as large as its aspect allows.

    Args:
        enlarge: whether an image that is smaller on both axes grows.
    """
    channels, h, w = image.shape
    scale = min(height / h, width / w)
    if scale < 1 or (scale > 1 and enlarge):
        image = resize(image, max(1, round(h * scale)), max(1, round(w * scale)))
        _, h, w = image.shape
    result = np.zeros((channels, height, width), np.uint8)
    top, left = (height - h) // 2, (width - w) // 2
    result[:, top : top + h, left : left + w] = image
    return result


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize an image (C, h, w) to (C, height, width), bilinear; where it shrinks, by the mean over each pixel."""
    return np.stack([np.asarray(Image.fromarray(plane).resize((width, height), Image.BILINEAR)) for plane in image])


def is_dark_on_light(image: np.ndarray) -> bool:
    """Tell whether a gray image (1, H, W) is plainly dark on light: a light border, and what differs from it darker."""
    gray = resize(image, *(min(side, 256) for side in image.shape[1:]))[0].astype(int)  # no single pixel decides
    border = border_level(gray)
    darker, lighter = border - gray.min(), gray.max() - border
    return bool(border > 127 and darker > FAINT and darker > 2 * lighter)


def border_level(gray: np.ndarray) -> float:
    """Return the median of the outermost rows and columns of (H, W)."""
    return float(np.median(np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])))


def on_black(image: np.ndarray) -> np.ndarray:
    """Make the background of a gray image (1, H, W), light on dark, black, and its strongest pixel white.

    What has a black background already, or nothing that stands out from it, stays as it is.
    """
    level = border_level(image[0])
    gray = np.clip(image.astype(np.float32) - level, 0, None)
    if level <= FAINT or gray.max() < FAINT:
        return image
    return np.rint(gray * (255 / gray.max())).astype(np.uint8)


def fit_drawing(image: np.ndarray, side: int, box: int) -> np.ndarray:
    """Cut out and center what is drawn in an image, the way MNIST was made of NIST's digits.

    Paper and shadows become black and the strongest stroke white; what is left is cut out, scaled with its aspect to
    fit a box of box x box pixels, and its center of mass moved to the middle of side x side pixels.

    Args:
        image: (1, H, W) uint8, light on dark.

    Returns:
        (1, side, side) uint8. Where nothing stands out, the whole image is fitted instead.
    """
    gray = image[0].astype(np.float32)
    gray = np.clip(gray - border_level(gray), 0, None)
    if gray.max() < FAINT:
        return fit(image, side, side)
    gray *= 255 / gray.max()
    gray[gray < 255 * INK] = 0
    rows, columns = (np.flatnonzero(gray.any(axis=axis)) for axis in (1, 0))
    gray = np.rint(gray[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]).astype(np.uint8)
    return place(gray, side, box)


def place(gray: np.ndarray, side: int, box: int) -> np.ndarray:
    """Scale a drawing to fit a box, and move its center of mass to the middle.

    Args:
        gray: (h, w) uint8, light on black, with nothing around it.

    Returns:
        (1, side, side) uint8.
    """
    scale = box / max(gray.shape)
    drawing = resize(gray[None], *(max(1, round(length * scale)) for length in gray.shape))[0]
    result = np.zeros((1, side, side), np.uint8)
    top, left = (_start(drawing.sum(axis=axis, dtype=float), side) for axis in (1, 0))
    result[0, top : top + drawing.shape[0], left : left + drawing.shape[1]] = drawing
    return result


def is_like_mnist(image: np.ndarray) -> bool:
    """Tell whether an image (1, 28, 28) is made as MNIST's are: 20 pixels high or wide, centered by mass, on black."""
    gray = image[0].astype(float)
    if border_level(gray) >= 8 or np.median(gray) >= 8 or gray.max() < 128:
        return False
    rows, columns = (np.flatnonzero((gray >= FAINT).any(axis=axis)) for axis in (1, 0))
    extent = max(np.ptp(rows), np.ptp(columns)) + 1
    centers = [(gray.sum(axis=axis) * np.arange(28)).sum() / gray.sum() for axis in (1, 0)]
    return bool(19 <= extent <= 20 and max(abs(center - 14) for center in centers) < 1)


def thicken(gray: np.ndarray, box: int) -> np.ndarray:
    """Give the strokes of a drawing at least the width of MNIST's, so that they do not vanish where it is made small.

    Args:
        gray: (h, w) uint8, light on black, with nothing around it.
        box: pixels that it will be scaled to.
    """
    fine = largest_of(gray, -(-max(gray.shape) // (FINE * box)))  # of each block of pixels, so that no line is lost
    unit = max(fine.shape) / box  # pixels of `fine` in one pixel of the box
    mask = fine >= 255 * INK
    missing = STROKE - stroke_width(mask) / unit
    radius = round(missing * unit / 2)
    if radius < 1:
        return gray
    return 255 * spread(np.pad(mask, radius), radius).astype(np.uint8)


def stroke_width(mask: np.ndarray) -> float:
    """Estimate how wide the strokes of a mask are, in pixels: their area, over half their outline."""
    edges = sum(int((np.diff(np.pad(mask, 1).astype(np.int8), axis=axis) != 0).sum()) for axis in (0, 1))
    return 2 * mask.sum() / max(edges * np.pi / 4, 1)  # an outline has 4 / pi times as many edges as it is long


def largest_of(gray: np.ndarray, factor: int) -> np.ndarray:
    """Shrink an image (h, w) by a whole number, to the largest value of each block."""
    if factor <= 1:
        return gray
    h, w = (-side % factor for side in gray.shape)
    gray = np.pad(gray, ((0, h), (0, w)))
    return gray.reshape(gray.shape[0] // factor, factor, gray.shape[1] // factor, factor).max(axis=(1, 3))


def _start(mass: np.ndarray, side: int) -> int:
    """Return where a line of masses (n,) has to begin among `side` places for its center to be in the middle."""
    center = (mass * np.arange(len(mass))).sum() / max(mass.sum(), 1)
    return int(np.clip(round(side / 2 - center), 0, side - len(mass)))
