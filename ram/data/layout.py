"""Find out where a data set of one's own has its images: in lists, in folders of the usual names, or in class folders.

The first that is there decides:

1. lists, as PaddleClas has them: `train_list.txt`, `val_list.txt`, `test_list.txt`
2. folders of the usual names (`PARTS`), with a folder for each class in them
3. class folders alone, DIR/CLASS/, of which a share is held out for the test

Nothing here opens an image.
"""

from __future__ import annotations

import collections
import os
import re
import unicodedata
from typing import NamedTuple

import numpy as np

from ram.data.images import is_named_like_an_image, leads_out
from ram.data.shares import TEST_SIZE, draw_by_class
from utils import UserError, file_access, listed, printable

# The names of the parts of a data set, in any case of letters.
PARTS = {
    "train": ("train", "training"),
    "valid": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
LIST, LABELS = "_list.txt", "label_list.txt"
LIST_BYTES = 2**28
HEIC = (".heic", ".heif", ".hif")  # of phones; Pillow does not read them


class Item(NamedTuple):
    """One image of a part."""

    path: str
    name: str  # relative to the folder of the data set, with slashes, composed
    label: str  # the name of its class


class Listing(NamedTuple):
    """The images of a part, sorted, and the classes that the part defines, in the order of their labels."""

    items: list[Item]
    classes: list[str]


class Layout:
    """The places of a data set's parts.

    Args:
        root: the folder of the data set.
        follow_links: whether what links (or lists) name outside of it is taken.
        test_size: share of each class that is held out for the test, where there are class folders alone.

    Attributes:
        kind: "lists", "folders" or "classes".
        places: the list or folder of each part that is there.
        folders: the names of all folders in the folder.
        unseen: names in the folder that stand for none of its parts.

    Raises:
        UserError: the folder cannot be read, or two names in it mean the same part.
    """

    def __init__(self, root: str, follow_links: bool = False, test_size: float = TEST_SIZE):
        self.root, self.follow_links, self.test_size = root, follow_links, test_size
        entries = [entry for entry in _entries(root) if not entry.name.startswith(".")]
        files = {entry.name: entry.path for entry in entries if _is_file(entry)}
        folders = {entry.name: entry.path for entry in entries if _is_folder(entry)}
        lists = {name: path for name, path in files.items() if name.lower().endswith(LIST) and _part(name)}
        named = {name: path for name, path in folders.items() if _part(name)}
        self.kind = "lists" if lists else "folders" if named or not folders else "classes"
        chosen = lists or named
        self.places: dict[str, str] = {}
        for name, path in sorted(chosen.items()):
            part = _part(name)
            if part in self.places:
                both = f"{os.path.basename(self.places[part])} and {name}"
                raise UserError(f"{root} has {both}, which mean the same: keep one, or put their images together")
            self.places[part] = path
        if self.kind == "classes":
            self.places = {"train": root, **({"test": root} if test_size else {})}
            chosen = folders
        used = {*chosen, *(name for name in files if lists and name.lower() == LABELS)}
        for place in self.places.values() if lists else ():
            self.check_inside(place)
            used |= {line.replace("\\", "/").split("/")[0] for _, line in _lines(place) if "/" in line or "\\" in line}
        self.folders = sorted(folders)
        self.unseen = sorted({entry.name for entry in entries} - used)

    def notes(self) -> list[str]:
        """Describe what decides, where that is not plain, and what in the folder is not looked at."""
        notes = []
        if self.kind == "lists":
            notes.append(f"[*] {printable(self.root)}: {listed(sorted(self._names()))} say which images there are")
        if self.unseen:
            notes.append(f"[!] {printable(self.root)}: not looked at: {listed(self.unseen)}")
        return notes

    def _names(self) -> list[str]:
        return [os.path.basename(path) for path in self.places.values()]

    def missing(self, part: str) -> UserError:
        """Make the error that a part is not there."""
        hint = f"; in it there are {listed(self.unseen)}" if self.unseen else ""
        place = os.path.join(self.root, part)
        if self.kind == "lists":
            place = os.path.join(self.root, {"valid": "val"}.get(part, part) + LIST)
        if self.kind == "classes":
            return UserError(f"nothing of {self.root} is held out for the test: that takes a --test_size above 0")
        folders = os.path.join(self.root, part, "CLASS") + "/"
        if self.places:
            there = listed(self._names())
            needs = "a list" if self.kind == "lists" else f"images in {folders}"
            return UserError(f"{place} does not exist{hint}: there is {there}, and beside that it takes {needs}")
        return UserError(
            f"{place} does not exist{hint}: --dataset=folder needs images in {folders}, in "
            f"{os.path.join(self.root, 'CLASS')}/, or lists of them"
        )

    def list(self, part: str, notes: list[str]) -> Listing:
        """List the images of a part, and add to `notes` what is not taken.

        Raises:
            UserError: there are no images, a class has none, or a path leads out of the folder.
        """
        if part not in self.places:
            raise self.missing(part)
        if self.kind == "lists":
            return _from_list(self, self.places[part])
        listing = _from_folders(self, self.places[part], part, notes)
        if self.kind == "classes" and self.test_size:
            return self._share(listing, part)
        return listing

    def everything(self, notes: list[str]) -> Listing:
        """List the images on which the training part depends: its own, and those held out of it for the test."""
        if self.kind == "classes":
            return _from_folders(self, self.root, "train", notes)
        return self.list("train", notes)

    def check_inside(self, path: str) -> None:
        """Raise UserError where a path leads out of the data set, unless that is allowed."""
        if not self.follow_links and leads_out(path, self.root):
            raise UserError(
                f"{printable(path)} is a link out of {printable(self.root)}, or leads out of it by its name, and is "
                "not followed: copy what it points to, or give --follow_links=True"
            )

    def _share(self, listing: Listing, part: str) -> Listing:
        """Take from class folders the test's share, or the rest; the same for every seed."""
        numbers = {label: number for number, label in enumerate(listing.classes)}
        labels = np.array([numbers[item.label] for item in listing.items])
        rest, held = draw_by_class(labels, self.test_size, "test")
        rows = held if part == "test" else rest
        if not len(rows):
            raise UserError(f"--test_size={self.test_size} of the images in {self.root} leaves none for the {part}")
        return Listing([listing.items[row] for row in rows], listing.classes)


def shown(name: str) -> str:
    """Make a name of a folder fit to be shown and compared: composed, and with what is no text escaped."""
    name = unicodedata.normalize("NFC", name)
    return name if name.isprintable() else name.encode("unicode_escape", "surrogateescape").decode("ascii")


def _part(name: str) -> str | None:
    """Return the part that a folder or list of this name stands for, or None."""
    stem = name.lower()[: -len(LIST)] if name.lower().endswith(LIST) else name.lower()
    return next((part for part, names in PARTS.items() if stem in names), None)


# ------------------------------------------------------------------------------------------------------------- folders


def _from_folders(layout: Layout, folder: str, part: str, notes: list[str]) -> Listing:
    """List the images in the folders of classes and below them."""
    entries = [entry for entry in _entries(folder) if not entry.name.startswith(".")]
    parents = sorted(
        (entry for entry in entries if _is_folder(entry)), key=lambda entry: (shown(entry.name), entry.name)
    )
    if not parents:
        raise UserError(f"{folder} has no folders in it: each class needs one, with its images")
    ignored = collections.Counter(_ending(entry.name) for entry in entries if _is_file(entry) and folder != layout.root)
    beside = sum(ignored.values())
    items: dict[str, list[Item]] = {}
    for parent in parents:
        members = items.setdefault(shown(parent.name), [])
        before = ignored.copy()
        for path in _walk(layout, parent.path, ignored):
            name = unicodedata.normalize("NFC", os.path.relpath(path, layout.root).replace(os.sep, "/"))
            members.append(Item(path, name, shown(parent.name)))
        if not members and part == "train":
            what = _endings(ignored - before)
            raise UserError(
                f"{printable(parent.path)} has no images in it{what and ', but ' + what}: remove it, or put some there"
            )
    if ignored:
        lost = f" ({beside} of them in no folder of a class)" if beside else ""
        notes.append(f"[!] {printable(folder)}: not taken: {_endings(ignored)}{lost}")
    if not any(items.values()):
        what = _endings(ignored)
        raise UserError(f"{folder} has no images in the folders of its classes{what and ', but ' + what}")
    classes = sorted(items)
    return Listing([item for label in classes for item in sorted(items[label], key=lambda item: item.name)], classes)


def _walk(layout: Layout, top: str, ignored: collections.Counter):
    """Yield the paths of all images in a folder and below; each real folder is entered once, whatever links exist."""
    entered, waiting = set(), [top]
    while waiting:
        folder = waiting.pop()
        layout.check_inside(folder)
        real = os.path.realpath(folder)
        if real in entered:
            ignored["links to folders that were taken already"] += 1
            continue
        entered.add(real)
        for entry in _entries(folder):
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                waiting.append(entry.path)
            elif os.path.exists(entry.path) and not _is_file(entry):
                ignored["no ordinary file"] += 1  # a pipe, which would never end
            elif is_named_like_an_image(entry.name):
                if entry.is_symlink():
                    layout.check_inside(entry.path)
                yield entry.path
            else:
                ignored[_ending(entry.name)] += 1


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()[:20] or "no ending"


def _endings(counts: collections.Counter) -> str:
    """Write how many files of which endings there are, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    text = ", ".join(f"{count} {printable(ending)}" for ending, count in ordered[:10])
    text += f" and {len(ordered) - 10} more endings" if len(ordered) > 10 else ""
    if any(ending in HEIC for ending, _ in ordered):
        text += "; convert HEIC to JPEG first, e.g. with ImageMagick: magick mogrify -format jpg *.heic"
    return text


def _entries(folder: str) -> list[os.DirEntry]:
    with file_access("read", folder), os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry) -> bool:
    return os.path.isdir(entry.path)  # `entry.is_dir()` fails for a link to itself


def _is_file(entry: os.DirEntry) -> bool:
    return os.path.isfile(entry.path)


# --------------------------------------------------------------------------------------------------------------- lists


def _from_list(layout: Layout, place: str) -> Listing:
    """List the images that a list names, `path label` on each line."""
    names = _label_names(layout)
    items, labels, lines = [], set(), {}
    for number, line in _lines(place):
        pieces = line.rsplit(None, 1)
        if len(pieces) != 2 or not re.fullmatch("[0-9]{1,9}", pieces[1]) or "\0" in line:
            raise UserError(f"{place}, line {number}: {printable(line[:100])} is not a path and a whole number")
        name, label = pieces[0], int(pieces[1])
        path = os.path.join(layout.root, name)
        if "\\" in name and not os.path.lexists(path):  # as Windows writes it
            path = os.path.join(layout.root, name.replace("\\", "/"))
        layout.check_inside(path)
        if names and label not in names:
            raise UserError(f"{place}, line {number}: {LABELS} has no name for label {label}")
        earlier = lines.setdefault(os.path.normpath(path), number)
        if earlier != number:  # one of the two could be for training, and the other for validation
            raise UserError(f"{place}, line {number}: {printable(name[:100])} stands in line {earlier}, too")
        labels.add(label)
        items.append((path, unicodedata.normalize("NFC", name.replace("\\", "/")), label))
    if not items:
        raise UserError(f"{place} names no images")
    names = names or {label: str(label) for label in sorted(labels)}
    items.sort(key=lambda item: (item[2], item[1]))
    return Listing([Item(path, name, names[label]) for path, name, label in items], list(names.values()))


def _label_names(layout: Layout) -> dict[int, str]:
    """Read the names of labels, `label name` or only `name` on each line; empty where there is no such list."""
    places = [entry.path for entry in _entries(layout.root) if entry.name.lower() == LABELS and _is_file(entry)]
    if not places:
        return {}
    place = places[0]
    layout.check_inside(place)
    lines = [line for _, line in _lines(place)]
    pairs = [line.split(None, 1) for line in lines]
    numbered = all(len(pair) == 2 and re.fullmatch("[0-9]{1,9}", pair[0]) for pair in pairs)
    labels = [int(pair[0]) for pair in pairs] if numbered else []
    if numbered and len(set(labels)) == len(labels):
        names = {label: shown(pair[1]) for label, pair in sorted(zip(labels, pairs))}
    else:
        names = dict(enumerate(map(shown, lines)))
    if not names or len(set(names.values())) < len(names):
        raise UserError(f"{place} names no labels, or two by the same name")
    return names


def _lines(place: str) -> list[tuple[int, str]]:
    """Read the lines of a list that are not empty, with their numbers."""
    with file_access("read", place), open(place, "rb") as file:
        data = file.read(LIST_BYTES + 1)
    if len(data) > LIST_BYTES:
        raise UserError(f"{place} is larger than {LIST_BYTES / 2**20:g} MB: it is no list of images")
    text = os.fsdecode(data[3:] if data.startswith(b"\xef\xbb\xbf") else data)
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
