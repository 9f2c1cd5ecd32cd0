"""
One daemon per store: guards that only one can hold, the watch over them, and real daemons that take over from each other.

What is done to daemons here blocks the reactor, which they do not need: each has its own.
"""

from __future__ import annotations

import hashlib
import http.client
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from resourced.config import MySQLSettings, SQLiteSettings
from resourced.errors import EpochLost, StoreUnavailable, TicketEnded
from resourced.locks.journal.group_commit import GroupCommitJournal
from resourced.locks.manager import LockManager
from resourced.locks.state.limits import Predecessor, Times
from resourced.locks.state.requests import Grant, LockRequest, Queued
from resourced.model import LockKey
from resourced.service.guard import PERIOD, FileGuard, Heartbeat, ServerGuard, guard_of
from resourced.storage.leader_lease import LEADER_LEASE, LeaderLease
from resourced.storage.sql.mysql import MySQL
from resourced.storage.sql.sqlite import SQLite
from resourced.testing import MemoryStore
from tests.daemon import Answer, Daemon, eventually
from tests.faulty import FaultyStore
from tests.leading import lead, open_journal
from tests.mariadb import MariaDB
from tests.preloaded import UNFENCED

A4 = "/resource/printer/A4"
TIMEOUT = 1.0
#: Longer than LEADER_LEASE, so that a lease that was told at its end outlives one that was told at its beginning.
LEASE = 6


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaDB]:
    with MariaDB() as server:
        yield server


def server_guard(mariadb: MariaDB, database: str = "guarded") -> ServerGuard:
    from twisted.internet import reactor

    return ServerGuard(reactor, MySQL(MySQLSettings("127.0.0.1", mariadb.port, database, "root", ""), TIMEOUT))


def guard_connection(mariadb: MariaDB, database: str) -> int:
    """Find the connection that the guard of a database lives by, or 0."""
    name = f"resourced:{hashlib.sha256(database.encode()).hexdigest()[:32]}"
    ((number,),) = mariadb.run("SELECT IS_USED_LOCK(%s)", name)
    return number or 0


class TestFileGuard:
    async def test_only_one_holds_it(self, tmp_path):
        """The second gets it when the first lets go, and the file stays where it is."""
        path = tmp_path / "store.lock"
        first, second = FileGuard(str(path)), FileGuard(str(path))
        assert await first.hold()
        assert not await second.hold()
        assert await first.hold()
        inode = path.stat().st_ino
        await first.release()
        assert await second.hold()
        assert not await first.hold()
        assert path.stat().st_ino == inode
        await second.release()
        await second.release()

    async def test_no_folder(self, tmp_path):
        """Whether it is held cannot be known where there is no file."""
        with pytest.raises(StoreUnavailable, match="cannot be opened"):
            await FileGuard(str(tmp_path / "nowhere" / "store.lock")).hold()

    def test_it_fits_its_store(self, tmp_path, mariadb):
        """A file is guarded by a file, a server by a lock of the server."""
        from twisted.internet import reactor

        assert isinstance(guard_of(reactor, SQLite(SQLiteSettings(str(tmp_path / "x")), 1)), FileGuard)
        mysql = MySQL(MySQLSettings("127.0.0.1", mariadb.port, "x", "root", ""), TIMEOUT)
        assert isinstance(guard_of(reactor, mysql), ServerGuard)


async def hold_in_time(guard: ServerGuard) -> None:
    """Hold a guard that was let go of, or whose connection was ended: the server finds out in its own time."""
    while not await guard.hold():
        pass


class TestServerGuard:
    async def test_only_one_holds_it(self, mariadb):
        """The second gets it when the first lets go."""
        first, second = server_guard(mariadb), server_guard(mariadb)
        assert await first.hold()
        assert not await second.hold()
        assert await first.hold()
        await first.release()
        await hold_in_time(second)
        assert not await first.hold()
        await first.release()
        await second.release()

    async def test_databases_of_one_server_have_one_each(self, mariadb):
        """A lock's name is one for the whole server, and those of two databases differ, however long their names are."""
        guards = [server_guard(mariadb, name) for name in ("a" * 60, "a" * 61)]
        assert [await guard.hold() for guard in guards] == [True, True]
        for guard in guards:
            await guard.release()

    async def test_lost_connection(self, mariadb):
        """It goes with its connection; who held it cannot know at first, and knows then."""
        first, second = server_guard(mariadb), server_guard(mariadb)
        assert await first.hold()
        mariadb.run(f"KILL {guard_connection(mariadb, 'guarded')}")
        await hold_in_time(second)
        with pytest.raises(StoreUnavailable):
            await first.hold()
        assert not await first.hold()
        await first.release()
        await second.release()

    async def test_lost_connection_that_nobody_noticed(self, mariadb):
        """If nobody else wants it, it is taken again."""
        guard = server_guard(mariadb)
        assert await guard.hold()
        mariadb.run(f"KILL {guard_connection(mariadb, 'guarded')}")
        with pytest.raises(StoreUnavailable):
            await guard.hold()
        await hold_in_time(guard)
        await guard.release()

    async def test_silent_server(self, mariadb):
        """It cannot be known from a server that says nothing, and that is said within the timeout."""
        guard = server_guard(mariadb)
        assert await guard.hold()
        mariadb.freeze()
        try:
            began = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await guard.hold()
            assert time.monotonic() - began < TIMEOUT + 30
        finally:
            mariadb.thaw()
        await guard.release()


class FickleGuard:
    """A guard that is held, or not, or that nobody can ask about."""

    lag = LEADER_LEASE

    def __init__(self) -> None:
        self.answer: bool | None = True
        self.asked = 0

    async def locate(self) -> str:
        return "here"

    async def drop(self) -> None:
        return

    async def hold(self) -> bool:
        self.asked += 1
        if self.answer is None:
            raise StoreUnavailable("Nobody knows.")
        return self.answer

    async def release(self) -> None:
        return


class Snapshot:
    """A lock manager that believes in itself only as long as its watch says so."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = FaultyStore(MemoryStore())
        self.guard = FickleGuard()
        self.leadership_lost: list[EpochLost] = []
        self.lease = LeaderLease(self.clock.seconds, LEADER_LEASE)
        self.journal = GroupCommitJournal(
            self.clock, self.store, leadership_lost=self.leadership_lost.append, lease=self.lease
        )
        self.locks = LockManager(
            self.clock,
            self.journal,
            new_ticket=lambda: "t" * 32,
            times=Times(lease=300),
            predecessor=Predecessor(LEADER_LEASE),
        )
        self.watch = Heartbeat(self.clock, self.guard, self.store, self.journal, self.lease)
        now(open_journal(self.journal, self.store))
        self.watch.start()

    def pass_time(self, seconds: float) -> None:
        self.clock.pump([0.1] * round(seconds * 10))


def now(work):
    """Return what a coroutine or a Deferred comes to, which must be there at once."""
    outcome: list[Any] = []
    ensureDeferred(work).addBoth(outcome.append)
    (result,) = outcome
    if isinstance(result, Failure):
        result.raiseException()
    return result


class TestWatch:
    @pytest.fixture
    def snapshot(self) -> Iterator[Snapshot]:
        snapshot = Snapshot()
        yield snapshot
        snapshot.watch.stop()

    def lock(self, snapshot: Snapshot) -> Grant:
        held = now(snapshot.locks.grants.wait(LockRequest(LockKey("printer", "A4"), lease=0)))
        assert isinstance(held, Grant)
        return held

    def test_all_is_well(self, snapshot):
        """As long as the guard is held, nothing ends."""
        snapshot.pass_time(100 * PERIOD)
        snapshot.journal.check()
        assert not snapshot.leadership_lost
        assert snapshot.guard.asked >= 100

    def test_lost_guard(self, snapshot):
        """A daemon whose guard another one holds goes on while the store knows nothing of that, and says where its own is: nowhere."""
        snapshot.guard.answer = False
        snapshot.pass_time(10 * PERIOD)
        snapshot.journal.check()
        assert not snapshot.leadership_lost
        assert now(snapshot.store.look()).guard == ""
        snapshot.guard.answer = True
        snapshot.pass_time(2 * PERIOD)
        assert now(snapshot.store.look()).guard == "here"

    def test_deposed(self, snapshot):
        """A daemon that learns from the store that another one leads stops at once, and says so once."""
        now(lead(snapshot.store.disk.another()))
        snapshot.pass_time(3 * PERIOD)
        assert [error.sentence for error in snapshot.leadership_lost] == ["Another daemon has taken over."]
        with pytest.raises(StoreUnavailable):
            snapshot.journal.check()

    def test_heartbeat(self, snapshot):
        """A leader commits a heartbeat once in a while; one that is busy does so too, as that says what the clock of marks shows."""
        beat = now(snapshot.store.look()).beat
        snapshot.pass_time(60)
        beats = now(snapshot.store.look()).beat - beat
        assert 60 / (1.5 * PERIOD) <= beats <= 60 / PERIOD + 2
        for _ in range(60):
            # Each of these is two commits more: a lock is taken, and given back.
            held = now(snapshot.locks.grants.wait(LockRequest(LockKey("printer", "A4"), lease=0)))
            now(snapshot.locks.unlock(LockKey("printer", "A4"), held.ticket))
            snapshot.pass_time(PERIOD / 2)
        busy = now(snapshot.store.look()).beat - beat - beats - 120
        assert 30 / (1.5 * PERIOD) <= busy <= 30 / PERIOD + 2

    def test_reading_renews_nothing(self, snapshot):
        """
        A store that can be read, and a guard that is held, do not let a leader go on whose commits do not get through.

        Both may come from a server that has fallen behind, or is on the wrong side of a cluster that has fallen apart.
        """
        held = self.lock(snapshot)
        key = LockKey("printer", "A4")

        async def refuse(guard: str, _event: int, _passed: int) -> None:
            raise StoreUnavailable("Nothing can be committed.")

        snapshot.store.beat = refuse
        for _ in range(4):
            snapshot.pass_time(1)
            now(snapshot.store.ping())
            assert snapshot.locks.grants.confirm(key, held) == 300
        snapshot.pass_time(2)
        now(snapshot.store.ping())
        with pytest.raises(StoreUnavailable):
            snapshot.locks.grants.confirm(key, held)
        with pytest.raises(StoreUnavailable):
            now(snapshot.locks.views.state(key, 0, 10))

    def test_lease_ends(self, snapshot):
        """A leader whose commits do not get through renews no lock any more after five seconds, and goes on when they do."""
        held = self.lock(snapshot)
        key = LockKey("printer", "A4")
        assert snapshot.locks.grants.confirm(key, held) == 300
        snapshot.store.away = True
        snapshot.pass_time(LEADER_LEASE - PERIOD - 0.5)
        assert snapshot.locks.grants.confirm(key, held) == 300
        snapshot.pass_time(PERIOD + 1)
        with pytest.raises(StoreUnavailable):
            snapshot.locks.grants.confirm(key, held)
        with pytest.raises(StoreUnavailable):
            now(snapshot.locks.grants.wait(LockRequest(key, lease=0, ticket=held.ticket)))
        assert not snapshot.leadership_lost
        snapshot.store.away = False
        snapshot.pass_time(PERIOD)
        assert snapshot.locks.grants.confirm(key, held) == 300

    def test_frozen(self, snapshot):
        """A daemon that slept for longer than that believes nothing when it wakes, until its watch has looked."""
        held = self.lock(snapshot)
        snapshot.store.away = True
        # All of it passes at once, as it does for a process that is stopped.
        snapshot.clock.advance(LEADER_LEASE + 0.1)
        with pytest.raises(StoreUnavailable):
            snapshot.locks.grants.confirm(LockKey("printer", "A4"), held)

    def test_bug(self, snapshot, logged_failures):
        """A watch that cannot look any more ends the daemon: to go on without it would be to believe for ever."""

        async def hold() -> bool:
            raise ZeroDivisionError

        snapshot.guard.hold = hold
        snapshot.pass_time(2 * PERIOD)
        assert len(snapshot.leadership_lost) == 1
        assert logged_failures.flush(ZeroDivisionError)


class TestSuccession:
    """A client that asks now the daemon that was deposed and has not noticed, now the one that has taken over."""

    KEY = LockKey("printer", "A4")

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def disk(self) -> MemoryStore:
        return MemoryStore()

    def begin_term(self, clock: Clock, disk: MemoryStore) -> LockManager:
        store = FaultyStore(disk)
        journal = GroupCommitJournal(clock, store, leadership_lost=lambda _: None)
        times = Times(lease=3, place=1.5, claim=1)
        locks = LockManager(
            clock, journal, new_ticket=lambda: secrets.token_hex(16), times=times, predecessor=Predecessor(LEADER_LEASE)
        )
        now(open_journal(journal, store))
        return locks

    def ask(self, locks: LockManager, ticket: str = "") -> Grant | Queued:
        outcome = now(locks.grants.wait(LockRequest(self.KEY, lease=0, ticket=ticket)))
        if isinstance(outcome, Grant):
            locks.grants.confirm(self.KEY, outcome)
        assert isinstance(outcome, Grant | Queued)
        return outcome

    def test_holder(self, clock, disk):
        """No one else gets the lock before the lease is over that either of them has told."""
        old = self.begin_term(clock, disk)
        holder = self.ask(old)
        waiter = self.ask(old)
        young = self.begin_term(clock, disk)
        clock.advance(1)
        assert isinstance(self.ask(young, holder.ticket), Grant)
        clock.advance(0.4)
        assert isinstance(self.ask(old, holder.ticket), Grant)
        for _ in range(28):
            clock.advance(0.1)
            assert isinstance(self.ask(young, waiter.ticket), Queued)
        for _ in range(60):
            clock.advance(0.1)
            if isinstance(self.ask(young, waiter.ticket), Grant):
                break
        else:
            pytest.fail("the lock is never passed on")

    def test_heir(self, clock, disk):
        """Who is told that it waits may come for the lock for as long as it may after any such answer."""
        old = self.begin_term(clock, disk)
        holder = self.ask(old)
        waiter = self.ask(old)
        young = self.begin_term(clock, disk)
        now(young.unlock(self.KEY, holder.ticket))
        clock.advance(0.9)
        assert isinstance(self.ask(old, waiter.ticket), Queued)
        clock.advance(0.9)
        assert isinstance(self.ask(young, waiter.ticket), Grant)

    def test_place(self, clock, disk):
        """Who is told that it waits keeps its place for as long as it may after any such answer."""
        old = self.begin_term(clock, disk)
        self.ask(old)
        waiter = self.ask(old)
        young = self.begin_term(clock, disk)
        assert isinstance(self.ask(young, waiter.ticket), Queued)
        clock.advance(1)
        assert isinstance(self.ask(old, waiter.ticket), Queued)
        clock.advance(1)
        assert isinstance(self.ask(young, waiter.ticket), Queued)

    def test_newcomer(self, clock, disk):
        """What no earlier daemon knows of ends in its own time."""
        self.begin_term(clock, disk)
        young = self.begin_term(clock, disk)
        self.ask(young)
        waiter = self.ask(young)
        clock.pump([0.1] * 31)
        with pytest.raises(TicketEnded):
            self.ask(young, waiter.ticket)
        assert isinstance(self.ask(young), Grant)


# -- Real daemons


@dataclass
class Pair:
    """
    Two daemons on one store; the second is not started yet.

    :ivar database: the name of the database, if there is a server.
    """

    first: Daemon
    second: Daemon
    mariadb: MariaDB | None
    database: str

    def guarded(self) -> bool:
        """Whether somebody holds the guard, and the leader has said that it does."""
        assert self.mariadb is not None
        ((guard,),) = self.mariadb.run("SELECT guard FROM server", database=self.database)
        return bool(guard and guard_connection(self.mariadb, self.database))

    def cut_guard(self) -> None:
        """Have the server take the guard away from whoever holds it, if somebody does."""
        assert self.mariadb is not None
        self.mariadb.end_connection(guard_connection(self.mariadb, self.database))


def pair(tmp_path: Path, kind: str, request: pytest.FixtureRequest, *, unguarded: bool = False) -> Pair:
    # Where nobody waits for the end of a lease none may end, however long a start takes.
    lease = "600" if unguarded else str(LEASE)
    environ = {"RESOURCED_STORE_TIMEOUT": str(TIMEOUT), "RESOURCED_GRACE": "1", "RESOURCED_LEASE": lease}
    mariadb: MariaDB | None = None
    database = tmp_path.name.replace("-", "_")
    if kind == "mysql":
        mariadb = request.getfixturevalue("mariadb")
        environ |= {"MYSQL_PORT": str(mariadb.port), "MYSQL_DATABASE": database}
    else:
        environ["RESOURCED_STORE"] = f"sqlite:{tmp_path}/shared.sqlite"

    def daemon(name: str) -> Daemon:
        (tmp_path / name).mkdir()
        made = Daemon(tmp_path / name, environ)
        if unguarded:
            made.command = (*UNFENCED, "guard")
        return made

    return Pair(daemon("first"), daemon("second"), mariadb, database)


@pytest.fixture(params=["sqlite", "mysql"])
def both(request, tmp_path) -> Pair:
    """A pair on each kind of store."""
    return pair(tmp_path, request.param, request)


@pytest.fixture
def remote(request, tmp_path) -> Pair:
    """A pair on a server, where each may be on a machine of its own."""
    return pair(tmp_path, "mysql", request)


@pytest.fixture(params=["sqlite", "mysql"])
def unguarded(request, tmp_path) -> Pair:
    """A pair of which each believes that it is the only one."""
    return pair(tmp_path, request.param, request, unguarded=True)


def stands_by(daemon: Daemon) -> bool:
    """Whether a daemon says that it waits for another one's end."""
    try:
        answer = daemon.get("/health", key="")
    except OSError:
        return False
    return (answer.status, answer.body) == (503, b'{"health": "standby"}')


def standby(daemon: Daemon) -> Daemon:
    """Start a daemon that waits for the other one's end."""
    daemon.arguments = ("--standby",)
    daemon.launch()
    eventually(lambda: stands_by(daemon), what="the second daemon stands by")
    return daemon


def hold(daemon: Daemon) -> Answer:
    answer = daemon.post(f"{A4}/lock")
    assert answer.status == 200, answer
    return answer


def queue(daemon: Daemon, position: int) -> str:
    answer = daemon.get(A4)
    assert (answer.status, answer.json["position"]) == (202, position), answer
    return answer.ticket


def deposed(daemon: Daemon) -> None:
    """A daemon ends because another one has taken over, and says so."""
    assert daemon.wait() == 1
    assert "Another daemon has taken over this store, so this one must stop." in daemon.log
    assert "Traceback" not in daemon.log


class TestSecondDaemon:
    def test_it_gives_up_at_once(self, both):
        """Without --standby it ends with status 1 and a sentence, and the first does not notice."""
        with both.first:
            both.first.create("printer")
            holder = hold(both.first)
            log = both.second.fails()
            assert "Another daemon serves this store already. With --standby this one would wait for its end." in log
            assert "Traceback" not in log
            assert both.first.put(A4, "1", ticket=holder.ticket).status == 204

    def test_it_stands_by(self, both):
        """With --standby it answers, and says nothing but that it waits."""
        with both.first, ExitStack() as stack:
            stack.callback(both.second.kill)
            both.first.create("printer")
            standby(both.second)
            holder = hold(both.first)
            for method, target in (
                ("GET", A4),
                ("GET", f"{A4}?lock=0"),
                ("POST", f"{A4}/lock"),
                ("PUT", A4),
                ("POST", f"{A4}/unlock"),
                ("POST", "/resource"),
                ("DELETE", A4),
                ("GET", "/nowhere"),
            ):
                answer = both.second.request(method, target, ticket=holder.ticket, body="1")
                assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "standby", "1")
                assert answer.headers["content-type"] == "application/json"
            assert both.first.put(A4, "1", ticket=holder.ticket).status == 204
            assert both.second.terminate() <= 0
            assert both.first.put(A4, "2", ticket=holder.ticket).status == 204

    @pytest.mark.parametrize("end", ["terminate", "kill"])
    def test_it_takes_over(self, both, end):
        """When the first is gone the second serves, with every lock, queue and ticket as they stood; the first may stand by."""
        with both.first, ExitStack() as stack:
            stack.callback(both.second.kill)
            both.first.create("printer")
            standby(both.second)
            holder = hold(both.first)
            assert both.first.put(A4, '"first"', ticket=holder.ticket).status == 204
            tickets = [queue(both.first, position) for position in (1, 2, 3)]
            idempotency_key = both.first.get("/resource/printer/A5", headers={"idempotency-key": "again"})

            getattr(both.first, end)()
            eventually(both.second.healthy, what="the second daemon serves")
            for position, ticket in reversed(list(enumerate(tickets, 1))):
                assert both.second.get(A4, ticket=ticket).json["position"] == position
            kept = both.second.get(A4, ticket=holder.ticket)
            assert (kept.status, kept.fence, kept.json["data"]) == (200, holder.fence, '"first"')
            again = both.second.get("/resource/printer/A5", headers={"idempotency-key": "again"})
            assert (again.ticket, again.fence) == (idempotency_key.ticket, idempotency_key.fence)

            standby(both.first)
            both.second.post(f"{A4}/unlock", ticket=holder.ticket)
            next_waiter = both.second.get(A4, ticket=tickets[0])
            assert next_waiter.status == 200
            assert next_waiter.fence > again.fence
            getattr(both.second, end)()
            eventually(both.first.healthy, what="the first daemon serves again")
            assert both.first.get(A4, ticket=tickets[0]).fence == next_waiter.fence
            assert both.first.get(A4, ticket=tickets[1]).json["position"] == 1

    def test_waiting_request_is_not_answered_by_a_dead_daemon(self, both):
        """Who waited at the first daemon asks the second with the same ticket, and has the same place."""
        with both.first, ExitStack() as stack:
            stack.callback(both.second.kill)
            both.first.create("printer")
            standby(both.second)
            holder = hold(both.first)
            ticket = queue(both.first, 1)
            with closing(both.first.ask("GET", f"{A4}?wait=20", ticket=ticket)):
                queue(both.first, 2)
                both.first.kill()
            eventually(both.second.healthy, what="the second daemon serves")
            with closing(both.second.ask("GET", f"{A4}?wait=20", ticket=ticket)) as waiting:
                assert both.second.post(f"{A4}/unlock", ticket=holder.ticket).status == 200
                answer = waiting.answer()
            assert (answer.status, answer.ticket) == (404, ticket)


class TestFrozenDaemon:
    @pytest.mark.parametrize("slept", [0.0, LEADER_LEASE + 0.5])
    def test_it_does_no_harm_when_it_wakes(self, remote, slept):
        """
        Another daemon took over meanwhile; what the old one was sent is refused, and it ends with a sentence.

        That is so whether it still believes in itself when it wakes or has slept for so long that it does not.
        """
        with remote.first as old, ExitStack() as stack:
            stack.callback(remote.second.kill)
            old.create("printer")
            young = standby(remote.second)
            holder = hold(old)
            assert old.put(A4, '"before"', ticket=holder.ticket).status == 204
            waiter = queue(old, 1)
            connections = [stack.enter_context(closing(old.connect())) for _ in range(4)]
            for connection in connections:
                assert connection.ask("GET", "/health").answer().status == 200
            old.freeze()
            write, write_again, unlock, newcomer = connections
            write.ask("PUT", A4, body='"late"', ticket=holder.ticket)
            write_again.ask("PUT", f"{A4}?unlock=1", body='"later"', ticket=holder.ticket)
            unlock.ask("POST", f"{A4}/unlock", ticket=holder.ticket)
            newcomer.ask("POST", "/resource/printer/A5/lock")
            remote.cut_guard()
            eventually(young.healthy, what="the standby serves")
            assert young.put(f"{A4}?unlock=1", '"young"', ticket=holder.ticket).status == 204
            next_waiter = young.get(A4, ticket=waiter)
            assert (next_waiter.status, next_waiter.fence > holder.fence) == (200, True)
            time.sleep(slept)
            old.thaw()
            assert [connection.answer().status for connection in connections] == [503] * 4
            deposed(old)
            read = young.get(A4, ticket=waiter)
            assert (read.fence, read.json["data"]) == (next_waiter.fence, '"young"')

    def test_it_does_not_say_what_it_cannot_know(self, remote):
        """
        A daemon that does not know yet that it was deposed tells nobody that a ticket has ended.

        The ticket may be one that the other daemon has given out.
        """
        with remote.first as old, ExitStack() as stack:
            stack.callback(remote.second.kill)
            old.create("printer")
            young = standby(remote.second)
            connections = [stack.enter_context(closing(old.connect())) for _ in range(3)]
            for connection in connections:
                assert connection.ask("GET", "/health").answer().status == 200
            old.freeze()
            remote.cut_guard()
            eventually(young.healthy, what="the standby serves")
            holder = hold(young)
            connections[0].ask("PUT", A4, body="1", ticket=holder.ticket)
            connections[1].ask("POST", f"{A4}/unlock", ticket=holder.ticket)
            connections[2].ask("POST", f"{A4}/lock", ticket=holder.ticket)
            old.thaw()
            assert [connection.answer().status for connection in connections] == [503] * 3
            deposed(old)
            assert young.put(A4, "2", ticket=holder.ticket).status == 204


def test_a_later_version_has_led(remote):
    """A daemon that stood by while one of a later version changed the schema does not take over, and says why."""
    with remote.first as leader, ExitStack() as stack:
        stack.callback(remote.second.kill)
        young = standby(remote.second)
        assert remote.mariadb is not None
        remote.mariadb.run("UPDATE schema_version SET version = version + 1", database=remote.database)
        remote.mariadb.run("UPDATE server SET epoch = epoch + 1, owner = 'another'", database=remote.database)
        assert leader.wait() == 1
        assert young.wait() == 1
        assert "a newer server has used it" in young.log


class TestCutGuard:
    def test_nobody_else_wants_it(self, remote):
        """A daemon whose guard was cut takes it again, and goes on."""
        with remote.first:
            remote.first.create("printer")
            holder = hold(remote.first)
            assert remote.mariadb is not None
            remote.cut_guard()
            before = 0
            eventually(
                lambda: guard_connection(remote.mariadb, remote.database) > before, what="the guard is held again"
            )
            assert remote.first.put(A4, "1", ticket=holder.ticket).status == 204

    def test_leases_of_the_old_reign_are_kept(self, remote):
        """
        The lock does not pass on before the lease is over that the deposed daemon told its holder last.

        The old daemon does not know for a moment that it was deposed, and goes on to renew.
        """
        with remote.first as old, ExitStack() as stack:
            stack.callback(remote.second.kill)
            old.create("printer")
            young = standby(remote.second)
            ticket = hold(old).ticket
            waiter = queue(old, 1)
            until = 0.0
            while True:
                # Whichever of the two finds out first takes it.
                if remote.guarded() and not young.healthy():
                    remote.cut_guard()
                asked = time.monotonic()
                try:
                    answer = old.post(f"{A4}/lock", ticket=ticket)
                except OSError:
                    break
                if answer.status == 200:
                    until = asked + int(answer.headers["x-lease"])
            deposed(old)
            eventually(young.healthy, what="the standby serves")
            with closing(young.ask("GET", f"{A4}?wait=40", ticket=waiter, timeout=50)) as waiting:
                next_waiter = waiting.answer()
            assert next_waiter.ticket == waiter
            assert next_waiter.fence
            assert time.monotonic() >= until


class TestWithoutFencing:
    def test_late_write_lands(self, remote):
        """What the store's checks save from: without them a daemon that wakes overwrites what was acknowledged meanwhile."""
        for daemon in (remote.first, remote.second):
            daemon.command = (*UNFENCED, "fencing")
            # Nothing here waits for that to be over.
            daemon.environ = {**daemon.environ, "RESOURCED_STORE_TIMEOUT": "60"}
        with remote.first as old, ExitStack() as stack:
            stack.callback(remote.second.kill)
            old.create("printer")
            young = standby(remote.second)
            holder = hold(old)
            late = stack.enter_context(closing(old.connect()))
            assert late.ask("GET", "/health").answer().status == 200
            old.freeze()
            late.ask("PUT", A4, body='"late"', ticket=holder.ticket)
            remote.cut_guard()
            eventually(young.healthy, what="the standby serves")
            assert young.put(f"{A4}?unlock=1", '"young"', ticket=holder.ticket).status == 204
            old.thaw()
            assert late.answer().status == 204
            assert young.get(f"{A4}?lock=0").json["data"] == '"late"'


class TestWithoutGuard:
    def test_the_epoch_is_enough(self, unguarded):
        """Of two daemons that both believe that they are the only one, the older one ends, and never do both grant."""
        with unguarded.first as old:
            old.create("printer")
            holder = hold(old)
            waiter = queue(old, 1)
            with closing(old.connect()) as late:
                assert late.ask("GET", "/health").answer().status == 200
                with unguarded.second as young:
                    assert young.post(f"{A4}/unlock", ticket=holder.ticket).json == {"unlocked": True}
                    next_waiter = young.get(A4, ticket=waiter)
                    assert next_waiter.fence > holder.fence
                    # It may have noticed, and be gone.
                    with suppress(OSError, http.client.HTTPException):
                        late.ask("POST", f"{A4}/unlock", ticket=holder.ticket)
                        assert late.answer().status == 503
                    deposed(old)
                    assert young.get(A4, ticket=waiter).fence == next_waiter.fence
