"""
The fast path of commits to MySQL: from the reactor's own thread, on one connection, without the pool.

It imports ``storage.sql.dialect`` and ``statement``. All else goes by the pools, and so do commits where there is no such connection.
It hands out the committer for the pool.
"""
