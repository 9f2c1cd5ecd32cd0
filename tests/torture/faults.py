"""What is done to the servers and to the clients while these work, in an order that a seed decides."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests import preloaded
from tests.torture.asking import Settings
from tests.torture.board import Board, Phase
from tests.torture.guardian import Guardian
from tests.torture.servers import MySQLBase, SQLiteBase, Supervised, limit_files

Fault = Callable[[], None]


class Stopped(Exception):
    """The time is over."""


@dataclass
class Log:
    """
    What was done.

    :ivar counts: how often, by name.
    :ivar spans: when each fault of the servers began and was over.
    :ivar wrong: what must not have happened.
    """

    counts: Counter[str] = field(default_factory=Counter)
    spans: list[tuple[float, float, str]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Tormentor:
    """Something that torments by its own dice, in a thread of its own, until told to stop."""

    def __init__(self, dice: random.Random, log: Log) -> None:
        self._dice = dice
        self._log = log
        self._stopping = threading.Event()
        self._aborting = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._failure: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop, with all that was done undone."""
        self._stopping.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def abort(self) -> None:
        """Stop at once, whatever that leaves."""
        self._aborting.set()
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            with suppress(Stopped):
                while True:
                    self._torment()
        except BaseException as error:  # noqa: BLE001 - it is raised again by whoever stops this
            self._failure = error

    def _torment(self) -> None:
        raise NotImplementedError

    def _rest(self, least: float, most: float) -> None:
        """Wait, but not beyond the end."""
        if self._stopping.wait(self._dice.uniform(least, most)):
            raise Stopped

    def _hold(self, least: float, most: float) -> None:
        """Wait, also beyond the end: what is being done has to be undone in its own time."""
        if self._aborting.wait(self._dice.uniform(least, most)):
            raise Stopped

    def _until(self, ask: Callable[[], bool], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not ask():
            if time.monotonic() > end:
                return False
            if self._aborting.wait(0.02):
                raise Stopped
        return True


class ServerTormentor(Tormentor):
    """
    Kills, freezes and cuts the servers off, one after the other.

    :param timeout: for how many seconds the daemons wait for their database.
    :param intruder: starts a daemon that does not stand by.
    :param only: what the names of faults begin with, if not all are wanted.
    :ivar rest: for how many seconds more all is let be after each fault, so that what one costs can be told from what the next does.
    """

    rest = 0.0

    def __init__(
        self,
        dice: random.Random,
        log: Log,
        daemons: list[Supervised],
        base: MySQLBase | SQLiteBase,
        timeout: float,
        intruder: Callable[[], subprocess.Popen[bytes]],
        only: str,
    ) -> None:
        super().__init__(dice, log)
        self._only = only
        self._daemons = daemons
        self._base = base
        self._timeout = timeout
        self._intruder = intruder
        self._cards: list[Fault] = []

    def _torment(self) -> None:
        if not self._cards:
            self._cards = [card for card in self._deck() if card.__name__.startswith(self._only)]
            self._dice.shuffle(self._cards)
        fault = self._cards.pop()
        began = time.monotonic()
        fault()
        if fault != self.no_fault:
            self._log.spans.append((began, time.monotonic(), fault.__name__))
        self._rest(self.rest + 0.4, self.rest + 2.0)

    def _deck(self) -> list[Fault]:
        """All faults that there are; those of which there is more to learn more often. It takes about a minute."""
        always = [
            *[self.kill_active] * 2,
            self.terminate_active,
            self.kill_standby,
            self.kill_both,
            self.freeze_active,
            self.intrude,
            *[self.no_fault] * 2,
        ]
        if isinstance(self._base, MySQLBase):
            return [
                *always,
                *[self.depose] * 2,
                self.depose_awake,
                self.depose_while_writing,
                *[self.kill_database] * 2,
                *[self.freeze_database] * 2,
                *[self.kill_connection] * 2,
                self.kill_all_connections,
                self.freeze_database_and_kill,
            ]
        return [*always, self.kill_active, *[self.lock_file] * 3, *[self.fill_disk] * 3, self.lock_file_and_kill]

    def no_fault(self) -> None:
        """Let the clients do their work for a while: after each start, what the dead have left behind takes some seconds to end."""
        self._rest(3.0, 5.0)

    # -- The daemons

    def _active(self) -> Supervised | None:
        """Find the daemon that serves."""
        found: list[Supervised] = []

        def look() -> bool:
            found[:] = [daemon for daemon in self._daemons if daemon.runs and daemon.state == "ok"]
            return bool(found)

        self._until(look, 4)
        return found[0] if found else None

    def _other(self, daemon: Supervised) -> Supervised:
        return next(other for other in self._daemons if other is not daemon)

    def kill_active(self) -> None:
        daemon = self._active()
        if daemon is not None:
            self._log.counts["daemon killed (SIGKILL)"] += 1
            daemon.strike(signal.SIGKILL, status=-signal.SIGKILL)

    def terminate_active(self) -> None:
        daemon = self._active()
        if daemon is not None:
            self._log.counts["daemon stopped (SIGTERM)"] += 1
            daemon.strike(signal.SIGTERM, status=-signal.SIGTERM)
            self._until(lambda: not daemon.runs, 15)

    def kill_standby(self) -> None:
        daemon = self._active()
        if daemon is not None:
            self._log.counts["standby killed (SIGKILL)"] += 1
            self._other(daemon).strike(signal.SIGKILL, status=-signal.SIGKILL)

    def kill_both(self) -> None:
        self._log.counts["both daemons killed (SIGKILL)"] += 1
        for daemon in self._daemons:
            daemon.strike(signal.SIGKILL, status=-signal.SIGKILL)

    def freeze_active(self) -> None:
        daemon = self._active()
        if daemon is not None:
            self._log.counts["daemon frozen"] += 1
            daemon.strike(signal.SIGSTOP)
            self._hold(0.2, self._dice.choice([1.0, 4.0, 7.0]))
            daemon.strike(signal.SIGCONT)

    def intrude(self) -> None:
        """Start a daemon that does not want to stand by: it has to give up at once."""
        if self._active() is None:
            return
        if isinstance(self._base, MySQLBase):
            # If the guard was cut just before, nobody may have it for a second, and the one too many would rightly be the one.
            base = self._base
            self._until(lambda: bool(base.guard()), 4)
        process = self._intruder()
        self._log.counts["one daemon too many started"] += 1
        try:
            status = process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        if status != 1:
            self._log.wrong.append(f"a daemon too many ended with status {status}")

    def depose(self) -> None:
        """Freeze the active daemon and have the server end its guard, so that the other one takes over; then thaw it."""
        daemon = self._active()
        if daemon is None or not isinstance(self._base, MySQLBase):
            return
        self._log.counts["daemon frozen, deposed, thawed"] += 1
        daemon.strike(signal.SIGSTOP)
        try:
            self._hold(0.0, 0.3)
            self._base.kill_connection(self._base.guard())
            taken_over = self._until(lambda: self._other(daemon).state == "ok", 6)
            # Either while it would still believe in itself, had it not slept, or long after.
            self._hold(*self._dice.choice([(0.3, 2.0), (0.3, 2.0), (4.0, 6.0)]))
            if taken_over and daemon.runs:
                self._log.counts["take-overs from a frozen daemon"] += 1
                daemon.must_fail()
        finally:
            daemon.strike(signal.SIGCONT)
        if taken_over and not self._until(lambda: not daemon.runs, 15):
            self._log.wrong.append("a deposed daemon has not ended 15 seconds after it was thawed")

    def depose_awake(self) -> None:
        """Have the server end the guard of a daemon that is well."""
        if isinstance(self._base, MySQLBase) and self._active() is not None:
            self._log.counts["guard cut (KILL)"] += 1
            self._base.kill_connection(self._base.guard())

    def depose_while_writing(self) -> None:
        """As ``depose``, with transactions of the old daemon stuck in the server at the time."""
        daemon = self._active()
        if daemon is None or not isinstance(self._base, MySQLBase):
            return
        self._log.counts["daemon deposed with writes stuck"] += 1
        server = self._base.server
        server.freeze()
        self._hold(0.05, 0.8 * self._timeout)
        daemon.strike(signal.SIGSTOP)
        server.thaw()
        try:
            self._base.kill_connection(self._base.guard())
            self._until(lambda: self._other(daemon).state == "ok", 6)
            self._hold(0.3, 2.0)
        finally:
            daemon.strike(signal.SIGCONT)

    # -- The database

    def kill_database(self) -> None:
        if isinstance(self._base, MySQLBase):
            self._log.counts["database killed (SIGKILL)"] += 1
            self._base.server.kill()
            self._hold(0.0, self._dice.choice([0.2, 2.0]))
            self._base.server.start()

    def freeze_database(self) -> None:
        if isinstance(self._base, MySQLBase):
            self._log.counts["database frozen"] += 1
            self._base.server.freeze()
            self._hold(0.1, self._dice.choice([1.0, 2.5]) * self._timeout)
            self._base.server.thaw()

    def kill_connection(self) -> None:
        if isinstance(self._base, MySQLBase):
            numbers = self._base.server.connections("torture")
            if numbers:
                self._log.counts["database connection cut (KILL)"] += 1
                self._base.kill_connection(self._dice.choice(numbers))

    def kill_all_connections(self) -> None:
        if isinstance(self._base, MySQLBase):
            self._log.counts["all database connections cut (KILL)"] += 1
            for number in [*self._base.server.connections("torture"), self._base.guard()]:
                self._base.kill_connection(number)

    def freeze_database_and_kill(self) -> None:
        """Kill the daemon while its transactions are stuck in the server."""
        if isinstance(self._base, MySQLBase):
            self._log.counts["database frozen, daemon killed"] += 1
            self._base.server.freeze()
            self._hold(0.1, 0.8 * self._timeout)
            for daemon in self._daemons:
                daemon.strike(signal.SIGKILL, status=-signal.SIGKILL)
            self._hold(0.1, 1.0)
            self._base.server.thaw()

    def lock_file(self) -> None:
        if isinstance(self._base, SQLiteBase):
            self._log.counts["database file locked"] += 1
            self._base.lock(lambda: self._hold(0.1, self._dice.choice([1.0, 2.5]) * self._timeout))

    def lock_file_and_kill(self) -> None:
        """Kill the daemon while its transactions wait for the file."""
        if isinstance(self._base, SQLiteBase):
            self._log.counts["database file locked, daemon killed"] += 1

            def kill() -> None:
                self._hold(0.05, 0.8 * self._timeout)
                for daemon in self._daemons:
                    daemon.strike(signal.SIGKILL, status=-signal.SIGKILL)
                self._hold(0.1, 2.0)

            self._base.lock(kill)

    def fill_disk(self) -> None:
        daemon = self._active()
        if daemon is not None:
            self._log.counts["disk full"] += 1
            limit_files(daemon, self._dice.choice([0, 4096, 100_000]))
            self._hold(0.2, 2.0)
            limit_files(daemon, -1)


class ClientTormentor(Tormentor):
    """Freezes clients, most of all where it hurts, and now and then kills one and starts another in its place."""

    def __init__(
        self,
        dice: random.Random,
        log: Log,
        guardian: Guardian,
        folder: Path,
        settings: list[Settings],
    ) -> None:
        super().__init__(dice, log)
        self._guardian = guardian
        self._folder = folder
        self._settings = settings
        self._board = Board(folder / "board")
        self._lives = [0] * len(settings)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._frozen: dict[int, float] = {}

    def launch(self) -> None:
        """Start all clients."""
        self._processes = [self._launched(index) for index in range(len(self._settings))]

    def _launched(self, index: int) -> subprocess.Popen[bytes]:
        base = self._settings[index]
        name = f"{base.name}.{self._lives[index]}"
        settings = replace(
            base,
            name=name,
            seed=f"{base.seed}/{self._lives[index]}",
            log=str(self._folder / f"{name}.client"),
            board=str(self._folder / "board"),
        )
        with (self._folder / "clients.err").open("ab") as errors:
            process = preloaded.start(
                [*preloaded.TORTURE_CLIENT, settings.spelled()],
                cwd=Path.cwd(),
                env={},
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
            )
        self._guardian.adopt(process.pid)
        return process

    def _torment(self) -> None:
        self._rest(0.05, 0.3)
        now = time.monotonic()
        for index in [index for index, end in self._frozen.items() if end <= now]:
            self._thaw(index)
        if self._processes and self._dice.random() < 0.05:
            self._kill(self._dice.randrange(len(self._processes)))
        elif len(self._frozen) < len(self._processes) // 5:
            self._freeze()

    def _freeze(self) -> None:
        phase = self._dice.choice(
            [Phase.HOLDING, Phase.HOLDING, Phase.WRITING, Phase.WRITING, Phase.AWAITING, Phase.QUEUED, Phase.RELEASING]
        )
        order = [index for index in range(len(self._processes)) if index not in self._frozen]
        self._dice.shuffle(order)
        victim = -1

        def look() -> bool:
            nonlocal victim
            victim = next((index for index in order if self._board.phase(index) is phase), -1)
            return victim >= 0

        if not self._until(look, 0.2):
            return
        index = victim
        lease = min(self._settings[index].leases.values())
        # Shorter or longer than its lease.
        seconds = self._dice.uniform(0.1, self._dice.choice([0.5, 2.0, 3.0]) * lease)
        self._processes[index].send_signal(signal.SIGSTOP)
        self._frozen[index] = time.monotonic() + seconds
        self._log.counts[f"client frozen: {phase.name.lower()}"] += 1

    def _thaw(self, index: int) -> None:
        del self._frozen[index]
        self._processes[index].send_signal(signal.SIGCONT)

    def _kill(self, index: int) -> None:
        self._log.counts["client killed (SIGKILL)"] += 1
        self._frozen.pop(index, None)
        process = self._processes[index]
        process.kill()
        process.wait()
        self._guardian.release(process.pid)
        self._lives[index] += 1
        self._processes[index] = self._launched(index)

    def finish(self, seconds: float) -> float:
        """
        Let every client do a last increment; return after how many seconds the last one had it.

        Whoever has not done it in time is killed and goes into the log.
        """
        for index in list(self._frozen):
            self._thaw(index)
        began = time.monotonic()
        self._board.end()
        self._until(lambda: all(process.poll() is not None for process in self._processes), seconds)
        took = time.monotonic() - began
        for settings, process in zip(self._settings, self._processes, strict=True):
            if process.poll() is None:
                phase = self._board.phase(settings.index).name.lower()
                self._log.wrong.append(f"client {settings.name} had no last increment after {seconds:g} s: {phase}")
                process.kill()
            if process.wait() > 0:
                self._log.wrong.append(f"client {settings.name} has a bug: it ended with status {process.returncode}")
            self._guardian.release(process.pid)
        return took
