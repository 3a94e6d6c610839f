"""Evaluate a model, for validation and test: classify every image of a split by the mean of M rollouts."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import paddle

from model import Noise, RecurrentAttention, draw_noise
from ram.baselines import Baseline
from ram.system import processes
from utils import image_tensor, printable, to_tensor

EVAL_BATCH = 500  # images, of up to 128x128 pixels


def batch_size(image_shape: tuple[int, int, int]) -> int:
    """Return how many images (C, H, W) are evaluated at once: above 128x128, in inverse proportion to the side.

    It depends on nothing else, so that no flag changes the rounding of an evaluation.
    """
    return max(1, round(EVAL_BATCH * min(1, 128 / math.sqrt(math.prod(image_shape[1:])))))


class Evaluation(NamedTuple):
    """The result of a model on one split."""

    loss: float  # mean of -log p(label), p averaged over the M rollouts
    correct: int
    count: int
    rollouts: int = 1  # averaged per image
    of_classes: tuple[tuple[int, int], ...] = ()  # how many images of each class are right, and how many there are

    @property
    def accuracy(self) -> float:
        """Share of images classified right, in percent."""
        return 100 * self.correct / self.count

    @property
    def error(self) -> float:
        """Share of images classified wrong, in percent."""
        return 100 - self.accuracy


def evaluation_noise(split, num_glimpses: int, M: int, locations: str, seed: int) -> list[tuple]:
    """Draw the noise of each rollout that `evaluate` makes of a split, for all its images: see `draw_noise`."""
    if locations == "mean":
        return M * [tuple(part.numpy() for part in Noise.mean(len(split), num_glimpses))]
    return [draw_noise(len(split), num_glimpses, f"evaluate/{split.name}", seed, r) for r in range(M)]


@paddle.no_grad()
def evaluate(
    model: RecurrentAttention | Baseline, split, num_glimpses: int, M: int, locations: str, seed: int, watch=None
) -> Evaluation:
    """Classify every image of a split by the mean of the class probabilities of M rollouts.

    Args:
        model: the model.
        split: images with labels, see `data_loader.Split`.
        num_glimpses: T.
        M: rollouts per image. With `locations="mean"`, or a baseline, all are equal, and one is made.
        locations: "sampled" from the policy, or the policy's "mean" with the first glimpse in the middle.
        seed: evaluation noise comes from (seed, split, rollout, image), so it is the same after every epoch.
        watch: called with the numbers of the images and the `Rollout`, for every rollout of every batch.

    Returns:
        The result, which is the same for any number of processes: they divide the batches among them. The noise of an
        image does not depend on the batch that it is in, since that of all images is drawn first.
    """
    model.eval()
    rollouts = M if model.samples and locations == "sampled" else 1
    noise = evaluation_noise(split, num_glimpses, rollouts, locations, seed)
    classes = split.num_classes
    size = batch_size(split.image_shape)
    sums = np.zeros((math.ceil(len(split) / size), 1 + classes))  # of each batch: loss, and right by class
    for number in range(processes.rank(), len(sums), processes.world()):
        index = np.arange(number * size, min((number + 1) * size, len(split)))
        images, labels = split.batch(index)
        scene, y = model.prepare(image_tensor(images)), to_tensor(labels)
        del images
        probs = 0
        for first, choices in noise:
            rollout = model.rollout(scene, Noise(to_tensor(first[index]), to_tensor(choices[index])))
            probs = probs + paddle.exp(rollout.log_probs) / rollouts  # (B, classes)
            if watch:
                watch(index, rollout)
        of_label = paddle.take_along_axis(probs, y.unsqueeze(1), 1)
        loss = float(-paddle.log(paddle.clip(of_label, min=1e-30)).sum())
        right = (probs.argmax(axis=1) == y).numpy()
        sums[number, 0], sums[number, 1:] = loss, np.bincount(labels[right], minlength=classes)
    sums, loss = processes.total(sums), 0.0
    for of_batch in sums[:, 0].tolist():  # one after the other: the order decides on the rounding
        loss += of_batch
    right, counts = sums[:, 1:].sum(axis=0).astype(int), np.bincount(split.labels, minlength=classes)
    of_classes = tuple(zip(right.tolist(), counts.tolist()))
    return Evaluation(loss / len(split), int(right.sum()), len(split), rollouts, of_classes)


WORST = 10  # classes that are shown


def by_class(result: Evaluation, classes: list[str]) -> str:
    """Describe the accuracy of the worst classes, and its mean over the classes that have images (balanced)."""
    shown = [
        (100 * right / count, right, count, name) for (right, count), name in zip(result.of_classes, classes) if count
    ]
    worst = sorted(shown, key=lambda row: row[0])[:WORST]
    rows = ", ".join(f"{printable(name)} {share:.2f}% ({right}/{count})" for share, right, count, name in worst)
    which = "by class" if len(shown) <= WORST else f"of the {WORST} worst of {len(shown)} classes"
    mean = sum(row[0] for row in shown) / len(shown)
    over = "1 class" if len(shown) == 1 else f"{len(shown)} classes"
    return f"[*] Accuracy {which}: {rows}\n[*] Balanced accuracy: {mean:.2f}% (the mean over {over})"
