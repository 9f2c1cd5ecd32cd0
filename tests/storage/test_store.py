"""The contract of the store on SQLite and on a real MariaDB server, by each way that commits go, and what holds for one of them only."""

from __future__ import annotations

import ast
import time
from contextlib import closing
from pathlib import Path

import pytest
from twisted.internet.defer import ensureDeferred
from twisted.internet.threads import deferToThread

from resourced.errors import (
    EpochLost,
)
from resourced.model import Batch, valid_name
from resourced.storage import sql_store
from resourced.storage.interface import Store
from resourced.storage.sql.statement import Statement
from resourced.storage.sql_store import SQLStore
from tests.leading import lead
from tests.storage.contract import *  # noqa: F403 - its tests
from tests.storage.contract import COMMITS, NAMES, pages
from tests.stores import (  # noqa: F401 - fixtures
    MySQLBackend,
    any_backend_fixture,
    backend_by_each_way_fixture,
    each_mysql_fixture,
    mariadb_fixture,
    mysql_fixture,
    place,
    write,
)

#: What commits only if there is something to do.
NEEDED_SELDOM = {"forget_usage", "sweep"}


#: What only reads, and what lets go of the store.
READS = {
    "events_before",
    "list_resources",
    "list_selectors",
    "find_resource",
    "read",
    "read_all",
    "events",
    "events_since",
    "newest_event",
    "weigh_events",
    "usage",
    "marks",
    "look",
    "ping",
    "close",
}


def test_every_way_to_commit_is_known() -> None:
    """What is added to the store is either known to write, and then tried below, or known to read."""
    assert {name for name in vars(Store) if not name.startswith("_")} == {*COMMITS, *READS, *NEEDED_SELDOM}


def test_nothing_is_written_past_the_leaders_row() -> None:
    """Of the statements of the store none is in a transaction that does not begin with the leader's row."""
    modules = Path(sql_store.__file__).parent.glob("sql_*.py")
    writers = {
        function.name
        for module in modules
        for function in ast.walk(ast.parse(module.read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and node.attr in {"write", "write_at_once"}
    }
    assert writers == {"_write", "begin_term", "commit"}


async def test_reign_waits_for_a_script_under_way(each_mysql: MySQLBackend) -> None:
    """The same where the server has got all statements at once: here the server itself is held up in the middle of them."""

    class SlowStore(SQLStore):
        def _script(self, *parts: object) -> list[Statement]:
            claim, found, *rest = super()._script(*parts)  # type: ignore[arg-type]
            return [claim, found, Statement("SET @slow = GET_LOCK('slow', 10)", ()), *rest]

    old = SlowStore((await each_mysql.store()).database)
    new = await each_mysql.store()
    await lead(old)
    with closing(each_mysql.server.connect()) as other, other.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK('slow', 0)")
        under_way = ensureDeferred(old.commit(Batch(7, [place(1)])))
        held_up = "SELECT 1 FROM information_schema.processlist WHERE db = %s AND state = 'User lock'"
        while not await deferToThread(each_mysql.rows, held_up, each_mysql.name):
            pass
        leading = ensureDeferred(lead(new))
        while not await deferToThread(each_mysql.server.lock_waits, each_mysql.name):
            await deferToThread(time.sleep, 0.15)
        assert not leading.called
    await under_way
    with pytest.raises(EpochLost):
        await leading
    snapshot = await lead(new)
    assert (snapshot.fence, snapshot.places) == (7, [place(1)])
    with pytest.raises(EpochLost):
        await old.commit(Batch(8, [place(2)]))


async def test_no_data_of_an_original_server(mysql: MySQLBackend) -> None:
    """A row of the original server whose data is NULL has none: it is not listed, and stands in nobody's way."""
    store = await mysql.store()
    await lead(store)
    printer = await store.create_resource("printer", 0)
    for number in range(10):
        data = "NULL" if number in {0, 3, 4, 5, 9} else "'1'"
        mysql.rows(
            f"INSERT INTO resource_data (id, id_resource, selector, data) VALUES ('{number}', %s, 's{number}', {data})",
            printer.id,
        )

    async def fetch(after: str, limit: int) -> list[str]:
        return await store.list_selectors(printer, "", after, limit)

    for limit in (1, 2, 3, 5, 20):
        assert await pages(fetch, limit) == ["s1", "s2", "s6", "s7", "s8"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        ("x" * 256, "255"),
        (".", "'.'"),
        ("..", "'..'"),
        ("a\x00", "control"),
        ("\n", "control"),
        ("\x7f", "control"),
        ("\x9f", "control"),
        ("\ud800", "Unicode"),
        *[(name, "") for name in [*NAMES, "...", ".a", "\u00a0", "\u200b", "\x20"]],
    ],
)
def test_valid_name(name: str, reason: str) -> None:
    """A name that cannot be kept or sent is told why; every other one is fine."""
    assert reason in valid_name(name)
    assert bool(valid_name(name)) == bool(reason)
