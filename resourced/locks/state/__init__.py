"""
Who holds and who waits, in memory: ``table`` decides in one step, and tells the journal what has changed.

It imports the modules at the top, ``indexes``, ``pools`` and the protocol of ``journal``. It knows the time only as an argument or by the clock that
it is given. It hands out ``LockTable`` and the values of requests.
"""
