"""Where decisions about locks are kept, as those who decide see it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol

from twisted.internet.defer import Deferred

from resourced.model import LockKey, Snapshot, Step


class Follower(Protocol):
    """Whose decisions a journal keeps, and who must learn when that failed."""

    def invalidate(self, keys: Iterable[LockKey] | None) -> None:
        """Decide nothing more about ``keys``, or about anything, until told what the store knows."""

    def restore(self, snapshot: Snapshot, keys: Iterable[LockKey] | None, unannounced: Collection[int]) -> None:
        """
        Replace what is believed about ``keys``, or about everything, by what the store knows.

        :param unannounced: places of whose making no client was ever told; they are to be given up.
        """

    def restore_cards(self, snapshot: Snapshot, keys: Iterable[LockKey]) -> None:
        """Replace what is known of the cards of some units by what the store knows. Places live on in memory only."""


class Journal(Protocol):
    """
    Where decisions about locks are kept.

    :ivar done: the number of the last group that is kept; so are all before it.
    :ivar newest: the number of the group that the last decision went into.
    :ivar durable: whether places are kept too; data always is.
    :ivar remembers: whether it is kept what tickets have lost.
    """

    done: int
    durable: bool
    remembers: bool

    @property
    def newest(self) -> int: ...

    @property
    def deposed(self) -> bool:
        """Whether somebody else decides, for good."""

    def follow(self, follower: Follower) -> None:
        """Say whose decisions these are."""

    def check(self) -> None:
        """
        Return if decisions can be kept at present.

        :raises resourced.errors.StoreUnavailable: the store is away.
        """

    def check_lease(self) -> None:
        """
        Return if nobody else can decide, whether or not decisions can be kept.

        :raises resourced.errors.StoreUnavailable: somebody else may.
        """

    def goes_on(self, snapshot: Snapshot) -> bool:
        """
        Give out nothing that is there in more partitions.

        :returns: whether they were read in the present term; if not, what was read does not count.
        :raises resourced.errors.StoreUnavailable: decisions cannot be kept at present.
        """

    def append(self, step: Step) -> int:
        """Keep all of a step, in one transaction; return the number of the group that it goes into."""

    def committed(self, group: int) -> Deferred[None]:
        """Wait until a group is kept; fails with ``StoreUnavailable`` if it could not be."""

    async def confirm_leader(self) -> None:
        """
        Return if no other daemon decides.

        :raises resourced.errors.StoreUnavailable: one does, or that cannot be known.
        """
