"""What the holder of a lock says to the server."""

from __future__ import annotations

from math import inf

from resourced.client.errors import ClientError, Unreachable
from resourced.client.lease import Lease
from resourced.client.loss import was_released
from resourced.client.servers import Servers, path
from resourced.client.values import Grant
from resourced.client.wire import Answer


class HolderRequests:
    """
    The requests of a holder, for as long as its lease lasts.

    :ivar path: of the selector.
    :ivar trouble: why the last renewal was in vain, as a sentence; empty if all is well.
    :ivar leaving: whether somebody waits for the release, and so for the renewal that is under way.
    :ivar hurrying: whether whoever waits for what is said last would rather go: each server is asked once more at most.
    """

    def __init__(self, servers: Servers, grant: Grant, lease: Lease) -> None:
        self._servers = servers
        self._grant = grant
        self._lease = lease
        self.path = path(grant.resource, grant.selector)
        self.trouble = ""
        self.leaving = False
        self.hurrying = False

    async def say(self, method: str, end: str = "", body: bytes | None = None) -> Answer:
        """
        Ask for something that the holder may have. A refusal because the lock is lost is an answer too.

        :param end: what stands after the path of the selector.
        """
        return await self._servers.ask(
            method,
            self.path + end,
            headers={"x-ticket": self._grant.ticket},
            body=body,
            accept=(410, 423),
            until=self._lease.until,
            trouble=self._give_in,
        )

    async def renew(self) -> Answer | None:
        """Renew the lease; if no server can be told, have that tried again, and return nothing."""
        length = self._lease.length
        try:
            return await self._servers.ask(
                "PUT",
                f"{self.path}/lock",
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
        """Give the lock up, without waiting for that; each server is asked once."""
        asking = self._servers.ask(
            "POST", f"{self.path}/unlock", headers={"x-ticket": self._grant.ticket}, retry_timeout=0, timeout=timeout
        )
        self._servers.aside(self.path, asking)

    async def was_released(self, retry_timeout: float = inf) -> bool:
        """Tell from the history whether the lock was let go of with its ticket."""
        return await was_released(self._servers, self._grant, retry_timeout)

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
