"""
Who holds a lock and who waits for it: decided in memory, in one step, and committed before anyone is told.

It imports the modules at the top and the protocols of ``storage``; it knows no SQL, no HTTP and no clock but the one that it is given.
It hands out ``LockManager`` for the API, and ``Journal``, which puts its transitions into the store.
"""
