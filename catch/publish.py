"""Publish a trained player: its weights without the optimizer's state, and a JSON with its results.

python -m catch.publish [the flags of its training]
"""

from __future__ import annotations

import argparse
import hashlib
import os

from catch.__main__ import PUBLISHED, Files, test
from catch.config import get_config
from ram.runs import checkpoint
from ram.system.command import command_line
from ram.system.cpu import choose_device
from utils import UserError, make_folder


def publish(config: argparse.Namespace) -> None:
    """Test the finished training that the settings name, and write its two files.

    Raises:
        UserError: there is no finished training of this name.
    """
    choose_device(use_gpu=False)
    import paddle

    files = Files(config)
    content = checkpoint.read_latest(files.latest)
    trained = content["settings"]
    if content["step"] < trained["frames"] // (trained["batch_size"] * trained["size"]):
        raise UserError(f"{files.latest} is no finished training: --resume=True goes on with it")
    sampled, greedy = test(config)
    make_folder(PUBLISHED)
    path = os.path.join(PUBLISHED, files.name + ".pdparams")
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
    command_line("catch.publish", lambda: publish(get_config()))
