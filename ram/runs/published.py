"""Published weights: `ckpt/published/<preset>.safetensors`, with what is known of the model in the JSON beside it.

They stand in the project's own folder, whatever --ckpt_dir says, and training never touches them. Both files of a pair
are read without trusting them: the safetensors library checks the one, this module and the flags' own limits the other.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
from typing import NamedTuple

import numpy as np

from config import FREE, get_config, run_name
from ram.presets import PRESETS
from ram.runs import checkpoint
from ram.runs.checkpoint import DamagedFile
from ram.runs.settings import adopt, completed, differences, settings
from utils import UserError

FOLDER = os.path.join(os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")), "ckpt", "published")
MAX_BYTES = 2**28  # of any other file of weights
MAX_HEADER = 2**16  # bytes; one of ours has under 2,000. The library allows 100 MB, and 2 GB of memory to parse that
MAX_FACTS = 2**16  # bytes of the JSON

# What the JSON holds, and of which kind it is.
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


class Published(NamedTuple):
    """A model as it was published."""

    weights: dict[str, np.ndarray]  # float32, by the model's parameter names
    settings: dict  # the flags of its training; empty where there is no JSON
    facts: dict  # the whole JSON, see FACTS; empty where there is none


# ------------------------------------------------------------------------------------------------------------ finding


def path_of(name: str) -> str:
    """The file of that name; relative where it is below the working folder, as it is when main.py is run beside it."""
    return os.path.join(FOLDER, f"{name}.safetensors").removeprefix(os.path.join(os.getcwd(), ""))


def names() -> list[str]:
    """The presets whose weights are published."""
    return [name for name in PRESETS if os.path.lexists(path_of(name))]


def find(config: argparse.Namespace) -> str | None:
    """The published file that may stand in for a run which was never trained here, or None.

    With --preset it is the one of that name, unless the other flags make another preset's training of it, as
    --policy=random does; without, the first whose settings give the run the name that `config` gives it. Nothing stands
    in for one of several runs, since each of them is a training of its own.

    Raises:
        UserError: a description that has to be looked at cannot be used.
    """
    if config.num_runs > 1:
        return None
    for path in map(path_of, sorted(names(), key=lambda name: name != config.preset)):
        trained = read_facts(path)["settings"]
        if config.preset and not differences(trained, settings(config)):
            return path
        if not config.preset and run_name(trained_as(trained, path)) == run_name(config):
            return path
    return path_of(config.preset) if config.preset in names() else None


def trained_as(settings: dict, path: str) -> argparse.Namespace:
    """The flags that the model in a file was trained with; those that decide nothing are at their defaults."""
    config = get_config([])
    known = completed(settings)
    adopt(config, known, path, [name for name in known if name not in FREE])
    return config


def offer() -> str:
    """What an error says about the published weights that there are."""
    flags = ", ".join(f"--preset={name}" for name in names())
    return f"weights are published for {flags}" if flags else "no weights are published here"


# ------------------------------------------------------------------------------------------------------------ reading


def load(name: str) -> Published:
    """The published model of that name.

    Raises:
        UserError: there is none, or it cannot be used.
    """
    path = path_of(name)
    if not os.path.lexists(path):
        raise UserError(f"there are no published weights {path}; {offer()}")
    read_facts(path)  # for others the JSON is optional
    return read(path)


def read(path: str) -> Published:
    """The weights in any .safetensors file, held against the JSON beside it where there is one.

    Raises:
        DamagedFile: one of the two is damaged, or they do not belong together.
        UserError: the file is missing or cannot be read.
    """
    data = checkpoint.file_bytes(path, MAX_BYTES)
    facts = read_facts(path) if os.path.lexists(facts_path(path)) else {}
    if facts and hashlib.sha256(data).hexdigest() != facts["sha256"]:
        raise DamagedFile(f"{path} is damaged: its SHA-256 is not the one in {facts_path(path)}")
    return Published(_arrays(data, path), completed(facts["settings"]) if facts else {}, facts)


def facts_path(path: str) -> str:
    """The JSON beside a .safetensors file."""
    return os.path.splitext(path)[0] + ".json"


def read_facts(path: str) -> dict:
    """What the JSON beside a .safetensors file says, see FACTS.

    Raises:
        DamagedFile: it is damaged, or about something else.
        UserError: it is missing or cannot be read.
    """
    path = facts_path(path)
    try:
        facts = json.loads(checkpoint.file_bytes(path, MAX_FACTS))
    except (ValueError, RecursionError):
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


def listing() -> str:
    """All presets, a line each, with the published errors of those that have weights."""
    lines = []
    for name, preset in PRESETS.items():
        known = f"; published: {summary(read_facts(path_of(name)))}" if name in names() else ""
        lines.append(f"{name:<20} {preset.about}{known}")
    return "\n".join(lines)


def summary(facts: dict) -> str:
    """The figures of a published model in one line."""
    error = ", ".join(f"{M} {value:.2f} %" for M, value in facts["test_error"].items())
    return f"test error {error}; epoch {facts['epoch']} of {facts['epochs']}, {facts['seconds'] / 60:.0f} min"
