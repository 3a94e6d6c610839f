"""Test a model in every way that the tables show, and put its rows into experiments/results.json.

    python experiments/add_row.py cluttered60
    python experiments/add_row.py cluttered60 --seed=2
    python experiments/add_row.py mnist --variant=glimpses4
    python experiments/add_row.py paper-mnist --system=paper
    python experiments/add_row.py cluttered100-conv --seed=2 --checkpoint=FOLDER/RUN_model_best.pdparams

What is tested are the published weights; with --checkpoint those of a training whose weights are not published, since
all together have to stay under 40 MB: the commands in its rows name the file where the training of the row leaves it.

Rows of the same model are replaced, others stay as they are. Each error is the one that the command in its row prints.
Afterwards `python docs/make.py` writes the pages.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

from errors import same_training, training_name
from safetensors.numpy import load_file

from config import get_config
from ram.presets import PRESETS
from ram.runs import published
from ram.runs.files import RunFiles
from ram.runs.settings import deciding, settings
from ram.runs.weights import read_facts
from ram.system.command import command_line
from ram.system.cpu import hardware_here
from ram.system.parsing import Parser
from ram.use.publish import check_finished, check_recipe, latest_of, read_training
from utils import UserError

FILE = ROOT / "experiments" / "results.json"
NOISE_SEEDS = [1, 2, 3, 4, 5]
AUGMENTATIONS = ["shift", "rotate", "scale", "shear", "flip"]  # each a flag


def error_of(words: list[str], weights: str) -> float:
    """Run a test command, which has to test the file of weights; return the error that it prints, in percent."""
    run = subprocess.run([sys.executable, *words[1:]], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    output, command = run.stdout, " ".join(words)
    if run.returncode:
        raise UserError(f"{command} ended with status {run.returncode}")
    if weights not in output:
        raise UserError(f"{command} tests a training of your own, not {weights}: move it out of ./ckpt")
    return float(re.search(r"Error: (\d+\.\d+)%", output)[1])


def relative(name: str, seed: int) -> str:
    """Name the published file of a training as a command in the project's folder does."""
    return Path(ROOT, published.path_of(name, seed)).relative_to(ROOT).as_posix()


def left_by(training: dict) -> str:
    """Name the best checkpoint that the command of a training leaves."""
    return Path(RunFiles(get_config(training["command"].split()[2:])).best).as_posix()


def tests_of(training: dict, checkpoint: str | None = None) -> list[dict]:
    """Test a model: one sampled path with five noise seeds, one path of the means, ten sampled paths.

    Args:
        training: its row.
        checkpoint: where its weights are, if they are not published.
    """
    preset, variant, seed = training["preset"], training.get("variant"), training["seed"]
    file = left_by(training) if checkpoint else relative(published.name_of(preset, variant), seed)
    tested, weights = checkpoint or file, f" --weights={file}" if checkpoint or variant or seed != 1 else ""
    model = {"preset": preset, **({"variant": variant} if variant else {})}
    model.update({"training_seed": seed} if seed != 1 else {})
    command = f"python main.py --preset={preset} --is_train=False{weights}"
    rows = []
    for paths, M, noise_seeds, more in (
        ("sampled", 1, NOISE_SEEDS, " --M=1 --random_seed=S"),
        ("mean", 1, None, " --locations=mean"),
        ("sampled", 10, [1], " --M=10"),
    ):
        if paths == "mean" and get_config([f"--preset={preset}"]).policy != "learned":
            continue
        errors = []
        for noise_seed in noise_seeds or [1]:
            line = (command + more).replace("=S", f"={noise_seed}")
            errors.append(error_of([word.replace(file, tested) for word in line.split()], tested))
            print(f"{errors[-1]:5.2f}  {line}", flush=True)
        measured = {"paths": paths, "M": M, "noise_seeds": noise_seeds, "errors": errors}
        rows.append({**model, **measured, "command": command + more})
    return rows


def facts_of(preset: str, variant: str | None, seed: int, checkpoint: str | None, hardware: str | None) -> dict:
    """Read what there is to know of a training from its published files, or from its checkpoint.

    Raises:
        UserError: the checkpoint is not of this training, or not of its end.
    """
    if not checkpoint:
        path = published.path_of(published.name_of(preset, variant), seed)
        return {**read_facts(path), "precision": str(next(iter(load_file(path).values())).dtype)}
    trained, history = read_training(checkpoint)
    if trained.settings["random_seed"] != seed:
        raise UserError(f"{checkpoint} is of seed {trained.settings['random_seed']}, not --seed={seed}")
    check_recipe(trained, preset, variant, seed)
    check_finished(latest_of(checkpoint))
    return {
        "settings": trained.settings,
        "epochs": len(history),
        "epoch": trained.epoch,
        "seconds": sum(record["seconds"] for record in history),
        "hardware": hardware or hardware_here(),
        "precision": "float32",  # not rounded
    }


def training_of(
    preset: str,
    variant: str | None,
    seed: int,
    task: str,
    system: str | None,
    checkpoint: str | None = None,
    hardware: str | None = None,
) -> dict:
    """Describe a training as its published file does, or its checkpoint and what is told of its hardware."""
    facts = facts_of(preset, variant, seed, checkpoint, hardware)
    flags = facts["settings"]
    apart = [f"--ckpt_dir=ckpt/seed{seed}"] if checkpoint and seed != 1 else []  # seeds share a run's name
    return {
        "preset": preset,
        **({"variant": variant} if variant else {}),
        "task": task,
        **({"system": system} if system else {}),
        "glimpses": flags["num_glimpses"],
        "command": " ".join([f"python main.py --preset={preset}", *other_flags(preset, flags), *apart]),
        "seed": seed,
        "epochs": facts["epochs"],
        "best_epoch": facts["epoch"],
        "minutes": round(facts["seconds"] / 60),
        "hardware": facts["hardware"],
        "augmented": any(flags.get(f"augment_{how}") for how in AUGMENTATIONS),
        "averaged": bool(flags["ema"]),
        "precision": facts["precision"],
        **({"published": False} if checkpoint else {}),
    }


def other_flags(preset: str, flags: dict) -> list[str]:
    """Write the flags that train otherwise than the preset does."""
    theirs, ours = deciding(settings(get_config([f"--preset={preset}"]))), deciding(flags)
    names = [name for name, value in ours.items() if value != theirs.get(name)]
    if "std" in names:  # given alone, it would hold to the end
        names = sorted({*names, "std_end"})
    return [f"--{name}={ours[name]}" for name in names if ours[name] is not None]


def task_of(preset: str, tasks: dict) -> str:
    """Find the task of a preset: the preset that the task is named after has the same data and policy."""

    def images(name: str) -> tuple:
        flags = get_config([f"--preset={name}"])
        data = (flags.dataset, flags.source, flags.canvas_size, flags.num_clutter)
        return *data, flags.policy

    (task,) = (name for name in tasks if images(name) == images(preset))
    return task


def placed(rows: list[dict], new: list[dict]) -> list[dict]:
    """Put new rows where those of the same model are, else where its preset's others end, else at the end."""
    model = new[0]
    kept = [row for row in rows if not same_training(row, model)]
    at = [i for i, row in enumerate(rows) if same_training(row, model)]
    if not at:
        at = [i + 1 for i, row in enumerate(kept) if training_name(row) == training_name(model)][-1:]
        at = at or [i + 1 for i, row in enumerate(kept) if row["preset"] == model["preset"]][-1:] or [len(kept)]
    return [*kept[: at[0]], *new, *kept[at[0] :]]


def write(text: str, key: str, rows: list[dict]) -> str:
    """Replace a list of rows in the file's text, a line each."""
    lines = ",\n".join(f"    {json.dumps(row, ensure_ascii=False)}" for row in rows)
    written, count = re.subn(rf'(?s)\n  "{key}": \[(\n.*?\n  )?\]', lambda _: f'\n  "{key}": [\n{lines}\n  ]', text)
    assert count == 1, key
    return written


def main(argv: list[str] | None = None) -> None:
    """Test the model that the arguments name, and write its rows."""
    parser = Parser(prog="experiments/add_row.py", description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("preset", choices=list(PRESETS), help="the published model")
    parser.add_argument("--seed", type=int, default=1, help="the seed of its training")
    results = json.loads(FILE.read_text(encoding="utf-8"))
    parser.add_argument(
        "--variant", choices=list(results["variants"]), help="the word for the flags that the preset has otherwise"
    )
    parser.add_argument(
        "--system", choices=list(results["systems"]), help="the system that it reproduces by its recipe"
    )
    parser.add_argument("--checkpoint", help="the best checkpoint of a training whose weights are not published")
    parser.add_argument("--hardware", help="with --checkpoint: what it was trained on (default: this machine)")
    asked = parser.parse_args(argv)
    model = (asked.preset, asked.variant, asked.seed)
    checkpoint = asked.checkpoint and os.path.abspath(asked.checkpoint)
    training = training_of(*model, task_of(asked.preset, results["tasks"]), asked.system, checkpoint, asked.hardware)
    claim = [training["task"], training.get("system"), training["glimpses"]]
    if asked.system and claim not in [[row["task"], row["system"], row["glimpses"]] for row in results["claims"]]:
        raise UserError(f"{FILE.name} has no claim of --system={asked.system} on {claim[0]} with {claim[2]} glimpses")
    new = {"reproductions" if asked.system else "trainings": [training], "tests": tests_of(training, checkpoint)}
    text = FILE.read_text(encoding="utf-8")  # the tests took minutes
    for key, rows in new.items():
        text = write(text, key, placed(json.loads(text)[key], rows))
    FILE.write_text(text, encoding="utf-8")
    print(f"[*] {FILE.relative_to(ROOT)}: {published.name_of(asked.preset, asked.variant)}, seed {asked.seed}")


if __name__ == "__main__":
    command_line("add_row", main)
