"""Tests of the scripts in experiments/: every command is understood, none overwrites another, and they can go on."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT, folders, long_test

from config import get_config, run_name
from ram.runs.settings import deciding, settings

OTHERS = {"common.sh", "catch.sh"}  # what the others share, and a script of `python -m catch`
VALIDATED = {"short.sh", "ablation.sh", "tried.sh"}  # the test set is not used
SCRIPTS = sorted(path.name for path in (ROOT / "experiments").glob("*.sh") if path.name not in OTHERS)
RESULTS = json.loads((ROOT / "experiments" / "results.json").read_text(encoding="utf-8"))
pytestmark = pytest.mark.skipif(os.name != "posix", reason="scripts for bash")


def bash(script, tmp_path, python, *flags):
    """Run a script of bash with this text as its `python`."""
    (tmp_path / "python").write_text(f"#!{sys.executable}\n{python}")
    (tmp_path / "python").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = ["bash", str(script), *flags]
    return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)


NOTE = """
import json, os, sys
with open({path!r}, "a") as file:
    file.write(json.dumps([os.getcwd(), *sys.argv[1:]]) + "\\n")
"""


def commands_of(script, tmp_path, *flags):
    """The flags of every `python main.py` of a script, which is run with a python that only notes them."""
    path = tmp_path / "commands"
    done = bash(ROOT / "experiments" / script, tmp_path, NOTE.format(path=str(path)), *flags)
    assert done.returncode == 0, done.stderr
    calls = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(call[0] == str(ROOT) for call in calls)
    commands = [call[2:] for call in calls if call[1] == "main.py"]
    assert re.findall(r"^\$ python main.py (.*)", done.stdout, re.MULTILINE) == [" ".join(flags) for flags in commands]
    return commands


@pytest.mark.parametrize("script", SCRIPTS)
def test_commands_are_understood_and_no_training_overwrites_another(script, tmp_path):
    commands = commands_of(script, tmp_path, "--epochs=1", "--limit=500")
    configs = [get_config(flags) for flags in commands]
    assert all((config.epochs, config.limit) == (1, 500) for config in configs)
    trained = [(config.ckpt_dir, run_name(config)) for config in configs if config.is_train]
    tested = [(config.ckpt_dir, run_name(config)) for config in configs if not config.is_train]
    assert trained and len(trained) == len(set(trained))
    assert set(tested) == (set() if script in VALIDATED else set(trained))


def shown(commands):
    """Commands as the pages show them: without going on and without folders."""
    hidden = ("--resume=", "--ckpt_dir=", "--logs_dir=", "--plots_dir=")
    kept = ([flag for flag in flags if not flag.startswith(hidden)] for flags in commands)
    return {" ".join(["python main.py", *flags]) for flags in kept}


def test_short_ablations_are_those_of_the_results(tmp_path):
    parts = [part for name, part in RESULTS["ablations"].items() if not name.endswith("-full")]
    rows = {row["command"] for part in parts for row in part["rows"]}
    assert len(rows) > 30 and rows == shown(commands_of("short.sh", tmp_path))


def test_other_recipes_in_full_length_are_those_of_the_results(tmp_path):
    rows = [row.get("command") for row in [*RESULTS["tried"]["rows"], *RESULTS["ablations"]["fashion-full"]["rows"]]]
    rows += [row[1].strip("`") for row in RESULTS["sharpness"]["rows"]]
    others = {row for row in rows if row and not re.fullmatch(r"python main.py( --preset=\S+)?", row)}
    assert len(others) > 10 and others == shown(commands_of("tried.sh", tmp_path))


def test_all_rows_of_the_ablations_but_fashion_and_paper_are_trained_in_full_length(tmp_path):
    """As settings, since flags have no order."""
    tables = [part for name, part in RESULTS["ablations"].items() if not name.startswith(("fashion", "paper"))]
    commands = [row["command"].removeprefix("python main.py ").split() for part in tables for row in part["rows"]]
    rows = [deciding(settings(get_config([flag for flag in flags if "--epochs" not in flag]))) for flags in commands]
    assert len(rows) > 25 and all(row["epochs"] in (300, 150, 250) for row in rows)
    trained = [deciding(settings(get_config(flags))) for flags in commands_of("ablation.sh", tmp_path)]
    assert [row for row in rows if row not in trained] == []


@long_test()
def test_tables_have_the_rows_that_they_are_to_have(tmp_path):
    rows = {}
    for script in SCRIPTS:
        (tmp_path / script).mkdir()
        configs = map(get_config, commands_of(script, tmp_path / script))
        rows[script] = {re.sub("_seed.*", "", run_name(config)) for config in configs if config.is_train}
    sizes = "lstm_h192_g512_l64"
    assert rows["mnist.sh"] == {f"ram_{glimpses}_8x8_1" for glimpses in range(2, 8)}
    assert rows["translated.sh"] == {f"ram_{glimpses}_12x12_2_k3_translated_mnist_60_{sizes}" for glimpses in (4, 6, 8)}
    for side, patches, pieces in ((60, 3, 4), (100, 4, 8)):
        ram = f"12x12_2_k{patches}_cluttered_mnist_{side}x{pieces}_{sizes}_first0.3"
        expected = {f"ram_{glimpses}_{ram}_pixelstd0.3" for glimpses in (4, 6, 8)}
        expected.add(f"ram_8_{ram}_random_pixelstd0.3")
        learned, random = (vars(get_config([f"--preset=cluttered{side}{end}"])) for end in ("", "-random"))
        others = {name for name in learned if learned[name] != random[name]} - {"explicit"}
        assert others == {"preset", "policy"}, "the very recipe"
        assert rows[f"cluttered{side}.sh"] == expected
    of_eight = {name for script in ("translated.sh", "cluttered60.sh", "cluttered100.sh") for name in rows[script]}
    of_eight = {name for name in of_eight if name.startswith("ram_8") and "random" not in name} | rows["fashion.sh"]
    expected = {"ram_6_8x8_1_conv", *(name.replace("_g512_", "_conv_g256_") for name in of_eight)}
    plain = f"ram_8_12x12_2_k3_translated_mnist_60_{sizes}".replace("_g512_", "_conv_g256_")
    assert rows["conv.sh"] == expected - {plain} | {f"{plain}_first0.3_pixelstd0.3"}  # it looks as in clutter
    tasks = (
        "mnist",
        "translated_mnist_60",
        "cluttered_mnist_60x4_pixelstd0.3",
        "cluttered_mnist_100x8_pixelstd0.3",
        "fashion_mnist_pixelmean0.286_pixelstd0.353",
    )
    assert rows["baselines.sh"] == {f"{model}_{task}" for model in ("fc64", "fc256", "conv") for task in tasks}


@long_test()
def test_script_goes_on_and_begins_anew_and_stops_at_an_error(tmp_path, tiny_mnist):
    python = f"""
import os, sys
if sys.argv[1] == "main.py":  # with the small data set
    sys.argv[1:2] = [{str(Path(__file__).with_name("helpers.py"))!r}, {str(tiny_mnist.folder)!r}]
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
    script = tmp_path / "script.sh"
    script.write_text(f'set -euo pipefail\nsource {ROOT}/experiments/common.sh\ntrain --model=fc64 "$@"\necho end\n')
    flags = [*folders(tmp_path, tiny_mnist.folder), "--use_gpu=False", "--limit=96", "--epochs=1"]
    first, again, longer = (bash(script, tmp_path, python, *flags, *more) for more in ([], [], ["--epochs=2"]))
    for done, expected in ((first, "Epoch: 1/1"), (again, "is finished: 1 epochs"), (longer, "was moved to")):
        assert done.returncode == 0 and expected in done.stdout and done.stdout.endswith("end\n"), done.stderr
    wrong = bash(script, tmp_path, python, *flags, "--epoch=3")
    assert wrong.returncode == 2 and "did you mean --epochs?" in wrong.stderr and "end" not in wrong.stdout
