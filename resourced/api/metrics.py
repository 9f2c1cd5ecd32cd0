"""``GET /metrics``, for a Prometheus server."""

from __future__ import annotations

from resourced.api.base import Routes, route
from resourced.api.responses import sent
from resourced.auth.keys import Keys, Permission
from resourced.http.request import EdgeRequest
from resourced.locks.manager import LockManager
from resourced.metrics.render import Exposition
from resourced.storage.interface import Store


class Scrape(Routes):
    """
    How the daemon does, in figures.

    :param free: let everybody read them, without a key.
    """

    def __init__(self, keys: Keys, store: Store, locks: LockManager, exposition: Exposition, *, free: bool) -> None:
        super().__init__(keys, store, locks)
        self._exposition = exposition
        self._free = free

    @route("/metrics", ["GET"])
    async def metrics(self, request: EdgeRequest) -> bytes:
        """Write all figures down."""
        if not self._free:
            # The figures are about all resources.
            self.authorize(request, Permission.READ).require_all()
        accept = b",".join(request.requestHeaders.getRawHeaders(b"accept", ()))
        content_type, text = self._exposition.write(accept.decode("latin-1"))
        return sent(request, 200, text, content_type.encode("ascii"))
