"""The client itself: one method for each thing that the server can be asked for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from math import inf

from resourced.calls.errors import LockLost, NotFound, Unreachable
from resourced.calls.paths import arguments, path
from resourced.calls.values import (
    Document,
    Event,
    LockState,
    Waiter,
    Waiting,
    take,
)
from resourced.client.asking import LockOptions, One, Several
from resourced.client.cluster import ClusterClient
from resourced.client.grant import Fenced, Grant, Granted, Want
from resourced.client.held import Held
from resourced.client.holder import as_holder
from resourced.client.listing import Item, holder_of
from resourced.client.lock import Lock, Locks
from resourced.client.resources import ResourceClient
from resourced.client.watch import Watch


class Client(ResourceClient, ClusterClient):
    """
    A client of one store, which may have several servers.

    A request is repeated until a server gives a usable answer, or ``retry_timeout`` is at its end. It goes to each of the servers in turn, with
    growing pauses. Each method raises one of the errors of this package and no other; their names
    are given here only where they mean something particular.
    """

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
        options = self._options(wait, ticket, owner, holds, on_queued, on_lost, lease, priority)
        return Lock(here.servers, here.reactor, One(resource, selector), options)

    def locks(
        self,
        *wants: Want,
        yields: bool = False,
        wait: float | None = None,
        ticket: str = "",
        owner: str | None = None,
        holds: Sequence[str] = (),
        lease: int = 0,
        priority: int = 0,
        on_queued: Callable[[Waiting], object] | None = None,
        on_lost: Callable[[LockLost], object] | None = None,
    ) -> Locks:
        """
        Lock several things at once for the length of a block, whose ``as`` is what is held: all of them, or none.

        :param wants: what to lock: at most 16 of these, of resources of one group.
        :param yields: have nothing kept while it waits: others may have what it waits for, until everything is free at the same time.
        :param lease: the lease to ask for; without it the shortest of the resources' leases.

        The others are those of ``lock``. ``Conflict`` is raised with the code ``too_few`` if there are not as many units as that. It is
        raised with ``other_group`` if the resources are not of one group.
        """
        here = self._connect()
        options = self._options(wait, ticket, owner, holds, on_queued, on_lost, lease, priority)
        return Locks(here.servers, here.reactor, Several(wants, yields), options)

    def _options(
        self,
        wait: float | None,
        ticket: str,
        owner: str | None,
        holds: Sequence[str],
        on_queued: Callable[[Waiting], object] | None,
        on_lost: Callable[[LockLost], object] | None,
        lease: int,
        priority: int,
    ) -> LockOptions:
        return LockOptions(
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
        grant = Grant(ticket, self._owner, (Granted(Fenced(resource, selector, fence), text),))
        held = Held(here.servers, here.reactor, grant, borrowed=True)
        await held.learn(answer)
        held.check()
        return held

    async def unlock(self, resource: str, selector: str, ticket: str, *, out: str = "") -> bool:
        """
        Release a lock, or give up a place, by its ticket.

        :param out: why the unit is to go out of service in the same step; empty to let others have it.

        :return: whether there was anything to let go of, as far as can be told if an answer was lost.
        """
        answer = await self._servers.ask(
            "POST",
            path(resource, selector, end="unlock"),
            headers={"x-ticket": ticket},
            body=json.dumps({"out": out}).encode() if out else None,
        )
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
            raise LockLost(answer.error.sentence, answer.code, resource, selector, 0)

    async def state(self, resource: str, selector: str, *, after: int = 0, limit: int = 100) -> LockState:
        """
        Tell who holds a lock and who waits for it.

        :param after: leave out the queue up to this position.
        :param limit: how many of the queue to tell of, 1 to 1000.
        """
        # A lock that was left just now may still be about to be released.
        await self._servers.settled(frozenset({path(resource, selector)}))
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
            raise answer.error

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
