"""Read the user's own data sets of arrays: four IDX files, or an .npz as MedMNIST has it."""

from __future__ import annotations

import contextlib
import os
import re
import struct
from typing import Callable

import numpy as np

from ram.data import idx
from ram.data.folders import MAX_BYTES
from ram.data.idx import Damaged
from ram.data.npz import Archive
from utils import MAX_SIDE, UserError, file_access, listed

# A file of an IDX set: what distinguishes several sets (EMNIST's begin with emnist-letters- and the like), part, kind.
IDX_NAME = re.compile(r"(.*?)(train|t10k|test)-(images|labels)[-.]idx[0-9]-ubyte(\.gz)?", re.IGNORECASE)
MAX_LABELS = 2**28
PREFIX = {"train": "train", "valid": "val", "test": "test"}  # of a part's arrays in an .npz


class ArraySet:
    """A data set whose parts are arrays.

    Attributes:
        root: the file or folder, for messages.
        parts: the parts that are there.
        shape: of a part, without reading it: (C, H, W).
        read: of a part, images (N, C, H, W) uint8 and labels (N,) of any whole numbers.
        notes: lines to print.
    """

    def __init__(self, root: str, parts: tuple[str, ...], shape: Callable, read: Callable, notes: tuple[str, ...] = ()):
        self.root, self.parts, self.shape, self.read, self.notes = root, parts, shape, read, list(notes)


# ----------------------------------------------------------------------------------------------------------- IDX files


def idx_set(root: str) -> ArraySet:
    """Find the IDX set in a folder, or in a folder `raw` in it, as torchvision keeps them.

    Raises:
        UserError: there is no set, or more than one.
    """
    sets = _idx_files(root)
    if not sets and os.path.isdir(os.path.join(root, "raw")):
        root = os.path.join(root, "raw")
        sets = _idx_files(root)
    if not sets:
        raise UserError(
            f"{root} holds no IDX files: --dataset=idx needs train-images-idx3-ubyte, train-labels-idx1-ubyte, "
            "t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, raw or .gz"
        )
    if len(sets) > 1:
        names = [f"{prefix}*" if prefix else "train-* and t10k-*" for prefix in sorted(sets)]
        raise UserError(f"{root} holds several data sets ({listed(names)}): give each a folder of its own")
    ((_, files),) = sets.items()

    def path(part: str, kind: str) -> str:
        if (part, kind) not in files:
            raise UserError(
                f"{root} has no file of {part} {kind}: it holds {listed(sorted(map(os.path.basename, files.values())))}"
            )
        return files[part, kind]

    def shape(part: str) -> tuple[int, int, int]:
        with _damage(path(part, "images")), idx.opened(path(part, "images")) as stream:
            return _idx_shape(idx.read_header(stream)[1])[1:]

    def read(part: str) -> tuple[np.ndarray, np.ndarray]:
        return _read_idx(path(part, "images"), "images"), _read_idx(path(part, "labels"), "labels")

    return ArraySet(root, tuple({part: None for part, _ in files}), shape, read)


def _idx_files(root: str) -> dict[str, dict]:
    """Find the IDX files in a folder: for each set, by its prefix, the paths by part and kind."""
    sets: dict[str, dict] = {}
    with file_access("read", root):
        names = sorted(os.listdir(root))
    for name in names:
        match = IDX_NAME.fullmatch(name)
        if match and not name.startswith(".") and os.path.isfile(os.path.join(root, name)):
            part = "train" if match[2].lower() == "train" else "test"
            sets.setdefault(match[1], {}).setdefault((part, match[3].lower()), os.path.join(root, name))  # raw first
    return sets


def _idx_shape(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return the shape (N, 1, H, W) of images (N, H, W); raises `Damaged` where they are none."""
    if len(shape) != 3 or not all(shape):
        raise Damaged(f"images of shape {' x '.join(map(str, shape))}: number x height x width is expected")
    if max(shape[1:]) > MAX_SIDE or shape[0] * shape[1] * shape[2] > MAX_BYTES:
        raise Damaged(f"too large: at most {MAX_BYTES / 2**30:g} GiB, and sides of {MAX_SIDE}, are read")
    return shape[0], 1, shape[1], shape[2]


def _read_idx(path: str, kind: str) -> np.ndarray:
    """Read images (N, 1, H, W) or labels (N,) from an IDX file, raw or .gz."""
    with _damage(path), idx.opened(path) as stream:
        element, shape = idx.read_header(stream)
        if element != idx.BYTES:
            raise Damaged(f"its elements are of type {element}: unsigned bytes, type {idx.BYTES}, are expected")
        if kind == "labels" and (len(shape) != 1 or shape[0] > MAX_LABELS):
            raise Damaged(f"labels of shape {' x '.join(map(str, shape))}: one number for each image is expected")
        target = _idx_shape(shape) if kind == "images" else shape
        size = int(np.prod(shape, dtype=np.int64))
        data = stream.read(size + 1)  # the end also checks the checksum of a .gz
        if len(data) != size:
            raise Damaged(f"{'too long' if len(data) > size else 'truncated'}: its header says {size} bytes of content")
    return np.frombuffer(data, np.uint8).reshape(target)


@contextlib.contextmanager
def _damage(path: str):
    """Turn the errors of a damaged file into a UserError that names it."""
    with file_access("read", path):
        try:
            yield
        except (Damaged, struct.error, MemoryError) as error:
            why = str(error) or "it does not fit into memory"
            raise UserError(f"{path} cannot be used: {why}") from None


# ---------------------------------------------------------------------------------------------------------- .npz files


def npz_in(root: str) -> str | None:
    """Return the .npz file that is the data set: the path itself, or the one in a folder; None where there is none.

    Raises:
        UserError: the folder has several.
    """
    if os.path.isfile(root):
        return root
    if not os.path.isdir(root):
        return None
    names = sorted(name for name in os.listdir(root) if name.lower().endswith(".npz") and not name.startswith("."))
    paths = [path for path in (os.path.join(root, name) for name in names) if os.path.isfile(path) and _has_parts(path)]
    if len(paths) > 1:
        raise UserError(
            f"{root} holds several data sets ({listed([os.path.basename(path) for path in paths])}): "
            "name one with --data_dir"
        )
    return paths[0] if paths else None


def _has_parts(path: str) -> bool:
    """Tell whether an .npz file has the arrays of a data set; False for a broken one."""
    try:
        with Archive(path) as archive:
            return any(f"{prefix}_images" in archive.members for prefix in PREFIX.values())
    except (Damaged, OSError):
        return False


def npz_set(path: str) -> ArraySet:
    """Open the data set in an .npz file: arrays train_images, train_labels, val_images, ..., test_labels.

    Raises:
        UserError: the file is damaged, lacks these arrays, or has several labels per image or 3D images.
    """
    with _damage(path), Archive(path) as archive:
        members = archive.members
        parts = tuple(part for part, prefix in PREFIX.items() if f"{prefix}_images" in members)
        if not parts:
            raise Damaged(f"it holds {listed(sorted(members)) or 'nothing'}, and not train_images and train_labels")
        shapes = {part: _npz_shape(members, PREFIX[part]) for part in parts}

    def read(part: str) -> tuple[np.ndarray, np.ndarray]:
        with _damage(path), Archive(path) as archive:
            images, labels = (archive.read(f"{PREFIX[part]}_{kind}") for kind in ("images", "labels"))
        count, channels, height, width = shapes[part]
        images = images.reshape(count, height, width, channels).transpose(0, 3, 1, 2)
        return np.ascontiguousarray(images), labels.reshape(-1)

    return ArraySet(path, parts, lambda part: shapes[part][1:], read)


def _npz_shape(members: dict, prefix: str) -> tuple[int, int, int, int]:
    """Return the shape (N, C, H, W) of a part's images; raises `Damaged` where this project has no use for them."""
    images, labels = members[f"{prefix}_images"], members.get(f"{prefix}_labels")
    if labels is None:
        raise Damaged(f"it has no {prefix}_labels")
    shape = images.shape
    if len(shape) == 5 or (len(shape) == 4 and shape[3] not in (1, 3)):
        raise Damaged(f"its {prefix}_images of shape {shape} are 3D: images are (N, H, W) or (N, H, W, 3)")
    if len(shape) not in (3, 4) or not all(shape):
        raise Damaged(f"its {prefix}_images of shape {shape} are no images: (N, H, W) or (N, H, W, 3)")
    if images.dtype != np.uint8:
        raise Damaged(f"its {prefix}_images are {images.dtype}, and not uint8")
    if len(labels.shape) > 1 and max(labels.shape[1:], default=1) > 1:
        raise Damaged(
            f"its {prefix}_labels of shape {labels.shape} give an image several labels (multi-label): one is read"
        )
    if labels.dtype.kind not in "biu" or labels.shape[:1] != shape[:1] or np.prod(labels.shape) != shape[0]:
        raise Damaged(
            f"its {prefix}_labels, {labels.dtype} of shape {labels.shape}, are not one whole number per image"
        )
    if max(shape[1:3]) > MAX_SIDE or np.prod(shape, dtype=np.float64) > MAX_BYTES:
        raise Damaged(
            f"its {prefix}_images are too large: at most {MAX_BYTES / 2**30:g} GiB, and sides of {MAX_SIDE}, are read"
        )
    return shape[0], shape[3] if len(shape) == 4 else 1, shape[1], shape[2]
