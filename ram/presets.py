"""Named experiments: `--preset=NAME` sets these defaults, and any flag that is given overrides them."""

from __future__ import annotations

from typing import NamedTuple


class Preset(NamedTuple):
    """What a preset reproduces, and the flags that it sets."""

    about: str
    flags: dict


# What REINFORCE trained in all earlier systems, and what it was paid.
LOCATOR_ALONE = {"reinforce_core": 0.0, "reward": "right"}
CANVAS = {"patch_size": 12, "glimpse_scale": 2, "num_glimpses": 8, "augment_shift": 0}
TRANSLATED = {**CANVAS, "dataset": "translated_mnist", "canvas_size": 60, "num_patches": 3}
CLUTTERED60 = {**CANVAS, "dataset": "cluttered_mnist", "canvas_size": 60, "num_clutter": 4, "num_patches": 3}
CLUTTERED100 = {**CANVAS, "dataset": "cluttered_mnist", "canvas_size": 100, "num_clutter": 8, "num_patches": 4}
# On canvases the image has to be found first, among other things: more memory, a wider eye, and a wider search.
OURS = {
    "core": "lstm",
    "glimpse_hidden": 512,
    "loc_hidden": 64,
    "hidden_size": 192,
    "std": 0.4,
    "std_end": 0.05,
    "epochs": 250,
    **LOCATOR_ALONE,
}
# In clutter, coarse patches have to tell where the digit is: a stronger signal, first seen from near the middle, and
# networks that learn to see not just what the digit is, but where to look.
OURS_IN_CLUTTER = {**OURS, "pixel_std": 0.3, "first_reach": 0.3, "reinforce_core": 0.5, "reward": "probability"}
OURS_60 = {**OURS_IN_CLUTTER, "epochs": 150}
# A garment fills its image and has to be told from its like: many small glimpses, and noise enough that no image is
# seen twice.
FASHION = {
    "dataset": "fashion_mnist",
    "patch_size": 8,
    "num_patches": 3,
    "glimpse_scale": 2,
    "num_glimpses": 12,
    "glimpse_hidden": 512,
    "loc_hidden": 64,
    "std": 0.3,
    "std_end": 0.25,
    "pixel_mean": 0.286,
    "pixel_std": 0.353,
    "label_smoothing": 0.2,
    "augment_flip": True,
    "augment_rotate": 0.0,
    "augment_scale": 0.0,
    "augment_shear": 0.0,
    "epochs": 200,
}
RANDOM = {"policy": "random"}
# What all earlier systems have in common: plain weights, no augmentation, one rollout, a locator trained alone.
OLD = {
    "std": 0.11,
    "std_end": None,
    "core_init": "glorot",
    "ema": 0.0,
    "augment_shift": 0,
    "augment_rotate": 0.0,
    "augment_scale": 0.0,
    "augment_shear": 0.0,
    "M": 1,
    "valid_M": 1,
    **LOCATOR_ALONE,
}
PAPER = {
    **OLD,
    "location_mean": "linear",
    "optimizer": "momentum",
    "nesterov": False,
    "momentum": 0.9,
    "batch_size": 20,
    "init_lr": 0.01,
    "lr_schedule": "linear",
    "epochs": 200,
    "train_patience": 200,
}
KERAS = {
    **PAPER,
    "location_mean": "tanh",
    "num_glimpses": 7,
    "glimpse_scale": 2,
    "min_lr": 1e-5,
    "lr_decay_epochs": 800,
    "epochs": 2000,
}

PRESETS = {
    "mnist": Preset("MNIST, 6 glimpses of 8x8, the default recipe", {}),
    "mnist7": Preset("MNIST, 7 glimpses of 8x8", {"num_glimpses": 7}),
    "translated": Preset("translated MNIST 60x60, 8 glimpses of 12x12 at 3 scales", {**TRANSLATED, **OURS}),
    "cluttered60": Preset(
        "cluttered MNIST 60x60 with 4 pieces, 8 glimpses of 12x12 at 3 scales", {**CLUTTERED60, **OURS_60}
    ),
    "cluttered100": Preset(
        "cluttered MNIST 100x100 with 8 pieces, 8 glimpses of 12x12 at 4 scales", {**CLUTTERED100, **OURS_IN_CLUTTER}
    ),
    "fashion": Preset("Fashion-MNIST, 12 glimpses of 8x8 at 3 scales", FASHION),
    "cluttered60-random": Preset("cluttered60 with random locations", {**CLUTTERED60, **OURS_60, **RANDOM}),
    "cluttered100-random": Preset("cluttered100 with random locations", {**CLUTTERED100, **OURS_IN_CLUTTER, **RANDOM}),
    "paper-mnist": Preset("the paper's model and optimiser on MNIST: SGD, momentum 0.9, batch 20, rate to 0", PAPER),
    "paper-translated": Preset("the same on translated MNIST", {**PAPER, **TRANSLATED}),
    "paper-cluttered60": Preset("the same on cluttered MNIST 60x60", {**PAPER, **CLUTTERED60}),
    "paper-cluttered100": Preset("the same on cluttered MNIST 100x100", {**PAPER, **CLUTTERED100}),
    "keras-mnist": Preset(
        "the Keras version's MNIST run: 7 glimpses, SGD, at most 2,000 epochs",
        {**KERAS, "patch_size": 8, "num_patches": 1, "unit_pixels": 13.0, "train_patience": 100},
    ),
    "keras-translated": Preset(
        "the Keras version's translated MNIST run",
        {**KERAS, **TRANSLATED, "num_glimpses": 7, "unit_pixels": 26.0, "train_patience": 200},
    ),
    "paddle-mnist": Preset(
        "the older Paddle version's run: Adam 3e-4, plateau, std 0.05",
        {
            **OLD,
            "std": 0.05,
            "init_lr": 3e-4,
            "lr_schedule": "plateau",
            "epochs": 200,
            "train_patience": 50,
            "pixel_mean": 0.1307,
            "pixel_std": 0.3081,
            "reinforce_weight": 0.01,
        },
    ),
}
