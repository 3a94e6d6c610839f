"""Export a trained model for other programs: `python main.py --export=DIR` and `--export_onnx=FILE`.

The exported model takes images (B, C, H, W), uint8 as they stand in image files, for any B, and gives probabilities
(B, classes) and the locations (B, T, 2) of the glimpses. As with `--locations=mean`, the first glimpse is in the middle
and the others are at the policy's means, so nothing is random. Normalization is included. `deploy.py` shows the use.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import warnings
from typing import Callable

import numpy as np
import paddle
from paddle import nn

from config import ARCHITECTURE, DATA
from model import Noise
from ram.build import build, complete
from ram.runs import checkpoint
from ram.runs.settings import settings
from ram.runs.weights import Trained
from ram.use import deploy
from ram.use.looking import look
from utils import UserError, first_line, generator, listed, make_folder

BATCHES = (1, 5, 32, 2)  # sizes of the batches that an export is checked with, one after the other
TOLERANCE = 1e-4  # of probabilities and locations: other programs add up in another order
PREFIX = "inference"  # of the model's files, as deployment tools expect it
ABOUT = "about.json"  # in an export's folder: the description that its use needs
# All that an export may consist of: PaddlePaddle 3 writes a .json, and 2.6 a .pdmodel and an .info.
FILES = (*(PREFIX + ending for ending in (".json", ".pdmodel", ".pdiparams", ".pdiparams.info")), ABOUT)
PLAIN_BELOW = 32  # images: larger batches are run by oneDNN in any case
OPSET = 16  # of ONNX
UNCHECKED = "not checked: python -m pip install onnxruntime to have that done"


# ------------------------------------------------------------------------------------------------------------ tracing


class Exported(nn.Layer):
    """A model as a layer that can be traced: the plain rollout, of which every step is an operation on tensors.

    Args:
        model: a `RecurrentAttention` or a `Baseline`.
        num_glimpses: T.
    """

    def __init__(self, model: nn.Layer, num_glimpses: int):
        super().__init__()
        self.model, self.num_glimpses = model, num_glimpses
        model.fast = False

    def forward(self, images: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Compute probabilities (B, classes) and locations (B, T, 2) of images (B, C, H, W) uint8."""
        x = images.astype("float32") / 255  # first of all: static graphs can do little with bytes
        return mean_rollout(self.model, x, self.num_glimpses)


def mean_rollout(model: nn.Layer, x: paddle.Tensor, T: int) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Compute probabilities (B, classes) and locations (B, T, 2) of images x (B, C, H, W), with nothing random."""
    rollout = model.rollout(x, Noise.mean(x.shape[0], T))
    return paddle.exp(rollout.log_probs), rollout.locations


# ----------------------------------------------------------------------------------------------------------- checking


def verified(run: Callable[[np.ndarray], list[np.ndarray]], model: nn.Layer, image_shape, T: int, where: str) -> float:
    """Compute the largest difference between an export and the live model, on random images in several batches.

    Args:
        run: the export, from images to probabilities and locations.
        model: the live model.
        image_shape: C, H, W.
        T: num_glimpses.
        where: the program that runs the export, for the error.

    Raises:
        UserError: the difference is larger than rounding explains.
    """
    largest = 0.0
    for number, B in enumerate(BATCHES):
        images = generator("export", number).integers(0, 256, (B, *image_shape), dtype=np.uint8)
        outputs = run(images)
        largest = max(largest, difference(outputs, expected(model, images, T, outputs[1])))
    if largest > TOLERANCE:
        raise UserError(
            f"nothing was exported: {where} gives other probabilities or locations than the model (largest "
            f"difference {largest:.1e}, at most {TOLERANCE:.0e} is rounding)"
        )
    return largest


@paddle.no_grad()
def expected(model: nn.Layer, images: np.ndarray, T: int, path: np.ndarray) -> list[np.ndarray]:
    """Compute probabilities (B, classes), and the locations (B, T, 2) that the live model chooses along a path.

    The live model's own path is the same but for rare images: where a mean is next to the border between two pixels,
    rounding decides which of them the glimpse is at, and all later glimpses differ.

    Args:
        model: the live model.
        images: (B, C, H, W) uint8.
        T: num_glimpses.
        path: locations (B, T, 2), those of the export.
    """
    B = len(images)
    if not model.samples:
        return [part.numpy() for part in mean_rollout(model, paddle.to_tensor(images), T)]
    noise = Noise.mean(B, T)
    sights = list(look(model, images, noise, along=path))
    chosen = [model.first_location(noise).numpy(), *(sight.chosen for sight in sights[:-1])]
    return [sights[-1].probabilities, np.stack(chosen, axis=1)]


def difference(ours: list[np.ndarray], others: list[np.ndarray]) -> float:
    """Compute the largest difference between two lists of arrays; infinite where they cannot be compared."""
    if [part.shape for part in ours] != [part.shape for part in others]:
        return math.inf
    largest = [float(np.abs(a - b).max(initial=0)) for a, b in zip(ours, others)]
    return max(largest) if all(map(math.isfinite, largest)) else math.inf  # NaN is no number, but it does differ


# ------------------------------------------------------------------------------------------------------------ writing


def export(config, trained: Trained) -> None:
    """Write the model to the targets of --export and --export_onnx.

    Args:
        config: settings, after those of the weights were adopted.
        trained: the weights.

    Raises:
        UserError: the weights cannot be used or have no mean locations, the export differs from the model, a file
            cannot be written, or paddle2onnx is missing.
    """
    if config.policy == "random":
        raise UserError("a model with --policy=random cannot be exported: it has no mean locations")
    if config.export_onnx:
        check_onnx(config.export_onnx)
    trained = complete(trained, config)
    live, traced = build(trained, config), build(trained, config)
    T, shape = config.num_glimpses, trained.image_shape
    about = description(config, trained)
    with tempfile.TemporaryDirectory() as folder:
        network = Exported(traced, T)
        network.eval()
        images = paddle.static.InputSpec([None, *shape], "uint8", "images")
        static = paddle.jit.to_static(network, input_spec=[images], full_graph=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Tensor do not have 'place'")  # Paddle's, of its own tracing
            paddle.jit.save(static, os.path.join(folder, PREFIX))
        if config.export:
            largest = verified_fastest(folder, about, live, shape, T)
            write_folder(folder, config.export)
            print(f"[*] Exported {trained.path} to {config.export}, {agreement('paddle.inference', largest)}")
        if config.export_onnx:
            data = to_onnx(folder, about)
            outcome = unchecked() or agreement(
                "onnxruntime", verified(onnx_runner(data), live, shape, T, "onnxruntime")
            )
            write_file(data, config.export_onnx)
            print(f"[*] Exported {trained.path} to {config.export_onnx}, {outcome}")


def verified_fastest(folder: str, about: dict, model: nn.Layer, image_shape, T: int) -> float:
    """Write the description of the export in a folder, with the fastest way to run it that passes the check.

    Without oneDNN small batches are several times faster, but PaddlePaddle 3.3.1 computes some models otherwise.
    """
    for plain_below in (PLAIN_BELOW, 0):
        checkpoint.write_json(os.path.join(folder, ABOUT), {**about, "plain_below": plain_below})
        try:
            return verified(written(folder), model, image_shape, T, "paddle.inference")
        except UserError:
            if not plain_below:
                raise


def written(folder: str) -> deploy.Model:
    """Load what Paddle wrote; raise UserError where it is not whole, since Paddle tells of no full disk."""
    try:
        return deploy.Model(folder)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"nothing was exported: what Paddle wrote to {folder} cannot be read ({first_line(error)}); if the disk is "
            "full, set TMPDIR to a folder elsewhere"
        ) from None


def agreement(where: str, largest: float) -> str:
    """Write the result of a check."""
    return f"checked with {where} in batches of {listed(list(map(str, BATCHES)))}: largest difference {largest:.1e}"


def description(config, trained: Trained) -> dict:
    """Describe how an export is used, and where it comes from."""
    preset = trained.settings.get("preset")
    return {
        "model": config.model,
        "preset": preset if isinstance(preset, str) else config.preset,
        "weights": os.path.basename(trained.path),
        "epoch": trained.epoch if type(trained.epoch) is int else None,
        "paddle": paddle.__version__,
        "image_shape": list(trained.image_shape),
        "classes": trained.classes,
        "data": trained.data or {},  # how pixels were converted, and which images were trained on
        "input": "images (B, C, H, W), uint8 from 0 to 255; pixel_mean and pixel_std are applied inside",
        "outputs": [
            "probabilities (B, classes)",
            "locations (B, T, 2) as (x, y): (-1, -1) is the top left corner, (1, 1) the bottom right one",
        ],
        "settings": {name: value for name, value in settings(config).items() if name in (*ARCHITECTURE, *DATA)},
    }


def write_folder(source: str, folder: str) -> None:
    """Copy the files of an export into a folder; an earlier export is moved aside, and other files stay."""
    make_folder(folder)
    set_aside([os.path.join(folder, name) for name in FILES], "export")
    for name in (name for name in FILES if os.path.exists(os.path.join(source, name))):  # ABOUT last: then all is there
        with open(os.path.join(source, name), "rb") as file:
            checkpoint.write_bytes(os.path.join(folder, name), file.read())


def write_file(data: bytes, path: str) -> None:
    """Write a file, after moving an earlier one aside."""
    make_folder(os.path.dirname(path) or ".")
    set_aside([path], os.path.basename(path))
    checkpoint.write_bytes(path, data)


def set_aside(paths: list[str], label: str) -> None:
    """Move what would be overwritten into a folder beside it, and print which."""
    moved = checkpoint.set_aside(paths, label)
    if moved:
        print(f"[*] An earlier export was moved to {moved}")


# --------------------------------------------------------------------------------------------------------------- ONNX


def check_onnx(path: str) -> None:
    """Raise UserError where no ONNX file can be made."""
    if os.path.isdir(path):
        raise UserError(f"--export_onnx={path} is a folder: give the name of a file in it")
    if os.path.exists(path) and not os.path.isfile(path):
        raise UserError(f"--export_onnx={path} is no ordinary file: give the name of a new one")
    if paddle.__version__.startswith("2."):
        raise UserError(f"--export_onnx needs PaddlePaddle 3, and this is {paddle.__version__}; --export works with it")
    try:
        import onnx  # noqa: F401 - are both there?
        import paddle2onnx  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name not in ("onnx", "paddle2onnx"):
            raise UserError(f"--export_onnx cannot import paddle2onnx: {first_line(error)}") from None
        raise UserError("--export_onnx needs paddle2onnx: python -m pip install paddle2onnx==2.1.0") from None
    except Exception as error:  # whatever these packages raise: a library of theirs is missing, or of another version
        raise UserError(f"--export_onnx cannot import paddle2onnx: {first_line(error)}") from None


def to_onnx(folder: str, about: dict) -> bytes:
    """Convert the model in a folder to the content of an ONNX file, with its description as metadata "about"."""
    import onnx
    import paddle2onnx

    files = [os.path.join(folder, PREFIX + ending) for ending in (".json", ".pdiparams")]
    try:
        # Without a file to save to, export() does not call its optimizers, one of which installs packages from the
        # internet.
        data = paddle2onnx.export(*files, opset_version=OPSET)
    except Exception as error:  # paddle2onnx has printed more on the standard error
        raise UserError(f"paddle2onnx cannot convert this model: {type(error).__name__}") from None
    model = onnx.load_model_from_string(data)
    graph = model.graph
    ends = [*graph.input, *graph.output]
    names = dict(zip([end.name for end in ends], ["images", "probabilities", "locations"]))
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for end in ends:
        end.name = names[end.name]
        end.type.tensor_type.shape.dim[0].dim_param = "B"
    used = {name for node in graph.node for name in node.input} | set(names.values())
    for constant in [constant for constant in graph.initializer if constant.name not in used]:
        graph.initializer.remove(constant)  # onnxruntime warns of each one
    onnx.helper.set_model_props(model, {"about": json.dumps(about)})
    onnx.checker.check_model(model)
    return model.SerializeToString()


def unchecked() -> str:
    """Tell why an ONNX model cannot be checked; "" where onnxruntime can be imported."""
    try:
        import onnxruntime  # noqa: F401 - is it there?
    except ModuleNotFoundError as error:
        return (
            UNCHECKED if error.name == "onnxruntime" else f"not checked, since onnxruntime fails: {first_line(error)}"
        )
    except Exception as error:  # for example, a library of its own is missing, or of another version
        return f"not checked, since onnxruntime fails: {first_line(error)}"
    return ""


def onnx_runner(data: bytes) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Return a function that runs an ONNX model, from images to probabilities and locations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors, but no remarks on what cannot be made faster
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["probabilities", "locations"], {"images": images})
