"""Every measured figure stands once, in experiments/results.json; the tables of the pages are written from it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from math import sqrt
from statistics import mean

import pytest
from helpers import ROOT
from safetensors.numpy import load_file

from config import get_config
from ram.runs import published
from ram.runs.settings import deciding, differences
from ram.runs.settings import settings as run_settings
from utils import UserError

sys.path[:0] = [str(ROOT / "docs"), str(ROOT / "experiments")]
import add_row
import errors
import make
import tables

RESULTS = json.loads((ROOT / "experiments" / "results.json").read_text(encoding="utf-8"))
TRAININGS = [*RESULTS["trainings"], *RESULTS["reproductions"]]
PUBLISHED = [training for training in TRAININGS if training.get("published", True)]
MODELS = [(errors.training_name(training), training["seed"]) for training in TRAININGS]


def row_name(training: dict) -> str:
    return f"{errors.training_name(training)}-{training['seed']}"


def measured(model: tuple[str, int], paths: str, M: int) -> dict | None:
    tests = [test for test in RESULTS["tests"] if (errors.training_name(test), errors.seed_of(test)) == model]
    found = [test for test in tests if (test["paths"], test["M"]) == (paths, M)]
    assert len(found) <= 1, "measured twice"
    return found[0] if found else None


def test_every_published_model_has_its_rows():
    assert len(MODELS) == len(set(MODELS))
    assert {(errors.training_name(row), row["seed"]) for row in PUBLISHED} == set(published.trainings())
    for model in MODELS:
        one, ten = measured(model, "sampled", 1), measured(model, "sampled", 10)
        assert one["noise_seeds"] == [1, 2, 3, 4, 5] and ten["noise_seeds"] == [1]
        # Locations that are drawn have no means.
        preset = get_config([f"--preset={published.preset_of(model[0])}"])
        assert bool(measured(model, "mean", 1)) == (preset.policy == "learned")


@pytest.mark.parametrize("training", PUBLISHED, ids=row_name)
def test_rows_are_what_is_published(training):
    name = (errors.training_name(training), training["seed"])
    path = ROOT / published.path_of(*name)
    facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    settings, task = facts["settings"], RESULTS["tasks"][training["task"]]
    assert measured(name, "sampled", 1)["errors"][0] == facts["test_error"]["M=1"]
    assert measured(name, "sampled", 10)["errors"] == [facts["test_error"]["M=10"]]
    for ours, theirs in (("seed", "seed"), ("epochs", "epochs"), ("best_epoch", "epoch"), ("hardware", "hardware")):
        assert training[ours] == facts[theirs]
    assert training["minutes"] == round(facts["seconds"] / 60)
    assert training["glimpses"] == settings["num_glimpses"]
    assert (task["patch_size"], task["scales"]) == (settings["patch_size"], settings["num_patches"])
    assert training["averaged"] == bool(settings["ema"])
    assert training["augmented"] == any(settings.get(f"augment_{how}") for how in add_row.AUGMENTATIONS)
    assert {str(array.dtype) for array in load_file(path).values()} == {training["precision"]}
    config = get_config(training["command"].split()[2:])
    assert (config.preset, config.random_seed, config.is_train) == (training["preset"], training["seed"], True)
    assert not differences(facts["settings"], run_settings(config)), "the command trains it"


def test_variants_are_what_their_names_say():
    """And a claim is compared with our recipe where nothing but the number of glimpses is another."""
    without_seed = []
    for training in TRAININGS:
        config = get_config(training["command"].split()[2:])
        given = config.explicit - {"preset", "random_seed", "ckpt_dir"}
        augment = {"augment_shift", "augment_rotate", "augment_scale", "augment_shear"}
        flags = {"unaugmented": augment, "plain": augment | {"ema"}}
        word = training.get("variant", "")
        assert given == flags.get(word, {"num_glimpses"} if word.startswith("glimpses") else set()), training
        assert not word.startswith("glimpses") or word == f"glimpses{config.num_glimpses}"
        assert word not in flags or not any(vars(config)[flag] for flag in flags[word])
        config.random_seed = 1
        without_seed.append((errors.training_name(training), str(sorted(deciding(run_settings(config)).items()))))
    names, recipes = zip(*set(without_seed))
    assert len(names) == len(set(names)) == len(set(recipes)), "one name for one recipe"


def test_a_command_sets_all_that_a_variant_has_otherwise():
    for given in (["--std=0.2"], ["--std=0.2", "--std_end=0.05"], ["--std_end=0.1", "--num_glimpses=4"]):
        config = get_config(["--preset=cluttered60", *given])
        again = get_config(["--preset=cluttered60", *add_row.other_flags("cluttered60", run_settings(config))])
        assert not differences(run_settings(again), run_settings(config)), given


def test_commands_are_understood_and_say_what_was_measured():
    training_of = dict(zip(MODELS, TRAININGS))
    for test in RESULTS["tests"]:
        command = test["command"].replace("--random_seed=S", "--random_seed=3").split()
        assert command[:2] == ["python", "main.py"]
        config = get_config(command[2:])
        assert (config.preset, config.is_train, config.locations) == (test["preset"], False, test["paths"])
        assert test["paths"] == "mean" or config.M == test["M"]
        name, seed = errors.training_name(test), errors.seed_of(test)
        weights = f"ckpt/published/{name}{f'_seed{seed}' * (seed != 1)}.safetensors"
        if training_of[name, seed].get("published") is False:
            weights = add_row.left_by(training_of[name, seed])
        elif (name, seed) == (test["preset"], 1):
            weights = None
        assert config.weights == weights
        assert ("--random_seed=S" in test["command"]) == (len(test["noise_seeds"] or [1]) > 1)
        assert len(test["errors"]) == len(test["noise_seeds"] or [1])
    for part in (*RESULTS["ablations"].values(), RESULTS["folders"]):
        for row in part["rows"]:
            config = get_config(row["command"].split()[2:])
            assert config.is_train, row
    for row in RESULTS["tried"]["rows"]:
        config = get_config(row.get("command", "python main.py").split()[2:])
        assert config.is_train and row["epochs"] <= 600 and 0 < row.get("ten", 0.01) < row["one"] < 100, row
        assert "command" not in row or row["epochs"] <= config.epochs, row
    for row in RESULTS["own_images"]["rows"]:
        assert get_config(row["command"].split()[2:]).predict and row["right"] <= row["of"]


def test_what_convolutions_are_worth_is_what_is_published():
    """Rows that name a preset alone have the errors in its JSON, on validation images."""
    named = [row for row in RESULTS["convolutions"]["rows"] if row[0]["en"].strip("`") in published.names()]
    assert len(named) == 10
    for what, epochs, one, ten in named:
        facts = json.loads((ROOT / f"ckpt/published/{what['en'].strip('`')}.json").read_text(encoding="utf-8"))
        found = [f"{facts['valid_error'][key]:.2f}" for key in ("M=1", "M=10")]
        assert [epochs, one, ten] == [str(facts["epochs"]), *found], what
    for _, command, *figures in RESULTS["sharpness"]["rows"]:
        config = get_config(command.strip("`").split()[2:])
        assert config.is_train and config.dataset == "cluttered_mnist" and len(figures) == 3


def test_bold_is_what_is_clearly_lower_than_every_claim_like_it():
    """The rule of docs/results.md, once more by hand: two proportions, and twice the standard error."""
    rows = [line for line in tables.results("en").splitlines() if line.endswith("` |")]
    assert len(rows) == len(RESULTS["trainings"])
    seen = set()
    for row, training in zip(rows, errors.in_order()):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        for cell, (paths, M) in zip(cells[3:6], (("sampled", 1), ("mean", 1), ("sampled", 10))):
            test = measured((errors.training_name(training), training["seed"]), paths, M)
            if test is None:
                assert cell == "-"
                continue
            p, clear = mean(test["errors"]) / 100, []
            assert cell.strip("*").startswith(f"{100 * p:.2f}")
            for claim in RESULTS["claims"]:
                system = RESULTS["systems"][claim["system"]]
                like = claim["task"] == training["task"] and system["paths"] == M and "scales" not in claim
                if like and "model" not in system:
                    q, n = float(claim["error"]) / 100, system.get("images", 10_000)
                    clear.append(q - p > 2 * sqrt(p * (1 - p) / 10_000 + q * (1 - q) / n))
            learned = not training["preset"].endswith("-random")
            assert cell.startswith("**") == (learned and bool(clear) and all(clear)), (row, cell)
            seen.add(cell.startswith("**"))
    assert seen == {True, False}


def test_a_comparison_says_who_is_clearly_ahead():
    words = set()
    for line in tables.comparisons("en").splitlines()[2:]:
        *_, difference, bound, word, _ = (cell.strip() for cell in line.split("|"))
        words.add(word)
        if abs(abs(float(difference)) - float(bound)) > 0.01:  # rounded, they may seem equal
            lead, bound = float(difference), float(bound)
            assert word == ("ahead" if lead > bound else "behind" if lead < -bound else "neither"), line
    assert words == {"ahead", "behind", "neither"}


def test_a_claim_that_may_be_of_one_path_says_so():
    rows = [line for line in tables.BLOCKS["claims"]("en").splitlines() if "dHonerkamp" in line]
    assert rows and all(re.search(r"\| (10|7) or 1 \|", line) for line in rows)


def test_several_trainings_of_a_preset_are_one_row_of_readme(monkeypatch):
    """Their mean, and its spread over the trainings; in docs/results.md each has a row of its own."""
    (first,) = (
        training for training in RESULTS["trainings"] if (training["preset"], training["seed"]) == ("mnist7", 1)
    )
    second = {**first, "seed": 22, "command": first["command"] + " --random_seed=22"}
    of_first = measured(("mnist7", 1), "sampled", 1)
    shared = [{**test, "training_seed": 22} for test in RESULTS["tests"] if test["preset"] == "mnist7"]
    of_second = [{**test, "errors": [error + 0.2 for error in test["errors"]]} for test in shared]
    monkeypatch.setitem(tables.RESULTS, "trainings", [first, second])
    monkeypatch.setitem(tables.RESULTS, "tests", [*RESULTS["tests"], *of_second])
    assert len(tables.results("en").splitlines()) == 2 + 2
    (row,) = tables.results_short("en").splitlines()[2:]
    assert f"| {mean(of_first['errors']) + 0.1:.2f} +- 0.14 |" in row
    assert len(tables.comparisons("en").splitlines()) == 2 + 3


def test_a_model_with_convolutions_stands_below_the_one_without(monkeypatch):
    """In all tables, wherever its training stands in the file; its name says what it has."""
    models = RESULTS["trainings"]
    first = next(training for training in models if training["preset"] == "mnist7")
    shared = [{**test, "preset": "mnist7-conv"} for test in RESULTS["tests"] if test["preset"] == "mnist7"]
    monkeypatch.setitem(tables.RESULTS, "trainings", [*models, {**first, "preset": "mnist7-conv"}])
    monkeypatch.setitem(tables.RESULTS, "tests", [*RESULTS["tests"], *shared])
    for written, name, other in (
        (tables.results, "MNIST, with convolutions | 8x8 | 7 |", "MNIST | 8x8 | 7 |"),
        (tables.results_short, "`mnist7-conv`: MNIST, 8x8 | 7 |", "`mnist7`: MNIST, 8x8 | 7 |"),
    ):
        rows = written("en").splitlines()
        (place,) = (i for i, row in enumerate(rows) if row.startswith(f"| {name}"))
        assert rows[place - 1].startswith(f"| {other}")
        assert f"| {mean(measured(('mnist7', 1), 'sampled', 1)['errors']):.2f} +- " in rows[place]


def test_a_rival_with_as_many_glimpses_is_not_hidden_by_one_with_fewer():
    """The lowest claim stands first, whatever its glimpses; one with as many follows where it is ahead of ours."""
    (seven,) = (row for row in tables.results_short("en").splitlines() if row.startswith("| `mnist7`: "))
    ours = mean(measured(("mnist7", 1), "sampled", 1)["errors"])
    assert ("); [0.85]" in seven) == (0.85 < ours)


def test_claims_are_linked_and_other_models_take_no_claims_place():
    assert {claim["system"] for claim in RESULTS["claims"]} == set(RESULTS["systems"])
    for name, system in RESULTS["systems"].items():
        assert re.match(r"https?://", system["link"])
        for language in ("en", "zh"):
            ours = system["link"] in tables.BLOCKS["claims"](language)
            others = system["link"] in tables.BLOCKS["claims-other-models"](language)
            assert others if "model" in system else ours, name
    assert "DRAM" not in tables.results_short("en") and "MRAM" not in tables.comparisons("en")


def test_a_reproduction_stands_beside_its_claim(monkeypatch):
    training = {**RESULTS["trainings"][0], "system": "paddle"}
    monkeypatch.setitem(tables.RESULTS, "reproductions", [training])
    errors = measured((training["preset"], 1), "sampled", 1)["errors"]
    row, of_older = tables.reproductions("en").splitlines()[2:]
    link = RESULTS["systems"]["paddle"]["link"]
    assert f"| {mean(errors):.2f} +- " in row and f"| [2.12]({link}) (older Paddle version, 6 glimpses) |" in row
    older = RESULTS["older_weights"]
    assert older["link"] in of_older and f"| {mean(older['tests'][0]['errors']):.2f} +- " in of_older
    for test in older["tests"]:
        config = get_config(test["command"].replace("=S", "=3").split()[2:])
        assert (config.is_train, config.weights, config.locations) == (False, "FILE", test["paths"])
        assert config.M == test["M"] or test["paths"] == "mean"


@pytest.mark.parametrize("training", PUBLISHED, ids=row_name)
def test_a_training_is_described_from_its_file(training):
    task = add_row.task_of(training["preset"], RESULTS["tasks"])
    model = (training["preset"], training.get("variant"), training["seed"])
    assert add_row.training_of(*model, task, training.get("system")) == training


def test_a_row_is_added_where_it_belongs(tmp_path, monkeypatch, capsys):
    """Beside the rows of its preset; the rest of the file stays as it is, to the byte."""
    text = add_row.FILE.read_text(encoding="utf-8")
    assert add_row.write(text, "tests", RESULTS["tests"]) == text
    copy = tmp_path / "results.json"
    shutil.copy(add_row.FILE, copy)
    monkeypatch.setattr(add_row, "FILE", copy)
    monkeypatch.setattr(add_row, "ROOT", tmp_path)
    monkeypatch.setattr(add_row, "error_of", lambda words, weights: 0.5 + 0.01 * ("--locations=mean" in words))
    wrong = {"no claim": ["paper-mnist", "--system=slundqui"], "'x'": ["mnist7", "--system=x"]}
    wrong["'y'"] = ["mnist7", "--variant=y"]
    for said, asked in wrong.items():
        with pytest.raises(UserError, match=said):
            add_row.main(asked)
    assert copy.read_text(encoding="utf-8") == text
    add_row.main(["mnist7"])
    results = json.loads(copy.read_text(encoding="utf-8"))
    changed = [i for i, (ours, theirs) in enumerate(zip(results["tests"], RESULTS["tests"])) if ours != theirs]
    assert [results["tests"][i]["errors"] for i in changed] == [[0.5] * 5, [0.51], [0.5]]
    assert {results["tests"][i]["preset"] for i in changed} == {"mnist7"}
    assert len(results["tests"]) == len(RESULTS["tests"]) and results["trainings"] == RESULTS["trainings"]
    trainings = RESULTS["trainings"]
    new = {**trainings[0], "seed": 99}
    rows = add_row.placed(trainings, [new])
    at = rows.index(new)
    assert 0 < at == len([row for row in trainings if errors.training_name(row) == errors.training_name(new)])
    assert [*rows[:at], *rows[at + 1 :]] == trainings
    assert add_row.placed(rows, [new]) == rows


def test_a_heading_without_translation_is_an_error():
    with pytest.raises(KeyError):
        tables.translate("no such heading", "zh")


def test_no_page_is_stale():
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "make.py"), "--check"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_stale_pages_are_named_and_written(tmp_path):
    for folder in ("docs", "experiments", "ram"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for path in [*ROOT.glob("*.py"), *ROOT.glob("*.md")]:
        shutil.copy(path, tmp_path)
    page = tmp_path / "docs" / "results.md"
    right = page.read_text(encoding="utf-8")
    stale = right.replace("**0.37**", "**0.36**", 1)
    page.write_text(stale, encoding="utf-8")

    def run(*flags):
        command = [sys.executable, str(tmp_path / "docs" / "make.py"), *flags]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    checked = run("--check")
    assert checked.returncode == 1 and checked.stderr == "docs/results.md is stale: python docs/make.py writes it\n"
    assert page.read_text(encoding="utf-8") == stale != right, "--check only looks"
    assert run().stdout == "[*] docs/results.md\n" and page.read_text(encoding="utf-8") == right
    assert run("--check").returncode == 0
    assert run("--chekc").returncode == 2


def test_an_unknown_block_is_an_error():
    with pytest.raises(KeyError):
        make.written("<!-- make: nonsense -->\n<!-- /make -->\n", "en")
