"""Run a trained model for pictures: over images glimpse by glimpse, and over a whole split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import paddle

from data_loader import CanvasSplit
from model import Noise, RecurrentAttention, draw_noise
from modules import Geometry
from ram.draw.figures import Look
from ram.draw.heat import Heat, image_heat, object_heat
from ram.evaluation import evaluate, evaluation_noise
from utils import generator, to_tensor


class Sight(NamedTuple):
    """The inputs and outputs of a model at one glimpse."""

    location: np.ndarray  # (B, 2) where the glimpse was taken
    seen: np.ndarray  # (B, k, C, g, g) the retina's patches, as pixels in [0, 1]
    h_t: np.ndarray  # (B, D) the core's state
    probabilities: np.ndarray  # (B, classes) if this were the last glimpse
    chosen: np.ndarray | None  # (B, 2) the policy's next location; None after the last glimpse


@paddle.no_grad()
def look(model: RecurrentAttention, images: np.ndarray, noise: Noise, along=None) -> Iterator[Sight]:
    """Look at images glimpse by glimpse.

    Args:
        model: a trained model.
        images: (B, C, H, W) uint8.
        noise: see `Noise`; its shape gives the number of glimpses.
        along: locations (B, n, 2) of the first n glimpses; the policy chooses where the others are taken.
    """
    x, retina = to_tensor(images), model.sensor.retina
    pixels = model.normalize(x)
    for glimpse in model.walk(x, noise, None if along is None else paddle.to_tensor(along, "float32")):
        phi = retina.foveate(pixels, glimpse.l_t).numpy().reshape(len(images), retina.k, -1, retina.g, retina.g)
        yield Sight(
            glimpse.l_t.numpy(),
            np.clip(phi * model.pixel_std + model.pixel_mean, 0, 1),
            glimpse.h_t.numpy(),
            paddle.exp(model.classifier(glimpse.h_t)).numpy(),
            None if glimpse.chosen is None else glimpse.chosen.numpy(),
        )


def look_closely(model, split, indices: np.ndarray, config) -> list[Look]:
    """Collect what the model sees of some images and its answers, in the first rollout of the evaluation."""
    images, labels = split.batch(indices)
    first, choices = evaluation_noise(split, config.num_glimpses, 1, config.locations, config.random_seed)[0]
    noise = Noise(paddle.to_tensor(first[indices]), paddle.to_tensor(choices[indices]))
    with paddle.no_grad():
        locations = model.rollout(paddle.to_tensor(images), noise).locations.numpy()  # (B, T, 2)
    sights = list(look(model, images, noise, along=locations))
    glimpses = np.stack([sight.seen for sight in sights], axis=1)  # (B, T, k, C, g, g)
    probabilities = np.stack([sight.probabilities for sight in sights], axis=1)  # (B, T, classes)
    return [Look(*one) for one in zip(images, labels.tolist(), locations, glimpses, probabilities)]


@paddle.no_grad()
def snapshot(model: RecurrentAttention, split, config) -> dict[str, np.ndarray]:
    """Look at the first N images of a split (at most 9), always with the same noise, as training snapshots do.

    Returns:
        images (N, C, H, W) uint8, labels (N,), locations (N, T, 2), probabilities (N, classes), classes (classes,),
        which are their names, and retina (5,): g, k, s, unit_pixels, or 0 if that is None, and offset.
    """
    images, labels = split.batch(np.arange(min(9, len(split))))
    noise = draw_noise(len(labels), config.num_glimpses, "evaluate/valid", config.random_seed, 0)
    rollout = model.rollout(to_tensor(images), Noise(*map(to_tensor, noise)))
    retina = model.sensor.retina
    return {
        "images": images,
        "labels": labels,
        "locations": rollout.locations.numpy(),
        "probabilities": np.exp(rollout.log_probs.numpy()),
        "classes": np.array(split.classes),
        "retina": np.array([retina.g, retina.k, retina.s, retina.unit_pixels or 0, retina.offset]),
    }


def look_at_all(model, split, config):
    """Evaluate a split as the test does.

    Returns:
        locations (rollouts, N, T, 2) and mean class probabilities (N, classes).
    """
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


def heats(split, locations: np.ndarray, geometry: Geometry) -> list[Heat]:
    """Compute the heat of locations (rollouts, N, T, 2) over the image, and on canvases around the digit, too."""
    shape = split.image_shape[1:]
    flat = locations.reshape(-1, *locations.shape[2:])  # (rollouts * N, T, 2)
    maps = [image_heat(flat, shape, geometry)]
    if isinstance(split, CanvasSplit):
        side = split.split.image_shape[1:]
        middle = split.corners(np.arange(len(split)))[:, ::-1] + np.array(side[::-1]) / 2  # (N, 2) as (x, y)
        uniform = generator("uniform glimpses").uniform(-1, 1, (20, len(split), 2))
        offsets = geometry.positions(locations, shape) - middle[:, None]  # (rollouts, N, T, 2)
        reference = geometry.positions(uniform, shape) - middle  # (20, N, 2)
        maps.append(object_heat(offsets.reshape(flat.shape), reference.reshape(-1, 2), side))
    return maps
