"""What a request wants to be true before it is done: ``If-Match`` and ``If-None-Match`` of RFC 9110. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

# From one comma to the next; a list may have empty places.
_TAG = re.compile(rb'[ \t,]*(W/)?"([!#-~\x80-\xff]*)"[ \t]*(?:,|$)')


@dataclass(frozen=True, slots=True)
class Precondition:
    """
    What has to be true of the data that is there, by its entity tag.

    :ivar wanted: whether the data has to be one of those that are named, or must be none of them.
    :ivar anything: whether whatever there is counts as named (``*``).
    """

    wanted: bool
    anything: bool
    tags: frozenset[bytes] = frozenset()

    def passes(self, etag: str) -> bool:
        """
        Tell whether it is true.

        :param etag: the entity tag of the data without its quotes, empty if there is none.
        """
        there = bool(etag) and (self.anything or etag.encode() in self.tags)
        return there == self.wanted


def precondition(field: bytes, *, wanted: bool) -> Precondition:
    """
    Read the value of a header.

    :param wanted: whether it is ``If-Match``, for which a weak tag (``W/"..."``) is never good enough.
    :raises ValueError: it is neither ``*`` nor a list of entity tags.
    """
    field = field.strip(b" \t,")
    if field == b"*":
        return Precondition(wanted, anything=True)
    tags: set[bytes] = set()
    end = 0
    while end < len(field) or not end:
        match = _TAG.match(field, end)
        if match is None:
            raise ValueError("There is no entity tag.")
        if not (wanted and match[1]):
            tags.add(match[2])
        end = match.end()
    return Precondition(wanted, anything=False, tags=frozenset(tags))
