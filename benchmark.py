"""Measure how fast RAM trains and evaluates on this machine, against what its arithmetic alone would take.

    python benchmark.py                          # all cases, a table
    python benchmark.py --case=mnist --quick     # one case, under a minute
    python benchmark.py --json=speed.json        # the same figures for machines
    python benchmark.py --plot                   # time per step against glimpses, batch size and patches
    python benchmark.py --ablation               # what each optimization is worth: without it, in turn
    python benchmark.py --processes              # 1 and 2 processes that train one model, with one thread each
    python benchmark.py --quality                # minutes of a training until 1 % validation error with M=10
    python benchmark.py --sides                  # cost of an image against its side; with --against, the reference's
    python benchmark.py --against=FOLDER         # beside kevinzakka/recurrent-visual-attention, from a checkout
    python benchmark.py --against=FOLDER --quality --against_python=PATH

Each case runs the trainer's own step of a preset, most with the paper's networks, on real images: drawing them,
forward, backward, optimizer and weight averaging. Cases take turns, round after round, and medians are given, so that a
machine whose speed drifts favors none.

The arithmetic floor: with P = k*C*g*g inputs, h = h_g + h_l and D units, one glimpse takes
P*h_g + 2*h_l + (h_g + h_l)*h + h*D + D*D multiplications (with an LSTM core 4*(h*D + D*D) at the end), one choice
D*D/2 + D/2*2 + D, the classification D*classes.
Each is a multiplication and an addition, forward once and backward twice (for weights and for inputs):

    FLOP per image and training step = 6 * (T * glimpse + (T-1) * choice + classification)

`floor_fraction` is the share of that floor reached: images per second * FLOP per image / rate of matrix products, where
the rate (`sgemm_gflops`) is that of paddle.matmul on 2048x2048 float32 in the same run, with the same threads.

Keys of the JSON: machine, threads, paddle, sgemm_gflops, startup_seconds (from the start of Python to the end of the
first training step), peak_memory_mb (of this process), and under cases.NAME: train_images_per_second,
eval_images_per_second (one rollout each), eval_cost (a rollout's cost in evaluation over an image's cost in training),
flop_per_image, floor_fraction, step_ms, shares (data, forward, backward, optimizer: parts of step_ms that add up to 1).
With --against: machine, threads, paddle, torch, and under cases.NAME: train_images_per_second,
reference_images_per_second, ratio, weights, reference_weights.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys

from ram.runs.checkpoint import set_aside
from ram.speed import against, sides
from ram.speed.ablation import ablation, time_to_quality
from ram.speed.cases import CASES, measure, table
from ram.speed.scaling import plot
from ram.speed.several import two_processes
from ram.system.command import command_line
from ram.system.cpu import choose_device, prepare_cpu, processor
from ram.system.parsing import Parser, path
from utils import UserError, file_access, is_there

# What can be measured besides the cases, with the flags that say nothing about it. The reference is last, since it goes
# with two of the others.
MODES = {
    "plot": ("case", "quick", "json"),
    "processes": ("case",),
    "sides": ("case",),
    "ablation": ("quick",),
    "quality": ("case", "quick"),
    "against": (),
}
NEEDS = {"quality_preset": "quality", "against_python": "against"}


def main(argv: list[str] | None = None) -> dict | list:
    """Parse the flags, measure, print and return the figures."""
    parser = Parser(prog="benchmark.py", description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--case", choices=[*CASES, "all"], default="all", help="which case")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: under a minute")
    parser.add_argument("--json", type=path, metavar="FILE", help="write the figures there, too")
    picture = {"type": path, "nargs": "?", "metavar": "FILE"}
    parser.add_argument("--plot", **picture, const="docs/images/scaling.png", help="draw the scaling")
    parser.add_argument("--sides", **picture, const="docs/images/sides.png", help="cost against side")
    parser.add_argument("--ablation", action="store_true", help="measure what each optimization is worth")
    parser.add_argument("--processes", action="store_true", help="measure 1 and 2 processes with one thread each")
    parser.add_argument("--quality", action="store_true", help="measure the time until 1 %% validation error")
    parser.add_argument("--quality_preset", default="mnist", metavar="NAME", help="which preset --quality trains")
    parser.add_argument(
        "--against", type=path, metavar="FOLDER", help="time a checkout of kevinzakka/recurrent-visual-attention, too"
    )
    parser.add_argument(
        "--against_python", type=path, default=sys.executable, metavar="PATH", help="its Python, with PyTorch"
    )
    parser.add_argument("--data_dir", type=path, default="./data", help="folder of the data")
    options = parser.parse_args(argv)
    check(parser.given(argv))
    if options.json:
        make_way(options.json)  # before minutes of measuring
    prepare_cpu()
    with contextlib.redirect_stdout(io.StringIO()):
        choose_device(False)
    figures = measured(options)
    if figures:  # a plot has none
        write(options.json, figures)
    return figures


def check(given: frozenset[str]) -> None:
    """Raise UserError where flags that were given ask for two things, or one of them says nothing."""
    modes = [mode for mode in MODES if mode in given]
    if len(modes) > 1 and modes not in (["sides", "against"], ["quality", "against"]):
        raise UserError(f"--{modes[0]} and --{modes[1]} are two different things to measure: choose one")
    for name in MODES[modes[0]] if modes else ():
        if name in given:
            raise UserError(f"--{name} says nothing about --{modes[0]}: leave it out")
    for name, mode in NEEDS.items():
        if name in given and mode not in modes:
            raise UserError(f"--{name} is for --{mode}, which was not asked for")


def measured(options: argparse.Namespace) -> dict | list:
    """Measure and print what the flags ask for, and return the figures."""
    if options.plot:
        plot(options.plot, options.data_dir)
        return {}
    if options.processes:
        figures = two_processes(options.data_dir, 1 if options.quick else 3)
        print(f"{processor()}\n{'batch':>8}{'1 process, img/s':>20}{'2 processes':>14}{'faster':>9}{'sum, ms':>9}")
        for row in figures:
            one, two = row["images_per_second"].values()
            print(f"{row['batch_size']:>8}{one:>20.0f}{two:>14.0f}{row['speedup']:>9.2f}{row['sum_ms']:>9.2f}")
        return figures
    if options.sides:
        other = against.Other(options.against, options.against_python) if options.against else None
        figures = sides.measure(os.path.abspath(options.data_dir), other, options.quick)
        print(sides.table(figures))
        sides.plot(figures, options.sides)
        return figures
    if options.against:
        return beside_the_reference(options)
    if options.quality:
        reached = time_to_quality(options.quality_preset, options.data_dir)
        print(
            f"validation error with M=10 under 1 % after {reached['epochs']} epochs, {reached['minutes']:.2f} minutes"
        )
        return reached
    names = list(CASES) if options.case == "all" else [options.case]
    if options.ablation:
        rates = ablation(names, options.data_dir)
        print(f"{'training images/s with':<30}" + "".join(f"{name:>14}" for name in names))
        for what, row in rates.items():
            print(f"{what:<30}" + "".join(f"{row[name]:>14.0f}" for name in names))
        return rates
    figures = measure(names, options.data_dir, options.quick)
    print(table(figures))
    return figures


def beside_the_reference(options: argparse.Namespace) -> dict:
    """Measure, print and return the figures of --against."""
    other = against.Other(options.against, options.against_python)
    if options.quality:
        figures = against.quality(other, options.quality_preset, options.data_dir)
        for name in ("ours", "reference"):
            print(f"{name:<12}{figures[name]['epochs']:>5} epochs {figures[name]['minutes']:>8.2f} minutes")
        print(f"ratio {figures['ratio']:.2f}")
    else:
        names = list(against.NAMES) if options.case == "all" else [options.case]
        figures = against.speed(other, names, options.data_dir, options.quick)
        print(against.speed_table(figures))
    return figures


def make_way(path: str) -> None:
    """Move earlier figures at a path aside.

    Raises:
        UserError: figures cannot be written there: something else is there, or its folder is not.
    """
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise UserError(f"--json={path}: there is no folder {folder}")
    if is_there(path):
        if os.path.islink(path) or not os.path.isfile(path):
            raise UserError(f"--json={path} is no ordinary file: name another")
        with file_access("read", path), open(path, "rb") as file:
            if file.read(1) not in (b"", b"{", b"["):
                raise UserError(f"{path} holds no figures of an earlier measurement: name another file by --json")
        print(f"[*] {path} was moved to {set_aside([path], os.path.basename(path))}")


def write(path: str | None, figures: dict | list) -> None:
    """Write figures as JSON where a file is named; raise UserError where it cannot be written."""
    if not path:
        return
    with file_access("write", path), open(path, "w", encoding="utf-8") as file:
        json.dump(figures, file, indent=2)


if __name__ == "__main__":
    command_line("benchmark.py", lambda: main() and None)
