"""What requests for several things at once mean for each of their units, so that each is judged as any lock is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from tests.torture.record import Kind, Op, Sent, Told


def each_unit(ops: Iterable[Op]) -> Iterator[Op]:
    """Yield what was asked and answered about single selectors, with what follows for them from requests for several."""
    rounds: defaultdict[tuple[str, int], list[Op]] = defaultdict(list)
    for op in ops:
        rounds[op.sent.client, op.sent.round].append(op)
    for some in rounds.values():
        having: dict[str, int] = {}
        for op in sorted(some, key=lambda op: op.sent.at):
            if op.sent.kind == Kind.SEVERAL:
                yield from _asked(op, having)
            elif op.sent.kind == Kind.GIVE_BACK:
                yield from _given_back(op, having)
            else:
                yield op
                yield from _used(op, having)


def _asked(op: Op, having: dict[str, int]) -> Iterator[Op]:
    """Everything was granted or is kept, or some of it was lost."""
    sent, told = op.sent, op.told
    if told.status == 200:
        for _, selector, fence, value in told.got:
            having[selector] = fence
            yield Op(
                replace(sent, kind=Kind.LOCK, selector=selector, reads=True), replace(told, fence=fence, value=value)
            )
    elif told.status == 410:
        for selector in having.keys() - {*(told.left or ())}:
            del having[selector]
            yield Op(replace(sent, kind=Kind.LOCK, selector=selector), told)


def _given_back(op: Op, having: dict[str, int]) -> Iterator[Op]:
    for selector, fence in having.items():
        yield Op(replace(op.sent, kind=Kind.RELEASE, selector=selector, fence=fence), op.told)


def _used(op: Op, having: dict[str, int]) -> Iterator[Op]:
    """The use of one unit renews all."""
    sent = op.sent
    if sent.releases:
        having.pop(sent.selector, None)
    elif op.written and sent.lease:
        for selector, fence in having.items():
            if selector != sent.selector:
                yield Op(
                    Sent(
                        sent.client,
                        sent.number,
                        sent.round,
                        Kind.RENEWAL,
                        selector,
                        sent.at,
                        fence=fence,
                        lease=sent.lease,
                    ),
                    Told(sent.number, op.told.at, op.told.status),
                )
