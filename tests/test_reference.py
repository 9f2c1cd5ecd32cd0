"""The reference in ``docs/`` has all that there is, once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docs.tables import errors_as_text, settings_as_text
from resourced.api.openapi import description
from resourced.config import SETTINGS

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"

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


def test_glossary():
    """Each term is defined once."""
    defined = re.findall(r"^   (\w[\w ]*)\n      ", (REFERENCE / "glossary.rst").read_text(), re.MULTILINE)
    assert sorted(defined) == sorted(TERMS)
