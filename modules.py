"""Define the paper's five networks and the retina that they look through (Mnih et al. 2014, section 3.1, figure 1).

Letters used in every shape comment of the project:

    B   images in a batch                 T   glimpses per image (`num_glimpses`)
    C   channels of an image              g   side of the finest patch in pixels (`patch_size`)
    H W rows and columns of an image      k   patches per glimpse (`num_patches`)
    D   hidden units of the core          s   how much wider each further patch is (`glimpse_scale`)

Locations are (x, y) in [-1, 1]: (-1, -1) is the top left corner of the image, (0, 0) its middle, (1, 1) bottom right.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn


class Geometry(NamedTuple):
    """Where a retina reads, in pixels: the one place that turns locations into pixels, for NumPy arrays.

    Positions are (x, y) in pixels from the top left corner of an image of H x W: (W, H) is its bottom right corner.

    Args:
        g: side of the finest patch, in pixels.
        k: number of patches.
        s: factor between the widths of successive patches.
        unit_pixels: how many pixels from the middle of the image a location of 1 is; None: at its border.
        offset: pixels that all patches lie further up and left; 1 in the older Paddle version, else 0.
    """

    g: int
    k: int
    s: int
    unit_pixels: float | None = None
    offset: int = 0

    def reach(self, shape: tuple[int, int]) -> np.ndarray:
        """Compute the distance (2,) in pixels, along x and y, from the middle of an image (H, W) to a location of 1."""
        H, W = shape
        return np.array([W / 2, H / 2] if self.unit_pixels is None else [self.unit_pixels] * 2, np.float32)

    def positions(self, locations: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Compute the positions (..., 2) of locations (..., 2) in an image (H, W).

        The same operations as in `Retina.centers`, in the same order and precision: next to the border of two pixels,
        another order of them would round to the other pixel.
        """
        H, W = shape
        l, half = np.asarray(locations, np.float32), np.array([W / 2, H / 2], np.float32)
        return (l + np.float32(1)) * half if self.unit_pixels is None else l * np.float32(self.unit_pixels) + half

    def locations(self, positions: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Compute the locations (..., 2) of positions (..., 2) in an image (H, W): the inverse of `positions`."""
        H, W = shape
        return (np.asarray(positions, np.float32) - np.array([W / 2, H / 2], np.float32)) / self.reach(shape)

    def widths(self) -> np.ndarray:
        """Compute the widths (k,) of the patches in pixels."""
        return self.g * self.s ** np.arange(self.k)

    def corners(self, locations: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Compute the first pixel (x, y) that each patch reads: locations (..., 2) to integers (..., k, 2)."""
        centers = np.floor(self.positions(locations, shape)).astype(np.int64)  # (..., 2)
        return centers[..., None, :] - self.widths()[:, None] // 2 - self.offset

    def places(self, locations: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Compute the middle (..., 2) of the finest patch where 0 is the middle of the first pixel, as in `imshow`."""
        return self.corners(locations, shape)[..., 0, :] + (self.g - 1) / 2


FAR = 2**20  # pixels: locations are clipped to this distance; no retina is that wide


class Retina:
    """The bandwidth-limited sensor rho(x, l): k patches around l, each s times wider and coarser than the one before.

    Paper: section 3.1, "glimpse sensor". Patch j is cut w = g * s**j pixels wide, with its top left pixel where
    `Geometry` puts it; what lies outside the image is zero. Then it is averaged to g x g cells.

    Args:
        g: side of the finest patch, in pixels.
        k: number of patches.
        s: factor between the widths of successive patches.
        unit_pixels: how many pixels from the middle of the image a location of 1 is; None: at its border.
        offset: pixels that all patches lie further up and left; 1 in the older Paddle version, else 0.
    """

    def __init__(self, g: int, k: int, s: int, unit_pixels: float | None = None, offset: int = 0):
        self.g, self.k, self.s, self.unit_pixels, self.offset = g, k, s, unit_pixels, offset

    @property
    def geometry(self) -> Geometry:
        """Where the patches lie, for pictures."""
        return Geometry(self.g, self.k, self.s, self.unit_pixels, self.offset)

    def centers(self, l: paddle.Tensor, height: int, width: int) -> paddle.Tensor:
        """Return the pixels (B, 2) in the middle of patches at locations l (B, 2), as integers x and y."""
        half = paddle.to_tensor([width / 2, height / 2], l.dtype)
        center = (l + 1) * half if self.unit_pixels is None else l * self.unit_pixels + half
        # A location of NaN becomes some integer, like any other: the loss is then NaN, and the training stops.
        return paddle.clip(paddle.floor(center).astype("int64") - self.offset, -FAR, FAR)

    def foveate(self, x: paddle.Tensor, l: paddle.Tensor) -> paddle.Tensor:
        """Look once at each image.

        Args:
            x: images (B, C, H, W); uint8 (taken as x / 255) or float.
            l: locations (B, 2) as (x, y); beyond [-1, 1] a patch sees less and less of the image, and then only zeros.

        Returns:
            phi (B, k*C*g*g), float: the patches, finest first, each flattened from (C, g, g).
        """
        B, C, H, W = x.shape
        pixels = (x.astype("float32") / 255 if x.dtype == paddle.uint8 else x).reshape([B, C, H * W])
        center, patches = self.centers(l, H, W), []
        for j in range(self.k):
            w = self.g * self.s**j
            steps = paddle.arange(w) - w // 2
            columns, rows = center[:, :1] + steps, center[:, 1:] + steps  # (B, w) each
            inside = ((rows >= 0) & (rows < H)).unsqueeze(2) & ((columns >= 0) & (columns < W)).unsqueeze(1)
            position = paddle.clip(rows, 0, H - 1).unsqueeze(2) * W + paddle.clip(columns, 0, W - 1).unsqueeze(1)
            position = position.reshape([B, 1, w * w]).expand([B, C, w * w])
            patch = paddle.take_along_axis(pixels, position, axis=2).reshape([B, C, w, w])
            patch = paddle.where(inside.unsqueeze(1), patch, paddle.zeros_like(patch))
            patches.append(F.avg_pool2d(patch, self.s**j).flatten(1))  # (B, C*g*g)
        return paddle.concat(patches, axis=1).astype(l.dtype)


class GlimpseNetwork(nn.Layer):
    """The glimpse network f_g: what is seen and where, as one vector (paper, figure 1B).

        g_t = relu(fc3(relu(fc1(phi))) + fc4(relu(fc2(l))))

    Args:
        h_g: hidden units for "what".
        h_l: hidden units for "where".
        g, k, s: the retina's patch size, number of patches and scale.
        c: channels of the images.
    """

    def __init__(self, h_g: int, h_l: int, g: int, k: int, s: int, c: int):
        super().__init__()
        self.retina = Retina(g, k, s)
        self.fc1 = nn.Linear(k * c * g * g, h_g)
        self.fc2 = nn.Linear(2, h_l)
        self.fc3 = nn.Linear(h_g, h_g + h_l)
        self.fc4 = nn.Linear(h_l, h_g + h_l)

    def forward(self, x: paddle.Tensor, l_t_prev: paddle.Tensor) -> paddle.Tensor:
        """Compute the glimpse features g_t (B, h_g + h_l) of images x (B, C, H, W) at locations (B, 2)."""
        phi = self.retina.foveate(x, l_t_prev)  # (B, k*C*g*g)
        what = self.fc3(F.relu(self.fc1(phi)))  # (B, h_g + h_l)
        where = self.fc4(F.relu(self.fc2(l_t_prev)))  # (B, h_g + h_l)
        return F.relu(what + where)


class ConvGlimpseNetwork(GlimpseNetwork):
    """The glimpse network with two small convolutions before fc1, after DRAM (Ba, Mnih and Kavukcuoglu 2015).

        maps = relu(conv2(relu(conv1(phi))))
        g_t  = relu(fc3(relu(fc1(maps))) + fc4(relu(fc2(l))))

    The k patches of a glimpse, in C channels each, are the channels that conv1 reads. Args as for `GlimpseNetwork`, but
    that g is at least 5.
    """

    FILTERS = 16, 32  # of conv1 and conv2; neither pads, so that each takes a pixel off every side of a patch

    def __init__(self, h_g: int, h_l: int, g: int, k: int, s: int, c: int):
        super().__init__(h_g, h_l, g, k, s, c)
        first, second = self.FILTERS
        self.patches = [-1, k * c, g, g]
        self.conv1 = nn.Conv2D(k * c, first, 3)
        self.conv2 = nn.Conv2D(first, second, 3)
        self.fc1 = nn.Linear(second * (g - 4) ** 2, h_g)

    def forward(self, x: paddle.Tensor, l_t_prev: paddle.Tensor) -> paddle.Tensor:
        """Compute the glimpse features g_t (B, h_g + h_l) of images x (B, C, H, W) at locations (B, 2)."""
        phi = self.retina.foveate(x, l_t_prev).reshape(self.patches)  # (B, k*C, g, g)
        maps = F.relu(self.conv2(F.relu(self.conv1(phi))))  # (B, 32, g-4, g-4)
        what = self.fc3(F.relu(self.fc1(maps.flatten(1))))  # (B, h_g + h_l)
        where = self.fc4(F.relu(self.fc2(l_t_prev)))  # (B, h_g + h_l)
        return F.relu(what + where)


class CoreNetwork(nn.Layer):
    """The core network f_h: what has been seen so far (paper, section 3.1, "internal state").

    h_t = relu(i2h(g_t) + h2h(h_{t-1}))
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size, self.state_size = input_size, hidden_size, hidden_size
        self.i2h = nn.Linear(input_size, hidden_size)
        self.h2h = nn.Linear(hidden_size, hidden_size)

    def forward(self, g_t: paddle.Tensor, state: paddle.Tensor) -> paddle.Tensor:
        """Compute the state h_t (B, D) from g_t (B, input_size) and the state before (B, D), which is h_{t-1}."""
        return F.relu(self.i2h(g_t) + self.h2h(state))


class LSTMCore(nn.Layer):
    """The core network as an LSTM, which the paper uses for its dynamic environments (section 4.2).

    i, f, o, u = i2h(g_t) + h2h(h_{t-1})
    c_t = sigmoid(f + 1) * c_{t-1} + sigmoid(i) * tanh(u)
    h_t = sigmoid(o) * tanh(c_t)

    The 1 keeps the memory open at the start, when all biases are zero. The state is [h_t, c_t].
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size, self.state_size = input_size, hidden_size, 2 * hidden_size
        self.i2h = nn.Linear(input_size, 4 * hidden_size)
        self.h2h = nn.Linear(hidden_size, 4 * hidden_size)

    def forward(self, g_t: paddle.Tensor, state: paddle.Tensor) -> paddle.Tensor:
        """Compute the state (B, 2D), h_t and then c_t, from g_t (B, input_size) and the state before (B, 2D)."""
        h_t, c_t = state.chunk(2, axis=1)  # (B, D) each, of the glimpse before
        i, f, o, u = (self.i2h(g_t) + self.h2h(h_t)).chunk(4, axis=1)
        c_t = F.sigmoid(f + 1) * c_t + F.sigmoid(i) * paddle.tanh(u)
        return paddle.concat([F.sigmoid(o) * paddle.tanh(c_t), c_t], axis=1)


class ActionNetwork(nn.Layer):
    """The action network f_a: a linear softmax classifier on the state (paper, section 3.1, "actions").

    Args:
        input_size: D.
        output_size: classes.
    """

    def __init__(self, input_size: int, output_size: int):
        super().__init__()
        self.fc = nn.Linear(input_size, output_size)

    def forward(self, h_t: paddle.Tensor) -> paddle.Tensor:
        """Compute log-probabilities (B, output_size) from h_t (B, D)."""
        return F.log_softmax(self.fc(h_t), axis=-1)


class LocationNetwork(nn.Layer):
    """The location network f_l: where to look next, a Gaussian policy of given standard deviation (paper, section 4).

    Args:
        input_size: D.
        output_size: 2, for (x, y).
        std: standard deviation of each coordinate, in units of [-1, 1].
        mean: what the policy's mean is of h_t: "tanh" of a hidden layer of D/2 units, or "linear", as in the paper.
        reinforce_core: share of REINFORCE's gradient, from 0 to 1, that goes on through h_t into what made it: in the
            paper's equation 2, theta is all of the network. With 0 this network reads the state, but does not shape it.
    """

    def __init__(self, input_size: int, output_size: int, std: float, reinforce_core: float = 0.0, mean: str = "tanh"):
        super().__init__()
        self.std, self.reinforce_core = std, reinforce_core
        self.policy = "learned"  # or "random", uniform over the image, or "center": to show what learning is worth
        hidden = max(1, input_size // 2)
        self.fc = None if mean == "linear" else nn.Linear(input_size, hidden)
        self.fc_lt = nn.Linear(hidden if self.fc else input_size, output_size)

    def mean(self, h_t: paddle.Tensor) -> paddle.Tensor:
        """Compute the policy's mean mu_t (B, 2), in (-1, 1) unless it is linear."""
        h = h_t.detach()
        if self.reinforce_core:
            h = h + self.reinforce_core * (h_t - h)  # the same numbers, and that share of the gradient
        return paddle.tanh(self.fc_lt(F.relu(self.fc(h)))) if self.fc else self.fc_lt(h)

    @paddle.no_grad()
    def choose(self, h_t: paddle.Tensor, noise: paddle.Tensor) -> paddle.Tensor:
        """Choose where to look next (B, 2), before clipping.

        The choice is data: with a gradient of its own, it would cancel that of mu.
        """
        if self.policy == "random":
            return paddle.erf(noise * math.sqrt(0.5))  # the distribution function makes normal numbers uniform
        if self.policy == "center":
            return paddle.zeros_like(noise)
        return self.mean(h_t) + self.std * noise

    def log_pi(self, h_t: paddle.Tensor, chosen: paddle.Tensor) -> paddle.Tensor:
        """Compute the log-density (B,) of choices (B, 2) in states (B, D), with its gradient to mu.

        Zero where no policy is learned.
        """
        if self.policy != "learned":
            return paddle.zeros_like(chosen[:, 0])
        return self.log_density(self.mean(h_t), chosen)

    def log_density(self, mu: paddle.Tensor, l: paddle.Tensor) -> paddle.Tensor:
        """Compute log N(l; mu, std**2 I), summed over x and y: (..., 2) and (..., 2) to (...)."""
        z = (l - mu) / self.std
        return -0.5 * (z * z).sum(-1) - (2 * math.log(self.std) + math.log(2 * math.pi))

    def forward(self, h_t: paddle.Tensor, noise: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Choose the next location.

        Args:
            h_t: state (B, D).
            noise: standard normal numbers (B, 2); zeros give the policy's mean.

        Returns:
            log_pi (B,): log-density of the choice before clipping, since the clipping is the environment's. Its
            gradient goes to mu, and the share `reinforce_core` of it to h_t, but none goes to the choice.
            l_t (B, 2): the choice, clipped to [-1, 1].
        """
        chosen = self.choose(h_t, noise)
        return self.log_pi(h_t, chosen), paddle.clip(chosen, -1, 1)


class BaselineNetwork(nn.Layer):
    """The baseline b_t: the reward expected in state h_t, which reduces REINFORCE's variance (paper, section 3.2).

    The gradient stops at h_t: the regression to the reward trains this network alone.

    Args:
        input_size: D.
        output_size: 1.
    """

    def __init__(self, input_size: int, output_size: int):
        super().__init__()
        self.fc = nn.Linear(input_size, output_size)

    def forward(self, h_t: paddle.Tensor) -> paddle.Tensor:
        """Compute b_t (B, output_size) from h_t (B, D)."""
        return self.fc(h_t.detach())
