"""
What has happened, and who follows it.

It imports the modules at the top and ``auth``, which says who may see what.
It hands out the feed of events and the streams that go on at the pace of their clients.
"""
