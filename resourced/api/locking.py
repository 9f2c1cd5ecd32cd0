"""The published API: its routes, what they ask of a request, and what they answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf
from urllib.parse import quote

from resourced import jsontext
from resourced.api.base import Routes, route, who_of
from resourced.api.definitions import definition, described
from resourced.api.params import (
    OF_LOCKS,
    address_of,
    flag,
    header,
    holds_of,
    idempotency_key_of,
    lease_of,
    named,
    needed_ticket,
    only,
    owner_of,
    priority_of,
    unless_of,
    wait_of,
    writing_of,
)
from resourced.api.pool_params import broken_of, fieldless
from resourced.api.responses import (
    answer,
    document,
    done,
    error,
    held,
    queued,
    sent,
    tagged,
    waits,
    written,
)
from resourced.auth.keys import Identity, Keys, Permission
from resourced.deferreds import Shared
from resourced.errors import DataNotFound, StoreUnavailable
from resourced.http.request import EdgeRequest
from resourced.locks.manager import LockManager, Reader
from resourced.locks.state.requests import Acquired, LockRequest, Queued
from resourced.model import Breaker, LockKey, Resource, etag_of
from resourced.storage.interface import Store

#: For how many seconds the server is not well after a write that the store did not take, if all else is as it should be.
LATELY = 0.5

# What is said most often is written once.
LOCKED = jsontext.write({"locked": True})
UNLOCKED = tuple(jsontext.write({"unlocked": released}) for released in (False, True))


class Published(Routes):
    """
    The published API.

    :param longest_wait: the most that a request may wait for a lock, in seconds.
    :param usual_wait: how long one waits that does not say, in seconds.
    :param fault: says what was found to be wrong with the store in the last so many seconds, if anything.
    """

    def __init__(
        self,
        keys: Keys,
        store: Store,
        locks: LockManager,
        *,
        longest_wait: float,
        usual_wait: float = 0.0,
        fault: Callable[[float], StoreUnavailable | None] = lambda _: None,
    ) -> None:
        super().__init__(keys, store, locks)
        self._longest_wait = longest_wait
        self._usual_wait = usual_wait
        self._fault = fault
        self._health_check = Shared(store.ping)

    # -- Routes

    @route("/health", ["GET"])
    async def health(self, request: EdgeRequest) -> bytes:
        """Say whether the server can do its work."""
        try:
            await self._health_check.done()
            self.locks.check()
        except StoreUnavailable as away:
            raise self._fault(inf) or away from None
        if fault := self._fault(LATELY):
            raise fault
        return answer(request, 200, {"health": "ok"})

    @route("/resource", ["POST"])
    async def create(self, request: EdgeRequest) -> bytes:
        """Create a resource."""
        identity = self.authorize(request, Permission.WRITE)
        new = definition(request.body())
        identity.require(new.name)
        identity.allow_group(new.group)
        self.locks.territory.check_group(new.group or new.name)
        self.locks.units.check_slots(new.name, new.slots)
        resource = await self.store.create_resource(
            new.name, new.timeout, group=new.group, longest=new.longest, slots=new.slots
        )
        self.locks.territory.learn(resource)
        if new.slots:
            await self.locks.units.set_slots(new.name, 0, new.slots, who_of(request, identity))
        request.setHeader(b"location", b"/resource/" + quote(new.name, safe="").encode())
        return answer(request, 201, described(resource))

    @route("/resource/<name:resource>/<name:selector>", ["GET"])
    async def get(self, request: EdgeRequest, resource: str, selector: str) -> bytes:
        """Read, and unless that is not wanted take or keep the lock."""
        identity = self.authorize(request, Permission.READ, resource)
        lock = flag(request, b"lock", default=True) and request.method != b"HEAD"
        raw = flag(request, b"raw", default=False)
        if not lock:
            return await self._read(request, named(resource, selector), raw=raw)
        only(request, b"lock", b"raw", b"wait", b"lease")
        identity.allow(Permission.LOCK)
        key = named(resource, selector)
        found = await self.find(resource)
        outcome = await self._acquire(request, key, found, identity, lambda: self.store.read(found, selector))
        if isinstance(outcome, Queued):
            return queued(request, outcome, {"unavailable": True, "position": outcome.position})
        held(request, outcome)
        if isinstance(outcome.found, DataNotFound):
            return error(request, 404, outcome.found)
        return document(request, outcome.found, raw=raw)

    @route("/resource/<name:resource>/<name:selector>/lock", ["PUT", "POST"])
    async def lock(self, request: EdgeRequest, resource: str, selector: str) -> bytes:
        """Take or keep the lock without reading."""
        identity = self.authorize(request, Permission.LOCK, resource)
        only(request, b"wait", b"lease")
        fieldless(request)
        key = named(resource, selector)
        outcome = await self._acquire(request, key, await self.find(resource), identity)
        if isinstance(outcome, Queued):
            return queued(request, outcome, {"locked": False, "position": outcome.position})
        held(request, outcome)
        return sent(request, 200, LOCKED)

    @route("/resource/<name:resource>/<name:selector>", ["PUT"])
    async def update(self, request: EdgeRequest, resource: str, selector: str) -> bytes:
        """Write as the holder, and release the lock in the same step if that is wanted."""
        identity = self.authorize(request, Permission.WRITE, resource)
        key = named(resource, selector)
        writing = writing_of(request)
        data = jsontext.check(request.body())
        outcome = await self.write(key, writing, data, identity)
        written(request, outcome)
        tagged(request, etag_of(outcome.version, data))
        return done(request)

    @route("/resource/<name:resource>/<name:selector>/unlock", ["PUT", "POST"])
    async def unlock(self, request: EdgeRequest, resource: str, selector: str) -> bytes:
        """Release the lock, or give up the place in the queue."""
        identity = self.authorize(request, Permission.READ, resource)
        only(request)
        key = named(resource, selector)
        broken = self._broken(request, identity)
        if not self.locks.territory.whole:
            # Who decides about it follows from its group.
            await self.find(resource)
        released = await self.locks.unlock(key, needed_ticket(request), key_name=identity.name, broken=broken)
        if not released:
            await self.find(resource)
        return sent(request, 200, UNLOCKED[released])

    # -- What the routes share

    def _broken(self, request: EdgeRequest, identity: Identity) -> Breaker | None:
        """Return who gives a unit back as broken, and why, if it does."""
        reason = broken_of(request)
        if not reason:
            return None
        identity.allow(Permission.LOCK)
        return Breaker(identity.name, owner_of(request), reason)

    async def _read(self, request: EdgeRequest, key: LockKey, *, raw: bool) -> bytes:
        """Read without the lock."""
        unless = unless_of(request)
        read = await self.store.read(await self.find(key.resource), key.selector)
        if all(condition.passes(read.etag) for condition in unless):
            return document(request, read, raw=raw)
        tagged(request, read.etag)
        return done(request, 304)

    def _acquire(
        self, request: EdgeRequest, key: LockKey, resource: Resource, identity: Identity, read: Reader | None = None
    ) -> Awaitable[Acquired | Queued]:
        """Take or keep the lock as a request wishes."""
        # Not a coroutine of its own, which ten thousand who wait would have to keep.
        if b"?" in request.uri or request.has_any(OF_LOCKS):
            wanted = self._wanted(request, key, resource, identity)
        else:
            # Most requests say no more.
            name = identity.name
            wanted = LockRequest(
                key, resource.timeout, wait=self._usual_wait, owner=name, key_name=name, origin=address_of(request)
            )
        if wanted.wait:
            waits(request)
        return self.locks.acquire(wanted, read)

    def _wanted(self, request: EdgeRequest, key: LockKey, resource: Resource, identity: Identity) -> LockRequest:
        """Return what a request says of the lock that it wants."""
        ticket = header(request, b"x-ticket")
        # Also where it makes no difference it has to be one.
        idempotency_key = idempotency_key_of(request)
        said = owner_of(request)
        owner = said or identity.name
        request.notes["owner"] = owner
        asked_lease = lease_of(request, resource.longest or resource.timeout or int(self.locks.usual_lease))
        if priority := priority_of(request):
            identity.allow_priority(priority)
        return LockRequest(
            key,
            lease=resource.timeout,
            ticket=ticket,
            wait=wait_of(request, self._longest_wait, self._usual_wait),
            owner=owner,
            idempotency_key="" if ticket else idempotency_key,
            key_name=identity.name,
            holds=holds_of(request),
            origin="" if ticket or idempotency_key or said else address_of(request),
            asked_lease=asked_lease,
            priority=priority,
        )
