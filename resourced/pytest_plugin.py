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
def resourced(request: pytest.FixtureRequest) -> Iterator[MemoryServer]:
    """
    A server in memory, on a free port of 127.0.0.1; see ``resourced.testing.MemoryServer``.

    Without ``pytest-twisted`` the reactor runs in a thread of its own, for programs and clients that block. With it the reactor
    runs while a test awaits, for those that do not.
    """
    from twisted.internet.defer import Deferred, maybeDeferred  # noqa: PLC0415

    from resourced.testing import MemoryServer  # noqa: PLC0415

    if request.config.pluginmanager.hasplugin("twisted"):
        from pytest_twisted import blockon  # noqa: PLC0415
        from twisted.internet import reactor  # noqa: PLC0415

        server = MemoryServer(reactor)
        blockon(maybeDeferred(server.listen))
        yield server
        blockon(Deferred.fromCoroutine(server.close()))
    else:
        from resourced.client.blocking import Calls, running_reactor  # noqa: PLC0415

        server, calls = MemoryServer(running_reactor()), Calls()
        calls.wait(lambda: maybeDeferred(server.listen))
        yield server
        calls.wait(server.close)
        calls.close()
