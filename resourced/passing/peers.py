"""The other nodes, as this one asks them: one request, until its answer begins."""

from __future__ import annotations

from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.iweb import IResponse

from resourced.connections import Sender
from resourced.errors import OwnerAway
from resourced.http.request import EdgeRequest
from resourced.passing.headers import AnyHeaders, from_node, onward

#: How many seconds a node may take to answer, beside what it was asked to wait.
ANSWER_TIMEOUT: Final = 10.0


class Peers:
    """
    Sends requests to other nodes.

    :param secret: what only nodes know: of a request that has it is believed where it comes from.
    """

    def __init__(self, sender: Sender, clock: IReactorTime, secret: str) -> None:
        self._sender = sender
        self._clock = clock
        self._secret = secret.encode()

    def sent(self, headers: AnyHeaders) -> bool:
        """Tell whether a request comes from a node."""
        return from_node(headers, self._secret)

    def send(self, url: str, request: EdgeRequest, wait: float = 0.0) -> Exchange:
        """
        Pass a request on.

        :param url: where the node is reached.
        :param wait: for how many seconds the node was asked to wait.
        """
        return self._exchange(url, request, request.method, request.uri, wait)

    def get(self, url: str, request: EdgeRequest, target: bytes) -> Exchange:
        """Ask a node for something else, as whoever sends a request."""
        return self._exchange(url, request, b"GET", target, 0.0)

    def _exchange(self, url: str, request: EdgeRequest, method: bytes, target: bytes, wait: float) -> Exchange:
        # The target is parsed on its way, and each of these would mean something there.
        path, mark, query = target.replace(b"#", b"%23").partition(b"?")
        where = url + (path.replace(b";", b"%3B") + mark + query).decode("ascii")
        client = str(getattr(request.getClientAddress(), "host", "unix"))
        answer = self._sender.request(
            method.decode("ascii"),
            where,
            headers=onward(request.requestHeaders, client, self._secret),
            data=request.content.getvalue() or None,
            allow_redirects=False,
            unbuffered=True,
        )
        return Exchange(self._clock, url, answer, wait + ANSWER_TIMEOUT)


class Exchange:
    """
    A request that was passed on, until its answer begins.

    :param seconds: how long that may take.
    :ivar response: the answer. It fails with ``resourced.errors.OwnerAway`` if there is none. To cancel this hangs up at the node.
    """

    def __init__(self, clock: IReactorTime, url: str, answer: Deferred[IResponse], seconds: float) -> None:
        self._clock = clock
        self._url = url
        self._answer = answer
        self._timer = clock.callLater(seconds, answer.cancel)
        self.response: Deferred[IResponse] = Deferred(self._hang_up)
        self._hung_up = False
        answer.addBoth(self._over)

    def hurry(self, seconds: float) -> None:
        """Give up after so many seconds, if there is no answer by then."""
        if self._timer.active() and self._timer.getTime() > self._clock.seconds() + seconds:
            self._timer.reset(seconds)

    def _hang_up(self, _: Deferred[IResponse]) -> None:
        self._hung_up = True
        self._answer.cancel()

    def _over(self, outcome: IResponse | Failure) -> None:
        if self._timer.active():
            self._timer.cancel()
        if self._hung_up:
            return
        if isinstance(outcome, Failure):
            self.response.errback(_away(self._url, outcome))
        else:
            self.response.callback(outcome)


def _away(url: str, failure: Failure) -> OwnerAway:
    """Say that there is no answer of a node, and whether it may have done what it was asked all the same."""
    kept_out = failure.check(ConnectError, ConnectingCancelledError, DNSLookupError) is not None
    return OwnerAway(f"The node at {url}, which decides about this, does not answer.", unclear=not kept_out)
