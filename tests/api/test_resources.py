"""What resources and selectors are made of: their names, and how they come to be."""

from __future__ import annotations

import json
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resourced.model import valid_name
from tests.examples import examples
from tests.wire import (
    A4,
    NAMES,
    NO_NAMES,
    PRINTER,
    WebTests,
)

pytestmark = [pytest.mark.trial, pytest.mark.reference_path]


class CreateTests(WebTests):
    def test_created(self):
        """A new resource is answered with its id, name and timeout, and where it is."""
        answer = self.ask("POST", "/resource", b'{"name": "printer", "timeout": 300}')
        self.assertEqual(answer.status, 201)
        expected = f'{{"id": "{answer.json["id"]}", "name": "printer", "timeout": 300}}'
        self.assertEqual(answer.body, expected.encode())
        self.assertRegex(answer.json["id"], r"\A.+\Z")
        self.assertEqual(answer.headers["Location"], "/resource/printer")

    def test_ids(self):
        """No two resources have the same id."""
        first, second = (self.ask("POST", "/resource", json.dumps({"name": name})) for name in ("a", "b"))
        self.assertNotEqual(first.json["id"], second.json["id"])

    def test_timeout_is_optional(self):
        """Without a timeout, or with 0, the locks have the lease that the server likes."""
        for name, body in (("a", b'{"name": "a"}'), ("b", b'{"name": "b", "timeout": 0}')):
            self.assertEqual(self.ask("POST", "/resource", body).json["timeout"], 0)
            self.assertEqual(self.ask("PUT", f"/resource/{name}/x/lock").headers["X-Lease"], "300")

    def test_timeout_is_the_lease(self):
        """The timeout is the lease of the resource's locks, up to the longest that any store can keep."""
        for timeout in (1, 7, 2**31 - 1):
            self.create(f"r{timeout}", timeout)
            self.assertEqual(self.ask("PUT", f"/resource/r{timeout}/x/lock").headers["X-Lease"], str(timeout))

    def test_exists(self):
        """A name is given once; the resource that has it stays as it is."""
        self.create(timeout=7)
        self.assertRefused(409, "resource_exists", self.ask("POST", "/resource", b'{"name": "printer", "timeout": 9}'))
        self.assertEqual(self.ask("PUT", f"{A4}/lock").headers["X-Lease"], "7")

    def test_names(self):
        """Whatever a name is made of, it is kept exactly, and Location leads to it."""
        for name in NAMES:
            for body in (json.dumps({"name": name}), json.dumps({"name": name}, ensure_ascii=False)):
                answer = self.ask("POST", "/resource", body)
                if answer.status != 409:
                    self.assertEqual((answer.status, answer.json["name"]), (201, name))
                    self.assertEqual(unquote(answer.headers["Location"]), f"/resource/{name}")
                    self.assertEqual(answer.headers["Location"].count("/"), 2)
                    self.assertEqual(self.ask("PUT", f"{answer.headers['Location']}/x/lock").status, 200)
        self.assertEqual(len(self.store.resources), len(NAMES))

    def test_length_of_names(self):
        """A name has at most 255 characters, however many bytes each of them is."""
        for character in "xé日🖨":
            self.create(character * 255)
            answer = self.ask("POST", "/resource", json.dumps({"name": character * 256}))
            self.assertRefused(400, "bad_name", answer)

    def test_bad_names(self):
        """What cannot be a name is refused."""
        names: tuple[object, ...] = ("", ".", "..", "a\n", "\0", "\x7f", "\x85", "\ud800", 1, None, True, ["x"], {})
        for name in names:
            self.assertRefused(400, "bad_name", self.ask("POST", "/resource", json.dumps({"name": name})))
        self.assertRefused(400, "bad_name", self.ask("POST", "/resource", b"{}"))
        self.assertEqual(self.store.resources, {})

    def test_whole_timeouts(self):
        """A timeout may be written as JSON writes a whole number, in whatever way."""
        for timeout in ("300", "300.0", "3e2"):
            answer = self.ask("POST", "/resource", f'{{"name": "{timeout}", "timeout": {timeout}}}')
            self.assertEqual((answer.status, answer.json["timeout"]), (201, 300))

    def test_bad_timeouts(self):
        """A timeout is a whole number of seconds that is not negative, and nothing that only looks like one."""
        for timeout in ("true", "false", "1.5", "1e-2", "-1", "null", '"300"', "[1]", str(2**31), "1" * 5000):
            answer = self.ask("POST", "/resource", f'{{"name": "printer", "timeout": {timeout}}}')
            self.assertRefused(400, "bad_timeout", answer)
        self.assertEqual(self.store.resources, {})

    def test_not_an_object(self):
        """A body that is JSON but not an object is refused."""
        for body in (b"[]", b'"printer"', b"1", b"null", b"true", b'[{"name": "printer"}]'):
            self.assertRefused(400, "bad_body", self.ask("POST", "/resource", body))

    def test_not_json(self):
        """A body that is not JSON is refused."""
        for body in (
            b"",
            b" ",
            b"name=printer",
            b'{"name": "printer"',
            b"{'name': 'printer'}",
            b'{"name": "printer",}',
            b'{"name": "printer"} x',
            b'\xef\xbb\xbf{"name": "printer"}',
            '{"name": "printer"}'.encode("utf-16"),
            b'{"name": "\xff"}',
            b'{"name": "a\nb"}',
            b'{"name": "printer", "timeout": NaN}',
            b'{"name": "printer", "timeout": -Infinity}',
            b"[" * 100_000,
        ):
            self.assertRefused(400, "bad_json", self.ask("POST", "/resource", body))
        self.assertEqual(self.store.resources, {})

    def test_fields_twice(self):
        """Of a field that is there twice the last counts."""
        body = '{"name": "a", "name": "printer", "timeout": 1, "timeout": 2}'
        answer = self.ask("POST", "/resource", body)
        self.assertEqual((answer.status, answer.json["name"], answer.json["timeout"]), (201, "printer", 2))

    def test_other_fields(self):
        """A field that is not known is refused and named, whatever is in it: it may be a misspelt one."""
        for name, value in (("Name", '"printer"'), ("timeuot", "5"), ("id", "1"), ("big", "9" * 5000), ("", "null")):
            answer = self.ask("POST", "/resource", f'{{"name": "printer", "{name}": {value}}}')
            self.assertRefused(400, "unknown_field", answer)
            self.assertIn(f"{name!r}: it takes name, timeout, group, longest, slots.", answer.json["error"])
        self.assertLess(len(self.ask("POST", "/resource", json.dumps({"x" * 5000: 1})).body), 300)
        self.assertEqual(self.store.resources, {})

    def test_content_type(self):
        """The body is JSON whatever type it says it is of: curl calls everything a form."""
        for number, kind in enumerate(
            (
                "application/json",
                "application/x-www-form-urlencoded",
                "multipart/form-data",
                "multipart/form-data; boundary=x",
                "x",
            )
        ):
            body = json.dumps({"name": f"r{number}"})
            self.assertEqual(self.ask("POST", "/resource", body, headers=[("Content-Type", kind)]).status, 201)


class NameTests(WebTests):
    def test_names_are_exact(self):
        """Names that look alike are different selectors, each with its own lock and its own data."""
        self.create()
        for number, name in enumerate(NAMES):
            path = f"{PRINTER}/{quote(name, safe='')}"
            self.write(str(number), self.lock(path), path)
        for number, name in enumerate(NAMES):
            answer = self.ask("GET", f"{PRINTER}/{quote(name, safe='')}?lock=0")
            self.assertEqual((answer.json["selector"], answer.json["data"]), (name, str(number)))

    def test_names_of_resources_are_exact(self):
        """The same holds for the names of resources."""
        for name in NAMES:
            self.create(name)
        for number, name in enumerate(NAMES):
            self.put(str(number), f"/resource/{quote(name, safe='')}/x")
        for number, name in enumerate(NAMES):
            self.assertEqual(self.data(f"/resource/{quote(name, safe='')}/x"), str(number))

    def test_percent_encoding(self):
        """One name may be written in several ways; a plus is a plus, and an encoded slash separates nothing."""
        self.create()
        for ways in (
            ("a%2Fb", "a%2fb"),
            ("%41%34", "A4"),
            ("a%20b",),
            ("a+b", "a%2Bb"),
            ("%252F",),
            ("%E6%97%A5", "%e6%97%a5"),
            ("100%", "100%25"),
            ("a;b", "a%3Bb"),
        ):
            self.put(json.dumps(ways), f"{PRINTER}/{ways[0]}")
            for way in ways:
                self.assertEqual(self.data(f"{PRINTER}/{way}"), json.dumps(ways))
        self.assertEqual(len(self.store.documents), 8)

    def test_routes_know_each_other(self):
        """A selector that is named like an operation is a selector; an operation has one segment more."""
        self.create()
        self.put("1", f"{PRINTER}/lock")
        ticket = self.lock(f"{PRINTER}/lock")
        self.unlock(ticket, f"{PRINTER}/lock")
        self.assertEqual(self.data(f"{PRINTER}/lock"), "1")
        self.assertEqual(self.ask("PUT", f"{A4}%2Flock", ticket="x" * 32, body="1").status, 410)

    def test_length(self):
        """A name has at most 255 characters, however long they are in the path."""
        self.create()
        for character in "xé日🖨":
            self.assertFree(f"{PRINTER}/{quote(character * 255)}")

    def test_no_names(self):
        """What cannot be a name is refused wherever a name stands, and takes no lock."""
        self.create()
        for name in NO_NAMES:
            for base in (f"/resource/{name}/A4", f"{PRINTER}/{name}"):
                for method, path in (
                    ("GET", base),
                    ("GET", f"{base}?lock=0"),
                    ("PUT", base),
                    ("POST", f"{base}/lock"),
                    ("POST", f"{base}/unlock"),
                ):
                    self.assertRefused(400, "bad_name", self.ask(method, path, b"1", ticket="x"))
                self.assertEqual(self.ask("HEAD", base).status, 400)
        self.assertEqual(self.store.places, {})

    def test_not_utf_8(self):
        """A path that is not UTF-8 is refused."""
        for name in ("%ff", "a%C3", "%ED%A0%80", "%C0%AF"):
            for path in (f"/resource/{name}/A4", f"{PRINTER}/{name}"):
                for method, operation in (("GET", ""), ("PUT", ""), ("POST", "/lock"), ("PUT", "/unlock")):
                    self.assertRefused(400, "bad_path", self.ask(method, f"{path}{operation}"))

    @settings(deadline=None, max_examples=examples(50))
    @given(
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=255),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=258),
        st.booleans(),
    )
    def test_any_name(self, resource, selector, lower):
        """Any name that is allowed comes back just as it was sent; any other is refused."""
        self.start()
        named = not valid_name(selector) and not valid_name(resource)
        encoded = "".join(f"%{byte:02x}" if lower else f"%{byte:02X}" for byte in selector.encode())
        if not valid_name(resource):
            self.create(resource)
        path = f"/resource/{quote(resource, safe='')}/{encoded}"
        answer = self.ask("POST", f"{path}/lock")
        if named:
            self.write('"x"', answer.ticket, path)
            self.assertEqual(self.ask("GET", path, ticket=answer.ticket).json["selector"], selector)
        else:
            self.assertEqual(answer.status, 400 if selector else 404)
