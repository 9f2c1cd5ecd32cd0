"""Commits that go without a thread: that they come to the same, and what becomes of them when anything on their way fails."""

from __future__ import annotations

import gc
import os
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
import pytest
import pytest_twisted
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import ensureDeferred
from twisted.internet.threads import deferToThread

from resourced.config import MySQLSettings
from resourced.errors import StoreUnavailable
from resourced.model import Batch, Event, EventKind, LockKey, Place, Standing, Write
from resourced.storage.sql.direct import committer as room
from resourced.storage.sql.direct.committer import DirectCommitter
from resourced.storage.sql.direct.handshake import OpenConnection
from resourced.storage.sql.executor import Database
from resourced.storage.sql.mysql import MySQL
from resourced.storage.sql.statement import Statement
from resourced.storage.sql_store import SQLStore
from tests.certificates import Authority
from tests.examples import examples
from tests.leading import lead
from tests.logged import log_lines
from tests.mariadb import MariaDB
from tests.stores import (  # noqa: F401 - fixtures
    DirectBackend,
    MySQLBackend,
    committer_of,
    event,
    holder,
    mariadb_fixture,
    mysql_fixture,
    place,
    write,
)
from tests.waiting import seconds, until_done, until_in_thread

#: How a script is written for MariaDB, and for MySQL, which has no statement of several statements.
COMPOUND = pytest.mark.parametrize("compound", [True, False], ids=["mariadb", "mysql"])


@pytest_twisted.async_yield_fixture(name="backend")
async def _backend(mariadb: MariaDB) -> AsyncIterator[DirectBackend]:
    backend = DirectBackend(mariadb)
    yield backend
    await backend.close()


async def reigning(backend: MySQLBackend, timeout: float = 5.0, *, compound: bool = True) -> SQLStore:
    """A store that leads, and has a direct committer if its backend stands for that."""
    store = await backend.store(timeout)
    await lead(store)
    committer = store.database.committer
    if committer is not None:
        committer.compound = compound
    return store


def committer_in(store: SQLStore) -> DirectCommitter:
    committer = store.database.committer
    assert committer is not None
    return committer


async def tried(committer: DirectCommitter) -> None:
    """Wait until it is known whether a connection can be had."""
    if committer.opening is not None:
        await committer.opening


@contextmanager
def no_threads(store: SQLStore) -> Any:
    """Let no work that writes be done but by the direct committer."""
    pool = store.database._writes
    way, pool._in_thread = pool._in_thread, None  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        pool._in_thread = way  # type: ignore[method-assign]


def kept(backend: MySQLBackend) -> list[int]:
    return [seq for (seq,) in backend.rows("SELECT seq FROM place ORDER BY seq")]


# When it is taken.


@COMPOUND
async def test_no_thread_is_woken(backend: DirectBackend, compound: bool) -> None:
    """A commit is done and kept without the threads of the database, again and again."""
    store = await reigning(backend, compound=compound)
    with no_threads(store):
        for seq in range(1, 20):
            await store.commit(Batch(seq, [place(seq)], events=[event(seq)], event=seq))
    assert kept(backend) == [*range(1, 20)]
    assert backend.rows("SELECT fence, event FROM server") == [(19, 19)]


async def test_first_commit_brings_it_up(mysql: MySQLBackend) -> None:
    """The first commit goes the way of all work, and those that come a little later have the fast path."""
    database = mysql.database(direct=True)
    await database.prepare()
    store = SQLStore(database)
    await lead(store)
    before = len(mysql.server.connections(mysql.name))
    await store.commit(Batch(1, [place(1)]))
    await until_in_thread(lambda: committer_in(store).ready)
    assert len(mysql.server.connections(mysql.name)) == before + 1
    with no_threads(store):
        await store.commit(Batch(2, [place(2)]))
    assert kept(mysql) == [1, 2]


async def test_stock(mysql: MySQLBackend) -> None:
    """Without the fast paths there is none."""
    database = mysql.database(direct=False)
    await database.prepare()
    store = SQLStore(database)
    await lead(store)
    await store.commit(Batch(1, [place(1)]))
    assert database.committer is None


async def test_encrypted(tmp_path: Path) -> None:
    """Where the driver encrypts there is none, and that is found out once."""
    from twisted.internet import reactor

    with MariaDB(*Authority(tmp_path).of_server()) as server:
        database = Database(reactor, MySQL(MySQLSettings("127.1", server.port, "printers", "root", ""), 5.0))
        await database.prepare()
        store = SQLStore(database)
        await lead(store)
        before = server.run("SHOW GLOBAL STATUS LIKE 'Connections'")
        for seq in range(1, 4):
            await store.commit(Batch(seq, [place(seq)]))
            await tried(committer_in(store))
            committer_in(store).paused_until = 0.0
        after = server.run("SHOW GLOBAL STATUS LIKE 'Connections'")
        # To ask is a connection too.
        assert int(after[0][1]) - int(before[0][1]) <= 2
        assert not committer_in(store).ready
        await database.close()


@asynccontextmanager
async def used_by(backend: MySQLBackend, user: str, limit: str = "") -> AsyncIterator[Database]:
    """Have a database that is used by somebody who may not do everything."""
    from twisted.internet import reactor

    backend.server.run(f"CREATE DATABASE `{backend.name}`")
    backend.server.run(f"CREATE USER {user}@'127.0.0.1' {limit}")
    backend.server.run(f"GRANT ALL ON `{backend.name}`.* TO {user}@'127.0.0.1'")
    try:
        settings = MySQLSettings("127.0.0.1", backend.server.port, backend.name, user, "")
        database = Database(reactor, MySQL(settings, 5.0))
        backend.databases.append(database)
        await database.prepare()
        yield database
    finally:
        backend.server.run(f"DROP USER {user}@'127.0.0.1'")


async def test_no_connection_to_be_had(mysql: MySQLBackend) -> None:
    """When the server has no connection left for it, commits go on as if there were no such way, without a word in the log."""
    async with used_by(mysql, "few", "WITH MAX_USER_CONNECTIONS 3") as database:
        store = SQLStore(database)
        await lead(store)
        await store.ping()
        with log_lines() as lines:
            for seq in range(1, 4):
                committer_in(store).paused_until = 0.0
                await store.commit(Batch(seq, [place(seq)]))
                await tried(committer_in(store))
        assert lines == []
        assert not committer_in(store).ready
        assert kept(mysql) == [1, 2, 3]
        assert database.fault() is None


async def test_not_tried_for_each_commit(mysql: MySQLBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it cannot be had it is tried now and then."""
    tries = []

    def nobody(dialect: MySQL) -> OpenConnection | None:
        tries.append(dialect)
        raise dialect.late()

    monkeypatch.setattr(room, "open_connection", nobody)
    database = mysql.database(direct=True)
    await database.prepare()
    store = SQLStore(database)
    await lead(store)
    for seq in range(1, 20):
        await store.commit(Batch(seq, [place(seq)]))
        await seconds(0)
    assert len(tries) == 1


# Twisted leaves its copy of the socket to the garbage collector then.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
async def test_server_that_hangs_up_at_once(mysql: MySQLBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is gone before it can be used is as good as none, and leaves nothing behind."""

    def reset(dialect: MySQL) -> OpenConnection:
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            ours = socket.create_connection(listener.getsockname())
            peer, _ = listener.accept()
            with peer:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            descriptors.append(ours.detach())
            return OpenConnection(descriptors[-1], ours.family, compound=True)

    descriptors: list[int] = []
    monkeypatch.setattr(room, "open_connection", reset)
    database = mysql.database(direct=True)
    await database.prepare()
    store = SQLStore(database)
    await lead(store)
    for seq in range(1, 4):
        await store.commit(Batch(seq, [place(seq)]))
        await tried(committer_in(store))
        committer_in(store).paused_until = 0.0
    assert descriptors
    for descriptor in set(descriptors):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
    assert kept(mysql) == [1, 2, 3]


async def test_what_came_before_is_done_before(backend: DirectBackend) -> None:
    """A commit does not overtake what was asked of the database before it."""
    store = await reigning(backend)
    go_on = threading.Event()
    order: list[str] = []
    first = ensureDeferred(store.database.write(lambda _: go_on.wait(60)))
    first.addCallback(lambda _: order.append("first"))
    second = ensureDeferred(store.commit(Batch(1, [place(1)])))
    second.addCallback(lambda _: order.append("second"))
    await seconds(0.05)
    assert order == []
    go_on.set()
    await second
    assert order == ["first", "second"]


async def test_measured(backend: DirectBackend) -> None:
    """What goes this way is counted as the other is, and counts as pending."""
    told: list[tuple[str, bool]] = []
    database = backend.database(measure=lambda pool, _, done: told.append((pool, done)))
    await database.prepare()
    await backend.ready(database)
    store = SQLStore(database)
    await lead(store)
    told.clear()
    under_way = ensureDeferred(store.commit(Batch(1, [place(1)])))
    assert store.database.pending == 1
    await under_way
    assert told == [("writes", True)]
    assert store.database.pending == 0


async def test_leaves_no_garbage(backend: DirectBackend) -> None:
    """What is left of a commit that is over is gone at once, without the garbage collector."""
    store = await reigning(backend)
    with no_threads(store):
        await store.commit(Batch(1, [place(1)]))
        gc.collect()
        gc.disable()
        try:
            for seq in range(2, 102):
                await store.commit(Batch(seq, [place(seq)], events=[event(seq)]))
            assert gc.collect() == 0
        finally:
            gc.enable()


# That it comes to the same.

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
KEYS = st.builds(LockKey, st.sampled_from(["printer", "it's", "\\"]), NAMES)
MILLISECONDS = st.integers(0, 2**53)
PLACES = st.builds(
    Place,
    seq=st.integers(1, 6),
    key=KEYS,
    ticket=st.text("0123456789abcdef", min_size=32, max_size=32),
    standing=st.sampled_from(Standing),
    fence=st.integers(0, 5),
    owner=NAMES,
    idempotency_key=st.text("0123456789abcdef'\\", max_size=8),
    key_name=NAMES,
    since=MILLISECONDS,
)


@st.composite
def batches(draw: st.DrawFn) -> list[Batch]:
    """Batches as one daemon might commit them: with writes of those who hold the lock, and of some who do not."""
    made = []
    for number in range(draw(st.integers(1, 5))):
        places = list({each.seq: each for each in draw(st.lists(PLACES, max_size=5))}.values())
        writes = [
            Write(
                each.key, "printer-id", each.seq, each.ticket, each.fence, draw(st.none() | NAMES), draw(MILLISECONDS)
            )
            for each in places
            if each.standing in {Standing.GRANTED, Standing.HOLDING} or draw(st.integers(0, 9)) == 0
        ]
        events = [
            Event(number * 100 + at, draw(st.sampled_from(EventKind)), draw(MILLISECONDS), draw(KEYS), draw(NAMES), at, draw(st.floats(0, 1e9)), draw(NAMES), draw(NAMES), draw(NAMES), draw(st.integers(-9, 9)))
            for at in range(draw(st.integers(0, 4)))
        ]  # fmt: skip
        gone = draw(st.lists(st.integers(1, 6), max_size=3, unique=True))
        made.append(Batch(draw(st.integers(0, 2**62)), places, gone, writes, [], events, number * 100))
    return made


@dataclass
class Way:
    """A way of commits, with a database of its own."""

    backend: MySQLBackend
    store: SQLStore

    def clear(self) -> None:
        for table in ("resource_data", "resource", "place", "event"):
            self.backend.rows(f"DELETE FROM {table}")
        self.backend.rows("UPDATE server SET fence = 0, event = 0")
        self.backend.rows("INSERT INTO resource (id, name, timeout) VALUES ('printer-id', 'printer', 0)")

    async def commit(self, batch: Batch) -> str:
        """Return what becomes of it."""
        try:
            await self.store.commit(batch)
        except Exception as error:  # noqa: BLE001 - whichever it is, it must be the same
            return repr(error)
        return ""

    def rows(self) -> list[Any]:
        """Return all that is there, but for what is random: the store's owner, and the ids of documents."""
        return [
            self.backend.rows(f"SELECT {columns} FROM {table} ORDER BY 1, 2")
            for table, columns in (
                ("server", "epoch, fence, event"),
                ("place", "*"),
                ("event", "*"),
                ("resource", "*"),
                ("resource_data", "id_resource, selector, data, version"),
            )
        ]


@pytest_twisted.async_yield_fixture
async def ways(mariadb: MariaDB) -> AsyncIterator[list[Way]]:
    """A direct committer to MariaDB, one as to MySQL, and none."""
    made = []
    for backend, compound in (
        (DirectBackend(mariadb), True),
        (DirectBackend(mariadb), False),
        (MySQLBackend(mariadb), False),
    ):
        made.append(Way(backend, await reigning(backend, compound=compound)))
    yield made
    for way in made:
        await way.backend.close()


@given(made=batches())
@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
async def test_each_way_comes_to_the_same(ways: list[Way], made: list[Batch]) -> None:
    """Whatever is committed, the same rows are there in the end, and the same is refused, by whichever way it went."""
    for way in ways:
        way.clear()
    for batch in made:
        answers = {await way.commit(batch) for way in ways}
        assert len(answers) == 1, answers
    first, second, third = (way.rows() for way in ways)
    assert first == second == third
    assert committer_in(ways[0].store).ready
    assert committer_in(ways[1].store).ready


# What goes wrong.


def after(delay: float, act: Callable[[], None]) -> Callable[[], None]:
    """Do something a little later, in a thread that has nothing else to do."""

    def do() -> None:
        time.sleep(delay)
        act()

    return do


async def commit_until_it_fails(store: SQLStore, first: int) -> list[int]:
    """Commit one place after the other; return those that are told to be kept."""
    told: list[int] = []
    while True:
        try:
            await store.commit(Batch(1, [place(first + len(told))]))
        except StoreUnavailable:
            return told
        told.append(first + len(told))


async def test_idle_connection_that_was_killed(backend: DirectBackend) -> None:
    """When the server has ended an idle connection no commit fails, and the fast path is there again soon."""
    store = await reigning(backend)
    committer = committer_in(store)
    for seq in range(1, 6):
        for number in backend.server.connections(backend.name):
            backend.server.end_connection(number)
        await until_in_thread(lambda: not committer.ready)
        committer.paused_until = 0.0
        await store.commit(Batch(seq, [place(seq)]))
        await until_in_thread(lambda: committer.ready)
    assert kept(backend) == [1, 2, 3, 4, 5]


@COMPOUND
async def test_killed_at_any_moment(backend: DirectBackend, compound: bool) -> None:
    """A connection that is killed under load loses nothing that was told to be done, and the store goes on."""
    store = await reigning(backend, compound=compound)
    over, tried = threading.Event(), threading.Semaphore(0)

    def kill() -> None:
        # However slow it all is, most commits have the time to be done.
        while not over.wait(0.02):
            if not all(tried.acquire(blocking=False) for _ in range(4)):
                continue
            for number in backend.server.connections(backend.name):
                backend.server.end_connection(number)

    killing = deferToThread(kill)
    told, failed = [], 0
    for seq in range(1, 600):
        committer_in(store).paused_until = 0.0
        tried.release()
        try:
            await store.commit(Batch(seq, [place(seq)], events=[event(seq)]))
        except StoreUnavailable:
            failed += 1
            await until_done(store.begin_term)
        else:
            told.append(seq)
    over.set()
    await killing.addErrback(lambda _: None)
    assert set(told) <= set(kept(backend))
    assert len(told) > failed
    await until_done(lambda: store.commit(Batch(600, [place(600)])))


@COMPOUND
async def test_server_killed_under_load(compound: bool) -> None:
    """What was told to be done is there after the server has died and lives again, and what comes after that is done."""
    with MariaDB() as server:
        backend = DirectBackend(server)
        store = await reigning(backend, compound=compound)
        told: list[int] = []
        for round_ in range(4):
            killed = deferToThread(after(0.02 + 0.013 * round_, server.kill))
            told += await commit_until_it_fails(store, 1000 * round_)
            await killed
            server.start()
            await until_done(store.begin_term)
            assert set(told) <= set(kept(backend))
            await committer_of(store.database)
            committer_in(store).compound = compound
        await backend.close()


@COMPOUND
async def test_frozen_at_any_moment(compound: bool) -> None:
    """
    What a server was asked for before it froze, and what was given up meanwhile, is not done when it goes on.

    It may have been done just before, and only the answer have been lost; so each row tells when it was made.
    """
    with MariaDB() as server:
        backend = DirectBackend(server)
        store = await reigning(backend, timeout=0.6, compound=compound)
        server.run(
            "CREATE TRIGGER clock BEFORE INSERT ON place FOR EACH ROW SET NEW.since = UNIX_TIMESTAMP(SYSDATE(6)) * 1000000",
            database=backend.name,
        )
        told: list[int] = []
        for round_ in range(12):
            freezing = deferToThread(after(0.004 + 0.00137 * round_, server.freeze))
            told += await commit_until_it_fails(store, 1000 * round_)
            await freezing
            server.thaw()
            thawed = time.time()
            await until_done(store.begin_term)
            late = backend.rows("SELECT seq, since FROM place WHERE since >= %s", int(thawed * 1e6))
            assert late == []
            assert set(told) <= set(kept(backend))
            await committer_of(store.database)
            committer_in(store).compound = compound
        await backend.close()


@COMPOUND
@pytest.mark.parametrize("idle", [0.0, 60.0])
async def test_frozen_before_it_was_sent(mysql: MySQLBackend, compound: bool, idle: float) -> None:
    """What a frozen server gets is answered within the timeout, and is not done when it goes on; be it the first for long or not."""
    late = 0.0
    database = mysql.database(0.6, direct=True, now=lambda: time.monotonic() + late)
    await database.prepare()
    committer = await committer_of(database)
    store = SQLStore(database)
    await lead(store)
    committer.compound = compound
    await store.commit(Batch(1, [place(1)]))
    mysql.server.freeze()
    try:
        late = idle
        began = time.monotonic()
        with log_lines() as lines, no_threads(store), pytest.raises(StoreUnavailable, match="in time"):
            await store.commit(Batch(2, [place(2)]))
        assert 0.55 < time.monotonic() - began < 30
        assert any("does not answer in time" in line for line in lines)
        assert database.fault() is not None
    finally:
        mysql.server.thaw()
    await until_done(store.begin_term)
    await until_done(lambda: store.commit(Batch(3, [place(3)])))
    assert kept(mysql) == [1, 3]
    assert database.fault() is None


async def test_row_locked_by_another(backend: DirectBackend) -> None:
    """A script that another transaction is in the way of is given up in time, leaves nothing, and is not done when the way is free."""
    store = await reigning(backend, timeout=2.0)
    await store.commit(Batch(1, [place(1)]))
    with closing(backend.server.connect(backend.name, autocommit=False)) as other, other.cursor() as cursor:
        cursor.execute("UPDATE place SET standing = 1 WHERE seq = 1")
        began = time.monotonic()
        with no_threads(store), pytest.raises(StoreUnavailable):
            await store.commit(Batch(2, [place(2), place(1, fence=2)]))
        assert 0.9 < time.monotonic() - began < 30
        # It has let go of what it had locked itself.
        await store.commit(Batch(3, [place(3)]))
        other.rollback()
    await lead(store)
    assert kept(backend) == [1, 3]


@COMPOUND
async def test_held_up_by_a_change_of_a_table(backend: DirectBackend, compound: bool) -> None:
    """A script that is held up for longer than anyone waits for it is not done afterwards."""
    store = await reigning(backend, timeout=1.0, compound=compound)
    await store.commit(Batch(1, [place(1)], events=[event(1)]))
    with closing(backend.server.connect(backend.name)) as other, other.cursor() as cursor:
        # The server waits for this for as long as it takes, whatever its other timeouts are.
        cursor.execute("LOCK TABLES event READ")
        with no_threads(store), pytest.raises(StoreUnavailable):
            await store.commit(Batch(2, [place(2)], events=[event(2)]))
        await seconds(0.2)
        cursor.execute("UNLOCK TABLES")
    await until_done(store.begin_term)
    await until_done(lambda: store.commit(Batch(3, [place(3)], events=[event(3)])))
    assert kept(backend) == [1, 3]


async def test_deadlock(backend: DirectBackend) -> None:
    """The victim of a deadlock is done anew, step by step."""
    store = await reigning(backend)
    await store.commit(Batch(1, [place(1)]))
    with closing(backend.server.connect(backend.name, autocommit=False)) as other, other.cursor() as cursor:
        cursor.execute("CREATE TABLE heavy (number INT PRIMARY KEY)")
        cursor.executemany("INSERT INTO heavy (number) VALUES (%s)", [(number,) for number in range(1000)])
        cursor.execute("SELECT * FROM place WHERE seq = 1 FOR UPDATE")
        under_way = ensureDeferred(store.commit(Batch(2, [place(1, fence=2), place(2)])))

        def meet() -> None:
            while not backend.server.lock_waits(backend.name):
                time.sleep(0.15)
            cursor.execute("SELECT * FROM server FOR UPDATE")
            other.rollback()

        await deferToThread(meet)
    await under_way
    assert kept(backend) == [1, 2]
    assert committer_in(store).ready


async def test_clock_that_was_set(backend: DirectBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the server's clock is set forward or back, commits go on."""
    store = await reigning(backend)
    await store.commit(Batch(1, [place(1)]))
    committer = committer_in(store)
    for seq, step in ((2, "-"), (3, "+")):
        assert committer.protocol is not None
        assert await committer.protocol.ask(f"SET @kept = @kept {step} INTERVAL 1 HOUR".encode()) is None
        await store.commit(Batch(seq, [place(seq)]))
        with no_threads(store), monkeypatch.context() as patched:
            # As if it had been a while ago that the server was asked.
            patched.setattr(room, "FRESH", -1.0)
            await store.commit(Batch(seq + 10, [place(seq + 10)]))
    assert kept(backend) == [1, 2, 3, 12, 13]


async def test_refused_statement(backend: DirectBackend) -> None:
    """A statement that the server refuses is told as ever, and nothing of its script is done; the next one is."""
    store = await reigning(backend)
    backend.rows("ALTER TABLE event RENAME TO gone")
    with log_lines() as lines, no_threads(store), pytest.raises(StoreUnavailable, match="refused"):
        await store.commit(Batch(1, [place(1)], events=[event(1)]))
    assert len(lines) == 1
    assert store.database.fault(0.5) is not None
    with no_threads(store):
        await store.commit(Batch(2, [place(2)]))
    assert kept(backend) == [2]


async def test_session_without_backslashes(backend: DirectBackend) -> None:
    """A connection whose session reads text in another way than it was opened for is left, and what is kept is right."""
    store = await reigning(backend)
    protocol = committer_in(store).protocol
    assert protocol is not None
    error = await protocol.ask(b"SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES'")
    assert error is not None
    assert not protocol.alive
    odd = place(1)._replace(owner="\\'; DELETE FROM server; --")
    await store.commit(Batch(1, [odd]))
    assert [owner for (owner,) in backend.rows("SELECT owner FROM place")] == [odd.owner.encode()]
    dialect = store.database.dialect
    assert isinstance(dialect, MySQL)
    connection = dialect.connect(writes=True)
    connection.query("SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES'")
    with pytest.raises(pymysql.OperationalError, match="backslash"):
        dialect.at_once(connection, [Statement("DO 1", ())])
    connection.close()


async def test_read_only_server(backend: DirectBackend) -> None:
    """A server that only reads for now is told apart from others, and used again when it writes."""
    async with used_by(backend, "plain") as database:
        try:
            await committer_of(database)
            store = SQLStore(database)
            await lead(store)
            backend.server.run("SET GLOBAL read_only = 1")
            with log_lines(), pytest.raises(StoreUnavailable, match="only be read"):
                await store.commit(Batch(1, [place(1)]))
            fault = database.fault()
            assert fault is not None
            assert fault.code == "store_read_only"
            backend.server.run("SET GLOBAL read_only = 0")
            await until_done(lambda: store.commit(Batch(2, [place(2)])))
            assert kept(backend) == [2]
        finally:
            backend.server.run("SET GLOBAL read_only = 0")


@pytest.mark.parametrize("code", [1927, 1053, 1317, 3024, 1180])
async def test_error_that_leaves_it_open(backend: DirectBackend, code: int) -> None:
    """An error after which the commit may have been done all the same is told, and nothing is tried again."""
    store = await reigning(backend)
    backend.rows(
        "CREATE TRIGGER fails BEFORE INSERT ON place FOR EACH ROW SIGNAL SQLSTATE '45000' "
        f"SET MYSQL_ERRNO = {code}, MESSAGE_TEXT = 'So it is'"
    )
    with log_lines(), no_threads(store), pytest.raises(StoreUnavailable):
        await store.commit(Batch(1, [place(1)]))
    # Some of these also end the connection, and with it what the server still has under way.
    await deferToThread(backend.rows, "DROP TRIGGER fails")
    await store.commit(Batch(2, [place(2)]))
    assert kept(backend) == [2]


# The end.


async def test_close(backend: DirectBackend) -> None:
    """Closing waits for what is under way, and leaves no connection."""
    store = await reigning(backend)
    under_way = ensureDeferred(store.commit(Batch(1, [place(1)])))
    await store.close()
    assert under_way.called
    await under_way
    await until_in_thread(lambda: not backend.server.connections(backend.name))
    assert kept(backend) == [1]


async def test_close_while_it_is_opened(mysql: MySQLBackend) -> None:
    """A connection that is only just being made when all is closed is closed too."""
    database = mysql.database(direct=True)
    await database.prepare()
    committer = database.committer
    assert committer is not None
    committer.open()
    await database.close()
    assert not committer.ready
    committer.open()
    assert not committer.opening
    await until_in_thread(lambda: not mysql.server.connections(mysql.name))
