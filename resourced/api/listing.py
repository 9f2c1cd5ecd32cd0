"""``GET /locks``: who holds what, since when, and who waits longest."""

from __future__ import annotations

from resourced.api.base import Routes, route
from resourced.api.params import argument, limit_of, only, resource_named, whole
from resourced.api.responses import answer, seconds_shown
from resourced.auth.keys import Permission
from resourced.errors import BadRequest
from resourced.http.request import EdgeRequest
from resourced.locks.listing import Shown
from resourced.locks.state.requests import HeldLock, WaitingTicket
from resourced.passing.headers import passed_on
from resourced.wants import ALL, Want


class Listed(Routes):
    """The locks of all resources that the key may touch, in one list."""

    @route("/locks", ["GET"])
    async def list(self, request: EdgeRequest) -> bytes:
        """List who holds a lock, or who waits, the longest first."""
        identity = self.authorize(request, Permission.READ)
        only(request, b"owner", b"resource", b"sort", b"limit", b"after")
        resource, owner = argument(request, b"resource"), argument(request, b"owner") or ""
        sort = argument(request, b"sort")
        if sort not in {None, "held", "waiting"}:
            raise BadRequest("sort in the query is neither held nor waiting.", "bad_sort")
        after, limit = whole(request, b"after", 0), limit_of(request)
        if resource is not None:
            identity.require(resource_named(resource))
            await self.find(resource)
        shown = Shown(identity.may_touch, resource or "", owner)
        if sort == "waiting":
            waiters, last = await self.locks.listing.waiting(shown, after, limit)
            rows = [_waiting(waiter) for waiter in waiters]
        else:
            held, last = await self.locks.listing.held(shown, after, limit)
            rows = [_held(lock) for lock in held]
        if not passed_on(request.requestHeaders):
            # It is for a node that merges this with others, and may use a part of it only.
            for row in rows:
                del row["number"]
        return answer(request, 200, {"locks": rows, "next": last})


def _held(lock: HeldLock) -> dict[str, object]:
    return {**lock.key._asdict(), "holder": seconds_shown(lock.holder), "waiting": lock.waiting, "number": lock.number}


def _waiting(ticket: WaitingTicket) -> dict[str, object]:
    waiter = {"waiter": seconds_shown(ticket.waiter), "number": ticket.number}
    if ticket.key is None:
        return {"want": [_want(want) for want in ticket.wants], **waiter}
    holder = None if ticket.holder is None else seconds_shown(ticket.holder)
    return {**ticket.key._asdict(), "holder": holder, "waiting": ticket.waiting, **waiter}


def _want(want: Want) -> dict[str, object]:
    """Say what a request asks for as it has said it."""
    if want.selector:
        return {"resource": want.resource, "selector": want.selector}
    count = "all" if want.count == ALL else want.count
    return {"resource": want.resource, "tags": sorted(want.tags), "count": count}
