"""
How much of a connection is in memory: answers that its client has not taken, requests that came too early, and the body being read.

Twisted stops reading from a client that does not take its answers, but it answers what it has read already. While a request is being
answered, it keeps whatever comes behind it. Here no further request is begun while the transport is full, and all that is kept is counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.interfaces import ITCPTransport
from twisted.web.http import HTTPChannel

#: How many bytes of later requests are read while one is being answered.
EARLY = 0x4000
#: From how many bytes on a TCP transport is full. Twisted's own 64 KiB would be too much for ten thousand clients that do not read.
FULL = 0x4000
#: How many bytes a transport gets at once: more than any has to have to be full, so that it asks for the rest.
SLICE = 0x11000


@dataclass(slots=True)
class Budget:
    """
    The memory of all connections together, in bytes.

    :ivar most: how much they may have.
    :ivar used: how much they have.
    """

    most: int
    used: int = 0

    def has_room(self, size: int) -> bool:
        """Tell whether so much more may be kept."""
        return self.used + size <= self.most


class Budgeted(Protocol):
    """What a connection needs of its site."""

    budget: Budget


class FlowChannel(HTTPChannel):
    """
    A connection that keeps little.

    The transport has one slice of an answer at a time. Each time that it asks for more, its client has taken some.

    :ivar full: whether the transport has more than it can send at present.
    :ivar body: how many bytes of a body are in memory, or promised to be.
    """

    site: Budgeted
    transport: Any

    def __init__(self) -> None:
        super().__init__()
        # Not as defaults of the class: Python would look these up the slow way.
        self.full = False
        self.body = 0
        self._early = b""
        self._counted = 0
        self._gone = False
        # What the transport gets when it has sent what it has, and how many bytes that is.
        self._unsent: deque[bytes | memoryview] = deque()
        self._unsent_size = 0

    def stalled(self) -> None:
        """Act on it that the client does not take what is sent."""

    def flowing(self) -> None:
        """Act on it that the client has taken all that was sent."""

    def connectionMade(self) -> None:
        super().connectionMade()
        transport: Any = self.transport
        if ITCPTransport.providedBy(self.transport):
            transport.bufferSize = FULL

    # What is written.

    def write(self, data: bytes) -> None:
        if self._gone:
            # An answer may have been under way to it in this moment.
            return
        if not self.full and len(data) <= SLICE:
            self.transport.write(data)
            return
        self._unsent.append(data)
        self._unsent_size += len(data)
        self._count()
        if self.site.budget.has_room(0):
            self._send_slices()
        else:
            # Whoever reads its answers has none waiting.
            self.transport.abortConnection()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))

    def _send_slices(self) -> None:
        """Let the transport have one slice after another, until it is full."""
        while self._unsent and not self.full:
            self.transport.write(self._next_slice())

    def _next_slice(self) -> bytes:
        parts: list[bytes | memoryview] = []
        room = SLICE
        while self._unsent and room:
            part = self._unsent.popleft()
            if len(part) > room:
                self._unsent.appendleft(memoryview(part)[room:])
                part = part[:room]
            parts.append(part)
            room -= len(part)
        self._unsent_size -= SLICE - room
        return b"".join(parts)

    def send_all(self) -> None:
        """Let the transport have all, because it is about to close when that is sent."""
        if self._unsent:
            self.transport.write(b"".join(self._unsent))
            self._unsent.clear()

    # What the transport says.

    def pauseProducing(self) -> None:
        """Begin no further request, of those that have arrived neither."""
        self.full = self.paused = True
        super().pauseProducing()
        self._count()
        self.stalled()

    def resumeProducing(self) -> None:
        """Go on, because the transport has sent all that it had."""
        self.full = self.paused = False
        self._send_slices()
        if self.full:
            return
        super().resumeProducing()
        self._count()
        self.flowing()

    # What is read.

    def hold(self, data: bytes) -> None:
        """Keep what comes too early, and read no more if it is too much."""
        self._early += data
        self._count()
        if len(self._early) > EARLY:
            self.transport.pauseProducing()

    def take_early(self) -> bytes:
        """Return what came too early, and read on."""
        early, self._early = self._early, b""
        if early:
            self._count()
            if len(early) > EARLY and not self.full:
                self.transport.resumeProducing()
        return early

    def keep_body(self, size: int) -> None:
        """Take note of how much of a body is kept."""
        more, self.body = size - self.body, size
        if more and not self._gone:
            # Nothing else has changed, so all of it need not be added up as ``_count`` does.
            self._counted += more
            self.site.budget.used += more

    def _count(self) -> None:
        """Let all know how much of this connection is in memory."""
        if self._gone:
            return
        size = self._unsent_size + len(self._early) + self.body + (SLICE if self.full else 0)
        self.site.budget.used += size - self._counted
        self._counted = size

    def forget(self) -> None:
        """Keep nothing from here on: the connection is gone."""
        self._unsent.clear()
        self._early = b""
        self._unsent_size = self.body = 0
        self.full = False
        self._count()
        self._gone = True
