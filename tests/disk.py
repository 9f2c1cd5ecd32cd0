"""A small disk of one's own, to be filled. For tests."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path
from typing import Self

import pytest

from tests.daemon import eventually


class Disk:
    """
    A file system in memory, with little room, while it is used as a context manager.

    :param folder: where it is mounted, in a folder of its own. Without the right to mount, the test is skipped.
    """

    def __init__(self, folder: Path, size: str = "2m") -> None:
        self.path = folder / "disk"
        self._size = size

    def __enter__(self) -> Self:
        self.path.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={self._size}", "tmpfs", str(self.path)]
        try:
            subprocess.run(mount, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("A disk that is full needs the right to mount one, which this user does not have.")
        return self

    def __exit__(self, *exception: object) -> None:
        # Whoever still has a file open there keeps it until its end.
        subprocess.run(["umount", "--lazy", str(self.path)], check=True)
        eventually(self._removed, what="nothing is mounted there any more")

    def _removed(self) -> bool:
        try:
            self.path.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            return False
        return True

    def fill(self) -> None:
        """Leave not a byte."""
        with (self.path / "filler").open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError:
                return

    def make_room(self) -> None:
        """Take away what fills it."""
        (self.path / "filler").unlink()
