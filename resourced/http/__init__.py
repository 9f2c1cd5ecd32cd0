"""
The edge below Klein: connections, limits, heads, deadlines, drain, the access log.

It imports the modules at the top. It knows nothing of locks, keys or routes.
It hands out the site that serves a resource tree.
"""
