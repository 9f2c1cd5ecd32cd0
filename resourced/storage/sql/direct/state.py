"""The life of the direct committer, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from resourced.transitions import Named


class CommitterState(Named):
    """The state of the direct committer; its value says what that means."""

    AWAY = "it has no connection"
    OPENING = "a thread opens a connection"
    READY = "a script would be sent at once"
    BUSY = "a script is under way"
    LOST = "the connection ended while a script was under way, whose sender is not told yet"
    LEAVING = "it is to end, and a thread still opens a connection"
    CLOSED = "it has ended, or can have no connection that it could use"


class CommitterEvent(Named):
    """What may happen to it; its value says how that comes."""

    OPEN = "a thread is asked for a connection"
    OPENED = "there is a connection"
    FAILED = "there is no connection"
    UNUSABLE = "there will never be a connection that can be used without the driver"
    COMMIT = "a script is sent"
    ANSWERED = "the sender knows what became of the script"
    LOSE = "the connection has ended"
    CLOSE = "the committer is to end"


AWAY, OPENING, READY, BUSY, LOST, LEAVING, CLOSED = CommitterState
OPEN, OPENED, FAILED, UNUSABLE, COMMIT, ANSWERED, LOSE, CLOSE = CommitterEvent

TRANSITIONS: Final[Mapping[CommitterState, Mapping[CommitterEvent, CommitterState]]] = {
    AWAY: {OPEN: OPENING, CLOSE: CLOSED},
    OPENING: {OPENED: READY, FAILED: AWAY, UNUSABLE: CLOSED, CLOSE: LEAVING},
    READY: {COMMIT: BUSY, LOSE: AWAY, CLOSE: CLOSED},
    BUSY: {ANSWERED: READY, LOSE: LOST, CLOSE: CLOSED},
    LOST: {ANSWERED: AWAY, CLOSE: CLOSED},
    LEAVING: {OPENED: CLOSED, FAILED: CLOSED, UNUSABLE: CLOSED, CLOSE: LEAVING},
    CLOSED: {ANSWERED: CLOSED, LOSE: CLOSED, CLOSE: CLOSED},
}
