"""What a ticket lost, who is told so, and when it may begin again; and tickets that nobody knows."""

from __future__ import annotations

import random
from collections import Counter
from unittest.mock import patch

import pytest
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from resourced import quotas
from resourced.errors import NotHolder, QuotaExceeded, StoreUnavailable, TicketEnded
from resourced.locks.journal.group_commit import PAUSE
from resourced.locks.state import losses
from resourced.locks.state.losses import TOLD_FOR, Losses
from resourced.model import LockKey, Loss
from resourced.service.restoration import RESTORATION
from resourced.service.retention import Retention
from tests.faulty import Outcome
from tests.locks.cases import A4, A5, CLAIM, GLASS, LEASE, PLACE, LockTestCase

pytestmark = pytest.mark.trial

NOBODYS = "0123456789abcdef" * 2


class LossesTests(SynchronousTestCase):
    """What is remembered, and for how long."""

    def setUp(self) -> None:
        self.now = 100.0
        self.losses = Losses(lambda: self.now)

    def lose(self, event: int, key: LockKey = A4, ticket: str = "t", key_name: str = "p") -> Loss:
        loss = Loss(event, key, ticket, key_name)
        self.losses.add(loss)
        return loss

    def test_over(self):
        """A loss is over some time after its client was first told, however often it is told."""
        loss = self.lose(1)
        self.now += 1000
        self.assertFalse(self.losses.is_over(loss))
        for _ in range(3):
            self.losses.told(A4, "t", "p")
            self.assertFalse(self.losses.is_over(loss))
            self.now += TOLD_FOR / 3
        self.assertTrue(self.losses.is_over(loss))

    def test_told_to_somebody_else(self):
        """To tell somebody else is not to tell its client."""
        loss = self.lose(1)
        self.losses.told(A4, "t", "other")
        self.losses.told(A5, "t", "p")
        self.now += TOLD_FOR
        self.assertFalse(self.losses.is_over(loss))

    def test_lost_again(self):
        """The last loss at a lock is the one that counts, and it has not been told."""
        first = self.lose(1)
        self.losses.told(A4, "t", "p")
        self.now += TOLD_FOR
        second = Loss(2, A4, "t", "p")
        self.assertEqual(self.losses.add(second), [first])
        self.assertEqual(list(self.losses), [second])
        self.assertFalse(self.losses.is_over(second))

    def test_bounded(self):
        """However many there are, not more than a set number are remembered; the oldest is forgotten first."""
        self.patch(losses, "REMEMBERED", 3)
        every = [Loss(number, A4, f"t{number}", "p") for number in range(5)]
        forgotten = [self.losses.add(loss) for loss in every]
        self.assertEqual(forgotten, [[], [], [], [every[0]], [every[1]]])
        self.assertEqual(list(self.losses), every[2:])
        self.assertEqual(len(self.losses._of_ticket), 3)

    def test_bounded_by_name(self):
        """A key that loses much makes no other key forget what it lost, as long as that has lost less."""
        self.patch(losses, "REMEMBERED", 6)
        mine = [self.lose(number, ticket=f"mine{number}") for number in range(2)]
        theirs = [self.lose(number, ticket=f"theirs{number}", key_name="other") for number in range(2, 20)]
        self.assertEqual(list(self.losses), [*mine, *theirs[-4:]])
        more = [self.lose(number, ticket=f"mine{number}") for number in range(20, 30)]
        self.assertEqual(list(self.losses), [*theirs[-3:], *more[-3:]])

    def test_name_with_the_most(self):
        """However losses come and go, one is forgotten of the key that has the most of them, and its oldest."""
        self.patch(losses, "REMEMBERED", 12)
        draw = random.Random(13)
        kept: list[Loss] = []
        for number in range(3000):
            name = draw.choice("aaaaabbbc")
            if draw.random() < 0.3 and kept:
                kept.remove(self.losses.remove(draw.choice(kept)))
                continue
            loss = Loss(number, A4, f"t{number}", name)
            forgotten = self.losses.add(loss)
            kept.append(loss)
            counts = Counter(loss.key_name for loss in kept)
            self.assertEqual(len(forgotten), len(kept) > 12)
            for gone in forgotten:
                self.assertEqual(counts[gone.key_name], max(counts.values()))
                self.assertEqual(gone, next(loss for loss in kept if loss.key_name == gone.key_name))
                kept.remove(gone)
            self.assertEqual(list(self.losses), kept)

    def test_strange(self):
        """A ticket that is known only by what it lost belongs to whom it was given to, and to its resource."""
        self.lose(1)
        self.assertFalse(self.losses.strange("printer", "t", "p"))
        self.assertTrue(self.losses.strange("printer", "t", "other"))
        self.assertTrue(self.losses.strange("scanner", "t", "p"))
        self.assertFalse(self.losses.strange("scanner", "u", "other"))

    def test_restored(self):
        """What the store knows replaces what was believed of some locks; what was told stays told."""
        kept, undone = self.lose(1), self.lose(2, A5)
        for key in (A4, A5):
            self.losses.told(key, "t", "p")
        self.now += TOLD_FOR
        self.losses.restore([kept, Loss(3, GLASS, "u", "p")], {A4, A5})
        self.assertEqual(list(self.losses), [kept])
        self.assertTrue(self.losses.is_over(kept))
        again = undone._replace(event=9)
        self.losses.restore([kept, again], None)
        self.assertEqual(list(self.losses), [kept, again])
        self.assertFalse(self.losses.is_over(again))


class EndTests(LockTestCase):
    """A client that lost something, in one life of the daemon."""

    def assert_begins_again(self, ticket: str, key: LockKey = A4) -> None:
        """The ticket's client is told that it has ended, for a while; then the ticket may be used like a new one."""
        self.assert_ended(ticket, key)
        self.clock.advance(TOLD_FOR - 0.5)
        self.assert_refused(TicketEnded, self.ask(key, ticket))
        self.clock.advance(0.5)
        self.assertEqual(self.lock(key, ticket).ticket, ticket)

    def test_lapsed(self):
        """After a lapse, however long ago."""
        held = self.lock()
        self.clock.advance(LEASE + 100_000)
        self.assert_begins_again(held.ticket)
        self.assertGreater(self.lock(ticket=held.ticket).fence, held.fence)

    def test_broken(self):
        """After a break."""
        held = self.lock()
        self.successResultOf(self.locks.break_lock(A4, held.fence))
        self.assert_begins_again(held.ticket)

    def test_place(self):
        """After the loss of a place in the queue: it comes last."""
        holder = self.lock()
        lost = self.queue().ticket
        self.clock.advance(PLACE)
        self.assert_ended(lost)
        self.clock.advance(TOLD_FOR - 1)
        waiter = self.queue().ticket
        self.clock.advance(1)
        self.lock(ticket=holder.ticket)
        self.assert_position(lost, 2)
        self.assert_position(waiter, 1)

    def test_unclaimed(self):
        """After a lock that fell to it, and that it did not come for."""
        holder, absent = self.lock(), self.queue()
        self.unlock(holder.ticket)
        self.clock.advance(CLAIM)
        self.assert_begins_again(absent.ticket)

    def test_told_while_it_waited(self):
        """To be told of it in the answer to a request that waited counts too."""
        held = self.lock()
        waiting = self.queue().ticket
        asked = self.ask(ticket=waiting, wait=50)
        self.unlock(held.ticket)
        fallen = self.successResultOf(asked)
        self.clock.advance(CLAIM)
        with self.assertRaises(TicketEnded):
            self.locks.grants.confirm(A4, fallen)
        self.clock.advance(TOLD_FOR)
        self.lock(ticket=waiting)

    def test_told_by_a_write(self):
        """So does the answer to a write, but only to a client that is still there for it. A write never takes the lock."""
        held = self.lock()
        self.clock.advance(LEASE)
        self.assert_refused(TicketEnded, self.locks.write(A4, "id", held.ticket, "0"))
        self.clock.advance(TOLD_FOR)
        self.assert_refused(TicketEnded, self.locks.write(A4, "id", held.ticket, "0"))
        self.assertEqual(self.disk.documents, {})
        self.assertEqual(self.locks.held, 0)
        self.lock(ticket=held.ticket)

    def test_unlocking_tells_nothing(self):
        """An unlock is answered without a word of what was lost, so it does not count."""
        held = self.lock()
        self.clock.advance(LEASE)
        self.assertFalse(self.unlock(held.ticket))
        self.clock.advance(TOLD_FOR)
        self.assert_begins_again(held.ticket)

    def test_of_somebody_else(self):
        """A ticket works for nobody else: not while it lives, not when it let go, and not when it lost everything."""
        held = self.lock(key_name="Ada")
        self.assert_refused(TicketEnded, self.ask(ticket=held.ticket, key_name="Eve"))
        self.clock.advance(LEASE)
        for key in (A4, A5):
            for _ in range(2):
                self.assert_refused(TicketEnded, self.ask(key, held.ticket, key_name="Eve"))
                self.clock.advance(TOLD_FOR)
        # And it was not told, for all that Eve has asked.
        self.assert_refused(TicketEnded, self.ask(ticket=held.ticket, key_name="Ada"))
        self.clock.advance(TOLD_FOR)
        self.lock(ticket=held.ticket, key_name="Ada")

    def test_malformed(self):
        """What does not look like a ticket is none, and never will be."""
        for name in ("f" * 31, "f" * 33, "F" * 32, "g" * 32, "x", f"{NOBODYS}\n", "\uff11" * 32, " " * 32, "f" * 5000):
            for _ in range(2):
                self.assert_ended(name)
                self.clock.advance(TOLD_FOR)
        self.assertEqual(list(self.locks.places.losses), [])
        self.assertEqual(len(self.locks.places.tickets), 0)

    def test_nobody_knows(self):
        """A ticket that nobody knows may be used under its own name. In memory alone, it may have lost something in an earlier life."""
        self.lock(A5)
        if not self.durable:
            for key in (A4, A5):
                self.assert_ended(NOBODYS, key)
            self.clock.advance(TOLD_FOR)
        self.assertEqual(self.lock(A4, NOBODYS).ticket, NOBODYS)
        self.assert_position(NOBODYS, 1, A5)
        self.written(NOBODYS, "[1]")
        self.assertTrue(self.unlock(NOBODYS))
        self.assert_refused(TicketEnded, self.ask(GLASS, NOBODYS))

    def test_nobody_knows_where_all_waits(self):
        """It has no more rights than a newcomer: it comes last, and it is counted."""
        self.assert_refused(TicketEnded, self.locks.write(A4, "id", NOBODYS, "0"))
        self.assertFalse(self.unlock(NOBODYS))
        self.lock()
        waiter = self.queue()
        if not self.durable:
            self.assert_ended(NOBODYS)
            self.clock.advance(TOLD_FOR - 30)
            self.queue(ticket=waiter.ticket)
            self.clock.advance(30)
        self.assert_position(NOBODYS, 2)
        self.assert_refused(NotHolder, self.locks.write(A4, "id", NOBODYS, "0"))


class VolatileEndTests(EndTests):
    """The same with locks that are kept in memory only."""

    durable = False


class RestartTests(LockTestCase):
    """A client that lost something, and a daemon that is killed."""

    def restart(self, *, durable: bool = True, outcome: Outcome = Outcome.FAILED) -> None:
        before = self.life
        before.crash(outcome)
        self.life = self.start(durable=durable, seconds=self.clock.seconds())
        before.bury()

    def test_lost(self):
        """What was lost before the restart is lost after it: a lapse, a break, a place, also beside a lock that was kept."""
        lapsed, kept = self.lock().ticket, self.lock(GLASS).ticket
        broken = self.lock(A5)
        self.queue(GLASS), self.queue(A4, broken.ticket)
        place = self.queue(A5).ticket
        self.successResultOf(self.locks.break_lock(A5, broken.fence))
        for _ in range(40):
            self.clock.advance(9)
            self.lock(GLASS, kept)
        self.restart()
        for ticket, key in ((lapsed, A4), (broken.ticket, A5), (broken.ticket, A4), (place, A5)):
            self.assert_ended(ticket, key)
        self.lock(GLASS, kept)
        self.clock.advance(TOLD_FOR)
        self.lock(A4, lapsed)
        self.lock(A5, broken.ticket)

    def test_told_before(self):
        """Who was told before the restart is told once more, and then may begin again."""
        held = self.lock()
        self.clock.advance(LEASE)
        self.assert_ended(held.ticket)
        self.restart()
        self.clock.advance(TOLD_FOR)
        self.assert_ended(held.ticket)
        self.clock.advance(TOLD_FOR)
        self.lock(ticket=held.ticket)

    def test_begun_again(self):
        """Who has begun again before the restart goes on after it."""
        held = self.lock()
        self.clock.advance(LEASE)
        self.assert_ended(held.ticket)
        self.clock.advance(TOLD_FOR)
        again = self.lock(ticket=held.ticket)
        self.assertEqual(self.disk.losses, {})
        self.restart()
        self.assertEqual(self.lock(ticket=held.ticket).fence, again.fence)
        self.unlock(held.ticket)
        self.restart()
        self.lock(ticket=held.ticket)

    def test_refused_a_place(self):
        """Who was told, and then is refused a place, has lost the one before still: in memory as in the store."""
        held = self.lock()
        self.clock.advance(LEASE)
        self.assert_ended(held.ticket)
        self.clock.advance(TOLD_FOR)
        with patch.object(quotas, "PLACES", 0):
            self.assert_refused(QuotaExceeded, self.ask(ticket=held.ticket))
        self.assertEqual(list(self.locks.places.losses), list(self.disk.losses.values()))
        self.lock(ticket=held.ticket)
        self.assertEqual(self.disk.losses, {})

    def test_of_somebody_else(self):
        """What a ticket lost keeps others from using it after a restart too."""
        held = self.lock(key_name="Ada")
        self.clock.advance(LEASE)
        self.lock(key_name="Bob")
        self.restart()
        for key in (A4, A5, GLASS):
            self.assert_refused(TicketEnded, self.ask(key, held.ticket, key_name="Eve"))

    def test_end_that_was_not_kept(self):
        """A lapse that the store did not keep was none; one that it kept without an answer is one."""
        for outcome, lost in ((Outcome.FAILED, False), (Outcome.UNANSWERED, True)):
            held = self.lock()
            self.life.store.outcome = outcome
            self.clock.advance(LEASE)
            self.life.store.heal()
            self.clock.advance(1)
            if lost:
                self.assert_ended(held.ticket)
            else:
                self.assertEqual(self.lock(ticket=held.ticket).fence, held.fence)
                self.unlock(held.ticket)
                self.assertEqual(self.disk.losses, {})
                self.lock(ticket=held.ticket)
                self.unlock(held.ticket)

    def test_locks_in_memory(self):
        """
        Where locks are in memory only, nobody can say after a restart what a ticket lost: its client is told first.

        So it does not take a lock that it gets for the one that it had.
        """
        self.restart(durable=False)
        held = self.lock()
        self.restart(durable=False)
        other = self.lock()
        self.assert_ended(held.ticket)
        self.unlock(other.ticket)
        self.clock.advance(TOLD_FOR)
        self.lock(ticket=held.ticket)

    def test_restored_from_a_backup(self):
        """After that nobody can say what a ticket lost that came after the backup, so its client is told first."""
        kept = self.lock().ticket
        self.restart()
        ended = self.successResultOf(Deferred.fromCoroutine(self.locks.end_all(RESTORATION)))
        self.assertEqual(ended, 1)
        for ticket in (kept, NOBODYS):
            self.assert_ended(ticket)
        self.clock.advance(TOLD_FOR)
        self.assertEqual([self.ask(ticket=ticket).called for ticket in (NOBODYS, kept)], [True, True])
        self.assert_position(kept, 1)
        self.assertEqual(self.disk.losses, {})

    def test_too_many_events(self):
        """However many events come after it, what was lost is told after a restart and after a failure of the store."""
        held = self.lock()
        self.successResultOf(self.locks.break_lock(A4, held.fence))
        retention = Retention(self.clock, self.life.store, 1000, 1, 1 << 30)
        self.lock(A5)
        while self.successResultOf(Deferred.fromCoroutine(retention.forget_beyond())):
            pass
        self.assertEqual(len(self.disk.events_kept), 1)
        self.life.store.outcome = Outcome.FAILED
        self.assert_refused(StoreUnavailable, self.ask())
        self.life.store.heal()
        self.clock.advance(PAUSE)
        self.assert_ended(held.ticket)
        self.restart()
        self.assert_ended(held.ticket)

    def test_forgotten_when_it_is_old(self):
        """The store forgets what was lost as long ago as events are kept."""
        early, late = self.lock(), self.lock(A5)
        self.lock(A5, late.ticket)
        self.successResultOf(self.locks.break_lock(A4, early.fence))
        last = max(self.disk.events_kept)
        self.successResultOf(self.locks.break_lock(A5, late.fence))
        self.successResultOf(Deferred.fromCoroutine(self.disk.forget_losses(last)))
        self.restart()
        self.assert_ended(late.ticket, A5)
        self.lock(A4, early.ticket)

    def test_bounded(self):
        """The store has no more than are remembered in memory."""
        self.patch(losses, "REMEMBERED", 5)
        for _ in range(20):
            held = self.lock()
            self.successResultOf(self.locks.break_lock(A4, held.fence))
        self.assertEqual(len(self.disk.losses), 5)
        self.restart()
        self.assert_ended(held.ticket)
