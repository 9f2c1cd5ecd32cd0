"""``resourcectl`` as a process, against a daemon that a module of tests has for itself, with the fixtures for that."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import preloaded
from tests.daemon import PATIENCE, WRITE, Daemon, eventually

_numbers = itertools.count(1)

[RESOURCECTL] = preloaded.RESOURCECTL


@dataclass(frozen=True)
class Outcome:
    """
    What a command came to.

    :ivar status: minus its number for a signal.
    """

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.out.count("\n") == 1, self
        return json.loads(self.out)


class Running:
    """A command that was started, with its standard streams in pipes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout: float = PATIENCE, stdin: bytes | None = None) -> Outcome:
        try:
            out, err = self._process.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            out, err = self._process.communicate()
            raise AssertionError(f"still running after {timeout:g} seconds: {out!r} {err!r}") from None
        return Outcome(self._process.returncode, (out or b"").decode(), (err or b"").decode())

    @property
    def running(self) -> bool:
        return self._process.poll() is None


def handles(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler of its own for a signal, by now."""
    status = Path(f"/proc/{pid}/status").read_text()
    [caught] = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")]
    return bool(int(caught, 16) >> (number - 1) & 1)


class Ctl:
    """
    ``resourcectl``, called with the URL and the key of a daemon.

    :ivar environ: all variables that it has.
    """

    def __init__(self, daemon: Daemon, folder: Path, key: str = WRITE) -> None:
        self.folder = folder
        self.environ = {
            "PATH": f"{Path(RESOURCECTL).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "RESOURCED_URL": f"http://127.0.0.1:{daemon.port}",
            "RESOURCED_KEY": key,
            "RESOURCED_OWNER": "tester",
        }

    def start(self, *arguments: str, environ: Mapping[str, str] | None = None, **more: Any) -> Running:
        return self.popen(RESOURCECTL, *arguments, environ=environ, **more)

    def popen(self, *command: str, environ: Mapping[str, str] | None = None, **more: Any) -> Running:
        """Start any program with the same variables."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        settings: dict[str, Any] = {**streams, "cwd": self.folder, "env": {**self.environ, **(environ or {})}, **more}
        return Running(preloaded.start(command, **settings))

    def __call__(self, *arguments: str, timeout: float = PATIENCE, **more: Any) -> Outcome:
        return self.start(*arguments, **more).wait(timeout)

    def shell(self, script: str, **more: Any) -> Outcome:
        """Run a script of a shell that calls it."""
        return self.popen("sh", "-euc", script, **more).wait()

    def ok(self, *arguments: str, **more: Any) -> str:
        """Call it, which must succeed and say nothing on stderr; return what it printed."""
        outcome = self(*arguments, **more)
        assert (outcome.status, outcome.err) == (0, ""), outcome
        return outcome.out


@pytest.fixture(scope="module", name="daemon")
def daemon_fixture(tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("daemon")) as daemon:
        yield daemon


@pytest.fixture(name="ctl")
def ctl_fixture(daemon, tmp_path):
    return Ctl(daemon, tmp_path)


@pytest.fixture(name="name")
def name_fixture(daemon):
    """A resource that nobody has used yet."""
    name = f"printer{next(_numbers)}"
    daemon.create(name, 300)
    return name


@pytest.fixture(name="brief")
def brief_fixture(daemon):
    """The same, but its locks last for no more than 3 seconds: for what is to become of one that is not renewed."""
    name = f"brief{next(_numbers)}"
    daemon.create(name, 3)
    return name


@pytest.fixture(name="renewed")
def renewed_fixture(daemon):
    """The same, but its locks are renewed every 3 seconds: for who is to find out soon that one was broken, and on any machine not before."""
    name = f"renewed{next(_numbers)}"
    daemon.create(name, 9)
    return name


def ahead(daemon: Daemon, place: str) -> int:
    """Count those who hold a lock or wait for it."""
    state = daemon.get(f"/resource/{place}/lock").json
    return int(state["locked"]) + int(state["waiting"])


def written(path: Path) -> str:
    """Wait until a whole line is in a file, and return the text."""
    eventually(lambda: path.exists() and path.read_text().endswith("\n"), what=str(path))
    return path.read_text()


def unlock(daemon: Daemon, place: str, ticket: str) -> None:
    assert daemon.post(f"/resource/{place}/unlock", ticket=ticket).json == {"unlocked": True}
