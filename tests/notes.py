"""Work for a database without a store: a table ``note`` of numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from resourced.storage.sql.executor import Database
from resourced.storage.sql.pool import Transaction
from tests.stores import Backend

TABLE = "CREATE TABLE note (number BIGINT PRIMARY KEY)"


def one(transaction: Transaction) -> list[tuple[Any, ...]]:
    """Work that leaves nothing behind."""
    return transaction.query("SELECT 1")


def note(number: int) -> Callable[[Transaction], int]:
    """Work that leaves a row behind."""
    return lambda transaction: transaction.execute("INSERT INTO note (number) VALUES (%s)", (number,))


async def with_notes(backend: Backend, **options: Any) -> Database:
    """A database with an empty table ``note``."""
    database = backend.database(**options)
    await database.prepare()
    backend.rows(TABLE)
    return database
