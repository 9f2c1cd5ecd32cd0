"""PHP itself in the place of ``tests.phpclient``: it sends what the published client sends, in the ways that PHP has for it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.phpclient import Thrown

SCRIPT: Final = Path(__file__).with_name("client.php")


def require(way: str) -> str:
    """Find PHP; skip the test where it is not, or cannot send requests in a way."""
    php = shutil.which("php")
    if php is None:
        pytest.skip("PHP is not installed; on Debian: apt-get install php-cli php-curl")
    if way == "curl" and b"curl" not in subprocess.run([php, "-m"], check=True, capture_output=True).stdout.split():
        pytest.skip("PHP has no curl; on Debian: apt-get install php-curl")
    return php


class PHPFactory:
    """
    The same as ``tests.phpclient.Factory``; each of its objects is a process of its own, as each request to a website is.

    :param way: how PHP sends requests: ``curl``, which keeps its connection, or ``stream``.
    """

    def __init__(self, way: str, port: int, key: str, address: str = "127.0.0.1") -> None:
        self._command = [require(way), str(SCRIPT), way, f"http://127.0.0.1:{port}", key, address]
        self._processes: list[subprocess.Popen[str]] = []

    def create_resource(self, name: str, timeout: int) -> PHPResource:
        resource = self.get_resource(name)
        resource.call("create", name, timeout)
        return resource

    def get_resource(self, name: str) -> PHPResource:
        process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._processes.append(process)
        resource = PHPResource(process)
        resource.call("object", name)
        return resource

    def close(self) -> None:
        """End all that it has started."""
        for process in self._processes:
            process.communicate(timeout=60)


class PHPResource:
    """The object for one resource."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.ticket = ""

    def get_data(self, selector: str, *, lock: bool) -> Any:
        return self.call("getData", selector, lock)

    def lock_data(self, selector: str) -> bool:
        return bool(self.call("lockData", selector))

    def write_data(self, selector: str, data: Any) -> None:
        self.call("writeData", selector, data)

    def unlock_data(self, selector: str) -> None:
        self.call("unlockData", selector)

    def call(self, what: str, *arguments: Any) -> Any:
        """Have PHP do something; return what came of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([what, arguments]) + "\n")
        self._process.stdin.flush()
        told = json.loads(self._process.stdout.readline())
        self.ticket = told["ticket"]
        if "thrown" in told:
            raise Thrown(told["thrown"])
        return told["returned"]
