"""
How many examples hypothesis makes up, and how it goes about it. ``EXAMPLES=10`` in the environment makes ten times as many.

A run on a build server is the same each time; at a desk it looks for new examples. How long one takes is never an error.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

FACTOR = float(os.environ.get("EXAMPLES", "1"))


def examples(usual: int) -> int:
    """Return how many examples to make up where there are usually so many."""
    return max(1, round(usual * FACTOR))


settings.register_profile(
    "tests",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    max_examples=examples(100),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tests")
