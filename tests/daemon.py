"""A daemon in a process of its own, to be killed and frozen at will. For tests, and for scripts that torture it."""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from tests import preloaded
from tests.frozen import freeze, thaw
from tests.ports import free_port
from tests.preloaded import RESOURCED

T = TypeVar("T")

READ = "the-key-that-reads"
LOCK = "the-key-that-locks"
WRITE = "the-key-that-writes"
KEYS: Mapping[str, str] = {"RESOURCE_READ": READ, "RESOURCE_READ_LOCK": LOCK, "RESOURCE_WRITE": WRITE}

#: How long an unclaimed lock and a place in a queue last, in seconds, where a test does not say: longer than it takes on any machine.
LASTING: Mapping[str, str] = {"RESOURCED_CLAIM": "3600", "RESOURCED_PLACE": "3600"}

#: Whether the ways of Klein, twisted.web and the database alone are to be tested, instead of the short ones.
STOCK = os.environ.get("RESOURCED_REFERENCE_PATH") == "1"

#: Beside the interpreter, so that no environment has to be activated.
TWISTD = (str(Path(sys.executable).with_name("twistd")), "--nodaemon", "--pidfile=", "resourced")

#: Seconds that anything may take that should be there at once. A machine that does much else is slow; what is wrong takes longer or for ever.
PATIENCE = 180.0


def eventually(ask: Callable[[], T | None], timeout: float = PATIENCE, what: str = "") -> T:
    """
    Ask until the answer is true, and return it.

    :raises AssertionError: it was not true in time.
    """
    began = time.monotonic()
    while not (answer := ask()):
        waited = time.monotonic() - began
        assert waited < timeout, f"still not after {timeout:g} seconds: {what or ask}"
        # To ask again at once all the time takes the processor from those who are waited for.
        time.sleep(min(max(0.005, waited / 20), 0.05))
    return answer


@dataclass(frozen=True)
class Answer:
    """
    What a client got.

    :ivar headers: by their names in lower case.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def ticket(self) -> str:
        return self.headers["x-ticket"]

    @property
    def fence(self) -> int:
        return int(self.headers["x-fence"])

    @property
    def code(self) -> str:
        """The word of an error, which must be one: a sentence and a word, and nothing else."""
        body = self.json
        assert sorted(body) == ["code", "error"], body
        assert all(isinstance(text, str) and text for text in body.values()), body
        return str(body["code"])


class Connection(http.client.HTTPConnection):
    """A connection over TCP or a Unix socket, which sends a request at once and fetches the answer when asked to."""

    def __init__(self, port: int, path: str = "", timeout: float = PATIENCE) -> None:
        super().__init__("127.0.0.1", port, timeout=timeout)
        self._path = path

    def connect(self) -> None:
        if self._path:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            try:
                self.sock.connect(self._path)
            except OSError:
                self.close()
                raise
        else:
            super().connect()

    def ask(
        self,
        method: str,
        target: str,
        *,
        key: str = WRITE,
        ticket: str = "",
        body: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Self:
        """Send a request; ``answer`` then waits for what comes back."""
        sent = {"x-api-key": key} if key else {}
        if ticket:
            sent["x-ticket"] = ticket
        data = body.encode() if isinstance(body, str) else body
        self.request(method, target, data, {**sent, **(headers or {})})
        return self

    def answer(self) -> Answer:
        response = self.getresponse()
        body = response.read()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)

    @property
    def answered(self) -> bool:
        """Whether anything has come back yet."""
        return bool(select.select([self.sock], [], [], 0)[0])


@dataclass
class Daemon:
    """
    A daemon, which is always on the same port and, by its folder or its settings, always on the same store.

    As a context manager it is started, and killed in the end; if that comes by an exception, its log is shown.

    :ivar folder: its working directory; its log is in it too.
    :ivar environ: variables of its environment, beside the three keys.
    :ivar arguments: more options.
    :ivar command: what is run.
    :ivar listen: where it listens, if not on ``port``.
    """

    folder: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    command: tuple[str, ...] = RESOURCED
    listen: str = ""
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: object, *exception: object) -> None:
        self.kill()
        if kind is not None:
            sys.stderr.write(self.log)

    # -- The process

    @property
    def pid(self) -> int:
        if self.process is None:
            raise RuntimeError("the daemon is not running")
        return self.process.pid

    @property
    def log_file(self) -> Path:
        return self.folder / "daemon.log"

    @property
    def log(self) -> str:
        """Everything that all its lives have printed."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    @property
    def environment(self) -> dict[str, str]:
        """All variables that it has; of those of this process only what any program needs."""
        base = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        listen = self.listen or f"tcp:{self.port}:interface=127.0.0.1"
        path = {"RESOURCED_REFERENCE_PATH": str(int(STOCK))}
        return {**base, **KEYS, **LASTING, "RESOURCED_LISTEN": listen, **path, **self.environ}

    def launch(self) -> Self:
        """Start it, and do not wait for it."""
        if self.process is not None and self.process.poll() is None:
            raise RuntimeError("the daemon is running already")
        with self.log_file.open("ab") as log:
            self.process = preloaded.start(
                [*self.command, *self.arguments],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self

    def start(self, timeout: float = PATIENCE) -> Self:
        """Start it, and return when it answers that it can do its work."""
        self.launch()
        try:
            eventually(self._serves, timeout, "the daemon answers")
        except BaseException:
            self.kill()
            sys.stderr.write(self.log)
            raise
        return self

    def _serves(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"the daemon ended with status {self.process.returncode}:\n{self.log[-3000:]}")
        return self.healthy()

    def healthy(self, timeout: float = PATIENCE) -> bool:
        """Whether it answers that it can do its work."""
        try:
            return self.get("/health", key="", timeout=timeout).status == 200
        except (OSError, http.client.HTTPException):
            return False

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait until it has ended by itself; return its exit status, which for a signal is minus its number."""
        assert self.process is not None
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the daemon has not ended after {timeout:g} seconds:\n{self.log[-3000:]}") from None

    def fails(self, timeout: float = PATIENCE) -> str:
        """Start it, which must fail; return what it printed."""
        status = self.launch().wait(timeout)
        assert status == 1, f"status {status}:\n{self.log}"
        return self.log

    def terminate(self, timeout: float = PATIENCE) -> int:
        """Ask it to end, and wait for that; return its exit status."""
        os.kill(self.pid, signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> None:
        """End it as a power cut would."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()

    def freeze(self) -> None:
        """Let it do nothing any more."""
        freeze(self.pid)

    def thaw(self) -> None:
        """Let it go on where it was."""
        thaw(self.pid)

    # -- Its clients

    def connect(self, timeout: float = PATIENCE) -> Connection:
        """Make a connection that is used for several requests."""
        kind, _, path = self.listen.partition(":")
        return Connection(self.port, path if kind == "unix" else "", timeout)

    def ask(self, method: str, target: str, *, timeout: float = PATIENCE, **parts: Any) -> Connection:
        """Send a request on a connection of its own, without waiting for the answer."""
        headers = {"connection": "close", **(parts.pop("headers", None) or {})}
        connection = self.connect(timeout)
        try:
            return connection.ask(method, target, headers=headers, **parts)
        except BaseException:
            connection.close()
            raise

    def request(self, method: str, target: str, **parts: Any) -> Answer:
        """Send a request on a connection of its own, and return the answer."""
        connection = self.ask(method, target, **parts)
        with closing(connection):
            return connection.answer()

    def get(self, target: str, **parts: Any) -> Answer:
        return self.request("GET", target, **parts)

    def put(self, target: str, body: str | bytes, **parts: Any) -> Answer:
        return self.request("PUT", target, body=body, **parts)

    def post(self, target: str, body: str | bytes | None = None, **parts: Any) -> Answer:
        return self.request("POST", target, body=body, **parts)

    def create(self, name: str, timeout: int = 0) -> Answer:
        """Create a resource, which must succeed."""
        answer = self.post("/resource", json.dumps({"name": name, "timeout": timeout}))
        assert answer.status == 201, answer
        return answer
