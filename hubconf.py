"""The model for `paddle.hub`:

model = paddle.hub.load(DIR, "ram", source="local", preset="mnist")           # published weights
model = paddle.hub.load(DIR, "ram", source="local", weights="FILE.pdparams")  # any file that --weights takes
probabilities = model(images)  # (B, C, H, W), uint8 or in [0, 1], to (B, classes)

The modules of this project have plain names (config, model, predict, ...): a program with modules of the same names
cannot load it.
"""

dependencies = ["paddle", "numpy", "PIL", "tqdm"]

import functools as _functools

import paddle as _paddle

# All now: once this file is loaded, paddle.hub takes its folder off the path.
import config as _config
import model as _model
from ram.runs import published as _published
from ram.runs import settings as _settings
from ram.runs import weights as _weights
from ram.use import predict as _predict


def ram(preset="mnist", weights=None):
    """A trained Recurrent Attention Model, ready to classify.

    Args:
        preset: whose published weights to take; `python published.py` lists them.
        weights: take those in this file instead.

    Returns:
        A `RecurrentAttention`. Calling it with images gives class probabilities by the policy's mean locations, with
        the first glimpse in the middle: nothing is random. `classes` are the names of the classes, `image_shape`
        (C, H, W) and `num_glimpses` what it was trained on; `rollout` gives locations, too.

    Raises:
        utils.UserError: the file cannot be used, or there are no published weights of this preset.
    """
    config = _config.get_config([])
    if weights is None:
        path = _published.path_of(preset)
        state, saved, about = _published.load(preset)
    else:
        path = str(weights)
        state, saved, _, about = _weights.read_weights(path)
    _settings.adopt(config, saved, path, [*_config.ARCHITECTURE, *_config.DATA])
    found = _predict.load_classifier(config, state, about, path)
    network = found.model
    network.classes, network.image_shape, network.num_glimpses = found.classes, found.image_shape, config.num_glimpses
    network.forward = _functools.partial(_probabilities, network)
    return network


@_paddle.no_grad()
def _probabilities(network, images):
    """Class probabilities (B, classes) of images (B, C, H, W).

    Raises:
        ValueError: the images have another size than those of the training, or are neither uint8 nor floating point.
    """
    images = images if isinstance(images, _paddle.Tensor) else _paddle.to_tensor(images)
    shape, kind = tuple(images.shape), str(images.dtype).split(".")[-1]
    if shape[1:] != network.image_shape or not (kind == "uint8" or "float" in kind):
        wanted = ", ".join(map(str, network.image_shape))
        raise ValueError(f"images are uint8, or in [0, 1], and of (B, {wanted}), not {kind} of {shape}")
    count = images.shape[0]
    noise = _model.Noise(_paddle.zeros([count, 2]), _paddle.zeros([count, network.num_glimpses - 1, 2]))
    return _paddle.exp(network.rollout(images, noise).log_probs)
