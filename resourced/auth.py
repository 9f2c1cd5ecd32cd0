"""Who may do what: from the API key of a request to its permissions. Pure."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from enum import Flag, auto

from resourced.errors import NotAuthorized


class Permission(Flag):
    """What a key may do; ``Permission(0)`` is nothing."""

    READ = auto()
    LOCK = auto()
    WRITE = auto()


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
    distinct = {value.strip() for value in values}
    if len(distinct) > 1:
        # A proxy in front may have looked at the other one.
        raise NotAuthorized(f"The request has more than one {name} header, and they differ.")
    return distinct.pop() if distinct else b""


def require(granted: Permission, needed: Permission) -> None:
    """
    Let pass what is permitted.

    :raises resourced.errors.NotAuthorized: something of ``needed`` is not in ``granted``.
    """
    if needed not in granted:
        missing = " and ".join(str(permission.name).lower() for permission in needed & ~granted)
        raise NotAuthorized(f"This key may not {missing}.")


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


class Keys:
    """
    The three keys of the server. A role whose key is empty is open to nobody; one key in two roles has both.

    The name of a key is that of its strongest role: ``read``, ``read_lock`` or ``write``.
    """

    def __init__(self, read: str, read_lock: str, write: str) -> None:
        roles = (
            ("read", Permission.READ, read),
            ("read_lock", Permission.READ | Permission.LOCK, read_lock),
            ("write", Permission.READ | Permission.LOCK | Permission.WRITE, write),
        )
        known = [(name, permission, _digest(key.encode())) for name, permission, key in roles if key]
        self._digests = [digest for _, _, digest in known]
        # What it means to be equal to some of them, each with a bit for its place.
        self._meanings = [("", Permission(0))]
        for name, permission, _ in known:
            self._meanings += [(name, permission | less) for _, less in self._meanings]

    def permission_of(self, key: str | bytes) -> Permission:
        """Return what a key may do: nothing, if it is unknown."""
        return self._look_up(key.encode("utf-8", "surrogatepass") if isinstance(key, str) else key)[1]

    def authorize(self, presented: bytes, needed: Permission) -> str:
        """
        Let pass whoever may do what is needed.

        :param presented: the key as ``key_of`` picked it.
        :return: the name of the key, for people.
        :raises resourced.errors.NotAuthorized: there is no key, or it is unknown, or it may not.
        """
        if not presented:
            raise NotAuthorized("A key is needed: send it in the x-api-key header.")
        name, granted = self._look_up(presented)
        if not granted:
            raise NotAuthorized("This key is not known here.")
        require(granted, needed)
        return name

    def _look_up(self, key: bytes) -> tuple[str, Permission]:
        # Every key is compared, and by digests of one length: how long it takes says nothing about any of them.
        digest = _digest(key)
        bits = 0
        for place, known in enumerate(self._digests):
            bits |= hmac.compare_digest(digest, known) << place
        return self._meanings[bits]
