"""Several things at once by each face of the client, against the real daemon, which is killed between its commit and its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from resourced.client import Client, LockLost, Want, aio, blocking
from tests.daemon import WRITE, Daemon
from tests.proxy import Proxy

WANTS = (Want("phones", tags=["android"], count=2), Want("licences"))

T = TypeVar("T")

#: What a face does with everything that it wants: it takes all, writes to a unit, and gives one back as broken.
Work = Callable[[str], Awaitable[list[Any]]]


def told(held: Any, data: object) -> list[Any]:
    return [[(unit.resource, unit.selector, unit.fence) for unit in held.units], data]


async def by_twisted(url: str) -> list[Any]:
    async with Client(url, WRITE) as client, client.locks(*WANTS) as held:
        await held.units[0].write({"used": 1})
        await held.unlock(out={"phones/p2": "does not boot"})
        return told(held, held.units[0].data)


async def in_task(url: str) -> list[Any]:
    async with aio.closing(Client(url, WRITE)) as client, aio.locked(client.locks(*WANTS)) as held:
        await aio.wait(held.units[0].write({"used": 1}))
        await aio.wait(held.unlock(out={"phones/p2": "does not boot"}))
        return told(held, held.units[0].data)


def by_thread(url: str) -> list[Any]:
    with blocking.Client(url, WRITE) as client, client.locks(*WANTS) as held:
        held.units[0].write({"used": 1})
        held.unlock(out={"phones/p2": "does not boot"})
        return told(held, held.units[0].data)


async def by_asyncio(url: str) -> list[Any]:
    return await deferToThread(lambda: asyncio.run(in_task(url)))


async def by_blocking(url: str) -> list[Any]:
    return await deferToThread(by_thread, url)


FACES = pytest.mark.parametrize("work", [by_twisted, by_asyncio, by_blocking])


class Stumbling(Proxy):
    """Lets a daemon die as soon as it has answered a request that begins in some manner: the answer is lost, what it tells of is committed."""

    def __init__(self, daemon: Daemon, request: bytes) -> None:
        super().__init__(daemon.port)
        self._daemon = daemon
        self._request = request
        self._dead = False
        self.stumbled: Deferred[None] = Deferred()

    def loses(self) -> bool:
        from twisted.internet import reactor

        if self._dead or self._request not in self.heard:
            return False
        self._dead = True
        self._daemon.kill()
        reactor.callFromThread(self.stumbled.callback, None)  # type: ignore[attr-defined]
        return True


async def pool(url: str) -> None:
    async with Client(url, WRITE) as client:
        await client.create("phones", 60, group="lab")
        await client.create("licences", 60, group="lab", slots=1)
        for name, tags in {"p1": ["android"], "p2": ["android"], "p3": ["ios"]}.items():
            await client.card("phones", name, tags=tags)


@FACES
@pytest.mark.parametrize("request_line", [b"POST /lock", b"POST /resource/phones/p2/unlock", b"POST /unlock"])
@pytest.mark.deadline(100)
@pytest_twisted.ensureDeferred
async def test_killed_between_commit_and_answer(tmp_path: Path, work: Work, request_line: bytes):
    """
    When the daemon is killed after its commit and before its answer, be it of the grant, of a unit that is given back or of all: the
    client has each unit once, and leaves nothing behind.
    """
    with Daemon(tmp_path) as daemon:
        straight = f"http://127.0.0.1:{daemon.port}"
        await pool(straight)
        with Stumbling(daemon, request_line) as proxy:
            outcome = Deferred.fromCoroutine(_awaited(work(f"http://127.0.0.1:{proxy.port}")))
            await proxy.stumbled
            await deferToThread(daemon.start)
            units, data = await outcome
        assert [unit[:2] for unit in units] == [("phones", "p1"), ("phones", "p2"), ("licences", "1")]
        assert data == {"used": 1}
        async with Client(straight, WRITE) as client:
            for resource, selector, fence in units:
                events = [event async for event in client.events(resource, selector)]
                assert [event.fence for event in events if event.event == "grant"] == [fence]
                assert [event.event for event in events].count("release") == 1
                assert not (await client.state(resource, selector)).locked
            assert (await client.get("phones", "p1")).data == {"used": 1}
            cards = {one.selector: one.card async for one in client.selectors("phones")}
            assert {name: card and card.out for name, card in cards.items()} == {
                "p1": None,
                "p2": "does not boot",
                "p3": None,
            }


async def lose_twisted(url: str, begun: Event) -> LockLost:
    try:
        async with Client(url, WRITE) as client, client.locks(*WANTS):
            begun.set()
            await Deferred()
    except LockLost as lost:
        return lost
    raise AssertionError("it was not lost")


async def lose_in_task(url: str, begun: Event) -> LockLost:
    try:
        async with aio.closing(Client(url, WRITE)) as client, aio.locked(client.locks(*WANTS)):
            begun.set()
            await asyncio.Event().wait()
    except LockLost as lost:
        return lost
    raise AssertionError("it was not lost")


def lose_in_thread(url: str, begun: Event) -> LockLost:
    try:
        with blocking.Client(url, WRITE) as client, client.locks(*WANTS) as held:
            begun.set()
            assert held.lost.wait(100)
            held.check()
    except LockLost as lost:
        return lost
    raise AssertionError("it was not lost")


@pytest.mark.parametrize(
    "lose",
    [
        lose_twisted,
        lambda url, begun: deferToThread(lambda: asyncio.run(lose_in_task(url, begun))),
        lambda url, begun: deferToThread(lose_in_thread, url, begun),
    ],
    ids=["twisted", "asyncio", "blocking"],
)
@pytest.mark.deadline(100)
@pytest_twisted.ensureDeferred
async def test_lease_is_over(tmp_path: Path, lose: Callable[[str, Event], Awaitable[LockLost]]):
    """When the daemon says nothing for as long as the lease, the block is ended, and once the daemon goes on nothing is held."""
    with Daemon(tmp_path) as daemon:
        url = f"http://127.0.0.1:{daemon.port}"
        await pool(url)
        async with Client(url, WRITE) as client:
            await client.change("licences", 3)
            begun = Event()
            outcome = Deferred.fromCoroutine(_awaited(lose(url, begun)))
            while not begun.is_set():
                await client.state("licences", "1")
            await deferToThread(daemon.freeze)
            try:
                assert (await outcome).code == "unconfirmed"
            finally:
                daemon.thaw()
            while any([(await client.state("phones", name)).locked for name in ("p1", "p2")]):
                pass


async def _awaited(work: Awaitable[T]) -> T:
    return await work
