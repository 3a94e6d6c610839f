"""Train several runs at once, each in a process of its own, for `--jobs`.

A process that computes alone gives the same bits beside others as without them: only the number of threads decides on
the rounding, and all of them have as many. Each hears of a stop signal through its standard input, so that it saves
itself and ends, also where the process that started it has gone. What it prints comes back as JSON, a line each.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import traceback
from typing import Callable

from tqdm import tqdm

from config import run_name
from ram.system import cpu, processes
from ram.system.signals import Interrupted, StopRequest, ignore_stop_signals
from utils import UserError

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
PROGRAM = f"import sys; sys.path.insert(0, {ROOT!r}); import main; from ram.runs.jobs import work; work(main)"
GONE = signal.SIGTERM  # what stops a job whose starter has gone


def check(config: argparse.Namespace) -> None:
    """Raise UserError where runs cannot be trained at once."""
    import paddle

    if processes.world() > 1:
        raise UserError(f"--jobs={config.jobs} starts processes itself: leave out paddle.distributed.launch, or --jobs")
    if paddle.get_device() != "cpu":
        raise UserError(f"--jobs={config.jobs} divides the cores of a CPU: give --use_gpu=False, or leave out --jobs")


class Job:
    """A process that trains and tests one run.

    Args:
        number: of the run, from 0.
        config: settings of the run.
        threads: for its matrix products.
        heard: where its messages are put, each with the job; None when it has ended.
    """

    def __init__(self, number: int, config: argparse.Namespace, threads: int | str, heard: queue.Queue):
        self.number, self.name, self.heard = number, run_name(config), heard
        self.epoch, self.last = "", {}  # the one under way, and what the process has said at its end
        self.bar = tqdm(total=config.epochs, desc=self.name, unit="epoch", leave=False, disable=None)  # on a terminal
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl-C in a terminal reaches the starter alone, which passes it on
        )
        with contextlib.suppress(BrokenPipeError):
            print(
                json.dumps({**vars(config), "explicit": sorted(config.explicit)}), file=self.process.stdin, flush=True
            )
        self.reader = threading.Thread(target=self.listen, daemon=True)
        self.reader.start()

    def listen(self) -> None:
        """Hand on what the process says until it ends."""
        for line in self.process.stdout:
            self.heard.put((self, as_message(line)))
        self.process.wait()
        self.heard.put((self, None))

    def stop(self, signum: int) -> None:
        """Ask the process to save and end."""
        with contextlib.suppress(OSError, ValueError):
            print(int(signum), file=self.process.stdin, flush=True)

    def show(self, line: str) -> None:
        """Show a line that the process printed: an epoch as a line of its own, or by the run's bar on a terminal."""
        if line.startswith("Epoch: "):
            self.epoch = line.split()[1]
            self.bar.n = int(self.epoch.split("/")[0]) - 1
            self.bar.refresh()
        elif line.startswith("train loss: ") and not self.bar.disable:
            self.bar.set_postfix_str(line[line.index("val loss") :])
        elif line.strip():
            epoch = f", epoch {self.epoch}" if line.startswith("train loss: ") else ""
            tqdm.write(f"{self.name}{epoch}: {line}", file=sys.stdout)


def as_message(line: str) -> dict:
    """Read a line of a job: a message, or as one what is none, from a library or cut where the job was killed."""
    with contextlib.suppress(ValueError):
        if line.startswith("{"):
            return json.loads(line)
    return {"line": line.rstrip()}


def train_and_test(config: argparse.Namespace, runs: list[argparse.Namespace], done: Callable) -> None:
    """Train and test runs, `config.jobs` at a time.

    Args:
        config: settings of all.
        runs: settings of each.
        done: called with the number of a run, the records of its epochs and its `Evaluation`, when it has ended.

    Raises:
        UserError: a run failed; the others were stopped, and are saved.
        Interrupted: a signal came, to this process or to one of theirs; all that were under way are saved.
    """
    from ram.evaluation import Evaluation

    at_once = min(config.jobs, len(runs))
    threads, heard = cpu.threads_of(at_once), queue.Queue()
    print(f"[*] {at_once} runs at once, {threads} threads each")
    waiting, working, failure, signum, told = list(enumerate(runs)), [], None, None, False
    with StopRequest() as stop:
        try:
            while working or (waiting and not (failure or signum)):
                signum = signum or stop.signum
                while waiting and len(working) < at_once and not (failure or signum):
                    working.append(Job(*waiting.pop(0), threads, heard))
                if (failure or signum) and not told:
                    told = True
                    for job in working:
                        job.stop(signum or signal.SIGINT)
                with contextlib.suppress(queue.Empty):
                    job, message = heard.get(timeout=0.2)
                    if message is None:
                        working.remove(job)
                        job.bar.close()
                        if not (told or job.last):
                            failure = f"{job.name} has ended without a message, with status {job.process.returncode}"
                    elif "line" in message:
                        job.show(message["line"])
                    else:
                        job.last = message
                        failure = failure or message.get("failure")
                        signum = signum or message.get("stopped")  # whoever stops one run stops them all
                        if "test" in message:
                            done(job.number, message["history"], Evaluation(*message["test"]))
        finally:
            for job in working:
                job.bar.close()
                job.process.stdin.close()  # which stops it, too
    if failure:
        raise UserError(failure)
    if signum:
        raise Interrupted(
            signum, "[!] Stopped; all runs that had begun are saved; the same command with --resume=True goes on"
        )


# ------------------------------------------------------------------------------------------------ inside of a job


class Said(io.TextIOBase):
    """A text file whose lines become messages."""

    def __init__(self, tell: Callable):
        self.tell, self.rest = tell, ""

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            self.tell({"line": line})
        return len(text)


def work(main) -> None:
    """Train and test the run that the first line of the standard input describes; `main` is the module main.py."""
    out = sys.stdout

    def tell(message: dict) -> None:
        with contextlib.suppress(OSError):  # nobody listens: who started this process was killed
            print(json.dumps(message), file=out, flush=True)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background programs with SIGINT ignored
    settings = json.loads(read_line())
    threading.Thread(target=hear, daemon=True).start()
    config = argparse.Namespace(**{**settings, "explicit": frozenset(settings["explicit"])})
    try:
        cpu.choose_device(False)
        with contextlib.redirect_stdout(Said(tell)), open(os.devnull, "w") as bar, contextlib.redirect_stderr(bar):
            history, test = main.train(config), main.test(config)
        last = {"history": history, "test": list(test)}
    except Interrupted as stop:
        tell({"line": str(stop)})
        last = {"stopped": stop.signum}
    except KeyboardInterrupt:
        last = {"stopped": signal.SIGINT}
    except (UserError, OSError, MemoryError) as error:
        last = {"failure": f"{run_name(config)}: {error or 'there is not enough memory'}"}
    except Exception:
        tell({"line": traceback.format_exc()})
        last = {"failure": f"{run_name(config)} failed: the traceback stands above"}
    ignore_stop_signals()  # nothing is left to save
    tell(last)


def hear() -> None:
    """Wait for the number of a signal on the standard input, or its end, and raise the signal in this process."""
    line = read_line()
    signal.raise_signal(int(line) if line.strip() else GONE)


def read_line() -> bytes:
    """Read a line of the standard input, without sys.stdin: its lock, held by a waiting thread, would block the end."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            break
        line += byte
    return line
