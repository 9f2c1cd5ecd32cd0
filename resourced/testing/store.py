"""A store in memory, behind the same contract as the real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any
from uuid import uuid4

from resourced.errors import (
    DataNotFound,
    EpochLost,
    EventsForgotten,
    ResourceExists,
    ResourceNotFound,
    StoreRefused,
)
from resourced.model import (
    EVENT_SIZE,
    Batch,
    Document,
    Event,
    LockKey,
    Loss,
    Mark,
    Place,
    Resource,
    Snapshot,
    Standing,
    Term,
    Weight,
)
from resourced.usage import By, Of, Use, used
from resourced.wants import Card, JointRequest


@dataclass(slots=True)
class SharedState:
    """What all daemons share beside the tables: who the leader is, and the highest numbers that were given out."""

    epoch: int = 0
    beat: int = 0
    owner: object = None
    state: str = "gone"
    guard: str = ""
    fence: int = 0
    event: int = 0
    counted: int = 0
    passed: int = 0


class MemoryStore:
    """
    A ``resourced.storage.interface.Store`` that forgets everything with its process, for tests.

    :ivar judge: whether each write is checked to come from the holder; not so where places are not kept (volatile locks).
    """

    def __init__(self, *, judge: bool = True) -> None:
        self.judge = judge
        self.resources: dict[str, Resource] = {}
        self.documents: dict[LockKey, Document] = {}
        self.places: dict[int, Place] = {}
        self.events_kept: dict[int, Event] = {}
        self.marks_kept: dict[int, Mark] = {}
        self.losses: dict[int, Loss] = {}
        self.joints: dict[int, JointRequest] = {}
        self.cards: dict[LockKey, Card] = {}
        self.used: dict[Of, Use] = {}
        self.server = SharedState()
        # Under which epoch this daemon is the leader, and as whom.
        self._epoch = 0
        self._owner = object()

    def another(self) -> MemoryStore:
        """Return the way of another daemon to what is kept here."""
        other = MemoryStore(judge=self.judge)
        other.resources, other.documents = self.resources, self.documents
        other.places, other.events_kept, other.losses = self.places, self.events_kept, self.losses
        other.marks_kept = self.marks_kept
        other.joints, other.cards = self.joints, self.cards
        other.used = self.used
        other.server = self.server
        return other

    @property
    def epoch(self) -> int:
        """The number of the last term."""
        return self.server.epoch

    @property
    def fence(self) -> int:
        """The highest fence that was ever given out."""
        return self.server.fence

    def _claim(self) -> None:
        """
        Change the leader's row, if this daemon is the leader.

        :raises EpochLost: it is not.
        """
        if not self._leads:
            raise EpochLost("Another daemon has taken over this store.")
        self.server.beat += 1

    @property
    def _leads(self) -> bool:
        return bool(self._epoch) and self.server.owner is self._owner and self.server.state == "up"

    async def create_resource(
        self, name: str, timeout: int, *, group: str = "", longest: int = 0, slots: int = 0
    ) -> Resource:
        self._claim()
        if name in self.resources:
            raise ResourceExists("There is a resource of this name already.")
        resource = self.resources[name] = Resource(str(uuid4()), name, timeout, group, longest, slots)
        return resource

    async def find_resource(self, name: str) -> Resource:
        try:
            return self.resources[name]
        except KeyError:
            raise ResourceNotFound("There is no resource of this name.") from None

    async def change_resource(self, name: str, changes: Mapping[str, int | str]) -> Resource:
        self._claim()
        found: Any = await self.find_resource(name)
        resource: Resource = replace(found, **changes)
        self.resources[name] = resource
        return resource

    async def list_resources(self, prefix: str, after: str, limit: int) -> list[Resource]:
        names = (name for name in sorted(self.resources) if name.startswith(prefix) and name > after)
        return [self.resources[name] for name in islice(names, limit)]

    async def list_selectors(self, resource: Resource, prefix: str, after: str, limit: int) -> list[str]:
        names = sorted(found.selector for found in self.documents.values() if found.resource_id == resource.id)
        return list(islice((name for name in names if name.startswith(prefix) and name > after), limit))

    async def read(self, resource: Resource, selector: str) -> Document:
        if resource.name not in self.resources:
            raise ResourceNotFound("There is no resource of this name any more.")
        document = self.documents.get(LockKey(resource.name, selector))
        if document is None:
            raise DataNotFound.at(resource.name, selector)
        return document

    async def read_all(self, wanted: Sequence[tuple[Resource, str]]) -> list[Document | None]:
        documents: list[Document | None] = []
        for resource, selector in wanted:
            try:
                documents.append(await self.read(resource, selector))
            except DataNotFound:
                documents.append(None)
        return documents

    async def events(self, key: LockKey, before: int, limit: int) -> list[Event]:
        return [event for event in await self.events_before(before, len(self.events_kept)) if event.key == key][:limit]

    async def events_before(self, before: int, limit: int) -> list[Event]:
        found = (event for id_, event in sorted(self.events_kept.items(), reverse=True) if id_ < before)
        return list(islice(found, limit))

    async def events_since(self, after: int, limit: int) -> list[Event]:
        if after + 1 < min(self.events_kept, default=self.server.event + 1):
            raise EventsForgotten("What has happened since is not kept any more.")
        return list(islice((event for id_, event in sorted(self.events_kept.items()) if id_ > after), limit))

    async def newest_event(self) -> int:
        return max(self.events_kept, default=0)

    async def weigh_events(self, after: int, limit: int) -> Weight:
        found = [event for id_, event in sorted(self.events_kept.items()) if id_ > after][:limit]
        size = sum(
            EVENT_SIZE
            + len(
                "".join(
                    [*event.key, *event.key, *event.key, event.owner, event.key_name, event.by, event.reason]
                ).encode()
            )
            for event in found
        )
        return Weight(found[-1].id if found else after, len(found), size)

    async def marks(self) -> list[Mark]:
        return sorted(self.marks_kept.values())

    async def mark(self, mark: Mark, first: int, last: int) -> None:
        self._claim()
        for passed in [passed for passed in self.marks_kept if not first <= passed <= last]:
            del self.marks_kept[passed]
        self.marks_kept[mark.passed] = mark

    async def forget_events(self, last: int) -> bool:
        self._claim()
        for id_ in [id_ for id_ in self.events_kept if id_ <= last]:
            del self.events_kept[id_]
        return False

    async def forget_losses(self, last: int) -> bool:
        self._claim()
        for id_ in [id_ for id_ in self.losses if id_ <= last]:
            del self.losses[id_]
        return False

    async def roll_up(self, limit: int) -> int:
        self._claim()
        events = [event for id_, event in sorted(self.events_kept.items()) if id_ > self.server.counted][:limit]
        for of, use in used(events).items():
            self.used[of] = self.used.get(of, Use()).plus(use)
        if events:
            self.server.counted = events[-1].id
        return self.server.counted

    async def usage(self, resource: str, by: By, since: int, limit: int) -> dict[str, Use]:
        found: dict[str, Use] = {}
        for of, use in self.used.items():
            if (of.resource, of.by) == (resource, by) and of.day >= since:
                found[of.name] = found.get(of.name, Use()).plus(use)
        order = sorted(found, key=lambda name: (-found[name].held, -found[name].grants, name))
        return {name: found[name] for name in order[:limit]}

    async def forget_usage(self, days: int) -> bool:
        self._claim()
        kept = sorted({of.day for of in self.used})[-days:]
        for of in [of for of in self.used if of.day not in kept]:
            del self.used[of]
        return False

    async def ping(self) -> None:
        if self._epoch and self.server.owner is not self._owner:
            raise EpochLost("Another daemon has taken over this store.")

    async def look(self, *, everywhere: bool = False) -> Term:  # noqa: ARG002
        server = self.server
        return Term(server.epoch, server.beat, server.owner is self._owner, server.state == "gone", server.guard)

    async def begin_term(self, over: Term | None = None, guard: str = "") -> Snapshot:
        server = self.server
        if not self._leads if over is None else (over.epoch, over.beat) != (server.epoch, server.beat):
            raise EpochLost("Another daemon has taken over this store.")
        server.epoch += 1
        server.beat += 1
        if over is not None:
            server.owner, server.state, server.guard = self._owner, "up", guard
        self._epoch = server.epoch
        places = sorted(self.places.values())
        used = {place.key.resource for place in places} | {key.resource for key in self.cards}
        resources = {name: resource for name, resource in self.resources.items() if name in used}
        losses = tuple(sorted(self.losses.values()))
        passed = max([server.passed, *self.marks_kept])
        return Snapshot(
            server.epoch,
            server.fence,
            places,
            resources,
            server.event,
            losses,
            passed,
            tuple(sorted(self.joints.values(), key=lambda joint: joint.seq)),
            dict(self.cards),
        )

    async def beat(self, guard: str, event: int = 0, passed: int = 0) -> None:
        self._claim()
        self.server.event = max(self.server.event, event)
        self.server.passed = max(self.server.passed, passed)
        self.server.guard = guard

    async def leave(self) -> None:
        self._claim()
        self.server.state, self.server.guard = "gone", ""

    async def commit(self, batch: Batch) -> None:
        self._claim()
        places = self.places | {place.seq: place for place in batch.places}
        for write in batch.writes if self.judge else ():
            holder = places.get(write.seq)
            if (
                holder is None
                or holder.standing not in {Standing.GRANTED, Standing.HOLDING}
                or (holder.key, holder.ticket, holder.fence) != (write.key, write.ticket, write.fence)
            ):
                raise StoreRefused("The writer does not hold the lock.")
        self._write(batch)
        self._remove(batch)
        self.events_kept |= {event.id: event for event in batch.events}
        self.places.update((place.seq, place) for place in batch.places)
        for seq in batch.gone:
            self.places.pop(seq, None)
        self._pool(batch)
        losses = {loss.event: loss for loss in batch.losses}
        if self.losses.keys() & losses or len(losses) < len(batch.losses):
            raise ValueError("There is a loss of this id already.")
        self.losses |= losses
        for lost in batch.forgotten:
            self.losses.pop(lost, None)
        self.server.event = max(self.server.event, batch.event)
        self.server.fence = max(self.server.fence, batch.fence)

    def _remove(self, batch: Batch) -> None:
        for resource in batch.removed:
            if self.resources.get(resource.name, resource).id == resource.id:
                self.resources.pop(resource.name, None)
            for key in [key for key in self.cards if key.resource == resource.name]:
                del self.cards[key]
            for key, document in list(self.documents.items()):
                if document.resource_id == resource.id:
                    del self.documents[key]

    def _pool(self, batch: Batch) -> None:
        for unit, card in batch.cards.items():
            if card is None:
                self.cards.pop(unit, None)
            else:
                self.cards[unit] = card
        self.joints.update((joint.seq, joint) for joint in batch.joints)
        for seq in batch.joints_gone:
            self.joints.pop(seq, None)

    def _write(self, batch: Batch) -> None:
        for write in {write.key: write for write in batch.writes}.values():
            known = self.documents.pop(write.key, None)
            if write.data is not None:
                id_ = known.id if known else str(uuid4())
                self.documents[write.key] = Document(
                    id_, write.resource_id, write.key.selector, write.data, write.version
                )

    async def sweep(self) -> bool:
        # A removed resource leaves nothing here.
        return False

    async def close(self) -> None:
        return
