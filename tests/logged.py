"""What is logged while a test does something."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer


@implementer(ILogObserver)
class Lines(list[str]):
    """What was logged, as text."""

    def __call__(self, event: LogEvent) -> None:
        self.append(f"{formatEvent(event)} {event.get('log_failure', '')}")


@contextmanager
def log_lines() -> Iterator[Lines]:
    """Collect what is logged meanwhile."""
    lines = Lines()
    globalLogPublisher.addObserver(lines)
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(lines)
