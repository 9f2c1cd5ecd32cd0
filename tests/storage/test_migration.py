"""How a database comes to its schema: a new one, one of the original server, and one whose migration was cut short."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.threads import deferToThread

from resourced.config import MySQLSettings, SQLiteSettings
from resourced.errors import ConfigurationError, DataNotFound, ResourceExists
from resourced.model import Batch, LockKey
from resourced.storage.sql.executor import Database
from resourced.storage.sql.migration import migrations, prepare, split
from resourced.storage.sql.mysql import MySQL
from resourced.storage.sql.sqlite import SQLite
from resourced.storage.sql_store import SQLStore
from tests.leading import lead
from tests.stores import (  # noqa: F401 - fixtures
    Backend,
    MySQLBackend,
    SQLiteBackend,
    backend_fixture,
    holder,
    mariadb_fixture,
    mysql_fixture,
    write,
)


def original(
    mysql: MySQLBackend,
    *,
    charset: str = "utf8mb4",
    name: str = "VARCHAR(255) NOT NULL UNIQUE",
    selector: str = "VARCHAR(255) NOT NULL",
    data: str = "LONGTEXT NOT NULL",
    unique: bool = True,
) -> None:
    """Make a database as the original server did, or as time may have changed it."""
    mysql.server.run(f"CREATE DATABASE `{mysql.name}` CHARACTER SET {charset}")
    mysql.rows(f"CREATE TABLE resource (id VARCHAR(255) PRIMARY KEY, name {name}, timeout INT) ENGINE = InnoDB")
    key = ", UNIQUE (id_resource, selector)" if unique else ""
    mysql.rows(
        "CREATE TABLE resource_data (id VARCHAR(255) PRIMARY KEY, id_resource VARCHAR(255) NOT NULL, "
        f"selector {selector}, locked TINYINT(1) NOT NULL, data {data}{key}, "
        "FOREIGN KEY (id_resource) REFERENCES resource (id)) ENGINE = InnoDB"
    )


def fill(mysql: MySQLBackend, resources: list[tuple[Any, ...]], data: list[tuple[Any, ...]]) -> None:
    for row in resources:
        mysql.rows("INSERT INTO resource (id, name, timeout) VALUES (%s, %s, %s)", *row)
    for row in data:
        mysql.rows(
            "INSERT INTO resource_data (id, id_resource, selector, locked, data) VALUES (%s, %s, %s, %s, %s)", *row
        )


RESOURCES = [
    ("r1", "printer", 300),
    ("r2", "Stra\u00dfe", 0),
    ("r3", "\u00c1rbol", None),
    ("r4", "100%", -7),
    ("r5", "o'neill\\", 1),
]
DATA = [
    ("d1", "r1", "A4", 0, '{"status": "ready"}'),
    ("d2", "r1", "a5", 1, '  {"a":\t1.0e2}\n'),
    ("d3", "r2", "\u00c44", 0, "not JSON at all \u00e9 \\ ' %"),
    ("d4", "r3", "a/b?c", 0, ""),
    ("d5", "r4", "A4", 0, "x" * 100_000),
]


#: Selectors as the original server kept them, and what they are after the take-over: each is decoded once.
ENCODED = [
    ("e1", "r1", "100%2525", 0, "1"),
    ("e2", "r1", "100%25", 0, "2"),
    ("e3", "r2", "%C3%A9t%c3%a9", 0, "3"),
    ("e4", "r2", "50%", 0, "4"),
    ("e5", "r2", "%FF", 0, "5"),
    ("e6", "r3", "a%2Fb", 0, "6"),
]
DECODED = dict(
    zip(["e1", "e2", "e3", "e4", "e5", "e6"], ["100%25", "100%", "\u00e9t\u00e9", "50%", "%FF", "a/b"], strict=True)
)


def decoded(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [(row[0], row[1], DECODED.get(row[0], row[2]), *row[3:]) for row in rows]


def tables(backend: Backend) -> list[str]:
    if backend.kind == "mysql":
        return sorted(name for (name,) in backend.rows("SHOW TABLES"))
    return sorted(name for (name,) in backend.rows("SELECT name FROM sqlite_master WHERE type = 'table'"))


def shape(backend: Backend, table: str) -> Any:
    """The whole definition of a table."""
    if backend.kind == "mysql":
        return backend.rows(f"SHOW CREATE TABLE {table}")
    return backend.rows("SELECT sql FROM sqlite_master WHERE tbl_name = %s ORDER BY name", table)


def picture(backend: Backend) -> dict[str, tuple[Any, Any]]:
    """All that can be seen of a database: every table, its definition and its rows."""
    return {
        table: (shape(backend, table), sorted(backend.rows(f"SELECT * FROM {table}"), key=repr))
        for table in tables(backend)
    }


def kept(mysql: MySQLBackend) -> tuple[list[Any], list[Any]]:
    """The rows of the two old tables, with names as text."""
    return (
        mysql.rows("SELECT id, CONVERT(name USING utf8mb4), timeout FROM resource ORDER BY id"),
        mysql.rows(
            "SELECT id, id_resource, CONVERT(selector USING utf8mb4), locked, data FROM resource_data ORDER BY id"
        ),
    )


async def test_new_database(backend: Backend) -> None:
    """A missing database is made with all tables, and preparing it again changes nothing."""
    await backend.database().prepare()
    made = picture(backend)
    assert tables(backend) == [
        *("card", "event", "event_mark", "joint_request", "loss"),
        # A file is never that of a cluster.
        *(["partition_owner"] if backend.kind == "mysql" else []),
        *("place", "resource", "resource_data", "schema_version", "server", "usage_day", "usage_mark"),
    ]
    assert backend.rows("SELECT version FROM schema_version") == [(len(migrations(backend.kind)),)]
    await backend.database().prepare()
    assert picture(backend) == made


def test_prepared_beside_connections(tmp_path: Path) -> None:
    """
    A file that this process has open is prepared without giving up SQLite's locks on it.

    Else another process that closes the file takes itself for the last one, and removes the log into which this one goes on to write.
    """
    path, log = tmp_path / "resourced.sqlite", tmp_path / "resourced.sqlite-wal"
    dialect = SQLite(SQLiteSettings(str(path)), 5.0)
    prepare(dialect, 1 << 20)
    reader = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); print(*c.execute('SELECT fence FROM server')); c.close()"
    with closing(dialect.connect(writes=True)) as connection:
        connection.execute("UPDATE server SET fence = 1")
        prepare(dialect, 1 << 20)
        there = log.stat().st_ino
        for fence in (2, 3):
            connection.execute("UPDATE server SET fence = ?", (fence,))
            seen = subprocess.run([sys.executable, "-c", reader, path], check=True, capture_output=True, timeout=60)
            assert seen.stdout == b"(%d,)\n" % fence
            assert log.stat().st_ino == there


async def test_prepared_again_with_rows(backend: Backend) -> None:
    """A later start leaves everything in the store as it is."""
    store = await backend.store()
    await lead(store)
    printer = await store.create_resource("printer", 0)
    held = holder(1, fence=1)
    await store.commit(Batch(1, [held], writes=[write(held, printer.id, "1")]))
    before = picture(backend)
    await backend.database().prepare()
    assert picture(backend) == before


async def test_lost_places(backend: Backend) -> None:
    """What a ticket had lost by an earlier schema, while it lived elsewhere, it has lost by this one."""
    database = backend.database()
    await database.prepare()
    number = 7 if backend.kind == "mysql" else 5
    backend.rows("DROP TABLE loss")
    later = {
        "server": ("beat", "state", "guard", "restored", "passed"),
        "resource": ("resource_group", "longest", "slots"),
        "place": ("lease", "priority", "joint", "want"),
        "event": ("priority",),
    }
    for table, columns in later.items():
        for column in columns:
            backend.rows(f"ALTER TABLE {table} DROP COLUMN {column}")
    for table in ("card", "joint_request", "usage_day", "usage_mark"):
        backend.rows(f"DROP TABLE {table}")
    backend.rows("UPDATE schema_version SET version = %s", number)
    for seq, selector, standing in ((1, "A4", 3), (2, "A5", 2), (3, "A6", 0)):
        backend.rows(
            "INSERT INTO place (seq, resource, selector, ticket, standing, fence, owner, idempotency_key, key_name, since) "
            "VALUES (%s, 'printer', %s, 't', %s, 1, '', '', 'Ada', 0)",
            seq,
            selector,
            standing,
        )
    store = await backend.store()
    snapshot = await lead(store)
    assert [place.key.selector for place in snapshot.places] == ["A5", "A6"]
    [loss] = snapshot.losses
    assert loss[1:] == (LockKey("printer", "A4"), "t", "Ada")


async def test_newer_schema(backend: Backend) -> None:
    """A database that a newer server has used ends the start, and is left alone."""
    await backend.database().prepare()
    backend.rows("UPDATE schema_version SET version = 99")
    before = picture(backend)
    with pytest.raises(ConfigurationError) as raised:
        await backend.database().prepare()
    assert "99" in raised.value.sentence
    assert picture(backend) == before


async def test_many_start_at_once(backend: Backend) -> None:
    """Daemons that start at the same time on a new database all find it ready."""
    databases = [backend.database(timeout=10.0) for _ in range(5)]
    await gatherResults([ensureDeferred(database.prepare()) for database in databases])
    assert backend.rows("SELECT version FROM schema_version") == [(len(migrations(backend.kind)),)]
    assert backend.rows("SELECT id, epoch FROM server") == [(1, 0)]


@pytest.mark.parametrize("table", ["resource", "place"])
async def test_tables_of_somebody_else(backend: Backend, table: str) -> None:
    """A database with other tables of our names ends the start, and is left alone."""
    if isinstance(backend, MySQLBackend):
        backend.server.run(f"CREATE DATABASE `{backend.name}`")
    backend.rows(f"CREATE TABLE {table} (town VARCHAR(20))")
    backend.rows(f"INSERT INTO {table} VALUES ('Bern')")
    before = picture(backend)
    with pytest.raises(ConfigurationError) as raised:
        await backend.database().prepare()
    assert table in raised.value.sentence
    assert picture(backend) == before


# Taking over a database of the original server.

CHARSETS = [
    "utf8mb4",
    "utf8mb4 COLLATE utf8mb4_unicode_ci",
    "utf8mb3",
    "latin1",
    "latin1 COLLATE latin1_swedish_nopad_ci",
    "ucs2",
]


@pytest.mark.parametrize("charset", CHARSETS)
async def test_take_over(mysql: MySQLBackend, charset: str) -> None:
    """Every row of the original server is there afterwards, with its ids, its names and its data to the last character."""
    original(mysql, charset=charset)
    fill(mysql, RESOURCES, DATA)
    store = await mysql.store()
    assert kept(mysql) == (RESOURCES, DATA)
    await lead(store)
    for identity, name, timeout in RESOURCES:
        resource = await store.find_resource(name)
        assert (resource.id, resource.timeout) == (identity, max(0, timeout or 0))
        for data_id, id_resource, selector, _, text in DATA:
            if id_resource == identity:
                document = await store.read(resource, selector)
                assert (document.id, document.data) == (data_id, text)
        selectors = sorted(selector for _, id_resource, selector, _, _ in DATA if id_resource == identity)
        assert await store.list_selectors(resource, "", "", 100) == selectors
    assert [found.name for found in await store.list_resources("", "", 100)] == sorted(row[1] for row in RESOURCES)


@pytest.mark.parametrize("charset", CHARSETS)
async def test_names_are_exact_after_take_over(mysql: MySQLBackend, charset: str) -> None:
    """Names that the old tables took for one are many from then on, and old ids are kept when new data comes."""
    original(mysql, charset=charset)
    fill(mysql, RESOURCES, DATA)
    store = await mysql.store()
    await lead(store)
    printer = await store.find_resource("printer")
    for name in ("Printer", "printer ", "Strasse", "arbol", "\U0001f600"):
        await store.create_resource(name, 0)
    with pytest.raises(ResourceExists):
        await store.create_resource("printer", 0)
    selectors = ["A4", "a4", "A4 ", "\u00c14", "\U0001f600"]
    places = [holder(seq, LockKey("printer", name), fence=seq) for seq, name in enumerate(selectors, 1)]
    writes = [write(held, printer.id, f'"{held.key.selector}\U0001f600"') for held in places]
    await store.commit(Batch(9, places, writes=writes))
    for name in selectors:
        document = await store.read(printer, name)
        assert document.data == f'"{name}\U0001f600"'
        assert (document.id == "d1") == (name == "A4")
    with pytest.raises(DataNotFound):
        await store.read(printer, "A5")


@pytest.mark.parametrize(
    "charset", ["utf8mb4 COLLATE utf8mb4_general_nopad_ci", "latin1 COLLATE latin1_swedish_nopad_ci"]
)
async def test_old_names_that_differ_by_a_space(mysql: MySQLBackend, charset: str) -> None:
    """Old tables that told trailing spaces apart keep both names."""
    original(mysql, charset=charset)
    fill(mysql, [("r1", "A4", 1), ("r2", "A4 ", 2)], [("d1", "r1", "x", 0, "1"), ("d2", "r1", "x ", 0, "2")])
    store = await mysql.store()
    assert [(await store.find_resource(name)).id for name in ("A4", "A4 ")] == ["r1", "r2"]
    resource = await store.find_resource("A4")
    assert [(await store.read(resource, name)).data for name in ("x", "x ")] == ["1", "2"]


async def test_take_over_of_worn_tables(mysql: MySQLBackend) -> None:
    """Columns that allow NULL, and unique keys that were lost, are mended on the way."""
    original(mysql, charset="latin1", name="TEXT", selector="VARCHAR(300)", data="MEDIUMTEXT", unique=False)
    fill(mysql, RESOURCES, [*DATA, ("d6", "r1", "empty", 0, None)])
    store = await mysql.store()
    assert kept(mysql) == (RESOURCES, [*DATA, ("d6", "r1", "empty", 0, None)])
    for statement in (
        "INSERT INTO resource (id, name) VALUES ('x', 'printer')",
        "INSERT INTO resource_data (id, id_resource, selector, data) VALUES ('x', 'r1', 'A4', '1')",
    ):
        with pytest.raises(Exception, match="Duplicate entry"):
            mysql.rows(statement)
    await lead(store)
    printer = await store.find_resource("printer")
    assert "empty" not in await store.list_selectors(printer, "", "", 100)
    assert "A4" in await store.list_selectors(printer, "", "", 100)
    await store.create_resource("PRINTER", 0)


@pytest.mark.parametrize("lost", [False, True])
async def test_order_of_data(mysql: MySQLBackend, lost: bool) -> None:
    """Old data comes into the order of resources and selectors, whatever its key was, and its constraint stays."""
    original(mysql)
    fill(mysql, RESOURCES, DATA)
    if lost:
        mysql.rows("ALTER TABLE resource_data DROP PRIMARY KEY")
    await mysql.database().prepare()
    keys = [(name, column) for _, _, name, _, column, *_ in mysql.rows("SHOW KEYS FROM resource_data")]
    assert keys == [("PRIMARY", "id_resource"), ("PRIMARY", "selector")]
    assert kept(mysql) == (RESOURCES, DATA)
    with pytest.raises(Exception, match="foreign key constraint"):
        mysql.rows("INSERT INTO resource_data (id, id_resource, selector, data) VALUES ('x', 'nobody', 'A4', '1')")


async def test_data_of_no_resource(mysql: MySQLBackend) -> None:
    """Old data that says no resource ends the start, and nothing is changed."""
    original(mysql)
    mysql.rows("ALTER TABLE resource_data MODIFY id_resource VARCHAR(255) NULL")
    fill(mysql, RESOURCES, [*DATA, ("d9", None, "A4", 0, "1")])
    before = picture(mysql)
    with pytest.raises(ConfigurationError, match="in resource_data, row d9, the id_resource is NULL"):
        await mysql.database().prepare()
    assert picture(mysql) == before


async def test_null_and_empty_data(mysql: MySQLBackend) -> None:
    """Old data that is NULL counts as none until something is written; old data that is empty is read as it is."""
    original(mysql, data="LONGTEXT")
    fill(mysql, RESOURCES[:1], [("d1", "r1", "null", 0, None), ("d2", "r1", "empty", 0, "")])
    store = await mysql.store()
    await lead(store)
    printer = await store.find_resource("printer")
    assert (await store.read(printer, "empty")).data == ""
    with pytest.raises(DataNotFound):
        await store.read(printer, "null")
    held = holder(1, LockKey("printer", "null"), fence=1)
    await store.commit(Batch(1, [held], writes=[write(held, printer.id, "1")]))
    document = await store.read(printer, "null")
    assert (document.id, document.data) == ("d1", "1")


@pytest.mark.parametrize("table", ["resource", "resource_data"])
@pytest.mark.parametrize(
    ("definition", "names", "told"),
    [
        ("VARCHAR(255)", [None], "NULL"),
        ("VARCHAR(255)", [""], "empty"),
        ("VARCHAR(255)", ["."], "'.'"),
        ("VARCHAR(255)", [".."], "'..'"),
        ("VARCHAR(255)", ["a\nb"], r"'a\nb'"),
        ("VARCHAR(255) CHARACTER SET latin1", ["\x81"], r"'\x81'"),
        ("VARCHAR(300)", ["x" * 256], "xxxx"),
        ("VARBINARY(255)", [b"caf\xe9"], r"caf\\xe9"),
        ("VARCHAR(255)", ["twice", "twice"], "'twice'"),
        ("VARCHAR(255) CHARACTER SET latin1", ["\u00e9", "\u00e9"], "'\u00e9'"),
        ("VARBINARY(255)", [b"twice", b"twice"], "'twice'"),
    ],
)
async def test_names_that_cannot_be_kept(
    mysql: MySQLBackend, table: str, definition: str, names: list[Any], told: str
) -> None:
    """An old name that cannot be kept ends the start with a sentence that has it, and nothing at all is changed."""
    if table == "resource":
        original(mysql, name=definition, unique=False)
        fill(mysql, [("r0", "fine", 0), *[(f"r{n}", name, 0) for n, name in enumerate(names, 1)]], [])
    else:
        original(mysql, selector=definition, unique=False)
        rows = [(f"d{n}", "r1", name, 0, "1") for n, name in enumerate(["fine", *names])]
        fill(mysql, RESOURCES, rows)
    before = picture(mysql)
    with pytest.raises(ConfigurationError) as raised:
        await mysql.database().prepare()
    assert told in raised.value.sentence
    assert f"in {table}, " in raised.value.sentence
    assert picture(mysql) == before
    assert tables(mysql) == ["resource", "resource_data"]


async def test_one_selector_of_two_resources(mysql: MySQLBackend) -> None:
    """The same selector at two resources is no collision, nor are names that only a collation takes for one."""
    original(mysql, name="VARCHAR(255)", unique=False)
    resources = [("r1", "A4", 0), ("r2", "a4", 0), ("r3", "\u00c14", 0)]
    data = [(f"d{n}", f"r{n}", name, 0, "1") for n in (1, 2, 3) for name in ("A4",)] + [("d4", "r1", "a4", 0, "2")]
    fill(mysql, resources, data)
    await mysql.database().prepare()
    assert kept(mysql) == (resources, data)


async def test_many_names_that_cannot_be_kept(mysql: MySQLBackend) -> None:
    """Of many bad names the first few are told, and how many more there are."""
    original(mysql)
    fill(mysql, [(f"r{n:02}", f"bad\n{n}", 0) for n in range(20)], [])
    with pytest.raises(ConfigurationError) as raised:
        await mysql.database().prepare()
    assert r"'bad\n0'" in raised.value.sentence
    assert r"'bad\n19'" not in raised.value.sentence
    assert "15 more" in raised.value.sentence


async def test_many_take_over_at_once(mysql: MySQLBackend) -> None:
    """Daemons that start at the same time on an old database all find it taken over, once."""
    original(mysql, charset="latin1")
    fill(mysql, RESOURCES, DATA)
    await gatherResults([ensureDeferred(mysql.database().prepare()) for _ in range(5)])
    assert kept(mysql) == (RESOURCES, DATA)


# A migration that is cut short.


class Cut(Exception):
    """What a kill is in these tests: the end of everything, without a chance to tidy up."""


class CutShort(MySQL):
    """A database whose client is killed after some number of statements that change something."""

    left = 0

    def open(self, **options: Any) -> Any:
        connection = super().open(**options)
        cursor = connection.cursor

        def counting(*kind: Any) -> Any:
            made = cursor(*kind)
            execute = made.execute

            def execute_or_die(statement: str, *arguments: Any) -> Any:
                if not statement.lstrip().startswith("SELECT"):
                    if self.left == 0:
                        raise Cut
                    self.left -= 1
                return execute(statement, *arguments)

            made.execute = execute_or_die
            return made

        connection.cursor = counting
        return connection


def last(mysql: MySQLBackend, **options: Any) -> int:
    """How many statements the whole take-over of a database has."""
    dialect = CutShort(mysql.dialect().settings, 5.0)
    dialect.left = 10_000
    prepare(dialect, 1)
    return 10_000 - dialect.left


@pytest.mark.deadline(600)
async def test_cut_short_after_each_statement(mysql: MySQLBackend) -> None:
    """Wherever a migration is cut short, the next start completes it, with every row."""
    settings = mysql.dialect().settings

    def renew() -> None:
        mysql.server.run(f"DROP DATABASE IF EXISTS `{mysql.name}`")
        original(mysql, charset="latin1", name="TEXT", unique=False)
        fill(mysql, RESOURCES, [*DATA[:4], *ENCODED])

    def each() -> int:
        renew()
        whole = last(mysql)
        expected = picture(mysql)
        for number in range(whole):
            renew()
            dialect = CutShort(settings, 5.0)
            dialect.left = number
            with pytest.raises(Cut):
                prepare(dialect, 1)
            prepare(MySQL(settings, 5.0), 1)
            assert picture(mysql) == expected, number
            assert kept(mysql) == (RESOURCES, decoded([*DATA[:4], *ENCODED]))
        return whole

    assert await deferToThread(each) > sum(map(len, migrations("mysql")))


async def test_killed_in_the_middle(mysql: MySQLBackend) -> None:
    """A daemon that is killed while the server copies a table leaves nothing that the next start cannot complete."""
    original(mysql, charset="latin1")
    fill(mysql, RESOURCES, [])
    mysql.rows(
        "INSERT INTO resource_data SELECT CONCAT('d', seq), 'r1', CONCAT('\u00e9', seq), 0, REPEAT('x', 2000) FROM seq_1_to_20000"
    )
    program = (
        "from resourced.config import MySQLSettings\n"
        "from resourced.storage.sql.mysql import MySQL\n"
        "from resourced.storage.sql.migration import prepare\n"
        f"prepare(MySQL(MySQLSettings('127.0.0.1', {mysql.server.port}, {mysql.name!r}, 'root', ''), 5.0), 1)\n"
    )

    def kill_while_it_copies() -> int:
        with subprocess.Popen([sys.executable, "-c", program]) as daemon:
            while daemon.poll() is None:
                rows = mysql.server.run(
                    "SELECT 1 FROM information_schema.processlist WHERE db = %s AND info LIKE 'ALTER TABLE resource_data%%'",
                    mysql.name,
                )
                if rows:
                    daemon.kill()
            return daemon.returncode

    assert await deferToThread(kill_while_it_copies) == -signal.SIGKILL
    store = await mysql.store()
    assert mysql.rows("SELECT COUNT(*), COUNT(DISTINCT selector), SUM(LENGTH(data)) FROM resource_data") == [
        (20000, 20000, 40_000_000)
    ]
    printer = await store.find_resource("printer")
    assert (await store.read(printer, "\u00e94711")).data == "x" * 2000


async def test_killed_while_it_decodes(mysql: MySQLBackend) -> None:
    """A daemon that is killed when it has decoded some selectors leaves them as they were: the next start decodes each once."""
    original(mysql)
    fill(mysql, RESOURCES, [*DATA, *ENCODED])
    program = (
        "from resourced.config import MySQLSettings\n"
        "from resourced.storage.sql.mysql import MySQL\n"
        "from resourced.storage.sql.migration import prepare\n"
        f"prepare(MySQL(MySQLSettings('127.0.0.1', {mysql.server.port}, {mysql.name!r}, 'root', ''), 5.0), 1)\n"
    )

    def waits() -> list[tuple[Any, ...]]:
        return mysql.server.run(
            "SELECT id FROM information_schema.processlist WHERE db = %s AND state = 'User sleep'", mysql.name
        )

    def kill_while_it_waits() -> int:
        with subprocess.Popen([sys.executable, "-c", program]) as daemon:
            while not waits():
                assert daemon.poll() is None
            daemon.kill()
            return daemon.wait()

    # The longest comes last, so the others are decoded by then.
    mysql.rows("CREATE TRIGGER slow BEFORE UPDATE ON resource_data FOR EACH ROW DO SLEEP(IF(OLD.id = 'e3', 600, 0))")
    assert await deferToThread(kill_while_it_waits) == -signal.SIGKILL
    for (connection,) in waits():
        mysql.server.run("KILL %s", connection)
    mysql.rows("DROP TRIGGER slow")
    assert mysql.rows("SELECT version FROM schema_version") == [(1,)]
    await mysql.database().prepare()
    assert kept(mysql) == (RESOURCES, sorted(decoded([*DATA, *ENCODED])))


async def test_patience_is_for_the_migration_only(mysql: MySQLBackend) -> None:
    """Copying a table may take longer than the timeout for an answer."""
    original(mysql)
    fill(mysql, RESOURCES, DATA)
    database = mysql.database(timeout=0.5)
    with closing(mysql.server.connect(mysql.name, autocommit=False)) as other, other.cursor() as cursor:
        # Who has read a table inside a transaction keeps others from changing its shape.
        cursor.execute("SELECT COUNT(*) FROM resource")
        preparing = ensureDeferred(database.prepare())
        while not await deferToThread(waits_for_a_table, mysql, 1000):
            assert not preparing.called
        other.rollback()
    await preparing
    assert kept(mysql) == (RESOURCES, DATA)


@pytest.mark.deadline(360)
async def test_stopped_in_the_middle(mysql: MySQLBackend) -> None:
    """A daemon that is told to stop does not first wait for the end of a migration that takes long."""
    original(mysql)
    fill(mysql, RESOURCES, DATA)
    program = (
        "from twisted.internet import reactor\n"
        "from twisted.internet.defer import ensureDeferred\n"
        "from resourced.config import MySQLSettings\n"
        "from resourced.storage.sql.executor import Database\n"
        "from resourced.storage.sql.mysql import MySQL\n"
        f"settings = MySQLSettings('127.0.0.1', {mysql.server.port}, {mysql.name!r}, 'root', '')\n"
        "database = Database(reactor, MySQL(settings, 0.2))\n"
        "reactor.addSystemEventTrigger('before', 'shutdown', lambda: ensureDeferred(database.close()))\n"
        "reactor.callWhenRunning(lambda: ensureDeferred(database.prepare()))\n"
        "reactor.run()\n"
    )

    def stop_while_it_waits() -> None:
        with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL) as daemon:
            while not waits_for_a_table(mysql):
                assert daemon.poll() is None
            daemon.terminate()
            # A migration has an hour.
            daemon.wait(300)

    with closing(mysql.server.connect(mysql.name, autocommit=False)) as other, other.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM resource")
        await deferToThread(stop_while_it_waits)
        other.rollback()
    await mysql.database().prepare()
    assert kept(mysql) == (RESOURCES, DATA)


def waits_for_a_table(mysql: MySQLBackend, milliseconds: int = 0) -> bool:
    """Whether somebody waits to change a table that others are looking at."""
    return bool(
        mysql.server.run(
            "SELECT 1 FROM information_schema.processlist "
            "WHERE db = %s AND state LIKE 'Waiting for table metadata%%' AND time_ms > %s",
            mysql.name,
            milliseconds,
        )
    )


async def test_unreachable_on_start(mysql: MySQLBackend) -> None:
    """A frozen server ends the start within the timeout, with a sentence that says where it is."""
    from twisted.internet import reactor

    from resourced.errors import StoreUnavailable

    settings = MySQLSettings("127.0.0.1", mysql.server.port, mysql.name, "root", "")
    database = Database(reactor, MySQL(settings, 0.3))
    mysql.databases.append(database)
    mysql.server.freeze()
    try:
        with pytest.raises(StoreUnavailable) as raised:
            await database.prepare()
    finally:
        mysql.server.thaw()
    assert str(mysql.server.port) in raised.value.sentence
    # It can be used as soon as it answers in time, which a busy machine does not always do at once.
    for _ in range(200):
        with suppress(StoreUnavailable):
            await database.prepare()
            break
    else:
        pytest.fail("it cannot be used again")


async def test_sqlite_is_all_or_nothing(backend: Backend) -> None:
    """In SQLite a migration that fails leaves no trace, so the next start has nothing to repair."""
    if not isinstance(backend, SQLiteBackend):
        return
    with closing(sqlite3.connect(backend.path)) as connection:
        connection.execute("CREATE TABLE place (town TEXT)")
    with pytest.raises(ConfigurationError):
        await backend.database().prepare()
    assert tables(backend) == ["place"]
    backend.rows("DROP TABLE place")
    await lead(SQLStore(await prepared(backend)))


async def prepared(backend: Backend) -> Database:
    database = backend.database()
    await database.prepare()
    return database


@pytest.mark.parametrize("dialect", ["mysql", "sqlite"])
def test_numbers(dialect: str) -> None:
    """Each version has one file, by whose number it is known."""
    numbers = sorted(
        int(file.name[:3]) for file in (files("resourced") / "schema" / dialect).iterdir() if file.name.endswith(".sql")
    )
    assert numbers == list(range(1, len(numbers) + 1))


def test_split() -> None:
    """A statement ends with a semicolon at the end of a line, and a comment has a line of its own."""
    text = "-- a; b;\nCREATE TABLE a (\n  -- c;\n  b INT);\n\nINSERT INTO a VALUES (';'), ('--');\n-- end"
    assert split(text) == ["CREATE TABLE a (\n  b INT)", "INSERT INTO a VALUES (';'), ('--')"]
    assert split("SELECT 1;") == ["SELECT 1"]
