"""Treat classes by their frequency: a share of each is held out, and rare ones may weigh more."""

from __future__ import annotations

import numpy as np

from utils import generator

TEST_SIZE = 0.2  # the default share of each class for the test, where there are class folders alone


def draw_by_class(labels: np.ndarray, share: float, stream: str, *numbers: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide images into a rest and a share of each class, two ascending arrays of their numbers.

    Of every class one image at least is in the rest and, where it has two or more, one at least in the share.

    Args:
        labels: (N,) integers, the classes of the images.
        share: above 0 and below 1.
        stream, numbers: what the draw is a pure function of, see `utils.generator`.
    """
    raw = generator(f"{stream} by class", *numbers).bit_generator.random_raw(len(labels))  # the same with every NumPy
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = min(max(1, round(len(rows) * share)), len(rows) - 1)
        held[rows[np.argsort(raw[rows], kind="stable")[:count]]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def balanced_weights(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Weigh classes (num_classes,) against their frequency in labels (N,), so that the mean weight of an image is 1."""
    counts = np.bincount(labels, minlength=num_classes)
    weights = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return np.where(counts > 0, weights, 0).astype(np.float32)
