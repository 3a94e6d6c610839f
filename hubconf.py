"""Offer the trained model to `paddle.hub`:

model = paddle.hub.load(DIR, "ram", source="local", preset="mnist")           # published weights
model = paddle.hub.load(DIR, "ram", source="local", weights="FILE.pdparams")  # any file that --weights takes
probabilities = model(images)  # (B, C, H, W), uint8 or in [0, 1], to (B, classes)

The modules of this project have plain names (config, model, utils, ...). They are imported apart from those of the
program that loads them, which may have the same names.
"""

dependencies = ["paddle", "numpy", "PIL", "tqdm", "safetensors"]

import importlib.util as _util
import os as _os

_FOLDER = _os.path.dirname(_os.path.abspath(__file__))
_spec = _util.spec_from_file_location("_ram_apart", _os.path.join(_FOLDER, "ram", "system", "apart.py"))
_apart = _util.module_from_spec(_spec)
_spec.loader.exec_module(_apart)
_hub = _apart.load(_FOLDER, "ram.use.hub")


def ram(preset="mnist", weights=None):
    """Build a trained Recurrent Attention Model, ready to classify.

    Args:
        preset: whose published weights to take; `python main.py --preset=help` lists them.
        weights: take those in this file instead.

    Returns:
        A `RecurrentAttention`, or a `Baseline`, which has no locations, where the file holds one. Calling it with
        images gives class probabilities by the policy's mean locations, with the first glimpse in the middle: nothing
        is random. Several threads may call one model. `classes` are the names of the classes, `image_shape` (C, H, W)
        and `num_glimpses` what it was trained on; `rollout`, which takes a `Noise` such as
        `model.Noise.mean(B, model.num_glimpses)`, gives locations, too.

    Raises:
        ValueError: the file cannot be used, there are no published weights of this preset, or the model looks at
            random locations, so that there are no means to look at.
    """
    return _hub.load(preset, weights)
