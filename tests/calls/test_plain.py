"""Calls without a reactor, against servers that answer in any manner, and what they are told of it."""

from __future__ import annotations

import os
import re
import socket
import ssl
import threading
from contextlib import contextmanager

import pytest

from resourced.calls import plain
from resourced.calls.answers import Away, Request
from resourced.calls.errors import Conflict, Refused, Rejected, Unreachable
from resourced.calls.plain import PlainClient, PlainWire, run
from tests.certificates import Authority

GET = Request("GET", "/resource", {}, None, 30)
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


def answer(body: bytes, head: bytes = OK) -> bytes:
    return head % (len(body), body)


@contextmanager
def server(*answers: bytes | None, host: str = "127.0.0.1", context: ssl.SSLContext | None = None):
    """Answer one connection after the other; None keeps it open and says nothing. Yields the URL and what was received."""
    received: list[bytes] = []
    kept: list[socket.socket] = []
    listening = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)

    def serve() -> None:
        for text in answers:
            connection, _ = listening.accept()
            kept.append(connection)
            if context is not None:
                try:
                    connection = context.wrap_socket(connection, server_side=True)
                    kept[-1] = connection
                except OSError:
                    continue
            received.append(_request(connection))
            if text is not None:
                connection.sendall(text)
                connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    place = f"[{host}]" if ":" in host else host
    try:
        yield f"http{'s' if context else ''}://{place}:{listening.getsockname()[1]}", received
        thread.join(60)
    finally:
        listening.close()
        for connection in kept:
            connection.close()


def _request(connection: socket.socket) -> bytes:
    """Read a whole request, which may come in pieces."""
    text = b""
    while True:
        head, end, body = text.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head.lower())
        if end and len(body) >= (int(length[1]) if length else 0):
            return text
        text += connection.recv(65536) or pytest.fail("the request was cut short")


def exchange(url: str, request: Request = GET):
    return run(PlainWire({"x-api-key": "key"}).exchange(url, request))


def away(url: str, request: Request = GET) -> Away:
    with pytest.raises(Away) as caught:
        exchange(url, request)
    return caught.value


def test_exchange():
    """A request has all its headers, and an answer the first of each, by small letters."""
    text = answer(b'{"a": 1}', b"HTTP/1.1 200 OK\r\nX-Ticket: one\r\nX-Ticket: two\r\nContent-Length: %d\r\n\r\n%s")
    with server(text) as (url, received):
        found = exchange(f"{url}/below", Request("POST", "/lock", {"prefer": "wait=1"}, b"{}", 30))
    assert (found.status, found.fields, found.header("x-ticket")) == (200, {"a": 1}, "one")
    head, _, body = received[0].partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert lines[0] == b"post /below/lock http/1.1"
    for line in (b"x-api-key: key", b"prefer: wait=1", b"content-type: application/json", b"content-length: 2"):
        assert line in lines
    assert [line for line in lines if line.startswith(b"host:")] == [f"host: {url[7:]}".encode()]
    assert body == b"{}"


def test_address_in_brackets():
    """An IPv6 address stands in brackets, also in the header."""
    with server(answer(b"{}"), host="::1") as (url, received):
        assert exchange(url).fields == {}
    assert f"host: {url[7:]}\r\n".encode() in received[0].lower()


def test_nobody_listens():
    """What could not be sent was certainly not done."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        found = away(url)
    assert (found.sentence, found.unclear) == (f"{url}: Connection refused.", False)
    assert not away("http://nowhere.invalid:1").unclear


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "closed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}", "cut short"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", "cut short"),
        (b"SSH-2.0-OpenSSH\r\n", "SSH"),
    ],
)
def test_no_answer(text, sentence):
    """An answer that is none, or only a part of one, leaves open what was done."""
    with server(text) as (url, _):
        found = away(url)
    assert sentence in found.sentence
    assert found.unclear


class Patient(threading.Thread):
    """A thread that is waited for until it ends."""

    def join(self, timeout: float | None = None) -> None:
        super().join()


@pytest.mark.parametrize("kind", [threading.Thread, Patient])
def test_silence(kind, monkeypatch):
    """A server that says nothing is waited for as long as was said, and no longer, by whichever clock."""
    monkeypatch.setattr(plain, "Thread", kind)
    with server(None) as (url, _):
        found = away(url, Request("GET", "/", {}, None, 0.2))
    assert (found.sentence, found.unclear) == (f"{url}: No answer within 0.2 seconds.", True)


def test_drop_by_drop():
    """So is one that sends byte after byte."""
    goes_on = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while not goes_on.wait(0.02):
                    try:
                        connection.sendall(b"x: y\r\n")
                    except OSError:
                        return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        assert "No answer within" in away(url, Request("GET", "/", {}, None, 0.3)).sentence
        goes_on.set()
        thread.join(60)


def test_too_large(monkeypatch):
    """No answer takes more memory than was said."""
    monkeypatch.setattr(plain, "LARGEST_ANSWER", 10)
    with server(answer(b"1234567890"), answer(b'"123456789"')) as (url, _):
        assert "not as resourced does" in away(url).sentence
        assert "more than 10 bytes" in away(url).sentence


def test_certificates(tmp_path, monkeypatch):
    """A server is asked only if its certificate is to be trusted, and is for its name."""
    authority = Authority(tmp_path)
    good, other = authority.issue("good", "127.0.0.1"), authority.issue("other", "other.example")
    contexts = []
    for certificate in (good, other):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.cert, certificate.key)
        contexts.append(context)
    with server(answer(b"{}"), context=contexts[0]) as (url, received):
        assert "certificate is not to be trusted" in away(url).sentence
        assert received == []
    monkeypatch.setitem(os.environ, "SSL_CERT_FILE", str(authority.ca))
    with server(answer(b"{}"), context=contexts[0]) as (url, _):
        assert exchange(url).status == 200
    with server(answer(b"{}"), context=contexts[1]) as (url, received):
        assert not away(url).unclear
        assert received == []


def test_asks_again():
    """What may be done twice is asked again, elsewhere too, until the time is over; what may not be is left unclear."""
    with server(b"", answer(b'{"resources": [], "next": null}')) as (url, _):
        client = PlainClient(["http://127.0.0.1:9", url], "key", retry_timeout=30)

        async def names() -> list[str]:
            return [one.name async for one in client.resources()]

        assert run(names()) == []
    with server(b"") as (url, _), pytest.raises(Unreachable) as caught:
        run(PlainClient(url, "key", retry_timeout=30).create("printer"))
    assert caught.value.code == "unclear"


def test_refusals():
    """Errors are those of any client."""
    for line, code, kind in (
        (b"403 Forbidden", b"forbidden", Refused),
        (b"409 Conflict", b"in_use", Conflict),
        (b"404 Not Found", b"", Rejected),
    ):
        body = b'{"error": "So it is.", "code": "%s"}' % code if code else b"<html>"
        with (
            server(answer(body, b"HTTP/1.1 " + line + b"\r\nContent-Length: %d\r\n\r\n%s")) as (url, _),
            pytest.raises(kind),
        ):
            run(PlainClient(url, "key").remove("printer"))


def test_waits_for_something_else():
    """What only a reactor could bring does not come, and is not waited for."""

    class Never:
        def __await__(self):
            yield

    async def work() -> None:
        await Never()

    with pytest.raises(RuntimeError, match="reactor"):
        run(work())
