"""Read NumPy's .npz archives without pickle: headers are parsed here, and checked against the bytes that are there."""

from __future__ import annotations

import math
import re
import struct
import zipfile
from typing import NamedTuple

import numpy as np

from ram.data.idx import Damaged
from utils import first_line

MAX_BYTES = 16 * 2**30  # of one array: what follows is limited further by who reads it
HEADER = re.compile(
    rb"\{'descr': '([<>|=][a-z]\d+)', 'fortran_order': (False|True), 'shape': \(([\d, ]{0,200})\), \}\s*"
)
MAGIC = b"\x93NUMPY\x01\x00"  # of version 1.0, which NumPy writes for all plain arrays


class Member(NamedTuple):
    """The header of an array."""

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool


class Archive:
    """An .npz file, opened for reading; use it in a `with` block.

    Attributes:
        members: the header of each array, by name.

    Raises:
        Damaged: the file is no such archive, or an array in it is not a plain one of numbers.
        OSError: the file cannot be read.
    """

    def __init__(self, path: str):
        try:
            self.archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
            raise Damaged(f"no .npz archive ({first_line(error)})") from None
        names = [name for name in self.archive.namelist() if name.endswith(".npy")]
        try:
            self.members = {name[:-4]: self._opened(name, lambda stream, member: member) for name in names}
        except BaseException:
            self.archive.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.archive.close()

    def read(self, name: str) -> np.ndarray:
        """Read one array; raise `Damaged` where the bytes do not fit the header."""

        def whole(stream, member: Member) -> np.ndarray:
            size = math.prod(member.shape) * member.dtype.itemsize
            data = stream.read(size)
            if len(data) != size or stream.read(1):  # the end of the stream also checks its checksum
                raise Damaged(f"its array {name} does not fit its header")
            array = np.frombuffer(data, member.dtype)
            return array.reshape(member.shape[::-1]).T if member.fortran else array.reshape(member.shape)

        return self._opened(name + ".npy", whole)

    def _opened(self, name: str, use):
        """Open a member behind its header, and return what `use` makes of the stream and the header."""
        try:
            with self.archive.open(name) as stream:
                start = stream.read(len(MAGIC) + 2)
                header = stream.read(int.from_bytes(start[-2:], "little")) if start[:-2] == MAGIC else b""
                match = HEADER.fullmatch(header)
                dtype = np.dtype(match[1].decode()) if match else np.dtype(object)
                if dtype.kind not in "buif":
                    raise Damaged(f"its array {name[:-4][:40]} is no plain array of numbers")
                shape = tuple(int(length) for length in match[3].decode().replace(",", " ").split())
                if math.prod(shape) * dtype.itemsize > MAX_BYTES:
                    raise Damaged(f"its array {name[:-4][:40]} is too large")
                return use(stream, Member(dtype, shape, match[2] == b"True"))
        except Damaged:
            raise
        except Exception as error:  # whatever zipfile's decompressors raise
            raise Damaged(f"its array {name[:-4][:40]} cannot be read ({first_line(error)})") from None
