"""Make the tables of results, in both languages, from experiments/results.json."""

from __future__ import annotations

import json
from functools import partial
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

from catch_tables import catch, catch_short
from words import table, translate

RESULTS = json.loads((Path(__file__).resolve().parent.parent / "experiments/results.json").read_text(encoding="utf-8"))
IMAGES = RESULTS["test_images"]
PATHS = (("sampled", 1), ("mean", 1), ("sampled", 10))  # the three ways in which every model is tested


def tests(training: dict, paths: str, M: int) -> list[float] | None:
    """Return the test errors of a training in percent, one per noise seed; None where it was not tested so."""
    for test in RESULTS["tests"]:
        trained = (test["preset"], test.get("training_seed", 1))  # the seed is said where it is not 1
        if (*trained, test["paths"], test["M"]) == (training["preset"], training["seed"], paths, M):
            return test["errors"]
    return None


def seeds(preset: str) -> list[dict]:
    """List the trainings of a preset, one per seed."""
    return [training for training in RESULTS["trainings"] if training["preset"] == preset]


def first_seeds() -> list[dict]:
    """List the trainings, each preset once."""
    return [training for training in RESULTS["trainings"] if seeds(training["preset"])[0] is training]


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


def claims(training: dict, M: int) -> list[dict]:
    """List the claims on a training's task with as many paths and the same retina (patch size and number of scales)."""
    return [
        claim
        for claim in RESULTS["claims"]
        if claim["task"] == training["task"] and system(claim)["paths"] == M and same_retina(claim)
    ]


def system(claim: dict) -> dict:
    return RESULTS["systems"][claim["system"]]


def error_of(claim: dict) -> float:
    return float(claim["error"])


def same_retina(claim: dict) -> bool:
    """Tell whether a claim is of RAM itself, with the patches that this project has on the task."""
    return "model" not in system(claim) and "scales" not in claim


def comparison(group: list[dict], paths: str, M: int) -> tuple[float, dict, float, float] | None:
    """Compare with the lowest claim: our error, the claim, the difference and twice its standard error.

    None where there is no claim with as many paths and the same retina, and for random locations, which are a
    comparison themselves. All trainings are tested on the same images, so more of them have no smaller sampling error.
    """
    found, rivals = group_error(group, paths, M), claims(group[0], M)
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


def task_of(row: dict) -> dict:
    """Return the task of a training or a claim."""
    return RESULTS["tasks"][row["task"]]


def named(training: dict, language: str) -> str:
    """Write the task of a training, with the glimpse network where it is not the paper's."""
    name = task_of(training)["name"][language]
    if not training["preset"].endswith("-conv"):
        return name
    return {"en": f"{name}, with convolutions", "zh": f"{name}，带卷积"}[language]


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


def results(language: str) -> str:
    """Make the table of test errors: a row per published model."""
    rows = []
    for training in RESULTS["trainings"]:
        errors = [mean(tests(training, *PATHS[i])) for i in (0, 2)]
        task = task_of(training)
        rows.append(
            [
                named(training, language),
                retina(task["patch_size"], task["scales"], language),
                training["glimpses"],
                *(measured([training], paths, M) for paths, M in PATHS),
                " / ".join(f"{sampling_error(error):.2f}" for error in errors),
                training["seed"],
                f"`{training['preset']}`",
            ]
        )
    headings = ["task", "retina", "glimpses", "one sampled path", "one path of the means", "ten sampled paths"]
    return table([*headings, "sampling error", "seed", "preset"], rows, language)


def results_short(language: str) -> str:
    """Make the README's table: a row per preset, with the paper's figure and the best claims with one and ten paths.

    The model with a convolutional glimpse network stands in the same row as the one without, as soon as there is one.
    """
    rows, convolutions = [], any(training["preset"].endswith("-conv") for training in RESULTS["trainings"])
    for training in first_seeds():
        task = task_of(training)
        if "random_of" in task or training["preset"].endswith("-conv"):
            continue
        groups = [seeds(training["preset"])] + [seeds(training["preset"] + "-conv")] * convolutions
        paper = [
            claim["error"] for claim in claims(training, 1) if claim["system"] == "paper" and as_many(claim, training)
        ]
        name, patches = task["name"][language], retina(task["patch_size"], task["scales"], language)
        rows.append(
            [
                {"en": f"{name}, {patches}", "zh": f"{name}，{patches}"}[language],
                training["glimpses"],
                *(measured(group, "sampled", 1) for group in groups),
                paper[0] if paper else None,
                best_claim(training, 1, language),
                *(measured(group, "sampled", 10) for group in groups),
                best_claim(training, 10, language),
            ]
        )
    kinds = ["ours"] + ["conv"] * convolutions
    one, ten = ([f"{kind}, {paths}" for kind in kinds] for paths in ("one path", "ten paths"))
    headings = ["task", "glimpses", *one, "paper", "best public claim, one path", *ten, "best public claim, ten paths"]
    return table(headings, rows, language)


def as_many(claim: dict, training: dict) -> bool:
    return claim["glimpses"] == training["glimpses"]


def best_claim(training: dict, M: int, language: str) -> str | None:
    """Write the lowest claim but the paper's of RAM on a task with M paths, and in brackets what it has otherwise."""
    rivals = [
        claim
        for claim in RESULTS["claims"]
        if claim["task"] == training["task"]
        and system(claim)["paths"] == M
        and "model" not in system(claim)
        and claim["system"] != "paper"
    ]
    if not rivals:
        return None
    lowest = min(rivals, key=error_of)
    words = [system(lowest)["name"][language]]
    if not as_many(lowest, training):
        words.append({"en": f"{lowest['glimpses']} glimpses", "zh": f"{lowest['glimpses']} 次瞥视"}[language])
    if "scales" in lowest:
        words.append({"en": f"{lowest['scales']} scales", "zh": f"{lowest['scales']} 个尺度"}[language])
    link = f"[{claimed(lowest)}]({system(lowest)['link']})"
    return {"en": f"{link} ({', '.join(words)})", "zh": f"{link}（{'，'.join(words)}）"}[language]


def trainings(language: str) -> str:
    """Make the table of how the published models were trained."""
    rows = [
        [
            f"`{training['command']}`",
            training["seed"],
            training["epochs"],
            training["best_epoch"],
            training["minutes"],
            translate("yes" if training["augmented"] else "no", language),
            translate("yes" if training["averaged"] else "no", language),
            training["precision"],
        ]
        for training in RESULTS["trainings"]
    ]
    headings = "command,seed,epochs,best epoch,minutes,augmented,averaged weights,weights"
    return table(headings.split(","), rows, language)


def all_claims(language: str, others: bool) -> str:
    """Make the table of what others report, of RAM itself or of other models: a row per task and system."""
    groups: dict[tuple, list[dict]] = {}
    for claim in RESULTS["claims"]:
        if ("model" in system(claim)) == others:
            groups.setdefault((claim["task"], claim["system"]), []).append(claim)
    rows = []
    for group in groups.values():
        source, task = system(group[0]), task_of(group[0])
        scales = group[0].get("scales", task["scales"])
        rows.append(
            [
                task["name"][language],
                f"[{source['name'][language]}]({source['link']})",
                retina(task["patch_size"], scales, language) if source.get("retina", True) else None,
                source["paths"] or translate("not stated", language),
                ", ".join(str(claim["glimpses"] or "-") for claim in group),
                ", ".join(claimed(claim) for claim in group),
                group[0].get("differs", source["differs"])[language] or None,
            ]
        )
    return table("task,system,retina,paths,glimpses,error,what differs".split(","), rows, language)


def comparisons(language: str) -> str:
    """Make the table of what is bold and why: each of our figures beside the lowest claim like it."""
    rows = []
    for training in first_seeds():
        for (paths, M), words in zip(PATHS, ("one sampled path", "one path of the means", "ten sampled paths")):
            compared = comparison(seeds(training["preset"]), paths, M)
            if compared:
                ours, claim, difference, bound = compared
                rows.append(
                    [
                        named(training, language),
                        training["glimpses"],
                        translate(words, language),
                        f"{ours:.2f}",
                        linked(claim, language),
                        f"{difference:.2f}",
                        f"{bound:.2f}",
                        translate("yes" if difference > bound else "no", language),
                    ]
                )
    headings = "task,glimpses,paths,ours,lowest claim,difference,twice its standard error,clear"
    return table(headings.split(","), rows, language)


def looking(language: str) -> str:
    """Make the table of what learning where to look is worth: random locations against learned ones."""
    rows = []
    for name, task in RESULTS["tasks"].items():
        if "random_of" not in task:
            continue
        learned, paper = task["random_of"], {}
        for claim in RESULTS["claims"]:
            if claim["system"] == "paper" and claim["glimpses"] == 8:
                paper[claim["task"]] = error_of(claim)
        for M, words in ((1, "one sampled path"), (10, "ten sampled paths")):
            errors = [group_error(seeds(preset), "sampled", M)[0] for preset in (learned, name)]
            rows.append(
                [
                    RESULTS["tasks"][learned]["name"][language],
                    translate(words, language),
                    *(f"{error:.2f}" for error in errors),
                    f"{errors[1] / errors[0]:.1f}",
                    f"{paper[name] / paper[learned]:.1f}" if M == 1 else None,
                ]
            )
    return table(["task", "paths", "learned", "random", "random / learned", "paper's"], rows, language)


def reproductions(language: str) -> str:
    """Make the table of earlier systems, trained here by their own recipes.

    A reproduction is a training like those of the other tables, with the system that it reproduces under "system". The
    last row is of that system's own weights.
    """
    rows = []
    for training in RESULTS["reproductions"]:
        key = (training["task"], training["system"], training["glimpses"])
        (claim,) = (c for c in RESULTS["claims"] if (c["task"], c["system"], c["glimpses"]) == key)
        one, (ten,) = tests(training, "sampled", 1), tests(training, "sampled", 10)
        trained = [training["seed"], training["epochs"], training["minutes"]]
        rows.append(
            [
                f"`{training['command']}`",
                *trained,
                written(mean(one), stdev(one)),
                linked(claim, language),
                f"{ten:.2f}",
            ]
        )
    older = RESULTS["older_weights"]
    one, (ten,) = (test["errors"] for test in older["tests"])
    (claim,) = (c for c in RESULTS["claims"] if c["system"] == older["system"])
    command = f"`{older['tests'][0]['command'].split(' --M=')[0]}`"
    words = {
        "en": f"{command}, [that system's weights]({older['link']})",
        "zh": f"{command}，[该系统的权重]({older['link']})",
    }
    rows.append(
        [
            words[language],
            None,
            older["epochs"],
            None,
            written(mean(one), stdev(one)),
            linked(claim, language),
            f"{ten:.2f}",
        ]
    )
    headings = "command,seed,epochs,minutes,one sampled path,claim,ten sampled paths"
    return table(headings.split(","), rows, language)


def written(error: float, spread: float | None) -> str:
    """Write an error with its spread, if it has one."""
    return f"{error:.2f}" + (f" +- {spread:.2f}" if spread is not None else "")


FORMATS = {  # of what an ablation measures: its heading and how it is written
    "valid_loss": ("validation loss", "{:.3f}"),
    "valid_error": ("validation error", "{:.2f}"),
    "valid_accuracy": ("validation accuracy", "{:.2f}"),
    "parameters": ("parameters", "{:,}"),
    "test_accuracy": ("test accuracy, M=10", "{:.2f}"),
    "guessing": ("guessing", "{:g}"),
    "right": ("right", "{}"),
    "of": ("of", "{}"),
}


def rows_of(language: str, part: dict, what: str = "what") -> str:
    """Make a table of commands and what each printed."""
    columns = [column for column in FORMATS if column in part["rows"][0]]
    rows = [
        [row["what"][language], f"`{row['command']}`", *(FORMATS[column][1].format(row[column]) for column in columns)]
        for row in part["rows"]
    ]
    return table([what, "command", *(FORMATS[column][0] for column in columns)], rows, language)


def speed(language: str, part: dict) -> str:
    """Make a table of what benchmark.py measured."""
    rows = [[cell[language] if isinstance(cell, dict) else cell for cell in row] for row in part["rows"]]
    return table(part["columns"], rows, language)


BLOCKS = {
    "results": results,
    "results-short": results_short,
    "trainings": trainings,
    "claims": partial(all_claims, others=False),
    "claims-other-models": partial(all_claims, others=True),
    "comparisons": comparisons,
    "looking": looking,
    "reproductions": reproductions,
    "catch": partial(catch, part=RESULTS["catch"]),
    "catch-short": partial(catch_short, part=RESULTS["catch"]),
    **{f"ablation-{name}": partial(rows_of, part=part) for name, part in RESULTS["ablations"].items()},
    "folders": partial(rows_of, part=RESULTS["folders"], what="data set"),
    "strokes": partial(speed, part=RESULTS["strokes"]),
    "own-images": partial(rows_of, part=RESULTS["own_images"], what="images"),
    **{f"speed-{name}": partial(speed, part=part) for name, part in RESULTS["speed"].items()},
}
