"""Clients that hold one lock and wait for another: whoever closes a circle is told, and nobody else."""

from __future__ import annotations

import random
from secrets import token_hex
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from resourced.errors import Deadlock, ResourcedError, TicketEnded
from resourced.locks.state.deadlocks import MOST
from resourced.locks.state.requests import Grant, Queued
from resourced.model import LockKey
from tests.examples import examples
from tests.locks.cases import A4, A5, GLASS, LEASE, PLACE, LockTestCase
from tests.wire import A4 as A4_PATH
from tests.wire import PRINTER, WebTests

pytestmark = [pytest.mark.trial, pytest.mark.reference_path]

KEYS = [LockKey("printer", str(number)) for number in range(4)]
OWNERS = ("one", "other")


class CircleTests(LockTestCase):
    def waits(self, key: LockKey, *holds: Grant | Queued, ticket: str = "", **more: Any) -> Queued:
        return self.queue(key, ticket, holds=[held.ticket for held in holds], **more)

    def refused(self, key: LockKey, *holds: Grant | Queued, ticket: str = "", **more: Any) -> None:
        """Ask for a lock that can never be had, which is told at once and leaves no place in the queue."""
        before = self.locks.waiting
        self.assert_refused(Deadlock, self.ask(key, ticket, wait=50, holds=[held.ticket for held in holds], **more))
        self.assertEqual(self.locks.waiting, before - bool(ticket))

    def test_two(self):
        """Of two who hold a lock each and want that of the other, the second is told so; then the first gets it."""
        first, second = self.lock(A4), self.lock(GLASS)
        waiting = self.ask(GLASS, holds=[first.ticket], wait=50)
        self.refused(A4, second)
        self.assertNoResult(waiting)
        self.unlock(second.ticket, GLASS)
        self.told(waiting, GLASS)

    def test_itself(self):
        """Whoever holds a lock and asks for it once more without its ticket would wait for itself."""
        held = self.lock()
        self.refused(A4, held)
        self.assertEqual(self.lock(A4, held.ticket, holds=[held.ticket]).fence, held.fence, "with it, it is renewed")

    def test_many(self):
        """A circle may be as long as it likes, and who joins it from outside only waits."""
        held = [self.lock(key) for key in KEYS]
        for lock, wanted in zip(held, KEYS[1:], strict=False):
            self.waits(wanted, lock)
        outside = self.lock(A4)
        self.waits(KEYS[0], outside)
        self.refused(KEYS[0], held[-1])
        self.refused(KEYS[2], held[-1], self.lock(A5))

    def test_only_what_was_said(self):
        """Who does not say what it holds may be waiting for two locks at once, and is never refused."""
        first, second = self.lock(A4), self.lock(GLASS)
        self.waits(GLASS, first)
        self.queue(A4)
        self.unlock(second.ticket, GLASS)

    def test_passes_on(self):
        """What its client has let go of, or lost, closes no circle any more."""
        for give_up in (
            lambda held: self.unlock(held.ticket, A4),
            lambda held: self.successResultOf(self.locks.break_lock(A4, held.fence)),
        ):
            first, second = self.lock(A4), self.lock(GLASS)
            waiting = self.waits(GLASS, first)
            give_up(first)
            self.assertIsInstance(self.successResultOf(self.ask(A4, holds=[second.ticket])), Grant)
            self.assertTrue(self.unlock(waiting.ticket, GLASS))
            self.successResultOf(self.locks.break_lock(A4, first.fence + 2))
            self.assertTrue(self.unlock(second.ticket, GLASS))
        self.assertEqual((self.locks.held, self.locks.waiting), (0, 0))

    def test_who_waits_no_more(self):
        """Whoever has given up, was too long silent, or says that it holds nothing any more, stands in nobody's way."""
        first, second = self.lock(A4), self.lock(A5)
        for give_up in (
            lambda waiting: self.unlock(waiting.ticket, A5),
            lambda _: self.silence(first, second),
            lambda waiting: self.queue(A5, waiting.ticket),
        ):
            waiting = self.waits(A5, first)
            self.refused(A4, second)
            give_up(waiting)
            self.assertTrue(self.unlock(self.waits(A4, second).ticket, A4))

    def silence(self, *holders: Grant) -> None:
        """Let a place lapse, while the locks are kept."""
        for _ in range(2):
            self.clock.advance(PLACE / 2)
            self.lock(A4, holders[0].ticket)
            self.lock(A5, holders[1].ticket)

    def test_with_a_place(self):
        """Who waits already is told as well as soon as it says so, and its place is given up, also while a request is open."""
        first, second = self.lock(A4), self.lock(GLASS)
        self.waits(GLASS, first)
        queued = self.queue(A4)
        waiting = self.ask(A4, queued.ticket, wait=50)
        self.refused(A4, second, ticket=queued.ticket)
        self.assert_refused(TicketEnded, waiting)

    def test_tickets_of_others(self):
        """A ticket of another key, one that waits, and one that nobody knows are nothing that is held."""
        mine, other = self.lock(A4, key_name="one"), self.lock(GLASS, key_name="other")
        self.waits(GLASS, mine, key_name="one")
        self.waits(A4, mine, key_name="other")
        self.waits(A4, other, key_name="one")
        self.waits(A4, self.waits(GLASS, key_name="one"), key_name="one")
        self.successResultOf(self.ask(A4, holds=[token_hex(16)], key_name="one"))

    def test_several_who_wait(self):
        """A command may have several parts that wait at once, each of which keeps it from its end."""
        outer, second, third = self.lock(A4), self.lock(A5), self.lock(GLASS)
        self.waits(A5, outer)
        self.waits(GLASS, outer)
        self.refused(A4, second)
        self.refused(A4, third)

    def test_bounded(self):
        """A search ends after so many places, and then nobody is refused who might have been."""
        held = self.lock(A4)
        last = self.lock(GLASS)
        for number in range(MOST):
            self.lock(LockKey("printer", f"x{number}"))
            self.waits(LockKey("printer", f"x{number}"), held)
        self.waits(GLASS, held)
        self.waits(A4, last)

    def test_after_a_restart(self):
        """What clients hold is told anew by their next requests after a restart; the one that closes the circle then is told."""
        first, second = self.lock(A4), self.lock(GLASS)
        waiting = self.waits(GLASS, first)
        also = self.queue(A4)
        self.life.crash()
        self.life = self.start()
        self.waits(A4, second, ticket=also.ticket)
        self.refused(GLASS, first, ticket=waiting.ticket)

    def test_nothing_is_kept(self):
        """Of locks and places that are over nothing is remembered."""
        deadlocks = self.locks.places.deadlocks
        first, second = self.lock(A4), self.lock(GLASS)
        places = [self.waits(GLASS, first) for _ in range(3)]
        self.waits(GLASS, first, ticket=places[0].ticket)
        self.unlock(first.ticket, A4)
        self.unlock(places[0].ticket, GLASS)
        self.unlock(second.ticket, GLASS)
        self.lock(GLASS, places[1].ticket)
        self.successResultOf(self.locks.break_lock(GLASS, second.fence + 1))
        self.clock.advance(LEASE)
        self.assertTrue(deadlocks.empty)


class WireTests(WebTests):
    """The header, on every route that may wait."""

    def setUp(self):
        super().setUp()
        self.create()
        self.first, self.second = self.lock(A4_PATH), self.lock(f"{PRINTER}/A5")
        self.waiting = self.queue_holding(f"{PRINTER}/A5", self.first)

    def queue_holding(self, path: str, *values: str) -> str:
        answer = self.ask("POST", f"{path}/lock", headers=[("x-holds", value) for value in values])
        self.assertWaits(answer, 1)
        return answer.ticket

    def test_every_way_to_wait(self):
        """Whoever would close the circle is answered 409, whichever way it asks, and at once."""
        for method, path in (("GET", A4_PATH), ("PUT", f"{A4_PATH}/lock"), ("POST", f"{A4_PATH}/lock")):
            for query in ("", "?wait=20"):
                answer = self.ask(method, path + query, headers=[("x-holds", self.second)])
                self.assertRefused(409, "deadlock", answer)
        self.assertEqual(self.ask("GET", f"{A4_PATH}/lock").json["waiting"], 0)

    def test_who_waited_first(self):
        """The one that does not close it goes on waiting, in an open request too, and has the lock when it is free."""
        open_request = self.begin(
            "GET", f"{PRINTER}/A5?wait=20", ticket=self.waiting, headers=[("x-holds", self.first)]
        )
        self.ask("GET", A4_PATH, headers=[("x-holds", self.second)])
        self.assertFalse(open_request.answered)
        self.unlock(self.second, f"{PRINTER}/A5")
        self.assertEqual(self.end(open_request).ticket, self.waiting)

    def test_several(self):
        """Several tickets stand in one header with commas, or in several headers, or both; nothing between commas is nothing."""
        nobody = "0" * 32
        for values in ([f"{nobody},{self.second}"], [nobody, f" , {self.second} ,{nobody},"]):
            answer = self.ask("POST", f"{A4_PATH}/lock", headers=[("x-holds", value) for value in values])
            self.assertRefused(409, "deadlock", answer)
        self.assertWaits(self.ask("POST", f"{A4_PATH}/lock", headers=[("x-holds", "")]), 1)

    def test_no_list(self):
        """What is no list of tickets, or names more than a hundred, is told as such."""
        for value in ("A4", "A" * 32, f"{self.second} {self.first}", ",".join([self.second] * 101)):
            self.assertRefused(400, "bad_holds", self.ask("POST", f"{A4_PATH}/lock", headers=[("x-holds", value)]))

    def test_plain_read(self):
        """A read without lock never waits, so it may hold what it likes."""
        answer = self.ask("GET", f"{A4_PATH}?lock=0", headers=[("x-holds", self.second)])
        self.assertRefused(404, "no_data", answer)


class Model:
    """
    The same decided in the plainest way: queues are lists, and a circle is looked for everywhere.

    :ivar queues: by lock, the tickets in their order: the first holds it.
    :ivar held: of each place that waits, the locks with tickets that its client holds.
    """

    def __init__(self) -> None:
        self.queues: dict[LockKey, list[str]] = {key: [] for key in KEYS}
        self.held: dict[tuple[LockKey, str], set[tuple[LockKey, str]]] = {}
        self.owner: dict[str, str] = {}

    def holding(self, owner: str, tickets: set[str]) -> set[tuple[LockKey, str]]:
        return {
            (key, queue[0])
            for key, queue in self.queues.items()
            if queue and queue[0] in tickets and self.owner[queue[0]] == owner
        }

    def circle(self, place: tuple[LockKey, str]) -> bool:
        """Whether a place waits for itself, as it stands."""
        owner = self.owner[place[1]]
        reached: set[tuple[LockKey, str]] = set()
        ahead = {place}
        while ahead:
            key, _ = waiting = ahead.pop()
            holder = (key, self.queues[key][0])
            reached.add(waiting)
            if holder in self.held[place]:
                return True
            ahead |= {
                other for other, held in self.held.items() if holder in held and self.owner[other[1]] == owner
            } - reached
        return False

    def settle(self) -> None:
        self.held = {(key, ticket): held for (key, ticket), held in self.held.items() if ticket in self.queues[key][1:]}

    def leave(self, key: LockKey, ticket: str) -> None:
        self.queues[key].remove(ticket)
        self.settle()


class RandomTests(LockTestCase):
    @settings(max_examples=examples(200), deadline=None)
    @given(st.integers(0, 2**32))
    def test_told_to_the_right_one(self, seed: int):
        """Whatever clients do, one is refused if and only if it would close a circle; so there never is any."""
        self.setUp()
        chance, model = random.Random(seed), Model()
        for _ in range(60):
            key, owner = chance.choice(KEYS), chance.choice(OWNERS)
            known = [ticket for ticket in model.owner if model.owner[ticket] == owner or chance.random() < 0.2]
            what = chance.random()
            if what < 0.7:
                holds = set(chance.sample(known, min(len(known), chance.randrange(4))))
                waiting = [ticket for ticket in model.queues[key] if model.owner[ticket] == owner]
                ticket = chance.choice(waiting) if waiting and what < 0.2 else ""
                self._ask(model, key, owner, ticket, holds)
            elif model.queues[key] and what < 0.9:
                ticket = chance.choice(model.queues[key])
                self.assertTrue(self.successResultOf(self.release(ticket, key, key_name=model.owner[ticket])))
                model.leave(key, ticket)
            elif model.queues[key]:
                [holder] = [entry for entry in self.locks.places if entry.holds and entry.queue.key == key]
                self.successResultOf(self.locks.break_lock(key, holder.fence))
                model.leave(key, holder.ticket.name)
        self.assertFalse(any(map(model.circle, model.held)))

    def _ask(self, model: Model, key: LockKey, owner: str, ticket: str, holds: set[str]) -> None:
        request = self.ask(key, ticket, key_name=owner, holds=sorted(holds))
        queue = model.queues[key]
        place = (key, ticket or "new")
        expected = False
        if queue and queue[0] != ticket:
            model.held[place] = model.holding(owner, holds)
            model.owner[place[1]] = owner
            expected = model.circle(place)
        outcome = self._told_to(request)
        self.assertEqual(isinstance(outcome, Deadlock), expected)
        model.owner.pop("new", None)
        if expected:
            model.held.pop(place)
            if ticket:
                model.leave(key, ticket)
            return
        assert isinstance(outcome, Grant | Queued)
        if not ticket:
            queue.append(outcome.ticket)
            model.owner[outcome.ticket] = owner
        if place in model.held:
            model.held[(key, outcome.ticket)] = model.held.pop(place)
        self.assertEqual(isinstance(outcome, Grant), queue[0] == outcome.ticket)

    def _told_to(self, request: Deferred[Any]) -> object:
        outcomes: list[object] = []
        request.addCallbacks(outcomes.append, lambda failure: outcomes.append(failure.value))
        [outcome] = outcomes
        assert not isinstance(outcome, ResourcedError) or isinstance(outcome, Deadlock), outcome
        return outcome
