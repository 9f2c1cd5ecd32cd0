"""Which key may do what, on the wire."""

from __future__ import annotations

import pytest

from tests.assembled import LOCK, READ, WRITE
from tests.wire import (
    A4,
    WebTests,
)

pytestmark = [pytest.mark.trial, pytest.mark.reference_path]


class RoleTests(WebTests):
    #: Each operation, with the keys that may do it.
    OPERATIONS = (
        ("GET", "/health", {"", "unknown", READ.upper(), READ, LOCK, WRITE}),
        ("POST", "/resource", {WRITE}),
        ("GET", "/key", {READ, LOCK, WRITE}),
        ("GET", A4, {LOCK, WRITE}),
        ("GET", f"{A4}?lock=1", {LOCK, WRITE}),
        ("GET", f"{A4}?lock=0", {READ, LOCK, WRITE}),
        ("HEAD", A4, {READ, LOCK, WRITE}),
        ("HEAD", f"{A4}?lock=1", {READ, LOCK, WRITE}),
        ("PUT", f"{A4}/lock", {LOCK, WRITE}),
        ("POST", f"{A4}/lock", {LOCK, WRITE}),
        ("PUT", A4, {WRITE}),
        ("PUT", f"{A4}?unlock=1", {WRITE}),
        ("PUT", f"{A4}/unlock", {READ, LOCK, WRITE}),
        ("POST", f"{A4}/unlock", {READ, LOCK, WRITE}),
    )

    def test_roles(self):
        """Each key may do what its role says; without a key, with an unknown one or a lesser one it is 401."""
        for method, path, allowed in self.OPERATIONS:
            for key in ("", "unknown", READ.upper(), READ, LOCK, WRITE):
                self.start()
                self.create()
                # A body is not even read without a key that is known.
                answer = self.ask(method, path, b"" if path == "/health" else b"{}", key=key)
                self.assertEqual(answer.status != 401, key in allowed, (method, path, key))

    def test_how_it_is_refused(self):
        """A refusal says how to come in, and nothing about what is there."""
        self.create()
        for key in ("", "unknown", READ):
            answer = self.ask("PUT", f"{A4}/lock", key=key)
            self.assertRefused(401, "unauthorized", answer)
            self.assertRegex(answer.headers["WWW-Authenticate"], r"\ABearer\b")
        self.assertEqual(self.store.places, {})

    def test_strangers_learn_nothing(self):
        """Without a key it is 401 for what is there as for what is not, and for good requests as for bad ones."""
        self.create()
        for method, path in (
            ("POST", "/resource"),
            ("GET", A4),
            ("GET", f"{A4}?lock=2"),
            ("GET", f"{A4}?lock=0&raw=x"),
            ("GET", "/resource/nothing/x"),
            ("GET", "/resource/./x"),
            ("PUT", A4),
            ("PUT", f"{A4}?unlock=2"),
            ("PUT", f"{A4}/lock?wait=x"),
            ("POST", f"{A4}/unlock"),
        ):
            self.assertRefused(401, "unauthorized", self.ask(method, path, b"no JSON", key=""))

    def test_bearer(self):
        """The key may come as a bearer token instead."""
        self.create()
        for value, status in (
            (f"Bearer {LOCK}", 200),
            (f"bearer {LOCK}", 200),
            (f"Bearer {READ}", 401),
            ("Bearer unknown", 401),
            ("Bearer", 401),
            (LOCK, 401),
            (f"Basic {LOCK}", 401),
        ):
            answer = self.ask("PUT", f"{A4}/lock", key="", headers=[("Authorization", value)])
            self.assertEqual(answer.status, status, value)
            if status == 200:
                self.unlock(answer.ticket)

    def test_two_keys(self):
        """A request with two keys in one header is not ours to judge; in two headers, x-api-key counts."""
        self.create()
        answer = self.ask("PUT", f"{A4}/lock", headers=[("X-API-Key", READ)])
        self.assertRefused(401, "unauthorized", answer)
        self.assertEqual(self.ask("PUT", f"{A4}/lock", headers=[("Authorization", f"Bearer {READ}")]).status, 200)

    def test_unset_role(self):
        """A role without a key is open to nobody."""
        self.start(resource_read_lock="", resource_write="")
        for key in ("", READ, LOCK, WRITE):
            self.assertRefused(401, "unauthorized", self.ask("POST", "/resource", b'{"name": "x"}', key=key))
        self.assertEqual(self.ask("GET", f"{A4}?lock=0", key=READ).status, 404)

    def test_one_key_in_two_roles(self):
        """A key in two roles may do what either may."""
        self.start(resource_read="same", resource_read_lock="other", resource_write="same")
        self.assertEqual(self.ask("POST", "/resource", b'{"name": "printer"}', key="same").status, 201)
        self.assertEqual(self.ask("PUT", f"{A4}/lock", key="same").status, 200)
        self.assertRefused(401, "unauthorized", self.ask("POST", "/resource", b'{"name": "x"}', key="other"))
