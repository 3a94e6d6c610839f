"""A training that was begun on the code before `ram/` existed is resumed and published by the code of today.

tests/older/ has its files as that code left them, interrupted in the second of two epochs, and `undisturbed.npz` with
the weights that the same code reached without the interruption; tests/older/make.py made them.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import folders

import main
from config import BEFORE, get_config
from ram.presets import PRESETS
from ram.runs import checkpoint, published
from ram.use import publish
from utils import UserError

OLDER = Path(__file__).with_name("older")
RUN = "ram_2_4x4_1_h4_g4_l4"
SIZES = "--hidden_size=4 --glimpse_hidden=4 --loc_hidden=4 --patch_size=4 --num_glimpses=2".split()
# Processors round differently, so the weights are not promised to be the same bits on all of them. Two steps of
# training move them by more than a hundred times this.
TOLERANCE = 1e-5


@pytest.fixture
def place(tmp_path, tiny_mnist):
    """A folder with the older files, where runs of today expect theirs."""
    for folder, pattern in (("ckpt", f"{RUN}_*"), ("logs", f"{RUN}.jsonl")):
        (tmp_path / folder).mkdir()
        for path in OLDER.glob(pattern):
            shutil.copy(path, tmp_path / folder)
    with tiny_mnist.registered():
        yield tmp_path


def weights(path):
    state = checkpoint.read(str(path))
    return {f"{part}/{name}": array for part in ("model", "ema") for name, array in state[part].items()}


def largest_difference(a, b):
    assert a.keys() == b.keys()
    return max(np.abs(a[name] - b[name]).max() for name in a)


@pytest.mark.parametrize("how", ["--resume=True", "--resume=auto"])
@pytest.mark.parametrize("lacking", [False, True], ids=["as it is", "older than some flags"])
def test_older_training_goes_on_to_where_it_would_have_come(place, tiny_mnist, how, lacking, capsys):
    latest = place / "ckpt" / f"{RUN}_ckpt.pdparams"
    flags = ["--batch_size=16", "--limit=64", "--epochs=2", "--init_lr=0.01"]
    if lacking:  # as in a file that was written before these flags existed, by a code that did what they say
        state = checkpoint.read(str(latest))
        agreeing = [name for name, value in BEFORE.items() if state["settings"].get(name) == value]
        assert {"first_reach", "augment_flip", "label_smoothing", "location_mean"} <= set(agreeing)
        for name in agreeing:
            del state["settings"][name]
        checkpoint.write(str(latest), state)
    with np.load(OLDER / "undisturbed.npz") as arrays:
        expected = dict(arrays)
    assert largest_difference(weights(latest), expected) > 100 * TOLERANCE
    main.main(get_config([*SIZES, *flags, *folders(place, tiny_mnist.folder), "--use_gpu=False", how]))
    assert f"Resuming {RUN} at step 2 of epoch 2" in capsys.readouterr().out
    assert largest_difference(weights(latest), expected) < TOLERANCE
    state = checkpoint.read(str(latest))
    assert (state["epoch"], state["step"], len(state["history"])) == (2, 0, 2)
    assert BEFORE.keys() <= state["settings"].keys()
    log = [json.loads(line) for line in (place / "logs" / f"{RUN}.jsonl").read_text().splitlines()]
    assert log[0] == json.loads((OLDER / f"{RUN}.jsonl").read_text())


def test_older_training_is_published_if_a_preset_trains_so(place, tiny_mnist, monkeypatch):
    monkeypatch.setattr(published, "FOLDER", str(place / "published"))
    best = str(place / "ckpt" / f"{RUN}_model_best.pdparams")
    arguments = publish.get_arguments([best, "--name=mnist", f"--data_dir={tiny_mnist.folder}"])
    with pytest.raises(UserError, match="was not trained as --preset=mnist trains: .*--batch_size=16"):
        publish.main(arguments)
    recipe = dict(flag[2:].split("=") for flag in SIZES)
    recipe = {**{name: int(value) for name, value in recipe.items()}, "batch_size": 16, "limit": 64, "epochs": 2}
    recipe["init_lr"] = 0.01
    monkeypatch.setitem(PRESETS, "mnist", PRESETS["mnist"]._replace(flags=recipe))
    with pytest.raises(UserError, match="was stopped after 1 of 2 epochs: --resume=True goes on"):
        publish.main(arguments)
    flags = ["--batch_size=16", "--limit=64", "--epochs=2", "--init_lr=0.01", "--use_gpu=False", "--resume=True"]
    main.main(get_config([*SIZES, *flags, *folders(place, tiny_mnist.folder)]))
    publish.main(arguments)
    model = published.load("mnist")
    ema = {name: value.astype(np.float16) for name, value in checkpoint.read(best)["ema"].items()}
    assert all(np.array_equal(model.weights[name], ema[name]) for name in ema) and model.settings["hidden_size"] == 4


def test_the_files_are_small():
    assert sum(path.stat().st_size for path in OLDER.iterdir() if path.is_file()) < 60_000
