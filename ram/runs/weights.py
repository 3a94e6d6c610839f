"""Where a run keeps its files, and which trained weights the settings mean."""

from __future__ import annotations

import argparse
import os
from typing import NamedTuple

import numpy as np

from config import ARCHITECTURE, DATA, get_config, run_name
from ram.runs import checkpoint, published
from ram.runs.settings import OLDER_VERSION, adopt, completed, differences, settings
from utils import UserError, listed, printable


class RunFiles:
    """Where a run keeps its files."""

    def __init__(self, config):
        self.name = run_name(config)
        stem = os.path.join(config.ckpt_dir, self.name)
        self.latest = stem + "_ckpt.pdparams"
        self.previous = checkpoint.previous(self.latest)
        self.best = stem + "_model_best.pdparams"
        self.params = stem + "_params.json"
        folders = dict.fromkeys(map(os.path.realpath, (config.ckpt_dir, config.logs_dir, config.plots_dir)))
        self.locks = [os.path.join(folder, self.name + ".lock") for folder in folders]  # a run may share but one
        self.log = os.path.join(config.logs_dir, self.name + ".jsonl")
        self.scalars = os.path.join(config.logs_dir, self.name)
        self.plots = os.path.join(config.plots_dir, self.name)

    def started(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return os.path.lexists(self.latest) or os.path.lexists(self.previous)

    def of_a_run(self) -> list[str]:
        """What a training writes and a fresh start moves aside."""
        return [self.latest, self.previous, self.best, self.params, self.log, self.scalars, self.plots]


def read_weights(path: str, latest: bool = False) -> tuple[dict[str, np.ndarray], dict, int | str, dict]:
    """What is in a file of any kind that this project knows.

    Args:
        path: the file.
        latest: whether it is the latest state of a run, beside which there is the one before.

    Returns:
        the weights by parameter name; the settings that they were trained with, as far as they are known; the
        epochs that they were trained for, or "unknown"; and all that the file says, such as image_shape and classes.

    Raises:
        UserError: it is missing, damaged, or holds no weights.
    """
    if path.endswith(".safetensors"):
        weights, saved, facts = published.read(path)
        return weights, saved, facts.get("epoch", "unknown"), facts
    content = checkpoint.read_latest(path) if latest else checkpoint.read(path)
    weights = checkpoint.state_from(content, path)
    saved = content.get("settings")
    if isinstance(saved, dict):
        saved = completed(saved)
    else:
        saved = OLDER_VERSION if "model_state" in content else {}
    about = content if content.get("format") == checkpoint.FORMAT else {}
    epoch = content.get("epoch")
    return weights, saved, epoch if type(epoch) is int else "unknown", about


class Found(NamedTuple):
    """Trained weights, and what belongs to them."""

    config: argparse.Namespace  # the settings asked for, with the architecture and the data set of these weights
    weights: dict[str, np.ndarray]  # by parameter name, see `building.load_weights`
    epoch: int | str  # epochs that they were trained for, or "unknown"
    path: str
    about: dict  # what else the file says, such as image_shape and classes; empty where it is another program's


def find_weights(config) -> Found:
    """The weights that the settings mean: --weights, or else the run's own checkpoint, or else the published ones.

    Own is the best checkpoint, or with --best=False the latest. Published ones serve, with a line that says so, where
    nothing was trained under the name of the run.

    Raises:
        UserError: there are none, they cannot be used, or a flag that was given says otherwise than their settings.
    """
    config = argparse.Namespace(**vars(config))
    files = RunFiles(config)
    path, stands_in = config.weights, False
    if not path and not any(map(os.path.lexists, (files.best, files.latest, files.previous))):
        path = published.find(config)
        stands_in = path is not None
    own = not path
    if own:
        path = files.best if config.best else files.latest
        if path == files.latest and not os.path.lexists(path) and os.path.lexists(files.previous):
            path = files.previous
        if not os.path.lexists(path):
            wish = "predict with" if config.predict else "export" if config.export or config.export_onnx else "test"
            raise UserError(
                f"there is nothing to {wish}: {path} does not exist; train first, or name a file with --weights; "
                f"{published.offer()}"
            )
    weights, saved, epoch, about = read_weights(path, latest=path == files.latest)
    adopt(config, saved, path, ARCHITECTURE, strict=saved is not OLDER_VERSION)
    adopt(config, saved, path, DATA, strict=stands_in)  # who names a file may try it on other data
    if stands_in:
        print(f"[*] Nothing was trained as {files.name} in {config.ckpt_dir}: taking the published weights")
    elif own and config.preset and about:
        wanted = get_config([f"--preset={config.preset}", f"--model={config.model}"])
        others = differences(saved, settings(wanted))
        if others:
            print(f"[*] {path} was not trained as --preset={config.preset} trains: {printable(others)}")
    return Found(config, weights, epoch, path, about)


def check_fits(about: dict, split, path: str) -> None:
    """Raise UserError where a checkpoint says that its model knows other classes or colours than those of the data."""
    classes, shape = about.get("classes"), about.get("image_shape")
    if isinstance(classes, list) and classes != split.classes:
        known = listed([str(name) for name in classes])
        raise UserError(f"{path} knows other classes ({known}) than there are in the data ({listed(split.classes)})")
    if isinstance(shape, list) and shape and shape[0] != split.image_shape[0]:
        known = printable(str(shape[0]))
        raise UserError(f"{path} knows images of {known} channels, and those of the data have {split.image_shape[0]}")
