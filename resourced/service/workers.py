"""
Several nodes on one machine, as one service: each a process of its own, all behind one port.

This process opens the port, starts the nodes, and watches them. All accept from the same socket, so that none of the connections that wait is lost
with a node. A node that ends, or gives no sign of life, is started anew. Clients notice no more than if a node of a cluster had died.
"""

from __future__ import annotations

import re
import secrets
import socket
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import DatagramProtocol, ProcessProtocol
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from resourced.errors import ConfigurationError
from resourced.service.daemon import Process
from resourced.service.systemd import ServiceManager

log = Logger()

#: Seconds after which a node that has ended is started anew.
RESTART: Final = 1.0
#: Seconds without a sign of life after which a node that has begun to serve is ended.
SILENT: Final = 30.0
#: How many seconds a node may take to end, beside those that it gives to its requests.
ENDING: Final = 15.0

#: What the manager of a service has set for this process, and for no other.
OF_THE_MANAGER: Final = frozenset(
    {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}
)

_TCP: Final = re.compile(r"tcp6?:(?:port=)?(\d{1,5})(?::interface=((?:[^:\\]|\\.)*))?(?::backlog=(\d+))?")
#: Tells a process that it may have the sockets that it was handed, by their protocol (``sd_listen_fds(3)``); and ends it if this one is killed, where
#: the system can do that.
_HANDED: Final = """
export LISTEN_PID=$$
if setpriv --pdeathsig TERM true 2>/dev/null; then exec setpriv --pdeathsig TERM "$0"; fi
exec "$0"
"""


class SharedPort(NamedTuple):
    """
    Where clients come in.

    :ivar family: that of the socket.
    :ivar host: the address; empty for any.
    """

    family: socket.AddressFamily
    host: str
    port: int
    backlog: int

    @classmethod
    def parse(cls, listen: str, backlog: int) -> SharedPort:
        """
        Read an endpoint of Twisted.

        :raises ConfigurationError: it is no TCP port.
        """
        match = _TCP.fullmatch(listen)
        if match is None:
            raise ConfigurationError(
                "With RESOURCED_WORKERS, RESOURCED_LISTEN must be a TCP port, such as tcp:9501; let a proxy speak TLS."
            )
        host = re.sub(r"\\(.)", r"\1", match[2] or "")
        family = socket.AF_INET6 if ":" in host or listen.startswith("tcp6") else socket.AF_INET
        return cls(family, host, int(match[1]), int(match[3] or backlog))

    def open(self) -> socket.socket:
        """
        Listen.

        :raises ConfigurationError: it cannot be done.
        """
        opened = socket.socket(self.family)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind((self.host, self.port))
            opened.listen(self.backlog)
        except (OSError, OverflowError) as error:
            opened.close()
            raise ConfigurationError(f"RESOURCED_LISTEN cannot be used: {error}") from None
        return opened


@dataclass(frozen=True, kw_only=True)
class Plan:
    """
    What is to run.

    :ivar environ: the settings of all nodes, as variables.
    :ivar advertise: where other machines reach the first node; the ports of the others follow. Empty if there are no other machines.
    """

    workers: int
    command: str
    environ: Mapping[str, str]
    shared: SharedPort
    advertise: str
    grace: float

    def settings(self, number: int, port: int) -> dict[str, str]:
        """
        Return the variables of a node.

        :param number: 0 for the first.
        :param port: that of all clients.
        """
        first = urlsplit(self.advertise or f"http://127.0.0.1:{port + 1}")
        own = (first.port or 9501) + number
        host = f"[{first.hostname}]" if ":" in (first.hostname or "") else first.hostname
        # Nobody else has a way to nodes that are only known on this machine.
        where = "" if self.advertise else ":interface=127.0.0.1"
        return {
            **self.environ,
            "RESOURCED_WORKERS": "1",
            "RESOURCED_CLUSTER": "1",
            "RESOURCED_ADVERTISE": f"{first.scheme}://{host}:{own}",
            "RESOURCED_NODE_LISTEN": f"tcp:{own}{where}",
            "RESOURCED_LISTEN": f"systemd:domain={self.shared.family.name.removeprefix('AF_')}:name=clients",
            "LISTEN_FDS": "1",
            "LISTEN_FDNAMES": "clients",
            "WATCHDOG_USEC": str(int(SILENT * 1e6)),
        }


class Workers(Service):
    """
    The nodes.

    :param manager: who is told how they do.
    """

    def __init__(self, reactor: Any, process: Process, manager: ServiceManager, plan: Plan) -> None:
        self._reactor = reactor
        self._process = process
        self._manager = manager
        self._plan = plan
        self._folder = tempfile.TemporaryDirectory(prefix="resourced-")
        self._socket: socket.socket | None = None
        self._nodes: list[Worker] = []
        # Whether all have served at the same time, so that the service is up.
        self._up = False

    def startService(self) -> None:
        """Open the port and start the nodes; a failure ends the process."""
        super().startService()
        try:
            opened = self._socket = self._plan.shared.open()
        except ConfigurationError as error:
            self._process.fail(error.sentence)
            return
        port = opened.getsockname()[1]
        key = self._plan.environ.get("RESOURCED_CLUSTER_KEY") or secrets.token_hex(16)
        for number in range(self._plan.workers):
            environ = {"RESOURCED_CLUSTER_KEY": key, **self._plan.settings(number, port)}
            address = f"{self._folder.name}/{number}"
            worker = Worker(
                self._reactor, number + 1, self._plan.command, environ, opened.fileno(), address, self._changed
            )
            self._nodes.append(worker)
        self._process.when_told_to_reload(self._reload)
        for worker in self._nodes:
            worker.start()
        log.info("{count} nodes behind port {port}.", count=len(self._nodes), port=port)

    def stopService(self) -> Deferred[None]:
        """End all nodes; the Deferred fires when they have ended."""
        super().stopService()
        self._process.ending()
        self._manager.stopping()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        timeout = self._plan.grace + ENDING
        await gatherResults([Deferred.fromCoroutine(node.stop(timeout)) for node in self._nodes])
        if self._socket is not None:
            self._socket.close()
        self._folder.cleanup()
        self._manager.gone()

    def _reload(self) -> None:
        for node in self._nodes:
            node.signal("HUP")

    def _changed(self) -> None:
        """Tell the service manager how many serve; end if one has never been able to."""
        if not self.running:
            return
        if not self._up and any(node.failed for node in self._nodes):
            self._process.fail("A node could not be started.")
            return
        serving = sum(node.serving for node in self._nodes)
        status = f"{serving} of {len(self._nodes)} nodes serve"
        if not self._up and serving == len(self._nodes):
            self._up = True
            self._manager.ready(status)
        else:
            self._manager.status(status)


class Worker:
    """
    One node, life after life. What it tells its service manager comes here.

    :param shared: the descriptor of the socket that all accept from.
    :param address: of the socket of its service manager.
    :param changed: called when it begins or ceases to serve.
    :ivar serving: whether it has said that it does.
    :ivar failed: whether it has ended without that.
    """

    def __init__(
        self,
        reactor: Any,
        number: int,
        command: str,
        environ: Mapping[str, str],
        shared: int,
        address: str,
        changed: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._number = number
        self._command = command
        self._environ = {**environ, "NOTIFY_SOCKET": address}
        self._shared = shared
        self._address = address
        self._changed = changed
        self.serving = self.failed = False
        self._stopping = False
        self._heard = 0.0
        self._life: _Life | None = None
        self._again: IDelayedCall | None = None
        self._port: Any = None
        self._watch = LoopingCall(self._look)
        self._watch.clock = reactor

    def start(self) -> None:
        """Start it for the first time."""
        self._port = self._reactor.listenUNIXDatagram(self._address, _Ear(self._told))
        self._watch.start(SILENT / 4, now=False).addErrback(
            lambda failure: log.failure("The watch has a bug.", failure)
        )
        self._spawn()

    async def stop(self, timeout: float) -> None:
        """
        End it, and return when it has ended.

        :param timeout: seconds after which it is killed.
        """
        self._stopping = True
        if self._watch.running:
            self._watch.stop()
        if self._again is not None and self._again.active():
            self._again.cancel()
        if self._life is not None:
            killing = self._reactor.callLater(timeout, self.signal, "KILL")
            self.signal("TERM")
            await self._life.ended
            if killing.active():
                killing.cancel()
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)

    def signal(self, name: str) -> None:
        """Send it a signal, if it runs."""
        if self._life is not None and self._life.transport is not None:
            with suppress(ProcessExitedAlready):
                self._life.transport.signalProcess(name)

    def _spawn(self) -> None:
        life = self._life = _Life()
        life.ended.addCallback(self._over)
        self._reactor.spawnProcess(
            life,
            "/bin/sh",
            ["/bin/sh", "-c", _HANDED, self._command],
            env=self._environ,
            childFDs={0: 0, 1: 1, 2: 2, 3: self._shared},
        )

    def _told(self, words: list[str]) -> None:
        self._heard = self._reactor.seconds()
        if "READY=1" in words and not self.serving:
            self.serving = True
            self._changed()

    def _look(self) -> None:
        """End it if it gives no sign of life."""
        if self.serving and self._reactor.seconds() - self._heard > SILENT:
            log.warn("Node process {number} gives no sign of life, so it is ended.", number=self._number)
            self.signal("KILL")

    def _over(self, reason: str) -> None:
        self._life = None
        self.failed = not self.serving
        self.serving = False
        if not self._stopping:
            log.warn("Node process {number} has ended: {reason}", number=self._number, reason=reason)
            self._again = self._reactor.callLater(RESTART, self._spawn)
            self._changed()


class _Life(ProcessProtocol):
    """
    A process.

    :ivar ended: fires with a sentence when it has.
    """

    def __init__(self) -> None:
        self.ended: Deferred[str] = Deferred()

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(reason.getErrorMessage())


class _Ear(DatagramProtocol):
    """What a service manager hears."""

    noisy = False

    def __init__(self, told: Callable[[list[str]], None]) -> None:
        self._told = told

    def datagramReceived(self, data: bytes, _: object) -> None:
        self._told(data.decode("utf-8", "replace").split("\n"))
