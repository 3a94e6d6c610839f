"""Make an image fit a model: scaled with its aspect, or cut out and centered as MNIST's digits were.

Images are uint8 arrays (C, H, W), C is 1 (gray) or 3 (RGB).
"""

from __future__ import annotations

import numpy as np
from PIL import Image

FAINT = 24  # of 255: what stands out from its background by less is no drawing
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
    scale = box / max(gray.shape)
    drawing = resize(gray[None], *(max(1, round(length * scale)) for length in gray.shape))[0]
    result = np.zeros((1, side, side), np.uint8)
    top, left = (_start(drawing.sum(axis=axis, dtype=float), side) for axis in (1, 0))
    result[0, top : top + drawing.shape[0], left : left + drawing.shape[1]] = drawing
    return result


def _start(mass: np.ndarray, side: int) -> int:
    """Return where a line of masses (n,) has to begin among `side` places for its center to be in the middle."""
    center = (mass * np.arange(len(mass))).sum() / max(mass.sum(), 1)
    return int(np.clip(round(side / 2 - center), 0, side - len(mass)))
