"""Nodes in processes of their own that pass requests on to each other: whichever is asked, whatever becomes of the owner."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

from resourced.partitions import PARTITIONS
from tests.clustered import NAMES, Nodes, nodes_fixture  # noqa: F401 - a fixture
from tests.daemon import READ, Daemon, eventually
from tests.resourcectl import Ctl
from tests.sse import Listener
from tests.stores import mariadb_fixture  # noqa: F401 - a fixture


def path(name: str) -> str:
    return f"/resource/{name.replace(' ', '%20')}/A4"


def shown(node: Daemon) -> Any:
    """Return what a node says of all of them."""
    return node.request("GET", "/cluster", key=READ).json


def pair(nodes: Nodes) -> tuple[Daemon, Daemon]:
    first, second = nodes.add(), nodes.add()
    nodes.settle(first, second)

    def settled() -> bool:
        seen = shown(first)["partitions"]
        return 0 not in seen and seen == shown(second)["partitions"]

    eventually(settled, what="both see the same")
    return first, second


def shares(node: Daemon) -> dict[int, int]:
    """Return how many partitions each node owns, as one sees it."""
    return {other["id"]: other["partitions"] for other in shown(node)["nodes"]}


def url(node: Daemon) -> str:
    return f"http://127.0.0.1:{node.port}"


def owned_by(nodes: Nodes, owner: Daemon) -> list[str]:
    """Create the resources through one node, and return those that another one owns."""
    found = []
    for name in NAMES:
        answer = nodes.nodes[0].request("POST", "/resource", body=f'{{"name": "{name}"}}')
        assert answer.status == 201
        if answer.headers["x-resourced-node"] == url(owner):
            found.append(name)
    assert found
    return found


def want(name: str) -> str:
    return f'{{"want": [{{"resource": "{name}", "selector": "A4"}}]}}'


def test_any_node(nodes: Nodes) -> None:
    """A client that knows one node only creates, locks, writes, reads and unlocks everything; both say the same of it."""
    first, second = pair(nodes)
    assert owned_by(nodes, second) != NAMES
    for name in NAMES:
        lock = first.request("POST", f"{path(name)}/lock")
        assert lock.status == 200
        queued = second.request("POST", f"{path(name)}/lock")
        assert (queued.status, queued.json["position"]) == (202, 1)
        assert second.request("PUT", path(name), ticket=lock.ticket, body="[1]").status == 204
        assert first.request("POST", f"{path(name)}/unlock", ticket=lock.ticket).json == {"unlocked": True}
        read = first.request("GET", path(name), ticket=queued.ticket)
        assert (read.status, read.json["data"]) == (200, "[1]")
        assert read.fence > lock.fence
        assert read.headers["x-resourced-node"] in {url(first), url(second)}


def test_ticket_of_another_node(nodes: Nodes) -> None:
    """A client that asks for units with a ticket that has others, of another node, is told so, and not to try again for ever."""
    first, second = pair(nodes)
    there = owned_by(nodes, second)
    here = [name for name in NAMES if name not in there]
    tickets = []
    for name in (here[0], there[0]):
        answer = first.request("POST", "/lock", body=want(name))
        assert answer.status == 200
        tickets.append(answer.ticket)
    for node in (first, second):
        for name, ticket in zip((there[0], here[0]), tickets, strict=True):
            answer = node.request("POST", "/lock", body=want(name), ticket=ticket)
            assert (answer.status, answer.json["code"]) == (409, "foreign_ticket")


def test_owner_is_killed(nodes: Nodes) -> None:
    """A request that waits at a node for a lock of another one that is killed meanwhile is answered by whoever decides then."""
    first, second = pair(nodes)
    name, *others = owned_by(nodes, second)
    held = first.request("POST", f"{path(name)}/lock")
    waiting = first.ask("POST", f"{path(name)}/lock?wait=50", headers={"Idempotency-Key": "a"})
    with closing(waiting):
        eventually(lambda: first.request("GET", f"{path(name)}/lock").json["waiting"] == 1, what="it waits")
        second.kill()
        eventually(
            lambda: first.request("POST", f"{path(name)}/unlock", ticket=held.ticket).status == 200,
            what="the other one takes over",
        )
        answer = waiting.answer()
    assert (answer.status, answer.headers["x-resourced-node"]) == (200, url(first))
    assert answer.fence > held.fence
    for other in others:
        assert first.request("POST", f"{path(other)}/lock?wait=50").status == 200


def test_drained(nodes: Nodes, tmp_path: Path) -> None:
    """``resourcectl`` empties a node through another one, and its tickets go on there; then it may have its share again."""
    first, second = pair(nodes)
    name = owned_by(nodes, second)[0]
    held = first.request("POST", f"{path(name)}/lock")
    number = next(node["id"] for node in shown(first)["nodes"] if node["url"] == url(second))
    ctl = Ctl(first, tmp_path)
    row = ctl.ok("drain", str(number)).splitlines()[1]
    assert row.split()[:3] == [str(number), "draining", "0"]
    again = second.request("POST", f"{path(name)}/lock?wait=20", ticket=held.ticket)
    assert (again.status, again.fence, again.headers["x-resourced-node"]) == (200, held.fence, url(first))
    assert ctl.ok("drain", str(number), "--undo").splitlines()[1].split()[:2] == [str(number), "up"]
    eventually(lambda: shares(second)[number] > PARTITIONS // 3, what="it has its share")
    assert len(ctl("nodes").out.splitlines()) == 3


def test_events_of_all_nodes(nodes: Nodes) -> None:
    """A stream has the events of all nodes once and in their order, and goes on at another node when its own is killed."""
    first, second = pair(nodes)
    mine = owned_by(nodes, second)
    with Listener(second) as listener:
        for name in NAMES:
            assert first.request("POST", f"{path(name)}/lock").status == 200
        eventually(lambda: len(listener.events) == len(NAMES), what="all are told")
        second.kill()
        eventually(lambda: listener.blocks and listener.ended)
        seen = listener.events
        last = listener.last
    eventually(
        lambda: all(first.request("GET", f"{path(name)}/lock").status == 200 for name in mine), what="it is taken over"
    )
    with Listener(first, last=last) as listener:
        held = next(event for event in seen if event["resource"] not in mine)
        fence, broken = held["fence"], path(held["resource"])
        assert first.request("DELETE", f"{broken}/lock?fence={fence}").status == 204
        eventually(lambda: listener.events and listener.events[-1]["event"] == "break", what="the break is told")
        after, resets = listener.events, listener.resets
    assert resets == 0
    ids = [event["id"] for event in [*seen, *after]]
    assert ids == sorted(set(ids))
    kept = []
    before = 2**63 - 1
    while before is not None:
        page = first.request("GET", f"/history?before={before}", key=READ).json
        kept += page["events"]
        before = page["next"]
    assert [event["id"] for event in kept][::-1] == ids
