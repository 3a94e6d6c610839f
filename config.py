"""Define every flag once: its values, default, meaning and what it decides; and the name of a run.

`get_config()` returns an argparse.Namespace whose attributes are the flags, plus `explicit`: the names of those that
were given rather than left at their default. A new flag is an entry of GROUPS, and nothing else in this file.
"""

from __future__ import annotations

import argparse
import difflib
import math
import os
import re
import zlib
from typing import Callable, NamedTuple

from ram.data.shares import TEST_SIZE
from ram.presets import PRESETS
from utils import MAX_SIDE, UserError

DATASETS = ("mnist", "fashion_mnist", "translated_mnist", "cluttered_mnist", "folder", "idx")
OWN = ("folder", "idx")  # data sets of the user's own, in --data_dir
CANVASES = ("translated_mnist", "cluttered_mnist")
MODELS = ("ram", "fc64", "fc256", "conv")


def str2bool(text: str) -> bool:
    """Parse true/false, 1/0 or yes/no, in any case."""
    value = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(text.lower())
    if value is None:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false (true/false, 1/0 and yes/no are known)")
    return value


def bool_or_auto(text: str) -> bool | str:
    """Parse what `str2bool` does, or "auto"."""
    return "auto" if text.lower() == "auto" else str2bool(text)


def path(text: str) -> str:
    """Take the text as it is; `check` looks at it."""
    return text


def number(kind, low=-math.inf, high=math.inf, open_low=False, open_high=False):
    """Make an argparse type: a finite int or float between low and high, each end included unless declared open."""
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

    lowest = f"{'(' if open_low or low == -math.inf else '['}{low}"
    highest = f"{high}{')' if open_high or high == math.inf else ']'}"
    parse.interval = f"{kind.__name__} {lowest}, {highest}"  # for the documentation
    return parse


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one-line `UserError`s that suggest the nearest flag."""

    def error(self, message: str):
        unknown = message[len("unrecognized arguments: ") :] if message.startswith("unrecognized") else None
        if unknown:
            flag = unknown.split()[0]
            options = {option.lower(): option for action in self._actions for option in action.option_strings}
            near = difflib.get_close_matches(flag.split("=")[0].lower(), options, n=1, cutoff=0.5)
            hint = f"; did you mean {options[near[0]]}?" if near else "; --help lists all flags"
            message = f"unknown argument {flag}{hint}"
        raise UserError(message)


SAME, KEEP, CHANGE = "same", "keep", "change"  # what a resumed run does with a flag
HEAD = "head"  # a place in the name of a run


class Flag(NamedTuple):
    """Describe a flag, with all that has to be known of it.

    Attributes:
        name: without the dashes.
        allowed: the values that it may have, a tuple; or a function from its text to its value.
        default: its value where neither the command nor the preset gives one.
        help: what it means, in English; docs/zh_CN/flags.json has the Chinese.
        decides: "model", the architecture, which a checkpoint fixes; "data", the data set, which a checkpoint fixes
            unless the flag is given; "training", what else is computed; "running", where, how long and how verbosely;
            "use", what this one command is for, which no file keeps.
        looking: whether it is about looking, which a baseline does not do: given, it is an error there; in a preset,
            it is meant for RAM alone. How many rollouts are averaged is not, since a baseline's are all the same.
        mark: None: the run's name does not show it. HEAD: the beginning of the name does, or the name of the data
            set in it. Else the name shows it where it is not the default, with this text before the value.
        on_resume: whether a resumed run must have the SAME value as before, keeps it unless the flag is given anew
            (KEEP), or takes the command's (CHANGE).
        optional: whether it may be None, which has no text.
        only: the data sets that it is for, if not for all.
        before: where this is not None, files that lack the flag are older than it, and this is what was done then.
        metavar: what stands for its value in --help.
        several: whether more than one value may follow.
    """

    name: str
    allowed: Callable | tuple
    default: object
    help: str
    decides: str
    looking: bool = False
    mark: str | None = None
    on_resume: str = SAME
    optional: bool = False
    only: tuple = ()
    before: object = None
    metavar: str | None = None
    several: bool = False


LARGEST = 10**6  # for sizes and counts: beyond it lies a typing error, not an experiment
size = number(int, 1, LARGEST)
side = number(int, 1, MAX_SIDE)  # of a patch or a canvas
units = number(int, 1, 16384)  # of a layer
count = number(int, 0, LARGEST)
repeats = number(int, 1, 1000)
positive = number(float, 0, open_low=True)
fraction = number(float, 0, 1, open_low=True, open_high=True)
share = number(float, 0, 1)
below_one = number(float, 0, 1, open_high=True)

# Every flag, by group: name, allowed, default, help, decides; then what is not as usual. Marks stand in a run's name in
# the order of this table.
GROUPS = {
    "Experiment": [
        Flag(
            "preset",
            (*PRESETS, "help"),
            None,
            "defaults of a named experiment, which flags override; help lists them with their published errors",
            "running",  # itself it decides nothing: what it sets does
            optional=True,
        ),
        Flag(
            "model",
            MODELS,
            "ram",
            "RAM, or one of the paper's baselines, which see the whole image at once",
            "model",
            mark=HEAD,
        ),
        Flag(
            "num_runs",
            repeats,
            1,
            "number of trainings, with the seeds random_seed, random_seed+1, ...",
            "running",
            on_resume=CHANGE,
        ),
        Flag(
            "jobs",
            repeats,
            1,
            "how many of the num_runs trainings run at once, on the CPU, whose cores they divide",
            "use",
            on_resume=CHANGE,
        ),
    ],
    "Core network": [
        Flag("num_glimpses", repeats, 6, "glimpses per image (T)", "model", looking=True, mark=HEAD),
        Flag(
            "core",
            ("relu", "lstm"),
            "relu",
            "relu: h_t = relu(i2h(g_t) + h2h(h_t-1)), as in the paper; lstm: an LSTM",
            "model",
            looking=True,
            mark="",
        ),
        Flag("hidden_size", units, 256, "units of the core (D)", "model", looking=True, mark="h"),
        Flag(
            "core_init",
            ("identity", "glorot"),
            "identity",
            "how h2h of the rectified core starts: as the identity, which keeps what was seen, or drawn like all other "
            "weights, as an LSTM's always are",
            "training",
            looking=True,
            before="glorot",
        ),
    ],
    "Glimpse network": [
        Flag("patch_size", side, 8, "side of the finest patch, in pixels (g)", "model", looking=True, mark=HEAD),
        Flag(
            "glimpse_scale",
            size,
            1,
            "factor between the widths of successive patches (s)",
            "model",
            looking=True,
            mark=HEAD,
        ),
        Flag("num_patches", number(int, 1, 8), 1, "patches per glimpse (k)", "model", looking=True, mark=HEAD),
        Flag(
            "glimpse_network",
            ("fc", "conv"),
            "fc",
            "fc: as in the paper; conv: two 3x3 convolutions read the patches before fc1",
            "model",
            looking=True,
            mark="",
            before="fc",
        ),
        Flag("glimpse_hidden", units, 128, "hidden units for what a glimpse shows", "model", looking=True, mark="g"),
        Flag("loc_hidden", units, 128, "hidden units for where a glimpse is", "model", looking=True, mark="l"),
        Flag(
            "unit_pixels",
            positive,
            None,
            "pixels from the middle of the image to location 1 on each axis (None: to its border)",
            "model",
            looking=True,
            mark="unit",
            optional=True,
        ),
        Flag(
            "crop_offset",
            number(int, 0, 100),
            0,
            "pixels that all patches lie further up and left (1: as in the older Paddle version)",
            "model",
            looking=True,
            mark="offset",
            before=0,
        ),
        Flag(
            "first_reach",
            share,
            1.0,
            "the first glimpse is uniform within this distance from the middle on each axis (1: anywhere, 0: in the "
            "middle)",
            "model",
            looking=True,
            mark="first",
            before=1.0,
        ),
    ],
    "Location policy": [
        Flag(
            "policy",
            ("learned", "random", "center"),
            "learned",
            "where to look: learned; or after the first glimpse uniformly random, or always in the middle, to measure "
            "what learning is worth",
            "model",
            looking=True,
            mark="",
        ),
        Flag(
            "location_mean",
            ("tanh", "linear"),
            "tanh",
            "the policy's mean: tanh after a hidden layer of half the core's size; or linear in h_t, as in the paper "
            "and the presets paper-*",
            "model",
            looking=True,
            mark="",
            before="tanh",
        ),
        Flag(
            "std",
            positive,
            0.15,
            "standard deviation of the location policy, where the image is 2 wide and high",
            "model",
            looking=True,
        ),
        Flag(
            "std_end",
            positive,
            0.05,
            "its final value: std changes linearly to this over the training, and evaluation uses this throughout "
            "(where only --std is given: std)",
            "model",
            looking=True,
            optional=True,
        ),
    ],
    "REINFORCE": [
        Flag(
            "reinforce_weight",
            number(float, 0),
            1.0,
            "weight of the REINFORCE term in the loss",
            "training",
            looking=True,
        ),
        Flag(
            "reinforce_core",
            share,
            0.1,
            "share of REINFORCE's gradient that goes on through h_t and trains core and glimpse network, too (1: all "
            "of it, as in the paper's equation 2; 0: the classification alone trains them)",
            "training",
            looking=True,
            before=0.0,
        ),
        Flag(
            "reward",
            ("right", "probability"),
            "probability",
            "right: 1 where the most probable class is the right one, else 0; probability: that of the right class",
            "training",
            looking=True,
            before="right",
        ),
    ],
    "Evaluation": [
        Flag("M", repeats, 10, "rollouts averaged per image at test", "running", on_resume=KEEP),
        Flag("valid_M", repeats, 3, "rollouts averaged per image at validation", "training"),
        Flag(
            "locations",
            ("sampled", "mean"),
            "sampled",
            "at validation and test: sampled from the policy, or the policy's means with the first glimpse in the "
            "middle",
            "training",  # it decides which epoch is best
            looking=True,
        ),
    ],
    "Data": [
        Flag(
            "dataset",
            DATASETS,
            "mnist",
            "data set; of your own in --data_dir: folder (image files, or an .npz), idx (files like MNIST's)",
            "data",
            mark=HEAD,
        ),
        Flag(
            "source",
            ("mnist", "fashion_mnist"),
            "mnist",
            "images that are put on canvases",
            "data",
            mark=HEAD,
            only=CANVASES,
        ),
        Flag("canvas_size", side, 60, "side of a canvas, in pixels", "data", mark=HEAD, only=CANVASES),
        Flag(
            "num_clutter",
            number(int, 0, 1000),
            4,
            "pieces of clutter on a canvas",
            "data",
            mark=HEAD,
            only=("cluttered_mnist",),
        ),
        Flag(
            "image_size",
            side,
            None,
            "make all images squares of this side, in pixels (None: they have one size already)",
            "data",
            mark=HEAD,
            optional=True,
            only=("folder",),
        ),
        Flag(
            "test_size",
            number(float, 0, 1, open_high=True),
            TEST_SIZE,
            "share of each class that is held out for the test, where data_dir has class folders alone",
            "data",
            mark="test",
            only=("folder",),
            before=0.2,
        ),
        Flag(
            "skip_broken",
            str2bool,
            False,
            "go on without images that cannot be read, and list them in logs_dir/RUN_skipped.txt",
            "data",
            only=("folder",),
            before=False,
        ),
        Flag(
            "follow_links",
            str2bool,
            False,
            "take images outside of data_dir, too, which links or lists in it name",
            "running",
            on_resume=CHANGE,
            only=("folder",),
        ),
        Flag("valid_size", fraction, 0.1, "share of the training images that is held out for validation", "training"),
        Flag("batch_size", size, 128, "images per training step", "training"),
        Flag("num_workers", number(int, 0, 64), 0, "threads that prepare batches ahead", "running", on_resume=KEEP),
        Flag("shuffle", str2bool, True, "draw a new order of the images in every epoch", "training"),
        Flag("limit", size, None, "use only the first N images of each split", "training", optional=True),
        Flag("augment_shift", number(int, 0, 100), 2, "shift images by up to N pixels on each axis", "training"),
        Flag("augment_rotate", number(float, 0, 180), 10.0, "turn images by up to N degrees", "training"),
        Flag("augment_scale", number(float, 0, 0.9), 0.1, "scale each axis by 1-N to 1+N", "training"),
        Flag("augment_shear", number(float, 0, 60), 8.0, "shear images by up to N degrees", "training"),
        Flag(
            "augment_clutter",
            str2bool,
            True,
            "cut clutter from augmented images: cut from others it is sharper than the digit, which gives itself away",
            "training",
            before=False,
            only=("cluttered_mnist",),
        ),
        Flag("augment_flip", str2bool, False, "mirror half of the images, left and right", "training", before=False),
        Flag(
            "augment_share",
            share,
            1.0,
            "share of the images that is augmented in an epoch; the others are as sharp as those of the test",
            "training",
            before=1.0,
        ),
        Flag("pixel_mean", number(float), 0.0, "subtracted from pixels in [0, 1]", "model", mark="pixelmean"),
        Flag("pixel_std", positive, 1.0, "what pixels are divided by afterwards", "model", mark="pixelstd"),
        Flag(
            "show_sample",
            str2bool,
            False,
            "before training, write nine training images to a PNG in plots_dir",
            "running",
            on_resume=CHANGE,
        ),
    ],
    "Training": [
        Flag("is_train", str2bool, True, "train; False: test a trained model", "running", on_resume=CHANGE),
        Flag("optimizer", ("adam", "sgd", "momentum", "rmsprop", "adadelta"), "adam", "optimizer", "training"),
        Flag("momentum", below_one, 0.5, "momentum of --optimizer=momentum", "training"),
        Flag("nesterov", str2bool, True, "whether that momentum is Nesterov's", "training"),
        Flag("epochs", size, 300, "epochs in all", "training", on_resume=KEEP),
        Flag("init_lr", positive, 1e-3, "learning rate at the start", "training"),
        Flag("min_lr", number(float, 0), 0.0, "the learning rate never falls below this", "training"),
        Flag(
            "lr_schedule",
            ("constant", "plateau", "linear", "cosine"),
            "cosine",
            "how the learning rate changes",
            "training",
        ),
        Flag(
            "lr_decay_epochs",
            size,
            None,
            "linear, cosine: epochs until min_lr (None: all of them)",
            "training",
            optional=True,
        ),
        Flag(
            "lr_patience",
            count,
            20,
            "plateau: the rate is cut after N + 1 epochs in a row without a lower validation loss",
            "training",
        ),
        Flag("lr_factor", fraction, 0.1, "plateau: what a cut multiplies the learning rate by", "training"),
        Flag(
            "class_weights",
            ("equal", "balanced"),
            "equal",
            "weights of the classes in the classification loss; balanced: the rarer a class, the more",
            "training",
            before="equal",
        ),
        Flag(
            "label_smoothing",
            below_one,
            0.0,
            "share of the classification's target that is spread over all classes",
            "training",
            before=0.0,
        ),
        Flag(
            "train_patience",
            size,
            100,
            "stop after this many epochs without a better validation accuracy",
            "training",
            on_resume=KEEP,
        ),
        Flag("clip_norm", number(float, 0), 0.0, "largest norm of the gradient (0: any)", "training"),
        Flag("clip_value", number(float, 0), 0.0, "largest element of the gradient (0: any)", "training"),
        Flag(
            "ema",
            below_one,
            0.999,
            "decay of the running mean of the weights, which is what validation and test use (0: no mean)",
            "training",
        ),
    ],
    "Prediction": [
        Flag(
            "predict",
            path,
            None,
            "classify these images, and those in these folders",
            "use",
            optional=True,
            metavar="PATH",
            several=True,
        ),
        Flag(
            "invert",
            str2bool,
            None,
            "negate them, for dark on light (None: where a digit or a piece of clothing plainly is that)",
            "use",
            optional=True,
        ),
        Flag(
            "fit",
            str2bool,
            True,
            "cut out and center the digit, or the piece of clothing, as in its data set; False: show the whole picture",
            "use",
        ),
        Flag("save_pictures", str2bool, True, "write a picture of each path", "use"),
        Flag("json", str2bool, False, "print one JSON object per image on standard output, and nothing else", "use"),
    ],
    "Deployment": [
        Flag(
            "export",
            path,
            None,
            "write the model for paddle.inference to this folder",
            "use",
            optional=True,
            metavar="DIR",
        ),
        Flag(
            "export_onnx",
            path,
            None,
            "write the model to this file, as ONNX (needs paddle2onnx)",
            "use",
            optional=True,
            metavar="FILE",
        ),
    ],
    "Running": [
        Flag("use_gpu", str2bool, True, "use the GPU if there is one", "running", on_resume=CHANGE),
        Flag("best", str2bool, True, "test the best epoch; False: the latest", "running", on_resume=CHANGE),
        Flag(
            "weights",
            path,
            None,
            "file of weights (.pdparams or .safetensors) to use, or to start a training from",
            "running",
            on_resume=CHANGE,
            optional=True,
            metavar="FILE",
        ),
        Flag(
            "resume",
            bool_or_auto,
            False,
            "go on where the run of this name stopped; auto: if it was begun with these very settings, else start",
            "use",
            on_resume=CHANGE,
            metavar="BOOL|auto",
        ),
        Flag(
            "random_seed",
            number(int, 0, 2**31 - 1),
            1,
            "seed of everything random: split, weights, order, noise; at test of the noise alone",
            "training",
        ),
        Flag("data_dir", path, "./data", "folder of the data", "running", mark=HEAD, on_resume=CHANGE),
        Flag("ckpt_dir", path, "./ckpt", "folder of the checkpoints", "running", on_resume=CHANGE),
        Flag("logs_dir", path, "./logs/", "folder of the logs", "running", on_resume=CHANGE),
        Flag("plots_dir", path, "./plots", "folder of the pictures", "running", on_resume=CHANGE),
        Flag(
            "use_visualdl",
            str2bool,
            False,
            "write scalars, paths of glimpses and histograms of the weights for VisualDL, too",
            "running",
            on_resume=KEEP,
        ),
        Flag("use_tensorboard", str2bool, False, "older name of --use_visualdl", "running", on_resume=KEEP),
        Flag(
            "print_freq",
            size,
            10,
            "steps between updates of the figures beside the progress bar",
            "running",
            on_resume=KEEP,
        ),
        Flag(
            "plot_freq",
            count,
            1,
            "epochs between stored glimpses of nine held-out images (0: none)",
            "running",
            on_resume=KEEP,
        ),
        Flag(
            "save_freq",
            count,
            0,
            "steps between checkpoints within an epoch (0: every ten seconds)",
            "running",
            on_resume=KEEP,
        ),
    ],
}
FLAGS = [flag for flags in GROUPS.values() for flag in flags]
# What is often asked of the table.
LOOKING = [flag.name for flag in FLAGS if flag.looking]
ARCHITECTURE = [flag.name for flag in FLAGS if flag.decides == "model"]
DATA = [flag.name for flag in FLAGS if flag.decides == "data"]
DECIDING = [flag.name for flag in FLAGS if flag.decides in ("model", "data", "training")]
IN_FILES = [flag.name for flag in FLAGS if flag.decides != "use"]
FREE = frozenset(flag.name for flag in FLAGS if flag.on_resume != SAME)
KEPT = [flag.name for flag in FLAGS if flag.on_resume == KEEP]
PATHS = [flag.name for flag in FLAGS if flag.allowed is path]
ONLY = {flag.name: flag.only for flag in FLAGS if flag.only}
OPTIONAL = frozenset(flag.name for flag in FLAGS if flag.optional)
BEFORE = {flag.name: flag.before for flag in FLAGS if flag.before is not None}


def build_parser() -> Parser:
    """Build the parser of all flags, in their groups."""
    parser = Parser(
        prog="main.py",
        description="Recurrent Models of Visual Attention (Mnih et al., 2014) in PaddlePaddle.",
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    for title, flags in GROUPS.items():
        group = parser.add_argument_group(title)
        for flag in flags:
            options = {"default": flag.default, "help": flag.help, "metavar": flag.metavar}
            if isinstance(flag.allowed, tuple):
                options["choices"] = flag.allowed
            else:
                options["type"] = flag.allowed
            if flag.allowed in (str2bool, bool_or_auto):  # alone, a switch means True
                options.update(nargs="?", const=True, metavar=flag.metavar or "BOOL")
            if flag.several:
                options["nargs"] = "+"
            group.add_argument(f"--{flag.name}", **options)
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
        config.std_end = None  # a single standard deviation that is given holds throughout
    looking = [f"--{name}" for name in LOOKING if name in config.explicit]
    if config.model != "ram" and looking:
        raise UserError(f"--model={config.model} sees the whole image at once: it has no {', '.join(looking)}")
    trains = config.is_train and not (config.predict or config.export or config.export_onnx)
    own_data = trains or not config.weights  # else the file of the weights may say the data set
    for flag in FLAGS:
        if flag.only and flag.name in config.explicit and config.dataset not in flag.only and own_data:
            raise UserError(
                f"--{flag.name}={getattr(config, flag.name)} is for --dataset={' or '.join(flag.only)}, and this is "
                f"--dataset={config.dataset}"
            )
    check(config)
    return config


def check_widest_patch(config: argparse.Namespace) -> None:
    """Raise UserError where the widest patch of a retina is wider than any image may be."""
    widest = config.patch_size * config.glimpse_scale ** (config.num_patches - 1)
    if widest > MAX_SIDE:
        raise UserError(
            f"--patch_size={config.patch_size} * --glimpse_scale={config.glimpse_scale} to the power of "
            f"--num_patches={config.num_patches} - 1 is {widest} pixels, the width of the widest patch: "
            f"at most {MAX_SIDE}"
        )


def check(config: argparse.Namespace) -> None:
    """Raise UserError where values do not go together."""
    if config.min_lr > config.init_lr:
        raise UserError(f"--min_lr={config.min_lr} is above --init_lr={config.init_lr}; it must not be")
    check_widest_patch(config)
    if config.glimpse_network == "conv" and config.patch_size < 5:
        raise UserError(
            f"--glimpse_network=conv needs --patch_size=5 or more, not {config.patch_size}: it does not pad"
        )
    if config.optimizer == "momentum" and config.momentum == 0:
        raise UserError("--momentum=0.0 with --optimizer=momentum; use --optimizer=sgd, or a momentum above 0")
    if config.clip_norm > 0 and config.clip_value > 0:
        raise UserError(f"--clip_norm={config.clip_norm} and --clip_value={config.clip_value}: choose one of the two")
    if config.policy == "random" and config.locations == "mean":
        raise UserError("--policy=random has no mean locations; leave out --locations=mean")
    if config.num_runs > 1 and config.weights:
        raise UserError(f"--weights={config.weights} is one model, and --num_runs={config.num_runs} asks for several")
    if config.jobs > 1 and config.num_runs == 1:
        raise UserError(
            f"--jobs={config.jobs} trains several runs at once, and there is one: give --num_runs=2 or more"
        )
    if config.jobs > 1 and not config.is_train:
        raise UserError(f"--jobs={config.jobs} trains several runs at once; --is_train=False tests one after the other")
    if config.random_seed + config.num_runs > 2**31:
        raise UserError(f"--random_seed={config.random_seed} + --num_runs={config.num_runs} is above 2147483648")
    if config.resume and config.weights and config.is_train:
        raise UserError(f"--weights={config.weights} starts a new training; leave it out to go on with --resume")
    if not config.predict:
        for name in ("invert", "fit", "save_pictures", "json"):
            if getattr(config, name) != {"invert": None, "json": False}.get(name, True):
                raise UserError(f"--{name} says how to --predict, which was not asked for")
    wishes = [name for name in ("predict", "export", "export_onnx", "resume") if getattr(config, name)]
    if config.num_runs > 1 and wishes and wishes != ["resume"]:
        raise UserError(f"--{wishes[0]} is for one model, and --num_runs={config.num_runs} means several: leave it out")
    if len(wishes) > 1 and wishes != ["export", "export_onnx"]:
        raise UserError(f"--{wishes[0]} and --{wishes[-1]} are two different things to do: choose one")
    for name in PATHS:
        values = getattr(config, name)
        for value in values if isinstance(values, list) else [values]:
            if value is not None and (not value or "\0" in value):
                raise UserError(f"--{name}={value!r} is not a path")


def data_set(config: argparse.Namespace) -> str:
    """Name the data set with all that defines it, e.g. mnist, cluttered_mnist_60x4 or folder32_pets."""
    name = config.dataset
    if config.dataset == "folder":
        return f"folder{config.image_size or ''}_{base_name(config.data_dir)}"
    if config.dataset == "idx":
        return f"idx_{base_name(config.data_dir)}"
    if config.dataset in CANVASES:
        name += f"_{config.canvas_size}"
        if config.dataset == "cluttered_mnist":
            name += f"x{config.num_clutter}"
        if config.source != "mnist":
            name += f"_of_{config.source}"
    return name


def base_name(folder: str) -> str:
    """Make the last part of a folder's path fit for a file's name, with its checksum where that loses something."""
    name = os.path.basename(os.path.abspath(folder))
    fit = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:60]
    return fit if fit == name else f"{fit}-{zlib.crc32(os.fsencode(name)):08x}".strip("-")


def experiment_name(config: argparse.Namespace) -> str:
    """Name networks on a data set by all flags with a mark; the default name is the older Paddle version's."""
    c = config
    name = f"ram_{c.num_glimpses}_{c.patch_size}x{c.patch_size}_{c.glimpse_scale}"
    if c.num_patches > 1:
        name += f"_k{c.num_patches}"
    if c.model != "ram":
        name = c.model if c.dataset in OWN else f"{c.model}_{data_set(c)}"
    elif c.dataset not in ("mnist", *OWN):
        name += f"_{data_set(c)}"
    for flag in FLAGS:
        if flag.mark not in (None, HEAD) and getattr(c, flag.name) != flag.default:
            name += f"_{flag.mark}{getattr(c, flag.name)}"
    if c.dataset in OWN:
        name += f"_{data_set(c)}"  # last, since the user chose the words in it
    return name


def run_name(config: argparse.Namespace) -> str:
    """Name a run: all its files begin with this name, which tells the seed where there are several runs."""
    return experiment_name(config) + (f"_seed{config.random_seed}" if config.num_runs > 1 else "")
