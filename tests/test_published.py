"""Published weights: made from a training, found where nothing was trained, and never trusted."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import paddle
import pytest
import safetensors.numpy
from helpers import ROOT, copy_checkout, long_test, run_as_main, same

import main
from config import CANVASES, IN_FILES, PATHS, get_config, run_name
from data_loader import get_test, get_train_valid
from ram.build import build_model, load_weights
from ram.evaluation import evaluate
from ram.presets import PRESETS
from ram.runs import checkpoint, published
from ram.runs.checkpoint import DamagedFile
from ram.runs.settings import differences, settings
from ram.runs.weights import FACTS, MAX_BYTES, MAX_FACTS, read, read_facts
from ram.use import publish as publishing
from utils import UserError

sys.path[:0] = [str(ROOT / "docs"), str(ROOT / "experiments")]
import add_row
import errors
import tables

posix = pytest.mark.skipif(os.name != "posix", reason="a command's environment")

FILES = published.trainings()
RUNS = {name: run_name(get_config([f"--preset={name}"])) for name in ("mnist", "cluttered60")}
SHORT = {"limit": 160, "epochs": 2, "batch_size": 32, "init_lr": 0.01, "ema": 0.9}
TEST_LINES = r"\[\*\] (\w+) test, M=(\d+), (?:sampled|mean) locations, epoch (\d+), (\S+)\n" + (
    r"\[\*\] Test Acc: (\d+)/(\d+) \((\d+\.\d\d)% - Error: (\d+\.\d\d)%\)\n"
)


@pytest.fixture(autouse=True)
def tiny(tiny_mnist, request):
    """The small data set stands in MNIST's place, but where a test wants the real one."""
    if "real_mnist" in request.fixturenames:
        yield
    else:
        with tiny_mnist.registered():
            yield


def flags(root, tiny_mnist, *more):
    """Flags that keep all files of a run under one folder."""
    folders = [f"--{name}_dir={root / name}" for name in ("ckpt", "logs", "plots")]
    return [f"--data_dir={tiny_mnist.folder}", *folders, "--use_gpu=False", *more]


@contextlib.contextmanager
def short_presets():
    """The presets mean short trainings: what is published has to be trained as its preset says."""
    with pytest.MonkeyPatch.context() as patch:
        for name in RUNS:
            patch.setitem(PRESETS, name, PRESETS[name]._replace(flags={**PRESETS[name].flags, **SHORT}))
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_mnist):
    """Two short trainings, and what was published of them: both folders."""
    root = tmp_path_factory.mktemp("trained")
    with tiny_mnist.registered(), short_presets(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(published, "FOLDER", str(root / "published"))
        for name, run in RUNS.items():
            main.main(get_config(flags(root, tiny_mnist, f"--preset={name}", "--plot_freq=0")))
            best = str(root / "ckpt" / f"{run}_model_best.pdparams")
            publishing.main(publishing.get_arguments([best, f"--name={name}", f"--data_dir={tiny_mnist.folder}"]))
    return root


@pytest.fixture
def folder(trained, tmp_path, monkeypatch):
    """A copy of what was published, in the place where it is looked for."""
    copy = tmp_path / "published"
    shutil.copytree(trained / "published", copy)
    monkeypatch.setattr(published, "FOLDER", str(copy))
    return copy


@pytest.fixture
def run(tmp_path, tiny_mnist):
    """Runs main.py's `main` with all folders in a place where nothing was trained."""
    return lambda *more: main.main(get_config(flags(tmp_path / "place", tiny_mnist, *more)))


def refusal(function, *arguments):
    """The one line that is said."""
    with pytest.raises(UserError) as caught:
        function(*arguments)
    message = str(caught.value)
    assert message and "\n" not in message and len(message) < 800
    return message


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ---- every published pair, today's and the small ones


def check_pair(folder, name, seed=1):
    """What has to be true of every published model; returns its description."""
    weights = folder / Path(published.path_of(name, seed)).name
    facts = json.loads(weights.with_suffix(".json").read_text())
    assert facts.keys() == FACTS.keys()
    assert facts["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert weights.stat().st_size < 3_000_000
    assert set(facts["settings"]) == set(IN_FILES) - set(PATHS), "they name every flag"
    config = published.trained_as(facts["settings"], name)
    if name in PRESETS:
        assert run_name(config) == run_name(get_config([f"--preset={name}"])), "--preset has to find it"
    assert (
        facts["seed"] == config.random_seed == seed and 0 < facts["epoch"] <= facts["epochs"] and facts["seconds"] > 0
    )
    for both in (facts["valid_error"], facts["test_error"]):
        assert both.keys() == {"M=1", "M=10"} and all(0 <= error <= 100 for error in both.values())
    load_weights(build_model(config, facts["image_shape"], facts["num_classes"]), published.load(name, seed).weights)
    return facts


@pytest.mark.parametrize("name, seed", FILES)
def test_what_is_in_the_repository(name, seed):
    facts = check_pair(Path(published.FOLDER), name, seed)
    today = settings(get_config([f"--preset={published.preset_of(name)}"]))
    assert bool(differences(facts["settings"], today)) == ("_" in name), "--preset trains what is published"


def test_no_other_file_is_in_the_repository():
    folder = Path(published.FOLDER)
    found = {path.name for path in folder.iterdir()} if folder.exists() else set()
    weights = [Path(published.path_of(*file)) for file in FILES]
    assert found == {path.with_suffix(ending).name for path in weights for ending in (".json", ".safetensors")}
    assert sum((folder / path.name).stat().st_size for path in weights) < 40_000_000


def test_git_tracks_the_folder_and_no_other_checkpoint():
    lines = (ROOT / ".gitignore").read_text().splitlines()
    assert lines.index("/ckpt/*") < lines.index("!/ckpt/published/")


ALWAYS = [("mnist", 1), ("cluttered60", 1)]


def real_error(file: tuple[str, int], data_dir: str, tmp_path, capsys, *flags: str) -> float:
    """Test published weights on real images, with one path where the flags do not say otherwise."""
    (name, seed), path = file, published.path_of(*file)
    preset, settings = published.preset_of(name), published.load(name, seed).settings
    source = settings["source"] if settings["dataset"] in CANVASES else settings["dataset"]
    if source != "mnist" and not Path(data_dir, source).is_dir():
        pytest.skip(f"{source} is not there")
    arguments = [f"--preset={preset}", "--is_train=False", "--M=1", f"--data_dir={data_dir}", f"--ckpt_dir={tmp_path}"]
    main.main(get_config([*arguments, *[f"--weights={path}"] * (file != (preset, 1)), *flags]))
    return float(re.search(TEST_LINES, capsys.readouterr().out)[8])


@pytest.mark.parametrize("file", [*ALWAYS, *long_test(*sorted({*FILES} - {*ALWAYS}))], ids=str)
def test_real_error_is_the_published_one(real_mnist, file, tmp_path, capsys):
    error = real_error(file, real_mnist().data_dir, tmp_path, capsys)
    assert error == pytest.approx(read_facts(published.path_of(*file))["test_error"]["M=1"], abs=0.0501)


ROWS = [test for test in errors.RESULTS["tests"] if test["paths"] == "mean"]
ROWS += [test for test in errors.RESULTS["tests"] if test["M"] == 10 and test["preset"] == "cluttered60-conv"]
ROWS = [test for test in ROWS if (errors.training_name(test), errors.seed_of(test)) in FILES]  # others have no weights


@pytest.mark.parametrize("row", long_test(*ROWS), ids=lambda row: row["command"])
def test_real_error_of_the_means_and_of_ten_paths_is_the_one_in_the_tables(real_mnist, row, tmp_path, capsys):
    file = errors.training_name(row), errors.seed_of(row)
    flags = [f"--M={row['M']}", f"--locations={row['paths']}"]
    error = real_error(file, real_mnist().data_dir, tmp_path, capsys, *flags)
    assert error == pytest.approx(row["errors"][0], abs=0.0501)


# ---- publishing


def test_a_training_that_was_stopped_is_not_published(trained, tiny_mnist, tmp_path):
    shutil.copytree(trained / "ckpt", tmp_path / "ckpt")
    latest = tmp_path / "ckpt" / f"{RUNS['mnist']}_ckpt.pdparams"
    state = checkpoint.read(str(latest))
    checkpoint.write(str(latest), {**state, "settings": {**state["settings"], "epochs": 3}})
    with pytest.raises(UserError, match="was stopped after 2 of 3 epochs: --resume=True goes on"):
        publishing.check_finished(str(latest))


@pytest.mark.parametrize("name", RUNS)
def test_a_published_pair(folder, trained, name, tiny_mnist):
    facts = check_pair(folder, name)
    best = checkpoint.read(str(trained / "ckpt" / f"{RUNS[name]}_model_best.pdparams"))
    rounded = {key: value.astype(np.float16).astype(np.float32) for key, value in best["ema"].items()}
    assert same(published.load(name).weights, rounded) and not same(best["ema"], best["model"])
    assert not same(rounded, best["ema"]), "else the test would not show that weights are rounded"
    assert str(trained) not in (folder / f"{name}.json").read_text()
    log = [json.loads(line) for line in (trained / "logs" / f"{RUNS[name]}.jsonl").read_text().splitlines()]
    assert facts["epoch"] == best["epoch"] and facts["epochs"] == 2
    assert facts["seconds"] == pytest.approx(sum(record["seconds"] for record in log), abs=0.1)
    assert (facts["settings"]["init_lr"], facts["settings"]["limit"]) == (0.01, 160)


@pytest.mark.parametrize("name", RUNS)
def test_published_errors_are_those_of_all_images(folder, name, tiny_mnist):
    facts = read_facts(published.path_of(name))
    config = get_config([f"--preset={name}", f"--data_dir={tiny_mnist.folder}"])
    model = build_model(config, facts["image_shape"], 10)
    load_weights(model, published.load(name).weights)
    for key, split, count in (
        ("valid_error", get_train_valid(config)[1], 60),
        ("test_error", get_test(config), 100),
    ):
        for M in (1, 10):
            found = evaluate(model, split, config.num_glimpses, M, "sampled", 1)
            assert found.count == count and facts[key][f"M={M}"] == round(100 - found.accuracy, 4)


def publish(trained, tiny_mnist, run, name, *more):
    best = str(trained / "ckpt" / f"{RUNS[run]}_model_best.pdparams")
    with short_presets():
        publishing.main(publishing.get_arguments([best, f"--name={name}", f"--data_dir={tiny_mnist.folder}", *more]))


def test_only_force_replaces_what_is_published(folder, trained, tiny_mnist):
    (folder / "mnist.safetensors").write_bytes(b"precious")
    before = content(folder)
    assert "--force" in refusal(publish, trained, tiny_mnist, "mnist", "mnist")
    (folder / "mnist.safetensors").rename(folder / "elsewhere")
    assert "--force" in refusal(publish, trained, tiny_mnist, "mnist", "mnist"), "a half of it counts, too"
    (folder / "elsewhere").rename(folder / "mnist.safetensors")
    assert content(folder) == before
    publish(trained, tiny_mnist, "mnist", "mnist", "--force", "--hardware=an abacus")
    assert check_pair(folder, "mnist")["hardware"] == "an abacus"


def test_a_row_of_a_training_whose_weights_are_not_published(trained, monkeypatch):
    """It is described from its checkpoint, and its commands name the file where the training leaves it."""
    best = str(trained / "ckpt" / f"{RUNS['mnist']}_model_best.pdparams")
    with short_presets():
        training = add_row.training_of("mnist", None, 1, "mnist", None, best)
        assert "is of seed 1, not --seed=2" in refusal(add_row.training_of, "mnist", None, 2, "mnist", None, best)
    assert "was not trained as --preset=mnist" in refusal(add_row.training_of, "mnist", None, 1, "mnist", None, best)
    assert training.keys() == {*add_row.training_of("mnist", None, 1, "mnist", None), "published"}
    assert (training["precision"], training["published"]) == ("float32", False)
    assert (training["epochs"], training["best_epoch"]) == (2, checkpoint.read(best)["epoch"])
    assert "float32, not published" in tables.weights(training, "en")
    second = {**training, "seed": 2, "command": training["command"] + " --random_seed=2 --ckpt_dir=ckpt/seed2"}
    commands = []
    monkeypatch.setattr(add_row, "error_of", lambda words, weights: commands.append((words, weights)) or 0.5)
    rows = add_row.tests_of(second, best)
    with short_presets():
        assert Path(add_row.left_by(training)).name == Path(best).name, "the training leaves it under this name"
    assert all(f" --weights=ckpt/seed2/{RUNS['mnist']}_model_best.pdparams" in row["command"] for row in rows)
    assert len(commands) == 7 and all(f"--weights={best}" in words and best == file for words, file in commands)


def test_a_row_is_not_written_where_the_test_fails(tmp_path):
    words = ["python", "main.py", "--is_train=False", f"--weights={tmp_path / 'no such file'}"]
    with pytest.raises(UserError, match="ended with status 2"):
        add_row.error_of(words, "no such file")


def test_another_seed_has_a_file_of_its_own(folder, tiny_mnist, tmp_path, capsys, run):
    before, root, seed = content(folder), tmp_path / "another", 3
    with short_presets():
        main.main(get_config(flags(root, tiny_mnist, "--preset=mnist", "--plot_freq=0", f"--random_seed={seed}")))
        best = str(root / "ckpt" / f"{RUNS['mnist']}_model_best.pdparams")
        asked = [best, "--name=mnist", f"--data_dir={tiny_mnist.folder}"]
        publishing.main(publishing.get_arguments(asked))
        assert "mnist_seed3.safetensors is published already" in refusal(
            publishing.main, publishing.get_arguments(asked)
        )
    after = content(folder)
    assert after.items() > before.items() and {*after} - {*before} == {"mnist_seed3.safetensors", "mnist_seed3.json"}
    facts = check_pair(folder, "mnist", seed)
    assert published.seeds("mnist") == [1, 3] and published.seeds("cluttered60") == [1]
    capsys.readouterr()
    run("--is_train=False", "--M=1", f"--weights={folder / 'mnist_seed3.safetensors'}")
    assert re.fullmatch(TEST_LINES, capsys.readouterr().out)[8] == f"{facts['test_error']['M=1']:.2f}"
    run("--is_train=False", "--M=1", "--preset=mnist", f"--random_seed={seed}")  # the seed of the noise
    assert "mnist.safetensors" in capsys.readouterr().out


def test_a_variant_has_a_file_of_its_own(folder, tiny_mnist, tmp_path, capsys, run):
    """It serves where its flags are given, as far as the run's name shows them, and never in place of the preset."""
    before, ends = content(folder), "_model_best.pdparams"

    def asked(root, *more):
        best = next(str(path) for path in (root / "ckpt").iterdir() if path.name.endswith(ends))
        return publishing.get_arguments([best, "--name=mnist", f"--data_dir={tiny_mnist.folder}", *more])

    def train(root, *more):
        main.main(get_config(flags(root, tiny_mnist, "--preset=mnist", "--plot_freq=0", *more)))
        return root

    with short_presets():
        four, other_seed, five = (tmp_path / name for name in ("4", "seed", "5"))
        train(four, "--num_glimpses=4")
        assert "--num_glimpses=4 (not 6)" in refusal(publishing.main, asked(four, "--force"))
        train(other_seed, "--num_glimpses=4", "--random_seed=2")
        message = refusal(publishing.main, asked(other_seed, "--variant=glimpses4"))
        assert message.startswith("mnist_glimpses4 stands for seed 1")
        publishing.main(asked(four, "--variant=glimpses4"))
        message = refusal(publishing.main, asked(four, "--variant=glimpses4"))
        assert "mnist_glimpses4.safetensors is published already" in message
        publishing.main(asked(other_seed, "--variant=glimpses4"))
        started = train(tmp_path / "started", "--num_glimpses=4", f"--weights={folder / 'mnist.safetensors'}")
        assert "began with the weights in a file" in refusal(publishing.main, asked(started, "--variant=again"))
        train(five, "--num_glimpses=5", "--random_seed=3")
        message = refusal(publishing.main, asked(five, "--variant=glimpses4"))
        assert "was not trained as mnist_glimpses4 is: --num_glimpses=5 (not 4)" in message
        for word in ("seed2", "A", "a_b", ""):
            assert f"'{word}'" in refusal(asked, four, f"--variant={word}")
    names = [f"mnist_glimpses4{seed}.{ending}" for seed in ("", "_seed2") for ending in ("json", "safetensors")]
    after = content(folder)
    assert after.items() > before.items() and {*after} - {*before} == {*names}
    assert published.variants() == ["mnist_glimpses4"] and published.names() == ["mnist", "cluttered60"]
    assert published.trainings() == [("mnist", 1), ("cluttered60", 1), ("mnist_glimpses4", 1), ("mnist_glimpses4", 2)]
    facts = check_pair(folder, "mnist_glimpses4")
    assert {array.dtype for array in safetensors.numpy.load_file(folder / names[1]).values()} == {np.dtype("float16")}
    for given in (["--preset=mnist", "--num_glimpses=4"], ["--num_glimpses=4"], [f"--weights={folder / names[1]}"]):
        capsys.readouterr()
        run("--is_train=False", "--M=1", *given)
        assert f"Error: {facts['test_error']['M=1']:.2f}%" in capsys.readouterr().out
    run("--is_train=False", "--M=1", "--preset=mnist")
    assert "mnist.safetensors" in capsys.readouterr().out


def test_a_training_of_the_preset_is_no_variant(folder, trained, tiny_mnist):
    before = content(folder)
    assert "it is no --variant=x" in refusal(publish, trained, tiny_mnist, "mnist", "mnist", "--variant=x")
    assert content(folder) == before


def test_what_cannot_be_published(folder, trained, tiny_mnist, tmp_path):
    before, data = content(folder), str(tiny_mnist.folder)  # ./data would not be the registered one
    message = refusal(publish, trained, tiny_mnist, "mnist", "translated")
    assert RUNS["mnist"] in message and "--core=relu (not lstm)" in message
    best = str(trained / "ckpt" / f"{RUNS['mnist']}_model_best.pdparams")
    message = refusal(publishing.publish, best, "mnist", data, "", True)
    assert message.endswith(
        "--batch_size=32 (not 128), --ema=0.9 (not 0.999), --epochs=2 (not 300), --init_lr=0.01 (not 0.001), "
        "--limit=160 (not None); --variant=WORD publishes it beside"
    ), "the run's name is that of --preset=mnist, the recipe is not"
    latest = trained / "ckpt" / f"{RUNS['mnist']}_ckpt.pdparams"
    assert "no best checkpoint" in refusal(publishing.publish, str(latest), "mnist7", data)
    assert "cannot read" in refusal(publishing.publish, str(tmp_path / "x_model_best.pdparams"), "mnist7", data)
    best = tmp_path / "x_model_best.pdparams"
    shutil.copy(trained / "ckpt" / f"{RUNS['mnist']}_model_best.pdparams", best)
    another = checkpoint.read(str(latest))
    another["history"] = [{**record, "val_acc": record["val_acc"] + 1} for record in another["history"]]
    checkpoint.write(str(tmp_path / "x_ckpt.pdparams"), another)
    assert "is not the training of" in refusal(publishing.publish, str(best), "mnist7", data)
    bare = checkpoint.read(str(best))["model"]
    paddle.save({"epoch": 1, "model_state": {name: paddle.to_tensor(value) for name, value in bare.items()}}, str(best))
    assert "another program" in refusal(publishing.publish, str(best), "mnist7", data)
    assert content(folder) == before


def test_large_models_are_not_published(folder, trained, tiny_mnist, monkeypatch):
    monkeypatch.setattr(publishing, "LARGEST", 10**5)
    before = content(folder)
    assert "at most 100,000" in refusal(publish, trained, tiny_mnist, "mnist", "mnist", "--force")
    assert content(folder) == before


@pytest.mark.parametrize("bad, written", [(-7e4, "70000"), (np.nan, "nan")])
def test_weights_that_float16_cannot_hold_are_not_published(folder, trained, tiny_mnist, tmp_path, bad, written):
    for name in ("model_best", "ckpt"):
        shutil.copy(trained / "ckpt" / f"{RUNS['mnist']}_{name}.pdparams", tmp_path)
    best = tmp_path / f"{RUNS['mnist']}_model_best.pdparams"
    state, before = checkpoint.read(str(best)), content(folder)
    state["ema"]["classifier.fc.bias"] = np.float32([1, bad, *range(8)])
    checkpoint.write(str(best), state)
    with short_presets():
        line = refusal(publishing.publish, str(best), "mnist", str(tiny_mnist.folder), None, True)
    expected = f"classifier.fc.bias holds {written}; weights are published in float16, which ends at 65504"
    assert line.endswith(expected), line
    assert content(folder) == before


def test_the_command_lists_what_there_is(folder, capsys):
    assert main.main(get_config(["--preset=help"])) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(PRESETS)
    assert [line.split()[0] for line in lines if "published" in line] == ["mnist", "cluttered60"]
    assert str(read_facts(published.path_of("mnist"))["test_error"]["M=10"]) in lines[0]


@posix
@pytest.mark.parametrize("arguments", [["--nam=x"], ["--name=mnist"], ["x.pdparams"], ["x", "--name=mnist"], []])
def test_errors_of_the_command_are_one_line(arguments):
    command = [sys.executable, "-B", "-m", "ram.use.publish", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and re.fullmatch(r"publish: [^\n]+\n", done.stderr), done.stderr


# ---- finding


@pytest.mark.parametrize(
    "name, asked", [("mnist", []), ("mnist", ["--preset=mnist"]), ("cluttered60", ["--preset=cluttered60"])]
)
def test_published_weights_serve_where_nothing_was_trained(folder, run, capsys, tmp_path, name, asked):
    for M in (10, 1):
        run("--is_train=False", f"--M={M}", *asked)
        said, lines = capsys.readouterr().out.split("\n", 1)
        assert said.startswith(f"[*] Nothing was trained as {RUNS[name]} in ") and "published" in said
        found = re.fullmatch(TEST_LINES, lines)
        facts = read_facts(published.path_of(name))
        assert found.group(2, 3, 4) == (str(M), str(facts["epoch"]), str(folder / f"{name}.safetensors"))
        assert found[1] == {"mnist": "mnist", "cluttered60": "cluttered_mnist_60x4"}[name]
        assert found[8] == f"{facts['test_error'][f'M={M}']:.2f}"
    assert not (tmp_path / "place").exists(), "a test writes nothing"


def test_they_are_found_by_the_name_of_the_run(folder, run, capsys):
    asked = ["--patch_size=12", "--num_patches=3", "--glimpse_scale=2", "--num_glimpses=8", "--core=lstm"]
    asked += ["--glimpse_hidden=512", "--loc_hidden=64", "--hidden_size=192", "--first_reach=0.3", "--pixel_std=0.3"]
    run("--is_train=False", "--M=1", "--dataset=cluttered_mnist", *asked)
    assert "cluttered60.safetensors" in capsys.readouterr().out


def test_another_preset_is_found_by_what_the_flags_make_of_this_one(folder, run, capsys, monkeypatch):
    asked = ["--is_train=False", "--M=1", "--preset=mnist", "--policy=random"]
    assert "--policy=random (there: learned)" in refusal(run, *asked)
    assert "Nothing was trained" not in capsys.readouterr().out, "that is said when they are taken"
    monkeypatch.setitem(PRESETS, "cluttered60", PRESETS["mnist"]._replace(flags={"policy": "random"}))
    facts = json.loads((folder / "mnist.json").read_text())
    facts["settings"] = settings(get_config(["--preset=cluttered60"]))
    (folder / "cluttered60.json").write_text(json.dumps(facts))
    shutil.copy(folder / "mnist.safetensors", folder / "cluttered60.safetensors")
    run(*asked)
    assert "cluttered60.safetensors" in capsys.readouterr().out


@pytest.mark.parametrize("ignored", [[], ["--limit=40"], ["--locations=mean"], ["--random_seed=2", "--batch_size=7"]])
def test_what_a_test_may_choose_does_not_decide_which_are_found(folder, run, capsys, monkeypatch, ignored):
    """As --preset=mnist --num_glimpses=7 finds those of mnist7."""
    monkeypatch.setitem(PRESETS, "mnist7", PRESETS["mnist"]._replace(flags={**SHORT, "num_glimpses": 7}))
    facts = json.loads((folder / "mnist.json").read_text())
    facts["settings"] = settings(get_config(["--preset=mnist7"]))
    (folder / "mnist7.json").write_text(json.dumps(facts))
    shutil.copy(folder / "mnist.safetensors", folder / "mnist7.safetensors")
    run("--is_train=False", "--M=1", "--preset=mnist", "--num_glimpses=7", *ignored)
    assert "mnist7.safetensors" in capsys.readouterr().out


@pytest.mark.parametrize("asked", [[], ["--preset=mnist"]], ids=str)
def test_one_published_model_is_not_several_runs(folder, run, asked):
    message = refusal(run, "--is_train=False", "--num_runs=3", *asked)
    assert "nothing to test" in message and "_seed1_model_best.pdparams does not exist" in message


def test_other_runs_of_that_name_do_not_count(folder, run, monkeypatch):
    """A preset with the run name of another one must not be taken for it."""
    monkeypatch.setitem(PRESETS, "paper-mnist", PRESETS["mnist"]._replace(flags={"optimizer": "sgd"}))
    assert run_name(get_config(["--preset=paper-mnist"])) == RUNS["mnist"]
    message = refusal(run, "--is_train=False", "--preset=paper-mnist")
    assert "nothing to test" in message and message.endswith("for --preset=mnist, --preset=cluttered60")


def test_own_checkpoint_comes_first_and_training_leaves_the_published_alone(folder, run, capsys, tmp_path):
    before = content(folder)
    run("--limit=64", "--epochs=1", "--random_seed=5")
    run("--resume", "--epochs=2")
    run("--limit=64", "--epochs=1")  # moves the earlier run aside
    capsys.readouterr()
    best = tmp_path / "place" / "ckpt" / f"{RUNS['mnist']}_model_best.pdparams"
    for asked in ([], ["--preset=mnist"]):
        run("--is_train=False", "--M=1", *asked)
        *remarks, first, second = capsys.readouterr().out.splitlines(keepends=True)
        assert re.fullmatch(TEST_LINES, first + second)[4] == str(best)
        assert len(remarks) == len(asked)
        assert all("--preset=mnist trains: --epochs=1 (not 300), --limit=64" in remark for remark in remarks)
    best.unlink()
    assert str(best) in refusal(run, "--is_train=False"), "a lost checkpoint is not replaced by another model"
    assert content(folder) == before


def test_nothing_to_test_names_what_there_is(folder, run):
    message = refusal(run, "--is_train=False", "--preset=fashion")
    assert "nothing to test" in message and message.endswith("for --preset=mnist, --preset=cluttered60")
    message = refusal(run, "--is_train=False", "--model=conv")
    assert message.endswith("train first, or name a file with --weights"), "none of these would serve"
    shutil.rmtree(folder)
    assert "no weights are published here" in refusal(run, "--is_train=False")


@pytest.mark.parametrize(
    "asked, expected",
    [
        (["--preset=cluttered60", "--num_glimpses=4"], "--num_glimpses=4 (there: 8)"),
        (["--preset=cluttered60", "--num_clutter=6", "--hidden_size=192"], "--num_clutter=6 (there: 4)"),
        (["--preset=mnist", "--dataset=fashion_mnist"], "--dataset=fashion_mnist (there: mnist)"),
        (["--std=0.3"], "--std=0.3 (there: 0.15)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_flags_that_do_not_fit_are_named(folder, run, asked, expected):
    message = refusal(run, "--is_train=False", *asked)
    assert expected in message and ".safetensors" in message and "hidden_size" not in message


def test_weights_flag_takes_such_a_file_too(folder, run, capsys, tmp_path):
    path = folder / "cluttered60.safetensors"
    run("--is_train=False", "--M=1", f"--weights={path}")
    found = re.fullmatch(TEST_LINES, capsys.readouterr().out)
    assert found[1] == "cluttered_mnist_60x4" and found[4] == str(path)
    assert found[8] == f"{read_facts(published.path_of('cluttered60'))['test_error']['M=1']:.2f}"
    assert "--image_size=9 is for --dataset=folder" in refusal(
        run, "--is_train=False", f"--weights={path}", "--image_size=9"
    )
    assert "--best=False" in refusal(run, "--is_train=False", f"--weights={path}", "--best=False")
    run("--is_train=False", "--M=1", f"--weights={path}", "--num_clutter=6")
    assert capsys.readouterr().out.startswith("[*] cluttered_mnist_60x6 test"), "other data may be tried on purpose"
    bare = shutil.copy(folder / "mnist.safetensors", tmp_path)
    run("--is_train=False", "--M=1", f"--weights={bare}", "--std=0.05")  # bare: nothing is known but the weights
    found = re.fullmatch(TEST_LINES.replace(r"epoch (\d+)", "epoch (unknown)"), capsys.readouterr().out)
    assert found[8] == f"{read_facts(published.path_of('mnist'))['test_error']['M=1']:.2f}"


def test_training_starts_from_such_a_file(folder, run, tmp_path):
    path = folder / "mnist.safetensors"
    run("--limit=64", "--epochs=1", f"--weights={path}", "--optimizer=sgd", "--init_lr=1e-30")
    state = checkpoint.read(str(tmp_path / "place" / "ckpt" / f"{RUNS['mnist']}_ckpt.pdparams"))
    for name, value in published.load("mnist").weights.items():
        assert np.allclose(state["model"][name], value, rtol=0, atol=1e-12)


@posix
def test_fresh_clone(trained, tmp_path, tiny_mnist):
    """From the checkout's own folder the line is the same on every machine; from elsewhere the files are found too."""
    checkout, elsewhere = tmp_path / "checkout", tmp_path / "elsewhere"
    shutil.copytree(trained / "published", checkout / "ckpt" / "published")
    elsewhere.mkdir()
    copy_checkout(checkout)
    env = {**os.environ, "RAM_CHECKOUT": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    expected = json.loads((trained / "published" / "mnist.json").read_text())
    file = "ckpt/published/mnist.safetensors"
    for place, shown in ((checkout, ""), (elsewhere, f"{checkout}/")):
        helper = [sys.executable, str(Path(__file__).with_name("helpers.py")), str(tiny_mnist.folder)]
        asked = ["--is_train=False", "--M=1", "--use_gpu=False", f"--data_dir={tiny_mnist.folder}"]
        done = subprocess.run([*helper, *asked], env=env, cwd=place, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[:2] == [
            f"[*] Nothing was trained as {RUNS['mnist']} in ./ckpt: taking the published weights",
            f"[*] mnist test, M=1, sampled locations, epoch {expected['epoch']}, {shown}{file}",
        ]


# ---- files that lie


def packed(header, data=b""):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + data


def tensor(shape, start, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


LIES = {
    "empty": b"",
    "three bytes": b"abc",
    "another program's": b"PK\x03\x04" * 100,
    "header larger than the file": struct.pack("<Q", 5000) + b"{}",
    "header of 2**63 bytes": struct.pack("<Q", 2**63) + b"{}",
    "no JSON": packed(b"{nonsense}"),
    "no UTF-8": packed(b'{"\xff": 1}'),
    "nested deeply": packed(b'{"a":' + b"[" * 60_000),
    "a list": packed([]),
    "nothing in it": packed({}),
    "offsets beyond the end": packed({"a": tensor([2], 0, 8)}, bytes(4)),
    "offsets backwards": packed({"a": tensor([2], 8, 0)}, bytes(8)),
    "offsets with a hole": packed({"a": tensor([1], 4, 8)}, bytes(8)),
    "tensors that overlap": packed({"a": tensor([1], 0, 4), "b": tensor([1], 0, 4)}, bytes(4)),
    "bytes of nobody": packed({"a": tensor([1], 0, 4)}, bytes(8)),
    "shape that does not fit": packed({"a": tensor([3], 0, 8)}, bytes(8)),
    "shape that overflows": packed({"a": tensor([2**32, 2**32], 0, 0)}),
    "shape too large for NumPy": packed({"a": tensor([0, 2**62], 0, 0)}),
    "shape of 100 axes": packed({"a": tensor([1] * 100, 0, 4)}, bytes(4)),
    "negative shape": packed({"a": tensor([-1], 0, 4)}, bytes(4)),
    "float64": packed({"a": tensor([1], 0, 8, "F64")}, bytes(8)),
    "bfloat16": packed({"a": tensor([1], 0, 2, "BF16")}, bytes(2)),
    "unknown dtype": packed({"a": tensor([1], 0, 4, "F99")}, bytes(4)),
    "name of two lines": packed({"a\nb": tensor([1], 0, 4)}, bytes(4)),
    "error of two lines": packed({"a\nb": tensor([1], 4, 8)}, bytes(8)),
    "long name": packed({"a" * 5000: tensor([1], 4, 8)}, bytes(8)),
    "another model's": packed({"a": tensor([1], 0, 4)}, bytes(4)),
}


@pytest.mark.parametrize("lie", LIES)
def test_file_that_lies_is_refused_in_one_line(folder, run, lie, tmp_path):
    path = tmp_path / "lie.safetensors"
    path.write_bytes(LIES[lie])
    message = refusal(run, "--is_train=False", f"--weights={path}")
    assert str(path) in message or lie == "another model's"
    (folder / "mnist.safetensors").write_bytes(LIES[lie])  # beside its JSON, which knows what it has to be
    assert "SHA-256" in refusal(run, "--is_train=False")
    facts = json.loads((folder / "mnist.json").read_text())
    facts["sha256"] = hashlib.sha256(LIES[lie]).hexdigest()
    (folder / "mnist.json").write_text(json.dumps(facts))
    refusal(run, "--is_train=False")


def test_large_header_is_not_even_parsed(tmp_path):
    """Two million tensors without content: parsing that takes seconds and gigabytes."""
    entry = b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    path = tmp_path / "large.safetensors"
    path.write_bytes(packed(b"{" + b",".join(entry % i for i in range(400_000)) + b"}"))
    began = time.monotonic()
    assert "header of at most" in refusal(read, str(path))
    assert time.monotonic() - began < 1


def test_large_files_and_what_is_no_file_are_not_read(folder, tmp_path):
    path = tmp_path / "large.safetensors"
    with open(path, "wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert "ordinary file" in refusal(read, str(path))
    assert "is a folder" in refusal(read, str(tmp_path))
    assert "cannot read" in refusal(read, str(tmp_path / "absent.safetensors"))
    with open(folder / "mnist.json", "ab") as file:
        file.truncate(MAX_FACTS + 1)
    assert "ordinary file" in refusal(published.load, "mnist")


def test_flipped_bit_is_seen(folder, run):
    path = folder / "mnist.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedFile, match="SHA-256"):
        run("--is_train=False")


def changed(**changes):
    """Something that changes a description."""
    return lambda facts: {**facts, **changes}


def set_to(**changes):
    """Something that changes the settings in a description."""
    return lambda facts: {**facts, "settings": {**facts["settings"], **changes}}


FOREIGN = {
    "a list": lambda facts: [facts],
    "a number": lambda facts: 7,
    "another program's": lambda facts: {"name": "package", "version": "1.0"},
    "settings of a wrong kind": changed(settings=[]),
    "no SHA-256": changed(sha256=None),
    "another's SHA-256": changed(sha256="0" * 64),
    "hidden_size=-1": set_to(hidden_size=-1),
    "hidden_size=10**9": set_to(hidden_size=10**9),
    "hidden_size=None": set_to(hidden_size=None),
    "hidden_size of text": set_to(hidden_size="many\nlines" * 1000),
    "num_glimpses=10**9": set_to(num_glimpses=10**9),
    "num_glimpses=2.5": set_to(num_glimpses=2.5),
    "std=NaN": set_to(std=float("nan")),
    "a wide patch": set_to(glimpse_scale=4096, num_patches=8),
    "std of a list": set_to(std=[0.1]),
    "pixel_std=0": set_to(pixel_std=0),
    "policy of nobody": set_to(policy="smart"),
    "dataset elsewhere": set_to(dataset="../../etc"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_description_that_is_foreign_is_refused_in_one_line(folder, run, what):
    path = folder / "mnist.json"
    path.write_text(json.dumps(FOREIGN[what](json.loads(path.read_text()))))
    for asked in ([], ["--preset=mnist"], [f"--weights={folder / 'mnist.safetensors'}"]):
        assert "mnist" in refusal(run, "--is_train=False", *asked)


@pytest.mark.parametrize("text", ["", "{", "[" * 60_000, "\ufeff{}", "{}", "9" * 5000, "\0"], ids=range(7))
def test_description_that_is_damaged_is_refused_in_one_line(folder, run, text):
    (folder / "mnist.json").write_text(text, encoding="utf-8")
    assert "mnist.json" in refusal(run, "--is_train=False")


def test_other_model_in_the_settings_does_not_fit_the_weights(folder, run):
    path = folder / "mnist.json"
    path.write_text(json.dumps(set_to(hidden_size=128)(json.loads(path.read_text()))))
    assert "[256, 128]" in refusal(run, "--is_train=False", "--preset=mnist")


def test_missing_description_is_an_error(folder, run):
    (folder / "mnist.json").unlink()
    for asked in ([], ["--preset=mnist"]):
        assert "mnist.json" in refusal(run, "--is_train=False", *asked)
    assert "mnist.json" in refusal(published.load, "mnist")
    assert "--preset=mnist" in refusal(published.load, "fashion")


def test_missing_library_is_told(folder, run, monkeypatch):
    for name in ("safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "pip install -r requirements.txt" in refusal(run, "--is_train=False")


def test_status_is_2(folder, tmp_path, tiny_mnist, capsys):
    (folder / "mnist.safetensors").write_bytes(b"")
    with pytest.raises(SystemExit) as ended:
        run_as_main(flags(tmp_path, tiny_mnist, "--is_train=False"))
    err = capsys.readouterr().err
    assert ended.value.code == 2 and re.fullmatch(r"main\.py: [^\n]+\n", err), err


def test_names_follow_the_presets(folder):
    assert published.names() == [name for name in PRESETS if (folder / f"{name}.json").exists()]
    assert np.isfinite(published.load("mnist").weights["rnn.h2h.weight"]).all()
