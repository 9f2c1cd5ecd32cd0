"""
Databases and their connections: MySQL with its relatives, and SQLite.

It imports the modules at the top, and nothing else of ours. No exception of a driver leaves it.
It hands out ``Database`` for coroutines, the dialects, and the schema with its migrations.
"""
