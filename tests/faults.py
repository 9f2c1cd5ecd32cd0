"""
Everything that can be wrong with a database, done to a real one under a real daemon with clients that keep asking.

    .venv/bin/python -m tests.faults [WORD...]

prints the table, or the lines whose names have one of the words in them: the fault, what clients saw meanwhile, how long full service took to come back, and what was lost.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql

from resourced.storage.sql.health import QUIET, Fault
from tests.clocks import Clocks
from tests.daemon import LOCK, Answer, Daemon, eventually
from tests.disk import Disk
from tests.mariadb import MariaDB

A4 = "/resource/printer/A4"
#: The store's timeout, in seconds: one that is never over, and one that is where a fault is that the database says nothing.
TIMEOUT, SILENCE = 20.0, 2.0
#: What an answer may take beyond the store's timeout on a machine that does much else, in seconds.
MARGIN = 30.0
#: Bytes that the holder writes each time: more than fits into what is left anywhere.
SIZE = 150_000
PASSWORD = "of-the-house"
#: What the log says when a fault is over.
OVER = "The database can be used again."
#: All tables in one file, which may be given a limit.
ONE_FILE = ("--innodb-file-per-table=0",)


class House:
    """A daemon on a database of either kind, and what a fault needs to get at both."""

    def __init__(self, stack: ExitStack, scenario: Scenario) -> None:
        self.stack = stack
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.clocks = Clocks(folder / "clocks")
        environ = {"RESOURCED_STORE_TIMEOUT": str(scenario.timeout), "RESOURCED_GRACE": "1", **self.clocks.environ}
        self.server: MariaDB | None = None
        if not scenario.sqlite:
            server = self.server = stack.enter_context(scenario.kind(*scenario.options))
            server.run("CREATE DATABASE printers CHARACTER SET utf8mb4")
            # Not root: to root neither the limit of connections applies nor that a server only reads.
            server.run(f"CREATE USER keeper@localhost IDENTIFIED BY '{PASSWORD}'")
            server.run("GRANT ALL ON printers.* TO keeper@localhost")
            environ |= {
                "MYSQL_HOST": server.socket,
                "MYSQL_DATABASE": "printers",
                "MYSQL_USER": "keeper",
                "MYSQL_PASSWORD": PASSWORD,
            }
        self.disk: Disk | None = None
        if scenario.disk:
            self.disk = stack.enter_context(Disk(folder))
            environ["RESOURCED_STORE"] = f"sqlite:{self.disk.path}/resourced.sqlite"
        self.daemon = Daemon(folder, environ)
        self.fillers: list[Any] = []

    @property
    def mariadb(self) -> MariaDB:
        assert self.server is not None
        return self.server

    @property
    def file(self) -> str:
        return str(self.daemon.folder / "resourced.sqlite")

    def hang_up(self) -> None:
        """End every connection of the daemon."""
        with closing(self.mariadb.connect()) as connection, connection.cursor() as cursor:
            hang_up(cursor)


def hang_up(cursor: Any) -> bool:
    """End every connection of the daemon; tell whether there was any."""
    cursor.execute("SELECT id FROM information_schema.processlist WHERE user = 'keeper'")
    numbers = [number for (number,) in cursor.fetchall()]
    for number in numbers:
        with suppress(pymysql.MySQLError):
            cursor.execute(f"KILL {number}")
    return bool(numbers)


@dataclass(frozen=True)
class Scenario:
    """
    One thing that goes wrong.

    :ivar health: what ``/health`` says meanwhile; nothing if it is as well as ever.
    :ivar hurts: which requests cannot be served at all.
    :ivar lasts: for how many seconds.
    :ivar disk: whether the SQLite file is on a disk of its own, which takes root.
    :ivar timeout: the store's, in seconds.
    :ivar kind: what the server is, if there is one.
    """

    name: str
    begin: Callable[[House], None]
    end: Callable[[House], None]
    health: frozenset[str] = frozenset()
    hurts: frozenset[str] = frozenset({"read", "write", "lock", "create"})
    lasts: float = 1.2
    sqlite: bool = False
    disk: bool = False
    options: tuple[str, ...] = ()
    timeout: float = TIMEOUT
    kind: type[MariaDB] = MariaDB

    def __str__(self) -> str:
        return self.name


@dataclass
class Seen:
    """
    What one kind of request was answered.

    :ivar resumed: how often it was served after a refusal.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    resumed: int = 0
    slowest: float = 0.0


@dataclass
class Outcome:
    """
    What came of a scenario.

    :ivar health: the codes with which ``/health`` said that something is wrong.
    :ivar stale: reads that gave less than had been written for sure by then.
    :ivar hasty: refusals without ``Retry-After``.
    :ivar said: the first sentences of all refusals.
    :ivar over: whether the log says that the fault is over.
    :ivar lines: what the log has about it; ``returned`` is how long full service took.
    """

    seen: dict[str, Seen] = field(default_factory=dict)
    health: set[str] = field(default_factory=set)
    stale: int = 0
    hasty: int = 0
    said: set[str] = field(default_factory=set)
    over: bool = False
    lines: list[str] = field(default_factory=list)
    returned: float = 0.0
    lost: list[str] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return sum(seen.statuses[503] for seen in self.seen.values())

    @property
    def slowest(self) -> float:
        return max(seen.slowest for seen in self.seen.values())


class Clients:
    """Some who keep asking, each for one kind of thing; one of them holds a lock and writes ever higher numbers."""

    def __init__(self, daemon: Daemon, holder: Answer, outcome: Outcome) -> None:
        self._daemon = daemon
        self._holder = holder
        self._outcome = outcome
        self._over = threading.Event()
        self._numbers = iter(range(1, 10**9))
        self._written = 0
        self.kept = 0
        self.held: dict[str, str] = {}
        self.made: list[str] = []

    @contextmanager
    def asking(self) -> Iterator[None]:
        kinds: dict[str, Callable[[], Answer]] = {
            "read": self.read,
            "write": self.write,
            "lock": self.lock,
            "create": self.create,
            "health": self.health,
        }
        threads = [threading.Thread(target=self._ask, args=kind) for kind in kinds.items()]
        for kind in kinds:
            self._outcome.seen[kind] = Seen()
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _ask(self, kind: str, ask: Callable[[], Answer]) -> None:
        seen = self._outcome.seen[kind]
        while not self._over.is_set():
            began = time.monotonic()
            answer = ask()
            seen.slowest = max(seen.slowest, time.monotonic() - began)
            seen.statuses[answer.status] += 1
            seen.resumed += answer.status != 503 and seen.statuses[503] > 0
            if answer.status == 503:
                self._outcome.said.add(answer.json["error"].partition(".")[0])
                self._outcome.hasty += int(answer.headers.get("retry-after", 0)) < 1
            self._over.wait(0.02)

    def read(self) -> Answer:
        kept = self.kept
        answer = self._daemon.get(f"{A4}?lock=0")
        if answer.status == 200 and number_in(answer) < kept:
            self._outcome.stale += 1
        return answer

    def write(self) -> Answer:
        self._written += 1
        answer = self._daemon.put(A4, f'"{self._written} {"x" * SIZE}"', ticket=self._holder.ticket)
        if answer.status == 204:
            self.kept = self._written
        return answer

    def lock(self) -> Answer:
        path = f"/resource/printer/B{next(self._numbers)}"
        answer = self._daemon.post(f"{path}/lock", key=LOCK)
        if answer.status == 200:
            self.held[path] = answer.ticket
        return answer

    def create(self) -> Answer:
        name = f"stapler{next(self._numbers)}"
        answer = self._daemon.post("/resource", json.dumps({"name": name}))
        if answer.status == 201:
            self.made.append(name)
        return answer

    def health(self) -> Answer:
        answer = self._daemon.get("/health", key="")
        if answer.status == 503:
            self._outcome.health.add(answer.code)
        return answer

    def all_served(self) -> bool:
        return (
            self.write().status == 204
            and self.read().status == 200
            and self.lock().status == 200
            and self.create().status == 201
            and self.health().status == 200
        )


def number_in(answer: Answer) -> int:
    return int(json.loads(answer.json["data"]).split()[0])


def run(scenario: Scenario) -> Outcome:
    """Break a database in one way, mend it, and look what became of everything."""
    outcome = Outcome()
    with ExitStack() as stack:
        house = House(stack, scenario)
        daemon = stack.enter_context(house.daemon)
        daemon.create("printer")
        holder = daemon.post(f"{A4}/lock")
        clients = Clients(daemon, holder, outcome)
        assert clients.all_served()
        second, third = (daemon.get(A4, key=LOCK).ticket for _ in range(2))
        before = len(daemon.log)
        scenario.begin(house)
        with clients.asking():
            time.sleep(scenario.lasts)
        health, said = set(outcome.health), set(outcome.said)
        outcome.lines = [line for line in daemon.log[before:].splitlines() if "resourced.access" not in line]
        began = time.monotonic()
        scenario.end(house)
        eventually(clients.all_served, what="full service")
        outcome.returned = time.monotonic() - began
        outcome.health, outcome.said = health, said
        outcome.lost = list(losses(daemon, clients, holder, second, third))
        assert "Traceback" not in daemon.log, daemon.log[-3000:]
        if scenario.health:
            # What is about single statements is over when it was not seen for a while.
            house.clocks.let_pass(QUIET)
            eventually(lambda: daemon.log.count(OVER, before), what="the log says that it is over")
            outcome.over = True
    return outcome


def check(scenario: Scenario) -> None:
    """Break a database in one way, and find nothing wrong with what clients, the log and the health say of it."""
    outcome = run(scenario)
    assert {status for seen in outcome.seen.values() for status in seen.statuses} <= {200, 201, 204, 503}
    for kind, seen in outcome.seen.items():
        served = sum(count for status, count in seen.statuses.items() if status != 503)
        if kind in scenario.hurts:
            assert seen.statuses[503] >= 1
            assert seen.resumed == 0, kind
            # One answer may have been on its way when it began. What was read before is told from memory until the fault is met with.
            assert served <= 1 or kind == "read", kind
        elif kind == "read":
            assert seen.statuses[503] <= 1
    assert outcome.slowest < scenario.timeout + MARGIN
    assert outcome.stale == outcome.hasty == 0
    assert bool(outcome.health) == bool(scenario.health)
    assert outcome.health <= scenario.health
    told = [line for line in outcome.lines if "resourced.storage.sql.health" in line]
    assert len(told) == bool(scenario.health), told
    assert outcome.over == bool(scenario.health)
    if scenario.health:
        # Whoever meets it is told the same: each client, the log, and whoever looks at the health.
        assert outcome.said == {fault.sentence.rstrip(".") for fault in Fault if fault.value[0] in scenario.health}
        assert all(any(sentence in line for sentence in outcome.said) for line in told)
    assert not [line for line in outcome.lines if "#error" in line or "#critical" in line]
    assert outcome.lost == []


def losses(daemon: Daemon, clients: Clients, holder: Answer, second: str, third: str) -> Iterator[str]:
    """Name all that clients were told of and that is not so."""
    kept = daemon.get(A4, ticket=holder.ticket)
    if (kept.status, kept.fence) != (200, holder.fence):
        yield "the lock"
    elif number_in(kept) < clients.kept:
        yield "a write"
    for path, ticket in clients.held.items():
        if daemon.post(f"{path}/lock", ticket=ticket).status != 200:
            yield f"the lock of {path}"
    for name in clients.made:
        if daemon.post("/resource", json.dumps({"name": name})).status != 409:
            yield f"the resource {name}"
    yield from turns_lost(daemon, holder, second, third)


def turns_lost(daemon: Daemon, holder: Answer, second: str, third: str) -> Iterator[str]:
    """Name what is not as it was in the queue for the holder's lock; then pass it on."""
    for position, ticket in ((2, third), (1, second)):
        if daemon.get(A4, key=LOCK, ticket=ticket).json.get("position") != position:
            yield f"place {position}"
    if daemon.post(f"{A4}/unlock", ticket=holder.ticket).json != {"unlocked": True}:
        yield "the unlock"
    next_waiter = daemon.get(A4, key=LOCK, ticket=second)
    if next_waiter.status != 200 or next_waiter.fence <= holder.fence:
        yield "the turn"


# -- What goes wrong


def die_for_long(house: House) -> None:
    """Let the server die, and the daemon find that all its leases should have ended meanwhile."""
    house.mariadb.kill()
    house.clocks.let_pass(10_000)


def throttle(house: House) -> None:
    """Let the server do something for a moment, five times a second."""
    over = threading.Event()

    def doze() -> None:
        while not over.is_set():
            house.mariadb.freeze()
            over.wait(0.2)
            house.mariadb.thaw()
            over.wait(0.01)

    thread = threading.Thread(target=doze)
    thread.start()

    def wake() -> None:
        over.set()
        thread.join()

    house.fillers.append(wake)
    house.stack.callback(wake)


def unthrottle(house: House) -> None:
    house.fillers.pop()()


def crowd(house: House) -> None:
    """Take every connection that the server has to give."""
    house.mariadb.run("CREATE USER crowd@localhost")
    # One connection for all of it: that of a moment ago may count still, and would be one too many. It is one of the crowd, too.
    connection = house.mariadb.connect()
    house.fillers.append(connection)
    alone = 0
    with connection.cursor() as cursor:
        cursor.execute("SET GLOBAL max_connections = 12")
        for _ in range(400):
            before = len(house.fillers)
            with suppress(pymysql.MySQLError):
                while True:
                    house.fillers.append(
                        pymysql.connect(unix_socket=house.mariadb.socket, user="crowd", ssl_disabled=True)
                    )
            # A connection that was ended makes room only a moment later, for whoever comes first.
            alone = 0 if hang_up(cursor) or len(house.fillers) > before else alone + 1
            if alone == 10:
                return
            time.sleep(0.02)
    raise AssertionError("the daemon always has a connection")


def disperse(house: House) -> None:
    for filler in house.fillers:
        filler.close()


def fill(house: House) -> None:
    """Fill the table space in which all tables are."""
    with closing(house.mariadb.connect("printers")) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE filler (text LONGBLOB)")
        for size in (500_000, 100_000):
            with suppress(pymysql.MySQLError):
                while True:
                    cursor.execute("INSERT INTO filler VALUES (%s)", (b"x" * size,))


def make_room(house: House) -> None:
    """Give the server a larger disk, so to speak. Without any room not even a table can be dropped."""
    house.mariadb.restart(*ONE_FILE, "--innodb-data-file-path=ibdata1:12M:autoextend:max:400M")


def shrink_packets(house: House) -> None:
    house.mariadb.run("SET GLOBAL max_allowed_packet = 65536")
    # A connection keeps the limit that it began with.
    house.hang_up()


def fill_disk(house: House) -> None:
    assert house.disk is not None
    house.disk.fill()


def empty_disk(house: House) -> None:
    assert house.disk is not None
    house.disk.make_room()


def lock_file(house: House) -> None:
    """Hold the file as a backup that goes wrong does."""
    connection = sqlite3.connect(house.file, isolation_level=None, check_same_thread=False)
    house.stack.callback(connection.close)
    connection.execute("BEGIN IMMEDIATE")
    house.fillers.append(connection)


WRITES = frozenset({"write", "lock", "create"})

SCENARIOS = (
    Scenario("dead server", lambda h: h.mariadb.kill(), lambda h: h.mariadb.start(), frozenset({"store_unreachable"})),
    Scenario(
        "dead for longer than any lease",
        die_for_long,
        lambda h: h.mariadb.start(),
        frozenset({"store_unreachable"}),
    ),
    Scenario(
        "frozen server",
        lambda h: h.mariadb.freeze(),
        lambda h: h.mariadb.thaw(),
        frozenset({"store_silent"}),
        lasts=2.2 * SILENCE,
        timeout=SILENCE,
    ),
    Scenario("slow server", throttle, unthrottle, hurts=frozenset(), lasts=2.2),
    Scenario(
        "too many connections",
        crowd,
        disperse,
        frozenset({"store_crowded"}),
        lasts=2.2 * SILENCE,
        timeout=SILENCE,
    ),
    Scenario(
        "server only reads",
        lambda h: none(h.mariadb.run("SET GLOBAL read_only = 1")),
        lambda h: none(h.mariadb.run("SET GLOBAL read_only = 0")),
        frozenset({"store_read_only"}),
        hurts=WRITES,
    ),
    Scenario(
        "server's disk is full",
        fill,
        make_room,
        frozenset({"store_full"}),
        hurts=frozenset({"write"}),
        options=(*ONE_FILE, "--innodb-data-file-path=ibdata1:12M:autoextend:max:40M"),
    ),
    Scenario(
        "packet too large for the server",
        shrink_packets,
        lambda h: none(h.mariadb.run("SET GLOBAL max_allowed_packet = 16777216")),
        frozenset({"store_packet_too_large"}),
        hurts=frozenset({"write"}),
    ),
    Scenario(
        "SQLite's disk is full",
        fill_disk,
        empty_disk,
        frozenset({"store_full"}),
        hurts=WRITES,
        sqlite=True,
        disk=True,
    ),
    Scenario(
        "SQLite file locked by another program",
        lock_file,
        lambda h: h.fillers.pop().close(),
        frozenset({"store_silent"}),
        hurts=WRITES,
        lasts=2.2 * SILENCE,
        sqlite=True,
        timeout=SILENCE,
    ),
)


def none(_: object) -> None:
    """Want nothing of an answer."""


def row(scenario: Scenario, outcome: Outcome) -> str:
    """Write a line of the table."""
    answers: Counter[int] = Counter()
    for seen in outcome.seen.values():
        answers.update(seen.statuses)
    said = ", ".join(f"{count} x {status}" for status, count in sorted(answers.items()))
    health = " ".join(sorted(outcome.health)) or "ok"
    lost = ", ".join(outcome.lost) or "nothing"
    return (
        f"{scenario.name:<38} {said:<44} {outcome.slowest:5.2f} s {health:<18} {len(outcome.lines):3d}"
        f" {outcome.returned:6.2f} s  {lost}"
    )


def main() -> None:
    say = sys.stdout.write
    say(f"{'fault':<38} {'what clients saw':<44} {'slowest':>7} {'/health':<18} {'log':>3} {'back in':>8}  lost\n")
    for scenario in SCENARIOS:
        sys.stdout.flush()
        if not sys.argv[1:] or any(word in scenario.name for word in sys.argv[1:]):
            say(row(scenario, run(scenario)) + "\n")


if __name__ == "__main__":
    main()
