"""The image that a network is shown: a drawing, an uploaded file, or a test image; on a canvas, where it sees those."""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

import numpy as np

from data_loader import add_clutter, clutter_ranges
from demo.networks import Network
from demo.replies import Refusal, whole
from ram.build import SIDE
from ram.data import fitting, images
from ram.data.drawing import SEVERAL
from ram.data.images import BadImage
from ram.data.transforms import add_saturating, portable_integers
from ram.use.predict import digit, fitted

MAX_BYTES = 8 * 2**20  # of an uploaded file; the page shrinks larger ones before it sends them
MAX_PIXELS = 2**24  # of it, so that no visitor makes the others wait for long
LONGEST = 1024  # pixels
MAX_PIECES = 32


class Scene(NamedTuple):
    """An image, and what is known of it."""

    image: np.ndarray  # (C, H, W) uint8
    label: int | None = None  # of a test image
    number: int | None = None  # of a test image


def make_scene(network: Network, request: dict) -> Scene:
    """Make the image that a request means.

    Args:
        network: who will look.
        request: "source" is "drawing", "file" or "test"; "data" the file's content in base64, or "number" that of the
            test image; "canvas" says where a digit is placed and among what: x, y, pieces and seed.

    Raises:
        Refusal: the file is no image, nothing is drawn, or there are no test images here.
    """
    source = request.get("source")
    if source == "test":
        split = network.test_images()
        number = whole(request, "number", 0, 2**31) % len(split)
        (image,), (label,) = split.batch(np.array([number]))
        return Scene(image, int(label), number)
    if source not in ("drawing", "file"):
        raise Refusal("request", what="source")
    image = read(network, request.get("data"))
    if source == "drawing" and image.max() < fitting.FAINT:
        raise Refusal("empty")
    try:
        if not network.on_canvas or image.shape == network.image_shape:
            return Scene(fitted(image, network.config, network.image_shape))
        return Scene(place(network, digit(image, None), request.get("canvas")))
    except BadImage as error:  # an image, but what is to be seen on it?
        raise Refusal("several" if str(error) == SEVERAL else "nothing") from None


def place(network: Network, drawn: np.ndarray, canvas: object) -> np.ndarray:
    """Place a digit (1, 28, 28) on a canvas, among pieces of test images as on the canvases of the data set.

    Raises:
        Refusal: pieces are wanted, and there are no test images here.
    """
    _, height, width = network.image_shape
    if not isinstance(canvas, dict):
        raise Refusal("request", what="canvas")
    x, y = whole(canvas, "x", 0, width - SIDE), whole(canvas, "y", 0, height - SIDE)
    pieces, seed = whole(canvas, "pieces", 0, MAX_PIECES), whole(canvas, "seed", 0, 2**31)
    scene = np.zeros((1, *network.image_shape), np.uint8)
    if pieces:
        split = network.test_images()
        ranges = pieces * clutter_ranges(len(split.rows), split.split.image_shape, width)
        add_clutter(scene, split.images, split.rows, portable_integers(ranges, 1, "demo/clutter", seed))
    add_saturating(scene, drawn[None], np.array([y]), np.array([x]))
    return scene[0]


def read(network: Network, data: object) -> np.ndarray:
    """Read an image (C, H, W) from the content of a file in base64, with the channels that the network sees.

    Raises:
        Refusal: it is too large, or no image.
    """
    if not isinstance(data, str):
        raise Refusal("request", what="data")
    if len(data) > MAX_BYTES * 4 // 3 + 4:
        raise Refusal("too_large", megabytes=MAX_BYTES // 2**20)
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal("request", what="data") from None
    try:
        height, width = images.size(content)
        if height * width > MAX_PIXELS:
            raise Refusal("too_many_pixels", pixels=f"{width}x{height}", most=f"{MAX_PIXELS:,}")
        return images.read(content, network.image_shape[0], LONGEST, network.conversion)
    except BadImage as error:
        raise Refusal("no_image", reason=str(error)) from None
