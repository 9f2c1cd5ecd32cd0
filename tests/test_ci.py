"""What CI systems are given to hold units of a pool for a job, against the real daemon."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from tests.daemon import LOCK, PATIENCE, Daemon
from tests.documents import read_blocks
from tests.resourcectl import RESOURCECTL

CI = Path(__file__).parent.parent / "etc/ci"
UNITS = CI / "units.sh"
PAGE = CI.parent.parent / "docs/how-to/ci.rst"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("daemon"), {"RESOURCED_STORE": "sqlite:resourced.db"}) as daemon:
        yield daemon


@pytest.fixture
def phones(daemon: Daemon) -> Iterator[str]:
    """A pool of two phones."""
    daemon.create("phones")
    for selector in ("p1", "p2"):
        daemon.request("PATCH", f"/resource/phones/{selector}", body='{"tags": ["android"]}')
    yield "phones"
    assert daemon.request("DELETE", "/resource/phones").status == 204, "all was given back"


def run(
    daemon: Daemon, folder: Path, *command: str | Path, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command as a job does."""
    about = {
        "PATH": f"{Path(RESOURCECTL).parent}:{os.environ['PATH']}",
        "RESOURCED_URL": f"http://127.0.0.1:{daemon.port}",
        "RESOURCED_KEY": LOCK,
        "RESOURCED_OWNER": "job 7",
    }
    return subprocess.run(
        command,
        cwd=folder,
        env=about | dict(environ or {}),
        capture_output=True,
        text=True,
        timeout=5 * PATIENCE,
        check=False,
    )


def held(daemon: Daemon) -> dict[str, str]:
    """Who has which phone."""
    return {lock["selector"]: lock["holder"]["owner"] for lock in daemon.get("/locks?resource=phones").json["locks"]}


def out(daemon: Daemon) -> list[str]:
    """The phones that are out of service."""
    return [each["selector"] for each in daemon.get("/resource/phones").json["selectors"] if each["card"]["out"]]


def test_from_step_to_step(daemon: Daemon, phones: str, tmp_path: Path) -> None:
    """Units are held from a step that takes them to the one that gives them back, also if nobody has taken any."""
    assert run(daemon, tmp_path, UNITS, "give", "units.json").returncode == 0
    taken = run(daemon, tmp_path, UNITS, "take", "units.json", "--any", phones, "--tag", "android", "--count", "2")
    assert (taken.returncode, taken.stderr) == (0, "")
    assert held(daemon) == {"p1": "job 7", "p2": "job 7"}
    locks = json.loads((tmp_path / "units.json").read_text())
    assert "p1" in json.dumps(locks)
    given = run(daemon, tmp_path, UNITS, "give", "units.json")
    assert given.returncode == 0, given.stderr
    assert (held(daemon), out(daemon)) == ({}, [])
    assert list(tmp_path.iterdir()) == []


def test_usage(daemon: Daemon, tmp_path: Path) -> None:
    """Called in any other manner it says how it is called."""
    for arguments in ((), ("take",), ("keep", "units.json")):
        outcome = run(daemon, tmp_path, UNITS, *arguments)
        assert (outcome.returncode, outcome.stderr) == (64, "usage: units.sh take|give FILE ...\n")


def test_broken(daemon: Daemon, phones: str, tmp_path: Path) -> None:
    """A step that finds its unit broken gives it back as such, and the job does not fail for that."""
    assert run(daemon, tmp_path, UNITS, "take", "units.json", "--any", phones, "--tag", "android").returncode == 0
    (broken,) = held(daemon)
    environ = {"RESOURCED_LOCKS": (tmp_path / "units.json").read_text()}
    told = run(daemon, tmp_path, "resourcectl", "unlock", f"phones/{broken}", "--out", "does not boot", environ=environ)
    assert told.returncode == 0, told.stderr
    given = run(daemon, tmp_path, UNITS, "give", "units.json")
    assert given.returncode == 0, given.stderr
    assert (held(daemon), out(daemon)) == ({}, [broken])


def test_nothing_to_take(daemon: Daemon, phones: str, tmp_path: Path) -> None:
    """Where there is no such unit the step fails at once, and says why."""
    taken = run(daemon, tmp_path, UNITS, "take", "units.json", "--any", phones, "--tag", "ios")
    assert taken.returncode != 0
    assert "Units that fit: 0" in taken.stderr, taken.stderr
    assert run(daemon, tmp_path, UNITS, "give", "units.json").returncode == 0


def test_lost(daemon: Daemon, phones: str, tmp_path: Path) -> None:
    """A job that has lost its unit before its end has failed."""
    assert run(daemon, tmp_path, UNITS, "take", "units.json", "--any", phones).returncode == 0
    (lock,) = daemon.get("/locks?resource=phones").json["locks"]
    broken = daemon.request("DELETE", f"/resource/phones/{lock['selector']}/lock?fence={lock['holder']['fence']}")
    assert broken.status == 204
    assert run(daemon, tmp_path, UNITS, "give", "units.json").returncode != 0


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_github(daemon: Daemon, phones: str, tmp_path: Path) -> None:
    """The action takes units in its first half, tells the steps of them, and gives them back in its second half."""
    action = yaml.safe_load((CI / "github/action.yml").read_text())
    assert action["runs"] == {"using": "node20", "main": "take.js", "post": "give.js"}
    inputs = {f"INPUT_{name.upper()}": about.get("default", "") for name, about in action["inputs"].items()}
    files = {name: str(tmp_path / name) for name in ("GITHUB_ENV", "GITHUB_STATE")}
    given = inputs | {"INPUT_RESOURCE": phones, "INPUT_TAGS": "android", "RUNNER_TEMP": str(tmp_path)}
    taken = run(daemon, tmp_path, "node", CI / "github/take.js", environ=given | files)
    assert taken.returncode == 0, taken.stderr
    assert list(held(daemon).values()) == ["job 7"]
    env = dict(line.split("=", 1) for line in Path(files["GITHUB_ENV"]).read_text().splitlines())
    assert [lock["resource"] for lock in json.loads(env["RESOURCED_LOCKS"])] == [phones]
    (state,) = Path(files["GITHUB_STATE"]).read_text().splitlines()
    name, value = state.split("=")
    ended = run(daemon, tmp_path, "node", CI / "github/give.js", environ={f"STATE_{name}": value})
    assert ended.returncode == 0, ended.stderr
    assert held(daemon) == {}


def test_gitlab(daemon: Daemon, phones: str, tmp_path: Path) -> None:
    """The job of GitLab runs its test with a unit."""
    shown = next(block for block in read_blocks(PAGE.read_text(), PAGE.name) if "before_script" in block.text)
    (job,) = yaml.safe_load(shown.text).values()
    (tmp_path / "test.sh").write_text("#!/bin/sh\necho testing on $RESOURCED_LOCK\n")
    (tmp_path / "test.sh").chmod(0o755)
    done = run(daemon, tmp_path, "bash", "-ec", "\n".join(job["script"]))
    assert done.returncode == 0, done.stderr
    assert "testing on phones/p" in done.stdout
    assert held(daemon) == {}
