"""What all tests share: the number of threads, a small data set in MNIST's place, and the real MNIST where it is."""

import signal

import pytest
from helpers import TinyMnist
from test_data_loader import real_mnist  # noqa: F401 - the fixture

from ram.system.cpu import prepare_cpu
from ram.system.signals import STOP_SIGNALS

prepare_cpu()  # before any test imports paddle, so that all of them compute with one and the same number of threads


@pytest.fixture(scope="session")
def tiny_mnist(tmp_path_factory):
    """A small data set in real IDX files that takes MNIST's place while its `registered()` is entered."""
    return TinyMnist(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(autouse=True)
def signal_handlers():
    """Gives back what a command that ends because of a signal leaves ignored."""
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Where pytest-xdist is installed, two processes share the files of the whole suite; with `-n0` it is one."""
    option, is_whole = config.option, config.args == config.getini("testpaths")
    looks = option.capture == "no" or any(getattr(option, name, False) for name in ("usepdb", "trace", "setupshow"))
    is_open = getattr(option, "numprocesses", 0) is None and option.dist == "no" and not (option.tx or looks)
    if is_whole and is_open and not hasattr(config, "workerinput"):  # there is xdist, and nothing is asked
        option.numprocesses, option.dist = 2, "loadfile"


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="tests/faults: the long version of every row of the table")
    parser.addoption("--fuzz-seconds", type=float, metavar="N", help="tests/faults: fuzz each reader for N seconds")
    parser.addoption("--fault-seed", type=int, default=1, metavar="N", help="tests/faults: other random faults")
