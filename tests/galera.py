"""A Galera cluster of one's own: MariaDB servers that replicate to each other, each to be killed, frozen, cut off and slowed down at will."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pymysql
import pytest

from tests.mariadb import MariaDB, Started, program
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: Where packages put the library that replicates.
PROVIDERS: Final = ("/usr/lib/galera/libgalera_smm.so", "/usr/lib64/galera-4/libgalera_smm.so")
#: The table that ``Node.lag`` keeps the applier waiting at; it is in a database of its own.
LAG: Final = "lag.lag"


def provider() -> str:
    """
    Find the library that replicates.

    :raises RuntimeError: something that a cluster needs is not installed.
    """
    program("rsync")
    for path in PROVIDERS:
        if Path(path).exists():
            return path
    raise RuntimeError("libgalera_smm.so is not installed; on Debian: apt-get install galera-4 rsync")


def require() -> None:
    """Skip the test, or all tests of a module that calls it at its top, where there can be no cluster."""
    try:
        provider()
    except RuntimeError as missing:
        pytest.skip(f"No Galera cluster can be started: {missing}", allow_module_level=True)


class Node(MariaDB):
    """
    One server of a cluster.

    :param name: which no other one has.
    :param empty: whether it has no data of its own, and fetches everything from another node when it starts.
    """

    #: For root, rsync's daemon would give root's rights up, and then not be able to write where the server does.
    account: ClassVar[str] = "nobody"

    def __init__(self, name: str, *, empty: bool = False) -> None:
        self.name = name
        self._empty = empty
        super().__init__()
        self.group_port, self._snapshot_port, self._transfer_port = free_port(), free_port(), free_port()
        self._lagging: Any = None

    def _install(self) -> None:
        if self._empty:
            self._data.mkdir()
        else:
            super()._install()

    def join(self, group: Sequence[int], *, first: bool = False) -> None:
        """
        Start the server, and do not wait for it.

        :param group: the ports at which the nodes find each other.
        :param first: whether it begins a cluster; it need not find anybody then.
        """
        provider_options = {
            "gmcast.listen_addr": f"tcp://127.0.0.1:{self.group_port}",
            "ist.recv_addr": f"127.0.0.1:{self._transfer_port}",
            "gcache.size": "32M",
            "evs.suspect_timeout": "PT2S",
            "evs.inactive_timeout": "PT4S",
            "evs.keepalive_period": "PT0.5S",
            "evs.inactive_check_period": "PT0.5S",
        }
        options = {
            "binlog_format": "ROW",
            "default_storage_engine": "InnoDB",
            "innodb_autoinc_lock_mode": "2",
            "wsrep_on": "ON",
            "wsrep_provider": provider(),
            "wsrep_cluster_name": "tests",
            "wsrep_node_name": self.name,
            "wsrep_cluster_address": f"gcomm://{','.join(f'127.0.0.1:{port}' for port in group)}",
            "wsrep_node_address": f"127.0.0.1:{self.group_port}",
            "wsrep_node_incoming_address": f"127.0.0.1:{self.port}",
            "wsrep_sst_method": "rsync",
            "wsrep_sst_receive_address": f"127.0.0.1:{self._snapshot_port}",
            "wsrep_provider_options": f'"{";".join(f"{name}={value}" for name, value in provider_options.items())}"',
        }
        # In a file, because the script that copies the data to a node that joins is given the options of the command by a shell.
        defaults = self.folder / "my.cnf"
        defaults.write_text("[mariadbd]\n" + "".join(f"{name} = {value}\n" for name, value in options.items()))
        self._defaults = f"--defaults-file={defaults}"
        self._arguments = ("--wsrep-new-cluster",) if first else ()
        self.launch()

    def status(self, name: str) -> str:
        """Read one of the numbers and words that a node has about itself."""
        rows = self.run("SHOW GLOBAL STATUS LIKE %s", name)
        return str(rows[0][1]) if rows else ""

    @property
    def synced(self) -> bool:
        """Whether it takes part in the cluster, and has all that the others have."""
        with suppress(pymysql.MySQLError, OSError):
            return (
                self._answers()
                and self.status("wsrep_local_state_comment") == "Synced"
                and self.status("wsrep_ready") == "ON"
            )
        return False

    @property
    def ended(self) -> bool:
        """Whether its process is over."""
        return self.process is None or self.process.poll() is not None

    def await_synced(self, timeout: float = 60.0) -> None:
        """Return when it takes part in the cluster."""
        end = time.monotonic() + timeout
        while not self.synced:
            if self.ended or time.monotonic() > end:
                raise RuntimeError(f"the Galera node {self.name} does not join:\n{self.log[-3000:]}")
            time.sleep(0.05)

    @property
    def log(self) -> str:
        """What it has written into its log."""
        path = self.folder / "err.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def cut_off(self) -> None:
        """Let it and the rest of the cluster not hear of each other any more; clients still reach it."""
        self.run("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=1'")

    def rejoin(self) -> None:
        """Let it and the rest of the cluster find each other again."""
        self.run("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=0'")

    @contextmanager
    def lag(self, other: Node) -> Iterator[None]:
        """
        Let it carry out nothing meanwhile that comes from other nodes; its clients read what is old, and write as if nothing were wrong.

        Its one applier waits at a table that is locked here, for a row that came from there, and all else waits in line behind that.

        :param other: a node that is well.
        """
        with self.connect(read_timeout=60) as locked, locked.cursor() as cursor:
            cursor.execute(f"LOCK TABLES {LAG} READ")
            other.run(f"INSERT INTO {LAG} () VALUES ()")
            try:
                yield
            finally:
                cursor.execute("UNLOCK TABLES")


class Galera(Started):
    """
    A cluster, to be used as a context manager.

    :param kind: what to make the nodes of.
    :ivar nodes: its servers. Each accepts reads and writes; most of them have to be there, or the others refuse both.
    """

    def __init__(self, size: int, kind: type[Node] = Node) -> None:
        provider()
        self.nodes: list[Node] = []
        try:
            for number in range(size):
                self.nodes.append(kind(f"n{number + 1}", empty=number > 0))
        except BaseException:
            self.remove()
            raise

    @property
    def group(self) -> list[int]:
        """The ports at which the nodes find each other."""
        return [node.group_port for node in self.nodes]

    def start(self) -> None:
        """Start all nodes, and return when each takes part."""
        first, *others = self.nodes
        first.join(self.group, first=True)
        first.await_synced()
        for node in others:
            self.restart(node)
        first.run("CREATE DATABASE IF NOT EXISTS lag")
        first.run(f"CREATE TABLE IF NOT EXISTS {LAG} (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY)")

    def restart(self, node: Node) -> None:
        """Start a node that was killed or stopped, and return when it takes part again."""
        for tries_left in (2, 1, 0):
            node.join(self.group)
            try:
                node.await_synced()
            except RuntimeError:
                # On a busy machine a node may not be heard in time by the others. Then it ends, and would be started again.
                if not tries_left or not node.ended:
                    raise
            else:
                break

    def await_synced(self, timeout: float = 60.0) -> None:
        """Return when each node takes part."""
        for node in self.nodes:
            node.await_synced(timeout)

    def remove(self) -> None:
        """Kill all nodes, and delete all that they had."""
        with ExitStack() as stack:
            for node in self.nodes:
                stack.callback(node.remove)
