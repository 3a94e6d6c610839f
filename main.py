"""Train RAM, resume its training, test it, or use it: parse, seed, device, data, trainer.

    python main.py                      # train
    python main.py --resume=True        # go on exactly where it stopped
    python main.py --is_train=False     # test the best checkpoint
    python main.py --predict PATH...    # classify own images with it
    python main.py --export=DIR         # write it for other programs

Whatever needs paddle is imported inside the functions, after `prepare_cpu` has set the number of threads.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys

from config import FREE, KEPT, data_set, experiment_name, get_config, run_name
from ram.runs import checkpoint, published, seeds
from ram.runs.settings import adopt, completed, deciding, settings
from ram.runs.weights import RunFiles, check_fits, find_weights, read_weights
from ram.system import processes
from ram.system.command import command_line
from ram.system.cpu import choose_device, prepare_cpu
from utils import JsonLines, UserError, make_folder


def main(config) -> int:
    """Do what the settings ask for. From a notebook: `main(get_config(["--epochs=1"]))`.

    Returns:
        the exit status: 1 if --predict had to skip something, else 0.

    Raises:
        UserError: for anything that the user can put right; the message is one line.
        Interrupted: if a signal asked to stop; everything was saved.
    """
    if config.preset == "help":
        print(published.listing())
        return 0
    config = argparse.Namespace(**vars(config))  # the caller's stays as it is
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr) if config.json else contextlib.nullcontext():  # objects alone go to out
        prepare_cpu()
        choose_device(config.use_gpu)
        with processes.together():
            if config.predict:
                return 1 if processes.is_first() and predict(config, out) else 0
            if config.export or config.export_onnx:
                if processes.is_first():
                    export(config)
            elif config.num_runs > 1:
                several(config)
            elif config.is_train:
                train(config)
            else:
                test(config)
    return 0


def several(config) -> None:
    """Train and test --num_runs runs, one after the other, or with --is_train=False test them; see ram/runs/seeds.py.

    With --resume, runs that are finished are only tested again, which gives what it gave before; one that was stopped
    goes on, and those that had not begun do, with the settings of those that had.
    """
    if not config.is_train:
        print(seeds.error_line([test(one).error for one in seeds.each(config)]))
        return
    name = experiment_name(config)
    path = os.path.join(config.logs_dir, name + "_results.json")
    with first_has(os.path.join(config.ckpt_dir, name + "_runs.lock")):
        if config.resume:
            first = next((one for one in seeds.each(config) if RunFiles(one).started()), seeds.each(config)[0])
            read_state(first, RunFiles(first))
            # From here on these settings count as given: a run that was trained otherwise is an error.
            given = first.explicit | set(settings(first)) - FREE
            config = argparse.Namespace(**{**vars(first), "random_seed": config.random_seed, "explicit": given})
        else:
            of_all = [file for one in seeds.each(config) for file in RunFiles(one).of_a_run()]
            move_aside([*of_all, path], name, config)
        done = []
        for one in seeds.each(config):
            print(f"\n[*] Run {len(done) + 1} of {config.num_runs}: {run_name(one)}")
            one.resume = RunFiles(one).started()
            done.append(seeds.Run(one.random_seed, run_name(one), train(one), test(one)))
            if processes.is_first():
                checkpoint.write_json(path, seeds.results(config, done))
    print(seeds.error_line([run.test.error for run in done]))


def train(config) -> list[dict]:
    """Train from the start, from --weights, or with --resume from where the last run of this name stopped.

    Returns:
        The record of every epoch.
    """
    files = RunFiles(config)
    for folder in (config.ckpt_dir, config.logs_dir, config.plots_dir):
        make_folder(folder)
    with first_has(*files.locks):
        state = read_state(config, files) if config.resume else None
        with processes.first_alone():
            train_split, valid_split = load_splits(config)
        if state:
            check_resumable(state, config, train_split, files.latest)
        trainer = make_trainer(config, files, train_split, valid_split)
        splits = [train_split, valid_split]
        if state:
            trainer.load_state(state)
            check_same_start(config, trainer.model, splits, trainer.epoch, trainer.step)
            if processes.is_first():
                JsonLines(files.log).replace(trainer.history)  # a run that was killed may have logged more or less
            ended = {"--epochs": trainer.epoch >= config.epochs, "--train_patience": trainer.patience_is_out()}
            remedies = [flag for flag, has_ended in ended.items() if has_ended]
            if remedies:
                print(
                    f"[*] {files.name} is finished: {trainer.epoch} epochs, best validation accuracy "
                    f"{trainer.best_valid_acc:.3f} %; a larger {' and '.join(remedies)} goes on"
                )
                return trainer.history
            print(f"[*] Resuming {files.name} at step {trainer.step} of epoch {trainer.epoch + 1}")
        else:
            if config.weights:
                load_named_weights(trainer, config)
            check_same_start(config, trainer.model, splits)
            move_aside(files.of_a_run(), files.name, config)
        if processes.is_first():
            checkpoint.write_json(files.params, settings(config))
        print(f"[*] Train on {len(train_split)} samples, validate on {len(valid_split)} samples")
        trainer.fit()
        print(f"[*] Best validation accuracy {trainer.best_valid_acc:.3f} %: {files.best}")
        return trainer.history


@contextlib.contextmanager
def first_has(*paths: str):
    """The locks of these paths for the first of several processes, and a context that does nothing for the others."""
    with contextlib.ExitStack() as locks:
        for path in paths if processes.is_first() else ():
            locks.enter_context(checkpoint.RunLock(path))
        yield


def check_same_start(config, model, splits: list, *progress: int) -> None:
    """Raise UserError where not all processes begin with the same settings, labels, weights and progress."""
    if processes.world() == 1:
        return
    kept = {name: value for name, value in settings(config).items() if name not in FREE or name in KEPT}
    processes.check_same(
        settings=repr(kept).encode(),
        labels=b"".join(split.labels.tobytes() for split in splits),
        weights=b"".join(weight.numpy().tobytes() for weight in model.state_dict().values()) + repr(progress).encode(),
    )


def move_aside(paths: list[str], name: str, config) -> None:
    """Move what a fresh start would overwrite into a folder of its own, and say so."""
    moved = checkpoint.set_aside(paths, name, config.ckpt_dir) if processes.is_first() else None
    if moved:
        print(f"[*] An earlier run of this name was moved to {moved}; --resume=True would have gone on with it")
    processes.barrier()  # what is gone, no process finds


def read_state(config, files: RunFiles) -> dict:
    """The state to resume from; its settings fill in whatever no flag gave."""
    path = files.latest
    if not files.started():
        raise UserError(f"there is nothing to resume: {path} does not exist; leave --resume out to start")
    state = checkpoint.read_latest(path)
    if not isinstance(state.get("settings"), dict) or "optimizer" not in state:
        raise UserError(f"{path} cannot be resumed: it holds no training state")
    saved = completed(state["settings"])
    same = {"preset"} if deciding(saved) == deciding(settings(config)) else set()  # its name alone differs
    adopt(config, saved, path, [name for name in saved if name not in FREE | same])
    adopt(config, saved, path, KEPT, strict=False)
    return state


def check_resumable(state: dict, config, train_split, path: str) -> None:
    """Raise UserError where a checkpoint holds no state of such a training, or one on other data."""
    from trainer import check_state

    check_fits(state, train_split, path)
    try:
        check_state(state, config, train_split)
    except UserError as error:
        raise UserError(f"{path} cannot be resumed: {error}") from None


def load_splits(config):
    """The training and validation splits, with a picture of some training images if that was asked for."""
    from data_loader import get_train_valid

    train_split, valid_split = get_train_valid(config)
    if config.show_sample and processes.is_first():
        from ram.draw.snapshots import show_sample

        print(f"[*] Wrote {show_sample(train_split, config.plots_dir, data_set(config))}")
    return train_split, valid_split


def make_trainer(config, files: RunFiles, train_split, valid_split):
    """A trainer that saves, logs and stores glimpses where the run keeps its files."""
    from modules import Geometry
    from ram.build import arrays
    from ram.draw.snapshots import save_glimpses
    from trainer import Trainer

    geometry = Geometry(config.patch_size, config.num_patches, config.glimpse_scale, config.unit_pixels)
    visualdl = None
    if config.use_visualdl or config.use_tensorboard:
        from ram.draw import visualdl as visualdl_log

        visualdl = visualdl_log.VisualDLLog(files.scalars, files.name)

    def save(state: dict) -> None:
        checkpoint.write_latest(files.latest, {"settings": settings(config), **state})

    def save_best(weights: dict) -> None:
        checkpoint.write(files.best, {"settings": settings(config), **weights})

    def log(record: dict) -> None:
        JsonLines(files.log).append(record)
        weights, picture = None, None
        if config.plot_freq and record["epoch"] % config.plot_freq == 0:
            if visualdl:
                weights = arrays(trainer.evaluated.state_dict())
            if config.model == "ram":
                glimpses = trainer.glimpses()
                save_glimpses(files.plots, record["epoch"], glimpses)
                if visualdl:
                    picture = visualdl_log.draw(glimpses, record["epoch"], geometry)
        if visualdl:
            visualdl.write(record, weights, picture)

    # Other processes than the first compute the same and keep nothing.
    keep = (save, save_best, log) if processes.is_first() else 3 * [lambda _: None]
    trainer = Trainer(config, train_split, valid_split, *keep)
    return trainer


def load_named_weights(trainer, config) -> None:
    """Start a training from the weights in --weights."""
    from ram.build import load_weights

    weights, *_ = read_weights(config.weights)
    for model in trainer.models():
        load_weights(model, weights)
    print(f"[*] Starting from the weights in {config.weights}")


def predict(config, out) -> int:
    """Classify own images; returns how many were skipped."""
    from ram.use import predict as prediction

    config, weights, _, path, about = find_weights(config)
    return prediction.predict(config, prediction.load_classifier(config, weights, about, path), out)


def export(config) -> None:
    """Write the model for programs that are not this one."""
    from ram.use import export as exporting

    exporting.export(find_weights(config))


def test(config):
    """Print and return how the weights that the settings mean do on the test images.

    Returns:
        An `evaluation.Evaluation`.
    """
    from data_loader import get_test
    from ram.build import build_trained
    from ram.evaluation import evaluate

    config, weights, epoch, path, about = find_weights(config)
    with processes.first_alone():
        split = get_test(config)
    check_fits(about, split, path)
    model = build_trained(config, split.image_shape, split.num_classes, weights)
    check_same_start(config, model, [split])
    result = evaluate(model, split, config.num_glimpses, config.M, config.locations, config.random_seed)
    locations = config.locations if config.model == "ram" else "no"
    print(f"[*] {data_set(config)} test, M={result.rollouts}, {locations} locations, epoch {epoch}, {path}")
    print(f"[*] Test Acc: {result.correct}/{result.count} ({result.accuracy:.2f}% - Error: {result.error:.2f}%)")
    return result


if __name__ == "__main__":
    command_line("main.py", lambda: main(get_config()))
