"""Split a data set and make its batches: held-out validation, augmentation, and canvases with clutter.

Letters in shape comments: B images of a batch, N of a split, A of the file that splits come from, C channels, H x W
pixels, S pixels of a canvas.

Everything random is a pure function of numbers: which images are held out of (seed), on canvases of nothing, the
order of (seed, epoch), how image i is augmented or placed of (seed, epoch, i). So there is no state to save, and batch
size changes nothing. Images stay uint8 from the file to the batch, and every split is an index into the one array of
its file.
"""

from __future__ import annotations

from argparse import Namespace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from config import CANVASES, OWN
from ram.data import own
from ram.data.folders import Part
from ram.data.shares import draw_by_class
from ram.data.sources import DATASETS, fetch
from ram.data.transforms import add_saturating, inverse_maps, portable_integers, shift_images, warp_images
from utils import UserError, generator, printable

CLUTTER = 8  # pixels: height and width of a piece of clutter
CANVAS_SPLIT_SEED = 1  # holds out the same images for every seed, so that validation canvases are the same, too


class Split:
    """Hold the images and labels of one split, unchanged.

    Attributes:
        name: "train", "valid" or "test".
        images: (A, C, H, W) uint8, all images of the file, of which this split is a part.
        labels: (N,) int64, in 0 .. num_classes - 1.
        rows: which images of the file belong to the split, ascending. Where `--limit` cuts the split there are more
            than N: the others are never shown, but clutter still comes from all of them, so it stays the same.
        num_classes: number of classes of the whole data set.
        classes: their names, in the order of the labels; without any given, the labels themselves.
        about: what a model has to keep of a data set of one's own, see ram/data/kept.py; else empty.
        skipped: path and reason of image files that were left out.
        image_shape: (C, H, W) of the images that `batch` returns.
    """

    def __init__(
        self,
        name: str,
        images: np.ndarray,
        labels: np.ndarray,
        rows: np.ndarray,
        num_classes: int,
        classes: list[str] | None = None,
        about: dict | None = None,
        skipped: dict[str, str] | None = None,
    ):
        self.name, self.images, self.labels, self.rows, self.num_classes = name, images, labels, rows, num_classes
        self.classes = classes or [str(label) for label in range(num_classes)]
        self.image_shape = tuple(images.shape[1:])
        self.about, self.skipped = about or {}, skipped or {}

    def __len__(self) -> int:
        return len(self.labels)

    def facts(self) -> tuple[list[str], dict, dict[str, str]]:
        """Return what a split that is made of this one takes over: classes, about and skipped."""
        return self.classes, self.about, self.skipped

    def description(self) -> dict:
        """Return as plain data what a model that was trained on the split has to know of it."""
        facts = {"image_shape": list(self.image_shape), "num_classes": self.num_classes, "classes": list(self.classes)}
        return {**facts, "data": self.about} if self.about else facts

    def batch(self, indices: np.ndarray, epoch: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return images (B, C, H, W) uint8 and labels (B,) int64 of a split.

        Args:
            indices: (B,) integers in 0 .. N - 1.
            epoch: matters only where a training image looks different in every epoch.
        """
        return self.images[self.rows[indices]], self.labels[indices]


class AugmentedSplit(Split):
    """Move the images of a training split a little, differently in every epoch.

    Each image is mirrored or not, scaled (width and height apart), sheared and rotated about its middle and shifted by
    whole pixels, each amount drawn uniformly from [-limit, limit]; what comes in from outside is zero.
    """

    def __init__(
        self,
        split: Split,
        seed: int,
        shift: int = 0,
        rotate: float = 0.0,
        scale: float = 0.0,
        shear: float = 0.0,
        flip: bool = False,
        share: float = 1.0,
    ):
        """
        Args:
            split: the images.
            seed: all amounts are drawn from (seed, epoch).
            shift: in pixels; 0 is none, as for all of them.
            rotate, shear: in degrees.
            scale: a fraction, 0.1 is from 90 % to 110 %.
            flip: whether half of the images are mirrored, left and right.
            share: the probability that an image is augmented in an epoch.
        """
        super().__init__(split.name, split.images, split.labels, split.rows, split.num_classes, *split.facts())
        self.seed, self.share, self.shift = seed, share, shift
        self.rotate, self.scale, self.shear, self.flip = rotate, scale, shear, flip
        self._drawn: tuple | None = None  # an epoch, and what `_draw` gives for it

    def batch(self, indices: np.ndarray, epoch: int = 0) -> tuple[np.ndarray, np.ndarray]:
        return self.augmented(self.rows[indices], epoch), self.labels[indices]

    def augmented(self, rows: np.ndarray, epoch: int) -> np.ndarray:
        """Return images (B, C, H, W) uint8 of some rows (B,) of the file, as they are in an epoch."""
        images = self.images[rows]
        shifts, maps, flips = self._draw(epoch)
        if flips is not None:
            images = np.where(flips[rows, None, None, None], images[..., ::-1], images)
        if maps is None:
            return shift_images(images, shifts[rows], self.shift)
        return warp_images(images, maps[rows], shifts[rows])

    def _draw(self, epoch: int) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Draw shifts (A, 2), maps (A, 2, 2) and which are mirrored (A,) for all images of the file, once per epoch.

        Maps and mirrored are None where there is nothing of that kind to do.
        """
        if self._drawn is None or self._drawn[0] != epoch:
            count = len(self.images)
            shifts = generator("shift", self.seed, epoch).integers(-self.shift, self.shift + 1, (count, 2))
            maps = flips = None
            if self.flip:
                flips = generator("flip", self.seed, epoch).integers(0, 2, count).astype(bool)
            if self.rotate or self.scale or self.shear:
                amounts = generator("affine", self.seed, epoch).uniform(-1, 1, (count, 4))
                maps = inverse_maps(amounts * (self.rotate, self.scale, self.scale, self.shear))
            if self.share < 1:
                as_it_is = generator("augment", self.seed, epoch).random(count) >= self.share
                for drawn, nothing in ((shifts, 0), (maps, np.eye(2)), (flips, False)):
                    if drawn is not None:
                        drawn[as_it_is] = nothing
            self._drawn = (epoch, shifts, maps, flips)
        return self._drawn[1:]


class CanvasSplit(Split):
    """Place images at random on a larger black canvas, with pieces of other images of the split as clutter.

    As in google-deepmind/mnist-cluttered: a piece is an 8x8 crop, uniform over all images of the split (with
    replacement) and all offsets; piece and image go to places that are uniform over all where they fit; sums are cut
    off at 255. Training canvases are fresh in every epoch; validation and test canvases depend on nothing but the
    split's name, which images it has, and the image's number in its file.
    """

    def __init__(self, split: Split, seed: int, size: int, num_clutter: int, augment_clutter: bool = False):
        """
        Args:
            split: the images; its augmentation is applied before they are placed.
            seed: where the images of a training split are placed is drawn from (seed, epoch).
            size: side of a canvas, in pixels.
            num_clutter: pieces on each canvas.
            augment_clutter: whether pieces are cut from augmented images, too, where the split has such.
        """
        channels, height, width = split.image_shape
        if size < max(height, width):
            raise UserError(
                f"--canvas_size={size} is smaller than the {height}x{width} images: "
                f"it must be at least {max(height, width)}"
            )
        super().__init__(split.name, split.images, split.labels, split.rows, split.num_classes, *split.facts())
        self.split, self.seed, self.num_clutter = split, seed, num_clutter
        self.augment_clutter = augment_clutter and num_clutter > 0 and isinstance(split, AugmentedSplit)
        self._made: tuple | None = None  # an epoch, the file's images in it, and which of them are made so far
        self.image_shape = (channels, size, size)
        self._drawn: tuple[int, np.ndarray] | None = None

    def batch(self, indices: np.ndarray, epoch: int = 0) -> tuple[np.ndarray, np.ndarray]:
        rows = self.rows[indices]
        draws = self._draw(epoch)[rows]  # (B, 2 + 5 * num_clutter)
        if self.augment_clutter:
            pool = self._augmented(np.union1d(rows, self.rows[draws[:, 2::5]]), epoch)
            images = pool[rows]
        else:
            pool, images = self.images, self.split.batch(indices, epoch)[0]
        canvases = np.zeros((len(images), *self.image_shape), np.uint8)  # (B, C, S, S)
        add_clutter(canvases, pool, self.rows, draws[:, 2:])
        add_saturating(canvases, images, draws[:, 0], draws[:, 1])
        return canvases, self.labels[indices]

    def _augmented(self, rows: np.ndarray, epoch: int) -> np.ndarray:
        """Return the images (A, C, H, W) of the file as they are in an epoch; only those that were asked for are made.

        Each is made once in an epoch, though it is cut from time and again. Args: rows of the file, each once.
        """
        if self._made is None or self._made[0] != epoch:
            self._made = (epoch, np.empty_like(self.images), np.zeros(len(self.images), bool))
        _, images, made = self._made
        missing = rows[~made[rows]]
        images[missing] = self.split.augmented(missing, epoch)
        made[missing] = True
        return images

    def corners(self, indices: np.ndarray, epoch: int = 0) -> np.ndarray:
        """Return (B, 2), row and column of the top left corner of each image (B,) on its canvas."""
        return self._draw(epoch)[self.rows[indices], :2]

    def _draw(self, epoch: int) -> np.ndarray:
        """Draw (A, 2 + 5 n) numbers for all images of the file, once per epoch.

        Columns: y, x of the image; then for each piece: the number of an image in the split, y, x of the crop in it,
        y, x of the piece.
        """
        if self.name != "train":
            epoch = 0
        if self._drawn is None or self._drawn[0] != epoch:
            _, height, width = self.split.image_shape
            size = self.image_shape[-1]
            piece = clutter_ranges(len(self.rows), self.split.image_shape, size)
            ranges = [size - height + 1, size - width + 1] + self.num_clutter * piece
            key = (self.seed, epoch) if self.name == "train" else ()
            self._drawn = (epoch, portable_integers(ranges, len(self.images), f"canvas-{self.name}", *key))
        return self._drawn[1]


def clutter_ranges(count: int, image_shape: tuple[int, int, int], size: int) -> list[int]:
    """Return the ranges of the five numbers of a piece: image of `count`, y, x of the crop, y, x on the canvas."""
    _, height, width = image_shape
    return [count, height - CLUTTER + 1, width - CLUTTER + 1, size - CLUTTER + 1, size - CLUTTER + 1]


def add_clutter(canvases: np.ndarray, images: np.ndarray, rows: np.ndarray, numbers: np.ndarray) -> None:
    """Add n pieces of images in place to each of the canvases (B, C, S, S).

    Args:
        canvases: uint8.
        images: (A, C, H, W) uint8, from which pieces are cut.
        rows: (N,) which images may be cut.
        numbers: (B, 5 n), see `clutter_ranges`; the first is a place in `rows`.
    """
    pieces = numbers.reshape(len(canvases), numbers.shape[1] // 5, 5).transpose(1, 2, 0)  # (n, 5, B)
    crops = sliding_window_view(images, (CLUTTER, CLUTTER), axis=(2, 3))
    for which, cut_y, cut_x, y, x in pieces:  # (B,) each
        add_saturating(canvases, crops[rows[which], :, cut_y, cut_x], y, x)


def epoch_order(n: int, seed: int, epoch: int, shuffle: bool = True) -> np.ndarray:
    """Return the order (n,) in which an epoch goes through 0 .. n - 1; without `shuffle` the natural one."""
    return generator("order", seed, epoch).permutation(n) if shuffle else np.arange(n)


def held_out(n: int, valid_size: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide 0 .. n - 1 into training and validation, two ascending arrays without a common element.

    Raises:
        UserError: one of the two would be empty.
    """
    count = round(n * valid_size)
    if n < 2:
        raise UserError(f"{n} training images cannot be divided into training and validation: there must be 2 or more")
    if not 0 < count < n:  # since the count is rounded, half an image is enough
        raise UserError(
            f"--valid_size={valid_size} of {n} training images leaves {count} for validation and {n - count} for "
            f"training: it must be above {0.5 / n:.9g} and below {1 - 0.5 / n:.9g}"
        )
    raw = generator("split", seed).bit_generator.random_raw(n)  # sorted raw numbers: the same with every NumPy
    order = np.argsort(raw, kind="stable")
    return np.sort(order[count:]), np.sort(order[:count])


def get_train_valid(config: Namespace, data: dict | None = None) -> tuple[Split, Split]:
    """Make the training and validation splits, both from the training file unless there are validation images.

    Args:
        config: dataset, data_dir, source, canvas_size, num_clutter, image_size, valid_size, random_seed, limit,
            augment_shift, augment_rotate, augment_scale, augment_shear, augment_flip, augment_share, augment_clutter,
            and of a data set of one's own test_size, follow_links, skip_broken, weights and explicit are used.
        data: what a training that is resumed has kept of its own data set; None: it begins.

    Raises:
        UserError: the data cannot be got, a split would be empty, or the canvas is smaller than the images; or, as a
            training of one's own data begins, images of its test cannot be read.
    """
    seen = ("train", "valid", "test") if data is None else ("train", "valid")  # what is wrong is known before training
    parts, about, skipped = _parts(config, seen, data)
    images, labels, classes = parts["train"]
    if config.dataset in OWN and data is None:
        own.note_single_class(config.data_dir, classes)
    valid_images, valid_labels, _ = parts.get("valid", parts["train"])
    canvas = config.dataset in CANVASES
    if "valid" in parts:
        if "valid_size" in config.explicit:
            of_its_own = f"{printable(config.data_dir)} has validation images"
            own.note([f"[!] --valid_size={config.valid_size} is not used: {of_its_own}"])
        train_rows, valid_rows = np.arange(len(images)), np.arange(len(valid_images))
    elif about.get("by_class"):
        train_rows, valid_rows = draw_by_class(labels, config.valid_size, "split", config.random_seed)
        own.note_classes_without_validation(config, parts["train"], valid_rows)
    else:
        seed = CANVAS_SPLIT_SEED if canvas else config.random_seed
        train_rows, valid_rows = held_out(len(images), config.valid_size, seed)
    facts = (len(classes), classes, about, skipped)
    train = Split("train", images, labels[train_rows[: config.limit]], train_rows, *facts)
    valid = Split("valid", valid_images, valid_labels[valid_rows[: config.limit]], valid_rows, *facts)
    shift = 0 if canvas else config.augment_shift  # a canvas already has its image anywhere
    amounts = {how: getattr(config, f"augment_{how}") for how in ("rotate", "scale", "shear", "flip")}
    if config.augment_share and (shift or any(amounts.values())):
        train = AugmentedSplit(train, config.random_seed, shift, **amounts, share=config.augment_share)
    return _on_canvas(config, train), _on_canvas(config, valid)


def get_test(config: Namespace, data: dict | None = None, local: bool = False) -> Split:
    """Make the test split; see `get_train_valid` for config and errors.

    Args:
        config: the settings.
        data: what the tested model has kept of its own data set.
        local: whether nothing is fetched, and no file changed.
    """
    parts, about, skipped = _parts(config, ("test",), data, local)
    images, labels, classes = parts["test"]
    rows = np.arange(len(images))
    return _on_canvas(
        config, Split("test", images, labels[: config.limit], rows, len(classes), classes, about, skipped)
    )


def _parts(config: Namespace, names: tuple[str, ...], data: dict | None, local: bool = False) -> own.Loaded:
    """Load parts of a data set, those of `names` that are there."""
    if config.dataset in OWN:
        return own.load(config, names, data)
    part = names[0]
    loaded = _load(config, part, local=True) if local else _load(config, part)  # the form that docs/extending.md shows
    return own.Loaded({part: Part(*loaded)}, {}, {})


def _load(config: Namespace, part: str, local: bool = False) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Load images (A, C, H, W), labels (A,) and the names of the classes of one file."""
    name = config.source if config.dataset in CANVASES else config.dataset
    arrays = fetch(name, config.data_dir, local)
    return arrays[f"{part}_images"][:, None], arrays[f"{part}_labels"], list(DATASETS[name].classes)


def _on_canvas(config: Namespace, split: Split) -> Split:
    """Wrap a split in a `CanvasSplit` where the data set is one of canvases."""
    if config.dataset not in CANVASES:
        return split
    num_clutter = config.num_clutter if config.dataset == "cluttered_mnist" else 0
    return CanvasSplit(split, config.random_seed, config.canvas_size, num_clutter, config.augment_clutter)
