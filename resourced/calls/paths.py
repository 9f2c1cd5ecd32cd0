"""Where things are on a server: paths and queries. Pure."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from resourced.calls.errors import Rejected
from resourced.model import valid_name


def path(resource: str, *rest: str, end: str = "", **query: object) -> str:
    """
    Put together the path of a resource, or of a selector of it.

    :param rest: the name of the selector.
    :param end: what of it.
    :param query: arguments; those that are None or empty are left out.
    :raises Rejected: a name cannot be one.
    """
    for name in (resource, *rest):
        if why := valid_name(name):
            raise Rejected(f"The name {name!r} {why}.", "bad_name")
    parts = ["/resource", *(quote(name, safe="") for name in (resource, *rest)), *([end] if end else [])]
    return "/".join(parts) + arguments(**query)


def arguments(**query: object) -> str:
    """Put together a query; what is None or empty is left out."""
    words = urlencode({name: value for name, value in query.items() if value not in {None, ""}}, quote_via=quote)
    return f"?{words}" if words else ""
