"""
How good the estimates of waits are: days of jobs that share devices, on the real locks, by a clock that the jobs set.

    python -m tests.waits [--load 0.6] [--days 2] [--spread 0.7] [--seed 3]
    python -m tests.waits --recorded FILE

A simulated day has more jobs by noon than by midnight. A recorded one is what ``resourcectl watch -o json`` has written. Tags are not in it, so its jobs
want any of the units of their resource.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
import statistics
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from resourced.locks.state.joints import Got, JointAsk, JointQueued
from resourced.locks.unit_cards import CardChange
from resourced.model import Breaker, LockKey
from resourced.testing import MemoryStore
from resourced.wants import Want
from tests.assembled import configured, serve, surroundings
from tests.leading import open_journal

DAY: Final = 86_400.0
LONG: Final = 1e7


class Job(NamedTuple):
    """Somebody who wants units, and has them for a while."""

    at: float
    want: Want
    held: float


class Told(NamedTuple):
    """
    A job that had to wait.

    :ivar about: what it was told when it came, if anything.
    """

    position: int
    about: float | None
    waited: float

    @property
    def wrong(self) -> float:
        """By which share of the wait the estimate was wrong."""
        assert self.about is not None
        return abs(self.about - self.waited) / max(1.0, self.waited)


class _Kind(NamedTuple):
    share: int
    tags: str
    units: int
    held: float


_KINDS: Final = (
    _Kind(30, "", 1, 120),
    _Kind(25, "android", 1, 300),
    _Kind(15, "ios", 1, 400),
    _Kind(12, "android 5g", 1, 200),
    _Kind(8, "android", 2, 600),
    _Kind(5, "rooted", 1, 500),
    _Kind(4, "android", 5, 900),
    _Kind(2, "ios", 4, 800),
)


def simulated_units() -> dict[LockKey, frozenset[str]]:
    """Twenty devices, with their tags."""
    units = {}
    for number in range(20):
        tags = {"android" if number < 12 else "ios"}
        tags |= {"5g"} if number % 3 == 0 else set()
        tags |= {"rooted"} if number < 4 else set()
        units[LockKey("phones", f"d{number}")] = frozenset(tags)
    return units


def simulated(seed: int, *, load: float, days: float, spread: float) -> list[Job]:
    """
    Return the jobs of some days.

    :param load: how much of the time the devices would be held if none had to be kept for others.
    :param spread: the standard deviation of how long jobs of one kind last, over its mean.
    """
    dice = random.Random(seed)
    shares = [kind.share for kind in _KINDS]
    work = sum(kind.share * kind.units * kind.held for kind in _KINDS) / sum(shares)
    sigma = math.sqrt(math.log(1 + spread * spread))
    jobs: list[Job] = []
    at = 0.0
    while at < DAY * days:
        at += dice.expovariate(load * 20 / work * (1 + 0.5 * math.sin(2 * math.pi * at / DAY - 1.5)))
        [kind] = dice.choices(_KINDS, shares)
        held = kind.held * math.exp(dice.gauss(-sigma * sigma / 2, sigma))
        jobs.append(Job(at, Want("phones", "", frozenset(kind.tags.split()), kind.units), held))
    return jobs


def recorded(lines: Iterable[str]) -> tuple[list[Job], dict[LockKey, frozenset[str]]]:
    """Return the jobs, and the units, that a history tells of: what one owner got at once in a resource is one job."""
    granted: dict[int, tuple[str, str, float, float]] = {}
    together: dict[tuple[str, str, float, float], list[float]] = {}
    units: dict[LockKey, frozenset[str]] = {}
    for line in lines:
        event: Mapping[str, Any] = json.loads(line)
        if event.get("event") == "grant":
            at = datetime.fromisoformat(event["at"]).timestamp()
            granted[event["fence"]] = (event["resource"], event["owner"], at, event["seconds"])
            units[LockKey(event["resource"], event["selector"])] = frozenset()
        elif event.get("event") in {"release", "expiry", "break"} and (job := granted.pop(event["fence"], None)):
            together.setdefault(job, []).append(event["seconds"])
    jobs = [
        Job(at - waited, Want(resource, count=len(held)), max(held))
        for (resource, _, at, waited), held in together.items()
    ]
    begin = min((job.at for job in jobs), default=0.0)
    return sorted(job._replace(at=job.at - begin) for job in jobs), units


class _Replay:
    """The real locks, and the jobs that use them."""

    def __init__(self, units: Mapping[LockKey, frozenset[str]]) -> None:
        self.clock = Clock()
        store = MemoryStore()
        config = configured(
            reference_path=True, volatile_locks=True, lease=LONG, place=LONG, claim=LONG, max_queue=10**6
        )
        around = surroundings(self.clock, lambda _: None)
        self._locking = serve(config, around, store).locking
        self._locks = self._locking.locks
        self._due: list[tuple[float, int, Job | str]] = []
        self._number = count()
        self.told: list[Told] = []
        now(Deferred.fromCoroutine(open_journal(self._locking.journal, self._locking.store)))
        for name in {key.resource for key in units}:
            now(Deferred.fromCoroutine(self._locking.store.create_resource(name, 0)))
        for key, tags in units.items():
            now(self._locks.units.change(key, CardChange(tags), Breaker()))

    def run(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._at(job.at, job)
        while self._due:
            at, _, what = heapq.heappop(self._due)
            # What is due by a timer is not before the end.
            self.clock.rightNow = max(at, self.clock.seconds())
            if isinstance(what, Job):
                self._begin(what)
            else:
                now(Deferred.fromCoroutine(self._locks.several.unlock(what, "default")))

    def _at(self, at: float, what: Job | str) -> None:
        heapq.heappush(self._due, (at, next(self._number), what))

    def _begin(self, job: Job) -> None:
        ask = JointAsk((job.want,), {job.want.resource: LONG}, key_name="default")
        first = now(self._acquire(ask))
        if not isinstance(first, JointQueued):
            self._at(self.clock.seconds() + job.held, first[0].ticket)
            return
        since = self.clock.seconds()

        def granted(outcome: tuple[Got, list[str | None]] | JointQueued) -> None:
            assert not isinstance(outcome, JointQueued)
            self.told.append(Told(first.position, first.about, self.clock.seconds() - since))
            self._at(self.clock.seconds() + job.held, outcome[0].ticket)

        self._acquire(ask._replace(ticket=first.ticket, wants=(), wait=LONG)).addCallback(granted)

    def _acquire(self, ask: JointAsk) -> Deferred[tuple[Got, list[str | None]] | JointQueued]:
        async def no_data(keys: Sequence[LockKey]) -> list[str | None]:
            return [None for _ in keys]

        return Deferred.fromCoroutine(self._locks.several.acquire(ask, no_data))


def now(work: Deferred[Any]) -> Any:
    """Return what is there already."""
    found: list[Any] = []
    work.addCallback(found.append)
    [outcome] = found
    return outcome


def replay(jobs: Sequence[Job], units: Mapping[LockKey, frozenset[str]]) -> list[Told]:
    """Return what the jobs that had to wait were told, and how long they waited."""
    replayed = _Replay(units)
    replayed.run(jobs)
    return replayed.told


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.waits", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--load", type=float, nargs="*", default=[0.5, 0.6, 0.7, 0.9, 0.98])
    parser.add_argument("--days", type=float, default=2.0)
    parser.add_argument("--spread", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--recorded", type=Path)
    arguments = parser.parse_args()
    if arguments.recorded:
        with arguments.recorded.open() as lines:
            report("recorded", replay(*recorded(lines)))
        return
    for load in arguments.load:
        jobs = simulated(arguments.seed, load=load, days=arguments.days, spread=arguments.spread)
        report(f"load {load:.2f}", replay(jobs, simulated_units()))


def report(name: str, found: Sequence[Told]) -> None:
    """Print how good the estimates were, in all and by the position at which they were given."""
    told = [each for each in found if each.about is not None]
    print(f"{name}: {len(found)} waited, {len(told)} were told, median error {median(told)}")
    for digits in sorted({each.position.bit_length() for each in found}):
        least, most = 2 ** (digits - 1), 2**digits - 1
        here = [each for each in told if least <= each.position <= most]
        waited = sum(least <= each.position <= most for each in found)
        print(f"    position {least} to {most}: {waited} waited, {len(here)} were told, median error {median(here)}")


def median(told: Sequence[Told]) -> str:
    """Say how wrong the estimates were: half of them were no more."""
    return f"{statistics.median(each.wrong for each in told):.0%}" if told else "-"


if __name__ == "__main__":
    main()
