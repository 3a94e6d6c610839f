"""Tests of several runs of one experiment, --num_runs: their seeds, files, figures, and how they go on."""

import argparse
import contextlib
import io
import json
import shutil
import signal
import statistics
from pathlib import Path

import pytest
from helpers import folders, run_as_main, same

import main
import trainer
from config import BEFORE, get_config
from ram import evaluation
from ram.runs import checkpoint, files, seeds
from ram.system.signals import Interrupted
from utils import UserError

FLAGS = "--model=fc64 --use_gpu=False --batch_size=32 --init_lr=0.02 --ema=0.9 --epochs=2 --limit=96 --M=3".split()
NAME = "fc64_mnist"


class Place:
    """A folder for the files of runs, and the way to start some there."""

    def __init__(self, root: Path, data: Path):
        self.root, self.data = root, data
        self.results = root / "logs" / f"{NAME}_results.json"

    def arguments(self, *flags):
        return [*folders(self.root, self.data), *flags]

    def run(self, *flags):
        """What main.py prints, line by line."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            main.main(get_config(self.arguments(*flags)))
        return printed.getvalue().splitlines()

    def path(self, seed, what):
        return self.root / "ckpt" / f"{NAME}_seed{seed}_{what}.pdparams"

    def log(self, name):
        return [json.loads(line) for line in (self.root / "logs" / f"{name}.jsonl").read_text().splitlines()]

    def outcome(self):
        """What must not depend on interruptions, to the bit."""
        weights = {}
        for path in sorted((self.root / "ckpt").glob("*.pdparams")):
            content = checkpoint.read(str(path))
            if "_prev" not in path.name:
                weights[path.name] = [content["model"], content["ema"], content["epoch"]]
        results = json.loads(self.results.read_text())
        del results["settings"]
        return {"weights": weights, "results": results}

    def files(self):
        paths = [path for path in self.root.rglob("*") if path.is_file() and path.suffix != ".lock"]
        return {str(path.relative_to(self.root)): path.read_bytes() for path in paths}


@pytest.fixture
def place(tmp_path, tiny_mnist):
    with tiny_mnist.registered():
        yield Place(tmp_path / "place", tiny_mnist.folder)


@pytest.fixture
def other(tmp_path, place):
    return Place(tmp_path / "other", place.data)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, tiny_mnist):
    """Three runs that nothing disturbed, and what they printed. Nobody may change its files."""
    place = Place(tmp_path_factory.mktemp("undisturbed"), tiny_mnist.folder)
    with tiny_mnist.registered():
        place.lines = place.run(*FLAGS, "--num_runs=3")
    return place


def signal_at_step(monkeypatch, step):
    """Let Ctrl-C arrive during the given step of all the steps to come."""
    real, calls = trainer.Trainer.train_step, []

    def train_step(self, *batch):
        calls.append(None)
        if len(calls) == step:
            signal.raise_signal(signal.SIGINT)
        return real(self, *batch)

    monkeypatch.setattr(trainer.Trainer, "train_step", train_step)
    return calls


def test_results_of_more_runs_are_moved_aside(undisturbed, other, capsys):
    shutil.copytree(undisturbed.root, other.root, dirs_exist_ok=True)
    before = other.results.read_bytes()
    lines = other.run(*FLAGS, "--num_runs=2", "--resume=True")
    assert sum("were moved to" in line for line in lines) == 1
    (kept,) = other.root.rglob(f"old/*/{other.results.name}")
    assert kept.read_bytes() == before and len(json.loads(other.results.read_text())["runs"]) == 2
    assert not any("moved to" in line for line in other.run(*FLAGS, "--num_runs=3", "--resume=True"))


# ---- figures


def test_spread_is_that_of_a_sample():
    assert seeds.spread([1.0, 2.0, 4.0]) == {"mean": pytest.approx(7 / 3), "std": pytest.approx((7 / 3) ** 0.5)}
    assert seeds.spread([0.5]) == {"mean": 0.5, "std": None}


def test_line_of_errors():
    assert seeds.error_line([0.49, 0.45, 0.55]) == "[*] Test error: 0.50 +- 0.05 over 3 runs, in %"
    assert seeds.error_line([0.49]) == "[*] Test error: 0.49 +- n/a over 1 runs, in %"


def test_each_run_has_its_seed_and_all_else_in_common():
    config = get_config(["--num_runs=3", "--random_seed=7", "--std=0.3"])
    configs = seeds.each(config)
    assert [one.random_seed for one in configs] == [7, 8, 9] and config.random_seed == 7
    assert [{**vars(one), "random_seed": 7, "explicit": 0} for one in configs] == 3 * [{**vars(config), "explicit": 0}]


def test_epoch_that_some_runs_did_not_reach_counts_the_others():
    def history(*errors):
        return [
            {"epoch": n, "best": n == 1, "val_err": e, "val_loss": e / 10, "train_acc": 100 - e, "train_loss": 2 * e}
            for n, e in enumerate(errors, start=1)
        ]

    test = evaluation.Evaluation(0.1, 90, 100, 5)
    done = [seeds.Run(seed, f"r{seed}", history(*errors), test) for seed, errors in ((1, [5.0, 3.0]), (2, [7.0]))]
    results = seeds.results(get_config(["--num_runs=2"]), done)
    first, second = results["epochs"]
    assert (first["epoch"], first["runs"], second["epoch"], second["runs"]) == (1, 2, 2, 1)
    assert first["val_err"] == {"mean": 6.0, "std": pytest.approx(2**0.5)}
    assert first["train_loss"]["mean"] == 12.0 and second["val_err"] == {"mean": 3.0, "std": None}
    assert results["experiment"] == "ram_6_8x8_1" and results["test_err"] == {"mean": 10.0, "std": 0.0}
    assert [(run["epochs"], run["best_epoch"], run["M"]) for run in results["runs"]] == [(2, 1, 5), (1, 1, 5)]


def test_results_are_those_of_the_logs_and_the_printed_tests(undisturbed):
    results = json.loads(undisturbed.results.read_text())
    logs = [undisturbed.log(f"{NAME}_seed{seed}") for seed in (1, 2, 3)]
    for number, epoch in enumerate(results["epochs"]):
        assert epoch["epoch"] == number + 1 and epoch["runs"] == 3
        for metric in ("val_err", "val_loss", "train_acc", "train_loss"):
            values = [log[number][metric] for log in logs]
            assert len(set(values)) > 1, "the runs are distinct"
            assert epoch[metric]["mean"] == pytest.approx(sum(values) / 3)
            assert epoch[metric]["std"] == pytest.approx(statistics.stdev(values))
    assert len(results["epochs"]) == 2 and [run["seed"] for run in results["runs"]] == [1, 2, 3]
    printed = [line for line in undisturbed.lines if "Test Acc" in line]
    assert len(printed) == 3
    for run, line, log in zip(results["runs"], printed, logs):
        assert f"{run['test_correct']}/{run['test_count']} " in line and f"Error: {run['test_err']:.2f}%" in line
        best = [record for record in log if record["best"]][-1]
        assert (run["best_epoch"], run["val_err"]) == (best["epoch"], best["val_err"]) and run["M"] == 1
    errors = [run["test_err"] for run in results["runs"]]
    assert undisturbed.lines[-1] == seeds.error_line(errors)
    assert results["test_err"]["mean"] == pytest.approx(statistics.mean(errors))


def test_each_run_is_the_single_run_of_its_seed(undisturbed, other):
    other.run(*FLAGS, "--random_seed=2")
    single = checkpoint.read(str(other.root / "ckpt" / f"{NAME}_ckpt.pdparams"))
    run = checkpoint.read(str(undisturbed.path(2, "ckpt")))
    assert all(same(single[key], run[key]) for key in ("model", "ema", "optimizer"))


def test_one_run_is_what_it_was(place):
    lines = place.run(*FLAGS, "--num_runs=1")
    assert "Best validation accuracy" in lines[-1] and not any("Test" in line for line in lines)
    assert not place.results.exists() and (place.root / "ckpt" / f"{NAME}_ckpt.pdparams").exists()


def test_runs_of_ram_work_too(place):
    small = "--hidden_size=8 --glimpse_hidden=8 --loc_hidden=8 --num_glimpses=2 --patch_size=6".split()
    flags = [flag for flag in FLAGS if "model" not in flag]
    lines = place.run(*small, *flags, "--num_runs=2")
    tests = [line for line in lines if "test, M=3, sampled locations" in line]
    assert len(tests) == 2 and "_h8_g8_l8_seed1_model_best" in tests[0] and "over 2 runs" in lines[-1]
    assert len(list(place.root.glob("plots/*_seed2/*.npz"))) == 2


# ---- test alone


def test_all_best_checkpoints_are_tested_without_a_file_written(undisturbed, tiny_mnist):
    before = undisturbed.files()
    with tiny_mnist.registered():
        lines = undisturbed.run("--model=fc64", "--limit=96", "--use_gpu=False", "--is_train=False", "--num_runs=3")
    assert lines == [line for line in undisturbed.lines if "test, M=" in line or "Test Acc" in line or "+-" in line]
    assert undisturbed.files() == before


def test_run_that_is_missing_is_named(place):
    place.run(*FLAGS, "--num_runs=2")
    with pytest.raises(UserError, match="nothing to test: .*_seed3_model_best.pdparams does not exist"):
        place.run(*FLAGS, "--num_runs=3", "--is_train=False")


def move_run(source, target, seed):
    """Put a run of one place where another has the run of the same seed."""
    for name in ("ckpt", "ckpt_prev", "model_best"):
        source.path(seed, name).replace(target.path(seed, name))


@pytest.mark.parametrize(
    "flag, difference",
    [
        ("--init_lr=0.03", r"--init_lr=0.03 \(not 0.02\)"),
        ("--epochs=3", r"--epochs=3 \(not 2\)"),
        ("--limit=64", r"--limit=64 \(not 96\)"),
    ],
)
def test_runs_of_different_recipes_have_no_mean(place, other, flag, difference, capsys):
    place.run(*FLAGS, "--num_runs=2")
    other.run(*FLAGS, "--num_runs=2", flag)
    move_run(other, place, 2)
    capsys.readouterr()
    with pytest.raises(UserError, match=rf"seed2_ckpt\S+ was not trained as \S+seed1_ckpt\S+ was: {difference}"):
        place.run("--model=fc64", "--is_train=False", "--num_runs=2")
    assert "Test" not in capsys.readouterr().out


def test_runs_that_were_prolonged_and_differ_in_the_place_of_files_are_averaged(place, other):
    place.run(*FLAGS, "--num_runs=2", "--M=2", "--print_freq=1")
    other.run(*FLAGS, "--num_runs=2", "--epochs=3")
    longer = place.run(*FLAGS[:-3], "--num_runs=2", "--resume", "--epochs=3", "--limit=96")
    move_run(other, place, 2)
    lines = place.run("--model=fc64", "--limit=96", "--is_train=False", "--num_runs=2")
    assert "over 2 runs" in lines[-1] and "over 2 runs" in longer[-1]


# ---- going on


@pytest.mark.parametrize("step", [2, 3, 8, 12], ids=["first run", "epoch's end", "second run", "second run's end"])
def test_interrupted_and_resumed_is_bit_equal(place, undisturbed, monkeypatch, step):
    with monkeypatch.context() as patch:
        signal_at_step(patch, step)
        with pytest.raises(Interrupted):
            place.run(*FLAGS, "--num_runs=3")
    finished = {name: content for name, content in place.files().items() if step > 6 and "seed1" in name}
    calls = signal_at_step(monkeypatch, None)
    place.run("--model=fc64", "--use_gpu=False", "--num_runs=3", "--resume")  # the flags of the name are enough
    assert same(place.outcome(), undisturbed.outcome())
    assert len(calls) == 18 - step, "no step is done twice"
    after = place.files()
    assert all(after[name] == content for name, content in finished.items() if "params.json" not in name)


def test_ctrl_c_ends_the_whole_with_its_status(place, monkeypatch, capsys):
    signal_at_step(monkeypatch, 1)
    with pytest.raises(SystemExit) as ended:
        run_as_main(place.arguments(*FLAGS, "--num_runs=3"))
    assert ended.value.code == 130 and "with --resume=True" in capsys.readouterr().out
    assert not list(place.root.rglob("*seed2*"))


def test_finished_runs_are_not_trained_again_and_more_can_follow(place, undisturbed, monkeypatch):
    place.run(*FLAGS, "--num_runs=2")
    calls = signal_at_step(monkeypatch, None)
    lines = place.run("--model=fc64", "--use_gpu=False", "--num_runs=3", "--resume")
    assert sum("is finished" in line for line in lines) == 2 and len(calls) == 6
    assert same(place.outcome(), undisturbed.outcome()), "the third has the settings of the others"
    longer = place.run("--model=fc64", "--use_gpu=False", "--num_runs=3", "--resume", "--epochs=3")
    assert len(calls) == 6 + 9 and "over 3 runs" in longer[-1]
    assert [epoch["runs"] for epoch in json.loads(place.results.read_text())["epochs"]] == [3, 3, 3]


def test_run_that_was_trained_otherwise_is_an_error(place):
    place.run(*FLAGS, "--num_runs=2")
    for path in place.root.rglob("*seed1*"):
        path.unlink()
    place.run(*FLAGS, "--num_runs=2", "--random_seed=1", "--init_lr=0.03", "--epochs=1")  # moves seed 2 aside, too
    old = next((place.root / "ckpt" / "old").rglob(f"{NAME}_seed2_ckpt.pdparams"))
    old.replace(place.path(2, "ckpt"))
    before = place.path(2, "ckpt").read_bytes()
    with pytest.raises(UserError, match=r"seed2.*was not trained as .*seed1.*--init_lr=0.02 \(not 0.03\)"):
        place.run("--model=fc64", "--num_runs=2", "--resume")
    assert place.path(2, "ckpt").read_bytes() == before


def test_nothing_to_resume_is_an_error(place):
    with pytest.raises(UserError, match="nothing to resume: .*_seed1_ckpt.pdparams"):
        place.run(*FLAGS, "--num_runs=2", "--resume")


def test_fresh_start_moves_all_runs_aside(place):
    place.run(*FLAGS, "--num_runs=2")
    first = {Path(name).name: content for name, content in place.files().items()}
    lines = place.run(*FLAGS, "--num_runs=2", "--init_lr=0.03")
    assert sum("was moved to" in line for line in lines) == 1
    moved = {path.name: path.read_bytes() for path in (place.root / "ckpt" / "old").rglob("*") if path.is_file()}
    assert moved == first


@pytest.mark.parametrize("folder", ["ckpt", "logs", "plots"])
def test_two_processes_that_share_a_folder_are_refused_before_anything_moves(place, folder):
    place.run(*FLAGS, "--num_runs=2")
    before = place.files()
    lock = place.root / folder / f"{NAME}_runs.lock"
    with checkpoint.RunLock(str(lock)), pytest.raises(UserError, match=f"{NAME}_runs is in use"):
        place.run(*FLAGS, "--num_runs=2")
    assert place.files() == before


def test_second_series_with_other_checkpoints_leaves_a_running_one_alone(place, other, monkeypatch):
    """As a user would do it: the second is started while the first trains, with its logs and plots."""
    real, seen = trainer.Trainer.end_epoch, []

    def end_epoch(self):
        real(self)
        if not seen:
            seen.append(place.files())
            second = [f"--ckpt_dir={other.root / 'ckpt'}" if "ckpt" in flag else flag for flag in place.arguments()]
            with pytest.raises(UserError, match=f"{NAME}_runs is in use"):
                main.main(get_config([*second, *FLAGS, "--num_runs=2"]))
            assert place.files() == seen[0]

    monkeypatch.setattr(trainer.Trainer, "end_epoch", end_epoch)
    place.run(*FLAGS, "--num_runs=2")
    assert seen and place.results.exists() and not list(other.root.rglob("*.jsonl"))


# ---- flags


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--weights=a.pdparams"], "--weights=a.pdparams is one model"),
        (["--weights=a.pdparams", "--is_train=False"], "--num_runs=2 asks for several"),
        (["--random_seed=2147483647"], "is above"),
    ],
)
def test_what_does_not_go_with_several_runs_is_refused(flags, message):
    with pytest.raises(UserError, match=message):
        get_config(["--num_runs=2", *flags])
    get_config(["--num_runs=2", "--random_seed=2147483646"])


def test_settings_of_the_caller_stay_as_they_are(place):
    config = get_config(place.arguments(*FLAGS, "--num_runs=2"))
    before = argparse.Namespace(**vars(config))
    main.main(config)
    assert config == before


# ---- --resume=auto


@pytest.mark.parametrize("runs", [[], ["--num_runs=2"]], ids=["one", "several"])
def test_auto_starts_then_goes_on_to_the_same_end(place, other, monkeypatch, runs):
    other.run(*FLAGS, *runs)
    with monkeypatch.context() as patch:
        signal_at_step(patch, 5)
        with pytest.raises(Interrupted):
            place.run(*FLAGS, *runs, "--resume=auto")
    printed = place.run(*FLAGS, *runs, "--resume=auto", "--num_workers=2")
    assert any(line.startswith("[*] Resuming") for line in printed)
    latest = [path.name for path in (other.root / "ckpt").glob("*_ckpt.pdparams")]
    assert len(latest) == (2 if runs else 1)
    for name in latest:
        ends = [checkpoint.read(str(one.root / "ckpt" / name)) for one in (place, other)]
        assert same(*({key: end[key] for key in ("model", "ema", "optimizer", "epoch")} for end in ends))
    assert any("is finished: 2 epochs" in line for line in place.run(*FLAGS, *runs, "--resume=auto"))
    assert not (place.root / "ckpt" / "old").exists()


def test_auto_starts_anew_where_other_settings_were_trained(place):
    place.run(*FLAGS)
    before = {path.name: path.read_bytes() for path in (place.root / "ckpt").glob("*.pdparams")}
    printed = place.run(*FLAGS, "--init_lr=0.01", "--resume=auto")
    assert any("trained with other settings: --init_lr=0.02 (not 0.01)" in line for line in printed)
    (moved,) = (place.root / "ckpt" / "old").iterdir()
    assert {path.name: path.read_bytes() for path in moved.glob("*.pdparams")} == before


def test_what_auto_takes_for_the_same_training(place, monkeypatch):
    place.run(*FLAGS)
    place.run(*FLAGS, "--num_runs=2")
    begun = lambda *more: seeds.begun(get_config(place.arguments(*FLAGS, *more)))  # noqa: E731
    assert begun() and begun("--M=4", "--plot_freq=0") and begun("--num_runs=3")
    for other in ("--epochs=3", "--limit=97", "--init_lr=0.002", "--random_seed=2", "--model=conv"):
        assert not begun(other), other
    latest = str(place.root / "ckpt" / f"{NAME}_ckpt.pdparams")
    state = checkpoint.read(latest)
    del state["settings"]["augment_flip"]  # as in a checkpoint that is older than the flag
    checkpoint.write(latest, state)
    assert begun()
    monkeypatch.setitem(BEFORE, "augment_flip", True)
    assert not begun(), "then it was trained otherwise"


def test_auto_means_nothing_to_a_test_and_does_not_go_with_weights(place):
    place.run(*FLAGS)
    before = place.files()
    place.run(*FLAGS, "--is_train=False", "--resume=auto")
    assert place.files() == before
    with pytest.raises(UserError, match="--weights=x starts a new training"):
        get_config(["--resume=auto", "--weights=x"])


# ---- files that hold anything


def test_json_that_is_nested_without_end_is_none(tmp_path):
    endless = "[" * 100_000
    (tmp_path / "results.json").write_text(endless)
    assert seeds.tells_of_others(str(tmp_path / "results.json"), {1}) and not files.tells_of(endless, {"epoch": 1})
