"""
Reading a plain request: one that is all there, and that nobody can read in two ways.

Clients send the same lines again and again, so what a line means is remembered. A request is plain only if each of its lines is, for itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from twisted.web.http import parse_qs

from resourced.http.access_log import logged
from resourced.http.routing import HOST

#: A line that asks for a path.
_ASKING = re.compile(rb"(GET|PUT|POST|DELETE|PATCH) (/(?:[!-.0-~][!-~]*)?) HTTP/1\.1")
#: A header that does not go on in the next line.
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\0\r\n]*)")
#: Headers that change how the request is to be read or its connection to be kept.
_DELICATE = frozenset({b"transfer-encoding", b"connection", b"expect", b"upgrade", b"te", b"trailer"})
_LENGTH = re.compile(rb"[0-9]{1,10}")
_HEADERS = 50

#: How many lines are remembered, of heads of at most so many bytes: what strangers send must not fill the memory.
_LINES, _SHORT = 4096, 1024
#: Of how many bytes and parameters a first line is at most that is remembered: each parameter takes fifty times its length.
_SHORT_LINE, _FEW = 256, 8


@dataclass(slots=True)
class Asked:
    """
    What a request's first line says.

    :ivar line: all of it.
    :ivar path: the target up to the question mark.
    :ivar args: the query behind it, by name. Nobody may change it: the same line gives the same object.
    :ivar said: method and target, as they are logged.
    """

    line: bytes
    method: bytes
    uri: bytes
    path: bytes
    args: dict[bytes, list[bytes]]
    said: tuple[str, str]


class Fields(dict[bytes, Sequence[bytes]]):
    """The headers of a plain request by their names in small letters, as far as anyone here looks at them."""

    __slots__ = ()

    #: Returns all values of a header. Other than Twisted's it takes names in small letters only, which saves a call each time.
    getRawHeaders = dict.get
    #: Returns all headers.
    getAllRawHeaders = dict.items
    #: Replaces a header.
    setRawHeaders = dict.__setitem__


#: A request that is all there: its first line, its headers and its body. A plain tuple, because one is made of each request.
Head = tuple[Asked, Fields, bytes]


def plain(data: bytes, most_head: int, most_body: int) -> Head | None:
    """Read what has arrived if it is exactly one plain request; else return nothing."""
    end = data.find(b"\r\n\r\n")
    if not 0 < end <= most_head - 4:
        return None
    first, *lines = data[:end].split(b"\r\n")
    short = end <= _SHORT
    try:
        usual = len(first) <= _SHORT_LINE and first.count(b"=") <= _FEW
        asked = _remembered_asked(first) if usual else _read_asked(first)
        headers = Fields(map(_remembered_field if short else _read_field, lines))
        length = int(headers[b"content-length"][0]) if b"content-length" in headers else 0
    except _NotPlainError:
        return None
    # One that comes twice, or none at all, is for others to judge.
    if not len(headers) == len(lines) <= _HEADERS or b"host" not in headers:
        return None
    body = data[end + 4 :]
    return (asked, headers, body) if length == len(body) <= most_body else None


class _NotPlainError(Exception):
    """A line is not plain."""


def _read_asked(line: bytes) -> Asked:
    match = _ASKING.fullmatch(line)
    if match is None:
        raise _NotPlainError
    method, uri = match.groups()
    path, _, query = uri.partition(b"?")
    return Asked(line, method, uri, path, parse_qs(query, 1) if query else {}, logged(method, uri))


def _read_field(line: bytes) -> tuple[bytes, Sequence[bytes]]:
    match = _HEADER.fullmatch(line)
    if match is None:
        raise _NotPlainError
    name, value = match[1].lower(), match[2].strip(b" \t")
    check = _CHECKED.get(name)
    if name in _DELICATE or (check is not None and check.fullmatch(value) is None):
        raise _NotPlainError
    return name, (value,)


#: What some headers have to look like.
_CHECKED: Mapping[bytes, re.Pattern[bytes]] = {b"host": HOST, b"content-length": _LENGTH}

_remembered_asked = lru_cache(_LINES)(_read_asked)
_remembered_field = lru_cache(_LINES)(_read_field)
