"""``resourced move``: a store of one kind becomes one of the other, whole or not at all."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from resourced.config import MySQLSettings, SQLiteSettings
from resourced.errors import ConfigurationError
from resourced.service import move as moving
from resourced.storage.sql.migration import UNFINISHED, prepare
from resourced.storage.sql.mysql import MySQL
from resourced.storage.sql.sqlite import SQLite
from tests import preloaded
from tests.beating import beating
from tests.daemon import Daemon
from tests.documents import read_blocks
from tests.mariadb import MariaDB
from tests.preloaded import RESOURCED
from tests.stores import mariadb_fixture  # noqa: F401 - a fixture

PAGE = Path(__file__).parent.parent.parent / "docs" / "how-to" / "backup.rst"
COMMANDS = {block.caption: block.text.split()[1:] for block in read_blocks(PAGE.read_text(), "docs/how-to/backup.rst")}
A4 = "/resource/printer/A4"


@pytest.fixture
def environ(mariadb: MariaDB) -> Iterator[dict[str, str]]:
    """Return the settings of a MySQL store that is not there yet."""
    mariadb.run("DROP DATABASE IF EXISTS moved")
    yield {"MYSQL_PORT": str(mariadb.port), "MYSQL_DATABASE": "moved", "PATH": os.environ["PATH"]}
    mariadb.run("DROP DATABASE IF EXISTS moved")


def run(folder: Path, environ: dict[str, str], caption: str) -> subprocess.CompletedProcess[str]:
    """Do what the page says."""
    return preloaded.run([*RESOURCED, *COMMANDS[caption]], cwd=folder, env=environ, timeout=120)


def sqlite(path: Path) -> SQLite:
    return SQLite(SQLiteSettings(str(path)), 5.0)


def mysql(mariadb: MariaDB) -> MySQL:
    return MySQL(MySQLSettings("127.0.0.1", mariadb.port, "moved", "root", ""), 5.0)


def picture(dialect: Any) -> dict[str, list[Any]]:
    """Return all rows of what is moved, by table."""
    with ExitStack() as exits:
        side = moving.Side(dialect, exits)
        return {table.name: sorted(row for rows in side.each(table) for row in rows) for table in moving.TABLES}


def fill(daemon: Daemon) -> tuple[int, str, str]:
    """Do what leaves all kinds of rows, with odd names and data; return a fence, and tickets of a lock and of a place."""
    for name, path in (("printer", "printer"), ("café ☃", "caf%C3%A9%20%E2%98%83"), ("gone", "gone")):
        daemon.post("/resource", json.dumps({"name": name, "timeout": 7}))
        for selector in ("A4", "a4", "A4%20", "%F0%9F%96%A8", "x'%5C%22"):
            unit = f"/resource/{path}/{selector}"
            ticket = daemon.post(f"{unit}/lock", headers={"x-owner": "Größe".encode().decode("latin-1")}).ticket
            assert (
                daemon.put(
                    f"{unit}?unlock=1", '{"é \\\\ \'": [1.50, null, "' + "x" * 3000 + '"]}', ticket=ticket
                ).status
                == 204
            )
    assert daemon.request("DELETE", "/resource/gone").status == 204
    held, waits = daemon.post(f"{A4}/lock"), daemon.post(f"{A4}/lock")
    lost = daemon.post("/resource/printer/lost/lock")
    assert daemon.request("DELETE", f"/resource/printer/lost/lock?fence={lost.fence}&reason=it%20hung").status == 204
    return lost.fence, held.ticket, waits.ticket


def give_cards(path: Path) -> None:
    """Let some selectors be units, of which two resources have the same."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for resource in ("printer", "caf\u00e9 \u2603"):
            for selector, out in (("A4", None), ("\u00c14", "cracked \u2603")):
                connection.execute(
                    "INSERT INTO card VALUES (?, ?, 'a3 \u00e9t\u00e9', 'left shelf', ?, 5)", (resource, selector, out)
                )


def count_use(path: Path) -> None:
    """Let some use be counted, as housekeeping does."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for name in ("A4", "Größe"):
            row = ("printer", 20_000, int(name != "A4"), name, 1, 0.1 + 0.2, 0, 0, 0.5, 1, *[0] * 11)
            connection.execute(f"INSERT INTO usage_day VALUES ({', '.join('?' * len(row))})", row)
        connection.execute("UPDATE usage_mark SET event = 1")


def test_there_and_back(tmp_path, mariadb, environ):
    """All but running locks is the same in MySQL, and in SQLite again; fences and ids go on, and whoever had a lock is told that it is lost."""
    path = tmp_path / "resourced.sqlite"
    with Daemon(tmp_path) as daemon:
        fence, held, waits = fill(daemon)
        # While it is served nothing is moved.
        outcome = run(tmp_path, environ, "move")
        assert (outcome.returncode, outcome.stdout) == (1, "")
        assert outcome.stderr.startswith("resourced move: A daemon serves SQLite")
        daemon.kill()
        give_cards(path)
        count_use(path)
        before = picture(sqlite(path))
        assert all(before.values())

        outcome = run(tmp_path, environ, "move")
        assert outcome.returncode == 0, outcome.stderr
        assert "2 locks and places in queues were left behind" in outcome.stdout
        after = picture(mysql(mariadb))
        # Nothing is counted again.
        assert mariadb.run("SELECT event FROM moved.usage_mark") == [(1,)]
        assert {
            name: rows[: len(before[name])] if name in {"event", "loss"} else rows for name, rows in after.items()
        } == before
        assert picture(sqlite(path)) == before
        # Into what is not empty nothing is moved, whichever way.
        outcome = run(tmp_path, environ, "move")
        assert (outcome.returncode, "is not empty" in outcome.stderr) == (1, True)

        daemon.environ = {"RESOURCED_STORE": "mysql", **environ}
        daemon.start()
        for ticket in (held, waits):
            assert daemon.put(A4, "1", ticket=ticket).status == 410
        assert [e["event"] for e in daemon.get(f"{A4}/events?limit=2").json["events"]] == ["break", "break"]
        assert daemon.post(f"{A4}/lock").fence > fence
        outcome = run(tmp_path, environ, "move back")
        assert (outcome.returncode, "A daemon serves MySQL" in outcome.stderr) == (1, True)
        daemon.terminate()
        with beating(mariadb, "moved"):
            outcome = run(tmp_path, environ, "move back")
            assert (outcome.returncode, "A daemon serves MySQL" in outcome.stderr) == (1, True)
        assert not (tmp_path / "again.sqlite").exists()

        there = picture(mysql(mariadb))
        outcome = run(tmp_path, environ, "move back")
        assert outcome.returncode == 0, outcome.stderr
        again = tmp_path / "again.sqlite"
        assert again.stat().st_mode & 0o077 == 0
        back = picture(sqlite(again))
        assert {
            name: rows[: len(there[name])] if name in {"event", "loss"} else rows for name, rows in back.items()
        } == there
        daemon.environ = {"RESOURCED_STORE": "sqlite:again.sqlite"}
        daemon.start()
        assert daemon.get(f"{A4}?lock=0").status == 200
        assert daemon.post("/resource/printer/A5/lock").fence > fence + 1
        daemon.terminate()


def test_killed_in_the_middle(tmp_path, mariadb, environ):
    """A move that is killed, however much is there already, leaves a target that no daemon takes, and no second move; nothing happens to the source."""
    with Daemon(tmp_path) as daemon:
        fill(daemon)
        daemon.terminate()
        before = picture(sqlite(tmp_path / "resourced.sqlite"))
        prepare(mysql(mariadb), 1 << 20)
        with mariadb.connect("moved", autocommit=False) as connection, connection.cursor() as cursor:
            # Its last transaction waits for this, so it is killed when all is copied, and compared.
            cursor.execute("SELECT * FROM server FOR UPDATE")
            process = preloaded.start(
                [*RESOURCED, *COMMANDS["move"]], cwd=tmp_path, env=environ, stdout=subprocess.PIPE, text=True
            )
            with process:
                assert process.stdout is not None
                assert [process.stdout.readline().partition(":")[0] for _ in moving.TABLES] == [
                    table.name for table in moving.TABLES
                ]
                process.kill()
        assert mariadb.run("SELECT version FROM moved.schema_version") == [(UNFINISHED,)]
        outcome = run(tmp_path, environ, "move")
        assert (outcome.returncode, "that was cut short" in outcome.stderr) == (1, True)
        daemon.environ = {"RESOURCED_STORE": "mysql", **environ}
        daemon.launch()
        assert daemon.wait(60) == 1
        assert "that was cut short" in daemon.log
        assert picture(sqlite(tmp_path / "resourced.sqlite")) == before
        mariadb.run("DROP DATABASE moved")
        assert run(tmp_path, environ, "move").returncode == 0


def test_cut_short_at_each_table(tmp_path, mariadb, environ, monkeypatch):
    """Wherever it is cut short after it began to write, no daemon and no move takes the target."""
    source, target = sqlite(tmp_path / "resourced.sqlite"), mysql(mariadb)
    with Daemon(tmp_path) as daemon:
        fill(daemon)
        daemon.terminate()
    written = moving.Side.commit
    for most in range(1, 9):
        mariadb.run("DROP DATABASE IF EXISTS moved")
        count = 0

        def commit(side: moving.Side, most: int = most) -> None:
            nonlocal count
            written(side)
            if side.dialect is target:
                count += 1
            if count > 3 + most:
                raise KeyboardInterrupt

        monkeypatch.setattr(moving.Side, "commit", commit)
        try:
            moving.move(source, target, 1 << 20, lambda _: None)
        except KeyboardInterrupt:
            done = False
        else:
            done = True
        monkeypatch.setattr(moving.Side, "commit", written)
        if done:
            prepare(target, 1 << 20)
            break
        [(version,)] = mariadb.run("SELECT version FROM moved.schema_version WHERE id = 1")
        if version == UNFINISHED:
            with pytest.raises(ConfigurationError, match="cut short"):
                prepare(target, 1 << 20)
            with pytest.raises(ConfigurationError, match="cut short"):
                moving.move(source, target, 1 << 20, lambda _: None)
    else:
        assert version == UNFINISHED


def test_a_row_that_differs(tmp_path, mariadb, environ, monkeypatch):
    """A row that does not arrive as it was sent is noticed, and the target is no store then."""
    source, target = sqlite(tmp_path / "resourced.sqlite"), mysql(mariadb)
    with Daemon(tmp_path) as daemon:
        fill(daemon)
        daemon.terminate()
    insert = moving.Side.insert

    def spoiled(side: moving.Side, table: moving.Table, rows: list[Any]) -> None:
        if table.name == "resource_data":
            rows = [
                (*row[:3], row[3].replace("1.50", "1.5"), row[4]) if number == 3 else row
                for number, row in enumerate(rows)
            ]
        insert(side, table, rows)

    monkeypatch.setattr(moving.Side, "insert", spoiled)
    with pytest.raises(ConfigurationError, match="not all rows are the same"):
        moving.move(source, target, 1 << 20, lambda _: None)
    with pytest.raises(ConfigurationError, match="cut short"):
        prepare(target, 1 << 20)


def test_what_is_read_to_compare(tmp_path, mariadb, environ, monkeypatch):
    """However many selectors one resource has, each of them is read once to be compared."""
    source, target = sqlite(tmp_path / "resourced.sqlite"), mysql(mariadb)
    prepare(source, 1 << 20)
    count = 5 * moving.ROWS
    with closing(sqlite3.connect(source.settings.path)) as connection:
        connection.execute("INSERT INTO resource (id, name) VALUES ('r1', 'printer')")
        rows = [(f"d{number}", "r1", f"s{number}", "1") for number in range(count)]
        connection.executemany("INSERT INTO resource_data (id, id_resource, selector, data) VALUES (?, ?, ?, ?)", rows)
        connection.commit()
    query = moving.Side.query
    read = 0

    def counting(side: moving.Side, statement: str, values: Any = ()) -> list[moving.Row]:
        nonlocal read
        found = query(side, statement, values)
        if "FROM resource_data" in statement and "COUNT" not in statement:
            read += len(found)
        return found

    monkeypatch.setattr(moving.Side, "query", counting)
    moving.move(source, target, 1 << 20, lambda _: None)
    assert read == count


def test_every_column_is_moved(tmp_path, mariadb, environ):
    """There is no table and no column that a later schema has and that is left behind."""
    lite, big = sqlite(tmp_path / "resourced.sqlite"), mysql(mariadb)
    for dialect in (lite, big):
        prepare(dialect, 1 << 20)
    moved = {table.name: set(table.columns) for table in moving.TABLES}
    own = {"server", "partition_owner", "place", "joint_request", "schema_version", "usage_mark"}
    connection = lite.connect(writes=False)
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    columns = {name: {row[1] for row in connection.execute(f"PRAGMA table_info({name})")} for name in tables}
    connection.close()
    assert {name: found for name, found in columns.items() if name not in own} == moved
    found: dict[str, set[str]] = {}
    for name, column in mariadb.run(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'moved'"
    ):
        found.setdefault(name, set()).add(column)
    found["resource_data"].remove("locked")
    assert {name: names for name, names in found.items() if name not in own} == moved


def test_what_cannot_be_moved(tmp_path, environ):
    """What is no store, or the same store, is not moved, and nothing is made."""
    outcome = run(tmp_path, environ, "move")
    assert (outcome.returncode, "There is nothing to move" in outcome.stderr) == (1, True)
    same = subprocess.run(
        [*RESOURCED, "move", "--from", "sqlite:a", "--to", "sqlite:a"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        check=False,
    )
    assert (same.returncode, b"one and the same" in same.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []
