"""
A program of a test, given as text: ``python tests/program.py TEXT``. Warnings are errors in it.

It is as ``python -W error -c TEXT``, but can be forked from a process that has imported the client and the server (``tests/preloaded.py``).
"""

from __future__ import annotations

import sys
import warnings


def main() -> None:
    warnings.simplefilter("error")
    # In the main module, which lives until the interpreter ends.
    exec(compile(sys.argv.pop(1), "<program>", "exec"), vars(sys.modules["__main__"]))


if __name__ == "__main__":
    main()
