"""
The locks that commands around this one hold, and hand on in ``RESOURCED_LOCKS``: JSON, the innermost last.

Nobody takes them away from a process that outlives its lock, so whoever relies on one of them asks the server first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Final

from resourced.client import Client, ClientError, HeldUnit, NotFound
from resourced.model import LockKey

VARIABLE: Final = "RESOURCED_LOCKS"

#: How many of them a server is told of: the innermost ones.
TOLD: Final = 100


@dataclass(frozen=True, slots=True)
class Outer:
    """
    A lock that was held around this process when it began.

    :ivar url: where its server is; several of these, if others stand by, are separated by spaces.
    """

    url: str
    resource: str
    selector: str
    ticket: str
    fence: int

    @property
    def key(self) -> LockKey:
        """What is locked."""
        return LockKey(self.resource, self.selector)


@dataclass(frozen=True, slots=True)
class Around:
    """
    All locks that were held around this process.

    :ivar urls: where the servers are that this process asks.
    :ivar locks: at whatever server.
    """

    urls: tuple[str, ...]
    locks: tuple[Outer, ...] = ()

    def at(self, key: LockKey) -> Outer | None:
        """Return the innermost lock on something at these servers."""
        return next((outer for outer in reversed(self._here) if outer.key == key), None)

    @property
    def tickets(self) -> list[str]:
        """The tickets of the locks at these servers; other servers' tickets are none of their business."""
        return [outer.ticket for outer in self._here[-TOLD:]]

    @property
    def _here(self) -> list[Outer]:
        return [outer for outer in self.locks if not set(self.urls).isdisjoint(outer.url.split())]

    async def checked(self, client: Client) -> Around:
        """
        Return the same without what is not held any more.

        :param client: of these servers.
        """
        over = [outer for outer in self._here if await _is_over(client, outer)]
        return replace(self, locks=tuple(outer for outer in self.locks if outer not in over))

    def with_units(self, held: Iterable[tuple[str, HeldUnit]]) -> str:
        """
        Return what is to be handed on, with what is held now too.

        :param held: each selector with its ticket.
        """
        url = " ".join(self.urls)
        inner = [Outer(url, unit.resource, unit.selector, ticket, unit.fence) for ticket, unit in held]
        return json.dumps([asdict(outer) for outer in (*(o for o in self.locks if o not in inner), *inner)])


async def _is_over(client: Client, outer: Outer) -> bool:
    """Whether a lock is held no more, as far as can be told."""
    try:
        holder = (await client.state(*outer.key, limit=1)).holder
    except NotFound:
        return True
    except ClientError:
        return False
    return holder is None or holder.fence != outer.fence


def around(environ: Mapping[str, str], urls: Sequence[str]) -> Around:
    """
    Return the locks that were held around this process.

    :param urls: where the servers are that it asks.
    :raises ValueError: the variable makes no sense.
    """
    text = environ.get(VARIABLE)
    found = json.loads(text) if text else []
    names = {field.name: int if field.name == "fence" else str for field in fields(Outer)}
    if not isinstance(found, list) or not all(
        isinstance(one, dict) and all(type(one.get(name)) is kind for name, kind in names.items()) for one in found
    ):
        raise ValueError("it is not a list of locks")
    return Around(tuple(urls), tuple(Outer(**{name: one[name] for name in names}) for one in found))
