"""
The nodes of one store, and which of them owns what: membership, partitions, and how these move.

It imports the modules at the top and the protocols of ``storage``. Nothing of SQL or HTTP is known here.
It hands out the protocol ``Ownership``, with ``Alone``, the cluster of one.
"""
