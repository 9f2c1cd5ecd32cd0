"""A lock while it is held: what is known of it, and what may be done with it."""

from __future__ import annotations

import json
import os
from collections.abc import Coroutine
from typing import Any, Final
from weakref import ReferenceType, ref

from twisted.internet.defer import CancelledError, Deferred, DeferredLock, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from resourced.client.errors import ClientError, LockLost, Unreachable
from resourced.client.holder import HolderRequests
from resourced.client.lease import Lease
from resourced.client.loss import LockLoss, once_more
from resourced.client.process import HELD_LOCKS
from resourced.client.servers import Servers
from resourced.client.values import Grant, decoded
from resourced.client.wire import Answer

log = Logger()

#: Seconds that a server may take to hear that a lock is given up which could not be confirmed.
FAREWELL: Final = 1.0
#: The code of the loss of a lock that somebody has let go of with its ticket, and who holds it is the only one to have that.
RELEASED: Final = "released"
#: Why a process does not hold what it found when it was forked.
FORKED: Final = "is held by the process that this one was forked from, not by this one."


class Held:
    """
    A lock that is held. Every method raises ``LockLost`` from the moment on when it is not, or cannot be known to be.

    It is renewed for as long as somebody can release it: whoever has this object, or the block that it belongs to. After that it ends. In a process that is forked from the one that holds the lock it counts as lost, and nothing is done
    about it there.

    :ivar resource: what is locked: the name of the resource,
    :ivar selector: and of the selector.
    :ivar ticket: what the server knows the holder by. Keep it secret: it is all that is needed to use the lock.
    :ivar fence: grows with every grant; hand it to whatever the lock protects.
    :ivar owner: who the holder said it is; empty if it left that to the server.
    """

    def __init__(
        self, servers: Servers, reactor: IReactorTime, grant: Grant, *, text: str | None, borrowed: bool = False
    ) -> None:
        """
        Begin to hold it.

        :param text: the data.
        :param borrowed: whether it is another block's, which will release it.
        """
        self.resource = grant.resource
        self.selector = grant.selector
        self.ticket = grant.ticket
        self.owner = grant.owner
        self.fence = grant.fence
        self._servers = servers
        self._text = text
        self._borrowed = borrowed
        self._process = os.getpid()
        self._block: ReferenceType[object] | None = None
        self._data: tuple[Any, ...] = ()
        self._lease = Lease(reactor, servers.seconds, renew=self._renew, lapse=self._lapse)
        self._requests = HolderRequests(servers, grant, self._lease)
        self._loss = LockLoss(grant)
        self._over = False
        self._renewing: Deferred[None] = succeed(None)
        # What the server is told about the lock is told one after the other: a renewal that overtook a release would queue anew.
        self._turn = DeferredLock()
        HELD_LOCKS.enter(self)

    # -- What is known

    @property
    def lease(self) -> int:
        """For how many whole seconds the server holds the lock for a holder that is silent, as it last said."""
        return self._lease.length

    @property
    def text(self) -> str | None:
        """The JSON text that was there when the lock was got, or that was written since; None if there is none."""
        return self._text

    @property
    def data(self) -> Any:
        """
        What ``text`` stands for, decoded once; None if there is none.

        :raises Rejected: it is JSON that Python does not take (``code`` is ``bad_data``).
        """
        if not self._data:
            self._data = (None if self._text is None else decoded(self._text),)
        return self._data[0]

    @property
    def left(self) -> float:
        """For how many seconds the lock is certainly held, if the server is not heard of again; 0 if it is not held."""
        return 0.0 if self._over or self.reason else self._lease.left

    @property
    def reason(self) -> LockLost | None:
        """Why it is lost; None if it is not."""
        return self._loss.error(FORKED, "forked") if self._forked else self._loss.reason

    def lost(self) -> Deferred[LockLost]:
        """Wait for the loss of the lock. It never comes if the lock is let go of; each caller has a Deferred of its own."""
        return self._loss.wait()

    def check(self) -> None:
        """Return if the lock is held: for a long piece of work that asks now and then. It may be called in any thread."""
        if (reason := self.reason) is not None:
            raise once_more(reason)
        if self._over:
            raise self._loss.error("was let go of before.", RELEASED)
        if self._lease.over:
            raise self._loss.error(self._unconfirmed, "unconfirmed")

    def _look(self) -> None:
        """Return if the lock is held, and if it is not any more, have everybody know."""
        if not self._forked and not self._ended and self._lease.over:
            self._lapse()
        self.check()

    @property
    def _ended(self) -> bool:
        """Whether it is lost or released."""
        return self._over or self._loss.reason is not None

    # -- What is done with it

    def belong(self, block: object) -> None:
        """Be released as soon as the object is gone that would have released it at the end of a block."""
        self._block = ref(block)

    async def write(self, value: Any, *, unlock: bool = False) -> None:
        """
        Write a value as JSON.

        :param unlock: let go of the lock in the same step.
        :raises TypeError: the value cannot be JSON; or ``ValueError``. Nothing was sent then.
        """
        await self.write_text(json.dumps(value, ensure_ascii=False, allow_nan=False), unlock=unlock)

    async def write_text(self, text: str, *, unlock: bool = False) -> None:
        """
        Write a JSON text, which is kept byte for byte.

        :raises Rejected: it is not JSON (``code`` is ``bad_json``), or something else is wrong with it.
        """
        await self._store("PUT", text, unlock=unlock)

    async def delete(self, *, unlock: bool = False) -> None:
        """Delete the data; there may be none."""
        await self._store("DELETE", None, unlock=unlock)

    async def unlock(self) -> None:
        """
        Let go of the lock before the block ends. Nothing can be done with it from then on. This is done to its end, whoever cancels it.

        :raises Unreachable: no server could be told; the lock ends with its lease.
        """
        self._look()
        self._requests.leaving = True
        await self._finish(self._unlock())

    async def _finish(self, work: Coroutine[Any, Any, None]) -> None:
        await self._servers.finish(self._requests.path, work, self._requests.hurry)

    async def _unlock(self) -> None:
        async with self._turn:
            self._look()
            self.stop()
            answer = await self._requests.say("POST", "/unlock")
            # After a try whose answer was lost it may have been let go of already.
            if not answer.repeated and answer.fields.get("unlocked") is not True:
                if await self._requests.was_released(retry_timeout=0):
                    raise self._released()
                raise self._lose("was not held any more when it was to be let go of.")

    async def release(self) -> None:
        """
        Let go of the lock as its block ends, if that was not done before. If no server can be told it ends with its lease.

        A lock that is another block's is left to that.

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
        except LockLost:
            raise
        except ClientError as error:
            log.warn("A lock could not be released and ends with its lease. {why}", why=error.sentence)

    def release_aside(self) -> None:
        """Do so without waiting for it, where nothing can be waited for."""
        self._servers.aside(self._requests.path, self.release())

    async def _store(self, method: str, text: str | None, *, unlock: bool) -> None:
        self._look()
        work = self._send(method, text, unlock=unlock)
        await (self._finish(work) if unlock else work)

    async def _send(self, method: str, text: str | None, *, unlock: bool) -> None:
        body = None if text is None else text.encode()
        async with self._turn:
            self._look()
            try:
                answer = await self._requests.say(method, "?unlock=1" if unlock else "", body)
            except Unreachable:
                # It makes a difference whether there is still a lock to try again with.
                self._look()
                raise
            if answer.status >= 300 and not (unlock and answer.repeated and await self._requests.was_released()):
                raise self._lose(_refused(answer), answer.code)
            self._text, self._data = text, ()
            if unlock:
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
        Know from the server that the lock is held.

        :param sent: when the request that it answered was about to be sent: the lease began later.
        """
        if not self._ended:
            self._lease.begin(sent, lease)

    def stop(self) -> None:
        """Have no more to do with the lock."""
        self._over = True
        self._lease.stop()
        HELD_LOCKS.leave(self)

    def look(self) -> None:
        """Find out at once how the lock stands: for whoever knows that time has passed which no timer has noticed."""
        if self._ended:
            return
        if self._lease.over:
            self._lapse()
        else:
            self._renew()

    @property
    def _unconfirmed(self) -> str:
        return f"was not confirmed within its {self.lease} seconds. {self._requests.trouble}".strip()

    def _lapse(self) -> None:
        if self._forked:
            self._lose(FORKED, "forked")
            return
        self._lose(self._unconfirmed, "unconfirmed")
        # What is still under way must not come after this: the server may take it for held yet.
        if not self._renewing.called:
            self._renewing.cancel()
        # It was not reached for a whole lease, and nobody who ends should be kept by that any longer.
        self._requests.let_go(timeout=FAREWELL)

    def _renew(self) -> None:
        if self._forked:
            self._lose(FORKED, "forked")
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
        """Keep or lose the lock, by what the server said to its renewal."""
        lease = answer.number("x-lease")
        if answer.status == 200 and answer.number("x-fence") == self.fence and lease is not None:
            self._requests.trouble = ""
            self.confirmed(answer.sent, lease)
            return
        if answer.status == 410:
            self._lose(_refused(answer), answer.code)
            return
        # Somebody has let go of the lock with its ticket, which this request has put into the queue again.
        self._requests.let_go()
        if await self._requests.was_released(retry_timeout=0):
            self._released()
        else:
            self._lose(_refused(answer), answer.code)

    def _released(self) -> LockLost:
        return self._lose("was let go of with its ticket.", RELEASED)

    @property
    def _forked(self) -> bool:
        return os.getpid() != self._process and not self._over

    def _lose(self, why: str, code: str = "") -> LockLost:
        """
        Know from now on that the lock is lost, and have everyone told; return the error that says so.

        :param why: the rest of a sentence about the lock.
        """
        reason = self._loss.reason
        if reason is None:
            reason = self._loss.error(why, code)
            self._loss.reason = reason
            self.stop()
            self._loss.tell(reason)
        return once_more(reason)


def _refused(answer: Answer) -> str:
    """Return what the server said of a lock that is not held."""
    return f"was lost: {answer.fields.get('error') or 'somebody has let go of it with its ticket.'}"


def _report(failure: Failure) -> None:
    if not failure.check(CancelledError):
        log.failure("A lock could not be renewed.", failure)
