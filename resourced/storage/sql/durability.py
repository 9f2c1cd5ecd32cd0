"""What stands behind the promises: which database it is, and what it does with a commit before it says that it is done."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, Final

from resourced.errors import StoreUnavailable
from resourced.storage.sql.dialect import Dialect, refusal
from resourced.storage.sql.mysql import MySQL
from resourced.storage.sql.server_identity import identity_of
from resourced.storage.sql.sqlite import SQLite, rows_of

#: Milliseconds that semi-synchronous replication has to wait at least for a replica, to count as one that does not fall back.
_FOR_GOOD: Final = 86_400_000

_VARIABLES: Final = (
    "SHOW GLOBAL VARIABLES WHERE variable_name IN ('version', 'version_comment', 'innodb_flush_log_at_trx_commit', "
    "'sync_binlog', 'log_bin', 'read_only', 'wsrep_on', 'wsrep_cluster_name', 'group_replication_group_name') "
    "OR variable_name LIKE 'rpl\\_semi\\_sync\\_%'"
)
_STATUS: Final = (
    "SHOW GLOBAL STATUS WHERE variable_name IN ('wsrep_cluster_size', 'slaves_running', 'slaves_connected') "
    "OR variable_name LIKE 'rpl\\_semi\\_sync\\_%'"
)


@dataclass(frozen=True, slots=True)
class Durability:
    """
    What is known of a database.

    :ivar sentence: which one it is, its role, and its settings.
    :ivar warnings: where less than what the daemon promises is kept; a sentence each.
    """

    sentence: str
    warnings: tuple[str, ...] = ()


def durability(dialect: Dialect) -> Durability:
    """
    Ask a database.

    :raises resourced.errors.StoreUnavailable: it does not answer.
    """
    try:
        if isinstance(dialect, SQLite):
            return _of_sqlite(dialect)
        if isinstance(dialect, MySQL):
            return _of_mysql(dialect)
    except dialect.error as error:
        raise StoreUnavailable(refusal(dialect, error)) from None
    raise TypeError(f"Nothing is known of {dialect!r}.")


def _of_sqlite(dialect: SQLite) -> Durability:
    with closing(dialect.connect(writes=False)) as connection:
        ((journal,),) = rows_of(connection, "PRAGMA journal_mode")
        ((synchronous,),) = rows_of(connection, "PRAGMA synchronous")
    level = {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}.get(synchronous, str(synchronous))
    warnings: list[str] = []
    if synchronous < 2:
        warnings.append(f"synchronous={level}: a power cut may take back what clients were told.")
    if journal != "wal":
        warnings.append(
            f"journal_mode={journal.upper()}: where the file is there can be no WAL, so reads wait for writes."
        )
    return Durability(
        f"SQLite {sqlite3.sqlite_version}, journal_mode={journal.upper()}, synchronous={level}", tuple(warnings)
    )


def _of_mysql(dialect: MySQL) -> Durability:
    with closing(dialect.open(autocommit=True, database=None)) as connection:
        identity = identity_of(connection)
        known = _pairs(connection, _VARIABLES) | _pairs(connection, _STATUS)
        if "slaves_running" not in known:
            # MySQL tells that only whom it lets look after replication.
            known["slaves_running"] = _count(connection, "SHOW REPLICA STATUS")
            known["slaves_connected"] = _count(connection, "SHOW REPLICAS")
    return of_server(known, identity.describe(), dialect.way.value)


def _pairs(connection: Any, statement: str) -> dict[str, str]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return {str(name).lower(): str(value or "") for name, value in cursor.fetchall()}


def _count(connection: Any, statement: str) -> str:
    """Count the rows of an answer; what may not be asked counts as none."""
    with suppress(connection.Error), connection.cursor() as cursor:
        return str(cursor.execute(statement))
    return "0"


def of_server(known: Mapping[str, str], name: str, way: str) -> Durability:
    """
    Judge a server of MySQL or MariaDB.

    :param known: its variables and its status, by names in lower case; those that it lacks are missing.
    :param name: which server it is.
    :param way: what protects the connections to it.
    """
    role, risks = _role(known)
    flush, binlog = known.get("innodb_flush_log_at_trx_commit", "1"), known.get("log_bin") == "ON"
    galera = known.get("wsrep_on") == "ON"
    warnings: list[str] = []
    if flush != "1":
        when = "if all nodes lose power at once" if galera else "when the machine loses power"
        warnings.append(f"innodb_flush_log_at_trx_commit={flush}: {when}, what clients were told may be taken back.")
    if binlog and not galera and known.get("sync_binlog") != "1":
        warnings.append(
            f"sync_binlog={known.get('sync_binlog')}: when the machine loses power, what clients were told may be taken back."
        )
    settings = f"innodb_flush_log_at_trx_commit={flush}, "
    settings += f"sync_binlog={known.get('sync_binlog')}" if binlog else "no binary log"
    version = known.get("version", "")
    product = "MariaDB" if "MariaDB" in version else "MySQL"
    number = version.split("-")[0]
    return Durability(f"{product} {number} at {name}, {role}; {settings}; {way}", (*warnings, *risks))


def _role(known: Mapping[str, str]) -> tuple[str, list[str]]:
    """Say what a server is to others, and what a fail-over may take back."""
    if known.get("wsrep_on") == "ON":
        size = known.get("wsrep_cluster_size", "?")
        return f"a node of the Galera cluster {known.get('wsrep_cluster_name', '')} of {size}", []
    if group := known.get("group_replication_group_name"):
        return f"a member of the group {group}", []
    role = "a single server"
    risks: list[str] = []
    replicas = int(known.get("slaves_connected") or 0)
    if replicas or _semi_sync(known, "enabled") == "ON":
        how, risks = _replication(known)
        role = f"a server with {replicas} replica{'' if replicas == 1 else 's'}, {how}"
    if int(known.get("slaves_running") or 0):
        role += ", itself a replica"
        risks.append(
            "The server is a replica: what is done on the one that it follows may overwrite what clients were told."
        )
    if known.get("read_only", "OFF") not in {"OFF", "0", "NO_LOCK"}:
        role += ", which only reads"
    return role, risks


def _replication(known: Mapping[str, str]) -> tuple[str, list[str]]:
    if _semi_sync(known, "enabled") != "ON":
        return "asynchronous", [
            "Its replicas get commits only afterwards: if one takes its place, what clients were told may be taken back."
        ]
    wait = int(_semi_sync(known, "timeout") or 0)
    alone = _semi_sync(known, "wait_no_slave") or _semi_sync(known, "wait_no_replica")
    falls_back = wait < _FOR_GOOD or alone == "OFF"
    how = "semi-synchronous, " + (
        f"which falls back after {wait / 1000:g} s" if falls_back else "which does not fall back"
    )
    risks: list[str] = []
    if falls_back:
        risks.append(
            "Semi-synchronous replication falls back to asynchronous: if a replica takes the server's place after that, what clients were "
            "told may be taken back."
        )
    if _semi_sync(known, "status") == "OFF":
        risks.append(
            "Semi-synchronous replication is not at work at present: no replica has the newest commits for certain."
        )
    return how, risks


def _semi_sync(known: Mapping[str, str], name: str) -> str:
    """Read what MariaDB says about a master, and MySQL about a source."""
    return known.get(f"rpl_semi_sync_master_{name}") or known.get(f"rpl_semi_sync_source_{name}") or ""
