"""``resourced key``: make a key, and the entry for it in a key file."""

from __future__ import annotations

import argparse
import errno
import fcntl
import getpass
import os
import re
import secrets
import string
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from resourced.auth.key_file import LARGEST, ROLES, entry, parse, text_of
from resourced.auth.keys import digest_of
from resourced.printing import print_out
from resourced.quotas import MAX_LOCKS, MAX_STREAMS, MAX_WAITING, NAMES, RATE

#: What a key is made of, and how long it is: 256 bits. It is no hexadecimal number, so that nobody takes it for its hash.
ALPHABET: Final = string.ascii_letters + string.digits
LENGTH: Final = 43

#: What is said of each quota.
QUOTAS: Final[Mapping[str, str]] = {
    MAX_LOCKS: "how many locks its tickets may hold",
    MAX_WAITING: "how many of its tickets may wait",
    MAX_STREAMS: "how many streams of events it may follow",
    RATE: "how many requests in a second it may send",
}

#: The least that a key of the user's own must have: characters, and different ones among them.
SHORTEST: Final = 32
DIFFERENT: Final = 8


def run(arguments: Sequence[str]) -> None:
    """
    Do what the command line says, without the words ``resourced key``.

    :raises SystemExit: nothing was done; it says why.
    """
    told = _parser().parse_args(arguments)
    key = _own_key() if told.stdin else "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
    new = entry(told.name, told.role, digest_of(key.encode()), told.prefix, _quotas(told), told.priority)
    try:
        parse(new)
    except ValueError as error:
        raise SystemExit(f"resourced key: {error}") from None
    if told.keys:
        try:
            append(told.keys, new)
        except OSError as error:
            raise SystemExit(f"resourced key: {told.keys}: {error.strerror}") from None
        except ValueError as error:
            raise SystemExit(f"resourced key: {told.keys}: {error}") from None
    else:
        # From where it can be sent on into a file; the key must not go with it.
        print_out(new)
    if told.stdin:
        return
    if told.keys:
        print_out(f"{key}\n")
    else:
        sys.stderr.write(f"{key}\n")


def append(path: str, new: str) -> None:
    """
    Put an entry at the end of a key file, which is made if it is not there.

    :raises OSError: that cannot be done.
    :raises ValueError: the file would not be right afterwards. In either case it is what it was.
    """
    is_new = not Path(path).exists()
    with open(path, "a+b", buffering=0) as file:  # noqa: PTH123 - pathlib's has no types for it
        # Two that are made at once both get in.
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        before = text_of(file)
        gap = "\n" if before.endswith("\n") else "\n\n" if before else ""
        parse(before + gap + new)
        size, addition = file.seek(0, os.SEEK_END), (gap + new).encode()
        if size + len(addition) > LARGEST:
            raise ValueError(f"it would be larger than {LARGEST} bytes")
        if is_new:
            # There is no secret in it, and the daemon is somebody else.
            os.fchmod(file.fileno(), 0o644)
        if file.write(addition) != len(addition):
            file.truncate(size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _quotas(told: argparse.Namespace) -> dict[str, float]:
    return {quota: value for quota in NAMES if (value := getattr(told, quota)) is not None}


def _own_key() -> str:
    key = getpass.getpass("Key: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if re.fullmatch(r"[!-~]+", key) is None:
        raise SystemExit("resourced key: a key is printable ASCII without spaces")
    if len(key) < SHORTEST or len(set(key)) < DIFFERENT:
        raise SystemExit(
            f"resourced key: a key has at least {SHORTEST} characters, {DIFFERENT} different ones among them: it could be guessed"
        )
    return key


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="resourced key",
        description="Make a key, and the entry for it in a key file, which holds only its hash. The key is shown this once.",
        epilog="With --keys the key goes to the standard output. Without it the entry does, and the key to the standard error.",
        allow_abbrev=False,
    )
    parser.add_argument("name", help="whose key it is; tickets work for all keys of one name")
    parser.add_argument("--role", required=True, choices=ROLES, help="what it may do; each includes those before it")
    parser.add_argument(
        "--prefix",
        action="append",
        default=[],
        help="what the names of the resources begin with that it may touch, if not all; may be given several times",
    )
    parser.add_argument(
        "--priority",
        metavar="N",
        type=int,
        default=0,
        help="the highest priority that it may ask for, 0 to 9, if not 0",
    )
    for quota, about in QUOTAS.items():
        kind = float if quota == RATE else int
        parser.add_argument(f"--{quota.replace('_', '-')}", metavar="N", type=kind, help=about)
    parser.add_argument("--keys", metavar="FILE", default="", help="append the entry to this file")
    parser.add_argument(
        "--stdin", action="store_true", help="take a key that there is already, from the standard input"
    )
    return parser
