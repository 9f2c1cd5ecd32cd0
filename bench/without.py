"""
The daemon without one part of its fast path, to measure what that part is worth. For the bench only.

Its first argument is one of ``PARTS``; the others are those of ``resourced``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from io import BytesIO

from twisted.python.threadpool import ThreadPool
from twisted.web.http_headers import Headers

from resourced import assembly, tap
from resourced.http.fast import connection
from resourced.http.fast.connection import FastChannel, FastRequest
from resourced.http.fast.parser import Head
from resourced.http.request import EdgeRequest
from resourced.storage.sql import executor, pool


class TwistedsRequest(EdgeRequest):
    """A request as Twisted has it, but for its head, which was read on the fast path."""

    def __init__(self, channel: FastChannel, head: Head) -> None:
        super().__init__(channel)
        asked, headers, body = head
        self.method, self.uri, self.path, self.args = asked.method, asked.uri, asked.path, asked.args
        self.clientproto = b"HTTP/1.1"
        self.requestHeaders = Headers({name: list(values) for name, values in headers.items()})
        self.content = BytesIO(body)


class TwistedsAnswer(FastRequest):
    """A request on the fast path whose answer Twisted writes."""

    def answer(self, body: bytes) -> None:
        assert self.responseHeaders is not None
        EdgeRequest.answer(self, body)


def no_dispatch() -> None:
    vars(assembly)["Dispatch"] = assembly._reference_path  # noqa: SLF001


def no_parser() -> None:
    vars(connection)["plain"] = lambda *_: None


class SlowStart(FastRequest):
    """A request on the fast path that begins as Twisted lets it begin."""

    def __init__(self, channel: FastChannel, head: Head) -> None:
        EdgeRequest(channel)
        super().__init__(channel, head)


class NoLink:
    """A connection to which everything goes through its transport."""

    def __init__(self, *_: object) -> None:
        pass

    def send(self, _: bytes) -> bool:
        return False

    def leave(self) -> None:
        pass


def no_internals() -> None:
    vars(connection)["Link"] = NoLink
    vars(connection)["FastRequest"] = SlowStart


def no_request() -> None:
    vars(connection)["FastRequest"] = TwistedsRequest


def no_answer() -> None:
    vars(connection)["FastRequest"] = TwistedsAnswer


def no_commits() -> None:
    vars(executor)["DirectCommitter"] = lambda *_: None


def no_cache() -> None:
    vars(assembly)["CachedStore"] = lambda store, *_, **__: store


def no_threads() -> None:
    vars(pool)["Threads"] = lambda size, name: ThreadPool(0, size, name)


#: What takes each part out:
#: ``dispatch``: Klein finds the handler. ``parser``: Twisted reads the head, and so has the request, too.
#: ``request``: Twisted has the request, and writes the answer. ``answer``: Twisted writes the answer.
#: ``internals``: Twisted's transports read and write, and its requests begin by themselves.
#: ``commits``: a thread commits. ``cache``: the store is asked for definitions. ``threads``: they are of a pool of Twisted's.
PARTS: Mapping[str, Callable[[], None]] = {
    "nothing": lambda: None,
    "dispatch": no_dispatch,
    "parser": no_parser,
    "request": no_request,
    "answer": no_answer,
    "internals": no_internals,
    "commits": no_commits,
    "cache": no_cache,
    "threads": no_threads,
}


def main() -> None:
    PARTS[sys.argv.pop(1)]()
    tap.main()


if __name__ == "__main__":
    main()
