"""A leader of which only its row is seen, as one is that holds its guard at another server of a cluster."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.mariadb import MariaDB


@contextmanager
def beating(server: MariaDB, database: str) -> Iterator[None]:
    """Let the leader's row of a database change, as if a daemon led."""
    over = threading.Event()
    server.run("UPDATE server SET state = 'up' WHERE id = 1", database=database)

    def beat() -> None:
        while not over.wait(0.1):
            server.run("UPDATE server SET beat = beat + 1 WHERE id = 1", database=database)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        server.run("UPDATE server SET state = 'gone' WHERE id = 1", database=database)
