"""How a block of a coroutine is interrupted from outside, which Twisted has no public way for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred


class _Probe(Deferred[None]):
    """
    Fires as soon as it is awaited, and remembers what drives the coroutine that awaits it.

    Twisted hands a note to the callback with which it comes back to a coroutine, the same one from its beginning to its end:
    the note's ``waitingOn`` is what the coroutine awaits at present. It is what ``Deferred.cancel`` goes by for a coroutine.
    """

    note: object = None

    def addBoth(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.note = next((argument for argument in args if hasattr(argument, "waitingOn")), None)
        super().addBoth(callback, *args, **kwargs)
        if not self.called:
            self.callback(None)
        return self


async def interruption() -> Callable[[], None]:
    """
    Return what cancels whatever the coroutine that calls this awaits at the time; the coroutine itself may go on.

    With a driver of another kind than Twisted's own it does nothing.
    """
    probe = _Probe()
    await probe
    note = probe.note

    def interrupt() -> None:
        awaited = getattr(note, "waitingOn", None)
        if isinstance(awaited, Deferred):
            awaited.cancel()

    return interrupt
