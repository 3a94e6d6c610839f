"""What a trained model sees and believes: single images glimpse by glimpse, and a whole split at once."""

from __future__ import annotations

import numpy as np
import paddle

from data_loader import CanvasSplit
from model import Noise
from modules import Geometry
from ram.draw.figures import Look
from ram.draw.heat import Heat, image_heat, object_heat
from ram.evaluation import evaluate, evaluation_noise
from utils import generator


def states(model, scene, locations):
    """Yield the states h_t (B, D) of a model that looks at given locations (B, T, 2), one after the other."""
    state = paddle.zeros([scene.shape[0], model.rnn.state_size])
    for l_t in locations.unbind(1):
        state = model.step(scene, l_t, state)
        yield state[:, : model.rnn.hidden_size]


def look_closely(model, split, indices: np.ndarray, config) -> list[Look]:
    """Collect what the model sees and believes of some images, in the rollout that evaluation makes first."""
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
