"""Sees to it that nothing is left behind, in whatever way the program that started it all may end."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path


class Guardian:
    """
    A process that waits for the end of this one, and then kills and removes what it was told of.

    It learns of the end by a pipe that only this process holds the other end of, so a SIGKILL does not get past it.  Make it
    before there are any threads.
    """

    def __init__(self) -> None:
        reading, self._writing = os.pipe()
        self._pid = os.fork()
        if self._pid:
            os.close(reading)
            return
        try:
            os.close(self._writing)
            # Out of reach of a Ctrl-C, and of whoever ends all that has the same name.
            os.setsid()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            _guard(reading)
        finally:
            os._exit(0)

    def adopt(self, pid: int) -> None:
        """Let a process not outlive this one."""
        self._tell(f"+{pid}\n")

    def release(self, pid: int) -> None:
        """Forget a process, which has ended."""
        self._tell(f"-{pid}\n")

    def remove(self, folder: Path) -> None:
        """Let a folder not outlive this process."""
        self._tell(f"/{folder}\n")

    def keep(self, folder: Path) -> None:
        """Let a folder outlive this process after all."""
        self._tell(f"={folder}\n")

    def _tell(self, line: str) -> None:
        # If it is gone, all that can be done is to go on and clean up.
        with suppress(OSError):
            os.write(self._writing, line.encode())

    def close(self) -> None:
        """Have everything killed and removed that is still there, and return when that is done."""
        os.close(self._writing)
        os.waitpid(self._pid, 0)


def _guard(reading: int) -> None:
    pids: set[int] = set()
    folders: set[str] = set()
    with os.fdopen(reading) as lines:
        for text in lines:
            what, word = text[0], text[1:].rstrip("\n")
            if what == "+":
                pids.add(int(word))
            elif what == "-":
                pids.discard(int(word))
            elif what == "/":
                folders.add(word)
            else:
                folders.discard(word)
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
