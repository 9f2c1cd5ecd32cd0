"""
Several units that fall free in one step, against the same units that fall free one by one, in the same order.

Units fall free together by one ``/unlock``, by a lease that ends, and by more slots. A break, and a unit that is put back into service, are
requests of their own each. They must not differ from the others.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from resourced.locks.unit_cards import CardChange
from resourced.model import BREAK, Breaker, LockKey
from resourced.wants import ALL, Want
from tests.examples import examples
from tests.locks.world import FOREVER, KEYS, LEASE, NO_TAGS, SLOTS, Tags, World, everything, only

pytestmark = pytest.mark.trial

#: In how many rounds all that wait have their turn.
ROUNDS = 40
TAGS = [frozenset(tags) for tags in ("", "x", "y", "xy")]

key = st.sampled_from(KEYS)
by_tags = st.builds(
    Want,
    st.sampled_from(["phones", "phones", "bench"]),
    tags=st.sampled_from(TAGS),
    count=st.sampled_from([1, 1, 2, 2, 3, ALL]),
)
by_name = key.map(lambda key: Want(key.resource, selector=key.selector))
wants = st.lists(st.one_of(by_tags, by_tags, by_name), min_size=1, max_size=3, unique_by=str).map(tuple)
priority = st.sampled_from([0, 0, 0, -2, 3])
several = st.tuples(wants, st.booleans(), priority)
alone = st.tuples(key, priority)
#: Requests that new slots serve: these have no tags.
untagged = st.tuples(
    st.builds(Want, st.just("phones"), count=st.sampled_from([1, 2, 3])).map(lambda want: (want,)),
    st.booleans(),
    priority,
)


#: Lets units fall free together in one world, and one by one in the other. Each has a holder.
Way = Callable[[World, World], None]


def by_unlock(together: World, one_by_one: World) -> None:
    """One request gives back all that a ticket has."""
    together.unlock_all(together.first())
    one_by_one.unlock(*together.fallen())


def by_expiry(together: World, one_by_one: World) -> None:
    """
    A lease ends with all its units, or several leases at the same moment.

    They end one after the other, in any order. But all units of one fall free before the next one ends.
    """
    before = together.holders()
    together.wait_for_an_end()
    fallen = together.fallen()
    ended = [ticket for ticket, _ in groupby(fallen, before.__getitem__)]
    assert len(ended) == len(set(ended)), "the units of two leases fell free by turns"
    assert set(fallen) == {key for key, ticket in before.items() if ticket in ended}, "a part of a lease has ended"
    one_by_one.unlock(*fallen)


def by_break(together: World, one_by_one: World) -> None:
    """An admin breaks all locks of a holder, one after the other; in the other world it gives them back by one request."""
    ticket = together.first()
    together.break_locks(*together.held_by(ticket))
    one_by_one.unlock_all(ticket)


def by_break_of_one(together: World, one_by_one: World) -> None:
    """An admin breaks the last lock of a holder, which keeps the others."""
    ticket = together.first()
    *others, last = together.held_by(ticket)
    together.break_locks(last)
    one_by_one.unlock(last)
    assert together.held_by(ticket) == others, "a break has ended more than one lock"


def by_return(together: World, one_by_one: World) -> None:
    """Units are taken out of service. All of them fall free before the first is put back, or each is put back when it falls free."""
    ticket = together.first()
    keys = together.held_by(ticket)
    for world in (together, one_by_one):
        for key in keys:
            world.card(key, CardChange(out="loose plug"))
    together.unlock_all(ticket)
    for key in keys:
        together.card(key, CardChange(out=""))
        one_by_one.unlock(key)
        one_by_one.card(key, CardChange(out=""))


def by_unlock_with_out(together: World, one_by_one: World) -> None:
    """
    The first unit is given back as broken, and the others by one request; or it is out of service before each is given back.

    It is put back the next time, so that all units go on.
    """
    for world in (together, one_by_one):
        if world.broken is not None:
            world.card(world.broken, CardChange(out=""))
    ticket = together.first()
    keys = together.held_by(ticket)
    together.broken = one_by_one.broken = keys[0]
    together.unlock(keys[0], broken=Breaker(reason="cracked screen"))
    if len(keys) > 1:
        together.unlock_all(ticket)
    one_by_one.card(keys[0], CardChange(out="cracked screen"))
    one_by_one.unlock(*keys)


def by_more_slots(together: World, one_by_one: World) -> None:
    """The slots of a resource become more by several at once, or one by one."""
    before = together.life.locks.places.units.cards.count("phones")
    together.slots(before, SLOTS)
    for number in range(before, SLOTS):
        one_by_one.slots(number, number + 1)


def both(tags: Tags, holding: Any, waiting: Any, lease: float = FOREVER) -> tuple[World, World]:
    """Return a world whose units are to fall free together, and the same where leases do not end by themselves."""
    pair = World(tags, lease), World(tags)
    for world in pair:
        world.begin(holding, waiting)
    return pair


def worlds(**more: Any) -> Callable[[Any], Any]:
    """
    Let a test see worlds with any tags, first holders and requests that wait.

    :param more: what else it is to be given, or in place of these.
    """
    usual = {
        "tags": st.lists(st.sampled_from(TAGS), min_size=len(KEYS), max_size=len(KEYS)),
        # How many units each of the first holders has, and how many seconds after it the next one comes.
        "holding": st.lists(st.tuples(st.integers(1, 5), st.sampled_from([0, 0, 5])), min_size=1, max_size=3),
        "waiting": st.lists(st.one_of(several, several, alone), min_size=2, max_size=10),
    }
    return lambda test: settings(max_examples=examples(200), database=None)(given(**{**usual, **more})(test))


class TogetherTests(SynchronousTestCase):
    """The order of those who wait does not depend on how many units fall free in one step, nor on what lets them."""

    def same(self, pair: tuple[World, World], way: Way) -> None:
        """Compare a world whose units fall free together with one where they do so one by one, until all had their turn."""
        together, one_by_one = pair
        self.assertEqual(together.outcome(), one_by_one.outcome())
        for _ in range(ROUNDS):
            if not together.holders():
                break
            way(together, one_by_one)
            self.assertEqual(together.outcome(), one_by_one.outcome())
        for world in pair:
            world.life.bury()

    @worlds()
    def test_unlock(self, tags, holding, waiting) -> None:
        """Each who waits gets the same, and as much is kept, whether units are given back by one request or by one for each."""
        self.same(both(tags, holding, waiting), by_unlock)

    @worlds()
    def test_leases(self, tags, holding, waiting) -> None:
        """Leases that end, be it at the same moment, are as if their units were given back one by one."""
        self.same(both(tags, holding, waiting, LEASE), by_expiry)

    @worlds()
    def test_breaks(self, tags, holding, waiting) -> None:
        """It is the same whether a holder gives all back, or an admin breaks one lock after the other."""
        self.same(both(tags, holding, waiting), by_break)

    @worlds()
    def test_break_of_one(self, tags, holding, waiting) -> None:
        """A break of one lock is as if its holder gave that back. It keeps the others."""
        self.same(both(tags, holding, waiting), by_break_of_one)

    @worlds()
    def test_back_in_service(self, tags, holding, waiting) -> None:
        """Units that are put back into service go to those who had them if they fell free one by one."""
        self.same(both(tags, holding, waiting), by_return)

    @worlds()
    def test_unlock_with_one_out(self, tags, holding, waiting) -> None:
        """It is the same whether a unit goes out of service while it is given back, or before."""
        self.same(both(tags, holding, waiting), by_unlock_with_out)

    @worlds(
        # Nobody has the new ones before they are units, but for those who ask for them by name.
        holding=st.integers(2, SLOTS - 2).map(lambda share: [(share, 0)]),
        waiting=st.lists(st.one_of(untagged, untagged, several), min_size=2, max_size=10),
    )
    def test_more_slots(self, tags, holding, waiting) -> None:
        """Several slots more are as if there were one more, and one more."""
        [(slots, _)] = holding
        pair = both(only(tags, slots), holding, waiting)
        by_more_slots(*pair)
        self.same(pair, by_unlock)

    @worlds(slots=st.integers(0, SLOTS - 1))
    def test_slots_that_go(self, tags, holding, waiting, slots) -> None:
        """Slots that have to go when they are free do so one by one, by whatever request they are given back."""
        pair = both(tags, holding, waiting)
        for world in pair:
            world.slots(SLOTS, slots)
        self.same(pair, by_unlock)

    @worlds(share=st.integers(2, SLOTS - 1))
    def test_leaving(self, tags, waiting, share, **_) -> None:
        """What is kept for a request that gives up its place goes to others as if it had held that, and gave it back one by one."""
        kept, lacking = KEYS[:share], KEYS[share:]
        pair = World(tags), World(tags)
        for world, wanted in zip(pair, ([*kept, lacking[0]], kept), strict=True):
            world.several(everything(*lacking), polite=False, priority=0)
            # Nobody has anything of it before it leaves.
            world.several(everything(*wanted), polite=False, priority=9)
            world.begin([], waiting)
        together, one_by_one = pair
        [ticket] = {holder for key, holder in one_by_one.holders().items() if key in kept}
        together.leave(ticket)
        one_by_one.unlock(*kept)
        together.fallen()
        self.same(pair, by_unlock)

    @worlds()
    def test_end_of_all(self, tags, holding, waiting) -> None:
        """If all locks are taken from everybody, nobody is granted anything meanwhile, in whatever order they waited."""
        world = World(tags)
        world.begin(holding, waiting)
        newest = max(world.disk.events_kept)
        world.do(world.life.locks.end_all(Breaker()))
        outcome = world.outcome()
        self.assertEqual((outcome["waiting"], list(world.life.locks.places)), (set(), []))
        self.assertEqual({event.kind for id_, event in world.disk.events_kept.items() if id_ > newest}, {BREAK})
        world.life.bury()


class OvertakingTests(SynchronousTestCase):
    """Whoever would take several units at once has to wait while others can use each that falls free."""

    def served(self, pair: tuple[World, World], way: Way) -> dict[LockKey, int]:
        """Return who has what after one step, by the number of its request."""
        way(*pair)
        together, one_by_one = ({key: int(name[-4:], 16) for key, name in world.holders().items()} for world in pair)
        self.assertEqual(together, one_by_one)
        for world in pair:
            world.life.bury()
        return together

    def test_older(self) -> None:
        """The unit that falls free last goes to an older request for it, and not with the others to a younger one."""
        one, two, three, four, five, *bench = KEYS
        others = dict.fromkeys([four, five, *bench], 2)
        for way, wanted, has in (
            (by_unlock, 3, {three: 3}),
            (by_expiry, 3, {three: 3}),
            (by_break, 3, {three: 3}),
            (by_return, 3, {three: 3}),
            # The holder goes on with the others.
            (by_break_of_one, 3, {one: 1, two: 1, three: 3}),
            # The first unit is out of service.
            (by_unlock_with_out, 2, {three: 3}),
        ):
            waiting = [(everything(three), False, 0), ((Want("phones", count=wanted),), True, 0)]
            pair = both(NO_TAGS, [(3, 5), (4, 0)], waiting, LEASE if way is by_expiry else FOREVER)
            self.assertEqual(self.served(pair, way), others | has, way.__name__)

    def test_in_turn(self) -> None:
        """Each unit goes to the oldest request that can have it, also if that is one for which nothing is kept."""
        one, two, *others = KEYS
        for way, has in (
            (by_unlock, {one: 3, two: 4}),
            (by_expiry, {one: 3, two: 4}),
            (by_break, {one: 3, two: 4}),
            (by_return, {one: 3, two: 4}),
            (by_break_of_one, {one: 1, two: 3}),
            (by_unlock_with_out, {two: 3}),
        ):
            waiting = [((Want("phones"),), True, 0), ((Want("phones"),), False, 0)]
            pair = both(NO_TAGS, [(2, 5), (5, 0)], waiting, LEASE if way is by_expiry else FOREVER)
            self.assertEqual(self.served(pair, way), dict.fromkeys(others, 2) | has, way.__name__)

    def test_leases_at_the_same_moment(self) -> None:
        """Of two leases that end at once, all units of one are offered before those of the other are free."""
        _, two, _, four, *_ = KEYS
        # Whichever ends first: with it not as many are free as the last request wants. One more is always free.
        waiting = [(everything(two), False, 0), (everything(four), False, 0), ((Want("phones", count=4),), True, 0)]
        pair = both(NO_TAGS, [(2, 0), (2, 0)], waiting, LEASE)
        self.assertEqual(self.served(pair, by_expiry), {two: 3, four: 4})

    def test_slots(self) -> None:
        """
        Two new slots go in turn to requests for one, whether something is kept for them or not.

        If an older one, for which nothing is kept, wants both, the first goes to the next who wants one.
        """
        *held, four, five = KEYS[:SLOTS]
        for wanted, has in ((1, {four: 2, five: 3}), (2, {four: 3})):
            waiting = [((Want("phones", count=wanted),), True, 0), ((Want("phones"),), False, 0)]
            pair = both(only(NO_TAGS, 3), [(3, 0)], waiting)
            self.assertEqual(self.served(pair, by_more_slots), dict.fromkeys(held, 1) | has)

    def test_leaving(self) -> None:
        """If a request gives up its place, a younger one for which nothing is kept gets nothing that an older one waits for."""
        one, two, three, four, *_ = KEYS
        [world, _] = pair = both(
            NO_TAGS,
            [],
            [
                (everything(three, four, KEYS[4]), False, 0),
                (everything(one, two, three), False, 0),
                (everything(two, three), False, 0),
                ((Want("phones", count=2),), True, 0),
            ],
        )
        leaving = min(joint.name for joint in world.life.locks.places.units.joints if not joint.holds)

        def by_leaving(together: World, one_by_one: World) -> None:
            together.leave(leaving)
            one_by_one.leave(leaving)

        self.assertEqual(self.served(pair, by_leaving), dict.fromkeys([three, four, KEYS[4]], 1))
