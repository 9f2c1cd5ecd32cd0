"""
The client against the real server in memory, by a ``Clock``: what it takes for held, what it repeats, and what it leaves behind.

Between the two is a ``Line``, which loses requests and answers, or takes its time, as a test likes.
"""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from resourced.addresses import base
from resourced.client import (
    Client,
    Conflict,
    Gap,
    LockLost,
    NotAcquired,
    NotFound,
    Refused,
    Rejected,
    Unreachable,
)
from resourced.client.api import following
from resourced.cluster.alone import Alone
from resourced.errors import NotOwner
from resourced.testing import MemoryServer
from tests.client.cases import CONNECT, LOSE, PASS, REFUSE, SWALLOW, Block, ClientTestCase, Network, once

pytestmark = pytest.mark.trial


class LockTests(ClientTestCase):
    def test_block(self):
        """A block holds the lock, can read and write, and releases it in the end."""

        async def work() -> tuple[object, ...]:
            async with self.client.lock("printer", "A4", owner="me") as held:
                first = held.data
                await held.write({"status": "ready", "ö": [1, None]})
                return first, held.data, held.fence, held.owner, self.holder()

        self.assertEqual(self.now(work()), (None, {"status": "ready", "ö": [1, None]}, 1, "me", [1]))
        self.assertEqual(self.holder(), [])
        document = self.now(self.client.get("printer", "A4"))
        self.assertEqual(document.text, '{"status": "ready", "ö": [1, None]}'.replace("None", "null"))
        self.assertEqual(document.data, {"status": "ready", "ö": [1, None]})

    def test_data_is_that_of_the_grant(self):
        """Who gets the lock after a wait sees what the holder before it has written."""
        first, second = self.hold(), self.hold(self.another())
        self.now(first.held.write([1, 2]))
        first.end()
        self.server.advance()
        self.assertEqual(second.held.data, [1, 2])
        second.end()

    def test_text_as_it_is(self):
        """``write_text`` keeps every byte, and what is not JSON is refused and changes nothing."""

        async def work() -> None:
            async with self.client.lock("printer", "A4") as held:
                await held.write_text(' {"a" :1e2}')
                self.fails(Rejected, held.write_text("{nonsense"))
                self.fails(TypeError, held.write({1, 2}))
                self.fails(ValueError, held.write(float("nan")))
                self.assertEqual(held.text, ' {"a" :1e2}')

        self.now(work())
        self.assertEqual(self.now(self.client.get("printer", "A4")).text, ' {"a" :1e2}')

    def test_release_within(self):
        """A lock can be let go of before the block ends, by itself or with a write; then nothing can be done with it."""

        async def work(*, with_write: bool) -> list[int]:
            async with self.client.lock("printer", "A4") as held:
                await (held.write(1, unlock=True) if with_write else held.unlock())
                self.assertEqual(self.fails(LockLost, held.write(2)).code, "released")
                self.assertEqual(held.left, 0)
                return self.holder()

        self.assertEqual(self.now(work(with_write=True)), [])
        self.assertEqual(self.now(work(with_write=False)), [])
        self.network.asked.clear()
        self.server.advance(60)
        self.assertEqual(self.network.asked, [])

    def test_exception_of_the_block(self):
        """An exception leaves the block as it is, and the lock is released."""
        block = self.hold()
        block.end(ZeroDivisionError())
        self.server.advance()
        self.fails(ZeroDivisionError, block.outcome)
        self.assertEqual(self.holder(), [])

    def test_used_once(self):
        """A ``Lock`` stands for one wait."""
        block = self.hold()
        self.fails(RuntimeError, block.lock.acquire())
        self.assertEqual(self.holder(), [1])
        block.end()

    def test_not_acquired(self):
        """With ``wait`` it gives up after so many seconds, and gives up its place."""
        first, second = self.hold(), self.hold(self.another(), wait=7.5)
        self.server.advance(7)
        self.assertNoResult(second.outcome)
        self.assertEqual(self.waiting(), 1)
        self.server.advance(1)
        self.assertEqual(self.fails(NotAcquired, second.outcome).position, 1)
        self.assertEqual(self.waiting(), 0)
        first.end()

    def test_try_once(self):
        """With ``wait=0`` it is one try."""
        first = self.hold()
        self.fails(NotAcquired, self.hold(self.another(), wait=0).outcome)
        self.assertEqual(self.waiting(), 0)
        first.end()
        self.assertTrue(self.hold(wait=0).held)

    def test_waits_by_long_polls(self):
        """It waits with few requests, and has the lock the moment it is free."""
        first, second = self.hold(), self.hold(self.another(poll=10.0))
        self.network.asked.clear()
        self.server.advance(25)
        self.assertEqual(len(self.network.times("GET", "A4")), 2)
        first.end()
        self.server.advance()
        self.assertEqual(second.held.fence, 2)
        second.end()

    def test_position(self):
        """Who waits is told where it stands, once for each change."""
        first, second, third = self.hold(), self.hold(self.another()), self.hold(self.another(poll=2.0))
        self.server.advance(5)
        second.outcome.cancel()
        self.server.advance(5)
        self.assertEqual([told.position for told in third.told], [2, 1])
        self.assertEqual({told.ticket for told in third.told}, {third.told[0].ticket})
        self.fails(CancelledError, second.outcome)
        first.end()
        self.server.advance()
        third.end()

    def test_callback_that_raises(self):
        """What ``on_queued`` raises ends the wait."""
        first = self.hold()
        second = self.hold(self.another(), on_queued=lambda _: 1 / 0)
        self.fails(ZeroDivisionError, second.outcome)
        self.assertEqual(self.waiting(), 0)
        first.end()

    def test_given_ticket(self):
        """A lock that was got otherwise can be gone on with."""
        first = self.hold()
        first.held.stop()
        second = self.hold(self.another(), ticket=first.held.ticket)
        self.assertEqual(second.held.fence, 1)
        second.end()
        self.server.advance()
        self.assertEqual(self.holder(), [])

    def test_lease_and_priority(self):
        """They are asked for with each request for the lock, with a ticket and without, and what is held has that lease."""
        self.now(self.client.change("printer", longest=900))
        first = self.hold()
        low, usual = self.hold(lease=900, priority=-3), self.hold()
        asked = [(path, headers.get("x-priority")) for _, _, path, headers in self.network.asked if "lease=" in path]
        self.assertEqual(set(asked), {("/resource/printer/A4?lease=900", "-3")})
        self.assertGreater(len(asked), 1)
        first.end()
        self.server.advance()
        self.assertIsNotNone(usual.held)
        usual.end()
        self.server.advance()
        assert low.held is not None
        self.assertEqual(low.held.lease, 900)
        low.end()
        self.server.advance()
        self.assertEqual(self.fails(Refused, self.hold(priority=1).outcome).code, "forbidden_priority")
        self.assertEqual(self.fails(Rejected, self.hold(lease=901).outcome).code, "bad_lease")

    def test_one_try_where_all_wait(self):
        """Who wants one try gets it also from a server where a request waits that does not say."""
        self.server = MemoryServer(self.clock, usual_wait=20.0)
        self.network = Network(self.server, self.clock)
        self.client = self.another()
        self.now(self.client.create("printer"))
        first = self.hold()
        self.fails(NotAcquired, self.hold(self.another(), wait=0).outcome)
        first.end()

    def test_no_busy_wait(self):
        """A server that lets no request wait is asked about once a second."""
        self.server = MemoryServer(self.clock, longest_wait=0.0)
        self.network = Network(self.server, self.clock)
        self.client = self.another()
        self.now(self.client.create("printer"))
        first, second = self.hold(), self.hold(self.another())
        self.network.asked.clear()
        self.server.advance(10)
        self.assertIn(len(self.network.times("GET", "A4")), range(9, 12))
        second.outcome.cancel()
        self.server.advance()
        self.fails(CancelledError, second.outcome)
        first.end()


class LeaseTests(ClientTestCase):
    def test_renewal(self):
        """A lock is renewed each third of its lease, as long as the block runs and no longer."""
        block = self.hold()
        self.now(block.held.write(1))
        self.network.asked.clear()
        self.server.advance(95)
        times = self.network.times("POST", "/lock")
        self.assertEqual([round(when / 10) for when in times], list(range(1, 10)))
        self.assertEqual(self.holder(), [1])
        block.end()
        self.server.advance(60)
        self.assertEqual(self.network.times("POST", "/lock"), times)
        self.assertEqual(self.successResultOf(block.outcome), "through")

    def test_lease_begins_before_the_request(self):
        """The lease counts from before the request was sent, however long its answer took."""
        # The first client of a selector without data is offered the lock, and takes it by this.
        self.network.fate = once(3.0, "POST", "/lock")
        block = self.hold()
        self.server.advance(3)
        self.assertEqual((block.held.lease, block.held.left), (30, 27))
        self.network.fate = lambda *_: SWALLOW
        self.server.advance(26.5)
        self.assertNoResult(block.outcome)
        self.server.advance(1)
        self.assertEqual(self.fails(LockLost, block.outcome).code, "unconfirmed")

    def test_long_wait_is_confirmed(self):
        """After a wait as long as the lease a lock is confirmed before it is given, with a lease that begins anew."""
        first, second = self.hold(), self.hold(self.another(poll=40.0))
        self.server.advance(39)
        first.end()
        self.server.advance()
        self.assertEqual((second.held.lease, second.held.left), (30, 30))
        second.end()

    def test_lost_between_grant_and_confirmation(self):
        """A lock that was lost before that was certain is not given; the client joins again and says so."""
        first, second = self.hold(), self.hold(self.another(poll=40.0))
        self.server.advance(15)
        self.network.fate = once(35.0, "GET", "A4")
        self.server.advance(24)
        self.network.fate = lambda method, url: SWALLOW if url.endswith("/lock") else PASS
        first.held.stop()
        self.server.advance(60)
        self.network.fate = lambda *_: PASS
        self.server.advance(60)
        self.assertTrue(second.held)
        self.assertEqual(self.holder(), [second.held.fence])
        second.end()

    def test_never_longer_than_the_server(self):
        """Whatever answers are lost or late, nobody else gets the lock while its holder takes it for held."""
        for lost in (0.0, 7.0, 9.5, 20.0):
            first = self.hold()
            self.server.advance(lost)
            self.network.fate = lambda method, url: LOSE if method == "POST" and url.endswith("/lock") else PASS
            second = self.hold(self.server.client())
            for _ in range(8 * 60):
                self.server.advance(0.125)
                self.assertTrue(second.held is None or not first.held.left, lost)
            self.assertTrue(second.held)
            self.fails(LockLost, first.outcome)
            self.network.fate = lambda *_: PASS
            second.end()
            self.server.advance()
            self.assertEqual(self.holder(), [])

    def test_lapsed_lock_is_let_go(self):
        """A lock that could not be confirmed is let go of, in case the server still keeps it for its holder."""
        block = self.hold()
        self.now(block.held.write(1))
        self.network.fate = lambda method, url: LOSE if url.endswith("A4/lock") else PASS
        self.server.advance(29)
        self.assertEqual(self.holder(), [1])
        self.server.advance(2)
        self.fails(LockLost, block.outcome)
        self.assertEqual(self.holder(), [])

    def test_silent_server_keeps_nobody(self):
        """Who could not confirm a lock, and ends, waits a second for the server to hear of it, however long it may take to answer else."""
        client = self.another(timeout=1000.0)
        block = self.hold(client)
        self.network.fate = lambda *_: SWALLOW
        self.server.advance(31)
        self.fails(LockLost, block.outcome)
        closed = Deferred.fromCoroutine(client.close())
        self.server.advance(2)
        self.assertIsNone(self.successResultOf(closed))

    def test_renewal_is_tried_again(self):
        """A server that is away for less than the lease costs nobody a lock."""
        block = self.hold()
        for _ in range(6):
            self.now(block.held.write(1))
            self.server.advance(5)
            self.network.fate = lambda *_: REFUSE
            self.server.advance(23.25)
            self.network.fate = lambda *_: PASS
            self.server.advance(5)
            self.assertEqual(block.held.reason, None)
        self.assertEqual(self.holder(), [1])
        block.end()

    def test_release_does_not_wait_for_a_renewal(self):
        """A block that ends while a renewal is tried in vain releases the lock all the same, soon."""
        block = self.hold()
        self.now(block.held.write(1))
        self.network.fate = lambda _, url: REFUSE if url.endswith("/lock") else PASS
        self.server.advance(15)
        block.end()
        self.server.advance(2)
        self.assertEqual(self.successResultOf(block.outcome), "through")
        self.assertEqual(self.holder(), [])

    def test_restart(self):
        """A restart of the server changes nothing for who holds and who waits."""
        first, second = self.hold(), self.hold(self.another())
        self.server.advance(5)
        self.server.restart()
        self.server.advance(40)
        self.assertEqual(first.held.reason, None)
        self.assertEqual((second.held, second.told[-1].rejoined), (None, 0))
        first.end()
        self.server.advance()
        self.assertEqual(second.held.fence, 2)
        second.end()

    def test_clock_that_jumps(self):
        """When the machine has slept past the lease, the next use of the lock already knows."""
        ahead = [0.0]
        client = self.another(seconds=lambda: self.clock.seconds() + ahead[0])
        block = self.hold(client)
        self.now(block.held.write(1))
        ahead[0] = 31.0
        self.network.asked.clear()
        self.fails(LockLost, block.held.write(2))
        self.assertEqual(self.network.times("PUT", "A4"), [])
        self.server.advance()
        self.fails(LockLost, block.outcome)

    def test_cancelled_while_it_connects(self):
        """Whoever gives up while a connection is being made has given up, and does not go on with another one."""
        self.network.fate = lambda *_: CONNECT
        acquiring = self.begin(self.client.lock("printer", "A4").acquire())
        self.assertEqual(len(self.network.asked), 1)
        self.network.fate = lambda *_: PASS
        acquiring.cancel()
        self.server.advance(30)
        self.fails(CancelledError, acquiring)
        self.assertEqual(self.holder(), [])

    def test_look(self):
        """Who knows that the machine has slept can have the lock looked at: it is renewed, or known to be lost, at once."""
        ahead = [0.0]
        client = self.another(seconds=lambda: self.clock.seconds() + ahead[0])
        block = self.hold(client)
        self.now(block.held.write(1))
        self.network.asked.clear()
        ahead[0] = 20.0
        block.held.look()
        self.server.advance()
        self.assertEqual(len(self.network.times("POST", "A4/lock")), 1)
        self.assertGreater(block.held.left, 25)
        ahead[0] = 60.0
        block.held.look()
        self.assertEqual(block.held.reason.code, "unconfirmed")
        self.assertEqual(len(self.network.times("POST", "A4/lock")), 1)
        self.server.advance()
        self.fails(LockLost, block.outcome)
        block.held.look()
        self.assertEqual(len(self.network.times("POST", "A4/lock")), 1)

    def test_clock_that_is_set_back(self):
        """A timer that goes off too early ends no lease."""
        behind = [0.0]
        client = self.another(seconds=lambda: self.clock.seconds() - behind[0])
        block = self.hold(client)
        self.now(block.held.write(1))
        self.network.fate = lambda *_: SWALLOW
        behind[0] = 10.0
        self.server.advance(35)
        self.assertEqual(block.held.reason, None)
        self.server.advance(6)
        self.fails(LockLost, block.outcome)

    def test_shorter_lease(self):
        """A lease that became shorter counts for no longer than that."""
        block = self.hold()
        self.now(block.held.write(1))
        self.server.advance(2)
        self.now(self.client.change("printer", 6))
        self.now(block.held.write(2))
        self.assertEqual(block.held.lease, 6)
        self.assertLessEqual(block.held.left, 6)
        block.end()


class LossTests(ClientTestCase):
    def lose(self, block: Block) -> None:
        """Let somebody with the same ticket release the lock, and time pass until the next renewal."""
        self.assertTrue(self.now(self.client.unlock("printer", "A4", block.held.ticket)))

    def test_block_is_cancelled(self):
        """The loss of a lock cancels what the block awaits, and comes out of it as ``LockLost``."""
        block = self.hold()
        self.lose(block)
        self.server.advance(11)
        lost = self.fails(LockLost, block.outcome)
        self.assertEqual((lost.resource, lost.selector, lost.fence), ("printer", "A4", 1))
        self.assertEqual(block.cancelled, 1)
        self.assertIsInstance(lost.__context__, CancelledError)
        self.assertEqual(block.held.left, 0)
        # So is what the last renewal has taken by mistake.
        self.assertEqual(self.server.store.places, {})

    def test_nested_work_is_cancelled(self):
        """What the block awaits is cancelled however deep it is, in coroutines and in Deferreds of several."""
        deep: list[str] = []

        async def leaf(name: str) -> None:
            try:
                await Deferred()
            except CancelledError:
                deep.append(name)
                raise

        async def work() -> None:
            async with self.client.lock("printer", "A4") as held:
                self.held = held
                await gatherResults([Deferred.fromCoroutine(leaf(name)) for name in "ab"], consumeErrors=True)

        outcome = self.begin(work())
        self.now(self.client.unlock("printer", "A4", self.held.ticket))
        self.server.advance(11)
        self.fails(LockLost, outcome)
        self.assertEqual(deep, ["a", "b"])

    def test_cancelled_once(self):
        """A block may clean up: after the cancellation it can await other things, and the loss comes out in the end."""
        cleaned: Deferred[None] = Deferred()
        steps: list[str] = []

        async def work() -> None:
            async with self.client.lock("printer", "A4") as held:
                self.held = held
                try:
                    await Deferred()
                except CancelledError:
                    await cleaned
                    steps.append("clean")

        outcome = self.begin(work())
        self.now(self.client.unlock("printer", "A4", self.held.ticket))
        self.server.advance(11)
        self.assertNoResult(outcome)
        self.server.advance(60)
        cleaned.callback(None)
        self.fails(LockLost, outcome)
        self.assertEqual(steps, ["clean"])

    def test_only_the_block(self):
        """What is around the block goes on, and can be cancelled as ever."""
        steps: list[str] = []

        async def work() -> None:
            try:
                async with self.client.lock("printer", "A4") as held:
                    self.held = held
                    await Deferred()
            except LockLost:
                steps.append("lost")
            await deferLater(self.clock, 1)
            steps.append("later")
            await Deferred()

        outcome = self.begin(work())
        self.now(self.client.unlock("printer", "A4", self.held.ticket))
        self.server.advance(12)
        self.assertEqual(steps, ["lost", "later"])
        outcome.cancel()
        self.fails(CancelledError, outcome)

    def test_block_that_awaits_nothing(self):
        """A block that did not await when the lock was lost learns of it at its end."""
        block = self.hold()
        self.lose(block)
        block.end()
        self.server.advance()
        lost = self.fails(LockLost, block.outcome)
        self.assertIn("let go", str(lost))

    def test_told(self):
        """Who asked for that is told of the loss, once, without a block too; what goes wrong there is in the log."""
        told: list[LockLost] = []
        first = self.hold(on_lost=told.append)
        self.lose(first)
        self.server.advance(11)
        self.assertEqual([reason.fence for reason in told], [first.held.fence])
        self.fails(LockLost, first.outcome)
        second = self.now(self.client.lock("printer", "A4", on_lost=lambda reason: told[reason.fence + 7]).acquire())
        self.assertTrue(self.now(self.client.unlock("printer", "A4", second.ticket)))
        self.server.advance(11)
        self.assertEqual(len(self.flushLoggedErrors(IndexError)), 1)
        third = self.hold(on_lost=told.append)
        third.end()
        self.successResultOf(third.outcome)
        self.assertEqual(len(told), 1)

    def test_every_use(self):
        """Each use of a lost lock says that it is lost, and sends nothing."""
        block = self.hold()
        self.lose(block)
        self.server.advance(11)
        self.fails(LockLost, block.outcome)
        self.network.asked.clear()
        for use in (block.held.write(1), block.held.write_text("1"), block.held.delete(), block.held.unlock()):
            self.fails(LockLost, use)
        self.assertRaises(LockLost, block.held.check)
        self.assertEqual(self.network.asked, [])

    def test_write_finds_out(self):
        """A write that the server refuses as not the holder's is the loss of the lock."""
        block = self.hold()
        self.lose(block)
        other = self.hold(self.another())
        self.fails(LockLost, block.held.write(1))
        self.server.advance()
        self.fails(LockLost, block.outcome)
        self.fails(NotFound, self.client.get("printer", "A4"))
        other.end()

    def test_lost_deferred(self):
        """Whoever asks is told of the loss: before it, after it, and not at all if there is none."""
        block = self.hold()
        before, given_up = block.held.lost(), block.held.lost()
        given_up.cancel()
        self.fails(CancelledError, given_up)
        self.lose(block)
        self.server.advance(11)
        self.assertIs(self.successResultOf(before), block.held.reason)
        self.assertIs(self.successResultOf(block.held.lost()), block.held.reason)
        self.fails(LockLost, block.outcome)
        other = self.hold()
        never = other.held.lost()
        other.end()
        self.server.advance(60)
        self.assertNoResult(never)

    def test_inner_and_outer(self):
        """Of two locks, one within the other, the one that is lost is the one that is named."""
        lost: list[str] = []

        async def work() -> None:
            async with self.client.lock("printer", "A3") as outer, self.client.lock("printer", "A4") as inner:
                self.outer, self.inner = outer, inner
                await Deferred()

        for name in ("outer", "inner"):
            outcome = self.begin(work())
            held = getattr(self, name)
            self.now(self.client.unlock("printer", held.selector, held.ticket))
            self.server.advance(11)
            lost.append(self.fails(LockLost, outcome).selector)
        self.assertEqual(lost, ["A3", "A4"])
        self.assertEqual(self.server.store.places, {})

    def test_unconfirmed(self):
        """If no server confirms the lock in time it counts as lost, and the reason says what was wrong."""
        block = self.hold()
        self.now(block.held.write(1))
        self.network.fate = lambda *_: REFUSE
        self.server.advance(31)
        lost = self.fails(LockLost, block.outcome)
        self.assertEqual(lost.code, "unconfirmed")
        self.assertIn("refused", str(lost))

    def test_key_that_is_withdrawn(self):
        """A key that may not lock any more ends the lock when the lease ends, not before."""
        block = self.hold()
        self.now(block.held.write(1))
        self.server.lock_key = self.server.read_key = self.server.write_key = "another"
        self.server.restart()
        self.server.advance(29)
        self.assertNoResult(block.outcome)
        self.server.advance(3)
        self.fails(LockLost, block.outcome)

    def test_thrown_away(self):
        """A coroutine that is closed within the block ends without a word; the lock is released, and there is no timer."""

        async def work() -> None:
            async with self.client.lock("printer", "A4"):
                await Deferred()

        coroutine = work()
        outcome = self.begin(coroutine)
        self.network.asked.clear()
        coroutine.close()
        self.assertNoResult(outcome)
        self.server.advance(60)
        self.assertEqual([path for _, _, path, _ in self.network.asked], ["/resource/printer/A4/unlock"])
        self.assertEqual(self.server.store.places, {})


class CancelTests(ClientTestCase):
    def test_cancelled_wait(self):
        """Who cancels its wait gives up the place."""
        first, second = self.hold(), self.hold(self.another())
        self.server.advance(3)
        self.assertEqual(self.waiting(), 1)
        second.outcome.cancel()
        self.server.advance()
        self.fails(CancelledError, second.outcome)
        self.assertEqual(self.waiting(), 0)
        first.end()

    def test_cancelled_before_the_first_answer(self):
        """Also if it does not know its ticket yet."""
        first = self.hold()
        self.network.fate = once(5.0, "GET", "A4")
        second = self.hold(self.another())
        self.assertEqual(self.waiting(), 1)
        second.outcome.cancel()
        self.server.advance()
        self.fails(CancelledError, second.outcome)
        self.assertEqual(self.waiting(), 0)
        first.end()

    def test_lock_that_came_too_late(self):
        """And if it was the lock itself that was under way."""
        self.network.fate = once(5.0, "GET", "A4")
        block = self.hold()
        self.assertEqual(self.holder(), [1])
        block.outcome.cancel()
        self.server.advance()
        self.fails(CancelledError, block.outcome)
        self.assertEqual(self.server.store.places, {})

    def test_cancelled_block(self):
        """Who cancels the block releases the lock."""
        block = self.hold()
        block.outcome.cancel()
        self.server.advance()
        self.fails(CancelledError, block.outcome)
        self.assertEqual((block.cancelled, self.holder()), (1, []))


class LostAnswerTests(ClientTestCase):
    def test_no_ghost(self):
        """A request for a lock whose answer was lost leaves no second ticket behind."""
        for end in ("A4", "/lock", "/unlock"):
            self.network.fate = once(LOSE, "POST" if end in {"/unlock", "/lock"} else "GET", end)
            block = self.hold()
            self.server.advance(15)
            self.assertEqual(len(self.server.store.places), 1, end)
            block.end()
            self.server.advance(5)
            self.assertEqual(self.successResultOf(block.outcome), "through")
            self.assertEqual(self.server.store.places, {}, end)

    def test_place_is_kept(self):
        """Who waits keeps its place through lost connections."""
        first, second, third = self.hold(), self.hold(self.another()), self.hold(self.another())
        self.network.fate = lambda method, url: LOSE if method == "GET" else PASS
        self.server.advance(12)
        self.network.fate = lambda *_: PASS
        self.server.advance(12)
        first.end()
        self.server.advance()
        self.assertEqual((second.held.fence, third.held), (2, None))
        self.assertEqual(second.told[-1].rejoined, 0)
        second.end()
        self.server.advance()
        third.end()

    def test_place_is_lost(self):
        """Whose place has lapsed joins again with a fresh ticket, and says so."""
        first, second = self.hold(), self.hold(self.another(poll=5.0))
        self.network.fate = lambda method, url: REFUSE if method == "GET" else PASS
        self.server.advance(30)
        self.assertEqual(self.waiting(), 0)
        self.assertIn("refused", second.told[-1].trouble)
        third = self.hold(self.another(retry_timeout=1000.0))
        self.network.fate = lambda *_: PASS
        self.server.advance(10)
        self.assertEqual((second.told[-1].rejoined, second.told[-1].trouble), (1, ""))
        self.assertEqual(len({told.ticket for told in second.told if told.ticket}), 2)
        self.assertEqual(self.waiting(), 2)
        first.end()
        self.server.advance()
        for block in (second, third) if second.held else (third, second):
            block.end()
            self.server.advance()

    def test_write(self):
        """A write whose answer was lost is repeated."""
        block = self.hold()
        self.network.fate = once(LOSE, "PUT", "A4")
        outcome = self.begin(block.held.write("x"))
        self.server.advance(1)
        self.assertEqual(self.successResultOf(outcome), None)
        self.assertEqual(len(self.network.times("PUT", "A4")), 2)
        block.end()

    def test_create(self):
        """Whether a resource was created cannot be known if the answer is lost, and it is not tried again."""
        self.network.fate = once(LOSE, "POST", "/resource")
        self.assertEqual(self.fails(Unreachable, self.client.create("scanner")).code, "unclear")
        self.assertEqual(len(self.network.times("POST", "/resource")), 1)
        self.network.fate = once(REFUSE, "POST", "/resource")
        outcome = self.begin(self.client.create("copier"))
        self.server.advance(1)
        self.assertEqual(self.successResultOf(outcome).name, "copier")


class ServersTests(ClientTestCase):
    def test_patience(self):
        """Without any answer it goes on until ``retry_timeout`` is over, with pauses that grow and are not all the same."""
        self.network.fate = lambda *_: REFUSE
        outcome = self.begin(self.another(retry_timeout=20.0).get("printer", "A4"))
        self.server.advance(19)
        self.assertNoResult(outcome)
        self.server.advance(2)
        self.assertIn("refused", str(self.fails(Unreachable, outcome)))
        times = [when for when, *_ in self.network.asked]
        pauses = [after - before for before, after in itertools.pairwise(times)]
        self.assertTrue(6 <= len(times) <= 14, times)
        self.assertLess(pauses[0], pauses[3])
        self.assertLess(pauses[1], pauses[4])

    def test_timeout(self):
        """A server that says nothing is not waited for any longer than ``timeout``."""
        self.network.fate = once(SWALLOW, "GET", "lock=0")
        outcome = self.begin(self.another(timeout=3.0).get("printer", "A4"))
        self.server.advance(2.5)
        self.assertEqual(len(self.network.asked), 1)
        self.server.advance(1)
        self.fails(NotFound, outcome)

    def test_standby(self):
        """Of several servers it asks the one that is of use, and goes on with it."""
        self.network.fate = lambda method, url: REFUSE if url.startswith("http://one") else PASS
        client = Client(["http://one", "http://two/"], self.server.write_key)
        client.using(reactor=self.clock, treq=self.network, seconds=self.clock.seconds)
        self.fails(NotFound, client.get("printer", "A4"))
        self.assertEqual([said["host"] for *_, said in self.network.asked], ["one", "two"])
        self.fails(NotFound, client.get("printer", "A4"))
        self.assertEqual([said["host"] for *_, said in self.network.asked][2:], ["two"])
        block = self.hold(client)
        self.network.fate = lambda method, url: REFUSE if url.startswith("http://two") else PASS
        self.server.advance(60)
        self.assertEqual(block.held.reason, None)
        block.end()

    def nodes(self) -> Client:
        """Return a client of a cluster's proxy, which says that the node ``owner`` answers for the printer."""
        self.owner = "http://owner"
        sent = self.network.request
        [node] = Alone().nodes()
        nodes = [node._replace(url=url) for url in ("http://owner", "http://next", "http://127.0.0.1:9502")]
        self.patch(Alone, "nodes", lambda _: nodes)

        def request(method: str, url: str, **rest: Any) -> Deferred[Any]:
            answer = sent(method, url, **rest)
            return answer.addCallback(self.named)

        client = Client("http://proxy", self.server.write_key)
        return client.using(reactor=self.clock, treq=SimpleNamespace(request=request), seconds=self.clock.seconds)

    def named(self, response: Any) -> Any:
        response.headers.setRawHeaders("x-resourced-node", [self.owner])
        return response

    def hosts(self, method: str = "GET") -> list[str]:
        """Return which hosts were asked since this was last asked."""
        hosts = [said["host"] for _, how, path, said in self.network.asked if path != "/cluster" and how == method]
        self.network.asked.clear()
        return hosts

    def test_owner_is_asked(self):
        """Once a node of a cluster has answered for a resource, and can be reached from here, it is asked directly; and so is the next one."""
        client = self.nodes()
        for _ in range(3):
            self.fails(NotFound, client.get("printer", "A4"))
        self.assertEqual(self.hosts(), ["proxy", "owner", "owner"])
        self.fails(NotFound, client.get("plotter", "A4"))
        self.assertEqual(self.hosts(), ["proxy"])
        self.owner = "http://next"
        for _ in range(3):
            self.fails(NotFound, client.get("printer", "A4"))
        self.assertEqual(self.hosts(), ["owner", "next", "next"])
        self.owner = ""
        for _ in range(2):
            self.fails(NotFound, client.get("printer", "A4"))
        self.assertEqual(self.hosts(), ["next", "proxy"])

    def test_owner_out_of_reach(self):
        """A node that cannot be reached from here is asked for nothing, and nobody waits for it."""
        self.network.fate = lambda method, url: SWALLOW if url.startswith("http://owner") else PASS
        client = self.nodes()
        for _ in range(3):
            self.fails(NotFound, client.get("printer", "A4"))
        self.server.advance(5)
        self.fails(NotFound, client.get("printer", "A4"))
        self.assertEqual(self.hosts(), ["proxy"] * 4)
        self.network.fate = lambda *_: PASS
        self.server.advance(60)
        for _ in range(2):
            self.fails(NotFound, client.get("printer", "A4"))
        self.assertEqual(self.hosts(), ["proxy", "owner"])
        self.now(client.close())

    def test_owner_dies(self):
        """If the node that was asked directly does not answer, the servers are asked that the client was given; a lock is kept."""
        client = self.nodes()
        self.fails(NotFound, client.get("printer", "A4"))
        block = self.hold(client)
        self.hosts("POST")
        self.network.fate = lambda method, url: REFUSE if url.startswith("http://owner") else PASS
        self.server.advance(60)
        self.assertEqual(block.held.reason, None)
        self.assertEqual(set(self.hosts("POST")), {"owner", "proxy"})
        block.end()

    def test_owner_moves(self):
        """A node that says that it does not decide any more is asked no more."""
        client = self.nodes()
        self.fails(NotFound, client.get("printer", "A4"))
        with mock.patch.object(self.server.store, "read", side_effect=NotOwner("Another node decides about this.")):
            # Of the other selector the server knows that nothing is kept there.
            outcome = self.begin(client.get("printer", "A5"))
            self.assertEqual(self.hosts(), ["proxy", "owner", "proxy"])
        self.server.advance(10)
        self.fails(NotFound, outcome)

    def test_owner_is_another(self):
        """What is at the URL of a node here, but is not that node, is asked for nothing; nor is this machine in the place of another one."""
        client = self.nodes()
        for self.owner in ("http://stranger", "http://127.0.0.1:9502"):
            for _ in range(2):
                self.fails(NotFound, client.get("printer", "A4"))
            self.assertEqual(self.hosts(), ["proxy", "proxy"])

    def test_owner_in_the_clear(self):
        """A client of an encrypted server sends nothing to a node in the clear, whoever says so."""
        client = self.nodes()
        client = Client("https://proxy", self.server.write_key).using(
            reactor=self.clock, treq=client._means.treq, seconds=self.clock.seconds
        )
        for _ in range(2):
            self.fails(NotFound, client.get("printer", "A4"))
        self.assertEqual(self.hosts(), ["proxy", "proxy"])

    def test_no_url(self):
        """What is no URL of a server is a mistake of the program."""
        urls: tuple[Any, ...] = (
            *("", "localhost:9501", "ftp://x", "http://", "http://x?y", "http://me@x", "http://x:y", []),
            *(
                "http://::1:9501",
                "http://[::1",
                "http://[::g]",
                "http://[1.2.3.4]",
                "http://[]:9501",
                "http://[::1%25]",
                "http://[::1]x",
                "http://:secret@x",
            ),
        )
        for url in urls:
            with self.assertRaises(ValueError):
                Client(url, "key")

    def test_url(self):
        """Names in other letters, addresses with a scope, a path and a slash at the end are all understood."""
        for url, understood in (
            ("http://localhost:9501/", "http://localhost:9501"),
            ("https://drucker.größe.example/sperren/", "https://drucker.xn--gre-6ka8i.example/sperren"),
            ("http://[::0001]:9501", "http://[::1]:9501"),
            ("http://[::1]/", "http://[::1]"),
            ("https://[fe80::1%eth0]:1/x", "https://[fe80::1%25eth0]:1/x"),
            ("https://[fe80::1%25Eth0]:1/", "https://[fe80::1%25Eth0]:1"),
        ):
            self.assertEqual(base(url), understood)

    def test_key(self):
        """The key and the owner go where they belong."""
        block = self.hold(self.another(owner="Größe"), owner=None)
        *_, said = self.network.asked[0]
        self.assertEqual((said["x-api-key"], said["x-owner"]), (self.server.write_key, "Größe"))
        block.end()


class ErrorTests(ClientTestCase):
    def test_names(self):
        """Each refusal has its name, with the server's word for it."""
        read, lock = self.another(self.server.read_key), self.another(self.server.lock_key)
        for kind, code, work in (
            (Refused, "unauthorized", lambda: self.another("nonsense").get("printer", "A4")),
            (Refused, "unauthorized", lambda: lock.create("x")),
            (Refused, "unauthorized", lambda: read.lock("printer", "A4").acquire()),
            (NotFound, "unknown_resource", lambda: self.client.get("scanner", "A4")),
            (NotFound, "no_data", lambda: self.client.get("printer", "A4")),
            (NotFound, "unknown_resource", lambda: self.client.lock("scanner", "A4").acquire()),
            (NotFound, "unknown_resource", lambda: self.client.unlock("scanner", "A4", "0" * 32)),
            (Conflict, "resource_exists", lambda: self.client.create("printer")),
            (Rejected, "bad_timeout", lambda: self.client.create("x", -1)),
            (Rejected, "bad_name", lambda: self.client.create("")),
            (Rejected, "bad_name", lambda: self.client.create("\ud800")),
        ):
            error = self.fails(kind, work())
            self.assertEqual(error.code, code)
            self.assertTrue(error.sentence)
        self.assertEqual(self.server.store.places, {})

    def test_bad_names(self):
        """A name that cannot be one is refused before anything is sent."""
        for name in ("", ".", "..", "a\n", "x" * 256, "\ud800"):
            self.fails(Rejected, self.client.get("printer", name))
            self.fails(Rejected, self.client.get(name, "A4"))
        self.assertEqual(self.network.asked, [])

    def test_all_names(self):
        """Every other name goes there and back as it is."""
        for name in ("a/b", "%2F", "ä ö", "?x=1&y#z", "日本", "+", "...", "lock"):

            async def work(name: str = name) -> None:
                await self.client.create(name)
                async with self.client.lock(name, name) as held:
                    await held.write(name)

            self.now(work())
            self.assertEqual(self.now(self.client.get(name, name)).data, name)


class StewardTests(ClientTestCase):
    """What is not about one's own lock."""

    def all(self, items: Any) -> list[Any]:
        async def gather() -> list[Any]:
            return [item async for item in items]

        found: list[Any] = self.now(gather())
        return found

    def test_resources(self):
        """Resources are gone through page by page, in order, by prefix and from a name on."""
        for name in ("p3", "p1", "q", "p2"):
            self.now(self.client.create(name, 7))
        block = self.hold()
        self.network.asked.clear()
        names = [resource.name for resource in self.all(self.client.resources("p", page=2))]
        self.assertEqual(names, ["p1", "p2", "p3", "printer"])
        self.assertEqual(len(self.network.asked), 2)
        self.assertEqual([resource.name for resource in self.all(self.client.resources(after="p3"))], ["printer", "q"])
        printer = self.now(self.client.resource("printer"))
        self.assertEqual((printer.name, printer.timeout, printer.held, printer.waiting), ("printer", 0, 1, 0))
        self.fails(Rejected, following(self.client.resources(page=0)))
        self.fails(NotFound, self.client.resource("scanner"))
        block.end()

    def test_selectors(self):
        """So are the selectors of a resource."""

        async def write(selector: str) -> None:
            async with self.client.lock("printer", selector) as held:
                await held.write(selector)

        for selector in ("a/3", "a/1", "b", "a/2"):
            self.now(write(selector))
        block, other = self.hold(), self.hold(self.another())
        found = self.all(self.client.selectors("printer", page=2))
        self.assertEqual([selector.selector for selector in found], ["A4", "a/1", "a/2", "a/3", "b"])
        self.assertEqual((found[0].data, found[0].held, found[0].waiting), (False, True, 1))
        self.assertEqual((found[1].data, found[1].held, found[1].waiting), (True, False, 0))
        self.assertEqual(len(self.all(self.client.selectors("printer", "a/", after="a/1"))), 2)
        block.end()
        self.server.advance()
        other.end()

    def test_change_and_remove(self):
        """A resource can be changed, and removed while nobody uses it."""
        self.assertEqual(self.now(self.client.change("printer", 12)).timeout, 12)
        block = self.hold()
        self.now(block.held.write(1))
        self.assertEqual(block.held.lease, 12)
        self.assertEqual(self.fails(Conflict, self.client.remove("printer")).code, "in_use")
        block.end()
        self.server.advance()
        self.now(self.client.remove("printer"))
        self.fails(NotFound, self.client.remove("printer"))
        self.fails(NotFound, self.client.change("printer", 1))

    def test_remove_whose_answer_is_lost(self):
        """What was removed by a try whose answer was lost is removed."""
        self.network.fate = once(LOSE, "DELETE", "printer")
        outcome = self.begin(self.client.remove("printer"))
        self.server.advance(1)
        self.successResultOf(outcome)

    def test_state(self):
        """Everybody who may read sees who holds a lock and who waits for it."""
        self.assertEqual(self.now(self.client.state("printer", "A4")).holder, None)
        blocks = [self.hold(self.another(owner=f"client {number}")) for number in range(4)]
        self.server.advance(5)
        state = self.now(self.client.state("printer", "A4", limit=2))
        self.assertEqual((state.locked, state.waiting, state.next), (True, 3, 2))
        self.assertEqual((state.holder.owner, state.holder.fence, state.holder.held), ("client 0", 1, 5))
        self.assertEqual(
            [(w.position, w.owner, w.waited) for w in state.queue], [(1, "client 1", 5), (2, "client 2", 5)]
        )
        rest = self.now(self.client.state("printer", "A4", after=2))
        self.assertEqual(([w.owner for w in rest.queue], rest.next), (["client 3"], None))
        for block in blocks:
            block.end()
            self.server.advance()

    def test_all_locks(self):
        """One sees who holds what and who waits for what, page by page, the longest first; of all resources or of one, and of one owner."""
        self.now(self.client.create("scanner"))
        blocks = [self.hold(self.another(owner=f"client {number}")) for number in range(3)]
        self.server.advance(5)
        [held] = self.all(self.client.held_locks())
        self.assertEqual((held.resource, held.selector, held.waiting), ("printer", "A4", 2))
        self.assertEqual((held.holder.owner, held.holder.held), ("client 0", 5))
        tickets = self.all(self.client.waiting_tickets(page=1))
        self.assertEqual([(each.owner, each.waited) for each in tickets], [("client 1", 5), ("client 2", 5)])
        self.assertEqual((tickets[0].resource, tickets[0].selector, tickets[0].want), ("printer", "A4", ()))
        self.assertEqual((tickets[0].holder, tickets[0].waiting), (held.holder, 2))
        self.assertEqual([each.owner for each in self.all(self.client.waiting_tickets(owner="client 2"))], ["client 2"])
        self.assertEqual(self.all(self.client.held_locks("scanner")), [])
        self.assertEqual(len(self.all(self.client.held_locks("printer", "client 0"))), 1)
        [selector] = self.all(self.client.selectors("printer"))
        self.assertEqual(selector.holder, held.holder)
        for block in blocks:
            block.end()
            self.server.advance()

    def test_break(self):
        """A lock that is broken is lost to its holder, who learns of it, and falls to the next in the queue."""
        first, second = self.hold(), self.hold(self.another())
        self.now(first.held.write(1))
        self.assertEqual(self.fails(Conflict, self.client.break_lock("printer", "A4", 7)).code, "fence_mismatch")
        self.now(self.client.break_lock("printer", "A4", 1, "it hangs"))
        self.assertEqual(second.held.fence, 2)
        (broken,) = [event for event in self.all(self.client.events("printer", "A4")) if event.event == "break"]
        self.assertEqual((broken.key, broken.by, broken.reason), ("default", "default", "it hangs"))
        self.server.advance(11)
        self.assertEqual(self.fails(LockLost, first.outcome).code, "ticket_ended")
        second.end()

    def test_delete(self):
        """The holder can delete the data, with the lock or without giving it up."""

        async def work() -> tuple[object, ...]:
            async with self.client.lock("printer", "A4") as held:
                await held.write(1)
                await held.delete()
                await held.delete()
                nothing = held.text, held.data
                await held.write(2)
                await held.delete(unlock=True)
                return nothing, self.holder()

        self.assertEqual(self.now(work()), ((None, None), []))
        self.fails(NotFound, self.client.get("printer", "A4"))

    def test_etag(self):
        """A document's tag changes with it."""
        tags = []
        for value in (1, 2):

            async def write(value: int = value) -> None:
                async with self.client.lock("printer", "A4") as held:
                    await held.write(value)

            self.now(write())
            tags.append(self.now(self.client.get("printer", "A4")).etag)
        self.assertEqual(len(set(tags)), 2)
        self.assertTrue(all(tag.startswith('"') for tag in tags))


class HistoryTests(ClientTestCase):
    """What has happened, looked up and followed."""

    def happen(self, *values: object) -> None:
        """Have each value written under a lock of its own."""

        async def work(value: object) -> None:
            async with self.client.lock("printer", "A4", owner="me") as held:
                await held.write(value)

        for value in values:
            self.now(work(value))
        # What happens is told in a moment.
        self.server.advance(1)

    def follow(self, **options: Any) -> tuple[list[Any], Deferred[Any]]:
        seen: list[Any] = []

        async def work() -> None:
            async with self.client.watch(**options) as events:
                async for event in events:
                    seen.append(event)  # noqa: PERF401 - it is looked at while this goes on

        return seen, self.begin(work())

    def stop(self, outcome: Deferred[Any]) -> None:
        outcome.cancel()
        self.server.advance()
        self.fails(CancelledError, outcome)

    def test_looked_up(self):
        """The history of a lock, from the newest event back, page by page."""
        self.happen(1, 2)

        async def gather(**options: Any) -> list[Any]:
            return [event async for event in self.client.events("printer", "A4", **options)]

        events = self.now(gather(page=2))
        self.assertEqual([event.event for event in events], ["release", "write", "grant"] * 2)
        self.assertEqual([event.fence for event in events], [2, 2, 2, 1, 1, 1])
        self.assertEqual({event.owner for event in events}, {"me"})
        self.assertEqual(self.now(gather(before=events[3].id)), events[4:])

    def test_followed(self):
        """Events are seen as they happen, from the beginning of the block on."""
        self.happen(1)
        seen, outcome = self.follow()
        self.server.advance(3)
        self.assertEqual(seen, [])
        self.happen(2)
        self.assertEqual([(event.event, event.fence) for event in seen], [("grant", 2), ("write", 2), ("release", 2)])
        self.stop(outcome)

    def test_prefix(self):
        """Only what happens to some resources can be followed."""
        seen, outcome = self.follow(prefix="scan")
        self.happen(1)
        self.now(self.client.create("scanner"))
        self.now(self.client.lock("scanner", "A4").acquire())
        self.server.advance(1)
        self.assertEqual([event.resource for event in seen], ["scanner"])
        self.stop(outcome)

    def test_from_an_event_on(self):
        """What has happened since an event is told first."""
        self.happen(1, 2)
        first = min(self.server.store.events_kept)
        seen, outcome = self.follow(after=first)
        self.server.advance(1)
        self.assertEqual([event.id for event in seen], sorted(self.server.store.events_kept)[1:])
        self.stop(outcome)

    def test_through_lost_connections(self):
        """A stream that ends, or falls silent, is begun anew where it was; not an event is missing, and none is told twice."""
        seen, outcome = self.follow()
        for number in range(1, 9):
            # What happens now happens before the client is back.
            self.happen(number)
            if number % 3 == 2:
                self.network.fate = once(REFUSE, "GET", "/events")
            if number % 3:
                self.server.restart()
        self.server.advance(5)
        self.assertEqual([event.id for event in seen], sorted(self.server.store.events_kept))
        self.assertEqual(len(seen), 24)
        self.stop(outcome)

    def test_silence(self):
        """A stream without a sign of life is given up and begun anew."""
        seen, outcome = self.follow()
        streams = len(self.network.times("GET", "/events"))
        self.server.advance(100)
        self.assertEqual(len(self.network.times("GET", "/events")), streams)
        self.clock.advance(46)
        self.server.advance(2)
        self.assertEqual(len(self.network.times("GET", "/events")), streams + 1)
        self.happen(1)
        self.assertEqual(len(seen), 3)
        self.stop(outcome)

    def test_gap(self):
        """Where events are missing, that is said."""
        self.happen(1, 2)
        seen, outcome = self.follow(after=max(self.server.store.events_kept) + 1000)
        self.happen(3)
        self.assertIsInstance(seen[0], Gap)
        self.assertTrue(seen[0].reason)
        self.assertEqual([event.event for event in seen[1:]], ["grant", "write", "release"])
        self.stop(outcome)

    def test_nobody_there(self):
        """Without a server it ends when ``retry_timeout`` is over."""
        self.client = self.another(retry_timeout=8.0)
        _, outcome = self.follow()
        self.network.fate = lambda *_: REFUSE
        self.server.restart()
        self.server.advance(7)
        self.assertNoResult(outcome)
        self.server.advance(4)
        self.fails(Unreachable, outcome)

    def test_refused(self):
        """A key that may not look is refused at once."""
        self.client = self.another("nonsense")
        self.fails(Refused, self.follow()[1])

    def test_write_and_release_whose_answer_is_lost(self):
        """Whether a write that released the lock was done can be told from the history, so the block need not fear."""
        block = self.hold()
        self.network.fate = once(LOSE, "PUT", "unlock=1")
        outcome = self.begin(block.held.write("x", unlock=True))
        other = self.hold(self.another())
        self.server.advance(1)
        self.assertEqual(self.successResultOf(outcome), None)
        self.assertEqual(other.held.data, "x")
        other.end()

    def test_write_and_release_that_came_too_late(self):
        """And if the lock was lost instead, that is told too."""
        block = self.hold()
        self.now(block.held.write(1))
        self.now(self.client.break_lock("printer", "A4", 1))
        self.network.fate = once(LOSE, "PUT", "unlock=1")
        outcome = self.begin(block.held.write("x", unlock=True))
        self.server.advance(1)
        self.assertEqual(self.fails(LockLost, outcome).code, "ticket_ended")
        self.fails(LockLost, block.outcome)
        self.assertEqual(self.now(self.client.get("printer", "A4")).data, 1)


class Answering:
    """Stands for a server that says whatever it likes."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes]] = []

    def __call__(self, method: bytes, *rest: Any) -> tuple[int, dict[bytes, bytes], bytes]:
        status, headers, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return status, {name.encode(): value.encode() for name, value in headers.items()}, body


class StrangeServerTests(SynchronousTestCase):
    """What a proxy, another server, or a newer one may answer."""

    def setUp(self):
        from treq.testing import StringStubbingResource, StubTreq

        self.clock = Clock()
        self.answering = Answering()
        self.treq = StubTreq(StringStubbingResource(self.answering))
        self.client = self.make("http://x")

    def make(self, *urls: str) -> Client:
        client = Client(urls, "key", retry_timeout=10.0)
        return client.using(reactor=self.clock, treq=self.treq, seconds=self.clock.seconds)

    def begin(self, *answers: tuple[int, dict[str, str], object]) -> Deferred[Any]:
        self.answering.answers = [
            (status, headers, body if isinstance(body, bytes) else json.dumps(body).encode())
            for status, headers, body in answers
        ]
        return Deferred.fromCoroutine(self.client.get("printer", "A4"))

    def test_not_resourced(self):
        """What is no answer of ``resourced`` is told as such, at once, because it would be the same the next time."""
        page = {"content-type": "text/html; charset=utf-8"}
        answers: tuple[Any, ...] = (
            (Unreachable, (200, page, b"<html>")),
            (Unreachable, (200, {}, b"[]")),
            (Unreachable, (200, {}, b"")),
            (Unreachable, (200, {}, {})),
            (Unreachable, (200, {}, b"[" * 100_000)),
            (Unreachable, (301, {"location": "http://y"}, b"")),
            (Rejected, (404, page, b"<html>")),
            (Rejected, (404, {}, {"detail": "Not Found"})),
            (Rejected, (413, page, b"<html>")),
            (Refused, (403, {}, b"")),
        )
        for kind, answer in answers:
            told = self.failureResultOf(self.begin(answer), kind).value
            self.assertEqual(told.code, "bad_answer")
            if told.sentence != "The server's answer is no document.":
                self.assertIn(f"answered {answer[0]}", told.sentence)
                self.assertIn("proxy", told.sentence)
                self.assertIn(answer[1].get("location", "text/html" if answer[1] is page else ""), told.sentence)

    def test_may_be_right_later(self):
        """A proxy whose server is away, or that has too much to do, is asked again."""
        for status in (502, 503, 504, 429, 408):
            outcome = self.begin((status, {}, b"<html>"), (200, {}, {"data": "1"}))
            for _ in range(20):
                self.clock.advance(0.2)
            self.assertEqual(self.successResultOf(outcome).text, "1")
        outcome = self.begin((502, {}, b"Bad Gateway"))
        for _ in range(100):
            self.clock.advance(0.2)
        self.failureResultOf(outcome, Unreachable)

    def test_another_server_may_be_right(self):
        """If one of several servers answers so the next one is asked, and it is told when none is any better."""
        self.client = self.make("http://x", "http://y")
        page: Any = (404, {}, b"<html>")
        found: Any = (200, {}, {"data": "1"})
        self.assertEqual(self.successResultOf(self.begin(page, found)).text, "1")
        self.failureResultOf(self.begin(page, page), Rejected)

    def test_data_that_python_does_not_take(self):
        """Data may have numbers that are too long for Python, or be nested too deeply; the text is there all the same."""
        for text in ("[" + "9" * 5000 + "]", "[" * 100_000 + "]" * 100_000):
            document = self.successResultOf(self.begin((200, {}, {"data": text})))
            self.assertEqual(document.text, text)
            with self.assertRaises(Rejected) as caught:
                document.data  # noqa: B018 - it decodes
            self.assertEqual(caught.exception.code, "bad_data")

    def test_retry_after(self):
        """A server that asks for a pause gets it."""
        error = {"error": "Later.", "code": "overloaded"}
        outcome = self.begin((503, {"retry-after": "4"}, error), (200, {}, {"data": "1", "id": ""}))
        for _ in range(19):
            self.clock.advance(0.2)
        self.assertNoResult(outcome)
        for _ in range(6):
            self.clock.advance(0.2)
        self.assertEqual(self.successResultOf(outcome).text, "1")

    def test_retry_after_that_makes_no_sense(self):
        """A pause that is no number, or longer than ``retry_timeout``, changes nothing."""
        for pause in ("soon", "-1", "999999999999", "9" * 400):
            outcome = self.begin((503, {"retry-after": pause}, {}), (200, {}, {"data": "1"}))
            for _ in range(55):
                self.clock.advance(0.2)
            self.assertEqual(self.successResultOf(outcome).text, "1")

    def test_fields_of_a_later_version(self):
        """A later server may say more."""
        outcome = self.begin((200, {"etag": '"1"'}, {"data": "1", "id": "", "color": "red"}))
        document = self.successResultOf(outcome)
        self.assertEqual((document.text, document.etag), ("1", '"1"'))
