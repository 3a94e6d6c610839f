"""The model that the settings describe, and weights in it that were checked before."""

from __future__ import annotations

import numpy as np
import paddle

from model import RecurrentAttention
from ram.baselines import Baseline
from utils import UserError, printable, to_tensor


def build_model(config, image_shape: tuple[int, int, int], num_classes: int) -> RecurrentAttention | Baseline:
    """The model that the settings describe, for images (C, H, W). Its policy has the std that evaluation uses."""
    if config.model != "ram":
        return Baseline(config.model, image_shape, num_classes, config.pixel_mean, config.pixel_std)
    return RecurrentAttention(
        config.patch_size,
        config.num_patches,
        config.glimpse_scale,
        image_shape[0],
        config.glimpse_hidden,
        config.loc_hidden,
        config.std if config.std_end is None else config.std_end,
        config.hidden_size,
        num_classes,
        pixel_mean=config.pixel_mean,
        pixel_std=config.pixel_std,
        unit_pixels=config.unit_pixels,
        first_reach=config.first_reach,
        policy=config.policy,
        core=config.core,
        reinforce_core=config.reinforce_core,
        core_init=config.core_init,
        location_mean=config.location_mean,
    )


def build_trained(
    config, image_shape: tuple[int, int, int], num_classes: int, weights: dict[str, np.ndarray]
) -> RecurrentAttention | Baseline:
    """The model that the settings describe, with these weights.

    Raises:
        UserError: they do not fit; then nothing was allocated, however large a model a file's settings ask for.
    """
    check_fitting(without_memory(config, image_shape, num_classes), weights)
    model = build_model(config, image_shape, num_classes)
    load_weights(model, weights)
    return model


def without_memory(config, image_shape: tuple[int, int, int], num_classes: int) -> RecurrentAttention | Baseline:
    """As `build_model`, but the weights have only names and shapes."""
    with paddle.utils.unique_name.guard(), paddle.LazyGuard():
        return build_model(config, image_shape, num_classes)


def check_fitting(model: RecurrentAttention | Baseline, weights: object) -> None:
    """Raise UserError unless these are weights for the model: finite arrays of its names and shapes."""
    if not isinstance(weights, dict) or not all(type(value) is np.ndarray for value in weights.values()):
        raise UserError("there are no weights in it")
    own = {name: list(value.shape) for name, value in model.state_dict().items()}
    for name, shape in own.items():
        if name not in weights:
            raise UserError(f"the weights lack {name}: they belong to another model")
        if list(weights[name].shape) != shape:
            raise UserError(f"{name} is {list(weights[name].shape)} in the weights and {shape} in this model")
        if weights[name].dtype.kind != "f":  # among them Paddle's bfloat16, which comes as integers
            raise UserError(f"{name} has numbers of type {weights[name].dtype} in the weights, not floating point")
        with np.errstate(over="ignore"):
            if not np.isfinite(weights[name].astype("float32")).all():
                raise UserError(f"{name} has numbers in the weights that are not finite")
    extra = sorted(set(weights) - set(own))
    if extra:
        raise UserError(f"the weights hold {printable(extra[0])}, which this model has not")


def load_weights(model: RecurrentAttention | Baseline, weights: dict[str, np.ndarray]) -> None:
    """Set every weight of the model.

    Raises:
        UserError: if a name is missing or too many, or a shape differs; the model is then unchanged.
    """
    check_fitting(model, weights)
    model.set_state_dict({name: to_tensor(value.astype("float32")) for name, value in weights.items()})


def arrays(state: dict) -> dict[str, np.ndarray]:
    """Tensors as NumPy arrays of their own."""
    return {name: np.array(value.numpy() if hasattr(value, "numpy") else value) for name, value in state.items()}
