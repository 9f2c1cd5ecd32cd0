"""The whole server in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from math import inf
from typing import Any, Final

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.defer import TimeoutError as StillThere
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReactorTime
from zope.interface import implementer

from resourced.assembly import Surroundings, assemble
from resourced.client import Client
from resourced.config import Config
from resourced.testing.memory_treq import MemoryTreq
from resourced.testing.store import MemoryStore

#: In what steps a ``Clock`` is advanced, in seconds.
STEP: Final = 0.125
#: How many seconds requests may take that are under way when a server is closed.
GRACE: Final = 2.0


@implementer(IReactorTime)
class _Timers:
    """A clock whose timers can all be taken back at once, as they are when a process ends."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._calls: set[IDelayedCall] = set()

    def seconds(self) -> float:
        return float(self._clock.seconds())

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object) -> IDelayedCall:  # noqa: A002
        def due() -> None:
            self._calls.discard(call)
            callable(*args, **kwargs)

        call: IDelayedCall = self._clock.callLater(delay, due)
        self._calls.add(call)
        return call

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        return [call for call in self._calls if call.active()]

    def stop(self) -> None:
        for call in self.getDelayedCalls():
            call.cancel()
        self._calls.clear()


class _Life:
    """What of a server does not outlive a restart: everything but the store and the connections."""

    def __init__(self, config: Config, clock: Any, store: MemoryStore) -> None:
        self._timers = _Timers(clock)
        around = Surroundings(
            clock=self._timers,
            edge_clock=clock,
            elapsed=clock.seconds,
            leadership_lost=lambda _: None,
            # Nobody else comes to this store while it lives.
            leader_lease=inf,
        )
        self.server = assemble(config, around, store)
        # The store has its answers ready, so this is done at once.
        Deferred.fromCoroutine(self._lead())

    async def _lead(self) -> None:
        locking = self.server.locking
        await locking.journal.open(await locking.store.look())

    def end(self) -> None:
        """Answer everybody who waits, and have nothing more to do with the store."""
        locking = self.server.locking
        locking.locks.stop_waiting()
        locking.streams.close()
        Deferred.fromCoroutine(locking.journal.close())
        self._timers.stop()


class MemoryServer:
    """
    A server that forgets everything with its process: what the daemon serves, by the same path, over a ``MemoryStore``.

    In a test without a reactor it runs by a ``Clock``: ``client`` makes clients that need no network, and ``advance`` lets time
    pass. With a reactor it can ``listen``, for clients of every kind.

    :param clock: a ``twisted.internet.task.Clock``, or the reactor.
    :param lease: how many seconds a lock lasts unless its ticket is used, where its resource does not say.
    :param place: how many seconds a place in the queue lasts.
    :param claim: within how many seconds a lock that fell to an absent client has to be used.
    :param longest_wait: the most seconds that a request may wait for a lock.
    :param usual_wait: how many seconds one waits that does not say.
    :ivar treq: what a client sends requests with that needs no network.
    :ivar store: what is kept.
    :ivar site: what serves a network, if one is wanted.
    :ivar read_key: the key that may read; so may the others,
    :ivar lock_key: the one that may lock too,
    :ivar write_key: and the one that may do everything.
    :ivar url: where it listens; in memory, a name.
    """

    read_key = "read-key"
    lock_key = "lock-key"
    write_key = "write-key"

    def __init__(
        self,
        clock: Any,
        *,
        store: MemoryStore | None = None,
        lease: float = 300.0,
        place: float = 60.0,
        claim: float = 30.0,
        longest_wait: float = 50.0,
        usual_wait: float = 0.0,
    ) -> None:
        self.store = store or MemoryStore()
        self.url = "http://resourced.test"
        self._clock = clock
        self._settings: dict[str, Any] = {"lease": lease, "place": place, "claim": claim}
        self._settings |= {"max_wait": longest_wait, "default_wait": usual_wait}
        self._life = self._begin()
        self.site = self._life.server.site
        self._serve()
        self.treq = MemoryTreq(self.site, clock)
        self._port: IListeningPort | None = None

    def client(self, key: str = write_key, **options: Any) -> Client:
        """
        Make a client that needs no network, for a server that runs by a ``Clock``.

        :param options: more of what ``Client``, or its ``using``, takes.
        """
        means = {"reactor": self._clock, "treq": self.treq, "seconds": self._clock.seconds}
        means |= {name: options.pop(name) for name in means if name in options}
        return Client(self.url, key, **options).using(**means)

    def advance(self, seconds: float = 0.0) -> None:
        """Let time pass on the ``Clock``, in short steps as it does, and let what comes of it arrive."""
        self.treq.flush()
        while seconds > 0:
            self._clock.advance(min(seconds, STEP))
            self.treq.flush()
            seconds -= STEP

    def restart(self) -> None:
        """Be a new server over the same store: what was committed is still there, and all times start anew."""
        self._life.end()
        self._life = self._begin()
        self._serve()
        self.treq.flush()

    def listen(self, port: int = 0) -> str:
        """
        Listen on a port of 127.0.0.1, a free one unless it is said which; to be called in the reactor's thread.

        :return: the URL.
        """
        listening = self._port = self._clock.listenTCP(port, self.site, interface="127.0.0.1")
        self.url = f"http://127.0.0.1:{listening.getHost().port}"
        return self.url

    async def close(self) -> None:
        """Listen no more, answer who is there, and leave no timer behind."""
        port, self._port = self._port, None
        self._life.end()
        if port is not None:
            await maybeDeferred(port.stopListening)
            with suppress(StillThere):
                await self.site.drain(GRACE)

    def _begin(self) -> _Life:
        config = Config.load({}, {"RESOURCE_READ": self.read_key}, "/")
        config = replace(config, resource_read_lock=self.lock_key, resource_write=self.write_key, **self._settings)
        return _Life(config, self._clock, self.store)

    def _serve(self) -> None:
        self.site.serve(self._life.server.leaf)
