"""What the commands of ``resourced`` print on the standard output."""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import NoReturn


def print_out(text: str) -> None:
    """
    Print a text at once.

    :raises SystemExit: it cannot be written.
    """
    try:
        sys.stdout.write(text)
    except OSError as error:
        _give_up(error)
    finish_output()


def finish_output() -> None:
    """
    Write what is left to be written. The interpreter would do that too, but tell of a failure by a traceback.

    :raises SystemExit: it cannot be written.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        _give_up(error)


def _give_up(error: OSError) -> NoReturn:
    # Whatever is still in the buffer goes nowhere, and fails no more.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno == errno.EPIPE:
        # Nobody reads the pipe any more, as with "| head": that is nothing to talk of.
        sys.exit(128 + signal.SIGPIPE)
    sys.exit(f"resourced: cannot write: {error.strerror}")
