"""A ticket that holds something, from its grant to its end: one lock, or several units at once."""

from __future__ import annotations

import os
from collections.abc import Coroutine, Mapping
from typing import Any, Final
from weakref import ReferenceType, ref

from twisted.internet.defer import CancelledError, Deferred, DeferredLock, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from resourced.calls.answers import Answer
from resourced.calls.errors import ClientError, LockLost, Unreachable
from resourced.client.grant import Fenced, Grant
from resourced.client.holder import HolderRequests
from resourced.client.lease import Lease
from resourced.client.loss import LockLoss, lock_lost, once_more
from resourced.client.process import HELD_LOCKS
from resourced.client.servers import Servers

log = Logger()

#: Seconds that a server may take to hear that a lock is given up which could not be confirmed.
FAREWELL: Final = 1.0
#: The code of the loss of a lock that somebody has let go of with its ticket, and who holds it is the only one to have that.
RELEASED: Final = "released"
#: Why a process does not hold what it found when it was forked.
FORKED: Final = "is held by the process that this one was forked from, not by this one."


class HeldTicket:
    """
    A ticket that holds. All that it holds has one lease, and one loss: that of the first selector which is lost.

    It is renewed for as long as somebody has this, or the block that it belongs to.

    :ivar grant: what it was given.
    :ivar units: what it holds still.
    :ivar loss: may come.
    """

    def __init__(self, servers: Servers, reactor: IReactorTime, grant: Grant, *, borrowed: bool) -> None:
        """
        Begin to hold.

        :param borrowed: whether it is another block's, which will release it.
        """
        self.grant = grant
        self.units = {granted.unit for granted in grant.units}
        self.loss = LockLoss()
        self._servers = servers
        self._borrowed = borrowed
        self._process = os.getpid()
        self._block: ReferenceType[object] | None = None
        self._lease = Lease(reactor, servers.seconds, renew=self._renew, lapse=self._lapse)
        self._requests = HolderRequests(servers, grant, self._lease)
        self._over = False
        self._renewing: Deferred[None] = succeed(None)
        # What the server is told about the lock is told one after the other: a renewal that overtook a release would queue anew.
        self._turn = DeferredLock()
        HELD_LOCKS.enter(self)

    # -- What is known

    @property
    def lease(self) -> int:
        """For how many whole seconds the server holds it for a holder that is silent, as it last said."""
        return self._lease.length

    @property
    def left(self) -> float:
        """For how many seconds it is certainly held, if the server is not heard of again; 0 if it is not held."""
        return 0.0 if self._over or self.reason else self._lease.left

    @property
    def reason(self) -> LockLost | None:
        """Why it is lost; None if it is not."""
        return lock_lost(self._any, FORKED, "forked") if self._forked else self.loss.reason

    def check(self, unit: Fenced | None = None) -> None:
        """
        Return if it is held.

        :param unit: of several, the one that matters.
        """
        if (reason := self.reason) is not None:
            raise once_more(reason)
        if self._over or (unit is not None and unit not in self.units):
            raise lock_lost(unit or self._any, "was let go of before.", RELEASED)
        if self._lease.over:
            raise lock_lost(self._any, _unconfirmed(self.lease, self._requests.trouble), "unconfirmed")

    def _look(self, unit: Fenced | None = None) -> None:
        """Return if it is held, and if it is not any more, have everybody know."""
        if not self._forked and not self._ended and self._lease.over:
            self._lapse()
        self.check(unit)

    @property
    def _ended(self) -> bool:
        """Whether it is lost or released."""
        return self._over or self.loss.reason is not None

    @property
    def _any(self) -> Fenced:
        """What an error names that is about all of it."""
        return self.grant.units[0].unit

    # -- What is done with it

    def belong(self, block: object) -> None:
        """Be released as soon as the object is gone that would have released it at the end of a block."""
        self._block = ref(block)

    async def unlock(self, out: Mapping[Fenced, str] | None = None) -> None:
        """
        Let go of everything. This is done to its end, whoever cancels it.

        :param out: what is to go out of service, and why.
        :raises Unreachable: no server could be told; the lock ends with its lease.
        """
        self._look()
        self._requests.leaving = True
        await self._finish(self._unlock(out or {}))

    async def unlock_unit(self, unit: Fenced, out: str = "") -> None:
        """Let go of one selector, and keep the others; else as ``unlock``."""
        self._look(unit)
        if self.units == {unit}:
            await self.unlock({unit: out} if out else None)
        else:
            await self._finish(self._unlock_unit(unit, out))

    async def store(self, method: str, unit: Fenced, text: str | None, *, unlock: bool) -> None:
        """
        Write or delete the data of a selector.

        :param unlock: let go of that selector in the same step.
        """
        self._look(unit)
        work = self._store(method, unit, text, unlock=unlock)
        await (self._finish(work) if unlock else work)

    async def release(self) -> None:
        """
        Let go of everything as its block ends, if that was not done before. If no server can be told it ends with its lease.

        What is another block's is left to that.

        :raises LockLost: it was lost before.
        """
        if self._over and self.reason is None:
            return
        if self._borrowed:
            self._look()
            self.stop()
            return
        try:
            await self.unlock()
        except LockLost as lost:
            if lost.left:
                self._requests.let_go()
            raise
        except ClientError as error:
            log.warn("A lock could not be released and ends with its lease. {why}", why=error.sentence)

    def release_aside(self) -> None:
        """Do so without waiting for it, where nothing can be waited for."""
        self._servers.aside(self._requests.about, self.release())

    async def _finish(self, work: Coroutine[Any, Any, None]) -> None:
        await self._servers.finish(self._requests.about, work, self._requests.hurry)

    async def _unlock(self, out: Mapping[Fenced, str]) -> None:
        refusal: ClientError | None = None
        async with self._turn:
            self._look()
            for unit, why in out.items() if self.grant.joint else ():
                try:
                    await self._leave(unit, why)
                except (LockLost, Unreachable):
                    raise
                except ClientError as error:
                    refusal = error
            self.stop()
            if self.units:
                why = "" if self.grant.joint else out.get(self._any, "")
                await self._left(await self._requests.unlock(self.grant.root, why), min(self.units))
        if refusal is not None:
            raise refusal

    async def _unlock_unit(self, unit: Fenced, out: str) -> None:
        async with self._turn:
            self._look(unit)
            await self._leave(unit, out)

    async def _leave(self, unit: Fenced, out: str) -> None:
        # It counts as let go of from now on. If no server can be told it goes with the others.
        self.units.discard(unit)
        await self._left(await self._requests.unlock(unit.path, out), unit)

    async def _left(self, answer: Answer, unit: Fenced) -> None:
        """Make sure that it was held when it was let go of. After a try whose answer was lost it may have been let go of already."""
        if not answer.repeated and answer.fields.get("unlocked") is not True:
            if await self._requests.was_released(unit, retry_timeout=0):
                raise self._lose(unit, "was let go of with its ticket.", RELEASED)
            raise self._lose(unit, "was not held any more when it was to be let go of.")

    async def _store(self, method: str, unit: Fenced, text: str | None, *, unlock: bool) -> None:
        body = None if text is None else text.encode()
        async with self._turn:
            self._look(unit)
            try:
                answer = await self._requests.say(method, f"{unit.path}?unlock=1" if unlock else unit.path, body)
            except Unreachable:
                # It makes a difference whether there is still a lock to try again with.
                self._look(unit)
                raise
            if answer.status >= 300 and not (unlock and answer.repeated and await self._requests.was_released(unit)):
                raise self._lose(unit, _refused(answer), answer.code)
            if unlock:
                self.units.discard(unit)
                if not self.units:
                    self.stop()
                return
        if (lease := answer.number("x-lease")) is not None:
            self.confirmed(answer.sent, lease)
        else:
            # The lease began anew, and nobody said whether it is still as long as it was.
            self._renew()

    # -- The lease

    def confirmed(self, sent: float, lease: int) -> None:
        """
        Know from the server that it is held.

        :param sent: when the request that it answered was about to be sent: the lease began later.
        """
        if not self._ended:
            self._lease.begin(sent, lease)

    def stop(self) -> None:
        """Have no more to do with it."""
        self._over = True
        self._lease.stop()
        HELD_LOCKS.leave(self)

    def look(self) -> None:
        """Find out at once how it stands: for whoever knows that time has passed which no timer has noticed."""
        if self._ended:
            return
        if self._lease.over:
            self._lapse()
        else:
            self._renew()

    def _lapse(self) -> None:
        if self._forked:
            self._lose(self._any, FORKED, "forked")
            return
        reason = self._lost(self._any, _unconfirmed(self.lease, self._requests.trouble), "unconfirmed")
        # What is still under way must not come after this: the server may take it for held yet.
        if not self._renewing.called:
            self._renewing.cancel()
        # It was not reached for a whole lease, and nobody who ends should be kept by that any longer.
        self._requests.let_go(timeout=FAREWELL)
        # Whoever hears of the loss may close the client, which waits for what is under way.
        self.loss.tell(reason)

    def _renew(self) -> None:
        if self._forked:
            self._lose(self._any, FORKED, "forked")
        elif self._block is not None and self._block() is None:
            self.release_aside()
        elif self._renewing.called:
            self._renewing = Deferred.fromCoroutine(self._confirm())
            self._renewing.addErrback(_report)

    async def _confirm(self) -> None:
        async with self._turn:
            if self._ended:
                return
            answer = await self._requests.renew()
        if answer is not None:
            await self.learn(answer)

    async def learn(self, answer: Answer) -> None:
        """Keep or lose it, by what the server said to its renewal."""
        lease, held = answer.number("x-lease"), self.grant.renewed(answer) & self.units
        if held and lease is not None:
            # The others were let go of with the ticket: of what is taken away the server tells in another manner.
            self.units = set(held)
            self._requests.trouble = ""
            self.confirmed(answer.sent, lease)
            return
        lost = _missing(answer, self.units) or self._any
        if answer.status == 410 and (answer.items("left") or not self.grant.joint):
            self._lose(lost, _refused(answer), answer.code)
            return
        # Somebody has let go of it with its ticket; a request for one lock has put that into the queue again.
        if not self.grant.joint:
            self._requests.let_go()
        if await self._requests.was_released(lost, retry_timeout=0):
            self._lose(lost, "was let go of with its ticket.", RELEASED)
        else:
            self._lose(lost, _refused(answer), answer.code)

    @property
    def _forked(self) -> bool:
        return os.getpid() != self._process and not self._over

    def _lose(self, unit: Fenced, why: str, code: str = "") -> LockLost:
        """
        Know from now on that it is lost, and have everyone told; return the error that says so.

        :param unit: what is lost: of several, the first.
        :param why: the rest of a sentence about it.
        """
        if self.loss.reason is None:
            self.loss.tell(self._lost(unit, why, code))
        assert self.loss.reason is not None  # noqa: S101 - it is from here on
        return once_more(self.loss.reason)

    def _lost(self, unit: Fenced, why: str, code: str) -> LockLost:
        """Know that it is lost, and tell nobody yet; else as ``_lose``."""
        left = sorted(self.units - {unit}) if self.grant.joint and code not in {"forked", "unconfirmed"} else ()
        reason = self.loss.reason = lock_lost(unit, why, code, left)
        self.stop()
        return reason


def _unconfirmed(lease: int, trouble: str) -> str:
    return f"was not confirmed within its {lease} seconds. {trouble}".strip()


def _missing(answer: Answer, units: set[Fenced]) -> Fenced | None:
    """Return the first of some units that is not among those which a refusal says are left."""
    left = {(one.get("resource"), one.get("selector")) for one in answer.items("left")}
    return next((unit for unit in sorted(units) if unit[:2] not in left), None)


def _refused(answer: Answer) -> str:
    """Return what the server said of a lock that is not held."""
    return f"was lost: {answer.fields.get('error') or 'somebody has let go of it with its ticket.'}"


def _report(failure: Failure) -> None:
    if not failure.check(CancelledError):
        log.failure("A lock could not be renewed.", failure)
