"""The tickets that are out: those that hold or wait somewhere, and those that have nothing and may be sent again; and their names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import islice

from resourced.locks.state.queue import Entry, Ticket
from resourced.model import LockKey

#: How many tickets that have nothing any more are remembered; the one that had nothing first is forgotten first.
REMEMBERED = 65536
#: How many locks of the tickets that a client says it holds are looked at.
COUNTED = 1000
#: How many random bytes are in the name of a ticket, and how many names are drawn at once.
BYTES, DRAWN = 16, 128


class Names:
    """
    Names for tickets, which nobody can guess.

    The system is asked for the randomness of many at once. They are in memory before they are given out. So a process that has
    drawn any must not fork: its child would give out the same.

    :param random: returns as many random bytes as it is asked for, as ``os.urandom`` does.
    """

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._drawn: list[str] = []

    def draw(self) -> str:
        """Return a name that was never returned before: 32 hex digits."""
        if not self._drawn:
            digits = self._random(BYTES * DRAWN).hex()
            self._drawn = [digits[start : start + 2 * BYTES] for start in range(0, len(digits), 2 * BYTES)]
        return self._drawn.pop()


class Tickets:
    """
    Every ticket by its name.

    A ticket that holds and waits nowhere any more is remembered for a while. Until then it works only for the key name that it was given to,
    and at no other resource.

    :param new_name: makes the name of a ticket; nobody may be able to guess it.
    """

    def __init__(self, new_name: Callable[[], str]) -> None:
        self._new_name = new_name
        self._known: dict[str, Ticket] = {}
        self._released: OrderedDict[str, Ticket] = OrderedDict()
        # Mostly one for each word; more if the first has lost a selector and the request for that came again.
        self._by_idempotency_key: dict[tuple[str, str], dict[str, Ticket]] = {}

    def find(self, resource: str, name: str, key_name: str) -> Ticket | None:
        """Look a ticket of a resource up, whether it is alive or let go of. To others than whom it was given to it is unknown."""
        ticket = self._known.get(name)
        if ticket is None or ticket.key_name != key_name:
            return None
        if ticket.resource == resource:
            return ticket
        return None if ticket.joint is None else ticket.joint.ticket(resource)

    def __len__(self) -> int:
        """How many tickets are known, those that were let go of too."""
        return len(self._known)

    def __contains__(self, name: str) -> bool:
        """Whether there is a ticket of this name, whoever it was given to."""
        return name in self._known

    def new_name(self) -> str:
        """Return the name of a ticket that is new."""
        return self._new_name()

    def at_work(self, name: str, key_name: str) -> bool:
        """Whether a ticket holds or waits anywhere."""
        ticket = self._known.get(name)
        return ticket is not None and ticket.key_name == key_name and ticket.alive

    def joint(self, name: str, key_name: str) -> int | None:
        """Return the number of the request for several things that a ticket was given to, if it waits or holds."""
        ticket = self._known.get(name)
        return None if ticket is None or ticket.key_name != key_name or ticket.joint is None else ticket.joint.seq

    def holding(self, names: Iterable[str], key_name: str) -> list[Entry]:
        """
        Return the locks that some tickets hold, of whatever resource, but no more than ``COUNTED``.

        Those that were given to others are unknown here.
        """
        tickets = [self._known.get(name) for name in names]
        held = (
            entry
            for ticket in tickets
            if ticket is not None and ticket.key_name == key_name
            for part in ((ticket,) if ticket.joint is None else ticket.joint.tickets)
            for entry in part.entries.values()
            if entry.holds
        )
        return list(islice(held, COUNTED))

    def issue(self, key: LockKey, idempotency_key: str, key_name: str, lost: Callable[[str], object]) -> Ticket:
        """
        Make a ticket, or find the one that the same request got before.

        :param lost: whether a ticket lost this lock, so that it is not for this request.
        """
        if not idempotency_key:
            return Ticket(self._new_name(), key.resource, idempotency_key, key_name)
        known = self._by_idempotency_key.get((key.resource, idempotency_key), {})
        able = [ticket for ticket in known.values() if ticket.key_name == key_name and not lost(ticket.name)]
        for ticket in able:
            if key.selector in ticket.entries:
                return ticket
        return able[0] if able else Ticket(self._new_name(), key.resource, idempotency_key, key_name)

    def load(self, resource: str, name: str, idempotency_key: str, key_name: str) -> Ticket:
        """Find a ticket that the store knows, or make it anew."""
        ticket = self.find(resource, name, key_name) or Ticket(name, resource, key_name=key_name)
        ticket.idempotency_key = ticket.idempotency_key or idempotency_key
        return ticket

    def revive(self, ticket: Ticket) -> None:
        """Let a ticket live that is new, or that comes back."""
        self._known[ticket.name] = ticket
        self._released.pop(ticket.name, None)
        if ticket.idempotency_key:
            self._by_idempotency_key.setdefault((ticket.resource, ticket.idempotency_key), {})[ticket.name] = ticket

    def release(self, ticket: Ticket) -> None:
        """Remember a ticket that holds and waits nowhere any more; only by its name."""
        self._forget_idempotency_key(ticket)
        ticket.idempotency_key = ""
        self._known[ticket.name] = self._released[ticket.name] = ticket
        if len(self._released) > REMEMBERED:
            oldest, _ = self._released.popitem(last=False)
            del self._known[oldest]

    def _forget_idempotency_key(self, ticket: Ticket) -> None:
        if not ticket.idempotency_key:
            return
        known = self._by_idempotency_key.get((ticket.resource, ticket.idempotency_key), {})
        known.pop(ticket.name, None)
        if not known:
            self._by_idempotency_key.pop((ticket.resource, ticket.idempotency_key), None)
