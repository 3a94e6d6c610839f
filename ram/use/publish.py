"""Publish the best epoch of a training: test it, and write its weights and their description to ckpt/published/.

    python -m ram.use.publish ckpt/ram_6_8x8_1_model_best.pdparams --name=mnist
    python -m ram.use.publish ckpt/ram_4_8x8_1_model_best.pdparams --name=mnist --variant=glimpses4

Weights are published in float16, half the size, and the errors are those of the rounded weights.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import time

import numpy as np

from config import IN_FILES, PATHS, get_config
from ram.presets import PRESETS
from ram.runs import checkpoint, published
from ram.runs.origin import origin_in
from ram.runs.published import load, path_of, summary, trained_as
from ram.runs.settings import differences, settings
from ram.runs.weights import Trained, facts_path, fitted, read, read_facts
from ram.system.command import command_line
from ram.system.cpu import choose_device, hardware_here, prepare_cpu
from ram.system.parsing import Parser, path
from utils import UserError, make_folder

LARGEST = 3_000_000  # bytes: what is published stays in the history of the repository
# The end of a best checkpoint's name.
BEST = "_model_best.pdparams"
ROLLOUTS = (1, 10)  # the numbers of rollouts M that errors are published for


def publish(
    path: str,
    preset: str,
    data_dir: str = "./data",
    hardware: str | None = None,
    force: bool = False,
    variant: str | None = None,
) -> None:
    """Test the best checkpoint of a training, and write its two files.

    Args:
        path: `<run>_model_best.pdparams`; `<run>_ckpt.pdparams` must be beside it, for the history of the training.
        preset: that of the training; the file has the seed in its name where that is not 1.
        data_dir: folder of the data.
        hardware: the hardware of the training; None: this machine.
        force: replace what is published under this name.
        variant: a word for the flags in which the training was not that of the preset; the file has it in its name.

    Raises:
        UserError: the checkpoint cannot be published, and nothing is changed; or what was written is not there.
    """
    from safetensors.numpy import save

    trained, history = read_training(path)
    config = trained_as(trained.settings, path)
    name = published.name_of(preset, variant)
    target = path_of(name, config.random_seed)
    first = name if config.random_seed != 1 else preset  # beside which this one would be published
    if path_of(first) != target and not os.path.lexists(path_of(first)):
        raise UserError(f"{first} stands for seed 1: publish that training before this one, {target}")
    if not force and any(map(os.path.lexists, (target, facts_path(target)))):
        raise UserError(f"{target} is published already; --force replaces it")
    check_recipe(trained, preset, variant, config.random_seed)
    check_finished(latest_of(path))
    rounded = {key: to_float16(value, f"{path}: {key}") for key, value in trained.weights.items()}
    data = save(rounded)
    if len(data) > LARGEST:
        raise UserError(f"{target} would have {len(data):,} bytes; at most {LARGEST:,} are published")
    # The errors are measured with the weights in the file.
    trained = trained._replace(weights={key: value.astype(np.float32) for key, value in rounded.items()})
    config.data_dir = data_dir
    facts = {
        "settings": {key: value for key, value in trained.settings.items() if key in IN_FILES and key not in PATHS},
        "epoch": trained.epoch,
        "epochs": len(history),
        "seconds": round(sum(record["seconds"] for record in history), 1),
        "seed": config.random_seed,
        **errors(config, trained),
        "image_shape": list(trained.image_shape),
        "num_classes": len(trained.classes),
        "hardware": hardware or hardware_here(),
        "paddle": paddle_version(),
        "date": time.strftime("%Y-%m-%d"),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    make_folder(published.FOLDER)
    checkpoint.write_bytes(target, data)
    checkpoint.write_json(facts_path(target), facts)
    again = load(name, config.random_seed)
    same = [np.array_equal(again.weights.get(key), value) for key, value in trained.weights.items()]
    if read_facts(target) != facts or not all(same):
        raise UserError(f"{target} does not hold what was written to it")
    print(f"[*] Published {target}, {len(data):,} bytes: {summary(facts)}")


def to_float16(value: np.ndarray, name: str) -> np.ndarray:
    """Round an array of any shape. Raises UserError: float16 cannot hold its largest value, or one is NaN."""
    largest, bound = np.abs(value).max(initial=0), np.finfo(np.float16).max
    if not largest <= bound:  # or NaN
        raise UserError(f"{name} holds {largest:g}; weights are published in float16, which ends at {bound:g}")
    return np.ascontiguousarray(value, np.float16)


def check_recipe(trained: Trained, preset: str, variant: str | None, seed: int) -> None:
    """Raise UserError where a training is not what the name of its file says."""
    path = trained.path
    if origin_in(trained.settings):
        raise UserError(f"{path} cannot be published: its training began with the weights in a file")
    others = differences(trained.settings, settings(get_config([f"--preset={preset}"])))
    if not variant:
        if others:
            raise UserError(
                f"{path} was not trained as --preset={preset} trains: {others}; --variant=WORD publishes it beside"
            )
        return
    if not others:
        raise UserError(f"{path} was trained as --preset={preset} trains: it is no --variant={variant}")
    if seed != 1:
        name = published.name_of(preset, variant)
        others = differences(trained.settings, read_facts(path_of(name))["settings"])
        if others:
            raise UserError(f"{path} was not trained as {name} is: {others}")


def read_training(path: str) -> tuple[Trained, list[dict]]:
    """Read a best checkpoint, and the history of its training from the checkpoint beside it.

    Raises:
        UserError: they cannot be read, or do not belong together.
    """
    if not path.endswith(BEST):
        raise UserError(f"{path} is no best checkpoint of a training, <run>{BEST}")
    trained, best = read(path), checkpoint.read(path)
    if best.get("format") != checkpoint.FORMAT:
        raise UserError(f"{path} was written by another program; only trainings of this one are published")
    latest = latest_of(path)
    history, epoch = checkpoint.read_latest(latest).get("history"), trained.epoch
    if not isinstance(history, (list, tuple)):
        raise UserError(f"{latest} holds no history of a training")
    if len(history) < epoch or history[epoch - 1]["val_acc"] != best["best_valid_acc"]:
        raise UserError(f"{latest} is not the training of {path}: their accuracies in epoch {epoch} differ")
    return trained, history


def latest_of(best: str) -> str:
    """Name the latest checkpoint of the training of a best one."""
    return best.removesuffix(BEST) + "_ckpt.pdparams"


def check_finished(latest: str) -> None:
    """Raise UserError where a training was stopped before its last epoch, and before its patience was out."""
    state = checkpoint.read_latest(latest)
    done, ends = len(state["history"]), state["settings"]
    if done < ends["epochs"] and state["epochs_since_best"] < ends["train_patience"]:
        raise UserError(f"{latest} was stopped after {done} of {ends['epochs']} epochs: --resume=True goes on")


def errors(config: argparse.Namespace, trained: Trained) -> dict:
    """Measure the errors in percent on all validation and all test images.

    Noise on the test images is that of the default seed, as in `python main.py --preset=NAME --is_train=False`.
    """
    from data_loader import get_test, get_train_valid
    from ram.build import build
    from ram.evaluation import evaluate

    config.limit = None
    percent = {}
    for key, split, seed in (
        ("valid_error", get_train_valid(config)[1], config.random_seed),
        ("test_error", get_test(config), get_config([]).random_seed),
    ):
        model = build(fitted(trained, split), config)
        results = {M: evaluate(model, split, config.num_glimpses, M, "sampled", seed) for M in ROLLOUTS}
        percent[key] = {f"M={M}": round(100 - result.accuracy, 4) for M, result in results.items()}
    return percent


def paddle_version() -> str:
    """Return the version of Paddle."""
    import paddle

    return str(paddle.__version__)


def word(text: str) -> str:
    """Return the name of a variant as it is.

    Raises:
        ArgumentTypeError: it would not be understood in the name of a file.
    """
    if not re.fullmatch(r"(?!seed)[a-z0-9-]+", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no word for a variant: lower-case letters, digits and hyphens, but not seed at the beginning"
        )
    return text


def get_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the flags.

    Raises:
        UserError: a flag does not exist, or a value is not allowed.
    """
    parser = Parser(prog="python -m ram.use.publish", description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("checkpoint", help="<run>_model_best.pdparams of the training")
    parser.add_argument("--name", choices=list(PRESETS), required=True, help="the preset that it was trained with")
    parser.add_argument("--variant", type=word, help="a word for the flags that the preset has otherwise")
    parser.add_argument("--force", action="store_true", help="replace what is published under this name")
    parser.add_argument("--hardware", help="what it was trained on (default: this machine)")
    parser.add_argument("--data_dir", type=path, default="./data", help="folder of the data")
    return parser.parse_args(argv)


def main(arguments: argparse.Namespace) -> None:
    """Publish the checkpoint that the arguments name."""
    prepare_cpu()
    choose_device(False)
    publish(
        arguments.checkpoint,
        arguments.name,
        arguments.data_dir,
        arguments.hardware,
        arguments.force,
        arguments.variant,
    )


if __name__ == "__main__":
    command_line("publish", lambda: main(get_arguments()))
