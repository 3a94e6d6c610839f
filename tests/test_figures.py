"""Figures: boxes where the retina reads, badges apart, maps of any shape, names as they stand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import paddle
import pytest
from matplotlib.figure import Figure

import visualize
from modules import Geometry, Retina
from ram.draw import figures, snapshots, style
from ram.draw.figures import Look
from ram.draw.files import write_png
from ram.draw.heat import BINS, image_heat, object_heat, policy_figure
from ram.draw.snapshots import Shown, Snapshot
from ram.draw.style import evenly_spaced, step_colors, to_pixels


def coordinates_at_borders(size, unit_pixels):
    """Coordinates in [-1, 1] on every border between two pixels of `size`, and the float32 numbers next to them."""
    unit = size / 2 if unit_pixels is None else unit_pixels
    exact = ((np.arange(size + 1) - size / 2) / unit).astype(np.float32)
    around = np.concatenate([exact, *(np.nextafter(exact, np.float32(to)) for to in (-2, 2))])
    return around[np.abs(around) <= 1]


@pytest.mark.parametrize("unit_pixels", [None, 13.0, 7.5])
@pytest.mark.parametrize("H, W", [(28, 28), (21, 30), (5, 60)])
def test_positions_are_exact_but_for_the_last_bits(H, W, unit_pixels):
    geometry, width = Geometry(5, 2, 3, unit_pixels), [5, 15]
    columns, rows = coordinates_at_borders(W, unit_pixels), coordinates_at_borders(H, unit_pixels)
    count = max(len(columns), len(rows))
    locations = np.stack([np.resize(columns, count), np.resize(rows, count)], 1)
    positions, corners = geometry.positions(locations, (H, W)), geometry.corners(locations, (H, W))
    for i, axis in np.ndindex(count, 2):
        half = Fraction((W, H)[axis], 2)
        exact = Fraction(float(locations[i, axis])) * (half if unit_pixels is None else Fraction(unit_pixels)) + half
        assert abs(Fraction(float(positions[i, axis])) - exact) < Fraction(max(H, W), 2**22)
        assert corners[i, :, axis].tolist() == [int(np.floor(positions[i, axis])) - w // 2 for w in width]
        if abs(exact - round(exact)) > Fraction(1, 1000):
            assert corners[i, 0, axis] == exact // 1 - 2
    assert geometry.widths().tolist() == width
    ends = (geometry.reach((H, W)) + np.array([W, H]) / 2).tolist()
    assert geometry.positions(np.array([1.0, 1.0]), (H, W)).tolist() == ends


@pytest.mark.parametrize(
    "geometry", [(8, 1, 1, None), (12, 3, 2, None), (5, 2, 3, 7.0), (3, 4, 2, 13.0)], ids=lambda g: str(g)
)
def test_boxes_are_where_the_retina_reads(geometry):
    geometry, H, W = Geometry(*geometry), 21, 30
    random = np.random.default_rng(1)
    image = random.integers(0, 256, (1, 1, H, W)).astype(np.uint8)
    edges = [(-1, -1), (1, 1), (0, 0), (1, -1), (0.999, 0.3)]
    columns, rows = coordinates_at_borders(W, geometry.unit_pixels), coordinates_at_borders(H, geometry.unit_pixels)
    borders = np.stack([columns, np.resize(rows, len(columns))], 1)
    locations = np.concatenate([random.uniform(-1, 1, (60, 2)), edges, borders]).astype(np.float32)
    retina = Retina(geometry.g, geometry.k, geometry.s, geometry.unit_pixels)
    copies = paddle.to_tensor(np.repeat(image, len(locations), axis=0))
    phi = retina.foveate(copies, paddle.to_tensor(locations)).numpy().reshape(-1, geometry.k, geometry.g, geometry.g)
    far = 200  # zeros all around
    padded = np.pad(image[0, 0] / 255, far)
    corners = geometry.corners(locations, (H, W))
    for seen, of_scales in zip(phi, corners):
        for patch, (x, y), width in zip(seen, of_scales, geometry.widths()):
            box = padded[far + y : far + y + width, far + x : far + x + width]
            cell = width // geometry.g
            pooled = box.reshape(geometry.g, cell, geometry.g, cell).mean((1, 3))
            assert np.allclose(patch, pooled, atol=1e-5)


def test_drawn_boxes_surround_the_pixels_that_are_read_and_dots_are_in_their_middle():
    geometry, locations = Geometry(4, 2, 3), np.array([[0.1, -0.4], [1.0, 1.0]])
    axis = Figure().subplots()
    figures.draw_boxes(axis, locations, (20, 30), geometry, step_colors(2))
    corners = geometry.corners(locations, (20, 30))
    assert corners[0, 0].tolist() == [16 - 2, 6 - 2] and corners[0, 1].tolist() == [16 - 6, 6 - 6]
    drawn = [(*patch.get_xy(), patch.get_width(), patch.get_height()) for patch in axis.patches]
    assert drawn[:2] == [(13.5, 3.5, 4, 4), (9.5, -0.5, 12, 12)] and len(drawn) == 4
    assert geometry.places(locations, (20, 30))[0].tolist() == [15.5, 5.5]
    figures.draw_path(axis, locations, (20, 30), geometry, badges=2)
    assert {text.get_text() for text in axis.texts} == {"1", "2"}
    assert np.allclose(axis.lines[0].get_xydata(), geometry.places(locations, (20, 30)))


def test_badges_do_not_hide_each_other():
    places = np.array([[5.0, 5.0]] * 6 + [[20.0, 20.0]])
    moved = figures.spread(places, 3, (28, 28))
    gaps = np.linalg.norm(moved[:, None] - moved, axis=-1) + 100 * np.eye(7)
    assert gaps.min() > 2.7 and np.abs(moved[6] - 20).max() < 0.1
    assert (moved >= 0).all() and (moved <= 27).all()


@pytest.mark.parametrize("count", [2, 3, 8, 12])
@pytest.mark.parametrize("x, y", [(-5, -5), (40, -5), (-5, 40), (40, 40), (13.5, 27), (0, 14)])
def test_badges_that_coincide_part_also_in_corners(count, x, y):
    moved = figures.spread(np.full((count, 2), (x, y), float), 3, (28, 28))
    gaps = np.linalg.norm(moved[:, None] - moved, axis=-1) + 100 * np.eye(count)
    assert gaps.min() > 2.4 and (moved >= 0.99).all() and (moved <= 26.01).all()


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (1, 28), (28, 1), (3, 2)])
def test_badges_stay_in_tiny_images(shape):
    moved = figures.spread(np.array([[0.0, 0.0]] * 4 + [[9.0, 9.0]]), 3, shape)
    assert (moved >= 0).all() and (moved <= np.array(shape[::-1]) - 1).all()


@pytest.mark.parametrize("H, W", [(60, 20), (20, 60), (28, 28)])
def test_badges_are_apart_on_paper_whatever_the_shape_of_the_image(H, W):
    look = Look(
        np.zeros((1, H, W), np.uint8), 0, np.full((6, 2), -1.0), np.zeros((6, 1, 1, 4, 4)), np.full((6, 2), 0.5)
    )
    figure = figures.glimpses_figure([look], Geometry(4, 1, 1), ["a", "b"], "title")
    to_pixels(figure, 100)
    places = np.array([figure.axes[0].transData.transform(text.get_position()) for text in figure.axes[0].texts])
    gaps = np.linalg.norm(places[:, None] - places, axis=-1) + 1000 * np.eye(6)
    assert 0.19 * 100 * 0.8 < gaps.min() < 0.19 * 100 * 1.2, "inches of a badge"


def test_many_classes_and_glimpses_and_colors_fit_in():
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(40), 30)
    image = random.integers(0, 256, (3, 32, 24)).astype(np.uint8)
    look = Look(image, 7, random.uniform(-1, 1, (30, 2)), random.random((30, 1, 3, 6, 6)), probabilities)
    classes = [f"a long name {c}" for c in range(40)]
    figure = figures.glimpses_figure([look], Geometry(6, 1, 1), classes, "title")
    bars = [axis for axis in figure.axes if axis.containers]
    assert len(bars) == 12 and all(len(axis.containers[0]) == 10 for axis in bars)
    assert to_pixels(figure).shape[1:] == (900, 3)


def test_names_are_drawn_as_they_stand(tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr(style, "CHINESE", ("STIXGeneral",))  # a font that is always there, with letters of its own
    odd = ["$\\nothing$", "_a", "\u1d81"]
    shown = [Shown(np.zeros((1, 8, 8), np.uint8), np.zeros((2, 2)), name, "b", 0.5) for name in odd]
    drawn = [
        figures.grid_figure(shown, Geometry(4, 1, 1), odd[0]),
        figures.confusion_figure(np.eye(3, dtype=int), odd, odd[0]),
    ]
    for number, figure in enumerate(drawn):
        write_png(str(tmp_path / f"{number}.png"), figure)
    (tmp_path / "_a$\\x$b.jsonl").write_text('{"epoch": 1, "val_err": 2, "val_acc": 98}\n')
    visualize.run(["curves", str(tmp_path / "_a$\\x$b.jsonl"), f"--out={tmp_path / 'c'}"])
    assert [str(warning.message) for warning in recwarn if "missing from" in str(warning.message)] == []
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["0.png", "1.png", "c.png"]


def test_heat_of_uniform_and_of_fixed_glimpses():
    grid = (np.stack(np.meshgrid(np.arange(200), np.arange(200)), -1).reshape(-1, 2) + 0.5) / 100 - 1
    fixed = np.full_like(grid, [0.93, -0.45])  # x to the right, y above the middle
    heat = image_heat(np.stack([grid, fixed], 1), (40, 60), Geometry(8, 1, 1))
    assert np.allclose(heat.ratio[0], 1) and heat.notes[0] == "0.00 bits"
    row, column = np.unravel_index(heat.ratio[1].argmax(), heat.ratio[1].shape)
    assert (row, column) == (5, 19) and heat.ratio[1].max() == BINS**2 and heat.notes[1] == "8.64 bits"
    assert heat.extent == (0, 60, 40, 0)
    assert image_heat(grid[:, None], (40, 60), Geometry(8, 1, 1, 13.0)).extent == (17, 43, 33, 7)


def test_heat_around_an_object():
    uniform = np.random.default_rng(0).uniform(-40, 40, (100_000, 2))
    offsets = np.stack([uniform, np.zeros_like(uniform), np.full_like(uniform, 9.0)], 1)
    heat = object_heat(offsets, uniform, (10, 20))
    assert heat.notes == ["3% inside", "100% inside", "0% inside"] and heat.frame == (-10, -5, 20, 10)
    assert np.allclose(heat.ratio[0], 1)


@pytest.mark.parametrize("H, W", [(28, 28), (20, 50), (50, 20), (21, 33)])
@pytest.mark.parametrize("unit_pixels", [None, 8.0, 40.0])
def test_maps_fill_their_axes_whatever_the_shape_of_the_image(H, W, unit_pixels):
    locations = np.random.default_rng(0).uniform(-1, 1, (4000, 2, 2))
    uniform = np.random.default_rng(1).uniform(-60, 60, (400_000, 2))
    geometry = Geometry(8, 1, 1, unit_pixels)
    maps = [image_heat(locations, (H, W), geometry), object_heat(uniform[:4000, None], uniform, (H, W))]
    for heat in maps:
        figure = policy_figure([heat], "title")
        pixels = to_pixels(figure)
        axes = [axis for axis in figure.axes if axis.images]
        assert len(axes) == len(heat.ratio)
        for axis in axes:
            assert (*axis.get_xlim(), *axis.get_ylim()) == tuple(axis.images[0].get_extent()) == heat.extent
            box = axis.get_window_extent()
            drawn = pixels[::-1][round(box.y0) + 2 : round(box.y1) - 2, round(box.x0) + 2 : round(box.x1) - 2]
            assert drawn.shape[1] / drawn.shape[0] == pytest.approx(
                np.ptp(heat.extent[:2]) / np.ptp(heat.extent[2:]), rel=0.1
            )
            assert (drawn == 255).all(2).mean() < 0.08, "but for the frame there is no white in the map"


def test_confusion_has_true_classes_in_rows():
    figure = figures.confusion_figure(np.array([[5, 2], [0, 1234]]), ["cat", "dog"], "title")
    found = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert found == {(0, 0): "5", (1, 0): "2", (1, 1): "1,234"}


def test_a_model_that_makes_no_mistakes_has_an_empty_grid():
    assert to_pixels(figures.grid_figure([], Geometry(6, 1, 1), "none wrong")).shape[2] == 3


def test_a_row_per_epoch_and_a_column_per_image():
    shown = [Shown(np.zeros((1, 8, 8), np.uint8), np.zeros((2, 2)), "3", said, 0.5) for said in "34"]
    figure = figures.training_figure([Snapshot(1, shown), Snapshot(20, shown)], Geometry(4, 1, 1), "title")
    assert [axis.get_title() for axis in figure.axes] == ["3 (50%)", "3 as 4 (50%)"] * 2
    assert {"epoch\n1", "epoch\n20"} <= {text.get_text() for text in figure.texts}


def test_epochs_are_chosen_from_first_to_last():
    assert snapshots.early_ones(list(range(1, 151)), 6) == [1, 3, 7, 20, 55, 150]
    assert snapshots.early_ones([1, 2, 3, 4, 5, 6, 7], 6)[::5] == [1, 7]
    assert evenly_spaced(3, 24).tolist() == [0, 1, 2] and evenly_spaced(100, 3).tolist() == [0, 50, 99]
    for count in range(1, 40):
        chosen = snapshots.early_ones(list(range(count)), 6)
        assert len(set(chosen)) == len(chosen) == min(count, 6) and chosen[-1] == count - 1
