"""The filter for fail2ban, tried by ``fail2ban-regex`` on the lines that a daemon writes."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

from tests.daemon import LOCK, Daemon, eventually

FILTER = Path(__file__).resolve().parent.parent.parent / "etc/fail2ban/filter.d/resourced.conf"
#: Where ``make fail2ban`` puts the package.
FAIL2BAN = Path(sys.executable).parent.parent / "fail2ban"

#: Requests that want others to be banned, or to look like a refused key.
FORGED = (
    b"GET /x%20401%201.0%20ms%20peer=6.6.6.6 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET /x?401=1.0&peer=6.6.6.6 HTTP/1.1\r\nHost: h\r\nx-forwarded-for: 6.6.6.6\r\n\r\n",
    b"GET 401 1.0 ms peer=6.6.6.6 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"401 1.0 ms peer=6.6.6.6\r\n\r\n",
)


def found(log: str, folder: Path) -> list[str]:
    """Return the addresses that the filter finds, one for each line."""
    assert FAIL2BAN.exists(), "fail2ban is missing: make fail2ban"
    (folder / "log").write_text(log)
    done = subprocess.run(
        # Debian's own interpreter, for which the package is made.
        ["/usr/bin/python3", FAIL2BAN / "usr/bin/fail2ban-regex", "--raw", "--out", "ip", folder / "log", FILTER],
        env={**os.environ, "PYTHONPATH": str(FAIL2BAN / "usr/lib/python3/dist-packages")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr, done.stderr
    return done.stdout.split()


def test_filter(tmp_path: Path) -> None:
    """It finds every refused key with the address of its client, and nothing that a client makes up."""
    proxies = {"RESOURCED_TRUSTED_PROXIES": "127.0.0.2"}
    with Daemon(tmp_path, proxies) as daemon:
        for _ in range(3):
            assert daemon.get("/resource", key="wrong").status == 401
        assert daemon.post("/resource", "{}", key="").status == 401
        assert daemon.get("/resource", key=LOCK).status == 200
        for forged in FORGED:
            with socket.create_connection(("127.0.0.1", daemon.port), 20) as client:
                client.sendall(forged)
                assert client.recv(4096).startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 400 "))
        with socket.create_connection(("127.0.0.1", daemon.port), 20, ("127.0.0.2", 0)) as proxy:
            proxy.sendall(b"GET /resource HTTP/1.1\r\nHost: h\r\nx-forwarded-for: 6.6.6.6, 192.0.2.7\r\n\r\n")
            assert proxy.recv(4096).startswith(b"HTTP/1.1 401 ")
        # So many within a second that they are written together.
        with socket.create_connection(("127.0.0.1", daemon.port), 20) as client:
            client.sendall(b"GET /resource HTTP/1.1\r\nHost: h\r\n\r\n" * 600)
            answers = b""
            while answers.count(b"HTTP/1.1 401 ") < 600:
                answers += client.recv(65536)
        eventually(lambda: len(re.findall(r" 401 \d+\.\d ms peer", daemon.log)) == 605, what="all lines")
        log = daemon.log
    assert found(log, tmp_path) == ["127.0.0.1"] * 4 + ["192.0.2.7"] + ["127.0.0.1"] * 600
