"""Several who wait for one thing to happen, each free to stop waiting."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from resourced.errors import ResourcedError

T = TypeVar("T")

log = Logger()


def waiter_in(waiters: list[Deferred[None]]) -> Deferred[None]:
    """Join those who wait; one that is cancelled leaves."""

    def leave(waiter: Deferred[None]) -> None:
        if waiter in waiters:
            waiters.remove(waiter)

    waiter: Deferred[None] = Deferred(leave)
    waiters.append(waiter)
    return waiter


def wake(waiters: list[Deferred[None]], error: Exception | None = None) -> None:
    """Tell all who wait that it has come, or that it will not; meanwhile others may join for the next time, or leave."""
    woken = waiters[:]
    waiters.clear()
    for waiter in woken:
        if waiter.called:
            continue
        if error is None:
            waiter.callback(None)
        else:
            waiter.errback(error)


def shielded(work: Coroutine[Any, Any, T]) -> Deferred[T]:
    """Run ``work`` to its end even if whoever waits for it is cancelled."""
    outside: Deferred[T] = Deferred(lambda _: None)

    def tell(result: T | Failure) -> None:
        if not outside.called:
            outside.callback(result)
        elif isinstance(result, Failure) and result.check(ResourcedError) is None:
            log.failure("Work that nobody waits for any more has failed.", result)

    Deferred.fromCoroutine(work).addBoth(tell)
    return outside


class Shared:
    """Something that many ask for and one does: whoever asks while it is under way gets its outcome."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._waiters: list[Deferred[None]] = []

    async def done(self) -> None:
        """Wait for what is under way, or begin it; fails as it does."""
        first = not self._waiters
        outcome = waiter_in(self._waiters)
        if first:
            Deferred.fromCoroutine(self._run())
        await outcome

    async def _run(self) -> None:
        error: Exception | None = None
        try:
            await self._work()
        except Exception as caught:  # noqa: BLE001 - it is raised where it is waited for
            error = caught
        wake(self._waiters, error)
