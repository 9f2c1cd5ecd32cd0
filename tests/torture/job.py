"""
One that wants several things at once: it counts in each of them, and gives them back one by one or together.

It trusts nobody either, and looks neither whether its lease is over nor whether it has what it asked for: others judge that.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from typing import Any, Final

from tests.torture.asking import Asker, GiveUp, kept_in
from tests.torture.board import Phase
from tests.torture.record import Kind, Told

Wants = tuple[tuple[str, str, list[str], int], ...]

#: What it may want: the resource, a selector or nothing, tags, and how many; 0 is all.
WANTS: Final[tuple[Wants, ...]] = (
    (("rack", "", ["x"], 1),),
    (("rack", "", ["x"], 2),),
    (("rack", "", ["y"], 2),),
    (("rack", "", ["x", "y"], 1),),
    (("rack", "", [], 3),),
    (("rack", "", [], 0),),
    (("rack", "a", [], 1), ("rack", "", ["x"], 1)),
    (("rack", "", ["x"], 1), ("bench", "", [], 1)),
    (("rack", "", ["y"], 1), ("rack", "", ["z"], 1), ("bench", "1", [], 1)),
    (("rack", "b", [], 1), ("bench", "2", [], 1)),
    (("bench", "2", [], 1), ("rack", "b", [], 1)),
)


@dataclass(slots=True)
class Having:
    """A unit that it thinks it has."""

    fence: int
    value: dict[str, Any]


class Job(Asker):
    """A client that wants several things at once."""

    def _turn(self) -> bool:
        self._begin()
        wants = self._dice.choice(WANTS)
        having, lease = self._acquire(wants)
        self._show(Phase.HOLDING)
        if self._chance(0.03):
            # Too long, on purpose.
            self._rest(0.5 * lease, 1.5 * lease)
        else:
            self._rest(0.0, 0.02)
        if self._chance(0.2):
            self._keep(having)
        written = all(self._work(selector, having, lease) for selector in sorted(having))
        if self._chance(0.03):
            # It forgets what it has, which has to end by itself.
            self._ticket = ""
            return written
        self._give_back()
        return written

    def _acquire(self, wants: Wants) -> tuple[dict[str, Having], int]:
        """Take everything; return the units and the lease."""
        self._show(Phase.ASKING)
        self._ticket = ""
        yields, priority = self._chance(0.2), self._dice.choice([0, 0, 0, -2])
        idempotency_key = self._new_key()
        enough = time.monotonic() + self._dice.uniform(0.5, 8.0)
        while True:
            self._still_wanted()
            told, content = self._ask_for(wants, yields, priority, idempotency_key)
            if told.status == 200:
                return {
                    f"{unit['resource']}/{unit['selector']}": Having(unit["fence"], kept_in(unit))
                    for unit in content["got"]
                }, told.lease
            if told.status == 202:
                self._queue(enough, self._give_back)
                continue
            if told.status == 410:
                # Without a ticket nothing was ever told, and what is left passes on after the claim window.
                if told.left is not None and self._ticket:
                    self._give_back()
                self._ticket = ""
                idempotency_key = self._new_key()
            elif told.status not in {409, 503} and told.status > 0:
                raise GiveUp
            self._rest(0.02, 0.2)

    def _new_key(self) -> str:
        # Without one, an answer that is lost leaves a request that nobody asks for any more.
        return secrets.token_hex(8) if self._manner.known else ""

    def _ask_for(self, wants: Wants, yields: bool, priority: int, idempotency_key: str) -> tuple[Told, dict[str, Any]]:
        waits = self._manner.waits
        patience = self._manner.patience + waits
        if waits and self._chance(0.05):
            # It hangs up while it waits.
            patience = self._dice.uniform(0.0, 0.3)
        headers = {"x-owner": self._settings.name, **({"prefer": f"wait={waits}"} if waits else {})}
        if priority:
            headers["x-priority"] = str(priority)
        if idempotency_key and not self._ticket:
            headers["idempotency-key"] = idempotency_key
        body = None
        if not self._ticket or self._chance(0.5):
            body = json.dumps({"want": [_spelled(*want) for want in wants], "yield": yields}).encode()
        sent = self._sent(Kind.SEVERAL, "", wants=wants, yields=yields, priority=priority)
        return self._ask(sent, "POST", "/lock", headers=headers, body=body, patience=patience)

    def _keep(self, having: dict[str, Having]) -> None:
        """Renew everything."""
        told, _ = self._ask(self._sent(Kind.SEVERAL, ""), "POST", "/lock")
        if told.status == 410:
            self._give_back()
            raise GiveUp
        if told.status == 200 and self._chance(0.3):
            for selector in sorted(having):
                self._ask(self._sent(Kind.READ, selector, reads=True), "GET", "?lock=0")

    def _work(self, selector: str, having: dict[str, Having], lease: int) -> bool:
        """Count in one unit, and now and then give it back by itself; return whether the value is known to be kept."""
        unit = having[selector]
        value = self._value_after(unit.fence, unit.value)
        at_once = self._manner.at_once and self._chance(0.5)
        for _ in range(20):
            told = self._write(selector, value, at_once=at_once, lease=lease)
            if told.status == 204:
                if not at_once and self._chance(0.2):
                    self._give_back_one(selector, unit.fence, "broken" if self._chance(0.3) else "")
                return True
            if told.status in {410, 423} or self._chance(0.3):
                return False
            self._rest(0.02, 0.2)
        return False

    def _give_back_one(self, selector: str, fence: int, broken: str) -> None:
        self._show(Phase.RELEASING)
        sent = self._sent(Kind.RELEASE, selector, fence=fence, releases=True, out=broken or None)
        body = json.dumps({"out": broken}).encode() if broken else None
        self._ask(sent, "POST", "/unlock", body=body)

    def _give_back(self) -> None:
        """Give everything back, and forget the ticket."""
        self._show(Phase.RELEASING)
        for _ in range(10):
            told, _ = self._ask(self._sent(Kind.GIVE_BACK, "", releases=True), "POST", "/unlock")
            if told.status == 200 or self._chance(0.1):
                break
            self._rest(0.02, 0.3)
        self._ticket = ""


def _spelled(resource: str, selector: str, tags: list[str], count: int) -> dict[str, Any]:
    if selector:
        return {"resource": resource, "selector": selector}
    return {"resource": resource, "tags": tags, "count": count or "all"}
