"""Convert pixels of any kind to 8-bit, opaque, gray or RGB: depth, palettes, transparency.

For the images of one data set all this is decided once, from its training part as a whole, and kept with the model:
`measure` looks at one image, `decide` at the measures of all, and `convert` applies the decision.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

WHITE_LEVELS = (255, 1023, 4095, 65535)  # of images of whole numbers that may have more than 8 bits
UNIT = 1.01  # what floating-point pixels in [0, 1] may reach by rounding and resampling
BACKGROUNDS = ("black", "white")
TILE = 2048  # pixels: side of what is converted at a time, to save memory


class BadImage(Exception):
    """A file that cannot be used as an image; the message tells why, without the file's name."""


class Conversion(NamedTuple):
    """The rule by which a data set's images become 8-bit and opaque; for a field of None, each image decides itself."""

    integer: int | None = None  # the value that is white in images of whole numbers above 8 bits
    floating: float | None = None  # the value that is white in floating-point images
    background: str | None = None  # what is behind transparent pixels, one of BACKGROUNDS


class Measure(NamedTuple):
    """The facts of one image that the conversion of its data set depends on.

    Attributes:
        color: whether it shows any color.
        integer, floating: its largest value, where it has whole numbers above 8 bits, or floating point.
        ink, visible: where pixels are transparent, the sums of alpha * luminance and of alpha over all pixels.
    """

    color: bool
    integer: int | None = None
    floating: float | None = None
    ink: int = 0
    visible: int = 0


def decide(measures: Iterable[Measure]) -> Conversion:
    """Choose the conversion of a data set from the measures of its training images.

    White is, for whole numbers, the smallest of `WHITE_LEVELS` that none exceeds, for floating point 1 where none
    exceeds 1.01, else 255. The background is white where the visible pixels of images with transparency are on average
    below 128, else black.
    """
    measures = list(measures)
    integers = [measure.integer for measure in measures if measure.integer is not None]
    floats = [measure.floating for measure in measures if measure.floating is not None]
    return Conversion(
        white_level(max(integers)) if integers else None,
        white_of_floats(max(floats)) if floats else None,
        background(sum(measure.ink for measure in measures), sum(measure.visible for measure in measures)),
    )


def white_level(largest: int) -> int:
    """Return the smallest level that holds the largest value; raises `BadImage` where it is above all of them."""
    if largest > WHITE_LEVELS[-1]:
        raise BadImage(f"its pixels go up to {largest}: at most {WHITE_LEVELS[-1]} is read")
    return next(level for level in WHITE_LEVELS if largest <= level)


def white_of_floats(largest: float) -> float:
    """Return which value of floating-point pixels is white: 1, or 255 where they go beyond 1.01."""
    return 1.0 if largest <= UNIT else 255.0


def background(ink: int, visible: int) -> str:
    """Return the background on which visible pixels of this sum of luminance stand out: dark ones on white."""
    return "white" if ink < 128 * visible else "black"


# ---------------------------------------------------------------------------------------------------------- one image


def measure(image: Image.Image, longest: int) -> Measure:
    """Measure one opened image; its pixels are read only if it has more than 8 bits, a palette, or transparency."""
    if is_deep(image):
        tiles = (np.asarray(tile) for *_, tile in _tiles(image, TILE))
        largest = max(float(tile.max(initial=0, where=np.isfinite(tile))) for tile in tiles)
        return Measure(False, floating=largest) if image.mode == "F" else Measure(False, integer=int(largest))
    color = shows_color(image)
    if not has_transparency(image):
        return Measure(color)
    image = shrink(image, longest, _with_alpha)
    alpha = np.asarray(image.getchannel("A")).astype(np.int64)
    if alpha.min(initial=255) == 255:
        return Measure(color)
    return Measure(color, ink=int((_luminance(image) * alpha).sum()), visible=int(alpha.sum()))


def convert(image: Image.Image, channels: int, longest: int | None, conversion: Conversion) -> np.ndarray:
    """Convert an image to (channels, H, W) uint8; images with a side above `longest` are shrunk before.

    Raises:
        BadImage: its values are larger than any that is read.
    """
    change = _unchanged
    if is_deep(image):
        change = functools.partial(_to_eight_bits, white=_white(image, conversion))
    elif has_transparency(image):
        change = _with_alpha
    elif image.mode in ("1", "P"):
        change = _without_palette
    image = shrink(image, longest, change)
    if image.mode == "RGBA":
        image = _opaque(image, conversion)
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))  # (H, W) or (H, W, 3)
    return pixels[None].copy() if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def is_deep(image: Image.Image) -> bool:
    """Tell whether pixels are whole numbers of more than 8 bits, or floating point."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def has_transparency(image: Image.Image) -> bool:
    """Tell whether pixels may be transparent, by the mode and the header of the image."""
    return image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in image.info


def shows_color(image: Image.Image) -> bool:
    """Tell whether an image is in color: by its mode, or with a palette by the entries that its pixels show."""
    if image.mode not in ("P", "PA"):
        return Image.getmodebase(image.mode) == "RGB"
    image.load()
    indices = image if image.mode == "P" else image.getchannel(0)
    shown = np.array(indices.histogram()[:256]) > 0  # (256,)
    transparent = image.info.get("transparency")
    if isinstance(transparent, bytes):
        shown[: len(transparent)] &= np.frombuffer(transparent, np.uint8)[:256] > 0
    elif isinstance(transparent, int) and 0 <= transparent < 256:
        shown[transparent] = False
    colors = np.array(image.getpalette() or [], np.uint8)
    colors = colors[: len(colors) // 3 * 3].reshape(-1, 3)[:256]
    colors = colors[shown[: len(colors)]]
    return bool((colors != colors[:, :1]).any())


def shrink(image: Image.Image, longest: int | None, change: Callable) -> Image.Image:
    """Change the pixels of an image, and shrink it by a whole number until no side is above `longest`.

    One tile is changed and shrunk after the other, so that a large image is in memory once, as it was decoded.

    Args:
        change: makes of an image one of the same size, with 8 bits per channel and without a palette.
    """
    factor = -(-max(image.size) // longest) if longest else 1
    size, result = (-(-image.width // factor), -(-image.height // factor)), None
    for left, top, tile in _tiles(image, factor * max(1, TILE // factor)):
        part = _reduced(change(tile), factor)
        if result is None:
            result = part if part.size == size else Image.new(part.mode, size)
        if result is not part:
            result.paste(part, (left // factor, top // factor))
    return result


def _reduced(image: Image.Image, factor: int) -> Image.Image:
    """Shrink an image by a whole number; what is left at the right and lower border counts as a whole pixel."""
    return image.reduce((min(factor, image.width), min(factor, image.height))) if factor > 1 else image


def _tiles(image: Image.Image, side: int) -> Iterator[tuple[int, int, Image.Image]]:
    """Yield an image in squares of a side, smaller ones at the right and lower border: left, top and pixels."""
    if max(image.size) <= side:
        yield 0, 0, image
        return
    for top in range(0, image.height, side):
        for left in range(0, image.width, side):
            yield left, top, image.crop((left, top, min(left + side, image.width), min(top + side, image.height)))


def _unchanged(image: Image.Image) -> Image.Image:
    return image


def _without_palette(image: Image.Image) -> Image.Image:
    """Return an image of two levels as gray, and one with a palette as RGB."""
    return image.convert("L" if image.mode == "1" else "RGB")


def _white(image: Image.Image, conversion: Conversion) -> float:
    """Return the value of an image above 8 bits that is white: that of its data set, or its own."""
    kind = "floating" if image.mode == "F" else "integer"
    white = getattr(conversion, kind)
    return getattr(decide([measure(image, 1)]), kind) if white is None else white


def _to_eight_bits(image: Image.Image, white: float) -> Image.Image:
    """Scale whole numbers above 8 bits and floating point to 0 .. 255; NaN is black, and what is outside is cut off."""
    values = np.nan_to_num(np.asarray(image).astype(np.float32) * np.float32(255 / white))
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def _opaque(image: Image.Image, conversion: Conversion) -> Image.Image:
    """Put an RGBA image on the background of its data set, or on the one that its own visible pixels choose."""
    chosen = conversion.background
    if chosen is None:
        alpha = np.asarray(image.getchannel("A")).astype(np.int64)
        chosen = background(int((_luminance(image) * alpha).sum()), int(alpha.sum()))
    return Image.alpha_composite(Image.new("RGBA", image.size, chosen), image)


def _with_alpha(image: Image.Image) -> Image.Image:
    """Return an image as RGBA, without a copy of what is that already."""
    return image if image.mode == "RGBA" else image.convert("RGBA")


def _luminance(image: Image.Image) -> np.ndarray:
    """Return the luminance (H, W) of an image as if nothing in it were transparent."""
    return np.asarray(image.convert("RGB").convert("L"))
