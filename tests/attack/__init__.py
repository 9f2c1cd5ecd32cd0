"""
What strangers and tenants may try against a daemon, and what it may cost: memory, rows and processor time, each with a number.

``python -m tests.attack`` runs every attack on the fast path and on the reference path and prints what it has cost.
"""
