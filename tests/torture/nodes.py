"""What is done to the nodes of a cluster and to their database, one thing after the other; never to all nodes but one for long."""

from __future__ import annotations

import random
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress

import pymysql

from tests.torture.cluster import REJOIN, GaleraBase
from tests.torture.faults import Fault, Log, ServerTormentor
from tests.torture.servers import MySQLBase, Supervised


class NodesTormentor(ServerTormentor):
    """Kills, stops, freezes and cuts off any one of several nodes."""

    def __init__(
        self,
        dice: random.Random,
        log: Log,
        daemons: list[Supervised],
        base: MySQLBase | GaleraBase,
        timeout: float,
        intruder: Callable[[], subprocess.Popen[bytes]],
        only: str,
    ) -> None:
        super().__init__(dice, log, daemons, base, timeout, intruder, only)  # type: ignore[arg-type]
        self._galera = base.cluster if isinstance(base, GaleraBase) else None

    def _deck(self) -> list[Fault]:
        always = [
            *[self.kill_one] * 2,
            self.terminate_one,
            *[self.freeze_one] * 3,
            self.kill_all_but_one,
            self.intrude,
            *[self.no_fault] * 2,
        ]
        if self._galera is None:
            return [
                *always,
                self.kill_database,
                *[self.freeze_database] * 2,
                *[self.kill_connection] * 2,
                self.kill_all_connections,
                self.freeze_database_and_kill,
            ]
        return [
            *always,
            *[self.lag_one] * 2,
            *[self.cut_one_off] * 2,
            *[self.freeze_its_database] * 2,
            self.kill_its_database,
        ]

    def _any(self) -> Supervised | None:
        """Find a node that serves."""
        found: list[Supervised] = []

        def look() -> bool:
            found[:] = [daemon for daemon in self._daemons if daemon.runs and daemon.state == "ok"]
            return bool(found)

        self._until(look, 4)
        return self._dice.choice(found) if found else None

    def kill_one(self) -> None:
        if node := self._any():
            self._log.counts["node killed (SIGKILL)"] += 1
            node.strike(signal.SIGKILL, status=-signal.SIGKILL)

    def terminate_one(self) -> None:
        if node := self._any():
            self._log.counts["node stopped (SIGTERM)"] += 1
            node.strike(signal.SIGTERM, status=-signal.SIGTERM)
            self._until(lambda: not node.runs, 15)

    def kill_all_but_one(self) -> None:
        self._log.counts["all nodes but one killed (SIGKILL)"] += 1
        spared = self._dice.choice(self._daemons)
        for daemon in self._daemons:
            if daemon is not spared:
                daemon.strike(signal.SIGKILL, status=-signal.SIGKILL)

    def freeze_one(self) -> None:
        """Stop a node for less or for more than the others wait until they take over."""
        if node := self._any():
            seconds = self._dice.choice([1.0, 4.0, 10.0, 13.0])
            self._log.counts[
                "node frozen until it was declared dead" if seconds > 9 else "node frozen for a while"
            ] += 1
            node.strike(signal.SIGSTOP)
            try:
                self._hold(0.8 * seconds, seconds)
            finally:
                node.strike(signal.SIGCONT)

    # -- On Galera, what is done to the database of one node

    def _number(self) -> int | None:
        node = self._any()
        return None if node is None else self._daemons.index(node)

    def _await_galera(self) -> None:
        assert self._galera is not None
        galera = self._galera
        if not self._until(lambda: all(node.synced for node in galera.nodes), REJOIN):
            self._log.wrong.append(f"the databases have not come together again after {REJOIN:g} seconds")

    def lag_one(self) -> None:
        """Let one database carry out nothing that comes from the others."""
        number = self._number()
        if number is not None and self._galera is not None:
            self._log.counts["database of a node lags"] += 1
            other = self._galera.nodes[(number + 1) % len(self._galera.nodes)]
            with suppress(pymysql.MySQLError), self._galera.nodes[number].lag(other):
                self._hold(2.0, self._dice.choice([3.0, 10.0, 14.0]))
            self._await_galera()

    def cut_one_off(self) -> None:
        """Let one database hear nothing of the others."""
        number = self._number()
        if number is not None and self._galera is not None:
            self._log.counts["database of a node cut off"] += 1
            self._galera.nodes[number].cut_off()
            try:
                self._hold(1.0, self._dice.choice([4.0, 14.0]))
            finally:
                with suppress(pymysql.MySQLError):
                    self._galera.nodes[number].rejoin()
            self._await_galera()

    def freeze_its_database(self) -> None:
        """Stop one database; what was sent to it is carried out when it goes on, if at all."""
        number = self._number()
        if number is not None and self._galera is not None:
            self._log.counts["database of a node frozen"] += 1
            self._galera.nodes[number].freeze()
            try:
                self._hold(0.5, self._dice.choice([2.0, 12.0]))
            finally:
                self._galera.nodes[number].thaw()
            self._await_galera()

    def kill_its_database(self) -> None:
        number = self._number()
        if number is not None and self._galera is not None:
            self._log.counts["database of a node killed (SIGKILL)"] += 1
            self._galera.nodes[number].kill()
            self._hold(0.0, 4.0)
            self._galera.restart(self._galera.nodes[number])
            self._await_galera()
