"""
The test modules with a marker: ``python -m tests.marked trial`` prints their paths.

A module is marked by ``pytestmark = pytest.mark.trial``, or a list of markers. ``tests/conftest.py`` says what each means, and
refuses to run a module that lacks one. They are read from the text, so that nothing has to be imported.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent


def markers(text: str) -> Iterator[str]:
    """Return the names of the markers of a module."""
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "pytestmark":
            marks = statement.value.elts if isinstance(statement.value, ast.List) else [statement.value]
            for mark in marks:
                yield ast.unparse(mark).removeprefix("pytest.mark.")


def marked(marker: str) -> list[Path]:
    """Return the test modules with a marker, in order."""
    return [path for path in sorted(TESTS.glob("test_*.py")) if marker in markers(path.read_text())]


if __name__ == "__main__":
    sys.stdout.write(" ".join(str(path.relative_to(TESTS.parent)) for path in marked(sys.argv[1])) + "\n")
