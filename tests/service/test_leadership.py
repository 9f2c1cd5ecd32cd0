"""For how long a leader may act as such, and when another daemon may take over from it."""

from __future__ import annotations

import random
from typing import cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from resourced.errors import ConfigurationError, StoreUnavailable
from resourced.locks.journal.group_commit import GroupCommitJournal
from resourced.locks.manager import LockManager
from resourced.model import Term
from resourced.service.leadership import STILL, Election, TakeOver, Verdict
from resourced.storage.leader_lease import LEADER_LEASE, MARGIN, LeaderLease
from resourced.storage.sql.executor import Database
from resourced.testing import MemoryStore

pytestmark = pytest.mark.trial

FREE, TAKEN, UNKNOWN = Verdict.FREE, Verdict.TAKEN, Verdict.UNKNOWN


def term(beat: int = 1, epoch: int = 1, *, mine: bool = False, ended: bool = False) -> Term:
    return Term(epoch, beat, mine, ended, "")


class LeaderLeaseTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.lease = LeaderLease(self.clock.seconds, 5)

    def test_nobody_begins_with_it(self) -> None:
        """Without a commit there is none."""
        self.assertFalse(self.lease.held())

    def test_it_counts_from_when_a_commit_was_sent(self) -> None:
        """A commit that took four seconds leaves one."""
        sent = self.lease.now()
        self.clock.advance(4)
        self.lease.renew(sent)
        self.assertTrue(self.lease.held())
        self.clock.advance(1)
        self.assertTrue(self.lease.held())
        self.clock.advance(0.01)
        self.assertFalse(self.lease.held())

    def test_late_answers(self) -> None:
        """A commit whose answer comes after that of a later one does not shorten it; one whose answer comes too late renews nothing."""
        self.clock.advance(3)
        self.lease.renew(3)
        self.lease.renew(1)
        self.assertEqual(self.lease.age, 0)
        self.clock.advance(6)
        self.lease.renew(3.5)
        self.assertFalse(self.lease.held())

    def test_without_end(self) -> None:
        """Where nobody else can be, it has no end, not even before the first commit."""
        self.assertTrue(LeaderLease(self.clock.seconds).held())


class TakeOverTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.take_over = TakeOver()

    def test_margin(self) -> None:
        """Nobody takes over before the lease of the last commit is over, and a while more."""
        self.assertGreater(MARGIN, 0)
        self.assertEqual(STILL, LEADER_LEASE + MARGIN)

    def test_free_at_once(self) -> None:
        """There never was a leader, or it has stepped down, or this daemon has got its place and the answer was lost."""
        self.assertEqual(self.take_over.judge(term(0, 0, ended=True), 0), FREE)
        self.assertEqual(self.take_over.judge(term(mine=True), 0), FREE)

    def test_a_row_that_stands_still(self) -> None:
        """The place is free when the row has stood still for long enough, not counting the very moment."""
        self.assertEqual(self.take_over.judge(term(), 10), UNKNOWN)
        self.assertEqual(self.take_over.judge(term(), 10 + STILL), UNKNOWN)
        self.assertEqual(self.take_over.judge(term(), 10 + STILL + 0.1), FREE)

    def test_a_row_that_moves(self) -> None:
        """A leader whose row moves is there, and the time counts anew from each move; also if another one has taken its place."""
        self.assertEqual(self.take_over.judge(term(1), 0), UNKNOWN)
        self.assertEqual(self.take_over.judge(term(2), 6.9), TAKEN)
        self.assertEqual(self.take_over.judge(term(2, epoch=2), 13), TAKEN)
        self.assertEqual(self.take_over.judge(term(2, epoch=2), 13 + STILL), TAKEN)
        self.assertEqual(self.take_over.judge(term(2, epoch=2), 13.1 + STILL), FREE)

    def test_refused(self) -> None:
        """Who was refused, because the row had moved after all, waits for the whole time again; also if it reads what is old."""
        self.take_over.judge(term(), 0)
        self.assertEqual(self.take_over.judge(term(), 8), FREE)
        self.assertEqual(self.take_over.refused(term()), TAKEN)
        self.assertEqual(self.take_over.judge(term(), 9), TAKEN)
        self.assertEqual(self.take_over.judge(term(), 9 + STILL), TAKEN)
        self.assertEqual(self.take_over.judge(term(), 9.1 + STILL), FREE)

    def test_nodes_that_come_at_once(self) -> None:
        """A node that is refused though nobody serves the store by itself has met another one, and tries again; a daemon that is alone has lost."""
        gone = term()._replace(ended=True)
        self.assertEqual(self.take_over.refused(gone), TAKEN)
        self.assertEqual(TakeOver(shared=True).refused(gone), UNKNOWN)
        self.assertEqual(TakeOver(shared=True).refused(term()), TAKEN)

    def test_a_taker_that_slept(self) -> None:
        """Who looked, slept, and looks again judges by all of the time; its commit is refused if anything happened meanwhile."""
        self.take_over.judge(term(), 0)
        self.assertEqual(self.take_over.judge(term(), 1000), FREE)


class Place:
    """A guard at some server, where it is free, or held here or by somebody else."""

    lag = 0.0

    def __init__(self, server: str) -> None:
        self.server = server
        self.held = self.elsewhere = False

    async def locate(self) -> str:
        return self.server

    async def hold(self) -> bool:
        self.held = not self.elsewhere
        return self.held

    async def drop(self) -> None:
        self.held = False

    async def release(self) -> None:
        self.held = False


class Prepared:
    """A database in which there is nothing to prepare, unless it is of a later version."""

    later = False

    def begin_term(self) -> bool:
        return False

    async def prepare(self) -> None:
        await self.is_prepared()

    async def is_prepared(self) -> bool:
        if self.later:
            raise ConfigurationError("A newer server has used it.")
        return True

    async def may_be_led(self) -> bool:
        return False


class ElectionTests(SynchronousTestCase):
    """A daemon at one server, while another one leads at the same or at another one."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.disk = MemoryStore()

    def stand(self, server: str, leader: str, *, elsewhere: bool) -> tuple[Election, Place, GroupCommitJournal]:
        """Have a leader whose guard is at some server, or nowhere, and a daemon that wants to be one."""
        term = self.successResultOf(Deferred.fromCoroutine(self.disk.look()))
        self.successResultOf(Deferred.fromCoroutine(self.disk.begin_term(term, leader)))
        guard = Place(server)
        guard.elsewhere = elsewhere
        store = self.disk.another()
        journal = GroupCommitJournal(self.clock, store, leadership_lost=self.fail)
        LockManager(self.clock, journal, new_ticket=str)
        self.database = Prepared()
        database = cast("Database", self.database)
        return Election(self.clock.seconds, guard, store, journal, database, TakeOver()), guard, journal

    def attempt(self, election: Election) -> Verdict:
        return self.successResultOf(Deferred.fromCoroutine(election.attempt()))

    def guard(self) -> str:
        return self.successResultOf(Deferred.fromCoroutine(self.disk.look())).guard

    def test_the_same_server(self) -> None:
        """Where the leader's guard was, and nobody has it, the leader has gone: it is replaced at once."""
        election, _, _ = self.stand("one", "one", elsewhere=False)
        self.assertEqual(self.attempt(election), FREE)
        self.assertEqual(self.guard(), "one")

    def test_the_same_server_has_it(self) -> None:
        """While somebody has it there, that is known at once; and a leader that stands still all the same, as a frozen one, is replaced."""
        election, _, _ = self.stand("one", "one", elsewhere=True)
        self.assertEqual(self.attempt(election), TAKEN)
        self.clock.advance(STILL + 0.1)
        self.assertEqual(self.attempt(election), FREE)
        # Its guard is not this daemon's, and nobody may conclude anything from that.
        self.assertEqual(self.guard(), "")

    def test_another_server(self) -> None:
        """That nobody has a guard here says nothing of a leader whose guard is elsewhere, or nowhere; it is not kept from others meanwhile."""
        for server, leader in (("two", "one"), ("two", ""), ("", "")):
            election, guard, _ = self.stand(server, leader, elsewhere=False)
            self.assertEqual(self.attempt(election), UNKNOWN)
            self.assertFalse(guard.held)
            self.successResultOf(Deferred.fromCoroutine(self.disk.beat(leader)))
            self.assertEqual(self.attempt(election), TAKEN)

    def test_a_later_version_has_led(self) -> None:
        """A daemon that has stood by does not take over a schema that is beyond it, whether or not somebody has the guard."""
        for elsewhere in (True, False):
            election, guard, _ = self.stand("one", "one", elsewhere=True)
            self.assertEqual(self.attempt(election), TAKEN)
            guard.elsewhere = elsewhere
            other = self.disk.another()
            term = self.successResultOf(Deferred.fromCoroutine(other.look()))
            self.successResultOf(Deferred.fromCoroutine(other.begin_term(term, "one")))
            self.database.later = True
            self.failureResultOf(Deferred.fromCoroutine(election.attempt()), ConfigurationError)

    def test_a_leader_that_moves_at_the_last_moment(self) -> None:
        """A commit between the look and the take-over is in time."""
        election, guard, journal = self.stand("one", "one", elsewhere=False)
        hold = guard.hold

        async def held_after_a_beat() -> bool:
            await self.disk.beat("one")
            return await hold()

        election._prepared = True
        guard.hold = held_after_a_beat  # type: ignore[method-assign]
        self.assertEqual(self.attempt(election), TAKEN)
        self.assertFalse(guard.held)
        self.assertRaises(StoreUnavailable, journal.check)


class Daemon:
    """A daemon with nothing but its lease: it commits heartbeats, or tries to become the leader."""

    def __init__(self, disk: MemoryStore, still: float) -> None:
        self.clock = Clock()
        self.store = disk.another()
        self.lease = LeaderLease(self.clock.seconds, LEADER_LEASE)
        self.take_over = TakeOver(still)
        self.leads = False
        # What its server had when it last heard of the others.
        self.view: Term | None = None
        # A heartbeat that was sent and not carried out yet.
        self.sent: float | None = None


class TwoLeadersTests(SynchronousTestCase):
    """
    Many walks at random: daemons are frozen, read what is old, and have commits carried out late, or answered never.

    At no time do two of them believe that they are the leader.
    """

    def walk(self, seed: int, *, still: float = STILL, compare: bool = True) -> int:
        """Walk; return how often two daemons were leaders at the same time."""
        chance = random.Random(seed)
        disk = MemoryStore()
        daemons = [Daemon(disk, still) for _ in range(3)]
        wrong = 0
        for _ in range(1500):
            for daemon in daemons:
                # Their clocks do not go alike.
                daemon.clock.advance(0.25 * chance.uniform(0.95, 1.05))
            for daemon in chance.sample(daemons, chance.randrange(4)):
                self.step(daemon, chance, compare=compare)
            wrong += sum(daemon.leads and daemon.lease.held() for daemon in daemons) > 1
        return wrong

    def step(self, daemon: Daemon, chance: random.Random, *, compare: bool) -> None:
        now = daemon.clock.seconds()
        seen = self.successResultOf(Deferred.fromCoroutine(daemon.store.look()))
        # A server that has fallen behind goes on telling the same.
        daemon.view = seen if daemon.view is None or chance.random() < 0.6 else daemon.view
        if not daemon.leads:
            view = seen if seen.mine else daemon.view
            if daemon.take_over.judge(view, now) is FREE:
                self.take(daemon, view if compare else seen, chance)
        elif daemon.sent is None:
            daemon.sent = now
        elif chance.random() < 0.7:
            sent, daemon.sent = daemon.sent, None
            beat = Deferred.fromCoroutine(daemon.store.beat(""))
            if beat.called and (beat.result is None) and chance.random() < 0.8:
                daemon.lease.renew(sent)
            beat.addErrback(self.depose, daemon)

    def take(self, daemon: Daemon, over: Term, chance: random.Random) -> None:
        sent = daemon.lease.now()
        taken = Deferred.fromCoroutine(daemon.store.begin_term(over))
        answered = chance.random() < 0.8

        def done(_: object) -> None:
            if answered:
                daemon.leads = True
                daemon.lease.renew(sent)

        def refused(failure: object) -> None:
            daemon.take_over.refused(over)

        taken.addCallbacks(done, refused)

    def depose(self, failure: object, daemon: Daemon) -> None:
        daemon.leads = False
        daemon.take_over = TakeOver(STILL)

    def test_never_two(self) -> None:
        """Not in one of these walks, in which the place changes hands again and again."""
        self.assertEqual([self.walk(seed) for seed in range(20)], [0] * 20)

    def test_hasty(self) -> None:
        """Who does not wait for the end of the lease makes a second leader."""
        self.assertGreater(sum(self.walk(seed, still=LEADER_LEASE / 2) for seed in range(20)), 0)

    def test_without_comparison(self) -> None:
        """Who does not compare what it takes over with what it has seen makes a second leader."""
        self.assertGreater(sum(self.walk(seed, compare=False) for seed in range(20)), 0)
