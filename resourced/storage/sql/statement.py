"""A statement of SQL with its parameters, and how several are written out for a server that gets them together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from pymysql.converters import escape_string

#: The number of the error with which a statement of ``check`` fails: a value is out of range.
CHECK_FAILED: Final = 1690


class Statement(NamedTuple):
    """A statement that does not select, with ``%s`` for each of its parameters."""

    text: str
    parameters: Sequence[Any]


def check(condition: str) -> str:
    """
    Return a statement for MySQL that fails unless a condition is true; if that is unknown it fails, too.

    An integer overflows: a subquery of two rows would fail as well, but the server prepares it each time.
    """
    return f"SET @checked = 9223372036854775807 + IF({condition}, 0, 1)"


def written_out(script: Sequence[Statement]) -> str:
    """
    Return statements as one text, with their parameters in it, for MySQL.

    The session has to know the backslash, and to speak UTF-8, in which no other character has its byte. Letters and digits, of whatever script,
    stand for themselves.
    """
    return "; ".join([text % _literals(parameters) for text, parameters in script])


def length(script: Sequence[Statement]) -> int:
    """Tell how many characters that may be, at least."""
    return sum(
        [len(text) + sum([len(value) for value in parameters if type(value) is str]) for text, parameters in script]
    )


def _literals(values: Sequence[Any]) -> tuple[Any, ...]:
    # What most values are is written here: to call a function for each would be most of the work.
    literals = []
    for value in values:
        kind = type(value)
        if kind is int:
            literals.append(value)
        elif kind is str and value.isalnum():
            literals.append(f"'{value}'")
        else:
            literals.append(_literal(value))
    return tuple(literals)


def _literal(value: str | float | None) -> str | float:
    if isinstance(value, str):
        return f"'{escape_string(value)}'"
    if isinstance(value, float) and "e" not in (text := repr(value)):
        # It would be taken for a decimal number.
        return f"{text}e0"
    return "NULL" if value is None else value
