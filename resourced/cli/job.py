"""
A command as a shell runs it: a process group of its own, which has the terminal while it is in the foreground.

The group is what makes an end of it: a signal reaches all processes of the command, not only the first.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path
from signal import Signals
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from resourced.cli.output import say
from resourced.cli.signals import name

#: What the kernel stops a job with that wants the terminal and is in the background.
_WANTS_TERMINAL: Final = (Signals.SIGTTIN, Signals.SIGTTOU)

#: Seconds between two looks whether anything of a job that is being ended is left.
_LOOK_AGAIN: Final = 0.05

#: How many bytes of a file are looked at to tell a script from a binary.
_SNIFFED: Final = 256


class Terminal:
    """The terminal of this process, if it has one, to be lent to a job. Once it has hung up, nothing happens any more."""

    def __init__(self) -> None:
        self._fd = -1
        with suppress(OSError):
            self._fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)

    @property
    def there(self) -> bool:
        """Whether this process has one."""
        return self._fd >= 0

    @property
    def ours(self) -> bool:
        """Whether this process is in the foreground."""
        return self._foreground() == os.getpgrp()

    def lend(self, group: int) -> None:
        """Bring a process group to the foreground."""
        # Who is in the background is stopped for this, unless the signal is blocked.
        signal.pthread_sigmask(signal.SIG_BLOCK, {Signals.SIGTTOU})
        with suppress(OSError):
            os.tcsetpgrp(self._fd, group)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {Signals.SIGTTOU})

    def take_back(self, group: int) -> bool:
        """Bring this process to the foreground if the group is there now; return whether it was."""
        if self._foreground() != group:
            return False
        self.lend(os.getpgrp())
        return True

    def _foreground(self) -> int:
        try:
            return os.tcgetpgrp(self._fd)
        except OSError:
            return -1


class Delivery(Enum):
    """Who got a signal: some of the processes; none, because all belong to other users; or nobody was there."""

    SOME = auto()
    NONE_OF_OURS = auto()
    NOBODY = auto()


class Job:
    """
    A command to be started once.

    From before the start its user hands it the signals that it is to know of. ``SIGCHLD`` goes to ``look``, and all others to
    ``receive``, not sooner than in the next turn of the reactor.

    :ivar ended: fires when its first process has ended.
    :ivar status: how that ended then: its exit status, or 128 and the number of the signal.
    """

    def __init__(self, reactor: Any) -> None:
        self.ended: Deferred[None] = Deferred()
        self.status = 0
        self._reactor = reactor
        self._terminal = Terminal()
        self._group = 0
        self._wants_terminal = False
        self._stopped = False

    def start(self, command: Sequence[str], environ: Mapping[bytes, bytes]) -> None:
        """
        Start a command with the standard streams of this process.

        It gets the terminal at once if it reads and writes there, as an editor does. In a pipeline, where others may need
        the terminal, only when it asks for it.

        :raises OSError: it cannot be started.
        """
        try:
            self._group = _spawn(command, environ)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            # A script that does not say who runs it is run by a shell, as execvp(3) has it.
            script = shutil.which(command[0]) or command[0]
            if b"\0" in Path(script).read_bytes()[:_SNIFFED]:
                raise
            self._group = _spawn(("/bin/sh", script, *command[1:]), environ)
        self._wants_terminal = os.isatty(0) and os.isatty(1)
        self._go_on()

    def receive(self, number: int) -> None:
        """Pass a signal on that this process got."""
        if self._group == 0 or self.ended.called:
            return
        if number == Signals.SIGCONT:
            self._resume()
        elif self._signal(number) is Delivery.NONE_OF_OURS:
            say(f"{name(number)} cannot be passed on: the command runs as another user.")

    def look(self) -> None:
        """See what has become of it, after a ``SIGCHLD``, which a command that could not be started causes too."""
        while self._group and not self.ended.called:
            info = os.waitid(os.P_PID, self._group, os.WEXITED | os.WSTOPPED | os.WNOHANG)
            if info is None:
                return
            if info.si_code == os.CLD_STOPPED:
                self._was_stopped(Signals(info.si_status))
            else:
                self._has_ended(info.si_status, killed=info.si_code != os.CLD_EXITED)

    async def end(self, grace: float) -> bool:
        """
        Ask every process of it to end, and kill what is left some seconds later.

        :return: whether that could be done; else what is left belongs to another user, and goes on.
        """
        self._stopped = False
        until = self._reactor.seconds() + grace
        self._signal(Signals.SIGTERM)
        # What is stopped would not hear of it.
        self._signal(Signals.SIGCONT)
        while self._signal(0) is Delivery.SOME and self._reactor.seconds() < until:
            await deferLater(self._reactor, _LOOK_AGAIN)
        # A run within it has a group of its own, which nobody would look after any more.
        for process in _descendants(self._group):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, Signals.SIGKILL)
        self._signal(Signals.SIGKILL)
        if self._signal(0) is Delivery.NONE_OF_OURS:
            self._terminal.take_back(self._group)
            return False
        if not self.ended.called:
            await self.ended
        return True

    def _signal(self, number: int) -> Delivery:
        """Send a signal to all of it."""
        try:
            os.killpg(self._group, number)
        except ProcessLookupError:
            return Delivery.NOBODY
        except PermissionError:
            return Delivery.NONE_OF_OURS
        return Delivery.SOME

    def _was_stopped(self, by: Signals) -> None:
        if by in _WANTS_TERMINAL:
            self._wants_terminal = True
            if self._terminal.ours:
                self._go_on()
                return
        self._terminal.take_back(self._group)
        if by is Signals.SIGSTOP or not self._terminal.there:
            # No key was pressed, so the shell need not learn of it.
            return
        # The shell waits for this process: stop, as the command has. Where no shell could wake it the kernel goes on.
        self._stopped = True
        before = signal.signal(Signals.SIGTSTP, signal.SIG_DFL)
        os.killpg(0, Signals.SIGTSTP)
        signal.signal(Signals.SIGTSTP, before)
        self._resume()

    def _resume(self) -> None:
        # What is due comes first: the lock may have been lost meanwhile, and then the command must not go on.
        self._reactor.callLater(0, self._wake)

    def _wake(self) -> None:
        if self._stopped:
            self._stopped = False
            self._go_on()

    def _go_on(self) -> None:
        if self._wants_terminal and self._terminal.ours:
            self._terminal.lend(self._group)
        self._signal(Signals.SIGCONT)

    def _has_ended(self, status: int, *, killed: bool) -> None:
        had_terminal = self._terminal.take_back(self._group)
        if had_terminal and killed and status in {Signals.SIGINT, Signals.SIGQUIT}:
            # By a key, it seems: a script that this process is part of has not heard of it, and would go on.
            before = signal.signal(status, signal.SIG_IGN)
            os.killpg(0, status)
            signal.signal(status, before)
        self.status = status + 128 if killed else status
        self.ended.callback(None)


def _spawn(command: Sequence[str], environ: Mapping[bytes, bytes]) -> int:
    # Python ignores these; what it starts should not.
    defaults = (Signals.SIGPIPE, Signals.SIGXFSZ)
    return os.posix_spawnp(command[0], list(command), environ, setpgroup=0, setsigdef=defaults)


def _descendants(group: int) -> set[int]:
    """Return all processes that the processes of a group have started, and so on, as far as the system tells."""
    parents: dict[int, int] = {}
    found: set[int] = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name of the program, in parentheses, may have anything in it.
            _, parent, its_group, *_ = path.read_text(errors="replace").rpartition(")")[2].split()
            parents[int(path.parent.name)] = int(parent)
            if int(its_group) == group:
                found.add(int(path.parent.name))
    more = found
    while more:
        more = {process for process, parent in parents.items() if parent in found} - found
        found |= more
    return found
