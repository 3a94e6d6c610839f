"""The Recurrent Attention Model: one step, and the one rollout that training, evaluation and pictures all use."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import paddle
from paddle import nn

from modules import ActionNetwork, BaselineNetwork, CoreNetwork, GlimpseNetwork, LocationNetwork, LSTMCore, Scene
from ram.fast import rollout as fast
from utils import generator


class Noise(NamedTuple):
    """All that is random in a batch of rollouts."""

    first: paddle.Tensor  # (B, 2) uniform in [-1, 1]: where the first glimpse is taken
    choices: paddle.Tensor  # (B, T-1, 2) standard normal: the policy's noise at each choice


class Rollout(NamedTuple):
    """What happened while the model looked at a batch of images."""

    locations: paddle.Tensor  # (B, T, 2) where the T glimpses were taken
    log_pi: paddle.Tensor  # (B, T-1) log-density of the T-1 choices of a location
    baselines: paddle.Tensor  # (B, T-1) reward expected at each choice
    log_probs: paddle.Tensor  # (B, classes) after the last glimpse


def draw_noise(count: int, num_glimpses: int, stream: str, *key: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise for `count` rollouts as two float32 arrays, (count, 2) and (count, T-1, 2): see `Noise`.

    A pure function of its arguments, and rollout i gets the same numbers whatever `count` is: draw for all images,
    then slice.
    """
    uniform = generator(stream + "/first", *key).random((count, 2), dtype=np.float32) * 2 - 1
    normal = generator(stream + "/choices", *key).standard_normal((count, num_glimpses - 1, 2), dtype=np.float32)
    return uniform, normal


def normalise(x: paddle.Tensor, mean: float, std: float) -> paddle.Tensor:
    """Images of any shape, uint8 (taken as x / 255) or float, as (x - mean) / std."""
    x = x.astype("float32") / 255 if x.dtype == paddle.uint8 else x
    return (x - mean) / std


@paddle.no_grad()
def draw_weights(network: nn.Layer, seed: int) -> None:
    """Draw all weights from the seed: Glorot's uniform distribution for matrices, zero for biases."""
    for number, weight in enumerate(network.parameters()):
        if len(weight.shape) == 1:
            weight.set_value(np.zeros(weight.shape, "float32"))
            continue
        limit = np.sqrt(6 / (sum(weight.shape[:2]) * np.prod(weight.shape[2:])))  # a filter: times its area
        values = generator("initialize", seed, number).uniform(-limit, limit, weight.shape)
        weight.set_value(values.astype("float32"))


class RecurrentAttention(nn.Layer):
    """RAM (Mnih et al. 2014, figure 1): sensor, core, locator, classifier and baseliner.

    Args:
        g, k, s: the retina's patch size, number of patches and scale.
        c: channels of the images.
        h_g, h_l: hidden units of the glimpse network for "what" and "where".
        std: standard deviation of the location policy.
        hidden_size: units D of the core.
        num_classes: classes to tell apart.
        pixel_mean, pixel_std: pixels in [0, 1] are normalised to (pixel - mean) / std before the retina sees them. The
            default leaves black at zero, which is also what the retina sees outside the image.
        unit_pixels: how many pixels from the middle of the image a location of 1 is; None: at its border.
        first_reach: the first glimpse is uniform in [-first_reach, first_reach] on each axis: 1 is anywhere.
        policy: "learned", or "random" or "center" to show what learning is worth.
        core: "relu", the paper's for classification, or "lstm".
        reinforce_core: share of REINFORCE's gradient that core and glimpse network get, see `LocationNetwork`.
        location_mean: the policy's mean is "tanh" of a hidden layer's, or "linear" in h_t, see `LocationNetwork`.
        core_init: how h2h of a rectified core starts: "identity" (Le, Jaitly and Hinton 2015) keeps what was seen,
            "glorot" is drawn like all other weights, and so is that of an LSTM, which has a memory anyway.
    """

    samples = True  # rollouts of one image differ, so evaluation averages several

    def __init__(
        self,
        g,
        k,
        s,
        c,
        h_g,
        h_l,
        std,
        hidden_size,
        num_classes,
        pixel_mean=0.0,
        pixel_std=1.0,
        unit_pixels=None,
        first_reach=1.0,
        policy="learned",
        core="relu",
        reinforce_core=0.0,
        core_init="identity",
        location_mean="tanh",
    ):
        super().__init__()
        self.num_classes = num_classes
        self.pixel_mean, self.pixel_std = pixel_mean, pixel_std
        self.fast = True  # False: every rollout is the plain one
        self.sensor = GlimpseNetwork(h_g, h_l, g, k, s, c)
        self.sensor.retina.unit_pixels = unit_pixels
        self.rnn = {"relu": CoreNetwork, "lstm": LSTMCore}[core](h_g + h_l, hidden_size)
        self.locator = LocationNetwork(hidden_size, 2, std, reinforce_core, location_mean)
        self.locator.policy = policy
        self.first_reach = first_reach
        self.classifier = ActionNetwork(hidden_size, num_classes)
        self.baseliner = BaselineNetwork(hidden_size, 1)
        self.core_init = core_init

    def initialize(self, seed: int) -> None:
        """Draw all weights from the seed; with core_init="identity", a rectified core's h2h is the identity (D, D)."""
        draw_weights(self, seed)
        if self.core_init == "identity" and isinstance(self.rnn, CoreNetwork):
            self.rnn.h2h.weight.set_value(np.eye(self.rnn.hidden_size, dtype="float32"))

    def set_std(self, std: float) -> None:
        """Give the policy another standard deviation, as it gets in the course of a training."""
        self.locator.std = std

    def step(self, x, l_t_prev: paddle.Tensor, state: paddle.Tensor) -> paddle.Tensor:
        """Take one glimpse of x at l_t_prev (B, 2) and fold it into the core's state, whose first D numbers are h_t."""
        return self.rnn(self.sensor(x, l_t_prev), state)

    def prepare(self, x: paddle.Tensor) -> Scene:
        """Images (B, C, H, W), uint8 (taken as x / 255) or float, normalised and made ready for many looks."""
        if self.pixel_mean:
            return self.sensor.retina.prepare(normalise(x, self.pixel_mean, self.pixel_std))
        scene = self.sensor.retina.prepare(x)
        return scene._replace(gain=scene.gain / self.pixel_std)  # black stays zero: the retina can divide what it reads

    def rollout(self, x: paddle.Tensor | Scene, noise: Noise) -> Rollout:
        """Look at each image T times and classify it.

        Args:
            x: images as `prepare` takes them, or what it made of them.
            noise: see `Noise`; it also says how many glimpses there are.
        """
        scene = x if isinstance(x, Scene) else self.prepare(x)
        reach = {"learned": self.first_reach, "random": 1.0, "center": 0.0}[self.locator.policy]
        if reach != 1:
            noise = noise._replace(first=noise.first * reach)
        return Rollout(*fast.rollout(self, scene, noise)) if self.fast else self.plain_rollout(scene, noise)

    def plain_rollout(self, x: paddle.Tensor | Scene, noise: Noise) -> Rollout:
        """What `rollout` computes, step by step as the paper tells it; `fast.py` has the same in fewer operations.

        Nothing is chosen after the last glimpse: such a location would be used by nobody, and its log-density would
        enter the loss as pure noise.
        """
        scene = x if isinstance(x, Scene) else self.prepare(x)
        B, D, l_t = scene.shape[0], self.rnn.hidden_size, noise.first  # l_t: (B, 2)
        state = paddle.zeros([B, self.rnn.state_size], l_t.dtype)
        locations, log_pis, baselines = [l_t], [], []
        for t in range(noise.choices.shape[1]):
            state = self.step(scene, l_t, state)
            h_t = state[:, :D]
            b_t = self.baseliner(h_t)  # (B, 1)
            log_pi, l_t = self.locator(h_t, noise.choices[:, t])  # (B,), (B, 2)
            locations.append(l_t)
            log_pis.append(log_pi)
            baselines.append(b_t.squeeze(1))
        h_t = self.step(scene, l_t, state)[:, :D]
        empty = paddle.zeros([B, 0], l_t.dtype)
        return Rollout(
            paddle.stack(locations, axis=1),
            paddle.stack(log_pis, axis=1) if log_pis else empty,
            paddle.stack(baselines, axis=1) if baselines else empty,
            self.classifier(h_t),
        )
