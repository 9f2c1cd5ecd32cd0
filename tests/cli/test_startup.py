"""What ``resourcectl`` imports, which is most of the time that it takes to begin."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping

import pytest

from resourced.cli.status import Status

#: As the installed program does it, and then tells what was imported.
PROGRAM = """
import atexit, json, os, sys
atexit.register(lambda: os.write(2, json.dumps(sorted(sys.modules)).encode()))
from resourced.cli.start import main
main()
"""

#: What takes its time, and what only a command needs that asks a server for something.
HEAVY = {"twisted", "zope", "attr", "cryptography", "OpenSSL", "treq", "asyncio", "ssl"}


def imported(*arguments: str, environ: Mapping[str, str] | None = None, status: int = 0) -> set[str]:
    """Return all modules that were imported by the end of a command, which ends with a status, and says something."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, env={**os.environ, **(environ or {})}, capture_output=True, check=False, timeout=60)
    *said, modules = done.stderr.splitlines()
    assert (done.returncode, bool(done.stdout or said)) == (status, True), done
    return set(json.loads(modules))


@pytest.mark.parametrize("arguments", ["--help", "--version", "run --help", "locks --help", "completion bash"])
def test_no_reactor(arguments):
    """What only says something needs neither Twisted nor anything else that takes long to import."""
    modules = imported(*arguments.split())
    assert not {name.partition(".")[0] for name in modules} & HEAVY
    assert len(modules) < 220


def test_no_reactor_to_complete():
    """Nor does completion, though it may ask a server."""
    completing = {"_RESOURCECTL_COMPLETE": "bash_complete", "COMP_WORDS": "resourcectl sh", "COMP_CWORD": "1"}
    modules = imported(environ=completing)
    assert not {name.partition(".")[0] for name in modules} & HEAVY
    assert len(modules) < 260


@pytest.mark.parametrize(
    "arguments", ["ls", "locks", "show printer", "create printer --timeout 5", "out printer/A broken"]
)
def test_no_reactor_to_ask(arguments):
    """Nor does what asks a server and holds nothing; with such a server it ends at the first answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_refuse, args=(server,), daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        modules = imported(
            *arguments.split(), status=Status.REFUSED, environ={"RESOURCED_URL": url, "RESOURCED_KEY": "key"}
        )
        thread.join(60)
    assert not {name.partition(".")[0] for name in modules} & (HEAVY - {"ssl"})
    assert len(modules) < 300


def _refuse(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        body = b'{"error": "No.", "code": "unauthorized"}'
        connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
