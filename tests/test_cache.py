"""What the store is not asked again, and when it has to be."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from resourced.cache import CachedStore
from resourced.errors import DataNotFound, EpochLost, ResourceNotFound, StoreRefused, StoreUnavailable
from resourced.model import Batch, Document, Key, Place, Resource, Standing, Write
from resourced.testing import MemoryStore

T = TypeVar("T")

A4 = Key("printer", "A4")
HOLDER = Place(1, A4, "t", Standing.HOLDING, 1, "", "")


class SlowStore(MemoryStore):
    """
    A store that counts what it is asked, and waits or fails on demand.

    :ivar asked: the names of what it was asked.
    :ivar gates: what to wait for before a method does its work, and after it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.before: dict[str, Deferred[None]] = {}
        self.after: dict[str, Deferred[None]] = {}
        self.error: Exception | None = None

    async def _do(self, name: str, work: Callable[..., Coroutine[Any, Any, T]], *what: Any) -> T:
        self.asked.append(name)
        before, after = self.before.pop(name, None), self.after.pop(name, None)
        if before is not None:
            await before
        if self.error is not None:
            raise self.error
        result = await work(*what)
        if after is not None:
            await after
        return result

    async def find_resource(self, name: str) -> Resource:
        return await self._do("find", super().find_resource, name)

    async def read(self, resource: Resource, selector: str) -> Document:
        return await self._do("read", super().read, resource, selector)

    async def commit(self, batch: Batch) -> None:
        await self._do("commit", super().commit, batch)

    async def ping(self) -> None:
        await self._do("ping", super().ping)


class CacheTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.inner = SlowStore()
        self.store = CachedStore(self.inner, self.clock, belief=5)
        self.now(self.store.reign())
        self.printer = self.now(self.store.create_resource("printer", 0))
        self.now(self.store.commit(Batch(1, [HOLDER])))
        self.write("1")
        self.inner.asked.clear()

    def begin(self, work: Coroutine[Any, Any, T]) -> Deferred[T]:
        return Deferred.fromCoroutine(work)

    def now(self, work: Coroutine[Any, Any, T]) -> T:
        return self.successResultOf(self.begin(work))

    def batch(self, data: str) -> Batch:
        return Batch(1, writes=[Write(A4, self.printer.id, 1, "t", 1, data)])

    def write(self, data: str) -> None:
        self.now(self.store.commit(self.batch(data)))

    def read(self) -> str:
        return self.now(self.store.read(self.printer, "A4")).data

    def test_what_is_known_is_not_asked_again(self):
        """A definition and a document are asked for once; a document that is written is known."""
        self.assertEqual(self.now(self.store.find_resource("printer")), self.printer)
        self.assertEqual([self.read(), self.read()], ["1", "1"])
        self.write("2")
        self.assertEqual(self.read(), "2")
        self.assertEqual(self.inner.asked, ["read", "commit"])

    def test_what_is_not_there_is_asked_for_each_time(self):
        """Someone may create it any moment."""
        for _ in range(2):
            self.failureResultOf(self.begin(self.store.find_resource("nothing")), ResourceNotFound)
            self.failureResultOf(self.begin(self.store.read(self.printer, "A5")), DataNotFound)
        self.assertEqual(self.inner.asked, ["find", "read"] * 2)

    def test_belief_ends(self):
        """When the store has not shown for some seconds that it is there, it is asked; a ping shows it."""
        self.read()
        self.clock.advance(5)
        self.read()
        self.assertEqual(self.inner.asked, ["read"])
        self.clock.advance(0.1)
        self.read()
        self.assertEqual(self.inner.asked, ["read"] * 2)
        self.now(self.store.ping())
        self.read()
        self.assertEqual(self.inner.asked, ["read", "read", "ping"])

    def test_a_store_that_is_away_is_noticed(self):
        """After any error of the store nothing is told from memory; nor when someone else reigns."""
        for error in (StoreUnavailable("away"), EpochLost("lost")):
            self.read()
            self.inner.error = error
            self.failureResultOf(self.begin(self.store.ping()), type(error))
            self.failureResultOf(self.begin(self.store.read(self.printer, "A4")), type(error))
            self.inner.error = None
            self.now(self.store.reign())

    def test_a_silent_store_is_noticed(self):
        """While the store owes an answer for some time nothing is told from memory; when it has answered, all is as before."""
        self.read()
        gate = self.inner.before["ping"] = Deferred()
        pinging = self.begin(self.store.ping())
        self.clock.advance(0.1)
        self.read()
        self.clock.advance(0.1)
        self.read()
        gate.callback(None)
        self.successResultOf(pinging)
        self.read()
        self.assertEqual(self.inner.asked, ["read", "ping", "read"])

    def test_a_read_that_a_write_overtakes_is_not_remembered(self):
        """What a read saw before a write does not count after it."""
        gate = self.inner.after["read"] = Deferred()
        reading = self.begin(self.store.read(self.printer, "A4"))
        self.write("2")
        gate.callback(None)
        self.assertEqual(self.successResultOf(reading).data, "1")
        self.assertEqual(self.read(), "2")

    def test_during_a_write_the_store_is_asked(self):
        """Neither the old nor the new document is told from memory while it is not known what is true."""
        self.read()
        gate = self.inner.after["commit"] = Deferred()
        writing = self.begin(self.store.commit(self.batch("2")))
        self.assertEqual([self.read(), self.read()], ["2", "2"])
        gate.callback(None)
        self.successResultOf(writing)
        self.assertEqual(self.read(), "2")
        self.assertEqual(self.inner.asked, ["read", "commit", "read", "read"])

    def test_a_failed_write_leaves_doubt_until_the_next_reign(self):
        """It may be done yet: so the store is asked each time, whatever it has shown, until a reign has settled it."""
        self.read()
        wrong = Batch(1, writes=[Write(A4, self.printer.id, 7, "t", 1, "2")])
        self.failureResultOf(self.begin(self.store.commit(wrong)), StoreRefused)
        self.now(self.store.ping())
        self.inner.asked.clear()
        self.read()
        self.read()
        self.assertEqual(self.inner.asked, ["read"] * 2)
        self.now(self.store.reign())
        self.read()
        self.read()
        self.assertEqual(self.inner.asked, ["read"] * 3)

    def test_a_read_from_before_a_reign_is_not_remembered(self):
        """A reign settles what may have changed behind everyone's back; what was read before may be old."""
        gate = self.inner.after["read"] = Deferred()
        reading = self.begin(self.store.read(self.printer, "A4"))
        self.now(self.store.reign())
        gate.callback(None)
        self.successResultOf(reading)
        self.inner.asked.clear()
        self.read()
        self.assertEqual(self.inner.asked, ["read"])

    def test_a_client_that_hangs_up_spoils_nothing(self):
        """A read that is cancelled changes nothing for the others."""
        self.read()
        self.inner.before["find"] = Deferred()
        self.inner.asked.clear()
        asking = self.begin(self.store.find_resource("other"))
        asking.addErrback(lambda _: None)
        asking.cancel()
        self.read()
        self.assertEqual(self.inner.asked, ["find"])

    def test_it_does_not_grow_without_end(self):
        """What came first is forgotten first, and nothing that is larger than all there is room for is kept."""
        store = CachedStore(self.inner, self.clock, belief=5, definitions=2, characters=1100)
        self.now(store.reign())
        for name in ("a", "b", "c"):
            self.now(store.create_resource(name, 0))
        self.inner.asked.clear()
        for name in ("a", "c"):
            self.now(store.find_resource(name))
        self.assertEqual(self.inner.asked, ["find"])
        self.write("7" * 2000)
        for _ in range(2):
            self.now(store.read(self.printer, "A4"))
        self.assertEqual(self.inner.asked[-2:], ["read"] * 2)
