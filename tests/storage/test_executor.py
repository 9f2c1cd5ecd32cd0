"""What a database does when all is well, and what becomes of a request when it is not."""

from __future__ import annotations

import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pymysql
import pytest
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, gatherResults
from twisted.internet.threads import deferToThread

from resourced.config import MySQLSettings, SQLiteSettings
from resourced.errors import ConfigurationError, StoreUnavailable
from resourced.model import Batch
from resourced.storage.sql.executor import Database
from resourced.storage.sql.mysql import MySQL
from resourced.storage.sql.pool import DuplicateKey, Transaction
from resourced.storage.sql.sqlite import SQLite
from resourced.storage.sql_store import SQLStore
from tests.daemon import PATIENCE
from tests.leading import lead
from tests.logged import log_lines
from tests.mariadb import MariaDB
from tests.notes import note, one, with_notes
from tests.stores import (  # noqa: F401 - fixtures
    TIMEOUT,
    Backend,
    MySQLBackend,
    backend_fixture,
    each_mysql_fixture,
    mariadb_fixture,
    mysql_fixture,
    place,
)
from tests.waiting import until_done, until_in_thread


class Time:
    """A clock for the pools that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


# What both kinds promise.


async def test_work_is_committed(backend: Backend) -> None:
    """What the work returns is the answer, and what it did is there for everyone."""
    database = await with_notes(backend)
    assert await database.write(note(1)) == 1
    assert backend.rows("SELECT number FROM note") == [(1,)]
    assert await database.read(lambda transaction: transaction.query("SELECT number FROM note")) == [(1,)]


async def test_work_that_raises_is_undone(backend: Backend) -> None:
    """An exception of the work comes through as it is, nothing of the work stays, and the next work is fine."""
    database = await with_notes(backend)
    wrong = ValueError("wrong")

    def work(transaction: Transaction) -> None:
        note(1)(transaction)
        raise wrong

    with pytest.raises(ValueError, match="wrong") as raised:
        await database.write(work)
    assert raised.value is wrong
    assert backend.rows("SELECT number FROM note") == []
    await database.write(note(2))
    assert backend.rows("SELECT number FROM note") == [(2,)]


async def test_duplicate_key(backend: Backend) -> None:
    """A row that is there already is told apart from other errors, and undoes what came before it."""
    database = await with_notes(backend)
    await database.write(note(1))

    def work(transaction: Transaction) -> None:
        note(2)(transaction)
        note(1)(transaction)

    with pytest.raises(DuplicateKey):
        await database.write(work)
    assert backend.rows("SELECT number FROM note") == [(1,)]


async def test_measured(backend: Backend) -> None:
    """Each piece of work is told of when it has ended: who did it, how long it took, and whether the database did its work."""
    clock = Time()
    told: list[tuple[str, float, bool]] = []
    database = await with_notes(backend, now=clock, measure=lambda *what: told.append(what))

    def slow(transaction: Transaction) -> int:
        transaction.query("SELECT 1")
        clock.now += 2
        return database.pending

    assert await database.read(slow) == 1
    assert await database.write(slow) == 1
    assert await database.probe(slow) == 1
    assert database.pending == 0
    assert told == [("reads", 2.0, True), ("writes", 2.0, True), ("probes", 2.0, True)]
    told.clear()
    await database.write(note(1))
    # An answer, though not one that was hoped for.
    with pytest.raises(DuplicateKey):
        await database.write(note(1))
    with log_lines(), pytest.raises(StoreUnavailable):
        await database.write(lambda transaction: transaction.execute("INSERT INTO nowhere VALUES (1)"))
    assert told == [("writes", 0.0, True), ("writes", 0.0, True), ("writes", 0.0, False)]


async def test_refused_statement(backend: Backend) -> None:
    """Every other error of the driver becomes the one that is known outside, without the text of the statement."""
    database = await with_notes(backend)
    with log_lines() as lines, pytest.raises(StoreUnavailable) as raised:
        await database.write(lambda transaction: transaction.execute("INSERT INTO nowhere VALUES ('secret data')"))
    assert "secret" not in raised.value.sentence
    assert lines
    assert not any("secret" in line for line in lines)
    await database.write(note(1))


async def test_parameters(backend: Backend) -> None:
    """Parameters come back as they went in, and a doubled percent sign is one."""
    database = backend.database()
    await database.prepare()
    rows = await database.read(lambda t: t.query("SELECT %s, '%%', %s, '%%s?'", ("%s'\\?", 1 << 62)))
    assert rows == [("%s'\\?", "%", 1 << 62, "%s?")]


async def test_rows_found(backend: Backend) -> None:
    """An update counts the rows that it finds, also those that it leaves as they were; a delete those that it deletes."""
    database = await with_notes(backend)
    await database.write(lambda t: t.execute("INSERT INTO note (number) VALUES (1), (2)"))
    assert await database.write(lambda t: t.execute("UPDATE note SET number = number")) == 2
    assert await database.write(lambda t: t.execute("UPDATE note SET number = 7 WHERE number = 5")) == 0
    assert await database.write(lambda t: t.execute("DELETE FROM note WHERE number = %s", (1,))) == 1


async def test_reads_go_on_beside_a_write(backend: Backend) -> None:
    """A read does not wait for a write that is under way, and does not see what is not committed."""
    database = await with_notes(backend)
    written, go_on = threading.Event(), threading.Event()

    def work(transaction: Transaction) -> None:
        note(1)(transaction)
        written.set()
        assert go_on.wait(60)

    writing = ensureDeferred(database.write(work))
    assert await deferToThread(written.wait, 5)
    rows = await database.read(lambda transaction: transaction.query("SELECT number FROM note"))
    go_on.set()
    await writing
    assert rows == []
    assert await database.read(lambda transaction: transaction.query("SELECT number FROM note")) == [(1,)]


async def test_bound_on_pending_work(backend: Backend) -> None:
    """More work than the bound is refused at once, and there is room again when some has ended."""
    database = await with_notes(backend, max_pending=2)
    go_on = threading.Event()
    try:
        pending = [ensureDeferred(database.write(lambda _: go_on.wait(60))) for _ in range(2)]
        refused = ensureDeferred(database.read(one))
        assert refused.called
        with pytest.raises(StoreUnavailable):
            await refused
    finally:
        go_on.set()
    await gatherResults(pending)
    assert await database.read(one) == [(1,)]


async def test_probe_passes_the_line(backend: Backend) -> None:
    """Whether the database is there can be asked however much work is in line, and beyond the bound."""
    database = await with_notes(backend, max_pending=20)
    go_on = threading.Event()
    try:
        pending = [ensureDeferred(database.read(lambda _: go_on.wait(60))) for _ in range(20)]
        assert await database.probe(one) == [(1,)]
        assert not any(each.called for each in pending)
    finally:
        go_on.set()
    await gatherResults(pending)


async def test_work_that_waited_too_long(backend: Backend) -> None:
    """Work that had to wait in line for longer than the timeout is refused and not begun; what comes later is done."""
    late = 0.0
    database = await with_notes(backend, now=lambda: time.monotonic() + late)
    begun, go_on = threading.Event(), threading.Event()

    def work(transaction: Transaction) -> None:
        begun.set()
        assert go_on.wait(60)

    first = ensureDeferred(database.write(work))
    assert await deferToThread(begun.wait, 5)
    second = ensureDeferred(database.write(note(1)))
    late = TIMEOUT + 1
    go_on.set()
    await first
    with pytest.raises(StoreUnavailable, match="too much to do"):
        await second
    assert backend.rows("SELECT number FROM note") == []
    await database.write(note(2))
    assert backend.rows("SELECT number FROM note") == [(2,)]


async def test_cancelled_work_goes_on(backend: Backend) -> None:
    """Who cancels only stops waiting: the work is done to its end, counts as pending, and closing waits for it."""
    database = await with_notes(backend)
    go_on = threading.Event()

    def work(transaction: Transaction) -> None:
        assert go_on.wait(60)
        note(1)(transaction)

    writing = ensureDeferred(database.write(work))
    writing.cancel()
    with pytest.raises(CancelledError):
        await writing
    closing = ensureDeferred(database.close())
    assert not closing.called
    go_on.set()
    await closing
    assert backend.rows("SELECT number FROM note") == [(1,)]


async def test_late_failure_of_cancelled_work(backend: Backend) -> None:
    """An error of work that nobody waits for any more makes no noise."""
    database = await with_notes(backend)
    go_on = threading.Event()

    def work(transaction: Transaction) -> None:
        assert go_on.wait(60)
        transaction.execute("INSERT INTO nowhere VALUES (1)")

    writing = ensureDeferred(database.write(work))
    writing.cancel()
    with pytest.raises(CancelledError):
        await writing
    go_on.set()
    await database.write(note(1))


async def test_close_never_blocks_the_reactor(backend: Backend) -> None:
    """Closing takes no more work and waits for what is under way, while the reactor goes on."""
    database = await with_notes(backend)
    go_on = threading.Event()
    under_way = ensureDeferred(database.write(lambda _: go_on.wait(60)))
    in_line = ensureDeferred(database.write(note(1)))
    closing = ensureDeferred(database.close())
    with pytest.raises(StoreUnavailable):
        await database.read(one)
    assert not closing.called
    go_on.set()
    await closing
    assert under_way.called
    assert in_line.called
    assert await under_way
    assert await in_line == 1
    if isinstance(backend, MySQLBackend):
        await until_in_thread(lambda: not backend.server.connections(backend.name))


async def test_close_is_bounded(backend: Backend) -> None:
    """Closing gives up on work that takes longer than the timeouts can explain."""
    # By a clock that stands still no work has waited for too long before it begins.
    database = await with_notes(backend, timeout=0.5, now=Time())
    go_on = threading.Event()
    under_way = ensureDeferred(database.write(lambda _: go_on.wait(60)))
    started = time.monotonic()
    await database.close()
    assert time.monotonic() - started > 1.0
    assert not under_way.called
    go_on.set()
    await under_way


# Lost connections.


@pytest.mark.parametrize("idle", [0.0, 60.0])
async def test_killed_connections_are_not_noticed(mysql: MySQLBackend, idle: float) -> None:
    """When the server has ended every connection, the next work is done as if nothing had been, without a word in the log."""
    now = Time()
    database = await with_notes(mysql, now=now)
    await gatherResults([ensureDeferred(database.read(lambda t: t.query("SELECT SLEEP(0.05)"))) for _ in range(8)])
    await database.write(note(1))
    alive = mysql.server.connections(mysql.name)
    assert len(alive) == 5
    for number in alive:
        mysql.server.end_connection(number)
    now.now += idle
    with log_lines() as lines:
        await gatherResults([ensureDeferred(database.read(one)) for _ in range(20)])
        await database.write(note(2))
    assert lines == []
    assert mysql.rows("SELECT number FROM note ORDER BY number") == [(1,), (2,)]


async def test_idle_connection_is_checked(mysql: MySQLBackend) -> None:
    """A connection that lay idle is asked first, so that work which must not run twice is not lost on a dead one."""
    now = Time()
    database = await with_notes(mysql, now=now)
    await database.write(note(1))
    for number in mysql.server.connections(mysql.name):
        mysql.server.end_connection(number)
    now.now += 6
    runs = []

    def work(transaction: Transaction) -> int:
        runs.append(1)
        return transaction.execute("INSERT INTO note (number) VALUES (2)")

    assert await database.write(work) == 1
    assert runs == [1]


async def test_write_lost_before_its_commit(mysql: MySQLBackend) -> None:
    """A transaction whose connection is lost before it is committed is done anew, once, and whole."""
    database = await with_notes(mysql)
    runs: list[int] = []

    def work(transaction: Transaction) -> None:
        runs.append(1)
        note(len(runs))(transaction)
        if len(runs) == 1:
            ((number,),) = transaction.query("SELECT CONNECTION_ID()")
            mysql.server.end_connection(number)
        note(100)(transaction)

    await database.write(work)
    assert mysql.rows("SELECT number FROM note ORDER BY number") == [(2,), (100,)]


async def test_lost_again_and_again(mysql: MySQLBackend) -> None:
    """A second loss is told, so that no work runs for ever; nothing of it stays."""
    database = await with_notes(mysql)
    runs = []

    def work(transaction: Transaction) -> None:
        runs.append(1)
        note(1)(transaction)
        ((number,),) = transaction.query("SELECT CONNECTION_ID()")
        mysql.server.end_connection(number)
        note(2)(transaction)

    with pytest.raises(StoreUnavailable):
        await database.write(work)
    assert len(runs) == 2
    assert mysql.rows("SELECT number FROM note") == []
    await database.write(note(3))


async def test_connection_lost_on_commit(mysql: MySQLBackend) -> None:
    """A commit that cannot be sent is told and not repeated, since nobody could know what became of it."""
    database = await with_notes(mysql)
    runs = []

    def work(transaction: Transaction) -> None:
        runs.append(1)
        note(1)(transaction)
        ((number,),) = transaction.query("SELECT CONNECTION_ID()")
        mysql.server.end_connection(number)

    with pytest.raises(StoreUnavailable):
        await database.write(work)
    assert runs == [1]
    assert mysql.rows("SELECT number FROM note") == []
    await database.write(note(2))


class DeafOnCommit(MySQL):
    """Its connections do what they are told, and then never hear of it."""

    def connect(self, *, writes: bool) -> Any:
        connection = super().connect(writes=writes)
        commit = connection.commit

        def lost() -> None:
            commit()
            raise pymysql.OperationalError(2013, "Lost connection to MySQL server during query")

        connection.commit = lost
        return connection


async def test_answer_to_commit_lost(mysql: MySQLBackend) -> None:
    """A commit whose answer is lost is not repeated either, though it was done."""
    from twisted.internet import reactor

    await with_notes(mysql)
    database = Database(reactor, DeafOnCommit(mysql.dialect().settings, 5.0))
    mysql.databases.append(database)
    runs = []

    def work(transaction: Transaction) -> None:
        runs.append(1)
        note(1)(transaction)

    with pytest.raises(StoreUnavailable):
        await database.write(work)
    assert runs == [1]
    assert mysql.rows("SELECT number FROM note") == [(1,)]


async def test_deadlock(mysql: MySQLBackend) -> None:
    """The victim of a deadlock is done anew."""
    database = await with_notes(mysql)
    await database.write(lambda t: t.execute("INSERT INTO note (number) VALUES (1), (2)"))
    runs: list[int] = []
    with closing(mysql.server.connect(mysql.name, autocommit=False)) as other, other.cursor() as cursor:
        # Many rows make the other one too dear a victim.
        cursor.executemany("INSERT INTO note (number) VALUES (%s)", [(number,) for number in range(1000, 2000)])
        cursor.execute("SELECT * FROM note WHERE number = 1 FOR UPDATE")

        def opposite() -> None:
            cursor.execute("SELECT * FROM note WHERE number = 2 FOR UPDATE")
            other.rollback()

        def work(transaction: Transaction) -> None:
            runs.append(1)
            transaction.query("SELECT * FROM note WHERE number = 2 FOR UPDATE")
            if len(runs) == 1:
                threading.Thread(target=opposite).start()
                end = time.monotonic() + PATIENCE
                while not mysql.server.lock_waits(mysql.name):
                    assert time.monotonic() < end
                    time.sleep(0.2)
            transaction.query("SELECT * FROM note WHERE number = 1 FOR UPDATE")
            note(3)(transaction)

        await database.write(work)
    assert len(runs) == 2
    assert mysql.rows("SELECT number FROM note ORDER BY number") == [(1,), (2,), (3,)]


async def test_row_locked_by_another(each_mysql: MySQLBackend) -> None:
    """A row that someone else keeps locked is waited for within the timeout only."""
    store = await each_mysql.store(timeout=1.0)
    await lead(store)
    with closing(each_mysql.server.connect(each_mysql.name, autocommit=False)) as other, other.cursor() as cursor:
        cursor.execute("UPDATE server SET fence = 5")
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await store.commit(Batch(1, [place(1)]))
        assert 0.5 < time.monotonic() - started < 30
        await until_done(store.ping)
        other.rollback()
    # The statement that was given up may still be in the server's line for the row.
    await until_done(lambda: store.commit(Batch(1, [place(2)])))
    assert [found.seq for found in (await lead(store)).places] == [2]


async def test_oversized_packet(mysql: MySQLBackend) -> None:
    """Data that the server does not take is told, and the next data is taken."""
    database = await with_notes(mysql)
    mysql.rows("CREATE TABLE paper (text LONGTEXT)")

    def put(size: int) -> Any:
        return lambda transaction: transaction.execute("INSERT INTO paper (text) VALUES (%s)", ("x" * size,))

    for size in (17_000_000, 40_000_000):
        with pytest.raises(StoreUnavailable):
            await database.write(put(size))
    await database.write(put(1_000_000))
    assert mysql.rows("SELECT LENGTH(text) FROM paper") == [(1_000_000,)]


async def test_server_killed_and_restarted(each_mysql: MySQLBackend) -> None:
    """Without a server all fails at once; soon after its return all is served; the log has a line for each change."""
    store = await each_mysql.store()
    await lead(store)
    await store.commit(Batch(1, [place(1)]))
    with log_lines() as lines:
        each_mysql.server.kill()
        try:
            started = time.monotonic()
            for _ in range(5):
                for attempt in (store.ping(), store.find_resource("x"), store.commit(Batch(2)), lead(store)):
                    with pytest.raises(StoreUnavailable):
                        await attempt
            # Not one of the twenty waited for as long as the store may take.
            assert time.monotonic() - started < 30
        finally:
            each_mysql.server.start()
        await until_done(store.ping)
        await until_done(lambda: store.commit(Batch(2, [place(2)])))
        await gatherResults([ensureDeferred(store.ping()) for _ in range(50)])
    assert [found.seq for found in (await lead(store)).places] == [1, 2]
    assert [line for line in lines if "cannot be reached" in line] == lines[:1]
    assert [line for line in lines if "can be used again" in line] == lines[1:]


class Counting(MySQL):
    """Counts how often somebody tries to connect."""

    tries = 0

    def connect(self, *, writes: bool) -> Any:
        self.tries += 1
        return super().connect(writes=writes)


async def test_no_connection_is_tried_for_each_request(mysql: MySQLBackend) -> None:
    """While the database is known to be away, requests fail without a try to connect."""
    from twisted.internet import reactor

    now = Time()
    with closing(socket.socket()) as nobody:
        nobody.bind(("127.0.0.1", 0))
        dialect = Counting(MySQLSettings("127.0.0.1", nobody.getsockname()[1], mysql.name, "root", ""), 1.0)
        database = Database(reactor, dialect, now=now)
        mysql.databases.append(database)
        for expected in (1, 2):
            for _ in range(100):
                with pytest.raises(StoreUnavailable):
                    await database.read(one)
            assert dialect.tries == expected
            now.now += 0.5


@pytest.mark.parametrize("idle", [0.0, 60.0])
async def test_frozen_server(each_mysql: MySQLBackend, idle: float) -> None:
    """
    A server that hangs costs a request no more than the timeout, those in line behind it too; when it goes on, all is served.
    """
    now = Time()
    database = await with_notes(each_mysql, timeout=2.0, now=now)
    store = SQLStore(database)
    await each_mysql.ready(database)
    await lead(store)
    each_mysql.server.freeze()
    try:
        now.now += idle
        started = time.monotonic()
        attempts: list[Deferred[Any]] = [ensureDeferred(database.read(one)) for _ in range(20)]
        attempts.append(ensureDeferred(store.commit(Batch(1, [place(1)]))))
        attempts.append(ensureDeferred(database.write(note(2))))
        for attempt in attempts:
            with pytest.raises(StoreUnavailable):
                await attempt
        assert 1.9 < time.monotonic() - started < 30
    finally:
        each_mysql.server.thaw()
    now.now += 0.5
    await gatherResults([ensureDeferred(database.read(one)) for _ in range(20)])
    await lead(store)
    await store.commit(Batch(3, [place(3)]))
    assert each_mysql.rows("SELECT number FROM note") == []
    assert place(3) in (await lead(store)).places


# MySQL as it is set up.


async def test_session_settings(mysql: MySQLBackend) -> None:
    """Both kinds of connection speak utf8mb4, see what is committed, and refuse what does not fit."""
    database = await with_notes(mysql)
    names = "@@tx_isolation, @@character_set_client, @@character_set_connection, @@sql_mode, @@autocommit"
    common = ("READ-COMMITTED", "utf8mb4", "utf8mb4", "STRICT_ALL_TABLES")
    assert await database.read(lambda t: t.query(f"SELECT {names}")) == [(*common, 1)]
    assert await database.write(lambda t: t.query(f"SELECT {names}")) == [(*common, 0)]
    # A daemon that is frozen inside a transaction holds its row locks no longer than this.
    assert await database.write(lambda t: t.query("SELECT @@idle_transaction_timeout")) == [(30,)]


async def test_unix_socket(mysql: MySQLBackend) -> None:
    """A host that begins with a slash is the path of a socket."""
    from twisted.internet import reactor

    database = Database(reactor, MySQL(MySQLSettings(mysql.server.socket, 1, mysql.name, "root", ""), 5.0))
    mysql.databases.append(database)
    await database.prepare()
    ((host,),) = await database.read(
        lambda t: t.query("SELECT host FROM information_schema.processlist WHERE id = CONNECTION_ID()")
    )
    assert host == "localhost"


PASSWORD = "hunter2-\u20ac'\"\\%s"


@pytest.fixture
def user(mariadb: MariaDB) -> Iterator[str]:
    """A user with a password that is hard to quote, and with no rights yet."""
    name = "somebody"
    mariadb.run(f"CREATE USER {name}@'127.0.0.1' IDENTIFIED BY %s", PASSWORD)
    yield name
    mariadb.run(f"DROP USER {name}@'127.0.0.1'")


def as_user(backend: MySQLBackend, user: str, password: str) -> Database:
    from twisted.internet import reactor

    settings = MySQLSettings("127.0.0.1", backend.server.port, backend.name, user, password)
    database = Database(reactor, MySQL(settings, 5.0))
    backend.databases.append(database)
    return database


async def test_user_without_the_right_to_create_databases(mysql: MySQLBackend, user: str) -> None:
    """A user who has rights in the one database only can work there, with any password."""
    mysql.server.run(f"CREATE DATABASE `{mysql.name}`")
    mysql.server.run(f"GRANT ALL ON `{mysql.name}`.* TO {user}@'127.0.0.1'")
    database = as_user(mysql, user, PASSWORD)
    await database.prepare()
    store = SQLStore(database)
    await lead(store)
    await store.create_resource("printer", 0)


async def test_missing_database_that_may_not_be_made(mysql: MySQLBackend, user: str) -> None:
    """A database that is missing and may not be made ends the start with a sentence that says which and whose."""
    with pytest.raises(ConfigurationError) as raised:
        await as_user(mysql, user, PASSWORD).prepare()
    assert mysql.name in raised.value.sentence
    assert user in raised.value.sentence


async def test_missing_database_is_made(mysql: MySQLBackend) -> None:
    """A missing database is made, also under a name that has to be quoted."""
    mysql.name += " `%s"
    try:
        await mysql.database().prepare()
        assert mysql.rows("SELECT COUNT(*) FROM resource") == [(0,)]
    finally:
        mysql.server.run(f"DROP DATABASE `{mysql.name.replace('`', '``')}`")
        mysql.name = mysql.name.split()[0]


async def test_password_is_never_told(mysql: MySQLBackend, user: str) -> None:
    """Neither errors nor the log nor any representation has the password in it, right or wrong."""
    mysql.server.run(f"CREATE DATABASE `{mysql.name}`")
    mysql.server.run(f"GRANT ALL ON `{mysql.name}`.* TO {user}@'127.0.0.1'")
    for password in (PASSWORD, "hunter2-wrong\u20ac"):
        database = as_user(mysql, user, password)
        words = [repr(database), repr(database.dialect), repr(database._reads), database.dialect.describe()]
        with log_lines() as lines:
            for attempt in (database.prepare, lambda database=database: database.read(one)):
                try:
                    await attempt()
                except (ConfigurationError, StoreUnavailable) as error:
                    words += [str(error), repr(error), repr(error.__context__), repr(error.__cause__)]
        assert not any("hunter2" in word for word in [*words, *lines])
    assert len(lines) == 1


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x05\x00\x00\x00\x0a1.0\x00", b""])
async def test_something_else_listens(mysql: MySQLBackend, answer: bytes) -> None:
    """Whatever it is that answers at the database's port, it is no more than a store that cannot be reached."""
    from twisted.internet import reactor

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def answer_all() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    peer.sendall(answer)

        answering = threading.Thread(target=answer_all)
        answering.start()
        try:
            settings = MySQLSettings("127.0.0.1", listener.getsockname()[1], mysql.name, "root", "")
            database = Database(reactor, MySQL(settings, 1.0))
            mysql.databases.append(database)
            with pytest.raises(StoreUnavailable):
                await database.read(one)
            with pytest.raises((StoreUnavailable, ConfigurationError)):
                await database.prepare()
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            answering.join(5)


# When nobody listens at a path the driver leaves its socket to the garbage collector.
UNCLOSED = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.mark.parametrize(
    "host", ["no.such.host.invalid", "a" * 70, "..", pytest.param("/no/such/socket", marks=UNCLOSED)]
)
async def test_host_that_is_none(mysql: MySQLBackend, host: str) -> None:
    """A host that cannot be found ends the start with a sentence that has its name."""
    from twisted.internet import reactor

    database = Database(reactor, MySQL(MySQLSettings(host, 3306, mysql.name, "root", ""), 1.0))
    mysql.databases.append(database)
    with pytest.raises(StoreUnavailable) as raised:
        await database.prepare()
    assert host in raised.value.sentence


async def test_packet_size(mysql: MySQLBackend) -> None:
    """Bodies that the server's packets are too small for end the start; the largest that fits does not."""
    ((allowed,),) = mysql.server.run("SELECT @@max_allowed_packet")
    largest = (allowed - 64 * 1024) // 2
    await mysql.database(max_body=largest).prepare()
    with pytest.raises(ConfigurationError) as raised:
        await mysql.database(max_body=largest + 1).prepare()
    assert "max_allowed_packet" in raised.value.sentence
    assert str(allowed) in raised.value.sentence


# SQLite as it is set up.


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "resourced.sqlite"


def sqlite(path: Path, timeout: float = 1.0) -> Database:
    from twisted.internet import reactor

    return Database(reactor, SQLite(SQLiteSettings(str(path)), timeout))


async def test_sqlite_is_durable(path: Path) -> None:
    """What is committed is on the disk, and readers do not wait for the writer."""
    database = sqlite(path)
    await database.prepare()
    for ask in (database.read, database.write):
        assert await ask(lambda t: t.query("PRAGMA journal_mode")) == [("wal",)]
        assert await ask(lambda t: t.query("PRAGMA synchronous")) == [(2,)]
        assert await ask(lambda t: t.query("PRAGMA foreign_keys")) == [(1,)]
    await database.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["resourced.sqlite"]


async def test_sqlite_cursors_are_left_with_nothing_to_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No statement stays open on a Python that does not close a cursor as soon as nobody refers to it."""
    kept: list[sqlite3.Cursor] = []

    class KeptCursor(sqlite3.Cursor):
        def __init__(self, connection: sqlite3.Connection) -> None:
            super().__init__(connection)
            kept.append(self)

    class Connection(sqlite3.Connection):
        def cursor(self, *_: object) -> sqlite3.Cursor:  # type: ignore[override]
            return KeptCursor(self)

        def execute(self, *statement: Any) -> sqlite3.Cursor:
            return self.cursor().execute(*statement)

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Connection))
    database = sqlite(path)
    assert not await database.is_prepared()
    await database.prepare()
    assert await database.is_prepared()
    store = SQLStore(database)
    await lead(store)
    await store.create_resource("printer", 0)
    await store.commit(Batch(1, [place(1)]))
    assert (await store.find_resource("printer")).name == "printer"
    # With all of them closed there is no telling any more.
    assert len(kept) > 10
    assert [cursor for cursor in kept if has_row(cursor)] == []
    await database.close()


def has_row(cursor: sqlite3.Cursor) -> bool:
    """Tell whether there was something left to read."""
    with suppress(sqlite3.ProgrammingError):
        return cursor.fetchone() is not None
    return False


async def test_sqlite_locked_by_another(path: Path) -> None:
    """A file that another process is writing to is waited for within the timeout only, and read meanwhile."""
    database = sqlite(path, 0.3)
    await database.prepare()
    store = SQLStore(database)
    await lead(store)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await store.commit(Batch(1, [place(1)]))
        assert 0.25 < time.monotonic() - started < 30
        await store.ping()
        other.execute("ROLLBACK")
    await store.commit(Batch(1, [place(1)]))
    await database.close()


@pytest.mark.parametrize("fault", ["no folder", "a folder", "no database"])
async def test_sqlite_file_that_cannot_be_used(path: Path, fault: str) -> None:
    """A path where no SQLite file is or can be made ends the start with a sentence that has the path."""
    if fault == "no folder":
        path = path / "below"
    elif fault == "a folder":
        path.mkdir()
    else:
        path.write_text("no database, but long enough to be looked at as one. " * 100)
    database = sqlite(path)
    with pytest.raises(ConfigurationError) as raised:
        await database.prepare()
    assert str(path) in raised.value.sentence
    await database.close()
