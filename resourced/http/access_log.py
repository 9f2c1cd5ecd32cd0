"""The access log: a line for each request, or many lines at once when there are many requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

#: The statuses of requests that a firewall may want to know the sender of: no key that may do this, or too many requests.
REFUSED = frozenset({401, 403, 429})

#: How many lines of the access log are written one by one within a second, and for how long those beyond are gathered.
SINGLE, GATHER = 200, 0.1


@dataclass(slots=True)
class AccessRecord:
    """
    One line of the access log.

    :ivar uri: what was asked for, safe to look at in a terminal.
    :ivar ms: milliseconds from the first byte of the request to the end of its answer.
    :ivar length: bytes of the answer's body.
    """

    method: str
    uri: str
    status: int
    ms: float
    peer: str
    length: int
    notes: Mapping[str, object]


#: What monitors ask for.
_PROBES = ("/health", "/metrics")


def _is_news(access: AccessRecord) -> bool:
    """Tell whether a request is more than that of a monitor which finds everything well."""
    uri = access.uri
    return not uri.startswith(_PROBES) or access.status >= 400 or uri.partition("?")[0] not in _PROBES


#: Which requests are in the access log, by the setting of it.
SHOWN: Mapping[str, Callable[[AccessRecord], bool]] = {
    "all": lambda _: True,
    "quiet": _is_news,
    "none": lambda _: False,
}


class AccessLog:
    """
    Writes the lines; when there are many, many at once: to write a line costs more than to answer.

    A line waits for at most ``GATHER`` seconds.

    :param shown: tells whether a request is to be in it.
    :ivar gathered: the requests whose lines wait.
    """

    def __init__(self, clock: IReactorTime, shown: Callable[[AccessRecord], bool]) -> None:
        self._clock = clock
        self._shown = shown
        # As an attribute of the class it would be named after the class.
        self._log = Logger(namespace="resourced.access")
        # Since when lines are counted, how many there were, and those that wait.
        self._window = 0.0
        self._lines = 0
        self.gathered: list[AccessRecord] = []

    def add(self, access: AccessRecord, *, at_once: bool) -> None:
        """
        Put one request into the log.

        :param at_once: gather nothing.
        """
        if not self._shown(access):
            return
        self._lines += 1
        if self.gathered:
            self.gathered.append(access)
            return
        now = self._clock.seconds()
        if now - self._window >= 1:
            self._window, self._lines = now, 1
        if self._lines <= SINGLE or at_once:
            self._log.info("{said}", said=_said(access), **_fields(access))
        else:
            self.gathered.append(access)
            self._clock.callLater(GATHER, self.flush)

    def flush(self) -> None:
        """Write what was gathered."""
        gathered, self.gathered = self.gathered, []
        if gathered:
            # Whoever wants more than the lines can have it: to make all of it would be most of the work.
            lines = "\n".join([_said(access) for access in gathered])
            self._log.info("{lines}", lines=lines, requests=lambda: map(_fields, gathered))


def logged(method: bytes, uri: bytes) -> tuple[str, str]:
    """Return what was asked for as it is logged."""
    return method.decode("ascii"), printable(uri.decode("ascii", "backslashreplace"))


def _said(access: AccessRecord) -> str:
    """Write the line about a request."""
    notes = access.notes
    line = (
        f"{access.method} {access.uri} {access.status} {access.ms:.1f} ms{_asker(notes.get('key'), notes.get('owner'))}"
    )
    if "fence" in notes:
        line += f" fence={notes['fence']}"
    if access.status in REFUSED:
        line += f" peer={printable(access.peer)}"
    return line


@lru_cache(256)
def _asker(key: object, owner: object) -> str:
    """
    Write who has sent a request.

    The key comes before the owner: that is the client's own word, and may look like any field after it.
    """
    said = "" if key is None else f" key={printable(str(key))}"
    return said if owner is None else f"{said} owner={printable(str(owner))}"


def _fields(access: AccessRecord) -> dict[str, Any]:
    """Return all that is known of a request, by field."""
    return {
        **{name: printable(value) if isinstance(value, str) else value for name, value in access.notes.items()},
        "method": access.method,
        "uri": access.uri,
        "status": access.status,
        "ms": access.ms,
        "peer": access.peer,
        "bytes": access.length,
    }


def printable(text: str, most: int = 1000) -> str:
    """
    Make a stranger's words safe to look at in a terminal: no control characters, no escapes, no end of line.

    :param most: how many characters to keep.
    """
    if text.isprintable() and len(text) <= most:
        return text
    if len(text) > most:
        text = text[:most] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
