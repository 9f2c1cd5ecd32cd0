"""What a request says, taken from its parts; or what is wrong with them."""

from __future__ import annotations

import hashlib
import re
from typing import BinaryIO, cast

from twisted.web.server import Request

from resourced import jsontext
from resourced.auth import key_of
from resourced.errors import BadRequest, TicketRequired
from resourced.model import Key, valid_name

#: The longest lease that fits into the store, in seconds.
LONGEST = 2**31 - 1


def header(request: Request, name: bytes) -> str:
    """
    Return a header that may be there once; without it, nothing.

    :raises BadRequest: it is there more than once, or is not UTF-8.
    """
    values = request.requestHeaders.getRawHeaders(name, ())
    if len(values) > 1 and len(set(values)) > 1:
        raise BadRequest(f"There is more than one {name.decode()} header.", "repeated_header")
    try:
        return values[0].strip().decode() if values else ""
    except UnicodeDecodeError:
        raise BadRequest(f"The {name.decode()} header is not UTF-8.", "bad_header") from None


def argument(request: Request, name: bytes) -> str | None:
    """
    Return an argument of the query that may be there once; without a value, it is empty.

    :raises BadRequest: it is there more than once, or is not UTF-8.
    """
    query = request.uri.partition(b"?")[2]
    if not query:
        return None
    values = set(request.args.get(name, ()))
    if name in re.split(rb"[&;]", query):
        # Twisted passes over what has no equals sign.
        values.add(b"")
    if len(values) > 1:
        raise BadRequest(f"There is more than one {name.decode()} in the query.", "repeated_argument")
    try:
        return values.pop().decode() if values else None
    except UnicodeDecodeError:
        raise BadRequest(f"{name.decode()} in the query is not UTF-8.", "bad_argument") from None


def flag(request: Request, name: bytes, *, default: bool) -> bool:
    """
    Return an argument of the query that is 0 or 1.

    :raises BadRequest: it is something else.
    """
    value = argument(request, name)
    if value is None:
        return default
    if value not in {"0", "1"}:
        raise BadRequest(f"{name.decode()} in the query is neither 0 nor 1.", f"bad_{name.decode()}")
    return value == "1"


def presented_key(request: Request) -> bytes:
    """Return the API key that a request carries."""
    headers = request.requestHeaders
    return key_of(headers.getRawHeaders(b"x-api-key", ()), headers.getRawHeaders(b"authorization", ()))


def needed_ticket(request: Request) -> str:
    """
    Return the ticket of a request that is nothing without one.

    :raises TicketRequired: it has none.
    """
    ticket = header(request, b"x-ticket")
    if not ticket:
        raise TicketRequired("This needs the ticket of the lock in the x-ticket header.")
    return ticket


def owner_of(request: Request) -> str:
    """
    Return who the client says it is.

    :raises BadRequest: that is not fit to be shown to people.
    """
    owner = header(request, b"x-owner")
    if len(owner) > 255 or not owner.isprintable():
        raise BadRequest("x-owner is not at most 255 printable characters.", "bad_owner")
    return owner


def retry_of(request: Request) -> str:
    """
    Return what a lock request is known again by when it is repeated: its ``Idempotency-Key`` under its API key.

    :raises BadRequest: the header is too long.
    """
    retry = header(request, b"idempotency-key")
    if len(retry) > 255:
        raise BadRequest("Idempotency-Key is longer than 255 characters.", "bad_idempotency_key")
    return hashlib.sha256(presented_key(request) + b"\0" + retry.encode()).hexdigest() if retry else ""


def named(resource: str, selector: str) -> Key:
    """
    Return what a path names.

    :raises BadRequest: one of the names cannot be one.
    """
    for kind, name in (("resource", resource), ("selector", selector)):
        if why := valid_name(name):
            raise BadRequest(f"The name of the {kind} {why}.", "bad_name")
    return Key(resource, selector)


def body_of(request: Request) -> bytes:
    """Return the whole body, whatever type it claims to be of: curl calls everything a form."""
    content = cast(BinaryIO, request.content)
    content.seek(0)
    return content.read()


def definition(body: bytes) -> tuple[str, int]:
    """
    Return the name and the timeout of a resource that is to be created.

    :raises BadRequest: the body does not say them.
    """
    fields = jsontext.read(body)
    if not isinstance(fields, dict):
        raise BadRequest("The body is not a JSON object.", "bad_body")
    name, timeout = fields.get("name"), fields.get("timeout", 0)
    if not isinstance(name, str):
        raise BadRequest("The body has no name, or one that is not a string.", "bad_name")
    if why := valid_name(name):
        raise BadRequest(f"The name of the resource {why}.", "bad_name")
    if type(timeout) is not int or not 0 <= timeout <= LONGEST:
        raise BadRequest(f"timeout is not a whole number of seconds from 0 to {LONGEST}.", "bad_timeout")
    return name, timeout


def wait_of(request: Request, longest: float) -> float:
    """
    Return how long the client wants to wait for the lock, in seconds, as far as the server lets it.

    What it asks for with ``Prefer: wait`` (RFC 7240) is confirmed in the answer.

    :raises BadRequest: the argument ``wait`` is no number. A ``Prefer`` header that makes no sense is passed over, as its RFC has it.
    """
    asked = argument(request, b"wait")
    if asked is not None:
        if re.fullmatch(r"[0-9]+", asked) is None:
            raise BadRequest("wait is not a whole number of seconds.", "bad_wait")
        return min(float(asked), longest)
    prefer = request.requestHeaders.getRawHeaders(b"prefer")
    if prefer is None:
        return 0
    preferences = b",".join(prefer)
    wait = re.search(rb'(?:^|,)[ \t]*wait[ \t]*=[ \t]*"?([0-9]+)"?[ \t]*(?=[;,]|$)', preferences, re.IGNORECASE)
    if wait is None:
        return 0
    applied = min(float(wait[1]), longest)
    request.setHeader(b"preference-applied", b"wait=%d" % applied)
    return applied
