"""The parts of the API's description that its operations share: what names, times, answers and headers look like. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Part = Mapping[str, Any]

_NO_CONTROL: Final = r"[^\u0000-\u001f\u007f-\u009f]"


def ref(kind: str, name: str) -> Part:
    """Point to a part by its kind, such as ``schemas``, and its name."""
    return {"$ref": f"#/components/{kind}/{name}"}


def _object(description: str, *, optional: Mapping[str, Part] | None = None, **fields: Part) -> Part:
    """An object that has just these fields, and perhaps the optional ones."""
    return {
        "description": description,
        "type": "object",
        "required": list(fields),
        "additionalProperties": False,
        "properties": {**fields, **(optional or {})},
    }


def _list(item: str) -> Part:
    return {"type": "array", "items": ref("schemas", item)}


def _says(description: str, part: Part) -> Part:
    return {"description": description, **part}


_TEXT: Final[Mapping[str, Any]] = {"type": "string"}
_OWNER: Final[Mapping[str, Any]] = {
    **_TEXT,
    "description": "Who the client of the ticket says it is, else the name of its key.",
}
_KEY_NAME: Final[Mapping[str, Any]] = {**_TEXT, "description": "The name of the key that the ticket was given to."}
_BOOLEAN: Final[Mapping[str, Any]] = {"type": "boolean"}
_NAME: Final = ref("schemas", "Name")
_TIMEOUT: Final = ref("schemas", "Timeout")
_COUNT: Final[Mapping[str, Any]] = {"type": "integer", "minimum": 0}
_POSITION: Final[Mapping[str, Any]] = {"type": "integer", "minimum": 1, "description": "1 is next in line."}
_SECONDS: Final = ref("schemas", "Seconds")
_AT_LEAST: Final = "At least: time that no daemon saw pass, as around a restart, does not count."
_NEXT: Final[Mapping[str, Any]] = {
    "type": ["string", "null"],
    "description": "What to send as `after` for the next page, if there is one.",
}
_HELD: Final = _says("How many of its locks are held.", _COUNT)
_WAITING: Final = _says("How many tickets wait.", _COUNT)
_DEFINITION: Final[Mapping[str, Any]] = {"id": _TEXT, "name": _NAME, "timeout": _TIMEOUT}

SCHEMAS: Final[Mapping[str, Part]] = {
    "Error": _object(
        "What went wrong.",
        error=_says("A sentence for a person; it may change.", {"type": "string", "minLength": 1}),
        code=_says("A word for a program; it never changes.", {"type": "string", "pattern": "^[a-z_]+$"}),
    ),
    "Name": {
        "description": "The name of a resource or of a selector. It is exact: nothing is folded, trimmed or normalized.",
        "type": "string",
        "minLength": 1,
        "maxLength": 255,
        "pattern": rf"^(?!\.{{1,2}}$){_NO_CONTROL}+$",
    },
    "Timeout": {
        "description": "The lease of the resource's locks in whole seconds; 0 means the server's default.",
        "type": "integer",
        "minimum": 0,
        "maximum": 2**31 - 1,
    },
    "Seconds": _says("Whole seconds, rounded down.", _COUNT),
    "Fence": {
        "description": "A number that grows with every grant at a selector and is never used twice.",
        "type": "integer",
        "minimum": 1,
        "maximum": 2**63 - 1,
    },
    "NewResource": {
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {"name": _NAME, "timeout": _TIMEOUT},
    },
    "Change": {
        "type": "object",
        "required": ["timeout"],
        "additionalProperties": False,
        "properties": {"timeout": _TIMEOUT},
    },
    "Resource": _object("A resource as it is defined.", **_DEFINITION),
    "Resources": _object(
        "A page of resources, by the code points of their names.", resources=_list("Listed"), next=_NEXT
    ),
    "Listed": _object("A resource, and how much it is used.", **_DEFINITION, held=_HELD, waiting=_WAITING),
    "ResourceState": _object(
        "A resource, how much it is used, and a page of its selectors that have data or are locked.",
        **_DEFINITION,
        held=_HELD,
        waiting=_WAITING,
        selectors=_list("Selector"),
        next=_NEXT,
    ),
    "Selector": _object(
        "A selector that has data or is locked.",
        selector=_NAME,
        data=_says("Whether there is data.", _BOOLEAN),
        held=_says("Whether somebody has the lock.", _BOOLEAN),
        waiting=_WAITING,
    ),
    "Document": _object(
        "What is kept at a selector.",
        id=_TEXT,
        idResource=_TEXT,
        selector=_NAME,
        data=_says("The stored JSON text, byte for byte: it has to be decoded once more.", _TEXT),
    ),
    "Queued": _object("Someone else has the lock.", unavailable={"const": True}, position=_POSITION),
    "Locked": _object("The lock is the client's.", locked={"const": True}),
    "NotLocked": _object("Someone else has the lock.", locked={"const": False}, position=_POSITION),
    "Unlocked": _object("The end of a turn.", unlocked=_says("Whether there was anything to let go of.", _BOOLEAN)),
    "LockState": _object(
        "Who has a lock, and who waits for it.",
        resource=_NAME,
        selector=_NAME,
        locked=_BOOLEAN,
        holder={"oneOf": [ref("schemas", "Holder"), {"type": "null"}]},
        waiting=_WAITING,
        queue=_list("Waiter"),
        next={
            "type": ["integer", "null"],
            "minimum": 1,
            "description": "What to send as `after` for more of the queue, if there is more.",
        },
    ),
    "Holder": _object(
        "Who has a lock.",
        owner=_OWNER,
        key=_KEY_NAME,
        fence=ref("schemas", "Fence"),
        held=_says(f"For how long it has had the lock. {_AT_LEAST}", _SECONDS),
        left=_SECONDS,
        claimed=_says("Whether the client has come for it.", _BOOLEAN),
    ),
    "Waiter": _object(
        "Who waits for a lock.",
        position=_POSITION,
        owner=_OWNER,
        key=_KEY_NAME,
        waited=_says(f"For how long it has waited. {_AT_LEAST}", _SECONDS),
        left=_SECONDS,
    ),
    "Events": _object(
        "A page of what has happened, the newest first.",
        events=_list("Event"),
        next={"type": ["integer", "null"], "description": "What to send as `before` for older ones, if there are any."},
    ),
    "Event": _object(
        "Something that has happened.",
        id=_says("Grows from each event to the next, with gaps.", {"type": "integer", "minimum": 1}),
        at={"type": "string", "format": "date-time"},
        event={"enum": ["grant", "release", "expiry", "break", "write"]},
        resource=_NAME,
        selector=_NAME,
        owner=_OWNER,
        key=_says("The name of the key that acted: that of the ticket, or of whoever broke the lock.", _TEXT),
        fence=_says("The fence of the lock; 0 if it is about a ticket that only waited.", _COUNT),
        seconds=_says(
            f"How long the ticket had waited, or had held the lock. {_AT_LEAST}", {"type": "number", "minimum": 0}
        ),
        optional={
            "by": _says("Of a break: who broke the lock.", _TEXT),
            "reason": _says("Of a break: why, if that was said.", _TEXT),
        },
    ),
    "Health": _object("The server can do its work.", health={"const": "ok"}),
}


def _header(description: str, example: object, schema: Part) -> Part:
    return {"description": description, "schema": schema, "example": example}


_TICKET: Final[Mapping[str, Any]] = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
#: What is no ticket is just one that never was.
_ANY_TICKET: Final[Mapping[str, Any]] = {"type": "string", "pattern": "^[!-~]+$"}
_ETAG: Final[Mapping[str, Any]] = {"type": "string", "pattern": '^"[0-9a-f]{16}"$'}

HEADERS: Final[Mapping[str, Part]] = {
    "x-ticket": _header("The client's place: in the queue, then as holder.", "0f" * 16, _TICKET),
    "x-fence": _header("The fence of the lock.", 12, ref("schemas", "Fence")),
    "x-lease": _header("Seconds that are left unless the ticket is used, rounded down.", 300, _COUNT),
    "ETag": _header("What tells this data from any other at its selector.", '"4f1d9c0a7be35520"', _ETAG),
    "Retry-After": _header("Seconds after which to try again.", 1, {"type": "integer", "minimum": 1}),
    "Preference-Applied": _header(
        "How long the request may have waited.", "wait=20", {"type": "string", "pattern": "^wait=[0-9]+$"}
    ),
    "Location": _header("The path of the new resource.", "/resource/printer", _TEXT),
    "WWW-Authenticate": _header("How to present a key.", 'Bearer realm="resourced"', _TEXT),
}


def _parameter(
    where: str, name: str, description: str, example: object, schema: Part, *, required: bool = False
) -> Part:
    return {
        "name": name,
        "in": where,
        "description": description,
        "required": required,
        "schema": schema,
        "example": example,
    }


_FLAG: Final[Mapping[str, Any]] = {"type": "string", "enum": ["0", "1"]}
_WAIT: Final[Mapping[str, Any]] = {"type": "string", "pattern": "^[0-9]{1,4}$"}

PARAMETERS: Final[Mapping[str, Part]] = {
    "resource": _parameter("path", "resource", "The name of the resource.", "printer", _NAME, required=True),
    "selector": _parameter("path", "selector", "The name of the selector.", "A4", _NAME, required=True),
    "lock": _parameter(
        "query", "lock", "1 takes or keeps the lock, which is what happens without it; 0 only reads.", "0", _FLAG
    ),
    "raw": _parameter("query", "raw", "1 answers with the stored JSON itself.", "1", _FLAG),
    "unlock": _parameter("query", "unlock", "1 releases the lock in the same step.", "1", _FLAG),
    "wait": _parameter(
        "query", "wait", "How many seconds to wait for the lock, as far as the server lets it.", "0", _WAIT
    ),
    "Prefer": _parameter(
        "header",
        "Prefer",
        "The same, as RFC 7240 has it.",
        "wait=0",
        _TEXT,
    ),
    "ticket": _parameter(
        "header",
        "x-ticket",
        "The client's ticket, if it has one.",
        "0f" * 16,
        {"type": "string", "pattern": "^[!-~]*$"},
    ),
    "neededTicket": _parameter("header", "x-ticket", "The client's ticket.", "0f" * 16, _ANY_TICKET, required=True),
    "holds": _parameter(
        "header",
        "x-holds",
        "Tickets that the client holds meanwhile, at most 100: if it would have to wait for itself, it is told so.",
        ", ".join(("0f" * 16, "1e" * 16)),
        {"type": "string", "pattern": "^([0-9a-f]{32}(, ?[0-9a-f]{32}){0,99})?$"},
    ),
    "owner": _parameter(
        "header",
        "x-owner",
        "Who the client is, for people.",
        "press 7",
        {"type": "string", "maxLength": 255, "pattern": "^([!-~]([ -~]*[!-~])?)?$"},
    ),
    "Idempotency-Key": _parameter(
        "header",
        "Idempotency-Key",
        "A request without a ticket that has the same one gets the same ticket, while that lives.",
        "7d1b3c2e",
        {"type": "string", "maxLength": 255, "pattern": "^[!-~]*$"},
    ),
    "If-Match": _parameter(
        "header",
        "If-Match",
        "Do it only if the data is still this.",
        "*",
        {"anyOf": [{"const": "*"}, _ETAG]},
    ),
    "If-None-Match": _parameter(
        "header",
        "If-None-Match",
        "Send the data only if it is not this.",
        '"4f1d9c0a7be35520"',
        {"anyOf": [{"const": "*"}, _ETAG]},
    ),
    "absent": _parameter("header", "If-None-Match", "Write only if there is no data yet.", "*", {"const": "*"}),
    "prefix": _parameter("query", "prefix", "What the names begin with.", "print", _TEXT),
    "after": _parameter("query", "after", "After which name to begin; there need not be one of it.", "A", _TEXT),
    "limit": _parameter(
        "query", "limit", "How many at most; 100 without it.", 100, {"type": "integer", "minimum": 1, "maximum": 1000}
    ),
    "position": _parameter(
        "query",
        "after",
        "After which position of the queue to begin.",
        0,
        {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
    ),
    "before": _parameter(
        "query", "before", "Before which event to begin.", 1234, {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
    ),
    "fence": _parameter(
        "query", "fence", "The fence that the lock is held under.", 12, ref("schemas", "Fence"), required=True
    ),
    "reason": _parameter(
        "query",
        "reason",
        "Why the lock is broken, for people.",
        "hung since noon",
        {"type": "string", "maxLength": 255, "pattern": "^[ -~]*$"},
    ),
    "Last-Event-ID": _parameter(
        "header",
        "Last-Event-ID",
        "The last event that the client has seen.",
        "1234",
        {"type": "string", "pattern": "^[0-9]{1,15}$"},
    ),
}
