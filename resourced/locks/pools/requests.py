"""What the pools grant."""

from __future__ import annotations

from typing import NamedTuple

from resourced.locks.pools.matching import PoolRequest
from resourced.model import LockKey


class PoolGrant(NamedTuple):
    """
    What is granted.

    :ivar request: who gets it; nothing if it is the first who waits by name.
    :ivar units: the units, and the index of the want that each is for.
    """

    request: PoolRequest | None
    units: list[tuple[LockKey, int]]
