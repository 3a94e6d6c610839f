"""Train faster: glimpses from coordinates, gradients of T steps at once; tests compare them with the plain forms."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.autograd import PyLayer

from catch.game import PADDLE
from ram.fast.products import column_sums
from ram.fast.rollout import LSTMUnit


def count_pixels(ball: np.ndarray, frame: int, paddle_left: np.ndarray, l: np.ndarray, retina, size: int) -> np.ndarray:
    """Count the lit pixels in each cell of each patch: `SummingRetina.foveate` of `screens`, but for its GAIN, undrawn.

    A screen has three lit pixels, so this looks up three cells per patch in place of reading a whole screen.

    Args:
        ball, paddle_left: pixel columns (B,).
        frame: the ball's row.
        l: locations (B, 2) in [-1, 1].
        retina: gives g, k and s.
        size: N, the side of the screen.

    Returns:
        (B, k*g*g) float32.
    """
    g, k, s = retina.g, retina.k, retina.s
    corners = retina.geometry.corners(l, (size, size))  # (B, k, 2)
    counts = np.zeros(len(l) * k * g * g, "float32")
    first = np.arange(len(l)) * (k * g * g)  # of each row's cells
    pixels = [(ball, frame), *((paddle_left + part, size - 1) for part in range(PADDLE))]
    for j in range(k):
        cell = s**j
        for column, row in pixels:
            x, y = column - corners[:, j, 0], row - corners[:, j, 1]  # (B,) within the patch
            inside = (x >= 0) & (x < g * cell) & (y >= 0) & (y < g * cell)
            counts[(first + j * g * g + y // cell * g + x // cell)[inside]] += 1
    return counts.reshape(len(l), -1)


def affine(x: paddle.Tensor, layer: nn.Linear) -> paddle.Tensor:
    """Apply a linear layer to many rows (n, inputs), with fast gradients."""
    return Affine.apply(x, layer.weight, layer.bias)


class Affine(PyLayer):
    """x W + b, where the gradient to b is a product: over thousands of rows several times faster than Paddle's sum."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx, dy):
        x, weight = ctx.saved_tensor()
        dweight = paddle.matmul(x, dy, transpose_x=True)
        dx = None if x.stop_gradient else paddle.matmul(dy, weight, transpose_y=True)
        return dx, dweight, column_sums(dy)


class Recurrence(PyLayer):
    """The T steps of an LSTMCore from a zero state, given what i2h and both biases make of all T inputs.

    Backward, only the recurrence itself goes step by step; the gradient to h2h is one product over all steps.
    """

    @staticmethod
    def forward(ctx, inputs, h2h):
        """Compute the states h_t (T*B, D) from inputs (T, B, 4D) and h2h's weight (D, 4D)."""
        states, kept, c = [], [], None
        for z in inputs.unbind(0):  # (B, 4D)
            z = z + paddle.matmul(states[-1], h2h) if states else z
            h, c, parts = LSTMUnit.forward(z, c)  # (B, D) each
            states.append(h)
            kept.append(parts)
        ctx.states, ctx.kept = states, kept
        ctx.save_for_backward(h2h)
        return paddle.concat(states)

    @staticmethod
    def backward(ctx, dstates):
        """Backpropagate through time."""
        (h2h,) = ctx.saved_tensor()
        T, D = len(ctx.states), h2h.shape[0]
        dstates = dstates.reshape([T, -1, D]).unbind(0)  # T times (B, D)
        dh, dc, dzs = dstates[-1], None, []
        for t in reversed(range(T)):
            dz_t, dc = LSTMUnit.backward(dh, dc, ctx.kept[t])
            dzs.append(dz_t)  # (B, 4D)
            if t:
                dh = paddle.matmul(dz_t, h2h, transpose_y=True) + dstates[t - 1]
        dz = paddle.concat(dzs[::-1])  # (T*B, 4D)
        B = dzs[0].shape[0]
        dh2h = paddle.matmul(paddle.concat(ctx.states[:-1]), dz[B:], transpose_x=True) if T > 1 else h2h * 0
        return dz.reshape([T, B, 4 * D]), dh2h
