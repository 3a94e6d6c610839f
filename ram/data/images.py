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
from utils import first_line

MAX_PIXELS = 100_000_000  # of one file
LARGE = 25_000_000  # pixels: a JPEG of more is decoded small
MAX_BYTES = 600_000_000  # that decoding may take: together with Paddle, that is less than 1 GB
DECODER_BYTES = {"WEBP": 24, "AVIF": 24, "JPEG2000": 24}  # that these take for a pixel; others keep 4
JPEGS = ("JPEG", "MPO")
CONTAINERS = ("ICO", "ICNS", "BLP")  # of images that may be larger than the file says
REMEDY = f"; save it smaller, or as a baseline JPEG (at most {jpeg.MAX_PIXELS:,} pixels), in a program for photographs"
LONGEST = 2048  # pixels: what is larger is shrunk before anything else is done with it

Image.init()
# For EPS, Pillow would start another program; the others it recognizes but cannot read.
FORMATS = [name for name in Image.OPEN if name not in ("EPS", "BUFR", "GRIB", "HDF5", "MPEG", "WMF")]
EXTENSIONS = frozenset(ending for ending, name in Image.registered_extensions().items() if name in FORMATS)

TIFF_ROWS, TIFF_TILE_HEIGHT = 278, 323  # tags
ORIENTATION = 0x0112  # the EXIF tag of how the camera was held
TURNS = {  # (C, H, W), by the orientation
    2: lambda pixels: pixels[:, :, ::-1],
    3: lambda pixels: pixels[:, ::-1, ::-1],
    4: lambda pixels: pixels[:, ::-1],
    5: lambda pixels: pixels.swapaxes(1, 2),
    6: lambda pixels: np.rot90(pixels, -1, (1, 2)),
    7: lambda pixels: pixels[:, ::-1, ::-1].swapaxes(1, 2),
    8: lambda pixels: np.rot90(pixels, 1, (1, 2)),
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
    return _opened(path, lambda image: conversion.measure(image, LONGEST), LONGEST)


def size(path: str) -> tuple[int, int]:
    """Return height and width of an image file, turned upright by its EXIF data; raise `BadImage`."""

    def upright(image: Image.Image) -> tuple[int, int]:
        width, height = image.size
        return (width, height) if _turn(image) in (5, 6, 7, 8) else (height, width)

    return _opened(path, upright, None)


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
        array = conversion.convert(image, channels, longest, how)
        return np.ascontiguousarray(TURNS[turn](array)) if turn in TURNS else array

    return _opened(path, pixels, longest or LONGEST)


def _turn(image: Image.Image) -> int:
    """Return the orientation of an image by the numbers of EXIF: 1, upright, where the data are broken or absent."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
        return value if value in TURNS else 1
    except Exception:  # whatever broken EXIF data make Pillow raise: the pixels are none the worse
        return 1


def _opened(path: str | bytes, use: Callable, longest: int | None):
    """Open an image file, or its content, and return what `use` makes of it; every error is a `BadImage`.

    Args:
        longest: a large JPEG is opened to be decoded at the least size with a side of this; None: its pixels are not
            decoded.
    """
    try:
        if isinstance(path, str) and not stat.S_ISREG(os.stat(path).st_mode):
            raise BadImage("it is no ordinary file")
        with io.BytesIO(path) if isinstance(path, bytes) else open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd files; its warning of bombs is our error
            try:
                return _decoded(file, use, longest)
            except BadImage:
                raise
            except Exception:
                alone = _png_pixels(file)
                if alone is None:
                    raise
                return _decoded(alone, use, longest)
    except BadImage:
        raise
    except UnidentifiedImageError:
        raise BadImage("it is no image of a format that Pillow reads") from None
    except OSError as error:
        raise BadImage(error.strerror or first_line(error)) from None
    except Exception as error:  # whatever a damaged or hostile file makes Pillow's many readers raise
        raise BadImage(f"it is damaged: {first_line(error)}") from None


def _decoded(file: BinaryIO, use: Callable, longest: int | None):
    """Return what `use` makes of the image in a file; see `_opened`."""
    image = _open(file)
    with image:
        width, height = image.size
        if not width * height:
            raise BadImage("it has no pixels")
        allowed = _allowed(image, file)
        if width * height > allowed:
            raise BadImage(f"it has {width}x{height} pixels: at most {allowed:,} of such a file are read{REMEDY}")
        if longest and image.format in JPEGS and width * height > LARGE:
            jpeg.decode_small(image, longest)
        _warn_of_bombs("error" if image.format in CONTAINERS else "ignore")
        return use(image)


def _open(file: BinaryIO) -> Image.Image:
    """Open an image, whatever its size, but none with an image inside that is beyond Pillow's limit."""
    too_many = BadImage(f"it has far too many pixels: at most {MAX_PIXELS:,} are read{REMEDY}")
    try:
        _warn_of_bombs("error")
        return Image.open(file, formats=FORMATS)
    except Image.DecompressionBombWarning:  # of its own size, or as it opens the image inside
        _warn_of_bombs("ignore")
        try:
            return Image.open(file, formats=[name for name in FORMATS if name not in CONTAINERS])
        except UnidentifiedImageError:
            raise too_many from None
    except Image.DecompressionBombError:
        image = jpeg.open_large(file)
        if image is None:
            raise too_many from None
        return image


def _warn_of_bombs(action: str) -> None:
    warnings.simplefilter(action, Image.DecompressionBombWarning)


def _allowed(image: Image.Image, file: BinaryIO) -> int:
    """Return how many pixels an image may have, so that decoding it takes at most `MAX_BYTES`."""
    cost = DECODER_BYTES.get(image.format, 4)
    if image.format in JPEGS and image.width * image.height > LARGE:
        if jpeg.size_in_one_scan(file) == image.size:
            return jpeg.MAX_PIXELS
        cost = 2 * len(image.getbands())  # all coefficients, until the last scan
    if image.format == "TIFF" and _rows_at_once(image) > image.height // 8:
        cost = 8  # what is decompressed at once, besides
    return min(MAX_PIXELS, MAX_BYTES // cost)


def _rows_at_once(image: Image.Image) -> int:
    """Return the height of a strip or tile of a TIFF file."""
    rows = [image.tag_v2.get(tag, image.height) for tag in (TIFF_ROWS, TIFF_TILE_HEIGHT)]
    return min([row for row in rows if isinstance(row, int)], default=image.height)


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
