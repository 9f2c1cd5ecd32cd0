"""A few bytes that the clients and those who torment them share: what each client is about, and whether it is to go on."""

from __future__ import annotations

import mmap
import os
from enum import IntEnum
from pathlib import Path
from typing import Final

#: For how many clients there is room.
ROOM: Final = 1000


class Phase(IntEnum):
    """What a client is about."""

    RESTING = 0
    ASKING = 1
    QUEUED = 2
    #: It holds the lock, has read, and has not sent what it wants to write.
    HOLDING = 3
    #: It has sent a part of what it wants to write.
    WRITING = 4
    #: It has sent all of that, and waits for the answer.
    AWAITING = 5
    RELEASING = 6
    DONE = 7


class Board:
    """
    The bytes: the first says whether the end has come, the second whether there is a pause, the others are one for each client.

    :param path: a file, made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, ROOM + 2)
            self._bytes = mmap.mmap(descriptor, ROOM + 2)
        finally:
            os.close(descriptor)

    @property
    def ending(self) -> bool:
        """Whether every client is to do its last increment."""
        return bool(self._bytes[0])

    def end(self) -> None:
        self._bytes[0] = 1

    @property
    def paused(self) -> bool:
        """Whether no client is to begin anything."""
        return bool(self._bytes[1])

    def pause(self, *, paused: bool) -> None:
        self._bytes[1] = paused

    @property
    def resting(self) -> bool:
        """Whether no client is about anything."""
        return not any(self._bytes[2:])

    def done_before(self, client: int) -> bool:
        """Whether every client before one has done its last."""
        return all(phase == Phase.DONE for phase in self._bytes[2 : 2 + client])

    def show(self, client: int, phase: Phase) -> None:
        self._bytes[2 + client] = phase

    def phase(self, client: int) -> Phase:
        return Phase(self._bytes[2 + client])
