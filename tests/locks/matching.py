"""How many can have something of their own at once: what the tests hold the matching of pools against."""

from __future__ import annotations

from resourced.model import LockKey


def match(slots: list[list[LockKey]]) -> dict[LockKey, int]:
    """Give each slot a unit of its own, for as many as possible."""
    given: dict[LockKey, int] = {}

    def find(slot: int, seen: set[LockKey]) -> bool:
        for key in slots[slot]:
            if key not in seen:
                seen.add(key)
                if key not in given or find(given[key], seen):
                    given[key] = slot
                    return True
        return False

    for slot in range(len(slots)):
        find(slot, set())
    return given
