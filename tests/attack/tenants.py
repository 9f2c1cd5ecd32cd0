"""What a tenant may try with a key of its own, be it by mistake, and that its neighbour has the rest."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing

from resourced.auth.key_file import entry
from resourced.auth.keys import digest_of
from tests.attack.measure import HOST, Attack, answers, figure, rows_of
from tests.daemon import Answer, Daemon, eventually

TENANT, NEIGHBOUR, HASTY = "the-tenants-key", "the-neighbours-key", "the-hasty-key"
KEYS = "".join(entry(name, "write", digest_of(name.encode())) for name in (TENANT, NEIGHBOUR))
#: What the third one may have, beside that.
HURRY = entry(HASTY, "write", digest_of(HASTY.encode()), quotas={"rate": 20})
#: Of the locks, the places in queues and the streams each name has half.
SMALL = {
    "RESOURCED_MAX_LOCKS": "400",
    "RESOURCED_MAX_WAITING": "200",
    "RESOURCED_MAX_STREAMS": "20",
    "RESOURCED_MAX_PEER_CONNECTIONS": "60",
    "RESOURCED_EVENTS_MAX": "600",
}


def request(method: str, target: str, key: str = TENANT, ticket: str = "") -> bytes:
    head = f"{method} {target} HTTP/1.1\r\nx-api-key: {key}\r\n" + (f"x-ticket: {ticket}\r\n" if ticket else "")
    return head.encode() + HOST + b"\r\n"


def lock(daemon: Daemon, selectors: Iterable[str], ticket: str = "", key: str = TENANT) -> list[Answer]:
    return answers(daemon, [request("POST", f"/resource/{selector}/lock", key, ticket) for selector in selectors])


def unlock(daemon: Daemon, tickets: Iterable[tuple[str, str]], key: str = TENANT) -> None:
    done = answers(
        daemon, [request("POST", f"/resource/{selector}/unlock", key, ticket) for selector, ticket in tickets]
    )
    assert all(answer.json == {"unlocked": True} for answer in done)


def create(daemon: Daemon, name: str, timeout: int = 300) -> None:
    assert daemon.post("/resource", f'{{"name": "{name}", "timeout": {timeout}}}', key=NEIGHBOUR).status in {201, 409}


def refused_beyond(most: int, good: int, got: Sequence[Answer], quota: str) -> None:
    """Require that so many were answered well, and all others that the quota is used up."""
    assert [answer.status for answer in got] == [good] * most + [429] * (len(got) - most)
    for answer in got[most:]:
        assert answer.code == f"quota_{quota}"
        assert int(answer.headers["retry-after"]) >= 1


def many_locks(daemon: Daemon) -> None:
    """A tenant takes locks for as long as it gets any; half of all are its own."""
    create(daemon, "locks")
    before = figure(daemon, 'resourced_quota_refusals_total{quota="max_locks"}')
    selectors = [f"locks/{number}" for number in range(300)]
    got = lock(daemon, selectors)
    refused_beyond(200, 200, got, "max_locks")
    assert rows_of(daemon)["place"] == 200
    assert figure(daemon, 'resourced_quota_refusals_total{quota="max_locks"}') == before + 100
    (other,) = lock(daemon, ["locks/free"], key=NEIGHBOUR)
    unlock(daemon, [("locks/free", other.ticket)], NEIGHBOUR)
    unlock(daemon, [(selector, answer.ticket) for selector, answer in zip(selectors[:200], got, strict=False)])


def long_queue(daemon: Daemon) -> None:
    """A tenant waits for the lock of another one as often as it can; half of all places are its own."""
    create(daemon, "queue")
    (held,) = lock(daemon, ["queue/1"], key=NEIGHBOUR)
    got = lock(daemon, ["queue/1"] * 150)
    refused_beyond(100, 202, got, "max_waiting")
    (other,) = lock(daemon, ["queue/1"], key=NEIGHBOUR)
    assert other.json["position"] == 101
    unlock(daemon, [("queue/1", answer.ticket) for answer in got[:100]])
    unlock(daemon, [("queue/1", other.ticket), ("queue/1", held.ticket)], NEIGHBOUR)


def long_queue_at_one(daemon: Daemon) -> None:
    """A tenant fills the queue of one selector as far as it can; half of its places are its own."""
    create(daemon, "selector")
    (held,) = lock(daemon, ["selector/1"], key=NEIGHBOUR)
    got = lock(daemon, ["selector/1"] * 60)
    refused_beyond(40, 202, got, "max_queue")
    assert [answer.status for answer in lock(daemon, ["selector/2"] * 2)] == [200, 202]
    (other,) = lock(daemon, ["selector/1"], key=NEIGHBOUR)
    assert other.json["position"] == 41
    unlock(daemon, [("selector/1", held.ticket)], NEIGHBOUR)
    # The first of them has the lock now, and waits no more.
    (one_more, too_many) = lock(daemon, ["selector/1"] * 2)
    assert (one_more.status, too_many.status) == (202, 429)


def many_streams(daemon: Daemon) -> None:
    """A tenant follows the events on many connections; half of all streams are its own."""
    with ExitStack() as stack:
        opened = [stack.enter_context(closing(daemon.connect())) for _ in range(15)]
        said = [connection.ask("GET", "/events", key=TENANT).getresponse().status for connection in opened]
        assert said == [200] * 10 + [429] * 5
        other = stack.enter_context(closing(daemon.connect()))
        assert other.ask("GET", "/events", key=NEIGHBOUR).getresponse().status == 200
    eventually(lambda: figure(daemon, "resourced_streams") == 0, what="all of them are over")


def many_requests(daemon: Daemon) -> None:
    """A tenant sends as many requests as it can; those beyond its rate are refused, those of others are not."""
    got = [answer.status for answer in answers(daemon, [request("GET", "/resource", HASTY)] * 1000)]
    assert 20 <= got.count(200) < 1000
    assert got.count(200) + got.count(429) == 1000
    assert {answer.status for answer in answers(daemon, [request("GET", "/resource", NEIGHBOUR)] * 100)} == {200}


def many_connections(daemon: Daemon) -> None:
    """One address opens as many connections as it can; those beyond its number are refused, others have theirs."""
    with ExitStack() as stack:
        for number in range(120):
            made = socket.create_connection(("127.0.0.1", daemon.port), 60, ("127.0.0.2", 0))
            stack.enter_context(closing(made))
            if number >= 60:
                assert made.recv(4096).startswith(b"HTTP/1.1 429 ")
        assert daemon.get("/health", key="").status == 200


def one_ticket_everywhere(daemon: Daemon) -> None:
    """One ticket takes a place at as many selectors as it can."""
    create(daemon, "everywhere")
    (first,) = lock(daemon, ["everywhere/0"])
    got = lock(daemon, [f"everywhere/{number}" for number in range(1500)], first.ticket)
    refused_beyond(1000, 200, got, "max_places")
    assert rows_of(daemon)["place"] == 1000
    unlock(daemon, [(f"everywhere/{number}", first.ticket) for number in range(1000)])


def one_ticket_that_lapses(daemon: Daemon) -> None:
    """One ticket keeps its place at one selector, and lets its locks lapse at many others."""
    create(daemon, "lapses", 1)
    (first,) = lock(daemon, ["lapses/kept"])
    for start in range(0, 2000, 200):
        got = lock(daemon, [f"lapses/{number}" for number in range(start, start + 200)] + ["lapses/kept"], first.ticket)
        assert {answer.status for answer in got[:-1]} <= {200, 429}

    def lapsed() -> bool:
        lock(daemon, ["lapses/kept"], first.ticket)
        return rows_of(daemon)["place"] <= 1

    eventually(lapsed, 20, what="only the place that is kept is there")


def long_history(daemon: Daemon) -> None:
    """A tenant lets more happen than may be kept."""
    create(daemon, "history")
    for _ in range(5):
        got = lock(daemon, [f"history/{number}" for number in range(150)])
        unlock(daemon, [(f"history/{number}", answer.ticket) for number, answer in enumerate(got)])
    eventually(lambda: rows_of(daemon)["event"] <= 600, what="the oldest are forgotten")


TENANTS = (
    Attack("as many locks as there are", many_locks, 8, 600, SMALL, KEYS),
    Attack("a long queue", long_queue, 8, 600, SMALL, KEYS),
    Attack("a long queue at one", long_queue_at_one, 8, 600, {"RESOURCED_MAX_QUEUE": "80"}, KEYS),
    Attack("many streams", many_streams, 8, 0, SMALL, KEYS),
    Attack("many connections", many_connections, 8, 0, SMALL, KEYS),
    Attack("a long history", long_history, 8, 600, SMALL, KEYS),
    Attack("many requests", many_requests, 8, 0, keys=KEYS + HURRY),
    Attack("one ticket everywhere", one_ticket_everywhere, 16, 2000, keys=KEYS + HURRY),
    # A grant, an expiry and a loss for each of 2,000 locks; on a busy machine the place that is kept may lapse too, again and again.
    Attack("one ticket that lapses", one_ticket_that_lapses, 16, 7000, keys=KEYS + HURRY),
)
