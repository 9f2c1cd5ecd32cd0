"""What is different about each database: how to connect, what its errors mean, how it spells SQL."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from resourced.storage.sql.health import Fault
from resourced.storage.sql.server_identity import OneServer


class Dialect(Protocol):
    """
    What ``resourced.storage.sql.executor`` has to know about a driver and its database.

    :cvar name: the folder with its schema.
    :cvar driver: its module, for ``adbapi``.
    :cvar readers: how many connections read at once.
    :cvar error: the class of all that the driver raises.
    :ivar timeout: seconds that the database may take for an answer.
    :ivar one: the server that all connections reach.
    """

    one: OneServer
    name: ClassVar[str]
    driver: ClassVar[str]
    readers: ClassVar[int]
    error: ClassVar[type[Exception]]
    timeout: float

    def describe(self) -> str:
        """Say for people which database it is, without the password."""

    def connect(self, *, writes: bool) -> Any:
        """Open a connection; one that does not write commits each statement for itself."""

    def hang_up(self, connection: Any) -> None:
        """End a connection, which some other thread may be using: there it is lost."""

    def check(self, connection: Any) -> None:
        """Raise the driver's error if a connection that lay idle is no longer alive."""

    def catch_up(self, connection: Any) -> None:
        """Wait for all that was committed before, at whatever server: of that nothing is in the way of a transaction that begins now."""

    def begin(self, connection: Any) -> None:
        """Start a transaction that writes."""

    def spelled(self, statement: str) -> str:
        """Turn a statement with ``%s`` for its parameters, and ``%%`` for a percent sign, into what the driver takes."""

    def code(self, error: Exception) -> int:
        """Return the number that the database has for this error, or 0."""

    def fault(self, error: Exception, *, fresh: bool = False) -> Fault:
        """
        Return what the error says about the database as a whole.

        :param fresh: whether the connection had only just been made.
        """

    def is_duplicate(self, error: Exception) -> bool:
        """Tell whether a unique key refused a row."""

    def is_lost(self, error: Exception) -> bool:
        """Tell whether the connection it happened on is of no use any more."""

    def is_late(self, error: Exception) -> bool:
        """Tell whether the database let the whole timeout pass."""

    def is_undone(self, error: Exception) -> bool:
        """Tell whether nothing can be left of a transaction that has failed in this way, be it at its commit."""

    def is_retryable(self, error: Exception) -> bool:
        """Tell whether the same transaction, begun anew, may well succeed, if it has failed before its commit or is undone."""

    def is_passing(self, error: Exception) -> bool:
        """Tell whether an error is one that may be gone by and by, with nothing changed by anybody."""


def refusal(dialect: Dialect, error: Exception) -> str:
    """Say why a database cannot be used: by its fault, if that has a name, else in the words of its driver."""
    fault = dialect.fault(error)
    if fault in {Fault.UNREACHABLE, Fault.PARTED, Fault.REFUSED}:
        detail = error.args[-1] if error.args else type(error).__name__
    else:
        detail = fault.sentence.rstrip(".")
    number = f" (error {dialect.code(error)})" if dialect.code(error) else ""
    return f"Cannot use {dialect.describe()}: {detail}{number}."
