"""What takes commits to a MySQL server from the reactor's own thread."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Final

import pymysql
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from resourced.storage.sql.direct.handshake import KEEP_TIME, OpenConnection, open_connection, whole
from resourced.storage.sql.direct.protocol import CommitProtocol, lost
from resourced.storage.sql.direct.state import (
    ANSWERED,
    AWAY,
    CLOSE,
    CLOSED,
    COMMIT,
    FAILED,
    LOSE,
    OPEN,
    OPENED,
    READY,
    TRANSITIONS,
    UNUSABLE,
    CommitterEvent,
)
from resourced.storage.sql.mysql import MySQL
from resourced.storage.sql.statement import Statement
from resourced.transitions import next_state

#: Seconds without a try to connect after the last one: nobody waits for it.
PAUSE: Final = 2.0
#: Seconds after which the server's clock has to be read anew: somebody may have set it.
FRESH: Final = 1.0


class DirectCommitter:
    """
    The fast path for commits. It wakes no thread, and not the reactor after it, which would take as long as the commit itself.

    It has a connection of its own, for which a thread logs in. Where it has none, the pool does the work.

    A script travels in one packet, with its commit. A server may have been frozen, and come to the script when nobody waits any more. It must
    not do then what was given up. So the last statement before the commit fails if it is too late by the server's own clock.
    For that the server keeps the time at which it was last asked for it. Its answer comes later, so what is left of the timeout after
    that answer can only be too short.

    :param reactor: keeps the connection.
    :param now: a clock in seconds that nobody sets.
    :ivar state: where it stands; only ``_move`` changes it.
    :ivar protocol: its connection, if it has one.
    :ivar opening: fires when it is known whether there is a connection; ``None`` if nobody tries.
    :ivar paused_until: when it may try to connect again.
    :ivar compound: whether the server takes several statements as one.
    """

    def __init__(self, reactor: Any, dialect: MySQL, now: Callable[[], float]) -> None:
        self._reactor = reactor
        self._dialect = dialect
        self._now = now
        self.state = AWAY
        self.protocol: CommitProtocol | None = None
        self.compound = False
        # When the server had kept the time.
        self._kept = -inf
        self.opening: Deferred[None] | None = None
        self.paused_until = now()
        # In which term the connection was made.
        self._term = 0

    def _move(self, event: CommitterEvent) -> None:
        """Take the one step that the table has for an event."""
        self.state = next_state(TRANSITIONS, self.state, event)

    @property
    def ready(self) -> bool:
        """Whether a script would be under way at once."""
        return self.state is READY and self._dialect.one.holds(self._term)

    def open(self) -> None:
        """See to it that there is a connection before long, if there can be one."""
        if self.state is not AWAY or self._now() < self.paused_until:
            return
        self._move(OPEN)
        opened = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), open_connection, self._dialect)
        self.opening = opened.addBoth(self._opened, self._dialect.one.term)

    def _opened(self, opened: OpenConnection | Failure | None, term: int) -> None:
        self.paused_until = self._now() + PAUSE
        if opened is None:
            # The next one would be no better.
            self._move(UNUSABLE)
        elif isinstance(opened, OpenConnection) and self._adopt(opened, term):
            self._move(OPENED)
            if self.state is CLOSED:
                self._leave()
        else:
            self._move(FAILED)
        self.opening = None

    def _adopt(self, opened: OpenConnection, term: int) -> bool:
        """Have the reactor use a connection; tell whether it can."""
        protocol = CommitProtocol(self._lost)
        factory = Factory()
        factory.protocol = lambda: protocol
        try:
            if not self._dialect.one.holds(term):
                return False
            self._reactor.adoptStreamConnection(opened.descriptor, opened.family, factory)
        except OSError:
            # The server has hung up already.
            return False
        finally:
            # What is used is a copy.
            os.close(opened.descriptor)
        self.protocol, self.compound, self._kept, self._term = protocol, opened.compound, -inf, term
        return True

    def _lost(self) -> None:
        self.protocol = None
        self._move(LOSE)

    async def commit(self, script: Sequence[Statement]) -> bool:
        """
        Do a script in a transaction of its own, and commit it. Only while it is ``ready``.

        :returns: whether it is done; if not, nothing of it is, and doing it step by step will tell why, or may well succeed.
        :raises pymysql.MySQLError: it was refused; or nobody knows what became of it.
        """
        protocol = self.protocol
        if protocol is None or self.state is not READY:
            raise RuntimeError("There is no connection for it.")
        self._move(COMMIT)
        until = self._now() + self._dialect.timeout
        timer = self._reactor.callLater(self._dialect.timeout, lambda: protocol.give_up(self._dialect.late()))
        try:
            if self._now() - self._kept > FRESH and not await self._keep_time(protocol):
                return False
            text = whole(script, until - self._kept, compound=self.compound)
            error = await protocol.ask(text)
            if error is None:
                return True
            return await self._undo(protocol, error)
        finally:
            self._move(ANSWERED)
            if timer.active():
                timer.cancel()

    async def _keep_time(self, protocol: CommitProtocol) -> bool:
        """Let the server keep the time; tell whether it has. Who was silent for long may be gone, which shows here, when nothing is lost by it."""
        error = await protocol.ask(KEEP_TIME)
        self._kept = self._now()
        if error is not None:
            protocol.give_up(error)
            if self._dialect.is_late(error):
                raise error
        return error is None

    async def _undo(self, protocol: CommitProtocol, error: pymysql.MySQLError) -> bool:
        """Leave nothing of a script that has failed; return only if nothing of it was done."""
        if self._dialect.is_lost(error) or await protocol.ask(b"ROLLBACK") is not None:
            protocol.give_up(error)
        if not self._dialect.is_undone(error):
            raise error
        return False

    def drop(self) -> None:
        """Hang up, whatever is under way: nobody knows what becomes of it."""
        if self.protocol is not None:
            self.protocol.give_up(lost())

    async def close(self) -> None:
        """Let go of the connection."""
        self._move(CLOSE)
        if self.opening is not None:
            await self.opening
        self._leave()

    def _leave(self) -> None:
        if self.protocol is not None:
            self.protocol.leave()
