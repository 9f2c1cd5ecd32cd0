"""Pools: requests for several things at once, and the cards of units."""

from __future__ import annotations

from collections.abc import Sequence

from resourced.api.base import Routes, route, who_of
from resourced.api.params import (
    header,
    holds_of,
    idempotency_key_of,
    lease_of,
    named,
    needed_ticket,
    only,
    owner_of,
    priority_of,
    wait_of,
)
from resourced.api.pool_params import broken_of, card_change, joint_body
from resourced.api.responses import RETRY_AFTER, answer, card_shown, done, waits
from resourced.auth.keys import Identity, Keys, Permission
from resourced.errors import BadRequest, OtherGroup, TicketEnded
from resourced.http.request import EdgeRequest
from resourced.locks.manager import LockManager
from resourced.locks.state.joints import Got, JointAsk, JointQueued
from resourced.model import LockKey, Resource
from resourced.storage.interface import Store
from resourced.wants import Want


class Pooling(Routes):
    """
    Requests for several things at once, and cards.

    :param longest_wait: the most that a request may wait, in seconds.
    :param usual_wait: how long one waits that does not say, in seconds.
    :param usual_lease: the lease of resources that say nothing else, in seconds.
    """

    def __init__(
        self,
        keys: Keys,
        store: Store,
        locks: LockManager,
        *,
        longest_wait: float,
        usual_wait: float,
        usual_lease: float,
    ) -> None:
        super().__init__(keys, store, locks)
        self._longest_wait = longest_wait
        self._usual_wait = usual_wait
        self._usual_lease = usual_lease

    @route("/lock", ["POST"])
    async def lock_all(self, request: EdgeRequest) -> bytes:
        """Take several things at once, keep them, or keep the place in the order."""
        identity = self.authorize(request, Permission.LOCK)
        ticket = header(request, b"x-ticket")
        wants, yields = joint_body(request.body(), needed=not ticket)
        # How long a lease may be is said by the resources that are named.
        only(request, b"wait", *([b"lease"] if wants else []))
        resources = await self._resources(wants, identity)
        try:
            outcome = await self.locks.several.acquire(
                self._ask(request, identity, ticket, wants, resources, yields=yields),
                lambda keys: self._read(resources, keys),
            )
        except TicketEnded as ended:
            if ended.ticket and not ticket:
                # Without it nobody could give back what is left.
                request.setHeader(b"x-ticket", ended.ticket.encode())
            raise
        if isinstance(outcome, JointQueued):
            request.setHeader(b"x-ticket", outcome.ticket.encode())
            request.setHeader(b"retry-after", b"%d" % RETRY_AFTER)
            about = {} if outcome.about is None else {"about": round(outcome.about)}
            return answer(request, 202, {"locked": False, "position": outcome.position, **about})
        got, data = outcome
        request.setHeader(b"x-ticket", got.ticket.encode())
        request.setHeader(b"x-lease", b"%d" % got.lease)
        return answer(request, 200, {"locked": True, "got": _got(got, data)})

    @route("/unlock", ["POST"])
    async def unlock_all(self, request: EdgeRequest) -> bytes:
        """Give everything back that a ticket has, or give up its place."""
        identity = self.authorize(request, Permission.READ)
        only(request)
        if broken_of(request):
            raise BadRequest("out is said at the /unlock of the unit that is broken, and here of none.", "bad_out")
        released = await self.locks.several.unlock(needed_ticket(request), identity.name)
        return answer(request, 200, {"unlocked": released})

    @route("/resource/<name:resource>/<name:selector>", ["PATCH"])
    async def card(self, request: EdgeRequest, resource: str, selector: str) -> bytes:
        """Change the card of a selector, or give it one."""
        identity = self.authorize(request, Permission.WRITE, resource)
        only(request)
        key = named(resource, selector)
        change = card_change(request.body())
        await self.find(resource)
        return answer(request, 200, card_shown(await self.locks.units.change(key, change, who_of(request, identity))))

    @route("/resource/<name:resource>/<name:selector>/card", ["DELETE"])
    async def remove_card(self, request: EdgeRequest, resource: str, selector: str) -> bytes:
        """Take the card of a selector away, so that it is no unit any more."""
        identity = self.authorize(request, Permission.WRITE, resource)
        only(request)
        key = named(resource, selector)
        await self.find(resource)
        await self.locks.units.remove(key, who_of(request, identity))
        return done(request)

    # -- How it is done

    def _ask(
        self,
        request: EdgeRequest,
        identity: Identity,
        ticket: str,
        wants: tuple[Want, ...],
        resources: dict[str, Resource],
        *,
        yields: bool,
    ) -> JointAsk:
        idempotency_key = idempotency_key_of(request)
        owner = owner_of(request) or identity.name
        request.notes["owner"] = owner
        wait = wait_of(request, self._longest_wait, self._usual_wait)
        if wait:
            waits(request)
        longest = min(
            (resource.longest or resource.timeout or int(self._usual_lease) for resource in resources.values()),
            default=0,
        )
        priority = priority_of(request)
        identity.allow_priority(priority)
        return JointAsk(
            wants,
            {name: resource.timeout or self._usual_lease for name, resource in resources.items()},
            ticket=ticket,
            wait=wait,
            owner=owner,
            idempotency_key="" if ticket else idempotency_key,
            key_name=identity.name,
            holds=holds_of(request),
            yields=yields,
            priority=priority,
            lease=lease_of(request, longest),
            group=next((resource.group or resource.name for resource in resources.values()), ""),
        )

    async def _resources(self, wants: Sequence[Want], identity: Identity) -> dict[str, Resource]:
        """Return the resources that are named, which are all of one group."""
        for want in wants:
            identity.require(want.resource)
        while True:
            changes = self.locks.changes
            found = {name: await self.find(name) for name in dict.fromkeys(want.resource for want in wants)}
            if changes == self.locks.changes:
                break
        groups = {resource.group or resource.name for resource in found.values()}
        if len(groups) > 1:
            raise OtherGroup(
                "The resources are of different groups. Give them the same group first.", {"field": "group"}
            )
        return found

    async def _read(self, resources: dict[str, Resource], keys: Sequence[LockKey]) -> list[str | None]:
        """Read what is kept at some selectors, in their order."""
        known = dict(resources)
        for key in keys:
            if key.resource not in known:
                known[key.resource] = await self.find(key.resource)
        documents = await self.store.read_all([(known[key.resource], key.selector) for key in keys])
        return [None if document is None else document.data for document in documents]


def _got(got: Got, data: Sequence[str | None]) -> list[dict[str, object]]:
    return [
        {"want": want, "resource": resource, "selector": selector, "fence": fence, "data": text}
        for (want, (resource, selector), fence), text in zip(got.units, data, strict=True)
    ]
