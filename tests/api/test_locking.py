"""Taking, keeping and losing a lock, on the wire."""

from __future__ import annotations

import itertools
import json

import pytest

from tests.assembled import LOCK
from tests.wire import (
    A4,
    PRINTER,
    SOMEONE_ELSE,
    WebTests,
)

pytestmark = [pytest.mark.trial, pytest.mark.reference_path]


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
