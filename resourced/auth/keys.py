"""Who may do what: from the API key of a request to its permissions. Pure."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Flag, auto

from resourced.errors import Forbidden, GroupForbidden, NotAuthorized, PriorityForbidden
from resourced.quotas import Quota


class Permission(Flag):
    """What a key may do; ``Permission(0)`` is nothing."""

    READ = auto()
    LOCK = auto()
    WRITE = auto()


#: The name of the three keys of the environment, which share one name: the published API locks with one and writes with another.
DEFAULT = "default"

#: Of what there is for all, how much one of several names may take if nothing is said about it.
SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Identity:
    """
    Who a request comes from, by its key.

    :ivar name: the name of the key, for people; a ticket works for the name that it was given to.
    :ivar quotas: what it may take, by the words of ``resourced.quotas``, as far as that is said.
    :ivar prefixes: with one of which the names of the resources that it may touch begin; without any it may touch all.
    :ivar priority: the highest that it may ask for, 0 to 9.
    """

    name: str
    permission: Permission
    prefixes: tuple[str, ...] = ()
    quotas: tuple[tuple[str, float], ...] = ()
    priority: int = 0

    def allow(self, needed: Permission) -> None:
        """
        Let pass what is permitted.

        :raises resourced.errors.NotAuthorized: something of ``needed`` is not.
        """
        if needed not in self.permission:
            raise self.missing(needed)

    def missing(self, needed: Permission) -> NotAuthorized:
        """Say what of ``needed`` is not permitted."""
        missing = " and ".join(str(permission.name).lower() for permission in needed & ~self.permission)
        return NotAuthorized(f"This key may not {missing}.")

    def allow_priority(self, wanted: int) -> None:
        """
        Let pass what it may ask for.

        :raises resourced.errors.PriorityForbidden: it may not.
        """
        if wanted > self.priority:
            raise PriorityForbidden(f"This key may ask for a priority of {self.priority} at most.")

    def may_touch(self, resource: str) -> bool:
        """Tell whether it may know of a resource, and do there what it may do at all."""
        return not self.prefixes or resource.startswith(self.prefixes)

    def within(self, prefix: str) -> list[str]:
        """Return the prefixes of all names that it may know of and that begin with a prefix, in order and without repeats."""
        if self.may_touch(prefix):
            return [prefix]
        found: list[str] = []
        for own in sorted(self.prefixes):
            if own.startswith(prefix) and not (found and own.startswith(found[-1])):
                found.append(own)
        return found

    def require_all(self) -> None:
        """
        Let pass what may touch all resources.

        :raises resourced.errors.Forbidden: it may not.
        """
        if self.prefixes:
            raise Forbidden("This key may touch some resources only, and this is about all of them.")

    def allow_group(self, group: str) -> None:
        """
        Let pass a group of its own; empty is that of the resource alone. In any other it could hold up the requests of others.

        :raises resourced.errors.GroupForbidden: it begins with none of its prefixes.
        """
        if group and not self.may_touch(group):
            raise GroupForbidden("This key may name only groups that begin with one of its prefixes.")

    def require(self, resource: str) -> None:
        """
        Let pass what may touch a resource.

        :raises resourced.errors.Forbidden: it may not.
        """
        if self.prefixes and not resource.startswith(self.prefixes):
            raise Forbidden("This key may not touch this resource.")


def key_of(x_api_key: Sequence[bytes], authorization: Sequence[bytes]) -> bytes:
    """
    Pick the key that a request presents: from ``x-api-key``, or else from ``Authorization: Bearer KEY``.

    :param x_api_key: every value of that header, as it came; the same for ``authorization``.
    :return: the key, empty if there is none.
    :raises resourced.errors.NotAuthorized: a header came more than once and does not say the same each time.
    """
    key = _only("x-api-key", x_api_key)
    if key:
        return key
    bearer = re.fullmatch(rb"bearer[ \t]+(.+)", _only("Authorization", authorization), re.IGNORECASE | re.DOTALL)
    return bearer[1] if bearer else b""


def _only(name: str, values: Sequence[bytes]) -> bytes:
    if len(values) == 1:
        return values[0].strip()
    distinct = {value.strip() for value in values}
    if len(distinct) > 1:
        # A proxy in front may have looked at the other one.
        raise NotAuthorized(f"The request has more than one {name} header, and they differ.")
    return distinct.pop() if distinct else b""


def digest_of(key: bytes) -> bytes:
    """Return what stands for a key wherever keys are compared or written down: its SHA-256."""
    return hashlib.sha256(key).digest()


class Keys:
    """
    Every key of the server: the three of the environment, and those that it was given beside them.

    A role whose variable is empty is open to nobody; one key in two of them has both roles.

    :param whole: what a name may take if there is no other.
    """

    def __init__(self, read: str, read_lock: str, write: str, whole: Quota | None = None) -> None:
        roles = (
            (Permission.READ, read),
            (Permission.READ | Permission.LOCK, read_lock),
            (Permission.READ | Permission.LOCK | Permission.WRITE, write),
        )
        known = [(permission, digest_of(key.encode())) for permission, key in roles if key]
        self._digests = [digest for _, digest in known]
        # What it means to be equal to some of them, each with a bit for its place.
        self._meanings = [Identity("", Permission(0))]
        for permission, _ in known:
            self._meanings += [Identity(DEFAULT, permission | less.permission) for less in self._meanings]

        self._whole = whole or Quota()
        self._quotas: dict[str, Quota] = {}
        self._share = self._whole
        self._others: Mapping[bytes, Identity] = {}
        # Keys that turned out to be good. To look one up takes as long for any other: what is compared first are hashes that
        # nobody outside can know.
        self._good: dict[bytes, Identity] = {}

    def adopt(self, others: Mapping[bytes, Identity]) -> None:
        """
        Have these keys beside the three, in place of those before: all of them at once, or on an error none.

        :param others: by the digest of each; nobody may change it any more.
        :raises ValueError: it says, as the end of a sentence, why they cannot be.
        """
        for digest, identity in others.items():
            if digest in self._digests:
                raise ValueError(f"a key of {identity.name} is the key of a variable too")
        if not (others or self._digests):
            raise ValueError("there is no key in it, and none in a variable")
        self._others = others
        self._good.clear()
        names = {identity.name for identity in others.values()} | ({DEFAULT} if self._digests else set())
        self._share = self._whole if len(names) == 1 else self._whole.shared(SHARE)
        self._quotas = {identity.name: replace(self._share, **dict(identity.quotas)) for identity in others.values()}

    def quota(self, name: str) -> Quota:
        """Return what a name may take."""
        return self._quotas.get(name, self._share)

    def authorize(self, presented: bytes, needed: Permission) -> Identity:
        """
        Let pass whoever may do what is needed.

        :param presented: the key as ``key_of`` picked it.
        :raises resourced.errors.NotAuthorized: there is no key, or it is unknown, or it may not.
        """
        if not presented:
            raise NotAuthorized("A key is needed: send it in the x-api-key header.")
        identity = self._good.get(presented)
        if identity is None:
            identity = self._look_up(presented)
            if not identity.permission:
                raise NotAuthorized("This key is not known here.")
            self._good[presented] = identity
        if needed not in identity.permission:
            raise identity.missing(needed)
        return identity

    def _look_up(self, key: bytes) -> Identity:
        # Each of the three is compared, and by digests of one length: how long it takes says nothing about any of them.
        digest = digest_of(key)
        bits = 0
        for place, known in enumerate(self._digests):
            bits |= hmac.compare_digest(digest, known) << place
        # The others are found by their digests; why that is safe stands in ``resourced.auth.key_file``.
        return self._others.get(digest, self._meanings[bits])
