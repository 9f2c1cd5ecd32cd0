"""Which locks this daemon decides about: all, unless it is a node of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from resourced.errors import NotOwner
from resourced.model import Resource
from resourced.partitions import partition_of, partition_of_ticket

#: How many resources are known before those that nothing is known of are forgotten.
REMEMBERED = 131_072


class Territory:
    """
    The partitions whose locks are decided about here.

    A resource is in the partition of its group, and only its owner can change that. So what was learned counts until anything is given away.

    :ivar whole: whether everything is decided about here. Then nothing needs to be asked.
    :ivar changes: how often a resource that was found before may be no more as it was.
    """

    def __init__(self) -> None:
        self.whole = True
        self.changes = 0
        self._owned: set[int] | None = None
        # Where each resource is of which anything is known; and those of which that is certain.
        self._partitions: dict[str, int] = {}
        self._certain: set[str] = set()
        self._most = REMEMBERED

    @property
    def owned(self) -> Collection[int]:
        """The partitions, unless it is the whole."""
        return self._owned or ()

    def learn(self, resource: Resource) -> None:
        """Take note of the group of a resource, which was found a moment ago."""
        if self._owned is not None:
            self._partitions[resource.name] = partition_of(resource.group or resource.name)
            self._certain.add(resource.name)

    def owns(self, resource: Resource) -> bool:
        """Return whether the locks of a resource are decided about here."""
        return self._owned is None or partition_of(resource.group or resource.name) in self._owned

    def check(self, resource: str) -> None:
        """
        Return if the locks of a resource are decided about here.

        :raises resourced.errors.NotOwner: they are not, or that is not certain.
        """
        if self._owned is not None and (resource not in self._certain or self._partitions[resource] not in self._owned):
            raise NotOwner("Another node decides about this resource at present. Try again.")

    def check_still(self, resource: str) -> None:
        """
        Return if the locks of a resource are still decided about here, as they were a moment ago.

        :raises resourced.errors.NotOwner: they are left to another node.
        """
        if self._owned is not None and self._partitions.get(resource) not in self._owned:
            raise left_to_another()

    def check_group(self, group: str) -> None:
        """
        Return if the resources of a group are decided about here.

        :raises resourced.errors.NotOwner: they are not.
        """
        if self._owned is not None and partition_of(group) not in self._owned:
            raise NotOwner("Another node decides about this group at present. Try again.")

    def check_ticket(self, name: str) -> None:
        """
        Return if the ticket of a request for several things can be known here.

        :raises resourced.errors.NotOwner: it cannot.
        """
        partition = partition_of_ticket(name)
        if self._owned is not None and partition is not None and partition not in self._owned:
            raise NotOwner("Another node decides about this ticket at present. Try again.")

    def exceeds(self, partitions: Collection[int] | None) -> bool:
        """Return whether more is decided about here than some partitions, or than the whole."""
        return self._owned is not None and partitions is not None and not self._owned.issubset(partitions)

    def names(self, partitions: Collection[int]) -> set[str]:
        """Return the resources in some partitions, as far as any are known."""
        return {name for name, partition in self._partitions.items() if partition in partitions}

    def begin(self, partitions: Collection[int] | None, homes: Mapping[str, int]) -> None:
        """
        Let everything be as the store says.

        :param homes: the partitions of resources of which something is known.
        """
        self.whole = partitions is None
        self._owned = None if partitions is None else set(partitions)
        self._partitions = dict(homes)
        self._certain.clear()
        self.changes += 1

    def add(self, partitions: Collection[int], homes: Mapping[str, int]) -> None:
        """Decide about more."""
        if self._owned is None:
            raise RuntimeError("There is nothing that could be added to the whole.")
        self._doubt(partitions)
        self._owned.update(partitions)
        self._partitions.update(homes)

    def give_up(self, partitions: Collection[int]) -> None:
        """Decide about some partitions no more."""
        if self._owned is None:
            raise RuntimeError("The whole cannot be given up in parts.")
        self._doubt(partitions)
        self._owned.difference_update(partitions)

    def forget(self, names: Iterable[str]) -> None:
        """Forget resources of which nothing is known any more."""
        for name in names:
            self._partitions.pop(name, None)
            self._certain.discard(name)

    def tidy(self, in_use: Callable[[], set[str]]) -> None:
        """Forget resources if there are many, but for those of which something is known."""
        if len(self._partitions) > self._most:
            known = in_use()
            self.forget([name for name in self._partitions if name not in known])
            # Not each time, if they are all in use.
            self._most = max(REMEMBERED, 2 * len(self._partitions))

    def _doubt(self, partitions: Collection[int]) -> None:
        """Learn anew what is in some partitions: whoever else owns them may change that."""
        self._certain -= self.names(partitions)
        self.changes += 1


def left_to_another() -> NotOwner:
    """Say that another node is to decide."""
    return NotOwner("Another node decides about this resource from now on. Try again.")
