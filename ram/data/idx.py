"""Read, write and check files of the IDX format, in which MNIST and similar data sets are kept.

An IDX file is a magic number (0, 0, type, number of axes), the length of each axis as 4 bytes, and the elements; the
type is 8, unsigned bytes, in all files that are read here.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import math
import os
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np


class IdxFile(NamedTuple):
    """One file of a data set: its name, and the length in bytes and SHA-256 of its raw (unzipped) content."""

    name: str
    size: int
    sha256: str


class Damaged(Exception):
    """The content of a file is not as expected; the message names the difference."""


class OtherContent(Damaged):
    """A whole and well-formed file, but another one than expected."""


BYTES = 8  # the type of unsigned bytes
ITEM_BYTES = {BYTES: 1, 9: 1, 11: 2, 12: 4, 13: 4, 14: 8}  # by the type in the magic number
UNZIP_BYTES = 2**30  # of a .gz that is another data set: of a larger one the header alone is read


def parse_idx(raw: bytes) -> np.ndarray:
    """Return the uint8 array in the content of an IDX file, as a read-only view.

    Raises:
        Damaged: the header does not fit the content.
    """
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08":
        raise Damaged(f"not an IDX file of bytes (it begins with {raw[:4].hex() or 'nothing'})")
    start = 4 + 4 * raw[3]
    try:
        shape = struct.unpack(f">{raw[3]}I", raw[4:start])
        return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)
    except (ValueError, struct.error) as error:
        raise Damaged(f"its header does not fit its {len(raw)} bytes") from error


def to_idx(array: np.ndarray) -> bytes:
    """Make the content of an IDX file that holds a uint8 array."""
    return (
        struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        + array.astype(np.uint8, copy=False).tobytes()
    )


def check(raw: bytes, file: IdxFile) -> bytes:
    """Return `raw` if it is the content of `file`, else raise `Damaged`."""
    if len(raw) < file.size:
        raise Damaged(f"truncated: {len(raw)} of {file.size} bytes")
    if len(raw) > file.size:
        raise Damaged(f"too long: more than {file.size} bytes")
    parse_idx(raw)
    if hashlib.sha256(raw).hexdigest() != file.sha256:
        raise Damaged("altered: its SHA-256 is not the one on record")
    return raw


def gunzip(stream: io.BufferedIOBase, file: IdxFile) -> bytes:
    """Unzip at most one byte more than the file may have, so that a gzip bomb costs no memory."""
    try:
        with gzip.GzipFile(fileobj=stream) as unzipped:
            return unzipped.read(file.size + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise Damaged(f"broken gzip file ({error})") from error


def read(path: str, file: IdxFile) -> bytes:
    """Read a file, raw or .gz, and check that it is the one on record.

    Raises:
        OtherContent: the file is whole, but another one.
        Damaged: the file is broken.
        OSError: the file cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            return check(gunzip(stream, file) if path.endswith(".gz") else stream.read(file.size + 1), file)
    except Damaged:
        shape = whole_shape(path)
        if shape is None:
            raise
        raise OtherContent(f"another data set, {' x '.join(map(str, shape))}") from None


@contextlib.contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """Open a file, raw or .gz, for reading its raw content; a broken gzip file raises `Damaged`."""
    with open(path, "rb") as stream:
        try:
            yield gzip.GzipFile(fileobj=stream) if path.endswith(".gz") else stream
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise Damaged(f"broken gzip file ({error})") from error


def read_header(stream: BinaryIO) -> tuple[int, tuple[int, ...]]:
    """Read the header of an IDX file: the type of its elements, and the length of each axis; raises `Damaged`."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in ITEM_BYTES or not magic[3]:
        raise Damaged(f"not an IDX file (it begins with {magic.hex() or 'nothing'})")
    lengths = stream.read(4 * magic[3])
    if len(lengths) < 4 * magic[3]:
        raise Damaged("truncated in its header")
    return magic[2], struct.unpack(f">{magic[3]}I", lengths)


def whole_shape(path: str) -> tuple[int, ...] | None:
    """Return the shape of a whole, well-formed IDX file of any type, raw or .gz; None where it is broken.

    A .gz whose header says more than `UNZIP_BYTES` is not unzipped, and counts as whole.
    """
    try:
        with opened(path) as stream:
            kind, shape = read_header(stream)
            left = ITEM_BYTES[kind] * math.prod(shape)
            if not path.endswith(".gz"):
                return shape if os.fstat(stream.fileno()).st_size == stream.tell() + left else None
            if left > UNZIP_BYTES:
                return shape
            while left > 0:
                chunk = stream.read(min(left, 2**20))
                if not chunk:
                    return None
                left -= len(chunk)
            return None if stream.read(1) else shape  # the end checks the checksum
    except Damaged:
        return None
