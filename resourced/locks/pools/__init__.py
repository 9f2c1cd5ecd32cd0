"""
Which units are kept for and given to requests for several things at once, in one order with requests by name.

It imports the modules at the top only, and knows nothing of tickets, stores or time.
It hands out ``Pools`` and the requests that it decides about.
"""
