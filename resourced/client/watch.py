"""Events as they happen, as ``text/event-stream`` (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import json
from collections import deque
from math import inf
from typing import Final, NamedTuple, Self

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure

from resourced.calls.answers import Away
from resourced.calls.errors import Unreachable
from resourced.calls.paths import arguments
from resourced.calls.values import Event, Gap, take
from resourced.client.servers import Servers

#: Seconds without a sign of life after which a stream counts as dead; a server gives one every 15.
DEAD_AFTER: Final = 45
#: How many messages may wait to be taken before the server is made to wait.
CROWD: Final = 1000
#: The most bytes that a line may have.
LONGEST_LINE: Final = 2**20


class Message(NamedTuple):
    """One message of a stream: the name of its event, and its data."""

    name: str
    data: str


class EventStream(LineReceiver):
    """
    One stream of messages, from its beginning to its end.

    :ivar last: the id to resume after, once all messages are taken; empty if there was none.
    """

    delimiter = b"\n"
    MAX_LENGTH = LONGEST_LINE

    def __init__(self, reactor: IReactorTime, last: str) -> None:
        self.last = last
        self._reactor = reactor
        self._fields: dict[str, str] = {}
        self._messages: deque[Message] = deque()
        self._waiter: Deferred[None] | None = None
        self._ended = False
        self._alarm: IDelayedCall | None = None

    async def next(self) -> Message | None:
        """Return the next message, or nothing if the stream has ended."""
        while not self._messages:
            if self._ended:
                return None
            self._waiter = Deferred()
            await self._waiter
        message = self._messages.popleft()
        if self.paused and len(self._messages) < CROWD // 2:
            self._arm()
            self.resumeProducing()
        return message

    def close(self) -> None:
        """End the stream."""
        if not self._ended and self.transport is not None:
            self.transport.loseConnection()

    # -- What comes in

    def connectionMade(self) -> None:
        self._arm()

    def dataReceived(self, data: bytes) -> None:
        if self._alarm is not None:
            self._alarm.reset(DEAD_AFTER)
        super().dataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").removesuffix("\r")
        if not text:
            self._dispatch()
            return
        name, _, value = text.partition(":")
        value = value.removeprefix(" ")
        self._fields[name] = f"{self._fields['data']}\n{value}" if name == "data" and "data" in self._fields else value

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        self._disarm()
        self._ended = True
        self._wake()

    def _dispatch(self) -> None:
        """Take what has come together for a message; an id alone is none, but is to be resumed after."""
        fields, self._fields = self._fields, {}
        self.last = fields.get("id", self.last)
        if "data" not in fields:
            return
        self._messages.append(Message(fields.get("event", ""), fields["data"]))
        if len(self._messages) >= CROWD and not self.paused:
            self._disarm()
            self.pauseProducing()
        self._wake()

    def _arm(self) -> None:
        self._alarm = self._reactor.callLater(DEAD_AFTER, self._silent)

    def _silent(self) -> None:
        self._alarm = None
        self.close()

    def _disarm(self) -> None:
        alarm, self._alarm = self._alarm, None
        if alarm is not None:
            alarm.cancel()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.called:
            waiter.callback(None)


class Watch:
    """
    The events from some point on: an asynchronous context manager and iterator.

    A connection that is lost is made again, after the last event that was seen. Where the server cannot do that without
    leaving some out, there is a ``Gap`` in the place of these.

    :raises Unreachable: no server had a stream until ``retry_timeout`` is over.
    """

    def __init__(self, servers: Servers, reactor: IReactorTime, prefix: str, after: int | None) -> None:
        self._servers = servers
        self._reactor = reactor
        self._target = "/events" + arguments(prefix=prefix)
        self._last = "" if after is None else str(after)
        self._stream: EventStream | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        """Begin: what happens from here on is seen."""
        await self._connect()
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._closed = True
        if self._stream is not None:
            self._stream.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event | Gap:
        while not self._closed:
            if self._stream is None:
                await self._connect()
                continue
            message = await self._stream.next()
            if message is None:
                self._last, self._stream = self._stream.last, None
                # Whoever ends a stream is about to end itself, or cannot bear more of them.
                await self._servers.sleep(self._servers.backoff().next())
            else:
                return _event_of(message)
        raise StopAsyncIteration

    async def _connect(self) -> None:
        headers = {"accept": "text/event-stream", **({"last-event-id": self._last} if self._last else {})}
        end, backoff = inf, self._servers.backoff()
        while True:
            try:
                response = await self._servers.stream(self._target, headers)
            except Away as away:
                end = min(end, self._servers.seconds() + self._servers.retry_timeout)
                left = end - self._servers.seconds()
                if left <= 0:
                    raise Unreachable(away.sentence) from away
                await self._servers.sleep(min(backoff.next(away.pause), left))
            else:
                self._stream = EventStream(self._reactor, self._last)
                response.deliverBody(self._stream)
                return


def _event_of(message: Message) -> Event | Gap:
    try:
        fields = json.loads(message.data)
    except ValueError:
        fields = {}
    if message.name == "reset":
        return Gap(str(fields.get("reason", "")))
    return take(Event, fields)
