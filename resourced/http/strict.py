"""
A connection whose requests are within the limits, and can be read in one way only.

Twisted's parser is more patient: here its lines, headers and bodies are looked at before it has them.
"""

from __future__ import annotations

import re
from typing import Any

from resourced.errors import NotAuthorized
from resourced.http.edge import Edge
from resourced.http.flow import FlowChannel
from resourced.http.json_errors import CHALLENGE

REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^\x00-\x20\x7f]+) HTTP/(\d\.\d)")
#: More digits than any number of bytes needs, and fewer than Python refuses to read as an integer.
_LENGTH_DIGITS = 18

#: How many chunks a body may have, and for how many of its bytes it may have one more.
CHUNKS, CHUNK = 16_384, 64


class StrictChannel(FlowChannel):
    """
    A connection that refuses what is too large or in doubt.

    :ivar request_line: of the request that is arriving, as soon as it is known.
    """

    site: Edge

    def __init__(self) -> None:
        super().__init__()
        self.request_line = b""
        self._lines = 0
        self._size = 0
        # Of how many chunks a body has come.
        self._chunks = 0

    # What the connection knows.

    @property
    def idle(self) -> bool:
        """Whether no part of a request has arrived that is not answered yet."""
        raise NotImplementedError

    @property
    def closing(self) -> bool:
        """Whether what still arrives is dropped."""
        raise NotImplementedError

    @property
    def reading(self) -> bool:
        """Whether a request has begun, and is not complete."""
        raise NotImplementedError

    def begin(self) -> None:
        """Begin a request."""
        self.request_line = b""
        self._size = self._lines = self._chunks = 0

    def refuse(self, status: int, code: str, sentence: str, headers: tuple[bytes, ...] = ()) -> None:
        """Answer in place of the application, and end the connection."""
        raise NotImplementedError

    # What arrives.

    def lineReceived(self, line: bytes) -> bool:
        """Check a line of the head before Twisted reads it; true makes the rest of what has arrived be dropped."""
        if self.idle and line:
            self.begin()
        self._size += len(line)
        self._lines += bool(line)
        if self._size > self.totalHeadersSize or self._lines > self.maxHeaders + 1:
            self.lineLengthExceeded(line)
        elif line and not self.request_line:
            self.request_line = line
            self._check_request_line(line)
        if not self.closing:
            super().lineReceived(line)
        return self.closing

    def _check_request_line(self, line: bytes) -> None:
        parts = REQUEST_LINE.fullmatch(line)
        if parts is None or not line.isascii():
            self._respondToBadRequestAndDisconnect()
        elif parts[3] not in {b"1.0", b"1.1"}:
            self.refuse(505, "unsupported_version", "This server speaks HTTP/1.1 and HTTP/1.0.")

    def headerReceived(self, line: bytes) -> bool:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            digits = value.strip(b" \t")
            # Twisted would let Python try to read the number, and end the connection with a traceback.
            if digits.isdigit() and len(digits) > _LENGTH_DIGITS:
                self.refuse_body()
                return False
        elif name.lower() == b"transfer-encoding" and value.strip(b" \t").lower() != b"chunked":
            # Twisted passes over "identity", which a proxy in front may read in another way (RFC 9112, 6.1).
            self._respondToBadRequestAndDisconnect()
            return False
        return bool(super().headerReceived(line))

    def admit_body(self, length: int | None) -> bool:
        """
        Let a body come, or refuse it before a byte of it is kept and before Twisted says "100 Continue".

        :param length: nothing, if it comes in chunks.
        """
        limits = self.site.limits
        error = self.gate(self.requests[-1].requestHeaders)
        if error is not None:
            self.refuse(401, error.code, error.sentence, (b"WWW-Authenticate: " + CHALLENGE,))
            return False
        if length is not None and length > limits.max_body:
            self.refuse_body()
            return False
        return self._reserve(length or 0)

    def gate(self, headers: Any) -> NotAuthorized | None:
        """Say why the body of a request is not to be read, if it is not."""
        return self.site.gate(headers.getRawHeaders(b"x-api-key", ()), headers.getRawHeaders(b"authorization", ()))

    def _reserve(self, size: int) -> bool:
        """Count so many more bytes of a body in, or refuse it if all connections together have too much already."""
        if not self.site.budget.has_room(size):
            self.refuse(503, "overloaded", "The server has too much to do. Try again later.", (b"Retry-After: 1",))
            return False
        self.keep_body(self.body + size)
        return True

    def admit_chunk(self, size: int) -> bool:
        """Tell whether so many more bytes of a body may be kept; if not, it is refused."""
        if self.length is not None:
            # It was counted when its length was known.
            return True
        self._chunks += 1
        if self.body + size > self.site.limits.max_body:
            self.refuse_body()
            return False
        if self._chunks > CHUNKS + self.body // CHUNK:
            self.refuse(413, "body_too_large", f"The body has more than {CHUNKS} chunks of less than {CHUNK} bytes.")
            return False
        return self._reserve(size)

    def rawDataReceived(self, data: bytes) -> None:
        super().rawDataReceived(data)
        # The chunk that is being read has a length, too, which only Twisted's decoder knows. Without it, only what arrives is counted.
        chunk = getattr(self._transferDecoder, "length", 0) if self.length is None else 0
        if self.reading and self.body + chunk > self.site.limits.max_body:
            self.refuse_body()

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: ARG002
        self.refuse(
            431,
            "headers_too_large",
            f"The head of the request is longer than {self.site.limits.max_headers} bytes"
            f" or has more than {self.maxHeaders} headers.",
        )

    def _respondToBadRequestAndDisconnect(self) -> None:
        # The one private name of Twisted's that is used here: every answer of 400 that it gives by itself is here.
        self.refuse(400, "bad_request", "The request is not valid HTTP.")

    # What is refused.

    def refuse_body(self) -> None:
        """Answer that the body is too large; whatever is left of it is dropped."""
        self.refuse(413, "body_too_large", f"The body is larger than {self.site.limits.max_body} bytes.")
