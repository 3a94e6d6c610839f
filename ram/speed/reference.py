"""Run the trainer of a checkout of kevinzakka/recurrent-visual-attention on images from memory, order by order:

    python reference.py CHECKOUT THREADS IMAGES.npz FLAG...

A program of its own for ram/speed/against.py, which starts it: it needs Python, PyTorch, NumPy and tqdm, and nothing of
this project, whose modules have the same names as those of the checkout. What the trainer writes goes to the working
directory. An order is a line on the standard input, its answer a JSON object on the standard output.

    steps N    the trainer's own `train_one_epoch` over N batches: {"seconds": ...}
    epoch      one epoch of the trainer's own `train`: {"seconds": ..., "best": validation accuracy in percent so far}
"""

from __future__ import annotations

import json
import os
import sys
import time
import types

NOT_USED = ("tensorboard_logger", "matplotlib", "matplotlib.pyplot", "matplotlib.patches", "PIL")
PIXEL_MEAN, PIXEL_STD = 0.1307, 0.3081  # to which the checkout's data loader normalizes


class Nothing(types.ModuleType):
    """Stand for a module that the checkout imports and a training does not use."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> None:
        return None


class Batches:
    """A data loader over images in memory, in a new random order whenever it is asked.

    Args:
        images: (N, C, H, W) uint8.
        labels: (N,) int64.
        size: images per batch.
    """

    def __init__(self, images, labels, size: int):
        import torch

        self.x = (torch.from_numpy(images).float() / 255 - PIXEL_MEAN) / PIXEL_STD
        self.y, self.size = torch.from_numpy(labels), size
        self.sampler = types.SimpleNamespace(indices=range(len(labels)))
        self.steps: int | None = None  # batches at most

    def __len__(self) -> int:
        return -(-len(self.y) // self.size)

    def __iter__(self):
        import torch

        for rows in torch.randperm(len(self.y)).split(self.size)[: self.steps]:
            yield self.x[rows], self.y[rows]


def make_trainer(checkout: str, threads: int, images: str, flags: list[str]):
    """Import the checkout and build its trainer."""
    import numpy as np
    import torch

    torch.set_num_threads(threads)
    sys.dont_write_bytecode = True  # the checkout stays as it is
    sys.path[0] = checkout  # in place of the folder of this file
    sys.modules.update((name, Nothing(name)) for name in NOT_USED)
    sys.argv = ["main.py", *flags]
    from config import get_config  # the checkout's, as what follows

    config, unknown = get_config()
    if unknown:
        raise ValueError(f"the checkout does not know {' '.join(unknown)}")
    torch.manual_seed(config.random_seed)
    os.makedirs(config.ckpt_dir, exist_ok=True)
    with np.load(images) as arrays:
        loaders = [Batches(arrays[f"{part}_x"], arrays[f"{part}_y"], config.batch_size) for part in ("train", "valid")]
    from trainer import Trainer

    return Trainer(config, loaders)


def obey(trainer, order: str) -> dict:
    """Carry out an order; see the top of the file."""
    began = time.perf_counter()
    if order == "epoch":
        trainer.epochs = trainer.start_epoch + 1
        trainer.train()
        trainer.start_epoch += 1
        return {"seconds": time.perf_counter() - began, "best": trainer.best_valid_acc}
    trainer.train_loader.steps = int(order.split()[1])
    trainer.train_one_epoch(1)
    return {"seconds": time.perf_counter() - began}


def main(checkout: str, threads: str, images: str, *flags: str) -> None:
    """Print what the trainer is, and then an answer to each order."""
    answers, sys.stdout = sys.stdout, open(os.devnull, "w", encoding="utf-8")
    try:
        import torch

        trainer = make_trainer(checkout, int(threads), images, list(flags))
        weights = sum(weight.numel() for weight in trainer.model.parameters())
        print(json.dumps({"torch": torch.__version__, "weights": weights}), file=answers, flush=True)
        sys.stderr = sys.stdout  # its progress bar
        for line in sys.stdin:
            print(json.dumps(obey(trainer, line.strip())), file=answers, flush=True)
    except Exception as error:  # whatever another project raises is told in one line
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
