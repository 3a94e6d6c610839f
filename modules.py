"""The five networks of the paper and the retina they look through (Mnih et al. 2014, section 3.1 and figure 1).

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

import paddle
import paddle.nn.functional as F
from paddle import nn


class Layout(NamedTuple):
    """Where a retina reads in arrays that hold B images of one shape; see `Retina.prepare`."""

    windows: paddle.Tensor  # (B, C*g*g) where in `Scene.pixels` the patch at each image's top left corner lies
    corners: paddle.Tensor | None  # (B, C*(k-1)*(g+1)**2) where in `Scene.table` the sum of nothing lies
    steps: paddle.Tensor | None  # (B, (k-1)*(g+1)) edges of the pooling cells, relative to the centre of the glimpse
    differences: paddle.Tensor | None  # (g+1, g) a row times this is the differences of neighbours in the row
    shares: paddle.Tensor | None  # (B, (k-1)*C*g*g) what a pixel contributes to the mean of its cell


class Scene(NamedTuple):
    """A batch of images made ready for many looks; see `Retina.prepare`."""

    shape: tuple[int, int, int, int]  # B, C, H, W
    pixels: paddle.Tensor  # images with a border of g zeros, flat
    table: paddle.Tensor | None  # summed-area table of `pixels`, flat; None if there is only the finest patch
    layout: Layout
    gain: float  # what a pixel is multiplied with: 1/255 for uint8 images


class Retina:
    """The bandwidth-limited sensor rho(x, l): k patches around l, each s times wider and coarser than the one before.

    Paper: section 3.1, "glimpse sensor". Patch j is cut w = g * s**j pixels wide. Its top left pixel is
    floor(0.5 * (l + 1) * size) - w // 2 on each axis; what lies outside the image is zero. Then it is mean-pooled to
    g x g. All glimpses of a batch are cut at once.

    Args:
        g: side of the finest patch, in pixels.
        k: number of patches.
        s: factor between the widths of successive patches.
        unit_pixels: how many pixels from the middle of the image a location of 1 is; None: at its border.
    """

    def __init__(self, g: int, k: int, s: int, unit_pixels: float | None = None):
        self.g, self.k, self.s, self.unit_pixels = g, k, s, unit_pixels
        self._layouts: dict[tuple, Layout] = {}  # by shape of the batch: the same few are met again and again

    def foveate(self, x: paddle.Tensor, l: paddle.Tensor) -> paddle.Tensor:
        """Look once.

        Args:
            x: images (B, C, H, W); uint8 (taken as x / 255) or float.
            l: locations (B, 2) as (x, y); beyond [-1, 1] a patch sees less and less of the image, and then only zeros.

        Returns:
            phi (B, k*C*g*g), float: the patches, finest first, each flattened from (C, g, g).
        """
        return self.look(self.prepare(x), l)

    def prepare(self, x: paddle.Tensor) -> Scene:
        """Do once per batch of images what all looks share: surround them with zeros, sum them up, number the pixels.

        The summed-area table holds at (r, c) the sum of all pixels down to row r and up to column c. With it the sum
        over any window takes four reads however wide the window is, and a window that hangs over the border needs
        only its edges clipped. In float32 it is exact for uint8 images of up to 65,793 pixels (sums below 2**24);
        everything else is summed in float64.
        """
        B, C, H, W = x.shape
        g = self.g
        gain = 1 / 255 if x.dtype == paddle.uint8 else 1.0
        images = x.astype("float32") if x.dtype == paddle.uint8 else x
        # Not F.pad: joining with zeros does the same ten times faster on the CPU.
        rows, columns = paddle.zeros([B, C, g, W], images.dtype), paddle.zeros([B, C, H + 2 * g, g], images.dtype)
        padded = paddle.concat([rows, images, rows], axis=2)  # (B, C, H+2g, W)
        padded = paddle.concat([columns, padded, columns], axis=3)  # (B, C, H+2g, W+2g)
        table = None
        if self.k > 1:
            exact = x.dtype == paddle.uint8 and H * W * 255 < 2**24
            table = padded.astype("float32" if exact else "float64").cumsum(2).cumsum(3).flatten()
        return Scene((B, C, H, W), padded.flatten(), table, self._layout((B, C, H, W)), gain)

    def _layout(self, shape: tuple[int, int, int, int]) -> Layout:
        if shape not in self._layouts:
            if len(self._layouts) >= 8:
                self._layouts.clear()
            self._layouts[shape] = self._make_layout(*shape)
        return self._layouts[shape]

    def _make_layout(self, B: int, C: int, H: int, W: int) -> Layout:
        g, plane = self.g, (H + 2 * self.g) * (W + 2 * self.g)  # with the border of g zeros
        windows = grid(B, C * plane, C, plane, g, W + 2 * g, g, 1).reshape([B, -1])
        if self.k == 1:
            return Layout(windows, None, None, None, None)
        widths = [self.s**j for j in range(1, self.k)]
        edges = [cell * f - g * f // 2 for f in widths for cell in range(g + 1)]
        reads = (self.k - 1) * (g + 1) ** 2
        before_first = (g - 1) * (W + 2 * g) + g - 1  # the table's entry with nothing above and nothing to the left
        corners = paddle.tile(grid(B, C * plane, C, plane).unsqueeze(2) + before_first, [1, 1, reads]).reshape([B, -1])
        differences = paddle.eye(g + 1, g).roll(1, 0) - paddle.eye(g + 1, g)
        shares = paddle.to_tensor([f**-2.0 for f in widths], dtype="float32").reshape([1, -1, 1])
        shares = paddle.tile(shares, [B, 1, C * g * g]).reshape([B, -1])
        return Layout(windows, corners, paddle.tile(paddle.to_tensor([edges]), [B, 1]), differences, shares)

    def look(self, scene: Scene, l: paddle.Tensor) -> paddle.Tensor:
        """The glimpses (B, k*C*g*g) at locations l (B, 2) of images made ready by `prepare`."""
        _, _, H, W = scene.shape
        x, y = l.unbind(1)  # (B,) each
        if self.unit_pixels is not None:
            x, y = x * (2 * self.unit_pixels / W), y * (2 * self.unit_pixels / H)
        # The centre, in pixels. NaN becomes some integer, and is clipped like any other: the loss will tell of it.
        x = paddle.floor((x + 1) * (0.5 * W)).astype("int64")
        y = paddle.floor((y + 1) * (0.5 * H)).astype("int64")
        phi = self._fine_patch(scene, x, y)
        if self.k > 1:
            phi = paddle.concat([phi, self._coarse_patches(scene, x, y)], axis=1)
        return phi if scene.gain == 1 else phi * scene.gain

    def _fine_patch(self, scene: Scene, x: paddle.Tensor, y: paddle.Tensor) -> paddle.Tensor:
        """Pixels of the g x g patch around each centre: (B, C*g*g)."""
        B, _, H, W = scene.shape
        to_start = self.g - self.g // 2  # from the centre to the patch's top left corner, in the image with its border
        x = paddle.clip(x + to_start, 0, W + self.g)  # a patch wholly outside lies in the border
        y = paddle.clip(y + to_start, 0, H + self.g)
        start = y * (W + 2 * self.g) + x
        index = scene.layout.windows + start.unsqueeze(1)  # (B, C*g*g)
        return paddle.gather(scene.pixels, index.flatten()).reshape([B, -1])

    def _coarse_patches(self, scene: Scene, x: paddle.Tensor, y: paddle.Tensor) -> paddle.Tensor:
        """Patches 1 to k-1 around each centre, means over cells of s**j x s**j pixels: (B, (k-1)*C*g*g)."""
        B, C, H, W = scene.shape
        g, scales = self.g, self.k - 1
        far = self.g * self.s**scales  # beyond it nothing of the image is seen, and sums could overflow
        x = paddle.clip(x, -far, W + far).unsqueeze(1)
        y = paddle.clip(y, -far, H + far).unsqueeze(1)
        x = paddle.clip(scene.layout.steps + x, 0, W)  # (B, scales*(g+1)): edges of the cells
        y = paddle.clip(scene.layout.steps + y, 0, H) * (W + 2 * g)
        x = paddle.tile(x.reshape([B, 1, scales, 1, g + 1]), [1, C, 1, g + 1, 1])  # (B, C, scales, g+1, g+1)
        y = paddle.tile(y.reshape([B, 1, scales, g + 1, 1]), [1, C, 1, 1, g + 1])
        index = scene.layout.corners + (x + y).reshape([B, -1])
        corner = paddle.gather(scene.table, index.flatten()).reshape([B * C * scales, g + 1, g + 1])
        bands = corner[:, 1:] - corner[:, :-1]  # (B*C*scales, g, g+1)
        cells = paddle.matmul(bands, scene.layout.differences.astype(bands.dtype))  # (B*C*scales, g, g)
        cells = cells.reshape([B, C, scales, g * g]).astype(scene.pixels.dtype)
        cells = cells.transpose([0, 2, 1, 3]) if C > 1 else cells
        return cells.reshape([B, -1]) * scene.layout.shares.astype(cells.dtype)


def grid(*counts_and_strides: int) -> paddle.Tensor:
    """Flat positions of the entries of an array: grid(n0, s0, n1, s1, ...)[i0, i1, ...] = i0*s0 + i1*s1 + ..."""
    counts, strides = counts_and_strides[::2], counts_and_strides[1::2]
    position = paddle.zeros([1] * len(counts), "int64")
    for axis, (count, stride) in enumerate(zip(counts, strides)):
        shape = [1] * len(counts)
        shape[axis] = count
        position = position + (paddle.arange(count) * stride).reshape(shape)
    return position


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

    def forward(self, x: paddle.Tensor | Scene, l_t_prev: paddle.Tensor) -> paddle.Tensor:
        """From images x (B, C, H, W), or their `Scene`, and locations (B, 2) to glimpse features g_t (B, h_g + h_l)."""
        scene = x if isinstance(x, Scene) else self.retina.prepare(x)
        phi = self.retina.look(scene, l_t_prev)  # (B, k*C*g*g)
        what = self.fc3(F.relu(self.fc1(phi)))  # (B, h_g + h_l)
        where = self.fc4(F.relu(self.fc2(l_t_prev)))  # (B, h_g + h_l)
        return F.relu(what + where)


class CoreNetwork(nn.Layer):
    """The core network f_h: what has been seen so far (paper, section 3.1, "internal state").

    h_t = relu(i2h(g_t) + h2h(h_{t-1}))
    """

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.i2h = nn.Linear(input_size, hidden_size)
        self.h2h = nn.Linear(hidden_size, hidden_size)

    def forward(self, g_t: paddle.Tensor, h_t_prev: paddle.Tensor) -> paddle.Tensor:
        """From g_t (B, input_size) and the state before (B, D) to the state h_t (B, D)."""
        return F.relu(self.i2h(g_t) + self.h2h(h_t_prev))


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
        """From h_t (B, D) to log-probabilities (B, output_size)."""
        return F.log_softmax(self.fc(h_t), axis=-1)


class LocationNetwork(nn.Layer):
    """The location network f_l: where to look next, a Gaussian policy of fixed standard deviation (paper, section 4).

    It reads the state but does not shape it: the gradient stops at h_t, so REINFORCE trains this network alone.

    Args:
        input_size: D.
        output_size: 2, for (x, y).
        std: standard deviation of each coordinate, in units of [-1, 1].
    """

    def __init__(self, input_size: int, output_size: int, std: float):
        super().__init__()
        self.std = std
        self.policy = "learned"  # or "random", uniform over the image, or "center": to show what learning is worth
        self.fc = nn.Linear(input_size, max(1, input_size // 2))
        self.fc_lt = nn.Linear(max(1, input_size // 2), output_size)

    def mean(self, h_t: paddle.Tensor) -> paddle.Tensor:
        """The policy's mean mu_t (B, 2), in (-1, 1)."""
        return paddle.tanh(self.fc_lt(F.relu(self.fc(h_t.detach()))))

    @paddle.no_grad()
    def choose(self, h_t: paddle.Tensor, noise: paddle.Tensor) -> paddle.Tensor:
        """Where to look next, before clipping: (B, 2). The choice is data: with a gradient, it would cancel mu's."""
        if self.policy == "random":
            return paddle.erf(noise * math.sqrt(0.5))  # the distribution function makes normal numbers uniform
        if self.policy == "center":
            return paddle.zeros_like(noise)
        return self.mean(h_t) + self.std * noise

    def log_pi(self, h_t: paddle.Tensor, chosen: paddle.Tensor) -> paddle.Tensor:
        """Log-density (B,) of choices (B, 2) in states (B, D), with its gradient to mu; zero if nothing is learned."""
        if self.policy != "learned":
            return paddle.zeros([chosen.shape[0]])
        return self.log_density(self.mean(h_t), chosen)

    def log_density(self, mu: paddle.Tensor, l: paddle.Tensor) -> paddle.Tensor:
        """log N(l; mu, std**2 I), summed over x and y: (..., 2) and (..., 2) to (...)."""
        z = (l - mu) / self.std
        return -0.5 * (z * z).sum(-1) - (2 * math.log(self.std) + math.log(2 * math.pi))

    def forward(self, h_t: paddle.Tensor, noise: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Choose the next location.

        Args:
            h_t: state (B, D).
            noise: standard normal numbers (B, 2); zeros give the policy's mean.

        Returns:
            log_pi (B,): log-density of the choice, with its gradient to mu alone; and l_t (B, 2), clipped to [-1, 1].
            The density is that of the choice before clipping: the clipping is the environment's.
        """
        chosen = self.choose(h_t, noise)
        return self.log_pi(h_t, chosen), paddle.clip(chosen, -1, 1)


class BaselineNetwork(nn.Layer):
    """The baseline b_t: the reward expected in state h_t, which takes variance out of REINFORCE (paper, equation 2).

    The gradient stops at h_t: the regression to the reward trains this network alone.

    Args:
        input_size: D.
        output_size: 1.
    """

    def __init__(self, input_size: int, output_size: int):
        super().__init__()
        self.fc = nn.Linear(input_size, output_size)

    def forward(self, h_t: paddle.Tensor) -> paddle.Tensor:
        """From h_t (B, D) to b_t (B, output_size)."""
        return self.fc(h_t.detach())
