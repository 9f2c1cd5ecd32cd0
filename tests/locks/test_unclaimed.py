"""A lock that was given with a 404 to a client that throws before it sees its ticket: it gets it again when it asks anew."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from resourced.errors import Overloaded, PreconditionFailed, StoreUnavailable
from resourced.locks.journal.group_commit import PAUSE
from resourced.locks.state.limits import Limits
from resourced.locks.state.requests import Grant
from resourced.model import EXPIRY, GRANT
from tests.faulty import Outcome
from tests.locks.cases import A4, A5, CLAIM, LEASE, LockTestCase

pytestmark = pytest.mark.trial

#: From where two clients ask.
HERE, THERE = "192.0.2.1", "192.0.2.2"


class LeftBehindTests(LockTestCase):
    """Who gets a lock that was left behind, and who does not."""

    limits = Limits(queue=1)

    def fresh(self, origin: str = HERE, **more: Any) -> Grant:
        """Ask for a lock without anything by which one is known, and be told of it by a 404."""
        held = self.successResultOf(self.ask(origin=origin, **more))
        assert isinstance(held, Grant), held
        self.left = self.successResultOf(Deferred.fromCoroutine(self.locks.grants.leave_unclaimed(A4, held)))
        return held

    def test_asked_again(self):
        """The next such request has the lock at once; the first ticket has ended, for good."""
        first = self.fresh()
        second = self.lock(origin=HERE)
        self.assertNotEqual(second.ticket, first.ticket)
        self.assertGreater(second.fence, first.fence)
        self.assert_ended(first.ticket)
        self.written(second.ticket, "[1]")
        self.assertEqual(self.data(), "[1]")
        self.clock.advance(LEASE - 1)
        self.lock(ticket=second.ticket)

    def test_asked_again_and_again(self):
        """However often it is answered so, it is not kept out by itself; and each time it has a whole claim window."""
        every = [self.fresh()]
        for _ in range(5):
            self.clock.advance(CLAIM - 1)
            every.append(self.fresh())
            self.assertEqual(self.left, CLAIM)
        for held in every[:-1]:
            self.assert_ended(held.ticket)
        self.lock(ticket=every[-1].ticket)

    def test_in_the_history(self):
        """The first lock ends like one that nobody came for, and what follows is a grant like any other."""
        first = self.fresh()
        second = self.fresh()
        told = [(event.kind, event.fence) for event in self.life.feed.recent]
        self.assertEqual(told, [(GRANT, first.fence), (EXPIRY, first.fence), (GRANT, second.fence)])

    def test_others_wait(self):
        """Whoever comes from elsewhere, with another key, or known by a word or a ticket, waits for the claim window."""
        others: tuple[dict[str, Any], ...] = (
            {"origin": THERE},
            {"origin": HERE, "key_name": "other"},
            {"idempotency_key": "word"},
            {},
        )
        for more in others:
            self.fresh()
            waiting = self.ask(wait=50, **more)
            self.clock.advance(CLAIM - 0.5)
            self.assertNoResult(waiting)
            self.clock.advance(0.5)
            ticket = self.successResultOf(waiting).ticket
            self.successResultOf(self.release(ticket, key_name=more.get("key_name", "")))
        known = self.lock(A5).ticket
        self.fresh()
        self.assert_position(known, 1)

    def test_used(self):
        """A lock whose ticket was sent is like any other's: by asking, by writing, whatever comes of it."""
        for use in (
            lambda ticket: self.lock(ticket=ticket),
            self.written,
            self.write_in_vain,
            # At another selector: so its client knows it.
            lambda ticket: self.lock(A5, ticket),
            lambda ticket: self.release(ticket, A5),
            lambda ticket: self.unlock(self.lock(A5, holds=[ticket]).ticket, A5),
        ):
            held = self.fresh()
            use(held.ticket)
            self.assertEqual(self.queue(origin=HERE).position, 1)
            self.unlock(held.ticket)
            self.clock.advance(LEASE)

    def write_in_vain(self, ticket: str) -> None:
        """Write only if something else is there."""

        async def refuse() -> None:
            raise PreconditionFailed("It is not.")

        self.assert_refused(PreconditionFailed, self.locks.write(A4, "id", ticket, "[1]", check=refuse))

    def test_write_under_way(self):
        """While the data is looked at for a write the lock does not pass on."""
        held = self.fresh()
        looking: Deferred[None] = Deferred()

        async def look() -> None:
            await looking

        writing = self.life.heard(self.locks.write(A4, "id", held.ticket, "[1]", check=look))
        self.queue(origin=HERE)
        looking.callback(None)
        self.successResultOf(writing)
        self.assertEqual(self.data(), "[1]")

    def test_given_with_data(self):
        """A lock that was not given by a 404 does not pass on, nor one of a client that could be known again."""
        held = self.lock(origin=HERE)
        self.queue(origin=HERE)
        self.unlock(held.ticket)
        self.clock.advance(LEASE)
        for more in ({"idempotency_key": "word"}, {"owner": "Ada"}):
            self.fresh("", **more)
            waiting = self.ask(origin=HERE, wait=50)
            self.assertNoResult(waiting)
            self.clock.advance(CLAIM)
            self.unlock(self.successResultOf(waiting).ticket)

    def test_line(self):
        """Those in the line keep their places: they wait for one claim window, however often the lock passes on before."""
        self.fresh()
        self.clock.advance(5)
        waiting = self.ask(wait=50)
        for _ in range(4):
            self.clock.advance(5)
            self.fresh()
        self.assertEqual(self.left, CLAIM - 25)
        self.assertNoResult(waiting)
        self.clock.advance(5)
        self.told(waiting)

    def test_full_line(self):
        """A full line does not keep a client from what is its own."""
        self.fresh()
        waiting = self.queue()
        self.assert_refused(Overloaded, self.ask(origin=THERE))
        held = self.lock(origin=HERE)
        self.assert_position(waiting.ticket, 1)
        self.unlock(held.ticket)
        self.lock(ticket=waiting.ticket)

    def test_before_it_is_told(self):
        """A request that comes before the first is answered has no part in it: it is in the line."""
        first = self.successResultOf(self.ask(origin=HERE))
        second = self.ask(origin=HERE, wait=50)
        self.successResultOf(Deferred.fromCoroutine(self.locks.grants.leave_unclaimed(A4, first)))
        self.assertNoResult(second)
        third = self.fresh()
        self.assert_ended(first.ticket)
        self.assertNoResult(second)
        self.unlock(third.ticket)
        self.told(second)

    def test_after_waiting(self):
        """It does not matter that the first had to wait for the lock."""
        held = self.lock()
        asked = self.ask(origin=HERE, wait=50)
        self.unlock(held.ticket)
        first = self.successResultOf(asked)
        self.successResultOf(Deferred.fromCoroutine(self.locks.grants.leave_unclaimed(A4, first)))
        self.lock(origin=HERE)
        self.assert_ended(first.ticket)

    def test_lapsed(self):
        """After the claim window there is nothing left behind."""
        first = self.fresh()
        self.clock.advance(CLAIM)
        other = self.lock()
        self.queue(origin=HERE)
        self.assert_ended(first.ticket)
        self.lock(ticket=other.ticket)


class VolatileLeftBehindTests(LeftBehindTests):
    """The same with locks that are kept in memory only."""

    durable = False


class KeptTests(LeftBehindTests):
    """What is kept of it, and what becomes of it when that fails."""

    def test_told_when_it_is_kept(self):
        """The second is told when it is kept that the first has ended, and in one step with it."""
        first = self.fresh()
        self.life.store.slow = True
        asked = self.ask(origin=HERE)
        self.assertNoResult(asked)
        self.assertEqual([place.ticket for place in self.disk.places.values()], [first.ticket])
        self.life.store.finish()
        second = self.told(asked)
        self.assertEqual([place.ticket for place in self.disk.places.values()], [second.ticket])
        self.assertEqual([loss.ticket for loss in self.disk.losses.values()], [first.ticket])

    def test_not_kept(self):
        """If it was not kept the first still has the lock, and the next such request gets it."""
        first = self.fresh()
        self.life.store.outcome = Outcome.FAILED
        self.assert_refused(StoreUnavailable, self.ask(origin=HERE))
        self.life.store.heal()
        self.clock.advance(PAUSE)
        self.assertEqual([place.ticket for place in self.disk.places.values()], [first.ticket])
        self.lock(origin=HERE)
        self.assert_ended(first.ticket)

    def test_kept_without_an_answer(self):
        """If it was kept, and nobody was told, the first has ended, and the lock is free."""
        first = self.fresh()
        self.life.store.outcome = Outcome.UNANSWERED
        self.assert_refused(StoreUnavailable, self.ask(origin=HERE))
        self.life.store.heal()
        self.clock.advance(PAUSE)
        self.assertEqual(self.disk.places, {})
        self.assert_ended(first.ticket)
        self.lock(origin=THERE)

    def test_used_before_a_failure(self):
        """A lock whose ticket was used is nobody else's either when the store has been lost and read again meanwhile."""
        for outcome in (Outcome.FAILED, Outcome.UNANSWERED):
            held = self.fresh()
            self.written(held.ticket, "[1]")
            self.life.store.outcome = outcome
            self.assert_refused(StoreUnavailable, self.ask(wait=50))
            self.life.store.heal()
            self.clock.advance(PAUSE)
            self.assertEqual(self.queue(origin=HERE).position, 1)
            self.written(held.ticket, "[2]")
            self.unlock(held.ticket)
            self.clock.advance(LEASE)
