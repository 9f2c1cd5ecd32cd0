"""The API as clients of several kinds use it, and any request at all."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from treq.testing import RequestTraversalAgent, StubTreq
from twisted.web.http_headers import Headers

from resourced.http.routing import RootResource
from tests.assembled import LOCK, READ, WRITE
from tests.examples import examples
from tests.wire import (
    A4,
    PRINTER,
    Answer,
    Fields,
    WebTests,
)

pytestmark = [pytest.mark.trial, pytest.mark.reference_path]


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
        self.agent = RequestTraversalAgent(RootResource(self.api.app.resource()))
        self.treq: Any = StubTreq(RootResource(self.api.app.resource()))

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
