"""What a key may do, on the wire."""

from __future__ import annotations

import pytest

from resourced.auth.keys import Identity, Permission, digest_of
from tests.assembled import LOCK, READ, WRITE
from tests.wire import WebTests

pytestmark = [pytest.mark.trial, pytest.mark.reference_path]

NARROW = {digest_of(b"narrow-key"): Identity("narrow", Permission.READ | Permission.LOCK, ("plotter", "x"), priority=5)}


class KeyTests(WebTests):
    def test_what_it_may(self):
        """A key learns its name, what it may do, and to which resources; never anything of another one."""
        self.start(adopted=NARROW)
        for key, expected in (
            (READ, ("default", ["read"], [], 0)),
            (LOCK, ("default", ["read", "lock"], [], 0)),
            (WRITE, ("default", ["read", "lock", "write"], [], 0)),
            ("narrow-key", ("narrow", ["read", "lock"], ["plotter", "x"], 5)),
        ):
            answer = self.ask("GET", "/key", key=key)
            self.assertEqual(answer.status, 200)
            self.assertEqual(
                answer.json, dict(zip(("name", "permissions", "prefixes", "priority"), expected, strict=True))
            )
        self.assertRefused(400, "unknown_argument", self.ask("GET", "/key?key=default"))
