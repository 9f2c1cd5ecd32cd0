"""
What a client can run into: seven errors by name, and no others.

They are not the server's own (``resourced.errors``), which name what happens inside of it and grow with it. A program that
shares a printer has to tell apart only what it would do differently.
"""

from __future__ import annotations


class ClientError(Exception):
    """
    Whatever a client raises of its own accord.

    :ivar sentence: a sentence for a person, the server's own if it said one.
    :ivar code: a word for a program, the server's own if it said one; else that of the class.
    """

    code = "client_error"

    def __init__(self, sentence: str, code: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.code = code or type(self).code


class Unreachable(ClientError):
    """No server gave a usable answer until ``retry_timeout`` was over; what was asked may have been done or not."""

    code = "unreachable"


class Refused(ClientError):
    """The key is unknown, or may not do this (401, 403)."""

    code = "refused"


class NotFound(ClientError):
    """
    There is no such resource (``code`` is ``unknown_resource``), no data at the selector yet (``no_data``), or it is no unit
    (``no_card``).
    """

    code = "not_found"


class Conflict(ClientError):
    """
    Things are not as the request has them (409, 412, 423). The name is taken, the resource is in use, or the fence is not that
    of the holder. ``code`` tells which.
    """

    code = "conflict"


class Rejected(ClientError):
    """The request itself is wrong: it makes no sense to the server, or is too large (any other status from 400 on)."""

    code = "rejected"


class NotAcquired(ClientError):
    """
    Somebody else had the lock for as long as the client was to wait.

    :ivar position: where in the queue it was last; 1 is first in the queue. The place has been given up.
    """

    code = "not_acquired"

    def __init__(self, sentence: str, position: int) -> None:
        super().__init__(sentence)
        self.position = position


class LockLost(ClientError):
    """
    The lock is not held any more, or can no longer be known to be held.

    What its holder did since it was last confirmed may have happened beside another holder's work. Everything that was
    written through ``Held.write`` without an error was written as the holder, all else is for the fence to judge.

    :ivar resource: what was locked: the name of the resource,
    :ivar selector: and of the selector.
    :ivar fence: that of the lock; 0 if it is not known.
    :ivar left: of several units, those that are held still, as ``(resource, selector)``. The end of the block releases them.
    """

    code = "lock_lost"

    def __init__(
        self,
        sentence: str,
        code: str,
        resource: str,
        selector: str,
        fence: int,
        left: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(sentence, code)
        self.resource = resource
        self.selector = selector
        self.fence = fence
        self.left = left
