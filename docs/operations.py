"""
The reference of the HTTP API, made from its description: a directive of Sphinx, ``operations``.

Each path has a section with its methods, and each schema one with its fields.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from docs.tables import escaped
from resourced.api.openapi import description

Part = Mapping[str, Any]

METHODS = ("get", "head", "post", "put", "patch", "delete")


def operations_as_text(document: Part) -> str:
    """Describe every path and every schema of an OpenAPI document in reStructuredText."""
    lines: list[str] = []
    for path, item in document["paths"].items():
        lines += _section(f"``{path}``", "-")
        for method in METHODS:
            if method in item and not (method == "head" and item[method]["summary"] == item["get"]["summary"]):
                shared = item.get("parameters", [])
                lines += [f"``{method.upper()}``", *_indented(_operation(document, item[method], shared)), ""]
                if method != "head":
                    command = command_of(document, path, method, item[method], shared)
                    lines += ["   .. code-block:: shell", "", *_indented(_indented(command)), ""]
    lines += _section("Objects", "-")
    for name, schema in document["components"]["schemas"].items():
        lines += [f"{name}", *_indented(_schema(schema)), ""]
    return "\n".join(lines)


def _operation(document: Part, operation: Part, shared: list[Part]) -> Iterator[str]:
    """Return the summary of an operation, what is sent, what is answered, and its errors."""
    yield from (f"{operation['summary']}.", "")
    if operation.get("security") == []:
        yield from ("It needs no key.", "")
    for pointer in (*shared, *operation.get("parameters", [])):
        given = _pointed(document, pointer)
        needed = ", required" if given["required"] and given["in"] != "path" else ""
        yield f"* ``{given['name']}`` ({given['in']}{needed}): {_prose(given['description'])}"
    yield ""
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield from (f"Body, {kind}: ``{_compact(content)}``", "")
    errors: list[str] = []
    for status, answer in operation["responses"].items():
        if status >= "400":
            errors.append(" ".join((status, ", ".join(f"``{code}``" for code in _codes(answer)))).strip())
            continue
        yield f"``{status}``: {_prose(answer['description'])}"
        yield from (
            (f"Headers: {', '.join(f'``{name}``' for name in answer['headers'])}.",) if answer.get("headers") else ()
        )
        for kind, content in answer.get("content", {}).items():
            reference = content["schema"].get("$ref", "").rpartition("/")[2]
            yield f"{kind}{f', {reference}' if reference else ''}: ``{_compact(content)}``"
        yield ""
    yield f"Errors: {'; '.join(errors)}."


def command_of(document: Part, path: str, method: str, operation: Part, shared: list[Part]) -> list[str]:
    """Return how a shell asks for it, with the examples of the description: the lines of one command of curl."""
    given = [_pointed(document, pointer) for pointer in (*shared, *operation.get("parameters", []))]
    needed = {(each["in"], each["name"]): str(each["example"]) for each in given if each["required"]}
    for (kind, name), example in needed.items():
        if kind == "path":
            path = path.replace(f"{{{name}}}", example)
    query = "&".join(f"{name}={example}" for (kind, name), example in needed.items() if kind == "query")
    words = [] if method == "get" else [f"-X {method.upper()}"]
    # Some shells look for files where a question mark stands free.
    words.append(f"'localhost:9501{path}?{query}'" if query else f"localhost:9501{path}")
    words += [] if operation.get("security") == [] else ['-H "x-api-key: $KEY"']
    words += ['-H "x-ticket: $TICKET"'] if ("header", "x-ticket") in needed else []
    body = operation.get("requestBody", {})
    if body.get("required") or path == "/lock":
        words.append(f"-d '{_compact(body['content']['application/json'])}'")
    lines = ["curl"]
    for word in words:
        if len(lines[-1]) + len(word) > 100:
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += f" {word}"
    return lines


def _codes(answer: Part) -> list[str]:
    """Return the codes of an answer that is an error. That to a HEAD has none."""
    return [code for content in answer.get("content", {}).values() for code in content["examples"]]


def _schema(schema: Part) -> Iterator[str]:
    yield from (_prose(schema.get("description", "What is sent.")), "")
    for name, field in schema.get("properties", {}).items():
        optional = "" if name in schema.get("required", ()) else " (optional)"
        yield f"* ``{name}``{optional}: {_type(field)}. {_prose(field.get('description', ''))}"
    if "properties" not in schema:
        yield f"{_type(schema)}."


def _type(schema: Part) -> str:
    """Say in a few words what a value may be."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "const" in schema:
        return f"``{json.dumps(schema['const'])}``"
    if "enum" in schema:
        return ", ".join(f"``{value}``" for value in schema["enum"])
    if "oneOf" in schema:
        return " or ".join(map(_type, schema["oneOf"]))
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}"
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    least, most = schema.get("minimum"), schema.get("maximum")
    bounds = "" if least is None else f" from {least}" + ("" if most is None else f" to {most}")
    return " or ".join(kinds) + bounds


def _compact(content: Part) -> str:
    """Return the example of a body on one line; of several, the first."""
    example = content["example"] if "example" in content else next(iter(content["examples"].values()))["value"]
    text = example if isinstance(example, str) else json.dumps(example)
    return " ".join(text.split())


def _pointed(document: Part, pointer: Part) -> Part:
    _, _, kind, name = pointer["$ref"].split("/")
    return document["components"][kind][name]  # type: ignore[no-any-return]


def _prose(text: str) -> str:
    """Return Markdown's code as that of reStructuredText."""
    return escaped(re.sub(r"`(.+?)`", r"``\1``", text))


def _section(title: str, line: str) -> list[str]:
    return [title, line * len(title), ""]


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"   {line}" if line else "" for line in lines)


class _Operations(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(operations_as_text(description()), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("operations", _Operations)
    return {"parallel_read_safe": True}
