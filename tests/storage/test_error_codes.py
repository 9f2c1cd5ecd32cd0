"""What is made of the numbers with which real servers say no, at a real server that says them when it is told to."""

from __future__ import annotations

from typing import Any

import pymysql
import pytest

from resourced.config import MySQLSettings
from resourced.errors import StoreUnavailable
from resourced.model import Batch
from resourced.storage.sql.error_codes import meaning
from resourced.storage.sql.health import Fault
from resourced.storage.sql.mysql import MySQL
from resourced.storage.sql.pool import Transaction
from tests.leading import lead
from tests.stores import (  # noqa: F401 - fixtures
    TIMEOUT,
    DirectBackend,
    MySQLBackend,
    each_mysql_fixture,
    mariadb_fixture,
    mysql_fixture,
    place,
)
from tests.waiting import until_in_thread


@pytest.mark.parametrize(
    ("codes", "fault", "lost"),
    [
        (
            # Neither 9001, of ProxySQL, nor 3796 can be had from a server that tests start.
            (0, 1047, 1053, 1129, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 2003, 2013, 3032, 3100, 3796, 4031, 9001),
            Fault.UNREACHABLE,
            True,
        ),
        ((1290, 1792, 1836, 1874), Fault.READ_ONLY, True),
        ((1205, 1969, 3024, 3797), Fault.SILENT, False),
        ((1040, 1041, 1135, 1203, 1226), Fault.CROWDED, False),
    ],
)
def test_not_now(codes: tuple[int, ...], fault: Fault, lost: bool) -> None:
    """What may be over by and by is waited for: on another connection, if this one leads to a server that is not the one to be asked."""
    for code in codes:
        assert (meaning(code).fault, meaning(code).lost, meaning(code).passing) == (fault, lost, True), code


def test_what_may_be_done_again() -> None:
    """Only what is proven to be undone is done again after its commit was sent; 1180 proves that in a group only."""
    assert [code for code in range(10_000) if meaning(code).undone and meaning(code).again] == [1020, 1213, 3101]
    assert not meaning(1180).undone
    assert meaning(1180, group=True).undone
    assert meaning(1180, group=True).again
    assert not any(meaning(code).undone for code in (1047, 1205, 1317, 2013, 3100))


def test_what_somebody_has_to_change() -> None:
    """Nobody waits for what goes away only if somebody changes it."""
    assert not any(meaning(code).passing for code in (1044, 1045, 1064, 1130, 1146, 1665, 1698))


def refuse(backend: MySQLBackend, table: str, number: int, *, times: int = 1_000) -> None:
    """Let the server answer so many inserts into a table, on each connection, with an error of this number."""
    backend.rows(f"DROP TRIGGER IF EXISTS {table}_refused")
    if times:
        backend.rows(
            f"CREATE TRIGGER {table}_refused BEFORE INSERT ON {table} FOR EACH ROW BEGIN "
            f"SET @refused = COALESCE(@refused, 0) + 1; IF @refused <= {times} THEN "
            f"SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = 'not now'; END IF; END"
        )


@pytest.mark.parametrize("number", [1047, 3032])
async def test_connection_is_given_up(each_mysql: MySQLBackend, number: int) -> None:
    """A node without quorum, or a server that is offline, counts as unreachable, and the next try is made on a new connection."""
    store = await each_mysql.store()
    await lead(store)
    before = each_mysql.server.connections(each_mysql.name)
    refuse(each_mysql, "place", number)
    with pytest.raises(StoreUnavailable):
        await store.commit(Batch(1, [place(1)]))
    fault = store.database.fault()
    assert fault is not None
    assert fault.code == "store_unreachable"
    await until_in_thread(lambda: set(before) - set(each_mysql.server.connections(each_mysql.name)))
    refuse(each_mysql, "place", number, times=0)
    await lead(store)
    await store.commit(Batch(2, [place(2)]))
    assert [found.seq for found in (await lead(store)).places] == [2]


@pytest.mark.parametrize("number", [1213, 3101, 1317])
async def test_conflicts_are_tried_again(each_mysql: MySQLBackend, number: int) -> None:
    """What the server has undone because of somebody else is done once more, without a word, and is there once."""
    store = await each_mysql.store()
    await lead(store)
    refuse(each_mysql, "place", number, times=1)
    if number == 1317 and isinstance(each_mysql, DirectBackend):
        # Sent together with its commit nobody knows what became of it.
        with pytest.raises(StoreUnavailable):
            await store.commit(Batch(1, [place(1)]))
        await lead(store)
    await store.commit(Batch(1, [place(1)]))
    assert [found.seq for found in (await lead(store)).places] == [1]


@pytest.mark.parametrize(("number", "again"), [(1213, True), (3101, True), (1180, False), (1047, False), (1317, False)])
async def test_commit_that_fails(mysql: MySQLBackend, number: int, again: bool) -> None:
    """A commit that is proven to be undone is done anew; any other is not, because it may be done already."""

    class Refused(MySQL):
        """A server that refuses the first commit."""

        refusals = 1

        def connect(self, *, writes: bool) -> Any:
            connection = super().connect(writes=writes)
            if writes:
                commit = connection.commit

                def refused() -> None:
                    if self.refusals:
                        self.refusals -= 1
                        connection.rollback()
                        raise pymysql.OperationalError(number, "conflict")
                    commit()

                connection.commit = refused
            return connection

    mysql.dialect = lambda timeout=TIMEOUT: Refused(settings, timeout)  # type: ignore[method-assign]
    settings = MySQLSettings("127.0.0.1", mysql.server.port, mysql.name, "root", "")
    database = mysql.database()
    await database.prepare()
    runs: list[int] = []

    def work(transaction: Transaction) -> None:
        runs.append(1)
        transaction.execute("UPDATE server SET fence = fence + 1 WHERE id = 1")

    if again:
        await database.write(work)
    else:
        with pytest.raises(StoreUnavailable):
            await database.write(work)
    assert len(runs) == 1 + again
    assert mysql.rows("SELECT fence FROM server") == [(int(again),)]


async def test_binlog_of_statements(mysql: MySQLBackend) -> None:
    """A server that logs statements for its replicas is told by that name, at the start and later."""
    store = await mysql.store()
    await lead(store)
    refuse(mysql, "place", 1665)
    with pytest.raises(StoreUnavailable, match="binlog_format"):
        await store.commit(Batch(1, [place(1)]))
    fault = store.database.fault()
    assert fault is not None
    assert fault.code == "store_binlog_format"
