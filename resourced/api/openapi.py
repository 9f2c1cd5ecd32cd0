"""The API as a machine reads it: OpenAPI 3.1, from the same table of errors that the server answers by."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any, Final

from twisted.web.server import Request

from resourced.api.base import Group, route, status_of
from resourced.api.openapi_parts import HEADERS, PARAMETERS, SCHEMAS, Part, ref
from resourced.api.responses import sent
from resourced.errors import (
    BadRequest,
    BodyTooLarge,
    DataNotFound,
    Deadlock,
    FenceMismatch,
    Forbidden,
    NotAuthorized,
    NotHolder,
    Overloaded,
    PreconditionFailed,
    QuotaExceeded,
    ResourcedError,
    ResourceExists,
    ResourceInUse,
    ResourceNotFound,
    StoreUnavailable,
    TicketEnded,
    TicketRequired,
)

Errors = Iterable[type[ResourcedError]]

JSON: Final = "application/json"

#: What each kind of error says, as an example.
SENTENCES: Final[Mapping[type[ResourcedError], str]] = {
    BadRequest: "The name of the selector is longer than 255 characters.",
    NotAuthorized: "This key is not known here.",
    Forbidden: "This key may not touch this resource.",
    ResourceNotFound: "There is no resource named 'printer'.",
    DataNotFound: "There is no data at selector 'A4' of resource 'printer' yet.",
    ResourceExists: "There is a resource named 'printer' already.",
    Deadlock: "To wait for this lock would be a deadlock: it will not be free before this client lets go of another one.",
    TicketEnded: "This ticket has ended or was never given out. Ask again without it.",
    FenceMismatch: "The lock is not held under this fence, or not any more.",
    PreconditionFailed: "The data is not what the request says.",
    BodyTooLarge: "The body is larger than 1048576 bytes.",
    NotHolder: "This ticket still waits for the lock.",
    ResourceInUse: "Something of this resource is locked or waited for.",
    TicketRequired: "This needs the ticket of the lock in the x-ticket header.",
    QuotaExceeded: "This key holds as many locks as it may. Its quota is max_locks. Try again later.",
    Overloaded: "The server has too much to do. Try again later.",
    StoreUnavailable: "The store cannot be reached at present. Try again.",
}

#: What goes with an error of a status.
_WITH: Final[Mapping[int, tuple[str, ...]]] = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}

#: What the edge may answer before any route is asked, besides 400 and 503.
_EDGE: Final[Mapping[str, tuple[str, str, str]]] = {
    "408": ("The request took too long to arrive.", "request_timeout", "The request took longer than 60 s."),
    "431": ("The head of the request is too large.", "headers_too_large", "The headers are larger than 16384 bytes."),
}

#: What ``/health`` says of the store.
_FAULTS: Final = ("unreachable", "silent", "crowded", "read_only", "full", "packet_too_large", "refused")

_HELD: Final = ("x-ticket", "x-fence", "x-lease", "Preference-Applied")
_QUEUED: Final = ("x-ticket", "Retry-After", "Preference-Applied")

_PRINTER: Final[Mapping[str, object]] = {"id": "1c7e", "name": "printer", "timeout": 300}
_EVENT: Final[Mapping[str, object]] = {
    "id": 1234,
    "at": "2026-01-31T17:10:00.123Z",
    "event": "grant",
    "resource": "printer",
    "selector": "A4",
    "owner": "ci-7",
    "key": "ci",
    "fence": 12,
    "seconds": 3.214,
}


def _headers(names: Iterable[str]) -> Part:
    return {name: ref("headers", name) for name in names}


def _answer(description: str, schema: str = "", example: object = None, *, headers: Iterable[str] = ()) -> Part:
    """An answer that is no error: in JSON of a schema, or with nothing in it."""
    part: dict[str, Any] = {"description": description}
    if headers:
        part["headers"] = _headers(headers)
    if schema:
        part["content"] = {JSON: {"schema": ref("schemas", schema), "example": example}}
    return part


def _text(description: str, **examples: str) -> Part:
    """An answer that is text of one type or of several, whose names are written with underscores."""
    return {
        "description": description,
        "content": {
            kind.replace("__", "/").replace("_", "-"): {"schema": {"type": "string"}, "example": example}
            for kind, example in examples.items()
        },
    }


def _failure(description: str, said: dict[str, str], headers: Iterable[str] = ()) -> Part:
    """An answer that is an error of one of some codes, each with a sentence."""
    examples = {code: {"value": {"error": sentence, "code": code}} for code, sentence in said.items()}
    return {
        "description": description,
        "headers": _headers(headers),
        "content": {JSON: {"schema": ref("schemas", "Error"), "examples": examples}},
    }


def _failures(errors: Errors, headers: Iterable[str] = ()) -> dict[str, Part]:
    """The answers, by status, that some kinds of errors become."""
    by_status: dict[int, list[type[ResourcedError]]] = {}
    for kind in errors:
        by_status.setdefault(status_of(kind), []).append(kind)
    return {
        str(status): _failure(
            " Or: ".join((kind.__doc__ or "").strip().splitlines()[0] for kind in kinds),
            {kind.code: SENTENCES[kind] for kind in kinds},
            (*_WITH.get(status, ()), *(headers if DataNotFound in kinds else ())),
        )
        for status, kinds in by_status.items()
    }


def _body(schema: Part, example: object) -> Part:
    return {"required": True, "content": {JSON: {"schema": schema, "example": example}}}


def _operation(
    name: str,
    summary: str,
    answers: dict[str, Part],
    errors: Errors = (),
    *,
    parameters: Iterable[str] = (),
    body: Part | None = None,
    open_to_all: bool = False,
) -> Part:
    """
    Describe what a method of a path does.

    :param answers: by status, those that are no errors, and those that say more than an error usually does.
    :param errors: what may go wrong, besides what always may.
    """
    kinds: list[type[ResourcedError]] = [BadRequest, *errors, StoreUnavailable, Overloaded]
    if not open_to_all:
        kinds += [NotAuthorized, Forbidden, QuotaExceeded]
    if body is not None:
        kinds.append(BodyTooLarge)
    edge = {status: _failure(why, {code: sentence}) for status, (why, code, sentence) in _EDGE.items()}
    part: dict[str, Any] = {"operationId": name, "summary": summary}
    if parameters:
        part["parameters"] = [ref("parameters", parameter) for parameter in parameters]
    if body is not None:
        part["requestBody"] = body
    part["responses"] = dict(sorted((_failures(kinds, _HELD) | edge | answers).items()))
    if open_to_all:
        part["security"] = []
    return part


def _looked_at(operation: Part) -> dict[str, Part]:
    """A GET, and the HEAD that goes with it, which has the same headers and no body."""
    responses = {
        status: {key: value for key, value in answer.items() if key != "content"}
        for status, answer in operation["responses"].items()
    }
    head = {**operation, "operationId": f"{operation['operationId']}Head", "responses": responses}
    return {"get": operation, "head": head}


def _resources() -> dict[str, Part]:
    page = ("prefix", "after", "limit")
    used = {**_PRINTER, "held": 1, "waiting": 2}
    listed = _answer("A page of them.", "Resources", {"resources": [used], "next": None})
    shown = _answer(
        "Its definition and a page of its selectors.",
        "ResourceState",
        {**used, "selectors": [{"selector": "A4", "data": True, "held": True, "waiting": 2}], "next": None},
    )
    return {
        "/resource": {
            **_looked_at(_operation("listResources", "List the resources", {"200": listed}, parameters=page)),
            "post": _operation(
                "createResource",
                "Create a resource",
                {"201": _answer("It is made.", "Resource", _PRINTER, headers=["Location"])},
                [ResourceExists],
                body=_body(ref("schemas", "NewResource"), {"name": "printer", "timeout": 300}),
            ),
        },
        "/resource/{resource}": {
            "parameters": [ref("parameters", "resource")],
            **_looked_at(
                _operation(
                    "showResource", "A resource and its selectors", {"200": shown}, [ResourceNotFound], parameters=page
                )
            ),
            "patch": _operation(
                "changeResource",
                "Give a resource another timeout",
                {"200": _answer("Its new definition.", "Resource", _PRINTER)},
                [ResourceNotFound],
                body=_body(ref("schemas", "Change"), {"timeout": 60}),
            ),
            "delete": _operation(
                "deleteResource",
                "Delete a resource with all its data",
                {"204": _answer("It is no more.")},
                [ResourceNotFound, ResourceInUse],
            ),
        },
    }


def _data() -> dict[str, Part]:
    unmodified = _answer("The client has this data already.", headers=["ETag"])
    document = {"id": "8f0f", "idResource": "1c7e", "selector": "A4", "data": '{"status": "ready"}'}
    read = {
        "description": "The data; with `lock=1` the lock is the client's.",
        "headers": _headers([*_HELD, "ETag"]),
        "content": {
            JSON: {
                "schema": {
                    "anyOf": [ref("schemas", "Document"), {"description": "With `raw=1`: the stored JSON itself."}]
                },
                "examples": {"document": {"value": document}, "raw": {"value": {"status": "ready"}}},
            }
        },
    }
    queued = _answer(
        "Someone else has the lock; the ticket is the place in the queue.",
        "Queued",
        {"unavailable": True, "position": 2},
        headers=_QUEUED,
    )
    refused = [ResourceNotFound, TicketEnded, PreconditionFailed, NotHolder, TicketRequired]
    get = _operation(
        "readData",
        "Read, and take or keep the lock",
        {"200": read, "202": queued, "304": unmodified},
        [ResourceNotFound, DataNotFound, Deadlock, TicketEnded],
        parameters=("lock", "raw", "wait", "Prefer", "ticket", "holds", "owner", "Idempotency-Key", "If-None-Match"),
    )
    head = _operation(
        "readData",
        "Look for data, without the lock",
        {"200": _answer("There is data.", headers=["ETag"]), "304": unmodified},
        [ResourceNotFound, DataNotFound],
        parameters=("raw", "If-None-Match"),
    )
    return {
        "/resource/{resource}/{selector}": {
            "parameters": [ref("parameters", "resource"), ref("parameters", "selector")],
            "get": get,
            "head": _looked_at(head)["head"],
            "put": _operation(
                "writeData",
                "Write as the holder",
                {
                    "204": _answer(
                        "It is written, and the lease renewed or the lock released.", headers=["ETag", "x-lease"]
                    )
                },
                refused,
                parameters=("unlock", "neededTicket", "If-Match", "absent"),
                body=_body({"description": "Any JSON, kept byte for byte."}, {"status": "ready"}),
            ),
            "delete": _operation(
                "deleteData",
                "Delete the data as the holder",
                {"204": _answer("There is none any more.", headers=["x-lease"])},
                refused,
                parameters=("unlock", "neededTicket", "If-Match"),
            ),
        }
    }


def _locks() -> dict[str, Part]:
    here = [ref("parameters", "resource"), ref("parameters", "selector")]

    def lock(name: str) -> Part:
        return _operation(
            name,
            "Take or keep the lock without reading",
            {
                "200": _answer("The lock is the client's.", "Locked", {"locked": True}, headers=_HELD),
                "202": _answer("Someone else has it.", "NotLocked", {"locked": False, "position": 1}, headers=_QUEUED),
            },
            [ResourceNotFound, Deadlock, TicketEnded],
            parameters=("wait", "Prefer", "ticket", "holds", "owner", "Idempotency-Key"),
        )

    def unlock(name: str) -> Part:
        return _operation(
            name,
            "Release the lock, or give up the place in the queue",
            {"200": _answer("It is done, now or before.", "Unlocked", {"unlocked": True})},
            [ResourceNotFound, TicketRequired],
            parameters=["neededTicket"],
        )

    state = {
        "resource": "printer",
        "selector": "A4",
        "locked": True,
        "holder": {"owner": "ci-7", "key": "ci", "fence": 12, "held": 12, "left": 287, "claimed": True},
        "waiting": 1,
        "queue": [{"position": 1, "owner": "ci-8", "key": "ci", "waited": 3, "left": 56}],
        "next": None,
    }
    return {
        "/resource/{resource}/{selector}/lock": {
            "parameters": here,
            **_looked_at(
                _operation(
                    "lockState",
                    "Who has the lock, and who waits for it",
                    {"200": _answer("The holder, and a part of the queue.", "LockState", state)},
                    [ResourceNotFound],
                    parameters=("position", "limit"),
                )
            ),
            "post": lock("lock"),
            "put": lock("lockByPut"),
            "delete": _operation(
                "breakLock",
                "Take the lock from its holder",
                {"204": _answer("The next in line has it.")},
                [ResourceNotFound, FenceMismatch],
                parameters=["fence", "reason", "owner"],
            ),
        },
        "/resource/{resource}/{selector}/unlock": {
            "parameters": here,
            "post": unlock("unlock"),
            "put": unlock("unlockByPut"),
        },
    }


def _history() -> dict[str, Part]:
    page = _answer("A page, the newest first.", "Events", {"events": [_EVENT], "next": None})
    frame = f"id: 1234\nevent: grant\ndata: {json.dumps(_EVENT)}\n\n"
    return {
        "/resource/{resource}/{selector}/events": {
            "parameters": [ref("parameters", "resource"), ref("parameters", "selector")],
            **_looked_at(
                _operation("events", "What has happened at a selector", {"200": page}, parameters=("before", "limit"))
            ),
        },
        "/events": _looked_at(
            _operation(
                "stream",
                "What happens, live",
                {"200": _text("Server-sent events, until either side goes.", text__event_stream=frame)},
                parameters=("prefix", "Last-Event-ID"),
            )
        ),
    }


def _server() -> dict[str, Part]:
    away = _failure(
        "The store cannot be used; the code says what is wrong with it.",
        {f"store_{fault}": "The store cannot be used at present." for fault in _FAULTS},
        ["Retry-After"],
    )
    figures = "resourced_locks_held 3\n"
    return {
        "/health": _looked_at(
            _operation(
                "health",
                "Whether the server can do its work",
                {"200": _answer("It can.", "Health", {"health": "ok"}), "503": away},
                open_to_all=True,
            )
        ),
        "/metrics": _looked_at(
            _operation(
                "metrics",
                "Figures for Prometheus",
                {"200": _text("All of them.", text__plain=figures, application__openmetrics_text=f"{figures}# EOF\n")},
            )
        ),
        "/": _looked_at(
            _operation(
                "front",
                "The way to the page, for a browser",
                {
                    "302": _answer("It is at `/ui`.", headers=["Location"]),
                    "404": _failure(
                        "The client does not ask for HTML.", {"unknown_path": "There is nothing at this path."}
                    ),
                },
                open_to_all=True,
            )
        ),
        "/ui": _looked_at(
            _operation(
                "page",
                "A page to look at all this",
                {
                    "200": {**_text("The page.", text__html="<!doctype html>"), "headers": _headers(["ETag"])},
                    "304": _answer("The client has the page already.", headers=["ETag"]),
                },
                parameters=["If-None-Match"],
                open_to_all=True,
            )
        ),
        "/openapi.json": _looked_at(
            _operation(
                "description",
                "This description",
                {
                    "200": {
                        "description": "It.",
                        "content": {JSON: {"schema": {"type": "object"}, "example": {"openapi": "3.1.0"}}},
                    }
                },
                open_to_all=True,
            )
        ),
    }


def description() -> Part:
    """Describe the whole API: every path, method, status, header and body, each with an example."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "resourced",
            "version": version("resourced"),
            "summary": "Named things that many programs share, one at a time",
            "description": "A client creates a resource, takes its turn at a selector of it with a ticket, reads the JSON that is "
            "kept there, writes it while it holds the lock, and lets go. Every error is JSON, with a sentence for people and a "
            "code for programs. A method that a path does not know is answered 405 with `Allow`.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}, {"bearer": []}],
        "paths": _resources() | _data() | _locks() | _history() | _server(),
        "components": {
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
            "parameters": PARAMETERS,
            "headers": HEADERS,
            "schemas": SCHEMAS,
        },
    }


class Described(Group):
    """The description of the API, at ``/openapi.json``."""

    def __init__(self) -> None:
        self._text = json.dumps(description(), ensure_ascii=False).encode()

    @route("/openapi.json", ["GET"])
    async def describe(self, request: Request) -> bytes:
        """Describe the API to a machine."""
        return sent(request, 200, self._text)
