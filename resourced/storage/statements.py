"""A batch as statements of SQL, in the order in which they are to be done."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, TypeVar

from resourced.model import Batch, Event, LockKey, Place, Standing, Write
from resourced.storage.sql.statement import Statement, check
from resourced.wants import Card, JointRequest, wants_text

T = TypeVar("T")

#: What the names of removed resources begin with, while their data is being deleted; no client can say such a name.
REMOVED: Final = "\x01"

#: How many rows, and how many characters of data, one statement has at most.
_ROWS: Final = 500
_CHARACTERS: Final = 1 << 20

#: Fails, if the statement before it has found no row.
FOUND: Final = Statement(check("ROW_COUNT() = 1"), ())

#: The columns of a place, in the order of its fields.
PLACE_COLUMNS: Final = "seq, resource, selector, ticket, standing, fence, owner, idempotency_key, key_name, since, lease, priority, joint, want"
#: The columns of a joint request, in the order of its fields.
JOINT_COLUMNS: Final = "seq, ticket, wants, yields, priority, lease, owner, key_name, idempotency_key, since, granted"
#: The columns of a unit and its card, in the order of its fields.
CARD_COLUMNS: Final = "resource, selector, tags, note, out_reason, out_since"

#: The columns of an event, in the order of its fields.
EVENT_COLUMNS: Final = "id, kind, at, resource, selector, owner, fence, seconds, key_name, broken_by, reason, priority"


class _Rows:
    """
    Rows that go into a table.

    :param start: the statement up to the columns.
    :param usual: what the last columns mostly have, which is their default: rows that all have it are written without those columns.
    """

    def __init__(self, start: str, columns: str, usual: tuple[Any, ...] = ()) -> None:
        names = columns.split(", ")
        self._usual = usual
        self._fewer = len(names) - len(usual)
        self._all = f"{start} ({columns}) VALUES "
        self._short = f"{start} ({', '.join(names[: self._fewer])}) VALUES "

    def statements(self, rows: Sequence[tuple[Any, ...]], end: str = "") -> Iterator[Statement]:
        """Put rows into as few statements as may be."""
        for first in range(0, len(rows), _ROWS):
            some = rows[first : first + _ROWS]
            start, fewer = self._all, self._fewer
            if self._usual and {row[fewer:] for row in some} == {self._usual}:
                start, some = self._short, [row[:fewer] for row in some]
            row = f"({marks(some[0])})"
            yield Statement(f"{start}{', '.join([row] * len(some))}{end}", list(chain.from_iterable(some)))


_PLACE: Final = _Rows("REPLACE INTO place", PLACE_COLUMNS, (0, 0, 0, 0))
_JOINT: Final = _Rows("REPLACE INTO joint_request", JOINT_COLUMNS)
_CARD: Final = _Rows("REPLACE INTO card", CARD_COLUMNS)
_EVENT: Final = _Rows("INSERT INTO event", EVENT_COLUMNS, ("", "", 0))
_LOSS: Final = _Rows("INSERT INTO loss", "event, resource, selector, ticket, key_name")
_DATA: Final = _Rows("INSERT INTO resource_data", "id, id_resource, selector, data, version")


def claim(row: int, epoch: int, owner: str, fence: int, event: int) -> Statement:
    """
    Change a daemon's own row, and raise what it has given out; this finds no row if its term is over.

    It always changes the row: only then does a cluster of servers, each of which may commit, see that two commits exclude each other.
    """
    return Statement(
        "UPDATE server SET beat = beat + 1, fence = CASE WHEN fence < %s THEN %s ELSE fence END, "
        "event = CASE WHEN event < %s THEN %s ELSE event END WHERE id = %s AND epoch = %s AND owner = %s "
        "AND state = 'up'",
        (fence, fence, event, event, row, epoch, owner),
    )


def declared_dead(row: int, epoch: int, beat: int) -> Statement:
    """End the term of another daemon; this finds no row if that has committed anything since it was looked at."""
    return Statement(
        "UPDATE server SET state = 'dead', beat = beat + 1 WHERE id = %s AND epoch = %s AND beat = %s AND state = 'up'",
        (row, epoch, beat),
    )


def judge(writes: Sequence[Write]) -> Statement:
    """Fail, unless each of some writes comes from the holder."""
    known = {(write.seq, *write.key, write.ticket, write.fence) for write in writes}
    seqs = [row[0] for row in known]
    return Statement(
        check(
            f"(SELECT COUNT(*) FROM place WHERE seq IN ({marks(seqs)}) AND "
            f"standing IN ({int(Standing.GRANTED)}, {int(Standing.HOLDING)}) AND (seq, resource, selector, ticket, fence) "
            f"IN ({', '.join(['(%s, %s, %s, %s, %s)'] * len(known))})) = {len(known)}"
        ),
        [*seqs, *chain.from_iterable(known)],
    )


def before(batch: Batch) -> list[Statement]:
    """What is done before it is looked who holds what."""
    return list(_PLACE.statements([_place(place) for place in batch.places]))


def after(batch: Batch, keep: str) -> Iterator[Statement]:
    """
    What is done after that.

    :param keep: what becomes of data that is there already.
    """
    # Of several writes at one selector the last one counts.
    newest = {(write.resource_id, write.key.selector): write for write in batch.writes}
    kept = []
    for where, write in newest.items():
        if write.data is None:
            yield Statement("DELETE FROM resource_data WHERE id_resource = %s AND selector = %s", where)
        else:
            # A row that is there already keeps its id.
            kept.append((new_id(), *where, write.data, write.version))
    for lot in _lots(kept):
        yield from _DATA.statements(lot, f" {keep}")
    for resource in batch.removed:
        yield Statement("UPDATE resource SET name = %s WHERE id = %s", (REMOVED + resource.id, resource.id))
        yield Statement("DELETE FROM card WHERE resource = %s", (resource.name,))
    for key, card in batch.cards.items():
        if card is None:
            yield Statement("DELETE FROM card WHERE resource = %s AND selector = %s", key)
    yield from _CARD.statements([_card(key, card) for key, card in batch.cards.items() if card is not None])
    yield from _JOINT.statements([_joint(joint) for joint in batch.joints])
    yield from _named("joint_request", "seq", batch.joints_gone)
    yield from _EVENT.statements([_event(event) for event in batch.events])
    yield from _named("place", "seq", batch.gone)
    yield from _LOSS.statements([(event, *key, ticket, key_name) for event, key, ticket, key_name in batch.losses])
    yield from _named("loss", "event", batch.forgotten)


def new_id() -> str:
    """Return a random UUID (RFC 9562, version 4) as text, for a fifth of what the standard library takes: each write asks for one."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def batched(values: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """Part values such that no part has more than ``most`` of them."""
    for first in range(0, len(values), most):
        yield values[first : first + most]


def marks(values: Sequence[Any]) -> str:
    """Return a mark for each of some parameters."""
    return ", ".join(["%s"] * len(values))


def _place(place: Place) -> tuple[Any, ...]:
    seq, key, ticket, standing, *rest = place
    return (seq, *key, ticket, int(standing), *rest)


def _joint(joint: JointRequest) -> tuple[Any, ...]:
    seq, ticket, wants, yields, *rest, granted = joint
    return (seq, ticket, wants_text(wants), int(yields), *rest, int(granted))


def _card(key: LockKey, card: Card) -> tuple[Any, ...]:
    return (*key, " ".join(sorted(card.tags)), *card[1:])


def _event(event: Event) -> tuple[Any, ...]:
    id_, kind, at, key, *rest = event
    return (id_, int(kind), at, *key, *rest)


def _named(table: str, column: str, values: Sequence[int]) -> Iterator[Statement]:
    """Delete the rows of a table that are named by some values."""
    for start in range(0, len(values), _ROWS):
        some = values[start : start + _ROWS]
        yield Statement(f"DELETE FROM {table} WHERE {column} IN ({marks(some)})", some)


def _lots(rows: Iterable[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    """Part rows of data such that no lot is large, unless it is a single row."""
    lot: list[tuple[Any, ...]] = []
    size = 0
    for row in rows:
        size += len(row[3])
        if lot and size > _CHARACTERS:
            yield lot
            lot, size = [], len(row[3])
        lot.append(row)
    if lot:
        yield lot
