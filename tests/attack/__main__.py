"""Runs every attack on both paths through the server, and prints what each has cost."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.attack.attacks import ATTACKS, Attack, Cost, cost_of
from tests.daemon import Daemon


def main() -> int:
    failed = 0
    print(f"{'attack':30} {'path':10} {'MiB before':>10} {'at most':>8} {'may take':>8} {'CPU s':>6}")
    for attack in ATTACKS:
        for path, reference in (("fast", "0"), ("reference", "1")):
            cost, why = _tried(attack, reference)
            failed += bool(why)
            print(
                f"{attack.name:30} {path:10} {cost.before:10.1f} {cost.after:8.1f} {attack.memory:8} {cost.seconds:6.2f} {why}"
            )
    return min(failed, 1)


def _tried(attack: Attack, reference: str) -> tuple[Cost, str]:
    with (
        tempfile.TemporaryDirectory() as folder,
        Daemon(Path(folder), {**attack.environ, "RESOURCED_REFERENCE_PATH": reference}) as daemon,
    ):
        try:
            cost = cost_of(attack, daemon)
        except (AssertionError, OSError) as error:
            return Cost(0, 0, 0), f"let through: {error}"
        return cost, "" if cost.memory <= attack.memory else "takes too much"


sys.exit(main())
