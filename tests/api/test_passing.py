"""Any node takes any request: what is passed on to the owner, and what comes of it when that moves or is gone."""

from __future__ import annotations

import re
from unittest import mock

import pytest
from twisted.internet.defer import Deferred

from resourced.auth.keys import Identity, Permission, digest_of
from resourced.errors import NotOwner
from resourced.passing.headers import MARK
from resourced.passing.peers import ANSWER_TIMEOUT
from resourced.passing.relay import SHORT
from tests.assembled import READ
from tests.nodes import SECRET, PassingTests
from tests.wire import A4

pytestmark = [pytest.mark.trial, pytest.mark.reference_path]


class PassedOnTests(PassingTests):
    def test_owner_decides(self):
        """A lock that is taken, read, written and given back through another node is that of the owner."""
        answer = self.ask("POST", f"{A4}/lock", headers=[("x-owner", "ci")])
        self.assertHeld(answer)
        self.assertFrom(2, answer)
        self.assertEqual((self.holder(1), self.holder(2), self.holder(3)), (None, "ci", None))
        self.write('{"a": "é"}', answer.ticket)
        self.assertEqual(self.data(), '{"a": "é"}')
        tag = self.ask("GET", f"{A4}?lock=0").headers["ETag"]
        self.assertEqual(self.ask("GET", f"{A4}?lock=0", headers=[("if-none-match", tag)]).status, 304)
        self.unlock(answer.ticket)
        self.assertEqual(self.holder(2), None)
        self.assertEqual({node for node, *_ in self.network.sent}, {2})

    def test_same_answers(self):
        """What the owner answers is answered, whichever node is asked: errors, refusals and heads too."""
        self.lock()
        site = self.site
        for method, path, body, key in (
            ("GET", f"{A4}/lock", "", READ),
            ("HEAD", f"{A4}/lock", "", READ),
            ("GET", "/resource/printer", "", READ),
            ("PUT", A4, "1", "write-key"),
            ("POST", f"{A4}/lock", "", READ),
            ("DELETE", f"{A4}/lock?fence=9", "", "write-key"),
            ("PATCH", "/resource/printer", '{"timeout": "x"}', "write-key"),
            ("GET", "/resource/printer/a%23b;c%3Bd?lock=0", "", READ),
            ("POST", "/lock", '{"want": [{"resource": "printer", "count": 2}]}', "write-key"),
        ):
            answers = []
            for node in (0, 1):
                self.site = self.nodes[node].site
                answer = self.ask(method, path, body, key=key)
                answers.append((answer.status, answer.body, sorted(answer.headers.keys() - {"X-Ticket"})))
            self.assertEqual(answers[0], answers[1], (method, path))
        self.site = site

    def test_mine_is_not_passed_on(self):
        """What the node that is asked owns is answered there, and it says so."""
        self.shared.give("printer", 1)
        self.assertFrom(1, self.ask("POST", f"{A4}/lock"))
        self.assertEqual(self.network.sent, [])

    def test_unknown_resource(self):
        """What is about a resource that there is not is answered without asking anybody else."""
        self.assertRefused(404, "unknown_resource", self.ask("POST", "/resource/plotter/x/lock"))
        self.assertRefused(400, "bad_name", self.ask("POST", "/resource/%00/x/lock"))
        self.assertEqual(self.network.sent, [])

    def test_create(self):
        """A resource is created by the node that is to own it, by its group."""
        self.shared.give("house", 3)
        answer = self.ask("POST", "/resource", '{"name": "plotter", "group": "house"}')
        self.assertEqual(answer.status, 201)
        self.assertFrom(3, answer)
        self.assertEqual(answer.headers["Location"], "/resource/plotter")

    def test_group(self):
        """The owner is that of the group, which the store knows."""
        for node in self.nodes:
            create = node.store.create_resource("plotter", 0, group="house")
            self.successResultOf(Deferred.fromCoroutine(create))
        self.shared.give("house", 3)
        self.assertFrom(3, self.ask("POST", "/resource/plotter/x/lock"))
        wanted = '{"want": [{"resource": "plotter", "selector": "y"}]}'
        self.assertFrom(3, self.ask("POST", "/lock", wanted))

    def test_stranger(self):
        """A request without a key that is known goes no further."""
        for key in ("", "wrong"):
            self.assertRefused(401, "unauthorized", self.ask("POST", f"{A4}/lock", key=key))
        self.assertEqual(self.network.sent, [])

    def test_limited_key(self):
        """What a key may not do is refused in the same words by each node, and passed on to none."""
        limited = Identity("t", Permission.READ | Permission.LOCK, ("test-",))
        for node in self.nodes:
            node.server.locking.keys.adopt({digest_of(b"t"): limited})
        for method, path, status in (
            ("GET", A4, 403),
            ("POST", f"{A4}/lock", 403),
            ("PUT", A4, 401),
            ("PATCH", A4, 401),
        ):
            answers = []
            for node in self.nodes[:2]:
                self.site = node.site
                answer = self.ask(method, path, key="t")
                answers.append((answer.status, answer.body))
            self.assertEqual(answers, [(status, answers[1][1])] * 2)
        self.assertEqual(self.network.sent, [])

    def test_long_answer(self):
        """A long answer comes whole, though no node has all of it at once."""
        data = '"' + SHORT * "x" + '"'
        self.put(data)
        answer = self.ask("GET", f"{A4}?raw=1&lock=0")
        self.assertEqual(answer.body.decode(), data)

    def test_counted(self):
        """What is passed on, what is taken in, and what of it is refused: each is counted where it happens, and nothing else is."""
        self.ask("POST", f"{A4}/lock")
        self.site = self.nodes[2].site
        self.ask("POST", f"{A4}/lock", headers=[(MARK.decode(), SECRET)])
        self.ask("POST", f"{A4}/lock", headers=[(MARK.decode(), "forged")])
        self.ask("GET", "/locks")
        counts = []
        for node in self.nodes:
            told = node.server.exposition.write("")[1].decode()
            counts.append(re.findall(r'resourced_requests_between_nodes_total{direction="(\w+)"} (\d)', told))
        names = ("passed", "taken_in", "refused")
        self.assertEqual(counts, [list(zip(names, each, strict=True)) for each in ("100", "010", "011")])

    def test_address(self):
        """The owner knows where a request comes from; a client cannot say so itself."""
        clients: list[str] = []
        self.nodes[1].site.access = lambda access: clients.append(access.peer)  # type: ignore[method-assign]
        forged = [("Forwarded", "for=203.0.113.9"), (MARK.decode(), "forged")]
        self.ask("POST", f"{A4}/lock", headers=forged[:1])
        self.assertEqual(clients, ["192.168.1.1"])
        self.site = self.nodes[1].site
        self.ask("POST", f"{A4}/lock", headers=forged)
        self.ask("POST", f"{A4}/lock", headers=[forged[0], (MARK.decode(), SECRET)])
        self.assertEqual(clients[1:], ["192.168.1.1", "203.0.113.9"])


class MarkTests(PassingTests):
    def test_one_hop(self):
        """What was passed on to a node that does not own it is not passed on again: it is refused, to be asked again."""
        self.site = self.nodes[2].site
        mark = [(MARK.decode(), SECRET)]
        self.assertRefused(503, "not_owner", self.ask("POST", f"{A4}/lock", headers=mark))
        self.assertEqual(self.network.sent, [])

    def test_forged_mark(self):
        """A client that says that it is a node is believed nothing, but is passed on to nobody: two nodes must never go round in a circle."""
        forged = [(MARK.decode(), "forged")]
        self.assertRefused(503, "not_owner", self.ask("POST", f"{A4}/lock", headers=forged))
        self.assertEqual(self.network.sent, [])

    def test_hop_by_hop(self):
        """What is about one connection does not go on, nor come back."""
        self.ask("POST", f"{A4}/lock", headers=[("Connection", "x-mine"), ("X-Mine", "1"), ("X-Owner", "ci")])
        names = {name.decode().lower() for name, _ in self.network.sent[0][-1].getAllRawHeaders()}
        self.assertEqual(names, {"x-api-key", "x-owner", "forwarded", MARK.decode()})


class MovingTests(PassingTests):
    def test_moving(self):
        """While nobody owns it a request is refused, to be asked again; one that may wait waits for the new owner."""
        self.shared.give("printer", 0)
        self.assertRefused(503, "not_owner", self.ask("POST", f"{A4}/lock"))
        waiting = self.wait()
        self.assertFalse(waiting.answered)
        self.shared.give("printer", 3)
        answer = self.end(waiting)
        self.assertHeld(answer)
        self.assertFrom(3, answer)

    def test_moving_for_too_long(self):
        """A request waits no longer for an owner than it may wait for the lock."""
        self.shared.give("printer", 0)
        waiting = self.wait(seconds=3)
        self.advance(2.75)
        self.assertFalse(waiting.answered)
        self.advance(0.5)
        self.assertRefused(503, "not_owner", self.end(waiting))

    def test_wait_is_one(self):
        """What a request has waited for the owner it waits less for the lock."""
        self.site = self.nodes[2].site
        self.shared.give("printer", 3)
        self.lock()
        self.site = self.nodes[0].site
        self.shared.give("printer", 0)
        waiting = self.wait(seconds=10)
        self.advance(6)
        self.shared.give("printer", 3)
        self.advance(3.5)
        self.assertFalse(waiting.answered)
        self.advance(1)
        self.assertWaits(self.end(waiting), 1)

    def test_old_view(self):
        """A node that does not know yet that the owner has changed asks the former one, and waits until it knows."""
        self.nodes[0].view.blind = True
        self.shared.give("printer", 3)
        self.assertRefused(503, "not_owner", self.ask("POST", f"{A4}/lock"))
        waiting = self.wait()
        self.nodes[0].view.blind = False
        self.shared.changed()
        self.assertHeld(self.end(waiting))

    def test_group_has_changed(self):
        """If the group of a resource has changed, it is looked up anew, and the request goes on to the new owner at once."""
        self.unlock(self.lock())
        for node in self.nodes:
            change = node.store.change_resource("printer", {"group": "house"})
            self.successResultOf(Deferred.fromCoroutine(change))
        self.shared.give("house", 3)
        locks = self.nodes[1].server.locking.locks
        with mock.patch.object(locks, "acquire", side_effect=NotOwner("Another node decides about this.")):
            for asked in self.nodes[:2]:
                self.site = asked.site
                self.assertFrom(3, self.ask("POST", f"{A4}/lock"))


class AwayTests(PassingTests):
    def test_owner_is_down(self):
        """While the owner cannot be reached a request is refused, to be asked again; one that may wait is asked of the next owner."""
        self.network.down.add(2)
        self.assertRefused(503, "owner_away", self.ask("POST", f"{A4}/lock"))
        waiting = self.wait()
        self.advance(3)
        self.assertFalse(waiting.answered)
        self.shared.give("printer", 3)
        self.assertHeld(self.end(waiting))

    def test_owner_comes_back(self):
        """An owner that is down for a moment only is asked again."""
        self.network.down.add(2)
        waiting = self.wait()
        self.network.down.clear()
        self.advance(1.5)
        self.assertHeld(self.end(waiting))

    def test_owner_falls_silent(self):
        """A request whose owner does not answer any more is asked of the new owner, if it can be asked twice; else it is refused."""
        self.lock()
        again = self.wait(headers=[("Idempotency-Key", "a")])
        once = self.wait()
        self.network.silent.add(2)
        self.shared.give("printer", 3)
        self.assertEqual((again.answered, once.answered), (False, False))
        self.advance(1.5)
        self.assertHeld(self.end(again))
        self.assertRefused(503, "owner_away", self.end(once))

    def test_owner_is_frozen(self):
        """An owner that says nothing is waited for only so long."""
        self.network.silent.add(2)
        asked = self.begin("POST", f"{A4}/lock")
        self.advance(ANSWER_TIMEOUT)
        self.assertRefused(503, "owner_away", self.end(asked))

    def test_hang_up(self):
        """A client that hangs up while it waits hangs up at the owner too, and keeps its place there."""
        held = self.lock()
        waiting = self.wait(headers=[("x-owner", "gone")])
        connections = self.nodes[1].site.connections
        waiting.hang_up()
        self.network.flush()
        self.assertEqual(self.nodes[1].site.connections, connections - 1)
        self.unlock(held)
        self.assertEqual(self.holder(2), "gone")

    def test_long_poll(self):
        """A request that waits at the owner is answered the moment that the lock is free."""
        held = self.lock()
        waiting = self.wait()
        self.advance(5)
        self.assertEqual((waiting.answered, self.site.waiting, self.site.busy), (False, 1, 0))
        self.unlock(held)
        self.network.flush()
        self.assertHeld(self.end(waiting))

    def test_stopping(self):
        """A node that is being stopped keeps nobody who waits for another one, be it for its lock or for whoever will own it."""
        self.lock()
        waiting = [self.wait(headers=[("Idempotency-Key", "a")])]
        self.shared.give("other", 0)
        for node in self.nodes:
            self.successResultOf(Deferred.fromCoroutine(node.store.create_resource("other", 0)))
        waiting.append(self.begin("POST", "/resource/other/x/lock?wait=20"))
        connections = self.nodes[1].site.connections
        passing = self.nodes[0].server.passing
        assert passing is not None
        passing.stop_waiting()
        self.clock.advance(0)
        self.network.flush()
        self.assertEqual([self.end(each).json["code"] for each in waiting], ["owner_away", "not_owner"])
        self.assertEqual(self.nodes[1].site.connections, connections - 1)
