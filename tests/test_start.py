"""Trainings that start from the weights in a file: what is kept of the file, where it counts, and who has seen what."""

from __future__ import annotations

import hashlib
import json
import signal

import numpy as np
import pytest
from helpers import folders

import main
import trainer
from config import get_config
from data_loader import get_train_valid
from ram.presets import PRESETS
from ram.runs import checkpoint, published
from ram.runs.origin import Origin, origin_in
from ram.runs.settings import deciding, differences, settings
from ram.runs.weights import read
from ram.start import count_seen
from ram.system.signals import Interrupted
from ram.use import publish as publishing
from utils import UserError

RUN = "fc64_mnist"
FLAGS = "--model=fc64 --use_gpu=False --limit=96 --epochs=2 --batch_size=32 --init_lr=0.01".split()


class Place:
    """Folders of their own, in which runs of one small model keep their files."""

    def __init__(self, root, data):
        self.root, self.data = root, data
        self.best, self.latest = (root / "ckpt" / f"{RUN}_{end}.pdparams" for end in ("model_best", "ckpt"))
        self.params = root / "ckpt" / f"{RUN}_params.json"

    def run(self, *flags):
        return main.main(get_config([*folders(self.root, self.data), *flags]))

    def kept(self):
        """What the checkpoints and the JSON say the training started from."""
        settings_of = [checkpoint.read(str(path))["settings"] for path in (self.best, self.latest)]
        return [found.get("started_from") for found in (*settings_of, json.loads(self.params.read_text()))]


@pytest.fixture
def first(tmp_path, tiny_mnist):
    with tiny_mnist.registered():
        place = Place(tmp_path / "first", tiny_mnist.folder)
        place.run(*FLAGS)
        yield place


@pytest.fixture
def second(tmp_path, first):
    return Place(tmp_path / "second", first.data)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_file_is_kept_by_its_content_and_through_resume(first, second, monkeypatch, capsys):
    expected = {"file": first.best.name, "sha256": sha256(first.best), "preset": None, "seed": 1}
    real, steps = trainer.Trainer.train_step, []

    def train_step(self, *batch):
        steps.append(None)
        if len(steps) == 5:
            signal.raise_signal(signal.SIGINT)
        return real(self, *batch)

    monkeypatch.setattr(trainer.Trainer, "train_step", train_step)
    with pytest.raises(Interrupted):
        second.run(*FLAGS, f"--weights={first.best}")
    assert second.kept() == [expected] * 3
    second.run("--model=fc64", "--use_gpu=False", "--resume", "--epochs=4")
    assert second.kept() == [expected] * 3 and len(steps) == 12
    assert first.kept() == [None] * 3, "weights drawn from the seed are not worth a word"
    capsys.readouterr()
    for flags in (["--is_train=False"], ["--is_train=False", f"--weights={second.latest}"]):
        second.run("--model=fc64", "--use_gpu=False", *flags)
        name = f"started from {first.best.name} (SHA-256 {sha256(first.best)})"
        assert name in capsys.readouterr().out
    first.run("--model=fc64", "--use_gpu=False", "--is_train=False")
    assert "started from" not in capsys.readouterr().out


def test_it_counts_as_a_part_of_the_recipe(first, second, capsys):
    second.run(*FLAGS, f"--weights={first.best}")
    saved, wanted = read(str(second.best)).settings, read(str(first.best)).settings
    assert deciding(saved) != deciding(wanted)
    name = f"{first.best.name} (SHA-256 {sha256(first.best)})"
    assert differences(saved, wanted) == f"started from {name} (not random weights)"
    assert differences(wanted, saved) == f"started from random weights (not {name})"
    assert differences(saved, {**saved, "weights": "moved/elsewhere.pdparams"}) == ""
    capsys.readouterr()
    second.run(*FLAGS, "--resume=auto")
    said = capsys.readouterr().out
    assert "was trained with other settings: started from" in said and "was moved to" in said
    assert second.kept() == [None] * 3


def test_it_is_not_published(first, second, tmp_path, monkeypatch):
    recipe = {"limit": 96, "epochs": 2, "batch_size": 32, "init_lr": 0.01, "model": "fc64"}
    monkeypatch.setitem(PRESETS, "mnist", PRESETS["mnist"]._replace(flags=recipe))
    monkeypatch.setattr(published, "FOLDER", str(tmp_path / "published"))
    second.run(*FLAGS, f"--weights={first.best}")
    with pytest.raises(UserError, match="its training began with the weights in a file") as error:
        publishing.publish(str(second.best), "mnist", str(second.data))
    assert "\n" not in str(error.value) and not (tmp_path / "published").exists()
    publishing.publish(str(first.best), "mnist", str(first.data))
    third = Place(tmp_path / "third", first.data)
    third.run(*FLAGS, f"--weights={tmp_path / 'published' / 'mnist.safetensors'}")
    assert third.kept()[0]["preset"] == "mnist" and third.kept()[0]["seed"] == 1
    assert "mnist.safetensors, the published mnist (SHA-256" in str(origin_in({"started_from": third.kept()[0]}))


@pytest.mark.parametrize("kept", [7, "text", {}, {"file": 1}, {"file": "a", "sha256": "b"}, {"path": "a"}, []])
def test_what_no_training_wrote_is_an_unknown_file(kept):
    assert origin_in({"started_from": kept}) == Origin("an unknown file", "unknown")
    assert origin_in({}) is None and origin_in({"started_from": None}) is None


# ---- validation images that the weights have seen


def seen(first, config):
    return count_seen(read(str(first.best)), config, *get_train_valid(config))


@pytest.mark.parametrize(
    "flags, is_clean",
    [
        ([], True),
        (["--random_seed=2"], False),
        (["--valid_size=0.05"], True),
        (["--valid_size=0.2"], False),
        (["--dataset=translated_mnist"], True),  # its split is that of seed 1
        (["--dataset=translated_mnist", "--random_seed=2"], True),
    ],
    ids=str,
)
def test_seen_images_are_counted(first, tiny_mnist, flags, is_clean):
    first.run(*FLAGS[:2], "--epochs=1")  # without --limit
    config = get_config([f"--data_dir={tiny_mnist.folder}", *flags])
    train, valid = get_train_valid(config)
    trained_on, _ = get_train_valid(get_config([f"--data_dir={tiny_mnist.folder}"]))
    expected = len(np.intersect1d(valid.rows[: len(valid)], trained_on.rows))
    assert seen(first, config) == expected and (expected == 0) == is_clean


def test_it_is_said_before_the_training(first, second, capsys):
    first.run(*FLAGS[:2], "--epochs=1")
    capsys.readouterr()
    second.run(*FLAGS, f"--weights={first.best}")
    assert "[!]" not in capsys.readouterr().out
    second.run(*FLAGS, f"--weights={first.best}", "--random_seed=2")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[!]")]
    config = get_config([*folders(second.root, second.data), *FLAGS, "--random_seed=2"])
    assert line == (
        f"[!] {seen(first, config)} of the 60 validation images were among those that these weights were trained on "
        "(--random_seed=1): validation errors will be too low"
    )


def test_settings_say_nothing_where_nothing_is_known():
    assert "started_from" not in settings(get_config([]))
