"""What is run besides the tests: ``make pythons`` on each Python of the machine, and ``make check`` before each commit."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys

import pytest

from tests.pythons import ROOT

#: A Python that answers what it is, and does the rest as it is told.
FAKE = """#!/bin/sh
case "$*" in
    *"import importlib"*) echo {answer} ;;
    *"-m venv"*) {venv} ;;
    *) exit 9 ;;
esac
"""


@pytest.fixture
def machine(tmp_path):
    """A machine without a Python: its PATH, its pyenv, and its clone of the project."""
    for name in ("bin", "pyenv", "clone/tests"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "clone/tests/__init__.py").touch()
    shutil.copy(ROOT / "tests/pythons.py", tmp_path / "clone/tests")
    return tmp_path


def add(path, answer, venv="exit 1"):
    """Put a Python somewhere; by default it can make no environment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(FAKE.format(answer=answer, venv=venv))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def run(machine, *options):
    """Run the tests on the Pythons of a machine; return the exit status and the lines that were printed."""
    environ = {"PATH": f"{machine / 'bin'}:/nowhere", "PYENV_ROOT": str(machine / "pyenv")}
    command = [sys.executable, "-m", "tests.pythons", *options]
    ran = subprocess.run(command, cwd=machine / "clone", env=environ, capture_output=True, text=True, check=False)
    assert ran.stderr == ""
    return ran.returncode, ran.stdout.splitlines()


def making(*tests):
    """What a Python does that makes an environment, in which each of these is a command: its installation, and its tests."""
    script = "\\n".join(("#!/bin/sh", 'case "$*" in', "*install*) ;;", "*under_trial*)", *tests, ";;", "esac"))
    path = 'for last; do :; done; PATH=/bin:/usr/bin; mkdir -p "$last/bin"'
    return f"""{path}; printf '{script}\\n' >"$last/bin/python"; chmod +x "$last/bin/python\""""


def test_no_python(machine):
    """A machine without any Python for it has nothing to fail."""
    assert run(machine) == (0, ["The unit and wire tests, on no Python"])


def test_found(machine):
    """The newest of each minor version is taken, on the PATH or in pyenv; one that is too old, no CPython, or does not start is not."""
    add(machine / "bin/python3.10", "cpython 3 10 13 1")
    add(machine / "bin/python3.12", "cpython 3 12 1 1")
    add(machine / "pyenv/versions/3.12.4/bin/python3.12", "cpython 3 12 4 1")
    add(machine / "pyenv/versions/3.11.9/bin/python3.11", "cpython 3 11 9 1")
    add(machine / "bin/python3.11", "cpython 3 11 2 1")
    add(machine / "bin/python3.13", "; exit 127")
    add(machine / "pyenv/versions/pypy/bin/python3.14", "pypy 3 14 0 1")
    add(machine / "bin/python3.15-config", "cpython 3 15 0 1")
    assert run(machine)[1][0] == "The unit and wire tests, on 3.11.9, 3.12.4"


def test_others(machine):
    """On request the version on which all tests have been run is left out."""
    major, minor = sys.version_info[:2]
    add(machine / f"bin/python{major}.{minor}", f"cpython {major} {minor} 0 1")
    assert run(machine)[1][0] == f"The unit and wire tests, on {major}.{minor}.0"
    assert run(machine, "--others") == (0, ["The unit and wire tests, on no Python"])


def test_with_pip(machine):
    """One that can make an environment with pip is taken before a newer one that cannot."""
    add(machine / "bin/python3.11", "cpython 3 11 9 0")
    add(machine / "pyenv/versions/3.11.2/bin/python3.11", "cpython 3 11 2 1")
    assert run(machine)[1][0] == "The unit and wire tests, on 3.11.2"


def test_no_environment_of_another(machine):
    """The Python of a virtual environment is not one of the machine's."""
    add(machine / "bin/python3.12", "cpython 3 12 1 1")
    (machine / "pyvenv.cfg").touch()
    assert run(machine)[1][0] == "The unit and wire tests, on no Python"


def test_cannot_be_set_up(machine):
    """A Python for which the package cannot be installed is named, and the others go on."""
    add(machine / "bin/python3.11", "cpython 3 11 9 1", "echo no such thing; exit 1")
    add(machine / "bin/python3.12", "cpython 3 12 1 1", making("echo PASSED"))
    first, second = (f"Python {version} ({machine}/bin/python{version[:4]})" for version in ("3.11.9", "3.12.1"))
    status, printed = run(machine)
    assert printed[1:] == [f"{first}: not tested, as it cannot be set up: no such thing", f"{second}: PASSED"]
    assert status == 0


def test_failed(machine):
    """Tests that fail on one Python are printed and make the whole fail."""
    add(machine / "bin/python3.11", "cpython 3 11 9 1", making("echo FAILED here", "exit 1"))
    add(machine / "bin/python3.12", "cpython 3 12 1 1", making("echo PASSED"))
    status, printed = run(machine)
    assert "FAILED here" in printed
    assert f"Python 3.11.9 ({machine}/bin/python3.11): tests failed" in printed
    assert status == 1


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a clone")
def test_hook(tmp_path):
    """With ``make hooks`` git refuses a commit for which ``make check`` complains, and says why."""
    clone = tmp_path / "clone"
    clone.mkdir()
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, files.split("\0")):
        if (ROOT / name).exists():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    (clone / ".venv").mkdir()
    (clone / ".venv/bin").symlink_to(f"{sys.prefix}/bin")
    # Nothing has to be installed, however new the files are: that would change the environment in which this test runs.
    (clone / ".venv/installed-dev").touch()

    def call(*command):
        ran = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)
        return ran.returncode, ran.stdout + ran.stderr

    assert call("git", "init", "--quiet")[0] == 0
    assert call("git", "add", ".")[0] == 0
    status, said = call("make", "hooks")
    assert status == 0, said
    (clone / "resourced" / "bad.py").write_text("import os\n")
    assert call("git", "add", "resourced/bad.py")[0] == 0
    status, said = call("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "bad")
    assert status == 1, said
    assert "F401" in said
    assert "resourced/bad.py" in said
