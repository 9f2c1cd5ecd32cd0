"""
The life of the journal, as a table.

``TRANSITIONS`` says what may happen in each state, and which state follows. Anything else is an error. ``CONTRIBUTING.rst`` draws it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from resourced.transitions import Named


class JournalState(Named):
    """The state of the journal; its value says what that means."""

    NEW = "has not led yet"
    OPENING = "asks the store for its first term"
    IDLE = "leads; nothing is to be committed"
    GATHERING = "leads; a commit begins when everything that has arrived is decided"
    COMMITTING = "leads; a commit is under way, and the next group gathers"
    DISCARDING = "a commit is under way whose outcome does not count"
    FAILED = "decides nothing; asks the store for a new term after a pause"
    RECOVERING = "asks the store for a new term"
    STEPPED_DOWN = "another daemon leads"
    CLOSED = "is at its end"


class JournalEvent(Named):
    """What may happen to the journal; its value says how that comes."""

    BEGIN = "the store is asked for a term"
    BEGUN = "the store has begun the term"
    REFUSED = "the store cannot be reached, or another daemon is there"
    GATHER = "a decision opens a group"
    SEND = "a group is sent to the store"
    EMPTY = "there is nothing to commit"
    COMMITTED = "the store has committed the group"
    FAIL = "a commit has failed, or it is not known whether it was done"
    RESTART = "the store may have lost what it had committed"
    STEP_DOWN = "another daemon leads"
    CLOSE = "the daemon stops"


# By themselves: to find one in its class takes longer than all that is done with it.
NEW, OPENING, IDLE, GATHERING, COMMITTING, DISCARDING, FAILED, RECOVERING, STEPPED_DOWN, CLOSED = JournalState
BEGIN, BEGUN, REFUSED, GATHER, SEND, EMPTY, COMMITTED, FAIL, RESTART, STEP_DOWN, CLOSE = JournalEvent

#: The states in which decisions can be kept.
LEADING: Final = frozenset({IDLE, GATHERING, COMMITTING})

#: What ends the journal from most states.
_ENDS: Final[Mapping[JournalEvent, JournalState]] = {STEP_DOWN: STEPPED_DOWN, CLOSE: CLOSED}

TRANSITIONS: Final[Mapping[JournalState, Mapping[JournalEvent, JournalState]]] = {
    NEW: {BEGIN: OPENING, **_ENDS},
    OPENING: {BEGUN: IDLE, REFUSED: NEW, **_ENDS},
    IDLE: {GATHER: GATHERING, SEND: COMMITTING, RESTART: FAILED, **_ENDS},
    GATHERING: {SEND: COMMITTING, EMPTY: IDLE, RESTART: FAILED, **_ENDS},
    # The end waits for the commit.
    COMMITTING: {COMMITTED: IDLE, FAIL: FAILED, RESTART: DISCARDING, STEP_DOWN: STEPPED_DOWN},
    DISCARDING: {RESTART: DISCARDING, COMMITTED: FAILED, FAIL: FAILED, STEP_DOWN: STEPPED_DOWN},
    FAILED: {BEGIN: RECOVERING, RESTART: FAILED, **_ENDS},
    # After a restart, what the store says of the term it was asked for does not count any more.
    RECOVERING: {BEGUN: IDLE, REFUSED: FAILED, RESTART: FAILED, **_ENDS},
    # A commit may still be under way.
    STEPPED_DOWN: dict.fromkeys((COMMITTED, FAIL, CLOSE, STEP_DOWN), STEPPED_DOWN),
    CLOSED: _ENDS,
}
