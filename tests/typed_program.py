"""
A program of a user's, as a type checker sees it: all that it says of types is true, and each mistake in it is found.

``tests/test_packaging.py`` checks it against the wheel, strictly: there an ignored error that is none is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, assert_type

from twisted.internet.defer import Deferred

from resourced.client import (
    Client,
    Definition,
    Document,
    Event,
    Gap,
    Held,
    HeldUnit,
    HeldUnits,
    Lock,
    LockLost,
    LockState,
    Resource,
    Selector,
    Waiting,
    Want,
    aio,
    blocking,
)
from resourced.testing import MemoryServer


def told(waiting: Waiting) -> None:
    assert_type(waiting.position, int)


def lost(reason: LockLost) -> None:
    assert_type(reason.fence, int)


async def under_twisted(client: Client) -> None:
    async with client:
        assert_type(await client.create("printer", 30), Definition)
        assert_type([one async for one in client.resources("print", page=10)], list[Resource])
        async with client.lock("printer", "A4", wait=60, on_queued=told, on_lost=lost) as held:
            assert_type(held, Held)
            assert_type(held.text, str | None)
            assert_type(held.lost(), Deferred[LockLost])
            await held.write({"jobs": 1}, unlock=True)
            await held.write()  # type: ignore[call-arg]
        async with client.locks(Want("printer", tags=["a4"], count="all"), yields=True) as units:
            assert_type(units, HeldUnits)
            assert_type(units.units, tuple[HeldUnit, ...])
            await units.unlock(out={"printer/A4": "paper jam"})
        client.locks("printer")  # type: ignore[arg-type]
        Want("printer", count="some")  # type: ignore[arg-type]
        async with client.watch("print") as events:
            assert_type([event async for event in events], list[Event | Gap])
        await client.create(3)  # type: ignore[arg-type]
        client.lock("printer")  # type: ignore[call-arg]


async def under_asyncio(client: Client) -> None:
    async with aio.closing(client) as same:
        assert_type(same, Client)
        assert_type(await aio.wait(client.get("printer", "A4")), Document)
        async with aio.locked(client.lock("printer", "A4")) as held:
            assert_type(held, Held)
            await aio.wait(held.write_text("1"))
        async with aio.locked(client.locks(Want("printer"))) as units:
            assert_type(units, HeldUnits)
        assert_type([one async for one in aio.each(client.selectors("printer"))], list[Selector])
        aio.locked("printer")  # type: ignore[arg-type]


def in_a_thread() -> None:
    with blocking.Client(["http://one", "http://two"], "key", owner="me", retry_timeout=5) as client:
        assert_type(client.create("printer", timeout=30), Definition)
        assert_type(client.resources("print", page=10), Iterator[Resource])
        assert_type(client.state("printer", "A4", limit=5), LockState)
        assert_type(client.watch(after=7), Iterator[Event | Gap])
        with client.lock("printer", "A4", wait=60, on_queued=told, on_lost=lost) as held:
            assert_type(held, blocking.BlockingHeld)
            assert_type(held.left, float)
            held.write({"jobs": 1}, unlock=True)
            held.write()  # type: ignore[call-arg]
        with client.locks(Want("printer", "A4"), wait=60) as units:
            assert_type(units, blocking.BlockingHeldUnits)
            units.units[0].write(1)
        client.create(3)  # type: ignore[arg-type]
        client.lock("printer")  # type: ignore[call-arg]
        client.lock("printer", "A4", wait="long")  # type: ignore[arg-type]
        client.nothing()  # type: ignore[attr-defined]


def in_a_test(resourced: MemoryServer, clock: Any) -> None:
    assert_type(resourced.url, str)
    lock = Client(resourced.url, resourced.write_key).using(reactor=clock).lock("printer", "A4")
    assert_type(lock, Lock)


def start() -> None:
    asyncio.run(under_asyncio(Client("http://localhost:9501", "key")))
