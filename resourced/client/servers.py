"""The servers of one store, on a reactor: what is done aside, streams, and the nodes of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IResponse

from resourced.calls.answers import Away, Request
from resourced.calls.retries import Retries
from resourced.client.nodes import Nodes
from resourced.client.wire import Unwilling, Wire

T = TypeVar("T")

log = Logger()


class Servers(Retries):
    """
    The servers of one store, asked on a reactor: the node that has answered for a resource before is asked first.

    :param reactor: what time passes on; the others are those of ``Retries``.
    """

    def __init__(
        self,
        urls: Sequence[str],
        wire: Wire,
        reactor: IReactorTime,
        seconds: Callable[[], float],
        *,
        timeout: float,
        retry_timeout: float,
    ) -> None:
        super().__init__(urls, wire, self._pause, seconds, timeout=timeout, retry_timeout=retry_timeout)
        self._streams = wire
        self._reactor = reactor
        self._nodes = Nodes(urls, wire, seconds)
        # What is done aside, each with the paths of what it is about.
        self._errands: dict[Deferred[object], frozenset[str]] = {}

    def _pause(self, seconds: float) -> Deferred[None]:
        return deferLater(self._reactor, max(0.0, seconds))

    def aside(self, about: frozenset[str], work: Coroutine[Any, Any, object]) -> Deferred[object]:
        """
        Do something that nobody need wait for, and whose failure is of no consequence.

        :param about: the paths of the selectors that it is about, and of the resources of which any selector may be meant.
        :return: fires when it is done, or has failed. Whoever cancels this cancels the work.
        """
        errand = Deferred.fromCoroutine(work)
        self._errands[errand] = about
        errand.addErrback(_shrug).addBoth(lambda _: self._errands.pop(errand))
        return errand

    async def settled(self, about: frozenset[str] = frozenset()) -> None:
        for errand in [errand for errand, paths in self._errands.items() if not about or about & paths]:
            await _end_of(errand)

    async def finish(
        self, about: frozenset[str], work: Coroutine[Any, Any, T], hurry: Callable[[], object] = lambda: None
    ) -> T:
        """
        Do something to its end, also if the wait for it is cancelled; the cancellation comes out when it is done.

        :param hurry: called when the wait is cancelled.
        """
        done, failed = list[T](), list[BaseException]()

        async def keep() -> None:
            try:
                done.append(await work)
            except BaseException as error:  # noqa: BLE001 - it is raised again below
                failed.append(error)

        errand, cancelled = self.aside(about, keep()), False
        while not (done or failed):
            try:
                await _end_of(errand)
            except CancelledError:
                cancelled = True
                hurry()
        if cancelled:
            raise CancelledError
        if failed:
            raise failed[0]
        return done[0]

    def _owner_of(self, subject: str) -> str:
        return self._nodes.owner(subject)

    def _told(self, subject: str, url: str) -> None:
        self._nodes.told(subject, url)

    def _leave(self, owner: str, subject: str, away: Away) -> None:
        if away.pause:
            self._nodes.refused(subject)
        else:
            self._nodes.lost(owner)

    def close(self) -> None:
        """Find out nothing more about the nodes."""
        self._nodes.close()

    async def stream(self, target: str, headers: Mapping[str, str]) -> IResponse:
        """
        Ask for an answer without end, once, of the server that was of use last.

        :raises Away: there is none; the next try goes to another server.
        :raises ClientError: the one that the answer stands for.
        """
        asked = self._current
        try:
            return await self._streams.stream(self._urls[asked], Request("GET", target, headers, None, self.timeout))
        except Away as away:
            self._pass_over(asked)
            if away.foreign and len(self._urls) == 1:
                raise away.final from away
            raise
        except Unwilling as unwilling:
            raise unwilling.answer.error from None


def _shrug(failure: Failure) -> None:
    log.debug("What was done aside has failed: {why}", why=failure.getErrorMessage())


def _end_of(errand: Deferred[object]) -> Deferred[None]:
    """Wait for the end of an errand; to cancel the wait does nothing to the errand."""
    waiter: Deferred[None] = Deferred()

    def over(found: object) -> object:
        if not waiter.called:
            waiter.callback(None)
        return found

    errand.addBoth(over)
    return waiter
