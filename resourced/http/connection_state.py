"""
The life of a connection, as a table.

A connection reads one request at a time and answers it before it begins the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from resourced.transitions import Named


class ConnectionState(Named):
    """The state of a connection; its value says what that means."""

    IDLE = "no part of a request has arrived that is not answered yet"
    HEAD = "a request line or headers are arriving"
    BODY = "the head is complete, the body is not"
    ANSWERING = "the request is complete; its answer is not"
    FAST = "the same, for a request on the fast path"
    CLOSING = "what still arrives is dropped"
    CLOSED = "the connection is gone"


class ConnectionEvent(Named):
    """What may happen to a connection; its value says how that comes."""

    BEGIN = "the first byte of a request arrives"
    HEAD_COMPLETE = "the head has arrived as a whole"
    BODY_COMPLETE = "the body has arrived as a whole"
    PLAIN = "a plain request has arrived as a whole; see ``resourced.http.fast``"
    ANSWERED = "the answer is written"
    REFUSE = "an answer is written in place of the application's, and it is the last one"
    CLOSE = "the connection is to end when all is sent"
    LOST = "the connection has ended"


# By themselves: to find one in its class takes longer than all that is done with it.
IDLE, HEAD, BODY, ANSWERING, FAST, CLOSING, CLOSED = ConnectionState
BEGIN, HEAD_COMPLETE, BODY_COMPLETE, PLAIN, ANSWERED, REFUSE, CLOSE, LOST = ConnectionEvent

#: What ends a connection from any state but the two that answer, which finish their answer before they close.
_ENDS: Final[Mapping[ConnectionEvent, ConnectionState]] = {REFUSE: CLOSING, CLOSE: CLOSING, LOST: CLOSED}

TRANSITIONS: Final[Mapping[ConnectionState, Mapping[ConnectionEvent, ConnectionState]]] = {
    IDLE: {**_ENDS, BEGIN: HEAD, PLAIN: FAST},
    HEAD: {**_ENDS, HEAD_COMPLETE: BODY},
    BODY: {**_ENDS, BODY_COMPLETE: ANSWERING},
    ANSWERING: {**_ENDS, ANSWERED: IDLE, CLOSE: ANSWERING},
    FAST: {**_ENDS, ANSWERED: IDLE, CLOSE: FAST},
    CLOSING: _ENDS,
    # It may be told so late that it is to end.
    CLOSED: dict.fromkeys(_ENDS, CLOSED),
}
