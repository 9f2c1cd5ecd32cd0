"""The second half of the API: who holds what, and how to change that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace

from twisted.internet.defer import DeferredLock

from resourced.api.base import Routes, route, who_of
from resourced.api.definitions import changes_of, described
from resourced.api.params import (
    PageRequest,
    fence_of,
    limit_of,
    named,
    only,
    owner_of,
    page_of,
    reason_of,
    resource_named,
    whole,
    writing_of,
)
from resourced.api.responses import answer, card_shown, done, seconds_shown, written
from resourced.auth.keys import Identity, Keys, Permission
from resourced.deferreds import shielded
from resourced.errors import OtherGroup
from resourced.http.request import EdgeRequest
from resourced.locks.manager import LockManager
from resourced.locks.state.requests import LockCounts, PoolCounts, SelectorState
from resourced.model import Breaker, Resource
from resourced.storage.interface import Store
from resourced.wants import Card


class Steering(Routes):
    """Lists, definitions, the state of a lock, and what changes or ends them."""

    def __init__(self, keys: Keys, store: Store, locks: LockManager) -> None:
        super().__init__(keys, store, locks)
        self._changing = DeferredLock()

    # -- Resources

    @route("/resource", ["GET"])
    async def resources(self, request: EdgeRequest) -> bytes:
        """List the resources that the key may touch."""
        identity = self.authorize(request, Permission.READ)
        page = page_of(request)
        found = await self._list(identity, page)
        shown = found[: page.limit]
        names = [resource.name for resource in shown]
        counts = zip(await self.locks.views.counts(names), await self.locks.units.counts(names), strict=True)
        return answer(
            request,
            200,
            {
                "resources": [
                    described(resource) | _counted(*count) for resource, count in zip(shown, counts, strict=True)
                ],
                "next": _next([resource.name for resource in found], page.limit),
            },
        )

    @route("/resource/<name:resource>", ["GET"])
    async def definition(self, request: EdgeRequest, resource: str) -> bytes:
        """Say what a resource is, and list the selectors that have data, or are locked or waited for."""
        self.authorize(request, Permission.READ, resource)
        page = page_of(request)
        found = await self.find(resource_named(resource))
        # First the locks: whoever writes and lets go in between leaves data behind.
        locked = await self.locks.views.selectors(resource, page.prefix, page.after, page.limit + 1)
        written = await self.store.list_selectors(found, page.prefix, page.after, page.limit + 1)
        cards = await self.locks.units.list(resource, page.prefix, page.after, page.limit + 1)
        (count,), (units,) = await self.locks.views.counts([resource]), await self.locks.units.counts([resource])
        names = sorted({*locked, *written, *cards})
        return answer(
            request,
            200,
            {
                **described(found),
                **_counted(count, units),
                "selectors": _selectors(names[: page.limit], set(written), locked, cards),
                "next": _next(names, page.limit),
            },
        )

    @route("/resource/<name:resource>", ["PATCH"])
    async def change(self, request: EdgeRequest, resource: str) -> bytes:
        """Change what a resource is."""
        identity = self.authorize(request, Permission.WRITE, resource)
        name = resource_named(resource)
        changes, who = changes_of(request.body()), who_of(request, identity)
        identity.allow_group(str(changes.get("group", "")))
        changed = await shielded(self._change(name, changes, who))
        return answer(request, 200, described(changed))

    @route("/resource/<name:resource>", ["DELETE"])
    async def remove(self, request: EdgeRequest, resource: str) -> bytes:
        """Remove a resource with all its data, unless somebody uses it."""
        self.authorize(request, Permission.WRITE, resource)
        await self.locks.remove(await self.find(resource_named(resource)))
        return done(request)

    # -- Selectors

    @route("/resource/<name:resource>/<name:selector>", ["DELETE"])
    async def delete(self, request: EdgeRequest, resource: str, selector: str) -> bytes:
        """Delete what is kept at a selector, as the holder of its lock."""
        identity = self.authorize(request, Permission.WRITE, resource)
        key = named(resource, selector)
        written(request, await self.write(key, writing_of(request), None, identity))
        return done(request)

    @route("/resource/<name:resource>/<name:selector>/lock", ["GET"])
    async def state(self, request: EdgeRequest, resource: str, selector: str) -> bytes:
        """Say who has a lock, and who waits for it in which order."""
        self.authorize(request, Permission.READ, resource)
        key = named(resource, selector)
        after, limit = whole(request, b"after", 0), limit_of(request)
        await self.find(resource)
        state = await self.locks.views.state(key, after, limit)
        card = await self.locks.units.get(key)
        last = after + len(state.queue)
        return answer(
            request,
            200,
            {
                **key._asdict(),
                "locked": state.holder is not None,
                "holder": None if state.holder is None else seconds_shown(state.holder),
                "waiting": state.waiting,
                "queue": [seconds_shown(waiter) for waiter in state.queue],
                "next": last if last < state.waiting else None,
                **({} if card is None else {"card": card_shown(card)}),
            },
        )

    @route("/resource/<name:resource>/<name:selector>/lock", ["DELETE"])
    async def take(self, request: EdgeRequest, resource: str, selector: str) -> bytes:
        """Take a lock from whoever holds it under a fence, and from nobody else."""
        identity = self.authorize(request, Permission.WRITE, resource)
        key = named(resource, selector)
        only(request, b"fence", b"reason")
        fence = fence_of(request)
        breaker = Breaker(identity.name, owner_of(request) or identity.name, reason_of(request))
        request.notes["owner"] = breaker.by
        await self.find(resource)
        await self.locks.break_lock(key, fence, breaker)
        return done(request)

    # -- How it is done

    async def _change(self, name: str, changes: Mapping[str, int | str], who: Breaker) -> Resource:
        """Change a resource in the store, and then for the locks; once begun it goes on to its end."""
        # One after the other: each begins with what the one before has left.
        async with self._changing:
            before = await self.find(name)
            slots = int(changes.get("slots", before.slots))
            if "slots" in changes:
                self.locks.units.check_slots(name, slots)
            if slots < before.slots:
                # First, so that after a failure there are too few rather than too many: to ask again makes that good.
                await self.locks.units.set_slots(name, before.slots, slots, who)
            # A request must not have things of two groups.
            group = str(changes.get("group", before.group))
            alone = group != before.group
            if alone and not self.locks.territory.owns(replace(before, group=group)):
                raise OtherGroup(
                    "Another node decides about that group. Make the resource anew in it.", {"field": "group"}
                )
            with self.locks.unused(name) if alone else nullcontext():
                changed = await self.store.change_resource(name, changes)
            self.locks.redefine(changed)
            if "slots" in changes and slots >= before.slots:
                await self.locks.units.set_slots(name, before.slots, slots, who)
            return changed

    async def _list(self, identity: Identity, page: PageRequest) -> list[Resource]:
        """Return one resource more than a page of them has, if there are so many; look at none that the key may not touch."""
        found: list[Resource] = []
        for prefix in identity.within(page.prefix):
            before = prefix < page.after and not page.after.startswith(prefix)
            if not before and len(found) <= page.limit:
                found += await self.store.list_resources(prefix, page.after, page.limit + 1 - len(found))
        return found


def _next(names: Sequence[str], limit: int) -> str | None:
    """Return after which name the next page begins, if there is one."""
    return names[limit - 1] if len(names) > limit else None


def _selectors(
    names: list[str], written: set[str], locked: dict[str, SelectorState], cards: dict[str, Card]
) -> list[dict[str, object]]:
    nobody = SelectorState(None, 0)
    return [
        {
            "selector": name,
            "data": name in written,
            **_state(locked.get(name, nobody)),
            **({"card": card_shown(cards[name])} if name in cards else {}),
        }
        for name in names
    ]


def _state(state: SelectorState) -> dict[str, object]:
    """Describe who holds a selector and how many wait."""
    shown: dict[str, object] = {"held": state.holder is not None, "waiting": state.waiting}
    return shown if state.holder is None else {**shown, "holder": seconds_shown(state.holder)}


def _counted(locks: LockCounts, units: PoolCounts) -> dict[str, object]:
    """Describe how much of a resource is used. Without units, those are not mentioned."""
    return {**asdict(locks), **(units._asdict() if units.units else {})}
