"""Several nodes behind one port, run by one process: ready when all are, one started anew when it dies, all ended with it."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest

from resourced.errors import ConfigurationError
from resourced.service.workers import SharedPort
from tests.clustered import NAMES, Nodes, nodes_fixture  # noqa: F401 - a fixture
from tests.daemon import READ, Answer, Daemon, eventually
from tests.stores import mariadb_fixture  # noqa: F401 - a fixture
from tests.systemd import Listener


@pytest.fixture
def manager() -> Iterator[Listener]:
    # A socket's path may have 107 characters: so not where pytest keeps its files.
    with tempfile.TemporaryDirectory(prefix="sd-") as folder, closing(Listener(f"{folder}/notify")) as listener:
        yield listener


def workers(nodes: Nodes, *arguments: str) -> Daemon:
    """Make a service of two nodes, and do not start it."""
    daemon = nodes.make()
    daemon.arguments = ("--workers", "2", *arguments)
    return daemon


def children(daemon: Daemon) -> list[int]:
    """Return the processes of the nodes."""
    return [int(pid) for pid in Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()]


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def serving(daemon: Daemon) -> bool:
    """Whether two nodes are up and own everything."""
    with suppress(OSError, AssertionError):
        answer = daemon.get("/cluster", key=READ)
        if answer.status == 200:
            up = [node for node in answer.json["nodes"] if node["state"] == "up"]
            return len(up) == 2 and min(node["partitions"] for node in up) > 64 and not answer.json["moving"]
    return False


def settled(ask: Callable[[], Answer]) -> Answer:
    """Ask until a node decides about it: on a busy machine one may lose what it owns for a moment."""
    answers = []

    def decided() -> bool:
        answers.append(ask())
        return answers[-1].status != 503

    eventually(decided, what="a node decides about it")
    return answers[-1]


def test_workers(nodes: Nodes, manager: Listener) -> None:
    """Two nodes answer at one port; the manager hears READY when both serve. A node that is killed is started anew, and all end together."""
    daemon = workers(nodes)
    daemon.environ = {**daemon.environ, "NOTIFY_SOCKET": manager.address}
    try:
        daemon.launch()
        manager.hears("READY=1")
        assert "STATUS=2 of 2 nodes serve" in manager.heard
        eventually(lambda: serving(daemon), what="both share everything")
        held = {}
        for name in NAMES:
            made = settled(partial(daemon.post, "/resource", json.dumps({"name": name})))
            # One that was refused may have been made all the same.
            assert made.status in {201, 409}
            once = {"idempotency-key": name}
            place = f"/resource/{name.replace(' ', '%20')}/x/lock"
            held[name] = settled(partial(daemon.post, place, headers=once))
            assert held[name].status == 200
        urls = {answer.headers["x-resourced-node"] for answer in held.values()}
        assert len(urls) == 2
        os.kill(children(daemon)[0], signal.SIGKILL)
        manager.hears("STATUS=1 of 2 nodes serve")
        eventually(lambda: manager.listen()[-1] == "STATUS=2 of 2 nodes serve", what="it is started anew")
        eventually(lambda: serving(daemon), what="both share everything again")
        for name in NAMES:
            place = f"/resource/{name.replace(' ', '%20')}/x/lock?wait=20"
            again = settled(partial(daemon.post, place, ticket=held[name].ticket))
            assert (again.status, again.fence) == (200, held[name].fence)
        pids = children(daemon)
        assert daemon.terminate() == -signal.SIGTERM
        assert not any(map(is_there, pids))
    finally:
        daemon.kill()


def test_killed(nodes: Nodes) -> None:
    """If the process that runs the nodes is killed, they do not go on without it."""
    with workers(nodes) as daemon:
        pids = children(daemon)
        assert len(pids) == 2
        daemon.kill()
        eventually(lambda: not any(map(is_there, pids)), what="they have ended")


def test_cannot_start(nodes: Nodes) -> None:
    """If the nodes cannot start, or the port cannot be shared, the whole ends and says why."""
    daemon = workers(nodes)
    daemon.environ = {**daemon.environ, "MYSQL_PORT": "1"}
    assert "A node could not be started." in daemon.fails()
    daemon = workers(nodes, "--listen", "unix:/tmp/x")
    assert "must be a TCP port" in daemon.fails()


def test_shared_port() -> None:
    """The port is any that Twisted's endpoints of TCP name."""
    port = SharedPort.parse("tcp:9501:interface=127.0.0.1:backlog=7", 1024)
    assert (port.host, port.port, port.backlog) == ("127.0.0.1", 9501, 7)
    port = SharedPort.parse(r"tcp:9501:interface=\:\:1", 1024)
    assert (port.host, port.family.name, port.backlog) == ("::1", "AF_INET6", 1024)
    with pytest.raises(ConfigurationError):
        SharedPort.parse("unix:/run/x", 1024)
    with pytest.raises(ConfigurationError):
        SharedPort.parse("tcp:65536", 1024).open()
