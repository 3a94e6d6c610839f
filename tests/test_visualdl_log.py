"""The log for VisualDL, read back with VisualDL's own reader."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from helpers import folders
from PIL import Image

import main
from config import get_config
from ram.runs import checkpoint
from utils import UserError

pytest.importorskip("visualdl")
from visualdl import LogReader

from ram.draw.visualdl import VisualDLLog, trim

SMALL = "--hidden_size=16 --glimpse_hidden=12 --loc_hidden=8 --num_glimpses=3 --patch_size=6 --use_gpu=False --limit=96"
RUN = "ram_3_6x6_1_h16_g12_l8"


@pytest.fixture
def train(tmp_path, tiny_mnist):
    """Trains in a place of its own, and returns that place."""

    def run(*flags):
        with tiny_mnist.registered():
            main.main(get_config([*SMALL.split(), *folders(tmp_path, tiny_mnist.folder), *flags]))
        return tmp_path

    return run


def read(place):
    """The reader of the one log in the place."""
    (path,) = (place / "logs" / RUN).iterdir()
    assert path.name == f"vdlrecords.{RUN}.log"
    return LogReader(file_path=str(path))


@pytest.mark.parametrize("flag", ["--use_visualdl", "--use_tensorboard"])
def test_scalars_glimpses_and_histograms(train, flag):
    place = train("--epochs=2", flag, "--plot_freq=2")
    reader, tags = read(place), read(place).get_tags()
    records = [json.loads(line) for line in (place / "logs" / f"{RUN}.jsonl").read_text().splitlines()]
    assert set(tags["scalar"]) == set(records[0]) - {"epoch", "best"}
    for name in tags["scalar"]:
        found = [(value.id, value.value) for value in reader.get_data("scalar", name)]
        assert found == [(r["epoch"], pytest.approx(r[name], rel=1e-6)) for r in records]
    (picture,) = reader.get_data("image", "glimpses")
    image = Image.open(io.BytesIO(picture.image.encoded_image_string))
    assert picture.id == 2 and image.width > 500 and np.asarray(image).std() > 20
    weights = checkpoint.read(str(place / "ckpt" / f"{RUN}_ckpt.pdparams"))["ema"]
    assert set(tags["histogram"]) == set(weights)
    for name, values in weights.items():
        (found,) = reader.get_data("histogram", name)
        assert found.id == 2 and sum(found.histogram.hist) == values.size
        edges = found.histogram.bin_edges
        if values.size > 1:
            assert (edges[0], edges[-1]) == pytest.approx((values.min(), values.max()), abs=1e-6)


def test_a_baseline_has_no_glimpses(tmp_path, tiny_mnist):
    with tiny_mnist.registered():
        flags = "--model=fc64 --epochs=1 --limit=96 --use_visualdl --use_gpu=False".split()
        main.main(get_config([*flags, *folders(tmp_path, tiny_mnist.folder)]))
    (path,) = (tmp_path / "logs").glob("*/*.log")
    assert "image" not in LogReader(file_path=str(path)).get_tags()


def test_resuming_appends_and_repeats_nothing(train):
    place = train("--epochs=2", "--use_visualdl")
    path = place / "logs" / RUN / f"vdlrecords.{RUN}.log"
    before = path.read_bytes()
    # As if it had been killed within the log of an epoch whose state was never saved: that epoch is written again.
    VisualDLLog(str(path.parent), RUN).write({"epoch": 3, "val_acc": -1.0})
    path.write_bytes(path.read_bytes() + (10**6).to_bytes(8, "little") + b"half a record")
    train("--resume", "--epochs=4")  # goes on with VisualDL as it began
    assert path.read_bytes().startswith(before)
    values = read(place).get_data("scalar", "val_acc")
    assert [value.id for value in values] == [1, 2, 3, 4] and all(value.value >= 0 for value in values)


def test_a_fresh_start_moves_the_log_aside(train):
    train("--epochs=2", "--use_visualdl")
    place = train("--epochs=1", "--use_visualdl")
    assert [value.id for value in read(place).get_data("scalar", "val_acc")] == [1]
    assert len(list((place / "ckpt" / "old").glob(f"*/{RUN}/*.log"))) == 1


def test_a_damaged_log_is_refused_and_left_alone(tmp_path):
    log = VisualDLLog(str(tmp_path), "run")
    path = tmp_path / "vdlrecords.run.log"
    path.write_bytes((4).to_bytes(8, "little") + b"\xff\xff\xff\xff" + b"more")
    before = path.read_bytes()
    with pytest.raises(UserError, match="damaged"):
        log.write({"epoch": 1, "val_acc": 1.0})
    assert path.read_bytes() == before


def test_weights_that_are_not_finite_are_left_out(tmp_path):
    bad, good = np.array([1.0, np.nan]), np.array([1.0, 2.0])
    VisualDLLog(str(tmp_path), "run").write({"epoch": 1, "loss": 1.0}, {"bad": bad, "good": good})
    tags = LogReader(file_path=str(tmp_path / "vdlrecords.run.log")).get_tags()
    assert tags["histogram"] == ["good"]


@pytest.mark.parametrize("values", [[0, 0, 0], [1, 1, np.nextafter(1, 2)], [5], [0, 1e-45]])
def test_weights_that_hardly_differ(tmp_path, values):
    VisualDLLog(str(tmp_path), "run").write({"epoch": 1, "loss": 1.0}, {"w": np.array(values, "float32")})
    (found,) = LogReader(file_path=str(tmp_path / "vdlrecords.run.log")).get_data("histogram", "w")
    assert sum(found.histogram.hist) == len(values)


def test_a_folder_that_cannot_be_written_is_an_error_of_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        VisualDLLog(str(tmp_path / "file" / "folder"), "run").write({"epoch": 1, "loss": 1.0})


def test_trimming_what_does_not_exist_does_nothing(tmp_path):
    trim(str(tmp_path / "none"), 1)
    assert list(tmp_path.iterdir()) == []
