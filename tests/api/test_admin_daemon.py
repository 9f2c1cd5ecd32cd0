"""The second half of the API, asked of a real daemon on either store; what outlives it, and what goes away behind it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import READ, Daemon, eventually
from tests.mariadb import MariaDB

pytestmark = pytest.mark.reference_path

A4 = "/resource/printer/A4"
PRINTER = "/resource/printer"

Rows = Callable[..., list[Any]]


@pytest.fixture(scope="module", name="mariadb")
def mariadb_fixture() -> Iterator[MariaDB]:
    with MariaDB() as server:
        yield server


@pytest.fixture(params=["sqlite", "mariadb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Mapping[str, str], Rows]:
    """The variables of a store of either kind, and a way to its rows."""
    if request.param == "sqlite":

        def rows(statement: str, *parameters: Any) -> list[Any]:
            with closing(sqlite3.connect(tmp_path / "resourced.sqlite", 20)) as connection, connection:
                return connection.execute(statement.replace("%s", "?"), parameters).fetchall()

        return {}, rows
    server: MariaDB = request.getfixturevalue("mariadb")
    name = f"steered_{request.node.name.translate(dict.fromkeys(map(ord, '[]-'), '_'))}"[:60]
    return (
        {"MYSQL_PORT": str(server.port), "MYSQL_DATABASE": name},
        lambda statement, *parameters: server.run(statement, *parameters, database=name),
    )


def test_as_agreed(tmp_path, store):
    """Each operation, in the order in which an operator may come to it, with every field of every answer."""
    with Daemon(tmp_path, store[0]) as daemon:
        printer, plotter = daemon.create("printer").json, daemon.create("Plotter", 7).json
        assert daemon.get("/resource", key=READ).json == {
            "resources": [{**plotter, "held": 0, "waiting": 0}, {**printer, "held": 0, "waiting": 0}],
            "next": None,
        }
        assert daemon.get("/resource?prefix=p&limit=1").json["resources"] == [{**printer, "held": 0, "waiting": 0}]
        assert daemon.get("/resource?limit=1").json["next"] == "Plotter"
        assert daemon.get("/resource?after=Plotter").json["resources"][0]["name"] == "printer"

        holder = daemon.get(A4, headers={"x-owner": "ci-7"})
        written = daemon.put(A4, '{"status": "ready"}', ticket=holder.ticket)
        waiter = daemon.get(A4, headers={"x-owner": "ci-8"})
        assert waiter.status == 202
        listing = daemon.get(PRINTER, key=READ).json
        assert listing["selectors"][0].pop("holder")["owner"] == "ci-7"
        assert listing == {
            **printer,
            "held": 1,
            "waiting": 1,
            "selectors": [{"selector": "A4", "data": True, "held": True, "waiting": 1}],
            "next": None,
        }
        state = daemon.get(f"{A4}/lock", key=READ).json
        assert 290 <= state["holder"].pop("left") <= 300
        assert 3000 <= state["queue"][0].pop("left") <= 3600
        assert state["holder"].pop("held") <= 10
        assert state["queue"][0].pop("waited") <= 10
        assert state == {
            "resource": "printer",
            "selector": "A4",
            "locked": True,
            "holder": {"owner": "ci-7", "key": "default", "fence": holder.fence, "claimed": True},
            "waiting": 1,
            "queue": [{"position": 1, "owner": "ci-8", "key": "default"}],
            "next": None,
        }

        tag = written.headers["etag"]
        for method in ("GET", "HEAD"):
            unchanged = daemon.request(method, f"{A4}?lock=0", headers={"If-None-Match": tag})
            assert (unchanged.status, unchanged.body, unchanged.headers["etag"]) == (304, b"", tag)
        assert daemon.put(A4, "1", ticket=holder.ticket, headers={"If-Match": tag}).status == 204
        refused = daemon.put(A4, "2", ticket=holder.ticket, headers={"If-Match": tag})
        assert (refused.status, refused.code) == (412, "precondition_failed")
        refused = daemon.put(A4, "2", ticket=holder.ticket, headers={"If-None-Match": "*"})
        assert (refused.status, refused.code) == (412, "precondition_failed")

        changed = daemon.request("PATCH", PRINTER, body='{"timeout": 60}')
        assert (changed.status, changed.json) == (200, {**printer, "timeout": 60})
        assert daemon.put(A4, "3", ticket=holder.ticket).status == 204
        assert daemon.get(f"{A4}/lock").json["holder"]["left"] <= 60

        wrong = daemon.request("DELETE", f"{A4}/lock?fence={holder.fence + 1}")
        assert (wrong.status, wrong.code) == (412, "fence_mismatch")
        assert daemon.request("DELETE", f"{A4}/lock?fence={holder.fence}").status == 204
        assert daemon.put(A4, "4", ticket=holder.ticket).status == 410
        assert daemon.get(f"{A4}/lock").json["holder"]["owner"] == "ci-8"
        assert daemon.get(A4, ticket=waiter.ticket).json["data"] == "3"
        in_use = daemon.request("DELETE", PRINTER)
        assert (in_use.status, in_use.code) == (423, "in_use")
        assert daemon.request("DELETE", f"{A4}?unlock=1", ticket=waiter.ticket).status == 204
        assert daemon.get(f"{A4}?lock=0").code == "no_data"
        assert daemon.get(f"{A4}/lock").json["locked"] is False
        assert daemon.request("DELETE", PRINTER).status == 204
        assert daemon.get(PRINTER).code == "unknown_resource"
        assert [resource["name"] for resource in daemon.get("/resource").json["resources"]] == ["Plotter"]
        assert "Traceback" not in daemon.log


def test_use_is_counted_once(tmp_path, store):
    """The use is counted by housekeeping, once, however often the daemon is killed meanwhile."""
    with Daemon(tmp_path, store[0]) as daemon:
        daemon.create("printer")

        def grants() -> list[int]:
            return [unit["grants"] for unit in daemon.get("/usage?resource=printer").json["units"]]

        for times in (1, 2, 3):
            ticket = daemon.post(f"{A4}/lock").ticket
            assert daemon.post(f"{A4}/unlock", ticket=ticket).status == 200
            daemon.kill()
            daemon.start()
            eventually(lambda: grants() == [times])  # noqa: B023 - it is asked at once


def test_what_outlives_the_daemon(tmp_path, store):
    """After a crash the lists, timeouts and tags are what they were; a broken lock stays broken, and what was removed is gone."""
    with Daemon(tmp_path, store[0]) as daemon:
        for name in ("printer", "scanner", "gone"):
            daemon.create(name)
        daemon.request("PATCH", PRINTER, body='{"timeout": 60}')
        holder = daemon.post(f"{A4}/lock", headers={"x-owner": "a"})
        tag = daemon.put(A4, "1", ticket=holder.ticket).headers["etag"]
        next_waiter = daemon.post(f"{A4}/lock", headers={"x-owner": "b"})
        broken = daemon.post("/resource/scanner/glass/lock")
        assert daemon.request("DELETE", f"/resource/scanner/glass/lock?fence={broken.fence}").status == 204
        assert daemon.request("DELETE", "/resource/gone").status == 204

        def lists() -> tuple[object, object]:
            listing = daemon.get(PRINTER).json
            for seconds in ("held", "left"):
                del listing["selectors"][0]["holder"][seconds]
            return daemon.get("/resource").json, listing

        before = lists()
        daemon.kill()
        daemon.start()
        assert lists() == before
        assert daemon.get(f"{A4}?lock=0").headers["etag"] == tag
        state = daemon.get(f"{A4}/lock").json
        assert (state["holder"]["owner"], state["holder"]["fence"]) == ("a", holder.fence)
        assert [waiter["owner"] for waiter in state["queue"]] == ["b"]
        assert daemon.get(f"{A4}?lock=1", ticket=holder.ticket).headers["x-lease"] == "60"
        assert daemon.post("/resource/scanner/glass/lock", ticket=broken.ticket).status == 410
        assert daemon.request("DELETE", f"{A4}/lock?fence={holder.fence}").status == 204
        assert daemon.post(f"{A4}/lock", ticket=next_waiter.ticket).fence > broken.fence


def test_what_is_removed_goes_away(tmp_path, store):
    """The data of a removed resource is deleted behind it, by the next daemon if need be; nobody sees or gets any of it meanwhile."""
    environ, rows = store
    with Daemon(tmp_path, environ) as daemon:
        for name in ("printer", "scanner"):
            identity = daemon.create(name).json["id"]
            for number in range(350):
                rows(
                    "INSERT INTO resource_data (id, id_resource, selector, data) VALUES (%s, %s, %s, '1')",
                    f"{name}-{number}",
                    identity,
                    f"s{number}",
                )
        assert daemon.request("DELETE", PRINTER).status == 204
        daemon.kill()
        daemon.start()
        assert daemon.create("printer").json["id"] != identity
        assert daemon.get(f"{PRINTER}/s1?lock=0").code == "no_data"
        assert daemon.get(PRINTER).json["selectors"] == []
        eventually(lambda: rows("SELECT COUNT(*) FROM resource_data")[0][0] == 350 or None, what="it is gone")
        eventually(lambda: rows("SELECT COUNT(*) FROM resource")[0][0] == 2 or None, what="its row is gone too")
        assert len(daemon.get("/resource/scanner?limit=1000").json["selectors"]) == 350
        assert "Traceback" not in daemon.log


def test_lists_hold_up_no_lock(tmp_path, store):
    """While clients list thousands of selectors again and again, others lock, write and unlock."""
    environ, rows = store
    with Daemon(tmp_path, environ) as daemon:
        identity = daemon.create("printer").json["id"]
        for start in range(0, 4000, 500):
            values = ", ".join(f"('{n}', '{identity}', 's{n:05}', '1')" for n in range(start, start + 500))
            rows(f"INSERT INTO resource_data (id, id_resource, selector, data) VALUES {values}")
        listing = [daemon.ask("GET", f"{PRINTER}?limit=1000") for _ in range(20)]
        ticket = ""
        for number in range(10):
            ticket = daemon.post(f"{A4}/lock", ticket=ticket).ticket
            assert daemon.put(A4, str(number), ticket=ticket).status == 204
            assert daemon.post(f"{A4}/unlock", ticket=ticket).json == {"unlocked": True}
        for request in listing:
            with closing(request):
                page = request.answer()
                assert page.status == 200
                names = [each["selector"] for each in page.json["selectors"]]
                assert len(names) == 1000
                assert names == sorted(names)
        names, after = [], ""
        while after is not None:
            page = daemon.get(f"{PRINTER}?prefix=s&limit=1000&after={after}").json
            names += [each["selector"] for each in page["selectors"]]
            after = page["next"]
        assert names == [f"s{n:05}" for n in range(4000)]


def test_listed_after_a_kill(tmp_path, store):
    """A daemon that was killed lists who holds and who waits as it did before, in the same order."""
    with Daemon(tmp_path, store[0]) as daemon:
        for name in ("printer", "phones"):
            daemon.post("/resource", json.dumps({"name": name, "group": "devices"}))
        daemon.request("PATCH", "/resource/phones/red", body='{"tags": ["android"]}')
        first = daemon.post(f"{PRINTER}/A5/lock").ticket
        for path in (A4, "/resource/phones/red", f"{PRINTER}/A5"):
            daemon.post(f"{path}/lock", headers={"x-owner": "ci-7"})
        daemon.post("/lock", json.dumps({"want": [{"resource": "phones"}, {"resource": "printer", "selector": "A4"}]}))
        daemon.post(f"{A4}/lock", headers={"x-owner": "ci-8"})
        daemon.post(f"{PRINTER}/A5/unlock", ticket=first)

        def names(query: str = "") -> list[str]:
            rows = daemon.get(f"/locks{query}", key=READ).json["locks"]
            return [row.get("selector") or row["want"][0]["resource"] for row in rows]

        for _ in range(2):
            assert names() == ["A4", "red", "A5"]
            assert names("?resource=printer&owner=ci-7") == ["A4", "A5"]
            assert names("?sort=waiting") == ["phones", "A4"]
            daemon.kill()
            daemon.start()
