"""Read image files of any kind without trusting them.

Images are uint8 arrays (C, H, W), C is 1 (gray) or 3 (RGB). Nothing here depends on the model or the data sets.
"""

from __future__ import annotations

import bisect
import io
import os
import stat
import struct
import warnings
from typing import BinaryIO, Callable

import numpy as np
from PIL import Image, UnidentifiedImageError

from ram.data import conversion, jpeg
from ram.data.conversion import BadImage, Conversion, Measure

MAX_PIXELS = 100_000_000  # of one file: up to 0.9 GB in memory while it is read
LIMITS = (
    f"at most {MAX_PIXELS:,} are read, and {jpeg.MAX_PIXELS:,} of a baseline JPEG; save it smaller, or as such a JPEG, "
    "in a program for photographs"
)
LONGEST = 2048  # pixels: what is larger is shrunk before anything else is done with it

Image.init()
# For EPS, Pillow would start another program; the others it recognizes but cannot read.
FORMATS = [name for name in Image.OPEN if name not in ("EPS", "BUFR", "GRIB", "HDF5", "MPEG", "WMF")]
EXTENSIONS = frozenset(ending for ending, name in Image.registered_extensions().items() if name in FORMATS)

ORIENTATION = 0x0112  # the EXIF tag of how the camera was held
TURNS = {
    2: Image.FLIP_LEFT_RIGHT,
    3: Image.ROTATE_180,
    4: Image.FLIP_TOP_BOTTOM,
    5: Image.TRANSPOSE,
    6: Image.ROTATE_270,
    7: Image.TRANSVERSE,
    8: Image.ROTATE_90,
}

ALONE = Conversion()  # by the pixels of each image alone

PNG = b"\x89PNG\r\n\x1a\n"
PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # the chunks that decide on the pixels
PNG_CHUNKS = 200_000  # of one file; 100 million pixels in pieces of 8 KB have fewer


def is_named_like_an_image(path: str) -> bool:
    """Tell whether a path ends as image files do, and is not hidden."""
    name = os.path.basename(path)
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS


def leads_out(path: str, folder: str, paths=os.path) -> bool:
    """Tell whether a path in a folder is, by way of links, really somewhere else.

    Args:
        path, folder: where to look.
        paths: `os.path`, or the like of another system.
    """
    root = paths.realpath(folder)
    try:
        return paths.commonpath([root, paths.realpath(path)]) != root
    except ValueError:  # on Windows: of two drives
        return True


def measure(path: str) -> Measure:
    """Measure the facts of an image file that the conversion of its data set depends on.

    Raises:
        BadImage: the file is no image, damaged, too large, or cannot be read.
    """
    return _opened(path, lambda image: conversion.measure(image, LONGEST))


def size(path: str) -> tuple[int, int]:
    """Return height and width of an image file, turned upright by its EXIF data; raise `BadImage`."""

    def upright(image: Image.Image) -> tuple[int, int]:
        width, height = image.size
        return (width, height) if _turn(image) in (5, 6, 7, 8) else (height, width)

    return _opened(path, upright)


def read(path: str | bytes, channels: int, longest: int | None = None, how: Conversion = ALONE) -> np.ndarray:
    """Read the pixels of an image file, turned upright by its EXIF data; of an animation, the first picture.

    Args:
        path: the file, or its content.
        channels: 1 to get luminance, 3 to get RGB.
        longest: images with a longer side are shrunk by a whole number until it is no longer than this.
        how: what was decided for the data set.

    Returns:
        (channels, H, W) uint8.

    Raises:
        BadImage: the file is no image, damaged, too large, or cannot be read.
    """

    def pixels(image: Image.Image) -> np.ndarray:
        image.load()  # before `_turn`, which takes an error for a missing orientation
        turn = _turn(image)
        upright = image.transpose(TURNS[turn]) if turn in TURNS else image
        return conversion.convert(upright, channels, longest, how)

    return _opened(path, pixels)


def _turn(image: Image.Image) -> int:
    """Return the orientation of an image by the numbers of EXIF: 1, upright, where the data are broken or absent."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
        return value if value in TURNS else 1
    except Exception:  # whatever broken EXIF data make Pillow raise: the pixels are none the worse
        return 1


def _opened(path: str | bytes, use: Callable):
    """Open an image file, or its content, and return what `use` makes of it; every error is a `BadImage`."""
    try:
        if isinstance(path, str) and not stat.S_ISREG(os.stat(path).st_mode):
            raise BadImage("it is no ordinary file")
        with io.BytesIO(path) if isinstance(path, bytes) else open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd files; its warning of bombs is our error
            try:
                return _decoded(file, use)
            except BadImage:
                raise
            except Exception:
                alone = _png_pixels(file)
                if alone is None:
                    raise
                return _decoded(alone, use)
    except BadImage:
        raise
    except UnidentifiedImageError:
        raise BadImage("it is no image of a format that Pillow reads") from None
    except Image.DecompressionBombError:
        raise BadImage(f"it has far too many pixels: {LIMITS}") from None
    except OSError as error:
        raise BadImage(error.strerror or _first_line(error)) from None
    except Exception as error:  # whatever a damaged or hostile file makes Pillow's many readers raise
        raise BadImage(f"it is damaged: {_first_line(error)}") from None


def _decoded(file: BinaryIO, use: Callable):
    """Return what `use` makes of the image in a file."""
    try:
        image = Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError:
        image = jpeg.open_small(file, LONGEST)
        if image is None:
            raise
    with image:
        width, height = image.size
        if width * height <= MAX_PIXELS:
            return use(image)
        small = jpeg.open_small(file, LONGEST)
        if small is None:
            raise BadImage(f"it has {width}x{height} pixels: {LIMITS}")
        with small:
            return use(small)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


# ----------------------------------------------------------------------------------- PNG files, read for their pixels


def _png_pixels(file: BinaryIO) -> BinaryIO | None:
    """Return a PNG file without the chunks beside its pixels: texts, profiles and EXIF data, broken or too large.

    None where the file is no PNG, or has no such chunks.
    """
    file.seek(0)
    if file.read(len(PNG)) != PNG:
        return None
    parts, at = [(0, len(PNG))], len(PNG)
    left_out = False
    for _ in range(PNG_CHUNKS):
        header = file.read(8)
        if len(header) < 8:
            break
        length, kind = struct.unpack(">I4s", header)
        if kind in PNG_PIXELS:
            parts.append((at, length + 12))
        else:
            left_out = True
        at += length + 12  # with the length, the kind and the checksum
        file.seek(at)
        if kind == b"IEND":
            break
    return io.BufferedReader(_Parts(file, parts)) if left_out else None


class _Parts(io.RawIOBase):
    """Read some parts of a file, each given by start and length, as if they were all of it."""

    def __init__(self, file: BinaryIO, parts: list[tuple[int, int]]):
        super().__init__()
        self.file, self.parts, self.position = file, parts, 0
        self.ends = np.cumsum([length for _, length in parts]).tolist()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.position = max(0, offset + (0, self.position, self.ends[-1])[whence])
        return self.position

    def readinto(self, buffer) -> int:
        number = bisect.bisect_right(self.ends, self.position)
        if number == len(self.parts):
            return 0
        start, length = self.parts[number]
        left = self.ends[number] - self.position
        self.file.seek(start + length - left)
        data = self.file.read(min(left, len(buffer)))
        buffer[: len(data)] = data
        self.position += len(data)
        return len(data)
