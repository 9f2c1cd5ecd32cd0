"""What those who build on ``resourced`` need to test against it: a store in memory behind the same contract."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from uuid import uuid4

from resourced.errors import DataNotFound, ResourceExists, ResourceNotFound, StoreRefused
from resourced.model import Batch, Document, Event, Key, Place, Reign, Resource, Standing


class MemoryStore:
    """
    A ``resourced.store.Store`` that forgets everything with its process, for tests.

    :param judge: check of each write that its ticket holds the lock; off where places are not kept (volatile locks).
    """

    def __init__(self, *, judge: bool = True) -> None:
        self._judge = judge
        self.resources: dict[str, Resource] = {}
        self.documents: dict[Key, Document] = {}
        self.places: dict[int, Place] = {}
        self.events: dict[int, Event] = {}
        self.event = 0
        self.epoch = 0
        self.fence = 0

    async def create_resource(self, name: str, timeout: int) -> Resource:
        if name in self.resources:
            raise ResourceExists("There is a resource of this name already.")
        resource = self.resources[name] = Resource(str(uuid4()), name, timeout)
        return resource

    async def find_resource(self, name: str) -> Resource:
        try:
            return self.resources[name]
        except KeyError:
            raise ResourceNotFound("There is no resource of this name.") from None

    async def change_resource(self, name: str, timeout: int) -> Resource:
        found = await self.find_resource(name)
        resource = self.resources[name] = replace(found, timeout=timeout)
        return resource

    async def list_resources(self, prefix: str, after: str, limit: int) -> list[Resource]:
        names = (name for name in sorted(self.resources) if name.startswith(prefix) and name > after)
        return [self.resources[name] for name in islice(names, limit)]

    async def list_selectors(self, resource: Resource, prefix: str, after: str, limit: int) -> list[str]:
        names = (key.selector for key in sorted(self.documents) if key.resource == resource.name)
        return list(islice((name for name in names if name.startswith(prefix) and name > after), limit))

    async def read(self, resource: Resource, selector: str) -> Document:
        if resource.name not in self.resources:
            raise ResourceNotFound("There is no resource of this name any more.")
        try:
            return self.documents[Key(resource.name, selector)]
        except KeyError:
            raise DataNotFound("Nothing was written at this selector yet.") from None

    async def ping(self) -> None:
        return

    async def reign(self) -> Reign:
        self.epoch += 1
        places = sorted(self.places.values())
        timeouts = {name: resource.timeout for name, resource in self.resources.items()}
        return Reign(self.epoch, self.fence, places, timeouts, self.event)

    async def commit(self, batch: Batch) -> None:
        places = self.places | {place.seq: place for place in batch.places}
        for write in batch.writes if self._judge else ():
            holder = places.get(write.seq)
            if (
                holder is None
                or holder.standing not in {Standing.GRANTED, Standing.HOLDING}
                or (holder.key, holder.ticket, holder.fence) != (write.key, write.ticket, write.fence)
            ):
                raise StoreRefused("The writer does not hold the lock.")
        for write in batch.writes:
            known = self.documents.pop(write.key, None)
            if write.data is not None:
                id_ = known.id if known else str(uuid4())
                self.documents[write.key] = Document(
                    id_, write.resource_id, write.key.selector, write.data, write.version
                )
        for resource in batch.removed:
            del self.resources[resource.name]
            for key in [key for key in self.documents if key.resource == resource.name]:
                del self.documents[key]
        self.events |= {event.id: event for event in batch.events}
        self.event = max(self.event, batch.event)
        self.places = {seq: place for seq, place in places.items() if seq not in set(batch.gone)}
        self.fence = max(self.fence, batch.fence)

    async def sweep(self) -> bool:
        # A removed resource leaves nothing here.
        return False

    async def close(self) -> None:
        return
