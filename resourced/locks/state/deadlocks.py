"""
Circles of waiting: clients that hold one lock each and wait for that of the next, so that none of them ever gets on.

A client says with a request which tickets it holds meanwhile, and only what was said counts. What is known here is in memory
only: after a restart it comes back with the next request of each client that waits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Final

from resourced.locks.state.joints import Joint
from resourced.locks.state.queue import Entry

#: Who waits: for one lock, or for several things.
Waiter = Entry | Joint

#: How many waiting places a search looks at, at most. A circle that is longer, or hidden behind more, is not found.
MOST: Final = 1000


class Deadlocks:
    """
    Which places wait, and what their clients hold meanwhile.

    :param blockers: tells who has what somebody waits for.
    """

    def __init__(self, blockers: Callable[[Waiter], Iterable[Entry]]) -> None:
        self._blockers = blockers
        # From a place that waits to the locks that its client holds, and from such a lock to the places that wait.
        self._held: dict[Waiter, tuple[Entry, ...]] = {}
        self._waiting: dict[Entry, dict[Waiter, None]] = {}

    @property
    def empty(self) -> bool:
        """Whether nobody waits who holds anything."""
        return not self._held and not self._waiting

    def closes(self, blockers: Iterable[Entry], held: Collection[Entry]) -> bool:
        """
        Return whether it would close a circle to wait for a lock.

        The holder of that lock may have said that it waits for another one in turn, whose holder may wait for a third one. If
        that leads to one of the locks that are held here, none of them would ever get on. Only those of the same key name count, because a
        ticket counts only for the key name that it was given to.

        :param blockers: who has what it would wait for.
        :param held: what the client that is to wait holds meanwhile.
        """
        if not held:
            return False
        [key_name] = {entry.ticket.key_name for entry in held}
        ends, seen, left = set(held), set(), MOST
        ahead = list(blockers)
        while ahead:
            holder = ahead.pop()
            if holder in ends:
                return True
            if holder in seen or holder.ticket.key_name != key_name:
                continue
            seen.add(holder)
            for waiter in self._waiting.get(holder, ()):
                if not left:
                    return False
                left -= 1
                ahead.extend(self._blockers(waiter))
        return False

    def waits(self, entry: Waiter, held: Collection[Entry]) -> None:
        """Remember that a place waits, and which locks its client holds meanwhile; what was said of it before is forgotten."""
        self.over(entry)
        if held:
            self._held[entry] = tuple(held)
        for lock in held:
            self._waiting.setdefault(lock, {})[entry] = None

    def over(self, entry: Waiter) -> None:
        """Forget a place that waits no more."""
        for lock in self._held.pop(entry, ()):
            waiting = self._waiting[lock]
            del waiting[entry]
            if not waiting:
                del self._waiting[lock]
