"""What tests of locks start from: a manager as a daemon has it, on a disk that outlives it."""

from __future__ import annotations

from collections.abc import Coroutine
from math import inf
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from resourced.errors import ResourcedError, StoreUnavailable, TicketEnded
from resourced.locks.journal.group_commit import PAUSE
from resourced.locks.manager import LockManager
from resourced.locks.state.limits import Limits, Times
from resourced.locks.state.requests import Grant, LockRequest, Queued, Written
from resourced.model import LockKey, Standing
from resourced.testing import MemoryStore
from tests.faulty import FaultyStore, Life, Outcome
from tests.leading import lead

A4 = LockKey("printer", "A4")
A5 = LockKey("printer", "A5")
GLASS = LockKey("scanner", "glass")

#: The scanner's own lease; the printer has the server's.
SCANNER = 10

LEASE, PLACE, CLAIM = 300.0, 60.0, 30.0


class LockTestCase(SynchronousTestCase):
    """
    A daemon's locks on a store that answers at once, if a test does not want it otherwise.

    :cvar durable: whether locks are kept in the store.
    :cvar belief: how long the daemon believes that it is the leader.
    """

    durable: ClassVar[bool] = True
    belief: ClassVar[float] = inf
    limits: ClassVar[Limits] = Limits()

    def setUp(self) -> None:
        self.disk = MemoryStore()
        self.successResultOf(Deferred.fromCoroutine(lead(self.disk)))
        for name, timeout in ((A4.resource, 0), (GLASS.resource, SCANNER)):
            self.successResultOf(Deferred.fromCoroutine(self.disk.create_resource(name, timeout)))
        self.life = self.start()

    def start(self, *, durable: bool | None = None, **more: Any) -> Life:
        """Start a daemon on what is there."""
        durable = self.durable if durable is None else durable
        times = Times(LEASE, PLACE, CLAIM)
        life = Life(self.disk, durable=durable, times=times, limits=self.limits, belief=self.belief, **more)
        self.addCleanup(life.bury)
        self.successResultOf(life.open())
        return life

    @property
    def clock(self) -> Clock:
        return self.life.clock

    @property
    def locks(self) -> LockManager:
        return self.life.locks

    def ask(self, key: LockKey = A4, ticket: str = "", **more: Any) -> Deferred[Any]:
        """Send a request for a lock; what comes back is not there yet, perhaps."""
        lease = SCANNER if key.resource == GLASS.resource else 0
        return self.life.heard(
            Deferred.fromCoroutine(self.locks.grants.wait(LockRequest(key, lease=lease, ticket=ticket, **more)))
        )

    def told(self, request: Deferred[Any], key: LockKey = A4) -> Grant:
        """Have the client told that it has the lock."""
        held = self.successResultOf(request)
        assert isinstance(held, Grant), held
        self.locks.grants.confirm(key, held)
        return held

    def lock(self, key: LockKey = A4, ticket: str = "", **more: Any) -> Grant:
        """Ask for a lock that is to be had, and be told of it."""
        return self.told(self.ask(key, ticket, **more), key)

    def queue(self, key: LockKey = A4, ticket: str = "", **more: Any) -> Queued:
        """Ask for a lock that someone else has."""
        queued = self.successResultOf(self.ask(key, ticket, **more))
        assert isinstance(queued, Queued), queued
        return queued

    def release(self, ticket: str, key: LockKey = A4, **more: Any) -> Deferred[bool]:
        """Send a request to let go of a lock."""
        return self.life.heard(Deferred.fromCoroutine(self.locks.unlock(key, ticket, **more)))

    def unlock(self, ticket: str, key: LockKey = A4) -> bool:
        return self.successResultOf(self.release(ticket, key))

    def write(self, ticket: str, data: str = "1", key: LockKey = A4, *, unlock: bool = False) -> Deferred[Written]:
        """Send data to be kept under a lock."""
        return self.life.heard(self.locks.write(key, "id", ticket, data, unlock=unlock))

    def written(self, ticket: str, data: str = "1", key: LockKey = A4, *, unlock: bool = False) -> None:
        self.successResultOf(self.write(ticket, data, key, unlock=unlock))

    def data(self, key: LockKey = A4) -> str | None:
        document = self.disk.documents.get(key)
        return None if document is None else document.data

    def assert_refused(
        self, error: type[ResourcedError], request: Deferred[Any] | Coroutine[Deferred[Any], Any, Any]
    ) -> None:
        self.failureResultOf(request, error)

    def assert_ended(self, ticket: str, key: LockKey = A4) -> None:
        """Whatever is asked with this ticket, the answer is that it has ended; letting go of it is no mistake."""
        self.assert_refused(TicketEnded, self.ask(key, ticket))
        self.assert_refused(TicketEnded, self.ask(key, ticket, wait=10))
        self.assert_refused(TicketEnded, self.write(ticket, "0", key))
        self.assertFalse(self.unlock(ticket, key))

    def assert_position(self, ticket: str, position: int, key: LockKey = A4) -> None:
        self.assertEqual(self.queue(key, ticket), Queued(ticket, position))


class JournalTestCase(LockTestCase):
    """The same with a daemon that ends and a store that fails."""

    @property
    def store(self) -> FaultyStore:
        return self.life.store

    def restart(self, outcome: Outcome = Outcome.FAILED) -> None:
        """Kill the daemon and start it again."""
        self.life.crash(outcome)
        self.life = self.start()

    def assert_away(self, *requests: Deferred[Any]) -> None:
        """Each of these was answered that the store is away."""
        for request in requests:
            self.failureResultOf(request, StoreUnavailable)

    def come_back(self) -> None:
        """Let the store work again, and the daemon notice it."""
        self.store.heal()
        self.clock.advance(PAUSE)
        self.locks.check()
        self.assert_agreement()

    def assert_agreement(self) -> None:
        """What the manager believes is what the store keeps, place for place."""
        self.assertEqual(self.life.believed(), self.disk.places)
        for queue in self.locks.places.queues.by_key.values():
            for entry in queue:
                self.assertTrue(entry in self.locks.places.lifetimes.timers)
        waiting = [place for place in self.disk.places.values() if place.standing is Standing.WAITING]
        self.assertEqual(self.locks.waiting, len(waiting))
        held = [place for place in self.disk.places.values() if place.standing in {Standing.GRANTED, Standing.HOLDING}]
        self.assertEqual(self.locks.held, len(held))
