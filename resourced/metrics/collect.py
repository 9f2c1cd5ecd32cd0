"""
What is counted while the daemon works, and read when somebody asks for it, in the form that Prometheus likes.

Those who work tell it in passing, for the price of a look-up and an addition. Only when it is asked for is it put into the
shape of ``prometheus_client``. Labels have few values, all of them the program's own: never a word that a client chose.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from resourced.http.access_log import AccessRecord
from resourced.model import BREAK, EXPIRY, GRANT, WRITE, Event, EventKind
from resourced.quotas import CONNECTIONS, MAX_PLACES, MAX_QUEUE, NAMES

#: Bounds of buckets, in seconds: for what should be done at once, for requests that wait, and for locks.
QUICK: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SLOW: Final = (0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0)
LONG: Final = (0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
#: Bounds of buckets for how many.
MANY: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)

#: The label of whatever a client made up.
OTHER: Final = "other"
METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})

#: The connections that do work in a database.
POOLS: Final = ("reads", "writes", "probes")

#: What becomes of requests between nodes.
PASSED, TAKEN_IN, REFUSED = DIRECTIONS = ("passed", "taken_in", "refused")

#: The values of labels.
Labels = tuple[str, ...]


class Histogram:
    """How many values of which size there were."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value in."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def tell(self, family: HistogramMetricFamily, labels: Labels) -> None:
        """Say how many values were at most as large as each bound, and what all of them come to."""
        bounds = [*map(str, self._bounds), "+Inf"]
        family.add_metric(labels, list(zip(bounds, accumulate(self._counts), strict=True)), self._sum)


class _Requests:
    """How many requests of one kind there were; how long they took is counted with that of others."""

    __slots__ = ("count", "durations")

    def __init__(self, durations: Histogram) -> None:
        self.count = 0
        self.durations = durations


class Gauge(NamedTuple):
    """
    What can be read at any time.

    :ivar read: costs the same however much there is.
    """

    name: str
    about: str
    read: Callable[[], float]


class Gauges(Collector):
    """
    What is not counted, but read when it is asked for.

    :param build: what it is that runs, by the names of labels.
    """

    def __init__(self, build: dict[str, str], gauges: Sequence[Gauge]) -> None:
        self._build = build
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("resourced_build", "What it is that runs.", self._build)
        for gauge in self._gauges:
            yield GaugeMetricFamily(gauge.name, gauge.about, gauge.read())


class Metrics(Collector):
    """
    All that is counted.

    :ivar lag: by how many seconds the reactor was late.
    """

    def __init__(self) -> None:
        self.lag = Histogram(QUICK)
        # By route, method and status, and whether they waited for others.
        self._requests: dict[tuple[str, str, int, bool], _Requests] = {}
        # By route and method those that did not wait, and those that did.
        self._durations: dict[Labels, Histogram] = {}
        self._waits: dict[Labels, Histogram] = {}
        self._events = dict.fromkeys(EventKind, 0)
        self._refused = dict.fromkeys((*NAMES, MAX_QUEUE, MAX_PLACES, CONNECTIONS), 0)
        self._passing = dict.fromkeys(DIRECTIONS, 0)
        self._expired = self._lapsed = self._broken = 0
        self._waited, self._held = Histogram(LONG), Histogram(LONG)
        self._commit, self._transitions = Histogram(QUICK), Histogram(MANY)
        self._commit_failures = 0
        self._work: dict[Labels, Histogram] = {(pool,): Histogram(QUICK) for pool in POOLS}
        self._work_failures = dict.fromkeys(self._work, 0)

    # -- What those who work tell

    def refused(self, quota: str) -> None:
        """Count something that was refused because of a quota."""
        self._refused[quota] += 1

    def between_nodes(self, direction: str) -> None:
        """Count a request between nodes, by one of ``DIRECTIONS``."""
        self._passing[direction] += 1

    def request(self, access: AccessRecord) -> None:
        """Count a request that has ended."""
        notes = access.notes
        route: Any = notes.get("route", OTHER)
        method = access.method if access.method in METHODS else OTHER
        kind = (route, method, access.status, "waited" in notes)
        requests = self._requests.get(kind)
        if requests is None:
            durations, bounds = (self._waits, SLOW) if "waited" in notes else (self._durations, QUICK)
            requests = _Requests(durations.setdefault((route, method), Histogram(bounds)))
            self._requests[kind] = requests
        requests.count += 1
        requests.durations.observe(access.ms / 1000)

    def happened(self, events: Sequence[Event]) -> None:
        """Count what has happened to locks and data."""
        for event in events:
            kind = event.kind
            self._events[kind] += 1
            if kind is GRANT:
                self._waited.observe(event.seconds)
            elif not event.fence:
                self._lapsed += kind is EXPIRY
            elif kind is not WRITE:
                self._held.observe(event.seconds)
                self._expired += kind is EXPIRY
                self._broken += kind is BREAK

    def commit(self, transitions: int, seconds: float, done: bool) -> None:
        """Count a commit that has ended, or failed."""
        if done:
            self._transitions.observe(transitions)
            self._commit.observe(seconds)
        else:
            self._commit_failures += 1

    def work(self, pool: str, seconds: float, done: bool) -> None:
        """Count a piece of work that the database has done, or has failed to do."""
        self._work[pool,].observe(seconds)
        self._work_failures[pool,] += not done

    # -- What Prometheus is told

    def collect(self) -> Iterator[Metric]:
        yield from self._of_requests()
        yield from self._of_locks()
        yield from self._of_the_store()
        yield _histogram(
            "resourced_reactor_lag_seconds",
            "How late a timer of the reactor was, twice a second: everything waits as long for whatever is under way.",
            self.lag,
        )

    def _of_requests(self) -> Iterator[Metric]:
        counts: Counter[Labels] = Counter()
        for (route, method, status, _), requests in self._requests.items():
            counts[route, method, str(status)] += requests.count
        yield _counters(
            "resourced_requests",
            "Requests that have ended; with status 499 the client went before its answer.",
            ("route", "method", "status"),
            counts,
        )
        yield _histograms(
            "resourced_request_duration_seconds",
            "Time from the first byte of a request to the end of its answer, without those that waited for others.",
            ("route", "method"),
            self._durations,
        )
        yield _histograms(
            "resourced_waiting_request_duration_seconds",
            "The same of requests that waited for others.",
            ("route", "method"),
            self._waits,
        )
        yield _counters(
            "resourced_requests_between_nodes",
            "Requests that this node has passed on to another one or has taken in from one, and of the latter those that it refused "
            "because it does not own what they are about.",
            ["direction"],
            {(direction,): count for direction, count in self._passing.items()},
        )

    def _of_locks(self) -> Iterator[Metric]:
        yield _counters(
            "resourced_events",
            "What has happened to locks and data, as their history tells it.",
            ("event",),
            {(kind.name.lower(),): count for kind, count in self._events.items()},
        )
        yield _histogram(
            "resourced_lock_wait_seconds", "How long tickets had waited that got their lock.", self._waited
        )
        yield _histogram("resourced_lock_held_seconds", "How long locks were held that have ended.", self._held)
        yield _counters(
            "resourced_quota_refusals",
            "What was refused because a key, a ticket or an address has as much as it may have.",
            ["quota"],
            {(quota,): count for quota, count in self._refused.items()},
        )
        yield CounterMetricFamily(
            "resourced_leases_expired", "Locks that ended because their holder was silent for too long.", self._expired
        )
        yield CounterMetricFamily(
            "resourced_locks_broken", "Locks that were taken from their holder by somebody.", self._broken
        )
        yield CounterMetricFamily(
            "resourced_places_lapsed",
            "Places in a queue that ended because their client was silent for too long.",
            self._lapsed,
        )

    def _of_the_store(self) -> Iterator[Metric]:
        yield _histogram("resourced_commit_duration_seconds", "Time of a commit of the journal.", self._commit)
        yield _histogram(
            "resourced_commit_transitions",
            "How many changes of places and data a commit of the journal carried.",
            self._transitions,
        )
        yield CounterMetricFamily(
            "resourced_commit_failures",
            "Commits of the journal that failed; some of them may have been done all the same.",
            self._commit_failures,
        )
        yield _histograms(
            "resourced_database_work_duration_seconds",
            "Time from asking for a piece of work of the database to its end, the time in line included.",
            ("pool",),
            self._work,
        )
        yield _counters(
            "resourced_database_work_failures",
            "Pieces of work that the database has not done, or not in time.",
            ("pool",),
            self._work_failures,
        )


def _counters(name: str, about: str, labels: Sequence[str], counts: Mapping[Labels, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, about, labels=labels)
    for values, count in counts.items():
        family.add_metric(values, count)
    return family


def _histograms(
    name: str, about: str, labels: Sequence[str], histograms: Mapping[Labels, Histogram]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, about, labels=labels, unit="seconds" if name.endswith("_seconds") else "")
    for values, histogram in histograms.items():
        histogram.tell(family, values)
    return family


def _histogram(name: str, about: str, histogram: Histogram) -> HistogramMetricFamily:
    return _histograms(name, about, (), {(): histogram})
