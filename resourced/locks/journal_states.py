"""
The life of the journal, as a table.

``TRANSITIONS`` says what may happen in each state, and which state follows. Anything else is an error. ``CONTRIBUTING.rst`` draws it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from resourced.locks.transitions import Named


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

TRANSITIONS: Final[Mapping[tuple[JournalState, JournalEvent], JournalState]] = {
    (NEW, BEGIN): OPENING,
    (OPENING, BEGUN): IDLE,
    (OPENING, REFUSED): NEW,
    (IDLE, GATHER): GATHERING,
    (IDLE, SEND): COMMITTING,
    (IDLE, RESTART): FAILED,
    (GATHERING, SEND): COMMITTING,
    (GATHERING, EMPTY): IDLE,
    (GATHERING, RESTART): FAILED,
    (COMMITTING, COMMITTED): IDLE,
    (COMMITTING, FAIL): FAILED,
    (COMMITTING, RESTART): DISCARDING,
    (DISCARDING, RESTART): DISCARDING,
    (DISCARDING, COMMITTED): FAILED,
    (DISCARDING, FAIL): FAILED,
    (FAILED, BEGIN): RECOVERING,
    (FAILED, RESTART): FAILED,
    (RECOVERING, BEGUN): IDLE,
    (RECOVERING, REFUSED): FAILED,
    # What the store says of the term it was asked for does not count any more.
    (RECOVERING, RESTART): FAILED,
    # A commit may still be under way.
    (STEPPED_DOWN, COMMITTED): STEPPED_DOWN,
    (STEPPED_DOWN, FAIL): STEPPED_DOWN,
    (STEPPED_DOWN, CLOSE): STEPPED_DOWN,
    **{(state, STEP_DOWN): STEPPED_DOWN for state in JournalState},
    **{(state, CLOSE): CLOSED for state in (NEW, OPENING, IDLE, GATHERING, FAILED, RECOVERING, CLOSED)},
}
