"""What goes into one commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred

from resourced.model import Batch, Event, Key, Loss, Place, Resource, Step, Write
from resourced.wants import Card, JointRequest


@dataclass(slots=True)
class Group:
    """
    What goes into one commit.

    :ivar fresh: the places that no client can have been told of before it is committed.
    :ivar reserves: whether it reserves fences.
    :ivar began: when its commit was sent, by the clock of the leader's lease.
    """

    number: int
    places: dict[int, Place] = field(default_factory=dict)
    gone: dict[int, Key] = field(default_factory=dict)
    writes: list[Write] = field(default_factory=list)
    removed: list[Resource] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    fresh: set[int] = field(default_factory=set)
    waiters: list[Deferred[None]] = field(default_factory=list)
    reserves: bool = False
    losses: list[Loss] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)
    joints: dict[int, JointRequest] = field(default_factory=dict)
    joints_gone: dict[int, None] = field(default_factory=dict)
    cards: dict[Key, Card | None] = field(default_factory=dict)
    began: float = 0.0

    @property
    def empty(self) -> bool:
        """Whether there is nothing to commit. For events alone there is no commit."""
        return not (self.places or self.gone or self.writes or self.removed or self.reserves or self.pooled)

    @property
    def pooled(self) -> bool:
        """Whether it is about pools, and so about more than single locks."""
        return bool(self.joints or self.joints_gone or self.cards)

    @property
    def transitions(self) -> int:
        """How many changes it carries."""
        singles = len(self.places) + len(self.gone) + len(self.writes) + len(self.removed)
        return singles + len(self.joints) + len(self.joints_gone) + len(self.cards)

    def keys(self) -> set[Key] | None:
        """Return the locks that it is about; nothing if it may be about any."""
        if self.pooled or self.removed:
            return None
        return {place.key for place in self.places.values()} | set(self.gone.values()) | {w.key for w in self.writes}

    def carry_places(self, step: Step, highest: int, ahead: Group | None) -> int:
        """
        Carry the places of a step.

        :param highest: the highest place that was made before.
        :param ahead: the group whose commit is under way.
        :returns: the highest place that was ever made.
        """
        for place in step.places:
            if place.seq > highest:
                highest = place.seq
                self.fresh.add(place.seq)
            elif ahead is not None and place.seq in ahead.fresh:
                # It changed before anyone was told of it, and whoever asked for it waits for this group now.
                self.fresh.add(place.seq)
            self.places[place.seq] = place
            self.gone.pop(place.seq, None)
        for joint in step.joints:
            if joint.seq > highest:
                highest = joint.seq
                self.fresh.add(joint.seq)
            elif ahead is not None and joint.seq in ahead.fresh:
                self.fresh.add(joint.seq)
            self.joints[joint.seq] = joint
        for seq in step.joints_gone:
            self.joints.pop(seq, None)
            self.joints_gone[seq] = None
        if step.unannounced:
            self.fresh.add(step.unannounced)
        self.gone.update(step.gone)
        return highest

    def batch(self, fence: int, event: int, events: Sequence[Event]) -> Batch:
        """
        Return what the store is to commit.

        :param fence: the highest fence that may be given out after it.
        :param event: the highest id of an event that was ever given out.
        :param events: those that are kept.
        """
        return Batch(
            fence,
            list(self.places.values()),
            list(self.gone),
            self.writes,
            self.removed,
            list(events),
            event,
            self.losses,
            self.forgotten,
            list(self.joints.values()),
            list(self.joints_gone),
            self.cards,
        )
