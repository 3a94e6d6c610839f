"""Measure what an image costs against its side: RAM, a convolutional network, and the reference.

RAM looks 8 times through three patches of 12x12 pixels, with the paper's networks, at canvases of each side. Beside it:
RAM that sums up cells over whole images whatever their size, as it does up to 128x128; the paper's convolutional
network; and, where a checkout is given, the reference. They take turns, side after side and round after round. Of each
turn the fastest call counts, and of the rounds the median. Times are the processor's, added up over all threads: what
else the machine does hardly matters, and with OMP_NUM_THREADS=1 no thread is counted that waits for another.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import time

import numpy as np

from config import get_config
from ram.speed.against import Other, Reference
from ram.speed.cases import PAPERS
from ram.system.cpu import num_threads, processor

SIDES = (28, 60, 120, 250, 500, 1000, 2000)
WHOLE_SIDES = SIDES[:-1]  # sums of 2000x2000 would take gigabytes
NETWORKS = {"ram": PAPERS, "whole": PAPERS, "conv": ["--model=conv"]}
BYTES = 2**24  # of a batch of the other networks, which turn it into float32, some of them several times


class Measured:
    """A network on canvases of one side, and the microseconds that an image takes.

    Args:
        name: of `NETWORKS`.
        side: in pixels.
        data_dir: folder of MNIST.
    """

    def __init__(self, name: str, side: int, data_dir: str):
        from data_loader import get_train_valid
        from model import Noise, draw_noise
        from ram.evaluation import batch_size
        from ram.fast.retina import FastRetina
        from trainer import Trainer
        from utils import to_tensor

        size = 128 if name == "ram" else max(1, min(128, BYTES // side**2))
        flags = ["--preset=cluttered60", *NETWORKS[name], f"--canvas_size={side}", f"--batch_size={size}"]
        self.name, self.config = name, get_config([*flags, f"--data_dir={data_dir}"])
        train, valid = get_train_valid(self.config)
        self.trainer = Trainer(self.config, train, valid, *[lambda *_: None] * 3)
        if name == "whole":
            for model in (self.trainer.model, self.trainer.evaluated):
                model.fast_retina = FastRetina(model.sensor.retina, whole=True)
        self.batch = train.batch(np.arange(size), epoch=1)
        count = min(batch_size((1, side, side)) if name == "ram" else size, len(valid))
        self.images = to_tensor(valid.batch(np.arange(count))[0])
        self.noise = Noise(*map(to_tensor, draw_noise(count, self.config.num_glimpses, "speed", 1)))
        self.train_us: list[float] = []
        self.evaluate_us: list[float] = []

    def measure(self, seconds: float) -> None:
        """Take training steps and evaluate, each for some time and at least once, and note the fastest of each."""
        import paddle

        model = self.trainer.evaluated
        step = fastest(lambda: self.trainer.train_step(*self.batch), seconds)
        with paddle.no_grad():
            look = fastest(
                lambda: float(model.rollout(model.prepare(self.images), self.noise).log_probs[0, 0]), seconds
            )
        self.train_us.append(step / len(self.batch[1]))
        self.evaluate_us.append(look / self.images.shape[0])


def fastest(function, seconds: float) -> float:
    """Call a function for some seconds and at least once, and return the processor's microseconds of the fastest."""
    times, until = [], time.process_time() + seconds
    while not times or time.process_time() < until:
        began = time.process_time()
        function()
        times.append(1e6 * (time.process_time() - began))
    return min(times)


def steps_at(side: int) -> int:
    """Return how many steps are timed: the processor's time of another process is known to a hundredth of a second."""
    return max(1, SIDES[-2] // side)


def microseconds_of(reference: Reference, side: int) -> float:
    """Let the reference take steps, and return the processor's microseconds of each (the clock's but on Linux)."""
    steps = steps_at(side)

    def used() -> float:
        with open(f"/proc/{reference.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    if not os.path.exists("/proc/self/stat"):
        return 1e6 * reference.order(f"steps {steps}")["seconds"] / steps
    before = used()
    reference.order(f"steps {steps}")
    return 1e6 * (used() - before) / steps


def reference_at(side: int, case: Measured, other: Other) -> Reference:
    """Start the reference on the images of a case's batch, in batches as large, one for each step."""
    x, y = (np.concatenate(steps_at(side) * [part]) for part in case.batch)
    return Reference(other, case.config, {"train_x": x, "train_y": y, "valid_x": x[:1], "valid_y": y[:1]})


def measure(data_dir: str, other: Other | None, quick: bool = False) -> dict:
    """Measure all networks at all sides.

    Returns:
        machine, threads, paddle, torch (with a reference), and under train_us and evaluate_us, by network and side,
        the microseconds per image: ram, whole, conv, and reference (training alone). Under ratios, by network, what
        1000x1000 takes over what 60x60 takes: train and evaluate. copy_us: of copying an image's bytes.
    """
    import paddle

    if other:
        other.check()
    rounds, seconds = (3, 0.05) if quick else (7, 0.15)
    figures = {"machine": processor(), "threads": num_threads(), "paddle": paddle.__version__}
    cases = {(n, s): Measured(n, s, data_dir) for s in SIDES for n in NETWORKS if n != "whole" or s in WHOLE_SIDES}
    train = {name: {} for name in (*NETWORKS, *["reference"] * bool(other))}
    evaluate, copy = {name: {} for name in NETWORKS}, {side: [] for side in SIDES}
    for (name, side), case in cases.items():
        train[name][side], evaluate[name][side] = case.train_us, case.evaluate_us
    with contextlib.ExitStack() as stack:
        references = {}
        for side in SIDES if other else ():
            references[side] = stack.enter_context(reference_at(side, cases["conv", side], other))
            figures["torch"], train["reference"][side] = references[side].facts["torch"], []
        for number in range(-1, rounds):
            for side in SIDES:
                print(f"\rround {number + 1}/{rounds}: side {side:<6}", end="", file=sys.stderr, flush=True)
                images = cases["ram", side].batch[0]
                copy[side].append(fastest(images.copy, 0) / len(images))
                for name in NETWORKS:
                    if (name, side) in cases:
                        cases[name, side].measure(seconds)
                if side in references:
                    took = microseconds_of(references[side], side)
                    train["reference"][side].append(took / len(cases["conv", side].batch[1]))
            if number < 0:  # not counted
                for row in (*train.values(), *evaluate.values(), copy):
                    for times in row.values():
                        times.clear()
    print(file=sys.stderr)
    ratios = {
        what: {name: round(statistics.median(b / a for a, b in zip(row[60], row[1000])), 3) for name, row in of.items()}
        for what, of in (("train", train), ("evaluate", evaluate))
    }
    medians = [{name: in_microseconds(row) for name, row in of.items()} for of in (train, evaluate)]
    return {
        **figures,
        "train_us": medians[0],
        "evaluate_us": medians[1],
        "copy_us": in_microseconds(copy),
        "ratios": ratios,
    }


def in_microseconds(row: dict[int, list[float]]) -> dict[str, float]:
    """Return the median of each side's times, as JSON has it."""
    return {str(side): round(statistics.median(times), 1) for side, times in row.items()}


LABELS = {
    "ram": ("RAM, 8 glimpses", "#0072b2"),
    "whole": ("RAM that sums up whole images", "#56b4e9"),
    "conv": ("convolutional network", "#d55e00"),
    "reference": ("reference (PyTorch)", "#009e73"),
}


def table(figures: dict) -> str:
    """Lay out the figures as a table."""
    lines = [f"{figures['machine']}, {figures['threads']} threads, the processor's microseconds per image"]
    lines.append(f"{'side':<40}" + "".join(f"{side:>9}" for side in SIDES))
    rows = [
        (f"{what}: {LABELS[n][0]}", row) for what in ("train", "evaluate") for n, row in figures[f"{what}_us"].items()
    ]
    for what, row in [*rows, ("copy of the bytes", figures["copy_us"])]:
        lines.append(f"{what:<40}" + "".join(f"{row.get(str(side), float('nan')):>9.1f}" for side in SIDES))
    return "\n".join(lines)


def plot(figures: dict, path: str) -> None:
    """Draw microseconds per image against the side, training and evaluation."""
    from matplotlib.figure import Figure

    from ram.draw import files

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, what in zip(axes, ("train", "evaluate")):
        for name, row in figures[f"{what}_us"].items():
            label, color = LABELS[name]
            axis.plot([int(side) for side in row], list(row.values()), "o-", color=color, label=label)
        axis.set(xscale="log", yscale="log", xlabel=f"side of the image in pixels ({what})", xticks=SIDES)
        axis.set_xticks(SIDES, [f"{side}" for side in SIDES])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("processor's microseconds per image")
    axes[0].legend()
    files.write(path, files.png(figure, dpi=100))
