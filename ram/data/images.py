"""Read image files of any kind without trusting them.

Images are uint8 arrays (C, H, W), C is 1 (grey) or 3 (RGB). Nothing here knows the model or the data sets.
"""

from __future__ import annotations

import os
import stat
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 100_000_000  # of one file: up to 0.9 GB in memory while it is read; phones make fewer
LONGEST = 2048  # pixels: what is larger is shrunk before anything else is done with it

Image.init()
# For EPS, Pillow would start another program; of the others it knows no more than the name.
FORMATS = [name for name in Image.OPEN if name not in ("EPS", "BUFR", "GRIB", "HDF5", "MPEG", "WMF")]
EXTENSIONS = frozenset(ending for ending, name in Image.registered_extensions().items() if name in FORMATS)
ORIENTATION = 0x0112  # the EXIF tag that says how the camera was held


class BadImage(Exception):
    """A file that cannot be used as an image; the message says why, and does not name the file."""


def is_named_like_an_image(path: str) -> bool:
    """Whether a path ends as image files do, and is not hidden."""
    name = os.path.basename(path)
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS


def leads_out(path: str, folder: str) -> bool:
    """Whether a path in a folder is, by way of links, really somewhere else."""
    root = os.path.realpath(folder)
    return os.path.commonpath([root, os.path.realpath(path)]) != root


def has_colour(path: str) -> bool:
    """Whether an image file is in colour, by its header.

    Raises:
        BadImage: it cannot be opened.
    """
    return _opened(path, lambda image: Image.getmodebase(image.mode) == "RGB")


def read(path: str, channels: int, longest: int | None = None) -> np.ndarray:
    """The pixels of an image file, turned upright as the camera says; of an animation, the first picture.

    Transparent parts become black, or white where what is drawn is rather dark.

    Args:
        path: the file.
        channels: 1 to get luminance, 3 to get RGB.
        longest: images with a longer side are shrunk by a whole number until it is no longer than this.

    Returns:
        (channels, H, W) uint8.

    Raises:
        BadImage: it is no image, damaged, too large, or cannot be read.
    """
    return _opened(path, lambda image: _pixels(image, channels, longest))


def _opened(path, use):
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise BadImage("it is no ordinary file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd files; its warning of bombs is our error
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise BadImage(f"it has {width}x{height} pixels: at most {MAX_PIXELS:,} are read")
                return use(image)
    except BadImage:
        raise
    except UnidentifiedImageError:
        raise BadImage("it is no image of a format that Pillow reads") from None
    except Image.DecompressionBombError:
        raise BadImage(f"it has far too many pixels: at most {MAX_PIXELS:,} are read") from None
    except OSError as error:
        raise BadImage(error.strerror or _first_line(error)) from None
    except Exception as error:  # whatever a damaged or hostile file makes Pillow's many readers raise
        raise BadImage(f"it is damaged: {_first_line(error)}") from None


def _first_line(error):
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _pixels(image, channels, longest):
    if image.getexif().get(ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _to_eight_bits(image)
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode in ("LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    elif image.mode == "P":
        image = image.convert("RGB")
    factor = -(-max(image.size) // longest) if longest else 1
    if factor > 1:
        image = image.reduce((min(factor, image.width), min(factor, image.height)))
    if image.mode == "RGBA":
        image = _without_transparency(image)
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))  # (H, W) or (H, W, 3)
    return pixels[None].copy() if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _to_eight_bits(image):
    """Grey values of 16 bits, 32 bits or floating point, of which Pillow itself would keep those up to 255."""
    values = np.asarray(image)
    full = 1.0 if image.mode == "F" and values.max(initial=0) <= 1 else 255.0
    if image.mode != "F" and (image.mode != "I" or values.max(initial=0) > 255):
        full = 65535.0
    values = np.nan_to_num(values.astype(np.float32) * np.float32(255 / full))
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def _without_transparency(image):
    grey, alpha = np.asarray(image.convert("RGB").convert("L")), np.asarray(image.getchannel("A"))
    ink = np.average(grey, weights=alpha) if alpha.any() else 255
    background = Image.new("RGBA", image.size, "black" if ink >= 128 else "white")
    return Image.alpha_composite(background, image)
