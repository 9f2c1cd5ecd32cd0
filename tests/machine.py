"""A Debian machine of one's own, as far as files go: this one, over which what is written stays apart and is gone in the end. For tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Self

import pytest


class Machine:
    """
    The files of this machine to change at will, while it is used as a context manager; its processes and its network are this machine's.

    :param folder: where it is mounted. Without the right to mount, or without Debian's ``dpkg``, the test is skipped.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.root = folder / "machine" / "root"
        self._mounted: list[Path] = []

    def __enter__(self) -> Self:
        if shutil.which("dpkg") is None or not Path("/usr/bin/python3").exists():
            pytest.skip("There is no Debian here.")
        disk = self._folder / "machine"
        disk.mkdir()
        try:
            self._mount(disk, "-t", "tmpfs", "tmpfs")
            for name in ("root", "upper", "work"):
                (disk / name).mkdir()
            layers = f"lowerdir=/,upperdir={disk / 'upper'},workdir={disk / 'work'}"
            self._mount(self.root, "-t", "overlay", "-o", layers, "overlay")
            self._mount(self.root / "dev", "--rbind", "/dev")
            self._mount(self.root / "proc", "--rbind", "/proc")
        except subprocess.CalledProcessError as error:
            self.__exit__()
            pytest.skip(f"A machine of one's own needs the right to mount: {error.stderr.decode().strip()}")
        # Otherwise each package that comes or goes has an index made of all man pages of the machine.
        (self.root / "var/lib/man-db/auto-update").unlink(missing_ok=True)
        return self

    def __exit__(self, *exception: object) -> None:
        for path in reversed(self._mounted):
            # What is mounted further down, as in /dev, is shared with this machine, and must not go there.
            subprocess.run(["mount", "--make-rslave", str(path)], check=True)
            subprocess.run(["umount", "--recursive", "--lazy", str(path)], check=True)

    def _mount(self, path: Path, *how: str) -> None:
        subprocess.run(["mount", *how, str(path)], check=True, capture_output=True)
        self._mounted.append(path)

    def run(self, *command: str) -> str:
        """Run a program as root, which must succeed; return what it prints."""
        environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(
            ["chroot", str(self.root), *command],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout
