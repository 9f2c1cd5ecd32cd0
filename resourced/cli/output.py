"""What is printed: results on stdout, as a table or as JSON, and everything else on stderr."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from signal import Signals
from typing import Any

from resourced.cli.status import Status


def emit(text: str) -> None:
    """
    Print lines that are a result.

    :raises OSError: they cannot be written, for instance because nobody reads the pipe any more.
    """
    # Nothing is held back that could fail later, when the status of the process is settled.
    left = f"{text}\n".encode("utf-8", "backslashreplace")
    while left:
        left = left[os.write(1, left) :]


def emit_json(value: Any) -> None:
    """Print a value, which may be a dataclass or a sequence of them, as one line of JSON."""
    emit(json.dumps(value, default=_as_dict))


def emit_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under headings; numbers stand to the right."""
    columns = [[heading, *(str(row[index]) for row in rows)] for index, heading in enumerate(headings)]
    right = [bool(rows) and all(isinstance(row[index], int) for row in rows) for index in range(len(headings))]
    widths = [max(map(len, column)) for column in columns]
    for cells in zip(*columns, strict=True):
        aligned = [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(cells, widths, right, strict=True)
        ]
        emit("  ".join(aligned).rstrip())


def say(sentence: str) -> None:
    """Tell the user something that is no result. If nobody can hear it, that changes nothing."""
    with suppress(OSError):
        os.write(2, f"resourcectl: {escaped(sentence)}\n".encode("utf-8", "backslashreplace"))


def unwritten(error: OSError) -> int:
    """Return the status for output that could not be written. That nobody reads the pipe any more is nothing to talk of."""
    if error.errno == errno.EPIPE:
        return Status.SIGNAL + Signals.SIGPIPE
    say(f"Cannot write: {error.strerror}.")
    return Status.OUTPUT


def escaped(text: str) -> str:
    """Escape what could make a terminal do something, as JSON does in its strings; lines stay lines."""
    return "".join(c if c.isprintable() or c in "\n\t" else _escape(c) for c in text if c != "\r")


def clock_time(seconds: float) -> str:
    """Write a length of time as people read it: ``0:07``, ``1:05:00``."""
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def whole_clock_time(seconds: float) -> str:
    """Write a length of time with its hours: ``0:04:10``."""
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}"


def _escape(character: str) -> str:
    return json.dumps(character)[1:-1] if ord(character) != 0x7F else "\\u007f"


def _as_dict(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{value!r} is not for JSON")
