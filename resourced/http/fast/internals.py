"""
What leans on the inside of Twisted, all of it: how connections are read and written, and how a request begins.

A reactor gives each event a context and a logger, and watches a descriptor anew for each answer that is to be sent. That takes more of the
processor than the locks do. Here an epoll of our own watches the connections, and is all that the reactor watches. What has arrived on
all of them is read in one step, and an answer goes to the system at once.

A transport has to ask its attribute ``reactor`` to be read from, and to have ``doRead`` and ``socket``. The ``__init__`` of a
request must only set attributes. ``bench.parts`` tells what this is worth. Its tests tell what a new Twisted has changed.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IHalfCloseableDescriptor, IReadDescriptor
from twisted.internet.tcp import Server
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

#: From how many connections is read before everything else has its turn.
AT_ONCE = 512
#: How many bytes of answers wait at most until everything that has arrived is read.
GATHERED = 0x40000


def can_poll() -> bool:
    """Tell whether the system has epoll: only Linux does."""
    return hasattr(select, "epoll")


def begin_request(request: Any, channel: Any, addresses: tuple[IAddress, IAddress]) -> None:
    """
    Set what the ``__init__`` of Twisted's request sets, except the headers.

    :param addresses: of the client, and of the server as it knows it. Twisted asks the system for both.
    """
    request.notifications = []
    request.channel = channel
    request.client, request.host = addresses
    request.received_cookies = {}
    request.cookies = []
    request.transport = channel.transport
    request.queued = False
    request._parsePOSTFormSubmission = False  # noqa: SLF001
    request._adapterCache = {}  # noqa: SLF001


class Link:
    """
    Writes to one connection without its transport, as long as nothing was left to that.

    From then on everything goes through the transport, which may send it later: nothing may overtake it.
    """

    __slots__ = ("_direct", "_sockets", "_transport")

    def __init__(self, sockets: Sockets, transport: Any) -> None:
        self._sockets = sockets
        self._transport = transport
        # TLS is another class, around this one.
        self._direct = can_poll() and isinstance(transport, Server)
        if self._direct:
            sockets.adopt(transport)

    def send(self, data: bytes) -> bool:
        """Send an answer, at the latest when all have theirs that are answered in one go; false if it must go through the transport."""
        transport = self._transport
        if not (self._direct and transport.connected and not transport.disconnecting):
            return False
        if self._sockets.reading:
            self._sockets.gather(self, data)
        else:
            self.pass_on(data)
        return True

    def leave(self) -> None:
        """Let everything go through the transport from here on, and nothing be left behind."""
        if self._direct:
            self._sockets.flush()
            self._direct = False

    def pass_on(self, data: bytes) -> None:
        """Let the system have an answer, or as much of it as it takes; the transport has the rest."""
        if self._direct and self._transport.connected:
            try:
                sent = self._transport.socket.send(data)
            except OSError:
                # It is full, or gone: the transport finds out, and does what is to be done.
                sent = 0
            if sent == len(data):
                return
            self._direct = False
            data = data[sent:]
        self._transport.write(data)


class SeenReactor:
    """The reactor as connections see it, except that they are read from elsewhere."""

    def __init__(self, sockets: Sockets, reactor: Any) -> None:
        self.addReader = sockets.addReader
        self.removeReader = sockets.removeReader
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


@implementer(IReadDescriptor)
class Sockets:
    """
    Reads from all connections that have something.

    It has no ``__getattr__``: with one, Python looks up each of its attributes the slow way.

    :ivar reading: whether several connections are being read from, or many answered at once.
    """

    _log = Logger()

    def __init__(self) -> None:
        self.reading = False
        self._seen: SeenReactor | None = None
        # That of the connections.
        self._reactor: Any = None
        self._epoll: Any = None
        self._readers: dict[int, Any] = {}
        self._numbers: dict[Any, int] = {}
        # Answers that go out when all that has arrived is read, or all are answered: to send one wakes its client, who may then take the processor away.
        self._gathered: list[tuple[Link, bytes]] = []
        self._size = 0

    def adopt(self, transport: Any) -> None:
        """Read from a connection instead of its reactor."""
        if self._seen is None:
            self._reactor = transport.reactor
            self._seen = SeenReactor(self, transport.reactor)
        transport.stopReading()
        transport.reactor = self._seen
        transport.startReading()

    # -- Answers

    def gather(self, link: Link, answer: bytes) -> None:
        """Send an answer when all connections are read that have something."""
        self._gathered.append((link, answer))
        self._size += len(answer)
        if self._size > GATHERED:
            self.flush()

    def together(self, work: Callable[[], object]) -> None:
        """Do something that answers many clients; their answers are sent when all of it is done."""
        if self.reading:
            work()
            return
        self.reading = True
        try:
            work()
        finally:
            self.reading = False
            self.flush()

    def flush(self) -> None:
        """Send all that waits, in its order."""
        gathered, self._gathered = self._gathered, []
        self._size = 0
        for link, answer in gathered:
            link.pass_on(answer)

    # -- What connections ask of their reactor

    def addReader(self, reader: Any) -> None:
        """Read from a connection whenever something has arrived."""
        if reader in self._numbers:
            return
        if not self._numbers:
            self._epoll = select.epoll()
            self._reactor.addReader(self)
        number = self._numbers[reader] = reader.fileno()
        self._readers[number] = reader
        self._epoll.register(number, select.EPOLLIN)

    def removeReader(self, reader: Any) -> None:
        """Read from a connection no more."""
        number = self._numbers.pop(reader, None)
        if number is None:
            return
        del self._readers[number]
        self._epoll.unregister(number)
        if not self._numbers:
            self._reactor.removeReader(self)
            self._epoll.close()

    # -- What the reactor asks

    def fileno(self) -> int:
        """Return the number of the epoll, which is ready when any connection is."""
        return int(self._epoll.fileno())

    def logPrefix(self) -> str:
        """Name this in the log."""
        return "sockets"

    def doRead(self) -> None:
        """Read from all connections that have something, then send the answers."""
        events = self._epoll.poll(0, AT_ONCE)
        if len(events) > 1:
            self.together(partial(self._read, events))
        else:
            self._read(events)

    def connectionLost(self, reason: Failure) -> None:
        """Let all connections know that the reactor stops."""
        for reader in list(self._numbers):
            reader.connectionLost(reason)

    def _read(self, events: Sequence[tuple[int, int]]) -> None:
        for number, event in events:
            reader = self._readers.get(number)
            # One before it may have closed it.
            if reader is None:
                continue
            try:
                why = reader.doRead() if event & select.EPOLLIN else ConnectionDone()
            except BaseException as error:  # noqa: BLE001 - as reactors do
                self._log.failure("A connection has failed.")
                why = error
            if why is not None:
                self._lost(reader, why)

    def _lost(self, reader: Any, why: BaseException) -> None:
        self.removeReader(reader)
        if isinstance(why, ConnectionDone) and IHalfCloseableDescriptor.providedBy(reader):
            reader.readConnectionLost(Failure(why))
        else:
            self._reactor.removeWriter(reader)
            reader.connectionLost(Failure(why))
