"""What holds for every test is enforced: a test that breaks it fails, in a pytest of its own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests.marked import has

ROOT = Path(__file__).parent.parent

IMPORTS = """\
import pytest
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

def cycle():
    deferred = Deferred()
    deferred.cycle = deferred
    return deferred
"""

#: Tests that leave something behind, by the names of their modules; and what each test comes to, its end included.
BROKEN = {
    "unheard": (
        """
        def test():
            Deferred().errback(ValueError())
        """,
        ["PASSED test", "ERROR test"],
    ),
    "unheard_in_a_cycle": (
        """
        def test():
            cycle().errback(ValueError())
        """,
        ["PASSED test", "ERROR test"],
    ),
    "unheard_in_a_cycle_that_is_used_longer_than_its_test": (
        """
        used = []

        def test_first():
            used.append(cycle())
            used[0].errback(ValueError())

        def test_second():
            used.clear()
        """,
        ["PASSED test_first", "PASSED test_second", "ERROR test_second"],
    ),
    "unheard_in_a_cycle_of_a_fixture": (
        """
        @pytest.fixture(scope="module")
        def deferred():
            deferred = cycle()
            yield
            deferred.errback(ValueError())

        def test(deferred):
            pass
        """,
        ["PASSED test", "ERROR test"],
    ),
    "unheard_in_a_cycle_of_a_test_that_fails": (
        """
        def test_first():
            deferred = cycle()
            deferred.errback(ValueError())
            assert False

        def test_second():
            pass
        """,
        # What a test that failed had in use goes with the report.
        ["FAILED test_first", "ERROR test_second", "PASSED test_second"],
    ),
    "still_due": (
        """
        def test():
            from tests import conftest
            from twisted.internet import reactor
            conftest.GRACE = 0.1
            reactor.callLater(60, print)
        """,
        ["PASSED test", "ERROR test"],
    ),
    "hanging": (
        """
        @pytest.mark.deadline(0.1)
        async def test():
            await Deferred()
        """,
        ["FAILED test"],
    ),
    "well": (
        """
        def test():
            deferred = cycle()
            deferred.errback(ValueError())
            deferred.addErrback(lambda failure: None)
        """,
        ["PASSED test"],
    ),
}

#: Those that leave what is in use when its test ends.
LATE = (
    "unheard_in_a_cycle_that_is_used_longer_than_its_test",
    "unheard_in_a_cycle_of_a_fixture",
    "unheard_in_a_cycle_of_a_test_that_fails",
)

#: Modules with wrong markers, and what is said of them.
UNMARKED = {
    "test_it.py must have the marker trial": """
        class Tests(SynchronousTestCase):
            def test(self):
                pass
        """,
    "test_it.py must not have the marker trial": """
        pytestmark = pytest.mark.trial

        def test():
            pass
        """,
    "test_it.py must have the marker reference_path": """
        STOCK = False

        def test():
            pass
        """,
}


def write(path: Path, text: str) -> None:
    path.write_text(IMPORTS + dedent(text))


def run(folder: Path) -> str:
    """Run the tests in a folder, which fails; return what is printed."""
    options = ["-c", "setup.cfg", "-p", "tests.conftest", "-p", "no:cacheprovider", "-rA", "--color=no"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, folder],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ran.returncode != 0, ran.stdout
    return ran.stdout


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What pytest says of all broken modules. What comes up at the end of a run is said of its last test."""
    printed = ""
    for names in (BROKEN.keys() - set(LATE), *({name} for name in LATE)):
        folder = tmp_path_factory.mktemp("broken")
        for name in names:
            write(folder / f"test_{name}.py", BROKEN[name][0])
        printed += run(folder)
    return printed


@pytest.mark.parametrize("name", BROKEN)
def test_broken(name, printed):
    """A test that leaves a failure unheard, or a call due in the reactor, fails, or the last one of the run does; so does one that hangs."""
    said = re.findall(rf"^([A-Z]+) (?:\S*/)?test_{name}\.py::(\w+)", printed, re.MULTILINE)
    assert sorted(" ".join(outcome) for outcome in said) == sorted(BROKEN[name][1]), printed


@pytest.mark.parametrize("complaint", UNMARKED)
def test_unmarked(complaint, tmp_path):
    """No test runs whose module lacks a marker by which it is run once more under trial or on the reference path."""
    write(tmp_path / "test_it.py", UNMARKED[complaint])
    assert complaint in run(tmp_path)


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ("pass", None),
        ("cycle().errback(ValueError('nobody has heard'))", "nobody has heard"),
        ("reactor.callLater(60, print)", "still due in the reactor"),
    ],
)
def test_left_under_trial(test, said, tmp_path):
    """What is left behind under trial, which does not look for it, fails the whole run."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/__init__.py").touch()
    for name in ("examples.py", "marked.py", "under_trial.py"):
        shutil.copy(ROOT / "tests" / name, tmp_path / "tests")
    text = f"""
        from twisted.internet import reactor
        pytestmark = pytest.mark.trial

        class Tests(SynchronousTestCase):
            def test_it(self):
                {test}
        """
    write(tmp_path / "tests/test_it.py", text)
    command = [sys.executable, "-m", "tests.under_trial"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "PASSED (successes=1)" in ran.stdout, ran.stderr
    assert ran.returncode == (said is not None)
    assert (said or "") in ran.stderr


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import pytest\n\npytestmark = pytest.mark.trial\n", True),
        ("pytestmark = [pytest.mark.reference_path, pytest.mark.trial]\n", True),
        ("@pytest.mark.trial\nclass TestSome:\n", True),
        ("pytestmark = pytest.mark.trials\n", False),
        ("# See pytest.mark.trial.\n", False),
    ],
)
def test_marked(text, found):
    """The markers of a module are found in its text."""
    assert has(text, "trial") == found
