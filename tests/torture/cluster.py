"""A Galera cluster behind the daemons, each at a node of its own, and what is done to its nodes."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPException
from secrets import token_hex

import pymysql

from tests.galera import Galera, Node
from tests.torture.board import Board
from tests.torture.faults import Fault, Log, ServerTormentor
from tests.torture.guardian import Guardian
from tests.torture.history import Value
from tests.torture.pool_history import CardKept
from tests.torture.servers import CARDS, DATABASE, VALUES, OwnMariaDB, Supervised, cards_of, value_of, where

#: Seconds that a node may take to be part of the cluster again.
REJOIN = 90.0
#: Seconds in which all ends that clients have left behind, if none of them asks for anything.
LEFT_BEHIND = 5.0
#: Seconds in which a leader is replaced that cannot commit, and clients come to rest.
REPLACED = 20.0


class OwnNode(OwnMariaDB, Node):
    """A node that does not outlive this program."""


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

    def cards(self) -> dict[str, CardKept]:
        return cards_of(self.cluster.nodes[0].run(CARDS, database=DATABASE))

    def remove(self) -> None:
        self.cluster.remove()


class ClusterTormentor(ServerTormentor):
    """
    Kills, freezes, cuts off and slows down nodes, too; never two of the three at once.

    :param board: by which clients are told to pause.
    """

    def __init__(
        self,
        dice: random.Random,
        log: Log,
        daemons: list[Supervised],
        base: GaleraBase,
        timeout: float,
        intruder: Callable[[], subprocess.Popen[bytes]],
        only: str,
        board: Board,
    ) -> None:
        super().__init__(dice, log, daemons, base, timeout, intruder, only)  # type: ignore[arg-type]
        self._cluster = base.cluster
        self._board = board

    def _deck(self) -> list[Fault]:
        return [
            *[self.kill_active] * 2,
            self.terminate_active,
            self.kill_standby,
            self.kill_both,
            *[self.freeze_active] * 2,
            *[self.intrude] * 2,
            *[self.no_fault] * 2,
            *[self.lag_node] * 2,
            *[self.lag_idle_node] * 2,
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
        if nodes := self._node():
            self._log.counts["node of the leader lags"] += 1
            with suppress(pymysql.MySQLError), nodes[0].lag(nodes[1]):
                self._hold(2.0, self._dice.choice([3.0, 10.0, 14.0]))
            self._await_cluster()

    def lag_idle_node(self) -> None:
        """
        Let it lag while nobody writes: there is a holder who asks whether it still holds, and then come one who waits and one who makes a resource.

        What is written raises a number in the leader's row, so that the cluster refuses it in any case, and the leader learns of it. None of these
        does. They come shortly before the node catches up, so that an answer can be told: by a leader that has been replaced it must be none.
        """
        with self._pause():
            leader = self._active()
            if leader is not None and (ticket := _locked(leader, "", 200)):
                with suppress(pymysql.MySQLError):
                    self._ask_idle(leader, ticket)
        self._await_cluster()

    def _ask_idle(self, leader: Supervised, ticket: str) -> None:
        with ThreadPoolExecutor() as threads:
            told = []
            with self._cluster.nodes[self._daemons.index(leader)].lag(self._cluster.nodes[2]):
                if self._until(lambda: self._replaced(leader, ticket), REPLACED):
                    self._log.counts["idle leader replaced whose node lags"] += 1
                    told = [threads.submit(ask, leader, ticket) for ask in (_holds, _waits, *[_creates] * 3)]
                    self._hold(0.1, 0.3)
            for answer in told:
                if wrong := answer.result():
                    self._log.wrong.append(f"{wrong} by a daemon when another one had taken over")

    @contextmanager
    def _pause(self) -> Iterator[None]:
        """Let all clients come to rest, and what they have left behind end."""
        self._board.pause(paused=True)
        try:
            self._until(lambda: self._board.resting, REPLACED)
            self._hold(LEFT_BEHIND, LEFT_BEHIND)
            yield
        finally:
            self._board.pause(paused=False)

    def _replaced(self, leader: Supervised, ticket: str) -> bool:
        """Whether another daemon serves; until then the holder asks whether it still holds, or its lock would end in the leader's memory."""
        _holds(leader, ticket)
        return self._other(leader).state == "ok"

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


def _locked(daemon: Supervised, ticket: str, status: int) -> str:
    """Ask for a lock that no client wants; return the ticket if the answer has a status."""
    with suppress(OSError, HTTPException):
        answer = daemon.post("/resource/usual/watched/lock", ticket=ticket, timeout=2)
        return answer.ticket if answer.status == status else ""
    return ""


def _holds(daemon: Supervised, ticket: str) -> str:
    return "a holder was told that it is one" if _locked(daemon, ticket, 200) else ""


def _waits(daemon: Supervised, _: str) -> str:
    return "a client was given a place in a queue" if _locked(daemon, "", 202) else ""


def _creates(daemon: Supervised, _: str) -> str:
    with suppress(OSError, HTTPException):
        if daemon.post("/resource", json.dumps({"name": token_hex(8)}), timeout=2).status == 201:
            return "a resource was made"
    return ""
