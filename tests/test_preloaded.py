"""A command that is forked is as one that is executed, so that what tests find with the one holds for the other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests import preloaded
from tests.daemon import PATIENCE, Daemon, eventually
from tests.preloaded import RESOURCED, UNFENCED
from tests.resourcectl import RESOURCECTL, Ctl

WAYS = ("forked", "executed")


def choose(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTS_EXEC", str(int(way == "executed")))


@pytest.fixture(params=WAYS)
def way(request, monkeypatch) -> str:
    choose(request.param, monkeypatch)
    return str(request.param)


@pytest.fixture
def each_way(monkeypatch) -> Iterator[str]:
    """Be one way, and then the other."""

    def ways() -> Iterator[str]:
        for way in WAYS:
            choose(way, monkeypatch)
            yield way

    return ways()


def forked(process: int) -> bool:
    """Whether a process is a fork: it has the arguments of who forked it."""
    return b"preloaded.py" in Path(f"/proc/{process}/cmdline").read_bytes()


def known_of(process: int) -> dict[str, Any]:
    """Return what the system knows of a process, as far as it has to be the same for each start."""
    root = Path(f"/proc/{process}")
    status = dict(line.split(":\t", 1) for line in (root / "status").read_text().splitlines())
    files = []
    for file in (root / "fd").iterdir():
        with suppress(FileNotFoundError):
            files.append(str(file.readlink()))
    return {
        **{name: status[name] for name in ("Name", "Uid", "Umask", "SigBlk", "SigIgn", "SigCgt")},
        "files": sorted(file.partition("[")[0].rpartition("/")[2] for file in files),
        "limits": (root / "limits").read_text(),
        "group": (os.getpgid(process), os.getsid(process)),
    }


@pytest.mark.parametrize("command", [RESOURCED, (*UNFENCED, "one-server")], ids=["as it is", "unfenced"])
def test_daemon(tmp_path, each_way, command):
    """A daemon has the same name, signals, limits and open files, and no more of them."""
    with ExitStack() as stack:
        daemons = []
        for way in each_way:
            (tmp_path / way).mkdir()
            daemons.append(stack.enter_context(Daemon(tmp_path / way, command=command)))
            assert forked(daemons[-1].pid) == (way == "forked")
            assert Path(f"/proc/{daemons[-1].pid}/cwd").readlink() == tmp_path / way
        # Connections that have been used may just be closed.
        first, second = daemons
        eventually(lambda: known_of(first.pid) == known_of(second.pid), what="what is known of both is the same")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_end_by_a_signal(tmp_path, way, number):
    """Who has started it learns by which signal it has ended. Until it asks the process is still there, and its pid nobody else's."""
    with Daemon(tmp_path) as daemon:
        os.kill(daemon.pid, number)
        eventually(lambda: "State:\tZ" in Path(f"/proc/{daemon.pid}/status").read_text(), what="it has ended")
        assert daemon.wait() == -number
        assert not Path(f"/proc/{daemon.pid}").exists()


def test_end_by_itself(tmp_path, each_way):
    """A command that is wrong ends with the same status and the same sentences."""
    ends = []
    for _ in each_way:
        ended = preloaded.run([*RESOURCED, "check"], cwd=tmp_path, env={}, timeout=PATIENCE)
        assert (ended.returncode, ended.stdout) == (1, "")
        ends.append(ended.stderr)
    assert "No key is set" in ends[0]
    assert ends[0] == ends[1]


#: What a program sees of what it was given.
SEEN = (
    "pwd; umask; echo $LANG $LC_CTYPE $TZ $ODD; env | wc -l; grep ^Sig[BIC] /proc/self/status; ls /proc/self/fd; exit 3"
)


def test_client(tmp_path, each_way):
    """A client gets its arguments, its variables and its streams as text, and hands them on to the command that it runs."""
    seen = []
    with Daemon(tmp_path) as daemon:
        daemon.create("printer")
        ctl = Ctl(daemon, tmp_path)
        for way in each_way:
            writer = ctl.start("put", "printer/ä", "-", stdin=subprocess.PIPE)
            assert writer.wait(stdin=f'{{"größe": "€ {way}"}}'.encode()).status == 0
            assert json.loads(ctl.ok("get", "printer/ä")) == {"größe": f"€ {way}"}
            command = (RESOURCECTL, "run", "printer/ä", "--", "sh", "-c", SEEN)
            environ = {**ctl.environ, "LANG": "C", "TZ": "Asia/Tokyo", "ODD": "\udcff"}
            with preloaded.start(
                command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            ) as process:
                printed, _ = process.communicate(timeout=PATIENCE)
            assert process.returncode == 3, printed
            seen.append(printed)
    assert b"C C.UTF-8 Asia/Tokyo \xff\n" in seen[0]
    assert seen[0] == seen[1], seen


def test_broken_pipe(tmp_path, way):
    """A client whose reader has gone ends with the status for it, and without a word."""
    reading, writing = os.pipe()
    with Daemon(tmp_path) as daemon:
        os.close(reading)
        outcome = Ctl(daemon, tmp_path).start("ls", stdout=writing)
        os.close(writing)
        ended = outcome.wait()
    assert (ended.status, ended.err) == (128 + signal.SIGPIPE, "")


def test_executed_where_the_interpreter_is_told_something(tmp_path):
    """Where a process is to have variables of the interpreter it is executed: the interpreter of a fork has read them long since."""
    with Daemon(tmp_path, {"PYTHONUNBUFFERED": "1"}) as daemon:
        assert not forked(daemon.pid)


def test_other_program_of_the_name(tmp_path):
    """A program of another place is executed, whatever its name."""
    other = tmp_path / "resourcectl"
    other.write_text("#!/bin/sh\necho other\n")
    other.chmod(0o700)
    assert preloaded.run([str(other)], cwd=tmp_path, env={}, timeout=PATIENCE).stdout == "other\n"
