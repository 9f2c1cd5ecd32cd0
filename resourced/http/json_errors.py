"""Answers that are errors, as bytes: what ``Server`` and the other headers of every answer say is here, too."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

from twisted.web.http import datetimeToString
from twisted.web.iweb import IRequest

from resourced import jsontext

#: What ``Server`` says: no version, which would only help an attacker.
SERVER = b"resourced"
#: What ``Allow`` says about the server as a whole.
METHODS = b"DELETE, GET, HEAD, PATCH, POST, PUT"
#: No browser is to take an answer for something else than it says it is.
NOSNIFF = b"X-Content-Type-Options: nosniff"
#: What every refusal of a key tells its client to send.
CHALLENGE = b'Bearer realm="resourced"'
#: Twisted has no name for the newer codes, such as 423 and 428.
PHRASES: Mapping[int, bytes] = {int(status): status.phrase.encode("ascii") for status in HTTPStatus}


def error_body(code: str, sentence: str, details: Mapping[str, object] = MappingProxyType({})) -> bytes:
    """
    Give the body of every answer that is an error.

    :param code: a word for a program.
    :param sentence: a sentence for a person.
    :param details: more for a program, by name.
    """
    return jsontext.write({"error": sentence, "code": code, **details})


def json_error(request: IRequest, status: int, code: str, sentence: str) -> bytes:
    """Make an error the answer of ``request``: set its status and headers, and return the body to be written."""
    body = error_body(code, sentence)
    request.setResponseCode(status)
    request.setHeader(b"content-type", b"application/json")
    request.setHeader(b"content-length", b"%d" % len(body))
    return body


def closing_answer(status: int, body: bytes, headers: tuple[bytes, ...], *, head_only: bool) -> bytes:
    """
    Write out an error that is the last answer on its connection.

    :param headers: more of them: whole lines, without their ends.
    :param head_only: whether the client asked for the head alone.
    """
    lines = (
        b"HTTP/1.1 %d %s" % (status, PHRASES[status]),
        b"Server: " + SERVER,
        b"Date: " + datetimeToString(),
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
        NOSNIFF,
        b"Connection: close",
        *headers,
        b"",
        b"" if head_only else body,
    )
    return b"\r\n".join(lines)
