"""Why a lock is not held any more, and who is told of its loss."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Final

from twisted.internet.defer import Deferred, succeed

from resourced.calls.errors import ClientError, LockLost
from resourced.calls.paths import arguments
from resourced.calls.values import Event, take
from resourced.client.grant import Fenced
from resourced.client.servers import Servers

#: The events that end a lock.
ENDS: Final = frozenset({"release", "expiry", "break"})


class LockLoss:
    """
    The loss of a lock, which may never come.

    :ivar reason: why the lock is lost; None if it is not.
    """

    def __init__(self) -> None:
        self._waiters: list[Deferred[LockLost]] = []
        self.reason: LockLost | None = None

    def wait(self) -> Deferred[LockLost]:
        """Wait for it; each caller has a Deferred of its own."""
        if self.reason is not None:
            return succeed(self.reason)
        waiter: Deferred[LockLost] = Deferred(self._waiters.remove)
        self._waiters.append(waiter)
        return waiter

    def tell(self, reason: LockLost) -> None:
        """Tell everyone who waits for it."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(reason)


def lock_lost(unit: Fenced, why: str, code: str, left: Iterable[Fenced] = ()) -> LockLost:
    """
    Return the error that says why a lock is not held.

    :param why: the rest of a sentence about the lock.
    :param left: what its ticket holds still.
    """
    sentence = f"The lock of {unit.resource}/{unit.selector} {why}"
    names = tuple((one.resource, one.selector) for one in left)
    return LockLost(sentence, code, unit.resource, unit.selector, unit.fence, names)


def once_more(reason: LockLost) -> LockLost:
    """Return the same error anew: an exception collects where it has been."""
    return LockLost(reason.sentence, reason.code, reason.resource, reason.selector, reason.fence, reason.left)


async def was_released(servers: Servers, unit: Fenced, retry_timeout: float = inf) -> bool:
    """Tell from the history whether a lock was let go of with its ticket; if it does not say, it was not."""
    before: int | None = None
    while True:
        try:
            page = await servers.ask(
                "GET", unit.path + "/events" + arguments(before=before), retry_timeout=retry_timeout
            )
            events = [take(Event, fields) for fields in page.items("events")]
        except ClientError:
            return False
        for event in events:
            if event.fence == unit.fence and event.event in ENDS:
                return event.event == "release"
            if event.event == "grant" and event.fence <= unit.fence:
                return False
        before = page.fields.get("next")
        if before is None:
            return False
