"""Compute the retina of modules.py several times faster, at a price that does not grow with the image.

Letters in shape comments as in modules.py.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import paddle

from modules import FAR, Geometry, Retina
from ram.fast.sums import SumReader
from ram.fast.windows import WindowReader
from utils import to_tensor

WHOLE = 4  # times the area of the widest patch: larger images are read by windows


def reads_whole(geometry: Geometry, height: int, width: int, dtype: paddle.dtype) -> bool:
    """Tell whether cells are summed up over whole images, before the first look; else each look reads its own pixels.

    Small images are summed up sooner than several looks read their windows; of large ones, most is never looked at.
    Both give the same bits, as long as no sum is rounded: pixels are uint8, and 255 times those of a cell below 2**24.
    """
    g, k, s = geometry[:3]
    cell = s ** (k - 1)
    return dtype != paddle.uint8 or 255 * cell**2 >= 2**24 or height * width <= WHOLE * (g * cell) ** 2


class Scene(NamedTuple):
    """A batch of images made ready for many looks; see `FastRetina.prepare`."""

    shape: tuple[int, int, int, int]  # B, C, H, W
    pixels: list[paddle.Tensor] | paddle.Tensor  # what the reader's `prepare` made of them
    reader: SumReader | WindowReader
    gain: float  # what a pixel is multiplied with: 1/255 for uint8 images


class FastRetina:
    """Compute what `Retina.foveate` computes, for many looks at the same images.

    Args:
        retina: the plain retina, whose numbers are taken.
    """

    def __init__(self, retina: Retina):
        self.geometry = retina.geometry
        self._kept: dict[tuple, object] = {}  # what is the same for all batches of a shape, since few shapes occur

    def matches(self, retina: Retina) -> bool:
        """Tell whether the geometry is still that of the plain retina."""
        return self.geometry == retina.geometry

    def prepare(self, x: paddle.Tensor, whole: bool | None = None) -> Scene:
        """Make images (B, C, H, W), uint8 or float, ready.

        Args:
            x: the images, which must not change while they are looked at.
            whole: whether cells are summed up over whole images; None: `reads_whole` decides.
        """
        shape = tuple(x.shape)
        whole = reads_whole(self.geometry, *shape[2:], x.dtype) if whole is None else whole
        reader = self._keep((SumReader if whole else WindowReader, shape), lambda kind: kind(self.geometry, shape))
        return Scene(shape, reader.prepare(x), reader, 1 / 255 if x.dtype == paddle.uint8 else 1.0)

    def _keep(self, key: tuple, make):
        kept = self._kept.get(key)
        if kept is None:
            kept = make(*key[:1])
            if len(self._kept) >= 16:
                self._kept.clear()  # several threads may do so at once: each returns its own
            self._kept[key] = kept
        return kept

    def look(self, scene: Scene, l: paddle.Tensor) -> paddle.Tensor:
        """Compute the glimpses (B, k*C*g*g) at locations l (B, 2) of images made ready by `prepare`."""
        half = self._keep(("half", scene.shape, l.dtype), lambda _: self._half(scene.shape, l.dtype))
        unit_pixels = self.geometry.unit_pixels
        center = (l + 1) * half if unit_pixels is None else l * unit_pixels + half  # (B, 2) in pixels
        center = paddle.floor(center).astype("int64") - self.geometry.offset
        # A location of NaN became some integer, like any other: the loss is then NaN, and the training stops.
        center = paddle.clip(center, -FAR, FAR).astype(scene.reader.dtype)
        sums = scene.reader.read(scene.pixels, center).astype(l.dtype)
        if scene.gain == self.geometry.s ** (self.geometry.k - 1) == 1:
            return sums
        key = ("shares", scene.shape, scene.gain, l.dtype)
        return sums * self._keep(key, lambda _: self._shares(scene.shape, scene.gain, l.dtype))

    def _half(self, shape: tuple[int, int, int, int], dtype: paddle.dtype) -> paddle.Tensor:
        """Return W/2 and H/2 for each image (B, 2): equal shapes are multiplied faster than a row with each row."""
        B, _, H, W = shape
        return to_tensor(np.tile(np.array([W / 2, H / 2]), (B, 1))).astype(dtype)

    def _shares(self, shape: tuple[int, int, int, int], gain: float, dtype: paddle.dtype) -> paddle.Tensor:
        """Return what the sums of the cells are multiplied with (B, k*C*g*g): the gain over the pixels of a cell."""
        g, k, s = self.geometry[:3]
        shares = np.repeat([gain / (s**j) ** 2 for j in range(k)], shape[1] * g * g)
        return to_tensor(np.tile(shares, (shape[0], 1))).astype(dtype)
