"""What people see of locks, and how they interfere: states, breaks, removals, writes under conditions, and whose a ticket is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import pytest
from twisted.internet.defer import CancelledError, Deferred

from resourced.errors import (
    FenceMismatch,
    NotHolder,
    PreconditionFailed,
    ResourceInUse,
    ResourceNotFound,
    StoreUnavailable,
    TicketEnded,
)
from resourced.locks.journal.group_commit import PAUSE
from resourced.locks.state.requests import Grant, Holder, LockCounts, LockRequest, LockState, Waiter, Written
from resourced.model import EventKind, LockKey, Mark, Resource
from tests.faulty import Outcome
from tests.locks.cases import A4, A5, CLAIM, GLASS, LEASE, PLACE, JournalTestCase

pytestmark = pytest.mark.trial

YEAR = 366 * 86400.0


class SteeredTestCase(JournalTestCase):
    """What these tests start from."""

    def now(self, work: Awaitable[Any]) -> Any:
        return self.successResultOf(self.life.heard(Deferred.fromCoroutine(work)))  # type: ignore[arg-type]

    def state(self, key: LockKey = A4, after: int = 0, limit: int = 100) -> LockState:
        state = self.now(self.locks.views.state(key, after, limit))
        assert isinstance(state, LockState)
        return state

    def holder(self, key: LockKey = A4) -> Holder:
        holder = self.state(key).holder
        assert holder is not None
        return holder

    def write(self, ticket: str, data: str = "1", key: LockKey = A4, *, unlock: bool = False) -> Deferred[Written]:
        return self.life.heard(self.locks.write(key, self.resource(key.resource).id, ticket, data, unlock=unlock))

    @property
    def printer_id(self) -> str:
        return self.resource().id

    def resource(self, name: str = "printer") -> Resource:
        return self.disk.resources[name]

    def take(self, fence: int, key: LockKey = A4) -> Deferred[None]:
        return self.life.heard(self.locks.break_lock(key, fence))

    def remove(self, resource: Resource | None = None) -> Deferred[None]:
        return self.life.heard(self.locks.remove(resource or self.resource()))

    def settle(self) -> None:
        """Let all commits get to their end."""
        while self.store.busy:
            self.store.finish()


class StateTests(SteeredTestCase):
    def test_free(self):
        """Of a lock that nobody wants there is nothing to say."""
        self.assertEqual(self.state(), LockState(None, 0, []))

    def test_holder_and_queue(self):
        """Who has it, since when, for how long yet, and who waits; never a ticket."""
        self.lock(owner="a")
        held = self.clock.seconds()
        self.clock.advance(10)
        self.queue(owner="b")
        self.clock.advance(5.5)
        self.queue(owner="c")
        state = self.state()
        holder = Holder("a", "", 1, self.clock.seconds() - held, LEASE - 15.5, claimed=True)
        self.assertEqual(
            state, LockState(holder, 2, [Waiter(1, "b", "", 5.5, PLACE - 5.5), Waiter(2, "c", "", 0, PLACE)])
        )
        self.assertNotRegex(repr(state), "[0-9a-f]{32}")

    def test_renewed(self):
        """To use a ticket gives it more time, and does not make it younger."""
        held = self.lock()
        self.clock.advance(100)
        self.lock(ticket=held.ticket)
        self.assertEqual((self.holder().held, self.holder().left), (100, LEASE))

    def test_unclaimed(self):
        """A lock that fell to somebody who is not there is not claimed, until its client comes."""
        first = self.lock(owner="a")
        next_waiter = self.queue(owner="b")
        self.clock.advance(7)
        self.unlock(first.ticket)
        self.clock.advance(1)
        self.assertEqual(self.holder(), Holder("b", "", 2, 1, CLAIM - 1, claimed=False))
        self.lock(ticket=next_waiter.ticket)
        self.assertEqual(self.holder(), Holder("b", "", 2, 1, LEASE, claimed=True))

    def test_long_poll(self):
        """Who waits with a request open keeps its place: there is never less than nothing left of it."""
        self.lock()
        self.ask(wait=PLACE + 50)
        self.clock.advance(PLACE + 10)
        self.assertEqual(self.state().queue[0].left, 0)

    def test_pages(self):
        """A part of the queue begins after a position and knows its own."""
        self.lock()
        for number in range(1, 8):
            self.queue(owner=f"o{number}")
        for after in range(9):
            for limit in (1, 3, 7, 100):
                state = self.state(after=after, limit=limit)
                positions = list(range(after + 1, 8))[:limit]
                self.assertEqual([waiter.position for waiter in state.queue], positions)
                self.assertEqual([waiter.owner for waiter in state.queue], [f"o{number}" for number in positions])
                self.assertEqual(state.waiting, 7)
        self.assertEqual(self.state(after=2**63).queue, [])


class StandingsTests(SteeredTestCase):
    def test_counts(self):
        """How many are held, and how many tickets wait, in each resource; and at each selector."""
        self.assertEqual(self.now(self.locks.views.counts(["printer", "scanner"])), [LockCounts(0, 0)] * 2)
        held = self.lock()
        self.lock(A5)
        waiting = [self.queue() for _ in range(3)]
        self.lock(GLASS)
        self.assertEqual(
            self.now(self.locks.views.counts(["scanner", "none", "printer"])),
            [LockCounts(1, 0), LockCounts(0, 0), LockCounts(2, 3)],
        )
        selectors = self.now(self.locks.views.selectors("printer", "", "", 9))
        self.assertEqual(
            {name: (state.holder, state.waiting) for name, state in selectors.items()},
            {"A4": (self.state().holder, 3), "A5": (self.state(A5).holder, 0)},
        )
        self.unlock(held.ticket)
        self.unlock(waiting[1].ticket)
        self.assertEqual(self.now(self.locks.views.counts(["printer"])), [LockCounts(2, 1)])
        self.clock.pump([PLACE] * 20)
        self.assertEqual(self.now(self.locks.views.counts(["printer", "scanner"])), [LockCounts(0, 0)] * 2)
        self.assertEqual(self.now(self.locks.views.selectors("printer", "", "", 9)), {})

    def test_pages_of_selectors(self):
        """They come sorted by code points, from anywhere on, with any prefix."""
        names = ["A", "A4", "A4 ", "B", "a4", "\u00c14", "\uffff", "\U0001f600", "\U0010ffff"]
        for name in reversed(names):
            self.lock(LockKey("printer", name))
        self.lock(LockKey("scanner", "A3"))
        for prefix in ("", "A", "A4", "\uffff", "\U0001f600", "none"):
            for after in ("", "A", "A3", "A4", "a", "\U0010ffff"):
                for limit in (1, 2, 100):
                    found = self.now(self.locks.views.selectors("printer", prefix, after, limit))
                    expected = [name for name in names if name.startswith(prefix) and name > after]
                    self.assertEqual(list(found), expected[:limit])


class BreakTests(SteeredTestCase):
    def test_passes_on(self):
        """The lock is the next one's; the ticket of the one that had it has ended there; the event says how long it was held."""
        held, next_waiter = self.lock(), self.queue()
        self.clock.advance(12)
        self.assertIsNone(self.successResultOf(self.take(held.fence)))
        self.assert_ended(held.ticket)
        self.assertGreater(self.lock(ticket=next_waiter.ticket).fence, held.fence)
        if self.durable:
            (broken,) = [event for event in self.disk.events_kept.values() if event.kind is EventKind.BREAK]
            self.assertEqual((broken.key, broken.fence, broken.seconds), (A4, held.fence, 12))
            self.assert_agreement()

    def test_free_then(self):
        """If nobody waits the lock is free."""
        held = self.lock()
        self.successResultOf(self.take(held.fence))
        self.assertEqual(self.state(), LockState(None, 0, []))
        self.assertTrue(self.lock().fresh)

    def test_other_fence(self):
        """Only under the fence that holds it now: not an old one, not one of the future, not none, nor one of another selector."""
        first = self.lock()
        next_waiter = self.queue()
        self.unlock(first.ticket)
        held = self.lock(ticket=next_waiter.ticket)
        other = self.lock(A5)
        for fence in (first.fence, held.fence + 100, 0, other.fence):
            self.failureResultOf(self.take(fence), FenceMismatch)
        self.lock(ticket=held.ticket)
        self.failureResultOf(self.take(1, LockKey("printer", "free")), FenceMismatch)

    def test_twice(self):
        """Who breaks it a second time does not take it from the next one."""
        held, next_waiter = self.lock(), self.queue()
        self.successResultOf(self.take(held.fence))
        self.failureResultOf(self.take(held.fence), FenceMismatch)
        self.lock(ticket=next_waiter.ticket)

    def test_lost_elsewhere_only_there(self):
        """A ticket that has another lock keeps that."""
        held = self.lock()
        self.lock(A5, held.ticket)
        self.successResultOf(self.take(held.fence))
        self.assertIsInstance(self.lock(A5, held.ticket), Grant)
        self.failureResultOf(self.ask(ticket=held.ticket), TicketEnded)

    def test_long_poll_gets_it(self):
        """Who waits with a request open is answered at once."""
        held = self.lock()
        waiting = self.ask(wait=50)
        self.successResultOf(self.take(held.fence))
        self.assertEqual(self.told(waiting).fence, held.fence + 1)

    def test_write_under_way(self):
        """A write that has begun is done before its holder loses the lock, and the next one finds it done."""
        held, next_waiter = self.lock(), self.queue()
        self.store.slow = True
        writing = self.write(held.ticket, "1")
        breaking = self.take(held.fence)
        self.assertNoResult(breaking)
        self.store.finish()
        self.successResultOf(writing)
        self.assertEqual(self.data(), "1")
        self.settle()
        self.successResultOf(breaking)
        self.store.heal()
        self.assert_ended(held.ticket)
        self.lock(ticket=next_waiter.ticket)

    def test_store_lost_during_a_write(self):
        """A break that waits for a write is answered when the write fails."""
        held = self.lock()
        self.store.slow = True
        writing = self.write(held.ticket, "1")
        breaking = self.take(held.fence)
        self.store.finish(Outcome.FAILED)
        self.assert_away(writing)
        if self.durable:
            self.assert_away(breaking)
            self.come_back()
            self.lock(ticket=held.ticket)
        else:
            # The lock lives in memory, but nothing can be decided while the store is away.
            self.assert_away(breaking)

    def test_hang_up(self):
        """Once begun it goes on to its end, whoever goes away."""
        held = self.lock()
        self.store.slow = True
        writing = self.write(held.ticket, "1")
        breaking = self.take(held.fence)
        breaking.cancel()
        self.failureResultOf(breaking, CancelledError)
        self.settle()
        self.successResultOf(writing)
        self.store.heal()
        self.assert_ended(held.ticket)


class RemovalTests(SteeredTestCase):
    def find(self, name: str = "printer") -> Resource:
        found = self.now(self.store.find_resource(name))
        assert isinstance(found, Resource)
        return found

    def test_unused(self):
        """A resource that nobody uses goes with its data."""
        held = self.lock()
        self.write(held.ticket, "1", unlock=True)
        self.unlock(self.lock(GLASS).ticket, GLASS)
        self.successResultOf(self.remove())
        self.failureResultOf(Deferred.fromCoroutine(self.store.find_resource("printer")), ResourceNotFound)
        self.assertIsNone(self.data())
        self.find("scanner")

    def test_in_use(self):
        """While somebody holds or waits for anything of it, it stays."""
        held = self.lock(A5)
        self.failureResultOf(self.remove(), ResourceInUse)
        self.queue(A5)
        self.unlock(held.ticket, A5)
        self.failureResultOf(self.remove(), ResourceInUse)
        self.clock.advance(LEASE)
        self.successResultOf(self.remove())

    def test_others_in_use(self):
        """What others hold of other resources is in nobody's way."""
        self.lock(GLASS)
        self.successResultOf(self.remove())
        self.assertTrue(self.lock(LockKey("scanner", "other")).fresh)

    def test_lock_asked_for_meanwhile(self):
        """Until it is known what became of it nobody locks anything of it; of others, they do."""
        self.store.slow = True
        changes = self.locks.changes
        removing = self.remove()
        self.assert_away(self.ask(), self.ask(A5))
        other = self.ask(GLASS)
        self.failureResultOf(self.remove(), ResourceInUse)
        self.assertEqual(self.locks.changes, changes)
        self.store.finish()
        self.successResultOf(removing)
        self.assertGreater(self.locks.changes, changes)
        self.settle()
        self.told(other, GLASS)

    def test_made_anew(self):
        """Another resource of its name can be locked, and has nothing of the old one."""
        held = self.lock()
        self.write(held.ticket, "1", unlock=True)
        self.successResultOf(self.remove())
        self.now(self.store.create_resource("printer", 5))
        self.assertTrue(self.lock().fresh)
        self.assertIsNone(self.data())

    def test_ambiguous(self):
        """If its commit fails, and whatever became of it: that is found out before anything of it is locked."""
        for outcome in (Outcome.FAILED, Outcome.UNANSWERED):
            self.store.slow = True
            changes = self.locks.changes
            removing = self.remove()
            self.store.finish(outcome)
            self.assert_away(removing, self.ask())
            self.store.heal()
            self.clock.advance(PAUSE)
            # Whoever has found it before has to look again.
            self.assertGreater(self.locks.changes, changes)
            if outcome is Outcome.FAILED:
                self.find()
                self.unlock(self.lock().ticket)
            else:
                self.failureResultOf(Deferred.fromCoroutine(self.store.find_resource("printer")), ResourceNotFound)

    def test_hang_up(self):
        """Once begun it goes on to its end."""
        self.store.slow = True
        removing = self.remove()
        removing.cancel()
        self.failureResultOf(removing, CancelledError)
        self.store.finish()
        self.store.heal()
        self.failureResultOf(Deferred.fromCoroutine(self.store.find_resource("printer")), ResourceNotFound)
        self.now(self.store.create_resource("printer", 0))
        self.lock()

    def test_in_one_commit_with_others(self):
        """What others decided at the time is kept with it."""
        self.store.slow = True
        first = self.ask(GLASS)
        removing, second = self.remove(), self.ask(LockKey("scanner", "other"))
        self.settle()
        self.told(first, GLASS)
        self.successResultOf(removing)
        self.told(second, LockKey("scanner", "other"))
        self.assertEqual(len(self.store.batches), 2)


class ConditionalTestCase(SteeredTestCase):
    """What tests start from of writes that look at the data first."""

    def setUp(self) -> None:
        super().setUp()
        self.held = self.lock()
        self.looks: list[Deferred[None]] = []

    async def look(self) -> None:
        """Look at the data, for as long as the test wants."""
        self.looks.append(Deferred())
        await self.looks[-1]

    def expecting(self, data: str | None) -> Callable[[], Awaitable[None]]:
        async def check() -> None:
            await self.look()
            if self.data() != data:
                raise PreconditionFailed("It is something else.")

        return check

    def put(self, data: str, expected: str | None = None, *, key: LockKey = A4, **more: Any) -> Deferred[Written]:
        check = self.expecting(expected)
        return self.life.heard(self.locks.write(key, self.printer_id, self.held.ticket, data, check=check, **more))


class ConditionalTests(ConditionalTestCase):
    def test_passes(self):
        """What is there is what is expected: it is replaced."""
        writing = self.put("1")
        self.assertNoResult(writing)
        self.looks[0].callback(None)
        self.successResultOf(writing)
        self.assertEqual(self.data(), "1")

    def test_fails(self):
        """It is something else: it stays; the lock is kept, with its lease renewed, even if it was to be unlocked."""
        self.successResultOf(self.write(self.held.ticket, "1"))
        self.clock.advance(LEASE - 1)
        writing = self.put("2", "0", unlock=True)
        self.looks[0].callback(None)
        self.failureResultOf(writing, PreconditionFailed)
        self.assertEqual(self.data(), "1")
        self.clock.advance(LEASE - 1)
        self.lock(ticket=self.held.ticket)

    def test_two_at_once(self):
        """Of two that expect the same, one wins, and the other looks at what that one wrote."""
        both = [self.put("1"), self.put("2")]
        self.assertEqual(len(self.looks), 1)
        self.looks[0].callback(None)
        self.successResultOf(both[0])
        self.assertEqual(len(self.looks), 2)
        self.looks[1].callback(None)
        self.failureResultOf(both[1], PreconditionFailed)
        self.assertEqual(self.data(), "1")

    def test_two_at_once_on_a_slow_store(self):
        """The second looks only when the first is in the store."""
        self.store.slow = True
        both = [self.put("1"), self.put("2")]
        self.looks[0].callback(None)
        self.assertEqual(len(self.looks), 1)
        self.store.finish()
        self.successResultOf(both[0])
        self.looks[1].callback(None)
        self.failureResultOf(both[1], PreconditionFailed)
        self.assertFalse(self.store.busy)

    def test_unconditional_one_waits(self):
        """A write without conditions does not slip in between a look and what follows from it."""
        conditional = self.put("1")
        other = self.write(self.held.ticket, "2")
        self.assertNoResult(other)
        self.assertIsNone(self.data())
        self.looks[0].callback(None)
        self.successResultOf(conditional)
        self.successResultOf(other)
        self.assertEqual(self.data(), "2")

    def test_waits_for_an_unconditional_one(self):
        """Nor does it look before what was begun earlier is in the store."""
        self.store.slow = True
        other = self.write(self.held.ticket, "2")
        conditional = self.put("1", "2")
        self.assertEqual(self.looks, [])
        self.store.finish()
        self.successResultOf(other)
        self.looks[0].callback(None)
        self.store.finish()
        self.successResultOf(conditional)
        self.assertEqual(self.data(), "1")

    def test_other_selectors_do_not_wait(self):
        """A look at one selector is in nobody's way at another."""
        self.put("1")
        self.lock(A5, self.held.ticket)
        self.successResultOf(self.write(self.held.ticket, "5", A5))

    def test_lease_runs_out_meanwhile(self):
        """While it looks the lock does not change hands, however long that takes; then the lease is new."""
        next_waiter = self.ask(wait=10 * LEASE)
        writing = self.put("1")
        self.clock.advance(2 * LEASE)
        self.assertNoResult(next_waiter)
        self.looks[0].callback(None)
        self.successResultOf(writing)
        self.clock.advance(LEASE - 1)
        self.assertNoResult(next_waiter)
        self.clock.advance(1)
        self.told(next_waiter)

    def test_lease_runs_out_before_it_fails(self):
        """When it turns out that nothing is written, a lock whose lease ran out meanwhile passes on."""
        next_waiter = self.ask(wait=10 * LEASE)
        writing = self.put("1", "other")
        self.clock.advance(2 * LEASE)
        self.looks[0].callback(None)
        self.failureResultOf(writing, PreconditionFailed)
        self.told(next_waiter)

    def test_unlock_meanwhile(self):
        """To let go of the lock waits for the write; what comes after that finds no lock."""
        writing = self.put("1")
        release = self.release(self.held.ticket)
        self.assertNoResult(release)
        self.looks[0].callback(None)
        self.successResultOf(writing)
        self.assertTrue(self.successResultOf(release))
        self.failureResultOf(self.put("2"), TicketEnded)

    def test_break_meanwhile(self):
        """To break the lock waits for the write, and the one that waits behind it writes nothing any more."""
        first, second = self.put("1"), self.put("2")
        breaking = self.take(self.held.fence)
        self.assertNoResult(breaking)
        self.looks[0].callback(None)
        self.successResultOf(first)
        outcome: list[Any] = []
        second.addBoth(outcome.append)
        for look in self.looks[1:]:
            look.callback(None)
        self.successResultOf(breaking)
        self.assertEqual(len(outcome), 1)
        self.assertEqual(self.data(), "1")

    def test_not_the_holder(self):
        """Who does not hold the lock does not get to look."""
        waiting = self.queue()
        for ticket, error in ((waiting.ticket, NotHolder), ("0" * 32, TicketEnded)):
            writing = self.life.heard(self.locks.write(A4, self.printer_id, ticket, "1", check=self.look))
            self.failureResultOf(writing, error)
        self.assertEqual(self.looks, [])

    def test_store_lost_while_looking_at_it(self):
        """If it cannot be known what is there, nothing is written, and the lock is kept."""
        writing = self.put("1")
        self.looks[0].errback(StoreUnavailable("away"))
        self.assert_away(writing)
        self.lock(ticket=self.held.ticket)
        again = self.put("1")
        self.looks[1].callback(None)
        self.successResultOf(again)

    def test_hang_up(self):
        """Once begun it goes on to its end, and the next one waits for that."""
        writing, other = self.put("1"), self.put("2", "1")
        writing.cancel()
        self.failureResultOf(writing, CancelledError)
        self.assertEqual(len(self.looks), 1)
        self.looks[0].callback(None)
        self.assertEqual(self.data(), "1")
        self.looks[1].callback(None)
        self.successResultOf(other)
        self.assertEqual(self.data(), "2")

    def test_deletion(self):
        """To delete can depend on what is there as well, and tells of it."""
        self.successResultOf(self.write(self.held.ticket, "1"))
        deleting = self.life.heard(
            self.locks.write(A4, self.printer_id, self.held.ticket, None, check=self.expecting("1"))
        )
        self.looks[0].callback(None)
        version = self.successResultOf(deleting).version
        self.assertIsNone(self.data())
        self.assertEqual(self.disk.events_kept[version].kind, EventKind.WRITE)
        # Also where there is nothing.
        self.successResultOf(self.locks.write(A4, self.printer_id, self.held.ticket, None))


class PartyTests(SteeredTestCase):
    """Whose a ticket is."""

    def test_other_party(self):
        """To others than whom it was given to a ticket never was, whatever they ask; and it is unharmed by that."""
        held, waiting = self.lock(key_name="a"), self.queue(key_name="a")
        for ticket in (held.ticket, waiting.ticket):
            for key_name in ("b", ""):
                self.failureResultOf(self.ask(ticket=ticket, key_name=key_name), TicketEnded)
                self.failureResultOf(self.locks.write(A4, self.printer_id, ticket, "1", key_name=key_name), TicketEnded)
                self.failureResultOf(
                    self.locks.write(A4, self.printer_id, ticket, None, key_name=key_name), TicketEnded
                )
                self.assertFalse(self.successResultOf(self.release(ticket, key_name=key_name)))
                # Nor does it take a second selector with it.
                self.failureResultOf(self.ask(A5, ticket, key_name=key_name), TicketEnded)
        self.assertIsNone(self.data())
        self.successResultOf(self.locks.write(A4, self.printer_id, held.ticket, "1", key_name="a"))
        self.assertTrue(self.successResultOf(self.release(held.ticket, key_name="a")))
        self.lock(ticket=waiting.ticket, key_name="a")

    def test_released(self):
        """A ticket that was let go of comes back for its own key name only."""
        held = self.lock(key_name="a")
        self.successResultOf(self.release(held.ticket, key_name="a"))
        self.failureResultOf(self.ask(ticket=held.ticket, key_name="b"), TicketEnded)
        self.assertEqual(self.lock(ticket=held.ticket, key_name="a").ticket, held.ticket)

    def test_retry(self):
        """The same word of another key name is another request."""
        idempotency_key = "0" * 64
        held = self.lock(key_name="a", idempotency_key=idempotency_key)
        other = self.queue(key_name="b", idempotency_key=idempotency_key)
        self.assertNotEqual(other.ticket, held.ticket)
        self.assertEqual(self.lock(key_name="a", idempotency_key=idempotency_key).ticket, held.ticket)
        self.assertEqual(self.queue(key_name="b", idempotency_key=idempotency_key).ticket, other.ticket)

    def test_unclaimed(self):
        """A lock that comes with an error is its key name's too."""
        held = self.lock(key_name="a")
        self.now(self.locks.grants.leave_unclaimed(A4, held))
        self.now(self.locks.withdraw(A4, held))
        self.assertEqual(self.state(), LockState(None, 0, []))


class LeaseTestCase(SteeredTestCase):
    def change(self, timeout: int, name: str = "printer") -> None:
        changed = self.now(self.store.change_resource(name, {"timeout": timeout}))
        self.locks.redefine(changed)


class LeaseTests(LeaseTestCase):
    def test_running_lease(self):
        """A lease that is running is not touched; the next renewal counts by the new one, whatever the use."""
        for use in ("lock", "write"):
            self.change(0)
            held = self.lock()
            self.change(50)
            self.assertEqual(self.holder().left, LEASE)
            if use == "lock":
                self.told(
                    self.life.heard(
                        Deferred.fromCoroutine(self.locks.grants.wait(LockRequest(A4, lease=50, ticket=held.ticket)))
                    )
                )
            else:
                self.successResultOf(self.write(held.ticket))
            self.assertEqual(self.holder().left, 50)
            self.clock.advance(50)
            self.assert_ended(held.ticket)

    def test_longer(self):
        """The other way round too; 0 is what the server likes."""
        held = self.lock(GLASS)
        self.change(0, "scanner")
        self.successResultOf(self.write(held.ticket, key=GLASS))
        self.assertEqual(self.holder(GLASS).left, LEASE)

    def test_look_again(self):
        """Whoever has found the resource before has to look again."""
        changes = self.locks.changes
        self.change(7)
        self.assertGreater(self.locks.changes, changes)


class KeptStateTests(SteeredTestCase):
    """What is told is what is kept."""

    def test_nothing_is_told_that_is_not_kept(self):
        """A grant that is on its way into the store is told of only when it is there."""
        self.store.slow = True
        request = self.ask(owner="a")
        looking = self.life.heard(Deferred.fromCoroutine(self.locks.views.state(A4, 0, 9)))
        self.assertNoResult(looking)
        self.store.finish()
        self.told(request)
        self.assertEqual(self.successResultOf(looking).holder, Holder("a", "", 1, 0, CLAIM, claimed=True))

    def test_grant_that_fails(self):
        """What could not be kept is told to nobody."""
        self.store.slow = True
        requests = [
            self.ask(),
            self.life.heard(Deferred.fromCoroutine(self.locks.views.state(A4, 0, 9))),
            self.life.heard(Deferred.fromCoroutine(self.locks.views.counts(["printer"]))),
            self.life.heard(Deferred.fromCoroutine(self.locks.views.selectors("printer", "", "", 9))),
        ]
        self.store.finish(Outcome.FAILED)
        self.assert_away(*requests)
        self.assert_away(self.life.heard(Deferred.fromCoroutine(self.locks.views.state(A4, 0, 9))))
        self.come_back()
        self.assertEqual(self.state(), LockState(None, 0, []))

    def test_after_a_restart(self):
        """For how long somebody holds or waits outlives the daemon, as far as it was marked; the time that is left is full again."""
        self.lock(owner="a")
        self.clock.advance(10)
        self.queue(owner="b")
        self.clock.advance(20)
        self.mark(30)
        self.clock.advance(4)
        state = self.state_in_another_life(5)
        self.assertEqual(state.holder, Holder("a", "", 1, 30, LEASE, claimed=True))
        self.assertEqual(state.queue, [Waiter(1, "b", "", 20, PLACE)])
        self.assert_agreement()

    def test_ages_are_never_more_than_the_truth(self):
        """However wrong the clocks of machines are, and however long none ran, nobody is said to have held or waited longer than is known."""
        self.lock(owner="a")
        for wall in (10 * YEAR, -10 * YEAR, 0):
            for booted in (0, 10 * YEAR):
                self.queue(owner="b")
                state = self.state_in_another_life(booted, wall)
                # There was no mark: so all that is known of is from here on.
                self.assertEqual(state.holder.held, 0)
                self.assertEqual({waiter.waited for waiter in state.queue}, {0})
                self.clock.advance(7)
                state = self.state()
                assert state.holder is not None
                self.assertEqual(state.holder.held, 7)
                self.assertEqual({waiter.waited for waiter in state.queue}, {7})
                self.assert_agreement()

    def test_places_of_an_earlier_version(self):
        """A place that was kept with the time of day counts from when the daemon learned of it."""
        self.lock(owner="a")
        ((seq, place),) = self.disk.places.items()
        self.disk.places[seq] = place._replace(since=1_700_000_000_000)
        self.mark(100)
        self.assertEqual(self.state_in_another_life(0).holder, Holder("a", "", 1, 0, LEASE, claimed=True))

    def mark(self, seconds: int) -> None:
        self.disk.marks_kept[seconds * 1000] = Mark(seconds * 1000, 0)

    def state_in_another_life(self, seconds: float, wall: float = 0) -> Any:
        """End the daemon, start another one on a machine that runs for so long and whose wall clock is wrong, and return the state then."""
        self.life.crash()
        self.life = self.start(seconds=seconds, wrong=wall)
        return self.state()

    def test_counts_after_a_failure(self):
        """What the store knows better counts."""
        for key in (A4, LockKey("printer", "A3")):
            self.lock(key)
            self.queue(key)
        self.store.slow = True
        lost = [self.ask(), self.ask(A5), self.locks.break_lock(A4, 1)]
        self.store.finish(Outcome.FAILED)
        self.assert_away(*lost)
        self.come_back()
        if self.durable:
            self.assertEqual(self.now(self.locks.views.counts(["printer"])), [LockCounts(2, 2)])
        counted = self.now(self.locks.views.selectors("printer", "", "", 9))
        (sum_,) = self.now(self.locks.views.counts(["printer"]))
        self.assertEqual(sum(standing.holder is not None for standing in counted.values()), sum_.held)
        self.assertEqual(sum(standing.waiting for standing in counted.values()), sum_.waiting)


class KeptBreakTests(SteeredTestCase):
    """Breaks on a store that is slow, or lost, and in another life."""

    def test_write_that_unlocks_under_way(self):
        """If the lock has changed hands by the time the write is done the fence is not the holder's any more."""
        held, next_waiter = self.lock(), self.queue()
        self.store.slow = True
        writing = self.write(held.ticket, "1", unlock=True)
        breaking = self.take(held.fence)
        self.settle()
        self.successResultOf(writing)
        self.failureResultOf(breaking, FenceMismatch)
        self.store.heal()
        self.lock(ticket=next_waiter.ticket)

    def test_store_lost(self):
        """If it is not known whether the lock was taken, nobody is told that it was; and whoever has it then is known again."""
        for outcome in (Outcome.FAILED, Outcome.UNANSWERED):
            held = self.lock()
            self.store.slow = True
            breaking = self.take(held.fence)
            self.store.finish(outcome)
            self.assert_away(breaking)
            self.come_back()
            if not self.durable:
                return
            if outcome is Outcome.FAILED:
                self.lock(ticket=held.ticket)
                self.successResultOf(self.take(held.fence))
            else:
                self.failureResultOf(self.take(held.fence), FenceMismatch)
            self.failureResultOf(self.ask(ticket=held.ticket), TicketEnded)

    def test_two_at_once(self):
        """Of two who break the same lock one has done it, also while neither knows it yet."""
        held = self.lock()
        self.store.slow = True
        both = [self.take(held.fence), self.take(held.fence)]
        self.settle()
        self.successResultOf(both[0])
        self.failureResultOf(both[1], FenceMismatch)

    def test_after_a_restart(self):
        """A broken lock stays broken."""
        held = self.lock()
        self.lock(A5, held.ticket)
        self.successResultOf(self.take(held.fence))
        self.restart()
        self.failureResultOf(self.ask(ticket=held.ticket), TicketEnded)
        self.assertTrue(self.lock().fresh)

    def test_write_that_begins_while_a_break_waits(self):
        """Writes that follow one another do not keep a lock from being broken for ever."""
        held = self.lock()
        self.store.slow = True
        writing = self.write(held.ticket, "1")
        breaking = self.take(held.fence)
        self.store.finish()
        self.successResultOf(writing)
        late = self.write(held.ticket, "2")
        self.failureResultOf(late, TicketEnded) if late.called else None
        self.settle()
        self.successResultOf(breaking)
        self.failureResultOf(late, TicketEnded)
        self.assertEqual(self.data(), "1")


class KeptConditionalTests(ConditionalTestCase):
    """Conditions on a store that is lost."""

    def test_store_lost_in_the_middle(self):
        """If the store is lost while it looks nothing is written, and nothing left behind."""
        writing = self.put("1")
        self.store.slow = True
        other = self.ask(A5)
        self.store.finish(Outcome.FAILED)
        self.assert_away(other)
        self.looks[0].callback(None)
        self.assert_away(writing)
        self.store.heal()
        self.clock.advance(PAUSE)
        self.assertIsNone(self.data())
        again = self.put("1")
        self.looks[1].callback(None)
        self.successResultOf(again)

    def test_lock_lost_in_the_middle(self):
        """If even the lock is in doubt while it looks, nothing is written; the next one looks for itself."""
        writing = self.put("1")
        self.store.slow = True
        # A commit about this lock fails: somebody else joins the line.
        joining = self.ask()
        self.store.finish(Outcome.FAILED)
        self.assert_away(joining)
        self.store.heal()
        self.clock.advance(PAUSE)
        self.looks[0].callback(None)
        if self.durable:
            self.assert_away(writing)
            self.assertIsNone(self.data())
            again = self.put("1")
            self.looks[1].callback(None)
            self.successResultOf(again)
        self.assertEqual(self.data(), "1")


class KeptPartyTests(SteeredTestCase):
    def test_after_a_restart(self):
        """The next daemon knows whose a ticket is."""
        held = self.lock(key_name="a")
        self.restart()
        self.failureResultOf(self.ask(ticket=held.ticket, key_name="b"), TicketEnded)
        self.assertFalse(self.successResultOf(self.release(held.ticket, key_name="b")))
        self.lock(ticket=held.ticket, key_name="a")


class KeptLeaseTests(LeaseTestCase):
    def test_after_a_restart(self):
        """The next daemon goes by the new one from the start."""
        self.lock()
        self.change(50)
        self.restart()
        self.assertEqual(self.holder().left, 50)


class VolatileStateTests(StateTests):
    durable: ClassVar[bool] = False


class VolatileStandingsTests(StandingsTests):
    durable: ClassVar[bool] = False


class VolatileBreakTests(BreakTests):
    durable: ClassVar[bool] = False


class VolatileRemovalTests(RemovalTests):
    durable: ClassVar[bool] = False


class VolatileConditionalTests(ConditionalTests):
    durable: ClassVar[bool] = False


class VolatilePartyTests(PartyTests):
    durable: ClassVar[bool] = False


class VolatileLeaseTests(LeaseTests):
    durable: ClassVar[bool] = False
