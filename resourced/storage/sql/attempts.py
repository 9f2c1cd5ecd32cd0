"""
The life of a piece of work in a pool, as a table.

A script is all of it in one round trip. Where there is no script, or it came to nothing, the work is done step by step, and at most once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from resourced.transitions import Named


class Attempt(Named):
    """How the work is tried; its value says what that means."""

    SCRIPT = "all statements at once"
    STEPS = "statement by statement"
    AGAIN = "statement by statement, for the second time"
    DONE = "it is committed"
    FAILED = "it is given up; nobody may know whether it was committed"


class Outcome(Named):
    """What came of an attempt; its value says how that comes."""

    DONE = "it is committed"
    UNFIT = "a script is too large, or a check in it has failed: the steps will tell why; nothing was done"
    RETRYABLE = "the connection was lost, or a deadlock ended it, before the commit; nothing was done"
    FAILED = "anything else"


TRANSITIONS: Final[Mapping[Attempt, Mapping[Outcome, Attempt]]] = {
    Attempt.SCRIPT: {
        Outcome.DONE: Attempt.DONE,
        Outcome.UNFIT: Attempt.STEPS,
        Outcome.RETRYABLE: Attempt.STEPS,
        Outcome.FAILED: Attempt.FAILED,
    },
    Attempt.STEPS: {
        Outcome.DONE: Attempt.DONE,
        Outcome.RETRYABLE: Attempt.AGAIN,
        Outcome.FAILED: Attempt.FAILED,
    },
    Attempt.AGAIN: {
        Outcome.DONE: Attempt.DONE,
        Outcome.RETRYABLE: Attempt.FAILED,
        Outcome.FAILED: Attempt.FAILED,
    },
    Attempt.DONE: {},
    Attempt.FAILED: {},
}
