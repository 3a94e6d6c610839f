"""Compute learning rate, exploration, averaged weights and the weights of classes."""

from __future__ import annotations

import math

import paddle

from ram.data.shares import balanced_weights
from utils import to_tensor


def learning_rate(config, progress: float, cuts: int = 0) -> float:
    """Compute the learning rate after `progress` epochs and `cuts` cuts of the plateau schedule."""
    if config.lr_schedule == "plateau":
        return max(config.min_lr, config.init_lr * config.lr_factor**cuts)
    if config.lr_schedule == "constant":
        return config.init_lr
    done = min(1.0, progress / (config.lr_decay_epochs or config.epochs))
    left = 1 - done if config.lr_schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return config.min_lr + (config.init_lr - config.min_lr) * left


def location_std(config, progress: float) -> float:
    """Compute the policy's standard deviation after `progress` epochs: explore first, then settle."""
    end = config.std if config.std_end is None else config.std_end
    return config.std + (end - config.std) * min(1.0, progress / config.epochs)


@paddle.no_grad()
def update_average(pairs: list[tuple[paddle.Tensor, paddle.Tensor]], decay: float) -> None:
    """Move each mean towards its weight: mean = decay * mean + (1 - decay) * weight."""
    for mean, weight in pairs:
        mean.scale_(decay).add_(weight * (1 - decay))  # three times faster than lerp_ on the CPU


def class_weights(config, train) -> paddle.Tensor | None:
    """Return the weights (classes,) of the classes in the classification loss; None where all weigh alike."""
    if config.class_weights == "equal":
        return None
    return to_tensor(balanced_weights(train.labels, train.num_classes))
