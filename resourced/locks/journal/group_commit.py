"""
CommitGroup commit: decisions about locks, and data, are committed in groups before anyone is told.

While one group is being committed, everything that comes up is gathered into the next. So all who need a commit at the time share its price.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from resourced.deferreds import waiter_in, wake
from resourced.errors import EpochLost, StoreRefused, StoreUnavailable
from resourced.locks.journal.commit_group import CommitGroup, Doubt
from resourced.locks.journal.interface import Follower
from resourced.locks.journal.listeners import Listeners
from resourced.locks.journal.states import (
    BEGIN,
    BEGUN,
    CLOSE,
    COMMITTED,
    EMPTY,
    FAIL,
    FAILED,
    GATHER,
    GATHERING,
    IDLE,
    LEADING,
    NEW,
    REFUSED,
    RESTART,
    SEND,
    STEP_DOWN,
    STEPPED_DOWN,
    TRANSITIONS,
    JournalEvent,
    JournalState,
)
from resourced.locks.journal.terms import Numbers, Terms
from resourced.model import WRITE, Snapshot, Step, Term
from resourced.storage.interface import Store
from resourced.storage.leader_lease import LeaderLease
from resourced.transitions import next_state

log = Logger()

#: How long to wait before the store is tried again, in seconds.
PAUSE = 0.25
#: How many changes a commit has at most that begins at once.
LARGE = 250


class GroupCommitJournal:
    """
    Keeps what a follower decides, and has it look again after a failure.

    A commit that fails may have been done all the same.  So after any failure the journal begins a new term. That
    settles whatever was under way, and reads what the store knows by then. The follower goes on from there.

    :param durable: whether places are kept; if not, they live in memory only, and only data and fences are kept.
    :param leadership_lost: called once when another daemon has taken over the store.
    :param history: whether events are kept.
    :param soon: calls a function in a moment, when all that has arrived has been decided, so that it goes into one group.
    :param lease: says for how long this is the one writer; each commit renews it. Without it that is so until a commit fails.
    """

    def __init__(
        self,
        clock: IReactorTime,
        store: Store,
        *,
        leadership_lost: Callable[[EpochLost], None],
        durable: bool = True,
        lease: LeaderLease | None = None,
        history: bool = True,
        listeners: Listeners | None = None,
        soon: Callable[[Callable[[], None]], object] = lambda work: work(),
    ) -> None:
        self.durable = durable
        self.remembers = durable and history
        self.done = 0
        self._clock = clock
        self._store = store
        self._leadership_lost = leadership_lost
        self._lease = LeaderLease(clock.seconds) if lease is None else lease
        self._followed: Follower
        self._state = NEW
        self._open = CommitGroup(1)
        self._committing: CommitGroup | None = None
        self.numbers = Numbers()
        self._terms = Terms(store, self._lease, self.numbers, durable=durable)
        self._doubt = Doubt()
        self._reserving = 0  # Where places are not kept: the group that reserves fences.
        self._recovery: Deferred[None] | None = None
        # How long to wait after a failure before the store is asked; nothing, unless nothing was committed since the last one.
        self._pause = 0.0
        self._idle: list[Deferred[None]] = []
        self.listeners = listeners or Listeners()
        self._history = history
        self._soon = soon

    @property
    def newest(self) -> int:
        """The number of the group that the last decision went into."""
        return self._open.number - 1 if self._open.empty else self._open.number

    @property
    def deposed(self) -> bool:
        """Whether another daemon is the one writer now, so that this one ends."""
        return self._state is STEPPED_DOWN

    def follow(self, follower: Follower) -> None:
        """Say whose decisions these are, before the journal is opened."""
        self._followed = follower

    def check(self) -> None:
        """
        Return if decisions can be kept at present.

        :raises resourced.errors.StoreUnavailable: the store is away, or this journal is closed.
        """
        if self._state not in LEADING or not self._lease.held():
            raise unavailable()

    def check_lease(self) -> None:
        """
        Return if nobody else can be the one writer, whether or not decisions can be kept.

        :raises resourced.errors.StoreUnavailable: somebody else may be.
        """
        if not self._lease.held():
            raise unavailable()

    def step_down(self, error: EpochLost) -> None:
        """Take nothing more, because another daemon is the one writer now."""
        if self._state is STEPPED_DOWN:
            return
        self._happens(STEP_DOWN)
        wake(self._open.waiters, unavailable())
        self._leadership_lost(error)

    async def open(self, over: Term, guard: str = "") -> None:
        """
        Make this the one writer of the store, and let the follower know what is there.

        :param over: the term that is taken over, as it was seen.
        :param guard: where this daemon's guard is held, if anywhere.
        :raises resourced.errors.StoreUnavailable: the store cannot be reached.
        :raises resourced.errors.EpochLost: another daemon has taken over, or the other one is still there.
        """
        await self._begin_term(over, guard)

    async def close(self) -> None:
        """Return when what was taken is committed, and the store says that nothing more will be; take nothing more."""
        self._commit()
        while self._committing is not None:
            await waiter_in(self._idle)
        led = self._state in LEADING
        self._happens(CLOSE)
        if self._recovery is not None:
            self._recovery.cancel()
        # Without the lease nobody would have to wait longer for its end than for this.
        if led and self._lease.held():
            with suppress(StoreUnavailable, EpochLost):
                await self._store.leave()

    def begin_anew(self) -> None:
        """Begin a new term, in which nothing counts but what the store knows by then: it is another one, and may know less."""
        before = self._state
        if RESTART not in TRANSITIONS[before]:
            return
        self._happens(RESTART)
        if self.durable:
            self._doubt.keys = None
        if before in {IDLE, GATHERING}:
            group, self._open = self._open, CommitGroup(self._open.number + 1)
            group.began = self._lease.now()
            self._lose(group, unavailable())
        elif self._committing is None and self.durable:
            self._followed.invalidate(None)
        # The end of a commit under way matters, not what becomes of it.

    def goes_on(self, snapshot: Snapshot) -> bool:
        """Give out nothing that is there in more partitions; tell whether they were read in the present term."""
        self.check()
        return self._terms.goes_on(snapshot)

    def append(self, step: Step) -> int:
        """Keep all of a step in one transaction; return the number of the group that it goes into."""
        group, numbers = self._open, self.numbers
        numbers.seq = group.carry(step, numbers.seq, self._committing, places=self.durable, losses=self.remembers)
        if step.events:
            numbers.event = step.events[-1].id
        numbers.fence = max(numbers.fence, step.fence)
        if not self.durable and numbers.fence > numbers.reserved:
            numbers.reserve()
            group.reserves = True
            self._reserving = group.number
        if self._state is IDLE:
            self._happens(GATHER)
            self._soon(self._commit_soon)
        # Without places, only the fences have to be kept of what happens to them.
        return group.number if self.durable or step.write or step.removed or step.cards else self._reserving

    def committed(self, group: int) -> Deferred[None]:
        """Wait until a group is kept; fails with ``StoreUnavailable`` if it could not be."""
        if group <= self.done:
            return succeed(None)
        if self._state not in LEADING:
            return fail(unavailable())
        if self._committing is not None and self._committing.number == group:
            return waiter_in(self._committing.waiters)
        return waiter_in(self._open.waiters)

    async def confirm_leader(self) -> None:
        """
        Return if no other daemon has taken over the store.

        :raises resourced.errors.StoreUnavailable: one has, or that cannot be known.
        """
        try:
            await self._store.ping()
        except EpochLost as error:
            self.step_down(error)
            raise unavailable() from None
        self.check()

    def _happens(self, event: JournalEvent) -> None:
        self._state = next_state(TRANSITIONS, self._state, event)

    def _commit_soon(self) -> None:
        """Begin to commit, but let others come before a large commit: to write that out takes as long as it took to decide it."""
        if self._open.transitions > LARGE:
            self._soon(self._commit)
        else:
            self._commit()

    def _commit(self) -> None:
        """Begin to commit what is gathered, unless that has to wait for the end of a commit, or for the store."""
        if self._state is not GATHERING and self._state is not IDLE:
            return
        group = self._open
        if group.empty:
            if self._state is GATHERING:
                self._happens(EMPTY)
            # No commit carries these events; they are told after all that came before them.
            events, group.events = group.events, []
            self.listeners.tell(events)
            return
        self._happens(SEND)
        self._committing = group
        self._open = CommitGroup(group.number + 1)
        group.began = self._lease.now()
        fence = self.numbers.fence if self.durable else self.numbers.reserved
        batch = group.batch(fence, self.numbers.event, history=self._history, durable=self.durable)
        Deferred.fromCoroutine(self._store.commit(batch)).addCallbacks(
            self._succeeded, self._failed, callbackArgs=(group,), errbackArgs=(group,)
        ).addErrback(self._broken)

    def _succeeded(self, _: None, group: CommitGroup) -> None:
        self._happens(COMMITTED)
        if self._state is FAILED:
            # It was committed where nobody may look again.
            self._lose(group, unavailable())
            return
        self.listeners.measure(group.transitions, self._lease.now() - group.began, True)
        self._lease.renew(group.began)
        self.done = group.number
        self._committing = None
        self._pause = 0.0
        self._doubt.unannounced.clear()
        self.listeners.tell(group.events)
        # First the next commit, so that the store has work while those who waited are answered.
        self._commit()
        self.listeners.together(partial(wake, group.waiters))
        if self._committing is None:
            wake(self._idle)

    def _failed(self, failure: Failure, group: CommitGroup) -> None:
        if failure.check(StoreRefused) is not None:
            log.warn(
                "The store did not know the holder of a lock, so memory was wrong: {why}", why=failure.getErrorMessage()
            )
        elif failure.check(EpochLost, StoreUnavailable) is None:
            log.failure("A commit failed with an unexpected error.", failure)
        self._happens(FAIL)
        self._lose(group, failure.value)

    def _lose(self, group: CommitGroup, error: BaseException | None) -> None:
        """Tell all whose decisions may not have been committed, and find out what the store knows."""
        self.listeners.measure(group.transitions, self._lease.now() - group.began, False)
        follows = self._open
        self._open = CommitGroup(follows.number + 1)
        self._committing = None
        if self.durable:
            self._doubt.add(group, follows)
            self._followed.invalidate(self._doubt.keys)
        else:
            # What has happened to locks in memory has happened all the same. But cards are kept in the store.
            self._doubt.cards |= group.cards.keys() | follows.cards.keys()
            self.listeners.tell([event for event in (*group.events, *follows.events) if event.kind is not WRITE])
        wake(group.waiters, unavailable())
        wake(follows.waiters, unavailable())
        if isinstance(error, EpochLost):
            self.step_down(error)
        elif self._state is FAILED:
            recovery = self._recovery = Deferred.fromCoroutine(self._recover())
            recovery.addErrback(lambda failure: failure.trap(CancelledError))
            recovery.addErrback(self._broken)
        wake(self._idle)

    def _broken(self, failure: Failure) -> None:
        """Make room for another daemon: this one would never decide anything again, and as the leader keep all others from it."""
        log.failure("The journal has a bug.", failure)
        self.step_down(
            EpochLost("An unexpected error keeps this daemon from going on, so it must stop; the log has more.")
        )

    async def _recover(self) -> None:
        """Begin a new term as soon as the store is back."""
        while True:
            # Not even the first time at once: first everyone must learn that the commit has failed.
            await deferLater(self._clock, self._pause)
            if self._state is not FAILED:
                return
            self._pause = PAUSE
            try:
                await self._begin_term()
            except StoreUnavailable:
                continue
            except EpochLost as error:
                self.step_down(error)
            return

    async def _begin_term(self, over: Term | None = None, guard: str = "") -> None:
        """Settle what may still be under way in the store, and go on from what it knows then; ``over`` as for ``open``."""
        self._happens(BEGIN)
        asking = self._state
        try:
            snapshot = await self._terms.begin(over, guard, lambda: _check_still(self._state, asking))
        except BaseException:
            if self._state is asking:
                self._happens(REFUSED)
            raise
        self.done = self._open.number - 1
        self._happens(BEGUN)
        # Without places, what happened to them is only known here.
        self.listeners.resumed(snapshot.event if self.durable else self.numbers.event)
        self._followed.restore(snapshot, self._doubt.take(), self._doubt.unannounced)
        self._followed.restore_cards(snapshot, self._doubt.take_cards(self._open))
        self._commit()  # What was decided since the failure, if anything.


def _check_still(state: JournalState, asking: JournalState) -> None:
    """Raise if what the store has said does not count any more."""
    if state is STEPPED_DOWN:
        raise EpochLost("Another daemon has taken over this store.")
    if state is not asking:
        raise StoreUnavailable("The store has become another one meanwhile.")


def unavailable() -> StoreUnavailable:
    """Say that the store is away."""
    return StoreUnavailable("The store cannot be reached at present. Try again.")
