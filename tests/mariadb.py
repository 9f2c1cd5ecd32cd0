"""A MariaDB server of one's own, to be killed and frozen at will. For tests, and for scripts that torture a daemon."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, Self

import pymysql
from pymysql.constants import ER

from tests.frozen import freeze, thaw
from tests.ports import free_port

BUILD = Path(__file__).parent.parent / "build"
PLACES = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/usr/bin"


def program(*names: str) -> str:
    """Find the first of some programs, also where an ordinary user does not look."""
    for name in names:
        found = shutil.which(name, path=PLACES)
        if found:
            return found
    raise RuntimeError(
        f"{' or '.join(names)} is not installed; on Debian: apt-get install mariadb-server-core mariadb-client-core"
    )


@functools.cache
def _new_data() -> Path:
    """Return where the data of a new server are. They are made once for each version of it, and stay until ``make clean``."""
    version = subprocess.run([program("mariadbd", "mysqld"), "--version"], stdout=subprocess.PIPE, check=True).stdout
    BUILD.mkdir(exist_ok=True)
    kept = BUILD / f"mariadb-{hashlib.sha256(version).hexdigest()[:16]}-{os.getuid()}"
    if not kept.exists():
        with tempfile.TemporaryDirectory(prefix="mariadb-", dir=BUILD) as folder:
            _make_data(Path(folder) / "data")
            try:
                (Path(folder) / "data").rename(kept)
            except OSError:
                # Somebody else was faster.
                if not kept.exists():
                    raise
    return kept


def _make_data(data: Path) -> None:
    result = subprocess.run(
        [
            *(program("mariadb-install-db", "mysql_install_db"), "--no-defaults"),
            *(["--user=root"] if os.getuid() == 0 else []),
            f"--datadir={data}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--innodb-log-file-size=8M",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(data.parent)},
        check=False,
    )
    if result.returncode:
        raise RuntimeError(f"mariadb-install-db failed:\n{result.stdout.decode(errors='replace')}")


class Started:
    """What is started when a block begins, and removed when it ends."""

    def start(self) -> None:
        raise NotImplementedError

    def remove(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


class MariaDB(Started):
    """
    A private server on a free port of 127.0.0.1 and on a Unix socket, where root needs no password.

    Make it, ``start`` it, and ``remove`` it in the end; or use it as a context manager, which does all three.

    :param arguments: more options for the server.
    :cvar account: who it runs as if the tests run as root.
    """

    account: ClassVar[str] = "root"

    def __init__(self, *arguments: str) -> None:
        # A socket's path may have 107 characters: so not where pytest keeps its files.
        self.folder = Path(tempfile.mkdtemp(prefix="mdb-"))
        self.socket = str(self.folder / "s")
        self.port = free_port()
        self._arguments = arguments
        # Where its options come from, beside those of the command.
        self._defaults = "--no-defaults"
        self._user = [f"--user={self.account}"] if os.getuid() == 0 else []
        self.process: subprocess.Popen[bytes] | None = None
        self._data = self.folder / "data"
        # A server that starts deletes all temporary tables where it keeps its own, whosever they are.
        temporary = self.folder / "tmp"
        temporary.mkdir()
        self._environment = {**os.environ, "TMPDIR": str(temporary)}
        try:
            self._install()
            if self._user:
                for path in (self.folder, *self.folder.rglob("*")):
                    shutil.chown(path, self.account)
        except BaseException:
            shutil.rmtree(self.folder)
            raise

    def _install(self) -> None:
        shutil.copytree(_new_data(), self._data)

    @property
    def pid(self) -> int:
        if self.process is None:
            raise RuntimeError("the server is not running")
        return self.process.pid

    def _program(self) -> list[str]:
        """Return what is run, with the options that only this kind of server has."""
        return [program("mariadbd", "mysqld"), self._defaults, "--innodb-log-file-size=8M"]

    def launch(self) -> None:
        """Start the server, and do not wait for it."""
        log = self.folder / "err.log"
        self.process = subprocess.Popen(
            [
                *self._program(),
                *self._user,
                f"--datadir={self._data}",
                f"--port={self.port}",
                "--bind-address=127.0.0.1",
                f"--socket={self.socket}",
                f"--pid-file={self.folder / 'pid'}",
                f"--log-error={log}",
                "--innodb-buffer-pool-size=32M",
                "--skip-name-resolve",
                "--performance-schema=OFF",
                *self._arguments,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self._environment,
        )

    def start(self, timeout: float = 120.0) -> None:
        """Start the server, and return when it answers."""
        self.launch()
        assert self.process is not None
        end = time.monotonic() + timeout
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > end:
                self.kill()
                log = (self.folder / "err.log").read_text(errors="replace")[-3000:]
                raise RuntimeError(f"the MariaDB server does not start:\n{log}")
            time.sleep(0.01)

    def _answers(self) -> bool:
        # The driver leaves a socket open when nobody listens, so someone else has to try first.
        with closing(socket.socket(socket.AF_UNIX)) as probe:
            if probe.connect_ex(self.socket):
                return False
        try:
            self.run("SELECT 1")
        except pymysql.MySQLError:
            return False
        return True

    def kill(self) -> None:
        """End the server as a power cut would, with no chance to tidy up."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Shut the server down in order."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self, *arguments: str) -> None:
        """Kill the server and start it again, with other options if there are any."""
        self.kill()
        self._arguments = arguments or self._arguments
        self.start()

    def freeze(self) -> None:
        """Let the server do nothing any more; to its clients it looks as if the network were gone."""
        freeze(self.pid)

    def thaw(self) -> None:
        """Let a frozen server go on where it was."""
        thaw(self.pid)

    def remove(self) -> None:
        """Kill the server and delete all that it had."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def connect(self, database: str | None = None, **options: Any) -> Any:
        """Open a connection as root, with the driver itself. It waits for no answer longer than a minute."""
        settings: dict[str, Any] = {"autocommit": True, "read_timeout": 60, "ssl_disabled": True} | options
        return pymysql.connect(unix_socket=self.socket, user="root", database=database, **settings)

    def run(self, statement: str, *parameters: Any, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run a statement as root, and return its rows."""
        with closing(self.connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return list(cursor.fetchall())

    def lock_waits(self, database: str) -> bool:
        """
        Tell whether a transaction of a database waits for another one.

        The server looks at its transactions ten times a second at most, counted from when it was last asked, and else tells what it saw
        then. So what was seen of an earlier test must not count.
        """
        statement = (
            "SELECT 1 FROM information_schema.innodb_trx JOIN information_schema.processlist ON id = trx_mysql_thread_id "
            "WHERE trx_state = 'LOCK WAIT' AND db = %s"
        )
        return bool(self.run(statement, database))

    def end_connection(self, number: int) -> None:
        """End a connection, if it has not ended by itself meanwhile."""
        try:
            self.run(f"KILL {number}")
        except pymysql.OperationalError as error:
            if error.args[0] != ER.NO_SUCH_THREAD:
                raise

    def connections(self, database: str) -> list[int]:
        """Return the ids of all connections to a database."""
        rows = self.run("SELECT id FROM information_schema.processlist WHERE db = %s ORDER BY id", database)
        return [int(number) for (number,) in rows]
