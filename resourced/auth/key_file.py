"""
The key file: keys beside the three variables, each with the name of its owner, read at the start and whenever that is asked for.

It is TOML, a ``[[key]]`` for each, and holds only the plain SHA-256 of a key. To slow a hash down, or to salt it, guards
words that people think of, and that others can think of too. A key here is 256 random bits, made by ``resourced key``, or
a long one that the user had. Nobody guesses one at any speed, and no two are alike, so neither would add anything.

For the same reason a key is found by its digest in a dict, at the same cost however many there are. The time of
that may only tell something about digests. To come nearer to one, a client would have to find keys whose digests begin as that one
does. Even the whole digest, which may be read in the file, leads back to no key.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from math import inf
from typing import IO, Any, Final, TypeGuard

from twisted.logger import Logger

from resourced.auth.keys import DEFAULT, Identity, Keys, Permission
from resourced.errors import ConfigurationError
from resourced.model import valid_name
from resourced.quotas import NAMES, RATE

log = Logger()

ROLES: Final[Mapping[str, Permission]] = {
    "read": Permission.READ,
    "lock": Permission.READ | Permission.LOCK,
    "write": Permission.READ | Permission.LOCK | Permission.WRITE,
}

FIELDS: Final = ("name", "role", "hash", "prefixes", "priority", *NAMES)

#: The highest priority that there is.
HIGHEST: Final = 9

#: The most bytes of a key file: some 7000 keys, which are read within a fraction of a second.
LARGEST: Final = 1 << 20


def entry(
    name: str,
    role: str,
    digest: bytes,
    prefixes: Sequence[str] = (),
    quotas: Mapping[str, float] | None = None,
    priority: int = 0,
) -> str:
    """Write down a key, by its digest, as ``parse`` reads it; whether it is right is for ``parse`` to say."""
    # A string of JSON is one of TOML.
    fields = {
        "name": name,
        "role": role,
        "hash": f"sha256:{digest.hex()}",
        **({"prefixes": prefixes} if prefixes else {}),
        **({"priority": priority} if priority else {}),
        **(quotas or {}),
    }
    return "[[key]]\n" + "".join(
        f"{field} = {json.dumps(value, ensure_ascii=False)}\n" for field, value in fields.items()
    )


def parse(text: str) -> dict[bytes, Identity]:
    """
    Return the keys of a key file, by their digests.

    :raises ValueError: something in it is wrong. It says where and what, as the end of a sentence. It repeats nothing of what
        is written there, because a key, or its hash, may be in the wrong place.
    """
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        place = re.search(r"\(at (?:(line \d+, column \d+)|end of document)\)", str(error))
        where = (place[1] or "its end") if place else "it"
        raise ValueError(f"{where} is not TOML") from None
    entries = document.pop("key", [])
    if document or not isinstance(entries, list):
        raise ValueError("something in it belongs to no [[key]]")
    keys: dict[bytes, Identity] = {}
    taken: dict[str, tuple[tuple[str, float], ...]] = {}
    for where, fields in zip(_places(text, len(entries)), entries, strict=True):
        digest, identity = _key(where, fields if isinstance(fields, dict) else {})
        if digest in keys:
            raise ValueError(f"{where} has the hash of an entry before it")
        if taken.setdefault(identity.name, identity.quotas) != identity.quotas:
            raise ValueError(f"{where} has other quotas than an entry of the same name before it")
        keys[digest] = identity
    return keys


def _places(text: str, count: int) -> list[str]:
    """Say where each of so many entries is: in which line it begins, if that is plain to see."""
    lines = [number for number, line in enumerate(text.split("\n"), 1) if re.match(r"\s*\[\[\s*key\s*\]\]", line)]
    known = len(lines) == count
    return [f"entry {number}{f' (line {lines[number - 1]})' if known else ''}" for number in range(1, count + 1)]


def _key(where: str, fields: Mapping[str, Any]) -> tuple[bytes, Identity]:
    name, role, hashed, prefixes = (fields.get(field) for field in ("name", "role", "hash", "prefixes"))
    if not _is_name(name):
        raise ValueError(f"{where} has no name of 1 to 255 printable characters")
    if not fields.keys() <= set(FIELDS):
        # A slip in the word prefixes would open everything.
        raise ValueError(f"{where} has a field other than {', '.join(FIELDS)}")
    if not isinstance(role, str) or role not in ROLES:
        raise ValueError(f"{where} has no role that is read, lock or write")
    digest = re.fullmatch(r"sha256:([0-9a-fA-F]{64})", hashed) if isinstance(hashed, str) else None
    if digest is None:
        raise ValueError(f"{where} has no hash that is sha256: and 64 hexadecimal digits")
    quotas = tuple((quota, _quota(where, quota, fields[quota])) for quota in NAMES if quota in fields)
    priority = fields.get("priority", 0)
    if type(priority) is not int or not 0 <= priority <= HIGHEST:
        raise ValueError(f"{where} has a priority that is no whole number from 0 to {HIGHEST}")
    if prefixes is None:
        return bytes.fromhex(digest[1]), Identity(name, ROLES[role], (), quotas, priority)
    if not isinstance(prefixes, list) or not prefixes:
        raise ValueError(
            f"{where} has prefixes that are no list with something in it; to let it touch all, leave them out"
        )
    for number, prefix in enumerate(prefixes, 1):
        why = valid_name(prefix) if isinstance(prefix, str) else "is not a string"
        if why and prefix not in (".", ".."):
            raise ValueError(f"{where} has prefixes of which number {number} {why}")
    return bytes.fromhex(digest[1]), Identity(name, ROLES[role], tuple(prefixes), quotas, priority)


def _quota(where: str, quota: str, value: Any) -> float:
    whole = type(value) is int
    if not (whole or (quota == RATE and isinstance(value, float))) or not 0 < value < inf:
        raise ValueError(f"{where} has a {quota} that is no {'number' if quota == RATE else 'whole number'} above 0")
    return float(value) if quota == RATE else int(value)


def _is_name(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and 1 <= len(name) <= 255 and name.isprintable() and name.strip() == name


def text_of(file: IO[bytes]) -> str:
    """
    Return what an open key file says.

    :raises ValueError: it cannot be one; it says why, as the end of a sentence.
    """
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        raise ValueError("it is not an ordinary file")
    text = file.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST} bytes")
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None


class KeyFile:
    """
    Where the daemon has its keys from, beside the variables.

    :param path: of the file; empty if there is none.
    :param keys: whom the keys are given to.
    """

    def __init__(self, path: str, keys: Keys) -> None:
        self._path = path
        self._keys = keys

    def load(self) -> None:
        """
        Read the file, if there is one.

        :raises resourced.errors.ConfigurationError: it cannot be used; the keys are what they were.
        """
        if not self._path:
            return
        try:
            found = parse(self._text())
            self._keys.adopt(found)
        except OSError as error:
            raise self._unusable(error.strerror or "it cannot be read") from None
        except ValueError as error:
            raise self._unusable(str(error)) from None
        if found:
            log.info("The keys in {path} are known: {count}.", path=self._path, count=len(found))
        else:
            # It may have been read while somebody wrote it.
            log.warn("There is no key in {path}. Only the keys of the variables are known.", path=self._path)
        for name, count in Counter(identity.name for identity in found.values()).items():
            if name == DEFAULT:
                log.warn(
                    "An entry of {path} has the name of the keys in the variables, and shares their tickets.",
                    path=self._path,
                )
            elif count > 1:
                log.warn(
                    "{count} entries of {path} have the name {name}, and share their tickets.",
                    count=count,
                    path=self._path,
                    name=name,
                )

    def reload(self) -> None:
        """Read the file again; if that fails, say so and keep the keys."""
        if not self._path:
            log.info("There is no key file to be read again.")
            return
        try:
            self.load()
        except ConfigurationError as error:
            log.error("The keys are what they were. {why}", why=error.sentence)  # noqa: TRY400 - it says all

    def _text(self) -> str:
        # Whatever it is, to open it must not block.
        with open(self._path, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
            text = text_of(file)
            mode = os.fstat(file.fileno()).st_mode
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            log.warn("Others than its owner can write to {path}, and so let themselves in.", path=self._path)
        return text

    def _unusable(self, why: str) -> ConfigurationError:
        return ConfigurationError(f"RESOURCED_KEYS (--keys) cannot be used: {self._path}: {why}.")
