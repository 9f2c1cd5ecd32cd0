"""What ``resourcectl`` imports, which is most of the time that it takes to begin."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

#: As the installed program does it, and then tells what was imported.
PROGRAM = """
import atexit, json, os, sys
atexit.register(lambda: os.write(2, json.dumps(sorted(sys.modules)).encode()))
from resourced.cli.start import main
main()
"""

#: What takes its time, and what only a command needs that asks a server for something.
HEAVY = {"twisted", "zope", "attr", "cryptography", "OpenSSL", "treq", "asyncio", "ssl"}


def imported(*arguments: str, **environ: str) -> set[str]:
    """Return all modules that were imported by the end of a command, which does what it should."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, check=False, timeout=60)
    assert (done.returncode, bool(done.stdout)) == (0, True), done
    return set(json.loads(done.stderr))


@pytest.mark.parametrize("arguments", ["--help", "--version", "run --help", "locks --help", "completion bash"])
def test_no_reactor(arguments):
    """What only says something needs neither Twisted nor anything else that takes long to import."""
    modules = imported(*arguments.split())
    assert not {name.partition(".")[0] for name in modules} & HEAVY
    assert len(modules) < 220


def test_no_reactor_to_complete():
    """Nor does completion, though it may ask a server."""
    completing = {"_RESOURCECTL_COMPLETE": "bash_complete", "COMP_WORDS": "resourcectl sh", "COMP_CWORD": "1"}
    modules = imported(**completing)
    assert not {name.partition(".")[0] for name in modules} & HEAVY
    assert len(modules) < 260
