"""Where ``resourcectl`` starts: before anything else is imported, so that Ctrl-C ends it without a word from then on."""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Do what the command line says."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # As long as nothing is held there is nothing to tidy up.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _occupy_streams()
    from resourced.cli import app

    app.main()


def _occupy_streams() -> None:
    """Let no connection take the number of a standard stream that is closed: what is printed would be sent to the server."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # The wrong way round, so that to use it fails as before. It takes the lowest number that is free.
            os.open(os.devnull, os.O_RDONLY if number else os.O_WRONLY)
