"""What statements cost: how many rows the database looks at, by what it says itself, whatever there is beside them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing
from typing import Any, cast

import pytest

from resourced.model import Batch, LockKey, Resource
from resourced.storage import statements
from resourced.storage.spelling import SPELLINGS
from resourced.storage.sql.executor import Database
from resourced.storage.sql.pool import Transaction, Work
from resourced.storage.sql_store import SQLStore
from tests.leading import lead
from tests.stores import (  # noqa: F401 - fixtures
    Backend,
    MySQLBackend,
    backend_by_each_way_fixture,
    each_mysql_fixture,
    give,
    holder,
    mariadb_fixture,
    mysql_fixture,
    place,
    write,
)

STATEMENTS = {
    "find": ("SELECT id, name, timeout, resource_group, longest, slots FROM resource WHERE name = 'n500'", "resource"),
    "read": (
        (
            "SELECT 0 AS number, r.id, d.id, d.data, d.version FROM resource AS r "
            "LEFT JOIN resource_data AS d ON d.id_resource = r.id AND d.selector = 's500' AND d.data IS NOT NULL "
            "WHERE r.name = 'n500'"
        ),
        "resource_data",
    ),
    "judge": ("SELECT seq FROM place WHERE seq IN (500, 501)", "place"),
    "judge at once": (
        (
            "SELECT COUNT(*) FROM place WHERE seq IN (500, 501) AND standing IN (1, 2) AND "
            "(seq, resource, selector, ticket, fence) IN ((500, 'n', 's', 't', 0), (501, 'n', 's', 't', 0))"
        ),
        "place",
    ),
    "forget": ("DELETE FROM place WHERE seq IN (500, 501)", "place"),
    "swept": ("DELETE FROM resource_data WHERE id_resource = 'i500' AND selector = 's500'", "resource_data"),
    "term": ("UPDATE server SET fence = 5 WHERE id = 1 AND epoch = 1 AND owner = 'x'", "server"),
}


@pytest.mark.parametrize("what", STATEMENTS)
async def test_cost_does_not_grow(backend: Backend, what: str) -> None:
    """With a thousand resources, selectors and places, each statement comes to its rows by an index."""
    await backend.store()
    backend.rows("DELETE FROM server")
    for table, row in (
        ("resource (id, name, timeout)", "('i{0}', 'n{0}', 0)"),
        ("resource_data (id, id_resource, selector, data)", "('d{0}', 'i{0}', 's{0}', '1')"),
        (
            "place (seq, resource, selector, ticket, standing, fence, owner, idempotency_key)",
            "({0}, 'n', 's', 't', 0, 0, '', '')",
        ),
        ("server (id, epoch, owner, fence)", "({0}, 1, 'x', 0)"),
    ):
        count = 100 if table.startswith("server") else 1000
        backend.rows(f"INSERT INTO {table} VALUES " + ", ".join(row.format(number) for number in range(count)))
    statement, table = STATEMENTS[what]
    if backend.kind == "mysql":
        backend.rows(f"ANALYZE TABLE {table}")
        for plan in backend.rows(f"EXPLAIN {statement}"):
            key, examined = plan[5], plan[8]
            assert key is not None
            assert int(examined) <= 2
    else:
        plans = [row[3] for row in backend.rows(f"EXPLAIN QUERY PLAN {statement}")]
        assert plans
        assert all(plan.startswith(("SEARCH", "LIST SUBQUERY", "SCAN 2 CONSTANT ROWS")) for plan in plans), plans


class Explained:
    """A database that notes what it is asked to read."""

    def __init__(self, database: Database) -> None:
        self.dialect = database.dialect
        self._database = database
        self.asked: list[tuple[str, Sequence[Any]]] = []

    async def read(self, work: Work[list[tuple[Any, ...]]]) -> list[tuple[Any, ...]]:
        return await self._database.read(lambda transaction: work(cast(Transaction, Noted(self, transaction))))

    async def plan(self) -> list[str]:
        """Say how the last statement comes to its rows."""
        statement, parameters = self.asked[-1]
        explain = "EXPLAIN QUERY PLAN" if self.dialect.name == "sqlite" else "EXPLAIN"
        rows = await self._database.read(lambda transaction: transaction.query(f"{explain} {statement}", parameters))
        if self.dialect.name == "sqlite":
            return [row[3] for row in rows]
        return [f"{way} {key} {extra}" for _, _, _, way, _, key, _, _, _, extra in rows]


class Noted:
    def __init__(self, explained: Explained, transaction: Transaction) -> None:
        self._explained = explained
        self._transaction = transaction

    def query(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        self._explained.asked.append((statement, parameters))
        return self._transaction.query(statement, parameters)


def reads(backend: Backend) -> int:
    """How many rows the server has come by until now, on its way through any index or table."""
    if not isinstance(backend, MySQLBackend):
        return 0
    rows = backend.server.run("SHOW GLOBAL STATUS WHERE Variable_name LIKE 'Handler_%%'")
    # To ask for these is to read a table too, which counts as the one that is left out.
    names = {"Handler_read_first", "Handler_read_key", "Handler_read_next", "Handler_read_rnd", "Handler_icp_attempts"}
    return sum(int(count) for name, count in rows if name in names)


@pytest.mark.parametrize("count", [30, 30_000])
async def test_pages_cost_what_they_show(backend: Backend, count: int) -> None:
    """A page of ten is one walk along an index, over ten rows, be there thirty names or many; so is the way to what is to be swept."""
    database = backend.database()
    await database.prepare()
    explained = Explained(database)
    store = SQLStore(cast(Database, explained))
    for first in range(0, count, 10_000):
        numbers = range(first, min(first + 10_000, count))
        rows = ", ".join(f"('i{number}', 'n{number:06}', 0)" for number in numbers)
        backend.rows(f"INSERT INTO resource (id, name, timeout) VALUES {rows}")
        rows = ", ".join(f"('d{number}', 'i0', 's{number:06}', '1')" for number in numbers)
        backend.rows(f"INSERT INTO resource_data (id, id_resource, selector, data) VALUES {rows}")
    if isinstance(backend, MySQLBackend):
        backend.rows("ANALYZE TABLE resource, resource_data")
    printer = Resource("i0", "n000000", 0)
    middle = f"{count // 2:06}"
    for prefix, after in (("", ""), ("", "000009"), ("", middle), ("0", ""), ("0", middle), (middle[:4], middle)):
        for what, letter in (("resources", "n"), ("selectors", "s")):
            bounds = (f"{letter}{prefix}" if prefix else "", f"{letter}{after}" if after else "")
            before = reads(backend)
            if what == "resources":
                page = [found.name for found in await store.list_resources(*bounds, 10)]
            else:
                page = await store.list_selectors(printer, *bounds, 10)
            assert reads(backend) - before <= 2 * len(page) + 4, (what, bounds)
            assert page
            if count > 30:
                # A server reads a short table as a whole.
                judge(backend, await explained.plan())
    assert await store.sweep() is False
    judge(backend, await explained.plan())


def judge(backend: Backend, plan: list[str]) -> None:
    """The one step of a plan is a walk along a part of an index."""
    (step,) = plan
    if backend.kind == "mysql":
        assert step.startswith("range "), step
        assert "filesort" not in step
    else:
        assert re.match(r"SEARCH \w+ USING INDEX \w+ \((id_resource=\? AND )?(name|selector)>\?", step), step


async def test_data_has_one_key(mysql: MySQLBackend) -> None:
    """Data is kept in the order in which it is asked for, and no other index has to be changed with it."""
    await mysql.database().prepare()
    keys = [(name, column) for _, _, name, _, column, *_ in mysql.rows("SHOW KEYS FROM resource_data")]
    assert keys == [("PRIMARY", "id_resource"), ("PRIMARY", "selector")]


async def test_a_write_changes_one_row(mysql: MySQLBackend) -> None:
    """What a write over older data logs is its change: no row is put in first, only to be taken out again."""
    store = await mysql.store()
    await lead(store)
    printer = await store.create_resource("printer", 0)

    def logged(start: int) -> int:
        """Write to ten selectors, a thousand times in one transaction; return the bytes of redo log."""
        with closing(mysql.server.connect(mysql.name, autocommit=False)) as connection, connection.cursor() as cursor:
            before = position(mysql)
            for number in range(start, start + 1000):
                held = holder(1, LockKey("printer", f"s{number % 10}"), fence=1)
                batch = Batch(1, writes=[write(held, printer.id, f"{number}")])
                for statement in statements.after(batch, SPELLINGS["mysql"].keep):
                    cursor.execute(*statement)
            connection.commit()
            return position(mysql) - before

    logged(1000)
    assert logged(2000) < 200 * 1000


def position(mysql: MySQLBackend) -> int:
    """Return how far the redo log is, in bytes."""
    [(_, number)] = mysql.server.run("SHOW GLOBAL STATUS LIKE 'Innodb_lsn_current'")
    return int(number)


async def test_statements_are_those_that_were_explained(each_mysql: MySQLBackend) -> None:
    """The statements whose cost is shown are the ones that the store sends."""
    store = await each_mysql.store()
    await lead(store)
    each_mysql.server.run("SET GLOBAL log_output = 'TABLE'")
    each_mysql.server.run("TRUNCATE TABLE mysql.general_log")
    each_mysql.server.run("SET GLOBAL general_log = 1")
    try:
        printer = await store.create_resource("printer", 0)
        held = holder(1, fence=1)
        await store.find_resource("printer")
        await give(store, held, printer.id, "1")
        await store.read(printer, "A4")
    finally:
        each_mysql.server.run("SET GLOBAL general_log = 0")
    log = each_mysql.server.run(
        "SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log WHERE command_type = 'Query'"
    )
    sent = [statement for (statements,) in log for statement in statements.split("; ")]
    for start in (
        "SELECT id, name, timeout, resource_group, longest, slots FROM resource WHERE name = ",
        "SELECT 0 AS number, r.id, d.id, d.data, d.version FROM resource AS r LEFT JOIN resource_data AS d ON d.id_resource = ",
        "SET @checked = 9223372036854775807 + IF((SELECT COUNT(*) FROM place WHERE seq IN (1) AND standing IN (1, 2) AND ",
        "DELETE FROM place WHERE seq IN (1)",
    ):
        assert any(statement.startswith(start) for statement in sent), start
    # Nothing but these, where a connection is there: no statement for an empty part, and no transaction around a read.
    assert len([statement for statement in sent if not statement.startswith(("SET ", "END", "SHOW "))]) == 3 + 1 + 5 + 1
