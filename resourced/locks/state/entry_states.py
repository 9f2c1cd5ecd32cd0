"""
The life of a ticket at one selector, as a table.

An entry is a ticket's place at a selector. ``TRANSITIONS`` says what may happen in each state, and which state follows. Anything else is
an error. ``CONTRIBUTING.rst`` draws it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from resourced.model import GRANTED, HOLDING, WAITING, Standing
from resourced.transitions import Named


class EntryState(Named):
    """The state of an entry; its value says what that means."""

    NEW = "neither queued nor granted yet"
    QUEUED = "waits for the lock"
    OFFERED = "has the lock; the request that gets it has not been answered yet"
    UNCLAIMED = "has the lock for the claim window; no client has come for it"
    HELD = "has the lock for its lease; a client was told, or has used the ticket"
    ENDED = "is over"


class EntryEvent(Named):
    """What may happen to an entry; its value says how that comes."""

    QUEUE = "somebody else has the lock"
    OFFER = "the lock is free, and a request waits for this answer"
    ASSIGN = "the lock is free, and no request with the ticket is open"
    LEAVE = "the answer may not show the ticket to its client"
    USE = "a client is told its lease, or uses the ticket"
    END = "released, expired, broken, or replaced by what the store knows"


# By themselves: to find one in its class takes longer than all that is done with it.
NEW, QUEUED, OFFERED, UNCLAIMED, HELD, ENDED = EntryState
QUEUE, OFFER, ASSIGN, LEAVE, USE, END = EntryEvent

TRANSITIONS: Final[Mapping[EntryState, Mapping[EntryEvent, EntryState]]] = {
    # Only what is read from the store is assigned at once.
    NEW: {QUEUE: QUEUED, OFFER: OFFERED, ASSIGN: UNCLAIMED},
    QUEUED: {OFFER: OFFERED, ASSIGN: UNCLAIMED, END: ENDED},
    OFFERED: {LEAVE: UNCLAIMED, USE: HELD, END: ENDED},
    UNCLAIMED: {LEAVE: UNCLAIMED, USE: HELD, END: ENDED},
    HELD: {USE: HELD, END: ENDED},
    ENDED: {},
}

#: How the store keeps each state. An entry that is new or over is not kept.
STORED: Final[Mapping[EntryState, Standing]] = {
    QUEUED: WAITING,
    OFFERED: HOLDING,
    UNCLAIMED: GRANTED,
    HELD: HOLDING,
}

#: What happens to a new entry that was read from the store. A daemon does not know what an earlier one has told of a lock.
RESTORED: Final[Mapping[Standing, EntryEvent]] = {
    WAITING: QUEUE,
    GRANTED: ASSIGN,
    HOLDING: OFFER,
}
