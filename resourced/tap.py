"""The recipe of the daemon: from the options to the service. ``assembly`` makes the server in it."""

from __future__ import annotations

import argparse
import encodings.idna  # noqa: F401 - werkzeug would import it with the first request, when there may be no file left to open
import os
import re
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from OpenSSL import crypto
from twisted.application.service import IService, MultiService
from twisted.internet.endpoints import serverFromString
from twisted.logger import Logger
from twisted.python import usage
from twisted.scripts import twistd

from resourced.assembly import Surroundings, assemble
from resourced.auth.key_command import run as run_key_command
from resourced.auth.key_file import KeyFile
from resourced.clock import count_monotonically, elapsed
from resourced.config import Config, MySQLSettings, SQLiteSettings, store_of
from resourced.connections import Connections
from resourced.errors import ConfigurationError, ResourcedError
from resourced.http.ciphers import require_forward_secrecy
from resourced.metrics.collect import Metrics
from resourced.metrics.gauges import gauges_of
from resourced.metrics.reactor_lag import Lag
from resourced.passing.peers import Peers
from resourced.printing import finish_output, print_out
from resourced.service.checkup import check
from resourced.service.daemon import Back, ClientPort, Daemon, Leadership, TwistdProcess, Watches
from resourced.service.endpoints import Several
from resourced.service.guard import Heartbeat, guard_of
from resourced.service.housekeeping import Housekeeping
from resourced.service.leadership import Election, TakeOver
from resourced.service.logs import Logged, json_observer
from resourced.service.move import move
from resourced.service.restoration import restore
from resourced.service.retention import Retention
from resourced.service.systemd import ServiceManager
from resourced.service.use_counting import UseCounting
from resourced.service.workers import OF_THE_MANAGER, Plan, SharedPort, Workers
from resourced.settings import OPTION_FLAGS, OPTION_PARAMETERS, SETTINGS
from resourced.storage.sql.dialect import Dialect
from resourced.storage.sql.executor import Database
from resourced.storage.sql.mysql import MySQL
from resourced.storage.sql.sqlite import SQLite
from resourced.storage.sql_node import Advertised, SQLNode
from resourced.storage.sql_store import SQLStore

log = Logger()

#: How many clients may wait until their connections are accepted.
BACKLOG = 1024
#: Seconds within which another node has to take a connection.
CONNECT_TIMEOUT = 2.0


class Options(usage.Options):
    """
    The options of ``twistd resourced``, over the variables of the environment, over the defaults.

    :ivar config: what they come to.
    """

    optParameters = OPTION_PARAMETERS
    optFlags = OPTION_FLAGS
    longdesc = "Every option has a variable of the environment, named with it above; an option wins over its variable."
    config: Config

    def opt_help(self) -> None:
        """Display this help and exit."""
        print_out(f"{self}\n")
        raise SystemExit

    def opt_version(self) -> None:
        """Display the version and exit."""
        print_out(f"resourced {version('resourced')} on Twisted {version('twisted')}\n")
        raise SystemExit

    def getSynopsis(self) -> str:
        """Say how the command that was called is used."""
        if Path(sys.argv[0]).name != "resourced":
            return super().getSynopsis()
        return (
            "Usage: resourced [options]                       run the server\n"
            "       resourced check [options]                 say whether it could start; change nothing\n"
            "       resourced key [options] NAME              make a key\n"
            "       resourced move --from STORE --to STORE    copy a store"
        )

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Read the command line.

        :raises SystemExit: with a sentence that says what is wrong with it. twistd would show its own options, which nobody asked for.
        """
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            raise SystemExit(f"resourced: {error}. See resourced --help.") from None

    def parseArgs(self, *words: str) -> None:
        """
        Take no words.

        :raises twisted.python.usage.UsageError: there are some.
        """
        if words:
            raise usage.UsageError(f"There is no command {words[0]}: there are {', '.join(COMMANDS)}")

    def postOptions(self) -> None:
        """
        Put the configuration together.

        :raises SystemExit: with a sentence that says what is wrong with it. Twisted's own error would bury it under the usage.
        """
        from twisted.internet import reactor  # noqa: PLC0415 - to import it is to choose it, which is twistd's to do

        try:
            self.config = Config.load(self, os.environ, str(Path.cwd()))
        except ConfigurationError as error:
            raise SystemExit(f"resourced: {error.sentence}") from None
        for option, endpoint in (("listen", self.config.listen), ("node-listen", self.config.node_listen)):
            try:
                if endpoint:
                    serverFromString(reactor, endpoint)
            except Exception as error:  # noqa: BLE001 - each kind of endpoint raises what it likes
                # What OpenSSL says is a list of its own words.
                why = "its key or its certificate is no PEM" if isinstance(error, crypto.Error) else error
                variable = f"RESOURCED_{option.replace('-', '_').upper()}"
                raise SystemExit(f"resourced: {variable} (--{option}) is no endpoint of Twisted: {why}") from None


class CheckOptions(Options):
    """The options of ``resourced check``: those of the server that is to start."""

    longdesc = "It looks at the endpoint, the keys and the store, and ends with status 1 if the server could not start."

    def getSynopsis(self) -> str:
        """Say how the command is used."""
        return (
            "Usage: resourced check [options]\nSay whether the server could start with these options; change nothing."
        )


def makeService(options: Options) -> IService:
    """
    Make the daemon; nothing is opened before it is started.

    :raises SystemExit: a file that the configuration names cannot be used; with a sentence that says which and why.
    """
    from twisted.internet import reactor  # noqa: PLC0415

    config = options.config
    count_monotonically(reactor)
    allow_many_connections()

    process = TwistdProcess(reactor)
    if config.workers > 1:
        return workers_of(reactor, options, process)
    engine = engine_of(config)
    metrics = Metrics()
    database = Database(
        reactor,
        engine,
        max_body=config.max_body,
        max_pending=config.max_pending,
        direct=not config.reference_path,
        measure=metrics.work,
        parted=lambda: server.locking.journal.begin_anew(),  # noqa: PLW0108 - it is made below
    )
    guard = guard_of(reactor, engine)
    in_sql = (
        SQLNode(database, Advertised(config.advertise, wants=not config.standby))
        if config.cluster
        else SQLStore(database, judge=not config.volatile_locks)
    )
    around = Surroundings(
        clock=reactor,
        elapsed=elapsed,
        leadership_lost=lambda error: process.fail(error.sentence),
        soon=lambda work: reactor.callLater(0, work),
        # A node has what it takes over only after the lease of the other one has ended.
        predecessor_lease=0.0 if config.cluster else guard.lag,
        node_store=in_sql if isinstance(in_sql, SQLNode) else None,
        peers=Peers(Connections(reactor, CONNECT_TIMEOUT), reactor, config.cluster_key) if config.cluster else None,
        fault=database.fault,
    )
    server = assemble(config, around, in_sql, metrics)
    locking = server.locking
    locking.pauses.alive()
    shares = locking.locks.shares
    heartbeat = Heartbeat(
        reactor,
        guard,
        locking.store,
        locking.journal,
        locking.lease,
        lambda: shares.settled_event if config.cluster else 0,
        lambda: locking.locks.places.lifetimes.passed(reactor.seconds()),
    )
    others = [watch for watch in (locking.node, locking.gathering) if watch is not None]
    watch = Watches(heartbeat, *others) if others else heartbeat
    use = UseCounting(locking.store)
    retention = Retention(
        reactor, locking.store, config.events_keep, config.events_max, config.events_max_bytes, lambda: use.reached
    )
    jobs = [locking.store.sweep, use.count, use.forget, retention.mark, retention.forget, retention.forget_beyond]
    require_forward_secrecy()
    endpoint = serverFromString(reactor, with_backlog(config.listen))
    if config.node_listen:
        endpoint = Several(endpoint, serverFromString(reactor, with_backlog(config.node_listen)))
    log.info("resourced {version}.", version=version("resourced"))
    log.info("The store is {store}.", store=config.store.describe())

    async def settled() -> None:
        if locking.node is not None:
            await locking.node.look()
        if config.restored:
            await restore(in_sql, locking.locks, config.restored)

    daemon = Daemon(
        reactor,
        process,
        ServiceManager.of(reactor, os.environ, os.getpid()),
        ClientPort(
            endpoint=endpoint,
            site=server.site,
            leaf=server.leaf,
            streams=locking.streams,
            grace=config.grace,
            secure=config.listen.startswith(("ssl:", "tls:")),
            **({"stop_waiting": server.passing.stop_waiting} if server.passing else {}),
        ),
        Back(locking.locks, locking.journal, locking.store, database),
        Leadership(
            guard=guard,
            election=Election(
                elapsed, guard, locking.store, locking.journal, database, TakeOver(shared=config.cluster)
            ),
            watch=watch,
            standby=config.standby,
            store_wait=config.store_wait,
        ),
        KeyFile(config.keys, locking.keys),
        # Of a cluster it is the node with the first partition that keeps house.
        Housekeeping(reactor, jobs, lambda: locking.locks.territory.whole or 0 in shares.owned, retention.begin_anew),
        settled,
    )
    server.exposition.add(
        gauges_of(
            config,
            server.site,
            locking.locks,
            locking.streams,
            database,
            lambda: daemon.serving,
            lambda: retention.kept,
        )
    )
    services = MultiService() if config.log_format == "text" else Logged(json_observer(options.parent or {}))
    for service in (Lag(reactor, metrics.lag.observe, lambda _: locking.pauses.alive()), daemon):
        services.addService(service)
    return services


def workers_of(reactor: Any, options: Options, process: TwistdProcess) -> IService:
    """
    Make what runs several nodes on this machine.

    :raises SystemExit: the configuration does not allow it; with a sentence that says why.
    """
    config = options.config
    # Where the manager of this process is, and what it hands over, is nothing to theirs.
    environ = {name: value for name, value in os.environ.items() if name not in OF_THE_MANAGER}
    given = {setting.variable: options.get(setting.option) for setting in SETTINGS}
    try:
        plan = Plan(
            workers=config.workers,
            command=str(Path(sys.executable).with_name("resourced")),
            environ=environ | {name: str(value) for name, value in given.items() if value},
            shared=SharedPort.parse(config.listen, BACKLOG),
            advertise=config.advertise,
            grace=config.grace,
        )
    except ConfigurationError as error:
        raise SystemExit(f"resourced: {error.sentence}") from None
    services = MultiService() if config.log_format == "text" else Logged(json_observer(options.parent or {}))
    manager = ServiceManager.of(reactor, os.environ, os.getpid())
    services.addService(Workers(reactor, process, manager, plan))
    return services


def engine_of(config: Config) -> Dialect:
    """
    Return the dialect of the store.

    :raises SystemExit: a file that it takes cannot be used; with a sentence that says which and why.
    """
    try:
        return dialect(config.store, config.store_timeout)
    except ConfigurationError as error:
        raise SystemExit(f"resourced: {error.sentence}") from None


def dialect(settings: SQLiteSettings | MySQLSettings, timeout: float) -> Dialect:
    """Return what the store's settings ask for."""
    return MySQL(settings, timeout) if isinstance(settings, MySQLSettings) else SQLite(settings, timeout)


def with_backlog(listen: str) -> str:
    """
    Let more clients knock at once than Twisted's 50, if nothing is said about it.

    The kernel drops the others, who come back after a second or three: too late, where all come at once after a restart.
    """
    if re.match(r"(tcp6?|ssl|tls|unix):", listen) and ":backlog=" not in listen:
        return f"{listen}:backlog={BACKLOG}"
    return listen


def allow_many_connections() -> None:
    """Raise the soft limit of open files, which is often 1024, to what the system grants anyway."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run_check_command(arguments: Sequence[str]) -> None:
    """Look at the configuration and the store, say what is found, and end: with 1 if the daemon could not start."""
    options = CheckOptions()
    options.parseOptions(arguments)
    config = options.config
    findings = check(config, engine_of(config))
    print_out(f"resourced {version('resourced')}\n")
    for finding in findings:
        print_out(f"{'ok   ' if finding.good else 'FAULT'}  {finding.subject:<13}  {finding.text}\n")
    sys.exit(not all(finding.good for finding in findings))


def run_move_command(arguments: Sequence[str]) -> None:
    """Move a store, and say how that goes."""
    parser = argparse.ArgumentParser(
        prog="resourced move",
        description="Copy all of a store but running locks into an empty one, and compare them row by row.",
        epilog="The variables MYSQL_... say where MySQL is. No daemon may serve either of the two meanwhile.",
        allow_abbrev=False,
    )
    for way, what in (("from", "the store to copy"), ("to", "the one that is to be it")):
        parser.add_argument(f"--{way}", dest=way, required=True, metavar="STORE", help=f"{what}: mysql or sqlite:PATH")
    given = vars(parser.parse_args(arguments))
    try:
        stores = []
        for way in ("from", "to"):
            settings, timeout, max_body = store_of(given[way], os.environ, str(Path.cwd()))
            stores.append(dialect(settings, timeout))
        source, target = stores
        move(source, target, max_body, lambda line: print_out(f"{line}\n"))
    except ResourcedError as error:
        raise SystemExit(f"resourced move: {error.sentence}") from None


#: What the first word of the command line may be.
COMMANDS: Mapping[str, Callable[[Sequence[str]], None]] = {
    "key": run_key_command,
    "check": run_check_command,
    "move": run_move_command,
}


def main() -> None:
    """Run ``twistd resourced`` in the foreground; or a command."""
    command = COMMANDS.get(sys.argv[1]) if len(sys.argv) > 1 else None
    try:
        if command is not None:
            command(sys.argv[2:])
        else:
            sys.argv[1:1] = ["--nodaemon", "--pidfile=", "resourced"]
            twistd.run()
    finally:
        finish_output()
