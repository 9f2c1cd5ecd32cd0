"""A lock to be had, or several at once: the wait for it, and the block in which it is held."""

from __future__ import annotations

import secrets
from dataclasses import replace
from types import TracebackType
from typing import Any, Generic, TypeVar

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from resourced.calls.answers import Answer
from resourced.calls.errors import ClientError, LockLost, NotAcquired, Unreachable
from resourced.calls.values import Waiting
from resourced.client.asking import Asked, LockOptions
from resourced.client.block import interruption
from resourced.client.grant import Grant
from resourced.client.held import Held, HeldUnits, Holding
from resourced.client.holder import as_holder
from resourced.client.process import HELD_LOCKS
from resourced.client.servers import Servers

log = Logger()

H = TypeVar("H", bound=Holding)


class Wanted(Generic[H]):
    """
    A lock to be had, or several at once: an asynchronous context manager that can be used once.

    While it waits it keeps its ticket, through lost connections, restarts of the server and the take-over by one that stood by.
    Whoever cancels the wait gives up the place.

    Of several things it has all or none. Those that are free are kept for it while it waits for the others, unless it yields.

    With the ticket of a lock that a block of this process holds, it is that lock once more. The block that had it first releases it.

    While the block runs the lock is renewed each third of its lease. If it is lost the block is cancelled where it awaits, once,
    and ``LockLost`` comes out of the ``async with``. A block may await
    nothing, or go on after the cancellation. Then the next use of its ``Held`` raises it, and so does the end of the block.

    The end of the block releases the lock, and waits for that, also if it is cancelled meanwhile. If the coroutine or generator is closed
    within the block, nothing can be waited for. Then the lock is released just after that, and ``Client.close`` waits for it.

    The lease counts from before the request was sent that the server answered, so it ends before the server's.

    :raises NotAcquired: somebody else had it all the while.
    :raises LockLost: it was lost in the block; an exception of the block's own is then its context.
    """

    def __init__(self, servers: Servers, reactor: IReactorTime, asked: Asked, options: LockOptions) -> None:
        self._servers = servers
        self._reactor = reactor
        self._asked = asked
        self._options = options
        # A name that cannot be one is told of before anything is done.
        self._about = asked.about
        self._ticket = options.ticket
        self._told = Waiting(0, options.ticket, 0, "")
        # What a request without a ticket is known by when it is repeated.
        self._key = ""
        self._used = False
        self._borrowed = False
        self._held: H | None = None

    def _hold(self, grant: Grant, *, borrowed: bool) -> H:
        """Begin to hold what was given."""
        raise NotImplementedError

    # -- The block

    async def __aenter__(self) -> H:
        held = await self.enter()
        interrupt = await interruption()
        held.lost().addCallback(lambda _: None if self._held is None else interrupt())
        return held

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        held, self._held = self._held, None
        if held is None:
            return
        if isinstance(error, GeneratorExit) and held.reason is None:
            # The coroutine is being thrown away, and may not wait for anything.
            held.release_aside()
            return
        try:
            await held.release()
        except LockLost as lost:
            if isinstance(error, LockLost) and _place(error) == _place(lost):
                return
            if lost.code == "forked" and error is not None and not isinstance(error, CancelledError):
                # The block goes on in the process that holds the lock. This one leaves it because of something else.
                return
            raise lost from error

    async def enter(self) -> H:
        """Wait for the lock for a block that is not a coroutine's: who calls this calls ``__aexit__`` in the end, and looks after ``lost``."""
        held = await self.acquire()
        held.belong(self)
        return held

    async def acquire(self) -> H:
        """
        Wait for the lock without a block: whoever calls this calls ``release`` of what it returns too, and looks after its ``lost``.

        :raises NotAcquired: somebody else had it all the while.
        """
        if self._used:
            raise RuntimeError("A lock can be waited for once; ask the client for another one.")
        self._used = True
        self._borrowed = self._is_held
        try:
            # Another block may have left the lock just now.
            await self._servers.settled(self._about)
            self._held = await self._queue()
        except GeneratorExit:
            self._servers.aside(self._about, self._give_up())
            raise
        except BaseException:
            await self._servers.finish(self._about, self._give_up())
            raise
        if (on_lost := self._options.on_lost) is not None:
            self._held.lost().addCallback(on_lost).addErrback(_report)
        return self._held

    @property
    def _is_held(self) -> bool:
        """Whether a block of this process holds the lock by this ticket."""
        return HELD_LOCKS.have(self._asked.root, self._ticket)

    # -- The wait

    async def _queue(self) -> H:
        until = self._servers.seconds() + self._options.wait
        while True:
            began, joining = self._servers.seconds(), not self._ticket
            answer = await self._ask(until, 0.0 if joining else self._options.poll)
            if answer.status == 410:
                await self._rejoin(answer)
            elif answer.status == 202:
                out = str(answer.fields.get("out") or "")
                about = answer.fields.get("about")
                self._tell(position=int(answer.fields.get("position", 0)), trouble="", out=out, about=about)
                if self._servers.seconds() >= until:
                    raise NotAcquired(f"Somebody else has {self._asked.name}.", self._told.position)
            elif held := await self._taken(answer):
                return held
            if not joining or answer.status != 202:
                # A server that does not let requests wait, or has no time for it, is not to be asked all the time.
                pause = float(answer.number("retry-after") or 1) - (self._servers.seconds() - began)
                await self._servers.sleep(max(0.0, min(pause, until - self._servers.seconds())))

    async def _ask(self, until: float, wait: float) -> Answer:
        """Ask for the lock, with the ticket or for one."""
        if self._ticket:
            known = {"x-ticket": self._ticket}
        else:
            self._key = self._key or secrets.token_hex(16)
            known = {"idempotency-key": self._key}
        headers = {**known, "prefer": "wait=0", **self._options.headers}
        try:
            answer = await self._servers.ask(
                self._asked.method,
                self._asked.target(self._options.lease),
                headers=headers,
                body=self._asked.body,
                accept=(404, 410),
                wait=wait,
                until=until,
                trouble=lambda sentence: self._tell(trouble=sentence),
            )
        except Unreachable:
            raise
        except ClientError:
            # It has said no, so there is no place.
            self._key = ""
            raise
        ticket = answer.header("x-ticket")
        if answer.status == 404 and not ticket:
            self._key = ""
            raise answer.error
        if answer.status != 410:
            self._ticket = ticket or self._ticket
        return answer

    async def _taken(self, answer: Answer) -> H | None:
        """Make sure of a lock that was given; return nothing if it was lost before that was certain."""
        lease = answer.number("x-lease")
        if lease is None or not self._ticket:
            raise Unreachable("The server gave a lock, but did not say which.", "bad_answer")
        grant = self._asked.grant(answer, self._ticket, self._options.owner)
        sent = answer.sent
        if self._asked.offered(answer) or self._servers.seconds() - sent > lease / 3:
            # It may be only offered. And if the request waited for it, most of its lease may be over by this count.
            answer = await self._servers.ask(
                "POST", f"{grant.root}/lock", headers=as_holder(self._ticket, self._options.owner), accept=(410,)
            )
            if answer.status == 410:
                await self._rejoin(answer)
            if len(grant.renewed(answer)) < len(grant.units):
                return None
            sent, lease = answer.sent, answer.number("x-lease") or 0
        # The other block may have left it meanwhile; then the lock is this one's alone.
        held = self._hold(grant, borrowed=self._borrowed and self._is_held)
        held.confirmed(sent, lease)
        return held

    async def _rejoin(self, answer: Answer) -> None:
        """Know that the place is lost; the next request joins at the end of the queue."""
        if answer.items("left"):
            # A unit was taken away before the client knew that it had all of them.
            ticket = self._ticket or answer.header("x-ticket")
            await self._servers.ask("POST", f"{self._asked.root}/unlock", headers={"x-ticket": ticket})
        self._key, self._borrowed = "", False
        if self._ticket:
            self._ticket = ""
            self._tell(position=0, about=None, rejoined=self._told.rejoined + 1)

    def _tell(self, **changes: Any) -> None:
        told = replace(self._told, ticket=self._ticket, **changes)
        if told != self._told:
            self._told = told
            if self._options.on_queued is not None:
                self._options.on_queued(told)

    async def _give_up(self) -> None:
        """Leave nothing behind in the queue, as far as a server can be told."""
        if self._borrowed and self._is_held:
            return
        try:
            if not self._ticket and self._key:
                # An answer may be lost, or under way: the same key gets the same ticket again.
                answer = await self._servers.ask(
                    "POST",
                    f"{self._asked.root}/lock",
                    headers={"idempotency-key": self._key, "prefer": "wait=0"},
                    body=self._asked.body,
                    accept=(410,),
                    retry_timeout=0,
                )
                self._ticket = answer.header("x-ticket")
            if self._ticket:
                await self._servers.ask(
                    "POST", f"{self._asked.root}/unlock", headers={"x-ticket": self._ticket}, retry_timeout=0
                )
        except ClientError:
            # It lapses by itself.
            return


class Lock(Wanted[Held]):
    """One lock to be had; see ``Wanted``."""

    def _hold(self, grant: Grant, *, borrowed: bool) -> Held:
        return Held(self._servers, self._reactor, grant, borrowed=borrowed)


class Locks(Wanted[HeldUnits]):
    """Several things to be had at once; see ``Wanted``."""

    def _hold(self, grant: Grant, *, borrowed: bool) -> HeldUnits:
        return HeldUnits(self._servers, self._reactor, grant, borrowed=borrowed)


def _place(lost: LockLost) -> tuple[str, str, int]:
    return lost.resource, lost.selector, lost.fence


def _report(failure: Failure) -> None:
    log.failure("What was to be told of the loss of a lock has failed.", failure)
