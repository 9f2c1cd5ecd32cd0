"""A daemon at a member of a group by MySQL's Group Replication: its conflicts are done again, what it reads is never old, and offline is away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from typing import Any, ClassVar

import pymysql
import pytest
import pytest_twisted

from resourced.errors import StoreUnavailable
from resourced.storage.sql.durability import durability
from resourced.storage.sql.error_codes import meaning
from resourced.storage.sql.health import Fault
from resourced.storage.sql.mysql import MySQL
from resourced.storage.sql.pool import Transaction
from tests.cluster import DATABASE, Careless, Made, fence, raise_fence
from tests.daemon import eventually
from tests.logged import log_lines
from tests.mysql9 import GROUP, Member, require

require()


@pytest.fixture(scope="module")
def members() -> Iterator[tuple[Member, Member]]:
    with Member(1) as first, Member(2) as second:
        seeds = [first.group_port, second.group_port]
        first.join(seeds, first=True)
        second.join(seeds)
        first.run(f"CREATE DATABASE {DATABASE}")
        # Not root: to root it does not apply that a server is offline or only reads. These are the rights that the guide asks for.
        first.run("CREATE USER keeper@'127.0.0.1'")
        rights = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, REFERENCES"
        first.run(f"GRANT {rights} ON {DATABASE}.* TO keeper@'127.0.0.1'")
        yield first, second


@pytest_twisted.async_yield_fixture
async def made() -> AsyncIterator[Made]:
    databases = Made("keeper")
    yield databases
    for database in databases:
        await database.close()


class Noting(MySQL):
    """A dialect that notes with which numbers commits have failed, and does something before it waits for the other members."""

    numbers: ClassVar[list[int]] = []
    meanwhile: ClassVar[Callable[[], object]]

    def catch_up(self, connection: Any) -> None:
        type(self).meanwhile()
        super().catch_up(connection)

    def is_undone(self, error: Exception) -> bool:
        self.numbers.append(self.code(error))
        return super().is_undone(error)


@pytest.mark.parametrize("number", [1180, 3101])
async def test_conflict_at_the_commit(members: tuple[Member, Member], made: Made, number: int) -> None:
    """
    A transaction that the group undoes at its commit is done anew, once and whole: whether what is in its way has come to this member already,
    which ends it, or is only known to come.
    """
    first, second = members
    await made.at(first)
    first.run(f"CREATE TABLE IF NOT EXISTS {DATABASE}.lag (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY)")
    here = await made.at(second, Noting)
    Noting.numbers.clear()
    assert f"a member of the group {GROUP}" in durability(here.dialect).sentence
    before = await here.read(fence)
    runs: list[int] = []
    with closing(second.connect()) as locked, locked.cursor() as cursor:
        if number == 3101:
            cursor.execute(f"LOCK TABLES {DATABASE}.lag READ")

        def caught_up() -> bool:
            return second.run(f"SELECT fence FROM {DATABASE}.server") == [(before + 10,)]

        Noting.meanwhile = staticmethod(lambda: cursor.execute("UNLOCK TABLES"))

        def work(transaction: Transaction) -> None:
            raise_fence(transaction)
            runs.append(1)
            if len(runs) == 1:
                # What comes after it waits for it.
                first.run(f"INSERT INTO {DATABASE}.lag () VALUES ()")
                first.run("UPDATE server SET fence = fence + 10 WHERE id = 1", database=DATABASE)
                if number == 1180:
                    eventually(caught_up, what="it has what came from the other member")

        with log_lines() as lines:
            await here.write(work)
    assert lines == []
    # The first at least. Whatever a busy group undoes besides is done anew as well.
    assert len(runs) >= 2
    assert {*Noting.numbers} == {number}
    assert await here.read(fence) == before + 11


async def test_nothing_old_is_read(members: tuple[Member, Member], made: Made) -> None:
    """At a member that lags, a read waits for what was committed on another one before; without that it tells what is over."""
    first, second = members
    there = await made.at(first)
    patient, careless = await made.at(second), await made.at(second, Careless)
    await there.write(raise_fence)
    before = await patient.read(fence)
    hasty = await made.at(second, timeout=2.0)
    with closing(second.connect()) as locked, locked.cursor() as cursor:
        cursor.execute("FLUSH TABLES WITH READ LOCK")
        await there.write(raise_fence)
        with pytest.raises(StoreUnavailable):
            await hasty.read(fence)
        assert await careless.read(fence) == before
        cursor.execute("UNLOCK TABLES")
    assert await patient.read(fence) == before + 1


def test_number_of_a_wait_in_vain(members: tuple[Member, Member]) -> None:
    """What a member says that has waited in vain for what was committed on another one counts as too slow, and is not repeated."""
    first, second = members
    first.run(f"CREATE TABLE IF NOT EXISTS {DATABASE}.lag (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY)")
    eventually(lambda: second.run("SHOW TABLES LIKE 'lag'", database=DATABASE), what="the table is there")
    with (
        closing(second.connect(DATABASE)) as locked,
        closing(second.connect(DATABASE)) as reading,
        locked.cursor() as lock,
        reading.cursor() as read,
    ):
        lock.execute(f"LOCK TABLES {DATABASE}.lag READ")
        first.run(f"INSERT INTO {DATABASE}.lag () VALUES ()")
        # How long it waits.
        read.execute("SET SESSION wait_timeout = 1, group_replication_consistency = 'BEFORE'")
        with pytest.raises(pymysql.MySQLError) as refused:
            read.execute(f"SELECT 1 FROM {DATABASE}.lag")
        lock.execute("UNLOCK TABLES")
    number = refused.value.args[0]
    assert (number, meaning(number).fault, meaning(number).again) == (3797, Fault.SILENT, False)


async def test_not_now(members: tuple[Member, Member], made: Made) -> None:
    """A server that is offline counts as one that cannot be reached, and one that has left its group as one that only reads; neither is for good."""
    first, second = members
    here = await made.at(second)
    await here.write(raise_fence)
    second.run("SET GLOBAL offline_mode = ON")
    try:
        for attempt in (here.read(fence), here.write(raise_fence), here.prepare()):
            with pytest.raises(StoreUnavailable):
                await attempt
        fault = here.fault()
        assert fault is not None
        assert fault.code == "store_unreachable"
    finally:
        second.run("SET GLOBAL offline_mode = OFF")
    second.run("STOP GROUP_REPLICATION")
    try:
        again = await made.at(second)
        with pytest.raises(StoreUnavailable, match="only be read"):
            await again.write(raise_fence)
    finally:
        second.join([first.group_port, second.group_port])
    again = await made.at(second)
    await again.write(raise_fence)
