"""Real daemons on machines whose wall clock is wrong, or is set while they run."""

from __future__ import annotations

import re
import sqlite3
import time
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


def test_ages_after_a_restart_with_another_clock(tmp_path):
    """However the wall clock was set in between, nobody is said to have held or waited for longer than daemons saw, in any place."""
    clock = WallClock(tmp_path / "clock")
    daemon = Daemon(tmp_path, clock.environ, command=COMMAND)
    began = time.monotonic()
    with daemon:
        daemon.create("printer")
        held = daemon.post(f"{A4}/lock")
        waiting = daemon.post(f"{A4}/lock")
    for wrong in (10 * YEAR, -10 * YEAR):
        clock.set(wrong)
        with daemon:
            state = daemon.get(f"{A4}/lock").json
            assert 0 <= state["holder"]["held"] <= time.monotonic() - began
            assert 0 <= state["queue"][0]["waited"] <= time.monotonic() - began
    with daemon:
        assert daemon.post(f"{A4}/unlock", ticket=held.ticket).json == {"unlocked": True}
        assert daemon.post(f"{A4}/lock", ticket=waiting.ticket).status == 200
        ages = [event["seconds"] for event in events_of(daemon)]
        assert len(ages) == 3
        assert 0 <= min(ages) <= max(ages) <= time.monotonic() - began
        metrics = daemon.get("/metrics", key=READ).body.decode()
        (total,) = re.findall(r"^resourced_lock_held_seconds_sum (\S+)", metrics, re.MULTILINE)
        assert 0 <= float(total) <= time.monotonic() - began
