"""Read published weights: `ckpt/published/<preset>.safetensors`, each with a description in the JSON beside it.

The files are in the project's own folder, whatever --ckpt_dir is, and training never changes them. Where a preset was
trained with other seeds than 1, too, `<preset>_seed<S>.safetensors` are these: they show the spread, and --weights
takes them; the preset itself stands for seed 1 alone. `<preset>_<variant>.safetensors` was trained as the preset is but
for some flags, which its JSON has.

A name stands for a training apart from its seed: a preset, or a preset and a variant of it with "_" between them.
"""

from __future__ import annotations

import argparse
import os
import re

from config import FREE, get_config, run_name
from ram.presets import PRESETS
from ram.runs.settings import adopt, completed
from ram.runs.weights import Trained, read, read_facts
from utils import UserError

FOLDER = os.path.join(os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")), "ckpt", "published")


def name_of(preset: str, variant: str | None = None) -> str:
    """Name a training apart from its seed."""
    return f"{preset}_{variant}" if variant else preset


def preset_of(name: str) -> str:
    """Return the preset in the name of a training: none has a "_" in its own."""
    return name.partition("_")[0]


def path_of(name: str, seed: int = 1) -> str:
    """Name the published file of a training, relative to the working folder where it is below that."""
    stem = name if seed == 1 else f"{name}_seed{seed}"
    return os.path.join(FOLDER, f"{stem}.safetensors").removeprefix(os.path.join(os.getcwd(), ""))


def names() -> list[str]:
    """List the presets whose weights are published."""
    return [name for name in PRESETS if os.path.lexists(path_of(name))]


def variants() -> list[str]:
    """List the names of published variants of presets."""
    found = (re.fullmatch(r"([^_]+_(?!seed)[^_]+)\.safetensors", file) for file in files())
    return sorted(match[1] for match in found if match and preset_of(match[1]) in PRESETS)


def seeds(name: str) -> list[int]:
    """List the seeds of the published trainings of a preset or variant, in order."""
    found = (re.fullmatch(rf"{name}_seed(\d+)\.safetensors", file) for file in files())
    return [1] * os.path.lexists(path_of(name)) + sorted(int(match[1]) for match in found if match)


def trainings() -> list[tuple[str, int]]:
    """List all published trainings by name and seed."""
    return [(name, seed) for name in (*names(), *variants()) for seed in seeds(name)]


def files() -> list[str]:
    """List the files in the folder of published weights."""
    return os.listdir(FOLDER) if os.path.isdir(FOLDER) else []


def stand_in(config: argparse.Namespace) -> str | None:
    """Name the published file that may stand in for a run which was never trained here; None if there is none.

    It is the first whose settings give the run the name that `config` gives it, that of --preset before the others,
    variants last: so --preset=cluttered60 --policy=random finds those of cluttered60-random, and what a test may
    choose, such as --limit, changes nothing. Where no name fits, that of --preset serves, and the flags that do not fit
    it are an error. Nothing stands in for a preset without published weights, even where a run of another preset has
    the same name, or for one of several runs, since each of them is a training of its own.

    Raises:
        UserError: a description that has to be looked at cannot be used.
    """
    if config.num_runs > 1 or config.preset not in (None, *names()):
        return None
    for path in map(path_of, sorted([*names(), *variants()], key=lambda name: name != config.preset)):
        trained = read_facts(path)["settings"]
        if run_name(trained_as(trained, path)) == run_name(config):
            return path
    return path_of(config.preset) if config.preset in names() else None


def trained_as(settings: dict, path: str) -> argparse.Namespace:
    """Return the flags that the model in a file was trained with; those that decide nothing are at their defaults."""
    config = get_config([])
    flags = completed(settings)
    adopt(config, flags, path, [name for name in flags if name not in FREE])
    return config


def offer() -> str:
    """Compose the part of an error that lists the published weights."""
    flags = ", ".join(f"--preset={name}" for name in names())
    return f"weights are published for {flags}" if flags else "no weights are published here"


def load(name: str, seed: int = 1) -> Trained:
    """Read the published weights of a training.

    Raises:
        UserError: there are no such weights, or they cannot be used.
    """
    path = path_of(name, seed)
    if not os.path.lexists(path):
        raise UserError(f"there are no published weights {path}; {offer()}")
    read_facts(path)  # for other files the JSON is optional
    return read(path)


def listing() -> str:
    """List all presets, a line each, with the published errors of those that have weights."""
    lines = []
    for name, preset in PRESETS.items():
        errors = f"; published: {summary(read_facts(path_of(name)))}" if name in names() else ""
        lines.append(f"{name:<20} {preset.title}{errors}")
    return "\n".join(lines)


def summary(facts: dict) -> str:
    """Write the figures of a published model in one line."""
    error = ", ".join(f"{M} {value:.2f} %" for M, value in facts["test_error"].items())
    return f"test error {error}; epoch {facts['epoch']} of {facts['epochs']}, {facts['seconds'] / 60:.0f} min"
