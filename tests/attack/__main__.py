"""
Runs every attack on both paths through the server, and prints what each has cost.

``--resourced PATH`` attacks another version, such as one that is installed somewhere else; ``--plain`` starts it without settings and
quotas of its own for an attack, which an earlier one may not know.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.attack.measure import Attack, Cost, cost_of
from tests.attack.strangers import STRANGERS
from tests.attack.tenants import TENANTS
from tests.preloaded import RESOURCED


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attack")
    parser.add_argument("--resourced", default=RESOURCED[0], metavar="PATH", help="what is attacked")
    parser.add_argument("--plain", action="store_true", help="without settings for an attack")
    parser.add_argument("--only", default="", metavar="WORD", help="only attacks with this in their names")
    given = parser.parse_args()
    failed = 0
    print(
        f"{'attack':27} {'path':9} {'MiB before':>10} {'peak':>7} {'may take':>8} {'rows':>6} {'may':>6} {'CPU s':>6}"
    )
    for attack in (*STRANGERS, *TENANTS):
        for path, reference in (("fast", "0"), ("reference", "1")):
            if given.only in attack.name:
                cost = _tried(attack, reference, given.resourced, plain=given.plain)
                failed += bool(cost.wrong)
                print(
                    f"{attack.name:27} {path:9} {cost.before:10.1f} {cost.after:7.1f} {attack.memory:8} "
                    f"{cost.rows:6} {attack.rows:6} {cost.seconds:6.2f} {cost.wrong}",
                    flush=True,
                )
    return min(failed, 1)


def _tried(attack: Attack, reference: str, resourced: str, *, plain: bool) -> Cost:
    if plain:
        attack = replace(attack, environ={}, keys=re.sub("rate = .*", "", attack.keys))
    with tempfile.TemporaryDirectory() as folder:
        daemon = attack.daemon(Path(folder), RESOURCED_REFERENCE_PATH=reference)
        daemon.command = (resourced,)
        with daemon:
            return cost_of(attack, daemon)


sys.exit(main())
