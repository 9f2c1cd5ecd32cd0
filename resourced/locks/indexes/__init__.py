"""
What is looked up in order or by time and takes part in every request: it puts its work off until that is needed.

It imports nothing of ours, and hands out ``SortedIndex``, ``ByAge`` and ``DeadlineTimers``.
"""
