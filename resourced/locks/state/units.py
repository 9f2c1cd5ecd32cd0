"""The units of pools among the locks: what falls free goes to whose turn it is, by name or for several things."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from twisted.internet.interfaces import IReactorTime

from resourced.deferreds import wake
from resourced.errors import StoreUnavailable
from resourced.locks.pools.matching import Unit
from resourced.locks.pools.offers import PoolGrant
from resourced.locks.pools.pools import Pools
from resourced.locks.state.cards import Cards
from resourced.locks.state.deadlocks import Deadlocks
from resourced.locks.state.entry_states import (
    ASSIGN,
    END,
    NEW,
    OFFER,
    QUEUE,
    QUEUED,
    RESTORED,
    UNCLAIMED,
    USE,
    EntryEvent,
)
from resourced.locks.state.joint_index import JointIndex
from resourced.locks.state.joints import Joint
from resourced.locks.state.lifetimes import Lifetimes
from resourced.locks.state.limits import Times
from resourced.locks.state.queue import Entry, LockQueue, Ticket
from resourced.locks.state.queues import Queues
from resourced.locks.state.record import Record
from resourced.locks.state.tickets import Tickets
from resourced.model import LockKey
from resourced.wants import Card

#: Why a slot is out of service that goes when it is free.
GOING: Final = "The number of slots was reduced."


class Steps(Protocol):
    """What units need of the places. They are the ``Places``."""

    queues: Queues
    tickets: Tickets
    deadlocks: Deadlocks
    lifetimes: Lifetimes
    record: Record

    def grant(self, entry: Entry, event: EntryEvent, now: float) -> None:
        """Let a free lock be a place's own."""

    def grant_next(self, queue: LockQueue) -> None:
        """Give a free lock to the first in line."""

    def pass_on(self, queue: LockQueue) -> None:
        """Give a free lock to the first in line; forget a queue that nobody is in."""


class Units:
    """
    What the pools decide, done to the places.

    :ivar pools: which units there are, who wants them, and what is kept for whom.
    :ivar cards: those of all units.
    :ivar joints: the requests for several things that wait or hold.
    :ivar loading: whether places are being read from the store; until then nothing is free.
    """

    def __init__(self, places: Steps, clock: IReactorTime, times: Times) -> None:
        self._places = places
        self._clock = clock
        self._times = times
        self.cards = Cards()
        self.joints = JointIndex()
        self.loading = False
        self.pools = self._new_pools()

    # -- By name

    def covers(self, key: LockKey) -> bool:
        """Whether a lock is a unit, or something that a waiting request names."""
        return key in self.pools.units

    def unit(self, key: LockKey) -> Unit | None:
        """Return a lock as the pools know it, if they do."""
        return self.pools.units.get(key)

    def ask(self, entry: Entry) -> bool:
        """Let a new request by name have a unit that nobody holds, if it is its turn."""
        return self.pools.ask(entry.queue.key, entry.rank)

    def waits(self, key: LockKey) -> None:
        """Take note that somebody waits for a lock by name."""
        if key in self.pools.units:
            self.pools.wait(key)

    def blockers_of(self, key: LockKey) -> list[Entry]:
        """Return the holder of a lock, or who has what a request waits for that it is kept for."""
        queue = self._places.queues.by_key.get(key)
        if queue is not None and queue.holder is not None:
            return [queue.holder]
        unit = self.pools.units.get(key)
        if unit is None or unit.need is None:
            return []
        return self.blockers(self.joints.of_rank(unit.need.rank))

    def blockers(self, waiter: Entry | Joint) -> list[Entry]:
        """Return who has what somebody waits for by name."""
        if isinstance(waiter, Entry):
            return self.blockers_of(waiter.queue.key)
        named = (LockKey(want.resource, want.selector) for want in waiter.wants if want.selector)
        queues = (self._places.queues.by_key.get(key) for key in named)
        return [queue.holder for queue in queues if queue is not None and queue.holder is not None]

    def before(self, entry: Entry) -> tuple[int, str | None]:
        """Count the requests for several things that come before a place and could use its lock; and say why that is out of service."""
        key = entry.queue.key
        if key not in self.pools.units:
            return 0, None
        return self.pools.older(key, entry.rank), self.out(key)

    def out(self, key: LockKey) -> str | None:
        """Say why a unit is out of service, if it is."""
        card = self.cards.get(key)
        return None if card is None else card.out

    def fell_free(self, queue: LockQueue) -> None:
        """Pass a unit on that nobody holds any more; or forget that somebody waited for it by name."""
        key = queue.key
        if self.out(key) == GOING:
            self.put_card(key, None)
            if key not in self.pools.units:
                self._places.pass_on(queue)
                return
        if self.pools.units[key].free:
            self.pools.forget(key)
        elif not queue.in_doubt and (granted := self.pools.freed(key)):
            self.apply(granted)
        if queue.holder is None and not queue.waiting:
            self._places.queues.close(queue)

    # -- Several at once

    def enter(self, joint: Joint, now: float) -> None:
        """
        Let a new request have everything, or wait.

        :raises resourced.errors.Overloaded: requests wait for too many different tags.
        """
        grant = self.pools.enter(joint.waiting)
        self._add(joint)
        if grant is None:
            joint.at = self._places.lifetimes.passed(now)
            self.wait(joint)
            self._places.lifetimes.arm(joint, self._times.place, now)
        else:
            self._grant(joint, grant, OFFER, now)
        self._places.record.joint(joint)

    def wait(self, joint: Joint) -> None:
        """Count a request among those who wait."""
        joint.happens(QUEUE)
        self._places.queues.waiters.add(joint.seq, joint)
        joint.tenant.waiting += 1

    def load(self, joint: Joint, *, granted: bool) -> None:
        """Let a request be there that the store knows. What it has is added by ``restore_unit``."""
        joint.named = True
        self._add(joint)
        if not granted:
            self.wait(joint)
            self._places.lifetimes.arm(joint, self._times.place, self._clock.seconds())

    def restore_unit(self, joint: Joint, entry: Entry, want: int) -> None:
        """Let a place be one of a request's units, which the store knows."""
        if joint.state is NEW:
            joint.happens(RESTORED[entry.standing])
        entry.joint, entry.want = joint, want

    def all_loaded(self, joints: Iterable[Joint]) -> None:
        """Let those wait whose requests were read; forget those that have nothing any more."""
        for joint in joints:
            if joint.state is QUEUED:
                self.pools.load(joint.waiting)
            elif joint.state is NEW:
                # It was granted, and nothing is left of it.
                joint.happens(OFFER)
                self._over(joint)

    def ticket(self, joint: Joint, resource: str) -> Ticket:
        """Return the ticket of a request as a resource knows it."""
        ticket = joint.ticket(resource)
        if ticket is None:
            raise RuntimeError("A request has something of a resource that it does not want.")
        return ticket

    def claim(self, joint: Joint) -> None:
        """Count the use of a request's ticket: from the first use on it has its lease."""
        if joint.state is UNCLAIMED:
            for entry in joint.entries:
                self._places.record.changed(entry)
        for entry in joint.entries:
            entry.happens(USE)
        joint.happens(USE)

    def leave(self, joint: Joint) -> None:
        """Let a request wait no more, and what was kept for it go to others."""
        self._waits_no_more(joint)
        self._over(joint)
        self.apply(self.pools.leave(joint.waiting))

    def detach(self, entry: Entry) -> None:
        """Take a unit that has ended from its request, which is over with the last one."""
        joint = None if entry.joint is None else self.joints.of_seq(entry.joint.seq)
        if joint is not None and joint.over:
            self._over(joint)

    # -- Cards

    def put_card(self, key: LockKey, card: Card | None) -> None:
        """Let a selector have a card that is new or changed, or none any more; who waits may be served by it."""
        self.cards.put(key, card)
        self._places.record.card(key, card)
        self.apply(self.pools.put_card(key, card))

    def load_cards(self, cards: Mapping[LockKey, Card]) -> None:
        """Let units be as the store knows them."""
        for key, card in cards.items():
            self.cards.put(key, card)
            self.pools.put_card(key, card)

    def forget_card(self, key: LockKey) -> None:
        """Let a selector have no card, as the store knows already."""
        self.restore_card(key, None)

    def restore_card(self, key: LockKey, card: Card | None) -> None:
        """Let a unit be as the store knows it."""
        self.cards.put(key, card)
        self.apply(self.pools.put_card(key, card))

    # -- What the journal says

    def invalidate(self, key: LockKey) -> None:
        """Let nobody have a unit about which the store may know better."""
        if key in self.pools.units:
            self.pools.take(key)

    def invalidate_joints(self, joints: Iterable[Joint], why: StoreUnavailable | None = None) -> None:
        """Decide nothing more about requests for several things, and tell so whoever waits."""
        lost = why or StoreUnavailable("The store was lost while the request waited. Try again.")
        for joint in joints:
            joint.lost = True
            self._places.lifetimes.drop(joint)
            wake(joint.watchers, lost)

    def clear(self) -> None:
        """Forget everything."""
        for joint in self.joints:
            self._drop(joint)
        self.joints = JointIndex()
        self.cards = Cards()
        self.pools = self._new_pools()

    def abandon(self, joint: Joint) -> None:
        """Forget a request that was invalidated with all its units; so nothing is granted by this."""
        waited = joint.state is QUEUED
        self._drop(joint)
        self.joints.remove(joint)
        if waited:
            self.apply(self.pools.leave(joint.waiting))

    def _drop(self, joint: Joint) -> None:
        """Forget a request, which the store knows."""
        if joint.state is QUEUED:
            self._waits_no_more(joint)
        self._places.lifetimes.drop(joint)
        joint.happens(END)
        for ticket in joint.tickets:
            ticket.joint = None
        self._places.tickets.release(joint.tickets[0])

    def offer(self, keys: Iterable[LockKey]) -> None:
        """Offer those of some units that nobody holds, as far as they are not free already."""
        for key in keys:
            unit = self.pools.units.get(key)
            if unit is None or unit.free or self._held(key):
                continue
            if self.out(key) == GOING:
                self.put_card(key, None)
            if key in self.pools.units:
                self.apply(self.pools.freed(key))

    # -- How it is done

    def apply(self, grants: Iterable[PoolGrant]) -> None:
        """Grant what the pools have decided."""
        now = self._clock.seconds()
        for grant in grants:
            if grant.request is None:
                [(key, _)] = grant.units
                self._places.grant_next(self._places.queues.by_key[key])
                self._forget(key)
                continue
            joint = self.joints.of_rank(grant.request.rank)
            self._waits_no_more(joint)
            self._grant(joint, grant, OFFER if joint.requests else ASSIGN, now)
            self._places.record.joint(joint)

    def _waits_no_more(self, joint: Joint) -> None:
        self._places.queues.waiters.remove(joint.seq)
        joint.tenant.waiting -= 1
        self._places.deadlocks.over(joint)

    def _forget(self, key: LockKey) -> None:
        if key in self.pools.units:
            self.pools.forget(key)

    def _grant(self, joint: Joint, grant: PoolGrant, event: EntryEvent, now: float) -> None:
        places = self._places
        tickets = {ticket.resource: ticket for ticket in joint.tickets}
        leases, priority = joint.leases, joint.priority
        joint.happens(event)
        joint.at = places.lifetimes.passed(now)
        for key, want in grant.units:
            queue = places.queues.by_key.get(key) or places.queues.open(key, leases[key.resource])
            ticket = tickets[key.resource]
            entry = Entry(queue, ticket, places.record.next_seq(), joint.owner, joint.since, joint.tenant, 0, priority)
            ticket.entries[key.selector] = entry
            entry.joint, entry.want = joint, want
            places.grant(entry, event, now)
        places.lifetimes.arm(joint, self._times.claim, now)
        joint.since = now

    def _add(self, joint: Joint) -> None:
        self.joints.add(joint)
        for ticket in joint.tickets:
            self._places.tickets.revive(ticket)

    def _over(self, joint: Joint) -> None:
        joint.happens(END)
        self.joints.remove(joint)
        self._places.lifetimes.drop(joint)
        self._places.record.joint_gone(joint)
        ticket = joint.tickets[0]
        ticket.joint = None
        self._places.tickets.release(ticket)

    def _held(self, key: LockKey) -> bool:
        queue = self._places.queues.by_key.get(key)
        return self.loading or (queue is not None and (queue.holder is not None or queue.in_doubt))

    def _new_pools(self) -> Pools:
        return Pools(self._places.queues.first_rank, self._places.queues.older, self._held)
