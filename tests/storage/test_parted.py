"""What becomes of work when the connections of a database turn out to reach different servers."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred
from twisted.internet.threads import deferToThread

from resourced.config import MySQLSettings
from resourced.errors import StoreUnavailable
from resourced.model import Batch
from resourced.storage.sql.executor import Database
from resourced.storage.sql.mysql import MySQL
from resourced.storage.sql.server_identity import ServerIdentity
from resourced.storage.sql_store import SQLStore
from tests.leading import lead
from tests.notes import TABLE, note, one
from tests.stores import (  # noqa: F401 - fixtures
    MySQLBackend,
    committer_of,
    mariadb_fixture,
    mysql_fixture,
)
from tests.waiting import until_done, until_in_thread

HERE, THERE = ServerIdentity("here", 3306, 1, "", ""), ServerIdentity("there", 3306, 2, "", "")


class Moving(MySQL):
    """A server that can become another one, as seen by new connections."""

    where = HERE

    def _look_at(self, connection: Any, *, reads: bool) -> None:
        self.one.admit(self.where)


async def moving(mysql: MySQLBackend, parted: Any = lambda: None) -> tuple[Database, Moving]:
    """Make a database with an empty table for notes."""
    from twisted.internet import reactor

    dialect = Moving(MySQLSettings("127.0.0.1", mysql.server.port, mysql.name, "root", ""), 10.0)
    database = Database(reactor, dialect, parted=parted)
    mysql.databases.append(database)
    await database.prepare()
    mysql.rows(TABLE)
    return database, dialect


async def part(database: Database, dialect: Moving) -> None:
    """Let a new connection reach another server."""
    dialect.where = THERE
    with pytest.raises(StoreUnavailable):
        await database.probe(one)
    await until_in_thread(lambda: dialect.one.parted)


async def test_what_was_asked_for_before(mysql: MySQLBackend) -> None:
    """Work that was under way or in line for the one server is not done on the other, nor committed on the one; what comes later is done."""
    told: list[int] = []
    database, dialect = await moving(mysql, lambda: told.append(1))
    await database.read(one)
    begun, go_on = threading.Event(), threading.Event()

    def work(transaction: Any) -> None:
        note(1)(transaction)
        begun.set()
        assert go_on.wait(60)

    under_way = ensureDeferred(database.write(work))
    in_line = ensureDeferred(database.write(note(2)))
    try:
        assert await deferToThread(begun.wait, 60)
        await part(database, dialect)
        with pytest.raises(StoreUnavailable):
            await database.read(one)
        fault = database.fault()
        assert fault is not None
        assert fault.code == "store_parted"
        assert told == [1]
        assert database.begin_term()
        assert not database.begin_term()
        later = ensureDeferred(database.write(note(3)))
    finally:
        go_on.set()
    for lost in (under_way, in_line):
        with pytest.raises(StoreUnavailable):
            await lost
    await later
    await until_in_thread(lambda: mysql.rows("SELECT number FROM note") == [(3,)])
    assert dialect.one.identity == THERE


async def test_every_connection_is_dropped(mysql: MySQLBackend) -> None:
    """Nothing is left of the server before, whether it has something to do or not, be it a connection for reads, for writes or for commits."""
    database, dialect = await moving(mysql)
    await database.write(note(1))
    await database.read(one)
    committer = await committer_of(database)
    before = set(mysql.server.connections(mysql.name))
    assert len(before) == 3
    await part(database, dialect)
    assert not committer.ready
    await until_in_thread(lambda: not before & set(mysql.server.connections(mysql.name)))
    database.begin_term()
    await database.write(note(2))
    assert mysql.rows("SELECT number FROM note ORDER BY number") == [(1,), (2,)]


async def test_term_on_the_other_server(mysql: MySQLBackend) -> None:
    """
    What another server says of the leader counts for nothing before this daemon has begun a term there, however long that takes and however
    often it is tried: it does not end the daemon.
    """
    database, dialect = await moving(mysql)
    store = SQLStore(database)
    await lead(store)
    for connection in mysql.server.connections(mysql.name):
        mysql.server.end_connection(connection)
    await part(database, dialect)
    # As if it had been a while ago.
    database._probes._paused_until = 0.0
    # As it was before.
    mysql.rows("UPDATE server SET epoch = epoch - 1, owner = 'somebody else' WHERE id = 1")
    asked = (
        store.ping,
        lambda: store.beat("here"),
        lambda: store.create_resource("printer", 0),
        lambda: store.commit(Batch(1)),
    )
    with closing(mysql.server.connect(mysql.name, autocommit=False)) as other, other.cursor() as cursor:
        cursor.execute("SELECT epoch FROM server FOR UPDATE")
        beginning = ensureDeferred(store.begin_term())
        for ask in asked:
            with pytest.raises(StoreUnavailable):
                await ask()
        await until_in_thread(lambda: waits(mysql))
        for connection in waits(mysql):
            mysql.server.end_connection(connection)
        await until_in_thread(lambda: waits(mysql))
        for connection in waits(mysql):
            mysql.server.end_connection(connection)
        with pytest.raises(StoreUnavailable):
            await beginning
        for ask in asked:
            with pytest.raises(StoreUnavailable):
                await ask()
        other.rollback()
    await until_done(store.begin_term)
    for ask in asked:
        await until_done(ask)


def waits(mysql: MySQLBackend) -> list[int]:
    """Find who waits for the leader's row."""
    rows = mysql.server.run(
        "SELECT id FROM information_schema.processlist WHERE db = %s AND info LIKE 'SELECT epoch, beat%%FOR UPDATE'",
        mysql.name,
    )
    return [number for (number,) in rows]
