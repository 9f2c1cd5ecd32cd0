"""What a request is about, so that the node that owns it answers: a resource, or a partition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from resourced.api.definitions import definition
from resourced.api.params import checked_name, flag, header, needed_ticket
from resourced.api.pool_params import joint_body
from resourced.http.request import EdgeRequest
from resourced.partitions import partition_of, partition_of_ticket
from resourced.storage.interface import Store

#: How many resources are remembered.
RESOURCES: Final = 65_536

#: What a request is about: the name of a resource, or the number of a partition.
Subject = str | int
#: Returns what a request is about, from the request and the names in its path. It may raise ``resourced.errors.BadRequest``.
Locator = Callable[[EdgeRequest, Mapping[str, str]], Subject]


class Groups:
    """
    In which partition each resource is, remembered until that is in doubt.

    A node that is asked for what it does not own says so. So an old answer costs an exchange, and no more.

    :param store: asked for what is not remembered.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, int] = {}

    async def partition(self, subject: Subject) -> int:
        """
        Return the partition of what a request is about.

        :raises resourced.errors.BadRequest: there can be no such resource.
        :raises resourced.errors.ResourceNotFound: there is none.
        """
        if isinstance(subject, int):
            return subject
        known = self._known.get(subject)
        if known is None:
            found = await self._store.find_resource(checked_name("resource", subject))
            known = partition_of(found.group or found.name)
            if len(self._known) >= RESOURCES:
                del self._known[next(iter(self._known))]
            self._known[subject] = known
        return known

    def forget(self, subject: Subject) -> None:
        """Ask the store again next time."""
        if isinstance(subject, str):
            self._known.pop(subject, None)


def locator(label: str, method: str) -> Locator | None:
    """
    Return what says what the requests of a route are about, or nothing if each node can answer them.

    :param label: the path of the route, with its arguments in braces.
    """
    # What has happened is in the store.
    if "{resource}" in label and not label.endswith("/events"):
        return _resource
    return _OTHERS.get((method, label))


def is_lock_request(label: str, request: EdgeRequest) -> bool:
    """Tell whether a request of a route may wait for a lock."""
    if request.method == b"GET":
        return label == "/resource/{resource}/{selector}" and flag(request, b"lock", default=True)
    return label in {"/lock", "/resource/{resource}/{selector}/lock"} and request.method in {b"PUT", b"POST"}


def _resource(_: EdgeRequest, names: Mapping[str, str]) -> Subject:
    return names["resource"]


def _new_resource(request: EdgeRequest, _: Mapping[str, str]) -> Subject:
    new = definition(request.body())
    return partition_of(new.group or new.name)


def _wants(request: EdgeRequest, _: Mapping[str, str]) -> Subject:
    if header(request, b"x-ticket"):
        # Whatever it asks for beside that: the node knows that has made the ticket.
        return _ticket(request, {})
    wants, _yields = joint_body(request.body(), needed=True)
    # All of them are of one group, or it is refused.
    return wants[0].resource


def _ticket(request: EdgeRequest, _: Mapping[str, str]) -> Subject:
    # A malformed one has the same answer at each node.
    return partition_of_ticket(needed_ticket(request)) or 0


_OTHERS: Final[Mapping[tuple[str, str], Locator]] = {
    ("POST", "/resource"): _new_resource,
    ("POST", "/lock"): _wants,
    ("POST", "/unlock"): _ticket,
}
