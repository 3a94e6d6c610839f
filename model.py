"""Define the Recurrent Attention Model: one step, and the rollout that training, evaluation and pictures all use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import paddle
from paddle import nn

from modules import (
    ActionNetwork,
    BaselineNetwork,
    ConvGlimpseNetwork,
    CoreNetwork,
    GlimpseNetwork,
    LocationNetwork,
    LSTMCore,
)
from ram.fast import rollout as fast
from ram.fast.retina import Scene
from utils import UserError, generator, repeat_rows


class Noise(NamedTuple):
    """All that is random in a batch of rollouts."""

    first: paddle.Tensor  # (B, 2) uniform in [-1, 1]: where the first glimpse is taken
    choices: paddle.Tensor  # (B, T-1, 2) standard normal: the policy's noise at each choice

    @classmethod
    def mean(cls, B: int, T: int) -> Noise:
        """Return zero noise for B rollouts of T glimpses: the first in the middle, then the policy's means."""
        return cls(paddle.zeros([B, 2]), paddle.zeros([B, T - 1, 2]))


class Glimpse(NamedTuple):
    """One step of a walk over a batch of images."""

    l_t: paddle.Tensor  # (B, 2) where the glimpse was taken
    h_t: paddle.Tensor  # (B, D) the core's state after it
    log_pi: paddle.Tensor | None  # (B,) log-density of the choice that follows; None after the last glimpse
    chosen: paddle.Tensor | None  # (B, 2) that choice: where to look next


class Rollout(NamedTuple):
    """What happened while the model looked at a batch of images."""

    locations: paddle.Tensor  # (B, T, 2) where the T glimpses were taken
    log_pi: paddle.Tensor  # (B, T-1) log-density of the T-1 choices of a location
    baselines: paddle.Tensor  # (B, T-1) reward expected at each choice
    log_probs: paddle.Tensor  # (B, classes) after the last glimpse


def draw_noise(count: int, num_glimpses: int, stream: str, *key: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the noise of `count` rollouts as two float32 arrays, (count, 2) and (count, T-1, 2): see `Noise`.

    A pure function of its arguments, and rollout i gets the same numbers whatever `count` is: draw for all images,
    then slice.
    """
    uniform = generator(stream + "/first", *key).random((count, 2), dtype=np.float32) * 2 - 1
    normal = generator(stream + "/choices", *key).standard_normal((count, num_glimpses - 1, 2), dtype=np.float32)
    return uniform, normal


def normalize(x: paddle.Tensor, mean: float, std: float) -> paddle.Tensor:
    """Turn images of any shape, uint8 (taken as x / 255) or float, into (x - mean) / std."""
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
        pixel_mean, pixel_std: pixels in [0, 1] are normalized to (pixel - mean) / std before the retina sees them. The
            default leaves black at zero, which is also what the retina sees outside the image.
        unit_pixels: how many pixels from the middle of the image a location of 1 is; None: at its border.
        crop_offset: pixels that all patches lie further up and left, see `Retina`.
        first_reach: the first glimpse is uniform in [-first_reach, first_reach] on each axis: 1 is anywhere.
        policy: "learned", or "random" (after the first glimpse) or "center" to show what learning is worth.
        core: "relu", the paper's for classification, or "lstm".
        reinforce_core: share of REINFORCE's gradient that core and glimpse network get, see `LocationNetwork`.
        location_mean: the policy's mean is "tanh" of a hidden layer's, or "linear" in h_t, see `LocationNetwork`.
        core_init: how h2h of a rectified core starts: "identity" (Le, Jaitly and Hinton 2015) keeps what was seen,
            "glorot" is drawn like all other weights, and so is that of an LSTM, which has a memory anyway.
        glimpse_network: "fc", the paper's, or "conv", see `ConvGlimpseNetwork`.
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
        crop_offset=0,
        first_reach=1.0,
        policy="learned",
        core="relu",
        reinforce_core=0.0,
        core_init="identity",
        location_mean="tanh",
        glimpse_network="fc",
    ):
        super().__init__()
        self.num_classes = num_classes
        self.pixel_mean, self.pixel_std = pixel_mean, pixel_std
        self.sensor = {"fc": GlimpseNetwork, "conv": ConvGlimpseNetwork}[glimpse_network](h_g, h_l, g, k, s, c)
        self.sensor.retina.unit_pixels, self.sensor.retina.offset = unit_pixels, crop_offset
        self.rnn = {"relu": CoreNetwork, "lstm": LSTMCore}[core](h_g + h_l, hidden_size)
        self.locator = LocationNetwork(hidden_size, 2, std, reinforce_core, location_mean)
        self.locator.policy = policy
        self.first_reach = first_reach
        self.classifier = ActionNetwork(hidden_size, num_classes)
        self.baseliner = BaselineNetwork(hidden_size, 1)
        self.core_init = core_init
        self.fast = True  # False: every rollout is the plain one
        self.fast_retina = None  # made by ram.fast when it is needed first

    def initialize(self, seed: int) -> None:
        """Draw all weights from the seed; with core_init="identity", a rectified core's h2h is the identity (D, D)."""
        draw_weights(self, seed)
        if self.core_init == "identity" and isinstance(self.rnn, CoreNetwork):
            if self.rnn.h2h.weight.shape != 2 * [self.rnn.hidden_size]:
                raise UserError(
                    "h2h of this core is not square and cannot start as the identity: give --core_init=glorot"
                )
            self.rnn.h2h.weight.set_value(np.eye(self.rnn.hidden_size, dtype="float32"))

    def set_std(self, std: float) -> None:
        """Set the policy's standard deviation, which changes in the course of a training."""
        self.locator.std = std

    def normalize(self, x: paddle.Tensor) -> paddle.Tensor:
        """Turn images (B, C, H, W), uint8 (taken as x / 255) or in [0, 1], into the numbers that the retina reads."""
        return normalize(x, self.pixel_mean, self.pixel_std)

    def step(self, x: paddle.Tensor, l_t_prev: paddle.Tensor, state: paddle.Tensor) -> paddle.Tensor:
        """Take one glimpse of normalized images x at l_t_prev (B, 2), and update the core's state with it.

        The state's first D numbers are h_t.
        """
        return self.rnn(self.sensor(x, l_t_prev), state)

    def walk(self, x: paddle.Tensor, noise: Noise, along: paddle.Tensor | None = None) -> Iterator[Glimpse]:
        """Take T glimpses of each image, one after the other, as in the paper (section 3.1, figure 1C).

        Nothing is chosen after the last glimpse: such a location would be used by nobody, and its log-density would
        enter the loss as pure noise.

        Args:
            x: images (B, C, H, W), uint8 or in [0, 1].
            noise: see `Noise`; its shape gives the number of glimpses.
            along: (B, n, 2), n from 1 to T: the first n glimpses are taken there, whatever is chosen.
        """
        x, T = self.normalize(x), noise.choices.shape[1] + 1
        led = 0 if along is None else along.shape[1]
        l_t = self.first_location(noise) if led == 0 else along[:, 0]  # (B, 2)
        state = paddle.zeros_like(l_t[:, :1]).tile([1, self.rnn.state_size])  # like l_t: a traced batch has no number B
        for t in range(T):
            state = self.step(x, l_t, state)
            h_t = state[:, : self.rnn.hidden_size]  # (B, D)
            if t == T - 1:
                yield Glimpse(l_t, h_t, None, None)
                return
            log_pi, chosen = self.locator(h_t, noise.choices[:, t])  # (B,), (B, 2)
            yield Glimpse(l_t, h_t, log_pi, chosen)
            l_t = along[:, t + 1] if t + 1 < led else chosen

    def first_location(self, noise: Noise) -> paddle.Tensor:
        """Return where the first glimpse is taken (B, 2): uniform within `first_reach` of the middle.

        Random locations start as the learned ones do, so that the two differ in nothing but what is chosen.
        """
        reach = 0.0 if self.locator.policy == "center" else self.first_reach
        return noise.first if reach == 1 else noise.first * reach

    def plain_rollout(self, x: paddle.Tensor, noise: Noise, along: paddle.Tensor | None = None) -> Rollout:
        """Compute the rollout step by step, as in the paper; arguments as for `walk`."""
        glimpses = list(self.walk(x, noise, along))
        before = glimpses[:-1]  # those after which a location was chosen
        nothing = glimpses[0].l_t[:, :0]  # (B, 0)
        return Rollout(
            paddle.stack([glimpse.l_t for glimpse in glimpses], axis=1),
            paddle.stack([glimpse.log_pi for glimpse in before], axis=1) if before else nothing,
            paddle.concat([self.baseliner(glimpse.h_t) for glimpse in before], axis=1) if before else nothing,
            self.classifier(glimpses[-1].h_t),
        )

    def prepare(self, x: paddle.Tensor) -> paddle.Tensor | Scene:
        """Make images (B, C, H, W) ready for several rollouts, where the fast one can use that."""
        return fast.prepare(self, x) if self.fast and fast.supports(self) else x

    def rollout(self, x: paddle.Tensor | Scene, noise: Noise) -> Rollout:
        """Look at each image T times and classify it: `plain_rollout`, or the same numbers sooner.

        Args:
            x: images (B, C, H, W), uint8 (taken as x / 255) or in [0, 1], or what `prepare` made of them.
            noise: see `Noise`; its shape gives the number of glimpses. With B*n rows, each image is looked at along n
                paths, the consecutive rows of all that is returned.
        """
        x = self.prepare(x) if isinstance(x, paddle.Tensor) else x
        if isinstance(x, Scene):
            return Rollout(*fast.rollout(self, x, noise._replace(first=self.first_location(noise))))
        paths = noise.first.shape[0] // x.shape[0] if paddle.in_dynamic_mode() else 1  # an export does not know B
        return self.plain_rollout(repeat_rows(x, paths), noise)
