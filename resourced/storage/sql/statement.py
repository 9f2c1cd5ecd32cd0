"""A statement of SQL with its parameters, and how several are written out for a server that gets them together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import compress, repeat
from operator import call
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

    The session has to know the backslash, and to speak UTF-8, in which no other character has its byte.
    """
    return "; ".join([text % _literals(parameters) for text, parameters in script])


def length(script: Sequence[Statement]) -> int:
    """Tell how many characters that may be, at least."""
    return sum([len(text) + sum(map(len, _texts(parameters))) for text, parameters in script])


#: How a value of each type is written; to a text belongs what escapes it. A number without an exponent would be taken for a decimal number.
_LITERALS: Final[Mapping[type, Callable[[Any], str]]] = {
    int: str,
    bool: str,
    float: "{:.16e}".format,
    type(None): lambda _: "NULL",
    str: lambda text: f"'{escape_string(text)}'",
}
#: The same where no text has to be escaped.
_PLAIN: Final[Mapping[type, Callable[[Any], str]]] = {**_LITERALS, str: "'{}'".format}


def _literals(values: Sequence[Any]) -> tuple[str, ...]:
    # There are many values in a commit, so no line of Python is run for each of them.
    texts = "".join(_texts(values))
    literals = _PLAIN if escape_string(texts) == texts else _LITERALS
    return tuple(map(call, map(literals.__getitem__, map(type, values)), values))


def _texts(values: Sequence[Any]) -> Iterable[str]:
    """Return the texts among values."""
    return compress(values, map(isinstance, values, repeat(str)))
