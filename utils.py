"""Hold the small things that every other file needs: seeded generators, user errors, running means, logs.

Nothing here depends on the model.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib

import numpy as np

MAX_SIDE = 4096  # pixels: of images, canvases and patches


class UserError(ValueError):
    """An error that the user can put right: a command prints it as one line and ends with status 2.

    A program that loads the project by `paddle.hub` catches it as a ValueError, without importing this module.
    """


def generator(stream: str, *numbers: int) -> np.random.Generator:
    """Make a random generator that is a pure function of its name and numbers, e.g. `generator("noise", seed, step)`.

    All randomness of the project comes from here and none from a global state. That makes a run repeatable, makes
    resuming exact (the step number is all there is to save), and keeps two trainings in one process apart.

    Args:
        stream: what the numbers are for; different names give independent streams.
        numbers: non-negative integers, such as seed, epoch or step; always as many for one name, since zeros at the
            end are no different from none.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([zlib.crc32(stream.encode()), *numbers])))


def listed(names: list[str]) -> str:
    """Join at most ten names with commas, long ones cut."""
    return first_few([printable(name[:40]) for name in names])


def first_few(texts: list[str], most: int = 10) -> str:
    """Join at most so many texts with commas, and say how many more there are."""
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def first_line(error: Exception) -> str:
    """Return the first line of another package's error, or the error's kind where it says nothing."""
    return printable((str(error).splitlines() or [""])[0][:300]) or type(error).__name__


def printable(text: str) -> str:
    """Return a name as it is, or in quotes, escaped and cut where it would break a line or a terminal."""
    return text if text.isprintable() and len(text) <= 4096 else ascii(text[:100])


def from_json(text: str | bytes) -> object:
    """Parse JSON from a file that may hold anything; raises ValueError where it holds none, or is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


class Mean:
    """A running mean of several quantities over images; `state` is plain data, so that it can be saved."""

    def __init__(self, state: dict | None = None):
        self.state = dict(state) if state else {"count": 0}

    def update(self, count: int, **means: float) -> None:
        """Add `count` images over which the quantities had these means."""
        self.state["count"] += count
        for name, value in means.items():
            self.state[name] = self.state.get(name, 0.0) + count * value

    def __getitem__(self, name: str) -> float:
        return self.state.get(name, 0.0) / max(1, self.state["count"])


@contextlib.contextmanager
def file_access(action: str, path: str, advice: str = ""):
    """Turn an OSError of the block into the one line `cannot ACTION PATH: reason`.

    Args:
        action: what was tried, as in "read" or "move earlier files to".
        path: the file or folder, as the user names it.
        advice: what follows the reason.

    Raises:
        UserError: the operating system refused.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot {action} {path}: {error.strerror or error}{advice}") from None


def is_there(path: str) -> bool:
    """Tell whether there is something at a path, be it a broken link.

    Raises:
        UserError: it cannot be known, since a folder above must not be entered.
    """
    with file_access("read", path):
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
    return True


def to_tensor(array: np.ndarray):
    """Copy an array to a tensor of the same type and bits.

    In Paddle 3.3, `paddle.to_tensor` never frees some 160 bytes of each call: hundreds of megabytes in a long training.
    """
    import paddle

    tensor = paddle.empty(array.shape, str(array.dtype))
    tensor.set_value(array)
    return tensor


SHARED = 2**24  # bytes from which copying takes longer than sharing


def image_tensor(images: np.ndarray):
    """Make a tensor of a batch of images; a large one shares its memory on the CPU, so the array must not change."""
    import paddle

    large = images.nbytes >= SHARED and images.flags.c_contiguous and images.flags.writeable
    if not large or paddle.device.get_device() != "cpu":
        return to_tensor(images)
    return paddle.utils.dlpack.from_dlpack(images.__dlpack__())


def repeat_rows(x, times: int):
    """Repeat each row of a tensor (B, ...) of any type `times` times, one after the other: (B*times, ...)."""
    import paddle

    return x if times == 1 else paddle.gather(x, to_tensor(np.repeat(np.arange(x.shape[0]), times)))


def make_folder(path: str) -> None:
    """Make a folder and those above it.

    Raises:
        UserError: the folder cannot be made.
    """
    with file_access("make the folder", path):
        os.makedirs(path, exist_ok=True)


class JsonLines:
    """A log of one JSON object per line."""

    def __init__(self, path: str):
        self.path = path

    def append(self, record: dict) -> None:
        """Add a line.

        Raises:
            UserError: the log cannot be written.
        """
        with file_access("write", self.path), open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
