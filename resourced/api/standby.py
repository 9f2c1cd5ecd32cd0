"""What a daemon answers while another one serves the store and it only waits to take over."""

from __future__ import annotations

from twisted.web.resource import IResource, Resource

from resourced.api.responses import RETRY_AFTER, answer
from resourced.http.request import EdgeRequest


class Standby(Resource):
    """
    The whole site of a daemon that waits: it has nothing to say but that, and how it does.

    :param metrics: a leaf that answers ``/metrics``.
    """

    isLeaf = True

    def __init__(self, metrics: IResource) -> None:
        super().__init__()
        self._metrics = metrics

    def render(self, request: EdgeRequest) -> int | bytes:
        if request.path == b"/metrics":
            rendered: int | bytes = self._metrics.render(request)
            return rendered
        request.setHeader(b"retry-after", b"%d" % RETRY_AFTER)
        if request.path == b"/health":
            return answer(request, 503, {"health": "standby"})
        return answer(
            request, 503, {"error": "This server stands by; another one serves at present.", "code": "standby"}
        )
