"""What a service manager learns from the daemon, by a socket of the test's own; and sockets that it hands over."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from resourced.service.systemd import ServiceManager
from tests.daemon import PATIENCE, TWISTD, Daemon, eventually
from tests.mariadb import MariaDB
from tests.preloaded import RESOURCED
from tests.systemd import Listener


@pytest.fixture
def manager() -> Iterator[Listener]:
    # A socket's path may have 107 characters: so not where pytest keeps its files.
    with tempfile.TemporaryDirectory(prefix="sd-") as folder, closing(Listener(f"{folder}/notify")) as listener:
        yield listener


@pytest.mark.parametrize("command", [RESOURCED, TWISTD])
def test_ready_and_stopping(tmp_path, manager, command):
    """The manager hears READY when requests are answered, not before; then signs of life; and STOPPING at the end."""
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "200000"}
    daemon = Daemon(tmp_path, environ, command=command)
    try:
        daemon.launch()
        manager.hears("READY=1")
        assert daemon.healthy()
        assert "STATUS=Serving" in manager.heard
        eventually(lambda: manager.listen().count("WATCHDOG=1") >= 5, what="signs of life")
        assert daemon.terminate() == -signal.SIGTERM
        assert manager.listen().index("STOPPING=1") > manager.heard.index("READY=1")
    finally:
        daemon.kill()


def test_frozen_daemon_gives_no_sign_of_life(tmp_path, manager):
    """A daemon that does nothing any more says nothing either, so that systemd can start it anew."""
    with Daemon(tmp_path, {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "200000"}) as daemon:
        manager.hears("WATCHDOG=1")
        daemon.freeze()
        manager.listen().clear()
        # Five times as long as a sign of life takes.
        with pytest.raises(AssertionError):
            eventually(manager.listen, 0.5)
        daemon.thaw()
        manager.hears("WATCHDOG=1")


def test_no_watchdog_for_another_process(tmp_path, manager):
    """A watchdog that was meant for another process is left alone."""
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
    with Daemon(tmp_path, environ) as daemon:
        manager.hears("READY=1")
        assert daemon.terminate() == -signal.SIGTERM
        assert "WATCHDOG=1" not in manager.listen()


def test_failed_start_is_never_ready(tmp_path, manager):
    """A daemon that cannot start does not say that it has."""
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        Daemon(tmp_path, {"NOTIFY_SOCKET": manager.address}, port=other.getsockname()[1]).fails()
    assert "READY=1" not in manager.listen()


def test_standby_has_a_status_of_its_own(tmp_path, manager):
    """A standby daemon is ready, as its port is open, and says that it stands by; when it takes over it says so too."""
    store = {"RESOURCED_STORE": f"sqlite:{tmp_path}/both.sqlite", "RESOURCED_STANDBY": "1"}
    (tmp_path / "second").mkdir()
    with Daemon(tmp_path, store) as first:
        second = Daemon(tmp_path / "second", {**store, "NOTIFY_SOCKET": manager.address})
        try:
            second.launch()
            manager.hears("READY=1")
            assert "STATUS=Standing by: Another daemon serves this store; waiting for its end." in manager.heard
            assert second.get("/health", key="").json == {"health": "standby"}
            assert first.terminate() == -signal.SIGTERM
            manager.hears("STATUS=Serving")
            assert second.healthy()
        finally:
            second.kill()


def test_status_tells_of_the_store(tmp_path, manager):
    """While the database is away the status says so, and when it is back it says that too."""
    with MariaDB() as server:
        environ = {"MYSQL_PORT": str(server.port), "NOTIFY_SOCKET": manager.address, "RESOURCED_STORE_TIMEOUT": "1"}
        with Daemon(tmp_path, environ):
            manager.hears("STATUS=Serving")
            server.kill()
            manager.hears("STATUS=Serving, but: The database cannot be reached.")
            manager.heard.clear()
            server.start()
            manager.hears("STATUS=Serving")


def test_status_while_it_waits_for_the_store(tmp_path, manager):
    """A daemon that waits for its database is not ready, and its status says what it waits for."""
    with closing(socket.socket()) as nobody:
        nobody.bind(("127.0.0.1", 0))
        environ = {"MYSQL_PORT": str(nobody.getsockname()[1]), "NOTIFY_SOCKET": manager.address}
        daemon = Daemon(tmp_path, environ, ("--store-wait",))
        try:
            daemon.launch()
            eventually(lambda: any(word.endswith("Waiting for it.") for word in manager.listen()), what="a status")
            assert "READY=1" not in manager.heard
        finally:
            daemon.kill()


def test_manager_that_is_gone(tmp_path):
    """A manager that does not listen keeps nobody from anything."""
    with Daemon(tmp_path, {"NOTIFY_SOCKET": f"{tmp_path}/gone", "WATCHDOG_USEC": "1000"}) as daemon:
        daemon.create("printer")
        assert daemon.terminate() == -signal.SIGTERM
        assert "Traceback" not in daemon.log


# systemd hands its sockets over from the third descriptor on, to the process that it names.
HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "resourced.socket"}
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize("where", ["index=0", "name=resourced.socket"])
def test_socket_activation(tmp_path, where):
    """It serves a socket that systemd has opened, and clients that came before it was started are served as well."""
    with closing(socket.create_server(("127.0.0.1", 0))) as opened:
        port = opened.getsockname()[1]
        daemon = Daemon(tmp_path, listen=f"systemd:domain=INET:{where}", port=port)
        with closing(daemon.connect()) as early:
            early.ask("GET", "/health")
            process = subprocess.Popen(
                [sys.executable, "-c", HAND_OVER, str(opened.fileno()), *RESOURCED],
                cwd=tmp_path,
                env=daemon.environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[opened.fileno()],
            )
            try:
                assert early.answer().json == {"health": "ok"}
                daemon.create("printer")
                process.terminate()
                assert process.wait(PATIENCE) == -signal.SIGTERM
            finally:
                process.kill()
                process.wait()


def test_tls(tmp_path):
    """With an ssl endpoint the daemon speaks TLS itself, 1.2 and newer, and stops in order there too."""
    key, certificate = self_signed(tmp_path)
    listen = f"ssl:0:privateKey={key}:certKey={certificate}:interface=127.0.0.1"
    daemon = Daemon(tmp_path, listen=listen)
    try:
        daemon.launch()
        eventually(lambda: "Listening on 127.0.0.1:" in daemon.log, what="it listens")
        port = daemon.log.split("Listening on 127.0.0.1:")[1].split(".")[0]
        asked = [sys.executable, "-c", ASK, port, str(certificate)]
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
        assert answer.splitlines() == ["TLSv1.3", '{"health": "ok"}', "TLSv1.2", '{"health": "ok"}', "refused"]
        assert daemon.terminate() == -signal.SIGTERM
        assert "Traceback" not in daemon.log
    finally:
        daemon.kill()


ASK = """
import http.client, ssl, sys, warnings
for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_1):
    context = ssl.create_default_context(cafile=sys.argv[2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = version
    connection = http.client.HTTPSConnection("127.0.0.1", int(sys.argv[1]), context=context, timeout=10)
    try:
        connection.request("GET", "/health")
        print(connection.sock.version())
        print(connection.getresponse().read().decode())
    except ssl.SSLError:
        print("refused")
"""


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Make a key and a certificate for 127.0.0.1."""
    from datetime import UTC, datetime, timedelta
    from ipaddress import IPv4Address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "resourced")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(private, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    key = private.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key)
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    return folder / "key.pem", folder / "cert.pem"


def test_abstract_address():
    """The manager's socket may have an abstract name."""
    with closing(Listener(f"@resourced-{os.getpid()}")) as listener:
        clock = Clock()
        manager = ServiceManager.of(
            clock, {"NOTIFY_SOCKET": listener.address, "WATCHDOG_USEC": "10000000"}, os.getpid()
        )
        manager.ready("Well")
        assert listener.listen() == ["READY=1", "STATUS=Well", "WATCHDOG=1"]
        clock.advance(4.9)
        assert len(listener.listen()) == 3
        clock.advance(0.2)
        assert listener.listen()[3:] == ["WATCHDOG=1"]
        manager.gone()
        clock.advance(100)
        assert len(listener.listen()) == 4


def test_no_manager():
    """Without a manager there is nobody to tell."""
    clock = Clock()
    manager = ServiceManager.of(clock, {"WATCHDOG_USEC": "1000000"}, 1)
    manager.ready("Well")
    manager.stopping()
    manager.gone()
    assert clock.getDelayedCalls() == []
