"""What all tests share: the number of threads, a small data set in MNIST's place, and the real MNIST where it is."""

import pytest
from helpers import TinyMnist
from test_data_loader import real_mnist  # noqa: F401 - the fixture

from utils import prepare_cpu

prepare_cpu()  # before any test imports paddle, so that all of them compute with one and the same number of threads


@pytest.fixture(scope="session")
def tiny_mnist(tmp_path_factory):
    """A small data set in real IDX files that takes MNIST's place while its `registered()` is entered."""
    return TinyMnist(tmp_path_factory.mktemp("tiny"))
