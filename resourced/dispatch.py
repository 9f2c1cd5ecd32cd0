"""
From a request to the handler of its route, without Klein's own way there.

``KleinResource`` binds werkzeug's map anew for each request, makes Deferreds of everything, and leaves some forty objects
behind that only the cyclic collector finds. This does the same for an app whose handlers are coroutines that return bytes:
the routes are the app's own, and a handler that has nothing to wait for costs a call. Whatever is not plainly one of
the routes is left to werkzeug, so that both ways have one judge.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NamedTuple, Protocol

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from werkzeug.routing import MapAdapter, Rule

from resourced.site import EdgeRequest
from resourced.waiting import Running

log = Logger()

#: How many hosts are remembered.
HOSTS = 1000

Handling = Coroutine[Deferred[Any], Any, bytes]
Handler = Callable[..., Handling]


class API(Protocol):
    """
    A Klein app, and what it is made of.

    :ivar handlers: the coroutine function that answers each endpoint.
    """

    @property
    def app(self) -> Klein: ...

    @property
    def handlers(self) -> Mapping[str, Handler]: ...

    def failed(self, request: Request, failure: Failure) -> bytes:
        """Make an answer of an exception."""


class Route(NamedTuple):
    """
    The rules of one path.

    :ivar words: the segments that are fixed, by their place in the path.
    :ivar names: the arguments, with their place and what reads them.
    :ivar methods: the handler of each method.
    """

    words: tuple[tuple[int, str], ...]
    names: tuple[tuple[int, str, Callable[[str], Any]], ...]
    methods: dict[str, Handler]

    def fits(self, segments: list[str]) -> bool:
        """Tell whether a path of as many segments, none of them empty, can be meant."""
        return all(segments[place] == word for place, word in self.words)


class Dispatch(Resource):
    """
    The leaf that stands for a Klein app; its requests are those of ``resourced.site``.

    :param api: whose app it is.
    """

    isLeaf = True

    def __init__(self, api: API) -> None:
        super().__init__()
        self._api = api
        self._map = api.app.url_map
        # No rule depends on the host, but werkzeug does not take every one; most clients have the same.
        self._judges: dict[tuple[bytes | None, int], MapAdapter] = {}
        self._handlers = api.handlers
        self._routes: dict[int, list[Route]] = {}
        for rule in self._map.iter_rules():
            self._enter(rule)

    def render(self, request: EdgeRequest) -> int:
        judge = self._judge(request)
        try:
            handling = self._begin(request, judge)
            waited = handling.send(None)
        except StopIteration as done:
            request.answer(done.value)
        except Exception as error:  # noqa: BLE001 - one table for all of them
            request.answer(_failed(self._api, request, error))
        else:
            Waiting(self._api, request, handling, waited)
        return NOT_DONE_YET

    def _judge(self, request: Request) -> MapAdapter:
        about = (request.getHeader(b"host"), getattr(request.getHost(), "port", 0))
        judge = self._judges.get(about)
        if judge is None:
            if len(self._judges) >= HOSTS:
                self._judges.clear()
            judge = self._judges[about] = self._map.bind(_authority(request))
        return judge

    def _begin(self, request: EdgeRequest, judge: MapAdapter) -> Handling:
        path, method = request.path.decode(), request.method.decode()
        segments = path.split("/")
        found = None
        # The first is what comes before the first slash.
        for route in self._routes.get(len(segments), ()) if "" not in segments[1:] else ():
            if route.fits(segments):
                if found is not None:
                    # Which of them it is has rules of its own.
                    found = None
                    break
                found = route
        handler = found.methods.get(method) if found is not None else None
        if found is None or handler is None:
            endpoint, names = judge.match(path, method)
            return self._handlers[endpoint](request, **names)
        return handler(request, **{name: reads(segments[place]) for place, name, reads in found.names})

    def _enter(self, rule: Rule) -> None:
        """Take a rule apart."""
        words: list[tuple[int, str]] = []
        names: list[tuple[int, str, Callable[[str], Any]]] = []
        segments = rule.rule.split("/")
        for place, segment in enumerate(segments):
            if segment.startswith("<"):
                converter, _, name = segment[1:-1].partition(":")
                names.append((place, name, self._map.converters[converter](self._map).to_python))
            else:
                words.append((place, segment))
        methods = dict.fromkeys(rule.methods or (), self._handlers[rule.endpoint])
        same = self._routes.setdefault(len(segments), [])
        for route in same:
            if route.words == tuple(words):
                route.methods.update(methods)
                return
        same.append(Route(tuple(words), tuple(names), methods))


def _failed(api: API, request: EdgeRequest, error: Exception) -> bytes:
    """Make an answer of an exception, and take it apart: with the frames that it passed it would be garbage in a circle."""
    body = api.failed(request, Failure(error))
    reason: BaseException | None = error
    while reason is not None:
        reason.__traceback__ = None
        reason = reason.__context__
    return body


def _authority(request: Request) -> str:
    """Name the host that is asked, and its port if that is not the usual one, as Klein does."""
    host = request.getRequestHostname().decode()
    port = getattr(request.getHost(), "port", 0)
    return host if port in {0, 443 if request.isSecure() else 80} else f"{host}:{port}"


class Waiting:
    """A handler that waits, until its answer is there or its client gone: then what it waits for is cancelled."""

    __slots__ = ("_api", "_gone", "_request", "_running")

    def __init__(self, api: API, request: EdgeRequest, handling: Handling, waited: Deferred[Any]) -> None:
        self._api = api
        self._request = request
        self._gone = False
        request.notifyFinish().addErrback(self._hung_up)
        self._running = Running(handling, waited, self._done, self._failed)

    def _hung_up(self, _: Failure) -> None:
        self._gone = True
        self._running.waited.cancel()

    def _done(self, body: bytes) -> None:
        if not self._gone:
            self._request.answer(body)

    def _failed(self, error: Exception) -> None:
        if not self._gone:
            self._request.answer(_failed(self._api, self._request, error))
        elif not isinstance(error, CancelledError):
            log.failure("A request failed whose client had gone.", Failure(error))
