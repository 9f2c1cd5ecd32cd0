"""Units for the tests of a suite: real runs of pytest against the real daemon."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import KEYS, PATIENCE, WRITE, Daemon

PHONES = ("p1", "p2")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("daemon"), {"RESOURCED_STORE": "sqlite:resourced.db"}) as daemon:
        yield daemon


@pytest.fixture
def phones(daemon: Daemon, request: pytest.FixtureRequest) -> str:
    """A pool of two phones, of which the first is a better one."""
    name = str(request.node.name).removeprefix("test_").partition("[")[0]
    daemon.create(name)
    for selector, tags in zip(PHONES, (["android", "camera"], ["android"]), strict=True):
        daemon.request("PATCH", f"/resource/{name}/{selector}", body=f'{{"tags": {tags}}}'.replace("'", '"'))
    return name


def run(daemon: Daemon, folder: Path, suite: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a suite as its user would."""
    (folder / "test_suite.py").write_text(suite)
    environ = {**daemon.environment, "RESOURCED_URL": f"http://127.0.0.1:{daemon.port}", "RESOURCED_KEY": WRITE}
    for name in KEYS:
        environ.pop(name, None)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, "test_suite.py"],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=5 * PATIENCE,
        check=False,
    )


def events(daemon: Daemon, phones: str, selector: str) -> list[tuple[Any, ...]]:
    """What happened to a phone: what, by whom, and why."""
    told = daemon.get(f"/resource/{phones}/{selector}/events").json["events"]
    return [(event["event"], event["owner"], event.get("reason", "")) for event in reversed(told)]


def test_fixture_and_marker(daemon: Daemon, phones: str, tmp_path: Path) -> None:
    """A test has its unit from its beginning to its end, by a marker or when it asks; the one with the fewest tags beyond those first."""
    outcome = run(
        daemon,
        tmp_path,
        f"""
import pytest

pytestmark = pytest.mark.filterwarnings("error")

def test_asks(resourced_unit):
    phone, camera = resourced_unit("{phones}", "android"), resourced_unit("{phones}", "camera", "android")
    assert (phone.selector, camera.selector) == ("p2", "p1")
    phone.write({{"used": 1}})

@pytest.mark.resourced_unit("{phones}", "android")
@pytest.mark.resourced_unit("{phones}", "android")
def test_is_marked(resourced_unit):
    first, second = resourced_unit("{phones}", "android"), resourced_unit("{phones}", "android")
    assert {{first.selector, second.selector}} == {{"p1", "p2"}}
    assert first.fence != second.fence

@pytest.mark.resourced_unit("{phones}", "camera")
def test_asks_for_nothing():
    pass
""",
        "--strict-markers",
    )
    assert "3 passed" in outcome.stdout, outcome.stdout
    turns = [f"test_suite.py::{name}" for name in ("test_asks", "test_is_marked", "test_asks_for_nothing")]
    assert events(daemon, phones, "p1") == [(kind, owner, "") for owner in turns for kind in ("grant", "release")]
    assert events(daemon, phones, "p2") == [
        ("grant", turns[0], ""),
        ("write", turns[0], ""),
        ("release", turns[0], ""),
        ("grant", turns[1], ""),
        ("release", turns[1], ""),
    ]


def test_broken_and_shared(daemon: Daemon, phones: str, tmp_path: Path) -> None:
    """The tests of a session share a unit until one gives it back as broken; it is out of service then."""
    outcome = run(
        daemon,
        tmp_path,
        f"""
def test_first(resourced_session_unit):
    assert resourced_session_unit("{phones}", "android").selector == "p2"

def test_finds_it_broken(resourced_session_unit):
    phone = resourced_session_unit("{phones}", "android")
    assert phone.selector == "p2"
    phone.unlock(out="does not boot")

def test_has_another(resourced_session_unit):
    assert resourced_session_unit("{phones}", "android").selector == "p1"
""",
    )
    assert "3 passed" in outcome.stdout, outcome.stdout
    assert events(daemon, phones, "p2") == [
        ("grant", "pytest", ""),
        ("out", "pytest", "does not boot"),
        ("release", "pytest", ""),
    ]
    assert events(daemon, phones, "p1") == [("grant", "pytest", ""), ("release", "pytest", "")]


def test_lost(daemon: Daemon, phones: str, tmp_path: Path) -> None:
    """A test that loses its unit fails, and the next one has another turn. What there is not fails at once."""
    outcome = run(
        daemon,
        tmp_path,
        f"""
import urllib.request

def test_loses_it(resourced_unit):
    phone = resourced_unit("{phones}", "camera")
    urllib.request.urlopen(urllib.request.Request(
        f"http://127.0.0.1:{daemon.port}/resource/{phones}/{{phone.selector}}/lock?fence={{phone.fence}}",
        headers={{"x-api-key": "{WRITE}"}}, method="DELETE"))
    phone.write("never")

def test_goes_on(resourced_unit):
    assert resourced_unit("{phones}", "camera").selector == "p1"

def test_too_few(resourced_unit):
    resourced_unit("{phones}", "ios")
""",
    )
    assert "1 passed" in outcome.stdout, outcome.stdout
    assert "LockLost" in outcome.stdout
    assert "too_few" in outcome.stdout or "as many" in outcome.stdout, outcome.stdout


def test_marker_that_is_wrong(daemon: Daemon, phones: str, tmp_path: Path) -> None:
    """A marker whose tags are named in another way is an error: else the test would get any unit."""
    outcome = run(
        daemon,
        tmp_path,
        f"""
import pytest

@pytest.mark.resourced_unit("{phones}", tags=["camera"])
def test_wrong(resourced_unit):
    pass
""",
    )
    assert "1 error" in outcome.stdout, outcome.stdout
    assert "unexpected keyword argument 'tags'" in outcome.stdout, outcome.stdout


def test_waits_for_itself(daemon: Daemon, phones: str, tmp_path: Path) -> None:
    """A test that wants what its own session holds fails at once, rather than wait for the end of the session; the next one is not hit."""
    outcome = run(
        daemon,
        tmp_path,
        f"""
import pytest
from resourced.client import Conflict

def test_wants_it_too(resourced_unit, resourced_session_unit):
    resourced_session_unit("{phones}", "camera")
    with pytest.raises(Conflict) as failure:
        resourced_unit("{phones}", "camera")
    assert failure.value.code == "deadlock"
    resourced_unit("{phones}", "android")

def test_the_session_too(resourced_unit, resourced_session_unit):
    resourced_unit("{phones}", "android")
    with pytest.raises(Conflict) as failure:
        resourced_session_unit("{phones}", "android")
    assert failure.value.code == "deadlock"

def test_goes_on(resourced_session_unit):
    assert resourced_session_unit("{phones}", "android").selector == "p2"
""",
    )
    assert "3 passed" in outcome.stdout, outcome.stdout


def test_workers(daemon: Daemon, phones: str, tmp_path: Path) -> None:
    """Workers of pytest-xdist take turns: no two tests have one unit at a time."""
    outcome = run(
        daemon,
        tmp_path,
        f"""
import os
import pytest

@pytest.mark.parametrize("number", range(12))
def test_alone(resourced_unit, number):
    phone = resourced_unit("{phones}", "camera")
    os.close(os.open(f"has-{{phone.selector}}", os.O_CREAT | os.O_EXCL))
    os.unlink(f"has-{{phone.selector}}")
""",
        "-n",
        "3",
    )
    assert "12 passed" in outcome.stdout, outcome.stdout
    assert [kind for kind, _, _ in events(daemon, phones, "p1")] == ["grant", "release"] * 12
