"""The history of a lock, and the stream of all events, on the wire."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from unittest import mock

import pytest
from twisted.internet.testing import StringTransport

from resourced.api import history
from resourced.auth.keys import Identity, Permission, digest_of
from resourced.errors import StoreUnavailable
from resourced.events.feed import SLICE
from resourced.events.push import BEAT
from tests.assembled import READ
from tests.sse import Sent, blocks, unchunked
from tests.wire import A4, MOST_STREAMS, PRINTER, Answer, Exchange, Fields, WebTests

pytestmark = [pytest.mark.trial, pytest.mark.reference_path]

SOMEONE = "x-owner: someone"


#: Keys beside the three: one opens only some resources, one has a name.
OTHERS = {
    digest_of(b"ops-key"): Identity("ops", ~Permission(0)),
    digest_of(b"narrow-key"): Identity("narrow", Permission.READ | Permission.LOCK, ("print", "scan")),
}


class HistoryTestCase(WebTests):
    def setUp(self) -> None:
        self.start(adopted=OTHERS)
        self.create()

    def lock_as(self, owner: str, path: str = A4) -> Answer:
        return self.ask("POST", f"{path}/lock", headers=[("x-owner", owner)])

    def history(self, path: str = A4, query: str = "", key: str = READ) -> Any:
        answer = self.ask("GET", f"{path}/events{query}", key=key)
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json


class HistoryOfAllTests(HistoryTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.create("plotter")
        self.create("scanner")

    def happened(self, query: str = "", key: str = READ) -> tuple[list[str], int | None]:
        """What has happened, each in a word, and where the next page begins."""
        answer = self.ask("GET", f"/history{query}", key=key)
        self.assertEqual(answer.status, 200, answer.body)
        return [
            f"{event['event']} {event['resource']}/{event['selector']}" for event in answer.json["events"]
        ], answer.json["next"]

    def turn(self, name: str) -> None:
        path = f"/resource/{name}/x"
        self.unlock(self.lock(path), path)

    def test_resource(self):
        """The history of a resource is that of all its selectors together, the newest first, after it was removed too."""
        self.unlock(self.lock())
        self.turn("scanner")
        self.turn("printer")
        expected = ["release printer/x", "grant printer/x", "release printer/A4", "grant printer/A4"]
        self.assertEqual(self.happened("?resource=printer"), (expected, None))
        self.assertEqual(self.ask("DELETE", PRINTER).status, 204)
        self.assertEqual(self.happened("?resource=printer"), (expected, None))
        self.assertEqual(len(self.happened()[0]), 6)
        self.assertEqual(self.happened("?resource=plotter"), ([], None))

    def test_pages(self):
        """All pages together have each event once, whatever happens meanwhile."""
        for _ in range(3):
            self.turn("printer")
            self.turn("scanner")
        found: list[str] = []
        before: int | None = 2**63 - 1
        while before is not None:
            page, before = self.happened(f"?resource=printer&limit=2&before={before}")
            found += page
            self.turn("printer")
        self.assertEqual(found, ["release printer/x", "grant printer/x"] * 3)

    def test_before_all(self):
        """Before the first event there is nothing, and 0 is before it."""
        self.turn("printer")
        first = self.ask("GET", "/history", key=READ).json["events"][-1]["id"]
        for before in (first, 0):
            self.assertEqual(self.happened(f"?before={before}"), ([], None))

    def test_bounded(self):
        """A request looks at so many events at most. Those that it does not show count too, so a page may be empty and yet not the last."""
        self.turn("printer")
        for _ in range(2):
            self.turn("scanner")
        with mock.patch.object(history, "LOOKED_AT", 3):
            page, before = self.happened("?resource=printer")
            self.assertEqual(page, [])
            page, before = self.happened(f"?resource=printer&before={before}")
            self.assertEqual((page, before), (["release printer/x", "grant printer/x"], None))

    def test_limited_key(self):
        """A key that is limited to some resources sees what happened to those only."""
        for name in ("printer", "plotter", "scanner"):
            self.turn(name)
        page, _ = self.happened(key="narrow-key")
        self.assertEqual(page, ["release scanner/x", "grant scanner/x", "release printer/x", "grant printer/x"])
        refused = self.ask("GET", "/history?resource=plotter", key="narrow-key")
        self.assertRefused(403, "forbidden_resource", refused)
        self.assertRefused(400, "unknown_argument", self.ask("GET", "/history?selector=x", key=READ))
        self.assertRefused(401, "unauthorized", self.ask("GET", "/history", key=""))


class LookUpTests(HistoryTestCase):
    def test_newest_first(self):
        """The history of a lock says what happened, when, by whom, under which fence, and for how long; the newest first."""
        held = self.lock_as("ci-7").ticket
        self.clock.advance(1.5)
        waiting = self.lock_as("ci-8").ticket
        self.clock.advance(2)
        self.write("1", held)
        self.unlock(held)
        self.clock.advance(0.25)
        self.ask("POST", f"{A4}/lock", ticket=waiting)
        self.clock.advance(300)
        body = self.history()
        self.assertIsNone(body["next"])
        self.assertEqual(
            [(e["event"], e["owner"], e["fence"], e["seconds"]) for e in body["events"]],
            [
                ("expiry", "ci-8", 2, 300.25),
                ("grant", "ci-8", 2, 2.0),
                ("release", "ci-7", 1, 3.5),
                ("write", "ci-7", 1, 3.5),
                ("grant", "ci-7", 1, 0.0),
            ],
        )
        self.assertEqual(
            body["events"][0],
            {
                "id": 5,
                "at": "1970-01-01T00:05:03.750Z",
                "event": "expiry",
                "resource": "printer",
                "selector": "A4",
                "owner": "ci-8",
                "key": "default",
                "fence": 2,
                "seconds": 300.25,
            },
        )

    def test_waiting_ends(self):
        """Who gives up waiting, or is not heard of any more, is in it too, without a fence and with the time waited."""
        self.lock_as("holder")
        ticket = self.lock_as("patient").ticket
        self.lock_as("silent")
        self.clock.advance(10)
        self.unlock(ticket)
        self.clock.advance(50)
        self.assertEqual(
            [(e["event"], e["owner"], e["fence"], e["seconds"]) for e in self.history()["events"][:2]],
            [("expiry", "silent", 0, 60.0), ("release", "patient", 0, 10.0)],
        )

    def test_broken(self):
        """A lock that was taken from its holder is in it."""
        self.lock_as("ci-7")
        self.clock.advance(4)
        self.assertEqual(self.ask("DELETE", f"{A4}/lock?fence=1").status, 204)
        (newest, _) = self.history()["events"]
        self.assertEqual((newest["event"], newest["owner"], newest["seconds"]), ("break", "ci-7", 4.0))

    def test_breaker(self):
        """It says who broke a lock and why: what the client says it is, or else the name of its key, beside that key; never of anything else."""
        self.lock_as("ci-7")
        headers = [("x-owner", "Ann é".encode().decode("latin-1"))]
        path = f"{A4}/lock?fence=1&reason=hung+since%20%C3%A9"
        self.assertEqual(self.ask("DELETE", path, key="ops-key", headers=headers).status, 204)
        self.lock_as("ci-8")
        self.assertEqual(self.ask("DELETE", f"{A4}/lock?fence=2", key="ops-key").status, 204)
        second, grant, first, _ = self.history()["events"]
        names = ("owner", "key", "by", "reason")
        self.assertEqual([first[name] for name in names], ["ci-7", "ops", "Ann é", "hung since é"])
        self.assertEqual([second[name] for name in names], ["ci-8", "ops", "ops", ""])
        self.assertEqual((grant["key"], {"by", "reason"} & set(grant)), ("default", set()))

    def test_pages(self):
        """Page by page it is all there, each event once, also while more happens."""
        for _ in range(5):
            self.unlock(self.lock())
        whole = [event["id"] for event in self.history()["events"]]
        seen, query = [], "?limit=3"
        while query:
            body = self.history(query=query)
            seen += [event["id"] for event in body["events"]]
            query = f"?limit=3&before={body['next']}" if body["next"] else ""
            self.unlock(self.lock())
        self.assertEqual((len(whole), seen), (10, whole))

    def test_last_page_is_full(self):
        """A page that is full and the last says so."""
        self.unlock(self.lock())
        self.assertIsNone(self.history(query="?limit=2")["next"])
        self.assertIsNotNone(self.history(query="?limit=1")["next"])

    def test_unknown_cursor(self):
        """A page may begin where there is no event."""
        self.unlock(self.lock())
        self.unlock(self.lock(f"{PRINTER}/A5"), f"{PRINTER}/A5")
        self.unlock(self.lock())
        self.assertEqual([event["id"] for event in self.history(query="?before=4")["events"]], [2, 1])
        for before in (1, 0):
            self.assertEqual(self.history(query=f"?before={before}"), {"events": [], "next": None})
        self.assertEqual(len(self.history(query=f"?before={2**63 - 1}")["events"]), 4)

    def test_unknown_names(self):
        """Of what never was there is nothing to tell; of what is no more there is."""
        self.assertEqual(self.history("/resource/nobody/knows"), {"events": [], "next": None})
        self.unlock(self.lock())
        self.assertEqual(self.ask("DELETE", PRINTER).status, 204)
        self.assertEqual(len(self.history()["events"]), 2)

    def test_bad_queries(self):
        """A limit, a cursor or a name that cannot be one is told so."""
        for query, code in (
            ("limit=0", "bad_limit"),
            ("limit=1001", "bad_limit"),
            ("limit=x", "bad_limit"),
            ("before=-1", "bad_before"),
            ("before=x", "bad_before"),
            ("before=", "bad_before"),
            (f"before={2**63}", "bad_before"),
            ("before=1&before=2", "repeated_argument"),
            ("befor=1", "unknown_argument"),
        ):
            self.assertRefused(400, code, self.ask("GET", f"{A4}/events?{query}", key=READ))
        self.assertRefused(400, "bad_name", self.ask("GET", f"{PRINTER}/%00/events", key=READ))

    def test_who_may_look(self):
        """A key that may read may look, and one that may not touch the resource may not."""
        self.assertRefused(401, "unauthorized", self.ask("GET", f"{A4}/events", key=""))
        self.assertRefused(401, "unauthorized", self.ask("GET", f"{A4}/events", key="no-key"))
        self.assertRefused(403, "forbidden_resource", self.ask("GET", "/resource/plotter/A4/events", key="narrow-key"))
        self.assertEqual(self.history(key="narrow-key")["events"], [])

    def test_head(self):
        """HEAD works where GET does."""
        self.unlock(self.lock())
        head, get = (self.ask(method, f"{A4}/events", key=READ) for method in ("HEAD", "GET"))
        self.assertEqual((head.status, head.headers["Content-Length"]), (200, get.headers["Content-Length"]))

    def test_store_away(self):
        """Without the store there is no history."""
        self.store.faults["events"] = StoreUnavailable("The store is away.")
        self.assertRefused(503, "store_unavailable", self.ask("GET", f"{A4}/events", key=READ))


class Follower:
    """A client that follows the events."""

    def __init__(self, case: HistoryTestCase, exchange: Exchange) -> None:
        self._case = case
        self.exchange = exchange

    @property
    def transport(self) -> StringTransport:
        return self.exchange.transport

    @property
    def text(self) -> bytes:
        """Everything that it was sent."""
        answer = self.exchange.answer
        return unchunked(answer.body) if "Transfer-Encoding" in answer.headers else answer.body

    @property
    def blocks(self) -> list[Sent]:
        return blocks(self.text)

    @property
    def ids(self) -> list[int]:
        """The ids of the events that it got."""
        return [block.data["id"] for block in self.blocks if block.event not in {"", "reset"}]

    @property
    def last(self) -> int:
        """The last id that it was told."""
        return [block.id for block in self.blocks if block.id is not None][-1]

    @property
    def resets(self) -> list[str]:
        return [block.data["reason"] for block in self.blocks if block.event == "reset"]

    def pause(self) -> None:
        """Let nothing more fit in between the daemon and this client."""
        self.exchange.connection.pauseProducing()

    def resume(self) -> None:
        self.exchange.connection.resumeProducing()


class StreamTestCase(HistoryTestCase):
    def follow(self, query: str = "", *, last: object = "", key: str = READ, headers: Fields = ()) -> Follower:
        fields: Iterable[tuple[str, str]] = [*headers, *([("last-event-id", str(last))] if last != "" else [])]
        exchange = self.begin("GET", f"/events{query}", key=key, headers=fields)
        follower = Follower(self, exchange)
        self.addCleanup(self.leave, follower)
        return follower

    def leave(self, follower: Follower) -> None:
        """Let a client go away, if it has not."""
        if not follower.transport.disconnecting and not hasattr(follower, "gone"):
            follower.gone = True  # type: ignore[attr-defined]
            follower.exchange.hang_up()

    def settle(self) -> None:
        self.clock.pump([0.01] * 300)

    def happen(self, times: int = 1, path: str = A4) -> None:
        """Let a lock be taken and released."""
        for _ in range(times):
            self.unlock(self.lock(path), path)
        self.settle()


class StreamTests(StreamTestCase):
    def test_answer(self):
        """The answer is a stream of events that nobody keeps or gathers, and begins with the id of the newest."""
        self.happen()
        answer = self.follow().exchange.answer
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.headers["Content-Type"], "text/event-stream")
        self.assertEqual(answer.headers["Cache-Control"], "no-store")
        self.assertEqual(answer.headers["X-Accel-Buffering"], "no")
        self.assertEqual(unchunked(answer.body), b"id: 2\n\n")

    def test_spelled(self):
        """An event is sent with its id, its kind, and itself as JSON."""
        follower = self.follow()
        self.lock_as("Zoë".encode().decode("latin-1"))
        self.settle()
        data = json.dumps(self.history()["events"][0], ensure_ascii=False)
        self.assertEqual(follower.text, f"id: 0\n\nid: 1\nevent: grant\ndata: {data}\n\n".encode())

    def test_live(self):
        """Whatever happens is sent in its order, to everyone."""
        followers = [self.follow() for _ in range(3)]
        self.happen(3)
        self.assertEqual([follower.ids for follower in followers], [[1, 2, 3, 4, 5, 6]] * 3)

    def test_nothing_before_it_is_kept(self):
        """An event is not sent before it is kept."""
        follower = self.follow()
        self.store.slow = True
        locking = self.begin("POST", f"{A4}/lock")
        self.store.go_on_once()
        self.settle()
        self.assertEqual(follower.ids, [])
        self.store.go_on()
        self.settle()
        self.assertTrue(locking.answered)
        self.assertEqual(follower.ids, [1])

    def test_names_that_break_lines(self):
        """Nothing that anyone calls itself or a resource can look like the end of an event."""
        follower = self.follow()
        names = ("a: b", "\u2028\u2029", "id: 7", ":", "\\n\\n")
        for name in names:
            self.create(name)
            quoted = "".join(f"%{byte:02X}" for byte in name.encode())
            self.happen(path=f"/resource/{quoted}/x")
        told = [block.data["resource"] for block in follower.blocks if block.event]
        self.assertEqual(told, [name for name in names for _ in range(2)])

    def test_filters(self):
        """A client sees what its key may touch, and of that what it asked for."""
        for name in ("plotter", "scanner", "prints"):
            self.create(name)
        wants = {
            self.follow(): ["printer", "plotter", "scanner", "prints"],
            self.follow("?prefix=p"): ["printer", "plotter", "prints"],
            self.follow("?prefix=printer"): ["printer"],
            self.follow("?prefix=", key="narrow-key"): ["printer", "scanner", "prints"],
            self.follow("?prefix=p", key="narrow-key"): ["printer", "prints"],
            self.follow("?prefix=pl", key="narrow-key"): [],
        }
        for name in ("printer", "plotter", "scanner", "prints"):
            self.happen(path=f"/resource/{name}/x")
        for follower, names in wants.items():
            told = [block.data["resource"] for block in follower.blocks if block.event]
            self.assertEqual(told, [name for name in names for _ in range(2)])

    def test_beat(self):
        """A client that nothing happens for is told so every now and then, and from where to go on."""
        self.create("plotter")
        follower = self.follow("?prefix=x")
        self.clock.advance(BEAT)
        self.happen(2)
        self.clock.advance(BEAT)
        self.assertEqual(
            [(block.id, block.event, block.comments) for block in follower.blocks],
            [(0, "", 0), (0, "", 1), (4, "", 1)],
        )
        self.assertLessEqual(BEAT, 15)

    def test_old_versions(self):
        """Without chunks, as HTTP/1.0 has it, it is the same."""
        exchange = Exchange(self.site, f"GET /events HTTP/1.0\r\nx-api-key: {READ}\r\n\r\n".encode())
        follower = Follower(self, exchange)
        self.happen()
        self.assertEqual(exchange.answer.headers["Connection"], "close")
        self.assertNotIn("Transfer-Encoding", exchange.answer.headers)
        self.assertEqual(follower.ids, [1, 2])
        self.leave(follower)

    def test_head(self):
        """HEAD tells the headers, and is over."""
        answer = self.begin("HEAD", "/events", key=READ).answer
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, "text/event-stream"))
        self.assertEqual((answer.body, self.streams.count), (b"", 0))

    def test_refused(self):
        """What is wrong with a request is told as everywhere else."""
        self.assertRefused(401, "unauthorized", self.ask("GET", "/events", key=""))
        self.assertRefused(405, "method_not_allowed", self.ask("POST", "/events"))
        self.assertRefused(400, "bad_argument", self.ask("GET", "/events?prefix=%FF"))
        for wrong in ("x", "-1", "1.5", "1 2", "0x1", "٣".encode().decode("latin-1"), "9" * 20, "1,2"):
            answer = self.ask("GET", "/events", headers=[("last-event-id", wrong)])
            self.assertRefused(400, "bad_last_event_id", answer)
        twice = self.ask("GET", "/events", headers=[("last-event-id", "1"), ("last-event-id", "2")])
        self.assertRefused(400, "repeated_header", twice)


class ResumeTests(StreamTestCase):
    def test_without_a_gap(self):
        """A client that comes back gets all that happened meanwhile, and nothing twice."""
        follower = self.follow()
        self.happen(3)
        self.leave(follower)
        self.happen(3)
        again = self.follow(last=follower.last)
        self.happen(1)
        self.assertEqual(follower.ids + again.ids, list(range(1, 15)))

    def test_saw_none(self):
        """So does one that had seen nothing."""
        follower = self.follow()
        self.leave(follower)
        self.happen()
        again = self.follow(last=follower.last)
        self.settle()
        self.assertEqual((follower.ids, again.ids, again.resets), ([], [1, 2], []))

    def test_saw_none_for_long(self):
        """And one that there was nothing to be shown to goes on from its last beat."""
        follower = self.follow("?prefix=x")
        self.happen(5)
        self.clock.advance(BEAT)
        self.assertEqual(follower.last, 10)

    def test_another_life(self):
        """An id that is higher than any is of another life: something may be missing, and it goes on from now."""
        self.happen()
        follower = self.follow(last=3)
        self.happen()
        self.assertEqual(len(follower.resets), 1)
        self.assertEqual([block.id for block in follower.blocks], [2, 3, 4])
        self.assertEqual(follower.ids, [3, 4])

    def test_forgotten(self):
        """If something in between is not kept any more the client is told so, and it goes on from now."""
        self.happen(4)
        memory = self.store.events_kept
        self.restart()
        self.store.events_kept = {id_: event for id_, event in memory.items() if id_ > 5}
        early, late = self.follow(last=4), self.follow(last=5)
        self.settle()
        self.happen()
        self.assertEqual((len(early.resets), early.ids, early.last), (1, [9, 10], 10))
        self.assertEqual((late.resets, late.ids), ([], [6, 7, 8, 9, 10]))

    def test_restart(self):
        """It is the same after a restart of the daemon."""
        follower = self.follow()
        self.happen(3)
        self.restart()
        again = self.follow(last=follower.ids[1])
        self.happen(1)
        self.assertEqual((again.ids, again.resets), ([3, 4, 5, 6, 7, 8], []))

    def test_newest(self):
        """A client that has seen all gets what is new."""
        self.happen(2)
        follower = self.follow(last=4)
        self.happen()
        self.assertEqual((follower.ids, follower.resets), ([5, 6], []))


class CrowdTests(StreamTestCase):
    def test_too_many(self):
        """There is a bound to how many may follow; whoever goes makes room, and locks do not care."""
        followers = [self.follow(key=key) for key in (READ, "ops-key") for _ in range(MOST_STREAMS // 2)]
        self.assertRefused(503, "overloaded", self.ask("GET", "/events", key="narrow-key"))
        self.happen()
        self.leave(followers.pop())
        self.assertEqual(self.follow(key="narrow-key").exchange.answer.status, 200)
        self.assertRefused(503, "overloaded", self.ask("GET", "/events", key="narrow-key"))

    def test_not_busy(self):
        """Who follows does not count as a request that keeps the daemon busy."""
        for _ in range(3):
            self.follow()
        self.assertEqual(self.site.busy, 0)

    def test_slices(self):
        """After an event others have their turn before all who follow have been written to."""
        followers = [self.follow() for _ in range(SLICE + 1)]
        self.unlock(self.lock())
        self.clock.advance(0.01)
        self.assertEqual(sum(bool(follower.ids) for follower in followers), SLICE)
        self.settle()
        self.assertEqual({tuple(follower.ids) for follower in followers}, {(1, 2)})

    def test_gone(self):
        """Nothing is left of a client that goes away, whenever it does."""
        before, connections = len(self.clock.getDelayedCalls()), self.site.connections
        idle, behind, full = self.follow(), self.follow(last=0), self.follow()
        full.pause()
        self.unlock(self.lock())
        self.clock.advance(0)
        for follower in (idle, behind, full):
            self.leave(follower)
        # Of those that took the lock and released it, the connections are still there.
        self.assertEqual((self.streams.count, self.site.connections), (0, connections + 2))
        self.settle()
        self.assertEqual(len(self.clock.getDelayedCalls()), before + 2)

    def test_deadlines(self):
        """A stream outlives every deadline that a request or a connection has."""
        follower = self.follow()
        self.clock.pump([10] * 400)
        self.happen()
        self.assertEqual(follower.ids, [1, 2])
        self.assertFalse(follower.transport.disconnecting)

    def test_drain(self):
        """When the daemon stops the streams end, in order, and nobody may begin another."""
        live, full = self.follow(), self.follow()
        full.pause()
        self.happen()
        waiting = self.begin("GET", "/health", key="")
        self.site.drain(10).addErrback(lambda _: None)
        self.streams.close()
        self.assertTrue(waiting.answered)
        for follower in (live, full):
            self.assertTrue(follower.transport.disconnecting)
            self.assertTrue(follower.transport.value().endswith(b"\r\n0\r\n\r\n"))
            follower.exchange.hang_up()
        self.assertEqual((live.ids, full.ids, self.streams.count), ([1, 2], [], 0))
        self.clock.advance(10)

    def test_access_log(self):
        """A stream is one line in the access log, when it has ended."""
        lines: list[Any] = []
        self.patch(self.site, "access", lines.append)
        follower = self.follow("?prefix=p")
        self.clock.advance(5)
        self.assertEqual(lines, [])
        self.leave(follower)
        (line,) = lines
        self.assertEqual((line.method, line.uri, line.status, line.ms), ("GET", "/events?prefix=p", 499, 5000))
        self.assertEqual((line.notes["route"], line.notes["owner"]), ("/events", "default"))

    def test_key_is_taken_away(self):
        """A stream whose key opens nothing any more ends by the next beat."""
        follower, other = self.follow(key="ops-key"), self.follow()
        self.keys.adopt({})
        self.clock.advance(BEAT)
        self.assertTrue(follower.transport.disconnecting)
        self.assertFalse(other.transport.disconnecting)


class SlowTests(StreamTestCase):
    def test_slow(self):
        """To a client that does not read for a while nothing is written; when it reads again it gets all, in its order."""
        follower = self.follow()
        self.happen()
        follower.pause()
        sent = len(follower.transport.value())
        self.happen(50)
        self.clock.advance(BEAT)
        self.assertEqual(len(follower.transport.value()), sent)
        follower.resume()
        self.settle()
        self.assertEqual(follower.ids, list(range(1, 103)))

    def test_others(self):
        """Nobody else waits for it."""
        slow, other = self.follow(), self.follow()
        slow.pause()
        self.happen(3)
        self.assertEqual(other.ids, list(range(1, 7)))

    def test_slow_for_too_long(self):
        """If it has slept for so long that what it missed is not kept any more, it is told so."""
        follower = self.follow()
        follower.pause()
        self.happen()
        self.feed._recent.clear()
        self.feed._floor = 2
        self.store.events_kept.clear()
        follower.resume()
        self.settle()
        self.happen()
        self.assertEqual((len(follower.resets), follower.ids), (1, [3, 4]))
