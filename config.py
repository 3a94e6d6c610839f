"""Define every flag once: its values, default, meaning and what it decides; and the name of a run.

`get_config()` returns an argparse.Namespace whose attributes are the flags, plus `explicit`: the names of those that
were given rather than left at their default. A new flag is an entry of GROUPS, and nothing else in this file.
"""

from __future__ import annotations

import argparse
import os
import re
import zlib
from typing import Callable, NamedTuple

from ram.data.shares import TEST_SIZE
from ram.presets import PRESETS
from ram.system.parsing import DefaultsHelp, Parser, bool_or_auto, number, path, str2bool
from utils import MAX_SIDE, UserError

DATASETS = ("mnist", "fashion_mnist", "translated_mnist", "cluttered_mnist", "folder", "idx")
OWN = ("folder", "idx")  # data sets of the user's own, in --data_dir
CANVASES = ("translated_mnist", "cluttered_mnist")
MODELS = ("ram", "fc64", "fc256", "conv")


SAME, KEEP, CHANGE = "same", "keep", "change"  # what a resumed run does with a flag
HEAD = "head"  # a place in the name of a run


class Flag(NamedTuple):
    """Describe a flag, with all that has to be known of it.

    Attributes:
        name: without the dashes.
        allowed: the values that it may have, a tuple; or a function from its text to its value.
        default: its value where neither the command nor the preset gives one.
        decides: "model", the architecture, which a checkpoint fixes; "data", the data set, which a checkpoint fixes
            unless the flag is given; "training", what else is computed; "running", where, how long and how verbosely;
            "use", what this one command is for, which no file keeps.
        help: what it means, in English; docs/zh_CN/flags.json has the Chinese.
        looking: whether it is about looking, which a baseline does not do: given, it is an error there; in a preset,
            it is meant for RAM alone. How many rollouts are averaged is not, since a baseline's are all the same.
        mark: None: the run's name does not show it. HEAD: the beginning of the name does, or the name of the data
            set in it. Else the name shows it where it is not the default, with this text before the value.
        on_resume: whether a resumed run must have the SAME value as before, keeps it unless the flag is given anew
            (KEEP), or takes the command's (CHANGE).
        optional: whether it may be None, which has no text.
        only: the setting that it is for, if not for all: the name of another flag, and its values.
        before: where this is not None, files that lack the flag are older than it, and this is what was done then.
        metavar: what stands for its value in --help.
        several: whether more than one value may follow.
    """

    name: str
    allowed: Callable | tuple
    default: object
    decides: str
    help: str
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
deviation = number(float, 1e-9, 1000)  # of a location, where the image is 2 wide
fraction = number(float, 0, 1, open_low=True, open_high=True)
share = number(float, 0, 1)
below_one = number(float, 0, 1, open_high=True)

# Every flag, by group: name, allowed, default, decides; then what is not as usual, and its help. Marks stand in a run's
# name in the order of this table.
# fmt: off
GROUPS = {
    "Experiment": [
        # Itself it decides nothing: what it sets does.
        Flag("preset", (*PRESETS, "help"), None, "running", optional=True,
             help="defaults of a named experiment, which flags override; help lists them with their published errors"),
        Flag("model", MODELS, "ram", "model", mark=HEAD,
             help="RAM, or one of the paper's baselines, which see the whole image at once"),
        Flag("num_runs", repeats, 1, "running", on_resume=CHANGE,
             help="number of trainings, with the seeds random_seed, random_seed+1, ..."),
        Flag("jobs", repeats, 1, "use", on_resume=CHANGE,
             help="how many of the num_runs trainings run at once, on the CPU, whose cores they divide"),
    ],
    "Core network": [
        Flag("num_glimpses", repeats, 6, "model", looking=True, mark=HEAD, help="glimpses per image (T)"),
        Flag("core", ("relu", "lstm"), "relu", "model", looking=True, mark="",
             help="relu: h_t = relu(i2h(g_t) + h2h(h_t-1)), as in the paper; lstm: an LSTM"),
        Flag("hidden_size", units, 256, "model", looking=True, mark="h", help="units of the core (D)"),
        Flag("core_init", ("identity", "glorot"), "identity", "training", looking=True, before="glorot",
             only=("core", ("relu",)),
             help="how h2h of the rectified core starts: as the identity, which keeps what was seen, or drawn like "
                  "all other weights, as an LSTM's always are"),
    ],
    "Glimpse network": [
        Flag("patch_size", side, 8, "model", looking=True, mark=HEAD, help="side of the finest patch, in pixels (g)"),
        Flag("glimpse_scale", size, 1, "model", looking=True, mark=HEAD,
             help="factor between the widths of successive patches (s)"),
        Flag("num_patches", number(int, 1, 8), 1, "model", looking=True, mark=HEAD, help="patches per glimpse (k)"),
        Flag("glimpse_network", ("fc", "conv"), "fc", "model", looking=True, mark="", before="fc",
             help="fc: as in the paper; conv: two 3x3 convolutions read the patches before fc1"),
        Flag("glimpse_hidden", units, 128, "model", looking=True, mark="g",
             help="hidden units for what a glimpse shows"),
        Flag("loc_hidden", units, 128, "model", looking=True, mark="l", help="hidden units for where a glimpse is"),
        Flag("unit_pixels", positive, None, "model", looking=True, mark="unit", optional=True,
             help="pixels from the middle of the image to location 1 on each axis (None: to its border)"),
        Flag("crop_offset", number(int, 0, 100), 0, "model", looking=True, mark="offset", before=0,
             help="pixels that all patches lie further up and left (1: as in the older Paddle version)"),
        Flag("first_reach", share, 1.0, "model", looking=True, mark="first", before=1.0,
             help="the first glimpse is uniform within this distance from the middle on each axis (1: anywhere, 0: "
                  "in the middle)"),
    ],
    "Location policy": [
        Flag("policy", ("learned", "random", "center"), "learned", "model", looking=True, mark="",
             help="where to look: learned; or after the first glimpse uniformly random, or always in the middle, to "
                  "measure what learning is worth"),
        Flag("location_mean", ("tanh", "linear"), "tanh", "model", looking=True, mark="", before="tanh",
             help="the policy's mean: tanh after a hidden layer of half the core's size; or linear in h_t, as in "
                  "the paper and the presets paper-*"),
        Flag("std", deviation, 0.15, "model", looking=True,
             help="standard deviation of the location policy, where the image is 2 wide and high"),
        Flag("std_end", deviation, 0.05, "model", looking=True, optional=True,
             help="its final value: std changes linearly to this over the training, and evaluation uses this "
                  "throughout (where only --std is given: std)"),
    ],
    "REINFORCE": [
        Flag("reinforce_weight", number(float, 0), 1.0, "training", looking=True,
             help="weight of the REINFORCE term in the loss"),
        Flag("reinforce_core", share, 0.1, "training", looking=True, before=0.0,
             help="share of REINFORCE's gradient that goes on through h_t and trains core and glimpse network, too "
                  "(1: all of it, as in the paper's equation 2; 0: the classification alone trains them)"),
        Flag("reward", ("right", "probability"), "probability", "training", looking=True, before="right",
             help="right: 1 where the most probable class is the right one, else 0; probability: that of the right "
                  "class"),
    ],
    "Evaluation": [
        Flag("M", repeats, 10, "running", on_resume=KEEP, help="rollouts averaged per image at test"),
        Flag("valid_M", repeats, 3, "training", help="rollouts averaged per image at validation"),
        Flag("locations", ("sampled", "mean"), "sampled", "training", looking=True,  # it decides which epoch is best
             help="at validation and test: sampled from the policy, or the policy's means with the first glimpse in "
                  "the middle"),
    ],
    "Data": [
        Flag("dataset", DATASETS, "mnist", "data", mark=HEAD,
             help="data set; of your own in --data_dir: folder (image files, or an .npz), idx (files like MNIST's)"),
        Flag("source", ("mnist", "fashion_mnist"), "mnist", "data", mark=HEAD, only=("dataset", CANVASES),
             help="images that are put on canvases"),
        Flag("canvas_size", side, 60, "data", mark=HEAD, only=("dataset", CANVASES),
             help="side of a canvas, in pixels"),
        Flag("num_clutter", number(int, 0, 1000), 4, "data", mark=HEAD, only=("dataset", ("cluttered_mnist",)),
             help="pieces of clutter on a canvas"),
        Flag("image_size", side, None, "data", mark=HEAD, optional=True, only=("dataset", ("folder",)),
             help="make all images squares of this side, in pixels (None: they have one size already)"),
        Flag("test_size", below_one, TEST_SIZE, "data", mark="test", only=("dataset", ("folder",)), before=0.2,
             help="share of each class that is held out for the test, where data_dir has class folders alone"),
        Flag("skip_broken", str2bool, False, "data", only=("dataset", ("folder",)), before=False,
             help="go on without images that cannot be read, and list them in logs_dir/RUN_skipped.txt"),
        Flag("follow_links", str2bool, False, "running", on_resume=CHANGE, only=("dataset", ("folder",)),
             help="take images outside of data_dir, too, which links or lists in it name"),
        Flag("valid_size", fraction, 0.1, "training",
             help="share of the training images that is held out for validation"),
        Flag("batch_size", size, 128, "training", help="images per training step"),
        Flag("num_workers", number(int, 0, 64), 0, "running", on_resume=KEEP,
             help="threads that prepare batches ahead"),
        Flag("shuffle", str2bool, True, "training", help="draw a new order of the images in every epoch"),
        Flag("limit", size, None, "training", optional=True, help="use only the first N images of each split"),
        Flag("augment_shift", number(int, 0, 100), 2, "training", help="shift images by up to N pixels on each axis"),
        Flag("augment_rotate", number(float, 0, 180), 10.0, "training", help="turn images by up to N degrees"),
        Flag("augment_scale", number(float, 0, 0.9), 0.1, "training", help="scale each axis by 1-N to 1+N"),
        Flag("augment_shear", number(float, 0, 60), 8.0, "training", help="shear images by up to N degrees"),
        Flag("augment_clutter", str2bool, True, "training", before=False, only=("dataset", ("cluttered_mnist",)),
             help="cut clutter from augmented images: cut from others it is sharper than the digit, which gives "
                  "itself away"),
        Flag("augment_flip", str2bool, False, "training", before=False,
             help="mirror half of the images, left and right"),
        Flag("augment_share", share, 1.0, "training", before=1.0,
             help="share of the images that is augmented in an epoch; the others are as sharp as those of the test"),
        Flag("pixel_mean", number(float), 0.0, "model", mark="pixelmean", help="subtracted from pixels in [0, 1]"),
        Flag("pixel_std", positive, 1.0, "model", mark="pixelstd", help="what pixels are divided by afterwards"),
        Flag("show_sample", str2bool, False, "running", on_resume=CHANGE,
             help="before training, write nine training images to a PNG in plots_dir"),
    ],
    "Training": [
        Flag("is_train", str2bool, True, "running", on_resume=CHANGE, help="train; False: test a trained model"),
        Flag("optimizer", ("adam", "sgd", "momentum", "rmsprop", "adadelta"), "adam", "training", help="optimizer"),
        Flag("momentum", below_one, 0.5, "training", only=("optimizer", ("momentum",)), help="momentum"),
        Flag("nesterov", str2bool, True, "training", only=("optimizer", ("momentum",)),
             help="whether that momentum is Nesterov's"),
        Flag("epochs", number(int, 1, 10**4), 300, "training", on_resume=KEEP,  # a checkpoint holds the figures of each
             help="epochs in all"),
        Flag("init_lr", positive, 1e-3, "training", help="learning rate at the start"),
        Flag("min_lr", number(float, 0), 0.0, "training", only=("lr_schedule", ("plateau", "linear", "cosine")),
             help="the learning rate never falls below this"),
        Flag("lr_schedule", ("constant", "plateau", "linear", "cosine"), "cosine", "training",
             help="how the learning rate changes"),
        Flag("lr_decay_epochs", size, None, "training", optional=True, only=("lr_schedule", ("linear", "cosine")),
             help="epochs until min_lr (None: all of them)"),
        Flag("lr_patience", count, 20, "training", only=("lr_schedule", ("plateau",)),
             help="the rate is cut after N + 1 epochs in a row without a lower validation loss"),
        Flag("lr_factor", fraction, 0.1, "training", only=("lr_schedule", ("plateau",)),
             help="what a cut multiplies the learning rate by"),
        Flag("class_weights", ("equal", "balanced"), "equal", "training", before="equal",
             help="weights of the classes in the classification loss; balanced: the rarer a class, the more"),
        Flag("label_smoothing", below_one, 0.0, "training", before=0.0,
             help="share of the classification's target that is spread over all classes"),
        Flag("train_patience", size, 100, "training", on_resume=KEEP,
             help="stop after this many epochs without a better validation accuracy"),
        Flag("clip_norm", number(float, 0), 0.0, "training", help="largest norm of the gradient (0: any)"),
        Flag("clip_value", number(float, 0), 0.0, "training", help="largest element of the gradient (0: any)"),
        Flag("ema", below_one, 0.999, "training",
             help="decay of the running mean of the weights, which is what validation and test use (0: no mean)"),
    ],
    "Prediction": [
        Flag("predict", path, None, "use", optional=True, metavar="PATH", several=True,
             help="classify these images, and those in these folders"),
        Flag("invert", str2bool, None, "use", optional=True,
             help="negate them, for dark on light (None: where a digit or a piece of clothing plainly is that)"),
        Flag("fit", str2bool, True, "use",
             help="cut out and center the digit, or the piece of clothing, as in its data set; False: show the "
                  "whole picture"),
        Flag("save_pictures", str2bool, True, "use", help="write a picture of each path"),
        Flag("json", str2bool, False, "use",
             help="print one JSON object per image on standard output, and nothing else"),
    ],
    "Deployment": [
        Flag("export", path, None, "use", optional=True, metavar="DIR",
             help="write the model for paddle.inference to this folder"),
        Flag("export_onnx", path, None, "use", optional=True, metavar="FILE",
             help="write the model to this file, as ONNX (needs paddle2onnx)"),
    ],
    "Running": [
        Flag("use_gpu", str2bool, True, "running", on_resume=CHANGE, help="use the GPU if there is one"),
        Flag("best", str2bool, True, "running", on_resume=CHANGE, help="test the best epoch; False: the latest"),
        Flag("weights", path, None, "running", on_resume=CHANGE, optional=True, metavar="FILE",
             help="file of weights (.pdparams or .safetensors) to use, or to start a training from"),
        Flag("resume", bool_or_auto, False, "use", on_resume=CHANGE, metavar="BOOL|auto",
             help="go on where the run of this name stopped; auto: if it was begun with these very settings, else "
                  "start"),
        Flag("random_seed", number(int, 0, 2**31 - 1), 1, "training",
             help="seed of everything random: split (on canvases always the same), weights, order, noise; "
                  "at test of the noise alone"),
        Flag("data_dir", path, "./data", "running", mark=HEAD, on_resume=CHANGE, help="folder of the data"),
        Flag("ckpt_dir", path, "./ckpt", "running", on_resume=CHANGE, help="folder of the checkpoints"),
        Flag("logs_dir", path, "./logs/", "running", on_resume=CHANGE, help="folder of the logs"),
        Flag("plots_dir", path, "./plots", "running", on_resume=CHANGE, help="folder of the pictures"),
        Flag("use_visualdl", str2bool, False, "running", on_resume=KEEP,
             help="write scalars, paths of glimpses and histograms of the weights for VisualDL, too"),
        Flag("use_tensorboard", str2bool, False, "running", on_resume=KEEP, help="older name of --use_visualdl"),
        Flag("print_freq", size, 10, "running", on_resume=KEEP,
             help="steps between updates of the figures beside the progress bar"),
        Flag("plot_freq", count, 1, "running", on_resume=KEEP,
             help="epochs between stored glimpses of nine held-out images (0: none)"),
        Flag("save_freq", count, 0, "running", on_resume=KEEP,
             help="steps between checkpoints within an epoch (0: every ten seconds)"),
    ],
}
# fmt: on
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
OPTIONAL = frozenset(flag.name for flag in FLAGS if flag.optional)
BEFORE = {flag.name: flag.before for flag in FLAGS if flag.before is not None}


def scope(flag: Flag) -> str:
    """List the settings that a flag is for, where it is not for all."""
    name, values = flag.only
    return ", ".join(f"--{name}={value}" for value in values)


def help_of(flag: Flag) -> str:
    """Return what a flag means, with the settings that it is for."""
    return flag.help + (f"; for {scope(flag)} alone" if flag.only else "")


def build_parser() -> Parser:
    """Build the parser of all flags, in their groups."""
    parser = Parser(
        prog="main.py",
        description="Recurrent Models of Visual Attention (Mnih et al., 2014) in PaddlePaddle.",
        allow_abbrev=False,
        formatter_class=DefaultsHelp,
    )
    for title, flags in GROUPS.items():
        group = parser.add_argument_group(title)
        for flag in flags:
            options = {"default": flag.default, "help": help_of(flag), "metavar": flag.metavar}
            if isinstance(flag.allowed, tuple):
                options["choices"] = flag.allowed
            else:
                options["type"] = flag.allowed
            if flag.allowed in (str2bool, bool_or_auto):  # alone, a switch means True
                options.update(nargs="?", const=True, metavar=flag.metavar or "BOOL")
            if flag.several:
                options.update(nargs="+", action="extend")
            group.add_argument(f"--{flag.name}", **options)
    return parser


def get_config(
    argv: list[str] | None = None, extend=lambda parser: None, trains: bool | None = None
) -> argparse.Namespace:
    """Parse and check the flags.

    Args:
        argv: the arguments, e.g. ["--epochs=1"]; None takes those of the process.
        extend: adds to the parser what another program than main.py takes besides.
        trains: whether the program trains; None: as main.py does with these flags.

    Raises:
        UserError: for a flag that does not exist, a value that is not allowed, or values that contradict each other.
    """
    parser = build_parser()
    extend(parser)
    config = parser.parse_args(argv)  # --help ends here
    if config.preset and config.preset != "help":
        flags = PRESETS[config.preset].flags.items()
        parser.set_defaults(**{name: value for name, value in flags if config.model == "ram" or name not in LOOKING})
        config = parser.parse_args(argv)
    config.explicit = parser.given(argv)
    if "std" in config.explicit and "std_end" not in config.explicit:
        config.std_end = None  # a single standard deviation that is given holds throughout
    looking = [f"--{name}" for name in LOOKING if name in config.explicit]
    if config.model != "ram" and looking:
        raise UserError(f"--model={config.model} sees the whole image at once: it has no {', '.join(looking)}")
    if trains is None:
        others = (config.preset == "help", config.predict, config.export, config.export_onnx)
        trains = config.is_train and not any(others)
    if trains or not config.weights:  # else the file of the weights may say the data set
        check_data_flags(config)
    if trains and config.resume is not True:  # a resumed run keeps its settings, and a test needs none of a training's
        refuse_idle(config, [flag for flag in FLAGS if getattr(config, flag.name) != flag.default])
    check(config)
    return config


def check_data_flags(config: argparse.Namespace) -> None:
    """Raise UserError where a flag was given that is for other data sets."""
    refuse_idle(config, [flag for flag in FLAGS if flag.only and flag.only[0] == "dataset"])


def is_idle(flag: Flag, settings: dict) -> bool:
    """Tell whether a flag decides nothing beside these settings, since it is for others."""
    return bool(flag.only) and settings.get(flag.only[0]) not in flag.only[1]


def refuse_idle(config: argparse.Namespace, flags: list[Flag]) -> None:
    """Raise UserError where one of these flags was given and decides nothing."""
    for flag in flags:
        if flag.name in config.explicit and is_idle(flag, vars(config)):
            name, values = flag.only
            raise UserError(
                f"--{flag.name}={getattr(config, flag.name)} is for --{name}={' or '.join(values)}, and this is "
                f"--{name}={getattr(config, name)}"
            )


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
    if config.resume is True and not config.is_train:
        raise UserError("--resume=True goes on with a training: leave it out, or --is_train=False")
    if config.predict and config.follow_links:
        raise UserError("--follow_links=True is for data sets; --predict follows none out of a folder: name the files")
    if not config.predict:
        for flag in FLAGS:
            if flag.name in ("invert", "fit", "save_pictures", "json") and getattr(config, flag.name) != flag.default:
                raise UserError(f"--{flag.name} says how to --predict, which was not asked for")
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
