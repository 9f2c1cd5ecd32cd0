"""
The same client for scripts and threads: every call blocks until its answer is there.

.. code:: python

    from resourced.client.blocking import Client

    with Client("http://localhost:9501", "write-key") as client:
        with client.lock("printer", "A4", wait=60) as held:
            held.write({"jobs": (held.data or {"jobs": 0})["jobs"] + 1})

A reactor of its own does the work, in a thread that the process has once and that ends with it. A process that is forked gets a
thread, and connections, of its own with the first use of a client; what its parent holds counts as lost there. A program that ends
while a generator still holds a lock releases it, if that can be done in two seconds; a lock that a thread of the kind ``daemon``
holds then is left to its lease.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from twisted.logger import Logger

from resourced import client
from resourced.client.api import following
from resourced.client.errors import LockLost
from resourced.client.process import THREAD
from resourced.client.thread import ReactorThread
from resourced.client.values import Definition, Document, Event, Gap, LockState, Resource, Selector, Waiting

T = TypeVar("T")

log = Logger()


class Held:
    """
    A lock that is held, as ``resourced.client.Held``, to be used from any thread.

    No thread can be stopped from outside: the loss of the lock is told by ``lost``, by the callback ``on_lost``, by ``LockLost``
    from the next use of this, and in any case by ``LockLost`` at the end of the block.

    :ivar lost: is set when the lock is lost.
    """

    def __init__(self, thread: ReactorThread, held: client.Held) -> None:
        self._thread = thread
        self._held = held
        self._lost = threading.Event()
        self.resource = held.resource
        self.selector = held.selector
        self.ticket = held.ticket
        self.fence = held.fence
        self.owner = held.owner

    @property
    def lost(self) -> threading.Event:
        if self._thread.forked:
            # Another thread may have been at the other one when this process was forked.
            self._lost = threading.Event()
            self._lost.set()
        return self._lost

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
        self._held.check()

    def write(self, value: Any, *, unlock: bool = False) -> None:
        self._wait(lambda: self._held.write(value, unlock=unlock))

    def write_text(self, text: str, *, unlock: bool = False) -> None:
        self._wait(lambda: self._held.write_text(text, unlock=unlock))

    def delete(self, *, unlock: bool = False) -> None:
        self._wait(lambda: self._held.delete(unlock=unlock))

    def unlock(self) -> None:
        self._wait(self._held.unlock)

    def _wait(self, work: Callable[[], Awaitable[None]]) -> None:
        if self._thread.forked:
            self._held.check()
        self._thread.wait(work)


class Lock:
    """
    A lock to be had, as ``resourced.client.Lock``: a context manager that can be used once.

    :ivar left: whether nobody can be in the block any more: it is a generator's, or its thread has ended. It is looked at when the
        program ends.
    """

    def __init__(
        self, begin: Callable[[], tuple[ReactorThread, client.Lock]], on_lost: Callable[[LockLost], object] | None
    ) -> None:
        self._begin = begin
        self._on_lost = on_lost
        self._begun: tuple[ReactorThread, client.Lock] | None = None
        self._user = threading.current_thread()

    def __enter__(self) -> Held:
        if self._begun is None:
            self._begun = self._begin()
        thread, lock = self._begun
        self._user = threading.current_thread()
        return thread.wait(self._enter, lambda _: lock.__aexit__(None, None, None))

    async def _enter(self) -> Held:
        assert self._begun is not None  # noqa: S101 - it is called when it is
        thread, lock = self._begun
        held = await lock.enter()
        thread.leaving.add(self)
        face, on_lost = Held(thread, held), self._on_lost
        flag = face.lost

        def lost(reason: LockLost) -> None:
            flag.set()
            if on_lost is not None:
                on_lost(reason)

        held.lost().addCallback(lost).addErrback(
            lambda failure: log.failure("What was to be told of the loss of a lock has failed.", failure)
        )
        return face

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._begun is None:
            return
        thread, lock = self._begun
        if isinstance(error, GeneratorExit):
            # A generator that is closed may wait, unlike a coroutine.
            kind = error = trace = None
        if thread.forked:
            # Nothing is waited for then.
            with suppress(StopIteration):
                lock.__aexit__(kind, error, trace).send(None)
        else:
            thread.finish(lambda: lock.__aexit__(kind, error, trace))

    @property
    def left(self) -> bool:
        return self._user is threading.main_thread() or not self._user.is_alive()

    async def leave(self) -> None:
        """Release the lock in the end."""
        if self._begun is not None:
            await self._begun[1].__aexit__(None, None, None)


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
        self._make = partial(client.Client, url, key, owner=owner, timeout=timeout, patience=patience, poll=poll)
        # It says at once if it is no URL, and connects to nothing.
        self._make()
        self._clients: dict[ReactorThread, client.Client] = {}

    def _here(self) -> tuple[ReactorThread, client.Client]:
        """Return the thread of this process, and the client that is for use in it."""
        thread = THREAD.get()
        return thread, self._clients.setdefault(thread, self._make(reactor=thread.reactor))

    def _wait(self, work: Callable[[client.Client], Awaitable[T]]) -> T:
        thread, made = self._here()
        return thread.wait(lambda: work(made))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        for thread, made in self._clients.items():
            thread.finish(made.close)

    def create(self, name: str, timeout: int = 0) -> Definition:
        return self._wait(lambda made: made.create(name, timeout))

    def resource(self, name: str) -> Resource:
        return self._wait(lambda made: made.resource(name))

    def change(self, name: str, timeout: int) -> Definition:
        return self._wait(lambda made: made.change(name, timeout))

    def remove(self, name: str) -> None:
        self._wait(lambda made: made.remove(name))

    def resources(self, prefix: str = "", *, after: str = "", page: int = 100) -> Iterator[Resource]:
        return self._list(lambda made: made.resources(prefix, after=after, page=page))

    def selectors(self, resource: str, prefix: str = "", *, after: str = "", page: int = 100) -> Iterator[Selector]:
        return self._list(lambda made: made.selectors(resource, prefix, after=after, page=page))

    def get(self, resource: str, selector: str) -> Document:
        return self._wait(lambda made: made.get(resource, selector))

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
        lock_of = partial(
            client.Client.lock,
            resource=resource,
            selector=selector,
            wait=wait,
            ticket=ticket,
            owner=owner,
            holds=holds,
            on_queued=on_queued,
        )

        def begin() -> tuple[ReactorThread, client.Lock]:
            thread, made = self._here()
            return thread, lock_of(made)

        return Lock(begin, on_lost)

    def unlock(self, resource: str, selector: str, ticket: str) -> bool:
        return self._wait(lambda made: made.unlock(resource, selector, ticket))

    def state(self, resource: str, selector: str, *, after: int = 0, limit: int = 100) -> LockState:
        return self._wait(lambda made: made.state(resource, selector, after=after, limit=limit))

    def break_lock(self, resource: str, selector: str, fence: int, reason: str = "") -> None:
        self._wait(lambda made: made.break_lock(resource, selector, fence, reason))

    def events(self, resource: str, selector: str, *, before: int | None = None, page: int = 100) -> Iterator[Event]:
        return self._list(lambda made: made.events(resource, selector, before=before, page=page))

    def watch(self, prefix: str = "", *, after: int | None = None) -> Iterator[Event | Gap]:
        """As ``resourced.client.Client.watch``: it begins when the first event is asked for, and ends with the loop over it."""
        thread, made = self._here()
        watching = made.watch(prefix, after=after)
        try:
            yield from _each(thread, watching)
        finally:
            thread.finish(watching.__aexit__)

    def _list(self, begin: Callable[[client.Client], AsyncIterator[T]]) -> Iterator[T]:
        thread, made = self._here()
        return _each(thread, begin(made))


def _each(thread: ReactorThread, items: AsyncIterator[T]) -> Iterator[T]:
    while (found := thread.wait(lambda: following(items))) is not None:
        yield found
