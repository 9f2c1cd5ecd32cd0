"""The whole server in memory."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from treq.testing import StubTreq
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.defer import TimeoutError as StillThere
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReactorTime
from zope.interface import implementer

from resourced.api.admin import Steering
from resourced.api.base import ResourceAPI
from resourced.api.history import History
from resourced.api.locking import Published
from resourced.auth.keys import Keys
from resourced.client import Client
from resourced.events.feed import Feed
from resourced.events.push import Streams
from resourced.http.routing import Front
from resourced.http.site import ResourcedSite
from resourced.locks.group_commit import Journal
from resourced.locks.manager import LockManager
from resourced.locks.table import Times
from resourced.testing.store import MemoryStore

#: In what steps a ``Clock`` is advanced, in seconds.
STEP: Final = 0.125
#: How many seconds requests may take that are under way when a server is closed.
GRACE: Final = 2.0
#: How many may follow the events.
STREAMS: Final = 100


class MemoryTreq:
    """
    What ``treq`` is to a client, without a network: every request goes straight to a server in memory.

    :param root: of the server's site.
    """

    def __init__(self, root: Front) -> None:
        self._stub: Any = StubTreq(root)
        self._flushing = False
        self._again = False

    def request(self, method: str, url: str, **rest: Any) -> Deferred[Any]:
        """Send a request, as ``treq.request`` does."""
        answer: Deferred[Any] = self._stub.request(method, url, **rest)
        self.flush()
        return answer

    def flush(self) -> None:
        """Let everything arrive that is under way, in either direction, and what follows from that."""
        self._again = True
        if self._flushing:
            return
        self._flushing = True
        try:
            while self._again:
                self._again = False
                self._stub.flush()
        finally:
            self._flushing = False


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
    """
    What of a server does not outlive a restart: everything but the store. It is what ``tap`` puts together, without all that is
    not needed here.
    """

    def __init__(
        self, clock: Any, store: MemoryStore, times: Times, longest_wait: float, usual_wait: float, keys: Keys
    ) -> None:
        self._timers = _Timers(clock)
        feed = Feed(self._timers, store)
        self._streams = Streams(STREAMS)
        self._journal = Journal(
            self._timers, store, leadership_lost=lambda _: None, happened=feed.happened, resumed=feed.resumed
        )
        self._locks = LockManager(self._timers, self._journal, new_ticket=lambda: secrets.token_hex(16), times=times)
        # The store has its answers ready, so this is done at once.
        Deferred.fromCoroutine(self._lead(store))
        parts = (keys, store, self._locks)
        self.leaf = ResourceAPI(
            Published(*parts, longest_wait=longest_wait, usual_wait=usual_wait),
            Steering(*parts),
            History(*parts, feed=feed, streams=self._streams, clock=self._timers),
        ).app.resource()

    async def _lead(self, store: MemoryStore) -> None:
        await self._journal.open(await store.look())

    def end(self) -> None:
        """Answer everybody who waits, and have nothing more to do with the store."""
        self._locks.stop_waiting()
        self._streams.close()
        Deferred.fromCoroutine(self._journal.close())
        self._timers.stop()


class MemoryServer:
    """
    A server that forgets everything with its process: the real lock manager behind the real API, over a ``MemoryStore``.

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
        self._times = Times(lease=lease, place=place, claim=claim)
        self._longest_wait = longest_wait
        self._usual_wait = usual_wait
        self._life = self._begin()
        self._site = ResourcedSite(self._life.leaf, clock)
        self._front = Front(self._life.leaf)
        self.treq = MemoryTreq(self._front)
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
        self._front.inner = self._life.leaf
        self._site.serve(self._life.leaf)
        self.treq.flush()

    def listen(self, port: int = 0) -> str:
        """
        Listen on a port of 127.0.0.1, a free one unless it is said which; to be called in the reactor's thread.

        :return: the URL.
        """
        listening = self._port = self._clock.listenTCP(port, self._site, interface="127.0.0.1")
        self.url = f"http://127.0.0.1:{listening.getHost().port}"
        return self.url

    async def close(self) -> None:
        """Listen no more, answer who is there, and leave no timer behind."""
        port, self._port = self._port, None
        self._life.end()
        if port is not None:
            await maybeDeferred(port.stopListening)
            with suppress(StillThere):
                await self._site.drain(GRACE)

    def _begin(self) -> _Life:
        keys = Keys(self.read_key, self.lock_key, self.write_key)
        return _Life(self._clock, self.store, self._times, self._longest_wait, self._usual_wait, keys)
