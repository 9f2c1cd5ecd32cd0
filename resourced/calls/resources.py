"""What a client can ask for of resources and their units, beside locks and data."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Mapping
from functools import partial
from typing import Any

from resourced.calls.listing import Listing, holder_of
from resourced.calls.paths import arguments, path
from resourced.calls.values import Card, Definition, Resource, Selector, Usage, Use, take


class ResourceCalls(Listing):
    """The part of a client that is about resources and their units."""

    async def create(
        self, name: str, timeout: int = 0, *, group: str = "", longest: int = 0, slots: int = 0
    ) -> Definition:
        """
        Create a resource.

        :param timeout: the lease of its locks in whole seconds; 0 means as the server likes it.
        :param group: what it is decided together with; empty means its own name.
        :param longest: the longest lease that a request may ask for, in whole seconds; 0 means the timeout.
        :param slots: how many units the server makes of it.
        :raises Conflict: there is one of this name already (``code`` is ``resource_exists``).
        :raises Unreachable: with the code ``unclear`` if the resource may have been created all the same.
        """
        # A server of an earlier version knows no more than the timeout.
        more = {"group": group, "longest": longest, "slots": slots}
        told = {name: value for name, value in more.items() if value}
        body = json.dumps({"name": name, "timeout": timeout, **told}).encode()
        answer = await self._servers.ask("POST", "/resource", body=body, repeatable=False)
        return take(Definition, answer.fields)

    async def resource(self, name: str) -> Resource:
        """Tell about a resource."""
        answer = await self._servers.ask("GET", path(name, limit=1))
        return take(Resource, answer.fields)

    async def change(
        self,
        name: str,
        timeout: int | None = None,
        *,
        group: str | None = None,
        longest: int | None = None,
        slots: int | None = None,
    ) -> Definition:
        """
        Change what a resource is, as far as that is said; else as ``create``.

        :param timeout: the lease of its locks; a lock that is held gets it when it is next renewed.
        :raises Conflict: the group is to change, and something of it is held or waited for (``code`` is ``in_use``).
        """
        fields = {"timeout": timeout, "group": group, "longest": longest, "slots": slots}
        body = json.dumps({name: value for name, value in fields.items() if value is not None}).encode()
        return take(Definition, (await self._servers.ask("PATCH", path(name), body=body)).fields)

    async def remove(self, name: str) -> None:
        """
        Delete a resource and all its data.

        :raises Conflict: something of it is held or waited for (``code`` is ``in_use``).
        """
        answer = await self._servers.ask("DELETE", path(name), accept=(404,))
        # After a try whose answer was lost it may be gone already.
        if answer.status == 404 and not answer.repeated:
            raise answer.error

    def resources(self, prefix: str = "", *, after: str = "", page: int = 100) -> AsyncIterator[Resource]:
        """
        Go through all resources, by name.

        :param prefix: only those whose names begin with it.
        :param after: only those whose names come after it.
        :param page: how many to ask for at a time, 1 to 1000.
        """
        return self._pages(
            lambda at: "/resource" + arguments(prefix=prefix, after=at, limit=page),
            after,
            partial(take, Resource),
            "resources",
        )

    def selectors(
        self, resource: str, prefix: str = "", *, after: str = "", page: int = 100
    ) -> AsyncIterator[Selector]:
        """Go through the selectors of a resource that have data, or are locked or queued for, by name; else as ``resources``."""
        return self._pages(
            lambda at: path(resource, prefix=prefix, after=at, limit=page),
            after,
            _selector,
            "selectors",
        )

    # -- Units

    async def card(
        self,
        resource: str,
        selector: str,
        *,
        tags: Collection[str] | None = None,
        note: str | None = None,
        out: str | None = None,
    ) -> Card:
        """
        Change the card of a selector, or give it one, which makes it a unit of its resource's pool. What is None stays as it is.

        :param tags: words that wants ask for, at most 64.
        :param note: for people.
        :param out: why the unit is out of service from now on; empty to have it back in service.
        """
        said = {"tags": None if tags is None else sorted(tags), "note": note, "out": out}
        body = json.dumps({name: value for name, value in said.items() if value is not None}).encode()
        return _card(
            (await self._servers.ask("PATCH", path(resource, selector), headers=self._named, body=body)).fields
        )

    async def remove_card(self, resource: str, selector: str) -> None:
        """Take the card of a selector away, so that it is no unit any more. Its holder goes on."""
        answer = await self._servers.ask(
            "DELETE", path(resource, selector, end="card"), headers=self._named, accept=(404,)
        )
        # After a try whose answer was lost it may be gone already.
        if answer.status == 404 and not answer.repeated:
            raise answer.error

    async def usage(self, resource: str, days: int = 30) -> Usage:
        """
        Tell what was used of a resource, by selector and by owner, at most 1000 of each.

        :param days: of how many days, today included.
        """
        answer = await self._servers.ask("GET", "/usage" + arguments(resource=resource, days=days))
        units = tuple(take(Use, {**use, "name": use.get("selector")}) for use in answer.items("units"))
        owners = tuple(take(Use, {**use, "name": use.get("owner")}) for use in answer.items("owners"))
        return take(Usage, {**answer.fields, "units": units, "owners": owners})


def _card(fields: Mapping[str, Any]) -> Card:
    return take(Card, {**fields, "tags": tuple(fields.get("tags", ()))})


def _selector(fields: Mapping[str, Any]) -> Selector:
    card = fields.get("card")
    return take(Selector, {**fields, "card": card and _card(card), "holder": holder_of(fields)})
