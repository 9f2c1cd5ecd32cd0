"""The fixtures of all tests of the command line."""

from __future__ import annotations

from tests.resourcectl import brief_fixture, ctl_fixture, daemon_fixture, name_fixture, renewed_fixture  # noqa: F401
