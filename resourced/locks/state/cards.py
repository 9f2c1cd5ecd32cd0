"""The cards of all units, by selector and in the order of their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from sortedcontainers import SortedSet

from resourced.model import LockKey
from resourced.wants import Card


class Cards:
    """What is known of units beside who has them."""

    def __init__(self) -> None:
        self._cards: dict[LockKey, Card] = {}
        self._selectors: dict[str, SortedSet[str]] = {}
        self._out: Counter[str] = Counter()

    def get(self, key: LockKey) -> Card | None:
        """Return the card of a selector, if it has one."""
        return self._cards.get(key)

    def put(self, key: LockKey, card: Card | None) -> None:
        """Let a selector have a card, or none any more."""
        if change := _is_out(card) - _is_out(self._cards.get(key)):
            self._out[key.resource] += change
        if card is not None:
            if key not in self._cards:
                self._selectors.setdefault(key.resource, SortedSet()).add(key.selector)
            self._cards[key] = card
        elif self._cards.pop(key, None) is not None:
            selectors = self._selectors[key.resource]
            selectors.remove(key.selector)
            if not selectors:
                del self._selectors[key.resource]
                self._out.pop(key.resource, None)

    def count(self, resource: str) -> int:
        """Count the units of a resource."""
        return len(self._selectors.get(resource, ()))

    def count_out(self, resource: str) -> int:
        """Count the units of a resource that are out of service."""
        return self._out[resource]

    def since(self, resource: str, selector: str) -> Iterator[str]:
        """Go through the selectors of a resource that have cards, from one on, which need not be there."""
        return iter(self._selectors[resource].irange(selector)) if resource in self._selectors else iter(())


def _is_out(card: Card | None) -> bool:
    return card is not None and card.out is not None
