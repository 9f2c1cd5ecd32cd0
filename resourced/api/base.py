"""What all routes share: the Klein app that they make together, who may use it, and the one way from an exception to an answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, NamedTuple, TypeVar, cast

from klein import Klein
from twisted.logger import Logger
from twisted.python.failure import Failure
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from resourced.api.params import Writing, owner_of, presented_key
from resourced.api.responses import RETRY_AFTER, error
from resourced.auth.keys import Identity, Keys, Permission
from resourced.errors import (
    BadRequest,
    BodyTooLarge,
    CardNotFound,
    DataNotFound,
    Deadlock,
    EpochLost,
    FenceMismatch,
    Forbidden,
    ForeignTicket,
    GroupForbidden,
    NodeNotFound,
    NoOtherNode,
    NotAuthorized,
    NotHolder,
    NotOwner,
    OtherGroup,
    Overloaded,
    OwnerAway,
    PreconditionFailed,
    PriorityForbidden,
    QuotaExceeded,
    ResourcedError,
    ResourceExists,
    ResourceInUse,
    ResourceNotFound,
    StoreUnavailable,
    TicketEnded,
    TicketRequired,
    TooFew,
)
from resourced.http.request import EdgeRequest
from resourced.http.routing import Segment
from resourced.locks.manager import LockManager
from resourced.locks.state.requests import Written
from resourced.model import Breaker, LockKey, Resource
from resourced.storage.interface import Store

Handling = Callable[..., Coroutine[Any, Any, bytes]]
Handler = TypeVar("Handler", bound=Handling)

log = Logger()

#: From an error to its status: the first line that fits.
STATUSES: tuple[tuple[type[ResourcedError], int], ...] = (
    (BadRequest, 400),
    (NotAuthorized, 401),
    (Forbidden, 403),
    (PriorityForbidden, 403),
    (GroupForbidden, 403),
    (ResourceNotFound, 404),
    (DataNotFound, 404),
    (CardNotFound, 404),
    (NodeNotFound, 404),
    (ResourceExists, 409),
    (TooFew, 409),
    (OtherGroup, 409),
    (ForeignTicket, 409),
    (Deadlock, 409),
    (NoOtherNode, 409),
    (TicketEnded, 410),
    (FenceMismatch, 412),
    (PreconditionFailed, 412),
    (BodyTooLarge, 413),
    (NotHolder, 423),
    (ResourceInUse, 423),
    (TicketRequired, 428),
    (QuotaExceeded, 429),
    (Overloaded, 503),
    (EpochLost, 503),
    (NotOwner, 503),
    (OwnerAway, 503),
    (StoreUnavailable, 503),
    (ResourcedError, 500),
)


#: What a method that answers a route has its rule under.
_RULE = "rule"


class Group:
    """The base of every group of routes."""

    def rules(self) -> Iterator[tuple[str, list[str], Handling]]:
        """Return the pattern and the methods of each route, and what answers it."""
        for name in dir(type(self)):
            rule = getattr(getattr(type(self), name), _RULE, None)
            if rule is not None:
                yield (*rule, getattr(self, name))


class RouteEndpoint(NamedTuple):
    """
    What answers a route.

    :ivar label: what its requests are known by in the access log.
    """

    label: str
    handler: Handling


class Routes(Group):
    """A group of routes about resources."""

    def __init__(self, keys: Keys, store: Store, locks: LockManager) -> None:
        self.keys = keys
        self.store = store
        self.locks = locks

    def authorize(self, request: EdgeRequest, needed: Permission, resource: str = "") -> Identity:
        """
        Let pass whoever may do what is needed.

        :param resource: what it is about, if it is about one resource.
        :raises resourced.errors.NotAuthorized: there is no key, or it is unknown, or it may not.
        :raises resourced.errors.Forbidden: the key may do this, but not to this resource.
        """
        identity = self.keys.authorize(presented_key(request), needed)
        name = identity.name
        notes = request.notes
        notes["key"] = notes["owner"] = name
        self.locks.quotas.count_request(name)
        if resource:
            identity.require(resource)
        return identity

    async def find(self, name: str) -> Resource:
        """
        Look a resource up, so that it is there when this returns, as far as this server knows.

        :raises resourced.errors.ResourceNotFound: there is none of this name.
        """
        while True:
            changes = self.locks.changes
            found = await self.store.find_resource(name)
            if changes == self.locks.changes:
                if not self.locks.territory.whole:
                    self.locks.territory.learn(found)
                return found

    async def write(self, key: LockKey, writing: Writing, data: str | None, identity: Identity) -> Written:
        """
        Replace what is kept at a selector, as the holder of its lock.

        :param data: the JSON text to keep, or nothing, to have none there any more.
        :raises resourced.errors.PreconditionFailed: what is there is not what the client believes.
        """
        found = await self.find(key.resource)

        async def check() -> None:
            try:
                etag = (await self.store.read(found, key.selector)).etag
            except DataNotFound:
                etag = ""
            if not all(condition.passes(etag) for condition in writing.conditions):
                raise PreconditionFailed("The data is not what the request expects it to be, so it was left as it is.")

        return await self.locks.write(
            key,
            found.id,
            writing.ticket,
            data,
            unlock=writing.unlock,
            key_name=identity.name,
            check=check if writing.conditions else None,
        )


class ResourceAPI:
    """
    All groups of routes as one Klein app.

    :param fault: says what is wrong with the store, if that is known: whoever meets it anywhere is told the same.
    :param around: returns what answers a route, from its path, its methods and its handler.
    :ivar app: the app.
    :ivar endpoints: what answers its routes, by name.
    """

    def __init__(
        self,
        *groups: Group,
        fault: Callable[[], StoreUnavailable | None] = lambda: None,
        around: Callable[[str, list[str], Handling], Handling] = lambda _label, _methods, handler: handler,
    ) -> None:
        self._fault = fault
        self.app = Klein()
        self.app.url_map.converters["name"] = Segment
        # An empty segment is no name, and must not be mended by a redirect.
        self.app.url_map.merge_slashes = False
        self.endpoints: dict[str, RouteEndpoint] = {}
        for group in groups:
            for pattern, methods, handler in group.rules():
                name = f"{type(group).__name__}.{handler.__name__}"
                label = _label(pattern)
                endpoint = self.endpoints[name] = RouteEndpoint(label, around(label, methods, handler))
                self.app.route(pattern, methods=methods, endpoint=name)(_noting(endpoint))
        self.app.handle_errors(Exception)(cast(Any, self.failed))

    def failed(self, request: EdgeRequest, failure: Failure) -> bytes:
        """Answer an exception of whatever kind."""
        reason = failure.value
        if isinstance(reason, ResourcedError):
            if isinstance(reason, StoreUnavailable) and (fault := self._fault()):
                reason = reason.because(fault)
            return _refused(request, reason)
        if isinstance(reason, HTTPException):
            return _unrouted(request, reason)
        log.failure("A request failed with an unexpected error.", failure)
        refusal = ResourcedError("The server has failed. Its log says more.")
        refusal.code = "internal_error"
        return error(request, 500, refusal)


def route(pattern: str, methods: list[str]) -> Callable[[Handler], Handler]:
    """Let a coroutine method answer a route."""

    def register(handler: Handler) -> Handler:
        setattr(handler, _RULE, (pattern, methods))
        return handler

    return register


def _noting(endpoint: RouteEndpoint) -> Handling:
    @wraps(endpoint.handler)
    def handle(request: EdgeRequest, **names: str) -> Coroutine[Any, Any, bytes]:
        request.notes.update(route=endpoint.label, **names)
        return endpoint.handler(request, **names)

    return handle


def _label(pattern: str) -> str:
    return re.sub(r"<\w+:(\w+)>", r"{\1}", pattern)


def status_of(kind: type[ResourcedError]) -> int:
    """Return the status that an error becomes."""
    return next(status for known, status in STATUSES if issubclass(kind, known))


def _refused(request: EdgeRequest, reason: ResourcedError) -> bytes:
    """Answer what the server itself has to object."""
    status = status_of(type(reason))
    if status == 401:
        request.setHeader(b"www-authenticate", b'Bearer realm="resourced"')
    if status in {429, 503}:
        request.setHeader(b"retry-after", b"%d" % RETRY_AFTER)
    return error(request, status, reason)


def _unrouted(request: EdgeRequest, reason: HTTPException) -> bytes:
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


def who_of(request: EdgeRequest, identity: Identity) -> Breaker:
    """Return who changes something, for the history."""
    owner = owner_of(request) or identity.name
    request.notes["owner"] = owner
    return Breaker(identity.name, owner)
