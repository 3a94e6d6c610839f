"""Write real images as folders, to try `--dataset=folder` and `--predict` on.

    python -m pip install scikit-learn scikit-image
    python experiments/make_folders.py data/folders

- digits: scikit-learn's 1,797 scanned digits of 8x8 pixels, the last 397 for the test.
- photos: 32x32 pieces of ten photographs of scikit-learn and scikit-image; the class is the photograph. Pieces for
  training come from the left 65 % of a photograph, for validation from the next 10 %, for the test from the rest: none
  overlap.
- grey: the same without color.
- paper: 500 digits of MNIST as dark ink on unevenly lit, tinted, noisy paper. plain: the same 500 as they are. The
  class is the last figure of a file's name. They are the first of those training images that seed 1 holds out: the
  published weights were trained without them, and the test set is not used.
"""

from __future__ import annotations

import os
import sys

import numpy as np
from PIL import Image

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from data_loader import held_out
from ram.data.sources import fetch
from ram.system.command import command_line
from utils import UserError, is_there

PHOTOS = "astronaut.png chelsea.png coffee.png ihc.png rocket.jpg retina.jpg hubble_deep_field.jpg motorcycle_left.png"
PARTS = (("train", 0, 0.65, 300), ("valid", 0.65, 0.75, 40), ("test", 0.75, 1, 100))  # from, to, pieces of a photograph


def save(pixels: np.ndarray, *parts: str) -> None:
    """Write an image (H, W) or (H, W, 3) of uint8 to the path of these parts."""
    path = os.path.join(*parts)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Image.fromarray(pixels).save(path, quality=85)


def digits(folder: str) -> None:
    """Write the scanned digits of scikit-learn."""
    from sklearn.datasets import load_digits

    scans = load_digits()
    for i, (pixels, label) in enumerate(zip(scans.images, scans.target)):
        part = "train" if i < 1400 else "test"
        save(np.rint(pixels * 255 / 16).astype(np.uint8), folder, "digits", part, str(label), f"{i:04d}.png")


def photos(folder: str) -> None:
    """Write pieces of photographs, in color and in gray."""
    import skimage
    from sklearn.datasets import load_sample_images

    samples = load_sample_images()
    pictures = {os.path.basename(path)[:-4]: pixels for path, pixels in zip(samples.filenames, samples.images)}
    for name in PHOTOS.split():
        with Image.open(os.path.join(os.path.dirname(skimage.__file__), "data", name)) as image:
            pictures[name.split(".")[0]] = np.asarray(image.convert("RGB"))
    random = np.random.default_rng(0)
    for name, pixels in pictures.items():
        height, width = pixels.shape[:2]
        for part, low, high, count in PARTS:
            for k in range(count):
                top, left = random.integers(0, height - 31), random.integers(int(low * width), int(high * width) - 31)
                piece = pixels[top : top + 32, left : left + 32]
                save(piece, folder, "photos", part, name, f"{k:03d}.png")
                save(np.asarray(Image.fromarray(piece).convert("L")), folder, "grey", part, name, f"{k:03d}.png")


def paper(folder: str) -> None:
    """Write digits of MNIST as they are, and as ink on paper."""
    mnist = fetch("mnist", "./data")
    random = np.random.default_rng(0)
    chosen = held_out(len(mnist["train_images"]), valid_size=0.1, seed=1)[1][:500]
    for i, (digit, label) in enumerate(zip(mnist["train_images"][chosen], mnist["train_labels"][chosen])):
        save(digit, folder, "plain", f"{i:04d}_{label}.png")
        side = int(random.integers(150, 300))
        height, width = (int(random.integers(side, 800)) for _ in range(2))
        top, left = random.integers(0, height - side + 1), random.integers(0, width - side + 1)
        ink = np.zeros((height, width))
        large = Image.fromarray(digit).resize((side, side), Image.BICUBIC)
        ink[top : top + side, left : left + side] = np.asarray(large) / 255
        across, down = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
        gray = (215 + 15 * across + 10 * down) * (1 - ink) + 40 * ink + random.normal(0, 4, ink.shape)
        tinted = np.stack([gray, gray * 0.97, gray * 0.9], -1).clip(0, 255)
        save(tinted.astype(np.uint8), folder, "paper", f"{i:04d}_{label}.jpg")


def main(arguments: list[str]) -> None:
    """Write all of them to a new folder.

    Raises:
        UserError: the arguments are others, or there is something at the folder's path.
    """
    if len(arguments) != 1 or not arguments[0]:
        raise UserError("usage: python experiments/make_folders.py FOLDER")
    folder = os.path.normpath(arguments[0])
    begun = folder + ".part"  # an interrupted call leaves no folder that looks whole
    for name in (folder, begun):
        if is_there(name):
            raise UserError(f"{name} is there already: name a new folder, or move it away")
    for write in (digits, photos, paper):
        write(begun)
    os.rename(begun, folder)


if __name__ == "__main__":
    command_line("make_folders.py", lambda: main(sys.argv[1:]))
