"""Classify the user's own images, and draw the model's path: `python main.py --predict PATH...`."""

from __future__ import annotations

import glob
import io
import itertools
import json
import math
import os
import sys
import zlib
from typing import NamedTuple

import numpy as np
import paddle
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from config import CANVASES, OWN
from model import Noise, RecurrentAttention, draw_noise
from modules import Geometry
from ram.build import SIDE, build, complete
from ram.data import drawing, fitting, images, kept
from ram.data.conversion import Conversion
from ram.draw import files
from ram.runs.weights import Trained
from utils import UserError, make_folder, printable, to_tensor

BOX = {"mnist": 20, "fashion_mnist": 28}  # pixels: the size that the data set's images were scaled to before placing
ROLLOUTS_AT_ONCE, PIXELS_AT_ONCE = 64, 2**24  # in a batch
PENS = 3  # colors that a path is drawn with
LONGEST_STEM = 180  # bytes: a name may have 255, that of a picture that is being written included


class Prediction(NamedTuple):
    """The model's answer for one image."""

    probabilities: np.ndarray  # (classes,), averaged over the rollouts
    locations: np.ndarray  # (T, 2) of the first rollout


def predict(config, trained: Trained, out) -> int:
    """Classify the images of --predict: a line on `out` and a picture for each, and skipped files on stderr.

    Args:
        config: settings, after those of the checkpoint were adopted.
        trained: the weights.
        out: a text file.

    Returns:
        The number of files, folders and links that were skipped.

    Raises:
        UserError: the weights do not fit, a picture cannot be written, or the model gives no probabilities.
    """
    trained, how = complete(trained, config), kept.conversion(trained.data or {})
    model = build(trained, config)
    folder = os.path.join(config.plots_dir, "predict")
    if config.save_pictures:
        make_folder(folder)
    paths, skipped = collect(config.predict, folder)
    geometry = model.sensor.retina.geometry if model.samples else None
    taken = {os.path.abspath(path) for path in paths}  # a picture must replace no image

    def read():
        for path in paths:
            try:
                yield path, prepare(path, config, trained.image_shape, how)
            except images.BadImage as error:
                skipped.append((path, str(error)))
                skip(*skipped[-1])

    pairs = read()
    while group := list(itertools.islice(pairs, rollouts_at_once(trained.image_shape))):  # few rows only fill a batch
        fitted_images = np.stack([image for _, image in group])
        answers = look(model, fitted_images, config.num_glimpses, config.M, config.locations, config.random_seed)
        for (path, image), prediction in zip(group, answers):
            if not np.isfinite(prediction.probabilities).all():
                raise UserError(f"{trained.path} cannot be used: the model gives probabilities that are not finite")
            picture = free_name(folder, path, taken) if config.save_pictures else None
            if picture:
                save_picture(picture, image, prediction.locations, geometry)
            out.write(report(path, prediction, trained.classes, picture, config.json) + "\n")
        out.flush()
    return len(skipped)


def collect(paths: list[str], pictures: str) -> tuple[list[str], list[tuple[str, str]]]:
    """List the images that paths name, and what was skipped and why (printed on stderr, too).

    A file is taken as it is. Where there is none of that name, `*`, `?` and `[...]` in it stand for others: on
    Windows no shell does that. Of a folder, all files named like images are taken, in it and in the folders
    below, sorted; hidden ones are left out, and so are earlier answers in the folder of `pictures`; links that lead
    out of the folder are skipped.
    """
    found, skipped = [], []
    for path in [match for pattern in paths for match in expanded(pattern)]:
        if not os.path.isdir(path):
            found.append(path)
            continue
        before, walked_for_answers = len(found) + len(skipped), is_folder(path, pictures)
        for parent, folders, names in os.walk(path, onerror=lambda error: skipped.append((error.filename, str(error)))):
            folders[:] = sorted(name for name in folders if not name.startswith("."))  # os.walk enters no links
            named = [name for name in names if images.is_named_like_an_image(name)]
            if is_folder(parent, pictures) and not walked_for_answers:
                named = [name for name in named if not is_answer(os.path.join(parent, name))]
            for name in sorted(named) + folders:
                inside = os.path.join(parent, name)
                if os.path.islink(inside) and images.leads_out(inside, path):
                    skipped.append((inside, f"it is a link out of {path}"))
                elif name in named:
                    found.append(inside)
        if len(found) + len(skipped) == before:
            skipped.append((path, "there is no image in it"))
    for each in skipped:
        skip(*each)
    return found, skipped


def is_folder(path: str, folder: str) -> bool:
    """Tell whether a path is that of a folder, which need not be there."""
    return os.path.isdir(folder) and os.path.samefile(path, folder)


def is_answer(path: str) -> bool:
    """Tell whether a file is the picture of an earlier answer, as far as it can be read."""
    try:
        return not files.is_foreign(path)
    except UserError:
        return False


def expanded(path: str) -> list[str]:
    """Return the paths that a pattern stands for, sorted; the path itself where it exists or is no pattern of any."""
    return [path] if os.path.lexists(path) else sorted(glob.glob(path, recursive=True)) or [path]


def skip(path: str, why: str) -> None:
    """Print on stderr that a path is skipped."""
    print(f"main.py: skipped {printable(path)}: {why}", file=sys.stderr)


def prepare(path: str, config, shape: tuple[int, int, int], how: Conversion = images.ALONE) -> np.ndarray:
    """Read an image and fit it to the model's training images: see `fitted`; `how` as in `images.read`.

    Raises:
        BadImage: see `images.read` and `drawing.find_drawing`.
    """
    return fitted(images.read(path, shape[0], images.LONGEST, how), config, shape)


def fitted(image: np.ndarray, config, shape: tuple[int, int, int]) -> np.ndarray:
    """Fit an image (C, h, w) uint8 to the model's training images: (C, H, W) uint8.

    Models of MNIST and Fashion-MNIST see light on dark (`--invert` decides, or `is_dark_on_light`), cut out and placed
    as those data sets were made. For canvases nothing is cut out, and nothing enlarged. An image of the size of
    Fashion-MNIST's or of the canvas is not cut out, and these backgrounds are made black; a digit of MNIST's size is
    taken as it is if it looks like MNIST's. Models of data sets of one's own see what these would give them. With
    `--fit=False` the whole image is shown.

    Raises:
        BadImage: see `drawing.find_drawing`.
    """
    if config.fit and config.dataset == "mnist" and shape == (1, SIDE, SIDE):
        return digit(image, config.invert)
    light_on_dark = config.dataset not in OWN
    if config.invert or (config.invert is None and light_on_dark and fitting.is_dark_on_light(image)):
        image = 255 - image
    if config.fit and light_on_dark and len(image) == 1 and (image.shape == shape or config.dataset in CANVASES):
        image = fitting.on_black(image)
    if image.shape == shape:
        return image
    if config.fit and config.dataset in BOX and shape == (1, SIDE, SIDE):
        return fitting.fit_drawing(image, SIDE, BOX[config.dataset])
    return fitting.fit(image, *shape[1:], enlarge=config.dataset not in CANVASES)


def digit(image: np.ndarray, invert: bool | None) -> np.ndarray:
    """Find the digit in an image (1, H, W) and make it one of MNIST's (1, 28, 28), which it may be already."""
    if image.shape == (1, SIDE, SIDE):
        for candidate in [image] * (not invert) + [255 - image] * (invert is not False):
            if fitting.is_like_mnist(candidate):
                return candidate
    drawn = drawing.find_drawing(image, invert)[0]
    return fitting.place(fitting.thicken(drawn, BOX["mnist"]), SIDE, BOX["mnist"])


def rollouts_at_once(shape: tuple[int, int, int]) -> int:
    """Return how many rollouts are a batch: fewer for large images (C, H, W), and the same whatever is predicted."""
    return max(1, min(ROLLOUTS_AT_ONCE, PIXELS_AT_ONCE // math.prod(shape)))


@paddle.no_grad()
def look(model: RecurrentAttention, images: np.ndarray, T: int, M: int, locations: str, seed: int) -> list[Prediction]:
    """Look at each of N images (N, C, H, W) M times, with T glimpses each, as `evaluation.evaluate` does.

    Noise comes from (seed, image). All batches have one shape, the last one filled up, since how a row is rounded
    depends on the shape of the batch, but not on the other rows: so other images, and their order, change no bit.
    """
    M = M if model.samples and locations == "sampled" else 1
    noise = [draw_noise(M, T, "predict", seed, zlib.crc32(image.tobytes())) for image in images]
    if locations == "mean":
        noise = [tuple(part.numpy() for part in Noise.mean(len(images), T))]
    first, choices = (np.concatenate(parts) for parts in zip(*noise))  # (N*M, 2), (N*M, T-1, 2)
    size, log_probs, paths = rollouts_at_once(images.shape[1:]), [], []
    for start in range(0, len(first), size):
        rows = np.minimum(np.arange(start, start + size), len(first) - 1)
        rollout = model.rollout(to_tensor(images[rows // M]), Noise(to_tensor(first[rows]), to_tensor(choices[rows])))
        log_probs.append(rollout.log_probs.numpy())
        paths.append(rollout.locations.numpy())
    probabilities = np.exp(np.concatenate(log_probs)[: len(first)]).reshape(len(images), M, -1).mean(axis=1)
    return list(map(Prediction, probabilities, np.concatenate(paths)[: len(first) : M]))


def report(path: str, prediction: Prediction, classes: list[str], picture: str | None, as_json: bool) -> str:
    """Write the prediction for an image as a line for people, or as a JSON object.

    The object's "path" holds the T locations (x, y) in [-1, 1], from the top left to the bottom right corner of the
    image that the model saw; "probabilities" are those of all classes in the order of their labels.
    """
    label = int(prediction.probabilities.argmax())
    probability = float(prediction.probabilities[label])
    if not as_json:
        steps = " ".join(f"({x:.2f},{y:.2f})" for x, y in prediction.locations)
        answer = f"{printable(classes[label])} ({100 * probability:.2f} %)"
        return f"{printable(path)}: {answer}, path {steps}{f', {printable(picture)}' if picture else ''}"
    record = {"image": path, "class": classes[label], "label": label, "probability": probability}
    record.update(probabilities=prediction.probabilities.tolist(), path=prediction.locations.tolist(), picture=picture)
    return json.dumps(record)


def free_name(folder: str, path: str, taken: set[str]) -> str:
    """Choose a name in `folder` for the picture of an image that is not in `taken`, and add it there.

    A name at which there is something else than an earlier picture is taken, too.
    """
    stem = os.path.splitext(os.path.basename(path))[0][:60]
    while len(os.fsencode(stem)) > LONGEST_STEM:
        stem = stem[:-1]
    number, name = 1, f"{stem}_path.png"
    while os.path.abspath(os.path.join(folder, name)) in taken or files.is_foreign(os.path.join(folder, name)):
        number, name = number + 1, f"{stem}_path-{number + 1}.png"
    taken.add(os.path.abspath(os.path.join(folder, name)))
    return os.path.join(folder, name)


def save_picture(path: str, image: np.ndarray, locations: np.ndarray, geometry: Geometry | None) -> None:
    """Write a PNG of the image that the model saw, with its finest patches, numbered, and the line between them.

    Args:
        path: the file.
        image: (C, H, W) uint8.
        locations: (T, 2).
        geometry: the retina's, which gives the places and sizes of patches; None for a baseline.

    Raises:
        UserError: the file cannot be written.
    """
    _, height, width = image.shape
    scale = max(1, 448 // max(height, width))  # whole, so that every pixel stays a square
    picture = as_picture(image).resize((width * scale, height * scale), Image.NEAREST)
    if geometry is not None:
        draw_path(picture, locations, (height, width), scale, geometry)
    buffer, mark = io.BytesIO(), PngInfo()
    mark.add_text("Comment", files.MARK.decode())
    picture.save(buffer, "PNG", pnginfo=mark, compress_type=zlib.Z_RLE)  # a third faster, a quarter larger
    files.replace(path, buffer.getvalue())


def as_picture(image: np.ndarray) -> Image.Image:
    """Make a picture of an image (C, H, W) uint8; with a palette, where that is enough, it is written sooner."""
    pixels = np.broadcast_to(image, (3, *image.shape[1:])).astype("int32")
    colors, index = np.unique(pixels[0] << 16 | pixels[1] << 8 | pixels[2], return_inverse=True)
    if len(colors) > 256 - PENS:
        return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)).astype("uint8"))
    picture = Image.fromarray(index.reshape(image.shape[1:]).astype("uint8"), "P")
    picture.putpalette(np.stack([colors >> 16, colors >> 8 & 255, colors & 255], axis=1).astype("uint8").tobytes())
    return picture


def draw_path(picture, locations: np.ndarray, shape: tuple[int, int], scale: int, geometry: Geometry) -> None:
    """Draw the glimpses at locations (T, 2) of an image of `shape` (H, W) that is shown `scale` times as large."""
    draw = ImageDraw.Draw(picture)
    side = geometry.g * scale
    corners = geometry.corners(locations, shape)[:, 0] * scale  # (T, 2): top left of the finest patches
    centers = corners + side / 2
    draw.line([tuple(center) for center in centers], fill="#e69f00", width=2)
    for number, (corner, center) in enumerate(zip(corners, centers), 1):
        draw.rectangle([*corner, *(corner + side - 1)], outline="#56b4e9", width=2)
        x, y = center
        draw.ellipse([x - 8, y - 8, x + 8, y + 8], fill="#e69f00")
        draw.text((x - 3 * len(str(number)), y - 6), str(number), fill="black")
