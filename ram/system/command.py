"""Run a command of the project: errors in one line, and the exit status."""

from __future__ import annotations

import os
import sys
from typing import Callable

from ram.system.signals import Interrupted, ignore_stop_signals
from utils import UserError


def command_line(program: str, function: Callable[[], int | None]) -> None:
    """Run a command as a process of its own, and end the process with its status.

    Args:
        program: what its errors begin with, e.g. "main.py".
        function: the command, which returns the exit status; None is 0.

    The status is 2 for an error that the user can put right, with one line on the standard error; 128 plus the signal's
    number where a signal stopped a training that saved itself; 130 for any other Ctrl-C; 141 where the reader of the
    output has gone.
    """
    open_streams()
    # A log shows each epoch when it ends; names that the terminal's encoding lacks are escaped.
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    try:
        status = function()
    except Interrupted as stop:
        ignore_stop_signals()  # everything is saved: a second Ctrl-C would only bring a traceback
        print(stop, flush=True)
        status = 128 + stop.signum
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        give_up_output()
        status = 141
    except UserError as error:
        complain(program, str(error))
        status = 2
    except MemoryError:
        complain(program, "there is not enough memory for this: smaller networks, images or batches need less")
        status = 2
    except OSError as error:  # a full disk behind the standard output, for example
        give_up_output()
        complain(program, str(error))
        status = 2
    if status:
        sys.exit(status)


def open_streams() -> None:
    """Open the null device in place of missing standard streams.

    Otherwise the next files that the process opens get their numbers, and the output that libraries write to them.
    """
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        descriptor = os.dup(descriptor)
    os.close(descriptor)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", encoding="utf-8"))


def give_up_output() -> None:
    """Redirect the standard output to the null device: flushing it at the end would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(program: str, message: str) -> None:
    """Print an error as one line on the standard error, where that can be written to.

    What would break the line or steer the terminal, as the path of a file may, is escaped.
    """
    line = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in f"{program}: {message}")
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
