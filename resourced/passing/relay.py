"""An answer of another node, brought back to the client: a short one whole, a long one as it comes."""

from __future__ import annotations

from typing import Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.iweb import IResponse

from resourced.http.request import EdgeRequest
from resourced.passing.headers import back

#: Up to how many bytes an answer is short.
SHORT: Final = 65_536


class _Body(Protocol):
    """
    The body of an answer.

    :ivar end: the whole of it, or what came after the last that was relayed.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.end: Deferred[bytes] = Deferred(lambda _: self._hang_up())

    def dataReceived(self, data: bytes) -> None:
        self._parts.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.end.called:
            return
        if reason.check(ResponseDone):
            self.end.callback(b"".join(self._parts))
        else:
            self.end.errback(reason)

    def _hang_up(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


class _LongBody(_Body):
    """A body that is written as it comes, at the pace of the client."""

    def __init__(self, request: EdgeRequest) -> None:
        super().__init__()
        self._request = request

    def connectionMade(self) -> None:
        self._request.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        self._request.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.end.called:
            self._request.unregisterProducer()
        super().connectionLost(reason)


async def body_of(response: IResponse) -> bytes:
    """
    Return the whole body of an answer that is short.

    :raises Exception: it has broken off.
    """
    body = _Body()
    response.deliverBody(body)
    return await body.end


def is_short(response: IResponse) -> bool:
    """Tell whether the body of an answer has at most ``SHORT`` bytes."""
    return isinstance(response.length, int) and response.length <= SHORT


def begin(request: EdgeRequest, response: IResponse) -> None:
    """Let the answer of another node be that to a request, up to its body."""
    request.setResponseCode(response.code)
    for name, values in back(response.headers):
        request.setHeader(name, values[-1])
    if isinstance(response.length, int) and request.method != b"HEAD" and response.code not in {204, 304}:
        request.setHeader(b"content-length", b"%d" % response.length)


async def relay(request: EdgeRequest, response: IResponse) -> bytes:
    """
    Write the body of a long answer as it comes, and return what is left of it.

    If it breaks off, so does the connection with the client: nothing else could say that this is not all.
    """
    body = _LongBody(request)
    response.deliverBody(body)
    try:
        return await body.end
    except CancelledError:
        raise
    except Exception:  # noqa: BLE001 - whatever it was, there is only one thing to do
        request.channel.transport.abortConnection()
        # The end of the connection ends this too.
        return await Deferred[bytes]()
