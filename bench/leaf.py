"""The yardstick: what ``twisted.web`` does by itself, with a leaf that says a constant. ``python -m bench.leaf PORT``."""

from __future__ import annotations

import sys

from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Request, Site


class Leaf(Resource):
    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        request.setHeader(b"content-type", b"application/json")
        return b'{"health": "ok"}'


if __name__ == "__main__":
    reactor.listenTCP(int(sys.argv[1]), Site(Leaf()), interface="127.0.0.1", backlog=1024)  # type: ignore[arg-type]
    reactor.run()
