"""
Plain English, checked: ``python -m tests.english``, a part of ``make check``.

It reads the pages, the docstrings, the log lines, the error sentences and ``--help``. It finds words that are out, sentences above
25 words, and what ``proselint`` says.
"""

from __future__ import annotations

import ast
import re
import sys
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Final, NamedTuple

from proselint.checks import __register__
from proselint.config import DEFAULT, Config
from proselint.registry import CheckRegistry
from proselint.tools import LintFile

ROOT: Final = Path(__file__).resolve().parent.parent

#: The most words that a sentence may have.
LONGEST: Final = 25

#: Words of our own where the field has one, and what to say instead.
OUT: Final = {
    r"reign(s|ed|ing)?": "term, leader",
    r"dethroned?": "lost leadership",
    r"abdicates?": "step down",
    r"heirs?": "next waiter",
    r"succession": "take-over",
    r"belief|believes? in|believed in": "leader lease",
    r"couriers?": "direct committer",
    r"conversations?": "protocol",
    r"untold": "unannounced",
    r"bells?": "timer",
    r"calm": "idle",
    r"pulses?": "health check",
    r"noted": "logged",
    r"party|parties": "key name",
    r"(the|a|an) (\w+ )?(short|stock) ways?": "fast path, reference path",
    r"(whoever|who|whom) only": "to",
    r"nobody thought of": "unexpected",
    r"starts? it anew|begins? anew": "restart, start again",
}
_OUT: Final = {re.compile(rf"\b({word})\b", re.IGNORECASE): better for word, better in OUT.items()}

#: What a log is told by, and whose first argument is a sentence.
_LOGS: Final = frozenset({"debug", "info", "warn", "error", "critical", "failure"})

#: What ``proselint`` looks for and we do not: typography belongs to Sphinx, and one hint about a word is a joke.
_UNCHECKED: Final = ("typography", "weasel_words", "lexical_illusions", "annotations")
_PROSELINT: Final = Config(max_errors=1000, checks=DEFAULT["checks"] | dict.fromkeys(_UNCHECKED, False))

#: How a statement of SQL begins, which is no sentence.
_SQL: Final = re.compile(r"(SELECT|INSERT|UPDATE|DELETE|REPLACE|SET) ")


class Text(NamedTuple):
    """A piece of prose: a paragraph, a docstring, or a sentence of the program."""

    line: int
    text: str


def pages() -> Iterator[Path]:
    """Every page of documentation."""
    yield from (ROOT / name for name in ("README.rst", "NEWS.rst", "CONTRIBUTING.rst"))
    yield from sorted(path for path in (ROOT / "docs").rglob("*.rst") if "_build" not in path.parts)


def modules() -> Iterator[Path]:
    """Every module of the product."""
    yield from sorted((ROOT / "resourced").rglob("*.py"))


def paragraphs(text: str) -> Iterator[Text]:
    """
    Return the prose of reStructuredText: without code, tables, titles, directives and comments.

    What is indented below ``::``, or below a directive, is code.
    """
    collected: list[str] = []
    began = 0
    for number, line in enumerate([*_prose(text.splitlines()), ""], 1):
        stripped = line.strip()
        starts = re.match(r"([*-]|\d+\.|:\w[\w ]*:)( |$)", stripped)
        if collected and (not stripped or starts):
            yield Text(began, " ".join(collected))
            collected = []
        if stripped and not collected:
            began = number
        if stripped:
            collected.append(stripped[starts.end() :] if starts else stripped)
        if stripped.endswith(":"):
            yield Text(began, " ".join(collected))
            collected = []


def _prose(lines: list[str]) -> Iterator[str]:
    """Return the lines; one that is no prose is empty."""
    code = -1  # What is indented deeper than this is code.
    table = False
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        stripped = line.strip()
        indent = len(line) - len(line.lstrip())
        if re.fullmatch(r"=+( +=+)+", stripped):
            table = bool(following.strip())
            yield ""
        elif table or (code >= 0 and (not stripped or indent > code)):
            yield ""
        elif stripped.startswith(".. "):
            code = -1 if stripped.startswith(".. glossary") else indent
            yield ""
        else:
            code = indent if stripped.endswith("::") else -1
            yield "" if re.match(r"[=~*^-]{3,}$|\|", stripped) else line


def program_texts(tree: ast.Module) -> Iterator[Text]:
    """Return docstrings, log lines, error sentences and lines of ``--help``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                line = 1 if isinstance(node, ast.Module) else node.body[0].lineno
                yield from (Text(line, part.text) for part in paragraphs(docstring))
        elif isinstance(node, ast.Call):
            for told in _told(node):
                text = _as_written(told)
                if not _SQL.match(text):
                    yield Text(told.lineno, text)


def _told(call: ast.Call) -> Iterator[ast.expr]:
    """Return the arguments of a call that people read."""
    name = ast.unparse(call.func).split(".")[-1]
    yield from (
        keyword.value for keyword in call.keywords if keyword.arg in {"help", "short_help"} and _is_text(keyword.value)
    )
    if call.args and _is_text(call.args[0]) and (name in _LOGS or re.fullmatch(r"[A-Z]\w+", name)):
        yield call.args[0]
    if name == "Setting":
        yield from (argument for argument in call.args[4:5] if _is_text(argument))


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _as_written(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
    assert isinstance(node, ast.Constant)
    return str(node.value)


def complaints(plain: str) -> Iterator[str]:
    """Return what is wrong with a paragraph, by the rules of our own."""
    for sentence in re.split(r"(?<=[.!?])[)\"*]*\s+|::$", plain):
        words = re.findall(r"[\w'.-]*\w[\w'.-]*", sentence)
        if len(words) > LONGEST:
            yield f"{len(words)} words: {' '.join(sentence.split())[:90]}..."
    for pattern, better in _OUT.items():
        for found in pattern.finditer(plain):
            yield f"'{found[0]}': say {better}"


def lint(texts: list[Text]) -> Iterator[Text]:
    """Return what ``proselint`` says, each with the line of the paragraph."""
    registry = CheckRegistry()
    if not registry.checks:
        registry.register_many(__register__)
    starts = list(accumulate((len(text.text) + 2 for text in texts), initial=1))
    whole = "\n\n".join(text.text for text in texts)
    for result in LintFile("text", whole).lint(_PROSELINT) if whole else ():
        found = result.check_result
        yield Text(texts[bisect_right(starts, found.span[0]) - 1].line, found.message)


def check(path: Path) -> list[str]:
    """Return all complaints about a file."""
    text = path.read_text()
    found = program_texts(ast.parse(text)) if path.suffix == ".py" else paragraphs(text)
    # What is literal is one word.
    texts = [Text(line, re.sub(r"``.+?``|:\w+:`.+?`|`.+?`_+|\{\w+\}|\n", _in_place, said)) for line, said in found]
    ours = [Text(line, complaint) for line, plain in texts for complaint in complaints(plain)]
    return [f"{path.relative_to(ROOT)}:{line}: {complaint}" for line, complaint in sorted([*ours, *lint(texts)])]


def _in_place(found: re.Match[str]) -> str:
    return " " if found[0] == "\n" else "X"


def main() -> int:
    """Check all files, and print what is to be said."""
    failures = [line for path in (*pages(), *modules()) for line in check(path)]
    sys.stdout.writelines(f"{line}\n" for line in failures)
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
