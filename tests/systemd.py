"""A service manager of the tests."""

from __future__ import annotations

import socket

from tests.daemon import eventually


class Listener:
    """A service manager that only listens."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)
        self.heard: list[str] = []

    def listen(self) -> list[str]:
        """Return all that was said so far, a word at a time."""
        while True:
            try:
                self.heard += self._socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return self.heard

    def hears(self, word: str) -> None:
        eventually(lambda: word in self.listen(), what=f"{word} among {self.heard}")

    def close(self) -> None:
        self._socket.close()
