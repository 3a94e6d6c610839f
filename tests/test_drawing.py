"""Tests of drawing and components: the digit is found on a sheet, under a lamp, in a frame, on ruled paper, or refused.

The pictures are given to the command, with the published weights, which never saw these digits: seed 1 holds them out.
"""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest
from helpers import ROOT, long_test
from PIL import Image, ImageDraw

import main
from config import get_config
from data_loader import get_test, get_train_valid
from ram.data import components, drawing, fitting
from utils import UserError

sys.path.insert(0, str(ROOT / "experiments"))
import make_folders
import make_strokes
from make_strokes import drawn, photographed

COUNT = 20


@pytest.mark.parametrize("program", [make_strokes, make_folders])
def test_images_go_to_a_new_folder_alone(program, tmp_path):
    mine = tmp_path / "01-light" / "0000_0.png"
    mine.parent.mkdir()
    mine.write_bytes(b"precious")
    with pytest.raises(UserError, match="is there already"):
        program.main([str(tmp_path)])
    assert mine.read_bytes() == b"precious" and len(list(tmp_path.iterdir())) == 1
    for arguments in ([], [""], ["new", "ten"], ["new", "10", "more"]):
        with pytest.raises(UserError, match="usage: "):
            program.main(arguments)


@pytest.fixture(scope="module")
def digits(real_mnist):
    """Images (N, 28, 28) and labels (N,) that seed 1 holds out."""
    split = get_train_valid(real_mnist())[1]
    images, labels = split.batch(np.arange(300, 300 + COUNT))
    return images[:, 0], labels


@pytest.fixture
def answers(tmp_path, capsys):
    """A function that gives pictures to the command; it returns its status, labels by number, and what was skipped."""

    def ask(pictures, *flags):
        folder = tmp_path / "own"
        folder.mkdir(exist_ok=True)
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(folder / f"{number:03d}.png")
        places = [f"--{name}_dir={tmp_path / name}" for name in ("ckpt", "plots", "logs")]
        flags = [
            "--use_gpu=False",
            "--json",
            "--save_pictures=False",
            "--M=4",
            *places,
            *flags,
            "--predict",
            str(folder),
        ]
        status = main.main(get_config(flags))
        captured = capsys.readouterr()
        records = map(json.loads, captured.out.splitlines())
        return status, {int(os.path.basename(r["image"])[:3]): r["label"] for r in records}, captured.err

    return ask


def large(digit, side=280, size=(500, 460), at=(90, 110)):
    """A digit on a large black picture (H, W)."""
    picture = np.zeros(size, np.uint8)
    picture[at[0] : at[0] + side, at[1] : at[1] + side] = Image.fromarray(digit).resize((side, side), Image.BICUBIC)
    return picture


def noisy(gray, seed, strength=3):
    return (gray + np.random.default_rng(seed).normal(0, strength, gray.shape)).clip(0, 255).astype(np.uint8)


def on_desk(ink, number, desk):
    """Paper with a drawing on it, somewhat turned, on a darker desk."""
    paper = Image.fromarray((225 - ink * 0.75).astype(np.uint8))
    paper = paper.rotate(number % 13 - 6, expand=True, fillcolor=desk, resample=Image.BICUBIC)
    picture = Image.new("L", (paper.width + 170, paper.height + 120), desk)
    picture.paste(paper, (110, 50))
    return noisy(np.asarray(picture), number)


def lit(ink, number, turned):
    """Paper under a lamp at one side: from 100 to 35 % of the light."""
    light = np.linspace(1, 0.35, ink.shape[turned])
    return noisy(230 * (light[:, None] if turned == 0 else light) * (1 - ink / 255 * 0.8), number)


def with_lines(ink, number, kind):
    """Paper with a printed frame, with ruling, or squared."""
    picture = Image.fromarray(255 - ink)
    pen, (width, height) = ImageDraw.Draw(picture), picture.size
    if kind == "frame":
        pen.rectangle([35, 25, width - 40, height - 30], outline=20, width=5)
    for y in range(30, height, 75 if kind == "ruled" else 45) if kind != "frame" else ():
        pen.line([(0, y), (width, y)], fill=120, width=2)
    for x in range(20, width, 45) if kind == "squared" else ():
        pen.line([(x, 0), (x, height)], fill=120, width=2)
    return noisy(np.minimum(np.asarray(picture), 255 - ink), number)


def on_school_paper(ink, number):
    """Paper with faint rules, which break where they are shrunk, and a margin line that joins them."""
    picture = np.full(ink.shape, 240.0)
    picture[18::52], picture[19::52], picture[:, 60:63] = 170, 170, 150
    return noisy(np.minimum(picture, 240 - 0.8 * ink.astype(float)), number)


SCENES = {
    "dark desk": lambda ink, i: on_desk(ink, i, 35),
    "gray desk": lambda ink, i: on_desk(ink, i, 120),
    "dark sheet on a light table": lambda ink, i: 255 - on_desk(ink, i, 50),
    "light from the left": lambda ink, i: lit(ink, i, 1),
    "light from above": lambda ink, i: lit(ink, i, 0),
    "frame": lambda ink, i: with_lines(ink, i, "frame"),
    "ruled": lambda ink, i: with_lines(ink, i, "ruled"),
    "school paper": on_school_paper,
    "squared": lambda ink, i: with_lines(ink, i, "squared"),
}


@pytest.mark.parametrize("scene", ["gray desk", *long_test(*(scene for scene in SCENES if scene != "gray desk"))])
def test_digit_is_found(digits, answers, scene):
    images, labels = digits
    status, found, err = answers([SCENES[scene](large(digit), i) for i, digit in enumerate(images)])
    assert status == 0 and sum(found[i] == labels[i] for i in range(COUNT)) >= COUNT - 1, err


@pytest.mark.parametrize("width", [3, *long_test(1, 5, 11, 40)])
def test_strokes_of_every_width_are_read(digits, answers, width):
    images, labels = digits
    inks = [drawn(digit, width) for digit in images]
    kinds = (lambda ink, i: ink, lambda ink, i: 255 - ink, lambda ink, i: photographed(ink, np.random.default_rng(i)))
    status, found, err = answers([kinds[i % 3](ink, i) for i, ink in enumerate(inks)])
    assert status == 0 and sum(found[i] == labels[i] for i in range(COUNT)) >= COUNT - 2, err


@pytest.mark.parametrize("paper", [150, 200, 255])
def test_pictures_of_28x28_are_fitted_unless_they_are_mnists(digits, answers, paper):
    images, labels = digits
    gray = [(paper - digit * (paper / 255) * 0.7).astype(np.uint8) for digit in images]
    status, found, err = answers(gray)
    assert status == 0 and sum(found[i] == labels[i] for i in range(COUNT)) >= COUNT - 1, err


@pytest.mark.parametrize("side", [9, 12, 17, 28])
def test_small_and_frame_filling_digits_of_28x28(digits, answers, side):
    images, labels = digits
    pictures = []
    for digit in images:
        picture, start = np.zeros((28, 28), np.uint8), (28 - side) // 2
        inner = Image.fromarray(digit[4:24, 4:24]).resize((side, side), Image.BICUBIC)
        picture[start : start + side, start : start + side] = inner
        pictures.append(picture)
    status, found, err = answers(pictures)
    assert status == 0 and sum(found[i] == labels[i] for i in range(COUNT)) >= COUNT - 1, err


def test_mnists_own_images_stay_as_they_are(real_mnist):
    images = get_train_valid(real_mnist())[1].batch(np.arange(2000))[0]
    assert all(fitting.is_like_mnist(image) for image in images)
    assert not any(fitting.is_like_mnist(255 - image) for image in images[:100])


@pytest.mark.parametrize("paper", [140, 210])
def test_clothes_of_28x28_on_paper_are_put_on_black(real_mnist, answers, paper):
    try:
        split = get_test(real_mnist(dataset="fashion_mnist"), local=True)
    except UserError as error:
        pytest.skip(str(error))
    images, labels = split.images[:30, 0], split.labels[:30]
    plain = answers(list(images), "--preset=fashion")[1]
    on_paper = answers([(paper * (1 - image / 280)).astype(np.uint8) for image in images], "--preset=fashion")[1]
    right, still = (sum(found[i] == labels[i] for i in range(30)) for found in (plain, on_paper))
    assert right >= 25 and still >= right - 1
    for image in split.images[:500]:
        assert fitting.border_level(image[0]) > fitting.FAINT or fitting.on_black(image) is image


def test_nothing_drawn_and_several_drawings_are_skipped(digits, answers):
    images = digits[0]
    desk = np.full((400, 500), 60)
    desk[60:330, 90:420] = 210
    far = np.zeros((300, 900), np.uint8)
    far[100:240, 60:200], far[100:240, 640:780] = (large(digit, 140, (140, 140), (0, 0)) for digit in images[:2])
    below = np.ascontiguousarray(np.rot90(far))
    nothing = [
        np.full((90, 70), 130, np.uint8),
        noisy(np.full((300, 400), 205), 1, 12),
        lit(np.zeros((300, 400)), 2, 1),
    ]
    status, found, err = answers([*nothing, noisy(desk, 3), far, 255 - far, below, np.zeros((28, 28), np.uint8)])
    assert status == 1 and found == {} and err.count("main.py: skipped") == 8, err
    assert err.count("nothing is drawn in it") == 5 and err.count("it shows several drawings") == 3
    status, found, err = answers([], "--fit=False")
    assert status == 0 and len(found) == 8


def test_broken_strokes_and_dust_are_one_drawing(digits, answers):
    images, labels = digits
    pictures = []
    for number, digit in enumerate(images):
        picture = large(digit)
        rows = np.flatnonzero(picture.any(axis=1))
        middle = (rows[0] + rows[-1]) // 2
        picture[middle - 4 : middle + 4] = 0  # a gap
        picture[470:474, 20 + number : 24 + number] = 255  # dust
        pictures.append(picture)
    status, found, err = answers(pictures)
    assert status == 0 and sum(found[i] == labels[i] for i in range(COUNT)) >= COUNT - 2, err


# ---- parts


def test_parts_are_those_of_a_flood():
    random = np.random.default_rng(0)
    for _ in range(60):
        mask = random.random((random.integers(1, 15), random.integers(1, 15))) < random.random()
        for corners in (True, False):
            labels, parts = components.parts_of(mask, corners)
            assert (labels >= 0).sum() == mask.sum() == sum(part.area for part in parts)
            for part in parts:
                inside = labels == part.label
                assert drawing.box_of(inside) == part[2:] and inside.sum() == part.area
                flood = np.zeros_like(mask)
                flood[tuple(np.argwhere(inside)[0])] = True
                while True:
                    wide = np.pad(flood, 1)
                    near = [
                        (0, 1),
                        (1, 0),
                        (0, -1),
                        (-1, 0),
                        *([(1, 1), (1, -1), (-1, 1), (-1, -1)] if corners else []),
                    ]
                    wider = np.logical_or.reduce([wide, *(np.roll(wide, s, (0, 1)) for s in near)])[1:-1, 1:-1] & mask
                    if (wider == flood).all():
                        break
                    flood = wider
                assert (flood == inside).all()


def test_sheets_are_square_and_disks_are_not():
    y, x = np.mgrid[:200, :240]
    assert components.squareness((x - 120) ** 2 + (y - 100) ** 2 < 80**2) < 0.7
    assert components.squareness((abs(x - 120) < 70) & (abs(y - 100) < 40)) > 0.99
    assert components.squareness((abs(x - 120 + 0.4 * (y - 100)) < 70) & (abs(y - 100 - 0.2 * (x - 90)) < 40)) > 0.95
    ring = (x - 120) ** 2 + (y - 100) ** 2 < 80**2
    assert (components.filled(ring & ~((x - 120) ** 2 + (y - 100) ** 2 < 30**2)) == ring).all()
    point = np.zeros((31, 31), bool)
    point[15, 15] = True
    disk = (x[:31, :31] - 15) ** 2 + (y[:31, :31] - 15) ** 2 <= 36
    assert (components.spread(point, 6) == disk).all()
    assert (components.spread(point[14:17], 6) == disk[14:17]).all(), "a mask lower than the radius"


def test_drawings_of_any_shape_survive():
    random = np.random.default_rng(0)
    for shape in ((1, 1), (1, 40), (40, 1), (2, 3), (5, 2000), (1500, 3), (8, 900)):
        for level in (0, 255):
            picture = np.full((1, *shape), level, np.uint8)
            picture[0, -1, -1] = 128
            ruled = np.full_like(picture, level)
            ruled[0, shape[0] // 2] = 255 - level
            for image in (picture, ruled, random.integers(0, 256, (1, *shape)).astype(np.uint8)):
                for invert in (None, True, False):
                    try:
                        drawn_part = drawing.find_drawing(image, invert)[0]
                    except drawing.BadImage:
                        continue
                    assert fitting.place(fitting.thicken(drawn_part, 20), 28, 20).shape == (1, 28, 28)
