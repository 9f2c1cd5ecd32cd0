"""The pools, driven at random, against a model that tries everything anew after each step."""

from __future__ import annotations

import os
from itertools import count

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.trial.unittest import SynchronousTestCase

from resourced.locks.pools.matching import PoolRequest
from resourced.locks.pools.pools import Pools
from resourced.model import LockKey
from resourced.wants import ALL, Card, Want
from tests.examples import examples
from tests.locks.machine import drive
from tests.locks.matching import match

pytestmark = pytest.mark.trial

EXAMPLES = int(os.environ.get("POOLS_MACHINE_EXAMPLES", str(examples(300))))
STEPS = 60

#: Enough that requests compete, and few enough for the model. The last one has no card in the beginning, and may get one.
KEYS = [LockKey("phones", selector) for selector in "abcdef"] + [LockKey("bench", selector) for selector in "123"]
TAGS = [frozenset(tags) for tags in ("", "x", "y", "z", "xy", "yz", "xyz")]

key = st.sampled_from(KEYS)
number = st.integers(0, 1000)
tags = st.sampled_from(TAGS)
by_tags = st.builds(
    Want,
    st.sampled_from(["phones", "phones", "bench"]),
    tags=tags,
    count=st.sampled_from([1, 1, 1, 2, 2, 3, ALL]),
)
by_name = key.map(lambda key: Want(key.resource, selector=key.selector))
wants = st.lists(st.one_of(by_tags, by_tags, by_name), min_size=1, max_size=3).map(tuple)
priority = st.sampled_from([0, 0, 0, 0, -2, 3])


class PoolsMachine(RuleBasedStateMachine):
    """Units, requests and requests by name in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.cards: dict[LockKey, Card] = {}
        self.holders: dict[LockKey, int] = {}
        self.queues: dict[LockKey, list[int]] = {}
        self.waiting: dict[int, PoolRequest] = {}
        self.seqs = count(1)
        self.kept_before: dict[int, int] = {}
        self.overtakers: list[int] = []
        self.shrinks = True
        self.pools = self.new_pools()

    def new_pools(self) -> Pools:
        return Pools(
            lambda key: min(self.queues.get(key, ()), default=None),
            lambda key, rank: sum(other < rank for other in self.queues.get(key, ())),
            self.holders.__contains__,
        )

    def rank(self, priority: int) -> int:
        return next(self.seqs) - (priority << 48)

    def granted(self, grants, shrinks: bool) -> None:
        """Do what the lock table does with grants, and check each."""
        self.shrinks = shrinks
        for request, units in grants:
            if request is None:
                [(key, _)] = units
                rank = min(self.queues[key])
                self.queues[key].remove(rank)
                self.hold(key, rank)
                self.overtakers.append(rank)
                if key in self.pools.units:
                    self.pools.forget(key)
                continue
            del self.waiting[request.rank]
            self.overtakers.append(request.rank)
            for key, _ in units:
                self.hold(key, request.rank)
            for index, want in enumerate(request.wants):
                got = [key for key, of in units if of == index]
                assert want.count in {len(got), ALL}
                assert all(self.matches(want, key) for key in got)
                if want.count == ALL:
                    mine = {key for key, _ in units}
                    every = {key for key in self.units() if self.matches(want, key) and self.in_service(key)}
                    assert every <= mine, "not everything"
                    assert every, "everything of nothing"

    def hold(self, key: LockKey, rank: int) -> None:
        assert key not in self.holders, f"{key} was granted twice"
        assert self.in_service(key), f"{key} is out of service"
        self.holders[key] = rank

    def units(self) -> set[LockKey]:
        """What can be granted: what has a card, and what is named."""
        return {*self.cards, *KEYS}

    def in_service(self, key: LockKey) -> bool:
        return key not in self.cards or self.cards[key].out is None

    def matches(self, want: Want, key: LockKey) -> bool:
        if want.selector:
            return (want.resource, want.selector) == key
        return want.resource == key.resource and key in self.cards and want.tags <= self.cards[key].tags

    # -- Steps

    @rule(key=key, tags=tags, out=st.sampled_from([None, None, None, "broken"]))
    def card(self, key, tags, out):
        self.cards[key] = Card(tags, out=out)
        self.granted(self.pools.put_card(key, self.cards[key]), shrinks=True)

    @precondition(lambda self: self.cards)
    @rule(number=number)
    def uncard(self, number):
        key = sorted(self.cards)[number % len(self.cards)]
        del self.cards[key]
        self.granted(self.pools.put_card(key, None), shrinks=True)

    @rule(wants=wants, priority=priority, yields=st.booleans())
    def request(self, wants, priority, yields):
        asked, have = self.pools.could_have(wants)
        slots = [slot for want in wants for slot in [want] * max(1, want.count) if want.count != ALL]
        every = [want for want in wants if want.count == ALL]
        assert asked == len(slots) + len(every)
        had = len(match([[key for key in self.units() if self.matches(want, key)] for want in slots]))
        assert have == had + sum(any(self.matches(want, key) for key in self.units()) for want in every)
        if have < asked:
            return
        request = PoolRequest(self.rank(priority), wants, yields=yields)
        self.waiting[request.rank] = request
        grant = self.pools.enter(request)
        if grant is None:
            assert self.pools.position(request) == 1 + self.older(request.rank, wants)
        self.granted([] if grant is None else [grant], shrinks=False)

    def older(self, rank: int, wants) -> int:
        """Count who comes before a rank and could use something that the wants match."""
        mine = {key for key in self.units() for want in wants if self.matches(want, key)}
        joint = sum(
            any(self.matches(want, key) for key in mine for want in request.wants)
            for request in self.waiting.values()
            if request.rank < rank
        )
        return joint + sum(other < rank for key in mine for other in self.queues.get(key, ()))

    @rule(key=key, priority=priority)
    def ask_by_name(self, key, priority):
        rank = self.rank(priority)
        if key in self.pools.units:
            if key not in self.holders and self.pools.ask(key, rank):
                self.overtakers.append(rank)
                self.hold(key, rank)
                self.shrinks = False
                return
            assert self.pools.older(key, rank) == sum(
                any(self.matches(want, key) for want in request.wants)
                for request in self.waiting.values()
                if request.rank < rank
            )
            self.pools.wait(key)
        elif key not in self.holders:
            self.holders[key] = rank
            return
        self.queues.setdefault(key, []).append(rank)

    @precondition(lambda self: self.holders)
    @rule(number=number)
    def release(self, number):
        key = sorted(self.holders)[number % len(self.holders)]
        del self.holders[key]
        if key in self.pools.units:
            self.granted(self.pools.freed(key), shrinks=False)
        elif self.queues.get(key):
            self.granted([(None, [(key, 0)])], shrinks=False)

    @precondition(lambda self: self.waiting)
    @rule(number=number)
    def leave(self, number):
        rank = sorted(self.waiting)[number % len(self.waiting)]
        request = self.waiting.pop(rank)
        self.granted(self.pools.leave(request), shrinks=False)

    @precondition(lambda self: any(self.queues.values()))
    @rule(number=number)
    def leave_queue(self, number):
        places = sorted((rank, key) for key, ranks in self.queues.items() for rank in ranks)
        rank, key = places[number % len(places)]
        self.queues[key].remove(rank)
        if key in self.pools.units:
            self.pools.forget(key)

    @precondition(lambda self: self.pools.units)
    @rule(number=number)
    def doubt(self, number):
        """A unit cannot be granted for some time, as if somebody held it."""
        free = sorted(set(self.pools.units) - set(self.holders))
        if free:
            key = free[number % len(free)]
            self.holders[key] = 0
            self.pools.take(key)
            self.shrinks = True

    @rule()
    def restart(self):
        """All is put together anew; what is kept for each stays as much."""
        before = {rank: kept(request) for rank, request in self.waiting.items()}
        self.pools = self.new_pools()
        free = [key for key in KEYS if key not in self.holders]
        self.holders.update(dict.fromkeys(free, 0))
        for key, card in self.cards.items():
            assert not self.pools.put_card(key, card)
        self.waiting = {
            rank: PoolRequest(rank, request.wants, yields=request.yields) for rank, request in self.waiting.items()
        }
        for request in self.waiting.values():
            self.pools.load(request)
        for key in free:
            del self.holders[key]
            if key in self.pools.units:
                assert not self.pools.freed(key), "a restart has granted something"
        assert before == {rank: kept(request) for rank, request in self.waiting.items()}

    # -- What must be true

    @invariant()
    def each_has_kept_what_it_can_have(self):
        """In the order of their ranks, as much as possible is kept for each; nobody waits who could have everything."""
        free = [key for key in self.units() if key not in self.holders and self.in_service(key)]
        slots: list[list[LockKey]] = []
        others = [(rank, key) for key, ranks in self.queues.items() for rank in ranks]
        for rank, by_name in sorted([*((rank, None) for rank in self.waiting), *others], key=lambda each: each[0]):
            if by_name is not None:
                more = [*slots, [by_name] if by_name in free else []]
                assert len(match(more)) == len(match(slots)), f"{by_name} was not granted by name"
                continue
            request = self.waiting[rank]
            mine = [
                [key for key in free if self.matches(want, key)]
                for want in request.wants
                for _ in range(want.count or sum(self.matches(want, key) for key in free))
            ]
            could = len(match(slots + mine)) - len(match(slots))
            if request.yields:
                assert kept(request) == 0
            else:
                assert kept(request) == could, f"{request.wants}: {kept(request)} kept, {could} possible"
            every = [want for want in request.wants if want.count == ALL]
            if not every:
                assert could < sum(want.count for want in request.wants), f"{request.wants} was not granted"
            else:
                assert not self.could_complete(request, free, slots), f"{request.wants} was not granted"
            if not request.yields:
                slots += mine

    def could_complete(self, request: PoolRequest, free: list[LockKey], older: list[list[LockKey]]) -> bool:
        """Whether a request for everything of something, and perhaps more, could have all of it beside what is kept for older ones."""
        everything = [
            {key for key in self.units() if self.matches(want, key) and self.in_service(key)}
            for want in request.wants
            if want.count == ALL
        ]
        needed = set().union(*everything)
        if not all(everything) or not needed <= set(free):
            return False
        rest = [[key for key in slot if key not in needed] for slot in older]
        more = [[key for key in free if self.matches(want, key)] for want in request.wants for _ in range(want.count)]
        kept = len(match(older))
        return len(match(rest)) == kept and len(match(rest + more)) == kept + len(more)

    @invariant()
    def nobody_was_overtaken(self):
        """What is kept for a request does not shrink because somebody younger gets something."""
        if not self.shrinks:
            last = max(self.overtakers, default=0)
            for rank, before in self.kept_before.items():
                if rank in self.waiting and rank < last:
                    assert kept(self.waiting[rank]) >= before, f"what was kept for {rank} went to somebody younger"
        self.kept_before = {rank: kept(request) for rank, request in self.waiting.items()}
        self.overtakers = []
        self.shrinks = True

    @invariant()
    def nothing_is_left_behind(self):
        pools = self.pools
        named = {LockKey(want.resource, want.selector) for request in self.waiting.values() for want in request.wants}
        for key, unit in pools.units.items():
            assert unit.free == (key not in self.holders)
            assert key in self.cards or key in named or self.queues.get(key), f"{key} is remembered"
        for pool in pools._pools.values():
            for filter_ in (*pool.filters.values(), *pool.named.values()):
                assert set(filter_.members) == {unit for unit in pool.units.values() if filter_.matches(unit)}
                assert set(filter_.units) == {unit for unit in filter_.members if unit.in_service}
                assert filter_.free == sum(unit.free for unit in filter_.units)
                assert set(filter_.idle.values()) == {unit for unit in filter_.members if unit.idle}
                for other, units in filter_.leads.items():
                    assert units
                    assert other.joins[filter_] is units
                    assert set(units) == {u for u in other.members if u.need is not None and u.need.filter is filter_}


def kept(request: PoolRequest) -> int:
    return sum(len(need.kept) for need in request.needs)


class PoolsMachineTests(SynchronousTestCase):
    """Whatever happens in whatever order, each request has its turn."""

    def test_order_and_maximum(self) -> None:
        """One holder, the order of arrival, as much kept as possible, nobody waits who could have everything; also after a restart."""
        drive(PoolsMachine, EXAMPLES, STEPS)
