"""Classify image files with an exported model:

    python main.py --export=DIR              # writes the model
    python deploy.py DIR photo.jpg scan.png  # runs it

This file needs PaddlePaddle, NumPy and Pillow, and of the project nothing but DIR: copy both to any machine.

The model takes images (B, C, H, W), uint8 from 0 to 255, B as you like. It gives probabilities (B, classes), and the
locations (B, T, 2) of its T glimpses as (x, y), from (-1, -1), top left, to (1, 1), bottom right. C, H, W and the names
of the classes stand in DIR/about.json. Light on dark is what models of MNIST have learned.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import warnings

import numpy as np
from PIL import Image, ImageOps

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="No ccache found")  # nothing is compiled here
    from paddle import inference


class Model:
    """An exported model, which several threads may call.

    Args:
        folder: where the model was exported to.

    Raises:
        OSError, ValueError, RuntimeError: there is no model, or it is damaged.
    """

    def __init__(self, folder: str):
        with open(os.path.join(folder, "about.json"), encoding="utf-8") as file:
            self.about = json.load(file)
        if not isinstance(self.about, dict) or not {"image_shape", "classes"} <= self.about.keys():
            raise ValueError("about.json has no image_shape or no classes")
        stem = os.path.join(folder, "inference")
        program = stem + ".json" if os.path.exists(stem + ".json") else stem + ".pdmodel"  # of PaddlePaddle 3, or 2
        weights = stem + ".pdiparams"
        if not os.path.exists(weights):  # Paddle would go on without
            raise FileNotFoundError(f"{weights} does not exist")
        self.files, self.predictors = (program, weights), {}
        self.predictor(1)
        self.one_at_a_time = threading.Lock()  # its handles hold one batch

    def predictor(self, count: int):
        """Return what runs a batch of `count` images: oneDNN's operations are for large ones, and slow to start.

        about.json says below which size others run, 0 where those did not pass the check of the export.
        """
        plain = count < self.about.get("plain_below", 0)
        if plain not in self.predictors:
            config = inference.Config(*self.files)
            config.disable_glog_info()
            if plain and hasattr(config, "disable_mkldnn"):
                config.disable_mkldnn()
            self.predictors[plain] = inference.create_predictor(config)
        return self.predictors[plain]

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        """Compute probabilities (B, classes) and locations (B, T, 2) of images (B, C, H, W).

        Raises:
            ValueError: there are no images, or they are not uint8, or of another size.
        """
        shape = tuple(self.about["image_shape"])
        if images.dtype != np.uint8 or images.shape[1:] != shape or not len(images):
            raise ValueError(
                f"images are uint8 of (B, {str(shape)[1:]}, at least one, not {images.dtype} of {images.shape}"
            )
        with self.one_at_a_time:
            predictor = self.predictor(len(images))
            (name,) = predictor.get_input_names()
            handle = predictor.get_input_handle(name)
            handle.reshape(images.shape)
            handle.copy_from_cpu(np.ascontiguousarray(images))
            predictor.run()
            return [predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()]


WHITE_LEVELS = (255, 1023, 4095, 65535)  # of images of whole numbers that may have more than 8 bits


def read(path: str, shape: tuple[int, int, int], invert: bool, data: dict | None = None) -> np.ndarray:
    """Read an image file as (C, H, W) uint8: scaled with its aspect, in the middle of black, unless it has this size.

    `data` is the entry of about.json for the training's data set: the background of transparent pixels (else black, or
    white before it is negated), and the value of white where pixels have more than 8 bits (else the smallest usual one
    that holds the image). `python main.py --predict` does more: dark on light is inverted, and a digit is cut out and
    centered. A damaged file raises any of Pillow's exceptions.
    """
    channels, height, width = shape
    with Image.open(path) as image:
        image = ImageOps.exif_transpose(image)
    data = data or {}
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values, kind = np.asarray(image), "floating" if image.mode == "F" else "integer"
        largest = values[np.isfinite(values)].max(initial=0)
        if kind == "floating":
            own = 1 if largest <= 1.01 else 255
        elif largest <= WHITE_LEVELS[-1]:
            own = min(level for level in WHITE_LEVELS if largest <= level)
        else:
            raise ValueError(f"its pixels go up to {largest}, and at most {WHITE_LEVELS[-1]} is read")
        values = np.nan_to_num(values.astype(np.float32) * np.float32(255 / (data.get(kind) or own)))
        image = Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        behind = data.get("background") or ("white" if invert else "black")
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, behind), image)
    image = image.convert("L" if channels == 1 else "RGB")
    if invert:
        image = ImageOps.invert(image)
    if image.size != (width, height):
        image = ImageOps.pad(image, (width, height), Image.BILINEAR, color=0)
    pixels = np.asarray(image)  # (H, W) or (H, W, 3)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def main() -> int:
    """Print class, probability and path for every image; the status is 1 if one could not be read."""
    parser = argparse.ArgumentParser(description="Classify image files with an exported model.")
    parser.add_argument("folder", metavar="DIR", help="where `python main.py --export=DIR` wrote it")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files")
    parser.add_argument("--invert", action="store_true", help="negate them: dark on light")
    arguments = parser.parse_args()
    status = 0
    try:
        model = Model(arguments.folder)
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        text = f"there is no exported model in {arguments.folder} that can be used: {reason}"
        print(f"deploy.py: {text}", file=sys.stderr)
        return 2
    for path in arguments.images:
        try:
            image = read(path, model.about["image_shape"], arguments.invert, model.about.get("data"))
        except Exception as error:  # whatever a damaged file makes Pillow's many readers raise
            print(f"deploy.py: skipped {path}: {error}", file=sys.stderr)
            status = 1
            continue
        (probabilities,), (locations,) = model(image[None])
        label = probabilities.argmax()
        steps = " ".join(f"({x:.2f},{y:.2f})" for x, y in locations)
        print(f"{path}: {model.about['classes'][label]} ({100 * probabilities[label]:.2f} %), path {steps}")
    return status


if __name__ == "__main__":
    sys.exit(main())
