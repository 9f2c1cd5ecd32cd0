"""
etcd as a lock server: a lease for each client, and the lock service of its ``concurrency`` recipe, by the gateway that speaks JSON.
"""

from __future__ import annotations

import base64
import http.client
import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.clients import expect
from bench.drive import Client, Kind, Tally, http_answer
from bench.process import running
from tests.daemon import eventually
from tests.mariadb import program
from tests.ports import free_port

RUN = f"lock-{time.time_ns()}"


def request(path: str, **fields: str) -> bytes:
    body = json.dumps(fields)
    return f"POST /v3/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def said(answer: bytes) -> Any:
    expect(b"200", answer)
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def locks(tally: Tally, number: int, name: str, *, contended: bool) -> Client:
    lease = said((yield request("lease/grant", TTL="60")))["ID"]
    lock = request("lock/lock", name=base64.b64encode(name.encode()).decode(), lease=lease)
    while True:
        key = said((yield lock))["key"]
        if contended:
            tally.taken()
            tally.releasing()
        said((yield request("lock/unlock", key=key)))
        tally.turn(number)


def cycle(tally: Tally, number: int) -> Client:
    return locks(tally, number, f"{RUN}-{number}", contended=False)


def shared(tally: Tally, number: int) -> Client:
    return locks(tally, number, f"{RUN}-shared", contended=True)


KINDS = {"etcd-cycle": Kind(cycle, http_answer), "etcd-shared": Kind(shared, http_answer)}


@contextmanager
def server(folder: Path) -> Iterator[int]:
    """Run a server alone; it has every change on the disk before it answers."""
    port, peers = free_port(), free_port()
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peers}"
    options = [f"--data-dir={folder}/etcd", f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
    options += [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"]
    options += [f"--initial-cluster=default={peer}", "--log-level=error"]
    with running(program("etcd"), *options, port=port, folder=folder):
        eventually(lambda: leads(port), what="etcd has a leader")
        yield port


def leads(port: int) -> bool:
    """Tell whether it does its work: etcd listens before."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=1)) as client, suppress(OSError):
        client.request("GET", "/health")
        return client.getresponse().read() == b'{"health":"true"}'
    return False
