"""Name and lock the files of a run, and move them aside for a fresh start."""

from __future__ import annotations

import contextlib
import json
import os

from config import run_name
from ram.runs import checkpoint
from ram.system import processes
from utils import UserError, file_access, from_json, is_there, make_folder, printable


class RunFiles:
    """The names of a run's files."""

    def __init__(self, config):
        self.name = run_name(config)
        stem = os.path.join(config.ckpt_dir, self.name)
        self.latest = stem + "_ckpt.pdparams"
        self.previous = checkpoint.previous(self.latest)
        self.best = stem + "_model_best.pdparams"
        self.params = stem + "_params.json"
        self.locks = locks_of(self.name, config.ckpt_dir, config.logs_dir, config.plots_dir)
        self.log = os.path.join(config.logs_dir, self.name + ".jsonl")
        self.skipped = os.path.join(config.logs_dir, self.name + "_skipped.txt")
        self.scalars = os.path.join(config.logs_dir, self.name)
        self.plots = os.path.join(config.plots_dir, self.name)

    def started(self) -> bool:
        """Tell whether there is a checkpoint to resume."""
        return is_there(self.latest) or is_there(self.previous)

    def last(self) -> str:
        """Name the latest checkpoint, or the one before it where that alone is there."""
        return self.previous if not is_there(self.latest) and is_there(self.previous) else self.latest

    def of_a_run(self) -> list[str]:
        """List what a training writes and a fresh start moves aside."""
        return [self.latest, self.previous, self.best, self.params, self.log, self.skipped, self.scalars, self.plots]


def write_skipped(path: str, skipped: dict[str, str]) -> None:
    """Add the images that were left out to a file, `path: reason` on each line, unless they are in it already."""
    if not skipped or not processes.is_first():
        return
    make_folder(os.path.dirname(path) or ".")
    refuse_links([path])
    with file_access("write", path), open(path, "a+", encoding="utf-8") as file:
        file.seek(0)
        known = set(file.read().splitlines())
        lines = [f"{printable(name)}: {printable(why)}" for name, why in skipped.items()]
        file.writelines(line + "\n" for line in lines if line not in known)
    print(f"[!] {len(skipped)} images were left out: see {path}")


def restore_log(path: str, history: list[dict], owner: str, flags: str = "--logs_dir (and --plots_dir)") -> None:
    """Make a log hold just the records of a history: a training that was killed may have logged more or less.

    Where the history is empty nothing tells whose log it is, and it is moved into a folder `old` beside it.

    Args:
        path: the log.
        history: the records.
        owner: the checkpoint that they come from, for the message.
        flags: those that would name another folder, for the message.

    Raises:
        UserError: the log is that of another training, as where two share a folder for logs; it stays as it is.
    """
    logged = []
    if is_there(path):
        with file_access("read", path), open(path, encoding="utf-8", errors="replace") as file:
            logged = [line for line in file if line.endswith("\n") and line.strip()]  # the last may be torn
    if not all(map(tells_of, logged, history)):
        raise UserError(
            f"{path} is the log of another training than {owner}, and stays as it is: give {flags} of its own, or move "
            "the log away"
        )
    if logged and not history:
        print(f"[*] {path} was moved to {checkpoint.set_aside([path], os.path.basename(path).removesuffix('.jsonl'))}")
    checkpoint.write_bytes(path, "".join(json.dumps(record) + "\n" for record in history).encode())


def tells_of(line: str, record: dict) -> bool:
    """Tell whether a line of a log has the figures of a record; the time may differ."""
    try:
        logged = from_json(line)
    except ValueError:
        return False
    common = logged.keys() & record.keys() - {"seconds"} if isinstance(logged, dict) else ()
    return bool(common) and all(json.dumps(logged[name]) == json.dumps(record[name]) for name in common)


def locks_of(name: str, *folders: str) -> list[str]:
    """Name the locks of a run, or of several, one in each of its folders: two runs may share just one folder."""
    return [os.path.join(folder, name + ".lock") for folder in dict.fromkeys(map(os.path.realpath, folders))]


def refuse_links(paths: list[str]) -> None:
    """Raise UserError where a file of a run is a link out of its folder, which may be a link itself.

    What a run writes would replace somebody's file elsewhere.
    """
    for path in paths:
        folder = os.path.realpath(os.path.dirname(path) or ".")
        if os.path.islink(path) and not os.path.realpath(path).startswith(os.path.join(folder, "")):
            raise UserError(f"{path} is a link out of its folder, which is not followed; a link to a folder may be")


@contextlib.contextmanager
def locked(*paths: str):
    """Hold the locks of these paths in the first of several processes; in the others, do nothing.

    Raises:
        UserError: another process holds one, or a lock is a link out of its folder, since locking empties the file.
    """
    refuse_links(list(paths))
    with contextlib.ExitStack() as locks:
        for path in paths if processes.is_first() else ():
            locks.enter_context(checkpoint.RunLock(path))
        yield


def move_aside(paths: list[str], name: str, config) -> None:
    """Move what a fresh start would overwrite into its own folder, and print which."""
    if processes.is_first():
        put_aside(paths, name, config)
    processes.barrier()  # the other processes must not find these files


def put_aside(paths: list[str], name: str, config) -> None:
    """Move files as `move_aside` does, by this process alone."""
    begun = any(path.endswith(".pdparams") and is_there(path) for path in paths)
    moved = checkpoint.set_aside(paths, name, config.ckpt_dir)
    if moved and begun:
        print(f"[*] An earlier run of this name was moved to {moved}; --resume=True would have gone on with it")
    elif moved:
        print(f"[*] Files of another run of this name were moved to {moved}")
