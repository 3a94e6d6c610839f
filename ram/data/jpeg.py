"""Open JPEG files that are too large for Pillow's limit, and decode them small.

A JPEG can be decoded at a half, a quarter or an eighth of its size, in little memory, as long as its pixels come in one
scan. Pillow's limits are not changed: they are those of the program around.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from PIL import Image, JpegImagePlugin

MAX_PIXELS = 200_000_000  # of one file, in one scan
MARKERS = 1000  # before the pixels
BASELINE = (0xC0, 0xC1)
FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
ALONE = (0x01, *range(0xD0, 0xD9))  # markers without a length


def open_large(file: BinaryIO) -> Image.Image | None:
    """Open a baseline JPEG beyond Pillow's limit; None where the file is none, or has too many pixels here, too."""
    size = size_in_one_scan(file)
    if size is None or size[0] * size[1] > MAX_PIXELS:
        return None
    file.seek(0)
    return JpegImagePlugin.JpegImageFile(file)


def decode_small(image: Image.Image, longest: int) -> None:
    """Let an opened JPEG be decoded at the least size whose longer side is at least `longest`."""
    factor = next((factor for factor in (8, 4, 2) if max(image.size) >= factor * longest), 1)
    image.draft(None, tuple(max(1, side // factor) for side in image.size))


def size_in_one_scan(file: BinaryIO) -> tuple[int, int] | None:
    """Return width and height that a baseline JPEG with all its colors in one scan claims; None for any other file.

    With several scans, or a progressive one, the decoder keeps the whole image, however small it is to become.
    """
    file.seek(0)
    if file.read(2) != b"\xff\xd8":
        return None
    size, colors = None, 0
    for _ in range(MARKERS):
        head = file.read(2)
        if len(head) < 2 or head[0] != 0xFF:
            return None
        if head[1] == 0xFF:  # a byte that fills up
            file.seek(-1, os.SEEK_CUR)
            continue
        if head[1] in ALONE:
            continue
        length = file.read(2)
        if len(length) < 2:
            return None
        data = file.read(max(0, struct.unpack(">H", length)[0] - 2))
        if head[1] in FRAMES:
            if head[1] not in BASELINE or size is not None or len(data) < 6:
                return None
            _, height, width, colors = struct.unpack(">BHHB", data[:6])
            size = (width, height)
        elif head[1] == 0xDA:  # the first scan
            return size if size and data and data[0] == colors else None
    return None
