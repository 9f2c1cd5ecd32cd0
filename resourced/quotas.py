"""What one key name may take of the daemon, so that no tenant fills what is there for all. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Final

from resourced.errors import QuotaExceeded
from resourced.model import LockKey

#: The words for quotas, in the key file, in answers and in metrics.
MAX_LOCKS: Final = "max_locks"
MAX_WAITING: Final = "max_waiting"
MAX_STREAMS: Final = "max_streams"
RATE: Final = "rate"
CONNECTIONS: Final = "max_peer_connections"
#: At how many selectors of a resource one ticket may hold or wait. It has no word in the key file.
MAX_PLACES: Final = "max_places"

NAMES: Final = (MAX_LOCKS, MAX_WAITING, MAX_STREAMS, RATE)

#: How many tickets of a key name may wait at one selector: of RESOURCED_MAX_QUEUE the part that a name may have. It has no word there either.
MAX_QUEUE: Final = "max_queue"

#: How many selectors that are.
PLACES: Final = 1000


@dataclass(frozen=True, slots=True)
class Quota:
    """
    What a key name may take; nothing said is infinite.

    :ivar max_locks: locks that its tickets hold.
    :ivar max_waiting: tickets of it that wait.
    :ivar max_streams: streams of events that it follows.
    :ivar rate: requests in a second, on average; as many may come at once.
    :ivar max_queue: tickets of it that wait at one selector.
    """

    max_locks: float = inf
    max_waiting: float = inf
    max_streams: float = inf
    rate: float = inf
    max_queue: float = inf

    def shared(self, part: float) -> Quota:
        """Return a part of it, but for the rate."""
        return Quota(
            self.max_locks * part, self.max_waiting * part, self.max_streams * part, self.rate, self.max_queue * part
        )


class Tenant:
    """
    What a key name takes at present.

    :ivar waiting: how many of its tickets wait.
    :ivar queues: how many of them at each lock where any do.
    :ivar left: how many requests may come at once.
    :ivar at: when that was so.
    """

    __slots__ = ("at", "held", "left", "name", "queues", "streams", "waiting")

    def __init__(self, name: str, left: float, at: float) -> None:
        self.name = name
        self.held = self.waiting = self.streams = 0
        self.queues: dict[LockKey, int] = {}
        self.left = left
        self.at = at

    def join(self, key: LockKey) -> None:
        """Count one more ticket that waits for a lock."""
        self.waiting += 1
        self.queues[key] = self.queues.get(key, 0) + 1

    def leave(self, key: LockKey) -> None:
        """Count a ticket no more that waited for a lock."""
        self.waiting -= 1
        self.queues[key] -= 1
        if not self.queues[key]:
            del self.queues[key]


class Quotas:
    """
    What each key name takes, and may take.

    :param seconds: the time of a clock that nobody sets.
    :param quota: what a name may take; it may change.
    :param refused: is told of each refusal, by the word for the quota.
    """

    def __init__(
        self,
        seconds: Callable[[], float] = lambda: 0.0,
        quota: Callable[[str], Quota] = lambda _: Quota(),
        refused: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._seconds = seconds
        self._quota = quota
        self._refused = refused
        # As many as there are names of keys.
        self.tenants: dict[str, Tenant] = {}

    def tenant(self, name: str) -> Tenant:
        """Return what a name takes."""
        tenant = self.tenants.get(name)
        if tenant is None:
            tenant = self.tenants[name] = Tenant(name, max(1.0, self._quota(name).rate), self._seconds())
        return tenant

    def check_lock(self, tenant: Tenant, more: int = 1) -> None:
        """
        Let a name have one more lock at once, or several.

        :raises resourced.errors.QuotaExceeded: it would have more than it may.
        """
        if tenant.held + more > self._quota(tenant.name).max_locks:
            raise self._exceeded(MAX_LOCKS, "This key holds as many locks as it may.")

    def check_waiting(self, tenant: Tenant, waiting: int) -> None:
        """
        Let a name have one more ticket that waits, wherever that is.

        :param waiting: how many wait without it.
        :raises resourced.errors.QuotaExceeded: as many wait as may.
        """
        if waiting >= self._quota(tenant.name).max_waiting:
            raise self._exceeded(MAX_WAITING, "As many tickets of this key wait as may.")

    def check_wait(self, tenant: Tenant, key: LockKey) -> None:
        """
        Let one more ticket of a name wait for a lock.

        :raises resourced.errors.QuotaExceeded: as many wait as may.
        """
        self.check_waiting(tenant, tenant.waiting)
        if tenant.queues.get(key, 0) >= self._quota(tenant.name).max_queue:
            raise self._exceeded(MAX_QUEUE, "As many tickets of this key wait for this lock as may.")

    def check_places(self, places: int) -> None:
        """
        Let a ticket have one more place.

        :raises resourced.errors.QuotaExceeded: it has as many as one may have.
        """
        if places >= PLACES:
            raise self._exceeded(MAX_PLACES, f"This ticket holds or waits at {PLACES} selectors; take another one.")

    def check_stream(self, tenant: Tenant) -> None:
        """
        Let a name follow one more stream.

        :raises resourced.errors.QuotaExceeded: it follows as many as it may.
        """
        if tenant.streams >= self._quota(tenant.name).max_streams:
            raise self._exceeded(MAX_STREAMS, "This key follows as many streams as it may.")

    def count_request(self, name: str) -> None:
        """
        Count a request of a name: a bucket of tokens, which fills up within a second.

        :raises resourced.errors.QuotaExceeded: there were too many.
        """
        quota = self._quota
        rate = quota(name).rate
        if rate == inf:
            return
        tenant, now = self.tenant(name), self._seconds()
        full = max(1.0, rate)
        tenant.left = min(full, tenant.left + (now - tenant.at) * rate)
        tenant.at = now
        if tenant.left < 1:
            raise self._exceeded(RATE, "This key sends more requests than it may.")
        tenant.left -= 1

    def _exceeded(self, quota: str, why: str) -> QuotaExceeded:
        self._refused(quota)
        error = QuotaExceeded(f"{why} Its quota is {quota}. Try again later.")
        error.code = f"quota_{quota}"
        return error
