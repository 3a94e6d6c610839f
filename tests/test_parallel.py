"""Tests of several processes, against one: gradients, whole trainings, validation, resume, stopping and failing.

python tests/test_parallel.py measure FILE                 # what one of the processes computes
python tests/test_parallel.py fail N FOLDER [flags]        # main.py, where process N fails in its third step
python tests/test_parallel.py apart OTHER FOLDER [flags]   # main.py, where process 1 has its checkpoints elsewhere
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from unittest import mock

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pytest
from helpers import ROOT, easy_images, folders, long_test, registered, run_as_main

from config import get_config
from ram.runs import checkpoint
from ram.system import processes
from ram.system.cpu import choose_device
from utils import UserError

SMALL = (
    "--hidden_size=16 --glimpse_hidden=12 --loc_hidden=8 --num_glimpses=3 --patch_size=6 --use_gpu=False "
    "--batch_size=16 --ema=0.9 --std=0.11"
).split()
RUN = "ram_3_6x6_1_h16_g12_l8_random"


def make_trainer(*flags, images: int, validate: int = 20):
    """A trainer on easy images, with settings as given."""
    from data_loader import Split
    from trainer import Trainer

    splits = []
    for seed, (name, count) in enumerate((("train", images), ("valid", validate))):
        x, y = easy_images(count, seed)
        splits.append(Split(name, x, y, np.arange(count), 10))
    looking = [flag for flag in SMALL if "--model=conv" not in flags or flag.startswith(("--use_gpu", "--batch_size"))]
    return Trainer(get_config([*looking, *flags]), *splits, *[lambda *_: None] * 3)


# The last batch of 33 images is a single one; 19 are divided into 9 and 10.
RECIPES = {
    "one image": ["--batch_size=1"],
    "uneven": ["--batch_size=19"],
    "clipped": ["--batch_size=19", "--clip_norm=0.01"],
    "lstm": ["--batch_size=7", "--core=lstm"],
    "random": ["--policy=random"],
    "one glimpse": ["--num_glimpses=1"],
    "convolution": ["--model=conv"],
}


def measure() -> dict[str, np.ndarray]:
    """What has to be the same however many processes compute it."""
    import paddle

    import trainer as module
    from ram import evaluation

    found = {}
    for recipe in RECIPES:
        training = make_trainer(*RECIPES[recipe], images=33)
        images, labels = next(training.batches())
        training.update = lambda: None  # leaves the gradients where they are
        means = training.train_step(images, labels, training.config.batch_size)
        found.update({f"{recipe}, mean {name}": np.array(value) for name, value in means.items()})
        for name, weight in training.model.named_parameters():
            if weight.grad is not None:
                found[f"{recipe}, gradient {name}"] = weight.grad.numpy()

    training = make_trainer(images=33, validate=1100)  # three batches
    result = evaluation.evaluate(training.model, training.valid, 3, 2, "sampled", 1)
    found["evaluation"] = np.array([result.loss, result.correct, result.count])

    # 200 steps in float64, where rounding moves no glimpse by a pixel; the last of each epoch has a single image.
    def noise(*key):
        return tuple(part.astype("float64") for part in draw_noise(*key))

    draw_noise = module.draw_noise
    with mock.patch.object(module, "draw_noise", noise), mock.patch.object(evaluation, "draw_noise", noise):
        training = make_trainer("--epochs=20", "--init_lr=0.01", images=145)
        for model in training.models():
            model.to(dtype="float64")
        training.optimizer.inner = paddle.optimizer.Adam(parameters=training.parameters)  # the joint one has no float64
        history = training.fit()
    found["steps"] = np.array([training.global_step])
    found["train_loss"] = np.array([record["train_loss"] for record in history])
    found["val_acc"] = np.array([record["val_acc"] for record in history])
    found.update({f"trained {name}": weight.numpy() for name, weight in training.model.named_parameters()})
    return found


def measure_in_one_of_several(path: str) -> None:
    """Write what this process computes to `<path>.<number>.npz`."""
    choose_device(False)
    with processes.together():
        found = measure()
        with pytest.raises(UserError) as caught:
            processes.check_same(settings=b"", weights=str(processes.rank()).encode())
        refused, waited = np.array(str(caught.value)), np.array(seconds_of_a_sum())
        np.savez(f"{path}.{processes.rank()}.npz", refused=refused, waited=waited, **found)


def seconds_of_a_sum() -> float:
    """What Paddle's own sum takes, which gloo ends after 30 seconds, where process 1 is two seconds late."""
    import paddle

    began, all_reduce = [], paddle.distributed.all_reduce

    def timed(tensor):
        began.append(time.monotonic())
        all_reduce(tensor)

    if processes.rank() == 1:
        time.sleep(2)
    with mock.patch.object(paddle.distributed, "all_reduce", timed):
        processes.total(np.zeros(1))
    return time.monotonic() - began[0]


def fail_in_the_third_step(number: int, folder: str, flags: list[str]) -> None:
    """As tests/helpers.py, but process `number` fails."""
    choose_device(False)
    from trainer import Trainer

    real = Trainer.train_step

    def train_step(self, *batch):
        if processes.rank() == number and self.step == 2:
            raise UserError("its disk is full")
        return real(self, *batch)

    with registered(Path(folder)), mock.patch.object(Trainer, "train_step", train_step):
        run_as_main(flags)


def run_apart(folder: str, data: str, flags: list[str]) -> None:
    """As tests/helpers.py, but process 1 has the weights of the same name in `folder`, as on another machine."""
    path = Path(next(flag for flag in flags if flag.startswith("--weights=")).split("=", 1)[1])
    more = [f"--weights={Path(folder) / path.name}"] if processes.rank() == 1 else []
    with registered(Path(data)):
        run_as_main([*flags, *more])


def launch(logs: Path, *command: object) -> subprocess.Popen:
    """Two processes, by Paddle's launcher, which keeps what they say in `logs`; in `logs`/screen is what it shows."""
    launcher = [sys.executable, "-m", "paddle.distributed.launch", "--nproc_per_node=2", f"--log_dir={logs}"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    logs.mkdir()
    with open(logs / "screen", "wb") as screen:
        quiet = dict(stdin=subprocess.DEVNULL, stdout=screen, stderr=subprocess.STDOUT)
        return subprocess.Popen([*launcher, *map(str, command)], env=env, cwd=logs.parent, **quiet)


def said(logs: Path, number: int) -> str:
    """What a process has said."""
    return (logs / f"workerlog.{number}").read_text()


# ---- without other processes


@pytest.mark.parametrize("world", range(1, 6))
def test_shares_are_the_batch(monkeypatch, world):
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", str(world))
    for count in range(1, 12):
        rows, weights = [], []
        for rank in range(world):
            monkeypatch.setenv("PADDLE_TRAINER_ID", str(rank))
            share = processes.share(count)
            part = list(range(count))[share.rows]
            assert part and share.weight in (0, len(part) / count), "no process is without an image"
            rows += part if share.weight else []
            weights.append(share.weight)
        assert rows == list(range(count)) and sum(weights) == pytest.approx(1)
        assert max(weights) - min(weights) <= 1 / count + 1e-9


def test_threads_are_the_cores_divided_by_the_processes_of_the_machine(tmp_path):
    """The launcher imports paddle, which sets OMP_NUM_THREADS to 1: that is nobody's wish."""
    fake = "import types; set_to = []; base = types.SimpleNamespace(core=types.SimpleNamespace("
    (tmp_path / "paddle.py").write_text(
        textwrap.dedent(fake + "set_num_threads=set_to.append)); disable_signal_handler = int")
    )
    code = (
        "from ram.system import cpu; cpu.available_cores = lambda: 8; cpu.prepare_cpu(); import paddle; "
        "print(paddle.set_to, cpu.num_threads())"
    )
    for count, chosen, expected in (("2", "1", "[4] 4"), ("9", "1", "[1] 1"), ("2", "3", "[] 3")):
        env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "PADDLE_LOCAL_SIZE": count}
        run = subprocess.run(
            [sys.executable, "-B", "-c", code],
            env={**env, "OMP_NUM_THREADS": chosen},
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.strip() == expected


# ---- two processes


@long_test()
def test_two_processes_compute_what_one_does(tmp_path):
    process = launch(tmp_path / "log", __file__, "measure", tmp_path / "found")
    one = measure()
    assert process.wait(timeout=200) == 0, said(tmp_path / "log", 0)
    two, other = (dict(np.load(tmp_path / f"found.{number}.npz")) for number in (0, 1))
    assert two.pop("waited") < 1 and other.pop("waited") < 1, "a late process is waited for before the sum"
    message = str(two.pop("refused"))
    assert message == str(other.pop("refused")) and "process 1 has other weights than process 0" in message
    assert two.keys() == other.keys() == one.keys(), "the same parameters have gradients"
    assert one["steps"] == [200]
    for name, value in one.items():
        assert np.array_equal(two[name], other[name]), f"{name}: all processes have the same to the bit"
        if name in ("evaluation", "steps", "val_acc"):
            assert np.array_equal(two[name], value), f"{name}: equal to the bit"
        elif name.startswith("trained"):
            assert value.dtype == np.float64 and np.abs(two[name] - value).max() < 1e-9, name
        else:
            assert np.abs(two[name] - value).max() <= 1e-5 * np.abs(value).max() + 1e-12, name


def test_a_run_goes_on_with_two_processes_is_stopped_and_ends_with_one(tmp_path, tiny_mnist):
    """Looking at random, with a plain optimiser: nothing makes much of a rounding error."""
    import main

    flags = [*SMALL, "--policy=random", "--optimizer=momentum", "--init_lr=0.05", "--lr_schedule=constant"]
    flags += ["--limit=150", "--batch_size=32", "--train_patience=100000", "--plot_freq=0"]
    stopped, whole = [*flags, *folders(tmp_path / "stopped", tiny_mnist.folder)], tmp_path / "whole"
    latest, log = tmp_path / f"stopped/ckpt/{RUN}_ckpt.pdparams", tmp_path / f"stopped/logs/{RUN}.jsonl"
    with tiny_mnist.registered():
        main.main(get_config([*stopped, "--epochs=1"]))
        helpers = Path(__file__).with_name("helpers.py")
        process = launch(
            tmp_path / "log", helpers, tiny_mnist.folder, *stopped, "--resume", "--epochs=9999", "--save_freq=2"
        )
        until = time.monotonic() + 200
        while len(log.read_text().splitlines()) < 3 and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)  # as Ctrl-C does
        assert process.wait(timeout=100) != 0
        assert said(tmp_path / "log", 0).count("[!] Stopped at step ") == 1, said(tmp_path / "log", 0)
        assert not {"[*]", "[!]", "Epoch"} & set(said(tmp_path / "log", 1).replace(":", " ").split()), "it is silent"
        state = checkpoint.read(str(latest))
        assert 3 <= state["epoch"] < 9999
        epochs = state["epoch"] + 1
        main.main(get_config([*stopped, "--resume", f"--epochs={epochs}"]))
        main.main(get_config([*flags, *folders(whole, tiny_mnist.folder), f"--epochs={epochs}"]))
    ours, theirs = (checkpoint.read(str(path)) for path in (latest, whole / f"ckpt/{RUN}_ckpt.pdparams"))
    assert [json.loads(line) for line in log.read_text().splitlines()] == ours["history"]
    assert len(ours["history"]) == epochs
    for a, b in zip(ours["history"], theirs["history"]):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-4)
    for name, weight in theirs["ema"].items():
        assert np.allclose(ours["ema"][name], weight, atol=1e-4), name


@pytest.mark.parametrize("number", long_test(0, 1))
def test_a_process_that_fails_ends_all_with_its_message(tmp_path, tiny_mnist, number):
    flags = [*SMALL, "--epochs=2", *folders(tmp_path, tiny_mnist.folder)]
    process = launch(tmp_path / "log", __file__, "fail", number, tiny_mnist.folder, *flags)
    assert process.wait(timeout=200) == 2
    logs = [said(tmp_path / "log", rank) for rank in (0, 1)]
    for rank, log in enumerate(logs):
        message = "main.py: its disk is full" if rank == number else f"[!] Process {number} failed: its disk is full"
        assert log.count("its disk is full") == 1 and message in log, log
        assert "Traceback" not in log
    screen = (tmp_path / "log/screen").read_text()
    assert "its disk is full" in screen, "whichever process the launcher saw end first"


@long_test()
def test_several_runs_are_tested_as_in_one_process_and_not_with_different_weights(tmp_path, tiny_mnist, capsys):
    import main

    flags = [*SMALL, "--epochs=2", "--num_runs=2", "--M=2", *folders(tmp_path, tiny_mnist.folder)]
    process = launch(tmp_path / "log", Path(__file__).with_name("helpers.py"), tiny_mnist.folder, *flags)
    assert process.wait(timeout=200) == 0, said(tmp_path / "log", 0)
    results = json.loads(next((tmp_path / "logs").glob("*_results.json")).read_text())
    assert [run["seed"] for run in results["runs"]] == [1, 2] and len(results["epochs"]) == 2
    with tiny_mnist.registered():
        main.main(get_config([*flags, "--is_train=False"]))
    alone = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[*] Test")]
    together = [line for line in said(tmp_path / "log", 0).splitlines() if line.startswith("[*] Test")]
    assert alone == together and len(alone) == 3
    assert f"{results['runs'][1]['test_correct']}/{results['runs'][1]['test_count']} " in alone[1]

    best, other = sorted((tmp_path / "ckpt").glob("*_model_best.pdparams"))
    (tmp_path / "apart").mkdir()
    other.rename(tmp_path / "apart" / best.name)
    flags = [*flags, "--num_runs=1", f"--weights={best}", "--is_train=False"]
    process = launch(tmp_path / "two", __file__, "apart", tmp_path / "apart", tiny_mnist.folder, *flags)
    assert process.wait(timeout=200) == 2
    assert "process 1 has other weights than process 0" in said(tmp_path / "two", 0), said(tmp_path / "two", 0)


ONE_GPU = """
from paddle.base import core
core.is_compiled_with_cuda, core.get_cuda_device_count = lambda: True, lambda: 1
from paddle.distributed.launch.main import launch
launch()
"""


@pytest.mark.parametrize("hidden", [False, *long_test(True)])
def test_processes_on_the_cpu_of_a_machine_with_one_gpu(tmp_path, tiny_mnist, hidden):
    """Paddle's launcher refuses more processes than GPUs, unless CUDA_VISIBLE_DEVICES has one for each."""
    program = [str(Path(__file__).with_name("helpers.py")), str(tiny_mnist.folder), "--epochs=1", "--limit=64", *SMALL]
    command = [sys.executable, "-c", ONE_GPU, "--nproc_per_node=2", f"--log_dir={tmp_path / 'log'}", *program]
    environment = {
        **os.environ,
        "PYTHONDONTWRITEBYTECODE": "1",
        **({"CUDA_VISIBLE_DEVICES": "-1,-1"} if hidden else {}),
    }
    places = folders(tmp_path, tiny_mnist.folder)
    done = subprocess.run(
        [*command, *places], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=200
    )
    if hidden:
        assert done.returncode == 0 and list((tmp_path / "ckpt").glob("*_model_best.pdparams")), done.stderr
    else:
        assert "list index out of range" in done.stderr  # as soon as it is not, the variable can go from the manual


if __name__ == "__main__":
    what, other, *rest = sys.argv[1:]
    if what == "measure":
        measure_in_one_of_several(other)
    elif what == "fail":
        fail_in_the_third_step(int(other), rest[0], rest[1:])
    else:
        run_apart(other, rest[0], rest[1:])
