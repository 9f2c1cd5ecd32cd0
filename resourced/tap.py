"""The recipe of the daemon: everything is made here, and nowhere else, from the options to the service."""

from __future__ import annotations

import argparse
import encodings.idna  # noqa: F401 - werkzeug would import it with the first request, when there may be no file left to open
import errno
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from twisted.application.service import IService, MultiService
from twisted.internet.endpoints import serverFromString
from twisted.logger import Logger
from twisted.python import usage
from twisted.scripts import twistd
from twisted.web.resource import IResource

from resourced.api.admin import Steering
from resourced.api.base import ResourceAPI
from resourced.api.dispatch import Dispatch
from resourced.api.history import History
from resourced.api.locking import Published
from resourced.api.metrics import Scrape
from resourced.api.openapi import Described
from resourced.api.standby import Standby
from resourced.api.ui import Displayed
from resourced.auth.key_command import run as run_key_command
from resourced.auth.key_file import KeyFile
from resourced.auth.keys import Keys, Permission, key_of
from resourced.clock import count_monotonically, elapsed
from resourced.config import OPTION_FLAGS, OPTION_PARAMETERS, Config, MySQLSettings, SQLiteSettings, store_of
from resourced.errors import ConfigurationError, NotAuthorized, ResourcedError
from resourced.events.feed import Feed
from resourced.events.push import Streams
from resourced.http.access_log import SHOWN
from resourced.http.ciphers import require_forward_secrecy
from resourced.http.edge import Gate
from resourced.http.fast.connection import FastSite
from resourced.http.limits import Limits as SiteLimits
from resourced.http.site import ResourcedSite
from resourced.locks.group_commit import Journal
from resourced.locks.manager import LockManager
from resourced.locks.pauses import Pauses
from resourced.locks.table import Limits as LockLimits
from resourced.locks.table import Times, ids_from
from resourced.locks.tickets import Names
from resourced.metrics.collect import Metrics
from resourced.metrics.gauges import gauges_of
from resourced.metrics.reactor_lag import Lag
from resourced.metrics.render import Exposition
from resourced.model import Event
from resourced.quotas import CONNECTIONS, Quota, Quotas
from resourced.service.checkup import check
from resourced.service.daemon import Daemon, TwistdProcess
from resourced.service.guard import Watch, guard_of
from resourced.service.housekeeping import Housekeeping
from resourced.service.leadership import Election, TakeOver
from resourced.service.logs import Logged, json_observer
from resourced.service.move import move
from resourced.service.restoration import restore
from resourced.service.retention import Retention
from resourced.service.systemd import ServiceManager
from resourced.storage.definition_cache import CachedStore
from resourced.storage.interface import Store
from resourced.storage.leader_lease import LEADER_LEASE, LeaderLease
from resourced.storage.sql.dialect import Dialect, MySQL, SQLite
from resourced.storage.sql.executor import Database
from resourced.storage.sql_store import SQLStore

log = Logger()

#: How many clients may wait until their connections are accepted.
BACKLOG = 1024


class Options(usage.Options):
    """
    The options of ``twistd resourced``, over the variables of the environment, over the defaults.

    :ivar config: what they come to.
    """

    optParameters = OPTION_PARAMETERS
    optFlags = OPTION_FLAGS
    longdesc = "Every option has a variable of the environment, named with it above; an option wins over its variable."
    config: Config

    def opt_version(self) -> None:
        """Display the version and exit."""
        sys.stdout.write(f"resourced {version('resourced')} on Twisted {version('twisted')}\n")
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
        try:
            serverFromString(reactor, self.config.listen)
        except Exception as error:  # noqa: BLE001 - each kind of endpoint raises what it likes
            raise SystemExit(f"resourced: RESOURCED_LISTEN (--listen) is no endpoint of Twisted: {error}") from None


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
    engine = engine_of(config)
    metrics = Metrics()
    database = Database(
        reactor,
        engine,
        max_body=config.max_body,
        max_pending=config.max_pending,
        short=not config.reference_path,
        measure=metrics.work,
        parted=lambda: journal.begin_anew(),  # noqa: PLW0108 - it is made below
    )
    lease = LeaderLease(elapsed, LEADER_LEASE)
    in_sql = SQLStore(database, judge=not config.volatile_locks)
    store: Store = in_sql
    if not config.reference_path:
        store = CachedStore(store, reactor, lease)
    since = ids_from(int(time.time() * 1000)) if config.volatile_locks else 0
    feed = Feed(
        reactor,
        store,
        kept=config.events_keep > 0 and not config.volatile_locks,
        since=since,
    )
    journal = Journal(
        reactor,
        store,
        leadership_lost=lambda error: process.fail(error.sentence),
        durable=not config.volatile_locks,
        lease=lease,
        measure=metrics.commit,
        history=config.events_keep > 0,
        happened=to_all([feed.happened, metrics.happened]),
        resumed=feed.resumed,
        soon=lambda work: reactor.callLater(0, work),
    )
    guard = guard_of(reactor, engine)
    watch = Watch(reactor, guard, store, journal, lease)
    retention = Retention(reactor, store, config.events_keep, config.events_max, config.events_max_bytes)
    housekeeping = Housekeeping(reactor, [store.sweep, retention.mark, retention.forget, retention.forget_beyond])
    pauses = Pauses(reactor.seconds)
    pauses.alive()
    whole = Quota(config.max_locks, config.max_waiting, config.max_streams)
    keys = Keys(config.resource_read, config.resource_read_lock, config.resource_write, whole)
    quotas = Quotas(reactor.seconds, keys.quota, metrics.refused)
    locks = LockManager(
        reactor,
        journal,
        # Nothing forks any more once the first ticket is asked for.
        new_ticket=Names(os.urandom).draw,
        times=Times(lease=config.lease, place=config.place, claim=config.claim),
        limits=LockLimits(queue=config.max_queue, waiting=config.max_waiting, locks=config.max_locks),
        quotas=quotas,
        predecessor_lease=guard.lag,
        wall=time.time,
        pauses=pauses,
        since=since,
    )
    streams = Streams(config.max_streams, quotas)
    exposition = Exposition(metrics)
    scrape = Scrape(keys, store, locks, exposition, free=config.open_metrics)
    api = ResourceAPI(
        Published(
            keys,
            store,
            locks,
            longest_wait=config.max_wait,
            usual_wait=config.default_wait,
            fault=database.fault,
        ),
        Steering(keys, store, locks),
        Described(),
        scrape,
        History(keys, store, locks, feed=feed, streams=streams, clock=reactor),
        Displayed(),
        fault=database.fault,
    )
    leaf_of = _reference_path if config.reference_path else Dispatch
    limits = SiteLimits(
        max_body=config.max_body,
        request=config.request_deadline,
        connections=config.max_connections,
        peer_connections=config.max_peer_connections,
        requests=config.max_requests,
        buffered=config.max_buffered,
    )
    site = (ResourcedSite if config.reference_path else FastSite)(
        Standby(leaf_of(ResourceAPI(scrape))),
        reactor,
        limits,
        metrics.request,
        crowded=lambda: metrics.refused(CONNECTIONS),
        gate=gate_of(keys),
        proxies=config.trusted_proxies,
        shown=SHOWN[config.access_log],
    )
    require_forward_secrecy()
    endpoint = serverFromString(reactor, with_backlog(config.listen))
    log.info("resourced {version}.", version=version("resourced"))
    log.info("The store is {store}.", store=config.store.describe())

    async def settled() -> None:
        if config.restored:
            await restore(in_sql, locks, config.restored)

    daemon = Daemon(
        reactor,
        process,
        ServiceManager.of(reactor, os.environ, os.getpid()),
        KeyFile(config.keys, keys),
        guard,
        Election(elapsed, guard, store, journal, database, TakeOver()),
        watch,
        housekeeping,
        endpoint,
        site,
        leaf_of(api),
        locks,
        streams,
        journal,
        store,
        database,
        settled,
        standby=config.standby,
        store_wait=config.store_wait,
        grace=config.grace,
        secure=config.listen.startswith(("ssl:", "tls:")),
    )
    exposition.add(gauges_of(config, site, locks, streams, database, lambda: daemon.serving, lambda: retention.kept))
    services = MultiService() if config.log_format == "text" else Logged(json_observer(options.parent or {}))
    for service in (Lag(reactor, metrics.lag.observe, lambda _: pauses.alive()), daemon):
        services.addService(service)
    return services


def _reference_path(api: ResourceAPI) -> IResource:
    """Leave the way from a request to the handler of its route to Klein."""
    return api.app.resource()


def gate_of(keys: Keys) -> Gate:
    """Let a body be read only if its request has a key that is known, whatever that may do."""

    def gate(x_api_key: Sequence[bytes], authorization: Sequence[bytes]) -> NotAuthorized | None:
        try:
            keys.authorize(key_of(x_api_key, authorization), Permission(0))
        except NotAuthorized as error:
            return error
        return None

    return gate


def to_all(listeners: Sequence[Callable[[Sequence[Event]], object]]) -> Callable[[Sequence[Event]], None]:
    """Let several be told what has happened."""

    def tell(events: Sequence[Event]) -> None:
        for listener in listeners:
            listener(events)

    return tell


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
    sys.stdout.write(f"resourced {version('resourced')}\n")
    for finding in findings:
        sys.stdout.write(f"{'ok   ' if finding.good else 'FAULT'}  {finding.subject:<13}  {finding.text}\n")
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
        move(source, target, max_body, lambda line: print(line, flush=True))  # noqa: T201 - it is a command
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


def finish_output() -> None:
    """
    Write what is left to be written. The interpreter would do that too, but tell of a failure by a traceback.

    :raises SystemExit: it cannot be written.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:
            # Nobody reads the pipe any more, as with "| head": that is nothing to talk of.
            sys.exit(128 + signal.SIGPIPE)
        sys.exit(f"resourced: cannot write: {error.strerror}")
