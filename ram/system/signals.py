"""Note the signals that stop a program, so that its state can be saved first."""

from __future__ import annotations

import signal
import threading


class Interrupted(KeyboardInterrupt):
    """A run was stopped by the signal `signum`, and its state is saved."""

    def __init__(self, signum: int, message: str):
        super().__init__(message)
        self.signum = signum


STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows


def ignore_stop_signals() -> None:
    """Ignore further stop signals, in a process that ends because of one."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class StopRequest:
    """A context in which SIGINT, SIGTERM and SIGHUP are noted in `signum` instead of ending the process at once.

    A signal that was inherited as ignored (nohup) stays ignored. Outside the main thread, where Python allows no
    handlers, nothing is caught.
    """

    def __init__(self):
        self.signum: int | None = None
        self._before = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, signum, frame):
        self.signum = signum

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
