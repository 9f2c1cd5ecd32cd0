"""Lists that come page by page, and those of all locks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

from resourced.calls.access import Access
from resourced.calls.paths import arguments
from resourced.calls.retries import Retries
from resourced.calls.values import HeldLock, Holder, WaitingTicket, take

Item = TypeVar("Item")


class Listing(Access):
    """The part of a client that goes through lists."""

    @property
    def _servers(self) -> Retries:
        """What asks the servers."""
        raise NotImplementedError

    def held_locks(self, resource: str = "", owner: str = "", *, page: int = 100) -> AsyncIterator[HeldLock]:
        """
        Go through the locks that are held, those that are held for the longest first.

        :param resource: only those of this resource.
        :param owner: only those of this owner.
        :param page: how many to ask for at a time, 1 to 1000.
        """
        return self._pages(_locks("held", resource, owner, page), None, _held_lock, "locks")

    def waiting_tickets(self, resource: str = "", owner: str = "", *, page: int = 100) -> AsyncIterator[WaitingTicket]:
        """Go through the tickets that wait, those that wait for the longest first; else as ``held_locks``."""
        return self._pages(_locks("waiting", resource, owner, page), None, _waiting_ticket, "locks")

    async def _pages(
        self, target: Callable[[Any], str], after: object, kind: Callable[[Any], Item], name: str
    ) -> AsyncIterator[Item]:
        """
        Go through a list, page by page.

        :param target: where the page after something is.
        :param kind: makes an item of its fields.
        :param name: what the field is called that has the items.
        """
        while True:
            page = await self._servers.ask("GET", target(after))
            for item in page.items(name):
                yield kind(item)
            after = page.fields.get("next")
            if after is None:
                return


def _locks(sort: str, resource: str, owner: str, page: int) -> Callable[[Any], str]:
    return lambda at: "/locks" + arguments(sort=sort, resource=resource, owner=owner, after=at, limit=page)


def _held_lock(fields: Mapping[str, Any]) -> HeldLock:
    return take(HeldLock, {**fields, "holder": take(Holder, fields.get("holder") or {})})


def _waiting_ticket(fields: Mapping[str, Any]) -> WaitingTicket:
    waiter = fields.get("waiter") or {}
    return take(WaitingTicket, {**fields, **waiter, "holder": holder_of(fields), "want": tuple(fields.get("want", ()))})


def holder_of(fields: Mapping[str, Any]) -> Holder | None:
    """Return the holder that an answer tells of, if there is one."""
    holder = fields.get("holder")
    return take(Holder, holder) if holder else None
