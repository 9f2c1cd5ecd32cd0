"""The page to look at: the files of ``resourced/ui``, for everyone, since what is worth a key is asked for by the page itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import NamedTuple

from werkzeug.exceptions import NotFound

from resourced.api.base import Group, route
from resourced.api.params import accepts_html, unless_of
from resourced.api.responses import done, tagged
from resourced.http.request import EdgeRequest

#: What each kind of file is.
TYPES: Mapping[str, bytes] = MappingProxyType(
    {
        "html": b"text/html; charset=utf-8",
        "js": b"text/javascript; charset=utf-8",
        "css": b"text/css; charset=utf-8",
        "svg": b"image/svg+xml",
    }
)

#: The page loads its own files, asks its own server, and makes no markup of any string; nobody puts it into a frame.
POLICY = b"; ".join(
    (
        b"default-src 'none'",
        b"script-src 'self'",
        b"style-src 'self'",
        b"img-src 'self'",
        b"connect-src 'self'",
        b"base-uri 'none'",
        b"form-action 'none'",
        b"frame-ancestors 'none'",
        b"require-trusted-types-for 'script'",
        b"trusted-types 'none'",
    )
)

HEADERS: Mapping[bytes, bytes] = MappingProxyType(
    {
        b"content-security-policy": POLICY,
        b"referrer-policy": b"no-referrer",
        b"cross-origin-opener-policy": b"same-origin",
        b"cross-origin-resource-policy": b"same-origin",
        # Kept, but asked for each time, so that after an update no old file meets a new one.
        b"cache-control": b"no-cache",
    }
)


class File(NamedTuple):
    """
    A file of the page.

    :ivar tag: its entity tag, without the quotes.
    """

    type: bytes
    content: bytes
    tag: str


class Displayed(Group):
    """The page and what belongs to it, read once: it is a part of the program."""

    def __init__(self) -> None:
        paths = files("resourced").joinpath("ui").iterdir()
        # An editor may have left something of its own beside them.
        self._files = {path.name: _file(path) for path in paths if _suffix(path) in TYPES}

    @route("/", ["GET"])
    async def front(self, request: EdgeRequest) -> bytes:
        """Send a browser to the page; for a program there is nothing here."""
        request.setHeader(b"vary", b"accept")
        if not accepts_html(request):
            raise NotFound
        # Relative, because a proxy may have put the server under a path.
        request.setHeader(b"location", b"ui")
        request.setHeader(b"content-length", b"0")
        return done(request, 302)

    @route("/ui", ["GET"])
    async def page(self, request: EdgeRequest) -> bytes:
        """Show the page."""
        return _sent(request, self._files["index.html"])

    @route("/ui/<name:file>", ["GET"])
    async def part(self, request: EdgeRequest, file: str) -> bytes:
        """Give what the page is made of, by its name and no path."""
        if file not in self._files:
            raise NotFound
        return _sent(request, self._files[file])


def _suffix(path: Traversable) -> str:
    return path.name.rpartition(".")[2]


def _file(path: Traversable) -> File:
    content = path.read_bytes()
    return File(TYPES[_suffix(path)], content, hashlib.sha256(content).hexdigest()[:16])


def _sent(request: EdgeRequest, file: File) -> bytes:
    known = not all(condition.passes(file.tag) for condition in unless_of(request))
    for name, value in HEADERS.items():
        request.setHeader(name, value)
    tagged(request, file.tag)
    if known:
        request.setResponseCode(304)
        return b""
    request.setHeader(b"content-type", file.type)
    request.setHeader(b"content-length", b"%d" % len(file.content))
    return file.content
