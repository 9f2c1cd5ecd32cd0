"""Whoever looks after the units: changes their cards, takes them out of service and back, and breaks locks."""

from __future__ import annotations

import json
from typing import Final

from tests.torture.asking import Asker
from tests.torture.board import Phase
from tests.torture.record import Kind

#: The units, and the tags that each has in the beginning and in the end.
UNITS: Final = {
    "rack/a": ("x", "y"),
    "rack/b": ("x",),
    "rack/c": ("y",),
    "rack/d": ("x", "z"),
    "bench/1": (),
    "bench/2": ("x",),
}


class Steward(Asker):
    """It does one thing to one unit at a time. In the end it brings all units back, until nobody wants anything any more."""

    def _turn(self) -> bool:
        self._round += 1
        self._ticket = ""
        if self._last:
            for selector, tags in UNITS.items():
                while not self._give_card(selector, tags, ""):
                    self._still_wanted()
                    self._rest(0.02, 0.2)
            self._rest(0.1, 0.2)
            return self._board.done_before(self._settings.index)
        self._show(Phase.WRITING)
        selector = self._dice.choice(sorted(UNITS))
        tags = self._dice.choice([UNITS[selector], UNITS[selector], *UNITS.values()])
        self._dice.choice(
            [
                lambda: self._give_card(selector, UNITS[selector], ""),
                lambda: self._give_card(selector, UNITS[selector], ""),
                lambda: self._give_card(selector, tags, ""),
                lambda: self._give_card(selector, tags, "on the shelf"),
                lambda: self._take_card(selector),
                lambda: self._break(selector),
            ]
        )()
        self._show(Phase.RESTING)
        self._rest(0.05, 0.4)
        return True

    def _give_card(self, selector: str, tags: tuple[str, ...], out: str) -> bool:
        body = json.dumps({"tags": tags, "out": out or None}).encode()
        told, _ = self._ask(self._sent(Kind.CARD, selector, tags=tags, out=out), "PATCH", "", body=body)
        return told.status == 200

    def _take_card(self, selector: str) -> None:
        self._ask(self._sent(Kind.CARD, selector, out=""), "DELETE", "/card")

    def _break(self, selector: str) -> None:
        _, content = self._ask(self._sent(Kind.READ, selector), "GET", "/lock")
        holder = content.get("holder")
        if holder:
            fence = holder["fence"]
            self._ask(self._sent(Kind.BREAK, selector, fence=fence), "DELETE", f"/lock?fence={fence}")
