"""A real daemon on the database of the original server, which it finds by nothing but that server's variables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from resourced.storage.sql.migration import EXACT_NAMES, _migrate_to, migrations
from tests.daemon import LOCK, Daemon
from tests.mariadb import MariaDB

GUIDE = Path(__file__).parent.parent.parent / "docs/how-to/mysql.rst"
DATABASE = "small_swoole_resource"

#: As the original server makes them.
TABLES = (
    """
    CREATE TABLE resource (
        id varchar(255) NOT NULL PRIMARY KEY,
        name varchar(255) NOT NULL UNIQUE,
        timeout int
    ) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4
    """,
    """
    CREATE TABLE resource_data (
        id varchar(255) NOT NULL PRIMARY KEY,
        id_resource varchar(255) NOT NULL,
        selector varchar(255) NOT NULL,
        locked tinyint(1) NOT NULL DEFAULT 0,
        data longtext,
        UNIQUE KEY id_resource_selector (id_resource, selector),
        FOREIGN KEY (id_resource) REFERENCES resource (id)
    ) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4
    """,
)
RESOURCES = (
    ("5f3c0c5e-6a8f-4c3b-9d1e-0a1b2c3d4e5f", "printer", 7),
    ("r-2", "Büro", 0),
    ("r-3", "日本 / 東京 %2F", None),
    ("R 4", "x" * 255, 86400),
    ("r-5", "😀" * 63, 1),
)
DATA = (
    ("1", RESOURCES[0][0], "A4", 0, '{"status":"ready","n":1.0,"é":"\\u00e9 😀"}'),
    ("2", RESOURCES[0][0], "Á5", 1, '{"paper":   "a lot",\r\n\t"twice": 1, "twice": 2}'),
    ("3", "r-2", "A4", 0, "not JSON: 'quoted' \"twice\" \\ %s \u2028 \U0001f5a8"),
    ("4", "r-2", "Ça va", 1, "[" + "1234567890," * 20_000 + "0]"),
    ("5", "r-3", "?#&=+;", 0, "\x00\x01\x7f"),
    ("6", "R 4", "y" * 255, 0, ""),
    ("7", "r-5", "null", 0, None),
)


@pytest.fixture(scope="module")
def server():
    with MariaDB() as mariadb:
        yield mariadb


@pytest.fixture
def mariadb(server):
    """A server with no database of ours and no user of ours."""
    server.run(f"DROP DATABASE IF EXISTS {DATABASE}")
    server.run("DROP USER IF EXISTS resourced@'%'")
    return server


#: As an original server that was in use leaves them: selectors stand as they stood in the URL. The last column is what they are here.
ADOPTED = (("01A", "printer", 300), ("01B", "queue", 3), ("01C", "clash", 60))
ENCODED = (
    ("02A", "01A", "A4", '{"n":1}', "A4"),
    ("02B", "01A", "order%3A17", "[1,2,3]", "order:17"),
    ("02C", "01A", "a%20b%2Fc", '"x"', "a b/c"),
    ("02D", "01A", "%C3%A9t%C3%A9", '"y"', "été"),
    ("02E", "01A", "100%25", '"z"', "100%"),
    ("02F", "01A", "50%", '"w"', "50%"),
    ("02G", "01A", "%FF", '"v"', "%FF"),
    ("02H", "01B", "main", "null", "main"),
    ("02K", "01A", "100%2525", '"once"', "100%25"),
    ("02L", "01A", "bell%07", '"u"', "bell%07"),
    ("02M", "01A", "%2E%2E", '"t"', "%2E%2E"),
    ("02N", "01A", "%41" * 85, '"s"', "A" * 85),
)
CLASH = (("02I", "01C", "a%3Ab", "1", "a:b"), ("02J", "01C", "a:b", "2", "a:b"))


def fill(
    mariadb: MariaDB, resources: tuple[tuple[Any, ...], ...] = RESOURCES, data: tuple[tuple[Any, ...], ...] = DATA
) -> None:
    """Make the database of an original server that was in use for a while."""
    # What Debian's server has as the default, which the tables then do not.
    mariadb.run(f"CREATE DATABASE {DATABASE} CHARACTER SET latin1")
    for table in TABLES:
        mariadb.run(table, database=DATABASE)
    for row in resources:
        mariadb.run("INSERT INTO resource VALUES (%s, %s, %s)", *row, database=DATABASE)
    for row in data:
        mariadb.run("INSERT INTO resource_data VALUES (%s, %s, %s, %s, %s)", *row, database=DATABASE)


def contents(mariadb: MariaDB) -> dict[str, Any]:
    """Return everything there is in the database."""
    tables = [table for (table,) in mariadb.run("SHOW TABLES", database=DATABASE)]
    return {
        table: [
            mariadb.run(f"SHOW CREATE TABLE {table}", database=DATABASE),
            mariadb.run(f"SELECT * FROM {table} ORDER BY 1", database=DATABASE),
        ]
        for table in tables
    }


def variables(mariadb: MariaDB, user: str = "root", password: str = "") -> dict[str, str]:
    return {
        "MYSQL_HOST": "127.0.0.1",
        "MYSQL_PORT": str(mariadb.port),
        "MYSQL_DATABASE": DATABASE,
        "MYSQL_USER": user,
        "MYSQL_PASSWORD": password,
    }


def rows(encoded: tuple[tuple[str, ...], ...]) -> tuple[tuple[Any, ...], ...]:
    """What stands in the table of the original server."""
    return tuple((id_, resource, stored, 0, data) for id_, resource, stored, data, _ in encoded)


def path(*names: str) -> str:
    return "/".join(["/resource", *(quote(name, safe="") for name in names)])


def test_every_row_is_served(tmp_path, mariadb):
    """Every row is served byte for byte under its old ids and its exact names, and old timeouts are the leases."""
    fill(mariadb)
    with Daemon(tmp_path, variables(mariadb)) as daemon:
        for id_, id_resource, selector, _, data in DATA:
            [(name, timeout)] = [(name, timeout) for known, name, timeout in RESOURCES if known == id_resource]
            target = path(name, selector)
            answer = daemon.get(target, key=LOCK)
            if data is None:
                assert answer.code == "no_data"
                continue
            assert answer.json == {"id": id_, "idResource": id_resource, "selector": selector, "data": data}
            assert daemon.get(f"{target}?raw=1", ticket=answer.ticket).body == data.encode()
            assert answer.headers["x-lease"] == str(timeout or 300)
            assert daemon.put(f"{target}?unlock=1", '"new"', ticket=answer.ticket).status == 204
            changed = daemon.get(f"{target}?lock=0").json
            assert changed == {"id": id_, "idResource": id_resource, "selector": selector, "data": '"new"'}


def test_names_are_exact_from_then_on(tmp_path, mariadb):
    """What the old tables took for one name are different names now: in another case, with another accent, with a space."""
    fill(mariadb)
    with Daemon(tmp_path, variables(mariadb)) as daemon:
        for other in ("Printer", "prinţer", "printer ", "PRINTER"):
            assert daemon.get(path(other, "A4")).code == "unknown_resource"
            daemon.create(other)
        held = daemon.get(path("printer", "A4"), key=LOCK)
        for other in ("a4", "Á4", "A4 "):
            lock = daemon.get(path("printer", other), key=LOCK)
            assert lock.code == "no_data"
            assert daemon.put(path("printer", other), f'"{other}"', ticket=lock.ticket).status == 204
        for other in ("a4", "Á4", "A4 "):
            assert daemon.get(f"{path('printer', other)}?lock=0").json["data"] == f'"{other}"'
        assert daemon.get(path("printer", "A4"), ticket=held.ticket).json["data"] == DATA[0][4]
        assert daemon.post("/resource", '{"name": "printer"}').status == 409


def test_only_once(tmp_path, mariadb):
    """The next start finds its own tables, and what was written in between."""
    fill(mariadb)
    with Daemon(tmp_path, variables(mariadb)) as daemon:
        lock = daemon.get(path("printer", "A4"), key=LOCK)
        daemon.put(path("printer", "A4"), '"kept"', ticket=lock.ticket)
        daemon.terminate()
        before = contents(mariadb)
        daemon.start()
        after = contents(mariadb)
        # These are the leader's own row, the time that it saw pass, and what was used, which it may count later.
        for table in ("server", "event_mark", "usage_day", "usage_mark"):
            del before[table], after[table]
        assert after == before
        assert daemon.get(path("printer", "A4"), ticket=lock.ticket).json["data"] == '"kept"'


@pytest.mark.parametrize(
    ("resource", "selector", "named"),
    [
        ("two\nlines", "A4", "'two\\nlines'"),
        ("printer", "tab\tbed", "'tab\\tbed'"),
        ("..", "A4", "'..'"),
        ("", "A4", "the name ''"),
        ("printer", "", "the selector ''"),
    ],
)
def test_name_that_cannot_be_kept(tmp_path, mariadb, resource, selector, named):
    """A name that has no place in a path ends the start with a sentence that names its row, and nothing is changed."""
    fill(mariadb, ((*RESOURCES[1:], ("bad-r", resource, 5))), (("bad-d", "bad-r", selector, 0, "{}"),))
    before = contents(mariadb)
    log = Daemon(tmp_path, variables(mariadb)).fails()
    assert "cannot be taken over, and nothing in it was changed" in log
    assert named in log
    assert "bad-r" in log or "bad-d" in log
    assert "Traceback" not in log
    assert contents(mariadb) == before


@pytest.mark.parametrize("found", ["no database", "an empty database", "an old database"])
def test_rights(tmp_path, mariadb, found):
    """A user with the rights that the guide gives, on that one database, is enough for the first start and all that follows."""
    grant = re.search(r"GRANT ([A-Z, \n]+) ON", GUIDE.read_text())
    assert grant is not None
    mariadb.run("CREATE USER resourced@'%' IDENTIFIED BY 'of the house'")
    mariadb.run(f"GRANT {grant[1]} ON {DATABASE}.* TO resourced@'%'")
    if found == "an empty database":
        mariadb.run(f"CREATE DATABASE {DATABASE}")
    elif found == "an old database":
        fill(mariadb)
    with Daemon(tmp_path, variables(mariadb, "resourced", "of the house")) as daemon:
        daemon.create("stapler")
        for _ in range(2):
            holder = daemon.post("/resource/stapler/S1/lock")
            assert holder.status == 200
            waiter = daemon.get("/resource/stapler/S1")
            assert waiter.status == 202
            assert daemon.put("/resource/stapler/S1", '"used"', ticket=holder.ticket).status == 204
            assert daemon.post("/resource/stapler/S1/unlock", ticket=holder.ticket).json == {"unlocked": True}
            next_waiter = daemon.get("/resource/stapler/S1", ticket=waiter.ticket)
            assert (next_waiter.status, next_waiter.json["data"]) == (200, '"used"')
            assert daemon.post("/resource/stapler/S1/unlock", ticket=waiter.ticket).json == {"unlocked": True}
            daemon.terminate()
            daemon.start()
        if found == "an old database":
            assert daemon.get(path("printer", "A4")).json["data"] == DATA[0][4]


def test_selectors_are_decoded_only_once(tmp_path, mariadb):
    """
    A daemon that comes to it a moment after another one decodes nothing.

    At one server they wait for each other; but those at two nodes of a cluster may both have found that it has to be done.
    """
    fill(mariadb, ADOPTED, rows(ENCODED))
    with Daemon(tmp_path, variables(mariadb)) as daemon:
        daemon.terminate()
    before = contents(mariadb)["resource_data"]
    with mariadb.connect(database=DATABASE) as connection, connection.cursor() as cursor:
        _migrate_to(connection, cursor, EXACT_NAMES, migrations("mysql")[EXACT_NAMES - 1])
    assert contents(mariadb)["resource_data"] == before


def test_selectors_are_decoded(tmp_path, mariadb):
    """
    A selector that the original server kept percent-encoded is found by the same URL as there.

    What cannot be decoded keeps its name, which the log tells with the URL for it. The next start decodes nothing again.
    """
    fill(mariadb, ADOPTED, rows(ENCODED))
    with Daemon(tmp_path, variables(mariadb)) as daemon:
        for _ in range(2):
            for id_, resource, _, data, name in ENCODED:
                [owner] = [known for number, known, _ in ADOPTED if number == resource]
                found = daemon.get(f"{path(owner, name)}?lock=0").json
                assert (found["id"], found["selector"], found["data"]) == (id_, name, data)
            assert daemon.get(f"/resource/{'printer'}/order%3A17?lock=0").json["id"] == "02B"
            daemon.terminate()
            daemon.start()
        for row, stored, url in (
            ("02G", "%FF", "%25FF"),
            ("02L", "bell%07", "bell%2507"),
            ("02M", "%2E%2E", "%252E%252E"),
        ):
            assert daemon.log.count(f"row {row}, the selector '{stored}' is kept as it is") == 1
            assert f"Ask for it as {url}." in daemon.log
            assert daemon.get(f"/resource/printer/{url}?lock=0").json["id"] == row
        assert "row 02F" not in daemon.log
        assert daemon.log.count("'queue' 3 s") == 1
        for other in ("'printer' ", "'clash' "):
            assert other not in daemon.log


def test_selectors_that_collide(tmp_path, mariadb):
    """Two selectors that would be one end the start with a sentence that names both rows, and nothing is changed."""
    fill(mariadb, ADOPTED, rows(ENCODED + CLASH))
    before = contents(mariadb)
    log = Daemon(tmp_path, variables(mariadb)).fails()
    assert "cannot be taken over, and nothing in it was changed" in log
    for word in ("02I", "02J", "'a%3Ab'", "'a:b'", "01C"):
        assert word in log
    assert "Traceback" not in log
    assert contents(mariadb) == before


def test_way_back(tmp_path, mariadb):
    """
    The original server finds in the tables what its URLs need no percent-encoding for, and can add to it; not the others.

    So say the docs of the way back; this asks and adds as that server does.
    """
    fill(mariadb, ADOPTED, rows(ENCODED))
    with Daemon(tmp_path, variables(mariadb)) as daemon:
        held = daemon.get(path("printer", "A4"), key=LOCK)
        assert daemon.put(path("printer", "A4"), '"since"', ticket=held.ticket).status == 204

    def asked(selector: str) -> Any:
        return mariadb.run(
            "SELECT d.data FROM resource_data AS d INNER JOIN resource AS r ON d.id_resource = r.id "
            "WHERE r.name = %s AND d.selector = %s",
            "printer",
            selector,
            database=DATABASE,
        )

    assert asked("A4") == [('"since"',)]
    assert asked("order%3A17") == []
    mariadb.run("INSERT INTO resource (id, name, timeout) VALUES ('01Z', 'new', 5)", database=DATABASE)
    mariadb.run(
        "INSERT INTO resource_data (id, id_resource, selector, locked, data) VALUES ('02Z', '01Z', 'A4', 0, '1')",
        database=DATABASE,
    )
