"""Seconds that only go forward, whatever anybody does to the machine's clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any


def count_monotonically(reactor: Any) -> None:
    """
    Let a reactor measure time by the monotonic clock.

    Twisted's reactors take ``seconds()`` from the time of day, so a clock that is set back by an hour delays every timer
    by an hour.  All their timers go by ``seconds()``, which is public; replacing it before there is any timer is enough.

    :param reactor: one that nothing has a timer at yet.
    """
    if reactor.getDelayedCalls():
        raise RuntimeError("The reactor has timers already; they would go off at the wrong time.")
    reactor.seconds = time.monotonic


#: Seconds that only go forward, and where the system can tell do so while the machine sleeps.
elapsed: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)
