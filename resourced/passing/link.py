"""
One connection to a node, over plain HTTP/1.1, which is kept for the next request.

Twisted's own client does the same. For a request that is passed on it takes more of a processor than all else. To whoever asks both look
the same: an ``Answer`` has of ``IResponse`` what ``resourced.passing`` wants to know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.http import _ChunkedTransferDecoder, _MalformedChunkedDataError
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse

from resourced.transitions import Named, next_state

#: How many bytes the head of an answer has at most.
HEAD: Final = 65_536

_STATUS: Final = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: .*)?")
_HEADER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*")
_NO_BODY: Final = frozenset({204, 304})


class LinkState(Named):
    """The state of a connection to a node; its value says what that means."""

    FREE = "nothing was asked that is not answered"
    ASKED = "a request was sent, and the head of its answer is not there"
    ANSWERED = "the head of the answer is there, and not all of its body"
    OVER = "it is gone, or about to be"


class LinkEvent(Named):
    """What may happen to a connection to a node; its value says how that comes."""

    ASK = "a request is sent"
    HEAD_COMPLETE = "the head of its answer has arrived"
    BODY_COMPLETE = "its body has arrived, too"
    END = "it has ended, or is to end"


FREE, ASKED, ANSWERED, OVER = LinkState
ASK, HEAD_COMPLETE, BODY_COMPLETE, END = LinkEvent

TRANSITIONS: Final[Mapping[LinkState, Mapping[LinkEvent, LinkState]]] = {
    FREE: {ASK: ASKED, END: OVER},
    ASKED: {HEAD_COMPLETE: ANSWERED, END: OVER},
    ANSWERED: {BODY_COMPLETE: FREE, END: OVER},
    OVER: {END: OVER},
}


class Fields(dict[bytes, list[bytes]]):
    """The headers of an answer, by their names as its node has written them."""

    __slots__ = ()

    getRawHeaders = dict.get
    getAllRawHeaders = dict.items


class Answer:
    """
    An answer, once its head has arrived.

    :ivar length: how many bytes its body has, or ``UNKNOWN_LENGTH``.
    """

    __slots__ = ("_link", "code", "headers", "length")

    def __init__(self, link: Link, code: int, headers: Fields, length: int | str) -> None:
        self._link = link
        self.code = code
        self.headers = headers
        self.length = length

    def deliverBody(self, protocol: Protocol) -> None:
        """Let a protocol have the body, and its end: ``ResponseDone``, or ``ResponseFailed`` if it has broken off."""
        self._link.deliver(protocol)


class Link(Protocol):
    """
    A connection, which has one request at a time.

    :param freed: called when the next request may be sent.
    """

    def __init__(self, freed: Callable[[Link], object]) -> None:
        self.state = FREE
        self._freed = freed
        self._answer: Deferred[IResponse] | None = None
        self._no_body = self._last = False
        self._head = b""
        self._body: Protocol | None = None
        # What has arrived before anybody wants it, and how it has ended, if it has.
        self._early: list[bytes] = []
        self._end: Failure | None = None
        self._left = 0
        self._chunks: _ChunkedTransferDecoder | None = None

    def ask(self, request: bytes, *, no_body: bool) -> Deferred[IResponse]:
        """
        Send a request.

        :param no_body: whether its answer has no body, whatever the head of that says.
        :returns: the answer, or why there is none. To cancel it ends the connection.
        """
        self._happens(ASK)
        self._no_body, self._head, self._body, self._end = no_body, b"", None, None
        answer = self._answer = Deferred[IResponse](lambda _: self.hang_up())
        self._wire.write(request)
        return answer

    def hang_up(self) -> None:
        """End the connection."""
        self._wire.abortConnection()

    def deliver(self, protocol: Protocol) -> None:
        """Let a protocol have the body, first what has arrived of it."""
        self._body = protocol
        protocol.makeConnection(self._wire)
        early, self._early = self._early, []
        for data in early:
            protocol.dataReceived(data)
        if self._end is not None:
            protocol.connectionLost(self._end)

    # -- What arrives

    def dataReceived(self, data: bytes) -> None:
        if self.state is ANSWERED:
            self._take(data)
        elif self.state is ASKED:
            head, mark, rest = (self._head + data).partition(b"\r\n\r\n")
            self._head = head
            if mark:
                self._begin(rest)
            elif len(head) > HEAD:
                self.hang_up()
        elif self.state is FREE:
            # Nobody has asked for it.
            self.hang_up()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        before = self.state
        self._happens(END)
        if before is ASKED and self._answer is not None and not self._answer.called:
            self._answer.errback(reason)
        elif before is ANSWERED:
            self._ended(Failure(ResponseFailed([reason])))

    # -- How it is done

    @property
    def _wire(self) -> Any:
        return self.transport

    def _happens(self, event: LinkEvent) -> None:
        self.state = next_state(TRANSITIONS, self.state, event)

    def _begin(self, rest: bytes) -> None:
        """Tell what the head of the answer says, and go on with what follows."""
        try:
            code, headers = _read(self._head)
            length = self._length(code, headers)
        except ValueError:
            self.hang_up()
            return
        self._last = b"close" in b",".join(headers.pop(b"connection", ())).lower()
        self._happens(HEAD_COMPLETE)
        if self._answer is not None and not self._answer.called:
            self._answer.callback(cast(IResponse, Answer(self, code, headers, length)))
        self._take(rest)

    def _length(self, code: int, headers: Fields) -> int | str:
        """Take what says how long the body is out of the headers, and return that."""
        coded = headers.pop(b"transfer-encoding", None)
        # To a HEAD it tells of another answer, and so is one of its headers.
        said = None if self._no_body else headers.pop(b"content-length", None)
        self._chunks = None
        if self._no_body or code in _NO_BODY:
            self._left = 0
        elif coded == [b"chunked"] and said is None:
            self._chunks = _ChunkedTransferDecoder(self._give, lambda _: None)
            return UNKNOWN_LENGTH
        elif coded is None and said is not None and len(said) == 1 and said[0].isdigit():
            self._left = int(said[0])
        else:
            raise ValueError("It is not clear where the answer ends.")
        return self._left

    def _take(self, data: bytes) -> None:
        """Pass on what has arrived of the body."""
        if self._chunks is not None:
            try:
                self._chunks.dataReceived(data)
                if self._chunks.state != "FINISHED":
                    return
            except _MalformedChunkedDataError:
                self.hang_up()
                return
        else:
            self._left -= len(data)
            if self._left < 0:
                self.hang_up()
                return
            self._give(data)
            if self._left:
                return
        self._happens(BODY_COMPLETE)
        # First this: whoever has the answer may ask for something else at once.
        if self._last:
            self.hang_up()
        else:
            # A slow client may have had it pause.
            self._wire.resumeProducing()
            self._freed(self)
        self._ended(Failure(ResponseDone()))

    def _give(self, data: bytes) -> None:
        if self._body is None:
            self._early += [data] if data else []
        elif data:
            self._body.dataReceived(data)

    def _ended(self, how: Failure) -> None:
        self._end = how
        body, self._body = self._body, None
        if body is not None:
            body.connectionLost(how)


def _read(head: bytes) -> tuple[int, Fields]:
    """
    Read the head of an answer.

    :returns: its status, and its headers; those that matter here have names in small letters.
    :raises ValueError: it is none.
    """
    first, *lines = head.split(b"\r\n")
    status = _STATUS.fullmatch(first)
    if status is None:
        raise ValueError("It is no answer.")
    headers = Fields()
    for line in lines:
        header = _HEADER.fullmatch(line)
        if header is None:
            raise ValueError("It has no header there.")
        name, value = header.groups()
        small = name.lower()
        headers.setdefault(small if small in _OUR_OWN else name, []).append(value)
    return int(status[1]), headers


#: What is about the connection, and none of the headers of an answer.
_OUR_OWN: Final = frozenset({b"connection", b"content-length", b"transfer-encoding"})
