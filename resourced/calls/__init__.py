"""
What a server can be asked for, and what its answers mean, no matter what sends the requests.

It imports only what stands beside the packages, and nothing of Twisted. ``resourced.client`` runs it on a reactor,
and ``plain`` without one, for commands that ask and end.
"""
