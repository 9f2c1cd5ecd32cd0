"""A store that fails as it is told to, and one life of a lock manager upon it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from enum import Enum, auto
from math import inf, isfinite
from secrets import token_hex
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock

from resourced.assembly import assemble_locking
from resourced.errors import EpochLost, StoreUnavailable
from resourced.locks.state.limits import Limits, Times
from resourced.metrics.collect import Metrics
from resourced.model import Batch, Document, Event, LockKey, Mark, Place, Resource, Snapshot, Standing, Term, Weight
from resourced.testing import MemoryStore
from resourced.usage import By, Use
from tests.assembled import configured, surroundings
from tests.leading import open_journal

T = TypeVar("T")


#: When each life begins, in Unix time.
MIDNIGHT = 1_700_000_000.0


class Outcome(Enum):
    """What becomes of a commit."""

    DONE = auto()
    #: Nothing is done, and an error is the answer.
    FAILED = auto()
    #: All is done, but the answer is an error: the connection broke just then.
    UNANSWERED = auto()


class FaultyStore:
    """
    One process's way to a disk that outlives it.

    :param judge: whether each write is checked against the places on the disk.
    :ivar away: whether nothing gets through.
    :ivar slow: whether commits stay under way until ``finish`` is called.
    :ivar outcome: what becomes of commits that are not slow.
    :ivar reign_outcome: what becomes of an attempt to become the one writer.
    :ivar batches: every batch that was to be committed.
    """

    def __init__(self, disk: MemoryStore, *, judge: bool = True) -> None:
        self.disk = disk
        self.away = False
        self.slow = False
        self.outcome = self.reign_outcome = Outcome.DONE
        self.batches: list[Batch] = []
        self.confirm_leader = 0
        self._judge = judge
        self._epoch = 0
        self._under_way: list[Deferred[Outcome]] = []

    @property
    def busy(self) -> bool:
        """Whether a commit is under way."""
        return bool(self._under_way)

    async def do(self, batch: Batch) -> None:
        """Let a batch come to the disk."""
        if not self._judge:
            # Each write brings the place along that the disk asks for.
            places = [
                Place(write.seq, write.key, write.ticket, Standing.HOLDING, write.fence, "", "")
                for write in batch.writes
            ]
            batch = replace(batch, places=places, gone=batch.gone + [place.seq for place in places])
        await self.disk.commit(batch)

    def finish(self, outcome: Outcome = Outcome.DONE) -> None:
        """End the commit that is under way."""
        self._under_way.pop(0).callback(outcome)

    def heal(self) -> None:
        """Let everything work from here on."""
        self.away = self.slow = False
        self.outcome = self.reign_outcome = Outcome.DONE

    async def commit(self, batch: Batch) -> None:
        self.batches.append(batch)
        self._reach()
        outcome = self.outcome
        if self.slow:
            ending: Deferred[Outcome] = Deferred()
            self._under_way.append(ending)
            outcome = await ending
        if self._epoch != self.disk.epoch:
            raise EpochLost("Another daemon has taken over.")
        if outcome is not Outcome.FAILED:
            await self.do(batch)
        if outcome is not Outcome.DONE:
            raise StoreUnavailable("The store did not answer.")

    async def look(self, *, everywhere: bool = False) -> Term:
        self._reach()
        return await self.disk.look(everywhere=everywhere)

    async def begin_term(self, over: Term | None = None, guard: str = "") -> Snapshot:
        self._reach()
        if over is None and self._epoch != self.disk.epoch:
            raise EpochLost("Another daemon has taken over.")
        self.confirm_leader += 1
        if self.reign_outcome is not Outcome.FAILED:
            snapshot = await self.disk.begin_term(over, guard)
            self._epoch = snapshot.epoch
        if self.reign_outcome is not Outcome.DONE:
            raise StoreUnavailable("The store did not answer.")
        return snapshot

    async def create_resource(
        self, name: str, timeout: int, *, group: str = "", longest: int = 0, slots: int = 0
    ) -> Resource:
        self._reach()
        return await self.disk.create_resource(name, timeout, group=group, longest=longest, slots=slots)

    async def change_resource(self, name: str, changes: Mapping[str, int | str]) -> Resource:
        self._reach()
        return await self.disk.change_resource(name, changes)

    async def list_resources(self, prefix: str, after: str, limit: int) -> list[Resource]:
        self._reach()
        return await self.disk.list_resources(prefix, after, limit)

    async def list_selectors(self, resource: Resource, prefix: str, after: str, limit: int) -> list[str]:
        self._reach()
        return await self.disk.list_selectors(resource, prefix, after, limit)

    async def find_resource(self, name: str) -> Resource:
        self._reach()
        return await self.disk.find_resource(name)

    async def read(self, resource: Resource, selector: str) -> Document:
        self._reach()
        return await self.disk.read(resource, selector)

    async def read_all(self, wanted: Sequence[tuple[Resource, str]]) -> list[Document | None]:
        self._reach()
        return await self.disk.read_all(wanted)

    async def events(self, key: LockKey, before: int, limit: int) -> list[Event]:
        self._reach()
        return await self.disk.events(key, before, limit)

    async def events_before(self, before: int, limit: int) -> list[Event]:
        self._reach()
        return await self.disk.events_before(before, limit)

    async def events_since(self, after: int, limit: int) -> list[Event]:
        self._reach()
        return await self.disk.events_since(after, limit)

    async def newest_event(self) -> int:
        self._reach()
        return await self.disk.newest_event()

    async def weigh_events(self, after: int, limit: int) -> Weight:
        self._reach()
        return await self.disk.weigh_events(after, limit)

    async def marks(self) -> list[Mark]:
        self._reach()
        return await self.disk.marks()

    async def mark(self, mark: Mark, first: int, last: int) -> None:
        self._reach()
        if self.outcome is not Outcome.FAILED:
            await self.disk.mark(mark, first, last)
        if self.outcome is not Outcome.DONE:
            raise StoreUnavailable("The store did not answer.")

    async def roll_up(self, limit: int) -> int:
        self._reach()
        return await self.disk.roll_up(limit)

    async def usage(self, resource: str, by: By, since: int, limit: int) -> dict[str, Use]:
        self._reach()
        return await self.disk.usage(resource, by, since, limit)

    async def forget_usage(self, days: int) -> bool:
        self._reach()
        return await self.disk.forget_usage(days)

    async def forget_events(self, last: int) -> bool:
        self._reach()
        return await self.disk.forget_events(last)

    async def forget_losses(self, last: int) -> bool:
        self._reach()
        return await self.disk.forget_losses(last)

    async def ping(self) -> None:
        self._reach()

    async def beat(self, guard: str, event: int = 0, passed: int = 0) -> None:
        self._reach()
        if self._epoch != self.disk.epoch:
            raise EpochLost("Another daemon has taken over.")
        await self.disk.beat(guard, event, passed)

    async def leave(self) -> None:
        self._reach()
        await self.disk.leave()

    async def sweep(self) -> bool:
        self._reach()
        return await self.disk.sweep()

    async def close(self) -> None:
        return

    def _reach(self) -> None:
        if self.away:
            raise StoreUnavailable("The store is away.")


class Life:
    """
    One life of the daemon, from its start to its end: a lock manager with its journal.

    :ivar deposed: each time that it learned of another daemon's term.
    """

    def __init__(
        self,
        disk: MemoryStore,
        *,
        durable: bool = True,
        times: Times | None = None,
        limits: Limits | None = None,
        new_ticket: Callable[[], str] = lambda: token_hex(16),
        belief: float = inf,
        seconds: float = 0.0,
        wrong: float = 0.0,
    ) -> None:
        self.clock = Clock()
        self.clock.advance(seconds)
        self.store = FaultyStore(disk, judge=durable)
        self.leadership_lost: list[EpochLost] = []
        self._requests: list[Deferred[Any]] = []
        times, limits = times or Times(), limits or Limits()
        config = configured(
            reference_path=True,
            volatile_locks=not durable,
            lease=times.lease,
            place=times.place,
            claim=times.claim,
            max_queue=limits.queue,
            max_waiting=limits.waiting,
            max_locks=limits.locks,
            max_units=limits.units,
        )
        # The wall clock may be set before anything has happened.
        self.wrong = wrong
        around = surroundings(
            self.clock,
            self.leadership_lost.append,
            wall=lambda: MIDNIGHT + self.wrong + self.clock.seconds(),
            new_ticket=new_ticket,
            leader_lease=belief,
            predecessor_lease=belief if isfinite(belief) else 0.0,
        )
        locking = assemble_locking(config, around, self.store, Metrics())
        # It notices no pause unless there is a sign of life.
        self.pauses, self.feed, self.lease = locking.pauses, locking.feed, locking.lease
        self.journal, self.locks = locking.journal, locking.locks

    def open(self) -> Deferred[None]:
        """Take over what is on the disk."""
        return Deferred.fromCoroutine(open_journal(self.journal, self.store))

    def believed(self) -> dict[int, Place]:
        """What the manager believes, in the words of the store."""
        places = [entry.place() for queue in self.locks.places.queues.by_key.values() for entry in queue]
        return {place.seq: place for place in places}

    def heard(self, request: Deferred[T] | Coroutine[Deferred[Any], Any, T]) -> Deferred[T]:
        """Note a request, so that nothing of it is left when the test is over."""
        heard = ensureDeferred(request)
        self._requests.append(heard)
        return heard

    def crash(self, outcome: Outcome = Outcome.FAILED) -> None:
        """
        End at once: nothing of what was under way is told to anyone, nor gets anything else to the disk.

        :param outcome: what becomes of a commit under way.
        """
        store = self.store
        if store.busy and outcome is not Outcome.FAILED and not store.away:
            Deferred.fromCoroutine(store.do(store.batches[-1]))
        store.away = True

    def bury(self) -> None:
        """Crash, and let no coroutine of this life be left to the garbage collector: it would run their ends at any time."""
        self.crash()
        while self.store.busy:
            self.store.finish(Outcome.FAILED)
        for request in self._requests:
            request.cancel()
            request.addErrback(lambda _: None)
        self._requests.clear()
