"""A lock manager in memory with units, for tests of who gets them when they fall free."""

from __future__ import annotations

from itertools import count
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from resourced.errors import TooFew
from resourced.locks.state.joints import Joint, JointAsk
from resourced.locks.state.limits import Times
from resourced.locks.state.requests import LockRequest
from resourced.locks.unit_cards import CardChange
from resourced.model import BREAK, EXPIRY, RELEASE, Breaker, LockKey
from resourced.testing import MemoryStore
from resourced.wants import Want
from tests.faulty import Life
from tests.leading import lead

LEASE = 40.0
#: Longer than any test lasts by its clock.
FOREVER = 1e6
SLOTS = 5
KEYS = [LockKey("phones", str(number + 1)) for number in range(SLOTS)] + [LockKey("bench", name) for name in "ab"]
#: What each key has; nothing where it is no unit.
Tags = list[frozenset[str] | None]
NO_TAGS: Tags = [frozenset() for _ in KEYS]


def everything(*keys: LockKey) -> tuple[Want, ...]:
    return tuple(Want(key.resource, selector=key.selector) for key in keys)


def only(tags: Tags, slots: int) -> Tags:
    """Let no more phones be units than there are slots."""
    return [None if slots <= index < SLOTS else some for index, some in enumerate(tags)]


class World:
    """
    A lock manager with units, whose holders are given some at once.

    :param tags: those of each key; nothing for a key that is no unit.
    :param lease: how long holders may be silent, in seconds.
    """

    def __init__(self, tags: Tags, lease: float = FOREVER) -> None:
        self.disk = MemoryStore()
        self.names = count(1)
        self.failures: list[Failure] = []
        self.lease = lease
        self.broken: LockKey | None = None
        self.seen = 0
        Deferred.fromCoroutine(lead(self.disk))
        for name in ("phones", "bench"):
            Deferred.fromCoroutine(self.disk.create_resource(name, int(lease)))
        times = Times(lease=lease, place=FOREVER, claim=lease)
        self.life = Life(self.disk, times=times, new_ticket=lambda: f"{next(self.names):032x}")
        self.life.open()
        for key, some in zip(KEYS, tags, strict=True):
            if some is not None:
                self.card(key, CardChange(tags=some))

    # -- What clients and admins ask for

    def begin(self, holding: Any, waiting: Any) -> None:
        """Let the first holders have units, and others wait."""
        free = iter(KEYS)
        for share, pause in holding:
            if keys := [key for _, key in zip(range(share), free, strict=False)]:
                self.several(everything(*keys), polite=False, priority=0)
            self.life.clock.advance(pause)
        for request in waiting:
            if len(request) == 2:
                self.alone(*request)
            else:
                self.several(*request)
        self.fallen()

    def do(self, work: Any) -> None:
        """Let a request be answered at once; that there are too few units is an answer."""
        outcome = work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)
        outcome.addErrback(lambda failure: failure.trap(TooFew))
        assert outcome.called
        outcome.addErrback(self.failures.append)

    def several(self, wants: tuple[Want, ...], polite: bool, priority: int) -> None:
        async def read(keys: Any) -> list[str | None]:
            return [None for _ in keys]

        leases = {want.resource: self.lease for want in wants}
        self.do(self.life.locks.several.acquire(JointAsk(wants, leases, yields=polite, priority=priority), read))

    def alone(self, key: LockKey, priority: int) -> None:
        self.do(self.life.locks.acquire(LockRequest(key, lease=self.lease, priority=priority)))

    def unlock_all(self, ticket: str) -> None:
        """Give back what a ticket holds, by one request."""
        if self.joint(ticket) is not None:
            self.leave(ticket)
        else:
            self.unlock(*self.held_by(ticket))

    def leave(self, ticket: str) -> None:
        """End a request for several, which waits or holds."""
        self.do(self.life.locks.several.unlock(ticket, ""))

    def unlock(self, *keys: LockKey, broken: Breaker | None = None) -> None:
        """Give back each unit by a request of its own."""
        for key in keys:
            self.do(self.life.locks.unlock(key, self.holders()[key], broken=broken))

    def break_locks(self, *keys: LockKey) -> None:
        for key in keys:
            holder = self.life.locks.places.queues.by_key[key].holder
            assert holder is not None
            self.do(self.life.locks.break_lock(key, holder.fence))

    def card(self, key: LockKey, change: CardChange) -> None:
        self.do(self.life.locks.units.change(key, change, Breaker()))

    def slots(self, before: int, after: int) -> None:
        self.do(self.life.locks.units.set_slots("phones", before, after, Breaker()))

    def wait_for_an_end(self) -> None:
        """Let time pass until the next lease ends, or several at that moment."""
        holders = [entry.joint or entry for entry in self.life.locks.places if entry.holds]
        clock = self.life.clock
        clock.advance(min(holder.deadline for holder in holders) - clock.seconds())

    # -- What is to be seen

    def holders(self) -> dict[LockKey, str]:
        queues = self.life.locks.places.queues.by_key
        return {key: queue.holder.ticket.name for key, queue in queues.items() if queue.holder is not None}

    def joint(self, ticket: str) -> Joint | None:
        """Return the request for several that a ticket stands for, if it is one."""
        return next((joint for joint in self.life.locks.places.units.joints if joint.name == ticket), None)

    def first(self) -> str:
        """Return the oldest ticket that holds something."""
        return min(self.holders().values())

    def held_by(self, ticket: str) -> list[LockKey]:
        """Return what a ticket holds, in the order in which one request gives it back."""
        joint = self.joint(ticket)
        if joint is not None:
            return [entry.queue.key for entry in joint.entries]
        return [key for key, holder in self.holders().items() if holder == ticket]

    def fallen(self) -> list[LockKey]:
        """Return what has fallen free since this was asked last, as the history has it."""
        kept = self.disk.events_kept
        since, self.seen = self.seen, max(kept, default=0)
        ends = {RELEASE, EXPIRY, BREAK}
        return [event.key for id_, event in sorted(kept.items()) if id_ > since and event.kind in ends and event.fence]

    def outcome(self) -> dict[str, object]:
        """Who has what, who waits, and what is kept for whom."""
        assert not self.failures
        units = self.life.locks.places.units
        return {
            "holders": self.holders(),
            "waiting": {joint.name for joint in units.joints if not joint.holds},
            "kept": {
                key: unit.idle if unit.need is None else (units.joints.of_rank(unit.need.rank).name, unit.need.order[1])
                for key, unit in units.pools.units.items()
            },
        }
