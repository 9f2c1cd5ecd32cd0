"""What was used, on the wire."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from resourced.auth.keys import Identity, Permission, digest_of
from tests.wire import A4, PRINTER, Answer, WebTests

pytestmark = [pytest.mark.trial, pytest.mark.reference_path]

NARROW = {digest_of(b"narrow-key"): Identity("narrow", Permission.READ, ("plotter",))}


class UsageTests(WebTests):
    def setUp(self) -> None:
        super().setUp()
        self.start(adopted=NARROW)
        self.create()

    def usage(self, query: str = "?resource=printer", key: str = "read-key") -> Answer:
        self.successResultOf(Deferred.fromCoroutine(self.store.roll_up(1000)))
        return self.ask("GET", f"/usage{query}", key=key)

    def test_sums(self):
        """Grants, what was held, and waits are told by selector and by owner, and stay when the history goes."""
        ticket = self.lock(headers=[("x-owner", "Ada")])
        waiting = self.ask("POST", f"{A4}/lock", headers=[("x-owner", "Bob")])
        self.clock.advance(20)
        self.unlock(ticket)
        self.ask("POST", f"{A4}/lock", ticket=waiting.ticket)
        self.clock.advance(300)
        self.unlock(self.lock(f"{PRINTER}/A5"), f"{PRINTER}/A5")
        usage = self.usage().json
        self.successResultOf(Deferred.fromCoroutine(self.store.forget_events(10**15)))
        self.assertEqual(self.usage().json, usage)
        ada, bob = (
            {"owner": "Ada", "grants": 1, "held": 20, "expiries": 0, "breaks": 0, "wait_mean": 0.0, "wait_p95": 1},
            {"owner": "Bob", "grants": 1, "held": 300, "expiries": 1, "breaks": 0, "wait_mean": 20.0, "wait_p95": 30},
        )
        self.assertEqual(usage["owners"][:2], [bob, ada])
        self.assertEqual(
            [(unit["selector"], unit["grants"], unit["held"]) for unit in usage["units"]],
            [("A4", 2, 320), ("A5", 1, 0)],
        )
        self.assertEqual((usage["resource"], usage["days"]), ("printer", 30))

    def test_days(self):
        """Only the last days count, today included."""
        self.unlock(self.lock())
        self.clock.advance(86400)
        self.assertEqual(self.usage("?resource=printer&days=1").json["units"], [])
        self.assertEqual(len(self.usage("?resource=printer&days=2").json["units"]), 1)

    def test_refused(self):
        """It takes the name of a resource, and a key that may read it."""
        for query, code in (
            ("", "bad_name"),
            ("?resource=", "bad_name"),
            ("?resource=printer&days=0", "bad_days"),
            ("?resource=printer&days=401", "bad_days"),
            ("?resource=printer&day=1", "unknown_argument"),
        ):
            self.assertRefused(400, code, self.usage(query))
        self.assertRefused(403, "forbidden_resource", self.usage(key="narrow-key"))
        self.assertEqual(self.usage("?resource=plotter", key="narrow-key").json["units"], [])
