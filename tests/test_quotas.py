"""What one key name, one ticket and one address may take, and that others have the rest."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from resourced.auth.key_file import entry, parse
from resourced.auth.keys import Keys, digest_of
from resourced.errors import QuotaExceeded
from resourced.quotas import Quota, Quotas
from tests.attack.measure import figure
from tests.daemon import READ, WRITE, Answer, Connection, Daemon, eventually

SMALL, FREE, SLOW = (name * 32 for name in ("small", "free", "slow"))
LIMITS = {"RESOURCED_MAX_PEER_CONNECTIONS": "40", "RESOURCED_TRUSTED_PROXIES": "127.0.0.3", "RESOURCED_MAX_LOCKS": "8"}


def test_bucket() -> None:
    """So many requests may come at once, and then as many in a second; time that stands still brings none."""
    now = [100.0]
    refused: list[str] = []
    quotas = Quotas(lambda: now[0], lambda name: Quota(rate=4.0 if name == "a" else 0.5), refused.append)

    def served(name: str) -> int:
        count = 0
        while True:
            try:
                quotas.count_request(name)
            except QuotaExceeded:
                return count
            count += 1

    assert [served("a"), served("a"), served("b")] == [4, 0, 1]
    now[0] += 0.5
    assert [served("a"), served("b")] == [2, 0]
    now[0] += 1000
    assert [served("a"), served("b")] == [4, 1]
    assert refused == ["rate"] * 7


def test_shares() -> None:
    """Who says nothing has half, and all if there is nobody else; the variables are one name."""
    whole = Quota(100, 200, 10)
    alone = Keys("r", "l", "w", whole)
    assert alone.quota("default") == whole
    text = entry("a", "lock", digest_of(b"1"), quotas={"max_locks": 3, "rate": 2.5})
    alone.adopt(parse(text + entry("b", "lock", digest_of(b"2"))))
    assert alone.quota("default") == Quota(50, 100, 5)
    assert alone.quota("a") == Quota(3, 100, 5, 2.5)
    assert alone.quota("b") == Quota(50, 100, 5)
    only = Keys("", "", "", whole)
    only.adopt(parse(entry("a", "lock", digest_of(b"1"))))
    assert only.quota("a") == whole


WRONG = (
    "max_locks = 0",
    "max_locks = -1",
    "max_locks = 1.5",
    "max_waiting = true",
    'rate = "5"',
    "rate = nan",
    "rate = inf",
    "rate = 0",
)


@pytest.mark.parametrize("field", WRONG)
def test_wrong(field: str) -> None:
    """A quota is a number above 0."""
    with pytest.raises(ValueError, match=field.partition(" ")[0]):
        parse(entry("a", "lock", digest_of(b"1")) + field)


def test_two_entries() -> None:
    """A name has the same quotas in all its entries."""
    twice = [entry("a", "lock", digest_of(key), quotas={"max_locks": most}) for key, most in ((b"1", 2), (b"2", 3))]
    with pytest.raises(ValueError, match="other quotas than an entry of the same name"):
        parse("".join(twice))


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("quotas")
    small = {"max_locks": 2, "max_waiting": 1, "max_streams": 1}
    text = entry("small", "lock", digest_of(SMALL.encode()), quotas=small)
    text += entry("free", "lock", digest_of(FREE.encode()), quotas={"max_locks": 100})
    text += entry("slow", "read", digest_of(SLOW.encode()), quotas={"rate": 0.0001})
    text += entry("free", "read", digest_of(b"another"), quotas={"max_locks": 100})
    (folder / "keys.toml").write_text(text)
    with Daemon(folder, {**LIMITS, "RESOURCED_KEYS": "keys.toml"}) as running:
        running.create("a")
        yield running


def lock(daemon: Daemon, selector: str, key: str, ticket: str = "") -> Answer:
    return daemon.post(f"/resource/a/{selector}/lock", key=key, ticket=ticket)


def refused(daemon: Daemon, quota: str) -> int:
    found = re.search(rf'resourced_quota_refusals_total{{quota="{quota}"}} (\d+)', daemon.get("/metrics").body.decode())
    assert found is not None
    return int(found[1])


def assert_exceeded(answer: Answer, quota: str) -> None:
    assert (answer.status, answer.code) == (429, f"quota_{quota}")
    assert quota in answer.json["error"]
    assert int(answer.headers["retry-after"]) >= 1


def test_locks(daemon: Daemon) -> None:
    """A name that holds all that it may gets no more, others do, and what it lets go of it may have again."""
    held = [lock(daemon, str(number), SMALL) for number in range(2)]
    assert [answer.status for answer in held] == [200, 200]
    assert_exceeded(lock(daemon, "2", SMALL), "max_locks")
    assert_exceeded(lock(daemon, "2", SMALL, held[0].ticket), "max_locks")
    # What it has it keeps.
    assert lock(daemon, "0", SMALL, held[0].ticket).status == 200
    other = lock(daemon, "2", FREE)
    assert other.status == 200
    assert refused(daemon, "max_locks") == 2
    # It may wait, as often as it may, and then no more; the one that waits gets its lock.
    waiting = lock(daemon, "2", SMALL)
    assert waiting.status == 202
    assert_exceeded(lock(daemon, "2", SMALL), "max_waiting")
    assert lock(daemon, "2", SMALL, waiting.ticket).status == 202
    assert daemon.post("/resource/a/2/unlock", key=SMALL, ticket=waiting.ticket).status == 200
    for number, answer in enumerate(held):
        assert daemon.post(f"/resource/a/{number}/unlock", key=SMALL, ticket=answer.ticket).json == {"unlocked": True}
    again = lock(daemon, "0", SMALL)
    assert again.status == 200
    daemon.post("/resource/a/0/unlock", key=SMALL, ticket=again.ticket)
    # What the next test counts is its own.
    daemon.post("/resource/a/2/unlock", key=FREE, ticket=other.ticket)


def test_locks_of_all(daemon: Daemon) -> None:
    """All together may hold so many locks, whatever each may."""
    held = [lock(daemon, f"all-{number}", FREE) for number in range(8)]
    assert [answer.status for answer in held] == [200] * 8
    over = lock(daemon, "all-8", FREE)
    assert (over.status, over.code) == (503, "overloaded")
    for number, answer in enumerate(held):
        daemon.post(f"/resource/a/all-{number}/unlock", key=FREE, ticket=answer.ticket)


def test_rate(daemon: Daemon) -> None:
    """Requests beyond the rate are refused; those of others and of nobody are not."""
    assert daemon.get("/resource", key=SLOW).status == 200
    assert_exceeded(daemon.get("/resource", key=SLOW), "rate")
    assert daemon.get("/health", key="").status == 200
    assert daemon.get("/resource", key=READ).status == 200
    assert refused(daemon, "rate") == 1


def test_streams(daemon: Daemon) -> None:
    """One stream, and when it is over another one."""

    def follow(connection: Connection, key: str) -> int:
        return connection.ask("GET", "/events", key=key).getresponse().status

    with closing(daemon.connect()) as first, closing(daemon.connect()) as other:
        assert (follow(first, SMALL), follow(other, FREE)) == (200, 200)
        assert_exceeded(daemon.get("/events", key=SMALL), "max_streams")

    def follows() -> bool:
        with closing(daemon.connect()) as again:
            return follow(again, SMALL) == 200

    eventually(follows, what="the first one is over")


def test_connections(daemon: Daemon) -> None:
    """One address may have so many; others have theirs, and a trusted proxy has its clients'."""

    def connect(stack: ExitStack, address: str) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", daemon.port), 20, (address, 0))
        return stack.enter_context(closing(made))

    with ExitStack() as stack:
        for _ in range(45):
            connect(stack, "127.0.0.2")
            connect(stack, "127.0.0.3")
        one_more = connect(stack, "127.0.0.2")
        answer = one_more.recv(4096)
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert b"quota_max_peer_connections" in answer
        assert b"Retry-After: 1" in answer
        proxied = connect(stack, "127.0.0.3")
        proxied.sendall(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n")
        assert proxied.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert daemon.get("/health", key="").status == 200
        assert refused(daemon, "max_peer_connections") == 6
        # That of the proxy is none of them.
        assert figure(daemon, "resourced_addresses_full") == 1

    def served() -> bool:
        with ExitStack() as stack:
            again = connect(stack, "127.0.0.2")
            again.sendall(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n")
            return again.recv(4096).startswith(b"HTTP/1.1 200 ")

    eventually(served, what="those before are gone")


def test_warnings(daemon: Daemon) -> None:
    """Two entries of one name may be meant; it is said."""
    assert "2 entries of " in daemon.log
    assert "have the name free, and share their tickets." in daemon.log
    assert WRITE not in daemon.log
