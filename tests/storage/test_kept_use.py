"""What was used, by days: counted once, whatever happens, and kept for longer than the events."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import pytest

from resourced.errors import StoreUnavailable
from resourced.model import BREAK, EXPIRY, GRANT, RELEASE, WRITE, Batch, Event, EventKind, LockKey
from resourced.storage import sql_usage
from resourced.storage.sql.pool import Transaction
from resourced.usage import BOUNDS, By, Use, day_of, used
from tests.leading import lead
from tests.stores import (  # noqa: F401 - fixtures
    AnyBackend,
    Backend,
    any_backend_fixture,
    backend_fixture,
    mariadb_fixture,
    mysql_fixture,
)

DAY = 86_400_000
A4, A5 = LockKey("printer", "A4"), LockKey("printer", "A5")


def event(
    id_: int, kind: EventKind, seconds: float = 1.0, key: LockKey = A4, owner: str = "ci", day: int = 0, fence: int = 1
) -> Event:
    return Event(id_, kind, day * DAY + id_, key, owner, fence, seconds)


def waits(*classes: int) -> tuple[int, ...]:
    return tuple(classes.count(number) for number in range(12))


async def test_by_selector_and_owner(any_backend: AnyBackend) -> None:
    """Grants, waits and what was held are summed by selector and by owner, over days, however few are counted at once."""
    store = await any_backend.store()
    await lead(store)
    events = [
        event(1, GRANT, 0.5),
        event(2, WRITE),
        event(3, RELEASE, 10),
        event(4, GRANT, 40, owner="qa"),
        event(5, EXPIRY, 300, owner="qa"),
        event(6, GRANT, 99_999, A5, day=1),
        event(7, BREAK, 7, A5, day=1),
        event(8, EXPIRY, 60, A5, day=1, fence=0),
        event(9, GRANT, 1, LockKey("scanner", "glass")),
    ]
    await store.commit(Batch(0, events=events, event=9))
    reached = [await store.roll_up(2) for _ in range(6)]
    assert reached == [2, 4, 6, 8, 9, 9]
    a4 = Use(2, 310, 1, 0, 40.5, waits(0, 5))
    a5 = Use(1, 7, 0, 1, 99_999, waits(11))
    assert await store.usage("printer", By.UNIT, 0, 10) == {"A4": a4, "A5": a5}
    assert await store.usage("printer", By.UNIT, 1, 10) == {"A5": a5}
    assert list(await store.usage("printer", By.UNIT, 0, 1)) == ["A4"]
    owners = await store.usage("printer", By.OWNER, 0, 10)
    assert owners == {"qa": Use(1, 300, 1, 0, 40, waits(5)), "ci": Use(2, 17, 0, 1, 99_999.5, waits(0, 11))}
    assert list(owners) == ["qa", "ci"]


async def test_outlives_events(any_backend: AnyBackend) -> None:
    """What is counted stays when the events go, and a day goes when there are too many after it."""
    store = await any_backend.store()
    await lead(store)
    await store.commit(Batch(0, events=[event(number, GRANT, day=number) for number in range(1, 6)], event=5))
    assert await store.roll_up(100) == 5
    await store.forget_events(5)
    assert (await store.usage("printer", By.UNIT, 0, 10))["A4"].grants == 5
    await store.forget_usage(3)
    assert (await store.usage("printer", By.UNIT, 0, 10))["A4"].grants == 3
    assert await store.roll_up(100) == 5


async def test_names_beyond(backend: Backend) -> None:
    """Names beyond those that are counted one by one are counted together: clients cannot fill the store with them."""
    store = await backend.store()
    await lead(store)
    events = [event(number, GRANT, owner=f"job {number:02}") for number in range(1, 11)]
    with patch.object(sql_usage, "NAMES", 3):
        await store.commit(Batch(0, events=events, event=10))
        for _ in range(4):
            await store.roll_up(3)
    owners = await store.usage("printer", By.OWNER, 0, 100)
    assert {name: use.grants for name, use in owners.items()} == {"": 7, "job 01": 1, "job 02": 1, "job 03": 1}


async def test_once(backend: Backend) -> None:
    """A commit that was done though it was not answered is not done again: what was counted before is counted once."""
    store = await backend.store()
    await lead(store)
    await store.commit(Batch(0, events=[event(1, GRANT)], event=1))
    sums = sql_usage.read_sums

    def late(*arguments: object) -> object:
        found = sums(*arguments)  # type: ignore[arg-type]
        backend.rows("UPDATE usage_mark SET event = 1")
        return found

    with patch.object(sql_usage, "read_sums", late), pytest.raises(StoreUnavailable):
        await store.roll_up(100)
    assert await store.usage("printer", By.UNIT, 0, 10) == {}


def test_waits() -> None:
    """The 95th percentile of the waits is the upper end of the class that it is in, and has none in the last class."""
    (use,) = [use for of, use in used([event(1, GRANT, 1.0)]).items() if of.by is By.OWNER]
    assert (use.p95, use.mean) == (1, 1.0)
    assert (Use().p95, Use().mean) == (None, None)
    assert Use(100, waits=(94, *waits(*[5] * 6)[1:])).p95 == 60
    assert Use(100, waits=(95, *waits(*[5] * 5)[1:])).p95 == 1
    assert Use(1, waits=waits(11)).p95 is None
    assert day_of(DAY - 1) == 0


async def test_few_rows(backend: Backend) -> None:
    """Of events that come to many rows fewer are counted at once, since others wait while those are written; and more again when they can be."""
    store = await backend.store()
    await lead(store)
    apart = [event(number, GRANT, key=LockKey(f"r{number}", "a")) for number in range(1, 17)]
    alike = [event(number, GRANT) for number in range(17, 49)]
    await store.commit(Batch(0, events=[*apart, *alike], event=48))
    with patch.object(sql_usage, "_MOST_ROWS", 8):
        # A resource of its own comes to two rows, one of the selector and one of the owner.
        reached = [await store.roll_up(16) for _ in range(7)]
    assert reached == [4, 8, 12, 16, 20, 28, 44]
    assert (await store.usage("printer", By.UNIT, 0, 10))["A4"].grants == 28


async def test_as_one_by_one(any_backend: AnyBackend) -> None:
    """The store adds up to what the events come to one by one."""
    store = await any_backend.store()
    await lead(store)
    kinds, lengths = list(EventKind), [length + more for length in (0, *BOUNDS) for more in (0.0, 0.25)]
    events = [
        event(
            number,
            kinds[number % 7],
            lengths[number % 24],
            (A4, A5)[number // 7 % 2],
            f"é{number % 5}",
            number % 3,
            number % 4,
        )
        for number in range(1, 1001)
    ]
    await store.commit(Batch(0, events=events, event=1000))
    assert await store.roll_up(1000) == 1000
    for by in By:
        for day in range(3):
            ours = used([one for one in events if day_of(one.at) >= day])
            expected: dict[str, Use] = {}
            for of, use in ours.items():
                if of.by is by:
                    expected[of.name] = expected.get(of.name, Use()).plus(use)
            assert await store.usage("printer", by, day, 10) == expected


async def test_added_up_there(backend: Backend) -> None:
    """Events that are alike are added up by the database: the driver of MySQL takes long for each row that it fetches."""
    store = await backend.store()
    await lead(store)
    fetched: list[object] = []

    def query(
        self: Transaction,
        sql: str,
        args: object = (),
        *,
        true: Callable[..., list[tuple[object, ...]]] = Transaction.query,
    ) -> list[tuple[object, ...]]:
        rows = true(self, sql, args)
        fetched.extend(rows)
        return rows

    await store.commit(Batch(0, events=[event(number, GRANT) for number in range(1, 1001)], event=1000))
    with patch.object(Transaction, "query", query):
        assert await store.roll_up(1000) == 1000
    assert len(fetched) < 10
    assert (await store.usage("printer", By.UNIT, 0, 10))["A4"].grants == 1000


async def test_few_statements(any_backend: AnyBackend) -> None:
    """Many resources are counted by a few statements. What is counted of them already is added to."""
    store = await any_backend.store()
    await lead(store)
    asked: list[str] = []

    def query(
        self: Transaction, sql: str, args: object = (), *, true: Callable[..., object] = Transaction.query
    ) -> object:
        asked.append(sql)
        return true(self, sql, args)

    used_twice = [
        event(number + 250 * turn, RELEASE, 5, LockKey(f"r{number}", "a"))
        for turn in (0, 1)
        for number in range(1, 251)
    ]
    await store.commit(Batch(0, events=used_twice, event=500))
    with patch.object(Transaction, "query", query):
        for reached in (250, 500):
            asked.clear()
            assert await store.roll_up(250) == reached
            # Selectors and owners of 250 resources are 500 groups, in lots of 100: what is known of them, and how many there are.
            assert len(asked) <= 3 + 2 * 5
    for number in (1, 100, 250):
        assert await store.usage(f"r{number}", By.UNIT, 0, 10) == {"a": Use(0, 10, 0, 0, 0, waits())}
