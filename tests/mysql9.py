"""
A server of MySQL 9 of one's own, by Oracle. Debian has it in its unstable distribution only, so it is unpacked beside the system and run by its own loader.

``python -m tests.mysql9`` fetches it into ``build/mysql9``, where it stays until ``make clean``. Where that cannot be done, such as on a
system that is not Debian, or without a network, it says so in a sentence, and the tests that need it are skipped.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import pytest

from tests.mariadb import BUILD, MariaDB
from tests.ports import free_port

ROOT: Final = BUILD / "mysql9"
#: What a new server has, made once.
_NEW: Final = BUILD / f"mysql9-data-{os.getuid()}"
#: Packages that it depends on but does not need for this, by what their names begin with.
_LEFT_OUT: Final = ("perl", "libperl", "gcc-")
#: The name of the group that tests make.
GROUP: Final = "b3a1c5de-0000-4000-8000-000000000001"
#: Seconds that it may take to fetch it all; usually it is a few.
_PATIENCE: Final = 120.0


def require() -> None:
    """Skip all tests of a module that calls it at its top, where the server is not."""
    if not _server().exists():
        pytest.skip(
            "There is no MySQL 9 here: make mysql9 fetches it, where Debian's can be had", allow_module_level=True
        )


def _server() -> Path:
    return ROOT / "usr/sbin/mysqld"


class MySQL9(MariaDB):
    """The same as ``MariaDB``, which root may use from 127.0.0.1 and by the socket without a password too."""

    def _program(self) -> list[str]:
        return [*_command(), "--innodb-redo-log-capacity=32M", f"--init-file={self.folder / 'init.sql'}"]

    def _install(self) -> None:
        if not _NEW.exists():
            _make_data()
        shutil.copytree(_NEW, self._data)
        (self.folder / "init.sql").write_text(
            "SET SESSION sql_log_bin = OFF;\nCREATE USER IF NOT EXISTS root@'127.0.0.1';\nGRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n"
        )


class Member(MySQL9):
    """A server that can be a member of a group by Group Replication, each of which accepts writes."""

    def __init__(self, number: int) -> None:
        self.group_port = free_port()
        super().__init__(
            f"--server-id={number}",
            "--gtid-mode=ON",
            "--enforce-gtid-consistency=ON",
            "--report-host=127.0.0.1",
            "--performance-schema=ON",
            "--replica-parallel-workers=1",
            "--plugin-load-add=group_replication.so",
            f"--loose-group-replication-group-name={GROUP}",
            f"--loose-group-replication-local-address=127.0.0.1:{self.group_port}",
            "--loose-group-replication-single-primary-mode=OFF",
            "--loose-group-replication-recovery-get-public-key=ON",
        )

    def join(self, seeds: list[int], *, first: bool = False) -> None:
        """
        Become a member, and return when it is one.

        :param seeds: the ports at which members find each other.
        :param first: whether it begins the group.
        """
        self.run("SET GLOBAL group_replication_group_seeds = %s", ",".join(f"127.0.0.1:{port}" for port in seeds))
        self.run(f"SET GLOBAL group_replication_bootstrap_group = {'ON' if first else 'OFF'}")
        with self.connect(read_timeout=120) as connection, connection.cursor() as cursor:
            cursor.execute("START GROUP_REPLICATION USER = 'root'")
        self.run("SET GLOBAL group_replication_bootstrap_group = OFF")
        end = time.monotonic() + 60
        while self.run(
            "SELECT member_state FROM performance_schema.replication_group_members WHERE member_port = %s", self.port
        ) != [("ONLINE",)]:
            if time.monotonic() > end:
                raise RuntimeError(f"the member does not join:\n{(self.folder / 'err.log').read_text()[-3000:]}")
            time.sleep(0.05)


def _command() -> list[str]:
    (loader,) = ROOT.glob("usr/lib64/ld-linux-*.so.2")
    libraries = ":".join(str(path) for path in (*ROOT.glob("usr/lib/*-linux-gnu"), ROOT / "usr/lib/mysql/private"))
    command = [str(loader), "--library-path", libraries, "--argv0", "mysqld", str(_server()), "--no-defaults"]
    places = {"basedir": "usr", "plugin-dir": "usr/lib/mysql/plugin", "lc-messages-dir": "usr/share/mysql"}
    return [
        *command,
        *(f"--{option}={ROOT / path}" for option, path in places.items()),
        "--mysqlx=OFF",
        "--secure-file-priv=NULL",
    ]


def _make_data() -> None:
    with tempfile.TemporaryDirectory(prefix="mysql9-", dir=BUILD) as folder:
        data, log = Path(folder, "data"), Path(folder, "log")
        options = ["--initialize-insecure", f"--datadir={data}", f"--log-error={log}", "--innodb-redo-log-capacity=32M"]
        user = ["--user=root"] if os.getuid() == 0 else []
        result = subprocess.run([*_command(), *user, *options], stdin=subprocess.DEVNULL, check=False)
        if result.returncode:
            raise RuntimeError(f"MySQL 9 makes no data:\n{log.read_text(errors='replace')[-3000:]}")
        # By this name servers are told apart, so each has to make its own.
        (data / "auto.cnf").unlink(missing_ok=True)
        try:
            data.rename(_NEW)
        except OSError:
            # Somebody else was faster.
            if not _NEW.exists():
                raise


def fetch() -> None:
    """
    Fetch the server with all that it needs.

    :raises RuntimeError: that cannot be done here.
    """
    if platform.machine() not in {"x86_64", "aarch64"} or not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise RuntimeError("This is no Debian.")
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mysql9-", dir=BUILD) as name:
        folder = Path(name)
        environ = {**os.environ, "APT_CONFIG": str(_apt_configuration(folder))}
        for command in (["update"], ["-y", "--download-only", "install", "mysql-server-core"]):
            try:
                result = subprocess.run(
                    ["apt-get", "-qq", *command],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    env=environ,
                    timeout=_PATIENCE,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise RuntimeError("Debian's unstable distribution cannot be reached in time.") from None
            if result.returncode:
                raise RuntimeError(f"Debian's unstable distribution cannot be had: {result.stdout.decode()[-300:]}")
        root = folder / "root"
        for package in sorted((folder / "archives").glob("*.deb")):
            if not package.name.startswith(_LEFT_OUT):
                subprocess.run(["dpkg-deb", "-x", str(package), str(root)], check=True)
        shutil.rmtree(ROOT, ignore_errors=True)
        root.rename(ROOT)


def _apt_configuration(folder: Path) -> Path:
    """Let apt know nothing of the system but where Debian is and what it signs with."""
    for part in ("lists/partial", "archives/partial"):
        (folder / part).mkdir(parents=True)
    (folder / "status").touch()
    lists = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
    known = [path.read_text() for path in lists if path.exists()]
    found = re.search(r"https?://\S+/debian(?=/?\s)", "\n".join([*known, ""]))
    where = found[0] if found else "http://deb.debian.org/debian"
    keys = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    (folder / "sources.list").write_text(f"deb {keys} {where} sid main\n")
    configuration = folder / "apt.conf"
    configuration.write_text(
        f'Dir::State::lists "{folder}/lists"; Dir::State::status "{folder}/status"; '
        f'Dir::Cache "{folder}"; Dir::Cache::archives "{folder}/archives"; '
        f'Dir::Etc::sourcelist "{folder}/sources.list"; Dir::Etc::sourceparts "-"; '
        'APT::Install-Recommends "false"; APT::Sandbox::User ""; Acquire::Languages "none"; Acquire::Retries "0"; '
        'Acquire::http::Timeout "10"; Acquire::https::Timeout "10"; Debug::NoLocking "true";\n'
    )
    return configuration


def main() -> None:
    if _server().exists():
        return
    try:
        fetch()
    except RuntimeError as error:
        sys.stdout.write(f"MySQL 9 cannot be fetched, so the tests that need it are skipped. {error}\n")


if __name__ == "__main__":
    main()
