"""A data set of your own: DIR/train/CLASS/*.png, and if there are any, DIR/valid/CLASS/* and DIR/test/CLASS/*.

The folders in DIR/train name the classes, its first image the size, and all of its images together say whether there
is colour; the other parts have to fit. Where DIR has no train (to test what was trained elsewhere), the part that is
loaded says all this itself.
"""

from __future__ import annotations

import os
import sys

import numpy as np
from tqdm import tqdm

from ram.data import fitting, images
from utils import UserError, file_access, generator, listed

MAX_BYTES = 4 * 2**30  # of the images of one part, in memory
MAX_SIDE = 4096  # pixels


def has(data_dir: str, part: str) -> bool:
    """Whether the folder of a part ("train", "valid" or "test") is there."""
    return os.path.isdir(os.path.join(data_dir, part))


def load(data_dir: str, part: str, image_size: int | None = None) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """All images of a part, in an order that is mixed once, so that the first N are of all classes.

    Args:
        data_dir: the folder DIR.
        part: "train", "valid" or "test".
        image_size: images are scaled with their aspect into the middle of black squares of this side; None: they all
            have to be of one size, and stay as they are.

    Returns:
        images (N, C, H, W) uint8, labels (N,) int64 and the sorted names of the classes.

    Raises:
        UserError: there are no images, one cannot be used, they differ in size, or do not fit into memory.
    """
    if not has(data_dir, part):
        wanted = os.path.join(data_dir, part)
        raise UserError(f"{wanted} does not exist: --dataset=folder needs images in {os.path.join(wanted, 'CLASS')}/")
    model_part = "train" if has(data_dir, "train") else part
    classes = _folders(os.path.join(data_dir, model_part))
    example = _files(data_dir, model_part, classes)
    files = example if part == model_part else _files(data_dir, part, classes)
    channels = 3 if any(_usable(images.measure, path).color for path, _ in _progress(example, "looking")) else 1
    shape = (channels, image_size, image_size)
    if not image_size:
        shape = _read(example[0][0], channels).shape
        if max(shape) > MAX_SIDE:
            raise UserError(f"{example[0][0]} is {_size(shape)}: give --image_size=N, with N of at most {MAX_SIDE}")
    needed = len(files) * int(np.prod(shape))
    if needed > MAX_BYTES:
        raise UserError(
            f"the {len(files)} images in {os.path.join(data_dir, part)} take {needed / 2**30:.1f} GB of memory at "
            f"{_size(shape)}: at most {MAX_BYTES / 2**30:g} GB are used; make them smaller with --image_size=N"
        )
    order = np.argsort(generator("folder").bit_generator.random_raw(len(files)), kind="stable")
    pixels, labels = np.empty((len(files), *shape), np.uint8), np.empty(len(files), np.int64)
    for at, number in enumerate(_progress(order, f"reading {part}")):
        path, labels[at] = files[number]
        image = _read(path, channels, image_size)
        if image.shape != shape:
            raise UserError(
                f"{path} is {_size(image.shape)}, but {example[0][0]} is {_size(shape)}: "
                "give --image_size=N to make all of them squares of one size"
            )
        pixels[at] = image
    return pixels, labels, classes


def _folders(folder):
    names = sorted(entry.name for entry in _entries(folder) if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise UserError(f"{folder} has no folders in it: each class needs one, with its images")
    return names


def _files(data_dir, part, classes):
    """Paths and labels of all images of a part, sorted; what is not named like an image is not looked at."""
    folder = os.path.join(data_dir, part)
    unknown = sorted(set(_folders(folder)) - set(classes))
    if unknown:
        raise UserError(f"{os.path.join(folder, unknown[0])} is no class: those in train are {listed(classes)}")
    files = []
    for label, name in enumerate(classes):
        parent = os.path.join(folder, name)
        entries = _entries(parent) if os.path.isdir(parent) else []
        paths = sorted(entry.path for entry in entries if images.is_named_like_an_image(entry.path))
        for path in [parent, *paths]:
            if images.leads_out(path, data_dir):
                raise UserError(f"{path} is a link out of {data_dir}, and is not followed: copy what it points to")
        if part == "train" and not paths:
            raise UserError(f"{parent} has no images in it: remove it, or put some there")
        files += [(path, label) for path in paths]
    if not files:
        raise UserError(f"{folder} has no images in the folders of its classes")
    return files


def _entries(folder):
    with file_access("read", folder), os.scandir(folder) as entries:
        return list(entries)


def _usable(look, path, *arguments):
    try:
        return look(path, *arguments)
    except images.BadImage as error:
        raise UserError(f"{path} cannot be used: {error}; repair or remove it") from None


def _read(path, channels, image_size=None):
    image = _usable(images.read, path, channels, images.LONGEST if image_size else None)
    return fitting.fit(image, image_size, image_size) if image_size else image


def _size(shape):
    """E.g. 28x28 for (1, 28, 28), height first."""
    return "x".join(map(str, shape[1:]))


def _progress(items, about):
    return tqdm(items, desc=about, unit=" images", delay=2, leave=False, disable=not sys.stderr.isatty())
