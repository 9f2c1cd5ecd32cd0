"""From a request for several things to its grant, and to the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence

from twisted.internet.interfaces import IReactorTime

from resourced.deferreds import shielded, waiting_for
from resourced.errors import Deadlock, ForeignTicket, TicketEnded, TooFew
from resourced.locks.commits import Commits
from resourced.locks.journal.interface import Journal
from resourced.locks.state.estimates import Estimates
from resourced.locks.state.joint_table import Joints
from resourced.locks.state.joints import Got, Joint, JointAsk, JointQueued
from resourced.locks.state.places import Places
from resourced.locks.state.table import store_in_doubt
from resourced.locks.state.territory import Territory
from resourced.model import LockKey

#: Reads what is kept at some selectors, in their order; nothing where there is no data.
Readers = Callable[[Sequence[LockKey]], Awaitable[list[str | None]]]


class JointGrants:
    """Lets requests wait for several things, and ends them."""

    def __init__(
        self,
        clock: IReactorTime,
        journal: Journal,
        joints: Joints,
        places: Places,
        commits: Commits,
        territory: Territory,
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._joints = joints
        self._places = places
        self._commits = commits
        self._territory = territory
        self._estimates = Estimates()

    async def acquire(self, ask: JointAsk, read: Readers) -> tuple[Got, list[str | None]] | JointQueued:
        """
        Take everything that is wanted, keep it, or keep the place in the order.

        :returns: what it got, and the data of each unit; or its place.
        :raises resourced.errors.TicketEnded: the ticket has ended, or a unit was taken from it; ``left`` says what it has.
        :raises resourced.errors.ForeignTicket: the ticket holds or waits for something else.
        :raises resourced.errors.TooFew: there are not as many units; ``have`` says how many.
        :raises resourced.errors.Deadlock: it would have to wait for itself; it has no place then.
        :raises resourced.errors.Overloaded: too many wait, or too many locks are held.
        :raises resourced.errors.QuotaExceeded: its key has as much as it may have.
        :raises resourced.errors.StoreUnavailable: the answer could not be committed; it must not be believed.
        """
        joint = await self._wait(ask)
        if isinstance(joint, JointQueued):
            return joint
        got = joint.got()
        data = await read([unit.key for unit in got])
        self._check_still(joint)
        try:
            # It may have been granted everything, and a unit was taken before it could be told.
            self._joints.check_whole(joint)
        except TicketEnded:
            await self._commits.all_kept()
            self._joints.told_ended(joint.name, joint.key_name)
            raise
        if not joint.holds or len(got) != len(joint.entries):
            raise TicketEnded("A unit was lost before it could be given. Ask again.")
        self._journal.check()
        return Got(joint.name, self._joints.confirm(joint), got), data

    async def unlock(self, ticket: str, key_name: str) -> bool:
        """
        Give everything back, or give up the place; a client that goes away only does not learn of it.

        :returns: whether there was anything to let go of.
        :raises resourced.errors.StoreUnavailable: it is not known whether it was given back.
        """
        return await shielded(self._unlock(ticket, key_name))

    async def _wait(self, ask: JointAsk) -> Joint | JointQueued:
        if self._commits.paused():
            await self._commits.recovered()
        self._check(ask)
        until = self._clock.seconds() + ask.wait
        try:
            joint = self._joints.enter(ask)
        except (Deadlock, TicketEnded, ForeignTicket, TooFew):
            await self._commits.all_kept()
            self._joints.told_ended(ask.ticket, ask.key_name)
            raise
        joint.named = joint.named or bool(ask.ticket or ask.idempotency_key)
        joint.requests += 1
        outcome: Joint | JointQueued | None = None
        try:
            while outcome is None:
                while joint.group > self._journal.done:
                    # Meanwhile it may change again, and go into a later group.
                    await self._journal.committed(joint.group)
                outcome = self._outcome(joint, until)
                if outcome is None:
                    await waiting_for(joint.watchers, until - self._clock.seconds(), self._clock)
        finally:
            joint.requests -= 1
            if not joint.requests:
                self._joints.request_over(joint, answered=outcome is not None)
        return outcome

    def _check(self, ask: JointAsk) -> None:
        """
        Return if something can be decided about a request.

        :raises resourced.errors.NotOwner: another node decides about it.
        :raises resourced.errors.StoreUnavailable: the store is away.
        """
        self._journal.check()
        if ask.ticket:
            # Whatever is asked for beside it: nothing else is decided than what the ticket has.
            self._territory.check_ticket(ask.ticket)
            return
        for resource in ask.leases:
            self._territory.check(resource)

    def _check_still(self, joint: Joint) -> None:
        """
        Return if something can still be decided about a request.

        :raises resourced.errors.NotOwner: it is left to another node.
        :raises resourced.errors.StoreUnavailable: the store may know better.
        """
        if not self._territory.whole:
            self._territory.check_ticket(joint.name)
        if joint.in_doubt:
            raise store_in_doubt()

    def _outcome(self, joint: Joint, until: float) -> Joint | JointQueued | None:
        """Return what to answer, or nothing while there is time to wait."""
        self._check_still(joint)
        if joint.ended:
            raise TicketEnded("This ticket has ended while it waited. Ask again without it.")
        if joint.holds:
            if joint.expected is not None:
                self._estimates.granted(_kind(joint), joint.expected, joint.since)
                joint.expected = None
            return joint
        if self._clock.seconds() >= until or self._commits.closing:
            # For a request that waited, the last commit may have been long ago.
            self._journal.check_lease()
            return self._queued(joint)
        return None

    def _queued(self, joint: Joint) -> JointQueued:
        kind = _kind(joint)
        units = self._joints.units_before(joint)
        if joint.expected is None:
            joint.expected = self._estimates.expect(kind, units, self._clock.seconds())
        return JointQueued(joint.name, self._joints.position(joint), self._estimates.seconds(kind, units))

    async def _unlock(self, ticket: str, key_name: str) -> bool:
        while True:
            if self._commits.paused():
                await self._commits.recovered()
            self._journal.check()
            self._territory.check_ticket(ticket)
            joint = self._joints.find(ticket, key_name)
            if joint is None:
                await self._commits.all_kept()
                return False
            if joint.in_doubt:
                raise store_in_doubt()
            busy = next((entry.queue for entry in joint.entries if entry.queue.writes), None)
            if busy is None:
                await self._commits.kept(self._joints.leave(joint))
                return True
            await busy.until_idle()


def _kind(joint: Joint) -> Hashable:
    """Return what is the same for all requests that ask for the same."""
    return joint.wants, joint.priority, joint.waiting.yields
