"""Build a model from settings, and load weights into it after checking them."""

from __future__ import annotations

import numpy as np
import paddle

from config import CANVASES
from model import Noise, RecurrentAttention, draw_noise
from ram.baselines import Baseline
from ram.data.sources import DATASETS
from ram.fast.check import differing_part
from ram.runs.weights import Trained
from utils import MAX_SIDE, UserError, first_few, generator, printable, to_tensor

SIDE = 28  # pixels: images of MNIST and Fashion-MNIST


def build_model(config, image_shape: tuple[int, int, int], num_classes: int) -> RecurrentAttention | Baseline:
    """Build the model that the config describes, for images (C, H, W); its policy has the std that evaluation uses."""
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
        crop_offset=config.crop_offset,
        first_reach=config.first_reach,
        policy=config.policy,
        core=config.core,
        reinforce_core=config.reinforce_core,
        core_init=config.core_init,
        location_mean=config.location_mean,
        glimpse_network=config.glimpse_network,
    )


def build(trained: Trained, config) -> RecurrentAttention | Baseline:
    """Build a model from the config and load checked weights, for evaluation.

    Args:
        trained: the weights; classes and image shape that their file does not name are those of the data set.
        config: settings that fit the weights, as `ram.runs.find` leaves them.

    Raises:
        UserError: the file contradicts itself, or the weights do not fit the settings; then nothing was allocated,
            however large a model the settings in the file describe.
    """
    trained = complete(trained, config)
    shape, num_classes = trained.image_shape, len(trained.classes)
    try:
        check_fitting(build_without_memory(config, shape, num_classes), trained.weights)
    except UserError as error:
        raise UserError(f"{trained.path} cannot be used: {error}") from None
    model = build_model(config, shape, num_classes)
    load_weights(model, trained.weights)
    model.eval()
    if config.model == "ram":
        check_rollout(model, shape, config.num_glimpses)
    return model


def complete(trained: Trained, config) -> Trained:
    """Fill in the classes and the image shape that the file does not name with those of the config's data set.

    Raises:
        UserError: the classes or the image shape in the file are impossible.
    """
    path, bias = trained.path, trained.weights.get("classifier.fc.bias")
    side = config.canvas_size if config.dataset in CANVASES else SIDE
    shape = (1, side, side) if trained.image_shape is None else trained.image_shape
    whole = isinstance(shape, tuple) and len(shape) == 3 and all(type(length) is int for length in shape)
    if not whole or shape[0] not in (1, 3) or not 1 <= min(shape) <= max(shape) <= MAX_SIDE:
        raise UserError(
            f"{path} cannot be used: its images have the shape {shape!r}; 1 or 3 channels, height and width of at most "
            f"{MAX_SIDE} are expected"
        )
    if bias is None or bias.ndim != 1:
        raise UserError(f"{path} cannot be used: it has no classifier.fc.bias that says how many classes there are")
    classes = default_classes(config, len(bias)) if trained.classes is None else trained.classes
    if not isinstance(classes, (list, tuple)) or [type(name) for name in classes] != [str] * len(bias):
        raise UserError(f"{path} cannot be used: it does not name its {len(bias)} classes")
    return trained._replace(classes=list(classes), image_shape=shape)


def default_classes(config, count: int) -> list[str]:
    """Name the classes as the data set does, or by numbers where it has another number of them."""
    files = DATASETS.get(config.source if config.dataset in CANVASES else config.dataset)
    return list(files.classes) if files and len(files.classes) == count else [str(label) for label in range(count)]


def check_rollout(model: RecurrentAttention, image_shape: tuple[int, int, int], num_glimpses: int) -> None:
    """Use the plain rollout where the fast one differs from it, as after an edit of a network, and print the part."""
    images = to_tensor(generator("check").integers(0, 256, (2, *image_shape), dtype=np.uint8))
    noise = Noise(*map(to_tensor, draw_noise(2, num_glimpses, "check")))
    part = differing_part(model, images, noise)
    if part:
        model.fast = False
        print(f"[*] {part} differs from the fast rollout: the plain one serves")


def build_without_memory(config, image_shape: tuple[int, int, int], num_classes: int) -> RecurrentAttention | Baseline:
    """Build the model as `build_model` does, but with weights that have only names and shapes."""
    with paddle.utils.unique_name.guard(), paddle.LazyGuard():
        return build_model(config, image_shape, num_classes)


def check_fitting(model: RecurrentAttention | Baseline, weights: object) -> None:
    """Raise UserError unless these are weights for the model: finite arrays of its names and shapes."""
    check_are_arrays(weights)
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


def check_are_arrays(weights: object) -> None:
    """Raise UserError unless these are arrays by name."""
    if not isinstance(weights, dict) or not all(type(value) is np.ndarray for value in weights.values()):
        raise UserError("there are no weights in it")


def load_weights(model: RecurrentAttention | Baseline, weights: dict[str, np.ndarray]) -> None:
    """Set every weight of the model.

    Raises:
        UserError: a weight is missing, one is unknown, or a shape differs; the model is then unchanged.
    """
    check_fitting(model, weights)
    model.set_state_dict({name: to_tensor(value.astype("float32")) for name, value in weights.items()})


def load_fitting(model: RecurrentAttention | Baseline, weights: dict[str, np.ndarray]) -> str:
    """Set the weights that fit the model by name and shape, and leave the others as they were drawn.

    Returns:
        a description of what does not fit, "" if all does.

    Raises:
        UserError: nothing but biases fits, or what fits is not finite; the model is then unchanged.
    """
    own = arrays(model.state_dict())
    check_are_arrays(weights)
    taken = {name: weights[name] for name in own if name in weights and weights[name].shape == own[name].shape}
    if not any(value.ndim > 1 for value in taken.values()):
        raise UserError("nothing but biases in the weights fits this model: there is nothing to start from")
    load_weights(model, {**own, **taken})
    others = [
        f"{name} ({list(weights[name].shape) if name in weights else 'absent'} there, {list(value.shape)} here)"
        for name, value in own.items()
        if name not in taken
    ]
    others += [f"{printable(name)} (not here)" for name in sorted(set(weights) - set(own))]
    shown = first_few(others)
    return shown and f"what does not fit and is drawn anew: {shown}"


def arrays(state: dict) -> dict[str, np.ndarray]:
    """Copy tensors to NumPy arrays."""
    return {name: np.array(value.numpy() if hasattr(value, "numpy") else value) for name, value in state.items()}
