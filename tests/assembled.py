"""A server of the tests: what the daemon serves, with a ``Clock``, over a store in memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Any

from twisted.internet.task import Clock
from werkzeug.routing import Rule

from resourced.assembly import Server, Surroundings, assemble
from resourced.config import Config
from resourced.errors import EpochLost
from resourced.metrics.collect import Metrics
from resourced.storage.interface import Store

_compile = Rule._compile_builder
_compiled: dict[tuple[str, bool], Any] = {}


def _compile_once(rule: Rule, append_unknown: bool = True) -> Any:
    """
    Compile what makes the URL of a rule.

    Werkzeug does so for each rule of each server, and no server asks for it. Tests start servers by the hundred, so it was a third of their time.
    """
    key = (rule.rule, append_unknown)
    if key not in _compiled:
        _compiled[key] = _compile(rule, append_unknown)
    return _compiled[key]


Rule._compile_builder = _compile_once  # type: ignore[assignment]

#: The keys of a server of the tests.
READ, LOCK, WRITE = "read-key", "lock-key", "write-key"


def configured(**changes: Any) -> Config:
    """Return the settings of a server of the tests: the defaults but for what is said, and the three keys."""
    environ = {"RESOURCE_READ": READ, "RESOURCE_READ_LOCK": LOCK, "RESOURCE_WRITE": WRITE}
    return replace(Config.load({}, environ, "/"), **changes)


def surroundings(clock: Clock, leadership_lost: Callable[[EpochLost], None], **changes: Any) -> Surroundings:
    """Return what a server of the tests is in: one ``Clock``, tickets that are numbers in their order, and no other daemon."""
    numbers = itertools.count(1)
    around = Surroundings(
        clock=clock,
        elapsed=clock.seconds,
        leadership_lost=leadership_lost,
        wall=clock.seconds,
        new_ticket=lambda: f"{next(numbers):032x}",
        leader_lease=inf,
    )
    return replace(around, **changes)


def serve(config: Config, around: Surroundings, store: Store, metrics: Metrics | None = None) -> Server:
    """Put a server together that serves once its journal is open (``tests.leading``)."""
    server = assemble(config, around, store, metrics)
    server.site.serve(server.leaf)
    return server
