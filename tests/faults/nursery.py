"""Processes of main.py that start at once: forked from one that has imported everything and done nothing yet.

    python tests/faults/nursery.py DATA

reads a JSON object per line: {"flags", "out", "err", "setup"} starts a process that runs `setup`, some Python, and then
main.py with the files in DATA/mnist as MNIST, and prints its number; {"wait", "seconds"} waits for one and prints its
status, -9 for SIGKILL. A process that is not over in time is killed, and its status is "too late".
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path[:0] = [str(TESTS), str(TESTS.parent)]


class Process:
    """A process of main.py; its output is in the files `out` and `err`."""

    def __init__(self, nursery, number, out, err):
        self.nursery, self.number, self.out, self.err = nursery, number, out, err

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Until the output holds the text."""
        until = time.monotonic() + seconds
        while text not in self.out.read_text():
            assert time.monotonic() < until, f"{text!r} never came: {self.err.read_text()}"
            time.sleep(0.002)

    def send(self, number: int) -> None:
        """A signal. To one that is over already, it does nothing: nobody has waited for it, so the number is its."""
        os.kill(self.number, number)

    def wait(self, seconds: float = 120) -> tuple[int | str, str, str]:
        """Status, output and errors."""
        status = self.nursery.ask(wait=self.number, seconds=seconds)
        return status, *(file.read_bytes().decode() for file in (self.out, self.err))  # with every \r as it is


class Nursery:
    """The parent of such processes, itself a child of the tests."""

    def __init__(self, data: Path, folder: Path):
        self.folder, self.count = folder, 0
        # Importing paddle has set these for this process; another one decides for itself.
        env = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE")}
        env.update(OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1", MPLBACKEND="Agg")
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process = subprocess.Popen([sys.executable, "-u", __file__, str(data)], env=env, **pipes)

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self, flags: list[str], setup: str = "", out: str | None = None) -> Process:
        self.count += 1
        files = [self.folder / f"{self.count}.{name}" for name in ("out", "err")]
        for file in files:
            file.touch()
            file.chmod(0o666)
        number = self.ask(flags=flags, out=out or str(files[0]), err=str(files[1]), setup=setup)
        return Process(self, number, *files)

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def nurse(data: str) -> None:
    from helpers import registered, run_as_main

    from ram.system.cpu import prepare_cpu

    prepare_cpu()
    import main  # noqa: F401 - all that it may need is imported now
    import trainer  # noqa: F401
    from ram.use import predict  # noqa: F401

    with registered(Path(data)):
        for line in sys.stdin:
            request = json.loads(line)
            if "wait" in request:
                print(json.dumps(wait(request["wait"], request["seconds"])))
                continue
            child = os.fork()
            if child:
                print(child)
                continue
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for descriptor, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(request[name], os.O_WRONLY), descriptor)
            exec(request["setup"], {"__name__": "setup"})
            run_as_main(request["flags"])
            sys.exit(0)


def wait(number: int, seconds: float) -> int | str:
    until = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(number, os.WNOHANG)
        if found:
            return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        if time.monotonic() > until:
            os.kill(number, signal.SIGKILL)
            os.waitpid(number, 0)
            return "too late"
        time.sleep(0.002)


if __name__ == "__main__":
    nurse(sys.argv[1])
