"""Pools on the wire: cards, requests for several things at once, and requests by name beside them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from resourced.auth.keys import Identity, Permission, digest_of
from resourced.errors import StoreUnavailable
from resourced.model import LockKey
from tests.assembled import LOCK, READ
from tests.wire import Answer, Exchange, Fields, WebTests

pytestmark = [pytest.mark.trial, pytest.mark.reference_path]

PHONES = "/resource/phones"


def want(resource: str = "phones", **more: Any) -> dict[str, Any]:
    return {"resource": resource, **more}


class PoolTests(WebTests):
    """A pool of phones, and what clients do with it."""

    def setUp(self):
        super().setUp()
        self.create("phones")

    def card(self, selector: str, tags: str = "", **more: Any) -> Answer:
        answer = self.ask("PATCH", f"{PHONES}/{selector}", json.dumps({"tags": tags.split(), **more}))
        self.assertEqual(answer.status, 200, answer.body)
        return answer

    def several(self, *wants: dict[str, Any], ticket: str = "", headers: Fields = (), **more: Any) -> Answer:
        return self.end(self.begin_several(*wants, ticket=ticket, headers=headers, **more))

    def begin_several(
        self,
        *wants: dict[str, Any],
        ticket: str = "",
        headers: Fields = (),
        key: str = LOCK,
        wait: int = 0,
        polite: bool = False,
    ) -> Exchange:
        body = json.dumps({"want": list(wants), **({"yield": True} if polite else {})}) if wants else ""
        return self.begin("POST", f"/lock?wait={wait}", body, ticket=ticket, headers=headers, key=key)

    def got(self, answer: Answer) -> str:
        """What an answer says that its client got."""
        self.assertEqual(answer.status, 200, answer.body)
        self.assertTrue(answer.json["locked"])
        return " ".join(unit["selector"] for unit in answer.json["got"])

    def again(self, ticket: str) -> Answer:
        return self.several(ticket=ticket)

    def give_back(self, ticket: str, *, had: bool = True) -> None:
        answer = self.ask("POST", "/unlock", ticket=ticket, key=LOCK)
        self.assertEqual((answer.status, answer.json), (200, {"unlocked": had}))

    def waits_at(self, answer: Answer, position: int) -> str:
        self.assertEqual((answer.status, answer.json["locked"], answer.json["position"]), (202, False, position))
        return answer.ticket


class CardTests(PoolTests):
    """Units and what is known of them."""

    def test_card(self):
        """A card is what was said last of each of its fields."""
        self.assertEqual(self.card("red", "b a").json, {"tags": ["a", "b"], "note": "", "out": None, "out_since": None})
        answer = self.ask("PATCH", f"{PHONES}/red", json.dumps({"note": "left shelf"}))
        self.assertEqual(answer.json["tags"], ["a", "b"])
        answer = self.ask("PATCH", f"{PHONES}/red", json.dumps({"tags": None, "out": "cracked"}))
        self.assertEqual((answer.json["tags"], answer.json["note"], answer.json["out"]), ([], "left shelf", "cracked"))

    def test_listed(self):
        """A selector with a card is listed with it, and stays so after a restart."""
        self.card("red", "a", out="cracked")
        listed = self.ask("GET", PHONES).json["selectors"]
        self.restart()
        self.assertEqual(self.ask("GET", PHONES).json["selectors"], listed)
        self.assertEqual([(each["selector"], each["card"]["out"]) for each in listed], [("red", "cracked")])
        self.assertIsNotNone(listed[0]["card"]["out_since"])

    def test_removed(self):
        """Without its card a selector is no unit."""
        self.card("red")
        self.assertEqual(self.ask("DELETE", f"{PHONES}/red/card").status, 204)
        self.assertRefused(404, "no_card", self.ask("DELETE", f"{PHONES}/red/card"))
        self.assertRefused(409, "too_few", self.several(want()))

    def test_bad_cards(self):
        """What cannot be a card is refused, and says which field."""
        for body, code in (
            ({"tags": ["a b"]}, "bad_tags"),
            ({"tags": ["a,b"]}, "bad_tags"),
            ({"tags": [""]}, "bad_tags"),
            ({"tags": ["x" * 65]}, "bad_tags"),
            ({"tags": [f"t{number}" for number in range(65)]}, "bad_tags"),
            ({"tags": "a"}, "bad_tags"),
            ({"note": 5}, "bad_note"),
            ({"out": "a\nb"}, "bad_out"),
            ({"colour": "red"}, "unknown_field"),
        ):
            self.assertRefused(400, code, self.ask("PATCH", f"{PHONES}/red", json.dumps(body)))
        self.assertEqual(self.ask("PATCH", f"{PHONES}/red", "{}", key=LOCK).status, 401)
        self.assertEqual(self.ask("PATCH", "/resource/none/red", "{}").status, 404)

    def test_out(self):
        """Who waits by name for a unit that is out of service is told why, keeps the place, and gets it when it comes back."""
        self.card("red", out="cracked")
        waiting = self.ask("POST", f"{PHONES}/red/lock")
        self.assertEqual((waiting.status, waiting.json["out"], waiting.json["position"]), (202, "cracked", 1))
        second = self.ask("POST", f"{PHONES}/red/lock")
        self.assertEqual(second.json["position"], 2)
        self.card("red", out=None)
        self.assertHeld(self.ask("POST", f"{PHONES}/red/lock", ticket=waiting.ticket))

    def test_out_while_held(self):
        """The holder goes on."""
        self.card("red")
        ticket = self.lock(f"{PHONES}/red")
        self.card("red", out="cracked")
        self.assertHeld(self.ask("POST", f"{PHONES}/red/lock", ticket=ticket))
        self.unlock(ticket, f"{PHONES}/red")
        self.assertRefused(409, "too_few", self.several(want(count=2)))
        self.waits_at(self.several(want()), 1)

    def test_given_back_as_broken(self):
        """The holder gives a unit back and takes it out of service in one step, with a key that may only lock."""
        self.card("red")
        held = self.several(want())
        waiting = self.several(want())
        answer = self.ask("POST", f"{PHONES}/red/unlock", '{"out": "does not boot"}', ticket=held.ticket, key=LOCK)
        self.assertEqual(answer.json, {"unlocked": True})
        self.waits_at(self.again(waiting.ticket), 1)
        self.assertEqual(self.ask("GET", PHONES).json["selectors"][0]["card"]["out"], "does not boot")
        kinds = [
            (event["event"], event.get("reason")) for event in self.ask("GET", f"{PHONES}/red/events").json["events"]
        ]
        self.assertIn(("out", "does not boot"), kinds)

    def test_broken_needs_the_permission(self):
        """A key that may only read cannot take a unit out of service, nor can a ticket that waits."""
        self.card("red")
        held = self.several(want())
        path, body = f"{PHONES}/red/unlock", '{"out": "x"}'
        self.assertEqual(self.ask("POST", path, body, ticket=held.ticket, key=READ).status, 401)
        waiting = self.queue(f"{PHONES}/red")
        self.assertEqual(self.ask("POST", path, body, ticket=waiting).status, 423)

    def test_events(self):
        """That a unit went out of service and came back is history, with who did it and why."""
        self.card("red")
        self.ask("PATCH", f"{PHONES}/red", '{"out": "cracked"}', headers=[("x-owner", "Ann")])
        self.card("red", out=None)
        events = self.ask("GET", f"{PHONES}/red/events").json["events"]
        self.assertEqual([event["event"] for event in events], ["back", "out"])
        self.assertEqual((events[1]["owner"], events[1]["reason"]), ("Ann", "cracked"))


class SeveralTests(PoolTests):
    """Several things at once."""

    def setUp(self):
        super().setUp()
        for selector, tags in (("a", "x"), ("b", "x"), ("c", "x y")):
            self.card(selector, tags)

    def test_at_once(self):
        """All that is wanted, with a fence for each, one ticket and one lease."""
        ticket = self.lock(f"{PHONES}/a")
        self.write('{"imei": 5}', ticket, f"{PHONES}/a")
        self.unlock(ticket, f"{PHONES}/a")
        answer = self.several(want(tags=["x"], count=2), want(tags=["y"]))
        self.assertEqual(
            [(unit["want"], unit["resource"], unit["selector"], unit["data"]) for unit in answer.json["got"]],
            [(0, "phones", "a", '{"imei": 5}'), (0, "phones", "b", None), (1, "phones", "c", None)],
        )
        self.assertEqual(len({unit["fence"] for unit in answer.json["got"]}), 3)
        self.assertEqual(answer.headers["X-Lease"], "300")

    def test_use(self):
        """Each unit works with the ticket as usual: read, written, kept, let go of."""
        ticket = self.several(want(count=2)).ticket
        self.assertEqual(self.ask("GET", f"{PHONES}/a", ticket=ticket).status, 404)
        self.assertEqual(self.ask("PUT", f"{PHONES}/a", "5", ticket=ticket).status, 204)
        self.assertHeld(self.ask("POST", f"{PHONES}/b/lock", ticket=ticket), ticket)
        self.unlock(ticket, f"{PHONES}/a")
        self.assertEqual(self.got(self.again(ticket)), "b")
        self.assertFree(f"{PHONES}/a")
        self.give_back(ticket)
        self.give_back(ticket, had=False)
        self.assertFree(f"{PHONES}/b")

    def test_one_lease(self):
        """The use of any unit renews the lease of all; without any all of it lapses together."""
        ticket = self.several(want(count=2)).ticket
        for _ in range(3):
            self.clock.advance(200)
            self.assertEqual(self.ask("PUT", f"{PHONES}/a", "5", ticket=ticket).status, 204)
        self.clock.advance(299)
        self.assertEqual(self.got(self.again(ticket)), "a b")
        self.clock.advance(301)
        self.assertRefused(410, "ticket_ended", self.ask("POST", f"{PHONES}/b/lock", ticket=ticket))
        self.assertEqual(self.again(ticket).status, 410)
        self.assertFree(f"{PHONES}/a")
        self.assertFree(f"{PHONES}/b")

    def test_shortest_lease(self):
        """Of different resources the shortest lease counts for all."""
        self.several(want(count=3))
        for name, timeout in (("bench", 100), ("licence", 50)):
            body = json.dumps({"name": name, "timeout": timeout})
            self.assertEqual(self.ask("POST", "/resource", body).status, 201)
            self.store.resources[name] = self.store.resources[name].__class__(
                self.store.resources[name].id, name, timeout, "lab"
            )
        answer = self.several(want("bench", selector="1"), want("licence", selector="x"))
        self.assertEqual((self.got(answer), answer.headers["X-Lease"]), ("1 x", "50"))
        self.clock.advance(51)
        self.assertFree("/resource/bench/1")

    def test_waiting(self):
        """Who comes later waits, by position, and a long poll is answered the moment everything is there."""
        first = self.several(want(count=2)).ticket
        second = self.begin_several(want(count=3), wait=50)
        self.assertFalse(second.answered)
        third = self.waits_at(self.several(want(tags=["y"])), 2)
        self.give_back(first)
        self.assertEqual(self.got(self.end(second)), "a b c")
        self.waits_at(self.again(third), 1)
        self.give_back(self.end(second).ticket)
        self.assertEqual(self.got(self.again(third)), "c")

    def test_claim_window(self):
        """What falls to a client that is not there passes on after the claim window, all of it."""
        first = self.several(want(count=3)).ticket
        second = self.several(want(count=2)).ticket
        third = self.several(want(count=3)).ticket
        self.give_back(first)
        self.clock.advance(29)
        self.waits_at(self.again(third), 1)
        self.clock.advance(2)
        self.assertEqual(self.got(self.again(third)), "a b c")
        self.assertEqual(self.again(second).status, 410)

    def test_claimed(self):
        """A client that comes within the claim window has its lease."""
        first = self.several(want(count=3)).ticket
        second = self.several(want(count=2)).ticket
        self.give_back(first)
        self.clock.advance(29)
        self.assertEqual(self.got(self.again(second)), "a b")
        self.clock.advance(299)
        self.assertEqual(self.got(self.again(second)), "a b")

    def test_place_lapses(self):
        """A place that is not polled ends."""
        first = self.several(want(count=3)).ticket
        second = self.several(want()).ticket
        self.clock.advance(61)
        self.assertEqual(self.again(second).status, 410)
        self.assertEqual(self.got(self.again(first)), "a b c")
        self.give_back(first)
        self.assertFree(f"{PHONES}/a")

    def test_leaving_the_line(self):
        """Who gives up its place leaves what was kept for it to the next."""
        first = self.lock(f"{PHONES}/a")
        second = self.several(want(count=3)).ticket
        third = self.begin_several(want(), wait=50)
        self.assertFalse(third.answered)
        self.give_back(second)
        self.assertEqual(self.got(self.end(third)), "b")
        self.unlock(first, f"{PHONES}/a")

    def test_by_name(self):
        """A request by name on a unit stands in the same order, before and behind those for several."""
        held = self.several(want(count=3)).ticket
        first = self.several(want(count=2)).ticket
        name = self.begin("POST", f"{PHONES}/a/lock?wait=50")
        self.assertWaits(self.ask("POST", f"{PHONES}/a/lock"), 3)
        self.give_back(held)
        self.assertFalse(name.answered)
        self.assertEqual(self.got(self.again(first)), "a b")
        self.give_back(first)
        self.assertHeld(self.end(name))

    def test_plain_selectors(self):
        """What is no unit can be named too; whoever asks by name for it takes part in the same order."""
        held = self.lock(f"{PHONES}/plain")
        both = self.begin_several(want(selector="plain"), want(selector="other"), wait=50)
        self.assertFalse(both.answered)
        later = self.begin("POST", f"{PHONES}/other/lock?wait=50")
        self.assertFalse(later.answered)
        self.unlock(held, f"{PHONES}/plain")
        self.assertEqual(self.got(self.end(both)), "plain other")
        self.give_back(self.end(both).ticket)
        self.assertHeld(self.end(later))

    def test_too_few(self):
        """What could never be met is refused, and says how many there are; out of service counts in."""
        answer = self.several(want(tags=["x"], count=4))
        self.assertRefused(409, "too_few", answer)
        self.assertEqual(answer.json["have"], 3)
        self.card("a", "x", out="cracked")
        self.waits_at(self.several(want(tags=["x"], count=3)), 1)

    def test_everything(self):
        """All in service that match."""
        self.card("a", "x", out="cracked")
        self.assertEqual(self.got(self.several(want(tags=["x"], count="all"))), "b c")

    def test_other_group(self):
        """Resources of different groups cannot be had at once, and the answer names the field."""
        self.create("bench")
        answer = self.several(want(), want("bench", selector="1"))
        self.assertRefused(409, "other_group", answer)
        self.assertEqual(answer.json["field"], "group")

    def test_foreign_ticket(self):
        """A ticket that holds or waits for something else is refused here, and that of several things elsewhere."""
        other = self.lock(f"{PHONES}/plain")
        self.assertRefused(409, "foreign_ticket", self.several(want(), ticket=other))
        ticket = self.several(want()).ticket
        self.assertRefused(409, "foreign_ticket", self.several(want(count=2), ticket=ticket))
        self.assertRefused(409, "foreign_ticket", self.ask("POST", f"{PHONES}/elsewhere/lock", ticket=ticket))
        self.assertEqual(self.got(self.several(want(), ticket=ticket)), "a")

    def test_ended(self):
        """A ticket that is none, or another key's, is told that it has ended."""
        self.start(adopted={digest_of(b"other"): Identity("other", Permission.READ | Permission.LOCK)})
        self.create("phones")
        self.card("a")
        ticket = self.several(want()).ticket
        self.assertRefused(410, "ticket_ended", self.again("f" * 32))
        self.assertRefused(410, "ticket_ended", self.several(want(), ticket="nonsense"))
        self.assertEqual(self.ask("POST", "/lock", ticket=ticket, key="other").status, 410)
        self.assertEqual(self.ask("POST", "/unlock", ticket=ticket, key="other").json, {"unlocked": False})

    def test_broken_out(self):
        """A break takes one unit; the ticket is told so there and here, with what is left of it."""
        answer = self.several(want(count=2))
        ticket, fence = answer.ticket, answer.json["got"][0]["fence"]
        self.assertEqual(self.ask("DELETE", f"{PHONES}/a/lock?fence={fence}").status, 204)
        self.assertEqual(self.ask("POST", f"{PHONES}/a/lock", ticket=ticket).status, 410)
        answer = self.again(ticket)
        self.assertRefused(410, "ticket_ended", answer)
        self.assertEqual(answer.json["left"], [{"resource": "phones", "selector": "b"}])
        self.assertHeld(self.ask("POST", f"{PHONES}/b/lock", ticket=ticket))
        self.assertFree(f"{PHONES}/a")
        self.give_back(ticket)

    def test_given_back_with_a_body(self):
        """Who gives several units back cannot say that they are broken, and is told so before they serve others."""
        ticket = self.several(want(count=2)).ticket
        for body, code in (('{"out": "cracked"}', "bad_out"), ('{"reason": "cracked"}', "unknown_field")):
            self.assertRefused(400, code, self.ask("POST", "/unlock", body, ticket=ticket))
        self.give_back(ticket)

    def test_broken_before_it_is_told(self):
        """Of what was granted nobody is told a part: if a unit is taken before the answer, the answer says so; also to the same request again."""
        headers = [("idempotency-key", "build 7")]
        self.store.slow = True
        asks = self.begin_several(want(count=2), headers=headers)
        while not (holder := self.server.locking.locks.places.queues.by_key.get(LockKey("phones", "a"))):
            self.store.go_on_once()
        assert holder.holder is not None
        self.begin("DELETE", f"{PHONES}/a/lock?fence={holder.holder.fence}")
        # Without a cache the break looks up its resource first, before the grant is kept.
        self.store.last_first()
        self.store.go_on()
        answer = self.end(asks)
        self.assertEqual((answer.status, answer.json["left"]), (410, [{"resource": "phones", "selector": "b"}]))
        again = self.several(want(count=2), headers=headers)
        self.assertEqual((again.status, again.ticket), (410, answer.ticket))
        # Without it nobody could give back what is left.
        self.give_back(answer.ticket)
        self.assertFree(f"{PHONES}/b")

    def test_broken_to_the_next(self):
        """What is broken out goes to the next in line, not back to who had it."""
        answer = self.several(want(count=3))
        following = self.begin_several(want(tags=["y"]), wait=50)
        fence = answer.json["got"][2]["fence"]
        self.assertEqual(self.ask("DELETE", f"{PHONES}/c/lock?fence={fence}").status, 204)
        self.assertEqual(self.got(self.end(following)), "c")

    def test_idempotency_key(self):
        """The same request again, after a lost answer, gets the same ticket."""
        headers = [("Idempotency-Key", "build 7")]
        first = self.several(want(count=2), headers=headers)
        again = self.several(want(count=2), headers=headers)
        self.assertEqual((first.ticket, self.got(first)), (again.ticket, self.got(again)))

    def test_idempotency_key_of_something_else(self):
        """Nobody is told to have what it asks for because it had something else under the same Idempotency-Key."""
        headers = [("Idempotency-Key", "build 7")]
        first = self.several(want(), headers=headers)
        self.assertRefused(409, "foreign_ticket", self.several(want(selector="b"), headers=headers))
        self.assertFree(f"{PHONES}/b")
        self.assertEqual(self.got(self.again(first.ticket)), "a")

    def test_yield(self):
        """A polite request leaves free units to others, and gets everything when it is there."""
        held = self.lock(f"{PHONES}/a")
        polite = self.several(want(count=3), polite=True).ticket
        second = self.several(want())
        self.assertEqual(self.got(second), "b")
        self.unlock(held, f"{PHONES}/a")
        self.waits_at(self.again(polite), 1)
        self.give_back(second.ticket)
        self.assertEqual(self.got(self.again(polite)), "a b c")

    def test_bad_wants(self):
        """What cannot be wanted is refused, and says why."""
        for body, code in (
            ({}, "bad_want"),
            ({"want": []}, "bad_want"),
            ({"want": [want()] * 17}, "bad_want"),
            ({"want": ["phones"]}, "bad_want"),
            ({"want": [{}]}, "bad_want"),
            ({"want": [want(count=0)]}, "bad_count"),
            ({"want": [want(count=1001)]}, "bad_count"),
            ({"want": [want(count="some")]}, "bad_count"),
            ({"want": [want(count=True)]}, "bad_count"),
            ({"want": [want(tags="x")]}, "bad_tags"),
            ({"want": [want(selector="a", count=1)]}, "bad_want"),
            ({"want": [want(selector="a"), want(selector="a")]}, "bad_want"),
            ({"want": [want(selector="..")]}, "bad_name"),
            ({"want": [want(color="x")]}, "unknown_field"),
            ({"want": [want()], "yield": 1}, "bad_yield"),
            ({"wants": [want()]}, "unknown_field"),
        ):
            self.assertRefused(400, code, self.ask("POST", "/lock", json.dumps(body)))
        self.assertRefused(400, "bad_json", self.ask("POST", "/lock", ""))
        self.assertRefused(404, "unknown_resource", self.several(want("none")))
        self.assertEqual(self.ask("POST", "/unlock").status, 428)
        self.assertEqual(self.ask("POST", "/lock", json.dumps({"want": [want()]}), key=READ).status, 401)

    def test_resource_in_use(self):
        """A resource that a request waits for cannot be removed."""
        self.several(want(count=3))
        waiting = self.several(want()).ticket
        self.assertEqual(self.ask("DELETE", PHONES).status, 423)
        self.give_back(waiting)

    def test_removed_resource(self):
        """With a resource go its units."""
        self.assertEqual(self.ask("DELETE", PHONES).status, 204)
        self.create("phones")
        self.assertRefused(409, "too_few", self.several(want()))
        self.assertEqual(self.ask("GET", PHONES).json["selectors"], [])

    def test_deadlock(self):
        """Who would wait for what waits for its own lock is refused, be it held or kept, and by whichever of the two."""
        mine, yours = self.lock(f"{PHONES}/mine"), self.lock(f"{PHONES}/yours")
        waiting = self.waits_at(self.several(want(selector="yours"), headers=[("x-holds", mine)]), 1)
        answer = self.ask("POST", f"{PHONES}/mine/lock", headers=[("x-holds", yours)])
        self.assertRefused(409, "deadlock", answer)
        self.give_back(waiting)
        self.waits_at(self.several(want(selector="yours"), want(selector="kept")), 1)
        self.assertRefused(409, "deadlock", self.ask("POST", f"{PHONES}/kept/lock", headers=[("x-holds", yours)]))
        self.assertWaits(self.ask("POST", f"{PHONES}/mine/lock", headers=[("x-holds", yours)]), 1)
        self.assertRefused(409, "deadlock", self.several(want(selector="yours"), headers=[("x-holds", mine)]))

    def test_deadlock_by_tags(self):
        """Who wants more units than there are beside those that it holds already is refused; while there is another one, it waits for that."""
        for selector in ("a", "b", "c"):
            self.card(selector, "five")
        tickets = [self.several(want(tags=["five"])).ticket for _ in range(3)]
        self.card("d", "other")
        two, all_three = ", ".join(tickets[:2]), ", ".join(tickets)
        self.give_back(self.waits_at(self.several(want(tags=["five"]), headers=[("x-holds", two)]), 1))
        self.assertRefused(409, "deadlock", self.several(want(tags=["five"]), headers=[("x-holds", all_three)]))
        self.assertRefused(409, "deadlock", self.several(want(tags=["five"], count=2), headers=[("x-holds", two)]))
        # One that is out of service may come back.
        self.card("e", "five", out="flat")
        self.waits_at(self.several(want(tags=["five"]), headers=[("x-holds", all_three)]), 1)


class LimitTests(WebTests):
    def test_units(self):
        """A resource has so many units at most as the setting says, as cards or slots; what is refused leaves nothing behind."""
        self.start(max_units=3)
        self.create("phones")
        for selector in "abc":
            self.assertEqual(self.ask("PATCH", f"{PHONES}/{selector}", '{"tags": ["x"]}').status, 200)
        self.assertRefused(503, "overloaded", self.ask("PATCH", f"{PHONES}/d", '{"tags": ["x"]}'))
        self.assertEqual(self.ask("PATCH", f"{PHONES}/c", '{"tags": ["y"]}').status, 200)
        self.assertRefused(503, "overloaded", self.ask("PATCH", PHONES, '{"slots": 1}'))
        self.assertNotIn("slots", self.ask("GET", PHONES).json)
        self.assertRefused(503, "overloaded", self.ask("POST", "/resource", '{"name": "licence", "slots": 4}'))
        self.assertEqual(self.ask("GET", "/resource/licence").status, 404)
        self.assertEqual(self.ask("POST", "/resource", '{"name": "licence", "slots": 3}').status, 201)
        for slots in (2, 3):
            self.assertEqual(self.ask("PATCH", "/resource/licence", json.dumps({"slots": slots})).status, 200)
        self.assertRefused(503, "overloaded", self.ask("PATCH", "/resource/licence", '{"slots": 4}'))
        self.assertEqual(len(self.ask("GET", "/resource/licence").json["selectors"]), 3)


class SlotTests(WebTests):
    """A resource that is a number of equal permits."""

    def slots(self) -> str:
        listed = self.ask("GET", "/resource/licence").json["selectors"]
        return " ".join(each["selector"] for each in listed if "card" in each)

    def take(self, count: int) -> Answer:
        return self.ask("POST", "/lock", json.dumps({"want": [{"resource": "licence", "count": count}]}))

    def change(self, slots: int) -> None:
        self.assertEqual(self.ask("PATCH", "/resource/licence", json.dumps({"slots": slots})).status, 200)

    def setUp(self):
        super().setUp()
        body = json.dumps({"name": "licence", "slots": 9})
        self.assertEqual(self.ask("POST", "/resource", body).status, 201)

    def test_made(self):
        """Of nine permits two jobs have four each, and the third waits."""
        self.assertEqual(self.slots(), "1 2 3 4 5 6 7 8 9")
        first = self.take(4)
        self.assertEqual([first.status, self.take(4).status], [200, 200])
        third = self.take(4)
        self.assertEqual(third.status, 202)
        self.ask("POST", "/unlock", ticket=first.ticket)
        self.assertEqual(self.ask("POST", "/lock", ticket=third.ticket).status, 200)

    def test_changed(self):
        """More are there at once; of fewer those that are free go at once, and those that are held when they are free."""
        self.change(11)
        self.assertEqual(self.slots(), "1 10 11 2 3 4 5 6 7 8 9")
        self.change(2)
        self.assertEqual(self.slots(), "1 2")
        ticket = self.take(2).ticket
        waiting = self.take(1)
        self.change(1)
        self.assertEqual(self.slots(), "1 2")
        self.assertEqual(self.ask("PUT", "/resource/licence/2", "5", ticket=ticket).status, 204)
        self.unlock(ticket, "/resource/licence/2")
        self.assertEqual(self.slots(), "1")
        self.assertEqual(self.ask("POST", "/lock", ticket=waiting.ticket).status, 202)
        self.unlock(ticket, "/resource/licence/1")
        self.assertEqual(self.ask("POST", "/lock", ticket=waiting.ticket).status, 200)

    def test_back_before_it_went(self):
        """A slot that was to go stays if there are to be more again."""
        ticket = self.take(9).ticket
        self.change(1)
        self.change(9)
        self.ask("POST", "/unlock", ticket=ticket)
        self.assertEqual(len(self.slots().split()), 9)
        self.assertEqual(self.take(9).status, 200)

    def test_interrupted(self):
        """A change of which nobody knows whether it was made is made good by asking again, be it to fewer or to more."""
        for slots, names in ((3, "1 2 3"), (5, "1 2 3 4 5")):
            self.store.faults["commit"] = StoreUnavailable("The store is away.")
            answer = self.ask("PATCH", "/resource/licence", json.dumps({"slots": slots}))
            self.assertEqual(answer.status, 503)
            del self.store.faults["commit"]
            self.clock.advance(1)
            self.change(slots)
            self.assertEqual(self.slots(), names)

    def test_changed_twice_at_once(self):
        """Of two changes the second begins where the first has ended."""
        self.store.slow = True
        both = [self.begin("PATCH", "/resource/licence", json.dumps({"slots": slots})) for slots in (12, 2)]
        while not both[1].answered:
            self.store.go_on_once()
        self.store.go_on()
        self.assertEqual([self.end(each).status for each in both], [200, 200])
        self.assertEqual(self.slots(), "1 2")

    def test_gone_after_a_restart(self):
        """A slot that was to go goes after a restart too."""
        ticket = self.take(9).ticket
        self.change(1)
        self.restart()
        self.ask("POST", "/unlock", ticket=ticket)
        self.assertEqual(self.slots(), "1")


class LeaseTests(PoolTests):
    """Lease and priority of a request for several things."""

    def setUp(self):
        super().setUp()
        self.card("a")
        self.card("b")

    def ask_for(self, query: str = "", priority: str = "0") -> Answer:
        body = json.dumps({"want": [want(count=2)]})
        return self.ask("POST", f"/lock{query}", body, key=LOCK, headers=[("x-priority", priority)])

    def test_lease(self):
        """It is that of the request, at every renewal and after a restart; longer than a resource allows it is refused."""
        self.assertRefused(400, "bad_lease", self.ask_for("?lease=301"))
        answer = self.ask_for("?lease=20")
        self.assertEqual(answer.headers["X-Lease"], "20")
        self.clock.advance(19)
        self.assertEqual(self.ask("PUT", f"{PHONES}/a", "5", ticket=answer.ticket).headers["X-Lease"], "20")
        self.clock.advance(21)
        self.assertFree(f"{PHONES}/b")
        answer = self.ask_for("?lease=20")
        self.restart()
        self.assertEqual(self.again(answer.ticket).headers["X-Lease"], "20")

    def test_priority(self):
        """The lower one waits for the higher one, though it came first; above 0 the key must allow it."""
        self.assertRefused(403, "forbidden_priority", self.ask_for(priority="1"))
        held = self.ask_for().ticket
        low = self.ask_for(priority="-1").ticket
        usual = self.ask_for()
        self.waits_at(usual, 1)
        self.restart()
        self.waits_at(self.again(low), 2)
        self.give_back(held)
        self.assertEqual(self.got(self.again(usual.ticket)), "a b")

    def test_group(self):
        """Resources of one group can be had at once; the group cannot change while a request names the resource."""
        self.create("bench")
        for name in ("phones", "bench"):
            self.assertEqual(self.ask("PATCH", f"/resource/{name}", '{"group": "lab"}').status, 200)
        held = self.several(want(count=2), want("bench", selector="1"))
        self.assertEqual(self.got(held), "a b 1")
        self.waits_at(self.several(want()), 1)
        self.assertEqual(self.ask("PATCH", PHONES, '{"group": "other"}').status, 423)


class GroupChangeTests(PoolTests):
    """A group that changes while a request names its resource."""

    def setUp(self):
        super().setUp()
        self.create("bench")
        for name in ("phones", "bench"):
            self.regroup(name, "lab")
        self.card("a")
        self.ask("PATCH", "/resource/bench/1", json.dumps({"tags": []}))
        # Now it remembers no definition.
        self.restart()

    def regroup(self, name: str, group: str) -> None:
        self.assertEqual(self.ask("PATCH", f"/resource/{name}", json.dumps({"group": group})).status, 200)

    def test_before_it_has_its_place(self):
        """A request that has looked a resource up before sees the new group."""
        self.store.slow = True
        asks = self.begin_several(want(), want("bench"))
        self.store.go_on_once()
        self.assertFalse(asks.answered)
        self.store.slow = False
        self.regroup("phones", "attic")
        self.store.go_on()
        self.assertEqual((self.end(asks).status, asks.answer.json["code"]), (409, "other_group"))

    def test_meanwhile(self):
        """While the group is being changed nobody gets in."""
        self.store.slow = True
        changes = self.begin("PATCH", PHONES, json.dumps({"group": "attic"}))
        self.store.go_on_once()
        asks = self.begin_several(want(), want("bench"))
        while not asks.answered:
            # What the request looks up, before the change.
            self.store.last_first()
            self.store.go_on_once()
        self.assertEqual(asks.answer.status, 503)
        self.assertFalse(changes.answered)
        self.store.go_on()
        self.assertEqual(self.end(changes).status, 200)
        self.assertEqual(self.several(want(), want("bench")).status, 409)
        self.assertEqual(self.got(self.several(want())), "a")


class VolatileTests(PoolTests):
    """Cards where locks are kept in memory only."""

    def start(self, **changes: Any) -> None:
        super().start(**changes, volatile_locks=True)

    def test_commit_fails(self):
        """A card that could not be kept is as the store knows it, and who waits is served by that."""
        self.card("a", "x")
        self.ask("PATCH", f"{PHONES}/b", json.dumps({"out": "broken"}))
        waiting = self.several(want(count=2)).ticket
        self.store.faults["commit"] = StoreUnavailable("The store is away.")
        for selector, card in (("a", {"tags": ["y"]}), ("c", {"tags": ["x"]}), ("b", {"out": None})):
            self.assertEqual(self.ask("PATCH", f"{PHONES}/{selector}", json.dumps(card)).status, 503)
        del self.store.faults["commit"]
        self.clock.advance(1)
        listed = self.ask("GET", PHONES).json["selectors"]
        self.assertEqual([(each["selector"], each["card"]["tags"]) for each in listed], [("a", ["x"]), ("b", [])])
        self.waits_at(self.again(waiting), 1)
        self.restart()
        self.assertEqual(
            [each["card"] for each in self.ask("GET", PHONES).json["selectors"]], [each["card"] for each in listed]
        )
        self.assertEqual(self.got(self.several(want(tags=["x"]))), "a")


class ComplaintTests(PoolTests):
    """What users of other systems have complained about."""

    def setUp(self):
        super().setUp()
        for selector in "abc":
            self.card(selector, "x")

    def test_two_at_the_same_instant(self):
        """Two jobs that ask for one of three units in the same instant get two different ones, both at once."""
        self.store.slow = True
        both = [self.begin_several(want(tags=["x"])) for _ in range(2)]
        self.assertFalse(any(each.answered for each in both))
        self.store.go_on()
        first, second = (self.got(self.end(each)) for each in both)
        self.assertNotEqual(first, second)

    def test_crosswise_with_deaths(self):
        """Jobs that want the same in another order never wait for each other, and have it in the order in which they came."""
        wants = [
            (want(selector="a"), want(selector="b")),
            (want(selector="b"), want(selector="a")),
            (want(selector="a"),),
        ]
        order = [self.several(*some).ticket for some in wants]
        for turn in range(30):
            first = order.pop(0)
            self.assertEqual(self.again(first).status, 200)
            for position, ticket in enumerate(order, 1):
                self.waits_at(self.again(ticket), position)
            order.append(self.several(*wants[turn % 3]).ticket)
            if turn % 4:
                self.give_back(first)
                continue
            # It dies: the others go on asking until its lease is over.
            for _ in range(7):
                self.clock.advance(50)
                for ticket in order:
                    self.again(ticket)
        for ticket in order:
            self.assertEqual(self.again(ticket).status, 200)
            self.give_back(ticket)

    def test_who_waits_and_for_how_long(self):
        """Whoever waits is told its position; the list says who waits for what, and for how long already."""
        self.several(want(count=3), headers=[("x-owner", "Ada")])
        self.waits_at(self.several(want(count=2), headers=[("x-owner", "Bob")]), 1)
        self.clock.advance(7)
        self.waits_at(self.several(want(tags=["x"]), headers=[("x-owner", "Eve")]), 2)
        rows = self.ask("GET", "/locks?sort=waiting", key=READ).json["locks"]
        self.assertEqual([(row["waiter"]["owner"], row["waiter"]["waited"]) for row in rows], [("Bob", 7), ("Eve", 0)])
        self.assertEqual([row["want"][0]["resource"] for row in rows], ["phones", "phones"])


class RestartTests(PoolTests):
    """What is kept over a restart."""

    def setUp(self):
        super().setUp()
        for selector in "abc":
            self.card(selector)

    def test_granted(self):
        """The same ticket has everything after a restart, under the same fences."""
        first = self.several(want(count=2))
        self.restart()
        again = self.again(first.ticket)
        self.assertEqual(again.json, first.json)
        self.give_back(first.ticket)
        self.assertEqual(self.store.places, {})
        self.assertEqual(self.store.joints, {})

    def test_waiting(self):
        """Who waits keeps the place, and what is kept for it."""
        held = self.lock(f"{PHONES}/a")
        first = self.several(want(count=3)).ticket
        second = self.several(want()).ticket
        self.restart()
        self.waits_at(self.again(first), 1)
        self.waits_at(self.again(second), 2)
        self.unlock(held, f"{PHONES}/a")
        self.assertEqual(self.got(self.again(first)), "a b c")
        self.waits_at(self.again(second), 1)

    def test_broken_out(self):
        """That a unit was taken from a ticket is remembered."""
        answer = self.several(want(count=2))
        self.ask("DELETE", f"{PHONES}/a/lock?fence={answer.json['got'][0]['fence']}")
        self.restart()
        self.assertEqual(self.again(answer.ticket).json["left"], [{"resource": "phones", "selector": "b"}])

    def test_commit_fails(self):
        """A grant that could not be kept is not told; with the store back, all goes on from what it knows."""
        held = self.several(want(count=3)).ticket
        waiting = self.several(want(count=2)).ticket
        self.store.faults["commit"] = StoreUnavailable("The store is away.")
        self.assertEqual(self.ask("POST", "/unlock", ticket=held).status, 503)
        del self.store.faults["commit"]
        self.clock.advance(1)
        self.assertEqual(self.got(self.again(held)), "a b c")
        self.waits_at(self.again(waiting), 1)
        self.give_back(held)
        self.assertEqual(self.got(self.again(waiting)), "a b")

    def test_read_fails(self):
        """If the data of the units cannot be read, that is no error of the server; with the store back the same request has everything."""
        headers = [("idempotency-key", "build 7")]
        self.store.faults["read"] = StoreUnavailable("The store is away.")
        self.assertEqual(self.several(want(count=2), headers=headers).status, 503)
        del self.store.faults["read"]
        self.assertEqual(self.got(self.several(want(count=2), headers=headers)), "a b")

    def test_client_goes_away_while_it_is_read(self):
        """That is no error of the server either."""
        self.store.slow = True
        asks = self.begin_several(want(count=2))
        for _ in range(2):
            self.store.go_on_once()
        self.assertFalse(asks.answered)
        asks.hang_up()
        self.store.go_on()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_new_request_fails(self):
        """A request of which its client was never told leaves nothing behind."""
        self.store.faults["commit"] = StoreUnavailable("The store is away.")
        self.assertEqual(self.several(want(count=2)).status, 503)
        del self.store.faults["commit"]
        self.clock.advance(1)
        self.assertEqual(self.got(self.several(want(count=3))), "a b c")


class KeyTests(PoolTests):
    """What a key may touch and take."""

    def limited(self, *, prefixes: tuple[str, ...] = (), **quotas: float) -> None:
        """Have a key named t that is limited, and three phones."""
        permission = Permission.READ | Permission.LOCK
        self.start(adopted={digest_of(b"t"): Identity("t", permission, prefixes, tuple(quotas.items()))})
        for name in ("phones", "secret"):
            self.create(name)
        for selector in "abc":
            self.card(selector)

    def ask_as(self, *wants: dict[str, Any]) -> Answer:
        exchange = self.begin("POST", "/lock", json.dumps({"want": list(wants)}), key="t")
        return exchange.answer

    def test_prefix(self):
        """A request that names one resource that the key may not touch is refused."""
        self.limited(prefixes=("phones",))
        self.assertRefused(403, "forbidden_resource", self.ask_as(want(), want("secret", selector="x")))
        self.assertEqual(self.ask_as(want()).status, 200)

    def test_locks(self):
        """Each unit counts as a lock."""
        self.limited(max_locks=2)
        self.assertEqual(self.ask_as(want(count=3)).json["code"], "quota_max_locks")
        ticket = self.ask_as(want(count=2)).ticket
        self.assertEqual(self.ask_as(want()).json["code"], "quota_max_locks")
        self.ask("POST", "/unlock", ticket=ticket, key="t")
        self.assertEqual(self.ask_as(want()).status, 200)

    def test_waiting(self):
        """A request that waits counts as one, however much it wants; one that is refused leaves nothing behind."""
        self.limited(max_waiting=1)
        held = self.several(want(count=3)).ticket
        first = self.ask_as(want(count=3))
        self.assertEqual(first.status, 202)
        self.assertEqual(self.ask_as(want()).json["code"], "quota_max_waiting")
        self.give_back(held)
        self.assertEqual(self.ask("POST", "/lock", ticket=first.ticket, key="t").status, 200)
        self.ask("POST", "/unlock", ticket=first.ticket, key="t")
        self.assertEqual((self.store.places, self.store.joints), ({}, {}))


class AboutTests(PoolTests):
    def test_about(self):
        """Who waits is told how long that will take, once enough others have waited for the same; and not yet after a restart."""
        self.card("red")

        def turn(ahead: list[str]) -> Answer:
            """Have one more wait behind those ahead; ten seconds later the first of all is over."""
            answer = self.several(want())
            self.clock.advance(10)
            self.give_back(ahead.pop(0))
            self.again(ahead[0])
            ahead.append(answer.ticket)
            for ticket in ahead[1:]:
                self.again(ticket)
            return answer

        tickets = [self.several(want()).ticket for _ in range(5)]
        answers = [turn(tickets) for _ in range(30)]
        self.assertNotIn("about", answers[0].json)
        self.assertEqual(answers[-1].json, {"locked": False, "position": 5, "about": 50})
        self.assertEqual(self.again(tickets[-1]).json, {"locked": False, "position": 4, "about": 40})
        self.assertNotIn("about", self.several(want("phones", selector="red")).json)
        self.restart()
        self.assertNotIn("about", self.several(want()).json)
