"""What is answered when something is wrong: with the request, with the server, or with the store."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from resourced.errors import EpochLost, StoreUnavailable
from tests.assembled import READ, WRITE
from tests.wire import (
    A4,
    PRINTER,
    ROUTES,
    Answer,
    Exchange,
    WebTests,
)

pytestmark = [pytest.mark.trial, pytest.mark.reference_path]


class ErrorTests(WebTests):
    METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO", "PROPFIND")

    def test_methods(self):
        """Every path knows its methods; for any other it is 405, with those that it knows in Allow."""
        self.create()
        for path, allowed in ROUTES.items():
            for method in self.METHODS:
                for key in (WRITE, ""):
                    answer = self.ask(method, path, key=key)
                    self.assertEqual(answer.status == 405, method not in allowed, (method, path))
                    if answer.status == 405:
                        self.assertEqual(answer.headers["Allow"], ", ".join(sorted(allowed)))
                    if answer.status == 405 and answer.body:
                        self.assertEqual(answer.json["code"], "method_not_allowed")

    def test_allow_without_a_body(self):
        """HEAD where there is no GET is 405 too, and has no body."""
        self.assertEqual(self.ask("HEAD", f"{A4}/unlock").headers["Allow"], "POST, PUT")

    def test_server_as_a_whole(self):
        """The asterisk is no resource."""
        self.assertRefused(405, "method_not_allowed", self.ask("OPTIONS", "*"))

    def test_unknown_paths(self):
        """There is nothing at other paths; slashes too many or at the end are not mended."""
        self.create()
        for path in (
            "/x",
            "/Resource",
            "/health/",
            "/healthz",
            "/resource/",
            "/resource//",
            "//resource",
            f"/{A4}",
            "///health",
            "/resource//A4",
            f"{PRINTER}/",
            f"{PRINTER}//",
            f"{PRINTER}//A4",
            "/resource//printer/A4",
            f"{A4}/",
            f"{A4}//lock",
            f"{A4}/lock/",
            f"{A4}/unlock/",
            f"{A4}/Lock",
            f"{A4}/%6Cock%2F",
            f"{A4}/lock/x",
            f"{A4}/x",
            "/favicon.ico",
            "/%2Fresource",
            "/resource%2Fprinter%2FA4",
        ):
            for method in ("GET", "PUT", "POST"):
                self.assertRefused(404, "unknown_path", self.ask(method, path))
        # A browser is sent to the page from here; for a program there is nothing.
        self.assertRefused(404, "unknown_path", self.ask("GET", "/"))
        self.assertEqual(self.store.places, {})

    def test_no_redirects(self):
        """A slash at the end is not a reason to send a client elsewhere."""
        for path in (f"{A4}/", "/resource/", "/health/"):
            self.assertNotIn("Location", self.ask("GET", path).headers)

    def test_host(self):
        """A host that is none is refused, whatever is asked for."""
        for host in ("a..b", "x" * 64 + ".example", "a b", "a/b", "é", "[::1"):
            for path in ("/health", A4, "/nothing"):
                request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"
                self.assertRefused(400, "bad_host", self.end(Exchange(self.site, request.encode())))

    def test_any_host(self):
        """Any host that could be one will do."""
        for host in ("localhost", "127.0.0.1:9501", "[::1]:9501", "xn--bcher-kva.example", "a_b"):
            request = f"GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n"
            self.assertEqual(self.end(Exchange(self.site, request.encode())).status, 200)

    def test_absolute_target(self):
        """The address as a whole is as good as its path."""
        self.create()
        self.put("1")
        self.assertEqual(self.ask("GET", f"http://example.org{A4}?lock=0&raw=1").body, b"1")

    def test_a_bug(self):
        """A failure that nobody thought of is logged, and the client learns nothing about it."""
        self.create()
        ticket = self.lock()
        self.restart()
        self.store.faults = dict.fromkeys(("create_resource", "find_resource", "read", "ping"), LookupError("a secret"))
        for method, path in (
            ("POST", "/resource"),
            ("GET", A4),
            ("HEAD", A4),
            ("GET", f"{A4}?lock=0"),
            ("PUT", f"{A4}/lock"),
            ("PUT", A4),
            ("GET", "/health"),
        ):
            body = b"" if path.endswith("/lock") else b'{"name": "x"}'
            answer = self.ask(method, path, body, ticket=ticket)
            self.assertEqual(answer.status, 500)
            self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
            if method != "HEAD":
                self.assertRefused(500, "internal_error", answer)
                for inside in (b"secret", b"LookupError", b"Traceback", b".py"):
                    self.assertNotIn(inside, answer.body)
        self.store.faults.clear()
        self.write("1", ticket)


class StoreTests(WebTests):
    """The store is away."""

    AWAY = StoreUnavailable("The store cannot be reached at present. Try again.")

    def setUp(self):
        super().setUp()
        self.create()
        self.put('"old"')

    def break_off(self, *names: str) -> None:
        self.store.faults = dict.fromkeys(names, self.AWAY)

    def come_back(self) -> None:
        self.store.faults.clear()
        self.clock.advance(1)

    def assertAway(self, answer: Answer) -> None:
        self.assertRefused(503, "store_unavailable", answer)
        self.assertRegex(answer.headers["Retry-After"], r"\A[1-9][0-9]*\Z")

    def test_create(self):
        """Nothing is created then."""
        self.break_off("create_resource")
        self.assertAway(self.ask("POST", "/resource", b'{"name": "plotter"}'))
        self.come_back()
        self.create("plotter")

    def test_find(self):
        """Whatever needs the resource is 503 when it cannot be looked up, and leaves nothing behind."""
        ticket = self.lock(f"{PRINTER}/A3")
        self.restart()
        self.break_off("find_resource")
        for method, path in (
            ("GET", A4),
            ("GET", f"{A4}?lock=0"),
            ("PUT", f"{A4}/lock"),
            ("PUT", A4),
            ("PUT", f"{A4}/unlock"),
        ):
            self.assertAway(self.ask(method, path, b"1", ticket=ticket))
        self.assertEqual(self.ask("HEAD", A4).status, 503)
        self.come_back()
        self.assertFree()
        self.assertEqual(self.data(), '"old"')

    def test_read(self):
        """If the data cannot be read, nobody has the lock: the ticket was not told."""
        self.break_off("read")
        for query in ("", "?lock=0", "?raw=1"):
            self.assertAway(self.ask("GET", f"{A4}{query}"))
        self.come_back()
        self.assertFree()

    def test_read_again(self):
        """A request that is known again by its Idempotency-Key may come back for the lock."""
        self.break_off("read")
        idempotency_key = [("Idempotency-Key", "one")]
        self.assertAway(self.ask("GET", A4, headers=idempotency_key))
        self.come_back()
        self.assertWaits(self.ask("GET", A4), 1)
        self.assertHeld(self.ask("GET", A4, headers=idempotency_key))

    def test_read_by_the_holder(self):
        """If the data cannot be read, who had the lock keeps it."""
        holder = self.lock()
        self.break_off("read")
        self.assertAway(self.ask("GET", A4, ticket=holder))
        self.come_back()
        self.write("1", holder)

    def test_read_with_a_place(self):
        """If the data cannot be read when the lock falls to a ticket that its client knows, it may come back for it."""
        holder, ticket = self.lock(), self.queue()
        waiting = self.begin("GET", f"{A4}?wait=50", ticket=ticket)
        self.break_off("read")
        self.unlock(holder)
        self.assertAway(self.end(waiting))
        self.come_back()
        self.assertWaits(self.ask("GET", A4), 1)
        self.assertHeld(self.ask("GET", A4, ticket=ticket), ticket)

    def test_read_after_waiting(self):
        """If the data cannot be read when the wait is over, the lock goes to the next."""
        holder = self.lock()
        first, second = self.begin("GET", f"{A4}?wait=50"), self.begin("PUT", f"{A4}/lock?wait=50")
        self.break_off("read")
        self.unlock(holder)
        self.assertAway(self.end(first))
        self.assertHeld(self.end(second))

    def test_commit_of_a_lock(self):
        """A lock that could not be kept is nobody's."""
        for method, path in (("GET", A4), ("PUT", f"{A4}/lock"), ("POST", f"{A4}/lock")):
            self.break_off("commit", "term")
            self.assertAway(self.ask(method, path))
            self.assertAway(self.ask(method, path))
            self.come_back()
            self.assertFree()

    def test_commit_of_a_write(self):
        """A write that could not be kept is answered so, what was there stays, and its client still has the lock."""
        ticket = self.lock()
        for query in ("", "?unlock=1"):
            self.break_off("commit", "term")
            self.assertAway(self.ask("PUT", f"{A4}{query}", b'"new"', ticket=ticket))
            self.assertEqual(self.data(), '"old"')
            self.come_back()
            self.assertHeld(self.ask("GET", A4, ticket=ticket), ticket)

    def test_commit_of_an_unlock(self):
        """An unlock that could not be kept is answered so, and can be repeated."""
        ticket = self.lock()
        self.break_off("commit", "term")
        self.assertAway(self.ask("PUT", f"{A4}/unlock", ticket=ticket))
        self.come_back()
        self.unlock(ticket)

    def test_while_waiting(self):
        """A request that waits when the store goes away is told, and its ticket keeps its place."""
        holder = self.lock()
        ticket = self.queue()
        waiting = self.begin("GET", f"{A4}?wait=50", ticket=ticket)
        self.break_off("commit", "term")
        self.assertAway(self.ask("PUT", f"{A4}/unlock", ticket=holder))
        self.assertAway(self.end(waiting))
        self.come_back()
        self.assertWaits(self.ask("GET", A4, ticket=ticket), 1)

    def test_reading_goes_on(self):
        """While locks cannot be kept, data can still be read without one."""
        ticket = self.lock()
        self.break_off("commit", "term")
        self.assertAway(self.ask("PUT", f"{A4}/unlock", ticket=ticket))
        self.assertEqual(self.data(), '"old"')

    def test_another_daemon(self):
        """If another daemon has taken over the store, this one says so and does nothing more."""
        self.store.faults = {"commit": EpochLost("Another daemon has taken over this store.")}
        answer = self.ask("PUT", f"{A4}/lock")
        self.assertEqual(answer.status, 503)
        self.assertEqual(len(self.leadership_lost), 1)

    def test_another_daemon_creates(self):
        """The same holds when a resource is created."""
        self.store.faults = {"create_resource": EpochLost("Another daemon has taken over this store.")}
        self.assertRefused(503, "epoch_lost", self.ask("POST", "/resource", b'{"name": "plotter"}'))

    def test_told_means_committed(self):
        """A lock is told of when it is in the store, and not before."""
        self.restart()
        self.store.slow = True
        locking = self.begin("PUT", f"{A4}/lock")
        self.store.go_on_once()
        self.assertFalse(locking.answered)
        self.assertEqual(self.store.places, {})
        self.store.go_on()
        self.assertHeld(self.end(locking))
        self.assertEqual(len(self.store.places), 1)


class HealthTests(WebTests):
    def test_healthy(self):
        """Whoever asks learns that all is well."""
        for key in ("", "unknown", READ):
            answer = self.ask("GET", "/health", key=key)
            self.assertEqual((answer.status, answer.body), (200, b'{"health": "ok"}'))
        head = self.ask("HEAD", "/health", key="")
        self.assertEqual((head.status, head.headers["Content-Length"]), (200, "16"))

    def test_store_away(self):
        """While the store cannot be reached it is 503."""
        self.store.faults = {"ping": StoreTests.AWAY}
        self.assertRefused(503, "store_unavailable", self.ask("GET", "/health", key=""))
        self.store.faults.clear()
        self.assertEqual(self.ask("GET", "/health", key="").status, 200)

    def test_locks_away(self):
        """Also while locks cannot be kept, though the store answers."""
        self.create()
        self.store.faults = dict.fromkeys(("commit", "term"), StoreTests.AWAY)
        self.assertEqual(self.ask("PUT", f"{A4}/lock").status, 503)
        self.assertRefused(503, "store_unavailable", self.ask("GET", "/health", key=""))
        self.store.faults.clear()
        self.clock.advance(1)
        self.assertEqual(self.ask("GET", "/health", key="").status, 200)


class MisspeltTests(WebTests):
    """A request that has something in its query that it does not know does nothing, and names it."""

    def assertNamed(self, argument: str, answer: Answer) -> None:
        self.assertRefused(400, "unknown_argument", answer)
        self.assertIn(f" {argument!r}:", answer.json["error"])

    def test_fields(self):
        """Nor does it become a lock if that is said in the body, which takes no fields here."""
        self.create()
        for body, code in (
            ('{"wait": 20}', "unknown_field"),
            ('{"lease": 5, "x": 1}', "unknown_field"),
            ('{"wait"', "bad_json"),
        ):
            for method in ("POST", "PUT"):
                answer = self.ask(method, f"{A4}/lock", body)
                self.assertRefused(400, code, answer)
        self.assertFree(A4)
        for body in ("", "{}", "null", "[]", "a form of curl"):
            self.unlock(self.ask("POST", f"{A4}/lock", body).ticket)

    def test_locks(self):
        """What was meant to wait, or only to read, does not become a lock."""
        self.create()
        for argument in ("wiat", "LOCK", "ticket", "timeout", "é", ""):
            for value in ("=0", "", "=20"):
                if argument or value:
                    spelled = quote(argument) + value
                    for method, path in (("GET", A4), ("POST", f"{A4}/lock"), ("PUT", f"{A4}/lock")):
                        self.assertNamed(argument, self.ask(method, f"{path}?{spelled}"))
                        self.assertNamed(argument, self.ask(method, f"{path}?wait=0&{spelled}"))
                        self.assertNamed(argument, self.ask(method, f"{path}?wait=0;{spelled}"))
        for argument in ("lock", "raw", "unlock"):
            self.assertNamed(argument, self.ask("POST", f"{A4}/lock?{argument}=0"))
        self.assertIn("'x': it takes lock, raw, wait, lease.", self.ask("GET", f"{A4}?x=1").json["error"])
        self.assertEqual(self.store.places, {})
        # A key that may not lock is told the same.
        self.assertNamed("LOCK", self.ask("GET", f"{A4}?LOCK=0", key=READ))

    def test_holder(self):
        """Nothing is written, deleted, released or broken."""
        self.create()
        self.put("1")
        ticket = self.lock()
        for method, path in (
            ("PUT", A4),
            ("DELETE", A4),
            ("POST", f"{A4}/unlock"),
            ("PUT", f"{A4}/unlock"),
            ("DELETE", f"{A4}/lock"),
        ):
            self.assertNamed("unlcok", self.ask(method, f"{path}?unlcok=1", "2", ticket=ticket))
            self.assertNamed("wait", self.ask(method, f"{path}?wait", "2", ticket=ticket))
        self.assertNamed("raeson", self.ask("DELETE", f"{A4}/lock?fence=2&raeson=hung"))
        self.assertEqual(self.data(), "1")
        self.lock(ticket=ticket)

    def test_reads(self):
        """Where nothing can be mistaken for a lock it is passed over, as it always was."""
        self.create()
        self.put("1")
        for path in (f"{A4}?lock=0&_=17", "/resource?x=1", f"{A4}/lock?x=1"):
            self.assertEqual(self.ask("GET", path).status, 200)
        self.assertEqual(self.ask("HEAD", f"{A4}?x=1").status, 200)
        self.assertEqual(self.store.places, {})
