"""The player of Catch: the five networks of the paper around an LSTM core (paper, sections 3.1 and 4.2).

Letters in shapes: B games, T frames in which the player looks, N pixels on a side of the screen, D units of the core,
k patches of g x g cells.
"""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from catch.fast import Affine, Recurrence, affine
from modules import ActionNetwork, GlimpseNetwork, LocationNetwork, LSTMCore, Retina
from utils import generator

ACTIONS = 3
GAIN = 6.0  # brightness of a lit pixel, whichever patch sees it


class SummingRetina(Retina):
    """A retina whose cells show the sum of their pixels, times GAIN, in place of their mean.

    A mean would show the ball's single pixel in the coarsest patch with 1/16 of its brightness, and nothing is learned.
    """

    def foveate(self, x: paddle.Tensor, l: paddle.Tensor) -> paddle.Tensor:
        """Look once at each screen (B, 1, N, N) at l (B, 2): phi (B, k*g*g)."""
        phi = super().foveate(x, l).reshape([x.shape[0], self.k, -1])
        area = paddle.to_tensor([[[float(self.s ** (2 * j))] for j in range(self.k)]])  # pixels of a cell
        return (phi * (area * GAIN)).flatten(1)


class Baseline(nn.Layer):
    """The baseline b_t: the reward expected from h_t and from the game's state, which the player does not see.

    A baseline may know whatever does not depend on the choice that it judges: REINFORCE stays unbiased. Knowing where
    the ball will arrive, it sees at once what a single action was worth. It is used in training alone, and its gradient
    stops at h_t.

    Args:
        hidden_size: D.
        truth_size: numbers that describe the game's state, see `game.truth`.
        units: hidden units of each of its two layers.
    """

    def __init__(self, hidden_size: int, truth_size: int, units: int = 128):
        super().__init__()
        self.fc_h = nn.Linear(hidden_size, units)
        self.fc_truth = nn.Linear(truth_size, units)
        self.fc = nn.Linear(units, units)
        self.fc_b = nn.Linear(units, 1)

    def forward(self, h_t: paddle.Tensor, truth: paddle.Tensor) -> paddle.Tensor:
        """Compute b_t (n,) in (0, 1) from h_t (n, D) and truth (n, truth_size)."""
        hidden = F.relu(affine(h_t.detach(), self.fc_h) + affine(truth, self.fc_truth))
        hidden = F.relu(affine(hidden, self.fc))
        return F.sigmoid(self.fc_b(hidden)).squeeze(1)


class Player(nn.Layer):
    """The glimpse network, the LSTM core, and what reads the core's state h_t.

    Args:
        config: see catch/config.py; what `--full_screen` means for the retina is decided there.
    """

    def __init__(self, config):
        super().__init__()
        c = config
        self.sensor = GlimpseNetwork(128, 128, c.patch_size, c.num_patches, c.glimpse_scale, 1)
        self.sensor.retina = SummingRetina(c.patch_size, c.num_patches, c.glimpse_scale)
        self.rnn = LSTMCore(256, c.hidden_size)
        self.actor = ActionNetwork(c.hidden_size, ACTIONS)
        self.locator = LocationNetwork(c.hidden_size, 2, c.std, reinforce_core=1.0, mean="linear")
        self.locator.policy = c.policy
        self.baseliner = Baseline(c.hidden_size, 3 * c.size - 2)

    @paddle.no_grad()
    def initialize(self, seed: int) -> None:
        """Draw all weights from the seed: Glorot's uniform distribution, a tenth of it where choices are made."""
        for number, (name, weight) in enumerate(self.named_parameters()):
            limit = np.sqrt(6 / sum(weight.shape)) if weight.ndim == 2 else 0.0
            limit *= 0.1 if name.startswith(("actor", "locator", "baseliner.fc_b")) else 1
            values = generator("catch initialize", seed, number).uniform(-limit, limit, weight.shape)
            weight.set_value(values.astype("float32"))

    def step(self, phi: paddle.Tensor, l: paddle.Tensor, state: paddle.Tensor) -> paddle.Tensor:
        """Fold one glimpse phi (B, k*g*g), taken at l (B, 2), into the core's state (B, 2D); h_t is its first half."""
        return self.rnn(self.features(phi, l), state)

    def features(self, phi: paddle.Tensor, l: paddle.Tensor) -> paddle.Tensor:
        """Compute g_t (n, 256) of glimpses phi (n, k*g*g) at l (n, 2): `GlimpseNetwork.forward` behind the retina."""
        s = self.sensor
        what = affine(F.relu(affine(phi, s.fc1)), s.fc3)
        where = affine(F.relu(affine(l, s.fc2)), s.fc4)
        return F.relu(what + where)

    def states(self, phi: paddle.Tensor, l: paddle.Tensor, T: int) -> paddle.Tensor:
        """Compute all states h_t (T*B, D) of B games from their glimpses (T*B, k*g*g) and locations (T*B, 2).

        What was seen and where is data here, so this is an ordinary recurrent network: the same numbers as T times
        `step`.
        """
        core = self.rnn
        inputs = Affine.apply(self.features(phi, l), core.i2h.weight, core.i2h.bias + core.h2h.bias)
        return Recurrence.apply(inputs.reshape([T, -1, inputs.shape[1]]), core.h2h.weight)
