"""What every store promises: tests for a module that says by its fixtures ``backend`` and ``any_backend`` on which databases."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.threads import deferToThread

from resourced.errors import (
    DataNotFound,
    EpochLost,
    ResourceExists,
    ResourceNotFound,
    StoreRefused,
    StoreUnavailable,
)
from resourced.model import Batch, EventKind, LockKey, Loss, Mark, Resource, Snapshot, Standing
from resourced.storage.interface import Store
from resourced.storage.sql.executor import LONGEST
from resourced.storage.sql.statement import Statement
from resourced.storage.sql_store import SQLStore
from resourced.storage.statements import EVENT_COLUMNS
from resourced.wants import ALL, Card, JointRequest, Want
from tests.leading import lead
from tests.stores import AnyBackend, Backend, event, give, holder, place, write

#: Each of these is another name than all the others.
NAMES = [
    "A4",
    "a4",
    "A4 ",
    " A4",
    "\u00c14",
    "A\u03014",
    "\uff21\uff14",
    "ss",
    "\u00df",
    "\u017f",
    "%",
    "%s",
    "%%",
    "_",
    "?",
    "'",
    '"',
    "`",
    "\\",
    "\\'",
    "a/b",
    "\U0001f600",
    "\U0001f601",
    "\U0010ffff" * 255,
    "\U0010ffff" * 254 + "\U0010fffe",
    "\ufeff",
    "\u2028",
    "NULL",
    "0",
    "00",
    "0.0",
    "; DROP TABLE resource",
]

TEXTS = [
    "null",
    '""',
    '  {"a" : 1.0e+2 }\n\t ',
    '{"status": "ready"}',
    json.dumps("\u2028\u2029\u0000\u001f\\/\"'"),
    json.dumps("\u2028\u2029 \U0001f600 \u00e9 e\u0301", ensure_ascii=False),
    '"\\ud83d\\ude00 \\u0000"',
    '"%s %% %(a)s ? :a"',
    '"' + "x" * (1 << 20) + '"',
    '"' + "\\\\" * (1 << 19) + '"',
    '"' + "\U0001f600" * (1 << 18) + '"',
]


async def test_created_resource_is_found(any_backend: AnyBackend) -> None:
    """A resource is found under its name as it was created, also by another daemon, and has an id of its own."""
    store = await any_backend.store()
    await lead(store)
    created = await store.create_resource("printer", 300)
    assert (created.name, created.timeout, str(uuid.UUID(created.id))) == ("printer", 300, created.id)
    assert await store.find_resource("printer") == created
    assert await (await any_backend.store()).find_resource("printer") == created
    assert (await store.create_resource("plotter", 0)).id != created.id


async def test_unknown_resource(any_backend: AnyBackend) -> None:
    """A resource that nobody created is not found."""
    store = await any_backend.store()
    with pytest.raises(ResourceNotFound):
        await store.find_resource("printer")


async def test_resource_exists(any_backend: AnyBackend) -> None:
    """A name is given once; the second attempt changes nothing."""
    store = await any_backend.store()
    await lead(store)
    created = await store.create_resource("printer", 300)
    with pytest.raises(ResourceExists):
        await store.create_resource("printer", 5)
    assert await store.find_resource("printer") == created


async def test_resource_names_are_exact(any_backend: AnyBackend) -> None:
    """Names that look or sort alike are different resources, each with its own timeout."""
    store = await any_backend.store()
    await lead(store)
    created = [await store.create_resource(name, number) for number, name in enumerate(NAMES)]
    assert [await store.find_resource(name) for name in NAMES] == created


async def test_selectors_are_exact(any_backend: AnyBackend) -> None:
    """Selectors that look or sort alike hold each their own data."""
    store = await any_backend.store()
    await lead(store)
    printer = await store.create_resource("printer", 0)
    places = [holder(seq, LockKey("printer", name), fence=seq) for seq, name in enumerate(NAMES, 1)]
    writes = [write(held, printer.id, str(held.seq)) for held in places]
    await store.commit(Batch(len(NAMES), places, writes=writes))
    for seq, name in enumerate(NAMES, 1):
        document = await store.read(printer, name)
        assert (document.resource_id, document.selector, document.data) == (printer.id, name, str(seq))


async def test_many_are_read_at_once(any_backend: AnyBackend) -> None:
    """Each gets what is at its own selector, also if there are more than one statement takes, and some have nothing."""
    store = await any_backend.store()
    await lead(store)
    printer = await store.create_resource("printer", 0)
    places = [holder(seq, LockKey("printer", str(seq)), fence=seq) for seq in range(1, 251)]
    await store.commit(Batch(250, places, writes=[write(held, printer.id, str(held.seq)) for held in places]))
    other = Resource("no-such-id", "plotter", 0)
    asked = [(printer, str(seq)) for seq in range(260)] + [(other, "1")]
    answers = await gatherResults(
        [ensureDeferred(_data_or_error(store, resource, selector)) for resource, selector in asked]
    )
    assert answers == [DataNotFound, *map(str, range(1, 251)), *[DataNotFound] * 9, ResourceNotFound]
    documents = await store.read_all(asked[:-1])
    assert [document and document.data for document in documents] == [None, *map(str, range(1, 251)), *[None] * 9]
    assert documents[1] == await store.read(printer, "1")
    assert await store.read_all([]) == []
    with pytest.raises(ResourceNotFound):
        await store.read_all(asked)


async def test_large_data_is_read_in_smaller_lots(backend: Backend) -> None:
    """So that no answer of the database is much larger than what is asked for at once needs be."""
    store = await backend.store()
    await lead(store)
    printer = await store.create_resource("printer", 0)
    for seq in range(1, 7):
        held = holder(seq, LockKey("printer", str(seq)), fence=seq)
        await store.commit(Batch(seq, [held], writes=[write(held, printer.id, '"' + "x" * 999_998 + '"')]))

    async def read_all() -> None:
        await gatherResults([ensureDeferred(store.read(printer, str(seq))) for seq in range(1, 7)])

    await read_all()
    most = [store.together]
    for _ in range(4):
        await read_all()
        most.append(store.together)
    assert most[0] == 50
    assert 1 <= most[-1] <= 8


async def _data_or_error(store: Store, resource: Resource, selector: str) -> object:
    try:
        return (await store.read(resource, selector)).data
    except (DataNotFound, ResourceNotFound) as error:
        return type(error)


async def test_a_read_looks_the_resource_up_again(any_backend: AnyBackend) -> None:
    """Whoever knows of a resource from before learns that there is another one of its name, or none any more."""
    store = await any_backend.store()
    await lead(store)
    old = await store.create_resource("printer", 0)
    held = holder(1, fence=1)
    await store.commit(Batch(1, [held], writes=[write(held, old.id, "1")], gone=[held.seq]))
    await store.commit(Batch(1, removed=[old]))
    with pytest.raises(ResourceNotFound):
        await store.read(old, "A4")
    new = await store.create_resource("printer", 0)
    with pytest.raises(DataNotFound):
        await store.read(old, "A4")
    held = holder(2, fence=2)
    await store.commit(Batch(2, [held], writes=[write(held, new.id, "2")]))
    document = await store.read(old, "A4")
    assert (document.resource_id, document.data) == (new.id, "2")


async def test_places_are_exact(any_backend: AnyBackend) -> None:
    """Every place is read as it was kept, with its names and words."""
    store = await any_backend.store()
    await lead(store)
    places = [
        place(
            seq,
            LockKey(name, NAMES[-seq]),
            standing=Standing(seq % 3),
            fence=seq,
            owner=name,
            idempotency_key=f"{seq:064x}",
        )
        for seq, name in enumerate(NAMES, 1)
    ]
    await store.commit(Batch(len(NAMES), places))
    assert (await lead(store)).places == places


async def test_no_data(any_backend: AnyBackend) -> None:
    """A selector that nothing was written at has no data, even if another resource has some there."""
    store = await any_backend.store()
    await lead(store)
    printer, plotter = await store.create_resource("printer", 0), await store.create_resource("plotter", 0)
    await give(store, holder(1, LockKey("plotter", "A4"), fence=1), plotter.id, "1")
    with pytest.raises(DataNotFound):
        await store.read(printer, "A4")


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
async def test_data_byte_for_byte(any_backend: AnyBackend, text: str) -> None:
    """Data comes back as it was written, down to the last byte, also when it replaces other data."""
    store = await any_backend.store()
    await lead(store)
    printer = await store.create_resource("printer", 0)
    held = holder(1, fence=1)
    await store.commit(Batch(1, [held], writes=[write(held, printer.id, text)]))
    assert (await store.read(printer, "A4")).data == text
    await store.commit(Batch(1, writes=[write(held, printer.id, "1")]))
    await store.commit(Batch(1, writes=[write(held, printer.id, text)]))
    assert (await store.read(printer, "A4")).data == text


async def test_document_keeps_its_id(any_backend: AnyBackend) -> None:
    """New data leaves the document's id as it is; other selectors have other ids."""
    store = await any_backend.store()
    await lead(store)
    printer = await store.create_resource("printer", 0)
    a4, a5 = holder(1, fence=1), holder(2, LockKey("printer", "A5"), fence=2)
    await store.commit(Batch(2, [a4, a5], writes=[write(a4, printer.id, "1"), write(a5, printer.id, "5")]))
    first, other = await store.read(printer, "A4"), await store.read(printer, "A5")
    await store.commit(Batch(2, writes=[write(a4, printer.id, "2")]))
    second = await store.read(printer, "A4")
    assert (second.id, second.data) == (first.id, "2")
    assert other.id != first.id == str(uuid.UUID(first.id))


async def test_last_write_wins(any_backend: AnyBackend) -> None:
    """Of two writes to one selector in a batch the later one stays."""
    store = await any_backend.store()
    await lead(store)
    printer = await store.create_resource("printer", 0)
    held = holder(1, fence=1)
    writes = [write(held, printer.id, text) for text in ("1", "2", "3")]
    await store.commit(Batch(1, [held], writes=writes))
    assert (await store.read(printer, "A4")).data == "3"


async def test_changed_timeout(any_backend: AnyBackend) -> None:
    """A resource with another timeout is the same resource, also for other daemons; the others stay as they are."""
    store = await any_backend.store()
    await lead(store)
    printer, plotter = await store.create_resource("printer", 300), await store.create_resource("Printer", 7)
    changed = await store.change_resource("printer", {"timeout": 60})
    assert changed == Resource(printer.id, "printer", 60)
    assert await store.change_resource("printer", {"timeout": 60}) == changed
    assert await (await any_backend.store()).find_resource("printer") == changed
    assert await store.find_resource("Printer") == plotter
    with pytest.raises(ResourceNotFound):
        await store.change_resource("scanner", {"timeout": 60})
    assert [found.name for found in await store.list_resources("", "", 9)] == ["Printer", "printer"]


#: What names may begin with; no name begins with some of these.
PREFIXES = ["", "A", "A4", "s", "\u00c1", "%", "_", "\\", "\U0001f600", "\U0001f5ff", "\U0010ffff" * 255, "\ud7ff"]
PREFIXES += ["none", "\x01", "\x00", "x" * 300]


async def pages(fetch: Callable[[str, int], Awaitable[list[str]]], limit: int) -> list[str]:
    """Read a list page by page."""
    found: list[str] = []
    while True:
        page = await fetch(found[-1] if found else "", limit)
        assert len(page) <= limit
        found += page
        if len(page) < limit:
            return found


async def test_resources_are_listed(any_backend: AnyBackend) -> None:
    """All resources, or those with a prefix, come sorted by code points, and the pages of a list are the list."""
    store = await any_backend.store()
    await lead(store)
    created = {name: await store.create_resource(name, number) for number, name in enumerate(NAMES)}
    assert await store.list_resources("", "", 1000) == [created[name] for name in sorted(NAMES)]

    for prefix in PREFIXES:

        async def fetch(after: str, limit: int, prefix: str = prefix) -> list[str]:
            return [found.name for found in await store.list_resources(prefix, after, limit)]

        for limit in (1, 3, 1000):
            assert await pages(fetch, limit) == sorted(name for name in NAMES if name.startswith(prefix)), prefix
    # A cursor need not be one of the names, nor have their prefix.
    assert [found.name for found in await store.list_resources("", "A3", 2)] == ["A4", "A4 "]
    assert [found.name for found in await store.list_resources("s", "A3", 9)] == ["ss"]
    assert await store.list_resources("A", "B", 9) == []


async def test_selectors_are_listed(any_backend: AnyBackend) -> None:
    """Selectors that have data come sorted by code points, page by page, without those of other resources."""
    store = await any_backend.store()
    await lead(store)
    printer, other = await store.create_resource("printer", 0), await store.create_resource("other", 0)
    places = [holder(seq, LockKey("printer", name), fence=seq) for seq, name in enumerate(NAMES, 1)]
    await store.commit(Batch(len(NAMES), places, writes=[write(held, printer.id, "1") for held in places]))
    await give(store, holder(1000, LockKey("other", "A4.5"), fence=1000), other.id, "1")
    for prefix in PREFIXES:

        async def fetch(after: str, limit: int, prefix: str = prefix) -> list[str]:
            return await store.list_selectors(printer, prefix, after, limit)

        for limit in (1, 4, 1000):
            assert await pages(fetch, limit) == sorted(name for name in NAMES if name.startswith(prefix)), prefix
    assert await store.list_selectors(other, "", "", 9) == ["A4.5"]


async def test_deleted_data(any_backend: AnyBackend) -> None:
    """What is deleted is not read and not listed; what is written there later is another document."""
    store = await any_backend.store()
    await lead(store)
    printer = await store.create_resource("printer", 0)
    a4, a5 = holder(1, fence=1), holder(2, LockKey("printer", "A5"), fence=2)
    await store.commit(Batch(2, [a4, a5], writes=[write(a4, printer.id, "1", 7), write(a5, printer.id, "5", 8)]))
    before = await store.read(printer, "A4")
    # Not even if there is nothing.
    for version in (9, 10):
        await store.commit(Batch(2, writes=[write(a4, printer.id, None, version)]))
        with pytest.raises(DataNotFound):
            await store.read(printer, "A4")
        assert await store.list_selectors(printer, "", "", 9) == ["A5"]
    await store.commit(Batch(2, writes=[write(a4, printer.id, "1", 11)]))
    after = await store.read(printer, "A4")
    assert (before.version, after.version, after.data) == (7, 11, "1")
    assert after.id != before.id
    assert after.etag != before.etag
    assert (await store.read(printer, "A5")).version == 8


async def test_last_of_writes_and_deletions_wins(any_backend: AnyBackend) -> None:
    """Of a write and a deletion at one selector in a batch the later one counts."""
    store = await any_backend.store()
    await lead(store)
    printer = await store.create_resource("printer", 0)
    held = holder(1, fence=1)
    await store.commit(Batch(1, [held], writes=[write(held, printer.id, text) for text in ("1", None, "2")]))
    kept = await store.read(printer, "A4")
    assert kept.data == "2"
    await store.commit(Batch(1, writes=[write(held, printer.id, text) for text in (None, "3")]))
    assert (await store.read(printer, "A4")).id == kept.id
    await store.commit(Batch(1, writes=[write(held, printer.id, text) for text in ("4", None)]))
    with pytest.raises(DataNotFound):
        await store.read(printer, "A4")


async def test_deletion_by_others_is_refused(any_backend: AnyBackend) -> None:
    """Only the holder deletes."""
    store = await any_backend.store()
    await lead(store)
    printer = await store.create_resource("printer", 0)
    held = holder(1, fence=7)
    await store.commit(Batch(7, [held], writes=[write(held, printer.id, "1")]))
    with pytest.raises(StoreRefused):
        await store.commit(Batch(7, writes=[write(held, printer.id, None)._replace(fence=6)]))
    assert (await store.read(printer, "A4")).data == "1"


async def test_parties_and_times_survive(any_backend: AnyBackend) -> None:
    """Who a ticket was given to, and since when it stands as it does, are known to the next daemon."""
    store = await any_backend.store()
    await lead(store)
    places = [place(seq, since=1_700_000_000_000 + seq, key_name=name) for seq, name in enumerate(NAMES, 1)]
    await store.commit(Batch(0, places))
    assert (await lead(await any_backend.store())).places == places


async def test_events_survive(any_backend: AnyBackend) -> None:
    """The highest id of an event never falls, be it kept or only given out, so that none is given twice."""
    store = await any_backend.store()
    await lead(store)
    await store.commit(Batch(0, events=[event(1), event(5, EventKind.BREAK)], event=5))
    assert (await lead(store)).event == 5
    await store.commit(Batch(0, event=9))
    await store.commit(Batch(0, event=3))
    assert (await lead(await any_backend.store())).event == 9


async def test_events_are_kept_as_they_happened(backend: Backend) -> None:
    """Each event is kept with all that is known of it, byte for byte."""
    store = await backend.store()
    await lead(store)
    events = [event(seq, EventKind(1 + seq % 5), LockKey(name, NAMES[-seq])) for seq, name in enumerate(NAMES, 1)]
    await store.commit(Batch(0, events=events, event=len(events)))
    rows = backend.rows(f"SELECT {EVENT_COLUMNS} FROM event ORDER BY id")
    texts = [[value.decode() if isinstance(value, bytes) else value for value in row] for row in rows]
    assert texts == [[id_, int(kind), at, *key, *rest] for id_, kind, at, key, *rest in events]


def losses(*numbers: int) -> list[Loss]:
    return [Loss(number, LockKey(NAMES[number], NAMES[-number]), f"{number:032x}", NAMES[number]) for number in numbers]


async def test_losses(any_backend: AnyBackend) -> None:
    """What tickets have lost is kept byte for byte, the oldest first, until it is to be forgotten; also in the same batch."""
    store = await any_backend.store()
    await lead(store)
    await store.commit(Batch(0, losses=losses(3, 1)))
    await store.commit(Batch(0, losses=losses(2, 4), forgotten=[4, 77]))
    assert (await lead(store)).losses == tuple(losses(1, 2, 3))
    await store.commit(Batch(0, forgotten=[1, 3]))
    assert (await lead(store)).losses == tuple(losses(2))


async def test_many_losses(any_backend: AnyBackend) -> None:
    """A thousand are kept, and forgotten, at once."""
    store = await any_backend.store()
    await lead(store)
    many = [Loss(number, LockKey("printer", str(number)), "t", "p") for number in range(1, 1201)]
    await store.commit(Batch(0, losses=many))
    await store.commit(Batch(0, forgotten=list(range(2, 1201))))
    assert (await lead(store)).losses == (many[0],)


async def test_losses_are_undone_with_their_batch(any_backend: AnyBackend) -> None:
    """What is refused is not lost."""
    store = await any_backend.store()
    await lead(store)
    printer = await store.create_resource("printer", 0)
    await store.commit(Batch(0, losses=losses(1)))
    with pytest.raises(StoreRefused):
        await store.commit(
            Batch(1, writes=[write(holder(1, fence=1), printer.id, "1")], losses=losses(2), forgotten=[1])
        )
    assert (await lead(store)).losses == tuple(losses(1))


async def test_losses_are_forgotten_when_they_are_old(any_backend: AnyBackend) -> None:
    """A loss is forgotten by the event that tells of it, but may outlive it."""
    store = await any_backend.store()
    await lead(store)
    await store.commit(Batch(0, losses=losses(1, 2, 3), events=[event(1), event(2), event(3)], event=3))
    await store.forget_events(2)
    assert (await lead(store)).losses == tuple(losses(1, 2, 3))
    assert await store.forget_losses(0) is False
    assert await store.forget_losses(2) is False
    assert (await lead(store)).losses == tuple(losses(3))


async def test_events_are_undone_with_their_batch(any_backend: AnyBackend) -> None:
    """What is refused has not happened."""
    store = await any_backend.store()
    await lead(store)
    printer = await store.create_resource("printer", 0)
    with pytest.raises(StoreRefused):
        await store.commit(Batch(1, writes=[write(holder(1, fence=1), printer.id, "1")], events=[event(1)], event=1))
    assert (await lead(store)).event == 0
    await store.commit(Batch(0, events=[event(1)], event=1))


async def swept(store: Store) -> int:
    """Sweep until there is no more; return how many steps it took."""
    steps = 1
    while await store.sweep():
        steps += 1
    return steps


async def test_removed_resource(any_backend: AnyBackend) -> None:
    """A resource that is removed is not found or listed, and its name is free for one that has nothing of it; others have all."""
    store = await any_backend.store()
    await lead(store)
    old, other = await store.create_resource("printer", 5), await store.create_resource("Printer", 6)
    for resource in (old, other):
        await give(store, holder(1, LockKey(resource.name, "A4"), fence=1), resource.id, "1")
    await store.commit(Batch(1, removed=[old]))
    with pytest.raises(ResourceNotFound):
        await store.find_resource("printer")
    with pytest.raises(ResourceNotFound):
        await store.change_resource("printer", {"timeout": 1})
    assert await store.list_resources("", "", 9) == [other]
    new = await store.create_resource("printer", 7)
    assert new.id != old.id
    for _ in range(2):
        # Before and after what it left is deleted.
        assert await store.list_selectors(new, "", "", 9) == []
        with pytest.raises(DataNotFound):
            await store.read(new, "A4")
        assert await store.list_resources("", "", 9) == [other, new]
        await swept(store)
    assert (await store.read(other, "A4")).data == "1"
    # To be told so once more removes nothing else.
    await store.commit(Batch(1, removed=[old]))
    assert await store.find_resource("printer") == new


async def test_what_is_removed_goes_in_small_pieces(backend: Backend) -> None:
    """What a removed resource has left is deleted some rows at a time, and the next daemon goes on with it; the rest stays."""
    store = await backend.store(now=lambda: 0.0)
    await lead(store)
    assert await store.sweep() is False
    removed = [await store.create_resource(name, 0) for name in ("printer", "plotter")]
    kept = await store.create_resource("scanner", 0)
    for number, resource in enumerate([*removed, kept]):
        rows = ", ".join(f"('{number}-{row}', '{resource.id}', 's{row}', '1')" for row in range(250))
        backend.rows(f"INSERT INTO resource_data (id, id_resource, selector, data) VALUES {rows}")
    await store.commit(Batch(0, removed=removed))
    left = 3 * 250
    for daemon in (store, await backend.store(now=lambda: 0.0)):
        if daemon is not store:
            await lead(daemon)
        for _ in range(2):
            assert await daemon.sweep() is True
            ((now,),) = backend.rows("SELECT COUNT(*) FROM resource_data")
            assert left - 100 <= now < left
            left = now
    with pytest.raises(EpochLost):
        await store.sweep()
    last = await backend.store(now=lambda: 0.0)
    await lead(last)
    # The rest of either, and a look whether there is more.
    assert await swept(last) == 2 + 1
    assert backend.rows("SELECT COUNT(*) FROM resource_data") == [(250,)]
    assert backend.rows("SELECT COUNT(*) FROM resource") == [(1,)]
    assert len(await last.list_selectors(kept, "", "", 1000)) == 250


async def test_what_takes_a_while_goes_in_smaller_pieces(backend: Backend) -> None:
    """When the time of a piece is over it ends, but for one row at least: whoever wants a lock waits no longer than that."""
    slow = await backend.store(now=itertools.count(0, 0.004).__next__)
    await lead(slow)
    removed = await slow.create_resource("printer", 0)
    rows = ", ".join(f"('{row}', '{removed.id}', 's{row}', '1')" for row in range(7))
    backend.rows(f"INSERT INTO resource_data (id, id_resource, selector, data) VALUES {rows}")
    await slow.commit(Batch(0, removed=[removed]))
    left = []
    while await slow.sweep():
        left.append((backend.rows("SELECT COUNT(*) FROM resource_data")[0][0], _count(backend)))
    assert left == [(4, 1), (1, 1), (0, 0)]


def _count(backend: Backend) -> int:
    return int(backend.rows("SELECT COUNT(*) FROM resource")[0][0])


async def test_first_reign(any_backend: AnyBackend) -> None:
    """In a new store the first term finds nothing; each later one has a higher epoch."""
    store = await any_backend.store()
    first = await lead(store)
    assert first == Snapshot(first.epoch, 0, [], {})
    second = await lead(store)
    third = await lead(await any_backend.store())
    assert first.epoch < second.epoch < third.epoch


async def test_reign_finds_what_was_committed(any_backend: AnyBackend) -> None:
    """The next daemon finds fence, places in the order of their arrival, and the timeouts of their resources."""
    store = await any_backend.store()
    await lead(store)
    for name, timeout in (("printer", 300), ("plotter", 0), ("scanner", 7)):
        await store.create_resource(name, timeout)
    places = [holder(3, fence=8), place(1), place(2, LockKey("plotter", "A0")), place(10), place(9)]
    await store.commit(Batch(8, places))
    snapshot = await lead(await any_backend.store())
    assert snapshot.fence == 8
    assert snapshot.places == sorted(places)
    assert {name: resource.timeout for name, resource in snapshot.resources.items()} == {"printer": 300, "plotter": 0}


async def test_places_are_replaced_and_forgotten(any_backend: AnyBackend) -> None:
    """A place that comes again replaces the one of its number, and a place that is gone is not there any more."""
    store = await any_backend.store()
    await lead(store)
    await store.commit(Batch(1, [holder(1, fence=1), place(2), place(3)]))
    await store.commit(Batch(2, [holder(2, fence=2), place(4)], gone=[1, 4, 77]))
    snapshot = await lead(store)
    assert (snapshot.fence, snapshot.places) == (2, [holder(2, fence=2), place(3)])


async def test_large_batch(any_backend: AnyBackend) -> None:
    """Thousands of places go in and out in one batch."""
    store = await any_backend.store()
    await lead(store)
    places = [place(seq, LockKey("printer", f"s{seq}"), fence=seq, standing=Standing.HOLDING) for seq in range(1, 5001)]
    printer = await store.create_resource("printer", 0)
    await store.commit(Batch(5000, places, writes=[write(held, printer.id, f"{held.seq}") for held in places]))
    assert (await lead(store)).places == places
    assert (await store.read(printer, "s4711")).data == "4711"
    await store.commit(Batch(5000, gone=[held.seq for held in places[1:]]))
    assert (await lead(store)).places == places[:1]


async def test_fence_never_falls(any_backend: AnyBackend) -> None:
    """The highest fence stays when a batch comes that knows a lower one, and it may have 63 bits."""
    store = await any_backend.store()
    await lead(store)
    await store.commit(Batch((1 << 63) - 1))
    await store.commit(Batch(5, [place(1)]))
    assert (await lead(store)).fence == (1 << 63) - 1


async def test_empty_batch(any_backend: AnyBackend) -> None:
    """A batch of nothing is fine, and changes nothing."""
    store = await any_backend.store()
    await lead(store)
    await store.commit(Batch(0))
    assert (await lead(store))[1:9] == (0, [], {}, 0, (), 0, (), {})


@pytest.mark.parametrize("standing", [Standing.HOLDING, Standing.GRANTED])
async def test_holder_writes(any_backend: AnyBackend, standing: Standing) -> None:
    """The ticket that has the lock may write, also one that has just been granted it, and release in the same batch."""
    store = await any_backend.store()
    await lead(store)
    printer = await store.create_resource("printer", 0)
    held = place(1, fence=1, standing=standing)
    await store.commit(Batch(1, [held, place(2)]))
    granted = place(2, fence=2, standing=Standing.GRANTED)
    await store.commit(Batch(2, [granted], gone=[1], writes=[write(held, printer.id, "1")]))
    assert (await store.read(printer, "A4")).data == "1"
    assert (await lead(store)).places == [granted]


@pytest.mark.parametrize(
    "forged",
    [
        {"seq": 2},
        {"seq": 3},
        {"seq": 2, "ticket": f"{2:032x}", "fence": 0},
        {"seq": 3, "ticket": f"{3:032x}", "fence": 6},
        {"seq": 99},
        {"ticket": f"{2:032x}"},
        {"ticket": ""},
        {"fence": 6},
        {"fence": 8},
        {"fence": 0},
        {"key": LockKey("printer", "a4")},
        {"key": LockKey("Printer", "A4")},
        {"key": LockKey("plotter", "A4")},
    ],
    ids=str,
)
async def test_writes_of_others_are_refused(any_backend: AnyBackend, forged: dict[str, Any]) -> None:
    """A write that does not come from the holder, with its ticket and its fence, undoes its whole batch."""
    store = await any_backend.store()
    await lead(store)
    printer = await store.create_resource("printer", 0)
    held = holder(1, fence=7)
    await store.commit(Batch(7, [held, place(2)], writes=[write(held, printer.id, "1")]))
    fair = write(held, printer.id, "2")
    other = holder(4, LockKey("printer", "A5"), fence=8)
    batch = Batch(9, [other], [2], [fair, write(other, printer.id, "5"), fair._replace(**forged)])
    with pytest.raises(StoreRefused):
        await store.commit(batch)
    assert (await store.read(printer, "A4")).data == "1"
    with pytest.raises(DataNotFound):
        await store.read(printer, "A5")
    snapshot = await lead(store)
    assert (snapshot.fence, snapshot.places) == (7, [held, place(2)])


async def test_refused_for_a_released_lock(any_backend: AnyBackend) -> None:
    """Who has released the lock in an earlier batch can no longer write."""
    store = await any_backend.store()
    await lead(store)
    printer = await store.create_resource("printer", 0)
    held = holder(1, fence=1)
    await store.commit(Batch(1, [held]))
    await store.commit(Batch(1, gone=[1]))
    with pytest.raises(StoreRefused):
        await store.commit(Batch(1, writes=[write(held, printer.id, "1")]))


async def test_without_judge(any_backend: AnyBackend) -> None:
    """For locks that are kept in memory only a write needs no place, but still the epoch."""
    store = await any_backend.store(judge=False)
    await lead(store)
    printer = await store.create_resource("printer", 0)
    await store.commit(Batch(1, writes=[write(holder(1, fence=1), printer.id, "1")]))
    assert (await store.read(printer, "A4")).data == "1"
    await lead(await any_backend.store())
    with pytest.raises(EpochLost):
        await store.commit(Batch(2, writes=[write(holder(2, fence=2), printer.id, "2")]))
    assert (await store.read(printer, "A4")).data == "1"


async def test_usurped(any_backend: AnyBackend) -> None:
    """Once another daemon is the leader, the former one changes nothing any more, and can only learn that; but it may read."""
    old, new = await any_backend.store(), await any_backend.store()
    await lead(old)
    printer = await old.create_resource("printer", 0)
    held = holder(1, fence=1)
    await old.commit(Batch(1, [held], writes=[write(held, printer.id, "1")], events=[event(1)], losses=losses(1)))
    seen = await old.look()
    first = await lead(new)
    for attempt in (
        old.commit(Batch(2, [place(2)])),
        old.commit(Batch(2)),
        old.commit(Batch(2, writes=[write(held, printer.id, "2")])),
        old.create_resource("plotter", 0),
        old.change_resource("printer", {"timeout": 5}),
        old.commit(Batch(2, removed=[printer])),
        old.forget_events(1),
        old.forget_losses(1),
        old.mark(Mark(1, 1), 0, 1),
        old.beat("here"),
        old.leave(),
        old.begin_term(),
        old.begin_term(seen),
    ):
        with pytest.raises(EpochLost):
            await attempt
    assert (await old.read(printer, "A4")).data == "1"
    with pytest.raises(ResourceNotFound):
        await old.find_resource("plotter")
    second = await lead(new)
    assert (second.fence, second.places) == (first.fence, first.places) == (1, [held])


#: Each way to commit, by the name of its method.
COMMITS: Mapping[str, Callable[[Store, Resource], Coroutine[Any, Any, object]]] = {
    "create_resource": lambda store, _: store.create_resource("plotter", 0),
    "change_resource": lambda store, printer: store.change_resource(printer.name, {"timeout": 5}),
    "commit": lambda store, _: store.commit(Batch(1)),
    "mark": lambda store, _: store.mark(Mark(1, 1), 0, 1),
    "forget_events": lambda store, _: store.forget_events(1),
    "forget_losses": lambda store, _: store.forget_losses(1),
    "roll_up": lambda store, _: store.roll_up(10),
    "beat": lambda store, _: store.beat("here"),
    "begin_term": lambda store, _: store.begin_term(),
    "leave": lambda store, _: store.leave(),
}


@pytest.mark.parametrize("name", COMMITS)
async def test_every_commit_changes_the_leaders_row(any_backend: AnyBackend, name: str) -> None:
    """
    Whatever a leader commits changes its row, so that a cluster of servers sees that it excludes what any other daemon commits.

    That is so for what changes nothing else too.
    """
    store = await any_backend.store()
    await lead(store)
    printer = await store.create_resource("printer", 0)
    await store.commit(Batch(0, events=[event(1)], event=1, losses=losses(1)))
    before = await store.look()
    await COMMITS[name](store, printer)
    after = await store.look()
    assert after.beat > before.beat
    assert after.ended == (name == "leave")


async def test_a_sweep_changes_the_leaders_row(backend: Backend) -> None:
    """So does what is done in the background."""
    store = await backend.store()
    await lead(store)
    removed = await store.create_resource("printer", 0)
    await store.commit(Batch(0, removed=[removed]))
    before = await store.look()
    assert await store.sweep() is True
    assert (await store.look()).beat > before.beat


async def test_a_term_that_has_ended(any_backend: AnyBackend) -> None:
    """A daemon that has stepped down commits nothing any more, and the next one sees that it need not wait."""
    old, new = await any_backend.store(), await any_backend.store()
    assert (await old.look()).ended
    await lead(old)
    term = await new.look()
    assert (term.mine, term.ended) == (False, False)
    assert (await old.look()).mine
    await old.leave()
    for attempt in (old.commit(Batch(1)), old.create_resource("printer", 0), old.begin_term()):
        with pytest.raises((EpochLost, StoreUnavailable)):
            await attempt
    term = await new.look()
    assert (term.ended, term.guard) == (True, "")
    await new.begin_term(term, "here")
    assert (await new.look()).guard == "here"


async def test_take_over_of_what_has_moved(any_backend: AnyBackend) -> None:
    """Whoever wants to take a term over that has gone on since it looked does not get it."""
    old, new = await any_backend.store(), await any_backend.store()
    await lead(old)
    seen = await new.look()
    await old.beat("here")
    with pytest.raises(EpochLost):
        await new.begin_term(seen)
    await old.commit(Batch(1, [place(1)]))
    seen = await new.look()
    assert (await new.begin_term(seen)).places == [place(1)]
    # Nor twice, were it the same one: by what it has seen it may be that somebody else was there meanwhile.
    with pytest.raises(EpochLost):
        await new.begin_term(seen)
    assert (await new.look()).mine


async def test_nobody_writes_before_reigning(any_backend: AnyBackend) -> None:
    """A store that has not begun to term changes nothing, in a new database too."""
    store = await any_backend.store()
    with pytest.raises(EpochLost):
        await store.commit(Batch(1, [place(1)]))
    for attempt in (store.create_resource("printer", 0), store.change_resource("printer", {"timeout": 0})):
        with pytest.raises(EpochLost):
            await attempt
    assert (await lead(store))[1:9] == (0, [], {}, 0, (), 0, (), {})


async def test_batch_of_an_earlier_reign(backend: Backend) -> None:
    """A batch that was on its way when the same daemon looked anew is not done; and it is no other daemon's fault."""
    store = await backend.store()
    await lead(store)
    anew = ensureDeferred(store.begin_term())
    late = ensureDeferred(store.commit(Batch(1, [place(1)])))
    snapshot = await anew
    with pytest.raises(StoreUnavailable):
        await late
    assert snapshot.places == (await store.begin_term()).places == []


async def test_reign_waits_for_a_transaction_under_way(backend: Backend) -> None:
    """
    A new term begins only when the transaction that has just checked the old one has ended, and sees what it did; and not at once,
    because whoever commits is still there.

    The old daemon is stopped in the middle of its commit, after the check, for as long as the test wants.
    """
    import threading

    from twisted.internet import reactor

    checked, go_on = threading.Event(), threading.Event()

    class SlowStore(SQLStore):
        def _claim(self, *claim: object) -> None:
            super()._claim(*claim)  # type: ignore[arg-type]
            checked.set()
            assert go_on.wait(60)

        def _script(self, *parts: object) -> list[Statement]:
            # More than is sent at once, so that it is done step by step.
            return [*super()._script(*parts), Statement("DO %s", ["x" * LONGEST])]  # type: ignore[arg-type]

    old = SlowStore((await backend.store()).database)
    new = await backend.store()
    go_on.set()
    await lead(old)
    go_on.clear()
    under_way = ensureDeferred(old.commit(Batch(7, [place(1)])))
    assert await deferToThread(checked.wait, 5)
    leading = ensureDeferred(lead(new))
    # It must not get through: 200 ms are many times what it takes when nobody is in its way.
    pause: Deferred[None] = Deferred()
    reactor.callLater(0.2, pause.callback, None)
    await pause
    assert not leading.called
    go_on.set()
    await under_way
    with pytest.raises(EpochLost):
        await leading
    snapshot = await lead(new)
    assert (snapshot.fence, snapshot.places) == (7, [place(1)])
    with pytest.raises(EpochLost):
        await old.commit(Batch(8, [place(2)]))


@pytest.mark.parametrize("size", [1, 30_000])
async def test_commits_are_judged_however_they_are_sent(backend: Backend, size: int) -> None:
    """Large ones go step by step, small ones at once: a wrong holder and an old term change nothing by either."""
    old, new = await backend.store(), await backend.store()
    await lead(old)
    printer = await old.create_resource("printer", 0)
    held = holder(1, fence=1)
    await old.commit(Batch(1, [held], writes=[write(held, printer.id, '"1"')]))
    text = '"' + "x" * size + '"'
    for wrong in (held._replace(fence=2), held._replace(ticket="0" * 32), held._replace(seq=2), place(1)):
        with pytest.raises(StoreRefused):
            await old.commit(Batch(3, [place(9)], writes=[write(wrong, printer.id, text)], gone=[1]))
    waiting = place(5)
    with pytest.raises(StoreRefused):
        await old.commit(Batch(3, [place(9), waiting], writes=[write(waiting, printer.id, text)]))
    both = [write(held._replace(ticket="0" * 32), printer.id, text), write(held, printer.id, text)]
    with pytest.raises(StoreRefused):
        await old.commit(Batch(3, [place(9)], writes=both))
    assert (await old.read(printer, "A4")).data == '"1"'
    await lead(new)
    with pytest.raises(EpochLost):
        await old.commit(Batch(3, [place(9)], writes=[write(held, printer.id, text)], gone=[1]))
    assert (await new.read(printer, "A4")).data == '"1"'
    snapshot = await lead(new)
    assert (snapshot.fence, snapshot.places) == (1, [held])


async def test_many_at_once(any_backend: AnyBackend) -> None:
    """What is asked all at once is all done: reads, writes and creations."""
    store = await any_backend.store()
    await lead(store)
    names = [f"r{number}" for number in range(50)]
    created = await gatherResults([ensureDeferred(store.create_resource(name, 1)) for name in names])
    found = await gatherResults([ensureDeferred(store.find_resource(name)) for name in names])
    assert found == created


async def test_closed_store(backend: Backend) -> None:
    """A store that was closed says so, twice closed too, and what was under way has been done by then."""
    store = await backend.store()
    await lead(store)
    under_way = ensureDeferred(store.commit(Batch(1, [place(1)])))
    await store.close()
    assert under_way.called
    await under_way
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.ping()
    assert (await lead(await backend.store())).places == [place(1)]


async def test_ping(backend: Backend) -> None:
    """A store that can be reached answers, and one whose tables are away does not."""
    store = await backend.store()
    await store.ping()
    backend.rows("DROP TABLE server")
    with pytest.raises(StoreUnavailable):
        await store.ping()


async def test_old_timeouts(backend: Backend) -> None:
    """A timeout less than nothing, as the original server let it be, means the server's default."""
    store = await backend.store()
    await lead(store)
    backend.rows("INSERT INTO resource (id, name, timeout) VALUES ('1', 'printer', -5)")
    await store.commit(Batch(0, [place(1)]))
    assert (await store.find_resource("printer")).timeout == 0
    assert (await lead(store)).resources["printer"].timeout == 0


JOINT = JointRequest(
    7,
    "t" * 32,
    (
        Want("printer", tags=frozenset({"a3", "\u00e9"}), count=2),
        Want("plotter", "A/0 \U0001f600"),
        Want("printer", count=ALL),
    ),
    yields=True,
    priority=-9,
    lease=12,
    owner="\u00c1 job",
    key_name="ci",
    idempotency_key="f" * 64,
    since=1_700_000_000_000,
    granted=False,
)
UNIT = Card(frozenset({"a3", "\u00e9t\u00e9"}), "left \U0001f600 shelf\n", "cracked", 1_700_000_000_000)


async def test_definitions_survive(any_backend: AnyBackend) -> None:
    """All that a definition says is kept, and a change of one thing leaves the others as they are."""
    store = await any_backend.store()
    await lead(store)
    printer = await store.create_resource("printer", 300, group="\u00c9tage 2", longest=900, slots=5)
    assert printer == Resource(printer.id, "printer", 300, "\u00c9tage 2", 900, 5)
    assert await (await any_backend.store()).find_resource("printer") == printer
    changed = await store.change_resource("printer", {"longest": 0, "group": ""})
    assert changed == Resource(printer.id, "printer", 300, "", 0, 5)
    assert await store.list_resources("", "", 9) == [changed]
    assert await store.change_resource("printer", {"timeout": 1, "slots": 0}) == Resource(printer.id, "printer", 1)


async def test_joint_requests_survive(any_backend: AnyBackend) -> None:
    """A joint request is known to the next daemon as it was, and so is which of its wants each place meets."""
    store = await any_backend.store()
    await lead(store)
    other = JOINT._replace(seq=8, ticket="u" * 32)
    await store.commit(Batch(0, joints=[other, JOINT]))
    assert (await lead(await any_backend.store())).joints == (JOINT, other)
    store = await any_backend.store()
    await lead(store)
    granted = JOINT._replace(granted=True)
    units = [holder(seq, fence=seq)._replace(joint=7, want=seq - 10, lease=12, priority=-9) for seq in (10, 11)]
    await store.commit(Batch(11, units, joints=[granted], joints_gone=[8]))
    snapshot = await lead(await any_backend.store())
    assert (snapshot.joints, snapshot.places) == ((granted,), units)


async def test_cards_survive(any_backend: AnyBackend) -> None:
    """Cards are known to the next daemon, with the resources of their units, until they are taken away."""
    store = await any_backend.store()
    await lead(store)
    printer = await store.create_resource("printer", 300, group="office")
    await store.create_resource("plotter", 0)
    red, blue = LockKey("printer", "red \U0001f600"), LockKey("printer", "blue")
    await store.commit(Batch(0, cards={red: UNIT, blue: Card()}))
    snapshot = await lead(await any_backend.store())
    assert snapshot.cards == {red: UNIT, blue: Card()}
    assert snapshot.resources == {"printer": printer}
    store = await any_backend.store()
    await lead(store)
    back = UNIT._replace(out=None, out_since=0)
    await store.commit(Batch(0, cards={red: back, blue: None, LockKey("printer", "none"): None}))
    assert (await lead(await any_backend.store())).cards == {red: back}


async def test_removed_pool(any_backend: AnyBackend) -> None:
    """The cards of a removed resource go with it: one of the same name has no units."""
    store = await any_backend.store()
    await lead(store)
    printer = await store.create_resource("printer", 0)
    red, other = LockKey("printer", "red"), LockKey("plotter", "red")
    await store.commit(Batch(0, cards={red: UNIT, other: UNIT}))
    await store.commit(Batch(0, removed=[printer]))
    await store.create_resource("printer", 0)
    assert (await lead(await any_backend.store())).cards == {other: UNIT}


async def test_a_large_pool(any_backend: AnyBackend) -> None:
    """A thousand units are granted in one batch."""
    store = await any_backend.store()
    await lead(store)
    keys = [LockKey("printer", f"u{number}") for number in range(1, 1001)]
    await store.commit(Batch(0, cards=dict.fromkeys(keys, UNIT)))
    units = [
        place(seq, key, fence=seq, standing=Standing.HOLDING)._replace(joint=1, want=2)
        for seq, key in enumerate(keys, 2)
    ]
    await store.commit(Batch(1001, units, joints=[JOINT._replace(seq=1, granted=True)]))
    snapshot = await lead(await any_backend.store())
    assert (snapshot.places, len(snapshot.cards)) == (units, 1000)
