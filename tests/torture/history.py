"""
Whether what all clients were told can be true of a lock and of the data behind it.

Nothing in here knows how the server works.  It is judged as Jepsen judges a lock and a register, and only what cannot be
otherwise counts against it: an answer may be old when it is read, and an answer that never came may mean anything.

Every value that is written has a name and tells the name of the one that it replaces, so from the last value one can go
back through all that were ever kept: the chain.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from tests.torture.record import LOST, PARTIAL, Kind, Op
from tests.torture.several import each_unit

#: What a request may be answered; anything else is a violation by itself.
EXPECTED: Mapping[str, frozenset[int]] = {
    Kind.LOCK: frozenset({LOST, 200, 202, 404, 410, 503}),
    Kind.READ: frozenset({LOST, 200, 404, 503}),
    Kind.WRITE: frozenset({PARTIAL, LOST, 204, 410, 423, 503}),
    Kind.RELEASE: frozenset({PARTIAL, LOST, 200, 503}),
    Kind.SEVERAL: frozenset({PARTIAL, LOST, 200, 202, 409, 410, 503}),
    Kind.GIVE_BACK: frozenset({LOST, 200, 503}),
    Kind.CARD: frozenset({PARTIAL, LOST, 200, 204, 404, 503}),
    Kind.BREAK: frozenset({LOST, 204, 412, 503}),
}
REFUSED = frozenset({PARTIAL, 410, 423})
#: Seconds in which a break may have been noticed by whom it struck.
LATE = 10.0


@dataclass(frozen=True, slots=True)
class Rules:
    """
    What the server has promised.

    :ivar leases: by resource, for how many seconds a holder may be silent.
    :ivar patience: for how many seconds a ticket that waits may be silent, whether or not the lock falls to it meanwhile.
    """

    leases: Mapping[str, float]
    patience: float


@dataclass(frozen=True, slots=True)
class Value:
    """What a selector has in the end: the last value's name and its counter."""

    name: str
    counter: int


@dataclass(frozen=True, slots=True)
class Belief:
    """A time in which a client is entitled to take the lock for its own."""

    begins: float
    ends: float
    fence: int
    client: str


def check(ops: Sequence[Op], final: Mapping[str, Value], rules: Rules) -> list[str]:
    """
    Judge a history.

    :param ops: all that was asked and answered.
    :param final: what every selector has in the end; one that nothing was ever written to may be missing.
    :returns: the violations, each as a sentence.
    """
    by_selector: defaultdict[str, list[Op]] = defaultdict(list)
    found = [
        f"{name_of(op)} was answered {op.told.status} {op.told.code}"
        for op in ops
        if not _expected(op) or (op.sent.kind == Kind.LOCK and op.told.status in {200, 404} and not op.grant)
    ]
    for op in each_unit(ops):
        by_selector[op.sent.selector].append(op)
    for selector in final:
        by_selector.setdefault(selector, [])
    for selector, some in sorted(by_selector.items()):
        some.sort(key=lambda op: op.sent.at)
        broken = _broken(some)
        lease = rules.leases[selector.partition("/")[0]]
        chain = _Chain(some, final.get(selector, Value("", 0)))
        violations = (
            *_tickets(some),
            *_fences(some),
            *_overlaps(some, lease, broken),
            *_losses(some, lease, rules.patience, broken),
            *chain.check(),
        )
        found += [f"{selector}: {violation}" for violation in violations]
    return found


def _expected(op: Op) -> bool:
    """Whether a request may be answered so. A unit that has no card any more cannot be given back as broken."""
    broken = op.sent.kind == Kind.RELEASE and op.sent.out is not None
    return op.told.status in EXPECTED[op.sent.kind] or (broken and op.told.code == "no_card")


def name_of(op: Op) -> str:
    """Say which request it is."""
    return f"{op.sent.kind} {op.sent.number} of {op.sent.client} at {op.sent.at:.3f}"


# -- Grants


def _tickets(ops: list[Op]) -> Iterator[str]:
    """A fence belongs to one ticket, once and for all."""
    tickets: dict[int, str] = {}
    for op in ops:
        if op.grant:
            ticket = tickets.setdefault(op.told.fence, op.told.ticket)
            if ticket != op.told.ticket:
                yield f"fence {op.told.fence} was told to two tickets, the second time by {name_of(op)}"


def _fences(ops: list[Op]) -> Iterator[str]:
    """Once a fence has been told, no lower one can be that of the holder any more; nor one that was let go of."""
    asserted = [op for op in ops if op.grant or op.written]
    # From when on a fence was known to be given out, and to be over.
    known = sorted((op.told.at, op.told.fence) for op in ops if op.grant)
    over: dict[int, float] = {}
    for op in ops:
        if op.sent.releases and op.sent.fence and op.told.status in {200, 204}:
            over[op.sent.fence] = min(over.get(op.sent.fence, inf), op.told.at)
    highest = position = 0
    for op in asserted:
        while position < len(known) and known[position][0] < op.sent.at:
            highest = max(highest, known[position][1])
            position += 1
        fence = op.told.fence if op.grant else op.sent.fence
        if fence < highest:
            yield f"{name_of(op)} was answered {op.told.status} for fence {fence} after fence {highest} had been given out"
        if over.get(fence, inf) < op.sent.at:
            yield f"{name_of(op)} was answered {op.told.status} for fence {fence} after that had been let go of"


def _broken(ops: list[Op]) -> dict[int, float]:
    """Return the fences that may have been broken, and from when on."""
    broken: dict[int, float] = {}
    for op in ops:
        if op.sent.kind == Kind.BREAK and op.told.status != 412:
            broken[op.sent.fence] = min(broken.get(op.sent.fence, inf), op.sent.at)
    return broken


def _rounds(ops: list[Op]) -> list[list[Op]]:
    rounds: defaultdict[tuple[str, int], list[Op]] = defaultdict(list)
    for op in ops:
        rounds[op.sent.client, op.sent.round].append(op)
    return list(rounds.values())


def _renewals(some: list[Op], lease: float) -> Iterator[tuple[Op, float]]:
    """Yield each answer that tells a client that it holds the lock, and until when it does by that."""
    for op in some:
        if op.grant:
            yield op, op.sent.at + op.told.lease
        elif op.written and not op.sent.releases:
            yield op, op.sent.at + (op.sent.lease or lease)
        elif op.sent.kind == Kind.RENEWAL:
            yield op, op.sent.at + op.sent.lease


def beliefs(ops: list[Op], lease: float, broken: Mapping[int, float]) -> Iterator[Belief]:
    """
    Yield the times in which a client may believe that it holds the lock.

    It may from the moment that it reads the answer to that of its own letting go, and no longer than its lease, which
    it counts from before it asked.
    """
    for some in _rounds(ops):
        end = inf
        for op in some:
            if op.sent.releases:
                end = min(end, op.sent.at)
            elif op.told.status in {410, 423}:
                end = min(end, op.told.at)
        for op, until in _renewals(some, lease):
            fence = op.told.fence or op.sent.fence
            over = min(until, end, broken.get(fence, inf))
            if op.told.at < over:
                yield Belief(op.told.at, over, fence, op.sent.client)


def _overlaps(ops: list[Op], lease: float, broken: Mapping[int, float]) -> Iterator[str]:
    """No two may believe at one time that they hold the lock."""
    active: list[Belief] = []
    for belief in sorted(beliefs(ops, lease, broken), key=lambda belief: belief.begins):
        active = [other for other in active if other.ends > belief.begins]
        for other in active:
            if other.fence != belief.fence:
                yield (
                    f"{other.client} with fence {other.fence} and {belief.client} with fence {belief.fence} both held it "
                    f"from {belief.begins:.3f} to {min(other.ends, belief.ends):.3f}"
                )
        active.append(belief)


def _losses(ops: list[Op], lease: float, patience: float, broken: Mapping[int, float]) -> Iterator[str]:
    """A lock is not taken from its holder, nor a place from one that waits, before its time is over, but by a break."""
    breaks = [op for op in ops if op.sent.kind == Kind.BREAK and op.told.status != 412]
    for some in _rounds(ops):
        until = -inf
        fence = 0
        released = False
        waited: dict[str, float] = {}
        for op in some:
            ended = op.told.status in {410, 423} or (
                op.sent.kind == Kind.RELEASE and op.told.status == 200 and not op.told.released
            )
            if ended and broken.get(fence, inf) < op.told.at:
                pass
            elif ended and not released and op.told.at < until:
                yield f"{name_of(op)} lost the lock {until - op.told.at:.3f} s before its time"
            elif (
                ended
                and not released
                and until == -inf
                and op.told.at < waited.get(op.sent.ticket, -inf)
                # It may have had the lock without knowing.
                and not any(other.sent.at < op.told.at and other.told.at > op.told.at - LATE for other in breaks)
            ):
                yield f"{name_of(op)} lost its place {waited[op.sent.ticket] - op.told.at:.3f} s before its time"
            if ended:
                until = -inf
                waited.clear()
            released = released or op.sent.releases
            for _, end in _renewals([op], lease):
                until = max(until, end)
                fence = op.told.fence or op.sent.fence
            if op.sent.kind == Kind.LOCK and op.told.status == 202:
                waited[op.told.ticket] = op.sent.at + patience


# -- Data


class _Chain:
    """All values that a selector ever had, the last one first."""

    def __init__(self, ops: list[Op], final: Value) -> None:
        self._ops = ops
        self._final = final
        self._writes: dict[str, list[Op]] = defaultdict(list)
        for op in ops:
            if op.sent.kind == Kind.WRITE:
                self._writes[op.sent.write].append(op)
        # From the name of a value to its number; 0 is that of nothing.
        self._numbers = {"": 0}

    def check(self) -> Iterator[str]:
        yield from self._follow()
        for name, attempts in self._writes.items():
            if name not in self._numbers:
                for op in attempts:
                    if op.written:
                        yield f"value {name}, acknowledged to {name_of(op)}, is lost"
            elif all(op.told.status in REFUSED for op in attempts):
                yield f"value {name} is kept, although it was refused with {attempts[0].told.status}"
        yield from self._unseen()
        yield from self._order()

    def _follow(self) -> Iterator[str]:
        """Go back from the last value to the first."""
        name, counter, above = self._final.name, self._final.counter, inf
        names: list[str] = []
        while name:
            attempts = self._writes.get(name)
            if attempts is None:
                yield f"nobody ever wrote the value {name}"
                break
            sent = attempts[0].sent
            if sent.counter != counter:
                yield f"value {name} has counter {counter}, and was written with {sent.counter}"
            if sent.fence > above:
                yield f"value {name} of fence {sent.fence} was replaced by one of fence {above:.0f}"
            names.append(name)
            name, counter, above = sent.before, sent.counter - 1, sent.fence
        if not name and counter:
            yield f"the first value has counter {counter + 1}"
        self._numbers |= {name: number for number, name in enumerate(reversed(names), 1)}

    def _unseen(self) -> Iterator[str]:
        """Whatever anybody has read was kept, so it has its place in the chain."""
        for name in dict.fromkeys(op.told.value for op in self._ops if op.seen):
            if name not in self._numbers:
                yield f"value {name} was read, and then overwritten by someone who had not read it"

    def _order(self) -> Iterator[str]:
        """
        Whoever asks later sees or makes no earlier value.

        One who asks after a value has been read or acknowledged reads that or a later one; and what is read before a value was
        first sent is earlier than that.
        """

        def number(op: Op) -> int:
            return self._numbers.get(op.told.value if op.seen else op.sent.write, -1)

        done = [op for op in self._ops if (op.seen or op.written) and number(op) >= 0]
        known = sorted((op.told.at, number(op)) for op in done)
        highest = position = 0
        for op in done:
            while position < len(known) and known[position][0] < op.sent.at:
                highest = max(highest, known[position][1])
                position += 1
            if number(op) < highest:
                yield f"{name_of(op)} came to value number {number(op)} after number {highest} had been there"
        first = {name: min(op.sent.at for op in attempts) for name, attempts in self._writes.items()}
        for op in done:
            if op.seen and first.get(op.told.value, -inf) > op.told.at:
                yield f"{name_of(op)} read value {op.told.value} before it was sent"
