"""Set up this machine's processor: threads, fast kernels, memory, and the device that Paddle computes on."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import warnings
from importlib import metadata

import numpy as np

from ram.system import gpu, processes
from utils import UserError, first_line, printable

MOST_THREADS = 1024
_threads: list[int | str] = []  # set by the first `prepare_cpu`, since importing paddle changes OMP_NUM_THREADS


def prepare_cpu() -> None:
    """Make matrix products fast on this CPU; best called before paddle is imported.

    Threads: importing paddle leaves one thread unless OMP_NUM_THREADS is set; all cores are used instead, divided by
    the processes that Paddle's launcher has started on this machine. An OMP_NUM_THREADS that the user set is respected.

    Kernels: the MKL inside Paddle's packages takes its slow generic path on processors that are not Intel's, whatever
    they can do. MKL_DEBUG_CPU_TYPE, a switch of just that MKL, names the path to take: 7 is AVX-512, 5 is AVX2. Both
    are measured in docs/speed.md; a value that the user set is respected.
    """
    if _threads:
        return
    check_threads()
    first_import = "paddle" not in sys.modules
    launched = "PADDLE_LOCAL_SIZE" in os.environ
    # Importing paddle sets OMP_NUM_THREADS to 1 itself; after that, a 1 may not be the user's choice. The launcher has
    # imported it.
    untouched = (first_import or threads_at_start()) and not launched
    threads_chosen = os.environ.get("OMP_NUM_THREADS", "1") != "1" or (untouched and "OMP_NUM_THREADS" in os.environ)
    flags = cpu_flags()
    if first_import and {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"} <= flags:
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "7")
    elif first_import and {"avx2", "fma"} <= flags:
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")
    check_numpy()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No ccache found")  # nothing is compiled here
        try:
            import paddle
        except Exception as error:  # a library that it needs is missing, or its files are those of two packages
            if isinstance(error, ModuleNotFoundError) and error.name == "paddle":
                raise UserError("PaddlePaddle is missing: python -m pip install -r requirements.txt") from None
            advice = f"; {gpu.BOTH}" if gpu.both_installed() else ""
            raise UserError(f"PaddlePaddle cannot be imported: {first_line(error)}{advice}") from None

    if first_import:
        paddle.disable_signal_handler()  # else it answers SIGTERM with a report of many lines
    keep_memory()
    cores = max(1, available_cores() // processes.on_this_machine())
    threads = os.environ["OMP_NUM_THREADS"] if threads_chosen else cores
    if not threads_chosen:
        paddle.base.core.set_num_threads(threads)
    _threads.append(threads)


def threads_at_start() -> bool:
    """Tell whether OMP_NUM_THREADS was set when this process began, as far as the system remembers (Linux).

    By the user, or by a program with Paddle that started this process: the two look alike.
    """
    try:
        with open("/proc/self/environ", "rb") as file:
            return any(line.startswith(b"OMP_NUM_THREADS=") for line in file.read().split(b"\0"))
    except OSError:
        return False


def check_threads() -> None:
    """Raise UserError where OMP_NUM_THREADS is no number of threads: too many would end the process in C++."""
    text = os.environ.get("OMP_NUM_THREADS", "1")
    if not text.isdecimal() or not 1 <= int(text) <= MOST_THREADS:
        raise UserError(f"OMP_NUM_THREADS={printable(text)} must be a number of threads from 1 to {MOST_THREADS}")


def num_threads() -> int | str:
    """Return the number of threads that Paddle's matrix products use, since `prepare_cpu`."""
    return _threads[0]


def threads_of(jobs: int) -> int | str:
    """Return the threads of each of several processes here: the user's OMP_NUM_THREADS, or a share of cores."""
    chosen = isinstance(num_threads(), str)
    return num_threads() if chosen else max(1, available_cores() // jobs)


def check_numpy() -> None:
    """Raise UserError for a pair of Paddle and NumPy that would end the process without a message."""
    for package in ("paddlepaddle", "paddlepaddle-gpu"):
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
        if version.startswith("2.") and not np.__version__.startswith("1."):
            raise UserError(f'{package} {version} does not work with numpy {np.__version__}: pip install "numpy<2"')


def keep_memory() -> None:
    """Keep freed memory in the C library for the next operation instead of returning it to the system each time.

    Paddle's CPU tensors come from malloc, and glibc returns every large block at once: the next operation then waits
    for the kernel to clear its pages, which takes many times longer than the operation itself.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return
    if not mallopt(-3, 2**30):  # M_MMAP_THRESHOLD
        mallopt(-3, 2**25)  # as much as an older glibc allows
    mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def cpu_flags() -> set[str]:
    """List the instruction sets of a processor that is not Intel's, as Linux names them; else none."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            lines = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line)
    except OSError:
        return set()
    fields = {key.strip(): value.split() for key, value in lines.items()}
    return set() if fields.get("vendor_id") == ["GenuineIntel"] else set(fields.get("flags", []))


def processor() -> str:
    """Name the processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def hardware_here() -> str:
    """Describe what this process computes with."""
    return f"{processor()}, threads: {num_threads()}"


def available_cores() -> int:
    """Count the processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_device(use_gpu: bool) -> str:
    """Set paddle's device; where a GPU was requested and there is none, print why in one line."""
    prepare_cpu()
    import paddle

    if not paddle.in_dynamic_mode():  # as after the end of the thread that imported Paddle
        paddle.disable_static()
    if use_gpu and paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0:
        return str(paddle.set_device("gpu"))
    if use_gpu:
        print(f"[*] No GPU ({gpu.reason()}): running on the CPU ({num_threads()} threads)")
    return str(paddle.set_device("cpu"))
