"""
API keys: to whom each belongs, what that name may do, and the file they are in.

It imports the modules at the top.
It hands out ``Keys`` for the API and for the events, and ``resourced key``.
"""
