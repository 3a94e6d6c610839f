"""Checkpoint files: read without trusting them, written so that a crash at any instant leaves a whole one.

`paddle.load` unpickles, and unpickling runs whatever code the file asks for. The reader here is therefore a small
interpreter of its own for the part of the pickle language that `paddle.save` uses. It imports nothing and calls
nothing that a file names: a global is only a key into a table of seven functions of this file, and every length is
held against the bytes that are really there.

Nothing here knows the model.
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
import struct
import sys
import time

import numpy as np

from utils import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
try:
    import msvcrt
except ImportError:  # everywhere else
    msvcrt = None

FORMAT = "ram-paddle"
UNSIGNED = b"0" * 64  # stands in the file for its own checksum while that is computed
PADDLE_NAMES = "StructuredToParameterName@@"  # paddle.save adds it to a bare state dict; only paddle.load needs it
MAX_BYTES, MAX_PARTS, MAX_DEPTH = 2**32, 10**6, 32  # a checkpoint of ours has about 5 MB, 10**4 parts, depth 5


class DamagedFile(UserError):
    """The file is there and readable, but is damaged, or asks for more than arrays, numbers, strings and the like."""


class _Refused(ValueError):
    """Why a file is refused, in words that follow "it"."""


# ---------------------------------------------------------------------------------------------------------- reading


class _Dtype:
    """A NumPy dtype in the making: its byte order comes in a BUILD opcode, after the memo has handed it out."""

    def __init__(self, name):
        self.name, self.order = name, "<"


class _Array:
    """An array in the making: its shape and bytes come in a BUILD opcode, after the memo has handed it out."""

    def __init__(self, view=None):
        self.view, self.copy = view, None


_DTYPES = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}  # Paddle keeps bfloat16 as u2
_CONSTANTS = {b"N": None, b"\x88": True, b"\x89": False, b")": ()}
_NEW = {b"}": dict, b"]": list}
_NUMBERS = {b"K": "<B", b"M": "<H", b"J": "<i", b"G": ">d"}
# Opcode: how many bytes its length or its memo number takes. U and T are the strings of Python 2; T are array bytes.
_TEXTS = {b"\x8c": 1, b"X": 4, b"\x8d": 8, b"U": 1}
_BYTES = {b"C": 1, b"B": 4, b"\x8e": 8, b"\x96": 8, b"T": 4}
_PUT, _GET = {b"q": 1, b"r": 4}, {b"h": 1, b"j": 4}
_TUPLE = {b"\x85": 1, b"\x86": 2, b"\x87": 3}
_NDARRAY = object()  # stands for the class, which a file may name but not call


class _Budget:
    """What keeps time and memory in proportion to the file, however often it refers to its own parts."""

    def __init__(self, parts, size):
        self.parts, self.size = parts, size

    def charge(self, size=0):
        self.parts, self.size = self.parts - 1, self.size - size
        if self.parts < 0 or self.size < 0:
            raise _Refused("it has too many parts, or unfolds to more than its size")


class _Machine:
    """Runs one pickle."""

    def __init__(self, data):
        self.code, self.data, self.at = data, memoryview(data), 0
        self.charge = _Budget(min(MAX_PARTS, 2 * len(data)), 2 * len(data)).charge
        self.calls = {
            "collections.OrderedDict": lambda: {},
            "builtins.tuple": self.tuple,
            "builtins.bytes": lambda: b"",  # so protocol 2 writes b""
            "_codecs.encode": self.encode,  # and so any other bytes
            "numpy.dtype": self.dtype,
            "numpy.ndarray": _NDARRAY,
            "numpy.core.multiarray._reconstruct": self.reconstruct,
            "numpy.core.multiarray.scalar": self.scalar,
            "numpy.core.numeric._frombuffer": self.frombuffer,
        }

    def take(self, count):
        if count > len(self.data) - self.at:
            raise _Refused("it ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def size(self, width):
        return int.from_bytes(self.take(width), "little")

    def line(self):
        end = self.code.find(b"\n", self.at, self.at + 100)
        if end < 0:
            raise _Refused("it ends too early")
        return str(self.take(end + 1 - self.at)[:-1], "ascii")

    def run(self):
        stack, outer, memo = [], [], {}
        for _ in range(MAX_PARTS):
            op = self.code[self.at : self.at + 1]
            self.at += 1
            if op in _GET:
                stack.append(memo[self.size(_GET[op])])
            elif op in _PUT:
                memo[self.size(_PUT[op])] = stack[-1]
            elif op == b"\x94":  # MEMOIZE
                memo[len(memo)] = stack[-1]
            elif op in _NUMBERS:
                stack.append(struct.unpack(_NUMBERS[op], self.take(struct.calcsize(_NUMBERS[op])))[0])
            elif op in _TEXTS:
                coding = "latin1" if op == b"U" else "utf-8"
                stack.append(str(self.take(self.size(_TEXTS[op])), coding, "surrogatepass"))
            elif op in _BYTES:
                stack.append(self.take(self.size(_BYTES[op])))
            elif op == b"\x8a":  # LONG1
                stack.append(int.from_bytes(self.take(self.size(1)), "little", signed=True))
            elif op in _CONSTANTS:
                stack.append(_CONSTANTS[op])
            elif op in _NEW:
                stack.append(_NEW[op]())
            elif op == b"(":
                outer.append(stack)
                stack = []
            elif op in (b"t", b"e", b"u"):  # TUPLE, APPENDS, SETITEMS: what stands after the mark
                items, stack = stack, outer.pop()
                if op == b"t":
                    stack.append(tuple(items))
                else:
                    (self.append if op == b"e" else self.set)(stack[-1], items)
            elif op in _TUPLE:
                items = [stack.pop() for _ in range(_TUPLE[op])]
                stack.append(tuple(reversed(items)))
            elif op == b"a":
                item = stack.pop()
                self.append(stack[-1], [item])
            elif op == b"s":
                value, key = stack.pop(), stack.pop()
                self.set(stack[-1], [key, value])
            elif op == b"c":
                stack.append(self.find(self.line(), self.line()))
            elif op == b"\x93":  # STACK_GLOBAL
                name, module = stack.pop(), stack.pop()
                stack.append(self.find(module, name))
            elif op == b"R":
                arguments, call = stack.pop(), stack.pop()
                if not callable(call) or type(arguments) is not tuple:  # all callables here come from `find`
                    raise _Refused("it calls what is no function")
                stack.append(call(*arguments))
            elif op == b"b":
                state = stack.pop()
                self.build(stack[-1], state)
            elif op == b"\x80" and self.size(1) in range(2, 6):  # PROTO
                pass
            elif op == b"\x95":  # FRAME
                self.size(8)
            elif op == b".":
                if len(stack) != 1 or outer or self.at != len(self.data):
                    raise _Refused("it does not end where it should")
                return _plain(stack[0], self.charge)
            elif not op:
                raise _Refused("it ends too early")
            else:
                raise _Refused(f"it has the opcode {ascii(op)[1:]}, which paddle.save never writes")
        raise _Refused("it has too many parts")

    def append(self, target, items):
        if type(target) is not list:
            raise _Refused("it appends to what is no list")
        target.extend(items)

    def set(self, target, items):
        # Strings only: to hash a crafted tuple, or a crafted row of integers, can take for ever.
        if type(target) is not dict or any(type(key) is not str for key in items[::2]):
            raise _Refused("it has a dictionary whose keys are not strings")
        for i in range(0, len(items), 2):
            target[items[i]] = items[i + 1]

    def find(self, module, name):
        if type(module) is not str or type(name) is not str:
            raise _Refused("it asks for something without a name")
        # Python 2 and 3, and NumPy 1 and 2, spell the same things differently.
        key = f"{module}.{name}".replace("__builtin__.", "builtins.").replace("numpy._core.", "numpy.core.")
        if key not in self.calls:
            raise _Refused(f"it asks for {ascii(key[:60])}, which no file of arrays and numbers needs")
        return self.calls[key]

    def build(self, target, state):
        if type(target) is _Dtype and type(state) is tuple and state[1] in ("<", ">", "|", "="):
            target.order = state[1]
        elif type(target) is _Array and target.view is None and type(state) is tuple:
            _, shape, dtype, fortran, raw = state
            target.view = self.view(raw, dtype, shape, "F" if fortran is True else "C")
        else:
            raise _Refused("it sets the state of something that has none")

    def view(self, raw, dtype, shape, order):
        raw = self.encode(raw, "latin1") if type(raw) is str else raw  # one type for both in Python 2
        if type(dtype) is not _Dtype or type(raw) not in (bytes, memoryview) or type(shape) is not tuple:
            raise _Refused("it has a malformed array")
        if len(shape) > 32 or any(type(n) is not int or not 0 <= n < 2**40 for n in shape):
            raise _Refused("it has an array of an impossible shape")
        if math.prod(shape) * int(dtype.name[1:]) != len(raw):
            raise _Refused("it has an array whose shape does not fit its bytes")
        return np.ndarray(shape, dtype.order + dtype.name, buffer=raw, order=order)

    # What a file may call.

    def tuple(self, pair):  # paddle.save writes a tensor inside a dictionary as tuple((name, array))
        if type(pair) is not tuple or len(pair) != 2 or type(pair[1]) is not _Array:
            raise _Refused("it has a malformed tensor")
        return pair[1]

    def encode(self, text, coding):
        if coding != "latin1":
            raise _Refused("it has malformed bytes")
        self.charge(len(text))
        return str.encode(text, "latin1")

    def dtype(self, name, align=False, copy=True):
        if type(name) is not str or name not in _DTYPES:
            raise _Refused("it has an array of something other than numbers")
        return _Dtype(name)

    def reconstruct(self, cls, shape, code):
        if cls is not _NDARRAY:
            raise _Refused("it has an array of a foreign class")
        return _Array()

    def scalar(self, dtype, raw):
        return self.view(raw, dtype, (), "C").item()

    def frombuffer(self, raw, dtype, shape, order):
        return _Array(self.view(raw, dtype, shape, "F" if order == "F" else "C"))


def _plain(value, charge, depth=0):
    """Copy a tree into plain types, equal strings into the same object: equal contents give equal files."""
    charge()
    if type(value) is int and value.bit_length() > 1024:
        raise _Refused("it has a number of more than 1024 bits")
    if value is None or type(value) in (bool, int, float):
        return value
    if type(value) is str:
        return sys.intern(value)
    if type(value) is _Array and value.view is not None:
        if value.copy is None:
            charge(value.view.nbytes)
            value.copy = _plain(value.view, charge)
        return value.copy
    if isinstance(value, np.generic) and value.dtype.str[1:] in _DTYPES:
        return value.item()
    if type(value) is np.ndarray and value.dtype.str[1:] in _DTYPES:
        return np.array(value, dtype=value.dtype.str[1:], order="C")
    if depth == MAX_DEPTH:
        raise _Refused("it is nested too deeply")
    if type(value) is dict:
        if any(type(key) is not str for key in value):
            raise _Refused("it has a dictionary whose keys are not strings")
        return {sys.intern(k): _plain(v, charge, depth + 1) for k, v in value.items() if k != PADDLE_NAMES}
    if type(value) in (list, tuple):
        return type(value)([_plain(item, charge, depth + 1) for item in value])
    raise _Refused("it holds something other than arrays, numbers, strings, dictionaries, lists and tuples")


def unpickle(data: bytes, name: str) -> object:
    """The content of a pickle of arrays, numbers, strings, None, dictionaries, lists and tuples; nothing is run.

    Args:
        data: the pickle, protocol 2 to 5.
        name: what to call it in an error.

    Raises:
        DamagedFile: it is damaged, or asks for anything else.
    """
    try:
        if data[:1] != b"\x80":
            why = "is a zip archive, as PyTorch writes them" if data[:2] == b"PK" else "was not written by paddle.save"
            raise _Refused(f"it {why}" if data else "it is empty")
        return _Machine(data).run()
    except _Refused as error:
        raise DamagedFile(f"{name} cannot be used: {error}") from None
    except (ArithmeticError, LookupError, TypeError, ValueError, MemoryError, RecursionError, struct.error) as error:
        raise DamagedFile(f"{name} cannot be used: it is malformed ({type(error).__name__})") from None


def read(path: str) -> object:
    """The content of a .pdparams file, this project's or any other that `paddle.save` wrote; tensors come as arrays.

    A file that `write` wrote is also held against its checksum.

    Raises:
        DamagedFile: it is damaged, or a file of another kind.
        UserError: it is missing or cannot be read.
    """
    data = _bytes_of(path)
    signature = re.search(rb"sha256.{1,8}([0-9a-f]{64})", data[:300], re.DOTALL)
    if signature and _digest(data, signature.start(1)) != signature[1]:
        raise DamagedFile(f"{path} is damaged: its checksum does not fit its content")
    content = unpickle(data, path)
    if isinstance(content, dict):
        if content.get("format") == FORMAT and not signature:
            raise DamagedFile(f"{path} is damaged: its checksum is missing")
        content.pop("sha256", None)
    return content


def _bytes_of(path):
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise DamagedFile(f"{path} cannot be used: it is a folder")
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            raise DamagedFile(f"{path} cannot be used: it is no ordinary file of at most {MAX_BYTES:,} bytes")
        with open(path, "rb") as file:
            head = file.read(2)  # enough to know another program's file by, however large
            return head + file.read(status.st_size) if head[:1] == b"\x80" else head
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None


def _digest(data, at):
    """The checksum of a file whose own checksum stands at `at`."""
    digest = hashlib.sha256(data[:at] + UNSIGNED)
    digest.update(memoryview(data)[at + len(UNSIGNED) :])
    return digest.hexdigest().encode()


def previous(path: str) -> str:
    """Where `write_latest` keeps the file before: `<run>_ckpt_prev.pdparams` for `<run>_ckpt.pdparams`."""
    root, extension = os.path.splitext(path)
    return f"{root}_prev{extension}"


def _read_own(path):
    content = read(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DamagedFile(
            f"{path} cannot be used: it is no training of this program; its weights may serve with --weights"
        )
    return content


def read_latest(path: str) -> dict:
    """As `read`, for a file that `write_latest` wrote. Where it is missing, the one before serves, with a message.

    Raises:
        UserError: it is damaged, with the way to go on from the one before; or there is neither.
    """
    before = previous(path)
    if not os.path.lexists(path) and os.path.exists(before):
        print(f"[*] {path} is missing: going on from the one before, {before}")
        return _read_own(before)
    try:
        return _read_own(path)
    except DamagedFile as error:
        try:
            _read_own(before)
        except UserError:
            raise DamagedFile(f"{error}; there is no whole one before it") from None
        offer = f"delete it to go on from the one before, {before}, or use just the weights of that with --weights"
        raise DamagedFile(f"{error}; {offer}={before}") from None


def state_from(content: object, path: str) -> dict[str, np.ndarray]:
    """The weights in whatever `read` returned: this project's file (averaged weights first), the seed's, or a bare
    state dict.

    Args:
        content: what `read` returned.
        path: the file it came from, for errors.

    Returns:
        a dictionary of NumPy arrays by parameter name.

    Raises:
        UserError: there are no weights in it.
    """
    state = content
    if isinstance(content, dict) and content.get("format") == FORMAT:
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
        UserError: it could not be written; the old file stands.
        TypeError: the content holds something else (a fault of the caller).
    """
    _replace(path, _pickled(content))


def write_latest(path: str, content: dict) -> None:
    """As `write`, but keeps the file before as `previous(path)`. At every instant `path` itself is whole."""
    _replace(path, _pickled(content), keep=previous(path))


def write_json(path: str, obj: object) -> None:
    """As `write`, but as indented JSON text with sorted keys."""
    _replace(path, (json.dumps(obj, sort_keys=True, indent=2) + "\n").encode())


def _pickled(content):
    import paddle

    header = {"format": FORMAT, "sha256": UNSIGNED.decode()}
    try:
        # A value takes up to five opcodes (an array more, but they are few): what is too much to read is not written.
        content = _plain({**header, **content, **header}, _Budget(MAX_PARTS // 5, math.inf).charge)
    except _Refused as error:
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
    try:
        _sweep(folder, name)
        try:
            with open(temporary, "xb") as file:  # "x": never through a link that somebody left there
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
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; what was there before stands") from None


def _second_name(path, link):
    try:
        os.link(path, link)
    except OSError:  # a file system without hard links
        with open(path, "rb") as source, open(link, "xb") as target:
            shutil.copyfileobj(source, target)
            target.flush()
            os.fsync(target.fileno())


def _sweep(folder, name):
    """Remove what a killed process left of this very file."""
    for entry in os.listdir(folder or "."):
        match = re.fullmatch(rf"\.{re.escape(name)}\.(\d+)(\.prev)?\.tmp", entry)
        if match and not _alive(int(match[1])):
            try:
                os.remove(os.path.join(folder, entry))
            except OSError:
                pass


def _alive(pid):
    if os.name != "posix":  # there os.kill would end the process, and a file that is in use cannot be removed anyway
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return pid != os.getpid()  # one of an earlier process with this number, as containers hand them out again


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


def set_aside(paths: list[str], label: str) -> str | None:
    """Move what is left of an earlier run into a dated folder, `old/<label>-<date>-<time>/` beside the first.

    Args:
        paths: files that may or may not exist.
        label: the run name.

    Returns:
        the folder, or None where there was nothing to move.

    Raises:
        UserError: a file could not be moved.
    """
    paths = [os.fspath(path) for path in paths if os.path.lexists(path)]
    if not paths:
        return None
    stamp = time.strftime("%Y-%m-%d-%H%M%S")
    folder = _free(os.path.join(os.path.dirname(paths[0]), "old", f"{label}-{stamp}"))
    try:
        os.makedirs(folder)
        for path in paths:
            shutil.move(path, _free(os.path.join(folder, os.path.basename(path))))
    except OSError as error:
        raise UserError(f"cannot move the files of an earlier run to {folder}: {error.strerror or error}") from None
    return folder


def _free(path):
    """`path`, or the first of `path-2`, `path-3`, ... that does not exist."""
    candidates = (path if number == 1 else f"{path}-{number}" for number in itertools.count(1))
    return next(candidate for candidate in candidates if not os.path.lexists(candidate))


# ---------------------------------------------------------------------------------------------------------- locking


class RunLock:
    """`with RunLock(path):` only one process at a time. The lock dies with its process; a left file does no harm.

    Args:
        path: the lock file, `<folder>/<run>.lock`; the folder is made.

    Raises:
        UserError: another process has it, or the file cannot be made.
    """

    def __init__(self, path: str):
        self.path = os.fspath(path)

    def __enter__(self):
        try:
            os.makedirs(os.path.dirname(self.path) or ".", exist_ok=True)
            self.file = open(self.path, "a+b", buffering=0)
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror or error}") from None
        if not self._lock():
            self.file.seek(0)
            pid = re.sub(r"\D", "", self.file.read(20).decode("latin1")) or "unknown"
            self.file.close()
            run = os.path.splitext(os.path.basename(self.path))[0]
            raise UserError(f"the run {run} is in use by process {pid}; two at once would destroy each other's files")
        try:
            self.file.truncate(0)
            self.file.write(str(os.getpid()).encode())
        except OSError:  # the disk is full: the lock holds all the same
            pass
        return self

    def __exit__(self, *_):
        self.file.close()  # unlocks; the file stays, since removing it could remove another's

    def _lock(self):
        try:
            if fcntl:
                fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            elif msvcrt:
                self.file.seek(2**20)  # Windows bars others from reading what is locked, and they want the number
                msvcrt.locking(self.file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            # Where the file system has no locks, training goes on without.
            return error.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
        return True
