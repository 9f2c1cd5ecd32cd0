"""
What the store was asked before, and need not be asked again: this process is its only writer, so it knows what changes.

An operator's own statements in the database are not seen before the next reign. Nothing is answered from memory unless the
store has shown a moment ago that it is there and that no other daemon reigns.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Generic, TypeVar

from twisted.internet.interfaces import IReactorTime

from resourced.errors import EpochLost, StoreUnavailable
from resourced.model import Batch, Document, Reign, Resource
from resourced.store import Store

K = TypeVar("K")
V = TypeVar("V")

#: How many definitions, and how many characters of documents, are kept in memory.
DEFINITIONS, CHARACTERS = 65_536, 32 * 1024 * 1024
#: Nothing is told from memory while the store has not answered something for so many seconds: it may be gone.
PATIENCE = 0.1
#: What a document costs beside its text.
_OVERHEAD = 500


class _Shelf(Generic[K, V]):
    """What is kept of one kind; what came first goes first when there is no more room."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._used = 0
        self._kept: dict[K, tuple[V, int]] = {}

    def get(self, key: K) -> V | None:
        kept = self._kept.get(key)
        return None if kept is None else kept[0]

    def put(self, key: K, value: V, size: int = 1) -> None:
        self.drop(key)
        self._kept[key] = (value, size)
        self._used += size
        while self._used > self._room:
            self.drop(next(iter(self._kept)))

    def drop(self, key: K) -> V | None:
        value, size = self._kept.pop(key, (None, 0))
        self._used -= size
        return value

    def clear(self) -> None:
        self._kept.clear()
        self._used = 0


class CachedStore:
    """
    A ``resourced.store.Store`` with a memory.

    :param belief: for how many seconds the store counts as there, and this as its one writer, after it last showed so.
    """

    def __init__(
        self,
        store: Store,
        clock: IReactorTime,
        *,
        belief: float = inf,
        definitions: int = DEFINITIONS,
        characters: int = CHARACTERS,
    ) -> None:
        self._store = store
        self._clock = clock
        self._belief = belief
        self._shown = -inf
        self._resources: _Shelf[str, Resource] = _Shelf(definitions)
        self._documents: _Shelf[tuple[str, str], Document] = _Shelf(characters)
        # Which reads may be remembered when they end; none over which a write has begun.
        self._reads: dict[tuple[str, str], object] = {}
        # How many writes of a document are under way.
        self._writes: dict[tuple[str, str], int] = {}
        # Since when the store owes answers, the oldest first.
        self._owed: dict[object, float] = {}
        self._reigns = 0
        # A commit that failed may be done yet, and is settled by the next reign only.
        self._settled = True

    async def create_resource(self, name: str, timeout: int) -> Resource:
        with self._witness(reigning=True):
            resource = await self._store.create_resource(name, timeout)
        self._resources.put(name, resource)
        return resource

    async def change_resource(self, name: str, timeout: int) -> Resource:
        # Until it is known what became of it, neither the old definition nor the new one is told from memory.
        self._redefined(name)
        try:
            with self._witness(reigning=True):
                return await self._store.change_resource(name, timeout)
        except StoreUnavailable:
            # It may yet be done.
            self._settled = False
            raise
        finally:
            self._redefined(name)

    async def list_resources(self, prefix: str, after: str, limit: int) -> list[Resource]:
        with self._witness():
            return await self._store.list_resources(prefix, after, limit)

    async def list_selectors(self, resource: Resource, prefix: str, after: str, limit: int) -> list[str]:
        with self._witness():
            return await self._store.list_selectors(resource, prefix, after, limit)

    async def find_resource(self, name: str) -> Resource:
        known = self._resources.get(name)
        if known is not None and self._sure:
            return known
        reigns = self._reigns
        with self._witness():
            resource = await self._store.find_resource(name)
        if reigns == self._reigns and self._settled:
            self._resources.put(name, resource)
        return resource

    async def read(self, resource: Resource, selector: str) -> Document:
        where = (resource.id, selector)
        known = self._documents.get(where)
        if known is not None and self._sure:
            return known
        this = object()
        if self._settled and where not in self._writes:
            self._reads[where] = this
        try:
            with self._witness():
                document = await self._store.read(resource, selector)
            if self._reads.get(where) is this:
                self._documents.put(where, document, _OVERHEAD + len(document.data))
            return document
        finally:
            if self._reads.get(where) is this:
                del self._reads[where]

    async def ping(self) -> None:
        with self._witness(reigning=True):
            await self._store.ping()

    async def reign(self) -> Reign:
        self._forget()
        with self._witness(reigning=True):
            reign = await self._store.reign()
        self._settled = True
        return reign

    async def commit(self, batch: Batch) -> None:
        # Until it is known what became of it, neither the old document nor the new one is told from memory.
        newest = {(write.resource_id, write.key.selector): write for write in batch.writes}
        for resource in batch.removed:
            self._redefined(resource.name)
        known = {where: self._documents.drop(where) for where in newest}
        for where in newest:
            self._reads.pop(where, None)
            self._writes[where] = self._writes.get(where, 0) + 1
        try:
            with self._witness(reigning=True):
                await self._store.commit(batch)
        except BaseException:
            self._settled = False
            raise
        finally:
            for resource in batch.removed:
                self._redefined(resource.name)
            for where in newest:
                self._writes[where] -= 1
                if not self._writes[where]:
                    del self._writes[where]
        for where, document in known.items():
            # Of a document that is new, only the store knows the id.
            data = newest[where].data
            if document is not None and data is not None and where not in self._writes and self._settled:
                new = replace(document, data=data, version=newest[where].version)
                self._documents.put(where, new, _OVERHEAD + len(data))

    async def sweep(self) -> bool:
        with self._witness():
            return await self._store.sweep()

    async def close(self) -> None:
        await self._store.close()

    @property
    def _sure(self) -> bool:
        now = self._clock.seconds()
        if not self._settled or now - self._shown > self._belief:
            return False
        return not self._owed or now - next(iter(self._owed.values())) <= PATIENCE

    def _witness(self, *, reigning: bool = False) -> _Witness:
        return _Witness(self, reigning=reigning)

    def begun(self, what: object) -> float:
        """Take note that the store was asked for something; return when."""
        now = self._owed[what] = self._clock.seconds()
        return now

    def ended(self, what: object, began: float, error: BaseException | None) -> None:
        """Take note of how the store did."""
        del self._owed[what]
        if isinstance(error, (StoreUnavailable, EpochLost)):
            self._forget()
        elif error is None:
            self._shown = max(self._shown, began)

    def _redefined(self, name: str) -> None:
        """Forget the definition of a resource, and what anyone is about to learn of it."""
        self._resources.drop(name)
        self._reigns += 1

    def _forget(self) -> None:
        self._shown = -inf
        self._reigns += 1
        self._resources.clear()
        self._documents.clear()
        self._reads.clear()


class _Witness:
    """Watches the store do one thing."""

    __slots__ = ("_began", "_cache", "_reigning")

    def __init__(self, cache: CachedStore, *, reigning: bool) -> None:
        self._cache = cache
        self._reigning = reigning

    def __enter__(self) -> None:
        self._began = self._cache.begun(self)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._cache.ended(self, self._began if self._reigning else -inf, error)
