"""Several who wait for one thing to happen, each free to stop waiting."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable
from itertools import islice
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from resourced.errors import ResourcedError

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

log = Logger()


def waiter_in(waiters: list[Deferred[T]]) -> Deferred[T]:
    """Join those who wait; one that is cancelled leaves."""

    def leave(waiter: Deferred[T]) -> None:
        if waiter in waiters:
            waiters.remove(waiter)

    waiter: Deferred[T] = Deferred(leave)
    waiters.append(waiter)
    return waiter


async def waiting_for(waiters: list[Deferred[None]], seconds: float, clock: IReactorTime) -> None:
    """Join those who wait, until they are told what has come of it, but not for longer than so many seconds."""
    waiter = waiter_in(waiters)

    def give_up() -> None:
        waiters.remove(waiter)
        waiter.callback(None)

    timer = clock.callLater(seconds, give_up)
    try:
        await waiter
    finally:
        if timer.active():
            timer.cancel()


def wake(waiters: list[Deferred[Any]], outcome: object = None) -> None:
    """Tell all who wait what has come of it, which may be an exception; meanwhile others may join for the next time, or leave."""
    woken = waiters[:]
    waiters.clear()
    for waiter in woken:
        if waiter.called:
            continue
        if isinstance(outcome, Exception):
            waiter.errback(outcome)
        else:
            waiter.callback(outcome)


class Running(Generic[T]):
    """
    A coroutine, run by hand: as far as it gets at once, for the price of a call, and then after each Deferred.

    ``Deferred.fromCoroutine`` does the same with more ado, and is slower where most have nothing to wait for.

    :param done: told what it returned.
    :param failed: told what it raised.
    """

    __slots__ = ("_coroutine", "_done", "_failed", "waited")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        waited: Deferred[Any],
        done: Callable[[T], object],
        failed: Callable[[Exception], object],
    ) -> None:
        self._coroutine = coroutine
        self._done = done
        self._failed = failed
        self.waited = waited
        waited.addBoth(self._go_on)

    def _go_on(self, result: Any) -> None:
        try:
            if isinstance(result, Failure):
                waited = result.throwExceptionIntoGenerator(self._coroutine)
            else:
                waited = self._coroutine.send(result)
        except StopIteration as end:
            self._end()[0](end.value)
        except Exception as error:  # noqa: BLE001 - whoever is told decides
            # A failure that its own frame holds would be garbage that only the collector finds.
            del result
            self._end()[1](error)
        else:
            self.waited = waited
            waited.addBoth(self._go_on)

    def _end(self) -> tuple[Callable[[T], object], Callable[[Exception], object]]:
        """Let go of whoever is told, who often holds this in turn."""
        told = (self._done, self._failed)
        del self._done, self._failed
        return told


def shielded(work: Coroutine[Any, Any, T]) -> Deferred[T]:
    """Run ``work`` to its end even if whoever waits for it is cancelled."""
    try:
        waited = work.send(None)
    except StopIteration as end:
        return succeed(end.value)
    except Exception:  # noqa: BLE001 - it is raised where it is waited for
        return fail()
    outside: Deferred[T] = Deferred(lambda _: None)

    def failed(error: Exception) -> None:
        if not outside.called:
            outside.errback(error)
        elif not isinstance(error, ResourcedError):
            log.failure("Work that nobody waits for any more has failed.", Failure(error))

    def done(result: T) -> None:
        if not outside.called:
            outside.callback(result)

    Running(work, waited, done, failed)
    return outside


class Shared:
    """Something that many ask for and one does: whoever asks while it is under way gets its outcome."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._waiters: list[Deferred[None]] = []

    async def done(self) -> None:
        """Wait for what is under way, or begin it; fails as it does."""
        first = not self._waiters
        outcome = waiter_in(self._waiters)
        if first:
            Deferred.fromCoroutine(self._run())
        await outcome

    async def _run(self) -> None:
        error: Exception | None = None
        try:
            await self._work()
        except Exception as caught:  # noqa: BLE001 - it is raised where it is waited for
            error = caught
        wake(self._waiters, error)


class Gathered(Generic[K, T]):
    """
    Many questions that are asked at once: those that come up while an answer is under way are asked together after it.

    So each is answered by something that was asked after it had come up.

    :param ask: answers some of them; what is missing in its answer is nothing.
    :ivar most: how many are asked at once.
    """

    def __init__(self, ask: Callable[[list[K]], Coroutine[Any, Any, dict[K, T]]], most: int) -> None:
        self._ask = ask
        self.most = most
        self._waiting: dict[K, list[Deferred[T | None]]] = {}
        self._asking = False

    def get(self, question: K) -> Deferred[T | None]:
        """Ask; the answer is nothing if there is none, and fails as asking does."""
        waiter = waiter_in(self._waiting.setdefault(question, []))
        if not self._asking:
            self._go_on()
        return waiter

    def _go_on(self) -> None:
        asked = dict(islice(self._waiting.items(), self.most))
        for question in asked:
            del self._waiting[question]
        self._asking = bool(asked)
        if asked:
            Deferred.fromCoroutine(self._ask(list(asked))).addCallbacks(
                self._answered, self._failed, callbackArgs=(asked,), errbackArgs=(asked,)
            )

    def _answered(self, answers: dict[K, T], asked: dict[K, list[Deferred[T | None]]]) -> None:
        # First the next questions, so that whoever is asked has work while the answers are passed on.
        self._go_on()
        for question, waiters in asked.items():
            wake(waiters, answers.get(question))

    def _failed(self, failure: Failure, asked: dict[K, list[Deferred[T | None]]]) -> None:
        self._go_on()
        for waiters in asked.values():
            wake(waiters, failure.value)
