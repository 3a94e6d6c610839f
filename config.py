"""Every hyperparameter: its flag, its default, what it means and what it may be. And the name of a run.

`get_config()` returns an argparse.Namespace whose attributes are the flags, plus `explicit`: the names of those that
were given rather than left at their default.
"""

from __future__ import annotations

import argparse
import difflib
import math
import os
import re
import zlib

from ram.presets import PRESETS
from utils import UserError

DATASETS = ("mnist", "fashion_mnist", "translated_mnist", "cluttered_mnist", "folder")
CANVASES = ("translated_mnist", "cluttered_mnist")
OF_CANVASES = {"source": CANVASES, "canvas_size": CANVASES, "num_clutter": ("cluttered_mnist",)}
MODELS = ("ram", "fc64", "fc256", "conv")
# Flags about looking, which a baseline does not do: given, they are errors; in a preset, they are meant for RAM alone.
# How many rollouts are averaged is not among them, since a baseline's are all the same.
LOOKING = (
    "patch_size glimpse_scale num_patches unit_pixels first_reach loc_hidden glimpse_hidden num_glimpses hidden_size "
    "core core_init location_mean std std_end reinforce_weight reinforce_core reward policy rollouts_per_image "
    "baseline locations"
).split()


def str2bool(text: str) -> bool:
    """true/false, 1/0 or yes/no, in any case."""
    value = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(text.lower())
    if value is None:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false (true/false, 1/0 and yes/no are known)")
    return value


def number(kind, low=-math.inf, high=math.inf, open_low=False, open_high=False):
    """An argparse type: a finite int or float between low and high, each end included unless declared open."""
    ends = [f"{'>' if open_low else '>='} {low}"] if low > -math.inf else []
    ends += [f"{'<' if open_high else '<='} {high}"] if high < math.inf else []
    name = "a whole number" if kind is int else "a number"

    def parse(text: str):
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {name}") from None
        inside = (value > low if open_low else value >= low) and (value < high if open_high else value <= high)
        if not inside or abs(value) == math.inf:
            raise argparse.ArgumentTypeError(
                f"{text.strip()} is out of range: it must be {' and '.join(ends) or 'finite'}"
            )
        return value

    return parse


LARGEST = 10**6  # for sizes and counts: beyond it lies a typing error, not an experiment
size = number(int, 1, LARGEST)
side = number(int, 1, 4096)  # of a patch or a canvas, in pixels
units = number(int, 1, 16384)  # of a layer
count = number(int, 0, LARGEST)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one-line `UserError`s that suggest the nearest flag."""

    def error(self, message: str):
        unknown = message[len("unrecognized arguments: ") :] if message.startswith("unrecognized") else None
        if unknown:
            flag = unknown.split()[0]
            known = {option.lower(): option for action in self._actions for option in action.option_strings}
            near = difflib.get_close_matches(flag.split("=")[0].lower(), known, n=1, cutoff=0.5)
            hint = f"; did you mean {known[near[0]]}?" if near else "; --help lists all flags"
            message = f"unknown argument {flag}{hint}"
        raise UserError(message)


def build_parser() -> Parser:
    """The parser of all flags, in groups."""
    parser = Parser(
        prog="main.py",
        description="Recurrent Models of Visual Attention (Mnih et al., 2014) in PaddlePaddle.",
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    group = parser.add_argument_group("Experiment")
    group.add_argument(
        "--preset", choices=[*PRESETS, "help"], default=None, help="defaults of a named experiment; help lists them"
    )
    group.add_argument("--model", choices=MODELS, default="ram", help="RAM, or a baseline of the paper's")
    group.add_argument(
        "--num_runs", type=number(int, 1, 1000), default=1, help="trainings, with seeds random_seed, random_seed+1, ..."
    )
    switch = {"type": str2bool, "nargs": "?", "const": True, "metavar": "BOOL"}

    group = parser.add_argument_group("Glimpse network")
    group.add_argument("--patch_size", type=side, default=8, help="side of the finest patch in pixels (g)")
    group.add_argument("--glimpse_scale", type=size, default=1, help="factor between widths of successive patches (s)")
    group.add_argument("--num_patches", type=number(int, 1, 8), default=1, help="patches per glimpse (k)")
    group.add_argument(
        "--unit_pixels",
        type=number(float, 0, open_low=True),
        default=None,
        help="pixels from the middle of the image to location 1 (None: to its border)",
    )
    group.add_argument(
        "--first_reach",
        type=number(float, 0, 1),
        default=1.0,
        help="the first glimpse is random, up to this far from the middle on each axis (1: anywhere)",
    )
    group.add_argument("--loc_hidden", type=units, default=128, help="hidden units for where a glimpse is")
    group.add_argument("--glimpse_hidden", type=units, default=128, help="hidden units for what a glimpse shows")

    group = parser.add_argument_group("Core network")
    group.add_argument("--num_glimpses", type=number(int, 1, 1000), default=6, help="glimpses per image (T)")
    group.add_argument("--hidden_size", type=units, default=256, help="hidden units of the core (D)")
    group.add_argument("--core", choices=("relu", "lstm"), default="relu", help="rectified units, or an LSTM")
    group.add_argument(
        "--core_init",
        choices=("identity", "glorot"),
        default="identity",
        help="rectified core: its recurrent weights start as the identity, or are drawn like all others",
    )

    group = parser.add_argument_group("REINFORCE")
    group.add_argument(
        "--location_mean",
        choices=("tanh", "linear"),
        default="tanh",
        help="the policy's mean: tanh after a hidden layer, or linear in the core's state, as in the paper",
    )
    positive = number(float, 0, open_low=True)
    group.add_argument("--std", type=positive, default=0.15, help="standard deviation of the location policy")
    group.add_argument(
        "--std_end",
        type=positive,
        default=0.05,
        help="where it ends: std changes linearly to this, and evaluation uses this (if only --std is given: std)",
    )
    group.add_argument("--reinforce_weight", type=number(float, 0), default=1.0, help="weight of REINFORCE in the loss")
    group.add_argument(
        "--reinforce_core",
        type=number(float, 0, 1),
        default=0.1,
        help="share of REINFORCE's gradient that trains core and glimpse network, too (0: the location network alone)",
    )
    group.add_argument(
        "--reward",
        choices=("right", "probability"),
        default="probability",
        help="1 where the most probable class is right, else 0; or the probability of the right class",
    )
    group.add_argument(
        "--policy",
        choices=("learned", "random", "center"),
        default="learned",
        help="where to look: learned, or uniformly random or always the middle, to show what learning is worth",
    )
    group.add_argument(
        "--rollouts_per_image", type=number(int, 1, 1000), default=1, help="sampled paths per image and training step"
    )
    group.add_argument(
        "--baseline",
        choices=("learned", "leave_one_out"),
        default="learned",
        help="reward to expect: predicted from h_t, or what the image's other paths earned",
    )
    group.add_argument("--M", type=number(int, 1, 1000), default=10, help="rollouts averaged per image at test")
    group.add_argument("--valid_M", type=number(int, 1, 1000), default=3, help="the same for validation")
    group.add_argument(
        "--locations",
        choices=("sampled", "mean"),
        default="sampled",
        help="locations at validation and test: drawn from the policy, or its means with the first in the middle",
    )

    group = parser.add_argument_group("Data")
    group.add_argument("--dataset", choices=DATASETS, default="mnist", help="data set")
    group.add_argument("--source", choices=("mnist", "fashion_mnist"), default="mnist", help="images put on canvases")
    group.add_argument("--canvas_size", type=side, default=60, help="side of a canvas in pixels")
    group.add_argument("--num_clutter", type=number(int, 0, 1000), default=4, help="pieces of clutter on a canvas")
    group.add_argument("--image_size", type=side, default=None, help="folder: make all images squares of this side")
    fraction = number(float, 0, 1, open_low=True, open_high=True)
    group.add_argument("--valid_size", type=fraction, default=0.1, help="share of the training images held out")
    group.add_argument("--batch_size", type=size, default=128, help="images per training batch")
    group.add_argument("--num_workers", type=number(int, 0, 64), default=0, help="threads that prepare batches ahead")
    group.add_argument("--shuffle", **switch, default=True, help="draw a new order of the images every epoch")
    group.add_argument("--limit", type=size, default=None, help="use only the first N images of each split")
    group.add_argument("--augment_shift", type=number(int, 0, 100), default=2, help="random shift, up to N pixels")
    group.add_argument(
        "--augment_rotate", type=number(float, 0, 180), default=10.0, help="random turn, up to N degrees"
    )
    group.add_argument(
        "--augment_scale", type=number(float, 0, 0.9), default=0.1, help="random zoom by 1-N to 1+N on each axis"
    )
    group.add_argument("--augment_shear", type=number(float, 0, 60), default=8.0, help="random shear, up to N degrees")
    group.add_argument("--augment_flip", **switch, default=False, help="mirror half of the images, left and right")
    group.add_argument("--pixel_mean", type=number(float), default=0.0, help="subtracted from pixels in [0, 1]")
    group.add_argument("--pixel_std", type=positive, default=1.0, help="what pixels are divided by afterwards")
    group.add_argument("--show_sample", **switch, default=False, help="write a grid of training images as a PNG")

    group = parser.add_argument_group("Training")
    group.add_argument("--is_train", **switch, default=True, help="train, or test a checkpoint")
    optimizers = ("adam", "sgd", "momentum", "rmsprop", "adadelta")
    group.add_argument("--optimizer", choices=optimizers, default="adam", help="optimiser")
    group.add_argument("--momentum", type=number(float, 0, 1, open_high=True), default=0.5, help="momentum's momentum")
    group.add_argument("--nesterov", **switch, default=True, help="whether that momentum is Nesterov's")
    group.add_argument("--epochs", type=size, default=300, help="epochs to train for")
    group.add_argument("--init_lr", type=positive, default=1e-3, help="initial learning rate")
    group.add_argument("--min_lr", type=number(float, 0), default=0.0, help="learning rate never falls below this")
    schedules = ("constant", "plateau", "linear", "cosine")
    group.add_argument("--lr_schedule", choices=schedules, default="cosine", help="how the learning rate changes")
    group.add_argument(
        "--lr_decay_epochs", type=size, default=None, help="linear, cosine: epochs until min_lr (None: all of them)"
    )
    group.add_argument("--lr_patience", type=count, default=20, help="plateau: epochs without progress until a cut")
    group.add_argument("--lr_factor", type=fraction, default=0.1, help="plateau: factor of a cut")
    group.add_argument(
        "--label_smoothing",
        type=number(float, 0, 1, open_high=True),
        default=0.0,
        help="share of the target that is spread over all classes",
    )
    group.add_argument("--train_patience", type=size, default=100, help="epochs without a better model until the end")
    group.add_argument("--clip_norm", type=number(float, 0), default=0.0, help="clip the gradient's norm (0: do not)")
    group.add_argument("--clip_value", type=number(float, 0), default=0.0, help="clip its elements (0: do not)")
    group.add_argument(
        "--ema",
        type=number(float, 0, 1, open_high=True),
        default=0.999,
        help="decay of the running mean of the weights that is evaluated (0: evaluate the weights themselves)",
    )

    group = parser.add_argument_group("Prediction")
    group.add_argument(
        "--predict", nargs="+", metavar="PATH", default=None, help="classify these images, and those in these folders"
    )
    group.add_argument(
        "--invert", **switch, default=None, help="negate them: dark on light (None: where a digit plainly is that)"
    )
    group.add_argument("--json", **switch, default=False, help="one JSON object per image on standard output")

    group = parser.add_argument_group("Deployment")
    group.add_argument("--export", metavar="DIR", default=None, help="write the model for paddle.inference to DIR")
    group.add_argument("--export_onnx", metavar="FILE", default=None, help="write it as ONNX (needs paddle2onnx)")

    group = parser.add_argument_group("Running")
    group.add_argument("--use_gpu", **switch, default=True, help="use the GPU if there is one")
    group.add_argument("--best", **switch, default=True, help="test the best model, not the latest")
    group.add_argument("--weights", default=None, metavar="FILE", help="take the model's weights from this file")
    group.add_argument("--resume", **switch, default=False, help="go on where the last run of this name stopped")
    group.add_argument("--random_seed", type=number(int, 0, 2**31 - 1), default=1, help="seed of everything random")
    group.add_argument("--data_dir", default="./data", help="folder of the data")
    group.add_argument("--ckpt_dir", default="./ckpt", help="folder of the checkpoints")
    group.add_argument("--logs_dir", default="./logs/", help="folder of the logs")
    group.add_argument("--plots_dir", default="./plots", help="folder of the pictures")
    visualdl = "write scalars, paths of glimpses and histograms of the weights for VisualDL, too"
    group.add_argument("--use_visualdl", **switch, default=False, help=visualdl)
    group.add_argument("--use_tensorboard", **switch, default=False, help="older name of --use_visualdl")
    group.add_argument("--print_freq", type=size, default=10, help="steps between updates of the progress bar")
    group.add_argument("--plot_freq", type=count, default=1, help="epochs between stored glimpses (0: never)")
    group.add_argument("--save_freq", type=count, default=0, help="steps between checkpoints (0: every ten seconds)")
    return parser


def get_config(argv: list[str] | None = None, extend=lambda parser: None) -> argparse.Namespace:
    """Parse and check the flags.

    Args:
        argv: the arguments, e.g. ["--epochs=1"]; None takes those of the process.
        extend: adds to the parser what another program than main.py takes besides.

    Raises:
        UserError: for a flag that does not exist, a value that is not allowed, or values that contradict each other.
    """
    # A first pass, with nothing to fall back on, tells which flags were given.
    bare = build_parser()
    extend(bare)
    for action in bare._actions:
        action.default = argparse.SUPPRESS
    given = bare.parse_args(argv)
    parser = build_parser()
    extend(parser)
    preset = getattr(given, "preset", None)
    if preset and preset != "help":
        looks = getattr(given, "model", "ram") == "ram"
        flags = PRESETS[preset].flags.items()
        parser.set_defaults(**{name: value for name, value in flags if looks or name not in LOOKING})
    config = parser.parse_args(argv)
    config.explicit = frozenset(vars(given))
    if "std" in config.explicit and "std_end" not in config.explicit:
        config.std_end = None  # who names one standard deviation wants that one
    looking = [f"--{name}" for name in LOOKING if name in config.explicit]
    if config.model != "ram" and looking:
        raise UserError(f"--model={config.model} sees the whole image at once: it has no {', '.join(looking)}")
    for name, sets in OF_CANVASES.items():
        if name in config.explicit and config.dataset not in sets and not config.weights:  # they may say the data set
            raise UserError(
                f"--{name}={getattr(config, name)} is for canvases, --dataset={' or '.join(sets)}, and this is "
                f"--dataset={config.dataset}"
            )
    check(config)
    return config


def check(config: argparse.Namespace) -> None:
    """Raise UserError where values do not go together."""
    if config.min_lr > config.init_lr:
        raise UserError(f"--min_lr={config.min_lr} is above --init_lr={config.init_lr}; it must not be")
    widest = config.patch_size * config.glimpse_scale ** (config.num_patches - 1)
    if widest > 4096:
        raise UserError(f"the widest patch would be {widest} pixels wide; patch_size * scale**(patches - 1) <= 4096")
    if config.optimizer == "momentum" and config.momentum == 0:
        raise UserError("--momentum=0.0 with --optimizer=momentum; use --optimizer=sgd, or a momentum above 0")
    if config.clip_norm > 0 and config.clip_value > 0:
        raise UserError(f"--clip_norm={config.clip_norm} and --clip_value={config.clip_value}: choose one of the two")
    if config.policy == "random" and config.locations == "mean":
        raise UserError("--policy=random has no mean locations; leave out --locations=mean")
    if config.baseline == "leave_one_out" and config.rollouts_per_image == 1 and config.is_train:
        raise UserError("--baseline=leave_one_out has no others to look at; give --rollouts_per_image=2 or more")
    if config.num_runs > 1 and config.weights:
        raise UserError(f"--weights={config.weights} is one model, and --num_runs={config.num_runs} asks for several")
    if config.random_seed + config.num_runs > 2**31:
        raise UserError(f"--random_seed={config.random_seed} + --num_runs={config.num_runs} is above 2147483648")
    if config.resume and config.weights and config.is_train:
        raise UserError(f"--weights={config.weights} starts a new training; leave it out to go on with --resume")
    if config.image_size and config.dataset != "folder":
        raise UserError(f"--image_size={config.image_size} is for --dataset=folder; {config.dataset} has its own size")
    if not config.predict and (config.json or config.invert is not None):
        raise UserError(f"--{'json' if config.json else 'invert'} says how to --predict, which was not asked for")
    wishes = [name for name in ("predict", "export", "export_onnx", "resume") if getattr(config, name)]
    if len(wishes) > 1 and wishes != ["export", "export_onnx"]:
        raise UserError(f"--{wishes[0]} and --{wishes[-1]} are two different things to do: choose one")
    names = ("data_dir", "ckpt_dir", "logs_dir", "plots_dir", "weights", "export", "export_onnx")
    paths = [(name, getattr(config, name)) for name in names]
    for name, value in paths + [("predict", path) for path in config.predict or []]:
        if value is not None and (not value or "\0" in value):
            raise UserError(f"--{name}={value!r} is not a path")


# What makes another model, and so another run name, when it differs from its default: flag and its mark in the name.
NAME_PARTS = {
    "core": "",
    "hidden_size": "h",
    "glimpse_hidden": "g",
    "loc_hidden": "l",
    "unit_pixels": "unit",
    "first_reach": "first",
    "policy": "",
    "location_mean": "",
    "pixel_mean": "pixelmean",
    "pixel_std": "pixelstd",
}


def data_set(config: argparse.Namespace) -> str:
    """The data set with all that defines it, e.g. mnist, cluttered_mnist_60x4 or folder32_pets."""
    name = config.dataset
    if config.dataset == "folder":
        return f"folder{config.image_size or ''}_{base_name(config.data_dir)}"
    if config.dataset in CANVASES:
        name += f"_{config.canvas_size}"
        if config.dataset == "cluttered_mnist":
            name += f"x{config.num_clutter}"
        if config.source != "mnist":
            name += f"_of_{config.source}"
    return name


def base_name(folder: str) -> str:
    """The last part of a folder's path, fit for the name of a file; where that loses something, with its checksum."""
    name = os.path.basename(os.path.abspath(folder))
    fit = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:60]
    return fit if fit == name else f"{fit}-{zlib.crc32(os.fsencode(name)):08x}".strip("-")


def experiment_name(config: argparse.Namespace) -> str:
    """The name of a model on a data set: no two share one, and the default is the older Paddle version's."""
    c = config
    name = f"ram_{c.num_glimpses}_{c.patch_size}x{c.patch_size}_{c.glimpse_scale}"
    if c.num_patches > 1:
        name += f"_k{c.num_patches}"
    if c.model != "ram":
        name = c.model if c.dataset == "folder" else f"{c.model}_{data_set(c)}"
    elif c.dataset not in ("mnist", "folder"):
        name += f"_{data_set(c)}"
    defaults = build_parser()
    for flag, mark in NAME_PARTS.items():
        if getattr(c, flag) != defaults.get_default(flag):
            name += f"_{mark}{getattr(c, flag)}"
    if c.dataset == "folder":
        name += f"_{data_set(c)}"  # last, since the user chose the words in it
    return name


def run_name(config: argparse.Namespace) -> str:
    """The name that all files of a run begin with; where there are several runs, it tells their seeds."""
    return experiment_name(config) + (f"_seed{config.random_seed}" if config.num_runs > 1 else "")


# Flags that a resumed run may change: they decide where, how long and how loudly, but not what is computed.
FREE = frozenset(
    "epochs train_patience use_gpu num_workers print_freq plot_freq save_freq M show_sample use_visualdl "
    "use_tensorboard is_train best resume weights num_runs data_dir ckpt_dir logs_dir plots_dir".split()
)
# Those of them that a resumed run keeps unless they are given anew.
KEPT = "epochs train_patience num_workers print_freq plot_freq save_freq M use_visualdl use_tensorboard".split()
# Flags that make a model what it is: a checkpoint decides them.
ARCHITECTURE = (
    "model patch_size glimpse_scale num_patches loc_hidden glimpse_hidden num_glimpses hidden_size core location_mean "
    "std std_end pixel_mean pixel_std unit_pixels first_reach policy"
).split()
# What files that are older than these flags do not say of themselves.
BEFORE = {
    "first_reach": 1.0,
    "reinforce_core": 0.0,
    "reward": "right",
    "core_init": "glorot",
    "augment_flip": False,
    "label_smoothing": 0.0,
    "location_mean": "tanh",
}
# Flags that say which images a model was trained on: a checkpoint decides them unless they are given.
DATA = "dataset source canvas_size num_clutter image_size".split()


# Flags that may be None. The first is so where only --std is given.
OPTIONAL = frozenset("std_end preset unit_pixels image_size limit lr_decay_epochs weights".split())
