"""The list of all locks on the wire: who holds what, since when, and who waits longest."""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

import pytest
from twisted.internet.defer import Deferred

from resourced.auth.keys import Identity, Permission, digest_of
from resourced.errors import StoreUnavailable
from resourced.locks import listing
from resourced.locks.indexes.by_age import UNSORTED
from tests.assembled import WRITE
from tests.counting import counted
from tests.wire import A4, PRINTER, Answer, WebTests

pytestmark = [pytest.mark.trial, pytest.mark.reference_path]

EVERYTHING = Permission.READ | Permission.LOCK | Permission.WRITE
#: Keys that may touch some resources only, or urge.
OTHERS = {
    digest_of(b"print-key"): Identity("print", EVERYTHING, ("print",)),
    digest_of(b"urgent-key"): Identity("urgent", EVERYTHING, priority=5),
    digest_of(b"lock-only"): Identity("mute", Permission.LOCK),
}
A5, GLASS, RED = f"{PRINTER}/A5", "/resource/scanner/glass", "/resource/phones/red"


class ListingTests(WebTests):
    def setUp(self) -> None:
        super().setUp()
        self.start(adopted=OTHERS)
        for name in ("printer", "scanner", "phones"):
            self.ask("POST", "/resource", json.dumps({"name": name, "group": "devices"}))

    def take(self, path: str, owner: str = "", *, key: str = WRITE, ticket: str = "", priority: int = 0) -> str:
        """Lock something, or wait for it; a second passes."""
        headers = [("x-owner", owner)] if owner else []
        headers += [("x-priority", str(priority))] if priority else []
        answer = self.ask("POST", f"{path}/lock", key=key, ticket=ticket, headers=headers)
        self.assertIn(answer.status, {200, 202}, answer.body)
        self.clock.advance(1)
        return answer.ticket

    def several(self, *wants: dict[str, Any], owner: str = "") -> str:
        """Ask for several things; a second passes."""
        answer = self.ask("POST", "/lock", json.dumps({"want": wants}), headers=[("x-owner", owner)] if owner else [])
        self.assertIn(answer.status, {200, 202}, answer.body)
        self.clock.advance(1)
        return answer.ticket

    def listed(self, query: str = "", *, key: str = "read-key") -> Any:
        answer = self.ask("GET", f"/locks{query}", key=key)
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json

    def names(self, query: str = "", *, key: str = "read-key") -> list[str]:
        """What is listed, each in a word."""
        return [
            row["selector"] if "selector" in row else "+".join(want["resource"] for want in row["want"])
            for row in self.listed(query, key=key)["locks"]
        ]

    def all_pages(self, query: str) -> list[str]:
        found: list[str] = []
        after = 0
        while after is not None:
            page = self.listed(f"{query}&after={after}")
            found += [row["selector"] for row in page["locks"]]
            after = page["next"]
        return found


class HeldTests(ListingTests):
    def test_none(self):
        """Where nothing is locked nothing is listed."""
        for query in ("", "?sort=held", "?sort=waiting"):
            self.assertEqual(self.listed(query), {"locks": [], "next": None})

    def test_row(self):
        """Each lock that is held is there with its holder, its key, since when, for how long yet, and how many wait."""
        self.take(A4, "Ada")
        self.take(A4, "Bob")
        self.take(A4)
        self.assertEqual(
            self.listed()["locks"],
            [
                {
                    "resource": "printer",
                    "selector": "A4",
                    "holder": {"owner": "Ada", "key": "default", "fence": 1, "held": 3, "left": 297, "claimed": True},
                    "waiting": 2,
                }
            ],
        )

    def test_longest_first(self):
        """What is held the longest comes first, whatever was renewed meanwhile; what is free does not come."""
        ada = self.take(A4)
        self.take(GLASS)
        bob = self.take(A5)
        self.take(A4, ticket=ada)
        self.assertEqual(self.names(), ["A4", "glass", "A5"])
        self.unlock(ada)
        self.take(A4)
        self.assertEqual(self.names(), ["glass", "A5", "A4"])
        self.unlock(bob, A5)
        self.assertEqual(self.names(), ["glass", "A4"])

    def test_passed_on(self):
        """A lock that passed on is held from then on, and is not claimed before its client comes."""
        ada = self.take(A4, "Ada")
        self.take(A4, "Bob")
        self.take(A5, "Eve")
        self.unlock(ada)
        rows = self.listed()["locks"]
        self.assertEqual([row["holder"]["owner"] for row in rows], ["Eve", "Bob"])
        self.assertEqual([row["holder"]["claimed"] for row in rows], [True, False])
        self.assertEqual((rows[1]["holder"]["held"], rows[1]["waiting"]), (0, 0))

    def test_over(self):
        """A lock that expired or was broken is not listed any more."""
        self.take(A4)
        self.take(A5)
        self.assertEqual(self.ask("DELETE", f"{A5}/lock?fence=2").status, 204)
        self.assertEqual(self.names(), ["A4"])
        self.clock.advance(300)
        self.assertEqual(self.names(), [])

    def test_filtered(self):
        """It can be about one owner, one resource, or both."""
        self.take(A4, "Ada")
        self.take(A5, "Bob")
        self.take(GLASS, "Ada")
        self.assertEqual(self.names("?owner=Ada"), ["A4", "glass"])
        self.assertEqual(self.names("?resource=printer"), ["A4", "A5"])
        self.assertEqual(self.names("?resource=scanner&owner=Bob"), [])
        self.assertEqual(self.names("?owner="), ["A4", "A5", "glass"])

    def test_units(self):
        """Units that were granted together are listed one by one, each with its own fence and the lease of all."""
        self.ask("PATCH", RED, '{"tags": ["android"]}')
        self.several(
            {"resource": "phones", "tags": ["android"]}, {"resource": "printer", "selector": "A4"}, owner="Ada"
        )
        rows = self.listed()["locks"]
        self.assertEqual(sorted(row["selector"] for row in rows), ["A4", "red"])
        self.assertEqual({row["holder"]["fence"] for row in rows}, {1, 2})
        self.assertEqual({(row["holder"]["owner"], row["holder"]["left"]) for row in rows}, {("Ada", 299)})

    def test_after_restart(self):
        """A daemon that takes over lists the same in the same order, and goes on from the same page."""
        self.take(A5)
        ada = self.take(GLASS)
        self.take(A4)
        self.unlock(ada, GLASS)
        self.take(GLASS, "Bob")
        self.take(GLASS, "Eve")
        self.take(A5)
        first = self.listed("?limit=1")
        self.restart()
        self.assertEqual(self.names(), ["A5", "A4", "glass"])
        self.assertEqual(self.names(f"?after={first['next']}"), ["A4", "glass"])
        self.assertEqual(self.names("?sort=waiting"), ["glass", "A5"])


class WaitingTests(ListingTests):
    def test_row(self):
        """Each ticket that waits is there with its lock, and with who holds that."""
        self.take(A4, "Ada")
        self.take(A4, "Bob")
        self.take(A4, "Eve", key="urgent-key", priority=5)
        holder = {"owner": "Ada", "key": "default", "fence": 1, "held": 3, "left": 297, "claimed": True}
        lock = {"resource": "printer", "selector": "A4", "holder": holder, "waiting": 2}
        self.assertEqual(
            self.listed("?sort=waiting")["locks"],
            [
                lock | {"waiter": {"owner": "Bob", "key": "default", "waited": 2, "left": 58}},
                lock | {"waiter": {"owner": "Eve", "key": "urgent", "waited": 1, "left": 59, "priority": 5}},
            ],
        )

    def test_longest_first(self):
        """Who waits the longest comes first, whoever asked again meanwhile; who got the lock, or gave up, is gone."""
        first, second = self.take(A4), self.take(GLASS)
        ada = self.take(A4, "Ada")
        bob = self.take(GLASS, "Bob")
        self.take(A4, "Eve")
        self.take(A4, ticket=ada)

        def owners() -> list[str]:
            return [row["waiter"]["owner"] for row in self.listed("?sort=waiting")["locks"]]

        self.assertEqual(owners(), ["Ada", "Bob", "Eve"])
        self.unlock(first)
        self.assertEqual(owners(), ["Bob", "Eve"])
        self.unlock(bob, GLASS)
        self.assertEqual(owners(), ["Eve"])
        self.unlock(second, GLASS)
        self.clock.advance(60)
        self.assertEqual(owners(), [])

    def test_filtered(self):
        """It can be about who waits, and about what for."""
        for path in (A4, GLASS):
            self.take(path, "Ada")
            self.take(path, "Bob")
        self.assertEqual(self.names("?sort=waiting&owner=Ada"), [])
        self.assertEqual(self.names("?sort=waiting&owner=Bob"), ["A4", "glass"])
        self.assertEqual(self.names("?sort=waiting&resource=scanner"), ["glass"])

    def test_several(self):
        """A request for several things is there with what it wants; once it has that it waits no more."""
        self.ask("PATCH", RED, '{"tags": ["android"]}')
        red = self.take(RED)
        bench = self.take(A4)
        self.take(A4, "Bob")
        wants: list[dict[str, Any]] = [
            {"resource": "phones", "tags": ["android"], "count": 1},
            {"resource": "printer", "selector": "A5"},
        ]
        self.several(*wants, owner="Ada")
        self.several({"resource": "phones", "count": "all"}, owner="Eve")
        self.unlock(bench)
        rows = self.listed("?sort=waiting")["locks"]
        self.assertEqual([row["waiter"]["owner"] for row in rows], ["Ada", "Eve"])
        self.assertEqual(
            rows[0], {"want": wants, "waiter": {"owner": "Ada", "key": "default", "waited": 2, "left": 58}}
        )
        self.assertEqual(rows[1]["want"], [{"resource": "phones", "tags": [], "count": "all"}])
        self.assertEqual(self.names("?sort=waiting&resource=printer"), ["phones+printer"])
        self.assertEqual(self.names("?sort=waiting&resource=phones"), ["phones+printer", "phones"])
        self.restart()
        self.assertEqual(self.names("?sort=waiting"), ["phones+printer", "phones"])
        self.unlock(red, RED)
        self.assertEqual(self.names("?sort=waiting"), ["phones"])
        self.assertEqual(sorted(self.names()), ["A4", "A5", "red"])

    def test_out_of_service(self):
        """Who waits by name for a unit that nobody may have is listed, and nobody as its holder."""
        self.ask("PATCH", RED, '{"out": "cracked"}')
        self.take(RED, "Ada")
        (row,) = self.listed("?sort=waiting")["locks"]
        self.assertEqual((row["holder"], row["waiting"]), (None, 1))
        self.assertEqual(self.names(), [])


class AgeTests(ListingTests):
    def test_oldest(self):
        """The age of the oldest hold and of the oldest wait grow, and go back once those are over. After a restart they begin no later."""

        def ages() -> tuple[float, float]:
            found = self.server.locking.locks.listing
            return found.oldest_hold(), found.oldest_wait()

        self.assertEqual(ages(), (0, 0))
        first = self.take(A4)
        second = self.take(A5)
        self.assertEqual(ages(), (2, 0))
        self.take(A4, "Ada")
        self.several({"resource": "printer", "selector": "A5"}, owner="Bob")
        self.assertEqual(ages(), (4, 2))
        self.unlock(first)
        self.assertEqual(ages(), (3, 1))
        self.unlock(second, A5)
        self.assertEqual(ages(), (0, 0))
        self.clock.advance(5)
        self.assertEqual(ages(), (5, 0))
        self.restart()
        self.clock.advance(5)
        held, waited = ages()
        # Time that no daemon saw pass does not count.
        self.assertTrue(5 <= held <= 10, held)
        self.assertEqual(waited, 0)


class PageTests(ListingTests):
    def test_pages(self):
        """All pages together have each lock once, whatever comes and goes meanwhile."""
        paths = [f"{PRINTER}/{number}" for number in range(7)]
        for path in paths:
            self.take(path)
            self.take(path)
        for query in ("?limit=2", "?sort=waiting&limit=2"):
            self.assertEqual(self.all_pages(query), list("0123456"))
        first = self.listed("?limit=3")
        self.assertEqual(self.ask("DELETE", f"{paths[2]}/lock?fence=3").status, 204)
        self.assertEqual(self.names(f"?after={first['next']}"), [*"3456", "2"])

    def test_cost(self):
        """What the first page costs does not grow with the locks that are held, nor with the tickets that wait."""

        def cost(held: int) -> list[int]:
            self.setUp()
            for number in range(held):
                self.ask("POST", f"{PRINTER}/{number}/lock")
                self.ask("POST", f"{PRINTER}/{number}/lock")
            found = self.server.locking.locks.listing
            everything = listing.Shown(lambda _: True)

            def look() -> None:
                self.successResultOf(Deferred.fromCoroutine(found.held(everything, 0, 2)))
                self.successResultOf(Deferred.fromCoroutine(found.waiting(everything, 0, 2)))

            return [counted(look) for _ in range(2)]

        (_, few), (first, many) = cost(10), cost(800)
        self.assertLess(many, 1.1 * few)
        # The first one puts the last few in order.
        self.assertLess(first, few + 20 * UNSORTED)

    def test_bounded(self):
        """A request looks at so many at most. Those that it does not show count too, so a page may be empty and yet not the last."""
        for number in range(5):
            self.take(f"{PRINTER}/{number}", "Bob" if number == 4 else "Ada")
        with mock.patch.object(listing, "LOOKED_AT", 2):
            page = self.listed("?owner=Bob")
            self.assertEqual((page["locks"], page["next"]), ([], 2))
            self.assertEqual(self.all_pages("?owner=Bob"), ["4"])

    def test_refused(self):
        """What makes no sense is refused, and so is what the key may not see."""
        for query, code in (
            ("sort=owner", "bad_sort"),
            ("sort=", "bad_sort"),
            ("after=-1", "bad_after"),
            ("limit=0", "bad_limit"),
            ("resource=", "bad_name"),
            ("ressource=printer", "unknown_argument"),
        ):
            self.assertRefused(400, code, self.ask("GET", f"/locks?{query}"))
        self.assertRefused(404, "unknown_resource", self.ask("GET", "/locks?resource=plotter"))
        self.assertRefused(403, "forbidden_resource", self.ask("GET", "/locks?resource=scanner", key="print-key"))
        self.assertRefused(401, "unauthorized", self.ask("GET", "/locks", key="lock-only"))
        self.assertRefused(401, "unauthorized", self.ask("GET", "/locks", key=""))

    def test_limited_key(self):
        """A key that is limited to some resources sees those only, and no request that names others too."""
        for path in (GLASS, A4):
            self.take(path)
            self.take(path)
        self.several({"resource": "printer", "selector": "A4"}, {"resource": "scanner", "selector": "glass"})
        self.several({"resource": "printer", "selector": "A4"})
        self.assertEqual(self.names(key="print-key"), ["A4"])
        self.assertEqual(self.names("?sort=waiting", key="print-key"), ["A4", "printer"])
        self.assertEqual(self.names("?sort=waiting"), ["glass", "A4", "printer+scanner", "printer"])

    def test_store_away(self):
        """As long as it is not known who holds what, nobody is told anything."""
        self.take(A4)
        self.store.faults["commit"] = self.store.faults["term"] = StoreUnavailable("away")
        self.assertEqual(self.ask("POST", f"{A5}/lock").status, 503)
        for query in ("", "?sort=waiting"):
            answer: Answer = self.end(self.begin("GET", f"/locks{query}"))
            self.assertEqual(answer.status, 503)

    def test_not_before_commit(self):
        """A lock is not listed before the store has it."""
        self.unlock(self.take(A4))
        self.store.slow = True
        lock = self.begin("POST", f"{A4}/lock")
        while not self.server.locking.locks.held:
            self.store.go_on_once()
        exchange = self.begin("GET", "/locks")
        self.assertFalse(lock.answered or exchange.answered)
        self.store.go_on()
        self.assertEqual([row["selector"] for row in exchange.answer.json["locks"]], ["A4"])
