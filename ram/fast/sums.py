"""Read glimpses from sums over cells of pixels that are made of whole images once, before the first look.

Letters in shape comments as in modules.py.
"""

from __future__ import annotations

import functools

import numpy as np
import paddle
import paddle.nn.functional as F

from modules import Geometry


def sum_cells(geometry: Geometry, x: paddle.Tensor) -> list[paddle.Tensor]:
    """Surround images (B, C, H, W), uint8 or float, with zeros, and sum up cells of pixels.

    A cell of patch j is s**j pixels wide and high. Its sum is kept for every place where it may start, so that a
    look reads g*g numbers per patch and channel however wide the patch is.

    With b = s**(k-1), an image is b rows of zeros and then its own rows, each led by b+1 zeros. One image follows
    the other: what leaves a row to the right runs into the next row's zeros, what leaves an image below into the
    next image's. So a sum over neighbors is the whole flat array plus itself, shifted.

    Returns:
        Per patch, flat, int16 or float: the sum of the pixels in the cell that starts here.
    """
    (B, C, H, W), k, s = x.shape, geometry.k, geometry.s
    border = s ** (k - 1)
    row = W + border + 1
    if x.dtype == paddle.uint8:  # a white cell of the widest patch is 255 * border**2
        x = x.astype("int16" if 255 * border**2 < 2**15 and sums_int16() else "float32")
    # One image of zeros follows the last.
    sums = [F.pad(x.reshape([B * C, H, W]), [0, 1, border, 0, border + 1, 0]).flatten()]
    for j in range(1, k):
        cell = s ** (j - 1)  # s of these in a row, then s such rows
        sums.append(shifted_sum(shifted_sum(sums[-1], cell, s), cell * row, s))
    return sums


@functools.cache
def sums_int16() -> bool:
    """Tell whether this version of Paddle has the operations on int16, which take half the memory of float32."""
    try:
        numbers = F.pad(paddle.ones([1, 1, 1], "int16"), [0, 1, 1, 0, 1, 0]).flatten()
        return bool(paddle.gather(numbers + numbers, paddle.to_tensor([3]))[0] == 2)
    except RuntimeError:
        return False


@functools.cache
def tensors_are_arrays() -> bool:
    """Tell whether this version of Paddle shares tensors on the CPU with NumPy."""
    try:
        return bool(np.from_dlpack(paddle.ones([1], "int32")) == 1)
    except (AttributeError, BufferError, RuntimeError, TypeError):
        return False


def shifted_sum(flat: paddle.Tensor, shift: int, count: int) -> paddle.Tensor:
    """Sum up `count` copies of an array, each shifted by `shift` more than the last, where they all overlap."""
    length = flat.shape[0] - (count - 1) * shift
    total = flat[:length]
    for i in range(1, count):
        total = total + flat[i * shift : i * shift + length]
    return total


class SumReader:
    """Read what `sum_cells` made of B images of one shape: one number per pixel of a glimpse.

    Args:
        geometry: that of the retina.
        shape: B, C, H, W.
        looks: how many consecutive rows of locations belong to each image: n.
    """

    def __init__(self, geometry: Geometry, shape: tuple[int, int, int, int], looks: int):
        B, C, H, W = shape
        g, k, s = geometry[:3]
        border = s ** (k - 1)
        row, image = W + border + 1, (H + border) * (W + border + 1)
        # Products find the positions; they are exact in float32 up to here, also where a GPU shortens the factors.
        self.dtype = dtype = "float32" if max(H, W) + border < 2048 else "float64"

        cells = np.arange(g)
        steps = [np.tile(cells * f - g * f // 2 - geometry.offset, 2) for f in (s**j for j in range(k))]
        select = np.zeros((2 * g, C, g, g), dtype)
        select[cells, :, :, cells] = 1  # columns
        select[g + cells, :, cells, :] = row
        positions = np.arange(B * C) * image + border * (row + 1) + 1  # of the first pixel of each image
        starts = np.repeat(np.repeat(positions, g * g).reshape(B, C * g * g), looks, axis=0)  # (B*n, C*g*g)

        def for_each_look(values):  # equal shapes are added much faster than a row to each row
            return paddle.to_tensor(np.repeat(np.asarray(values, dtype), B * looks, axis=0))

        self.spread = paddle.to_tensor(np.repeat(np.eye(2), g, axis=1).astype(dtype))  # (2, 2*g) repeats x and y
        self.steps = for_each_look(steps)  # (k*B*n, 2*g): from the center to the cells of each patch
        # A cell that starts at -cell, or at W or H, is the first that has nothing of the image.
        self.before = for_each_look([[-(s**j)] * 2 * g for j in range(k)])
        self.behind = for_each_look(k * [[W] * g + [H] * g])
        self.select = paddle.to_tensor(select.reshape(2 * g, -1))  # (2*g, C*g*g): positions of columns and rows
        integers = "int32" if (B * C + 1) * image < 2**31 else "int64"
        self.starts = paddle.to_tensor(np.tile(starts, (k, 1)).astype(integers))  # (k*B*n, C*g*g)

    def read(self, sums: list[paddle.Tensor], center: paddle.Tensor) -> paddle.Tensor:
        """Read the sums (B*n, k*C*g*g) of all cells of the glimpses around pixels `center` (B*n, 2), x and y."""
        k, rows = len(sums), center.shape[0]
        center = paddle.concat([center] * k) if k > 1 else center  # (k*B*n, 2)
        cells = paddle.matmul(center, self.spread) + self.steps  # (k*B*n, 2*g)
        cells = paddle.minimum(paddle.maximum(cells, self.before), self.behind)
        positions = (paddle.matmul(cells, self.select).astype(self.starts.dtype) + self.starts).flatten()
        if k == 1:
            return paddle.gather(sums[0], positions).reshape([rows, -1])
        positions = positions.reshape([k, rows, -1])
        if positions.place.is_cpu_place() and tensors_are_arrays():  # NumPy gathers three times faster
            patches = zip(map(np.from_dlpack, sums), np.from_dlpack(positions))
            patches = [flat.take(at, mode="wrap") for flat, at in patches]  # "wrap" alone checks no position
            return paddle.utils.dlpack.from_dlpack(np.concatenate(patches, axis=1).__dlpack__())
        patches = zip(sums, positions.unbind(0))
        return paddle.concat([paddle.gather(flat, at.flatten()).reshape([rows, -1]) for flat, at in patches], axis=1)
