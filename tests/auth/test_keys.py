"""Keys of a key file, in a real daemon: who comes in by them, and what becomes of a file that changes while it runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from subprocess import run

import pytest

import resourced.tap  # noqa: F401 - brings all groups of routes
from resourced.api.base import Routes
from resourced.auth.key_file import entry
from resourced.auth.keys import digest_of
from tests.daemon import LOCK, READ, TWISTD, WRITE, Daemon, eventually
from tests.mariadb import MariaDB
from tests.preloaded import RESOURCED

A4 = "/resource/printer/A4"
CI, QA, OPS = "the-key-of-ci", "the-key-of-qa", "the-key-of-ops"
#: No variable has a key: all are in the file.
NO_VARIABLES = {"RESOURCE_READ": "", "RESOURCE_READ_LOCK": "", "RESOURCE_WRITE": ""}


def named(name: str, role: str, key: str, *prefixes: str) -> str:
    return entry(name, role, digest_of(key.encode()), prefixes)


class KeyFile:
    """The key file of a daemon that runs, and what the daemon says when it is told to read it again."""

    def __init__(self, folder: Path, *entries: str) -> None:
        self.path = folder / "keys.toml"
        self.write(*entries)

    @property
    def environ(self) -> dict[str, str]:
        return {"RESOURCED_KEYS": str(self.path)}

    def write(self, *entries: str) -> None:
        self.path.write_text("\n".join(entries))
        self.path.chmod(0o644)

    def reload(self, daemon: Daemon, *entries: str) -> str:
        """Write the file anew, and have it read; return the lines that the log has about it."""
        self.write(*entries)
        return reload(daemon)


def reload(daemon: Daemon) -> str:
    before = len(daemon.log)
    os.kill(daemon.pid, signal.SIGHUP)
    told = ("The keys in ", "The keys are ", "There is no key ")
    return eventually(
        lambda: "".join(line for line in daemon.log[before:].splitlines(True) if any(text in line for text in told)),
        what="a line about the keys",
    )


@pytest.fixture(params=["sqlite", "mariadb"])
def store(request) -> Iterator[dict[str, str]]:
    """The variables for a store of each kind."""
    if request.param == "sqlite":
        yield {}
    else:
        with MariaDB() as server:
            yield {"MYSQL_PORT": str(server.port)}


def status(daemon: Daemon, key: str, target: str = f"{A4}?lock=0") -> int:
    return daemon.get(target, key=key).status


@pytest.mark.parametrize("command", [RESOURCED, TWISTD])
def test_keys_come_and_go(tmp_path, command):
    """On SIGHUP a key that was added opens, one that was removed opens nothing any more, and all others go on; so do locks."""
    keys = KeyFile(tmp_path, named("ci", "write", CI), named("qa", "write", QA))
    with Daemon(tmp_path, {**NO_VARIABLES, **keys.environ}, command=command) as daemon:
        daemon.post("/resource", '{"name": "printer"}', key=CI)
        lock = daemon.post(f"{A4}/lock", key=CI)
        assert lock.status == 200
        assert status(daemon, OPS) == 401
        said = keys.reload(daemon, named("ci", "write", CI), named("ops", "read", OPS))
        assert f"The keys in {keys.path} are known: 2." in said
        assert status(daemon, OPS) == 404
        assert daemon.post(f"{A4}/lock", key=OPS).code == "unauthorized"
        assert status(daemon, QA) == 401
        assert daemon.put(A4, "1", key=CI, ticket=lock.ticket).status == 204


def test_broken_file(tmp_path):
    """A file with an error changes nothing, and one line says where the error is; when it is mended, it counts."""
    keys = KeyFile(tmp_path, named("ci", "write", CI))
    with Daemon(tmp_path, keys.environ) as daemon:
        daemon.create("printer")
        for spoilt, why in (
            (named("qa", "write", QA).replace("role =", "rule ="), "entry 1 (line 1) has a field other than"),
            (named("qa", "write", QA) + named("ops", "root", OPS), "entry 2 (line 5) has no role"),
            (named("qa", "write", QA) + "name", "its end is not TOML"),
            (named("qa", "write", WRITE), "a key of qa is the key of a variable too"),
        ):
            [line] = keys.reload(daemon, spoilt).splitlines()
            assert "The keys are what they were. RESOURCED_KEYS (--keys) cannot be used: " in line
            assert f"{keys.path}: {why}" in line
            assert [status(daemon, key) for key in (CI, QA, READ)] == [404, 401, 404]
        keys.path.unlink()
        assert "No such file or directory." in reload(daemon)
        assert [status(daemon, key) for key in (CI, QA, READ)] == [404, 401, 404]
        keys.reload(daemon, named("qa", "read", QA))
        assert [status(daemon, key) for key in (CI, QA, READ)] == [401, 404, 404]


def test_nothing_secret_in_the_log(tmp_path):
    """Whatever is in the file, and whoever comes with whatever key, no key and no hash is in the log."""
    keys = KeyFile(tmp_path, named("ci", "write", CI, "print"))
    with Daemon(tmp_path, {**keys.environ, "RESOURCED_LOG_FORMAT": "json"}) as daemon:
        daemon.post("/resource", '{"name": "printer"}', key=CI)
        daemon.post("/resource", '{"name": "scanner"}', key=CI)
        status(daemon, QA)
        right = named("qa", "write", QA)
        for spoilt in (
            right.replace("sha256:", ""),
            right.replace(digest_of(QA.encode()).hex(), QA),
            right.replace("hash =", "name ="),
            right.replace('"qa"', f'"{QA}').replace("\nrole", ""),
            f'{QA} = "qa"\n',
        ):
            assert "The keys are what they were." in keys.reload(daemon, spoilt)
        assert daemon.terminate() == -signal.SIGTERM
        for key in (CI, QA):
            assert key not in daemon.log
            assert digest_of(key.encode()).hex()[:16] not in daemon.log
        assert '"owner": "ci"' in daemon.log


def test_file_that_others_can_write(tmp_path):
    """A key file that others can write to is used, but not without a warning."""
    keys = KeyFile(tmp_path, named("ci", "write", CI))
    keys.path.chmod(0o666)
    with Daemon(tmp_path, keys.environ) as daemon:
        assert f"Others than its owner can write to {keys.path}" in daemon.log
        assert status(daemon, CI) == 404


def test_no_key_file(tmp_path):
    """SIGHUP ends no daemon, also if there is no file to be read again."""
    with Daemon(tmp_path) as daemon:
        assert "There is no key file to be read again." in reload(daemon)
        assert daemon.healthy()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "No such file or directory."),
        ("[[key]]\nname = ci", "line 2, column 8 is not TOML."),
        (
            named("ci", "lock", CI) + '[[key]]\nname = "qa"\n',
            "entry 2 (line 5) has no role that is read, lock or write.",
        ),
        ("# None yet.\n", "there is no key in it, and none in a variable."),
    ],
)
def test_failed_start(tmp_path, text, why):
    """A file that cannot be used ends the start with one sentence that names the setting, and status 1, before the port opens."""
    path = tmp_path / "keys.toml"
    if text is not None:
        path.write_text(text)
    log = Daemon(tmp_path, NO_VARIABLES, ("--keys", "keys.toml")).fails()
    assert f"RESOURCED_KEYS (--keys) cannot be used: {path}: {why}" in log
    assert log.count("RESOURCED_KEYS") == 1
    assert "Traceback" not in log
    assert "Listening" not in log


def test_key_is_made_and_used(tmp_path):
    """What ``resourced key`` prints opens what its entry says, at once after a SIGHUP; and nothing has asked for a restart."""
    keys = KeyFile(tmp_path)

    def make(*arguments: str) -> str:
        made = run(
            [*RESOURCED, "key", *arguments, "--keys", str(keys.path)], capture_output=True, text=True, check=True
        )
        assert made.stderr == ""
        return made.stdout.strip()

    with Daemon(tmp_path, keys.environ) as daemon:
        daemon.create("printer")
        ops = make("ops", "--role", "write")
        ci = make("ci", "--role", "lock", "--prefix", "print")
        assert status(daemon, ops) == 401
        reload(daemon)
        assert daemon.post("/resource", '{"name": "scanner"}', key=ops).status == 201
        assert daemon.post(f"{A4}/lock", key=ci).status == 200


def test_key_that_is_removed_while_its_client_waits(tmp_path):
    """A request that waits for a lock may wait on when its key is removed; the next one is refused."""
    keys = KeyFile(tmp_path, named("ci", "lock", CI))
    with Daemon(tmp_path, keys.environ) as daemon:
        daemon.create("printer")
        first = daemon.post(f"{A4}/lock").ticket
        with closing(daemon.connect()) as client:
            place = client.ask("POST", f"{A4}/lock", key=CI).answer().ticket
            client.ask("POST", f"{A4}/lock?wait=30", key=CI, ticket=place)
            # An answer to somebody who came later shows that it has arrived.
            assert daemon.healthy()
            keys.reload(daemon)
            assert daemon.post(f"{A4}/unlock", ticket=first).json == {"unlocked": True}
            got = client.answer()
            assert (got.status, got.json) == (200, {"locked": True})
            assert client.ask("POST", f"{A4}/lock", key=CI, ticket=got.ticket).answer().status == 401


class TestParties:
    """A ticket works only for the name that it was given to."""

    def never_was(self, daemon: Daemon, key: str, ticket: str) -> None:
        """Whatever somebody tries with a ticket of somebody else, for them there is none, and it stays what it is."""
        for answer in (
            daemon.get(A4, key=key, ticket=ticket),
            daemon.post(f"{A4}/lock", key=key, ticket=ticket),
            daemon.get("/resource/printer/B5", key=key, ticket=ticket),
            daemon.put(A4, "2", key=key, ticket=ticket),
            daemon.put(f"{A4}?unlock=1", "2", key=key, ticket=ticket),
            daemon.request("DELETE", A4, key=key, ticket=ticket),
        ):
            assert (answer.status, answer.code) == (410, "ticket_ended")
            assert "x-ticket" not in answer.headers
        assert daemon.post(f"{A4}/unlock", key=key, ticket=ticket).json == {"unlocked": False}

    def test_two_names(self, tmp_path):
        """The ticket of one name, be it the holder's or a waiting one, does nothing for another name, and nothing to its owner."""
        keys = KeyFile(tmp_path, named("ci", "write", CI), named("qa", "write", QA))
        with Daemon(tmp_path, keys.environ) as daemon:
            daemon.create("printer")
            held = daemon.post(f"{A4}/lock", key=CI)
            waits = daemon.post(f"{A4}/lock", key=QA, headers={"x-owner": "ci"})
            assert (held.status, waits.status) == (200, 202)
            state = daemon.get(f"{A4}/lock").json
            shown = [(one["owner"], one["key"]) for one in (state["holder"], *state["queue"])]
            assert shown == [("ci", "ci"), ("ci", "qa")]
            for stranger in (QA, WRITE):
                self.never_was(daemon, stranger, held.ticket)
            for stranger in (CI, WRITE):
                self.never_was(daemon, stranger, waits.ticket)
            assert daemon.put(A4, "1", key=CI, ticket=held.ticket).status == 204
            assert daemon.post(f"{A4}/lock", key=QA, ticket=waits.ticket).json == {"locked": False, "position": 1}
            assert daemon.post(f"{A4}/unlock", key=CI, ticket=held.ticket).json == {"unlocked": True}
            read = daemon.get(A4, key=QA, ticket=waits.ticket)
            assert (read.status, read.json["data"]) == (200, "1")

    def test_a_ticket_that_ended(self, tmp_path):
        """What a stranger hears of a ticket that was is the same as of one that is; one that nobody knows gets in line."""
        keys = KeyFile(tmp_path, named("ci", "write", CI), named("qa", "write", QA))
        with Daemon(tmp_path, keys.environ) as daemon:
            daemon.create("printer")
            ticket = daemon.post(f"{A4}/lock", key=CI).ticket
            alive = daemon.post(f"{A4}/lock", key=QA, ticket=ticket)
            assert daemon.post(f"{A4}/unlock", key=CI, ticket=ticket).json == {"unlocked": True}
            ended = daemon.post(f"{A4}/lock", key=QA, ticket=ticket)
            never = daemon.post(f"{A4}/lock", key=QA, ticket="0" * 32)
            assert alive.status == ended.status == 410
            assert alive.body == ended.body
            assert (never.status, never.ticket) == (200, "0" * 32)

    def test_keys_of_one_name(self, tmp_path):
        """Several keys of one name share their tickets, each within its role: so one can take over from another."""
        keys = KeyFile(tmp_path, named("ci", "lock", CI), named("ci", "write", OPS), named("qa", "write", QA))
        with Daemon(tmp_path, keys.environ) as daemon:
            daemon.create("printer")
            ticket = daemon.post(f"{A4}/lock", key=CI).ticket
            assert daemon.put(A4, "1", key=CI, ticket=ticket).status == 401
            assert daemon.put(A4, "1", key=OPS, ticket=ticket).status == 204
            # The old key is taken away; the new one goes on with what the old one began.
            keys.reload(daemon, named("ci", "write", OPS), named("qa", "write", QA))
            assert daemon.post(f"{A4}/unlock", key=CI, ticket=ticket).status == 401
            self.never_was(daemon, QA, ticket)
            assert daemon.post(f"{A4}/unlock", key=OPS, ticket=ticket).json == {"unlocked": True}

    def test_the_three_variables(self, tmp_path):
        """The three variables are one name: one locks, another writes, a third lets go. An entry may have that name too."""
        keys = KeyFile(tmp_path, named("default", "write", CI), named("qa", "write", QA))
        with Daemon(tmp_path, keys.environ) as daemon:
            daemon.create("printer")
            ticket = daemon.get(A4, key=LOCK).ticket
            assert daemon.put(A4, "1", key=WRITE, ticket=ticket).status == 204
            self.never_was(daemon, QA, ticket)
            assert daemon.put(A4, "2", key=CI, ticket=ticket).status == 204
            assert daemon.post(f"{A4}/unlock", key=READ, ticket=ticket).json == {"unlocked": True}

    def test_across_a_restart(self, tmp_path, store):
        """After a crash each ticket still works for its name, whatever its key is by then, and for no other."""
        keys = KeyFile(tmp_path, named("ci", "write", CI), named("qa", "write", QA))
        with Daemon(tmp_path, {**store, **keys.environ}) as daemon:
            daemon.create("printer")
            held = daemon.post(f"{A4}/lock", key=CI, headers={"x-owner": "qa"}).ticket
            waits = daemon.post(f"{A4}/lock", key=WRITE).ticket
            daemon.kill()
            keys.write(named("ci", "write", OPS), named("qa", "write", QA))
            daemon.start()
            # To call oneself by the name of somebody else makes one nobody else.
            self.never_was(daemon, QA, held)
            self.never_was(daemon, WRITE, held)
            self.never_was(daemon, OPS, waits)
            assert daemon.put(f"{A4}?unlock=1", "1", key=OPS, ticket=held).status == 204
            assert daemon.get(A4, key=LOCK, ticket=waits).json["data"] == "1"

    def test_same_idempotency_key(self, tmp_path):
        """Two key names that happen to use the same ``Idempotency-Key`` get a ticket each."""
        keys = KeyFile(tmp_path, named("ci", "lock", CI), named("qa", "lock", QA))
        with Daemon(tmp_path, keys.environ) as daemon:
            daemon.create("printer")
            tickets = [
                daemon.post(f"{A4}/lock", key=key, headers={"idempotency-key": "1"}).ticket for key in (CI, QA, CI, QA)
            ]
            assert tickets[:2] == tickets[2:]
            assert tickets[0] != tickets[1]


class TestPrefixes:
    """A key may be held to some resources, by what their names begin with."""

    def test_every_route(self, tmp_path):
        """On every route there is about a resource, one that the key may not touch is 403, whether it exists or not."""
        keys = KeyFile(tmp_path, named("ci", "write", CI, "test-", "print"))
        rules = [
            handler.rule
            for group in Routes.__subclasses__()
            for handler in vars(group).values()
            if "<name:resource>" in getattr(handler, "rule", [""])[0]
        ]
        routes = [
            (method, pattern.replace("<name:resource>", "{}").replace("<name:selector>", "A4"))
            for pattern, methods in rules
            for method in {*methods, *(["HEAD"] if "GET" in methods else [])}
        ]
        assert len(routes) > 5
        with Daemon(tmp_path, keys.environ) as daemon:
            daemon.create("scanner")
            with closing(daemon.connect()) as client:
                for method, path in routes:
                    for name in ("scanner", "nothing", "Test-1", "%20test-1"):
                        answer = client.ask(method, path.format(name), key=CI, body=b"").answer()
                        assert answer.status == 403, (method, path, name)
                        assert method == "HEAD" or answer.code == "forbidden_resource"
                    # Who is not known at all is told so first.
                    assert client.ask(method, path.format("scanner"), key=QA, body=b"").answer().status == 401

    def test_create(self, tmp_path):
        """Nobody creates what they may not touch, nor learns whether it is there."""
        keys = KeyFile(tmp_path, named("ci", "write", CI, "test-"))
        with Daemon(tmp_path, keys.environ) as daemon:
            daemon.create("printer")
            for name in ("printer", "nothing", "tes"):
                answer = daemon.post("/resource", f'{{"name": "{name}"}}', key=CI)
                assert (answer.status, answer.code) == (403, "forbidden_resource")
            assert daemon.get("/resource/nothing/A4?lock=0").code == "unknown_resource"
            assert daemon.post("/resource", '{"name": "test-1"}', key=CI).status == 201

    def test_what_is_allowed(self, tmp_path):
        """Within its prefixes a key does what its role says."""
        keys = KeyFile(tmp_path, named("ci", "write", CI, "test-", "Gerät/"), named("ro", "read", QA, "test-"))
        with Daemon(tmp_path, keys.environ) as daemon:
            for name, path in (("test-1", "test-1"), ("Gerät/7", "Ger%C3%A4t%2F7")):
                assert daemon.post("/resource", f'{{"name": "{name}"}}'.encode(), key=CI).status == 201
                ticket = daemon.get(f"/resource/{path}/A4", key=CI).ticket
                assert daemon.put(f"/resource/{path}/A4", "1", key=CI, ticket=ticket).status == 204
            assert daemon.get("/resource/test-1/A4?lock=0", key=QA).status == 200
            assert daemon.get("/resource/test-1/A4", key=QA).status == 401
            assert daemon.get("/resource/Ger%C3%A4t%2F7/A4?lock=0", key=QA).status == 403
            for key in (CI, QA):
                # Its figures are about all resources.
                answer = daemon.get("/metrics", key=key)
                assert (answer.status, answer.code, b"resourced_" in answer.body) == (403, "forbidden_resource", False)

    def test_list(self, tmp_path):
        """A list has what the key may touch, in order and once each, whatever its prefixes, and pages go on within that."""
        keys = KeyFile(tmp_path, named("ci", "read", CI, "test-", "b", "test-1", "z"))
        with Daemon(tmp_path, keys.environ) as daemon, closing(daemon.connect()) as client:
            for name in ("a", "b", "bb", "c", "test-", "test-1", "test-12", "test-2", "tes", "Test-1", "y"):
                assert client.ask("POST", "/resource", body=f'{{"name": "{name}"}}').answer().status == 201

            def listed(query: str) -> tuple[list[str], str | None]:
                page = client.ask("GET", f"/resource?{query}", key=CI).answer().json
                return [resource["name"] for resource in page["resources"]], page["next"]

            mine = ["b", "bb", "test-", "test-1", "test-12", "test-2"]
            assert listed("") == (mine, None)
            for size in range(1, 7):
                pages = [listed(f"limit={size}")]
                while after := pages[-1][1]:
                    pages.append(listed(f"limit={size}&after={after}"))
                assert [name for names, _ in pages for name in names] == mine
                assert all(len(names) == size for names, _ in pages[:-1])
            assert listed("prefix=test-1") == (["test-1", "test-12"], None)
            assert listed("prefix=t") == (mine[2:], None)
            assert listed("prefix=a") == ([], None)
            assert listed("prefix=z") == ([], None)
            assert listed("after=tes") == (mine[2:], None)
            assert listed("after=y") == ([], None)

    def test_prefixes_change(self, tmp_path):
        """When the prefixes of a name are changed, its tickets beyond them are of no use to it until they are changed back."""
        keys = KeyFile(tmp_path, named("ci", "write", CI))
        with Daemon(tmp_path, keys.environ) as daemon:
            daemon.create("printer")
            ticket = daemon.post(f"{A4}/lock", key=CI).ticket
            keys.reload(daemon, named("ci", "write", CI, "test-"))
            assert daemon.put(A4, "1", key=CI, ticket=ticket).code == "forbidden_resource"
            keys.reload(daemon, named("ci", "write", CI, "print"))
            assert daemon.put(A4, "1", key=CI, ticket=ticket).status == 204
