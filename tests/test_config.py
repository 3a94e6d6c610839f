"""Tests of config: every flag and what it may be, what names a run, and what a checkpoint decides."""

import argparse
import importlib
import json
import os
import re
import sys
import types

import hypothesis
import pytest
from helpers import ROOT
from hypothesis import given
from hypothesis import strategies as st

from config import (
    ARCHITECTURE,
    BEFORE,
    DATA,
    DECIDING,
    FLAGS,
    FREE,
    GROUPS,
    IN_FILES,
    KEPT,
    LOOKING,
    OPTIONAL,
    PATHS,
    build_parser,
    data_set,
    get_config,
    is_idle,
    run_name,
)
from ram.presets import PRESETS
from ram.runs.settings import adopt, completed, deciding, differences, settings
from ram.system.parsing import bool_or_auto, str2bool
from utils import UserError

ACTIONS = {action.dest: action for action in build_parser()._actions if action.dest != "help"}
SWITCHES = [flag.name for flag in FLAGS if flag.allowed in (str2bool, bool_or_auto)]
CHOICES = {flag.name: flag.allowed for flag in FLAGS if isinstance(flag.allowed, tuple)}
NUMBERS = [flag.name for flag in FLAGS if flag.name not in (*SWITCHES, *PATHS, *CHOICES)]
# Flags that mean nothing alone, and what makes them meaningful.
COMPANIONS = {
    "jobs": ["--num_runs=2"],
    **dict.fromkeys(("json", "invert", "fit", "save_pictures"), ["--predict=x"]),
    **{flag.name: [f"--{flag.only[0]}={flag.only[1][-1]}"] for flag in FLAGS if flag.only},
}


def error_of(*argv):
    """The one line that these arguments are refused with."""
    with pytest.raises(UserError) as caught:
        get_config(list(argv))
    message = str(caught.value)
    assert message and "\n" not in message
    return message


# ---- unknown flags


@pytest.mark.parametrize(
    "given, nearest",
    [
        ("--epoch=3", "--epochs"),
        ("--batch-size=3", "--batch_size"),
        ("--hiden_size=3", "--hidden_size"),
        ("--is_trian=False", "--is_train"),
        ("--num_glimpse", "--num_glimpses"),
        ("--random_sed=1", "--random_seed"),
        ("--m=1", "--M"),
    ],
)
def test_misspelt_flag_suggests_the_nearest(given, nearest):
    message = error_of(given, *(["3"] if "=" not in given else []))
    assert given in message and re.search(f"did you mean {nearest}\\?$", message)


def test_flag_like_no_other_points_to_help():
    assert error_of("--zzzzzz=1") == "unknown argument --zzzzzz=1; --help lists all flags"


def test_word_that_belongs_to_no_flag_is_an_error():
    assert "unknown argument train" in error_of("train")
    assert "unknown argument 3" in error_of("--epochs=2", "3")
    assert "unknown argument ' '" in error_of("--epochs=2", " ")  # as after a backslash with a blank behind it


@pytest.mark.parametrize("flag", ["--epoch", "--rand", "--resum", "--data", "--use"])
def test_flags_are_not_completed(flag):
    assert "unknown argument" in error_of(f"{flag}=1")


def test_flag_without_its_value_is_an_error():
    assert "--epochs" in error_of("--epochs")
    assert "--ckpt_dir" in error_of("--ckpt_dir")


# ---- booleans


@pytest.mark.parametrize("name", SWITCHES)
def test_booleans(name):
    others = COMPANIONS.get(name, [])
    for value, words in ((True, ["true", "1", "yes"]), (False, ["false", "0", "no"])):
        for word in words:
            for spelling in (word, word.upper(), word.capitalize()):
                assert getattr(get_config([f"--{name}={spelling}", *others]), name) is value
                assert getattr(get_config([f"--{name}", spelling, *others]), name) is value
    assert getattr(get_config([f"--{name}", *others]), name) is True
    assert getattr(get_config([f"--{name}", "--epochs=3", *others]), name) is True
    for word in ("maybe", "", "2", "-1", "None", "truee", "t", "on", " true", "0.0"):
        assert f"--{name}" in error_of(f"--{name}={word}")


def test_a_home_is_where_a_path_begins():
    home = os.path.expanduser("~")
    config = get_config(["--data_dir=~/data", "--predict", "~/a", "b~", "--predict=c"])
    assert config.data_dir == f"{home}/data" and config.predict == [f"{home}/a", "b~", "c"]


def test_only_resume_may_be_auto():
    for word in ("auto", "AUTO"):
        assert get_config([f"--resume={word}"]).resume == "auto"
    for name in SWITCHES:
        assert name == "resume" or "auto" in error_of(f"--{name}=auto")


# ---- numbers and choices

# Flag: what is refused, and the ends of what is accepted.
RANGES = {
    **dict.fromkeys(
        "glimpse_scale batch_size train_patience print_freq limit lr_decay_epochs".split(),
        (["0", "-1", "1000001", "1.5", "1e3"], ["1", "1000000"]),
    ),
    **dict.fromkeys("lr_patience plot_freq save_freq".split(), (["-1", "1000001", "0.5"], ["0", "1000000"])),
    **dict.fromkeys("num_glimpses num_runs jobs M valid_M".split(), (["0", "-5", "1001", "2.0"], ["1", "1000"])),
    "epochs": (["0", "-1", "10001", "1.5", "1e3"], ["1", "10000"]),  # a checkpoint holds the figures of each
    "patch_size": (["0", "-1", "4097", "1000001", "1.5"], ["1", "4096"]),
    "image_size": (["0", "-1", "4097", "1.5"], ["1", "4096"]),
    "test_size": (["-0.1", "1", "2"], ["0", "0.2", "0.99"]),
    "canvas_size": (["0", "-1", "4097", "1.5"], ["1", "4096"]),
    **dict.fromkeys("loc_hidden glimpse_hidden hidden_size".split(), (["0", "-1", "16385", "1.5"], ["1", "16384"])),
    "num_patches": (["0", "9", "-1", "1.0"], ["1", "8"]),
    "num_clutter": (["-1", "1001", "0.5"], ["0", "1000"]),
    "num_workers": (["-1", "65", "0.5"], ["0", "64"]),
    "random_seed": (["-1", "2147483648", "1.0"], ["0", "2147483647"]),
    "augment_shift": (["-1", "101", "0.5"], ["0", "100"]),
    "augment_rotate": (["-0.1", "180.1"], ["0", "180"]),
    "augment_scale": (["-0.1", "0.91"], ["0", "0.9"]),
    "augment_shear": (["-0.1", "60.1"], ["0", "60"]),
    "augment_share": (["-0.1", "1.1"], ["0", "1"]),
    "unit_pixels": (["0", "-13"], ["1e-9", "1000"]),
    "crop_offset": (["-1", "101", "0.5"], ["0", "100"]),
    "first_reach": (["-0.1", "1.01"], ["0", "1"]),
    "std": (["0", "-0.1", "-0.0", "1e-10", "1001"], ["1e-9", "1000"]),
    "std_end": (["0", "-0.1", "1e-10", "1001"], ["1e-9", "1000"]),
    "pixel_std": (["0", "-0.1"], ["1e-9", "1000"]),
    "pixel_mean": ([], ["-1000", "0", "1000"]),
    "reinforce_weight": (["-1e-9"], ["0", "1e9"]),
    "reinforce_core": (["-1e-9", "1.01"], ["0", "1"]),
    "valid_size": (["0", "1", "-0.1", "1.1"], ["1e-9", "0.999"]),
    "lr_factor": (["0", "1", "-0.1", "2"], ["1e-9", "0.999"]),
    "label_smoothing": (["-0.1", "1"], ["0", "0.999"]),
    "momentum": (["-0.1", "1"], ["0.999"]),
    "ema": (["-0.1", "1"], ["0", "0.9999"]),
    "init_lr": (["0", "-1e-3"], ["1e-12", "1e30"]),
    "min_lr": (["-1e-9"], ["0"]),
    "clip_norm": (["-1e-9"], ["0", "1e9"]),
    "clip_value": (["-1e-9"], ["0", "1e9"]),
}


def test_every_numeric_flag_has_its_range_tested():
    assert sorted(RANGES) == sorted(NUMBERS)


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_outside_their_range_are_refused(name):
    refused, accepted = RANGES[name]
    for text in [*refused, "nan", "inf", "-inf", "NaN", "1e400", "-1e400", "1" + 400 * "0", "text", "", "0x10", "1,5"]:
        assert name in error_of(f"--{name}={text}")
    kind = int if type(ACTIONS[name].default) is int or name in ("limit", "lr_decay_epochs", "image_size") else float
    for text in accepted:
        value = getattr(get_config([f"--{name}={text}", *COMPANIONS.get(name, [])]), name)
        assert value == float(text) and type(value) is kind


@pytest.mark.parametrize("name", CHOICES)
def test_choices(name):
    for choice in [choice for choice in CHOICES[name] if choice != "help"]:
        others = COMPANIONS.get(name, [])
        assert getattr(get_config([f"--{name}={choice}", *others]), name) == choice
    for word in ("", "none", CHOICES[name][0].upper()):
        message = error_of(f"--{name}={word}")
        assert f"--{name}" in message and all(choice in message for choice in CHOICES[name])


def test_who_names_one_standard_deviation_gets_that_one():
    assert (get_config([]).std, get_config([]).std_end) == (0.15, 0.05)
    assert (get_config(["--std=0.2"]).std, get_config(["--std=0.2"]).std_end) == (0.2, None)
    assert get_config(["--std=0.2", "--std_end=0.1"]).std_end == 0.1


def test_preset_sets_defaults_that_flags_override():
    config = get_config(["--preset=cluttered100", "--num_glimpses=4"])
    assert (config.dataset, config.canvas_size, config.num_clutter) == ("cluttered_mnist", 100, 8)
    assert (config.patch_size, config.num_patches, config.glimpse_scale, config.num_glimpses) == (12, 4, 2, 4)
    assert config.explicit == {"preset", "num_glimpses"}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_sets_flags_that_exist_to_values_that_are_allowed(name):
    assert set(PRESETS[name].flags) <= set(ACTIONS)
    get_config([f"--{flag}={value}" for flag, value in PRESETS[name].flags.items() if value is not None])


def test_what_reinforce_trains_and_for_what_reward_in_the_presets():
    of_default = {"mnist", "mnist7", "mnist-quick", "fashion", "mnist-conv", "fashion-conv"}
    for name in PRESETS:
        config = get_config([f"--preset={name}"])
        share = 0.5 if name.startswith("cluttered") or name == "translated-conv" else 0.1 if name in of_default else 0
        assert config.reinforce_core == share, name
        assert config.reward == ("probability" if share else "right"), name


def test_what_decides_a_training():
    """Two trainings are the same where all flags agree that play a part in them."""
    same = [
        (["--preset=mnist"], []),
        (["--model=fc64"], ["--model=fc64", "--preset=mnist7"]),
        (["--ckpt_dir=a", "--num_workers=2", "--M=1", "--num_runs=3"], []),
    ]
    for one, other in same:
        assert deciding(settings(get_config(one))) == deciding(settings(get_config(other)))
    assert deciding(settings(get_config(["--core=lstm"]))) == deciding(
        {**settings(get_config(["--core=lstm"])), "core_init": "glorot", "momentum": 0.9, "lr_patience": 3}
    )
    others = (
        "--epochs=9 --core_init=glorot --reward=right --augment_flip --random_seed=2 --model=conv --preset=paper-mnist "
        "--label_smoothing=0.1"
    )
    for flag in others.split():
        assert deciding(settings(get_config([flag]))) != deciding(settings(get_config([])))
    older = {name: value for name, value in settings(get_config([])).items() if name not in BEFORE}
    now = settings(get_config([]))
    flags = [f"--{flag.name}={BEFORE[flag.name]}" for flag in FLAGS if flag.name in BEFORE and not is_idle(flag, now)]
    assert deciding(older) == deciding(settings(get_config(flags)))


@pytest.mark.parametrize(
    "argv",
    [
        ["--momentum=0.5", "--lr_patience=20"],  # the defaults, as the older version's command gives them
        ["--momentum=0.9", "--is_train=False"],
        ["--momentum=0.9", "--resume"],  # the run that goes on has an optimizer already
        ["--lr_patience=5", "--preset=paddle-mnist"],
        ["--std=0.3", "--policy=random"],  # all else as with a learned one
        ["--momentum=0.9", "--preset=help"],
    ],
)
def test_a_flag_without_effect_passes_where_it_is_no_mistake(argv):
    get_config(argv)


def test_choices_that_have_to_be_there():
    assert {"mnist", "fashion_mnist", "translated_mnist", "cluttered_mnist", "folder", "idx"} <= set(CHOICES["dataset"])
    assert {"adam", "sgd", "momentum", "rmsprop", "adadelta"} <= set(CHOICES["optimizer"])
    assert {"constant", "plateau", "linear", "cosine"} <= set(CHOICES["lr_schedule"])
    assert {"sampled", "mean"} <= set(CHOICES["locations"])


@pytest.mark.parametrize(
    "argv, named",
    [
        (["--min_lr=0.1", "--init_lr=0.01"], ["min_lr", "init_lr"]),
        (["--lr_patience=5"], ["--lr_schedule=plateau", "--lr_schedule=cosine"]),
        (["--lr_factor=0.5", "--preset=paper-mnist"], ["--lr_schedule=plateau", "--lr_schedule=linear"]),
        (["--lr_decay_epochs=9", "--lr_schedule=plateau"], ["--lr_schedule=linear or cosine", "plateau"]),
        (["--momentum=0.9"], ["--optimizer=momentum", "--optimizer=adam"]),
        (["--min_lr=1e-4", "--lr_schedule=constant"], ["--min_lr=0.0001", "--lr_schedule=constant"]),
        (["--nesterov=False", "--resume=auto"], ["--optimizer=momentum", "--optimizer=adam"]),
        (["--core_init=glorot", "--preset=cluttered60"], ["--core=relu", "--core=lstm"]),
        (["--patch_size=64", "--glimpse_scale=16", "--num_patches=3"], ["16384"]),
        (["--optimizer=momentum", "--momentum=0"], ["momentum", "optimizer"]),
        (["--glimpse_network=conv", "--patch_size=4"], ["patch_size=5", "4"]),
        (["--clip_norm=1", "--clip_value=1"], ["clip_norm", "clip_value"]),
        (["--ckpt_dir="], ["ckpt_dir"]),
        (["--data_dir=a\0b"], ["data_dir"]),
        (["--weights="], ["weights"]),
        (["--predict", "a", ""], ["predict"]),
        (["--predict=a", "--resume"], ["predict", "resume"]),
        (["--is_train=False", "--resume"], ["resume", "is_train"]),
        (["--predict=a", "--dataset=folder", "--follow_links"], ["predict", "follow_links"]),
        (["--json"], ["json", "predict"]),
        (["--invert=False"], ["invert", "predict"]),
        (["--image_size=32"], ["image_size", "folder", "mnist"]),
        (["--image_size=32", "--weights=FILE"], ["image_size", "folder", "mnist"]),
        (["--source=fashion_mnist"], ["source", "mnist", "translated_mnist or cluttered_mnist"]),
        (["--canvas_size=100", "--dataset=folder"], ["canvas_size", "folder", "canvas"]),
        (["--num_clutter=3", "--preset=translated"], ["num_clutter", "cluttered_mnist", "translated_mnist"]),
    ],
)
def test_values_that_contradict_each_other_are_refused(argv, named):
    message = error_of(*argv)
    assert all(name in message for name in named)


# ---- where the flags come from


def test_list_is_used_and_the_arguments_of_the_process_are_not(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["notebook", "-f", "kernel.json", "--epochs=7"])
    assert get_config([]).epochs == ACTIONS["epochs"].default
    assert get_config(["--epochs=3"]).epochs == 3
    monkeypatch.setattr(sys, "argv", ["main.py", "--epochs=7"])
    assert get_config().epochs == 7


def test_explicit_are_the_flags_that_were_given_even_where_they_equal_the_default():
    assert get_config([]).explicit == frozenset()
    config = get_config(["--epochs=100", "--resume", "--std", "0.2", "--M=10"])
    assert config.explicit == {"epochs", "resume", "std", "M"}


def test_last_of_two_values_counts():
    assert get_config(["--epochs=3", "--epochs=4"]).epochs == 4


SEED = (
    "--patch_size=8 --glimpse_scale=1 --num_patches=1 --loc_hidden=128 --glimpse_hidden=128 --num_glimpses=6 "
    "--hidden_size=256 --std=0.05 --M=1 --valid_size=0.1 --batch_size=128 --num_workers=4 --shuffle=True "
    "--show_sample=False --is_train=True --momentum=0.5 --epochs=200 --init_lr=3e-4 --lr_patience=20 "
    "--train_patience=50 --use_gpu=True --best=True --random_seed=1 --data_dir=./data --ckpt_dir=./ckpt "
    "--logs_dir=./logs/ --use_tensorboard=False --resume=False --print_freq=10 --plot_freq=1"
).split()


def test_flags_of_the_paddle_seed_are_accepted():
    config = get_config(SEED)
    assert len(config.explicit) == len(SEED) == 30
    for text in SEED:
        name, value = text[2:].split("=")
        assert str(getattr(config, name)) == value or getattr(config, name) == float(value)


def test_help_names_every_flag_and_its_default(capsys):
    with pytest.raises(SystemExit) as ended:
        get_config(["--help"])
    assert ended.value.code in (0, None)
    text = capsys.readouterr().out
    for name, action in ACTIONS.items():
        assert f"--{name}" in text and action.help
    assert "%" not in text.replace("1-N to 1+N", "")
    shown = re.findall(r"\(default: ([^)]*)\)", " ".join(text.split()))
    assert shown == [str(flag.default) for flag in FLAGS if flag.default is not None]


# ---- the table of flags


def test_every_flag_is_in_the_table_and_in_the_parser_once_and_says_the_same_there():
    assert list(ACTIONS) == [flag.name for flag in FLAGS] and len(set(ACTIONS)) == len(FLAGS)
    for flag in FLAGS:
        action = ACTIONS[flag.name]
        assert action.default == flag.default and action.help.startswith(flag.help)
        assert flag.allowed == (tuple(action.choices) if action.choices else action.type)
    groups = build_parser()._action_groups[2:]  # the first two are argparse's own
    assert {group.title: [action.dest for action in group._group_actions] for group in groups} == {
        title: [flag.name for flag in flags] for title, flags in GROUPS.items()
    }


def test_every_flag_decides_something_that_there_is():
    for flag in FLAGS:
        assert flag.decides in ("model", "data", "training", "running", "use"), flag.name
        assert flag.on_resume in ("same", "keep", "change"), flag.name
        assert flag.help, flag.name
        if flag.only:
            name, values = flag.only
            assert set(values) < set(CHOICES[name]), flag.name
        assert flag.before is None or flag.decides in ("model", "data", "training"), flag.name
        assert flag.default is not None or flag.optional, flag.name


def test_what_the_table_says_by_example():
    assert {"patch_size", "core", "std", "pixel_mean", "model"} <= set(ARCHITECTURE) and "core_init" not in ARCHITECTURE
    assert set(DATA) == {"dataset", "source", "canvas_size", "num_clutter", "image_size", "test_size", "skip_broken"}
    assert set(DECIDING) >= {*ARCHITECTURE, *DATA, "epochs", "train_patience", "init_lr", "random_seed", "limit"}
    assert not {"M", "preset", "data_dir", "num_workers", "predict", "num_runs"} & set(DECIDING)
    assert {"epochs", "data_dir", "resume", "use_gpu"} <= FREE and not {"init_lr", "preset", "valid_M"} & FREE
    assert {"epochs", "M", "num_workers"} <= set(KEPT) <= FREE and "data_dir" not in KEPT
    assert set(ACTIONS) - set(IN_FILES) == {
        "predict",
        "fit",
        "jobs",
        "save_pictures",
        "invert",
        "json",
        "export",
        "export_onnx",
        "resume",
    }
    assert {"std", "locations"} <= set(LOOKING) and not {"M", "pixel_mean", "dataset"} & set(LOOKING)
    assert sorted(PATHS) == "ckpt_dir data_dir export export_onnx logs_dir plots_dir predict weights".split()


@pytest.mark.parametrize("name", BEFORE)
def test_flag_that_a_file_lacks_has_the_value_from_before_it_existed(name):
    saved = settings(get_config([]))
    older = {key: value for key, value in saved.items() if key != name}
    assert completed(older)[name] == BEFORE[name] and completed(saved) == saved
    config = get_config([])
    adopt(config, completed(older), "FILE", [name])
    assert getattr(config, name) == BEFORE[name]


def test_a_flag_of_the_model_is_one_entry_of_the_table(monkeypatch):
    """A flag that is put into the table is parsed, saved, compared, adopted, named and refused to a baseline."""
    flag = FLAGS[0]._replace(name="gates", allowed=("one", "two"), default="one", help="gates", decides="model")
    flag = flag._replace(looking=True, mark="gates", before="two", optional=False)
    code = (ROOT / "config.py").read_text(encoding="utf-8")
    entry = f"    {chr(34)}Core network{chr(34)}: [\n        Flag(*{tuple(flag)!r}),\n"
    monkeypatch.setitem(sys.modules, "config", types.ModuleType("config"))
    exec(code.replace('    "Core network": [\n', entry, 1), sys.modules["config"].__dict__)
    monkeypatch.delitem(sys.modules, "ram.runs.settings")
    config, rules = sys.modules["config"], importlib.import_module("ram.runs.settings")
    monkeypatch.setattr(sys.modules["ram.runs"], "settings", sys.modules["ram.runs.settings"])
    two = config.get_config(["--gates=two"])
    assert two.gates == "two" and config.run_name(two) == "ram_6_8x8_1_gatestwo"
    assert rules.settings(two)["gates"] == "two" and rules.completed({})["gates"] == "two"
    assert rules.differences(rules.settings(two), rules.settings(config.get_config([]))) == "--gates=two (not one)"
    rules.adopt(two, {"gates": "two"}, "FILE", config.ARCHITECTURE)
    with pytest.raises(UserError, match="--gates"):
        config.get_config(["--gates=two", "--model=conv"])


# ---- names of runs


def test_name_is_the_seeds_by_default():
    assert run_name(get_config([])) == "ram_6_8x8_1"
    assert run_name(get_config(["--num_glimpses=7", "--patch_size=12", "--glimpse_scale=2"])) == "ram_7_12x12_2"
    assert run_name(get_config(["--epochs=3", "--batch_size=7", "--ckpt_dir=x", "--M=3"])) == "ram_6_8x8_1"


VARIANTS = {
    "num_glimpses": [6, 1, 11],
    "patch_size": [8, 5, 11],
    "glimpse_scale": [1, 2, 11],
    "num_patches": [1, 2, 3],
    "hidden_size": [256, 1, 11],
    "glimpse_network": ["fc", "conv"],
    "glimpse_hidden": [128, 1, 11],
    "loc_hidden": [128, 1, 11],
    "unit_pixels": [None, 13, 26.5],
    "crop_offset": [0, 1],
    "first_reach": [1.0, 0.3, 0.0],
    "policy": ["learned", "random", "center"],
    "location_mean": ["tanh", "linear"],
    "pixel_mean": [0.0, 0.1, -0.1],
    "pixel_std": [1.0, 0.1, 0.11],
    "dataset": ["mnist", "fashion_mnist", "translated_mnist", "cluttered_mnist", "folder", "idx"],
    "data_dir": ["./data", "a", "32_a"],
    "image_size": [None, 32, 3],
    "test_size": [0.2, 0.3, 0.0],
    "source": ["mnist", "fashion_mnist"],
    "canvas_size": [60, 100, 28],
    "num_clutter": [4, 8, 0],
}
experiments = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in VARIANTS.items()})


def what_it_is(flags):
    """The flags that make a model or a data set: a canvas has a source and a size, clutter has a number of pieces."""
    unused = []
    if flags["dataset"] in ("mnist", "fashion_mnist", "folder", "idx"):
        unused += ["source", "canvas_size"]
    if flags["dataset"] != "folder":
        unused += ["image_size", "test_size"]
    if flags["dataset"] not in ("folder", "idx"):
        unused += ["data_dir"]
    if flags["dataset"] != "cluttered_mnist":
        unused += ["num_clutter"]
    return {name: value for name, value in flags.items() if name not in unused}


def config_of(flags):
    refused = [flag.name for flag in FLAGS if flag.only and flag.only[0] == "dataset" and is_idle(flag, flags)]
    return get_config([f"--{name}={v}" for name, v in flags.items() if v is not None and name not in refused])


@hypothesis.settings(max_examples=300, deadline=None)
@given(experiments, st.dictionaries(st.sampled_from(list(VARIANTS)), st.integers(0, 3), max_size=2))
def test_no_two_experiments_share_a_name(flags, changes):
    other = {**flags, **{name: VARIANTS[name][i % len(VARIANTS[name])] for name, i in changes.items()}}
    names = [run_name(config_of(flags)), run_name(config_of(other))]
    assert (names[0] == names[1]) == (what_it_is(flags) == what_it_is(other))
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", names[0])


@pytest.mark.parametrize("name", VARIANTS)
def test_each_flag_that_makes_another_model_or_data_set_makes_another_name(name):
    dataset = "folder" if name in ("data_dir", "image_size", "test_size") else "cluttered_mnist"
    names = {run_name(config_of({"dataset": dataset, name: value})) for value in VARIANTS[name]}
    assert len(names) == len(VARIANTS[name])


def test_data_sets_by_name():
    names = {
        "mnist": [],
        "fashion_mnist": ["--dataset=fashion_mnist"],
        "translated_mnist_60": ["--dataset=translated_mnist"],
        "cluttered_mnist_100x8": ["--dataset=cluttered_mnist", "--canvas_size=100", "--num_clutter=8"],
        "folder_data": ["--dataset=folder"],
        "folder_my_pets": ["--dataset=folder", "--data_dir=/some/where/my_pets/"],
        "folder64_pets": ["--dataset=folder", "--data_dir=x/../pets", "--image_size=64"],
        "folder_my-pets-3d9db475": ["--dataset=folder", "--data_dir=my pets"],
        "cluttered_mnist_60x4_of_fashion_mnist": ["--dataset=cluttered_mnist", "--source=fashion_mnist"],
    }
    for name, argv in names.items():
        assert data_set(get_config(argv)) == name


# ---- settings and checkpoints


def test_settings_are_the_flags_as_plain_data():
    config = get_config(["--epochs=3", "--weights=a.pdparams"])
    kept = settings(config)
    assert "explicit" not in kept and set(kept) <= set(ACTIONS) and list(kept) == sorted(kept)
    assert kept["epochs"] == 3 and kept["weights"] == "a.pdparams" and kept["limit"] is None
    assert json.loads(json.dumps(kept)) == kept


def test_adopt_takes_what_was_not_given():
    config = get_config(["--std=0.2"])
    adopt(config, {"std": 0.2, "epochs": 3, "batch_size": 5}, "FILE", ["std", "epochs", "hidden_size", "lost"])
    assert (config.std, config.epochs, config.batch_size, config.hidden_size) == (0.2, 3, 128, 256)
    assert not hasattr(config, "lost")


def test_differences_leave_out_what_is_for_one_of_the_two_alone():
    preset = get_config(["--preset=cluttered60"])
    own = get_config(["--preset=cluttered60", "--dataset=folder", "--limit=500"])
    found = differences(settings(own), settings(preset))
    assert found == "--dataset=folder (not cluttered_mnist), --limit=500 (not None)"


def test_adopt_names_all_that_differ_and_changes_nothing():
    config = get_config(["--std=0.2", "--init_lr=0.5"])
    before = argparse.Namespace(**vars(config))
    with pytest.raises(UserError) as caught:
        adopt(config, {"std": 0.1, "init_lr": 0.001, "epochs": 3}, "FILE", ["std", "init_lr", "epochs"])
    message = str(caught.value)
    for part in ("FILE", "--std=0.2", "0.1", "--init_lr=0.5", "0.001"):
        assert part in message
    assert "\n" not in message and config == before


def test_several_runs_have_no_single_model_to_export_or_predict_with():
    for wish in ("--export=DIR", "--predict=X"):
        with pytest.raises(UserError, match="is for one model, and --num_runs=2 means several"):
            get_config([wish, "--num_runs=2"])


def test_adopt_tries_a_file_on_other_data_than_its_own():
    config = get_config(["--weights=FILE", "--dataset=mnist", "--is_train=False"])
    adopt(config, {"dataset": "folder", "image_size": 28}, "FILE", ["dataset", "image_size"], strict=False)
    assert config.dataset == "mnist"


def test_adopt_lets_given_flags_win_where_it_is_not_strict():
    config = get_config(["--epochs=7"])
    adopt(config, {"epochs": 3, "M": 4}, "FILE", ["epochs", "M"], strict=False)
    assert (config.epochs, config.M) == (7, 4)


def test_flag_that_is_given_its_default_gives_the_default():
    defaults = get_config([])
    for name in ACTIONS:
        value = getattr(defaults, name)
        if value is not None:
            again = getattr(get_config([f"--{name}", str(value), *COMPANIONS.get(name, [])]), name)
            assert again == value and type(again) is type(value)


@pytest.mark.parametrize(
    "saved",
    [
        {"hidden_size": 10**9},
        {"hidden_size": None},
        {"hidden_size": "many\n" * 1000},
        {"num_glimpses": 2.5},
        {"std": float("inf")},
        {"std": [0.1]},
        {"policy": "smart"},
        {"glimpse_scale": 4096, "num_patches": 8},
    ],
    ids=str,
)
def test_adopt_refuses_what_no_flag_may_be(saved):
    config = get_config([])
    before = dict(vars(config))
    with pytest.raises(UserError) as caught:
        adopt(config, {"std_end": 0.01, **saved}, "FILE", ["std_end", *saved])
    assert "FILE" in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert vars(config) == before


def test_adopt_keeps_every_value_that_a_run_can_save():
    flags = ["--std=0.1", "--unit_pixels=13", "--init_lr=1e-17", "--shuffle=False", "--limit=7", "--preset=mnist7"]
    saved = settings(get_config(flags))
    config = get_config([])
    adopt(config, saved, "FILE", list(saved))
    assert settings(config) == saved and config.std_end is None


def test_what_may_be_none():
    assert OPTIONAL == {"std_end", *(name for name, action in ACTIONS.items() if action.default is None)}


def test_space_around_a_number_does_not_break_the_one_line():
    assert get_config(["--epochs= 7\n"]).epochs == 7
    with pytest.raises(UserError, match=r"--valid_size: 7 is out of range: it must be > 0 and < 1$"):
        get_config(["--valid_size= 7\n"])
