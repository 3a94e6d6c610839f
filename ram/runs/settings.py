"""Read and compare the settings in files: the flags of a training as plain data, as `<run>_params.json` keeps them."""

from __future__ import annotations

import argparse

from config import BEFORE, DECIDING, FLAGS, IN_FILES, LOOKING, OPTIONAL, build_parser, check, is_idle
from ram.runs.origin import KEY, origin_in
from utils import UserError, first_few

# The settings behind files of the older Paddle version, which do not name them.
OLDER_VERSION = {"pixel_mean": 0.1307, "pixel_std": 0.3081, "std": 0.05, "std_end": None, "crop_offset": 1}

# Flags that are no more, and the value with which a training did what it would do today.
GONE = {"baseline": "learned", "rollouts_per_image": 1, "augment_elastic": 0.0}


def settings(config: argparse.Namespace) -> dict:
    """Return the flags as plain data, as a checkpoint and `<run>_params.json` keep them."""
    kept = {name: getattr(config, name) for name in sorted(IN_FILES)}
    started_from = getattr(config, KEY, None)  # no flag, but it decides as much
    return {**kept, KEY: started_from} if started_from else kept


def completed(saved: dict) -> dict:
    """Add the flags that a file is too old to have, with the values that stand for the code before them."""
    return {**BEFORE, **saved}


def deciding(saved: dict) -> dict:
    """Return the settings that decide what a training computes: two trainings that share them are the same.

    Where the training started from weights in a file, the content of that file is among them.
    """
    flags = completed(saved)
    without_effect = idle(flags)
    decisive = {name: value for name, value in flags.items() if name in DECIDING and name not in without_effect}
    decisive.update(gone(saved))
    origin = origin_in(saved)
    return {**decisive, KEY: origin.sha256} if origin else decisive


def idle(flags: dict) -> set[str]:
    """Name the flags that decide nothing beside the others."""
    names = {flag.name for flag in FLAGS if is_idle(flag, flags)}
    return names if flags.get("model") == "ram" else names.union(LOOKING)


def gone(saved: dict) -> dict:
    """Return the settings in a file whose flags are no more, and without which the training would not be the same."""
    return {name: saved[name] for name, same in GONE.items() if saved.get(name, same) != same}


def differences(saved: dict, expected: dict) -> str:
    """Describe the deciding settings, other than the seed, in which two trainings differ ("" if in none).

    Args:
        saved: the settings of the one.
        expected: the settings of the other, which stand in brackets.
    """
    starts = [str(origin_in(of) or "random weights") for of in (saved, expected)]
    saved, expected = deciding(saved), deciding(expected)
    names = sorted(name for name in saved.keys() | expected.keys() if saved.get(name) != expected.get(name))
    shown = [f"started from {starts[0]} (not {starts[1]})"] if KEY in names else []
    names = [name for name in names if name not in ("random_seed", KEY)]
    # Where other flags differ, those that are for one of the two trainings alone follow from these.
    names = [name for name in names if name in GONE or (name in saved and name in expected)] or names
    return first_few(shown + [f"--{name}={saved.get(name)} (not {expected.get(name)})" for name in names], most=5)


def adopt(config: argparse.Namespace, saved: dict, path: str, names: list[str], strict: bool = True) -> None:
    """Take the named settings from a checkpoint into `config`, in place.

    Args:
        config: the flags of this run.
        saved: the settings in the checkpoint.
        path: the checkpoint, for the message.
        names: which settings.
        strict: whether a given flag that differs is an error; if not, it wins.

    Raises:
        UserError: given flags differ, or a value is not allowed; the message names them, and nothing is changed.
    """
    odd = [name for name in names if name in saved and name not in (*IN_FILES, KEY) and hasattr(config, name)]
    if odd:
        raise UserError(f"the settings in {path} cannot be used: {odd[0]} is none that a training keeps")
    flags = _as_flags({name: saved[name] for name in names if name in saved and name in IN_FILES}, path)
    given = [name for name in flags if name in config.explicit and getattr(config, name) != flags[name]]
    if given and strict:
        differences = ", ".join(f"--{name}={getattr(config, name)} (there: {flags[name]})" for name in given)
        raise UserError(f"these settings do not fit {path}: {differences}; leave them out, or start a run of its own")
    taken = {name: value for name, value in flags.items() if name not in config.explicit}
    try:
        check(argparse.Namespace(**{**vars(config), **taken}))
    except UserError as error:
        raise UserError(f"with the settings in {path}: {error}") from None
    vars(config).update(taken)


def _as_flags(saved: dict, path: str) -> dict:
    """Return the settings of a file after the checks that flags have to pass: a file may hold anything."""
    try:
        flags = [f"--{name}={value}" for name, value in saved.items() if value is not None or name not in OPTIONAL]
        parsed = vars(build_parser().parse_args(flags))
    except UserError as error:
        raise UserError(f"the settings in {path} cannot be used: {' '.join(str(error).split())[:200]}") from None
    return {name: parsed[name] if value is not None else None for name, value in saved.items()}
