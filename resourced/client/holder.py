"""What the holder of a lock says to the server."""

from __future__ import annotations

import json
from math import inf

from resourced.calls.answers import Answer
from resourced.calls.errors import ClientError, Unreachable
from resourced.client.grant import Fenced, Grant
from resourced.client.lease import Lease
from resourced.client.loss import was_released
from resourced.client.servers import Servers


class HolderRequests:
    """
    The requests of a holder, for as long as its lease lasts.

    :ivar about: the paths of what it holds.
    :ivar trouble: why the last renewal was in vain, as a sentence; empty if all is well.
    :ivar leaving: whether somebody waits for the release, and so for the renewal that is under way.
    :ivar hurrying: whether whoever waits for what is said last would rather go: each server is asked once more at most.
    """

    def __init__(self, servers: Servers, grant: Grant, lease: Lease) -> None:
        self._servers = servers
        self._grant = grant
        self._lease = lease
        self.about = grant.about
        self.trouble = ""
        self.leaving = False
        self.hurrying = False

    async def say(self, method: str, target: str, body: bytes | None = None) -> Answer:
        """Ask for something that the holder may have. A refusal because the lock is lost is an answer too."""
        return await self._servers.ask(
            method,
            target,
            headers={"x-ticket": self._grant.ticket},
            body=body,
            accept=(410, 423),
            until=self._lease.until,
            trouble=self._give_in,
        )

    async def unlock(self, root: str, out: str = "") -> Answer:
        """
        Let go of something.

        :param root: the path of one selector; or nothing, for all that several wants gave.
        :param out: why that selector is to go out of service.
        """
        try:
            return await self.say("POST", f"{root}/unlock", json.dumps({"out": out}).encode() if out else None)
        except Unreachable:
            raise
        except ClientError:
            if out:
                # What the server does not take for broken is released all the same.
                await self.say("POST", f"{root}/unlock")
            raise

    async def renew(self) -> Answer | None:
        """Renew the lease; if no server can be told, have that tried again, and return nothing."""
        length = self._lease.length
        try:
            return await self._servers.ask(
                "POST",
                f"{self._grant.root}/lock",
                headers=as_holder(self._grant.ticket, self._grant.owner),
                accept=(202, 410),
                timeout=length / 3,
                pause=length / 20,
                until=self._lease.until,
                trouble=self._note,
            )
        except ClientError as error:
            self.trouble = error.sentence
            self._lease.retry()
            return None

    def let_go(self, timeout: float = inf) -> None:
        """Give up everything, without waiting for that; each server is asked once."""
        asking = self._servers.ask(
            "POST",
            f"{self._grant.root}/unlock",
            headers={"x-ticket": self._grant.ticket},
            retry_timeout=0,
            timeout=timeout,
        )
        self._servers.aside(self.about, asking)

    async def was_released(self, unit: Fenced, retry_timeout: float = inf) -> bool:
        """Tell from the history whether a selector was let go of with its ticket."""
        return await was_released(self._servers, unit, retry_timeout)

    def hurry(self) -> None:
        self.hurrying = True

    def _give_in(self, trouble: str) -> None:
        if self.hurrying:
            raise Unreachable(trouble)

    def _note(self, trouble: str) -> None:
        self.trouble = trouble
        if self.leaving:
            raise Unreachable(trouble)


def as_holder(ticket: str, owner: str) -> dict[str, str]:
    """
    Return the headers of a request for a lock that a ticket has or waits for.

    It does not wait, unless it is told to: where requests wait that do not say, it has to say so.
    """
    return {"x-ticket": ticket, "prefer": "wait=0", **({"x-owner": owner} if owner else {})}
