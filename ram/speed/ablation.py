"""Measure what each optimization is worth, and how long a recipe takes to a given error."""

from __future__ import annotations

import os
import statistics
import sys
import time

from config import get_config
from ram.speed.cases import printed_by
from ram.system.signals import StopRequest
from utils import UserError

NO_MEMORY = "cpu.keep_memory = lambda: None"

PLAIN = "import model; model.RecurrentAttention.rollout = model.RecurrentAttention.plain_rollout"

# For each optimization to leave out: Python to run before and after paddle is set up, and environment variables.
ABLATION = {
    "everything": ("", "", {}),
    "the plain rollout": ("", PLAIN, {}),
    "freed memory given back": (NO_MEMORY, "", {}),
    "MKL's own choice of kernels": ("", "", {"MKL_DEBUG_CPU_TYPE": "0"}),
    "one thread": ("", "", {"OMP_NUM_THREADS": "1"}),
    "none of them": (NO_MEMORY, PLAIN, {"MKL_DEBUG_CPU_TYPE": "0", "OMP_NUM_THREADS": "1"}),
}


def ablation(names: list[str], data_dir: str, rounds: int = 3) -> dict[str, dict[str, float]]:
    """Measure training images per second without each optimization, in processes that take turns.

    Returns:
        {optimization: {case: median}}.
    """
    rates = {what: {name: [] for name in names} for what in ABLATION}
    for _ in range(rounds):
        for what, (before, after, environment) in ABLATION.items():
            for name in names:
                print(f"\r{name}, {what:<40}", end="", file=sys.stderr, flush=True)
                script = (
                    f"from ram.system import cpu\n{before}\ncpu.prepare_cpu()\n{after}\n"
                    "from ram.speed.cases import CASES, Case\n"
                    f"case = Case({name!r}, CASES[{name!r}], {os.path.abspath(data_dir)!r})\n"
                    "case.train(10)\ncase.train(50)\nprint(case.train_rates[-1])"
                )
                rates[what][name].append(printed_by(script, environment))
    print(file=sys.stderr)
    return {what: {name: statistics.median(values) for name, values in row.items()} for what, row in rates.items()}


def quality_trainer(preset: str, data_dir: str):
    """Build a trainer of a preset that validates with ten paths and keeps no files.

    Raises:
        UserError: the preset is not one of MNIST.
    """
    from data_loader import get_train_valid
    from trainer import Trainer

    config = get_config([f"--preset={preset}", "--valid_M=10", f"--data_dir={os.path.abspath(data_dir)}"])
    if config.dataset != "mnist":
        raise UserError(f"--quality_preset={preset} trains on {config.dataset}: it must be a preset of MNIST")
    return Trainer(config, *get_train_valid(config), *[lambda *_: None] * 3)


def train_epoch(trainer) -> float:
    """Train and validate for an epoch, and return the validation error in percent.

    Raises:
        UserError: the training has ended.
    """
    if trainer.remedies():
        raise UserError(f"the training has ended with a validation error of {100 - trainer.best_valid_acc:.3f} %")
    trainer.train_epoch(StopRequest())
    trainer.end_epoch()
    return trainer.history[-1]["val_err"]


def time_to_quality(preset: str, data_dir: str, error: float = 1.0) -> dict:
    """Train with a preset, but M=10 at validation, until the validation error (in percent) is below `error`.

    Returns:
        "epochs", and "minutes" including all validations.
    """
    trainer = quality_trainer(preset, data_dir)
    began = time.perf_counter()
    while train_epoch(trainer) >= error:
        pass
    return {"epochs": trainer.epoch, "minutes": (time.perf_counter() - began) / 60}
