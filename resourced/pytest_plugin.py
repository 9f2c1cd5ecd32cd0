"""
For suites under pytest: a server in memory, and units of the pools of a real server.

The fixture ``resourced`` is a server in memory that listens, fresh for each test.

.. code:: python

    from resourced.client.blocking import Client


    def test_my_program(resourced):
        with Client(resourced.url, resourced.write_key) as client:
            client.create("printer")

The fixture ``resourced_unit`` takes units, such as test devices, for as long as a test runs. The server and its key are those of
``resourcectl``: ``RESOURCED_URL`` and ``RESOURCED_KEY``, or its file.

.. code:: python

    import pytest


    def test_call(resourced_unit):
        phone = resourced_unit("phones", "android")
        print(phone.selector, phone.data)


    @pytest.mark.resourced_unit("phones", "android")
    @pytest.mark.resourced_unit("licences")
    def test_with_a_licence(resourced_unit):
        phone, licence = resourced_unit("phones", "android"), resourced_unit("licences")

A marker takes its unit before the test begins. Those of several markers are taken all at once, so no test has one and waits for another. A test
that finds its unit broken gives it back as such: ``phone.unlock(out="does not boot")``. A test that loses a unit fails with ``LockLost``.

The fixture ``resourced_session_unit`` gives the same unit to every test that asks for the same, until the session ends. Under
``pytest-xdist`` each worker has a session of its own.

pytest loads this at every start, so it imports nothing before a fixture is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from resourced.client.blocking import Client
    from resourced.testing import MemoryServer
    from resourced.testing.units import SharedUnits, Units

#: The marker, and the fixture that it takes units for.
UNIT = "resourced_unit"


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of the marker."""
    config.addinivalue_line(
        "markers",
        f"{UNIT}(resource, *tags): take a unit with these tags before the test begins, and hold it until it ends.",
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Take the units of markers also for a test that does not name the fixture."""
    if isinstance(item, pytest.Function) and item.get_closest_marker(UNIT) and UNIT not in item.fixturenames:
        item.fixturenames.append(UNIT)


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


@pytest.fixture(scope="session")
def resourced_client() -> Iterator[Client]:
    """A client of the server whose units are taken; a suite that knows better may have a fixture of its own of this name."""
    from resourced.cli.settings import load  # noqa: PLC0415
    from resourced.client.blocking import Client  # noqa: PLC0415

    settings = load(os.environ)
    with Client(settings.urls, settings.key, owner=settings.owner) as client:
        yield client


@pytest.fixture(scope="session")
def _resourced_holding() -> list[str]:
    """Return the tickets of all units that this session holds at a moment."""
    return []


@pytest.fixture
def resourced_unit(
    request: pytest.FixtureRequest, resourced_client: Client, _resourced_holding: list[str]
) -> Iterator[Units]:
    """Units for one test; see ``resourced.testing.units.Units``."""
    from resourced.testing.units import Units, wanted  # noqa: PLC0415

    with Units(resourced_client, request.node.nodeid, _resourced_holding) as units:
        units.take([wanted(*mark.args, **mark.kwargs) for mark in request.node.iter_markers(UNIT)])
        yield units


@pytest.fixture(scope="session")
def resourced_session_unit(resourced_client: Client, _resourced_holding: list[str]) -> Iterator[SharedUnits]:
    """Units for the whole session; see ``resourced.testing.units.SharedUnits``."""
    from resourced.testing.units import SharedUnits, Units  # noqa: PLC0415

    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    with Units(resourced_client, f"pytest {worker}".strip(), _resourced_holding) as units:
        yield SharedUnits(units)
