"""Load the model for `paddle.hub`; hubconf.py documents its use."""

from __future__ import annotations

import functools
import threading

import numpy as np
import paddle

from config import get_config
from model import Noise
from ram.build import build, complete
from ram.data.conversion import UNIT
from ram.runs import published
from ram.runs.find import find
from utils import UserError

ONE_AT_A_TIME = threading.Lock()  # not in the model, which then could not be copied


def load(preset: str, weights: str | None):
    """Build a trained model whose call gives class probabilities.

    Args:
        preset: whose published weights to take.
        weights: take those in this file instead.

    Raises:
        UserError: see `ram` in hubconf.py.
    """
    path = published.load(preset).path if weights is None else str(weights)
    config = get_config([f"--weights={path}"])
    trained = complete(find(config), config)
    if config.policy == "random":
        raise UserError(f"{path} was trained with --policy=random: it has no mean locations to look at")
    network = build(trained, config)
    network.classes, network.image_shape = trained.classes, trained.image_shape
    network.num_glimpses, network.Noise = config.num_glimpses, Noise
    network.forward = functools.partial(probabilities, network)
    return network


def probabilities(network, images) -> paddle.Tensor:
    """Compute class probabilities (B, classes), float32, of images (B, C, H, W), B of 0 and more; from any thread.

    Raises:
        ValueError: the images have another size than those of the training, or are neither uint8 nor floating point
            numbers in [0, 1].
    """
    with ONE_AT_A_TIME, paddle.no_grad():
        images = images if isinstance(images, paddle.Tensor) else paddle.to_tensor(np.asarray(images))
        shape, kind = tuple(images.shape), str(images.dtype).split(".")[-1]
        if shape[1:] != network.image_shape or not (kind == "uint8" or "float" in kind):
            expected = ", ".join(map(str, network.image_shape))
            raise ValueError(f"images are uint8, or in [0, 1], and of (B, {expected}), not {kind} of {shape}")
        if shape[0] == 0:  # Paddle's operations do not all take a batch without images
            return paddle.zeros([0, len(network.classes)])
        x = images
        if kind != "uint8":
            x = images.astype("float32")  # NumPy's images / 255.0 are float64
            low, high = float(x.min()), float(x.max())
            if not (1 - UNIT <= low and high <= UNIT):  # or NaN
                raise ValueError(f"images are uint8, or in [0, 1], not {kind} from {low:g} to {high:g}")
        return paddle.exp(network.rollout(x, Noise.mean(shape[0], network.num_glimpses)).log_probs)
