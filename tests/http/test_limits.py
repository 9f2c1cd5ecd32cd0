"""The limits of a real daemon: what is too much is refused at once, with a clear answer, and the rest is served."""

from __future__ import annotations

import json
import re
import socket
import statistics
import struct
import threading
import time
from collections import Counter
from contextlib import ExitStack, closing
from itertools import count

from tests.daemon import LOCK, PATIENCE, WRITE, Answer, Daemon, eventually

A4 = "/resource/printer/A4"


def send(daemon: Daemon, *pieces: bytes) -> bytes:
    """Send bytes as they are, and return all that comes back."""
    with closing(socket.create_connection(("127.0.0.1", daemon.port), PATIENCE)) as client:
        for piece in pieces:
            client.sendall(piece)
        return b"".join(iter(lambda: client.recv(4096), b""))


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_body(tmp_path):
    """A body that is too large is refused before it is read, whether its length is told in advance or not; one that fits is taken."""
    with Daemon(tmp_path, {"RESOURCED_MAX_BODY": "100"}) as daemon:
        daemon.create("printer")
        lock = daemon.post(f"{A4}/lock")
        assert daemon.put(A4, '"' + "x" * 98 + '"', ticket=lock.ticket).status == 204
        head = f"PUT {A4} HTTP/1.1\r\nHost: x\r\nx-api-key: {WRITE}\r\nx-ticket: {lock.ticket}\r\n".encode()
        # Of the body not one byte is sent: the answer comes all the same.
        told = send(daemon, head + b"Content-Length: 101\r\n\r\n")
        chunked = send(daemon, head + b"Transfer-Encoding: chunked\r\n\r\n65\r\n" + b"x" * 101)
        for answer in (told, chunked):
            assert status_of(answer) == 413
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "body_too_large"
        # A client that asks first is not told to go on.
        assert b"100 Continue" not in send(daemon, head + b"Expect: 100-continue\r\nContent-Length: 101\r\n\r\n")


def test_headers(tmp_path):
    """Headers beyond 16 KiB are refused with 431."""
    with Daemon(tmp_path) as daemon:
        for answer in (
            send(daemon, b"GET /health HTTP/1.1\r\nHost: x\r\nx-much: " + b"x" * 17_000 + b"\r\n\r\n"),
            send(daemon, b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"x-much: x\r\n" * 2_000 + b"\r\n"),
        ):
            assert status_of(answer) == 431


def test_request_that_trickles_in(tmp_path):
    """A request has a deadline as a whole, however steadily its bytes come; who only connects and waits is not disturbed by it."""
    with Daemon(tmp_path, {"RESOURCED_REQUEST_DEADLINE": "1"}) as daemon:
        for start in (
            b"GET /health HTTP/1.1\r\n",
            f"PUT {A4} HTTP/1.1\r\nHost: x\r\nx-api-key: {WRITE}\r\nContent-Length: 999\r\n\r\n".encode(),
        ):
            with (
                closing(socket.create_connection(("127.0.0.1", daemon.port), 0.1)) as client,
                closing(daemon.connect()) as quiet,
            ):
                quiet.connect()
                client.sendall(start)
                began = time.monotonic()
                assert status_of(eventually(lambda: trickle(client), what="an answer")) == 408
                assert time.monotonic() - began > 0.9
                assert quiet.ask("GET", "/health").answer().status == 200


def trickle(client: socket.socket) -> bytes:
    """Send one byte more, and return the answer if there is one."""
    client.sendall(b"x")
    try:
        return client.recv(4096)
    except TimeoutError:
        return b""


def test_connections(tmp_path):
    """Connections beyond the limit are told so and to come back; when there is room again they are served."""
    environ = {"RESOURCED_MAX_CONNECTIONS": "20", "RESOURCED_ACCESS_LOG": "all"}
    with Daemon(tmp_path, environ) as daemon, ExitStack() as stack:
        eventually(lambda: "GET /health 200" in daemon.log, what="the first connection is over")
        open_ones = [stack.enter_context(closing(daemon.connect())) for _ in range(20)]
        for connection in open_ones:
            assert connection.ask("GET", "/health").answer().status == 200
        refused = daemon.get("/health", key="")
        assert (refused.status, refused.code, refused.headers["retry-after"]) == (503, "overloaded", "1")
        assert open_ones[0].ask("GET", "/health").answer().status == 200
        open_ones[0].close()
        eventually(daemon.healthy, what="there is room again")
        assert daemon.log.count("There are 20 connections; more are refused") == 1


def test_waiting_tickets(tmp_path):
    """No more tickets wait at one selector, nor in all, than the limits say; who holds or waits already is not disturbed."""
    environ = {"RESOURCED_MAX_QUEUE": "2", "RESOURCED_MAX_WAITING": "3"}
    with Daemon(tmp_path, environ) as daemon:
        daemon.create("printer")
        for selector, room in (("A4", 2), ("A5", 1)):
            path = f"/resource/printer/{selector}"
            holder = daemon.post(f"{path}/lock", key=LOCK)
            waiting = [daemon.get(path, key=LOCK) for _ in range(room)]
            refused = daemon.get(path, key=LOCK)
            assert (refused.status, refused.code, refused.headers["retry-after"]) == (503, "overloaded", "1")
            assert "x-ticket" not in refused.headers
            assert daemon.get(path, key=LOCK, ticket=waiting[-1].ticket).json["position"] == room
            assert daemon.post(f"{path}/lock", key=LOCK, ticket=holder.ticket).status == 200


def test_work_for_the_database(tmp_path):
    """What waits for the database is limited: of many who ask at once some are refused, at once, and all are answered."""
    with Daemon(tmp_path, {"RESOURCED_MAX_PENDING": "5"}) as daemon, ExitStack() as stack:
        daemon.create("printer")
        connections = [stack.enter_context(closing(daemon.connect())) for _ in range(200)]
        for connection in connections:
            connection.connect()
        daemon.freeze()
        for connection in connections:
            connection.ask("GET", f"{A4}?lock=0")
        daemon.thaw()
        answers = [connection.answer() for connection in connections]
        codes = Counter(answer.code for answer in answers)
        assert set(codes) == {"no_data", "store_unavailable"}
        assert codes["no_data"] >= 5
        assert {answer.headers.get("retry-after") for answer in answers if answer.status == 503} == {"1"}
        assert daemon.get(f"{A4}?lock=0").code == "no_data"


def test_requests_at_once(tmp_path):
    """
    No more requests are answered at once than the limit says; those who wait for a lock do not count, and ``/health`` never does.
    """
    with Daemon(tmp_path, {"RESOURCED_MAX_REQUESTS": "1"}) as daemon, ExitStack() as stack:
        daemon.create("printer")
        daemon.post(f"{A4}/lock")
        parked = [stack.enter_context(closing(daemon.ask("GET", f"{A4}?wait=30", key=LOCK))) for _ in range(1)]
        eventually(lambda: daemon.get(f"{A4}?lock=0").code == "no_data", what="the one that waits stands aside")
        assert {daemon.get(f"{A4}?lock=0").code for _ in range(20)} == {"no_data"}
        # Sent in one piece on many connections, they are there at the same time.
        connections = [stack.enter_context(closing(daemon.connect())) for _ in range(100)]
        for connection in connections:
            connection.connect()
        daemon.freeze()
        for number, connection in enumerate(connections):
            # Each of another selector: what the server has read once it answers from memory, at once.
            connection.ask("GET", f"/resource/printer/{number}?lock=0" if number % 2 else "/health")
        daemon.thaw()
        answers = [connection.answer() for connection in connections]
        assert {answer.status for answer in answers[::2]} == {200}
        codes = Counter(answer.code for answer in answers[1::2])
        assert set(codes) == {"no_data", "overloaded"}
        assert {answer.headers["retry-after"] for answer in answers[1::2] if answer.status == 503} == {"1"}
        assert not any(connection.answered for connection in parked)


class Load(threading.Thread):
    """Clients on connections of their own that ask again as soon as they are answered; and how they fared."""

    def __init__(self, daemon: Daemon, connections: int, over: threading.Event) -> None:
        super().__init__()
        self._daemon = daemon
        self._connections = connections
        self._over = over
        self._selectors = (f"{self.name}-{number}" for number in count())
        self.statuses: Counter[int] = Counter()
        self.refused_in: list[float] = []

    def run(self) -> None:
        with ExitStack() as stack:
            connections = [stack.enter_context(closing(self._daemon.connect())) for _ in range(self._connections)]
            while not self._over.is_set():
                began = time.monotonic()
                for connection in connections:
                    # Of each selector the store has to be asked.
                    connection.ask("GET", f"/resource/printer/{next(self._selectors)}?lock=0")
                for connection in connections:
                    self._take(connection.answer(), time.monotonic() - began)

    def _take(self, answer: Answer, seconds: float) -> None:
        self.statuses[answer.status] += 1
        if answer.status == 503:
            self.refused_in.append(seconds)


def test_twice_the_load(tmp_path):
    """
    Under many more requests than it has room for the daemon goes on serving as many as before, refuses the rest quickly, and
    ``/health`` stays quick.
    """
    environ = {"RESOURCED_MAX_REQUESTS": "50"}
    with Daemon(tmp_path, environ) as daemon:
        daemon.create("printer")
        over = threading.Event()
        loads = [Load(daemon, 100, over) for _ in range(3)]
        for load in loads:
            load.start()
        healths = []
        try:
            eventually(lambda: sum(load.statuses.total() for load in loads) > 600, what="the load is there")
            for _ in range(20):
                began = time.monotonic()
                assert daemon.healthy()
                healths.append(time.monotonic() - began)
        finally:
            over.set()
            for load in loads:
                load.join()
        statuses = sum((load.statuses for load in loads), Counter[int]())
        assert set(statuses) == {404, 503}
        assert statuses[404] > 100
        # A machine that runs other tests beside this one, and the load too, may be slow itself.
        assert statistics.median(healths) < 20
        assert statistics.median([seconds for load in loads for seconds in load.refused_in]) < 20
        assert re.search(r"lock=0 503 \d\.\d ms", daemon.log), "a refusal costs next to nothing"


def test_many_clients_at_once(tmp_path):
    """Several hundred clients that come in the same moment are let in at once: none is left to try again by its own system."""
    with Daemon(tmp_path) as daemon, ExitStack() as stack:
        daemon.freeze()
        connections = [stack.enter_context(closing(daemon.connect())) for _ in range(300)]
        for connection in connections:
            connection.connect()
        for connection in connections:
            connection.ask("GET", "/health")
        daemon.thaw()
        sockets = [connection.sock for connection in connections]
        assert sum(map(sent_again, sockets)) == 0
        assert {connection.answer().status for connection in connections} == {200}


def sent_again(client: socket.socket) -> int:
    """Return how many packets the system has sent once more for a client, because nobody had taken them."""
    # The field tcpi_total_retrans of struct tcp_info.
    (packets,) = struct.unpack_from("I", client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 100)
    return int(packets)
