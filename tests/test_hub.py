"""Tests of hubconf: the model as `paddle.hub` loads it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import paddle
import pytest
import safetensors.numpy
from helpers import folders, long_test
from test_main import ROOT, Place

import main
from config import get_config
from data_loader import get_test
from ram.evaluation import evaluate
from ram.runs import checkpoint
from ram.runs.weights import FACTS
from ram.system import apart


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


@pytest.mark.parametrize("values", [[0, 255], [-1, 1], [0, np.nan]])
def test_floating_point_images_outside_of_0_and_1_are_refused(trained, values):
    images = np.full((2, 1, 28, 28), values[0], "float32")
    images[1, 0, 3, 5] = values[1]
    with pytest.raises(ValueError, match=r"uint8, or in \[0, 1\], not float32 from "):
        load(weights=str(trained.best))(images)


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
    with pytest.raises(ValueError, match="absent"):
        load(weights=str(tmp_path / "absent.pdparams"))
    (tmp_path / "text.pdparams").write_text("hello")
    with pytest.raises(ValueError, match="text.pdparams"):
        load(weights=str(tmp_path / "text.pdparams"))


def test_preset_without_published_weights_is_an_error():
    with pytest.raises(ValueError, match="no published weights"):
        load(preset="mnist-quick")


def test_published_weights(trained, tmp_path, monkeypatch):
    content = checkpoint.read(str(trained.best))
    data = safetensors.numpy.save(content["ema"])
    (tmp_path / "mnist.safetensors").write_bytes(data)
    facts = {key: kind() if isinstance(kind, type) else 0 for key, kind in FACTS.items()}
    facts.update(settings=content["settings"], image_shape=[1, 28, 28], num_classes=10)
    facts.update(sha256=hashlib.sha256(data).hexdigest())
    (tmp_path / "mnist.json").write_text(json.dumps(facts))
    monkeypatch.setattr(apart.load(str(ROOT), "ram.runs.published"), "FOLDER", str(tmp_path))
    network, expected = load(preset="mnist"), load(weights=str(trained.best))
    assert network.classes == list("0123456789") and network.image_shape == (1, 28, 28)
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 28, 28)).astype(np.uint8)
    np.testing.assert_array_equal(network(images).numpy(), expected(images).numpy())
    again = load(weights=str(tmp_path / "mnist.safetensors"))
    np.testing.assert_array_equal(again(images).numpy(), expected(images).numpy())


@pytest.mark.parametrize("preset", ["cluttered60-random", "cluttered100-random"])
def test_model_of_random_locations_is_refused(preset):
    with pytest.raises(
        ValueError, match=f"{preset}.safetensors was trained with --policy=random: .* no mean locations"
    ):
        load(preset=preset)


def test_own_model_of_random_locations_is_refused(tmp_path, tiny_mnist):
    place = Place(tmp_path / "place", tiny_mnist.folder)
    with tiny_mnist.registered():
        place.run("--epochs=1", "--limit=64", "--policy=random")
    with pytest.raises(ValueError, match="no mean locations"):
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


# ---- programs with modules and threads of their own

NAMES = ("config", "utils", "model", "modules", "data_loader", "trainer", "visualize", "ram")
PROGRAM = """
import sys

import utils, config  # before the model is loaded
before, path = dict(sys.modules), list(sys.path)
import paddle
import numpy as np

network = paddle.hub.load(sys.argv[1], "ram", source="local", weights=sys.argv[2])
for name in ("utils", "config"):
    assert sys.modules[name] is before[name]
assert sys.path == path, sys.path
import model, modules, data_loader, trainer, visualize  # after it
from ram import inside
assert inside == "the program's ram/inside"
for name in NAMES:
    found = sys.modules[name]
    assert found.VALUE == f"the program's {name}" and not found.__file__.startswith(sys.argv[1]), found
images = np.zeros([3, 1, 28, 28], np.uint8)
expected = network(images).numpy()
assert network.rollout(paddle.to_tensor(images), network.Noise.mean(3, 3)).locations.shape == [3, 3, 2]
for name in NAMES:  # what the project's functions import when they are called is not the program's either
    sys.modules[name].__dict__.clear()
again = paddle.hub.load(sys.argv[1], "ram", source="local", weights=sys.argv[2])
assert (again(images).numpy() == expected).all()
try:
    paddle.hub.load(sys.argv[1], "ram", source="local", weights="absent.pdparams")
except ValueError as error:
    print("caught:", error)
"""


def write_program(folder, code):
    """Write a program with modules of its own that are named like the project's."""
    (folder / "ram").mkdir()
    (folder / "ram" / "inside.py").touch()
    (folder / "ram" / "__init__.py").write_text('VALUE, inside = "the program\'s ram", "the program\'s ram/inside"')
    for name in set(NAMES) - {"ram"}:
        (folder / f"{name}.py").write_text(f'VALUE = "the program\'s {name}"')
    (folder / "program.py").write_text(f"NAMES = {NAMES}\n{textwrap.dedent(code)}")
    return folder / "program.py"


def run_program(path, *arguments):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, str(path), str(ROOT), *map(str, arguments)]
    return subprocess.run(command, cwd=path.parent, env=environment, capture_output=True, text=True, timeout=120)


@long_test()
def test_program_keeps_its_own_modules_of_the_same_names(trained, tmp_path):
    done = run_program(write_program(tmp_path, PROGRAM), trained.best)
    assert done.returncode == 0 and "caught: " in done.stdout and "absent.pdparams" in done.stdout, done.stderr


@long_test()
def test_imports_inside_functions_are_the_projects_own(trained, tmp_path):
    code = """
    import os, sys
    import config
    sys.path.insert(0, os.path.join(sys.argv[1], "ram", "system"))
    import apart
    main = apart.load(sys.argv[1], "main")  # its functions import what they need
    assert main.main(main.get_config(["--use_gpu=False", f"--weights={sys.argv[2]}", *sys.argv[3:]])) == 0
    assert config.VALUE == "the program's config" and "model" not in sys.modules and "ram" not in sys.modules
    """
    flags = f"--export={tmp_path / 'export'}"
    done = run_program(write_program(tmp_path, code), trained.best, flags)
    assert done.returncode == 0 and "Exported" in done.stdout, done.stderr
    assert (tmp_path / "export" / "about.json").exists()


def test_every_form_of_import_is_renamed(tmp_path):
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "__init__.py").touch()
    (tmp_path / "part" / "inner.py").write_text("import math\nnumber = 5")
    (tmp_path / "other.py").write_text("from __future__ import annotations\nnumber = 7\nimport os.path, os as system")
    (tmp_path / "whole.py").write_text(
        "import os, other, part.inner, part.inner as inner\nfrom part import inner as again\n"
        "def late():\n    import other as found\n    from part.inner import number\n    return found.number, number"
    )
    whole = apart.load(str(tmp_path), "whole")
    assert whole.late() == (7, 5) and whole.other.number == 7 and whole.os is os
    assert whole.part.inner is whole.inner is whole.again and whole.inner.number == 5
    assert apart.load(str(tmp_path), "whole") is whole and not {"other", "part", "whole"} & set(sys.modules)
    (tmp_path / "broken.py").write_text("number = 1 / 0")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            apart.load(str(tmp_path), "broken")
    assert not list(tmp_path.rglob("*.pyc")), "the renamed source is no module's compiled form"


def test_threads_that_share_a_model_get_the_answers_of_one_after_the_other(trained):
    network = load(weights=str(trained.best))
    random = np.random.default_rng(3)
    batches = [random.integers(0, 256, (1 + number % 3, 1, 28, 28)).astype(np.uint8) for number in range(11)]
    expected = [network(images).numpy() for images in batches]
    gradients = []

    def calls(thread):
        for number in range(200):
            which = (number * 7 + thread) % len(batches)
            np.testing.assert_array_equal(network(batches[which]).numpy(), expected[which])
        x = paddle.ones([1])
        x.stop_gradient = False
        gradients.append(not (x * 2).stop_gradient)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(calls, range(8)))
    assert gradients == [True] * 8, "what the program itself computes still has gradients"
