"""The files for proxies, each in a real one before two real daemons, of which one serves and one stands by."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.daemon import PATIENCE, Answer, Connection, Daemon, eventually
from tests.documents import read_blocks
from tests.ports import free_port

ETC = Path(__file__).parent.parent.parent / "etc"
#: How many requests come at once to a daemon that does not serve.
MANY = 36


def program(name: str) -> str:
    """Return where a proxy is: in the path of root, or beside the interpreter."""
    beside = Path(sys.executable).parent
    found = shutil.which(name, path=f"{beside}:/usr/sbin:/usr/local/sbin:/usr/bin")
    assert found is not None, f"{name} is missing: make proxies"
    return found


def nginx(folder: Path, port: int, first: int, second: int, spoil: Callable[[str], str]) -> list[str]:
    """Write what nginx is told, without TLS, and return how it is started."""
    text = (ETC / "nginx.conf").read_text()
    text = text.replace("server 127.0.0.1:9501", f"server 127.0.0.1:{first}")
    text = text.replace("# server 10.0.0.2:9501", f"server 127.0.0.1:{second}")
    text = re.sub(r" *listen \[::\].*\n| *ssl_.*\n", "", text).replace(
        "listen 443 ssl http2", f"listen 127.0.0.1:{port}"
    )
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/log; events {{}}\n"
        f"http {{ access_log off; {paths}\n{spoil(text)}}}\n"
    )
    return [program("nginx"), "-p", str(folder), "-e", str(folder / "log"), "-c", str(folder / "nginx.conf")]


def haproxy(folder: Path, port: int, first: int, second: int, spoil: Callable[[str], str]) -> list[str]:
    """Write what HAProxy is told, without TLS, and return how it is started."""
    text = (ETC / "haproxy.cfg").read_text()
    text = text.replace("10.0.0.1:9501", f"127.0.0.1:{first}").replace("10.0.0.2:9501", f"127.0.0.1:{second}")
    text = re.sub(r"bind :443 .*", f"bind 127.0.0.1:{port}", text)
    (folder / "haproxy.cfg").write_text(spoil(text))
    return [program("haproxy"), "-db", "-f", str(folder / "haproxy.cfg")]


#: How each is started, and how its file is spoiled so that POST is not sent on.
PROXIES = {
    "nginx": (nginx, lambda text: text.replace(" non_idempotent;", ";")),
    "haproxy": (haproxy, lambda text: re.sub(r"retry-on .*", "retry-on none", text)),
}


@contextmanager
def running(command: list[str], port: int, folder: Path) -> Iterator[None]:
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        eventually(lambda: _listens(port) or process.poll() is not None)
        assert process.poll() is None, (folder / "output").read_text()
        yield
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@pytest.mark.parametrize("name", PROXIES)
def test_client_is_known(tmp_path, name):
    """A daemon that trusts the proxy logs the client's address, whatever the client says it is; without the file's lines, what it says."""
    make, _ = PROXIES[name]
    ports = (free_port(), free_port())
    folders = [tmp_path / part for part in ("daemon", "proxy", "spoiled")]
    for folder in folders:
        folder.mkdir()

    def spoil(text: str) -> str:
        return re.sub(r".*Forwarded.*\n", "", text)

    with Daemon(folders[0], {"RESOURCED_TRUSTED_PROXIES": "127.0.0.1"}) as daemon:

        def peer(port: int, headers: str) -> str:
            """Be refused as a client at an address of its own; return the one that is in the log."""
            before = len(daemon.log)
            with socket.create_connection(("127.0.0.1", port), 20, ("127.0.0.7", 0)) as client:
                client.sendall(f"GET /resource HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n".encode())
                assert client.makefile("rb").readline().split()[1] == b"401"
            eventually(lambda: " peer=" in daemon.log[before:], what="a line about it")
            return daemon.log[before:].rsplit(" peer=")[1].split()[0]

        second = free_port()
        with (
            running(make(folders[1], ports[0], daemon.port, second, lambda text: text), ports[0], folders[1]),
            running(make(folders[2], ports[1], daemon.port, second, spoil), ports[1], folders[2]),
        ):
            forged = (
                "",
                "X-Forwarded-For: 9.9.9.9\r\n",
                "Forwarded: for=9.9.9.9\r\n",
                "X-Forwarded-For: 127.0.0.1\r\n",
            )
            assert [peer(ports[0], headers) for headers in (*forged, "".join(forged))] == ["127.0.0.7"] * 5
            assert [peer(ports[1], headers) for headers in forged[:3]] == ["127.0.0.1", "9.9.9.9", "9.9.9.9"]


@pytest.mark.parametrize("name", PROXIES)
def test_post_goes_on(tmp_path, name):
    """After each fail-over every POST goes to the daemon that serves, at once, and is done once; and not so without what the file has for that."""
    make, spoil = PROXIES[name]
    port, spoiled = free_port(), free_port()
    folders = [tmp_path / part for part in ("one", "two", "proxy", "spoiled")]
    for folder in folders:
        folder.mkdir()
    store = {"RESOURCED_STORE": f"sqlite:{tmp_path}/store", "RESOURCED_STANDBY": "1"}
    daemons = [Daemon(folder, store) for folder in folders[:2]]
    first, second = daemons
    made = 0

    def post(target: str, body: str | None = None, at: int = port) -> Answer:
        connection = Connection(at)
        try:
            return connection.ask("POST", target, body=body).answer()
        finally:
            connection.close()

    def many(at: int = port) -> list[int]:
        """Lock as many selectors as never before, each by one POST; return the statuses."""
        nonlocal made
        made += MANY
        return [post(f"/resource/printer/{number}/lock", at=at).status for number in range(made - MANY, made)]

    try:
        first.start()
        second.launch()
        eventually(lambda: _listens(second.port))
        ports = (first.port, second.port)
        with (
            running(make(folders[2], port, *ports, lambda text: text), port, folders[2]),
            running(make(folders[3], spoiled, *ports, spoil), spoiled, folders[3]),
        ):
            body = '{"name": "printer", "timeout": 300}'
            assert post("/resource", body).status == 201
            assert many() == [200] * MANY

            first.kill()
            eventually(lambda: second.get("/health").status == 200)
            assert many() == [200] * MANY
            assert post("/resource", body.replace("printer", "scanner")).status == 201

            first.launch()
            eventually(lambda: _listens(first.port))
            assert first.get("/health").json == {"health": "standby"}
            assert many() == [200] * MANY
            # What stands by is asked first, and nobody after it.
            assert many(at=spoiled) == [503] * MANY
            made -= MANY

            second.terminate()
            eventually(lambda: first.get("/health").status == 200)
            assert many() == [200] * MANY
            assert first.get("/resource/printer?limit=1000").json["held"] == made
            assert first.get("/resource/printer").json["waiting"] == 0
    finally:
        for daemon in daemons:
            daemon.kill()


def test_haproxy_before_nodes(tmp_path: Path) -> None:
    """HAProxy takes the configuration on the page on Galera as it stands there, and warns of nothing."""
    page = ETC.parent / "docs" / "how-to" / "galera.rst"
    [config] = [block for block in read_blocks(page.read_text(), page.name) if block.caption == "haproxy.cfg"]
    (tmp_path / config.caption).write_text(f"{config.text}\n")
    check = [program("haproxy"), "-c", "-f", str(tmp_path / config.caption)]
    done = subprocess.run(check, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, "WARNING" in done.stderr) == (0, False), done.stderr
