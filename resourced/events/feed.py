"""
What has happened, as it happens: the newest events in memory, and their followers.

A follower stands at an event and comes for what is next when it can take it, so nothing is kept for anyone in particular.
What is not in memory any more comes from the store. To tell followers is never more urgent than the locks: it is done in
slices, with rests between them, however many there are.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple, Protocol, TypeVar

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from resourced import jsontext
from resourced.auth.keys import Identity
from resourced.errors import EventsForgotten, StoreUnavailable
from resourced.model import BACK, BREAK, OUT, Event

K = TypeVar("K")
V = TypeVar("V")

#: How many of the newest events are in memory.
ROOM = 16_384
#: How many events a follower gets at once, and how many bytes they may have, but for the first.
PAGE, BYTES = 200, 65_536
#: How many followers are told at once, and how long everything else has its turn then, in seconds.
SLICE, REST = 10, 0.005
#: In which time what happens is gathered, in seconds, before those who know all are told again.
MOMENT = 0.05
#: How long the store is left alone before it is read from, and after it turned out to be away, in seconds.
IDLE_DELAY, PAUSE = 0.025, 1.0
#: How many answers are remembered because others may come for the same.
REMEMBERED = 16


def described(event: Event) -> dict[str, object]:
    """Say what has happened the way that clients are told."""
    at = datetime.fromtimestamp(event.at // 1000, UTC)
    why: dict[str, object] = {}
    if event.kind is BREAK:
        why = {"by": event.by, "reason": event.reason}
    elif event.kind is OUT or event.kind is BACK:
        why = {"reason": event.reason}
    return {
        "id": event.id,
        "at": f"{at:%Y-%m-%dT%H:%M:%S}.{event.at % 1000:03d}Z",
        "event": event.kind.name.lower(),
        "resource": event.key.resource,
        "selector": event.key.selector,
        "owner": event.owner,
        "key": event.key_name,
        "fence": event.fence,
        "seconds": round(event.seconds, 3),
        **({"priority": event.priority} if event.priority else {}),
        **why,
    }


class View(NamedTuple):
    """
    What a follower may and wants to know of: resources that its key may touch, and whose names begin with a prefix.

    :ivar identity: whose key it is.
    """

    identity: Identity
    prefix: str

    def shows(self, event: Event) -> bool:
        """Tell whether an event is to be seen."""
        name = event.key.resource
        return name.startswith(self.prefix) and self.identity.may_touch(name)


def framed(event: Event) -> bytes:
    """Spell an event as one of server-sent events (WHATWG HTML, 9.2)."""
    kind = event.kind.name.lower().encode()
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.id, kind, jsontext.write(described(event)))


_id = attrgetter("id")


class EventPage(NamedTuple):
    """
    Some events, in their order.

    :ivar reached: the id of the event from which to go on.
    """

    events: Sequence[Event]
    reached: int


class Past(Protocol):
    """Where events are kept."""

    async def events_since(self, after: int, limit: int) -> list[Event]:
        """
        Tell what has happened after an event, the oldest first.

        :raises resourced.errors.EventsForgotten: something that has happened after it is not kept any more.
        """


class Feed:
    """
    The newest events, and whose turn it is to learn of them.

    :param past: where events are that are not in memory any more.
    :param kept: whether it has every one of them, for a time.
    :param since: an id that is lower than any of this life, and higher than those of earlier lives, if the store does not know those.
    :param room: how many events are in memory at least, once there were as many.
    """

    def __init__(self, clock: IReactorTime, past: Past, *, kept: bool = True, since: int = 0, room: int = ROOM) -> None:
        self._clock = clock
        self._past = past
        self._kept = kept
        self._room = room
        # Every event after that of the id `_floor`.
        self._recent: list[Event] = []
        self._floor = since
        # How far everybody gets until the next gathering: so many come for the same, which is spelled once.
        self._until = since
        # Those who know all, and those who do not and wait for their turn.
        self._level: dict[Deferred[None], None] = {}
        self._line: OrderedDict[Deferred[None], None] = OrderedDict()
        self._news = False
        self._gathered = -MOMENT
        self._called = False
        self._reading = DeferredLock()
        self._pages: OrderedDict[int, EventPage] = OrderedDict()
        self._spelled: OrderedDict[tuple[int, View], tuple[bytes, int]] = OrderedDict()
        # Many who see different things, or are not equally far, come for the same event.
        self._frame = lru_cache(room)(framed)

    @property
    def recent(self) -> Sequence[Event]:
        """The events that are in memory, the oldest first."""
        return self._recent

    @property
    def waiting(self) -> int:
        """How many followers wait, for news or for their turn."""
        return len(self._level) + len(self._line)

    @property
    def newest(self) -> int:
        """The id of the last event that has happened."""
        return self._recent[-1].id if self._recent else self._floor

    # -- What the journal says

    def happened(self, events: Iterable[Event]) -> None:
        """Take note of events, whose ids are higher than that of any before."""
        self._recent += events
        surplus = len(self._recent) - self._room
        # Many at a time, because each time all the others are moved; but not so many that it takes a while.
        if surplus > self._room // 16:
            self._floor = self._recent[surplus - 1].id
            del self._recent[:surplus]
        if not self._news:
            self._tell_soon()

    def resumed(self, newest: int) -> None:
        """
        Take note that a term has begun.

        :param newest: the id of the last event that may have happened. If that was not told, whatever happened before is now
            read from the store: so everything is told in its order.
        """
        if newest > self.newest:
            self._recent.clear()
            self._floor = newest
            self._tell_soon()

    # -- What followers ask for

    async def turn(self, after: int) -> None:
        """Wait until there is something after an event, and until it is this follower's turn to learn of it."""
        turn: Deferred[None] = Deferred(self._leave)
        if after >= self._until:
            self._level[turn] = None
        else:
            self._line[turn] = None
            self._call(REST)
        await turn

    async def read(self, after: int, view: View) -> tuple[bytes, int]:
        """
        Spell what came after an event, or the first part of it.

        :returns: what a follower may see of it, perhaps nothing, and the id of the event from which to go on.
        :raises resourced.errors.EventsForgotten: something in between is not kept.
        """
        spelled = self._spelled.get((after, view))
        if spelled is None:
            spelled = self._spell(await self._page(after), view)
            _remember(self._spelled, (after, view), spelled)
        return spelled

    # -- Turns

    def _leave(self, turn: Deferred[None]) -> None:
        self._level.pop(turn, None)
        self._line.pop(turn, None)

    def _tell_soon(self) -> None:
        self._news = True
        self._call(self._gathered + MOMENT - self._clock.seconds())

    def _call(self, seconds: float) -> None:
        if not self._called:
            self._called = True
            self._clock.callLater(max(0.0, seconds), self._serve)

    def _serve(self) -> None:
        """Let some followers have their turn."""
        now = self._clock.seconds()
        self._called = False
        if self._news and now - self._gathered >= MOMENT:
            self._news = False
            self._gathered = now
            self._until = self.newest
            self._spelled.clear()
            self._line.update(self._level)
            self._level.clear()
        for _ in range(min(SLICE, len(self._line))):
            self._line.popitem(last=False)[0].callback(None)
        if self._line:
            self._call(REST)
        elif self._news:
            self._call(self._gathered + MOMENT - now)

    # -- Events

    async def _page(self, after: int) -> EventPage:
        if after < self._floor:
            return await self._page_of_past(after)
        start, end = (bisect_right(self._recent, id_, key=_id) for id_ in (after, self._until))
        events = self._recent[start : min(start + PAGE, end)]
        return EventPage(events, events[-1].id if events else after)

    async def _page_of_past(self, after: int) -> EventPage:
        if not self._kept:
            raise EventsForgotten("What has happened since was not kept.")
        # One at a time: the readers of the database are there for others too.
        await self._reading.acquire()
        try:
            # After a restart thousands come back to nearly the same place: they share a page.
            page = await self._shared_page(after - after % PAGE, after)
        except EventsForgotten:
            page = await self._shared_page(after, after)
        finally:
            self._reading.release()
        return EventPage(page.events[bisect_right(page.events, after, key=_id) :], page.reached)

    async def _shared_page(self, start: int, after: int) -> EventPage:
        """Return what came after one event, at least up to after another."""
        page = self._pages.get(start)
        if page is None or page.reached <= after:
            page = await self._read_past(start)
            _remember(self._pages, start, page)
        return page

    async def _read_past(self, after: int) -> EventPage:
        wait = IDLE_DELAY
        while True:
            await deferLater(self._clock, wait)
            floor = self._floor
            try:
                events = await self._past.events_since(after, PAGE)
            except StoreUnavailable:
                wait = PAUSE
                continue
            # What is newer is in memory, or has not been told yet.
            told = [event for event in events if event.id <= floor]
            return EventPage(told, told[-1].id if len(told) == PAGE else floor)

    def _spell(self, page: EventPage, view: View) -> tuple[bytes, int]:
        """Spell what of a page is to be seen, as far as it fits; say where to go on."""
        frames: list[bytes] = []
        size = 0
        passed = 0
        for event in page.events:
            if view.shows(event):
                frame = self._frame(event)
                size += len(frame)
                if frames and size > BYTES:
                    return b"".join(frames), passed
                frames.append(frame)
            passed = event.id
        return b"".join(frames), page.reached


def _remember(known: OrderedDict[K, V], key: K, value: V) -> None:
    """Keep an answer for others, and forget the oldest if there are many."""
    known[key] = value
    if len(known) > REMEMBERED:
        known.popitem(last=False)
