"""A Galera cluster behind the daemons, each at a node of its own, and what is done to its nodes."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPException
from typing import ClassVar

import pymysql

from tests.galera import Galera, Node
from tests.torture.faults import Fault, Log, ServerTormentor
from tests.torture.guardian import Guardian
from tests.torture.history import Value
from tests.torture.servers import DATABASE, VALUES, Supervised, value_of, where

#: Seconds that a node may take to be part of the cluster again.
REJOIN = 90.0


class OwnNode(Node):
    """A node that does not outlive this program."""

    guardian: ClassVar[Guardian]

    def launch(self) -> None:
        super().launch()
        self.guardian.adopt(self.pid)

    def _end(self, number: signal.Signals) -> None:
        pid = self._process.pid if self._process is not None else 0
        super()._end(number)
        self.guardian.release(pid)


class GaleraBase:
    """Three nodes: one for each daemon, and one for a daemon too many."""

    kind = "galera"

    def __init__(self, guardian: Guardian) -> None:
        OwnNode.guardian = guardian
        self.cluster = Galera(3, OwnNode)
        for node in self.cluster.nodes:
            guardian.remove(node.folder)
        try:
            self.cluster.start()
        except BaseException:
            self.cluster.remove()
            raise

    def environ_of(self, number: int) -> Mapping[str, str]:
        return {
            "MYSQL_HOST": "127.0.0.1",
            "MYSQL_PORT": str(self.cluster.nodes[number].port),
            "MYSQL_DATABASE": DATABASE,
            "RESOURCED_STORE": "mysql",
        }

    def values(self) -> dict[str, Value]:
        self.cluster.await_synced(REJOIN)
        return {
            where(name, part): value_of(data)
            for name, part, data in self.cluster.nodes[0].run(VALUES, database=DATABASE)
        }

    def remove(self) -> None:
        self.cluster.remove()


class ClusterTormentor(ServerTormentor):
    """Kills, freezes, cuts off and slows down nodes, too; never two of the three at once."""

    def __init__(
        self,
        dice: random.Random,
        log: Log,
        daemons: list[Supervised],
        base: GaleraBase,
        timeout: float,
        intruder: Callable[[], subprocess.Popen[bytes]],
        only: str,
    ) -> None:
        super().__init__(dice, log, daemons, base, timeout, intruder, only)  # type: ignore[arg-type]
        self._cluster = base.cluster

    def _deck(self) -> list[Fault]:
        return [
            *[self.kill_active] * 2,
            self.terminate_active,
            self.kill_standby,
            self.kill_both,
            *[self.freeze_active] * 2,
            *[self.intrude] * 2,
            *[self.idle_waiters] * 2,
            *[self.lag_node] * 3,
            *[self.cut_node_off] * 2,
            *[self.freeze_node] * 2,
            self.kill_node,
        ]

    def _node(self) -> tuple[Node, Node] | None:
        """Find the node of the daemon that serves, and another one."""
        active = self._active()
        if active is None:
            return None
        number = self._daemons.index(active)
        return self._cluster.nodes[number], self._cluster.nodes[2]

    def _await_cluster(self) -> None:
        until = time.monotonic() + REJOIN
        while not all(node.synced for node in self._cluster.nodes):
            if time.monotonic() > until:
                self._log.wrong.append(f"the cluster is not whole again after {REJOIN:g} seconds")
                return
            self._hold(0.1, 0.2)

    def lag_node(self) -> None:
        """Let the node of the leader carry out nothing that comes from the others, so that nothing that it commits gets through."""
        active = self._active()
        if active is None:
            return
        self._log.counts["node of the leader lags"] += 1
        node = self._cluster.nodes[self._daemons.index(active)]
        ticket = self._ask(active, "")
        with suppress(pymysql.MySQLError), node.lag(self._cluster.nodes[2]):
            self._watch(active, ticket, self._dice.choice([3.0, 10.0, 14.0]))
        self._await_cluster()

    def _watch(self, leader: Supervised, ticket: str, seconds: float) -> None:
        """
        See that a leader tells a holder nothing any more when another one has taken over.

        Clients who write would keep it from that in any case, so ``--clients 0`` shows most.
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            replaced = self._other(leader).state == "ok"
            # Without being renewed it would end in memory, and that could not be kept.
            if ticket and self._ask(leader, ticket) and replaced:
                self._log.wrong.append("a daemon told a holder that it is one when another daemon had taken over")
                return
            self._hold(0.1, 0.3)

    def _ask(self, daemon: Supervised, ticket: str) -> str:
        """Take a lock that no client wants, or keep it; return the ticket if a daemon says that it is held."""
        try:
            answer = daemon.post("/resource/usual/watched/lock", ticket=ticket, timeout=2)
        except (OSError, HTTPException):
            return ""
        return answer.ticket if answer.status == 200 else ""

    def cut_node_off(self) -> None:
        """Let the node of the leader hear nothing of the others."""
        if nodes := self._node():
            self._log.counts["node of the leader cut off"] += 1
            nodes[0].cut_off()
            try:
                self._hold(1.0, self._dice.choice([4.0, 14.0]))
            finally:
                with suppress(pymysql.MySQLError):
                    nodes[0].rejoin()
            self._await_cluster()

    def freeze_node(self) -> None:
        """Stop the node of the leader; what was sent to it is carried out when it goes on, if at all."""
        if nodes := self._node():
            self._log.counts["node of the leader frozen"] += 1
            nodes[0].freeze()
            try:
                self._hold(0.5, self._dice.choice([2.0, 12.0]))
            finally:
                nodes[0].thaw()
            self._await_cluster()

    def kill_node(self) -> None:
        if nodes := self._node():
            self._log.counts["node of the leader killed (SIGKILL)"] += 1
            nodes[0].kill()
            self._hold(0.0, 4.0)
            self._cluster.restart(nodes[0])
            self._await_cluster()
