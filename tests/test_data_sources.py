"""Tests of ram.data.sources: every way in which files can be absent, broken or slow, on a data set made here."""

import gzip
import hashlib
import http.server
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ram.data import download, idx, sources, wheel
from ram.data.download import SourceFailed
from ram.data.idx import Damaged, IdxFile, parse_idx, to_idx
from ram.data.sources import DATASETS, DatasetFiles, fetch
from ram.data.wheel import Wheel
from utils import UserError

NAMES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


class Tiny:
    """A registered data set of 40 + 20 images, and the means to put its files anywhere."""

    def __init__(self, root, monkeypatch):
        random = np.random.default_rng(0)
        self.arrays = {
            "train_images": random.integers(0, 256, (40, 28, 28), np.uint8),
            "train_labels": random.integers(0, 10, 40, np.uint8),
            "test_images": random.integers(0, 256, (20, 28, 28), np.uint8),
            "test_labels": random.integers(0, 10, 20, np.uint8),
        }
        self.raw = {role: to_idx(array) for role, array in self.arrays.items()}
        self.files = {
            role: IdxFile(NAMES[role], len(raw), hashlib.sha256(raw).hexdigest()) for role, raw in self.raw.items()
        }
        self.data_dir, self.own = root / "data", root / "data" / "tiny"
        self.cache, self.package = root / "home/.cache/paddle/dataset/tiny-cache", root / "package"
        self.monkeypatch = monkeypatch
        (root / "home").mkdir()
        monkeypatch.setenv("HOME", str(root / "home"))
        monkeypatch.setenv("USERPROFILE", str(root / "home"))
        monkeypatch.setenv("no_proxy", "*")
        self.register(DatasetFiles(self.files, cache="tiny-cache", packages=(str(self.package),)))

    def register(self, dataset):
        self.monkeypatch.setitem(DATASETS, "tiny", dataset)

    def add(self, **sources):
        self.register(replace(DATASETS["tiny"], **sources))

    def write(self, folder, zipped=False, roles=tuple(NAMES)):
        folder.mkdir(parents=True, exist_ok=True)
        for role in roles:
            path = folder / (NAMES[role] + ".gz" * zipped)
            path.write_bytes(gzip.compress(self.raw[role]) if zipped else self.raw[role])

    def fetch(self):
        """Fetches and checks the arrays."""
        arrays = fetch("tiny", str(self.data_dir))
        assert arrays.keys() == self.arrays.keys()
        for role, array in arrays.items():
            assert np.array_equal(array, self.arrays[role])
            assert array.dtype == (np.int64 if "labels" in role else np.uint8)

    def stored(self):
        return {path.name: path.read_bytes() for path in self.own.iterdir()} if self.own.exists() else {}

    def complete(self):
        return {NAMES[role]: raw for role, raw in self.raw.items()}

    def wheel(self, folder, tamper=None, content=None):
        """Makes a package that pip can find in a folder, and returns its `Wheel`."""
        if content is None:
            pixels = {
                role: self.arrays[role].reshape(-1, 784).astype(np.float32) / 256 for role in NAMES if "im" in role
            }
            labels = self.arrays["train_labels"].astype(np.int64)
            train = (pixels["train_images"][:30], labels[:30])
            valid = (pixels["train_images"][30:], labels[30:])
            test = (pixels["test_images"], self.arrays["test_labels"].astype(np.int64))
            content = pickle.dumps((train, valid, test), protocol=4)
        folder.mkdir(exist_ok=True)
        path = folder / "tiny_digits-0.1-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("tiny/digits.pkl.gz", gzip.compress(content))
            info = {"METADATA": ["Metadata-Version: 2.1", "Name: tiny-digits", "Version: 0.1", "Requires-Python: >=9"]}
            info["WHEEL"] = ["Wheel-Version: 1.0", "Root-Is-Purelib: true", "Tag: py3-none-any"]
            for name, lines in {**info, "RECORD": []}.items():
                archive.writestr(f"tiny_digits-0.1.dist-info/{name}", "\n".join([*lines, ""]))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if tamper:
            path.write_bytes(path.read_bytes() + tamper)
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            self.monkeypatch.delenv(name)
        self.monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        self.monkeypatch.setenv("PIP_NO_INDEX", "1")
        self.monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
        return Wheel("tiny-digits==0.1", path.stat().st_size, digest, "tiny/digits.pkl.gz")


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    return Tiny(tmp_path, monkeypatch)


class Server:
    """An HTTP server on this machine. `answers` maps a file's name to its bytes or to a function of the handler."""

    def __init__(self):
        self.answers, self.requests, self.closing = {}, [], threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(handler):
                name = handler.path.rsplit("/", 1)[-1]
                self.requests.append(name)
                answer = self.answers.get(name)
                if answer is None:
                    handler.send_error(404)
                elif callable(answer):
                    answer(handler)
                else:
                    handler.send_response(200)
                    handler.send_header("Content-Length", str(len(answer)))
                    handler.end_headers()
                    handler.wfile.write(answer)

            def log_message(handler, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.block_on_close = False
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/tiny/"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def serve(self, tiny):
        self.answers = {NAMES[role] + ".gz": gzip.compress(raw) for role, raw in tiny.raw.items()}

    def stop(self):
        self.closing.set()
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def silent_address():
    """A server that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


# ---- the order of sources


@pytest.mark.parametrize("first", ["own", "cache", "package", "url", "wheel"])
def test_first_source_that_has_the_files_serves(tiny, server, tmp_path, capsys, first):
    wheel = tiny.wheel(tmp_path / "links")
    tiny.add(urls=(server.url,), wheel=wheel)
    order = ["own", "cache", "package", "url", "wheel"]
    put = {
        "own": lambda: tiny.write(tiny.own),
        "cache": lambda: tiny.write(tiny.cache, zipped=True),
        "package": lambda: tiny.write(tiny.package, zipped=True),
        "url": lambda: server.serve(tiny),
        "wheel": lambda: None,
    }
    for source in order[order.index(first) :]:
        put[source]()
    tiny.fetch()
    label = {"cache": tiny.cache, "package": tiny.package, "url": server.url, "wheel": wheel.requirement}.get(first)
    printed = capsys.readouterr().out
    assert printed.count("fetched from") == (0 if first == "own" else 4)
    assert printed.count(f"fetched from {'Python package ' * (first == 'wheel')}{label}") == (
        0 if first == "own" else 4
    )
    assert tiny.stored() == tiny.complete()


def test_each_file_comes_from_the_first_source_that_has_it(tiny, server, capsys):
    tiny.write(tiny.own, roles=["train_labels"])
    tiny.write(tiny.own, zipped=True, roles=["test_labels"])
    tiny.write(tiny.cache, zipped=True, roles=["train_images", "test_labels"])
    tiny.add(urls=(server.url,))
    server.serve(tiny)
    tiny.fetch()
    assert server.requests == ["t10k-images-idx3-ubyte.gz"]
    assert f"train-images-idx3-ubyte: fetched from {tiny.cache}" in capsys.readouterr().out


def test_next_start_needs_no_network(tiny, server):
    tiny.add(urls=(server.url,))
    server.serve(tiny)
    tiny.fetch()
    assert len(server.requests) == 4
    tiny.fetch()
    assert len(server.requests) == 4


def test_written_facts_are_those_of_the_installed_paddle(monkeypatch):
    datasets = pytest.importorskip("paddle.vision.datasets")
    common = pytest.importorskip("paddle.dataset.common")
    assert DATASETS["mnist"].urls == (datasets.MNIST.URL_PREFIX,)
    assert DATASETS["mnist"].cache == datasets.MNIST.NAME
    assert DATASETS["fashion_mnist"].urls == (datasets.FashionMNIST.URL_PREFIX,)
    assert DATASETS["fashion_mnist"].cache == datasets.FashionMNIST.NAME
    assert sources.paddle_cache() == common.DATA_HOME
    for dataset in DATASETS.values():
        urls = (datasets.MNIST.TRAIN_IMAGE_URL, datasets.MNIST.TRAIN_LABEL_URL)
        urls += (datasets.MNIST.TEST_IMAGE_URL, datasets.MNIST.TEST_LABEL_URL)
        assert [file.name + ".gz" for file in dataset.files.values()] == [url.rsplit("/", 1)[-1] for url in urls]


def test_unknown_name(tmp_path):
    with pytest.raises(UserError, match="unknown data set 'mnits', known are: fashion_mnist, mnist"):
        fetch("mnits", str(tmp_path))


# ---- damaged files


def swapped(tiny):
    """Another file of the data set, of the same kind but with another number of images."""
    return tiny.raw["test_images"]


def altered(tiny):
    raw = bytearray(tiny.raw["train_images"])
    raw[5000] ^= 1
    return bytes(raw)


def wrong_header(tiny):
    raw = bytearray(tiny.raw["train_images"])
    raw[7] += 1  # one more image than there is
    return bytes(raw)


DAMAGES = {
    "truncated": (lambda tiny: tiny.raw["train_images"][:-1], "truncated: 31375 of 31376 bytes"),
    "empty": (lambda tiny: b"", "truncated: 0 of 31376 bytes"),
    "too long": (lambda tiny: tiny.raw["train_images"] + b"\0", "too long: more than 31376 bytes"),
    "wrong magic": (
        lambda tiny: b"\0\0\x0d" + tiny.raw["train_images"][3:],
        "not an IDX file of bytes (it begins with",
    ),
    "wrong lengths": (wrong_header, "its header does not fit its 31376 bytes"),
    "no idx": (lambda tiny: b"<html>" + bytes(31370), "not an IDX file"),
}


@pytest.mark.parametrize("zipped", [False, True], ids=["raw", "gz"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_file_is_named_set_aside_and_replaced(tiny, capsys, damage, zipped):
    spoil, reason = DAMAGES[damage]
    spoiled = gzip.compress(spoil(tiny)) if zipped else spoil(tiny)
    name = "train-images-idx3-ubyte" + ".gz" * zipped
    tiny.write(tiny.own, zipped)
    (tiny.own / name).write_bytes(spoiled)
    others = tiny.stored()
    del others[name]
    tiny.write(tiny.package)
    tiny.fetch()
    printed = capsys.readouterr().out
    assert f"{name} is {reason}" in printed and f"renamed to {name}.bad\n" in printed
    good = {"train-images-idx3-ubyte": tiny.raw["train_images"]}
    assert tiny.stored() == {**others, **good, name + ".bad": spoiled}


def smaller(tiny):
    return to_idx(np.random.default_rng(3).integers(0, 256, (7, 9, 11), np.uint8))


def larger(tiny):
    return to_idx(np.random.default_rng(4).integers(0, 256, (90, 28, 28), np.uint8))


def of_floats(tiny):
    return b"\0\0\x0d\3" + np.array([2, 3, 5], ">u4").tobytes() + np.zeros(30, ">f4").tobytes()


@pytest.mark.parametrize("zipped", [False, True], ids=["raw", "gz"])
@pytest.mark.parametrize("other", [altered, swapped, smaller, larger, of_floats])
def test_whole_file_of_another_data_set_is_neither_renamed_nor_replaced(tiny, capsys, other, zipped):
    name = "train-images-idx3-ubyte" + ".gz" * zipped
    tiny.write(tiny.own, zipped)
    (tiny.own / name).write_bytes(gzip.compress(other(tiny)) if zipped else other(tiny))
    before = tiny.stored()
    tiny.write(tiny.package)
    with pytest.raises(UserError) as caught:
        tiny.fetch()
    assert f"{name} is another data set, " in str(caught.value)
    assert "use --dataset=idx, or delete it to have tiny fetched" in str(caught.value)
    assert "\n" not in str(caught.value) and tiny.stored() == before
    (tiny.own / name).unlink()
    tiny.fetch()


def test_the_right_file_serves_beside_one_of_another_data_set(tiny, capsys):
    tiny.write(tiny.own, zipped=True)
    (tiny.own / NAMES["test_images"]).write_bytes(smaller(tiny))
    tiny.fetch()
    assert (tiny.own / NAMES["test_images"]).read_bytes() == smaller(tiny)


def test_whole_file_that_is_too_large_to_unzip_is_not_called_broken(tiny, monkeypatch):
    monkeypatch.setattr(idx, "UNZIP_BYTES", 10**6)
    tiny.write(tiny.own, zipped=True)
    path = tiny.own / (NAMES["train_images"] + ".gz")
    path.write_bytes(gzip.compress(to_idx(np.zeros((2000, 28, 28), np.uint8))))
    with pytest.raises(UserError, match="2000 x 28 x 28"):
        tiny.fetch()
    assert path.exists()


@pytest.mark.parametrize("zipped", [False, True], ids=["raw", "gz"])
def test_other_names_and_places_of_the_same_files_are_taken(tiny, zipped):
    tiny.add(folders=("Tiny/raw", "."), archive="tiny.npz", cache="", packages=())
    for folder in (tiny.own, tiny.data_dir / "Tiny" / "raw", tiny.data_dir):
        folder.mkdir(parents=True, exist_ok=True)
        for role, raw in tiny.raw.items():
            path = folder / (NAMES[role].replace("-idx", ".idx") + ".gz" * zipped)
            path.write_bytes(gzip.compress(raw) if zipped else raw)
        tiny.fetch()
        assert folder == tiny.own or tiny.stored() == tiny.complete()
        for path in [*folder.glob("*ubyte*"), *tiny.own.glob("*ubyte*")]:
            path.unlink(missing_ok=True)


@pytest.mark.parametrize("place", ["tiny", "", "Elsewhere"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archive_of_keras_is_taken_by_its_hash(tiny, place, save, capsys):
    tiny.add(folders=(".", "Elsewhere"), archive="tiny.npz", cache="", packages=())
    folder = tiny.data_dir / place
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {sources.KERAS[role]: array for role, array in tiny.arrays.items()}
    save(folder / "tiny.npz", **arrays)
    tiny.fetch()
    for spoiled in ({**arrays, "x_train": arrays["x_train"][::-1]}, {"x_train": arrays["x_train"]}):
        for path in tiny.own.glob("*ubyte"):
            path.unlink()
        save(folder / "tiny.npz", **spoiled)
        with pytest.raises(UserError, match="tiny.npz is another data set"):
            tiny.fetch()
    (folder / "tiny.npz").write_bytes(b"PK\3\4" + bytes(200))
    with pytest.raises(UserError, match="tiny.npz is no .npz archive"):
        tiny.fetch()
    assert (folder / "tiny.npz").exists()


def broken_crc(zipped):
    return zipped[:-8] + bytes(4) + zipped[-4:]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda z: z[: len(z) // 2],
        broken_crc,
        lambda z: b"no gzip",
        lambda z: b"",
        lambda z: z[:50] + b"?" * 50 + z[100:],
    ],
    ids=["half", "crc", "text", "empty", "inside"],
)
def test_broken_gzip_file_is_set_aside(tiny, capsys, spoil):
    tiny.write(tiny.own, zipped=True)
    tiny.write(tiny.package)
    path = tiny.own / "train-images-idx3-ubyte.gz"
    path.write_bytes(spoil(path.read_bytes()))
    tiny.fetch()
    assert "train-images-idx3-ubyte.gz is " in capsys.readouterr().out
    assert not path.exists() and path.with_name(path.name + ".bad").exists()


def test_good_gz_serves_where_the_raw_file_is_bad(tiny, server):
    tiny.write(tiny.own)
    tiny.write(tiny.own, zipped=True, roles=["test_labels"])
    (tiny.own / "t10k-labels-idx1-ubyte").write_bytes(b"bad")
    tiny.add(urls=(server.url,))
    tiny.fetch()
    assert server.requests == []


def test_earlier_bad_files_are_kept(tiny):
    tiny.write(tiny.package)
    for content in (b"first", b"second", b"third"):
        tiny.write(tiny.own)
        (tiny.own / "t10k-labels-idx1-ubyte").write_bytes(content)
        tiny.fetch()
    bad = {
        f"t10k-labels-idx1-ubyte.bad{number}": text for number, text in (("", b"first"), (2, b"second"), (3, b"third"))
    }
    assert tiny.stored() == {**tiny.complete(), **bad}


@pytest.mark.parametrize("where", ["cache", "package"])
def test_damaged_foreign_file_is_named_but_left_alone(tiny, capsys, where):
    folder = getattr(tiny, where)
    tiny.write(tiny.package)
    tiny.write(folder)
    (folder / "train-labels-idx1-ubyte").write_bytes(b"bad")
    if where == "package":
        with pytest.raises(UserError, match="train-labels-idx1-ubyte is truncated"):
            tiny.fetch()
    else:
        tiny.fetch()
    assert f"{folder}: train-labels-idx1-ubyte is truncated: 3 of 48 bytes, skipped" in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES.values())
    assert (folder / "train-labels-idx1-ubyte").read_bytes() == b"bad"


def test_gzip_bomb_costs_no_memory(tiny):
    tiny.write(tiny.own)
    tiny.write(tiny.package)
    path = tiny.own / "train-images-idx3-ubyte"
    path.unlink()
    with gzip.open(str(path) + ".gz", "wb") as bomb:
        for _ in range(200):
            bomb.write(bytes(10**6))
    tracemalloc.start()
    tiny.fetch()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 10**6
    assert os.path.exists(str(path) + ".gz.bad")


def test_folder_with_the_name_of_a_file_is_passed_over(tiny):
    (tiny.own / "train-images-idx3-ubyte").mkdir(parents=True)
    tiny.write(tiny.own, zipped=True)
    tiny.fetch()


@settings(deadline=None)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)))
def test_idx_round_trip(array):
    again = parse_idx(to_idx(array))
    assert again.shape == array.shape and np.array_equal(again, array) and not again.flags.writeable


@settings(deadline=None)
@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda tail: b"\0\0\x08" + tail))
def test_any_bytes_are_an_array_or_damaged(raw):
    try:
        assert to_idx(parse_idx(raw)) == raw
    except Damaged:
        pass


# ---- folders that cannot be written


def test_good_data_are_used_where_they_cannot_be_kept(tiny, tmp_path, capsys):
    tiny.write(tiny.package)
    tiny.data_dir = tmp_path / "file"
    tiny.data_dir.write_text("not a folder")
    tiny.fetch()
    assert capsys.readouterr().out.count("cannot be kept in") == 4


def test_complete_folder_is_only_read(tiny, monkeypatch):
    tiny.write(tiny.own)
    before = os.stat(tiny.own).st_mtime_ns
    monkeypatch.setattr(os, "makedirs", None)
    monkeypatch.setattr(os, "replace", None)
    monkeypatch.setattr(os, "rename", None)
    tiny.fetch()
    assert os.stat(tiny.own).st_mtime_ns == before


def test_bad_file_in_a_read_only_folder(tiny, monkeypatch, capsys):
    tiny.write(tiny.own)
    tiny.write(tiny.package)
    (tiny.own / "t10k-labels-idx1-ubyte").write_bytes(b"bad")
    (tiny.own / "t10k-images-idx3-ubyte").unlink()

    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "rename", refuse)
    monkeypatch.setattr(os, "replace", refuse)
    tiny.fetch()
    printed = capsys.readouterr().out
    assert "truncated: 3 of 28 bytes, and cannot be renamed (Permission denied)" in printed
    assert "but not kept" in printed and (tiny.own / "t10k-labels-idx1-ubyte").read_bytes() == b"bad"
    assert "t10k-images-idx3-ubyte: fetched from" in printed and "it cannot be kept" in printed
    names = sorted(set(NAMES.values()) - {"t10k-images-idx3-ubyte"})
    assert sorted(tiny.stored()) == names, "the temporary file is removed"


def test_unreadable_file_is_not_called_bad(tiny, monkeypatch, capsys):
    tiny.write(tiny.own)
    tiny.write(tiny.package)
    real = idx.read

    def read(path, file):
        if path == str(tiny.own / "t10k-labels-idx1-ubyte"):
            raise PermissionError(13, "Permission denied")
        return real(path, file)

    monkeypatch.setattr(idx, "read", read)
    tiny.fetch()
    printed = capsys.readouterr().out
    assert "t10k-labels-idx1-ubyte cannot be read (Permission denied)" in printed
    assert "which is left as it is" in printed and tiny.stored() == tiny.complete()


# ---- the network


def half(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(gzip.compress(bytes(range(256)))[:100])


def test_half_a_download_leaves_nothing(tiny, server):
    server.serve(tiny)
    server.answers["train-images-idx3-ubyte.gz"] = half
    tiny.add(urls=(server.url,))
    with pytest.raises(UserError, match="train-images-idx3-ubyte.gz is broken gzip file"):
        tiny.fetch()
    assert tiny.stored() == {}


def test_interrupted_write_leaves_nothing(tiny, monkeypatch):
    tiny.write(tiny.package)

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tiny.fetch()
    assert tiny.stored() == {}


def test_leftover_of_a_killed_download_is_not_read_and_goes_with_the_next(tiny):
    tiny.write(tiny.package)
    tiny.own.mkdir(parents=True)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, under_way, foreign = (
        tiny.own / name
        for name in (
            f"t10k-labels-idx1-ubyte.{ended.pid}.part",
            f"t10k-labels-idx1-ubyte.{os.getppid()}.part",  # its process is alive
            f"notes.{ended.pid}.part",
        )
    )
    for path in (left, under_way, foreign):
        path.write_bytes(b"half")
    tiny.fetch()
    assert not left.exists() and under_way.exists() and foreign.exists()


def test_altered_download_is_refused(tiny, server):
    server.serve(tiny)
    server.answers["train-images-idx3-ubyte.gz"] = gzip.compress(altered(tiny))
    tiny.add(urls=(server.url,))
    with pytest.raises(UserError, match="train-images-idx3-ubyte.gz is altered"):
        tiny.fetch()


def test_endless_download_is_ended(tiny, server):
    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        try:
            while not server.closing.is_set():
                handler.wfile.write(bytes(2**16))
        except OSError:
            pass

    server.answers["train-images-idx3-ubyte.gz"] = endless
    tiny.add(urls=(server.url,))
    with pytest.raises(UserError, match="more than 1079952 bytes"):
        tiny.fetch()


def test_second_address_is_tried(tiny, server):
    server.serve(tiny)
    tiny.add(urls=(server.url.replace("/tiny/", "/absent"), server.url))
    tiny.fetch()
    assert server.requests[0] == "absenttrain-images-idx3-ubyte.gz" and len(server.requests) == 5


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(download, "STALL_SECONDS", 0.4)


def seconds_to_fail(tiny, reason):
    begin = time.monotonic()
    with pytest.raises(UserError, match=reason):
        tiny.fetch()
    return time.monotonic() - begin


def test_limit_is_15_seconds():
    assert download.STALL_SECONDS == 15


def test_silent_server_is_given_up(tiny, impatient, silent_address):
    tiny.add(urls=(silent_address,))
    assert seconds_to_fail(tiny, "no progress for 0.4 seconds|timed out") < 2


def test_download_that_stops_is_given_up(tiny, impatient, server):
    def stop(handler):
        half(handler)
        server.closing.wait(10)

    server.answers["train-images-idx3-ubyte.gz"] = stop
    tiny.add(urls=(server.url,))
    assert seconds_to_fail(tiny, "no progress for 0.4 seconds|timed out") < 2


def test_slow_but_steady_download_is_not_given_up(tiny, monkeypatch, server):
    monkeypatch.setattr(download, "STALL_SECONDS", 1)

    def slow(handler):
        zipped = gzip.compress(tiny.raw["train_images"])
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(zipped)))
        handler.end_headers()
        for piece in range(0, len(zipped), len(zipped) // 6):
            handler.wfile.write(zipped[piece : piece + len(zipped) // 6])
            time.sleep(0.25)

    server.serve(tiny)
    server.answers["train-images-idx3-ubyte.gz"] = slow
    tiny.add(urls=(server.url,))
    tiny.fetch()


def test_silent_name_server_is_given_up(tiny, impatient, monkeypatch):
    answer = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: answer.wait(10) and [])
    tiny.add(urls=("http://mirror.invalid/",))
    assert seconds_to_fail(tiny, "no progress for 0.4 seconds") < 2
    answer.set()


def test_refused_connection_is_told(tiny):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    tiny.add(urls=(url,))
    assert seconds_to_fail(tiny, "refused") < 5


# ---- the Python package


def test_altered_package_is_refused(tiny, tmp_path):
    tiny.add(wheel=tiny.wheel(tmp_path / "links", tamper=b" "))
    with pytest.raises(UserError, match="tiny_digits-0.1-py3-none-any.whl is altered"):
        tiny.fetch()


def test_package_with_other_pixels_is_refused(tiny, tmp_path):
    tiny.arrays["train_images"] = tiny.arrays["train_images"] // 2
    tiny.add(wheel=tiny.wheel(tmp_path / "links"))
    with pytest.raises(UserError, match="its train-images-idx3-ubyte is altered"):
        tiny.fetch()


class Evil:
    def __reduce__(self):
        return os.system, ("echo evil > evil.txt",)


def test_package_whose_pickle_would_run_code_is_refused(tiny, tmp_path):
    tiny.add(wheel=tiny.wheel(tmp_path / "links", content=pickle.dumps(Evil())))
    with pytest.raises(UserError, match="its pickle cannot be used: it asks for '(posix|nt).system'"):
        tiny.fetch()


def test_package_index_that_is_silent_is_given_up(tiny, tmp_path, silent_address, monkeypatch):
    tiny.add(wheel=tiny.wheel(tmp_path / "links"))
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", silent_address)
    monkeypatch.setattr(download, "STALL_SECONDS", 2)
    assert 2 < seconds_to_fail(tiny, "no progress of pip for 2 seconds") < 6


def test_reason_of_pip_is_told(tiny, tmp_path):
    tiny.add(wheel=replace_requirement(tiny.wheel(tmp_path / "links"), "absent-digits==1"))
    with pytest.raises(UserError, match="pip ended with status 1: ERROR: .*absent-digits==1"):
        tiny.fetch()


def replace_requirement(wheel, requirement):
    return wheel._replace(requirement=requirement)


def test_missing_interpreter_is_told(tiny, tmp_path, monkeypatch):
    tiny.add(wheel=tiny.wheel(tmp_path / "links"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(UserError, match="no-python"):
        tiny.fetch()


def test_nothing_is_left_of_a_package(tiny, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(wheel.tempfile, "tempdir", str(scratch))
    tiny.add(wheel=tiny.wheel(tmp_path / "links"))
    tiny.fetch()
    assert list(scratch.iterdir()) == []


# ---- nothing serves


def test_final_error_lists_sources_reasons_and_the_way_out(tiny, server, tmp_path):
    tiny.write(tiny.own, roles=["train_images"])
    (tiny.own / "train-labels-idx1-ubyte").write_bytes(b"bad")
    tiny.write(tiny.cache, roles=["test_labels"])
    wheel = replace_requirement(tiny.wheel(tmp_path / "links"), "absent-digits==1")
    tiny.add(urls=(server.url,), wheel=wheel)
    with pytest.raises(UserError) as caught:
        tiny.fetch()
    assert str(caught.value) == (
        "tiny: no source has train-labels-idx1-ubyte, t10k-images-idx3-ubyte. Tried, in this order: "
        f"1. {tiny.own}: train-labels-idx1-ubyte is truncated: 3 of 48 bytes, renamed to "
        "train-labels-idx1-ubyte.bad; no t10k-images-idx3-ubyte or t10k-images-idx3-ubyte.gz; "
        "no t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz; "
        f"2. {tiny.cache}: no train-labels-idx1-ubyte or train-labels-idx1-ubyte.gz; "
        "no t10k-images-idx3-ubyte or t10k-images-idx3-ubyte.gz; "
        f"3. {tiny.package}: no such folder; "
        f"4. {server.url}: HTTP Error 404: Not Found; "
        "5. Python package absent-digits==1: pip ended with status 1: ERROR: Could not find a version that satisfies "
        "the requirement absent-digits==1 (from versions: none); "
        "ERROR: No matching distribution found for absent-digits==1. "
        "To put the data there by hand: copy train-labels-idx1-ubyte, t10k-images-idx3-ubyte (raw or .gz) into "
        f"{tiny.own}"
    )


def test_a_source_that_fails_raises_source_failed(tmp_path):
    with pytest.raises(SourceFailed, match="no such folder"):
        list(sources._from_folder(str(tmp_path / "absent"), "", True, {}))
