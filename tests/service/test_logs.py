"""What the log says, as text and as JSON: one line for each request and for each event of note, and nothing secret."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import pytest
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from resourced.service.logs import json_line
from tests.daemon import KEYS, LOCK, TWISTD, WRITE, Daemon, eventually
from tests.preloaded import RESOURCED

A4 = "/resource/printer/A4"
JSON = {"RESOURCED_LOG_FORMAT": "json", "RESOURCED_ACCESS_LOG": "all"}
#: What each line about a request has.
FIELDS = {"time", "level", "logger", "message", "method", "status", "ms", "uri", "peer", "bytes"}


def lines(log: str) -> list[dict[str, Any]]:
    """Read the log as a program does: each line is one object."""
    return [json.loads(line) for line in log.splitlines()]


def requests(log: str) -> list[dict[str, Any]]:
    return [line for line in lines(log) if line["logger"] == "resourced.access" and line["uri"] != "/health"]


@pytest.mark.parametrize("command", [RESOURCED, TWISTD])
def test_every_line_is_json(tmp_path, command):
    """From the first line to the last, by either way to start it, each line is an object with a time, a level, a source and a message."""
    with Daemon(tmp_path, JSON, command=command) as daemon:
        daemon.create("printer")
        assert daemon.terminate() == -signal.SIGTERM
        found = lines(daemon.log)
        for line in found:
            assert {"time", "level", "logger", "message"} <= set(line)
            assert abs(datetime.fromisoformat(line["time"]) - datetime.now().astimezone()) < timedelta(minutes=5)
        messages = [line["message"] for line in found]
        assert any("starting up" in message for message in messages)
        assert "Serving." in messages
        assert "Stopped." in messages


def test_fields_of_a_request(tmp_path):
    """A line about a request tells method, route, status, milliseconds, resource, selector, owner, key and fence, as far as there are any."""
    with Daemon(tmp_path, JSON) as daemon:
        daemon.create("caf\u00e9 \u2603")
        path = "/resource/caf%C3%A9%20%E2%98%83/A%2F4"
        lock = daemon.get(path, key=LOCK, headers={"x-owner": "job 7"})
        daemon.put(path, "1", ticket=lock.ticket)
        daemon.get(f"{path}?lock=0", key="unknown")
        daemon.get("/nowhere")
        daemon.get("/health", key="")
        created, locked, put, refused, nowhere = requests(daemon.log)
        assert set(created) == FIELDS | {"route", "owner", "key"}
        assert (created["method"], created["route"], created["status"]) == ("POST", "/resource", 201)
        assert set(locked) == FIELDS | {"route", "resource", "selector", "owner", "key", "fence"}
        assert locked["route"] == "/resource/{resource}/{selector}"
        assert (locked["resource"], locked["selector"], locked["owner"]) == ("caf\u00e9 \u2603", "A/4", "job 7")
        assert locked["key"] == "default"
        assert (locked["fence"], locked["status"], locked["uri"]) == (lock.fence, 404, path)
        assert 0 < locked["ms"] < 20_000
        assert locked["bytes"] == len(lock.body)
        assert (put["method"], put["status"], put["owner"]) == ("PUT", 204, "default")
        assert (refused["status"], {"owner", "key"} & set(refused)) == (401, set())
        assert (nowhere["status"], "route" in nowhere) == (404, False)
        assert lines(daemon.log)[-1]["route"] == "/health"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_who_hangs_up_is_logged(tmp_path, log_format):
    """A request whose client hangs up before it is answered has a line too, with the status 499."""
    with Daemon(tmp_path, {"RESOURCED_LOG_FORMAT": log_format}) as daemon:
        daemon.create("printer")
        daemon.post(f"{A4}/lock")
        with closing(daemon.ask("GET", f"{A4}?wait=30", key=LOCK, headers={"x-owner": "impatient"})):
            assert all(daemon.healthy() for _ in range(3))
        word = '"status": 499' if log_format == "json" else f"GET {A4}?wait=30 499 "
        eventually(lambda: word in daemon.log, what="a line about it")
        [line] = [line for line in daemon.log.splitlines() if word in line]
        assert "impatient" in line


def test_text_names_owner_and_fence(tmp_path):
    """A line of text about a grant tells to whom, by which key, and with which fence; the key comes before what the client says."""
    with Daemon(tmp_path) as daemon:
        daemon.create("printer")
        lock = daemon.post(f"{A4}/lock", headers={"x-owner": "job 7 key=root"})
        [line] = [line for line in daemon.log.splitlines() if f"POST {A4}/lock 200 " in line]
        assert line.endswith(f" ms key=default owner=job 7 key=root fence={lock.fence}")


def test_nothing_secret_in_json(tmp_path):
    """Neither keys nor tickets nor data are in the log, whatever the request comes to."""
    with Daemon(tmp_path, JSON) as daemon:
        daemon.create("printer")
        lock = daemon.post(f"{A4}/lock")
        daemon.put(A4, '"the-data"', ticket=lock.ticket)
        daemon.put(A4, '{"the-data', ticket=lock.ticket)
        daemon.put(A4, '"the-data"', ticket="0" * 32)
        daemon.get(A4, ticket=lock.ticket, headers={"Idempotency-Key": "the-idempotency-key"})
        daemon.post("/resource", '{"name": "printer", "the-data": 1}')
        daemon.terminate()
        for secret in (*KEYS.values(), lock.ticket, "0" * 32, "the-data", "the-idempotency-key"):
            assert secret not in daemon.log


def test_in_the_background(tmp_path):
    """``twistd`` in the background writes the same lines into the file that it is told."""
    pid_file, log = tmp_path / "pid", tmp_path / "lines"
    daemon = Daemon(tmp_path, JSON)
    twistd = [TWISTD[0], f"--pidfile={pid_file}", f"--logfile={log}", "resourced"]
    subprocess.run(twistd, cwd=tmp_path, env=daemon.environment, timeout=30, check=True)
    pid = int(pid_file.read_text())
    try:
        eventually(daemon.healthy, what="the daemon answers")
        daemon.create("printer")
        os.kill(pid, signal.SIGTERM)
        eventually(lambda: not pid_file.exists(), what="the daemon has ended")
    finally:
        if pid_file.exists():
            os.kill(pid, signal.SIGKILL)
    assert [line["route"] for line in requests(log.read_text())] == ["/resource"]


def test_failed_start(tmp_path):
    """A start that fails says so in a last line of JSON, whose level is critical."""
    log = Daemon(tmp_path, {**JSON, "RESOURCED_STORE": "sqlite:no/such/folder/file"}).fails()
    [reason] = [line for line in lines(log) if line["level"] == "critical"]
    assert "cannot be opened" in reason["message"]


def test_failure():
    """A failure has its traceback in a field of its own, and is one line all the same."""
    events: list[dict[str, Any]] = []
    failure = Failure(LookupError("nobody knows"))
    Logger("somewhere", observer=events.append).failure("It went wrong", failure)  # type: ignore[arg-type]
    text = json_line(events[0])
    assert text.count("\n") == 1
    line = json.loads(text)
    assert (line["level"], line["logger"], line["message"]) == ("critical", "somewhere", "It went wrong")
    assert "LookupError: nobody knows" in line["error"]


def test_only_known_fields():
    """A field that an event happens to have is not written: it may be anything."""
    event = {"log_time": 0.5, "log_level": LogLevel.warn, "log_namespace": "a", "log_format": "b", "key": WRITE}
    line = json.loads(json_line(event))
    assert line == {"time": "1970-01-01T00:00:00.500+00:00", "level": "warn", "logger": "a", "message": "b"}
