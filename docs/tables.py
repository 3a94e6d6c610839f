"""Make the tables of results, in both languages, from experiments/results.json."""

from __future__ import annotations

from functools import partial
from statistics import mean, stdev

from catch_tables import catch, catch_short
from errors import (
    PATHS,
    RESULTS,
    best_claim,
    claimed,
    comparison,
    error_of,
    first_seeds,
    group_error,
    in_order,
    linked,
    measured,
    named,
    number_of_paths,
    other_glimpses,
    paper_error,
    paths_of,
    plainly,
    retina,
    sampling_errors,
    seeds,
    seeds_of,
    system,
    task_of,
    training_name,
    what_differs,
    written,
)
from words import table, translate

WAYS = ["one sampled path", "one path of the means", "ten sampled paths"]  # the words for PATHS
ERRORS = [*WAYS, "sampling error", "seed"]  # the headings of `errors`


def errors(group: list[dict], write=measured) -> list:
    """Write what every table of test errors shows of a training, or of those of a preset with several seeds."""
    one, ten = (group_error(group, *PATHS[i])[0] for i in (0, 2))
    return [*(write(group, paths, M) for paths, M in PATHS), sampling_errors(one, ten), seeds_of(group)]


def results(language: str) -> str:
    """Make the table of test errors: a row per training."""
    rows = []
    for training in in_order():
        task = task_of(training)
        eyes = retina(task["patch_size"], task["scales"], language)
        name = f"`{training_name(training)}`"
        rows.append([named(training, language), eyes, training["glimpses"], *errors([training]), name])
    return table(["task", "retina", "glimpses", *ERRORS, "name"], rows, language)


def results_short(language: str) -> str:
    """Make the README's table: a row per preset, with the paper's figure and the best claims with one and ten paths."""
    rows = []
    for training in first_seeds():
        task, group = task_of(training), seeds(training_name(training))
        if "random_of" in task or "variant" in training:
            continue
        name, patches = task["name"][language], retina(task["patch_size"], task["scales"], language)
        rows.append(
            [
                f"`{training['preset']}`" + {"en": f": {name}, {patches}", "zh": f"：{name}，{patches}"}[language],
                training["glimpses"],
                *(measured(group, paths, 1) for paths in ("sampled", "mean")),
                paper_error(training),
                best_claim(training, 1, language),
                measured(group, "sampled", 10),
                best_claim(training, 10, language),
            ]
        )
    headings = ["task", "glimpses", "one path", "its means", "paper", "best public claim, one path"]
    return table([*headings, "ten paths", "best public claim, ten paths"], rows, language)


def trainings(language: str) -> str:
    """Make the table of how the models were trained."""
    rows = [
        [
            f"`{training['command']}`",
            training["seed"],
            training["epochs"],
            training["best_epoch"],
            training["minutes"],
            translate("yes" if training["augmented"] else "no", language),
            translate("yes" if training["averaged"] else "no", language),
            weights(training, language),
        ]
        for training in in_order()
    ]
    headings = "command,seed,epochs,best epoch,minutes,augmented,averaged weights,weights"
    return table(headings.split(","), rows, language)


def weights(training: dict, language: str) -> str:
    """Write which weights were tested: the published ones, which may be rounded, or those of the checkpoint."""
    unpublished = {"en": ", not published", "zh": "，未发布"}[language] if training.get("published") is False else ""
    return training["precision"] + unpublished


def all_claims(language: str, others: bool) -> str:
    """Make the table of what others report, of RAM itself or of other models: a row per task, system and paths."""
    groups: dict[tuple, list[dict]] = {}
    for claim in RESULTS["claims"]:
        if ("model" in system(claim)) == others:
            groups.setdefault((claim["task"], claim["system"], paths_of(claim)), []).append(claim)
    rows = []
    for group in groups.values():
        source, task = system(group[0]), task_of(group[0])
        scales = group[0].get("scales", task["scales"])
        rows.append(
            [
                task["name"][language],
                f"[{source['name'][language]}]({source['link']})",
                retina(task["patch_size"], scales, language) if source.get("retina", True) else None,
                number_of_paths(group[0], language),
                ", ".join(str(claim["glimpses"] or "-") for claim in group),
                ", ".join(claimed(claim) for claim in group),
                what_differs(group[0], language),
            ]
        )
    return table("task,system,retina,paths,glimpses,error,what differs".split(","), rows, language)


def comparisons(language: str) -> str:
    """Make the table of what is bold and why: each of our figures beside the lowest claim like it."""
    rows = []
    for training in first_seeds():
        for (paths, M), words in zip(PATHS, WAYS):
            compared = comparison(seeds(training_name(training)), paths, M)
            if compared:
                ours, claim, difference, bound = compared
                clearly = "ahead" if difference > bound else "behind" if difference < -bound else "neither"
                rows.append(
                    [
                        named(training, language),
                        training["glimpses"],
                        translate(words, language),
                        f"{ours:.2f}",
                        linked(claim, language),
                        f"{difference:.2f}",
                        f"{bound:.2f}",
                        translate(clearly, language),
                    ]
                )
    headings = "task,glimpses,paths,ours,lowest claim,difference,twice its standard error,clearly"
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
        groups = [seeds(learned), seeds(name)]
        trained = " / ".join(map(seeds_of, groups))
        for M, words in ((1, "one sampled path"), (10, "ten sampled paths")):
            found = [group_error(group, "sampled", M) for group in groups]
            rows.append(
                [
                    RESULTS["tasks"][learned]["name"][language],
                    translate(words, language),
                    *(written(*error) for error in found),
                    sampling_errors(*(error for error, _ in found)),
                    trained,
                    f"{found[1][0] / found[0][0]:.1f}",
                    f"{paper[name] / paper[learned]:.1f}" if M == 1 else None,
                ]
            )
    headings = ["task", "paths", "learned", "random", "sampling error", "seed", "random / learned", "paper's"]
    return table(headings, rows, language)


def paper_rows(language: str) -> str:
    """Make the table of all numbers of glimpses in the paper: our recipe beside claims with as many glimpses."""
    rows, tasks = [], list(RESULTS["tasks"])
    for training in sorted(first_seeds(), key=lambda row: (tasks.index(row["task"]), row["glimpses"])):
        paper, group = paper_error(training), seeds(training_name(training))
        as_preset = "variant" not in training or other_glimpses(training)
        if not paper or not as_preset or "random_of" in task_of(training) or training["preset"].endswith("-conv"):
            continue
        rows.append(
            [
                named(training, language),
                training["glimpses"],
                *errors(group, plainly),
                paper,
                best_claim(training, 1, language, training["glimpses"]),
                f"`{training_name(training)}`",
            ]
        )
    headings = ["task", "glimpses", *ERRORS, "paper", "best public claim, one path", "name"]
    return table(headings, rows, language)


def recipe(language: str) -> str:
    """Make the table of what augmentation and averaged weights are worth on MNIST, over all trainings of each."""
    rows = []
    for name in ("mnist", "mnist_unaugmented", "mnist_plain"):
        group = seeds(name)
        yes = [translate("yes" if group[0][key] else "no", language) for key in ("augmented", "averaged")]
        rows.append([f"`{name}`", *yes, *errors(group, plainly)])
    return table(["name", "augmented", "averaged weights", *ERRORS], rows, language)


def reproductions(language: str) -> str:
    """Make the table of earlier systems, trained here by their own recipes.

    A reproduction is a training like those of the other tables, with the system that it reproduces under "system". The
    last row is of that system's own weights.
    """
    rows = []
    for training in sorted(RESULTS["reproductions"], key=lambda row: row["system"]):
        key = (training["task"], training["system"], training["glimpses"])
        (claim,) = (c for c in RESULTS["claims"] if (c["task"], c["system"], c["glimpses"]) == key)
        trained = [training["epochs"], training["minutes"], weights(training, language)]
        rows.append([f"`{training['command']}`", *trained, *errors([training], plainly), linked(claim, language)])
    older = RESULTS["older_weights"]
    one, (means,), (ten,) = (test["errors"] for test in older["tests"])
    (claim,) = (c for c in RESULTS["claims"] if c["system"] == older["system"])
    command = f"`{older['tests'][0]['command'].split(' --M=')[0]}`"
    words = {
        "en": f"{command}, [that system's weights]({older['link']})",
        "zh": f"{command}，[该系统的权重]({older['link']})",
    }
    found = [written(mean(one), stdev(one)), f"{means:.2f}", f"{ten:.2f}"]
    found.append(sampling_errors(mean(one), ten))
    rows.append([words[language], older["epochs"], None, older["precision"], *found, None, linked(claim, language)])
    return table(["command", "epochs", "minutes", "weights", *ERRORS, "claim"], rows, language)


FORMATS = {  # of what an ablation measures: its heading and how it is written
    "valid_loss": ("validation loss", "{:.3f}"),
    "valid_error": ("validation error", "{:.2f}"),
    "valid_accuracy": ("validation accuracy", "{:.2f}"),
    "parameters": ("parameters", "{:,}"),
    "test_accuracy_one": ("test accuracy, one path", "{:.2f}"),
    "test_accuracy": ("test accuracy, ten paths", "{:.2f}"),
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


def tried(language: str) -> str:
    """Make the table of whole trainings on MNIST that were tried: validation errors with one path and with ten."""
    rows = []
    for row in RESULTS["tried"]["rows"]:
        command = f"`{row['command']}`" if "command" in row else None
        found = (f"{row[key]:.2f}" if key in row else None for key in ("one", "ten"))
        rows.append([row["what"][language], command, row["epochs"], *found])
    return table(["what", "command", "epochs", "one path", "ten paths"], rows, language)


def as_written(language: str, part: dict) -> str:
    """Make a table whose cells are written as they are, such as one of what benchmark.py measured."""
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
    "paper-rows": paper_rows,
    "recipe": recipe,
    "reproductions": reproductions,
    "catch": partial(catch, part=RESULTS["catch"]),
    "catch-short": partial(catch_short, part=RESULTS["catch"]),
    **{f"ablation-{name}": partial(rows_of, part=part) for name, part in RESULTS["ablations"].items()},
    "tried": tried,
    "sharpness": partial(as_written, part=RESULTS["sharpness"]),
    "convolutions": partial(as_written, part=RESULTS["convolutions"]),
    "folders": partial(rows_of, part=RESULTS["folders"], what="data set"),
    "strokes": partial(as_written, part=RESULTS["strokes"]),
    "own-images": partial(rows_of, part=RESULTS["own_images"], what="images"),
    **{f"speed-{name}": partial(as_written, part=part) for name, part in RESULTS["speed"].items()},
}
