"""Load the image files of a data set of one's own, as `layout.Layout` finds them, into one array for each part.

The training part decides for all: its classes, whether there is color, the size of its first image, and how pixels are
converted. Where there is none (to test what was trained elsewhere), the part that is loaded decides.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from ram.data import conversion, fitting, images
from ram.data.conversion import BadImage, Conversion
from ram.data.layout import Item, Layout, Listing
from utils import MAX_SIDE, UserError, generator, listed, printable

MAX_BYTES = 4 * 2**30  # of the images of one part, in memory


class Part(NamedTuple):
    """The images of a part of a data set.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) int64, numbers in `classes`.
        classes: the names of the classes.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: list[str]


class Loader:
    """Load parts of a layout, and collect the images that cannot be read instead of stopping at the first.

    Args:
        layout: where the images are.
        image_size: images are scaled with their aspect into the middle of black squares of this side; None: they all
            have to be of one size, and stay as they are.
        first: the part that decides where there is no training part.
        how: the conversion that was kept with a model; None: the training part decides on it.

    Attributes:
        how: the conversion.
        broken: path and reason of images that cannot be read.
        notes: lines to print.

    Raises:
        UserError: there are no images, or they do not fit.
    """

    def __init__(self, layout: Layout, image_size: int | None, first: str, how: Conversion | None):
        self.layout, self.image_size = layout, image_size
        self.broken: dict[str, str] = {}
        self.notes: list[str] = layout.notes()
        self.decides = "train" if "train" in layout.places else first
        self.listings: dict[str, Listing] = {}
        example = self.listing(self.decides)
        measures = self.each(example.items, "looking", lambda item: images.measure(item.path))
        measures = {item: measure for item, measure in measures.items() if measure}
        if not measures:
            raise self.unusable()
        self.channels = 3 if any(measure.color for measure in measures.values()) else 1
        self.how = how
        if how is None:
            self.how = self.chosen(measures)
        self.shape, self.model = self.example(list(measures))

    def listing(self, part: str) -> Listing:
        """List a part, once."""
        if part not in self.listings:
            self.listings[part] = self.layout.list(part, self.notes)
        return self.listings[part]

    def each(self, items: Iterable[Item], title: str, look: Callable) -> dict:
        """Call `look` on files one after the other; one that cannot be used is noted as broken, and gives None."""
        results = {}
        for item in tqdm(items, desc=title, unit=" images", delay=2, leave=False, disable=not sys.stderr.isatty()):
            try:
                results[item] = None if item.path in self.broken else look(item)
            except BadImage as error:
                self.broken[item.path] = str(error)
                results[item] = None
        return results

    def chosen(self, measures: dict) -> Conversion:
        """Choose the conversion; images whose values are too large to read are noted as broken, and do not count."""
        for item, measure in measures.items():
            try:
                conversion.decide([measure])
            except BadImage as error:
                self.broken[item.path] = str(error)
        how = conversion.decide(measure for item, measure in measures.items() if item.path not in self.broken)
        largest = max((measure.floating or 0 for measure in measures.values()), default=0)
        if how.floating and largest > 255:
            self.notes.append(
                f"[!] floating-point pixels go up to {largest:g}: 255 is white, and what is above is cut off"
            )
        return how

    def example(self, items: list[Item]) -> tuple[tuple[int, int, int], str]:
        """Return the shape that all images must have, and the file that decides it."""
        if self.image_size:
            return (self.channels, self.image_size, self.image_size), ""
        for item in items:
            size = self.each([item], "", lambda item: images.size(item.path))[item]
            if size:
                if max(size) > MAX_SIDE:
                    raise UserError(
                        f"{printable(item.path)} is {_size(size)}: give --image_size=N, with N of at most {MAX_SIDE}"
                    )
                return (self.channels, *size), item.path
        raise self.unusable()

    def load(self, part: str) -> Part:
        """Load a part, in an order that is mixed once, so that the first N images are of all classes."""
        items, classes = self.listing(part).items, self.listing(self.decides).classes
        numbers = {label: number for number, label in enumerate(classes)}
        unknown = sorted({label for label in self.listing(part).classes if label not in numbers})
        if unknown:
            where = os.path.join(self.layout.places[part], printable(unknown[0]))
            raise UserError(f"{where} is no class: those in train are {listed(classes)}")
        needed = len(items) * int(np.prod(self.shape))
        if needed > MAX_BYTES:
            raise UserError(
                f"the {len(items)} images in {self.layout.places[part]} take {needed / 2**30:.1f} GiB of memory at "
                f"{_size(self.shape[1:])}: at most {MAX_BYTES / 2**30:g} GiB are used; make them smaller with "
                "--image_size=N"
            )
        order = np.argsort(generator("folder").bit_generator.random_raw(len(items)), kind="stable")
        pixels, labels, count = np.empty((len(items), *self.shape), np.uint8), np.empty(len(items), np.int64), 0

        def read(item: Item) -> bool:
            nonlocal count
            pixels[count] = self.read(item)
            labels[count] = numbers[item.label]
            count += 1
            return True

        self.each([items[number] for number in order], f"reading {part}", read)
        return Part(pixels[:count], labels[:count], classes)

    def read(self, item: Item) -> np.ndarray:
        """Read one image in the common shape; raise `BadImage`, or UserError where the image has another."""
        if self.image_size:
            longest = max(images.LONGEST, 2 * self.image_size)  # shrunk by a whole number, it is never too small then
            image = images.read(item.path, self.channels, longest, self.how)
            return fitting.fit(image, self.image_size, self.image_size)
        size = images.size(item.path)  # before its pixels, which may be many, are read
        if size != self.shape[1:]:
            raise UserError(
                f"{printable(item.path)} is {_size(size)}, but {printable(self.model)} is {_size(self.shape[1:])}: "
                "give --image_size=N to make all of them squares of one size"
            )
        return images.read(item.path, self.channels, None, self.how)

    def unusable(self) -> UserError:
        """Make the error that names the images that cannot be read: the first ten, and how many there are."""
        lines = [f"{printable(path)}: {why}" for path, why in list(self.broken.items())[:10]]
        more = f"; and {len(self.broken) - 10} more" if len(self.broken) > 10 else ""
        number = "1 image" if len(self.broken) == 1 else f"{len(self.broken)} images"
        them = "it" if len(self.broken) == 1 else "them"
        return UserError(
            f"{number} cannot be used: {'; '.join(lines)}{more}; repair or remove {them}, or go on without {them} with "
            "--skip_broken=True"
        )


def _size(size: tuple[int, int]) -> str:
    """Write a size, height first."""
    return "x".join(map(str, size))
