"""
The same client for scripts and threads: every call blocks until its answer is there.

.. code:: python

    from resourced.client.blocking import Client

    with Client("http://localhost:9501", "write-key") as client:
        with client.lock("printer", "A4", wait=60) as held:
            held.write({"jobs": (held.data or {"jobs": 0})["jobs"] + 1})

A reactor of its own does the work, in a thread that the process has once and that ends with it. A process that is forked gets a
thread, and connections, of its own with the first use of a client. What its parent holds counts as lost there. A program that ends
while a generator still holds a lock releases it, if that can be done in two seconds. A lock that a thread of the kind ``daemon``
holds then is left to its lease.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar

from resourced import client
from resourced.calls.access import Access
from resourced.calls.errors import LockLost
from resourced.calls.values import Event, Gap
from resourced.client.api import following
from resourced.client.held import Holding
from resourced.client.lock import Wanted
from resourced.client.process import THREAD
from resourced.client.thread import ReactorThread

P = ParamSpec("P")
T = TypeVar("T")
H = TypeVar("H", bound=Holding)
B = TypeVar("B")
Inner = TypeVar("Inner")
Inner_co = TypeVar("Inner_co", covariant=True)


class _Waits(Protocol[Inner_co]):
    """What has something else done in the reactor's thread, and waits for that."""

    def _wait(self, work: Callable[[Inner_co], Awaitable[T]]) -> T: ...


def waiting(
    method: Callable[Concatenate[Inner, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[_Waits[Inner], P], T]:
    """Make a method that waits for what a coroutine method does, with its signature and its documentation."""

    @wraps(method)
    def wait(self: _Waits[Inner], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._wait(lambda inner: method(inner, *args, **kwargs))

    return wait


def listing(
    method: Callable[Concatenate[client.Client, P], AsyncIterator[T]],
) -> Callable[Concatenate[Client, P], Iterator[T]]:
    """Make a method that goes through what an asynchronous iterator has; else as ``waiting``."""

    @wraps(method)
    def go_through(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        thread, made = self._here()
        return _each(thread, method(made, *args, **kwargs))

    returns = str(inspect.signature(method).return_annotation).replace("AsyncIterator", "Iterator")
    return _returning(go_through, returns)


def locking(
    method: Callable[Concatenate[client.Client, P], Wanted[H]], held: Callable[[ReactorThread, H], B]
) -> Callable[Concatenate[Client, P], BlockingLock[H, B]]:
    """
    Make a method that returns the lock of a thread; else as ``waiting``.

    :param held: makes of what is held what a thread has of it.
    """

    @wraps(method)
    def lock(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> BlockingLock[H, B]:
        def begin() -> tuple[ReactorThread, Wanted[H]]:
            thread, made = self._here()
            return thread, method(made, *args, **kwargs)

        return BlockingLock(begin, held)

    return _returning(lock, BlockingLock.__name__)


def watching(
    method: Callable[Concatenate[client.Client, P], client.Watch],
) -> Callable[Concatenate[Client, P], Iterator[Event | Gap]]:
    """Make a method that goes through events as they come; else as ``waiting``."""

    @wraps(method)
    def watch(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[Event | Gap]:
        thread, made = self._here()
        watching = method(made, *args, **kwargs)
        try:
            yield from _each(thread, watching)
        finally:
            thread.finish(watching.__aexit__)

    return _returning(watch, "Iterator[Event | Gap]")


def _returning(method: Callable[P, T], returns: str) -> Callable[P, T]:
    """Have help say what a method returns, where that is not what its model returns."""
    method.__signature__ = inspect.signature(method).replace(return_annotation=returns)  # type: ignore[attr-defined]
    return method


def _each(thread: ReactorThread, items: AsyncIterator[T]) -> Iterator[T]:
    while (found := thread.wait(lambda: following(items))) is not None:
        yield found


class BlockingHolding:
    """
    What is held, as ``resourced.client.Held`` or ``HeldUnits``, to be used from any thread.

    No thread can be stopped from outside. ``lost`` and the callback ``on_lost`` tell when the lock is lost. ``LockLost`` comes from the
    next use of this, and in any case at the end of the block.

    :ivar lost: is set when the lock is lost.
    """

    def __init__(self, thread: ReactorThread, held: Holding) -> None:
        self._thread = thread
        self._holding = held
        flag = self._lost = threading.Event()
        held.lost().addCallback(lambda _: flag.set())
        self.ticket = held.ticket
        self.owner = held.owner

    @property
    def lost(self) -> threading.Event:
        if self._thread.forked:
            # Another thread may have been at the other one when this process was forked.
            self._lost = threading.Event()
        if self.reason is not None:
            self._lost.set()
        return self._lost

    @property
    def lease(self) -> int:
        return self._holding.lease

    @property
    def left(self) -> float:
        return self._holding.left

    @property
    def reason(self) -> LockLost | None:
        return self._holding.reason

    def check(self) -> None:
        """Return if the lock is still held: to be called now and then in a long piece of work."""
        self._holding.check()


class BlockingUnit:
    """A selector that is held, as ``resourced.client.HeldUnit``."""

    def __init__(self, thread: ReactorThread, unit: client.HeldUnit) -> None:
        self._thread = thread
        self._unit = unit
        self.resource = unit.resource
        self.selector = unit.selector
        self.fence = unit.fence
        self.want = unit.want

    @property
    def text(self) -> str | None:
        return self._unit.text

    @property
    def data(self) -> Any:
        return self._unit.data

    def check(self) -> None:
        """Return if it is still held: to be called now and then in a long piece of work."""
        self._unit.check()

    write = waiting(client.HeldUnit.write)
    write_text = waiting(client.HeldUnit.write_text)
    delete = waiting(client.HeldUnit.delete)
    unlock = waiting(client.HeldUnit.unlock)

    def _wait(self, work: Callable[[client.HeldUnit], Awaitable[T]]) -> T:
        if self._thread.forked:
            self._unit.check()
        return self._thread.wait(lambda: work(self._unit))


class BlockingHeld(BlockingHolding, BlockingUnit):
    """A lock that is held, as ``resourced.client.Held``."""

    def __init__(self, thread: ReactorThread, held: client.Held) -> None:
        BlockingHolding.__init__(self, thread, held)
        BlockingUnit.__init__(self, thread, held)


class BlockingHeldUnits(BlockingHolding):
    """
    Several units that are held at once, as ``resourced.client.HeldUnits``.

    :ivar units: in the order of the wants.
    """

    def __init__(self, thread: ReactorThread, held: client.HeldUnits) -> None:
        super().__init__(thread, held)
        self._several = held
        self.units = tuple(BlockingUnit(thread, unit) for unit in held.units)

    unlock = waiting(client.HeldUnits.unlock)

    def _wait(self, work: Callable[[client.HeldUnits], Awaitable[T]]) -> T:
        if self._thread.forked:
            self.check()
        return self._thread.wait(lambda: work(self._several))


class BlockingLock(Generic[H, B]):
    """
    A lock, or several, to be had, as ``resourced.client.Lock`` and ``Locks``: a context manager that can be used once.

    :ivar left: whether nobody can be in the block any more: it is a generator's, or its thread has ended. It is looked at when the
        program ends.
    """

    def __init__(
        self, begin: Callable[[], tuple[ReactorThread, Wanted[H]]], held: Callable[[ReactorThread, H], B]
    ) -> None:
        self._begin = begin
        self._held = held
        self._begun: tuple[ReactorThread, Wanted[H]] | None = None
        self._user = threading.current_thread()

    def __enter__(self) -> B:
        if self._begun is None:
            self._begun = self._begin()
        thread, lock = self._begun
        self._user = threading.current_thread()
        return thread.wait(self._enter, lambda _: lock.__aexit__(None, None, None))

    async def _enter(self) -> B:
        assert self._begun is not None  # noqa: S101 - it is called when it is
        thread, lock = self._begun
        held = await lock.enter()
        thread.leaving.add(self)
        return self._held(thread, held)

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


class Client(Access):
    """
    A client of one store, as ``resourced.client.Client``, to be shared by any number of threads.

    Every method waits for its answer. An exception in a thread that waits, such as ``KeyboardInterrupt``, gives up what it waits
    for. Callbacks are called in the reactor's thread.
    """

    def _here(self) -> tuple[ReactorThread, client.Client]:
        """Return the thread of this process, and the client that is for use in it."""
        thread = THREAD.get()
        made = client.Client(
            self._urls,
            self._key,
            owner=self._owner,
            timeout=self._timeout,
            retry_timeout=self._retry_timeout,
            poll=self._poll,
        ).using(reactor=thread.reactor)
        return thread, self._places.setdefault(thread, made)

    def _wait(self, work: Callable[[client.Client], Awaitable[T]]) -> T:
        thread, made = self._here()
        return thread.wait(lambda: work(made))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        for thread, made in self._places.items():
            thread.finish(made.close)

    create = waiting(client.Client.create)
    resource = waiting(client.Client.resource)
    change = waiting(client.Client.change)
    remove = waiting(client.Client.remove)
    resources = listing(client.Client.resources)
    selectors = listing(client.Client.selectors)
    card = waiting(client.Client.card)
    remove_card = waiting(client.Client.remove_card)
    usage = waiting(client.Client.usage)
    cluster = waiting(client.Client.cluster)
    drain = waiting(client.Client.drain)
    undrain = waiting(client.Client.undrain)
    get = waiting(client.Client.get)
    lock = locking(client.Client.lock, BlockingHeld)
    locks = locking(client.Client.locks, BlockingHeldUnits)
    unlock = waiting(client.Client.unlock)
    state = waiting(client.Client.state)
    held_locks = listing(client.Client.held_locks)
    waiting_tickets = listing(client.Client.waiting_tickets)
    break_lock = waiting(client.Client.break_lock)
    events = listing(client.Client.events)
    watch = watching(client.Client.watch)
