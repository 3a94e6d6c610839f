"""Build a training's optimizer, let it step, and keep what it remembers as plain data."""

from __future__ import annotations

import numpy as np
import paddle

from ram.build import arrays
from utils import UserError, to_tensor


class Optimizer:
    """An optimizer of Paddle that goes on with the same bits wherever its state is taken up.

    Args:
        inner: Paddle's optimizer. Its state is keyed by the names of its parameters, which are the same in every run
            where they are made under `paddle.utils.unique_name.guard`.
    """

    def __init__(self, inner: paddle.optimizer.Optimizer):
        self.inner = inner
        self.loaded: dict[str, np.ndarray] | None = None  # what it was given and has not used yet

    def step(self, rate: float) -> None:
        """Move the parameters along their gradients at a learning rate, and set the gradients to zero.

        Raises:
            UserError: the state that was loaded is not that of these parameters.
        """
        self.inner.set_lr(rate)
        with paddle.utils.unique_name.guard():  # the first step names the moments: the same in every run
            try:
                self.inner.step()
            except (AssertionError, ValueError):  # Paddle checks what it has loaded only now
                if self.loaded is None:
                    raise
                raise UserError("the optimizer's state in the checkpoint is not that of this model") from None
        self.inner.clear_grad(set_to_zero=False)  # nothing to add the next gradient to
        self.loaded = None

    def state(self) -> dict[str, np.ndarray]:
        """Return the moments by name; there are none before the first step."""
        # Until its first step, the optimizer of Paddle 2.6 does not return what it has loaded.
        return self.loaded or arrays(self.inner.state_dict())

    def load(self, state: dict[str, np.ndarray]) -> None:
        """Take up a state that `state` returned."""
        if state:
            self.loaded = state
            self.inner.set_state_dict({key: to_tensor(moment) for key, moment in state.items()})


def build_optimizer(config, parameters: list[paddle.Tensor]) -> paddle.optimizer.Optimizer:
    """Build the optimizer that the config names; its moments are named by `unique_name`, as the parameters are."""
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
        optimizer = Optimizer(build_optimizer(config, [small]))
    small.sum().backward()
    optimizer.step(config.init_lr)
    kept = {name.removeprefix("small"): list(moment.shape) for name, moment in optimizer.state().items()}
    return [
        {one.name + ending: list(one.shape) if shape == [2, 3] else shape for ending, shape in kept.items()}
        for one in parameters
    ]
