"""What is counted, and how it is told."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from resourced.assembly import assemble
from resourced.errors import StoreUnavailable
from resourced.http.access_log import AccessRecord
from resourced.http.site import ResourcedSite
from resourced.locks.state.requests import LockRequest
from resourced.metrics.collect import Gauge, Gauges, Histogram, Metrics
from resourced.metrics.reactor_lag import PERIOD, Lag
from resourced.metrics.render import Exposition, wants_openmetrics
from resourced.model import Batch, Event, EventKind, LockKey
from resourced.testing import MemoryStore
from tests.assembled import configured, surroundings
from tests.leading import open_journal

pytestmark = pytest.mark.trial

ROUTE = "/resource/{resource}/{selector}"

#: What Prometheus servers of several times send.
PROMETHEUS = (
    "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
)


def access(method: str = "GET", status: int = 200, ms: float = 1.0, **notes: object) -> AccessRecord:
    return AccessRecord(method, "/resource/printer/A4", status, ms, "127.0.0.1", 10, notes)


def event(kind: EventKind, seconds: float = 1.0, *, fence: int = 1) -> Event:
    return Event(1, kind, 0, LockKey("printer", "A4"), "someone", fence, seconds)


def samples(*collectors: Any) -> dict[tuple[str, ...], float]:
    """Every sample of an exposition, by its name and the values of its labels in the order of their names."""
    return samples_of(Exposition(*collectors).write("")[1])


def samples_of(text: bytes) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in parse_plain(text.decode())
        for sample in family.samples
    }


class HistogramTests(SynchronousTestCase):
    @given(st.lists(st.floats(0, 30), max_size=30))
    def test_buckets(self, values):
        """A bucket has every value that is at most its bound, and so have all larger ones."""
        metrics = Metrics()
        for value in values:
            metrics.lag.observe(value)
        told = samples(metrics)
        buckets = {key[1]: value for key, value in told.items() if key[0] == "resourced_reactor_lag_seconds_bucket"}
        self.assertEqual(len(buckets), 15)
        for bound, count in buckets.items():
            self.assertEqual(count, sum(value <= float(bound) for value in values), bound)
        self.assertEqual(told["resourced_reactor_lag_seconds_count",], len(values))
        self.assertAlmostEqual(told["resourced_reactor_lag_seconds_sum",], sum(values))

    def test_on_the_bound(self):
        """A value that is just a bound is in its bucket."""
        histogram, metrics = Histogram((1.0, 2.0)), Metrics()
        histogram.observe(1.0)
        metrics.lag = histogram
        self.assertEqual(samples(metrics)["resourced_reactor_lag_seconds_bucket", "1.0"], 1)


class RequestTests(SynchronousTestCase):
    def test_counted(self):
        """Requests are counted by method, route and status, and measured by method and route, in seconds."""
        metrics = Metrics()
        for one in (access(ms=3, route=ROUTE), access(ms=4, route=ROUTE), access(status=404, ms=5, route=ROUTE)):
            metrics.request(one)
        metrics.request(access("PUT", 204, 6, route=ROUTE))
        told = samples(metrics)
        self.assertEqual(told["resourced_requests_total", "GET", ROUTE, "200"], 2)
        self.assertEqual(told["resourced_requests_total", "GET", ROUTE, "404"], 1)
        self.assertEqual(told["resourced_requests_total", "PUT", ROUTE, "204"], 1)
        self.assertEqual(told["resourced_request_duration_seconds_count", "GET", ROUTE], 3)
        self.assertAlmostEqual(told["resourced_request_duration_seconds_sum", "GET", ROUTE], 0.012)
        self.assertEqual(told["resourced_request_duration_seconds_count", "PUT", ROUTE], 1)

    def test_those_that_wait(self):
        """A request that waited for a lock says nothing about how quick the server is."""
        metrics = Metrics()
        metrics.request(access(ms=2, route=ROUTE))
        metrics.request(access(ms=20_000, route=ROUTE, waited=True))
        told = samples(metrics)
        self.assertEqual(told["resourced_requests_total", "GET", ROUTE, "200"], 2)
        self.assertEqual(told["resourced_request_duration_seconds_sum", "GET", ROUTE], 0.002)
        self.assertEqual(told["resourced_waiting_request_duration_seconds_sum", "GET", ROUTE], 20)

    def test_what_clients_make_up(self):
        """However many methods and paths clients think of, there is one label for all of them."""
        metrics = Metrics()
        for number in range(1000):
            metrics.request(access(f"X{number}", 404))
        told = samples(metrics)
        self.assertEqual(
            {key: value for key, value in told.items() if key[0] == "resourced_requests_total"},
            {("resourced_requests_total", "other", "other", "404"): 1000},
        )

    def test_no_name(self):
        """Neither a name of a client's nor a key's is anywhere in what is told."""
        metrics = Metrics()
        metrics.request(
            access(route=ROUTE, resource="secret-resource", selector="secret-selector", owner="secret-owner")
        )
        metrics.happened([Event(1, EventKind.GRANT, 0, LockKey("secret-resource", "secret"), "secret-owner", 1, 0.0)])
        _, text = Exposition(metrics).write("")
        self.assertNotIn(b"secret", text)


class EventTests(SynchronousTestCase):
    def test_counted(self):
        """Events are counted by their kind; each kind is there from the start, so that none seems to come from nowhere."""
        metrics = Metrics()
        metrics.happened([event(EventKind.WRITE), event(EventKind.GRANT), event(EventKind.WRITE)])
        told = samples(metrics)
        counts = {key[1]: value for key, value in told.items() if key[0] == "resourced_events_total"}
        self.assertEqual(counts, {"grant": 1, "release": 0, "expiry": 0, "break": 0, "write": 2, "out": 0, "back": 0})

    def test_seconds(self):
        """Grants tell how long tickets waited; every end of a lock tells how long it was held; a write tells neither."""
        metrics = Metrics()
        metrics.happened([event(EventKind.GRANT, 2), event(EventKind.RELEASE, 30), event(EventKind.WRITE, 1000)])
        metrics.happened([event(EventKind.EXPIRY, 400), event(EventKind.BREAK, 5000)])
        told = samples(metrics)
        self.assertEqual((told["resourced_lock_wait_seconds_count",], told["resourced_lock_wait_seconds_sum",]), (1, 2))
        self.assertEqual(
            (told["resourced_lock_held_seconds_count",], told["resourced_lock_held_seconds_sum",]), (3, 5430)
        )

    def test_against_the_clients_wish(self):
        """Leases that ran out, locks that were broken and places that lapsed are three things."""
        metrics = Metrics()
        metrics.happened([event(EventKind.EXPIRY)] * 3 + [event(EventKind.BREAK)] * 2)
        metrics.happened([event(EventKind.EXPIRY, fence=0), event(EventKind.RELEASE, fence=0)])
        told = samples(metrics)
        self.assertEqual(told["resourced_leases_expired_total",], 3)
        self.assertEqual(told["resourced_locks_broken_total",], 2)
        self.assertEqual(told["resourced_places_lapsed_total",], 1)
        self.assertEqual(told["resourced_lock_held_seconds_count",], 5)


class StoreTests(SynchronousTestCase):
    def test_commits(self):
        """Commits are measured with what they carried; those that failed are only counted."""
        metrics = Metrics()
        for one in ((3, 0.002, True), (40, 0.004, True), (5, 5.0, False)):
            metrics.commit(*one)
        told = samples(metrics)
        self.assertEqual(told["resourced_commit_transitions_sum",], 43)
        self.assertEqual(told["resourced_commit_transitions_bucket", "5.0"], 1)
        self.assertAlmostEqual(told["resourced_commit_duration_seconds_sum",], 0.006)
        self.assertEqual(told["resourced_commit_failures_total",], 1)

    def test_work(self):
        """The database's work is measured by the pool that did it, and its failures are there from the start."""
        metrics = Metrics()
        metrics.work("reads", 0.5, True)
        metrics.work("writes", 5.0, False)
        told = samples(metrics)
        self.assertEqual(told["resourced_database_work_duration_seconds_sum", "reads"], 0.5)
        self.assertEqual(told["resourced_database_work_duration_seconds_sum", "writes"], 5)
        failures = {key[1]: value for key, value in told.items() if key[0] == "resourced_database_work_failures_total"}
        self.assertEqual(failures, {"reads": 0, "writes": 1, "probes": 0})


class LagTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.told: list[float] = []
        self.lag = Lag(self.clock, self.told.append)
        self.lag.startService()

    def late(self, seconds: float) -> None:
        """Keep the reactor busy until so many seconds after the next timer is due."""
        self.clock.rightNow += PERIOD + seconds
        self.clock.advance(0)

    def test_in_time(self):
        """A reactor that is in time is late by nothing."""
        self.clock.pump([PERIOD] * 5)
        self.assertEqual(self.told, [0.0] * 5)

    def test_late(self):
        """Every delay is seen in full, also one after the other, and also those that are longer than the time between two looks."""
        for seconds in (0.3, 0.3, 2.0, 0.0):
            self.late(seconds)
        for told, seconds in zip(self.told, (0.3, 0.3, 2.0, 0.0), strict=True):
            self.assertAlmostEqual(told, seconds)

    def test_stopped(self):
        """After the end nothing is left in the reactor."""
        self.lag.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ExpositionTests(SynchronousTestCase):
    def exposition(self) -> Exposition:
        metrics = Metrics()
        metrics.request(access(route=ROUTE))
        metrics.request(access(route=ROUTE, waited=True))
        metrics.happened([event(kind) for kind in EventKind])
        gauges = Gauges({"version": "1.2"}, [Gauge("resourced_locks_held", "Locks.", lambda: 12)])
        return Exposition(metrics, gauges)

    def test_formats_agree(self):
        """Both formats can be parsed, each by its own parser, and say the same."""
        exposition = self.exposition()
        found = []
        for accept, parse, kind in (
            ("", parse_plain, "text/plain; version=0.0.4; charset=utf-8"),
            (PROMETHEUS[1], parse_openmetrics, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ):
            content_type, text = exposition.write(accept)
            self.assertEqual(content_type, kind)
            found.append(
                {
                    (sample.name, *sorted(sample.labels.items())): sample.value
                    for family in parse(text.decode())
                    for sample in family.samples
                    if sample.name.startswith("resourced_")
                }
            )
        self.assertEqual(*found)
        self.assertEqual(found[0]["resourced_locks_held",], 12)
        self.assertEqual(found[0]["resourced_build_info", ("version", "1.2")], 1)

    def test_process(self):
        """The figures of the process are there, under the names that everybody gives them."""
        told = samples()
        self.assertGreater(told["process_resident_memory_bytes",], 1e6)
        self.assertGreater(told["process_open_fds",], 2)
        self.assertIn(("process_cpu_seconds_total",), told)

    def test_nothing_shared(self):
        """What one exposition shows is not in another, nor in the library's own registry."""
        first, second = Metrics(), Metrics()
        first.request(access(route=ROUTE))
        self.assertIn(("resourced_requests_total", "GET", ROUTE, "200"), samples(first))
        self.assertNotIn(("resourced_requests_total", "GET", ROUTE, "200"), samples(second))

    def test_negotiation(self):
        """Whoever names OpenMetrics, and likes it no less than plain text, gets it; everybody else gets the older format."""
        for accept in (*PROMETHEUS, "application/openmetrics-text", "APPLICATION/OpenMetrics-Text ; Version=1.0.0"):
            self.assertTrue(wants_openmetrics(accept), accept)
        for accept in (
            "",
            "*/*",
            "text/plain",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "application/*",
            "text/plain,application/openmetrics-text;q=0.5",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=nonsense",
            "application/openmetrics-text;q=-1",
            "application/openmetrics-text;q=nan",
        ):
            self.assertFalse(wants_openmetrics(accept), accept)

    @given(st.text('applictionetxrsm-/;,=q.019 \t"*\xe9', max_size=60))
    def test_any_header(self, accept):
        """No ``Accept`` header makes it fail."""
        wants_openmetrics(accept)


class Disk(MemoryStore):
    """A store that can be away."""

    away = False

    async def commit(self, batch: Batch) -> None:
        if self.away:
            raise StoreUnavailable("It is away.")
        await super().commit(batch)


class Server:
    """A server in memory, with its metrics. One that is fast takes the fast paths through the house."""

    def __init__(self, case: SynchronousTestCase, *, fast: bool, free: bool = False) -> None:
        self.clock = Clock()
        self.store = Disk()
        config = configured(max_requests=2, open_metrics=free, reference_path=not fast)
        metrics = Metrics()
        server, other = (assemble(config, surroundings(self.clock, case.fail), self.store, metrics) for _ in range(2))
        self.locks, self.exposition = server.locking.locks, server.exposition
        # The other one stands by.
        self.site, self.standby = server.site, other.site
        self.site.serve(server.leaf)
        case.successResultOf(Deferred.fromCoroutine(open_journal(server.locking.journal, self.store)))
        case.assertEqual(self.ask("POST", "/resource", b'{"name": "printer", "timeout": 10}')[0], 201)

    def open(self, method: str, path: str, body: bytes = b"", *headers: str, site: ResourcedSite | None = None) -> Any:
        """Send a request; return its connection, and what will come back."""
        transport, connection = StringTransport(), (site or self.site).buildProtocol(None)
        connection.makeConnection(transport)
        lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers, "", ""]
        connection.dataReceived("\r\n".join(lines).encode() + body)
        return connection, transport

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *headers: str,
        key: str = "write-key",
        site: ResourcedSite | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request; return the status, the headers and the body that come back at once."""
        connection, transport = self.open(
            method, path, body, *headers, *([f"x-api-key: {key}"] if key else []), site=site
        )
        connection.connectionLost(Failure(ConnectionDone()))
        head, _, got = transport.value().partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        return int(status.split(" ")[1]), dict(line.lower().split(": ", 1) for line in lines), got

    def lock(self, selector: str = "A4", **parts: Any) -> str:
        """Ask for a lock; return the ticket."""
        _, headers, _ = self.ask("POST", f"/resource/printer/{selector}/lock", **parts)
        return headers["x-ticket"]

    def told(self) -> dict[tuple[str, ...], float]:
        """Every sample, as ``samples`` has it."""
        status, _, body = self.ask("GET", "/metrics", key="read-key")
        assert status == 200, body
        return samples_of(body)


class ScrapeTests(SynchronousTestCase):
    """``GET /metrics``, by the reference path and by the fast one."""

    def servers(self, **options: bool) -> Iterator[Server]:
        for fast in (False, True):
            yield Server(self, fast=fast, **options)

    def test_keys(self):
        """A key that may read opens it, in either header; without one, or with a wrong one, it is closed."""
        for server in self.servers():
            for key in ("read-key", "lock-key", "write-key"):
                self.assertEqual(server.ask("GET", "/metrics", key=key)[0], 200)
            self.assertEqual(server.ask("GET", "/metrics", b"", "Authorization: Bearer read-key", key="")[0], 200)
            for key in ("", "wrong"):
                status, headers, body = server.ask("GET", "/metrics", key=key)
                self.assertEqual((status, json.loads(body)["code"]), (401, "unauthorized"))
                self.assertIn("www-authenticate", headers)

    def test_free(self):
        """If that is wanted it is open to everyone; nothing else is."""
        for server in self.servers(free=True):
            self.assertEqual(server.ask("GET", "/metrics", key="")[0], 200)
            self.assertEqual(server.ask("GET", "/metrics", key="wrong")[0], 200)
            self.assertEqual(server.ask("GET", "/resource/printer/A4?lock=0", key="")[0], 401)

    def test_answer(self):
        """It is of the format that is asked for, whole, and not to be stored; HEAD has no body, other methods are refused."""
        for server in self.servers():
            for accept, kind in (
                ("*/*", "text/plain; version=0.0.4"),
                (PROMETHEUS[2], "application/openmetrics-text; version=1.0.0"),
            ):
                status, headers, body = server.ask("GET", "/metrics", b"", f"Accept: {accept}")
                self.assertEqual((status, headers["content-type"]), (200, f"{kind}; charset=utf-8"))
                self.assertEqual((int(headers["content-length"]), headers["cache-control"]), (len(body), "no-store"))
            _, headers, _ = server.ask(
                "GET", "/metrics", b"", "Accept: text/plain;q=0.1", "Accept: application/openmetrics-text"
            )
            self.assertIn("openmetrics", headers["content-type"])
            status, headers, body = server.ask("HEAD", "/metrics")
            self.assertEqual((status, body), (200, b""))
            self.assertGreater(int(headers["content-length"]), 1000)
            status, headers, _ = server.ask("POST", "/metrics")
            self.assertEqual((status, headers["allow"]), (405, "get, head"))

    def test_every_end(self):
        """A request is counted whatever becomes of it: an answer, a refusal, bad HTTP, or a client that goes."""
        for server in self.servers():
            path, route = "/resource/printer/A4", "/resource/{resource}/{selector}"
            server.ask("GET", f"{path}?lock=0")
            server.ask("GET", f"{path}?lock=0", key="wrong")
            server.ask("GET", "/resource/nothing/A4?lock=0")
            server.ask("GET", "/nowhere")
            server.ask("BREW", "/nowhere")
            server.ask("GET", "no path")
            server.lock()
            connection, _ = server.open("POST", f"{path}/lock?wait=20", b"", "x-api-key: write-key")
            server.clock.advance(2)
            connection.connectionLost(Failure(ConnectionDone()))
            told = server.told()
            for method, where, status, count in (
                ("POST", "/resource", "201", 1),
                ("GET", route, "404", 2),
                ("GET", route, "401", 1),
                ("GET", "other", "404", 1),
                ("other", "other", "404", 1),
                ("other", "other", "400", 1),
                ("POST", f"{route}/lock", "200", 1),
                ("POST", f"{route}/lock", "499", 1),
            ):
                self.assertEqual(told.get(("resourced_requests_total", method, where, status)), count, (method, where))
            waited = told["resourced_waiting_request_duration_seconds_sum", "POST", f"{route}/lock"]
            self.assertEqual(waited, 2)
            self.assertEqual(told["resourced_request_duration_seconds_count", "GET", route], 3)

    def test_what_is_open(self):
        """A request is busy until it is answered, or waits; when it is over it is neither."""
        for server in self.servers():
            server.lock()
            waiting = [
                server.open("POST", "/resource/printer/A4/lock?wait=5", b"", "x-api-key: lock-key") for _ in range(3)
            ]
            self.assertEqual((server.site.busy, server.site.waiting, server.site.connections), (0, 3, 3))
            waiting[0][0].connectionLost(Failure(ConnectionDone()))
            self.assertEqual((server.site.busy, server.site.waiting), (0, 2))
            server.clock.pump([5, 1])
            self.assertIn(b" 202 ", waiting[1][1].value())
            self.assertEqual((server.site.busy, server.site.waiting), (0, 0))

    def test_too_much_to_do(self):
        """Whoever asks how the server does is answered also when it refuses everything else."""
        for server in self.servers():
            server.site.busy = 2
            self.assertEqual(server.ask("GET", "/resource/printer/A4?lock=0")[0], 503)
            told = server.told()
            self.assertEqual(told["resourced_requests_total", "GET", "other", "503"], 1)

    def test_locks(self):
        """What happens to locks is told with the seconds that it took: waiting, holding, leases that run out, breaks."""
        for server in self.servers():
            ticket = server.lock()
            server.lock()
            self.assertEqual((server.locks.held, server.locks.waiting), (1, 1))
            server.clock.advance(4)
            server.ask("POST", "/resource/printer/A4/unlock", b"", f"x-ticket: {ticket}")
            server.clock.advance(30)
            server.lock()
            self.successResultOf(server.locks.break_lock(LockKey("printer", "A4"), 3))
            told = server.told()
            events = {key[1]: value for key, value in told.items() if key[0] == "resourced_events_total"}
            self.assertEqual(
                events, {"grant": 3, "release": 1, "expiry": 1, "break": 1, "write": 0, "out": 0, "back": 0}
            )
            self.assertEqual(told["resourced_lock_wait_seconds_sum",], 4)
            self.assertEqual(told["resourced_lock_held_seconds_sum",], 4 + 30)
            self.assertEqual(told["resourced_leases_expired_total",], 1)
            self.assertEqual(told["resourced_locks_broken_total",], 1)
            self.assertEqual((server.locks.held, server.locks.waiting), (0, 0))

    def test_commits(self):
        """Commits are told with what they carried. What was not kept has not happened."""
        for server in self.servers():
            before = server.told()
            ticket = server.lock()
            server.ask("PUT", "/resource/printer/A4?unlock=1", b"1", f"x-ticket: {ticket}")
            server.store.away = True
            self.assertEqual(server.ask("POST", "/resource/printer/A5/lock")[0], 503)
            told = server.told()
            self.assertEqual(
                told["resourced_commit_transitions_count",] - before["resourced_commit_transitions_count",], 2
            )
            # A place; then the data, and the place again.
            self.assertEqual(told["resourced_commit_transitions_sum",], 3)
            self.assertEqual(told["resourced_commit_failures_total",], 1)
            self.assertEqual(told["resourced_events_total", "grant"], 1)

    def test_price(self):
        """To ask costs the same, call for call, however many locks there are and however many tickets wait."""
        server = Server(self, fast=False)
        server.exposition.add(Gauges({}, [Gauge("resourced_locks_held", "", lambda: server.locks.held)]))
        server.exposition.add(Gauges({}, [Gauge("resourced_tickets_waiting", "", lambda: server.locks.waiting)]))
        server.exposition.add(
            Gauges({}, [Gauge("resourced_oldest_hold_seconds", "", server.locks.listing.oldest_hold)])
        )
        server.exposition.add(
            Gauges({}, [Gauge("resourced_oldest_wait_seconds", "", server.locks.listing.oldest_wait)])
        )

        def calls() -> int:
            """Count the calls of our own code; the library's depend on how many digits a figure has."""
            seen: list[str] = []

            def watch(frame: FrameType, kind: str, _: object) -> None:
                if kind == "call" and frame.f_globals["__name__"].startswith("resourced."):
                    seen.append(frame.f_code.co_qualname)

            sys.setprofile(watch)
            try:
                server.exposition.write("")
            finally:
                sys.setprofile(None)
            return len(seen)

        before = calls()
        self.assertGreater(before, 10)
        for number in range(500):
            for _ in range(2):
                self.successResultOf(
                    ensureDeferred(server.locks.grants.wait(LockRequest(LockKey("printer", str(number)), lease=60)))
                )
        self.assertEqual((server.locks.held, server.locks.waiting), (500, 500))
        self.assertEqual(calls(), before)

    def test_standby(self):
        """A daemon that stands by tells how it does, to whoever may know; and still answers nothing else."""
        for server in self.servers():
            status, _, body = server.ask("GET", "/metrics", key="read-key", site=server.standby)
            self.assertEqual(status, 200)
            self.assertIn(("process_open_fds",), samples_of(body))
            status, headers, _ = server.ask("GET", "/metrics", key="wrong", site=server.standby)
            self.assertEqual(status, 401)
            self.assertIn("www-authenticate", headers)
            self.assertEqual(server.ask("POST", "/metrics", site=server.standby)[0], 405)
            for path in ("/metrics/", "/resource/printer/A4"):
                self.assertEqual(server.ask("GET", path, site=server.standby)[0], 503)
            self.assertEqual(server.told()["resourced_requests_total", "GET", "/metrics", "200"], 1)
