"""What is kept for good: the ``Store`` protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from resourced.model import Batch, Document, Event, LockKey, Mark, Resource, Snapshot, Term, Weight
from resourced.usage import By, Use


class Store(Protocol):
    """
    Resources, their data, and the places of their tickets.

    Every method may raise ``resourced.errors.StoreUnavailable``; then nothing may be taken as done, nor as not
    done.  No exception of a driver leaves this room.
    """

    async def create_resource(
        self, name: str, timeout: int, *, group: str = "", longest: int = 0, slots: int = 0
    ) -> Resource:
        """
        Create a resource.

        :raises resourced.errors.ResourceExists: there is one of exactly this name.
        :raises resourced.errors.EpochLost: another daemon is the leader.
        """

    async def change_resource(self, name: str, changes: Mapping[str, int | str]) -> Resource:
        """
        Change a resource.

        :param changes: at least one of ``timeout``, ``group``, ``longest`` and ``slots``, by those names.
        :raises resourced.errors.ResourceNotFound: there is none of this name.
        :raises resourced.errors.EpochLost: another daemon is the leader.
        """

    async def list_resources(self, prefix: str, after: str, limit: int) -> list[Resource]:
        """
        Name resources, sorted by the code points of their names.

        :param prefix: what their names begin with.
        :param after: after which name to begin; there need not be one of it.
        """

    async def list_selectors(self, resource: Resource, prefix: str, after: str, limit: int) -> list[str]:
        """Name the selectors of a resource at which there is data, sorted by code points; see ``list_resources``."""

    async def find_resource(self, name: str) -> Resource:
        """
        Look a resource up by its exact name.

        :raises resourced.errors.ResourceNotFound: there is none.
        """

    async def read(self, resource: Resource, selector: str) -> Document:
        """
        Fetch what is kept at a selector.

        The resource is looked up again by its name: whoever was told of it may have been told some time ago.

        :raises resourced.errors.ResourceNotFound: there is none of this name any more.
        :raises resourced.errors.DataNotFound: nothing was ever written there.
        """

    async def read_all(self, wanted: Sequence[tuple[Resource, str]]) -> list[Document | None]:
        """
        Fetch what is kept at many selectors, in their order; nothing where nothing was ever written.

        :param wanted: the resource of each, which is looked up again as for ``read``, and its selector.
        :raises resourced.errors.ResourceNotFound: there is none of the name of one of them any more.
        """

    async def events(self, key: LockKey, before: int, limit: int) -> list[Event]:
        """
        Tell what has happened to a lock, the newest first.

        :param before: before which event to begin, by its id.
        """

    async def events_before(self, before: int, limit: int) -> list[Event]:
        """
        Tell what has happened to anything, the newest first.

        :param before: before which event to begin, by its id.
        """

    async def events_since(self, after: int, limit: int) -> list[Event]:
        """
        Tell what has happened, the oldest first.

        :param after: after which event to begin, by its id.
        :raises resourced.errors.EventsForgotten: something that has happened after it is not kept any more.
        """

    async def newest_event(self) -> int:
        """Return the id of the newest event that is kept, or 0."""

    async def weigh_events(self, after: int, limit: int) -> Weight:
        """
        Tell what the oldest events after another take.

        :param limit: how many of them to look at, at most.
        """

    async def marks(self) -> list[Mark]:
        """Return all marks, sorted by their times."""

    async def mark(self, mark: Mark, first: int, last: int) -> None:
        """
        Keep a mark, and of those that are kept already only some.

        :param first: the time of the first one that stays, if any does.
        :param last: the time of the last one that stays.
        :raises resourced.errors.EpochLost: another daemon is the leader.
        """

    async def forget_events(self, last: int) -> bool:
        """
        Forget some of the oldest events, in a small transaction.

        :param last: the id of the newest one that may be forgotten.
        :returns: whether there may be more of them.
        :raises resourced.errors.EpochLost: another daemon is the leader.
        """

    async def forget_losses(self, last: int) -> bool:
        """
        Forget some of the oldest losses, in a small transaction.

        :param last: the id of the event that tells of the newest one that may be forgotten.
        :returns: whether there may be more of them.
        :raises resourced.errors.EpochLost: another daemon is the leader.
        """

    async def roll_up(self, limit: int) -> int:
        """
        Count the use that some more events tell of, the oldest first, and each once.

        :param limit: how many of them to count, at most.
        :returns: the id of the newest event that is counted.
        :raises resourced.errors.EpochLost: another daemon is the leader.
        """

    async def usage(self, resource: str, by: By, since: int, limit: int) -> dict[str, Use]:
        """
        Tell what was used of a resource, by the names of selectors or of owners. It starts with what was held longest.

        :param since: from which day on, see ``resourced.usage.Of``.
        :param limit: how many names to tell of, at most.
        """

    async def forget_usage(self, days: int) -> bool:
        """
        Forget the use of all but the last days on which anything was used.

        :param days: how many of them stay.
        :returns: whether there may be more to forget.
        :raises resourced.errors.EpochLost: another daemon is the leader.
        """

    async def ping(self) -> None:
        """
        Return if the store answers.

        :raises resourced.errors.EpochLost: another daemon is the leader.
        """

    async def look(self, *, everywhere: bool = False) -> Term:
        """
        Say who leads. It may be old, where a cluster of servers is behind the store.

        :param everywhere: whether nodes of a cluster count, also for one of them; else it looks for a daemon beside which it may not serve.
        """

    async def begin_term(self, over: Term | None = None, guard: str = "") -> Snapshot:
        """
        Become the one writer: raise the epoch, and only then read what is there.

        Raising the epoch waits for a transaction of an earlier term that is still under way, and makes every later one fail.
        So what is read here cannot change behind the reader's back.  The same daemon calls it again
        after a failure, to learn what became of a commit that was never answered.

        :param over: the term that is taken over, as it was seen: if anything was committed since, it is not. Without it this daemon's own term
            goes on.
        :param guard: where the guard is held, see ``Term``; only said with ``over``.
        :raises resourced.errors.EpochLost: another daemon is the leader.
        """

    async def beat(self, guard: str, event: int = 0, passed: int = 0) -> None:
        """
        Commit nothing but that this daemon is still the leader.

        :param guard: where its guard is held, see ``Term``.
        :param event: this daemon gives no event an id up to this one any more; without it that stays as it was.
        :param passed: what the clock of marks shows; it never goes back.
        :raises resourced.errors.EpochLost: another daemon is the leader.
        """

    async def leave(self) -> None:
        """
        Commit that this daemon's term has ended. It can commit nothing after that.

        :raises resourced.errors.EpochLost: another daemon is the leader.
        """

    async def commit(self, batch: Batch) -> None:
        """
        Do all of ``batch`` in one transaction, or nothing of it.

        :raises resourced.errors.EpochLost: another daemon is the leader.
        :raises resourced.errors.StoreRefused: a write does not come from the holder.
        """

    async def sweep(self) -> bool:
        """
        Delete a little of what removed resources have left.

        :returns: whether there may be more.
        :raises resourced.errors.EpochLost: another daemon is the leader.
        """

    async def close(self) -> None:
        """Let go of every connection, after the work under way has ended."""
