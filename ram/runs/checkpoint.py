"""Read checkpoint files without trusting them, and write them so that a crash at any instant leaves a whole one.

`paddle.load` would run the code of a file; `unpickle` reads it instead. Nothing here depends on the model.
"""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import json
import math
import os
import re
import shutil
import stat
import time

import numpy as np

from ram.runs.unpickle import MAX_PARTS, Budget, DamagedFile, Refused, holds_array, plain, unpickle
from ram.system.leftovers import remove_leftovers
from utils import UserError, file_access, is_there

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
try:
    import msvcrt
except ImportError:  # everywhere else
    msvcrt = None

FORMAT = "ram-paddle"
WORDS = ("settings", "data", "classes", "image_shape")  # entries without arrays, which cannot be compared as these are
UNSIGNED = b"0" * 64  # stands in the file for its own checksum while that is computed
MAX_BYTES = 2**32  # a checkpoint of this project has about 5 MB


def read(path: str) -> object:
    """Read a .pdparams file, this project's or any other that `paddle.save` wrote; tensors come as arrays.

    Where `write` wrote the file, its checksum is verified.

    Raises:
        DamagedFile: the file is damaged, or of another kind.
        UserError: the file is missing or cannot be read.
    """
    data = file_bytes(path, start=b"\x80")
    signature = re.search(rb"sha256.{1,8}([0-9a-f]{64})", data[:300], re.DOTALL)
    if signature and _digest(data, signature.start(1)) != signature[1]:
        raise DamagedFile(f"{path} is damaged: its checksum does not fit its content")
    content = unpickle(data, path)
    if isinstance(content, dict):
        own = is_own(content)
        if own and not signature:
            raise DamagedFile(f"{path} is damaged: its checksum is missing")
        for name in WORDS if own else ("settings",):  # another program's parameters may have the other names
            if holds_array(content.get(name)):
                raise DamagedFile(f"{path} is damaged: there is an array in its {name}")
        content.pop("sha256", None)
    return content


def is_own(content: object) -> bool:
    """Tell whether `write` wrote this content of a file."""
    return isinstance(content, dict) and type(content.get("format")) is str and content["format"] == FORMAT


def file_bytes(path: str, most: int = MAX_BYTES, start: bytes = b"") -> bytes:
    """Read the content of a file; of a file that does not begin with `start`, just the beginning.

    Raises:
        DamagedFile: `path` is no ordinary file, or has more than `most` bytes.
        UserError: the file is missing or cannot be read.
    """
    with file_access("read", path):
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise DamagedFile(f"{path} cannot be used: it is a folder")
        if not stat.S_ISREG(status.st_mode) or status.st_size > most:
            raise DamagedFile(f"{path} cannot be used: it is no ordinary file of at most {most:,} bytes")
        with open(path, "rb") as file:
            head = file.read(2)
            return head + file.read(status.st_size) if head.startswith(start) else head


def _digest(data, at):
    """Compute the checksum of a file that has its own checksum at `at`."""
    digest = hashlib.sha256(data[:at] + UNSIGNED)
    digest.update(memoryview(data)[at + len(UNSIGNED) :])
    return digest.hexdigest().encode()


def previous(path: str) -> str:
    """Name the file before, as `write_latest` keeps it: `<run>_ckpt_prev.pdparams` for `<run>_ckpt.pdparams`."""
    root, extension = os.path.splitext(path)
    return f"{root}_prev{extension}"


def _read_own(path):
    content = read(path)
    if not is_own(content):
        raise DamagedFile(
            f"{path} cannot be used: it is no training of this program; its weights may serve with --weights"
        )
    return content


def read_latest(path: str) -> dict:
    """Read a file that `write_latest` wrote, or where it is missing the one before, with a message.

    Raises:
        UserError: the file is damaged; the message names the way to go on from the one before. Or there is neither.
    """
    before = previous(path)
    if not is_there(path) and os.path.exists(before):
        print(f"[*] {path} is missing: going on from the one before, {before}")
        return _read_own(before)
    try:
        return _read_own(path)
    except DamagedFile as error:
        try:
            _read_own(before)
        except UserError:
            raise DamagedFile(f"{error}; there is no whole one before it") from None
        advice = f"delete it to go on from the one before, {before}, or use just the weights of that with --weights"
        raise DamagedFile(f"{error}; {advice}={before}") from None


def state_from(content: object, path: str) -> dict[str, np.ndarray]:
    """Extract the weights from the content of a file.

    Args:
        content: what `read` returned: of this project's file (averaged weights first), of the older Paddle version's,
            or of a bare state dict.
        path: the file, for errors.

    Returns:
        The arrays by parameter name.

    Raises:
        UserError: there are no weights in it.
    """
    state = content
    if is_own(content):
        state = content.get("ema") or content.get("model")
    elif isinstance(content, dict) and "model_state" in content:
        state = content["model_state"]
    if not isinstance(state, dict) or not state or not all(type(v) is np.ndarray for v in state.values()):
        raise UserError(f"{path} holds no weights that this program knows")
    return state


# ---------------------------------------------------------------------------------------------------------- writing


def write(path: str, content: dict) -> None:
    """Write a checkpoint that `paddle.load` opens too: after a crash, `path` is the old file or the new one, whole.

    Args:
        path: the file; its folder must exist.
        content: a dictionary of arrays, numbers, strings, None, dictionaries with string keys, lists and tuples.
            A "format" is added where there is none, and a checksum.

    Raises:
        UserError: the file could not be written; the old one stands.
        TypeError: the content holds something else (a fault of the caller).
    """
    _replace(path, _pickled(content))


def write_latest(path: str, content: dict) -> None:
    """Write as `write` does, and keep the file before as `previous(path)`; at every instant `path` itself is whole."""
    _replace(path, _pickled(content), keep=previous(path))


def write_json(path: str, obj: object) -> None:
    """Write as `write` does, but indented JSON with sorted keys."""
    write_bytes(path, (json.dumps(obj, sort_keys=True, indent=2) + "\n").encode())


def write_bytes(path: str, data: bytes) -> None:
    """Write as `write` does, but just these bytes."""
    _replace(path, data)


def _pickled(content):
    import paddle

    header = {"format": FORMAT, "sha256": UNSIGNED.decode()}
    try:
        # A value takes up to five opcodes (an array more, but arrays are few): nothing is written that `read` refuses.
        content = plain({**header, **content, **header}, Budget(MAX_PARTS // 5, math.inf).charge)
    except Refused as error:
        raise TypeError(f"this content cannot be a checkpoint: {error}") from None
    buffer = io.BytesIO()
    paddle.save(content, buffer)
    data = buffer.getvalue()
    at = data.index(UNSIGNED)
    return b"".join((data[:at], _digest(data, at), data[at + len(UNSIGNED) :]))


def _replace(path, data, keep=None):
    path = os.fspath(path)
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.tmp")
    link = os.path.join(folder, f".{name}.{os.getpid()}.prev.tmp")
    with file_access("write", path, advice="; what was there before stands"):
        remove_leftovers(folder, rf"\.{re.escape(name)}\.(\d+)(\.prev)?\.tmp")  # of this very file
        try:
            with open(temporary, "xb") as file:  # "x" never follows a link
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if keep and os.path.isfile(path):
                _second_name(path, link)
                os.replace(link, keep)
            os.replace(temporary, path)
        finally:
            # os.replace between two names of one file leaves both, so the link may be there after a success too.
            for leftover in (temporary, link):
                if os.path.lexists(leftover):
                    os.remove(leftover)
        _sync_folder(folder)


def _second_name(path, link):
    try:
        os.link(path, link)
    except OSError:  # a file system without hard links
        with open(path, "rb") as source, open(link, "xb") as target:
            shutil.copyfileobj(source, target)
            target.flush()
            os.fsync(target.fileno())


def _sync_folder(folder):
    if os.name != "posix":
        return
    descriptor = os.open(folder or ".", os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot
            raise
    finally:
        os.close(descriptor)


def set_aside(paths: list[str], label: str, parent: str | None = None) -> str | None:
    """Move earlier files into a dated folder, `<parent>/old/<label>-<date>-<time>/`.

    Args:
        paths: files and folders that may or may not exist.
        label: the run name.
        parent: where that folder is made; None: beside the first.

    Returns:
        The folder, or None where there was nothing to move.

    Raises:
        UserError: a file could not be moved.
    """
    paths = [path for path in dict.fromkeys(map(os.fspath, paths)) if os.path.lexists(path)]
    if not paths:
        return None
    stamp = time.strftime("%Y-%m-%d-%H%M%S")
    folder = _free(os.path.join(os.path.dirname(paths[0]) if parent is None else parent, "old", f"{label}-{stamp}"))
    with file_access("move earlier files to", folder):
        os.makedirs(folder)
        for path in paths:
            shutil.move(path, _free(os.path.join(folder, os.path.basename(path))))
    return folder


def _free(path):
    """Return the first of `path`, `path-2`, `path-3`, ... that does not exist."""
    candidates = (path if number == 1 else f"{path}-{number}" for number in itertools.count(1))
    return next(candidate for candidate in candidates if not os.path.lexists(candidate))


# ---------------------------------------------------------------------------------------------------------- locking


class RunLock:
    """A lock that one process at a time holds, in `with RunLock(path):`; it ends with its process.

    Args:
        path: the lock file, `<folder>/<run>.lock`; the folder is made. A file that is left does no harm.

    Raises:
        UserError: another process holds the lock, or the file cannot be made.
    """

    def __init__(self, path: str):
        self.path = os.fspath(path)

    def __enter__(self):
        with file_access("write", self.path):
            os.makedirs(os.path.dirname(self.path) or ".", exist_ok=True)
            self.file = open(self.path, "a+b", buffering=0)
        if not self._lock():
            self.file.seek(0)
            pid = re.sub(r"\D", "", self.file.read(20).decode("latin1")) or "unknown"
            self.file.close()
            run = os.path.splitext(os.path.basename(self.path))[0]
            raise UserError(
                f"the run {run} is in use by process {pid}, which writes to {os.path.dirname(self.path) or '.'}; "
                "two at once would destroy each other's files"
            )
        try:
            self.file.truncate(0)
            self.file.write(str(os.getpid()).encode())
        except OSError:  # the disk is full: the lock holds all the same
            pass
        return self

    def __exit__(self, *_):
        self.file.close()  # unlocks; the file stays, since another process may hold it by now

    def _lock(self):
        try:
            if fcntl:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            elif msvcrt:
                self.file.seek(2**20)  # on Windows others cannot read what is locked, and they need the process number
                msvcrt.locking(self.file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            # Where the file system has no locks, the training runs without one.
            return error.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
        return True
