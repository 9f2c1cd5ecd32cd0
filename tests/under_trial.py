"""
The test modules with the marker ``trial`` under trial: ``python -m tests.under_trial [OPTIONS OF TRIAL]``.

What hypothesis makes up has been tried under pytest, so there are a few examples only.
"""

from __future__ import annotations

import os
import sys

from twisted.scripts import trial

from tests.marked import marked


def main() -> None:
    os.environ.setdefault("EXAMPLES", "0.05")
    import tests.examples  # noqa: F401 - it sets hypothesis up

    sys.argv += marked("trial")
    trial.run()


if __name__ == "__main__":
    main()
