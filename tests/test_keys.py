"""Keys of a key file, in a real daemon: who comes in by them, and what becomes of a file that changes while it runs."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from pathlib import Path
from subprocess import run

import pytest

from resourced.auth import digest_of
from resourced.keyfile import entry
from tests.daemon import READ, RESOURCED, TWISTD, WRITE, Daemon, eventually

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
    told = ("The keys in ", "The keys are ", "There is no key file")
    return eventually(
        lambda: "".join(line for line in daemon.log[before:].splitlines(True) if any(text in line for text in told)),
        what="a line about the keys",
    )


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
