"""
The client against the real daemon, which is killed, frozen and replaced under many blocks at once.

What must hold: of all clients at most one takes a lock for held at any time; a lock that somebody takes for held was not given to
anybody else; and whoever has lost one is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.threads import deferToThread

from resourced.client import Client, Event, Gap, Held, LockLost
from tests.daemon import WRITE, Daemon
from tests.stores import MySQLBackend, mariadb_fixture, mysql_fixture
from tests.waiting import seconds, until

__all__ = ["mariadb_fixture", "mysql_fixture"]

CLIENTS = 50
SELECTORS = 10
#: Of the locks, in seconds.
LEASE = 4


class Crowd:
    """
    Many clients, each in one ``async with`` block after the other, which add to a few shared records.

    :ivar inside: the blocks that run, by selector.
    :ivar written: each value that was written without an error, by selector.
    :ivar lost: every loss that was reported.
    :ivar wrong: whatever must not be.
    """

    def __init__(self, urls: list[str], *, pause: float = 0.02) -> None:
        self.clients = [Client(urls, WRITE, owner=f"client {n}", timeout=3.0) for n in range(CLIENTS)]
        self.inside: dict[str, set[Held]] = {str(n): set() for n in range(SELECTORS)}
        self.written: dict[str, list[int]] = {name: [] for name in self.inside}
        self.lost: list[LockLost] = []
        self.wrong: list[str] = []
        self._pause = pause
        self._going = True

    async def __aenter__(self) -> Self:
        await self.clients[0].create("record", LEASE)
        self._all = gatherResults([Deferred.fromCoroutine(self._run(n)) for n in range(CLIENTS)], consumeErrors=True)
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._going = False
        await self._all
        for client in self.clients:
            await client.close()
        assert self.wrong == []
        for values in self.written.values():
            # Two who wrote at the same time would have written the same, and one who wrote late something lower.
            assert values == sorted(set(values))
        # A lease ends before the server's own: nobody learns of a loss from the server.
        assert {lost.code for lost in self.lost} <= {"unconfirmed"}, self.lost

    @property
    def believing(self) -> int:
        return sum(held.left > 0 for blocks in self.inside.values() for held in blocks)

    @property
    def writes(self) -> int:
        return sum(map(len, self.written.values()))

    async def more(self) -> None:
        """Wait until each record was written anew."""
        before = {name: len(values) for name, values in self.written.items()}
        await until(lambda: all(len(values) > before[name] for name, values in self.written.items()))

    async def _run(self, number: int) -> None:
        name = str(number % SELECTORS)
        while self._going:
            try:
                async with self.clients[number].lock("record", name) as held:
                    await self._work(name, held)
            except LockLost as lost:
                self.lost.append(lost)

    async def _work(self, name: str, held: Held) -> None:
        blocks = self.inside[name]
        if others := [other.fence for other in blocks if other.left > 0]:
            self.wrong.append(f"{held.fence} got the lock of {name} while {others} took it for held")
        blocks.add(held)
        try:
            await seconds(self._pause)
            value = (held.data or 0) + 1
            await held.write(value)
            self.written[name].append(value)
        finally:
            blocks.discard(held)
            if newer := [other.fence for other in blocks if other.fence > held.fence]:
                self.wrong.append(f"{held.fence} was left behind by {newer} at {name}")


def standing_by(folder: Path, environ: dict[str, str]) -> Iterator[Daemon]:
    for number in (1, 2):
        (folder / str(number)).mkdir()
        yield Daemon(folder / str(number), {**environ, "RESOURCED_STANDBY": "1"})


@pytest.mark.deadline(300)
@pytest_twisted.ensureDeferred
async def test_killed_and_restarted(tmp_path):
    """
    When a daemon is killed and restarted under 50 clients in their blocks, no lock that counts as held is lost, and no write.
    Somebody who looks on meanwhile sees all that happens, each event once and in order.
    """
    seen: list[Event | Gap] = []

    async def look_on(client: Client) -> None:
        async with client.watch("rec") as events:
            async for event in events:
                seen.append(event)  # noqa: PERF401

    with Daemon(tmp_path) as daemon:
        url = f"http://127.0.0.1:{daemon.port}"
        async with Client(url, WRITE) as client:
            onlooker = Deferred.fromCoroutine(look_on(client))
            async with Crowd([url]) as crowd:
                for _ in range(2):
                    await crowd.more()
                    await until(lambda: crowd.believing > SELECTORS // 2)
                    daemon.kill()
                    await deferToThread(daemon.start)
                await crowd.more()

            def written() -> int:
                return sum(isinstance(event, Event) and event.event == "write" for event in seen)

            await until(lambda: written() >= crowd.writes)
            events = [event for event in seen if isinstance(event, Event)]
            assert len(events) == len(seen), "there is a gap"
            assert [event.id for event in events] == sorted({event.id for event in events})
            onlooker.cancel()
            with pytest.raises(CancelledError):
                await onlooker


@pytest.mark.deadline(300)
@pytest_twisted.ensureDeferred
async def test_standby_takes_over(tmp_path, mysql: MySQLBackend):
    """Nor when another that stood by takes its place, on MariaDB."""
    environ = {
        "MYSQL_HOST": "127.0.0.1",
        "MYSQL_PORT": str(mysql.server.port),
        "MYSQL_DATABASE": mysql.name,
        "MYSQL_USER": "root",
    }
    first, second = standing_by(tmp_path, environ)
    with first:
        second.launch()
        try:
            async with Crowd([f"http://127.0.0.1:{daemon.port}" for daemon in (first, second)]) as crowd:
                await crowd.more()
                first.kill()
                await crowd.more()
                first.launch()
                await crowd.more()
                second.kill()
                await crowd.more()
        finally:
            second.kill()


@pytest.mark.deadline(300)
@pytest_twisted.ensureDeferred
async def test_frozen(tmp_path):
    """When the daemon says nothing for longer than the leases, every holder is told of its loss, and nobody else before."""
    with Daemon(tmp_path) as daemon:
        async with Crowd([f"http://127.0.0.1:{daemon.port}"], pause=0.2) as crowd:
            await crowd.more()
            await until(lambda: crowd.believing > SELECTORS // 2)
            believing = {held for blocks in crowd.inside.values() for held in blocks}
            await deferToThread(daemon.freeze)
            try:
                await seconds(LEASE + 0.5)
                assert not crowd.believing
            finally:
                daemon.thaw()
            await crowd.more()
            lost = {(held.selector, held.fence) for held in believing if held.reason}
            assert lost
            assert lost <= {(lost.selector, lost.fence) for lost in crowd.lost}
