"""Why a lock is not held any more, and who is told of its loss."""

from __future__ import annotations

from math import inf
from typing import Final

from twisted.internet.defer import Deferred, succeed

from resourced.client.errors import ClientError, LockLost
from resourced.client.servers import Servers, path
from resourced.client.values import Event, Grant, take

#: The events that end a lock.
ENDS: Final = frozenset({"release", "expiry", "break"})


class LockLoss:
    """
    The loss of a lock, which may never come.

    :ivar reason: why the lock is lost; None if it is not.
    """

    def __init__(self, grant: Grant) -> None:
        self._grant = grant
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

    def error(self, why: str, code: str) -> LockLost:
        """
        Return the error that says why the lock is not held.

        :param why: the rest of a sentence about the lock.
        """
        grant = self._grant
        sentence = f"The lock of {grant.resource}/{grant.selector} {why}"
        return LockLost(sentence, code, grant.resource, grant.selector, grant.fence)


def once_more(reason: LockLost) -> LockLost:
    """Return the same error anew: an exception collects where it has been."""
    return LockLost(reason.sentence, reason.code, reason.resource, reason.selector, reason.fence)


async def was_released(servers: Servers, grant: Grant, retry_timeout: float = inf) -> bool:
    """Tell from the history whether a lock was let go of with its ticket; if it does not say, it was not."""
    before: int | None = None
    while True:
        try:
            target = path(grant.resource, grant.selector, end="events", before=before)
            page = await servers.ask("GET", target, retry_timeout=retry_timeout)
            events = [take(Event, fields) for fields in page.items("events")]
        except ClientError:
            return False
        for event in events:
            if event.fence == grant.fence and event.event in ENDS:
                return event.event == "release"
            if event.event == "grant" and event.fence <= grant.fence:
                return False
        before = page.fields.get("next")
        if before is None:
            return False
