"""What a process has once, however many clients there are in it."""

from __future__ import annotations

import atexit
import os
import threading
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from resourced.client.grant import Grant
    from resourced.client.thread import ReactorThread


class _Lock(Protocol):
    @property
    def grant(self) -> Grant: ...


class HeldLocks:
    """
    The locks that blocks of this process hold, by their tickets.

    Whoever enters a lock by a ticket has to know whether there is a block already that will release it. The server cannot tell, and
    the two blocks may have clients of their own.
    """

    def __init__(self) -> None:
        self._held: WeakValueDictionary[tuple[str, str], Any] = WeakValueDictionary()

    def enter(self, lock: _Lock) -> None:
        """Know of a lock until nobody has it any more; of two with one ticket, of the first."""
        self._held.setdefault((lock.grant.root, lock.grant.ticket), lock)

    def leave(self, lock: _Lock) -> None:
        """Forget a lock that is released or lost."""
        key = (lock.grant.root, lock.grant.ticket)
        if self._held.get(key) is lock:
            del self._held[key]

    def have(self, root: str, ticket: str) -> bool:
        """Tell whether a block holds a lock by this ticket, where it is renewed under this path."""
        return (root, ticket) in self._held

    def forget(self) -> None:
        """Start again, in a process that was forked."""
        self._held.clear()


class TheThread:
    """The thread of the blocking clients, from when the first of them needs it; a process that is forked gets one of its own."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._thread: ReactorThread | None = None

    def get(self) -> ReactorThread:
        with self._starting:
            if self._thread is None:
                from resourced.client.thread import ReactorThread  # noqa: PLC0415 - who does not block needs no thread

                self._thread = ReactorThread()
            return self._thread

    def forget(self) -> None:
        """Start again, in a process that was forked: a thread is not forked with it, and who held the lock may be gone."""
        self._starting = threading.Lock()
        left, self._thread = self._thread, None
        if left is not None:
            left.close_inherited()

    def end(self) -> None:
        """Have the program end: after this there is no more waiting."""
        if self._thread is not None:
            self._thread.end()


HELD_LOCKS: Final = HeldLocks()
THREAD: Final = TheThread()
os.register_at_fork(after_in_child=HELD_LOCKS.forget)
os.register_at_fork(after_in_child=THREAD.forget)
atexit.register(THREAD.end)
