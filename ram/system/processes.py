"""Train one model with several processes: each takes its share of every batch, and the gradients are added up.

    python -m paddle.distributed.launch --nproc_per_node 2 main.py ...

Paddle's launcher starts the processes and tells them their number through the environment; `paddle.distributed` joins
them (gloo on CPUs, NCCL on GPUs). All have the same weights, draw the same order and noise, and make the same update.
Process 0 alone writes files and prints. In a single process nothing is exchanged.

Why not `paddle.DataParallel`? It hooks into autograd, parameter by parameter, and has to be told which of them get no
gradient (`find_unused_parameters`: the locator's with --policy=random) and when not to join (`no_sync`). All gradients
of this model together are a few megabytes: one sum over one flat array after backward has neither problem, is the same
for every model here, and leaves nothing to overlap that would be worth it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
import traceback
import zlib
from typing import NamedTuple

import numpy as np

from ram.system.signals import STOP_SIGNALS, Interrupted
from utils import UserError, printable

POLL_SECONDS = 0.5  # between looks at whether another process has failed
OF_THE_LAUNCHER = ("PADDLE_TRAINER_ID", "PADDLE_CURRENT_ENDPOINT", "PADDLE_TRAINER_ENDPOINTS")  # what it sets
PATIENCE_SECONDS = 2  # for the reason to arrive, after a sum has failed: less than the launcher has


def number_in(variable: str, least: int) -> int:
    """Read a number of the environment, which Paddle's launcher sets; where it did not, the least.

    Raises:
        UserError: it is no number, or below the least.
    """
    text = os.environ.get(variable, str(least))
    if not text.isdecimal() or int(text) < least:
        advice = "unset it, or start with paddle.distributed.launch"
        raise UserError(f"{variable}={printable(text)} must be a whole number of at least {least}; {advice}")
    return int(text)


def world() -> int:
    """Return the number of processes."""
    return number_in("PADDLE_TRAINERS_NUM", 1)


def on_this_machine() -> int:
    """Return how many of the processes run on this machine."""
    return number_in("PADDLE_LOCAL_SIZE", 1)


def rank() -> int:
    """Return the number of this process, from 0."""
    return number_in("PADDLE_TRAINER_ID", 0) if world() > 1 else 0


def is_first() -> bool:
    """Tell whether this is the process that writes files and prints."""
    return rank() == 0


def bar() -> dict:
    """Return tqdm's settings: its own in a terminal, a bar every ten seconds in a log file; the first process alone."""
    interval = {} if sys.stderr.isatty() else {"mininterval": 10, "maxinterval": 10}
    return {**interval, "disable": not is_first()}


# ------------------------------------------------------------------------------------------------------ joint work


class Share(NamedTuple):
    """The part of a batch that one process computes."""

    rows: slice  # of the batch
    weight: float  # of their mean in the mean over the batch


def share(count: int) -> Share:
    """Return this process's share of a batch of `count` images, which the processes divide as evenly as possible.

    Where there are fewer images than processes, some compute one image more, with weight 0: so every process always
    has gradients of the same parameters, and no special case.
    """
    begin, end = (count * r // world() for r in (rank(), rank() + 1))
    return Share(slice(begin, end), (end - begin) / count) if end > begin else Share(slice(0, 1), 0.0)


def add_up(tensors: list) -> list:
    """Add up tensors of one dtype over all processes, which must all have tensors of these shapes.

    Raises:
        UserError: another process has ended.
    """
    import paddle

    if world() == 1:
        return tensors
    flat = paddle.concat([tensor.flatten() for tensor in tensors])
    try:
        paddle.distributed.all_reduce(flat)
    except Exception as error:  # what is raised depends on the backend
        _wait_for_reason()
        raise UserError(
            "another process has ended without a message, or lets the others wait for too long (with gloo, that is 30 "
            f"seconds); the launcher's log folder may tell more ({str(error).strip().splitlines()[-1][:200]})"
        ) from None
    parts = paddle.split(flat, [tensor.size for tensor in tensors])
    return [part.reshape(tensor.shape) for part, tensor in zip(parts, tensors)]


def join(parameters: list, means, stopped: bool) -> tuple:
    """Add up the weighted gradients of all processes, their means, and their stop requests.

    Reward and baseline need no exchange of their own: they enter through the gradients of each image's loss.

    Returns:
        The means over the whole batch, and whether any process got a signal to stop.
    """
    import paddle

    trained = [weight for weight in parameters if weight.grad is not None]
    flag = paddle.full([], float(stopped), means.dtype)
    *gradients, means, flag = add_up([*(weight.grad for weight in trained), means, flag])
    for weight, gradient in zip(trained, gradients):
        weight.grad = gradient
    return means, float(flag) > 0


def total(array: np.ndarray) -> np.ndarray:
    """Add up a float64 array over all processes; exact where just one of them has something else than zero.

    The processes wait for each other, however long one of them still reads its data, evaluates or saves.
    """
    import paddle

    if world() == 1:
        return array
    barrier()
    return add_up([paddle.to_tensor(array)])[0].numpy()


def check_same(**facts: bytes) -> None:
    """Raise UserError where processes begin with different facts, as on machines with different folders.

    Args:
        facts: bytes by the name that an error gives them.
    """
    if world() == 1:
        return
    sums = np.zeros((world(), len(facts)))
    sums[rank()] = [zlib.crc32(fact) for fact in facts.values()]
    sums = total(sums)
    other, name = (int(indices[0]) if len(indices) else None for indices in np.nonzero(sums != sums[0]))
    if other is not None:
        raise UserError(
            f"process {other} has other {list(facts)[name]} than process 0: all need the same command and data, and a "
            "--ckpt_dir that they share"
        )


# -------------------------------------------------------------------------------------------- beginning and ending


@contextlib.contextmanager
def _undisturbed():
    """Block signals in this thread, and in those that it starts: one would break off an exchange with the store."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Store:
    """The launcher's key-value store in process 0: slow (50 ms), but without a time limit.

    A sum over the processes has a time limit, and nothing else can go on meanwhile.
    """

    def __init__(self):
        import paddle

        self.store, self.lock = paddle.base.core.create_or_get_global_tcp_store(), threading.Lock()
        self.rounds = 0  # of `barrier`

    def count(self, key: str, more: int = 0) -> int:
        """Add to a counter, which begins at 0, and return it."""
        with _undisturbed(), self.lock:
            return self.store.add(f"ram/{key}", more)

    def put(self, key: str, value: object) -> None:
        with _undisturbed(), self.lock:
            self.store.set(f"ram/{key}", json.dumps(value).encode())

    def get(self, key: str) -> object:
        """Read a value that exists: for others, this would wait, and block all other use."""
        with _undisturbed(), self.lock:
            return json.loads(bytes(self.store.get(f"ram/{key}")))


_store: _Store | None = None


def barrier() -> None:
    """Wait, however long, until all processes have called this."""
    if world() == 1:
        return
    _store.rounds += 1
    key = f"barrier/{_store.rounds}"
    _store.count(key, 1)
    while _store.count(key) < world():
        time.sleep(0.05)


@contextlib.contextmanager
def first_alone():
    """Run the block in process 0 before the others, which then find what it has stored."""
    if not is_first():
        barrier()
    yield
    if is_first():
        barrier()


@contextlib.contextmanager
def together():
    """Join the processes for the block; if one fails, all end with its message and its status.

    The device has to be chosen before. All but process 0 print nothing on standard output.

    Raises:
        UserError: the variables that Paddle's launcher sets are there in part.
    """
    if world() == 1:
        yield
        return
    missing = [variable for variable in OF_THE_LAUNCHER if variable not in os.environ]
    if missing:
        raise UserError(
            f"PADDLE_TRAINERS_NUM={world()} is set, and no {missing[0]}: unset it, or start with "
            "paddle.distributed.launch"
        )
    _join()
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=[over], daemon=True)
    watcher.start()
    with contextlib.ExitStack() as stack:
        stack.callback(watcher.join, 10)  # Python aborts if it ends while a thread is in Paddle's store
        if not is_first():
            silence = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(silence))
        try:
            yield
        except Interrupted as stop:  # all of them, at the same step
            _ignore_the_launcher()
            _leave(over)
            if is_first():
                raise
            raise SystemExit(128 + stop.signum) from None  # one message is enough
        except BaseException as error:
            over.set()
            _ignore_the_launcher()
            _tell(error)
            raise
        _leave(over)


def _join() -> None:
    global _store
    import paddle

    if _store is not None:
        return
    if paddle.get_device() == "cpu":  # on a machine with GPUs, too
        os.environ["PADDLE_DISTRI_BACKEND"] = "gloo"
    with _undisturbed():
        paddle.distributed.init_parallel_env()
        # NCCL uses the store for its first sum, which must not overlap another use of the store.
        paddle.distributed.all_reduce(paddle.zeros([1]))
        _store = _Store()


def _ignore_the_launcher() -> None:
    """Ignore the SIGTERM that the launcher sends to processes that outlive others: this one ends by itself."""
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _leave(over) -> None:
    """Leave without an error: process 0, which holds the store, goes last."""
    if not is_first():
        over.set()
        _store.count("left", 1)
        return
    until = time.monotonic() + 5  # a process that a signal has ended never counts
    while _store.count("left") < world() - 1 and time.monotonic() < until:
        time.sleep(0.05)
    over.set()


def _tell(error: BaseException) -> None:
    """Tell the others that this process fails, and wait until process 0 has printed why, or has ended."""
    status = 2 if isinstance(error, UserError) else 1
    text = str(error) if isinstance(error, UserError) else traceback.format_exc().rstrip()
    try:
        _store.put(f"failure/{rank()}", {"status": status, "text": f"[!] Process {rank()} failed: {text}"})
        _store.count("failures", 1 << rank())
        if is_first():  # its error is printed by itself
            _store.count("told", 1)
            time.sleep(2 * POLL_SECONDS + 0.2)  # for the others to see it
            return
        until = time.monotonic() + 10
        while not _store.count("told") and time.monotonic() < until:
            time.sleep(0.1)
    except Exception:  # process 0 has gone, and the store with it
        return


def _watch(over) -> None:
    """End this process once another one has failed, with its status and its message.

    Every process prints the message: the launcher shows the last lines of whichever ends first.
    """
    while not over.wait(POLL_SECONDS):
        try:
            failed = _store.count("failures")
            if not failed:
                continue
            failure = _store.get(f"failure/{(failed & -failed).bit_length() - 1}")  # the lowest number
        except Exception:
            failure = {"status": 1, "text": "[!] Process 0 has gone"}
        if over.is_set():  # meanwhile this one has ended, or failed itself
            return
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            print(failure["text"], file=sys.stderr, flush=True)
            if is_first():
                _store.count("told", 1)
        os._exit(failure["status"])


def _wait_for_reason() -> None:
    """Give the watching thread time to end this process with the message of a process that has failed."""
    time.sleep(PATIENCE_SECONDS)
