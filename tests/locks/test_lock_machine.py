"""
The real lock manager and journal, driven at random with a store that fails at will, against what clients were told.

``LOCK_MACHINE_EXAMPLES=5000`` in the environment makes a longer run; the examples of a run of one length are always the same.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from math import inf
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from resourced.errors import DataNotFound, FenceMismatch, NotHolder, ResourceInUse, StoreUnavailable, TicketEnded
from resourced.locks.journal.group_commit import PAUSE
from resourced.locks.state.limits import Times
from resourced.locks.state.queue import Scope
from resourced.locks.state.requests import Acquired, LockRequest, Queued
from resourced.model import Document, LockKey, Resource
from tests.examples import examples
from tests.faulty import Life, Outcome
from tests.locks.machine import FaultyMachine, drive

pytestmark = pytest.mark.trial

EXAMPLES = int(os.environ.get("LOCK_MACHINE_EXAMPLES", str(examples(250))))
STEPS = 60

TIMES = Times(lease=40.0, place=60.0, claim=30.0)
KEYS = [LockKey(resource, selector) for resource in ("printer", "scanner") for selector in ("A4", "A5")]
#: The scanner has a lease of its own.
TIMEOUTS = {"printer": 0, "scanner": 20}


#: With which priority the request asks that is known by a word.
PRIORITIES = {"a": 0, "b": 2}


class Told:
    """
    What the clients know, and what must be true therefore.

    Requests and answers are numbered as they happen. A client *believes* in its lock until its lease is over or it lets go.
    It *stays* in the line if it was told its position so lately that its place cannot have ended, nor a lock that fell to it.
    """

    def __init__(self) -> None:
        self.number = 0
        self.believed: dict[tuple[LockKey, str], float] = {}
        self.staying: dict[tuple[LockKey, str], tuple[int, float]] = {}
        self.asked: dict[tuple[LockKey, str], list[int]] = {}
        self.words: dict[str, str] = {}
        self.repeated: dict[tuple[LockKey, str], int] = {}
        self.leaving: Counter[tuple[LockKey, str]] = Counter()
        self.left: dict[tuple[LockKey, str], int] = {}
        self.once_left: set[str] = set()
        # Under which fence a ticket was told that it holds a lock, until it lets go or is told that it lost it.
        self.had: dict[tuple[LockKey, str], int] = {}
        # Who was given a lock by an answer that may have kept the ticket from it, and from where it asked.
        self.unclaimed_by: dict[LockKey, tuple[str, str]] = {}
        self.fences: dict[LockKey, tuple[int, str, int]] = {}
        self.granted: dict[int, tuple[LockKey, str]] = {}
        self.over: set[int] = set()
        self.acknowledged: Counter[LockKey] = Counter()
        self.open_writes: dict[LockKey, set[int]] = {key: {0} for key in KEYS}
        # Those that leave nothing there, as there was nothing in the beginning.
        self.deletions = {0}

        # With which priority each ticket asks; without one it is 0.
        self.priorities: Counter[str] = Counter()

    def event(self) -> int:
        self.number += 1
        return self.number

    def sure(self, key: LockKey, ticket: str, now: float) -> bool:
        """Whether a ticket certainly holds or waits."""
        return self.believed.get((key, ticket), -inf) > now or self.stays(key, ticket, now)

    def holders(self, now: float) -> list[tuple[LockKey, str]]:
        return [place for place, until in self.believed.items() if until > now]

    def stays(self, key: LockKey, ticket: str, now: float) -> bool:
        return now - self.staying.get((key, ticket), (0, -inf))[1] < TIMES.claim

    def joined(self, key: LockKey, ticket: str) -> int:
        """The first request that can have given a ticket its place, be it by the word that is repeated to get the same ticket."""
        numbers = self.asked[key, ticket]
        word = self.words.get(ticket, "")
        return min([*numbers, self.repeated[key, word]] if (key, word) in self.repeated else numbers)

    def lets_go(self, key: LockKey, ticket: str) -> None:
        """
        A client unlocks, or writes and unlocks: whatever comes of it, it claims nothing any more.

        Until it has an answer, nor if it hangs up before, it does not trust what its other requests are told.
        """
        self.leaving[key, ticket] += 1
        self.left[key, ticket] = self.number
        # If it let go of everything it is not found by its word any more.
        self.once_left.add(ticket)
        self.believed.pop((key, ticket), None)
        self.staying.pop((key, ticket), None)
        self.had.pop((key, ticket), None)
        self.uses(key, ticket)

    def let_go(self, key: LockKey, ticket: str) -> None:
        """A client that wished to let go has its answer."""
        self.leaving[key, ticket] -= 1
        self.left[key, ticket] = self.event()

    def trusts(self, place: tuple[LockKey, str], sent: int) -> bool:
        """Whether an answer says what a client has, and not just what it had before it let go, or while it did so."""
        return not self.leaving[place] and self.left.get(place, 0) < sent

    def has_nothing(self, key: LockKey, ticket: str, sent: int) -> None:
        """A client was told that it has no place; what it asked for after ``sent`` may have given it another."""
        self.uses(key, ticket)
        self.believed.pop((key, ticket), None)
        self.staying.pop((key, ticket), None)
        self.asked[key, ticket] = [number for number in self.asked.get((key, ticket), []) if number > sent]
        fence, holder, told = self.fences.get(key, (0, "", 0))
        if holder == ticket and told < sent:
            self.over.add(fence)

    def sends(self, key: LockKey, ticket: str, sent: int) -> None:
        """A client asks for a lock with its ticket."""
        self.asked.setdefault((key, ticket), []).append(sent)
        for known in KEYS:
            self.uses(known, ticket)

    def uses(self, key: LockKey, ticket: str) -> None:
        """A client sends its ticket: so it knows it."""
        if self.unclaimed_by.get(key, ("", ""))[0] == ticket:
            del self.unclaimed_by[key]

    def leaves(self, key: LockKey, ticket: str, origin: str) -> None:
        """A lock was given, and if there is an ``origin``, the ticket was perhaps kept from its client."""
        self.unclaimed_by.pop(key, None)
        if origin:
            self.unclaimed_by[key] = ticket, origin

    def inherits(self, key: LockKey, origin: str) -> int:
        """
        A client asks without anything by which it is known: it may get what was left behind for it, and then in the other's place.

        :returns: the request that can have given that one its place, or 0.
        """
        ticket, address = self.unclaimed_by.get(key, ("", ""))
        if not origin or address != origin:
            return 0
        self.believed.pop((key, ticket), None)
        return self.joined(key, ticket)

    def ended(self, key: LockKey, ticket: str, sent: int, now: float) -> None:
        self.had.pop((key, ticket), None)
        if self.left.get((key, ticket), 0) > sent:
            # By its own wish; it may have come back since.
            return
        if any(number > sent for number in self.asked.get((key, ticket), ())):
            # It has asked anew since, under a name that nobody knew before, and that may have been answered first.
            return
        assert not self.sure(key, ticket, now), f"{ticket} was told that it has ended while it held or stayed"
        self.has_nothing(key, ticket, sent)

    def queued(self, key: LockKey, queued: Queued, sent: int, now: float) -> None:
        place = key, queued.ticket
        assert self.believed.get(place, -inf) <= now, f"{place} was told to wait while it held"
        self.asked.setdefault(place, []).append(sent)
        if not self.trusts(place, sent):
            return
        self.believed.pop(place, None)
        since = self.staying.get(place, (self.event(), now))[0] if self.stays(*place, now) else self.event()
        self.staying[place] = since, now
        joined, priority = self.joined(*place), self.priorities[queued.ticket]
        ahead = [
            ticket
            for (other, ticket), (first, _) in self.staying.items()
            if other == key
            and ticket != queued.ticket
            and self.stays(key, ticket, now)
            # One that came later may only be ahead if it was there when the position was asked for.
            and (
                (first < joined and self.priorities[ticket] >= priority)
                or (first < sent and self.priorities[ticket] > priority)
            )
        ]
        # To the first of them the lock may have fallen, and it does not know yet.
        assert queued.position >= len(ahead), f"{place} was told position {queued.position} behind {ahead}"

    def holds(self, key: LockKey, ticket: str, lease: float, now: float) -> None:
        for (other, another), until in self.believed.items():
            if other == key and another != ticket:
                assert until <= now, f"{ticket} was told that it holds {key} while {another} does"
        self.believed[key, ticket] = now + lease
        self.staying.pop((key, ticket), None)

    def held(self, key: LockKey, held: Acquired, lease: float, sent: int, now: float) -> None:
        place = key, held.ticket
        self.asked.setdefault(place, []).append(sent)
        fence, _, _ = self.fences.get(key, (0, "", 0))
        assert self.granted.setdefault(held.fence, place) == place, f"fence {held.fence} was used twice"
        assert held.fence not in self.over, f"{place} was told a fence that is over"
        assert self.had.get(place, held.fence) == held.fence, f"{place} lost its lock and was never told"
        if self.trusts(place, sent):
            self.had[place] = held.fence
        if held.fence != fence:
            assert held.fence > fence, f"the fence of {key} fell from {fence} to {held.fence}"
            joined, priority = self.joined(*place), self.priorities[held.ticket]
            for (other, ticket), (first, _) in self.staying.items():
                if other == key and ticket != held.ticket and self.stays(key, ticket, now):
                    assert first > joined or self.priorities[ticket] < priority, (
                        f"{held.ticket} was served before {ticket}, which came first"
                    )
            self.fences[key] = held.fence, held.ticket, self.event()
            if fence:
                self.over.add(fence)
        if self.trusts(place, sent):
            self.holds(key, held.ticket, lease, now)

    def wrote(self, key: LockKey, ticket: str, lease: float, sent: int, now: float, *, unlock: bool) -> None:
        """A write was acknowledged: those before it are settled."""
        self.acknowledged[key] = max(self.acknowledged[key], sent)
        self.open_writes[key] = {write for write in self.open_writes[key] if write >= sent}
        if unlock:
            self.has_nothing(key, ticket, sent)
        elif self.trusts((key, ticket), sent):
            self.holds(key, ticket, lease, now)

    def removed(self, resource: str, sent: int, now: float) -> None:
        """A resource was removed, so nobody can have had anything of it, and nothing is written there."""
        for key in KEYS:
            if key.resource == resource:
                sure = [
                    place for place in (*self.believed, *self.staying) if place[0] == key and self.sure(*place, now)
                ]
                assert not sure, f"{resource} was removed while {sure} held or stayed"
                self.acknowledged[key] = max(self.acknowledged[key], sent)
                self.open_writes[key] = {write for write in self.open_writes[key] if write >= sent}

    def not_written(self, key: LockKey, sent: int) -> None:
        """A write was refused."""
        self.open_writes[key].discard(sent)


class Request:
    """Something that a client has asked and was not answered yet."""

    def __init__(self, life: Life, sent: int, outcome: Deferred[Any]) -> None:
        self.life = life
        self.sent = sent
        self.outcome = outcome


class LockMachine(FaultyMachine):
    """Clients, faults, crashes and time in any order."""

    resources = TIMEOUTS
    times = TIMES

    def __init__(self) -> None:
        super().__init__()
        self.tickets: list[str] = []
        self.home: dict[str, str] = {}
        # The ticket that the request with a word got last.
        self.retried: dict[tuple[LockKey, str], str] = {}
        self.told = Told()
        self.seen: Counter[LockKey] = Counter()
        self.crash_after = 0

    # -- What clients do

    def send(self, work: Any, life: Life, sent: int) -> None:
        """Let a client wait for its answer; nobody is there to hear it if the daemon has died."""
        request = Request(life, sent, life.heard(Deferred.fromCoroutine(work)))
        self.await_end(request, request.outcome)

    def pick(self, number: int, key: LockKey) -> str:
        """One of the last tickets of the key's resource, or one that never was."""
        known = [ticket for ticket in self.tickets if self.home[ticket] == key.resource]
        return known[-1 - number % min(8, len(known))] if known else key.resource.encode().hex().zfill(32)

    def learn(self, key: LockKey, ticket: str, idempotency_key: str, priority: int = 0) -> None:
        """Remember a ticket that a client was given, with which priority, and which request it will find it by."""
        self.told.priorities.setdefault(ticket, priority)
        if idempotency_key:
            self.told.words[ticket] = idempotency_key
            before = self.retried.get((key, idempotency_key), ticket)
            if before not in self.told.once_left:
                assert before == ticket or not self.told.sure(key, before, self.now), "a retry made a ghost"
            self.retried[key, idempotency_key] = ticket
        if ticket not in self.home:
            self.home[ticket] = key.resource
            self.tickets.append(ticket)

    async def acquire(
        self, life: Life, sent: int, key: LockKey, ticket: str, *, first: bool = False, **more: Any
    ) -> Acquired | Queued | None:
        """Ask for a lock, and return the answer if it came in this life and was one."""
        if ticket:
            self.told.sends(key, ticket, sent)
        instead = self.told.inherits(key, more.get("origin", ""))
        lease = float(TIMEOUTS[key.resource])

        async def read() -> Document:
            if first:
                raise DataNotFound("There was no data.")
            return Document("id", "resource", key.selector, "{}")

        try:
            outcome = await life.locks.acquire(LockRequest(key, lease=lease, ticket=ticket, **more), read)
        except StoreUnavailable:
            return None
        except TicketEnded:
            if ticket and life is self.life:
                self.told.ended(key, ticket, sent, self.now)
            return None
        if life is not self.life:
            return None
        assert not ticket or outcome.ticket == ticket
        self.learn(key, outcome.ticket, more.get("idempotency_key", ""), more.get("priority", 0))
        if isinstance(outcome, Acquired):
            if instead:
                self.told.asked.setdefault((key, outcome.ticket), []).append(instead)
            self.told.held(key, outcome, outcome.lease, sent, self.now)
            self.told.leaves(key, outcome.ticket, more.get("origin", "") if first else "")
            self.holds_in_the_store(key, outcome.ticket)
        else:
            self.told.queued(key, outcome, sent, self.now)
        return outcome

    def holds_in_the_store(self, key: LockKey, ticket: str) -> None:
        """Whoever is told that it holds a lock is the one who does in the store, where that is kept."""
        holders = [place.ticket for place in self.disk.places.values() if place.key == key and place.fence]
        assert not self.durable or holders == [ticket], f"{holders} hold {key} in the store, not {ticket}"

    def resource(self, name: str) -> Resource:
        """Find a resource, or make it anew if it was removed."""
        if name not in self.disk.resources:
            self.disk.resources[name] = Resource(f"{name} {next(self.names)}", name, TIMEOUTS[name])
        return self.disk.resources[name]

    async def write(
        self, life: Life, sent: int, key: LockKey, ticket: str, *, unlock: bool, delete: bool = False
    ) -> None:
        """Write the number of the request, so that it is seen which one the data is from; or delete what is there."""
        self.told.open_writes[key].add(sent)
        if delete:
            self.told.deletions.add(sent)
        self.told.uses(key, ticket)
        holds = (key, ticket) in self.told.holders(self.now)
        data = None if delete else str(sent)
        try:
            await life.locks.write(key, self.resource(key.resource).id, ticket, data, unlock=unlock)
        except StoreUnavailable:
            pass
        except TicketEnded:
            if life is self.life:
                self.told.not_written(key, sent)
                self.told.ended(key, ticket, sent, self.now)
        except NotHolder:
            if life is self.life:
                self.told.not_written(key, sent)
                assert not holds or (key, ticket) not in self.told.holders(self.now), "a holder could not write"
        else:
            if life is self.life:
                lease = float(TIMEOUTS[key.resource]) or TIMES.lease
                # It may have hung up before it was told of the lock.
                self.learn(key, ticket, "")
                self.told.wrote(key, ticket, lease, sent, self.now, unlock=unlock)
        if unlock and life is self.life:
            self.told.let_go(key, ticket)

    async def unlock(self, life: Life, sent: int, key: LockKey, ticket: str, *, sure: bool) -> None:
        left = self.told.left[key, ticket]
        try:
            released = await life.locks.unlock(key, ticket)
        except StoreUnavailable:
            pass
        else:
            if life is self.life:
                alone = self.told.left[key, ticket] == left
                assert released or not sure or not alone, "a ticket that held or stayed had nothing to let go of"
                self.told.has_nothing(key, ticket, sent)
        if life is self.life:
            self.told.let_go(key, ticket)

    async def take(self, life: Life, sent: int, key: LockKey, ticket: str, fence: int) -> None:
        """Break a lock; whoever has it believes nothing any more from the moment on in which that is asked for."""
        try:
            await life.locks.break_lock(key, fence)
        except (FenceMismatch, StoreUnavailable):
            pass
        else:
            if life is self.life:
                assert self.told.granted.get(fence, (key, ticket)) == (key, ticket), (
                    f"fence {fence} was broken too late"
                )
                self.told.over.add(fence)
                self.told.has_nothing(key, ticket, sent)
        if life is self.life:
            self.told.let_go(key, ticket)

    async def remove(self, life: Life, sent: int, resource: Resource) -> None:
        keys = [key for key in KEYS if key.resource == resource.name]
        self.told.deletions.add(sent)
        for key in keys:
            self.told.open_writes[key].add(sent)
        try:
            await life.locks.remove(resource)
        except StoreUnavailable:
            return
        except ResourceInUse:
            if life is self.life:
                for key in keys:
                    self.told.not_written(key, sent)
        else:
            if life is self.life:
                self.told.removed(resource.name, sent, self.now)

    async def intrude(self, life: Life, key: LockKey, ticket: str) -> None:
        """Use a ticket under another name than it was given to; if nobody knows it any more, it may be anybody's."""
        places = life.locks.places
        if ticket not in places.tickets and not places.losses.strange(key.resource, ticket, "other"):
            return
        for work in (
            lambda: life.locks.grants.wait(LockRequest(key, lease=0, ticket=ticket, key_name="other")),
            lambda: life.locks.write(key, "id", ticket, "0", key_name="other"),
            lambda: life.locks.write(key, "id", ticket, None, key_name="other", unlock=True),
        ):
            with contextlib.suppress(StoreUnavailable, TicketEnded):
                await work()
                raise AssertionError(f"{ticket} worked for somebody else")
        with contextlib.suppress(StoreUnavailable):
            assert not await life.locks.unlock(key, ticket, key_name="other")

    key = st.sampled_from(KEYS)
    wait = st.sampled_from([0.0, 0.0, 5.0, 50.0])
    number = st.integers(0, 7)
    outcome = st.sampled_from([Outcome.DONE, Outcome.DONE, Outcome.FAILED, Outcome.UNANSWERED])

    @rule(
        key=key,
        wait=wait,
        first=st.booleans(),
        origin=st.sampled_from(["", "here", "there"]),
        priority=st.sampled_from([0, 0, -3, 5]),
    )
    def newcomer(self, key, wait, first, origin, priority):
        sent = self.told.event()
        # Who comes in the place of another one has its turn, whatever its own priority.
        more = {"first": first, "wait": wait, "origin": origin, "priority": 0 if origin else priority}
        self.send(self.acquire(self.life, sent, key, "", **more), self.life, sent)

    @precondition(lambda self: self.told.unclaimed_by)
    @rule(number=number, wait=wait, first=st.booleans(), writes=st.booleans())
    def comes_back(self, number, wait, first, writes):
        """A client asks again after an answer that may have kept its ticket from it; or another one there does, and it has it."""
        keys = sorted(self.told.unclaimed_by)
        key = keys[number % len(keys)]
        ticket, origin = self.told.unclaimed_by[key]
        if writes:
            sent = self.told.event()
            self.send(self.write(self.life, sent, key, ticket, unlock=False), self.life, sent)
        self.newcomer(key, wait, first, origin, 0)

    @rule(key=key, wait=wait, word=st.sampled_from("ab"))
    def newcomer_who_retries(self, key, wait, word):
        sent = self.told.event()
        self.told.repeated.setdefault((key, word), sent)
        more = {"wait": wait, "idempotency_key": word, "priority": PRIORITIES[word]}
        self.send(self.acquire(self.life, sent, key, "", **more), self.life, sent)

    @rule(key=key, wait=wait, number=number)
    def ask_again(self, key, wait, number):
        sent = self.told.event()
        ticket = self.pick(number, key)
        more = {"wait": wait, "priority": self.told.priorities[ticket]}
        self.send(self.acquire(self.life, sent, key, ticket, **more), self.life, sent)

    @precondition(lambda self: self.open)
    @rule(number=number)
    def hang_up(self, number):
        self.open[-1 - number % len(self.open)].outcome.cancel()

    @rule(key=key, number=number, unlock=st.booleans())
    def put(self, key, number, unlock):
        ticket = self.pick(number, key)
        sent = self.told.event()
        if unlock:
            self.told.lets_go(key, ticket)
        self.send(self.write(self.life, sent, key, ticket, unlock=unlock), self.life, sent)

    @rule(key=key, number=number)
    def release(self, key, number):
        ticket = self.pick(number, key)
        sent = self.told.event()
        sure = self.told.sure(key, ticket, self.now) and not self.told.leaving[key, ticket]
        self.told.lets_go(key, ticket)
        self.send(self.unlock(self.life, sent, key, ticket, sure=sure), self.life, sent)

    @rule(key=key, number=number, unlock=st.booleans())
    def delete(self, key, number, unlock):
        ticket = self.pick(number, key)
        sent = self.told.event()
        if unlock:
            self.told.lets_go(key, ticket)
        self.send(self.write(self.life, sent, key, ticket, unlock=unlock, delete=True), self.life, sent)

    @rule(key=key, number=number)
    def intruder(self, key, number):
        sent = self.told.event()
        self.send(self.intrude(self.life, key, self.pick(number, key)), self.life, sent)

    @rule(key=key)
    def operator_breaks(self, key):
        queue = self.life.locks.places.queues.by_key.get(key)
        if queue is not None and queue.holder is not None:
            sent = self.told.event()
            ticket, fence = queue.holder.ticket.name, queue.holder.fence
            had = self.told.had.get((key, ticket))
            self.told.lets_go(key, ticket)
            if had is not None:
                # It is not its wish, so it has to be told.
                self.told.had[key, ticket] = had
            self.send(self.take(self.life, sent, key, ticket, fence), self.life, sent)

    @rule(key=key, older=st.integers(1, 5))
    def operator_breaks_too_late(self, key, older):
        """Nobody loses a lock for a fence that it does not have."""
        queue = self.life.locks.places.queues.by_key.get(key)
        fence = self.told.fences.get(key, (0, "", 0))[0] - older
        if queue is None or queue.holder is None or queue.holder.fence != fence:
            sent = self.told.event()
            self.send(self.take(self.life, sent, key, "f" * 32, fence), self.life, sent)

    @rule(name=st.sampled_from(sorted(TIMEOUTS)))
    def operator_removes(self, name):
        sent = self.told.event()
        self.send(self.remove(self.life, sent, self.resource(name)), self.life, sent)

    @precondition(lambda self: self.told.holders(self.now))
    @rule(number=number, act=st.sampled_from(["ask", "put", "put and unlock", "unlock"]))
    def holder_acts(self, number, act):
        places = self.told.holders(self.now)
        key, ticket = places[number % len(places)]
        number = [name for name in reversed(self.tickets) if self.home[name] == key.resource].index(ticket)
        if number > 7:
            return
        if act == "ask":
            self.ask_again(key, 0.0, number)
        elif act == "unlock":
            self.release(key, number)
        else:
            self.put(key, number, act == "put and unlock")

    # -- What else happens

    @rule()
    def slow_down(self):
        self.life.store.slow = True

    @precondition(lambda self: self.told.number >= self.crash_after)
    @rule(outcome=outcome)
    def crash(self, outcome):
        # Not so often that there is nothing to lose.
        self.crash_after = self.told.number + 8
        died = self.life
        died.crash(outcome)
        self.now_before = self.now
        self.told.leaving.clear()
        self.told.unclaimed_by.clear()
        self.open.clear()
        if not self.durable:
            # All locks are gone, and that is the bargain.
            self.told.believed.clear()
            self.told.staying.clear()
            self.told.repeated.clear()
            self.retried.clear()
        self.life = self.start()
        # The coroutines of the one that died must end some time. Nobody hears them, and nothing of them gets through.
        died.bury()

    # -- What must be true

    @invariant()
    def clients_were_told_the_truth(self):
        if self.failures:
            raise self.failures.pop()

    @invariant()
    def data_is_that_of_the_last_write(self):
        for key in KEYS:
            document = self.disk.documents.get(key)
            numbers = self.told.deletions if document is None else {int(document.data)}
            least = max(self.told.acknowledged[key], self.seen[key])
            possible = {number for number in self.told.open_writes[key] & numbers if number >= least}
            assert possible, "older data came back, or newer was lost"
            self.seen[key] = min(possible)

    @invariant()
    def one_believes(self):
        for key in KEYS:
            assert [other for other, _ in self.told.holders(self.now)].count(key) <= 1

    @invariant()
    def memory_and_store_agree(self):
        life = self.life
        in_doubt = any(queue.in_doubt for queue in life.locks.places.queues.by_key.values())
        if self.durable and not life.store.busy and not in_doubt and self.decides:
            assert life.believed() == self.disk.places
            assert sorted(life.locks.places.losses) == sorted(self.disk.losses.values())
        assert not life.leadership_lost

    @invariant()
    def counts_are_right(self):
        places = self.life.locks.places
        queues = list(places.queues.by_key.values())
        for name in TIMEOUTS:
            scope = places.queues.scopes.get(name) or Scope(0.0)
            mine = [queue for queue in queues if queue.key.resource == name]
            assert [scope.queues[selector] for selector in scope.selectors.since("")] == sorted(
                mine, key=lambda queue: queue.key
            )
            assert scope.held == sum(queue.holder is not None for queue in mine)
            assert scope.waiting == sum(len(queue.waiting) for queue in mine)
        held = Counter(queue.holder.ticket.key_name for queue in queues if queue.holder is not None)
        waiting = Counter(entry.ticket.key_name for queue in queues for entry in queue.waiting.values())
        for tenant in self.life.locks.quotas.tenants.values():
            assert (tenant.held, tenant.waiting) == (held[tenant.name], waiting[tenant.name]), tenant.name
            keys = (queue.key for queue in queues for entry in queue.waiting.values() if entry.tenant is tenant)
            assert tenant.queues == Counter(keys), tenant.name

    def teardown(self):
        """In the end all is well, and then nobody waits for ever: who asks often enough gets the lock."""
        life = self.life
        life.store.heal()
        while life.store.busy:
            life.store.finish()
        for _ in range(4):
            life.clock.advance(PAUSE)
        self.memory_and_store_agree()
        waiting = {(key, ticket) for ticket in self.tickets for key in KEYS if key.resource == self.home[ticket]}
        waiting &= {place for place, asked in self.told.asked.items() if asked}
        for key in KEYS:
            sent = self.told.event()
            self.send(self.acquire(life, sent, key, "", wait=100_000), life, sent)
        for _ in range(200):
            for key, ticket in sorted(waiting):
                sent = self.told.event()
                self.send(self.turn(sent, key, ticket, waiting), life, sent)
            self.clients_were_told_the_truth()
            life.clock.advance(5)
            if not waiting and not self.open:
                break
        assert not waiting, f"{waiting} wait for ever"
        assert not self.open, "a newcomer waits for ever"
        life.clock.pump([TIMES.place] * 100)
        assert not life.locks.places.queues.by_key
        assert not life.clock.getDelayedCalls()
        assert self.disk.places == {}
        life.bury()

    async def turn(self, sent: int, key: LockKey, ticket: str, waiting: set[tuple[LockKey, str]]) -> None:
        """Ask for a lock once more, and let go of it; who got it or was told that it ended has no more business there."""
        outcome = await self.acquire(self.life, sent, key, ticket)
        if isinstance(outcome, Acquired):
            self.told.lets_go(key, ticket)
            await self.unlock(self.life, sent, key, ticket, sure=False)
        if not isinstance(outcome, Queued):
            waiting.discard((key, ticket))


class VolatileLockMachine(LockMachine):
    """The same with locks that are kept in memory only."""

    durable = False


class LockMachineTests(SynchronousTestCase):
    """Whatever happens in whatever order, clients are told the truth."""

    def test_durable(self):
        """One holder, first come first served, no fence twice, no write lost, nobody waits for ever; also after a crash."""
        drive(LockMachine, EXAMPLES, STEPS)

    def test_volatile(self):
        """The same with locks that are kept in memory only, but for what a crash does to those."""
        drive(VolatileLockMachine, EXAMPLES, STEPS)
