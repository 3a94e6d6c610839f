"""Define the flags of Catch, their limits, and the name of a run."""

from __future__ import annotations

import argparse

from config import check_widest_patch, deviation, positive, share, size, units
from ram.system.parsing import DefaultsHelp, Parser, bool_or_auto, number, path, str2bool
from utils import UserError

# Flags that a resumed run may change, and that say nothing about a trained player.
FREE = ("is_train", "resume", "watch", "num_games", "weights", "ckpt_dir", "logs_dir", "save_freq")
# Flags that make a player what it is: a file of weights decides them.
PLAYER = ("size", "patch_size", "num_patches", "glimpse_scale", "hidden_size", "std", "policy", "full_screen")


def build_parser() -> Parser:
    """Build the parser of all flags, in groups."""
    parser = Parser(
        prog="catch",
        description="Catch (Mnih et al., 2014, section 4.2): learn where to look and how to play from reward alone.",
        allow_abbrev=False,
        formatter_class=DefaultsHelp,
    )
    switch = {"type": str2bool, "nargs": "?", "const": True, "metavar": "BOOL"}

    group = parser.add_argument_group("Game")
    group.add_argument("--size", type=number(int, 4, 256), default=24, help="side of the screen in pixels (N)")

    group = parser.add_argument_group("Player")
    group.add_argument("--patch_size", type=number(int, 1, 256), default=6, help="cells on a side of a patch (g)")
    group.add_argument("--num_patches", type=number(int, 1, 8), default=3, help="patches per glimpse (k)")
    group.add_argument("--glimpse_scale", type=number(int, 1, 8), default=2, help="factor between their widths (s)")
    group.add_argument("--hidden_size", type=units, default=256, help="units of the LSTM core (D)")
    group.add_argument("--std", type=deviation, default=0.1, help="standard deviation of the location policy")
    group.add_argument(
        "--policy",
        choices=("learned", "random", "center"),
        default="learned",
        help="where to look: learned, or uniformly random or always the middle, to show what attention is worth",
    )
    group.add_argument("--full_screen", **switch, default=False, help="see every pixel of every frame: no retina")

    group = parser.add_argument_group("Training")
    group.add_argument(
        "--frames", type=number(int, 1, 10**12), default=20_000_000, help="frames to train for, each counted once"
    )
    group.add_argument("--batch_size", type=size, default=512, help="games that are played between trainings")
    group.add_argument("--minibatch", type=size, default=128, help="games per update of the weights")
    group.add_argument("--passes", type=number(int, 1, 100), default=3, help="times that each game is learned from")
    group.add_argument(
        "--clip_ratio", type=positive, default=0.2, help="a choice pulls no more once it is this much more likely"
    )
    group.add_argument("--init_lr", type=positive, default=1e-3, help="learning rate of Adam; it falls linearly to 0")
    group.add_argument("--clip_norm", type=positive, default=1.0, help="clip the gradient's norm")
    group.add_argument("--entropy", type=number(float, 0), default=0.01, help="weight of the actions' entropy")
    group.add_argument(
        "--trace", type=share, default=0.95, help="how far a choice is judged by what comes later (1: by reward alone)"
    )
    group.add_argument(
        "--baseline",
        choices=("informed", "plain"),
        default="informed",
        help="what the baseline reads besides h_t: the game's state, too, or the frame's number alone",
    )

    group = parser.add_argument_group("Running")
    group.add_argument("--is_train", **switch, default=True, help="train, or play test games")
    group.add_argument(
        "--resume",
        **{**switch, "type": bool_or_auto},
        default=False,
        help="go on where the last run of this name stopped; auto: if it has these very settings, else start",
    )
    group.add_argument("--watch", type=path, metavar="FILE", default=None, help="film a few games as a GIF")
    group.add_argument("--num_games", type=size, default=10_000, help="test games to play")
    group.add_argument("--weights", type=path, metavar="FILE", default=None, help="play with the weights in this file")
    group.add_argument("--random_seed", type=number(int, 0, 2**31 - 1), default=1, help="seed of everything random")
    group.add_argument("--ckpt_dir", type=path, default="./ckpt", help="folder of the checkpoints")
    group.add_argument("--logs_dir", type=path, default="./logs/", help="folder of the logs")
    group.add_argument(
        "--save_freq", type=number(int, 0, 10**6), default=0, help="batches between checkpoints (0: every 30 seconds)"
    )
    return parser


def get_config(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse and check the flags; `explicit` holds the names of those that were given.

    Raises:
        UserError: for a flag that does not exist, a value that is not allowed, or values that contradict each other.
    """
    parser = build_parser()
    config = parser.parse_args(argv)
    config.explicit = parser.given(argv)
    check(config)
    if config.full_screen:  # one patch of single pixels over the whole screen, and nowhere to look but its middle
        for name, value in (("patch_size", config.size), ("num_patches", 1), ("policy", "center")):
            given = getattr(config, name)
            if name in config.explicit and given != value:
                raise UserError(f"--full_screen=True means --{name}={value}: leave out --{name}={given}")
            setattr(config, name, value)
    return config


def check_sizes(config: argparse.Namespace) -> None:
    """Raise UserError where batches, their parts and the length of a training do not go together."""
    c = config
    if c.minibatch > c.batch_size:
        raise UserError(f"--minibatch={c.minibatch} is above --batch_size={c.batch_size}, of which it is a part")
    if c.frames < c.batch_size * c.size:
        raise UserError(f"--frames={c.frames} is less than one batch has: {c.batch_size} games of {c.size} frames")


def check(config: argparse.Namespace) -> None:
    """Raise UserError where values do not go together."""
    c = config
    check_widest_patch(c)
    if not c.resume:  # else after the settings of the checkpoint are adopted
        check_sizes(c)
    if c.resume is True and not (c.is_train and c.watch is None):
        raise UserError("--resume=True goes on with a training: leave out --is_train=False and --watch")
    if c.weights and c.is_train and c.watch is None:
        raise UserError(f"--weights={c.weights} is for --is_train=False and --watch: training starts from the seed")
    for name in ("watch", "weights", "ckpt_dir", "logs_dir"):
        value = getattr(c, name)
        if value is not None and (not value or "\0" in value):
            raise UserError(f"--{name}={value!r} is not a path")
    if c.watch and not c.watch.lower().endswith(".gif"):
        raise UserError(f"--watch={c.watch} is to be a GIF: give a name that ends with .gif")


def settings(config: argparse.Namespace) -> dict:
    """Return the flags that decide a training, as plain data for a file."""
    return {name: value for name, value in vars(config).items() if name != "explicit" and name not in FREE}


def adopt(config: argparse.Namespace, saved: object, path: str, names: tuple | list) -> None:
    """Take flags from the settings in a file.

    Raises:
        UserError: a given flag differs, or the file's settings are none of this program.
    """
    if not isinstance(saved, dict) or not all(name in saved for name in names):
        raise UserError(f"{path} cannot be used: it holds no player of Catch")
    try:
        trained = get_config([f"--{name}={saved[name]}" for name in names])
    except UserError as error:
        raise UserError(f"{path} cannot be used: {error}") from None
    for name in names:
        value = getattr(trained, name)
        if name in config.explicit and getattr(config, name) != value:
            raise UserError(f"--{name}={getattr(config, name)}: {path} was trained with --{name}={value}")
        setattr(config, name, value)


def run_name(config: argparse.Namespace) -> str:
    """Return the name that all files of a run begin with."""
    parts = ["catch"]
    parts += [str(config.size)] * (config.size != 24)
    parts += [config.policy] * (config.policy != "learned" and not config.full_screen)
    parts += ["full_screen"] * config.full_screen
    return "_".join([*parts, f"seed{config.random_seed}"])
