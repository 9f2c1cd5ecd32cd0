"""A lock while it is held: what may be believed of it, and what may be done with it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from math import inf
from typing import Any, Final
from weakref import ReferenceType, WeakMethod, ref

from twisted.internet.defer import CancelledError, Deferred, DeferredLock, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from resourced.client.errors import ClientError, LockLost, Unreachable
from resourced.client.process import HELD
from resourced.client.servers import LONGEST, Servers, path
from resourced.client.values import Event, decoded, take
from resourced.client.wire import Answer

log = Logger()

#: The events that end a lock.
ENDS: Final = frozenset({"release", "expiry", "break"})
#: Seconds that a server may take to hear that a lock is given up which could not be confirmed.
FAREWELL: Final = 1.0
#: The code of the loss of a lock that somebody has let go of with its ticket, and who holds it is the only one to have that.
RELEASED: Final = "released"
#: Why a process does not hold what it found when it was forked.
FORKED: Final = "is held by the process that this one was forked from, not by this one."


class Held:
    """
    A lock that is held. Every method raises ``LockLost`` from the moment on when it is not, or cannot be believed to be.

    It is renewed for as long as somebody has this object, or if it is a block's, whoever will release it in the end: a lock that nobody
    can release any more ends. In a process that is forked from the one that holds the lock it counts as lost, and nothing is done
    about it there.

    :ivar resource: what is locked: the name of the resource,
    :ivar selector: and of the selector.
    :ivar ticket: what the server knows the holder by. Keep it secret: whoever has it has the lock.
    :ivar fence: grows with every grant; hand it to whatever the lock protects.
    :ivar owner: who the holder said it is; empty if it left that to the server.
    :ivar lease: for how many whole seconds the server holds the lock for a holder that is silent, as it last said.
    """

    def __init__(
        self,
        servers: Servers,
        reactor: IReactorTime,
        resource: str,
        selector: str,
        *,
        ticket: str,
        owner: str,
        fence: int,
        text: str | None,
        borrowed: bool = False,
    ) -> None:
        """
        Begin to hold it.

        :param borrowed: whether it is another block's, which will release it.
        """
        self.resource = resource
        self.selector = selector
        self.ticket = ticket
        self.owner = owner
        self.fence = fence
        self.lease = 0
        self._servers = servers
        self._reactor = reactor
        self._path = path(resource, selector)
        self._text = text
        self._borrowed = borrowed
        self._process = os.getpid()
        self._block: ReferenceType[object] | None = None
        self._data: tuple[Any, ...] = ()
        self._until = 0.0
        self._reason: LockLost | None = None
        self._leaving = False
        self._hurrying = False
        self._over = False
        self._trouble = ""
        self._waiters: list[Deferred[LockLost]] = []
        self._timers: list[IDelayedCall] = []
        self._renewing: Deferred[None] = succeed(None)
        # What the server is told about the lock is told one after the other: a renewal that overtook a release would queue anew.
        self._turn = DeferredLock()
        HELD.enter(self)

    # -- What is known

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
        """For how many seconds the lock may be believed to be held if the server is not heard of again; 0 if it is not held."""
        return 0.0 if self._over or self.reason else max(0.0, self._until - self._servers.seconds())

    @property
    def reason(self) -> LockLost | None:
        """Why it is lost; None if it is not."""
        return self._error(FORKED, "forked") if self._forked else self._reason

    def lost(self) -> Deferred[LockLost]:
        """Wait for the loss of the lock. It never comes if the lock is let go of; each caller has a Deferred of its own."""
        if self._reason is not None:
            return succeed(self._reason)
        waiter: Deferred[LockLost] = Deferred(self._waiters.remove)
        self._waiters.append(waiter)
        return waiter

    def check(self) -> None:
        """Return if the lock is held: for a long piece of work that asks now and then. It may be called in any thread."""
        if (reason := self.reason) is not None:
            raise self._again(reason)
        if self._over:
            raise self._error("was let go of before.", RELEASED)
        if self._servers.seconds() >= self._until:
            raise self._error(self._unconfirmed, "unconfirmed")

    def _look(self) -> None:
        """Return if the lock is held, and if it is not any more, have everybody know."""
        if not self._forked and self._reason is None and not self._over and self._servers.seconds() >= self._until:
            self._lapse()
        self.check()

    # -- What is done with it

    def belong(self, block: object) -> None:
        """Be released as soon as it is seen that somebody is not there any more, who would have released it at the end of a block."""
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
        self._leaving = True
        await self._servers.finish(self._path, self._unlock(), self._hurry)

    async def _unlock(self) -> None:
        async with self._turn:
            self._look()
            self.stop()
            answer = await self._tell("POST", f"{self._path}/unlock")
            # After a try whose answer was lost it may have been let go of already.
            if not answer.repeated and answer.fields.get("unlocked") is not True:
                if await self._was_released(patience=0):
                    raise self._released()
                raise self._lose("was not held any more when it was to be let go of.")

    async def release(self) -> None:
        """
        Let go of the lock as its block ends, if that was not done before; if no server can be told it ends with its lease.

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
        self._servers.aside(self._path, self.release())

    async def _store(self, method: str, text: str | None, *, unlock: bool) -> None:
        self._look()
        work = self._send(method, text, unlock=unlock)
        await (self._servers.finish(self._path, work, self._hurry) if unlock else work)

    async def _send(self, method: str, text: str | None, *, unlock: bool) -> None:
        body = None if text is None else text.encode()
        target = f"{self._path}?unlock=1" if unlock else self._path
        async with self._turn:
            self._look()
            try:
                answer = await self._tell(method, target, body)
            except Unreachable:
                # It makes a difference whether there is still a lock to try again with.
                self._look()
                raise
            done = answer.status < 300 or (unlock and answer.repeated and await self._was_released())
            if not done:
                raise self._lose(_said(answer), answer.code)
            self._text, self._data = text, ()
            if unlock:
                self.stop()
                return
        if (lease := answer.number("x-lease")) is not None:
            self.believe(answer.sent, lease)
        else:
            # The lease began anew, and nobody said whether it is still as long as it was.
            self._renew()

    async def _tell(self, method: str, target: str, body: bytes | None = None) -> Answer:
        """Say something as the holder."""
        return await self._servers.ask(
            method,
            target,
            headers={"x-ticket": self.ticket},
            body=body,
            accept=(410, 423),
            until=self._until,
            trouble=self._give_in,
        )

    def _hurry(self) -> None:
        """Know that whoever waits for what is said last would rather go: each server is asked once more at most."""
        self._hurrying = True

    def _give_in(self, trouble: str) -> None:
        if self._hurrying:
            raise Unreachable(trouble)

    async def _was_released(self, patience: float = inf) -> bool:
        """Tell from the history whether the lock was let go of with its ticket; if it does not say, it was not."""
        before: int | None = None
        while True:
            try:
                target = path(self.resource, self.selector, end="events", before=before)
                page = await self._servers.ask("GET", target, patience=patience)
                events = [take(Event, fields) for fields in page.items("events")]
            except ClientError:
                return False
            for event in events:
                if event.fence == self.fence and event.event in ENDS:
                    return event.event == "release"
                if event.event == "grant" and event.fence <= self.fence:
                    return False
            before = page.fields.get("next")
            if before is None:
                return False

    # -- Belief

    def believe(self, sent: float, lease: int) -> None:
        """
        Take it from the server that the lock is held.

        :param sent: when the request that it answered was about to be sent: the lease began later.
        """
        if self._over or self._reason is not None:
            return
        self._until, self.lease = sent + lease, lease
        self._disarm()
        now = self._servers.seconds()
        self._timers = [
            self._later(sent + lease / 3 - now, self._renew),
            self._later(self._until - now, self._expect_lapse),
        ]

    def _later(self, seconds: float, due: Callable[[], None]) -> IDelayedCall:
        """Have a method of this called, if somebody still has the lock by then."""
        method = WeakMethod(due)

        def call() -> None:
            if (alive := method()) is not None:
                alive()

        return self._reactor.callLater(max(0.0, seconds), call)

    def stop(self) -> None:
        """Have no more to do with the lock."""
        self._over = True
        self._disarm()
        HELD.leave(self)

    def look(self) -> None:
        """Find out at once how the lock stands: for whoever knows that time has passed which no timer has noticed."""
        if self._over or self._reason is not None:
            return
        if self._servers.seconds() >= self._until:
            self._lapse()
        else:
            self._renew()

    def _disarm(self) -> None:
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        self._timers = []

    def _expect_lapse(self) -> None:
        left = self._until - self._servers.seconds()
        if self._forked:
            self._lose(FORKED, "forked")
        elif left > 0:
            # The reactor's clock is not the one that counts.
            self._timers.append(self._later(left, self._expect_lapse))
        else:
            self._lapse()

    @property
    def _unconfirmed(self) -> str:
        return f"was not confirmed within its {self.lease} seconds. {self._trouble}".strip()

    def _lapse(self) -> None:
        self._lose(self._unconfirmed, "unconfirmed")
        # What is still under way must not come after this: the server may take it for held yet.
        if not self._renewing.called:
            self._renewing.cancel()
        # It was not reached for a whole lease, and nobody who ends should be kept by that any longer.
        self._servers.aside(self._path, self._let_go(timeout=FAREWELL))

    async def _let_go(self, timeout: float = inf) -> None:
        await self._servers.ask(
            "POST", f"{self._path}/unlock", headers={"x-ticket": self.ticket}, patience=0, timeout=timeout
        )

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
            if self._over or self._reason is not None:
                return
            try:
                answer = await self._servers.ask(
                    "PUT",
                    f"{self._path}/lock",
                    headers=as_holder(self.ticket, self.owner),
                    accept=(202, 410),
                    timeout=self.lease / 3,
                    pause=self.lease / 20,
                    until=self._until,
                    trouble=self._note,
                )
            except ClientError as error:
                self._trouble = error.sentence
                self._timers.append(self._later(min(self.lease / 6, LONGEST), self._renew))
                return
        await self.learn(answer)

    async def learn(self, answer: Answer) -> None:
        """Believe or lose the lock, by what the server said to its renewal."""
        lease = answer.number("x-lease")
        if answer.status == 200 and answer.number("x-fence") == self.fence and lease is not None:
            self._trouble = ""
            self.believe(answer.sent, lease)
            return
        if answer.status == 410:
            self._lose(_said(answer), answer.code)
            return
        # Somebody has let go of the lock with its ticket, which this request has put into the queue again.
        self._servers.aside(self._path, self._let_go())
        if await self._was_released(patience=0):
            self._released()
        else:
            self._lose(_said(answer), answer.code)

    def _note(self, trouble: str) -> None:
        self._trouble = trouble
        if self._leaving:
            # Whoever lets go of the lock waits for this renewal.
            raise Unreachable(trouble)

    def _released(self) -> LockLost:
        return self._lose("was let go of with its ticket.", RELEASED)

    @property
    def _forked(self) -> bool:
        return os.getpid() != self._process and not self._over

    def _error(self, why: str, code: str) -> LockLost:
        """
        Return the error that says why the lock is not held.

        :param why: the rest of a sentence about the lock.
        """
        sentence = f"The lock of {self.resource}/{self.selector} {why}"
        return LockLost(sentence, code, self.resource, self.selector, self.fence)

    def _lose(self, why: str, code: str = "") -> LockLost:
        """
        Know from now on that the lock is lost, and tell everyone who waits for that.

        :param why: the rest of a sentence about the lock.
        """
        if self._reason is None:
            self._reason = self._error(why, code)
            self.stop()
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                waiter.callback(self._reason)
        return self._again(self._reason)

    def _again(self, reason: LockLost) -> LockLost:
        """Return the same error anew: an exception collects where it has been."""
        return LockLost(reason.sentence, reason.code, self.resource, self.selector, self.fence)


def as_holder(ticket: str, owner: str) -> dict[str, str]:
    """
    Return the headers of a request for a lock that a ticket has or waits for.

    It does not wait, unless it is told to: where requests wait that do not say, it has to say so.
    """
    return {"x-ticket": ticket, "prefer": "wait=0", **({"x-owner": owner} if owner else {})}


def _said(answer: Answer) -> str:
    """Return what the server said of a lock that is not held."""
    return f"was lost: {answer.fields.get('error') or 'somebody has let go of it with its ticket.'}"


def _report(failure: Failure) -> None:
    if not failure.check(CancelledError):
        log.failure("A lock could not be renewed.", failure)
