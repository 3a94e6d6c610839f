"""Tests of what is said where a GPU is wanted and Paddle can use none, or cannot be imported."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import paddle
import pytest
from helpers import ROOT, long_test

from ram.system import cpu, gpu

cpu_build = pytest.mark.skipif(paddle.is_compiled_with_cuda(), reason="for the build for CPUs")


def add_package(folder, name, version):
    """Write what tells that a package is installed, in a folder on the path."""
    about = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def call(tmp_path, *flags, **variables):
    """Run main.py with a folder before the path that the other packages are in."""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), **variables}
    command = [sys.executable, "main.py", f"--plots_dir={tmp_path}", f"--predict={tmp_path / 'absent.png'}", *flags]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


@long_test()
@cpu_build
def test_build_for_cpus_says_that_it_is_one(tmp_path):
    done = call(tmp_path)
    assert "[*] No GPU (this PaddlePaddle is built for CPUs; see requirements-gpu.txt): running on" in done.stdout
    assert "No GPU" not in call(tmp_path, "--use_gpu=False").stdout


@cpu_build
def test_both_packages_are_named(tmp_path):
    add_package(tmp_path / "site", "paddlepaddle-gpu", paddle.__version__)
    done = call(tmp_path)
    assert "No GPU (paddlepaddle and paddlepaddle-gpu are both installed" in done.stdout, done.stdout + done.stderr
    assert "python -m pip uninstall paddlepaddle paddlepaddle-gpu" in done.stdout


class Driver:
    """NVIDIA's driver, as far as it is asked: how it starts, and for which CUDA it is."""

    def __init__(self, status, version=11040):
        self.status, self.version = status, version

    def cuInit(self, flags):
        return self.status

    def cuDriverGetVersion(self, pointer):
        pointer._obj.value = self.version


@pytest.mark.parametrize(
    "driver, variable, expected",
    [
        (OSError("cannot open shared object file"), None, "cannot be loaded: NVIDIA's driver is not installed"),
        (OSError("cannot open shared object file"), "0", "cannot be loaded: NVIDIA's driver is not installed"),
        (Driver(100), None, "NVIDIA's driver finds none"),
        (Driver(999), None, "NVIDIA's driver fails with CUDA error 999"),
        (Driver(0), None, "NVIDIA's driver is for CUDA up to 11.4, and this PaddlePaddle is for CUDA 12.9"),
        (Driver(100), "-1,-1", "CUDA_VISIBLE_DEVICES='-1,-1' hides all"),
        (Driver(100), "", "CUDA_VISIBLE_DEVICES='' hides all"),
    ],
)
def test_build_for_gpus_says_what_is_wrong_with_the_driver(monkeypatch, capsys, driver, variable, expected):
    def load(name):
        if isinstance(driver, OSError):
            raise driver
        return driver

    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(paddle.version, "cuda", lambda: "12.9")
    monkeypatch.setattr(gpu, "both_installed", lambda: False)
    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if variable is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert "cpu" in cpu.choose_device(True)
    out = capsys.readouterr().out
    assert out.startswith("[*] No GPU (") and expected in out and out.count("\n") == 1


@pytest.mark.parametrize(
    "raised, both, expected",
    [
        (
            "ImportError('libmkl.so.2: cannot open shared object file\\nmore')",
            False,
            "imported: libmkl.so.2: cannot open",
        ),
        ("AttributeError('module has no attribute _C')", True, "uninstall paddlepaddle paddlepaddle-gpu"),
        ("ModuleNotFoundError('no module named decorator', name='decorator')", False, "no module named decorator"),
        ("ModuleNotFoundError('no module named paddle', name='paddle')", False, "PaddlePaddle is missing"),
    ],
)
def test_paddle_that_cannot_be_imported_is_one_line(tmp_path, raised, both, expected):
    site = tmp_path / "site"
    add_package(site, "paddlepaddle-gpu", "3.0.0") if both else site.mkdir()
    (site / "paddle").mkdir()
    (site / "paddle" / "__init__.py").write_text(f"raise {raised}")
    done = call(tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("main.py: PaddlePaddle "), done.stderr
    assert expected in done.stderr and done.stderr.count("\n") == 1
