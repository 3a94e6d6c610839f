"""How fast RAM trains and evaluates on this machine, against what its arithmetic alone would take.

    python benchmark.py                          # all cases, a table
    python benchmark.py --case=mnist --quick     # one case, under a minute
    python benchmark.py --json=speed.json        # the same figures for machines
    python benchmark.py --plot                   # time per step against glimpses, batch size and patches
    python benchmark.py --ablation               # what each optimisation is worth: without it, in turn
    python benchmark.py --processes              # 1 and 2 processes that train one model, with one thread each
    python benchmark.py --quality                # minutes of `python main.py` until 1 % validation error with M=10

Each case runs the trainer's own step of the default recipe on real images: drawing them, forward, backward, optimiser
and weight averaging. Cases take turns, round after round, and medians are given, so that a machine whose speed drifts
favours none.

The arithmetic floor: with P = k*C*g*g inputs, h = h_g + h_l and D units, one glimpse takes
P*h_g + 2*h_l + (h_g + h_l)*h + h*D + D*D multiplications, one choice D*D/2 + D/2*2 + D, the classification D*classes.
Each is a multiplication and an addition, forward once and backward twice (for weights and for inputs):

    FLOP per image and training step = 6 * (T * glimpse + (T-1) * choice + classification)

`floor_fraction` is the share of that floor reached: images per second * FLOP per image / rate of matrix products, where
the rate (`sgemm_gflops`) is that of paddle.matmul on 2048x2048 float32 in the same run, with the same threads.

Keys of the JSON: machine, threads, paddle, sgemm_gflops, startup_seconds (from the start of Python to the end of the
first training step), peak_memory_mb (of this process), and under cases.NAME: train_images_per_second,
eval_images_per_second (one rollout each), eval_cost (a rollout's cost in evaluation over an image's cost in training),
flop_per_image, floor_fraction, step_ms, shares (data, forward, backward, optimizer: parts of step_ms that add up to 1).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from config import get_config
from ram.system import processes
from ram.system.command import command_line
from ram.system.cpu import choose_device, num_threads, prepare_cpu, processor
from utils import UserError

PAPERS = ["--core=relu", "--glimpse_hidden=128", "--loc_hidden=128", "--hidden_size=256"]
CASES = {  # with the paper's networks; what those of the presets cost on canvases is measured beside them
    "mnist": [],
    "translated60": ["--preset=translated", *PAPERS],
    "cluttered60": ["--preset=cluttered60", *PAPERS],
    "cluttered100": ["--preset=cluttered100", *PAPERS],
    "cluttered60_preset": ["--preset=cluttered60"],
    "cluttered100_preset": ["--preset=cluttered100"],
}
STAGES = ("data", "forward", "backward", "optimizer")


def flop_per_image(model, num_glimpses: int) -> int:
    """Floating-point operations that one image costs in a training step: the formula of this file's docstring."""
    s, r = model.sensor, model.rnn
    glimpse = sum(layer.weight.size for layer in (s.fc1, s.fc2, s.fc3, s.fc4, r.i2h, r.h2h))
    choosing = (model.locator.fc, model.locator.fc_lt, model.baseliner.fc)
    choice = sum(layer.weight.size for layer in choosing if layer)
    macs = num_glimpses * glimpse + (num_glimpses - 1) * choice + model.classifier.fc.weight.size
    return 6 * int(macs)


def sgemm_gflops(repeats: int = 5, size: int = 2048) -> float:
    """Rate of paddle.matmul on float32, in 10**9 operations per second: the best of a few runs."""
    import paddle

    a = paddle.rand([size, size])
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        paddle.matmul(a, a).numpy()[0, 0]
        times.append(time.perf_counter() - began)
    return 2 * size**3 / min(times[1:]) / 1e9


class Case:
    """A trainer that does steps on demand, and the times they took."""

    def __init__(self, name: str, flags: list[str], data_dir: str):
        from data_loader import get_train_valid
        from trainer import Trainer

        self.name = name
        self.config = get_config([*flags, f"--data_dir={data_dir}"])
        train, valid = get_train_valid(self.config)
        self.trainer = Trainer(self.config, train, valid, *[lambda *_: None] * 3)
        self.flop = flop_per_image(self.trainer.model, self.config.num_glimpses)
        self.batches = iter(())
        self.stage_times: dict[str, list[float]] = {stage: [] for stage in STAGES}
        self.train_rates: list[float] = []
        self.eval_rates: list[float] = []

    def next_batch(self):
        """The next full batch of the training (this process's share of it), however many epochs it takes."""
        while True:
            batch = next(self.batches, None)
            if batch is None:
                self.trainer.epoch, self.trainer.step = self.trainer.epoch + 1, 0
                self.batches = self.trainer.batches()
            elif (self.trainer.step + 1) * self.config.batch_size <= len(self.trainer.train):
                return batch

    def train(self, steps: int) -> None:
        """Time whole training steps, as the trainer does them."""
        began = time.perf_counter()
        for _ in range(steps):
            self.trainer.train_step(*self.next_batch(), self.config.batch_size)
            self.trainer.step += 1
        self.train_rates.append(steps * self.config.batch_size / (time.perf_counter() - began))

    def profile(self, steps: int) -> None:
        """Time the stages of steps."""
        for _ in range(steps):
            marks = [time.perf_counter()]
            batch = self.next_batch()
            marks.append(time.perf_counter())
            loss, _ = self.trainer.forward(*batch)
            float(loss)
            marks.append(time.perf_counter())
            loss.backward()
            marks.append(time.perf_counter())
            self.trainer.update()
            self.trainer.step += 1
            marks.append(time.perf_counter())
            for stage, start, end in zip(STAGES, marks, marks[1:]):
                self.stage_times[stage].append(end - start)

    def evaluate(self, images: int) -> None:
        """Time the evaluation of the first validation images with one rollout each."""
        from ram.evaluation import evaluate

        c, split = self.config, self.trainer.valid
        split.labels = split.labels[:images]
        began = time.perf_counter()
        evaluate(self.trainer.evaluated, split, c.num_glimpses, 1, "sampled", c.random_seed)
        self.eval_rates.append(len(split) / (time.perf_counter() - began))

    def result(self, gflops: float) -> dict:
        """The figures, under the keys that this file's docstring explains."""
        rate, evaluation = statistics.median(self.train_rates), statistics.median(self.eval_rates)
        medians = {stage: statistics.median(times) for stage, times in self.stage_times.items()}
        return {
            "train_images_per_second": round(rate, 1),
            "eval_images_per_second": round(evaluation, 1),
            "eval_cost": round(rate / evaluation, 4),
            "flop_per_image": self.flop,
            "floor_fraction": round(rate * self.flop / (gflops * 1e9), 4),
            "step_ms": round(1000 * self.config.batch_size / rate, 3),
            "shares": {stage: round(value / sum(medians.values()), 4) for stage, value in medians.items()},
        }


def startup_seconds(data_dir: str) -> float:
    """Seconds from the start of a fresh Python to the end of the first training step of the default recipe."""
    script = (
        "import benchmark; from ram.system import cpu; cpu.prepare_cpu(); "
        f"case = benchmark.Case('mnist', [], {data_dir!r}); case.train(1); import time; print(time.time())"
    )
    began = time.time()
    here = os.path.dirname(os.path.abspath(__file__))
    run = subprocess.run([sys.executable, "-c", script], cwd=here, capture_output=True, text=True, check=True)
    return float(run.stdout.split()[-1]) - began


def peak_memory_mb() -> float:
    """The largest memory that this process has had; 0 where the system does not tell."""
    if os.path.exists("/proc/self/status"):  # on Linux, getrusage also counts the process that started this one
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def measure(names: list[str], data_dir: str, quick: bool = False) -> dict:
    """Measure the named cases and return all figures."""
    import paddle

    rounds, steps, images = (3, 30, 1000) if quick else (7, 100, 5000)
    data_dir = os.path.abspath(data_dir)
    cases = [Case(name, CASES[name], data_dir) for name in names]
    for case in cases:  # first steps make layouts, and are not counted
        case.train(5)
        case.evaluate(images)
        case.train_rates.clear()
        case.eval_rates.clear()
    products = []
    for number in range(rounds):
        products.append(sgemm_gflops())
        for case in cases:
            print(f"\rround {number + 1}/{rounds}: {case.name:<13}", end="", file=sys.stderr, flush=True)
            case.train(steps)
            case.profile(steps // 3)
            case.evaluate(images)
    print(file=sys.stderr)
    gflops = statistics.median(products)
    return {
        "machine": processor(),
        "threads": num_threads(),
        "paddle": paddle.__version__,
        "sgemm_gflops": round(gflops, 1),
        "startup_seconds": round(startup_seconds(data_dir), 2),
        "peak_memory_mb": round(peak_memory_mb(), 1),
        "cases": {case.name: case.result(gflops) for case in cases},
    }


def table(figures: dict) -> str:
    """The figures for people."""
    lines = [
        f"{figures['machine']}, {figures['threads']} threads, paddle {figures['paddle']}",
        f"matrix products {figures['sgemm_gflops']:.0f} GFLOP/s, first step after {figures['startup_seconds']:.1f} s, "
        f"peak memory {figures['peak_memory_mb']:.0f} MB",
        "",
        f"{'case':<20}{'train img/s':>12}{'of floor':>9}{'step ms':>9}{'eval img/s':>12}{'eval cost':>10}"
        + "".join(f"{stage:>10}" for stage in STAGES),
    ]
    for name, case in figures["cases"].items():
        lines.append(
            f"{name:<20}{case['train_images_per_second']:>12.0f}{100 * case['floor_fraction']:>8.1f}%"
            f"{case['step_ms']:>9.2f}{case['eval_images_per_second']:>12.0f}{case['eval_cost']:>10.2f}"
            + "".join(f"{100 * case['shares'][stage]:>9.0f}%" for stage in STAGES)
        )
    return "\n".join(lines)


# What makes training fast. Without it: Python to run before and after paddle is set up, and environment variables.
NO_MEMORY = "cpu.keep_memory = lambda: None"
PLAIN = "import model; model.RecurrentAttention.rollout = model.RecurrentAttention.plain_rollout"
ABLATION = {
    "everything": ("", "", {}),
    "the plain rollout": ("", PLAIN, {}),
    "freed memory given back": (NO_MEMORY, "", {}),
    "MKL's own choice of kernels": ("", "", {"MKL_DEBUG_CPU_TYPE": "0"}),
    "one thread": ("", "", {"OMP_NUM_THREADS": "1"}),
    "none of them": (NO_MEMORY, PLAIN, {"MKL_DEBUG_CPU_TYPE": "0", "OMP_NUM_THREADS": "1"}),
}


def ablation(names: list[str], data_dir: str, rounds: int = 3) -> dict[str, dict[str, float]]:
    """Training images per second without each optimisation: {what: {case: median}}, in processes that take turns."""
    rates = {what: {name: [] for name in names} for what in ABLATION}
    for _ in range(rounds):
        for what, (before, after, environment) in ABLATION.items():
            for name in names:
                print(f"\r{name}, {what:<40}", end="", file=sys.stderr, flush=True)
                script = (
                    f"import benchmark\nfrom ram.system import cpu\n{before}\ncpu.prepare_cpu()\n{after}\n"
                    f"case = benchmark.Case({name!r}, benchmark.CASES[{name!r}], {os.path.abspath(data_dir)!r})\n"
                    "case.train(10)\ncase.train(50)\nprint(case.train_rates[-1])"
                )
                here = os.path.dirname(os.path.abspath(__file__))
                environ = {**os.environ, **environment}
                run = subprocess.run(
                    [sys.executable, "-c", script], cwd=here, env=environ, capture_output=True, text=True, check=True
                )
                rates[what][name].append(float(run.stdout.split()[-1]))
    print(file=sys.stderr)
    return {what: {name: statistics.median(values) for name, values in row.items()} for what, row in rates.items()}


class Reached(Exception):
    """The validation error is low enough."""


PROCESSES, BATCHES = (1, 2), (128, 512, 2048)


def one_of_several(data_dir: str) -> None:
    """What each process of `two_processes` does; the first prints a JSON object per batch size."""
    import paddle

    prepare_cpu()
    paddle.base.core.set_num_threads(1)
    choose_device(False)
    with processes.together():
        for size in BATCHES:
            case = Case("mnist", [f"--batch_size={size}"], data_dir)
            case.train(3)
            case.train_rates.clear()
            for _ in range(5):
                case.train(max(5, 2560 // size))
            sums = []
            for _ in range(20):
                began = time.perf_counter()
                processes.add_up(case.trainer.parameters)[0].numpy()
                sums.append(time.perf_counter() - began)
            figures = {
                "images_per_second": statistics.median(case.train_rates),
                "sum_ms": 1000 * statistics.median(sums),
            }
            print(json.dumps({"batch_size": size, **figures}), flush=True)


def two_processes(data_dir: str, rounds: int = 3) -> list[dict]:
    """Training images per second of the default recipe with 1 and 2 processes, which take turns, a thread each.

    Returns:
        for each batch size (of all processes together): batch_size, images_per_second by number of processes,
        speedup, and sum_ms: what adding up all gradients takes.
    """
    found = {size: {count: [] for count in PROCESSES} for size in BATCHES}
    here = os.path.dirname(os.path.abspath(__file__))
    script = f"import benchmark; benchmark.one_of_several({os.path.abspath(data_dir)!r})"
    for number in range(rounds):
        for count in PROCESSES:
            print(f"\rround {number + 1}/{rounds}: {count} processes", end="", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory() as logs:
                launcher = ["-m", "paddle.distributed.launch", f"--nproc_per_node={count}", f"--log_dir={logs}"]
                command = [sys.executable, *launcher, sys.executable, "-c", script]
                run = subprocess.run(command, cwd=here, capture_output=True, text=True)
            lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith('{"batch_size"')]
            if run.returncode or len(lines) != len(BATCHES):
                raise UserError(f"{count} processes failed: {(run.stdout + run.stderr).strip()[-500:]}")
            for line in lines:
                found[line["batch_size"]][count].append(line)
    print(file=sys.stderr)
    figures = []
    for size, runs in found.items():
        rates = {n: statistics.median(line["images_per_second"] for line in lines) for n, lines in runs.items()}
        sum_ms = statistics.median(line["sum_ms"] for line in runs[PROCESSES[-1]])
        speedup = rates[PROCESSES[-1]] / rates[1]
        figures.append({"batch_size": size, "images_per_second": rates, "speedup": speedup, "sum_ms": sum_ms})
    return figures


def time_to_quality(data_dir: str, error: float = 1.0) -> dict:
    """Train with the default recipe, but M=10 at validation, until that error (in percent) is undercut.

    Returns:
        "epochs", and "minutes" with all validations in them.
    """
    from data_loader import get_train_valid
    from trainer import Trainer

    def log(record: dict, _) -> None:
        if record["val_err"] < error:
            raise Reached

    config = get_config(["--valid_M=10", f"--data_dir={os.path.abspath(data_dir)}"])
    trainer = Trainer(config, *get_train_valid(config), save=lambda _: None, save_best=lambda _: None, log=log)
    began = time.perf_counter()
    with contextlib.suppress(Reached):
        trainer.fit()
        raise UserError(f"the training has ended with no validation error below {error} %")
    return {"epochs": trainer.epoch, "minutes": (time.perf_counter() - began) / 60}


def step_ms(flags: list[str], data_dir: str, steps: int = 30) -> float:
    """Median milliseconds of a training step with these flags."""
    case = Case("", flags, data_dir)
    case.train(3)
    case.train_rates.clear()
    for _ in range(5):
        case.train(max(1, steps // 5))
    return 1000 * case.config.batch_size / statistics.median(case.train_rates)


def plot(path: str, data_dir: str) -> None:
    """Draw how the time of a step grows with glimpses, batch size and patches, and memory with epochs."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = {
        "glimpses per image": ([2, 4, 6, 8, 12, 16], lambda n: [f"--num_glimpses={n}"]),
        "images per batch": ([32, 64, 128, 256, 512], lambda n: [f"--batch_size={n}"]),
        "patches per glimpse (60x60)": ([1, 2, 3, 4], lambda n: [*CASES["translated60"], f"--num_patches={n}"]),
    }
    figure, axes = plt.subplots(1, 4, figsize=(15, 3.6), layout="constrained")
    for axis, (label, (values, flags)) in zip(axes, panels.items()):
        axis.plot(values, [step_ms(flags(value), data_dir) for value in values], "o-", color="#0072b2")
        axis.set(xlabel=label, ylabel="ms per training step")
    axes[3].plot(*memory_over_epochs(data_dir), "o-", color="#d55e00")
    axes[3].set(xlabel="epochs (of 6,000 images)", ylabel="memory in MB")
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.set(xlim=(0, None), ylim=(0, 1.1 * axis.dataLim.y1))
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    figure.savefig(path, dpi=100)
    print(f"[*] Wrote {path}")


def memory_over_epochs(data_dir: str, epochs: int = 30) -> tuple[list[int], list[float]]:
    """Resident memory in MB after each epoch of a small training; Linux only, elsewhere the peak."""
    case = Case("", ["--limit=6000"], data_dir)
    sizes = []
    for _ in range(epochs):
        case.train(case.trainer.steps_per_epoch)
        try:
            with open("/proc/self/statm", encoding="ascii") as file:
                sizes.append(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20)
        except OSError:
            sizes.append(peak_memory_mb())
    return list(range(1, epochs + 1)), sizes


def main(argv: list[str] | None = None) -> dict:
    """Parse the flags, measure, print; returns the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--case", choices=[*CASES, "all"], default="all", help="which case")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: under a minute")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    parser.add_argument("--plot", nargs="?", const="docs/images/scaling.png", metavar="FILE", help="draw the scaling")
    parser.add_argument("--ablation", action="store_true", help="measure what each optimisation is worth")
    parser.add_argument("--processes", action="store_true", help="measure 1 and 2 processes with one thread each")
    parser.add_argument("--quality", action="store_true", help="measure the time until 1 %% validation error")
    parser.add_argument("--data_dir", default="./data", help="folder of the data")
    options = parser.parse_args(argv)
    prepare_cpu()
    with contextlib.redirect_stdout(io.StringIO()):
        choose_device(False)
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
    if options.quality:
        reached = time_to_quality(options.data_dir)
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
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=2)
    return figures


if __name__ == "__main__":
    command_line("benchmark.py", lambda: main() and None)
