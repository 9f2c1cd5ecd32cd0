"""
The thread in which the work of blocking clients is done, and how other threads have it done there.

Nothing here depends on Twisted's own reactor: whether that runs, and where, is for the program to say.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, Protocol, TypeVar
from weakref import WeakSet

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from resourced.calls.errors import Unreachable

T = TypeVar("T")

#: How often a thread that waits looks up, in seconds: a signal may come just before it begins to wait, and would not be seen.
LOOK_UP: Final = 1.0
#: How many seconds the end of a program may wait for the locks that are still to be released.
LAST: Final = 2.0


class Call(Generic[T]):
    """
    Something that is done in the reactor's thread while another thread waits for it.

    :param begin: begins it.
    :param undo: what is done with what came of it, if nobody waits for that any more.
    :param must: whether it is done in any case.
    :ivar over: set when there is an outcome.
    :ivar gone: set when it was given up, and nothing is left of it.
    """

    def __init__(
        self, begin: Callable[[], Awaitable[T]], undo: Callable[[T], Awaitable[object]] | None, *, must: bool
    ) -> None:
        self.over = threading.Event()
        self.gone = threading.Event()
        self.error: BaseException | None = None
        self._begin = begin
        self._undo = undo
        self._must = must
        self._results: list[T] = []
        self._work: Deferred[Any] | None = None
        self._given_up = False

    def start(self) -> None:
        """Begin; in the reactor's thread, as ``give_up``."""
        self._work = Deferred.fromCoroutine(_begun(self._begin))
        self._work.addBoth(self._settle)

    def give_up(self) -> None:
        """Have no more to do with it, for nobody waits for it: it is cancelled, or undone if it was too late for that."""
        if self._given_up:
            return
        self._given_up = True
        if self._work is None and self._must:
            self.start()
        elif self._work is None:
            self.gone.set()
        elif self.over.is_set():
            self._take_back()
        else:
            self._work.cancel()

    def outcome(self) -> T:
        """Return what came of it, or raise it."""
        if self.error is not None:
            raise self.error
        return self._results[0]

    def _settle(self, result: T | Failure) -> None:
        if isinstance(result, Failure):
            self.error = result.value
        else:
            self._results.append(result)
        self.over.set()
        if self._given_up:
            self._take_back()

    def _take_back(self) -> None:
        if self._results and self._undo is not None:
            undone = Deferred.fromCoroutine(_begun(lambda: self._undo(self._results[0])))  # type: ignore[misc]
            undone.addErrback(lambda _: None).addCallback(lambda _: self.gone.set())
        else:
            self.gone.set()


async def _begun(begin: Callable[[], Awaitable[T]]) -> T:
    return await begin()


class Leaving(Protocol):
    """What is to be done before the program ends."""

    @property
    def left(self) -> bool:
        """Whether nothing of the program is at it any more."""

    async def leave(self) -> None: ...


class ReactorThread:
    """
    A reactor of the clients' own, in a thread of its own, which ends with the program.

    :ivar leaving: what is done before that, as far as there is time.
    """

    def __init__(self) -> None:
        self.reactor = _new_reactor()
        self.leaving: WeakSet[Any] = WeakSet()
        self._process = os.getpid()
        self._ended = False
        running = threading.Event()
        self.reactor.callWhenRunning(running.set)
        options = {"installSignalHandlers": False}
        # The threads that it makes, to look up names, are daemons with it, so none of them keeps the program from its end.
        self._thread = threading.Thread(target=self.reactor.run, kwargs=options, name="resourced client", daemon=True)
        self._thread.start()
        running.wait()

    @property
    def forked(self) -> bool:
        """Whether it runs in the process that this one was forked from, and not here."""
        # In the very end of a program there are no modules any more.
        return not self._ended and os.getpid() != self._process

    @property
    def ended(self) -> bool:
        """Whether nothing can be done in it any more."""
        return self._ended or self.forked or not self._thread.is_alive()

    def wait(
        self,
        begin: Callable[[], Awaitable[T]],
        undo: Callable[[T], Awaitable[object]] | None = None,
        *,
        must: bool = False,
    ) -> T:
        """
        Have something done in the reactor, and wait for what comes of it.

        :param begin: begins it.
        :param undo: if the thread does not wait to the end, because of an exception such as ``KeyboardInterrupt``, what was begun is
            cancelled. If it was too late for that, this is done with what came of it.
        :param must: that it is begun also if the exception came before that.
        :raises RuntimeError: it is this thread itself that is to wait.
        :raises Unreachable: the program is about to end, or it was begun in the process that this one was forked from.
        """
        call = Call(begin, undo, must=must)
        try:
            self._submit(call.start)
            self._wait_for(call.over)
            return call.outcome()
        except BaseException as error:
            if error is call.error:
                raise
            self._submit(call.give_up)
            self._wait_for(call.gone)
            raise

    def finish(self, begin: Callable[[], Awaitable[object]]) -> None:
        """Have something done that ends something else, and wait for it as far as that is possible."""
        if self._ended:
            return
        if self._thread is threading.current_thread():
            # The garbage collector came by in this thread.
            Deferred.fromCoroutine(_begun(begin)).addErrback(lambda _: None)
        elif not self.ended:
            self.wait(begin, must=True)

    def end(self) -> None:
        """Do before the program ends what is to be done before that, as far as there is time, and from then on nothing."""
        if self.ended:
            return
        over = threading.Event()

        async def leave() -> None:
            works = [Deferred.fromCoroutine(thing.leave()) for thing in list(self.leaving) if thing.left]
            for work in works:
                await work.addErrback(lambda _: None)

        self.reactor.callFromThread(lambda: Deferred.fromCoroutine(leave()).addBoth(lambda _: over.set()))
        over.wait(LAST)
        self._ended = True

    def close_inherited(self) -> None:
        """Close, in a process that was forked, its copies of connections, so that they end when their own process closes them."""
        for descriptor in {*self.reactor.getReaders(), *self.reactor.getWriters()}:
            if (connection := getattr(descriptor, "socket", None)) is not None:
                connection.close()

    def _submit(self, work: Callable[[], None]) -> None:
        self._may_wait()
        self.reactor.callFromThread(work)

    def _wait_for(self, event: threading.Event) -> None:
        while not event.wait(LOOK_UP):
            self._may_wait()

    def _may_wait(self) -> None:
        if self._thread is threading.current_thread():
            raise RuntimeError("This would wait for itself: a callback of a blocking client must not use one.")
        if self.forked:
            raise Unreachable("This was begun in the process that this one was forked from.", "forked")
        if self.ended:
            raise Unreachable("The program is about to end.", "stopped")


def _new_reactor() -> Any:
    """Make a reactor that is not the process's own."""
    kind: Any
    try:
        from twisted.internet.epollreactor import EPollReactor as kind  # noqa: N813, PLC0415 - it may not be there
    except ImportError:
        from twisted.internet.selectreactor import SelectReactor as kind  # noqa: N813, PLC0415
    reactor = kind()
    # Its timers go by a clock that nobody sets back; and Twisted's own reactor is still that of the process.
    reactor.seconds = time.monotonic
    reactor._registerAsIOThread = False  # noqa: SLF001 - there is no public way
    return reactor
