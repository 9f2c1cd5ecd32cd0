"""The judge of the torture for requests for several things: it finds what cannot be true of a pool, and nothing else."""

from __future__ import annotations

from math import inf
from typing import Any, Self

import pytest

from tests.judged import JudgedHistory
from tests.torture.history import Rules, Value, check
from tests.torture.pool_history import CardKept, check_pools
from tests.torture.record import LOST, Kind, Op, Sent, Told

UNITS = {"rack/a": ("x", "y"), "rack/b": ("x",), "bench/1": ()}
CARDS = {selector: CardKept(frozenset(tags), "") for selector, tags in UNITS.items()}
LEASE = 3
RULES = Rules({"rack": LEASE, "bench": LEASE}, patience=1.0)
TWO = (("rack", "", ["x"], 2),)
ONE = (("rack", "", ["x"], 1),)
ALL = (("rack", "", ["x"], 0),)
BOTH: Any = (("rack", "a", [], 1), ("bench", "1", [], 1))


class History(JudgedHistory):
    """What some clients of a pool asked and were told."""

    def __init__(self) -> None:
        super().__init__()
        self.cards = dict(CARDS)
        self.values: dict[str, Value] = {}

    def add(self, kind: Kind, client: str, sent: float, told: float, status: int, asked: Any, **answer: Any) -> Self:
        number = len(self.ops)
        selector = asked.pop("selector", "")
        answer = {"ticket": client, "lease": LEASE, **answer} if kind in {Kind.LOCK, Kind.SEVERAL} else answer
        self.ops.append(
            Op(
                Sent(client, number, 1, kind, selector, sent, asked.pop("ticket", client), **asked),
                Told(number, told, status, **answer),
            )
        )
        return self

    def got(
        self, client: str, sent: float, told: float, wants: Any, *units: tuple[int, str, int], **asked: Any
    ) -> Self:
        got = [(want, selector, fence, "") for want, selector, fence in units]
        return self.add(Kind.SEVERAL, client, sent, told, 200, {"wants": wants, **asked}, got=got)

    def waits(self, client: str, sent: float, told: float, wants: Any, **asked: Any) -> Self:
        return self.add(Kind.SEVERAL, client, sent, told, 202, {"wants": wants, **asked})

    def ended(self, client: str, sent: float, told: float, left: list[str] | None = None) -> Self:
        return self.add(Kind.SEVERAL, client, sent, told, 410, {}, left=left)

    def gave_back(self, client: str, sent: float, told: float, *, had: bool = True) -> Self:
        return self.add(Kind.GIVE_BACK, client, sent, told, 200, {"releases": True}, released=had)

    def lock(self, client: str, selector: str, sent: float, told: float, fence: int) -> Self:
        status = 404 if fence else 202
        return self.add(Kind.LOCK, client, sent, told, status, {"selector": selector, "reads": True}, fence=fence)

    def unlock(self, client: str, selector: str, sent: float, told: float, fence: int, out: str | None = None) -> Self:
        asked = {"selector": selector, "fence": fence, "releases": True, "out": out}
        return self.add(Kind.RELEASE, client, sent, told, 200, asked, released=True)

    def card(self, selector: str, sent: float, told: float, tags: Any, out: str = "", status: int = 200) -> Self:
        return self.add(Kind.CARD, "s", sent, told, status, {"selector": selector, "tags": tags, "out": out})

    def breaks(self, selector: str, sent: float, told: float, fence: int, status: int = 204) -> Self:
        return self.add(Kind.BREAK, "s", sent, told, status, {"selector": selector, "fence": fence})

    def write(self, client: str, selector: str, sent: float, told: float, fence: int) -> Self:
        name = f"{client}{len(self.ops)}"
        self.values[selector] = Value(name, 1)
        asked = {"selector": selector, "fence": fence, "write": name, "counter": 1, "lease": LEASE}
        return self.add(Kind.WRITE, client, sent, told, 204, asked)

    def judge(self) -> list[str]:
        return [
            *check(self.ops, self.values, RULES),
            *check_pools(self.ops, UNITS, self.cards, RULES.patience),
        ]


@pytest.fixture
def history() -> History:
    return History()


class TestNothingWrong:
    def test_one_after_the_other(self, history):
        """Two want the same two units, and have them in turn."""
        history.got("a", 0.0, 0.1, TWO, (0, "rack/a", 1), (0, "rack/b", 2)).waits("b", 0.05, 0.1, TWO)
        history.gave_back("a", 0.2, 0.3).got("b", 0.2, 0.4, TWO, (0, "rack/a", 3), (0, "rack/b", 4)).fine()

    def test_break_takes_one(self, history):
        """What is left can be used on, and what was taken belongs to the next one."""
        history.got("a", 0.0, 0.1, BOTH, (0, "rack/a", 1), (1, "bench/1", 2)).breaks("rack/a", 0.2, 0.3, 1)
        history.lock("b", "rack/a", 0.1, 0.4, 3).ended("a", 0.5, 0.6, ["bench/1"]).gave_back("a", 0.7, 0.8).fine()

    def test_change_of_a_card_on_its_way(self, history):
        """Whoever gets a unit while its card changes may have asked for either."""
        history.card("rack/b", 0.0, 0.5, ("y",)).got("a", 0.1, 0.2, TWO, (0, "rack/a", 1), (0, "rack/b", 2))
        history.cards["rack/b"] = CardKept(frozenset("y"), "")
        history.fine()

    def test_change_that_was_not_answered(self, history):
        """It may have been done or not."""
        history.card("rack/b", 0.0, inf, ("y",), status=LOST).got("a", 9.0, 9.1, ONE, (0, "rack/b", 2)).fine()

    def test_younger_one_with_what_the_older_one_does_not_want(self, history):
        """That is no overtaking."""
        history.got("a", 0.0, 0.1, ONE, (0, "rack/b", 1)).waits("b", 0.2, 0.3, TWO)
        history.lock("c", "bench/1", 0.4, 0.5, 2).waits("b", 0.6, 0.7, TWO).fine()

    @pytest.mark.parametrize(("polite", "priority"), [(True, 0), (False, -2)])
    def test_older_one_that_gives_way(self, history, polite, priority):
        """Whoever yields or has a lower priority may be overtaken."""
        history.waits("b", 0.2, 0.3, TWO, yields=polite, priority=priority).lock("c", "rack/a", 0.4, 0.5, 2)
        history.waits("b", 0.6, 0.7, TWO, yields=polite, priority=priority).fine()


class TestPools:
    def test_part(self, history):
        """Nobody gets a part of what it wants."""
        history.got("a", 0.0, 0.1, TWO, (0, "rack/a", 1)).wrong("wants")

    def test_wrong_tags(self, history):
        """Nobody gets what it did not ask for."""
        history.got("a", 0.0, 0.1, (("rack", "", ["y"], 1),), (0, "rack/b", 1)).wrong("wants")

    def test_wrong_name(self, history):
        """Nobody gets another unit than the one it named."""
        history.got("a", 0.0, 0.1, BOTH, (0, "rack/b", 1), (1, "bench/1", 2)).wrong("wants")

    def test_unit_twice(self, history):
        """Two units are two."""
        history.got("a", 0.0, 0.1, TWO, (0, "rack/a", 1), (0, "rack/a", 1)).wrong("got a unit twice")

    def test_not_all(self, history):
        """All are all."""
        history.got("a", 0.0, 0.1, ALL, (0, "rack/a", 1)).wrong("wants all of")

    def test_two_holders(self, history):
        """Nobody has a unit while somebody else may think that it has it."""
        history.got("a", 0.0, 0.1, TWO, (0, "rack/a", 1), (0, "rack/b", 2)).lock("b", "rack/b", 0.0, 1.0, 3)
        history.wrong("rack/b: a with fence 2 and b with fence 3 both held it")

    def test_use_of_one_unit_renews_the_others(self, history):
        """One lease for all of them."""
        history.got("a", 0.0, 0.1, TWO, (0, "rack/a", 1), (0, "rack/b", 2)).write("a", "rack/a", 2.0, 2.1, 1)
        history.lock("b", "rack/b", 2.5, 4.0, 3).wrong("both held it from 4.000 to 5.000")

    def test_lost_early(self, history):
        """Nobody loses what it has before its time."""
        history.got("a", 0.0, 0.1, ONE, (0, "rack/a", 1)).ended("a", 1.0, 1.1).wrong("lost the lock 1.900 s before")

    def test_nothing_to_give_back(self, history):
        """Nor is it told that there was nothing to give back."""
        history.got("a", 0.0, 0.1, ONE, (0, "rack/a", 1)).gave_back("a", 1.0, 1.1, had=False)
        history.wrong("lost the lock 1.900 s before")

    def test_place_lost_early(self, history):
        """Whoever waits keeps its place for its time."""
        history.waits("a", 0.0, 0.1, ONE).ended("a", 0.5, 0.6).wrong("lost its place 0.400 s")

    def test_unit_that_vanished(self, history):
        """Whoever asks again has all that it had."""
        history.got("a", 0.0, 0.1, TWO, (0, "rack/a", 1), (0, "rack/b", 2)).got("a", 0.2, 0.3, (), (0, "rack/a", 1))
        history.wrong("has fence None of rack/b, and had 2")

    @pytest.mark.parametrize("wants", [TWO, BOTH])
    def test_overtaken(self, history, wants):
        """Nobody who came later gets what an older request lacks."""
        history.waits("a", 0.0, 0.1, wants).lock("c", "rack/a", 0.2, 0.3, 1).waits("a", 0.4, 0.5, wants)
        history.wrong("rack/a: lock 1 of c at 0.200, which came after 0.200, has overtaken several 0 of a")

    def test_overtaken_by_several(self, history):
        """Whoever waits by name stands in the same order."""
        history.lock("a", "rack/a", 0.0, 0.1, 0).got("c", 0.2, 0.3, ONE, (0, "rack/a", 1))
        history.lock("a", "rack/a", 0.4, 0.5, 0).wrong("has overtaken lock 0 of a")

    def test_out_of_service(self, history):
        """Nobody gets a unit that is out of service."""
        history.card("rack/b", 0.0, 0.1, ("x",), "broken").got("a", 0.2, 0.3, ONE, (0, "rack/b", 1))
        history.cards["rack/b"] = CardKept(frozenset("x"), "broken")
        history.wrong("was granted while it was out of service")

    def test_given_back_as_broken(self, history):
        """Release and withdrawal are one step."""
        history.got("a", 0.0, 0.1, ONE, (0, "rack/b", 1)).unlock("a", "rack/b", 0.2, 0.3, 1, "broken")
        history.cards["rack/b"] = CardKept(frozenset("x"), "broken")
        history.lock("b", "rack/b", 0.4, 0.5, 2).wrong("was granted while it was out of service")

    def test_card_lost(self, history):
        """What was acknowledged of a card is kept."""
        history.card("rack/b", 0.0, 0.1, ("z",)).wrong("the card of rack/b says")

    def test_break_is_no_excuse_for_another_fence(self, history):
        """A break that was refused took nothing."""
        history.got("a", 0.0, 0.1, ONE, (0, "rack/a", 1)).breaks("rack/a", 0.2, 0.3, 1, 412)
        history.lock("b", "rack/a", 0.4, 0.5, 2).wrong("both held it")
