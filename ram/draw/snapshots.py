"""Store what pictures of a training need: the glimpses of each epoch, and a grid of training images.

Matplotlib is loaded only where something is drawn: a training that stores glimpses needs none of it.
"""

from __future__ import annotations

import glob
import os
import re
from typing import NamedTuple

import numpy as np

from ram.draw import files
from ram.draw.files import content_of
from utils import file_access, make_folder


class Shown(NamedTuple):
    """One image with its path of fixations, and the answer that the model gave."""

    image: np.ndarray  # (C, H, W)
    locations: np.ndarray  # (T, 2)
    label: str  # name of the true class
    answer: str  # name of the class that the model chose
    probability: float  # of the answer


class Snapshot(NamedTuple):
    """The fixed images of a training as the model of one epoch looked at them."""

    epoch: int
    shown: list[Shown]
    retina: tuple[int, int, int, float | None, int] | None = (
        None  # the fields of a Geometry; early versions stored none
    )


def snapshot_of(arrays: dict[str, np.ndarray], epoch: int) -> Snapshot:
    """Arrange the arrays of `ram.use.looking.snapshot` after an epoch.

    Raises:
        ValueError, KeyError, IndexError, TypeError: the arrays are others.
    """
    images, locations, labels, probabilities = (
        arrays[name] for name in ("images", "locations", "labels", "probabilities")
    )
    N, T = locations.shape[:2]
    C, H, W = images.shape[1:]
    expected = {"images": (N, C, H, W), "labels": (N,), "locations": (N, T, 2)}
    if 0 in (N, T, H, W) or C not in (1, 3) or any(arrays[name].shape != shape for name, shape in expected.items()):
        raise ValueError("its arrays do not fit together")
    names = arrays["classes"] if "classes" in arrays else np.arange(probabilities.shape[1]).astype(str)
    parts = (images, locations, names[labels], names[probabilities.argmax(1)], probabilities.max(1))
    retina = None
    if "retina" in arrays:
        g, k, s, unit_pixels, *offset = arrays["retina"].tolist()  # older files have no offset
        retina = int(g), int(k), int(s), unit_pixels or None, int(sum(offset))
    return Snapshot(epoch, [Shown(*(part[i] for part in parts)) for i in range(N)], retina)


def save_glimpses(folder: str, epoch: int, arrays: dict[str, np.ndarray]) -> None:
    """Store the model's glimpses as `<folder>/glimpses_<epoch>.npz`, for pictures to be drawn later."""
    make_folder(folder)
    path = os.path.join(folder, f"glimpses_{epoch:04d}.npz")
    with file_access("write", path):
        np.savez_compressed(path, **arrays)


def read_snapshot(path: str) -> Snapshot:
    """Read what `save_glimpses` stored of one epoch.

    Raises:
        UserError: the file is damaged, or of another kind.
    """
    with content_of(path, "glimpses of a training"):
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return snapshot_of(arrays, epoch_of(path))


def stored_epochs(folder: str) -> list[str]:
    """List the files glimpses_<epoch>.npz in a folder, by epoch."""
    paths = glob.glob(os.path.join(glob.escape(folder), "glimpses_*.npz"))
    return sorted((path for path in paths if epoch_of(path) is not None), key=epoch_of)


def epoch_of(path: str) -> int | None:
    """Read the epoch from the name glimpses_<epoch>.npz; None for other names."""
    match = re.fullmatch(r"glimpses_(\d+)\.npz", os.path.basename(path))
    return int(match[1]) if match else None


def early_ones(items: list, count: int) -> list:
    """Choose at most `count` items, ever wider apart: first, last, and more of the early ones, where most happens."""
    chosen = np.geomspace(1, len(items), min(count, len(items))).round().astype(int) - 1
    for i in range(1, len(chosen)):
        chosen[i] = max(chosen[i], chosen[i - 1] + 1)
    return [items[i] for i in chosen]


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
    path = os.path.join(folder, f"sample_{title}.png")
    files.replace(path, files.png(figure, dpi=100))
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        from PIL import Image

        Image.open(path).show()  # in a viewer of its own: training goes on
    return path
