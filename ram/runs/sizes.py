"""Choose the flags about looking that were not given, by the size of a data set's images.

Up to 32x32 pixels the defaults stay. Above, the finest patch is an eighth of the longer side, rounded up to an even
number and at least 8; patches, at most 8, double until the widest is half of that side; and there are 8 glimpses, or as
many, at most 32, as it takes for all finest patches together to be an eighth of a square of the longer side. What was
given, by a flag or a preset, stays, and the others follow from it.
"""

from __future__ import annotations

import argparse
import math

from config import OWN, check
from ram.data import images, own
from ram.data.conversion import BadImage
from ram.presets import PRESETS
from utils import UserError

SMALL = 32  # pixels: up to this side the defaults stay
FLAGS = ("patch_size", "num_patches", "glimpse_scale", "num_glimpses")
MOST_PATCHES, MOST_GLIMPSES = 8, 32
LEAST_SEEN, LEAST_WIDTH = 0.1, 1 / 3  # of the area, and of the longer side: below, there is a line of advice


def settle(config: argparse.Namespace, trains: bool) -> None:
    """Set the flags that follow from the size of the images, in place, before the run is named; and print them.

    Args:
        config: settings.
        trains: whether a training is to begin, or to go on.

    Raises:
        UserError: a training begins, and the data set cannot be read; or what follows does not go with what was given.
    """
    if config.model != "ram":
        return
    if config.dataset in OWN and (trains or not config.weights):
        follow(config, trains)
    if trains and config.num_patches > 1 and config.glimpse_scale == 1:
        own.note(
            [
                f"[!] --num_patches={config.num_patches} with --glimpse_scale=1: all patches are the same; with "
                "--glimpse_scale=2 each is twice as wide as the one before"
            ]
        )


def follow(config: argparse.Namespace, trains: bool) -> None:
    """Set the flags that follow from the images of a data set of one's own; see `settle`."""
    try:
        size = image_size(config)
    except UserError:
        if trains:
            raise
        size = None
    if size is None:
        return
    given = {name: getattr(config, name) for name in FLAGS if is_given(config, name)}
    suited = suited_flags(size, given)
    if max(size) > SMALL and len(given) < len(FLAGS):
        vars(config).update(suited)
        check(config)
        others = as_flags({name: value for name, value in suited.items() if name not in given})
        own.note([f"[*] Images of {size[0]}x{size[1]}: {others} follow{'s' * (' ' not in others)} from their size"])
    if given and trains:
        advise(config, size)


def is_given(config: argparse.Namespace, name: str) -> bool:
    """Tell whether a flag was given, by the command or by the preset."""
    return name in config.explicit or (config.preset in PRESETS and name in PRESETS[config.preset].flags)


def image_size(config: argparse.Namespace) -> tuple[int, int] | None:
    """Return height and width of the training images: --image_size, or the size of the first; None without any."""
    arrays = own.array_set(config)
    if config.image_size:
        return config.image_size, config.image_size
    if arrays:
        return arrays.shape("train")[1:] if "train" in arrays.parts else None
    layout = own.layout_of(config)
    for item in layout.list("train", []).items if "train" in layout.places else ():
        try:
            return images.size(item.path)
        except BadImage:  # it is named when all are read
            continue
    return None


def suited_flags(size: tuple[int, int], given: dict[str, int]) -> dict[str, int]:
    """Choose the flags that are not given for images of a size (H, W); see the rule above."""
    side = max(size)
    g = given.get("patch_size", max(8, 2 * math.ceil(side / 16)))
    s = given.get("glimpse_scale", 2)
    k = given.get("num_patches", 1)
    while "num_patches" not in given and s > 1 and k < MOST_PATCHES and g * s ** (k - 1) < side / 2:
        k += 1
    T = given.get("num_glimpses", min(MOST_GLIMPSES, max(8, math.ceil(side * side / (8 * g * g)))))
    return dict(zip(FLAGS, (g, k, s, T)))


def advise(config: argparse.Namespace, size: tuple[int, int]) -> None:
    """Print one line where the flags that were given see little of the images."""
    area, side = size[0] * size[1], max(size)
    seen = config.num_glimpses * config.patch_size**2 / area
    widest = config.patch_size * config.glimpse_scale ** (config.num_patches - 1)
    if seen < LEAST_SEEN or widest < LEAST_WIDTH * side:
        own.note(
            [
                f"[!] {config.num_glimpses} finest patches of {config.patch_size}x{config.patch_size} cover "
                f"{min(100.0, 100 * seen):.1f} % of {size[0]}x{size[1]} pixels, and the widest patch is {widest} wide: "
                f"{as_flags(suited_flags(size, {}))} see more"
            ]
        )


def as_flags(values: dict[str, int]) -> str:
    """Write values as flags."""
    return " ".join(f"--{name}={value}" for name, value in values.items())


def hint(config: argparse.Namespace) -> str:
    """Name the flags that find a run whose name depends on the size of images which are missing; "" if none do."""
    if config.dataset not in OWN or config.model != "ram":
        return ""
    try:
        size = image_size(config)
    except UserError:  # then it is not known
        return ""
    named = " ".join(f"--{name}" for name in FLAGS)
    return (
        "" if size else f"without training images in {config.data_dir}, a run on images above 32x32 needs its {named}"
    )
