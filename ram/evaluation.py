"""Evaluate a model, for validation and test: classify every image of a split by the mean of M rollouts."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import paddle

from model import Noise, RecurrentAttention, draw_noise
from ram.baselines import Baseline
from ram.system import processes
from utils import to_tensor

EVAL_BATCH = 500  # images; fixed, so that no flag changes the rounding of an evaluation


class Evaluation(NamedTuple):
    """The result of a model on one split."""

    loss: float  # mean of -log p(label), p averaged over the M rollouts
    correct: int
    count: int
    rollouts: int = 1  # averaged per image

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
        The result, which is the same for any number of processes: they divide the batches among them.
    """
    model.eval()
    rollouts = M if model.samples and locations == "sampled" else 1
    noise = evaluation_noise(split, num_glimpses, rollouts, locations, seed)
    sums = np.zeros((math.ceil(len(split) / EVAL_BATCH), 2))  # of each batch: loss, and how many are right
    for number in range(processes.rank(), len(sums), processes.world()):
        index = np.arange(number * EVAL_BATCH, min((number + 1) * EVAL_BATCH, len(split)))
        images, labels = split.batch(index)
        scene, y = model.prepare(to_tensor(images)), to_tensor(labels)
        probs = 0
        for first, choices in noise:
            rollout = model.rollout(scene, Noise(to_tensor(first[index]), to_tensor(choices[index])))
            probs = probs + paddle.exp(rollout.log_probs) / rollouts  # (B, classes)
            if watch:
                watch(index, rollout)
        of_label = paddle.take_along_axis(probs, y.unsqueeze(1), 1)
        loss = float(-paddle.log(paddle.clip(of_label, min=1e-30)).sum())
        sums[number] = loss, int((probs.argmax(axis=1) == y).sum())
    loss, correct = 0.0, 0
    for of_batch in processes.total(sums).tolist():  # one after the other: the order decides on the rounding
        loss, correct = loss + of_batch[0], correct + int(of_batch[1])
    return Evaluation(loss / len(split), correct, len(split), rollouts)
