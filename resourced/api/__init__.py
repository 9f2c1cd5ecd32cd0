"""
The routes: a handler authorizes, calls one thing, and shapes the answer.

It imports all packages but ``service``.
It hands out the Klein app and its parts, and the OpenAPI document.
"""
