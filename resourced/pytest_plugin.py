"""
The fixture ``resourced`` for pytest: a server in memory that listens, fresh for each test.

.. code:: python

    from resourced.client.blocking import Client


    def test_my_program(resourced):
        with Client(resourced.url, resourced.write_key) as client:
            client.create("printer")

pytest loads this at every start, so it imports nothing before the fixture is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from resourced.testing import MemoryServer


@pytest.fixture
def resourced() -> Iterator[MemoryServer]:
    """
    A server in memory, on a free port of 127.0.0.1; see ``resourced.testing.MemoryServer``.

    It runs in a thread of its own. So it serves clients that block, tasks on any loop of asyncio, and with ``pytest-twisted``
    coroutines of Twisted.
    """
    from resourced.client.process import THREAD  # noqa: PLC0415
    from resourced.testing import MemoryServer  # noqa: PLC0415

    thread = THREAD.get()

    async def begin() -> MemoryServer:
        server = MemoryServer(thread.reactor)
        server.listen()
        return server

    server = thread.wait(begin)
    yield server
    thread.wait(server.close)
