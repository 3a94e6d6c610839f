"""Compute the maps of a ConvGlimpseNetwork, and their gradients, as products of matrices: twice as fast as conv2d.

Pixels are rows here: (B*g*g, channels). The 3x3 neighborhoods of all pixels are gathered as rows (B*g*g, 9*channels),
nine pixels one after the other, and a convolution is their product with a matrix (9*channels, filters).

Letters in shape comments as in modules.py; E and F are the filters of conv1 and conv2, and r = ceil(g / STRIDE) is the
side of the maps of conv2.
"""

from __future__ import annotations

import math
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
    return sensor.fc1.weight.shape[0] == sensor.conv2.weight.shape[0] * side(sensor) ** 2


def side(sensor: ConvGlimpseNetwork) -> int:
    """Return the side r of the maps of conv2."""
    return math.ceil(sensor.retina.g / sensor.STRIDE)


def matrices(sensor: ConvGlimpseNetwork) -> Matrices:
    """Arrange the weights of a glimpse network for pixels as rows."""

    def of_filters(weight):  # (filters, channels, 3, 3) to (9*channels, filters)
        return weight.transpose([2, 3, 1, 0]).reshape([-1, weight.shape[0]])

    conv1, conv2, fc1, r = sensor.conv1, sensor.conv2, sensor.fc1.weight, side(sensor)
    by_pixel = fc1.reshape([-1, r * r, fc1.shape[1]]).transpose([1, 0, 2]).reshape(fc1.shape)
    return Matrices(by_pixel, of_filters(conv1.weight), conv1.bias, of_filters(conv2.weight), conv2.bias)


class Neighborhoods:
    """The 3x3 neighborhoods of pixels of B patches of g x g pixels; what lies outside of a patch is zero.

    Args:
        B, g: number of patches and their side.
        stride: there is one neighborhood for every pixel whose row and column this divides: r*r in a patch.
    """

    def __init__(self, B: int, g: int, stride: int):
        pixels = B * g * g
        dtype = "int32" if 9 * pixels < 2**31 else "int64"
        rows = np.full((B, g + 2, g + 2), pixels, dtype)  # a row behind all others, of zeros, stands for outside
        rows[:, 1:-1, 1:-1] = np.arange(pixels).reshape(B, g, g)
        near = [rows[:, y : y + g : stride, x : x + g : stride].ravel() for y in range(3) for x in range(3)]
        self.count = count = len(near[0])  # B*r*r
        self.near = paddle.to_tensor(np.stack(near, axis=1).ravel())
        # Backward: a pixel is neighbor i of neighborhood n at place 9*n + i, and at place 9*count, a zero, of none.
        places = np.full((9, pixels + 1), 9 * count, dtype)
        for i in range(9):
            places[i, near[i]] = 9 * np.arange(count, dtype=dtype) + i
        places = np.sort(places[:, :-1], axis=0)  # those of none last: with a stride of 2, at most 4 are others
        self.places = [paddle.to_tensor(place) for place in places if place.min() < 9 * count]

    def gather(self, pixels: paddle.Tensor) -> paddle.Tensor:
        """Gather the neighborhoods (B*r*r, 9*C) of pixels (B*g*g, C)."""
        return paddle.gather(with_zeros(pixels), self.near).reshape([self.count, -1])

    def gradient(self, doutput: paddle.Tensor, matrix: paddle.Tensor) -> paddle.Tensor:
        """Compute the gradient (B*g*g, C) of pixels from that of the product (B*r*r, F) of neighborhoods and matrix."""
        dnear = paddle.matmul(with_zeros(doutput), matrix, transpose_y=True)  # (B*r*r + 1, 9*C)
        dnear = dnear.reshape([-1, matrix.shape[0] // 9])  # a row for each neighbor of each pixel
        dpixels = paddle.gather(dnear, self.places[0])
        for place in self.places[1:]:
            dpixels = dpixels + paddle.gather(dnear, place)
        return dpixels


def with_zeros(rows: paddle.Tensor) -> paddle.Tensor:
    """Append a row of zeros."""
    return paddle.concat([rows, paddle.zeros([1, rows.shape[1]], rows.dtype)])


neighborhoods = lru_cache(maxsize=8)(Neighborhoods)  # few shapes occur


def pixels_of(phi: paddle.Tensor, g: int) -> paddle.Tensor:
    """Turn glimpses (B, k*C*g*g) into pixels (B*g*g, k*C)."""
    B, size = phi.shape
    return phi.reshape([B, size // g**2, g * g]).transpose([0, 2, 1]).reshape([B * g * g, size // g**2])


def forward(phi: paddle.Tensor, sensor: ConvGlimpseNetwork, weights: Matrices) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Compute the maps of conv1 (B*g*g, E) and those of conv2 (B, r*r*F), both rectified, of glimpses (B, k*C*g*g)."""
    B, g = phi.shape[0], sensor.retina.g
    near = neighborhoods(B, g, 1).gather(pixels_of(phi, g))
    first = F.relu(paddle.matmul(near, weights.conv1) + weights.b_conv1)
    near = neighborhoods(B, g, sensor.STRIDE).gather(first)
    return first, F.relu(paddle.matmul(near, weights.conv2) + weights.b_conv2).reshape([B, -1])


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
    near1, near2 = neighborhoods(B, g, 1), neighborhoods(B, g, sensor.STRIDE)
    for phi_t, first_t, maps_t, dmaps_t in zip(phi, first, maps, dmaps):  # all at once they would not fit the caches
        dsecond = (dmaps_t * active(maps_t)).reshape([near2.count, -1])  # (B*r*r, F)
        dfirst = near2.gradient(dsecond, conv2) * active(first_t)  # (B*g*g, E)
        gradients = []
        for near, pixels, outputs in ((near1, pixels_of(phi_t, g), dfirst), (near2, first_t, dsecond)):
            gradients.append(paddle.matmul(near.gather(pixels), outputs, transpose_x=True))
            gradients.append(column_sums(outputs))
        totals = [total + part for total, part in zip(totals, gradients)] if totals else gradients
    return totals
