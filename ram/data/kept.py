"""Keep with a model how its data set's pixels were converted, and a fingerprint of the images.

It is plain data, the entry "data" of a checkpoint and of an export's about.json:

    integer, floating, background   the `Conversion`
    by_class                        whether validation images were drawn class by class
    train, valid                    a fingerprint: {class: [images, bytes, SHA-256 of names and contents]}
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

import numpy as np

from ram.data.conversion import BACKGROUNDS, WHITE_LEVELS, Conversion
from ram.data.layout import Item
from utils import UserError, first_few, printable

SHOWN = 5  # differences


def of_files(items: Iterable[Item]) -> dict[str, list]:
    """Make a fingerprint of image files: names relative to the data set, lengths and contents."""
    sums: dict[str, list] = {}
    for item in sorted(items, key=lambda item: (item.label, item.name)):
        count, size, digest = sums.setdefault(item.label, [0, 0, hashlib.sha256()])
        length, content = 0, hashlib.sha256()
        try:
            with open(item.path if os.path.isfile(item.path) else os.devnull, "rb") as file:  # of a pipe, nothing
                for chunk in iter(lambda: file.read(2**20), b""):
                    length += len(chunk)
                    content.update(chunk)
        except (OSError, ValueError):  # such a file is named when its pixels are read
            length, content = 0, hashlib.sha256()
        digest.update(
            item.name.encode("utf-8", "surrogateescape") + b"\0" + length.to_bytes(8, "big") + content.digest()
        )
        sums[item.label] = [count + 1, size + length, digest]
    return {label: [count, size, digest.hexdigest()] for label, (count, size, digest) in sums.items()}


def of_arrays(images: np.ndarray, labels: np.ndarray, classes: list[str]) -> dict[str, list]:
    """Make a fingerprint of images (N, C, H, W) with labels (N,), numbers in `classes`."""
    sums = {}
    for label, name in enumerate(classes):
        own = np.ascontiguousarray(images[labels == label])
        if len(own):
            digest = hashlib.sha256(repr(own.shape).encode() + own.tobytes()).hexdigest()
            sums[name] = [len(own), own.nbytes, digest]
    return sums


def differences(now: dict[str, list], then: dict[str, list]) -> str:
    """Describe in which classes the images are not those of a fingerprint ("" if in none)."""
    changes = []
    for name in sorted(now.keys() | then.keys()):
        if name not in then:
            changes.append(f"{printable(name)} is new")
        elif name not in now:
            changes.append(f"{printable(name)} is gone")
        elif now[name][0] != then[name][0]:
            changes.append(f"{printable(name)} has {now[name][0]} images (then {then[name][0]})")
        elif list(now[name]) != list(then[name]):
            changes.append(f"{printable(name)} has other names or contents")
    return first_few(changes, SHOWN)


def conversion(data: dict) -> Conversion:
    """Return the conversion that was kept; each image decides for itself where there is none."""
    return Conversion(data.get("integer"), data.get("floating"), data.get("background"))


def checked(data: object, path: str) -> dict | None:
    """Return a file's entry on its data, None where there is none, after checks: a file may hold anything.

    Args:
        data: the entry.
        path: the file, for the message.

    Raises:
        UserError: the entry is not one that `own.load` makes.
    """
    if data is None:
        return None
    good = isinstance(data, dict)
    if good:
        good = data.get("integer") in (None, *WHITE_LEVELS) and data.get("background") in (None, *BACKGROUNDS)
        good = good and data.get("floating") in (None, 1.0, 255.0) and type(data.get("by_class", False)) is bool
        good = good and all(is_fingerprint(data.get(part, {})) for part in ("train", "valid"))
    if not good:
        raise UserError(f"{path} cannot be used: what it says of its data set is damaged")
    return data


def is_fingerprint(value: object) -> bool:
    """Tell whether a value is a fingerprint as `of_files` makes them."""
    return isinstance(value, dict) and all(
        type(name) is str and isinstance(facts, (list, tuple)) and [type(fact) for fact in facts] == [int, int, str]
        for name, facts in value.items()
    )
