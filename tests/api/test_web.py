"""
What goes over the wire, by the contract: every operation with its roles, statuses, headers and bodies.

All of the server is here but the socket and the database: bytes go in at a connection of the real site, a ``Clock``
stands for time, and the store is in memory.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from treq.testing import RequestTraversalAgent, StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from resourced.auth.keys import Identity
from resourced.errors import EpochLost, StoreUnavailable
from resourced.http.routing import Front
from resourced.http.site import ResourcedSite
from resourced.model import Batch, Document, Event, Key, Resource, Snapshot, Term, valid_name
from resourced.testing import MemoryStore
from tests.assembled import LOCK, READ, WRITE, configured, serve, surroundings
from tests.daemon import STOCK
from tests.examples import examples
from tests.leading import open_journal

pytestmark = [pytest.mark.trial, pytest.mark.reference_path]

PRINTER = "/resource/printer"
#: Who says who it is is not the one that did not.
SOMEONE_ELSE = [("X-Owner", "someone else")]
A4 = "/resource/printer/A4"

#: Every path of the API, with its methods.
ROUTES = {
    "/health": {"GET", "HEAD"},
    "/resource": {"GET", "HEAD", "POST"},
    "/resource/printer": {"DELETE", "GET", "HEAD", "PATCH"},
    A4: {"DELETE", "GET", "HEAD", "PUT"},
    f"{A4}/lock": {"DELETE", "GET", "HEAD", "POST", "PUT"},
    f"{A4}/unlock": {"POST", "PUT"},
    f"{A4}/events": {"GET", "HEAD"},
}

#: How many may follow the events.
MOST_STREAMS = 30

#: Names that are easily taken for one another, or mangled on their way.
NAMES = (
    "A4",
    "a4",
    "A4 ",
    " A4",
    "Á4",
    "A\u03014",
    "tray/1",
    "/",
    "100%",
    "%2F",
    "a+b",
    "a b",
    "a?b#c&d=e;f",
    "...",
    "日本語",
    "🖨️",
    "<b>",
    '"\\',
    "lock",
    "unlock",
)

#: What cannot be a name, as it looks in a path.
NO_NAMES = (".", "..", "%2e", "%2E%2e", "%00", "a%0Ab", "%7F", "%C2%85", "x" * 256, quote("é" * 256), quote("🖨" * 256))

Fields = Iterable[tuple[str, str]]


class Answer(NamedTuple):
    """An answer, with the names of its headers as they are on the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def ticket(self) -> str:
        return self.headers["X-Ticket"]


class Exchange:
    """One request on a connection of its own."""

    def __init__(self, site: ResourcedSite, request: bytes) -> None:
        self.transport = StringTransport()
        self.connection = site.buildProtocol(None)
        self.connection.makeConnection(self.transport)
        self.connection.dataReceived(request)

    @property
    def answered(self) -> bool:
        return bool(self.transport.value())

    @property
    def answer(self) -> Answer:
        head, _, body = self.transport.value().partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        assert len(headers) == len(lines), "a header is there twice"
        return Answer(int(status.split(" ")[1]), headers, body)

    def hang_up(self) -> None:
        self.connection.connectionLost(Failure(ConnectionDone()))


class FaultyStore(MemoryStore):
    """
    A store that can be away, or slow.

    :ivar faults: what each method raises, by its name.
    :ivar slow: whether everything takes until ``go_on``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.faults: dict[str, Exception] = {}
        self.slow = False
        self._pending: list[Deferred[None]] = []

    def go_on_once(self) -> None:
        """Do what comes next, and leave what follows from it for later."""
        self._pending.pop(0).callback(None)

    def go_on(self) -> None:
        self.slow = False
        while self._pending:
            self._pending.pop(0).callback(None)

    async def _work(self, name: str) -> None:
        if self.slow:
            self._pending.append(Deferred())
            await self._pending[-1]
        if name in self.faults:
            raise self.faults[name]

    async def create_resource(self, name: str, timeout: int) -> Resource:
        await self._work("create_resource")
        return await super().create_resource(name, timeout)

    async def change_resource(self, name: str, timeout: int) -> Resource:
        await self._work("change_resource")
        return await super().change_resource(name, timeout)

    async def find_resource(self, name: str) -> Resource:
        await self._work("find_resource")
        return await super().find_resource(name)

    async def read(self, resource: Resource, selector: str) -> Document:
        await self._work("read")
        return await super().read(resource, selector)

    async def events(self, key: Key, before: int, limit: int) -> list[Event]:
        await self._work("events")
        return await super().events(key, before, limit)

    async def ping(self) -> None:
        await self._work("ping")

    async def begin_term(self, over: Term | None = None, guard: str = "") -> Snapshot:
        await self._work("term")
        return await super().begin_term(over, guard)

    async def commit(self, batch: Batch) -> None:
        await self._work("commit")
        await super().commit(batch)


class WebTests(SynchronousTestCase):
    """A server, and what a client can do with it. Every answer is looked at for what all answers have in common."""

    def setUp(self):
        self.start()

    def start(self, *, adopted: Mapping[bytes, Identity] | None = None, **changes: Any) -> None:
        """
        Begin anew with a server that knows nothing.

        :param adopted: keys that it has beside those of the variables, each by its digest.
        :param changes: settings that are not as they are by default.
        """
        self.clock = Clock()
        self.store = FaultyStore()
        self.leadership_lost: list[EpochLost] = []
        self.config = configured(**{"max_streams": MOST_STREAMS, "reference_path": STOCK} | changes)
        self.adopted = adopted
        self.tickets = (f"{number:032x}" for number in itertools.count(1))
        self.restart()

    def restart(self) -> None:
        """Have another server, which knows nothing but what is in the store."""
        around = surroundings(self.clock, self.leadership_lost.append, new_ticket=self.tickets.__next__)
        self.server = serve(self.config, around, self.store)
        self.site, self.api, locking = self.server.site, self.server.api, self.server.locking
        self.keys, self.journal, self.feed, self.streams = locking.keys, locking.journal, locking.feed, locking.streams
        if self.adopted:
            self.keys.adopt(self.adopted)
        self.successResultOf(Deferred.fromCoroutine(open_journal(self.journal, locking.store)))

    def begin(
        self,
        method: str,
        path: str,
        body: bytes | str = b"",
        *,
        key: str = WRITE,
        ticket: str = "",
        headers: Fields = (),
    ) -> Exchange:
        """Send a request; whether it is answered at once is another question."""
        body = body.encode() if isinstance(body, str) else body
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: localhost",
            f"Content-Length: {len(body)}",
            *([f"x-api-key: {key}"] if key else []),
            *([f"x-ticket: {ticket}"] if ticket else []),
            *(f"{name}: {value}" for name, value in headers),
            "",
            "",
        ]
        return Exchange(self.site, "\r\n".join(lines).encode("latin-1") + body)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | str = b"",
        *,
        key: str = WRITE,
        ticket: str = "",
        headers: Fields = (),
    ) -> Answer:
        """Send a request, and return the answer that it gets at once."""
        return self.end(self.begin(method, path, body, key=key, ticket=ticket, headers=headers), method)

    def end(self, exchange: Exchange, method: str = "GET") -> Answer:
        """Return the answer that a request has got."""
        self.assertTrue(exchange.answered, "there is no answer yet")
        answer = exchange.answer
        headers = answer.headers
        if answer.status in {204, 304}:
            self.assertEqual((answer.body, "Content-Length" in headers, "Content-Type" in headers), (b"", False, False))
        else:
            self.assertEqual(headers["Content-Type"], "application/json")
            if method == "HEAD":
                self.assertEqual(answer.body, b"")
            else:
                self.assertEqual(int(headers["Content-Length"]), len(answer.body))
        if answer.status >= 400 and method != "HEAD":
            self.assertEqual(list(answer.json), ["error", "code"])
            self.assertRegex(answer.json["code"], r"\A[a-z_]+\Z")
            self.assertTrue(answer.json["error"])
        self.assertEqual("WWW-Authenticate" in headers, answer.status == 401)
        self.assertEqual("Allow" in headers, answer.status == 405)
        self.assertEqual("Retry-After" in headers, answer.status in {202, 503})
        return answer

    def assertRefused(self, status: int, code: str, answer: Answer) -> None:
        self.assertEqual((answer.status, answer.json["code"]), (status, code))
        self.assertEqual({"X-Ticket", "X-Fence", "X-Lease"} & set(answer.headers), set())

    def assertHeld(self, answer: Answer, ticket: str = "") -> None:
        """The answer says that the lock is the client's."""
        self.assertEqual(answer.status, 200, answer.body)
        self.assertTrue({"X-Ticket", "X-Fence", "X-Lease"} <= set(answer.headers))
        self.assertIn(ticket, answer.ticket)

    def assertWaits(self, answer: Answer, position: int) -> None:
        """The answer says that someone else has the lock."""
        self.assertEqual((answer.status, answer.json["position"]), (202, position))

    def create(self, name: str = "printer", timeout: int = 0) -> None:
        answer = self.ask("POST", "/resource", json.dumps({"name": name, "timeout": timeout}))
        self.assertEqual(answer.status, 201, answer.body)

    def lock(self, path: str = A4, ticket: str = "", headers: Fields = ()) -> str:
        """Take the lock, and return the ticket that has it."""
        answer = self.ask("POST", f"{path}/lock", ticket=ticket, headers=headers)
        self.assertHeld(answer, ticket)
        return answer.ticket

    def queue(self, path: str = A4, ticket: str = "") -> str:
        """Get in line, and return the ticket that waits."""
        answer = self.ask("POST", f"{path}/lock", ticket=ticket)
        self.assertEqual(answer.status, 202, answer.body)
        return answer.ticket

    def unlock(self, ticket: str, path: str = A4) -> None:
        self.assertEqual(self.ask("POST", f"{path}/unlock", ticket=ticket).body, b'{"unlocked": true}')

    def write(self, data: bytes | str, ticket: str, path: str = A4) -> None:
        answer = self.ask("PUT", path, data, ticket=ticket)
        self.assertEqual(answer.status, 204, answer.body)

    def put(self, data: bytes | str, path: str = A4) -> None:
        """Have data at a selector, and nobody there."""
        ticket = self.lock(path)
        self.write(data, ticket, path)
        self.unlock(ticket, path)

    def data(self, path: str = A4) -> str:
        """Return the text that is kept at a selector."""
        answer = self.ask("GET", f"{path}?lock=0")
        self.assertEqual(answer.status, 200, answer.body)
        return str(answer.json["data"])

    def assertFree(self, path: str = A4) -> None:
        """Nobody has the lock: a newcomer gets it at once."""
        self.unlock(self.lock(path), path)


class CreateTests(WebTests):
    def test_created(self):
        """A new resource is answered with its id, name and timeout, and where it is."""
        answer = self.ask("POST", "/resource", b'{"name": "printer", "timeout": 300}')
        self.assertEqual(answer.status, 201)
        expected = f'{{"id": "{answer.json["id"]}", "name": "printer", "timeout": 300}}'
        self.assertEqual(answer.body, expected.encode())
        self.assertRegex(answer.json["id"], r"\A.+\Z")
        self.assertEqual(answer.headers["Location"], "/resource/printer")

    def test_ids(self):
        """No two resources have the same id."""
        first, second = (self.ask("POST", "/resource", json.dumps({"name": name})) for name in ("a", "b"))
        self.assertNotEqual(first.json["id"], second.json["id"])

    def test_timeout_is_optional(self):
        """Without a timeout, or with 0, the locks have the lease that the server likes."""
        for name, body in (("a", b'{"name": "a"}'), ("b", b'{"name": "b", "timeout": 0}')):
            self.assertEqual(self.ask("POST", "/resource", body).json["timeout"], 0)
            self.assertEqual(self.ask("PUT", f"/resource/{name}/x/lock").headers["X-Lease"], "300")

    def test_timeout_is_the_lease(self):
        """The timeout is the lease of the resource's locks, up to the longest that any store can keep."""
        for timeout in (1, 7, 2**31 - 1):
            self.create(f"r{timeout}", timeout)
            self.assertEqual(self.ask("PUT", f"/resource/r{timeout}/x/lock").headers["X-Lease"], str(timeout))

    def test_exists(self):
        """A name is given once; the resource that has it stays as it is."""
        self.create(timeout=7)
        self.assertRefused(409, "resource_exists", self.ask("POST", "/resource", b'{"name": "printer", "timeout": 9}'))
        self.assertEqual(self.ask("PUT", f"{A4}/lock").headers["X-Lease"], "7")

    def test_names(self):
        """Whatever a name is made of, it is kept exactly, and Location leads to it."""
        for name in NAMES:
            for body in (json.dumps({"name": name}), json.dumps({"name": name}, ensure_ascii=False)):
                answer = self.ask("POST", "/resource", body)
                if answer.status != 409:
                    self.assertEqual((answer.status, answer.json["name"]), (201, name))
                    self.assertEqual(unquote(answer.headers["Location"]), f"/resource/{name}")
                    self.assertEqual(answer.headers["Location"].count("/"), 2)
                    self.assertEqual(self.ask("PUT", f"{answer.headers['Location']}/x/lock").status, 200)
        self.assertEqual(len(self.store.resources), len(NAMES))

    def test_length_of_names(self):
        """A name has at most 255 characters, however many bytes each of them is."""
        for character in "xé日🖨":
            self.create(character * 255)
            answer = self.ask("POST", "/resource", json.dumps({"name": character * 256}))
            self.assertRefused(400, "bad_name", answer)

    def test_bad_names(self):
        """What cannot be a name is refused."""
        names: tuple[object, ...] = ("", ".", "..", "a\n", "\0", "\x7f", "\x85", "\ud800", 1, None, True, ["x"], {})
        for name in names:
            self.assertRefused(400, "bad_name", self.ask("POST", "/resource", json.dumps({"name": name})))
        self.assertRefused(400, "bad_name", self.ask("POST", "/resource", b"{}"))
        self.assertEqual(self.store.resources, {})

    def test_whole_timeouts(self):
        """A timeout may be written as JSON writes a whole number, in whatever way."""
        for timeout in ("300", "300.0", "3e2"):
            answer = self.ask("POST", "/resource", f'{{"name": "{timeout}", "timeout": {timeout}}}')
            self.assertEqual((answer.status, answer.json["timeout"]), (201, 300))

    def test_bad_timeouts(self):
        """A timeout is a whole number of seconds that is not negative, and nothing that only looks like one."""
        for timeout in ("true", "false", "1.5", "1e-2", "-1", "null", '"300"', "[1]", str(2**31), "1" * 5000):
            answer = self.ask("POST", "/resource", f'{{"name": "printer", "timeout": {timeout}}}')
            self.assertRefused(400, "bad_timeout", answer)
        self.assertEqual(self.store.resources, {})

    def test_not_an_object(self):
        """A body that is JSON but not an object is refused."""
        for body in (b"[]", b'"printer"', b"1", b"null", b"true", b'[{"name": "printer"}]'):
            self.assertRefused(400, "bad_body", self.ask("POST", "/resource", body))

    def test_not_json(self):
        """A body that is not JSON is refused."""
        for body in (
            b"",
            b" ",
            b"name=printer",
            b'{"name": "printer"',
            b"{'name': 'printer'}",
            b'{"name": "printer",}',
            b'{"name": "printer"} x',
            b'\xef\xbb\xbf{"name": "printer"}',
            '{"name": "printer"}'.encode("utf-16"),
            b'{"name": "\xff"}',
            b'{"name": "a\nb"}',
            b'{"name": "printer", "timeout": NaN}',
            b'{"name": "printer", "timeout": -Infinity}',
            b"[" * 100_000,
        ):
            self.assertRefused(400, "bad_json", self.ask("POST", "/resource", body))
        self.assertEqual(self.store.resources, {})

    def test_fields_twice(self):
        """Of a field that is there twice the last counts."""
        body = '{"name": "a", "name": "printer", "timeout": 1, "timeout": 2}'
        answer = self.ask("POST", "/resource", body)
        self.assertEqual((answer.status, answer.json["name"], answer.json["timeout"]), (201, "printer", 2))

    def test_other_fields(self):
        """A field that is not known is refused and named, whatever is in it: it may be a misspelt one."""
        for name, value in (("Name", '"printer"'), ("timeuot", "5"), ("id", "1"), ("big", "9" * 5000), ("", "null")):
            answer = self.ask("POST", "/resource", f'{{"name": "printer", "{name}": {value}}}')
            self.assertRefused(400, "unknown_field", answer)
            self.assertIn(f"{name!r}: it takes name, timeout.", answer.json["error"])
        self.assertLess(len(self.ask("POST", "/resource", json.dumps({"x" * 5000: 1})).body), 300)
        self.assertEqual(self.store.resources, {})

    def test_content_type(self):
        """The body is JSON whatever type it says it is of: curl calls everything a form."""
        for number, kind in enumerate(
            (
                "application/json",
                "application/x-www-form-urlencoded",
                "multipart/form-data",
                "multipart/form-data; boundary=x",
                "x",
            )
        ):
            body = json.dumps({"name": f"r{number}"})
            self.assertEqual(self.ask("POST", "/resource", body, headers=[("Content-Type", kind)]).status, 201)


class NameTests(WebTests):
    def test_names_are_exact(self):
        """Names that look alike are different selectors, each with its own lock and its own data."""
        self.create()
        for number, name in enumerate(NAMES):
            path = f"{PRINTER}/{quote(name, safe='')}"
            self.write(str(number), self.lock(path), path)
        for number, name in enumerate(NAMES):
            answer = self.ask("GET", f"{PRINTER}/{quote(name, safe='')}?lock=0")
            self.assertEqual((answer.json["selector"], answer.json["data"]), (name, str(number)))

    def test_names_of_resources_are_exact(self):
        """The same holds for the names of resources."""
        for name in NAMES:
            self.create(name)
        for number, name in enumerate(NAMES):
            self.put(str(number), f"/resource/{quote(name, safe='')}/x")
        for number, name in enumerate(NAMES):
            self.assertEqual(self.data(f"/resource/{quote(name, safe='')}/x"), str(number))

    def test_percent_encoding(self):
        """One name may be written in several ways; a plus is a plus, and an encoded slash separates nothing."""
        self.create()
        for ways in (
            ("a%2Fb", "a%2fb"),
            ("%41%34", "A4"),
            ("a%20b",),
            ("a+b", "a%2Bb"),
            ("%252F",),
            ("%E6%97%A5", "%e6%97%a5"),
            ("100%", "100%25"),
            ("a;b", "a%3Bb"),
        ):
            self.put(json.dumps(ways), f"{PRINTER}/{ways[0]}")
            for way in ways:
                self.assertEqual(self.data(f"{PRINTER}/{way}"), json.dumps(ways))
        self.assertEqual(len(self.store.documents), 8)

    def test_routes_know_each_other(self):
        """A selector that is named like an operation is a selector; an operation has one segment more."""
        self.create()
        self.put("1", f"{PRINTER}/lock")
        ticket = self.lock(f"{PRINTER}/lock")
        self.unlock(ticket, f"{PRINTER}/lock")
        self.assertEqual(self.data(f"{PRINTER}/lock"), "1")
        self.assertEqual(self.ask("PUT", f"{A4}%2Flock", ticket="x" * 32, body="1").status, 410)

    def test_length(self):
        """A name has at most 255 characters, however long they are in the path."""
        self.create()
        for character in "xé日🖨":
            self.assertFree(f"{PRINTER}/{quote(character * 255)}")

    def test_no_names(self):
        """What cannot be a name is refused wherever a name stands, and takes no lock."""
        self.create()
        for name in NO_NAMES:
            for base in (f"/resource/{name}/A4", f"{PRINTER}/{name}"):
                for method, path in (
                    ("GET", base),
                    ("GET", f"{base}?lock=0"),
                    ("PUT", base),
                    ("POST", f"{base}/lock"),
                    ("POST", f"{base}/unlock"),
                ):
                    self.assertRefused(400, "bad_name", self.ask(method, path, b"1", ticket="x"))
                self.assertEqual(self.ask("HEAD", base).status, 400)
        self.assertEqual(self.store.places, {})

    def test_not_utf_8(self):
        """A path that is not UTF-8 is refused."""
        for name in ("%ff", "a%C3", "%ED%A0%80", "%C0%AF"):
            for path in (f"/resource/{name}/A4", f"{PRINTER}/{name}"):
                for method, operation in (("GET", ""), ("PUT", ""), ("POST", "/lock"), ("PUT", "/unlock")):
                    self.assertRefused(400, "bad_path", self.ask(method, f"{path}{operation}"))

    @settings(deadline=None, max_examples=examples(50))
    @given(
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=255),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=258),
        st.booleans(),
    )
    def test_any_name(self, resource, selector, lower):
        """Any name that is allowed comes back just as it was sent; any other is refused."""
        self.start()
        named = not valid_name(selector) and not valid_name(resource)
        encoded = "".join(f"%{byte:02x}" if lower else f"%{byte:02X}" for byte in selector.encode())
        if not valid_name(resource):
            self.create(resource)
        path = f"/resource/{quote(resource, safe='')}/{encoded}"
        answer = self.ask("POST", f"{path}/lock")
        if named:
            self.write('"x"', answer.ticket, path)
            self.assertEqual(self.ask("GET", path, ticket=answer.ticket).json["selector"], selector)
        else:
            self.assertEqual(answer.status, 400 if selector else 404)


class RoleTests(WebTests):
    #: Each operation, with the keys that may do it.
    OPERATIONS = (
        ("GET", "/health", {"", "unknown", READ.upper(), READ, LOCK, WRITE}),
        ("POST", "/resource", {WRITE}),
        ("GET", A4, {LOCK, WRITE}),
        ("GET", f"{A4}?lock=1", {LOCK, WRITE}),
        ("GET", f"{A4}?lock=0", {READ, LOCK, WRITE}),
        ("HEAD", A4, {READ, LOCK, WRITE}),
        ("HEAD", f"{A4}?lock=1", {READ, LOCK, WRITE}),
        ("PUT", f"{A4}/lock", {LOCK, WRITE}),
        ("POST", f"{A4}/lock", {LOCK, WRITE}),
        ("PUT", A4, {WRITE}),
        ("PUT", f"{A4}?unlock=1", {WRITE}),
        ("PUT", f"{A4}/unlock", {READ, LOCK, WRITE}),
        ("POST", f"{A4}/unlock", {READ, LOCK, WRITE}),
    )

    def test_roles(self):
        """Each key may do what its role says; without a key, with an unknown one or a lesser one it is 401."""
        for method, path, allowed in self.OPERATIONS:
            for key in ("", "unknown", READ.upper(), READ, LOCK, WRITE):
                self.start()
                self.create()
                # A body is not even read without a key that is known.
                answer = self.ask(method, path, b"" if path == "/health" else b"{}", key=key)
                self.assertEqual(answer.status != 401, key in allowed, (method, path, key))

    def test_how_it_is_refused(self):
        """A refusal says how to come in, and nothing about what is there."""
        self.create()
        for key in ("", "unknown", READ):
            answer = self.ask("PUT", f"{A4}/lock", key=key)
            self.assertRefused(401, "unauthorized", answer)
            self.assertRegex(answer.headers["WWW-Authenticate"], r"\ABearer\b")
        self.assertEqual(self.store.places, {})

    def test_strangers_learn_nothing(self):
        """Without a key it is 401 for what is there as for what is not, and for good requests as for bad ones."""
        self.create()
        for method, path in (
            ("POST", "/resource"),
            ("GET", A4),
            ("GET", f"{A4}?lock=2"),
            ("GET", f"{A4}?lock=0&raw=x"),
            ("GET", "/resource/nothing/x"),
            ("GET", "/resource/./x"),
            ("PUT", A4),
            ("PUT", f"{A4}?unlock=2"),
            ("PUT", f"{A4}/lock?wait=x"),
            ("POST", f"{A4}/unlock"),
        ):
            self.assertRefused(401, "unauthorized", self.ask(method, path, b"no JSON", key=""))

    def test_bearer(self):
        """The key may come as a bearer token instead."""
        self.create()
        for value, status in (
            (f"Bearer {LOCK}", 200),
            (f"bearer {LOCK}", 200),
            (f"Bearer {READ}", 401),
            ("Bearer unknown", 401),
            ("Bearer", 401),
            (LOCK, 401),
            (f"Basic {LOCK}", 401),
        ):
            answer = self.ask("PUT", f"{A4}/lock", key="", headers=[("Authorization", value)])
            self.assertEqual(answer.status, status, value)
            if status == 200:
                self.unlock(answer.ticket)

    def test_two_keys(self):
        """A request with two keys in one header is not ours to judge; in two headers, x-api-key counts."""
        self.create()
        answer = self.ask("PUT", f"{A4}/lock", headers=[("X-API-Key", READ)])
        self.assertRefused(401, "unauthorized", answer)
        self.assertEqual(self.ask("PUT", f"{A4}/lock", headers=[("Authorization", f"Bearer {READ}")]).status, 200)

    def test_unset_role(self):
        """A role without a key is open to nobody."""
        self.start(resource_read_lock="", resource_write="")
        for key in ("", READ, LOCK, WRITE):
            self.assertRefused(401, "unauthorized", self.ask("POST", "/resource", b'{"name": "x"}', key=key))
        self.assertEqual(self.ask("GET", f"{A4}?lock=0", key=READ).status, 404)

    def test_one_key_in_two_roles(self):
        """A key in two roles may do what either may."""
        self.start(resource_read="same", resource_read_lock="other", resource_write="same")
        self.assertEqual(self.ask("POST", "/resource", b'{"name": "printer"}', key="same").status, 201)
        self.assertEqual(self.ask("PUT", f"{A4}/lock", key="same").status, 200)
        self.assertRefused(401, "unauthorized", self.ask("POST", "/resource", b'{"name": "x"}', key="other"))


class ReadTests(WebTests):
    """Reading with ``lock=0``."""

    def test_body(self):
        """The data comes as a JSON string that holds the stored text byte for byte."""
        created = self.ask("POST", "/resource", b'{"name": "printer"}').json
        self.put(b'{"status": "ready"}')
        answer = self.ask("GET", f"{A4}?lock=0", key=READ)
        self.assertEqual(answer.status, 200)
        expected = (
            f'{{"id": "{answer.json["id"]}", "idResource": "{created["id"]}", "selector": "A4", '
            r'"data": "{\"status\": \"ready\"}"}'
        )
        self.assertEqual(answer.body, expected.encode())
        self.assertNotEqual(answer.json["id"], created["id"])

    def test_byte_for_byte(self):
        """Whatever JSON was written is read again with every space, escape and digit as it was."""
        self.create()
        for data in (
            b'{"b":1,"a":2, "b" : 3}',
            b" \t\r\n[ 1 ,\n2 ] \n",
            b'"\\u00e9\xc3\xa9\\/"',
            b'"\\ud83d"',
            b'"\\udc00\\ud800"',
            b'"\\u0000"',
            '"🖨️ 日本語 \u2028"'.encode(),
            b"1e400",
            b"-0.10",
            b"9" * 10_000,
            b"null",
            b"true",
            b'""',
            b"[]",
            b"[" * 500 + b"]" * 500,
        ):
            self.put(data)
            self.assertEqual(self.data().encode(), data)
            self.assertEqual(self.ask("GET", f"{A4}?lock=0&raw=1").body, data)

    def test_raw(self):
        """With raw=1 the body is the stored JSON itself, with or without the lock; with raw=0 it is not."""
        self.create()
        self.put(b'{"status": "ready"}')
        for query in ("lock=0&raw=1", "raw=1", "raw=1&lock=1"):
            answer = self.ask("GET", f"{A4}?{query}")
            self.assertEqual((answer.status, answer.body), (200, b'{"status": "ready"}'))
            if "X-Ticket" in answer.headers:
                self.unlock(answer.ticket)
        self.assertEqual(self.ask("GET", f"{A4}?lock=0&raw=0").json["data"], '{"status": "ready"}')

    def test_no_lock(self):
        """It knows neither ticket nor lease, and leaves nothing behind."""
        self.create()
        self.put("1")
        answer = self.ask("GET", f"{A4}?lock=0")
        self.assertEqual({"X-Ticket", "X-Fence", "X-Lease"} & set(answer.headers), set())
        self.assertEqual(self.store.places, {})

    def test_never_waits(self):
        """It does not matter who has the lock, nor what ticket is sent, nor how long the client would wait."""
        self.create()
        self.put("1")
        holder = self.lock()
        waiter = self.queue()
        for ticket in ("", holder, waiter, "never was"):
            answer = self.ask("GET", f"{A4}?lock=0&wait=10", ticket=ticket, headers=[("Prefer", "wait=10")])
            self.assertEqual(answer.status, 200)
            self.assertNotIn("Preference-Applied", answer.headers)

    def test_renews_nothing(self):
        """Reading with the holder's ticket is no use of it."""
        self.create(timeout=10)
        self.put("1")
        ticket = self.lock()
        self.clock.advance(6)
        self.ask("GET", f"{A4}?lock=0", ticket=ticket)
        self.clock.advance(6)
        self.assertRefused(410, "ticket_ended", self.ask("PUT", A4, "2", ticket=ticket))

    def test_nothing_there(self):
        """A resource that is not there and a selector without data are both 404, and are told apart by their codes."""
        self.create()
        for query in ("lock=0", "lock=0&raw=1"):
            self.assertRefused(404, "no_data", self.ask("GET", f"{A4}?{query}"))
            self.assertRefused(404, "unknown_resource", self.ask("GET", f"/resource/Printer/A4?{query}"))

    def test_not_cached(self):
        """No cache on the way may keep an answer."""
        self.create()
        self.put("1")
        self.assertEqual(self.ask("GET", f"{A4}?lock=0").headers["Cache-Control"], "no-store")
        self.assertEqual(self.ask("GET", A4).headers["Cache-Control"], "no-store")


class HeadTests(WebTests):
    def test_headers_of_the_read(self):
        """HEAD has the status and the headers of the read, and no body."""
        self.create()
        self.put('{"status": "ready"}')
        for query in ("", "raw=1"):
            read, head = self.ask("GET", f"{A4}?lock=0&{query}"), self.ask("HEAD", f"{A4}?{query}")
            self.assertEqual((head.status, head.body), (200, b""))
            self.assertEqual({**read.headers, "Date": ""}, {**head.headers, "Date": ""})

    def test_never_locks(self):
        """HEAD takes no lock and no place, in whatever way it is asked."""
        self.create()
        for status in (404, 200):
            for query in ("", "?lock=1", "?lock=0", "?wait=10"):
                answer = self.begin("HEAD", f"{A4}{query}").answer
                self.assertEqual(answer.status, status)
                self.assertNotIn("X-Ticket", answer.headers)
            self.assertEqual(self.store.places, {})
            self.put("1")

    def test_small_letters(self):
        """A method in small letters is another method, and nobody knows it."""
        self.create()
        for method in ("get", "head", "Put", "pOST"):
            self.assertEqual(self.begin(method, A4).answer.status, 405)
        self.assertEqual(self.store.places, {})

    def test_holder(self):
        """HEAD by the holder is no use of its ticket, and HEAD by others does not wait."""
        self.create(timeout=10)
        ticket = self.lock()
        self.write("1", ticket)
        self.assertEqual(self.ask("HEAD", A4).status, 200)
        self.clock.advance(6)
        self.assertEqual(self.ask("HEAD", A4, ticket=ticket).status, 200)
        self.clock.advance(6)
        self.assertFree()

    def test_unknown_resource(self):
        """HEAD of what is not there is 404."""
        self.assertEqual(self.ask("HEAD", A4).status, 404)


class LockTests(WebTests):
    """Taking, keeping and waiting for the lock: by reading, and without."""

    WAYS = (("GET", A4), ("GET", f"{A4}?lock=1"), ("PUT", f"{A4}/lock"), ("POST", f"{A4}/lock"))

    def setUp(self):
        super().setUp()
        self.create()
        self.put('{"status": "ready"}')

    def test_lock(self):
        """Who comes first has the lock: a ticket, a fence and the whole lease."""
        for method, path in self.WAYS:
            answer = self.ask(method, path, key=LOCK)
            self.assertEqual(answer.status, 200)
            self.assertRegex(answer.ticket, r"\A[0-9a-f]{32}\Z")
            self.assertRegex(answer.headers["X-Fence"], r"\A[1-9][0-9]*\Z")
            self.assertEqual(answer.headers["X-Lease"], "300")
            self.unlock(answer.ticket)

    def test_bodies(self):
        """Reading with the lock answers the data; locking without reading says only that it is locked."""
        for method, path in self.WAYS:
            answer = self.ask(method, path)
            if "/lock" in path:
                self.assertEqual(answer.body, b'{"locked": true}')
            else:
                self.assertEqual(list(answer.json), ["id", "idResource", "selector", "data"])
                self.assertEqual(json.loads(answer.json["data"]), {"status": "ready"})
            self.unlock(answer.ticket)

    def test_keep(self):
        """The same ticket again keeps the lock, under the same fence, and renews the lease."""
        first = self.ask("GET", A4)
        for method, path in self.WAYS:
            self.clock.advance(200)
            again = self.ask(method, path, ticket=first.ticket)
            self.assertEqual(again.status, 200)
            for name in ("X-Ticket", "X-Fence", "X-Lease"):
                self.assertEqual(again.headers[name], first.headers[name])

    def test_fence_grows(self):
        """Every grant has a higher fence than all before it."""
        fences = []
        for _ in range(3):
            answer = self.ask("PUT", f"{A4}/lock")
            fences.append(int(answer.headers["X-Fence"]))
            self.unlock(answer.ticket)
        self.assertEqual(fences, sorted(set(fences)))

    def test_wait_by_reading(self):
        """While someone else has the lock, reading with it answers 202 with a place in the queue."""
        self.lock()
        for position in (1, 2, 3):
            answer = self.ask("GET", A4)
            self.assertEqual(answer.status, 202)
            self.assertEqual(answer.body, b'{"unavailable": true, "position": %d}' % position)
            self.assertRegex(answer.ticket, r"\A[0-9a-f]{32}\Z")
            self.assertRegex(answer.headers["Retry-After"], r"\A[1-9][0-9]*\Z")
            self.assertEqual({"X-Fence", "X-Lease"} & set(answer.headers), set())

    def test_wait_without_reading(self):
        """Locking without reading answers 202 in the same way."""
        self.lock()
        for position, method in enumerate(("PUT", "POST"), 1):
            answer = self.ask(method, f"{A4}/lock")
            self.assertEqual(answer.status, 202)
            self.assertEqual(answer.body, b'{"locked": false, "position": %d}' % position)
            self.assertRegex(answer.ticket, r"\A[0-9a-f]{32}\Z")
            self.assertTrue(answer.headers["Retry-After"])
            self.assertEqual({"X-Fence", "X-Lease"} & set(answer.headers), set())

    def test_tickets_differ(self):
        """Every client has a ticket of its own."""
        tickets = [self.lock(), *(self.queue() for _ in range(3))]
        self.assertEqual(len(set(tickets)), 4)

    def test_keep_the_place(self):
        """A waiting ticket keeps its place when it is sent again, and moves up when those before it leave."""
        holder, first, second = self.lock(), self.queue(), self.queue()
        for method, path in self.WAYS:
            answer = self.ask(method, path, ticket=second)
            self.assertWaits(answer, 2)
            self.assertEqual(answer.ticket, second)
        self.unlock(first)
        self.assertWaits(self.ask("GET", A4, ticket=second), 1)
        self.unlock(holder)
        self.assertHeld(self.ask("GET", A4, ticket=second), second)

    def test_first_come_first_served(self):
        """The lock passes on in the order in which the tickets came."""
        tickets = [self.lock(), *(self.queue() for _ in range(4))]
        for ticket, following in itertools.pairwise(tickets):
            self.assertWaits(self.ask("GET", A4, ticket=tickets[-1]), len(tickets) - tickets.index(following))
            self.unlock(ticket)
            self.assertHeld(self.ask("GET", A4, ticket=following), following)

    def test_selectors_are_apart(self):
        """The lock of one selector says nothing about another."""
        self.lock()
        self.assertFree(f"{PRINTER}/A3")
        self.create("plotter")
        self.assertFree("/resource/plotter/A4")

    def test_unknown_resource(self):
        """There is no lock and no ticket at a resource that is not there."""
        for method, path in self.WAYS:
            answer = self.ask(method, path.replace("printer", "plotter"))
            self.assertRefused(404, "unknown_resource", answer)
        self.assertEqual(self.store.places, {})

    def test_no_data(self):
        """A selector without data is 404, but the lock is taken all the same, so that the first PUT can follow."""
        answer = self.ask("GET", f"{PRINTER}/A3")
        self.assertEqual((answer.status, answer.json["code"]), (404, "no_data"))
        self.assertEqual(answer.headers["X-Lease"], "30")
        self.assertTrue(answer.headers["X-Fence"])
        self.assertWaits(self.ask("GET", f"{PRINTER}/A3", headers=SOMEONE_ELSE), 1)
        self.write("1", answer.ticket, f"{PRINTER}/A3")
        self.assertEqual(self.data(f"{PRINTER}/A3"), "1")

    def test_no_data_is_for_the_claim_window_only(self):
        """A lock that came with a 404 passes on after the claim window, because its client may not have noticed it."""
        lost = self.ask("GET", f"{PRINTER}/A3").ticket
        self.clock.advance(29)
        waiter = self.ask("GET", f"{PRINTER}/A3", headers=SOMEONE_ELSE).ticket
        self.clock.advance(1)
        self.assertEqual(self.lock(f"{PRINTER}/A3", waiter), waiter)
        self.assertRefused(410, "ticket_ended", self.ask("GET", f"{PRINTER}/A3", ticket=lost))

    def test_no_data_and_used(self):
        """Once the ticket is used, its lease starts; whatever is answered then."""
        uses: tuple[tuple[str, str, bytes], ...] = (
            ("GET", "", b""),
            ("PUT", "/lock", b""),
            ("PUT", "", b"1"),
        )
        for number, (method, operation, body) in enumerate(uses):
            path = f"{PRINTER}/new{number}"
            ticket = self.ask("GET", path).ticket
            self.clock.advance(29)
            answer = self.ask(method, f"{path}{operation}", body, ticket=ticket)
            self.assertEqual(answer.headers.get("X-Lease", "300"), "300")
            self.clock.advance(299)
            self.assertEqual(self.ask("PUT", path, b"2", ticket=ticket).status, 204)

    def test_locking_without_reading_needs_no_data(self):
        """Locking without reading is 200 where there is no data, for the whole lease."""
        answer = self.ask("PUT", f"{PRINTER}/A3/lock")
        self.assertHeld(answer)
        self.assertEqual(answer.headers["X-Lease"], "300")

    def test_lease_in_whole_seconds(self):
        """The lease that is left is told in whole seconds, rounded down."""
        self.start(lease=2.9, claim=1.9)
        self.create()
        self.assertEqual(self.ask("PUT", f"{A4}/lock").headers["X-Lease"], "2")
        self.assertEqual(self.ask("GET", f"{PRINTER}/A3").headers["X-Lease"], "1")

    def test_body_does_not_matter(self):
        """A body that nobody asked for is passed over, a form too."""
        form = [("Content-Type", "application/x-www-form-urlencoded")]
        for method, path in self.WAYS:
            answer = self.ask(method, path, b"lock=0&wait=x&x-ticket=1", headers=form)
            self.assertHeld(answer)
            self.unlock(answer.ticket)

    def test_bad_arguments(self):
        """What is neither 0 nor 1, or no number of seconds, is refused, and takes no lock."""
        for argument in ("lock", "raw"):
            for value in ("=2", "=", "=true", "=yes", "=00", "=-1", "=%ff", "=1.0", "=+1", ""):
                self.assertRefused(
                    400,
                    "bad_argument" if value == "=%ff" else f"bad_{argument}",
                    self.ask("GET", f"{A4}?{argument}{value}"),
                )
        for value in ("=", "=x", "=-1", "=1.5", "=1s", "=inf", "=nan", "=+1", "=1e1", "=%D9%A1", ""):
            for method, path in (("GET", A4), ("PUT", f"{A4}/lock")):
                self.assertRefused(400, "bad_wait", self.ask(method, f"{path}?wait{value}"))
        self.assertEqual(self.store.places, {})

    def test_repeated_arguments(self):
        """An argument that is there twice must say the same twice."""
        for query in ("lock=0&lock=1", "raw=1&raw=0", "wait=1&wait=2", "lock=0&lock"):
            self.assertRefused(400, "repeated_argument", self.ask("GET", f"{A4}?{query}"))
        self.assertEqual(self.ask("GET", f"{A4}?lock=0&lock=0").status, 200)

    def test_other_arguments(self):
        """Arguments that are not known are passed over."""
        self.assertEqual(self.ask("GET", f"{A4}?lock=0&_=1&x=%ff&y").status, 200)

    def test_bad_headers(self):
        """A header that is there twice and differs, or is not text, or is too long, is refused and takes no lock."""
        for headers, code in (
            ([("X-Ticket", "a"), ("X-Ticket", "b")], "repeated_header"),
            ([("X-Ticket", "\xff")], "bad_header"),
            ([("X-Owner", "a"), ("X-Owner", "b")], "repeated_header"),
            ([("X-Owner", "a\tb")], "bad_owner"),
            ([("X-Owner", "x" * 256)], "bad_owner"),
            ([("Idempotency-Key", "x" * 256)], "bad_idempotency_key"),
            ([("X-Ticket", "a"), ("Idempotency-Key", "\xff")], "bad_header"),
        ):
            for method, path in self.WAYS:
                self.assertRefused(400, code, self.ask(method, path, headers=headers))
        self.assertEqual(self.store.places, {})

    def test_empty_ticket(self):
        """An empty ticket is none."""
        self.assertHeld(self.ask("GET", A4, headers=[("X-Ticket", "")]))

    def test_same_ticket_twice(self):
        """A header that is there twice and says the same is no harm."""
        ticket = self.lock()
        self.assertHeld(self.ask("GET", A4, ticket=ticket, headers=[("X-Ticket", ticket)]), ticket)

    def test_owner(self):
        """The owner is what the client says, else the name of its key."""
        self.lock(headers=[("X-Owner", "press 7 é".encode().decode("latin-1"))])
        self.lock(f"{PRINTER}/A3")
        self.assertEqual([place.owner for place in self.store.places.values()], ["press 7 é", "default"])

    def test_lost_answer(self):
        """With the same Idempotency-Key under the same key, a request that is sent again gets the ticket it got before."""
        self.lock()
        idempotency_key = [("Idempotency-Key", "one")]
        first = self.ask("GET", A4, headers=idempotency_key)
        self.assertEqual(self.ask("PUT", f"{A4}/lock", headers=idempotency_key).ticket, first.ticket)
        self.assertNotEqual(self.ask("GET", A4, headers=idempotency_key, key=LOCK).ticket, first.ticket)
        self.assertNotEqual(self.ask("GET", A4, headers=[("Idempotency-Key", "two")]).ticket, first.ticket)

    def test_too_many(self):
        """Where too many wait already, a newcomer is told to come back later."""
        self.start(max_queue=1)
        self.create()
        self.lock()
        waiter = self.queue()
        self.assertRefused(503, "overloaded", self.ask("PUT", f"{A4}/lock"))
        self.assertWaits(self.ask("PUT", f"{A4}/lock", ticket=waiter), 1)


class SecondSelectorTests(WebTests):
    """A ticket that is sent to another selector of its resource."""

    def setUp(self):
        super().setUp()
        self.create()
        self.a3 = f"{PRINTER}/A3"

    def test_joins_under_the_same_name(self):
        """A ticket that is alive joins at another selector of its resource, as holder or at the end of the line."""
        ticket = self.lock()
        self.assertEqual(self.lock(self.a3, ticket), ticket)
        other = self.lock(f"{PRINTER}/A2")
        self.queue(f"{PRINTER}/A2")
        answer = self.ask("GET", f"{PRINTER}/A2", ticket=ticket)
        self.assertWaits(answer, 2)
        self.assertEqual(answer.ticket, ticket)
        self.assertEqual(self.queue(self.a3, other), other)

    def test_each_is_unlocked_by_itself(self):
        """Unlocking one selector leaves the other locked."""
        ticket = self.lock(self.a3, self.lock())
        self.unlock(ticket)
        self.assertFree()
        self.assertWaits(self.ask("GET", self.a3), 1)
        self.write("1", ticket, self.a3)

    def test_other_resource(self):
        """At another resource it never was."""
        self.create("plotter")
        ticket = self.lock()
        for method, operation in (("GET", ""), ("PUT", "/lock"), ("PUT", "")):
            answer = self.ask(method, f"/resource/plotter/A4{operation}", b"1", ticket=ticket)
            self.assertRefused(410, "ticket_ended", answer)
        self.assertEqual(self.ask("PUT", "/resource/plotter/A4/unlock", ticket=ticket).body, b'{"unlocked": false}')

    def test_lost_at_one(self):
        """The selector that it lost answers 410, while the other one goes on."""
        ticket = self.lock(self.a3, self.lock())
        self.clock.advance(200)
        self.assertHeld(self.ask("PUT", f"{self.a3}/lock", ticket=ticket))
        self.clock.advance(100)
        for _ in range(2):
            for method, operation in (("GET", ""), ("PUT", "/lock"), ("PUT", "")):
                self.assertRefused(410, "ticket_ended", self.ask(method, f"{A4}{operation}", b"1", ticket=ticket))
            self.assertHeld(self.ask("PUT", f"{self.a3}/lock", ticket=ticket))
        self.write("1", ticket, self.a3)

    def test_write_where_it_never_locked(self):
        """To write, it must have locked there."""
        ticket = self.lock()
        self.assertRefused(423, "locked", self.ask("PUT", self.a3, b"1", ticket=ticket))
        self.lock(self.a3)
        self.assertRefused(423, "locked", self.ask("PUT", self.a3, b"1", ticket=ticket))


class EndedTests(WebTests):
    """A ticket that has ended."""

    def setUp(self):
        super().setUp()
        self.create()

    def assertEnded(self, ticket: str) -> None:
        """The ticket is good for nothing any more, however often one asks."""
        for _ in range(2):
            for method, path in (("GET", A4), ("PUT", f"{A4}/lock"), ("POST", f"{A4}/lock"), ("PUT", A4)):
                answer = self.ask(method, path, b"1", ticket=ticket)
                self.assertRefused(410, "ticket_ended", answer)
            self.assertEqual(self.ask("POST", f"{A4}/unlock", ticket=ticket).body, b'{"unlocked": false}')

    def test_lease(self):
        """A lock that is not used ends with its lease, and not a moment before."""
        ticket = self.lock()
        self.clock.advance(299.5)
        self.assertHeld(self.ask("PUT", f"{A4}/lock", ticket=ticket))
        self.clock.advance(300)
        self.assertEnded(ticket)
        self.assertFree()

    def test_lease_of_the_resource(self):
        """A resource with a timeout has that for its lease."""
        self.create("plotter", timeout=5)
        path = "/resource/plotter/A4"
        ticket = self.lock(path)
        self.clock.advance(4)
        self.write("1", ticket, path)
        self.clock.advance(4)
        waiter = self.queue(path)
        self.clock.advance(1)
        self.assertEqual(self.lock(path, waiter), waiter)
        self.assertRefused(410, "ticket_ended", self.ask("GET", path, ticket=ticket))

    def test_place(self):
        """A waiting ticket that is not polled ends after its time, and those behind it move up."""
        self.lock()
        lapsed, waiter = self.queue(), self.queue()
        self.clock.advance(40)
        self.assertWaits(self.ask("GET", A4, ticket=waiter), 2)
        self.clock.advance(20)
        self.assertEnded(lapsed)
        self.assertWaits(self.ask("GET", A4, ticket=waiter), 1)

    def test_polled_place(self):
        """A waiting ticket that is polled lasts as long as it takes."""
        holder = self.lock()
        waiter = self.queue()
        for _ in range(20):
            self.clock.advance(50)
            self.assertWaits(self.ask("GET", A4, ticket=waiter), 1)
            self.lock(ticket=holder)

    def test_claim_window(self):
        """A lock that falls to a ticket that nobody comes for passes on after the claim window."""
        holder, absent, waiter = self.lock(), self.queue(), self.queue()
        self.unlock(holder)
        self.clock.advance(29)
        self.assertWaits(self.ask("GET", A4, ticket=waiter), 1)
        self.clock.advance(1)
        self.assertEnded(absent)
        self.assertEqual(self.lock(ticket=waiter), waiter)

    def test_claimed(self):
        """Who comes within the claim window has the whole lease from then on."""
        holder, waiter = self.lock(), self.queue()
        self.unlock(holder)
        self.clock.advance(29)
        self.assertEqual(self.ask("PUT", f"{A4}/lock", ticket=waiter).headers["X-Lease"], "300")
        self.clock.advance(299)
        self.write("1", waiter)

    def test_never_was(self):
        """What cannot be a ticket is as good as ended, and nobody writes with one that was never given out."""
        self.lock()
        for ticket in ("0" * 32, "f" * 32):
            self.assertRefused(410, "ticket_ended", self.ask("PUT", A4, b"1", ticket=ticket))
        for ticket in ("0" * 31, "F" * 32, "x", "1" * 5000, '"', "é".encode().decode("latin-1"), "a, b"):
            self.assertEnded(ticket)

    def test_without_it(self):
        """Asked again without the ticket, there is a new one."""
        ticket = self.lock()
        self.clock.advance(300)
        self.assertEnded(ticket)
        self.assertNotEqual(self.lock(), ticket)

    def test_unknown_resource_comes_first(self):
        """At a resource that is not there, it is not the ticket's fault."""
        for method, operation in (("GET", ""), ("PUT", "/lock"), ("PUT", ""), ("PUT", "/unlock")):
            answer = self.ask(method, f"/resource/plotter/A4{operation}", b"1", ticket=self.lock())
            self.assertRefused(404, "unknown_resource", answer)
            self.start()
            self.create()


class UpdateTests(WebTests):
    def setUp(self):
        super().setUp()
        self.create()

    def test_written(self):
        """What the holder writes is there, and the lock is kept."""
        ticket = self.lock()
        answer = self.ask("PUT", A4, b'{"status": "ready"}', ticket=ticket)
        self.assertEqual((answer.status, answer.body), (204, b""))
        self.assertEqual(self.data(), '{"status": "ready"}')
        self.assertWaits(self.ask("GET", A4), 1)
        self.write("2", ticket)
        self.assertEqual(self.data(), "2")

    def test_id_stays(self):
        """New data does not make a new thing of it."""
        self.put("1")
        first = self.ask("GET", f"{A4}?lock=0").json["id"]
        self.put("2")
        self.assertEqual(self.ask("GET", f"{A4}?lock=0").json["id"], first)

    def test_renews(self):
        """Writing renews the lease."""
        ticket = self.lock()
        for number in range(5):
            self.clock.advance(299)
            self.write(str(number), ticket)

    def test_unlock_in_the_same_step(self):
        """With unlock=1 the lock is released in the same step, and the next one has it."""
        ticket = self.lock()
        waiting = self.begin("GET", f"{A4}?wait=50")
        answer = self.ask("PUT", f"{A4}?unlock=1", b'"new"', ticket=ticket)
        self.assertEqual(answer.status, 204)
        read = self.end(waiting)
        self.assertHeld(read)
        self.assertEqual(read.json["data"], '"new"')
        self.assertEqual(self.ask("PUT", f"{A4}/unlock", ticket=ticket).body, b'{"unlocked": false}')

    def test_unlock_0(self):
        """With unlock=0 the lock is kept."""
        ticket = self.lock()
        self.assertEqual(self.ask("PUT", f"{A4}?unlock=0", b"1", ticket=ticket).status, 204)
        self.write("2", ticket)

    def test_bad_unlock(self):
        """What is neither 0 nor 1 is refused, and nothing is written."""
        ticket = self.lock()
        for query in ("unlock=2", "unlock=", "unlock", "unlock=true"):
            self.assertRefused(400, "bad_unlock", self.ask("PUT", f"{A4}?{query}", b"1", ticket=ticket))
        answer = self.ask("PUT", f"{A4}?unlock=0&unlock=1", b"1", ticket=ticket)
        self.assertRefused(400, "repeated_argument", answer)
        self.assertEqual(self.store.documents, {})
        self.write("1", ticket)

    def test_no_ticket(self):
        """Without a ticket it is 428, whether anyone has the lock or not."""
        for headers in ((), [("X-Ticket", "")], [("X-Ticket", "  ")]):
            self.assertRefused(428, "ticket_required", self.ask("PUT", A4, b"1", headers=headers))
        self.lock()
        self.assertRefused(428, "ticket_required", self.ask("PUT", A4, b"1"))

    def test_still_waiting(self):
        """A ticket that waits cannot write, and does not lose its place by trying."""
        self.lock()
        waiter = self.queue()
        self.assertRefused(423, "locked", self.ask("PUT", A4, b"1", ticket=waiter))
        self.assertWaits(self.ask("GET", A4, ticket=waiter), 1)
        self.assertEqual(self.store.documents, {})

    def test_another_has_it(self):
        """A ticket of another selector cannot write while someone else has the lock."""
        self.lock()
        other = self.lock(f"{PRINTER}/A3")
        self.assertRefused(423, "locked", self.ask("PUT", A4, b"1", ticket=other))

    def test_released(self):
        """A ticket that has let go of the lock cannot write any more."""
        ticket = self.lock()
        self.unlock(ticket)
        self.assertRefused(410, "ticket_ended", self.ask("PUT", A4, b"1", ticket=ticket))

    def test_repeated_ticket(self):
        """Two tickets are one too many."""
        ticket = self.lock()
        answer = self.ask("PUT", A4, b"1", ticket=ticket, headers=[("X-Ticket", "other")])
        self.assertRefused(400, "repeated_header", answer)

    def test_unknown_resource(self):
        """At a resource that is not there nothing can be written."""
        answer = self.ask("PUT", "/resource/plotter/A4", b"1", ticket=self.lock())
        self.assertRefused(404, "unknown_resource", answer)

    def test_not_json(self):
        """What is not JSON is refused, and what was there stays, and the lock too."""
        ticket = self.lock()
        self.write("1", ticket)
        for body in (
            b"",
            b" ",
            b"ready",
            b"{",
            b"{'a': 1}",
            b'{"a": 1,}',
            b"[1] 2",
            b"01",
            b"+1",
            b".5",
            b"NaN",
            b"[Infinity]",
            b"-Infinity",
            b'"\n"',
            b'"\\x"',
            b'"\xff"',
            b'"\xed\xa0\x80"',
            b"\xef\xbb\xbf1",
            b"\x00",
            "1".encode("utf-16"),
            b"// a comment\n1",
        ):
            answer = self.ask("PUT", A4, body, ticket=ticket)
            self.assertRefused(400, "bad_json", answer)
        self.assertEqual(self.data(), "1")
        self.write("2", ticket)

    def test_deep_nesting(self):
        """JSON that is nested without end is refused and breaks nothing."""
        ticket = self.lock()
        for body in (b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000):
            self.assertRefused(400, "bad_json", self.ask("PUT", A4, body, ticket=ticket))
        self.write(b"[" * 500 + b"]" * 500, ticket)

    def test_content_type(self):
        """The body is JSON whatever type it says it is of."""
        ticket = self.lock()
        for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", ""):
            answer = self.ask("PUT", A4, b"1", ticket=ticket, headers=[("Content-Type", kind)])
            self.assertEqual(answer.status, 204)

    def test_large(self):
        """A body may be as large as the limit; a larger one is refused before it is read."""
        ticket = self.lock()
        largest = b'"' + b"x" * (1_048_576 - 2) + b'"'
        self.write(largest, ticket)
        self.assertEqual(self.data().encode(), largest)
        head = f"PUT {A4} HTTP/1.1\r\nHost: x\r\nX-API-Key: {WRITE}\r\nX-Ticket: {ticket}\r\nContent-Length: 1048577\r\n\r\n"
        self.assertRefused(413, "body_too_large", self.end(Exchange(self.site, head.encode())))
        self.assertEqual(self.data().encode(), largest)

    def test_told_means_committed(self):
        """The answer comes when the data is in the store, and not before."""
        ticket = self.lock()
        self.restart()
        self.store.slow = True
        writing = self.begin("PUT", A4, b"1", ticket=ticket)
        self.store.go_on_once()
        self.assertFalse(writing.answered)
        self.assertEqual(self.store.documents, {})
        self.store.go_on()
        self.assertEqual(self.end(writing).status, 204)
        self.assertEqual(self.data(), "1")


class UnlockTests(WebTests):
    def setUp(self):
        super().setUp()
        self.create()

    def test_unlocked(self):
        """The lock is free then; the same request again is no error."""
        for method in ("POST", "PUT"):
            ticket = self.lock()
            answer = self.ask(method, f"{A4}/unlock", ticket=ticket, key=READ)
            self.assertEqual((answer.status, answer.body), (200, b'{"unlocked": true}'))
            for _ in range(2):
                answer = self.ask(method, f"{A4}/unlock", ticket=ticket, key=READ)
                self.assertEqual((answer.status, answer.body), (200, b'{"unlocked": false}'))
            self.assertFree()

    def test_no_lock_headers(self):
        """The answer has no ticket, fence or lease: there is none any more."""
        answer = self.ask("PUT", f"{A4}/unlock", ticket=self.lock())
        self.assertEqual({"X-Ticket", "X-Fence", "X-Lease"} & set(answer.headers), set())

    def test_place_given_up(self):
        """A waiting ticket gives up its place, and those behind it move up."""
        self.lock()
        first, second = self.queue(), self.queue()
        self.unlock(first)
        self.assertWaits(self.ask("GET", A4, ticket=second), 1)

    def test_not_ones_own(self):
        """Whoever unlocks with a ticket that holds nothing here changes nothing."""
        ticket = self.lock()
        other = self.lock(f"{PRINTER}/A3")
        for stranger in (other, "0" * 32, "x"):
            self.assertEqual(self.ask("PUT", f"{A4}/unlock", ticket=stranger).body, b'{"unlocked": false}')
        self.write("1", ticket)

    def test_no_ticket(self):
        """Without a ticket it is 428, also where nothing is."""
        self.lock()
        for path in (A4, f"{PRINTER}/A3"):
            for method in ("POST", "PUT"):
                self.assertRefused(428, "ticket_required", self.ask(method, f"{path}/unlock"))

    def test_unknown_resource(self):
        """At a resource that is not there, there is nothing to unlock."""
        self.assertRefused(404, "unknown_resource", self.ask("PUT", "/resource/plotter/A4/unlock", ticket="x"))

    def test_form(self):
        """A form in the body is no ticket and no argument."""
        form = [("Content-Type", "application/x-www-form-urlencoded")]
        self.assertEqual(self.ask("POST", f"{A4}/unlock", b"a=b", ticket=self.lock(), headers=form).status, 200)

    def test_released_ticket_locks_again(self):
        """A ticket that let go of a lock may be sent again, and gets in line like a new one."""
        ticket = self.lock()
        self.unlock(ticket)
        self.lock(ticket=ticket)
        self.unlock(ticket)
        self.lock()
        self.assertEqual(self.queue(ticket=ticket), ticket)


class WaitTests(WebTests):
    """Requests that stay open until the lock is theirs."""

    def setUp(self):
        super().setUp()
        self.create()
        self.put("1")
        self.holder = self.lock()

    def wait(self, seconds: str = "50", ticket: str = "", path: str = A4, method: str = "GET") -> Exchange:
        waiting = self.begin(method, f"{path}?wait={seconds}", ticket=ticket)
        self.assertFalse(waiting.answered)
        return waiting

    def test_granted(self):
        """The request is answered the moment the lock is its own, by reading and without."""
        for method, operation in (("GET", ""), ("PUT", "/lock"), ("POST", "/lock")):
            waiting = self.wait(path=f"{A4}{operation}", method=method)
            self.clock.advance(20)
            self.assertFalse(waiting.answered)
            self.unlock(self.holder)
            answer = self.end(waiting)
            self.assertHeld(answer)
            self.assertEqual(answer.headers["X-Lease"], "300")
            self.holder = answer.ticket

    def test_the_same_ticket(self):
        """A ticket that waits already may wait on with the request open, and gets the lock under its name."""
        ticket = self.queue()
        waiting = self.wait(ticket=ticket)
        self.unlock(self.holder)
        self.assertHeld(self.end(waiting), ticket)

    def test_two_requests_with_one_ticket(self):
        """If two requests wait with the same ticket, both are answered."""
        ticket = self.queue()
        waiting = [self.wait(ticket=ticket), self.wait(ticket=ticket)]
        self.unlock(self.holder)
        for exchange in waiting:
            self.assertHeld(self.end(exchange), ticket)

    def test_only_the_first(self):
        """Of many who wait, only the first is answered."""
        waiting = [self.wait() for _ in range(3)]
        self.unlock(self.holder)
        self.assertEqual([exchange.answered for exchange in waiting], [True, False, False])
        self.unlock(self.end(waiting[0]).ticket)
        self.assertEqual([exchange.answered for exchange in waiting], [True, True, False])

    def test_lapsed_lease(self):
        """The lock falls to the one who waits when the holder's lease ends, too."""
        self.clock.advance(290)
        waiting = self.wait()
        self.clock.advance(9)
        self.assertFalse(waiting.answered)
        self.clock.advance(1)
        self.assertHeld(self.end(waiting))

    def test_over(self):
        """When the time is over the answer is 202 with the place, which has its whole time again."""
        for method, operation, body in (
            ("GET", "", b'{"unavailable": true, "position": 1}'),
            ("PUT", "/lock", b'{"locked": false, "position": 1}'),
        ):
            waiting = self.wait("10", path=f"{A4}{operation}", method=method)
            self.clock.advance(9.5)
            self.assertFalse(waiting.answered)
            self.clock.advance(0.5)
            answer = self.end(waiting)
            self.assertEqual((answer.status, answer.body), (202, body))
            self.clock.advance(59)
            self.assertWaits(self.ask("GET", A4, ticket=answer.ticket), 1)
            self.unlock(answer.ticket)

    def test_longest(self):
        """Nobody waits for more than 50 seconds, whatever is asked."""
        for seconds in ("50", "51", "999999999", "99999999999", "9" * 400):
            self.lock(ticket=self.holder)
            waiting = self.wait(seconds)
            self.clock.advance(49)
            self.assertFalse(waiting.answered)
            self.clock.advance(1)
            self.unlock(self.end(waiting).ticket)

    def test_prefer(self):
        """It may be asked for as a preference, which is then confirmed as far as it is met."""
        for preference, applied in (
            ("wait=10", "wait=10"),
            ("Wait = 10", "wait=10"),
            ('wait="10"', "wait=10"),
            ("respond-async, wait=10", "wait=10"),
            ("wait=10; x=y, return=minimal", "wait=10"),
            ("wait=10, wait=20", "wait=10"),
            ("wait=600", "wait=50"),
            ("wait=99999999999", "wait=50"),
        ):
            for method, path in (("GET", A4), ("POST", f"{A4}/lock")):
                self.lock(ticket=self.holder)
                waiting = self.begin(method, path, headers=[("Prefer", preference)])
                self.assertFalse(waiting.answered, preference)
                self.clock.advance(int(applied.removeprefix("wait=")))
                answer = self.end(waiting)
                self.assertEqual((answer.status, answer.headers["Preference-Applied"]), (202, applied))
                self.unlock(answer.ticket)

    def test_prefer_and_granted(self):
        """The preference is confirmed when the lock is granted as well."""
        self.unlock(self.holder)
        answer = self.ask("GET", A4, headers=[("Prefer", "wait=10")])
        self.assertHeld(answer)
        self.assertEqual(answer.headers["Preference-Applied"], "wait=10")

    def test_other_preferences(self):
        """A preference that makes no sense is passed over, as its RFC has it."""
        for preference in (
            "wait",
            "wait=",
            "wait=x",
            "wait=-1",
            "wait=1.5",
            "await=10",
            "x; wait=10",
            "return=minimal",
        ):
            answer = self.ask("GET", A4, headers=[("Prefer", preference)])
            self.assertEqual(answer.status, 202, preference)
            self.assertNotIn("Preference-Applied", answer.headers)

    def test_argument_over_preference(self):
        """The argument counts, and then there is no preference to confirm."""
        answer = self.ask("GET", f"{A4}?wait=0", headers=[("Prefer", "wait=10")])
        self.assertEqual(answer.status, 202)
        self.assertNotIn("Preference-Applied", answer.headers)

    def test_wait_0(self):
        """To wait for no time is not to wait."""
        self.assertEqual(self.ask("GET", f"{A4}?wait=0").status, 202)
        self.assertEqual(self.ask("GET", f"{A4}?wait=000").status, 202)

    def test_nothing_to_wait_for(self):
        """Who can have the lock, or has it, does not wait; nor does who cannot have it."""
        self.assertHeld(self.ask("GET", f"{A4}?wait=50", ticket=self.holder))
        self.assertHeld(self.ask("PUT", f"{PRINTER}/A3/lock?wait=50"))
        self.assertRefused(410, "ticket_ended", self.ask("GET", f"{A4}?wait=50", ticket="x"))
        self.assertRefused(404, "unknown_resource", self.ask("GET", "/resource/plotter/A4?wait=50"))

    def test_no_data(self):
        """Where there is no data, a lock that was waited for comes with 404 for the claim window, like any other."""
        path = f"{PRINTER}/A3"
        holder = self.lock(path)
        waiting = self.wait(path=path)
        self.unlock(holder, path)
        answer = self.end(waiting)
        self.assertEqual((answer.status, answer.headers["X-Lease"]), (404, "30"))
        self.write("1", answer.ticket, path)

    def test_given_up(self):
        """A ticket that gives up its place while a request waits with it ends that request."""
        ticket = self.queue()
        waiting = self.wait(ticket=ticket)
        self.unlock(ticket)
        self.assertRefused(410, "ticket_ended", self.end(waiting))

    def test_place_lasts(self):
        """A place that is held open by a long poll does not end, though its time be shorter than the wait."""
        self.start(place=10)
        self.create()
        holder = self.lock()
        waiting = self.begin("PUT", f"{A4}/lock?wait=50")
        self.clock.advance(40)
        self.unlock(holder)
        self.assertHeld(self.end(waiting))


class HangUpTests(WebTests):
    """Clients that go away without waiting for the answer."""

    def setUp(self):
        super().setUp()
        self.create()
        self.holder = self.lock()

    def test_keeps_its_place(self):
        """A client that hangs up while it waits keeps its place for the rest of its time."""
        ticket = self.queue()
        other = self.queue()
        waiting = self.begin("PUT", f"{A4}/lock?wait=50", ticket=ticket)
        self.clock.advance(30)
        waiting.hang_up()
        self.assertWaits(self.ask("PUT", f"{A4}/lock", ticket=other), 2)
        self.clock.advance(29)
        self.assertWaits(self.ask("PUT", f"{A4}/lock", ticket=ticket), 1)

    def test_place_ends(self):
        """And no longer than that."""
        ticket = self.queue()
        other = self.queue()
        waiting = self.begin("PUT", f"{A4}/lock?wait=50", ticket=ticket)
        self.clock.advance(30)
        waiting.hang_up()
        self.assertWaits(self.ask("PUT", f"{A4}/lock", ticket=other), 2)
        self.clock.advance(30)
        self.assertRefused(410, "ticket_ended", self.ask("PUT", f"{A4}/lock", ticket=ticket))
        self.assertWaits(self.ask("PUT", f"{A4}/lock", ticket=other), 1)

    def test_lock_falls_to_it(self):
        """A lock that falls to it after that must be claimed within the claim window."""
        ticket = self.queue()
        waiting = self.begin("PUT", f"{A4}/lock?wait=50", ticket=ticket)
        waiting.hang_up()
        self.unlock(self.holder)
        other = self.queue()
        self.clock.advance(30)
        self.assertEqual(self.lock(ticket=other), other)

    def test_unknown_ticket(self):
        """A client that hangs up before it knew its ticket leaves a place that ends by itself."""
        self.begin("PUT", f"{A4}/lock?wait=50").hang_up()
        other = self.queue()
        self.clock.advance(59)
        self.assertWaits(self.ask("PUT", f"{A4}/lock", ticket=other), 2)
        self.clock.advance(1)
        self.assertWaits(self.ask("PUT", f"{A4}/lock", ticket=other), 1)

    def test_write_goes_on(self):
        """A write whose client hangs up is done all the same, and the lock is kept."""
        self.store.slow = True
        writing = self.begin("PUT", A4, b'"new"', ticket=self.holder)
        self.store.go_on_once()
        writing.hang_up()
        self.store.go_on()
        self.assertEqual(self.data(), '"new"')
        self.write("2", self.holder)

    def test_write_and_unlock_goes_on(self):
        """With unlock=1 the lock is then released too."""
        self.store.slow = True
        writing = self.begin("PUT", f"{A4}?unlock=1", b'"new"', ticket=self.holder)
        self.store.go_on_once()
        writing.hang_up()
        self.store.go_on()
        self.assertEqual(self.data(), '"new"')
        self.assertFree()

    def test_unlock_goes_on(self):
        """An unlock whose client hangs up is done all the same."""
        self.store.slow = True
        self.begin("PUT", f"{A4}/unlock", ticket=self.holder).hang_up()
        self.store.go_on()
        self.assertFree()


class ErrorTests(WebTests):
    METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO", "PROPFIND")

    def test_methods(self):
        """Every path knows its methods; for any other it is 405, with those that it knows in Allow."""
        self.create()
        for path, allowed in ROUTES.items():
            for method in self.METHODS:
                for key in (WRITE, ""):
                    answer = self.ask(method, path, key=key)
                    self.assertEqual(answer.status == 405, method not in allowed, (method, path))
                    if answer.status == 405:
                        self.assertEqual(answer.headers["Allow"], ", ".join(sorted(allowed)))
                    if answer.status == 405 and answer.body:
                        self.assertEqual(answer.json["code"], "method_not_allowed")

    def test_allow_without_a_body(self):
        """HEAD where there is no GET is 405 too, and has no body."""
        self.assertEqual(self.ask("HEAD", f"{A4}/unlock").headers["Allow"], "POST, PUT")

    def test_server_as_a_whole(self):
        """The asterisk is no resource."""
        self.assertRefused(405, "method_not_allowed", self.ask("OPTIONS", "*"))

    def test_unknown_paths(self):
        """There is nothing at other paths; slashes too many or at the end are not mended."""
        self.create()
        for path in (
            "/x",
            "/Resource",
            "/health/",
            "/healthz",
            "/resource/",
            "/resource//",
            "//resource",
            f"/{A4}",
            "///health",
            "/resource//A4",
            f"{PRINTER}/",
            f"{PRINTER}//",
            f"{PRINTER}//A4",
            "/resource//printer/A4",
            f"{A4}/",
            f"{A4}//lock",
            f"{A4}/lock/",
            f"{A4}/unlock/",
            f"{A4}/Lock",
            f"{A4}/%6Cock%2F",
            f"{A4}/lock/x",
            f"{A4}/x",
            "/favicon.ico",
            "/%2Fresource",
            "/resource%2Fprinter%2FA4",
        ):
            for method in ("GET", "PUT", "POST"):
                self.assertRefused(404, "unknown_path", self.ask(method, path))
        # A browser is sent to the page from here; for a program there is nothing.
        self.assertRefused(404, "unknown_path", self.ask("GET", "/"))
        self.assertEqual(self.store.places, {})

    def test_no_redirects(self):
        """A slash at the end is not a reason to send a client elsewhere."""
        for path in (f"{A4}/", "/resource/", "/health/"):
            self.assertNotIn("Location", self.ask("GET", path).headers)

    def test_host(self):
        """A host that is none is refused, whatever is asked for."""
        for host in ("a..b", "x" * 64 + ".example", "a b", "a/b", "é", "[::1"):
            for path in ("/health", A4, "/nothing"):
                request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"
                self.assertRefused(400, "bad_host", self.end(Exchange(self.site, request.encode())))

    def test_any_host(self):
        """Any host that could be one will do."""
        for host in ("localhost", "127.0.0.1:9501", "[::1]:9501", "xn--bcher-kva.example", "a_b"):
            request = f"GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n"
            self.assertEqual(self.end(Exchange(self.site, request.encode())).status, 200)

    def test_absolute_target(self):
        """The address as a whole is as good as its path."""
        self.create()
        self.put("1")
        self.assertEqual(self.ask("GET", f"http://example.org{A4}?lock=0&raw=1").body, b"1")

    def test_a_bug(self):
        """A failure that nobody thought of is logged, and the client learns nothing about it."""
        self.create()
        ticket = self.lock()
        self.restart()
        self.store.faults = dict.fromkeys(("create_resource", "find_resource", "read", "ping"), LookupError("a secret"))
        for method, path in (
            ("POST", "/resource"),
            ("GET", A4),
            ("HEAD", A4),
            ("GET", f"{A4}?lock=0"),
            ("PUT", f"{A4}/lock"),
            ("PUT", A4),
            ("GET", "/health"),
        ):
            answer = self.ask(method, path, b'{"name": "x"}', ticket=ticket)
            self.assertEqual(answer.status, 500)
            self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
            if method != "HEAD":
                self.assertRefused(500, "internal_error", answer)
                for inside in (b"secret", b"LookupError", b"Traceback", b".py"):
                    self.assertNotIn(inside, answer.body)
        self.store.faults.clear()
        self.write("1", ticket)


class StoreTests(WebTests):
    """The store is away."""

    AWAY = StoreUnavailable("The store cannot be reached at present. Try again.")

    def setUp(self):
        super().setUp()
        self.create()
        self.put('"old"')

    def break_off(self, *names: str) -> None:
        self.store.faults = dict.fromkeys(names, self.AWAY)

    def come_back(self) -> None:
        self.store.faults.clear()
        self.clock.advance(1)

    def assertAway(self, answer: Answer) -> None:
        self.assertRefused(503, "store_unavailable", answer)
        self.assertRegex(answer.headers["Retry-After"], r"\A[1-9][0-9]*\Z")

    def test_create(self):
        """Nothing is created then."""
        self.break_off("create_resource")
        self.assertAway(self.ask("POST", "/resource", b'{"name": "plotter"}'))
        self.come_back()
        self.create("plotter")

    def test_find(self):
        """Whatever needs the resource is 503 when it cannot be looked up, and leaves nothing behind."""
        ticket = self.lock(f"{PRINTER}/A3")
        self.restart()
        self.break_off("find_resource")
        for method, path in (
            ("GET", A4),
            ("GET", f"{A4}?lock=0"),
            ("PUT", f"{A4}/lock"),
            ("PUT", A4),
            ("PUT", f"{A4}/unlock"),
        ):
            self.assertAway(self.ask(method, path, b"1", ticket=ticket))
        self.assertEqual(self.ask("HEAD", A4).status, 503)
        self.come_back()
        self.assertFree()
        self.assertEqual(self.data(), '"old"')

    def test_read(self):
        """If the data cannot be read, nobody has the lock: the ticket was not told."""
        self.break_off("read")
        for query in ("", "?lock=0", "?raw=1"):
            self.assertAway(self.ask("GET", f"{A4}{query}"))
        self.come_back()
        self.assertFree()

    def test_read_again(self):
        """A request that is known again by its Idempotency-Key may come back for the lock."""
        self.break_off("read")
        idempotency_key = [("Idempotency-Key", "one")]
        self.assertAway(self.ask("GET", A4, headers=idempotency_key))
        self.come_back()
        self.assertWaits(self.ask("GET", A4), 1)
        self.assertHeld(self.ask("GET", A4, headers=idempotency_key))

    def test_read_by_the_holder(self):
        """If the data cannot be read, who had the lock keeps it."""
        holder = self.lock()
        self.break_off("read")
        self.assertAway(self.ask("GET", A4, ticket=holder))
        self.come_back()
        self.write("1", holder)

    def test_read_with_a_place(self):
        """If the data cannot be read when the lock falls to a ticket that its client knows, it may come back for it."""
        holder, ticket = self.lock(), self.queue()
        waiting = self.begin("GET", f"{A4}?wait=50", ticket=ticket)
        self.break_off("read")
        self.unlock(holder)
        self.assertAway(self.end(waiting))
        self.come_back()
        self.assertWaits(self.ask("GET", A4), 1)
        self.assertHeld(self.ask("GET", A4, ticket=ticket), ticket)

    def test_read_after_waiting(self):
        """If the data cannot be read when the wait is over, the lock goes to the next."""
        holder = self.lock()
        first, second = self.begin("GET", f"{A4}?wait=50"), self.begin("PUT", f"{A4}/lock?wait=50")
        self.break_off("read")
        self.unlock(holder)
        self.assertAway(self.end(first))
        self.assertHeld(self.end(second))

    def test_commit_of_a_lock(self):
        """A lock that could not be kept is nobody's."""
        for method, path in (("GET", A4), ("PUT", f"{A4}/lock"), ("POST", f"{A4}/lock")):
            self.break_off("commit", "term")
            self.assertAway(self.ask(method, path))
            self.assertAway(self.ask(method, path))
            self.come_back()
            self.assertFree()

    def test_commit_of_a_write(self):
        """A write that could not be kept is answered so, what was there stays, and its client still has the lock."""
        ticket = self.lock()
        for query in ("", "?unlock=1"):
            self.break_off("commit", "term")
            self.assertAway(self.ask("PUT", f"{A4}{query}", b'"new"', ticket=ticket))
            self.assertEqual(self.data(), '"old"')
            self.come_back()
            self.assertHeld(self.ask("GET", A4, ticket=ticket), ticket)

    def test_commit_of_an_unlock(self):
        """An unlock that could not be kept is answered so, and can be repeated."""
        ticket = self.lock()
        self.break_off("commit", "term")
        self.assertAway(self.ask("PUT", f"{A4}/unlock", ticket=ticket))
        self.come_back()
        self.unlock(ticket)

    def test_while_waiting(self):
        """A request that waits when the store goes away is told, and its ticket keeps its place."""
        holder = self.lock()
        ticket = self.queue()
        waiting = self.begin("GET", f"{A4}?wait=50", ticket=ticket)
        self.break_off("commit", "term")
        self.assertAway(self.ask("PUT", f"{A4}/unlock", ticket=holder))
        self.assertAway(self.end(waiting))
        self.come_back()
        self.assertWaits(self.ask("GET", A4, ticket=ticket), 1)

    def test_reading_goes_on(self):
        """While locks cannot be kept, data can still be read without one."""
        ticket = self.lock()
        self.break_off("commit", "term")
        self.assertAway(self.ask("PUT", f"{A4}/unlock", ticket=ticket))
        self.assertEqual(self.data(), '"old"')

    def test_another_daemon(self):
        """If another daemon has taken over the store, this one says so and does nothing more."""
        self.store.faults = {"commit": EpochLost("Another daemon has taken over this store.")}
        answer = self.ask("PUT", f"{A4}/lock")
        self.assertEqual(answer.status, 503)
        self.assertEqual(len(self.leadership_lost), 1)

    def test_another_daemon_creates(self):
        """The same holds when a resource is created."""
        self.store.faults = {"create_resource": EpochLost("Another daemon has taken over this store.")}
        self.assertRefused(503, "epoch_lost", self.ask("POST", "/resource", b'{"name": "plotter"}'))

    def test_told_means_committed(self):
        """A lock is told of when it is in the store, and not before."""
        self.restart()
        self.store.slow = True
        locking = self.begin("PUT", f"{A4}/lock")
        self.store.go_on_once()
        self.assertFalse(locking.answered)
        self.assertEqual(self.store.places, {})
        self.store.go_on()
        self.assertHeld(self.end(locking))
        self.assertEqual(len(self.store.places), 1)


class HealthTests(WebTests):
    def test_healthy(self):
        """Whoever asks learns that all is well."""
        for key in ("", "unknown", READ):
            answer = self.ask("GET", "/health", key=key)
            self.assertEqual((answer.status, answer.body), (200, b'{"health": "ok"}'))
        head = self.ask("HEAD", "/health", key="")
        self.assertEqual((head.status, head.headers["Content-Length"]), (200, "16"))

    def test_store_away(self):
        """While the store cannot be reached it is 503."""
        self.store.faults = {"ping": StoreTests.AWAY}
        self.assertRefused(503, "store_unavailable", self.ask("GET", "/health", key=""))
        self.store.faults.clear()
        self.assertEqual(self.ask("GET", "/health", key="").status, 200)

    def test_locks_away(self):
        """Also while locks cannot be kept, though the store answers."""
        self.create()
        self.store.faults = dict.fromkeys(("commit", "term"), StoreTests.AWAY)
        self.assertEqual(self.ask("PUT", f"{A4}/lock").status, 503)
        self.assertRefused(503, "store_unavailable", self.ask("GET", "/health", key=""))
        self.store.faults.clear()
        self.clock.advance(1)
        self.assertEqual(self.ask("GET", "/health", key="").status, 200)


class MisspeltTests(WebTests):
    """A request that has something in its query that it does not know does nothing, and names it."""

    def assertNamed(self, argument: str, answer: Answer) -> None:
        self.assertRefused(400, "unknown_argument", answer)
        self.assertIn(f" {argument!r}:", answer.json["error"])

    def test_locks(self):
        """What was meant to wait, or only to read, does not become a lock."""
        self.create()
        for argument in ("wiat", "LOCK", "ticket", "timeout", "é", ""):
            for value in ("=0", "", "=20"):
                if argument or value:
                    spelled = quote(argument) + value
                    for method, path in (("GET", A4), ("POST", f"{A4}/lock"), ("PUT", f"{A4}/lock")):
                        self.assertNamed(argument, self.ask(method, f"{path}?{spelled}"))
                        self.assertNamed(argument, self.ask(method, f"{path}?wait=0&{spelled}"))
                        self.assertNamed(argument, self.ask(method, f"{path}?wait=0;{spelled}"))
        for argument in ("lock", "raw", "unlock"):
            self.assertNamed(argument, self.ask("POST", f"{A4}/lock?{argument}=0"))
        self.assertIn("'x': it takes lock, raw, wait.", self.ask("GET", f"{A4}?x=1").json["error"])
        self.assertEqual(self.store.places, {})
        # A key that may not lock is told the same.
        self.assertNamed("LOCK", self.ask("GET", f"{A4}?LOCK=0", key=READ))

    def test_holder(self):
        """Nothing is written, deleted, released or broken."""
        self.create()
        self.put("1")
        ticket = self.lock()
        for method, path in (
            ("PUT", A4),
            ("DELETE", A4),
            ("POST", f"{A4}/unlock"),
            ("PUT", f"{A4}/unlock"),
            ("DELETE", f"{A4}/lock"),
        ):
            self.assertNamed("unlcok", self.ask(method, f"{path}?unlcok=1", "2", ticket=ticket))
            self.assertNamed("wait", self.ask(method, f"{path}?wait", "2", ticket=ticket))
        self.assertNamed("raeson", self.ask("DELETE", f"{A4}/lock?fence=2&raeson=hung"))
        self.assertEqual(self.data(), "1")
        self.lock(ticket=ticket)

    def test_reads(self):
        """Where nothing can be mistaken for a lock it is passed over, as it always was."""
        self.create()
        self.put("1")
        for path in (f"{A4}?lock=0&_=17", "/resource?x=1", f"{A4}/lock?x=1"):
            self.assertEqual(self.ask("GET", path).status, 200)
        self.assertEqual(self.ask("HEAD", f"{A4}?x=1").status, 200)
        self.assertEqual(self.store.places, {})


class PHPClientTests(WebTests):
    """What the published PHP client sends, one request after the other, and what it makes of the answers."""

    #: The one ticket that it has for a resource. It never drops it, and sends it with everything.
    kept = ""

    def send(self, method: str, path: str, body: str = "", headers: Fields = ()) -> Answer:
        answer = self.ask(method, path, body, ticket=self.kept, headers=[("accept", "application/json"), *headers])
        if answer.status < 400:
            # It looks the header up by this very name; and of an error it sees no headers.
            self.kept = answer.headers.get("X-Ticket", self.kept)
        return answer

    def php_create(self, name: str, timeout: int) -> int:
        body = json.dumps({"name": name, "timeout": timeout}, separators=(",", ":"))
        return self.send("POST", "/resource", body, [("content-type", "application/json")]).status

    def php_get(self, selector: str, *, lock: bool) -> Any:
        """Return the data, or the status if there is none."""
        answer = self.send("GET", f"{PRINTER}/{quote(selector, safe='~')}?lock={lock:d}")
        if answer.status != 200:
            return answer.status
        self.assertIsInstance(answer.json["data"], str)
        return json.loads(answer.json["data"])

    def php_lock(self, selector: str) -> bool:
        answer = self.send("PUT", f"{PRINTER}/{quote(selector, safe='~')}/lock")
        self.assertIn(answer.status, {200, 202})
        if answer.status == 200:
            self.assertIs(answer.json["locked"], True)
        return answer.status == 200

    def php_write(self, selector: str, data: Any) -> int:
        body = json.dumps(data, separators=(",", ":"))
        path = f"{PRINTER}/{quote(selector, safe='~')}"
        return self.send("PUT", path, body, [("content-type", "application/json")]).status

    def php_unlock(self, selector: str) -> int:
        return self.send("PUT", f"{PRINTER}/{quote(selector, safe='~')}/unlock").status

    def test_walk(self):
        """From creating a resource to unlocking it, and the same again with the ticket that was released."""
        self.assertEqual(self.php_create("printer", 300), 201)
        self.assertEqual(self.php_create("printer", 300), 409)
        for number in range(3):
            self.assertTrue(self.php_lock("A4"))
            self.assertEqual(self.php_write("A4", {"status": "ready", "number": number}), 204)
            self.assertEqual(self.php_get("A4", lock=True), {"status": "ready", "number": number})
            self.assertEqual(self.php_unlock("A4"), 200)
            self.assertEqual(self.php_unlock("A4"), 200)
            self.assertEqual(self.php_get("A4", lock=False), {"status": "ready", "number": number})
        self.assertEqual(self.store.places, {})

    def test_first_data(self):
        """
        Reading what has no data yet is 404, of which it does not see the ticket; so the lock passes to it when it asks for
        it anew.
        """
        self.php_create("printer", 300)
        self.assertEqual(self.php_get("A4", lock=True), 404)
        self.assertEqual(self.kept, "")
        self.assertTrue(self.php_lock("A4"))
        self.assertEqual(self.php_write("A4", [1]), 204)

    def test_second_selector(self):
        """It sends its one ticket to every selector of the resource."""
        self.php_create("printer", 300)
        for selector in ("A4", "tray/1", "Ä ~"):
            self.assertTrue(self.php_lock(selector))
            self.assertEqual(self.php_write(selector, selector), 204)
        for selector in ("A4", "tray/1", "Ä ~"):
            self.assertEqual(self.php_get(selector, lock=True), selector)
            self.assertEqual(self.php_unlock(selector), 200)
        self.assertTrue(self.php_lock("another"))

    def test_wait(self):
        """While someone else has the lock it is told to wait, and gets it by asking again."""
        self.php_create("printer", 300)
        other = self.lock()
        self.assertFalse(self.php_lock("A4"))
        waiting = self.kept
        self.assertEqual(self.php_get("A4", lock=True), 202)
        self.assertEqual(self.php_write("A4", 1), 423)
        self.unlock(other)
        self.assertTrue(self.php_lock("A4"))
        self.assertEqual(self.kept, waiting)

    def test_without_a_ticket(self):
        """Before it has a ticket, it can neither write nor unlock."""
        self.php_create("printer", 300)
        self.assertEqual(self.php_write("A4", 1), 428)
        # To unlock it sends not even its key then.
        self.assertEqual(self.ask("PUT", f"{A4}/unlock", key="").status, 401)


class TreqTests(WebTests):
    """The API behind treq's site in memory, as those may have it who test a program of theirs against it."""

    def setUp(self):
        super().setUp()
        self.create()
        self.agent = RequestTraversalAgent(Front(self.api.app.resource()))
        self.treq: Any = StubTreq(Front(self.api.app.resource()))

    def test_walk(self):
        """Two clients take turns."""

        def ask(method: str, path: str, ticket: str = "", body: bytes = b"") -> tuple[int, str, str]:
            headers = {"x-api-key": WRITE, **({"x-ticket": ticket} if ticket else {})}
            response = self.successResultOf(
                self.treq.request(method, f"http://localhost{path}", headers=headers, data=body or None)
            )
            text = self.successResultOf(self.treq.text_content(response))
            return response.code, response.headers.getRawHeaders("x-ticket", [""])[0], text

        status, first, _ = ask("GET", A4)
        self.assertEqual(status, 404)
        self.assertEqual(ask("PUT", A4, first, b'{"status": "ready"}')[0], 204)
        status, second, text = ask("GET", A4)
        self.assertEqual((status, text), (202, '{"unavailable": true, "position": 1}'))
        self.assertEqual(ask("POST", f"{A4}/unlock", first), (200, "", '{"unlocked": true}'))
        self.assertEqual(ask("GET", f"{A4}?raw=1", second), (200, second, '{"status": "ready"}'))
        self.assertEqual(ask("PUT", f"{PRINTER}/a%2Fb/lock", second), (200, second, '{"locked": true}'))
        self.assertEqual(ask("TRACE", A4)[0], 405)

    def test_hang_up(self):
        """A client that stops waiting keeps its place, and the next one is behind it."""
        holder, ticket = self.lock(), self.queue()
        headers = Headers({"x-api-key": [LOCK], "x-ticket": [ticket]})
        waiting = self.agent.request(b"PUT", f"http://localhost{A4}/lock?wait=50".encode(), headers)
        self.agent.flush()
        self.assertNoResult(waiting)
        waiting.cancel()
        self.agent.flush()
        self.failureResultOf(waiting)
        self.queue()
        self.unlock(holder)
        self.lock(ticket=ticket)


class AnyRequestTests(WebTests):
    """Requests that nobody thought of."""

    @settings(deadline=None, max_examples=examples(300))
    @given(
        method=st.sampled_from(("GET", "HEAD", "POST", "PUT", "DELETE", "get", "X")),
        segments=st.lists(
            st.sampled_from(
                ("resource", "printer", "A4", "lock", "unlock", "health", "", ".", "..", "%", "%ff", "%2F", "a%00")
            )
            | st.text("abé/%?;\\ ", max_size=5).map(quote),
            max_size=5,
        ),
        query=st.lists(
            st.tuples(
                st.sampled_from(("lock", "raw", "unlock", "wait", "x")),
                st.sampled_from(("", "=", "=0", "=1", "=2", "=%ff", "=60", "=1=1")),
            ).map("".join),
            max_size=3,
        ),
        key=st.sampled_from((WRITE, WRITE, LOCK, READ, "x", "")),
        ticket=st.sampled_from(("", f"{1:032x}", f"{2:032x}", f"{3:032x}", "x", "\xff")),
        headers=st.lists(
            st.tuples(
                st.sampled_from(("X-Ticket", "Prefer", "X-Owner", "Idempotency-Key", "Authorization", "Content-Type")),
                st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20)
                | st.sampled_from(
                    ("wait=5", "Bearer write-key", "application/x-www-form-urlencoded", "multipart/form-data")
                ),
            ),
            max_size=3,
        ),
        body=st.binary(max_size=20)
        | st.sampled_from((b"1", b'{"name": "x"}', b'{"name": "printer", "timeout": 1}', b"[" * 5000, b"9" * 5000)),
    )
    def test_any_request(self, method, segments, query, key, ticket, headers, body):
        """Whatever is asked in whatever way, the answer is one that the contract knows, and the server goes on."""
        self.start()
        self.create()
        self.lock()
        self.queue()
        path = "/" + "/".join(segments) + ("?" + "&".join(query) if query else "")
        exchange = self.begin(method, path, body, key=key, ticket=ticket, headers=headers)
        self.clock.advance(50)
        answer = self.end(exchange, method)
        self.assertIn(answer.status, {200, 201, 202, 204, 400, 401, 404, 405, 409, 410, 423, 428})
        self.assertEqual(self.ask("GET", "/health").status, 200)
        self.assertTrue(re.fullmatch(r"[0-9a-f]{32}", answer.headers.get("X-Ticket", "0" * 32)))
