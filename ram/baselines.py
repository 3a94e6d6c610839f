"""Define the paper's baselines, which see the whole image at once (Mnih et al. 2014, section 4.1, tables 1 and 2).

A baseline has the methods of `RecurrentAttention` that training and evaluation use, and its rollout has no choices: so
the hybrid loss is the cross entropy alone, and data, recipe, checkpoints and commands are those of RAM. Shape letters
as in modules.py.
"""

from __future__ import annotations

import paddle
from paddle import nn

from model import Noise, Rollout, draw_weights, normalize
from modules import ActionNetwork
from utils import UserError

FILTERS, KERNEL, STRIDE = 8, 10, 5  # of the convolution
CONV_UNITS, CONV_FEATURES = 256, 8 * 11 * 11  # units on a 60x60 canvas, and the features that they see there


def fully_connected(image_shape: tuple[int, int, int], units: int) -> tuple[nn.Layer, int]:
    """Build two layers of rectified units, "FC, 2 layers (64 / 256 hiddens each)"; return them and their width."""
    C, H, W = image_shape
    layers = [nn.Flatten(), nn.Linear(C * H * W, units), nn.ReLU(), nn.Linear(units, units), nn.ReLU()]
    return nn.Sequential(*layers), units


def convolutional(image_shape: tuple[int, int, int]) -> tuple[nn.Layer, int]:
    """Build "Convolutional, 2 layers": 8 filters of 10x10 at stride 5, and a layer of 256 units, each with a ReLU.

    The paper's larger canvas, 100x100, gets 86 units instead of 256, which keeps the number of weights; here this rule
    holds for every canvas beyond 60x60. Nothing is padded: of 28x28 pixels, the last 3 rows and columns are not seen.
    """
    C, H, W = image_shape
    if min(H, W) < KERNEL:
        raise UserError(f"--model=conv needs images of at least {KERNEL}x{KERNEL} pixels; these have {H}x{W}")
    features = FILTERS * ((H - KERNEL) // STRIDE + 1) * ((W - KERNEL) // STRIDE + 1)
    units = min(CONV_UNITS, max(1, round(CONV_UNITS * CONV_FEATURES / features)))
    convolution = nn.Conv2D(C, FILTERS, KERNEL, stride=STRIDE)
    return nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), nn.Linear(features, units), nn.ReLU()), units


class Baseline(nn.Layer):
    """A feed-forward classifier in RAM's place.

    Args:
        name: "fc64", "fc256" or "conv".
        image_shape: (C, H, W), each side at least 10 pixels for "conv".
        num_classes: classes to tell apart.
        pixel_mean, pixel_std: as for `RecurrentAttention`.
    """

    samples = False  # all rollouts of an image are the same one

    def __init__(self, name: str, image_shape: tuple[int, int, int], num_classes: int, pixel_mean=0.0, pixel_std=1.0):
        super().__init__()
        self.num_classes = num_classes
        self.pixel_mean, self.pixel_std = pixel_mean, pixel_std
        if name == "conv":
            self.hidden, units = convolutional(image_shape)
        else:
            self.hidden, units = fully_connected(image_shape, {"fc64": 64, "fc256": 256}[name])
        self.classifier = ActionNetwork(units, num_classes)

    initialize = draw_weights

    def set_std(self, std: float) -> None:
        """Do nothing: a baseline chooses no location."""

    def prepare(self, x: paddle.Tensor) -> paddle.Tensor:
        """Return images (B, C, H, W) as they are: one rollout needs no preparation."""
        return x

    def rollout(self, x: paddle.Tensor, noise: Noise | None = None) -> Rollout:
        """Classify images x (B, C, H, W), uint8 (taken as x / 255) or float: log_probs (B, classes) and no glimpses."""
        h = self.hidden(normalize(x, self.pixel_mean, self.pixel_std))  # (B, units)
        nothing = paddle.zeros([x.shape[0], 0])
        return Rollout(paddle.zeros([x.shape[0], 0, 2]), nothing, nothing, self.classifier(h))
