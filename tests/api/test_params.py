"""The reading of requests: headers, arguments, names, and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import BytesIO
from typing import Any, cast
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import parse_qs
from twisted.web.test.requesthelper import DummyChannel

from resourced import jsontext
from resourced.api.definitions import LONGEST, NewResource, changes_of, definition
from resourced.api.params import (
    argument,
    flag,
    header,
    idempotency_key_of,
    named,
    needed_ticket,
    owner_of,
    presented_key,
    wait_of,
)
from resourced.errors import BadRequest, TicketRequired
from resourced.http.request import EdgeRequest
from resourced.http.routing import BadPath, Segment
from resourced.model import LockKey

pytestmark = pytest.mark.trial


def request_with(*headers: tuple[bytes, bytes], query: bytes = b"", body: bytes = b"") -> EdgeRequest:
    """Return a request as Twisted hands it over."""
    request = EdgeRequest(cast(Any, DummyChannel()), parsePOSTFormSubmission=False)
    request.uri = b"/path?" + query
    request.args = parse_qs(query, keep_blank_values=True)
    request.content = BytesIO(body)
    for name, value in headers:
        request.requestHeaders.addRawHeader(name, value)
    return request


class RefusalTests(SynchronousTestCase):
    def assertRefused(self, code: str, function: Any, *args: Any, **kwargs: Any) -> None:
        """It is a bad request, and the answer can be written."""
        error = self.assertRaises(BadRequest, function, *args, **kwargs)
        self.assertEqual(error.code, code)
        self.assertTrue(error.sentence.endswith("."), error.sentence)
        jsontext.write(error.sentence)


class HeaderTests(RefusalTests):
    def test_header(self):
        """A header is its text, without the white space around it; one that is not there is empty."""
        self.assertEqual(header(request_with((b"X-Ticket", b" a b ")), b"x-ticket"), "a b")
        self.assertEqual(header(request_with((b"X-Ticket", "é".encode())), b"x-ticket"), "é")
        self.assertEqual(header(request_with((b"X-Ticket", b"")), b"x-ticket"), "")
        self.assertEqual(header(request_with(), b"x-ticket"), "")

    def test_repeated(self):
        """A header may be there twice if it says the same."""
        self.assertEqual(header(request_with((b"A", b"1"), (b"a", b"1")), b"a"), "1")
        self.assertRefused("repeated_header", header, request_with((b"A", b"1"), (b"a", b"2")), b"a")
        self.assertRefused("repeated_header", header, request_with((b"A", b"1"), (b"a", b"")), b"a")

    def test_not_text(self):
        """A header that is not UTF-8 is refused."""
        self.assertRefused("bad_header", header, request_with((b"a", b"\xff")), b"a")

    @given(st.lists(st.binary(max_size=20), max_size=3))
    def test_any_header(self, values: Sequence[bytes]):
        """Whatever is in a header, there is a text or a refusal."""
        request = request_with(*((b"a", value) for value in values))
        try:
            text = header(request, b"a")
        except BadRequest as error:
            self.assertIn(error.code, {"repeated_header", "bad_header"})
        else:
            self.assertEqual(text, text.strip(" \t\r\n"))

    def test_ticket(self):
        """What is nothing without a ticket says so."""
        self.assertEqual(needed_ticket(request_with((b"x-ticket", b"t"))), "t")
        for headers in ((), ((b"x-ticket", b""),), ((b"x-ticket", b" "),)):
            self.assertRaises(TicketRequired, needed_ticket, request_with(*headers))

    def test_key(self):
        """The key comes in either header."""
        self.assertEqual(presented_key(request_with((b"x-api-key", b"k"))), b"k")
        self.assertEqual(presented_key(request_with((b"authorization", b"Bearer k"))), b"k")
        self.assertEqual(presented_key(request_with()), b"")

    def test_owner(self):
        """An owner is what people can read, up to 255 characters."""
        for owner in ("", "press 7", "é" * 255, "日本語 🖨"):
            self.assertEqual(owner_of(request_with((b"x-owner", owner.encode()))), owner)
        for owner in ("é" * 256, "a\tb", "\x00", "a\x7f", "\u202e", "\u2028"):
            self.assertRefused("bad_owner", owner_of, request_with((b"x-owner", owner.encode())))

    def test_retry(self):
        """A request is known again by its Idempotency-Key under its API key, and by neither alone."""
        known = {
            idempotency_key_of(request_with((b"x-api-key", key), (b"idempotency-key", idempotency_key)))
            for key in (b"a", b"ab", b"")
            for idempotency_key in (b"c", b"bc", b"x" * 255)
        }
        self.assertEqual(len(known), 9)
        for word in known:
            self.assertRegex(word, r"\A[0-9a-f]{64}\Z")
        same = [request_with((b"x-api-key", b"a"), (b"idempotency-key", b"c")) for _ in range(2)]
        self.assertEqual(idempotency_key_of(same[0]), idempotency_key_of(same[1]))

    def test_no_retry(self):
        """Without the header there is nothing to be known by; and it has an end."""
        self.assertEqual(idempotency_key_of(request_with((b"x-api-key", b"a"))), "")
        self.assertEqual(idempotency_key_of(request_with((b"idempotency-key", b""))), "")
        self.assertRefused("bad_idempotency_key", idempotency_key_of, request_with((b"idempotency-key", b"x" * 256)))


class ArgumentTests(RefusalTests):
    def test_argument(self):
        """An argument is the text after the equals sign; without any it is empty, and otherwise it is not there."""
        for query, value in (
            (b"a=1", "1"),
            (b"b=2&a=1", "1"),
            (b"a=1&a=1", "1"),
            (b"a=%C3%A9", "é"),
            (b"a=b+c%2B", "b c+"),
            (b"a=1=2", "1=2"),
            (b"%61=1", "1"),
            (b"a=", ""),
            (b"a", ""),
            (b"b&a&c", ""),
        ):
            self.assertEqual(argument(request_with(query=query), b"a"), value)
        for query in (b"", b"b=1", b"A=1", b"aa=1", b"aa", b"b=a"):
            self.assertIsNone(argument(request_with(query=query), b"a"))

    def test_repeated(self):
        """An argument may be there twice if it says the same."""
        for query in (b"a=1&a=2", b"a=1&a=", b"a=1&a", b"a&a=1"):
            self.assertRefused("repeated_argument", argument, request_with(query=query), b"a")

    def test_not_text(self):
        """An argument that is not UTF-8 is refused."""
        self.assertRefused("bad_argument", argument, request_with(query=b"a=%ff"), b"a")

    def test_flag(self):
        """A flag is 0 or 1, or what it is when nothing is said."""
        for default in (False, True):
            self.assertIs(flag(request_with(query=b"lock=1"), b"lock", default=default), True)
            self.assertIs(flag(request_with(query=b"lock=0"), b"lock", default=default), False)
            self.assertIs(flag(request_with(), b"lock", default=default), default)

    @given(st.text(max_size=5))
    @example("")
    @example("true")
    @example("01")
    @example("1 ")
    @example("\uff11")
    def test_any_flag(self, value: str):
        """Whatever else it is, it is refused."""
        assume(value not in {"0", "1"})
        request = request_with(query=f"lock={quote(value, safe='')}".encode())
        self.assertRefused("bad_lock", flag, request, b"lock", default=True)

    @given(st.binary(max_size=30))
    def test_any_query(self, query: bytes):
        """Whatever the query is, there is an answer or a refusal."""
        for name in (b"a", b"lock"):
            try:
                argument(request_with(query=query), name)
            except BadRequest as error:
                self.assertIn(error.code, {"repeated_argument", "bad_argument"})


class WaitTests(RefusalTests):
    def assertWait(self, seconds: float, applied: str, request: EdgeRequest) -> None:
        self.assertEqual(wait_of(request, 50), seconds)
        confirmed = request.responseHeaders.getRawHeaders("preference-applied", [""])
        self.assertEqual(confirmed, [applied])

    @given(st.integers(0, 10**400))
    @example(50)
    @example(51)
    @example(10**9)
    def test_any_number(self, seconds: int):
        """Any number of seconds will do; the server has its own limit."""
        limited = min(seconds, 50)
        self.assertWait(limited, "", request_with(query=b"wait=%d" % seconds))
        self.assertWait(limited, f"wait={limited}", request_with((b"prefer", b"wait=%d" % seconds)))

    def test_limit(self):
        """The limit is what the server is told, also where it is no whole number."""
        request = request_with((b"prefer", b"wait=10"))
        self.assertEqual(wait_of(request, 2.5), 2.5)
        self.assertEqual(request.responseHeaders.getRawHeaders("preference-applied"), ["wait=2"])

    def test_not_asked(self):
        """Who does not ask does not wait."""
        self.assertWait(0, "", request_with())

    def test_not_asked_where_all_wait(self):
        """Who does not say waits as the server has it; who says so does not wait at all."""
        for parts in ((), ((b"prefer", b"return=minimal"),), ((b"prefer", b"wait=x"),)):
            self.assertEqual(wait_of(request_with(*parts), 50, 10.0), 10.0)
        self.assertEqual(wait_of(request_with((b"prefer", b"wait=0")), 50, 10.0), 0)
        self.assertEqual(wait_of(request_with(query=b"wait=0"), 50, 10.0), 0)

    def test_bad_arguments(self):
        """An argument that is no whole number of seconds is refused."""
        for value in ("", "x", "-1", "1.5", "1e1", " 1", "1s", "0x1", "1_0", "٣", "inf", "NaN"):
            request = request_with(query=f"wait={quote(value)}".encode())
            self.assertRefused("bad_wait", wait_of, request, 50)

    def test_several_headers(self):
        """Preferences may come in one header or in several; the first wait counts."""
        self.assertWait(7, "wait=7", request_with((b"prefer", b"return=minimal"), (b"prefer", b"wait=7")))
        self.assertWait(7, "wait=7", request_with((b"prefer", b"wait=7"), (b"prefer", b"wait=8")))

    @given(st.lists(st.text(st.characters(max_codepoint=255), max_size=20) | st.just("wait=7"), max_size=3))
    def test_any_preference(self, values: Sequence[str]):
        """Whatever is preferred, it is never an error."""
        request = request_with(*((b"prefer", value.encode("latin-1")) for value in values))
        self.assertTrue(0 <= wait_of(request, 50) <= 50)


class NameTests(RefusalTests):
    def test_named(self):
        """A path names a resource and a selector."""
        self.assertEqual(named("printer", "A4"), LockKey("printer", "A4"))

    @given(st.text(max_size=300))
    @example("")
    @example(".")
    @example("..")
    @example("...")
    @example("🖨" * 255)
    @example("x" * 256)
    @example("\x00")
    @example("\x1f")
    @example(" ")
    @example("\x7e")
    @example("\x7f")
    @example("\x9f")
    @example("\xa0")
    @example("\ud800")
    @example("\ufffe\u200b\u2028")
    def test_any_name(self, name: str):
        """A name is 1 to 255 characters, none of them a control character, and not one of the dots."""
        good = (
            0 < len(name) <= 255
            and name not in {".", ".."}
            and not any(ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in name)
        )
        for names in ((name, "A4"), ("printer", name)):
            if good:
                self.assertEqual(named(*names), names)
            else:
                self.assertRefused("bad_name", named, *names)

    @given(st.text(st.characters(exclude_categories=["Cs"])), st.sets(st.characters(max_codepoint=127)))
    def test_any_encoding(self, name: str, unquoted: set[str]):
        """However much of a name is percent-encoded, it is the same name."""
        segment = Segment.__new__(Segment)
        unquoted -= {"%"}
        self.assertEqual(segment.to_python(quote(name, safe="".join(unquoted))), name)
        self.assertEqual(segment.to_python(segment.to_url(name)), name)

    @given(st.text("%0fFcCaA9", max_size=12))
    @example("%")
    @example("%ff")
    @example("%ed%a0%80")
    def test_any_segment(self, text: str):
        """What is not percent-encoded UTF-8 is refused, and nothing else; a percent sign that encodes nothing is itself."""
        segment = Segment.__new__(Segment)
        try:
            name = segment.to_python(text)
        except BadPath:
            self.assertIn("%", text)
        else:
            self.assertEqual(segment.to_python(quote(name)), name)


#: Any JSON value whose numbers Python keeps exactly.
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4),
    max_leaves=12,
)


class JSONTests(RefusalTests):
    GOOD = (
        b"0",
        b"-0",
        b"-0.0e-0",
        b"1E+2",
        b"1e999",
        b'""',
        b'"\\u0000\\ud800\\"\\\\\\/\\b\\f\\n\\r\\t"',
        b'"\x7f"',
        b" \t\r\n{} \t\r\n",
        b'{"a":1,"a":2}',
        b'{"":[[],{},null,true,false]}',
    )
    BAD = (
        b"",
        b" ",
        b"\x0b1",
        b"\xc2\xa01",
        b"\xef\xbb\xbf1",
        b"1\x00",
        b"nul",
        b"None",
        b"True",
        b"NaN",
        b"[NaN]",
        b"Infinity",
        b"[-Infinity]",
        b"01",
        b"+1",
        b"-",
        b".5",
        b"1.",
        b"1e",
        b"0x1",
        b"1_0",
        b"\xd9\xa3",
        b"1\xd9\xa3",
        b"'a'",
        b'"a',
        b'"\t"',
        b'"\x00"',
        b'"\\x41"',
        b'"\\u12"',
        b'"\\u+123"',
        b'"\xff"',
        b'"\xc0\x80"',
        b'"\xed\xa0\x80"',
        b"[1,]",
        b"[,1]",
        b"[1 2]",
        b"[1",
        b"]",
        b"{1:2}",
        b'{"a"}',
        b'{"a":1,}',
        b'{"a":1 "b":2}',
        b"1 1",
        b"{}{}",
        b"// a comment\n1",
        b"/* a comment */ 1",
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
    )

    def test_good(self):
        """What the standard calls JSON is taken, and its text stays as it is."""
        for body in self.GOOD:
            self.assertEqual(jsontext.check(body).encode(), body)
            jsontext.read(body)

    def test_bad(self):
        """What it does not is refused, though many parsers would take it; so is what is nested without end."""
        for body in self.BAD:
            for function in (jsontext.check, jsontext.read):
                self.assertRefused("bad_json", function, body)

    def test_long_numbers(self):
        """A number may have any number of digits; its text stays, and where a value is needed it is near."""
        for digits in ("9" * 20, "9" * 21, "9" * 5000, "-" + "9" * 5000, "0." + "9" * 5000):
            self.assertEqual(jsontext.check(digits.encode()), digits)
            self.assertIsInstance(jsontext.read(digits.encode()), int | float)
        self.assertEqual(jsontext.read(b"9" * 20), int("9" * 20))

    def test_reason(self):
        """A refusal says where the text stops being JSON."""
        error = self.assertRaises(BadRequest, jsontext.check, b'{\n"a": x}')
        self.assertIn("line 2 column 6", error.sentence)

    @given(VALUES, st.booleans(), st.sampled_from((None, 0, 3)))
    def test_any_value(self, value: object, escaped: bool, indent: int | None):
        """Whatever can be said in JSON is understood, however it is written."""
        text = json.dumps(value, ensure_ascii=escaped, indent=indent)
        try:
            body = text.encode()
        except UnicodeEncodeError:
            body = json.dumps(value, indent=indent).encode()
        self.assertEqual(jsontext.check(body).encode(), body)
        self.assertEqual(jsontext.read(body), value)

    @given(st.binary(max_size=30) | st.text('[]{}":,0129eE+-.\\u tfnrauels', max_size=30).map(str.encode))
    def test_any_body(self, body: bytes):
        """Whatever the body is, it is JSON that comes back as it was, or it is refused."""
        try:
            text = jsontext.check(body)
        except BadRequest:
            self.assertRefused("bad_json", jsontext.read, body)
        else:
            self.assertEqual(text.encode(), body)
            jsontext.read(body)

    @given(VALUES)
    def test_written(self, value: object):
        """What is answered can be read."""
        try:
            written = jsontext.write(value)
        except UnicodeEncodeError:
            assume(False)
        else:
            self.assertEqual(jsontext.read(written), value)

    def test_how_it_is_written(self):
        """Answers are written with a space after colon and comma, and in the letters of their language."""
        self.assertEqual(jsontext.write({"a": "é", "b": [1, True, None]}), '{"a": "é", "b": [1, true, null]}'.encode())

    def test_whole_body(self):
        """The body is read whole, wherever someone stopped reading it."""
        request = request_with(body=b"123")
        request.body()
        self.assertEqual(request.body(), b"123")


class DefinitionTests(RefusalTests):
    def test_definition(self):
        """A resource has a name and may have a timeout."""
        self.assertEqual(definition(b'{"name": "printer", "timeout": 300}'), NewResource("printer", 300))
        self.assertEqual(definition(b'{"name": "printer"}'), NewResource("printer"))
        self.assertEqual(definition(b'{"name": "\\u00e9"}'), NewResource("é"))

    def test_more(self):
        """A resource may have a group, a longest lease and a number of slots, and each may be changed alone."""
        more = {"group": "lab", "longest": 900, "slots": 5}
        self.assertEqual(
            definition(jsontext.write({"name": "licence", **more})), NewResource("licence", 0, "lab", 900, 5)
        )
        for name, value in more.items():
            self.assertEqual(changes_of(jsontext.write({name: value})), {name: value})
        self.assertEqual(
            changes_of(b'{"slots": 10000, "longest": 0, "group": ""}'), {"slots": 10000, "longest": 0, "group": ""}
        )

    def test_bad_more(self):
        """What none of them can be is refused, by the name of the field."""
        bad: dict[str, tuple[Any, ...]] = {
            "group": (1, None, [], ".", "a\nb", "x" * 256),
            "longest": (-1, 0.5, None, "5", True, LONGEST + 1),
            "slots": (-1, 0.5, None, "5", True, 10_001),
        }
        for name, values in bad.items():
            for value in values:
                self.assertRefused(f"bad_{name}", changes_of, json.dumps({name: value}).encode())
                self.assertRefused(f"bad_{name}", definition, json.dumps({"name": "x", name: value}).encode())

    @given(st.sampled_from((0, 1, LONGEST)) | st.integers(0, LONGEST))
    def test_any_timeout(self, timeout: int):
        """Any whole number of seconds will do that a store can keep."""
        self.assertEqual(definition(jsontext.write({"name": "x", "timeout": timeout})), NewResource("x", timeout))

    @given(VALUES | st.integers(max_value=-1) | st.integers(min_value=LONGEST + 1))
    @example(True)
    @example(1.5)
    @example(None)
    def test_any_bad_timeout(self, timeout: Any):
        """Anything else is refused."""
        number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
        assume(not (number and timeout % 1 == 0 and 0 <= timeout <= LONGEST))
        self.assertRefused("bad_timeout", definition, json.dumps({"name": "x", "timeout": timeout}).encode())

    @given(VALUES)
    @example({"Name": "x"})
    @example({"name": "x", "Timeout": 1})
    @example({"name": "\ud800"})
    @example({"name": int("9" * 30)})
    def test_any_bad_body(self, value: Any):
        """A body that names nothing is refused, whatever it is."""
        body = json.dumps(value).encode()
        if not isinstance(value, dict):
            self.assertRefused("bad_body", definition, body)
        elif not value.keys() <= {"name", "timeout", "group", "longest", "slots"}:
            self.assertRefused("unknown_field", definition, body)
        elif not isinstance(value.get("name"), str) or value["name"] == "\ud800":
            self.assertRefused("bad_name", definition, body)
