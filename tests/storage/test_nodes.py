"""The rows of nodes and partitions in MariaDB, and in the memory of the simulation."""

from __future__ import annotations

import pytest

from tests.storage.node_contract import *  # noqa: F403 - its tests
from tests.storage.node_contract import InMemory, InSQL, Made
from tests.stores import mariadb_fixture, mysql_fixture  # noqa: F401 - fixtures


@pytest.fixture(name="nodes", params=["mariadb", "memory"])
def nodes_fixture(request: pytest.FixtureRequest) -> Made:
    return InMemory() if request.param == "memory" else InSQL(request.getfixturevalue("mysql"))
