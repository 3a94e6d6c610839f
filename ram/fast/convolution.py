"""Compute the maps of a ConvGlimpseNetwork and their gradients as products of matrices, in half the time of conv2d.

Pixels are rows here: (B*g*g, channels). All windows of 3x3 pixels are gathered as rows (B*(g-2)*(g-2), 9*channels),
nine pixels one after the other, and a convolution is their product with a matrix (9*channels, filters).

Letters in shape comments as in modules.py; E and F are the filters of conv1 and conv2, and q = g - 2 and r = g - 4 are
the sides of their maps.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from modules import ConvGlimpseNetwork
from ram.fast.products import active, column_sums


class Matrices(NamedTuple):
    """The weights of conv1, conv2 and fc1 as matrices for pixels as rows; differentiable."""

    fc1: paddle.Tensor  # (r*r*F, h_g): modules.py flattens map by map, and here it is pixel by pixel
    conv1: paddle.Tensor  # (9*k*C, E)
    b_conv1: paddle.Tensor  # (E,)
    conv2: paddle.Tensor  # (9*E, F)
    b_conv2: paddle.Tensor  # (F,)


def supports(sensor: ConvGlimpseNetwork) -> bool:
    """Tell whether the layers are convolutions of 3x3 pixels whose maps are as large as the class says."""
    convolutions = (sensor.conv1, sensor.conv2)
    if not all(type(layer) is nn.Conv2D and layer.weight.shape[2:] == [3, 3] for layer in convolutions):
        return False
    return sensor.fc1.weight.shape[0] == sensor.conv2.weight.shape[0] * (sensor.retina.g - 4) ** 2


def matrices(sensor: ConvGlimpseNetwork) -> Matrices:
    """Arrange the weights of a glimpse network for pixels as rows."""

    def of_filters(weight):  # (filters, channels, 3, 3) to (9*channels, filters)
        return weight.transpose([2, 3, 1, 0]).reshape([-1, weight.shape[0]])

    conv1, conv2, fc1, r = sensor.conv1, sensor.conv2, sensor.fc1.weight, sensor.retina.g - 4
    by_pixel = fc1.reshape([-1, r * r, fc1.shape[1]]).transpose([1, 0, 2]).reshape(fc1.shape)
    return Matrices(by_pixel, of_filters(conv1.weight), conv1.bias, of_filters(conv2.weight), conv2.bias)


class Windows:
    """The windows of 3x3 pixels in B patches of w x w pixels, (w-2)*(w-2) in each."""

    def __init__(self, B: int, w: int):
        pixels, r = B * w * w, w - 2
        self.count = count = B * r * r
        dtype = "int32" if 9 * pixels < 2**31 else "int64"
        rows = np.arange(pixels, dtype=dtype).reshape(B, w, w)
        inside = [rows[:, y : y + r, x : x + r].ravel() for y in range(3) for x in range(3)]
        self.inside = paddle.to_tensor(np.stack(inside, axis=1).ravel())
        # Backward: a pixel is number i of window n at place 9*n + i, and at place 9*count, a zero, of none.
        places = np.full((9, pixels), 9 * count, dtype)
        for i in range(9):
            places[i, inside[i]] = 9 * np.arange(count, dtype=dtype) + i
        self.places = [paddle.to_tensor(place) for place in places]

    def gather(self, pixels: paddle.Tensor) -> paddle.Tensor:
        """Gather the windows (count, 9*C) of pixels (B*w*w, C)."""
        return paddle.gather(pixels, self.inside).reshape([self.count, -1])

    def gradient(self, doutput: paddle.Tensor, matrix: paddle.Tensor) -> paddle.Tensor:
        """Compute the gradient (B*w*w, C) of pixels from that of the product (count, F) of windows and matrix."""
        dwindows = paddle.matmul(with_zeros(doutput), matrix, transpose_y=True)  # (count + 1, 9*C)
        dwindows = dwindows.reshape([-1, matrix.shape[0] // 9])  # a row for each pixel of each window
        dpixels = paddle.gather(dwindows, self.places[0])
        for place in self.places[1:]:
            dpixels = dpixels + paddle.gather(dwindows, place)
        return dpixels


def with_zeros(rows: paddle.Tensor) -> paddle.Tensor:
    """Append a row of zeros."""
    return paddle.concat([rows, paddle.zeros([1, rows.shape[1]], rows.dtype)])


windows = lru_cache(maxsize=8)(Windows)  # few shapes occur


def pixels_of(phi: paddle.Tensor, g: int) -> paddle.Tensor:
    """Turn glimpses (B, k*C*g*g) into pixels (B*g*g, k*C)."""
    B, size = phi.shape
    return phi.reshape([B, size // g**2, g * g]).transpose([0, 2, 1]).reshape([B * g * g, size // g**2])


def forward(phi: paddle.Tensor, sensor: ConvGlimpseNetwork, weights: Matrices) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Compute the maps of conv1 (B*q*q, E) and those of conv2 (B, r*r*F), both rectified, of glimpses (B, k*C*g*g)."""
    B, g = phi.shape[0], sensor.retina.g
    seen = windows(B, g).gather(pixels_of(phi, g))
    first = F.relu(paddle.matmul(seen, weights.conv1) + weights.b_conv1)
    seen = windows(B, g - 2).gather(first)
    return first, F.relu(paddle.matmul(seen, weights.conv2) + weights.b_conv2).reshape([B, -1])


def backward(
    phi: list, first: list, maps: list, dmaps: list, sensor: ConvGlimpseNetwork, conv2: paddle.Tensor
) -> list[paddle.Tensor]:
    """Compute the gradients of conv1, b_conv1, conv2 and b_conv2, summed over the glimpses.

    Args:
        phi, first, maps: T times what `forward` was given and made of it.
        dmaps: T times the gradient (B, r*r*F) of the maps.
        sensor, conv2: the network, and the matrix of conv2.
    """
    B, g, totals = phi[0].shape[0], sensor.retina.g, []
    windows1, windows2 = windows(B, g), windows(B, g - 2)
    for phi_t, first_t, maps_t, dmaps_t in zip(phi, first, maps, dmaps):  # all at once they would not fit the caches
        dsecond = (dmaps_t * active(maps_t)).reshape([windows2.count, -1])  # (B*r*r, F)
        dfirst = windows2.gradient(dsecond, conv2) * active(first_t)  # (B*q*q, E)
        gradients = []
        for of, pixels, outputs in ((windows1, pixels_of(phi_t, g), dfirst), (windows2, first_t, dsecond)):
            gradients.append(paddle.matmul(of.gather(pixels), outputs, transpose_x=True))
            gradients.append(column_sums(outputs))
        totals = [total + part for total, part in zip(totals, gradients)] if totals else gradients
    return totals
