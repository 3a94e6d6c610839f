"""Remove the temporary files of processes that were killed."""

from __future__ import annotations

import os
import re


def remove_leftovers(folder: str, pattern: str) -> None:
    """Remove the files in a folder that ended processes left there; what cannot be removed stays.

    Args:
        folder: the folder; "" is the working folder.
        pattern: regular expression for the whole name; its first group is the number of the process.

    Raises:
        OSError: the folder cannot be read.
    """
    for entry in os.listdir(folder or "."):
        match = re.fullmatch(pattern, entry)
        if match and not is_alive(int(match[1])):
            try:
                os.remove(os.path.join(folder, entry))
            except OSError:
                pass


def is_alive(pid: int) -> bool:
    """Tell whether another process of this number runs."""
    if os.name != "posix":  # there os.kill would end the process, and a file that is in use cannot be removed anyway
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return pid != os.getpid()  # an earlier process had this number, as happens in containers
