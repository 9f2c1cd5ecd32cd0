"""
The server of the tests of the API, asked by bytes.

All of the server is here but the socket and the database: bytes go in at a connection of the real site, a ``Clock``
stands for time, and the store is in memory.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from resourced.auth.keys import Identity
from resourced.errors import EpochLost
from resourced.http.site import ResourcedSite
from resourced.model import Batch, Document, Event, LockKey, Resource, Snapshot, Term
from resourced.testing import MemoryStore
from tests.assembled import WRITE, configured, serve, surroundings
from tests.daemon import STOCK
from tests.leading import open_journal

PRINTER = "/resource/printer"
#: Who says who it is is not the one that did not.
SOMEONE_ELSE = [("X-Owner", "someone else")]
A4 = "/resource/printer/A4"

#: Every path of the API, with its methods.
ROUTES = {
    "/health": {"GET", "HEAD"},
    "/resource": {"GET", "HEAD", "POST"},
    "/resource/printer": {"DELETE", "GET", "HEAD", "PATCH"},
    A4: {"DELETE", "GET", "HEAD", "PATCH", "PUT"},
    f"{A4}/card": {"DELETE"},
    "/lock": {"POST"},
    "/unlock": {"POST"},
    "/locks": {"GET", "HEAD"},
    "/history": {"GET", "HEAD"},
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

    def last_first(self) -> None:
        """Let come next what was begun last."""
        self._pending.insert(0, self._pending.pop())

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

    async def create_resource(
        self, name: str, timeout: int, *, group: str = "", longest: int = 0, slots: int = 0
    ) -> Resource:
        await self._work("create_resource")
        return await super().create_resource(name, timeout, group=group, longest=longest, slots=slots)

    async def change_resource(self, name: str, changes: Mapping[str, int | str]) -> Resource:
        await self._work("change_resource")
        return await super().change_resource(name, changes)

    async def find_resource(self, name: str) -> Resource:
        await self._work("find_resource")
        return await super().find_resource(name)

    async def read(self, resource: Resource, selector: str) -> Document:
        await self._work("read")
        return await super().read(resource, selector)

    async def events(self, key: LockKey, before: int, limit: int) -> list[Event]:
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
            self.assertEqual(list(answer.json)[:2], ["error", "code"])
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
