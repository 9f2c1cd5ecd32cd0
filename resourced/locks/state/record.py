"""What was decided since the journal was last told, and the numbers that decisions get."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from resourced.locks.journal.interface import Journal
from resourced.locks.state.joints import Joint
from resourced.locks.state.queue import Entry
from resourced.model import Breaker, Event, EventKind, LockKey, Loss, Resource, Snapshot, Step, Write
from resourced.partitions import STRIDE, last_before, next_after
from resourced.wants import Card


class Record:
    """
    Gathers what is decided in one step, and puts it into the journal as one group.

    :param wall: tells Unix time in seconds; it is only shown to people, as the time of an event.
    :param since: an id that is lower than that of any event of this life.
    """

    def __init__(self, journal: Journal, wall: Callable[[], float], since: int) -> None:
        self._journal = journal
        self._wall = wall
        self._seq = 0
        self._fence = 0
        self._event = since
        # What the next id of an event is above too, as other nodes give out ids.
        self._beyond = 0
        # By how much each number is higher than the one before.
        self._step = 1
        self._changed: dict[Entry, None] = {}
        self._gone: list[Entry] = []
        self._events: list[Event] = []
        self._lost: list[Loss] = []
        self._forgotten: list[Loss] = []
        self._joints: dict[Joint, None] = {}
        self._joints_gone: list[Joint] = []
        self._cards: dict[LockKey, Card | None] = {}
        # Whether anything was decided about requests for several things or cards.
        self._pooled = False

    # -- Numbers

    def next_seq(self) -> int:
        """Return the number of a new place."""
        self._seq += self._step
        return self._seq

    def next_fence(self) -> int:
        """Return the fence of a new grant."""
        self._fence += self._step
        return self._fence

    def leap(self, by: int) -> tuple[int, int]:
        """Let fences and ids of events go on further up; return the highest of each that count as given out."""
        self._fence += by
        self._event += by
        return self._fence, self._event

    def now(self) -> int:
        """Return the time as it is shown to people, in milliseconds of Unix time."""
        wall = self._wall
        return int(wall() * 1000)

    @property
    def newest_event(self) -> int:
        """No event gets an id from now on that is not higher."""
        return max(self._event, self._beyond)

    def go_on_from(self, snapshot: Snapshot) -> None:
        """Let all numbers go on above what the store knows."""
        self._seq = max(
            [
                self._seq,
                snapshot.seq,
                *(place.seq for place in snapshot.places),
                *(joint.seq for joint in snapshot.joints),
            ]
        )
        self._fence = max(self._fence, snapshot.fence)
        if not snapshot.node:
            self._event = max(self._event, snapshot.event)
            return
        self._step = STRIDE
        self._seq, self._fence = (next_after(number, snapshot.node) for number in (self._seq, self._fence))
        self._beyond = self.newest_event
        self._event = last_before(self._beyond, snapshot.node)
        self.keep_up(snapshot.event, snapshot.node)

    def keep_up(self, event: int, node: int) -> None:
        """Give no event of a node an id that is not higher than one that another node has given out."""
        if event > self.newest_event:
            self._beyond, self._event = event, last_before(event, node)

    # -- What is decided

    @property
    def empty(self) -> bool:
        """Whether no place has changed."""
        return not self._changed

    def changed(self, entry: Entry) -> None:
        """Keep a place as it is at the end of this step."""
        self._changed[entry] = None

    def gone(self, entry: Entry) -> None:
        """Keep a place no more."""
        self._gone.append(entry)

    def joint(self, joint: Joint) -> None:
        """Keep a request for several things as it is at the end of this step."""
        self._joints[joint] = None
        self._pooled = True

    def joint_gone(self, joint: Joint) -> None:
        """Keep a request for several things no more."""
        self._joints.pop(joint, None)
        self._joints_gone.append(joint)
        self._pooled = True

    def card(self, key: LockKey, card: Card | None) -> None:
        """Keep the card of a unit, or none any more."""
        self._cards[key] = card
        self._pooled = True

    def lost(self, loss: Loss) -> None:
        """Keep what a ticket has lost."""
        self._lost.append(loss)

    def forgotten(self, losses: Iterable[Loss]) -> None:
        """Keep some losses no more."""
        self._forgotten += losses

    def event(self, kind: EventKind, entry: Entry, now: float, breaker: Breaker | None = None) -> Event:
        """Keep what happens to a place, and who breaks its lock if somebody does."""
        key_name, by, reason = breaker or (entry.ticket.key_name, "", "")
        self._event += self._step
        event = Event(
            self._event,
            kind,
            self.now(),
            entry.queue.key,
            entry.owner,
            entry.fence,
            now - entry.since,
            key_name,
            by,
            reason,
            entry.priority,
        )
        self._events.append(event)
        return event

    def unit_event(self, kind: EventKind, key: LockKey, who: Breaker) -> None:
        """Keep what somebody does to a unit, and why."""
        self._event += self._step
        self._events.append(Event(self._event, kind, self.now(), key, who.by, 0, 0.0, who.key_name, "", who.reason))

    # -- The journal

    def remove(self, resource: Resource) -> int:
        """Put the removal of a resource into the journal; return the number of the group that carries it."""
        return self._journal.append(Step(self._fence, [], [], [], removed=resource))

    def commit(self, write: Write | None = None, unannounced: Collection[int] = ()) -> int:
        """
        Put what was decided into the journal, in one group, and wake whom it concerns.

        :param unannounced: places of which no client was told before, nor will be if this is not kept.
        :returns: the number of the journal's group that carries it, or of the newest there is.
        """
        changed, gone = self._changed, self._gone
        if not (changed or gone or write is not None or self._pooled):
            return self._journal.newest
        concerned: list[Entry | Joint] = [*changed, *gone]
        durable = self._journal.durable
        step = Step(
            self._fence,
            [entry.place() for entry in changed] if changed and durable else (),
            [(entry.seq, entry.queue.key) for entry in gone] if gone and durable else (),
            self._events,
            write,
            unannounced,
            None,
            self._lost,
            [loss.event for loss in self._forgotten if loss.event] if self._forgotten else (),
        )
        if self._pooled:
            concerned += [*self._joints, *self._joints_gone]
            self._add_pools(step)
        self._changed, self._gone, self._events = {}, [], []
        if self._lost or self._forgotten:
            self._lost, self._forgotten = [], []
        group = self._journal.append(step)
        watched = []
        for entry in concerned:
            entry.group = group
            if entry.watchers:
                watched.append(entry)
        for entry in watched:
            entry.notify()
        return group

    def _add_pools(self, step: Step) -> None:
        if self._journal.durable:
            step.joints = [joint.request() for joint in self._joints]
            step.joints_gone = [joint.seq for joint in self._joints_gone]
        step.cards = list(self._cards.items())
        self._joints, self._joints_gone, self._cards, self._pooled = {}, [], {}, False


def ids_from(at: int) -> int:
    """
    Return an id above which those of a life are that begins at a time, where not every event is kept.

    So none has the id of one in an earlier life, unless the clock was wrong by then. If the clock is set later, that changes nothing.

    :param at: milliseconds of Unix time.
    """
    return at * 1000
