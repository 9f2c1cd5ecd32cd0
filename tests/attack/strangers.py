"""What those may try who have no key, or who send more than a connection is for."""

from __future__ import annotations

import socket
from contextlib import closing

from tests.attack.measure import HOST, KEY, MIB, Attack, connections, figure, others_are_served, push, status
from tests.daemon import Daemon, eventually


def buffered(daemon: Daemon) -> int:
    return figure(daemon, "resourced_buffered_bytes")


def unread_answers(daemon: Daemon) -> None:
    """Five clients ask for long answers, a thousand times each, and read none."""
    with connections(daemon, 5) as opened:
        for connection in opened:
            push(
                connection,
                b"GET /openapi.json HTTP/1.1\r\n"
                + HOST
                + b"\r\n"
                + (b"GET /openapi.json HTTP/1.1\r\n" + HOST + b"\r\n") * 1000,
            )
        others_are_served(daemon)
    eventually(lambda: buffered(daemon) == 0, what="nothing is left of it")


def bodies_without_keys(daemon: Daemon) -> None:
    """Three hundred clients without a key send a megabyte each, all but the last byte of it."""
    head = b"POST /resource HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % MIB
    with connections(daemon, 300) as opened:
        for connection in opened:
            connection.sendall(head)
        for connection in opened:
            assert status(connection) == 401
            push(connection, b"x" * (MIB - 1))
        others_are_served(daemon)


def bodies_of_a_tenant(daemon: Daemon) -> None:
    """Clients with a key send more than all together may have in memory; those beyond are refused."""
    head = b"POST /resource HTTP/1.1\r\n" + HOST + KEY + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % MIB
    with connections(daemon, 40) as opened:
        said = []
        for connection in opened:
            connection.sendall(head)
            said.append(status(connection))
            if said[-1] == 100:
                push(connection, b"x" * (MIB - 1))
        assert said == [100] * 16 + [503] * 24
        assert daemon.get("/health", key="").status == 200
        assert buffered(daemon) == 16 * MIB
    eventually(lambda: buffered(daemon) == 0, what="nothing is left of it")


def tiny_chunks(daemon: Daemon) -> None:
    """A body comes in a million chunks of one byte."""
    head = b"POST /resource HTTP/1.1\r\n" + HOST + KEY + b"Transfer-Encoding: chunked\r\n\r\n"
    with connections(daemon, 1) as (connection,):
        connection.sendall(head)
        push(connection, b"1\r\nx\r\n" * MIB)
        assert status(connection) == 413


def large_chunk(daemon: Daemon) -> None:
    """A chunk is announced that is larger than a body may be; that is refused before it comes."""
    head = b"POST /resource HTTP/1.1\r\n" + HOST + KEY + b"Transfer-Encoding: chunked\r\n\r\n"
    with connections(daemon, 1) as (connection,):
        connection.sendall(head + b"%x\r\nx" % (MIB + 1))
        assert status(connection) == 413


def behind_a_stream(daemon: Daemon) -> None:
    """A client that follows the events sends forty megabytes behind its request."""
    with closing(socket.create_connection(("127.0.0.1", daemon.port), 20)) as connection:
        connection.sendall(b"GET /events HTTP/1.1\r\n" + HOST + KEY + b"\r\n")
        assert status(connection) == 200
        assert push(connection, b"x" * (40 * MIB)) < 40 * MIB
        others_are_served(daemon)


def lines_to_remember(daemon: Daemon) -> None:
    """A client sends thousands of request lines with many parameters each, and headers, none of them twice."""
    names = [f"{number:02x}=" for number in range(256)]
    requests = []
    for number in range(5000):
        query = "&".join(names[(number + step) % 256] for step in range(200))
        requests.append(f"GET /nothing?{query}&{number} HTTP/1.1\r\n".encode() + HOST + b"\r\n")
        filler = f"GET /nothing HTTP/1.1\r\nx-filler: {number:900}\r\n"
        requests.append(filler.encode() + HOST + b"\r\n")
    # One at a time, as requests that come together are not plain.
    with closing(socket.create_connection(("127.0.0.1", daemon.port), 20)) as connection:
        for request in requests:
            connection.sendall(request)
            assert b" 404 " in connection.recv(4096)


STRANGERS = (
    Attack("answers that nobody reads", unread_answers, 8),
    Attack("bodies without keys", bodies_without_keys, 24),
    Attack("bodies of a tenant", bodies_of_a_tenant, 40, environ={"RESOURCED_MAX_BUFFERED": str(16 * MIB)}),
    Attack("a million chunks", tiny_chunks, 8),
    Attack("a large chunk", large_chunk, 8),
    Attack("bytes behind a stream", behind_a_stream, 8),
    Attack("lines to remember", lines_to_remember, 24),
)
