"""Requests that wait for a lock, and clients that go away meanwhile."""

from __future__ import annotations

import pytest

from tests.wire import (
    A4,
    PRINTER,
    Exchange,
    WebTests,
)

pytestmark = [pytest.mark.trial, pytest.mark.reference_path]


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
