"""A request as the edge has it: counted while it is answered, and answered in JSON whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

from twisted.python.failure import Failure
from twisted.web.server import Request

from resourced.http.channel import Channel
from resourced.http.edge import Edge
from resourced.http.json_errors import METHODS, NOSNIFF, PHRASES, SERVER, json_error

_NOSNIFF = tuple(NOSNIFF.split(b": "))


class EdgeRequest(Request):
    """
    A request.

    :ivar notes: what the application wants to have in the access log beside the usual, by field. Keys and tickets
        have no place in it.
    :ivar abandoned: called if the client hangs up before it is answered.
    """

    defaultContentType = b"application/json"
    channel: Channel
    content: BytesIO
    site: Edge  # type: ignore[assignment]
    abandoned: Callable[[], object] | None = None

    def __init__(self, channel: Channel, *args: Any, **kwargs: Any) -> None:
        super().__init__(channel, *args, **kwargs)
        self.notes: dict[str, object] = {}
        self._busy = self._waiting = False

    def has_any(self, names: frozenset[bytes]) -> bool:
        """Tell whether the request has any of some headers, which are named in small letters."""
        has = self.requestHeaders.hasHeader
        return any(has(name) for name in names)

    def body(self) -> bytes:
        """Return the whole body, whatever type it claims to be of: curl calls everything a form."""
        self.content.seek(0)
        return self.content.read()

    def handleContentChunk(self, data: bytes) -> None:
        if self.channel.closing:
            return
        if self.channel.admit_chunk(len(data)):
            super().handleContentChunk(data)

    def process(self) -> None:
        if self.path == b"*":
            # Twisted would answer it here without asking the resource.
            self.setHeader(b"allow", METHODS)
            self.answer(json_error(self, 405, "method_not_allowed", "The server as a whole has no methods."))
        elif self.admit():
            super().process()

    def admit(self) -> bool:
        """Count as busy, or answer that the server is too busy already."""
        site = self.channel.site
        if self.path in {b"/health", b"/metrics"}:
            # Whoever asks how the server does has to learn it above all when it does badly.
            return True
        if site.busy >= site.limits.requests or site.budget.used > site.budget.most:
            # Before it costs anything: the more come, the less there is time for.
            self.setHeader(b"retry-after", b"1")
            self.answer(json_error(self, 503, "overloaded", "The server has too much to do. Try again later."))
            return False
        self._busy = True
        site.busy += 1
        return True

    def stand_aside(self) -> None:
        """Count as busy no longer: from here on this request waits for others, and costs nothing but memory."""
        if self._busy:
            self._busy = False
            self._waiting = True
            site = self.channel.site
            site.busy -= 1
            site.waiting += 1

    def leave(self) -> None:
        """Count neither as busy nor as waiting: it is over."""
        if self._busy:
            self._busy = False
            self.channel.site.busy -= 1
        elif self._waiting:
            self._waiting = False
            self.channel.site.waiting -= 1

    def finish(self) -> None:
        self.leave()
        super().finish()

    def connectionLost(self, reason: Failure) -> None:
        self.leave()
        super().connectionLost(reason)
        abandoned, self.abandoned = self.abandoned, None
        if abandoned is not None:
            abandoned()

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:
        super().setResponseCode(code, message or PHRASES[code])

    def begin_whole(self, code: int, content_type: bytes, length: int) -> None:
        """
        Say what comes before a body that is known as a whole.

        :param length: of the body, in bytes.
        """
        self.setResponseCode(code)
        self.setHeader(b"content-type", content_type)
        self.setHeader(b"content-length", b"%d" % length)
        # Keep caches away: whatever an answer says of a lock may be wrong a moment later.
        self.setHeader(b"cache-control", b"no-store")

    def write(self, data: bytes) -> None:
        if not self.startedWriting and self.channel is not None:
            self.setHeader(b"server", SERVER)
            self.setHeader(*_NOSNIFF)
            if not self.responseHeaders.hasHeader(b"date"):
                self.setHeader(b"date", self.channel.site.date())
            if self.channel.site.draining:
                self.channel.persistent = False
            if not self.channel.persistent:
                self.setHeader(b"connection", b"close")
        super().write(data)

    def answer(self, body: bytes) -> None:
        """Write the whole body, and be done."""
        self.write(body)
        self.finish()

    def processingFailed(self, reason: Failure) -> Failure:
        """Answer 500 for an exception that nobody took, and log it; the client learns nothing about it."""
        self._log.failure("A request could not be answered", failure=reason)
        if self.channel is None or self.finished:
            return reason
        if self.startedWriting:
            # Half an answer has gone out. Only a broken connection can tell the client that it is not a whole one.
            self.channel.transport.abortConnection()
            self.code = 500  # for the log; the client was told something else
            self.finish()
        else:
            self.answer(json_error(self, 500, "internal_error", "Something went wrong in the server."))
        return reason
