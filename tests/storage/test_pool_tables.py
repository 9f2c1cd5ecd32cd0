"""What the tables of the pool and of the direct committer promise, and that work is tried as they say."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from twisted.internet import reactor

from resourced.config import SQLiteSettings
from resourced.errors import StoreUnavailable
from resourced.storage.sql.attempts import TRANSITIONS, Attempt, Outcome
from resourced.storage.sql.direct import state
from resourced.storage.sql.direct.state import AWAY, CLOSE, CLOSED, COMMIT, LEAVING, READY, CommitterState
from resourced.storage.sql.executor import Database
from resourced.storage.sql.pool import Transaction
from resourced.storage.sql.sqlite import SQLite
from tests.states import reached


def test_each_attempt_can_come() -> None:
    """Each attempt has its row, and there is a way to it."""
    assert reached(TRANSITIONS, Attempt.SCRIPT) == set(Attempt) == set(TRANSITIONS)


def test_no_work_is_tried_for_ever() -> None:
    """No attempt comes twice, whatever comes of them."""
    for attempt, row in TRANSITIONS.items():
        for after in row.values():
            assert attempt not in reached(TRANSITIONS, after)


def test_what_may_be_committed_is_not_tried_again() -> None:
    """Only what has done nothing is followed by another attempt."""
    for row in filter(None, TRANSITIONS.values()):
        assert row[Outcome.FAILED] is Attempt.FAILED
        assert row[Outcome.DONE] is Attempt.DONE


def test_each_state_of_the_committer_can_come() -> None:
    """Each state has its row, and there is a way to it."""
    assert set(state.TRANSITIONS) == set(CommitterState) == reached(state.TRANSITIONS, AWAY)


def test_one_script_at_a_time() -> None:
    """A script is sent only where no other is under way."""
    assert [one for one, row in state.TRANSITIONS.items() if COMMIT in row] == [READY]


def test_the_end_of_the_committer() -> None:
    """It can end in any state, and opens nothing after it."""
    for row in state.TRANSITIONS.values():
        assert reached(state.TRANSITIONS, row[CLOSE]) <= {LEAVING, CLOSED}
    assert reached(state.TRANSITIONS, CLOSED) == {CLOSED}


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
        if TRANSITIONS[attempt]:
            attempt = TRANSITIONS[attempt][outcome]
    try:
        if attempt is Attempt.DONE:
            assert await database.write(work) == 1
        else:
            with pytest.raises(StoreUnavailable):
                await database.write(work)
        assert tried == tries
    finally:
        await database.close()
