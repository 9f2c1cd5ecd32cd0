"""
Requests for several things and by name, driven at random with a store that fails at will, against what clients were told.

The real lock manager and journal decide. ``LOCK_MACHINE_EXAMPLES=5000`` in the environment makes a longer run.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from resourced.errors import (
    CardNotFound,
    FenceMismatch,
    ForeignTicket,
    NotHolder,
    StoreUnavailable,
    TicketEnded,
    TooFew,
)
from resourced.locks.journal.group_commit import PAUSE
from resourced.locks.state.joints import Got, Joint, JointAsk, JointQueued
from resourced.locks.state.limits import Times
from resourced.locks.state.queue import Entry
from resourced.locks.state.requests import Acquired, LockRequest
from resourced.locks.unit_cards import CardChange
from resourced.model import Breaker, LockKey
from resourced.wants import ALL, Want
from tests.examples import examples
from tests.faulty import Life, Outcome
from tests.locks.machine import FaultyMachine, drive
from tests.locks.matching import match

pytestmark = pytest.mark.trial

EXAMPLES = int(os.environ.get("LOCK_MACHINE_EXAMPLES", str(examples(120))))
STEPS = 50

TIMES = Times(lease=40.0, place=60.0, claim=30.0)
KEYS = [LockKey("phones", selector) for selector in "abcd"] + [LockKey("bench", "1")]
LEASES = {"phones": 40.0, "bench": 20.0}
TAGS = [frozenset(tags) for tags in ("", "x", "y", "xy")]

number = st.integers(0, 1000)
key = st.sampled_from(KEYS)
outcome = st.sampled_from([Outcome.DONE, Outcome.DONE, *Outcome])
by_tags = st.builds(Want, st.just("phones"), tags=st.sampled_from(TAGS), count=st.sampled_from([1, 1, 2, 3, ALL]))
by_name = key.map(lambda key: Want(key.resource, selector=key.selector))
wants = st.lists(st.one_of(by_tags, by_tags, by_name), min_size=1, max_size=2, unique_by=str).map(tuple)
wait = st.sampled_from([0.0, 0.0, 50.0])


class SeveralMachine(FaultyMachine):
    """Clients, cards, faults, crashes and time in any order."""

    resources: ClassVar[Mapping[str, int]] = {name: int(lease) for name, lease in LEASES.items()}
    times = TIMES

    def __init__(self) -> None:
        super().__init__()
        self.joint_tickets: list[str] = []
        self.tickets: list[tuple[LockKey, str]] = []
        # Who believes to have what, until when.
        self.believed: dict[LockKey, tuple[str, float]] = {}
        self.fences: dict[LockKey, int] = {}
        self.granted: dict[int, tuple[LockKey, str]] = {}
        self.letting_go: Counter[str] = Counter()
        self.let_go_at: dict[str, int] = {}
        self.number = 0
        for each in KEYS[:3]:
            self.card(each, frozenset("x"), "")

    # -- What clients do, and what they conclude from answers

    def send(self, work: Any) -> None:
        request = self.life.heard(Deferred.fromCoroutine(work))
        self.await_end(request, request)

    def has(self, key: LockKey, ticket: str, fence: int, lease: float, sent: int) -> None:
        """A client was told that it holds a lock."""
        assert self.granted.setdefault(fence, (key, ticket)) == (key, ticket), f"fence {fence} was used twice"
        assert fence >= self.fences.get(key, 0), f"the fence of {key} fell"
        self.fences[key] = fence
        if self.letting_go[ticket] or self.let_go_at.get(ticket, 0) > sent:
            return
        holder, until = self.believed.get(key, ("", 0.0))
        assert holder in {"", ticket} or until <= self.now, f"{ticket} was told that it has {key} while {holder} does"
        self.believed[key] = ticket, self.now + lease

    def lets_go(self, ticket: str, key: LockKey | None) -> None:
        """A client gives back a unit, or everything: it claims nothing of it any more."""
        self.letting_go[ticket] += 1
        for each, (holder, _) in list(self.believed.items()):
            if holder == ticket and key in {None, each}:
                del self.believed[each]

    def let_go(self, ticket: str) -> None:
        self.letting_go[ticket] -= 1
        self.number += 1
        self.let_go_at[ticket] = self.number

    async def ask_for(self, life: Life, ask: JointAsk) -> None:
        self.number += 1
        sent = self.number

        async def read(keys: Any) -> list[str | None]:
            return [None for _ in keys]

        try:
            answer = await life.locks.several.acquire(ask, read)
        except (StoreUnavailable, TooFew):
            return
        except (TicketEnded, ForeignTicket):
            return
        if life is not self.life:
            return
        ticket = answer.ticket if isinstance(answer, JointQueued) else answer[0].ticket
        if ticket not in self.joint_tickets:
            self.joint_tickets.append(ticket)
        if isinstance(answer, JointQueued):
            return
        got = answer[0]
        self.got(ask, got, sent)

    def got(self, ask: JointAsk, got: Got, sent: int) -> None:
        """A client was told that it has everything."""
        for unit in got.units:
            self.has(unit.key, got.ticket, unit.fence, got.lease, sent)
        if not ask.ticket and not ask.idempotency_key:
            for index, want in enumerate(ask.wants):
                assert want.count in {ALL, sum(unit.want == index for unit in got.units)}
        places = {place.key: place.ticket for place in self.disk.places.values() if place.fence}
        assert all(places.get(unit.key) == got.ticket for unit in got.units), "told before it was committed"

    async def ask_by_name(self, life: Life, key: LockKey, ticket: str, wait: float) -> None:
        self.number += 1
        sent = self.number
        try:
            answer = await life.locks.acquire(LockRequest(key, lease=LEASES[key.resource], ticket=ticket, wait=wait))
        except (StoreUnavailable, TicketEnded, ForeignTicket):
            return
        if life is not self.life:
            return
        if (key, answer.ticket) not in self.tickets and answer.ticket not in self.joint_tickets:
            self.tickets.append((key, answer.ticket))
        if isinstance(answer, Acquired):
            self.has(key, answer.ticket, answer.fence, answer.lease, sent)

    async def unlock_all(self, life: Life, ticket: str) -> None:
        with contextlib.suppress(StoreUnavailable):
            await life.locks.several.unlock(ticket, "")
        if life is self.life:
            self.let_go(ticket)

    async def unlock_one(self, life: Life, key: LockKey, ticket: str, broken: Breaker | None) -> None:
        with contextlib.suppress(StoreUnavailable, NotHolder, CardNotFound):
            await life.locks.unlock(key, ticket, broken=broken)
        if life is self.life:
            self.let_go(ticket)

    async def take(self, life: Life, key: LockKey, fence: int, ticket: str) -> None:
        with contextlib.suppress(FenceMismatch, StoreUnavailable):
            await life.locks.break_lock(key, fence)
        if life is self.life:
            self.let_go(ticket)

    async def change(self, life: Life, work: Any) -> None:
        with contextlib.suppress(StoreUnavailable, CardNotFound):
            await work

    # -- Steps

    @rule(wants=wants, polite=st.booleans(), wait=wait, word=st.sampled_from(["", "", "", "a"]))
    def several(self, wants, polite, wait, word):
        leases = {want.resource: LEASES[want.resource] for want in wants}
        self.send(
            self.ask_for(
                self.life, JointAsk(wants, leases, wait=wait, yields=polite, idempotency_key=word and f"{wants}")
            )
        )

    @precondition(lambda self: self.joint_tickets)
    @rule(number=number, wait=wait)
    def again(self, number, wait):
        ticket = self.joint_tickets[-1 - number % min(6, len(self.joint_tickets))]
        self.send(self.ask_for(self.life, JointAsk((), {}, ticket=ticket, wait=wait)))

    @precondition(lambda self: self.joint_tickets)
    @rule(number=number)
    def give_back(self, number):
        ticket = self.joint_tickets[-1 - number % min(6, len(self.joint_tickets))]
        self.lets_go(ticket, None)
        self.send(self.unlock_all(self.life, ticket))

    @rule(key=key, wait=wait)
    def newcomer_by_name(self, key, wait):
        self.send(self.ask_by_name(self.life, key, "", wait))

    @precondition(lambda self: self.tickets)
    @rule(number=number, wait=wait)
    def again_by_name(self, number, wait):
        key, ticket = self.tickets[-1 - number % min(6, len(self.tickets))]
        self.send(self.ask_by_name(self.life, key, ticket, wait))

    @precondition(lambda self: self.believed)
    @rule(number=number)
    def use_by_name(self, number):
        """A holder uses its ticket at one of its locks, be it one of several."""
        key = sorted(self.believed)[number % len(self.believed)]
        self.send(self.ask_by_name(self.life, key, self.believed[key][0], 0.0))

    @precondition(lambda self: self.believed)
    @rule(number=number, broken=st.booleans())
    def give_back_one(self, number, broken):
        key = sorted(self.believed)[number % len(self.believed)]
        ticket = self.believed[key][0]
        self.lets_go(ticket, key)
        self.send(self.unlock_one(self.life, key, ticket, Breaker("", "", "broken") if broken else None))

    @precondition(lambda self: self.tickets)
    @rule(number=number)
    def leave_by_name(self, number):
        key, ticket = self.tickets[-1 - number % min(6, len(self.tickets))]
        self.lets_go(ticket, key)
        self.send(self.unlock_one(self.life, key, ticket, None))

    @rule(key=key)
    def operator_breaks(self, key):
        queue = self.life.locks.places.queues.by_key.get(key)
        if queue is not None and queue.holder is not None:
            ticket = queue.holder.ticket.name
            self.lets_go(ticket, key)
            self.send(self.take(self.life, key, queue.holder.fence, ticket))

    @rule(key=key, tags=st.sampled_from(TAGS), out=st.sampled_from(["", "", "", "broken"]))
    def card(self, key, tags, out):
        change = self.life.locks.units.change(key, CardChange(tags=tags, out=out), Breaker())
        self.send(self.change(self.life, change))

    @rule(key=key)
    def uncard(self, key):
        self.send(self.change(self.life, self.life.locks.units.remove(key, Breaker())))

    @precondition(lambda self: self.open)
    @rule(number=number)
    def hang_up(self, number):
        self.open[-1 - number % len(self.open)].cancel()

    @rule(outcome=outcome)
    def crash(self, outcome):
        died = self.life
        died.crash(outcome)
        self.now_before = self.now
        self.letting_go.clear()
        self.open.clear()
        self.life = self.start()
        died.bury()

    # -- What must be true

    @invariant()
    def clients_were_told_the_truth(self):
        if self.failures:
            raise self.failures.pop()

    @property
    def settled(self) -> bool:
        life = self.life
        in_doubt = any(queue.in_doubt for queue in life.locks.places.queues.by_key.values())
        in_doubt |= any(joint.in_doubt for joint in life.locks.places.units.joints)
        return self.decides and not life.store.busy and not in_doubt and not life.store.away

    @invariant()
    def memory_and_store_agree(self):
        life = self.life
        assert not life.leadership_lost
        if self.settled:
            assert life.believed() == self.disk.places
            units = life.locks.places.units
            assert {joint.seq: joint.request() for joint in units.joints} == self.disk.joints
            for each in KEYS:
                assert units.cards.get(each) == self.disk.cards.get(each)

    @invariant()
    def each_has_kept_what_it_can_have(self):
        """What is kept follows from what is free, and nobody waits who could have everything."""
        if not self.settled:
            return
        places = self.life.locks.places
        units, queues = places.units, places.queues.by_key
        free = [
            each for each in KEYS if (each not in queues or queues[each].holder is None) and units.out(each) is None
        ]
        waiting: list[tuple[int, Any]] = [(joint.waiting.rank, joint) for joint in units.joints if not joint.holds]
        for each in KEYS:
            waiting += [(entry.seq, each) for entry in (queues[each].waiting.values() if each in queues else ())]
        slots: list[list[LockKey]] = []
        for _, who in sorted(waiting, key=lambda pair: pair[0]):
            if isinstance(who, LockKey):
                more = [*slots, [who] if who in free else []]
                assert len(match(more)) == len(match(slots)), f"{who} was not granted by name"
                continue
            mine = [
                [each for each in free if self.matches(want, each)]
                for want in who.wants
                for _ in range(want.count or sum(self.matches(want, each) for each in free))
            ]
            could = len(match(slots + mine)) - len(match(slots))
            kept = sum(len(need.kept) for need in who.waiting.needs)
            assert kept == (0 if who.waiting.yields else could), f"{kept} kept for {who.wants}, {could} possible"
            if all(want.count != ALL for want in who.wants):
                assert could < len(mine), f"{who.wants} was not granted"
            if not who.waiting.yields:
                slots += mine

    def matches(self, want: Want, key: LockKey) -> bool:
        if want.selector:
            return (want.resource, want.selector) == key
        card = self.life.locks.places.units.cards.get(key)
        return want.resource == key.resource and card is not None and want.tags <= card.tags

    @invariant()
    def counts_are_right(self):
        places = self.life.locks.places
        queues = list(places.queues.by_key.values())
        waiting = sum(len(queue.waiting) for queue in queues)
        waiting += sum(not joint.holds for joint in places.units.joints)
        listed = [waiter for _, waiter in places.queues.waiters.after(0)]
        assert listed == sorted(listed, key=lambda waiter: waiter.seq)
        assert set(listed) == {
            *(each for queue in queues for each in queue.waiting.values()),
            *(joint for joint in places.units.joints if not joint.holds),
        }
        assert len(listed) == len(places.queues.waiters) == waiting
        holders = [entry for _, entry in places.queues.holders.after(0)]
        assert holders == sorted(
            (queue.holder for queue in queues if queue.holder is not None), key=lambda entry: entry.fence
        )
        tenant = self.life.locks.quotas.tenant("")
        assert (tenant.held, tenant.waiting) == (sum(queue.holder is not None for queue in queues), waiting)

    def teardown(self):
        """In the end all is well, every unit is back in service, and whoever asks often enough gets everything."""
        life = self.life
        life.store.heal()
        while life.store.busy:
            life.store.finish()
        for _ in range(4):
            life.clock.advance(PAUSE)
        for each in KEYS:
            self.card(each, frozenset("xy"), "")
        for _ in range(300):
            self.clients_were_told_the_truth()
            joints = list(life.locks.places.units.joints)
            entries = list(life.locks.places)
            if not joints and not entries:
                break
            for joint in joints:
                self.turn_of_several(joint)
            for entry in entries:
                if entry.joint is None:
                    self.turn_by_name(entry)
            life.clock.advance(1)
        assert not list(life.locks.places.units.joints), "a request waits for ever"
        life.clock.pump([TIMES.place] * 5)
        assert not life.locks.places.queues.by_key
        assert not life.clock.getDelayedCalls()
        assert self.disk.places == {}
        assert self.disk.joints == {}
        life.bury()

    def turn_of_several(self, joint: Joint) -> None:
        """Give everything back, or keep the place."""
        if joint.holds:
            self.lets_go(joint.name, None)
            self.send(self.unlock_all(self.life, joint.name))
        else:
            self.send(self.ask_for(self.life, JointAsk((), {}, ticket=joint.name)))

    def turn_by_name(self, entry: Entry) -> None:
        """Give a lock back, or keep the place."""
        key, ticket = entry.queue.key, entry.ticket.name
        if entry.holds:
            self.lets_go(ticket, key)
            self.send(self.unlock_one(self.life, key, ticket, None))
        elif not entry.ended:
            self.send(self.ask_by_name(self.life, key, ticket, 0.0))


class SeveralMachineTests(SynchronousTestCase):
    """Whatever happens in whatever order, clients are told the truth."""

    def test_durable(self) -> None:
        """One holder of each unit, everything or nothing, what is kept is derived, nobody waits for ever; also after a crash."""
        drive(SeveralMachine, EXAMPLES, STEPS)
