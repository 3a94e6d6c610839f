"""Compute the retina of modules.py several times faster: sum up cells of pixels once, and read the sums in each look.

Letters in shape comments as in modules.py.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import paddle

from modules import FAR, Retina


class Layout(NamedTuple):
    """Where a retina reads in B images of one shape; see `FastRetina.prepare`."""

    half: paddle.Tensor  # (B, 2) W/2 and H/2
    spread: paddle.Tensor  # (2, 2*g) repeats x and y g times
    steps: list[paddle.Tensor]  # per patch (B, 2*g) from the center to the first column, then row, of its cells
    ends: paddle.Tensor  # (B, 2*g) W and H: the first column, then row, behind the image
    select: paddle.Tensor  # (2*g, C*g*g) makes positions in an image out of columns and rows
    starts: paddle.Tensor  # (B, C*g*g) integers: the position of each image's first pixel


class Scene(NamedTuple):
    """A batch of images made ready for many looks; see `FastRetina.prepare`."""

    shape: tuple[int, int, int, int]  # B, C, H, W
    sums: list[paddle.Tensor]  # per patch, flat: the sum of the pixels in the cell that starts here
    layout: Layout
    gain: float  # what a pixel is multiplied with: 1/255 for uint8 images


class FastRetina:
    """Compute what `Retina.foveate` computes, for many looks at the same images.

    Args:
        retina: the plain retina, whose numbers are taken.
    """

    def __init__(self, retina: Retina):
        self.g, self.k, self.s, self.unit_pixels, self.offset = self.geometry = retina.geometry
        self._layouts: dict[tuple, Layout] = {}  # by shape of the batch, since few shapes occur

    def matches(self, retina: Retina) -> bool:
        """Tell whether the geometry is still that of the plain retina."""
        return self.geometry == retina.geometry

    def prepare(self, x: paddle.Tensor) -> Scene:
        """Surround images (B, C, H, W), uint8 or float, with zeros, and sum up cells of pixels.

        A cell of patch j is s**j pixels wide and high. Its sum is kept for every place where it may start, so that a
        look reads g*g numbers per patch and channel however wide the patch is.

        With b = s**(k-1), an image is b rows of zeros and then its own rows, each led by b+1 zeros. One image follows
        the other: what leaves a row to the right runs into the next row's zeros, what leaves an image below into the
        next image's. So a sum over neighbors is the whole flat array plus itself, shifted.
        """
        B, C, H, W = x.shape
        border = self.s ** (self.k - 1)
        row = W + border + 1
        # F.pad would do the same, ten times slower on the CPU.
        rows = paddle.concat([paddle.zeros([B * C * H, border + 1], x.dtype), x.reshape([B * C * H, W])], axis=1)
        images = paddle.concat([paddle.zeros([B * C, border * row], x.dtype), rows.reshape([B * C, H * row])], axis=1)
        flat = paddle.concat([images.flatten(), paddle.zeros([border * (row + 1)], x.dtype)])
        gain = 1.0
        if x.dtype == paddle.uint8:
            flat, gain = flat.astype("float32"), 1 / 255
        sums = [flat]
        for j in range(1, self.k):
            cell = self.s ** (j - 1)  # s of these in a row, then s such rows
            sums.append(shifted_sum(shifted_sum(sums[-1], cell, self.s), cell * row, self.s))
        return Scene((B, C, H, W), sums, self._layout((B, C, H, W)), gain)

    def _layout(self, shape: tuple[int, int, int, int]) -> Layout:
        layout = self._layouts.get(shape)
        if layout is None:
            layout = self._make_layout(*shape)
            if len(self._layouts) >= 8:
                self._layouts.clear()  # several threads may do so at once: each returns its own
            self._layouts[shape] = layout
        return layout

    def _make_layout(self, B: int, C: int, H: int, W: int) -> Layout:
        g, border = self.g, self.s ** (self.k - 1)
        row, image = W + border + 1, (H + border) * (W + border + 1)
        # Products find the positions; they are exact in float32 up to here, also where a GPU shortens the factors.
        dtype = "float32" if max(H, W) + border < 2048 else "float64"

        def for_each_image(values, dtype=dtype):  # equal shapes are added much faster than a row to each row
            return paddle.tile(paddle.to_tensor(np.asarray(values, dtype)).unsqueeze(0), [B, 1])

        cells = np.arange(g)
        steps = [np.tile(cells * f - g * f // 2, 2) for f in (self.s**j for j in range(self.k))]
        select = np.zeros((2 * g, C, g, g), dtype)
        select[cells, :, :, cells] = 1  # columns
        select[g + cells, :, cells, :] = row
        positions = np.arange(B * C) * image + border * (row + 1) + 1
        starts = np.repeat(positions, g * g).reshape(B, C * g * g)
        return Layout(
            half=for_each_image([W / 2, H / 2], "float32"),
            spread=paddle.to_tensor(np.repeat(np.eye(2), g, axis=1).astype(dtype)),
            steps=[for_each_image(step) for step in steps],
            ends=for_each_image([W] * g + [H] * g),
            select=paddle.to_tensor(select.reshape(2 * g, -1)),
            starts=paddle.to_tensor(starts.astype("int32" if B * C * image + border * (row + 1) < 2**31 else "int64")),
        )

    def look(self, scene: Scene, l: paddle.Tensor) -> paddle.Tensor:
        """Compute the glimpses (B, k*C*g*g) at locations l (B, 2) of images made ready by `prepare`."""
        layout, B = scene.layout, scene.shape[0]
        half = layout.half.astype(l.dtype)
        center = (l + 1) * half if self.unit_pixels is None else l * self.unit_pixels + half  # (B, 2) in pixels
        center = paddle.floor(center).astype("int64") - self.offset
        # A location of NaN became some integer, like any other: the loss is then NaN, and the training stops.
        center = paddle.clip(center, -FAR, FAR).astype(layout.spread.dtype)
        centers = paddle.matmul(center, layout.spread)  # (B, 2*g)
        patches = []
        for j, (sums, steps) in enumerate(zip(scene.sums, layout.steps)):
            cell = self.s**j
            # A cell that starts at -cell, or at W or H, is the first that has nothing of the image.
            cells = paddle.minimum(paddle.clip(centers + steps, min=-cell), layout.ends)
            position = paddle.matmul(cells, layout.select).astype(layout.starts.dtype) + layout.starts  # (B, C*g*g)
            patch = paddle.gather(sums, position.flatten()).reshape([B, -1]).astype(l.dtype)
            patches.append(patch if scene.gain == cell == 1 else patch * (scene.gain / cell**2))
        return paddle.concat(patches, axis=1) if len(patches) > 1 else patches[0]


def shifted_sum(flat: paddle.Tensor, shift: int, count: int) -> paddle.Tensor:
    """Sum up `count` copies of an array, each shifted by `shift` more than the last, where they all overlap."""
    length = flat.shape[0] - (count - 1) * shift
    total = flat[:length]
    for i in range(1, count):
        total = total + flat[i * shift : i * shift + length]
    return total
