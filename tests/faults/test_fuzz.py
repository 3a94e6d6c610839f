"""Fuzzing of what reads files: any bytes are read as what they are, or refused; nothing else ever happens.

python -m pytest tests/faults/test_fuzz.py -s --fuzz-seconds=1200      # three readers, an hour
"""

from __future__ import annotations

import pickle
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from test_checkpoint import FRAGMENTS, P4, content, only_plain, respelt

from ram.data.idx import Damaged, parse_idx, to_idx
from ram.runs import checkpoint, unpickle
from utils import UserError

EXAMPLES = 500  # of a round; each has a seed of its own, which a failure names
SHORT = 1.5  # seconds


@st.composite
def damaged(draw, samples):
    """One of the samples with some bytes changed, cut out, put in, doubled or moved."""
    data = bytearray(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(1, 5))):
        at, length = draw(st.integers(0, len(data))), draw(st.sampled_from([0, 1, 1, 2, 4, 8, 50, 1000]))
        piece = bytes(data[at : at + length])
        new = draw(st.one_of(st.binary(max_size=9), st.sampled_from([b"", piece * 2, b"\xff" * 8, b"\0" * 8])))
        where = draw(st.sampled_from([at, draw(st.integers(0, len(data)))]))
        data[where : where + (length if where == at else 0)] = new
    return bytes(data)


def pickles():
    tree = {"w": np.ones((3, 4), "f4"), "b": np.arange(5), "n": 1, "x": 2.5, "s": "text", "l": [None, True, (1, "a")]}
    samples = [pickle.dumps(tree, protocol) for protocol in (2, 3, 4, 5)]
    samples += [respelt(sample, "numpy._core", "numpy.core") for sample in samples]
    programs = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=3), max_size=60)
    return damaged(samples) | programs.map(lambda parts: P4 + b"".join(parts) + b".") | st.binary(max_size=60)


def read_pickle(data, folder):
    try:
        assert only_plain(unpickle.unpickle(data, "file"))
    except unpickle.DamagedFile as error:
        assert "\n" not in str(error)


def idx_files():
    shapes = [(), (3,), (0, 5), (2, 3, 4), (1, 1, 1, 2)]
    samples = [to_idx(np.ones(shape, np.uint8)) for shape in shapes]
    headers = st.binary(max_size=40).map(lambda tail: b"\0\0\x08" + tail)
    return damaged(samples) | headers | st.binary(max_size=60)


def read_idx(data, folder):
    try:
        assert to_idx(parse_idx(data)) == data
    except Damaged as error:
        assert "\n" not in str(error)


def checkpoints(folder):
    checkpoint.write(folder / "sample.pdparams", content(size=5))
    own = (folder / "sample.pdparams").read_bytes()
    at = own.index(b"sha256") - 5
    unsigned = own[:at] + own[at:].replace(b"sha256", b"sha255").replace(b"ram-paddle", b"ram-puddle")  # not compared
    return damaged([own, unsigned])


def read_checkpoint(data, folder):
    path = folder / "fuzzed.pdparams"
    path.write_bytes(data)
    for read in (checkpoint.read, checkpoint.read_latest):
        try:
            found = read(str(path))
            assert only_plain(found)
            checkpoint.state_from(found, str(path))
        except UserError as error:
            assert "\n" not in str(error)


READERS = {
    "idx": (lambda folder: idx_files(), read_idx),
    "pickle": (lambda folder: pickles(), read_pickle),
    "checkpoint": (checkpoints, read_checkpoint),
}


@pytest.mark.parametrize("reader", READERS)
def test_any_bytes_are_read_or_refused(reader, tmp_path, request):
    make, read = READERS[reader]
    until = time.monotonic() + (request.config.getoption("fuzz_seconds") or SHORT)
    inputs, rounds, count = make(tmp_path), 0, 0
    while rounds == 0 or time.monotonic() < until:

        @seed(rounds + 10**6 * request.config.getoption("fault_seed"))
        @settings(max_examples=EXAMPLES, deadline=5000, database=None, suppress_health_check=list(HealthCheck))
        @given(inputs)
        def check(data):
            nonlocal count
            if time.monotonic() < until:
                read(data, tmp_path)
                count += 1

        check()
        rounds += 1
    print(f"\n{reader}: {count} inputs in {rounds} rounds, nothing found")
