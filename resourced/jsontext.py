"""JSON as RFC 8259 has it, and no more: UTF-8 without a byte order mark, no NaN and no Infinity."""

from __future__ import annotations

import json
from typing import NoReturn

from resourced.errors import BadRequest


def _no_such_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _integer(digits: str) -> int | float:
    # Longer ones are more than anything here may be, and may have more digits than Python makes an integer of.
    return int(digits) if len(digits) <= 20 else float(digits)


# What is only looked at keeps its numbers as they are written.
_looking = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_no_such_number)
_writing = json.JSONEncoder(ensure_ascii=False)
_reading = json.JSONDecoder(parse_int=_integer, parse_constant=_no_such_number)


def check(body: bytes) -> str:
    """
    Return the text of a body that is JSON, just as it is.

    :raises resourced.errors.BadRequest: it is not.
    """
    return _decode(_looking, body)[0]


def read(body: bytes) -> object:
    """
    Return the value of a body that is JSON; integers of more than 20 characters are rounded.

    :raises resourced.errors.BadRequest: it is not.
    """
    return _decode(_reading, body)[1]


def write(value: object) -> bytes:
    """Write a value the way every answer of this server is written."""
    # A name from a JSON text may hold half a surrogate pair, which UTF-8 has no bytes for.
    return _writing.encode(value).encode("utf-8", "replace")


def _decode(decoder: json.JSONDecoder, body: bytes) -> tuple[str, object]:
    try:
        text = body.decode()
        return text, decoder.decode(text)
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BadRequest(f"The body is not JSON: {why}.", "bad_json") from error
