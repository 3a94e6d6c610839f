"""What the tests of faults share: how often each is provoked, its dice, and processes to shoot at.

python -m pytest tests/faults                      # the short version, part of all tests
python -m pytest tests/faults --long               # the counts of the table in docs/reliability.md
python -m pytest tests/faults --fault-seed=7       # other random faults
"""

from __future__ import annotations

import os
import random
import sys

import pytest
from helpers import TinyMnist, long_test
from nursery import Nursery
from test_main import SMALL, Place

# Row of the table: how often, in the short version and in the long one.
COUNTS = {
    "kill": (5, 100),
    "signals": (4, 20),
    "nohup": (1, 3),
    "disk full": (4, 20),
    "damaged checkpoint": (24, 200),
    "folder": (3, 10),  # each read-only and vanished
    "damaged data": (40, 200),
    "two at once": (1, 5),
    "not finite": (2, 5),
    "clock": (1, 3),
    "soak": (60, 2000),  # epochs
    "flags": (150, 5000),  # examples
    "commands": (12, 300),  # examples
}
# 17 steps an epoch, 24 checkpoints. At a constant rate, epochs that are asked for later change nothing before.
TRAINING = ["--epochs=4", "--batch_size=16", "--save_freq=3", "--lr_schedule=constant"]


def pytest_generate_tests(metafunc):
    """A test that takes a `number` is one for each fault that `@pytest.mark.row(NAME)` asks for.

    One of each is enough where it has to be quick; .ci/run provokes all of the short version.
    """
    row = metafunc.definition.get_closest_marker("row")
    if row and "number" in metafunc.fixturenames:
        long = metafunc.config.getoption("long")
        numbers = range(COUNTS[row.args[0]][long])
        quick = numbers if long else numbers[:1]
        metafunc.parametrize("number", [*quick, *(long_test(number)[0] for number in numbers[len(quick) :])])


def pytest_configure(config):
    config.addinivalue_line("markers", "row(name): a row of the table of faults; COUNTS says how often")


@pytest.fixture
def times(request):
    """The count of this test's row, for a test that repeats the fault itself."""
    return COUNTS[request.node.get_closest_marker("row").args[0]][request.config.getoption("long")]


@pytest.fixture
def dice(request):
    """A random generator of its own for each test and --fault-seed, so that a failure can be repeated."""
    return random.Random(f"{request.node.name} {request.config.getoption('fault_seed')}")


@pytest.fixture(scope="session")
def target(tmp_path_factory):
    """Data for a training that takes half a second, which is long enough to be shot at."""
    return TinyMnist(tmp_path_factory.mktemp("target"), train_count=300, test_count=60)


@pytest.fixture(scope="session")
def nursery(target, tmp_path_factory):
    if not hasattr(os, "fork") or sys.platform == "darwin":
        pytest.skip("processes are forked, which is safe on Linux alone")
    nursery = Nursery(target.folder, tmp_path_factory.mktemp("nursery"))
    yield nursery
    nursery.close()


class Run(Place):
    """A training in a place of its own, in processes from the nursery."""

    def __init__(self, root, data, nursery):
        super().__init__(root, data)
        self.nursery = nursery

    def arguments(self, *flags):
        folders = [f"--{name}_dir={self.root / name}" for name in ("ckpt", "logs", "plots")]
        return [*SMALL, f"--data_dir={self.data}", *folders, *TRAINING, *flags]

    def start(self, *flags, **options):
        return self.nursery.start(self.arguments(*flags), **options)

    def call(self, *flags, **options):
        """Status, output and errors."""
        return self.start(*flags, **options).wait()

    def finish(self):
        """Go on from wherever it was stopped, to the end; returns its outcome."""
        status, _, err = self.call(*["--resume=True"] * (self.latest.exists() or self.previous.exists()))
        assert status == 0, err
        return self.outcome()

    @property
    def previous(self):
        return self.latest.with_name(self.latest.name.replace("_ckpt.", "_ckpt_prev."))


@pytest.fixture
def new_run(tmp_path, target, nursery):
    """Makes places to train in."""
    numbers = iter(range(1000))
    return lambda: Run(tmp_path / f"run{next(numbers)}", target.folder, nursery)


@pytest.fixture
def run(new_run):
    return new_run()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, target, nursery):
    """The outcome of a training that nothing disturbs."""
    return Run(tmp_path_factory.mktemp("undisturbed") / "run", target.folder, nursery).finish()


def one_line(err: str) -> str:
    """The one line of an error on stderr, after whatever the progress bar has left there."""
    line = err.split("\r")[-1].strip()
    assert line.startswith("main.py: ") and "\n" not in line and "Traceback" not in err, err
    return line
