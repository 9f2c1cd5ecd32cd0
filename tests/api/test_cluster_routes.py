"""The nodes, as any of them shows them, and how one is emptied."""

from __future__ import annotations

import json

import pytest

from resourced.api.cluster import DRAIN_WAIT
from resourced.partitions import PARTITIONS
from tests.assembled import LOCK, READ
from tests.nodes import PassingTests, url_of
from tests.wire import WebTests

pytestmark = [pytest.mark.trial, pytest.mark.reference_path]


class AloneTests(WebTests):
    def test_one_node(self):
        """A daemon without others is a cluster of one, which owns all."""
        shown = self.ask("GET", "/cluster", key=READ).json
        self.assertEqual((len(shown["nodes"]), shown["partitions"], shown["moving"]), (1, [1] * PARTITIONS, 0))
        self.assertEqual((shown["nodes"][0]["partitions"], shown["nodes"][0]["here"]), (PARTITIONS, True))

    def test_nobody_to_take_over(self):
        """Who is alone cannot be emptied, and there is no other node."""
        drain = json.dumps({"draining": True})
        self.assertRefused(409, "no_other_node", self.ask("PATCH", "/cluster/1", drain))
        self.assertRefused(404, "unknown_node", self.ask("PATCH", "/cluster/2", drain))
        self.assertRefused(404, "unknown_node", self.ask("PATCH", "/cluster/x", drain))

    def test_wrong(self):
        """What is not understood is refused, and so is a key that may not write."""
        for body in ("", "{}", '{"draining": 1}'):
            self.assertEqual(self.ask("PATCH", "/cluster/1", body).status, 400)
        self.assertRefused(400, "unknown_field", self.ask("PATCH", "/cluster/1", '{"draining": true, "x": 1}'))
        self.assertRefused(401, "unauthorized", self.ask("PATCH", "/cluster/1", '{"draining": true}', key=LOCK))
        self.assertRefused(401, "unauthorized", self.ask("GET", "/cluster", key=""))


class NodesTests(PassingTests):
    def test_nodes(self):
        """Each node shows all of them, and which one it is."""
        self.shared.give("printer", 0)
        for number, node in enumerate(self.nodes, 1):
            self.site = node.site
            shown = self.ask("GET", "/cluster", key=READ).json
            self.assertEqual([node["url"] for node in shown["nodes"]], [url_of(1), url_of(2), url_of(3)])
            self.assertEqual([node["id"] for node in shown["nodes"] if node["here"]], [number])
            self.assertEqual((shown["moving"], shown["partitions"].count(0)), (1, 1))

    def test_drain(self):
        """Any node can be asked to let another one give its partitions away; the answer says what is left after a second."""
        asked = self.begin("PATCH", "/cluster/2", '{"draining": true}')
        self.advance(DRAIN_WAIT)
        node = self.end(asked).json
        self.assertEqual((node["id"], node["draining"], node["partitions"]), (2, True, 1))
        self.shared.give("printer", 3)
        shown = self.ask("GET", "/cluster", key=READ).json["nodes"][1]
        self.assertEqual((shown["draining"], shown["partitions"]), (True, 0))
        self.assertEqual(self.ask("PATCH", "/cluster/2", '{"draining": false}').json["draining"], False)

    def test_drain_at_once(self):
        """If all is given away at once, so is the answer."""
        self.shared.give("printer", 3)
        self.assertEqual(self.ask("PATCH", "/cluster/2", '{"draining": true}').json["partitions"], 0)

    def test_no_such_node(self):
        """A node that there is not is asked of nobody, and one that has gone neither."""
        self.assertRefused(404, "unknown_node", self.ask("PATCH", "/cluster/9", '{"draining": true}'))
        self.assertEqual(self.network.sent, [])
        self.network.down.add(2)
        self.assertRefused(503, "owner_away", self.ask("PATCH", "/cluster/2", '{"draining": true}'))
