"""
The API as a machine reads it, at ``/openapi.json``.

``openapi.yaml`` is the document. This module adds what is the same for many operations. Each GET has a HEAD, and the errors come
from the table by which the server answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any, Final

import yaml

from resourced.api.base import STATUSES, Group, route, status_of
from resourced.api.owners import locator
from resourced.api.passing import NODE_ROUTE
from resourced.api.responses import sent
from resourced.http.request import EdgeRequest
from resourced.passing.headers import NODE

Part = Mapping[str, Any]

#: The header that goes with each error of a status.
_WITH: Final[Mapping[int, str]] = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}

#: The codes of errors: what any operation may answer, what one that needs a key may, and what one with a body may.
_ANY: Final = ("bad_request", "store_unavailable", "overloaded")
_WITH_KEY: Final = ("unauthorized", "forbidden_resource", "quota", "not_owner", "owner_away")
_WITH_BODY: Final = ("body_too_large",)


@cache
def description() -> Part:
    """
    Describe the whole API: every path, method, status, header and body, each with an example.

    :return: the OpenAPI document; it is shared and must not be changed.
    """
    text = files(__package__).joinpath("openapi.yaml").read_text(encoding="utf-8")
    # Both are safe. The one in C is not everywhere, and takes a tenth of the time.
    written = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    sentences, always = written.pop("x-errors"), written.pop("x-always")
    written["info"]["version"] = version("resourced")
    for path, item in written["paths"].items():
        for method in {"get", "head", "post", "put", "patch", "delete"} & set(item):
            answers = _completed(item[method], sentences)
            if path == NODE_ROUTE or locator(path, method.upper()) is not None:
                answers = _of_owner(answers)
            item[method] = {
                **{key: value for key, value in item[method].items() if key != "x-errors"},
                # The others are answered before anybody knows what a request is about.
                "responses": dict(sorted({**always, **answers}.items())),
            }
        if "get" in item:
            item["head"] = _without_bodies(item.get("head") or _as_head(item["get"]))
    return written  # type: ignore[no-any-return]


def _completed(operation: Part, sentences: Mapping[str, str]) -> dict[str, Part]:
    """Return the answers of an operation, also those that are not written for it. What is written for a status counts more."""
    codes = [_ANY[0], *operation.get("x-errors", ()), *_ANY[1:]]
    if operation.get("security") != []:
        codes += _WITH_KEY
    if "requestBody" in operation:
        codes += _WITH_BODY
    responses = _failures(codes, sentences)
    for status, answer in operation["responses"].items():
        responses[status] = {**responses.get(status, {}), **answer}
    return responses


def _of_owner(answers: Mapping[str, Part]) -> dict[str, Part]:
    """Return answers with the header that says which node has given them."""
    named = {NODE.decode(): {"$ref": f"#/components/headers/{NODE.decode()}"}}
    return {status: {**answer, "headers": {**answer.get("headers", {}), **named}} for status, answer in answers.items()}


def _failures(codes: Iterable[str], sentences: Mapping[str, str]) -> dict[str, Part]:
    """Return the answers, by status, that the errors of some codes become."""
    kinds = {kind.code: kind for kind, _ in STATUSES}
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(status_of(kinds[code]), []).append(code)
    return {
        str(status): {
            "description": " Or: ".join((kinds[code].__doc__ or "").strip().splitlines()[0] for code in same),
            "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in [_WITH.get(status)] if name},
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/Error"},
                    "examples": {code: {"value": {"error": sentences[code], "code": code}} for code in same},
                }
            },
        }
        for status, same in by_status.items()
    }


def _as_head(get: Part) -> Part:
    return {**get, "operationId": f"{get['operationId']}Head"}


def _without_bodies(head: Part) -> Part:
    responses = {
        status: {key: value for key, value in answer.items() if key != "content"}
        for status, answer in head["responses"].items()
    }
    return {**head, "responses": responses}


@cache
def _text() -> bytes:
    return json.dumps(description(), ensure_ascii=False).encode()


class Described(Group):
    """The description of the API, at ``/openapi.json``."""

    def __init__(self) -> None:
        self._text = _text()

    @route("/openapi.json", ["GET"])
    async def describe(self, request: EdgeRequest) -> bytes:
        """Describe the API to a machine."""
        return sent(request, 200, self._text)
