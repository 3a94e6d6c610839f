"""Publish a trained player: its weights without the optimizer's state, and a JSON with its results.

python -m catch.publish [the flags of its training] [--force, to replace what is published under this name]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys

from catch.__main__ import PUBLISHED, Files, test
from catch.config import adopt, get_config, settings
from ram.runs import checkpoint
from ram.system.command import command_line
from ram.system.cpu import choose_device
from utils import UserError, make_folder


def publish(config: argparse.Namespace, force: bool = False) -> None:
    """Test the finished training that the settings name, and write its two files.

    Args:
        config: settings that name a training of ckpt_dir.
        force: replace what is published under its name.

    Raises:
        UserError: there is no finished training of this name, or it has other settings or is published already.
    """
    if config.weights or config.watch:
        raise UserError("a training is published from --ckpt_dir: leave out --weights and --watch")
    choose_device(use_gpu=False)
    import paddle

    files = Files(config)
    content = checkpoint.read_latest(files.latest)
    trained = content.get("settings")
    if not isinstance(trained, dict) or type(content.get("step")) is not int:
        raise UserError(f"{files.latest} holds no training of Catch")
    adopt(config, trained, files.latest, list(settings(config)))
    if content["step"] < trained["frames"] // (trained["batch_size"] * trained["size"]):
        raise UserError(f"{files.latest} is no finished training: --resume=True goes on with it")
    path = os.path.join(PUBLISHED, files.name + ".pdparams")
    if os.path.lexists(path) and not force:
        raise UserError(f"{path} is published already; --force replaces it")
    sampled, greedy = test(config)
    make_folder(PUBLISHED)
    kept = {name: content[name] for name in ("settings", "model", "frames")}
    checkpoint.write(path, kept)
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    facts = {
        "caught": {"sampled": sampled.caught, "greedy": greedy.caught},
        "games": greedy.count,
        "distance": round(greedy.distance, 3),
        "late_distance": round(greedy.late_distance, 3),
        "frames": content["frames"],
        "seed": content["settings"]["random_seed"],
        "seconds": round(content["seconds"]),
        "paddle": paddle.__version__,
        "sha256": digest,
    }
    checkpoint.write_json(os.path.splitext(path)[0] + ".json", facts)
    print(f"[*] Published {path}")


if __name__ == "__main__":
    flags = [flag for flag in sys.argv[1:] if flag != "--force"]
    command_line("catch.publish", lambda: publish(get_config(flags), len(flags) < len(sys.argv[1:])))
