"""
Whether what was told about requests for several things, and about the units of pools, can be true.

As in ``tests.torture.history``, only what cannot be otherwise counts: where several cards may have been in force, any of them may.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final, NamedTuple

from tests.torture.history import LATE, name_of
from tests.torture.record import PARTIAL, Kind, Op
from tests.torture.several import each_unit

#: Seconds after which a request that was not answered is over too, be it that a frozen daemon had it.
LOST_FOR: Final = 30.0


class CardKept(NamedTuple):
    """What a unit has in the end; no tags if it is no unit."""

    tags: frozenset[str] | None
    out: str


class Change(NamedTuple):
    """
    What may have become of a card at some time between two.

    :ivar sure: whether it is known to have been done.
    """

    begins: float
    ends: float
    value: Any
    sure: bool = True


def check_pools(
    ops: Sequence[Op], begin: Mapping[str, Iterable[str]], final: Mapping[str, CardKept], patience: float
) -> list[str]:
    """
    Judge a history.

    :param begin: the units of the beginning with their tags, all of them in service.
    :param final: the units of the end.
    :param patience: for how many seconds a ticket that waits may be silent.
    :returns: the violations, each as a sentence.
    """
    cards = _Cards(ops, begin)
    rounds: defaultdict[tuple[str, int], list[Op]] = defaultdict(list)
    for op in sorted(ops, key=lambda op: op.sent.at):
        rounds[op.sent.client, op.sent.round].append(op)
    arrivals = {which: some[0].sent.at for which, some in rounds.items()}
    breaks = [op for op in ops if op.sent.kind == Kind.BREAK and op.told.status != 412]
    found = [
        violation
        for some in rounds.values()
        if any(op.sent.kind == Kind.SEVERAL for op in some)
        for violation in (*_whole(some, cards), *_steady(some, breaks), *_patient(some, breaks, patience))
    ]
    grants = _grants(each_unit(ops), arrivals)
    found += _out_of_service(grants, cards)
    found += _overtaken(rounds.values(), grants, cards)
    found += cards.differ(final)
    return found


# -- Cards


class _Cards:
    """What every card may have said at any time."""

    def __init__(self, ops: Iterable[Op], begin: Mapping[str, Iterable[str]]) -> None:
        self._tags: defaultdict[str, list[Change]] = defaultdict(list)
        self._out: defaultdict[str, list[Change]] = defaultdict(list)
        for selector, words in begin.items():
            self._tags[selector].append(Change(-inf, -inf, frozenset(words)))
            self._out[selector].append(Change(-inf, -inf, ""))
        for op in ops:
            sent, told = op.sent, op.told
            if told.status == PARTIAL or (told.status == 404 and sent.kind != Kind.CARD):
                continue
            sure = told.status in {200, 204, 404}
            ends = told.at if sure else sent.at + LOST_FOR
            if sent.kind == Kind.CARD:
                tags = None if sent.tags is None else frozenset(sent.tags)
                self._tags[sent.selector].append(Change(sent.at, ends, tags, sure))
                self._out[sent.selector].append(Change(sent.at, ends, sent.out, sure))
            elif sent.kind == Kind.RELEASE and sent.out is not None and not (told.status == 200 and not told.released):
                self._out[sent.selector].append(Change(sent.at, ends, sent.out, sure))

    @property
    def units(self) -> Iterable[str]:
        """All that ever were units."""
        return self._tags.keys()

    def tags(self, selector: str, begins: float, ends: float) -> set[frozenset[str] | None]:
        """Return the tags that a unit may have had at any time between two; none if it may have been no unit."""
        return _possible(self._tags.get(selector, [Change(-inf, -inf, None)]), begins, ends)

    def out(self, selector: str, begins: float, ends: float) -> set[str]:
        """Return why a unit may have been out of service at any time between two; empty if it may have been in service."""
        return _possible(self._out.get(selector, [Change(-inf, -inf, "")]), begins, ends)

    def surely(self, selector: str, tags: Iterable[str], begins: float, ends: float) -> bool:
        """Whether a unit had all of some tags all the time between two."""
        return all(some is not None and some.issuperset(tags) for some in self.tags(selector, begins, ends))

    def differ(self, final: Mapping[str, CardKept]) -> Iterator[str]:
        """What was acknowledged last is kept."""
        for selector in self.units:
            kept = final.get(selector, CardKept(None, ""))
            tags, out = self.tags(selector, inf, inf), self.out(selector, inf, inf)
            if kept.tags not in tags or (kept.tags is not None and kept.out not in out):
                yield f"the card of {selector} says {kept} in the end, and was last told to say {tags}, {out}"


def _possible(changes: Sequence[Change], begins: float, ends: float) -> set[Any]:
    """Return what may have been in force: what had begun before the end, and was not certainly replaced before the beginning."""
    replaced = max((change.begins for change in changes if change.sure and change.ends <= begins), default=-inf)
    return {change.value for change in changes if change.begins <= ends and change.ends >= replaced}


# -- Single requests


def _whole(some: list[Op], cards: _Cards) -> Iterator[str]:
    """A request gets everything that it wants at once, and nothing else."""
    first: dict[str, Op] = {}
    for op in some:
        if op.sent.kind != Kind.SEVERAL or op.told.status not in {200, 202}:
            continue
        told = op.told
        if told.status == 202 or told.ticket in first or not op.sent.wants:
            continue
        first[told.ticket] = op
        begins = some[0].sent.at
        selectors = [selector for _, selector, _, _ in told.got]
        if len(set(selectors)) < len(selectors):
            yield f"{name_of(op)} got a unit twice: {selectors}"
        for index, want in enumerate(op.sent.wants):
            mine = [selector for number, selector, _, _ in told.got if number == index]
            if not _fits(want, mine, cards, begins, told.at):
                yield f"{name_of(op)} wants {op.sent.wants} and got {told.got}"
            if not want[1] and not want[3]:
                left = [
                    selector
                    for selector in cards.units
                    if selector.startswith(f"{want[0]}/")
                    and selector not in selectors
                    and cards.surely(selector, want[2], begins, told.at)
                    and cards.out(selector, begins, told.at) == {""}
                ]
                if left:
                    yield f"{name_of(op)} wants all of {want} and did not get {left}"


def _fits(want: Sequence[Any], selectors: list[str], cards: _Cards, begins: float, ends: float) -> bool:
    """Whether some units can be what was wanted."""
    resource, selector, tags, count = want
    if selector:
        return selectors == [f"{resource}/{selector}"]
    return (len(selectors) == count if count else bool(selectors)) and all(
        unit.startswith(f"{resource}/")
        and any(some is not None and some.issuperset(tags) for some in cards.tags(unit, begins, ends))
        for unit in selectors
    )


def _steady(some: list[Op], breaks: list[Op]) -> Iterator[str]:
    """Whoever asks again has what it had, but for what it gave back or was taken from it."""
    having: dict[str, dict[str, int]] = {}
    gone: set[str] = set()
    for op in some:
        if op.sent.releases:
            gone.add(op.sent.selector)
        if op.sent.kind != Kind.SEVERAL or op.told.status != 200:
            continue
        got = {selector: fence for _, selector, fence, _ in op.told.got}
        before = having.setdefault(op.told.ticket, got)
        for selector in before.keys() | got.keys():
            if before.get(selector) == got.get(selector) or (selector in gone and selector not in got):
                continue
            broken = any(
                other.sent.selector == selector and other.sent.fence == before.get(selector) for other in breaks
            )
            if not (broken and selector not in got):
                yield f"{name_of(op)} has fence {got.get(selector)} of {selector}, and had {before.get(selector)}"


def _patient(some: list[Op], breaks: list[Op], patience: float) -> Iterator[str]:
    """A request that waits keeps its place for its time."""
    waited: dict[str, float] = {}
    given_up = False
    for op in some:
        given_up = given_up or op.sent.kind == Kind.GIVE_BACK
        if op.sent.kind != Kind.SEVERAL:
            continue
        if op.told.status == 202:
            waited[op.told.ticket] = op.sent.at + patience
        elif op.told.status == 200:
            waited.pop(op.told.ticket, None)
        elif op.told.status == 410 and not given_up:
            until = waited.pop(op.sent.ticket, -inf)
            struck = any(other.sent.at < op.told.at and other.told.at > op.told.at - LATE for other in breaks)
            if op.told.at < until and not struck:
                yield f"{name_of(op)} lost its place {until - op.told.at:.3f} s before its time"


# -- The order of all


@dataclass(frozen=True, slots=True)
class _Grant:
    """
    That somebody was told for the first time that it has a lock.

    :ivar arrival: before which it cannot have asked for it.
    """

    told: float
    arrival: float
    op: Op
    priority: int


def _grants(ops: Iterable[Op], arrivals: Mapping[tuple[str, int], float]) -> dict[str, list[_Grant]]:
    """Return the grants at each selector, in the order in which they were told."""
    first: dict[tuple[str, int], Op] = {}
    for op in ops:
        if op.grant:
            which = op.sent.selector, op.told.fence
            if which not in first or op.told.at < first[which].told.at:
                first[which] = op
    grants: defaultdict[str, list[_Grant]] = defaultdict(list)
    for (selector, _), op in sorted(first.items(), key=lambda item: item[1].told.at):
        arrival = arrivals[op.sent.client, op.sent.round]
        grants[selector].append(_Grant(op.told.at, arrival, op, op.sent.priority))
    return grants


def _out_of_service(grants: Mapping[str, list[_Grant]], cards: _Cards) -> Iterator[str]:
    """Nobody gets a unit that is out of service."""
    for selector, some in grants.items():
        for grant in some:
            if "" not in (out := cards.out(selector, grant.arrival, grant.told)) and None not in cards.tags(
                selector, grant.arrival, grant.told
            ):
                yield f"{selector}: {name_of(grant.op)} was granted while it was out of service: {out}"


@dataclass(slots=True)
class _Wait:
    """
    A time in which a ticket surely waits.

    :ivar needs: whether a unit is one that it lacks as long as it waits, whatever else is kept for it.
    """

    begins: float
    ends: float
    op: Op
    candidates: Iterable[str]
    needs: Callable[[str, float, float], bool] = field(repr=False)


def _waits(some: list[Op], cards: _Cards) -> Iterator[_Wait]:
    waits: dict[str, _Wait] = {}
    for op in some:
        if op.told.status != 202 or op.sent.kind not in {Kind.LOCK, Kind.SEVERAL} or op.sent.yields:
            continue
        known = waits.get(op.told.ticket)
        if known is not None:
            known.ends = op.sent.at
        elif op.sent.kind == Kind.LOCK:
            waits[op.told.ticket] = _Wait(op.told.at, op.sent.at, op, [op.sent.selector], lambda *_: True)
        elif op.sent.wants:
            wants = op.sent.wants

            def needs(unit: str, begins: float, ends: float, wants: Sequence[Sequence[Any]] = wants) -> bool:
                resource, _, selector = unit.partition("/")
                if any((want[0], want[1]) == (resource, selector) for want in wants):
                    return True
                # What every want could use is lacking as long as anything is.
                return all(
                    want[0] == resource and not want[1] and cards.surely(unit, want[2], begins, ends) for want in wants
                )

            resources = tuple({f"{want[0]}/" for want in wants})
            candidates = [unit for unit in cards.units if unit.startswith(resources)]
            waits[op.told.ticket] = _Wait(op.told.at, op.sent.at, op, candidates, needs)
    yield from waits.values()


def _overtaken(rounds: Iterable[list[Op]], grants: Mapping[str, list[_Grant]], cards: _Cards) -> Iterator[str]:
    """Nobody gets what somebody lacks who asked for it before and waits all the time."""
    for some in rounds:
        for wait in _waits(some, cards):
            for selector in wait.candidates:
                there = grants.get(selector, [])
                for grant in there[bisect_left(there, wait.begins, key=lambda grant: grant.told) :]:
                    if grant.told >= wait.ends:
                        break
                    if (
                        grant.arrival > wait.begins
                        and grant.priority <= wait.op.sent.priority
                        and wait.needs(selector, grant.arrival, grant.told)
                    ):
                        yield (
                            f"{selector}: {name_of(grant.op)}, which came after {grant.arrival:.3f}, has overtaken "
                            f"{name_of(wait.op)}, which waited from {wait.begins:.3f} to {wait.ends:.3f}"
                        )
