"""
What the daemon tells systemd about itself: that it is ready, what it does, that it is alive, that it ends.

The words are those of ``sd_notify(3)``. Without systemd there is nobody to tell, and nothing is done.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall


class ServiceManager:
    """
    The service manager that started the daemon, if one did.

    :param address: its datagram socket: a path, or a name that begins with ``@``; empty if there is none.
    :param watchdog: seconds after which it takes a silent daemon for dead; 0 if it does not.
    """

    def __init__(self, clock: IReactorTime, address: str, watchdog: float = 0.0) -> None:
        # An abstract name begins with a zero byte.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._watchdog = watchdog
        # It runs in the reactor, so that a reactor that does nothing any more gives no sign of life.
        self._heart = LoopingCall(self._tell, "WATCHDOG=1")
        self._heart.clock = clock

    @classmethod
    def of(cls, clock: IReactorTime, environ: Mapping[str, str], pid: int) -> ServiceManager:
        """
        Find it by the variables that it has set.

        :param pid: that of this process: the watchdog may be meant for another one.
        """
        meant = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        microseconds = environ.get("WATCHDOG_USEC", "0") if meant else "0"
        watchdog = int(microseconds) / 1e6 if microseconds.isdigit() else 0.0
        return cls(clock, environ.get("NOTIFY_SOCKET", ""), watchdog)

    def ready(self, status: str) -> None:
        """Tell that the start is over, and give signs of life from here on."""
        self._tell("READY=1", f"STATUS={status}")
        if self._watchdog and self._address and not self._heart.running:
            # Twice as often as it has to be.
            self._heart.start(self._watchdog / 2)

    def status(self, status: str) -> None:
        """Tell in a sentence what the daemon does."""
        self._tell(f"STATUS={status}")

    def stopping(self) -> None:
        """Tell that the end has begun. The signs of life go on, for as long as there is something to be ended."""
        self._tell("STOPPING=1", "STATUS=Stopping")

    def gone(self) -> None:
        """Fall silent."""
        if self._heart.running:
            self._heart.stop()

    def _tell(self, *words: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender, suppress(OSError):
            # Whatever is wrong with it, the daemon has more important things to do than to wait for it.
            sender.setblocking(False)
            sender.sendto("\n".join(words).encode(), self._address)
