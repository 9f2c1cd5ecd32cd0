"""
Redis as a lock server, as its users use it: ``SET key token NX PX``, and a script that deletes the key if the token is right.

Who does not get the lock asks again after a tenth of a second, as the lock of redis-py does: nobody is told, and who is first is
chance.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.drive import Client, Kind, Tally
from bench.process import running
from tests.mariadb import program
from tests.ports import free_port

RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end"
#: Seconds between two tries.
PAUSE = 0.1
RUN = f"lock:{time.time_ns()}"


def command(*words: str) -> bytes:
    parts = [f"*{len(words)}", *(part for word in words for part in (f"${len(word)}", word)), ""]
    return "\r\n".join(parts).encode()


def answer(data: bytes) -> int:
    """Tell how long an answer is: a line, or for a text its length in a line and then the text."""
    end = data.find(b"\r\n") + 2
    if end >= 2 and data.startswith(b"$") and not data.startswith(b"$-1"):
        end += int(data[1 : end - 2]) + 2
    return end if 2 <= end <= len(data) else 0


def locks(tally: Tally, number: int, key: str, *, contended: bool) -> Client:
    digest = (yield command("SCRIPT", "LOAD", RELEASE)).split()[1].decode()
    while True:
        token = secrets.token_hex(16)
        lock = command("SET", key, token, "NX", "PX", "30000")
        while (yield lock) != b"+OK\r\n":
            yield PAUSE
        if contended:
            tally.taken()
            tally.releasing()
        if (yield command("EVALSHA", digest, "1", key, token)) != b":1\r\n":
            raise ValueError("the lock was lost")
        tally.turn(number)


def cycle(tally: Tally, number: int) -> Client:
    return locks(tally, number, f"{RUN}-{number}", contended=False)


def shared(tally: Tally, number: int) -> Client:
    return locks(tally, number, f"{RUN}-shared", contended=True)


KINDS = {"redis-cycle": Kind(cycle, answer), "redis-shared": Kind(shared, answer)}


@contextmanager
def server(folder: Path) -> Iterator[int]:
    """Run a server that has every change on the disk before it answers."""
    port = free_port()
    options = f"--port {port} --bind 127.0.0.1 --save  --appendonly yes --appendfsync always".split(" ")
    with running(program("redis-server"), *options, port=port, folder=folder):
        yield port
