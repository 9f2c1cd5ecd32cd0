"""How asynchronous tests wait for what nobody tells them about: conditions with a generous end."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from resourced.errors import StoreUnavailable
from tests.daemon import PATIENCE


async def seconds(duration: float) -> None:
    """Let the reactor run for some time."""
    from twisted.internet import reactor

    await deferLater(reactor, duration)


async def until(condition: Callable[[], object], timeout: float = PATIENCE) -> None:
    """Let the reactor run until something is true."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it was not true in time"
        await seconds(0.005)


async def until_in_thread(condition: Callable[[], object], timeout: float = PATIENCE) -> None:
    """Let the reactor run until something is true that takes a while to ask, as of a database."""
    end = time.monotonic() + timeout
    while not await deferToThread(condition):
        assert time.monotonic() < end, "it was not true in time"
        await seconds(0.005)


async def until_done(attempt: Callable[[], Awaitable[object]], timeout: float = PATIENCE) -> None:
    """Try again until a store is there and does it."""
    end = time.monotonic() + timeout
    while True:
        try:
            await attempt()
        except StoreUnavailable:
            assert time.monotonic() < end, "it was not done in time"
            await seconds(0.02)
        else:
            return
