"""Time cases: a trainer's own steps and evaluations, in turns, against what their arithmetic alone would take."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

from config import get_config
from ram.system.cpu import num_threads, processor
from utils import UserError

PAPERS = ["--core=relu", "--glimpse_hidden=128", "--loc_hidden=128", "--hidden_size=256", "--batch_size=128"]

CASES = {  # with the paper's networks; what those of the presets cost on canvases is measured beside them
    "mnist": ["--preset=mnist", "--num_glimpses=6", "--patch_size=8", "--num_patches=1", *PAPERS],
    "translated60": ["--preset=translated", *PAPERS],
    "cluttered60": ["--preset=cluttered60", *PAPERS],
    "cluttered100": ["--preset=cluttered100", *PAPERS],
    "cluttered60_preset": ["--preset=cluttered60"],
    "cluttered100_preset": ["--preset=cluttered100"],
}

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
STAGES = ("data", "forward", "backward", "optimizer")


def flop_per_image(model, num_glimpses: int) -> int:
    """Count the floating-point operations of one image in a training step, by the formula in benchmark.py."""
    s, r = model.sensor, model.rnn
    glimpse = sum(layer.weight.size for layer in (s.fc1, s.fc2, s.fc3, s.fc4, r.i2h, r.h2h))
    choosing = (model.locator.fc, model.locator.fc_lt, model.baseliner.fc)
    choice = sum(layer.weight.size for layer in choosing if layer)
    macs = num_glimpses * glimpse + (num_glimpses - 1) * choice + model.classifier.fc.weight.size
    return 6 * int(macs)


def sgemm_gflops(repeats: int = 5, size: int = 2048) -> float:
    """Measure the rate of paddle.matmul on float32, in 10**9 operations per second: the best of a few runs."""
    import paddle

    a = paddle.rand([size, size])
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        paddle.matmul(a, a).numpy()[0, 0]
        times.append(time.perf_counter() - began)
    return 2 * size**3 / min(times[1:]) / 1e9


class Case:
    """A trainer that takes steps on demand, and the times they took."""

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
        """Return the next full batch of the training (this process's share), starting a new epoch where one ends."""
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
        """Time the stages of training steps."""
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
        """Return the figures, under the keys that benchmark.py's docstring explains."""
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
    """Measure the seconds from the start of Python to the end of the first training step of the default recipe."""
    script = (
        "from ram.system import cpu; cpu.prepare_cpu(); from ram.speed.cases import Case; "
        f"case = Case('mnist', [], {data_dir!r}); case.train(1); import time; print(time.time())"
    )
    began = time.time()
    return printed_by(script) - began


def printed_by(script: str, environment: dict[str, str] | None = None) -> float:
    """Run Python of its own in the project's folder, and return the number that it prints last.

    Raises:
        UserError: it failed, with the last line of its errors.
    """
    environ = {**os.environ, **(environment or {})}
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environ, capture_output=True, text=True)
    if run.returncode:
        lines = run.stderr.strip().splitlines() or [f"a measurement ended with status {run.returncode}"]
        raise UserError(lines[-1].removeprefix("utils.UserError: "))
    return float(run.stdout.split()[-1])


def peak_memory_mb() -> float:
    """Return the peak memory of this process in MB; 0 where the system does not report it."""
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
    """Lay out the figures as a table."""
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
