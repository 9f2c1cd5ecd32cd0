"""How answers are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime

from resourced import jsontext
from resourced.errors import ResourcedError
from resourced.http.json_errors import error_body
from resourced.http.request import EdgeRequest
from resourced.locks.state.requests import Acquired, Holder, Queued, Waiter, Waits, Written
from resourced.model import Document
from resourced.wants import Card

#: After how many seconds to try again: those who wait for a lock, and those whom the server could not serve.
RETRY_AFTER = 1


def answer(request: EdgeRequest, status: int, body: Mapping[str, object]) -> bytes:
    """Give an answer in JSON."""
    return sent(request, status, jsontext.write(body))


def sent(request: EdgeRequest, status: int, body: bytes, content_type: bytes = b"application/json") -> bytes:
    """Give an answer whose body is written already."""
    request.begin_whole(status, content_type, len(body))
    return body


def done(request: EdgeRequest, status: int = 204) -> bytes:
    """Give an answer without a body: it is done, or nothing has changed."""
    request.setResponseCode(status)
    if status == 304:
        request.setHeader(b"cache-control", b"no-store")
    return b""


def written(request: EdgeRequest, outcome: Written) -> None:
    """Tell a client that its write is kept, and for how long the lock is its own from now on, if it still is."""
    request.notes["fence"] = outcome.fence
    if outcome.lease is not None:
        request.setHeader(b"x-lease", b"%d" % outcome.lease)


def tagged(request: EdgeRequest, etag: str) -> None:
    """Name the data that is there by its entity tag."""
    request.setHeader(b"etag", b'"%s"' % etag.encode())


def waits(request: EdgeRequest) -> None:
    """Let the site know that a request is about to wait for others rather than to keep the server busy."""
    request.notes["waited"] = True
    request.stand_aside()


def error(request: EdgeRequest, status: int, reason: ResourcedError) -> bytes:
    """Answer with an error: a sentence for a person, and a word for a program."""
    return sent(request, status, error_body(reason.code, reason.sentence, reason.details))


def document(request: EdgeRequest, found: Document, *, raw: bool) -> bytes:
    """Answer with what is kept at a selector, or just with the JSON that was written there."""
    tagged(request, found.etag)
    if raw:
        return sent(request, 200, found.data.encode())
    return answer(
        request,
        200,
        {"id": found.id, "idResource": found.resource_id, "selector": found.selector, "data": found.data},
    )


def held(request: EdgeRequest, outcome: Acquired) -> None:
    """Tell a client that the lock is its own, and for how long."""
    request.notes["fence"] = outcome.fence
    request.setHeader(b"x-ticket", outcome.ticket.encode())
    request.setHeader(b"x-fence", b"%d" % outcome.fence)
    request.setHeader(b"x-lease", b"%d" % outcome.lease)


def queued(request: EdgeRequest, outcome: Queued, body: dict[str, object]) -> bytes:
    """Tell a client that someone else has the lock, and to come back."""
    request.setHeader(b"x-ticket", outcome.ticket.encode())
    request.setHeader(b"retry-after", b"%d" % RETRY_AFTER)
    if outcome.out is not None:
        body["out"] = outcome.out
    return answer(request, 202, body)


def card_shown(card: Card) -> dict[str, object]:
    """Say a card in JSON."""
    since = None
    if card.out is not None:
        since = f"{datetime.fromtimestamp(card.out_since // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return {"tags": sorted(card.tags), "note": card.note, "out": card.out, "out_since": since}


def seconds_shown(someone: Holder | Waiter | Waits) -> dict[str, object]:
    """Describe who holds or waits, in whole seconds rounded down."""
    fields = {name: int(value) if isinstance(value, float) else value for name, value in asdict(someone).items()}
    # As long as nobody asks for one, there is none.
    return fields if fields["priority"] else {name: value for name, value in fields.items() if name != "priority"}
