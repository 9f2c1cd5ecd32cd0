"""Who holds what and who waits, of all resources together: the longest first. Nothing is shown before it is committed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, TypeVar

from twisted.internet.interfaces import IReactorTime

from resourced.locks.commits import Commits
from resourced.locks.journal.interface import Journal
from resourced.locks.state.joints import Joint
from resourced.locks.state.queue import Entry
from resourced.locks.state.queues import Queues
from resourced.locks.state.requests import HeldLock, WaitingTicket, Waits
from resourced.locks.views import holder_of

T = TypeVar("T")

#: How many a request looks at, at most, whether it shows them or not. That takes some milliseconds.
LOOKED_AT: Final = 2000


class Shown(NamedTuple):
    """
    What somebody asks to see, and may see.

    :ivar may_touch: tells which resources the key may touch.
    :ivar resource: only this one; empty for all of them.
    :ivar owner: only what this owner holds or waits for; empty for everyone.
    """

    may_touch: Callable[[str], bool]
    resource: str = ""
    owner: str = ""


class LockListing:
    """
    Lists holders and those who wait. What a page costs does not grow with how many there are.

    A page may be short, or empty, although there are more: those that are not to be shown are looked at too.
    """

    def __init__(self, clock: IReactorTime, journal: Journal, queues: Queues, commits: Commits) -> None:
        self._clock = clock
        self._journal = journal
        self._queues = queues
        self._commits = commits

    async def held(self, shown: Shown, after: int, limit: int) -> tuple[list[HeldLock], int | None]:
        """
        Return some locks that are held, those that are held for the longest first.

        :param after: the fence after which the page begins.
        :returns: the page, and after which fence the next one begins, if there is one.
        :raises resourced.errors.StoreUnavailable: it cannot be known at present.
        """
        await self._decided()
        found, last = _page(self._queues.holders.after(after), lambda entry: _is_shown(entry, shown), limit)
        now = self._clock.seconds()
        rows = [
            HeldLock(entry.queue.key, holder_of(entry, now), len(entry.queue.waiting), number)
            for number, entry in found
        ]
        await self._commits.all_kept()
        return rows, last

    async def waiting(self, shown: Shown, after: int, limit: int) -> tuple[list[WaitingTicket], int | None]:
        """
        Return some tickets that wait, those that wait for the longest first.

        :param after: the number of the arrival after which the page begins.
        :returns: the page, and after which number the next one begins, if there is one.
        :raises resourced.errors.StoreUnavailable: it cannot be known at present.
        """
        await self._decided()
        found, last = _page(self._queues.waiters.after(after), lambda waiter: _is_shown(waiter, shown), limit)
        now = self._clock.seconds()
        rows = [_row(waiter, now, number) for number, waiter in found]
        await self._commits.all_kept()
        return rows, last

    def oldest_hold(self) -> float:
        """Return for how many seconds the lock is held that is held for the longest; 0 if none is."""
        return self._age(self._queues.holders.oldest())

    def oldest_wait(self) -> float:
        """Return for how many seconds the ticket has waited that waits for the longest; 0 if none does."""
        return self._age(self._queues.waiters.oldest())

    def _age(self, someone: Entry | Joint | None) -> float:
        return 0.0 if someone is None else self._clock.seconds() - someone.since

    async def _decided(self) -> None:
        if self._commits.paused():
            await self._commits.recovered()
        self._journal.check()


def _page(
    found: Iterator[tuple[int, T]], fits: Callable[[T], bool], limit: int
) -> tuple[list[tuple[int, T]], int | None]:
    page: list[tuple[int, T]] = []
    last = 0
    for looked_at, (number, thing) in enumerate(found):
        if len(page) == limit or looked_at == LOOKED_AT:
            return page, last
        last = number
        if fits(thing):
            page.append((number, thing))
    return page, None


def _is_shown(someone: Entry | Joint, shown: Shown) -> bool:
    if shown.owner and someone.owner != shown.owner:
        return False
    if isinstance(someone, Entry):
        resource = someone.queue.key.resource
        return shown.may_touch(resource) and shown.resource in {"", resource}
    # Of a request that names something else too nothing is shown: what it waits for is all of it.
    resources = {want.resource for want in someone.wants}
    return all(map(shown.may_touch, resources)) and (not shown.resource or shown.resource in resources)


def _row(waiter: Entry | Joint, now: float, number: int) -> WaitingTicket:
    waited, left = now - waiter.since, max(0.0, waiter.deadline - now)
    if isinstance(waiter, Joint):
        waits = Waits(waiter.owner, waiter.key_name, waited, left, waiter.priority)
        return WaitingTicket(None, waiter.wants, None, 0, waits, number)
    waits = Waits(waiter.owner, waiter.ticket.key_name, waited, left, waiter.priority)
    queue = waiter.queue
    holder = None if queue.holder is None else holder_of(queue.holder, now)
    return WaitingTicket(queue.key, (), holder, len(queue.waiting), waits, number)
