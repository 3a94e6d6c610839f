"""What a training keeps for pictures: the glimpses of each epoch, and a grid of training images."""

from __future__ import annotations

import os

import numpy as np

from utils import file_access, make_folder


def save_glimpses(folder: str, epoch: int, arrays: dict[str, np.ndarray]) -> None:
    """Store what the model looked at as `<folder>/glimpses_<epoch>.npz`, for pictures to be drawn later."""
    make_folder(folder)
    path = os.path.join(folder, f"glimpses_{epoch:04d}.npz")
    with file_access("write", path):
        np.savez_compressed(path, **arrays)


def show_sample(split, folder: str, title: str, rows: int = 3) -> str:
    """Write rows x rows images of a split with their labels as a PNG, and show it where there is a display.

    Returns:
        The path of the picture.
    """
    from matplotlib.figure import Figure

    images, labels = split.batch(np.arange(min(rows * rows, len(split))))
    figure = Figure(figsize=(6, 6.4), layout="constrained")  # without pyplot: no window, no global state
    axes = figure.subplots(rows, rows)
    figure.suptitle(title)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, label in zip(axes.flat, images, labels):
        axis.imshow(image.transpose(1, 2, 0).squeeze(), cmap="gray" if len(image) == 1 else None)
        axis.set_title(str(label))
    make_folder(folder)
    path = os.path.join(folder, f"sample_{title}.png")
    with file_access("write", path):
        figure.savefig(path, dpi=100)
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        from PIL import Image

        Image.open(path).show()  # in a viewer of its own: training goes on
    return path
