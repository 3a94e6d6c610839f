"""Train and test several runs of one experiment that differ in their seed, for `--num_runs`."""

from __future__ import annotations

import argparse
import os
import statistics
from typing import Callable, NamedTuple

from config import DECIDING, FREE, KEPT, experiment_name, run_name
from ram.runs import checkpoint, jobs
from ram.runs.files import RunFiles, locked, locks_of, move_aside, put_aside
from ram.runs.find import own_file
from ram.runs.settings import deciding, differences, settings
from ram.runs.weights import read
from ram.system import processes
from utils import UserError, file_access, from_json, is_there, printable

METRICS = ("val_err", "val_loss", "train_acc", "train_loss")


def test(config: argparse.Namespace, test_one: Callable) -> None:
    """Test every run, and print the mean and the standard deviation of their errors.

    Raises:
        UserError: a run is missing, or two were trained differently in more than the seed.
    """
    check_alike(config)
    print(error_line([test_one(one).error for one in each(config)]))


def check_alike(config: argparse.Namespace) -> None:
    """Raise UserError where the trainings of the runs differ in more than the seed: their mean would mean nothing."""
    (first, expected), *others = [settings_of_training(one) for one in each(config)]
    for path, saved in others:
        differ = differences(saved, expected)
        if differ:
            raise UserError(f"{path} was not trained as {first} was: {printable(differ)}; only seeds may differ")


def settings_of_training(config: argparse.Namespace) -> tuple[str, dict]:
    """Read the settings that a run was trained with, from its latest state if that exists, and name the file.

    The best checkpoint may be from before its training was prolonged.
    """
    files = RunFiles(config)
    best = own_file(config, files)
    path = files.last() if files.started() else best
    return path, read(path).settings


def train_and_test(config: argparse.Namespace, load: Callable, train: Callable, test_one: Callable) -> None:
    """Train and test --num_runs runs, one after the other, or --jobs of them at once.

    With --resume, finished runs are only tested again, with the same result; a stopped run goes on, and runs that had
    not begun are trained with the settings of those that had.

    Args:
        config: the settings of all runs; random_seed is that of the first.
        load: loads all images of a run, training to test, so that what is wrong with them is known before all else.
        train: from the settings of a run to the records of its epochs.
        test_one: from the settings of a run to an `Evaluation`.
    """
    if config.jobs > 1:
        jobs.check(config)
    name = experiment_name(config)
    path = os.path.join(config.logs_dir, name + "_results.json")
    with locked(*locks_of(name + "_runs", config.ckpt_dir, config.logs_dir, config.plots_dir)):
        if config.resume:
            config = with_settings_of_begun(config)
            if processes.is_first() and tells_of_others(path, {one.random_seed for one in each(config)}):
                put_aside([path], name, config)
        else:
            load(each(config)[0])
            of_all = [file for one in each(config) for file in RunFiles(one).of_a_run()]
            move_aside([*of_all, path], name, config)
        runs, done = each(config), []
        for one in runs:
            one.resume = RunFiles(one).started()

        def keep(number: int, history: list[dict], test: object) -> None:
            done.append(Run(runs[number].random_seed, run_name(runs[number]), history, test))
            done.sort(key=lambda run: run.seed)  # jobs end in any order
            if processes.is_first():
                checkpoint.write_json(path, results(config, done))

        if config.jobs > 1:
            jobs.train_and_test(config, runs, keep)
        else:
            for number, one in enumerate(runs):
                print(f"\n[*] Run {number + 1} of {config.num_runs}: {run_name(one)}")
                keep(number, train(one), test_one(one))
    print(error_line([run.test.error for run in done]))


def with_settings_of_begun(config: argparse.Namespace) -> argparse.Namespace:
    """Adopt the settings of the first run that had begun, as if given.

    Raises:
        UserError: another run was trained with others, or for more epochs than this one is to be.
    """
    from ram.resume import read_state

    begun_runs = [one for one in each(config) if RunFiles(one).started()]
    first = begun_runs[0] if begun_runs else each(config)[0]
    read_state(first, RunFiles(first))
    for one in begun_runs:
        path = RunFiles(one).latest
        saved = checkpoint.read_latest(path).get("settings")
        if not isinstance(saved, dict):
            continue  # it is refused when its turn comes
        differ = differences({**saved, **lengths(first)}, settings(first))
        if differ:
            raise UserError(f"{path} was not trained as {RunFiles(first).latest} was: {printable(differ)}")
        if saved.get("epochs", 0) > first.epochs:
            raise UserError(f"{path} was trained for {saved['epochs']} epochs: --epochs={first.epochs} is less")
    given = first.explicit | set(settings(first)) - FREE | lengths(first).keys()
    return argparse.Namespace(**{**vars(first), "random_seed": config.random_seed, "explicit": given})


def lengths(config: argparse.Namespace) -> dict:
    """Return the settings that decide how long a training is, which a resumed one may have anew."""
    return {name: getattr(config, name) for name in DECIDING if name in KEPT}


class Run(NamedTuple):
    """A finished run."""

    seed: int
    name: str
    history: list[dict]  # the records of its epochs
    test: object  # the `evaluation.Evaluation` of its best epoch on the test images


def each(config: argparse.Namespace) -> list[argparse.Namespace]:
    """List the settings of every run: those given, with the seeds random_seed, random_seed + 1 and so on."""
    explicit = config.explicit | {"random_seed"}
    seeds = range(config.random_seed, config.random_seed + config.num_runs)
    return [argparse.Namespace(**{**vars(config), "random_seed": seed, "explicit": explicit}) for seed in seeds]


def begun(config: argparse.Namespace) -> bool:
    """Tell whether this very training was begun, its length included: `--resume=auto` then goes on with it.

    Of several runs, the first that has a checkpoint decides.

    Raises:
        UserError: the checkpoint cannot be read.
    """
    for one in each(config):
        files = RunFiles(one)
        if files.started():
            saved, given = checkpoint.read_latest(files.latest).get("settings"), settings(one)
            if isinstance(saved, dict) and deciding(saved) == deciding(given):
                return True
            if isinstance(saved, dict):
                others = differences(saved, given) or "another --random_seed"
                print(f"[*] {files.latest} was trained with other settings: {printable(others)}")
            else:
                print(f"[*] {files.latest} does not say with which settings it was trained")
            return False
    return False


def spread(values: list[float]) -> dict[str, float | None]:
    """Compute mean and standard deviation of a sample (over N - 1); std is None for a single number."""
    return {"mean": statistics.fmean(values), "std": statistics.stdev(values) if len(values) > 1 else None}


def tells_of_others(path: str, seeds: set[int]) -> bool:
    """Tell whether there is a file that holds something else than results of runs with some of these seeds."""
    if not is_there(path):
        return False
    with file_access("read", path), open(path, encoding="utf-8") as file:
        try:
            return not {run["seed"] for run in from_json(file.read())["runs"]} <= seeds
        except (ValueError, TypeError, KeyError):
            return True


def results(config: argparse.Namespace, runs: list[Run]) -> dict:
    """Summarize the runs as plain data; an epoch's figures are over the runs that reached it."""
    longest = max(len(run.history) for run in runs)
    return {
        "experiment": experiment_name(config),
        "settings": settings(config),
        "test_err": spread([run.test.error for run in runs]),
        "runs": [run_summary(run) for run in runs],
        "epochs": [epoch_summary(epoch, runs) for epoch in range(1, longest + 1)],
    }


def run_summary(run: Run) -> dict:
    """Summarize a run: seed, length, best epoch and test."""
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
    """Compute mean and standard deviation of an epoch's figures, and the number of runs."""
    records = [run.history[epoch - 1] for run in runs if len(run.history) >= epoch]
    figures = {metric: spread([record[metric] for record in records]) for metric in METRICS}
    return {"epoch": epoch, "runs": len(records), **figures}


def error_line(errors: list[float]) -> str:
    """Write mean and standard deviation of test errors, in percent."""
    mean, std = spread(errors).values()
    return f"[*] Test error: {mean:.2f} +- {'n/a' if std is None else format(std, '.2f')} over {len(errors)} runs, in %"
