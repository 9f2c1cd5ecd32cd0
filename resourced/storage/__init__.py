"""
What is kept: resources, data, the rows of locks, events.

It imports the modules at the top; only the modules ``sql_...`` import ``storage.sql`` below it.
It hands out the protocol ``Store`` and what it is in SQL, and the lease within which this daemon is the one writer.
"""
