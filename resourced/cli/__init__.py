"""``resourcectl``: the locks of a server from the command line."""
