"""The process itself: its reactor, its signals, and the status that it ends with."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Coroutine, Iterable
from signal import Signals
from typing import Any, Final, NoReturn

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import react

from resourced.calls.errors import ClientError, NotAcquired
from resourced.cli.output import say, unwritten
from resourced.cli.settings import Settings
from resourced.cli.signals import ENDING
from resourced.cli.status import Status, exit_status
from resourced.client import Client
from resourced.clock import count_monotonically

#: Seconds that a server is asked to wait in one request: where somebody looks on, less, for the position to be up to date.
_POLL: Final = 10.0
_POLL_SEEN: Final = 2.0


class CliProcess:
    """
    What a command works with while the reactor runs.

    A signal that was ignored when the process began, as by ``nohup``, is ignored forever.

    :ivar reactor: what runs it.
    :ivar client: the client of the server.
    :ivar quiet: whether nothing is to be told of a wait.
    """

    def __init__(self, reactor: Any, client: Client, ignored: frozenset[int], *, quiet: bool) -> None:
        self.reactor = reactor
        self.client = client
        self.quiet = quiet
        self._ignored = ignored
        self._receivers: dict[int, Callable[[int], object]] = {}
        self._working: Deferred[int] = Deferred()
        self._interrupted = 0

    def route(self, numbers: Iterable[int], receive: Callable[[int], object]) -> None:
        """Hand these signals from now on to a function, in a turn of the reactor."""
        for number in numbers:
            self._receivers[number] = receive
            # The reactor may have put a handler of its own in the place of what was ignored.
            signal.signal(number, signal.SIG_IGN if number in self._ignored else self._note)

    def _note(self, number: int, _: object) -> None:
        self.reactor.callFromThread(self._deliver, number)

    def _deliver(self, number: int) -> None:
        # To whom it belongs by now: a command may have been started since it came.
        self._receivers[number](number)

    def end_by_signals(self) -> None:
        """Let the first signal that asks for the end cancel the work, and a second one end the process at once."""
        self.route(ENDING, self._interrupt)

    async def finish(self, work: Callable[[CliProcess], Coroutine[Any, Any, int]]) -> int:
        """Do the work, and return the status that it comes to."""
        self._working = Deferred.fromCoroutine(work(self))
        self.end_by_signals()
        try:
            status = await self._working
        except CancelledError:
            if not self._interrupted:
                raise
            status = Status.SIGNAL
        except ClientError as error:
            if not self._interrupted and not (self.quiet and isinstance(error, NotAcquired)):
                say(error.sentence)
            status = exit_status(error)
        except OSError as error:
            status = unwritten(error)
        return Status.SIGNAL + self._interrupted if self._interrupted else status

    def _interrupt(self, number: int) -> None:
        self._interrupted = number
        for ending in ENDING - self._ignored:
            signal.signal(ending, signal.SIG_DFL)
        self._working.cancel()


def perform(
    settings: Settings, retry_timeout: float, work: Callable[[CliProcess], Coroutine[Any, Any, int]], *, quiet: bool
) -> NoReturn:
    """
    Do work in the reactor, and end the process with the status that it returns, or that its error stands for.

    :param retry_timeout: seconds to go on trying while no server answers.
    :param quiet: tell nothing of a wait.
    """
    ignored = frozenset(int(n) for n in signal.valid_signals() if signal.getsignal(n) is signal.SIG_IGN)
    # Of its own command it has to hear.
    ignored -= {Signals.SIGCHLD}

    async def main(reactor: Any) -> NoReturn:
        count_monotonically(reactor)
        running: Deferred[None] = Deferred()
        reactor.callWhenRunning(running.callback, None)
        # The reactor sets handlers of its own when it starts.
        await running
        poll = _POLL_SEEN if os.isatty(2) else _POLL
        client = Client(settings.urls, settings.key, owner=settings.owner, retry_timeout=retry_timeout, poll=poll)
        async with client.using(reactor=reactor):
            raise SystemExit(await CliProcess(reactor, client, ignored, quiet=quiet).finish(work))

    react(main)
