"""The networks that a visitor can choose from, each with its settings and its test images."""

from __future__ import annotations

import os
from argparse import Namespace

from config import CANVASES, get_config
from data_loader import Split, get_test
from demo.replies import Refusal
from model import RecurrentAttention
from ram.build import SIDE, build, complete
from ram.data import kept
from ram.data.sources import DATASETS
from ram.runs import published
from ram.runs.find import find
from ram.runs.weights import Trained
from utils import UserError, printable

OWN = "own"  # the key of the network in --weights


class Network:
    """A trained network, ready to look.

    Attributes:
        name: the preset's, or that of the file.
        config: settings that fit the weights.
        model: in evaluation mode.
        image_shape: (C, H, W) of the images that it sees.
        classes: their names, in the order of the labels.
        conversion: how the pixels of a file become those of its training.
    """

    def __init__(self, name: str, trained: Trained, config: Namespace):
        """Build the model; raises UserError where the weights do not fit, or see the whole image at once."""
        if config.model != "ram":
            raise UserError(f"{trained.path} sees the whole image at once: there are no glimpses to show")
        trained = complete(trained, config)
        self.name, self.config = name, config
        self.image_shape, self.classes = trained.image_shape, trained.classes
        self.model: RecurrentAttention = build(trained, config)
        self.conversion = kept.conversion(trained.data or {})
        self._data, self._split = trained.data or {}, None

    @property
    def on_canvas(self) -> bool:
        """Whether the images are canvases, on which a drawn digit has to be placed."""
        return self.config.dataset in CANVASES and min(self.image_shape[1:]) >= SIDE

    def test_images(self) -> Split:
        """Return the test images, which are read when they are asked for first, from this machine alone.

        Raises:
            Refusal: they are not here, or are not what this network knows.
        """
        if self._split is None:
            name = self.config.source if self.config.dataset in CANVASES else self.config.dataset
            try:
                split = get_test(self.config, self._data, local=True)
            except UserError:
                code = "no_data" if name in DATASETS else "no_own_data"
                raise Refusal(code, name=name, folder=self.config.data_dir) from None
            if split.image_shape != self.image_shape or split.classes != self.classes:
                raise Refusal("other_data", name=name, folder=self.config.data_dir)
            self._split = split
        return self._split

    def about(self) -> dict:
        """Describe the network to the page."""
        config, (channels, height, width) = self.config, self.image_shape
        return {
            "name": self.name,
            "dataset": config.dataset if config.dataset not in CANVASES else config.source,
            "canvas": self.on_canvas,
            "height": height,
            "width": width,
            "channels": channels,
            "clutter": config.num_clutter if config.dataset == "cluttered_mnist" else 0,
            "glimpses": config.num_glimpses,
            "patches": config.num_patches,
            "patch": config.patch_size,
            "policy": config.policy,
            "classes": self.classes,
        }


def load_networks(preset: str | None, weights: str | None, data_dir: str) -> dict[str, Network]:
    """Load all published networks, and the one in a file; the first is the one that the page begins with.

    Args:
        preset: the published network to begin with; together with `weights`, the settings of a file without any.
        weights: a file.
        data_dir: the folder of the data.

    Raises:
        UserError: what was asked for cannot be used. Other published networks that cannot are left out with a line.
    """
    networks: dict[str, Network] = {}
    if weights:
        flags = [f"--preset={preset}"] if preset else []
        networks[OWN] = load(os.path.basename(weights), weights, data_dir, flags)
    first = preset or "mnist"
    for name in sorted(published.names(), key=lambda name: name != first):
        try:
            networks[name] = load(name, published.load(name).path, data_dir)
        except UserError as error:
            if name == first and not weights:
                raise
            print(f"[!] {name} is left out: {error}")
    if not networks:
        raise UserError("there is no network to show: name a file with --weights")
    return networks


def load(name: str, path: str, data_dir: str, flags: list[str] | None = None) -> Network:
    """Load the network in a file; raises UserError if that cannot be used."""
    config = get_config([*(flags or []), f"--weights={path}", f"--data_dir={data_dir}"])
    return Network(printable(name), find(config), config)
