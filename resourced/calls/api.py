"""All that a client can ask for without holding anything itself."""

from __future__ import annotations

from resourced.calls.cluster import ClusterCalls
from resourced.calls.locks import LockCalls
from resourced.calls.resources import ResourceCalls


class Calls(LockCalls, ResourceCalls, ClusterCalls):
    """
    A client that asks, and holds nothing. What sends its requests is for subclasses to say.

    Each method raises one of the errors of ``resourced.calls.errors`` and no other; their names are given only where they mean something particular.
    """
