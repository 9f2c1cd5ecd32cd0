"""
Ten thousand requests, most of them broken, to one real daemon, which then still does its work.

A request is made of parts, and each part knows what there is to complain about it, without a look at the server's code.
So the answer has to be one of the complaints, and if there are none the one right answer.
"""

from __future__ import annotations

import http.client
import json
import socket
import unicodedata
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tests.daemon import LOCK, READ, WRITE, Answer, Daemon
from tests.examples import examples

pytestmark = pytest.mark.reference_path

#: How many requests are put together from parts, and how many are torn at random.
DRAWN, TORN = examples(2_500), examples(500)
#: The largest body that the daemon takes here, in bytes.
MAX_BODY = 4_000
#: There at the start: a resource, and a selector of it with data, a holder and a ticket that waits.
RESOURCE, HELD = "printer", "held"

QUIET = settings(
    database=None,
    derandomize=True,
    # To shrink a request that depends on those before it leads nowhere.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True)
class Part:
    """
    A part of a request.

    :ivar complaints: the statuses with which a server may refuse it; none if it is in order.
    :ivar means: what it stands for.
    """

    text: Any
    complaints: frozenset[int] = frozenset()
    means: Any = None


def part(text: Any, *complaints: int, means: Any = None) -> Part:
    return Part(text, frozenset(complaints), means)


@dataclass(frozen=True)
class Drawn:
    """A request in its parts."""

    path: str
    method: str
    name: Part
    selector: Part
    query: list[Part]
    key: Part
    ticket: Part
    headers: list[Part]
    body: Part
    chunked: bool

    def wire(self) -> bytes:
        """Write it down."""
        target = {
            "health": "/health",
            "collection": "/resource",
            "resource": f"/resource/{self.name.text}",
            "selector": f"/resource/{self.name.text}/{self.selector.text}",
            "lock": f"/resource/{self.name.text}/{self.selector.text}/lock",
            "unlock": f"/resource/{self.name.text}/{self.selector.text}/unlock",
        }.get(self.path, self.path)
        query = "&".join(argument.text for argument in self.query)
        head = [f"{self.method} {target}{'?' if query else ''}{query} HTTP/1.1".encode(), b"Host: localhost"]
        head += [b"%s: %s" % header.text for header in (self.key, *self.headers) if header.text]
        if self.ticket.text:
            head.append(b"x-ticket: " + self.ticket.text)
        body = self.body.text
        if self.chunked:
            head.append(b"Transfer-Encoding: chunked")
            body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (body[:7], body[7:]) if chunk)
            body += b"0\r\n\r\n"
        elif body:
            head.append(b"Content-Length: %d" % len(body))
        return b"\r\n".join([*head, b"", body])


# -- Names


def is_name(text: str) -> bool:
    """Tell whether the contract allows a name."""
    fit = not any(unicodedata.category(character) in {"Cc", "Cs"} for character in text)
    return fit and 1 <= len(text) <= 255 and text not in {".", ".."}


TEXTS = st.text(min_size=1, max_size=12) | st.text(
    "AaZz09-_.~!$&'()*+,;=:@/%? #\"<>\\^`{|}é日😀", min_size=1, max_size=30
)
ODD_NAMES = st.sampled_from(
    [".", "..", "\0", "a\nb", "\x7f", "\x85", "x" * 255, "x" * 256, "é" * 255, "日" * 256, "%2F"]
)
NOT_UTF8 = st.sampled_from(["%ff", "%C3", "a%E2%82", "%ED%A0%80", "%F5%80%80%80", "%C0%AF"])


@st.composite
def segments(draw: st.DrawFn, known: str) -> Part:
    """Make a name as it stands in a path; mostly the one that is known."""
    kind = draw(st.sampled_from(["known"] * 16 + ["text", "text", "odd", "not UTF-8"]))
    if kind == "not UTF-8":
        return part(draw(NOT_UTF8), 400, means="")
    name = known if kind == "known" else draw(TEXTS if kind == "text" else ODD_NAMES)
    quoted = quote(name, safe=draw(st.sampled_from(["", "!$&'()*+,;=:@"])))
    return Part(quoted, frozenset() if is_name(name) else frozenset({400}), name)


# -- What comes with a request

KEYS = st.sampled_from([
    *[part((b"x-api-key", WRITE.encode()), means={"read", "lock", "write"})] * 16,
    part((b"Authorization", f"Bearer {WRITE}".encode()), means={"read", "lock", "write"}),
    part((b"X-API-Key", LOCK.encode()), means={"read", "lock"}),
    part((b"authorization", f"bearer  {LOCK}".encode()), means={"read", "lock"}),
    part((b"X-Api-KEY", f" {READ}\t".encode()), means={"read"}),
    *(
        part(header, means=set())
        for header in (
            None,
            (b"x-api-key", b""),
            (b"x-api-key", WRITE.upper().encode()),
            (b"x-api-key", f"{WRITE}x".encode()),
            (b"x-api-key", f"{READ},{WRITE}".encode()),
            (b"x-api-key", b"\xff\xfe"),
            (b"x-apikey", WRITE.encode()),
            (b"Authorization", WRITE.encode()),
            (b"Authorization", f"Basic {WRITE}".encode()),
            (b"Authorization", b"Bearer"),
        )
    ),
])  # fmt: skip

#: What a ticket means is replaced by the real one before it is sent.
#: The unknown ones have no ticket's form: one that has it would queue anew under its own name.
TICKETS = st.sampled_from([
    *[part(b"", means="none")] * 6,
    *[part(b"holder", means="holder")] * 4,
    *[part(b"waiter", means="waiter")] * 2,
    *(part(text, means="unknown") for text in (b"0" * 31, b"F" * 31, b"'; DROP TABLE place; --", b"x" * 5000, b"null", b"*")),
    *(part(text, 400, means="unknown") for text in (b"\xff", b"\xe9t\xe9")),
])  # fmt: skip

#: What they stand for is where they are looked at.
QUERIES = st.lists(
    st.sampled_from([
        *(part(text, means="") for text in ("lock=1", "lock=0", "raw=1", "wait=0", "wait=99999", "", "x=y", "=", "&&", "%ff=%ff")),
        *(part(text, 400, means="get") for text in ("lock=2", "lock=", "lock=%ff", "raw=yes", "lock=1&lock=0")),
        *(part(text, 400, means="locking") for text in ("wait=-1", "wait=1.5", "wait=x", "wait=", "wait=1&wait=2")),
        *(part(text, 400, means="writing") for text in ("unlock=2", "unlock=")),
        *(part(text, means="") for text in ("limit=1", "limit=1000", "prefix=p", "prefix=%01", "fence=999999999", "after=0")),
        *(part(text, 400, means="page") for text in ("limit=0", "limit=1001", "limit=", "limit=x", "limit=1&limit=2")),
        *(part(text, 400, means="names") for text in ("prefix=%ff", "prefix=a&prefix=b", "after=%C0%AF")),
        *(part(text, 400, means="state") for text in ("after=-1", "after=x", "after=99999999999999999999")),
        *(part(text, 400, means="break") for text in ("fence=0", "fence=", "fence=x", "fence=1&fence=2", "fence=9223372036854775808")),
    ]),
    max_size=2,
    unique_by=lambda drawn: drawn.text.partition("=")[0],
)  # fmt: skip

#: Nobody holds a lock under any of these.
FENCES = st.sampled_from([part("fence=999999999", means=""), part("fence=9223372036854775807", means="")])

HEADERS = st.lists(
    st.sampled_from([
        *(
            part(header, means="")
            for header in (
                (b"x-owner", "clerk 7 é".encode()),
                (b"Prefer", b"wait=1"),
                (b"Prefer", b"wait=soon, respond-async; x=,"),
                (b"Content-Type", b"application/x-www-form-urlencoded"),
                (b"Content-Type", b"multipart/form-data; boundary=x"),
                (b"Expect", b"100-continue"),
                (b"Cookie", b"=;;=\xff"),
                (b"Range", b"bytes=0-0"),
            )
        ),
        *(
            part(header, 400, means="named")
            for header in (
                (b"x-owner", b"x" * 256),
                (b"x-owner", b"tab\tbed"),
                (b"x-owner", b"\xff"),
            )
        ),
        *[part((b"If-Match", tags), means="") for tags in (b"*", b'"x"', b'W/"x", ,"y"')] * 4,
        *[part((b"If-None-Match", tags), means="") for tags in (b"*", b'"x"')] * 8,
        *(part((b"If-Match", tags), 400, means="writing") for tags in (b"", b"x", b'"', b'"a" "b"', b"*, *")),
        *(part((b"If-None-Match", tags), 400, means="tagged") for tags in (b"x", b"\xff", b'w/"a"', b'"' * 999)),
        *(part((b"Idempotency-Key", key), 400, means="ticketless") for key in (b"x" * 256, b"\xfe\xff")),
    ]),
    max_size=2,
    unique_by=lambda drawn: drawn.text[0],
)  # fmt: skip

# -- Bodies

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)

#: What is no JSON text: a beginning of an array that is shorter than all of it, and what others have tried.
NO_JSON = st.builds(
    lambda value, cut: part(json.dumps([value]).encode()[:-cut], 400), VALUES, st.integers(1, 4)
) | st.sampled_from([
    part(body, 400)
    for body in (
        b" ", b"{", b"[1,]", b"{'a': 1}", b"NaN", b"[Infinity]", b"-Infinity", b"nul", b"01", b"1 2", b'"\t"', b'"\\x"',
        b"\xef\xbb\xbf{}", b'"\xff"', b'"\xed\xa0\x80"', b'{"a" 1}', b"[" * 3999, b'{"a":' * 799, b"name=printer", b"<x/>",
        b"\0", b'"\\u12"', b"1.", b".5", b"+1", b"0x1", b"\xff\xfe1\x00",
    )
])  # fmt: skip

TOO_LARGE = st.integers(MAX_BODY - 1, 50_000).map(lambda size: part(b'"%s"' % (b"x" * size), 413))

BODIES = st.one_of(
    *[st.builds(lambda value, plain: part(json.dumps(value, ensure_ascii=plain).encode()), VALUES, st.booleans())] * 3,
    NO_JSON,
    TOO_LARGE,
)


def definition(name: object, more: dict[str, object]) -> Part:
    """Make the body that creates a resource."""
    timeout = more.get("timeout", 0)
    known = more.keys() <= {"timeout"}
    good = known and isinstance(name, str) and is_name(name) and type(timeout) is int and 0 <= timeout < 2**31
    return Part(json.dumps({**more, "name": name}).encode(), frozenset() if good else frozenset({400}), name)


TIMEOUTS: st.SearchStrategy[Any] = st.sampled_from(
    [0, 1, 300, 2**31 - 1, -1, 2**31, 10**30, 1.5, 1e400, "300", None, True, [], "\udfff"]
)
DEFINITIONS = st.one_of(
    *[
        st.builds(
            definition,
            TEXTS | ODD_NAMES | st.sampled_from([RESOURCE, "", None, 5, True, [], {}, "\ud800"]),
            st.fixed_dictionaries({}, optional={"timeout": TIMEOUTS, "more": VALUES}),
        )
    ]
    * 4,
    VALUES.filter(lambda value: not isinstance(value, dict) or "name" not in value).map(
        lambda value: part(json.dumps(value).encode(), 400)
    ),
    NO_JSON,
    TOO_LARGE,
)

#: None of them lets the printer's holder run out of time.
CHANGES = st.one_of(
    st.sampled_from([0, 300, 2**31 - 1]).map(lambda timeout: part(b'{"timeout": %d}' % timeout)),
    st.sampled_from([b"-1", b"2147483648", b"1.5", b"1e400", b'"300"', b"null", b"true", b"[]"]).map(
        lambda timeout: part(b'{"timeout": %s}' % timeout, 400)
    ),
    VALUES.filter(lambda value: not isinstance(value, dict) or "timeout" not in value).map(
        lambda value: part(json.dumps(value).encode(), 400)
    ),
    NO_JSON,
    TOO_LARGE,
)

# -- Requests

#: What a method does at a path.
ROUTES = {
    ("health", "GET"): "health",
    ("health", "HEAD"): "health",
    ("collection", "GET"): "list",
    ("collection", "HEAD"): "list",
    ("collection", "POST"): "create",
    ("resource", "GET"): "show",
    ("resource", "HEAD"): "show",
    ("resource", "PATCH"): "change",
    ("resource", "DELETE"): "remove",
    ("selector", "GET"): "get",
    ("selector", "HEAD"): "get",
    ("selector", "PUT"): "update",
    ("selector", "DELETE"): "delete",
    ("selector", "PATCH"): "card",
    ("lock", "GET"): "state",
    ("lock", "HEAD"): "state",
    ("lock", "DELETE"): "break",
    ("lock", "POST"): "lock",
    ("lock", "PUT"): "lock",
    ("unlock", "POST"): "unlock",
    ("unlock", "PUT"): "unlock",
}
METHODS = (
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "FOO",
    "M-SEARCH",
    "A!#$%&'*+.^_`|~9",
)
NOWHERE = (
    "/", "//", "/resources", "/resource//held", "/resource/printer/held/", "/resource/printer/held/locks", "/health/x",
    "/resource/printer/held/lock/x", "/%68ealth%2F", "/resource%2Fprinter/held", "/..", "/health;x", "/RESOURCE", "/?/health",
)  # fmt: skip
OFTEN = st.sampled_from([True] * 4 + [False])
WAYS = st.sampled_from([
    *ROUTES,
    *[("selector", "GET")] * 4,
    *[("selector", "PUT")] * 8,
    *[("collection", "POST")] * 4,
])  # fmt: skip
STRAY = st.tuples(
    st.sampled_from(["health", "collection", "resource", "selector", "lock", "unlock", *NOWHERE]),
    st.sampled_from(METHODS),
)
NOTHING = part(b"")


@st.composite
def requests(draw: st.DrawFn) -> Drawn:
    path, method = draw(WAYS if draw(OFTEN) else STRAY)
    route = ROUTES.get((path, method))
    body = NOTHING
    if route == "create":
        body = draw(DEFINITIONS)
    elif route == "change":
        body = draw(CHANGES)
    elif route == "update" or not draw(OFTEN):
        body = draw(BODIES)
    return Drawn(
        path,
        method,
        draw(segments(RESOURCE)),
        draw(segments(HELD)),
        [draw(FENCES)] if route == "break" and draw(OFTEN) else [] if draw(OFTEN) else draw(QUERIES),
        draw(KEYS),
        draw(TICKETS),
        [] if draw(OFTEN) else draw(HEADERS),
        body,
        chunked=not draw(OFTEN),
    )


#: What is too rare to come up each time: a client that has the data already.
UNCHANGED = Drawn(
    "selector",
    "HEAD",
    part(RESOURCE, means=RESOURCE),
    part(HELD, means=HELD),
    query=[],
    key=part((b"x-api-key", WRITE.encode()), means={"read", "lock", "write"}),
    ticket=part(b"", means="none"),
    headers=[part((b"If-None-Match", b"*"), means="")],
    body=NOTHING,
    chunked=False,
)


@dataclass
class World:
    """What is known about the daemon, and a connection to it."""

    daemon: Daemon
    holder: str
    waiter: str
    resources: set[str] = field(default_factory=lambda: {RESOURCE})
    #: Where the real tickets have been, so that there may be data.
    touched: set[str] = field(default_factory=lambda: {HELD})
    locked: set[tuple[str, str]] = field(default_factory=lambda: {(RESOURCE, HELD)})
    #: Whether there is data at the selector that is held.
    data: bool = True
    seen: Counter[int] = field(default_factory=Counter)
    _socket: socket.socket | None = None

    def send(self, data: bytes, method: str) -> Answer:
        """Send a request, on the connection that the last one used if it is still open."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self.daemon.port), 20)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(data)
        response = http.client.HTTPResponse(self._socket, method=method)
        with closing(response):
            response.begin()
            headers = {name.lower(): value for name, value in response.getheaders()}
            answer = Answer(response.status, headers, response.read())
            if response.will_close:
                self.hang_up()
        self.seen[answer.status] += 1
        return answer

    def hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def learn(self, drawn: Drawn, answer: Answer) -> None:
        """Keep in mind what a request has changed."""
        route = ROUTES.get((drawn.path, drawn.method))
        if route == "create" and answer.status == 201:
            self.resources.add(drawn.body.means)
        if route == "remove" and answer.status == 204:
            self.resources.remove(drawn.name.means)
        if route in {"update", "delete"} and answer.status == 204 and drawn.ticket.means == "holder":
            here = (drawn.name.means, drawn.selector.means) == (RESOURCE, HELD)
            self.data = route == "update" if here else self.data
        if "x-ticket" in answer.headers:
            self.locked.add((drawn.name.means, drawn.selector.means))
            if drawn.ticket.means != "none":
                self.touched.add(drawn.selector.means)


def expected(world: World, drawn: Drawn) -> set[int]:
    """Say with which statuses a request may be answered."""
    if (drawn.body.text or drawn.chunked) and not drawn.key.means:
        # Whoever has no key is not listened to any further.
        return {401}
    if 413 in drawn.body.complaints:
        # It is not even read.
        return {413}
    route = ROUTES.get((drawn.path, drawn.method))
    if drawn.path.partition("?")[0] == "/" and drawn.method not in {"GET", "HEAD"}:
        return {405}
    if drawn.path.startswith("/"):
        return {404}
    if route is None:
        return {405} | names_in(drawn)
    asked = {argument.text for argument in drawn.query}
    locking = route == "lock" or (route == "get" and drawn.method == "GET" and "lock=0" not in asked)
    complaints = complaints_about(world, drawn, route, locking=locking)
    if route == "card":
        # No body is made for it, but an empty object is a card.
        return complaints | {400} if complaints else {200, 400}
    return complaints or right(world, drawn, route, locking=locking)


#: The arguments that a request takes which refuses any other.
TAKEN = {
    "locking": {"lock", "raw", "wait"},
    "lock": {"wait"},
    "unlock": set[str](),
    "card": set[str](),
    "update": {"unlock"},
    "delete": {"unlock"},
    "break": {"fence", "reason"},
}


def arguments_in(drawn: Drawn) -> set[str]:
    """Name the arguments in a query."""
    pieces = [piece for argument in drawn.query for piece in argument.text.split("&")]
    return {piece.partition("=")[0] for piece in pieces if piece}


def names_in(drawn: Drawn) -> set[int]:
    """Say what is wrong with the names in a path, as far as there are any."""
    name = drawn.name.complaints if drawn.path in {"resource", "selector", "lock", "unlock"} else frozenset[int]()
    return set(name | (drawn.selector.complaints if drawn.path in {"selector", "lock", "unlock"} else frozenset()))


def complaints_about(world: World, drawn: Drawn, route: str, *, locking: bool) -> set[int]:
    """Collect everything that is wrong with a request."""
    complaints: set[int] = set()
    if not needed(route, locking=locking) <= drawn.key.means:
        complaints.add(401)
    ways = {
        route,
        *(("locking",) if locking else ()),
        *(("named",) if locking or route == "break" else ()),
        *(("ticketless",) if locking else ()),
        *(("writing", "tagged") if route in {"update", "delete"} else ()),
        *(("tagged",) if route == "get" and not locking else ()),
        *(("page",) if route in {"list", "show", "state"} else ()),
        *(("names",) if route in {"list", "show"} else ()),
        # Where a position is wanted, what is not even text is none.
        *(("names",) if route == "state" and any(argument.text == "after=%C0%AF" for argument in drawn.query) else ()),
    }
    for looked_at in (*drawn.query, *drawn.headers):
        complaints |= looked_at.complaints if looked_at.means in ways else set()
    taken = TAKEN.get("locking" if locking and route == "get" else route)
    if taken is not None and not arguments_in(drawn) <= taken:
        complaints.add(400)
    if route in {"create", "update", "change"}:
        complaints |= drawn.body.complaints
    if route == "unlock" and drawn.body.text.lstrip().startswith(b"{") and drawn.body.text.strip() != b"{}":
        # No field that is drawn is one that it takes.
        complaints.add(400)
    if route == "break" and not any(argument.text.startswith("fence=") for argument in drawn.query):
        complaints.add(400)
    if route not in {"health", "create", "list"}:
        complaints |= names_in(drawn)
        if drawn.name.means not in world.resources:
            complaints.add(404)
    if route in {"update", "delete", "unlock"} or locking:
        complaints |= drawn.ticket.complaints | refused_tickets(drawn, route)
    return complaints


def needed(route: str, *, locking: bool) -> set[str]:
    """Name the permissions that a request needs."""
    changes = ("create", "update", "delete", "change", "remove", "break", "card")
    by_route = {"health": set[str](), "lock": {"lock"}}
    return ({"write"} if route in changes else by_route.get(route, {"read"})) | ({"lock"} if locking else set())


def refused_tickets(drawn: Drawn, route: str) -> set[int]:
    """Say what is wrong with a ticket as such, where it is looked at."""
    stranger = drawn.ticket.means in {"holder", "waiter"} and drawn.name.means != RESOURCE
    if route != "unlock" and (stranger or drawn.ticket.means == "unknown"):
        return {410}
    return {428} if route in {"update", "delete", "unlock"} and drawn.ticket.means == "none" else set()


def right(world: World, drawn: Drawn, route: str, *, locking: bool) -> set[int]:
    """Say how a request is answered that nothing is wrong with."""
    if route in {"get", "lock"}:
        return read(world, drawn, route, locking=locking)
    here = (drawn.name.means, drawn.selector.means)
    ticket = drawn.ticket.means
    if route == "create":
        return {409} if drawn.body.means in world.resources else {201}
    if route in {"update", "delete"}:
        if here == (RESOURCE, HELD):
            return {204 if passes(drawn, data=world.data) else 412} if ticket == "holder" else {423}
        return {423} if here not in world.locked else {204, 412, 423}
    return {"remove": {423} if drawn.name.means == RESOURCE else {204, 423}, "break": {412}}.get(route, {200})


def read(world: World, drawn: Drawn, route: str, *, locking: bool) -> set[int]:
    """Say how a request is answered that reads or locks, and that nothing is wrong with."""
    here = (drawn.name.means, drawn.selector.means)
    ticket = drawn.ticket.means
    empty = {404} if route == "get" else {200}
    found = empty if here == (RESOURCE, HELD) and not world.data else {200}
    if here != (RESOURCE, HELD):
        found = {200, 404} if drawn.selector.means in world.touched else empty
    if not locking and (b"If-None-Match", b"*") in [header.text for header in drawn.headers]:
        found = {304 if status == 200 else status for status in found}
    if not locking or here not in world.locked:
        return found
    if here == (RESOURCE, HELD):
        return found if ticket == "holder" else {202}
    # What was left behind with a 404 passes at once to the next who may be the same client.
    return {202} | found | empty


def passes(drawn: Drawn, *, data: bool) -> bool:
    """Tell whether what a write wants to be true of the data is; nothing has a tag as short as those that are sent."""
    conditions = dict(header.text for header in drawn.headers)
    wanted, unwanted = conditions.get(b"If-Match"), conditions.get(b"If-None-Match")
    return (wanted is None or (wanted == b"*" and data)) and not (unwanted == b"*" and data)


def check(answer: Answer, method: str) -> None:
    """Hold an answer to what every answer must be."""
    assert answer.status < 500 or answer.status == 505
    assert ("etag" in answer.headers) <= (answer.status in {200, 204, 304})
    if answer.status in {204, 304} or method == "HEAD":
        assert answer.body == b""
        return
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(answer.body))
    if answer.status >= 400:
        assert answer.code
    if answer.status == 405:
        assert answer.headers["allow"]
    if answer.status == 401:
        assert answer.headers["www-authenticate"]


def walk(daemon: Daemon, name: str) -> None:
    """Share a printer between two clients, as if nothing had happened."""
    path = f"/resource/{name}/A4"
    daemon.create(name)
    first = daemon.get(path, key=LOCK)
    assert first.code == "no_data"
    assert daemon.put(path, '{"status": "ready"}', ticket=first.ticket).status == 204
    second = daemon.get(path, key=LOCK)
    assert second.status == 202
    assert daemon.post(f"{path}/unlock", ticket=first.ticket).json == {"unlocked": True}
    assert daemon.get(path, key=LOCK, ticket=second.ticket).json["data"] == '{"status": "ready"}'


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    environ = {
        "RESOURCED_MAX_BODY": str(MAX_BODY),
        "RESOURCED_MAX_WAIT": "0.005",
        "RESOURCED_REQUEST_DEADLINE": "1",
        **dict.fromkeys(("RESOURCED_LEASE", "RESOURCED_PLACE", "RESOURCED_CLAIM"), "3600"),
    }
    with Daemon(tmp_path_factory.mktemp("fuzz"), environ) as daemon:
        daemon.create(RESOURCE)
        holder = daemon.post(f"/resource/{RESOURCE}/{HELD}/lock")
        assert daemon.put(f"/resource/{RESOURCE}/{HELD}", "{}", ticket=holder.ticket).status == 204
        world = World(daemon, holder.ticket, daemon.get(f"/resource/{RESOURCE}/{HELD}").ticket)
        yield world
        world.hang_up()


def test_broken_parts(world):
    """Each request with broken parts gets the status that fits one of them, as JSON; and a good one is served as ever."""

    @settings(QUIET, max_examples=DRAWN)
    @example(UNCHANGED)
    @given(requests())
    def send(drawn: Drawn) -> None:
        ticket = drawn.ticket
        real = {"holder": world.holder, "waiter": world.waiter}.get(ticket.means)
        if real and ROUTES.get((drawn.path, drawn.method)) == "unlock":
            # These two stay where they are.
            ticket, real = part(b"0" * 32, means="unknown"), None
        drawn = Drawn(**{**vars(drawn), "ticket": Part(real.encode(), means=ticket.means) if real else ticket})
        may = expected(world, drawn)
        answer = world.send(drawn.wire(), drawn.method)
        assert answer.status in may, (may, answer, drawn)
        check(answer, drawn.method)
        world.learn(drawn, answer)

    before, pid = world.seen.total(), world.daemon.pid
    send()
    assert world.seen.total() - before >= DRAWN
    # It has not come to nothing but refusals, nor to only a few kinds of them.
    assert {200, 201, 202, 204, 304, 400, 401, 404, 405, 409, 410, 412, 413, 423, 428} <= set(world.seen)
    walk(world.daemon, "after-all-the-parts")
    assert world.daemon.pid == pid
    assert "Traceback" not in world.daemon.log


#: A request that could be answered, without its end; its key may read only, so that nothing comes to be locked.
WHOLE = (
    f"GET /resource/{RESOURCE}/{HELD}?lock=0 HTTP/1.1\r\nHost: localhost:9501\r\nx-api-key: {READ}\r\nAccept: */*\r\n"
    "x-ticket: 00000000000000000000000000000000\r\nUser-Agent: torn/1.0"
).encode()
SPLINTERS = st.one_of(
    st.binary(min_size=1, max_size=3),
    st.sampled_from([
        b"\r\n", b"\n", b"\r", b":", b" ", b"\t", b"\0", b"\xff", b"%", b"%2", b"/", b"//", b"?", b"#", b"HTTP/1.1", b"HTTP/2.0",
        b"\r\n folded", b"\r\nHost: other", b"\r\nContent-Length: x", b"\r\nContent-Length: -1", b"\r\nContent-Length: " + b"9" * 30,
        b"\r\nTransfer-Encoding: gzip", b"\r\nTransfer-Encoding: chunked\r\nContent-Length: 0", b"x" * 20_000, b"\r\na: b" * 600,
        b"http://other", b"\r\nConnection: upgrade\r\nUpgrade: h2c", b"\r\nExpect: nothing", b"\xe2\x80\xae",
    ]),
)  # fmt: skip
EDITS = st.lists(
    st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 3), SPLINTERS | st.just(b"")), min_size=1, max_size=4
)


def test_torn_bytes(world):
    """Bytes that were a request once are answered in JSON, with a refusal or with what is still asked for."""

    @settings(QUIET, max_examples=TORN)
    @given(EDITS)
    def send(edits: list[tuple[int, int, bytes]]) -> None:
        torn = WHOLE
        for at, cut, splinter in edits:
            torn = torn[:at] + splinter + torn[at + cut :]
        answer = world.send(torn + b"\r\n\r\n", "GET")
        # Nobody knows what is left of the request.
        world.hang_up()
        assert answer.status in {200, 400, 401, 404, 405, 408, 413, 428, 431, 501, 505}, (answer, torn)
        check(answer, "GET")

    before, pid = world.seen.total(), world.daemon.pid
    send()
    assert world.seen.total() - before >= TORN
    walk(world.daemon, "after-all-the-splinters")
    assert world.daemon.pid == pid
    assert "Traceback" not in world.daemon.log
