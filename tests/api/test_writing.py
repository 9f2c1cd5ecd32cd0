"""Writing data, and giving its lock back."""

from __future__ import annotations

import pytest

from tests.assembled import READ, WRITE
from tests.wire import (
    A4,
    PRINTER,
    Exchange,
    WebTests,
)

pytestmark = [pytest.mark.trial, pytest.mark.reference_path]


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
