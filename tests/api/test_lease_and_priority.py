"""The lease and the priority that a lock request asks for, and what a resource and a key let it have, on the wire."""

from __future__ import annotations

import json

import pytest

from resourced.auth.keys import Identity, Permission, digest_of
from tests.wire import A4, PRINTER, Answer, WebTests

pytestmark = [pytest.mark.trial, pytest.mark.reference_path]

EVERYTHING = Permission.READ | Permission.LOCK | Permission.WRITE
URGENT = {digest_of(b"urgent-key"): Identity("urgent", EVERYTHING, priority=5)}


class AskedTests(WebTests):
    def setUp(self) -> None:
        super().setUp()
        self.start(adopted=URGENT)
        self.ask("POST", "/resource", json.dumps({"name": "printer", "timeout": 100, "longest": 900}))

    def take(self, ticket: str = "", *, lease: int | None = None, priority: str = "", key: str = "") -> Answer:
        path = f"{A4}/lock" + (f"?lease={lease}" if lease is not None else "")
        headers = [("x-priority", priority)] if priority else []
        more = {"key": key} if key else {}
        return self.ask("POST", path, ticket=ticket, headers=headers, **more)

    def left(self) -> int:
        return int(self.ask("GET", f"{A4}/lock").json["holder"]["left"])


class LeaseTests(AskedTests):
    def test_kept(self):
        """The lease that was asked for is that of each renewal, by whatever request, until another one is asked for."""
        taken = self.take(lease=900)
        self.assertEqual((taken.status, taken.headers["X-Lease"]), (200, "900"))
        self.clock.advance(500)
        self.assertEqual(self.take(taken.ticket).headers["X-Lease"], "900")
        self.clock.advance(500)
        self.write("1", taken.ticket)
        self.assertEqual(self.left(), 900)
        self.assertEqual(self.take(taken.ticket, lease=10).headers["X-Lease"], "10")
        self.assertEqual(self.take(taken.ticket).headers["X-Lease"], "10")
        self.clock.advance(10)
        self.assertRefused(410, "ticket_ended", self.take(taken.ticket))

    def test_of_this_grant_only(self):
        """Others have what they ask for, or the lease of the resource; who waits keeps what it has asked for."""
        first = self.take(lease=900)
        second, third = self.take(lease=300), self.take()
        self.unlock(first.ticket)
        self.assertEqual(self.take(second.ticket).headers["X-Lease"], "300")
        self.unlock(second.ticket)
        self.assertEqual(self.take(third.ticket).headers["X-Lease"], "100")

    def test_after_restart(self):
        """It is kept in the store with the ticket: also a change of it."""
        taken = self.take(lease=200)
        self.take(taken.ticket, lease=900)
        self.restart()
        self.clock.advance(500)
        self.assertEqual(self.left(), 400)
        self.assertEqual(self.take(taken.ticket).headers["X-Lease"], "900")

    def test_by_reading(self):
        """A lock that is taken by reading has it too."""
        self.put("1")
        self.assertEqual(self.ask("GET", f"{A4}?lease=7").headers["X-Lease"], "7")

    def test_longest(self):
        """More than the longest of the resource is refused, and takes nothing; that is its timeout, or else the server's lease."""
        for longest, most in ((900, 900), (0, 100)):
            self.ask("PATCH", PRINTER, json.dumps({"longest": longest}))
            refused = self.take(lease=most + 1)
            self.assertRefused(400, "bad_lease", refused)
            self.assertIn(
                f"lease in the query is not a whole number of seconds from 1 to {most},", refused.json["error"]
            )
            self.unlock(self.take(lease=most).ticket)
        self.ask("PATCH", PRINTER, json.dumps({"timeout": 0}))
        self.assertRefused(400, "bad_lease", self.take(lease=301))
        self.unlock(self.take(lease=300).ticket)
        for bad in ("0", "-1", "1.5", "", "x", "9" * 30):
            self.assertRefused(400, "bad_lease", self.ask("POST", f"{A4}/lock?lease={bad}"))
        self.assertEqual(self.store.places, {})


class PriorityTests(AskedTests):
    def test_order(self):
        """The highest comes first, and among equals who came first; a position counts who stands before."""
        holder = self.take()
        asked = ["", "-9", "", "3", "-9", "+5", "3", "0"]
        tickets = [self.take(priority=priority, key="urgent-key").ticket for priority in asked]
        order = [5, 3, 6, 0, 2, 7, 1, 4]
        for position, number in enumerate(order, 1):
            self.assertWaits(self.take(tickets[number], key="urgent-key"), position)
        state = self.ask("GET", f"{A4}/lock").json
        self.assertEqual([waiter.get("priority", 0) for waiter in state["queue"]], [5, 3, 3, 0, 0, 0, -9, -9])
        self.unlock(holder.ticket)
        for number in order:
            self.assertEqual(self.take(tickets[number], key="urgent-key").status, 200)
            self.ask("POST", f"{A4}/unlock", ticket=tickets[number], key="urgent-key")

    def test_after_restart(self):
        """It is kept in the store: after a restart the order is what it was."""
        holder = self.take()
        low, usual = self.take(priority="-1"), self.take()
        self.restart()
        self.unlock(holder.ticket)
        self.assertWaits(self.take(low.ticket), 1)
        self.assertEqual(self.take(usual.ticket).status, 200)

    def test_kept_from_the_beginning(self):
        """What a later request with the ticket says does not move its place."""
        self.take()
        first, second = self.take(), self.take()
        self.take(first.ticket, priority="-9")
        self.assertWaits(self.take(second.ticket), 2)

    def test_told(self):
        """The state and the history say it, where it is not 0."""
        taken = self.take(priority="-3")
        self.assertEqual(self.ask("GET", f"{A4}/lock").json["holder"]["priority"], -3)
        self.unlock(taken.ticket)
        self.unlock(self.take().ticket)
        events = self.ask("GET", f"{A4}/events").json["events"]
        self.assertEqual([event.get("priority") for event in events], [None, None, -3, -3])

    def test_allowed(self):
        """Everyone may come later than others; to come earlier takes a key that may."""
        self.take(priority="-9")
        self.assertRefused(403, "forbidden_priority", self.take(priority="1"))
        self.assertEqual(self.take(priority="5", key="urgent-key").status, 202)
        self.assertRefused(403, "forbidden_priority", self.take(priority="6", key="urgent-key"))
        for bad in ("10", "-10", "1.0", "high", "--1", "3.0"):
            self.assertRefused(400, "bad_priority", self.take(priority=bad))
        self.assertEqual(len(self.store.places), 2)


class SeveralTests(AskedTests):
    """The same for requests for several things."""

    WANT = json.dumps({"want": [{"resource": "printer", "tags": ["a"], "count": 2}]})

    def setUp(self) -> None:
        super().setUp()
        for selector in ("A4", "A5"):
            self.ask("PATCH", f"{PRINTER}/{selector}", json.dumps({"tags": ["a"]}))

    def several(self, query: str = "", ticket: str = "", priority: str = "", body: str = WANT) -> Answer:
        headers = [("x-priority", priority)] if priority else []
        return self.ask("POST", f"/lock{query}", body, ticket=ticket, headers=headers)

    def test_lease(self):
        """One lease for all, that is kept over a restart, until another one is asked for, up to the longest of the resources."""
        self.assertRefused(400, "bad_lease", self.several("?lease=901"))
        taken = self.several("?lease=900")
        self.assertEqual(taken.headers["X-Lease"], "900")
        self.restart()
        self.clock.advance(500)
        self.assertEqual(self.several(ticket=taken.ticket, body="").headers["X-Lease"], "900")
        self.assertEqual(self.several("?lease=50", taken.ticket).headers["X-Lease"], "50")
        self.restart()
        self.assertEqual(self.several(ticket=taken.ticket, body="").headers["X-Lease"], "50")
        self.assertRefused(400, "unknown_argument", self.several("?lease=60", taken.ticket, body=""))

    def test_priority(self):
        """It stands in the order by its priority, among requests by name too."""
        taken = self.several()
        low, named = self.several(priority="-2"), self.take(priority="-1")
        self.assertWaits(named, 1)
        self.ask("POST", "/unlock", ticket=taken.ticket)
        self.assertEqual(self.take(named.ticket).status, 200)
        self.unlock(named.ticket)
        self.assertEqual(self.several(ticket=low.ticket, body="").status, 200)
        self.assertEqual(self.ask("GET", f"{A4}/lock").json["holder"]["priority"], -2)
        self.assertRefused(403, "forbidden_priority", self.several(priority="1"))


class ResourceTests(WebTests):
    def test_fields(self):
        """A resource is described with what it says beside its timeout, wherever it is shown."""
        licence = {"name": "licence", "timeout": 0, "group": "lab", "longest": 900, "slots": 5}
        made = self.ask("POST", "/resource", json.dumps(licence))
        self.assertEqual((made.status, {**made.json, "id": ""}), (201, {"id": "", **licence}))
        changed = self.ask("PATCH", "/resource/licence", json.dumps({"slots": 7, "group": ""}))
        self.assertEqual(
            changed.json, {"id": made.json["id"], "name": "licence", "timeout": 0, "longest": 900, "slots": 7}
        )
        for shown in (self.ask("GET", "/resource/licence").json, self.ask("GET", "/resource").json["resources"][0]):
            self.assertEqual(shown | changed.json, shown)
        self.assertRefused(400, "bad_slots", self.ask("POST", "/resource", json.dumps({"name": "x", "slots": 10_001})))
        self.assertRefused(400, "bad_group", self.ask("PATCH", "/resource/licence", json.dumps({"group": 5})))

    def test_group_in_use(self):
        """The group stays as it is while anything of the resource is locked or waited for; all else may change."""
        self.create()
        ticket = self.lock()
        self.assertRefused(423, "in_use", self.ask("PATCH", PRINTER, json.dumps({"group": "lab", "slots": 3})))
        self.assertEqual(self.ask("PATCH", PRINTER, json.dumps({"longest": 900, "group": ""})).status, 200)
        self.assertNotIn("slots", self.ask("GET", PRINTER).json)
        self.unlock(ticket)
        self.assertEqual(self.ask("PATCH", PRINTER, json.dumps({"group": "lab"})).json["group"], "lab")
