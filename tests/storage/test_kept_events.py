"""What every store promises about events: on SQLite, on a real MariaDB server, and in memory."""

from __future__ import annotations

from typing import Any

import pytest

from resourced.errors import EpochLost, EventsForgotten
from resourced.model import Batch, Event, EventKind, LockKey, Mark
from resourced.storage.interface import Store
from resourced.storage.sql_events import FORGET_AT_ONCE
from tests.leading import lead
from tests.stores import (  # noqa: F401 - fixtures
    AnyBackend,
    Backend,
    MySQLBackend,
    SQLiteBackend,
    any_backend_fixture,
    backend_fixture,
    mariadb_fixture,
    mysql_fixture,
    place,
)

A4, A5 = LockKey("printer", "A4"), LockKey("printer", "A5")
#: Behind all events.
LATEST = 2**63 - 1


async def reigning(backend: AnyBackend) -> Any:
    """Return an empty store that may be written to."""
    store = await backend.store()
    await lead(store)
    return store


def event(id_: int, key: LockKey = A4, **rest: int) -> Event:
    return Event(id_, EventKind(rest.get("kind", 1)), rest.get("at", id_ * 1000), key, f"ci-{id_}", id_, id_ / 8)


async def keep(store: Store, *events: Event, newest: int = 0) -> None:
    await store.commit(Batch(0, events=list(events), event=newest or events[-1].id))


async def test_as_they_were(any_backend: AnyBackend) -> None:
    """Events are told as they were kept, to the last bit, whatever the names in them."""
    store = await reigning(any_backend)
    key = LockKey("🖨 %s", "Á4 ")
    widest = "\U0010ffff" * 255
    largest = Event(2**63 - 2, EventKind.BREAK, 2**62, key, widest, 2**63 - 1, 0.1 + 0.2, widest, "Á 'n", widest, -9)
    events = [*(event(int(kind), key, kind=int(kind)) for kind in EventKind), largest]
    await keep(store, *events)
    assert await store.events_since(0, 100) == events
    assert await store.events(key, LATEST, 100) == events[::-1]


async def test_of_one_lock(any_backend: AnyBackend) -> None:
    """The events of a lock come newest first, begin where they should, and are those of exactly its names."""
    store = await reigning(any_backend)
    await keep(store, *(event(id_, (A4, A5)[id_ % 2]) for id_ in range(1, 11)))
    assert [one.id for one in await store.events(A4, LATEST, 3)] == [10, 8, 6]
    assert [one.id for one in await store.events(A4, 6, 3)] == [4, 2]
    assert [one.id for one in await store.events(A4, 5, 1)] == [4]
    assert [one.id for one in await store.events_before(LATEST, 3)] == [10, 9, 8]
    assert [one.id for one in await store.events_before(3, 9)] == [2, 1]
    for other in (
        LockKey("printer", "a4"),
        LockKey("printer", "A4 "),
        LockKey("Printer", "A4"),
        LockKey("plotter", "A4"),
    ):
        assert await store.events(other, LATEST, 3) == []


async def test_since(any_backend: AnyBackend) -> None:
    """The events since one come oldest first, whatever the gaps between their ids."""
    store = await reigning(any_backend)
    await keep(store, event(1), event(2, A5))
    await keep(store, event(7), event(1000))
    assert [one.id for one in await store.events_since(0, 3)] == [1, 2, 7]
    assert [one.id for one in await store.events_since(2, 3)] == [7, 1000]
    assert [one.id for one in await store.events_since(500, 3)] == [1000]
    assert await store.events_since(1000, 3) == []


async def test_nothing_happened(any_backend: AnyBackend) -> None:
    """Where nothing has happened, nothing is missing."""
    store = await reigning(any_backend)
    assert await store.events_since(0, 3) == []
    assert await store.events(A4, LATEST, 3) == []
    assert await store.forget_events(2**62) is False


async def test_not_kept(any_backend: AnyBackend) -> None:
    """If events have happened and none of them is kept, that is not the same as if nothing had."""
    store = await reigning(any_backend)
    await store.commit(Batch(0, [place(1)], event=5))
    with pytest.raises(EventsForgotten):
        await store.events_since(4, 3)
    assert await store.events_since(5, 3) == []


async def test_forgotten(any_backend: AnyBackend) -> None:
    """The oldest events are forgotten in their order, and who asks for what has happened since a forgotten one is told so."""
    store = await reigning(any_backend)
    await keep(store, *(event(id_) for id_ in range(1, 11)))
    assert await store.newest_event() == 10
    assert await store.forget_events(0) is False
    assert [one.id for one in await store.events_since(0, 1)] == [1]
    assert await store.forget_events(4) is False
    for after in range(4):
        with pytest.raises(EventsForgotten):
            await store.events_since(after, 3)
    assert [one.id for one in await store.events_since(4, 3)] == [5, 6, 7]
    assert [one.id for one in await store.events(A4, LATEST, 100)] == [10, 9, 8, 7, 6, 5]
    assert await store.forget_events(11) is False
    with pytest.raises(EventsForgotten):
        await store.events_since(9, 3)
    assert await store.events_since(10, 3) == []
    assert await store.newest_event() == 0


async def test_times_do_not_matter(any_backend: AnyBackend) -> None:
    """Events whose time is that of a clock that was wrong neither take others with them nor stay longer, nor leave a gap."""
    store = await reigning(any_backend)
    await keep(store, event(1, at=9_000_000), event(2, at=1), event(3, at=2**62), event(4, at=0), event(5, at=1))
    await store.forget_events(2)
    assert [one.id for one in await store.events_since(2, 9)] == [3, 4, 5]


async def test_what_passed(any_backend: AnyBackend) -> None:
    """What the clock of marks shows is that of the newest heartbeat or mark, whichever is later, and never goes back."""
    store = await reigning(any_backend)
    await store.beat("", 0, 50)
    await store.beat("", 0, 40)
    assert (await lead(store)).passed == 50
    await store.mark(Mark(60, 0), 0, -1)
    assert (await lead(store)).passed == 60
    await store.beat("", 0, 2**62)
    assert (await lead(await reigning(any_backend))).passed == 2**62


async def test_marks(any_backend: AnyBackend) -> None:
    """Marks are kept as they were, the next daemon finds them, and only those stay that are wanted."""
    store = await reigning(any_backend)
    assert await store.marks() == []
    assert (await lead(store)).passed == 0
    first, second, third = Mark(0, 0), Mark(10, 2**62), Mark(2**62, 2**62)
    await store.mark(first, 0, -1)
    await store.mark(second, 0, 0)
    await store.mark(third, 0, 10)
    other = await reigning(any_backend)
    assert await other.marks() == [first, second, third]
    assert (await lead(other)).passed == third.passed
    # To do it again changes nothing: the answer may have been lost.
    await other.mark(third, 10, 10)
    assert await other.marks() == [second, third]
    with pytest.raises(EpochLost):
        await store.mark(Mark(11, 11), 10, 10)
    assert await other.marks() == [second, third]


async def test_little_by_little(backend: Backend) -> None:
    """No piece of the forgetting is large."""
    store = await reigning(backend)
    count = 2 * FORGET_AT_ONCE
    await keep(store, *(event(id_) for id_ in range(1, count + 2)))
    for left in (count - FORGET_AT_ONCE + 1, 1):
        assert await store.forget_events(count) is True
        assert backend.rows("SELECT COUNT(*) FROM event") == [(left,)]
    assert await store.forget_events(count) is False
    assert backend.rows("SELECT id FROM event") == [(count + 1,)]


async def test_weight(any_backend: Backend) -> None:
    """What events take grows by their text, in bytes, and for names three times; they are weighed from one on, the oldest first."""
    store = await reigning(any_backend)
    assert await store.weigh_events(0, 10) == (0, 0, 0)
    plain = event(3)
    await keep(store, *(plain._replace(id=id_) for id_ in (3, 4, 10, 500)))
    last, count, size = await store.weigh_events(0, 1)
    assert (last, count) == (3, 1)
    assert await store.weigh_events(0, 3) == (10, 3, 3 * size)
    assert await store.weigh_events(4, 10) == (500, 2, 2 * size)
    assert await store.weigh_events(500, 10) == (500, 0, 0)
    await keep(store, plain._replace(id=501, key=LockKey(plain.key.resource + "é" * 5, plain.key.selector + "☃")))
    await keep(
        store,
        plain._replace(
            id=502,
            owner=plain.owner + "é",
            by=plain.by + "by",
            reason=plain.reason + "reason",
            key_name=plain.key_name + "+",
        ),
    )
    assert await store.weigh_events(500, 1) == (501, 1, size + 3 * (10 + 3))
    assert await store.weigh_events(501, 1) == (502, 1, size + 2 + 2 + 6 + 1)


@pytest.mark.parametrize("length", [1, 100])
async def test_weight_of_tables(backend: Backend, length: int) -> None:
    """What events weigh is what their table takes, more or less: not much less than that, and at most three times as much."""

    def size() -> int:
        if isinstance(backend, SQLiteBackend):
            ((pages, page),) = backend.rows("SELECT page_count, page_size FROM pragma_page_count, pragma_page_size")
            return int(pages * page)
        backend.rows("ANALYZE TABLE event")
        rows = backend.rows(
            "SELECT data_length + index_length FROM information_schema.tables"
            " WHERE table_schema = DATABASE() AND table_name = 'event'"
        )
        return int(rows[0][0])

    store = await reigning(backend)
    before, count = size(), 4000
    for start in range(1, count, 500):
        events = [
            event(id_)._replace(key=LockKey("r" * length, "s" * length + f"{id_ % 100}"), owner="o" * length)
            for id_ in range(start, start + 500)
        ]
        await keep(store, *events)
    weight = await store.weigh_events(0, count)
    assert weight.events == count
    assert weight.size / 3 < size() - before < weight.size * 1.5


STATEMENTS = {
    "of one lock": "SELECT id, at FROM event{} WHERE resource = 'n' AND selector = 's500' AND id < 9223372036854775807 "
    "ORDER BY id DESC LIMIT 101",
    "since": "SELECT id, kind, at, resource FROM event WHERE id > 998 ORDER BY id LIMIT 200",
    "weigh": "SELECT * FROM event WHERE id > 998 ORDER BY id LIMIT 1000",
    "oldest": "SELECT id FROM event WHERE id <= 2 ORDER BY id LIMIT 500",
    "forget": "DELETE FROM event WHERE id <= 2",
}


@pytest.mark.parametrize("what", STATEMENTS)
async def test_cost_does_not_grow(backend: Backend, what: str) -> None:
    """With a thousand events, each statement comes to its rows by an index, and needs not sort them."""
    await backend.store()
    rows = ", ".join(f"({id_}, 1, 1, 'n', 's{id_}', 'o', 1, 1)" for id_ in range(1, 1001))
    backend.rows(f"INSERT INTO event (id, kind, at, resource, selector, owner, fence, seconds) VALUES {rows}")
    statement = STATEMENTS[what].format(" FORCE INDEX (event_of_lock)" if backend.kind == "mysql" else "")
    if backend.kind == "mysql":
        backend.rows("ANALYZE TABLE event")
        (plan,) = backend.rows(f"EXPLAIN {statement}")
        key, examined, extra = plan[5], plan[8], plan[9]
        assert key == ("event_of_lock" if what == "of one lock" else "PRIMARY")
        assert int(examined) <= 2
        assert "filesort" not in (extra or "")
    else:
        plans = [row[3] for row in backend.rows(f"EXPLAIN QUERY PLAN {statement}")]
        assert plans
        assert all(plan.startswith("SEARCH") for plan in plans), plans


@pytest.mark.parametrize("what", ["read", "since"])
async def test_nothing_is_locked(backend: Backend, what: str) -> None:
    """To read the history does not need the row that each commit needs."""
    store = await reigning(backend)
    await keep(store, *(event(id_) for id_ in range(1, 11)))
    # Another term: whoever would need the row would be told so.
    other = await backend.store()
    backend.rows("UPDATE server SET epoch = epoch + 1, owner = 'another'")
    if what == "read":
        assert len(await store.events(A4, LATEST, 100)) == 10
    else:
        assert len(await other.events_since(0, 100)) == 10


async def test_pages_cost_what_they_show(mysql: MySQLBackend) -> None:
    """The server comes by as many rows as there are on the page, and a few more, however many there are of this lock or of others."""
    store = await mysql.store()
    await lead(store)
    count = 30_000
    for first in range(1, count, 10_000):
        rows = ", ".join(
            f"({id_}, 1, {id_}, 'printer', '{'rare' if id_ % 3000 == 0 else 'A4'}', 'o', 1, 1)"
            for id_ in range(first, first + 10_000)
        )
        mysql.rows(f"INSERT INTO event (id, kind, at, resource, selector, owner, fence, seconds) VALUES {rows}")
    mysql.rows("ANALYZE TABLE event")

    def reads() -> int:
        found = mysql.server.run("SHOW GLOBAL STATUS WHERE Variable_name LIKE 'Handler_read%%'")
        # To ask for these is to read a table too.
        return sum(int(number) for name, number in found if name != "Handler_read_rnd_next")

    rare = LockKey("printer", "rare")
    for page in (
        lambda: store.events(A4, LATEST, 101),
        lambda: store.events(A4, 15_000, 101),
        lambda: store.events(A4, 50, 101),
        lambda: store.events(rare, LATEST, 101),
        lambda: store.events(rare, 15_000, 101),
        lambda: store.events(LockKey("printer", "none"), LATEST, 101),
        lambda: store.events_since(0, 200),
        lambda: store.events_since(15_000, 200),
        lambda: store.events_since(29_990, 200),
    ):
        before = reads()
        found = await page()
        # What the server has to know of a table is read when it is first opened.
        assert reads() - before <= len(found) + 20
    before = reads()
    assert await store.forget_events(10_000) is True
    # Once to find them, once to delete them.
    assert reads() - before <= 2 * FORGET_AT_ONCE + 20
