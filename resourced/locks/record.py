"""What was decided since the journal was last told, and the numbers that decisions get."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from resourced.locks.journal import Journal
from resourced.locks.queue import Entry
from resourced.model import Breaker, Event, EventKind, Loss, Resource, Snapshot, Step, Write


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
        self._changed: dict[Entry, None] = {}
        self._gone: list[Entry] = []
        self._events: list[Event] = []
        self._lost: list[Loss] = []
        self._forgotten: list[Loss] = []

    # -- Numbers

    def next_seq(self) -> int:
        """Return the number of a new place."""
        self._seq += 1
        return self._seq

    def next_fence(self) -> int:
        """Return the fence of a new grant."""
        self._fence += 1
        return self._fence

    def leap(self, by: int) -> tuple[int, int]:
        """Let fences and ids of events go on further up; return the highest of each that count as given out."""
        self._fence += by
        self._event += by
        return self._fence, self._event

    def go_on_from(self, snapshot: Snapshot) -> None:
        """Let all numbers go on above what the store knows."""
        self._seq = max([self._seq, *[place.seq for place in snapshot.places]])
        self._fence = max(self._fence, snapshot.fence)
        self._event = max(self._event, snapshot.event)

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

    def lost(self, loss: Loss) -> None:
        """Keep what a ticket has lost."""
        self._lost.append(loss)

    def forgotten(self, losses: Iterable[Loss]) -> None:
        """Keep some losses no more."""
        self._forgotten += losses

    def event(self, kind: EventKind, entry: Entry, now: float, breaker: Breaker | None = None) -> Event:
        """Keep what happens to a place, and who breaks its lock if somebody does."""
        self._event += 1
        key_name, by, reason = breaker or (entry.ticket.key_name, "", "")
        event = Event(
            self._event,
            kind,
            int(self._wall() * 1000),
            entry.queue.key,
            entry.owner,
            entry.fence,
            now - entry.since,
            key_name,
            by,
            reason,
        )
        self._events.append(event)
        return event

    # -- The journal

    def remove(self, resource: Resource) -> int:
        """Put the removal of a resource into the journal; return the number of the group that carries it."""
        return self._journal.append(Step(self._fence, [], [], [], removed=resource))

    def commit(self, write: Write | None = None, unannounced: Entry | None = None) -> int:
        """
        Put what was decided into the journal, in one group, and wake whom it concerns.

        :param unannounced: a place that its client was not told of before, and will not be if this is not kept.
        :returns: the number of the journal's group that carries it, or of the newest there is.
        """
        if not self._changed and not self._gone and write is None:
            return self._journal.newest
        concerned = [*self._changed, *self._gone]
        step = Step(
            self._fence,
            [entry.place() for entry in self._changed] if self._journal.durable else (),
            [(entry.seq, entry.queue.key) for entry in self._gone] if self._journal.durable else (),
            self._events,
            write,
            unannounced.seq if unannounced is not None and not unannounced.named else 0,
            losses=self._lost,
            forgotten=[loss.event for loss in self._forgotten if loss.event],
        )
        self._changed, self._gone, self._events, self._lost, self._forgotten = {}, [], [], [], []
        group = self._journal.append(step)
        for entry in concerned:
            entry.group = group
        for entry in concerned:
            if entry.watchers:
                entry.notify()
        return group


def ids_from(at: int) -> int:
    """
    Return an id above which those of a life are that begins at a time, where not every event is kept.

    So none has the id of one in an earlier life, unless the clock was wrong by then. If the clock is set later, that changes nothing.

    :param at: milliseconds of Unix time.
    """
    return at * 1000
