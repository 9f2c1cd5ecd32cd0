"""The servers of one store: which one to ask, how often, and what their refusals are called."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IResponse

from resourced.calls.errors import ClientError, Conflict, NotFound, Refused, Rejected, Unreachable
from resourced.client.nodes import Nodes, subject_of
from resourced.client.wire import Answer, Away, Request, Unwilling, Wire
from resourced.model import valid_name

T = TypeVar("T")

log = Logger()

#: The first pause after all servers were asked in vain, and the longest one, in seconds.
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0

#: From a status to its error; all others are ``Rejected``.
REFUSALS: Final[Mapping[int, type[ClientError]]] = {
    401: Refused,
    403: Refused,
    404: NotFound,
    409: Conflict,
    412: Conflict,
    423: Conflict,
}
#: What is not found by these words is a thing, not a path that the server does not know.
THINGS: Final = frozenset({"unknown_resource", "no_data", "no_card", "unknown_node"})


def path(resource: str, *rest: str, end: str = "", **query: object) -> str:
    """
    Put together the path of a resource, or of a selector of it.

    :param rest: the name of the selector.
    :param end: what of it.
    :param query: arguments; those that are None or empty are left out.
    :raises Rejected: a name cannot be one.
    """
    for name in (resource, *rest):
        if why := valid_name(name):
            raise Rejected(f"The name {name!r} {why}.", "bad_name")
    parts = ["/resource", *(quote(name, safe="") for name in (resource, *rest)), *([end] if end else [])]
    return "/".join(parts) + arguments(**query)


def arguments(**query: object) -> str:
    """Put together a query; what is None or empty is left out."""
    words = urlencode({name: value for name, value in query.items() if value not in {None, ""}}, quote_via=quote)
    return f"?{words}" if words else ""


def error_of(answer: Answer) -> ClientError:
    """Return the error that an answer stands for."""
    kind = REFUSALS.get(answer.status, Rejected)
    if kind is NotFound and answer.code not in THINGS:
        kind = Rejected
    return kind(str(answer.fields.get("error") or f"The server answered {answer.status}."), answer.code)


def _foreign(away: Away) -> ClientError:
    """Return the error that an answer stands for which is not from resourced."""
    if away.foreign < 400:
        return Unreachable(away.sentence, "bad_answer")
    return (Refused if away.foreign in {401, 403} else Rejected)(away.sentence, "bad_answer")


class Backoff:
    """
    Pauses that grow from try to try, and of which no two clients have the same.

    :param chance: returns a number from 0 to 1.
    :param longest: the longest of them, in seconds.
    """

    def __init__(self, chance: Callable[[], float], longest: float) -> None:
        self._chance = chance
        self._longest = longest
        self._next = min(FIRST_PAUSE, longest)

    def next(self, least: float = 0.0) -> float:
        """Return the next pause in seconds, not shorter than ``least``."""
        pause, self._next = self._next, min(2 * self._next, self._longest)
        return least + pause * (0.5 + self._chance() / 2)


class Servers:
    """
    The servers of one store. They are asked in turn, from the one that was of use last; but first the node that has answered for a resource before.

    :param urls: at least one, as ``base`` returns it.
    :param timeout: seconds that one may take to answer, beside what it was asked to wait.
    :param retry_timeout: seconds to go on trying while none answers.
    """

    def __init__(
        self,
        urls: Sequence[str],
        wire: Wire,
        reactor: IReactorTime,
        seconds: Callable[[], float],
        *,
        timeout: float,
        retry_timeout: float,
    ) -> None:
        self._urls = list(urls)
        self._current = 0
        self._wire = wire
        self._reactor = reactor
        self.seconds = seconds
        self.timeout = timeout
        self.retry_timeout = retry_timeout
        self._nodes = Nodes(urls, wire, seconds)
        # What is done aside, each with the paths of what it is about.
        self._errands: dict[Deferred[object], frozenset[str]] = {}

    def aside(self, about: frozenset[str], work: Coroutine[Any, Any, object]) -> Deferred[object]:
        """
        Do something that nobody need wait for, and whose failure is of no consequence.

        :param about: the paths of the selectors that it is about, and of the resources of which any selector may be meant.
        :return: fires when it is done, or has failed. Whoever cancels this cancels the work.
        """
        errand = Deferred.fromCoroutine(work)
        self._errands[errand] = about
        errand.addErrback(_shrug).addBoth(lambda _: self._errands.pop(errand))
        return errand

    async def settled(self, about: frozenset[str] = frozenset()) -> None:
        """Wait for what is done aside: for all of it, or for what is about any of these paths."""
        for errand in [errand for errand, paths in self._errands.items() if not about or about & paths]:
            await _end_of(errand)

    async def finish(
        self, about: frozenset[str], work: Coroutine[Any, Any, T], hurry: Callable[[], object] = lambda: None
    ) -> T:
        """
        Do something to its end, also if the wait for it is cancelled; the cancellation comes out when it is done.

        :param hurry: called when the wait is cancelled.
        """
        done, failed = list[T](), list[BaseException]()

        async def keep() -> None:
            try:
                done.append(await work)
            except BaseException as error:  # noqa: BLE001 - it is raised again below
                failed.append(error)

        errand, cancelled = self.aside(about, keep()), False
        while not (done or failed):
            try:
                await _end_of(errand)
            except CancelledError:
                cancelled = True
                hurry()
        if cancelled:
            raise CancelledError
        if failed:
            raise failed[0]
        return done[0]

    def backoff(self, longest: float = LONGEST_PAUSE) -> Backoff:
        return Backoff(random.random, min(longest, LONGEST_PAUSE))

    def sleep(self, seconds: float) -> Deferred[None]:
        return deferLater(self._reactor, max(0.0, seconds))

    async def ask(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        accept: Sequence[int] = (),
        repeatable: bool = True,
        wait: float = 0.0,
        timeout: float = inf,
        retry_timeout: float = inf,
        pause: float = LONGEST_PAUSE,
        until: float = inf,
        trouble: Callable[[str], object] = lambda _: None,
    ) -> Answer:
        """
        Ask until there is an answer. Where none of the servers answers as resourced does, it is not asked again.

        :param accept: statuses, beside those below 300, that are no errors.
        :param repeatable: whether to ask again when an earlier try may have been done.
        :param wait: seconds that the server is to wait if there is nothing to tell.
        :param timeout: seconds that it may take beside that, if less than it may anyway; the same for ``retry_timeout``.
        :param pause: the longest pause between tries, in seconds, if the server does not ask for a longer one.
        :param until: when to give up in any case, by ``seconds()``. Each server is asked once all the same.
        :param trouble: told in a sentence why there was no answer, each time.
        :raises ClientError: the one that the answer stands for, or ``Unreachable``.
        """
        timeout, retry_timeout = min(timeout, self.timeout), min(retry_timeout, self.retry_timeout)
        repeated, tries, end, backoff, longest, strangers = False, 0, inf, self.backoff(pause), 0.0, 0
        subject = subject_of(target, (headers or {}).get("x-ticket", ""))
        while True:
            asked, owner = self._current, self._nodes.owner(subject)
            left = int(max(0.0, min(wait, until - self.seconds())))
            sent = {**(headers or {}), **({"prefer": f"wait={left}"} if left else {})}
            try:
                answer = await self._wire.exchange(
                    owner or self._urls[asked], Request(method, target, sent, body, timeout + left)
                )
            except Away as away:
                repeated = repeated or away.unclear
                if owner and (repeatable or not repeated):
                    self._leave(owner, subject, away)
                    continue
                strangers = strangers + 1 if away.foreign else 0
                if strangers == len(self._urls):
                    raise _foreign(away) from away
                if repeated and not repeatable:
                    raise Unreachable(f"{away.sentence} It may have been done all the same.", "unclear") from away
                self._pass_over(asked)
                end = min(end, self.seconds() + retry_timeout, until)
                trouble(away.sentence)
                tries += 1
                longest = max(longest, away.pause)
                if tries % len(self._urls):
                    continue
                if self.seconds() >= end:
                    raise Unreachable(away.sentence) from away
                await self.sleep(min(backoff.next(longest), end - self.seconds()))
                longest = 0.0
            else:
                self._nodes.told(subject, answer.header("x-resourced-node"))
                if answer.status < 300 or answer.status in accept:
                    return replace(answer, repeated=repeated)
                raise error_of(answer)

    def _pass_over(self, asked: int) -> None:
        """Ask another server next, unless that is so already."""
        if self._current == asked:
            self._current = (asked + 1) % len(self._urls)

    def _leave(self, owner: str, subject: str, away: Away) -> None:
        """Ask any server next, because the node that decided about something has not answered, or decides no more."""
        if away.pause:
            self._nodes.refused(subject)
        else:
            self._nodes.lost(owner)

    def close(self) -> None:
        """Find out nothing more about the nodes."""
        self._nodes.close()

    async def stream(self, target: str, headers: Mapping[str, str]) -> IResponse:
        """
        Ask for an answer without end, once, of the server that was of use last.

        :raises Away: there is none; the next try goes to another server.
        :raises ClientError: the one that the answer stands for.
        """
        asked = self._current
        try:
            return await self._wire.stream(self._urls[asked], Request("GET", target, headers, None, self.timeout))
        except Away as away:
            self._pass_over(asked)
            if away.foreign and len(self._urls) == 1:
                raise _foreign(away) from away
            raise
        except Unwilling as unwilling:
            raise error_of(unwilling.answer) from None


def _shrug(failure: Failure) -> None:
    log.debug("What was done aside has failed: {why}", why=failure.getErrorMessage())


def _end_of(errand: Deferred[object]) -> Deferred[None]:
    """Wait for the end of an errand; to cancel the wait does nothing to the errand."""
    waiter: Deferred[None] = Deferred()

    def over(found: object) -> object:
        if not waiter.called:
            waiter.callback(None)
        return found

    errand.addBoth(over)
    return waiter
