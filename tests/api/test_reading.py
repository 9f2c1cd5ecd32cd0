"""Reading data, with and without its lock."""

from __future__ import annotations

import pytest

from tests.assembled import READ
from tests.wire import (
    A4,
    WebTests,
)

pytestmark = [pytest.mark.trial, pytest.mark.reference_path]


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
