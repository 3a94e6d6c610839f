"""Compute the retina of modules.py several times faster, at a price that does not grow with the image.

Letters in shape comments as in modules.py.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import paddle

from modules import Geometry, Retina
from ram.fast.sums import SumReader, sum_cells
from ram.fast.windows import WindowReader, in_units
from utils import to_tensor

# Summing up a whole image is faster than reading the windows of several looks up to this many pixels, and up to this
# many times the area of the widest patch.
SMALL = 128 * 128
PATCHES = 4


def reads_whole(geometry: Geometry, height: int, width: int, dtype: paddle.dtype) -> bool:
    """Tell whether cells are summed up over whole images, before the first look; else each look reads its own pixels.

    Of a large image, most is never looked at. Both ways give the same bits, as long as no sum is rounded: pixels are
    uint8, and a white cell is below 2**24.
    """
    g, k, s = geometry[:3]
    cell = s ** (k - 1)
    return dtype != paddle.uint8 or 255 * cell**2 >= 2**24 or height * width <= max(SMALL, PATCHES * (g * cell) ** 2)


class Scene(NamedTuple):
    """A batch of images made ready for many looks; see `FastRetina.prepare`."""

    shape: tuple[int, int, int, int]  # B, C, H, W
    pixels: list[paddle.Tensor] | paddle.Tensor  # the sums of `sum_cells`, or the images `in_units`
    gain: float  # what a pixel is multiplied with: 1/255 for uint8 images

    @property
    def whole(self) -> bool:
        """Whether cells were summed up over whole images."""
        return isinstance(self.pixels, list)


class FastRetina:
    """Compute what `Retina.foveate` computes, for many looks at the same images.

    Args:
        retina: the plain retina, whose numbers are taken.
        whole: whether cells are summed up over whole images; None: `reads_whole` decides.
    """

    def __init__(self, retina: Retina, whole: bool | None = None):
        self.geometry, self.unit_pixels = retina.geometry, retina.unit_pixels
        self.whole = whole
        self._plans: dict[tuple, Plan] = {}  # by all that they depend on, since few shapes occur

    def matches(self, retina: Retina) -> bool:
        """Tell whether the geometry is still that of the plain retina."""
        return self.geometry == retina.geometry

    def prepare(self, x: paddle.Tensor) -> Scene:
        """Make images (B, C, H, W), uint8 or float, ready.

        Args:
            x: the images, which must not change while they are looked at.
        """
        whole = reads_whole(self.geometry, *x.shape[2:], x.dtype) if self.whole is None else self.whole
        pixels = sum_cells(self.geometry, x) if whole else in_units(x)
        return Scene(tuple(x.shape), pixels, 1 / 255 if x.dtype == paddle.uint8 else 1.0)

    def look(self, scene: Scene, l: paddle.Tensor) -> paddle.Tensor:
        """Compute the glimpses (B*n, k*C*g*g) at n consecutive locations, l (B*n, 2), of each of B images."""
        key = (scene.shape, scene.whole, scene.gain, l.shape[0], l.dtype)
        plan = self._plans.get(key)
        if plan is None:
            plan = Plan.make(self.geometry, *key)
            if len(self._plans) >= 8:
                self._plans.clear()  # several threads may do so at once: each uses its own
            self._plans[key] = plan
        half = plan.half
        center = (l + 1) * half if self.unit_pixels is None else l * self.unit_pixels + half  # (B*n, 2) in pixels
        # Through integers: a location of NaN becomes some place, too. The loss is then NaN, and the training stops.
        center = paddle.floor(center).astype("int32").astype(plan.reader.dtype)
        sums = plan.reader.read(scene.pixels, center).astype(l.dtype)
        return sums if plan.shares is None else sums * plan.shares


class Plan(NamedTuple):
    """What is the same for all looks at images of one shape."""

    reader: SumReader | WindowReader
    half: paddle.Tensor  # (B*n, 2) W/2 and H/2: equal shapes are multiplied faster than a row with each row
    shares: paddle.Tensor | None  # (B*n, k*C*g*g) what the cells' sums are multiplied with; None: with 1

    @classmethod
    def make(cls, geometry: Geometry, shape, whole: bool, gain: float, rows: int, dtype) -> Plan:
        """Make the plan for `rows` locations of type dtype in a scene."""
        (B, C, H, W), (g, k, s) = shape, geometry[:3]

        def for_each_row(values) -> paddle.Tensor:
            return to_tensor(np.tile(np.array(values), (rows, 1))).astype(dtype)

        shares = np.repeat([gain / (s**j) ** 2 for j in range(k)], C * g * g)
        return cls(
            (SumReader if whole else WindowReader)(geometry, shape, rows // B),
            for_each_row([W / 2, H / 2]),
            None if (shares == 1).all() else for_each_row(shares),
        )
