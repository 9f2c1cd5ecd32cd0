"""
The client: share named things with other programs, through a ``resourced`` server.

.. code:: python

    async with Client("http://localhost:9501", "write-key") as client:
        async with client.lock("printer", "A4", wait=60) as held:
            await held.write({"jobs": (held.data or {"jobs": 0})["jobs"] + 1})

It is for coroutines under Twisted's reactor (``Deferred.fromCoroutine``, ``twisted.internet.task.react``, Klein's handlers).
``resourced.client.aio`` has the same for asyncio's tasks, and ``resourced.client.blocking`` for scripts and threads.
"""

from resourced.calls.errors import (
    ClientError,
    Conflict,
    LockLost,
    NotAcquired,
    NotFound,
    Refused,
    Rejected,
    Unreachable,
)
from resourced.calls.values import (
    Card,
    Cluster,
    Definition,
    Document,
    Event,
    Gap,
    HeldLock,
    Holder,
    LockState,
    Node,
    Resource,
    Selector,
    Usage,
    Use,
    Waiter,
    Waiting,
    WaitingTicket,
)
from resourced.client.api import Client
from resourced.client.grant import Want
from resourced.client.held import Held, HeldUnit, HeldUnits
from resourced.client.lock import Lock, Locks
from resourced.client.watch import Watch

__all__ = [
    "Card",
    "Client",
    "ClientError",
    "Cluster",
    "Conflict",
    "Definition",
    "Document",
    "Event",
    "Gap",
    "Held",
    "HeldLock",
    "HeldUnit",
    "HeldUnits",
    "Holder",
    "Lock",
    "LockLost",
    "LockState",
    "Locks",
    "Node",
    "NotAcquired",
    "NotFound",
    "Refused",
    "Rejected",
    "Resource",
    "Selector",
    "Unreachable",
    "Usage",
    "Use",
    "Waiter",
    "Waiting",
    "WaitingTicket",
    "Want",
    "Watch",
]
