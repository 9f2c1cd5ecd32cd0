"""What can go wrong, by name. Which HTTP status each one becomes stands in ``resourced.api.locking``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Self

#: What a client has to make of a fault of the store.
UNDONE: Final = "Nothing of what was asked may be taken as done; try again in a moment."


class ResourcedError(Exception):
    """
    Anything that a client, or whoever starts the daemon, is told about.

    :cvar code: a word for a program; it never changes for a given kind of error.
    :ivar sentence: a sentence for a person.
    :ivar details: more for a program, by name.
    """

    code = "error"

    def __init__(self, sentence: str, details: Mapping[str, object] = MappingProxyType({})) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.details = details


class BadRequest(ResourcedError):
    """The request cannot be understood; ``code`` says what in it."""

    code = "bad_request"

    def __init__(self, sentence: str, code: str = code) -> None:
        super().__init__(sentence)
        self.code = code


class NotAuthorized(ResourcedError):
    """No key, an unknown key, or a key without the permission that is needed."""

    code = "unauthorized"


class Forbidden(ResourcedError):
    """The key is known, but it may not touch this resource."""

    code = "forbidden_resource"


class PriorityForbidden(ResourcedError):
    """The key is known, but it may not ask for this priority."""

    code = "forbidden_priority"


class GroupForbidden(ResourcedError):
    """The key is known, but it may not put a resource into this group."""

    code = "forbidden_group"


class ResourceNotFound(ResourcedError):
    """There is no resource of this name."""

    code = "unknown_resource"


class NodeNotFound(ResourcedError):
    """There is no such node in the cluster, or it does not serve."""

    code = "unknown_node"


class NoOtherNode(ResourcedError):
    """There is no other node that could take the partitions of this one."""

    code = "no_other_node"


class DataNotFound(ResourcedError):
    """The resource is known, but nothing was ever written at this selector."""

    code = "no_data"

    @classmethod
    def at(cls, resource: str, selector: str) -> Self:
        """Say where nothing was written."""
        return cls(f"There is no data at selector {selector!r} of resource {resource!r} yet.")


class ResourceExists(ResourcedError):
    """A resource of this name exists already."""

    code = "resource_exists"


class ResourceInUse(ResourcedError):
    """Something of this resource is locked or waited for."""

    code = "in_use"


class TicketRequired(ResourcedError):
    """The request needs a ticket and has none."""

    code = "ticket_required"


class TicketEnded(ResourcedError):
    """
    The ticket has lost its lock or its place, or was never given out.

    :ivar ticket: that of a request for several things which keeps what is left; else empty.
    """

    code = "ticket_ended"

    def __init__(self, sentence: str, details: Mapping[str, object] = MappingProxyType({}), ticket: str = "") -> None:
        super().__init__(sentence, details)
        self.ticket = ticket


class NotHolder(ResourcedError):
    """The ticket is alive but does not hold this lock."""

    code = "locked"


class Deadlock(ResourcedError):
    """To wait for this lock would close a circle of clients that wait for each other, so it is not waited for."""

    code = "deadlock"


class TooFew(ResourcedError):
    """There are fewer units than the request wants, even if all were free and in service."""

    code = "too_few"


class OtherGroup(ResourcedError):
    """The request names resources of different groups."""

    code = "other_group"


class ForeignTicket(ResourcedError):
    """The ticket holds or waits for something else than the request is about."""

    code = "foreign_ticket"


class CardNotFound(ResourcedError):
    """The selector has no card, so it is no unit of its resource's pool."""

    code = "no_card"


class FenceMismatch(ResourcedError):
    """The lock is not held under this fence, or not any more."""

    code = "fence_mismatch"


class PreconditionFailed(ResourcedError):
    """The data is not what the client believes it to be."""

    code = "precondition_failed"


class EventsForgotten(ResourcedError):
    """Something that has happened is not kept any more, or cannot be told in its order."""

    code = "events_forgotten"


class BodyTooLarge(ResourcedError):
    """The request's body is larger than the limit."""

    code = "body_too_large"


class Overloaded(ResourcedError):
    """A limit on what is kept or done at once is reached; try again later."""

    code = "overloaded"


class QuotaExceeded(ResourcedError):
    """The key has as much as it may have; which of its quotas it is says the code."""

    code = "quota"


class StoreUnavailable(ResourcedError):
    """The store cannot be reached or did not do what was asked; nothing that was asked may be taken as done."""

    code = "store_unavailable"

    def because(self, fault: StoreUnavailable) -> StoreUnavailable:
        """Return the same with its cause as the sentence, unless it is such a cause itself."""
        if self.code != StoreUnavailable.code:
            return self
        return StoreUnavailable(f"{fault.sentence} {UNDONE}")


class StoreRefused(StoreUnavailable):
    """The store does not know the writer as the holder of the lock, so nothing of the batch was done."""


class NotOwner(StoreUnavailable):
    """Another node of the cluster decides about this, or it is not known yet who does."""

    code = "not_owner"


class OwnerAway(StoreUnavailable):
    """
    The node of the cluster that decides about this does not answer.

    :ivar unclear: whether it may have done what it was asked.
    """

    code = "owner_away"

    def __init__(self, sentence: str, *, unclear: bool) -> None:
        super().__init__(sentence)
        self.unclear = unclear


class EpochLost(ResourcedError):
    """Another daemon has taken over this store; this one must stop."""

    code = "epoch_lost"


class ConfigurationError(ResourcedError):
    """The daemon cannot start as it is configured; the sentence names the variable, or what to change."""

    code = "configuration"
