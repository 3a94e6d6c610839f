"""Compute augmentation and canvases: shifts, affine maps in fixed point, saturating sums.

Pixels are whole numbers that depend only on the arguments, in whatever batch they are computed. Canvases, and which
images are held out, are the same with every NumPy; how training images are augmented may change with its version.
Shapes as in data_loader.py.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from utils import generator

EVEN_BYTES = np.uint32(0x00FF00FF)  # of a 32-bit number


def portable_integers(ranges: list[int], count: int, stream: str, *key: int) -> np.ndarray:
    """Draw integers (count, len(ranges)), column k uniform in 0 .. ranges[k] - 1, the same with every NumPy.

    NumPy promises the raw stream of Philox, but not what `Generator.integers` makes of it. So each integer is the
    upper half u of one raw 64-bit number, scaled: floor(u * range / 2**32). Ranges must be below 2**32.
    """
    raw = generator(stream, *key).bit_generator.random_raw(count * len(ranges)).reshape(count, len(ranges))
    return ((raw >> np.uint64(32)) * np.array(ranges, np.uint64) >> np.uint64(32)).astype(np.int32)


def add_saturating(canvases: np.ndarray, patches: np.ndarray, top: np.ndarray, left: np.ndarray) -> None:
    """Add patches (B, C, h, w) in place to canvases (B, C, S, S), both uint8, with corners at `top`, `left` (B,)."""
    places = sliding_window_view(canvases, patches.shape[2:], axis=(2, 3), writeable=True)  # (B, C, y, x, h, w)
    at = (np.arange(len(canvases)), slice(None), top, left)
    places[at] = np.minimum(places[at], 255 - patches) + patches  # (B, C, h, w)


def shift_images(images: np.ndarray, shifts: np.ndarray, limit: int) -> np.ndarray:
    """Move images (B, C, H, W) by `shifts` (B, 2) pixels, down and right, each in [-limit, limit]; zeros come in."""
    if not limit:
        return images
    batch, channels, height, width = images.shape
    padded = np.zeros((batch, channels, height + 2 * limit, width + 2 * limit), images.dtype)
    padded[:, :, limit:-limit, limit:-limit] = images
    windows = sliding_window_view(padded, (height, width), axis=(2, 3))  # (B, C, 2 limit + 1, 2 limit + 1, H, W)
    return windows[np.arange(batch), :, limit - shifts[:, 0], limit - shifts[:, 1]]  # (B, C, H, W)


def inverse_maps(amounts: np.ndarray) -> np.ndarray:
    """Compute maps (N, 2, 2) from places (x, y) in the result to places in the image, both from the middle.

    Args:
        amounts: (N, 4): rotation in degrees, change of width and of height as a fraction, shear in degrees. The image
            is scaled, then sheared (x += tan(shear) * y), then rotated (x axis towards y axis, which points down).
    """
    angle, shear = np.deg2rad(amounts[:, 0]), np.tan(np.deg2rad(amounts[:, 3]))
    cos, sin = np.cos(angle), np.sin(angle)
    maps = np.stack([cos + shear * sin, sin - shear * cos, -sin, cos], axis=1).reshape(-1, 2, 2)
    return maps / (1 + amounts[:, 1:3, None])


def warp_images(images: np.ndarray, maps: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Warp a batch by affine maps with bilinear interpolation; what lies outside of an image is zero.

    Args:
        images: (B, C, H, W) uint8.
        maps: (B, 2, 2) from `inverse_maps`.
        shifts: (B, 2) pixels, down and right, applied last.

    Returns:
        (B, C, H, W) uint8. Places are rounded to 1/256 pixel; integers from there on make the result independent of
        the batch that an image is in.
    """
    batch, channels, height, width = images.shape
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    x = np.arange(width) - middle_x - shifts[:, 1:]  # (B, W)
    y = np.arange(height) - middle_y - shifts[:, :1]  # (B, H)
    source_x = _fixed_point(maps[:, 0, 0, None] * x + middle_x, maps[:, 0, 1, None] * y, width)  # (B, 1, H, W)
    source_y = _fixed_point(maps[:, 1, 0, None] * x + middle_y, maps[:, 1, 1, None] * y, height)

    # One number for each 2 x 2 pixels: upper left, upper right, lower left and lower right in its four bytes, lowest
    # first. So one read finds all four, and half of the arithmetic handles two of them at once.
    stride, plane = width + 3, (height + 3) * (width + 3)  # one zero before, two behind
    count = batch * channels * plane
    padded = np.zeros(count + stride + 1, np.uint32)
    padded[:count].reshape(batch, channels, height + 3, stride)[:, :, 1:-2, 1:-2] = images
    quads = padded[:count] | (padded[1 : count + 1] << 8)
    quads |= (padded[stride : count + stride] << 16) | (padded[stride + 1 :] << 24)

    corner = (source_y >> 8) * stride + (source_x >> 8)  # (B, 1, H, W)
    first = np.arange(batch * channels) * plane + stride + 1
    quad = quads.take(corner + first.reshape(batch, channels, 1, 1))  # (B, C, H, W)
    right, down = (source_x & 255).view(np.uint32), (source_y & 255).view(np.uint32)
    rows = (quad & EVEN_BYTES) * (256 - right) + (quad >> 8 & EVEN_BYTES) * right  # upper in the low half, lower above
    return (((rows & 0xFFFF) * (256 - down) + (rows >> 16) * down + 2**15) >> 16).astype(np.uint8)


def _fixed_point(along_x: np.ndarray, along_y: np.ndarray, size: int) -> np.ndarray:
    """Add (B, W) and (B, H) to places (B, 1, H, W) in 1/256 pixel, with all that lies outside moved onto the zeros."""
    along_x, along_y = np.rint(along_x * 256).astype(np.int32), np.rint(along_y * 256).astype(np.int32)
    return np.clip(along_x[:, None, None, :] + along_y[:, None, :, None], -256, size * 256)
