"""Long runs, and sizes at the edge of what there is."""

from __future__ import annotations

import gc
import os
import re
import sys
import time

import numpy as np
import paddle
import pytest
from helpers import TinyMnist, folders, same
from PIL import Image
from test_main import SMALL

import main
from config import get_config
from utils import to_tensor

PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0


@pytest.mark.row("soak")
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="memory and handles are read from /proc")
def test_memory_files_and_handles_stay_where_they_are(run, times, capsys):
    """Watched from outside: memory after 20 epochs and at the end; --long takes 2,000 epochs."""
    flags = [f"--epochs={times}", "--train_patience=2000", "--limit=32", "--save_freq=0", "--batch_size=16"]
    process = run.start(*flags)
    seen = {}  # epochs that are in the log: pages in memory, open handles, files of the checkpoint folder
    proc, until = f"/proc/{process.number}", time.monotonic() + 3600
    while time.monotonic() < until:
        try:
            epochs = run.log.read_bytes().count(b"\n") if run.log.exists() else 0
            with open(f"{proc}/statm") as statm:
                pages = int(statm.read().split()[1])
            handles = os.listdir(f"{proc}/fd")
        except OSError:
            break
        if not pages:
            break  # it has ended, and nobody has waited for it
        files = [name for name in os.listdir(run.ckpt) if not name.endswith(".tmp")] if epochs else []
        seen[epochs] = (pages, len(handles), len(files))
        time.sleep(0.005)
    status, _, err = process.wait()
    assert status == 0, err
    assert len(run.log.read_text().splitlines()) == times and max(seen) >= times - 2
    # Of several epochs the lowest: some file or other may be open for a moment, and what is lost stays lost.
    start, end = ([seen[epoch] for epoch in seen if at <= epoch < at + 10] for at in (20, times - 10))
    (start_pages, *start_rest), (end_pages, *end_rest) = (
        [min(values) for values in zip(*part)] for part in (start, end)
    )
    megabytes = [f"{pages * PAGE / 1e6:.1f} MB" for pages in (start_pages, end_pages)]
    with capsys.disabled():
        print(f"\n{times} epochs: {megabytes[0]} after 20, {megabytes[1]} at the end, {end_rest[0]} handles")
    assert end_pages <= 1.05 * start_pages
    assert end_rest == start_rest, "handles, and files in the folder of checkpoints"
    assert os.path.getsize(run.log) < 500 * times
    assert set(os.listdir(run.logs)) == {run.log.name, f"{run.log.stem}.lock"} and end_rest[1] == 5


def test_tensors_of_arrays_are_the_same_and_are_freed():
    arrays = [np.ones((5, 3, 2), "u1"), np.arange(6.0).reshape(2, 3).T, np.zeros((4, 0, 2), "f4"), np.int64([3, -1])]
    for array in arrays:
        tensor = to_tensor(array)
        assert same(tensor.numpy(), np.ascontiguousarray(array)) and tensor.stop_gradient
        assert tensor.dtype == paddle.to_tensor(array).dtype and tensor.shape == list(array.shape)
    blocks = []
    for _ in range(2):
        for _ in range(2000):
            to_tensor(arrays[0])
        gc.collect()
        blocks.append(sys.getallocatedblocks())
    assert blocks[1] - blocks[0] < 500


CASES = {
    "batches of one": (["--limit=7", "--batch_size=1"], {}),
    "last batch of one": (["--limit=33", "--batch_size=32"], {}),
    "fewer images than a batch": (["--limit=5", "--batch_size=128", "--num_workers=3"], {}),
    "one image of each kind": (["--limit=1"], {}),
    "one class": (["--limit=40"], dict(classes=1)),
    "one glimpse": (["--limit=40", "--num_glimpses=1", "--locations=mean"], {}),
    "patch larger than the image": (["--limit=40", "--patch_size=40", "--num_patches=3", "--glimpse_scale=3"], {}),
    "canvas of exactly 28": (["--limit=40", "--dataset=translated_mnist", "--canvas_size=28"], {}),
    "clutter on a canvas of exactly 28": (["--limit=40", "--dataset=cluttered_mnist", "--canvas_size=28"], {}),
    "a single pixel": (["--patch_size=1", "--dataset=folder"], dict(pixel=True)),
}


@pytest.mark.parametrize("case", CASES)
def test_odd_sizes_train_resume_and_test(tmp_path, capsys, case):
    flags, options = CASES[case]
    tiny = TinyMnist(tmp_path / "data", 60, 12)
    if "classes" in options:
        for name in ("train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"):
            path = tiny.folder / "mnist" / name
            path.write_bytes(path.read_bytes()[:8] + bytes(path.stat().st_size - 8))
    if "pixel" in options:
        for part in ("train", "test"):
            for label in ("dark", "light"):
                (tmp_path / "data" / part / label).mkdir(parents=True)
                for number in range(4):
                    image = Image.fromarray(np.full((1, 1), 200 * (label == "light") + number, np.uint8))
                    image.save(tmp_path / "data" / part / label / f"{number}.png")
    base = [*SMALL, *folders(tmp_path, tiny.folder), *flags]
    if "pixel" in options:
        base += ["--valid_size=0.25", "--augment_shift=0"]
    with tiny.registered():
        main.main(get_config([*base, "--epochs=1"]))
        main.main(get_config([*base, "--epochs=2", "--resume"]))
        main.main(get_config([*base, "--is_train=False"]))
    out = capsys.readouterr().out
    assert out.count("\ntrain loss: ") == 2 and re.search(r"^\[\*\] Test Acc: \d+/\d+ \(", out, re.MULTILINE), out
