"""One browser and one daemon for the tests of each module, and a tab for each test."""

from __future__ import annotations

import json

import pytest

from tests.browser import Browser
from tests.daemon import Daemon
from tests.ui.page import card, client, many, send_all


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("daemon")) as daemon:
        yield daemon


@pytest.fixture
def tab(browser):
    """A tab in which, whatever happens, nothing goes wrong: no exception, no complaint of the policy."""
    tab = browser.tab()
    yield tab
    # What has gone wrong by now has been told by the time that this is answered.
    tab.run("0")
    tab.close()
    assert tab.problems == []


@pytest.fixture(scope="module")
def crowded(daemon):
    """A server of many: 300 resources, thousands of selectors, a queue of a thousand, and names of 255 characters."""
    many(daemon)
    send_all(
        daemon, [("POST", "/resource", "default", json.dumps({"name": f"crowd-{number:03}"})) for number in range(300)]
    )
    queue = [("POST", "/resource/crowd-000/A4/lock", f"ci-{number}", "") for number in range(1001)]
    (answers,) = send_all(daemon, queue, crowd=1)
    assert answers.count(b'"locked": false') == 1000
    long = "w" * 255
    daemon.create(long)
    client(daemon, f"/resource/{long}/{long}/lock", owner=long)
    card(daemon, long, long, note=long, tags=["t" * 64])
    return daemon
