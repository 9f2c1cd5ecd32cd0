"""What the tables of the pool and of the direct committer promise, and that work is tried as they say."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from enum import Enum
from typing import Any

import pytest
from twisted.internet import reactor

from resourced.config import SQLiteSettings
from resourced.errors import StoreUnavailable
from resourced.storage.sql.attempts import NEXT, Attempt, Outcome
from resourced.storage.sql.direct.state import TRANSITIONS, Event, State
from resourced.storage.sql.executor import Database
from resourced.storage.sql.pool import Transaction
from resourced.storage.sql.sqlite import SQLite


def reached(table: Mapping[Any, Mapping[Any, Any]], first: Enum) -> set[Enum]:
    """Return all states that a table leads to from the first one."""
    known: set[Enum] = {first}
    new = {first}
    while new:
        new = {after for state in new for after in table.get(state, {}).values()} - known
        known |= new
    return known


def test_each_attempt_can_come() -> None:
    """Each attempt has its row, but for the two that are the end; there is a way to each."""
    assert reached(NEXT, Attempt.SCRIPT) == set(Attempt) == {*NEXT, Attempt.DONE, Attempt.FAILED}


def test_no_work_is_tried_for_ever() -> None:
    """No attempt comes twice, whatever comes of them."""
    for attempt, row in NEXT.items():
        for after in row.values():
            assert attempt not in reached(NEXT, after)


def test_what_may_be_committed_is_not_tried_again() -> None:
    """Only what has done nothing is followed by another attempt."""
    for row in NEXT.values():
        assert row[Outcome.FAILED] is Attempt.FAILED
        assert row[Outcome.DONE] is Attempt.DONE


def test_each_state_of_the_committer_can_come() -> None:
    """Each state has its row, and there is a way to it."""
    assert set(TRANSITIONS) == set(State) == reached(TRANSITIONS, State.AWAY)


def test_one_script_at_a_time() -> None:
    """A script is sent only where no other is under way."""
    assert [state for state, row in TRANSITIONS.items() if Event.COMMIT in row] == [State.READY]


def test_the_end_of_the_committer() -> None:
    """It can end in any state, and opens nothing after it."""
    for row in TRANSITIONS.values():
        assert reached(TRANSITIONS, row[Event.CLOSE]) <= {State.LEAVING, State.CLOSED}
    assert reached(TRANSITIONS, State.CLOSED) == {State.CLOSED}


class Fails(SQLite):
    """A database whose errors can be tried again."""

    def is_retryable(self, error: Exception) -> bool:
        return "again" in str(error)


@pytest.mark.parametrize(
    ("errors", "tries"),
    [([], 1), (["again"], 2), (["again", "again"], 2), (["again", "other"], 2), (["other"], 1)],
)
async def test_work_is_tried_as_the_table_says(tmp_path: Any, errors: list[str], tries: int) -> None:
    """Once more after an error that can be tried again, and never a third time; after any other error not at all."""
    database = Database(reactor, Fails(SQLiteSettings(str(tmp_path / "store")), 5.0))
    await database.prepare()
    tried = 0

    def work(transaction: Transaction) -> int:
        nonlocal tried
        tried += 1
        if tried <= len(errors):
            raise sqlite3.OperationalError(errors[tried - 1])
        return transaction.execute("UPDATE server SET beat = beat + 1 WHERE id = 1")

    attempt = Attempt.STEPS
    for error in [*errors, ""]:
        outcome = {"": Outcome.DONE, "again": Outcome.RETRYABLE, "other": Outcome.FAILED}[error]
        if attempt in NEXT:
            attempt = NEXT[attempt][outcome]
    try:
        if attempt is Attempt.DONE:
            assert await database.write(work) == 1
        else:
            with pytest.raises(StoreUnavailable):
                await database.write(work)
        assert tried == tries
    finally:
        await database.close()
