"""Servers that are started for a measurement, and ended with it."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.daemon import eventually


@contextmanager
def running(*command: str, port: int, folder: Path | None = None) -> Iterator[int]:
    """Run a server in a folder, and go on when it listens."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def listens() -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"{' '.join(command)} has ended with status {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return False
        return True

    try:
        eventually(listens, what=f"{command[0]} listens")
        yield port
    finally:
        process.kill()
        process.wait()
