"""What a request says, taken from its parts; or what is wrong with them."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from resourced import jsontext
from resourced.api.etags import Precondition, precondition
from resourced.auth.keys import key_of
from resourced.errors import BadRequest, TicketRequired
from resourced.http.request import EdgeRequest
from resourced.model import LockKey, valid_name

#: The highest number of any kind that the store can keep.
HIGHEST = 2**63 - 1
#: How long a page of a list is if nothing is said about it, and at most.
USUAL, MOST = 100, 1000
#: What a request for a lock may say besides its path and its query.
OF_LOCKS = frozenset({b"x-ticket", b"x-owner", b"idempotency-key", b"prefer", b"x-holds", b"x-priority"})
#: How many tickets a client may say that it holds.
HELD = 100


class PageRequest(NamedTuple):
    """
    Which part of a list is wanted.

    :ivar prefix: what the names begin with.
    :ivar after: after which name to begin.
    :ivar limit: how many names to show at most.
    """

    prefix: str
    after: str
    limit: int


class Writing(NamedTuple):
    """
    How data is to be replaced.

    :ivar unlock: whether to release the lock in the same step.
    :ivar conditions: what has to be true of the data that is there.
    """

    ticket: str
    unlock: bool
    conditions: tuple[Precondition, ...]


def header(request: EdgeRequest, name: bytes) -> str:
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


def argument(request: EdgeRequest, name: bytes) -> str | None:
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


def only(request: EdgeRequest, *known: bytes) -> None:
    """
    Check that the query has nothing in it but what is known here: a misspelt argument must not pass for one that is missing.

    :raises BadRequest: it has; the sentence names it.
    """
    query = request.uri.partition(b"?")[2]
    if not query:
        return
    # Twisted passes over what has no equals sign.
    bare = {piece for piece in re.split(rb"[&;]", query) if piece and b"=" not in piece}
    for name in sorted([*(request.args.keys() - set(known)), *map(unquote_to_bytes, bare - set(known))]):
        words = ", ".join(word.decode() for word in known)
        expected = f"it takes {words}" if known else "it takes none"
        raise BadRequest(f"This request has no argument {_shown(name)}: {expected}.", "unknown_argument")


def _shown(name: str | bytes) -> str:
    """Return a stranger's word as a part of a sentence."""
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
    return repr(text if len(text) <= 80 else text[:80] + "...")


def flag(request: EdgeRequest, name: bytes, *, default: bool) -> bool:
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


def whole(request: EdgeRequest, name: bytes, default: int, *, least: int = 0, most: int = HIGHEST) -> int:
    """
    Return an argument of the query that is a whole number.

    :raises BadRequest: it is something else, or out of its bounds.
    """
    value = argument(request, name)
    if value is None:
        return default
    if re.fullmatch("[0-9]{1,19}", value) is None or not least <= int(value) <= most:
        word = name.decode()
        raise BadRequest(f"{word} in the query is not a whole number from {least} to {most}.", f"bad_{word}")
    return int(value)


def limit_of(request: EdgeRequest) -> int:
    """
    Return how long the page of a list may be.

    :raises BadRequest: nobody gets as much, or as little.
    """
    return whole(request, b"limit", USUAL, least=1, most=MOST)


def page_of(request: EdgeRequest) -> PageRequest:
    """
    Return which part of a list of names is wanted.

    :raises BadRequest: the query does not say it clearly.
    """
    return PageRequest(argument(request, b"prefix") or "", argument(request, b"after") or "", limit_of(request))


def fence_of(request: EdgeRequest) -> int:
    """
    Return the fence of the lock that is to be broken.

    :raises BadRequest: there is none, or it cannot be one.
    """
    fence = whole(request, b"fence", 0)
    if not fence:
        raise BadRequest("This needs the fence of the lock: say ?fence=N.", "bad_fence")
    return fence


def reason_of(request: EdgeRequest) -> str:
    """
    Return why the client does what it does, if it says so.

    :raises BadRequest: that is not fit to be shown to people.
    """
    reason = argument(request, b"reason") or ""
    if len(reason) > 255 or not reason.isprintable():
        raise BadRequest("reason in the query is not at most 255 printable characters.", "bad_reason")
    return reason


def address_of(request: EdgeRequest) -> str:
    """Return from where a request came, as its connection says. All that come by a Unix socket come from one place."""
    return getattr(request.getClientAddress(), "host", "") or "local"


def accepts_html(request: EdgeRequest) -> bool:
    """Tell whether a request is that of a browser, which names HTML where a program says that it takes anything."""
    return b"text/html" in b",".join(request.requestHeaders.getRawHeaders(b"accept", ())).lower()


def presented_key(request: EdgeRequest) -> bytes:
    """Return the API key that a request carries."""
    headers = request.requestHeaders
    x_api_key = headers.getRawHeaders(b"x-api-key", ())
    # Nearly every request has this header, and once.
    if len(x_api_key) == 1 and (key := x_api_key[0].strip()):
        return key
    return key_of(x_api_key, headers.getRawHeaders(b"authorization", ()))


def needed_ticket(request: EdgeRequest) -> str:
    """
    Return the ticket of a request that is nothing without one.

    :raises TicketRequired: it has none.
    """
    ticket = header(request, b"x-ticket")
    if not ticket:
        raise TicketRequired("This needs the ticket of the lock in the x-ticket header.")
    return ticket


def unless_of(request: EdgeRequest) -> tuple[Precondition, ...]:
    """
    Return what the client has of the data already.

    :raises BadRequest: its ``If-None-Match`` makes no sense.
    """
    return _conditions(request, b"if-none-match", wanted=False)


def writing_of(request: EdgeRequest) -> Writing:
    """
    Return how data is to be replaced.

    :raises BadRequest: the request does not say it clearly.
    :raises TicketRequired: it has no ticket.
    """
    only(request, b"unlock")
    unlock = flag(request, b"unlock", default=False)
    ticket = needed_ticket(request)
    return Writing(ticket, unlock, _conditions(request, b"if-match", wanted=True) + unless_of(request))


def _conditions(request: EdgeRequest, name: bytes, *, wanted: bool) -> tuple[Precondition, ...]:
    fields = request.requestHeaders.getRawHeaders(name)
    if fields is None:
        return ()
    try:
        # It is a list, and may come in parts.
        return (precondition(b",".join(fields), wanted=wanted),)
    except ValueError:
        word = name.decode()
        raise BadRequest(
            f"The {word.title()} header is neither * nor a list of entity tags.", f"bad_{word.replace('-', '_')}"
        ) from None


def owner_of(request: EdgeRequest) -> str:
    """
    Return who the client says it is.

    :raises BadRequest: that is not fit to be shown to people.
    """
    owner = header(request, b"x-owner")
    if len(owner) > 255 or not owner.isprintable():
        raise BadRequest("x-owner is not at most 255 printable characters.", "bad_owner")
    return owner


def idempotency_key_of(request: EdgeRequest) -> str:
    """
    Return what a lock request is known again by when it is repeated: its ``Idempotency-Key`` under its API key.

    :raises BadRequest: the header is too long.
    """
    idempotency_key = header(request, b"idempotency-key")
    if len(idempotency_key) > 255:
        raise BadRequest("Idempotency-Key is longer than 255 characters.", "bad_idempotency_key")
    return (
        hashlib.sha256(presented_key(request) + b"\0" + idempotency_key.encode()).hexdigest() if idempotency_key else ""
    )


def holds_of(request: EdgeRequest) -> list[str]:
    """
    Return the tickets that the client says it holds meanwhile; the header is a list, and may come in parts.

    :raises BadRequest: the header is no list of tickets, or too long a one.
    """
    fields = request.requestHeaders.getRawHeaders(b"x-holds")
    if fields is None:
        return []
    tickets = [ticket for part in b",".join(fields).split(b",") if (ticket := part.strip(b" \t"))]
    if len(tickets) > HELD or not all(re.fullmatch(rb"[0-9a-f]{32}", ticket) for ticket in tickets):
        raise BadRequest(f"x-holds is not a list of at most {HELD} tickets.", "bad_holds")
    return [ticket.decode() for ticket in tickets]


def resource_named(name: str) -> str:
    """
    Return the name of a resource in a path.

    :raises BadRequest: it cannot be one.
    """
    return checked_name("resource", name)


@lru_cache(4096)
def named(resource: str, selector: str) -> LockKey:
    """
    Return what a path names.

    :raises BadRequest: one of the names cannot be one.
    """
    return LockKey(checked_name("resource", resource), checked_name("selector", selector))


def checked_name(kind: str, name: str) -> str:
    """
    Return a name of a resource or a selector.

    :raises BadRequest: it cannot be one.
    """
    if why := valid_name(name):
        raise BadRequest(f"The name of the {kind} {why}.", "bad_name")
    return name


def fields_of(body: bytes, *known: str) -> dict[str, object]:
    """
    Return the fields of a body that is a JSON object.

    :raises BadRequest: it is none, or has a field that is not known.
    """
    fields = jsontext.read(body)
    if not isinstance(fields, dict):
        raise BadRequest("The body is not a JSON object.", "bad_body")
    for name in sorted(fields.keys() - set(known)):
        raise BadRequest(
            f"The body has no field {_shown(name)}: it takes {', '.join(known) or 'none'}.", "unknown_field"
        )
    return fields


def lease_of(request: EdgeRequest, longest: int) -> int:
    """
    Return the lease that the client asks for, in seconds; 0 if it does not.

    :param longest: the longest that the resource grants.
    :raises BadRequest: it is no whole number of seconds, or longer.
    """
    asked = argument(request, b"lease")
    if asked is None:
        return 0
    if re.fullmatch("[0-9]{1,10}", asked) is None or not 1 <= int(asked) <= longest:
        raise BadRequest(
            f"lease in the query is not a whole number of seconds from 1 to {longest}, the longest of this resource.",
            "bad_lease",
        )
    return int(asked)


def priority_of(request: EdgeRequest) -> int:
    """
    Return the priority that the client asks for; 0 if it does not.

    :raises BadRequest: there is no such priority.
    """
    asked = header(request, b"x-priority")
    if not asked:
        return 0
    if re.fullmatch("[+-]?[0-9]", asked) is None:
        raise BadRequest("x-priority is not a whole number from -9 to 9.", "bad_priority")
    return int(asked)


def wait_of(request: EdgeRequest, longest: float, usual: float = 0) -> float:
    """
    Return how long the client wants to wait for the lock, in seconds, as far as the server lets it.

    What it asks for with ``Prefer: wait`` (RFC 7240) is confirmed in the answer.

    :param usual: what a request wants that does not say.

    :raises BadRequest: the argument ``wait`` is no number. A ``Prefer`` header that makes no sense is passed over, as its RFC has it.
    """
    asked = argument(request, b"wait")
    if asked is not None:
        if re.fullmatch(r"[0-9]+", asked) is None:
            raise BadRequest("wait is not a whole number of seconds.", "bad_wait")
        return min(float(asked), longest)
    prefer = request.requestHeaders.getRawHeaders(b"prefer")
    if prefer is None:
        return usual
    preferences = b",".join(prefer)
    wait = re.search(rb'(?:^|,)[ \t]*wait[ \t]*=[ \t]*"?([0-9]+)"?[ \t]*(?=[;,]|$)', preferences, re.IGNORECASE)
    if wait is None:
        return usual
    applied = min(float(wait[1]), longest)
    request.setHeader(b"preference-applied", b"wait=%d" % applied)
    return applied
