"""A terminal, and a program that has it, to be typed to."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.daemon import PATIENCE, eventually

INTERRUPT, SUSPEND, END = "\x03", "\x1a", "\x04"


class Terminal:
    """
    A program that leads a session on a terminal of its own, such as a shell. In the end the terminal hangs up.

    :ivar seen: all that has appeared on the terminal since ``forget``.
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], folder: Path) -> None:
        self._master, slave = os.openpty()
        # What is typed is not shown, so what appears has been printed.
        settings = termios.tcgetattr(slave)
        settings[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, settings)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 200, 0, 0))
        os.set_blocking(self._master, False)
        self._text = b""
        self.folder = folder
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command], stdin=slave, stdout=slave, stderr=slave, env=dict(environ), cwd=folder
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        # Who still runs on it gets SIGHUP.
        os.close(self._master)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    @property
    def seen(self) -> str:
        # At the end of the last program that has it open a terminal's master cannot be read any more.
        with contextlib.suppress(BlockingIOError, OSError):
            while more := os.read(self._master, 65536):
                self._text += more
        return self._text.decode(errors="replace")

    def forget(self) -> None:
        """Begin anew with what is seen."""
        self.seen  # noqa: B018 - it reads
        self._text = b""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def expect(self, text: str, timeout: float = PATIENCE) -> str:
        """Wait until a text is there; return all that was seen, and forget it."""
        try:
            eventually(lambda: text in self.seen, timeout, f"{text!r} on the terminal")
        except AssertionError as error:
            raise AssertionError(f"{error}; but {self.seen!r}") from None
        seen = self.seen
        self.forget()
        return seen

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait until the program has ended; return its status, minus its number for a signal."""
        # Read on: a program that waits until its output is read would not end.
        eventually(lambda: (self.seen, self.process.poll() is not None)[1], timeout, "the program ends")
        return self.process.returncode
