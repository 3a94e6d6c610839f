"""Offer the trained model to `paddle.hub`:

model = paddle.hub.load(DIR, "ram", source="local", preset="mnist")           # published weights
model = paddle.hub.load(DIR, "ram", source="local", weights="FILE.pdparams")  # any file that --weights takes
probabilities = model(images)  # (B, C, H, W), uint8 or in [0, 1], to (B, classes)

The modules of this project have plain names (config, model, utils, ...): a program with modules of the same names
cannot load it.
"""

dependencies = ["paddle", "numpy", "PIL", "tqdm"]

import functools as _functools

import paddle as _paddle

# All imports are here: once this file is loaded, paddle.hub takes its folder off the path.
from config import get_config as _get_config
from model import Noise as _Noise
from ram import build as _build
from ram.runs import published as _published
from ram.runs.find import find as _find
from utils import UserError as _UserError


def ram(preset="mnist", weights=None):
    """Build a trained Recurrent Attention Model, ready to classify.

    Args:
        preset: whose published weights to take; `python main.py --preset=help` lists them.
        weights: take those in this file instead.

    Returns:
        A `RecurrentAttention`. Calling it with images gives class probabilities by the policy's mean locations, with
        the first glimpse in the middle: nothing is random. `classes` are the names of the classes, `image_shape`
        (C, H, W) and `num_glimpses` what it was trained on; `rollout` gives locations, too.

    Raises:
        utils.UserError: the file cannot be used, there are no published weights of this preset, or the model looks at
            random locations, so that there are no means to look at.
    """
    path = _published.load(preset).path if weights is None else str(weights)
    config = _get_config([f"--weights={path}"])
    trained = _build.complete(_find(config), config)
    if config.policy == "random":
        raise _UserError(f"{path} was trained with --policy=random: it has no mean locations to look at")
    network = _build.build(trained, config)
    network.classes, network.image_shape, network.num_glimpses = (
        trained.classes,
        trained.image_shape,
        config.num_glimpses,
    )
    network.forward = _functools.partial(_probabilities, network)
    return network


@_paddle.no_grad()
def _probabilities(network, images):
    """Compute class probabilities (B, classes), float32, of images (B, C, H, W), B of 0 and more.

    Raises:
        ValueError: the images have another size than those of the training, or are neither uint8 nor floating point.
    """
    images = images if isinstance(images, _paddle.Tensor) else _paddle.to_tensor(images)
    shape, kind = tuple(images.shape), str(images.dtype).split(".")[-1]
    if shape[1:] != network.image_shape or not (kind == "uint8" or "float" in kind):
        expected = ", ".join(map(str, network.image_shape))
        raise ValueError(f"images are uint8, or in [0, 1], and of (B, {expected}), not {kind} of {shape}")
    if shape[0] == 0:  # Paddle's operations do not all take a batch without images
        return _paddle.zeros([0, len(network.classes)])
    x = images if kind == "uint8" else images.astype("float32")  # NumPy's images / 255.0 are float64
    return _paddle.exp(network.rollout(x, _Noise.mean(shape[0], network.num_glimpses)).log_probs)
