"""Which server a connection reaches. A proxy, a name with several addresses or a fail-over may lead the next one elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

import pymysql

#: Some servers lack some of these, which is no error when they are asked for in this way.
_QUESTION: Final = (
    "SHOW GLOBAL VARIABLES WHERE variable_name IN "
    "('hostname', 'port', 'server_id', 'server_uuid', 'server_uid', 'wsrep_node_name', 'wsrep_on', "
    "'group_replication_group_name')"
)


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """
    One server of MySQL or MariaDB. Two values are equal if they are about the same one.

    :ivar server_uuid: the unique name that the server has given itself, if it has one.
    :ivar wsrep_node_name: its name in a Galera cluster, if it can be in one.
    :ivar galera: whether it is a node of a Galera cluster.
    :ivar group: whether it can be a member of a group by MySQL's Group Replication.
    """

    hostname: str
    port: int
    server_id: int
    server_uuid: str
    wsrep_node_name: str
    galera: bool = field(default=False, compare=False)
    group: bool = field(default=False, compare=False)

    @property
    def name(self) -> str:
        """A text that tells it from every other one."""
        return f"{self.hostname}:{self.port} {self.server_id} {self.server_uuid} {self.wsrep_node_name}"

    def describe(self) -> str:
        """Name it for people who look after it."""
        node = f", node {self.wsrep_node_name}" if self.galera and self.wsrep_node_name else ""
        return f"{self.hostname}:{self.port} (server_id {self.server_id}{node})"


def identity_of(connection: Any) -> ServerIdentity:
    """
    Ask the server of an open connection which one it is, in one round trip and without a privilege.

    :raises pymysql.MySQLError: it does not tell.
    """
    with connection.cursor() as cursor:
        cursor.execute(_QUESTION)
        told = {str(name).lower(): str(value or "") for name, value in cursor.fetchall()}
    return ServerIdentity(
        hostname=told.get("hostname", ""),
        port=int(told.get("port") or 0),
        server_id=int(told.get("server_id") or 0),
        server_uuid=told.get("server_uuid") or told.get("server_uid", ""),
        wsrep_node_name=told.get("wsrep_node_name", ""),
        galera=told.get("wsrep_on") == "ON",
        group=bool(told.get("group_replication_group_name")),
    )


class OtherServer(pymysql.OperationalError):
    """A new connection has reached another server than the others of this daemon."""


class OneServer:
    """
    Holds all connections of a daemon to one server. Threads may call it at the same time.

    Data that is read from one server and written to another is lost sooner or later. So the first connection decides which server it
    is. One that reaches another server parts the daemon from both: no connection is used before the daemon begins a
    new term. Then the first connection decides again.

    :ivar term: counts how often that has happened; what was begun in one term must not be done in another.
    :ivar parted: whether a connection has reached another server in this term.
    :ivar identity: the server, once a connection has reached it.
    :ivar on_parted: is called, in any thread, when a connection has reached another server: with the one and the other.
    """

    def __init__(self) -> None:
        self.term = 0
        self.parted = False
        self.identity: ServerIdentity | None = None
        self.on_parted: Callable[[ServerIdentity, ServerIdentity], object] = lambda _one, _other: None
        self._lock = Lock()

    def admit(self, identity: ServerIdentity) -> None:
        """
        Take note which server a new connection has reached.

        :raises OtherServer: not the one that the others reach, so it must not be used.
        """
        with self._lock:
            one = self.identity = self.identity or identity
            if one == identity and not self.parted:
                return
            news, self.parted = not self.parted, True
        if news:
            self.on_parted(one, identity)
        raise OtherServer(0, f"Its connections reach different servers: {one.describe()} and {identity.describe()}")

    def holds(self, term: int) -> bool:
        """Tell whether a connection of a term may still be used."""
        return self.term == term and not self.parted

    def begin_term(self) -> None:
        """Allow connections again if they were parted. None that was made before may be used after it."""
        with self._lock:
            if self.parted:
                self.term += 1
                self.parted = False
                self.identity = None
