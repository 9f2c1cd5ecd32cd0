"""
The fast ways through the house answer as the slow ones do, byte for byte, and leave nothing behind.

Two servers get the same bytes in the same pieces at the same time: one of Klein, twisted.web and the store alone, one with all
that makes it fast. Only the time of day may be different.
"""

from __future__ import annotations

import gc
import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

import resourced.testing.store
from resourced.http.access_log import AccessRecord
from resourced.http.fast.connection import FastRequest
from resourced.http.fast.parser import plain
from resourced.http.request import EdgeRequest
from resourced.testing import MemoryStore
from tests.assembled import configured, serve, surroundings
from tests.examples import examples
from tests.leading import open_journal

pytestmark = pytest.mark.trial

KEY = b"x-api-key: write-key"


def undated(answers: bytes) -> bytes:
    return re.sub(rb"\r\nDate: [^\r]*", b"", answers)


class Server:
    """A server in memory, whose ids and tickets are numbers in their order."""

    def __init__(self, case: SynchronousTestCase, *, fast: bool) -> None:
        ids = itertools.count(1)
        case.patch(resourced.testing.store, "uuid4", lambda: UUID(int=next(ids)))
        self.clock = Clock()
        config = configured(max_body=2000, reference_path=not fast)
        self.server = serve(config, surroundings(self.clock, case.fail), MemoryStore())
        locking, self.site = self.server.locking, self.server.site
        self.site.limits = replace(self.site.limits, max_headers=1000)
        case.successResultOf(Deferred.fromCoroutine(open_journal(locking.journal, locking.store)))
        self.told: list[AccessRecord] = []
        self.site.access = self.told.append  # type: ignore[assignment, method-assign]
        self.open: dict[int, tuple[StringTransport, Any]] = {}
        self.gone: list[bytes] = []

    def send(self, number: int, data: bytes) -> None:
        """Send bytes on a connection, which is opened if there is none of this number."""
        if number not in self.open:
            transport, connection = StringTransport(), self.site.buildProtocol(None)
            connection.makeConnection(transport)
            self.open[number] = (transport, connection)
        transport, connection = self.open[number]
        if not transport.disconnecting and transport.connected:
            connection.dataReceived(data)

    def hang_up(self, number: int) -> None:
        if number in self.open:
            self.open[number][1].connectionLost(Failure(ConnectionDone()))
            self.gone.append(undated(self.open.pop(number)[0].value()))

    def received(self) -> dict[int, tuple[bytes, bool]]:
        """What came back on each connection, and whether it was closed."""
        return {
            number: (undated(transport.value()), transport.disconnecting)
            for number, (transport, _) in self.open.items()
        }


NAMES = st.sampled_from(
    ["printer", "A4", "a%2Fb", "%C3%A9", "%ff", "", ".", "x" * 300, "%00", "a+b", "lock", "a;b", "a#b"]
)
TARGETS = st.one_of(
    st.builds("/resource/{}/{}{}{}".format, st.just("printer") | NAMES, NAMES, *[
        st.sampled_from(["", "", "/lock", "/unlock", "/"]),
        st.sampled_from(["", "", "?lock=0", "?lock=1&raw=1", "?lock", "?wait=3", "?unlock=1", "?lock=2", "?wait=x&&;=", "?lock=0&lock=1"]),
    ]),
    st.builds("/resource{}{}".format, st.sampled_from(["", "/printer", "/printer/A4/lock"]), st.sampled_from([
        "", "?limit=1", "?limit=0", "?prefix=p", "?after=A3", "?after=1&limit=2", "?fence=1", "?fence=2", "?fence=x", "?prefix=%ff",
    ])),
    st.sampled_from(["/", "/health", "/resource", "//resource/printer/A4", "*", "/resource/printer/A4/lock/more", "http://x/health", "x"]),
)  # fmt: skip
METHODS = st.sampled_from(
    ["GET", "GET", "PUT", "POST", "POST", "HEAD", "DELETE", "DELETE", "PATCH", "PATCH", "OPTIONS", "get", "Put", "FOO"]
)
HEADERS = st.lists(
    st.sampled_from([
        b"x-ticket: 00000000000000000000000000000001", b"X-TICKET:00000000000000000000000000000002  ", b"x-ticket: unknown",
        b"x-ticket:", b"x-api-key: read-key", b"Authorization: Bearer lock-key", b"Prefer: wait=2", b"prefer: wait=1, a=b",
        b"Connection: close", b"Connection: keep-alive", b"Expect: 100-continue", b"Content-Type: application/x-www-form-urlencoded",
        b"x-owner: someone", b"x-owner: \xc3\xa9", b"x-owner: \xff", b"x-owner: a\tb", b"Idempotency-Key: k", b"Cookie: a=b",
        b"bad header: x", b"nocolon", b" folded", b"\tfolded", b": empty", b"x-nul: a\0b", b"x-cr: a\rb", b"Host: y", b"Host: a..b",
        b"Content-Length: 3", b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: identity", b"Upgrade: x", b"If-None-Match: *", b'If-None-Match: "x"', b"If-Match: *", b"If-Match: x", b"If-None-Match:", b"x-long: " + b"a" * 900,
    ]),
    max_size=3,
)  # fmt: skip
BODIES = st.sampled_from([
    b"", b"", b'{"a": 1}', b'{"name": "printer", "timeout": 5}', b'{"name": "a/b"}', b'{"timeout": 7}', b"nonsense", b"\xff", b"7" * 1990, b"7" * 2001,
])  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Make a request that is mostly in order."""
    body = draw(BODIES)
    version = draw(st.sampled_from(["HTTP/1.1"] * 12 + ["HTTP/1.0", "HTTP/1.2", "http/1.1", "HTTP/1.1 "]))
    lines = [f"{draw(METHODS)} {draw(TARGETS)} {version}".encode()]
    lines += draw(
        st.sampled_from([[b"Host: x"]] * 12 + [[b"Host: x:9501"], [], [b"hOST:  x "], [b"Host: "], [b"Host: a b"]])
    )
    lines += draw(st.sampled_from([[KEY]] * 9 + [[], [b"x-api-key: wrong"]]))
    lines += draw(HEADERS)
    if body or draw(st.booleans()):
        lines.append(b"Content-Length: %d" % (len(body) + draw(st.sampled_from([0] * 12 + [1, -1]))))
    return b"\r\n".join([*lines, b"", body])


Step = tuple[str, int, bytes, float]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["whole"] * 8 + ["torn", "twice", "hang up", "wait"]),
        st.integers(0, 3),
        requests(),
        st.floats(0, 1) | st.just(4.0),
    ),
    min_size=1,
    max_size=12,
)
CREATE = b'POST /resource HTTP/1.1\r\nHost: x\r\nx-api-key: write-key\r\nContent-Length: 33\r\n\r\n{"name": "printer", "timeout": 5}'
LOCK = b"POST /resource/printer/A4/lock?wait=3 HTTP/1.1\r\nHost: x\r\nx-api-key: write-key\r\n\r\n"
UNLOCK = b"POST /resource/printer/A4/unlock HTTP/1.1\r\nHost: x\r\nx-api-key: write-key\r\nx-ticket: %032x\r\n\r\n"
WRITE = b'PUT /resource/printer/A4 HTTP/1.1\r\nHost: x\r\nx-api-key: write-key\r\nx-ticket: %032x\r\nContent-Length: 8\r\n\r\n{"a": %d}'
STEER = b"%s /resource%s HTTP/1.1\r\nHost: x\r\nx-api-key: write-key\r\nx-ticket: %032x\r\n%s\r\n"
READ = b"GET /resource/printer/A4%s HTTP/1.1\r\nHost: x\r\nx-api-key: write-key\r\n\r\n"


class SameAnswerTests(SynchronousTestCase):
    def answers(self, steps: Sequence[Step], *, fast: bool) -> tuple[object, ...]:
        """Let a server have it; return all that came of it."""
        server = Server(self, fast=fast)
        server.send(9, CREATE)
        for what, number, request, share in steps:
            if what == "hang up":
                server.hang_up(number)
            elif what == "wait":
                server.clock.advance(share)
            elif what == "torn":
                cut = int(len(request) * min(share, 1))
                server.send(number, request[:cut])
                server.send(number, request[cut:])
            else:
                server.send(number, request * (2 if what == "twice" else 1))
        server.clock.advance(4)
        self.flushLoggedErrors()
        return server.received(), server.gone, server.told

    @settings(max_examples=examples(400), suppress_health_check=list(HealthCheck))
    @given(steps=STEPS)
    @example(
        steps=[("whole", 0, LOCK, 0), ("whole", 1, LOCK, 0), ("twice", 1, READ % b"", 0), ("whole", 0, UNLOCK % 1, 0)]
    )
    @example(steps=[("whole", 0, LOCK, 0), ("whole", 1, LOCK, 0), ("hang up", 1, b"", 0), ("whole", 0, UNLOCK % 1, 0)])
    @example(steps=[("whole", 0, LOCK, 0), ("whole", 0, WRITE % (1, 1), 0), ("whole", 0, READ % b"?lock=0", 0)] * 2)
    @example(
        steps=[("whole", 0, LOCK, 0), ("whole", 1, LOCK, 0), ("whole", 1, b"x" * 20_000, 0), ("wait", 0, b"", 4.0)]
    )
    @example(
        steps=[
            ("whole", number % 2, request, 0)
            for number, request in enumerate(
                [
                    LOCK,
                    WRITE % (1, 1),
                    STEER % (b"GET", b"/printer/A4?lock=0", 0, b"If-None-Match: *\r\n"),
                    STEER % (b"HEAD", b"/printer/A4", 0, b"If-None-Match: *\r\n"),
                    STEER % (b"PUT", b"/printer/A4", 1, b"If-Match: x\r\n"),
                    STEER % (b"GET", b"", 0, b""),
                    STEER % (b"GET", b"/printer", 0, b""),
                    STEER % (b"GET", b"/printer/A4/lock", 0, b""),
                    STEER % (b"DELETE", b"/printer", 0, b""),
                    STEER % (b"DELETE", b"/printer/A4", 1, b'If-Match: "x"\r\n'),
                    STEER % (b"DELETE", b"/printer/A4", 1, b""),
                    STEER % (b"DELETE", b"/printer/A4/lock?fence=1", 0, b""),
                    STEER % (b"PATCH", b"/printer", 0, b""),
                    STEER % (b"DELETE", b"/printer", 0, b""),
                    STEER % (b"GET", b"/printer", 0, b""),
                ]
            )
        ]
    )
    @example(
        steps=[
            ("whole", 0, b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n\xff", 0),
            ("whole", 0, READ % b"", 0),
        ]
    )
    def test_both_ways_answer_alike(self, steps: list[Step]):
        """Whatever clients send, in whatever pieces, the fast server says what the slow one says, and logs it alike."""
        self.assertEqual(self.answers(steps, fast=True), self.answers(steps, fast=False))


class PlainTests(SynchronousTestCase):
    def test_what_is_doubtful_is_not_plain(self):
        """Nothing that could be read in two ways is read on the fast path."""
        good = b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
        self.assertIsNotNone(plain(good, 1000, 1000))
        for old, new in [
            (b"\r\nHost", b"\nHost"),
            (b"Host: x", b"Host: x\r\n y"),
            (b"Host: x", b"Host : x"),
            (b"Host: x", b"Host: x\r\nHost: x"),
            (b"Host: x", b"X: x"),
            (b"Length: 2", b"Length: 2\r\nContent-Length: 2"),
            (b"Length: 2", b"Length: +2"),
            (b"Length: 2", b"Length: 0x2"),
            (b"Length: 2", b"Length: 2\r\nTransfer-Encoding: chunked"),
            (b"Length: 2", b"Length: 1"),
            (b"Length: 2", b"Length: 3"),
            (b"/a", b"//a"),
            (b"/a", b"http://x/a"),
            (b"/a", b"/\xe9"),
            (b"PUT", b"put"),
            (b"PUT", b"HEAD"),
            (b"1.1", b"1.0"),
            (b"Host: x", b"Host: x\r\nExpect: 100-continue"),
            (b"Host: x", b"Host: x\r\nConnection: close"),
        ]:
            self.assertIsNone(plain(good.replace(old, new), 1000, 1000), new)
        self.assertIsNone(plain(good, 20, 1000))
        self.assertIsNone(plain(good, 1000, 1))


class HeaderTests(SynchronousTestCase):
    def test_text(self):
        """A header whose name or value is text is written as well."""

        def process(request: EdgeRequest) -> None:
            request.setHeader("x-name", b"a")
            request.setHeader(b"x-value", "b")
            request.setHeader(b"content-length", b"2")
            request.answer(b"ok")

        self.patch(EdgeRequest, "process", process)
        self.patch(FastRequest, "process", process)
        for fast in (False, True):
            server = Server(self, fast=fast)
            server.send(1, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            (answer, closed), *_ = server.received().values()
            head, _, body = answer.partition(b"\r\n\r\n")
            self.assertFalse(closed)
            self.assertEqual(body, b"ok")
            self.assertLess({b"X-Name: a", b"X-Value: b"}, set(head.split(b"\r\n")))


class GarbageTests(SynchronousTestCase):
    def test_a_request_leaves_nothing_for_the_collector(self):
        """However a request ends, and whether it had to wait, no cyclic garbage is left of it.

        But of a path that there is not: there werkzeug leaves some itself.
        """
        server = Server(self, fast=True)
        server.send(0, CREATE)

        def cycle(number: int) -> None:
            first, second = 2 * number + 1, 2 * number + 2
            server.send(0, LOCK)
            server.send(1, LOCK)
            server.send(0, WRITE % (first, number % 10))
            server.send(0, READ % b"?lock=0")
            server.send(0, UNLOCK % first)
            server.send(1, UNLOCK % second)
            server.send(0, UNLOCK % first)
            server.send(0, READ.replace(b"write-key", b"wrong") % b"")
            server.send(0, WRITE % (999_999, 1))
            server.send(0, READ.replace(b"printer", b"nothing") % b"")
            server.send(0, READ.replace(b"A4", b"%%00") % b"")

        for number in range(3):
            cycle(number)
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for number in range(3, 23):
            cycle(number)
        self.assertEqual(gc.collect(), 0)
        said = b"".join(transport.value() for transport, _ in server.open.values())
        statuses = {int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", said)}
        self.assertEqual(statuses, {200, 201, 204, 400, 401, 404, 410})
