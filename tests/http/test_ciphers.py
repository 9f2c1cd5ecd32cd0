"""A daemon that listens with TLS: whom it speaks to, and that it keeps as little there as elsewhere."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.attack.measure import KEY
from tests.daemon import Daemon, eventually
from tests.ports import free_port


class TLSDaemon(Daemon):
    """A daemon whose clients are those of this module."""

    def healthy(self, timeout: float = 20) -> bool:
        try:
            return b" 200 " in ask(self, client())
        except OSError:
            return False


def certify(folder: Path) -> None:
    """Make an RSA key, with which ciphers without forward secrecy would be possible, and a certificate for it."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    today = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, today - timedelta(1), today + timedelta(1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    (folder / "cert.pem").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(*pem))


def client(ciphers: str = "", version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> ssl.SSLContext:
    """Make the context of a client that believes anybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    if ciphers:
        context.set_ciphers(ciphers)
    return context


def ask(daemon: Daemon, context: ssl.SSLContext, name: str | None = None) -> bytes:
    with (
        socket.create_connection(("127.0.0.1", daemon.port), 20) as plain,
        context.wrap_socket(plain, server_hostname=name) as encrypted,
    ):
        encrypted.sendall(b"GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := encrypted.recv(4096):
            answer += data
        return answer


@pytest.fixture(scope="module", params=["ssl", "tls"])
def daemon(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder: Path = tmp_path_factory.mktemp("tls")
    certify(folder)
    port = free_port()
    listen = {
        "ssl": f"ssl:{port}:interface=127.0.0.1:privateKey=key.pem:certKey=cert.pem",
        "tls": f"tls:.:{port}:interface=127.0.0.1",
    }[request.param]
    with TLSDaemon(folder, listen=listen, port=port) as running:
        yield running


def test_ciphers(daemon: Daemon) -> None:
    """With forward secrecy only, whichever version it is."""
    assert b" 200 " in ask(daemon, client())
    assert b" 200 " in ask(daemon, client("ECDHE+AESGCM"))
    assert b" 200 " in ask(daemon, client(version=ssl.TLSVersion.TLSv1_3))
    for ciphers in ("RSA+AESGCM:!ECDHE:!DHE", "AES128-GCM-SHA256", "AES256-SHA", "ECDHE-RSA-AES128-SHA"):
        with pytest.raises(ssl.SSLError):
            ask(daemon, client(ciphers))
        # An endpoint may have another certificate for a name.
        with pytest.raises(ssl.SSLError):
            ask(daemon, client(ciphers), "localhost")


def test_unread_answers(daemon: Daemon) -> None:
    """A client that does not read is answered no further, and goes on where it stopped."""
    with (
        socket.create_connection(("127.0.0.1", daemon.port), 20) as plain,
        client().wrap_socket(plain) as encrypted,
    ):
        encrypted.sendall((b"GET /openapi.json HTTP/1.1\r\nHost: h\r\n\r\n") * 300)
        encrypted.sendall(b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n" + KEY + b"\r\n")
        eventually(lambda: "/openapi.json" in daemon.log, what="an answer")
        for _ in range(10):
            ask(daemon, client())
        answered = daemon.log.count("GET /openapi.json 200")
        assert answered < 300
        answer = bytearray()
        while data := encrypted.recv(1 << 16):
            answer += data
    assert answer.count(b"HTTP/1.1 200 OK") == 301
    assert b"resourced_buffered_bytes" in answer
