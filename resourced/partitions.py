"""The partitions: what a node of a cluster owns, each with the groups of resources that fall into it. Pure."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

#: How many partitions there are. It is kept in every store: never change it.
PARTITIONS: Final = 256


def partition_of(group: str) -> int:
    """
    Return the number of the partition that a group is in, 0 to ``PARTITIONS`` - 1.

    Every node and every version has to come to the same, so it is a hash that is the same everywhere.
    """
    return blake2b(group.encode(), digest_size=1).digest()[0]
