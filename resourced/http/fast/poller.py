"""
Reading from many connections in one step of the reactor.

A reactor gives each event of each descriptor a context, a logger and a look at what kind of event it is: a tenth of the time that a
request takes here. So connections are watched by an epoll of their own, which is all that the reactor watches, and whatever
has arrived by then is read in one go.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableDescriptor, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

#: From how many connections is read before everything else has its turn.
AT_ONCE = 512


def can_poll() -> bool:
    """Tell whether the system has epoll: only Linux does."""
    return hasattr(select, "epoll")


@implementer(IReadDescriptor)
class Poller:
    """
    The reactor as connections see it, but that they are read from here.

    :param after: called when everything that had arrived on several connections has been read.
    :ivar reading: whether several connections are being read from.
    """

    _log = Logger()

    def __init__(self, reactor: Any, after: Callable[[], object]) -> None:
        self.reading = False
        self._reactor = reactor
        self._after = after
        self._epoll: Any = None
        self._readers: dict[int, Any] = {}
        self._numbers: dict[Any, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

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
        return int(self._epoll.fileno())

    def logPrefix(self) -> str:
        return "poller"

    def doRead(self) -> None:
        events = self._epoll.poll(0, AT_ONCE)
        self.reading = len(events) > 1
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
        if self.reading:
            self.reading = False
            self._after()

    def connectionLost(self, reason: Failure) -> None:
        """Let all connections know that the reactor stops."""
        for reader in list(self._numbers):
            reader.connectionLost(reason)

    def _lost(self, reader: Any, why: BaseException) -> None:
        self.removeReader(reader)
        if isinstance(why, ConnectionDone) and IHalfCloseableDescriptor.providedBy(reader):
            reader.readConnectionLost(Failure(why))
        else:
            self._reactor.removeWriter(reader)
            reader.connectionLost(Failure(why))
