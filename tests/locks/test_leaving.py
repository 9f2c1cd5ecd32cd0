"""What a node that leaves a partition to another tells those who wait, and what it leaves behind of places that no client knows of."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from twisted.internet.defer import Deferred

from resourced.errors import DataNotFound, NotOwner, StoreUnavailable
from resourced.locks.journal.group_commit import PAUSE
from resourced.locks.state.joints import JointAsk
from resourced.locks.state.requests import LockRequest
from resourced.locks.unit_cards import CardChange
from resourced.model import Breaker, Document, LockKey, Snapshot
from resourced.partitions import PARTITIONS, partition_of
from resourced.wants import Want
from tests.faulty import Outcome
from tests.locks.cases import A4, GLASS, LEASE, JournalTestCase

pytestmark = pytest.mark.trial

PRINTER = {partition_of("printer")}
UNITS = (Want("printer", "", frozenset(("x",)), 2),)


async def never(*_: object) -> Any:
    await Deferred[None]()


async def nothing() -> Document:
    raise DataNotFound("There is no data.")


class TakenTests(JournalTestCase):
    """The store says after a failure that another node owns what this one did."""

    def test_nothing_of_it_counts(self) -> None:
        """Then nothing that was known of it counts any more: neither what was in doubt, nor the rest."""
        self.locks.territory.begin(set(range(PARTITIONS)), {})
        for resource in self.disk.resources.values():
            self.locks.territory.learn(resource)
        held = self.lock()
        waiting = self.ask(A4, wait=50.0)
        self.lock(GLASS)
        kept, begin_term = set(range(PARTITIONS)) - PRINTER, self.store.begin_term

        async def begin_elsewhere(*more: Any) -> Snapshot:
            known = await begin_term(*more)
            return known._replace(
                places=[place for place in known.places if place.key == GLASS],
                partitions=frozenset(kept),
                homes={"scanner": partition_of("scanner")},
            )

        self.store.outcome = Outcome.FAILED
        with patch.object(self.store, "begin_term", begin_elsewhere):
            self.assert_refused(StoreUnavailable, self.ask(LockKey("scanner", "other")))
            self.store.heal()
            self.clock.advance(PAUSE)
        self.assert_refused(StoreUnavailable, waiting)
        self.assert_refused(NotOwner, self.ask(A4, held.ticket))
        self.assertEqual([place.key for place in self.life.believed().values()], [GLASS])
        self.assertEqual(self.locks.shares.owned, kept)


class LeavingTests(JournalTestCase):
    """The printer is left to another node, while requests are at each step."""

    def setUp(self) -> None:
        super().setUp()
        self.locks.territory.begin(set(range(PARTITIONS)), {})
        for resource in self.disk.resources.values():
            self.locks.territory.learn(resource)

    def leave(self) -> Deferred[None]:
        return self.life.heard(Deferred.fromCoroutine(self.locks.shares.suspend(PRINTER)))

    def acquire(self, key: LockKey = A4, read: Any = None, **more: Any) -> Deferred[Any]:
        return self.life.heard(Deferred.fromCoroutine(self.locks.acquire(LockRequest(key, LEASE, **more), read)))

    def want(self, read: Any = never, **more: Any) -> Deferred[Any]:
        ask = JointAsk(UNITS, {"printer": 0}, group="printer", **more)
        return self.life.heard(Deferred.fromCoroutine(self.locks.several.acquire(ask, read)))

    def pool(self) -> None:
        for name in ("u1", "u2"):
            change = CardChange(tags=frozenset(("x",)))
            self.successResultOf(self.locks.units.change(LockKey("printer", name), change, Breaker()))

    def assert_left(self, *requests: Deferred[Any], places: int = 0, joints: int = 0) -> None:
        """Leave the printer; each of these is told to ask again, and so many places are left of all that there were."""
        self.successResultOf(self.leave())
        for request in requests:
            self.failureResultOf(request, NotOwner)
        self.locks.shares.abandon(PRINTER)
        self.assertEqual((len(self.disk.places), len(self.disk.joints)), (places, joints))

    def test_waits(self) -> None:
        """A place in the queue is over if the request that waits there could not be known again; the holder's stays, and those of others."""
        self.lock()
        self.lock(GLASS)
        waiting = self.acquire(wait=50.0)
        again = self.acquire(wait=50.0, idempotency_key="again")
        self.assert_left(waiting, again, places=3)

    def test_hung_up(self) -> None:
        """A client that hangs up keeps its place, as without other nodes."""
        self.lock()
        waiting = self.acquire(wait=50.0)
        waiting.cancel()
        waiting.addErrback(lambda _: None)
        self.assert_left(places=2)

    def test_reads(self) -> None:
        """A lock is free again whose client was not told of it yet, because its data is being read; it stays if the client can ask again."""
        self.assert_left_while_read()
        self.setUp()
        self.assert_left_while_read(idempotency_key="again", places=1)

    def assert_left_while_read(self, places: int = 0, **more: Any) -> None:
        reading: Deferred[Document] = Deferred()

        async def read() -> Document:
            return await reading

        asked = self.acquire(read=read, **more)
        self.assert_left(places=places)
        reading.callback(Document("id", "id", "A4", "1"))
        self.failureResultOf(asked, NotOwner)

    def test_commits(self) -> None:
        """So it is with a lock that was given a moment ago, and whose commit is under way."""
        self.store.slow = True
        asked = self.acquire()
        left = self.leave()
        self.assertNoResult(asked)
        self.store.finish()
        self.store.finish()
        self.successResultOf(left)
        self.failureResultOf(asked, NotOwner)
        self.assertEqual(self.disk.places, {})

    def test_no_data(self) -> None:
        """So it is with one whose client is about to be told that there is no data."""
        self.store.slow = True
        asked = self.acquire(read=nothing, origin="address")
        self.store.finish()
        left = self.leave()
        self.store.finish()
        self.store.finish()
        self.successResultOf(left)
        self.failureResultOf(asked, NotOwner)
        self.assertEqual(self.disk.places, {})

    def test_told_that_there_is_no_data(self) -> None:
        """Once that was told, the lock stays, as its client may come for it."""
        self.successResultOf(self.acquire(read=nothing, origin="address"))
        self.assert_left(places=1)

    def test_several(self) -> None:
        """A request for several things is over if it could not be known again: while it waits, and while data is read that it got."""
        for more, left in (({}, (0, 0)), ({"idempotency_key": "again"}, (2, 1))):
            self.pool()
            got = self.want(**more)
            self.assertEqual((len(self.disk.places), len(self.disk.joints)), (2, 1))
            waiting = self.want(wait=50.0)
            self.assert_left(waiting, places=left[0], joints=left[1])
            self.assertNoResult(got)
            self.setUp()

    def test_several_are_read(self) -> None:
        """A client that got several things while they were left to another node is told to ask again, not that the ticket has ended."""
        self.pool()
        reading: Deferred[list[str | None]] = Deferred()

        async def read(_: object) -> list[str | None]:
            return await reading

        asked = self.want(read)
        self.assert_left()
        reading.callback([None, None])
        self.failureResultOf(asked, NotOwner)

    def test_commit_fails(self) -> None:
        """If the end of such a place was not committed, it is given up as soon as the store says what it knows."""
        self.lock()
        waiting = self.acquire(wait=50.0)
        self.store.outcome = Outcome.FAILED
        self.failureResultOf(self.leave(), StoreUnavailable)
        self.failureResultOf(waiting, StoreUnavailable)
        self.store.heal()
        self.come_back()
        self.assertEqual(len(self.disk.places), 1)
