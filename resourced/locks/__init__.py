"""
Who holds a lock and who waits for it: decided in memory, in one step, and committed before anyone is told.

It imports the modules at the top and the protocols of ``storage``. It knows no SQL and no HTTP, and only the clock that it is given.
It hands out ``LockManager`` for the API, and ``GroupCommitJournal``, which puts its transitions into the store.
"""
