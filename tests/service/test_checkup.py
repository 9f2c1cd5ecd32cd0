"""``resourced check``, and what the daemon says when it is called in a way that it does not know, as processes."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import preloaded
from tests.beating import beating
from tests.daemon import KEYS, PATIENCE, TWISTD, Daemon, eventually
from tests.preloaded import RESOURCED
from tests.stores import MySQLBackend, mariadb_fixture, mysql_fixture  # noqa: F401 - fixtures


def run(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return call(RESOURCED, folder, arguments, {**KEYS, **environ})


def call(
    command: tuple[str, ...], folder: Path, arguments: tuple[str, ...], environ: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    return preloaded.run([*command, *arguments], cwd=folder, env=environ, timeout=PATIENCE)


def everything(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_nothing_there_yet(tmp_path):
    """Before the first start all is well, and it stays as it is: there is no file."""
    outcome = run(tmp_path, "check", RESOURCE_READ="")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    lines = outcome.stdout.splitlines()
    assert lines[0].startswith("resourced 0.")
    assert [line.split()[:2] for line in lines[1:]] == [
        ["ok", name] for name in ("configuration", "keys", "store", "schema", "served")
    ]
    assert "RESOURCE_READ_LOCK, RESOURCE_WRITE" in outcome.stdout
    assert "the first start makes version" in outcome.stdout
    assert list(tmp_path.iterdir()) == []


def test_beside_a_daemon(tmp_path):
    """While a daemon serves, and after it was killed or has ended, it tells that, and changes no byte; the files are for their owner only."""
    with Daemon(tmp_path) as daemon:
        daemon.create("printer")
        # Whatever the daemon does meanwhile is not the check's.
        outcome = run(tmp_path, "check", **daemon.environment)
        assert (outcome.returncode, "by a daemon at this moment" in outcome.stdout) == (0, True), outcome.stdout
        assert daemon.post("/resource/printer/A4/lock").status == 200
        files = [path for path in tmp_path.iterdir() if path.name.startswith("resourced.sqlite")]
        assert len(files) == 4
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        daemon.kill()
        # Wal and all.
        before = everything(tmp_path)
        assert "by no daemon" in run(tmp_path, "check", **daemon.environment).stdout
        after = everything(tmp_path)
        # The index of the log is made anew by whoever looks first after a crash.
        assert {name: data for name, data in after.items() if not name.endswith("-shm")} == {
            name: data for name, data in before.items() if not name.endswith("-shm")
        }
        daemon.start()
        assert daemon.terminate() < 0
        before = everything(tmp_path)
        outcome = run(tmp_path, "check", **daemon.environment)
        assert (outcome.returncode, "as this server needs it" in outcome.stdout) == (0, True)
        assert everything(tmp_path) == before


def test_faults(tmp_path):
    """What would keep the daemon from starting is told in its line, and the status is 1."""
    (tmp_path / "no-database").write_text("hello" * 1000)
    (tmp_path / "keys").write_text("[[key]]\n")
    outcome = run(tmp_path, "check", "--store", "sqlite:no-database", "--keys", "keys")
    assert outcome.returncode == 1
    assert [line.split()[1] for line in outcome.stdout.splitlines() if line.startswith("FAULT")] == ["keys", "store"]
    assert (tmp_path / "no-database").read_text() == "hello" * 1000
    outcome = run(tmp_path, "check", RESOURCED_STORE="sqlite:/nowhere/store")
    assert (outcome.returncode, "none can be made in /nowhere" in outcome.stdout) == (1, True)
    outcome = run(tmp_path, "check", "--store", "mysql", MYSQL_HOST="127.0.0.1", MYSQL_PORT="1")
    assert (outcome.returncode, "FAULT  store" in outcome.stdout) == (1, True)
    assert outcome.stdout.count("at 127.0.0.1:1 ") == 1, "the store is named twice"
    outcome = run(tmp_path, "check", RESOURCED_LAESE="7")
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert outcome.stderr == "resourced: RESOURCED_LAESE is no setting: did you mean RESOURCED_LEASE?\n"


@pytest.mark.parametrize(
    "listen",
    ["tcp:99999", "tcp6:-1", "tcp:0:interface=192.0.2.1", "haproxy:tcp:99999", "unix:nowhere/at/all"],
)
def test_listens_nowhere(tmp_path, listen: str):
    """An endpoint that nobody can listen on keeps the daemon from starting, so that the check says so; and it leaves nothing there."""
    outcome = run(tmp_path, "check", "--listen", listen)
    fault = next(line for line in outcome.stdout.splitlines() if line.startswith("FAULT"))
    assert (outcome.returncode, outcome.stderr) == (1, "")
    assert fault.split()[1] == "configuration"
    assert f"cannot listen on {listen}: " in fault
    assert list(tmp_path.iterdir()) == []


def test_listens_beside_another(tmp_path):
    """An endpoint that is in use may be the daemon's own, so that it is told and no fault; one of a file is not made by the check."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"tcp:{other.getsockname()[1]}:interface=127.0.0.1"
        outcome = run(tmp_path, "check", "--listen", listen)
        assert (outcome.returncode, "which is in use at this moment" in outcome.stdout) == (0, True), outcome
    outcome = run(tmp_path, "check", "--listen", listen)
    assert (outcome.returncode, "in use" in outcome.stdout) == (0, False), outcome
    assert run(tmp_path, "check", "--listen", "unix:socket").returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_help(tmp_path):
    """The check has a help of its own."""
    outcome = run(tmp_path, "check", "--help")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert outcome.stdout.startswith("Usage: resourced check [options]\n")


def test_nobody_reads_on(tmp_path):
    """Whatever is printed to a pipe that nobody reads any more, it ends without a word, as other programs do; a full disk is told."""
    # Python writes each line through where it is told to, and else what is left at the end.
    through = {"PYTHONUNBUFFERED": "1"}
    for arguments, buffering in (
        (("check",), {}),
        (("check", "--help"), through),
        (("--help",), {}),
        (("--version",), {}),
        (("move", "--help"), {}),
        (("key", "ci", "--role=lock"), through),
    ):
        for place, status, says in (
            ("|", 128 + signal.SIGPIPE, ""),
            (">", 1, "resourced: cannot write: No space left on device\n"),
        ):
            if place == "|":
                readable, writable = os.pipe()
                os.close(readable)
            else:
                writable = os.open("/dev/full", os.O_WRONLY)
            environ = {**KEYS, **buffering}
            outcome = preloaded.run(
                [*RESOURCED, *arguments], cwd=tmp_path, env=environ, timeout=PATIENCE, stdout=writable
            )
            os.close(writable)
            said = [
                line
                for line in outcome.stderr.splitlines(keepends=True)
                if line.startswith(("resourced:", "Traceback"))
            ]
            assert (outcome.returncode, "".join(said)) == (status, says), (arguments, buffering, outcome)


def test_mysql(tmp_path, mysql: MySQLBackend):
    """On MySQL it knows a database that is missing, one that is served, and one that a newer server has used; and makes none."""
    environ = {
        "RESOURCED_STORE": "mysql",
        "MYSQL_HOST": "127.0.0.1",
        "MYSQL_PORT": str(mysql.server.port),
        "MYSQL_USER": "root",
        "MYSQL_DATABASE": mysql.name,
    }
    outcome = run(tmp_path, "check", **environ)
    assert (outcome.returncode, "none yet" in outcome.stdout) == (0, True), outcome.stdout
    assert (mysql.name,) not in mysql.server.run("SHOW DATABASES")
    with Daemon(tmp_path, environ) as daemon:
        assert "by a daemon at this moment" in run(tmp_path, "check", **environ).stdout
        daemon.terminate()
    outcome = run(tmp_path, "check", **environ)
    assert (outcome.returncode, "by no daemon" in outcome.stdout) == (0, True)
    with beating(mysql.server, mysql.name):
        assert "by a daemon at this moment" in run(tmp_path, "check", **environ).stdout
    mysql.server.run(f"UPDATE `{mysql.name}`.schema_version SET version = 999")
    outcome = run(tmp_path, "check", **environ)
    assert (outcome.returncode, "a newer server has used it" in outcome.stdout) == (1, True)


@pytest.mark.parametrize("command", [RESOURCED, TWISTD])
@pytest.mark.parametrize("words", [("nonsense",), ("--nonsense",), ("--lease",), ("--standby", "nonsense", "more")])
def test_nonsense(tmp_path, command, words):
    """A word or an option that is not known is told in one sentence, and twistd's own options are not shown for it."""
    outcome = call(command, tmp_path, words, KEYS)
    assert outcome.returncode == 1
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("resourced: ")
    assert len(outcome.stderr.splitlines()) == 1
    if "nonsense" in words:
        assert "There is no command nonsense" in outcome.stderr


@pytest.mark.parametrize("listen", ["tcp:{port}", "tcp:{port}:interface=127.0.0.1"])
def test_first_lines(tmp_path, listen):
    """The log begins with the version, tells the address of the page, and shows no object of the program."""
    with Daemon(tmp_path, {}) as daemon:
        daemon.terminate()
        daemon.arguments = ("--listen", listen.format(port=daemon.port))
        before = len(daemon.log)
        daemon.start()
        host = "127.0.0.1" if "interface" in listen else "localhost"
        eventually(lambda: "Serving." in daemon.log[before:])
        log = daemon.log[before:]
        assert "resourced 0.1.0." in log.splitlines()[0]
        assert f"The page is http://{host}:{daemon.port}/ui." in log
        daemon.terminate()
        assert " object at 0x" not in daemon.log
        assert "Site" not in daemon.log


def test_access_log(tmp_path):
    """Whoever asks whether all is well, and is told that it is, is not in the log; others are; and one can have all of it, or nothing."""
    for choice, expected in (
        ("", ["GET /resource"]),
        ("all", ["GET /health", "GET /metrics", "GET /resource"]),
        ("none", []),
    ):
        folder = tmp_path / (choice or "usual")
        folder.mkdir()
        with Daemon(folder, {"RESOURCED_ACCESS_LOG": choice}) as daemon:
            for path in ("/health", "/metrics?x=1", "/resource"):
                assert daemon.get(path).status == 200
            assert daemon.get("/metrics", key="unknown").status == 401
            daemon.terminate()
            said = {line.partition("resourced.access#info] ")[2] for line in daemon.log.splitlines()} - {""}
            assert (
                sorted({" ".join(line.partition("?")[0].split()[:2]) for line in said if " 200 " in line}) == expected
            )
            assert any(" 401 " in line for line in said) == (choice != "none")
