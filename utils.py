"""Small things that every other file needs: seeded generators, user errors, running means, device and threads.

Nothing here knows the model.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import signal
import sys
import threading
import warnings
import zlib
from importlib import metadata

import numpy as np


class UserError(Exception):
    """Something the user can put right. `main.py` prints it as one line and ends with status 2."""


def generator(stream: str, *numbers: int) -> np.random.Generator:
    """A random generator that is a pure function of its name and numbers, e.g. `generator("noise", seed, step)`.

    All randomness of the project comes from here and none from a global state. That makes a run repeatable, makes
    resuming exact (the step number is all there is to save), and keeps two trainings in one process apart.

    Args:
        stream: what the numbers are for; different names give independent streams.
        numbers: non-negative integers, such as seed, epoch or step; always as many for one name, since zeros at the
            end are no different from none.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([zlib.crc32(stream.encode()), *numbers])))


def listed(names: list[str]) -> str:
    """The names, cut, with commas, and no more than ten of them."""
    shown = ", ".join(printable(name[:40]) for name in names[:10])
    return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def printable(text: str) -> str:
    """A name as it is, or in quotes, escaped and cut where it would break a line, a terminal or the patience."""
    return text if text.isprintable() and len(text) <= 4096 else ascii(text[:100])


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop by a signal, and has saved itself. `signum` says by which."""

    def __init__(self, signum: int, message: str):
        super().__init__(message)
        self.signum = signum


STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows


def ignore_stop_signals() -> None:
    """For a process that ends because of one."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class StopRequest:
    """While active, SIGINT, SIGTERM and SIGHUP are noted in `signum` instead of ending the process at once.

    A signal that was inherited as ignored (nohup) stays ignored. Outside the main thread, where Python allows no
    handlers, nothing is caught.
    """

    def __init__(self):
        self.signum: int | None = None
        self._before = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, signum, frame):
        self.signum = signum

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


class Mean:
    """A running mean of several quantities over images. `state` is plain data, so that it can be saved."""

    def __init__(self, state: dict | None = None):
        self.state = dict(state) if state else {"count": 0}

    def update(self, count: int, **means: float) -> None:
        """Add `count` images over which the quantities had these means."""
        self.state["count"] += count
        for name, value in means.items():
            self.state[name] = self.state.get(name, 0.0) + count * value

    def __getitem__(self, name: str) -> float:
        return self.state.get(name, 0.0) / max(1, self.state["count"])


_threads: list[int | str] = []  # set by the first `prepare_cpu`: the environment tells only once what the user wished


def prepare_cpu() -> None:
    """Make matrix products fast on this CPU. Called before paddle is imported, it can do all it knows.

    Threads: importing paddle leaves one thread unless OMP_NUM_THREADS is set; all cores are used instead, divided by
    the processes that Paddle's launcher has started on this machine. An OMP_NUM_THREADS that the user set is respected.

    Kernels: the MKL inside Paddle's packages takes its slow generic path on processors that are not Intel's, whatever
    they can do. MKL_DEBUG_CPU_TYPE, a switch of just that MKL, names the path to take: 7 is AVX-512, 5 is AVX2. Both
    are measured in the README; a value that the user set is respected.
    """
    if _threads:
        return
    first_import = "paddle" not in sys.modules
    processes = os.environ.get("PADDLE_LOCAL_SIZE")  # set by the launcher
    # Importing paddle sets OMP_NUM_THREADS to 1 itself; after that, a 1 is no longer known to be the user's wish.
    # The launcher has imported it.
    known = first_import and not processes
    threads_chosen = os.environ.get("OMP_NUM_THREADS", "1") != "1" or (known and "OMP_NUM_THREADS" in os.environ)
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
        except ModuleNotFoundError as error:
            if error.name != "paddle":
                raise
            raise UserError("PaddlePaddle is missing: python -m pip install -r requirements.txt") from None

    keep_memory()
    cores = max(1, available_cores() // int(processes or 1))
    threads = os.environ["OMP_NUM_THREADS"] if threads_chosen else cores
    if not threads_chosen:
        paddle.base.core.set_num_threads(threads)
    _threads.append(threads)


def num_threads() -> int | str:
    """Threads that Paddle's matrix products use, since `prepare_cpu`."""
    return _threads[0]


def check_numpy() -> None:
    """Raise UserError for a pair of Paddle and NumPy that would end the process without a word."""
    for package in ("paddlepaddle", "paddlepaddle-gpu"):
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
        if version.startswith("2.") and not np.__version__.startswith("1."):
            raise UserError(f'{package} {version} does not work with numpy {np.__version__}: pip install "numpy<2"')


def keep_memory() -> None:
    """Let the C library keep freed memory for the next operation instead of returning it to the system each time.

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
    """Instruction sets of a processor that is not Intel's, as Linux names them; empty for Intel's and elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            lines = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line)
    except OSError:
        return set()
    fields = {key.strip(): value.split() for key, value in lines.items()}
    return set() if fields.get("vendor_id") == ["GenuineIntel"] else set(fields.get("flags", []))


def processor() -> str:
    """The processor's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def available_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_device(use_gpu: bool) -> str:
    """Set paddle's device, and say so in one line where a GPU was wanted and there is none."""
    prepare_cpu()
    import paddle

    if use_gpu and paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0:
        return str(paddle.set_device("gpu"))
    if use_gpu:
        print(f"[*] No GPU that this Paddle can use: running on the CPU ({num_threads()} threads)")
    return str(paddle.set_device("cpu"))


def to_tensor(array: np.ndarray):
    """`paddle.to_tensor` of an array, same type and same bits; but in Paddle 3.3 that never frees some 160 bytes of
    each call, which is hundreds of megabytes in a long training.
    """
    import paddle

    tensor = paddle.empty(array.shape, str(array.dtype))
    tensor.set_value(array)
    return tensor


def make_folder(path: str) -> None:
    """Make a folder and those above it.

    Raises:
        UserError: if that is not possible.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {path}: {error.strerror or error}") from None


class JsonLines:
    """A log of one JSON object per line."""

    def __init__(self, path: str):
        self.path = path

    def append(self, record: dict) -> None:
        """Add a line.

        Raises:
            UserError: if it cannot be written.
        """
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror or error}") from None

    def replace(self, records: list[dict]) -> None:
        """Make the log hold just these."""
        temporary = self.path + ".tmp"
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                file.writelines(json.dumps(record) + "\n" for record in records)
            os.replace(temporary, self.path)
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror or error}") from None


def save_glimpses(folder: str, epoch: int, arrays: dict[str, np.ndarray]) -> None:
    """Store what the model looked at as `<folder>/glimpses_<epoch>.npz`, for pictures to be drawn later."""
    make_folder(folder)
    path = os.path.join(folder, f"glimpses_{epoch:04d}.npz")
    try:
        np.savez_compressed(path, **arrays)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None


def show_sample(split, folder: str, title: str, rows: int = 3) -> str:
    """Write rows x rows images of a split with their labels as a PNG, and show it where there is a display.

    Returns:
        The path of the picture.
    """
    from matplotlib.figure import Figure

    images, labels = split.batch(np.arange(min(rows * rows, len(split))))
    figure = Figure(figsize=(6, 6.4), layout="constrained")  # without pyplot: no window, no global state
    axes = figure.subplots(rows, rows)
    figure.suptitle(title)
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, label in zip(axes.flat, images, labels):
        axis.imshow(image.transpose(1, 2, 0).squeeze(), cmap="gray" if len(image) == 1 else None)
        axis.set_title(str(label))
    make_folder(folder)
    path = os.path.join(folder, f"sample_{title}.png")
    try:
        figure.savefig(path, dpi=100)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        from PIL import Image

        Image.open(path).show()  # in a viewer of its own: training goes on
    return path
