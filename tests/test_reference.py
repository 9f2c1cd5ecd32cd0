"""The reference in ``docs/`` has all that there is, once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docs.diagrams import imports, packages, reduced
from docs.operations import operations_as_text
from docs.tables import errors_as_text, settings_as_text
from resourced.api.openapi import description
from resourced.settings import SETTINGS

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"

TERMS: tuple[str, ...] = (
    "resource",
    "selector",
    "ticket",
    "place",
    "holder",
    "lease",
    "fence",
    "claim window",
    "term",
    "leader",
)
TERMS += ("event", "unit", "pool", "partition", "node")


def test_every_setting():
    """The page of settings describes each setting once, with its option and default."""
    text = (REFERENCE / "settings.rst").read_text()
    blocks = re.findall(r"^\.\. settings::((?:[ \n]+[a-z-]+)+)$", text, re.MULTILINE)
    options = " ".join(blocks).split()
    assert sorted(options) == sorted(setting.option for setting in SETTINGS)
    described = settings_as_text(options)
    for setting in SETTINGS:
        [part] = re.findall(
            rf"^\.\. envvar:: {setting.variable}\n\n(.+?)(?=^\.\.|\Z)", described, re.MULTILINE | re.DOTALL
        )
        assert f"``--{setting.option}" in part
        assert (f"``{setting.default}``" if setting.default else "empty") in part


def codes(part: Any) -> Iterator[str]:
    """Every code of an error in the examples of the API's description."""
    if isinstance(part, dict):
        if set(part) == {"error", "code"}:
            yield part["code"]
        for value in part.values():
            yield from codes(value)
    elif isinstance(part, list):
        for value in part:
            yield from codes(value)


def test_every_error():
    """The page of errors has each code that the API's description has, with its status."""
    described = json.loads(json.dumps(description()))
    rows = set(re.findall(r"\* - (\d+)\n     - ``(\w+)``", errors_as_text()))
    expected = {
        (status, code)
        for item in described["paths"].values()
        for operation in item.values()
        if isinstance(operation, dict)
        for status, answer in operation["responses"].items()
        for code in codes(answer)
        if code.isidentifier()
    }
    assert len(expected) > 20
    assert expected - rows - {("429", "quota")} == set()


def test_every_operation():
    """The page of operations has each path once with each of its methods, and every parameter, schema and code of an error."""
    document = description()
    text = operations_as_text(document)
    sections = dict(re.findall(r"^``(/[^`]*)``\n-+\n(.*?)(?=^\S+\n-+\n|\Z)", text, re.MULTILINE | re.DOTALL))
    assert list(sections) == list(document["paths"])
    for path, item in document["paths"].items():
        methods = re.findall(r"^``([A-Z]+)``$", sections[path], re.MULTILINE)
        assert set(methods) - {"HEAD"} == {method.upper() for method in item} - {"HEAD", "PARAMETERS"}
        assert len(set(methods)) == len(methods)
    names = {parameter["name"] for parameter in document["components"]["parameters"].values()}
    assert {name for name in names if f"* ``{name}`` (" not in text} == set()
    assert {name for name in document["components"]["schemas"] if f"\n{name}\n   " not in text} == set()
    assert {code for code in codes(json.loads(json.dumps(document["paths"]))) if f"``{code}``" not in text} == set()


def test_glossary():
    """Each term is defined once."""
    defined = re.findall(r"^   (\w[\w ]*)\n      ", (REFERENCE / "glossary.rst").read_text(), re.MULTILINE)
    assert sorted(defined) == sorted(TERMS)


def test_links():
    """Each file that the pages name, as a link or as a literal path in the repository, is there."""
    missing = []
    for page in (*ROOT.glob("*.rst"), *(ROOT / "docs").rglob("*.rst")):
        text = page.read_text()
        named = re.findall(r"<((?:docs|etc|tests|bench)[\w/.-]*|[A-Z]+\.rst)>`_", text)
        named += re.findall(r"``((?:docs|etc|tests|bench)/[\w/.-]+)``", text)
        missing += [f"{page.name}: {name}" for name in named if not (ROOT / name).exists()]
    # These are made, or are on the machine of the reader.
    assert [name for name in missing if "docs/_build" not in name] == []


def test_packages():
    """The picture of the packages has each import between two of them, and the arrows that it leaves out follow from others."""
    found = imports()
    assert found["api"] > {"locks", "http"}
    drawn, picture = reduced(found), packages("Packages")

    def reached(name: str) -> set[str]:
        return drawn[name].union(*(reached(other) for other in drawn[name]))

    for name, others in found.items():
        assert others <= reached(name), name
        assert f">{name}<" in picture, name


def test_performance():
    """The page of performance names what it was measured on, before it says how."""
    text = (ROOT / "docs/explanation/performance.rst").read_text()
    beginning = text[: text.index("How it is measured")]
    for name in ("Date", "Hardware", "Disk", "Versions"):
        assert re.search(rf"^:{name}: .", beginning, re.MULTILINE), name
