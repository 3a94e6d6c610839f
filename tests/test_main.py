"""Tests of the commands: train, interrupt, resume and test, in this process and in processes of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import paddle
import pytest
from helpers import ROOT, copy_checkout, long_test, run_as_main, run_measured, same, without_seconds
from PIL import Image

import main
import trainer
import utils
import visualize
from config import BEFORE, FLAGS, get_config
from data_loader import get_test
from model import RecurrentAttention
from ram.draw import snapshots
from ram.evaluation import evaluate
from ram.presets import PRESETS
from ram.runs import checkpoint, published, weights
from ram.runs.files import RunFiles, restore_log
from ram.runs.find import find
from ram.system import processes
from ram.system.cpu import check_threads
from ram.system.signals import Interrupted
from utils import UserError

posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

RUN = "ram_3_6x6_1_h16_g12_l8"
SMALL = (
    "--hidden_size=16 --glimpse_hidden=12 --loc_hidden=8 --num_glimpses=3 --patch_size=6 --use_gpu=False "
    "--batch_size=32 --init_lr=0.01 --ema=0.9 --std=0.11"
).split()
SHORT = ["--epochs=2", "--limit=96"]  # three steps an epoch


class Place:
    """Folders of their own for the files of a run, and the ways to start one there."""

    def __init__(self, root: Path, data: Path):
        self.root, self.data = root, data
        self.ckpt, self.logs, self.plots = (root / name for name in ("ckpt", "logs", "plots"))
        self.latest, self.best = self.ckpt / f"{RUN}_ckpt.pdparams", self.ckpt / f"{RUN}_model_best.pdparams"
        self.log = self.logs / f"{RUN}.jsonl"
        root.mkdir(exist_ok=True)

    def arguments(self, *flags):
        folders = [f"--{name}_dir={self.root / name}" for name in ("ckpt", "logs", "plots")]
        return [*SMALL, f"--data_dir={self.data}", *folders, *flags]

    def run(self, *flags):
        """As a notebook does."""
        main.main(get_config(self.arguments(*flags)))

    def start(self, *flags, checkout=ROOT, **options):
        """As a shell does, in a process of its own."""
        # Importing paddle has set these for this process; another one decides for itself.
        env = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE")}
        env.update(RAM_CHECKOUT=str(checkout), PYTHONUNBUFFERED="1", PYTHONDONTWRITEBYTECODE="1")
        command = [sys.executable, str(Path(__file__).with_name("helpers.py")), str(self.data), *self.arguments(*flags)]
        pipes = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return subprocess.Popen(command, env=env, **pipes, **options)

    def call(self, *flags, **options):
        """Status, output and errors of a process of its own."""
        process = self.start(*flags, **options)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def files(self):
        """Every file with its content, but for locks, which say nothing."""
        paths = [path for path in self.root.rglob("*") if path.is_file() and path.suffix != ".lock"]
        return {str(path.relative_to(self.root)): path.read_bytes() for path in paths}

    def outcome(self):
        """What has to be the same however often a run was interrupted, to the bit."""
        state, best = checkpoint.read(str(self.latest)), checkpoint.read(str(self.best))
        for content in (state, best):
            del content["settings"]  # they tell that it was resumed
        log = [json.loads(line) for line in self.log.read_text().splitlines()]
        glimpses = {}
        for path in sorted((self.plots / RUN).glob("*.npz")):
            with np.load(path) as arrays:
                glimpses[path.name] = dict(arrays)
        return without_seconds({"state": state, "best": best, "log": log, "glimpses": glimpses})


@pytest.fixture
def place(tmp_path, tiny_mnist):
    with tiny_mnist.registered():
        yield Place(tmp_path / "place", tiny_mnist.folder)


@pytest.fixture
def new_place(tmp_path, place):
    """Makes further places."""
    numbers = iter(range(100))
    return lambda: Place(tmp_path / f"place{next(numbers)}", place.data)


def refusal(place, *flags):
    """The one line that a command is refused with."""
    with pytest.raises(UserError) as caught:
        place.run(*flags)
    message = str(caught.value)
    assert message and "\n" not in message
    return message


# ---- training


def test_training_writes_its_files(place, capsys):
    place.run("--epochs=2")
    names = [f"{RUN}_{end}" for end in ("ckpt.pdparams", "ckpt_prev.pdparams", "model_best.pdparams", "params.json")]
    glimpses = [f"plots/{RUN}/glimpses_{epoch:04d}.npz" for epoch in (1, 2)]
    assert sorted(place.files()) == sorted([f"logs/{RUN}.jsonl", *glimpses, *(f"ckpt/{name}" for name in names)])
    out = capsys.readouterr().out
    assert "[*] Train on 540 samples, validate on 60 samples" in out
    assert out.count("\ntrain loss: ") == 2 and f"{RUN}_model_best.pdparams" in out.splitlines()[-1]
    params = json.loads((place.ckpt / f"{RUN}_params.json").read_text())
    assert params["epochs"] == 2 and params["hidden_size"] == 16 and params["init_lr"] == 0.01
    records = [json.loads(line) for line in place.log.read_text().splitlines()]
    assert [record["epoch"] for record in records] == [1, 2]
    assert records == checkpoint.read(str(place.latest))["history"]


def test_checkpoints_open_with_paddle_too(place):
    place.run(*SHORT)
    for path in (place.latest, place.best):
        ours, paddles = checkpoint.read(str(path)), paddle.load(str(path), return_numpy=True)
        assert same(paddles["model"], ours["model"]) and paddles["epoch"] == ours["epoch"]


def test_stored_glimpses(place):
    place.run("--epochs=4", "--limit=32", "--plot_freq=2")
    folder = place.plots / RUN
    assert sorted(path.name for path in folder.iterdir()) == ["glimpses_0002.npz", "glimpses_0004.npz"]
    with np.load(folder / "glimpses_0002.npz", allow_pickle=False) as arrays:
        shapes = {name: arrays[name].shape for name in arrays}
    assert shapes == {
        "images": (9, 1, 28, 28),
        "labels": (9,),
        "locations": (9, 3, 2),
        "probabilities": (9, 10),
        "classes": (10,),
        "retina": (5,),
    }


def test_no_glimpses_with_plot_freq_0(place):
    place.run(*SHORT, "--plot_freq=0")
    assert not any(name.endswith(".npz") for name in place.files())


def test_sample_grid_is_a_png(place, capsys, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    place.run("--epochs=1", "--limit=32", "--show_sample")
    found = re.search(r"^\[\*\] Wrote (.*\.png)$", capsys.readouterr().out, re.MULTILINE)
    path = Path(found[1])
    assert path.parent == place.plots and path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    place.run("--epochs=1", "--limit=32", "--show_sample")  # in place of the earlier one
    path.write_bytes(b"the user's own")
    assert "was not made by this command" in refusal(place, "--epochs=1", "--limit=32", "--show_sample")
    assert path.read_bytes() == b"the user's own"


@pytest.mark.parametrize("flag", ["--use_visualdl", "--use_tensorboard"])
def test_absence_of_visualdl_is_told_before_anything_is_done(place, monkeypatch, flag):
    monkeypatch.setitem(sys.modules, "visualdl", None)
    assert "pip install visualdl" in refusal(place, *SHORT, flag)
    assert place.files() == {}


def test_validation_loss_that_is_not_finite_stops_a_training(place):
    """With a single step per epoch, the loss of the training is from before the weights ran off."""
    flags = [*SHORT, "--batch_size=512", "--optimizer=sgd", "--init_lr=1e30", "--plot_freq=0"]
    assert "the validation loss is nan after step 1 of epoch 1" in refusal(place, *flags)
    assert not place.best.exists()


def test_loss_that_is_not_finite_stops_and_leaves_the_last_checkpoint(place):
    place.run(*SHORT, "--lr_schedule=constant", "--optimizer=sgd")
    state = checkpoint.read(str(place.latest))
    state["model"]["classifier.fc.weight"][:] = 3e38  # its products with the state are too large to add up
    state["model"]["classifier.fc.weight"][:, 0] = -3e38
    checkpoint.write(str(place.latest), state)
    before = place.files()
    assert "training stopped" in refusal(place, "--resume", "--epochs=3")
    after = place.files()
    assert json.loads(after.pop(f"ckpt/{RUN}_params.json"))["epochs"] == 3
    del before[f"ckpt/{RUN}_params.json"]
    assert after == before


def test_trainings_in_one_process_do_not_influence_each_other(place, new_place):
    place.run(*SHORT)
    other, again = new_place(), new_place()
    other.run(*SHORT, "--optimizer=momentum", "--random_seed=9", "--num_workers=2")
    paddle.seed(7), np.random.seed(7)
    again.run(*SHORT)
    assert same(again.outcome(), place.outcome()) and not same(other.outcome()["state"], place.outcome()["state"])


def test_foreign_arguments_of_a_notebook_do_not_matter(place, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "/tmp/kernel.json"])
    place.run(*SHORT)


FROM_A_THREAD = """
    import sys, threading
    from config import get_config
    from main import main
    config = get_config(sys.argv[1:])
    thread = threading.Thread(target=main, args=[config])
    thread.start()
    thread.join()
    main(config)
"""


def test_the_main_thread_may_follow_another(place, real_mnist):
    command = [sys.executable, "-c", textwrap.dedent(FROM_A_THREAD), "--is_train=False", "--limit=50", "--M=1"]
    command += [f"--data_dir={real_mnist().data_dir}", f"--ckpt_dir={place.ckpt}"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    lines = [line for line in ended.stdout.splitlines() if "Test Acc" in line]
    assert ended.returncode == 0 and len(lines) == 2 and len(set(lines)) == 1, ended.stderr


# ---- the environment


@pytest.mark.parametrize(
    "variable, value, says",
    [
        ("OMP_NUM_THREADS", "99999", "from 1 to 1024"),
        ("OMP_NUM_THREADS", "-3", "from 1 to 1024"),
        ("OMP_NUM_THREADS", "4,2", "from 1 to 1024"),
        ("OMP_NUM_THREADS", "", "from 1 to 1024"),
        ("PADDLE_TRAINERS_NUM", "abc", "must be a whole number"),
        ("PADDLE_TRAINERS_NUM", "0", "must be a whole number"),
        ("PADDLE_LOCAL_SIZE", "many", "must be a whole number"),
        ("PADDLE_LOCAL_SIZE", "0", "must be a whole number"),
        ("PADDLE_TRAINERS_NUM", "2", "no PADDLE_TRAINER_ID"),
    ],
)
def test_a_wrong_environment_is_one_line(monkeypatch, variable, value, says):
    monkeypatch.setenv(variable, value)
    monkeypatch.delenv("PADDLE_TRAINER_ID", raising=False)
    with pytest.raises(UserError, match=says):
        check_threads()
        processes.on_this_machine()
        with processes.together():
            pass


# ---- a fresh start


def test_the_log_of_another_training_is_kept(place):
    """Two checkpoint folders, one folder of logs: the log is the second training's, and the first cannot go on."""
    place.run(*SHORT)
    one = place.latest.read_bytes()
    place.run(*SHORT, "--random_seed=2", f"--ckpt_dir={place.root / 'second'}")
    (log,) = (place.root / "logs").glob("*.jsonl")
    second = log.read_bytes()
    for content in (second, b"a diary\n"):
        log.write_bytes(content)
        assert f"{log} is the log of another training than {place.latest}" in refusal(place, "--resume=True")
        assert log.read_bytes() == content and place.latest.read_bytes() == one
    log.write_bytes(second + second.splitlines(keepends=True)[1])  # of a training that was killed, and had gone on
    place.run("--resume=True", f"--ckpt_dir={place.root / 'second'}")
    assert log.read_bytes() == second
    restore_log(str(log), [], "a checkpoint of the first epoch")
    (kept,) = log.parent.glob(f"old/*/{log.name}")
    assert log.read_bytes() == b"" and kept.read_bytes() == second


def test_a_fresh_start_does_not_promise_to_resume_what_was_no_checkpoint(place, capsys):
    place.run(*SHORT)
    place.run(*SHORT, f"--ckpt_dir={place.root / 'second'}")
    assert f"Files of another run of this name were moved to {place.root / 'second'}" in capsys.readouterr().out


def test_a_checkpoint_folder_that_may_not_be_entered_is_no_empty_one(place, monkeypatch):
    """Else published weights would be tested in place of the user's own."""
    place.run(*SHORT)
    real = os.lstat

    def lstat(path, *more, **options):
        if str(path).startswith(str(place.ckpt)):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *more, **options)

    monkeypatch.setattr(os, "lstat", lstat)
    for flags in (["--is_train=False"], ["--resume=True"], ["--resume=auto"]):
        assert refusal(place, *flags).endswith("Permission denied")


def test_fresh_start_moves_the_old_files_aside(place, capsys):
    place.run(*SHORT)
    first = place.files()
    capsys.readouterr()
    place.run(*SHORT, "--random_seed=2")
    folder = re.search(r"An earlier run of this name was moved to (\S+); --resume", capsys.readouterr().out)[1]
    assert re.fullmatch(rf"{RUN}-\d{{4}}-\d\d-\d\d-\d{{6}}", Path(folder).name)
    second = place.files()
    assert {Path(name).name for name in first} == {path.name for path in Path(folder).rglob("*") if path.is_file()}
    for name, content in first.items():
        assert content in second.values(), f"{name} is lost"
    fresh = [name for name in second if str(place.root / name).startswith(folder) is False]
    assert sorted(fresh) == sorted(first) and place.latest.read_bytes() != first[f"ckpt/{RUN}_ckpt.pdparams"]
    place.run(*SHORT, "--random_seed=3")
    assert all(content in place.files().values() for content in second.values()), "nor does a third start lose them"


def test_first_start_moves_nothing(place, capsys):
    place.run(*SHORT)
    assert "earlier run" not in capsys.readouterr().out and not (place.ckpt / "old").exists()


def test_runs_of_other_names_are_left_alone(place):
    place.run(*SHORT)
    before = place.files()
    place.run(*SHORT, "--num_glimpses=2")
    assert before.items() <= place.files().items()


def test_second_process_on_the_same_run_is_refused(place):
    with checkpoint.RunLock(RunFiles(get_config(place.arguments())).locks[0]):
        assert f"{RUN} is in use by process {os.getpid()}" in refusal(place, *SHORT)
    assert not place.latest.exists()


# ---- resume

LONG = ["--epochs=4", "--limit=96", "--save_freq=2"]  # three steps an epoch, and eight checkpoints


class Killed(BaseException):
    """Ends a training at once, as far as this process can."""


def kill_at(monkeypatch, owner, name, call, after):
    """Let the given call of a function end the training, before or after it does its work."""
    real, calls = getattr(owner, name), []

    def function(*args, **kwargs):
        calls.append(None)
        if len(calls) == call and not after:
            raise Killed
        result = real(*args, **kwargs)
        if len(calls) == call and after:
            raise Killed
        return result

    monkeypatch.setattr(owner, name, function)


WRITES = {
    "checkpoint": (checkpoint, "write_latest"),
    "best checkpoint": (checkpoint, "write"),
    "log": (utils.JsonLines, "append"),
    "glimpses": (snapshots, "save_glimpses"),
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, tiny_mnist):
    """The outcome of a training of four epochs that nothing disturbed."""
    place = Place(tmp_path_factory.mktemp("undisturbed"), tiny_mnist.folder)
    with tiny_mnist.registered():
        place.run(*LONG)
    return place.outcome()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("what", WRITES)
@pytest.mark.parametrize("which", ["first", "second", "last"])
def test_killed_around_a_write_and_resumed_is_bit_equal(place, monkeypatch, undisturbed, what, after, which):
    owner, name = WRITES[what]
    writes = {"checkpoint": 8, "best checkpoint": sum(record["best"] for record in undisturbed["log"])}.get(what, 4)
    assert writes >= 2
    with monkeypatch.context() as patch:
        kill_at(patch, owner, name, {"first": 1, "second": 2, "last": writes}[which], after)
        with pytest.raises(Killed):
            place.run(*LONG)
    place.run(*LONG, *["--resume"] * place.latest.exists())
    assert same(place.outcome(), undisturbed)


def signal_at_step(monkeypatch, step, number):
    """Let a signal arrive during the given step of a training in this process, or during every one."""
    real, calls = trainer.Trainer.train_step, []

    def train_step(self, *batch):
        calls.append(None)
        if step in (len(calls), "every"):
            signal.raise_signal(number)
        return real(self, *batch)

    monkeypatch.setattr(trainer.Trainer, "train_step", train_step)


@posix
def test_interrupted_again_and_again_and_resumed_is_bit_equal(place, monkeypatch, undisturbed):
    """Each of the twelve steps is the last one before a signal."""
    with monkeypatch.context() as patch:
        signal_at_step(patch, "every", signal.SIGTERM)
        for step in range(1, 13):
            with pytest.raises(Interrupted) as caught:
                place.run(*LONG, *["--resume"] * (step > 1))
            assert caught.value.signum == signal.SIGTERM
    place.run("--resume")
    assert same(place.outcome(), undisturbed)


@posix
@pytest.mark.parametrize("number, status", [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_signal_saves_says_how_to_go_on_and_ends_with_its_status(
    place, monkeypatch, capsys, undisturbed, number, status
):
    with monkeypatch.context() as patch:
        signal_at_step(patch, 5, getattr(signal, number))
        found, out, err = as_main(capsys, place, *LONG)
    assert found == status and "Traceback" not in err
    assert out.splitlines()[-1].startswith("[!] Stopped at step 2 of epoch 2 and saved")
    assert "--resume=True" in out.splitlines()[-1]
    state = checkpoint.read(str(place.latest))
    assert (state["epoch"], state["step"]) == (1, 2)
    place.run(*LONG, "--resume=True")
    assert same(place.outcome(), undisturbed)


def test_lost_checkpoint_is_replaced_by_the_one_before(place, undisturbed, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        kill_at(patch, checkpoint, "write_latest", 6, True)
        with pytest.raises(Killed):
            place.run(*LONG)
    place.latest.unlink()
    place.run(*LONG, "--resume")
    assert "going on from the one before" in capsys.readouterr().out
    assert same(place.outcome(), undisturbed)


def test_best_checkpoint_of_a_resumed_run_is_the_same_file(place, new_place, monkeypatch):
    other = new_place()
    place.run(*LONG)
    with monkeypatch.context() as patch:
        kill_at(patch, checkpoint, "write", 1, False)
        with pytest.raises(Killed):
            other.run(*LONG)
    other.run(*LONG, "--resume", f"--ckpt_dir={other.ckpt}")
    settings = [checkpoint.read(str(p.best))["settings"] for p in (place, other)]
    differing = {name for name in settings[0] if settings[0][name] != settings[1].get(name)}
    assert differing == {"ckpt_dir", "logs_dir", "plots_dir"}, "how a run was started is no property of its best model"


def test_number_of_threads_and_other_free_flags_may_change_on_the_way(place, undisturbed, monkeypatch):
    with monkeypatch.context() as patch:
        kill_at(patch, checkpoint, "write_latest", 3, True)
        with pytest.raises(Killed):
            place.run(*LONG)
    place.run("--resume", "--num_workers=3", "--print_freq=1", "--save_freq=1", "--M=3", "--train_patience=40")
    assert same(place.outcome(), undisturbed)


def test_resume_needs_only_the_flags_that_name_the_run(place, capsys):
    place.run(*LONG[:2], "--epochs=1", "--optimizer=rmsprop", "--valid_M=2", "--lr_schedule=constant")
    place.run("--resume", "--epochs=2")
    state = checkpoint.read(str(place.latest))
    assert [state["settings"][name] for name in ("optimizer", "valid_M", "limit", "epochs")] == ["rmsprop", 2, 96, 2]
    assert json.loads((place.ckpt / f"{RUN}_params.json").read_text())["optimizer"] == "rmsprop"


def test_larger_epochs_goes_on_as_if_they_had_been_asked_for_at_once(place, new_place):
    """With a constant rate: any other schedule is computed for the new total from there on."""
    other = new_place()
    place.run("--limit=96", "--lr_schedule=constant", "--epochs=2")
    place.run("--resume", "--epochs=4")
    other.run("--limit=96", "--lr_schedule=constant", "--epochs=4")
    assert same(place.outcome(), other.outcome())


def test_finished_run_says_so_and_changes_nothing(place, capsys):
    place.run(*LONG)
    before = place.files()
    capsys.readouterr()
    for flags in ([], ["--epochs=3"]):
        place.run("--resume", *flags)
        out = capsys.readouterr().out
        assert f"{RUN} is finished: 4 epochs" in out and "larger --epochs" in out and "train loss" not in out
        assert place.files() == before


def test_settings_of_the_caller_stay_as_they_are(place):
    place.run(*LONG)
    config = get_config(place.arguments("--is_train=False"))
    before = dict(vars(config))
    main.main(config)
    assert vars(config) == before


def test_checkpoint_from_before_a_flag_goes_on_as_it_was_trained(place, monkeypatch):
    place.run("--preset=mnist", *SHORT)
    state = checkpoint.read(str(place.latest))
    for name in BEFORE:
        del state["settings"][name]
    checkpoint.write(str(place.latest), state)
    # Even if the preset says otherwise today.
    flags = {**PRESETS["mnist"].flags, "reinforce_core": 0.5, "reward": "probability", "core_init": "identity"}
    monkeypatch.setitem(PRESETS, "mnist", PRESETS["mnist"]._replace(flags=flags))
    for flag, was in (
        ("--reinforce_core=0.5", "0.0"),
        ("--reward=probability", "right"),
        ("--core_init=identity", "glorot"),
    ):
        assert f"{flag} (there: {was})" in refusal(place, "--resume", "--epochs=3", flag)
    place.run("--resume", "--epochs=3", "--preset=mnist")
    assert {name: checkpoint.read(str(place.latest))["settings"][name] for name in BEFORE} == BEFORE


def test_checkpoint_with_a_flag_that_is_no_more_goes_on_where_that_changed_nothing(place):
    place.run(*SHORT)
    state = checkpoint.read(str(place.latest))
    state["settings"] |= {"baseline": "learned", "rollouts_per_image": 1, "augment_elastic": 0.0}
    checkpoint.write(str(place.latest), state)
    place.run(*SHORT, "--resume")
    for name, value in {"baseline": "leave_one_out", "rollouts_per_image": 2, "augment_elastic": 4.0}.items():
        changed = state["settings"] | {name: value}
        checkpoint.write(str(place.latest), {**state, "settings": changed})
        message = refusal(place, *SHORT, "--resume")
        assert message.endswith(f"it was trained with --{name}={value}, which is no more")
        assert checkpoint.read(str(place.latest))["settings"] == changed, "nothing is lost"


def test_resume_forgives_the_name_of_a_preset_and_no_more(place):
    place.run(*SHORT, "--preset=mnist7")  # three glimpses, though
    place.run(*SHORT, "--preset=mnist", "--resume")
    other = ["--preset=paper-mnist", "--location_mean=tanh"]  # a run of the same name
    assert "--preset=paper-mnist (there: mnist7)" in refusal(place, *SHORT, "--resume", *other)


@pytest.mark.parametrize("how", ["--resume", "--resume=auto"])
def test_resume_forgives_what_decides_nothing(place, how):
    """A checkpoint may have what is refused today, and --resume may be given it."""
    place.run(*SHORT)
    state = checkpoint.read(str(place.latest))
    checkpoint.write(str(place.latest), {**state, "settings": {**state["settings"], "momentum": 0.9}})
    place.run(*SHORT, how, "--momentum=0.5")
    assert "(there: 0.01)" in refusal(place, *SHORT, "--resume", "--init_lr=0.02", "--momentum=0.7")


@pytest.mark.parametrize("ending", [".pdparams", ".safetensors"])
def test_weights_from_before_a_flag_are_used_as_they_were_trained(place, ending):
    place.run(*SHORT)
    state = checkpoint.read(str(place.best))
    del state["settings"]["first_reach"]
    path = str(place.root / f"old{ending}")
    if ending == ".pdparams":
        checkpoint.write(path, state)
    else:
        shutil.copy(published.path_of("mnist"), path)
        facts = json.loads(Path(weights.facts_path(published.path_of("mnist"))).read_text())
        facts["settings"].pop("first_reach", None)
        Path(weights.facts_path(path)).write_text(json.dumps(facts))
    shape = SMALL if ending == ".pdparams" else []
    config = get_config([*shape, f"--weights={path}", "--is_train=False", "--use_gpu=False"])
    find(config)
    assert config.first_reach == 1
    with pytest.raises(UserError, match=r"--first_reach=0.3 \(there: 1.0\)"):
        find(get_config([*shape, f"--weights={path}", "--is_train=False", "--first_reach=0.3"]))


def test_preset_that_does_not_fit_is_no_way_to_resume(place):
    place.run(*SHORT)
    assert "--preset=mnist" in refusal(place, "--resume", "--preset=mnist")


def test_latest_is_tested_from_the_one_before_where_it_is_missing(place, capsys):
    place.run(*SHORT)
    os.remove(place.latest)
    place.run("--is_train=False", "--best=False")
    assert f"{RUN}_ckpt_prev.pdparams" in capsys.readouterr().out


def test_larger_train_patience_revives_an_early_stopped_run(place, capsys):
    stopping = ["--limit=96", "--epochs=6", "--train_patience=1", "--optimizer=sgd", "--init_lr=1e-30"]
    place.run(*stopping)
    assert "No improvement in 1 epochs" in capsys.readouterr().out
    place.run("--resume", "--init_lr=1e-30")
    assert "is finished: 2 epochs" in capsys.readouterr().out
    place.run("--resume", "--init_lr=1e-30", "--train_patience=3")
    assert len(place.log.read_text().splitlines()) == 4 and "No improvement in 3 epochs" in capsys.readouterr().out


def test_nothing_to_resume_is_an_error(place):
    message = refusal(place, "--resume", *SHORT)
    assert "nothing to resume" in message and str(place.latest) in message
    assert place.files() == {}


def test_settings_that_do_not_fit_are_named_and_nothing_is_changed(place):
    place.run(*SHORT)
    before = place.files()
    message = refusal(place, "--resume", "--epochs=9", "--init_lr=0.5", "--batch_size=7", "--random_seed=1")
    for part in ("--init_lr=0.5", "0.01", "--batch_size=7", "32", str(place.latest)):
        assert part in message
    assert "random_seed" not in message and "epochs" not in message
    assert place.files() == before


def test_file_that_holds_no_training_cannot_be_resumed(place):
    place.run(*SHORT)
    shutil.copy(place.best, place.latest)
    before = place.files()
    assert "cannot be resumed" in refusal(place, "--resume", *SHORT)
    assert place.files() == before


def test_damaged_checkpoint_is_refused_with_the_way_out(place):
    place.run(*SHORT)
    place.latest.write_bytes(place.latest.read_bytes()[:-100])
    before = place.files()
    message = refusal(place, "--resume", *SHORT)
    assert "damaged" in message and "_ckpt_prev.pdparams" in message
    assert place.files() == before


# ---- processes and signals


@long_test()
def test_commands_work_from_anywhere_and_leave_the_checkout_alone(tmp_path, tiny_mnist):
    checkout, elsewhere = tmp_path / "checkout", tmp_path / "elsewhere"
    checkout.mkdir(), elsewhere.mkdir()
    copy_checkout(checkout)
    for path in [*checkout.rglob("*"), checkout]:
        path.chmod(0o555)
    before = {path.name: path.stat().st_mtime_ns for path in checkout.rglob("*")}
    place = Place(tmp_path / "place", tiny_mnist.folder)
    for flags, expected in (
        (["--epochs=1"], "[*] Best validation accuracy"),
        (["--epochs=2", "--resume=True"], f"[*] Resuming {RUN} at step 0 of epoch 2"),
        (["--is_train=False"], "[*] Test Acc: "),
    ):
        status, out, err = place.call("--limit=64", *flags, checkout=checkout, cwd=elsewhere)
        assert status == 0 and expected in out, err
    assert {path.name: path.stat().st_mtime_ns for path in checkout.rglob("*")} == before
    assert not list(elsewhere.iterdir())
    checkout.chmod(0o755)


@pytest.mark.parametrize(
    "flags", [["--epoch=3"], ["--resume"], ["--is_train=False", "--weights=absent"]], ids=["flag", "resume", "file"]
)
def test_error_of_a_process_is_one_line_and_status_2(tmp_path, tiny_mnist, flags):
    status, out, err = Place(tmp_path / "place", tiny_mnist.folder).call(*flags)
    assert status == 2 and re.fullmatch(r"main\.py: [^\n]+\n", err), err


def as_main(capsys, place, *flags):
    """Status, output and errors of `python main.py`, run in this process."""
    capsys.readouterr()
    try:
        run_as_main(place.arguments(*flags))
        status = 0
    except SystemExit as ended:
        status = ended.code
    return (status, *capsys.readouterr())


@pytest.fixture
def blocked(place):
    """A file where a folder is wanted."""
    path = place.root / "file"
    path.write_text("not a folder")
    return path


@pytest.mark.parametrize(
    "flags, expected",
    [
        (["--epoch=3"], "did you mean --epochs?"),
        (["--epochs=0"], "--epochs"),
        (["--resume=maybe"], "maybe"),
        (["--valid_size=1"], "--valid_size"),
        (["--valid_size=1e-9"], "--valid_size"),
        (["--optimizer=adm"], "adm"),
        (["--std=nan"], "--std"),
        (["--dataset=translated_mnist", "--canvas_size=20"], "--canvas_size"),
        (["--is_train=False"], "nothing to test"),
        (["--resume"], "nothing to resume"),
        (["--weights={root}/absent.pdparams"], "absent.pdparams"),
        (["--is_train=False", "--weights={root}/file"], "file"),
        (["--is_train=False", "--weights={root}"], "folder"),
        (["--ckpt_dir={root}/file/ckpt"], "file/ckpt"),
        (["--ckpt_dir={root}/file"], "file"),
        (["--logs_dir={root}/file/logs"], "file/logs"),
        (["--plots_dir={root}/file/plots"], "file/plots"),
        (["--plots_dir={root}/file", "--show_sample"], "file"),
        (["--optimizer=sgd", "--init_lr=1e30", "--std=0.5"], "--init_lr"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_are_one_line_on_stderr_with_status_2(place, blocked, capsys, flags, expected):
    flags = [flag.format(root=place.root) for flag in flags]
    status, out, err = as_main(capsys, place, *SHORT, *flags)
    bar = re.compile(r"\r?[^\n]*\d+/\d+ \[[^\n]*\r *\r")  # the progress bar, where training had begun
    err = bar.sub("", err)
    assert status == 2 and re.fullmatch(r"main\.py: [^\n]+\n", err), err
    assert expected in err
    assert blocked.read_text() == "not a folder"


def test_folder_that_cannot_be_made_is_an_error_before_training_begins(place, blocked):
    for name in ("ckpt", "logs", "plots"):
        refusal(place, *SHORT, f"--{name}_dir={blocked}/x")
        assert not any(name.endswith(".pdparams") for name in place.files())


def test_help_is_no_error(place, capsys):
    status, out, err = as_main(capsys, place, "--help")
    assert status in (0, None) and "--num_glimpses" in out and err == ""


# ---- test

TEST_LINES = r"\[\*\] mnist test, M=(\d+), (sampled|mean) locations, epoch (\d+), (\S+)\n" + (
    r"\[\*\] Test Acc: (\d+)/(\d+) \((\d+\.\d\d)% - Error: (\d+\.\d\d)%\)\n"
)


def report_of(place, capsys, *flags):
    """M, locations, epoch, file, correct, count, accuracy and error that the test command prints, as texts."""
    capsys.readouterr()
    place.run("--is_train=False", *flags)
    out = capsys.readouterr().out
    found = re.fullmatch(TEST_LINES, out)
    assert found, out
    return found.groups()


def best_epoch(place):
    return [record["epoch"] for record in map(json.loads, place.log.read_text().splitlines()) if record["best"]][-1]


def test_test_prints_two_lines_about_the_best_checkpoint(place, capsys):
    place.run("--epochs=4")
    M, locations, epoch, path, correct, count, accuracy, error = report_of(place, capsys)
    assert (M, locations, epoch, path) == ("10", "sampled", str(best_epoch(place)), str(place.best))
    assert count == "100" and float(accuracy) == 100 * int(correct) / 100
    assert float(accuracy) + float(error) == pytest.approx(100)
    content = checkpoint.read(str(place.best))
    model = RecurrentAttention(6, 1, 1, 1, 12, 8, content["settings"]["std"], 16, 10)
    model.set_state_dict({name: paddle.to_tensor(value) for name, value in content["ema"].items()})
    config = get_config(place.arguments())
    assert evaluate(model, get_test(config), 3, 10, "sampled", 1).correct == int(correct)


def test_latest_checkpoint_is_tested_with_best_false(place, capsys):
    place.run("--epochs=3", "--lr_schedule=constant", "--optimizer=sgd", "--init_lr=1e-30")  # only the first is best
    assert report_of(place, capsys)[2:4] == ("1", str(place.best))
    assert report_of(place, capsys, "--best=False")[2:4] == ("3", str(place.latest))


def test_test_depends_on_m_locations_limit_and_seed_but_not_on_batch_size(place, capsys):
    place.run("--epochs=3")
    default = report_of(place, capsys)
    assert (
        default
        == report_of(place, capsys, "--batch_size=7")
        == report_of(place, capsys, "--valid_M=3", "--num_workers=2")
    )
    assert report_of(place, capsys, "--M=3")[:2] == ("3", "sampled")
    assert report_of(place, capsys, "--limit=30")[5] == "30"
    means = report_of(place, capsys, "--locations=mean")
    assert means[:2] == ("1", "mean") and means == report_of(place, capsys, "--locations=mean", "--random_seed=5")


def test_test_changes_no_file(place, capsys):
    place.run(*SHORT)
    before = place.files()
    report_of(place, capsys)
    assert place.files() == before


def test_architecture_comes_from_the_checkpoint(place, capsys):
    place.run(*SHORT, "--std=0.3", "--std_end=0.2", "--num_patches=2", "--glimpse_scale=2")
    weights = next(place.ckpt.glob("*_model_best.pdparams"))
    bare = Place(place.root, place.data)
    bare.arguments = lambda *flags: [f"--data_dir={place.data}", "--use_gpu=False", *flags]
    assert report_of(bare, capsys, f"--weights={weights}")[3] == str(weights)
    assert report_of(bare, capsys, f"--weights={weights}", "--hidden_size=16", "--std=0.3")
    message = refusal(
        bare, "--is_train=False", f"--weights={weights}", "--hidden_size=32", "--num_glimpses=3", "--std=0.1"
    )
    assert "--hidden_size=32 (there: 16)" in message and "--std=0.1 (there: 0.3)" in message
    assert "num_glimpses" not in message and str(weights) in message


def test_lost_best_checkpoint_is_an_error(place):
    place.run(*SHORT)
    place.best.unlink()
    message = refusal(place, "--is_train=False")
    assert "nothing to test" in message and str(place.best) in message


def test_what_a_test_does_not_read_from_the_checkpoint_is_what_the_manual_says(place, capsys):
    """--M, --locations, --limit and the seed of the noise are of the command; what the weights need, of the file."""
    chosen = {"M": 2, "locations": "mean", "limit": 64, "random_seed": 5}
    place.run(
        "--epochs=1", "--std_end=0.3", "--pixel_std=0.5", *[f"--{name}={value}" for name, value in chosen.items()]
    )
    best = next(place.ckpt.glob("*_model_best.pdparams"))
    config = get_config([*place.arguments("--is_train=False", "--pixel_std=0.5")])
    defaults = {name: getattr(get_config([]), name) for name in chosen}
    trained = find(config)
    assert trained.path == str(best) and config.std_end == 0.3
    assert {name: getattr(config, name) for name in chosen} == defaults
    read_from_file = {flag.name for flag in FLAGS if flag.decides in ("model", "data")}
    assert not read_from_file & chosen.keys()
    capsys.readouterr()
    place.run("--is_train=False", "--pixel_std=0.5")
    assert re.search(r"test, M=10, sampled locations, .*\n.*/100 ", capsys.readouterr().out)
    for page in ("training.md", "zh_CN/training.md"):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        (names,) = [part for part in text.split("\n\n") if part.startswith(("**Names.**", "**名称**"))]
        assert all(f"`--{name}`" in names for name in chosen), page


# ---- links


@posix
def test_file_of_a_run_that_is_a_link_out_of_its_folder_is_refused(place, tmp_path):
    """Or the log would be added to somebody's file, and the lock would empty it."""
    place.run(*SHORT)
    files = RunFiles(get_config(place.arguments()))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path in map(
        Path, [*files.locks, files.latest, files.previous, files.best, files.params, files.log, files.plots]
    ):
        kept = path.rename(path.with_name("kept"))
        victim = elsewhere / path.name
        (shutil.copytree if kept.is_dir() else shutil.copy)(kept, victim)
        content = None if victim.is_dir() else victim.read_bytes()
        path.symlink_to(victim)
        before = place.files()
        for flags in (SHORT, ["--resume", "--epochs=3"]):
            message = refusal(place, *flags)
            assert path.name in message and "is a link out of its folder" in message
        assert place.files() == before and path.is_symlink()
        assert victim.is_dir() or victim.read_bytes() == content
        path.unlink()
        kept.rename(path)
    best = Path(files.best)
    best.symlink_to(best.rename(elsewhere / "moved"))
    assert "is a link out of its folder" in refusal(place, "--is_train=False")
    best.unlink()
    best.symlink_to((elsewhere / "moved").rename(place.ckpt / "moved"))
    place.run("--is_train=False")  # within the folder


@posix
def test_folders_of_a_run_may_be_links(place, tmp_path):
    for folder in (place.ckpt, place.logs, place.plots):
        (tmp_path / "elsewhere" / folder.name).mkdir(parents=True)
        folder.symlink_to(tmp_path / "elsewhere" / folder.name)
    place.run(*SHORT)
    place.run("--resume", "--epochs=3")
    place.run("--is_train=False")
    assert (tmp_path / "elsewhere" / "ckpt" / place.best.name).exists()


# ---- weights from a file


@pytest.fixture
def seeds_file(tmp_path):
    """A file as the Paddle seed writes it, and the model in it, which wants its images normalised."""
    older = {"pixel_mean": 0.1307, "pixel_std": 0.3081, "crop_offset": 1}
    model = RecurrentAttention(8, 1, 1, 1, 128, 128, 0.05, 256, 10, **older)
    model.initialize(5)
    for weight in model.parameters():
        if len(weight.shape) == 1:
            weight.set_value(np.random.default_rng(0).uniform(0.1, 0.2, weight.shape).astype(np.float32))
    optimizer = paddle.optimizer.Adam(3e-4, parameters=model.parameters())
    content = {"epoch": 42, "model_state": model.state_dict(), "optim_state": optimizer.state_dict()}
    path = tmp_path / "ram_6_8x8_1_model_best.pdparams"
    paddle.save({**content, "best_valid_acc": 98.5}, str(path))
    return path, model


def default_architecture(place):
    own = Place(place.root, place.data)
    free = [flag for flag in SMALL if not flag.startswith(("--use_gpu", "--batch_size", "--init_lr", "--ema"))]
    own.arguments = lambda *flags: [flag for flag in place.arguments(*flags) if flag not in free]
    return own


def test_file_of_the_paddle_seed_is_tested(place, seeds_file, capsys):
    path, model = seeds_file
    found = report_of(default_architecture(place), capsys, f"--weights={path}", "--M=2")
    assert found[:4] == ("2", "sampled", "42", str(path))
    expected = evaluate(model, get_test(get_config(place.arguments())), 6, 2, "sampled", 1)
    assert found[4:6] == (str(expected.correct), "100")


def test_bare_state_dict_is_tested(place, seeds_file, capsys, tmp_path):
    path, model = seeds_file
    bare = str(tmp_path / "bare.pdparams")
    paddle.save(model.state_dict(), bare)
    own = default_architecture(place)
    asks = [
        "--pixel_mean=0.1307",
        "--pixel_std=0.3081",
        "--std=0.05",
        "--crop_offset=1",
    ]  # a bare file says nothing of them
    assert (
        report_of(own, capsys, f"--weights={path}")[4]
        == re.search(
            r"Test Acc: (\d+)/", (own.run("--is_train=False", f"--weights={bare}", *asks), capsys.readouterr().out)[1]
        )[1]
    )


def test_file_of_the_paddle_seed_brings_its_crop_along(place, seeds_file, tmp_path, capsys):
    path, _ = seeds_file
    own = default_architecture(place)
    own.run(f"--weights={path}", f"--export={tmp_path / 'export'}")
    about = json.loads((tmp_path / "export" / "about.json").read_text())
    assert about["settings"]["crop_offset"] == 1
    own.run(f"--weights={path}", "--epochs=1", "--limit=64", "--batch_size=32")
    (begun,) = (own.root / "ckpt").glob("*_model_best.pdparams")
    assert begun.name == "ram_6_8x8_1_offset1_model_best.pdparams"
    assert checkpoint.read(str(begun))["settings"]["crop_offset"] == 1
    hub = paddle.hub.load(str(ROOT), "ram", source="local", weights=str(path))
    assert hub.sensor.retina.offset == 1
    asked = visualize.parse("glimpses", own.arguments(f"--weights={path}"))
    model, _, config = visualize.trained_model(asked)
    assert model.sensor.retina.offset == 1 and visualize.geometry_of(config).offset == 1
    capsys.readouterr()


def test_predict_crops_as_the_file_of_the_paddle_seed_was_trained(place, seeds_file, tmp_path, capfd):
    """Its answers are those of the same weights with the crop given as a flag, and not those without it."""
    path, model = seeds_file
    bare, picture = str(tmp_path / "bare.pdparams"), str(tmp_path / "picture.png")
    paddle.save(model.state_dict(), bare)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)).save(picture)
    own, answers = default_architecture(place), []
    for flags in ([path], [bare, "--crop_offset=1"], [bare, "--crop_offset=0"]):
        normal = ["--pixel_mean=0.1307", "--pixel_std=0.3081", "--std=0.05"] * (flags[0] == bare)
        asks = [f"--weights={flags[0]}", *flags[1:], *normal, "--json", "--fit=False", "--save_pictures=False"]
        run_as_main(own.arguments(*asks, "--predict", picture))
        answers.append(json.loads(capfd.readouterr().out)["probabilities"])
    assert answers[0] == answers[1] != answers[2]


def test_weights_of_another_architecture_are_refused_by_the_test(place, seeds_file):
    path, _ = seeds_file
    own = default_architecture(place)
    assert "[256, 128]" in refusal(own, "--is_train=False", f"--weights={path}", "--hidden_size=128")
    assert place.files() == {}, "nothing was begun"


def test_training_takes_what_fits_of_another_architecture(place, seeds_file, capsys):
    path, model = seeds_file
    own = default_architecture(place)
    own.run(*SHORT, f"--weights={path}", "--patch_size=7", "--optimizer=sgd", "--init_lr=1e-30")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "Starting from the weights" in line]
    assert line.endswith("is drawn anew: sensor.fc1.weight ([64, 128] there, [49, 128] here)")
    (latest,) = place.ckpt.glob("ram_6_7x7_1*_ckpt.pdparams")
    state = checkpoint.read(str(latest))["model"]
    for name, value in model.state_dict().items():
        assert name == "sensor.fc1.weight" or np.allclose(state[name], value.numpy(), rtol=0, atol=1e-20)


def test_training_starts_from_the_weights_in_a_file(place, seeds_file):
    path, model = seeds_file
    own = default_architecture(place)
    own.run("--epochs=1", "--limit=64", f"--weights={path}", "--optimizer=sgd", "--init_lr=1e-30")
    state = checkpoint.read(str(place.ckpt / "ram_6_8x8_1_offset1_ckpt.pdparams"))
    for name, value in model.state_dict().items():
        assert np.allclose(state["model"][name], value.numpy(), rtol=0, atol=1e-20)  # one step of no length at all
        assert np.allclose(state["ema"][name], value.numpy())


# ---- threads

FAKE_PADDLE = """
    import os, types
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as the real one does
    set_to = []
    base = types.SimpleNamespace(core=types.SimpleNamespace(set_num_threads=set_to.append))
    disable_signal_handler = int
"""


@pytest.mark.parametrize(
    "chosen, imported_before, expected",
    [(None, False, "[N]"), ("1", False, "[]"), ("3", False, "[]"), (None, True, "[N]"), ("3", True, "[]")]
    + [("1", True, "[]")] * os.path.exists("/proc/self/environ"),
)
def test_all_cores_are_used_unless_the_user_chose(tmp_path, chosen, imported_before, expected):
    (tmp_path / "paddle.py").write_text(textwrap.dedent(FAKE_PADDLE))
    env = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE")}
    env.update({"OMP_NUM_THREADS": chosen} if chosen else {}, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    code = ("import paddle; " if imported_before else "") + "from ram.system import cpu"
    code += "; cpu.prepare_cpu(); cpu.prepare_cpu(); import paddle; print(paddle.set_to, cpu.available_cores())"
    out = subprocess.run([sys.executable, "-B", "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    found, cores = out.rsplit(maxsplit=1)
    assert found == expected.replace("N", cores)


@posix
def test_sigterm_gets_no_report_of_paddle():
    code = (
        "import os, signal; from ram.system.cpu import prepare_cpu; prepare_cpu(); os.kill(os.getpid(), signal.SIGTERM)"
    )
    ended = subprocess.run([sys.executable, "-B", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGTERM and not ended.stdout + ended.stderr


# ---- the real data


@long_test()
@posix
def test_real_mnist_is_trained_resumed_and_tested_under_a_gigabyte(real_mnist, tmp_path):
    folders = [f"--{name}_dir={tmp_path / name}" for name in ("ckpt", "logs", "plots")]
    base = [sys.executable, "-B", str(ROOT / "main.py"), f"--data_dir={real_mnist().data_dir}", *folders]
    env = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE")}
    for flags, expected in (
        (["--epochs=2", "--limit=4000"], "[*] Train on 4000 samples, validate on 4000 samples"),
        (["--epochs=3", "--resume=True"], "[*] Resuming ram_6_8x8_1 at step 0 of epoch 3"),
        (["--is_train=False", "--M=1"], "[*] mnist test, M=1, sampled locations, epoch 3, "),
    ):
        status, text, peak = run_measured([*base, *flags], env=env, cwd=tmp_path)
        assert status == 0 and expected in text, text
        assert 10**8 < peak < 10**9, f"{peak / 1e6:.0f} MB"
    correct = int(re.search(r"Test Acc: (\d+)/10000 ", text)[1])
    assert correct > 2500, "guessing gives 1000"
