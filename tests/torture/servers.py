"""Two daemons under supervision, the database that they share, and what can be done to all three."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import pymysql

from tests import preloaded
from tests.daemon import Daemon
from tests.mariadb import MariaDB
from tests.torture.guardian import Guardian
from tests.torture.history import Value
from tests.torture.pool_history import CardKept

DATABASE: Final = "torture"

#: Seconds after which a daemon that has ended is started again, as systemd would.
PAUSE: Final = 0.2
#: What must not be in any log.
BUGS: Final = ("Traceback", "has a bug", "nobody thought of", "Unhandled", "internal_error")


@dataclass
class Supervised(Daemon):
    """
    A daemon that is started again whenever it has ended.

    :ivar statuses: how its lives have ended: with a signal or a status, and what it said last.
    :ivar deposed: when it was found to have ended because another daemon had taken over.
    :ivar wrong: what must not have happened.
    """

    guardian: Guardian = field(repr=False, kw_only=True)
    statuses: Counter[str] = field(default_factory=Counter)
    deposed: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    _due: float = 0.0
    _expected: int | None = None
    _said: str = ""

    def launch(self) -> Supervised:
        self._expected = None
        # Not straight into a file, so that a full disk can be played without the log being full too.
        self.process = preloaded.start(
            [*self.command, *self.arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.guardian.adopt(self.process.pid)
        threading.Thread(target=self._listen_to, args=(self.process.stdout,), daemon=True).start()
        return self

    def _listen_to(self, output: Any) -> None:
        with output, self.log_file.open("ab") as log:
            for text in output:
                log.write(text)
                if b"#critical]" in text:
                    self._said = text.decode(errors="replace").strip()
                if any(bug.encode() in text for bug in BUGS):
                    self.wrong.append(f"in the log of a daemon: {text.decode(errors='replace').strip()}")

    def keep(self) -> None:
        """Start it again if it has ended and its pause is over."""
        process = self.process
        if process is None:
            if time.monotonic() >= self._due:
                self.launch()
            return
        status = process.poll()
        if status is None:
            return
        self.guardian.release(process.pid)
        self.process = None
        self._due = time.monotonic() + PAUSE
        self._count(status)

    def _count(self, status: int) -> None:
        said = self._said.rpartition("] ")[2] if status == 1 else ""
        self.statuses[f"{signal.Signals(-status).name if status < 0 else status} {said}".strip()] += 1
        expected, self._expected = self._expected, None
        if "has taken over" in said:
            # It may have ended for that while it was about to be killed; whether it should have been deposed is judged in the end.
            self.deposed.append(time.monotonic())
            return
        if expected is None and status == 0:
            self.wrong.append("a daemon ended by itself, with status 0")
        elif expected is not None and status != expected:
            self.wrong.append(f"a daemon ended with status {status} where {expected} was expected: {self._said}")

    def strike(self, number: signal.Signals, *, status: int | None = None) -> None:
        """Send it a signal, if it runs, after which it ends with a certain status."""
        process = self.process
        if process is not None and process.poll() is None:
            if status is not None:
                self._expected = status
            process.send_signal(number)

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def must_fail(self) -> None:
        """Take note that it has to end with status 1 by itself."""
        self._expected = 1

    @property
    def state(self) -> str:
        """What it answers about its health: ``ok``, ``standby``, another word, or nothing."""
        try:
            answer = self.get("/health", key="", timeout=0.5)
            return str(answer.json.get("health", answer.json.get("code", "")))
        except (OSError, ValueError, subprocess.SubprocessError):
            return ""
        except Exception as error:  # noqa: BLE001 - whatever http.client makes of half an answer
            return f"({type(error).__name__})"


class Base(Protocol):
    """The database behind the daemons."""

    kind: str

    def environ_of(self, number: int) -> Mapping[str, str]:
        """What a daemon is told about it, the first being number 0."""

    def values(self) -> dict[str, Value]:
        """Read what is kept, by selector, without asking a daemon."""

    def cards(self) -> dict[str, CardKept]:
        """Read the cards of units, by selector, without asking a daemon."""

    def remove(self) -> None:
        """End it, and leave nothing behind."""


VALUES = (
    "SELECT resource.name, resource_data.selector, resource_data.data FROM resource_data "
    "JOIN resource ON resource.id = resource_data.id_resource"
)


CARDS = "SELECT resource, selector, tags, out_reason FROM card"


class OwnMariaDB(MariaDB):
    """A MariaDB server that does not outlive this program."""

    guardian: Guardian

    def launch(self) -> None:
        super().launch()
        self.guardian.adopt(self.pid)

    def _end(self, number: signal.Signals) -> None:
        pid = self.process.pid if self.process is not None else 0
        super()._end(number)
        self.guardian.release(pid)


class MySQLBase:
    """A private MariaDB server."""

    kind = "mysql"

    def __init__(self, guardian: Guardian) -> None:
        self.server = OwnMariaDB("--max-connections=500", "--innodb-lock-wait-timeout=50")
        guardian.remove(self.server.folder)
        self.server.guardian = guardian
        try:
            self.server.start()
        except BaseException:
            self.server.remove()
            raise

    def environ_of(self, number: int) -> Mapping[str, str]:
        return {
            "MYSQL_HOST": "127.0.0.1",
            "MYSQL_PORT": str(self.server.port),
            "MYSQL_DATABASE": DATABASE,
            "RESOURCED_STORE": "mysql",
        }

    def values(self) -> dict[str, Value]:
        return {where(name, part): value_of(data) for name, part, data in self.server.run(VALUES, database=DATABASE)}

    def cards(self) -> dict[str, CardKept]:
        return cards_of(self.server.run(CARDS, database=DATABASE))

    def remove(self) -> None:
        self.server.remove()

    def kill_connection(self, number: int) -> None:
        """End a connection of a daemon's, which only learns that when it uses it."""
        with suppress(pymysql.MySQLError):
            self.server.run(f"KILL {number}")

    def guard(self) -> int:
        """Find the connection that the guard lives by, or 0."""
        name = f"resourced:{hashlib.sha256(DATABASE.encode()).hexdigest()[:32]}"
        ((number,),) = self.server.run("SELECT IS_USED_LOCK(%s)", name)
        return number or 0


class SQLiteBase:
    """A file."""

    kind = "sqlite"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "torture.sqlite"

    def environ_of(self, number: int) -> Mapping[str, str]:
        return {"RESOURCED_STORE": f"sqlite:{self.path}"}

    def values(self) -> dict[str, Value]:
        with closing(sqlite3.connect(self.path)) as connection:
            return {where(name, part): value_of(data) for name, part, data in connection.execute(VALUES)}

    def cards(self) -> dict[str, CardKept]:
        with closing(sqlite3.connect(self.path)) as connection:
            return cards_of(connection.execute(CARDS))

    def remove(self) -> None:
        """It goes with its folder."""

    def lock(self, meanwhile: Callable[[], None]) -> None:
        """Let nobody else write meanwhile."""
        with closing(sqlite3.connect(self.path, timeout=10, isolation_level=None)) as connection:
            with suppress(sqlite3.OperationalError):
                connection.execute("BEGIN IMMEDIATE")
            meanwhile()


def where(name: str | bytes, part: str | bytes) -> str:
    return f"{_text(name)}/{_text(part)}"


def cards_of(rows: Iterable[Sequence[Any]]) -> dict[str, CardKept]:
    return {
        where(resource, selector): CardKept(frozenset(_text(tags).split()), _text(out or ""))
        for resource, selector, tags, out in rows
    }


def _text(word: str | bytes) -> str:
    return word.decode() if isinstance(word, bytes) else word


def value_of(data: str) -> Value:
    value = json.loads(data)
    return Value(value["name"], value["counter"])


def limit_files(daemon: Supervised, size: int) -> None:
    """Let no file that a daemon writes to be larger than so many bytes, as if the disk were full; -1 takes that back."""
    with suppress(OSError, RuntimeError):
        _, hard = resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE)
        soft = hard if size < 0 else size
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (soft, hard))


def command(missing: list[str]) -> tuple[str, ...]:
    """Return what runs a daemon, whole or without some of its safeguards."""
    if missing:
        return (*preloaded.UNFENCED, ",".join(missing))
    return preloaded.RESOURCED


def environ(lease: float, place: float, claim: float, timeout: float) -> dict[str, str]:
    """Make everything happen in seconds rather than minutes."""
    return {
        "RESOURCED_LEASE": f"{lease:g}",
        "RESOURCED_PLACE": f"{place:g}",
        "RESOURCED_CLAIM": f"{claim:g}",
        "RESOURCED_STORE_TIMEOUT": f"{timeout:g}",
        "RESOURCED_GRACE": "2",
        "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
    }
