"""
The test modules in which a marker is: ``python -m tests.marked reference_path`` prints their paths, and those of the others with ``not`` before it.

``tests/conftest.py`` says what each marker means, and refuses to run a module that lacks one. They are found in the text, so that
nothing has to be imported.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def has(text: str, marker: str) -> bool:
    """Whether a module marks itself, a class or a test of it."""
    return re.search(rf"^(pytestmark = .*|@)\bpytest\.mark\.{marker}\b", text, re.MULTILINE) is not None


def marked(marker: str, *, present: bool = True) -> list[str]:
    """Return the paths of the test modules in which a marker is, or is not, in order."""
    paths = sorted(TESTS.rglob("test_*.py"))
    return [str(path.relative_to(TESTS.parent)) for path in paths if has(path.read_text(), marker) == present]


if __name__ == "__main__":
    *refused, wanted = sys.argv[1:]
    sys.stdout.write(" ".join(marked(wanted, present=not refused)) + "\n")
