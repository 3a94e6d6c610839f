"""Time kevinzakka/recurrent-visual-attention beside this project, from a checkout that the user has.

Its own trainer trains on images from memory, in a process of its own with as many threads (reference.py). The two take
turns, so that a machine whose speed drifts favors neither.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import numpy as np

from config import get_config
from ram.speed.ablation import quality_trainer, train_epoch
from ram.speed.cases import CASES, Case
from ram.system.cpu import num_threads, processor
from utils import UserError

NAMES = ("mnist", "cluttered60", "cluttered100")
FILES = ("config.py", "model.py", "modules.py", "trainer.py", "utils.py")
ADDRESS = "https://github.com/kevinzakka/recurrent-visual-attention"


class Other(NamedTuple):
    """Where the reference is."""

    folder: str  # the checkout
    python: str  # of an environment that has PyTorch

    def check(self) -> None:
        """Raise UserError unless the folder is a checkout."""
        missing = [name for name in FILES if not os.path.exists(os.path.join(self.folder, name))]
        if missing:
            raise UserError(f"--against={self.folder} has no {missing[0]}: it must be a checkout of {ADDRESS}")


class Reference:
    """The reference's trainer in a process of its own, as a context.

    Args:
        other: where it is.
        config: settings of this project, whose networks and batches it takes.
        arrays: train_x, train_y, valid_x, valid_y: images (N, C, H, W) uint8 and labels (N,).

    Raises:
        UserError: it cannot run, or fails.
    """

    def __init__(self, other: Other, config, arrays: dict[str, np.ndarray]):
        same = "patch_size num_patches glimpse_scale num_glimpses loc_hidden glimpse_hidden hidden_size batch_size"
        flags = [f"--{name}={getattr(config, name)}" for name in same.split()]
        flags += ["--use_gpu=False", "--M=10", f"--plot_freq={10**9}"]  # its pictures are not part of a step
        self.other, self.scratch = other, tempfile.TemporaryDirectory()
        images = os.path.join(self.scratch.name, "images.npz")
        np.savez(images, **arrays)
        script = os.path.join(os.path.dirname(__file__), "reference.py")
        command = [other.python, script, os.path.abspath(other.folder), str(num_threads()), images, *flags]
        try:
            self.process = subprocess.Popen(
                command,
                cwd=self.scratch.name,
                env={**os.environ, "OMP_NUM_THREADS": str(num_threads())},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        except OSError as error:
            self.scratch.cleanup()
            raise UserError(f"--against_python={other.python} cannot be started: {error.strerror}") from None

    def __enter__(self) -> Reference:
        try:
            self.facts = self.answer()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.communicate()
        self.scratch.cleanup()

    def order(self, what: str) -> dict:
        """Give an order, and wait for the answer; see reference.py."""
        try:
            print(what, file=self.process.stdin, flush=True)
        except BrokenPipeError:
            pass  # it has ended: so says `answer`
        return self.answer()

    def answer(self) -> dict:
        line = self.process.stdout.readline()
        answer = json.loads(line) if line.startswith("{") else {"error": "it ended without an answer"}
        if "error" in answer:
            advice = "; --against_python=PATH names a Python that has PyTorch" * ("No module named" in answer["error"])
            raise UserError(
                f"--against={self.other.folder} cannot be run by {self.other.python}: {answer['error']}{advice}"
            )
        return answer


def speed(other: Other, names: list[str], data_dir: str, quick: bool = False) -> dict:
    """Measure training images per second of both in turns.

    Returns:
        machine, threads, paddle, torch, and under cases.NAME: train_images_per_second, reference_images_per_second,
        ratio (the median of the rounds' ratios), weights and reference_weights.
    """
    import paddle

    other.check()
    rounds, steps = (3, 15) if quick else (7, 40)
    figures = {"machine": processor(), "threads": num_threads(), "paddle": paddle.__version__, "torch": "", "cases": {}}
    for name in names:
        case = Case(name, CASES[name], os.path.abspath(data_dir))
        size = case.config.batch_size
        x, y = case.trainer.train.batch(np.arange(min(steps * size, len(case.trainer.train) // size * size)), epoch=1)
        arrays = {"train_x": x, "train_y": y, "valid_x": x[:size], "valid_y": y[:size]}
        with Reference(other, case.config, arrays) as reference:
            theirs = []
            for number in range(-1, rounds):  # the first is not counted
                print(f"\rround {number + 1}/{rounds}: {name:<13}", end="", file=sys.stderr, flush=True)
                case.train(steps)
                theirs.append(steps * size / reference.order(f"steps {steps}")["seconds"])
        ours, theirs = case.train_rates[1:], theirs[1:]
        figures["torch"] = reference.facts["torch"]
        figures["cases"][name] = {
            "train_images_per_second": round(statistics.median(ours), 1),
            "reference_images_per_second": round(statistics.median(theirs), 1),
            "ratio": round(statistics.median(a / b for a, b in zip(ours, theirs)), 3),
            "weights": int(sum(weight.size for weight in case.trainer.parameters)),
            "reference_weights": reference.facts["weights"],
        }
    print(file=sys.stderr)
    return figures


def speed_table(figures: dict) -> str:
    """Lay out the figures of `speed` as a table."""
    lines = [
        f"{figures['machine']}, {figures['threads']} threads, paddle {figures['paddle']}, torch {figures['torch']}",
        f"{'case':<20}{'weights':>10}{'train img/s':>14}{'reference':>12}{'ratio':>8}",
    ]
    for name, case in figures["cases"].items():
        weights = f"{case['weights']:,}"
        if case["weights"] != case["reference_weights"]:
            weights += f" ({case['reference_weights']:,})"
        lines.append(
            f"{name:<20}{weights:>10}{case['train_images_per_second']:>14.0f}"
            f"{case['reference_images_per_second']:>12.0f}{case['ratio']:>8.2f}"
        )
    return "\n".join(lines)


def quality(other: Other, preset: str, data_dir: str, error: float = 1.0) -> dict:
    """Train both, an epoch in turn, until the validation error with ten paths (in percent) is below `error`.

    The reference trains with its own defaults, this project with a preset for MNIST. Each one's time is that of its own
    epochs, validations included.

    Returns:
        preset, machine, threads, paddle, torch, ratio (of the minutes), and under ours and reference: epochs, minutes.
    """
    import paddle

    other.check()
    trainer = quality_trainer(preset, data_dir)
    arrays = {}
    for part, split in (("train", trainer.train), ("valid", trainer.valid)):
        arrays.update({f"{part}_x": split.images[split.rows], f"{part}_y": split.labels})
    ours, theirs = Way(), Way()
    with Reference(other, get_config([]), arrays) as reference:
        while not (ours.reached and theirs.reached):
            if not ours.reached:
                began = time.perf_counter()
                reached = train_epoch(trainer) < error
                ours.add(time.perf_counter() - began, reached)
            if not theirs.reached:
                answer = reference.order("epoch")
                theirs.add(answer["seconds"], answer["best"] > 100 - error)
                print(f"[*] The reference after {theirs.epochs} epochs: lowest val err {100 - answer['best']:.3f}")
    return {
        "preset": preset,
        "machine": processor(),
        "threads": num_threads(),
        "paddle": paddle.__version__,
        "torch": reference.facts["torch"],
        "ratio": round(theirs.minutes / ours.minutes, 3),
        "ours": {"epochs": ours.epochs, "minutes": round(ours.minutes, 3)},
        "reference": {"epochs": theirs.epochs, "minutes": round(theirs.minutes, 3)},
    }


class Way:
    """How far a training has come on its way to an error."""

    def __init__(self):
        self.epochs, self.minutes, self.reached = 0, 0.0, False

    def add(self, seconds: float, reached: bool) -> None:
        """Note an epoch."""
        self.epochs, self.minutes, self.reached = self.epochs + 1, self.minutes + seconds / 60, reached
