"""Read pickles of arrays from untrusted sources.

Unpickling runs whatever code a file names. Here is a small interpreter for the part of the pickle language that
`paddle.save` uses. Nothing that a file names is imported or called: a global is only a key into a table of nine
functions of this module, and every length is checked against the bytes that are really there.
"""

from __future__ import annotations

import math
import struct
import sys

import numpy as np

from utils import UserError

PADDLE_NAMES = "StructuredToParameterName@@"  # paddle.save adds it to a bare state dict; only paddle.load needs it
MAX_PARTS, MAX_DEPTH = 10**6, 32  # a checkpoint of this project has about 10**4 parts, and depth 5


class DamagedFile(UserError):
    """A readable file that is damaged, or holds more than arrays, numbers, strings and the like."""


class Refused(ValueError):
    """The reason for refusing a file; the message begins with "it"."""


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


class Budget:
    """A limit that keeps time and memory in proportion to the file, however often the file refers to its own parts."""

    def __init__(self, parts, size):
        self.parts, self.size = parts, size

    def charge(self, size=0):
        self.parts, self.size = self.parts - 1, self.size - size
        if self.parts < 0 or self.size < 0:
            raise Refused("it has too many parts, or unfolds to more than its size")


class Machine:
    """The interpreter of one pickle."""

    def __init__(self, data):
        self.code, self.data, self.at = data, memoryview(data), 0
        self.charge = Budget(min(MAX_PARTS, 2 * len(data)), 2 * len(data)).charge
        self.calls = {
            "collections.OrderedDict": lambda: {},
            "builtins.tuple": self.tuple,
            "builtins.bytes": lambda: b"",  # protocol 2 writes b"" by this
            "_codecs.encode": self.encode,  # and all other bytes by this
            "numpy.dtype": self.dtype,
            "numpy.ndarray": _NDARRAY,
            "numpy.core.multiarray._reconstruct": self.reconstruct,
            "numpy.core.multiarray.scalar": self.scalar,
            "numpy.core.numeric._frombuffer": self.frombuffer,
        }

    def take(self, count):
        if count > len(self.data) - self.at:
            raise Refused("it ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def size(self, width):
        return int.from_bytes(self.take(width), "little")

    def line(self):
        end = self.code.find(b"\n", self.at, self.at + 100)
        if end < 0:
            raise Refused("it ends too early")
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
                    raise Refused("it calls what is no function")
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
                    raise Refused("it does not end where it should")
                return plain(stack[0], self.charge)
            elif not op:
                raise Refused("it ends too early")
            else:
                raise Refused(f"it has the opcode {ascii(op)[1:]}, which paddle.save never writes")
        raise Refused("it has too many parts")

    def append(self, target, items):
        if type(target) is not list:
            raise Refused("it appends to what is no list")
        target.extend(items)

    def set(self, target, items):
        # Strings only: hashing a crafted tuple, or a crafted row of integers, can take forever.
        if type(target) is not dict or any(type(key) is not str for key in items[::2]):
            raise Refused("it has a dictionary whose keys are not strings")
        for i in range(0, len(items), 2):
            target[items[i]] = items[i + 1]

    def find(self, module, name):
        if type(module) is not str or type(name) is not str:
            raise Refused("it asks for something without a name")
        # Python 2 and 3, and NumPy 1 and 2, spell the same things differently.
        key = f"{module}.{name}".replace("__builtin__.", "builtins.").replace("numpy._core.", "numpy.core.")
        if key not in self.calls:
            raise Refused(f"it asks for {ascii(key[:60])}, which no file of arrays and numbers needs")
        return self.calls[key]

    def build(self, target, state):
        if type(target) is _Dtype and type(state) is tuple and state[1] in ("<", ">", "|", "="):
            target.order = state[1]
        elif type(target) is _Array and target.view is None and type(state) is tuple:
            _, shape, dtype, fortran, raw = state
            target.view = self.view(raw, dtype, shape, "F" if fortran is True else "C")
        else:
            raise Refused("it sets the state of something that has none")

    def view(self, raw, dtype, shape, order):
        raw = self.encode(raw, "latin1") if type(raw) is str else raw  # one type for both in Python 2
        if type(dtype) is not _Dtype or type(raw) not in (bytes, memoryview) or type(shape) is not tuple:
            raise Refused("it has a malformed array")
        if len(shape) > 32 or any(type(n) is not int or not 0 <= n < 2**40 for n in shape):
            raise Refused("it has an array of an impossible shape")
        if math.prod(shape) * int(dtype.name[1:]) != len(raw):
            raise Refused("it has an array whose shape does not fit its bytes")
        return np.ndarray(shape, dtype.order + dtype.name, buffer=raw, order=order)

    # The functions that a file may call.

    def tuple(self, pair):  # paddle.save writes a tensor inside a dictionary as tuple((name, array))
        if type(pair) is not tuple or len(pair) != 2 or type(pair[1]) is not _Array:
            raise Refused("it has a malformed tensor")
        return pair[1]

    def encode(self, text, coding):
        if coding != "latin1":
            raise Refused("it has malformed bytes")
        self.charge(len(text))
        return str.encode(text, "latin1")

    def dtype(self, name, align=False, copy=True):
        if type(name) is not str or name not in _DTYPES:
            raise Refused("it has an array of something other than numbers")
        return _Dtype(name)

    def reconstruct(self, cls, shape, code):
        if cls is not _NDARRAY:
            raise Refused("it has an array of a foreign class")
        return _Array()

    def scalar(self, dtype, raw):
        return self.view(raw, dtype, (), "C").item()

    def frombuffer(self, raw, dtype, shape, order):
        return _Array(self.view(raw, dtype, shape, "F" if order == "F" else "C"))


def plain(value, charge, depth=0):
    """Copy a tree into plain types, and equal strings into one object, so that equal contents give equal files."""
    charge()
    if type(value) is int and value.bit_length() > 1024:
        raise Refused("it has a number of more than 1024 bits")
    if value is None or type(value) in (bool, int, float):
        return value
    if type(value) is str:
        return sys.intern(value)
    if type(value) is _Array and value.view is not None:
        if value.copy is None:
            charge(value.view.nbytes)
            value.copy = plain(value.view, charge)
        return value.copy
    if isinstance(value, np.generic) and value.dtype.str[1:] in _DTYPES:
        return value.item()
    if type(value) is np.ndarray and value.dtype.str[1:] in _DTYPES:
        return np.array(value, dtype=value.dtype.str[1:], order="C")
    if depth == MAX_DEPTH:
        raise Refused("it is nested too deeply")
    if type(value) is dict:
        if any(type(key) is not str for key in value):
            raise Refused("it has a dictionary whose keys are not strings")
        return {sys.intern(k): plain(v, charge, depth + 1) for k, v in value.items() if k != PADDLE_NAMES}
    if type(value) in (list, tuple):
        return type(value)([plain(item, charge, depth + 1) for item in value])
    raise Refused("it holds something other than arrays, numbers, strings, dictionaries, lists and tuples")


def holds_array(value: object) -> bool:
    """Tell whether there is an array somewhere in a plain tree."""
    if isinstance(value, dict):
        return any(map(holds_array, value.values()))
    return type(value) is np.ndarray or (isinstance(value, (list, tuple)) and any(map(holds_array, value)))


def unpickle(data: bytes, name: str) -> object:
    """Read a pickle of arrays, numbers, strings, None, dictionaries, lists and tuples; nothing in it is run.

    Args:
        data: the pickle, protocol 2 to 5.
        name: its name in an error.

    Raises:
        DamagedFile: the pickle is damaged, or holds anything else.
    """
    try:
        if data[:1] != b"\x80":
            why = "is a zip archive, as PyTorch writes them" if data[:2] == b"PK" else "was not written by paddle.save"
            raise Refused(f"it {why}" if data else "it is empty")
        return Machine(data).run()
    except Refused as error:
        raise DamagedFile(f"{name} cannot be used: {error}") from None
    except (ArithmeticError, LookupError, TypeError, ValueError, MemoryError, RecursionError, struct.error) as error:
        raise DamagedFile(f"{name} cannot be used: it is malformed ({type(error).__name__})") from None
