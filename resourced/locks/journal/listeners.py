"""Who is told of commits, besides those who asked for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from twisted.logger import Logger

from resourced.model import Event

log = Logger()


class Listeners(NamedTuple):
    """
    Who is told of commits.

    :ivar happened: called with the events of each group after it was committed, in their order. It has to be quick.
    :ivar measure: called after each commit: how many changes it carried, its seconds, and whether it is known to be done.
    :ivar resumed: called when a term has begun, with the highest id of an event that may have happened. The last events before the term may
        not have been told.
    :ivar together: calls a function that answers all who waited for a commit, and has their answers sent when it is done.
    """

    happened: Callable[[Sequence[Event]], object] = lambda _: None
    measure: Callable[[int, float, bool], object] = lambda _transitions, _seconds, _done: None
    resumed: Callable[[int], object] = lambda _: None
    together: Callable[[Callable[[], None]], object] = lambda work: work()

    def tell(self, events: Sequence[Event]) -> None:
        """Tell of what has happened, if anything."""
        try:
            if events:
                self.happened(events)
        except Exception:  # noqa: BLE001 - no lock waits for those who look on
            log.failure("A listener to events has a bug.")
