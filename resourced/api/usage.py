"""What was used, and by whom."""

from __future__ import annotations

from resourced.api.base import Routes, route
from resourced.api.params import argument, only, resource_named, whole
from resourced.api.responses import answer
from resourced.auth.keys import Permission
from resourced.http.request import EdgeRequest
from resourced.usage import KEPT, NAMES, By, Use, day_of


class Used(Routes):
    """The use of resources, from counts that outlive the history."""

    @route("/usage", ["GET"])
    async def usage(self, request: EdgeRequest) -> bytes:
        """Tell what was used of a resource in the last days, by selector and by owner."""
        only(request, b"resource", b"days")
        name = argument(request, b"resource") or ""
        self.authorize(request, Permission.READ, name)
        resource = resource_named(name)
        days = whole(request, b"days", 30, least=1, most=KEPT)
        since = day_of(self.locks.places.record.now()) - days + 1
        units = await self.store.usage(resource, By.UNIT, since, NAMES)
        owners = await self.store.usage(resource, By.OWNER, since, NAMES)
        return answer(
            request,
            200,
            {
                "resource": resource,
                "days": days,
                "units": [{"selector": name or None, **_shown(use)} for name, use in units.items()],
                "owners": [{"owner": name or None, **_shown(use)} for name, use in owners.items()],
            },
        )


def _shown(use: Use) -> dict[str, object]:
    return {
        "grants": use.grants,
        "held": int(use.held),
        "expiries": use.expiries,
        "breaks": use.breaks,
        "wait_mean": None if use.mean is None else round(use.mean, 3),
        "wait_p95": use.p95,
    }
