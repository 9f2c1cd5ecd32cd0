"""A short run of each attack, on the path that the daemon takes here; ``python -m tests.attack`` takes both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attack.attacks import ATTACKS, Attack, cost_of
from tests.daemon import Daemon


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("attack")) as daemon:
        yield daemon


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attack(attack: Attack, daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> None:
    """It takes no more memory than its number says, and others are served meanwhile."""
    if attack.environ:
        with Daemon(tmp_path_factory.mktemp("attack"), attack.environ) as own:
            cost = cost_of(attack, own)
    else:
        cost = cost_of(attack, daemon)
    assert cost.memory <= attack.memory, cost
