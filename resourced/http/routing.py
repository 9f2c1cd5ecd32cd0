"""
From what a request asks for to Klein's rules: one segment of a path is one name, whatever the name contains.

What Klein and werkzeug would refuse in HTML, before they ask Klein's error handlers, becomes JSON here.
"""

from __future__ import annotations

import re
from types import MethodType
from typing import Any, ClassVar, cast
from urllib.parse import quote, unquote_to_bytes

from twisted.internet.address import UNIXAddress
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request
from werkzeug.exceptions import BadHost, BadRequest, HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import BaseConverter

from resourced.http.json_errors import METHODS, json_error
from resourced.http.request import EdgeRequest

_ABSOLUTE = re.compile(rb"https?://([^/?#]+)(.*)", re.IGNORECASE | re.DOTALL)
#: One host, and perhaps a port.
HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(:[0-9]*)?")


class BadPath(BadRequest):
    """
    The path cannot be read as names.

    :cvar word: what the ``code`` of the answer is.
    """

    word: ClassVar[str] = "bad_path"
    description = "The path is not UTF-8 after its percent-encoding is undone."


class BadTarget(BadRequest):
    """What is asked for is neither a path nor the address of one."""

    word: ClassVar[str] = "bad_target"
    description = "The target of the request has to be a path, or an http or https address."


class NoSuchMethod(MethodNotAllowed):
    """A method in small letters, which werkzeug would take for the one in capitals (RFC 9110, 9.1: they are different)."""

    word: ClassVar[str] = "method_not_allowed"
    description = "Methods are written in capitals."


class NoSuchPath(NotFound):
    """The path begins with an empty name, which werkzeug would overlook."""

    word: ClassVar[str] = "unknown_path"
    description = "There is nothing at this path."


class Segment(BaseConverter):
    """
    One segment of a path that is still percent-encoded, for rules such as ``/resource/<segment:name>``.

    Because it is decoded after the path has been split, ``%2F`` is a slash in a name and separates nothing.
    Which names are allowed is not decided here.
    """

    regex = "[^/]+"
    part_isolating = True

    def to_python(self, value: str) -> str:
        """
        Decode a segment.

        :raises BadPath: if what it encodes is not UTF-8.
        """
        if "%" not in value and value.isascii():
            return value
        try:
            return unquote_to_bytes(value).decode("utf-8")
        except UnicodeDecodeError:
            raise BadPath from None

    def to_url(self, value: str) -> str:
        return quote(value, safe="")


class RootResource(Resource):
    """
    The root of the site: makes a request fit for Klein, and JSON of what Klein refuses before it asks its error handlers.

    :ivar inner: a leaf, such as ``Klein.resource()``.
    """

    isLeaf = True

    def __init__(self, inner: IResource) -> None:
        super().__init__()
        self.inner = inner

    def render(self, request: Request) -> int | bytes:
        try:
            if request.method != request.method.upper():
                request.setHeader(b"allow", METHODS)
                raise NoSuchMethod
            _settle_target(request)
            _settle_host(request)
            if not hasattr(request, "notes"):
                _settle_kind(request)
            return cast("int | bytes", self.inner.render(request))
        except HTTPException as error:
            return _refuse(request, error)

    def pass_on(self, request: Request) -> None:
        """Render a request that has a path for a target and one host, so that nothing about it has to be settled."""
        try:
            body = self.inner.render(request)
        except HTTPException as error:
            body = _refuse(request, error)
        if body is not NOT_DONE_YET:
            request.write(body)
            request.finish()


def _settle_kind(request: Any) -> None:
    """Give a request of another site, such as that of ``treq.testing``, what those of ours have."""
    request.notes, request.stand_aside = {}, lambda: None
    for method in (EdgeRequest.body, EdgeRequest.has_any, EdgeRequest.begin_whole):
        setattr(request, method.__name__, MethodType(method, request))


def _refuse(request: Request, error: HTTPException) -> int:
    word, sentence = getattr(error, "word", "bad_request"), error.description or "The request is not valid."
    if isinstance(error, BadHost):  # werkzeug's own, which says nothing about hosts
        word, sentence = "bad_host", "The request needs one valid Host header."
    request.write(json_error(request, error.code or 400, word, sentence))
    request.finish()
    return NOT_DONE_YET


def _settle_target(request: Request) -> None:
    """
    Leave of the target what comes after the authority, and give Klein its segments as they were sent.

    :raises BadTarget: if it is no path.
    :raises NoSuchPath: if it is one that werkzeug would take for another.
    """
    absolute = _ABSOLUTE.fullmatch(request.uri)
    if absolute is not None:
        # RFC 9112, 3.2.2: whatever the header says, the authority of the target is the host.
        request.requestHeaders.setRawHeaders(b"host", [absolute[1]])
        rest = absolute[2]
        request.uri = rest if rest.startswith(b"/") else b"/" + rest
        request.path = request.uri.partition(b"?")[0]
    if not request.path.startswith(b"/"):
        raise BadTarget
    if request.path.startswith(b"//"):
        raise NoSuchPath
    # Twisted has unquoted them, so that an encoded slash would separate.
    request.postpath = request.path[1:].split(b"/")


def _settle_host(request: Request) -> None:
    """
    See to it that there is one host, as Klein needs it; nothing depends on which.

    :raises BadHost: if there are several, if it is none, or if HTTP/1.1 demands one.
    """
    hosts = request.requestHeaders.getRawHeaders(b"host", [])
    if not hosts and (request.clientproto != b"HTTP/1.1" or isinstance(request.getHost(), UNIXAddress)):
        request.requestHeaders.setRawHeaders(b"host", [b"localhost"])
    elif len(hosts) != 1 or HOST.fullmatch(hosts[0]) is None:
        raise BadHost
