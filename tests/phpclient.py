"""
What the published PHP client of the original server sends, request for request, and what it makes of the answers.

It has one object for each resource, which keeps one ticket for good and sends it with all that it does. It throws at an error before
it looks at the headers. It can send no header of its own, so it can neither say that it would wait nor who it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote

from tests.daemon import PATIENCE

#: What the client calls the header of its ticket, in just these letters.
TICKET = "X-Ticket"


class Thrown(Exception):
    """
    What the client throws.

    :ivar status: that of the answer, which is all that it may look at.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Factory:
    """
    Makes the objects for resources.

    :param address: from which address it connects, if that matters.
    """

    def __init__(self, port: int, key: str, address: str = "127.0.0.1") -> None:
        self.port = port
        self.key = key
        self.address = address

    def create_resource(self, name: str, timeout: int) -> Resource:
        body = json.dumps({"name": name, "timeout": timeout})
        status, _, _ = self.send("POST", "/resource", {"Content-Type": "application/json"}, body)
        if status not in {200, 201}:
            raise Thrown(status)
        return self.get_resource(name)

    def get_resource(self, name: str) -> Resource:
        return Resource(self, name)

    def send(
        self, method: str, target: str, headers: Mapping[str, str], body: str | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request on a connection of its own; return the status, the headers in the letters in which they came, and the body."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE, source_address=(self.address, 0))
        with closing(connection):
            connection.request(method, target, body, {"accept": "application/json", "x-api-key": self.key, **headers})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()


class Resource:
    """The object for one resource."""

    def __init__(self, factory: Factory, name: str) -> None:
        self._factory = factory
        self._name = name
        self.ticket = ""

    def get_data(self, selector: str, *, lock: bool) -> Any:
        """Return the data; nothing if somebody else has the lock."""
        status, headers, body = self._send("GET", selector, query=f"?lock={int(lock)}")
        if status >= 400:
            raise Thrown(status)
        self.ticket = headers.get(TICKET, self.ticket)
        return json.loads(json.loads(body)["data"]) if status == 200 else None

    def lock_data(self, selector: str) -> bool:
        """Take the lock, and return whether it is there."""
        status, headers, body = self._send("PUT", selector, "/lock")
        if status >= 400:
            raise Thrown(status)
        self.ticket = headers.get(TICKET, self.ticket)
        return status == 200 and json.loads(body)["locked"] is True

    def write_data(self, selector: str, data: Any) -> None:
        status, _, _ = self._send("PUT", selector, body=json.dumps(data))
        if status not in {200, 204}:
            raise Thrown(status)

    def unlock_data(self, selector: str) -> None:
        status, _, _ = self._send("PUT", selector, "/unlock")
        if status != 200:
            raise Thrown(status)

    def _send(
        self, method: str, selector: str, end: str = "", query: str = "", body: str | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        headers = {TICKET: self.ticket} if self.ticket else {}
        if body is not None:
            headers["content-type"] = "application/json"
        # PHP's rawurlencode leaves the same alone as RFC 3986.
        target = f"/resource/{quote(self._name, safe='')}/{quote(selector, safe='')}{end}{query}"
        return self._factory.send(method, target, headers, body)
