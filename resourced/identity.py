"""Which server a connection reaches. A proxy, a name with several addresses or a fail-over may lead the next one elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

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
