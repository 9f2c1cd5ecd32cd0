"""The requests for several things that wait or hold, by all that they are looked up by."""

from __future__ import annotations

from collections.abc import Iterator

from resourced.locks.state.joints import Joint


class JointIndex:
    """Each request by its ticket, number, rank, and idempotency key."""

    def __init__(self) -> None:
        self._by_ticket: dict[str, Joint] = {}
        self._by_seq: dict[int, Joint] = {}
        self._by_rank: dict[int, Joint] = {}
        self._repeated: dict[tuple[str, str], Joint] = {}

    def __iter__(self) -> Iterator[Joint]:
        return iter(list(self._by_ticket.values()))

    def add(self, joint: Joint) -> None:
        """Add a request."""
        self._by_ticket[joint.name] = self._by_seq[joint.seq] = self._by_rank[joint.waiting.rank] = joint
        if joint.idempotency_key:
            self._repeated[joint.key_name, joint.idempotency_key] = joint

    def remove(self, joint: Joint) -> None:
        """Forget a request."""
        del self._by_ticket[joint.name], self._by_seq[joint.seq], self._by_rank[joint.waiting.rank]
        self._repeated.pop((joint.key_name, joint.idempotency_key), None)

    def of_ticket(self, name: str, key_name: str) -> Joint | None:
        """Return the request of a ticket. To others than whom it was given to it is unknown."""
        joint = self._by_ticket.get(name)
        return joint if joint is not None and joint.key_name == key_name else None

    def of_seq(self, seq: int) -> Joint | None:
        """Return a request by its number."""
        return self._by_seq.get(seq)

    def of_rank(self, rank: int) -> Joint:
        """Return a request by what sorts it."""
        return self._by_rank[rank]

    def repeated(self, key_name: str, idempotency_key: str) -> Joint | None:
        """Return the request that came with an idempotency key before."""
        return self._repeated.get((key_name, idempotency_key))
