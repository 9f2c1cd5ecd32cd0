"""What becomes of locks when the daemon stood still for a while."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from resourced.errors import StoreUnavailable
from resourced.locks.journal.group_commit import GroupCommitJournal
from resourced.locks.manager import LockManager
from resourced.locks.state.pauses import LONGEST_PAUSE, PAUSE, Pauses
from resourced.locks.state.requests import LockRequest
from resourced.testing import MemoryStore
from tests.leading import open_journal
from tests.locks.cases import A4, CLAIM, GLASS, LEASE, PLACE, SCANNER, LockTestCase

pytestmark = pytest.mark.trial


class PausesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.pauses = Pauses(self.clock.seconds)

    def test_none_before_the_first_sign(self):
        """Whoever gives no sign of life is not said to have stood still."""
        self.clock.advance(1000)
        self.assertGreater(self.pauses.look(), 10**9)

    def test_signs_of_life(self):
        """While there are signs of life there is no pause, also if each is late."""
        for _ in range(100):
            self.pauses.alive()
            self.clock.advance(PAUSE)
        self.assertGreater(self.pauses.look(), 10**9)

    def test_whoever_looks_first(self):
        """A pause has ended when somebody notices it, whoever that is, and once."""
        for look in (self.pauses.look, self.pauses.alive):
            self.pauses.alive()
            self.clock.advance(PAUSE + 3)
            look()
            self.assertEqual(self.pauses.look(), 0.0)
            self.clock.advance(PAUSE / 2)
            self.pauses.alive()
            self.clock.advance(PAUSE / 2)
            self.assertEqual(self.pauses.look(), PAUSE)


class PausedTests(LockTestCase):
    """The reactor calls whoever is overdue before it reads what has arrived."""

    def run_on(self, seconds: float) -> None:
        """Let time pass as it does while everything runs."""
        while seconds > 0:
            self.life.pauses.alive()
            step = min(PAUSE / 2, seconds)
            self.clock.advance(step)
            seconds -= step
        self.life.pauses.alive()

    def pause(self, seconds: float) -> None:
        """Stand still, and then do at once whatever is overdue."""
        self.clock.advance(seconds)

    def test_renewal_after_the_pause(self):
        """A renewal that is read after a pause beyond the lease keeps the lock, and the waiting ticket its place."""
        held = self.lock()
        self.run_on(LEASE - 1)
        waiting = self.queue()
        self.pause(10 * LEASE)
        self.assertEqual(self.lock(ticket=held.ticket).fence, held.fence)
        self.assert_position(waiting.ticket, 1)
        self.run_on(PLACE - 1)
        self.assert_position(waiting.ticket, 1)
        self.run_on(LEASE - PLACE - 1)
        self.assertEqual(self.lock(ticket=held.ticket).fence, held.fence)

    def test_nothing_was_there(self):
        """If nothing comes after the pause the lock passes on when a claim window is over, and not before."""
        held = self.lock()
        waiting = self.queue()
        self.run_on(PLACE - 1)
        self.queue(ticket=waiting.ticket)
        self.pause(10 * LEASE)
        self.run_on(CLAIM - 1)
        self.assert_position(waiting.ticket, 1)
        self.run_on(2)
        self.assertGreater(self.lock(ticket=waiting.ticket).fence, held.fence)
        self.assert_ended(held.ticket)

    def test_not_longer_than_a_lease(self):
        """Where a lease is shorter than the claim window, nobody waits for longer than a lease after the pause."""
        self.lock(GLASS)
        waiting = self.queue(GLASS)
        self.pause_after(1)
        self.run_on(SCANNER - 1)
        self.assert_position(waiting.ticket, 1, GLASS)
        self.run_on(2)
        self.lock(GLASS, waiting.ticket)

    def pause_after(self, seconds: float) -> None:
        self.run_on(seconds)
        self.pause(5 * SCANNER)

    def test_due_soon_after_the_pause(self):
        """A lease that had little left has a claim window all the same: what renews it may be the last that is read."""
        held = self.lock()
        self.run_on(LEASE - 100)
        self.pause(99)
        self.life.pauses.alive()
        self.run_on(CLAIM - 1)
        self.assertEqual(self.lock(ticket=held.ticket).fence, held.fence)

    def test_again_and_again(self):
        """However often it stands still, and however long it runs in between, what nobody uses ends soon after its time."""
        for runs in (CLAIM - 5, 2.0, 0.1):
            held = self.lock()
            waiting = self.ask(wait=10 * LEASE)
            until = self.clock.seconds() + LEASE + 3 * CLAIM
            while not waiting.called and self.clock.seconds() < until:
                self.run_on(runs)
                self.pause(PAUSE + 1)
            ticket = self.told(waiting).ticket
            self.assert_ended(held.ticket)
            self.unlock(ticket)

    def test_renewal_after_each_pause(self):
        """Whatever is renewed after a pause is spared again in the next one, however many there are."""
        held = self.lock()
        waiting = self.queue()
        self.run_on(2)
        for _ in range(10):
            self.pause(LEASE + 1)
            self.assertEqual(self.lock(ticket=held.ticket).fence, held.fence)
            self.queue(ticket=waiting.ticket)
            self.run_on(2)

    def test_busy_is_no_pause(self):
        """Without a pause a lease ends when it ends."""
        held = self.lock()
        self.run_on(LEASE - 1)
        self.run_on(1)
        self.assert_ended(held.ticket)


class DoubtTests(SynchronousTestCase):
    """After a pause it has to be proven first that nobody else leads."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.pauses = Pauses(self.clock.seconds)
        self.pauses.alive()
        self.sure = True

        class Doubtful(GroupCommitJournal):
            def check(inner) -> None:  # noqa: N805 - there are two of them
                if not self.sure:
                    raise StoreUnavailable("It has to be proven first.")
                super().check()

        store = MemoryStore()
        self.journal = Doubtful(self.clock, store, leadership_lost=self.fail)
        self.locks = LockManager(self.clock, self.journal, new_ticket=iter("abcdefgh").__next__, pauses=self.pauses)
        self.successResultOf(Deferred.fromCoroutine(open_journal(self.journal, store)))

    def ask(self) -> Deferred[object]:
        return Deferred.fromCoroutine(self.locks.grants.wait(LockRequest(A4, lease=0)))

    def test_waits_for_the_proof(self):
        """A request waits for it, and is then answered."""
        self.clock.advance(PAUSE + 1)
        self.sure = False
        request = self.ask()
        self.clock.advance(0.5)
        self.assertNoResult(request)
        self.sure = True
        self.clock.advance(0.5)
        self.successResultOf(request)

    def test_waits_only_so_long(self):
        """Without it the request is refused, after a moment; those who come later are so at once, as without a pause."""
        self.clock.advance(PAUSE + 1)
        self.sure = False
        request = self.ask()
        for _ in range(int(LONGEST_PAUSE * 100) + 1):
            self.pauses.alive()
            self.clock.advance(0.01)
        self.failureResultOf(request, StoreUnavailable)
        self.failureResultOf(self.ask(), StoreUnavailable)
