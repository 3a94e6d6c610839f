"""Find out why Paddle can use no GPU."""

from __future__ import annotations

import ctypes
import os
import sys
from importlib import metadata

BOTH = (
    "paddlepaddle and paddlepaddle-gpu are both installed, and the files of one lie over the other's: "
    "python -m pip uninstall paddlepaddle paddlepaddle-gpu, then install one of them"
)
DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
NO_DEVICE = 100  # CUDA's number for that


def both_installed() -> bool:
    """Tell whether the builds for CPUs and for GPUs are both installed: they share the folder of their files."""
    try:
        return bool(metadata.version("paddlepaddle") and metadata.version("paddlepaddle-gpu"))
    except metadata.PackageNotFoundError:
        return False


def reason() -> str:
    """Tell why Paddle, which is imported, has no GPU to use."""
    import paddle

    if not paddle.is_compiled_with_cuda():
        return BOTH if both_installed() else "this PaddlePaddle is built for CPUs; see requirements-gpu.txt"
    why = no_driver()
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and not why.startswith(DRIVER):
        why = f"CUDA_VISIBLE_DEVICES={ascii(hidden[:100])} hides all, or the driver has none"
    return f"{why}; {BOTH}" if both_installed() else why


def no_driver() -> str:
    """Describe the answer of NVIDIA's driver, or that there is none."""
    import paddle

    try:
        driver = ctypes.CDLL(DRIVER)
        status, version = driver.cuInit(0), ctypes.c_int(0)
        driver.cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return f"{DRIVER} cannot be loaded: NVIDIA's driver is not installed"
    if status == NO_DEVICE:
        return "NVIDIA's driver finds none"
    if status:
        return f"NVIDIA's driver fails with CUDA error {status}"
    supported = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return f"NVIDIA's driver is for CUDA up to {supported}, and this PaddlePaddle is for CUDA {paddle.version.cuda()}"
