"""How a daemon becomes the leader, the one writer of its store, and when it may take over from another one."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from resourced.errors import ConfigurationError, EpochLost
from resourced.locks.journal.group_commit import GroupCommitJournal
from resourced.model import Term
from resourced.service.guard import Guard
from resourced.storage.interface import Store
from resourced.storage.leader_lease import LEADER_LEASE, MARGIN
from resourced.storage.sql.executor import Database

#: For how many seconds the leader's row has to stand still.
STILL: Final = LEADER_LEASE + MARGIN


class Verdict(Enum):
    """What can be said of the place of the leader."""

    FREE = auto()
    TAKEN = auto()
    UNKNOWN = auto()


class TakeOver:
    """
    Judges by what the store says again and again of the leader whether there still is one.

    Nobody's wall clock counts, only for how long the same beat was seen here. What is read may be old, so whoever takes over does it by a
    commit that fails if the row has changed since.

    :param still: for how many seconds the row has to stand still.
    :ivar shared: whether this daemon serves the store together with others, as a node of a cluster.
    """

    def __init__(self, still: float = STILL, *, shared: bool = False) -> None:
        self.shared = shared
        self._still = still
        self._seen: tuple[int, int] | None = None
        self._since = 0.0
        self._moved = False

    def judge(self, term: Term, when: float) -> Verdict:
        """
        Judge by what was read.

        :param when: when the answer had arrived: the leader has sent what it tells of before that.
        """
        if term.mine or term.ended:
            return Verdict.FREE
        seen = (term.epoch, term.beat)
        if seen != self._seen:
            self._moved = self._moved or self._seen is not None
            self._seen, self._since = seen, when
        elif when - self._since > self._still:
            return Verdict.FREE
        return Verdict.TAKEN if self._moved else Verdict.UNKNOWN

    def refused(self, term: Term) -> Verdict:
        """Take note that the row had changed when it was to be taken over: wait anew."""
        self._seen, self._moved = None, True
        # It was most likely another node that came at the same time.
        return Verdict.UNKNOWN if self.shared and term.ended else Verdict.TAKEN


class Election:
    """
    Tries to become the leader.

    :param now: the clock of the leader's lease.
    """

    def __init__(
        self,
        now: Callable[[], float],
        guard: Guard,
        store: Store,
        journal: GroupCommitJournal,
        database: Database,
        take_over: TakeOver,
    ) -> None:
        self._now = now
        self._guard = guard
        self._store = store
        self._journal = journal
        self._database = database
        self._take_over = take_over
        self._prepared = False
        # The term that was seen last.
        self._epoch: int | None = None

    async def attempt(self) -> Verdict:
        """
        Become the leader, and know the store's locks, if the place is free.

        :returns: whether this is the leader now (``FREE``), or another daemon is, or that takes some seconds to find out.
        :raises resourced.errors.StoreUnavailable: the store cannot be reached.
        :raises resourced.errors.ConfigurationError: the store cannot be used as it is.
        """
        if self._database.begin_term():
            self._prepared = False
        if not self._prepared:
            verdict = await self._prepare()
            if verdict is not Verdict.FREE:
                return verdict
            self._prepared = True
        server = await self._guard.locate()
        term = await self._store.look()
        if self._epoch not in {None, term.epoch}:
            # Who has led since may be of a later version, and have a schema that this one does not know.
            self._prepared, self._epoch = False, None
            return await self.attempt()
        self._epoch = term.epoch
        verdict = self._take_over.judge(term, self._now())
        if verdict is Verdict.FREE:
            guarded = await self._guard.hold()
        elif term.guard and term.guard == server:
            # Here, where the leader's guard is, it is known at once whether it has gone: its process, or its connection.
            guarded = await self._guard.hold()
            if not guarded:
                return Verdict.TAKEN
        else:
            await self._guard.drop()
            return verdict
        try:
            await self._journal.open(term, server if guarded else "")
        except EpochLost:
            await self._guard.drop()
            return self._take_over.refused(term)
        return Verdict.FREE

    async def _prepare(self) -> Verdict:
        """
        See to it that the schema is as this daemon needs it.

        Nobody migrates under another one that can be known of; nor do two at once.
        """
        if not await self._guard.hold():
            if await self._database.is_prepared():
                return Verdict.FREE
            # Another node may be about to prepare it.
            if self._take_over.shared:
                await self._judge_unprepared()
                return Verdict.UNKNOWN
            return Verdict.TAKEN
        verdict = await self._judge_unprepared()
        if verdict is not Verdict.FREE:
            await self._guard.drop()
            return verdict
        await self._database.prepare()
        return Verdict.FREE

    async def _judge_unprepared(self) -> Verdict:
        """
        Judge whether anybody serves the store by the schema that it has.

        :raises resourced.errors.ConfigurationError: other nodes do, and this one does not wait for their end.
        """
        if not await self._database.may_be_led():
            return Verdict.FREE
        verdict = self._take_over.judge(await self._store.look(everywhere=True), self._now())
        if verdict is Verdict.TAKEN and self._take_over.shared:
            raise ConfigurationError(
                "The schema has to be brought up to date, and daemons of an earlier version serve this store. Stop all of them first."
            )
        return verdict
