"""
The test modules with the marker ``trial`` under trial: ``python -m tests.under_trial [OPTIONS OF TRIAL]``.

Beside what trial holds each test to, all of them together must leave nothing behind: no call that is due in the reactor, and no failure that
nobody has heard of. Where nobody says how many, hypothesis makes up a few examples only.
"""

from __future__ import annotations

import gc
import os
import sys

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.scripts import trial
from zope.interface import implementer

from tests.marked import marked


@implementer(ILogObserver)
class Failures(list[str]):
    """The failures that are logged."""

    def __call__(self, event: LogEvent) -> None:
        if (failure := event.get("log_failure")) is not None:
            self.append(f"logged in the end: {failure.getTraceback()}")


def left() -> list[str]:
    """Return what the tests have left behind, in words."""
    from twisted.internet import reactor

    failures = Failures()
    globalLogPublisher.addObserver(failures)
    # A Deferred logs the failure that it holds when it is collected.
    gc.collect()
    globalLogPublisher.removeObserver(failures)
    calls = reactor.getDelayedCalls()
    return [*failures, *(f"still due in the reactor: {call}" for call in calls)]


def main() -> None:
    os.environ.setdefault("EXAMPLES", "0.05")
    import tests.examples  # noqa: F401 - it sets hypothesis up

    sys.argv += marked("trial")
    try:
        trial.run()
    except SystemExit as end:
        sys.exit(end.code or "\n".join(left()) or 0)


if __name__ == "__main__":
    main()
