"""From a request to an answer: one exchange, and what is wrong with it if there is no usable answer."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as NoAnswer
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed, ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from resourced.calls.answers import LARGEST_ANSWER, Answer, Away, Request, answer_of
from resourced.connections import Sender

T = TypeVar("T")


class Wire:
    """
    What sends requests.

    :param headers: go with every request.
    :param seconds: a clock that never goes back.
    """

    def __init__(
        self, reactor: IReactorTime, treq: Sender, headers: Mapping[str, str], seconds: Callable[[], float]
    ) -> None:
        self._reactor = reactor
        self._treq = treq
        self._headers = headers
        self._seconds = seconds

    async def exchange(self, url: str, request: Request) -> Answer:
        """
        Send a request and read the answer, which may well be that the server will not do it.

        :raises Away: there is no usable answer.
        """
        sent = self._seconds()
        exchange = self._within(request.timeout, self._whole(url, request))
        try:
            response, body = await exchange
        except CancelledError:
            raise
        except GeneratorExit:
            # Whoever is thrown away gives up its place next, and this must not come after that.
            exchange.addErrback(lambda _: None)
            exchange.cancel()
            raise
        except Exception as error:
            raise _away(url, request, error) from error
        return _answer_of(url, response, body, sent)

    async def stream(self, url: str, request: Request) -> IResponse:
        """
        Send a request whose answer has no end, and return it as soon as it begins; whoever gets it takes its body.

        :raises Away: there is no usable answer.
        :raises Unwilling: the server will not do it.
        """
        sent = self._seconds()
        try:
            response = await self._within(request.timeout, self._begun(url, request))
            body = b"" if response.code == 200 else await self._within(request.timeout, _read_body(response))
        except CancelledError:
            raise
        except Exception as error:
            raise _away(url, request, error) from error
        if response.code == 200:
            return response
        raise Unwilling(_answer_of(url, response, body, sent))

    def _within(self, seconds: float, work: Coroutine[Any, Any, T]) -> Deferred[T]:
        outcome = Deferred.fromCoroutine(work).addErrback(_as_cancelled).addTimeout(seconds, self._reactor)
        wished: list[bool] = []

        def cancel(_: Deferred[T]) -> None:
            wished.append(True)
            outcome.cancel()

        # A connection that is just being made may take its cancellation for any other failure, which would be tried again.
        waiter: Deferred[T] = Deferred(cancel)
        outcome.addCallbacks(
            waiter.callback, lambda failure: waiter.errback(Failure(CancelledError()) if wished else failure)
        )
        return waiter

    async def _whole(self, url: str, request: Request) -> tuple[IResponse, bytes]:
        response = await self._begun(url, request)
        return response, await _read_body(response)

    async def _begun(self, url: str, request: Request) -> IResponse:
        # The key goes to nobody but the server that it is for.
        response: IResponse = await self._treq.request(
            request.method,
            url + request.path,
            headers=Headers({name: [value] for name, value in request.headers_with(self._headers).items()}),
            data=request.body,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        return response


class Unwilling(Exception):
    """
    A server has objections to a request.

    :ivar answer: what it said.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.code)
        self.answer = answer


def _answer_of(url: str, response: IResponse, body: bytes, sent: float) -> Answer:
    """Make of a response what it means; else as ``answer_of``."""
    headers = {
        name.decode().lower(): values[0].decode("utf-8", "replace")
        for name, values in response.headers.getAllRawHeaders()
    }
    return answer_of(url, response.code, headers, body, sent)


def _as_cancelled(failure: Failure) -> Failure:
    """Tell a request that was cancelled as what it is: to Twisted's client it looks like a connection that failed."""
    reasons = getattr(failure.value, "reasons", ())
    return Failure(CancelledError()) if any(reason.check(CancelledError) for reason in reasons) else failure


def _away(url: str, request: Request, error: Exception) -> Away:
    """Say why there is no answer."""
    if isinstance(error, Away):
        return error
    if isinstance(error, NoAnswer):
        return Away(f"{url}: No answer within {request.timeout:g} seconds.", unclear=True)
    reasons = error.reasons if isinstance(error, ResponseFailed | ResponseNeverReceived) else ()
    cause = reasons[0].value if reasons else error
    sentence = str(cause).strip() or type(cause).__name__
    return Away(f"{url}: {sentence}", unclear=not isinstance(error, ConnectError | DNSLookupError))


class _AnswerBody(Protocol):
    """Collects the body of an answer, which must have an end."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._length = 0
        self.whole: Deferred[bytes] = Deferred(self._leave)

    def dataReceived(self, data: bytes) -> None:
        self._length += len(data)
        if self._length <= LARGEST_ANSWER:
            self._parts.append(data)
        elif not self.whole.called:
            self.whole.errback(Away(f"The answer has more than {LARGEST_ANSWER} bytes.", unclear=True))
            self._hang_up()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        if reason.check(ResponseDone):
            self.whole.callback(b"".join(self._parts))
        else:
            self.whole.errback(reason)

    def _leave(self, _: Deferred[bytes]) -> None:
        self._hang_up()

    def _hang_up(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


async def _read_body(response: IResponse) -> bytes:
    body = _AnswerBody()
    response.deliverBody(body)
    return await body.whole
