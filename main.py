"""Train RAM, resume a training, test a model, or use it: parse, seed, device, data, trainer.

    python main.py                      # train
    python main.py --resume=True        # go on exactly where it stopped
    python main.py --resume=auto        # go on if this very training was begun, else start
    python main.py --is_train=False     # test the best checkpoint
    python main.py --predict PATH...    # classify own images with it
    python main.py --export=DIR         # write it for other programs
    python main.py --preset=help        # list the presets and their published errors

Whatever needs paddle is imported inside the functions, after `prepare_cpu` has set the number of threads.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys

from config import OWN, data_set, get_config
from ram.data.shares import TEST_SIZE
from ram.runs import checkpoint, published, seeds
from ram.runs.files import RunFiles, locked, move_aside, refuse_links, restore_log, write_skipped
from ram.runs.find import find
from ram.runs.settings import adopt, settings
from ram.runs.sizes import settle
from ram.runs.weights import fitted, read
from ram.system import processes
from ram.system.command import command_line
from ram.system.cpu import choose_device, prepare_cpu
from utils import make_folder


def main(config) -> int:
    """Run the command that the config describes.

    From a notebook: `main(get_config(["--epochs=1"]))`.

    Returns:
        The exit status: 1 if --predict had to skip something, else 0.

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
            uses_a_model = config.predict or config.export or config.export_onnx
            settle(config, trains=config.is_train and not uses_a_model)
            if config.predict:
                return 1 if processes.is_first() and predict(config, out) else 0
            if config.resume == "auto":
                config.resume = config.is_train and seeds.begun(config)
            if config.export or config.export_onnx:
                if processes.is_first():
                    export(config)
            elif config.num_runs > 1:
                seeds.train_and_test(config, load, train, test) if config.is_train else seeds.test(config, test)
            elif config.is_train:
                train(config)
            else:
                test(config)
    return 0


def load(config) -> None:
    """Load all images of a training and of its test; raise UserError where there are none, or some cannot be used."""
    from data_loader import get_test, get_train_valid

    with processes.first_alone(), contextlib.redirect_stdout(io.StringIO()):  # lines on them come with the training
        train_split, _ = get_train_valid(config)
        get_test(config, train_split.about)


def train(config) -> list[dict]:
    """Train from the start, from --weights, or with --resume from where the last run of this name stopped.

    Returns:
        The record of every epoch.
    """
    from data_loader import get_train_valid
    from ram.resume import check_resumable, check_same_start, read_state
    from ram.runs.recorder import Recorder
    from ram.start import start_from_file
    from trainer import Trainer

    if config.weights:  # before the run is named: patches lie where they lay when the weights were trained
        adopt(config, read(config.weights).settings, config.weights, ["crop_offset"], strict=False)
    files = RunFiles(config)
    for folder in (config.ckpt_dir, config.logs_dir, config.plots_dir):
        make_folder(folder)
    refuse_links(files.of_a_run())
    with locked(*files.locks):
        state = read_state(config, files) if config.resume else None
        with processes.first_alone():
            train_split, valid_split = get_train_valid(config, state and state.get("data", {}))
        if config.show_sample and processes.is_first():
            show_sample(train_split, config)
        if state:
            check_resumable(state, config, train_split, files.latest)
        keep = 3 * [lambda *_: None]  # other processes than the first compute the same and keep nothing
        if processes.is_first():
            recorder = Recorder(config, files, valid_split)
            keep = [recorder.save, recorder.save_best, recorder.log]
        trainer = Trainer(config, train_split, valid_split, *keep)
        if state:
            trainer.load_state(state)
        elif config.weights:
            start_from_file(config, trainer, train_split, valid_split)
        check_same_start(config, trainer.model, [train_split, valid_split], trainer.epoch, trainer.step)
        if not state:
            move_aside(files.of_a_run(), files.name, config)
        elif processes.is_first():
            restore_log(files.log, trainer.history, files.latest)
        if state and trainer.remedies():
            print(
                f"[*] {files.name} is finished: {trainer.epoch} epochs, best validation accuracy "
                f"{trainer.best_valid_acc:.3f} %; a larger {' and '.join(trainer.remedies())} goes on"
            )
            return trainer.history
        if state:
            print(f"[*] Resuming {files.name} at step {trainer.step} of epoch {trainer.epoch + 1}")
        if processes.is_first():
            checkpoint.write_json(files.params, settings(config))
            write_skipped(files.skipped, train_split.skipped)
        print(f"[*] Train on {len(train_split)} samples, validate on {len(valid_split)} samples")
        trainer.fit()
        print(f"[*] Best validation accuracy {trainer.best_valid_acc:.3f} %: {files.best}")
        return trainer.history


def test(config):
    """Evaluate the weights that `find` finds on the test images, print the result and return it as an `Evaluation`."""
    from data_loader import get_test
    from ram.build import build
    from ram.data.own import check_test_share
    from ram.evaluation import by_class, evaluate
    from ram.resume import check_same_start

    trained = find(config)
    with processes.first_alone():
        split = get_test(config, {} if trained.data is None else trained.data)
    if config.weights:  # the name of a run holds its own share of test images
        check_test_share(config, float(trained.settings.get("test_size", TEST_SIZE)), split.about, trained.data)
    write_skipped(RunFiles(config).skipped, split.skipped)
    model = build(fitted(trained, split), config)
    check_same_start(config, model, [split])
    result = evaluate(model, split, config.num_glimpses, config.M, config.locations, config.random_seed)
    locations = config.locations if config.model == "ram" else "no"
    print(
        f"[*] {data_set(config)} test, M={result.rollouts}, {locations} locations, epoch {trained.epoch}, "
        f"{trained.path}"
    )
    if config.dataset in OWN:
        print(by_class(result, split.classes))
    print(f"[*] Test Acc: {result.correct}/{result.count} ({result.accuracy:.2f}% - Error: {result.error:.2f}%)")
    return result


def predict(config, out) -> int:
    """Classify the user's own images; return how many were skipped."""
    from ram.use.predict import predict as classify

    return classify(config, find(config), out)


def export(config) -> None:
    """Write the model for other programs."""
    from ram.use.export import export as write

    write(config, find(config))


def show_sample(split, config) -> None:
    """Write a picture of some training images."""
    from ram.draw import snapshots

    print(f"[*] Wrote {snapshots.show_sample(split, config.plots_dir, data_set(config))}")


if __name__ == "__main__":
    command_line("main.py", lambda: main(get_config()))
