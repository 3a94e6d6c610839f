"""Compare the fast rollout with that of modules.py and model.py on one batch.

Whoever edits a network sees the edit train: where the two differ, the plain rollout takes over, and a line names the
part. Without this an edit of, say, `GlimpseNetwork.forward` would change nothing, in silence. An edit that changes
nothing yet, as a limit that no unit reaches with fresh weights, is noticed in the epoch at whose start it does.
"""

from __future__ import annotations

import itertools
import math
from typing import Callable

import numpy as np
import paddle

from ram.fast import rollout as fast
from ram.system import processes
from utils import first_line

CHECKED = 16  # rows of an epoch's first batch by which the two are compared
PIXELS = 2**22  # that they have at most, unless one image has more: the plain rollout needs several times their bytes
UNKNOWN = "a network that ram/fast does not know"
TOLERANCE = 1e-3  # of the norm of what is compared: rounding is a hundred times smaller, an edit rarely is


def differing_part(model, x: paddle.Tensor, noise, loss: Callable | None = None) -> str | None:
    """Name the first part in which the fast rollout of a model differs from the plain one; None where it does not.

    The plain rollout takes its glimpses at the locations of the fast one: where a choice is next to the border between
    two pixels, rounding would otherwise lead to different glimpses. A rectified unit within rounding of zero may be
    active in one of the two rollouts alone, and the gradients differ: so a part has to differ along the mirrored paths,
    too. No weight and no gradient is changed.

    Args:
        model: a `RecurrentAttention`.
        x: images (B, C, H, W), uint8 or in [0, 1].
        noise: a `Noise` for them.
        loss: from a `Rollout` to a scalar, whose gradients are compared, too; None: only values are.
    """
    if not fast.supports(model):
        return UNKNOWN
    part = compare(model, x, noise, loss)
    return part and compare(model, x, noise._replace(first=-noise.first, choices=-noise.choices), loss)


def compare(model, x: paddle.Tensor, noise, loss: Callable | None) -> str | None:
    """Name the first part that differs on this batch; see `differing_part`."""
    scene = fast.prepare(model, x)
    led = noise._replace(first=model.first_location(noise))
    with paddle.no_grad():
        try:
            tape = fast.walk(model, scene, led)
        except (AttributeError, TypeError, ValueError) as error:  # layers of other names or shapes, or no bias
            return f"{UNKNOWN} ({first_line(error)})"
        for name, plain, quick in itertools.chain(parts(model, x, led, tape), next_locations(model, x, noise, tape)):
            if not alike(plain, quick):
                return name
    rollouts = [model.plain_rollout(x, noise, paddle.stack(tape.l, axis=1))]
    rollouts.append(type(rollouts[0])(*fast.differentiable(model, tape, led)))
    for field, plain, quick in zip(rollouts[0]._fields, *rollouts):
        if not alike(plain, quick):
            return f"the rollout's {field}"
    if loss:
        names, weights = zip(*model.named_parameters())
        gradients = [paddle.grad(loss(rollout), weights, allow_unused=True) for rollout in rollouts]
        for name, plain, quick in zip(names, *gradients):
            if not alike(plain, quick):
                return f"the gradient of {name}"
    return None


def next_locations(model, x: paddle.Tensor, noise, tape):
    """Yield where the plain rollout goes by itself after the tape's first location, and after all but its last."""
    T = len(tape.l)
    for n in sorted({1, T - 1}) if T > 1 else ():
        walk = model.walk(x, noise, paddle.stack(tape.l[:n], axis=1))
        glimpse = next(itertools.islice(walk, n, None), None)
        yield "RecurrentAttention.walk", glimpse and glimpse.l_t, tape.l[n]


def first_images(x: paddle.Tensor) -> paddle.Tensor:
    """Return the first few of the images (B, C, H, W): what a training is checked by."""
    return x[: max(1, min(CHECKED, PIXELS // math.prod(x.shape[1:])))]


def check_training(models: list, x: paddle.Tensor, noise, loss: Callable) -> None:
    """Train by the plain rollout where the fast one of the first model differs on this batch, and print the part.

    Args:
        models: the trained model, and those that are evaluated in its place.
        x, noise, loss: see `differing_part`.
    """
    if not models[0].samples or not models[0].fast:
        return
    part = differing_part(models[0], x, noise, loss)
    if processes.total(np.array([float(part is not None)])).any():  # all processes go the same way
        train_plainly(models)
        print(f"[*] {part or 'A part'} differs from the fast rollout: the plain one trains")


def train_plainly(models: list) -> None:
    """Let the plain rollout train from now on, also where the training is resumed: the two round differently."""
    for model in models:
        model.fast = False


def parts(model, x: paddle.Tensor, noise, tape):
    """Yield the name of each part of a step, with its plain and its fast output for the same input."""
    sensor, core, locator = model.sensor, model.rnn, model.locator
    x = model.normalize(x)
    before = paddle.zeros([x.shape[0], core.state_size], tape.h[0].dtype)
    for t, (l_t, phi, g_t, h_t) in enumerate(zip(tape.l, tape.phi, tape.g, tape.h)):
        yield "Retina.foveate", sensor.retina.foveate(x, l_t), phi
        yield f"{type(sensor).__name__}.forward", sensor(x, l_t), g_t
        before = core(g_t, before)
        yield f"{type(core).__name__}.forward", before[:, : core.hidden_size], h_t
        if t < len(tape.l) - 1:
            if tape.mu:
                yield "LocationNetwork.mean", locator.mean(h_t), tape.mu[t]
            yield "LocationNetwork.forward", locator(h_t, noise.choices[:, t])[1], tape.l[t + 1]


def alike(plain: paddle.Tensor | None, quick: paddle.Tensor | None) -> bool:
    """Tell whether two tensors are equal but for rounding; a missing gradient counts as zeros.

    Where the plain one is not finite, nothing differs: the loss tells.
    """
    if plain is None or quick is None:
        return all(part is None or not float(part.abs().max()) for part in (plain, quick))
    if plain.shape != quick.shape or not plain.size:
        return plain.shape == quick.shape
    difference, size = float(((plain - quick) ** 2).sum()), float((plain**2).sum())
    return difference <= TOLERANCE**2 * size + 1e-12 or not math.isfinite(size)
