"""Parse the text of flags: types of values for argparse, and a parser whose errors are one line."""

from __future__ import annotations

import argparse
import difflib
import math
import os

from utils import UserError


def str2bool(text: str) -> bool:
    """Parse true/false, 1/0 or yes/no, in any case."""
    value = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(text.lower())
    if value is None:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false (true/false, 1/0 and yes/no are known)")
    return value


def bool_or_auto(text: str) -> bool | str:
    """Parse what `str2bool` does, or "auto"."""
    return "auto" if text.lower() == "auto" else str2bool(text)


def path(text: str) -> str:
    """Take the text as it is, with the home for a `~` in front, which a shell leaves in `--flag=~/folder`."""
    return os.path.expanduser(text)


def number(kind, low=-math.inf, high=math.inf, open_low=False, open_high=False):
    """Make an argparse type: a finite int or float between low and high, each end included unless declared open."""
    ends = [f"{'>' if open_low else '>='} {low}"] if low > -math.inf else []
    ends += [f"{'<' if open_high else '<='} {high}"] if high < math.inf else []
    name = "a whole number" if kind is int else "a number"

    def parse(text: str):
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {name}") from None
        inside = (value > low if open_low else value >= low) and (value < high if open_high else value <= high)
        if not inside or abs(value) == math.inf:
            raise argparse.ArgumentTypeError(
                f"{text.strip()} is out of range: it must be {' and '.join(ends) or 'finite'}"
            )
        return value

    lowest = f"{'(' if open_low or low == -math.inf else '['}{low}"
    highest = f"{high}{')' if open_high or high == math.inf else ']'}"
    parse.interval = f"{kind.__name__} {lowest}, {highest}"  # for the documentation
    return parse


class DefaultsHelp(argparse.ArgumentDefaultsHelpFormatter):
    """Show the default beside each flag that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one-line `UserError`s that suggest the nearest flag."""

    def given(self, argv: list[str] | None) -> frozenset[str]:
        """Name the flags that are among the arguments; from then on the parser has no defaults."""
        self._defaults.clear()
        for action in self._actions:
            action.default = argparse.SUPPRESS
        return frozenset(vars(self.parse_args(argv)))

    def error(self, message: str):
        unknown = message[len("unrecognized arguments: ") :] if message.startswith("unrecognized") else None
        if unknown:
            flag = (unknown.split() or [repr(unknown)])[0]
            options = {option.lower(): option for action in self._actions for option in action.option_strings}
            near = difflib.get_close_matches(flag.split("=")[0].lower(), options, n=1, cutoff=0.5)
            hint = f"; did you mean {options[near[0]]}?" if near else "; --help lists all flags"
            message = f"unknown argument {flag}{hint}"
        raise UserError(message)
