"""What has happened to locks and data: looked up, and followed as it happens."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime

from resourced import jsontext
from resourced.api.base import Routes, route
from resourced.api.params import HIGHEST, argument, header, limit_of, named, only, presented_key, resource_named, whole
from resourced.api.responses import answer, waits
from resourced.auth.keys import Keys, Permission
from resourced.errors import BadRequest, EventsForgotten, NotAuthorized
from resourced.events.feed import Feed, View, described
from resourced.events.push import Stream, Streams
from resourced.http.request import EdgeRequest
from resourced.locks.manager import LockManager
from resourced.storage.interface import Store

#: How many events a request looks at, at most, whether it shows them or not. That takes some milliseconds.
LOOKED_AT: Final = 1000


class History(Routes):
    """
    The history of a lock, and the stream of all events (WHATWG HTML, 9.2: server-sent events).

    :param clock: what the beats of streams run by.
    :param reach: waits for an event that another node may have told already, if there are others.
    """

    def __init__(
        self,
        keys: Keys,
        store: Store,
        locks: LockManager,
        *,
        feed: Feed,
        streams: Streams,
        clock: IReactorTime,
        reach: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(keys, store, locks)
        self._reach = reach
        self._feed = feed
        self._streams = streams
        self._clock = clock

    @route("/resource/<name:resource>/<name:selector>/events", ["GET"])
    async def history(self, request: EdgeRequest, resource: str, selector: str) -> bytes:
        """Tell what has happened to a lock, the newest first."""
        self.authorize(request, Permission.READ, resource)
        key = named(resource, selector)
        only(request, b"before", b"limit")
        before, limit = whole(request, b"before", HIGHEST), limit_of(request)
        events = await self.store.events(key, before, limit + 1)
        more = len(events) > limit
        body = {
            "events": [described(event) for event in events[:limit]],
            "next": events[limit - 1].id if more else None,
        }
        return answer(request, 200, body)

    @route("/history", ["GET"])
    async def history_of_all(self, request: EdgeRequest) -> bytes:
        """Tell what has happened to a resource, or to all, the newest first. What is not to be shown is looked at too."""
        identity = self.authorize(request, Permission.READ)
        only(request, b"resource", b"before", b"limit")
        resource = argument(request, b"resource")
        before, limit = whole(request, b"before", HIGHEST), limit_of(request)
        if resource is not None:
            identity.require(resource_named(resource))
        events = await self.store.events_before(before, LOOKED_AT + 1)
        looked_at = events[:LOOKED_AT]
        shown = [
            event
            for event in looked_at
            if identity.may_touch(event.key.resource) and resource in {None, event.key.resource}
        ]
        last = looked_at[-1].id if len(events) > LOOKED_AT else None
        if len(shown) > limit:
            last = shown[limit - 1].id
        return answer(request, 200, {"events": [described(event) for event in shown[:limit]], "next": last})

    @route("/events", ["GET"])
    async def follow(self, request: EdgeRequest) -> bytes:
        """Tell what happens as it happens."""
        identity = self.authorize(request, Permission.READ)
        view = View(identity, argument(request, b"prefix") or "")
        last = last_event_of(request)
        tenant = self.locks.quotas.tenant(identity.name)
        self._streams.check(tenant)
        request.setResponseCode(200)
        request.setHeader(b"content-type", b"text/event-stream")
        request.setHeader(b"cache-control", b"no-store")
        # A proxy that gathers what is sent would spoil it.
        request.setHeader(b"x-accel-buffering", b"no")
        if request.method != b"HEAD":
            waits(request)
            await self._streams.run(tenant, self._stream(request, view, last))
        return b""

    async def _stream(self, request: EdgeRequest, view: View, last: int | None) -> None:
        reached = self._feed.newest if last is None else last

        def beat() -> bytes:
            if not self._still(request, view):
                request.loseConnection()
            # Who sees few of them must not come back for all since the last one seen.
            return b":\nid: %d\n\n" % reached

        if reached > self._feed.newest and self._reach is not None:
            await self._reach(reached)
        stream = Stream(request, self._clock, beat)
        try:
            if reached > self._feed.newest:
                reached = self._feed.newest
                stream.write(reset(reached, "There was no such event."))
            else:
                # Whoever sees no event at all can go on from here too.
                stream.write(b"id: %d\n\n" % reached)
            while True:
                await self._feed.turn(reached)
                await stream.room()
                try:
                    spelled, reached = await self._feed.read(reached, view)
                except EventsForgotten as gap:
                    reached = self._feed.newest
                    spelled = reset(reached, gap.sentence)
                stream.write(spelled)
        finally:
            stream.close()

    def _still(self, request: EdgeRequest, view: View) -> bool:
        """Tell whether a key still opens what it did."""
        try:
            return self.keys.authorize(presented_key(request), Permission.READ) == view.identity
        except NotAuthorized:
            return False


def reset(newest: int, reason: str) -> bytes:
    """Tell a client that it has missed something, and from where it goes on."""
    return b"id: %d\nevent: reset\ndata: %s\n\n" % (newest, jsontext.write({"reason": reason}))


def last_event_of(request: EdgeRequest) -> int | None:
    """
    Return the id of the last event that a client has seen, if it says so.

    :raises BadRequest: it is no id.
    """
    last = header(request, b"last-event-id")
    if not last:
        return None
    if re.fullmatch(r"[0-9]{1,19}", last) is None:
        raise BadRequest("Last-Event-ID is not the id of an event.", "bad_last_event_id")
    return int(last)
