"""
Puts transitions into the store before anyone is told: many in one transaction, and the next ones while it is under way.

It imports the modules at the top and the protocols of ``storage``. What is decided is none of its business.
It hands out the protocol ``Journal`` and ``GroupCommitJournal``.
"""
