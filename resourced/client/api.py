"""The client itself: one method for each thing that the server can be asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from math import inf

from resourced.calls.api import Calls
from resourced.calls.errors import LockLost, NotFound
from resourced.calls.listing import Item
from resourced.calls.paths import path
from resourced.calls.values import Waiting
from resourced.client.asking import LockOptions, One, Several
from resourced.client.grant import Fenced, Grant, Granted, Want
from resourced.client.held import Held
from resourced.client.holder import as_holder
from resourced.client.lock import Lock, Locks
from resourced.client.runtime import RunningClient
from resourced.client.watch import Watch


class Client(RunningClient, Calls):
    """
    A client of one store, which may have several servers.

    A request is repeated until a server gives a usable answer, or ``retry_timeout`` is at its end. It goes to each of the servers in turn, with
    growing pauses. Each method raises one of the errors of this package and no other; their names
    are given here only where they mean something particular.
    """

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
