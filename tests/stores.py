"""A fresh database for each test, of either kind, and what a test needs to look behind the store's back."""

from __future__ import annotations

import functools
import sqlite3
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import pytest
import pytest_twisted

from resourced.config import MySQLSettings, SQLiteSettings
from resourced.model import Batch, Event, EventKind, LockKey, Place, Standing, Write
from resourced.storage.interface import Store
from resourced.storage.sql.dialect import Dialect
from resourced.storage.sql.direct.committer import DirectCommitter
from resourced.storage.sql.executor import Database
from resourced.storage.sql.migration import prepare
from resourced.storage.sql.mysql import MySQL
from resourced.storage.sql.sqlite import SQLite
from resourced.storage.sql_store import SQLStore
from resourced.testing import MemoryStore
from tests.mariadb import MariaDB

#: Seconds that the stores of tests wait for their database: more than a busy machine takes for anything.
TIMEOUT = 60.0
#: The database of each server that the others are copied from.
TEMPLATE = "template"


@pytest.fixture(scope="session", name="mariadb")
def mariadb_fixture() -> Iterator[MariaDB]:
    """One server for the whole run. A test that stops or freezes it leaves it running."""
    with MariaDB() as server:
        yield server


class Backend:
    """
    A database of one test; subclasses know how to reach it without our code.

    :ivar kind: the name of its dialect.
    :ivar databases: what is closed when the test ends.
    """

    kind = ""

    def __init__(self) -> None:
        self.databases: list[Database] = []

    def dialect(self, timeout: float = TIMEOUT) -> Dialect:
        raise NotImplementedError

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run a statement on a connection of its own, and return its rows."""
        raise NotImplementedError

    def database(self, timeout: float = TIMEOUT, *, direct: bool = False, **options: Any) -> Database:
        """Make a ``Database`` on it, which is closed when the test ends."""
        from twisted.internet import reactor

        database = Database(reactor, self.dialect(timeout), direct=direct, **options)
        self.databases.append(database)
        return database

    async def store(self, timeout: float = TIMEOUT, **options: Any) -> SQLStore:
        """Make a store on it, with the schema there and nobody leading yet."""
        database = self.database(timeout)
        await database.prepare()
        await self.ready(database)
        return SQLStore(database, **options)

    async def ready(self, database: Database) -> None:
        """Wait until commits go the way that this backend stands for."""

    async def close(self) -> None:
        for database in self.databases:
            await database.close()


class MySQLBackend(Backend):
    kind = "mysql"

    def __init__(self, server: MariaDB) -> None:
        super().__init__()
        self.server = server
        self.name = f"test_{uuid.uuid4().hex}"

    def dialect(self, timeout: float = TIMEOUT) -> MySQL:
        return MySQL(MySQLSettings("127.0.0.1", self.server.port, self.name, "root", ""), timeout)

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.server.run(statement, *parameters, database=self.name)

    async def store(self, timeout: float = TIMEOUT, **options: Any) -> SQLStore:
        if not self.server.run("SELECT 1 FROM information_schema.schemata WHERE schema_name = %s", self.name):
            self._copy_template()
        return await super().store(timeout, **options)

    def _copy_template(self) -> None:
        """Make the database as migrations leave a new one, for a third of what they cost."""
        database, tables = _template(self.server)
        with closing(self.server.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(database.replace(TEMPLATE, self.name, 1))
            cursor.execute(f"USE `{self.name}`")
            # In any order.
            cursor.execute("SET foreign_key_checks = 0")
            for table in tables.values():
                cursor.execute(table)
            for name in tables:
                cursor.execute(f"INSERT INTO `{name}` SELECT * FROM `{TEMPLATE}`.`{name}`")

    async def close(self) -> None:
        await super().close()
        self.server.run(f"DROP DATABASE IF EXISTS `{self.name}`")


@functools.cache
def _template(server: MariaDB) -> tuple[str, dict[str, str]]:
    """Make the template; return the statement that made it, and by their names those that made its tables."""
    prepare(MySQL(MySQLSettings("127.0.0.1", server.port, TEMPLATE, "root", ""), TIMEOUT), 1)
    [(_, database)] = server.run(f"SHOW CREATE DATABASE `{TEMPLATE}`")
    tables = server.run(f"SHOW TABLES FROM `{TEMPLATE}`")
    return database, {name: server.run(f"SHOW CREATE TABLE `{TEMPLATE}`.`{name}`")[0][1] for (name,) in tables}


class DirectBackend(MySQLBackend):
    """The same, and what is committed goes by the direct committer from the first time on."""

    def database(self, timeout: float = TIMEOUT, *, direct: bool = True, **options: Any) -> Database:
        return super().database(timeout, direct=direct, **options)

    async def ready(self, database: Database) -> None:
        await committer_of(database)


async def committer_of(database: Database) -> DirectCommitter:
    """Wait until the direct committer of a database is ready."""
    committer = database.committer
    assert committer is not None
    committer.paused_until = 0.0
    committer.open()
    if committer.opening:
        await committer.opening
    assert committer.ready
    return committer


class SQLiteBackend(Backend):
    kind = "sqlite"

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def dialect(self, timeout: float = TIMEOUT) -> SQLite:
        return SQLite(SQLiteSettings(str(self.path)), timeout)

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            return connection.execute(statement.replace("%s", "?"), parameters).fetchall()


class MemoryBackend:
    """What is kept in memory, for each of whose daemons there is a store."""

    def __init__(self) -> None:
        self._first = MemoryStore()

    async def store(self, *, judge: bool = True) -> MemoryStore:
        """Make a store that nobody leads yet."""
        store = self._first.another()
        store.judge = judge
        return store


class AnyBackend(Protocol):
    """What the tests start from that know nothing of databases."""

    async def store(self, *, judge: bool = True) -> Store: ...


@pytest_twisted.async_yield_fixture(name="mysql")
async def mysql_fixture(mariadb: MariaDB) -> AsyncIterator[MySQLBackend]:
    backend = MySQLBackend(mariadb)
    yield backend
    await backend.close()


@pytest_twisted.async_yield_fixture(name="each_mysql", params=["mysql", "direct committer"])
async def each_mysql_fixture(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MySQLBackend]:
    """A test that has it runs by each way that commits go to MySQL."""
    backend = _sql_backend(request, tmp_path)
    assert isinstance(backend, MySQLBackend)
    yield backend
    await backend.close()


def _sql_backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    if request.param == "sqlite":
        return SQLiteBackend(tmp_path / "resourced.sqlite")
    kind = {"mysql": MySQLBackend, "direct committer": DirectBackend}[request.param]
    return kind(request.getfixturevalue("mariadb"))


@pytest_twisted.async_yield_fixture(name="backend", params=["sqlite", "mysql"])
async def backend_fixture(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    """Each test that has it runs on both kinds of database."""
    backend = _sql_backend(request, tmp_path)
    yield backend
    await backend.close()


@pytest_twisted.async_yield_fixture(name="backend", params=["sqlite", "mysql", "direct committer"])
async def backend_by_each_way_fixture(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    """Each test that has it runs on both kinds of database, and on the one by each way that commits go."""
    backend = _sql_backend(request, tmp_path)
    yield backend
    await backend.close()


@pytest_twisted.async_yield_fixture(name="any_backend", params=["memory", "sqlite", "mysql", "direct committer"])
async def any_backend_fixture(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AnyBackend]:
    """Each test that has it runs on every kind of store."""
    if request.param == "memory":
        yield MemoryBackend()
        return
    backend = _sql_backend(request, tmp_path)
    yield backend
    await backend.close()


KEY = LockKey("printer", "A4")


def place(
    seq: int, key: LockKey = KEY, *, fence: int = 0, standing: Standing = Standing.WAITING, since: int = 0, **rest: str
) -> Place:
    """A place as the journal would make it; its ticket is told apart by ``seq``."""
    words = {"ticket": f"{seq:032x}", "owner": "someone", "idempotency_key": "", "key_name": "default"} | rest
    return Place(
        seq, key, words["ticket"], standing, fence, words["owner"], words["idempotency_key"], words["key_name"], since
    )


def holder(seq: int, key: LockKey = KEY, *, fence: int) -> Place:
    return place(seq, key, fence=fence, standing=Standing.HOLDING)


def write(held: Place, resource_id: str, data: str | None, version: int = 0) -> Write:
    """What the ticket at a place writes."""
    return Write(held.key, resource_id, held.seq, held.ticket, held.fence, data, version)


def event(id_: int, kind: EventKind = EventKind.GRANT, key: LockKey = KEY) -> Event:
    return Event(id_, kind, 1_700_000_000_000 + id_, key, "someone", id_, 0.125 * id_)


async def give(store: Store, held: Place, resource_id: str, data: str | None) -> None:
    """Put data where a place is, in the least number of steps: take the lock, write, and be gone."""
    await store.commit(Batch(held.fence, [held], [held.seq], [write(held, resource_id, data)]))
