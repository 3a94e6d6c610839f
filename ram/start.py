"""Start a training from the weights in a file, and record which file: `--weights=FILE`."""

from __future__ import annotations

import hashlib
import os

import numpy as np

from config import CANVASES, OWN
from data_loader import CANVAS_SPLIT_SEED, Split, held_out
from ram.data.own import same_images
from ram.data.shares import draw_by_class
from ram.runs import checkpoint, published
from ram.runs.origin import Origin
from ram.runs.weights import Trained, read, read_facts
from utils import UserError


def start_from_file(config, trainer, train: Split, valid: Split) -> None:
    """Load the weights that --weights names into a trainer, and print how many validation images they were trained on.

    Args:
        config: changed in place: `started_from` is set to the record of the file that the run's settings keep.
        trainer: before its first step.
        train, valid: its splits.

    Raises:
        UserError: the file cannot be used, or holds weights of another model.
    """
    trained = read(config.weights)
    try:
        others = trainer.start_from(trained.weights)
    except UserError as error:
        raise UserError(f"{config.weights} cannot start this training: {error}") from None
    config.started_from = origin(trained)._asdict()
    print(f"[*] Starting from the weights in {config.weights}{others and ', but for ' + others}")
    held = other_share(trained, config, train)
    if held is not None:
        print(
            f"[!] these weights were trained with --test_size={held} of the same images: among the test and "
            "validation images of this training may be some that they were trained on"
        )
        return
    seen = count_seen(trained, config, train, valid)
    if seen:
        print(
            f"[!] {seen:,} of the {len(valid):,} validation images were among those that these weights were trained "
            f"on (--random_seed={trained.settings.get('random_seed')}): validation errors will be too low"
        )


def origin(trained: Trained) -> Origin:
    """Describe the file of the weights: its name, whether it is published, and the seed of its training."""
    sha256 = hashlib.sha256(checkpoint.file_bytes(trained.path)).hexdigest()
    files = [(name, published.path_of(name, seed)) for name, seed in published.trainings()]
    presets = [name for name, path in files if read_facts(path)["sha256"] == sha256]
    seed = trained.settings.get("random_seed")
    return Origin(
        os.path.basename(trained.path), sha256, presets[0] if presets else None, seed if type(seed) is int else None
    )


def other_share(trained: Trained, config, train: Split) -> float | None:
    """Return the share of these images that was held out from another training for its test; None if it is the same."""
    of_these = config.dataset == "folder" and trained.has_settings and trained.data
    if not of_these or not same_images(train.about, trained.data):
        return None
    held = published.trained_as(trained.settings, trained.path).test_size
    return held if held != config.test_size else None


def count_seen(trained: Trained, config, train: Split, valid: Split) -> int:
    """Count the validation images that the weights were trained on, as far as their settings tell.

    Which images are held out is a function of the seed and of their share; on canvases the seed is always the same.
    """
    if not trained.has_settings or train.images is not valid.images:  # a folder may have validation images of its own
        return 0
    theirs = published.trained_as(trained.settings, trained.path)
    if source(theirs, trained.settings.get("data_dir")) != source(config, config.data_dir):
        return 0
    if config.dataset in OWN and trained.data:
        rows = rows_of_own(trained.data, theirs, train, valid)
    else:
        seed = CANVAS_SPLIT_SEED if theirs.dataset in CANVASES else theirs.random_seed
        rows = held_out(len(train.images), theirs.valid_size, seed)[0]
    rows = rows[: theirs.limit]
    return int(np.isin(valid.rows[: len(valid)], rows).sum())


def rows_of_own(data: dict, theirs, train: Split, valid: Split) -> np.ndarray:
    """Return which images of a data set of one's own another training with these settings was trained on.

    No rows where the images are others, or --limit hides the classes of some.
    """
    labels = np.full(len(train.images), -1)
    for split in (train, valid):
        labels[split.rows[: len(split)]] = split.labels
    if not same_images(train.about, data) or (labels < 0).any():
        return np.arange(0)
    return draw_by_class(labels, theirs.valid_size, "split", theirs.random_seed)[0]


def source(config, data_dir: str | None) -> tuple:
    """Tell which images a training uses: those of a data set, whether on canvases or not, or those in a folder."""
    if config.dataset in OWN:
        return config.dataset, data_dir and os.path.realpath(data_dir)
    return (config.source if config.dataset in CANVASES else config.dataset,)
