"""Real daemons on machines whose wall clock is wrong, or is set while they run."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from typing import Any

from tests.daemon import READ, Daemon, eventually
from tests.wall import COMMAND, WallClock

A4 = "/resource/printer/A4"
DAY = 86400.0
YEAR = 366 * DAY


def one(daemon: Daemon, statement: str) -> Any:
    """Look into the daemon's SQLite file."""
    with closing(sqlite3.connect(daemon.folder / "resourced.sqlite")) as connection:
        ((value,),) = connection.execute(statement).fetchall()
        return value


def later(daemon: Daemon, statement: str, than: int) -> bool:
    return bool(one(daemon, statement) > than)


def events_of(daemon: Daemon) -> list[Any]:
    answer = daemon.get(f"{A4}/events?limit=1000", key=READ)
    assert answer.status == 200
    return list(answer.json["events"])


def lock_and_unlock(daemon: Daemon) -> None:
    ticket = daemon.post(f"{A4}/lock").ticket
    assert daemon.post(f"{A4}/unlock", ticket=ticket).json == {"unlocked": True}


def test_history_outlives_a_wrong_clock(tmp_path):
    """
    Whatever happens to the wall clock, nothing of the history is forgotten before its time: not when it goes forward by ten years while the
    daemon runs, nor when it goes back for a moment, nor when the machine starts with the time of 2016.
    """
    clock = WallClock(tmp_path / "clock")
    daemon = Daemon(tmp_path, clock.environ, command=COMMAND)
    with daemon:
        daemon.create("printer")
        for _ in range(5):
            lock_and_unlock(daemon)
        clock.set(10 * YEAR)
        lock_and_unlock(daemon)
        clock.set(-8 * DAY)
        lock_and_unlock(daemon)
        clock.set(0)
        lock_and_unlock(daemon)
        assert len(events_of(daemon)) == 16
        # Once it is forgotten with the next round, which is ten seconds after the first.
        marks = "SELECT MAX(passed) FROM event_mark"
        eventually(lambda: one(daemon, marks) >= 10_000, 60, "the history was looked at")
        assert len(events_of(daemon)) == 16
    for wrong in (10 * YEAR, -10 * YEAR, 0):
        clock.set(wrong)
        before = one(daemon, marks)
        # Each looks at the history when it starts.
        with daemon:
            lock_and_unlock(daemon)
            eventually(partial(later, daemon, marks, before), what="the history was looked at")
    with daemon:
        assert len(events_of(daemon)) == 22


def test_history_is_forgotten_in_time(tmp_path):
    """What is older than it may be is forgotten, with a wall clock that stands in the past of what it tells of too."""
    clock = WallClock(tmp_path / "clock")
    daemon = Daemon(tmp_path, {**clock.environ, "RESOURCED_EVENTS_KEEP": "1"}, command=COMMAND)
    with daemon:
        daemon.create("printer")
        lock_and_unlock(daemon)
        clock.set(-YEAR)
        lock_and_unlock(daemon)
        assert len(events_of(daemon)) == 4
        eventually(lambda: not events_of(daemon), 90, "all is forgotten")
