"""Checkpoint files: what paddle.save wrote is read, what is hostile or damaged is refused, a crash loses nothing."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import signal
import struct
import subprocess
import sys
import textwrap
import time
import types
import zipfile

import helpers
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from ram.runs import checkpoint, unpickle
from ram.runs.checkpoint import DamagedFile, read, read_latest, set_aside, state_from, write, write_json, write_latest
from utils import UserError

ROOT = str(helpers.ROOT)
posix = pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")


def same(a, b):
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or a != a and b != b)


def content(seed=0, size=50):
    rng = np.random.default_rng(seed)
    state = {"sensor.fc1.weight": rng.normal(size=(size, 7)).astype("f4"), "rnn.bias": np.float32([1, np.nan, -0.0])}
    return {
        "format": "ram-paddle",
        "model": state,
        "ema": None,
        "optim": {"moment": rng.normal(size=3), "LR_Scheduler": {"last_epoch": 3, "last_lr": 1e-3}},
        "history": [{"epoch": e, "val_acc": 97.5 + e, "ok": True} for e in range(3)],
        "big": 2**63 - 1,
        "negative": -(2**40),
        "text": "Grüße\n\0",
        "pair": (1, 2.5),
        "named": ("name", np.ones(2)),
        "odd": [
            np.zeros((0, 3), "i8"),
            np.array(True),
            np.arange(6, dtype="u2").reshape(2, 3),
            float("inf"),
            [],
            {},
            (),
        ],
        "seed": seed,
    }


def the_line(error):
    text = str(error.value)
    assert "\n" not in text and len(text) < 600
    return text


def litter(folder):
    return [name for name in os.listdir(folder) if name.endswith(".tmp")]


# ---------------------------------------------------------------------------------------------- what Paddle wrote


def trained(scheduler):
    import paddle

    layer = paddle.nn.Linear(3, 2)
    rate = paddle.optimizer.lr.ReduceOnPlateau(0.1, mode="max") if scheduler else 0.1
    adam = paddle.optimizer.Adam(learning_rate=rate, parameters=layer.parameters())
    layer(paddle.ones([1, 3])).sum().backward()
    adam.step()
    return layer, adam


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("scheduler", [False, True])
def test_reads_what_this_paddle_saves(tmp_path, protocol, scheduler):
    import paddle

    layer, adam = trained(scheduler)
    weights = {name: value.numpy() for name, value in layer.state_dict().items()}
    path = str(tmp_path / "a.pdparams")
    paddle.save(layer.state_dict(), path, protocol=protocol)
    assert same(read(path), weights)
    assert same(state_from(read(path), path), weights)

    whole = {"epoch": 5, "model_state": layer.state_dict(), "optim_state": adam.state_dict(), "best_valid_acc": 98.0}
    paddle.save(whole, path, protocol=protocol)
    found = read(path)
    assert list(found) == list(whole) and found["epoch"] == 5 and found["best_valid_acc"] == 98.0
    assert same(found["model_state"], weights) and same(state_from(found, path), weights)
    moments = {k: v.numpy() for k, v in adam.state_dict().items() if k != "LR_Scheduler"}
    assert same({k: v for k, v in found["optim_state"].items() if k != "LR_Scheduler"}, moments)
    assert ("LR_Scheduler" in found["optim_state"]) == scheduler
    assert all(value.flags.writeable for value in weights.values())

    paddle.save(adam.state_dict(), path, protocol=protocol)
    assert same({k: v for k, v in read(path).items() if k != "LR_Scheduler"}, moments)


class Tensor:
    """Pickles as Paddle's tensors have done since 2.1, whichever Paddle is installed."""

    def __init__(self, name, array):
        self.name, self.array = name, array

    def __reduce__(self):
        return tuple, ((self.name, self.array),)


def respelt(data, old, new):
    """The pickle as another NumPy would have written it; the reader, like pickle's own in C, needs no exact frames."""
    for module in (".multiarray", ".numeric"):
        for width in ("<B", "<I"):  # protocol 4's short strings, protocol 2's plain lines need no length
            a, b = old + module, new + module
            data = data.replace(struct.pack(width, len(a)) + a.encode(), struct.pack(width, len(b)) + b.encode())
        data = data.replace(f"c{a}\n".encode(), f"c{b}\n".encode())
    return data


@pytest.mark.parametrize("numpy_1", [False, True])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reads_the_structure_of_the_published_checkpoint(tmp_path, protocol, numpy_1):
    from collections import OrderedDict

    weight = np.arange(6, dtype="f4").reshape(2, 3)
    saved = {
        "epoch": 87,
        "model_state": OrderedDict(a=Tensor("linear_0.w_0", weight), b=Tensor("linear_0.b_0", np.zeros(0, "f4"))),
        "optim_state": {"linear_0.w_0_moment1_0": Tensor("linear_0.w_0_moment1_0", weight.T), "LR_Scheduler": {}},
        "best_valid_acc": np.float64(98.25),
        "big_endian": weight.astype(">f4"),
        "bytes": np.frombuffer(bytes(range(256)), "u1"),
    }
    names = ("numpy._core", "numpy.core") if numpy_1 else ("numpy.core", "numpy._core")
    path = tmp_path / "seed.pdparams"
    path.write_bytes(respelt(pickle.dumps(saved, protocol), *names))
    assert names[0].encode() not in path.read_bytes()
    found = read(path)
    assert same(found["model_state"], {"a": weight, "b": np.zeros(0, "f4")})
    assert same(found["optim_state"], {"linear_0.w_0_moment1_0": weight.T.copy(), "LR_Scheduler": {}})
    assert same(found["best_valid_acc"], 98.25)
    assert same(found["big_endian"], weight)
    assert same(found["bytes"], np.arange(256, dtype="u1"))


def test_reads_arrays_pickled_by_python_2():
    head = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85"
    dtype = b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    for string in (b"U\x08", b"T\x08\0\0\0"):
        data = head + dtype + string + np.float32([1.5, -2]).tobytes() + b"tb."
        assert same(unpickle.unpickle(data, "data"), np.float32([1.5, -2]))


def test_our_own_file(tmp_path):
    import paddle

    path = str(tmp_path / "a.pdparams")
    write(path, content())
    assert same(read(path), content())
    whole = paddle.load(path, return_numpy=True)
    assert set(whole) == {*content(), "sha256"}
    assert same(whole["model"], content()["model"])
    first = (tmp_path / "a.pdparams").read_bytes()
    write(path, read(path))
    assert (tmp_path / "a.pdparams").read_bytes() == first, "equal contents give equal files"
    write(path, {"loss": np.float32(0.5), "n": np.int64(3), "view": np.arange(9)[::2], "be": np.ones(2, ">f8")})
    found = read(path)
    expected = {"format": "ram-paddle", "loss": 0.5, "n": 3, "view": np.arange(9)[::2], "be": np.ones(2)}
    assert same(found, expected)
    assert type(found["loss"]) is float and type(found["n"]) is int and found["be"].dtype == np.float64


numbers = st.integers(-(2**70), 2**70) | st.floats() | st.booleans() | st.none()
shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)
arrays = st.builds(
    lambda shape, kind, order: np.arange(np.prod(shape, dtype=int)).astype(kind).reshape(shape, order=order),
    *(shapes, st.sampled_from(["?", "i1", "i8", "u2", "f2", "f4", "f8", ">f4", ">i4"]), st.sampled_from("CF")),
)
trees = st.recursive(
    numbers | st.text() | arrays,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.lists(inner).map(tuple),
)


@settings(max_examples=200, deadline=None)
@given(tree=trees, protocol=st.integers(2, 5))
def test_whatever_python_pickles_is_read_as_it_was(tree, protocol):
    def native(value):
        if isinstance(value, np.ndarray):
            return value.astype(value.dtype.newbyteorder("="))
        if isinstance(value, dict):
            return {key: native(item) for key, item in value.items()}
        return type(value)(map(native, value)) if isinstance(value, (list, tuple)) else value

    # Twice the same part, since pickles write that once. The text makes room for it in the budget.
    found = unpickle.unpickle(pickle.dumps([tree, tree, "." * 1000], protocol), "file")
    assert same(found, native([tree, tree, "." * 1000]))


def test_what_cannot_be_read_back_is_not_written(tmp_path):
    path = str(tmp_path / "a.pdparams")
    for value in (
        {1: 2},
        {1, 2},
        b"bytes",
        object(),
        np.array([None]),
        np.array("text"),
        1j,
        2**1024,
        np.zeros(1, "f4,f4"),
    ):
        with pytest.raises(TypeError):
            write(path, {"value": value})
    assert os.listdir(tmp_path) == []


def test_state_from(tmp_path):
    a, b = {"w": np.ones(2)}, {"w": np.zeros(2)}
    assert state_from({"format": "ram-paddle", "model": a, "ema": b}, "f") is b
    assert state_from({"format": "ram-paddle", "model": a, "ema": None}, "f") is a
    assert state_from({"format": "ram-paddle", "model": a}, "f") is a
    assert state_from({"epoch": 1, "model_state": a, "optim_state": b}, "f") is a
    assert state_from(a, "f") is a
    for other in (
        {},
        [],
        None,
        3,
        "text",
        {"model": 3},
        {"epoch": 3},
        {"w": [1.0]},
        {"model": a},
        {"format": "ram-paddle", "model": {}},
        np.ones(2),
    ):
        with pytest.raises(UserError, match="f.pdparams"):
            state_from(other, "f.pdparams")


# ---------------------------------------------------------------------------------------------------- hostile files

P4 = b"\x80\x04"


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def name(module, attribute):
    return b"c" + f"{module}\n{attribute}\n".encode()


def call(module, attribute, *arguments):
    return name(module, attribute) + b"(" + b"".join(arguments) + b"tR"


def array(dtype="f4", shape=b"K\x01\x85", raw=b"C\x04abcd", cls=("numpy", "ndarray"), order=b"U\x01<"):
    start = call("numpy.core.multiarray", "_reconstruct", name(*cls), b"K\x00\x85", b"C\x01b")
    dtype = (
        call("numpy", "dtype", text(dtype), b"\x89\x88")
        + b"(K\x03"
        + order
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    return start + b"(K\x01" + shape + dtype + b"\x89" + raw + b"tb"


class Calls:
    def __init__(self, function, *arguments):
        self.reduce = function, arguments

    def __reduce__(self):
        return self.reduce


def zipped(lie=False):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": [1.0]}))
        archive.writestr("archive/data/0", bytes(10**5))
    data = file.getvalue()
    return data.replace(struct.pack("<I", 10**5), struct.pack("<I", 2**31)) if lie else data


def doubled(levels, first, step):
    """A list of which each part holds the one before twice: 2 ** levels parts in a file of some hundred bytes."""
    return P4 + b"](" + first + b"".join(b"q%c" % i + step(b"h%c" % i) for i in range(levels))


def int_8(value):
    return b"\x8a\x09" + value.to_bytes(9, "little")


def hostile(canary):
    """Reason to refuse it: what it is: the file."""
    command = f"echo 1 > '{canary}'"
    python = f"open({canary!r}, 'w')"
    tuples = doubled(60, b")", lambda last: last + last + b"\x86")
    million = b"B" + struct.pack("<I", 10**6) + bytes(10**6) + b"q\x00", b"h\x00"
    arrays = [array("u1", int_8(10**6) + b"\x85", raw) for raw in million]
    letters = P4 + b"](" + text("a" * 10**6) + b"q\x00"
    system = name(os.system.__module__, "system")
    f4, o8 = call("numpy", "dtype", text("f4")), call("numpy", "dtype", text("O8"))
    ordered = name("collections", "OrderedDict")
    new_array = call("numpy.core.multiarray", "_reconstruct", name("numpy", "ndarray"), b")N")
    long_keys = b"".join(b"\x8a\x0c" + (i * (2**61 - 1)).to_bytes(12, "little") + b"N" for i in range(50_000))
    lying = b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}'
    return {
        "it asks for": {
            **{f"os.system, protocol {p}": pickle.dumps(Calls(os.system, command), p) for p in range(2, 6)},
            "subprocess": pickle.dumps(Calls(subprocess.getoutput, command), 4),
            "eval": pickle.dumps({"model": Calls(eval, python)}, 4),
            "exec": pickle.dumps([Calls(exec, python)], 2),
            "eval, as Paddle saves a dense tensor": pickle.dumps(Calls(eval, "data", {"data": np.ones(2)}), 4),
            "getattr": P4
            + call("builtins", "getattr", call("builtins", "__import__", text("os")), text("system"))
            + b".",
            "getattr of what is allowed": P4 + call("builtins", "getattr", ordered, text("__init__")) + b".",
            "call of a call": P4 + call("builtins", "eval", text("eval")) + text(python) + b"\x85R.",
            "reduce in reduce": pickle.dumps(Calls(tuple, [Calls(Calls, Calls(os.system, command))]), 4),
            "in a key": P4 + b"}" + call(os.system.__module__, "system", text(command)) + b"Ns.",
            "in the shape of an array": P4 + array(shape=call(os.system.__module__, "system", text(command))) + b".",
            "object array": pickle.dumps(np.array([1, 2], object), 4).replace(b"O8", b"f8").replace(b"K\x02", system),
            "dotted name": P4 + text("numpy") + text("core.multiarray.scalar.__globals__") + b"\x93.",
            "method of what is allowed": P4 + text("collections") + text("OrderedDict.__init__") + b"\x93.",
            "name that is no string": P4 + b"]]\x93.",
            "name that doubles itself": tuples + b"q\xfeh\xfe\x93.",
            "numpy.load": P4 + call("numpy", "load", text(canary)) + b".",
            "numpy.save": P4 + call("numpy", "save", text(canary), b"K\x01") + b".",
            "ndarray.tofile": P4 + call("numpy", "ndarray.tofile", array(), text(canary)) + b".",
            "memmap": P4 + array(cls=("numpy", "memmap")) + b".",
            "codecs.decode": P4 + call("_codecs", "decode", b"C\x01a", text("zlib")) + b".",
            "OBJ": b"\x80\x02(" + system + text(command) + b"o.",
            "NEWOBJ": P4 + system + text(command) + b"\x85\x81.",
            "NEWOBJ_EX": P4 + system + text(command) + b"\x85}\x92.",
            "BUILD": P4 + b"}}" + text("__setstate__") + system + b"sb.",
        },
        "opcode": {
            "INST": b"\x80\x02(" + text(command) + f"i{os.system.__module__}\nsystem\n.".encode(),
            "NEWOBJ of what is allowed": P4 + ordered + b")\x81.",
            "persistent id": b"\x80\x02Pos.system\n.",
            "binary persistent id": P4 + text(command) + b"Q.",
            "extension registry": P4 + b"\x82\x01" + text(command) + b"\x85R.",
            "extension registry, 2 bytes": P4 + b"\x83\x01\x02.",
            "extension registry, 4 bytes": P4 + b"\x84\x01\x02\x03\x04.",
            "out-of-band buffer": b"\x80\x05\x97\x98.",
            "set": P4 + b"\x8f(K\x01\x90.",
            "duplicates": P4 + b"]" + b"2" * 1000 + b".",
            "integer of a megabyte": P4 + b"\x8b" + struct.pack("<i", 10**6) + b"\x01" * 10**6 + b".",
            "integer in digits": b"\x80\x02L" + b"9" * 10**6 + b"L\n.",
            "protocol 9": b"\x80\x09N.",
            "safetensors": struct.pack("<Q", 0x80) + b"{" + b" " * 126 + b"}",
            "safetensors that lies": struct.pack("<Q", 2**63 + 0x80) + lying,
            "safetensors like a pickle": b"\x80\x04" + bytes(6) + b"{" + b" " * 1150,
            "noise": P4 + bytes(random.Random(1).choices(range(256), k=10_000)),
        },
        "it calls": {
            "call of an array": P4 + array() + text(command) + b"\x85R.",
            "call of a dictionary": P4 + b"}" + text(command) + b"\x85R.",
            "call of the class ndarray": P4 + call("numpy", "ndarray", b"K\x09\x85") + b".",
            "arguments in a text": letters + ordered + b"h\x00R.",
        },
        "it sets the state": {
            "BUILD of a function": P4 + ordered + b"}b.",
            "BUILD of a list": P4 + b"]" + text(command) + b"\x85b.",
            "BUILD of a dictionary": P4 + b"}}" + text("__class__") + b"Nsb.",
            "array with two states": P4 + array() + b"(K\x01K\x01\x85N\x89C\x04abcdtb.",
            "byte order that is none": P4 + array(order=text("?")) + b".",
        },
        "no list": {"append to a dictionary": P4 + b"}K\x01a."},
        "keys": {
            "item of a list": P4 + b"]K\x00K\x01s.",
            "item of an array": P4 + array() + text("shape") + b"K\x01s.",
            "key that is a number": P4 + b"}K\x00K\x01s.",
            "key that doubles itself": tuples + b"q\xfe}h\xfeNs.",
            "keys that collide": P4 + b"}(" + long_keys + b"u.",
        },
        "it holds something other": {
            "bytes": P4 + b"C\x02ab.",
            "bytearray": b"\x80\x05\x96" + struct.pack("<Q", 2) + b"ab.",
            "function": P4 + ordered + b".",
            "class": P4 + b"}" + text("a") + name("numpy", "ndarray") + b"s.",
            "dtype": P4 + f4 + b".",
            "array without a state": P4 + new_array + b".",
        },
        "malformed": {
            "other codec": P4 + call("_codecs", "encode", text("a"), text("zip")) + b".",
            "OrderedDict of something": P4 + call("collections", "OrderedDict", b"]") + b".",
            "bytes(10 ** 9)": P4 + call("builtins", "bytes", b"J" + struct.pack("<i", 10**9)) + b".",
            "tuple of a text": letters + call("builtins", "tuple", b"h\x00") + b"e.",
            "tuple of a list": P4 + call("builtins", "tuple", b"](NNe") + b".",
            "tensor of a list": P4 + call("builtins", "tuple", text("a") + b"]\x86") + b".",
            "array of a list": P4 + array(raw=b"](K\x01K\x01K\x01K\x01e") + b".",
            "array of an array": P4 + array(raw=array()) + b".",
            "array of a text": P4 + array(raw=text("€uro")) + b".",
            "shape that is a number": P4 + array(shape=b"K\x01") + b".",
            "shape that is a text": P4 + array(shape=text("a")) + b".",
            "nothing to append to": P4 + b"a.",
            "mark that is missing": P4 + b"e.",
            "tuple of too little": P4 + b"N\x86.",
            "memo that is empty": P4 + b"h\x07.",
            "odd dictionary": P4 + b"}(" + text("a") + b"u.",
            "no UTF-8": P4 + b"X\x02\x00\x00\x00\xff\xfe.",
        },
        "something other than numbers": {
            "array that runs code": pickle.dumps(np.array([Calls(os.system, command)]), 4),
            "object dtype": P4 + array("O8") + b".",
            "object scalar": P4 + call("numpy.core.multiarray", "scalar", o8, b"K\x01") + b".",
            "dtype that is a program": P4 + array("f4,(1000000000,)f4") + b".",
            "dtype that doubles itself": tuples + b"q\xfe" + call("numpy", "dtype", b"h\xfe") + b".",
            "structured": pickle.dumps(np.zeros(2, "i4,O"), 4),
            "text": pickle.dumps(np.array(["a" * 100]), 4),
            "complex": pickle.dumps(np.zeros(2, complex), 4),
            "dates": pickle.dumps(np.array(["2020-01-01"], "M8[s]"), 4),
        },
        "does not fit its bytes": {
            "shape of a terabyte": P4 + array(shape=int_8(10**12 // 4) + b"\x85") + b".",
            "shape that overflows": P4 + array(shape=int_8(2**32) + int_8(2**32) + b"\x86") + b".",
            "shape too small": P4 + array(raw=b"C\x08abcdabcd") + b".",
            "frombuffer": P4
            + call("numpy.core.numeric", "_frombuffer", b"C\x04abcd", f4, b"K\x09\x85", text("C"))
            + b".",
            "scalar": P4 + call("numpy.core.multiarray", "scalar", f4, b"C\x02ab") + b".",
        },
        "impossible shape": {
            "beyond all": P4 + array(shape=int_8(2**66) + b"K\x00\x86", raw=b"C\x00") + b".",
            "negative": P4 + array(shape=b"J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86") + b".",
            "float": P4 + array(shape=b"G\x3f\xf0\0\0\0\0\0\0\x85") + b".",
            "boolean": P4 + array(shape=b"\x88\x85") + b".",
            "forty axes": P4 + array(shape=b"(" + b"K\x01" * 40 + b"t") + b".",
        },
        "too deeply": {
            "lists": P4 + b"]" * 400_000 + b"a" * 399_999 + b".",
            "50 lists": P4 + b"]" * 50 + b"a" * 49 + b".",
            "tuples": P4 + b")" + b"\x85" * 400_000 + b".",
            "dictionaries": P4 + (b"}" + text("a")) * 300_000 + b"N" + b"s" * 300_000 + b".",
            "list in itself": P4 + b"]q\x00(h\x00" + text("a" * 100) + b"e.",
            "dictionary in itself": P4 + b"}q\x00" + text("a" * 100) + b"h\x00s.",
        },
        "too many parts": {
            "tuples that double": tuples + b"e.",
            "lists that double": doubled(28, b"]", lambda last: b"](" + last + last + b"e") + b"e.",
            "lists that grow tenfold": doubled(9, b"]", lambda last: b"](" + last * 10 + b"e") + b"e.",
            "dictionaries that double": doubled(
                28, b"}", lambda last: b"}(" + text("a") + last + text("b") + last + b"u"
            )
            + b"e.",
            "texts that double": doubled(28, text("a"), lambda last: last + last + b"\x86") + b"e.",
            "many parts": P4 + b"](" + b"N" * 3_000_000 + b"e.",
            "many dictionaries": P4 + b"](" + b"}" * 3_000_000 + b"e.",
            "many frames": P4 + (b"\x95" + bytes(8)) * 2_000_000 + b"N.",
            "a text encoded again and again": letters
            + call("_codecs", "encode", b"h\x00", text("latin1")) * 9_999
            + b"e.",
            "bytes used again and again": P4 + b"](" + arrays[0] + arrays[1] * 9_999 + b"e.",
            "a large tree": P4 + b"](](" + b"]" * 500_000 + b"eq\x00(" + b"h\x00" * 100_000 + b"te.",
        },
        "too early": {
            "length of 2 GB": P4 + b"B\xff\xff\xff\x7fabc.",
            "length of a terabyte": P4 + b"\x8e" + struct.pack("<Q", 2**40) + b"abc.",
            "text of 2 ** 63": P4 + b"\x8d" + struct.pack("<Q", 2**63) + b"abc.",
            "bytearray of a terabyte": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"abc.",
            "name without an end": b"\x80\x02c" + b"a" * 10**6,
            "one byte": b"\x80",
            "no end": P4 + b"N",
        },
        "does not end": {
            "marks": P4 + b"(" * 900_000 + b".",
            "two pickles": P4 + b"N." + P4 + b"N.",
            "a rest": P4 + b"N.rest",
            "nothing on the stack": P4 + b".",
        },
        "1024 bits": {"number of 255 bytes": P4 + b"\x8a\xff" + b"\x01" * 255 + b"."},
        "empty": {"empty": b""},
        "zip": {"zip": zipped(), "zip that lies": zipped(lie=True)},
        "not written by paddle.save": {
            **{f"os.system, protocol {p}": pickle.dumps(Calls(os.system, command), p) for p in range(2)},
            "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(100),
            "npy": b"\x93NUMPY\x01\x00" + bytes(100),
            "gzip": b"\x1f\x8b" + bytes(100),
            "JSON": b'{"model": {}}',
            "safetensors": struct.pack("<Q", 0x10) + b'{"a":{}}        ',
        },
    }


KINDS = [(reason, kind) for reason, files in hostile("canary").items() for kind in files]


@pytest.fixture(scope="module")
def dangerous(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    files = [data for group in hostile(str(folder / "canary")).values() for data in group.values()]
    for number, data in enumerate(files):
        (folder / f"{number}.pdparams").write_bytes(data)
    return folder


def test_the_canary_sings(tmp_path):
    """The files are dangerous indeed: Python's own unpickler runs them."""
    canary = tmp_path / "canary"
    files = {kind: data for group in hostile(str(canary)).values() for kind, data in group.items()}
    for kind in ("os.system, protocol 2", "eval", "INST", "OBJ", "array that runs code", "reduce in reduce"):
        try:
            pickle.loads(files[kind])
        except TypeError:  # what the command returned is of no use to the rest of the file
            pass
        assert canary.exists(), kind
        canary.unlink()


@pytest.mark.parametrize("number", range(len(KINDS)), ids=[f"{kind} ({reason})" for reason, kind in KINDS])
def test_hostile_file_is_refused(dangerous, number):
    path = str(dangerous / f"{number}.pdparams")
    start = time.process_time()
    with pytest.raises(DamagedFile) as error:
        read(path)
    assert time.process_time() - start < 10  # a second or two where nothing else runs
    assert path in the_line(error) and (KINDS[number][0] in the_line(error) or "doubles" in KINDS[number][1])
    assert not (dangerous / "canary").exists()


@helpers.long_test()
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="peak memory is read from /proc")
def test_hostile_files_are_refused_in_bounded_memory(dangerous):
    script = """
        import glob
        def peak():  # unlike getrusage's, not that of the process which started this one
            with open("/proc/self/status") as lines:
                return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
        before = peak()
        for path in glob.glob(sys.argv[1] + "/*.pdparams"):
            try:
                checkpoint.read(path)
            except checkpoint.DamagedFile:
                pass
        print(peak() - before)
    """
    grown = int(run(script, str(dangerous)).stdout)
    assert grown < 400e6, f"{grown / 1e6:.0f} MB"


# ------------------------------------------------------------------------------------------------- damaged files


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    write(folder / "own.pdparams", content())
    own = (folder / "own.pdparams").read_bytes()
    tensors = {
        "epoch": 5,
        "model_state": {"w": Tensor("w_0", np.ones((20, 9), "f4"))},
        "best_valid_acc": np.float64(98),
    }
    return folder / "a.pdparams", own, [pickle.dumps(tensors, protocol) for protocol in (2, 3, 4, 5)]


quick = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


def test_every_truncation_is_refused(whole):
    path, own, foreign = whole
    for data in (own, *foreign):
        for length in range(len(data)):
            with pytest.raises(DamagedFile):
                unpickle.unpickle(data[:length], "file")
    for length in range(0, len(own), 97):
        path.write_bytes(own[:length])
        with pytest.raises(DamagedFile) as error:
            read(path)
        assert str(path) in the_line(error)


def test_every_flipped_byte_of_our_own_file_is_found(whole):
    path, own, _ = whole
    for at in range(0, len(own), 1 if len(own) < 4000 else 3):
        path.write_bytes(own[:at] + bytes([own[at] ^ (1 << at % 8)]) + own[at + 1 :])
        with pytest.raises(DamagedFile) as error:
            read(path)
        assert str(path) in the_line(error)


@quick
@given(data=st.data())
def test_mutations_of_our_own_file(whole, data):
    path, own, _ = whole
    changed = bytearray(own)
    for _ in range(data.draw(st.integers(1, 6))):
        changed[data.draw(st.integers(0, len(own) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(changed))
    try:
        found = read(path)
    except DamagedFile:
        return
    # Who damages both marks of our format makes a foreign file of it, which is no checkpoint and holds no weights.
    assert changed == own and same(found, content()) or found.get("format") != checkpoint.FORMAT
    if changed != own:
        with pytest.raises(UserError):
            state_from(found, path)
        with pytest.raises(UserError):
            read_latest(path)


@pytest.mark.parametrize("name", ["settings", "data", "classes", "image_shape"])
def test_an_array_where_there_should_be_words_is_refused(tmp_path, name):
    path = str(tmp_path / "odd.pdparams")
    for value in (np.arange(2), [np.arange(2)], {"epochs": {"deep": np.arange(2)}}):
        checkpoint.write(path, {**content(), name: value})
        with pytest.raises(DamagedFile, match=f"there is an array in its {name}"):
            read(path)


def only_plain(value):
    if type(value) in (list, tuple, dict):
        return all(map(only_plain, value.values() if type(value) is dict else value))
    return type(value) in (type(None), bool, int, float, str, np.ndarray)


@quick
@given(data=st.data())
def test_mutations_of_a_foreign_file(whole, data):
    _, _, foreign = whole
    changed = bytearray(data.draw(st.sampled_from(foreign)))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    try:
        assert only_plain(unpickle.unpickle(bytes(changed), "file"))
    except DamagedFile:
        pass


FRAGMENTS = [
    *(bytes([opcode]) for opcode in b"()}]tseauRbN.\x85\x86\x87\x88\x89\x93\x94"),
    *(
        b"K\x01",
        b"K\x01\x85",
        b"q\x00",
        b"h\x00",
        b"q\x01",
        b"h\x01",
        b"C\x04abcd",
        b"G\x7f\xf8" + bytes(6),
        int_8(2**64),
    ),
    *(text("f4"), text("latin1"), text("<"), array(), array("u1", b"K\x04\x85")),
    *(name(*key.rsplit(".", 1)) for key in unpickle.Machine(b"").calls),
]


@quick
@given(st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=2), max_size=40))
def test_programs_of_any_opcodes(fragments):
    try:
        assert only_plain(unpickle.unpickle(P4 + b"".join(fragments) + b".", "file"))
    except DamagedFile:
        pass


def test_what_is_no_file(tmp_path):
    for path in (tmp_path, tmp_path / "missing", tmp_path / "missing" / "file"):
        with pytest.raises(UserError) as error:
            read(str(path))
        assert str(path) in the_line(error)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "fifo")
        for path in (tmp_path / "fifo", "/dev/zero"):
            with pytest.raises(UserError) as error:
                read(path)
            assert str(path) in the_line(error)
    with open(tmp_path / "huge", "wb") as file:
        file.write(b"\x80\x04")
        file.truncate(2**40)
    with pytest.raises(DamagedFile, match="huge"):
        read(tmp_path / "huge")


@posix
def test_without_permission(tmp_path):
    path = tmp_path / "a.pdparams"
    write(path, content())
    path.chmod(0)
    tmp_path.chmod(0o500)
    script = """
        import os, sys
        from ram.runs import checkpoint
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        for action in (lambda p: checkpoint.read(p), lambda p: checkpoint.write(p, {"a": 1})):
            try:
                action(sys.argv[1])
            except checkpoint.UserError as error:
                print(error)
    """
    for parent in list(tmp_path.parents)[:3]:
        if parent.stat().st_uid == os.getuid() and "pytest" in str(parent):
            parent.chmod(0o755)
    tmp_path.chmod(0o555)
    lines = run(script, str(path)).stdout.splitlines()
    tmp_path.chmod(0o700)
    path.chmod(0o600)
    refusal = "Permission denied; what was there before stands"
    assert lines == [f"cannot read {path}: Permission denied", f"cannot write {path}: {refusal}"]
    assert same(read(path), content())


# ----------------------------------------------------------------------------------------------- latest and previous


def test_latest_and_the_one_before(tmp_path, capsys):
    path, before = str(tmp_path / "ram_ckpt.pdparams"), str(tmp_path / "ram_ckpt_prev.pdparams")
    with pytest.raises(UserError, match="No such file"):
        read_latest(path)
    for seed in range(3):
        write_latest(path, content(seed))
        assert read_latest(path)["seed"] == seed
    assert read(before)["seed"] == 1
    assert sorted(os.listdir(tmp_path)) == ["ram_ckpt.pdparams", "ram_ckpt_prev.pdparams"]
    assert capsys.readouterr().out == ""

    with open(path, "r+b") as file:
        file.truncate(1000)
    with pytest.raises(DamagedFile) as error:
        read_latest(path)
    assert path in the_line(error) and f"delete it to go on from the one before, {before}" in the_line(error)
    os.remove(path)
    assert read_latest(path)["seed"] == 1
    assert before in capsys.readouterr().out
    write_latest(path, content(4))
    assert read(before)["seed"] == 1

    for file in (path, before):
        os.truncate(file, 0)
    with pytest.raises(DamagedFile, match="no whole one before it"):
        read_latest(path)


def test_a_folder_in_the_place_of_the_latest(tmp_path):
    path = str(tmp_path / "ram_ckpt.pdparams")
    write(checkpoint.previous(path), content(7))
    os.makedirs(os.path.join(path, "something"))
    with pytest.raises(DamagedFile, match="delete it to go on"):
        read_latest(path)
    with pytest.raises(UserError, match="cannot write"):
        write_latest(path, content(8))
    assert read(checkpoint.previous(path))["seed"] == 7 and not litter(tmp_path)


def test_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    for seed in range(3):
        write_latest(tmp_path / "a.pdparams", content(seed))
    assert read(tmp_path / "a.pdparams")["seed"] == 2 and read(tmp_path / "a_prev.pdparams")["seed"] == 1
    assert not litter(tmp_path)


# ------------------------------------------------------------------------------------------------- faults in writing

# A process that saves as trainings do. Paddle's pickler is replaced by Python's, which it is, to start in no time.
PRELUDE = """
    import pickle, sys, types
    sys.modules["paddle"] = types.SimpleNamespace(save=lambda content, file: pickle.dump(content, file, 4))
    import os
    import numpy as np
    from ram.runs import checkpoint
"""


def run(script, *arguments, wait=True):
    environment = {**os.environ, "PYTHONPATH": ROOT, "PYTHONDONTWRITEBYTECODE": "1"}
    source = textwrap.dedent(PRELUDE) + textwrap.dedent(script)
    child = subprocess.Popen(
        [sys.executable, "-c", source, *arguments], env=environment, text=True, stdout=subprocess.PIPE, cwd=ROOT
    )
    if wait:
        child.stdout_text, _ = child.communicate(timeout=60)
        return types.SimpleNamespace(stdout=child.stdout_text, returncode=child.returncode)
    return child


SAVE_FOR_EVER = """
    path, number = sys.argv[1], int(sys.argv[2])
    print("started", flush=True)
    while True:
        number += 1
        checkpoint.write_latest(path, {"number": number, "weights": np.full(100_000, number)})
"""


@posix
def test_kill_9_at_random_moments(tmp_path):
    path, number = str(tmp_path / "ram_ckpt.pdparams"), 0
    checkpoint.write_latest(path, {"number": 0, "weights": np.full(100_000, 0)})
    rng = random.Random(2)
    for _ in range(12):
        child = run(SAVE_FOR_EVER, path, str(number), wait=False)
        assert child.stdout.readline() == "started\n"
        time.sleep(rng.uniform(0, 0.15))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        assert os.path.exists(path) and len(litter(tmp_path)) <= 2
        found = read_latest(path)
        assert found["number"] >= number and (found["weights"] == found["number"]).all()
        number = found["number"]
        if os.path.exists(checkpoint.previous(path)):
            before = read(checkpoint.previous(path))
            assert before["number"] in (number, number - 1) and (before["weights"] == before["number"]).all()
    assert number > 12
    write_latest(path, content())
    assert litter(tmp_path) == []


DIE_AT = """
    path, at, how = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    calls = 0
    def count(function):
        def counted(*arguments, **named):
            global calls
            calls += 1
            if calls == at:
                if how == "die":
                    os._exit(9)
                raise OSError(28, "No space left on device")
            return function(*arguments, **named)
        return counted
    for name in ("fsync", "link", "replace"):
        setattr(os, name, count(getattr(os, name)))
    checkpoint.open = count(open)
    try:
        checkpoint.write_latest(path, {"number": 2})
    except checkpoint.UserError as error:
        print(error)
"""


@posix
@pytest.mark.parametrize("how", ["die", "fail"])
def test_fault_at_every_step_of_a_write(tmp_path, how):
    path = str(tmp_path / "ram_ckpt.pdparams")
    seen = set()
    for at in range(1, 9):
        for number in (0, 1):
            write_latest(path, {"number": number})
        child = run(DIE_AT, path, str(at), how)
        assert child.returncode == (9 if how == "die" and at < 7 else 0)
        latest, before = read_latest(path)["number"], read(checkpoint.previous(path))["number"]
        assert (latest, before) in {(1, 0), (1, 1), (2, 1)}
        seen.add((latest, before))
        if how == "fail":
            assert not litter(tmp_path)
            expected = f"cannot write {path}: No space left on device; what was there before stands\n"
            assert child.stdout == (expected if at < 7 and at != 3 else "")  # the third is os.link, and copying serves
    assert seen == {(1, 0), (1, 1), (2, 1)}


@posix
def test_disk_full(tmp_path):
    script = """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        for action in (checkpoint.write, checkpoint.write_latest):
            try:
                action(sys.argv[1], {"a": np.ones(10**6)})
            except checkpoint.UserError as error:
                print(error)
    """
    path = str(tmp_path / "ram_ckpt.pdparams")
    write_latest(path, content(1))
    assert run(script, path).stdout == f"cannot write {path}: File too large; what was there before stands\n" * 2
    assert os.listdir(tmp_path) == ["ram_ckpt.pdparams"]
    assert same(read(path), content(1))


def test_a_folder_that_vanished(tmp_path):
    for path in (tmp_path / "gone" / "a.pdparams", tmp_path / "gone" / "a.json"):
        with pytest.raises(UserError, match="No such file or directory"):
            (write_json if path.suffix == ".json" else write)(path, {"a": 1})
    assert os.listdir(tmp_path) == []


@posix
def test_stale_temporary_files(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    stale = [f".a.pdparams.{dead.pid}.tmp", f".a.pdparams.{dead.pid}.prev.tmp", f".a.pdparams.{os.getpid()}.tmp"]
    keep = [
        f".a.pdparams.{os.getppid()}.tmp",  # alive
        f".b.pdparams.{dead.pid}.tmp",  # another run's
        f"x.a.pdparams.{dead.pid}.tmp",
        f".a.pdparams.{dead.pid}.tmp.txt",
        ".a.pdparams.tmp",
        f".axpdparams.{dead.pid}.tmp",
    ]
    for file in stale + keep:
        (tmp_path / file).write_text("x")
    write(tmp_path / "a.pdparams", content())
    assert sorted(os.listdir(tmp_path)) == sorted([*keep, "a.pdparams"])


@posix
def test_a_link_is_not_written_through(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / f".a.pdparams.{os.getpid()}.tmp").symlink_to(victim)
    write(tmp_path / "a.pdparams", content())
    assert victim.read_text() == "precious"


@posix
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_umask(tmp_path, umask):
    old = os.umask(umask)
    try:
        for _ in range(2):
            write_latest(tmp_path / "a.pdparams", {"a": 1})
            write_json(tmp_path / "a.json", {"a": 1})
    finally:
        os.umask(old)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o666 & ~umask}


def test_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_latest("a.pdparams", content(0))
    write_latest("a.pdparams", content(1))
    write_json("a.json", {"b": [1], "a": "ü"})
    assert read_latest("a.pdparams")["seed"] == 1
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": "ü", "b": [1]}
    assert (tmp_path / "a.json").read_text().index('"a"') < (tmp_path / "a.json").read_text().index('"b"')
    assert set_aside(["a.json"], "run").startswith(os.path.join("old", "run-"))


def test_set_aside_elsewhere_and_each_path_once(tmp_path):
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "a").touch()
    folder = set_aside([tmp_path / "plots", tmp_path / "plots"], "run", str(tmp_path / "ckpt"))
    assert folder.startswith(str(tmp_path / "ckpt" / "old")) and os.listdir(folder) == ["plots"]


def test_set_aside(tmp_path):
    paths = [tmp_path / "ckpt" / "a", tmp_path / "ckpt" / "b", tmp_path / "logs" / "a", tmp_path / "missing"]
    (tmp_path / "ckpt").mkdir()
    (tmp_path / "logs").mkdir()
    assert set_aside(paths, "run") is None and not (tmp_path / "ckpt" / "old").exists()
    folders = []
    for round in range(3):
        for path in paths[:3]:
            path.write_text(f"{path} {round}")
        folders.append(set_aside(paths, "run"))
        assert not any(path.exists() for path in paths)
    assert len(set(folders)) == 3
    for round, folder in enumerate(folders):
        assert os.path.dirname(folder) == str(tmp_path / "ckpt" / "old")
        texts = {name: open(os.path.join(folder, name)).read() for name in os.listdir(folder)}
        assert texts == {"a": f"{paths[0]} {round}", "b": f"{paths[1]} {round}", "a-2": f"{paths[2]} {round}"}
    (tmp_path / "ckpt" / "a").write_text("x")
    with pytest.raises(UserError, match="cannot move"):
        set_aside([tmp_path / "ckpt" / "a"], "x" * 300)
    assert (tmp_path / "ckpt" / "a").exists()


# ----------------------------------------------------------------------------------------------------------- the lock

HOLD = """
    with checkpoint.RunLock(sys.argv[1]):
        print("held", flush=True)
        __import__("time").sleep(60)
"""


def test_lock(tmp_path):
    path = str(tmp_path / "ckpt" / "ram_6_8x8_1.lock")
    for _ in range(2):  # the file of the first round is left behind
        with checkpoint.RunLock(path):
            with pytest.raises(UserError) as error, checkpoint.RunLock(path):
                pass
            assert "ram_6_8x8_1" in the_line(error) and str(os.getpid()) in the_line(error)
    child = run(HOLD, path, wait=False)
    assert child.stdout.readline() == "held\n"
    for _ in range(2):  # a refusal does not release the holder's lock
        with pytest.raises(UserError, match=f"ram_6_8x8_1 .*process {child.pid}\\b"), checkpoint.RunLock(path):
            pass
    child.kill()
    child.wait()
    child.stdout.close()
    with checkpoint.RunLock(path):
        assert open(path).read() == str(os.getpid())
    with pytest.raises(UserError, match="cannot write"), checkpoint.RunLock(str(tmp_path)):
        pass


def test_lock_where_there_are_none(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(checkpoint, "fcntl", types.SimpleNamespace(flock=refuse, LOCK_EX=2, LOCK_NB=4))
    with checkpoint.RunLock(str(tmp_path / "a.lock")), checkpoint.RunLock(str(tmp_path / "a.lock")):
        pass
    monkeypatch.setattr(checkpoint, "fcntl", None)
    monkeypatch.setattr(checkpoint, "msvcrt", None)
    with checkpoint.RunLock(str(tmp_path / "a.lock")):
        pass


def test_fast_enough(tmp_path):
    """Saved every ten seconds: a few milliseconds per megabyte, here with a wide margin for busy machines."""
    rng = np.random.default_rng(0)
    big = {"model": {str(i): rng.normal(size=(400, 300)).astype("f4") for i in range(10)}, "n": list(range(5000))}
    path = tmp_path / "a.pdparams"
    write(path, big)
    start = time.perf_counter()
    write_latest(path, big)
    middle = time.perf_counter()
    read(path)
    assert middle - start < 1 and time.perf_counter() - middle < 1
