"""
What is counted, and how Prometheus reads it.

It imports the modules at the top and, to read gauges when somebody asks, whatever has one; nothing imports it but the API and ``tap``.
It hands out the functions that others call when there is something to count, and the text of ``/metrics``.
"""
