"""
The life of a connection, as a table.

A connection reads one request at a time and answers it before it begins the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto


class State(Enum):
    """
    Where a connection stands.

    * ``IDLE``: no part of a request has arrived that is not answered yet.
    * ``HEAD``: a request line or headers are arriving.
    * ``BODY``: the head is complete, the body is not.
    * ``ANSWERING``: the request is complete; its answer is not.
    * ``FAST``: the same, for a request on the fast path.
    * ``CLOSING``: what still arrives is dropped.
    * ``CLOSED``: the connection is gone.
    """

    # A member equals only itself. Enum takes the hash of its name, which costs more than the whole transition.
    __hash__ = object.__hash__

    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    ANSWERING = auto()
    FAST = auto()
    CLOSING = auto()
    CLOSED = auto()


class Event(Enum):
    """
    What happens to a connection.

    * ``BEGIN``: the first byte of a request arrives.
    * ``HEAD_COMPLETE``, ``BODY_COMPLETE``: that part of the request has arrived as a whole.
    * ``PLAIN``: a plain request has arrived as a whole; see ``resourced.http.fast``.
    * ``ANSWERED``: the answer is written.
    * ``REFUSE``: an answer is written in place of the application's, and it is the last one.
    * ``CLOSE``: the connection is to end when all is sent.
    * ``LOST``: the connection has ended.
    """

    # A member equals only itself. Enum takes the hash of its name, which costs more than the whole transition.
    __hash__ = object.__hash__

    BEGIN = auto()
    HEAD_COMPLETE = auto()
    BODY_COMPLETE = auto()
    PLAIN = auto()
    ANSWERED = auto()
    REFUSE = auto()
    CLOSE = auto()
    LOST = auto()


#: What ends a connection from any state but the two that answer, which finish their answer before they close.
_ENDS: Mapping[Event, State] = {Event.REFUSE: State.CLOSING, Event.CLOSE: State.CLOSING, Event.LOST: State.CLOSED}

#: The next state, by the state and the event. An event that is not there is impossible in that state.
TRANSITIONS: Mapping[State, Mapping[Event, State]] = {
    State.IDLE: {**_ENDS, Event.BEGIN: State.HEAD, Event.PLAIN: State.FAST},
    State.HEAD: {**_ENDS, Event.HEAD_COMPLETE: State.BODY},
    State.BODY: {**_ENDS, Event.BODY_COMPLETE: State.ANSWERING},
    State.ANSWERING: {**_ENDS, Event.ANSWERED: State.IDLE, Event.CLOSE: State.ANSWERING},
    State.FAST: {**_ENDS, Event.ANSWERED: State.IDLE, Event.CLOSE: State.FAST},
    State.CLOSING: _ENDS,
    # It may be told so late that it is to end.
    State.CLOSED: dict.fromkeys(_ENDS, State.CLOSED),
}
