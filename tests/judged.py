"""A history of the torture, written down by hand, and what a test expects of its judges."""

from __future__ import annotations

from tests.torture.record import Op


class JudgedHistory:
    """
    What some clients asked and were told.

    Each request has the time before it was sent and the time after it was answered.
    """

    def __init__(self) -> None:
        self.ops: list[Op] = []

    def judge(self) -> list[str]:
        """Return the violations."""
        raise NotImplementedError

    def fine(self) -> None:
        assert self.judge() == []

    def wrong(self, *sentences: str) -> None:
        """Each violation has one of these in it, and each of these is in one."""
        found = self.judge()
        assert found
        for sentence in sentences:
            assert any(sentence in violation for violation in found), found
        for violation in found:
            assert any(sentence in violation for sentence in sentences), found
