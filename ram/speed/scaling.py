"""Measure how the time of a step grows with glimpses, batch size and patches, and memory with epochs."""

from __future__ import annotations

import os
import statistics

from ram.speed.cases import CASES, Case, peak_memory_mb


def step_ms(flags: list[str], data_dir: str, steps: int = 30) -> float:
    """Measure the median milliseconds of a training step with these flags."""
    case = Case("", flags, data_dir)
    case.train(3)
    case.train_rates.clear()
    for _ in range(5):
        case.train(max(1, steps // 5))
    return 1000 * case.config.batch_size / statistics.median(case.train_rates)


def plot(path: str, data_dir: str) -> None:
    """Draw how the time of a step grows with glimpses, batch size and patches, and memory with epochs."""
    from matplotlib.figure import Figure

    from ram.draw import files
    from ram.draw.style import BLUE, VERMILLION

    panels = {
        "glimpses per image": ([2, 4, 6, 8, 12, 16], lambda n: [f"--num_glimpses={n}"]),
        "images per batch": ([32, 64, 128, 256, 512], lambda n: [f"--batch_size={n}"]),
        "patches per glimpse (60x60)": ([1, 2, 3, 4], lambda n: [*CASES["translated60"], f"--num_patches={n}"]),
    }
    figure = Figure(figsize=(15, 3.6), layout="constrained")
    axes = figure.subplots(1, 4)
    for axis, (label, (values, flags)) in zip(axes, panels.items()):
        axis.plot(values, [step_ms(flags(value), data_dir) for value in values], "o-", color=BLUE)
        axis.set(xlabel=label, ylabel="ms per training step")
    axes[3].plot(*memory_over_epochs(data_dir), "o-", color=VERMILLION)
    axes[3].set(xlabel="epochs (of 6,000 images)", ylabel="memory in MB")
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.set(xlim=(0, None), ylim=(0, 1.1 * axis.dataLim.y1))
    files.write(path, files.png(figure, dpi=100))


def memory_over_epochs(data_dir: str, epochs: int = 30) -> tuple[list[int], list[float]]:
    """Measure the memory in MB after each epoch of a small training: resident on Linux, elsewhere the peak."""
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
