"""A small daemon that lets many programs share named things over plain HTTP."""
