"""The table at the end: what was done, what the clients saw of it, and what must not have been."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf

from tests.torture.faults import Log
from tests.torture.record import LOST, PARTIAL, Kind, Op

#: What a client sees while nobody serves; not what it brings upon itself by its lack of patience.
NO_SERVICE = {
    "store_unavailable",
    "shutting_down",
    "ConnectionRefusedError",
    "ConnectionResetError",
    "RemoteDisconnected",
    "BrokenPipeError",
}

#: How many violations are told one by one.
SHOWN = 30


@dataclass
class Report:
    """
    All that is told of a run.

    :ivar title: the run in a line, with its seed.
    :ivar statuses: how the lives of daemons have ended.
    :ivar takeovers: how often a daemon that stood by began to serve.
    :ivar terms: how often a daemon began to serve.
    :ivar finish: after how many seconds the last client had its last increment.
    """

    title: str
    log: Log
    ops: list[Op]
    statuses: Counter[str]
    takeovers: int
    confirm_leader: int
    finish: float
    violations: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, int | float]:
        """All figures, by what they count."""
        writes: dict[str, set[str]] = {"acknowledged": set(), "refused": set(), "unknown": set()}
        names: dict[str, str] = {}
        for op in self.ops:
            if op.sent.kind == Kind.WRITE:
                names[op.sent.write] = _outcome(names.get(op.sent.write, "refused"), op)
        for name, outcome in names.items():
            writes[outcome].add(name)
        answers = Counter(
            f"{op.sent.kind} answered {_status(op)}" for op in self.ops if op.told.status not in {200, 204}
        )
        return {
            **dict(sorted(self.log.counts.items())),
            "times a daemon began to serve": self.confirm_leader,
            "of these after standing by": self.takeovers,
            **{f"daemon ended: {how}": count for how, count in sorted(self.statuses.items())},
            "requests": len(self.ops),
            "grants": len({(op.sent.selector, op.told.fence) for op in self.ops if op.grant}),
            "grants of several": len({op.told.ticket for op in self.ops if op.told.got}),
            "units given back as broken": sum(
                op.sent.out is not None and op.told.released for op in self.ops if op.sent.kind == Kind.RELEASE
            ),
            "units taken out of service": sum(
                bool(op.sent.out) and op.told.status == 200 for op in self.ops if op.sent.kind == Kind.CARD
            ),
            "locks broken": sum(op.sent.kind == Kind.BREAK and op.told.status == 204 for op in self.ops),
            "connections cut by clients": sum(op.told.code == "hung up" for op in self.ops),
            **{f"writes {outcome}": len(some) for outcome, some in writes.items()},
            **dict(sorted(answers.items())),
            "longest outage after a fault was over (s)": round(max(self._outages(), default=0.0), 2),
            **{
                f"longest time without an answer about a lock: {name} (s)": round(seconds, 2)
                for name, seconds in sorted(self._silences().items())
            },
            "all clients done after the last fault (s)": round(self.finish, 2),
        }

    def _silences(self) -> dict[str, float]:
        """For how long nobody was answered about some lock, while there was each of the faults or right after it, at the most."""
        answered: dict[str, list[float]] = {}
        for op in self.ops:
            if op.sent.selector and op.told.status in {200, 202, 204}:
                answered.setdefault(op.sent.selector, []).append(op.told.at)
        longest: dict[str, float] = {}
        for times in answered.values():
            times.sort()
            for began, over, name in self.log.spans:
                # From the last answer before it to the first one after its end.
                first, last = max(bisect_right(times, began) - 1, 0), bisect_right(times, over) + 1
                gaps = (later - earlier for earlier, later in pairwise(times[first:last]))
                longest[name] = max(longest.get(name, 0.0), *gaps, 0.0)
        return longest

    def _outages(self) -> Iterator[float]:
        """For how long after each fault, and before the next one, clients that asked anew were still told that there is no service."""
        failed = sorted(
            (op.told.at, op.sent.at) for op in self.ops if op.told.status in {LOST, 503} and op.told.code in NO_SERVICE
        )
        spans = sorted(self.log.spans)
        for (_, over, _), (begins, _, _) in pairwise(spans):
            first, last = bisect_right(failed, (over, inf)), bisect_right(failed, (begins, inf))
            yield max((told - over for told, sent in failed[first:last] if sent > over), default=0.0)

    def text(self) -> str:
        """Spell the table."""
        figures = self.figures()
        width = max(map(len, figures))
        lines = [self.title, "", *(f"  {name:<{width}}  {value:>8}" for name, value in figures.items()), ""]
        if self.violations:
            lines.append(f"{len(self.violations)} VIOLATIONS")
            lines += [f"  {violation}" for violation in self.violations[:SHOWN]]
            if len(self.violations) > SHOWN:
                lines.append(f"  ... and {len(self.violations) - SHOWN} more")
        else:
            lines.append("no violations")
        return "\n".join(lines) + "\n"


def _outcome(before: str, op: Op) -> str:
    """Say what is known of a write after one more attempt."""
    if before == "acknowledged" or op.written:
        return "acknowledged"
    if before == "unknown" or op.told.status in {LOST, 503}:
        return "unknown"
    return "refused"


def _status(op: Op) -> str:
    if op.told.status == LOST:
        return f"not at all ({op.told.code})"
    if op.told.status == PARTIAL:
        return "not at all (never sent whole)"
    return f"{op.told.status} {op.told.code}".strip()
