"""The life of the daemon: what is started and stopped, in which order, and how it ends when that fails."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from twisted.application.service import Service
from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.defer import TimeoutError as TooLate
from twisted.internet.error import CannotListenError, ReactorNotRunning
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorTime, IStreamServerEndpoint
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource

from resourced.auth.key_file import KeyFile
from resourced.errors import ConfigurationError, EpochLost, ResourcedError, StoreUnavailable
from resourced.events.push import Streams
from resourced.http.site import ResourcedSite
from resourced.locks.journal.group_commit import GroupCommitJournal
from resourced.locks.manager import LockManager
from resourced.service.guard import PERIOD, Guard
from resourced.service.housekeeping import Housekeeping
from resourced.service.leadership import Election, Verdict
from resourced.service.systemd import ServiceManager
from resourced.storage.interface import Store
from resourced.storage.sql.executor import Database

log = Logger()


class Process(Protocol):
    """The process that the daemon lives in."""

    def fail(self, sentence: str) -> None:
        """End it, with a sentence for whoever looks and a status that says that it failed."""

    def ending(self) -> None:
        """Take note that it ends, so that to be asked for that once more changes nothing."""

    def settle(self) -> None:
        """Take note that what is in memory by now will stay there."""

    def when_told_to_reload(self, reload: Callable[[], None]) -> None:
        """Do this whenever somebody asks the process to read its files again."""


@dataclass(frozen=True, kw_only=True)
class ClientPort:
    """
    Where clients come in.

    :ivar site: answers as a daemon that stands by until it serves ``leaf``.
    :ivar leaf: what answers a request once the store is this daemon's.
    :ivar stop_waiting: lets no request wait for another node any more.
    :ivar grace: how long requests under way may take to end, in seconds.
    :ivar secure: whether the endpoint speaks TLS.
    """

    endpoint: IStreamServerEndpoint
    site: ResourcedSite
    leaf: IResource
    streams: Streams
    grace: float
    secure: bool
    stop_waiting: Callable[[], None] = lambda: None


class Back(NamedTuple):
    """What is behind the routes, from the locks down to the database."""

    locks: LockManager
    journal: GroupCommitJournal
    store: Store
    database: Database


class Watch(Protocol):
    """What goes on for as long as the daemon serves."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End."""


class Watches:
    """Several of them."""

    def __init__(self, *watches: Watch) -> None:
        self._watches = watches

    def start(self) -> None:
        """Begin."""
        for watch in self._watches:
            watch.start()

    def stop(self) -> None:
        """End."""
        for watch in self._watches:
            watch.stop()


@dataclass(frozen=True, kw_only=True)
class Leadership:
    """
    How a daemon becomes the leader of its store, and sees that it is no more.

    :ivar standby: wait, with the port open, if another daemon serves the store.
    :ivar store_wait: wait for the store if it cannot be reached at the start.
    """

    guard: Guard
    election: Election
    watch: Watch
    standby: bool
    store_wait: bool


class Daemon(Service):
    """
    First the keys, then the database and to be its leader, then the locks, then the port; and the other way round at the end.

    :param manager: who is told how the daemon does.
    :param settled: does what is left to do once the store is this daemon's, before anybody is served.
    :ivar serving: whether it is the one that serves the store.
    """

    def __init__(
        self,
        clock: IReactorTime,
        process: Process,
        manager: ServiceManager,
        front: ClientPort,
        back: Back,
        leadership: Leadership,
        key_file: KeyFile,
        housekeeping: Housekeeping,
        settled: Callable[[], Awaitable[None]],
    ) -> None:
        self._clock = clock
        self._process = process
        self._manager = manager
        self._front = front
        self._back = back
        self._leadership = leadership
        self._key_file = key_file
        self._housekeeping = housekeeping
        self._settled = settled
        self.serving = False
        self._port: IListeningPort | None = None
        self._starting: Deferred[None] | None = None
        self._status = ""
        self._reporting = LoopingCall(lambda: Deferred.fromCoroutine(self._report()))
        self._reporting.clock = clock

    def startService(self) -> None:
        """Begin to start; a failure ends the process."""
        super().startService()
        self._starting = Deferred.fromCoroutine(self._start())
        self._starting.addErrback(self._not_started)

    def stopService(self) -> Deferred[None]:
        """Stop; the Deferred fires when nothing is left to be done."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _start(self) -> None:
        self._key_file.load()
        self._process.when_told_to_reload(self._key_file.reload)
        await self._lead()
        await self._settled()
        self._leadership.watch.start()
        self._housekeeping.start()
        self._front.site.serve(self._front.leaf)
        self.serving = True
        await self._listen()
        self._process.settle()
        log.info("Serving.")
        self._manager.ready("Serving")
        self._reporting.start(PERIOD).addErrback(lambda failure: log.failure("The report has a bug.", failure))

    async def _lead(self) -> None:
        """Become the leader, the one daemon of the store, and know its locks; wait for that, if that is wanted."""
        while True:
            try:
                verdict = await self._leadership.election.attempt()
                if verdict is Verdict.FREE:
                    return
                if verdict is Verdict.TAKEN and not self._leadership.standby:
                    raise ConfigurationError(
                        "Another daemon serves this store already. With --standby this one would wait for its end."
                    )
                word = "serves" if verdict is Verdict.TAKEN else "may still serve"
                why = f"Another daemon {word} this store; waiting for its end."
            except StoreUnavailable as error:
                if not (self._leadership.standby or self._leadership.store_wait):
                    raise
                why = f"{error.sentence} Waiting for it."
            if self._leadership.standby:
                await self._listen()
            self._wait_because(why)
            await deferLater(self._clock, PERIOD)

    def _wait_because(self, why: str) -> None:
        """Say why the daemon waits; but say it once."""
        if why == self._status:
            return
        self._status = why
        log.warn("{why}", why=why)
        if self._leadership.standby:
            # Whoever starts other things after this one has waited long enough: it does all that it can.
            self._manager.ready(f"Standing by: {why}")
        else:
            self._manager.status(why)

    async def _report(self) -> None:
        """Find out when the store is lost or found, also while nobody asks for anything, and tell the service manager."""
        status = "Serving"
        # Who has lost its term ends; that is for the watch to see to.
        with suppress(EpochLost):
            try:
                await self._back.store.ping()
                self._back.journal.check()
            except StoreUnavailable as away:
                status = f"Serving, but: {(self._back.database.fault() or away).sentence}"
        if status != self._status:
            self._status = status
            self._manager.status(status)

    async def _listen(self) -> None:
        if self._port is not None:
            return
        try:
            self._port = await self._front.endpoint.listen(self._front.site)
        except (CannotListenError, OSError, OverflowError) as error:
            # Twisted's own error for a Unix socket's folder is that of the system, and for a port that is too large that of Python.
            raise ConfigurationError(f"RESOURCED_LISTEN cannot be used: {error}") from None
        address = self._port.getHost()
        log.info("Listening on {address}.", address=_spelled(address))
        if not isinstance(address, UNIXAddress):
            log.info("The page is {url}.", url=_page("https" if self._front.secure else "http", address))

    def _not_started(self, failure: Failure) -> None:
        reason = failure.value
        if isinstance(reason, ResourcedError):
            self._process.fail(reason.sentence)
        elif not isinstance(reason, CancelledError):
            log.failure("The start failed with an unexpected error.", failure)
            self._process.fail("The daemon could not be started.")

    async def _stop(self) -> None:
        self._process.ending()
        self._manager.stopping()
        if self._reporting.running:
            self._reporting.stop()
        if self._starting is not None:
            self._starting.cancel()
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
        # First the word to the connections, so that the answers to those who wait say that they are the last.
        drained = self._front.site.drain(self._front.grace)
        self._leadership.watch.stop()
        self._housekeeping.stop()
        self._back.locks.stop_waiting()
        self._front.stop_waiting()
        self._front.streams.close()
        try:
            await drained
        except TooLate:
            log.warn("Some requests were not done within {grace} seconds.", grace=self._front.grace)
        await self._back.journal.close()
        await self._back.store.close()
        await self._leadership.guard.release()
        self._manager.gone()
        log.info("Stopped.")


def _spelled(address: IAddress) -> str:
    if isinstance(address, UNIXAddress):
        return f"unix:{os.fsdecode(address.name or b'')}"
    host = getattr(address, "host", "")
    return f"{f'[{host}]' if isinstance(address, IPv6Address) else host}:{getattr(address, 'port', '')}"


def _page(scheme: str, address: IAddress) -> str:
    """Return where somebody on this machine finds the page."""
    where = _spelled(address)
    if getattr(address, "host", "") in {"0.0.0.0", "::"}:  # noqa: S104 - it is only compared
        where = f"localhost:{where.rpartition(':')[2]}"
    return f"{scheme}://{where}/ui"


class TwistdProcess:
    """A process that ``twistd`` runs."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._failed = False

    def fail(self, sentence: str) -> None:
        """Stop the reactor, and end with status 1."""
        log.critical("{sentence}", sentence=sentence)
        if not self._failed:
            self._failed = True
            # twistd ends with 0 whenever its reactor ends without a signal, and tells nobody of its exit status.
            atexit.register(_exit_failed)
            self._reactor.callLater(0, self._stop)

    def ending(self) -> None:
        """From here on only say so when a signal asks for what is being done already."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._again)

    def _again(self, number: int, _: object) -> None:
        # Not here and now, in the middle of whatever it has interrupted.
        self._reactor.callFromThread(log.info, "{name}: the daemon is being stopped already.", name=_name(number))

    def when_told_to_reload(self, reload: Callable[[], None]) -> None:
        """Do this on SIGHUP, which would end the process otherwise."""
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(reload))

    def settle(self) -> None:
        """
        Let the cyclic collector pass over all that was loaded, and come less often: a request leaves nothing for it.

        Nobody is served meanwhile: for 8 ms at 10,000 new objects, measured. At 4,000 it came so often that it took a twentieth of the time.
        """
        if sys.implementation.name != "cpython":
            # Others have a collector of another kind, without these settings.
            return
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 4, 1_000)

    def _stop(self) -> None:
        # It may be ending already, of its own accord.
        with suppress(ReactorNotRunning):
            self._reactor.stop()


def _name(number: int) -> str:
    return signal.Signals(number).name


def _exit_failed() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
