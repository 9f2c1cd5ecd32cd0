"""The life of the direct committer, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto


class State(Enum):
    """
    Where the direct committer stands.

    * ``AWAY``: it has no connection.
    * ``OPENING``: a thread opens one.
    * ``READY``: a script would be sent at once.
    * ``BUSY``: a script is under way.
    * ``LOST``: the connection ended while a script was under way, whose sender is not told yet.
    * ``LEAVING``: it is to end, and a thread still opens a connection.
    * ``CLOSED``: it has ended, or can have no connection that it could use.
    """

    AWAY = auto()
    OPENING = auto()
    READY = auto()
    BUSY = auto()
    LOST = auto()
    LEAVING = auto()
    CLOSED = auto()


class Event(Enum):
    """
    What happens to it.

    * ``OPEN``: a thread is asked for a connection.
    * ``OPENED``, ``FAILED``, ``UNUSABLE``: there is one; there is none; there will never be one that can be used without the driver.
    * ``COMMIT``: a script is sent.
    * ``ANSWERED``: the sender knows what became of it.
    * ``LOSE``: the connection has ended.
    * ``CLOSE``: the committer is to end.
    """

    OPEN = auto()
    OPENED = auto()
    FAILED = auto()
    UNUSABLE = auto()
    COMMIT = auto()
    ANSWERED = auto()
    LOSE = auto()
    CLOSE = auto()


#: The next state, by the state and the event. An event that is not there is impossible in that state.
TRANSITIONS: Mapping[State, Mapping[Event, State]] = {
    State.AWAY: {Event.OPEN: State.OPENING, Event.CLOSE: State.CLOSED},
    State.OPENING: {
        Event.OPENED: State.READY,
        Event.FAILED: State.AWAY,
        Event.UNUSABLE: State.CLOSED,
        Event.CLOSE: State.LEAVING,
    },
    State.READY: {Event.COMMIT: State.BUSY, Event.LOSE: State.AWAY, Event.CLOSE: State.CLOSED},
    State.BUSY: {Event.ANSWERED: State.READY, Event.LOSE: State.LOST, Event.CLOSE: State.CLOSED},
    State.LOST: {Event.ANSWERED: State.AWAY, Event.CLOSE: State.CLOSED},
    State.LEAVING: {
        Event.OPENED: State.CLOSED,
        Event.FAILED: State.CLOSED,
        Event.UNUSABLE: State.CLOSED,
        Event.CLOSE: State.LEAVING,
    },
    State.CLOSED: {Event.ANSWERED: State.CLOSED, Event.LOSE: State.CLOSED, Event.CLOSE: State.CLOSED},
}
