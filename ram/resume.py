"""Read and check the state of a training before it is resumed."""

from __future__ import annotations

import math

import numpy as np

from config import FREE, KEPT
from ram.build import build_without_memory, check_fitting
from ram.data import kept
from ram.optimizer import moment_shapes
from ram.runs import checkpoint
from ram.runs.files import RunFiles
from ram.runs.origin import origin_in
from ram.runs.settings import adopt, completed, deciding, gone, idle, settings
from ram.runs.weights import Trained, fitted
from ram.system import processes
from utils import UserError, printable

COUNTS = ("epoch", "step", "epochs_since_best", "epochs_since_lower", "cuts")
MEASURES = ("seconds", "best_valid_acc", "lowest_loss")
# Of an epoch's record, what other code reads.
OF_A_RECORD = ("epoch", "best", "val_acc", "val_err", "val_loss", "train_acc", "train_loss", "seconds")


def read_state(config, files: RunFiles) -> dict:
    """Read the state to resume from, and take its settings into `config`, in place, where no flag was given.

    Raises:
        UserError: there is no state, or a given flag contradicts its settings.
    """
    path = files.latest
    if not files.started():
        raise UserError(f"there is nothing to resume: {path} does not exist; leave --resume out to start")
    state = checkpoint.read_latest(path)
    if not isinstance(state.get("settings"), dict) or "optimizer" not in state:
        raise UserError(f"{path} cannot be resumed: it holds no training state")
    kept.checked(state.get("data"), path)
    saved = completed(state["settings"])
    for name, value in gone(saved).items():
        raise UserError(f"{path} cannot be resumed: it was trained with --{name}={value}, which is no more")
    origin = origin_in(saved)
    config.started_from = origin and origin._asdict()
    same = {"preset"} if deciding(saved) == deciding(settings(config)) else set()  # its name alone differs
    lenient = idle(saved) - FREE  # whatever they are, they decide nothing
    adopt(config, saved, path, [name for name in saved if name not in FREE | same | lenient])
    adopt(config, saved, path, [name for name in saved if name in lenient.union(KEPT)], strict=False)
    return state


def check_resumable(state: dict, config, train, path: str) -> None:
    """Raise UserError where a checkpoint does not fit this training: its networks, optimizer or data."""
    shape = state.get("image_shape")
    shape = tuple(shape) if isinstance(shape, (list, tuple)) else None
    fitted(Trained({}, {}, "unknown", state.get("classes"), shape, path), train)
    try:
        check_state(state, config, train)
    except UserError as error:
        raise UserError(f"{path} cannot be resumed: {error}") from None


def check_state(state: dict, config, train) -> None:
    """Raise UserError unless a state is one that `Trainer.state` makes with these settings and training images.

    A checksum does not tell who wrote a file. Nothing is allocated, see `ram.build.build`.
    """
    model = build_without_memory(config, train.image_shape, train.num_classes)
    for name in ("model", "ema") if config.ema > 0 else ("model",):
        check_fitting(model, state.get(name))
    for name in COUNTS:
        if type(state.get(name)) is not int or state[name] < 0:
            raise UserError(f"its {name} is no count")
    if state["step"] > math.ceil(len(train) / config.batch_size):
        raise UserError("it has done more steps of an epoch than there are")
    if not all(map(is_number, map(state.get, MEASURES))):
        raise UserError(f"not all of its {', '.join(MEASURES)} are numbers")
    history, sums, moments = (state.get(name) for name in ("history", "sums", "optimizer"))
    if not isinstance(history, (list, tuple)) or len(history) != state["epoch"]:
        raise UserError("its history is not that of its epochs")
    if not all(isinstance(record, dict) and all(map(is_number, map(record.get, OF_A_RECORD))) for record in history):
        raise UserError("its history lacks figures")
    if not isinstance(sums, dict) or "count" not in sums or not all(map(is_number, sums.values())):
        raise UserError("its sums are not those of an epoch")
    if not isinstance(moments, dict) or not all(type(moment) is np.ndarray for moment in moments.values()):
        raise UserError("its optimizer's state is no state of one")
    if type(state.get("plain", False)) is not bool:  # a checkpoint may be from before that was kept
        raise UserError("it does not say which rollout trains")
    check_moments(config, model.parameters(), moments)
    if state["epoch"] + state["step"] and not moments and config.optimizer != "sgd":
        raise UserError("its optimizer's state is empty")


def check_moments(config, parameters, moments: dict[str, np.ndarray]) -> None:
    """Raise UserError unless an optimizer's state has names and shapes of these parameters.

    Of a parameter that no loss reaches, such as the policy's where nothing is chosen, there are no moments.
    """
    unknown = set(moments)
    for expected in moment_shapes(config, parameters):
        missing = sorted(set(expected) - set(moments))
        if missing and len(missing) < len(expected):
            raise UserError(f"its optimizer's state lacks {missing[0]}")
        for name in expected.keys() & moments.keys():
            if list(moments[name].shape) != expected[name] or moments[name].dtype.kind != "f":
                theirs = f"{list(moments[name].shape)} of {moments[name].dtype}"
                raise UserError(f"{name} of its optimizer's state is {theirs}, not {expected[name]} of float32")
        unknown -= set(expected)
    if unknown:
        raise UserError(f"its optimizer's state has {printable(min(unknown))}, which this model's has not")


def is_number(value: object) -> bool:
    """Tell whether a value is a number (booleans are); NaN is not."""
    return isinstance(value, (int, float)) and value == value


def check_same_start(config, model, splits: list, *progress: int) -> None:
    """Raise UserError where not all processes begin with the same settings, labels, weights and progress."""
    if processes.world() == 1:
        return
    shared = {name: value for name, value in settings(config).items() if name not in FREE or name in KEPT}
    processes.check_same(
        settings=repr(shared).encode(),
        labels=b"".join(split.labels.tobytes() for split in splits),
        weights=b"".join(weight.numpy().tobytes() for weight in model.state_dict().values()) + repr(progress).encode(),
    )
