"""Tests of several runs at once, --jobs: the bits of one after the other, stopping, going on, and what is refused."""

import json
import os
import queue
import signal
import subprocess
import sys
import time

import pytest
from helpers import ROOT, folders, long_test, same, without_seconds

from config import get_config
from ram.runs import checkpoint, jobs
from utils import UserError

FLAGS = "--dataset=idx --model=fc64 --use_gpu=False --batch_size=32 --limit=96 --M=2 --epochs=80 --num_runs=3".split()


def test_half_a_message_ends_no_waiting(monkeypatch):
    """A process can be killed while it writes its last line, which is a long one."""
    says = '{"line": "ok"}\n{no JSON of a job}\n{"history": [{"epoch": 1, '
    program = f"import os, sys; sys.stdin.readline(); os.write(1, {says.encode()!r}); os.kill(os.getpid(), 9)"
    monkeypatch.setattr(jobs, "PROGRAM", program)
    heard = queue.Queue()
    jobs.Job(0, get_config(["--num_runs=2"]), 1, heard)
    messages = [heard.get(timeout=60)[1] for _ in range(4)]
    assert messages == [{"line": "ok"}, {"line": "{no JSON of a job}"}, {"line": '{"history": [{"epoch": 1,'}, None]


class Place:
    """A folder for the files of runs, and the way to start main.py there with a thread for each run."""

    def __init__(self, root, tiny_mnist):
        self.root = root
        places = folders(root, tiny_mnist.folder / "mnist")
        self.command = [sys.executable, str(ROOT / "main.py"), *FLAGS, *places]

    def start(self, *flags):
        return subprocess.Popen(
            [*self.command, *flags],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *flags):
        """Status, output and errors of a whole command."""
        process = self.start(*flags)
        out, errors = process.communicate(timeout=120)
        return process.returncode, out, errors

    def outcome(self):
        """What depends neither on interruptions nor on --jobs, to the bit."""
        kept = {}
        for path in sorted((self.root / "ckpt").glob("*.pdparams")):
            if "_prev" not in path.name:
                content = checkpoint.read(str(path))
                kept[path.name] = [content[name] for name in ("model", "ema", "epoch", "best_valid_acc")]
        (path,) = (self.root / "logs").glob("*_results.json")
        results = json.loads(path.read_text())
        del results["settings"]
        return without_seconds({"kept": kept, "results": results})

    def lock(self, seed):
        (checkpoint_of_another,) = (self.root / "ckpt").glob("*_seed1_ckpt.pdparams")
        name = checkpoint_of_another.name.replace("_seed1_ckpt.pdparams", f"_seed{seed}.lock")
        return checkpoint.RunLock(str(self.root / "ckpt" / name))


@pytest.fixture(scope="module")
def in_turn(tmp_path_factory, tiny_mnist):
    """Three runs, one after the other. Nobody may change their files."""
    place = Place(tmp_path_factory.mktemp("in_turn"), tiny_mnist)
    place.status, place.out, errors = place.run("--jobs=1")
    assert place.status == 0, errors
    return place


@long_test()
def test_at_once_the_bits_are_those_of_one_after_the_other(tmp_path, tiny_mnist, in_turn):
    place = Place(tmp_path, tiny_mnist)
    status, out, errors = place.run("--jobs=2")
    assert status == 0, errors
    assert same(place.outcome(), in_turn.outcome())
    assert out.splitlines()[-1] == in_turn.out.splitlines()[-1] and "over 3 runs" in out
    for seed in (1, 2, 3):
        assert sum(f"_seed{seed}, epoch " in line for line in out.splitlines()) == 80
    starts = [out.index(f"_seed{seed}, epoch 1/80") for seed in (1, 2, 3)]
    assert max(starts[:2]) < out.index("_seed1, epoch 80/80") and starts[2] > min(
        out.index("_seed1: [*] Test Acc"), out.index("_seed2: [*] Test Acc")
    ), "two at once, then the third"


@long_test()
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_and_resumed_is_bit_equal(tmp_path, tiny_mnist, in_turn, signum):
    """Also where the process that started the runs is killed: they save themselves and end."""
    place = Place(tmp_path, tiny_mnist)
    process = place.start("--jobs=2")
    under_way = set()
    for line in process.stdout:  # on a busy machine one of the two begins late
        under_way |= {seed for seed in (1, 2) if f"_seed{seed}, epoch 3/80" in line}
        if len(under_way) == 2:
            break
    process.send_signal(signum)
    out, errors = process.communicate(timeout=60)
    if signum == signal.SIGKILL:
        until = time.monotonic() + 30
        for seed in (1, 2):  # their locks are free once they have ended
            while time.monotonic() < until:
                try:
                    with place.lock(seed):
                        break
                except UserError:
                    time.sleep(0.1)
    else:
        assert process.returncode == 128 + signum and not errors, errors
        assert "with --resume=True goes on" in out.splitlines()[-1]
        # One of the runs may have ended before, where the other began late.
        assert sum("and saved; to go on" in line for line in out.splitlines()) in (1, 2)
    assert not list((tmp_path / "logs").glob("*_results.json")), "no run was finished"
    status, out, errors = place.run("--jobs=2", "--resume=True")
    assert status == 0, errors
    assert sum("Resuming" in line for line in out.splitlines()) >= 1 and same(place.outcome(), in_turn.outcome())


@long_test()
def test_who_stops_one_run_stops_them_all(tmp_path, tiny_mnist):
    place = Place(tmp_path, tiny_mnist)
    process = place.start("--jobs=2", "--epochs=2000", "--train_patience=2000")  # none ends meanwhile
    next(line for line in process.stdout if "_seed2, epoch 3/2000" in line)
    (lock,) = (tmp_path / "ckpt").glob("*_seed2.lock")
    os.kill(int(lock.read_text()), signal.SIGTERM)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM and not errors, errors
    assert "with --resume=True goes on" in out.splitlines()[-1] and "over" not in out
    assert not list((tmp_path / "logs").glob("*_results.json")), "no run was finished"


@long_test()
def test_a_run_that_fails_stops_the_others_and_says_why(tmp_path, tiny_mnist):
    place = Place(tmp_path, tiny_mnist)
    assert place.run("--epochs=1", "--num_runs=1")[0] == 0
    (name,) = (path.name for path in (tmp_path / "ckpt").glob("*_ckpt.pdparams"))
    lock = str(tmp_path / "ckpt" / name.replace("_ckpt.pdparams", "_seed2.lock"))
    with checkpoint.RunLock(lock):
        status, out, errors = place.run("--jobs=3", "--epochs=2000", "--train_patience=2000")  # none ends meanwhile
    assert errors.count("\n") == 1, errors
    line = errors.strip()
    assert status == 2 and line.startswith("main.py: ") and "_seed2 is in use" in line
    assert "Test error" not in out and not list((tmp_path / "logs").glob("*_results.json"))


def test_what_cannot_run_at_once_is_refused(monkeypatch):
    with pytest.raises(UserError, match="--jobs=2 trains several runs at once, and there is one: give --num_runs=2"):
        get_config(["--jobs=2"])
    with pytest.raises(UserError, match="--is_train=False tests one after the other"):
        get_config(["--jobs=2", "--num_runs=2", "--is_train=False"])
    config = get_config(["--jobs=2", "--num_runs=2"])
    monkeypatch.setattr("paddle.get_device", lambda: "gpu:0")  # no GPU is here
    with pytest.raises(UserError, match="--jobs=2 divides the cores of a CPU"):
        jobs.check(config)
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    with pytest.raises(UserError, match="leave out paddle.distributed.launch"):
        jobs.check(config)
