"""
The unit and wire tests on every Python of the machine that the package is for: ``python -m tests.pythons``. With ``--others``, which
``make pythons`` adds, not on its own version, because ``make test`` runs on that.

A Python is found on the PATH or in pyenv. Of several with the same minor version, the newest is taken. Each gets a virtual environment of
its own under ``.venv-pythons``, with the package and what its tests need. The modules with the marker ``trial`` run in it.

The exit status is 1 if a test failed. A Python for which the package cannot be installed is named, and is no failure.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
ENVIRONMENTS = ROOT / ".venv-pythons"
#: The oldest Python that the package runs on: see ``python_requires`` in setup.cfg.
OLDEST = (3, 11)
#: Seconds to answer what it is, to be set up, and to run the tests.
PROBE, SETUP, TESTS = 20, 300, 900
#: A Python that cannot make an environment with pip in it, as Debian's without ``python3-venv``, is the last choice.
ASK = """
import importlib.util, sys
pip = importlib.util.find_spec("ensurepip") is not None and importlib.util.find_spec("venv") is not None
print(sys.implementation.name, *sys.version_info[:3], int(pip))
"""


class Python(NamedTuple):
    """An interpreter; of two with the same minor version the greater is the better one."""

    minor: tuple[int, int]
    has_pip: bool
    micro: int
    path: Path

    @property
    def version(self) -> str:
        return ".".join(map(str, (*self.minor, self.micro)))


def candidates() -> Iterator[Path]:
    """What may be a Python: on the PATH, and in pyenv, whose commands on the PATH stand only for the versions that it was told to show."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for folder in (*map(Path, os.get_exec_path()), *sorted(pyenv.glob("versions/*/bin"))):
        # The folder of a virtual environment is no place to look: its Python is another's.
        if not (folder.parent / "pyvenv.cfg").exists():
            yield from (path for path in sorted(folder.glob("python3*")) if path.name[len("python3.") :].isdigit())


def probe(path: Path) -> Python | None:
    """Ask an interpreter what it is; None if it does not start, or is not one that the package is for."""
    try:
        command = [str(path), "-I", "-c", ASK]
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PROBE).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return None
    major, minor, micro, has_pip = map(int, answer[1:])
    if answer[0] != "cpython" or (major, minor) < OLDEST:
        return None
    return Python((major, minor), bool(has_pip), micro, path)


def pythons(paths: Iterable[Path]) -> list[Python]:
    """Return the best Python of each minor version, the oldest version first. Where nothing else decides, the first one found is taken."""
    best: dict[tuple[int, int], Python] = {}
    for found in filter(None, map(probe, paths)):
        before = best.get(found.minor)
        if before is None or found[:3] > before[:3]:
            best[found.minor] = found
    return [best[minor] for minor in sorted(best)]


def run(*command: str | Path, timeout: float) -> str:
    """
    Run a command in the project's folder and return what it printed.

    :raises subprocess.SubprocessError: it failed, or took too long; ``stdout`` is what it printed.
    """
    pipe, both = subprocess.PIPE, subprocess.STDOUT
    return subprocess.run(command, cwd=ROOT, text=True, check=True, timeout=timeout, stdout=pipe, stderr=both).stdout


def end_of(error: subprocess.SubprocessError, lines: int) -> str:
    """Return the last lines of what a command printed that failed, or why there are none."""
    printed = getattr(error, "stdout", None) or ""
    text = printed.decode(errors="replace") if isinstance(printed, bytes) else printed
    return "\n".join(text.strip().splitlines()[-lines:]) or str(error)


def check(python: Python, installing: Lock) -> tuple[bool, str]:
    """Run the tests on a Python. Return whether none failed, and what is to be said of it."""
    name = f"Python {python.version} ({python.path})"
    environment = ENVIRONMENTS / python.version
    executable = environment / "bin" / "python"
    try:
        run(python.path, "-m", "venv", "--clear", environment, timeout=SETUP)
        # Each writes its metadata into the project's folder.
        with installing:
            run(executable, "-m", "pip", "install", "--quiet", "--no-compile", "--editable", ".[test]", timeout=SETUP)
    except subprocess.SubprocessError as error:
        return True, f"{name}: not tested, as it cannot be set up: {end_of(error, 3)}"
    try:
        printed = run(executable, "-m", "tests.under_trial", timeout=TESTS)
    except subprocess.SubprocessError as error:
        return False, f"{end_of(error, 200)}\n{name}: tests failed"
    return True, f"{name}: {printed.strip().splitlines()[-1]}"


def main() -> int:
    own = sys.version_info[:2] if "--others" in sys.argv else ()
    found = [python for python in pythons(candidates()) if python.minor != own]
    installing = Lock()
    print("The unit and wire tests, on", ", ".join(python.version for python in found) or "no Python", flush=True)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        outcomes = pool.map(lambda python: check(python, installing), found)
        passed = []
        for good, said in outcomes:
            print(said, flush=True)
            passed.append(good)
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
