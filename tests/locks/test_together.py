"""What one request gives back together, against the same given back unit by unit, in the same order."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from resourced.errors import TooFew
from resourced.locks.state.joints import JointAsk
from resourced.locks.state.limits import Times
from resourced.locks.state.requests import LockRequest
from resourced.locks.unit_cards import CardChange
from resourced.model import Breaker, LockKey
from resourced.testing import MemoryStore
from resourced.wants import ALL, Want
from tests.examples import examples
from tests.faulty import Life
from tests.leading import lead

pytestmark = pytest.mark.trial

LEASE = 40.0
KEYS = [LockKey("phones", selector) for selector in "abcde"] + [LockKey("bench", selector) for selector in "12"]
TAGS = [frozenset(tags) for tags in ("", "x", "y", "xy")]

key = st.sampled_from(KEYS)
by_tags = st.builds(
    Want,
    st.sampled_from(["phones", "phones", "bench"]),
    tags=st.sampled_from(TAGS),
    count=st.sampled_from([1, 1, 2, 2, 3, ALL]),
)
by_name = key.map(lambda key: Want(key.resource, selector=key.selector))
wants = st.lists(st.one_of(by_tags, by_tags, by_name), min_size=1, max_size=3, unique_by=str).map(tuple)
priority = st.sampled_from([0, 0, 0, -2, 3])
several = st.tuples(wants, st.booleans(), priority)
alone = st.tuples(key, priority)


def everything(*keys: LockKey) -> tuple[Want, ...]:
    return tuple(Want(key.resource, selector=key.selector) for key in keys)


class World:
    """A lock manager with units, whose holders are given some at once."""

    def __init__(self, tags: list[frozenset[str]]) -> None:
        disk = MemoryStore()
        self.names = count(1)
        self.failures: list[Failure] = []
        Deferred.fromCoroutine(lead(disk))
        for name in ("phones", "bench"):
            Deferred.fromCoroutine(disk.create_resource(name, int(LEASE)))
        times = Times(lease=LEASE, place=1000.0, claim=LEASE)
        self.life = Life(disk, times=times, new_ticket=lambda: f"{next(self.names):032x}")
        self.life.open()
        for key, some in zip(KEYS, tags, strict=True):
            self.do(self.life.locks.units.change(key, CardChange(tags=some, out=""), Breaker()))

    def do(self, work: Any) -> None:
        """Let a request be answered at once; that there are too few units is an answer."""
        outcome = work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)
        outcome.addErrback(lambda failure: failure.trap(TooFew))
        assert outcome.called
        outcome.addErrback(self.failures.append)

    def several(self, wants: tuple[Want, ...], polite: bool, priority: int) -> None:
        async def read(keys: Any) -> list[str | None]:
            return [None for _ in keys]

        leases = {want.resource: LEASE for want in wants}
        self.do(self.life.locks.several.acquire(JointAsk(wants, leases, yields=polite, priority=priority), read))

    def alone(self, key: LockKey, priority: int) -> None:
        self.do(self.life.locks.acquire(LockRequest(key, lease=LEASE, priority=priority)))

    def holders(self) -> dict[LockKey, str]:
        queues = self.life.locks.places.queues.by_key
        return {key: queue.holder.ticket.name for key, queue in queues.items() if queue.holder is not None}

    def unlock(self, ticket: str, *, together: bool) -> None:
        """Give back what a ticket holds, by one request or by one for each lock."""
        locks = self.life.locks
        joint = next((joint for joint in locks.places.units.joints if joint.name == ticket), None)
        if joint is None:
            keys = [key for key, holder in self.holders().items() if holder == ticket]
        elif together:
            self.do(locks.several.unlock(ticket, ""))
            return
        else:
            keys = [entry.queue.key for entry in joint.entries]
        for key in keys:
            self.do(locks.unlock(key, ticket))

    def outcome(self) -> dict[str, object]:
        """Who has what, who waits, and what is kept for whom."""
        assert not self.failures
        units = self.life.locks.places.units
        return {
            "holders": self.holders(),
            "waiting": {joint.name for joint in units.joints if not joint.holds},
            "kept": {
                key: unit.idle if unit.need is None else unit.need.order for key, unit in units.pools.units.items()
            },
        }


class TogetherTests(SynchronousTestCase):
    """The order of those who wait does not depend on how many units come back in one request."""

    @settings(max_examples=examples(200), database=None)
    @given(
        tags=st.lists(st.sampled_from(TAGS), min_size=len(KEYS), max_size=len(KEYS)),
        # How many units each of the first holders has.
        shares=st.lists(st.integers(1, 5), min_size=1, max_size=3),
        waiting=st.lists(st.one_of(several, several, alone), min_size=2, max_size=10),
    )
    @example(
        tags=[frozenset()] * len(KEYS),
        shares=[2, 5],
        # Whoever would take all of what comes back must not have what an older one waits for.
        waiting=[(everything(KEYS[1]), False, 0), ((Want("phones", count=2),), True, 0)],
    )
    def test_same_as_one_by_one(self, tags, shares, waiting) -> None:
        """Each who waits gets the same, and as much is kept, whether units are given back by one request or by one for each."""
        together, one_by_one = worlds = World(tags), World(tags)
        for world in worlds:
            free = iter(KEYS)
            for share in shares:
                if keys := [key for _, key in zip(range(share), free, strict=False)]:
                    world.several(everything(*keys), polite=False, priority=0)
            for request in waiting:
                if len(request) == 2:
                    world.alone(*request)
                else:
                    world.several(*request)
        self.assertEqual(together.outcome(), one_by_one.outcome())
        for _ in range(len(shares) + len(waiting)):
            if not (holders := together.holders()):
                break
            ticket = min(holders.values())
            together.unlock(ticket, together=True)
            one_by_one.unlock(ticket, together=False)
            self.assertEqual(together.outcome(), one_by_one.outcome())
        for world in worlds:
            world.life.bury()
