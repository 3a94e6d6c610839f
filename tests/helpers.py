"""A small data set in MNIST's place, configurations to match, and a way to start main.py on it in another process.

    python tests/helpers.py FOLDER [flags]

runs the main.py of the current checkout, its `__main__` block included, with the files in FOLDER/mnist as MNIST.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np

ROOT = Path(os.environ.get("RAM_CHECKOUT", Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from ram.data.idx import IdxFile, to_idx
from ram.data.sources import DATASETS, DatasetFiles

NAMES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


def long_test(*values):
    """Parameters of a test that takes long: .ci/run tests them, `python -m pytest` alone leaves them out."""
    import pytest

    skipped = pytest.mark.skipif(not os.environ.get("CI"), reason="takes long: .ci/run tests it")
    return [pytest.param(value, marks=skipped) for value in values] if values else skipped


def easy_images(count: int, seed: int, classes: int = 10, shape=(1, 28, 28)) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, C, H, W) uint8 and labels (count,) int64: the lighter the image, the higher the class."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    images = random.integers(0, 60, (count, *shape)) + (labels * (190 // classes)).reshape(-1, 1, 1, 1)
    return images.astype(np.uint8), labels


def copy_checkout(folder: Path) -> None:
    """Copy what programs are run from, without tests, weights and pages, to a folder that exists."""
    for path in ROOT.glob("*.py"):
        shutil.copy(path, folder)
    shutil.copytree(ROOT / "ram", folder / "ram", ignore=shutil.ignore_patterns("__pycache__"))


class TinyMnist:
    """600 + 100 easy images as the four IDX files of MNIST.

    Attributes:
        folder: what --data_dir has to be.
        arrays: what the files hold, by role.
    """

    def __init__(self, folder: Path, train_count: int = 600, test_count: int = 100):
        self.folder, self.arrays = Path(folder), {}
        (self.folder / "mnist").mkdir(parents=True)
        for seed, (part, count) in enumerate((("train", train_count), ("test", test_count))):
            images, labels = easy_images(count, seed)
            self.arrays.update({f"{part}_images": images[:, 0], f"{part}_labels": labels.astype(np.uint8)})
        for role, array in self.arrays.items():
            (self.folder / "mnist" / NAMES[role]).write_bytes(to_idx(array))

    def registered(self):
        return registered(self.folder)


def registered(folder: Path):
    """A context in which the data set "mnist" consists of the files in folder/mnist, and has no other source."""
    files = {}
    for role, name in NAMES.items():
        raw = (Path(folder) / "mnist" / name).read_bytes()
        files[role] = IdxFile(name, len(raw), hashlib.sha256(raw).hexdigest())
    return mock.patch.dict(DATASETS, mnist=DatasetFiles(files))


def folders(root: Path, data: Path) -> list[str]:
    """Flags that keep all files of a run in `root`, and take the data from `data`."""
    return [f"--data_dir={data}", *(f"--{name}_dir={Path(root) / name}" for name in ("ckpt", "logs", "plots"))]


def run_as_main(arguments: list[str]) -> None:
    """Run main.py as `python main.py ARGUMENTS` does; ends with SystemExit where that ends with a status."""
    with mock.patch.object(sys, "argv", ["main.py", *arguments]):
        runpy.run_path(str(ROOT / "main.py"), run_name="__main__")


# A new process counts the peak memory of the one that started it as its own: a small one has to stand in between.
MEASURED = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
sys.exit(status)
"""


def run_measured(command: list[str], **options) -> tuple[int, str, int]:
    """Run a command (POSIX). Returns its status, its output with its errors in it, and its peak memory in bytes."""
    ended = subprocess.run(
        [sys.executable, "-S", "-c", MEASURED, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )
    text, _, peak = ended.stdout.rstrip("\n").rpartition("\n")
    return ended.returncode, text, int(peak)


def same(a, b) -> bool:
    """Whether two trees of dictionaries, lists, arrays and plain values are equal to the bit; NaN equals NaN."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        a, b = np.asarray(a), np.asarray(b)
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


def without_seconds(tree):
    """A copy of a tree without what says how long something took."""
    if isinstance(tree, dict):
        return {key: without_seconds(value) for key, value in tree.items() if key != "seconds"}
    return [without_seconds(item) for item in tree] if isinstance(tree, list) else tree


if __name__ == "__main__":
    with contextlib.ExitStack() as stack:
        stack.enter_context(registered(Path(sys.argv[1])))
        run_as_main(sys.argv[2:])
