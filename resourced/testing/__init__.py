"""
What those who build on ``resourced`` need to test against it: the whole server, over a store in memory.

A suite under pytest has the fixture ``resourced``, which is a ``MemoryServer`` that listens; see ``resourced.pytest_plugin``.
"""

from resourced.testing.memory_treq import MemoryTreq
from resourced.testing.server import MemoryServer
from resourced.testing.store import MemoryStore

__all__ = ["MemoryServer", "MemoryStore", "MemoryTreq"]
