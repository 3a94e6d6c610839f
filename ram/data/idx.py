"""The IDX format, in which MNIST and its relatives are kept, and the checks of its files.

An IDX file is a magic number (0, 0, type, number of axes), the length of each axis as 4 bytes, and the elements; the
type is 8, bytes, in all files that are read here.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import zlib
from typing import NamedTuple

import numpy as np


class IdxFile(NamedTuple):
    """One file of a data set: its name, and the length in bytes and SHA-256 of its raw (unzipped) content."""

    name: str
    size: int
    sha256: str


class Damaged(Exception):
    """The content of a file is not what it has to be; the message says in what way."""


def parse_idx(raw: bytes) -> np.ndarray:
    """Return the uint8 array in the content of an IDX file, as a read-only view.

    Raises:
        Damaged: the header lies.
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
    """Read and check a file, raw or .gz; raises `Damaged` or OSError."""
    with open(path, "rb") as stream:
        return check(gunzip(stream, file) if path.endswith(".gz") else stream.read(file.size + 1), file)
