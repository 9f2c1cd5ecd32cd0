"""
A real daemon in a process of its own: how it starts and ends, what it keeps from one life to the next, and what it says.

These tests are not asynchronous. They block the reactor, which the daemon does not need: it has its own.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from types import SimpleNamespace

import pytest
from twisted.internet.task import Clock

from resourced.service.daemon import TwistdProcess
from resourced.settings import SETTINGS
from tests.clocks import Clocks
from tests.daemon import KEYS, LOCK, PATIENCE, READ, TWISTD, Answer, Daemon, eventually
from tests.mariadb import MariaDB
from tests.preloaded import RESOURCED

STORES = ("sqlite", "mariadb")
A4 = "/resource/printer/A4"
TICKET = re.compile("[0-9a-f]{32}")
ETAG = re.compile('"[0-9a-f]{16}"')
UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def mariadb():
    with MariaDB() as server:
        yield server


def in_mariadb(server: MariaDB, **more: str) -> dict[str, str]:
    """Name a database that is not there yet, by no other variables than those of the original server."""
    return {"MYSQL_PORT": str(server.port), "MYSQL_DATABASE": f"fresh_{next(_numbers)}", **more}


@pytest.fixture(params=STORES)
def store(request) -> dict[str, str]:
    """The variables for a store of each kind."""
    return in_mariadb(request.getfixturevalue("mariadb")) if request.param == "mariadb" else {}


def headers(answer: Answer) -> dict[str, str]:
    """Return the headers that belong to what is answered, after a look at those that every answer has."""
    left = dict(answer.headers)
    assert left.pop("server") == "resourced"
    assert left.pop("x-content-type-options") == "nosniff"
    assert left.pop("date").endswith(" GMT")
    if answer.body:
        assert left.pop("content-type") == "application/json"
        assert left.pop("content-length") == str(len(answer.body))
        assert left.pop("cache-control") == "no-store"
    return left


def hold(daemon: Daemon, path: str = A4, data: str = '{"status": "ready"}') -> Answer:
    """Take a lock that is free, and write with it."""
    answer = daemon.post(f"{path}/lock")
    assert (answer.status, answer.body) == (200, b'{"locked": true}')
    assert daemon.put(path, data, ticket=answer.ticket).status == 204
    return answer


def queue(daemon: Daemon, position: int, path: str = A4) -> str:
    """Get in line for a lock that someone else has; return the ticket."""
    answer = daemon.get(path, key=LOCK)
    assert (answer.status, answer.json) == (202, {"unavailable": True, "position": position})
    return answer.ticket


class TestWalk:
    def test_two_clients_share_a_printer(self, tmp_path, store):
        """Create, find nothing and lock, write, wait, unlock, read: each answer is to the letter what the contract says."""
        with (
            Daemon(tmp_path, {**store, "RESOURCED_CLAIM": "30"}) as daemon,
            closing(daemon.connect()) as first,
            closing(daemon.connect()) as second,
        ):
            created = first.ask("POST", "/resource", body='{"name": "printer", "timeout": 300}').answer()
            assert created.status == 201
            resource = created.json["id"]
            assert UUID.fullmatch(resource)
            assert created.body == b'{"id": "%s", "name": "printer", "timeout": 300}' % resource.encode()
            assert headers(created) == {"location": "/resource/printer"}

            empty = first.ask("GET", A4, key=LOCK).answer()
            assert empty.status == 404
            assert empty.code == "no_data"
            assert TICKET.fullmatch(empty.ticket)
            assert headers(empty) == {"x-ticket": empty.ticket, "x-fence": "1", "x-lease": "30"}

            data = '{"status":\t"ready", "paper": "\u00e9\\u00e9", "n": 1.0E+2}'
            put = first.ask("PUT", A4, ticket=empty.ticket, body=data).answer()
            assert (put.status, put.body) == (204, b"")
            etag = put.headers["etag"]
            assert ETAG.fullmatch(etag)
            assert headers(put) == {"etag": etag, "x-lease": "300"}

            waits = second.ask("GET", A4, key=LOCK).answer()
            assert (waits.status, waits.body) == (202, b'{"unavailable": true, "position": 1}')
            assert TICKET.fullmatch(waits.ticket)
            assert waits.ticket != empty.ticket
            assert headers(waits) == {"x-ticket": waits.ticket, "retry-after": "1"}

            unlocked = first.ask("POST", f"{A4}/unlock", key=READ, ticket=empty.ticket).answer()
            assert (unlocked.status, unlocked.body) == (200, b'{"unlocked": true}')
            assert headers(unlocked) == {}

            read = second.ask("GET", A4, key=LOCK, ticket=waits.ticket).answer()
            assert read.status == 200
            assert list(read.json) == ["id", "idResource", "selector", "data"]
            assert UUID.fullmatch(read.json["id"])
            assert read.json == {"id": read.json["id"], "idResource": resource, "selector": "A4", "data": data}
            assert headers(read) == {"x-ticket": waits.ticket, "x-fence": "2", "x-lease": "300", "etag": etag}

    def test_waiting_request_is_answered_at_unlock(self, tmp_path, store):
        """A request that waits gets the lock when it is released, not when its time is over."""
        with Daemon(tmp_path, store | {"RESOURCED_MAX_WAIT": "1000"}) as daemon, closing(daemon.connect()) as waiting:
            daemon.create("printer")
            holder = hold(daemon)
            waiting.ask("GET", A4, key=LOCK, headers={"Prefer": "wait=1000"})
            # The answers to others that came later show that it had its turn.
            assert all(daemon.healthy() for _ in range(5))
            assert not waiting.answered
            assert daemon.post(f"{A4}/unlock", ticket=holder.ticket).json == {"unlocked": True}
            answer = waiting.answer()
            assert (answer.status, answer.json["data"]) == (200, '{"status": "ready"}')
            assert answer.headers["preference-applied"] == "wait=1000"
            assert answer.fence == holder.fence + 1


@pytest.mark.reference_path
class TestRestart:
    @pytest.mark.parametrize("end", ["terminate", "kill"])
    def test_locks_survive(self, tmp_path, store, end):
        """Data, the holder, the queue in its order and all tickets outlive the process; and no fence is given twice."""
        with Daemon(tmp_path, store) as daemon:
            daemon.create("printer", timeout=200)
            holder = hold(daemon)
            second, third = queue(daemon, 1), queue(daemon, 2)
            other = daemon.get("/resource/printer/empty")
            assert other.code == "no_data"
            gone = daemon.post("/resource/printer/gone/lock")
            daemon.post("/resource/printer/gone/unlock", ticket=gone.ticket)

            getattr(daemon, end)()
            daemon.start()

            assert daemon.get(A4, key=LOCK, ticket=third).json["position"] == 2
            assert daemon.get(A4, key=LOCK, ticket=second).json["position"] == 1
            kept = daemon.get(A4, key=LOCK, ticket=holder.ticket)
            assert (kept.status, kept.fence, kept.headers["x-lease"]) == (200, holder.fence, "200")
            assert kept.json["data"] == '{"status": "ready"}'
            assert daemon.put(A4, "2", ticket=second).code == "locked"
            assert daemon.put(A4, "2", ticket=holder.ticket).status == 204
            assert daemon.get("/resource/printer/empty", ticket=other.ticket).fence == other.fence

            assert daemon.post(f"{A4}/unlock", ticket=holder.ticket).json == {"unlocked": True}
            assert daemon.get(A4, key=LOCK, ticket=third).json["position"] == 1
            next_waiter = daemon.get(A4, key=LOCK, ticket=second)
            assert (next_waiter.status, next_waiter.json["data"]) == (200, "2")
            assert next_waiter.fence > gone.fence > other.fence > holder.fence

    def test_fences_never_repeat(self, tmp_path, store):
        """A lock that is taken in one life after another has a higher fence each time, whether or not locks are kept, and are left behind."""
        fences: list[int] = []
        for arguments in ((), ("--volatile-locks",), (), ("--volatile-locks",)):
            with Daemon(tmp_path, store, arguments) as daemon:
                if not fences:
                    daemon.create("printer")
                for _ in range(2):
                    lock = daemon.post(f"{A4}/lock")
                    assert lock.status == 200
                    daemon.post(f"{A4}/unlock", ticket=lock.ticket)
                    fences.append(lock.fence)
                daemon.post("/resource/printer/left/lock")
        assert all(fence < later for fence, later in itertools.pairwise(fences)), fences

    @pytest.mark.parametrize("end", ["terminate", "kill"])
    def test_volatile_locks_are_forgotten(self, tmp_path, store, end):
        """With --volatile-locks a restart keeps the data and forgets the tickets, and still no fence is given twice."""
        with Daemon(tmp_path, store, ("--volatile-locks",)) as daemon:
            daemon.create("printer")
            holder = hold(daemon)
            waiter = queue(daemon, 1)
            getattr(daemon, end)()
            daemon.start()
            assert daemon.get(A4, ticket=holder.ticket).code == "ticket_ended"
            assert daemon.put(A4, "2", ticket=waiter).code == "ticket_ended"
            fresh = daemon.get(A4, key=LOCK)
            assert (fresh.status, fresh.json["data"]) == (200, '{"status": "ready"}')
            assert fresh.fence > holder.fence

    def test_one_daemon_at_a_time(self, tmp_path, store):
        """A store that a daemon serves already is not served by a second one, and the first is not disturbed."""
        store = store or {"RESOURCED_STORE": f"sqlite:{tmp_path}/both.sqlite"}
        (tmp_path / "second").mkdir()
        with Daemon(tmp_path, store) as daemon:
            daemon.create("printer")
            holder = hold(daemon)
            assert "Another daemon serves this store already." in Daemon(tmp_path / "second", store).fails()
            assert daemon.put(A4, "2", ticket=holder.ticket).status == 204

    def test_younger_daemon_takes_over(self, tmp_path, mariadb):
        """
        A daemon that was cut off from its database, and that another one has replaced, ends as soon as it is back.

        What it is asked to write until then it refuses.
        """
        store = in_mariadb(mariadb)
        (tmp_path / "young").mkdir()
        with Daemon(tmp_path, store) as old, closing(old.connect()) as late:
            old.create("printer")
            holder = hold(old)
            waiter = queue(old, 1)
            assert late.ask("GET", "/health").answer().status == 200
            old.freeze()
            for (number,) in mariadb.run("SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID()"):
                mariadb.end_connection(number)
            with Daemon(tmp_path / "young", store) as young:
                assert young.post(f"{A4}/unlock", ticket=holder.ticket).json == {"unlocked": True}
                next_waiter = young.get(A4, ticket=waiter)
                assert (next_waiter.status, young.put(A4, '"young"', ticket=waiter).status) == (200, 204)

                late.ask("PUT", A4, body='"old"', ticket=holder.ticket)
                old.thaw()
                assert late.answer().status == 503
                assert old.wait() == 1
                assert "Another daemon has taken over this store" in old.log
                assert young.get(f"{A4}?lock=0").json["data"] == '"young"'
                assert young.get(A4, ticket=waiter).fence == next_waiter.fence


@pytest.mark.reference_path
class TestStop:
    def test_idle_daemon_ends_at_once(self, tmp_path, store):
        """An idle daemon that is asked to end does so at once, whatever connections are open to it."""
        environ = store | {"RESOURCED_GRACE": "1000"}
        with (
            Daemon(tmp_path, environ) as daemon,
            closing(daemon.connect()) as idle,
            closing(daemon.connect()) as silent,
        ):
            assert idle.ask("GET", "/health").answer().status == 200
            silent.connect()
            assert daemon.terminate() == -signal.SIGTERM
            assert "Traceback" not in daemon.log

    def test_waiting_request_is_answered(self, tmp_path, store):
        """At the end of the daemon a request that waits is told to try again, and its ticket has its place in the next life."""
        environ = store | {"RESOURCED_GRACE": "1000", "RESOURCED_MAX_WAIT": "1000"}
        with Daemon(tmp_path, environ) as daemon, closing(daemon.connect()) as waiting:
            daemon.create("printer")
            holder = hold(daemon)
            first = queue(daemon, 1)
            waiting.ask("GET", f"{A4}?wait=1000", key=LOCK)
            assert all(daemon.healthy() for _ in range(5))
            assert daemon.terminate() == -signal.SIGTERM
            answer = waiting.answer()
            assert (answer.status, answer.json) == (202, {"unavailable": True, "position": 2})
            assert answer.headers["connection"] == "close"
            assert "Traceback" not in daemon.log

            daemon.start()
            assert daemon.post(f"{A4}/unlock", ticket=holder.ticket).json == {"unlocked": True}
            assert daemon.get(A4, key=LOCK, ticket=answer.ticket).json["position"] == 1
            assert daemon.get(A4, key=LOCK, ticket=first).status == 200


class TestWrongSettings:
    def test_every_variable(self, tmp_path):
        """A variable with a wrong value, or its option, ends the start with a sentence that names it, and status 1."""
        for setting in SETTINGS:
            wrong = {"listen": "nowhere:1", "store": "paper", "mysql-port": "70000", "mysql-password": "\udcff"}
            value = wrong.get(setting.option, "\x1b")
            mysql = {"RESOURCED_STORE": "mysql"} if setting.option.startswith("mysql") else {}
            folder = tmp_path / setting.option
            folder.mkdir()
            printed = Daemon(folder, {**mysql, setting.variable: value}).fails()
            last = printed.rstrip().splitlines()[-1]
            named = f"{setting.variable} (--{setting.option})" if setting.option == "listen" else setting.variable
            assert f": {named} " in last, last
            assert "Traceback" not in printed

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (
                ("--lease", "never"),
                'RESOURCED_LEASE (--lease) must be a number of seconds above 0 and at most 31622400, not "never".',
            ),
            (
                ("--resource-read", "two words"),
                "RESOURCE_READ (--resource-read) must be printable ASCII without spaces.",
            ),
            (("--listen", "tcp:http"), "RESOURCED_LISTEN (--listen) is no endpoint of Twisted: "),
            (("--node-listen", "tcp:http"), "RESOURCED_NODE_LISTEN (--node-listen) is no endpoint of Twisted: "),
            (("--listen", "ssl:0:privateKey=/dev/null:certKey=/dev/null"), "its key or its certificate is no PEM"),
            (("--no-such-option",), "option --no-such-option not recognized"),
        ],
    )
    @pytest.mark.parametrize("command", [RESOURCED, TWISTD])
    def test_option(self, tmp_path, command, arguments, sentence):
        """A wrong option is told in a sentence, by either way to start the daemon."""
        log = Daemon(tmp_path, arguments=arguments, command=command).fails()
        assert sentence in log.rstrip().splitlines()[-1]

    def test_no_key(self, tmp_path):
        """With no key at all nobody could use the daemon, so it does not start."""
        log = Daemon(tmp_path, dict.fromkeys(KEYS, "")).fails()
        assert "Set one or more of RESOURCE_READ, RESOURCE_READ_LOCK and RESOURCE_WRITE" in log

    def test_one_key_is_enough(self, tmp_path):
        """A role without a key is open to nobody."""
        with Daemon(tmp_path, {"RESOURCE_READ": "", "RESOURCE_READ_LOCK": ""}) as daemon:
            daemon.create("printer")
            assert daemon.get(f"{A4}?lock=0", key=READ).code == "unauthorized"
            assert daemon.request("GET", f"{A4}?lock=0", key="", headers={"x-api-key": ""}).status == 401


class TestFailedStart:
    def fails(self, daemon: Daemon, sentence: str) -> None:
        log = daemon.fails()
        assert sentence in log
        assert "Traceback" not in log
        # The port opens last.
        assert "Listening" not in log

    def test_port_taken(self, tmp_path):
        """A port that somebody else has is told by the name of its setting."""
        with closing(socket.create_server(("127.0.0.1", 0))) as other:
            daemon = Daemon(tmp_path, port=other.getsockname()[1])
            self.fails(daemon, "RESOURCED_LISTEN cannot be used: ")

    def test_port_too_large(self, tmp_path):
        """So is a port that no machine has."""
        self.fails(
            Daemon(tmp_path, listen="tcp:65536"), "RESOURCED_LISTEN cannot be used: bind(): port must be 0-65535."
        )

    def test_no_folder_for_socket(self, tmp_path):
        """So is a Unix socket in a folder that is not there."""
        self.fails(Daemon(tmp_path, listen=f"unix:{tmp_path}/no/socket"), "RESOURCED_LISTEN cannot be used: ")

    @pytest.mark.parametrize("path", ["no/such/folder/store", "."])
    def test_unusable_file(self, tmp_path, path):
        """An SQLite file that cannot be opened is told with its path."""
        daemon = Daemon(tmp_path, {"RESOURCED_STORE": f"sqlite:{path}"})
        self.fails(daemon, "unable to open database file" if path == "." else "cannot be opened")
        assert str(tmp_path / path) in daemon.log

    def test_other_file(self, tmp_path):
        """A file that is no SQLite file is left as it is."""
        (tmp_path / "notes").write_text("Buy paper for the printer. " * 100)
        daemon = Daemon(tmp_path, {"RESOURCED_STORE": "sqlite:notes"})
        self.fails(daemon, f"Cannot use SQLite, file {tmp_path}/notes: file is not a database")
        assert (tmp_path / "notes").read_text() == "Buy paper for the printer. " * 100

    def test_newer_file(self, tmp_path):
        """A file that a newer version has used is told as such, and left as it is."""
        with Daemon(tmp_path) as daemon:
            daemon.terminate()
            with closing(sqlite3.connect(tmp_path / "resourced.sqlite")) as connection, connection:
                connection.execute("UPDATE schema_version SET version = 1000")
            self.fails_again(daemon)

    def test_newer_database(self, tmp_path, mariadb):
        """So is a database."""
        store = in_mariadb(mariadb)
        with Daemon(tmp_path, store) as daemon:
            daemon.terminate()
            mariadb.run("UPDATE schema_version SET version = 1000", database=store["MYSQL_DATABASE"])
            self.fails_again(daemon)

    def fails_again(self, daemon: Daemon) -> None:
        log = daemon.fails()
        assert "Its schema has version 1000, and this server knows none above" in log
        assert log.count("Listening") == 1

    def test_no_database_server(self, tmp_path):
        """A database server that is not there is told with its address."""
        with closing(socket.socket()) as nobody:
            nobody.bind(("127.0.0.1", 0))
            port = nobody.getsockname()[1]
            daemon = Daemon(tmp_path, {"MYSQL_PORT": str(port)})
            self.fails(daemon, f"Cannot use MySQL, database small_swoole_resource at 127.0.0.1:{port} as user root: ")

    def test_silent_database_server(self, tmp_path):
        """A database server that takes connections and says nothing is given up after the store's timeout."""
        with closing(socket.create_server(("127.0.0.1", 0))) as silent:
            environ = {"MYSQL_PORT": str(silent.getsockname()[1]), "RESOURCED_STORE_TIMEOUT": "0.5"}
            self.fails(Daemon(tmp_path, environ), "Cannot use MySQL, database small_swoole_resource at 127.0.0.1:")

    def test_wrong_password(self, tmp_path, mariadb):
        """A database server that refuses the user is told, without the password."""
        daemon = Daemon(tmp_path, in_mariadb(mariadb, MYSQL_USER="nobody", MYSQL_PASSWORD="wrong-pass-word"))
        self.fails(daemon, "Access denied for user 'nobody'@")
        assert "wrong-pass-word" not in daemon.log

    def test_somebody_elses_database(self, tmp_path, mariadb):
        """A database that the user may not use is told by its name."""
        mariadb.run("CREATE USER guest@'%' IDENTIFIED BY 'of the house'")
        daemon = Daemon(tmp_path, in_mariadb(mariadb, MYSQL_USER="guest", MYSQL_PASSWORD="of the house"))
        self.fails(daemon, f"to database '{daemon.environ['MYSQL_DATABASE']}'")
        assert "of the house" not in daemon.log

    def test_impossible_database(self, tmp_path, mariadb):
        """A name that no database can have is told."""
        daemon = Daemon(tmp_path, in_mariadb(mariadb) | {"MYSQL_DATABASE": "x" * 65})
        self.fails(daemon, "x" * 65)

    def test_stop_while_starting(self, tmp_path):
        """A daemon that waits for its database while it starts can be asked to end."""
        with closing(socket.create_server(("127.0.0.1", 0))) as silent:
            environ = {"MYSQL_PORT": str(silent.getsockname()[1]), "RESOURCED_STORE_TIMEOUT": "1"}
            daemon = Daemon(tmp_path, environ)
            try:
                daemon.launch()
                # It has come: now it waits for a greeting.
                with closing(silent.accept()[0]):
                    assert daemon.terminate() == -signal.SIGTERM
                assert "Traceback" not in daemon.log
            finally:
                daemon.kill()


class TestWhichStore:
    def test_file_in_working_directory(self, tmp_path):
        """With nothing said the store is an SQLite file in the working directory, and the log says so."""
        with Daemon(tmp_path) as daemon:
            assert f"The store is SQLite, file {tmp_path}/resourced.sqlite." in daemon.log
        assert (tmp_path / "resourced.sqlite").exists()

    def test_file_in_state_directory(self, tmp_path):
        """A service manager that gives a directory for state gets the file there."""
        (tmp_path / "state").mkdir()
        with Daemon(tmp_path, {"STATE_DIRECTORY": str(tmp_path / "state")}) as daemon:
            assert f"The store is SQLite, file {tmp_path}/state/resourced.sqlite." in daemon.log
        assert (tmp_path / "state" / "resourced.sqlite").exists()
        assert not (tmp_path / "resourced.sqlite").exists()

    @pytest.mark.parametrize(
        ("environ", "arguments"),
        [
            ({}, ("--store", "sqlite:kept/here")),
            ({"RESOURCED_STORE": "sqlite:kept/here"}, ()),
            ({"RESOURCED_STORE": "mysql", "MYSQL_HOST": "nowhere.invalid"}, ("--store", "sqlite:kept/here")),
        ],
    )
    def test_file_by_name(self, tmp_path, environ, arguments):
        """A file that is named is used whatever else is set, and an option wins over a variable."""
        (tmp_path / "kept").mkdir()
        with Daemon(tmp_path, environ, arguments) as daemon:
            assert f"The store is SQLite, file {tmp_path}/kept/here." in daemon.log
        assert (tmp_path / "kept" / "here").exists()

    @pytest.mark.parametrize("said", ["MYSQL_HOST", "MYSQL_USER", "MYSQL_PASSWORD"])
    def test_any_mysql_variable(self, tmp_path, said):
        """Any MYSQL variable, even an empty one, makes it MySQL; nothing is silently put into a file instead."""
        arguments = ("--mysql-port", "1")
        log = Daemon(tmp_path, {said: "127.0.0.1" if said == "MYSQL_HOST" else ""}, arguments).fails()
        assert "The store is MySQL, database small_swoole_resource at 127.0.0.1:1 as user root." in log
        assert not list(tmp_path.glob("*.sqlite*"))

    def test_database(self, tmp_path, mariadb):
        """With the variables of the original server only, the database is made and the log says where it is."""
        store = in_mariadb(mariadb, MYSQL_HOST="127.0.0.1", MYSQL_USER="root", MYSQL_PASSWORD="")
        with Daemon(tmp_path, store) as daemon:
            name = store["MYSQL_DATABASE"]
            assert f"The store is MySQL, database {name} at 127.0.0.1:{mariadb.port} as user root." in daemon.log
            daemon.create("printer")
        assert mariadb.run("SELECT name FROM resource", database=name) == [(b"printer",)]
        assert not list(tmp_path.glob("*.sqlite*"))


class TestWaysToRun:
    def test_twistd(self, tmp_path, store):
        """``twistd -n resourced`` is the same daemon as ``resourced``."""
        with Daemon(tmp_path, store, command=TWISTD) as daemon:
            daemon.create("printer")
            hold(daemon)
            assert daemon.terminate() == -signal.SIGTERM

    def test_in_the_background(self, tmp_path, store):
        """``twistd resourced`` goes into the background, serves from there, and leaves no pid file when it has ended."""
        pid_file = tmp_path / "pid"
        log = tmp_path / "twistd.log"
        daemon = Daemon(tmp_path, store)
        twistd = [TWISTD[0], f"--pidfile={pid_file}", f"--logfile={log}", "resourced"]
        subprocess.run(twistd, cwd=tmp_path, env=daemon.environment, timeout=PATIENCE, check=True)
        pid = int(pid_file.read_text())
        try:
            eventually(daemon.healthy, what="the daemon answers")
            daemon.create("printer")
            hold(daemon)
            os.kill(pid, signal.SIGTERM)
            eventually(lambda: not pid_file.exists(), what="the daemon has ended")
        finally:
            if pid_file.exists():
                os.kill(pid, signal.SIGKILL)
        assert "Stopped." in log.read_text()
        assert "Traceback" not in log.read_text()

    def test_any_free_port(self, tmp_path):
        """Told to take any port of one interface, it says which one it took."""
        daemon = Daemon(tmp_path, arguments=("--listen", "tcp:0:interface=127.0.0.1"), listen="tcp:1")
        try:
            daemon.launch()
            pattern = re.compile(r"Listening on 127\.0\.0\.1:(\d+)\.")
            [port] = eventually(lambda: pattern.findall(daemon.log), what="a line that tells the port")
            daemon.port = int(port)
            assert daemon.healthy()
            assert daemon.create("printer").json["name"] == "printer"
        finally:
            daemon.kill()

    @pytest.mark.parametrize("end", ["terminate", "kill"])
    def test_unix_socket(self, tmp_path, end):
        """It listens on a Unix socket with the mode that it is told, also after it left one behind."""
        path = tmp_path / "socket"
        with Daemon(tmp_path, arguments=("--listen", f"unix:{path}:mode=660"), listen=f"unix:{path}") as daemon:
            assert f"Listening on unix:{path}." in daemon.log
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            daemon.create("printer")
            holder = hold(daemon)
            getattr(daemon, end)()
            assert path.exists() == (end == "kill")
            daemon.start()
            assert daemon.get(A4, ticket=holder.ticket).fence == holder.fence
            # A Unix socket has no host, so a client has none to name.
            with closing(socket.socket(socket.AF_UNIX)) as client:
                client.connect(str(path))
                client.sendall(b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n")
                assert b"".join(iter(lambda: client.recv(4096), b"")).endswith(b'{"health": "ok"}')

    def test_more_connections_than_the_soft_limit(self, tmp_path):
        """The usual soft limit of open files, meant for other programs, does not limit the connections."""
        command = ("sh", "-c", 'ulimit -Sn 64; exec "$@"', "sh", *RESOURCED)
        with Daemon(tmp_path, command=command) as daemon, ExitStack() as stack:
            connections = [stack.enter_context(closing(daemon.connect())) for _ in range(150)]
            for connection in connections:
                connection.ask("GET", "/health")
            assert {connection.answer().status for connection in connections} == {200}


class TestClock:
    def test_setting_the_clock_changes_nothing(self, tmp_path):
        """Whether the machine's clock is set forward or back, locks neither end early nor last too long, and who waits is served."""
        clocks = Clocks(tmp_path / "clocks")
        with Daemon(tmp_path, clocks.environ) as daemon:
            daemon.create("printer", timeout=100)
            daemon.create("stapler", timeout=1)
            holder = hold(daemon)
            for days in (400, -400):
                lost = hold(daemon, "/resource/stapler/S1")
                with closing(daemon.ask("GET", "/resource/stapler/S1?wait=40")) as waiting:
                    assert all(daemon.healthy() for _ in range(5))
                    clocks.set_time_of_day(days * 86400)
                    date = time.strftime("%Y-%m-%dT", time.gmtime(time.time() + days * 86400))
                    next_waiter = waiting.answer()
                    assert next_waiter.status == 200
                # Its log goes by the machine's clock.
                assert f"\n{date}" in daemon.log
                assert daemon.put("/resource/stapler/S1", "1", ticket=lost.ticket).code == "ticket_ended"
                # Its own lease may be over by now.
                daemon.post("/resource/stapler/S1/unlock", ticket=next_waiter.ticket)
                assert daemon.get(A4, ticket=holder.ticket).fence == holder.fence
                assert daemon.post(f"{A4}/lock").status == 202


@pytest.mark.reference_path
class TestSecrets:
    def test_nothing_secret_is_printed(self, tmp_path, mariadb):
        """After good and bad requests, lost connections and a restart, neither keys, password, tickets nor data are in the log."""
        keys = {name: f"Secret-{name}-Z9q" for name in KEYS}
        mariadb.run("CREATE USER keeper@'%' IDENTIFIED BY 'Pass-word-Z9q'")
        store = in_mariadb(mariadb, MYSQL_USER="keeper", MYSQL_PASSWORD="Pass-word-Z9q")
        mariadb.run(f"GRANT ALL ON {store['MYSQL_DATABASE']}.* TO keeper@'%'")
        with Daemon(tmp_path, {**store, **keys}) as daemon:
            tickets = self.be_good_and_bad(daemon, *keys.values())
            for number in mariadb.connections(store["MYSQL_DATABASE"]):
                mariadb.end_connection(number)
            daemon.post("/resource", '{"name": "other"}', key=keys["RESOURCE_WRITE"])
            daemon.terminate()
            daemon.start()
            tickets |= self.be_good_and_bad(daemon, *keys.values())
            printed = daemon.log
        assert len(tickets) > 2
        assert printed.count(f"GET {A4} ") > 2
        for secret in ("Z9q", *tickets):
            assert secret not in printed

    def be_good_and_bad(self, daemon: Daemon, read: str, lock: str, write: str) -> set[str]:
        """Send secrets where they belong and where they do not; return the tickets that came back."""
        for name in ("printer", "printer", "", 7):
            daemon.post("/resource", json.dumps({"name": name, "timeout": 60}), key=write)
        targets = (A4, f"{A4}?lock=2", f"{A4}?wait=x", "/resource/%ff/A4", "/resource/unknown/A4", "/no/path")
        sent = itertools.product(targets, (read, lock, write), ("GET", "PUT", "POST", "FOO"))
        answers = [daemon.request(method, target, key=key, body='"Data-Z9q"') for target, key, method in sent]
        tickets = {answer.ticket for answer in answers if "x-ticket" in answer.headers}
        for ticket in (write, *sorted(tickets)):
            for body in ('"Data-Z9q"', '{"Data-Z9q": NaN}'):
                daemon.put(A4, body, key=write, ticket=ticket)
            daemon.put("/resource/printer/A5", '"Data-Z9q"', key=write, ticket=ticket)
            daemon.get(A4, key=lock, headers={"Authorization": f"Bearer {read}", "x-ticket": ticket})
            daemon.post(f"{A4}/unlock", key=lock, ticket=ticket)
        for broken in (
            f"{write}\r\n\r\n",
            f"GET /health HTTP/1.1\r\n{write}\r\n\r\n",
            f"GET /health HTTP/1.1\r\nHost: {write}..x\r\nx-api-key: {write}\r\n\r\n",
            f"GET /health HTTP/3.0\r\nx-api-key: {write}\r\n\r\n",
            f"GET /health HTTP/1.1\r\nx-api-key: {write}\r\nContent-Length: {write}\r\n\r\n",
        ):
            with closing(socket.create_connection(("127.0.0.1", daemon.port), PATIENCE)) as client:
                client.sendall(broken.encode())
                assert client.recv(4096).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 505 "))
        return tickets


def test_other_collectors_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that is not CPython, and has none of the settings of its collector, starts all the same."""
    monkeypatch.setattr(sys, "implementation", SimpleNamespace(name="pypy"))
    monkeypatch.delattr("gc.freeze")
    monkeypatch.delattr("gc.set_threshold")
    TwistdProcess(Clock()).settle()
