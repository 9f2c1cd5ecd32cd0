"""Several daemons that serve one store together, in processes of their own on one MariaDB: killed, frozen, stopped, added."""

from __future__ import annotations

from tests.clustered import NAMES, Nodes, nodes_fixture  # noqa: F401 - a fixture
from tests.daemon import Daemon, eventually
from tests.stores import mariadb_fixture  # noqa: F401 - a fixture


def test_a_node_comes_and_leaves(nodes: Nodes) -> None:
    """Locks go on with their tickets and fences, whoever decides about them: when a node comes, and when it leaves."""
    first = nodes.add()
    for name in NAMES:
        first.create(name)
    held = {name: nodes.lock(name) for name in NAMES}
    waiting = {name: nodes.lock(name).ticket for name in NAMES}
    second = nodes.add()
    nodes.settle(first, second)
    for name in NAMES:
        again = nodes.lock(name, held[name].ticket)
        assert (again.status, again.fence) == (200, held[name].fence)
        assert nodes.lock(name, waiting[name]).json == {"locked": False, "position": 1}
    first.terminate()
    first.process = None
    nodes.settle(second)
    for name in NAMES:
        path = f"/resource/{name.replace(' ', '%20')}/A4"
        assert nodes.ask("PUT", f"{path}?unlock=1", ticket=held[name].ticket, body="1").status == 204
        next_ = nodes.lock(name, waiting[name])
        assert next_.status == 200
        assert next_.fence > held[name].fence


def test_a_node_dies(nodes: Nodes) -> None:
    """What a node had that was killed the others serve soon, with all tickets and higher fences."""
    first, second = nodes.add(), nodes.add()
    nodes.settle(first, second)
    for name in NAMES:
        nodes.ask("POST", "/resource", body=f'{{"name": "{name}"}}')
    held = {name: nodes.lock(name) for name in NAMES}
    second.kill()
    nodes.settle(first)
    for name in NAMES:
        again = nodes.lock(name, held[name].ticket)
        assert (again.status, again.fence) == (200, held[name].fence)
        assert nodes.ask("POST", f"/resource/{name.replace(' ', '%20')}/A4/unlock", ticket=again.ticket).json == {
            "unlocked": True
        }
        assert nodes.lock(name).fence > held[name].fence


def test_a_frozen_node_has_no_say_any_more(nodes: Nodes) -> None:
    """A node that stood still while others took over tells nobody that they hold anything, and ends."""
    first, second = nodes.add(), nodes.add()
    nodes.settle(first, second)
    for name in NAMES:
        nodes.ask("POST", "/resource", body=f'{{"name": "{name}"}}')
    held = {name: nodes.lock(name) for name in NAMES}
    process = second.process
    second.freeze()
    second.process = None
    nodes.settle(first)
    for name in NAMES:
        nodes.ask("POST", f"/resource/{name.replace(' ', '%20')}/A4/unlock", ticket=held[name].ticket)
        assert nodes.lock(name).fence > held[name].fence
    second.process = process
    connections = [
        second.ask("POST", f"/resource/{name.replace(' ', '%20')}/A4/lock", ticket=held[name].ticket) for name in NAMES
    ]
    second.thaw()
    for connection in connections:
        try:
            # What others decide about it passes on to them.
            assert connection.answer().status != 200
        except OSError:
            pass
        finally:
            connection.close()
    assert second.wait() == 1
    assert "declared dead" in first.log


def test_a_group_of_another_node(nodes: Nodes) -> None:
    """A resource can get another group that its node owns; one of another node is refused, and changes nothing."""
    first, second = nodes.add(), nodes.add()
    nodes.settle(first, second)
    nodes.ask("POST", "/resource", body='{"name": "printer"}')
    statuses = [nodes.ask("PATCH", "/resource/printer", body=f'{{"group": "{name}"}}').status for name in range(20)]
    assert set(statuses) == {200, 409}
    group = max(number for number, status in enumerate(statuses) if status == 200)
    assert nodes.ask("GET", "/resource/printer").json["group"] == str(group)


def test_all_at_once(nodes: Nodes) -> None:
    """Nodes that are started at the same time on a new database all serve it."""
    made = [nodes.make() for _ in range(3)]
    for node in made:
        nodes.exits.callback(node.kill)
        node.launch()
    for node in made:
        eventually(node.healthy, what="the node answers")
    nodes.settle(*made)


def test_a_later_version_waits_for_the_end_of_all_nodes(nodes: Nodes) -> None:
    """A node that has to change the schema does not start beside nodes of an earlier version, and says so."""
    first = nodes.add()
    nodes.settle(first)
    nodes.rows("UPDATE schema_version SET version = version - 1")
    assert "daemons of an earlier version serve this store" in nodes.make().fails()
    first.terminate()
    first.process = None
    nodes.add()


def test_alone_and_together(nodes: Nodes) -> None:
    """A daemon that is to serve the store by itself does not start beside nodes."""
    first = nodes.add()
    folder = nodes.folder / "alone"
    folder.mkdir()
    alone = Daemon(folder, first.environ)
    assert "Another daemon serves this store already." in alone.fails()
    assert first.healthy()
