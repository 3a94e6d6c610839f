"""Draw what a trained model does, and how it was trained; no display is needed.

    python visualize.py glimpses [flags]            # where it looks, what it sees, what it believes after each glimpse
    python visualize.py policy [flags]              # where it looks over the whole test set, and what it gets wrong
    python visualize.py training [FOLDER] [flags]   # how the paths of nine held-out images developed, from stored .npz
    python visualize.py curves FILE ... [flags]     # error and accuracy over epochs, of one run or of several

The flags are those of main.py, and so is the way from them to a checkpoint. Pictures go to `plots_dir/<run>/`, or where
--out says. Each is marked as made here: a later one of the same name replaces it, but never a file without the mark.
"""

from __future__ import annotations

import argparse
import os
import re
import sys

import numpy as np

from config import data_set, get_config, run_name
from ram.draw import curves, figures, snapshots
from ram.draw.files import write_gif, write_png
from ram.draw.heat import policy_figure
from ram.draw.style import PALETTE, evenly_spaced
from ram.runs.files import RunFiles
from ram.runs.find import find
from ram.runs.sizes import settle
from ram.runs.weights import fitted
from ram.system.command import command_line
from ram.system.cpu import choose_device, prepare_cpu
from ram.system.parsing import number, path
from utils import UserError

GRID_EPOCHS = 6  # rows of the picture of a training
FILM_EPOCHS = 24  # frames of its film


def target(config, *default: str) -> str:
    """Name the picture without .png or .gif: --out, or else the default, folders and name, in plots_dir."""
    return re.sub(r"\.(png|gif)$", "", config.out) if config.out else os.path.join(config.plots_dir, *default)


def geometry_of(config):
    """Make the `Geometry` of the retina that the flags describe."""
    prepare_cpu()  # before paddle is imported
    from modules import Geometry

    c = config
    return Geometry(c.patch_size, c.num_patches, c.glimpse_scale, c.unit_pixels, c.crop_offset)


def trained_model(config):
    """Load the model that main.py would test, in evaluation mode, its test images, and the settings that fit both."""
    prepare_cpu()  # before paddle is imported
    choose_device(config.use_gpu)
    from data_loader import get_test
    from ram.build import build

    trained = find(config)
    if config.model != "ram":
        raise UserError(f"--model={config.model} sees the whole image at once: there are no glimpses to draw")
    split = get_test(config, {} if trained.data is None else trained.data)
    return build(fitted(trained, split), config), split, config


def draw_glimpses(config) -> None:
    """Draw where the model looks in single test images, what it sees there, and its answer after each glimpse."""
    model, split, config = trained_model(config)
    from ram.use.looking import look_closely

    if config.first + config.num_images > len(split):
        raise UserError(
            f"--first={config.first} --num_images={config.num_images} asks for images up to number "
            f"{config.first + config.num_images - 1}; the {len(split)} test images are numbered from 0"
        )
    looks = look_closely(model, split, np.arange(config.first, config.first + config.num_images), config)
    geometry, stem = geometry_of(config), target(config, run_name(config), "glimpses")
    title = f"{data_set(config)}: where the network looks, what it sees there, what it believes afterwards"
    write_png(f"{stem}.png", figures.glimpses_figure(looks, geometry, split.classes, title))
    steps = range(1, config.num_glimpses + 1)
    films = ([figures.glimpses_figure([look], geometry, split.classes, title, t) for t in steps] for look in looks)
    write_gif(f"{stem}.gif", [frame for film in films for frame in film], 900, 2500)


def draw_policy(config) -> None:
    """Draw where the model looks over the whole test set, and what it gets wrong."""
    model, split, config = trained_model(config)
    from ram.use.looking import heats, look_at_all

    locations, probabilities = look_at_all(model, split, config)
    _, labels = split.batch(np.arange(len(split)))
    answers, name, stem = probabilities.argmax(1), data_set(config), target(config, run_name(config), "policy")
    rollouts = f"{len(locations)} rollout{'s' * (len(locations) > 1)} of each"
    title = f"{name}: where {len(split):,} test images were looked at, glimpse by glimpse ({rollouts})"
    write_png(f"{stem}.png", policy_figure(heats(split, locations, geometry_of(config)), title))

    counts = np.zeros((split.num_classes, split.num_classes), int)
    np.add.at(counts, (labels, answers), 1)
    wrong = np.flatnonzero(answers != labels)
    summary = f"{len(wrong):,} of {len(split):,} test images wrong ({len(wrong) / len(split):.2%})"
    write_png(f"{stem}_confusion.png", figures.confusion_figure(counts, split.classes, f"{name}: {summary}"))

    confidence = probabilities[np.arange(len(answers)), answers]
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][: config.num_mistakes]
    images, _ = split.batch(worst)
    names = np.array(split.classes)
    shown = zip(images, locations[0, worst], names[labels[worst]], names[answers[worst]], confidence[worst])
    title = f"{name}: {summary}" + (f"; the surest {len(worst)}" if len(worst) < len(wrong) else "")
    figure = figures.grid_figure([snapshots.Shown(*one) for one in shown], geometry_of(config), title)
    write_png(f"{stem}_mistakes.png", figure)


def draw_training(config) -> None:
    """Draw how the paths of the same held-out images developed over a training."""
    folder = config.folder or RunFiles(config).plots
    paths = snapshots.stored_epochs(folder)
    if not paths:
        raise UserError(
            f"{folder} holds no glimpses_<epoch>.npz; a training stores them there every --plot_freq epochs"
        )
    name = os.path.basename(os.path.abspath(folder))
    stem = target(config, name, "training")
    last, geometry = snapshots.read_snapshot(paths[-1]), geometry_of(config)
    if last.retina:
        geometry = geometry._make(last.retina)
    grid = [snapshots.read_snapshot(path) for path in snapshots.early_ones(paths, GRID_EPOCHS)]
    title = f"{name}: the paths of {len(last.shown)} held-out images"
    write_png(f"{stem}.png", figures.training_figure(grid, geometry, title))
    film = (snapshots.read_snapshot(paths[i]) for i in evenly_spaced(len(paths), FILM_EPOCHS))
    frames = [figures.snapshot_figure(one, geometry, f"held-out images, epoch {one.epoch}") for one in film]
    write_gif(f"{stem}.gif", frames, 400, 3000)


def draw_curves(config) -> None:
    """Draw error and accuracy over epochs, of one run or of several."""
    if len(config.files) > len(PALETTE):
        raise UserError(f"{len(config.files)} curves cannot be told apart: at most {len(PALETTE)} can")
    drawn = [curves.read_group(argument) for argument in config.files]
    name = "_".join(re.sub(r"[^\w.-]+", "-", curve.label) for curve in drawn)[:100]
    stem = target(config, f"curves_{name}")
    write_png(f"{stem}.png", curves.curves_figure(drawn, "Error and accuracy over the training"))


# ---------------------------------------------------------------------------------------------------------- commands


def glimpses_flags(group) -> None:
    """Add the flags of `glimpses` to those of main.py."""
    group.add_argument("--num_images", type=number(int, 1, 20), default=3, help="test images to draw")
    group.add_argument("--first", type=number(int, 0), default=0, help="number of the first of them, from 0")


def policy_flags(group) -> None:
    """Add the flags of `policy` to those of main.py."""
    group.add_argument("--num_mistakes", type=number(int, 1, 200), default=32, help="mistakes to draw, surest first")


def training_flags(group) -> None:
    """Add the flags of `training` to those of main.py."""
    group.add_argument("folder", nargs="?", metavar="FOLDER", help="folder of glimpses_<epoch>.npz; else the run's")


def curves_flags(group) -> None:
    """Add the flags of `curves` to those of main.py."""
    group.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="logs of runs; label=FILE,FILE,... draws their mean; the results of the Keras version, too",
    )


COMMANDS = {
    "glimpses": (draw_glimpses, glimpses_flags),
    "policy": (draw_policy, policy_flags),
    "training": (draw_training, training_flags),
    "curves": (draw_curves, curves_flags),
}


def parse(command: str, arguments: list[str]) -> argparse.Namespace:
    """Parse the settings of a command, main.py's and its own; raise UserError as `get_config` does."""
    draw, add_flags = COMMANDS[command]

    def extend(parser: argparse.ArgumentParser) -> None:
        parser.prog, parser.description = f"visualize.py {command}", draw.__doc__
        group = parser.add_argument_group("Picture")
        group.add_argument("--out", type=path, metavar="FILE", help="the picture; further ones are named after it")
        add_flags(group)

    config = get_config(arguments, extend, trains=False)
    for name in ("predict", "export", "export_onnx", "resume"):
        if getattr(config, name):
            raise UserError(f"--{name} is for main.py; visualize.py {command} draws: leave it out")
    if config.preset == "help":
        raise UserError("--preset=help is for main.py, which lists the presets; name one of them here")
    if config.out is not None and (os.path.isdir(config.out) or not os.path.basename(config.out)):
        raise UserError(f"--out={config.out} is a folder: give the name of a file in it")
    if config.num_runs > 1 and draw is not draw_curves:
        print(f"[*] Of the {config.num_runs} runs, that with --random_seed={config.random_seed} is drawn")
    return config


def run(argv: list[str]) -> None:
    """Make the pictures that the arguments ask for.

    Raises:
        UserError: for anything that the user can put right; the message is one line.
    """
    if argv and argv[0] in ("-h", "--help"):
        print(__doc__)
        return
    if not argv or argv[0] not in COMMANDS:
        given = f"{argv[0]!r} is not a command" if argv else "a command is missing"
        raise UserError(f"{given}: it must be one of {', '.join(COMMANDS)}; --help says more")
    draw, _ = COMMANDS[argv[0]]
    config = parse(argv[0], argv[1:])
    settle(config, trains=False)
    draw(config)


if __name__ == "__main__":
    command_line("visualize.py", lambda: run(sys.argv[1:]))
