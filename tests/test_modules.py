"""Tests of modules: the retina against a slow one, each network against its formula, and where gradients stop."""

import math

import numpy as np
import paddle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import RecurrentAttention, draw_weights
from modules import (
    ActionNetwork,
    BaselineNetwork,
    ConvGlimpseNetwork,
    CoreNetwork,
    Geometry,
    GlimpseNetwork,
    LocationNetwork,
    LSTMCore,
    Retina,
)
from ram.fast.retina import FastRetina, reads_whole

F32 = np.float32


def tensor(values, **options):
    return paddle.to_tensor(np.asarray(values, F32), **options)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(F32)


# ---- retina


def slow_glimpse(image, l, g, k, s):
    """The definition, pixel by pixel: image (C, H, W) and l (2,) float32 to k arrays (C, g, g) float64."""
    channels, height, width = image.shape
    patches = []
    for j in range(k):
        f = s**j
        w = g * f
        left = int(np.floor(F32(0.5) * (l[0] + F32(1)) * F32(width))) - w // 2
        top = int(np.floor(F32(0.5) * (l[1] + F32(1)) * F32(height))) - w // 2
        patch = np.zeros((channels, w, w))
        for row in range(w):
            for column in range(w):
                if 0 <= top + row < height and 0 <= left + column < width:
                    patch[:, row, column] = image[:, top + row, left + column]
        pooled = np.zeros((channels, g, g))
        for row in range(g):
            for column in range(g):
                pooled[:, row, column] = patch[:, row * f : row * f + f, column * f : column * f + f].mean((1, 2))
        patches.append(pooled)
    return patches


def slow_foveate(images, locations, g, k, s):
    """(B, C, H, W) and (B, 2) to (B, k*C*g*g) float64."""
    return np.stack([np.ravel(slow_glimpse(image, l, g, k, s)) for image, l in zip(images, locations)])


coordinates = st.one_of(
    st.sampled_from([-1, 1, 0, -0.5, 0.5, -1.0001, 1.0001, np.nextafter(F32(1), F32(0)), -2, 2, -1e6, 1e6]),
    st.floats(-1, 1, width=32),
    st.floats(-4, 4, width=32),
)


@st.composite
def retina_cases(draw):
    batch, channels, height, width = (draw(st.integers(1, high)) for high in (3, 3, 20, 20))
    g, k, s = draw(st.integers(1, 9)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    locations = np.array(draw(st.lists(st.tuples(coordinates, coordinates), min_size=batch, max_size=batch)), F32)
    images = np.random.default_rng(draw(st.integers(0, 10**6))).integers(0, 256, (batch, channels, height, width))
    return images.astype(np.uint8), locations, g, k, s


def fast_foveate(retina, whole=None):
    """What the fast retina makes of one look."""
    fast = FastRetina(retina, whole)
    return lambda x, l: fast.look(fast.prepare(x), l)


@pytest.mark.parametrize("foveate", [lambda retina: retina.foveate, fast_foveate], ids=["plain", "fast"])
@settings(max_examples=200, deadline=None)
@given(retina_cases(), st.sampled_from(["uint8", "pixels in [0, 1]", "normalized"]))
def test_retina_equals_the_slow_one(foveate, case, kind):
    images, locations, g, k, s = case
    x = {"uint8": images, "pixels in [0, 1]": images / F32(255), "normalized": images / F32(100) - F32(1.3)}[kind]
    slow = slow_foveate(x / 255 if kind == "uint8" else x, locations, g, k, s)
    phi = foveate(Retina(g, k, s))(paddle.to_tensor(x), tensor(locations))
    assert phi.dtype == paddle.float32 and phi.shape == list(slow.shape)
    fine = x.shape[1] * g * g
    if kind != "uint8":
        assert np.array_equal(phi.numpy()[:, :fine], slow[:, :fine].astype(F32)), "the finest patch is a copy"
    assert np.abs(phi.numpy() - slow).max() <= 1e-6


@st.composite
def sums_cases(draw):
    """A retina, images (B, C, H, W) uint8, and locations of several looks (n, B, 2), each side of each border too."""
    batch, height, width = (draw(st.integers(1, high)) for high in (3, 40, 40))
    channels, unit_pixels = draw(st.sampled_from([1, 3])), draw(st.sampled_from([None, 7.0, 13.5]))
    k, s = draw(st.sampled_from([(k, s) for k in (1, 2, 3, 4) for s in (1, 2, 3) if s**k <= 27]))
    retina = Retina(draw(st.integers(1, 7)), k, s, unit_pixels, draw(st.sampled_from([0, 1])))
    seed = draw(st.integers(0, 10**6))
    images = np.random.default_rng(seed).integers(0, 256, (batch, channels, height, width), dtype=np.uint8)
    looks = draw(st.lists(st.tuples(coordinates, coordinates), min_size=2 * batch, max_size=2 * batch))
    return retina, images, np.array(looks, F32).reshape(2, batch, 2)


@settings(max_examples=100, deadline=None)
@given(sums_cases())
def test_whole_images_and_windows_give_the_same_bits(case):
    retina, images, looks = case
    geometry, x = retina.geometry, paddle.to_tensor(images)
    shares = np.array([1 / 255 / (retina.s**j) ** 2 for j in range(retina.k)]).astype(F32)
    looks_at = {whole: fast_foveate(retina, whole) for whole in (True, False)}
    for l in looks:
        sums = []  # by NumPy, in whole numbers
        for image, corners in zip(images, geometry.corners(l, images.shape[2:])):
            padded = np.pad(image.astype(np.int32), ((0, 0), (189, 189), (189, 189)))  # as wide as the widest patch
            for j, (left, top) in enumerate(np.clip(corners, -189, 40) + 189):
                cell = retina.s**j
                patch = padded[:, top : top + retina.g * cell, left : left + retina.g * cell]
                sums.append(patch.reshape(len(image), retina.g, cell, retina.g, cell).sum((2, 4)))
        expected = np.stack(sums).reshape(len(images), retina.k, -1).astype(F32) * shares[:, None]
        phi = {whole: foveate(x, tensor(l)).numpy() for whole, foveate in looks_at.items()}
        assert phi[True].tobytes() == phi[False].tobytes() == expected.tobytes()
        assert np.abs(phi[True] - retina.foveate(x, tensor(l)).numpy()).max() <= 1e-6


@pytest.mark.parametrize("side", [2100, 2047])
def test_windows_of_images_beyond_the_exact_products_of_float32(side):
    x, retina = np.random.default_rng(0).integers(0, 256, (2, 3, side, 45), dtype=np.uint8), Retina(3, 2, 2)
    x = paddle.to_tensor(x)
    for l in (tensor([[-1, 1], [0.3, 0.9]]), tensor([[1, -1], [-2, 0.2]])):
        phi = [fast_foveate(retina, whole)(x, l).numpy() for whole in (True, False)]
        assert phi[0].tobytes() == phi[1].tobytes()
        assert np.abs(phi[0] - retina.foveate(x, l).numpy()).max() <= 1e-6


def test_which_images_are_read_whole():
    paper = Retina(12, 3, 2).geometry
    assert all(reads_whole(paper, side, side, paddle.uint8) for side in (28, 60, 128))
    assert not any(reads_whole(paper, side, side, paddle.uint8) for side in (129, 1000))
    assert reads_whole(Retina(12, 4, 2).geometry, 192, 192, paddle.uint8), "four times the widest patch, of 96x96"
    assert not reads_whole(Retina(12, 4, 2).geometry, 192, 193, paddle.uint8)
    assert reads_whole(paper, 1000, 1000, paddle.float32), "floats are rounded when they are summed up"
    assert reads_whole(Retina(1, 2, 257).geometry, 4096, 4096, paddle.uint8), "255 * 257**2 is above 2**24"


@pytest.mark.parametrize("k, s", [(1, 1), (3, 2), (2, 3)])
@pytest.mark.parametrize("far", [1e9, 3e18, 1e30, math.inf])
def test_retina_sees_nothing_far_outside(k, s, far):
    x = paddle.to_tensor(np.full((8, 1, 9, 12), 255, np.uint8))
    directions = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]
    l = tensor([[a * far if a else 0, b * far if b else 0] for a, b in directions])
    for foveate in (Retina(5, k, s).foveate, fast_foveate(Retina(5, k, s)), fast_foveate(Retina(5, k, s), False)):
        assert not foveate(x, l).numpy().any()


def test_retina_by_hand():
    image = np.arange(36, dtype=F32).reshape(1, 1, 6, 6)
    middle, corner = tensor([[0, 0]]), tensor([[-1, 1]])
    two = Retina(2, 1, 1)
    assert two.foveate(tensor(image), middle).tolist() == [[14, 15, 20, 21]]
    assert two.foveate(tensor(image), corner).tolist() == [[0, 30, 0, 0]], "x is first, (-1, 1) is bottom left"
    assert Retina(3, 1, 1).foveate(tensor(image), middle).tolist() == [[14, 15, 16, 20, 21, 22, 26, 27, 28]]
    coarse = Retina(2, 2, 2).foveate(tensor(image), middle).tolist()
    assert coarse == [[14, 15, 20, 21, 10.5, 12.5, 22.5, 24.5]], "finest first, then the means of 2 x 2 pixels"


@pytest.mark.parametrize("g, k, s", [(5, 1, 1), (4, 2, 3)])
def test_location_1_is_unit_pixels_from_the_middle(g, k, s):
    """The centre of a glimpse lies u * l pixels from the middle, however large the image is."""
    x, pixels = normal(4, 1, 21, 30), np.array([[0, 0], [7.5, -3], [-9.5, 10], [3.5, -9]], F32)
    retina = Retina(g, k, s, unit_pixels=10)
    as_usual = tensor(pixels / np.array([15, 10.5], F32))  # 30 and 21 pixels from border to border
    for a, b in zip(retina.foveate(tensor(x), tensor(pixels / 10)), Retina(g, k, s).foveate(tensor(x), as_usual)):
        assert np.array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("foveate", [lambda retina: retina.foveate, fast_foveate], ids=["plain", "fast"])
@pytest.mark.parametrize("offset", [1, 3])
def test_offset_moves_all_patches_up_and_left(foveate, offset):
    x = normal(4, 2, 21, 30)
    pixels = np.array([[0, 0], [7, -3], [-9, 9], [3, -9]], F32)  # of the center, from the middle
    moved = foveate(Retina(4, 3, 2, unit_pixels=1.0, offset=offset))(tensor(x), tensor(pixels))
    as_usual = foveate(Retina(4, 3, 2, unit_pixels=1.0))(tensor(x), tensor(pixels - offset))
    np.testing.assert_array_equal(moved.numpy(), as_usual.numpy())
    corners = Retina(4, 3, 2, 1.0, offset).geometry.corners(pixels, (21, 30))
    np.testing.assert_array_equal(corners, Geometry(4, 3, 2, 1.0).corners(pixels, (21, 30)) - offset)


def test_clipped_locations_are_exactly_unit_pixels_from_the_middle():
    """As in the preset keras-translated, where rounding of 2 * 26 / 60 would move one of the two by a pixel."""
    columns = tensor(np.tile(np.arange(60, dtype=F32), (2, 1, 60, 1)))
    seen = Retina(1, 1, 1, unit_pixels=26.0).foveate(columns, tensor(np.array([[-1, 0], [1, 0]], F32)))
    assert seen.tolist() == [[4], [56]]


def test_prepared_images_serve_many_looks():
    retina, x = Retina(4, 2, 2), tensor(normal(5, 2, 11, 9))
    fast = FastRetina(retina)
    scene = fast.prepare(x)
    for seed in (1, 2):
        l = tensor(np.clip(normal(5, 2, seed=seed), -1, 1))
        np.testing.assert_allclose(fast.look(scene, l).numpy(), retina.foveate(x, l).numpy(), atol=1e-6)


def test_large_white_images_are_summed_exactly():
    """A table of sums in float32 would lose the last digits here."""
    x = np.full((1, 1, 300, 300), 255, np.uint8)
    x[0, 0, ::2] = 254
    slow = slow_foveate(x / 255, tensor([[0.9, 0.9]]).numpy(), 4, 3, 2)
    for foveate in (Retina(4, 3, 2).foveate, fast_foveate(Retina(4, 3, 2))):
        assert np.abs(foveate(paddle.to_tensor(x), tensor([[0.9, 0.9]])).numpy() - slow).max() <= 1e-6


# ---- the five networks


def test_names_and_shapes_are_those_of_the_paddle_seed():
    shapes = {
        name: value.shape
        for name, value in RecurrentAttention(8, 1, 1, 1, 128, 128, 0.05, 256, 10).state_dict().items()
    }
    assert shapes == {
        "sensor.fc1.weight": [64, 128],
        "sensor.fc1.bias": [128],
        "sensor.fc2.weight": [2, 128],
        "sensor.fc2.bias": [128],
        "sensor.fc3.weight": [128, 256],
        "sensor.fc3.bias": [256],
        "sensor.fc4.weight": [128, 256],
        "sensor.fc4.bias": [256],
        "rnn.i2h.weight": [256, 256],
        "rnn.i2h.bias": [256],
        "rnn.h2h.weight": [256, 256],
        "rnn.h2h.bias": [256],
        "locator.fc.weight": [256, 128],
        "locator.fc.bias": [128],
        "locator.fc_lt.weight": [128, 2],
        "locator.fc_lt.bias": [2],
        "classifier.fc.weight": [256, 10],
        "classifier.fc.bias": [10],
        "baseliner.fc.weight": [256, 1],
        "baseliner.fc.bias": [1],
    }


def test_nothing_is_hard_coded():
    model = RecurrentAttention(5, 3, 2, 3, 7, 9, 0.1, 11, 4)
    shapes = {name: value.shape for name, value in model.state_dict().items() if name.endswith("weight")}
    assert shapes == {
        "sensor.fc1.weight": [3 * 3 * 5 * 5, 7],
        "sensor.fc2.weight": [2, 9],
        "sensor.fc3.weight": [7, 16],
        "sensor.fc4.weight": [9, 16],
        "rnn.i2h.weight": [16, 11],
        "rnn.h2h.weight": [11, 11],
        "locator.fc.weight": [11, 5],
        "locator.fc_lt.weight": [5, 2],
        "classifier.fc.weight": [11, 4],
        "baseliner.fc.weight": [11, 1],
    }


def numpy_linear(layer, x):
    return x @ layer.weight.numpy() + layer.bias.numpy()


def with_random_biases(layer, seed=0):
    """The layer with weights drawn from the seed, and biases that would show if they were left out."""
    draw_weights(layer, seed)
    for number, weight in enumerate(layer.parameters()):
        if len(weight.shape) == 1:
            weight.set_value(normal(*weight.shape, seed=100 * seed + number))
    return layer


def relu(x):
    return np.maximum(x, 0)


def test_glimpse_network_is_its_formula():
    net = with_random_biases(GlimpseNetwork(6, 4, 3, 2, 2, 3))
    x, l = tensor(normal(5, 3, 9, 8)), tensor(np.clip(normal(5, 2), -1, 1))
    g_t = net(x, l)
    assert g_t.shape == [5, 10]
    phi = net.retina.foveate(x, l).numpy()
    what = numpy_linear(net.fc3, relu(numpy_linear(net.fc1, phi)))
    where = numpy_linear(net.fc4, relu(numpy_linear(net.fc2, l.numpy())))
    assert np.allclose(g_t.numpy(), relu(what + where), atol=1e-5)


def slow_convolution(layer, x):
    """A rectified convolution with 3x3 filters of maps (B, C, g, g), filter by filter."""
    weight, bias, (B, _, g, _) = layer.weight.numpy(), layer.bias.numpy(), x.shape
    result = np.zeros((B, len(weight), g - 2, g - 2), "float32")
    for number, kernel in enumerate(weight):
        for row in range(g - 2):
            for column in range(g - 2):
                window = x[:, :, row : row + 3, column : column + 3]
                result[:, number, row, column] = (window * kernel).sum(axis=(1, 2, 3)) + bias[number]
    return relu(result)


@pytest.mark.parametrize("k, channels", [(1, 1), (2, 3)])
def test_conv_glimpse_network_is_its_formula(k, channels):
    net = with_random_biases(ConvGlimpseNetwork(6, 4, 6, k, 2, channels))
    for layer in (net.conv1, net.conv2):
        layer.bias.set_value(normal(*layer.bias.shape))
    assert {name: value.shape for name, value in net.state_dict().items() if name.endswith("weight")} == {
        "conv1.weight": [16, k * channels, 3, 3],
        "conv2.weight": [32, 16, 3, 3],
        "fc1.weight": [32 * 2 * 2, 6],
        "fc2.weight": [2, 4],
        "fc3.weight": [6, 10],
        "fc4.weight": [4, 10],
    }
    x, l = tensor(normal(5, channels, 9, 8)), tensor(np.clip(normal(5, 2), -1, 1))
    patches = net.retina.foveate(x, l).numpy().reshape(5, k * channels, 6, 6)
    maps = slow_convolution(net.conv2, slow_convolution(net.conv1, patches)).reshape(5, -1)
    what = numpy_linear(net.fc3, relu(numpy_linear(net.fc1, maps)))
    where = numpy_linear(net.fc4, relu(numpy_linear(net.fc2, l.numpy())))
    assert np.allclose(net(x, l).numpy(), relu(what + where), atol=1e-5)


def test_core_network_is_its_formula():
    net = with_random_biases(CoreNetwork(6, 5))
    g_t, h = normal(4, 6), normal(4, 5, seed=1)
    expected = relu(numpy_linear(net.i2h, g_t) + numpy_linear(net.h2h, h))
    assert np.allclose(net(tensor(g_t), tensor(h)).numpy(), expected, atol=1e-5)


def test_lstm_core_is_paddles_lstm_cell_with_an_open_forget_gate():
    net, cell, D = with_random_biases(LSTMCore(6, 5)), paddle.nn.LSTMCell(6, 5), 5
    order = np.r_[0 : 2 * D, 3 * D : 4 * D, 2 * D : 3 * D]  # i, f, o, u here; i, f, u, o there
    for ours, (weight, bias) in ((net.i2h, (cell.weight_ih, cell.bias_ih)), (net.h2h, (cell.weight_hh, cell.bias_hh))):
        weight.set_value(ours.weight.numpy()[:, order].T)
        bias.set_value(ours.bias.numpy()[order])
    cell.bias_ih.set_value(cell.bias_ih + tensor(np.repeat([0, 1, 0, 0], D)))
    g_t, h, c = (tensor(normal(4, n, seed=n)) for n in (6, 5, 5))
    _, (expected_h, expected_c) = cell(g_t, (h, c))
    state = net(g_t, paddle.concat([h, c], axis=1))
    assert state.shape == [4, net.state_size]
    assert np.allclose(state.numpy(), np.concatenate([expected_h.numpy(), expected_c.numpy()], 1), atol=1e-6)


def test_action_network_gives_log_probabilities():
    net = with_random_biases(ActionNetwork(6, 3))
    h = normal(4, 6) * 10
    scores = numpy_linear(net.fc, h)
    log_probs = net(tensor(h)).numpy()
    assert np.allclose(log_probs, scores - np.log(np.exp(scores).sum(1, keepdims=True)), atol=1e-4)
    assert np.allclose(np.exp(log_probs).sum(1), 1, atol=1e-5)


def test_baseline_network_is_linear_and_does_not_shape_the_state():
    net, h = with_random_biases(BaselineNetwork(6, 1)), tensor(normal(4, 6), stop_gradient=False)
    b_t = net(h)
    assert np.allclose(b_t.numpy(), numpy_linear(net.fc, h.numpy()), atol=1e-5)
    b_t.sum().backward()
    assert h.grad is None or not h.grad.numpy().any()
    assert net.fc.weight.grad.numpy().any()


# ---- the policy


@pytest.mark.parametrize("std", [0.05, 0.11, 1.0, 3.0])
def test_log_density_is_that_of_two_independent_gaussians(std):
    net = LocationNetwork(4, 2, std)
    mu, l = normal(6, 5, 2), normal(6, 5, 2, seed=1)
    density = np.exp(-((l - mu).astype(float) ** 2) / (2 * std**2)) / np.sqrt(2 * np.pi * std**2)
    expected = -0.5 * ((l - mu).astype(float) ** 2 / std**2).sum(-1) - 2 * np.log(std * np.sqrt(2 * np.pi))
    ours = net.log_density(tensor(mu), tensor(l)).numpy()
    assert ours.shape == (6, 5) and np.allclose(ours, expected, rtol=1e-5, atol=1e-5)
    near = expected > -50  # elsewhere the density itself is zero in float64
    assert np.allclose(expected[near], np.log(density.prod(-1)[near]))


def test_gradient_of_log_pi_to_the_mean_is_analytic():
    net, std = LocationNetwork(4, 2, 0.3), 0.3
    mu, l = tensor(normal(7, 2), stop_gradient=False), normal(7, 2, seed=1)
    net.log_density(mu, tensor(l)).sum().backward()
    assert np.allclose(mu.grad.numpy(), (l - mu.numpy()) / std**2, rtol=1e-4)


def test_choice_is_the_mean_plus_noise_and_its_gradient_goes_to_the_mean_alone():
    std = 0.2
    net = with_random_biases(LocationNetwork(6, 2, std))
    h, noise = tensor(normal(5, 6), stop_gradient=False), normal(5, 2, seed=1)
    hidden = relu(numpy_linear(net.fc, h.numpy()))
    mu = np.tanh(numpy_linear(net.fc_lt, hidden))
    log_pi, l_t = net(h, tensor(noise))
    assert log_pi.shape == [5] and l_t.shape == [5, 2] and l_t.stop_gradient
    chosen = mu + std * noise
    assert (np.abs(chosen) > 1).any(), "the case has a choice outside of the image"
    assert np.allclose(l_t.numpy(), np.clip(chosen, -1, 1), atol=1e-5)
    expected = -0.5 * (noise.astype(float) ** 2).sum(1) - 2 * np.log(std * np.sqrt(2 * np.pi))
    assert np.allclose(log_pi.numpy(), expected, atol=1e-4), "the density is that of the choice before clipping"
    log_pi.sum().backward()
    to_scores = noise / std * (1 - mu**2)  # (l - mu) / std**2 * dtanh
    assert np.allclose(net.fc_lt.bias.grad.numpy(), to_scores.sum(0), rtol=1e-3, atol=1e-3)
    assert np.allclose(net.fc_lt.weight.grad.numpy(), hidden.T @ to_scores, rtol=1e-3, atol=1e-3)
    assert net.fc.weight.grad.numpy().any()
    assert h.grad is None or not h.grad.numpy().any(), "REINFORCE does not shape the state"


def test_without_noise_the_choice_is_the_mean():
    net, h = LocationNetwork(6, 2, 0.2), tensor(normal(5, 6))
    assert np.array_equal(net(h, paddle.zeros([5, 2]))[1].numpy(), net.mean(h).numpy())


def test_random_policy_is_uniform_and_learns_nothing():
    net = LocationNetwork(6, 2, 0.2)
    net.policy = "random"
    log_pi, l_t = net(tensor(normal(1, 6).repeat(20_000, 0)), tensor(normal(20_000, 2)))
    assert not log_pi.numpy().any() and log_pi.stop_gradient
    counts, _ = np.histogram(l_t.numpy(), bins=20, range=(-1, 1))
    assert counts.sum() == 40_000 and np.abs(counts - 2000).max() < 250
    assert abs(np.corrcoef(l_t.numpy().T)[0, 1]) < 0.03


def test_center_policy_looks_at_the_middle():
    net = LocationNetwork(6, 2, 0.2)
    net.policy = "center"
    log_pi, l_t = net(tensor(normal(5, 6)), tensor(normal(5, 2)))
    assert not log_pi.numpy().any() and not l_t.numpy().any()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_smallest_location_networks_work(size):
    log_pi, l_t = LocationNetwork(size, 2, 0.1)(paddle.ones([1, size]), paddle.ones([1, 2]))
    assert log_pi.shape == [1] and l_t.shape == [1, 2]
