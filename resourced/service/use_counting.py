"""How use is counted from events, a little at a time, before they are forgotten."""

from __future__ import annotations

from resourced.storage.interface import Store
from resourced.usage import KEPT

#: How many events are counted at once, at most.
TOGETHER = 2000


class UseCounting:
    """
    Two chores: to count the use that events tell of, and to forget that of long ago.

    :ivar reached: up to which event all are counted, as far as it is known.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.reached = 0

    async def count(self) -> bool:
        """Count some more events; tell whether there may be more of them."""
        before, self.reached = self.reached, await self._store.roll_up(TOGETHER)
        return self.reached > before

    async def forget(self) -> bool:
        """Forget the use of long ago."""
        return await self._store.forget_usage(KEPT)
