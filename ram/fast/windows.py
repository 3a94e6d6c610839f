"""Read glimpses from the images themselves, at a price that does not grow with the images.

Letters in shape comments as in modules.py; w is the width of the widest patch, h and v rows and columns of a window.
"""

from __future__ import annotations

import math

import numpy as np
import paddle

from modules import Geometry


def in_units(x: paddle.Tensor) -> paddle.Tensor:
    """Return the pixels of images (B, C, H, W) uint8 as rows of `unit` bytes, without copying them."""
    return x.reshape([-1, unit(x.shape[3])])


def unit(W: int) -> int:
    """Return how many bytes a row of an image is read by: they divide W, so each row of an image starts with one."""
    return math.gcd(W, 16)


class WindowReader:
    """Read in B images of one shape, uint8 and never copied, the pixels under each glimpse.

    A window of the image, about w pixels wide and high, is copied and becomes float32. Then two products with matrices
    of zeros and ones sum up the cells of all patches, first along the rows and then along the columns:

        sums of patch j = rows_j^T . window . columns_j

    where rows_j[y, i] is 1 if row y of the window belongs to row i of the cells. The window never leaves the image,
    so that a patch that does has cells that no row or column belongs to: they sum to zero. Pixels of uint8 are whole
    numbers and stay below 2**24 when summed, which float32 adds up without rounding, in any order.

    Args:
        geometry, shape, looks: the retina's, (B, C, H, W) and n, as of `sums.SumReader`, in whose place it stands.
    """

    def __init__(self, geometry: Geometry, shape: tuple[int, int, int, int], looks: int):
        B, C, H, W = shape
        g, k, s = geometry[:3]
        self.w = w = g * s ** (k - 1)
        self.before = w // 2 + geometry.offset  # from the first pixel of the widest patch to the center
        size = unit(W)
        units = min(W // size, (w + 2 * size - 2) // size)  # in a row of a window, wherever in a unit the patch starts
        h, v = min(H, w), units * size
        self.sizes = B * looks, C, g, k, h, v
        self.dtype = dtype = "float32" if max(H, W) + w < 2048 else "float64"

        def tensor(values, dtype=dtype):
            return paddle.to_tensor(np.asarray(values, dtype))

        def for_each_image(values, dtype=dtype):  # equal shapes are added much faster than a row to each row
            return tensor(np.tile(np.ravel(values), (B * looks, 1)), dtype)

        self.scale = tensor([[1 / size, 1]])  # of x and y in pixels, to units and rows
        self.ends = tensor([[W // size - units, H - h]])  # where the last window starts
        self.select = tensor(np.repeat([[1], [W // size]], h * C * units, axis=1))  # (2, h*C*units)
        row, channel, image = W // size, H * W // size, C * H * W // size  # units in each
        places = np.arange(h)[:, None, None] * row + np.arange(C)[:, None] * channel + np.arange(units)
        starts = np.repeat(np.arange(B), looks)[:, None] * image + places.ravel()  # (B*n, h*C*units)
        self.starts = tensor(starts, "int32" if B * image < 2**31 else "int64")

        # Row 1 + p: the cells that pixel p of the widest patch belongs to; the first and last row: outside of it.
        cells = np.zeros((k, w + 2, g), "float32")
        for j in range(k):
            first = 1 + w // 2 - g * s**j // 2
            cells[j, first : first + g * s**j] = np.repeat(np.eye(g), s**j, axis=0)
        self.row_cells = tensor(cells.transpose(1, 0, 2).reshape(w + 2, k * g), "float32")
        self.column_cells = tensor(cells.reshape(k * (w + 2), g), "float32")
        # For each row of a window, and for each patch and column, h + k*v places in these two.
        self.spread = tensor([k * v * [1] + h * [0], k * v * [0] + h * [1]])  # (2, k*v + h) repeats x and y
        self.steps = for_each_image([*np.tile(np.arange(v), k), *np.arange(h)]) + 1  # (B*n, k*v + h)
        self.patch_starts = for_each_image([*np.repeat(np.arange(k) * (w + 2), v), *h * [0]], "int32")

    def read(self, pixels: paddle.Tensor, center: paddle.Tensor) -> paddle.Tensor:
        """Read the sums (B*n, k*C*g*g) of all cells of the glimpses around pixels `center` (B*n, 2), x and y."""
        B, C, g, k, h, v = self.sizes  # B*n in place of B
        corner = center - self.before  # (B, 2) first pixel of the widest patch
        first = paddle.minimum(paddle.clip(paddle.floor(corner * self.scale), min=0), self.ends)  # (B, 2) unit and row
        position = paddle.matmul(first, self.select).astype(self.starts.dtype) + self.starts  # (B, h*C*units)
        window = paddle.gather(pixels, position.flatten()).reshape([B, h, C * v]).astype("float32")

        steps = paddle.matmul(first / self.scale - corner, self.spread) + self.steps  # (B, k*v + h)
        steps = paddle.clip(steps, 0, self.w + 1).astype("int32") + self.patch_starts
        columns, rows = steps.split([k * v, h], axis=1)
        rows = paddle.gather(self.row_cells, rows.flatten()).reshape([B, h, k * g])
        columns = paddle.gather(self.column_cells, columns.flatten()).reshape([B * k, v, g])
        bands = paddle.matmul(rows, window, transpose_x=True)  # (B, k*g, C*v)
        sums = paddle.matmul(bands.reshape([B * k, g * C, v]), columns)  # (B*k, g*C, g)
        if C > 1:
            sums = sums.reshape([B, k, g, C, g]).transpose([0, 1, 3, 2, 4])
        return sums.reshape([B, k * C * g * g])
