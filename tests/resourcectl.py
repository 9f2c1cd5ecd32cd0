"""``resourcectl`` as a process, against a daemon."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import preloaded
from tests.daemon import PATIENCE, WRITE, Daemon

RESOURCECTL = str(Path(sys.executable).with_name("resourcectl"))


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
