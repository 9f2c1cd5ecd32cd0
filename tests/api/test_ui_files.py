"""How the page is served: to everyone, as what it is, and under a policy that lets nothing else in."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from resourced.api.ui import TYPES
from resourced.testing import MemoryStore
from tests.assembled import configured, serve, surroundings
from tests.daemon import STOCK
from tests.wire import Exchange

pytestmark = [pytest.mark.trial, pytest.mark.reference_path]

UI = Path(__file__).resolve().parent.parent.parent / "resourced" / "ui"

#: Every path of the page, with its file.
PATHS = {"/ui": UI / "index.html", **{f"/ui/{path.name}": path for path in UI.iterdir()}}


class PageTests(SynchronousTestCase):
    def setUp(self):
        self.site = serve(configured(reference_path=STOCK), surroundings(Clock(), self.fail), MemoryStore()).site

    def ask(self, method, path, *headers):
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", ""]
        return Exchange(self.site, "\r\n".join(lines).encode()).answer

    def test_files(self):
        """Each file comes without a key, whole, and as what it is."""
        kinds = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
        self.assertEqual(set(kinds), set(TYPES))
        for path, file in PATHS.items():
            answer = self.ask("GET", path)
            self.assertEqual((answer.status, answer.body), (200, file.read_bytes()), path)
            self.assertEqual(int(answer.headers["Content-Length"]), len(answer.body), path)
            self.assertTrue(answer.headers["Content-Type"].startswith(kinds[file.suffix[1:]]), path)

    def test_policy(self):
        """The browser is told to load nothing from elsewhere, to run no inline script, and to show it in no frame."""
        for path in PATHS:
            headers = self.ask("GET", path).headers
            rules = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
            self.assertEqual(rules["default-src"], "'none'")
            self.assertEqual({rules[name] for name in ("base-uri", "form-action", "frame-ancestors")}, {"'none'"})
            self.assertEqual({rules[f"{kind}-src"] for kind in ("script", "style", "connect", "img")}, {"'self'"})
            self.assertEqual(rules["require-trusted-types-for"], "'script'")
            self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
            self.assertEqual(headers["Referrer-Policy"], "no-referrer")

    def test_head(self):
        """HEAD is answered as GET is, without the file."""
        for path in PATHS:
            got, head = self.ask("GET", path), self.ask("HEAD", path)
            self.assertEqual((head.status, head.body), (200, b""))
            self.assertEqual({**head.headers, "Date": ""}, {**got.headers, "Date": ""})

    def test_known(self):
        """A browser that has a file is told so, and of a file that it does not have it gets all."""
        tag = self.ask("GET", "/ui").headers["ETag"]
        self.assertRegex(tag, r'\A"[0-9a-f]{16}"\Z')
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            for method in ("GET", "HEAD"):
                answer = self.ask(method, "/ui", f"If-None-Match: {known}")
                self.assertEqual((answer.status, answer.body), (304, b""), known)
                self.assertEqual((answer.headers["ETag"], answer.headers["Cache-Control"]), (tag, "no-cache"))
                self.assertNotIn("Content-Length", answer.headers)
        self.assertEqual(self.ask("GET", "/ui", 'If-None-Match: "0123456789abcdef"').status, 200)
        answer = self.ask("GET", "/ui", f"If-None-Match: {tag[1:-1]}")
        self.assertEqual((answer.status, answer.json["code"]), (400, "bad_if_none_match"))
        tags = [self.ask("GET", f"/ui/{path.name}").headers["ETag"] for path in UI.iterdir()]
        self.assertEqual(len(set(tags)), len(tags))

    def test_front(self):
        """
        A browser that asks for the server itself is sent to the page, also below the path of a proxy; a program is told that there
        is nothing there, as ever.
        """
        for accept in ("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", "TEXT/HTML"):
            for method in ("GET", "HEAD"):
                answer = self.ask(method, "/", f"Accept: {accept}")
                self.assertEqual((answer.status, answer.headers["Location"], answer.body), (302, "ui", b""))
        for headers in ((), ("Accept: */*",), ("Accept: application/json",)):
            answer = self.ask("GET", "/", *headers)
            self.assertEqual(
                (answer.status, answer.json["code"], answer.headers["Vary"]), (404, "unknown_path", "accept")
            )

    def test_unknown(self):
        """What is no part of the page is not there, whatever path is asked for."""
        for path in ("", "no.js", "INDEX.HTML", "..", ".", "%2e%2e", "%2e%2e%2fpage.py", "..%2Fpage.py", "../page.py"):
            answer = self.ask("GET", f"/ui/{path}")
            self.assertEqual((answer.status, answer.json["code"]), (404, "unknown_path"), path)
        for path in (quote(str(UI / "app.js"), safe=""), "app.js%00", "app.js/", "./app.js", "ui/app.js"):
            self.assertEqual(self.ask("GET", f"/ui/{path}").status, 404, path)

    def test_methods(self):
        """Nothing can be done to it but to look."""
        for path in PATHS:
            for method in ("POST", "PUT", "DELETE", "PATCH"):
                answer = self.ask(method, path, "Content-Length: 0")
                self.assertEqual((answer.status, answer.json["code"]), (405, "method_not_allowed"))
                self.assertEqual(answer.headers["Allow"], "GET, HEAD")

    def test_own_address(self):
        """The page names no other host, and no absolute path: a proxy may put the daemon where it likes."""
        for path in UI.iterdir():
            text = path.read_text().replace("http://www.w3.org/2000/svg", "")
            self.assertNotRegex(text, r"https?://|//[a-z]+\.[a-z]+|(href|src|from|import\()[= ]*[\"']/", path.name)
