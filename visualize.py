"""Look inside: pictures of what a trained model does, and of how it was trained. No display is needed.

    python visualize.py glimpses [flags]            # where it looks, what it sees, what it believes after each glimpse
    python visualize.py policy [flags]              # where it looks over the whole test set, and what it gets wrong
    python visualize.py training [FOLDER] [flags]   # how the paths of nine held-out images developed, from stored .npz
    python visualize.py curves FILE ... [flags]     # error and accuracy over epochs, of one run or of several

The flags are those of main.py, and so is the way from them to a checkpoint. Pictures go to `plots_dir/<run>/`, or where
--out says. Each is marked as made here: a later one of the same name replaces it, but never a file without the mark.
"""

from __future__ import annotations

import argparse
import glob
import io
import json
import os
import re
import sys
import zipfile
import zlib

import numpy as np

from config import data_set, get_config, number, run_name
from ram.draw import figures as pictures
from ram.draw.figures import Curve, Look, Shown, Snapshot
from ram.runs import seeds
from ram.runs.weights import RunFiles, check_fits, find_weights
from ram.system.command import command_line
from ram.system.cpu import choose_device, prepare_cpu
from utils import UserError, file_access, generator, make_folder

MARK = b"made by visualize.py"  # in every picture: it may be replaced
DPI = 150  # of still pictures; films have 100
GRID_EPOCHS = 6  # rows of the picture of a training
FILM_EPOCHS = 24  # frames of its film


# ---------------------------------------------------------------------------------------------------- files of pictures


def target(config, *default: str) -> str:
    """Where the picture goes, without .png or .gif: --out, or else the default, folders and name, in plots_dir."""
    return re.sub(r"\.(png|gif)$", "", config.out) if config.out else os.path.join(config.plots_dir, *default)


def write(path: str, data: bytes) -> None:
    """Write a picture, in the place of an earlier one that was made here.

    Raises:
        UserError: it cannot be written, or the file there is somebody else's.
    """
    make_folder(os.path.dirname(path) or ".")
    temporary = f"{path}.tmp"
    with file_access("write", path):
        if os.path.lexists(path):
            with open(path, "rb") as file:
                if MARK not in file.read():
                    raise UserError(f"{path} was not made by this command: move it away, or name another file by --out")
        with open(temporary, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    print(f"[*] Wrote {path}")


def write_png(path: str, figure) -> None:
    """Write a figure as a PNG."""
    buffer = io.BytesIO()
    pictures.plain_text(figure)
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Comment": MARK.decode()})
    write(path, buffer.getvalue())


def write_gif(path: str, figures, milliseconds: int, hold: int) -> None:
    """Write figures as the frames of an endless film.

    Args:
        path: the file.
        figures: all of one size.
        milliseconds: how long a frame is shown.
        hold: how long the last one is.
    """
    from PIL import Image

    frames = [Image.fromarray(pictures.to_pixels(figure)) for figure in figures]
    some = np.concatenate([np.asarray(frame) for frame in evenly(frames, 12)])
    # Of all colours, also of those that cover little.
    palette = Image.fromarray(some).quantize(colors=128, method=Image.Quantize.MAXCOVERAGE)
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    durations = [milliseconds] * (len(frames) - 1) + [hold]
    buffer = io.BytesIO()
    more = {"append_images": frames[1:], "duration": durations, "loop": 0, "comment": MARK}
    frames[0].save(buffer, format="GIF", save_all=True, **more)
    write(path, buffer.getvalue())


# -------------------------------------------------------------------------------------------- what a trained model does


def geometry_of(config):
    """Make the `Geometry` of the retina that the flags describe."""
    prepare_cpu()  # before paddle is imported
    from modules import Geometry

    return Geometry(config.patch_size, config.num_patches, config.glimpse_scale, config.unit_pixels)


def trained_model(config):
    """The model that main.py would test, in evaluation mode; the test images; and the settings that fit both."""
    prepare_cpu()  # before paddle is imported
    choose_device(config.use_gpu)
    from data_loader import get_test
    from ram.build import build_trained

    config, weights, _, path, about = find_weights(config)
    if config.model != "ram":
        raise UserError(f"--model={config.model} sees the whole image at once: there are no glimpses to draw")
    split = get_test(config)
    check_fits(about, split, path)
    model = build_trained(config, split.image_shape, split.num_classes, weights)
    model.eval()
    return model, split, config


def states(model, scene, locations):
    """The states h_t (B, D) of a model that looks at given locations (B, T, 2), one after the other."""
    import paddle

    state = paddle.zeros([scene.shape[0], model.rnn.state_size])
    for l_t in locations.unbind(1):
        state = model.step(scene, l_t, state)
        yield state[:, : model.rnn.hidden_size]


def look_closely(model, split, indices: np.ndarray, config) -> list[Look]:
    """Everything that the model sees and believes of some images, in the rollout that evaluation makes first."""
    import paddle

    from model import Noise
    from ram.evaluation import evaluation_noise

    images, labels = split.batch(indices)
    first, choices = evaluation_noise(split, config.num_glimpses, 1, config.locations, config.random_seed)[0]
    noise = Noise(paddle.to_tensor(first[indices]), paddle.to_tensor(choices[indices]))
    retina = model.sensor.retina
    with paddle.no_grad():
        scene = model.prepare(paddle.to_tensor(images))
        locations = model.rollout(scene, noise).locations  # (B, T, 2)
        probabilities = [paddle.exp(model.classifier(h_t)).numpy() for h_t in states(model, scene, locations)]
        glimpses = [retina.look(scene, l_t).numpy() for l_t in locations.unbind(1)]  # T times (B, k*C*g*g)
    glimpses = np.stack(glimpses, 1).reshape(len(images), config.num_glimpses, retina.k, -1, retina.g, retina.g)
    glimpses = np.clip(glimpses * model.pixel_std + model.pixel_mean, 0, 1)
    probabilities = np.stack(probabilities, 1)  # (B, T, classes)
    return [Look(*one) for one in zip(images, labels.tolist(), locations.numpy(), glimpses, probabilities)]


def draw_glimpses(config) -> None:
    """Where the model looks in single test images, what it sees there, and what it believes after each glimpse."""
    model, split, config = trained_model(config)
    if config.first + config.num_images > len(split):
        raise UserError(
            f"--first={config.first} --num_images={config.num_images} asks for images up to number "
            f"{config.first + config.num_images - 1}; the {len(split)} test images are numbered from 0"
        )
    looks = look_closely(model, split, np.arange(config.first, config.first + config.num_images), config)
    geometry, stem = geometry_of(config), target(config, run_name(config), "glimpses")
    title = f"{data_set(config)}: where the network looks, what it sees there, what it believes afterwards"
    write_png(f"{stem}.png", pictures.glimpses_figure(looks, geometry, split.classes, title))
    steps = range(1, config.num_glimpses + 1)
    films = ([pictures.glimpses_figure([look], geometry, split.classes, title, t) for t in steps] for look in looks)
    write_gif(f"{stem}.gif", [frame for film in films for frame in film], 900, 2500)


def look_at_all(model, split, config):
    """Evaluate a split as the test does.

    Returns:
        locations (rollouts, N, T, 2) and mean class probabilities (N, classes).
    """
    from ram.evaluation import evaluate

    rollouts = 1 if config.locations == "mean" else config.M
    locations = np.empty((rollouts, len(split), config.num_glimpses, 2), np.float32)
    probabilities = np.zeros((len(split), split.num_classes))
    seen = np.zeros(len(split), int)  # rollouts so far

    def watch(index, rollout):
        locations[seen[index[0]], index] = rollout.locations.numpy()
        probabilities[index] += np.exp(rollout.log_probs.numpy()) / rollouts
        seen[index] += 1

    evaluate(model, split, config.num_glimpses, config.M, config.locations, config.random_seed, watch)
    return locations, probabilities


def heats(split, locations: np.ndarray, config) -> list[pictures.Heat]:
    """Heat over the image; on canvases also around the digit, wherever that is."""
    from data_loader import CanvasSplit

    H, W = split.image_shape[1:]
    flat = locations.reshape(-1, *locations.shape[2:])  # (rollouts * N, T, 2)
    found = [pictures.image_heat(flat, (H, W), config.unit_pixels)]
    if isinstance(split, CanvasSplit):
        side = split.split.image_shape[1:]
        half = np.array([W, H]) / 2
        reach = half if config.unit_pixels is None else config.unit_pixels
        middle = split.corners(np.arange(len(split)))[:, ::-1] + np.array(side[::-1]) / 2  # (N, 2) as (x, y)
        uniform = generator("uniform glimpses").uniform(-1, 1, (20, len(split), 2)) * reach + half - middle
        offsets = locations * reach + half - middle[:, None]  # (rollouts, N, T, 2)
        offsets = offsets.reshape(flat.shape)
        found.append(pictures.object_heat(offsets, uniform.reshape(-1, 2), side))
    return found


def draw_policy(config) -> None:
    """Where the model looks over the whole test set, and what it gets wrong."""
    model, split, config = trained_model(config)
    locations, probabilities = look_at_all(model, split, config)
    _, labels = split.batch(np.arange(len(split)))
    said, name, stem = probabilities.argmax(1), data_set(config), target(config, run_name(config), "policy")
    rollouts = f"{len(locations)} rollout{'s' * (len(locations) > 1)} of each"
    title = f"{name}: where {len(split):,} test images were looked at, glimpse by glimpse ({rollouts})"
    write_png(f"{stem}.png", pictures.policy_figure(heats(split, locations, config), title))

    counts = np.zeros((split.num_classes, split.num_classes), int)
    np.add.at(counts, (labels, said), 1)
    wrong = np.flatnonzero(said != labels)
    summary = f"{len(wrong):,} of {len(split):,} test images wrong ({len(wrong) / len(split):.2%})"
    write_png(f"{stem}_confusion.png", pictures.confusion_figure(counts, split.classes, f"{name}: {summary}"))

    confidence = probabilities[np.arange(len(said)), said]
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][: config.num_mistakes]
    images, _ = split.batch(worst)
    names = np.array(split.classes)
    shown = zip(images, locations[0, worst], names[labels[worst]], names[said[worst]], confidence[worst])
    title = f"{name}: {summary}" + (f"; the surest {len(worst)}" if len(worst) < len(wrong) else "")
    figure = pictures.grid_figure([Shown(*one) for one in shown], geometry_of(config), title)
    write_png(f"{stem}_mistakes.png", figure)


# ------------------------------------------------------------------------------------------------ how it was trained


def read_snapshot(path: str) -> tuple[Snapshot, tuple[int, int, int, float | None] | None]:
    """Read what `snapshots.save_glimpses` stored of one epoch; see `figures.snapshot_of`.

    Raises:
        UserError: it is something else, or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return pictures.snapshot_of(arrays, epoch_of(path))
    except (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} holds no glimpses of a training: {reason(error)}") from None


def stored_epochs(folder: str) -> list[str]:
    """The files glimpses_<epoch>.npz in a folder, by epoch."""
    paths = glob.glob(os.path.join(glob.escape(folder), "glimpses_*.npz"))
    return sorted((path for path in paths if epoch_of(path) is not None), key=epoch_of)


def epoch_of(path: str) -> int | None:
    """The epoch in the name glimpses_<epoch>.npz; None where it is another name."""
    found = re.fullmatch(r"glimpses_(\d+)\.npz", os.path.basename(path))
    return int(found[1]) if found else None


def reason(error: Exception) -> str:
    """What is wrong with the content of a file, by what was raised where it was used."""
    if isinstance(error, KeyError):
        return f"{error} is missing"
    other_layout = isinstance(error, (TypeError, IndexError, AttributeError))
    return "it is laid out in another way" if other_layout else str(error)


def evenly(items: list, count: int) -> list:
    """At most `count` of the items, the first and the last among them."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int))]


def early_ones(items: list, count: int) -> list:
    """At most `count` of the items, ever wider apart: first, last, and more of the early ones, where most happens."""
    wanted = np.geomspace(1, len(items), min(count, len(items))).round().astype(int) - 1
    for i in range(1, len(wanted)):
        wanted[i] = max(wanted[i], wanted[i - 1] + 1)
    return [items[i] for i in wanted]


def draw_training(config) -> None:
    """How the paths of the same held-out images developed over a training."""
    folder = config.folder or RunFiles(config).plots
    paths = stored_epochs(folder)
    if not paths:
        raise UserError(
            f"{folder} holds no glimpses_<epoch>.npz; a training stores them there every --plot_freq epochs"
        )
    name = os.path.basename(os.path.abspath(folder))
    stem = target(config, name, "training")
    snapshot, retina = read_snapshot(paths[-1])
    geometry = geometry_of(config)
    if retina:
        geometry = geometry._make(retina)
    grid = [read_snapshot(path)[0] for path in early_ones(paths, GRID_EPOCHS)]
    title = f"{name}: the paths of {len(snapshot.shown)} held-out images"
    write_png(f"{stem}.png", pictures.training_figure(grid, geometry, title))
    film = (read_snapshot(path)[0] for path in evenly(paths, FILM_EPOCHS))
    frames = [pictures.snapshot_figure(one, geometry, f"held-out images, epoch {one.epoch}") for one in film]
    write_gif(f"{stem}.gif", frames, 400, 3000)


QUANTITIES = ("val_err", "train_err", "val_acc", "train_acc")
COMPLEMENT = {"val_err": "val_acc", "val_acc": "val_err", "train_acc": "train_err"}  # what follows from what


def read_curve(path: str) -> Curve:
    """The quantities over epochs in a file.

    Args:
        path: `<run>.jsonl`, an object per line and epoch; or `<experiment>_results.json`, whose "epochs" are such
            objects with {"mean": ..., "std": ...} for every quantity; or {"epochs": [1, 2, ...], "val_err": [...]}
            with a list per quantity, or {"mean": [...], "std": [...]}.

    Raises:
        UserError: it cannot be read, or holds no epochs.
    """
    try:
        with file_access("read", path), open(path, encoding="utf-8") as file:
            text = file.read()
    except UnicodeDecodeError:
        raise UserError(f"{path} holds no curves of a training: it is no text") from None
    try:
        content = json.loads(text)
    except ValueError:
        content = json_lines(text, path)
    except RecursionError:
        raise UserError(f"{path} holds no curves of a training: it is laid out in another way") from None
    label = re.sub(r"_results$", "", os.path.splitext(os.path.basename(path))[0])
    try:
        return curve_of(records_of(content), label)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise UserError(f"{path} holds no curves of a training: {reason(error)}") from None


def json_lines(text: str, path: str) -> list:
    """The objects in a log; a last line that is only half there belongs to a training under way."""
    records, lines = [], text.splitlines(keepends=True)
    for count, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except ValueError:
            if count < len(lines) or line.endswith("\n") or not records:
                raise UserError(f"{path} holds no curves of a training: line {count} is not JSON") from None
    return records


def records_of(content: object) -> list[dict]:
    """An object per epoch, from whichever of the layouts that `read_curve` knows."""
    if isinstance(content, dict) and "epoch" in content:  # a log of one line
        return [content]
    if isinstance(content, dict):
        content = content if isinstance(content["epochs"][0], dict) else rows_of(content)
        content = content["epochs"] if isinstance(content, dict) else content
    return content


def rows_of(columns: dict) -> list[dict]:
    """An object per epoch, from a list per quantity."""
    records = [{"epoch": epoch} for epoch in columns["epochs"]]
    for key in set(QUANTITIES) & set(columns):
        parts = columns[key] if isinstance(columns[key], dict) else {"mean": columns[key]}
        for name, values in parts.items():
            if len(values) != len(records):
                raise ValueError(f"{key} has {len(values)} values for {len(records)} epochs")
            for record, value in zip(records, values):
                record.setdefault(key, {})[name] = value
    return records


def curve_of(records: list[dict], label: str) -> Curve:
    """The curve of an object per epoch. Of an epoch that was logged twice, the last counts.

    Raises:
        KeyError, TypeError, ValueError, ...: the objects are something else.
    """
    by_epoch = {int(record["epoch"]): record for record in records}
    epochs = sorted(by_epoch)
    mean, std = {}, {}
    for key in QUANTITIES:
        if all(key in record for record in records):
            values = [by_epoch[epoch][key] for epoch in epochs]
            pairs = [(v["mean"], v.get("std")) if isinstance(v, dict) else (v, None) for v in values]
            mean[key], std[key] = np.array(pairs, dtype=float).reshape(-1, 2).T  # None becomes NaN
    for known, other in COMPLEMENT.items():
        if known in mean and other not in mean:
            mean[other], std[other] = 100 - mean[known], std[known]
    if not epochs or "val_err" not in mean:
        raise ValueError("there is no epoch with a val_err or val_acc")
    counts = [record["runs"] if isinstance(record.get("runs"), int) else 1 for record in records]
    averaged = any(isinstance(record.get(key), dict) for record in records for key in QUANTITIES)
    return Curve(label, np.array(epochs), mean, std, max(counts), averaged)


def join_runs(label: str, curves: list[Curve]) -> Curve:
    """Mean and standard deviation over runs, epoch by epoch, each over the runs that got as far."""
    epochs = sorted(set().union(*(curve.epochs.tolist() for curve in curves)))
    mean, std = {}, {}
    for key in QUANTITIES:
        if all(key in curve.mean for curve in curves):
            of_runs = [dict(zip(curve.epochs.tolist(), curve.mean[key].tolist())) for curve in curves]
            spreads = [seeds.spread([run[epoch] for run in of_runs if epoch in run]) for epoch in epochs]
            mean[key], std[key] = (np.array([s[name] for s in spreads], dtype=float) for name in ("mean", "std"))
    return Curve(label, np.array(epochs), mean, std, len(curves), True)


def read_group(argument: str) -> Curve:
    """The curve that `FILE`, or `label=FILE,FILE,...` names.

    Raises:
        UserError: a file cannot be used, or is to be averaged and holds averages.
    """
    label, equals, files = argument.partition("=")
    if not equals or os.path.exists(argument):
        return read_curve(argument)
    curves = [read_curve(path) for path in files.split(",")]
    if len(curves) == 1:
        return curves[0]._replace(label=label)
    averages = [path for path, curve in zip(files.split(","), curves) if curve.averaged]
    if averages:
        raise UserError(f"{averages[0]} holds means of several runs already: give it alone")
    return join_runs(label, curves)


def draw_curves(config) -> None:
    """Error and accuracy over epochs, of one run or of several."""
    if len(config.files) > len(pictures.PALETTE):
        raise UserError(f"{len(config.files)} curves cannot be told apart: at most {len(pictures.PALETTE)} can")
    curves = [read_group(argument) for argument in config.files]
    name = "_".join(re.sub(r"[^\w.-]+", "-", curve.label) for curve in curves)[:100]
    stem = target(config, f"curves_{name}")
    write_png(f"{stem}.png", pictures.curves_figure(curves, "Error and accuracy over the training"))


# ---------------------------------------------------------------------------------------------------------- commands


def glimpses_flags(group) -> None:
    """What `glimpses` takes besides main.py's flags."""
    group.add_argument("--num_images", type=number(int, 1, 20), default=3, help="test images to draw")
    group.add_argument("--first", type=number(int, 0), default=0, help="number of the first of them, from 0")


def policy_flags(group) -> None:
    """What `policy` takes besides main.py's flags."""
    group.add_argument("--num_mistakes", type=number(int, 1, 200), default=32, help="mistakes to draw, surest first")


def training_flags(group) -> None:
    """What `training` takes besides main.py's flags."""
    group.add_argument("folder", nargs="?", metavar="FOLDER", help="folder of glimpses_<epoch>.npz; else the run's")


def curves_flags(group) -> None:
    """What `curves` takes besides main.py's flags."""
    group.add_argument("files", nargs="+", metavar="FILE", help="logs of runs; label=FILE,FILE,... draws their mean")


COMMANDS = {
    "glimpses": (draw_glimpses, glimpses_flags),
    "policy": (draw_policy, policy_flags),
    "training": (draw_training, training_flags),
    "curves": (draw_curves, curves_flags),
}


def parse(command: str, arguments: list[str]) -> argparse.Namespace:
    """The settings of a command: those of main.py and its own. Raises UserError as `get_config` does."""
    draw, add_flags = COMMANDS[command]

    def extend(parser: argparse.ArgumentParser) -> None:
        parser.prog, parser.description = f"visualize.py {command}", draw.__doc__
        group = parser.add_argument_group("Picture")
        group.add_argument("--out", metavar="FILE", help="the picture; further ones are named after it")
        add_flags(group)

    config = get_config(arguments, extend)
    if config.out is not None and (os.path.isdir(config.out) or not os.path.basename(config.out)):
        raise UserError(f"--out={config.out} is a folder: give the name of a file in it")
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
    draw(parse(argv[0], argv[1:]))


if __name__ == "__main__":
    command_line("visualize.py", lambda: run(sys.argv[1:]))
