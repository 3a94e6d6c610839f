"""Measure one and two processes that train one model."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from ram.speed.cases import ROOT, Case
from ram.system import processes
from ram.system.cpu import choose_device, prepare_cpu
from utils import UserError

PROCESSES, BATCHES = (1, 2), (128, 512, 2048)


def one_of_several(data_dir: str) -> None:
    """Train in one process of `two_processes`; the first process prints a JSON object per batch size."""
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
    """Measure training images per second of the default recipe with 1 and 2 processes, in turns, a thread each.

    Returns:
        For each batch size (of all processes together): batch_size, images_per_second by number of processes,
        speedup, and sum_ms, the time of adding up all gradients.
    """
    measured = {size: {count: [] for count in PROCESSES} for size in BATCHES}
    script = f"from ram.speed.several import one_of_several; one_of_several({os.path.abspath(data_dir)!r})"
    for number in range(rounds):
        for count in PROCESSES:
            print(f"\rround {number + 1}/{rounds}: {count} processes", end="", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory() as logs:
                launcher = ["-m", "paddle.distributed.launch", f"--nproc_per_node={count}", f"--log_dir={logs}"]
                command = [sys.executable, *launcher, sys.executable, "-c", script]
                run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith('{"batch_size"')]
            if run.returncode or len(lines) != len(BATCHES):
                raise UserError(f"{count} processes failed: {(run.stdout + run.stderr).strip()[-500:]}")
            for line in lines:
                measured[line["batch_size"]][count].append(line)
    print(file=sys.stderr)
    figures = []
    for size, runs in measured.items():
        rates = {n: statistics.median(line["images_per_second"] for line in lines) for n, lines in runs.items()}
        sum_ms = statistics.median(line["sum_ms"] for line in runs[PROCESSES[-1]])
        speedup = rates[PROCESSES[-1]] / rates[1]
        figures.append({"batch_size": size, "images_per_second": rates, "speedup": speedup, "sum_ms": sum_ms})
    return figures
