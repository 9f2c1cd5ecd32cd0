"""Who has a lock, who waits for it, and how long either may be silent."""

from __future__ import annotations

import random
import sys
from types import FrameType
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from resourced.errors import NotHolder, Overloaded, TicketEnded
from resourced.locks.state import tickets
from resourced.locks.state.limits import Limits
from resourced.locks.state.losses import TOLD_FOR
from resourced.locks.state.requests import Grant, Queued
from resourced.model import LockKey
from tests.locks.cases import A4, A5, CLAIM, GLASS, LEASE, PLACE, SCANNER, LockTestCase

pytestmark = pytest.mark.trial


class QueueTests(LockTestCase):
    """The order in which a lock is given."""

    def test_free_lock(self):
        """Who comes first has the lock at once, with a ticket of its own and a fence."""
        held = self.lock()
        self.assertTrue(held.fresh)
        self.assertEqual(len(held.ticket), 32)
        self.assertGreater(held.fence, 0)

    def test_line(self):
        """Who comes later gets a ticket and a position; 1 is next in line."""
        self.lock()
        line = [self.queue() for _ in range(3)]
        self.assertEqual([queued.position for queued in line], [1, 2, 3])
        self.assertEqual(len({queued.ticket for queued in line}), 3)

    def test_same_ticket_keeps_the_lock(self):
        """The holder that asks again still has the lock, under the same fence."""
        held = self.lock()
        self.queue()
        self.assertEqual(self.lock(ticket=held.ticket), Grant(held.ticket, held.fence, fresh=False))

    def test_same_ticket_keeps_the_place(self):
        """Who waits and asks again keeps its position and gains none."""
        self.lock()
        first, second = self.queue(), self.queue()
        self.assert_position(second.ticket, 2)
        self.assert_position(first.ticket, 1)
        self.assert_position(second.ticket, 2)

    def test_unlock_passes_on(self):
        """An unlocked lock belongs to the next in line, and the others move up."""
        held = self.lock()
        first, second = self.queue(), self.queue()
        self.assertTrue(self.unlock(held.ticket))
        self.assert_position(second.ticket, 1)
        self.assertEqual(self.lock(ticket=first.ticket).ticket, first.ticket)

    def test_newcomer_does_not_overtake(self):
        """A lock that fell to a waiting ticket is not free, even if its client has not come for it yet."""
        held = self.lock()
        first = self.queue()
        self.unlock(held.ticket)
        self.assertEqual(self.queue().position, 1)
        self.lock(ticket=first.ticket)

    def test_first_come_first_served(self):
        """The lock goes from hand to hand in the order of arrival, whoever leaves in the middle."""
        holder: str = self.lock().ticket
        line = [self.queue().ticket for _ in range(30)]
        leavers = random.Random(7).sample(line, 12)
        served = []
        while line:
            if leavers and len(line) % 2:
                leaver = leavers.pop()
                if leaver in line:
                    self.assertTrue(self.unlock(leaver))
                    line.remove(leaver)
            for position, ticket in enumerate(line, 1):
                self.assert_position(ticket, position)
            if line:
                self.unlock(holder)
                holder = line.pop(0)
                self.assertEqual(self.lock(ticket=holder).ticket, holder)
                served.append(holder)
        self.assertGreater(len(served), 15)

    def test_fences_grow(self):
        """Every grant has a higher fence than all before it, also that of the same ticket."""
        fences = []
        ticket = ""
        for _ in range(3):
            for key in (A4, A5):
                held = self.lock(key, ticket)
                ticket = held.ticket
                fences.append(held.fence)
            self.unlock(ticket, A4)
            self.unlock(ticket, A5)
        waiting = self.lock().ticket
        next_waiter = self.queue()
        self.unlock(waiting)
        fences.append(self.lock(ticket=next_waiter.ticket).fence)
        self.assertEqual(fences, sorted(set(fences)))

    def test_names_are_exact(self):
        """Names that only look alike are different locks; so are equal selectors of two resources."""
        for key in (
            A4,
            LockKey("printer", "a4"),
            LockKey("printer", "A4 "),
            LockKey("printer", "Á4"),
            LockKey("scanner", "A4"),
        ):
            self.lock(key)


class LeaseTests(LockTestCase):
    """How long a holder may be silent."""

    def test_lapse(self):
        """A holder that is silent for its lease loses the lock to the next, and its ticket has ended."""
        held = self.lock()
        self.clock.advance(LEASE - 1)
        next_waiter = self.queue()
        self.clock.advance(1)
        self.assertEqual(self.lock(ticket=next_waiter.ticket).ticket, next_waiter.ticket)
        self.assert_ended(held.ticket)

    def test_lapse_without_heir(self):
        """A lock that lapses when nobody waits is free."""
        held = self.lock()
        self.clock.advance(LEASE)
        self.assertTrue(self.lock().fresh)
        self.assert_ended(held.ticket)

    def test_use_renews(self):
        """Asking again and writing each give the holder its full lease anew."""
        held = self.lock()
        for use in (self.lock, self.written, self.lock):
            self.clock.advance(LEASE - 1)
            use(ticket=held.ticket)
        self.clock.advance(LEASE - 1)
        self.queue()
        self.lock(ticket=held.ticket)
        self.clock.advance(LEASE)
        self.assert_ended(held.ticket)

    def test_reading_of_others_does_not_renew(self):
        """Those who wait do not prolong the holder's lease by asking."""
        held = self.lock()
        waiting = self.queue()
        for _ in range(10):
            self.clock.advance(LEASE / 10)
            self.successResultOf(self.ask(ticket=waiting.ticket))
        self.assert_ended(held.ticket)

    def test_own_lease(self):
        """The lease of a resource is its own, and no lease means the server's."""
        scanner, printer = self.lock(GLASS), self.lock(A4)
        self.assertEqual(self.locks.grants.confirm(GLASS, scanner), SCANNER)
        self.assertEqual(self.locks.grants.confirm(A4, printer), LEASE)
        self.clock.advance(SCANNER)
        self.assert_ended(scanner.ticket, GLASS)
        self.lock(ticket=printer.ticket)

    def test_lease_of_heirs(self):
        """Who gets the lock by waiting has the resource's lease too."""
        self.lock(GLASS)
        waiting = self.ask(GLASS, wait=50)
        self.clock.advance(SCANNER)
        next_waiter = self.told(waiting, GLASS)
        self.clock.advance(SCANNER - 1)
        self.written(next_waiter.ticket, key=GLASS)
        self.clock.advance(SCANNER)
        self.assert_ended(next_waiter.ticket, GLASS)

    def test_lease_starts_when_the_client_is_told(self):
        """What happens between the grant and the answer is not taken off the lease."""
        held = self.lock()
        request = self.ask(wait=50)
        self.unlock(held.ticket)
        next_waiter = self.successResultOf(request)
        self.clock.advance(CLAIM - 1)
        self.assertEqual(self.locks.grants.confirm(A4, next_waiter), LEASE)
        self.clock.advance(LEASE - 1)
        self.lock(ticket=next_waiter.ticket)

    def test_answer_that_comes_too_late(self):
        """A client that the lock was lost for before it could be told learns that its ticket has ended."""
        held = self.successResultOf(self.ask())
        self.clock.advance(CLAIM)
        self.assertRaises(TicketEnded, self.locks.grants.confirm, A4, held)
        self.assert_refused(TicketEnded, Deferred.fromCoroutine(self.locks.grants.leave_unclaimed(A4, held)))

    def test_confirming_an_earlier_grant(self):
        """The answer to an earlier grant says nothing about a later one, even of the same ticket."""
        earlier = self.lock()
        self.unlock(earlier.ticket)
        later = self.lock(ticket=earlier.ticket)
        self.assertRaises(TicketEnded, self.locks.grants.confirm, A4, earlier)
        self.assertEqual(self.locks.grants.confirm(A4, later), LEASE)


class PlaceTests(LockTestCase):
    """How long someone who waits may be silent."""

    def setUp(self) -> None:
        super().setUp()
        self.holder = self.lock().ticket

    def stay(self, seconds: float) -> None:
        """Let time pass in which the holder is not silent."""
        self.lock(ticket=self.holder)
        self.clock.advance(seconds)

    def test_lapse(self):
        """A place whose client does not ask again within its time ends, and those behind it move up."""
        silent = self.queue()
        self.stay(PLACE - 1)
        other = self.queue()
        self.assertEqual(other.position, 2)
        self.stay(1)
        self.assert_position(other.ticket, 1)
        self.assert_ended(silent.ticket)

    def test_polling_renews(self):
        """Who asks often enough keeps its place for as long as it likes."""
        polling = self.queue()
        for _ in range(20):
            self.stay(PLACE - 1)
            self.assert_position(polling.ticket, 1)

    def test_long_poll_holds(self):
        """A place does not end while a request is open for it, and has its full time when that was answered."""
        ticket = self.queue().ticket
        request = self.ask(ticket=ticket, wait=PLACE * 2)
        self.stay(PLACE * 2 - 1)
        self.assertNoResult(request)
        self.stay(1)
        self.assertEqual(self.successResultOf(request), Queued(ticket, 1))
        self.stay(PLACE - 1)
        self.assert_position(ticket, 1)
        self.stay(PLACE)
        self.assert_ended(ticket)

    def test_silence_after_a_long_poll(self):
        """A client that never asks again after its long poll was answered loses its place when that time is over."""
        request = self.ask(wait=PLACE * 2)
        self.stay(PLACE * 2)
        ticket = self.successResultOf(request).ticket
        self.stay(PLACE)
        self.assertEqual(self.queue().position, 1)
        self.assert_ended(ticket)

    def test_hanging_up(self):
        """A client that hangs up while it waits keeps its place for the rest of its time, and no longer."""
        ticket = self.queue().ticket
        self.stay(PLACE / 2)
        request = self.ask(ticket=ticket, wait=50)
        self.stay(40)
        request.cancel()
        self.failureResultOf(request, CancelledError)
        self.stay(19)
        self.assertEqual(self.queue().position, 2)
        self.stay(1)
        self.assert_ended(ticket)

    def test_coming_back(self):
        """A client that hung up and comes back in time finds its place as it was."""
        ticket = self.queue().ticket
        self.queue()
        request = self.ask(ticket=ticket, wait=50)
        self.stay(40)
        request.cancel()
        self.failureResultOf(request, CancelledError)
        self.stay(19)
        self.assert_position(ticket, 1)

    def test_hanging_up_after_a_long_time(self):
        """A client that waited for longer than a place lasts, and then hangs up, has nothing left of it."""
        ticket = self.queue().ticket
        request = self.ask(ticket=ticket, wait=PLACE * 2)
        self.stay(PLACE + 1)
        request.cancel()
        self.failureResultOf(request, CancelledError)
        self.assert_ended(ticket)

    def test_hanging_up_just_when_the_place_ends(self):
        """It ends once, also if the end of the request is seen before the timer goes off."""
        ticket, behind = self.queue().ticket, self.queue().ticket
        request = self.ask(ticket=ticket, wait=PLACE * 2)
        # A busy reactor: the time is over, and its timers have yet to be looked at.
        self.clock.rightNow += PLACE
        request.cancel()
        self.failureResultOf(request, CancelledError)
        self.clock.advance(0)
        self.assert_ended(ticket)
        self.assert_ended(behind)
        self.assertEqual(self.locks.waiting, 0)

    def test_one_of_two_requests_hangs_up(self):
        """A place with two open requests does not end when one of them does."""
        ticket = self.queue().ticket
        one, other = (self.ask(ticket=ticket, wait=PLACE * 2) for _ in range(2))
        self.stay(PLACE + 1)
        one.cancel()
        self.failureResultOf(one, CancelledError)
        self.unlock(self.holder)
        self.assertEqual(self.told(other).ticket, ticket)

    def test_giving_up(self):
        """Unlocking gives up a place in the line; a request that is still open for it learns so."""
        ticket = self.queue().ticket
        behind = self.queue().ticket
        request = self.ask(ticket=ticket, wait=50)
        self.assertTrue(self.unlock(ticket))
        self.assert_refused(TicketEnded, request)
        self.assert_position(behind, 1)
        self.assertFalse(self.unlock(ticket))


class ClaimTests(LockTestCase):
    """A lock that falls to someone who is not there."""

    def setUp(self) -> None:
        super().setUp()
        holder = self.lock().ticket
        self.next_waiter = self.queue().ticket
        self.next = self.queue().ticket
        self.unlock(holder)

    def test_unclaimed(self):
        """A lock that nobody comes for within the claim window passes on, and the ticket has ended."""
        self.clock.advance(CLAIM)
        self.assert_ended(self.next_waiter)
        self.assertEqual(self.lock(ticket=self.next).ticket, self.next)

    def test_claimed(self):
        """Who comes within the window has the lock, and its lease starts only then."""
        self.clock.advance(CLAIM - 1)
        self.lock(ticket=self.next_waiter)
        self.clock.advance(LEASE - 1)
        self.lock(ticket=self.next_waiter)

    def test_claimed_by_writing(self):
        """A write comes for the lock as well as a question does."""
        self.clock.advance(CLAIM - 1)
        self.written(self.next_waiter)
        self.clock.advance(LEASE - 1)
        self.lock(ticket=self.next_waiter)

    def test_unclaimed_by_one_after_the_other(self):
        """Each in the line who does not come costs the others one claim window, or less if its place ended before."""
        self.clock.pump([CLAIM, CLAIM])
        self.assertTrue(self.lock().fresh)
        self.assert_ended(self.next)

    def test_hung_up_just_before(self):
        """A lock that falls to a client that hung up just before waits for the claim window."""
        holder = self.lock(ticket=self.next_waiter).ticket
        request = self.ask(ticket=self.next, wait=50)
        request.cancel()
        self.failureResultOf(request, CancelledError)
        self.unlock(holder)
        self.clock.advance(CLAIM - 1)
        last = self.queue().ticket
        self.clock.advance(1)
        self.assert_ended(self.next)
        self.lock(ticket=last)


class FirstDataTests(LockTestCase):
    """Locks that come with the answer that there is no data."""

    def leave_unclaimed(self, held: Grant, key: LockKey = A4) -> float:
        return self.successResultOf(Deferred.fromCoroutine(self.locks.grants.leave_unclaimed(key, held)))

    def test_unused(self):
        """Such a lock is free again after the claim window if its ticket is not used."""
        held = self.successResultOf(self.ask())
        self.assertEqual(self.leave_unclaimed(held), CLAIM)
        self.clock.advance(CLAIM - 1)
        waiting = self.queue().ticket
        self.clock.advance(1)
        self.lock(ticket=waiting)
        self.assert_ended(held.ticket)

    def test_used(self):
        """The first write with its ticket gives it the full lease."""
        held = self.successResultOf(self.ask())
        self.leave_unclaimed(held)
        self.clock.advance(CLAIM - 1)
        self.written(held.ticket)
        self.clock.advance(LEASE - 1)
        self.lock(ticket=held.ticket)

    def test_short_lease(self):
        """It is not given for longer than a lease, so that to use it is never to have it for less."""
        held = self.successResultOf(self.ask(GLASS))
        self.assertEqual(self.leave_unclaimed(held, GLASS), SCANNER)

    def test_used_meanwhile(self):
        """A lease that one request was told of is not cut short by another request's missing data."""
        held = self.successResultOf(self.ask(idempotency_key="again"))
        self.lock(idempotency_key="again")
        self.assertEqual(self.leave_unclaimed(held), LEASE)
        self.clock.advance(LEASE - 1)
        self.lock(ticket=held.ticket)

    def test_two_waited(self):
        """Nor if both had waited for the lock, and one of them did not ask for data."""
        holder = self.lock().ticket
        ticket = self.queue().ticket
        reading, locking = (self.ask(ticket=ticket, wait=50) for _ in range(2))
        self.unlock(holder)
        self.told(locking)
        self.assertEqual(self.leave_unclaimed(self.successResultOf(reading)), LEASE)


class WaitTests(LockTestCase):
    """Requests that stay open."""

    def test_answered_at_once(self):
        """Such a request is answered the moment the lock is unlocked: no time passes, and nobody has to ask."""
        held = self.lock()
        request = self.ask(wait=50)
        self.clock.advance(20)
        self.assertNoResult(request)
        self.unlock(held.ticket)
        self.told(request)

    def test_answered_at_a_lapse(self):
        """It is answered the moment the lease of the holder ends."""
        self.lock(GLASS)
        request = self.ask(GLASS, wait=50)
        self.clock.advance(SCANNER - 0.001)
        self.assertNoResult(request)
        self.clock.advance(0.001)
        self.told(request, GLASS)

    def test_answered_by_one_after_the_other(self):
        """A line of open requests is answered in its order, one with each unlock."""
        held = self.lock()
        line = [self.ask(wait=50) for _ in range(5)]
        for position, request in enumerate(line):
            for later in line[position:]:
                self.assertNoResult(later)
            self.unlock(held.ticket)
            held = self.told(request)

    def test_free(self):
        """Nothing is waited for if the lock is free."""
        self.lock(wait=50)

    def test_over(self):
        """When its time is over the answer is the position by then."""
        self.lock()
        ahead = self.queue()
        request = self.ask(wait=50)
        self.clock.advance(49)
        self.assertNoResult(request)
        self.unlock(ahead.ticket)
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(request).position, 1)

    def test_two_with_one_ticket(self):
        """Two requests with the same ticket get the same lock."""
        held = self.lock()
        ticket = self.queue().ticket
        one, other = self.ask(ticket=ticket, wait=50), self.ask(ticket=ticket, wait=20)
        self.unlock(held.ticket)
        self.assertEqual(self.told(one), self.told(other))

    def test_polling_beside_a_long_poll(self):
        """A short question with the ticket of an open request is answered, and ends neither it nor the place."""
        self.lock()
        ticket = self.queue().ticket
        request = self.ask(ticket=ticket, wait=50)
        self.assert_position(ticket, 1)
        self.assertNoResult(request)
        self.clock.advance(50)
        self.assertEqual(self.successResultOf(request), Queued(ticket, 1))

    def test_stop(self):
        """When the server is to stop, every open request is answered with its position, and no new one waits."""
        held = self.lock()
        line = [self.ask(wait=50) for _ in range(3)]
        self.locks.stop_waiting()
        answers = [self.successResultOf(request) for request in line]
        self.assertEqual([queued.position for queued in answers], [1, 2, 3])
        self.assertEqual(self.queue(wait=50).position, 4)
        self.unlock(held.ticket)
        self.lock(ticket=answers[0].ticket, wait=50)

    def test_asking_from_within_an_answer(self):
        """A client that reacts to its answer in the same turn, even by unlocking, is served like any other."""
        order = []

        def release(held: Grant | Queued, name: int) -> None:
            order.append(name)
            self.unlock(held.ticket)

        held = self.lock()
        for name in range(20):
            self.ask(wait=50).addCallback(release, name)
        self.unlock(held.ticket)
        self.assertEqual(order, list(range(20)))
        self.lock()


class UnlockTests(LockTestCase):
    """Letting go, and coming back."""

    def test_free_again(self):
        """An unlocked lock is free if nobody waits."""
        self.unlock(self.lock().ticket)
        self.assertTrue(self.lock().fresh)

    def test_repeated(self):
        """Unlocking twice does no harm, also when someone else has the lock by then."""
        held = self.lock()
        self.assertTrue(self.unlock(held.ticket))
        self.assertFalse(self.unlock(held.ticket))
        other = self.lock()
        self.assertFalse(self.unlock(held.ticket))
        self.lock(ticket=other.ticket)

    def test_unknown(self):
        """A ticket that never was holds nothing, so there is nothing to unlock."""
        self.lock()
        self.assertFalse(self.unlock("f" * 32))

    def test_ticket_of_another_resource(self):
        """The ticket of another resource unlocks nothing, and keeps what it has."""
        held, other = self.lock(), self.lock(GLASS)
        self.assertFalse(self.unlock(other.ticket, A4))
        self.lock(ticket=held.ticket)
        self.lock(GLASS, ticket=other.ticket)

    def test_ticket_of_another_selector(self):
        """A ticket that holds another selector of the resource unlocks only where it is told to."""
        held = self.lock(A4)
        self.assertFalse(self.unlock(held.ticket, A5))
        self.lock(A4, held.ticket)

    def test_sent_again(self):
        """A released ticket may be sent again: it is the same ticket, at the end of the line."""
        ticket = self.lock().ticket
        self.unlock(ticket)
        held = self.lock(ticket=ticket)
        self.assertEqual((held.ticket, held.fresh), (ticket, True))
        self.unlock(ticket)
        self.lock()
        self.queue()
        self.assert_position(ticket, 2)

    def test_sent_to_another_selector(self):
        """A released ticket may come back at another selector of its resource, but not at another resource."""
        ticket = self.lock(A4).ticket
        self.unlock(ticket)
        self.assert_ended(ticket, GLASS)
        self.assertEqual(self.lock(A5, ticket).ticket, ticket)

    def test_released_ticket_writes_nothing(self):
        """A ticket that let go of the lock cannot write any more."""
        ticket = self.lock().ticket
        self.unlock(ticket)
        self.assert_refused(TicketEnded, self.locks.write(A4, "id", ticket, "0"))
        self.assertEqual(self.disk.documents, {})

    def test_released_by_a_write(self):
        """A write that unlocks leaves the data there and the lock to the next."""
        held = self.lock()
        waiting = self.ask(wait=50)
        self.written(held.ticket, "[1]", unlock=True)
        self.assertEqual(self.data(), "[1]")
        self.told(waiting)
        self.assertFalse(self.unlock(held.ticket))

    def test_remembered(self):
        """
        Only so many released tickets are remembered, and the one that was let go of first is forgotten first.

        Those that are remembered work for nobody but whom they were given to; the others are like any that nobody knows.
        """
        self.patch(tickets, "REMEMBERED", 3)
        released = [self.lock(LockKey("printer", str(number))).ticket for number in range(5)]
        for number, ticket in enumerate(released):
            self.unlock(ticket, LockKey("printer", str(number)))
        for ticket in released[2:]:
            self.assert_refused(TicketEnded, self.ask(A4, ticket, key_name="other"))
            self.lock(LockKey("printer", ticket), ticket)
        for ticket in released[:2]:
            key = LockKey("printer", ticket)
            if not self.durable:
                # It may have lost something before this life.
                self.assert_refused(TicketEnded, self.ask(key, ticket, key_name="other"))
                self.clock.advance(TOLD_FOR)
            self.assertEqual(self.lock(key, ticket, key_name="other").ticket, ticket)


class SecondSelectorTests(LockTestCase):
    """One ticket at several selectors of a resource."""

    def test_joins_under_its_name(self):
        """A ticket that holds one selector takes another under the same name, with a fence of its own."""
        first = self.lock(A4)
        second = self.lock(A5, first.ticket)
        self.assertEqual(second.ticket, first.ticket)
        self.assertGreater(second.fence, first.fence)
        self.assertTrue(second.fresh)

    def test_waits_under_its_name(self):
        """It waits where someone else was first, and keeps what it has."""
        ticket = self.lock(A4).ticket
        other = self.lock(A5).ticket
        self.assert_position(ticket, 1, A5)
        self.lock(A4, ticket)
        self.unlock(other, A5)
        self.lock(A5, ticket)

    def test_locks_are_let_go_of_one_by_one(self):
        """Unlocking one selector leaves the other locked."""
        ticket = self.lock(A4).ticket
        self.lock(A5, ticket)
        self.assertTrue(self.unlock(ticket, A5))
        self.assertEqual(self.queue(A4).position, 1)
        self.written(ticket, key=A4)
        self.lock(A5)

    def test_ticket_of_another_resource(self):
        """The ticket of another resource has never been one here, and asking with it leaves nothing behind."""
        ticket = self.lock(A4).ticket
        self.assert_ended(ticket, GLASS)
        self.assertTrue(self.lock(GLASS).fresh)

    def test_lost_lock(self):
        """Where it lost its lock a ticket has ended; elsewhere it is as good as before."""
        ticket = self.lock(A4).ticket
        self.clock.advance(LEASE / 2)
        kept = self.lock(A5, ticket)
        self.clock.advance(LEASE / 2)
        for _ in range(3):
            self.assert_ended(ticket, A4)
            self.assertEqual(self.lock(A5, ticket).fence, kept.fence)
            self.clock.advance(TOLD_FOR / 3 - 1)

    def test_lost_place(self):
        """The same holds where it lost its place in the line."""
        self.lock(A4)
        ticket = self.queue(A4).ticket
        self.lock(A5, ticket)
        self.clock.advance(PLACE)
        self.assert_ended(ticket, A4)
        self.lock(A5, ticket)

    def test_lost_lock_of_one_that_came_back(self):
        """A selector stays lost to a ticket that lets go of everything and comes back."""
        ticket = self.lock(A4).ticket
        self.clock.advance(LEASE / 2)
        self.lock(A5, ticket)
        self.clock.advance(LEASE / 2)
        self.unlock(ticket, A5)
        self.assert_ended(ticket, A4)
        self.lock(A5, ticket)
        self.assert_ended(ticket, A4)

    def test_lost_everything(self):
        """A ticket that lost its last lock has ended where it lost one, and nowhere else."""
        ticket = self.lock(A4).ticket
        self.lock(A5, ticket)
        self.clock.advance(LEASE)
        for key in (A4, A5):
            self.assert_ended(ticket, key)
        self.assertEqual(self.lock(LockKey("printer", "A6"), ticket).ticket, ticket)


class WriteTests(LockTestCase):
    """Who may write."""

    def test_holder(self):
        """The holder writes, as often as it likes."""
        held = self.lock()
        for data in ('{"a": 1}', "null", ' "a" '):
            self.written(held.ticket, data)
            self.assertEqual(self.data(), data)

    def test_waiting(self):
        """A ticket that still waits is told that it does not hold the lock, and keeps its place."""
        self.lock()
        waiting = self.queue().ticket
        self.assert_refused(NotHolder, self.locks.write(A4, "id", waiting, "0"))
        self.assert_position(waiting, 1)

    def test_elsewhere(self):
        """A ticket that holds another selector does not hold this one."""
        ticket = self.lock(A5).ticket
        self.assert_refused(NotHolder, self.locks.write(A4, "id", ticket, "0"))
        self.lock(A4)
        self.assert_refused(NotHolder, self.locks.write(A4, "id", ticket, "0"))

    def test_unknown(self):
        """A ticket that never was has ended, as far as its client is concerned."""
        self.assert_refused(TicketEnded, self.locks.write(A4, "id", "f" * 32, "0"))

    def test_nothing_is_written(self):
        """Nothing of a refused write gets into the store."""
        self.test_waiting()
        self.test_unknown()
        self.assertEqual(self.disk.documents, {})


class RetryTests(LockTestCase):
    """Requests without a ticket that are known again."""

    def test_same_ticket(self):
        """The same request again finds the same lock or the same place, and nobody is ahead of itself in the line."""
        held = self.lock(idempotency_key="one")
        self.assertEqual(self.lock(idempotency_key="one"), Grant(held.ticket, held.fence, fresh=False))
        waiting = self.queue(idempotency_key="two")
        self.assertEqual(self.queue(idempotency_key="two"), waiting)
        self.assertEqual(self.queue(idempotency_key="three").position, 2)

    def test_waiting(self):
        """A client that lost its answer may wait with the same request."""
        held = self.lock()
        first = self.queue(idempotency_key="one")
        request = self.ask(idempotency_key="one", wait=50)
        self.unlock(held.ticket)
        self.assertEqual(self.told(request).ticket, first.ticket)

    def test_other_resource(self):
        """The same word at another resource is another request."""
        self.assertNotEqual(self.lock(A4, idempotency_key="one").ticket, self.lock(GLASS, idempotency_key="one").ticket)

    def test_ended(self):
        """A ticket that ended is not given again, whichever way it ended."""
        lapsed = self.lock(idempotency_key="one").ticket
        self.clock.advance(LEASE)
        released = self.lock(idempotency_key="one").ticket
        self.assertNotEqual(released, lapsed)
        self.unlock(released)
        self.assertNotEqual(self.lock(idempotency_key="one").ticket, released)

    def test_sent_again_by_name(self):
        """A released ticket that comes back by its name does not get in the way of what its old request got since."""
        released = self.lock(idempotency_key="one").ticket
        self.unlock(released)
        self.lock()
        self.queue(ticket=released)
        waiting = self.queue(idempotency_key="one")
        self.assertNotEqual(waiting.ticket, released)
        self.assertEqual(self.queue(idempotency_key="one"), waiting)

    def test_lost_here(self):
        """Nor one that lost just this lock, though it lives elsewhere."""
        ticket = self.lock(A4, idempotency_key="one").ticket
        self.clock.advance(LEASE / 2)
        self.lock(A5, ticket)
        self.clock.advance(LEASE / 2)
        again = self.lock(A4, idempotency_key="one")
        self.assertNotEqual(again.ticket, ticket)
        self.assertEqual(self.lock(A4, idempotency_key="one").ticket, again.ticket)

    def test_lost_elsewhere(self):
        """A ticket that lost another selector is still found here, whatever the same request got there instead."""
        ticket = self.lock(A4, idempotency_key="one").ticket
        self.clock.advance(LEASE / 2)
        self.lock(A5, idempotency_key="one")
        self.clock.advance(LEASE / 2)
        instead = self.lock(A4, idempotency_key="one").ticket
        self.assertEqual(self.lock(A5, idempotency_key="one").ticket, ticket)
        self.assertEqual(self.lock(A4, idempotency_key="one").ticket, instead)
        other = LockKey("printer", "A6")
        self.lock(other, instead)
        self.assertEqual(self.lock(other, idempotency_key="one").ticket, instead)


class LimitTests(LockTestCase):
    """How many may wait."""

    limits = Limits(queue=3, waiting=5)

    def test_queue(self):
        """A full line turns newcomers away; those who are in it, and other locks, are served as ever."""
        held = self.lock()
        line = [self.queue().ticket for _ in range(3)]
        self.assert_refused(Overloaded, self.ask())
        self.assert_refused(Overloaded, self.ask(wait=50))
        self.assert_refused(Overloaded, self.ask(ticket=self.lock(A5).ticket))
        self.assert_position(line[2], 3)
        self.lock(ticket=held.ticket)

    def test_room_again(self):
        """Whoever gets the lock, gives up or lapses makes room for one more."""
        held = self.lock()
        line = [self.queue().ticket for _ in range(3)]
        self.unlock(held.ticket)
        line.append(self.queue().ticket)
        self.assert_refused(Overloaded, self.ask())
        self.unlock(line[2])
        line.append(self.queue().ticket)
        self.assert_refused(Overloaded, self.ask())
        self.lock(ticket=line[0])
        self.clock.advance(PLACE)
        self.assertEqual([self.queue().position for _ in range(3)], [1, 2, 3])

    def test_all(self):
        """So many may wait in all; a free lock is given even then."""
        for key in (A4, A5):
            self.lock(key)
        for key in (A4, A5, A4, A5, A4):
            self.queue(key)
        self.assert_refused(Overloaded, self.ask(A5))
        self.lock(GLASS)
        self.assert_refused(Overloaded, self.ask(GLASS))
        self.clock.advance(PLACE)
        self.lock(GLASS)
        for key in (GLASS, A5, A5, A5, GLASS):
            self.queue(key)
        self.assert_refused(Overloaded, self.ask(A4))

    def test_turned_away(self):
        """Who is turned away leaves nothing behind: the same request later gets a place."""
        held = self.lock()
        for _ in range(3):
            self.queue()
        self.assert_refused(Overloaded, self.ask(idempotency_key="one"))
        self.unlock(held.ticket)
        self.assertEqual(self.queue(idempotency_key="one").position, 3)


class CostTests(LockTestCase):
    """What is kept, and for how long."""

    def assert_nothing_left(self) -> None:
        self.assertEqual(self.locks.places.queues.by_key, {})
        self.assertEqual(self.locks.waiting, 0)
        self.assertTrue(self.locks.places.record.empty)
        self.assertEqual([*self.locks.places.record._gone], [])
        self.assertEqual(self.locks.places.tickets._by_idempotency_key, {})
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.disk.places, {})

    def test_released(self):
        """When all have let go nothing is left but tickets that may be sent again."""
        every = [self.lock(LockKey("printer", str(number)), idempotency_key=f"{number}").ticket for number in range(50)]
        waiting = [self.ask(LockKey("printer", str(number)), wait=50) for number in range(50)]
        cancelled = [self.ask(LockKey("printer", str(number)), wait=50) for number in range(50)]
        for request in cancelled:
            request.cancel()
            self.failureResultOf(request, CancelledError)
        for number, ticket in enumerate(every):
            self.unlock(ticket, LockKey("printer", str(number)))
        for number, request in enumerate(waiting):
            self.unlock(self.successResultOf(request).ticket, LockKey("printer", str(number)))
        self.clock.pump([CLAIM, 1])
        self.assert_nothing_left()
        self.assertEqual(len(self.locks.places.tickets), 150)

    def test_lapsed(self):
        """When all have lapsed nothing is left but what they lost, and tickets that may be sent again."""
        for number in range(50):
            key = LockKey("printer", str(number % 10))
            ticket = self.successResultOf(self.ask(key, idempotency_key=f"{number}")).ticket
            self.successResultOf(self.ask(A5, ticket))
        self.clock.pump([CLAIM] * 60)
        self.assert_nothing_left()
        self.assertEqual(len(self.locks.places.tickets), 50)
        self.assertEqual(len(list(self.locks.places.losses)), 100)

    def test_refused(self):
        """Requests that are refused leave nothing behind."""
        self.assert_ended("f" * 31)
        self.assert_refused(TicketEnded, self.locks.write(A4, "id", "f" * 32, "0"))
        self.assert_nothing_left()

    def test_remembered_tickets_are_bounded(self):
        """However many tickets are let go of, not more than a set number are remembered."""
        self.patch(tickets, "REMEMBERED", 10)
        for _ in range(100):
            self.unlock(self.lock().ticket)
        self.assertEqual(len(self.locks.places.tickets), 10)
        self.assertEqual(len(self.locks.places.tickets._released), 10)

    def steps(self, request: Any) -> int:
        """Count the lines that run of the package under test; a ``Clock`` and a store in memory have costs of their own."""
        count = 0

        def trace(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal count
            count += event == "line"
            name = frame.f_globals["__name__"]
            ours = name.startswith("resourced.locks.") or name in {"resourced.deferreds", "sortedcontainers.sortedlist"}
            return trace if ours else None

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            request()
        finally:
            sys.settrace(before)
        return count

    def test_cost_of_a_request(self):
        """No request takes many more steps in a line of thousands than in a short one."""

        def measured(waiting: int) -> list[int]:
            line = [self.queue().ticket for _ in range(waiting)]
            middle = line[waiting // 2]
            self.queue(ticket=middle)
            return [
                self.steps(lambda: self.queue(ticket=middle)),
                self.steps(self.queue),
                self.steps(lambda: self.unlock(middle)),
                self.steps(lambda: self.queue(ticket=line[-1])),
            ]

        self.lock()
        short, long = measured(50), measured(2000)
        for few, many in zip(short, long, strict=True):
            self.assertLess(many, few * 2 + 100)


class VolatileQueueTests(QueueTests):
    """The same with locks that are kept in memory only."""

    durable = False


class VolatileLeaseTests(LeaseTests):
    """The same with locks that are kept in memory only."""

    durable = False


class VolatilePlaceTests(PlaceTests):
    """The same with locks that are kept in memory only."""

    durable = False


class VolatileClaimTests(ClaimTests):
    """The same with locks that are kept in memory only."""

    durable = False


class VolatileFirstDataTests(FirstDataTests):
    """The same with locks that are kept in memory only."""

    durable = False


class VolatileWaitTests(WaitTests):
    """The same with locks that are kept in memory only."""

    durable = False


class VolatileUnlockTests(UnlockTests):
    """The same with locks that are kept in memory only."""

    durable = False


class VolatileSecondSelectorTests(SecondSelectorTests):
    """The same with locks that are kept in memory only."""

    durable = False


class VolatileWriteTests(WriteTests):
    """The same with locks that are kept in memory only."""

    durable = False


class VolatileRetryTests(RetryTests):
    """The same with locks that are kept in memory only."""

    durable = False


class VolatileLimitTests(LimitTests):
    """The same with locks that are kept in memory only."""

    durable = False


class VolatileCostTests(CostTests):
    """The same with locks that are kept in memory only."""

    durable = False
