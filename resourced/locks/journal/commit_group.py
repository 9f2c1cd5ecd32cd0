"""What goes into one commit."""

from __future__ import annotations

from dataclasses import dataclass, field

from twisted.internet.defer import Deferred

from resourced.model import WRITE, Batch, Event, LockKey, Loss, Place, Resource, Step, Write
from resourced.wants import Card, JointRequest


@dataclass(slots=True)
class CommitGroup:
    """
    What goes into one commit.

    :ivar fresh: the places that no client can have been told of before it is committed.
    :ivar reserves: whether it reserves fences.
    :ivar began: when its commit was sent, by the clock of the leader's lease.
    """

    number: int
    places: dict[int, Place] = field(default_factory=dict)
    gone: dict[int, LockKey] = field(default_factory=dict)
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
    cards: dict[LockKey, Card | None] = field(default_factory=dict)
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

    def keys(self) -> set[LockKey] | None:
        """Return the locks that it is about; nothing if it may be about any."""
        if self.pooled or self.removed:
            return None
        return {place.key for place in self.places.values()} | set(self.gone.values()) | {w.key for w in self.writes}

    def carry(self, step: Step, highest: int, ahead: CommitGroup | None, *, places: bool, losses: bool) -> int:
        """
        Carry a step.

        :param highest: the highest place that was made before.
        :param ahead: the group whose commit is under way.
        :param places: whether places are kept.
        :param losses: whether losses are kept.
        :returns: the highest place that was ever made.
        """
        self.events += step.events
        if step.write is not None:
            self.writes.append(step.write)
        if step.removed is not None:
            self.removed.append(step.removed)
        if step.cards:
            self.cards.update(step.cards)
        if losses and (step.losses or step.forgotten):
            self.losses += step.losses
            self.forgotten += step.forgotten
        if not places:
            return highest
        # First, because a request has a lower number than what it got in the same step.
        highest = self._carry_joints(step, highest, ahead) if step.joints or step.joints_gone else highest
        for place in step.places:
            seq = place.seq
            if seq > highest:
                highest = seq
                self.fresh.add(seq)
            elif ahead is not None and seq in ahead.fresh:
                # It changed before anyone was told of it, and whoever asked for it waits for this group now.
                self.fresh.add(seq)
            self.places[seq] = place
            self.gone.pop(seq, None)
        if step.unannounced:
            self.fresh.update(step.unannounced)
        self.gone.update(step.gone)
        return highest

    def _carry_joints(self, step: Step, highest: int, ahead: CommitGroup | None) -> int:
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
        return highest

    def batch(self, fence: int, event: int, *, history: bool, durable: bool) -> Batch:
        """
        Return what the store is to commit.

        :param fence: the highest fence that may be given out after it.
        :param event: the highest id of an event that was ever given out.
        :param history: whether events are kept.
        :param durable: whether places are kept. Where they are not, neither is what happens to them.
        """
        if not history:
            events = []
        elif durable:
            events = list(self.events)
        else:
            events = [one for one in self.events if one.kind is WRITE]
        return Batch(
            fence,
            list(self.places.values()),
            list(self.gone),
            self.writes,
            self.removed,
            events,
            event,
            self.losses,
            self.forgotten,
            list(self.joints.values()),
            list(self.joints_gone),
            self.cards,
        )


class Doubt:
    """
    What is in doubt after failed commits.

    :ivar keys: the locks of which the store may know better; nothing stands for all.
    :ivar unannounced: places of groups that failed, of which no client was told, until a group is committed that gives them up.
    :ivar cards: the units of whose cards the store may know better, where places are not kept.
    """

    __slots__ = ("cards", "keys", "unannounced")

    def __init__(self) -> None:
        self.keys: set[LockKey] | None = None
        self.unannounced: set[int] = set()
        self.cards: set[LockKey] = set()

    def add(self, failed: CommitGroup, gathered: CommitGroup) -> None:
        """Doubt what was in a commit that failed, and in the group that was gathered meanwhile."""
        self.unannounced |= failed.fresh | gathered.fresh
        if self.keys is not None:
            keys, later = failed.keys(), gathered.keys()
            self.keys = None if keys is None or later is None else keys | later

    def take(self) -> set[LockKey] | None:
        """Return the locks that were in doubt, now that the store says what it knows."""
        keys, self.keys = self.keys, set()
        return keys

    def take_cards(self, gathered: CommitGroup) -> set[LockKey]:
        """Return the units whose cards were in doubt, but for those whose cards were changed since, in a group that is gathered now."""
        cards, self.cards = self.cards, set()
        return cards - gathered.cards.keys()
