"""What a key may do, for programs that offer people only that."""

from __future__ import annotations

from resourced.api.base import Routes, route
from resourced.api.params import only
from resourced.api.responses import answer
from resourced.auth.keys import Permission
from resourced.http.request import EdgeRequest


class KeyShown(Routes):
    """The key of a request itself."""

    @route("/key", ["GET"])
    async def key(self, request: EdgeRequest) -> bytes:
        """Say whose key it is, and what it may do."""
        only(request)
        identity = self.authorize(request, Permission.READ)
        return answer(
            request,
            200,
            {
                "name": identity.name,
                "permissions": [str(permission.name).lower() for permission in identity.permission],
                "prefixes": list(identity.prefixes),
                "priority": identity.priority,
            },
        )
