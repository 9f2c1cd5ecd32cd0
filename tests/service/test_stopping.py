"""How a real daemon ends under its clients: in which order, how soon, and what they find when it is back."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from http.client import HTTPException

from tests.daemon import LOCK, PATIENCE, Daemon, eventually

A4 = "/resource/printer/A4"
HEAD = b"PUT /resource/printer/A4 HTTP/1.1\r\nHost: x\r\nx-api-key: the-key-that-writes\r\nContent-Length: 6\r\n"


def raw(daemon: Daemon, data: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", daemon.port), PATIENCE)
    client.sendall(data)
    # An answer to somebody who came later shows that it has arrived.
    assert daemon.healthy()
    return client


def everything(client: socket.socket) -> bytes:
    with suppress(ConnectionError):
        return b"".join(iter(lambda: client.recv(4096), b""))
    return b""


def test_half_a_head_holds_nobody_up(tmp_path):
    """A request of which not even the head has arrived when the daemon is stopped is refused after a second, not after the grace."""
    with Daemon(tmp_path, {"RESOURCED_GRACE": "1000"}) as daemon, closing(raw(daemon, HEAD)) as client:
        assert daemon.terminate() == -signal.SIGTERM
        assert everything(client).startswith(b"HTTP/1.1 503 ")


def test_what_is_under_way_is_finished(tmp_path):
    """A write whose body is still arriving when the daemon is stopped is taken, within the grace, and the answer says it is the last."""
    with Daemon(tmp_path, {"RESOURCED_GRACE": "1000"}) as daemon:
        daemon.create("printer")
        holder = daemon.post(f"{A4}/lock")
        with closing(raw(daemon, HEAD + b"x-ticket: " + holder.ticket.encode() + b"\r\n\r\n123")) as client:
            os.kill(daemon.pid, signal.SIGTERM)
            eventually(lambda: "Received SIGTERM" in daemon.log, what="the signal has arrived")
            eventually(lambda: refused(daemon), what="the port is closed")
            client.sendall(b"456")
            answer = everything(client)
            assert answer.startswith(b"HTTP/1.1 204 ")
            assert b"Connection: close" in answer
        assert daemon.wait() == -signal.SIGTERM
        daemon.start()
        assert daemon.get(f"{A4}?lock=0").json["data"] == "123456"


def refused(daemon: Daemon) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", daemon.port)) != 0


def test_grace_is_the_limit(tmp_path):
    """A body that never comes to its end is cut off when the grace is over, and the log has the request."""
    with Daemon(tmp_path, {"RESOURCED_GRACE": "1"}) as daemon, closing(raw(daemon, HEAD + b"\r\n1")):
        began = time.monotonic()
        assert daemon.terminate() == -signal.SIGTERM
        assert time.monotonic() - began > 0.9
        assert "Some requests were not done within 1.0 seconds." in daemon.log
        assert "PUT /resource/printer/A4 499" in daemon.log


def test_second_signal(tmp_path):
    """To ask once more, by either signal, while the daemon is ending changes nothing, and is told in a line, not in a traceback."""
    with Daemon(tmp_path, {"RESOURCED_GRACE": "1000"}) as daemon, closing(raw(daemon, HEAD + b"\r\n1")) as client:
        os.kill(daemon.pid, signal.SIGTERM)
        eventually(lambda: refused(daemon), what="the port is closed")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            before = daemon.log.count("being stopped already")
            os.kill(daemon.pid, number)
            eventually(lambda: daemon.log.count("being stopped already") > before, what=f"a line about {number!r}")  # noqa: B023
        client.close()
        assert daemon.wait() == -signal.SIGTERM
        assert "Traceback" not in daemon.log
        assert "Stopped." in daemon.log


def test_order(tmp_path):
    """First the port is closed, then those who wait are answered, then the store is let go of; and all of it at once."""
    with Daemon(tmp_path) as daemon:
        daemon.create("printer")
        daemon.post(f"{A4}/lock")
        with closing(daemon.ask("GET", f"{A4}?wait=40", key=LOCK)) as waiting:
            assert all(daemon.healthy() for _ in range(3))
            assert daemon.terminate() == -signal.SIGTERM
            assert waiting.answer().status == 202
        end = daemon.log[daemon.log.index("Received SIGTERM") :]
        marks = [end.index(mark) for mark in ("Received SIGTERM", "Port", "?wait=40 202", "Stopped.")]
        assert marks == sorted(marks)


class Client(threading.Thread):
    """
    A program that wants the lock of one of some selectors again and again, adds one to what is there, and lets go.

    It does all that a good client does: it waits, keeps its ticket, and repeats what was not answered.
    """

    def __init__(self, daemon: Daemon, number: int, over: threading.Event) -> None:
        super().__init__(name=f"client {number}")
        self._daemon = daemon
        self._path = f"/resource/counter/{number % 10}"
        self._over = over
        self._ticket = ""
        self._key = 0
        self._name = number
        self.added: Counter[str] = Counter()
        self.unsure: Counter[str] = Counter()
        self.lost: list[str] = []

    def run(self) -> None:
        while not self._over.is_set():
            self._turn()

    def _ask(self, method: str, target: str, body: str | None = None) -> tuple[int, str, str]:
        """Repeat a request until there is an answer to it; the retries of a lock have one ``Idempotency-Key``."""
        while True:
            headers = {} if self._ticket else {"Idempotency-Key": f"{self._name} {self._key}"}
            with suppress(OSError, HTTPException):
                answer = self._daemon.request(method, target, body=body, ticket=self._ticket, headers=headers)
                if answer.status != 503:
                    return answer.status, answer.headers.get("x-ticket", ""), answer.body.decode()
            if self._over.is_set():
                return 0, "", ""
            time.sleep(0.05)

    def _turn(self) -> None:
        status, ticket, body = self._ask("GET", f"{self._path}?raw=1&wait=2")
        if status == 410:
            self.lost.append(f"{self.name}: the ticket")
        self._ticket = ticket if status in {200, 202, 404} else ""
        if status not in {200, 404}:
            return
        count = int(body) if status == 200 else 0
        status, _, _ = self._ask("PUT", f"{self._path}?unlock=1", str(count + 1))
        # If the answer to the first try was lost, the second one finds the lock let go of.
        (self.added if status == 204 else self.unsure)[self._path] += 1
        self._ticket = ""
        self._key += 1


def test_restart_under_two_hundred_clients(tmp_path):
    """Two hundred clients that go on trying through two restarts lose no ticket and no write, and none of them is left out."""
    over = threading.Event()
    with Daemon(tmp_path, {"RESOURCED_GRACE": "1000"}) as daemon:
        daemon.create("counter")
        clients = [Client(daemon, number, over) for number in range(200)]
        for client in clients:
            client.start()
        try:
            for _ in range(2):
                done = total(clients)
                eventually(lambda: total(clients) > done + 100, what="they get on")  # noqa: B023
                assert daemon.terminate() == -signal.SIGTERM
                daemon.start()
            eventually(lambda: all(client.added or client.unsure for client in clients), what="each has had its turn")
        finally:
            over.set()
            for client in clients:
                client.join(PATIENCE)
        assert [loss for client in clients for loss in client.lost] == []
        for number in range(10):
            path = f"/resource/counter/{number}"
            added = sum(client.added[path] for client in clients)
            unsure = sum(client.unsure[path] for client in clients)
            assert added <= int(daemon.get(f"{path}?lock=0&raw=1").body) <= added + unsure
        assert "Traceback" not in daemon.log


def total(clients: list[Client]) -> int:
    return sum(client.added.total() for client in clients)
