"""Find test errors, ours and what others claim, in experiments/results.json; compare and write them for the tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from words import translate

from ram.runs.published import name_of

RESULTS = json.loads((ROOT / "experiments" / "results.json").read_text(encoding="utf-8"))
IMAGES = RESULTS["test_images"]
PATHS = (("sampled", 1), ("mean", 1), ("sampled", 10))  # the three ways in which every model is tested


def tests(training: dict, paths: str, M: int) -> list[float] | None:
    """Return the test errors of a training in percent, one per noise seed; None where it was not tested so."""
    for test in RESULTS["tests"]:
        if same_training(test, training) and (test["paths"], test["M"]) == (paths, M):
            return test["errors"]
    return None


def training_name(row: dict) -> str:
    """Name the preset of a row, with its variant where it is one, as its published file is named."""
    return name_of(row["preset"], row.get("variant"))


def seed_of(row: dict) -> int:
    """Return the seed of a row's training: "seed" of a training; of a test "training_seed", said where it is not 1."""
    return row.get("training_seed", row.get("seed", 1))


def same_training(one: dict, other: dict) -> bool:
    """Tell whether two rows are of one training."""
    return training_name(one) == training_name(other) and seed_of(one) == seed_of(other)


def seeds(name: str) -> list[dict]:
    """List the trainings of a preset or variant, one per seed."""
    return [training for training in RESULTS["trainings"] if training_name(training) == name]


def seeds_of(group: list[dict]) -> str:
    """Write the seeds of some trainings."""
    return ", ".join(str(training["seed"]) for training in group)


def other_glimpses(training: dict) -> bool:
    """Tell whether a training differs from its preset in the number of glimpses."""
    return training.get("variant", "").startswith("glimpses")


def in_order() -> list[dict]:
    """List all trainings in the order of the file, but convolutions and other numbers of glimpses behind a preset."""
    presets = [row["preset"] for row in RESULTS["trainings"]]

    def place(row: dict) -> tuple[int, int]:
        return presets.index(row["preset"].removesuffix("-conv")), row["glimpses"] if other_glimpses(row) else 0

    return sorted(RESULTS["trainings"], key=place)


def first_seeds() -> list[dict]:
    """List the trainings, each preset and variant once."""
    return [training for training in in_order() if seeds(training_name(training))[0] is training]


def group_error(group: list[dict], paths: str, M: int) -> tuple[float, float | None] | None:
    """Return the mean error of some trainings of a preset, and its spread.

    That of several is over the trainings, each with the mean of its noise seeds; that of one is over its noise seeds.
    """
    errors = [found for found in (tests(training, paths, M) for training in group) if found]
    if not errors:
        return None
    values = errors[0] if len(errors) == 1 else [mean(of_training) for of_training in errors]
    return mean(values), stdev(values) if len(values) > 1 else None


def sampling_error(error: float, images: int = IMAGES) -> float:
    """Return the standard deviation of an error in percent, sqrt(p (1 - p) / N), over draws of N test images."""
    return 100 * sqrt(error / 100 * (1 - error / 100) / images)


def sampling_errors(*errors: float) -> str:
    """Write the sampling errors of some errors in percent."""
    return " / ".join(f"{sampling_error(error):.2f}" for error in errors)


def claims(training: dict, M: int) -> list[dict]:
    """List the claims of RAM itself on a training's task with as many paths."""
    return [
        claim
        for claim in RESULTS["claims"]
        if claim["task"] == training["task"] and paths_of(claim) == M and "model" not in system(claim)
    ]


def system(claim: dict) -> dict:
    return RESULTS["systems"][claim["system"]]


def paths_of(claim: dict) -> int | None:
    """Return how many paths a claim averages; None where its system does not say."""
    return claim.get("paths", system(claim)["paths"])


def number_of_paths(claim: dict, language: str) -> str:
    """Write how many paths a claim averages, as far as its system says."""
    words = {"en": "{} or 1", "zh": "{} 或 1"}[language] if system(claim).get("perhaps_one") else "{}"
    return words.format(paths_of(claim)) if paths_of(claim) else translate("not stated", language)


def what_differs(claim: dict, language: str) -> str | None:
    """Write what else is to be known of a claim: of its system, and of the claim itself."""
    notes = [source["differs"][language] for source in (system(claim), claim) if "differs" in source]
    return semicolons(filter(None, notes), language)


def semicolons(words: Iterable[str], language: str) -> str | None:
    """Write some words with semicolons between them; None where there are none."""
    return {"en": "; ", "zh": "；"}[language].join(words) or None


def error_of(claim: dict) -> float:
    return float(claim["error"])


def comparison(group: list[dict], paths: str, M: int) -> tuple[float, dict, float, float] | None:
    """Compare with the lowest claim: our error, the claim, the difference and twice its standard error.

    None where there is no claim with as many paths and the same retina, and for random locations, which are a
    comparison themselves. All trainings are tested on the same images, so more of them have no smaller sampling error.
    """
    # A claim says its number of scales where that is not ours: patch size and scales are the retina.
    found, rivals = group_error(group, paths, M), [claim for claim in claims(group[0], M) if "scales" not in claim]
    if not found or not rivals or "random_of" in task_of(group[0]):
        return None
    lowest, ours = min(rivals, key=error_of), found[0]
    theirs = sampling_error(error_of(lowest), system(lowest).get("images", IMAGES))
    return ours, lowest, error_of(lowest) - ours, 2 * sqrt(sampling_error(ours) ** 2 + theirs**2)


def measured(group: list[dict], paths: str, M: int) -> str | None:
    """Write our error, with its spread; bold if it is clearly lower than every claim like it."""
    found = group_error(group, paths, M)
    if found is None:
        return None
    text = written(*found)
    compared = comparison(group, paths, M)
    return f"**{text}**" if compared and compared[2] > compared[3] else text


def plainly(group: list[dict], paths: str, M: int) -> str | None:
    """Write our error, with its spread, in a table that compares with other claims than `measured` does."""
    found = group_error(group, paths, M)
    return written(*found) if found else None


def task_of(row: dict) -> dict:
    """Return the task of a training or a claim."""
    return RESULTS["tasks"][row["task"]]


def named(training: dict, language: str) -> str:
    """Write the task of a training, with the glimpse network where it is not the paper's, and what a variant is."""
    words = [task_of(training)["name"][language]]
    if training["preset"].endswith("-conv"):
        words.append({"en": "with convolutions", "zh": "带卷积"}[language])
    if "variant" in training:
        words.append(RESULTS["variants"][training["variant"]][language])
    return {"en": ", ", "zh": "，"}[language].join(filter(None, words))


def retina(patch_size: int, scales: int, language: str) -> str:
    """Write patch size and number of scales, as in "12x12 at 3 scales"."""
    patch = f"{patch_size}x{patch_size}"
    return patch if scales == 1 else {"en": f"{patch} at {scales} scales", "zh": f"{patch}，{scales} 个尺度"}[language]


def claimed(claim: dict) -> str:
    """Write a claim's error, with the spread or the upper end where it states one."""
    text = claim["error"] + (f" +- {claim['spread']}" if "spread" in claim else "")
    return text + (f"-{claim['up_to']}" if "up_to" in claim else "")


def linked(claim: dict, language: str) -> str:
    """Write a claim as its linked error, with the system's name and its glimpses."""
    name, link = system(claim)["name"][language], f"[{claimed(claim)}]({system(claim)['link']})"
    count = claim["glimpses"]
    return {"en": f"{link} ({name}, {count} glimpses)", "zh": f"{link}（{name}，{count} 次瞥视）"}[language]


def as_many(claim: dict, training: dict) -> bool:
    return claim["glimpses"] == training["glimpses"]


def paper_error(training: dict) -> str | None:
    """Write the paper's error on a training's task with as many glimpses; None where it has none."""
    like = [claim for claim in claims(training, 1) if claim["system"] == "paper" and as_many(claim, training)]
    return claimed(like[0]) if like else None


def best_claim(training: dict, M: int, language: str, glimpses: int | None = None) -> str | None:
    """Write the lowest claim but the paper's of RAM on a task with M paths, and in brackets what it has otherwise.

    Where it has another number of glimpses, the lowest with as many follows if it is ahead of ours. With `glimpses`,
    only those with as many.
    """
    ours = group_error(seeds(training_name(training)), "sampled", M)[0]
    others = [claim for claim in claims(training, M) if claim["system"] != "paper"]
    rivals = [claim for claim in others if glimpses in (None, claim["glimpses"])]
    like = [claim for claim in rivals if as_many(claim, training) and error_of(claim) < ours]
    found = [min(rivals, key=error_of)] if rivals else []
    if found and like and found[0] not in like:
        found.append(min(like, key=error_of))
    return semicolons((with_differences(claim, training, language) for claim in found), language)


def with_differences(claim: dict, training: dict, language: str) -> str:
    """Write a claim as its linked error, with its system's name, what it has otherwise and what to know of it."""
    words = [system(claim)["name"][language]]
    if not as_many(claim, training):
        words.append({"en": f"{claim['glimpses']} glimpses", "zh": f"{claim['glimpses']} 次瞥视"}[language])
    if "scales" in claim:
        words.append({"en": f"{claim['scales']} scales", "zh": f"{claim['scales']} 个尺度"}[language])
    if "note" in system(claim):
        words.append(system(claim)["note"][language])
    link = f"[{claimed(claim)}]({system(claim)['link']})"
    return {"en": f"{link} ({', '.join(words)})", "zh": f"{link}（{'，'.join(words)}）"}[language]


def written(error: float, spread: float | None) -> str:
    """Write an error with its spread, if it has one."""
    return f"{error:.2f}" + (f" +- {spread:.2f}" if spread is not None else "")
