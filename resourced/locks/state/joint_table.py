"""Every decision about requests for several things: who may make one, and what becomes of its ticket."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from twisted.internet.interfaces import IReactorTime

from resourced.errors import (
    CardNotFound,
    Deadlock,
    ForeignTicket,
    Overloaded,
    QuotaExceeded,
    ResourceInUse,
    StoreUnavailable,
    TicketEnded,
    TooFew,
)
from resourced.locks.state.entry_states import HELD, QUEUED
from resourced.locks.state.joints import Joint, JointAsk
from resourced.locks.state.limits import Limits, Times
from resourced.locks.state.places import Places
from resourced.locks.state.queue import Entry
from resourced.locks.state.units import GOING
from resourced.model import BACK, EXPIRY, OUT, Breaker, EventKind, LockKey
from resourced.partitions import partition_of, ticket_in
from resourced.quotas import Quotas
from resourced.wants import ALL, Card, JointRequest


class Joints:
    """
    The requests for several things, and the cards of units.

    :param sealed: resources that are being removed or changed.
    """

    def __init__(
        self, clock: IReactorTime, places: Places, *, times: Times, limits: Limits, quotas: Quotas, sealed: set[str]
    ) -> None:
        self._clock = clock
        self._places = places
        self._units = places.units
        self._times = times
        self._limits = limits
        self._quotas = quotas
        self._sealed = sealed

    def __iter__(self) -> Iterator[Joint]:
        """Every request that waits or holds."""
        return iter(self._units.joints)

    def find(self, name: str, key_name: str) -> Joint | None:
        """Return the request of a ticket, if it waits or holds. To others than whom it was given to it is unknown."""
        seq = self._places.tickets.joint(name, key_name)
        return None if seq is None else self._units.joints.of_seq(seq)

    def position(self, joint: Joint) -> int:
        """Count a request that waits, and those before it that could use something that it wants."""
        return self._units.pools.position(joint.waiting)

    def units_before(self, joint: Joint) -> float:
        """Estimate how many units have to fall free before a request has everything."""
        return self._units.pools.units_before(joint.waiting)

    def enter(self, ask: JointAsk) -> Joint:
        """
        Find the request of a ticket and renew it, or make one: it gets everything if it is its turn, and else waits.

        :raises resourced.errors.TicketEnded: the ticket has ended, or a unit was taken from it; ``left`` says what it has.
        :raises resourced.errors.ForeignTicket: the ticket holds or waits for something else.
        :raises resourced.errors.TooFew: there are not as many units; ``have`` says how many.
        :raises resourced.errors.Deadlock: it would have to wait for itself.
        :raises resourced.errors.Overloaded: too many wait, or too many locks are held.
        :raises resourced.errors.QuotaExceeded: its key has as much as it may have.
        """
        joint = self._sent(ask) if ask.ticket else self._repeated(ask)
        held = self._places.tickets.holding(ask.holds, ask.key_name)
        if joint is None:
            joint = self._join(ask)
        else:
            _check_same(joint, ask)
            self._renew(joint, ask.lease)
        if joint.state is QUEUED and held:
            self._refuse_deadlock(joint, held)
        self._places.record.commit()
        return joint

    def check_whole(self, joint: Joint) -> None:
        """
        Return if nothing was taken from a request.

        :raises resourced.errors.TicketEnded: a unit was; ``left`` says what it has.
        """
        if self._places.losses.of_ticket(joint.name, joint.key_name):
            left = [{"resource": key.resource, "selector": key.selector} for _, key, _ in joint.got()]
            raise TicketEnded("A unit was taken from this ticket. It keeps what is left.", {"left": left}, joint.name)

    def _renew(self, joint: Joint, lease: int) -> None:
        if lease and lease != joint.asked_lease:
            joint.asked_lease = lease
            self._places.record.joint(joint)
        if joint.holds:
            self.claim(joint.seq)
        else:
            self._places.lifetimes.arm(joint, self._times.place, self._clock.seconds())

    def claim(self, seq: int) -> None:
        """Count the use of a ticket that holds: from its first use on it has its lease."""
        joint = self._units.joints.of_seq(seq)
        if joint is None:
            return
        if joint.state is not HELD:
            self._units.claim(joint)
        self._places.lifetimes.arm(joint, joint.lease, self._clock.seconds())

    def confirm(self, joint: Joint) -> float:
        """Count the client as told; return the lease, in seconds."""
        self.claim(joint.seq)
        self._places.record.commit()
        return joint.lease

    def leave(self, joint: Joint) -> int:
        """End a request as its client wishes; return the number of the journal's group that carries it."""
        if joint.holds:
            self._end_all(joint, None)
        else:
            self._units.leave(joint)
        return self._places.record.commit()

    def expire(self, seq: int) -> None:
        """End a request whose time is over, with all its units."""
        joint = self._units.joints.of_seq(seq)
        if joint is None:
            return
        if joint.holds:
            self._end_all(joint, EXPIRY)
        else:
            self._units.leave(joint)
        self._places.record.commit()

    def end_waiting(self) -> int:
        """End all requests that wait, first the polite ones, then the last first, so that nobody is granted anything; count them."""
        waiting = [joint for joint in self._units.joints if joint.state is QUEUED]
        for joint in sorted(waiting, key=lambda joint: (joint.waiting.yields, joint.waiting.rank), reverse=True):
            self._units.leave(joint)
        return len(waiting)

    def told_ended(self, ticket: str, key_name: str) -> None:
        """Take note that a client is told what its ticket has lost."""
        for loss in self._places.losses.of_ticket(ticket, key_name):
            self._places.losses.told(loss.key, ticket, key_name)

    def request_over(self, joint: Joint, *, answered: bool) -> None:
        """Go on with the deadline of a request that waits after the last one with its ticket has been answered."""
        if joint.state is not QUEUED or joint.in_doubt:
            return
        if answered:
            self._places.lifetimes.arm(joint, self._times.place, self._clock.seconds())
        else:
            self._places.lifetimes.look_again(joint)

    def put_card(self, key: LockKey, card: Card | None, who: Breaker) -> int:
        """
        Let a selector have a card that is new or changed, or none.

        :param who: who does it, and why, if the unit goes out of service or comes back.
        :returns: the number of the journal's group that carries it.
        :raises resourced.errors.Overloaded: the resource has as many units as it may have.
        """
        if key.resource in self._sealed:
            raise StoreUnavailable("This resource is being removed or changed. Try again.")
        if card is not None and self._units.cards.get(key) is None:
            self._check_units(key.resource, 1)
        self._change(key, card, who)
        return self._places.record.commit()

    def check_slots(self, resource: str, slots: int) -> None:
        """
        Return if a resource may have the units ``1`` to ``slots`` beside those that it has.

        :raises resourced.errors.Overloaded: it would have too many.
        """
        cards = self._units.cards
        more = sum(cards.get(LockKey(resource, str(number))) is None for number in range(1, slots + 1))
        if more:
            self._check_units(resource, more)

    def set_slots(self, resource: str, before: int, after: int, who: Breaker) -> int:
        """
        Let a resource have the units ``1`` to ``after``. One that is held and has to go is out of service until it is free.

        :param before: how many there were to be before.
        :returns: the number of the journal's group that carries it.
        """
        for number in range(1, max(before, after) + 1):
            key = LockKey(resource, str(number))
            card = self._units.cards.get(key)
            if number <= after and (card is None or card.out == GOING):
                self._change(key, self.taken_out(card or Card(), None), who)
            elif number > after and card is not None:
                queue = self._places.queues.by_key.get(key)
                held = queue is not None and queue.holder is not None
                self._change(key, self.taken_out(card, GOING) if held else None, who)
        return self._places.record.commit()

    def withdraw(self, key: LockKey, who: Breaker) -> None:
        """
        Take a unit out of service that its holder gives back as broken.

        :raises resourced.errors.CardNotFound: it is no unit.
        """
        card = self._units.cards.get(key)
        if card is None:
            raise CardNotFound("This selector has no card, so it cannot go out of service.")
        self._change(key, self.taken_out(card, who.reason), who)

    def taken_out(self, card: Card, reason: str | None) -> Card:
        """Return a card with its unit out of service for a reason; or in service, without one."""
        if card.out is not None and reason is not None:
            return card._replace(out=reason)
        return card._replace(out=reason, out_since=0 if reason is None else self._places.record.now())

    def check_unused(self, resource: str) -> None:
        """
        Return if no request names a resource.

        :raises resourced.errors.ResourceInUse: one does.
        """
        if self._units.joints.naming(resource):
            raise ResourceInUse("A request for several things names this resource.")

    def redefine(self, resource: str, lease: float) -> None:
        """Let the leases of requests be as their resource says now, each from its next renewal on."""
        for joint in self._units.joints:
            if resource in joint.leases:
                joint.leases[resource] = lease

    # -- How it is done

    def _check_units(self, resource: str, more: int) -> None:
        if self._units.cards.count(resource) + more > self._limits.units:
            raise Overloaded(f"A resource has at most {self._limits.units} units.")

    def _change(self, key: LockKey, card: Card | None, who: Breaker) -> None:
        before = self._units.out(key)
        after = None if card is None else card.out
        if after is not None and before is None:
            self._places.record.unit_event(OUT, key, who._replace(reason=after))
        elif after is None and before is not None:
            self._places.record.unit_event(BACK, key, who)
        self._units.put_card(key, card)

    def _end_all(self, joint: Joint, why: EventKind | None) -> None:
        entries = joint.entries
        for entry in entries:
            if why is None:
                self._places.release(entry)
            else:
                self._places.end(entry, why)
        for entry in entries:
            self._places.pass_on(entry.queue)

    def _sent(self, ask: JointAsk) -> Joint:
        """Return the request of the ticket that was sent."""
        joint = self.find(ask.ticket, ask.key_name)
        losses = self._places.losses.of_ticket(ask.ticket, ask.key_name)
        if joint is None:
            if not losses and self._places.tickets.at_work(ask.ticket, ask.key_name):
                raise ForeignTicket("This ticket holds or waits for something else. Ask without it.")
            raise TicketEnded("This ticket has ended. Ask again without it.")
        self.check_whole(joint)
        return joint

    def _repeated(self, ask: JointAsk) -> Joint | None:
        """Return what the same request got before."""
        return self._units.joints.repeated(ask.key_name, ask.idempotency_key) if ask.idempotency_key else None

    def _join(self, ask: JointAsk) -> Joint:
        for resource in ask.leases:
            if resource in self._sealed:
                raise StoreUnavailable("This resource is being removed or changed. Try again.")
        self._check_room(ask)
        asked, have = self._units.pools.could_have(ask.wants)
        if have < asked:
            raise TooFew(f"Units asked for: {asked}. Units that fit: {have}.", {"have": have})
        tenant = self._quotas.tenant(ask.key_name)
        now = self._clock.seconds()
        request = JointRequest(
            self._places.record.next_seq(),
            ticket_in(partition_of(ask.group), self._places.tickets.new_name()),
            ask.wants,
            ask.yields,
            ask.priority,
            ask.lease,
            ask.owner,
            ask.key_name,
            ask.idempotency_key,
        )
        joint = Joint(request, self._units.joints.demand(ask.wants, ask.leases), now, tenant)
        self._units.enter(joint, now)
        if joint.state is QUEUED:
            try:
                self._quotas.check_waiting(tenant, tenant.waiting - 1)
            except QuotaExceeded:
                self.leave(joint)
                raise
        return joint

    def _check_room(self, ask: JointAsk) -> None:
        """Let there be one more request, if there are not too many and it does not want too much."""
        tenant = self._quotas.tenant(ask.key_name)
        queues = self._places.queues
        asked = sum(self._units.pools.matching(want) if want.count == ALL else want.count for want in ask.wants)
        self._quotas.check_places(asked - 1)
        if len(queues.by_key) + asked > self._limits.locks or len(queues.waiters) >= self._limits.waiting:
            raise Overloaded("Too many locks are held, or too many tickets wait already. Try again later.")
        self._quotas.check_lock(tenant, asked)

    def _refuse_deadlock(self, joint: Joint, held: Collection[Entry]) -> None:
        """Let nobody wait who would wait for itself, and give up the place that it may have already."""
        deadlocks = self._places.deadlocks
        deadlocks.over(joint)
        asked, have = self._units.pools.could_have(joint.wants, {entry.queue.key for entry in held})
        if have < asked or deadlocks.closes(self._units.blockers(joint), held):
            self.leave(joint)
            raise Deadlock(
                "To wait for this would be a deadlock: it will not be free before this client lets go of another lock."
            )
        deadlocks.waits(joint, held)


def _check_same(joint: Joint, ask: JointAsk) -> None:
    """
    Return if what is asked for is what a request has or waits for.

    :raises resourced.errors.ForeignTicket: it is something else.
    """
    if ask.wants and ask.wants != joint.wants:
        sent = "ticket" if ask.ticket else "Idempotency-Key"
        raise ForeignTicket(f"This {sent} is that of a request for something else. Ask without it.")
