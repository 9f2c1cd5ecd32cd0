"""What the store is not asked again, and when it has to be."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from resourced.errors import DataNotFound, EpochLost, ResourceNotFound, StoreUnavailable
from resourced.model import Batch, Document, LockKey, Place, Resource, Snapshot, Standing, Term, Write
from resourced.storage.cached_store import CachedStore
from resourced.storage.documents import OVERHEAD, Documents
from resourced.storage.leader_lease import LeaderLease
from resourced.testing import MemoryStore
from tests.leading import lead

pytestmark = pytest.mark.trial

T = TypeVar("T")

A4 = LockKey("printer", "A4")
HOLDER = Place(1, A4, "t", Standing.HOLDING, 1, "", "")


class SlowStore(MemoryStore):
    """
    A store that counts what it is asked, and waits or fails on demand.

    :ivar asked: the names of what it was asked, and ``asked_together`` the selectors that it was asked for at once.
    :ivar gates: what to wait for before a method does its work, and after it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.asked_together: list[list[str]] = []
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

    async def change_resource(self, name: str, changes: Mapping[str, int | str]) -> Resource:
        return await self._do("change", super().change_resource, name, changes)

    async def read(self, resource: Resource, selector: str) -> Document:
        return await self._do("read", super().read, resource, selector)

    async def read_all(self, wanted: Sequence[tuple[Resource, str]]) -> list[Document | None]:
        self.asked_together.append([selector for _, selector in wanted])
        return await self._do("read all", self._read_all, wanted)

    async def _read_all(self, wanted: Sequence[tuple[Resource, str]]) -> list[Document | None]:
        return [self.documents.get(LockKey(resource.name, selector)) for resource, selector in wanted]

    async def commit(self, batch: Batch) -> None:
        await self._do("commit", super().commit, batch)

    async def ping(self) -> None:
        await self._do("ping", super().ping)

    async def begin_term(self, over: Term | None = None, guard: str = "") -> Snapshot:
        return await self._do("term", super().begin_term, over, guard)


class CachedStoreTestCase(SynchronousTestCase):
    """A store that remembers, over one that says what it was asked for; both have a resource."""

    def setUp(self):
        self.clock = Clock()
        self.inner = SlowStore()
        self.lease = LeaderLease(self.clock.seconds, 5)
        self.lease.renew(0)
        self.store = CachedStore(self.inner, self.clock, self.lease)
        self.now(lead(self.store))
        self.printer = self.now(self.store.create_resource("printer", 0))

    def begin(self, work: Coroutine[Any, Any, T]) -> Deferred[T]:
        return Deferred.fromCoroutine(work)

    def now(self, work: Coroutine[Any, Any, T]) -> T:
        return self.successResultOf(self.begin(work))


class CacheTests(CachedStoreTestCase):
    def setUp(self):
        super().setUp()
        self.assertEqual(self.find(), self.printer)
        self.inner.asked.clear()

    def find(self) -> Resource:
        return self.now(self.store.find_resource("printer"))

    def asked_for(self, times: int) -> None:
        """Look the resource up some times; the store must be asked so often."""
        self.inner.asked.clear()
        for _ in range(3):
            self.find()
        self.assertEqual(self.inner.asked, ["find"] * times)

    def test_a_definition_is_not_asked_for_again(self):
        self.asked_for(0)

    def test_what_is_not_there_is_asked_for_each_time(self):
        """Someone may create it any moment."""
        for _ in range(2):
            self.failureResultOf(self.begin(self.store.find_resource("nothing")), ResourceNotFound)
        self.assertEqual(self.inner.asked, ["find"] * 2)

    def test_lease_ends(self):
        """When it cannot be known any more whether this is the one writer, the store is asked; that it answers does not change it."""
        self.clock.advance(5)
        self.asked_for(0)
        self.clock.advance(0.1)
        self.asked_for(3)
        self.now(self.store.ping())
        self.asked_for(3)
        self.lease.renew(5)
        self.asked_for(0)

    def test_a_store_that_is_away_is_noticed(self):
        """After any error of the store nothing is told from memory; nor when someone else leads."""
        for error in (StoreUnavailable("away"), EpochLost("lost")):
            self.inner.error = error
            self.failureResultOf(self.begin(self.store.ping()), type(error))
            self.failureResultOf(self.begin(self.store.find_resource("printer")), type(error))
            self.inner.error = None
            self.now(lead(self.store))
            self.asked_for(1)

    def test_a_silent_store_is_noticed(self):
        """While the store owes an answer for some time nothing is told from memory; when it has answered, all is as before."""
        gate = self.inner.before["ping"] = Deferred()
        pinging = self.begin(self.store.ping())
        self.clock.advance(0.1)
        self.asked_for(0)
        self.clock.advance(0.1)
        self.asked_for(3)
        gate.callback(None)
        self.successResultOf(pinging)
        self.asked_for(0)

    def test_a_change_counts_at_once(self):
        """Neither what was remembered before nor what was asked for meanwhile is told after it."""
        asking = self.inner.after["find"] = Deferred()
        self.clock.advance(6)
        old = self.begin(self.store.find_resource("printer"))
        self.assertEqual(self.now(self.store.change_resource("printer", {"timeout": 7})).timeout, 7)
        asking.callback(None)
        self.assertEqual(self.successResultOf(old).timeout, 0)
        self.assertEqual([self.find().timeout for _ in range(2)], [7, 7])

    def test_during_a_change_the_store_is_asked(self):
        """Neither the old nor the new definition is told from memory while it is not known what is true."""
        gate = self.inner.after["change"] = Deferred()
        changing = self.begin(self.store.change_resource("printer", {"timeout": 7}))
        self.asked_for(3)
        gate.callback(None)
        self.successResultOf(changing)
        self.asked_for(1)

    def test_a_failed_change_leaves_doubt_until_the_next_reign(self):
        """It may be done yet: so the store is asked each time, whatever it has shown, until a term has settled it."""
        self.inner.error = StoreUnavailable("away")
        self.failureResultOf(self.begin(self.store.change_resource("printer", {"timeout": 7})), StoreUnavailable)
        self.inner.error = None
        self.now(self.store.ping())
        self.asked_for(3)
        self.now(lead(self.store))
        self.asked_for(1)

    def test_a_change_that_fails_while_a_reign_begins_is_not_settled_by_it(self):
        """The store may have come to it after the term."""
        change = self.inner.before["change"] = Deferred()
        snapshot = self.inner.after["term"] = Deferred()
        changing = self.begin(self.store.change_resource("printer", {"timeout": 7}))
        reigning = self.begin(lead(self.store))
        change.errback(StoreUnavailable("away"))
        self.failureResultOf(changing, StoreUnavailable)
        snapshot.callback(None)
        self.successResultOf(reigning)
        self.now(self.store.ping())
        self.asked_for(3)

    def test_a_removed_resource_is_forgotten(self):
        """From the moment on in which it may be gone; but another stays known."""
        self.now(self.store.create_resource("stapler", 0))
        self.now(self.store.find_resource("stapler"))
        gate = self.inner.after["commit"] = Deferred()
        removing = self.begin(self.store.commit(Batch(1, removed=[self.printer])))
        self.failureResultOf(self.begin(self.store.find_resource("printer")), ResourceNotFound)
        gate.callback(None)
        self.successResultOf(removing)
        self.failureResultOf(self.begin(self.store.find_resource("printer")), ResourceNotFound)
        self.inner.asked.clear()
        self.now(self.store.find_resource("stapler"))
        self.assertEqual(self.inner.asked, [])

    def test_a_look_up_from_before_a_reign_is_not_remembered(self):
        """A term settles what may have changed behind everyone's back; what was found before may be old."""
        self.clock.advance(6)
        gate = self.inner.after["find"] = Deferred()
        finding = self.begin(self.store.find_resource("printer"))
        self.now(lead(self.store))
        self.lease.renew(6)
        gate.callback(None)
        self.successResultOf(finding)
        self.asked_for(1)

    def test_a_client_that_hangs_up_spoils_nothing(self):
        """A look-up that is cancelled changes nothing for the others."""
        self.inner.before["find"] = Deferred()
        asking = self.begin(self.store.find_resource("other"))
        asking.addErrback(lambda _: None)
        asking.cancel()
        self.asked_for(0)

    def test_it_does_not_grow_without_end(self):
        """What came first is forgotten first."""
        store = CachedStore(self.inner, self.clock, self.lease, definitions=2)
        self.now(lead(store))
        for name in ("a", "b", "c"):
            self.now(store.create_resource(name, 0))
            self.now(store.find_resource(name))
        self.inner.asked.clear()
        for name in ("c", "b"):
            self.now(store.find_resource(name))
        self.assertEqual(self.inner.asked, [])
        self.now(store.find_resource("a"))
        self.assertEqual(self.inner.asked, ["find"])


class DocumentTests(CachedStoreTestCase):
    """Data from memory: whatever changes it, or puts it in doubt, is seen by the next read."""

    def setUp(self):
        super().setUp()
        self.now(self.write("1"))
        self.assertEqual(self.read(), "1")
        self.inner.asked.clear()

    async def write(self, data: str | None, *, version: int = 1, store: CachedStore | None = None) -> None:
        batch = Batch(1, [HOLDER], writes=[Write(A4, self.printer.id, 1, "t", 1, data, version)])
        await (store or self.store).commit(batch)

    async def document(self) -> Document:
        return await self.store.read(await self.store.find_resource("printer"), "A4")

    def read(self) -> str:
        return self.now(self.document()).data

    async def documents(self, selectors: Sequence[str]) -> list[str | None]:
        printer = await self.store.find_resource("printer")
        found = await self.store.read_all([(printer, selector) for selector in selectors])
        return [None if document is None else document.data for document in found]

    def all_of(self, selectors: Sequence[str]) -> list[str | None]:
        return self.now(self.documents(selectors))

    def nothing_there(self, asked: int) -> None:
        """Read some times; nothing must be there, and the store must be asked so often."""
        self.inner.asked.clear()
        for _ in range(3):
            self.failureResultOf(self.begin(self.document()), DataNotFound)
        self.assertEqual(self.inner.asked.count("read"), asked)

    def asked_for(self, times: int, data: str) -> None:
        """Read some times; the store must be asked so often."""
        self.inner.asked.clear()
        for _ in range(3):
            self.assertEqual(self.read(), data)
        self.assertEqual(self.inner.asked.count("read"), times)

    def test_data_is_not_asked_for_again(self):
        self.asked_for(0, "1")

    def test_what_is_written_is_not_asked_for(self):
        """It is as the store has it: with the id that it had, and its new version."""
        before = self.now(self.document())
        self.now(self.write("2", version=7))
        self.asked_for(0, "2")
        self.assertEqual(self.now(self.document()), self.now(self.inner.read(self.printer, "A4")))
        self.assertEqual(self.now(self.document()), replace(before, data="2", version=7))

    def test_of_several_writes_the_last_one_counts(self):
        writes = [Write(A4, self.printer.id, 1, "t", 1, data) for data in ("2", "3")]
        self.now(self.store.commit(Batch(1, [HOLDER], writes=writes)))
        self.asked_for(0, "3")

    def test_deleted_data_is_gone(self):
        self.now(self.write(None))
        self.failureResultOf(self.begin(self.document()), DataNotFound)

    def test_what_is_not_there_is_not_asked_for_again(self):
        """Neither where it was deleted, nor where the store was asked for it. What is written there afterwards is seen."""
        self.now(self.write(None))
        self.nothing_there(asked=0)
        self.now(lead(self.store))
        self.nothing_there(asked=1)
        self.now(self.write("2"))
        self.asked_for(1, "2")

    def test_many_are_asked_for_once(self):
        """Only what is not known yet is asked for; also that nothing is there is known then."""
        selectors = ["A5", "A4", "A3", "A5"]
        self.assertEqual([self.all_of(selectors) for _ in range(2)], [[None, "1", None, None]] * 2)
        self.assertEqual(self.inner.asked_together, [["A5", "A3", "A5"]])
        self.now(self.write("2"))
        self.assertEqual(self.all_of(["A6", "A4"]), [None, "2"])
        self.assertEqual(self.inner.asked_together[1:], [["A6"]])
        self.assertEqual(self.now(self.document()).data, "2")
        self.assertEqual(self.inner.asked.count("read"), 0)

    def test_many_are_asked_for_again_after_a_term(self):
        self.now(self.write("2", store=CachedStore(self.inner, self.clock, self.lease)))
        self.assertEqual(self.all_of(["A4", "A5"]), ["1", None])
        self.now(lead(self.store))
        self.assertEqual(self.all_of(["A4", "A5"]), ["2", None])
        self.assertEqual(self.inner.asked_together, [["A5"], ["A4", "A5"]])

    def test_many_from_before_a_write_are_not_remembered(self):
        """Also not that nothing was there. The others of them are."""
        self.now(self.write(None))
        self.now(lead(self.store))
        gate = self.inner.after["read all"] = Deferred()
        reading = self.begin(self.documents(["A4", "A5"]))
        self.now(self.write("2"))
        gate.callback(None)
        self.assertEqual(self.successResultOf(reading), [None, None])
        self.assertEqual(self.all_of(["A4", "A5"]), ["2", None])
        self.assertEqual(self.inner.asked_together, [["A4", "A5"], ["A4"]])

    def test_data_of_a_removed_resource_is_gone(self):
        """Neither it nor a new resource of its name has that data."""
        self.now(self.store.commit(Batch(1, removed=[self.printer])))
        self.failureResultOf(self.begin(self.store.read(self.printer, "A4")), ResourceNotFound)
        self.now(self.store.create_resource("printer", 0))
        self.failureResultOf(self.begin(self.document()), DataNotFound)

    def test_during_a_write_the_store_is_asked(self):
        """Neither the old nor the new data is told from memory while it is not known what is true."""
        gate = self.inner.after["commit"] = Deferred()
        writing = self.begin(self.write("2"))
        self.asked_for(3, "2")
        gate.callback(None)
        self.successResultOf(writing)
        self.asked_for(0, "2")

    def test_a_read_from_before_a_write_is_not_remembered(self):
        """It may bring the old data when the new has been told."""
        self.now(lead(self.store))
        gate = self.inner.after["read"] = Deferred()
        reading = self.begin(self.document())
        self.now(self.write("2"))
        gate.callback(None)
        self.assertEqual(self.successResultOf(reading).data, "1")
        self.asked_for(1, "2")

    def test_a_read_from_during_a_write_is_not_remembered(self):
        """It may have been answered before the write."""
        before: Deferred[None] = Deferred()
        read: Deferred[None] = Deferred()
        self.inner.before["commit"], self.inner.after["read"] = before, read
        writing = self.begin(self.write("2"))
        reading = self.begin(self.document())
        before.callback(None)
        self.successResultOf(writing)
        read.callback(None)
        self.assertEqual(self.successResultOf(reading).data, "1")
        self.asked_for(0, "2")

    def test_a_failed_write_leaves_doubt_until_the_next_term(self):
        """It may be done yet: so the store is asked each time, whatever it has shown, until a term has settled it."""
        self.inner.error = StoreUnavailable("away")
        self.failureResultOf(self.begin(self.write("2")), StoreUnavailable)
        self.inner.error = None
        self.assertEqual(self.read(), "1")
        self.now(self.write("2", store=CachedStore(self.inner, self.clock, self.lease)))
        self.asked_for(3, "2")
        self.now(lead(self.store))
        self.asked_for(1, "2")

    def test_a_write_that_was_not_done_yet_when_a_term_began(self):
        """What is read while a term begins may be older than what the term finds settled."""
        self.inner.error = StoreUnavailable("away")
        self.failureResultOf(self.begin(self.write("2")), StoreUnavailable)
        self.inner.error = None
        term = self.inner.before["term"] = Deferred()
        read = self.inner.after["read"] = Deferred()
        leading = self.begin(self.store.begin_term())
        reading = self.begin(self.document())
        self.now(self.write("2", store=CachedStore(self.inner, self.clock, self.lease)))
        term.callback(None)
        self.successResultOf(leading)
        self.now(self.store.find_resource("printer"))
        read.callback(None)
        self.assertEqual(self.successResultOf(reading).data, "1")
        self.asked_for(1, "2")

    def test_a_write_from_before_a_term_is_not_remembered(self):
        """A term settles what is true; what was written before may have been undone."""
        gate = self.inner.after["commit"] = Deferred()
        writing = self.begin(self.write("2"))
        self.now(lead(self.store))
        self.now(self.write("3", store=CachedStore(self.inner, self.clock, self.lease)))
        self.now(self.store.find_resource("printer"))
        gate.callback(None)
        self.successResultOf(writing)
        self.asked_for(1, "3")

    def test_a_restored_store_is_read_anew(self):
        """After a new term memory counts no more: the store may know less."""
        self.now(self.write("0", store=CachedStore(self.inner, self.clock, self.lease)))
        self.now(lead(self.store))
        self.asked_for(1, "0")

    def test_after_an_error_the_store_is_asked(self):
        """Also where data was read before: nobody is served by a store that is away."""
        for error in (StoreUnavailable("away"), EpochLost("lost")):
            self.inner.error = error
            self.failureResultOf(self.begin(self.store.ping()), type(error))
            self.failureResultOf(self.begin(self.store.read(self.printer, "A4")), type(error))
            self.inner.error = None
            self.assertEqual(self.read(), "1")

    def test_a_silent_store_is_asked(self):
        self.inner.before["ping"] = Deferred()
        pinging = self.begin(self.store.ping())
        self.clock.advance(0.2)
        self.asked_for(3, "1")
        pinging.addErrback(lambda _: None)
        pinging.cancel()

    def test_a_deposed_leader_tells_nothing_old(self):
        """Another daemon waits for the end of the lease before it writes, and then this one asks the store."""
        self.clock.advance(5)
        self.asked_for(0, "1")
        self.clock.advance(0.1)
        lease = LeaderLease(self.clock.seconds, 5)
        other = CachedStore(self.inner, self.clock, lease)
        self.now(lead(other))
        self.now(self.write("2", store=other))
        self.asked_for(3, "2")

    def test_it_does_not_grow_without_end(self):
        """What came first is forgotten first, and what is too large for all of it at once."""
        documents = Documents(3 * OVERHEAD + 22)

        def put(selector: str, data: str | None) -> None:
            found = None if data is None else Document("id", "printer", selector, data)
            documents.put("printer", selector, found)

        def known(selectors: str) -> list[bool]:
            return [documents.knows("printer", selector) for selector in selectors]

        for selector, data in (("a", "1"), ("b", "22"), ("a", "33"), ("c", "1"), ("d", "4")):
            put(selector, data)
        self.assertEqual(known("abcd"), [True, False, True, True])
        put("e", "\N{SNOWMAN}" * 3)
        self.assertEqual(known("acde"), [False, False, True, True])
        put("e", "1" * 2000)
        self.assertEqual(known("e"), [False])
        put("a", "1")
        put("b", "1")
        self.assertEqual(known("ab"), [True, True])
        for selector in ("c", "d", "d"):
            put(selector, None)
        self.assertEqual(known("abcd"), [False, True, True, True])
        put("\N{SNOWMAN}" * 5, None)
        self.assertEqual(known("bcd"), [False, False, True])


class Owned:
    """What a node owns."""

    def __init__(self) -> None:
        self.changes = 0
        self.everything = True

    def owns(self, _: Resource) -> bool:
        return self.everything


class NodeCacheTests(SynchronousTestCase):
    """At a node of a cluster others may change what this one does not own."""

    def setUp(self):
        self.clock = Clock()
        self.inner = SlowStore()
        self.owned = Owned()
        lease = LeaderLease(self.clock.seconds, 5)
        lease.renew(0)
        self.store = CachedStore(self.inner, self.clock, lease, owned=lambda: self.owned)
        self.successResultOf(Deferred.fromCoroutine(lead(self.store)))
        self.successResultOf(Deferred.fromCoroutine(self.inner.create_resource("printer", 0)))

    def asked(self) -> int:
        """How often the store is asked when the definition is asked for twice."""
        before = self.inner.asked.count("find")
        for _ in range(2):
            self.successResultOf(Deferred.fromCoroutine(self.store.find_resource("printer")))
        return self.inner.asked.count("find") - before

    def test_only_what_is_owned_is_remembered(self):
        """The store is asked for what another node owns, each time."""
        self.assertEqual(self.asked(), 1)
        self.assertEqual(self.asked(), 0)
        self.owned.everything = False
        self.owned.changes += 1
        self.assertEqual(self.asked(), 2)

    def test_data_that_another_node_may_have_written(self):
        """Data of a partition that was away, or is another's, is asked for."""
        holder, key = HOLDER, A4
        printer = self.successResultOf(Deferred.fromCoroutine(self.inner.find_resource("printer")))

        def write(data: str) -> None:
            batch = Batch(1, [holder], writes=[Write(key, printer.id, 1, "t", 1, data)])
            self.successResultOf(Deferred.fromCoroutine(self.inner.commit(batch)))

        async def read() -> Document:
            return await self.store.read(await self.store.find_resource("printer"), "A4")

        def data() -> str:
            return self.successResultOf(Deferred.fromCoroutine(read())).data

        write("1")
        self.assertEqual([data(), data()], ["1", "1"])
        self.owned.changes += 2
        write("2")
        self.assertEqual(data(), "2")
        self.owned.everything = False
        self.owned.changes += 1
        for number in ("3", "4"):
            write(number)
            self.assertEqual(data(), number)

    def test_what_was_owned_before(self):
        """What was remembered before a partition went away counts no more when it is back."""
        self.asked()
        self.owned.changes += 2
        self.assertEqual(self.asked(), 1)

    def test_an_answer_from_before(self):
        """An answer is not remembered that was asked for before the partition came."""
        gate: Deferred[None] = Deferred()
        self.inner.after["find"] = gate
        self.owned.everything = False
        found = Deferred.fromCoroutine(self.store.find_resource("printer"))
        self.owned.everything = True
        self.owned.changes += 1
        gate.callback(None)
        self.successResultOf(found)
        self.assertEqual(self.asked(), 1)
