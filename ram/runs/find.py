"""Find the trained weights that the settings describe."""

from __future__ import annotations

import argparse

from config import ARCHITECTURE, DATA, OWN, check_data_flags, get_config
from ram.runs import published, sizes
from ram.runs.files import RunFiles, refuse_links
from ram.runs.origin import origin_in
from ram.runs.settings import adopt, differences, settings
from ram.runs.weights import Trained, read
from utils import UserError, is_there, printable


def find(config: argparse.Namespace) -> Trained:
    """Find the weights that the settings describe: --weights, or the run's own checkpoint, or published weights.

    The own checkpoint is the best one, or with --best=False the latest. Published weights are taken, with a line that
    tells so, where nothing was trained under the name of the run.

    Args:
        config: changed in place: it takes the architecture and the data set of the file.

    Raises:
        UserError: there are no weights, they cannot be used, or a given flag contradicts their settings.
    """
    files, path, are_published = RunFiles(config), config.weights, False
    if not path and not is_there(files.best) and not files.started():
        path = published.stand_in(config)
        are_published = path is not None
    if path and not config.best:
        of = f"{path} is one file" if config.weights else f"nothing was trained as {files.name} in {config.ckpt_dir}"
        raise UserError(f"--best=False takes the latest checkpoint of a run, and {of}: leave it out")
    own = not path
    if own:
        path = own_file(config, files)
    trained = read(path, latest=path == files.latest)
    adopt(config, trained.settings, path, ARCHITECTURE, strict=trained.has_settings)
    adopt(config, trained.settings, path, DATA, strict=are_published)  # a file that is named may be tried on other data
    if config.weights:
        check_data_flags(config)
    if are_published:
        print(f"[*] Nothing was trained as {files.name} in {config.ckpt_dir}: taking the published weights")
    elif config.preset and trained.has_settings:
        preset = get_config([f"--preset={config.preset}", f"--model={config.model}"])
        others = differences(trained.settings, settings(preset))
        if others:
            applies = "; what the file says applies" if config.weights else ""
            print(f"[*] {path} was not trained as --preset={config.preset} trains: {printable(others)}{applies}")
    if origin_in(trained.settings):
        print(f"[*] The training of {path} started from {origin_in(trained.settings)}")
    return trained


def own_file(config: argparse.Namespace, files: RunFiles) -> str:
    """Name the run's own checkpoint that the settings describe.

    Raises:
        UserError: there is no such file.
    """
    path = files.best if config.best else files.last()
    if not is_there(path):
        action = "draw" if hasattr(config, "out") else "test"  # visualize.py alone has --out
        if config.predict:
            action = "predict with"
        elif config.export or config.export_onnx:
            action = "export"
        could_be_published = config.model == "ram" and config.dataset not in OWN and config.num_runs == 1
        hints = [published.offer() if could_be_published else sizes.hint(config)]
        hints = ["train first, or name a file with --weights", *filter(None, hints)]
        raise UserError(f"there is nothing to {action}: {path} does not exist; {'; '.join(hints)}")
    refuse_links([path])
    return path
