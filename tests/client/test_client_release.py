"""
That a client leaves no lock behind: by a ``Clock``, against the real server in memory, in Twisted's coroutines and in asyncio's tasks.

``tests/client/test_client_promise.py`` does the same to all faces in an order that nobody thought of.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import patch

import pytest
from twisted.internet.defer import CancelledError, Deferred

from resourced.client import Client, LockLost, aio
from tests.client.cases import SWALLOW, ClientTestCase, once

pytestmark = pytest.mark.trial


class PlacesTests(ClientTestCase):
    def places(self) -> int:
        """How many tickets hold or wait, by the server."""
        return len(self.server.store.places)


class ReleaseTests(PlacesTests):
    """In Twisted's coroutines, and what holds for all."""

    def test_cancelled_as_the_block_ends(self):
        """A cancellation that comes when the release is under way already comes out when that is done."""
        block = self.hold()
        self.network.fate = once(3.0, "POST", "/unlock")
        block.end()
        block.outcome.cancel()
        self.server.advance(1)
        self.assertNoResult(block.outcome)
        self.server.advance(3)
        self.fails(CancelledError, block.outcome)
        self.assertEqual(self.places(), 0)

    def test_cancelled_again_and_again(self):
        """However often it is cancelled, a release that has begun is finished, and so is giving up a place."""
        first, second = self.hold(), self.hold(self.another())
        self.network.fate = lambda *_: 2.0
        for block, end in ((second, second.outcome.cancel), (first, first.end)):
            end()
            for _ in range(3):
                self.server.advance(0.5)
                block.outcome.cancel()
            self.server.advance(5)
            self.fails(CancelledError, block.outcome)
        self.assertEqual(self.places(), 0)

    def test_cancelled_while_nobody_answers(self):
        """A release that is cancelled while no server answers is not tried for as long as one that is not."""
        blocks = [self.hold(self.another(timeout=3.0)), self.hold(self.another(timeout=3.0), owner="x")]
        for block, cancelled in zip(blocks, (True, False), strict=True):
            self.network.fate = lambda *_: SWALLOW
            block.end()
            self.server.advance(1)
            if cancelled:
                block.outcome.cancel()
            self.server.advance(4)
            (self.assertTrue if cancelled else self.assertFalse)(block.outcome.called)
            self.network.fate = lambda *_: "pass"
            self.server.advance(40)
            block.outcome.addErrback(lambda failure: failure.trap(CancelledError))

    def test_cancelled_write_that_releases(self):
        """A write that lets go of the lock is done to its end too, so that the block knows whether it still has the lock."""
        block = self.hold()
        self.network.fate = once(3.0, "PUT", "unlock=1")
        outcome = self.begin(block.held.write(1, unlock=True))
        outcome.cancel()
        self.server.advance(4)
        self.fails(CancelledError, outcome)
        block.end()
        self.server.advance()
        self.assertEqual(self.successResultOf(block.outcome), "through")
        self.assertEqual((self.places(), self.now(self.client.get("printer", "A4")).data), (0, 1))

    def test_thrown_away_while_it_waits(self):
        """A coroutine that is closed while it waits for a lock gives up its place, with or without a ticket."""
        first = self.hold()
        for fate in ("pass", 5.0):
            self.network.fate = once(fate, "GET", "A4")
            coroutine = self._hold_for_ever()
            # When the answer comes there is nobody for it, which Twisted says.
            self.begin(coroutine).addErrback(lambda _: None)
            self.assertEqual(self.places(), 2)
            coroutine.close()
            self.server.advance(1)
            self.assertEqual(self.places(), 1)
            self.server.advance(6)
        first.end()
        self.server.advance(60)
        self.assertEqual(self.places(), 0)

    async def _hold_for_ever(self) -> None:
        async with self.client.lock("printer", "A4"):
            await Deferred()

    def test_generator(self):
        """An asynchronous generator that is closed within the block releases the lock before the client asks for anything there."""

        async def rows() -> AsyncIterator[int]:
            async with self.client.lock("printer", "A4") as held:
                yield held.fence

        async def work() -> tuple[object, bool]:
            self.network.fate = lambda method, url: 1.0 if url.endswith("/unlock") else "pass"
            generator = rows()
            async for _ in generator:
                break
            await generator.aclose()  # type: ignore[attr-defined]
            seen = (await self.client.state("printer", "A4")).holder
            generator = rows()
            await anext(generator)
            await generator.aclose()  # type: ignore[attr-defined]
            async with self.client.lock("printer", "A4", wait=0) as held:
                return seen, held.left > 0

        outcome = self.begin(work())
        self.server.advance(5)
        self.assertEqual(self.successResultOf(outcome), (None, True))
        self.assertEqual(self.places(), 0)

    def test_close_waits_for_what_is_thrown_away(self):
        """A client that is closed waits for the release of what was thrown away."""
        coroutine = self._hold_for_ever()
        self.begin(coroutine)
        self.network.fate = lambda *_: 2.0
        coroutine.close()
        outcome = self.begin(self.client.close())
        self.server.advance(1)
        self.assertNoResult(outcome)
        self.server.advance(2)
        self.successResultOf(outcome)
        self.assertEqual(self.places(), 0)

    def test_lock_that_nobody_has(self):
        """A lock without a block is renewed for as long as somebody has it, and ends with its lease then."""
        held = self.now(self.client.lock("printer", "A4").acquire())
        self.server.advance(100)
        self.assertGreater(held.left, 0)
        del held
        gc.collect()
        self.server.advance(31)
        self.assertEqual(self.places(), 0)

    def test_block_that_is_gone(self):
        """The lock of a block that is over without a word is released, though somebody may have its ``Held`` still."""
        lock = self.client.lock("printer", "A4")
        held = self.now(lock.enter())
        self.server.advance(100)
        self.assertGreater(held.left, 0)
        del lock
        gc.collect()
        self.server.advance(11)
        self.assertEqual(self.places(), 0)
        self.assertRaises(LockLost, held.check)

    def test_same_lock_again(self):
        """A block within a block, by its ticket, has the same lock, and leaves it to the outer one; with another client too."""
        outer = self.hold()
        for client in (self.client, self.another()):
            inner = self.hold(client, ticket=outer.held.ticket)
            self.assertEqual(inner.held.fence, 1)
            self.now(inner.held.write("inner"))
            inner.end()
            self.server.advance()
            self.assertEqual((self.successResultOf(inner.outcome), self.holder()), ("through", [1]))
            inner = self.hold(client, ticket=outer.held.ticket)
            inner.outcome.cancel()
            self.server.advance()
            self.fails(CancelledError, inner.outcome)
        self.server.advance(100)
        self.now(outer.held.write("outer"))
        outer.end()
        self.server.advance()
        self.assertEqual((self.successResultOf(outer.outcome), self.places()), ("through", 0))

    def test_same_lock_again_but_lost(self):
        """The loss of such a lock is told to both blocks."""
        outer = self.hold()
        inner = self.hold(ticket=outer.held.ticket)
        self.now(outer.held.write(1))
        self.now(self.client.break_lock("printer", "A4", 1))
        self.server.advance(11)
        for block in (inner, outer):
            self.fails(LockLost, block.outcome)

    def test_ticket_from_elsewhere(self):
        """A lock that no block of this process holds is taken over with its ticket, and released by the block that did so."""
        self.now(self.client.lock("printer", "A4").acquire())
        ticket = next(iter(self.server.store.places.values())).ticket
        gc.collect()
        block = self.hold(ticket=ticket)
        block.end()
        self.server.advance()
        self.assertEqual(self.places(), 0)

    def test_forked(self):
        """In a process that was forked within the block the lock counts as lost, and nothing is sent for it."""
        block = self.hold()
        self.now(block.held.write(1))
        waiter = block.held.lost()
        self.network.asked.clear()
        with patch("os.getpid", return_value=os.getpid() + 1):
            self.assertEqual((block.held.left, block.held.reason.code), (0, "forked"))
            for use in (block.held.write(1), block.held.delete(), block.held.unlock(), block.held.release()):
                self.assertEqual(self.fails(LockLost, use).code, "forked")
            self.assertRaises(LockLost, block.held.check)
            self.server.advance(60)
            self.assertEqual(self.successResultOf(waiter).code, "forked")
            self.assertEqual(self.fails(LockLost, block.outcome).code, "forked")
        self.assertEqual(self.network.asked, [])

    def test_left_by_a_fork(self):
        """What ends the block in a process that was forked goes on from there; the lock is not that process's to release."""
        block = self.hold()
        self.network.asked.clear()
        with patch("os.getpid", return_value=os.getpid() + 1):
            block.end(ZeroDivisionError())
            self.fails(ZeroDivisionError, block.outcome)
        self.assertEqual((self.network.asked, self.holder()), ([], [1]))


class AsyncioTests(PlacesTests):
    """In asyncio's tasks, whose loop runs only when a test says so."""

    def setUp(self):
        super().setUp()
        self.loop = asyncio.new_event_loop()
        self.addCleanup(self.loop.close)

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def go(self, seconds: float = 0.0) -> None:
        """Let time pass, and the loop run until nothing happens any more."""
        self.turn(10)
        while seconds > 0:
            self.server.advance(min(seconds, 0.25))
            seconds -= 0.25
            self.turn(10)

    def task(self, work: Any) -> asyncio.Task[Any]:
        task = self.loop.create_task(work)
        self.turn()
        return task

    async def _enter(self, client: Client | None = None, **options: Any) -> str:
        async with aio.locked((client or self.client).lock("printer", "A4", **options)):
            await asyncio.sleep(3600)
        return "through"

    def test_cancelled_when_the_lock_has_come(self):
        """A task that is cancelled after the lock has come and before it runs again does not keep it."""
        for waits in (False, True):
            first = self.hold(self.another()) if waits else None
            self.network.fate = lambda method, url: 1.0 if url.endswith(("A4", "/lock")) else "pass"
            task = self.task(self._enter())
            self.go(2 if waits else 0)
            if first is not None:
                first.end()
            # All answers are there, and the task has not run since.
            self.server.advance(3)
            self.assertEqual(len(self.holder()), 1)
            task.cancel()
            self.go(1)
            self.assertTrue(task.cancelled())
            self.assertEqual(self.places(), 0)

    def test_acquire_cancelled_when_the_lock_has_come(self):
        """Nor does one that would have the lock without a block."""
        self.network.fate = lambda method, url: 1.0
        task = self.task(aio.wait(self.client.lock("printer", "A4").acquire()))
        self.server.advance(3)
        self.assertEqual(len(self.holder()), 1)
        task.cancel()
        self.go(3)
        self.assertTrue(task.cancelled())
        self.assertEqual(self.places(), 0)

    def test_cancelled_one_turn_into_the_release(self):
        """A task that is cancelled while it releases the lock ends when that is done."""

        async def work() -> None:
            async with aio.locked(self.client.lock("printer", "A4")):
                pass

        for _ in range(2):
            task = self.loop.create_task(work())
            self.network.fate = lambda method, url: 2.0 if url.endswith("/unlock") else "pass"
            self.turn(3)
            task.cancel()
            self.turn(3)
            self.assertFalse(task.done())
            self.go(3)
            self.assertTrue(task.cancelled())
            self.assertEqual(self.places(), 0)

    def test_nothing_is_left_of_a_loss(self):
        """A task that found out by itself that its lock was lost, and caught that, is not cancelled later."""
        ahead = [0.0]
        client = self.another(seconds=lambda: self.clock.seconds() + ahead[0])

        async def work(use: Any) -> str:
            try:
                async with aio.locked(client.lock("printer", "A4")) as held:
                    await aio.wait(held.write(1))
                    # As if it had slept for that long, and the loop with it.
                    ahead[0] += 31.0
                    await use(held)
            except LockLost as lost:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                current = asyncio.current_task()
                assert current is not None
                return f"{lost.code} {current.cancelling()}"
            return "never"

        async def group(use: Any) -> str:
            async with asyncio.TaskGroup() as tasks:
                return await tasks.create_task(work(use))

        async def check(held: Any) -> None:
            held.check()

        for use in (check, lambda held: aio.wait(held.write(2))):
            for begin in (work, group):
                task = self.task(begin(use))
                self.go(31)
                self.assertEqual(task.result(), "unconfirmed 0")
                self.assertEqual(self.places(), 0)

    def test_asynchronous_generator(self):
        """A generator that is closed in the block releases the lock before the client asks for anything there."""

        async def rows() -> AsyncIterator[int]:
            async with aio.locked(self.client.lock("printer", "A4")) as held:
                yield held.fence

        async def work() -> object:
            generator = rows()
            async for _ in generator:
                break
            await generator.aclose()  # type: ignore[attr-defined]
            return (await aio.wait(self.client.state("printer", "A4"))).holder

        self.network.fate = lambda method, url: 1.0 if url.endswith("/unlock") else "pass"
        task = self.task(work())
        self.go(3)
        self.assertEqual((task.result(), self.places()), (None, 0))

    def test_task_thrown_away(self):
        """A task that is thrown away, while it waits or in the block, leaves nothing behind, and there is no complaint."""
        for seconds in (0, 0.5, 1.5, 3):
            self.network.fate = lambda method, url: 1.0
            coroutine = self._enter()
            task = self.task(coroutine)
            self.go(seconds)
            coroutine.close()
            self.go(10)
            self.assertEqual(self.places(), 0, seconds)
            task.cancel()
            self.turn(2)

    def test_timeout(self):
        """A deadline that ends as the lock comes leaves nothing behind either."""

        async def work() -> str:
            try:
                async with asyncio.timeout(3600) as deadline:
                    self.deadline = deadline
                    return await self._enter()
            except TimeoutError:
                return "late"

        first = self.hold(self.another())
        task = self.task(work())
        self.go(1)
        self.loop.call_soon(lambda: self.deadline.reschedule(self.loop.time()))
        self.turn()
        # The deadline is over in the next turn, and the answer is there in the same one.
        first.end()
        self.server.advance(1)
        self.go(1)
        self.assertEqual((task.result(), self.places()), ("late", 0))
