"""The check of plain English finds what it is for."""

from __future__ import annotations

import ast

import pytest

from tests.english import Text, complaints, lint, paragraphs, program_texts

LONG = "word " * 26


@pytest.mark.parametrize(
    ("text", "complaint"),
    [(f"{LONG}.", "26 words"), ("The daemon reigns.", "term, leader"), ("The heir has the lock.", "next waiter")],
)
def test_our_rules(text, complaint):
    """A sentence of 26 words, and a word that is out, are found; 25 words are not, nor two sentences."""
    assert any(complaint in found for found in complaints(text))
    assert list(complaints("word " * 25 + ". " + "word " * 25 + ".")) == []


def test_linter():
    """What proselint says is told with the line of its paragraph."""
    [found] = lint([Text(1, "All is well."), Text(7, "In this day and age it works.")])
    assert found.line == 7


def test_prose_only():
    """Of a page only prose is judged: no code, table, title, directive or comment."""
    page = f"Title\n=====\n\nOne\ntwo::\n\n    {LONG}\n\n.. code:: shell\n\n    {LONG}\n\n==== ===\n{LONG}\n==== ===\n\nThree.\n"
    assert [text.text for text in paragraphs(page)] == ["Title", "One two::", "Three."]


def test_program():
    """Docstrings, log lines, error sentences and lines of help are judged; a statement of SQL is no sentence."""
    program = '''"""Doc."""\nlog.info("Logged.")\nraise WrongError("Wrong.")\noption("-x", help="Help.")\nadd("UPDATE a", help="UPDATE a")\n'''
    assert {text.text for text in program_texts(ast.parse(program))} == {"Doc.", "Logged.", "Wrong.", "Help."}
