"""A TCP proxy in a thread, such as stands before databases, which may lead new connections elsewhere than old ones. For tests."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing, suppress
from threading import Thread
from typing import Self

#: The bit of a MySQL server's greeting that offers TLS, in the lower half of what it can do.
_OFFERS_TLS = 0x0800


class Proxy:
    """
    Passes on what comes to its port, as a context manager.

    :ivar port: of 127.0.0.1, where it listens.
    :ivar target: the port to which it leads those who come from now on.
    :ivar greeting: what it makes of the first that a server says.
    :ivar heard: all that clients have said.
    """

    def __init__(self, target: int, greeting: Callable[[bytes], bytes] = lambda data: data) -> None:
        self.target = target
        self.greeting = greeting
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = Thread(target=self._serve, daemon=True)
        self._open: list[socket.socket] = []
        self.heard = bytearray()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def loses(self) -> bool:
        """Whether what a server has said, which is asked each time that it says something, is lost and its connection ends."""
        return False

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            self._open += [client, server]
            Thread(target=self._pass, args=(server, client, self.greeting), daemon=True).start()
            Thread(target=self._pass, args=(client, server, bytes), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, first: Callable[[bytes], bytes]) -> None:
        with closing(source), suppress(OSError):
            while data := source.recv(65536):
                if source in self._open[::2]:
                    self.heard += data
                elif self.loses():
                    break
                sink.sendall(first(data))
                first = bytes
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)


def without_tls(greeting: bytes) -> bytes:
    """Let a MySQL server's greeting offer no TLS, as somebody in the middle would who wants to read along."""
    # The head of the packet, the version of the protocol, the version of the server with its end, its thread, salt, and a zero.
    at = greeting.index(b"\0", 5) + 1 + 4 + 8 + 1
    can = int.from_bytes(greeting[at : at + 2], "little") & ~_OFFERS_TLS
    return greeting[:at] + can.to_bytes(2, "little") + greeting[at + 2 :]
