"""The connection that one piece of work has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from resourced.storage.sql.dialect import Dialect


class SessionOwner(Protocol):
    """What a session needs of its pool."""

    dialect: Dialect

    def connect(self) -> Any:
        """Return this thread's connection, alive as far as one can know."""

    def disconnect(self, connection: Any) -> None:
        """Throw this thread's connection away."""


class Session:
    """
    The connection of a piece of work, as ``adbapi`` wants it; it is thrown away without noise when it is of no use any more.

    :param writes: whether there is anything to roll back.
    :param succeeded: is told that a commit was done.
    :param failed: is told of an error of the driver, and returns what is said instead of it.
    """

    def __init__(
        self,
        pool: SessionOwner,
        *,
        writes: bool,
        succeeded: Callable[[], object],
        failed: Callable[[Exception], Exception],
    ) -> None:
        self._pool = pool
        self._writes = writes
        self._succeeded = succeeded
        self._failed = failed
        self._connection = pool.connect()

    @property
    def connection(self) -> Any:
        """The driver's own connection."""
        return self._connection

    def commit(self) -> None:
        """Nothing: what there is to commit is committed where its errors are understood."""

    def settle(self) -> None:
        """
        Commit.

        :raises pymysql.MySQLError: nothing is left of the transaction.
        :raises resourced.errors.StoreUnavailable: nobody knows whether it was done.
        """
        dialect = self._pool.dialect
        try:
            self._connection.commit()
        except dialect.error as error:
            if dialect.is_undone(error):
                raise
            # So it is not tried again, and the connection is not used again.
            self.end()
            raise self._failed(error) from None
        self._succeeded()

    def rollback(self) -> None:
        """Undo what is not committed, if there is a connection."""
        if self._connection is None or not self._writes:
            return
        try:
            self._connection.rollback()
        except self._pool.dialect.error:
            self.end()

    def end(self) -> None:
        """Throw the connection away."""
        if self._connection is not None:
            self._pool.disconnect(self._connection)
            self._connection = None

    def renew(self) -> bool:
        """Have a connection again, if it was thrown away; tell whether it was."""
        if self._connection is not None:
            return False
        self._connection = self._pool.connect()
        return True
