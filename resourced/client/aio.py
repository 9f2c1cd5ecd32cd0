"""
The client in asyncio's tasks, on whatever loop runs: one loop after the other, or several in threads of their own.

What the client does is waited for with ``wait``, ``locked`` and ``each``:

.. code:: python

    import asyncio
    from resourced.client import Client, aio


    async def main():
        async with aio.closing(Client("http://localhost:9501", "write-key")) as client:
            async with aio.locked(client.lock("printer", "A4", wait=60)) as held:
                await aio.wait(held.write({"jobs": (held.data or {"jobs": 0})["jobs"] + 1}))


    asyncio.run(main())

A client keeps a loop's connections until it is closed on that loop, and can be used on the next one then. Nothing runs in a thread
beside the loop: while a task blocks it no lock is renewed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred

from resourced.client.api import following
from resourced.client.held import Holding
from resourced.client.lock import Wanted

T = TypeVar("T")
H = TypeVar("H", bound=Holding)


def start() -> None:
    """Do nothing: a client finds the loop by itself. It is here for programs that were written when this had to be called first."""


async def wait(work: Awaitable[T]) -> T:
    """
    Wait in a task for what a client does; if the task is cancelled, so is that, and its end is waited for.

    A lock that came at the very moment of the cancellation is released.

    :param work: what a coroutine method of the client or of ``Held`` returned, or a Deferred.
    """
    loop = asyncio.get_running_loop()
    outcome = Deferred.fromCoroutine(_awaited(work))
    future = outcome.asFuture(loop)
    # Whoever is thrown away, or cancelled twice, does not hear what came of it, and that is no fault.
    future.add_done_callback(_left_over)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        outcome.cancel()
        if not future.done():
            # A place that is given up is given up before anything else is done.
            await asyncio.wait([future])
        if (held := _left_over(future)) is not None:
            await wait(held.release())
        raise
    except GeneratorExit:
        # The task is thrown away, and may not wait for anything.
        outcome.cancel()
        if (held := _left_over(future)) is not None:
            held.release_aside()
        raise


async def _awaited(work: Awaitable[T]) -> T:
    return await work


def _left_over(future: asyncio.Future[Any]) -> Holding | None:
    """Return the lock that nobody has got who waited for it."""
    if not future.done() or future.cancelled() or future.exception() is not None:
        return None
    return future.result() if isinstance(future.result(), Holding) else None


async def each(items: AsyncIterator[T]) -> AsyncIterator[T]:
    """Go through what ``Client.resources``, ``selectors``, ``events`` or ``watch`` has."""
    while (item := await wait(following(items))) is not None:
        yield item


@asynccontextmanager
async def closing(thing: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    """Have a ``Client``, or what ``Client.watch`` returns, for the length of a block, and close it then."""
    try:
        yield await wait(thing.__aenter__())
    finally:
        await wait(thing.__aexit__(None, None, None))


class locked(Generic[H]):  # noqa: N801 - it is called where a function might be, as contextlib's are
    """
    Hold a lock, or several things, for the length of an ``async with`` block in a task: all that is said of ``Lock`` holds.

    On loss of the lock the task is cancelled, once, and ``LockLost`` comes out of the block. If somebody else has cancelled the
    task too it is ``asyncio.CancelledError``, as it must be.

    Close a generator that has such a block by ``contextlib.aclosing``, or make it a context manager by
    ``contextlib.asynccontextmanager``. Then the task hears of a loss also while it is not in the generator.
    """

    def __init__(self, lock: Wanted[H]) -> None:
        self._lock = lock
        self._task: asyncio.Task[Any] | None = None
        self._before = 0
        self._cancelled = False

    async def __aenter__(self) -> H:
        held = await wait(self._lock.enter())
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - there is no await without one
        self._task, self._before = task, task.cancelling()
        # In a turn of its own: a task that finds out by itself must not be cancelled, for it would be wherever it awaits next.
        held.lost().addCallback(lambda _: loop.call_soon(self._interrupt))
        return held

    def _interrupt(self) -> None:
        if self._task is not None:
            self._cancelled = True
            self._task.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        others = task.uncancel() - self._before if task is not None and self._cancelled else 0
        if isinstance(error, GeneratorExit):
            # The task, or a generator of its, is thrown away. This waits for nothing.
            await self._lock.__aexit__(kind, error, trace)
        elif others <= 0 or kind is not asyncio.CancelledError:
            await wait(self._lock.__aexit__(kind, error, trace))
