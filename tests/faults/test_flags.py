"""Any flags with any values: a valid run, or one line with status 2; never a traceback, never a hang."""

from __future__ import annotations

import itertools
import shutil
import time
from unittest import mock

import pytest
from helpers import registered
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from test_config import ACTIONS, CHOICES, NUMBERS, SWITCHES

import main
from config import PATHS, get_config, run_name
from ram.data.sources import DATASETS
from utils import UserError

NASTY = (
    "0 -1 1 2 1e9 -0.0 nan inf -inf 1e999 0x10 1_000 1e-320 ٣ None True false no 0.5 .5 5. + - -- --epochs=1 = % %s "
    "{} {0} ~ * ; $(ls) `ls` ../.. / C:\\ folder mnist fashion_mnist help"
).split() + ["", " ", "\n", " 7\n", "1\n2", "9" * 5000, "a" * 5000, "ü", "\0", "\ud800", "\x1b[31m"]
text = st.sampled_from(NASTY) | st.text(max_size=12) | st.integers().map(str) | st.floats().map(repr)


def flag(draw_value=text):
    """A flag in any of the spellings, with a value or without."""
    name = st.sampled_from(
        ["--" + name for name in ACTIONS] + ["--help", "--no_such_flag", "--epoch", "-h", "--", "word"]
    )
    return st.one_of(
        st.tuples(name, draw_value).map(lambda pair: ["=".join(pair)]),
        st.tuples(name, draw_value).map(list),
        name.map(lambda alone: [alone]),
    )


def ends_well(function, *arguments):
    """What the function returns, or None where it refuses in one line or only wanted to give help."""
    began = time.process_time()
    try:
        return function(*arguments)
    except UserError as error:
        message = str(error)
        assert message and "\n" not in message, message
    except SystemExit as ended:
        assert ended.code in (0, None)
    finally:
        assert time.process_time() - began < 30


def choices(name):
    return st.sampled_from([str(choice) for choice in CHOICES[name]])


def test_any_arguments_are_settings_or_one_line(times, capsys):
    valid = [st.tuples(st.just(name), choices(name)).map(lambda pair: [f"--{pair[0]}={pair[1]}"])
             for name in CHOICES]  # fmt: skip
    lists = st.lists(flag() | st.one_of(valid), max_size=6).map(lambda parts: list(itertools.chain(*parts)))

    @settings(max_examples=times, deadline=None, derandomize=True, database=None, suppress_health_check=HealthCheck)
    @given(lists)
    def check(arguments):
        config = ends_well(get_config, arguments)
        if config is not None:
            assert run_name(config) == run_name(get_config(arguments)) and len(run_name(config)) < 300

    check()
    capsys.readouterr()


test_any_arguments_are_settings_or_one_line = pytest.mark.row("flags")(test_any_arguments_are_settings_or_one_line)

# Values that are allowed and cheap; all others of these flags are left to the test above.
CHEAP = {
    **{name: st.integers(0, 9).map(str) for name in NUMBERS},
    **{name: st.floats(0, 2).map(repr) for name in NUMBERS if "." in str(ACTIONS[name].default)},
    **{name: st.sampled_from(["True", "False"]) for name in SWITCHES},
    **{name: choices(name) for name in CHOICES},
    "init_lr": st.sampled_from(["1e-30", "0.001", "1", "1e30"]),
    "canvas_size": st.sampled_from(["27", "28", "29", "40"]),
    "image_size": st.sampled_from(["1", "8", "28"]),
    "patch_size": st.sampled_from(["1", "2", "7", "28", "40"]),
    "num_patches": st.sampled_from(["1", "2", "3"]),
    "num_runs": st.sampled_from(["1", "2"]),
    "M": st.sampled_from(["1", "2"]),
    "resume": st.sampled_from(["True", "False", "auto"]),
    "preset": st.none(),
    "epochs": st.sampled_from(["1", "2"]),
}
VARIED = [name for name in ACTIONS if name not in {"limit", "use_gpu", "preset", *PATHS} - {"export", "export_onnx"}]


@pytest.fixture
def places(tmp_path, target):
    """Folders and files that paths may name, and data sets that need no network."""
    data = tmp_path / "data"
    shutil.copytree(target.folder, data)
    shutil.copytree(data / "mnist", data / "fashion_mnist")
    for part, label, level in itertools.product(("train", "test"), ("dark", "light"), (0, 9)):
        folder = data / part / label
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (28, 28), level + 200 * (label == "light")).save(folder / f"{level}.png")
    (tmp_path / "file").write_text("no folder")
    with registered(data), mock.patch.dict(DATASETS, fashion_mnist=DATASETS["mnist"]):
        yield tmp_path


@pytest.mark.row("commands")
def test_any_cheap_run_ends_well(times, places, capsys, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    numbers = itertools.count()
    one = st.sampled_from(VARIED).flatmap(lambda name: (CHEAP.get(name, text) | text).map(lambda v: f"--{name}={v}"))
    paths = st.sampled_from(["{root}/file", "{root}/absent", "{root}/data/train/dark/0.png", "{root}/data/train", ""])
    path = st.tuples(st.sampled_from(["weights", "predict", "ckpt_dir"]), paths).map("=".join).map("--{}".format)
    cheap = st.lists(st.sampled_from(VARIED).flatmap(lambda name: CHEAP.get(name, st.nothing()).map(
        lambda v: f"--{name}={v}")), min_size=1, max_size=8)  # fmt: skip

    @settings(max_examples=times, deadline=None, derandomize=True, database=None, suppress_health_check=HealthCheck)
    @given(cheap | st.lists(one, max_size=3), st.lists(path, max_size=1), st.booleans())
    def check(flags, more, again):
        root = places / str(next(numbers))
        base = [f"--{name}_dir={root / name}" for name in ("ckpt", "logs", "plots")]
        base += [f"--data_dir={places / 'data'}", "--use_gpu=False", "--limit=5", "--epochs=1", "--hidden_size=8"]
        base += ["--canvas_size=28", "--num_runs=1", "--M=2", "--num_glimpses=2", "--preset=mnist"][: 4 + again]
        arguments = [*base, *flags, *(flag.format(root=places) for flag in more)]
        config = ends_well(get_config, arguments)
        if config is not None and max(config.num_workers, config.num_clutter, config.valid_M) < 65:
            for _ in range(1 + again):
                ends_well(main.main, config)
            if config.is_train and not config.predict:
                config.resume = not config.weights
                ends_well(main.main, config)

    check()
    capsys.readouterr()
