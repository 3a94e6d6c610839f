"""The table of faults in docs/reliability.md, row by row: each fault is real, what must hold is checked to the bit."""

from __future__ import annotations

import contextlib
import math
import os
import random
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from conftest import one_line
from helpers import long_test, same
from test_data_sources import NAMES, Tiny
from test_main import RUN, Place

from ram.data.idx import to_idx
from ram.data.sources import fetch
from ram.runs import checkpoint
from trainer import Trainer
from utils import UserError

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}

# Ends the process inside the N-th system call of a kind that writing a checkpoint consists of, before or after it.
DIE_INSIDE = """
import os, signal, builtins
left = {calls}
def deadly(function):
    def call(*arguments, **named):
        global left
        left -= 1
        if left == 0 and {before}:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **named)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call
for name in ("fsync", "link", "replace", "remove"):
    setattr(os, name, deadly(getattr(os, name)))
from ram.runs import checkpoint
checkpoint.open = deadly(open)
"""


@pytest.mark.row("kill")
def test_kill_9_anywhere_and_the_end_is_bit_equal(run, undisturbed, dice, number):
    inside = number % 2 == 1
    setup = DIE_INSIDE.format(calls=dice.randrange(1, 160), before=dice.random() < 0.5) if inside else ""
    process = run.start(setup=setup)
    if not inside:
        process.wait_for("Epoch: 1/4")
        time.sleep(dice.uniform(0, 0.6))
        process.send(signal.SIGKILL)
    status, _, err = process.wait()
    assert status == -9 or (status == 0 and not inside), err  # it may have been faster than the bullet
    if run.latest.exists():
        checkpoint.read(str(run.latest))  # whole at every instant
    assert same(run.finish(), undisturbed)
    assert not [name for name in os.listdir(run.ckpt) if name.endswith(".tmp")], "and nothing is left lying about"


@pytest.mark.row("signals")
@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
def test_signal_saves_at_the_next_step_and_ends_with_its_status(run, undisturbed, dice, number, twice):
    signum = list(STATUS)[number % 3]
    process = run.start()
    process.wait_for("Epoch: 1/4")
    time.sleep(dice.uniform(0, 0.3))
    process.send(signum)
    if twice:
        time.sleep(dice.choice([0, dice.uniform(0, 0.08)]))
        process.send(signum)
    status, out, err = process.wait()
    if status != 0:  # it was faster
        # A shell gives one that died of the signal the same status. The second may do that when all is saved, and the
        # first where it meets a training that is over.
        over = "[*] Best validation accuracy" in out
        assert status == STATUS[signum] or ((twice or over) and status == -signum), err
        assert "Traceback" not in err and "Error" not in err, err
        assert run.latest.exists() and (twice or over or "--resume=True" in out.splitlines()[-1])
    assert same(run.finish(), undisturbed)


@pytest.mark.row("nohup")
def test_signal_that_was_inherited_as_ignored_stays_ignored(run, undisturbed, number):
    signum = list(STATUS)[(2, 0, 1)[number]]
    process = run.start(setup=f"import signal; signal.signal({int(signum)}, signal.SIG_IGN)")
    process.wait_for("Epoch: 1/4")
    process.send(signum)
    status, out, err = process.wait()
    assert status == 0 and "Stopped" not in out, err
    assert same(run.outcome(), undisturbed)


# ---- a full disk


@contextlib.contextmanager
def small_disk(folder, size):
    """A file system of its own, where mounting is possible."""
    folder.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"
DISKS = {"ckpt": 140_000, "logs": 4096, "plots": 16_384}  # a checkpoint has 60 kB, a log 1, pictures of an epoch 10


@pytest.mark.row("disk full")
def test_disk_that_is_full_is_told_and_costs_nothing(run, undisturbed, dice, number):
    """By a limit on the size of files, which meets now the latest checkpoint, now another file."""
    assert run.call("--epochs=2")[0] == 0
    before = run.latest.read_bytes()
    limit = dice.choice([1000, dice.randrange(2000, 9000), dice.randrange(20_000, len(before))])
    flags = ["--resume=True", f"--save_freq={dice.choice([0, 3])}"]
    status, _, err = run.call(*flags, setup=LIMIT.format(limit))
    assert status == 2 and "File too large" in one_line(err)
    assert run.latest.read_bytes() == before and checkpoint.read(str(run.best))
    assert not [name for name in os.listdir(run.ckpt) if name.endswith(".tmp")]
    assert same(run.finish(), undisturbed)


@pytest.mark.row("disk full")
def test_file_system_that_is_full_is_told_and_costs_nothing(run, undisturbed, dice, number):
    name = ("ckpt", "plots", "logs")[number % 3]
    with small_disk(run.root / name, DISKS[name] * 8):
        assert run.call("--epochs=2")[0] == 0
        before = run.latest.read_bytes()
        with open(run.root / name / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
            for size in (4096, 1):  # until not a byte is left
                while True:
                    filler.write(bytes(size))
        free = dice.choice([0, 4096]) if name == "ckpt" else 0
        os.truncate(run.root / name / "filler", os.path.getsize(run.root / name / "filler") - free)
        while name == "logs":  # what is left of the log's last page
            try:
                with open(run.log, "ab", buffering=0) as log:
                    log.write(b"\n")
            except OSError:
                break
        status, _, err = run.call("--resume=True")
        assert status == 2 and "No space left" in one_line(err)
        assert checkpoint.read(str(run.latest)) and (name == "plots" or run.latest.read_bytes() == before)
        (run.root / name / "filler").unlink()
        assert same(run.finish(), undisturbed)


@long_test()
def test_standard_output_that_is_full_is_told(run, undisturbed):
    assert run.call("--epochs=2")[0] == 0
    process = run.start("--resume=True", out="/dev/full")
    status, _, err = process.wait()
    assert status == 2 and "No space left" in one_line(err)
    assert same(run.finish(), undisturbed)


def test_standard_error_that_is_full_ends_with_its_status(run, undisturbed):
    status, _, _ = run.call(setup="import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 2)")
    assert status == 2
    assert same(run.finish(), undisturbed)


def test_process_without_standard_streams_trains_as_any_other(run, undisturbed):
    """As services are started. The files that it opens must not get their numbers."""
    seen = "from ram.runs import checkpoint; checkpoint.open = lambda *a, **k: seen(open(*a, **k))\n"
    seen += "def seen(file):\n    assert file.fileno() > 2\n    return file\n"
    close = "import os, sys; [os.close(n) for n in range(3)]; sys.stdin = sys.stdout = sys.stderr = None"
    assert run.call(setup=seen + close)[0] == 0
    assert same(run.outcome(), undisturbed)


def test_name_that_the_terminal_cannot_show_is_no_reason_to_stop(run, undisturbed):
    setup = "import sys; sys.stdout.reconfigure(encoding='ascii', errors='strict')"
    status, out, err = run.call(f"--ckpt_dir={run.root / 'ckpt' / 'Prüfung'}", setup=setup)
    assert status == 0 and r"Pr\xfcfung" in out, err


def test_memory_that_is_not_there_is_told(run):
    limit = "import resource\nused = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
    limit += "resource.setrlimit(resource.RLIMIT_AS, (used + 700 * 10**6, -1))"
    status, _, err = run.call("--hidden_size=16384", setup=limit)  # 1 GB of weights between one h_t and the next
    assert status == 2 and "not enough memory" in one_line(err)


def test_data_that_do_not_fit_on_the_disk_are_used_all_the_same(run, undisturbed, target, tmp_path):
    """The files come from another source, here a folder, and cannot be kept."""
    own = tmp_path / "data"
    registry = "import dataclasses; from ram.data.sources import DATASETS as d; "
    registry += f"d['mnist'] = dataclasses.replace(d['mnist'], packages=({str(target.folder / 'mnist')!r},)); "
    # A checkpoint has 60 kB, the training images 235.
    status, out, err = run.call(f"--data_dir={own}", setup=registry + LIMIT.format(150_000))
    assert status == 0 and "cannot be kept" in out, err
    kept = sorted(path.name for path in (own / "mnist").iterdir())
    assert kept == ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", "train-labels-idx1-ubyte"], "or whole"
    assert same(run.outcome(), undisturbed)


# ---- damaged checkpoints


@pytest.fixture(scope="module")
def trained(tmp_path_factory, target):
    """A finished training of two short epochs."""
    place = Place(tmp_path_factory.mktemp("trained") / "place", target.folder)
    with target.registered():
        place.run("--epochs=2", "--limit=64")
    return place


def mutated(data: bytes, dice: random.Random, foreign: list[bytes]) -> tuple[str, bytes | None]:
    """A damaged file, or None for a folder, and what was done."""
    kind = dice.choice(["cut", "cut", "flip", "flip", "flip", "empty", "folder", "foreign", "swap", "longer", "zeros"])
    changed = bytearray(data)
    a, b = sorted(dice.sample(range(len(data)), 2))
    if kind == "cut":  # at every kind of place: in the header, among the weights, near the end
        changed = changed[: dice.choice([a, dice.randrange(400), len(data) - 1 - dice.randrange(400)])]
    elif kind == "flip":
        for _ in range(dice.choice([1, 1, 3, 30])):
            changed[dice.choice([dice.randrange(len(data)), dice.randrange(300)])] ^= 1 << dice.randrange(8)
    elif kind == "swap":
        changed[a : a + 100], changed[b : b + 100] = changed[b : b + 100], changed[a : a + 100]
    elif kind == "longer":
        changed += dice.randbytes(dice.randrange(1, 100))
    elif kind == "zeros":  # as after a power cut
        changed[a:b] = bytes(b - a)
    elif kind == "foreign":
        changed = dice.choice(foreign)
    return kind, None if kind == "folder" else b"" if kind == "empty" else bytes(changed)


@pytest.mark.row("damaged checkpoint")
def test_damaged_checkpoint_is_refused_with_the_way_out(trained, target, tmp_path, dice, times):
    place = Place(tmp_path / "place", target.folder)
    shutil.copytree(trained.root, place.root, dirs_exist_ok=True)
    latest, before = place.latest.read_bytes(), place.latest.with_name(f"{RUN}_ckpt_prev.pdparams")
    foreign = [place.best.read_bytes(), b"PK\x03\x04" + bytes(100), b"\x89HDF\r\n\x1a\n", b"\x93NUMPY\x01\0", b"{}\n"]
    foreign += [path.read_bytes() for path in place.plots.rglob("*.npz")]
    with target.registered():
        for number in range(times):
            kind, data = mutated(latest, dice, foreign)
            if data == latest:
                continue
            place.latest.unlink()
            place.latest.mkdir() if data is None else place.latest.write_bytes(data)
            kept = before.read_bytes()
            for flags in (["--resume"], ["--is_train=False", "--best=False"]):
                if data == foreign[0] and flags[0] != "--resume":
                    continue  # the best model may be tested under any name
                with pytest.raises(UserError) as caught:
                    place.run(*flags)
                message = str(caught.value)
                assert "\n" not in message and str(place.latest) in message, (number, kind, message)
                assert data == foreign[0] or f"go on from the one before, {before}" in message, (number, kind, message)
            assert before.read_bytes() == kept
            place.latest.rmdir() if data is None else place.latest.unlink()
            if number % 20 == 0:  # as the message said
                place.run("--resume")
                assert same(place.outcome(), trained.outcome())
                before.write_bytes(kept)
            place.latest.write_bytes(latest)


# ---- folders


# Lets permissions count for root, too.
LIKE_OTHERS = """
import ctypes
nothing = ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
assert nothing == 0
"""


@pytest.mark.row("folder")
@pytest.mark.parametrize("fault", ["read-only", "vanished"])
def test_folder_that_is_lost_on_the_way_is_told_and_costs_nothing(run, undisturbed, dice, number, fault):
    name = ("ckpt", "logs", "plots")[number % 3]
    folder, aside = run.root / name, run.root / "aside"
    process = run.start(setup=LIKE_OTHERS)
    process.wait_for("train loss: ")
    time.sleep(dice.uniform(0, 0.1))
    if fault == "vanished":
        folder.rename(aside)
        if name == "plots":  # this one would be made anew
            folder.write_text("in the way")
    else:
        closed = {"ckpt": folder, "logs": run.log, "plots": folder / RUN}[name]
        mode = closed.stat().st_mode
        closed.chmod(mode & ~0o222)
    status, _, err = process.wait()
    reasons = ["Permission denied"] if fault == "read-only" else ["No such file", "Not a directory", "File exists"]
    assert status == 2 and any(reason in one_line(err) for reason in reasons), err
    if fault == "vanished":
        folder.unlink() if name == "plots" else shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    else:
        closed.chmod(mode)
    assert checkpoint.read(str(run.latest)), "what was on the disk is whole"
    assert same(run.finish(), undisturbed)


# ---- data


def spoiled(tiny, role, dice):
    """Something in the place of a data file: how it was made, and the bytes."""
    raw, array = tiny.raw[role], tiny.arrays[role]
    kind = dice.choice(["cut", "flip", "swap", "magic", "length", "shape", "longer", "noise", "empty", "other length"])
    if kind == "cut":
        return kind, raw[: dice.randrange(len(raw))]
    if kind == "flip":
        at = dice.randrange(len(raw))
        return kind, raw[:at] + bytes([raw[at] ^ 1 << dice.randrange(8)]) + raw[at + 1 :]
    if kind == "swap":  # with another file of the data set
        return kind, tiny.raw[dice.choice([other for other in NAMES if other != role])]
    if kind == "magic":
        return kind, dice.randbytes(4) + raw[4:]
    if kind == "length":  # the header lies about the number of images or labels
        return kind, raw[:4] + (len(array) + dice.choice([-1, 1, 2**31 - 1])).to_bytes(4, "big") + raw[8:]
    if kind == "shape":
        return kind, to_idx(np.ascontiguousarray(array.T)) if array.ndim > 1 else to_idx(array[:, None])
    if kind == "other length":  # whole in itself, but images and labels differ in number
        return kind, to_idx(array[: dice.randrange(len(array))])
    return kind, {"longer": raw + b"\0", "noise": dice.randbytes(len(raw)), "empty": b""}[kind]


def is_whole(data):
    """Whether these are the bytes of a well-formed IDX file: another data set then, and not a broken file."""
    if len(data) < 5 or data[:2] != b"\0\0" or data[2] not in (8, 9, 11, 12, 13, 14) or not data[3]:
        return False
    start, item = 4 + 4 * data[3], {11: 2, 12: 4, 13: 4, 14: 8}.get(data[2], 1)
    lengths = [int.from_bytes(data[at : at + 4], "big") for at in range(4, start, 4)]
    return len(data) >= start and len(data) - start == math.prod(lengths) * item


@pytest.mark.row("damaged data")
def test_damaged_data_are_refused_named_and_fetched_again(tmp_path, monkeypatch, capsys, dice, times):
    tiny = Tiny(tmp_path, monkeypatch)
    tiny.write(tiny.package)
    for number in range(times):
        shutil.rmtree(tiny.own, ignore_errors=True)
        tiny.write(tiny.own)
        role = dice.choice(list(NAMES))
        kind, data = spoiled(tiny, role, dice)
        if data == tiny.raw[role]:
            continue
        (tiny.own / NAMES[role]).write_bytes(data)
        elsewhere = number % 2 == 0
        if is_whole(data):
            with pytest.raises(UserError, match="use --dataset=idx, or delete it"):
                fetch("tiny", str(tiny.data_dir))
            assert tiny.stored() == {**tiny.complete(), NAMES[role]: data}, (number, kind)
            continue
        if elsewhere:
            tiny.write(tiny.package)
            tiny.fetch()
            assert tiny.stored() == {**tiny.complete(), NAMES[role] + ".bad": data}, (number, kind)
        else:
            shutil.rmtree(tiny.package, ignore_errors=True)
            with pytest.raises(UserError, match=f"no source has {NAMES[role]}"):
                fetch("tiny", str(tiny.data_dir))
        assert f"[!] {tiny.own}: {NAMES[role]} is " in capsys.readouterr().out


# ---- two at once


@pytest.mark.row("two at once")
def test_second_process_on_a_run_is_refused(run, undisturbed, dice, number):
    first = run.start()
    first.wait_for("Epoch: 1/4")
    time.sleep(dice.uniform(0, 0.2))
    first.send(signal.SIGSTOP)  # it holds the lock, and will not be over too soon
    before = [name for name in sorted(run.files()) if "old" in name]
    for flags in ([], ["--resume=True"]):
        status, _, err = run.call(*flags)
        assert status == 2 and f"{RUN} is in use by process {first.number}" in one_line(err)
    assert [name for name in sorted(run.files()) if "old" in name] == before
    if number % 2 == 0:  # its lock dies with it
        first.send(signal.SIGKILL)
    first.send(signal.SIGCONT)
    first.wait()
    assert same(run.finish(), undisturbed)


@pytest.mark.parametrize("own", ["ckpt", *long_test("logs")])
def test_second_process_that_shares_but_one_folder_is_refused_too(run, undisturbed, own):
    """Else it would move the log or the pictures of the first aside, and both would write to one."""
    first = run.start()
    first.wait_for("Epoch: 1/4")
    first.send(signal.SIGSTOP)
    before = run.files()
    status, _, err = run.call(f"--{own}_dir={run.root / 'own'}")
    assert status == 2 and f"in use by process {first.number}" in one_line(err)
    assert run.files() == before
    first.send(signal.SIGCONT)
    assert first.wait()[0] == 0
    assert same(run.outcome(), undisturbed)


def test_of_two_that_start_at_the_same_time_one_is_refused(run, undisturbed):
    both = [run.start(), run.start()]
    (winner,) = [process for process in both if process.wait()[0] == 0]
    for process in both:
        assert process is winner or "in use by process" in one_line(process.err.read_bytes().decode())
    assert same(run.outcome(), undisturbed)


# ---- a loss that is no number


@pytest.mark.row("not finite")
def test_loss_that_is_not_finite_stops_and_leaves_the_last_checkpoint(
    trained, target, tmp_path, monkeypatch, dice, number
):
    place = Place(tmp_path / "place", target.folder)
    flags = ["--epochs=4", "--limit=128", "--save_freq=1"]  # four steps an epoch
    value, at = dice.choice([math.nan, math.inf, -math.inf]), dice.randrange(5, 16)
    real, steps, files = Trainer.train_step, [], {}

    def train_step(self, *batch):
        steps.append(None)
        if len(steps) == at:
            files.update(place.files())
            weight = dice.choice(self.model.parameters())
            array = weight.numpy()
            array.flat[dice.randrange(array.size)] = value
            weight.set_value(array)
        return real(self, *batch)

    with target.registered():
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "train_step", train_step)
            with pytest.raises(UserError) as caught:
                place.run(*flags)
        epoch, step = divmod(at - 1, 4)
        assert "training stopped, the last checkpoint is untouched" in str(caught.value)
        assert f"step {step + 1} of epoch {epoch + 1}" in str(caught.value)
        after = place.files()
        assert after == files, "nothing was written since"
        state = checkpoint.read(str(place.latest))
        assert (state["epoch"], state["step"]) == (epoch, step)
        assert all(np.isfinite(weight).all() for weight in state["model"].values())
        place.run("--resume")
        other = Place(tmp_path / "other", target.folder)
        other.run(*flags)
        assert same(place.outcome(), other.outcome())


# ---- time and place

JUMPING = """
import random, time
dice, real = random.Random({seed}), time.time
time.time = lambda: real() + dice.uniform(-3e9, 3e9)
for name in ("localtime", "gmtime"):
    setattr(time, name, lambda seconds=None, read=getattr(time, name): read(dice.uniform(0, 4e9)))
time.strftime = lambda form, when=None, write=time.strftime: write(form, when or time.localtime())
"""


@pytest.mark.row("clock")
def test_clock_that_jumps_and_a_run_that_moves_change_nothing(run, new_run, undisturbed, dice, number):
    setup = JUMPING.format(seed=dice.randrange(10**6))
    assert run.call("--epochs=1", setup=setup)[0] == 0
    process = run.start("--resume=True", setup=setup)
    process.wait_for("Epoch: 2/4" if "Epoch: 2/4" in process.out.read_text() else "Resuming")
    process.send(signal.SIGTERM)
    process.wait()
    for path in [*run.root.rglob("*"), run.root]:
        os.utime(path, (when := dice.uniform(0, 4e9), when))
    moved = new_run()
    moved.root.rmdir()
    run.root.rename(moved.root)
    data = moved.root / "its own data"
    shutil.copytree(moved.data, data)
    # From another folder, with paths that are relative to it.
    own = [
        flag.replace(f"{moved.root}/", "./").replace(str(moved.data), "./its own data") for flag in moved.arguments()
    ]
    process = moved.nursery.start(
        [*own, "--resume=True"], setup=f"import os; os.chdir({str(moved.root)!r})\n" + setup.replace("3e9", "4e9")
    )
    status, _, err = process.wait()
    assert status == 0, err
    assert same(moved.outcome(), undisturbed)
