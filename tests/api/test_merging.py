"""Lists of what all nodes know, asked of any of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.assembled import READ
from tests.nodes import PassingTests

pytestmark = [pytest.mark.trial, pytest.mark.reference_path]

NAMES = ("alpha", "beta", "gamma", "printer")


class ListTests(PassingTests):
    def setUp(self) -> None:
        super().setUp()
        for number, name in enumerate(NAMES[:3], 1):
            for node in self.nodes:
                self.successResultOf(Deferred.fromCoroutine(node.store.create_resource(name, 0)))
            self.shared.give(name, number)

    def pages(self, query: str, limit: int) -> list[Any]:
        found: list[Any] = []
        after = ""
        while True:
            body = self.ask("GET", f"/locks?limit={limit}{query}{after}", key=READ).json
            self.assertLessEqual(len(body["locks"]), limit)
            found += body["locks"]
            if body["next"] is None:
                return found
            after = f"&after={body['next']}"

    def fill(self) -> list[str]:
        """Take locks of all nodes in turn, a second apart, and let somebody wait for each; return what they are on, the oldest first."""
        taken = []
        for turn in range(4):
            for name in NAMES:
                self.lock(f"/resource/{name}/{turn}")
                self.queue(f"/resource/{name}/{turn}")
                taken.append(f"{name}/{turn}")
                self.clock.advance(1)
        return taken

    def test_held(self):
        """The locks of all nodes are listed by any of them, what is held for the longest first; all pages together have each once."""
        taken = self.fill()
        for node in self.nodes:
            self.site = node.site
            for limit in (1, 3, 5, 100):
                found = self.pages("", limit)
                self.assertEqual([f"{row['resource']}/{row['selector']}" for row in found], taken, limit)
                self.assertEqual(set(found[0]), {"resource", "selector", "holder", "waiting"})

    def test_waiting(self):
        """So are those who wait."""
        taken = self.fill()
        for limit in (1, 3, 100):
            found = self.pages("&sort=waiting", limit)
            self.assertEqual([f"{row['resource']}/{row['selector']}" for row in found], taken, limit)
            self.assertNotIn("number", found[0])

    def test_filtered(self):
        """What is asked for is asked for of each node: an owner, a resource."""
        self.fill()
        self.lock("/resource/beta/mine", headers=[("x-owner", "ci")])
        self.assertEqual([row["selector"] for row in self.pages("&owner=ci", 10)], ["mine"])
        self.assertEqual({row["resource"] for row in self.pages("&resource=beta", 2)}, {"beta"})
        self.assertRefused(404, "unknown_resource", self.ask("GET", "/locks?resource=omega", key=READ))
        self.assertRefused(400, "bad_after", self.ask("GET", "/locks?after=12", key=READ))
        self.assertRefused(401, "unauthorized", self.ask("GET", "/locks", key=""))
        self.assertEqual(self.ask("HEAD", "/locks", key=READ).status, 200)

    def test_resources(self):
        """The list of resources has the counts of the node that each belongs to."""
        self.fill()
        self.unlock(self.lock("/resource/gamma/other"), "/resource/gamma/other")
        card = json.dumps({"tags": ["a"]})
        self.assertEqual(self.ask("PATCH", "/resource/beta/unit", card).status, 200)
        for node in self.nodes:
            self.site = node.site
            rows = self.ask("GET", "/resource", key=READ).json["resources"]
            counts = [(row["name"], row["held"], row["waiting"], row.get("units")) for row in rows]
            self.assertEqual(counts, [(name, 4, 4, 1 if name == "beta" else None) for name in NAMES])
        page = self.ask("GET", "/resource?limit=2", key=READ).json
        self.assertEqual((len(page["resources"]), page["next"]), (2, "beta"))

    def test_node_away(self):
        """If a node does not answer there is no list, which would be of a part only."""
        self.fill()
        self.network.down.add(3)
        self.assertRefused(503, "owner_away", self.ask("GET", "/locks", key=READ))
        self.assertRefused(503, "owner_away", self.ask("GET", "/resource", key=READ))
