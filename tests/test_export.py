"""Tests of export and deploy: what is exported does what the live model does, for all kinds of models and batches."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import paddle
import pytest
from helpers import ROOT, long_test
from PIL import Image

import main
from config import get_config
from model import Noise
from ram.build import build_model, load_weights
from ram.runs import checkpoint
from ram.runs.settings import settings
from ram.use import deploy, export
from utils import UserError

SMALL = "--use_gpu=False --hidden_size=16 --glimpse_hidden=12 --loc_hidden=8 --patch_size=6 --num_glimpses=4".split()
COLOUR = (
    "--dataset=folder --core=lstm --num_patches=3 --glimpse_scale=2 --unit_pixels=9 --pixel_mean=0.13 --pixel_std=0.3"
).split()
CASES = {  # flags, and the shape of the images
    "plain": (SMALL, (1, 28, 28)),
    "lstm, three patches, unit_pixels, colour": ([*SMALL, *COLOUR], (3, 20, 30)),
    "one glimpse": ([*SMALL, "--num_glimpses=1", "--num_patches=2", "--glimpse_scale=3"], (1, 28, 28)),
    "center": ([*SMALL, "--policy=center"], (1, 28, 28)),
    "convolutions in the glimpse network": ([*SMALL, *COLOUR, "--glimpse_network=conv"], (3, 20, 30)),
    "conv": (["--use_gpu=False", "--model=conv", "--pixel_mean=0.13"], (1, 28, 28)),
}
NAMES = ["zero", "one", "two", "three", "four"]


class Trained:
    """Random weights in a file, as a training leaves them, and the model that they make."""

    def __init__(self, folder, case="plain", gain=2, **trained_with):
        flags, shape = CASES[case]
        self.flags, self.shape, self.path = flags, shape, folder / "best.pdparams"
        config = get_config(flags)
        self.num_glimpses = config.num_glimpses
        self.model = build_model(config, shape, len(NAMES))
        self.model.initialize(3)
        weights = {name: value.numpy() for name, value in self.model.state_dict().items()}
        if "locator.fc_lt.weight" in weights:
            weights["locator.fc_lt.weight"] *= gain  # further from the middle; with a large one, to the very border
        load_weights(self.model, weights)
        content = {"settings": {**settings(config), **trained_with}, "model": weights, "epoch": 7}
        checkpoint.write(str(self.path), {**content, "image_shape": list(shape), "classes": NAMES})

    def export(self, *flags):
        main.main(get_config([f"--weights={self.path}", "--use_gpu=False", *map(str, flags)]))

    def refusal(self, *flags):
        with pytest.raises(UserError) as caught:
            self.export(*flags)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def expected(self, images):
        """Probabilities and locations, by the rollout that the paper tells."""
        B, x = len(images), paddle.to_tensor(images)
        noise = Noise.mean(B, self.num_glimpses)
        rollout = getattr(self.model, "plain_rollout", self.model.rollout)(x, noise)
        return np.exp(rollout.log_probs.numpy()), rollout.locations.numpy()

    def check(self, run):
        for B in (1, 5, 12, 1):
            images = np.random.default_rng(B).integers(0, 256, (B, *self.shape)).astype(np.uint8)
            for found, expected in zip(run(images), self.expected(images)):
                assert found.shape == expected.shape and found.dtype == np.float32
                np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.fixture
def trained(tmp_path):
    return Trained(tmp_path)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder with an exported model, for those that only read it."""
    root = tmp_path_factory.mktemp("exported")
    Trained(root).export(f"--export={root / 'export'}")
    return root / "export"


# ---- what is computed


QUICK = ["plain", "convolutions in the glimpse network"]


@pytest.mark.parametrize("case", [*QUICK, *long_test(*(case for case in CASES if case not in QUICK))])
def test_export_does_what_the_model_does(case, tmp_path, capsys):
    trained, folder = Trained(tmp_path, case), tmp_path / "new" / "export"
    trained.export(f"--export={folder}")
    out = capsys.readouterr().out
    assert f"Exported {trained.path} to {folder}, checked with paddle.inference" in out
    assert float(out.split("largest difference ")[1]) < 1e-5
    trained.check(deploy.Model(str(folder)))
    if case == "lstm, three patches, unit_pixels, colour":
        images = np.random.default_rng(1).integers(0, 256, (9, *trained.shape)).astype(np.uint8)
        assert np.ptp(trained.expected(images)[1], axis=(0, 1)).min() > 0.1, "the paths should differ"
    about = json.loads((folder / "about.json").read_text())
    assert about["classes"] == NAMES and about["image_shape"] == list(trained.shape) and about["epoch"] == 7
    assert about["settings"]["pixel_mean"] == get_config(trained.flags).pixel_mean and about["preset"] is None


def test_what_was_not_written_whole_is_one_line(exported, tmp_path):
    for name in ("inference.json", "inference.pdiparams"):
        shutil.copytree(exported, tmp_path / name)
        path = tmp_path / name / name
        path = path if path.exists() else path.with_suffix(".pdmodel")  # of Paddle 2.6
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        says = r"nothing was exported: what Paddle wrote to .* cannot be read \(.*\); if the disk is full"
        with pytest.raises(UserError, match=says) as caught:
            export.written(str(tmp_path / name))
        assert "\n" not in str(caught.value)


def test_preset_and_architecture_come_from_the_weights(tmp_path):
    trained = Trained(tmp_path, preset="cluttered60")
    trained.export(f"--export={tmp_path / 'export'}")
    about = json.loads((tmp_path / "export" / "about.json").read_text())
    assert about["preset"] == "cluttered60" and about["settings"]["patch_size"] == 6
    assert not {"data_dir", "export", "weights"} & set(about["settings"])


# ---- what is refused, and what stays


def test_export_that_differs_is_an_error_and_leaves_nothing(trained, tmp_path, monkeypatch):
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    message = trained.refusal(f"--export={tmp_path / 'export'}")
    assert "nothing was exported: paddle.inference gives other" in message
    assert sorted(tmp_path.rglob("*")) == before


def test_any_difference_is_found_but_not_where_rounding_decides(tmp_path):
    trained = Trained(tmp_path, gain=30)  # the means are at the border, where rounding decides between two pixels
    trained.export(f"--export={tmp_path / 'export'}")
    run, known = deploy.Model(str(tmp_path / "export")), (trained.model, trained.shape)
    assert export.verified(run, *known, 4, "it") < 1e-5
    for part, place in ((0, (0, 3)), (1, (0, 0, 1)), (1, (-1, 3, 0))):
        for wrong in (1e-3, math.nan):

            def distorted(images, part=part, place=place, wrong=wrong):
                found = run(images)
                found[part][place] += wrong
                return found

            with pytest.raises(UserError, match="it gives other"):
                export.verified(distorted, *known, 4, "it")
    with pytest.raises(UserError, match="it gives other"):
        export.verified(lambda images: [part[:, :3] for part in run(images)], *known, 3, "it")


def test_earlier_export_is_moved_aside_and_other_files_stay(trained, tmp_path, capsys):
    folder = tmp_path / "export"
    trained.export(f"--export={folder}")
    (folder / "notes.txt").write_text("mine")
    earlier = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "notes.txt"}
    capsys.readouterr()
    trained.export(f"--export={folder}/")
    assert "An earlier export was moved to" in capsys.readouterr().out
    (aside,) = (folder / "old").iterdir()
    assert {path.name: path.read_bytes() for path in aside.iterdir()} == earlier
    assert {path.name for path in folder.iterdir()} == {*earlier, "notes.txt", "old"}
    trained.check(deploy.Model(str(folder)))


def test_what_cannot_be_exported_is_an_error(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    assert "cannot make the folder file" in trained.refusal("--export=file")
    assert (tmp_path / "file").read_text() == "mine"
    assert "--export='' is not a path" in trained.refusal("--export=")
    for wishes in (
        ["--predict=a.png", "--export=new"],
        ["--export_onnx=new", "--resume"],
        ["--export=new", "--resume"],
    ):
        first, second = (wish.split("=")[0] for wish in wishes)
        with pytest.raises(UserError, match=f"{first} and {second} are two different things"):
            get_config(wishes)
    get_config(["--export=new", "--export_onnx=new.onnx"])
    assert "no mean locations" in Trained(tmp_path, policy="random").refusal("--export=new")
    with pytest.raises(UserError, match="there is nothing to export"):
        main.main(get_config(["--export=new", "--num_glimpses=99", "--ckpt_dir=empty", "--use_gpu=False"]))
    assert not (tmp_path / "new").exists()


# ---- the script


@long_test()
def test_script_runs_an_export_without_the_project(tmp_path):
    trained, own = Trained(tmp_path, "lstm, three patches, unit_pixels, colour"), tmp_path / "elsewhere"
    own.mkdir()
    trained.export(f"--export={own / 'model'}")
    shutil.copy(ROOT / "ram" / "use" / "deploy.py", own)
    pixels = np.random.default_rng(5).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(own / "a.png")
    (own / "broken.png").write_text("no image")
    command = [sys.executable, "-I", "deploy.py", "model", "broken.png", "a.png"]
    done = subprocess.run(command, cwd=own, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "deploy.py: skipped broken.png" in done.stderr, done.stderr
    (probabilities,), (locations,) = trained.expected(pixels.transpose(2, 0, 1)[None])
    label, steps = probabilities.argmax(), " ".join(f"({x:.2f},{y:.2f})" for x, y in locations)
    assert done.stdout == f"a.png: {NAMES[label]} ({100 * probabilities[label]:.2f} %), path {steps}\n"


def test_script_fits_images_to_the_model(tmp_path):
    path = str(tmp_path / "a.png")
    Image.fromarray(np.full((10, 20), 200, np.uint8)).save(path)
    assert (deploy.read(path, (1, 10, 20), False) == 200).all()
    assert (deploy.read(path, (3, 10, 20), True) == 55).all()
    image = deploy.read(path, (1, 28, 28), False)
    assert image.shape == (1, 28, 28) and image.dtype == np.uint8
    assert (image[0, 7:21] == 200).all() and image[0, :7].max() == image[0, 21:].max() == 0


def test_script_reads_a_digit_however_it_is_stored(tmp_path):
    path = str(tmp_path / "a.png")
    grey = np.arange(100, dtype=np.uint8).reshape(10, 10) * 2
    white_ink = np.dstack([np.full((10, 10, 3), 255, np.uint8), grey])
    black_ink = np.dstack([np.zeros((10, 10, 3), np.uint8), grey])
    for pixels, invert in ((grey, False), (grey.astype(np.uint16) * 257, False), (white_ink, False), (black_ink, True)):
        Image.fromarray(pixels).save(path)
        assert np.abs(deploy.read(path, (1, 10, 10), invert)[0].astype(int) - grey).max() <= 1
    Image.fromarray(np.dstack([grey] * 3)).quantize(64).save(path, transparency=0)
    assert deploy.read(path, (3, 10, 10), False).shape == (3, 10, 10)


@pytest.mark.parametrize("damage", ["absent", "about.json {", "about.json []", "inference.pdiparams", "inference.json"])
def test_script_says_which_export_cannot_be_used(exported, tmp_path, capsys, monkeypatch, damage):
    folder = tmp_path / "export"
    if damage != "absent":
        shutil.copytree(exported, folder)
        name, _, content = damage.partition(" ")
        path = folder / name
        if content:
            path.write_text(content)
        else:
            (path if path.exists() else path.with_suffix(".pdmodel")).unlink()
    monkeypatch.setattr(sys, "argv", ["deploy.py", str(folder), "a.png"])
    assert deploy.main() == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if not line.startswith("W"))  # Paddle's C++
    assert line.startswith(f"deploy.py: there is no exported model in {folder}")


def test_script_skips_what_pillow_cannot_turn_into_bytes(exported, tmp_path, capsys, monkeypatch):
    Image.fromarray(np.full((9, 9), 70_000, np.int32)).save(tmp_path / "large.tif")
    Image.new("LAB", (9, 9)).save(tmp_path / "lab.tif")
    names = [str(tmp_path / name) for name in ("large.tif", "lab.tif")]
    monkeypatch.setattr(sys, "argv", ["deploy.py", str(exported), *names])
    assert deploy.main() == 1
    captured = capsys.readouterr()
    assert [line.split(": ")[:2] for line in captured.err.splitlines() if line.startswith("deploy.py")] == [
        ["deploy.py", f"skipped {name}"] for name in names
    ]


def test_script_refuses_images_of_another_kind(exported):
    run = deploy.Model(str(exported))
    for images in (np.zeros((2, 1, 28, 28), np.float32), np.zeros((2, 1, 28, 27), np.uint8)):
        with pytest.raises(ValueError, match=r"images are uint8 of \(B, 1, 28, 28\), at least one, not"):
            run(images)


@long_test()
def test_threads_that_share_a_model_get_the_answers_of_one_after_the_other(exported):
    model = deploy.Model(str(exported))
    random = np.random.default_rng(4)
    batches = [random.integers(0, 256, (1 + number % 4, 1, 28, 28)).astype(np.uint8) for number in range(9)]
    expected = [model(images) for images in batches]

    def calls(thread):
        for number in range(200):
            which = (number * 5 + thread) % len(batches)
            for found, part in zip(model(batches[which]), expected[which]):
                np.testing.assert_array_equal(found, part)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(calls, range(8)))


# ---- ONNX


@pytest.mark.parametrize("case", CASES)
def test_onnx_does_what_the_model_does(case, tmp_path, capsys):
    pytest.importorskip("paddle2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    trained, path = Trained(tmp_path, case), tmp_path / "new" / "model.onnx"
    trained.export(f"--export_onnx={path}")
    assert "checked with onnxruntime" in capsys.readouterr().out
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    trained.check(lambda images: session.run(["probabilities", "locations"], {"images": images}))
    assert json.loads(session.get_modelmeta().custom_metadata_map["about"])["classes"] == NAMES


@pytest.mark.skipif(paddle.__version__.startswith("2."), reason="ONNX needs PaddlePaddle 3")
@pytest.mark.parametrize(
    "package, source, expected",
    [
        (
            "paddle2onnx",
            "raise ImportError('DLL load failed while importing core: not found\\nmore')",
            "DLL load failed",
        ),
        *(
            pytest.param(*case, marks=long_test())
            for case in (
                ("paddle2onnx", "import absent_dependency", "No module named 'absent_dependency'"),
                ("paddle2onnx", "raise OSError(8, 'Exec format error')", "Exec format error"),
                ("onnx", "raise TypeError('Descriptors cannot be created directly')", "Descriptors cannot be created"),
                ("onnx", "from math import absent", "cannot import name 'absent'"),
            )
        ),
    ],
)
def test_package_for_onnx_that_cannot_be_imported_gives_its_reason(trained, tmp_path, package, source, expected):
    for name in ("onnx", "paddle2onnx"):
        (tmp_path / "site" / name).mkdir(parents=True)
        (tmp_path / "site" / name / "__init__.py").write_text(source if name == package else "")
    command = [sys.executable, "main.py", f"--weights={trained.path}", f"--export_onnx={tmp_path / 'a.onnx'}"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("main.py: --export_onnx cannot import paddle2onnx: ") and expected in line
    assert "pip install" not in line and not (tmp_path / "a.onnx").exists()


def test_onnxruntime_that_cannot_be_imported_gives_its_reason(tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('libstdc++.so.6: version not found')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    assert "libstdc++.so.6: version not found" in export.unchecked() and "pip" not in export.unchecked()
    (tmp_path / "onnxruntime.py").write_text("import onnxruntime_absent")
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    assert "onnxruntime_absent" in export.unchecked()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert export.unchecked() == export.UNCHECKED


def test_onnx_says_what_is_missing(trained, tmp_path, monkeypatch):
    assert "is a folder" in trained.refusal(f"--export_onnx={tmp_path}")
    assert "is no ordinary file" in trained.refusal(f"--export_onnx={os.devnull}")
    monkeypatch.setitem(sys.modules, "paddle2onnx", None)  # as if it were not installed
    message = trained.refusal(f"--export_onnx={tmp_path / 'a.onnx'}", f"--export={tmp_path / 'export'}")
    assert "pip install paddle2onnx" in message or "needs PaddlePaddle 3" in message
    assert not (tmp_path / "export").exists()
