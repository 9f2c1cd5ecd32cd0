"""What the tests at one server of a cluster have in common."""

from __future__ import annotations

from typing import Any

from resourced.config import MySQLSettings
from resourced.storage.sql.executor import Database
from resourced.storage.sql.mysql import MySQL
from resourced.storage.sql.pool import Transaction
from resourced.storage.sql.server_identity import identity_of
from tests.mariadb import MariaDB

DATABASE = "printers"


class Careless(MySQL):
    """A dialect that reads whatever a server has."""

    def _look_at(self, connection: Any, *, reads: bool) -> None:
        self.one.admit(identity_of(connection))


class Made(list[Database]):
    """The databases of a test, which belong to a user."""

    def __init__(self, user: str) -> None:
        super().__init__()
        self._user = user

    async def at(self, server: MariaDB, kind: type[MySQL] = MySQL, timeout: float = 30.0) -> Database:
        """Make one at a server, which waits for so many seconds."""
        from twisted.internet import reactor

        settings = MySQLSettings("127.0.0.1", server.port, DATABASE, self._user, "")
        database = Database(reactor, kind(settings, timeout))
        self.append(database)
        await database.prepare()
        return database


def fence(transaction: Transaction) -> int:
    """Read something that changes."""
    ((fence,),) = transaction.query("SELECT fence FROM server WHERE id = 1")
    return int(fence)


def raise_fence(transaction: Transaction) -> None:
    """Change it."""
    transaction.execute("UPDATE server SET fence = fence + 1 WHERE id = 1")
