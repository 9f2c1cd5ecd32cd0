"""
The process: it becomes the leader, starts and stops in order, cleans up behind itself, and tells systemd and the log.

It imports all packages but the API and ``tap``, which puts everything together.
It hands out the service for ``twistd``, and the commands ``resourced check`` and ``resourced move``.
"""
