"""
The client in asyncio's tasks.

Twisted's reactor runs on asyncio's own loop, and what the client does is waited for with ``wait``, ``locked`` and ``each``:

.. code:: python

    import asyncio
    from resourced.client import Client, aio


    async def main():
        aio.start()
        async with aio.closing(Client("http://localhost:9501", "write-key")) as client:
            async with aio.locked(client.lock("printer", "A4", wait=60)) as held:
                await aio.wait(held.write({"jobs": (held.data or {"jobs": 0})["jobs"] + 1}))


    asyncio.run(main())

A program that runs Twisted's asyncio reactor itself has no need of ``start``. A process has one reactor, so it can have one loop.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, TypeVar

from twisted.internet import asyncioreactor
from twisted.internet.defer import Deferred

from resourced.client.api import following
from resourced.client.held import Held
from resourced.client.lock import Lock

T = TypeVar("T")


def start() -> None:
    """
    Let Twisted's reactor run on the loop that runs.

    :raises RuntimeError: the process has a reactor already that does not.
    """
    loop = asyncio.get_running_loop()
    if "twisted.internet.reactor" not in sys.modules:
        asyncioreactor.install(loop)
    from twisted.internet import reactor as installed  # noqa: PLC0415 - to import it is to choose it

    reactor: Any = installed
    if not isinstance(reactor, asyncioreactor.AsyncioSelectorReactor):
        raise RuntimeError(  # noqa: TRY004 - nothing that was passed is of the wrong type
            f"Twisted's reactor is {type(reactor).__name__} already; call start() before anything imports it."
        )
    if not reactor.running:
        reactor.startRunning(installSignalHandlers=False)
        threading.Thread(target=_outlast, args=(reactor,), name="reactor's end", daemon=True).start()


def _outlast(reactor: Any) -> None:
    """End the reactor's own threads as soon as the program has come to its end: they would keep it from that."""
    threading.main_thread().join()
    reactor.getThreadPool().stop()


async def wait(work: Awaitable[T]) -> T:
    """
    Wait in a task for what a client does; if the task is cancelled, so is that, and its end is waited for.

    :param work: what a coroutine method of the client or of ``Held`` returned, or a Deferred.
    """
    outcome = Deferred.fromCoroutine(_whole(work))
    future = outcome.asFuture(asyncio.get_running_loop())
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if not future.done():
            outcome.cancel()
            # A place that is given up is given up before anything else is done.
            await asyncio.wait([future])
        if not future.cancelled():
            future.exception()
        raise


async def _whole(work: Awaitable[T]) -> T:
    return await work


async def each(items: AsyncIterator[T]) -> AsyncIterator[T]:
    """Go through what ``Client.resources``, ``selectors``, ``events`` or ``watch`` has."""
    while (item := await wait(following(items))) is not None:
        yield item


@asynccontextmanager
async def closing(thing: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    """Have a ``Client``, or what ``Client.watch`` returns, for the length of a block, and close it then."""
    entered = await wait(thing.__aenter__())
    try:
        yield entered
    finally:
        await wait(thing.__aexit__(None, None, None))


class locked:  # noqa: N801 - it is called where a function might be, as contextlib's are
    """
    Hold a lock for the length of an ``async with`` block in a task: all that is said of ``Lock`` holds.

    On loss of the lock the task is cancelled, once, and ``LockLost`` comes out of the block; if somebody else has cancelled the
    task too it is ``asyncio.CancelledError``, as it must be.
    """

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._task: asyncio.Task[Any] | None = None
        self._before = 0
        self._cancelled = False

    async def __aenter__(self) -> Held:
        held = await wait(self._lock.acquire())
        task = self._task = asyncio.current_task()
        assert task is not None  # noqa: S101 - there is no await without one
        self._before = task.cancelling()
        held.lost().addCallback(lambda _: self._interrupt())
        return held

    def _interrupt(self) -> None:
        if self._task is not None and not self._cancelled:
            self._cancelled = True
            self._task.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if task is not None and self._cancelled and task.uncancel() > self._before and kind is asyncio.CancelledError:
            return
        await wait(self._lock.__aexit__(kind, error, trace))
