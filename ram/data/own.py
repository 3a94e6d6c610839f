"""Load the user's own data set, of image files or arrays, and compare it with the one that a model was trained on."""

from __future__ import annotations

import contextlib
import os
from argparse import Namespace
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from ram.data import arrays, fitting, kept
from ram.data.arrays import ArraySet
from ram.data.folders import MAX_BYTES, Loader, Part
from ram.data.layout import Layout
from ram.data.shares import TEST_SIZE
from ram.system import processes
from utils import UserError, listed, printable


class Loaded(NamedTuple):
    """Parts of a data set.

    Attributes:
        parts: by name; of those to load, the ones that are there.
        about: what a model has to keep of the data set, see kept.py.
        skipped: path and reason of images that were left out.
    """

    parts: dict[str, Part]
    about: dict
    skipped: dict[str, str]


def load(config: Namespace, names: tuple[str, ...], data: dict | None = None) -> Loaded:
    """Load the named parts of a data set; the first has to be there.

    Args:
        config: dataset, data_dir, image_size, test_size, follow_links, skip_broken, weights and explicit are used.
        names: of "train", "valid" and "test".
        data: what a model has kept of its data set (empty: the model is older than that); None: a training begins.

    Raises:
        UserError: there are no images, some cannot be used, or they are not those that the model was trained on.
    """
    source = array_set(config)
    if source:
        _check_test_size(config, f"{source.root} holds arrays")
        loaded = _load_arrays(source, names, config.image_size, data)
    else:
        loaded = _load_files(config, names, data)
    if data is not None:
        _compare(config, loaded.about, data, names)
    return loaded


def array_set(config: Namespace) -> ArraySet | None:
    """Return the data set if it consists of arrays; None if it consists of image files."""
    if config.dataset == "idx":
        return arrays.idx_set(config.data_dir)
    path = arrays.npz_in(config.data_dir)
    if path in (None, config.data_dir):
        return arrays.npz_set(path) if path else None
    layout = layout_of(config)
    if layout.kind != "classes" and layout.places:  # lists, or folders of the usual names
        return None
    layout.check_inside(path)
    source = arrays.npz_set(path)
    others = sorted({*layout.unseen, *layout.folders} - {os.path.basename(path)})
    if others:
        source.notes.append(f"[!] {printable(config.data_dir)}: not looked at: {listed(others)}")
    return source


def layout_of(config: Namespace) -> Layout:
    """Find the layout of a folder of image files."""
    return Layout(config.data_dir, config.follow_links, config.test_size)


def same_images(now: dict, then: dict) -> bool:
    """Tell whether a model's training images, of class folders alone all images, are those of a data set."""
    return "train" in now and not kept.differences(now["train"], then.get("train", {}))


def note(lines: Iterable[str]) -> None:
    """Print lines, each once, from one of several processes."""
    if processes.is_first():
        for line in dict.fromkeys(lines):
            print(line)


def _by_class(data: dict) -> bool:
    """Tell whether a training that is resumed drew its validation images class by class."""
    return data.get("by_class", False)


def _check_test_size(config: Namespace, why: str) -> None:
    """Raise UserError if a share of test images is asked of data that say themselves which these are."""
    if config.test_size != TEST_SIZE and "test_size" in config.explicit:  # not where a model's is only adopted
        raise UserError(f"--test_size={config.test_size} is for class folders alone, and {why}")


def check_test_share(config: Namespace, held: float, now: dict, then: dict | None) -> None:
    """Check that a model is not tested on images that it was trained on.

    Args:
        config: test_size and dataset are used, and weights for the message.
        held: the share of each class that was held out from the training, for its test.
        now: what is to be kept of the data set, of which config.test_size is tested.
        then: what the model has kept of the one that it was trained on, already checked.

    Raises:
        UserError: they are the same images, and fewer of them were held out from the training.
    """
    if config.dataset == "folder" and config.test_size > held and same_images(now, then or {}):
        raise UserError(
            f"--test_size={config.test_size} takes images that {config.weights} was trained on, which held out {held} "
            "of them; leave it out"
        )


# --------------------------------------------------------------------------------------------------------- image files


def _load_files(config: Namespace, names: tuple[str, ...], data: dict | None) -> Loaded:
    """Load parts that consist of image files."""
    layout = layout_of(config)
    if layout.kind != "classes":
        places = listed([os.path.basename(place) for place in layout.places.values()])
        _check_test_size(config, f"{config.data_dir} has {places or 'none'}")
    if names[0] not in layout.places:
        raise layout.missing(names[0])
    loader = Loader(layout, config.image_size, names[0], None if data is None else kept.conversion(data))
    parts = {}
    for part in (part for part in names if part in layout.places):
        with _noted(part, names, loader.notes):
            parts[part] = loader.load(part)
    concerned = {item.path for part in parts for item in loader.listing(part).items}
    broken = {path: why for path, why in loader.broken.items() if path in concerned}
    loader.broken = broken
    if broken and not config.skip_broken:
        raise loader.unusable()
    for name, part in parts.items():
        present = set(np.unique(part.labels).tolist())
        empty = [label for number, label in enumerate(part.classes) if number not in present]
        if name == "train" and empty and layout.kind != "lists":
            raise UserError(f"no image of {listed(empty)} in {layout.root} can be used")
        if not len(part.images):
            raise UserError(f"none of the {_title(name)} images in {layout.root} can be used")
        if empty and name in ("train", "valid"):
            loader.notes.append(f"[!] {printable(layout.root)}: no {_title(name)} image of {listed(empty)}")
    if broken:
        loader.notes.append(f"[!] {len(broken)} images that cannot be used are left out")
    note(loader.notes)
    about = dict(zip(("integer", "floating", "background"), loader.how), by_class=data is None or _by_class(data))
    if "train" in layout.places:
        whole = layout.everything([]) if layout.kind == "classes" else loader.listing("train")
        about["train"] = kept.of_files(whole.items)
    if "valid" in layout.places and "train" in names:
        about["valid"] = kept.of_files(loader.listing("valid").items)
    return Loaded(parts, about, broken)


def note_single_class(root: str, classes: list[str]) -> None:
    """Print that there is a single class, most often since the folder is one level too high."""
    if len(classes) > 1:
        return
    within = os.path.join(root, classes[0])
    deeper = os.path.isdir(within) and any(entry.is_dir() for entry in os.scandir(within))
    hint = f"; if the data set is {printable(within)}, give that as --data_dir" if deeper else ""
    note([f"[!] {printable(root)} has a single class, {printable(classes[0])}: there is nothing to tell apart{hint}"])


def note_classes_without_validation(config: Namespace, train: Part, rows: np.ndarray) -> None:
    """Print which classes have no image among those held out for validation, since they have but one.

    Raises:
        UserError: none has.
    """
    if not len(rows):
        raise UserError(
            f"no class of {config.data_dir} has two training images: none can be held out for validation with "
            f"--valid_size={config.valid_size}"
        )
    present, held = np.unique(train.labels).tolist(), set(np.unique(train.labels[rows]).tolist())
    empty = [train.classes[number] for number in present if number not in held]
    if empty:
        note([f"[!] {printable(config.data_dir)}: a single image, and so none for validation, of {listed(empty)}"])


@contextlib.contextmanager
def _noted(part: str, names: tuple[str, ...], notes: list[str]):
    """Note what is wrong with a test as a training begins, which can go without; else it is an error."""
    try:
        yield
    except UserError as error:
        if part != "test" or names[0] == part:
            raise
        notes.append(f"[!] There can be no test so far: {error}")


def _title(part: str) -> str:
    """Write a part's name as in "training images"."""
    return {"train": "training", "valid": "validation"}.get(part, part)


# -------------------------------------------------------------------------------------------------------------- arrays


def _load_arrays(source: ArraySet, names: tuple[str, ...], image_size: int | None, data: dict | None) -> Loaded:
    """Load parts that consist of arrays."""
    if names[0] not in source.parts:
        raise UserError(f"{source.root} has no {_title(names[0])} images: it has those of {listed(list(source.parts))}")
    raw, notes = {}, list(source.notes)
    for part in (part for part in source.parts if part in names or part == "train"):
        with _noted(part, names, notes):
            raw[part] = _read_arrays(source, part)
    decides = "train" if "train" in raw else names[0]
    shape, values = raw[decides][0].shape[1:], np.unique(raw[decides][1])
    classes = [str(value) for value in values.tolist()]
    parts = {}
    for part, (images, labels) in raw.items():
        with _noted(part, names, notes):
            _check_arrays(source.root, part, images, labels, shape, values)
            parts[part] = Part(_fitted(images, image_size), np.searchsorted(values, labels).astype(np.int64), classes)
    note(notes)
    about = {"background": "black", "by_class": data is None or _by_class(data)}
    about.update({part: kept.of_arrays(*parts[part]) for part in ("train", "valid") if part in parts})
    return Loaded({part: parts[part] for part in names if part in parts}, about, {})


def _read_arrays(source: ArraySet, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Read images (N, C, H, W) and labels (N,) of a part; raise UserError where they are not as many."""
    images, labels = source.read(part)
    if len(images) != len(labels):
        raise UserError(f"{source.root} has {len(images)} {_title(part)} images, but {len(labels)} labels of them")
    return images, labels


def _check_arrays(
    root: str, part: str, images: np.ndarray, labels: np.ndarray, shape: tuple[int, int, int], values: np.ndarray
) -> None:
    """Raise UserError unless images (N, C, H, W) and labels (N,) have the training's shape (C, H, W) and values."""
    if images.shape[1:] != shape:
        shapes = [" x ".join(map(str, each)) for each in (images.shape[1:], shape)]
        raise UserError(f"{root}: {_title(part)} images are {shapes[0]}, and training images {shapes[1]}")
    unknown = sorted(set(np.unique(labels).tolist()) - set(values.tolist()))
    if unknown:
        classes = list(map(str, values.tolist()))
        raise UserError(f"{root}: {unknown[0]} is no class: those in train are {listed(classes)}")


def _fitted(images: np.ndarray, image_size: int | None) -> np.ndarray:
    """Fit images (N, C, H, W) into squares of a side, if one is given."""
    if not image_size or images.shape[2:] == (image_size, image_size):
        return images
    if len(images) * images.shape[1] * image_size**2 > MAX_BYTES:
        raise UserError(f"{len(images)} images of {image_size}x{image_size} take more than {MAX_BYTES / 2**30:g} GiB")
    fitted = np.empty((*images.shape[:2], image_size, image_size), np.uint8)
    for number, image in enumerate(images):
        fitted[number] = fitting.fit(image, image_size, image_size)
    return fitted


# ------------------------------------------------------------------------------------- the same images as at training?


def _compare(config: Namespace, now: dict, then: dict, names: tuple[str, ...]) -> None:
    """Compare the data set with what a model has kept of its training's.

    Raises:
        UserError: the two differ, and the model was not named with --weights but by the name of the run.
    """
    folder = printable(config.data_dir)
    if "train" not in then:
        note([f"[*] It is not recorded which images were trained on: those in {folder} are not compared with them"])
        return
    if "train" not in now:
        note([f"[*] {folder} has no training images: they are not compared with those that were trained on"])
        return
    compared = [part for part in ("train", "valid") if part == "train" or part in names]
    for part in compared:
        differing = kept.differences(now.get(part, {}), then.get(part, {}))
        if not differing:
            continue
        what = f"the {_title(part)} images in {folder} are not those that the model was trained with: {differing}"
        if not config.weights:
            raise UserError(
                f"{what}; begin a new training, or name the checkpoint with --weights to test it on other images"
            )
        note([f"[*] {what[0].upper()}{what[1:]}"])
        return
