"""What work costs, as a count that does not depend on the machine."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable


def counted(work: Callable[[], object]) -> int:
    """Count the calls of functions, of Python's own too. The collector, which may come at any time and calls what hypothesis gave it, is off."""
    calls: Counter[str] = Counter()
    before, collected = sys.getprofile(), gc.isenabled()
    gc.disable()
    sys.setprofile(lambda _frame, event, _arg: calls.update([event]) if event in {"call", "c_call"} else None)
    try:
        work()
    finally:
        sys.setprofile(before)
        if collected:
            gc.enable()
    return calls.total()
