"""Draw curves of trainings: error and accuracy over epochs, read from logs of several layouts and averaged."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ram.draw.files import content_of
from ram.draw.style import GRAY, INK, PALETTE, SMALL, TEXT, WIDTH, write
from utils import UserError, file_access, from_json

QUANTITIES = ("val_err", "train_err", "test_err", "val_acc", "train_acc", "test_acc")
COMPLEMENT = {  # 100 - the one is the other
    f"{of}_{one}": f"{of}_{other}" for of in ("val", "train", "test") for one, other in (("err", "acc"), ("acc", "err"))
}
# How the lines of each set of images are drawn.
LINES = {
    "validation": ("val", {"lw": 1.6}),
    "test": ("test", {"lw": 1.6, "ls": (0, (6, 1.5, 1, 1.5))}),
    "training": ("train", {"lw": 1, "ls": (0, (3, 2))}),
}


class Curve(NamedTuple):
    """A quantity's mean and standard deviation over runs, epoch by epoch."""

    label: str
    epochs: np.ndarray  # (n,)
    mean: dict[str, np.ndarray]  # by quantity, (n,)
    std: dict[str, np.ndarray]  # NaN where there is a single run
    runs: int  # how many at most
    averaged: bool  # whether the file holds means already


def read_curve(path: str) -> Curve:
    """Read the quantities over epochs from a file.

    Args:
        path: one of
            `<run>.jsonl`, an object per line and epoch;
            `<experiment>_results.json`, whose "epochs" are such objects with {"mean": ..., "std": ...} per quantity;
            {"epochs": [1, 2, ...], "val_err": [...]} with a list, or {"mean": [...], "std": [...]}, per quantity;
            {"learning_steps": [0, 10, ...], "accuracy": [...], "accuracy_std": [...]}, the results of the Keras
            version: accuracy on the test images, as fractions, over epochs.

    Raises:
        UserError: the file cannot be read, or holds no epochs.
    """
    with content_of(path, "curves of a training"):
        with file_access("read", path), open(path, encoding="utf-8") as file:
            text = file.read()
        try:
            content = from_json(text)
        except ValueError:
            content = json_lines(text)
        label = re.sub(r"_results$", "", os.path.splitext(os.path.basename(path))[0])
        return curve_of(records_of(content), label)


def json_lines(text: str) -> list:
    """Read the objects in a log, without an incomplete last line: it belongs to a training under way."""
    records, lines = [], text.splitlines(keepends=True)
    for count, line in enumerate(lines, start=1):
        try:
            records.append(from_json(line))
        except ValueError:
            if count < len(lines) or line.endswith("\n") or not records:
                raise ValueError(f"line {count} is not JSON") from None
    return records


def records_of(content: object) -> list[dict]:
    """Make an object per epoch from any of the layouts that `read_curve` takes."""
    if not isinstance(content, dict):
        return content
    if "epoch" in content:  # a log of one line
        return [content]
    if "learning_steps" in content:
        content = keras_columns(content)
    return content["epochs"] if isinstance(content["epochs"][0], dict) else rows_of(content)


def keras_columns(content: dict) -> dict:
    """Make a list per quantity, in percent, from the results of the Keras version."""
    percent = {}
    for name, key in (("mean", "accuracy"), ("std", "accuracy_std")):
        fractions = np.array(content[key], dtype=float)
        if not ((fractions >= 0) & (fractions <= 1)).all():
            raise ValueError(f"{key} must be fractions from 0 to 1")
        percent[name] = (100 * fractions).tolist()
    return {"epochs": content["learning_steps"], "test_acc": percent}


def rows_of(columns: dict) -> list[dict]:
    """Make an object per epoch from a list, or lists of means and deviations, per quantity."""
    records = [{"epoch": epoch} for epoch in columns["epochs"]]
    for key in set(QUANTITIES) & set(columns):
        column = columns[key]
        parts = column if isinstance(column, dict) else {"mean": column}
        for name, values in parts.items():
            if len(values) != len(records):
                raise ValueError(f"{key} has {len(values)} values for {len(records)} epochs")
            for record, value in zip(records, values):
                if parts is column:
                    record.setdefault(key, {})[name] = value
                else:
                    record[key] = value
    return records


def curve_of(records: list[dict], label: str) -> Curve:
    """Make the curve of an object per epoch. Of an epoch that was logged twice, the last counts.

    Raises:
        KeyError, TypeError, ValueError, ...: the objects have another layout.
    """
    by_epoch = {int(record["epoch"]): record for record in records}
    epochs = sorted(by_epoch)
    mean, std = {}, {}
    for key in QUANTITIES:
        if all(key in record for record in records):
            values = [by_epoch[epoch][key] for epoch in epochs]
            pairs = [(v["mean"], v.get("std")) if isinstance(v, dict) else (v, None) for v in values]
            mean[key], std[key] = np.array(pairs, dtype=float).reshape(-1, 2).T  # None becomes NaN
    for given, other in COMPLEMENT.items():
        if given in mean and other not in mean:
            mean[other], std[other] = 100 - mean[given], std[given]
    if not epochs or not {"val_err", "test_err"} & set(mean):
        raise ValueError("there is no epoch with a val_err, val_acc, test_err or test_acc")
    counts = [record["runs"] if isinstance(record.get("runs"), int) else 1 for record in records]
    averaged = any(isinstance(record.get(key), dict) for record in records for key in QUANTITIES)
    return Curve(label, np.array(epochs), mean, std, max(counts), averaged)


def join_runs(label: str, curves: list[Curve]) -> Curve:
    """Average runs: mean and standard deviation, epoch by epoch, each over the runs that reached it.

    Raises:
        UserError: the runs have no quantity in common.
    """
    epochs = sorted(set().union(*(curve.epochs.tolist() for curve in curves)))
    mean, std = {}, {}
    for key in QUANTITIES:
        if all(key in curve.mean for curve in curves):
            of_runs = [dict(zip(curve.epochs.tolist(), curve.mean[key].tolist())) for curve in curves]
            values = [[run[epoch] for run in of_runs if epoch in run] for epoch in epochs]
            mean[key] = np.array([np.mean(v) for v in values])
            std[key] = np.array([np.std(v, ddof=1) if len(v) > 1 else np.nan for v in values])  # of a sample
    if not mean:
        raise UserError(f"the files of {label} have no quantity in common: some are of validation, some of test images")
    return Curve(label, np.array(epochs), mean, std, len(curves), True)


def read_group(argument: str) -> Curve:
    """Read the curve that `FILE`, or `label=FILE,FILE,...` names.

    Raises:
        UserError: a file cannot be used, or holds averages and would be averaged again.
    """
    label, equals, files = argument.partition("=")
    if not equals or os.path.exists(argument):
        return read_curve(argument)
    curves = [read_curve(path) for path in files.split(",")]
    if len(curves) == 1:
        return curves[0]._replace(label=label)
    averages = [path for path, curve in zip(files.split(","), curves) if curve.averaged]
    if averages:
        raise UserError(f"{averages[0]} holds means of several runs already: give it alone")
    return join_runs(label, curves)


def curves_figure(curves: list[Curve], title: str) -> Figure:
    """Draw error on a logarithmic scale and accuracy over epochs, with bands of one standard deviation on each side."""
    sets = {name: line for name, line in LINES.items() if any(f"{line[0]}_err" in curve.mean for curve in curves)}
    handles = [Line2D([], [], color=color, lw=1.6) for _, color in zip(curves, PALETTE)]
    handles += [Line2D([], [], color=INK, **line) for _, line in sets.values()]
    names = [*map(legend_entry, curves), *sets]
    if any(np.isfinite(std).any() for curve in curves for std in curve.std.values()):
        handles.append(Patch(color=GRAY, alpha=0.6, lw=0))
        names.append("+- one standard deviation")
    lines = -(-len(names) // 5)  # of the legend
    figure = Figure(figsize=(WIDTH, 3.7 + 0.2 * lines))
    bottom = (0.55 + 0.2 * lines) / figure.get_figheight()
    figure.subplots_adjust(0.065, bottom, 0.99, 1 - 0.4 / figure.get_figheight(), wspace=0.17)
    for axis, quantity, name in zip(figure.subplots(1, 2), ("err", "acc"), ("error", "accuracy")):
        for curve, color in zip(curves, PALETTE):
            for prefix, line in sets.values():
                if f"{prefix}_{quantity}" in curve.mean:
                    draw_curve(axis, curve, f"{prefix}_{quantity}", color, line)
        axis.set_xlabel("epoch", fontsize=TEXT)
        axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axis.set_ylabel(f"{name} in %", fontsize=TEXT)
        axis.tick_params(labelsize=SMALL)
        axis.grid(alpha=0.3, which="both", lw=0.5)
        axis.spines[["top", "right"]].set_visible(False)
    log_percent(figure.axes[0])
    figure.legend(handles, names, loc="lower center", ncol=min(5, len(names)), fontsize=SMALL, frameon=False)
    write(figure, 0.12, 0.1, title, weight="bold")
    return figure


def legend_entry(curve: Curve) -> str:
    """Name a curve, over how many runs it is, and whether it is of test images, where others are of validation."""
    more = [f"{curve.runs} runs"] if curve.runs > 1 else []
    more += ["test images"] if "val_err" not in curve.mean else []
    return curve.label + (f" ({', '.join(more)})" if more else "")


def draw_curve(axis, curve: Curve, key: str, color: str, line: dict) -> None:
    """Draw a mean, and a band of one standard deviation around it where there is one."""
    mean, std = curve.mean[key], curve.std[key]
    axis.plot(curve.epochs, mean, color=color, marker="o" if len(mean) == 1 else None, ms=3, **line)
    if np.isfinite(std).any():
        low, high = np.clip([mean - std, mean + std], 1e-3, 100)  # a logarithmic axis has no zero
        axis.fill_between(curve.epochs, low, high, color=color, alpha=0.2, lw=0)


def log_percent(axis) -> None:
    """Make a logarithmic y axis in percent with plain numbers, with room for the lines, not for all of the bands."""
    values = np.concatenate([line.get_ydata() for line in axis.lines])
    values = values[values > 0]
    low, high = (0.8 * values.min(), min(100, 1.2 * values.max())) if len(values) else (0.1, 100)
    axis.set_ylim(low, high)
    axis.set_yscale("log", nonpositive="mask")
    ticks = [tick for tick in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if low <= tick <= high]
    axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
