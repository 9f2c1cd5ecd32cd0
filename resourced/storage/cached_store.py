"""
The definitions of resources, and what is kept at selectors, that the store was asked for before and need not be asked for again.

Why nothing old is told: both change only through here, in a transaction that checks that this daemon is the leader. What is about to
change is forgotten first. It is remembered again when the outcome is known. So as long as this daemon is the leader, memory is right. The leader's
lease says for how long that is without proof, and memory counts no longer. In a cluster it is that of the node, and only what the node owns is
remembered. Memory does not count after a failure, nor while the store does not answer.

What is known of a selector counts only along with the definition of its resource. So whatever puts that in doubt puts all its documents in
doubt. That is a change, a removal, a failure, a new term, or a partition that moves.

What is decided never relies on memory alone. A grant, a release and a write are told after a commit, which fails if another daemon is the
leader.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final, Protocol

from twisted.internet.interfaces import IReactorTime

from resourced.errors import DataNotFound, EpochLost, ResourceNotFound, StoreUnavailable
from resourced.model import Batch, Document, Event, LockKey, Mark, Resource, Snapshot, Term, Weight, Write
from resourced.storage.documents import ROOM, Documents
from resourced.storage.interface import Store
from resourced.storage.leader_lease import LeaderLease
from resourced.usage import By, Use

#: How many definitions are kept in memory.
DEFINITIONS = 65_536
#: Nothing is told from memory while the store has not answered something for so many seconds: it may be gone.
ANSWER_TIMEOUT = 0.1
#: Watches over nothing.
UNTOUCHED: Final[AbstractContextManager[None]] = nullcontext()


class Owned(Protocol):
    """What this daemon decides about, if it is a node of a cluster."""

    @property
    def changes(self) -> int:
        """Grows whenever that becomes more or less."""

    def owns(self, resource: Resource) -> bool:
        """Return whether a resource is decided about here. Nobody else changes its definition then."""


class CachedStore:
    """
    A ``resourced.storage.interface.Store`` that remembers definitions and documents.

    :param lease: says whether this is the one writer.
    :param definitions: how many of them it remembers.
    :param documents: how many bytes of documents it remembers.
    :param owned: says of what it is, if not of all.
    """

    def __init__(
        self,
        store: Store,
        clock: IReactorTime,
        lease: LeaderLease,
        *,
        definitions: int = DEFINITIONS,
        documents: int = ROOM,
        owned: Callable[[], Owned] | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._lease = lease
        self._room = definitions
        self._owned = owned
        self._moves = 0
        self._known: dict[str, Resource] = {}
        # What is being changed; and what may yet be, because it failed, until the next term has settled it.
        self._changing: Counter[str] = Counter()
        self._unsettled: set[str] = set()
        # How often something was forgotten: what was asked for before is not remembered after it.
        self._changes = 0
        self._documents = Documents(documents)
        # The newest commit of each document that is being written; and the newest look at each of the others.
        self._written: dict[LockKey, object] = {}
        self._reading: dict[LockKey, object] = {}
        # How often everything was forgotten.
        self._forgotten = 0
        # Since when the store owes answers, the oldest first.
        self._owed: dict[object, float] = {}

    async def create_resource(
        self, name: str, timeout: int, *, group: str = "", longest: int = 0, slots: int = 0
    ) -> Resource:
        with self._asking():
            return await self._store.create_resource(name, timeout, group=group, longest=longest, slots=slots)

    async def change_resource(self, name: str, changes: Mapping[str, int | str]) -> Resource:
        with self._change([name]), self._asking():
            return await self._store.change_resource(name, changes)

    async def list_resources(self, prefix: str, after: str, limit: int) -> list[Resource]:
        with self._asking():
            return await self._store.list_resources(prefix, after, limit)

    async def list_selectors(self, resource: Resource, prefix: str, after: str, limit: int) -> list[str]:
        with self._asking():
            return await self._store.list_selectors(resource, prefix, after, limit)

    async def find_resource(self, name: str) -> Resource:
        known = self._definition(name)
        if known is not None:
            return known
        changes = self._changes
        with self._asking():
            resource = await self._store.find_resource(name)
        if changes == self._changes and self._settled(resource):
            if len(self._known) >= self._room:
                del self._known[next(iter(self._known))]
            self._known[name] = resource
        return resource

    async def read(self, resource: Resource, selector: str) -> Document:
        known = self._definition(resource.name)
        if known is not None:
            document = self._documents.get(known.id, selector)
            if document is not None:
                return document
            if self._documents.knows(known.id, selector):
                raise DataNotFound.at(known.name, selector)
        with self._looking([(resource, selector)]) as found:
            try:
                document = await self._store.read(resource, selector)
            except DataNotFound:
                found.append(None)
                raise
            found.append(document)
        return document

    async def read_all(self, wanted: Sequence[tuple[Resource, str]]) -> list[Document | None]:
        known = {name: self._definition(name) for name in {resource.name for resource, _ in wanted}}
        documents: list[Document | None] = []
        unknown: list[int] = []
        for index, (resource, selector) in enumerate(wanted):
            definition = known[resource.name]
            if definition is None or not self._documents.knows(definition.id, selector):
                unknown.append(index)
                documents.append(None)
            else:
                documents.append(self._documents.get(definition.id, selector))
        if unknown:
            asked = [wanted[index] for index in unknown]
            with self._looking(asked) as found:
                found.extend(await self._store.read_all(asked))
            for index, document in zip(unknown, found, strict=True):
                documents[index] = document
        return documents

    async def events(self, key: LockKey, before: int, limit: int) -> list[Event]:
        return await self._store.events(key, before, limit)

    async def events_before(self, before: int, limit: int) -> list[Event]:
        return await self._store.events_before(before, limit)

    async def events_since(self, after: int, limit: int) -> list[Event]:
        return await self._store.events_since(after, limit)

    async def newest_event(self) -> int:
        return await self._store.newest_event()

    async def weigh_events(self, after: int, limit: int) -> Weight:
        return await self._store.weigh_events(after, limit)

    async def marks(self) -> list[Mark]:
        return await self._store.marks()

    async def mark(self, mark: Mark, first: int, last: int) -> None:
        with self._asking():
            await self._store.mark(mark, first, last)

    async def forget_events(self, last: int) -> bool:
        return await self._store.forget_events(last)

    async def forget_losses(self, last: int) -> bool:
        return await self._store.forget_losses(last)

    async def roll_up(self, limit: int) -> int:
        return await self._store.roll_up(limit)

    async def usage(self, resource: str, by: By, since: int, limit: int) -> dict[str, Use]:
        return await self._store.usage(resource, by, since, limit)

    async def forget_usage(self, days: int) -> bool:
        return await self._store.forget_usage(days)

    async def ping(self) -> None:
        with self._asking():
            await self._store.ping()

    async def look(self, *, everywhere: bool = False) -> Term:
        return await self._store.look(everywhere=everywhere)

    async def begin_term(self, over: Term | None = None, guard: str = "") -> Snapshot:
        self._forget()
        settled = frozenset(self._unsettled)
        with self._asking():
            snapshot = await self._store.begin_term(over, guard)
        self._unsettled -= settled
        # What was found before it was settled may be old.
        self._forget()
        return snapshot

    async def beat(self, guard: str, event: int = 0, passed: int = 0) -> None:
        with self._asking():
            await self._store.beat(guard, event, passed)

    async def leave(self) -> None:
        self._forget()
        await self._store.leave()

    async def commit(self, batch: Batch) -> None:
        # Most commits do neither: to watch over nothing took a thirtieth of a commit.
        change = self._change([resource.name for resource in batch.removed]) if batch.removed else UNTOUCHED
        write = self._write(batch.writes) if batch.writes else UNTOUCHED
        with change, write, self._asking():
            await self._store.commit(batch)

    async def sweep(self) -> bool:
        with self._asking():
            return await self._store.sweep()

    async def close(self) -> None:
        await self._store.close()

    def _definition(self, name: str) -> Resource | None:
        """Return what is remembered of a resource, if anything is and it counts now."""
        if self._owned is not None and self._moves != self._owned().changes:
            self._moves = self._owned().changes
            self._forget()
        known = self._known.get(name)
        return known if known is not None and self._sure() else None

    def _settled(self, resource: Resource) -> bool:
        """Whether nobody can change a definition now but through here."""
        if self._owned is not None and (self._moves != self._owned().changes or not self._owned().owns(resource)):
            return False
        return resource.name not in self._changing and resource.name not in self._unsettled

    def _sure(self) -> bool:
        """Whether no other daemon can be the leader, and the store does not seem to have gone."""
        now = self._clock.seconds()
        return self._lease.held() and (not self._owed or now - next(iter(self._owed.values())) <= ANSWER_TIMEOUT)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Watch the store do something."""
        what = object()
        self._owed[what] = self._clock.seconds()
        try:
            yield
        except (StoreUnavailable, EpochLost):
            self._forget()
            raise
        finally:
            del self._owed[what]

    @contextmanager
    def _looking(self, wanted: Sequence[tuple[Resource, str]]) -> Iterator[list[Document | None]]:
        """Watch the store look at documents. What it finds goes into the list, in their order, and is remembered."""
        look = object()
        keys = [LockKey(resource.name, selector) for resource, selector in wanted]
        for key in keys:
            if key not in self._written:
                self._reading[key] = look
        found: list[Document | None] = []
        try:
            with self._asking():
                yield found
        finally:
            # The others may be from before a write that is over by now.
            newest = {key for key in keys if self._reading.get(key) is look}
            for key in newest:
                del self._reading[key]
            # After an error nothing is found.
            for key, (resource, selector), document in zip(keys, wanted, found, strict=False):
                if key in newest:
                    # There may be another resource of this name by now.
                    id_ = resource.id if document is None else document.resource_id
                    self._documents.put(id_, selector, document)

    @contextmanager
    def _change(self, changing: Sequence[str]) -> Iterator[None]:
        """Tell nothing of some definitions from memory until it is known what became of a change."""
        self._changing.update(changing)
        for name in changing:
            self._known.pop(name, None)
        done = False
        try:
            yield
            done = True
        except ResourceNotFound:
            done = True
            raise
        finally:
            self._changing -= Counter(changing)
            if changing:
                self._changes += 1
            if not done:
                self._unsettled.update(changing)

    @contextmanager
    def _write(self, writes: Sequence[Write]) -> Iterator[None]:
        """Tell nothing of some documents from memory until it is known what became of a write."""
        commit, forgotten = object(), self._forgotten
        # Of several writes at one selector the last one counts.
        newest = {write.key: write for write in writes}
        before = {key: self._documents.pop(write.resource_id, key.selector) for key, write in newest.items()}
        for key in newest:
            self._written[key] = commit
            self._reading.pop(key, None)
        done = False
        try:
            yield
            done = True
        finally:
            over = [key for key in newest if self._written.get(key) is commit]
            for key in over:
                del self._written[key]
            if not done:
                self._unsettled.update(key.resource for key in newest)
            elif forgotten == self._forgotten:
                for key in over:
                    document, write = before[key], newest[key]
                    where = write.resource_id, key.selector
                    if write.data is None:
                        self._documents.put(*where, None)
                    # The id is not known of one that was not known before.
                    elif document is not None:
                        self._documents.put(*where, Document(document.id, *where, write.data, write.version))

    def _forget(self) -> None:
        self._changes += 1
        self._forgotten += 1
        self._known.clear()
        self._documents.clear()
        self._reading.clear()
