"""The exit statuses that are not a command's own: those of ``sysexits.h``, which few commands use, and those of a shell."""

from __future__ import annotations

from enum import IntEnum

from resourced.calls.errors import (
    ClientError,
    Conflict,
    LockLost,
    NotAcquired,
    NotFound,
    Refused,
    Rejected,
    Unreachable,
)


class Status(IntEnum):
    """How it ended. ``docs/reference/resourcectl.rst`` tells users; scripts rely on the numbers."""

    OK = 0
    USAGE = 64
    #: The server cannot make sense of it, for instance because it is not JSON.
    REJECTED = 65
    #: There is no such resource, file, or data.
    NOT_FOUND = 66
    UNREACHABLE = 69
    #: It exists already, is in use, or has changed.
    CONFLICT = 73
    #: The output cannot be written.
    OUTPUT = 74
    #: Somebody else has the lock, and the wait for it is over.
    NOT_ACQUIRED = 75
    #: The key is unknown or may not do this.
    REFUSED = 77
    CONFIGURATION = 78
    #: The lock was lost. The header's numbers end before this.
    LOST = 79
    #: It was lost, and the command could not be ended.
    GOES_ON = 80
    CANNOT_RUN = 126
    NO_COMMAND = 127
    #: And more: the number of a signal.
    SIGNAL = 128


_OF_ERRORS = (
    (Unreachable, Status.UNREACHABLE),
    (Refused, Status.REFUSED),
    (NotFound, Status.NOT_FOUND),
    (Conflict, Status.CONFLICT),
    (Rejected, Status.REJECTED),
    (NotAcquired, Status.NOT_ACQUIRED),
    (LockLost, Status.LOST),
)


def exit_status(error: ClientError) -> Status:
    """Return the exit status that an error of the client is told by."""
    return next(status for kind, status in _OF_ERRORS if isinstance(error, kind))
