"""What runs a client where nothing of Twisted's runs: on a loop of asyncio's."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.interfaces import IAddress, IHostnameResolver, IHostResolution, IResolutionReceiver
from twisted.python import threadable
from zope.interface import implementer


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs here; none where none does, or where it is Twisted's own reactor that runs on it."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    installed = sys.modules.get("twisted.internet.reactor")
    own = isinstance(installed, AsyncioSelectorReactor) and installed.running and threadable.isInIOThread()
    return None if own else loop


class LoopReactor(AsyncioSelectorReactor):
    """
    A reactor on a loop that runs, for one client: the process's own is neither used nor installed.

    It has no threads and no files of its own, so it need not be stopped, and ends with the loop.
    """

    # Of the threads of the process, none is this one's.
    _registerAsIOThread = False

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.seconds = time.monotonic
        self.installNameResolver(_Names(loop))
        self.startRunning(installSignalHandlers=False)

    def installWaker(self) -> None:
        """Have none: a loop wakes up by itself."""


@implementer(IHostnameResolver)
class _Names:
    """Looks up names as the loop does."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        resolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)

        def found(future: asyncio.Future[list[tuple[Any, ...]]]) -> None:
            if not future.cancelled() and future.exception() is None:
                for family, *_, address in future.result():
                    kind = {socket.AF_INET: IPv4Address, socket.AF_INET6: IPv6Address}.get(family)
                    if kind is not None and kind in (addressTypes or (kind,)):
                        resolutionReceiver.addressResolved(kind(transportSemantics, *address))
            resolutionReceiver.resolutionComplete()

        look_up = self._loop.run_in_executor(
            None, lambda: socket.getaddrinfo(hostName, portNumber, type=socket.SOCK_STREAM)
        )
        look_up.add_done_callback(found)
        return resolution


@implementer(IHostResolution)
class _Resolution:
    """A name that is being looked up."""

    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """Nobody waits for it any more."""
