"""How long events are kept, whatever happens to clocks, daemons and the store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from resourced.errors import EpochLost, StoreUnavailable
from resourced.model import GRANT, Batch, Event, LockKey
from resourced.service.housekeeping import PERIOD, Housekeeping
from resourced.service.retention import MARKS, PART, Retention
from resourced.testing import MemoryStore
from tests.faulty import FaultyStore, Outcome
from tests.leading import lead

pytestmark = pytest.mark.trial

KEEP = 1000.0
#: How much longer an event may be kept: until it is marked, and then until somebody looks.
LATE = KEEP / MARKS + 4 * PERIOD
A4 = LockKey("printer", "A4")
YEAR = 366 * 86400.0

T = TypeVar("T")
Chores = Callable[["House", Clock, FaultyStore], list[Callable[[], Awaitable[bool]]]]


def by_marks(_: House, clock: Clock, store: FaultyStore) -> list[Callable[[], Awaitable[bool]]]:
    retention = Retention(clock, store, KEEP, 1_000_000, 1 << 30)
    return [retention.mark, retention.forget]


def by_wall(house: House, _: Clock, store: FaultyStore) -> list[Callable[[], Awaitable[bool]]]:
    """As it was once: an event is as old as its time says, and so are all before it."""

    async def forget() -> bool:
        old = [event.id for event in house.disk.events_kept.values() if event.at < (house.wall - KEEP) * 1000]
        return await store.forget_events(max(old, default=0))

    return [forget]


def result(work: Awaitable[T]) -> T:
    """Do work that waits for nothing; return what comes of it."""
    results: list[T] = []
    failures: list[object] = []

    async def run() -> None:
        results.append(await work)

    Deferred.fromCoroutine(run()).addErrback(failures.append)
    assert not failures, failures
    return results[0]


class House:
    """
    A store and the daemons that serve it one after the other, each with a monotonic clock of its own, and a wall clock that anybody may set.

    :ivar true: the time that really passes, in seconds.
    """

    def __init__(self, chores: Chores = by_marks) -> None:
        self.disk = MemoryStore()
        self.true = 0.0
        self.wall = 1_700_000_000.0
        self.happened: dict[int, float] = {}
        self._chores = chores
        self._daemons: list[tuple[Clock, Housekeeping]] = []
        self.store = FaultyStore(self.disk)

    def start(self, uptime: float) -> None:
        """Let a daemon take over, on a machine that runs for so long; another one may not know of it yet."""
        clock = Clock()
        clock.advance(uptime)
        self.disk = self.disk.another()
        self.store = FaultyStore(self.disk)
        result(lead(self.disk))
        housekeeping = Housekeeping(clock, self._chores(self, clock, self.store))
        self._daemons.append((clock, housekeeping))
        housekeeping.start()

    def stop(self) -> None:
        """End all daemons, as power cuts do."""
        for _, housekeeping in self._daemons:
            housekeeping.stop()
        self._daemons.clear()

    def pass_time(self, seconds: float) -> None:
        while seconds > 0:
            step = min(seconds, PERIOD / 2)
            self.true += step
            self.wall += step
            for clock, _ in self._daemons:
                clock.advance(step)
            seconds -= step

    def happen(self, how_many: int) -> None:
        for _ in range(how_many):
            id_ = len(self.happened) + 1
            self.happened[id_] = self.true
            event = Event(id_, GRANT, int(self.wall * 1000), A4, "ci", id_, 0.0)
            result(self.disk.commit(Batch(0, events=[event], event=id_)))

    def check(self) -> None:
        """Nothing that is younger than it may be is forgotten."""
        for id_, when in self.happened.items():
            if self.true - when < KEEP:
                assert id_ in self.disk.events_kept, f"event {id_} was forgotten after {self.true - when} seconds"


seconds = st.sampled_from([0.0, 0.3, 9.0, 60.0, KEEP / 3, KEEP - 5, KEEP + 5]) | st.floats(0, 3 * KEEP)
jumps = st.sampled_from([10 * YEAR, -10 * YEAR, 8 * 86400.0, -8 * 86400.0, KEEP, -KEEP]) | st.floats(-YEAR, YEAR)
steps = st.one_of(
    st.tuples(st.just("pass"), seconds),
    st.tuples(st.just("happen"), st.integers(1, 3)),
    st.tuples(st.just("jump"), jumps),
    st.tuples(st.just("blink"), jumps),
    st.tuples(st.just("restart"), seconds),
    st.tuples(st.just("take over"), seconds),
    st.tuples(st.just("store"), st.sampled_from(Outcome)),
)


class RandomClocksTests(SynchronousTestCase):
    """Anything may happen in any order to the clocks, the daemons and the store."""

    @given(st.lists(steps, max_size=30), seconds)
    @settings(max_examples=150, deadline=None)
    def test_kept_and_forgotten(self, events: list[tuple[str, float]], uptime: float) -> None:
        """
        What is younger than ``events_keep`` by the time that really passed is never forgotten; and what is older is, once a daemon has served the
        store for long enough.
        """
        house = House()
        house.start(uptime)
        for what, value in events:
            self.do(house, what, value)
            house.check()
        house.store.outcome = Outcome.DONE
        house.pass_time(KEEP + LATE)
        self.assertEqual(house.disk.events_kept, {})
        house.stop()

    def do(self, house: House, what: str, value: float) -> None:
        if what == "pass":
            house.pass_time(value)
        elif what == "happen":
            house.happen(int(value))
        elif what == "jump":
            house.wall += value
        elif what == "blink":
            house.wall += value
            house.happen(1)
            house.pass_time(0.7)
            house.wall -= value
        elif what == "restart":
            house.stop()
            house.pass_time(value)
            house.start(value)
        elif what == "take over":
            house.start(value)
        else:
            house.store.outcome = Outcome(value)


class WrongClockTests(SynchronousTestCase):
    """What was once lost by a wall clock that was wrong, by name."""

    def history(self, chores: Chores, wrong: Callable[[House], None]) -> int:
        """Return how many events of the last hour are left after something was wrong with the clock."""
        house = House(chores)
        house.start(5.0)
        house.happen(20)
        house.pass_time(30)
        wrong(house)
        house.pass_time(13)
        house.stop()
        return len(house.disk.events_kept)

    def forward(self, house: House) -> None:
        house.wall += 10 * YEAR

    def back_for_a_moment(self, house: House) -> None:
        house.wall -= 8 * 86400
        house.happen(1)
        house.wall += 8 * 86400

    def boot_before_ntp(self, house: House) -> None:
        house.stop()
        house.wall -= 8 * YEAR
        house.start(1.0)
        house.happen(1)
        house.wall += 8 * YEAR

    def test_nothing_is_lost(self):
        """A clock that goes forward by ten years, back for a moment, or wrong at boot, costs no event; by their own times it would."""
        for wrong in (self.forward, self.back_for_a_moment, self.boot_before_ntp):
            self.assertGreaterEqual(self.history(by_marks, wrong), 20)
            self.assertLess(self.history(by_wall, wrong), 20)


class RetentionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = House()

    def test_in_time(self):
        """Events are forgotten soon after their time, in their order, and the rest stays."""
        self.house.start(0.0)
        self.house.happen(3)
        self.house.pass_time(LATE)
        self.house.happen(2)
        self.house.pass_time(KEEP - LATE - 1)
        self.assertEqual(sorted(self.house.disk.events_kept), [1, 2, 3, 4, 5])
        self.house.pass_time(LATE)
        self.assertEqual(sorted(self.house.disk.events_kept), [4, 5])
        self.house.pass_time(LATE)
        self.assertEqual(self.house.disk.events_kept, {})
        self.house.stop()

    def test_restarts_hold_nothing_up(self):
        """Daemons that are started anew again and again forget as one does that goes on; the time in between does not count."""
        self.house.start(0.0)
        self.house.happen(1)
        for _ in range(int((KEEP + LATE) / 50)):
            self.house.pass_time(60)
            self.house.stop()
            self.house.pass_time(7.0)
            self.house.start(3.0)
        self.assertEqual(self.house.disk.events_kept, {})
        self.house.stop()

    def test_few_marks(self):
        """However long it goes on, and however much happens, there are only so many marks, in memory and in the store."""
        self.house.start(0.0)
        for _ in range(500):
            self.house.happen(1)
            self.house.pass_time(25)
            self.assertLessEqual(len(self.house.disk.marks_kept), MARKS + 4)
        self.house.stop()

    def test_rows_of_before(self):
        """What is there already when marks begin, as after an update, is kept for its full time from then on."""
        result(lead(self.house.disk))
        self.house.happen(5)
        self.house.pass_time(10 * KEEP)
        self.house.start(0.0)
        self.house.pass_time(KEEP - 1)
        self.assertEqual(len(self.house.disk.events_kept), 5)
        self.house.pass_time(LATE)
        self.assertEqual(self.house.disk.events_kept, {})
        self.house.stop()

    def test_keeping_none(self):
        """With no time to keep them, whatever is left of another setting goes with the next round."""
        clock = Clock()
        result(lead(self.house.disk))
        self.house.happen(5)
        retention = Retention(clock, self.house.disk, 0.0, 1_000_000, 1 << 30)
        housekeeping = Housekeeping(clock, [retention.mark, retention.forget])
        housekeeping.start()
        clock.advance(PERIOD)
        self.assertEqual(self.house.disk.events_kept, {})
        housekeeping.stop()

    def test_slow_store(self):
        """What happens while the store takes its time is not older than it is, whichever answer is late."""
        for late in ("marks", "newest_event"):
            house = House()
            result(lead(house.disk))
            gate: Deferred[None] = Deferred()
            answer = getattr(house.disk, late)

            async def slowly(gate: Deferred[None] = gate, answer: Callable[[], Awaitable[object]] = answer) -> object:
                await gate
                return await answer()

            setattr(house.disk, late, slowly)
            clock = Clock()
            retention = Retention(clock, house.disk, KEEP, 1_000_000, 1 << 30)
            housekeeping = Housekeeping(clock, [retention.mark, retention.forget])
            housekeeping.start()
            for _ in range(50):
                clock.advance(PERIOD)
            house.happen(1)
            gate.callback(None)
            for _ in range(int(KEEP / PERIOD) - 1):
                clock.advance(PERIOD)
            self.assertEqual(len(house.disk.events_kept), 1, late)
            for _ in range(int(LATE / PERIOD)):
                clock.advance(PERIOD)
            self.assertEqual(len(house.disk.events_kept), 0, late)
            housekeeping.stop()

    def test_deposed(self):
        """A daemon that has lost the store leaves the marks of the next one alone."""
        result(lead(self.house.disk))
        clock = Clock()
        old = Retention(clock, self.house.disk, KEEP, 1_000_000, 1 << 30)
        result(old.mark())
        clock.advance(50)
        self.house.start(0.0)
        before = dict(self.house.disk.marks_kept)
        failure = self.failureResultOf(Deferred.fromCoroutine(old.mark()))
        failure.trap(EpochLost)
        self.assertEqual(self.house.disk.marks_kept, before)
        self.house.stop()


class TooManyTests(SynchronousTestCase):
    def test_the_oldest_go_first(self):
        """However young they are, there are never more than may be for longer than a round of chores."""
        self.begin(5, 1 << 30)
        self.happen(range(1, 13))
        self.assertEqual(self.kept(), [8, 9, 10, 11, 12])
        self.happen(range(13, 15))
        self.assertEqual(self.kept(), [10, 11, 12, 13, 14])

    def test_bytes(self):
        """There are never more bytes than may be either, and few large events push out many small ones."""
        small = self.size("")
        self.begin(19, 10 * small)
        self.happen(range(1, 13))
        self.assertEqual(len(self.kept()), 10)
        self.happen([13], "x" * 4 * small)
        self.assertEqual(self.kept(), list(range(8, 14)))

    def test_in_pieces(self):
        """However many there are, they are weighed a part at a time, and so many at most go with one that is too much."""
        self.begin(200, 1 << 30)
        self.happen(range(1, 1001))
        self.assertEqual(self.kept(), list(range(801, 1001)))
        for number in range(1001, 1100):
            self.happen([number])
            kept = self.kept()
            self.assertLessEqual(len(kept), 200)
            self.assertGreaterEqual(len(kept), 200 - 200 // PART)
            self.assertEqual(kept[-1], number)
        self.assertLessEqual(len(self.retention._weights), 2 * PART + 1)

    def test_old_ones_do_not_count(self):
        """What was forgotten because it was old makes room."""
        self.begin(5, 1 << 30)
        self.happen(range(1, 6))
        self.kept()
        result(self.retention.mark())
        self.clock.advance(KEEP + 1)
        self.assertEqual(self.kept(forget=True), [])
        self.happen(range(6, 11))
        self.assertEqual(self.kept(), [6, 7, 8, 9, 10])

    def test_a_store_that_is_away(self):
        """What could not be forgotten is forgotten later."""
        self.begin(5, 1 << 30)
        self.happen(range(1, 13))
        for _ in range(12):
            result(self.retention.weigh())
        self.store.away = True
        self.failureResultOf(Deferred.fromCoroutine(self.retention.forget_beyond())).trap(StoreUnavailable)
        self.store.away = False
        self.assertEqual(self.kept(), [8, 9, 10, 11, 12])

    def begin(self, most: int, most_bytes: int) -> None:
        self.disk = MemoryStore()
        result(lead(self.disk))
        self.clock = Clock()
        self.store = FaultyStore(self.disk)
        self.retention = Retention(self.clock, self.store, KEEP, most, most_bytes)

    def happen(self, ids: Iterable[int], owner: str = "") -> None:
        events = [Event(number, GRANT, 0, A4, owner, 0, 0.0, "", "", "") for number in ids]
        result(self.disk.commit(Batch(1, events=events, event=events[-1].id)))

    def size(self, owner: str) -> int:
        """Tell what one event takes."""
        self.begin(1, 1 << 30)
        self.happen([1], owner)
        return result(self.disk.weigh_events(0, 1)).size

    def kept(self, *, forget: bool = False) -> list[int]:
        """Do the chores; return what is kept after them."""
        while result(self.retention.forget()) if forget else False:
            pass
        while result(self.retention.forget_beyond()):
            pass
        return sorted(self.disk.events_kept)


class UseTests(SynchronousTestCase):
    def test_kept_until_counted(self) -> None:
        """An event that is old enough, or too much, stays until its use is counted."""
        clock, store = Clock(), MemoryStore()
        result(lead(store))
        counted = 3
        retention = Retention(clock, store, KEEP, 4, 1 << 30, lambda: counted)
        result(
            store.commit(
                Batch(0, events=[Event(number, GRANT, 0, A4, "ci", 1, 0.0) for number in range(1, 10)], event=9)
            )
        )
        for _ in range(20):
            result(retention.forget_beyond())
        self.assertEqual(min(store.events_kept), 4)
        result(retention.mark())
        clock.advance(2 * KEEP)
        result(retention.forget())
        self.assertEqual(sorted(store.events_kept), [4, 5, 6, 7, 8, 9])
        counted = 6
        result(retention.forget())
        self.assertEqual(sorted(store.events_kept), [7, 8, 9])
        counted = 9
        result(retention.forget())
        self.assertEqual(store.events_kept, {})
