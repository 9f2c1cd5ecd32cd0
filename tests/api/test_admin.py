"""The second half of the API, on the real HTTP edge in memory: lists, definitions, states, breaks, removals, and entity tags."""

from __future__ import annotations

import itertools
import json
from typing import Any
from urllib.parse import quote

import pytest
from twisted.internet.defer import Deferred

from resourced.auth.keys import Identity, Permission, digest_of
from resourced.errors import StoreUnavailable
from resourced.model import Resource
from tests.assembled import LOCK, READ, WRITE
from tests.wire import A4, Answer, WebTests

pytestmark = [pytest.mark.trial, pytest.mark.reference_path]

PRINTER = "/resource/printer"
#: Sorted by their code points, which is not how they sort as UTF-16, nor how people do.
NAMES = sorted(
    ["A", "A4", "A4 ", "B", "a4", "a/b", "\u00c14", "ss", "\u00df", "\uffff", "\U0001f600", "\U0010ffff", "%", "_"]
)


def path_of(*names: str) -> str:
    return "/resource/" + "/".join(quote(name, safe="") for name in names)


def query(**arguments: object) -> str:
    return "&".join(f"{name}={quote(str(value), safe='')}" for name, value in arguments.items())


class SteeringTests(WebTests):
    """What these tests start from: a printer."""

    def setUp(self):
        super().setUp()
        self.create()

    def fence(self, path: str = A4) -> int:
        return int(self.ask("GET", f"{path}/lock").json["holder"]["fence"])

    def etag(self, path: str = A4) -> str:
        return self.ask("GET", f"{path}?lock=0").headers["ETag"]

    def read_all(self, path: str, what: str, name: str, **arguments: object) -> list[dict[str, Any]]:
        """Read a list page by page; each but the last is full, and says where the next one begins."""
        found: list[dict[str, Any]] = []
        after: dict[str, object] = {}
        while True:
            answer = self.ask("GET", f"{path}?{query(**arguments, **after)}")
            self.assertEqual(answer.status, 200, answer.body)
            page = answer.json[what]
            found += page
            if answer.json["next"] is None:
                return found
            self.assertEqual(len(page), arguments["limit"])
            self.assertEqual(answer.json["next"], page[-1][name])
            after = {"after": answer.json["next"]}


class ListTests(SteeringTests):
    def test_resources(self):
        """Each resource with its definition, how many locks of it are held, and how many wait."""
        self.create("Plotter", 7)
        holder = self.lock()
        self.lock(f"{PRINTER}/A5")
        self.queue()
        answer = self.ask("GET", "/resource", key=READ)
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.headers["Cache-Control"], "no-store")
        first, second = answer.json["resources"]
        self.assertEqual(list(second.items())[1:], [("name", "printer"), ("timeout", 0), ("held", 2), ("waiting", 1)])
        self.assertEqual((first["name"], first["timeout"], first["held"], first["waiting"]), ("Plotter", 7, 0, 0))
        self.assertEqual(first["id"], self.ask("GET", "/resource/Plotter").json["id"])
        self.assertIsNone(answer.json["next"])
        self.unlock(holder)
        self.assertEqual(self.ask("GET", "/resource").json["resources"][1]["waiting"], 0)

    def test_pages(self):
        """Pages of any length come to the same list, sorted by code points; a prefix is exact."""
        for name in NAMES:
            self.create(name)
        everything = sorted([*NAMES, "printer"])
        for prefix in ("", "A", "A4", "\U0001f600", "p", "none", "\x01", "%", "_"):
            expected = [name for name in everything if name.startswith(prefix)]
            for limit in (1, 2, 5, 1000):
                found = self.read_all("/resource", "resources", "name", prefix=prefix, limit=limit)
                self.assertEqual([resource["name"] for resource in found], expected)

    def test_cursor(self):
        """A page begins after a name, whether there is one of it, any more, or never could be."""
        for after, expected in (("", ["printer"]), ("a", ["printer"]), ("printer", []), ("q" * 300, [])):
            names = [each["name"] for each in self.ask("GET", f"/resource?{query(after=after)}").json["resources"]]
            self.assertEqual(names, expected)
        self.create("scanner")
        self.assertEqual(self.ask("GET", "/resource?limit=1").json["next"], "printer")
        self.ask("DELETE", PRINTER)
        page = self.ask("GET", "/resource?limit=1&after=printer").json
        self.assertEqual(([each["name"] for each in page["resources"]], page["next"]), (["scanner"], None))

    def test_limits(self):
        """A hundred names if nothing is said about it; a thousand at most; anything else is an error."""
        for number in range(120):
            self.create(f"r{number:03}")
        page = self.ask("GET", "/resource?prefix=r").json
        self.assertEqual((len(page["resources"]), page["next"]), (100, "r099"))
        self.assertEqual(len(self.ask("GET", "/resource?limit=1000").json["resources"]), 121)
        for path in ("/resource", PRINTER, f"{A4}/lock"):
            for limit in ("0", "1001", "-1", "", "x", "1.0", "1e2", "%2B1", "%C2%B2", "9" * 5000):
                self.assertRefused(400, "bad_limit", self.ask("GET", f"{path}?limit={limit}"))
            self.assertRefused(400, "repeated_argument", self.ask("GET", f"{path}?limit=1&limit=2"))
        for name in ("prefix", "after"):
            self.assertRefused(400, "bad_argument", self.ask("GET", f"/resource?{name}=%ff"))

    def test_prefixes_of_a_key(self):
        """A key that is bound to prefixes sees the list that it would see if there were nothing else, and no more is looked at."""
        prefixes = ("b", "ba", "d", "bb", "zz", "f")
        self.start(adopted={digest_of(b"bound"): Identity("bound", Permission.READ, prefixes)})
        names = sorted(f"{first}{second}" for first, second in itertools.product("abcdef", "abcd"))
        for name in names:
            self.create(name)
        asked: list[int] = []
        listing = self.store.list_resources

        async def counted(prefix: str, after: str, limit: int) -> list[Any]:
            found = await listing(prefix, after, limit)
            asked.append(len(found))
            return found

        self.store.list_resources = counted  # type: ignore[method-assign]
        for prefix in ("", "b", "bb", "bbb", "c", "d", "zz", "zzz"):
            expected = [name for name in names if name[0] in "bdf" and name.startswith(prefix)]
            for limit in (1, 2, 3, 4, 5, 100):
                found: list[str] = []
                after = ""
                questions = pages = 0
                while True:
                    asked.clear()
                    page = self.ask(
                        "GET", f"/resource?{query(prefix=prefix, limit=limit, after=after)}", key="bound"
                    ).json
                    self.assertLessEqual(sum(asked), limit + 1)
                    questions += len(asked)
                    pages += 1
                    found += [each["name"] for each in page["resources"]]
                    if page["next"] is None:
                        break
                    after = page["next"]
                    self.assertEqual(len(page["resources"]), limit)
                self.assertEqual(found, expected)
                # What lies behind a page the next one does not ask for again.
                self.assertLessEqual(questions, pages + 8)

    def test_forbidden(self):
        """What a key must not touch it can neither see nor change, by any route."""
        everything = Permission.READ | Permission.LOCK | Permission.WRITE
        self.start(adopted={digest_of(b"bound"): Identity("bound", everything, ("scan",))})
        self.create()
        for method, path in (
            ("GET", PRINTER),
            ("PATCH", PRINTER),
            ("DELETE", PRINTER),
            ("DELETE", A4),
            ("GET", f"{A4}/lock"),
            ("DELETE", f"{A4}/lock?fence=1"),
        ):
            self.assertRefused(403, "forbidden_resource", self.ask(method, path, key="bound"))
            self.assertEqual(self.ask(method, path.replace("printer", "scanner"), key="bound").status // 100, 4)
        self.assertEqual(self.ask("GET", "/resource", key="bound").json, {"resources": [], "next": None})

    def test_forbidden_group(self):
        """A key with prefixes binds its resources only to its own: in a group of others it could hold up their requests."""
        everything = Permission.READ | Permission.LOCK | Permission.WRITE
        self.start(adopted={digest_of(b"bound"): Identity("bound", everything, ("scan", "print"))})
        for group in ("plotter", "pri", "Scanner", "x-scan"):
            body = {"name": "scanner", "group": group}
            self.assertRefused(403, "forbidden_group", self.ask("POST", "/resource", json.dumps(body), key="bound"))
        self.assertEqual(self.ask("GET", "/resource/scanner").status, 404)
        for group in ("printers", ""):
            self.ask("DELETE", "/resource/scanner")
            body = {"name": "scanner", "group": group}
            self.assertEqual(self.ask("POST", "/resource", json.dumps(body), key="bound").status, 201)
        self.assertRefused(
            403,
            "forbidden_group",
            self.ask("PATCH", "/resource/scanner", json.dumps({"group": "plotter", "timeout": 7}), key="bound"),
        )
        self.assertEqual(self.ask("GET", "/resource/scanner").json["timeout"], 0)
        for group in ("printers", "scanner", ""):
            self.assertEqual(
                self.ask("PATCH", "/resource/scanner", json.dumps({"group": group}), key="bound").status, 200
            )
        # Whoever may touch everything may bind them together, and what is bound goes on.
        self.assertEqual(self.ask("PATCH", "/resource/scanner", json.dumps({"group": "plotter"})).status, 200)
        self.assertEqual(self.ask("PATCH", "/resource/scanner", json.dumps({"timeout": 9}), key="bound").status, 200)


class DefinitionTests(SteeringTests):
    def test_definition(self):
        """What a resource is, what is held and waited for, and its selectors: with data, locked, or queued for."""
        self.put("1", path_of("printer", "data"))
        holder = self.lock(path_of("printer", "both"))
        self.write("1", holder, path_of("printer", "both"))
        self.lock(path_of("printer", "held"))
        for _ in range(2):
            self.queue(path_of("printer", "held"))
        answer = self.ask("GET", PRINTER, key=READ)
        self.assertEqual(answer.status, 200)
        self.assertEqual(list(answer.json), ["id", "name", "timeout", "held", "waiting", "selectors", "next"])
        self.assertEqual((answer.json["name"], answer.json["held"], answer.json["waiting"]), ("printer", 2, 2))
        self.assertEqual(
            answer.json["selectors"],
            [
                {"selector": "both", "data": True, "held": True, "waiting": 0, "holder": self.holder("both")},
                {"selector": "data", "data": True, "held": False, "waiting": 0},
                {"selector": "held", "data": False, "held": True, "waiting": 2, "holder": self.holder("held")},
            ],
        )
        self.assertEqual(answer.json["selectors"][0]["holder"]["owner"], "default")
        self.assertIsNone(answer.json["next"])

    def holder(self, selector: str) -> object:
        """Who the state of a lock says that holds it."""
        return self.ask("GET", f"{path_of('printer', selector)}/lock").json["holder"]

    def test_units(self):
        """A resource says how many units it has and how many are out of service; the state of a unit's lock has its card."""
        counts = [{name: value for name, value in self.listed().items() if name in {"units", "out"}}]
        for method, path, body in (
            ("PATCH", f"{PRINTER}/5", b'{"tags": ["laser"]}'),
            ("PATCH", f"{PRINTER}/6", b'{"out": "no paper"}'),
            ("PATCH", f"{PRINTER}/6", b'{"out": "no ink"}'),
            ("PATCH", f"{PRINTER}/6", b'{"out": null}'),
            ("PATCH", f"{PRINTER}/5", b'{"out": "no ink"}'),
            ("DELETE", f"{PRINTER}/5/card", b""),
            ("DELETE", f"{PRINTER}/6/card", b""),
        ):
            self.assertIn(self.ask(method, path, body).status, {200, 204})
            listed = self.listed()
            self.assertEqual({**self.ask("GET", PRINTER).json, **listed}, self.ask("GET", PRINTER).json)
            counts.append({name: value for name, value in listed.items() if name in {"units", "out"}})
        one, both, two = {"units": 1, "out": 0}, {"units": 2, "out": 1}, {"units": 2, "out": 0}
        self.assertEqual(counts, [{}, one, both, both, two, both, {**one}, {}])
        self.ask("PATCH", f"{PRINTER}/5", b'{"tags": ["laser"], "note": "left"}')
        card = {"tags": ["laser"], "note": "left", "out": None, "out_since": None}
        self.assertEqual(self.ask("GET", f"{PRINTER}/5/lock", key=READ).json["card"], card)

    def listed(self) -> dict[str, Any]:
        """The resource as it stands in the list."""
        (listed,) = self.ask("GET", "/resource", key=READ).json["resources"]
        return dict(listed)

    def test_unused(self):
        """A resource of which nothing is used has no selectors; one that was let go of without data is none."""
        self.assertFree()
        self.assertEqual(self.ask("GET", PRINTER).json["selectors"], [])
        self.lock()
        self.clock.advance(1000)
        self.assertEqual(self.ask("GET", PRINTER).json["selectors"], [])

    def test_pages(self):
        """Selectors with data and those that are locked come as one list, sorted by code points, in pages of any length."""
        self.create("scanner")
        used: dict[str, dict[str, Any]] = {}
        for number, name in enumerate(NAMES):
            what = {
                "selector": name,
                "data": bool(number % 3),
                "held": bool(number % 2 or not number % 3),
                "waiting": 0,
            }
            if what["data"]:
                self.put("1", path_of("printer", name))
            if what["held"]:
                self.lock(path_of("printer", name))
                what["holder"] = self.holder(name)
            used[name] = what
            self.put("1", path_of("scanner", f"{name}x"))
            self.lock(path_of("scanner", f"{name}y"))
        for prefix in ("", "A", "A4", "\U0001f600", "p", "none", "\x01"):
            expected = [used[name] for name in NAMES if name.startswith(prefix)]
            for limit in (1, 2, 3, 5, 1000):
                self.assertEqual(self.read_all(PRINTER, "selectors", "selector", prefix=prefix, limit=limit), expected)
        page = self.ask("GET", f"{PRINTER}?{query(after='A4!')}").json["selectors"]
        self.assertEqual([each["selector"] for each in page], [name for name in NAMES if name > "A4!"])

    def test_locks_only(self):
        """Also where there is no data there is a next page."""
        names = [f"l{number}" for number in range(5)]
        for name in names:
            self.lock(f"{PRINTER}/{name}")
        for limit in range(1, 7):
            found = self.read_all(PRINTER, "selectors", "selector", limit=limit)
            self.assertEqual([each["selector"] for each in found], names)

    def test_cost(self):
        """However many there are, a page asks for no more than it shows, and for one more."""
        for number in range(30):
            self.put("1", f"{PRINTER}/d{number:02}")
            self.lock(f"{PRINTER}/l{number:02}")
        listing = self.store.list_selectors
        asked: list[int] = []

        async def counted(resource: Resource, prefix: str, after: str, limit: int) -> list[str]:
            asked.append(limit)
            return await listing(resource, prefix, after, limit)

        self.store.list_selectors = counted  # type: ignore[method-assign]
        page = self.ask("GET", f"{PRINTER}?limit=5&after=d28").json
        self.assertEqual([each["selector"] for each in page["selectors"]], ["d29", "l00", "l01", "l02", "l03"])
        self.assertEqual(asked, [6])

    def test_unknown(self):
        """Of a resource that is not there nothing is told."""
        self.assertRefused(404, "unknown_resource", self.ask("GET", "/resource/Printer"))
        self.assertRefused(400, "bad_name", self.ask("GET", "/resource/%00"))

    def test_head(self):
        """HEAD says what GET would, without the body."""
        for path in ("/resource", PRINTER, f"{A4}/lock"):
            get, head = self.ask("GET", path), self.ask("HEAD", path)
            self.assertEqual((head.status, head.headers | {"Date": ""}), (get.status, get.headers | {"Date": ""}))


class PatchTests(SteeringTests):
    def change(self, body: object, path: str = PRINTER) -> Answer:
        return self.ask("PATCH", path, body if isinstance(body, bytes) else json.dumps(body))

    def test_timeout(self):
        """The answer is the new definition, which is the one that everyone sees then; the lease is as long from its next renewal on."""
        before = self.ask("GET", PRINTER).json
        ticket = self.lock()
        answer = self.change({"timeout": 50})
        self.assertEqual((answer.status, answer.json), (200, {"id": before["id"], "name": "printer", "timeout": 50}))
        self.assertEqual(self.ask("GET", PRINTER).json["timeout"], 50)
        self.assertEqual(self.ask("GET", f"{A4}/lock").json["holder"]["left"], 300)
        self.write("1", ticket)
        self.assertEqual(self.ask("GET", f"{A4}/lock").json["holder"]["left"], 50)
        self.change({"timeout": 0})
        self.assertEqual(self.ask("POST", f"{A4}/lock", ticket=ticket).headers["X-Lease"], "300")

    def test_bad(self):
        """What is wrong with it is said as with a new resource, and nothing is changed."""
        for body, code in (
            (b"", "bad_json"),
            (b"{", "bad_json"),
            (b"[]", "bad_body"),
            (b"5", "bad_body"),
            ({}, "bad_body"),
            ({"timeout": 5, "name": "x"}, "unknown_field"),
            ({"Timeout": 5}, "unknown_field"),
        ):
            self.assertRefused(400, code, self.change(body))
        for timeout in ("-1", "2147483648", "0.5", '"5"', "null", "true", "[]"):
            self.assertRefused(400, "bad_timeout", self.change(f'{{"timeout": {timeout}}}'.encode()))
        self.assertEqual(self.ask("GET", PRINTER).json["timeout"], 0)
        self.assertRefused(404, "unknown_resource", self.change({"timeout": 5}, "/resource/scanner"))
        self.assertRefused(400, "bad_name", self.change({"timeout": 5}, "/resource/%01"))

    def test_hang_up(self):
        """A client that goes away leaves no change half done: what is in the store counts for the locks too."""
        ticket = self.lock()
        self.store.slow = True
        changing = self.begin("PATCH", PRINTER, b'{"timeout": 50}')
        changing.hang_up()
        self.store.go_on()
        self.assertEqual(self.ask("GET", PRINTER).json["timeout"], 50)
        self.write("1", ticket)
        self.assertEqual(self.ask("GET", f"{A4}/lock").json["holder"]["left"], 50)

    def test_during_a_request(self):
        """A lock request that had found the resource before it was changed goes by what it is now."""
        self.store.slow = True
        waiting = self.begin("POST", f"{A4}/lock")
        changing = self.begin("PATCH", PRINTER, b'{"timeout": 50}')
        self.store.go_on()
        self.assertEqual(self.end(changing).status, 200)
        answer = self.end(waiting)
        self.write("1", answer.ticket)
        self.assertEqual(self.ask("GET", f"{A4}/lock").json["holder"]["left"], 50)


class DeleteDataTests(SteeringTests):
    def test_deleted(self):
        """The holder deletes, keeps the lock with a new lease, and may do so where there is nothing."""
        ticket = self.lock()
        self.write("1", ticket)
        self.clock.advance(200)
        for _ in range(2):
            answer = self.ask("DELETE", A4, ticket=ticket)
            self.assertEqual((answer.status, answer.body, "ETag" in answer.headers), (204, b"", False))
            self.assertRefused(404, "no_data", self.ask("GET", f"{A4}?lock=0"))
        self.assertEqual(self.ask("GET", f"{A4}/lock").json["holder"]["left"], 300)
        self.write("2", ticket)
        self.assertEqual(self.data(), "2")

    def test_unlock(self):
        """With unlock=1 the lock is let go of in the same step."""
        ticket = self.lock()
        self.write("1", ticket)
        self.assertEqual(self.ask("DELETE", f"{A4}?unlock=1", ticket=ticket).status, 204)
        self.assertEqual(self.ask("GET", PRINTER).json["selectors"], [])
        self.assertFree()

    def test_refused(self):
        """Nobody else deletes; what is refused is as for a write."""
        ticket = self.lock()
        self.write("1", ticket)
        waiting = self.queue()
        elsewhere = self.lock(f"{PRINTER}/A5")
        for status, code, path, other in (
            (428, "ticket_required", A4, ""),
            (423, "locked", A4, waiting),
            (423, "locked", A4, elsewhere),
            (410, "ticket_ended", A4, "f" * 32),
            (404, "unknown_resource", "/resource/scanner/A4", ticket),
            (400, "bad_unlock", f"{A4}?unlock=2", ticket),
            (400, "bad_name", f"{PRINTER}/%7f", ticket),
        ):
            self.assertRefused(status, code, self.ask("DELETE", path, ticket=other))
        self.assertEqual(self.data(), "1")


class RemoveTests(SteeringTests):
    def test_removed(self):
        """It is gone with its data; its name can be given again, to something that has none of it."""
        self.put("1")
        answer = self.ask("DELETE", PRINTER)
        self.assertEqual((answer.status, answer.body), (204, b""))
        for method, path in (("GET", PRINTER), ("DELETE", PRINTER), ("GET", A4), ("GET", f"{A4}?lock=0")):
            self.assertRefused(404, "unknown_resource", self.ask(method, path))
        self.assertRefused(404, "unknown_resource", self.ask("PATCH", PRINTER, b'{"timeout": 5}'))
        self.assertRefused(404, "unknown_resource", self.ask("POST", f"{A4}/lock"))
        self.assertEqual(self.ask("GET", "/resource").json["resources"], [])
        self.create()
        self.assertRefused(404, "no_data", self.ask("GET", f"{A4}?lock=0"))
        self.assertFree()

    def test_in_use(self):
        """While anything of it is held or waited for it stays, with all that it has."""
        ticket = self.lock()
        self.write("1", ticket)
        self.assertRefused(423, "in_use", self.ask("DELETE", PRINTER))
        next_waiter = self.queue()
        self.unlock(ticket)
        self.assertRefused(423, "in_use", self.ask("DELETE", PRINTER))
        self.unlock(next_waiter)
        self.assertEqual(self.data(), "1")
        self.assertEqual(self.ask("DELETE", PRINTER).status, 204)

    def test_lock_meanwhile(self):
        """Who asks for a lock while the resource is on its way out is told to try again, and then that it is gone."""
        self.store.slow = True
        removing = self.begin("DELETE", PRINTER)
        self.store.go_on_once()
        locking = self.begin("POST", f"{A4}/lock")
        self.store.go_on_once()
        self.store.go_on()
        self.assertEqual(self.end(removing).status, 204)
        self.assertIn(self.end(locking).status, {404, 503})
        self.assertRefused(404, "unknown_resource", self.ask("POST", f"{A4}/lock"))

    def test_found_before(self):
        """A request that has found it just before it was removed, or made anew, does not lock what is no more."""
        for anew in (False, True):
            self.restart()
            finding = self.store.find_resource
            gate: Deferred[None] = Deferred()

            async def late(name: str, finding: Any = finding, gate: Deferred[None] = gate) -> Resource:
                found: Resource = await finding(name)
                await gate
                return found

            self.store.find_resource = late  # type: ignore[method-assign]
            locking = self.begin("POST", f"{A4}/lock")
            self.store.find_resource = finding  # type: ignore[method-assign]
            self.assertEqual(self.ask("DELETE", PRINTER).status, 204)
            if anew:
                self.create(timeout=7)
            gate.callback(None)
            if anew:
                self.assertEqual(self.end(locking).headers["X-Lease"], "7")
            else:
                self.assertRefused(404, "unknown_resource", self.end(locking))
                self.create()
                self.assertFree()


class StateTests(SteeringTests):
    def test_free(self):
        """A lock that nobody has is not locked, also where nothing ever was."""
        state = {"resource": "printer", "selector": "A4", "locked": False, "holder": None}
        expected = {**state, "waiting": 0, "queue": [], "next": None}
        answer = self.ask("GET", f"{A4}/lock", key=READ)
        self.assertEqual((answer.status, answer.json), (200, expected))
        self.assertEqual(list(answer.json), list(expected))

    def test_holder_and_queue(self):
        """Who has it and who waits: owners, seconds that are whole and rounded down, positions; and no ticket."""
        self.lock(headers=[("x-owner", "ci-7")])
        self.clock.advance(12.9)
        self.ask("POST", f"{A4}/lock", headers=[("x-owner", "\u00e9".encode().decode("latin-1"))])
        self.clock.advance(3.5)
        self.queue()
        answer = self.ask("GET", f"{A4}/lock", key=READ)
        self.assertEqual(
            answer.json["holder"],
            {"owner": "ci-7", "key": "default", "fence": 1, "held": 16, "left": 283, "claimed": True},
        )
        self.assertEqual(
            answer.json["queue"],
            [
                {"position": 1, "owner": "\u00e9", "key": "default", "waited": 3, "left": 56},
                {"position": 2, "owner": "default", "key": "default", "waited": 0, "left": 60},
            ],
        )
        self.assertEqual((answer.json["locked"], answer.json["waiting"], answer.json["next"]), (True, 2, None))
        self.assertNotIn(b"0000000", answer.body)

    def test_unclaimed(self):
        """While the claim window runs it says so."""
        holder = self.lock()
        self.queue()
        self.unlock(holder)
        self.assertIs(self.ask("GET", f"{A4}/lock").json["holder"]["claimed"], False)

    def test_pages(self):
        """A long queue comes in pages, by position."""
        self.lock()
        for _ in range(7):
            self.queue()
        found: list[int] = []
        after = 0
        for _ in range(4):
            page = self.ask("GET", f"{A4}/lock?limit=2&after={after}").json
            found += [waiter["position"] for waiter in page["queue"]]
            self.assertEqual(page["waiting"], 7)
            after = page["next"]
        self.assertEqual((found, after), ([1, 2, 3, 4, 5, 6, 7], None))
        self.assertEqual(self.ask("GET", f"{A4}/lock?after=7").json["next"], None)
        self.assertEqual(self.ask("GET", f"{A4}/lock?after=9223372036854775807").json["queue"], [])
        for after_ in ("-1", "x", "", "9" * 30, "1.5"):
            self.assertRefused(400, "bad_after", self.ask("GET", f"{A4}/lock?after={after_}"))

    def test_looking_changes_nothing(self):
        """To look renews nobody's lease."""
        self.lock()
        self.clock.advance(299)
        self.ask("GET", f"{A4}/lock")
        self.ask("GET", PRINTER)
        self.clock.advance(1)
        self.assertFree()

    def test_unknown(self):
        """Of a resource that is not there no lock is told."""
        self.assertRefused(404, "unknown_resource", self.ask("GET", "/resource/scanner/A4/lock"))
        self.assertRefused(400, "bad_name", self.ask("GET", f"{PRINTER}/%0a/lock"))


class BreakTests(SteeringTests):
    def test_broken(self):
        """The lock is taken, the next in line has it, and the ticket of the one that had it has ended."""
        ticket = self.lock()
        waiting = self.begin("POST", f"{A4}/lock?wait=50")
        answer = self.ask("DELETE", f"{A4}/lock?fence={self.fence()}")
        self.assertEqual((answer.status, answer.body), (204, b""))
        self.assertHeld(self.end(waiting))
        self.assertRefused(410, "ticket_ended", self.ask("PUT", A4, b"1", ticket=ticket))
        self.assertRefused(410, "ticket_ended", self.ask("POST", f"{A4}/lock", ticket=ticket))
        self.assertEqual(self.ask("POST", f"{A4}/unlock", ticket=ticket).json, {"unlocked": False})

    def test_mismatch(self):
        """Only the one who holds it under this fence loses it."""
        self.assertRefused(412, "fence_mismatch", self.ask("DELETE", f"{A4}/lock?fence=1"))
        self.unlock(self.lock())
        ticket = self.lock()
        for fence in (1, 3, 2**63 - 1):
            self.assertRefused(412, "fence_mismatch", self.ask("DELETE", f"{A4}/lock?fence={fence}"))
        self.lock(ticket=ticket)

    def test_bad(self):
        """Without a fence, or with what cannot be one, nothing is broken."""
        ticket = self.lock()
        self.assertRefused(400, "bad_fence", self.ask("DELETE", f"{A4}/lock"))
        for fence in ("", "0", "-1", "x", "1.0", str(2**63), "1" * 5000):
            self.assertRefused(400, "bad_fence", self.ask("DELETE", f"{A4}/lock?fence={fence}"))
        self.assertRefused(400, "repeated_argument", self.ask("DELETE", f"{A4}/lock?fence=1&fence=2"))
        self.assertRefused(404, "unknown_resource", self.ask("DELETE", "/resource/scanner/A4/lock?fence=1"))
        for reason in ("x" * 256, "%0A", "a&reason=b", "%00"):
            code = "repeated_argument" if "&" in reason else "bad_reason"
            self.assertRefused(400, code, self.ask("DELETE", f"{A4}/lock?fence=1&reason={reason}"))
        self.assertRefused(400, "bad_owner", self.ask("DELETE", f"{A4}/lock?fence=1", headers=[("x-owner", "x" * 256)]))
        self.lock(ticket=ticket)


class RoleTests(SteeringTests):
    def test_roles(self):
        """To look takes a key that reads; to change anything one that writes."""
        for method, path, keys in (
            ("GET", "/resource", (READ, LOCK, WRITE)),
            ("GET", PRINTER, (READ, LOCK, WRITE)),
            ("GET", f"{A4}/lock", (READ, LOCK, WRITE)),
            ("PATCH", PRINTER, (WRITE,)),
            ("DELETE", f"{A4}/lock?fence=1", (WRITE,)),
            ("DELETE", A4, (WRITE,)),
            ("DELETE", PRINTER, (WRITE,)),
        ):
            for key in (READ, LOCK, WRITE, "other", ""):
                answer = self.ask(method, path, key=key)
                self.assertEqual(answer.status != 401, key in keys, (method, path, key))

    def test_store_away(self):
        """While the store is away none of it is answered from memory, nor done."""
        ticket = self.lock()
        fence = self.fence()
        away = StoreUnavailable("away")
        names = (
            "find_resource",
            "read",
            "ping",
            "term",
            "commit",
            "list_resources",
            "list_selectors",
            "change_resource",
        )
        self.store.faults = dict.fromkeys(names, away)
        for method, path in (
            ("GET", "/resource"),
            ("GET", PRINTER),
            ("GET", f"{A4}/lock"),
            ("PATCH", PRINTER),
            ("DELETE", PRINTER),
            ("DELETE", A4),
            ("DELETE", f"{A4}/lock?fence={fence}"),
        ):
            answer = self.ask(method, path, b'{"timeout": 5}', ticket=ticket)
            self.assertRefused(503, "store_unavailable", answer)
        self.store.faults.clear()
        self.clock.advance(1)
        self.assertEqual(self.fence(), fence)


class TagTests(SteeringTests):
    """Entity tags, and what depends on them."""

    def setUp(self):
        super().setUp()
        self.ticket = self.lock()
        self.write("1", self.ticket)

    def get(self, condition: str, path: str = f"{A4}?lock=0", method: str = "GET", **more: Any) -> Answer:
        return self.ask(method, path, headers=[("If-None-Match", condition)], **more)

    def replace(self, data: str = "2", method: str = "PUT", path: str = A4, **conditions: str) -> Answer:
        headers = [(name.replace("_", "-"), value) for name, value in conditions.items()]
        return self.ask(method, path, data, ticket=self.ticket, headers=headers)

    def test_tag(self):
        """Every answer with data has its tag, which the write has told already; other data has another, and the same data at another time."""
        tags = []
        for data in ("1", "2", "1"):
            answer = self.replace(data)
            tags.append(answer.headers["ETag"])
            self.assertRegex(tags[-1], r'\A"[0-9a-f]{16}"\Z')
            self.assertNotIn("Cache-Control", answer.headers)
            for path in (f"{A4}?lock=0", f"{A4}?lock=0&raw=1"):
                for method in ("GET", "HEAD"):
                    self.assertEqual(self.ask(method, path).headers["ETag"], tags[-1])
            self.assertEqual(self.ask("GET", A4, ticket=self.ticket).headers["ETag"], tags[-1])
        self.assertEqual(len(set(tags)), 3)
        for answer in (self.ask("GET", f"{PRINTER}/A5?lock=0"), self.ask("GET", PRINTER), self.ask("GET", A4)):
            self.assertNotIn("ETag", answer.headers)

    def test_unchanged(self):
        """Who has the data already is told so, without the data."""
        tag = self.etag()
        for condition in (tag, f"W/{tag}", f'"x", {tag}', f',, {tag} ,"y",', "*", f'"x",W/{tag},""'):
            for path, method in ((f"{A4}?lock=0", "GET"), (f"{A4}?lock=0&raw=1", "GET"), (A4, "HEAD")):
                answer = self.get(condition, path, method)
                self.assertEqual((answer.status, answer.body), (304, b""), condition)
                self.assertEqual((answer.headers["ETag"], answer.headers["Cache-Control"]), (tag, "no-store"))
        for condition in ('"x"', 'W/"x"', tag.upper().replace("W/", "") if tag.upper() != tag else '"X"', '""'):
            self.assertEqual(self.get(condition).status, 200, condition)
        self.write("2", self.ticket)
        self.assertEqual(self.get(tag).json["data"], "2")

    def test_in_parts(self):
        """A list may come in several headers."""
        tag = self.etag()
        headers = [("If-None-Match", '"x"'), ("If-None-Match", tag)]
        self.assertEqual(self.ask("GET", f"{A4}?lock=0", headers=headers).status, 304)

    def test_nothing_there(self):
        """Where there is no data, there is nothing that anyone could have."""
        for condition in ('"x"', "*"):
            self.assertRefused(404, "no_data", self.get(condition, f"{PRINTER}/A5?lock=0"))

    def test_locks_are_told_all(self):
        """Who gets the lock gets the data, whatever it has."""
        answer = self.get(self.etag(), A4, ticket=self.ticket)
        self.assertHeld(answer, self.ticket)
        self.assertEqual(answer.json["data"], "1")

    def test_if_match(self):
        """A write, or a deletion, that insists on what its client has seen is done only if that is still there."""
        for method in ("PUT", "DELETE"):
            self.write("1", self.ticket)
            tag = self.etag()
            for wrong in ('"x"', f"W/{tag}", '"x", "y"', '""'):
                self.assertRefused(412, "precondition_failed", self.replace("2", method, If_Match=wrong))
                self.assertEqual(self.data(), "1")
            for right in (tag, f'"x" ,{tag}', "*", f'W/"x", {tag}'):
                self.write("1", self.ticket)
                answer = self.replace("2", method, If_Match=right.replace(tag, self.etag()))
                self.assertEqual(answer.status, 204)
        self.assertRefused(404, "no_data", self.ask("GET", f"{A4}?lock=0"))
        for condition in ("*", '"x"'):
            self.assertRefused(412, "precondition_failed", self.replace(If_Match=condition))
            self.assertRefused(412, "precondition_failed", self.replace("", "DELETE", If_Match=condition))

    def test_only_the_first(self):
        """With If-None-Match: * only the first of two writes is done."""
        ticket = self.lock(f"{PRINTER}/A5")
        headers = [("If-None-Match", "*")]
        answers = [self.ask("PUT", f"{PRINTER}/A5", data, ticket=ticket, headers=headers) for data in ("1", "2")]
        self.assertEqual([answer.status for answer in answers], [204, 412])
        self.assertEqual(self.data(f"{PRINTER}/A5"), "1")

    def test_both(self):
        """Both conditions have to be true."""
        tag = self.etag()
        self.assertEqual(self.replace(If_Match=tag, If_None_Match=tag).status, 412)
        self.assertEqual(self.replace(If_Match=tag, If_None_Match='"x"').status, 204)

    def test_lock_is_kept(self):
        """A write that is refused for its condition leaves the lock where it is, with a new lease, also if it was to unlock."""
        self.clock.advance(200)
        self.assertEqual(self.replace(path=f"{A4}?unlock=1", If_Match='"x"').status, 412)
        self.assertEqual(self.ask("GET", f"{A4}/lock").json["holder"]["left"], 300)

    def test_ticket_comes_first(self):
        """Who may not write is told that, whatever is there."""
        condition = [("If-Match", '"x"')]
        self.assertRefused(428, "ticket_required", self.ask("PUT", A4, "2", headers=condition))
        self.assertRefused(423, "locked", self.ask("PUT", A4, "2", ticket=self.queue(), headers=condition))
        self.assertRefused(410, "ticket_ended", self.ask("PUT", A4, "2", ticket="f" * 32, headers=condition))

    def test_malformed(self):
        """What is no list of entity tags is an error, and nothing is done."""
        for condition in (
            "",
            "x",
            '"',
            '"x',
            "**",
            '*, "x"',
            '"x" "y"',
            'w/"x"',
            'W/ "x"',
            "'x'",
            '"x"y',
            ",",
            '"a b"',
        ):
            self.assertRefused(400, "bad_if_none_match", self.get(condition))
            self.assertRefused(400, "bad_if_match", self.replace(If_Match=condition))
            self.assertRefused(400, "bad_if_match", self.replace("", "DELETE", If_Match=condition))
            self.assertRefused(400, "bad_if_none_match", self.replace(If_None_Match=condition))
        self.assertEqual(self.data(), "1")

    def test_store_lost(self):
        """If it cannot be known what is there nothing is written."""
        self.store.faults = {"read": StoreUnavailable("away")}
        self.assertRefused(503, "store_unavailable", self.replace(If_Match="*"))
        self.store.faults.clear()
        self.assertEqual(self.data(), "1")

    def test_deleted_and_written_again(self):
        """Data that was deleted and written again is not what it was, even if it looks the same."""
        tag = self.etag()
        self.ask("DELETE", A4, ticket=self.ticket)
        self.write("1", self.ticket)
        self.assertNotEqual(self.etag(), tag)
        self.assertEqual(self.replace(If_Match=tag).status, 412)
