"""The API's description says all that there is, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase

from resourced import tap
from resourced.api.base import STATUSES, Group, Routes, status_of
from resourced.api.openapi import description
from resourced.errors import EpochLost, ResourcedError

pytestmark = pytest.mark.trial


def references(part: Any) -> Iterator[str]:
    """Every part that is pointed to."""
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list | tuple):
        for value in part:
            yield from references(value)


class DescriptionTests(SynchronousTestCase):
    def setUp(self):
        self.description = json.loads(json.dumps(description()))
        self.operations = {
            (path, method.upper()): operation
            for path, item in self.description["paths"].items()
            for method, operation in item.items()
            if method != "parameters"
        }

    def test_every_route(self):
        """Each route of the daemon is described, with each of its methods, and no other."""
        self.assertTrue(tap)
        served = set()
        for group in (*Group.__subclasses__(), *Routes.__subclasses__()):
            for name in dir(group):
                pattern, methods = getattr(getattr(group, name), "rule", (None, ()))
                path = re.sub(r"<\w+:(\w+)>", r"{\1}", pattern or "")
                served |= {(path, method) for method in methods}
                served |= {(path, "HEAD") for method in methods if method == "GET"}
        # What the page is made of is for the page alone.
        served -= {("/ui/{file}", "GET"), ("/ui/{file}", "HEAD")}
        self.assertEqual(set(self.operations), served)

    def test_references(self):
        """Whatever is pointed to is there, and nothing is there for nobody."""
        known = {
            f"#/components/{kind}/{name}"
            for kind, parts in self.description["components"].items()
            if kind != "securitySchemes"
            for name in parts
        }
        self.assertEqual(set(references(self.description)), known)

    def test_names(self):
        """Each operation has a name of its own."""
        names = [operation["operationId"] for operation in self.operations.values()]
        self.assertEqual(len(set(names)), len(names))

    def test_path_parameters(self):
        """Each name in a path is described as such."""
        for path, item in self.description["paths"].items():
            named = [ref["$ref"].rpartition("/")[2] for ref in item.get("parameters", [])]
            self.assertEqual(named, re.findall(r"{(\w+)}", path))

    def test_examples(self):
        """Everything that is sent or answered has an example."""
        for where, operation in self.operations.items():
            bodies = [*operation["responses"].values(), operation.get("requestBody", {})]
            for body in bodies:
                for kind, content in body.get("content", {}).items():
                    self.assertTrue("example" in content or "examples" in content, f"{where} {kind}")
        for header in self.description["components"]["headers"].values():
            self.assertIn("example", header)
        for parameter in self.description["components"]["parameters"].values():
            self.assertIn("example", parameter)

    def test_what_always_may_happen(self):
        """Every operation says what becomes of a bad request and of a store that is away, and who may do it."""
        for (path, method), operation in self.operations.items():
            said = set(operation["responses"])
            self.assertTrue({"400", "408", "431", "503"} <= said, (path, method))
            self.assertEqual("401" in said, operation.get("security") != [], (path, method))
            self.assertEqual("413" in said, "requestBody" in operation, (path, method))

    def test_answering_node(self):
        """What one node decides about says which one has answered, be it an error; what each node can answer says nothing."""
        for (path, method), operation in self.operations.items():
            of_owner = "{resource}" in path or method + path in {"POST/lock", "POST/unlock", "POST/resource"}
            for status in ("200", "201", "204", "401", "503"):
                answer = operation["responses"].get(status)
                if answer is not None and not path.endswith("/events") and path != "/cluster/{node}":
                    self.assertEqual("x-resourced-node" in answer.get("headers", {}), of_owner, (path, method, status))

    def test_every_error(self):
        """Each kind of error that a client can meet is part of it, at its status."""
        for kind, _ in STATUSES:
            if kind not in {EpochLost, ResourcedError}:
                status = str(status_of(kind))
                said = json.dumps([operation["responses"].get(status) for operation in self.operations.values()])
                self.assertIn(f'"code": "{kind.code}"', said)

    def test_data(self):
        """What is written for the server alone does not go out, and HEAD answers what GET does, but for the body."""
        self.assertEqual([key for key in self.description if key.startswith("x-")], [])
        for (path, method), operation in self.operations.items():
            self.assertNotIn("x-errors", operation)
            if method == "HEAD":
                bodies = [answer for answer in operation["responses"].values() if "content" in answer]
                self.assertEqual(bodies, [], path)

    def test_version(self):
        """It is the description of this very version."""
        self.assertEqual(self.description["info"]["version"], version("resourced"))
