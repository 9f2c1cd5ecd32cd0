"""
How names are written on the command line: ``RESOURCE`` and ``RESOURCE/SELECTOR``.

A slash in a name is ``%2F``, a percent sign ``%25``, and any other character may be written like this too. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal
from urllib.parse import quote, unquote

from resourced.model import LockKey, valid_name

#: What means something where units are asked for, and is written with a percent sign in a name there.
_SPECIAL: Final = "%/[]*,"


def parse_name(argument: str) -> str:
    """
    Return the name that an argument stands for.

    :raises ValueError: it stands for none; with a sentence.
    """
    if "/" in argument:
        raise ValueError("A slash in a name is written %2F.")
    if re.search(r"%(?![0-9A-Fa-f]{2})", argument):
        raise ValueError("A percent sign in a name is written %25.")
    try:
        name = unquote(argument, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("What is written with percent signs is not UTF-8.") from None
    if fault := valid_name(name):
        raise ValueError(f"A name that {fault} is not possible.")
    return name


def parse_lock(argument: str) -> LockKey:
    """
    Return what a lock is on.

    :raises ValueError: the argument does not say; with a sentence.
    """
    resource, slash, selector = argument.partition("/")
    if not slash:
        raise ValueError("It takes RESOURCE/SELECTOR, such as printer/A4.")
    return LockKey(parse_name(resource), parse_name(selector))


def parse_either(argument: str) -> LockKey:
    """
    Return what a lock is on, or only a resource, with an empty selector.

    :raises ValueError: the argument is neither; with a sentence.
    """
    return parse_lock(argument) if "/" in argument else LockKey(parse_name(argument), "")


def write_name(name: str, special: str = "%/") -> str:
    """
    Write a name so that it can be read, on any terminal, and be given as an argument again.

    :param special: the characters that mean something else where it is to stand.
    """
    return "".join(c if c.isprintable() and c not in special else quote(c, safe="") for c in name)


def write_lock(resource: str, selector: str) -> str:
    """Write what a lock is on; else as ``write_name``."""
    return f"{write_name(resource)}/{write_name(selector)}"


def parse_count(argument: str) -> int | Literal["all"]:
    """
    Return how many units an argument asks for.

    :raises ValueError: it does not say; with a sentence.
    """
    if argument == "all":
        return "all"
    if re.fullmatch(r"[1-9][0-9]{0,3}", argument) is None:
        raise ValueError("It takes a number of units from 1 on, or all.")
    return int(argument)


def write_any(resource: str, tags: Sequence[str] = (), count: object = 1) -> str:
    """Write which units are asked for, as ``parse_any`` reads it."""
    return f"{write_name(resource, _SPECIAL)}[{','.join(write_name(tag, _SPECIAL) for tag in tags)}]*{count}"
