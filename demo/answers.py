"""What the page asks, and what it is answered: the walks of a network over an image, glimpse by glimpse, as JSON.

The server remembers nothing of a visitor: a request says all that the answer depends on.
"""

from __future__ import annotations

import base64
from itertools import islice

import numpy as np

from demo.networks import Network
from demo.replies import Refusal, chosen, positions, reply, whole
from demo.scenes import Scene, make_scene
from model import Noise, draw_noise
from ram.use.looking import Sight, look
from utils import generator, to_tensor

PATHS = 10  # that are laid over each other


def answer(networks: dict[str, Network], request: object) -> dict:
    """Answer a request for a look; see `reply`.

    Args:
        networks: by the keys that a request names them by.
        request: "network" and "seed"; "mode" says who looks: "path" (the policy, with noise of the
            seed), "means" (the policy's means), "paths" (ten with noise), "random" (uniform locations) or "own" (the
            visitor at "points", positions in pixels; then with "go_on" the policy). For the image see `make_scene`.
    """

    def find(request: dict) -> dict:
        network = chosen(networks, request, "network")
        scene = make_scene(network, request)
        walks = walk(network, scene.image, request)
        return {**describe(network, scene, walks), "network": request["network"], "mode": request["mode"]}

    return reply(request, find)


def walk(network: Network, image: np.ndarray, request: dict) -> list[dict]:
    """Walk over an image (C, H, W) as the request asks; raises `Refusal` where it asks for no such walk."""
    mode, seed, T = request.get("mode"), whole(request, "seed", 0, 2**31), network.config.num_glimpses
    if mode == "path":
        return [look_along(network, image, seeded(1, T, seed))]
    if mode == "paths":
        return looks(network, image, seeded(PATHS, T, seed))
    if mode == "means":
        if network.config.policy == "random":
            raise Refusal("no_means")
        return [look_along(network, image, Noise.mean(1, T))]
    if mode == "random":
        anywhere = generator("demo/random", seed).uniform(-1, 1, (1, T, 2))
        return [look_along(network, image, Noise.mean(1, T), anywhere)]
    if mode != "own":
        raise Refusal("request", what="mode")
    shape = image.shape[1:]
    clicked = np.array(positions(request.get("points"), T, shape), np.float32).reshape(-1, 2)
    own = network.model.sensor.retina.geometry.locations(clicked, shape)[None]  # (1, n, 2)
    noise, steps = seeded(1, T, seed), T if request.get("go_on") is True else len(clicked)
    visitor = [look_along(network, image, noise, np.clip(own, -1, 1), steps)] if len(clicked) else []
    return [*visitor, look_along(network, image, noise)]


def seeded(count: int, T: int, seed: int) -> Noise:
    """Make the noise of `count` rollouts of T glimpses; the first of several is the one that is made alone."""
    return Noise(*map(to_tensor, draw_noise(count, T, "demo", seed)))


def look_along(network: Network, image: np.ndarray, noise: Noise, along=None, steps: int | None = None) -> dict:
    """Look once at an image (C, H, W), for so many steps."""
    (found,) = looks(network, image, noise, along, steps)
    return found


def looks(network: Network, image: np.ndarray, noise: Noise, along=None, steps: int | None = None) -> list[dict]:
    """Look at an image (C, H, W) as often as there is noise for, and describe each walk."""
    copies = np.repeat(image[None], noise.first.shape[0], axis=0)  # (B, C, H, W)
    sights = list(islice(look(network.model, copies, noise, along), steps))
    return [describe_walk(network, sights, row, image.shape[1:]) for row in range(len(copies))]


def describe_walk(network: Network, sights: list[Sight], row: int, shape: tuple[int, int]) -> dict:
    """Describe one row of a walk: where the patches lie, what the retina gave, the probabilities, for each glimpse."""
    geometry = network.model.sensor.retina.geometry
    corners = geometry.corners(np.stack([sight.location[row] for sight in sights]), shape)  # (T, k, 2)
    seen = np.stack([sight.seen[row] for sight in sights])  # (T, k, C, g, g)
    probabilities = np.stack([sight.probabilities[row] for sight in sights])  # (T, classes)
    if not np.isfinite(probabilities).all():
        raise Refusal("not_finite")
    return {
        "corners": corners.tolist(),
        "seen": encoded(np.rint(255 * seen).astype(np.uint8)),
        "probabilities": np.round(probabilities.astype(float), 4).tolist(),
    }


def describe(network: Network, scene: Scene, walks: list[dict]) -> dict:
    """Describe an image and the walks over it."""
    channels, height, width = scene.image.shape
    return {
        "image": {"channels": channels, "height": height, "width": width, "pixels": encoded(scene.image)},
        "label": scene.label,
        "number": scene.number,
        "widths": network.model.sensor.retina.geometry.widths().tolist(),
        "walks": walks,
    }


def encoded(array: np.ndarray) -> str:
    """Encode the bytes of an array in base64."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
