"""Published weights: `ckpt/published/<preset>.safetensors`, with what is known of the model in the JSON beside it.

    python published.py                                                       # list them
    python published.py ckpt/ram_6_8x8_1_model_best.pdparams --name=mnist     # publish the best epoch of a training

They stand beside this file, whatever --ckpt_dir says, and training never touches them. Weights that would be too large
in float32 are published in float16, and the errors are those of the rounded ones. Both files of a pair are read without
trusting them: the safetensors library checks the one, this module and the flags' own limits the other.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import time
from typing import NamedTuple

import numpy as np

import checkpoint
from checkpoint import DamagedFile
from config import FREE, Parser, adopt, completed, differences, get_config, run_name, settings
from presets import PRESETS
from utils import UserError, choose_device, make_folder, num_threads, prepare_cpu, processor

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ckpt", "published")
LARGEST = 3_000_000  # bytes: what is published stays in the history of the repository
MAX_BYTES = 2**28  # of any other file of weights
MAX_HEADER = 2**16  # bytes; one of ours has under 2,000. The library allows 100 MB, and 2 GB of memory to parse that
MAX_FACTS = 2**16  # bytes of the JSON
ROLLOUTS = (1, 10)  # the numbers of rollouts M that errors are published for
MACHINE = ("data_dir", "ckpt_dir", "logs_dir", "plots_dir", "weights")  # settings that are paths of one machine

# What the JSON holds, and of which kind it is.
FACTS = {
    "settings": dict,  # the flags of the training
    "epoch": int,  # the one that validation chose
    "epochs": int,  # that were trained
    "seconds": (int, float),  # that they took
    "seed": int,
    "valid_error": dict,  # in percent, by "M=1" and "M=10"
    "test_error": dict,
    "image_shape": list,  # C, H, W
    "num_classes": int,
    "hardware": str,
    "paddle": str,
    "date": str,
    "sha256": str,  # of the .safetensors file
}


class Published(NamedTuple):
    """A model as it was published."""

    weights: dict[str, np.ndarray]  # float32, by the model's parameter names
    settings: dict  # the flags of its training; empty where there is no JSON
    facts: dict  # the whole JSON, see FACTS; empty where there is none


# ------------------------------------------------------------------------------------------------------------ finding


def path_of(name: str) -> str:
    """The file of that name; relative where it is below the working folder, as it is when main.py is run beside it."""
    return os.path.join(FOLDER, f"{name}.safetensors").removeprefix(os.path.join(os.getcwd(), ""))


def names() -> list[str]:
    """The presets whose weights are published."""
    return [name for name in PRESETS if os.path.lexists(path_of(name))]


def find(config: argparse.Namespace) -> str | None:
    """The published file that may stand in for a run which was never trained here, or None.

    With --preset it is the one of that name, unless the other flags make another preset's training of it, as
    --policy=random does; without, the first whose settings give the run the name that `config` gives it. Nothing stands
    in for one of several runs, since each of them is a training of its own.

    Raises:
        UserError: a description that has to be looked at cannot be used.
    """
    if config.num_runs > 1:
        return None
    for path in map(path_of, sorted(names(), key=lambda name: name != config.preset)):
        trained = read_facts(path)["settings"]
        if config.preset and not differences(trained, settings(config)):
            return path
        if not config.preset and run_name(trained_as(trained, path)) == run_name(config):
            return path
    return path_of(config.preset) if config.preset in names() else None


def trained_as(settings: dict, path: str) -> argparse.Namespace:
    """The flags that the model in a file was trained with; those that decide nothing are at their defaults."""
    config = get_config([])
    known = completed(settings)
    adopt(config, known, path, [name for name in known if name not in FREE])
    return config


def offer() -> str:
    """What an error says about the published weights that there are."""
    flags = ", ".join(f"--preset={name}" for name in names())
    return f"weights are published for {flags}" if flags else "no weights are published here"


# ------------------------------------------------------------------------------------------------------------ reading


def load(name: str) -> Published:
    """The published model of that name.

    Raises:
        UserError: there is none, or it cannot be used.
    """
    path = path_of(name)
    if not os.path.lexists(path):
        raise UserError(f"there are no published weights {path}; {offer()}")
    read_facts(path)  # for others the JSON is optional
    return read(path)


def read(path: str) -> Published:
    """The weights in any .safetensors file, held against the JSON beside it where there is one.

    Raises:
        DamagedFile: one of the two is damaged, or they do not belong together.
        UserError: the file is missing or cannot be read.
    """
    data = checkpoint.file_bytes(path, MAX_BYTES)
    facts = read_facts(path) if os.path.lexists(facts_path(path)) else {}
    if facts and hashlib.sha256(data).hexdigest() != facts["sha256"]:
        raise DamagedFile(f"{path} is damaged: its SHA-256 is not the one in {facts_path(path)}")
    return Published(_arrays(data, path), completed(facts["settings"]) if facts else {}, facts)


def facts_path(path: str) -> str:
    """The JSON beside a .safetensors file."""
    return os.path.splitext(path)[0] + ".json"


def read_facts(path: str) -> dict:
    """What the JSON beside a .safetensors file says, see FACTS.

    Raises:
        DamagedFile: it is damaged, or about something else.
        UserError: it is missing or cannot be read.
    """
    path = facts_path(path)
    try:
        facts = json.loads(checkpoint.file_bytes(path, MAX_FACTS))
    except (ValueError, RecursionError):
        raise DamagedFile(f"{path} is damaged: it is no JSON") from None
    wrong = [key for key, kind in FACTS.items() if not isinstance(facts, dict) or not isinstance(facts.get(key), kind)]
    if wrong:
        raise DamagedFile(
            f"{path} does not describe published weights: {wrong[0]!r} is missing in it or of a wrong kind"
        )
    return facts


def _arrays(data, path):
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load
    except ImportError:
        raise UserError("the package safetensors is missing: python -m pip install -r requirements.txt") from None
    if int.from_bytes(data[:8], "little") > MAX_HEADER:
        raise DamagedFile(
            f"{path} cannot be used: it is no safetensors file with a header of at most {MAX_HEADER:,} bytes"
        )
    try:
        arrays = load(data)
    except (SafetensorError, LookupError, ValueError) as error:  # the latter two: a dtype or shape unknown to NumPy
        raise DamagedFile(f"{path} cannot be used: {ascii(str(error))[1:-1][:150]}") from None
    if not arrays:
        raise DamagedFile(f"{path} cannot be used: it holds no weights")
    for name, array in arrays.items():
        if not re.fullmatch(r"[\w.]{1,100}", name) or array.dtype not in (np.float32, np.float16):
            raise DamagedFile(
                f"{path} cannot be used: {ascii(name)[:100]} ({array.dtype}) is no float32 or float16 parameter"
            )
    return {name: array.astype(np.float32) for name, array in arrays.items()}


# --------------------------------------------------------------------------------------------------------- publishing


def publish(path: str, name: str, data_dir: str = "./data", hardware: str | None = None, force: bool = False) -> None:
    """Test the best checkpoint of a training, and write its two files, in float16 if float32 would be too large.

    Args:
        path: `<run>_model_best.pdparams`; `<run>_ckpt.pdparams` must be beside it, for what is known of the training.
        name: the preset that it was trained with.
        data_dir: folder of the data.
        hardware: what it was trained on; None: this machine.
        force: replace what is published under this name.

    Raises:
        UserError: it cannot be published; nothing is changed then.
    """
    from safetensors.numpy import save

    target = path_of(name)
    if not force and any(map(os.path.lexists, (target, facts_path(target)))):
        raise UserError(f"{target} is published already; --force replaces it")
    best, weights, history = read_training(path)
    config = trained_as(best["settings"], path)
    others = differences(best["settings"], settings(get_config([f"--preset={name}"])))
    if others:
        raise UserError(f"{path} was not trained as --preset={name} trains: {others}")
    for precision in (np.float32, np.float16):
        rounded = {key: np.ascontiguousarray(value, precision) for key, value in weights.items()}
        data = save(rounded)
        if len(data) <= LARGEST:
            break
    else:
        raise UserError(f"{target} would have {len(data):,} bytes; at most {LARGEST:,} are published")
    weights = {key: value.astype(np.float32) for key, value in rounded.items()}  # the ones that whoever gets them has
    config.data_dir = data_dir
    facts = {
        "settings": {key: value for key, value in best["settings"].items() if key not in MACHINE},
        "epoch": best["epoch"],
        "epochs": len(history),
        "seconds": round(sum(record["seconds"] for record in history), 1),
        "seed": config.random_seed,
        **errors(config, weights),
        "image_shape": best["image_shape"],
        "num_classes": best["num_classes"],
        "hardware": hardware or f"{processor()}, threads: {num_threads()}",
        "paddle": paddle_version(),
        "date": time.strftime("%Y-%m-%d"),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    make_folder(FOLDER)
    checkpoint.write_bytes(target, data)
    checkpoint.write_json(facts_path(target), facts)
    again = load(name)
    if again.facts != facts or any(not np.array_equal(again.weights[key], weights[key]) for key in weights):
        raise UserError(f"{target} does not hold what was written to it")
    print(f"[*] Published {target}, {len(data):,} bytes: {summary(facts)}")


def read_training(path: str) -> tuple[dict, dict[str, np.ndarray], list[dict]]:
    """The content of a best checkpoint, the weights in it that are evaluated, and the history of its training.

    Raises:
        UserError: they cannot be read, or do not belong together.
    """
    ending = "_model_best.pdparams"
    if not path.endswith(ending):
        raise UserError(f"{path} is no best checkpoint of a training, <run>{ending}")
    best = checkpoint.read(path)
    weights = checkpoint.state_from(best, path)
    if best.get("format") != checkpoint.FORMAT:
        raise UserError(f"{path} was written by another program; only trainings of this one are published")
    latest = path[: -len(ending)] + "_ckpt.pdparams"
    history = checkpoint.read_latest(latest)["history"]
    epoch = best["epoch"]
    if len(history) < epoch or history[epoch - 1]["val_acc"] != best["best_valid_acc"]:
        raise UserError(f"{latest} is not the training of {path}: their accuracies in epoch {epoch} differ")
    return best, weights, history


def errors(config: argparse.Namespace, weights: dict[str, np.ndarray]) -> dict:
    """Errors in percent on all validation and all test images.

    Noise on the test images is that of the default seed, as in `python main.py --preset=NAME --is_train=False`.
    """
    from building import build_trained
    from data_loader import get_test, get_train_valid
    from evaluation import evaluate

    config.limit = None
    found = {}
    for key, split, seed in (
        ("valid_error", get_train_valid(config)[1], config.random_seed),
        ("test_error", get_test(config), get_config([]).random_seed),
    ):
        model = build_trained(config, split.image_shape, split.num_classes, weights)
        results = {M: evaluate(model, split, config.num_glimpses, M, "sampled", seed) for M in ROLLOUTS}
        found[key] = {f"M={M}": round(100 - result.accuracy, 4) for M, result in results.items()}
    return found


def paddle_version() -> str:
    """The version of Paddle that runs here."""
    import paddle

    return str(paddle.__version__)


def summary(facts: dict) -> str:
    """The figures of a published model in one line."""
    error = ", ".join(f"{M} {value:.2f} %" for M, value in facts["test_error"].items())
    return f"test error {error}; epoch {facts['epoch']} of {facts['epochs']}, {facts['seconds'] / 60:.0f} min"


def get_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the flags.

    Raises:
        UserError: for a flag that does not exist, or a value that is not allowed.
    """
    parser = Parser(prog="published.py", description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("checkpoint", nargs="?", help="<run>_model_best.pdparams; without it: list what is published")
    parser.add_argument("--name", choices=list(PRESETS), help="the preset that it was trained with")
    parser.add_argument("--force", action="store_true", help="replace what is published under this name")
    parser.add_argument("--hardware", help="what it was trained on (default: this machine)")
    parser.add_argument("--data_dir", default="./data", help="folder of the data")
    arguments = parser.parse_args(argv)
    if bool(arguments.checkpoint) != bool(arguments.name):
        parser.error("to publish, give both a checkpoint and --name; to list, neither")
    return arguments


def main(arguments: argparse.Namespace) -> None:
    """Publish, or list what is published."""
    if not arguments.checkpoint:
        for name in names():
            print(f"{name:<20} {summary(read_facts(path_of(name)))}")
        return
    prepare_cpu()
    choose_device(False)
    publish(arguments.checkpoint, arguments.name, arguments.data_dir, arguments.hardware, arguments.force)


if __name__ == "__main__":
    try:
        main(get_arguments())
    except UserError as error:
        print(f"published.py: {error}", file=sys.stderr)
        sys.exit(2)
