"""Build the optimizer, and compute learning rate, exploration, averaged weights and the weights of classes."""

from __future__ import annotations

import math

import paddle

from ram.data.shares import balanced_weights
from utils import to_tensor


def build_optimizer(config, parameters) -> paddle.optimizer.Optimizer:
    """Build the optimizer that the config names."""
    common = {"learning_rate": config.init_lr, "parameters": parameters}
    if config.clip_norm > 0:
        common["grad_clip"] = paddle.nn.ClipGradByGlobalNorm(config.clip_norm)
    elif config.clip_value > 0:
        common["grad_clip"] = paddle.nn.ClipGradByValue(config.clip_value)
    if config.optimizer == "adam":
        return paddle.optimizer.Adam(use_multi_tensor=True, **common)  # one operation for all parameters
    if config.optimizer == "sgd":
        return paddle.optimizer.SGD(**common)
    if config.optimizer == "momentum":
        return paddle.optimizer.Momentum(momentum=config.momentum, use_nesterov=config.nesterov, **common)
    if config.optimizer == "rmsprop":
        return paddle.optimizer.RMSProp(**common)
    return paddle.optimizer.Adadelta(**common)


def moment_shapes(config, parameters) -> list[dict[str, list[int]]]:
    """Find the names and shapes of what the optimizer keeps of each parameter, from its first step on a small one."""
    with paddle.utils.unique_name.guard():
        zeros = paddle.nn.initializer.Constant()
        small = paddle.create_parameter([2, 3], "float32", "small", default_initializer=zeros)
        optimizer = build_optimizer(config, [small])
    small.sum().backward()
    with paddle.utils.unique_name.guard():  # as in a training
        optimizer.step()
    kept = {name.removeprefix("small"): list(moment.shape) for name, moment in optimizer.state_dict().items()}
    return [
        {one.name + ending: list(one.shape) if shape == [2, 3] else shape for ending, shape in kept.items()}
        for one in parameters
    ]


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
