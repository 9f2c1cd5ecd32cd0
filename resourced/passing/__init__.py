"""
From one node to another: requests that another node has to answer, sent on over connections that are kept.

It imports the modules at the top and ``http``. It hands out ``Peers``, which sends, and ``relay``, which brings an answer back. Who has
to answer is for ``cluster`` to say, and for ``api`` to ask.
"""
