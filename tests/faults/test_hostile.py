"""Files from strangers, given to the command itself, in a process that may use little memory and time."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import zipfile

import numpy as np
import pytest
from helpers import long_test
from test_checkpoint import hostile
from test_main import Place
from test_published import LIES, packed, tensor

from ram.runs import checkpoint
from utils import UserError


def archive(data: bytes = b"", name: str = "archive/data.pkl", **changes: int) -> bytes:
    """A zip file whose headers may lie: `changes` are a place in the central directory's record and a number."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packer:
        packer.writestr(name, data)
    whole = bytearray(file.getvalue())
    record = whole.index(b"PK\x01\x02")
    for place, number in (("packed", 20), ("size", 24), ("names", 28), ("start", 42)):
        if place in changes:
            width = "<H" if place == "names" else "<I"
            struct.pack_into(width, whole, record + number, changes[place])
    return bytes(whole)


def npz(*arrays) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, *arrays)
    return file.getvalue()


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def archives(canary: str) -> dict[str, bytes]:
    """Zip files, and files of safetensors that are more than `test_published` has, under both endings."""
    runs = pickle.dumps(Canary(canary))
    bomb = archive(bytes(50_000_000))
    return {
        "zip that runs code": archive(runs),
        "zip bomb": bomb,
        "zip bomb of text": archive(b"[" * 10_000_000),
        "zip that unpacks to 4 GB": archive(runs, size=2**32 - 2),
        "zip that is packed from 4 GB": archive(runs, packed=2**32 - 2),
        "zip that starts elsewhere": archive(runs, start=2**31),
        "zip with a long name": archive(runs, names=2**16 - 1),
        "zip with a path upwards": archive(runs, "../../canary"),
        "zip of 64 bits": archive(runs, size=2**32 - 1, packed=2**32 - 1),
        "zip in a zip": archive(bomb),
        "zip without an end": archive(runs)[:-22],
        "zip behind a pickle": pickle.dumps({"w": [1.0]}, 4)[:-1] + archive(runs),
        "object array in an npz": npz(np.array([Canary(canary)], object)),
        "gzip bomb": gzip.compress(bytes(50_000_000)),
        "pickle as safetensors": packed(runs),
        "header as long as the file": struct.pack("<Q", 2**16) + b"{" + b" " * (2**16 - 2) + b"}",
        "header of nothing": struct.pack("<Q", 0),
        "metadata that is no text": packed({"__metadata__": {"a": [1]}, "a": tensor([1], 0, 4)}, bytes(4)),
        "metadata alone": packed({"__metadata__": {"a": "b"}}),
        "one name twice": packed(b'{"a":%b,"a":%b}' % ((json.dumps(tensor([1], 0, 4)).encode(),) * 2), bytes(4)),
        "offsets of 64 bits": packed({"a": tensor([2], 2**64 - 8, 2**64 - 1)}, bytes(8)),
        "offsets beyond 64 bits": packed({"a": tensor([2], 0, 2**70)}, bytes(8)),
        "offsets of floating point": packed({"a": tensor([2], 0.0, 8.0)}, bytes(8)),
        "shape of a terabyte": packed({"a": tensor([2**38], 0, 2**40)}, bytes(8)),
        "thousands of tensors": packed({str(i): tensor([0], 0, 0) for i in range(900)}),
    }


# Gives one file after the other to main.py's `main`, and writes what came of it.
SCRIPT = """
import glob, json, os, resource, sys, time
from config import get_config
from main import main
from utils import UserError

with open("/proc/self/statm") as statm:
    used = int(statm.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {memory}, used + {memory}))
resource.setrlimit(resource.RLIMIT_CPU, (300, 300))
found = {{}}
for path in sorted(glob.glob({folder!r} + "/*.*")):
    began = time.process_time()
    try:
        main(get_config(["--is_train=False", "--weights=" + path, "--data_dir=" + {data!r}, "--use_gpu=False"]))
        outcome = "it was used"
    except UserError as error:
        outcome = str(error)
    except BaseException as error:
        outcome = "CRASH: " + repr(error)
    found[os.path.basename(path)] = (outcome, time.process_time() - began)
with open({report!r}, "w") as file:
    json.dump(found, file)
sys.exit(0)
"""


# Files of our own format, whose checksum fits: anybody can compute that. They ask for networks of 17 GB and of 8 TB.
GIANTS = {
    "wide": dict(hidden_size=16384, glimpse_hidden=16384, loc_hidden=16384, core="lstm"),
    "patches": dict(patch_size=4096, num_patches=8, glimpse_scale=1, glimpse_hidden=16384),
}


def giant(folder, settings: dict) -> bytes:
    path = folder / "giant"
    checkpoint.write(str(path), {"model": {"classifier.fc.bias": np.zeros(10, "f4")}, "settings": settings})
    return path.read_bytes()


@long_test()
def test_hostile_files_are_refused_in_one_line_in_little_memory_and_time(nursery, target, tmp_path):
    folder, canary = tmp_path / "hostile", tmp_path / "canary"
    folder.mkdir()
    kinds = {}
    for group in hostile(str(canary)).values():
        kinds.update({f"{kind}.pdparams": data for kind, data in group.items()})
    for kind, data in {**LIES, **archives(str(canary))}.items():
        kinds.update({f"{kind}.safetensors": data, f"{kind}: .pdparams": data})
    kinds.update({f"{kind}.pdparams": giant(tmp_path, settings) for kind, settings in GIANTS.items()})
    names = {}
    for number, (kind, data) in enumerate(kinds.items()):
        name = f"{number}.{kind.rsplit('.', 1)[1]}"
        names[name] = kind
        (folder / name).write_bytes(data)
    report = tmp_path / "report"
    limits = dict(memory=700 * 10**6, folder=str(folder), data=str(target.folder), report=str(report))
    process = nursery.start([], setup=SCRIPT.format(**limits))
    status, out, err = process.wait(500)
    assert status == 0, err
    found = json.loads(report.read_text())
    assert found.keys() == names.keys() and len(found) > 25
    for name, (outcome, seconds) in found.items():
        assert "\n" not in outcome and len(outcome) < 800, (names[name], outcome)
        assert not outcome.startswith("CRASH") and outcome != "it was used", (names[name], outcome)
        assert seconds < 10, (names[name], seconds)
    assert not canary.exists() and "Test Acc" not in out


NAN, EVIL = np.full(10, np.nan, "f4"), "\x1b[31mevil\nline" + 500 * "x"
# What a stranger may have put into a training's state before computing its checksum: a path in it, and a value.
ODD = {
    "no weights": ("model", None),
    "no averaged weights": ("ema", None),
    "a weight that is no array": ("model/classifier.fc.bias", 3.0),
    "a weight too many": (f"model/{EVIL}", NAN),
    "a weight of whole numbers": ("model/classifier.fc.bias", np.zeros(10, "u2")),
    "a weight of another shape": ("ema/classifier.fc.bias", np.zeros(9, "f4")),
    "a weight that is not finite": ("ema/classifier.fc.bias", NAN),
    "a weight beyond float32": ("model/classifier.fc.bias", np.full(10, 1e300)),
    "an epoch of text": ("epoch", EVIL),
    "an epoch below 0": ("epoch", -5),
    "an epoch beyond all": ("epoch", 10**30),
    "half an epoch": ("epoch", 0.5),
    "a step below 0": ("step", -1),
    "a step beyond the epoch": ("step", 10**9),
    "patience of text": ("epochs_since_best", "a"),
    "no patience": ("epochs_since_lower", None),
    "cuts below 0": ("cuts", -(10**6)),
    "an accuracy that is none": ("best_valid_acc", float("nan")),
    "seconds of text": ("seconds", "a"),
    "no history": ("history", None),
    "a history of text": ("history", "ab"),
    "a history of nothing": ("history", [{}, {}]),
    "sums of one number": ("sums", 3),
    "sums of text": ("sums/count", "a"),
    "no sums": ("sums", {}),
    "moments in a list": ("optimizer", [1]),
    "moments that are no arrays": ("optimizer", {"a": 1}),
    "moments of another model": ("optimizer", {"a": np.zeros(3, "f4")}),
    "classes of another alphabet": ("classes", [EVIL] * 10),
    "images of text": ("image_shape", [EVIL, 28, 28]),
    "settings of text": ("settings/dataset", EVIL),
    "settings that do nothing": ("settings/explicit", ["epochs"]),
    "settings that do something else": ("settings/predict", "/"),
    "settings of a giant": ("settings/hidden_size", 16384),
}


@pytest.fixture(scope="module")
def begun(target, tmp_path_factory):
    """A training that has two short epochs behind it."""
    place = Place(tmp_path_factory.mktemp("begun") / "place", target.folder)
    with target.registered():
        place.run("--epochs=2", "--limit=32", "--plot_freq=0")
    return place


@pytest.mark.parametrize("odd", ODD)
def test_state_that_no_training_leaves_is_refused_whatever_its_checksum(begun, target, odd):
    state = checkpoint.read(str(begun.latest))
    (*parents, name), value = ODD[odd][0].split("/"), ODD[odd][1]
    inner = state
    for parent in parents:
        inner = inner[parent]
    inner[name] = value
    whole = begun.latest.read_bytes()
    checkpoint.write(str(begun.latest), state)
    try:
        with target.registered(), pytest.raises(UserError) as caught:
            begun.run("--resume", "--epochs=3", *["--limit=32"] * (odd != "settings of a giant"))
    finally:
        begun.latest.write_bytes(whole)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 800, message
