"""The client itself: one method for each thing that the server can be asked for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from math import inf
from typing import Any, TypeVar

from resourced.client.errors import LockLost, NotFound, Unreachable
from resourced.client.held import Held
from resourced.client.holder import as_holder
from resourced.client.listing import Listing, holder_of
from resourced.client.lock import Lock, LockOptions
from resourced.client.servers import arguments, error_of, path
from resourced.client.values import (
    Definition,
    Document,
    Event,
    Grant,
    LockState,
    Resource,
    Selector,
    Waiter,
    Waiting,
    take,
)
from resourced.client.watch import Watch

Item = TypeVar("Item")


class Client(Listing):
    """
    A client of one store, which may have several servers.

    A request is repeated until a server gives a usable answer, or ``retry_timeout`` is at its end. It goes to each of the servers in turn, with
    growing pauses. Each method raises one of the errors of ``resourced.client.errors`` and no other; their names
    are given here only where they mean something particular.
    """

    # -- Resources

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
            raise error_of(answer)

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

    # -- Data and locks

    async def get(self, resource: str, selector: str) -> Document:
        """
        Read without lock.

        :raises NotFound: there is no such resource, or no data yet; ``code`` tells which.
        """
        answer = await self._servers.ask("GET", path(resource, selector, lock=0))
        text = answer.fields.get("data")
        if not isinstance(text, str):
            raise Unreachable("The server's answer is no document.", "bad_answer")
        return Document(text, answer.header("etag"))

    def lock(
        self,
        resource: str,
        selector: str,
        *,
        wait: float | None = None,
        ticket: str = "",
        owner: str | None = None,
        holds: Sequence[str] = (),
        lease: int = 0,
        priority: int = 0,
        on_queued: Callable[[Waiting], object] | None = None,
        on_lost: Callable[[LockLost], object] | None = None,
    ) -> Lock:
        """
        Lock a selector for the length of a block, whose ``as`` is the lock while it is held.

        The callbacks must not block: they are called where the client's work is done.

        :param wait: seconds to wait for the lock, in the queue; 0 to try once, None to wait forever.
        :param ticket: a place, or a lock, that was got otherwise and is to be gone on with.
        :param owner: who this is, if not whom the client was told.
        :param holds: tickets of locks that are held meanwhile, at most 100. ``Conflict`` with the code ``deadlock`` is raised, at once,
            if that means to wait for oneself, by way of others who say what they hold.
        :param lease: the lease to ask for, in whole seconds, up to the resource's ``longest``; 0 to have the resource's own. If it is too
            long ``Rejected`` with the code ``bad_lease`` is raised.
        :param priority: -9 to 9; the highest comes first. ``Refused`` with the code ``forbidden_priority`` is raised if the key may not.
        :param on_queued: told how the wait stands, whenever that changes; what it raises ends the wait.
        :param on_lost: told of the loss of the lock, if that comes.
        """
        here = self._connect()
        request = LockOptions(
            resource,
            selector,
            wait=inf if wait is None else wait,
            poll=self._poll,
            ticket=ticket,
            owner=self._owner if owner is None else owner,
            holds=holds,
            on_queued=on_queued,
            on_lost=on_lost,
            lease=lease,
            priority=priority,
        )
        return Lock(here.servers, here.reactor, request)

    async def keep(self, resource: str, selector: str, ticket: str, fence: int) -> Held:
        """
        Renew a lock that was got otherwise, from now on, and never let go of it; ``stop`` of what is returned ends that.

        :raises LockLost: it is not held with this ticket and under this fence any more.
        """
        # To ask with the ticket of a lock that was let go of would take it anew.
        holder = (await self.state(resource, selector, limit=1)).holder
        if holder is None or holder.fence != fence:
            raise LockLost(f"The lock of {resource}/{selector} is not held any more.", "", resource, selector, fence)
        answer = await self._servers.ask(
            "PUT", path(resource, selector, end="lock"), headers=as_holder(ticket, self._owner), accept=(202, 410)
        )
        try:
            text: str | None = (await self.get(resource, selector)).text
        except NotFound:
            text = None
        here = self._connect()
        grant = Grant(resource, selector, ticket, fence, self._owner)
        held = Held(here.servers, here.reactor, grant, text=text, borrowed=True)
        await held.learn(answer)
        held.check()
        return held

    async def unlock(self, resource: str, selector: str, ticket: str) -> bool:
        """
        Release a lock, or give up a place, by its ticket.

        :return: whether there was anything to let go of, as far as can be told if an answer was lost.
        """
        answer = await self._servers.ask("POST", path(resource, selector, end="unlock"), headers={"x-ticket": ticket})
        return answer.fields.get("unlocked") is True or answer.repeated

    async def write_text(self, resource: str, selector: str, text: str, ticket: str) -> None:
        """
        Write a JSON text, which is kept byte for byte, with a lock that was got otherwise.

        :param ticket: of the lock, which is renewed by this and kept.
        :raises LockLost: the ticket does not hold the lock.
        """
        await self._store("PUT", resource, selector, ticket, text.encode())

    async def delete(self, resource: str, selector: str, ticket: str) -> None:
        """Delete the data with a lock that was got otherwise; else as ``write_text``."""
        await self._store("DELETE", resource, selector, ticket, None)

    async def _store(self, method: str, resource: str, selector: str, ticket: str, body: bytes | None) -> None:
        answer = await self._servers.ask(
            method, path(resource, selector), headers={"x-ticket": ticket}, body=body, accept=(410, 423)
        )
        if answer.status >= 400:
            raise LockLost(error_of(answer).sentence, answer.code, resource, selector, 0)

    async def state(self, resource: str, selector: str, *, after: int = 0, limit: int = 100) -> LockState:
        """
        Tell who holds a lock and who waits for it.

        :param after: leave out the queue up to this position.
        :param limit: how many of the queue to tell of, 1 to 1000.
        """
        # A lock that was left just now may still be about to be released.
        await self._servers.settled(path(resource, selector))
        answer = await self._servers.ask("GET", path(resource, selector, end="lock", after=after or None, limit=limit))
        return take(
            LockState,
            {
                **answer.fields,
                "holder": holder_of(answer.fields),
                "queue": tuple(take(Waiter, waiter) for waiter in answer.items("queue")),
                "next": answer.fields.get("next"),
            },
        )

    async def break_lock(self, resource: str, selector: str, fence: int, reason: str = "") -> None:
        """
        Take a lock from its holder. The history tells who did it: ``owner``, or else the name of the key.

        :param fence: of the lock as it was seen.
        :param reason: why, for the history: at most 255 printable characters.
        :raises Conflict: that fence does not hold it any more (``code`` is ``fence_mismatch``).
        """
        answer = await self._servers.ask(
            "DELETE",
            path(resource, selector, end="lock", fence=fence, reason=reason),
            headers={"x-owner": self._owner} if self._owner else {},
            accept=(412,),
        )
        # After a try whose answer was lost it may be broken already.
        if answer.status == 412 and not answer.repeated:
            raise error_of(answer)

    # -- History

    def events(
        self, resource: str, selector: str = "", *, before: int | None = None, page: int = 100
    ) -> AsyncIterator[Event]:
        """
        Go through what happened to a lock and its data, from the newest back; or, without a selector, to a whole resource.

        :param before: only what came before the event with this id.
        :param page: how many to ask for at a time, 1 to 1000.
        """
        return self._pages(
            lambda at: (
                path(resource, selector, end="events", before=at, limit=page)
                if selector
                else "/history" + arguments(resource=resource, before=at, limit=page)
            ),
            before,
            partial(take, Event),
            "events",
        )

    def watch(self, prefix: str = "", *, after: int | None = None) -> Watch:
        """
        Follow what happens, as it happens: ``async with client.watch() as events: async for event in events:``. The blocking client
        returns an iterator instead.

        :param prefix: only what happens to resources whose names begin with it.
        :param after: begin after the event with this id; without it, with what happens from now on.
        """
        here = self._connect()
        return Watch(here.servers, here.reactor, prefix, after)


async def following(items: AsyncIterator[Item]) -> Item | None:
    """Return the next of what ``Client.resources`` and its like have, or nothing at the end."""
    try:
        return await anext(items)
    except StopAsyncIteration:
        return None


def _selector(fields: Mapping[str, Any]) -> Selector:
    return take(Selector, {**fields, "holder": holder_of(fields)})
