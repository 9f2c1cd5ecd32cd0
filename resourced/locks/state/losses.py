"""
Which tickets lost a lock or a place, and where: they are told so there before they get anything else.

A client keeps its ticket, and asks with it for a lock that it believes to have. If it got the lock anew, under the same name, it
would take a lost lock for a kept one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final

from resourced.model import LockKey, Loss

#: How many losses are remembered. Beyond that the key name with the most of them forgets its oldest, so that none makes the others forget.
REMEMBERED = 65536
#: How many seconds after its client was first told a loss is over, and the ticket may begin again.
TOLD_FOR: Final = 60.0


class Losses:
    """
    Every loss that is remembered, by ticket and lock.

    :param seconds: the time of a clock that nobody sets.
    :ivar complete: whether all that tickets have lost is known, where it is kept.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.complete = True
        self._seconds = seconds
        # In the order in which they came about.
        self._losses: dict[tuple[str, LockKey], Loss] = {}
        self._of_ticket: dict[str, set[LockKey]] = {}
        self._of_name = _ByName()
        self._told: dict[tuple[str, LockKey], float] = {}

    def __iter__(self) -> Iterator[Loss]:
        return iter(self._losses.values())

    def find(self, key: LockKey, ticket: str) -> Loss | None:
        """Return what a ticket lost at a lock."""
        return self._losses.get((ticket, key))

    def of_ticket(self, ticket: str, key_name: str) -> list[Loss]:
        """Return what a ticket lost, but for what is over."""
        lost = (self._losses[ticket, key] for key in self._of_ticket.get(ticket, ()))
        return [loss for loss in lost if loss.key_name == key_name and not self.is_over(loss)]

    def strange(self, resource: str, ticket: str, key_name: str) -> bool:
        """Whether a ticket is known by what it lost, and was given to somebody else or for another resource."""
        for key in self._of_ticket.get(ticket, ()):
            # It was the same for all of them.
            loss = self._losses[ticket, key]
            return (loss.key.resource, loss.key_name) != (resource, key_name)
        return False

    def add(self, loss: Loss) -> list[Loss]:
        """Remember a loss; return those that are forgotten for it."""
        forgotten = []
        if earlier := self._losses.get((loss.ticket, loss.key)):
            forgotten.append(self.remove(earlier))
        self._losses[loss.ticket, loss.key] = loss
        self._of_ticket.setdefault(loss.ticket, set()).add(loss.key)
        self._of_name.add(loss)
        while len(self._losses) > REMEMBERED:
            forgotten.append(self.remove(self._of_name.next_to_forget()))
        return forgotten

    def remove(self, loss: Loss) -> Loss:
        """Forget a loss."""
        del self._losses[loss.ticket, loss.key]
        self._of_name.remove(loss)
        self._told.pop((loss.ticket, loss.key), None)
        keys = self._of_ticket[loss.ticket]
        keys.discard(loss.key)
        if not keys:
            del self._of_ticket[loss.ticket]
        return loss

    def told(self, key: LockKey, ticket: str, key_name: str) -> None:
        """Take note that the client of a ticket is told what it lost at a lock; the first time counts."""
        loss = self._losses.get((ticket, key))
        if loss is not None and loss.key_name == key_name:
            self._told.setdefault((ticket, key), self._seconds())

    def is_over(self, loss: Loss) -> bool:
        """Whether the client of a ticket was told of a loss, and has had time to learn it."""
        told = self._told.get((loss.ticket, loss.key))
        return told is not None and self._seconds() - told >= TOLD_FOR

    def restore(self, kept: Iterable[Loss], keys: Collection[LockKey] | None) -> None:
        """
        Replace what is remembered about some locks, or about all, by what the store knows.

        Of those that it knows too it stays known whether they were told.
        """
        told = self._told.copy()
        before = {(loss.ticket, loss.key): loss for loss in self._losses.values()}
        for loss in list(before.values()):
            if keys is None or loss.key in keys:
                self.remove(loss)
        for loss in kept:
            name = loss.ticket, loss.key
            if name not in self._losses and (keys is None or loss.key in keys):
                self.add(loss)
                if name in told and before[name] == loss:
                    self._told[name] = told[name]

    def abandon(self, resources: Collection[str]) -> None:
        """Forget what was lost at some resources; the store knows it."""
        for loss in [loss for loss in self._losses.values() if loss.key.resource in resources]:
            self.remove(loss)


class _ByName:
    """The losses of each key name, and which name has the most; every call takes the same time, however many there are."""

    def __init__(self) -> None:
        # By key name, each in the order in which they came about.
        self._losses: dict[str, OrderedDict[tuple[str, LockKey], Loss]] = {}
        # The names that have so many, by how many; and the largest such number.
        self._names: dict[int, dict[str, None]] = {}
        self._most = 0

    def next_to_forget(self) -> Loss:
        """Return the oldest loss of a name that has the most."""
        name = next(iter(self._names[self._most]))
        return next(iter(self._losses[name].values()))

    def add(self, loss: Loss) -> None:
        """Count a loss."""
        losses = self._losses.setdefault(loss.key_name, OrderedDict())
        losses[loss.ticket, loss.key] = loss
        self._recount(loss.key_name, len(losses) - 1, len(losses))

    def remove(self, loss: Loss) -> None:
        """Count a loss no more."""
        losses = self._losses[loss.key_name]
        del losses[loss.ticket, loss.key]
        self._recount(loss.key_name, len(losses) + 1, len(losses))
        if not losses:
            del self._losses[loss.key_name]

    def _recount(self, name: str, before: int, now: int) -> None:
        if before:
            del self._names[before][name]
            if not self._names[before]:
                del self._names[before]
        if now:
            self._names.setdefault(now, {})[name] = None
        if now > self._most or self._most not in self._names:
            # Counts change by one.
            self._most = now
