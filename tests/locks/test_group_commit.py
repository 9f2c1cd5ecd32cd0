"""Decisions about locks on their way into the store: committed before anyone is told, and mended after a failure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, ClassVar

import pytest
from twisted.internet.defer import CancelledError, Deferred

from resourced.errors import EpochLost, NotHolder, StoreUnavailable, TicketEnded
from resourced.locks.journal.group_commit import LARGE, PAUSE, GroupCommitJournal
from resourced.locks.journal.listeners import Listeners
from resourced.locks.journal.terms import FENCES
from resourced.locks.manager import LockManager
from resourced.locks.state.joints import JointAsk
from resourced.locks.state.requests import Grant, LockRequest, Queued
from resourced.locks.state.restoration import Restoration
from resourced.locks.unit_cards import CardChange
from resourced.model import Breaker, Event, EventKind, LockKey, Standing, Step
from resourced.wants import Want
from tests.faulty import Life, Outcome
from tests.leading import open_journal
from tests.locks.cases import A4, A5, CLAIM, GLASS, LEASE, PLACE, SCANNER, JournalTestCase

pytestmark = pytest.mark.trial


class TurnTests(JournalTestCase):
    """In which turn of the reactor a commit begins."""

    def turns(self, changes: int) -> int:
        """Return in which turn after a decision it is sent to the store."""
        turns: list[Callable[[], None]] = []
        disk = self.disk.another()
        journal = GroupCommitJournal(self.clock, disk, leadership_lost=self.fail, soon=turns.append)
        LockManager(self.clock, journal, new_ticket=str)
        self.successResultOf(Deferred.fromCoroutine(open_journal(journal, disk)))
        gone = [(1_000 + number, A4) for number in range(changes)]
        kept = journal.committed(journal.append(Step(0, [], gone, [])))
        for turn in count(1):
            self.assertNoResult(kept)
            [work] = turns
            turns.clear()
            work()
            if kept.called:
                return turn
        raise AssertionError

    def test_small(self):
        """It begins in the next one."""
        self.assertEqual(self.turns(LARGE), 1)

    def test_large(self):
        """A large one lets all come first that has arrived while it was decided."""
        self.assertEqual(self.turns(LARGE + 1), 2)


class GroupCommitTests(JournalTestCase):
    """The price of a commit is shared, and nobody is told anything before it."""

    def setUp(self) -> None:
        super().setUp()
        self.holder = self.lock().ticket
        self.store.slow = True
        self.store.batches.clear()

    def test_grant(self):
        """A client is told of its lock when that is kept, and not before."""
        request = self.ask(A5)
        self.assertNoResult(request)
        self.store.finish()
        self.told(request, A5)

    def test_place(self):
        """So is one that has to wait, of its ticket."""
        request = self.ask()
        self.assertNoResult(request)
        self.store.finish()
        self.assertEqual(self.successResultOf(request).position, 1)

    def test_unlock(self):
        """Unlocking is answered when it is kept; then, and not before, the next has the lock."""
        waiting = self.ask(wait=50)
        self.store.finish()
        release = self.release(self.holder)
        self.assertNoResult(release)
        self.assertNoResult(waiting)
        self.store.finish()
        self.assertTrue(self.successResultOf(release))
        self.told(waiting)

    def test_unlock_again(self):
        """A second unlock is not answered before the first is kept: that nothing is held any more must be true."""
        self.release(self.holder)
        again = self.release(self.holder)
        self.assertNoResult(again)
        self.store.finish()
        self.assertFalse(self.successResultOf(again))

    def test_write(self):
        """A write is answered when it is kept."""
        writing = self.write(self.holder, "1")
        self.assertNoResult(writing)
        self.store.finish()
        self.assertGreater(self.successResultOf(writing).version, 0)
        self.assertEqual(self.data(), "1")

    def test_ended(self):
        """That a ticket has ended is told when its end is kept."""
        self.clock.advance(LEASE)
        requests = [self.ask(ticket=self.holder), self.write(self.holder)]
        for request in requests:
            self.assertNoResult(request)
        self.store.finish()
        for request in requests:
            self.failureResultOf(request, TicketEnded)

    def test_claim(self):
        """That an absent next waiter has come for its lock is kept before it is told so."""
        waiting = self.ask()
        self.store.finish()
        self.release(self.holder)
        self.store.finish()
        claim = self.ask(ticket=self.successResultOf(waiting).ticket)
        self.assertNoResult(claim)
        self.store.finish()
        self.told(claim)

    def test_lock_that_falls_to_it_during_the_commit_of_its_place(self):
        """A lock that falls to a newcomer while its place is being kept is told when the grant is kept too."""
        newcomer = self.ask()
        release = self.release(self.holder)
        self.store.finish()
        self.assertNoResult(newcomer)
        self.assertNoResult(release)
        self.store.finish()
        self.told(newcomer)

    def test_only_the_first_of_its_changes_is_kept(self):
        """A place that was kept, but not the grant that followed before anyone was told, is given up."""
        newcomer = self.ask()
        release = self.release(self.holder)
        self.store.finish()
        self.store.finish(Outcome.FAILED)
        self.assert_away(newcomer, release)
        self.come_back()
        self.assertEqual([place.ticket for place in self.disk.places.values()], [self.holder])

    def test_hundred_grants_at_once(self):
        """A hundred grants at once are two transactions: the first, and all that came up while it ran."""
        requests = [self.ask(LockKey("printer", str(number))) for number in range(100)]
        self.store.finish()
        self.store.finish()
        for number, request in enumerate(requests):
            self.told(request, LockKey("printer", str(number)))
        self.assertEqual([len(batch.places) for batch in self.store.batches], [1, 99])
        self.assertFalse(self.store.busy)

    def test_order(self):
        """Those who share a commit are answered in the order in which they came."""
        order: list[int] = []
        for number in range(10):
            request = self.ask(LockKey("printer", str(number)))
            request.addCallback(lambda _, name: order.append(name), number)
        self.store.finish()
        self.store.finish()
        self.assertEqual(order, list(range(10)))

    def test_one_commit_at_a_time(self):
        """While a commit runs no other one begins; while none runs, none is put off."""
        for number in range(10):
            self.ask(LockKey("printer", str(number)))
            self.assertEqual(len(self.store.batches), 1)
        self.store.finish()
        self.assertEqual(len(self.store.batches), 2)
        self.store.finish()
        self.assertFalse(self.store.busy)

    def test_keeping_costs_nothing(self):
        """A holder that asks again, and a client that asks for its position, cost no commit."""
        request = self.ask()
        self.store.finish()
        self.store.batches.clear()
        self.lock(ticket=self.holder)
        self.queue(ticket=self.successResultOf(request).ticket)
        self.assertEqual(self.store.batches, [])

    def test_hanging_up(self):
        """A client that hangs up before its grant is kept leaves a lock that passes on after the claim window."""
        request = self.ask(A5)
        request.cancel()
        self.failureResultOf(request, CancelledError)
        self.store.finish()
        self.store.slow = False
        next_one = self.queue(A5).ticket
        self.clock.advance(CLAIM)
        self.lock(A5, next_one)

    def test_close(self):
        """Closing waits for the commit under way, and nothing is taken after it."""
        request = self.ask(A5)
        closing = Deferred.fromCoroutine(self.life.journal.close())
        self.assertNoResult(closing)
        later = self.ask(LockKey("printer", "later"))
        self.store.finish()
        self.told(request, A5)
        self.assertNoResult(closing)
        self.store.finish()
        self.assertIsInstance(self.successResultOf(later), Grant)
        self.assertIsNone(self.successResultOf(closing))
        self.assert_away(self.ask(A5))
        self.assertRaises(StoreUnavailable, self.locks.check)

    def test_close_when_idle(self):
        """Closing takes no time if nothing is under way."""
        self.assertIsNone(self.successResultOf(Deferred.fromCoroutine(self.life.journal.close())))

    def test_close_during_a_failure(self):
        """If the last commit fails the journal is closed all the same, and does not come back to life."""
        request = self.ask(A5)
        closing = Deferred.fromCoroutine(self.life.journal.close())
        self.store.finish(Outcome.FAILED)
        self.assert_away(request)
        self.assertIsNone(self.successResultOf(closing))
        self.clock.pump([PAUSE] * 10)
        self.assertRaises(StoreUnavailable, self.locks.check)
        self.assertEqual(self.store.confirm_leader, 1)

    def test_close_while_the_store_is_away(self):
        """Closing does not wait for a store that is away, nor try it any more."""
        request = self.ask(A5)
        self.store.away = True
        self.store.finish(Outcome.FAILED)
        self.assert_away(request)
        self.clock.advance(PAUSE)
        self.assertIsNone(self.successResultOf(Deferred.fromCoroutine(self.life.journal.close())))
        self.store.heal()
        self.clock.pump([PAUSE] * 10)
        self.assertRaises(StoreUnavailable, self.locks.check)

    def test_not_open_yet(self):
        """Before the lock table is read nothing is decided."""
        life = Life(self.disk)
        self.assertRaises(StoreUnavailable, life.locks.check)
        self.assert_away(
            Deferred.fromCoroutine(life.locks.grants.wait(LockRequest(A4, lease=0))),
            Deferred.fromCoroutine(life.locks.unlock(A4, self.holder)),
        )


class FailureTests(JournalTestCase):
    """A commit that fails: nobody believes in it, and memory and store agree again."""

    outcome: ClassVar[Outcome] = Outcome.FAILED

    def setUp(self) -> None:
        super().setUp()
        self.holder = self.lock().ticket
        self.line = [self.queue().ticket for _ in range(2)]
        self.other = self.lock(GLASS).ticket
        self.store.slow = True

    def fail_commit(self) -> None:
        """Let the commit that is under way fail."""
        self.store.finish(self.outcome)

    def assert_as_told(self) -> None:
        """Every client still has what it was told that it has."""
        self.lock(ticket=self.holder)
        for position, ticket in enumerate(self.line, 1):
            self.assertEqual(self.queue(ticket=ticket), Queued(ticket, position))
        self.lock(GLASS, self.other)

    def test_grant(self):
        """A grant that could not be kept is given to nobody: its client is told so, and the lock is free."""
        request = self.ask(A5)
        self.fail_commit()
        self.assert_away(request)
        self.come_back()
        self.assertTrue(self.lock(A5).fresh)
        self.assert_as_told()

    def test_place(self):
        """A place that its client was not told of is in nobody's way."""
        request = self.ask()
        self.fail_commit()
        self.assert_away(request)
        self.come_back()
        self.assertEqual(self.queue().position, 3)
        self.assert_as_told()

    def test_retried_grant(self):
        """A client that asks again in the same words is not behind itself."""
        request = self.ask(A5, idempotency_key="one")
        self.fail_commit()
        self.assert_away(request)
        self.come_back()
        held = self.lock(A5, idempotency_key="one")
        self.assertEqual(self.lock(A5, idempotency_key="one").ticket, held.ticket)

    def test_second_selector(self):
        """A ticket that could not get a second selector still has its first."""
        request = self.ask(A5, self.holder)
        self.fail_commit()
        self.assert_away(request)
        self.come_back()
        self.assert_as_told()
        self.assertTrue(self.lock(A5, self.holder).fresh)

    def test_hung_up(self):
        """A grant whose client hung up before it failed is given to nobody either."""
        request = self.ask(A5)
        request.cancel()
        self.failureResultOf(request, CancelledError)
        self.fail_commit()
        self.come_back()
        self.assertTrue(self.lock(A5).fresh)

    def test_unlock(self):
        """An unlock that failed may have been done or not; repeated, it is done."""
        waiting = self.ask(ticket=self.line[0], wait=50)
        release = self.release(self.holder)
        self.fail_commit()
        self.assert_away(release, waiting)
        self.come_back()
        self.assertEqual(self.unlock(self.holder), self.outcome is Outcome.FAILED)
        self.lock(ticket=self.line[0])
        self.assertEqual(self.queue(ticket=self.line[1]).position, 1)
        self.assert_agreement()

    def test_write(self):
        """A write that failed may have been done or not, but is not done later; the holder still has the lock."""
        writing = self.write(self.holder, "1")
        self.fail_commit()
        self.assert_away(writing)
        self.come_back()
        self.assertEqual(self.data(), None if self.outcome is Outcome.FAILED else "1")
        self.assert_as_told()

    def test_write_and_unlock(self):
        """A write that unlocks is done with its unlocking, or neither is."""
        writing = self.write(self.holder, "1", unlock=True)
        self.fail_commit()
        self.assert_away(writing)
        self.come_back()
        if self.outcome is Outcome.FAILED:
            self.assertIsNone(self.data())
            self.assert_as_told()
        else:
            self.assertEqual(self.data(), "1")
            self.assertFalse(self.unlock(self.holder))
            self.lock(ticket=self.line[0])

    def test_lapse(self):
        """A lease that ended in a commit that failed has ended or not, and either way one client has the lock."""
        self.store.slow = False
        for _ in range(5):
            self.clock.advance(LEASE / 6)
            for ticket in self.line:
                self.queue(ticket=ticket)
        self.store.slow = True
        self.clock.advance(LEASE / 6)
        self.fail_commit()
        self.come_back()
        if self.outcome is Outcome.FAILED:
            self.lock(ticket=self.holder)
            self.assertEqual(self.queue(ticket=self.line[0]).position, 1)
        else:
            self.assert_ended(self.holder)
            self.lock(ticket=self.line[0])

    def test_claim(self):
        """A ticket whose claim failed can claim again."""
        self.store.slow = False
        self.unlock(self.holder)
        self.clock.advance(CLAIM - 1)
        self.store.slow = True
        claim = self.ask(ticket=self.line[0])
        self.fail_commit()
        self.assert_away(claim)
        self.come_back()
        self.clock.advance(CLAIM - 1)
        self.lock(ticket=self.line[0])

    def test_later_decisions(self):
        """What was decided while the failing commit ran fails with it."""
        first = self.ask(A5)
        waiting = self.ask(ticket=self.line[0], wait=50)
        later = [self.ask(LockKey("printer", "later")), self.ask(A5), self.ask(), self.release(self.line[1])]
        self.fail_commit()
        self.assert_away(first, *later)
        self.assert_away(waiting)
        self.come_back()
        self.assert_as_told()
        self.assertTrue(self.lock(LockKey("printer", "later")).fresh)
        self.assertTrue(self.lock(A5).fresh)

    def test_giving_up_fails_too(self):
        """A place that nobody was told of is given up in the end, however often that fails at first."""
        request = self.ask(A5)
        self.fail_commit()
        self.assert_away(request)
        for outcome in (Outcome.FAILED, Outcome.FAILED, Outcome.UNANSWERED):
            self.store.slow = False
            self.store.outcome = outcome
            self.clock.advance(PAUSE)
        self.come_back()
        self.assertTrue(self.lock(A5).fresh)
        self.assert_as_told()

    def test_immediate_failure(self):
        """A store that refuses at once, and is back at once, is believed no more than a slow one."""
        self.store.slow = False
        self.store.outcome = self.outcome
        self.assert_away(self.ask(A5), self.write(self.holder), self.ask(A5), self.release(self.holder))
        self.come_back()
        self.assertTrue(self.lock(A5).fresh)
        self.lock(ticket=self.holder)

    def test_others_are_not_concerned(self):
        """Locks that the failed commit was not about are as they were, down to the time they have left."""
        self.clock.advance(SCANNER - 1)
        request = self.ask(A5)
        self.fail_commit()
        self.assert_away(request)
        self.come_back()
        self.clock.advance(1)
        self.assert_ended(self.other, GLASS)

    def test_long_poll_elsewhere(self):
        """A request that waits for a lock that is not concerned goes on waiting, and is answered."""
        waiting = self.ask(GLASS, wait=50)
        self.store.finish()
        request = self.ask(A5)
        self.fail_commit()
        self.assert_away(request)
        self.assertNoResult(waiting)
        self.come_back()
        self.unlock(self.other, GLASS)
        self.told(waiting, GLASS)

    def test_first_lock_without_data(self):
        """A lock whose client gets no ticket, because that it is unclaimed could not be kept, is not held by nobody."""
        request = self.ask(A5)
        self.store.finish()
        held = self.successResultOf(request)
        unclaimed = self.life.heard(Deferred.fromCoroutine(self.locks.grants.leave_unclaimed(A5, held)))
        self.fail_commit()
        self.assert_away(unclaimed)
        self.come_back()
        self.assertTrue(self.lock(A5).fresh)

    def test_named_lock_without_data(self):
        """If its client can name the ticket, the lock stays its own."""
        request = self.ask(A5, idempotency_key="one")
        self.store.finish()
        held = self.successResultOf(request)
        unclaimed = self.life.heard(Deferred.fromCoroutine(self.locks.grants.leave_unclaimed(A5, held)))
        self.fail_commit()
        self.assert_away(unclaimed)
        self.come_back()
        self.assertEqual(self.lock(A5, idempotency_key="one").ticket, held.ticket)

    def test_fences(self):
        """The fence of a grant that failed is not used again."""
        request = self.ask(A5)
        failed = self.store.batches[-1].fence
        self.fail_commit()
        self.assert_away(request)
        self.come_back()
        self.assertGreater(self.lock(A5).fence, failed)

    def test_crash_instead(self):
        """If the daemon dies with the commit under way, its next life agrees with the store and with what was told."""
        self.ask(A5, idempotency_key="one")
        self.restart(self.outcome)
        self.assert_agreement()
        self.assert_as_told()
        self.assertEqual(self.lock(A5, idempotency_key="one").fresh, self.outcome is Outcome.FAILED)


class AmbiguousFailureTests(FailureTests):
    """The same if all was done and only the answer was lost."""

    outcome = Outcome.UNANSWERED


class DoubtTests(JournalTestCase):
    """What happens between a failure and the moment in which the store is back."""

    def setUp(self) -> None:
        super().setUp()
        self.holder = self.lock().ticket
        self.waiting = self.queue().ticket
        self.other = self.lock(GLASS).ticket

    def lose_store(self) -> None:
        self.store.away = True
        self.assert_away(self.ask())

    def test_answered_at_once(self):
        """While the store is away every request is answered so at once, whatever it is about."""
        self.lose_store()
        self.assertRaises(StoreUnavailable, self.locks.check)
        for _ in range(3):
            for key in (A4, A5, GLASS):
                self.assert_away(self.ask(key), self.ask(key, wait=50), self.ask(key, self.holder))
                self.assert_away(self.write(self.holder, key=key), self.release(self.holder, key))
            self.clock.advance(LEASE)

    def test_store_is_not_pestered(self):
        """Requests do not reach for a store that is away; the journal tries it a few times a second."""
        self.lose_store()
        self.store.batches.clear()
        for _ in range(100):
            self.assert_away(self.ask(A5))
        self.assertEqual(self.store.batches, [])

    def test_long_absence(self):
        """However long the store was away, nobody lost a lock or a place that was in doubt: all have their full time anew."""
        self.lose_store()
        self.clock.pump([PAUSE] * int(LEASE * 2 / PAUSE))
        self.come_back()
        self.clock.advance(PLACE - 1)
        self.lock(ticket=self.holder)
        self.assertEqual(self.queue(ticket=self.waiting), Queued(self.waiting, 1))

    def test_no_end_in_memory_only(self):
        """A lease that ends while the store is away does so when that can be kept, and its client has had time to come back."""
        self.lose_store()
        self.clock.pump([1] * (int(LEASE) + 1))
        self.assertIn(self.other, [place.ticket for place in self.disk.places.values()])
        self.assertIsNotNone(self.locks.places.queues.by_key[GLASS].holder)
        self.store.heal()
        self.clock.advance(PAUSE)
        self.clock.pump([1] * int(CLAIM))
        self.assert_agreement()
        self.assert_ended(self.other, GLASS)

    def test_lease_outlasts_the_outage(self):
        """A client that could not renew its lease because the store was away still can when it is back."""
        self.lose_store()
        self.clock.pump([1] * (int(SCANNER) + 1))
        self.store.heal()
        self.clock.advance(PAUSE)
        self.clock.pump([1] * (int(SCANNER) - 2))
        self.assertEqual(self.lock(GLASS, self.other).ticket, self.other)

    def test_long_poll(self):
        """A client that waits for a lock that is in doubt is told so, and finds its place again."""
        waiting = self.ask(ticket=self.waiting, wait=50)
        self.lose_store()
        self.assert_away(waiting)
        self.come_back()
        self.assertEqual(self.queue(ticket=self.waiting), Queued(self.waiting, 1))

    def test_answer_that_is_on_its_way(self):
        """Whoever is just being given a lock that fell into doubt is told that the store is away, not that it ended."""
        held = self.successResultOf(self.ask(ticket=self.holder))
        self.lose_store()
        self.assertRaises(StoreUnavailable, self.locks.grants.confirm, A4, held)
        self.assert_away(Deferred.fromCoroutine(self.locks.grants.leave_unclaimed(A4, held)))
        self.come_back()
        self.assertEqual(self.locks.grants.confirm(A4, held), LEASE)

    def test_unclaimed_while_away(self):
        """A first lock that cannot be marked as unclaimed while the store is away is not given, and passes on."""
        held = self.successResultOf(self.ask(A5))
        self.lose_store()
        self.assert_away(Deferred.fromCoroutine(self.locks.grants.leave_unclaimed(A5, held)))
        self.come_back()
        self.clock.advance(CLAIM)
        self.assertTrue(self.lock(A5).fresh)

    def test_unclaimed_and_lost(self):
        """Nor is it given if that is what failed."""
        held = self.successResultOf(self.ask(A5))
        self.store.slow = True
        leaving = Deferred.fromCoroutine(self.locks.grants.leave_unclaimed(A5, held))
        self.assertNoResult(leaving)
        self.store.finish(Outcome.FAILED)
        self.assert_away(leaving)
        self.come_back()

    def test_stop(self):
        """A daemon that is told to stop while the store is away answers those who wait."""
        waiting = self.ask(GLASS, wait=50)
        self.lose_store()
        self.assertNoResult(waiting)
        self.locks.stop_waiting()
        self.assertEqual(self.successResultOf(waiting).position, 1)

    def test_refused(self):
        """
        A write that the store does not know to come from the holder is not done, and the daemon believes the store.

        That takes someone who meddles with the tables.
        """
        del self.disk.places[min(self.disk.places)]
        self.assert_away(self.write(self.holder, "1"))
        self.assertIsNone(self.data())
        self.clock.advance(PAUSE)
        self.assert_agreement()
        self.lock(ticket=self.waiting)
        self.lock(GLASS, self.other)

    def test_unexpected_error(self):
        """An error that no store should raise is logged, and mended like any other."""

        async def broken(batch: object) -> None:
            raise ZeroDivisionError

        self.patch(self.disk, "commit", broken)
        request = self.ask(A5)
        self.assert_away(request)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        del self.disk.commit
        self.come_back()
        self.lock(A5)

    def test_a_bug_of_its_own(self):
        """A daemon that cannot go on because of an error that nobody expects ends, and leaves the store to the next one."""

        def fail(*_: object) -> None:
            raise ZeroDivisionError

        for broken in ("invalidate", "restore"):
            with self.subTest(broken):
                life = self.life = self.start()
                self.patch(Restoration, broken, fail)
                self.store.away = True
                self.ask(A5)
                self.store.away = False
                self.clock.advance(PAUSE)
                self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
                self.assertEqual(len(life.leadership_lost), 1)
                self.assertRaises(StoreUnavailable, self.locks.check)


class JointTests(JournalTestCase):
    """Requests for several things whose commits come to nothing, or whose answers are lost."""

    def setUp(self) -> None:
        super().setUp()
        for selector in ("red", "blue"):
            self.successResultOf(self.locks.units.change(LockKey("printer", selector), CardChange(), Breaker()))

    def several(self, **more: Any) -> Deferred[Any]:
        async def read(keys: Sequence[LockKey]) -> list[str | None]:
            return [None] * len(keys)

        asked = JointAsk((Want("printer", count=2),), {"printer": LEASE}, **more)
        return self.life.heard(Deferred.fromCoroutine(self.locks.several.acquire(asked, read)))

    def test_units_that_nobody_was_told_of(self):
        """Units that were granted, and of which no client can know, are free at once when the store is back."""
        self.store.outcome = Outcome.UNANSWERED
        self.failureResultOf(self.several(), StoreUnavailable)
        self.assertEqual(len(self.disk.places), 2)
        self.store.heal()
        self.clock.advance(PAUSE)
        self.assertEqual((self.disk.places, self.disk.joints), ({}, {}))
        self.assertEqual(len(self.successResultOf(self.several())[0].units), 2)

    def test_units_that_their_client_can_ask_for(self):
        """A client that can name its request has all of its units after a restart, with the same ticket."""
        self.store.outcome = Outcome.UNANSWERED
        self.failureResultOf(self.several(idempotency_key="k"), StoreUnavailable)
        [joint] = self.disk.joints.values()
        self.restart()
        got, _ = self.successResultOf(self.several(idempotency_key="k"))
        self.assertEqual((got.ticket, len(got.units)), (joint.ticket, 2))
        self.assertNoResult(self.several(wait=1))


class UsurpedTests(JournalTestCase):
    """Another daemon takes over the store."""

    def setUp(self) -> None:
        super().setUp()
        self.holder = self.lock().ticket
        self.usurper = self.start()

    def assert_leadership_lost(self) -> None:
        self.assertEqual(len(self.life.leadership_lost), 1)
        self.assertRaises(StoreUnavailable, self.locks.check)
        self.assert_away(self.ask(), self.ask(A5), self.write(self.holder), self.release(self.holder))
        self.clock.pump([PAUSE] * 10)
        self.clock.advance(LEASE)
        self.assertEqual(len(self.life.leadership_lost), 1)
        self.usurper.locks.check()

    def test_next_commit(self):
        """The one that lost it learns so by its next commit, stops once, and grants nothing any more."""
        self.assert_away(self.ask(A5))
        self.assert_leadership_lost()

    def test_write(self):
        """It writes nothing either."""
        self.assert_away(self.write(self.holder, "1"))
        self.assertIsNone(self.data())
        self.assert_leadership_lost()

    def test_after_a_failure(self):
        """It does not take the store back when it comes to look what became of a failed commit."""
        self.life = self.usurper
        self.store.slow = True
        request = self.ask(A5)
        later = self.ask()
        self.usurper = self.start()
        self.store.finish(Outcome.FAILED)
        self.assert_away(request, later)
        self.clock.advance(PAUSE)
        self.assert_leadership_lost()

    def test_the_other_goes_on(self):
        """The new one has the locks as they stood."""
        held = self.usurper.locks.grants.wait(LockRequest(A4, lease=0, ticket=self.holder))
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(held)).ticket, self.holder)

    def test_told_by_others(self):
        """Whoever else finds out that another one leads may tell the journal, before or after it learns so itself."""
        self.life.journal.step_down(EpochLost("Another daemon has taken over."))
        self.assert_leadership_lost()

    def test_told_while_the_store_is_away(self):
        """A daemon that is told so while it waits for the store does not go on when the store is back."""
        self.life = self.usurper
        self.usurper = Life(self.disk)
        self.store.away = True
        self.assert_away(self.ask(A5))
        self.life.journal.step_down(EpochLost("Another daemon has taken over."))
        self.store.heal()
        self.clock.pump([PAUSE] * 10)
        self.assertRaises(StoreUnavailable, self.locks.check)
        self.assertEqual(len(self.life.leadership_lost), 1)

    def test_told_during_a_commit(self):
        """What waits for a commit that will not come any more is answered."""
        self.life = self.usurper
        self.store.slow = True
        request, later = self.ask(A5), self.ask(GLASS)
        self.life.journal.step_down(EpochLost("Another daemon has taken over."))
        self.assert_away(later)
        self.store.finish()
        held = self.successResultOf(request)
        self.assertRaises(StoreUnavailable, self.locks.grants.confirm, A5, held)


class BeliefTests(JournalTestCase):
    """How long a daemon that hears nothing tells holders that they are such."""

    belief = 5.0

    def setUp(self) -> None:
        super().setUp()
        self.held = self.lock()

    def test_silence(self):
        """When it was too long ago that it was known to term it tells no one anything any more."""
        self.clock.advance(5)
        self.locks.check()
        self.lock(ticket=self.held.ticket)
        self.clock.advance(0.1)
        self.assertRaises(StoreUnavailable, self.locks.check)
        self.assertRaises(StoreUnavailable, self.locks.grants.confirm, A4, self.held)
        self.assert_away(self.ask(ticket=self.held.ticket), self.ask(A5), self.write(self.held.ticket))

    def test_trust(self):
        """Each time that it turns out to term it goes on for as long again; news that are older change nothing."""
        for _ in range(5):
            self.clock.advance(5)
            self.life.lease.renew(self.clock.seconds())
            self.life.lease.renew(self.clock.seconds() - 4)
            self.lock(ticket=self.held.ticket)

    def test_write_that_takes_longer_than_the_lock(self):
        """A write that was kept, but may not be told any more, leaves a lock that ends like any other."""
        self.life.lease.renew(self.clock.seconds())
        held = self.lock(GLASS)
        self.store.slow = True
        writing = self.write(held.ticket, key=GLASS)
        self.clock.advance(SCANNER + 1)
        self.store.heal()
        self.store.finish()
        self.assert_away(writing)
        self.assertEqual(self.data(GLASS), "1")
        self.assert_agreement()
        for _ in range(SCANNER + 1):
            self.life.lease.renew(self.clock.seconds())
            self.clock.advance(1)
        self.life.lease.renew(self.clock.seconds())
        self.lock(GLASS)
        self.assert_ended(held.ticket, GLASS)

    def test_successor_waits(self):
        """A daemon that takes over ends nothing before its predecessor has stopped to believe in itself."""
        self.successResultOf(Deferred.fromCoroutine(self.disk.create_resource("short", 1)))
        short = LockKey("short", "est")
        ticket = self.successResultOf(
            Deferred.fromCoroutine(self.locks.grants.wait(LockRequest(short, lease=1)))
        ).ticket
        self.life = self.start()
        self.clock.advance(4.9)
        self.assertEqual(self.queue(short).position, 1)
        self.clock.advance(0.1)
        self.life.lease.renew(self.clock.seconds())
        self.clock.advance(1)
        self.assert_ended(ticket, short)


class AnotherStoreTests(JournalTestCase):
    """The store has become another one, which may know less than the one before."""

    def lose(self, *held: Grant) -> None:
        """Let the store know nothing of what was told last."""
        for lock in held:
            for seq in [seq for seq, place in self.disk.places.items() if place.ticket == lock.ticket]:
                del self.disk.places[seq]

    def test_only_what_it_knows_counts(self):
        """What the store does not know any more is over at once, also where nobody doubted it; what it knows stays, and fences grow on."""
        kept, lost = self.lock(A4), self.lock(A5)
        self.lose(lost)
        self.life.journal.begin_anew()
        self.assertRaises(StoreUnavailable, self.locks.check)
        self.come_back()
        self.assertEqual(self.lock(A4, kept.ticket).fence, kept.fence)
        self.assertGreater(self.lock(A5).fence, lost.fence)

    def test_those_who_wait(self):
        """Who waits for a lock is told at once to ask again."""
        self.lock()
        waiting = self.ask(wait=50)
        self.life.journal.begin_anew()
        self.assert_away(waiting)
        self.come_back()

    def test_commit_under_way(self):
        """A commit under way may be kept by the old store or the new: it counts only if the new one knows it, and nobody was told that it is done."""
        self.store.slow = True
        first, second = self.ask(A4), self.ask(A5)
        self.life.journal.begin_anew()
        self.assertRaises(StoreUnavailable, self.locks.check)
        self.store.finish()
        self.assert_away(first, second)
        self.come_back()
        self.lock(A4)
        self.lock(A5)

    def test_while_it_recovers(self):
        """It makes no difference that a commit failed just before, about something else."""
        lost = self.lock(A5)
        self.store.outcome = Outcome.FAILED
        self.assert_away(self.ask(A4))
        self.lose(lost)
        self.life.journal.begin_anew()
        self.come_back()
        self.assertGreater(self.lock(A5).fence, lost.fence)

    def test_twice(self):
        """If that happens once more before the store is back, it is read once more."""
        lost = self.lock(A5)
        self.life.journal.begin_anew()
        self.store.reign_outcome = Outcome.FAILED
        self.clock.advance(PAUSE)
        self.lose(lost)
        self.life.journal.begin_anew()
        self.come_back()
        self.assertGreater(self.lock(A5).fence, lost.fence)


class AnotherStoreVolatileTests(JournalTestCase):
    """Where locks live in memory only, the store knows nothing of them."""

    durable = False

    def test_only_what_it_knows_counts(self):
        """They go on as they were."""
        held = self.lock(A4)
        self.life.journal.begin_anew()
        self.store.heal()
        self.clock.advance(PAUSE)
        self.assertEqual(self.lock(A4, held.ticket).fence, held.fence)


class RestartTests(JournalTestCase):
    """The daemon is killed and started again."""

    def test_holder(self):
        """The holder still has its lock, under its fence, for the full lease of the resource."""
        held, scanning = self.lock(), self.lock(GLASS)
        self.clock.advance(SCANNER - 1)
        self.restart()
        self.assert_agreement()
        self.clock.advance(SCANNER - 1)
        self.assertEqual(self.lock(GLASS, scanning.ticket).fence, scanning.fence)
        self.clock.advance(LEASE - SCANNER)
        self.assertEqual(self.lock(ticket=held.ticket).fence, held.fence)
        self.clock.advance(LEASE)
        self.assert_ended(held.ticket)

    def test_line(self):
        """Those who wait do so in the same order, for the full time of a place."""
        holder = self.lock().ticket
        line = [self.queue().ticket for _ in range(5)]
        self.unlock(line.pop(2))
        self.clock.advance(PLACE - 1)
        self.restart()
        self.clock.advance(PLACE - 1)
        self.assertEqual([self.queue(ticket=ticket).position for ticket in line], [1, 2, 3, 4])
        for ticket in line:
            self.unlock(holder)
            holder = self.lock(ticket=ticket).ticket
        self.assert_agreement()

    def test_places_end(self):
        """A client that does not come back after the restart loses its place when that time is over."""
        self.lock()
        silent = self.queue().ticket
        self.restart()
        self.clock.advance(PLACE)
        self.assert_ended(silent)

    def test_unclaimed(self):
        """A lock that nobody came for has a full claim window, and no more."""
        holder = self.lock().ticket
        next_waiter, behind = self.queue().ticket, self.queue().ticket
        self.unlock(holder)
        self.clock.advance(CLAIM - 1)
        self.restart()
        self.clock.advance(CLAIM - 1)
        self.assertEqual(self.queue(ticket=behind).position, 1)
        self.clock.advance(1)
        self.assert_ended(next_waiter)
        self.lock(ticket=behind)

    def test_left_unclaimed(self):
        """So has one that came with the answer that there is no data."""
        held = self.successResultOf(self.ask())
        self.successResultOf(Deferred.fromCoroutine(self.locks.grants.leave_unclaimed(A4, held)))
        self.restart()
        self.clock.advance(CLAIM)
        self.assert_ended(held.ticket)

    def test_used_before(self):
        """One that was used has its lease."""
        held = self.successResultOf(self.ask())
        self.successResultOf(Deferred.fromCoroutine(self.locks.grants.leave_unclaimed(A4, held)))
        self.successResultOf(self.write(held.ticket))
        self.restart()
        self.clock.advance(LEASE - 1)
        self.lock(ticket=held.ticket)

    def test_fences(self):
        """No fence is used twice, also if everything was let go of in between."""
        fences = []
        for _ in range(5):
            ticket = self.lock().ticket
            self.unlock(ticket)
            fences.append(self.lock().fence)
            self.unlock(self.lock(A5).ticket, A5)
            self.clock.advance(LEASE)
            self.restart()
        self.assertEqual(fences, sorted(set(fences)))

    def test_lost_selector(self):
        """Where a ticket lost its lock before the restart it has ended after it; elsewhere it lives."""
        ticket = self.lock(A4).ticket
        self.clock.advance(LEASE / 2)
        self.lock(A5, ticket)
        self.clock.advance(LEASE / 2)
        for _ in range(2):
            self.restart()
            self.assert_agreement()
            self.assert_ended(ticket, A4)
            self.lock(A5, ticket)

    def test_lost_selector_of_one_that_came_back(self):
        """Also if it let go of everything in between and came back, both within one transaction."""
        ticket = self.lock(A4).ticket
        self.clock.advance(LEASE / 2)
        self.lock(A5, ticket)
        self.clock.advance(LEASE / 2)
        self.store.slow = True
        self.ask(GLASS)
        release = self.release(ticket, A5)
        back = self.ask(A5, ticket)
        self.store.finish()
        self.store.finish()
        self.assertTrue(self.successResultOf(release))
        self.told(back, A5)
        self.restart()
        self.assert_ended(ticket, A4)
        self.lock(A5, ticket)

    def test_traces_of_a_lost_selector(self):
        """Nothing is kept of a ticket that has let go of everything, wherever it had lost something."""
        ticket = self.lock(A4).ticket
        self.clock.advance(LEASE / 2)
        self.lock(A5, ticket)
        self.clock.advance(LEASE / 2)
        self.unlock(ticket, A5)
        self.assertEqual(self.disk.places, {})

    def test_ended(self):
        """What a ticket lost before the restart it has lost after it; one that let go may be sent again, but writes nothing."""
        lapsed, released = self.lock(A4).ticket, self.lock(A5).ticket
        self.unlock(released, A5)
        self.clock.advance(LEASE)
        self.restart()
        self.assert_ended(lapsed)
        self.failureResultOf(self.locks.write(A5, "id", released, "0"), TicketEnded)
        self.assertEqual(self.lock(A5, released).ticket, released)

    def test_retry(self):
        """A request without a ticket that is sent again after the restart finds the ticket that it got before."""
        held, waiting = self.lock(idempotency_key="one"), self.queue(idempotency_key="two")
        self.restart()
        self.assertEqual(self.lock(idempotency_key="one").ticket, held.ticket)
        self.assertEqual(self.queue(idempotency_key="two"), waiting)

    def test_owner(self):
        """The store says who has a lock and who waits."""
        self.lock(owner="Ada")
        self.queue(owner="Bob")
        self.restart()
        self.lock(A5, owner="Cid")
        self.assertEqual([place.owner for place in self.disk.places.values()], ["Ada", "Bob", "Cid"])

    def test_lock_without_holder(self):
        """A lock that someone's meddling left without a holder goes to the first in line."""
        self.lock()
        first = self.queue().ticket
        self.queue()
        del self.disk.places[min(self.disk.places)]
        self.restart()
        self.assert_agreement()
        self.lock(ticket=first)

    def test_store_away_at_the_start(self):
        """A daemon that cannot read the lock table does not start."""
        life = Life(self.disk)
        life.store.away = True
        self.assert_away(life.open())
        self.assertRaises(StoreUnavailable, life.locks.check)


class WriteTests(JournalTestCase):
    """A lock and the writes of its holder."""

    def setUp(self) -> None:
        super().setUp()
        self.holder = self.lock().ticket
        self.store.slow = True
        self.waiting = self.ask(wait=LEASE * 5)
        self.store.finish()

    def test_lease_ends_during_a_write(self):
        """A lease that runs out while a write is under way hands nothing over; the write renews it."""
        writing = self.write(self.holder, "1")
        self.clock.advance(LEASE * 1.5)
        self.assertNoResult(self.waiting)
        self.store.finish()
        self.assertGreater(self.successResultOf(writing).version, 0)
        self.clock.advance(LEASE / 2 - 1)
        self.assertNoResult(self.waiting)
        self.clock.advance(LEASE / 2 + 1)
        self.store.finish()
        self.told(self.waiting)

    def test_lease_ends_during_a_write_that_fails(self):
        """If the write fails its holder still has the lock, for the full lease from then on."""
        writing = self.write(self.holder, "1")
        self.clock.advance(LEASE * 1.5)
        self.store.finish(Outcome.FAILED)
        self.assert_away(writing)
        self.assert_away(self.waiting)
        self.come_back()
        self.lock(ticket=self.holder)

    def test_two_writes(self):
        """Of two writes at once the later one stays, and the lock is the holder's until both have ended."""
        first, second = self.write(self.holder, "1"), self.write(self.holder, "2")
        self.clock.advance(LEASE)
        self.store.finish()
        self.assertGreater(self.successResultOf(first).version, 0)
        self.clock.advance(LEASE)
        self.assertNoResult(self.waiting)
        self.store.finish()
        self.assertGreater(self.successResultOf(second).version, 0)
        self.assertEqual(self.data(), "2")
        self.lock(ticket=self.holder)

    def test_unlock_waits(self):
        """An unlock that overtakes a write waits for its end."""
        writing = self.write(self.holder, "1")
        release = self.release(self.holder)
        self.assertNoResult(release)
        self.store.finish()
        self.assertGreater(self.successResultOf(writing).version, 0)
        self.assertNoResult(release)
        self.assertNoResult(self.waiting)
        self.store.finish()
        self.assertTrue(self.successResultOf(release))
        self.told(self.waiting)

    def test_unlock_waits_for_a_write_that_fails(self):
        """If that write fails so does the unlock."""
        writing = self.write(self.holder, "1")
        release = self.release(self.holder)
        self.store.finish(Outcome.FAILED)
        self.assert_away(writing, release)
        self.come_back()
        self.assertTrue(self.unlock(self.holder))

    def test_hanging_up(self):
        """A client that hangs up during its write changes nothing about it."""
        writing = self.write(self.holder, "1")
        writing.cancel()
        self.failureResultOf(writing, CancelledError)
        self.clock.advance(LEASE)
        self.assertNoResult(self.waiting)
        self.store.finish()
        self.assertEqual(self.data(), "1")
        self.lock(ticket=self.holder)

    def test_hanging_up_before_the_commit(self):
        """Nor if its write was still waiting for another commit, and that one for an unlock."""
        self.ask(A5)
        writing = self.write(self.holder, "1", unlock=True)
        writing.cancel()
        self.failureResultOf(writing, CancelledError)
        self.store.finish()
        self.store.finish()
        self.assertEqual(self.data(), "1")
        self.told(self.waiting)

    def test_hanging_up_during_unlock(self):
        """A client that hangs up while it unlocks has unlocked."""
        release = self.release(self.holder)
        release.cancel()
        self.failureResultOf(release, CancelledError)
        self.store.finish()
        self.told(self.waiting)

    def test_hanging_up_during_unlock_behind_a_write(self):
        """So has one whose unlock still had to wait for its write."""
        self.write(self.holder, "1")
        release = self.release(self.holder)
        release.cancel()
        self.failureResultOf(release, CancelledError)
        self.store.finish()
        self.store.finish()
        self.assertEqual(self.data(), "1")
        self.told(self.waiting)

    def test_hanging_up_on_a_failure(self):
        """That the write of a client that hung up has failed is nothing to log."""
        writing = self.write(self.holder, "1")
        writing.cancel()
        self.failureResultOf(writing, CancelledError)
        self.store.finish(Outcome.FAILED)
        self.assert_away(self.waiting)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_write_and_unlock(self):
        """A write that unlocks is one transaction: the data, the release, and the next grant."""
        self.store.batches.clear()
        writing = self.write(self.holder, "1", unlock=True)
        self.assertNoResult(self.waiting)
        self.store.finish()
        self.assertGreater(self.successResultOf(writing).version, 0)
        self.told(self.waiting)
        (batch,) = self.store.batches
        self.assertEqual((len(batch.writes), len(batch.places), len(batch.gone)), (1, 1, 1))

    def test_unlocking_write_behind_another(self):
        """A write that unlocks does not overtake one that is under way."""
        first = self.write(self.holder, "1")
        second = self.write(self.holder, "2", unlock=True)
        self.store.finish()
        self.assertGreater(self.successResultOf(first).version, 0)
        self.assertNoResult(self.waiting)
        self.store.finish()
        self.assertGreater(self.successResultOf(second).version, 0)
        self.assertEqual(self.data(), "2")
        self.told(self.waiting)

    def test_heir_in_the_same_transaction(self):
        """An next waiter that writes before the release is kept does so after its predecessor, in that order."""
        next_waiter = self.disk.places[max(self.disk.places)].ticket
        self.ask(A5)
        first = self.write(self.holder, "1", unlock=True)
        second = self.write(next_waiter, "2")
        self.store.finish()
        self.store.finish()
        self.assertGreater(self.successResultOf(first).version, 0)
        self.assertGreater(self.successResultOf(second).version, 0)
        self.assertEqual(self.data(), "2")
        self.told(self.waiting)

    def test_not_the_holder(self):
        """Neither a waiting ticket nor one of nobody gets anything into a commit."""
        self.store.batches.clear()
        waiting = next(place.ticket for place in self.disk.places.values() if place.standing is Standing.WAITING)
        self.failureResultOf(self.write(waiting), NotHolder)
        self.failureResultOf(self.write("f" * 32), TicketEnded)
        self.assertEqual(self.store.batches, [])


class VolatileTests(JournalTestCase):
    """Locks that are kept in memory only."""

    durable = False

    def test_no_commits(self):
        """Locks cost no commit at all."""
        self.store.batches.clear()
        for _ in range(10):
            held = self.lock()
            waiting = self.ask(wait=50)
            self.unlock(held.ticket)
            self.unlock(self.told(waiting).ticket)
        self.assertEqual(self.store.batches, [])
        self.assertEqual(self.disk.places, {})

    def test_restart(self):
        """Locks are gone after a restart, and their tickets have ended."""
        ticket = self.lock().ticket
        waiting = self.queue().ticket
        self.restart()
        for ended in (ticket, waiting):
            self.assert_ended(ended)
        self.lock()

    def test_fences(self):
        """No fence is used twice all the same, whenever the daemon dies."""
        fences: list[int] = []
        for _ in range(5):
            fences.extend(self.lock(key).fence for key in (A4, A5, GLASS))
            self.restart()
        self.assertEqual(fences, sorted(set(fences)))

    def test_fences_of_the_other_kind(self):
        """Nor if the server is started in the other way in between."""
        fences = []
        for durable in (False, True, True, False, True):
            self.life = self.start(durable=durable)
            held = self.lock()
            fences.append(held.fence)
            self.unlock(held.ticket)
        self.assertEqual(fences, sorted(set(fences)))

    def use_up(self, *, but: int) -> None:
        """Make it look as if nearly all the fences that were set aside had been given out."""
        numbers = self.life.journal.numbers
        self.locks.places.record._fence = numbers.fence = numbers.reserved - but

    def test_fences_run_out(self):
        """When the fences that were set aside are used up the next ones are set aside before one of them is told."""
        self.use_up(but=1)
        self.store.slow = True
        last = self.lock(A4)
        next_ones = [self.ask(A5), self.ask(GLASS)]
        for request in next_ones:
            self.assertNoResult(request)
        self.assertEqual(self.disk.fence, last.fence)
        self.store.finish()
        self.assertGreater(self.told(next_ones[0], A5).fence, last.fence)
        self.told(next_ones[1], GLASS)
        self.assertEqual(self.disk.fence, last.fence + 1 + FENCES)

    def test_dies_when_fences_run_out(self):
        """If the daemon dies just then, no fence is used twice either."""
        for outcome in Outcome:
            self.use_up(but=1)
            last = self.lock(A4).fence
            self.store.slow = True
            self.ask(A5)
            self.restart(outcome)
            self.assertGreater(self.lock(A5).fence, last)

    def test_fences_cannot_be_set_aside(self):
        """If that fails the client is told so, and none of those fences is used."""
        for outcome in (Outcome.FAILED, Outcome.UNANSWERED):
            self.use_up(but=0)
            self.store.outcome = outcome
            last = self.disk.fence
            self.assert_away(self.ask(A5))
            self.store.heal()
            self.clock.advance(PAUSE)
            self.locks.check()
            self.clock.advance(CLAIM)
            held = self.lock(A5)
            self.assertGreater(held.fence, last)
            self.assertLessEqual(held.fence, self.disk.fence)
            self.unlock(held.ticket, A5)

    def test_write(self):
        """Data is kept as surely as ever, and is there before the client is told."""
        held = self.lock()
        self.store.slow = True
        writing = self.write(held.ticket, "1")
        self.assertNoResult(writing)
        self.store.finish()
        self.assertGreater(self.successResultOf(writing).version, 0)
        self.assertEqual(self.data(), "1")
        self.assertEqual(self.disk.places, {})

    def test_write_and_unlock(self):
        """A write that unlocks keeps the lock until the data is there."""
        held = self.lock()
        waiting = self.ask(wait=LEASE)
        self.store.slow = True
        writing = self.write(held.ticket, "1", unlock=True)
        self.clock.advance(LEASE - 1)
        self.assertNoResult(waiting)
        self.store.finish()
        self.assertGreater(self.successResultOf(writing).version, 0)
        self.told(waiting)

    def test_unlock_waits(self):
        """An unlock that overtakes a write waits for its end, so that nobody else has the lock before."""
        held = self.lock()
        waiting = self.ask(wait=50)
        self.store.slow = True
        writing = self.write(held.ticket, "1")
        release = self.release(held.ticket)
        self.assertNoResult(release)
        self.assertNoResult(waiting)
        self.store.finish()
        self.assertGreater(self.successResultOf(writing).version, 0)
        self.assertTrue(self.successResultOf(release))
        self.told(waiting)

    def test_unlocking_write_before_another(self):
        """A write that unlocks waits for another one of the holder that came after it."""
        held = self.lock()
        waiting = self.ask(wait=50)
        self.store.slow = True
        first, second = self.write(held.ticket, "1", unlock=True), self.write(held.ticket, "2")
        self.store.finish()
        self.assertNoResult(first)
        self.assertNoResult(waiting)
        self.store.finish()
        self.assertGreater(self.successResultOf(second).version, 0)
        self.assertGreater(self.successResultOf(first).version, 0)
        self.told(waiting)

    def test_history_of_a_failed_write(self):
        """What happens to other locks while a write fails is told all the same, before what comes later; the write is not."""
        held = self.lock()
        told: list[Event] = []
        self.life.journal.listeners = Listeners(happened=told.extend)
        self.store.slow = True
        writing = self.write(held.ticket, "1")
        other = self.lock(A5)
        self.assertEqual(told, [])
        self.store.finish(Outcome.FAILED)
        self.assert_away(writing)
        self.store.slow = False
        self.clock.advance(PAUSE)
        self.unlock(other.ticket, A5)
        self.assertEqual([event.kind for event in told], [EventKind.GRANT, EventKind.RELEASE])

    def test_failed_write(self):
        """A write that fails leaves the lock as it is, and no one else's."""
        held = self.lock()
        waiting = self.ask(wait=50)
        other = self.lock(A5)
        for unlock in (False, True):
            self.store.outcome = Outcome.FAILED
            self.assert_away(self.write(held.ticket, "1", unlock=unlock))
            self.store.heal()
            self.clock.advance(PAUSE)
            self.assertNoResult(waiting)
            self.lock(ticket=held.ticket)
            self.lock(A5, other.ticket)
        self.successResultOf(self.write(held.ticket, "2", unlock=True))
        self.assertEqual(self.data(), "2")
        self.told(waiting)

    def test_lease_ends_during_a_write_that_fails(self):
        """A lease that ran out during a write that failed ends when the store is back."""
        held = self.lock()
        waiting = self.ask(wait=LEASE * 2)
        self.store.slow = True
        writing = self.write(held.ticket, "1")
        self.clock.advance(LEASE)
        self.assertNoResult(waiting)
        self.store.finish(Outcome.FAILED)
        self.assert_away(writing)
        self.store.heal()
        self.clock.advance(PAUSE)
        self.clock.advance(CLAIM)
        self.told(waiting)
        self.assert_ended(held.ticket)

    def test_unlocking_while_the_next_commit_fails(self):
        """A lock that is let go of after its write, at a moment when the store fails again, is not stuck."""
        held, other = self.lock(), self.lock(A5)
        waiting = self.ask(wait=50)
        self.store.slow = True
        first = self.write(held.ticket, "1", unlock=True)
        second = self.write(other.ticket, "2", A5)
        self.store.slow = False
        self.store.outcome = Outcome.FAILED
        self.store.finish()
        self.assertGreater(self.successResultOf(first).version, 0)
        self.assert_away(second)
        next_waiter = self.successResultOf(waiting)
        self.store.heal()
        self.clock.advance(PAUSE)
        self.assertEqual(self.lock(ticket=next_waiter.ticket).fence, next_waiter.fence)
        self.lock(A5, other.ticket)

    def test_nothing_is_gathered(self):
        """However many locks come and go, nothing of them stays in the journal, which keeps none of them."""
        for _ in range(50):
            self.unlock(self.lock().ticket)
        group = self.life.journal._open
        self.assertEqual([group.fresh, group.places, group.gone, group.events], [set(), {}, {}, []])

    def test_leftovers(self):
        """Locks of a time in which they were kept do not come back when they are kept again."""
        self.life = self.start(durable=True)
        ticket = self.lock().ticket
        self.queue()
        self.life = self.start(durable=False)
        self.assertEqual(self.disk.places, {})
        self.assert_ended(ticket)
        self.unlock(self.lock().ticket)
        self.life = self.start(durable=True)
        self.assert_ended(ticket)
        second = self.lock().ticket
        # And so again, though all that counted them has begun anew.
        self.life = self.start(durable=False)
        self.life = self.start(durable=True)
        self.assert_ended(ticket)
        self.assert_ended(second)

    def test_usurped(self):
        """Another daemon that takes over the store stops this one at its next write."""
        held = self.lock()
        self.start()
        self.assert_away(self.write(held.ticket, "1"))
        self.assertIsInstance(self.life.leadership_lost.pop(), EpochLost)
        self.assertIsNone(self.data())
        self.assert_away(self.ask(A5))
