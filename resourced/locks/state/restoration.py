"""What a failed commit does to what is known of locks, and how it is read from the store again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from twisted.internet.interfaces import IReactorTime

from resourced.errors import StoreUnavailable
from resourced.locks.journal.interface import Journal
from resourced.locks.state.entry_states import END, OFFERED, RESTORED
from resourced.locks.state.joints import Joint
from resourced.locks.state.limits import Times
from resourced.locks.state.places import Places
from resourced.locks.state.queue import Entry, LockQueue, Ticket
from resourced.locks.state.territory import Territory, left_to_another
from resourced.model import HOLDING, RELEASE, WAITING, LockKey, Place, Snapshot
from resourced.quotas import Quotas
from resourced.wants import JointRequest


class Restoration:
    """
    Follows the journal: knows what it has kept, and nothing that it has not.

    :param quotas: what each key name takes.
    :param territory: which locks are decided about here.
    :param anew: is called when something is read from the store, before anything of it counts.
    """

    def __init__(
        self,
        clock: IReactorTime,
        journal: Journal,
        places: Places,
        *,
        times: Times,
        quotas: Quotas,
        territory: Territory,
        anew: Callable[[], object],
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._places = places
        self._queues = places.queues
        self._units = places.units
        self._times = times
        self._quotas = quotas
        self._territory = territory
        self._anew = anew
        journal.follow(self)

    # -- What the journal says

    def invalidate(self, keys: Iterable[LockKey] | None) -> None:
        """Decide nothing more about ``keys``, or about anything: what was decided last may not have been kept."""
        for key in list(self._queues.by_key) if keys is None else keys:
            self._invalidate(self._queues.by_key.get(key) or self._queues.open(key, self._times.lease))
            self._units.invalidate(key)
        if keys is None:
            self._units.invalidate_joints(self._units.joints)

    def restore(self, snapshot: Snapshot, keys: Iterable[LockKey] | None, unannounced: Collection[int]) -> None:
        """Replace what is believed about ``keys``, or about everything, by what the store knows."""
        if keys is not None and self._territory.exceeds(snapshot.partitions):
            # Of what is not owned any more, nothing that was known before counts.
            self.invalidate(None)
            keys = None
        places, queues = self._places, self._queues
        replaced = set(queues.by_key if keys is None else keys)
        for key in replaced:
            self._drop(key)
        self._units.loading = True
        places.record.go_on_from(snapshot)
        self._anew()
        if keys is None:
            self._territory.begin(snapshot.partitions, snapshot.homes)
            places.lifetimes.inherit(snapshot)
            self._units.clear()
            self._units.load_cards(snapshot.cards)
            for request in snapshot.joints:
                self._load_joint(request, snapshot, unannounced)
        if keys is None or self._journal.remembers:
            places.losses.restore(snapshot.losses, None if keys is None else replaced)
        known = [place for place in snapshot.places if keys is None or place.key in replaced]
        loaded = self._load_places(known, snapshot, unannounced)
        if keys is None:
            self._units.all_loaded(self._units.joints)
        self._units.loading = False
        for queue in loaded:
            places.pass_on(queue)
        self._units.offer(list(self._units.pools.units) if keys is None else replaced)
        places.record.commit()

    def adopt(self, snapshot: Snapshot) -> None:
        """Decide about more partitions, of which the store knows this."""
        places = self._places
        self._units.loading = True
        places.record.go_on_from(snapshot)
        self._territory.add(snapshot.partitions or (), snapshot.homes)
        self._units.load_cards(snapshot.cards)
        for request in snapshot.joints:
            self._load_joint(request, snapshot, ())
        for loss in snapshot.losses:
            places.record.forgotten(places.losses.add(loss))
        loaded = self._load_places(snapshot.places, snapshot, ())
        new = {request.seq for request in snapshot.joints}
        self._units.all_loaded([joint for joint in self._units.joints if joint.seq in new])
        self._units.loading = False
        for queue in loaded:
            places.pass_on(queue)
        self._units.offer([key for key in self._units.pools.units if key.resource in snapshot.homes])
        places.record.commit()

    def suspend(self, partitions: Collection[int]) -> None:
        """Decide nothing more about some partitions: they are about to be left to others. Whoever waits asks again."""
        names = self._territory.names(partitions)
        self._territory.give_up(partitions)
        # First this, so that nothing is granted any more by what follows.
        for key in [key for key in self._units.pools.units if key.resource in names]:
            self._units.invalidate(key)
        queues, joints = self._queues_of(names), self._joints_of(names)
        unknown = self._end_unknown(queues, joints)
        # Who waits for any of these is woken by this, and told once it is committed that they are over.
        self._places.record.commit(unannounced=[each.seq for each in unknown])
        for queue in queues:
            self._invalidate(queue, left_to_another())
        self._units.invalidate_joints([joint for joint in joints if not joint.ended], left_to_another())

    def abandon(self, partitions: Collection[int]) -> None:
        """Forget some partitions, which are left to others."""
        names = self._territory.names(partitions)
        for queue in self._queues_of(names):
            self._drop(queue.key)
        for joint in self._joints_of(names):
            self._units.abandon(joint)
        for key in [key for key in self._units.pools.units if key.resource in names]:
            self._units.forget_card(key)
        self._places.losses.abandon(names)
        self._territory.forget(names)

    def restore_cards(self, snapshot: Snapshot, keys: Iterable[LockKey]) -> None:
        """Replace what is known of the cards of some units by what the store knows; who waits may be served by it."""
        for key in keys:
            self._units.restore_card(key, snapshot.cards.get(key))
        self._places.record.commit()

    def known(self) -> set[str]:
        """Return the names of all resources of which anything is known beside their definition."""
        cards = (key.resource for key in self._units.pools.units)
        losses = (loss.key.resource for loss in self._places.losses)
        wanted = (want.resource for joint in self._units.joints for want in joint.wants)
        return {*self._queues.scopes, *cards, *losses, *wanted}

    # -- How it is done

    def _queues_of(self, names: Collection[str]) -> list[LockQueue]:
        return [queue for queue in self._queues.by_key.values() if queue.key.resource in names]

    def _joints_of(self, names: Collection[str]) -> list[Joint]:
        return [joint for joint in self._units.joints if joint.wants[0].resource in names]

    def _end_unknown(self, queues: Iterable[LockQueue], joints: Iterable[Joint]) -> list[Entry | Joint]:
        """End what no client knows of, and return it: its client waits, asks again without a ticket, and would wait for itself."""
        singles = [entry for queue in queues for entry in queue if entry.joint is None and _unknown(entry)]
        several = [joint for joint in joints if _unknown(joint)]
        for joint in several:
            if joint.holds:
                for entry in joint.entries:
                    self._places.release(entry)
            else:
                self._units.leave(joint)
        for entry in singles:
            self._places.release(entry)
        return [*singles, *several]

    def _invalidate(self, queue: LockQueue, why: StoreUnavailable | None = None) -> None:
        for entry in queue:
            self._places.lifetimes.drop(entry)
        queue.invalidate(why)

    def _load_places(
        self, known: Iterable[Place], snapshot: Snapshot, unannounced: Collection[int]
    ) -> Iterable[LockQueue]:
        """Believe what the store knows about some places, unless no client knows of them; return where they are."""
        loaded: dict[LockKey, LockQueue] = {}
        for place in known:
            resource = snapshot.resources.get(place.key.resource)
            queue = self._queues.by_key.get(place.key) or self._queues.open(place.key, self._times.lease)
            queue.scope.lease = (resource and resource.timeout) or self._times.lease
            loaded[place.key] = queue
            # A request for several things is given up with all its units, or with none.
            if (place.joint or place.seq) in unannounced:
                self._give_up(queue, place)
                continue
            self._load(queue, place)
        return loaded.values()

    def _drop(self, key: LockKey) -> None:
        """Forget what is believed about a lock."""
        queue = self._queues.by_key.get(key)
        if queue is None:
            return
        self._queues.close(queue)
        queue.scope.waiting -= len(queue.waiting)
        queue.scope.held -= queue.holder is not None
        for entry in queue:
            if entry.holds:
                self._queues.holders.remove(entry.fence)
                entry.tenant.held -= 1
            else:
                self._queues.waiters.remove(entry.seq)
                entry.tenant.leave(key)
            self._places.lifetimes.drop(entry)
            self._places.deadlocks.over(entry)
            entry.happens(END)
            ticket = entry.ticket
            del ticket.entries[key.selector]
            if entry.joint is None and not ticket.alive:
                self._places.tickets.release(ticket)

    def _load_joint(self, request: JointRequest, snapshot: Snapshot, unannounced: Collection[int]) -> None:
        """Believe what the store knows about a request for several things, unless no client knows of it."""
        now = self._clock.seconds()
        leases: dict[str, float] = {}
        for want in request.wants:
            resource = snapshot.resources.get(want.resource)
            leases[want.resource] = (resource and resource.timeout) or self._times.lease
        joint = Joint(
            request, self._units.joints.demand(request.wants, leases), now, self._quotas.tenant(request.key_name)
        )
        joint.since, joint.at = self._since(request.since, now)
        if request.seq in unannounced:
            self._places.record.joint_gone(joint)
        else:
            self._units.load(joint, granted=request.granted)

    def _give_up(self, queue: LockQueue, place: Place) -> None:
        """End a place that the store knows of, and no client."""
        ticket = Ticket(place.ticket, place.key.resource, key_name=place.key_name)
        now = self._clock.seconds()
        entry = self._recall(queue, ticket, place, now)
        self._places.record.event(RELEASE, entry, now)
        self._places.record.gone(entry)

    def _recall(self, queue: LockQueue, ticket: Ticket, place: Place, now: float) -> Entry:
        """Let a place stand as the store says."""
        tenant = self._quotas.tenant(place.key_name)
        entry = Entry(queue, ticket, place.seq, place.owner, now, tenant, place.lease, place.priority)
        entry.fence = place.fence
        entry.named = True
        entry.since, entry.at = self._since(place.since, now)
        return entry

    def _since(self, since: int, now: float) -> tuple[float, int]:
        """Return since when something stands as it does, by this clock and by that of marks."""
        at = self._places.lifetimes.passed(now)
        if not since:
            return now, at
        # So long at least: what passed after the last mark, and before this daemon took over, nobody knows.
        return now - max(0, at - since) / 1000, since

    def _load(self, queue: LockQueue, place: Place) -> None:
        """Believe what the store knows about a place, and give it its full time anew."""
        tickets, losses, lifetimes = self._places.tickets, self._places.losses, self._places.lifetimes
        joint = self._units.joints.of_seq(place.joint)
        if joint is None:
            ticket = tickets.load(place.key.resource, place.ticket, place.idempotency_key, place.key_name)
            tickets.revive(ticket)
        else:
            ticket = self._units.ticket(joint, place.key.resource)
        if loss := losses.find(place.key, place.ticket):
            losses.remove(loss)
        now = self._clock.seconds()
        entry = ticket.entries[place.key.selector] = self._recall(queue, ticket, place, now)
        if place.standing is WAITING:
            queue.join(entry)
            self._queues.waiters.add(entry.seq, entry)
            self._units.waits(place.key)
            lifetimes.arm(entry, self._times.place, now)
        else:
            queue.hold(entry, RESTORED[place.standing])
            self._queues.holders.add(entry.fence, entry)
            if joint is not None:
                self._units.restore_unit(joint, entry, place.want)
            lifetimes.arm(entry, entry.lease if place.standing is HOLDING else self._times.claim, now)


def _unknown(place: Entry | Joint) -> bool:
    """Tell whether a client could not find its place again if the request that it waits for now had no answer."""
    return not place.named and (place.requests > 0 or place.state is OFFERED)
