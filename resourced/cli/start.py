"""Where ``resourcectl`` starts: before anything else is imported, so that Ctrl-C ends it without a word from then on."""

from __future__ import annotations

import signal


def main() -> None:
    """Do what the command line says."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # As long as nothing is held there is nothing to tidy up.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from resourced.cli import app

    app.main()
