"""The API: its routes, what they ask of a request, and what they answer. What goes over the wire is decided here."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from math import inf
from typing import Any, TypeVar, cast
from urllib.parse import quote

from klein import Klein
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from resourced import jsontext
from resourced.answers import RETRY_AFTER, answer, document, error, held, noted, queued, waits
from resourced.auth import Keys, Permission
from resourced.errors import (
    BadRequest,
    BodyTooLarge,
    DataNotFound,
    EpochLost,
    NotAuthorized,
    NotHolder,
    Overloaded,
    ResourcedError,
    ResourceExists,
    ResourceNotFound,
    StoreUnavailable,
    TicketEnded,
    TicketRequired,
)
from resourced.locks import Held, LockManager, Queued
from resourced.model import Key, Resource
from resourced.parse import (
    body_of,
    definition,
    flag,
    header,
    named,
    needed_ticket,
    owner_of,
    presented_key,
    retry_of,
    wait_of,
)
from resourced.routing import Segment
from resourced.store import Store
from resourced.waiting import Shared

Handler = TypeVar("Handler", bound=Callable[..., Any])

log = Logger()

#: For how many seconds the server is not well after a write that the store did not take, if all else is as it should be.
LATELY = 0.5

#: From an error to its status: the first line that fits.
STATUSES: tuple[tuple[type[ResourcedError], int], ...] = (
    (BadRequest, 400),
    (NotAuthorized, 401),
    (ResourceNotFound, 404),
    (DataNotFound, 404),
    (ResourceExists, 409),
    (TicketEnded, 410),
    (BodyTooLarge, 413),
    (NotHolder, 423),
    (TicketRequired, 428),
    (Overloaded, 503),
    (EpochLost, 503),
    (StoreUnavailable, 503),
    (ResourcedError, 500),
)


def _klein() -> Klein:
    app = Klein()
    app.url_map.converters["name"] = Segment
    # An empty segment is no name, and must not be mended by a redirect.
    app.url_map.merge_slashes = False
    return app


def _route(app: Klein, pattern: str, methods: list[str]) -> Callable[[Handler], Handler]:
    """Register a route whose requests are known by it in the access log, and by the names in their paths."""
    label = re.sub(r"<\w+:(\w+)>", r"{\1}", pattern)

    def register(handler: Handler) -> Handler:
        @wraps(handler)
        def handle(api: ResourceAPI, request: Request, **names: str) -> Any:
            noted(request, route=label, **names)
            return handler(api, request, **names)

        app.route(pattern, methods=methods)(cast(Any, handle))
        return cast("Handler", handle)

    return register


class ResourceAPI:
    """
    The Klein app.

    :param longest_wait: the most that a request may wait for a lock, in seconds.
    :param fault: says what was found to be wrong with the store in the last so many seconds, if anything.
    """

    app = _klein()

    def __init__(
        self,
        keys: Keys,
        store: Store,
        locks: LockManager,
        *,
        longest_wait: float,
        fault: Callable[[float], StoreUnavailable | None] = lambda _: None,
    ) -> None:
        self._keys = keys
        self._store = store
        self._locks = locks
        self._longest_wait = longest_wait
        self._fault = fault
        self._pulse = Shared(store.ping)

    # -- Routes

    @_route(app, "/health", ["GET"])
    async def health(self, request: Request) -> bytes:
        """Say whether the server can do its work."""
        try:
            await self._pulse.done()
            self._locks.check()
        except StoreUnavailable as away:
            raise self._fault(inf) or away from None
        if fault := self._fault(LATELY):
            raise fault
        return answer(request, 200, {"health": "ok"})

    @_route(app, "/resource", ["POST"])
    async def create(self, request: Request) -> bytes:
        """Create a resource."""
        self._authorize(request, Permission.WRITE)
        name, timeout = definition(body_of(request))
        resource = await self._store.create_resource(name, timeout)
        request.setHeader(b"location", b"/resource/" + quote(name, safe="").encode())
        return answer(request, 201, {"id": resource.id, "name": resource.name, "timeout": resource.timeout})

    @_route(app, "/resource/<name:resource>/<name:selector>", ["GET"])
    async def get(self, request: Request, resource: str, selector: str) -> bytes:
        """Read, and unless that is not wanted take or keep the lock."""
        owner = self._authorize(request, Permission.READ)
        lock = flag(request, b"lock", default=True) and request.method != b"HEAD"
        raw = flag(request, b"raw", default=False)
        if lock:
            self._authorize(request, Permission.LOCK)
        key = named(resource, selector)
        found = await self._store.find_resource(resource)
        if not lock:
            return document(request, await self._store.read(found, selector), raw=raw)
        outcome = await self._acquire(request, key, found, owner)
        if isinstance(outcome, Queued):
            return queued(request, outcome, {"unavailable": True, "position": outcome.position})
        try:
            read = await self._store.read(found, selector)
        except DataNotFound as nothing:
            # Its first client may never learn of a lock that comes with an error, so it has to come back for it.
            lease = (
                await self._locks.leave_unclaimed(key, outcome) if outcome.fresh else self._locks.confirm(key, outcome)
            )
            held(request, outcome, lease)
            return error(request, 404, nothing)
        except StoreUnavailable:
            await self._locks.withdraw(key, outcome)
            raise
        held(request, outcome, self._locks.confirm(key, outcome))
        return document(request, read, raw=raw)

    @_route(app, "/resource/<name:resource>/<name:selector>/lock", ["PUT", "POST"])
    async def lock(self, request: Request, resource: str, selector: str) -> bytes:
        """Take or keep the lock without reading."""
        owner = self._authorize(request, Permission.LOCK)
        key = named(resource, selector)
        found = await self._store.find_resource(resource)
        outcome = await self._acquire(request, key, found, owner)
        if isinstance(outcome, Queued):
            return queued(request, outcome, {"locked": False, "position": outcome.position})
        held(request, outcome, self._locks.confirm(key, outcome))
        return answer(request, 200, {"locked": True})

    @_route(app, "/resource/<name:resource>/<name:selector>", ["PUT"])
    async def update(self, request: Request, resource: str, selector: str) -> bytes:
        """Write as the holder, and release the lock in the same step if that is wanted."""
        self._authorize(request, Permission.WRITE)
        unlock = flag(request, b"unlock", default=False)
        key = named(resource, selector)
        ticket = needed_ticket(request)
        data = jsontext.check(body_of(request))
        found = await self._store.find_resource(resource)
        await self._locks.write(key, found.id, ticket, data, unlock=unlock)
        request.setResponseCode(204)
        return b""

    @_route(app, "/resource/<name:resource>/<name:selector>/unlock", ["PUT", "POST"])
    async def unlock(self, request: Request, resource: str, selector: str) -> bytes:
        """Release the lock, or give up the place in the queue."""
        self._authorize(request, Permission.READ)
        key = named(resource, selector)
        released = await self._locks.unlock(key, needed_ticket(request))
        if not released:
            await self._store.find_resource(resource)
        return answer(request, 200, {"unlocked": released})

    # -- Errors: one way from an exception to an answer

    @app.handle_errors(Exception)  # type: ignore[arg-type]
    def failed(self, request: Request, failure: Failure) -> bytes:
        """Answer an exception of whatever kind."""
        reason = failure.value
        if isinstance(reason, ResourcedError):
            return _refused(request, reason)
        if isinstance(reason, HTTPException):
            return _unrouted(request, reason)
        log.failure("A request failed in a way that nobody thought of.", failure)
        refusal = ResourcedError("The server has failed. Its log says more.")
        refusal.code = "internal_error"
        return error(request, 500, refusal)

    # -- What the routes share

    def _authorize(self, request: Request, needed: Permission) -> str:
        name = self._keys.authorize(presented_key(request), needed)
        noted(request, owner=name)
        return name

    async def _acquire(self, request: Request, key: Key, resource: Resource, owner: str) -> Held | Queued:
        ticket = header(request, b"x-ticket")
        owner = owner_of(request) or owner
        noted(request, owner=owner)
        wait = wait_of(request, self._longest_wait)
        if wait:
            waits(request)
        return await self._locks.acquire(
            key,
            lease=resource.timeout,
            ticket=ticket,
            wait=wait,
            owner=owner,
            retry="" if ticket else retry_of(request),
        )


def _refused(request: Request, reason: ResourcedError) -> bytes:
    """Answer what the server itself has to object."""
    status = next(status for kind, status in STATUSES if isinstance(reason, kind))
    if status == 401:
        request.setHeader(b"www-authenticate", b'Bearer realm="resourced"')
    if status == 503:
        request.setHeader(b"retry-after", b"%d" % RETRY_AFTER)
    return error(request, status, reason)


def _unrouted(request: Request, reason: HTTPException) -> bytes:
    """Answer what is wrong with the path or the method."""
    if isinstance(reason, MethodNotAllowed):
        methods = ", ".join(sorted(reason.valid_methods or ()))
        request.setHeader(b"allow", methods.encode())
        refusal = ResourcedError(f"This path knows only {methods}.")
        refusal.code = "method_not_allowed"
        return error(request, 405, refusal)
    if reason.code == 404:
        refusal = ResourcedError("There is nothing at this path.")
        refusal.code = "unknown_path"
        return error(request, 404, refusal)
    return error(request, 400, BadRequest("The path is not percent-encoded UTF-8.", "bad_path"))
