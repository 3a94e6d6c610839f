"""Several runs of one experiment that differ in their seed, and what they have in common: `--num_runs`."""

from __future__ import annotations

import argparse
import statistics
from typing import NamedTuple

from config import experiment_name
from ram.runs.settings import settings

METRICS = ("val_err", "val_loss", "train_acc", "train_loss")


class Run(NamedTuple):
    """A finished run."""

    seed: int
    name: str
    history: list[dict]  # the records of its epochs
    test: object  # the `evaluation.Evaluation` of its best epoch on the test images


def each(config: argparse.Namespace) -> list[argparse.Namespace]:
    """The settings of every run: those given, with the seeds random_seed, random_seed + 1, ..."""
    explicit = config.explicit | {"random_seed"}
    seeds = range(config.random_seed, config.random_seed + config.num_runs)
    return [argparse.Namespace(**{**vars(config), "random_seed": seed, "explicit": explicit}) for seed in seeds]


def spread(values: list[float]) -> dict[str, float | None]:
    """Mean and standard deviation of a sample (over N - 1); of a single number there is none, so std is None."""
    return {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else None}


def results(config: argparse.Namespace, runs: list[Run]) -> dict:
    """What the runs have brought, as plain data. An epoch's figures are over the runs that got as far."""
    longest = max(len(run.history) for run in runs)
    return {
        "experiment": experiment_name(config),
        "settings": settings(config),
        "test_err": spread([run.test.error for run in runs]),
        "runs": [run_summary(run) for run in runs],
        "epochs": [epoch_summary(epoch, runs) for epoch in range(1, longest + 1)],
    }


def run_summary(run: Run) -> dict:
    """A run's seed, length, best epoch and test."""
    best = [record for record in run.history if record["best"]][-1]
    return {
        "seed": run.seed,
        "run": run.name,
        "epochs": len(run.history),
        "best_epoch": best["epoch"],
        "val_err": best["val_err"],
        "test_err": run.test.error,
        "test_correct": run.test.correct,
        "test_count": run.test.count,
        "M": run.test.rollouts,
    }


def epoch_summary(epoch: int, runs: list[Run]) -> dict:
    """Mean and standard deviation of an epoch's figures, and over how many runs."""
    records = [run.history[epoch - 1] for run in runs if len(run.history) >= epoch]
    figures = {metric: spread([record[metric] for record in records]) for metric in METRICS}
    return {"epoch": epoch, "runs": len(records), **figures}


def error_line(errors: list[float]) -> str:
    """Test errors, in percent, as their mean and standard deviation."""
    mean, std = spread(errors).values()
    return f"[*] Test error: {mean:.2f} +- {'n/a' if std is None else format(std, '.2f')} over {len(errors)} runs, in %"
