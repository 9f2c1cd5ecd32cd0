"""Which signals a program has to know of that looks after another one. Pure."""

from __future__ import annotations

import signal
from signal import Signals
from typing import Final

#: What nobody can catch; and what a program's own faults come as, into which a handler could only go back.
_UNCAUGHT: Final = frozenset(
    {Signals.SIGKILL, Signals.SIGSTOP, Signals.SIGSEGV, Signals.SIGBUS, Signals.SIGFPE, Signals.SIGILL}
)

#: What a command is to hear of though it ends nobody.
_TOLD: Final = frozenset({Signals.SIGCONT, Signals.SIGTSTP, Signals.SIGURG, Signals.SIGWINCH})

#: What is between this process and its own terminal or command.
_OWN: Final = frozenset({Signals.SIGCHLD, Signals.SIGTTIN, Signals.SIGTTOU})

#: What ends a process that does nothing about it, by number: the real-time signals have no names.
ENDING: Final = frozenset(map(int, signal.valid_signals() - _UNCAUGHT - _TOLD - _OWN))

#: What a command hears of.
PASSED_ON: Final = ENDING | frozenset(map(int, _TOLD))


def name(number: int) -> str:
    """Return what a signal is called."""
    try:
        return Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - Signals.SIGRTMIN}"
