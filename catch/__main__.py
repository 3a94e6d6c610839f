"""Train a player of Catch, go on with its training, let it play test games, or film it.

    python -m catch                     # train: 20 million frames
    python -m catch --resume=True       # go on exactly where it stopped
    python -m catch --is_train=False    # play 10,000 test games, sampled, then greedy
    python -m catch --watch=catch.gif   # film a few of them

Whatever needs paddle is imported inside the functions, after `prepare_cpu` has set the number of threads.
"""

from __future__ import annotations

import argparse
import os

from catch.config import PLAYER, adopt, check_sizes, get_config, run_name, settings
from ram.runs import checkpoint
from ram.runs.files import locked, locks_of, restore_log
from ram.system.command import command_line
from ram.system.cpu import choose_device
from utils import JsonLines, UserError, is_there, make_folder

PUBLISHED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "published")


class Files:
    """Where a run keeps its files."""

    def __init__(self, config):
        self.name = run_name(config)
        stem = os.path.join(config.ckpt_dir, self.name)
        self.latest = stem + "_ckpt.pdparams"
        self.previous = checkpoint.previous(self.latest)
        self.log = os.path.join(config.logs_dir, self.name + ".jsonl")
        self.locks = locks_of(self.name, config.ckpt_dir, config.logs_dir)

    def started(self) -> bool:
        """Tell whether there is a checkpoint to go on from."""
        return is_there(self.latest) or is_there(self.previous)


def main(config: argparse.Namespace) -> None:
    """Run the command that the flags describe.

    Raises:
        UserError: for anything that the user can put right; the message is one line.
        Interrupted: a signal asked to stop; everything was saved.
    """
    config = argparse.Namespace(**vars(config))  # the caller's stays as it is
    choose_device(use_gpu=False)
    if config.watch:
        watch(config)
    elif config.is_train:
        train(config)
    else:
        test(config)


def train(config) -> list[dict]:
    """Train from the start, or with --resume from where the last run of this name stopped; return the history."""
    from catch.trainer import Trainer, check_state

    files = Files(config)
    for folder in (config.ckpt_dir, config.logs_dir):
        make_folder(folder)
    with locked(*files.locks):
        state = None
        if config.resume and (config.resume != "auto" or files.started()):
            if not files.started():
                raise UserError(f"there is nothing to resume: {files.latest} does not exist; leave --resume out")
            state = checkpoint.read_latest(files.latest)
            if config.resume == "auto" and state.get("settings") != settings(config):
                state = None  # a training of other settings: a new one begins
            else:
                adopt(config, state.get("settings"), files.latest, list(settings(config)))

        check_sizes(config)

        def save(content: dict) -> None:
            checkpoint.write_latest(files.latest, {"settings": settings(config), **content})

        trainer = Trainer(config, save, JsonLines(files.log).append)
        if state:
            check_state(state, trainer, files.latest)
            trainer.load_state(state)
            restore_log(files.log, trainer.history, files.latest, "--logs_dir")
            if trainer.step == trainer.steps:
                print(f"[*] {files.name} is finished: {trainer.steps} batches")
                return trainer.history
            print(f"[*] Resuming {files.name} at batch {trainer.step} of {trainer.steps}")
        else:
            moved = checkpoint.set_aside([files.latest, files.previous, files.log], files.name, config.ckpt_dir)
            if moved:
                print(f"[*] An earlier run of this name was moved to {moved}; --resume=True would have gone on with it")
        print(f"[*] {files.name}: {trainer.steps} batches of {config.batch_size} games, {config.size} frames each")
        trainer.fit()
        print(f"[*] Trained: {files.latest}")
        return trainer.history


def load(config) -> tuple:
    """Build the player that the settings mean: --weights, or the run's own checkpoint, or the published one.

    Returns:
        The player, and a line that tells where it comes from.
    """
    from catch.model import Player
    from ram.build import load_weights

    files = Files(config)
    path, published = config.weights or files.latest, os.path.join(PUBLISHED, files.name + ".pdparams")
    if not config.weights and not files.started():
        if not os.path.exists(published):
            raise UserError(f"there is nobody to play: {path} does not exist; train first, or name a file by --weights")
        path = published.removeprefix(os.path.join(os.getcwd(), ""))
        print(f"[*] Nothing was trained as {files.name} in {config.ckpt_dir}: taking the published weights")
    content = checkpoint.read_latest(path) if path == files.latest else checkpoint.read(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} cannot be used: it holds no player of Catch")
    adopt(config, content.get("settings"), path, PLAYER)
    player = Player(config)
    try:
        load_weights(player, content.get("model"))
    except UserError as error:
        raise UserError(f"{path} cannot be used: {error}") from None
    frames = content.get("frames")
    return player, f"{path}, {frames:,} frames" if type(frames) is int else path


def test(config) -> list:
    """Play the test games with sampled actions and locations, then greedy; print and return both results."""
    from catch.play import caught_line, evaluate

    player, source = load(config)
    print(f"[*] {config.num_games} test games, {source}")
    results = []
    for greedy in (False, True):
        result = evaluate(player, config.num_games, config.size, greedy)
        print(f"[*] {'Greedy: most probable action, mean location' if greedy else 'Sampled'}")
        if not config.full_screen:
            print(
                f"[*] From the eye to the ball: {result.distance:.2f} pixels; in the last quarter of the games "
                f"{result.late_distance:.2f}"
            )
        print(caught_line(result.caught, result.count))
        results.append(result)
    return results


def watch(config) -> None:
    """Film the first test games of a trained player."""
    from catch.film import film
    from ram.draw import files

    player, source = load(config)
    print(f"[*] Filming {source}")
    files.write(config.watch, film(player, config.size))


if __name__ == "__main__":
    command_line("catch", lambda: main(get_config()))
