"""
The fast path through the edge, for requests whose head is plain and whole.

It imports ``http``. It accepts only what it is sure of, and leaves the rest to the reference path.
It hands out a site like that of ``http``, and the poller that reads many connections in one step of the reactor.
"""
