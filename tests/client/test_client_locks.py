"""Several things at once, by the client: against the real server in memory, with a ``Clock`` and a network that loses what a test likes."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from resourced.client import Client, Conflict, LockLost, NotAcquired, NotFound, Rejected, Waiting, Want
from tests.client.cases import LOSE, PASS, REFUSE, ClientTestCase, Network, once

pytestmark = pytest.mark.trial

ANDROIDS = Want("phones", tags=["android"], count=2)


class Several:
    """An ``async with`` block that holds several things until it is told to end."""

    def __init__(self, client: Client, *wants: Want, **options: Any) -> None:
        self.told: list[Waiting] = []
        self.held: Any = None
        self._end: Deferred[None] = Deferred()
        self._locks = client.locks(*wants, **{"on_queued": self.told.append, **options})
        self.outcome = Deferred.fromCoroutine(self._run())

    async def _run(self) -> str:
        async with self._locks as self.held:
            await self._end
        return "through"

    def end(self) -> None:
        self._end.callback(None)

    @property
    def names(self) -> list[str]:
        return [unit.selector for unit in self.held.units]


class LocksTests(ClientTestCase):
    """Phones, two of which have Android, and a licence, all of one group."""

    def setUp(self):
        super().setUp()
        self.now(self.client.create("phones", 30, group="lab"))
        self.now(self.client.create("licences", 60, group="lab"))
        for name, tags in {"p1": ["android"], "p2": ["android", "5g"], "p3": ["ios"]}.items():
            self.now(self.client.card("phones", name, tags=tags))
        self.now(self.client.card("licences", "1"))
        self.network.asked.clear()

    def several(self, *wants: Want, client: Client | None = None, **options: Any) -> Several:
        block = Several(client or self.client, *wants, **options)
        self.server.advance()
        return block

    def state(self, selector: str, resource: str = "phones") -> int:
        """The fence under which something is held, by the server; 0 if it is free."""
        holder = self.now(self.another().state(resource, selector)).holder
        return holder.fence if holder else 0

    def card(self, selector: str) -> Any:
        async def look() -> Any:
            return {s.selector: s.card async for s in self.client.selectors("phones")}[selector]

        return self.now(look())


class WaitTests(LocksTests):
    def test_all_at_once(self):
        """A block has everything that it wants, in the order of the wants, each with its fence and its data; the end releases all."""

        async def write() -> None:
            async with self.client.lock("phones", "p2") as held:
                await held.write({"port": 2})

        self.now(write())
        block = self.several(ANDROIDS, Want("licences"), Want("phones", selector="p3"))
        self.assertEqual(
            [(u.resource, u.selector, u.want, u.data) for u in block.held.units],
            [
                ("phones", "p1", 0, None),
                ("phones", "p2", 0, {"port": 2}),
                ("licences", "1", 1, None),
                ("phones", "p3", 2, None),
            ],
        )
        for unit in block.held.units:
            self.assertEqual(self.state(unit.selector, unit.resource), unit.fence)
        # The shortest of both.
        self.assertEqual((block.held.lease, block.held.left), (30, 30))
        block.end()
        self.server.advance()
        self.assertEqual(self.successResultOf(block.outcome), "through")
        self.assertEqual(self.server.store.places, {})

    def test_estimate(self):
        """Who waits is told for about how long, once earlier waits tell; of the first nothing is known."""
        told = []
        for _ in range(12):
            first, second = self.several(ANDROIDS), self.several(ANDROIDS)
            self.server.advance(8.0)
            told.append(second.told[0].about)
            for block in (first, second):
                block.end()
                self.server.advance()
        self.assertEqual((told[0], told[-1]), (None, 8))

    def test_nothing_rather_than_a_part(self):
        """Who waits has nothing of it, but nobody younger gets what is kept for it; the turn gives it all."""
        first = self.several(Want("phones", selector="p1"))
        second = self.several(ANDROIDS)
        third = self.several(Want("phones", selector="p2"))
        self.assertEqual((second.held, third.held), (None, None))
        self.assertEqual((second.told[-1].position, third.told[-1].position), (1, 2))
        first.end()
        self.server.advance()
        self.assertEqual(second.names, ["p1", "p2"])
        self.assertIsNone(third.held)
        second.end()
        self.server.advance()
        self.assertEqual(third.names, ["p2"])
        third.end()

    def test_yield(self):
        """For who yields nothing is kept."""
        first = self.several(Want("phones", selector="p1"))
        second = self.several(ANDROIDS, yields=True)
        third = self.several(Want("phones", selector="p2"))
        self.assertEqual(third.names, ["p2"])
        first.end()
        self.server.advance()
        self.assertIsNone(second.held)
        third.end()
        self.server.advance()
        self.assertEqual(second.names, ["p1", "p2"])
        second.end()

    def test_every_unit(self):
        """``count="all"`` is every unit in service that matches."""
        self.now(self.client.card("phones", "p2", out="cracked"))
        block = self.several(Want("phones", count="all"))
        self.assertEqual(block.names, ["p1", "p3"])
        block.end()

    def test_what_can_never_be(self):
        """More than there are, several groups, no such resource, and no such name are errors at once, and leave nothing behind."""
        self.now(self.client.create("tablets"))
        for code, kind, want in (
            ("too_few", Conflict, Want("phones", tags=["android"], count=3)),
            ("other_group", Conflict, Want("tablets")),
            ("unknown_resource", NotFound, Want("nothing")),
            ("bad_tags", Rejected, Want("phones", tags=["a b"])),
        ):
            block = self.several(Want("phones"), want)
            self.assertEqual(self.fails(kind, block.outcome).code, code)
        self.assertEqual(self.fails(Rejected, self.several().outcome).code, "bad_want")
        self.assertEqual(self.server.store.joints, {})

    def test_time_is_up(self):
        """Who does not get it in time gives up the place."""
        first = self.several(ANDROIDS)
        second = self.several(ANDROIDS, wait=5)
        self.server.advance(6)
        self.assertEqual(self.fails(NotAcquired, second.outcome).position, 1)
        first.end()
        self.server.advance()
        self.assertEqual(self.server.store.joints, {})

    def test_lost_answer_leaves_no_ghost(self):
        """A request whose answer was lost, be it of the grant, of a renewal or of the release, leaves no second one behind."""
        for end in ("/lock", "/unlock"):
            self.network.fate = once(LOSE, "POST", end)
            block = self.several(ANDROIDS)
            self.server.advance(15)
            self.assertEqual(len(self.server.store.joints), 1, end)
            self.assertEqual(block.names, ["p1", "p2"])
            block.end()
            self.server.advance(5)
            self.assertEqual(self.successResultOf(block.outcome), "through")
            self.assertEqual((self.server.store.joints, self.server.store.places), ({}, {}), end)

    def test_place_is_given_up(self):
        """Who cancels the wait leaves nothing behind, also if the client does not know its ticket yet."""
        first = self.several(ANDROIDS)
        known, unknown = self.several(ANDROIDS), self.several()
        self.fails(Rejected, unknown.outcome)
        self.network.fate = once(3.0, "POST", "/lock")
        unknown = self.several(ANDROIDS)
        self.assertEqual(len(self.server.store.joints), 3)
        for block in (known, unknown):
            block.outcome.cancel()
            self.server.advance()
            self.fails(CancelledError, block.outcome)
        self.assertEqual(len(self.server.store.joints), 1)
        first.end()

    def test_place_is_kept(self):
        """A place outlives lost connections and a restart of the server."""
        first, second = self.several(ANDROIDS), self.several(ANDROIDS, client=self.another())
        self.network.fate = lambda *_: REFUSE
        self.server.advance(5)
        self.server.restart()
        self.network.fate = lambda *_: PASS
        self.server.advance(12)
        first.end()
        self.server.advance(1)
        self.assertEqual(second.names, ["p1", "p2"])
        self.assertEqual(second.told[-1].rejoined, 0)
        second.end()

    def apart(self) -> tuple[Network, Client]:
        """A client with a network of its own."""
        network = Network(self.server, self.clock)
        return network, self.server.client(self.server.write_key, treq=network)

    def test_place_is_lost(self):
        """Who was not heard of for too long joins again, and says so."""
        network, client = self.apart()
        first, second = self.several(ANDROIDS), self.several(ANDROIDS, client=client)
        network.fate = lambda *_: REFUSE
        # As long as a request waits, and then as long as a place lasts.
        self.server.advance(25 + 20 + 1)
        self.assertEqual(len(self.server.store.joints), 1)
        network.fate = lambda *_: PASS
        self.server.advance(10)
        self.assertEqual(second.told[-1].rejoined, 1)
        first.end()
        self.server.advance()
        self.assertEqual(second.names, ["p1", "p2"])
        second.end()

    def test_broken_before_the_client_knew(self):
        """If a unit is taken away before the client has heard of the grant, it gives up the others and asks again."""
        network, client = self.apart()
        first, second = self.several(ANDROIDS), self.several(ANDROIDS, client=client)
        network.fate = lambda *_: REFUSE
        self.server.advance(26)
        first.end()
        self.server.advance()
        fence = self.state("p2")
        self.assertNotEqual(fence, 0)
        self.now(self.client.break_lock("phones", "p2", fence))
        network.fate = lambda *_: PASS
        self.server.advance(6)
        self.assertEqual((second.names, second.told[-1].rejoined), (["p1", "p2"], 1))
        self.assertEqual(len(self.server.store.joints), 1)
        second.end()
        self.server.advance()
        self.assertEqual(self.successResultOf(second.outcome), "through")

    def test_lease_and_priority(self):
        """The lease and the priority are those that were asked for."""
        self.now(self.client.change("phones", longest=90))
        first, second = self.several(ANDROIDS, lease=45), self.several(ANDROIDS, priority=-1)
        third = self.several(ANDROIDS)
        self.assertEqual(first.held.lease, 45)
        self.assertEqual(self.fails(Rejected, self.several(ANDROIDS, lease=91).outcome).code, "bad_lease")
        first.end()
        self.server.advance()
        self.assertIsNone(second.held)
        third.end()
        self.server.advance()
        second.end()
        self.server.advance()
        self.assertEqual(self.successResultOf(second.outcome), "through")

    def test_same_ticket_again(self):
        """With the ticket of a block of this process it is the same once more; the first block releases it."""
        first = self.several(ANDROIDS)
        second = self.several(ANDROIDS, ticket=first.held.ticket)
        self.assertEqual([u.fence for u in second.held.units], [u.fence for u in first.held.units])
        second.end()
        self.server.advance()
        self.assertEqual(self.successResultOf(second.outcome), "through")
        self.assertTrue(self.state("p1"))
        first.end()
        self.server.advance()
        self.assertFalse(self.state("p1"))


class PoolTests(LocksTests):
    """What a pool that was made of a door and of looking for what is free did wrong."""

    def test_taken_out_while_somebody_waits(self):
        """A unit that goes out of service while somebody waits is not given to that one, but another is; the holder goes on."""
        first = self.several(Want("phones", selector="p1"))
        others = self.several(Want("phones", selector="p2"))
        waiting = self.several(Want("phones", tags=["android"]))
        self.now(self.client.card("phones", "p1", out="cracked"))
        first.held.check()
        first.end()
        self.server.advance()
        self.assertIsNone(waiting.held)
        others.end()
        self.server.advance()
        self.assertEqual(waiting.names, ["p2"])
        waiting.end()

    def test_added_while_somebody_waits(self):
        """A unit that is added while somebody waits is given to that one at once."""
        first = self.several(ANDROIDS)
        waiting = self.several(Want("phones", tags=["android"]))
        self.now(self.client.card("phones", "p4", tags=["android"]))
        self.server.advance()
        self.assertEqual(waiting.names, ["p4"])
        waiting.end()
        first.end()

    def test_any_against_by_name(self):
        """Who wants any unit has its turn in the order of arrival, however many ask for each by name."""
        first = self.several(Want("phones", count="all"))
        wants = [Want("phones", selector="p1"), Want("phones", tags=["android"])]
        wants += [Want("phones", selector=name) for _ in range(3) for name in ("p1", "p2")]
        waiting = [self.several(want) for want in wants]
        by_name = self.begin(self.another().lock("phones", "p2").acquire())
        first.end()
        self.server.advance()
        self.assertEqual([block.names for block in waiting if block.held], [["p1"], ["p2"]])
        self.assertNoResult(by_name)
        for block in waiting:
            block.end()
            self.server.advance(1)
        self.now(self.successResultOf(by_name).release())


class HeldUnitsTests(LocksTests):
    def test_one_lease(self):
        """All of it is renewed by one request each third of the lease, and no longer than the block runs."""
        block = self.several(ANDROIDS, Want("licences"))
        self.network.asked.clear()
        self.server.advance(95)
        times = self.network.times("POST", "/lock")
        self.assertEqual([round(when / 10) for when in times], list(range(1, 10)))
        self.assertEqual(len(self.network.asked), 9)
        self.assertTrue(self.state("1", "licences"))
        block.end()
        self.server.advance(60)
        self.assertEqual(self.network.times("POST", "/lock"), times)

    def test_data(self):
        """Each unit is written by itself, and a unit can be left in the same step."""
        block = self.several(ANDROIDS)
        first, second = block.held.units
        self.now(first.write([1]))
        self.now(second.write([2], unlock=True))
        self.assertEqual((first.data, second.data), ([1], [2]))
        self.assertEqual(self.now(self.client.get("phones", "p2")).data, [2])
        self.assertFalse(self.state("p2"))
        self.assertEqual(self.fails(LockLost, second.write([3])).code, "released")
        first.check()
        self.now(first.delete())
        self.fails(NotFound, self.client.get("phones", "p1"))
        self.server.advance(60)
        block.held.check()
        block.end()
        self.server.advance()
        self.assertEqual(self.successResultOf(block.outcome), "through")

    def test_unit_is_given_back(self):
        """A unit can be let go of before the others, which stay; if it is given back as broken it is out of service at once."""
        block = self.several(ANDROIDS, Want("licences"))
        first, second, licence = block.held.units
        self.now(first.unlock())
        self.now(second.unlock(out="does not boot"))
        self.assertEqual((self.state("p1"), self.state("p2")), (0, 0))
        self.assertIsNone(self.card("p1").out)
        self.assertEqual(self.card("p2").out, "does not boot")
        self.server.advance(60)
        licence.check()
        self.now(licence.unlock())
        self.assertEqual(self.server.store.joints, {})
        block.end()
        self.server.advance()
        self.assertEqual(self.successResultOf(block.outcome), "through")

    def test_all_are_given_back(self):
        """All are given back by one call, which says which of them are broken."""
        block = self.several(ANDROIDS, Want("licences"))
        self.assertEqual(self.fails(Rejected, block.held.unlock(out={"phones/p7": "?"})).code, "not_held")
        block.held.check()
        self.now(block.held.unlock(out={"phones/p2": "does not boot"}))
        self.assertEqual((self.server.store.joints, self.server.store.places), ({}, {}))
        self.assertEqual((self.card("p1").out, self.card("p2").out), (None, "does not boot"))
        block.end()
        self.server.advance()
        self.assertEqual(self.successResultOf(block.outcome), "through")

    def test_no_unit_to_be_broken(self):
        """What is no unit cannot go out of service; it is let go of all the same, and the others too."""
        block = self.several(ANDROIDS, Want("phones", selector="p9"))
        out = {"phones/p9": "?", "phones/p1": "smoke"}
        self.assertEqual(self.fails(NotFound, block.held.unlock(out=out)).code, "no_card")
        self.assertEqual((self.server.store.joints, self.server.store.places), ({}, {}))
        self.assertEqual(self.card("p1").out, "smoke")
        block.end()

    def test_broken_lock_of_one(self):
        """A lock by name can be given back as broken too, in one step."""
        block = self.hold(self.client)
        self.now(self.client.card("printer", "A4"))
        self.now(block.held.unlock(out="paper jam"))
        self.assertEqual(self.holder(), [])
        last = self.now(self._events("printer", "A4"))
        self.assertEqual({event.event for event in last[:2]}, {"release", "out"})
        self.assertIn("paper jam", [event.reason for event in last[:2]])
        block.end()

    async def _events(self, resource: str, selector: str) -> list[Any]:
        return [event async for event in self.client.events(resource, selector)]

    def test_loss_of_one_is_the_loss_of_all(self):
        """If a unit is taken away, the block is interrupted, hears which and what is left, and its end gives that back."""
        told: list[LockLost] = []
        block = self.several(ANDROIDS, on_lost=told.append)
        first, second = block.held.units
        self.now(self.another().break_lock("phones", "p2", second.fence))
        self.assertNoResult(block.outcome)
        self.server.advance(11)
        lost = self.fails(LockLost, block.outcome)
        self.assertEqual((lost.selector, lost.fence, lost.left), ("p2", second.fence, (("phones", "p1"),)))
        self.assertEqual(told[0].left, lost.left)
        self.fails(LockLost, first.write(1))
        self.server.advance()
        self.assertEqual((self.server.store.joints, self.server.store.places), ({}, {}))

    def test_loss_at_a_write(self):
        """The next write to it tells of the loss too."""
        block = self.several(ANDROIDS)
        second = block.held.units[1]
        self.now(self.another().break_lock("phones", "p2", second.fence))
        self.assertEqual(self.fails(LockLost, second.write(1)).left, (("phones", "p1"),))
        self.server.advance()
        self.fails(LockLost, block.outcome)
        self.assertEqual(self.server.store.joints, {})

    def test_lease_is_over(self):
        """If no server is heard of for a lease, everything counts as lost before the server's own lease ends."""
        block = self.several(ANDROIDS)
        self.network.fate = lambda *_: REFUSE
        self.server.advance(29)
        self.assertNoResult(block.outcome)
        self.assertEqual(len(self.server.store.places), 2)
        self.server.advance(2)
        self.assertEqual(self.fails(LockLost, block.outcome).code, "unconfirmed")
        self.network.fate = lambda *_: PASS
        self.server.advance(5)
        self.assertEqual(self.server.store.joints, {})

    def test_never_longer_than_the_server(self):
        """Whatever answers are lost, nobody else gets a unit while its holder takes it for held."""
        for lost in (0.0, 7.0, 9.5, 20.0):
            first = self.several(ANDROIDS)
            self.server.advance(lost)
            self.network.fate = lambda method, url: LOSE if url.endswith("/lock") else PASS
            second = self.several(ANDROIDS, client=self.server.client())
            for _ in range(8 * 60):
                self.server.advance(0.125)
                self.assertTrue(second.held is None or not first.held.left, lost)
            self.assertTrue(second.held)
            self.fails(LockLost, first.outcome)
            self.network.fate = lambda *_: PASS
            second.end()
            self.server.advance(1)

    def test_let_go_of_with_the_ticket(self):
        """If somebody lets go of it with the ticket, the block hears that this is what happened."""
        for unlock in (["/unlock"], ["/resource/phones/p1/unlock", "/resource/phones/p2/unlock"]):
            block = self.several(ANDROIDS)
            for target in unlock:
                self.now(self._ask("POST", target, block.held.ticket))
            self.server.advance(11)
            self.assertEqual(self.fails(LockLost, block.outcome).code, "released")

    def test_one_let_go_of_with_the_ticket(self):
        """And if it was only one of them, the others stay."""
        block = self.several(ANDROIDS)
        first, second = block.held.units
        self.now(self._ask("POST", "/resource/phones/p1/unlock", block.held.ticket))
        self.server.advance(11)
        second.check()
        self.assertEqual(self.fails(LockLost, first.write(1)).code, "released")
        block.end()
        self.server.advance()
        self.assertEqual(self.successResultOf(block.outcome), "through")

    async def _ask(self, method: str, target: str, ticket: str) -> None:
        headers = {"x-api-key": self.server.write_key, "x-ticket": ticket}
        await self.server.treq.request(method, self.server.url + target, headers=headers)


class CardTests(LocksTests):
    def test_card(self):
        """A card is changed in parts, is listed, and goes."""
        card = self.now(self.another(owner="me").card("phones", "p1", note="left shelf", out="cracked"))
        self.assertEqual((card.tags, card.note, card.out), (("android",), "left shelf", "cracked"))
        self.assertTrue(card.out_since)
        self.assertEqual(self.card("p1"), card)
        back = self.now(self.client.card("phones", "p1", out=""))
        self.assertEqual((back.note, back.out, back.out_since), ("left shelf", None, None))
        self.now(self.client.remove_card("phones", "p1"))
        self.assertEqual(self.fails(NotFound, self.client.remove_card("phones", "p1")).code, "no_card")

    def test_told_that_it_is_out(self):
        """Who waits for a unit by its name is told that it is out of service, and why."""
        self.now(self.client.card("phones", "p1", out="cracked"))
        told: list[Waiting] = []
        waiting = self.begin(self.client.lock("phones", "p1", on_queued=told.append).acquire())
        self.server.advance(1)
        self.assertEqual(told[-1].out, "cracked")
        self.now(self.client.card("phones", "p1", out=""))
        self.now(self.successResultOf(waiting).release())

    def test_usage(self):
        """What was used is told by unit and by owner."""
        block = self.several(ANDROIDS, owner="ci")
        self.server.advance(25)
        block.end()
        self.server.advance(5)
        self.now(self.server.store.roll_up(1000))
        usage = self.now(self.client.usage("phones", days=7))
        self.assertEqual(usage.days, 7)
        self.assertEqual({(use.name, use.grants, use.held) for use in usage.units}, {("p1", 1, 25), ("p2", 1, 25)})
        self.assertEqual([(use.name, use.grants) for use in usage.owners], [("ci", 2)])
