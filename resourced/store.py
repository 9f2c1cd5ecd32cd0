"""What is kept for good: the ``Store`` protocol, and its one implementation in SQL. Every SQL statement lives here."""

from __future__ import annotations

from typing import Protocol

from resourced.model import Batch, Document, Reign, Resource


class Store(Protocol):
    """
    Resources, their data, and the places of their tickets.

    Every method may raise ``resourced.errors.StoreUnavailable``; then nothing may be taken as done, nor as not
    done.  No exception of a driver leaves this room.
    """

    async def create_resource(self, name: str, timeout: int) -> Resource:
        """
        Create a resource.

        :raises resourced.errors.ResourceExists: there is one of exactly this name.
        :raises resourced.errors.EpochLost: another daemon reigns.
        """

    async def find_resource(self, name: str) -> Resource:
        """
        Look a resource up by its exact name.

        :raises resourced.errors.ResourceNotFound: there is none.
        """

    async def read(self, resource: Resource, selector: str) -> Document:
        """
        Fetch what is kept at a selector.

        :raises resourced.errors.DataNotFound: nothing was ever written there.
        """

    async def ping(self) -> None:
        """Return if the store answers."""

    async def reign(self) -> Reign:
        """
        Become the one writer: raise the epoch, and only then read what is there.

        Raising the epoch waits for a transaction of an earlier reign that is still under way and makes every later one fail,
        so what is read here cannot change behind the reader's back.  The same daemon calls it again
        after a failure, to learn what became of a commit that was never answered.
        """

    async def commit(self, batch: Batch) -> None:
        """
        Do all of ``batch`` in one transaction, or nothing of it.

        :raises resourced.errors.EpochLost: another daemon reigns.
        :raises resourced.errors.StoreRefused: a write does not come from the holder.
        """

    async def close(self) -> None:
        """Let go of every connection, after the work under way has ended."""
