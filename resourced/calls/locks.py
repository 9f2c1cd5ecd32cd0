"""What a client can ask for of locks and data without holding anything itself."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import partial

from resourced.calls.errors import LockLost, Unreachable
from resourced.calls.listing import Listing, holder_of
from resourced.calls.paths import arguments, path
from resourced.calls.values import Document, Event, LockState, Waiter, take


class LockCalls(Listing):
    """The part of a client that is about locks and data by name."""

    async def get(self, resource: str, selector: str) -> Document:
        """
        Read without lock.

        :raises NotFound: there is no such resource, or no data yet; ``code`` tells which.
        """
        answer = await self._servers.ask("GET", path(resource, selector, lock=0))
        text = answer.fields.get("data")
        if not isinstance(text, str):
            raise Unreachable("The server's answer is no document.", "bad_answer")
        return Document(text, answer.header("etag"))

    async def unlock(self, resource: str, selector: str, ticket: str, *, out: str = "") -> bool:
        """
        Release a lock, or give up a place, by its ticket.

        :param out: why the unit is to go out of service in the same step; empty to let others have it.

        :return: whether there was anything to let go of, as far as can be told if an answer was lost.
        """
        answer = await self._servers.ask(
            "POST",
            path(resource, selector, end="unlock"),
            headers={"x-ticket": ticket},
            body=json.dumps({"out": out}).encode() if out else None,
        )
        return answer.fields.get("unlocked") is True or answer.repeated

    async def write_text(self, resource: str, selector: str, text: str, ticket: str) -> None:
        """
        Write a JSON text, which is kept byte for byte, with a lock that was got otherwise.

        :param ticket: of the lock, which is renewed by this and kept.
        :raises LockLost: the ticket does not hold the lock.
        """
        await self._store("PUT", resource, selector, ticket, text.encode())

    async def delete(self, resource: str, selector: str, ticket: str) -> None:
        """Delete the data with a lock that was got otherwise; else as ``write_text``."""
        await self._store("DELETE", resource, selector, ticket, None)

    async def _store(self, method: str, resource: str, selector: str, ticket: str, body: bytes | None) -> None:
        answer = await self._servers.ask(
            method, path(resource, selector), headers={"x-ticket": ticket}, body=body, accept=(410, 423)
        )
        if answer.status >= 400:
            raise LockLost(answer.error.sentence, answer.code, resource, selector, 0)

    async def state(self, resource: str, selector: str, *, after: int = 0, limit: int = 100) -> LockState:
        """
        Tell who holds a lock and who waits for it.

        :param after: leave out the queue up to this position.
        :param limit: how many of the queue to tell of, 1 to 1000.
        """
        # A lock that was left just now may still be about to be released.
        await self._servers.settled(frozenset({path(resource, selector)}))
        answer = await self._servers.ask("GET", path(resource, selector, end="lock", after=after or None, limit=limit))
        return take(
            LockState,
            {
                **answer.fields,
                "holder": holder_of(answer.fields),
                "queue": tuple(take(Waiter, waiter) for waiter in answer.items("queue")),
                "next": answer.fields.get("next"),
            },
        )

    async def break_lock(self, resource: str, selector: str, fence: int, reason: str = "") -> None:
        """
        Take a lock from its holder. The history tells who did it: ``owner``, or else the name of the key.

        :param fence: of the lock as it was seen.
        :param reason: why, for the history: at most 255 printable characters.
        :raises Conflict: that fence does not hold it any more (``code`` is ``fence_mismatch``).
        """
        answer = await self._servers.ask(
            "DELETE",
            path(resource, selector, end="lock", fence=fence, reason=reason),
            headers=self._named,
            accept=(412,),
        )
        # After a try whose answer was lost it may be broken already.
        if answer.status == 412 and not answer.repeated:
            raise answer.error

    def events(
        self, resource: str, selector: str = "", *, before: int | None = None, page: int = 100
    ) -> AsyncIterator[Event]:
        """
        Go through what happened to a lock and its data, from the newest back; or, without a selector, to a whole resource.

        :param before: only what came before the event with this id.
        :param page: how many to ask for at a time, 1 to 1000.
        """
        return self._pages(
            lambda at: (
                path(resource, selector, end="events", before=at, limit=page)
                if selector
                else "/history" + arguments(resource=resource, before=at, limit=page)
            ),
            before,
            partial(take, Event),
            "events",
        )
