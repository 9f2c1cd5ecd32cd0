"""The servers of one store: which one to ask, how often, and when to give up."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Final, Protocol

from resourced.calls.answers import Answer, Away, Request
from resourced.calls.errors import Unreachable

#: The first pause after all servers were asked in vain, and the longest one, in seconds.
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0


class Exchanging(Protocol):
    """What sends a request to a server."""

    async def exchange(self, url: str, request: Request) -> Answer:
        """
        Send a request and read the answer, which may well be that the server will not do it.

        :raises Away: there is no usable answer.
        """


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


class Retries:
    """
    Asks the servers of one store in turn, from the one that was of use last.

    :param urls: at least one, as ``base`` returns it.
    :param sleep: lets so many seconds pass.
    :param seconds: a clock that never goes back.
    :param timeout: seconds that one may take to answer, beside what it was asked to wait.
    :param retry_timeout: seconds to go on trying while none answers.
    """

    def __init__(
        self,
        urls: Sequence[str],
        wire: Exchanging,
        sleep: Callable[[float], Awaitable[None]],
        seconds: Callable[[], float],
        *,
        timeout: float,
        retry_timeout: float,
    ) -> None:
        self._urls = list(urls)
        self._current = 0
        self._wire = wire
        self.sleep = sleep
        self.seconds = seconds
        self.timeout = timeout
        self.retry_timeout = retry_timeout

    async def settled(self, about: frozenset[str] = frozenset()) -> None:
        """
        Wait for what is done aside.

        :param about: only for what is about any of these paths; without one, for all of it.
        """

    def backoff(self, longest: float = LONGEST_PAUSE) -> Backoff:
        return Backoff(random.random, min(longest, LONGEST_PAUSE))

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
            asked, owner = self._current, self._owner_of(subject)
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
                    raise away.final from away
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
                self._told(subject, answer.header("x-resourced-node"))
                if answer.status < 300 or answer.status in accept:
                    return replace(answer, repeated=repeated)
                raise answer.error

    def _pass_over(self, asked: int) -> None:
        """Ask another server next, unless that is so already."""
        if self._current == asked:
            self._current = (asked + 1) % len(self._urls)

    def _owner_of(self, subject: str) -> str:  # noqa: ARG002
        """Return the URL of the node to ask first about something; nothing if any server may be asked."""
        return ""

    def _told(self, subject: str, url: str) -> None:
        """Take note of which node has answered; the URL is as it was said, empty if it was not."""

    def _leave(self, owner: str, subject: str, away: Away) -> None:
        """Ask any server next, because the node that decided about something has not answered, or decides no more."""


def subject_of(target: str, ticket: str) -> str:
    """
    Return what a request is about: what has the same owner has the same subject.

    :param target: its path, with the query.
    :param ticket: that of a request for several things, which says by its first digits where it is.
    """
    path = target.partition("?")[0]
    if path.startswith("/resource/"):
        return path.split("/", 3)[2]
    return f"/{ticket[:2]}" if ticket and path in {"/lock", "/unlock"} else ""
