"""
The same client for scripts and threads: every call blocks until its answer is there.

.. code:: python

    from resourced.client.blocking import Client

    with Client("http://localhost:9501", "write-key") as client:
        with client.lock("printer", "A4", wait=60) as held:
            held.write({"jobs": (held.data or {"jobs": 0})["jobs"] + 1})

Twisted's reactor does the work. If it runs already it is used as it is, from any thread but its own; otherwise it is started in a
thread of its own, which ends with the program. A process that forks has to do so before it makes the first client.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python import threadable
from twisted.python.failure import Failure

from resourced import client
from resourced.client.api import following
from resourced.client.errors import LockLost, Unreachable
from resourced.client.values import Definition, Document, Event, Gap, LockState, Resource, Selector, Waiting
from resourced.clock import count_monotonically

T = TypeVar("T")

log = Logger()

_starting: Final = threading.Lock()


def running_reactor() -> Any:
    """
    Return Twisted's reactor, which runs: if it did not, in a thread of its own from now on.

    :raises RuntimeError: it ran in a process that this one was forked from, and cannot run here.
    """
    from twisted.internet import reactor as installed  # noqa: PLC0415 - to import it is to choose it

    reactor: Any = installed
    with _starting:
        if not reactor.running:
            if not reactor.getDelayedCalls():
                count_monotonically(reactor)
            running = threading.Event()
            reactor.callWhenRunning(running.set)
            options = {"installSignalHandlers": False}
            # Its own threads are daemons with it, so none of them keeps the program from its end.
            threading.Thread(target=reactor.run, kwargs=options, name="reactor", daemon=True).start()
            running.wait()
        if threadable.ioThread not in {thread.ident for thread in threading.enumerate()}:
            raise RuntimeError("The reactor's thread was left behind by a fork. Fork before the first client is made.")
    return reactor


class Calls:
    """From a thread into the reactor, and back with what came of it."""

    def __init__(self) -> None:
        self._reactor = running_reactor()
        self._pending: set[Future[Any]] = set()
        self.wait(self._expect_end)

    def wait(self, begin: Callable[[], Awaitable[T]], undo: Callable[[T], Awaitable[object]] | None = None) -> T:
        """
        Have something done in the reactor, and wait for what comes of it.

        :param begin: begins it.
        :param undo: if the thread does not wait to the end, because of an exception such as ``KeyboardInterrupt``, what was begun is
            cancelled. If it was too late for that, this is done with what came of it.
        :raises RuntimeError: this is the reactor's own thread, which must not wait.
        """
        if threadable.isInIOThread():
            raise RuntimeError("This would stop the reactor: use resourced.client in its thread, or another thread.")
        outcome: Future[T] = Future()
        begun: list[Deferred[T]] = []

        def settle(result: T | Failure) -> None:
            self._pending.discard(outcome)
            if outcome.done():
                # The reactor has been stopped meanwhile.
                return
            if isinstance(result, Failure):
                outcome.set_exception(result.value)
            else:
                outcome.set_result(result)

        def work() -> None:
            self._pending.add(outcome)
            begun.append(Deferred.fromCoroutine(_whole(begin)))
            begun[0].addBoth(settle)

        self._reactor.callFromThread(work)
        try:
            return outcome.result()
        except BaseException as error:
            if outcome.done() and outcome.exception() is error:
                raise
            self._reactor.callFromThread(lambda: begun[0].cancel())  # noqa: PLW0108 - it is not there yet
            if outcome.exception() is None and undo is not None:
                self.wait(lambda: undo(outcome.result()))
            raise

    def close(self) -> None:
        """Have no more to do with the reactor."""
        self.wait(self._forget_end)

    async def _expect_end(self) -> None:
        self._trigger = self._reactor.addSystemEventTrigger("before", "shutdown", self._end)

    async def _forget_end(self) -> None:
        self._reactor.removeSystemEventTrigger(self._trigger)

    def _end(self) -> None:
        """Let no thread wait for what will never come."""
        for outcome in list(self._pending):
            self._pending.discard(outcome)
            if not outcome.done():
                outcome.set_exception(Unreachable("The reactor has been stopped.", "stopped"))


async def _whole(begin: Callable[[], Awaitable[T]]) -> T:
    return await begin()


class Held:
    """
    A lock that is held, as ``resourced.client.Held``, to be used from any thread.

    No thread can be stopped from outside: the loss of the lock is told by ``lost``, by the callback ``on_lost``, by ``LockLost``
    from the next use of this, and in any case by ``LockLost`` at the end of the block.

    :ivar lost: is set when the lock is lost.
    """

    def __init__(self, calls: Calls, held: client.Held) -> None:
        self._calls = calls
        self._held = held
        self.lost = threading.Event()
        self.resource = held.resource
        self.selector = held.selector
        self.ticket = held.ticket
        self.fence = held.fence
        self.owner = held.owner

    @property
    def lease(self) -> int:
        return self._held.lease

    @property
    def text(self) -> str | None:
        return self._held.text

    @property
    def data(self) -> Any:
        return self._held.data

    @property
    def left(self) -> float:
        return self._held.left

    @property
    def reason(self) -> LockLost | None:
        return self._held.reason

    def check(self) -> None:
        """Return if the lock is still held: to be called now and then in a long piece of work."""
        if not self._held.left:
            self._calls.wait(self._check)

    async def _check(self) -> None:
        self._held.check()

    def write(self, value: Any, *, unlock: bool = False) -> None:
        self._calls.wait(lambda: self._held.write(value, unlock=unlock))

    def write_text(self, text: str, *, unlock: bool = False) -> None:
        self._calls.wait(lambda: self._held.write_text(text, unlock=unlock))

    def delete(self, *, unlock: bool = False) -> None:
        self._calls.wait(lambda: self._held.delete(unlock=unlock))

    def unlock(self) -> None:
        self._calls.wait(self._held.unlock)


class Lock:
    """A lock to be had, as ``resourced.client.Lock``: a context manager that can be used once."""

    def __init__(self, calls: Calls, lock: client.Lock, on_lost: Callable[[LockLost], object] | None) -> None:
        self._calls = calls
        self._lock = lock
        self._on_lost = on_lost

    def __enter__(self) -> Held:
        return self._calls.wait(self._enter, lambda _: self._lock.__aexit__(None, None, None))

    async def _enter(self) -> Held:
        held = await self._lock.acquire()
        face = Held(self._calls, held)

        def lost(reason: LockLost) -> None:
            face.lost.set()
            if self._on_lost is not None:
                self._on_lost(reason)

        held.lost().addCallback(lost).addErrback(
            lambda failure: log.failure("What was to be told of the loss of a lock has failed.", failure)
        )
        return face

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calls.wait(lambda: self._lock.__aexit__(kind, error, trace))


class Client:
    """
    A client of one store, as ``resourced.client.Client``, to be shared by any number of threads.

    An exception in a thread that waits, such as ``KeyboardInterrupt``, gives up what it waits for.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        key: str,
        *,
        owner: str = "",
        timeout: float = 10.0,
        patience: float = 60.0,
        poll: float = 25.0,
    ) -> None:
        self._calls = Calls()

        async def make() -> client.Client:
            return client.Client(url, key, owner=owner, timeout=timeout, patience=patience, poll=poll)

        self._client = self._calls.wait(make)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._calls.wait(self._client.close)
        self._calls.close()

    def create(self, name: str, timeout: int = 0) -> Definition:
        return self._calls.wait(lambda: self._client.create(name, timeout))

    def resource(self, name: str) -> Resource:
        return self._calls.wait(lambda: self._client.resource(name))

    def change(self, name: str, timeout: int) -> Definition:
        return self._calls.wait(lambda: self._client.change(name, timeout))

    def remove(self, name: str) -> None:
        self._calls.wait(lambda: self._client.remove(name))

    def resources(self, prefix: str = "", *, after: str = "", page: int = 100) -> Iterator[Resource]:
        return self._each(self._client.resources(prefix, after=after, page=page))

    def selectors(self, resource: str, prefix: str = "", *, after: str = "", page: int = 100) -> Iterator[Selector]:
        return self._each(self._client.selectors(resource, prefix, after=after, page=page))

    def get(self, resource: str, selector: str) -> Document:
        return self._calls.wait(lambda: self._client.get(resource, selector))

    def lock(
        self,
        resource: str,
        selector: str,
        *,
        wait: float | None = None,
        ticket: str = "",
        owner: str | None = None,
        holds: Sequence[str] = (),
        on_queued: Callable[[Waiting], object] | None = None,
        on_lost: Callable[[LockLost], object] | None = None,
    ) -> Lock:
        """As ``resourced.client.Client.lock``; both callbacks are called in the reactor's thread and must not block."""
        lock = self._client.lock(
            resource, selector, wait=wait, ticket=ticket, owner=owner, holds=holds, on_queued=on_queued
        )
        return Lock(self._calls, lock, on_lost)

    def unlock(self, resource: str, selector: str, ticket: str) -> bool:
        return self._calls.wait(lambda: self._client.unlock(resource, selector, ticket))

    def state(self, resource: str, selector: str, *, after: int = 0, limit: int = 100) -> LockState:
        return self._calls.wait(lambda: self._client.state(resource, selector, after=after, limit=limit))

    def break_lock(self, resource: str, selector: str, fence: int, reason: str = "") -> None:
        self._calls.wait(lambda: self._client.break_lock(resource, selector, fence, reason))

    def events(self, resource: str, selector: str, *, before: int | None = None, page: int = 100) -> Iterator[Event]:
        return self._each(self._client.events(resource, selector, before=before, page=page))

    def watch(self, prefix: str = "", *, after: int | None = None) -> Iterator[Event | Gap]:
        """As ``resourced.client.Client.watch``: it begins when the first event is asked for, and ends with the loop over it."""
        watch = self._client.watch(prefix, after=after)
        try:
            yield from self._each(watch)
        finally:
            self._calls.wait(watch.__aexit__)

    def _each(self, items: AsyncIterator[T]) -> Iterator[T]:
        while (found := self._calls.wait(lambda: following(items))) is not None:
            yield found
