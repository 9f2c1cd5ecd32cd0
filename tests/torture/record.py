"""
What a client writes down: each request before it is sent, and what it was told after the answer is there.

Two lines of JSON per request in a file of its own, so that a client that is killed in between leaves the first one.
All times are seconds of the machine's monotonic clock, which all processes share.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from math import inf
from pathlib import Path
from typing import Any, Final

#: Instead of a status: no answer came, so nobody knows what the server did.
LOST: Final = 0
#: Instead of a status: the client hung up before the request was complete, so the server must not have done it.
PARTIAL: Final = -1


class Kind(StrEnum):
    """What a request asks for."""

    LOCK = "lock"
    READ = "read"
    WRITE = "write"
    RELEASE = "release"
    #: Several things at once: to take or keep them, and to give everything back.
    SEVERAL = "several"
    GIVE_BACK = "give back"
    #: What becomes of a unit: its card, and a break of its lock.
    CARD = "card"
    BREAK = "break"
    #: Not a request: what another one means for a unit of the same ticket.
    RENEWAL = "renewal"


@dataclass(slots=True)
class Sent:
    """
    A request, just before it is sent.

    :ivar number: counts the requests of a client.
    :ivar round: counts its attempts to take a lock, write and let go again; a ticket of an earlier one is only sent if it
        was told that it had let go.
    :ivar selector: the resource and the selector, with a slash between.
    :ivar ticket: what the ticket that is sent is known by, or empty; never the ticket itself.
    :ivar fence: the fence of the lock that it thinks it has.
    :ivar write: the name of the value to be written; every value has another one.
    :ivar before: the name of the value that was read and is to be replaced, empty if there was none.
    :ivar counter: the counter in the value to be written.
    :ivar releases: whether the lock is let go of, by whatever kind of request.
    :ivar reads: whether the answer is to say what is kept.
    :ivar lease: the lease of the ticket, if it is not that of the resource.
    :ivar wants: of several things at once, each with its resource, selector, tags and count; ``all`` is 0.
    :ivar yields: whether nothing need be kept for it.
    :ivar priority: the higher comes first.
    :ivar tags: what a card is to say; nothing leaves that or, in service, takes the card away.
    :ivar out: why the unit is to be out of service; empty if it is to be in service, and nothing leaves that.
    """

    client: str
    number: int
    round: int
    kind: str
    selector: str
    at: float
    ticket: str = ""
    fence: int = 0
    write: str = ""
    before: str = ""
    counter: int = 0
    releases: bool = False
    reads: bool = False
    lease: int = 0
    wants: Sequence[Sequence[Any]] = ()
    yields: bool = False
    priority: int = 0
    tags: Sequence[str] | None = None
    out: str | None = None


@dataclass(slots=True)
class Told:
    """
    An answer, just after it has come.

    :ivar status: that of HTTP, or ``LOST``, or ``PARTIAL``.
    :ivar code: the word of an error, or what went wrong with the connection.
    :ivar value: the name of the value that was read, empty if there is none.
    :ivar released: what the answer to an unlock says.
    :ivar got: each unit with the index of its want, its selector, its fence, and the name of the value that it has.
    :ivar left: the units that the ticket still has, if one was taken from it.
    """

    number: int
    at: float
    status: int
    code: str = ""
    ticket: str = ""
    fence: int = 0
    lease: int = 0
    value: str = ""
    released: bool = False
    got: Sequence[Sequence[Any]] = ()
    left: Sequence[str] | None = None


@dataclass(slots=True)
class Op:
    """A request with its answer; without one, it was lost at the end of time."""

    sent: Sent
    told: Told

    @property
    def grant(self) -> bool:
        """Whether the client was told that the lock is its own."""
        return self.sent.kind == Kind.LOCK and self.told.status in {200, 404} and self.told.fence > 0

    @property
    def seen(self) -> bool:
        """Whether the client was told what is kept at the selector, or that nothing is."""
        return self.sent.reads and self.told.status in {200, 404}

    @property
    def written(self) -> bool:
        """Whether the client was told that its value is kept."""
        return self.sent.kind == Kind.WRITE and self.told.status == 204


def line(entry: Sent | Told) -> bytes:
    """Spell an entry, without what is as usual."""
    usual = {field.name: field.default for field in fields(entry)}
    kept = {name: value for name, value in asdict(entry).items() if value != usual[name]}
    return json.dumps(kept, separators=(",", ":")).encode() + b"\n"


def load(path: Path) -> Iterator[Op]:
    """Read what one client has written down."""
    waiting: dict[int, Sent] = {}
    with path.open("rb") as lines:
        for text in lines:
            if not text.endswith(b"\n"):
                break
            entry: dict[str, Any] = json.loads(text)
            if "client" in entry:
                sent = Sent(**entry)
                waiting[sent.number] = sent
            else:
                told = Told(**entry)
                yield Op(waiting.pop(told.number), told)
    for sent in waiting.values():
        yield Op(sent, Told(sent.number, inf, LOST, "killed"))
