"""The fast rollout is the plain one: values and gradients of everything, for models and images of many shapes."""

import gc
import subprocess
import sys

import numpy as np
import paddle
import pytest
from helpers import ROOT, long_test

from model import Noise, RecurrentAttention, draw_noise
from ram.fast.check import first_images
from ram.fast.rollout import active
from trainer import hybrid_loss
from utils import image_tensor

# g, k, s, channels, (height, width), h_g, h_l, D, classes, T, batch
CASES = {
    "mnist": (8, 1, 1, 1, (28, 28), 128, 128, 256, 10, 6, 128),
    "three patches": (12, 3, 2, 1, (60, 60), 32, 24, 48, 10, 8, 16),
    "colour, odd sizes": (5, 2, 3, 3, (31, 17), 7, 9, 11, 4, 3, 5),
    "two glimpses": (5, 2, 2, 2, (20, 20), 8, 8, 16, 3, 2, 4),
    "images read by windows": (5, 3, 2, 3, (170, 151), 8, 8, 16, 3, 4, 6),
    "one glimpse": (5, 1, 1, 1, (9, 9), 8, 8, 16, 3, 1, 4),
    "one image": (5, 1, 1, 1, (9, 9), 8, 8, 16, 3, 4, 1),
}


def outcome(model, images, labels, noise, fast):
    """Every field of the rollout, and the gradient of the hybrid loss for every weight (None: no part in it)."""
    model.fast = fast
    rollout = model.rollout(images, noise)
    hybrid_loss(rollout, labels, 0.7)[0].backward()
    gradients = {name: None if w.grad is None else w.grad.numpy() for name, w in model.named_parameters()}
    for weight in model.parameters():
        weight.clear_grad()
    return {name: value.numpy() for name, value in rollout._asdict().items()}, gradients


@pytest.mark.parametrize(
    "policy, reinforce_core, mean",
    [
        ("learned", 0, "tanh"),
        ("learned", 0.4, "tanh"),
        ("learned", 0, "linear"),
        ("learned", 0.4, "linear"),
        ("random", 0.4, "tanh"),
        ("center", 0.4, "linear"),
    ],
)
@pytest.mark.parametrize("core", ["relu", "lstm"])
@pytest.mark.parametrize("glimpse", ["fc", "conv"])
@pytest.mark.parametrize("case", CASES)
def test_fast_rollout_equals_the_plain_one(case, glimpse, core, policy, reinforce_core, mean):
    g, k, s, c, (height, width), h_g, h_l, hidden, classes, T, batch = CASES[case]
    looks = {"policy": policy, "core": core, "reinforce_core": reinforce_core, "location_mean": mean}
    model = RecurrentAttention(g, k, s, c, h_g, h_l, 0.1, hidden, classes, glimpse_network=glimpse, **looks)
    model.initialize(7)
    rng = np.random.default_rng(3)
    for bias in (weight for weight in model.parameters() if len(weight.shape) == 1):
        bias.set_value(rng.uniform(0, 0.3, bias.shape).astype("float32"))
    images = paddle.to_tensor(rng.integers(0, 256, (batch, c, height, width), dtype=np.uint8))
    labels = paddle.to_tensor(rng.integers(0, classes, batch))
    noise = Noise(*map(paddle.to_tensor, draw_noise(batch, T, "test", 1)))
    (values, gradients), (plain_values, plain_gradients) = (
        outcome(model, images, labels, noise, fast) for fast in (True, False)
    )
    for name, value in plain_values.items():
        assert values[name].shape == value.shape
        np.testing.assert_allclose(values[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
    for name, gradient in plain_gradients.items():
        if gradient is None:
            assert gradients[name] is None or not gradients[name].any(), name
        else:
            atol = 1e-5 * max(1, np.abs(gradient).max())
            np.testing.assert_allclose(gradients[name], gradient, rtol=1e-4, atol=atol, err_msg=name)
    assert any(gradient is not None and gradient.any() for gradient in plain_gradients.values())


def test_derivative_of_relu_from_its_output():
    outputs = np.array([0, 1e-30, 0.5, 3, 1e30], "float32")
    np.testing.assert_array_equal(active(paddle.to_tensor(outputs)).numpy(), outputs > 0)


@pytest.mark.parametrize("side", [20, 150])  # the cells of 20x20 are summed up before the first look
@pytest.mark.parametrize("fast", [True, False])
def test_several_paths_of_an_image_are_those_of_as_many_copies(fast, side):
    model = RecurrentAttention(4, 2, 2, 3, 8, 8, 0.1, 16, 5)
    model.initialize(7)
    model.fast = fast
    images = paddle.to_tensor(np.random.default_rng(3).integers(0, 256, (4, 3, side, side), dtype=np.uint8))
    noise = Noise(*map(paddle.to_tensor, draw_noise(12, 3, "test", 1)))
    assert model.fast is False or model.prepare(images).whole == (side == 20)
    copies = model.rollout(paddle.to_tensor(np.repeat(images.numpy(), 3, axis=0)), noise)
    for paths, copied in zip(model.rollout(images, noise), copies):
        assert paths.numpy().tobytes() == copied.numpy().tobytes()


def test_large_images_are_checked_by_fewer():
    for side, count in {60: 16, 500: 16, 1000: 4, 3000: 1}.items():
        assert first_images(paddle.empty([17, 1, side, side], "uint8")).shape == [count, 1, side, side]


def test_large_batches_share_their_memory_and_outlive_the_array():
    sharing = int(paddle.__version__.split(".")[0]) >= 3  # before, they are copied
    for shape, shared in (((128, 1, 60, 60), False), ((17, 1, 1000, 1000), sharing)):
        images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        x, kept = image_tensor(images), images.copy()
        images[0, 0, 0, 0] += 1
        assert (x[0, 0, 0, 0].item() == images[0, 0, 0, 0]) == shared
        images[0, 0, 0, 0] -= 1
        del images
        gc.collect()
        assert x.dtype == paddle.uint8 and np.array_equal(x.numpy(), kept)
    read_only = kept[:]
    read_only.flags.writeable = False
    for images in (kept[:, :, ::-1], read_only):
        assert np.array_equal(image_tensor(images).numpy(), images), "copied"


MEMORY = """
import runpy, sys
sys.argv[1:] = ["--preset=cluttered60", "--limit=384", "--epochs=1", "--plot_freq=0", "--use_gpu=False", *sys.argv[1:]]
try:
    runpy.run_path("main.py", run_name="__main__")
finally:
    from ram.speed.cases import peak_memory_mb
    print("peak", peak_memory_mb())
"""


@long_test()
def test_training_on_large_canvases_takes_two_batches_of_bytes_more(tmp_path):
    peaks = {}
    for side in (60, 1000):
        folders = [f"--{name}={tmp_path}/{side}/{name}" for name in ("ckpt_dir", "logs_dir", "plots_dir")]
        command = [sys.executable, "-c", MEMORY, f"--canvas_size={side}", *folders]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr[-2000:]
        peaks[side] = float(run.stdout.split()[-1])
    assert peaks[1000] < min(1000, peaks[60] + 2 * 128 * 1000**2 / 2**20)
