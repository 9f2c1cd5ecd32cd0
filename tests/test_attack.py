"""A short run of each attack, on the path that the daemon takes here; ``python -m tests.attack`` takes both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.attack.measure import Attack, cost_of
from tests.attack.strangers import STRANGERS
from tests.attack.tenants import TENANTS
from tests.daemon import Daemon


@pytest.fixture(scope="module")
def daemon_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Attack], Daemon]]:
    """Start the daemon of an attack; those that ask for the same settings share one."""
    running: dict[object, Daemon] = {}
    with ExitStack() as stack:

        def started(attack: Attack) -> Daemon:
            settings = (*sorted(attack.environ.items()), attack.keys)
            if settings not in running:
                running[settings] = stack.enter_context(attack.daemon(tmp_path_factory.mktemp("attack")))
            return running[settings]

        yield started


@pytest.mark.parametrize("attack", [*STRANGERS, *TENANTS], ids=lambda attack: attack.name)
def test_attack(attack: Attack, daemon_of: Callable[[Attack], Daemon]) -> None:
    """It takes no more memory and rows than its numbers say, and others are served meanwhile."""
    cost = cost_of(attack, daemon_of(attack))
    assert not cost.wrong, cost
