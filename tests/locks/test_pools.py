"""Who gets which units of a pool, and what that costs."""

from __future__ import annotations

from itertools import count

import pytest
from twisted.trial.unittest import SynchronousTestCase

from resourced.errors import Overloaded
from resourced.locks.pools.matching import PoolRequest
from resourced.locks.pools.offers import PoolGrant
from resourced.locks.pools.pool import FILTERS
from resourced.locks.pools.pools import Pools
from resourced.model import LockKey
from resourced.wants import ALL, Card, Want
from tests.counting import counted

pytestmark = pytest.mark.trial


def want(tags: str = "", count: int = 1, *, selector: str = "") -> Want:
    return Want("phones", selector, frozenset(tags.split()), count)


def got(grant: PoolGrant | None) -> str:
    """The selectors of a grant, in a word."""
    assert grant is not None
    return " ".join(key.selector for key, _ in grant.units)


class Case(SynchronousTestCase):
    """Pools of phones, and requests by name in a queue for each."""

    def setUp(self) -> None:
        self.queues: dict[str, list[int]] = {}
        self.held: set[str] = set()
        self.pools = Pools(
            lambda key: min(self.queues.get(key.selector, ()), default=None),
            lambda key, rank: sum(other < rank for other in self.queues.get(key.selector, ())),
            lambda key: key.selector in self.held,
        )
        self.ranks = count(1)

    def card(self, selector: str, tags: str = "", out: str | None = None) -> list[PoolGrant]:
        return self.pools.put_card(LockKey("phones", selector), Card(frozenset(tags.split()), out=out))

    def ask(self, *wants: Want, yields: bool = False, rank: int = 0) -> tuple[PoolRequest, PoolGrant | None]:
        request = PoolRequest(rank or next(self.ranks), wants, yields=yields)
        return request, self.pools.enter(request)

    def granted(self, *wants: Want) -> str:
        return got(self.ask(*wants)[1])

    def waits(self, *wants: Want, yields: bool = False, rank: int = 0) -> PoolRequest:
        request, grant = self.ask(*wants, yields=yields, rank=rank)
        self.assertIsNone(grant)
        return request

    def free(self, selector: str) -> list[tuple[PoolRequest | None, str]]:
        return [(grant.request, got(grant)) for grant in self.pools.freed(LockKey("phones", selector))]

    def by_name(self, selector: str) -> bool:
        """Ask for a unit by name, and wait for it if it is not to be had."""
        key, rank = LockKey("phones", selector), next(self.ranks)
        if self.pools.ask(key, rank):
            return True
        self.pools.wait(key)
        self.queues.setdefault(selector, []).append(rank)
        return False


class ChoiceTests(Case):
    """Which of the free units a request gets."""

    def test_the_plainest(self) -> None:
        """The one with the fewest tags beyond those asked for, so that the others are there for those who need them."""
        self.card("a", "android rooted")
        self.card("b", "android")
        self.assertEqual(self.granted(want("android")), "b")

    def test_the_longest_free(self) -> None:
        """Among equal ones that which is free for the longest time, so that all are worn alike."""
        for selector in "abc":
            self.card(selector)
        used = []
        for _ in range(6):
            used.append(self.granted(want()))
            self.free(used[-1])
        self.assertEqual("".join(used), "abcabc")

    def test_all_tags_must_match(self) -> None:
        """A unit with one of two tags is not what was asked for."""
        self.card("a", "android")
        self.card("b", "rooted")
        self.card("c", "android rooted")
        self.assertEqual(self.granted(want("android rooted")), "c")

    def test_as_many_as_asked(self) -> None:
        """Two of five are two."""
        for selector in "abcde":
            self.card(selector)
        self.assertEqual(self.granted(want(count=2)), "a b")

    def test_one_by_name_and_one_by_tag(self) -> None:
        """The named one has the tag too: the other is for the tag, in whatever order they are asked for."""
        for selector in "ab":
            self.card(selector, "x")
        self.assertEqual(self.granted(want("x"), want(selector="a")), "b a")

    def test_exchange_within_a_request(self) -> None:
        """A want that has a choice leaves the unit that another one needs."""
        self.card("a", "x y")
        self.card("b", "x z z2")
        self.assertEqual(self.granted(want("x"), want("y")), "b a")

    def test_everything(self) -> None:
        """All in service, at the moment of the grant; the one that is out does not count."""
        self.card("a")
        self.card("b", out="broken")
        self.card("c")
        self.by_name("c")
        everything = self.waits(want(count=ALL))
        self.card("d")
        self.assertEqual(self.free("c"), [(everything, "a c d")])

    def test_everything_when_the_last_goes_out(self) -> None:
        """The last unit that was lacking is taken out of service: the rest is everything."""
        self.card("a")
        self.card("b")
        self.by_name("b")
        everything = self.waits(want(count=ALL))
        [grant] = self.card("b", out="broken")
        self.assertEqual((grant.request, got(grant)), (everything, "a"))

    def test_everything_for_one_that_yields(self) -> None:
        """The same of a request for which nothing is kept: in the order in which they came, and whether the unit goes out or is none any more."""
        for gone in ("out", "no unit"):
            self.setUp()
            self.card("a")
            self.card("b")
            self.by_name("b")
            first, _ = self.waits(want(count=ALL), yields=True), self.waits(want(count=ALL), yields=True)
            if gone == "out":
                [grant] = self.card("b", out="broken")
            else:
                [grant] = self.pools.put_card(LockKey("phones", "b"), None)
            self.assertEqual((grant.request, got(grant)), (first, "a"))

    def test_what_could_be_had(self) -> None:
        """Out of service counts in; what two wants would both need counts once."""
        self.card("a", "x")
        self.card("b", "x y", out="broken")
        self.assertEqual(self.pools.could_have([want("x", 2)]), (2, 2))
        self.assertEqual(self.pools.could_have([want("x", 3)]), (3, 2))
        self.assertEqual(self.pools.could_have([want("x", 2), want("y")]), (3, 2))
        self.assertEqual(self.pools.could_have([want(selector="new"), want("z", ALL)]), (2, 1))
        self.assertEqual(self.pools.could_have([want(selector="a"), want("x", 2)]), (3, 2))

    def test_cost_of_what_could_be_had(self) -> None:
        """Whether it could be met is found out without a look at each unit."""

        def cost() -> int:
            wants = [want("x", 3), want(selector="x0"), want("y", ALL)]
            return counted(lambda: (self.pools.could_have(wants), self.pools.matching(wants[0])))

        for number in range(5):
            self.card(f"x{number}", "x")
            self.card(f"y{number}", "x y", out="broken" if number else None)
        cost()
        few = cost()
        for number in range(5, 500):
            self.card(f"x{number}", "x")
            self.card(f"y{number}", "x y")
        self.assertEqual(cost(), few)


class OrderTests(Case):
    """Who is next."""

    def test_the_heavy_one_has_its_turn(self) -> None:
        """It waits for those that were there before it, and for nobody who comes later."""
        for selector in "abcd":
            self.card(selector)
            self.granted(want())
        heavy = self.waits(want(count=4))
        for _ in range(100):
            self.waits(want())
        grants = [grant for selector in "abcd" for grant in self.free(selector)]
        self.assertEqual(grants, [(heavy, "a b c d")])

    def test_who_does_not_need_it_is_passed_over(self) -> None:
        """An older request has its android already, so the next one goes to the younger."""
        self.card("a", "android")
        self.card("b", "android")
        self.card("c", "ios")
        for selector in "abc":
            self.by_name(selector)
        self.waits(want("android"), want("ios"))
        younger = self.waits(want("android"))
        self.assertEqual(self.free("a"), [])
        self.assertEqual(self.free("b"), [(younger, "b")])

    def test_a_younger_one_gets_what_an_older_can_exchange(self) -> None:
        """What is kept for the older is exchanged for another one that does for it."""
        self.card("a", "x y")
        self.card("b", "x")
        self.card("c")
        for selector in "abc":
            self.by_name(selector)
        older = self.waits(want("x"), want(selector="c"))
        self.free("a")
        younger = self.waits(want("y"))
        self.assertEqual(self.free("b"), [(younger, "a")])
        self.assertEqual(self.free("c"), [(older, "b c")])

    def test_by_name_has_its_place_in_the_order(self) -> None:
        """Who waits for a unit by name comes after who was there before and could use it, and before who came later."""
        self.card("a")
        self.by_name("a")
        first = self.waits(want())
        self.assertFalse(self.by_name("a"))
        last = self.waits(want())
        self.assertEqual(self.free("a"), [(first, "a")])
        self.assertEqual(self.free("a"), [(None, "a")])
        self.queues["a"].pop()
        self.assertEqual(self.free("a"), [(last, "a")])

    def test_by_name_does_not_take_what_is_kept(self) -> None:
        """A free unit that is kept for an older request is not free for who asks by name."""
        self.card("a")
        self.card("b")
        self.by_name("b")
        older = self.waits(want(count=2))
        self.assertFalse(self.by_name("a"))
        self.assertEqual(self.free("b"), [(older, "a b")])

    def test_by_name_takes_what_can_be_exchanged(self) -> None:
        """An idle one does as well for the older request."""
        for selector in "abc":
            self.card(selector)
        self.by_name("c")
        older = self.waits(want(), want(selector="c"))
        self.assertTrue(self.by_name("a"))
        self.assertEqual(self.free("c"), [(older, "b c")])

    def test_yield(self) -> None:
        """Nothing is kept for it; at its turn it takes everything, even from those who came later."""
        self.card("a")
        self.card("b")
        for selector in "ab":
            self.by_name(selector)
        polite = self.waits(want(count=2), yields=True)
        younger = self.waits(want())
        self.assertEqual(self.free("a"), [(younger, "a")])
        later = self.waits(want(count=2))
        self.assertEqual(self.free("a"), [])
        self.assertEqual(self.free("b"), [(polite, "a b")])
        self.assertEqual(self.free("a") + self.free("b"), [(later, "a b")])

    def test_priority(self) -> None:
        """It takes what is kept for those of a lower priority, but nothing that they have."""
        self.card("a")
        self.card("b")
        self.by_name("b")
        usual = self.waits(want(count=2))
        urgent = self.waits(want(count=2), rank=next(self.ranks) - (1 << 48))
        self.assertEqual(self.free("b"), [(urgent, "a b")])
        self.assertEqual(self.free("a") + self.free("b"), [(usual, "a b")])

    def test_who_leaves(self) -> None:
        """What was kept for it goes to the next."""
        self.card("a")
        self.card("b")
        self.by_name("b")
        older = self.waits(want(count=2))
        younger = self.waits(want())
        [grant] = self.pools.leave(older)
        self.assertEqual((grant.request, got(grant)), (younger, "a"))

    def test_positions(self) -> None:
        """Those before count that could use something of the same; others do not."""
        self.card("a", "x")
        self.card("b", "x y")
        self.card("c", "z")
        for selector in "abc":
            self.by_name(selector)
        self.by_name("b")
        self.waits(want("x"))
        self.waits(want("z"))
        self.waits(want("x"), want("z"))
        last = self.waits(want("y"))
        self.assertEqual(self.pools.position(last), 4)
        self.assertEqual(self.pools.older(LockKey("phones", "c"), next(self.ranks)), 2)


class CardTests(Case):
    """Units come, change and go while somebody waits."""

    def test_added(self) -> None:
        """A new unit serves who waits at once."""
        self.card("a", "x")
        self.by_name("a")
        waiting = self.waits(want("x"))
        [grant] = self.card("b", "x")
        self.assertEqual((grant.request, got(grant)), (waiting, "b"))

    def test_changed(self) -> None:
        """A unit that is tagged anew is not kept any more for who cannot use it, and serves who can."""
        self.card("a", "x")
        self.card("b", "x")
        self.card("c", "y")
        self.by_name("b")
        self.by_name("c")
        first = self.waits(want("x", 2))
        second = self.waits(want("y"))
        [grant] = self.card("a", "y")
        self.assertEqual((grant.request, got(grant)), (second, "a"))
        self.assertEqual(self.free("b"), [])
        self.assertEqual(self.card("c", "x"), [])
        self.assertEqual(self.free("c"), [(first, "b c")])

    def test_out_and_back(self) -> None:
        """Out of service it is not granted; when it comes back it is."""
        self.card("a", out="broken")
        waiting = self.waits(want())
        self.assertFalse(self.by_name("a"))
        [grant] = self.card("a")
        self.assertEqual((grant.request, got(grant)), (waiting, "a"))

    def test_removed(self) -> None:
        """A unit without a card is for those only who name it."""
        self.card("a")
        self.card("b")
        self.by_name("b")
        self.waits(want(count=2))
        self.pools.put_card(LockKey("phones", "a"), None)
        self.assertNotIn(LockKey("phones", "a"), self.pools.units)
        self.assertEqual(self.free("b"), [])


class CostTests(Case):
    """What a hand-over costs."""

    def crowd(self, waiting: int) -> int:
        """Count the calls of a hand-over beside requests that cannot use the unit."""
        self.setUp()
        self.card("a", "x")
        for number in range(50):
            self.card(f"other {number}", f"other{number}")
            self.by_name(f"other {number}")
        self.by_name("a")
        for number in range(waiting):
            self.waits(want(f"other{number % 50}"))
        mine = self.waits(want("x"))
        grants = []
        calls = counted(lambda: grants.extend(self.free("a")))
        self.assertEqual(grants, [(mine, "a")])
        return calls

    def test_those_who_cannot_use_it_cost_nothing(self) -> None:
        """It takes as many steps beside 10,000 waiting requests of 50 filters as beside 10."""
        self.assertEqual(self.crowd(10_000), self.crowd(10))

    def test_those_who_wait_for_the_same_cost_nothing(self) -> None:
        """However many wait for a unit, the first of them is found at once."""

        def hand_over(waiting: int) -> int:
            self.setUp()
            self.card("a", "x")
            self.by_name("a")
            for _ in range(waiting):
                self.waits(want("x"))
            return counted(lambda: self.free("a"))

        self.assertLess(hand_over(5000), 2 * hand_over(10))

    def test_many_units_for_the_polite(self) -> None:
        """For whoever is polite and wants very many units each of them costs the same, however many fall free before."""

        def hand_over(units: int, polite: Want, *older: Want) -> int:
            self.setUp()
            names = [f"{number:03}" for number in range(units)]
            for name in [*names, "last"]:
                self.card(name, "x")
                self.by_name(name)
            if older:
                self.waits(want(selector="last"), *older)
            request = self.waits(polite, yields=True)
            grants: list[tuple[PoolRequest | None, str]] = []
            calls = counted(lambda: grants.extend(grant for name in names for grant in self.free(name)))
            self.assertEqual([grant[0] for grant in grants], [] if polite.count == ALL else [request])
            return calls

        for of in (
            lambda units: hand_over(units, want("x", ALL)),
            lambda units: hand_over(units, want("x", units)),
            # Half of them are kept for an older one, who lacks something else.
            lambda units: hand_over(units, want("x", units // 2), want("x", units // 2)),
        ):
            self.assertLess(of(400), 3 * of(200))

    def test_many_filters(self) -> None:
        """There is a bound to the different filters that are waited for; those that nobody waits for any more do not count."""
        self.card("a", " ".join(f"t{number}" for number in range(FILTERS + 10)))
        self.by_name("a")
        waiting = [self.waits(want(f"t{number}")) for number in range(FILTERS)]
        self.assertRaises(Overloaded, self.ask, want("t1"), want(f"t{FILTERS}"))
        self.pools.leave(waiting[0])
        self.waits(want(f"t{FILTERS}"))
