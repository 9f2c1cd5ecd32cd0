"""What was used, by days, in SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from resourced.errors import StoreUnavailable
from resourced.model import GRANT, EventKind
from resourced.storage import statements
from resourced.storage.spelling import text
from resourced.storage.sql.pool import Transaction
from resourced.storage.sql_events import SETTLED, SQLEvents
from resourced.usage import BOUNDS, DAY, ENDS, NAMES, By, Of, Use, day_of, use_of

_WAITS: Final = tuple(f"wait_{number}" for number in range(len(BOUNDS) + 1))
#: How many rows a statement has at most: SQLite takes some thousands of values.
_LOT: Final = 100
#: How many rows of what is counted may come of the events that are counted at once: to write those holds all commits up.
_MOST_ROWS: Final = 1000
_AMOUNTS: Final = ("grants", "held", "expiries", "breaks", "waited", *_WAITS)
#: What names a day and a resource, and what of it is counted.
_GROUP: Final = "resource = %s AND day = %s AND used_by = %s"
#: The columns of what is counted; the first four name a row.
USAGE_COLUMNS: Final = ("resource", "day", "used_by", "name", *_AMOUNTS)
#: When the day of an event began. Division is spelled differently by each database, but not what it leaves.
_DAY_BEGAN: Final = f"at - at %% {DAY}"
#: The class of the wait that a grant tells of.
_WAIT: Final = (
    f"CASE WHEN kind <> {int(GRANT)} THEN 0 "
    f"{' '.join(f'WHEN seconds <= {bound} THEN {number}' for number, bound in enumerate(BOUNDS))} ELSE {len(BOUNDS)} END"
)
_ALIKE: Final = f"resource, {_DAY_BEGAN}, selector, owner, kind, {_WAIT}"
#: Adds up events that are alike. The database does so, because to fetch each of them takes as long as the request that it tells of.
_USED: Final = (
    f"SELECT {_ALIKE}, COUNT(*), SUM(seconds) FROM event WHERE id > %s AND id <= %s "
    f"AND (kind = {int(GRANT)} OR (fence > 0 AND kind IN ({', '.join(str(int(kind)) for kind in ENDS)}))) "
    f"GROUP BY {_ALIKE} ORDER BY MIN(id)"
)
_KEEP: Final = f"REPLACE INTO usage_day ({', '.join(USAGE_COLUMNS)}) VALUES "


class SQLUsage(SQLEvents):
    """The part of the ``Store`` that counts what was used."""

    #: Into how many parts the events had to be divided lately, to be few enough rows.
    _parts = 1

    async def roll_up(self, limit: int) -> int:
        most = max(1, limit // self._parts)
        # Nobody but the leader adds to what is counted, so all but the sums themselves is done before its row is taken.
        counted, last, sums = await self.database.read(lambda transaction: read_sums(transaction, most))
        if len(sums) > _MOST_ROWS:
            self._parts *= 2
            return await self.roll_up(limit)
        if 2 * len(sums) <= _MOST_ROWS:
            self._parts = max(1, self._parts // 2)
        if last > counted:
            await self._write(lambda transaction: _keep(transaction, counted, last, sums))
        return last

    async def usage(self, resource: str, by: By, since: int, limit: int) -> dict[str, Use]:
        sums = ", ".join(f"SUM({amount}) AS {amount}" for amount in _AMOUNTS)
        rows = await self.database.read(
            lambda transaction: transaction.query(
                f"SELECT name, {sums} FROM usage_day WHERE resource = %s AND used_by = %s AND day >= %s "
                "GROUP BY name ORDER BY held DESC, grants DESC, name LIMIT %s",
                (resource, int(by), since, limit),
            )
        )
        return {text(name): _use(amounts) for name, *amounts in rows}

    async def forget_usage(self, days: int) -> bool:
        found = await self.database.read(
            lambda transaction: transaction.query(
                "SELECT DISTINCT day FROM usage_day ORDER BY day DESC LIMIT 1 OFFSET %s", (days,)
            )
        )
        if not found:
            return False
        ((day,),) = found
        await self._write(lambda transaction: transaction.execute("DELETE FROM usage_day WHERE day <= %s", (day,)))
        return False


def read_sums(transaction: Transaction, limit: int) -> tuple[int, int, dict[Of, Use]]:
    """Return up to which event all are counted, up to which they can be, and the sums that change with that."""
    ((counted,),) = transaction.query("SELECT event FROM usage_mark WHERE id = 1")
    ((last,),) = transaction.query(
        f"SELECT MAX(id) FROM (SELECT id FROM event WHERE id > %s AND id <= {SETTLED} ORDER BY id LIMIT %s) AS oldest",
        (counted, limit),
    )
    if last is None:
        return counted, counted, {}
    counts, sums = _used(transaction, counted, last), dict[Of, Use]()
    groups = {
        others: {one.name: counts[one] for one in group}
        for others, group in groupby(sorted(counts), key=lambda of: of._replace(name=""))
    }
    for lot in statements.batched(list(groups), _LOT):
        sums |= _added(transaction, {others: groups[others] for others in lot})
    return counted, last, sums


def _used(transaction: Transaction, after: int, last: int) -> dict[Of, Use]:
    """Return the use that some events tell of."""
    counts: dict[Of, Use] = {}
    for resource, began, selector, owner, kind, wait, count, seconds in transaction.query(_USED, (after, last)):
        use = use_of(EventKind(kind), count, seconds, wait)
        for by, name in ((By.UNIT, selector), (By.OWNER, owner)):
            of = Of(text(resource), day_of(began), by, text(name))
            counts[of] = counts[of].plus(use) if of in counts else use
    return counts


def _added(transaction: Transaction, groups: Mapping[Of, Mapping[str, Use]]) -> dict[Of, Use]:
    """Add to what is counted of some days and resources. Names for which there is no room count as others."""
    known = _known(transaction, {others: [*uses, others.name] for others, uses in groups.items()})
    new = {
        others: [name for name in uses if others._replace(name=name) not in known] for others, uses in groups.items()
    }
    counts = _counts(transaction, [others for others, names in new.items() if names])
    sums: dict[Of, Use] = {}
    for others, uses in groups.items():
        room = set(new[others][: max(0, NAMES - counts.get(others, 0))])
        for name, use in uses.items():
            of = others._replace(name=name)
            at = of if of in known or name in room else others
            sums[at] = sums.get(at, known.get(at, Use())).plus(use)
    return sums


def _keep(transaction: Transaction, counted: int, last: int, sums: Mapping[Of, Use]) -> None:
    if not transaction.execute("UPDATE usage_mark SET event = %s WHERE id = 1 AND event = %s", (last, counted)):
        # What was sent before, and not answered, has been done after all.
        raise StoreUnavailable("The use was counted meanwhile; it is counted again.")
    rows = [(*_key(of), *use[:5], *use.waits) for of, use in sums.items()]
    for lot in statements.batched(rows, _LOT):
        each = ", ".join([f"({statements.marks(USAGE_COLUMNS)})"] * len(lot))
        transaction.execute(_KEEP + each, [value for row in lot for value in row])


def _known(transaction: Transaction, names: Mapping[Of, list[str]]) -> dict[Of, Use]:
    """Return what is counted of some names, each of a day and a resource."""
    each = " OR ".join(f"({_GROUP} AND name IN ({statements.marks(some)}))" for some in names.values())
    rows = transaction.query(
        f"SELECT resource, day, used_by, name, {', '.join(_AMOUNTS)} FROM usage_day WHERE {each}",
        [value for others, some in names.items() for value in (*_key(others)[:3], *some)],
    )
    return {Of(text(resource), day, By(by), text(name)): _use(amounts) for resource, day, by, name, *amounts in rows}


def _counts(transaction: Transaction, groups: Sequence[Of]) -> dict[Of, int]:
    """Return how many names are counted of some days and resources."""
    if not groups:
        return {}
    rows = transaction.query(
        "SELECT resource, day, used_by, COUNT(*) FROM usage_day "
        f"WHERE {' OR '.join([f'({_GROUP})'] * len(groups))} GROUP BY resource, day, used_by",
        [value for others in groups for value in _key(others)[:3]],
    )
    return {Of(text(resource), day, By(by), ""): count for resource, day, by, count in rows}


def _key(of: Of) -> tuple[Any, ...]:
    return of.resource, of.day, int(of.by), of.name


def _use(amounts: Iterable[Any]) -> Use:
    grants, held, expiries, breaks, waited, *waits = amounts
    # The sums of MySQL are decimals.
    return Use(int(grants), float(held), int(expiries), int(breaks), float(waited), tuple(map(int, waits)))
