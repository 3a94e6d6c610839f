"""Tests of hubconf: the model as `paddle.hub` loads it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import paddle
import pytest
import safetensors.numpy
from helpers import folders
from test_main import ROOT, Place

import main
from config import get_config
from data_loader import get_test
from ram.evaluation import evaluate
from ram.runs import checkpoint, published
from ram.runs.weights import FACTS
from utils import UserError


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_mnist):
    """A place with a small trained model, and the test images it is for."""
    place = Place(tmp_path_factory.mktemp("hub") / "place", tiny_mnist.folder)
    with tiny_mnist.registered():
        place.run("--epochs=3")
    return place


def load(**arguments):
    return paddle.hub.load(str(ROOT), "ram", source="local", **arguments)


def test_only_the_model_is_listed_and_it_is_explained():
    assert paddle.hub.list(str(ROOT), source="local") == ["ram"]
    assert "weights" in paddle.hub.help(str(ROOT), "ram", source="local")


def test_loaded_model_does_what_the_test_does(trained, tiny_mnist):
    network = load(weights=str(trained.best))
    assert (network.classes, network.image_shape, network.num_glimpses) == (list("0123456789"), (1, 28, 28), 3)
    images, labels = tiny_mnist.arrays["test_images"][:, None], tiny_mnist.arrays["test_labels"]
    probabilities = network(images).numpy()
    assert probabilities.shape == (100, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(network(paddle.to_tensor(images / 255, "float32")).numpy(), probabilities, atol=1e-5)
    np.testing.assert_array_equal(network(images).numpy(), probabilities)
    settings = checkpoint.read(str(trained.best))["settings"]
    with tiny_mnist.registered():
        split = get_test(type("Config", (), {**settings, "data_dir": str(trained.data)}))
    expected = evaluate(network, split, 3, 1, "mean", 1)
    assert (probabilities.argmax(axis=1) == labels).sum() == expected.correct


def test_single_glimpse_and_single_image(tmp_path, tiny_mnist):
    place = Place(tmp_path / "place", tiny_mnist.folder)
    with tiny_mnist.registered():
        place.run("--epochs=1", "--limit=64", "--num_glimpses=1")
    network = load(weights=str(next(place.ckpt.glob("*_model_best.pdparams"))))
    assert network(np.zeros((1, 1, 28, 28), np.uint8)).shape == [1, 10]


@pytest.mark.parametrize(
    "images", [np.zeros((28, 28), np.uint8), np.zeros((2, 1, 20, 28), np.uint8), np.zeros((2, 1, 28, 28), int)]
)
def test_images_of_another_kind_are_refused(trained, images):
    network = load(weights=str(trained.best))
    with pytest.raises(ValueError, match=r"uint8, or in \[0, 1\], and of \(B, 1, 28, 28\), not u?int"):
        network(images)


@pytest.mark.parametrize("model", ["ram", "fc64", "conv"])
def test_images_of_every_precision_and_none_at_all(tmp_path, tiny_mnist, model):
    with tiny_mnist.registered():
        flags = f"--model={model} --epochs=1 --limit=64 --use_gpu=False".split()
        main.main(get_config([*flags, *folders(tmp_path, tiny_mnist.folder)]))
    network = load(weights=str(next((tmp_path / "ckpt").glob("*_model_best.pdparams"))))
    images = tiny_mnist.arrays["test_images"][:5, None]
    expected = network(images).numpy()
    for kind, tolerance in (("float32", 1e-5), ("float64", 1e-5), ("float16", 0.02), ("bfloat16", 0.1)):
        found = network(paddle.to_tensor(images / 255.0).astype(kind))
        assert found.dtype == paddle.float32
        np.testing.assert_allclose(found.numpy(), expected, atol=tolerance)
    np.testing.assert_allclose(network(images / 255.0).numpy(), expected, atol=1e-5)
    for nothing in (images[:0], images[:0] / 255.0):
        assert network(nothing).shape == [0, 10]


def test_file_that_cannot_be_used_is_an_error(tmp_path):
    with pytest.raises(UserError, match="absent"):
        load(weights=str(tmp_path / "absent.pdparams"))
    (tmp_path / "text.pdparams").write_text("hello")
    with pytest.raises(UserError, match="text.pdparams"):
        load(weights=str(tmp_path / "text.pdparams"))


def test_preset_without_published_weights_is_an_error():
    with pytest.raises(UserError, match="no published weights"):
        load(preset="paper-cluttered100")


def test_published_weights(trained, tmp_path, monkeypatch):
    content = checkpoint.read(str(trained.best))
    data = safetensors.numpy.save(content["ema"])
    (tmp_path / "mnist.safetensors").write_bytes(data)
    facts = {key: kind() if isinstance(kind, type) else 0 for key, kind in FACTS.items()}
    facts.update(settings=content["settings"], image_shape=[1, 28, 28], num_classes=10)
    facts.update(sha256=hashlib.sha256(data).hexdigest())
    (tmp_path / "mnist.json").write_text(json.dumps(facts))
    monkeypatch.setattr(published, "FOLDER", str(tmp_path))
    network, expected = load(preset="mnist"), load(weights=str(trained.best))
    assert network.classes == list("0123456789") and network.image_shape == (1, 28, 28)
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 28, 28)).astype(np.uint8)
    np.testing.assert_array_equal(network(images).numpy(), expected(images).numpy())
    again = load(weights=str(tmp_path / "mnist.safetensors"))
    np.testing.assert_array_equal(again(images).numpy(), expected(images).numpy())


@pytest.mark.parametrize("preset", ["cluttered60-random", "cluttered100-random"])
def test_model_of_random_locations_is_refused(preset):
    with pytest.raises(UserError, match=f"{preset}.safetensors was trained with --policy=random: .* no mean locations"):
        load(preset=preset)


def test_own_model_of_random_locations_is_refused(tmp_path, tiny_mnist):
    place = Place(tmp_path / "place", tiny_mnist.folder)
    with tiny_mnist.registered():
        place.run("--epochs=1", "--limit=64", "--policy=random")
    with pytest.raises(UserError, match="no mean locations"):
        load(weights=str(next(place.ckpt.glob("*_model_best.pdparams"))))


def test_other_process_in_another_folder_loads_it(trained, tmp_path):
    code = (
        "import sys, paddle; network = paddle.hub.load(sys.argv[1], 'ram', source='local', weights=sys.argv[2]); "
        "print(network(paddle.zeros([2, 1, 28, 28])).shape)"
    )
    command = [sys.executable, "-c", code, str(ROOT), str(trained.best)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "[2, 10]" in done.stdout, done.stderr
