"""What requests say about pools: wants and cards."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from resourced.api.params import checked_name, fields_of, header
from resourced.errors import BadRequest
from resourced.http.request import EdgeRequest
from resourced.locks.unit_cards import CardChange
from resourced.wants import ALL, Want

#: How many wants a request may have, how many units one of them may ask for, and how many tags a card or a want may have.
WANTS: Final = 16
COUNT: Final = 1000
TAGS: Final = 64

_TAG: Final = re.compile(r"[^\s,]{1,64}")


def joint_body(body: bytes, *, needed: bool) -> tuple[tuple[Want, ...], bool]:
    """
    Return what a request wants, and whether it yields to others.

    :param needed: whether it has to say it. Otherwise an empty body says nothing.
    :raises BadRequest: the body does not say it clearly.
    """
    if not body and not needed:
        return (), False
    fields = fields_of(body, "want", "yield")
    wants = fields.get("want")
    if not isinstance(wants, list) or not 1 <= len(wants) <= WANTS:
        raise BadRequest(f"want is not a list of 1 to {WANTS} things.", "bad_want")
    yields = fields.get("yield", False)
    if not isinstance(yields, bool):
        raise BadRequest("yield is neither true nor false.", "bad_yield")
    found = tuple(_want(want) for want in wants)
    named = [(want.resource, want.selector) for want in found if want.selector]
    if len(set(named)) < len(named):
        raise BadRequest("want names a selector twice.", "bad_want")
    return found, yields


def _want(want: object) -> Want:
    if not isinstance(want, dict):
        raise BadRequest("want has something in it that is not an object.", "bad_want")
    for name in sorted(want.keys() - {"resource", "selector", "tags", "count"}):
        raise BadRequest(f"want has no field {name[:80]!r}: it takes resource, selector, tags, count.", "unknown_field")
    resource = _name(want, "resource")
    if "selector" in want:
        if "tags" in want or "count" in want:
            raise BadRequest("A want has either a selector, or tags and a count.", "bad_want")
        return Want(resource, _name(want, "selector"))
    return Want(resource, tags=_tags(want.get("tags", [])), count=_count(want.get("count", 1)))


def _name(want: Mapping[str, object], kind: str) -> str:
    name = want.get(kind)
    if not isinstance(name, str):
        raise BadRequest(f"A want has no {kind}, or one that is not a string.", "bad_want")
    return checked_name(kind, name)


def _count(count: object) -> int:
    if count == "all":
        return ALL
    if isinstance(count, float) and count.is_integer():
        # JSON knows only one kind of number.
        count = int(count)
    if type(count) is not int or not 1 <= count <= COUNT:
        raise BadRequest(f'count is neither a whole number from 1 to {COUNT} nor "all".', "bad_count")
    return count


def _tags(tags: object) -> frozenset[str]:
    if not isinstance(tags, list) or len(tags) > TAGS or not all(isinstance(tag, str) for tag in tags):
        raise BadRequest(f"tags is not a list of at most {TAGS} strings.", "bad_tags")
    if not all(_TAG.fullmatch(tag) and tag.isprintable() for tag in tags):
        raise BadRequest("A tag has 1 to 64 printable characters, and neither white space nor a comma.", "bad_tags")
    return frozenset(tags)


def card_change(body: bytes) -> CardChange:
    """
    Return what is to become of a card.

    :raises BadRequest: the body does not say it clearly.
    """
    fields = fields_of(body, "tags", "note", "out")
    return CardChange(
        _tags(fields["tags"] or []) if "tags" in fields else None,
        _text(fields, "note") if "note" in fields else None,
        _text(fields, "out") if "out" in fields else None,
    )


def broken_of(request: EdgeRequest) -> str:
    """
    Return why a unit is given back as broken; empty if it is not.

    :raises BadRequest: the body does not say it clearly.
    """
    body = _said(request)
    return _text(fields_of(body, "out"), "out") if body else ""


def fieldless(request: EdgeRequest) -> None:
    """
    Check that the body has no fields: what nobody looks at must not pass for what was asked.

    :raises BadRequest: it has; the sentence names one.
    """
    if body := _said(request):
        fields_of(body)


def _said(request: EdgeRequest) -> bytes:
    """Return a body that need not be there; empty if it says nothing."""
    body = request.body().strip()
    if body in {b"", b"null", b"[]"}:
        # What libraries send that have nothing to say.
        return b""
    if body.startswith(b"{") or header(request, b"content-type").startswith("application/json"):
        return body
    # Any other body says nothing: curl sends a form.
    return b""


def _text(fields: Mapping[str, object], name: str) -> str:
    text = fields.get(name)
    if text is None:
        return ""
    if not isinstance(text, str) or len(text) > 255 or not text.isprintable():
        raise BadRequest(f"{name} is not a string of at most 255 printable characters.", f"bad_{name}")
    return text
