"""Tests of data_loader: splits, augmentation and canvases against slow versions, and the real MNIST where it is."""

import hashlib
import os
import re
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import data_loader
from data_loader import CanvasSplit, Split, epoch_order, get_test, get_train_valid, held_out
from ram.data import transforms
from ram.data.idx import IdxFile, to_idx
from ram.data.sources import DATASETS, DatasetFiles, fetch
from utils import UserError, generator


def make_config(**changes):
    config = dict(dataset="tiny", data_dir="data", source="tiny", canvas_size=60, num_clutter=4, valid_size=0.1)
    config.update(random_seed=1, limit=None, augment_shift=0, augment_rotate=0.0, augment_scale=0.0, augment_shear=0.0)
    config.update(augment_clutter=True, augment_flip=False, augment_share=1.0)
    config.update(changes)
    return Namespace(**config)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A data set of 200 + 50 images in real IDX files; returns a function that makes configs for it."""
    random = np.random.default_rng(0)
    files = {}
    (tmp_path / "tiny").mkdir()
    for part, stem, count in (("train", "train", 200), ("test", "t10k", 50)):
        images = random.integers(0, 256, (count, 28, 28), np.uint8)
        images[:, 0, 0] = np.arange(count)  # tells which image it is
        labels = random.integers(0, 10, count).astype(np.uint8)
        for role, name, array in (("images", "images-idx3-ubyte", images), ("labels", "labels-idx1-ubyte", labels)):
            raw = to_idx(array)
            (tmp_path / "tiny" / f"{stem}-{name}").write_bytes(raw)
            files[f"{part}_{role}"] = IdxFile(f"{stem}-{name}", len(raw), hashlib.sha256(raw).hexdigest())
    monkeypatch.setitem(DATASETS, "tiny", DatasetFiles(files))
    return lambda **changes: make_config(data_dir=str(tmp_path), **changes)


def all_of(split, epoch=0):
    return split.batch(np.arange(len(split)), epoch)[0]


def numbers(split):
    """Which images of the file a split shows."""
    return all_of(split)[:, 0, 0, 0]


# ---- splits


def test_batch_types_and_shapes(tiny):
    train, valid = get_train_valid(tiny())
    test = get_test(tiny())
    assert (train.name, valid.name, test.name) == ("train", "valid", "test")
    assert (len(train), len(valid), len(test)) == (180, 20, 50)
    for split in (train, valid, test):
        assert split.image_shape == (1, 28, 28) and split.num_classes == 10
        images, labels = split.batch(np.array([3, 0, 3]))
        assert images.shape == (3, 1, 28, 28) and images.dtype == np.uint8 and images.flags.c_contiguous
        assert labels.shape == (3,) and labels.dtype == np.int64
        assert np.array_equal(images[0], images[2]) and np.array_equal(labels, split.labels[[3, 0, 3]])
        assert split.labels.dtype == np.int64 and split.labels.shape == (len(split),)


def test_images_keep_their_labels(tiny):
    train, valid = get_train_valid(tiny())
    _, labels, _ = data_loader._load(tiny(), "train")
    for split in (train, valid):
        assert np.array_equal(split.labels, labels[numbers(split)])


def test_validation_is_held_out(tiny):
    train, valid = get_train_valid(tiny(valid_size=0.3))
    assert len(train) == 140 and len(valid) == 60
    assert sorted([*numbers(train), *numbers(valid)]) == list(range(200))


def test_seed_chooses_the_validation_images(tiny):
    first, same, other = (numbers(get_train_valid(tiny(random_seed=seed))[1]) for seed in (1, 1, 2))
    assert np.array_equal(first, same) and not np.array_equal(first, other)


def test_images_are_in_memory_once(tiny):
    train, valid = get_train_valid(tiny(augment_shift=2))
    assert np.shares_memory(train.images, valid.images)
    assert not train.images.flags.owndata and not train.images.flags.writeable


@pytest.mark.parametrize("dataset", ["tiny", "cluttered_mnist"])
def test_limit_shows_the_first_images_of_each_split(tiny, dataset):
    config = tiny(dataset=dataset, augment_rotate=10.0)
    splits = [*get_train_valid(config), get_test(config)]
    config.limit = 15
    for split, limited in zip(splits, [*get_train_valid(config), get_test(config)]):
        assert len(limited) == 15 and np.array_equal(limited.labels, split.labels[:15])
        assert np.array_equal(all_of(limited), all_of(split)[:15])
    config.limit = 10**6
    assert [len(split) for split in get_train_valid(config)] == [180, 20]


@settings(deadline=None)
@given(st.integers(2, 300), st.floats(0.01, 0.99), st.integers(0, 9))
def test_held_out_divides(n, valid_size, seed):
    if not 0 < round(n * valid_size) < n:
        with pytest.raises(UserError, match=f"--valid_size={valid_size} of {n} training images leaves"):
            held_out(n, valid_size, seed)
        return
    train, valid = held_out(n, valid_size, seed)
    assert len(valid) == round(n * valid_size)
    assert np.array_equal(np.sort(np.concatenate([train, valid])), np.arange(n))
    assert np.all(np.diff(train) > 0) and np.all(np.diff(valid) > 0)


@pytest.mark.parametrize("n", [2, 3, 60, 601, 60000])
def test_all_of_the_range_that_the_message_names_is_taken(n):
    with pytest.raises(UserError) as caught:
        held_out(n, 1e-9, 1)
    low, high = map(float, re.search(r"above (\S+) and below (\S+)$", str(caught.value)).groups())
    assert [len(held_out(n, value, 1)[1]) for value in (low + 1e-7, high - 1e-7)] == [1, n - 1]
    for value in (low - 1e-7, high + 1e-7):
        with pytest.raises(UserError, match="it must be above"):
            held_out(n, value, 1)


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_images_to_divide(n):
    with pytest.raises(UserError, match=f"^{n} training images cannot be divided"):
        held_out(n, 0.1, 1)


def test_errors_name_the_value_and_what_would_be_right(tiny):
    with pytest.raises(UserError) as caught:
        get_train_valid(tiny(valid_size=0.001))
    assert str(caught.value) == (
        "--valid_size=0.001 of 200 training images leaves 0 for validation and 200 for training: "
        "it must be above 0.0025 and below 0.9975"
    )
    for get in (get_train_valid, get_test):
        with pytest.raises(UserError) as caught:
            get(tiny(dataset="translated_mnist", canvas_size=27))
        assert str(caught.value) == "--canvas_size=27 is smaller than the 28x28 images: it must be at least 28"


# ---- order


def test_epoch_order_is_a_permutation_of_seed_and_epoch():
    order = epoch_order(1000, 1, 3)
    assert np.array_equal(np.sort(order), np.arange(1000))
    assert np.array_equal(order, epoch_order(1000, 1, 3, shuffle=True))
    assert not np.array_equal(order, epoch_order(1000, 1, 4)) and not np.array_equal(order, epoch_order(1000, 2, 3))
    assert np.array_equal(epoch_order(1000, 1, 3, shuffle=False), np.arange(1000))


# ---- augmentation

AUGMENTED = {
    "shift": dict(augment_shift=2),
    "affine": dict(augment_shift=2, augment_rotate=10.0, augment_scale=0.1, augment_shear=5.0),
    "flip": dict(augment_flip=True, augment_shift=2),
    "share": dict(augment_shift=2, augment_rotate=10.0, augment_share=0.8),
    "canvas": dict(dataset="cluttered_mnist", augment_rotate=10.0),
    "clutter as it is": dict(dataset="cluttered_mnist", augment_rotate=10.0, augment_clutter=False),
}


@pytest.mark.parametrize("changes", AUGMENTED.values(), ids=AUGMENTED.keys())
def test_augmentation_is_a_function_of_seed_epoch_and_index(tiny, changes):
    train, _ = get_train_valid(tiny(**changes))
    images, next_epoch = all_of(train, 0), all_of(train, 1)
    assert images.dtype == np.uint8 and images.flags.c_contiguous
    assert np.mean([np.array_equal(*pair) for pair in zip(images, next_epoch)]) < 0.2
    again, _ = get_train_valid(tiny(**changes))
    order = epoch_order(180, 5, 0)
    assert np.array_equal(again.batch(order, 1)[0], next_epoch[order]), "no matter in which order"
    for start in range(0, 180, 7):
        assert np.array_equal(again.batch(order[start : start + 7], 0)[0], images[order[start : start + 7]])
    again.seed, again._drawn = 2, None
    assert not np.array_equal(all_of(again, 0), images)


@pytest.mark.parametrize("changes", AUGMENTED.values(), ids=AUGMENTED.keys())
def test_validation_and_test_are_never_augmented(tiny, changes):
    plain = {name: value for name, value in changes.items() if not name.startswith("augment")}
    for augmented, unchanged in (
        (get_train_valid(tiny(**changes))[1], get_train_valid(tiny(**plain))[1]),
        (get_test(tiny(**changes)), get_test(tiny(**plain))),
    ):
        for epoch in (0, 1):
            assert np.array_equal(all_of(augmented, epoch), all_of(unchanged, 0))


@pytest.mark.parametrize("channels", [1, 3])
def test_shifts_equal_slow_ones(channels):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (40, channels, 9, 12), np.uint8)
    shifts = random.integers(-3, 4, (40, 2))
    slow = np.zeros_like(images)
    for b, (down, right) in enumerate(shifts):
        for row in range(9):
            for column in range(12):
                if 0 <= row - down < 9 and 0 <= column - right < 12:
                    slow[b, :, row, column] = images[b, :, row - down, column - right]
    assert np.array_equal(transforms.shift_images(images, shifts, 3), slow)
    unit = np.tile(np.eye(2), (40, 1, 1))
    assert np.array_equal(transforms.warp_images(images, unit, shifts), slow), "a warp without a warp is a shift"


def test_half_of_the_images_are_mirrored_anew_in_every_epoch(tiny):
    plain, _ = get_train_valid(tiny())
    train, _ = get_train_valid(tiny(augment_flip=True))
    mirrored = []
    for epoch in (0, 1):
        same = (all_of(train, epoch) == all_of(plain)).all((1, 2, 3))
        other = (all_of(train, epoch) == all_of(plain)[..., ::-1]).all((1, 2, 3))
        assert np.array_equal(same, ~other) and 60 < other.sum() < 120
        mirrored.append(other)
    assert 60 < (mirrored[0] != mirrored[1]).sum() < 120


@pytest.mark.parametrize(
    "how",
    [
        dict(augment_shift=9),
        dict(augment_flip=True),
        dict(augment_shift=9, augment_rotate=10.0, augment_scale=0.1, augment_shear=5.0),
    ],
    ids=["shift", "flip", "warp"],
)
def test_a_share_of_the_images_is_augmented_and_the_others_are_as_they_are(tiny, how):
    plain, everything = all_of(get_train_valid(tiny())[0]), get_train_valid(tiny(**how))[0]
    train, _ = get_train_valid(tiny(**how, augment_share=0.7))
    augmented = []
    for epoch in (0, 1):
        images, moved = all_of(train, epoch), all_of(everything, epoch)
        as_they_are, as_usual = (images == plain).all((1, 2, 3)), (images == moved).all((1, 2, 3))
        assert (as_they_are | as_usual).all()
        assert (moved != plain).any((1, 2, 3)).sum() > 0.4 * len(moved)
        drawn = generator("augment", 1, epoch).random(200)[train.rows] < 0.7
        assert as_usual[drawn].all() and as_they_are[~drawn].all() and 90 < drawn.sum() < 160
        augmented.append(drawn)
    assert 30 < (augmented[0] != augmented[1]).sum() < 120, "others in every epoch"
    none, _ = get_train_valid(tiny(**how, augment_share=0.0))
    assert np.array_equal(all_of(none), plain)


def test_shifts_reach_all_offsets(tiny):
    train, _ = get_train_valid(tiny(augment_shift=2))
    shifts = train._draw(0)[0]
    assert np.array_equal(shifts, generator("shift", 1, 0).integers(-2, 3, (200, 2)))
    assert len(np.unique(shifts, axis=0)) == 25


def slow_warp(image, amounts, shift):
    """(H, W) -> (H, W) float: bilinear, each result pixel taken back through matrices written out one by one."""
    angle, width, height, shear = np.deg2rad(amounts[0]), 1 + amounts[1], 1 + amounts[2], np.deg2rad(amounts[3])
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    forward = rotation @ np.array([[1, np.tan(shear)], [0, 1]]) @ np.diag([width, height])
    middle = (np.array(image.shape[::-1]) - 1) / 2
    result = np.zeros(image.shape)
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            x, y = np.linalg.solve(forward, np.array([column, row]) - middle - shift[::-1]) + middle
            left, top = int(np.floor(x)), int(np.floor(y))
            for r, c in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
                if 0 <= r < image.shape[0] and 0 <= c < image.shape[1]:
                    result[row, column] += (1 - abs(y - r)) * (1 - abs(x - c)) * image[r, c]
    return result


@pytest.mark.parametrize("strength", [1, 10])
def test_warps_equal_slow_ones(strength):
    random = np.random.default_rng(strength)
    images = random.integers(0, 256, (8, 2, 11, 14), np.uint8)
    amounts = random.uniform(-1, 1, (8, 4)) * (15 * strength, 0.09 * strength, 0.09 * strength, 6 * strength)
    shifts = random.integers(-2, 3, (8, 2))
    fast = transforms.warp_images(images, transforms.inverse_maps(amounts), shifts)
    assert fast.dtype == np.uint8
    for b in range(8):
        for c in range(2):
            slow = slow_warp(images[b, c], amounts[b], shifts[b])
            assert np.abs(fast[b, c] - slow).max() <= 2.5, "places are rounded to 1/256 pixel"


def test_warp_by_a_quarter_turn():
    images = np.random.default_rng(0).integers(0, 256, (1, 1, 28, 28), np.uint8)
    maps = transforms.inverse_maps(np.array([[90.0, 0, 0, 0]]))
    assert np.array_equal(transforms.warp_images(images, maps, np.zeros((1, 2), int))[0, 0], np.rot90(images[0, 0], -1))


# ---- canvases


def slow_integers(raw, ranges):
    return [[(number >> 32) * size >> 32 for number, size in zip(row, ranges)] for row in raw.tolist()]


def slow_canvases(split, images, rows, pool, seed, epoch, size, pieces):
    """The definition, one pixel row at a time: clutter first, then the image, sums cut off at 255."""
    count, channels, height, width = split.images.shape
    ranges = [size - height + 1, size - width + 1]
    ranges += pieces * [len(pool), height - 7, width - 7, size - 7, size - 7]
    stream = generator("canvas-train", seed, epoch) if split.name == "train" else generator(f"canvas-{split.name}")
    draws = slow_integers(stream.bit_generator.random_raw(count * len(ranges)).reshape(count, -1), ranges)
    canvases = np.zeros((len(rows), channels, size, size), int)
    for canvas, image, row in zip(canvases, images, rows):
        top, left, *rest = draws[row]
        for k in range(pieces):
            which, cut_y, cut_x, y, x = rest[5 * k : 5 * k + 5]
            canvas[:, y : y + 8, x : x + 8] += split.images[pool[which]][:, cut_y : cut_y + 8, cut_x : cut_x + 8]
        canvas[:, top : top + height, left : left + width] += image
    return np.minimum(canvases, 255)


@pytest.mark.parametrize("size, pieces", [(28, 0), (28, 3), (60, 4), (100, 8)])
@pytest.mark.parametrize("name", ["train", "valid", "test"])
def test_canvases_equal_slow_ones(tiny, name, size, pieces):
    config = tiny(dataset="cluttered_mnist", canvas_size=size, num_clutter=pieces, random_seed=3)
    train, valid = get_train_valid(config)
    split = {"train": train, "valid": valid, "test": get_test(config)}[name]
    assert split.image_shape == (1, size, size)
    for epoch in (0, 2):
        images, labels = split.batch(np.arange(len(split)), epoch)
        assert images.dtype == np.uint8 and images.flags.c_contiguous
        pool = split.rows
        assert np.array_equal(images, slow_canvases(split, split.images[pool], pool, pool, 3, epoch, size, pieces))
        assert np.array_equal(labels, split.labels)
    assert split.batch(np.arange(0))[0].shape == (0, 1, size, size), "as of the mistakes of a model that makes none"


@pytest.mark.parametrize("augment_clutter", [True, False])
def test_clutter_is_cut_from_augmented_images(tiny, augment_clutter):
    """Otherwise the digit, blurred by the warp, is told from sharp clutter, in training images alone."""
    train, _ = get_train_valid(tiny(dataset="cluttered_mnist", augment_rotate=10.0, augment_clutter=augment_clutter))
    for epoch in (0, 1, 0):
        everything = train.split.augmented(np.arange(200), epoch)
        assert not np.array_equal(everything, train.images)
        cut = Split("train", everything if augment_clutter else train.images, train.labels, train.rows, 10)
        slow = slow_canvases(cut, everything[train.rows], train.rows, train.rows, 1, epoch, 60, 4)
        assert np.array_equal(all_of(train, epoch), slow)
        assert np.array_equal(train.batch(np.arange(90, 97), epoch)[0], slow[90:97])
    plain, _ = get_train_valid(tiny(dataset="cluttered_mnist", augment_clutter=augment_clutter))
    assert np.array_equal(
        all_of(plain), slow_canvases(plain, plain.images[plain.rows], plain.rows, plain.rows, 1, 0, 60, 4)
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(8, 14), st.integers(8, 14), st.integers(0, 8), st.integers(0, 6), st.data())
def test_canvases_of_any_images_equal_slow_ones(channels, height, width, extra, pieces, data):
    size = max(height, width) + extra
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    images = random.integers(0, 256, (12, channels, height, width), np.uint8)
    rows = np.sort(random.permutation(12)[:9])
    split = CanvasSplit(Split("train", images, np.zeros(9, int), rows, 10), 7, size, pieces)
    indices = random.integers(0, 9, 5)
    slow = slow_canvases(split, images[rows[indices]], rows[indices], rows, 7, 1, size, pieces)
    assert np.array_equal(split.batch(indices, 1)[0], slow)


def test_canvases_of_validation_and_test_are_the_same_for_every_seed_and_epoch(tiny):
    config = tiny(dataset="cluttered_mnist")
    train, valid = get_train_valid(config)
    test = get_test(config)
    config.random_seed = 2
    other_train, other_valid = get_train_valid(config)
    assert np.array_equal(all_of(valid, 0), all_of(other_valid, 5)) and np.array_equal(valid.labels, other_valid.labels)
    assert np.array_equal(all_of(test, 0), all_of(get_test(config), 5))
    assert np.array_equal(train.rows, other_train.rows) and not np.array_equal(all_of(train), all_of(other_train))


def test_clutter_comes_from_the_same_split():
    images = np.ones((40, 1, 8, 8), np.uint8)
    images[::2] = 100
    for first in (0, 1):
        rows = np.arange(first, 40, 2)
        for name in ("train", "valid", "test"):
            canvases = all_of(CanvasSplit(Split(name, images, np.zeros(20, int), rows, 10), 1, 30, 2))
            own, other = (100, 1) if first == 0 else (1, 100)
            assert own in canvases and other not in canvases


def test_background_is_zero_and_image_is_whole(tiny):
    config = tiny(dataset="translated_mnist", num_clutter=4)
    train, _ = get_train_valid(config)
    canvases, images = all_of(train), train.images[train.rows]
    assert np.array_equal(canvases.sum((1, 2, 3), dtype=int), images.sum((1, 2, 3), dtype=int))
    for canvas, image, (top, left) in zip(canvases, images, train._draw(0)[train.rows]):
        assert np.array_equal(canvas[:, top : top + 28, left : left + 28], image)


def chi_square_is_likely(counts):
    """Whether counts look uniform: the statistic lies within 5 standard deviations of its mean."""
    expected, freedom = counts.sum() / len(counts), len(counts) - 1
    return abs(((counts - expected) ** 2 / expected).sum() - freedom) < 5 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("name", ["train", "test"])
def test_images_are_placed_uniformly_both_ends_included(name):
    count = 40_000
    images = np.broadcast_to(np.uint8(255), (count, 1, 28, 28))
    split = CanvasSplit(Split(name, images, np.zeros(count, int), np.arange(count), 10), 1, 60, 0)
    places = np.concatenate([places_of_canvases(split, start) for start in range(0, count, 1000)])  # (N, 2)
    for axis in (0, 1):
        counts = np.bincount(places[:, axis], minlength=33)
        assert len(counts) == 33 and counts.min() > 0 and chi_square_is_likely(counts)
    assert chi_square_is_likely(np.bincount(places[:, 0] * 33 + places[:, 1], minlength=33 * 33))


def places_of_canvases(split, start):
    """Where the first bright pixel of canvases start .. start + 999 is: (1000, 2) rows and columns."""
    canvases = split.batch(np.arange(start, start + 1000))[0][:, 0] > 0
    return np.stack([canvases.any(2).argmax(1), canvases.any(1).argmax(1)], axis=1)


def test_clutter_is_drawn_uniformly_both_ends_included():
    count = 20_000
    images = np.zeros((count, 1, 28, 28), np.uint8)
    rows = np.arange(50, 90)
    draws = CanvasSplit(Split("train", images, np.zeros(40, int), rows, 10), 1, 60, 4)._draw(0)
    for piece in range(4):
        for column, size in enumerate((40, 21, 21, 53, 53)):
            counts = np.bincount(draws[:, 2 + 5 * piece + column], minlength=size)
            assert len(counts) == size and counts.min() > 0 and chi_square_is_likely(counts)


def test_draws_are_the_same_on_every_machine():
    numbers = transforms.portable_integers([33, 53, 6000], 3, "canvas-test")
    assert numbers.tolist() == [[2, 40, 4852], [16, 40, 2665], [7, 5, 4242]]


# ---- the real data


@pytest.fixture(scope="session")
def real_mnist():
    """Makes configs for the real MNIST. Where it cannot be got, tests are skipped, and fail instead where CI=true."""
    folder = os.environ.get("RAM_DATA_DIR", str(Path(__file__).resolve().parent.parent / "data"))
    try:
        fetch("mnist", folder)
    except UserError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
    return lambda **changes: make_config(**{"dataset": "mnist", "source": "mnist", "data_dir": folder, **changes})


def test_real_mnist(real_mnist):
    train, valid = get_train_valid(real_mnist())
    test = get_test(real_mnist())
    assert (len(train), len(valid), len(test)) == (54_000, 6_000, 10_000)
    assert not set(train.rows) & set(valid.rows) and len({*train.rows, *valid.rows}) == 60_000
    zeros_to_nines = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert (np.bincount(train.labels) + np.bincount(valid.labels)).tolist() == zeros_to_nines
    assert test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert test.image_shape == (1, 28, 28) and test.images.max() == 255


def test_real_canvases_are_the_same_on_every_machine(real_mnist):
    config = real_mnist(dataset="cluttered_mnist", random_seed=5)
    digests = [
        hashlib.sha256(split.batch(np.arange(100))[0].tobytes()).hexdigest()[:16]
        for split in (get_train_valid(config)[1], get_test(config))
    ]
    assert digests == ["b2002efe7d23b149", "76e9964dac635422"]


def test_real_fashion_mnist(real_mnist):
    config = real_mnist(dataset="fashion_mnist")
    if not Path(config.data_dir, "fashion_mnist").is_dir():
        pytest.skip("Fashion-MNIST is not there")
    train, valid = get_train_valid(config)
    assert np.all(np.bincount(np.concatenate([train.labels, valid.labels])) == 6_000)
    canvases = get_test(real_mnist(dataset="translated_mnist", source="fashion_mnist", canvas_size=40))
    assert len(canvases) == 10_000 and canvases.image_shape == (1, 40, 40)
