"""
The promise of the client, with all its faces at once: whatever is done to it, its lock is either held by a block that runs, or
released (by a request, at the latest by the lease), and nothing renews a lock that no block owns.

Hypothesis begins programs that lock, in Twisted's coroutines, in asyncio's tasks and in blocking generators, and does to them all that
can be done between any two steps: of the network, whose answers take time, of the loop, which runs turn by turn, and of the lines of
the blocking client. ``LOCK_CLIENT_EXAMPLES`` says how many examples it tries.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from abc import abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, MutableSequence
from contextlib import aclosing, contextmanager, suppress
from functools import partial
from types import CodeType, FrameType
from typing import Any, Final
from unittest.mock import patch
from weakref import WeakSet

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, deferLater

from resourced.client import Client, ClientError, Conflict, LockLost, aio, blocking
from resourced.client.thread import Call, ReactorThread
from resourced.testing import MemoryServer
from tests.client.cases import LOSE, PASS, REFUSE, SWALLOW, Network
from tests.examples import examples

EXAMPLES = int(os.environ.get("LOCK_CLIENT_EXAMPLES", str(examples(50))))

#: Of the server, in seconds.
LEASE, PLACE, CLAIM = 6.0, 8.0, 4.0
#: How long a lock or a place may outlive its block after a fault: until a request in vain is over, and then for its time.
GHOST = 20.0 + LEASE + PLACE + CLAIM

#: The lines at which a blocking program may be interrupted.
LINES: frozenset[CodeType] = frozenset(
    function.__code__
    for function in (
        *(blocking.BlockingLock.__enter__, blocking.BlockingLock.__exit__, ReactorThread.wait, ReactorThread.finish),
        *(ReactorThread._submit, Call.outcome),
    )
)


def close(coroutine: Any) -> None:
    """Throw a coroutine away. That its lock was lost comes out then, and Python's own complaint that a generator of it runs."""
    with suppress(LockLost, ValueError, RuntimeError):
        coroutine.close()


class Program:
    """
    A program that holds a lock, or waits for one.

    :ivar held: its lock, as soon as it has one.
    :ivar tickets: by which the server knows it.
    :ivar stopped: whether something was done to it that may end it as a cancellation.
    :ivar over: whether it has come to its end.
    :ivar wrong: what must not have happened to it.
    """

    def __init__(self, machine: Promise, selector: str, wait: float | None, ticket: str) -> None:
        self.machine = machine
        self.selector = selector
        self.held: Any = None
        self.nested = bool(ticket)
        self.tickets = {ticket} - {""}
        self.stopped = False
        self.over = False
        self.wrong = ""
        self.options: dict[str, Any] = {
            "wait": wait,
            "ticket": ticket,
            "on_queued": lambda told: self.tickets.add(told.ticket),
        }

    def entered(self, held: Any) -> None:
        self.held = held
        self.tickets.add(held.ticket)

    @abstractmethod
    def tell(self, command: str) -> None:
        """Have the block do something; it may not be there yet."""

    @abstractmethod
    def cancel(self) -> None: ...

    @abstractmethod
    def drop(self) -> None:
        """Throw it away where it is."""


class Coroutine(Program):
    """A program of Twisted's."""

    def __init__(self, machine: Promise, *rest: Any) -> None:
        super().__init__(machine, *rest)
        self.lock = machine.client.lock("printer", self.selector, **self.options)
        self.next: Any = None
        self.coroutine = self.run()
        self.begin()

    def begin(self) -> None:
        self.outcome = Deferred.fromCoroutine(self.coroutine)
        self.outcome.addBoth(self.ended)

    def ended(self, result: Any) -> None:
        self.over = True

    async def run(self) -> None:
        try:
            await self.block()
        except LockLost:
            pass
        except ClientError:
            return
        except (CancelledError, asyncio.CancelledError):
            if not self.stopped:
                self.wrong = "cancelled by nobody"
            raise
        try:
            # Whatever comes out here, late, was meant for the block.
            for _ in range(2):
                await self.pause()
        except (CancelledError, asyncio.CancelledError):
            if not self.stopped:
                self.wrong = "cancelled after the block"
            raise

    async def block(self) -> None:
        async with self.enter() as held:
            self.entered(held)
            await self.obey()

    async def obey(self) -> None:
        while (command := await self.wait()) != "end":
            match command:
                case "raise":
                    raise LockLost("Of another lock.", "", "another", "lock", 0)
                case "check":
                    self.held.check()
                case "write":
                    await self.run_through(self.held.write(1))
                case "write and unlock":
                    await self.run_through(self.held.write(1, unlock=True))
                case "unlock":
                    await self.run_through(self.held.unlock())

    def tell(self, command: str) -> None:
        waiting, self.next = self.next, None
        if waiting is not None:
            self.wake(waiting, command)

    def cancel(self) -> None:
        self.stopped = True
        self.outcome.cancel()

    def drop(self) -> None:
        if not self.over:
            self.stopped = self.over = True
            close(self.coroutine)

    # -- What is Twisted's in it

    def enter(self) -> Any:
        return self.lock

    def run_through(self, work: Awaitable[None]) -> Awaitable[None]:
        return work

    def wait(self) -> Awaitable[str]:
        self.next = Deferred()
        return self.next  # type: ignore[no-any-return]

    def wake(self, waiting: Any, command: str) -> None:
        if not waiting.called:
            waiting.callback(command)

    async def pause(self) -> None:
        await self.wait()


class Generator(Coroutine):
    """One of Twisted's that has its block in an asynchronous generator."""

    async def rows(self) -> AsyncGenerator[None, None]:
        async with self.enter() as held:
            self.entered(held)
            yield

    async def block(self) -> None:
        async with aclosing(self.rows()) as generator:
            async for _ in generator:
                match await self.wait():
                    case "raise":
                        with suppress(ZeroDivisionError):
                            await generator.athrow(ZeroDivisionError())
                    case "check":
                        break
                    case "unlock":
                        await generator.aclose()


class _OfAsyncio:
    """What is different in a task of asyncio's."""

    machine: Promise
    lock: Any
    next: Any
    coroutine: Any
    stopped: bool
    over: bool
    deadline: asyncio.Timeout | None = None

    def begin(self) -> None:
        self.task = self.machine.loop.create_task(self.within_time())
        self.task.add_done_callback(self.ended)

    async def within_time(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as self.deadline:
                await self.coroutine

    def ended(self, task: Any) -> None:
        self.over = True
        # It may not even have begun.
        close(self.coroutine)
        if not task.cancelled():
            task.exception()

    def cancel(self) -> None:
        self.stopped = True
        self.task.cancel()

    def run_out(self) -> None:
        """Let its time be over in the next turn."""
        if self.deadline is not None and not self.over:
            self.stopped = True
            self.machine.loop.call_soon(self._run_out)

    def _run_out(self) -> None:
        with suppress(RuntimeError):
            assert self.deadline is not None
            self.deadline.reschedule(0)

    def drop(self) -> None:
        if not self.over:
            self.stopped = self.over = True
            close(self.coroutine)
            # The task itself has to know that there is nothing to do any more.
            self.task.cancel()

    def enter(self) -> Any:
        return aio.locked(self.lock)

    def run_through(self, work: Awaitable[None]) -> Awaitable[None]:
        return aio.wait(work)

    def wait(self) -> Awaitable[str]:
        self.next = self.machine.loop.create_future()
        return self.next  # type: ignore[no-any-return]

    def wake(self, waiting: Any, command: str) -> None:
        if not waiting.done():
            waiting.set_result(command)

    async def pause(self) -> None:
        await asyncio.sleep(0)
        await self.wait()


class Task(_OfAsyncio, Coroutine):  # type: ignore[misc]
    """A program in a task of asyncio's."""


class TaskGenerator(_OfAsyncio, Generator):  # type: ignore[misc]
    """One that has its block in an asynchronous generator."""


class Blocking(Program):
    """A program that blocks, in a generator, so that others have their turn while it is in its block."""

    def __init__(self, machine: Promise, selector: str, wait: float | None, ticket: str, line: int) -> None:
        super().__init__(machine, selector, wait, ticket)
        self.generator = self.rows()
        self.go_on(lambda: next(self.generator), line)

    def rows(self) -> Any:
        with self.machine.blocking.lock("printer", self.selector, **self.options) as held:
            self.entered(held)
            yield

    def go_on(self, step: Callable[[], object], line: int) -> None:
        try:
            with self.machine.interrupted_at(line):
                step()
        except (StopIteration, ClientError, ZeroDivisionError, KeyboardInterrupt) as error:
            self.over = True
            error.__traceback__ = error.__context__ = None
        if self.machine.interrupted:
            # Whether that was before the release was begun, so that the lock is left to its lease, is no matter here.
            self.machine.fault()

    def finish(self, how: str, line: int) -> None:
        match how:
            case "end":
                self.go_on(lambda: next(self.generator), line)
            case "close":
                self.go_on(self.generator.close, line)
            case "raise":
                self.go_on(lambda: self.generator.throw(ZeroDivisionError()), line)
            case _:
                generator = [self.generator]
                del self.generator
                self.go_on(generator.clear, line)
        self.over = True

    def tell(self, command: str) -> None:
        with suppress(ClientError, KeyboardInterrupt):
            match command:
                case "check":
                    self.held.check()
                case "write":
                    self.held.write(1)
                case "unlock":
                    self.held.unlock()

    def cancel(self) -> None:
        self.finish("close", 0)

    def drop(self) -> None:
        self.finish("drop", 0)


class SlowNetwork(Network):
    """
    A network whose requests take time too: one that is given up before it has arrived never does.

    :ivar late: how many seconds they take.
    """

    late = 0.0

    def request(self, method: str, url: str, *, headers: Any, **rest: Any) -> Deferred[Any]:
        send = partial(super().request, method, url, headers=headers, **rest)
        return deferLater(self._clock, self.late, send) if self.late else send()


class Inline:
    """A reactor whose thread is always just in time."""

    def __init__(self, clock: Clock) -> None:
        self.seconds = clock.seconds
        self.callLater = clock.callLater

    def callFromThread(self, work: Callable[[], object]) -> None:
        work()


class InlineThread(ReactorThread):
    """A thread of blocking clients that is none: whoever waits for it lets time pass, and does not wait for ever."""

    def __init__(self, machine: Promise) -> None:
        self.machine = machine
        self.reactor = Inline(machine.clock)
        self.leaving = WeakSet()
        self._process = os.getpid()
        self._ended = False
        self._thread = threading.Thread()

    @property
    def ended(self) -> bool:
        return False

    def _wait_for(self, event: threading.Event) -> None:
        for _ in range(40):
            if event.is_set():
                return
            self.machine.server.advance(0.25)
        raise KeyboardInterrupt


class BlockingClient(blocking.Client):
    """A blocking client of the server in memory."""

    def __init__(self, thread: InlineThread, made: Client) -> None:
        self._both = (thread, made)
        self._places = {thread: made}

    def _here(self) -> Any:
        return self._both


#: A server with its clock that an example has left as it was: most of the time would be spent on making them.
CLEAN: Final[MutableSequence[tuple[Clock, MemoryServer]]] = []


def fresh_server() -> tuple[Clock, MemoryServer]:
    clock = Clock()
    return clock, MemoryServer(clock, lease=LEASE, place=PLACE, claim=CLAIM)


class Promise(RuleBasedStateMachine):
    """All that may be done, in any order."""

    @initialize(calm=st.booleans())
    def begin(self, *, calm: bool) -> None:
        """Begin; where it is calm there are no faults, so that every lock has to be released at once."""
        self.calm = calm
        # Collections need not look through what is there already, Hypothesis's records above all: most of the time would go there.
        gc.collect()
        gc.freeze()
        self.clock, self.server = CLEAN.pop() if CLEAN else fresh_server()
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(self.told_by_the_loop)
        self.network = SlowNetwork(self.server, self.clock)
        self.ahead = 0.0
        self.client = self.server.client(
            treq=self.network,
            seconds=lambda: self.clock.seconds() + self.ahead,
            timeout=3.0,
            retry_timeout=5.0,
            poll=4.0,
        )
        self.blocking = BlockingClient(InlineThread(self), self.client)
        self.programs: list[Any] = []
        self.complaints: list[str] = []
        self.faulty_until = self.clock.seconds() - GHOST - 1
        self.interrupted = False
        Deferred.fromCoroutine(self.client.create("printer")).addErrback(lambda failure: failure.trap(Conflict))
        self.server.advance()

    def fault(self) -> None:
        """Know that what is to be released need not be so at once."""
        self.faulty_until = self.clock.seconds()

    @contextmanager
    def interrupted_at(self, line: int) -> Iterator[None]:
        """Have Ctrl-C pressed at the nth line of the blocking client; never, if that is 0."""
        left = [line]
        self.interrupted = False

        def at_line(_: FrameType, event: str, __: object) -> Any:
            if event == "line":
                left[0] -= 1
                if not left[0]:
                    self.interrupted = True
                    raise KeyboardInterrupt
            return at_line

        before = sys.gettrace()
        # What comes out of a generator that is thrown away is kept by pytest, with all that it has seen.
        with patch("sys.unraisablehook", lambda _: None):
            if line and not self.calm:
                sys.settrace(lambda frame, *_: at_line if frame.f_code in LINES else None)
            try:
                yield
            finally:
                sys.settrace(before)

    # -- Programs

    @property
    def live(self) -> list[Any]:
        return [program for program in self.programs if not program.over]

    def one(self, data: st.DataObject) -> Any:
        return data.draw(st.sampled_from(self.live))

    @precondition(lambda self: len(self.live) < 5)
    @rule(
        kind=st.sampled_from([Coroutine, Generator, Task, TaskGenerator]),
        selector=st.sampled_from("AAB"),
        wait=st.sampled_from([None, None, 0.0, 2.0]),
    )
    def start(self, kind: type[Program], selector: str, wait: float | None) -> None:
        self.programs.append(kind(self, selector, wait, ""))

    @precondition(lambda self: len(self.live) < 5)
    @rule(selector=st.sampled_from("AAB"), wait=st.sampled_from([None, 0.0, 2.0]), line=st.integers(0, 40))
    def start_blocking(self, selector: str, wait: float | None, line: int) -> None:
        self.programs.append(Blocking(self, selector, wait, "", line))

    @precondition(lambda self: any(program.held for program in self.live))
    @rule(data=st.data(), kind=st.sampled_from([Coroutine, Task, Blocking]))
    def nest(self, data: st.DataObject, kind: Any) -> None:
        """Enter a lock that a program holds once more, with its ticket."""
        outer = data.draw(st.sampled_from([program for program in self.live if program.held]))
        rest = (0,) if kind is Blocking else ()
        if outer.held.left and not outer.nested:
            self.programs.append(kind(self, outer.selector, 0.0, outer.held.ticket, *rest))

    @precondition(lambda self: self.live)
    @rule(
        data=st.data(),
        command=st.sampled_from(["end", "raise", "check", "write", "write and unlock", "unlock"]),
    )
    def tell(self, data: st.DataObject, command: str) -> None:
        self.one(data).tell(command)

    @precondition(lambda self: any(isinstance(program, Blocking) for program in self.live))
    @rule(data=st.data(), how=st.sampled_from(["end", "close", "raise", "drop"]), line=st.integers(0, 40))
    def finish(self, data: st.DataObject, how: str, line: int) -> None:
        data.draw(st.sampled_from([program for program in self.live if isinstance(program, Blocking)])).finish(
            how, line
        )

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.one(data).cancel()

    @precondition(lambda self: self.live)
    @rule(data=st.data(), turns=st.integers(0, 4), late=st.sampled_from([0.0, 0.5]))
    def end_and_cancel(self, data: st.DataObject, turns: int, late: float) -> None:
        """Cancel a program in the turn in which its block ends, or some turns later, while the release is on its way."""
        program = self.one(data)
        self.network.late = late
        program.tell("end")
        self.turn(turns)
        program.cancel()
        self.look()

    @precondition(lambda self: any(isinstance(program, _OfAsyncio) for program in self.live))
    @rule(data=st.data())
    def run_out(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from([program for program in self.live if isinstance(program, _OfAsyncio)])).run_out()

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        self.one(data).drop()

    @precondition(lambda self: any(program.held for program in self.live))
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        """See what a process finds that was forked within a block, and that it does nothing about it."""
        program = data.draw(st.sampled_from([program for program in self.live if program.held]))
        if not program.held.left:
            return
        asked = len(self.network.asked)
        with patch("os.getpid", return_value=os.getpid() + 1):
            assert (program.held.left, program.held.reason.code) == (0.0, "forked")
            for use in (lambda: program.held.write(1), program.held.unlock):
                with suppress(LockLost):
                    if (outcome := use()) is not None:
                        Deferred.fromCoroutine(outcome).addErrback(lambda failure: failure.trap(LockLost))
        assert len(self.network.asked) == asked

    # -- What is around them

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 3.0]))
    def pass_time(self, seconds: float) -> None:
        """Let time pass while the loop is busy elsewhere."""
        self.server.advance(seconds)
        if self.network.fate("", "") in {REFUSE, LOSE, SWALLOW}:
            self.fault()

    @rule(times=st.integers(1, 3))
    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    @rule(fate=st.sampled_from([PASS, PASS, 0.25, 1.0, REFUSE, LOSE, SWALLOW]), late=st.sampled_from([0.0, 0.25, 0.5]))
    def weather(self, fate: str | float, late: float) -> None:
        """Have the network be so from now on: requests, and answers, may take some seconds."""
        if self.calm and isinstance(fate, str):
            fate = PASS
        self.network.fate = lambda method, url: fate
        self.network.late = late
        if fate in {REFUSE, LOSE, SWALLOW}:
            self.fault()

    @precondition(lambda self: not self.calm)
    @rule()
    def sleep(self) -> None:
        """Have the machine sleep for longer than a lease; the server does not."""
        self.ahead += LEASE + 1
        self.fault()

    @precondition(lambda self: not self.calm and any(program.held for program in self.live))
    @rule(data=st.data())
    def oversleep(self, data: st.DataObject) -> None:
        """Have a program find out by itself that the machine has slept for longer than its lease."""
        self.sleep()
        data.draw(st.sampled_from([program for program in self.live if program.held])).tell("check")

    @precondition(lambda self: not self.calm and len(self.programs) > 2)
    @rule(times=st.integers(0, 2))
    def restart(self, times: int) -> None:
        """Restart the server; it takes the test long, and so it is not always done."""
        if times:
            return
        self.server.restart()
        self.fault()

    @precondition(lambda self: not self.calm and any(program.held for program in self.live))
    @rule(data=st.data())
    def break_lock(self, data: st.DataObject) -> None:
        program = data.draw(st.sampled_from([program for program in self.live if program.held]))
        Deferred.fromCoroutine(self.client.break_lock("printer", program.selector, program.held.fence)).addErrback(
            lambda failure: failure.trap(ClientError)
        )
        self.fault()

    def told_by_the_loop(self, _: object, told: dict[str, Any]) -> None:
        """Know of an error that nobody has got, but for Python's own complaint of a generator whose task was thrown away."""
        error = told.get("exception")
        if not (isinstance(error, RuntimeError) and "is already running" in str(error)):
            self.complaints.append(f"{told['message']}: {error!r}")

    # -- What has to hold

    @invariant()
    def nothing_went_wrong(self) -> None:
        assert not [program.wrong for program in self.programs if program.wrong]
        assert not self.complaints

    def settle(self, seconds: float) -> None:
        """Let everything come to rest, over a network that works."""
        self.network.fate = lambda method, url: PASS
        self.network.late = 0.0
        for _ in range(int(2 * seconds)):
            self.turn(4)
            self.clock.advance(0.5)
            self.server.treq.flush()
        self.turn(4)

    @rule()
    def look(self) -> None:
        """Only programs that are not over have tickets that the server knows: they wait, or hold."""
        self.settle(4)
        gc.collect(1)
        if self.clock.seconds() > self.faulty_until + GHOST:
            known = set().union(*(program.tickets for program in self.live))
            ghosts = [place for place in self.server.store.places.values() if place.ticket not in known]
            assert not ghosts, f"nobody has {ghosts}"

    def teardown(self) -> None:
        if not hasattr(self, "programs"):
            return
        self.settle(3)
        for program in self.live:
            program.drop()
        self.settle(1)
        gc.collect()
        self.settle(GHOST)
        self.nothing_went_wrong()
        assert not self.server.store.places, "a lock that nobody owns was renewed"
        self.loop.close()
        CLEAN.append((self.clock, self.server))


def test_promise():
    """Whatever is done to clients, in whatever order, no lock stays behind."""
    try:
        run_state_machine_as_test(
            Promise,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=30,
                derandomize=True,
                database=None,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
                report_multiple_bugs=False,
            ),
        )
    finally:
        gc.unfreeze()
