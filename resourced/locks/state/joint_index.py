"""The requests for several things that wait or hold, by all that they are looked up by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from weakref import WeakValueDictionary

from resourced.locks.state.joints import Demand, Joint
from resourced.locks.state.queue import seq_of
from resourced.wants import Want


class JointIndex:
    """Each request by its number and its idempotency key."""

    def __init__(self) -> None:
        self._by_seq: dict[int, Joint] = {}
        self._repeated: dict[tuple[str, str], Joint] = {}
        self._demands: WeakValueDictionary[tuple[Want, ...], Demand] = WeakValueDictionary()

    def __iter__(self) -> Iterator[Joint]:
        return iter(list(self._by_seq.values()))

    def demand(self, wants: tuple[Want, ...], leases: Mapping[str, float]) -> Demand:
        """Return what a request wants, the same for all that want the same."""
        demand = self._demands.get(wants)
        if demand is None:
            demand = self._demands[wants] = Demand(wants, dict(leases))
        return demand

    def add(self, joint: Joint) -> None:
        """Add a request."""
        self._by_seq[joint.seq] = joint
        if joint.idempotency_key:
            self._repeated[joint.key_name, joint.idempotency_key] = joint

    def remove(self, joint: Joint) -> None:
        """Forget a request."""
        del self._by_seq[joint.seq]
        self._repeated.pop((joint.key_name, joint.idempotency_key), None)

    def of_seq(self, seq: int) -> Joint | None:
        """Return a request by its number."""
        return self._by_seq.get(seq)

    def of_rank(self, rank: int) -> Joint:
        """Return a request by what sorts it."""
        return self._by_seq[seq_of(rank)]

    def naming(self, resource: str) -> bool:
        """Whether a request wants something of a resource, or has it."""
        return any(want.resource == resource for joint in self for want in joint.wants)

    def repeated(self, key_name: str, idempotency_key: str) -> Joint | None:
        """Return the request that came with an idempotency key before."""
        return self._repeated.get((key_name, idempotency_key))
