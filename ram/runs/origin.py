"""Record the file that a training started from, where it did not draw its weights from the seed: `--weights=FILE`."""

from __future__ import annotations

import re
from typing import NamedTuple

from utils import printable

KEY = "started_from"  # in the settings that a checkpoint and `<run>_params.json` keep


class Origin(NamedTuple):
    """A file of weights that a training started from."""

    file: str  # its name, without the folder
    sha256: str  # of its content
    preset: str | None = None  # whose published weights it holds; None: it is not published
    seed: int | None = None  # of the training that made it; None where the file does not say

    def __str__(self):
        published = f", the published {self.preset}" if self.preset else ""
        return printable(f"{self.file}{published} (SHA-256 {self.sha256})")


def origin_in(saved: dict) -> Origin | None:
    """Read from a file's settings which file its training started from; None: weights drawn from its seed.

    An entry that no training wrote counts as an unknown file.
    """
    kept = saved.get(KEY)
    if kept is None:
        return None
    unknown = Origin("an unknown file", "unknown")
    if not isinstance(kept, dict) or not kept.keys() <= set(Origin._fields):
        return unknown
    origin = Origin(**{**unknown._asdict(), **kept})
    kinds = ((str,), (str,), (str, type(None)), (int, type(None)))
    whole = all(type(value) in kind for value, kind in zip(origin, kinds))
    return origin if whole and re.fullmatch("[0-9a-f]{64}", origin.sha256) else unknown
