"""The page about backups, done as it says on a running daemon, and what ``RESOURCED_RESTORED`` makes of the copy."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from resourced.service.restoration import LEAP
from tests.daemon import Answer, Daemon
from tests.documents import read_blocks
from tests.stores import MySQLBackend, mariadb_fixture, mysql_fixture  # noqa: F401 - fixtures

PAGE = Path(__file__).parent.parent.parent / "docs" / "how-to" / "backup.rst"
BLOCKS = {block.caption: block.text for block in read_blocks(PAGE.read_text(), "docs/how-to/backup.rst")}
A4 = "/resource/printer/A4"


def do(caption: str, folder: Path) -> None:
    """Do what a block of the page says."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    subprocess.run(["bash", "-euc", BLOCKS[caption]], cwd=folder, env=environ, check=True, timeout=60)


@pytest.fixture(params=["sqlite", "mysql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Mapping[str, str]:
    """Return the settings of a store that the blocks of the page are about."""
    if request.param == "sqlite":
        return {"RESOURCED_STORE": "sqlite:resourced.sqlite"}
    mysql: MySQLBackend = request.getfixturevalue("mysql")
    (tmp_path / ".my.cnf").write_text(f"[client]\nhost=127.0.0.1\nport={mysql.server.port}\nuser=root\n")
    mysql.server.run("DROP DATABASE IF EXISTS small_swoole_resource")
    return {"RESOURCED_STORE": "mysql", "MYSQL_PORT": str(mysql.server.port)}


def lock(daemon: Daemon, selector: str = "A4", owner: str = "someone", ticket: str = "") -> Answer:
    return daemon.post(f"/resource/printer/{selector}/lock", ticket=ticket, headers={"x-owner": owner})


def newest(daemon: Daemon) -> int:
    return int(daemon.get(f"{A4}/events?limit=1").json["events"][0]["id"])


def test_restore(tmp_path, store):
    """
    After a restore no fence and no id is given out twice, nobody holds or waits by the backup, and the history says so; a word that is left set
    ends nothing more, and never leads back; another one does it again.
    """
    kind = "mysql" if store["RESOURCED_STORE"] == "mysql" else "sqlite"
    with Daemon(tmp_path, store) as daemon:
        daemon.create("printer")
        held, waits = lock(daemon, owner="holder"), lock(daemon, owner="waiter")
        assert (held.status, waits.status) == (200, 202)
        assert daemon.put(A4, '{"labels": 1}', ticket=held.ticket).status == 204
        do(f"{kind} backup", tmp_path)
        [backup] = tmp_path.glob("backup.*")
        assert backup.stat().st_mode & 0o077 == 0
        # What is lost: higher fences, ids, and data.
        assert daemon.put(A4, '{"labels": 2}', ticket=held.ticket).status == 204
        later = [lock(daemon, f"later-{number}").fence for number in range(5)]
        last = newest(daemon)
        daemon.terminate()
        do(f"{kind} restore", tmp_path)

        daemon.environ = {**store, "RESOURCED_RESTORED": "1"}
        daemon.start()
        assert "2 places were ended" in daemon.log
        assert daemon.get(f"{A4}?lock=0").json["data"] == '{"labels": 1}'
        assert daemon.get("/resource/printer").json["held"] == 0
        for ticket in (held.ticket, waits.ticket):
            assert daemon.put(A4, "3", ticket=ticket).status == 410
        events = daemon.get(f"{A4}/events").json["events"]
        assert {(e["event"], e["owner"], e["by"], e["reason"]) for e in events[:2]} == {
            ("break", owner, "resourced", "the database was restored from a backup") for owner in ("holder", "waiter")
        }
        assert min(event["id"] for event in events[:2]) > last + LEAP // 2
        again = lock(daemon, owner="first after")
        assert again.fence > max(later) + LEAP // 2

        # It is left set, and the daemon dies.
        daemon.kill()
        daemon.start()
        assert "was acted on before" in daemon.log
        assert lock(daemon, ticket=again.ticket).fence == again.fence
        assert lock(daemon, "A5").fence > again.fence + LEAP // 2
        daemon.terminate()
        daemon.environ = {**store, "RESOURCED_RESTORED": "2026-11-28"}
        daemon.start()
        assert daemon.get("/resource/printer").json["held"] == 0
        daemon.terminate()


def test_numbers_leap_though_nothing_happens(tmp_path):
    """What leaps is kept at once: also if nobody asks for anything before the next start, which knows nothing of it."""
    with Daemon(tmp_path, {"RESOURCED_RESTORED": "x"}) as daemon:
        assert daemon.get("/health").status == 200
        daemon.kill()
        daemon.environ = {}
        daemon.start()
        daemon.create("printer")
        assert lock(daemon).fence > LEAP
        assert newest(daemon) > LEAP


def test_without_the_word(tmp_path, store):
    """Without the word a restored database gives out what was given out: this is what it is for."""
    kind = "mysql" if store["RESOURCED_STORE"] == "mysql" else "sqlite"
    with Daemon(tmp_path, store) as daemon:
        daemon.create("printer")
        do(f"{kind} backup", tmp_path)
        fence = lock(daemon).fence
        daemon.terminate()
        do(f"{kind} restore", tmp_path)
        daemon.start()
        assert lock(daemon, "A5").fence == fence
        daemon.terminate()
