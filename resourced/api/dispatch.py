"""
From a request to the handler of its route, without Klein's own way there.

``KleinResource`` binds werkzeug's map anew for each request, makes Deferreds of everything, and leaves some forty objects
behind that only the cyclic collector finds. This does the same for an app whose handlers are coroutines that return bytes:
the routes are the app's own, and a handler that has nothing to wait for costs a call. Whatever is not plainly one of
the routes is left to werkzeug, so that both ways have one judge.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from werkzeug.routing import MapAdapter, Rule

from resourced.deferreds import Running
from resourced.http.request import EdgeRequest

log = Logger()

#: How many hosts are remembered.
HOSTS = 1000

#: How many paths are remembered, of at most so many bytes.
PATHS, SHORT = 4096, 600

_NO_HOST = (b"",)

Handling = Coroutine[Deferred[Any], Any, bytes]
Handler = Callable[..., Handling]


class Endpoint(Protocol):
    """
    What answers a route.

    :ivar label: what its requests are known by in the access log.
    """

    @property
    def label(self) -> str: ...

    @property
    def handler(self) -> Handler: ...


class API(Protocol):
    """
    A Klein app, and what it is made of.

    :ivar endpoints: what answers each of its routes.
    """

    @property
    def app(self) -> Klein: ...

    @property
    def endpoints(self) -> Mapping[str, Endpoint]: ...

    def failed(self, request: EdgeRequest, failure: Failure) -> bytes:
        """Make an answer of an exception."""


class Route(NamedTuple):
    """
    The rules of one path.

    :ivar words: the segments that are fixed, by their place in the path.
    :ivar names: the arguments, with their place and what reads them.
    :ivar methods: what answers each method.
    """

    words: tuple[tuple[int, str], ...]
    names: tuple[tuple[int, str, Callable[[str], Any]], ...]
    methods: dict[str, Endpoint]

    def fits(self, segments: list[str]) -> bool:
        """Tell whether a path of as many segments, none of them empty, can be meant."""
        return all(segments[place] == word for place, word in self.words)


@dataclass(slots=True)
class Match:
    """
    What a request is for.

    :ivar notes: what the access log says of it.
    """

    handler: Handler
    names: dict[str, Any]
    notes: dict[str, object]


class Dispatch(Resource):
    """
    The leaf that stands for a Klein app; its requests are those of ``resourced.http.request``.

    :param api: whose app it is.
    """

    isLeaf = True

    def __init__(self, api: API) -> None:
        super().__init__()
        self._api = api
        self._map = api.app.url_map
        self._endpoints = api.endpoints
        self._routes: dict[int, list[Route]] = {}
        for rule in self._map.iter_rules():
            self._enter(rule)
        # No rule depends on the host, but werkzeug does not take every one; most clients have the same.
        self._judges: dict[bytes, MapAdapter] = {}
        # Most clients come back to the same path, too.
        self._remembered = lru_cache(PATHS)(self._plain_match)

    def render(self, request: EdgeRequest) -> int:
        host = request.requestHeaders.getRawHeaders(b"host", _NO_HOST)[-1]
        judge = self._judges.get(host) or self._new_judge(request, host)
        try:
            path, method = request.path, request.method
            match = (self._remembered if len(path) <= SHORT else self._plain_match)(path, method)
            if match is None:
                match = self._judged(judge, path.decode(), method.decode())
            request.notes = match.notes.copy()
            handling = match.handler(request, **match.names)
            waited = handling.send(None)
        except StopIteration as done:
            request.answer(done.value)
        except Exception as error:  # noqa: BLE001 - one table for all of them
            request.answer(_failed(self._api, request, error))
        else:
            PendingResponse(self._api, request, handling, waited)
        return NOT_DONE_YET

    def _new_judge(self, request: EdgeRequest, host: bytes) -> MapAdapter:
        if len(self._judges) >= HOSTS:
            self._judges.clear()
        judge = self._judges[host] = self._map.bind(_authority(request))
        return judge

    def _plain_match(self, path: bytes, method: bytes) -> Match | None:
        """Find out what a request is for, unless werkzeug has to judge that."""
        segments = path.decode().split("/")
        # The first is what comes before the first slash.
        if "" in segments[1:]:
            return None
        # Which of several it is has rules of its own.
        found = [route for route in self._routes.get(len(segments), ()) if route.fits(segments)]
        endpoint = found[0].methods.get(method.decode()) if len(found) == 1 else None
        if endpoint is None:
            return None
        return _match(endpoint, {name: reads(segments[place]) for place, name, reads in found[0].names})

    def _judged(self, judge: MapAdapter, path: str, method: str) -> Match:
        endpoint, names = judge.match(path, method)
        return _match(self._endpoints[endpoint], names)

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
        methods = dict.fromkeys(rule.methods or (), self._endpoints[rule.endpoint])
        same = self._routes.setdefault(len(segments), [])
        for route in same:
            if route.words == tuple(words):
                route.methods.update(methods)
                return
        same.append(Route(tuple(words), tuple(names), methods))


def _match(endpoint: Endpoint, names: Mapping[str, Any]) -> Match:
    return Match(endpoint.handler, dict(names), {"route": endpoint.label, **names})


def _failed(api: API, request: EdgeRequest, error: Exception) -> bytes:
    """Make an answer of an exception, and take it apart: with the frames that it passed it would be garbage in a circle."""
    body = api.failed(request, Failure(error))
    reason: BaseException | None = error
    while reason is not None:
        reason.__traceback__ = None
        reason = reason.__context__
    return body


def _authority(request: EdgeRequest) -> str:
    """Name the host that is asked, and its port if that is not the usual one, as Klein does."""
    host = request.getRequestHostname().decode()
    port = getattr(request.getHost(), "port", 0)
    return host if port in {0, 443 if request.isSecure() else 80} else f"{host}:{port}"


class PendingResponse:
    """A handler that waits, until its answer is there or its client gone: then what it waits for is cancelled."""

    __slots__ = ("_api", "_gone", "_request", "_running")

    def __init__(self, api: API, request: EdgeRequest, handling: Handling, waited: Deferred[Any]) -> None:
        self._api = api
        self._request = request
        self._gone = False
        request.abandoned = self._hung_up
        self._running = Running(handling, waited, self._done, self._failed)

    def _hung_up(self) -> None:
        self._gone = True
        self._running.waited.cancel()

    def _done(self, body: bytes) -> None:
        if not self._gone:
            # From here on neither knows the other, or both would be garbage in a circle.
            self._request.abandoned = None
            self._request.answer(body)

    def _failed(self, error: Exception) -> None:
        if not self._gone:
            self._request.abandoned = None
            self._request.answer(_failed(self._api, self._request, error))
        elif not isinstance(error, CancelledError):
            log.failure("A request failed whose client had gone.", Failure(error))
