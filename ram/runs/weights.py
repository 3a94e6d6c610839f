"""Read trained weights from a file of any program into one record, `Trained`.

Files are read without trusting them: unpickle.py reads checkpoints, the safetensors library the published files, and
the flags' own limits hold for the settings in both.
"""

from __future__ import annotations

import hashlib
import os
import re
from typing import NamedTuple

import numpy as np

from ram.data import kept
from ram.runs import checkpoint
from ram.runs.checkpoint import DamagedFile
from ram.runs.settings import OLDER_VERSION, completed
from utils import UserError, from_json, listed, printable

MAX_BYTES = 2**28  # of a .safetensors file
MAX_HEADER = 2**16  # bytes; this project writes under 2,000. The library allows 100 MB, and takes 2 GB to parse them
MAX_FACTS = 2**16  # bytes of the JSON beside it

# The keys of the JSON, and the types of their values.
FACTS = {
    "settings": dict,  # the flags of the training
    "epoch": int,  # the one that validation chose
    "epochs": int,  # that were trained
    "seconds": (int, float),  # that they took
    "seed": int,
    "valid_error": dict,  # in percent, by "M=1" and "M=10"
    "test_error": dict,
    "image_shape": list,  # C, H, W
    "num_classes": int,
    "hardware": str,
    "paddle": str,
    "date": str,
    "sha256": str,  # of the .safetensors file
}


class Trained(NamedTuple):
    """Trained weights, and what their file tells of them."""

    weights: dict[str, np.ndarray]  # by the model's parameter names
    settings: dict  # the flags of the training; empty where the file has none
    epoch: int | str  # epochs that were trained, or "unknown"
    classes: list[str] | None  # their names, in the order of the labels; None where the file has none
    image_shape: tuple[int, int, int] | None  # C, H, W; None where the file has none
    path: str
    data: dict | None = None  # what the file says of a data set of one's own, see ram/data/kept.py

    @property
    def has_settings(self) -> bool:
        """Whether the settings are from the file, rather than those of the older Paddle version."""
        return "model" in self.settings


def read(path: str, latest: bool = False) -> Trained:
    """Read trained weights from a checkpoint, the older Paddle version's, a bare state dict, or a .safetensors file.

    Args:
        path: the file.
        latest: whether the file is the latest state of a run, beside which there is the one before.

    Raises:
        UserError: the file is missing, damaged, or holds no weights.
    """
    if path.endswith(".safetensors"):
        return _read_safetensors(path)
    content = checkpoint.read_latest(path) if latest else checkpoint.read(path)
    weights = checkpoint.state_from(content, path)
    settings = content.get("settings")
    if isinstance(settings, dict):
        settings = completed(settings)
    else:
        settings = OLDER_VERSION if "model_state" in content else {}
    own = content if checkpoint.is_own(content) else {}
    epoch, shape = content.get("epoch"), own.get("image_shape")
    shape = tuple(shape) if isinstance(shape, (list, tuple)) else shape
    epoch = epoch if type(epoch) is int else "unknown"
    return Trained(weights, settings, epoch, own.get("classes"), shape, path, kept.checked(own.get("data"), path))


def _read_safetensors(path: str) -> Trained:
    """Read the weights in a .safetensors file, and check them against the JSON beside it where there is one."""
    data = checkpoint.file_bytes(path, MAX_BYTES)
    facts = read_facts(path) if os.path.lexists(facts_path(path)) else None
    if facts is None:
        return Trained(_arrays(data, path), {}, "unknown", None, None, path)
    if hashlib.sha256(data).hexdigest() != facts["sha256"]:
        raise DamagedFile(f"{path} is damaged: its SHA-256 is not the one in {facts_path(path)}")
    shape = tuple(facts["image_shape"])
    return Trained(_arrays(data, path), completed(facts["settings"]), facts["epoch"], facts.get("classes"), shape, path)


def fitted(trained: Trained, split) -> Trained:
    """Fill in the classes and the image shape of the data that the model is used on.

    Raises:
        UserError: the file names other classes, or another number of channels, than the data have.
    """
    classes, shape = trained.classes, trained.image_shape
    if isinstance(classes, list) and classes != split.classes:
        names = listed([str(name) for name in classes])
        raise UserError(
            f"{trained.path} knows other classes ({names}) than there are in the data ({listed(split.classes)})"
        )
    bias = trained.weights.get("classifier.fc.bias")
    if classes is None and isinstance(bias, np.ndarray) and bias.shape != (len(split.classes),):
        raise UserError(
            f"{trained.path} is of a model of {'x'.join(map(str, bias.shape))} classes, and there are "
            f"{len(split.classes)} in the data ({listed(split.classes)})"
        )
    if shape and shape[0] != split.image_shape[0]:
        raise UserError(
            f"{trained.path} knows images of {printable(str(shape[0]))} channels, and those of the data have "
            f"{split.image_shape[0]}"
        )
    return trained._replace(classes=split.classes, image_shape=split.image_shape)


def facts_path(path: str) -> str:
    """Name the JSON beside a .safetensors file."""
    return os.path.splitext(path)[0] + ".json"


def read_facts(path: str) -> dict:
    """Read the JSON beside a .safetensors file, see FACTS.

    Raises:
        DamagedFile: the JSON is damaged, or describes something else.
        UserError: the JSON is missing or cannot be read.
    """
    path = facts_path(path)
    content = checkpoint.file_bytes(path, MAX_FACTS)
    try:
        facts = from_json(content)
    except ValueError:
        raise DamagedFile(f"{path} is damaged: it is no JSON") from None
    wrong = [key for key, kind in FACTS.items() if not isinstance(facts, dict) or not isinstance(facts.get(key), kind)]
    if wrong:
        raise DamagedFile(
            f"{path} does not describe published weights: {wrong[0]!r} is missing in it or of a wrong kind"
        )
    return facts


def _arrays(data, path):
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load
    except ImportError:
        raise UserError("the package safetensors is missing: python -m pip install -r requirements.txt") from None
    if int.from_bytes(data[:8], "little") > MAX_HEADER:
        raise DamagedFile(
            f"{path} cannot be used: it is no safetensors file with a header of at most {MAX_HEADER:,} bytes"
        )
    try:
        arrays = load(data)
    except (SafetensorError, LookupError, ValueError) as error:  # the latter two: a dtype or shape unknown to NumPy
        raise DamagedFile(f"{path} cannot be used: {ascii(str(error))[1:-1][:150]}") from None
    if not arrays:
        raise DamagedFile(f"{path} cannot be used: it holds no weights")
    for name, array in arrays.items():
        if not re.fullmatch(r"[\w.]{1,100}", name) or array.dtype not in (np.float32, np.float16):
            raise DamagedFile(
                f"{path} cannot be used: {ascii(name)[:100]} ({array.dtype}) is no float32 or float16 parameter"
            )
    return {name: array.astype(np.float32) for name, array in arrays.items()}
