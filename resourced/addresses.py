"""Where servers are. Pure."""

from __future__ import annotations

from ipaddress import IPv6Address
from urllib.parse import quote, urlsplit

from hyperlink import EncodedURL, URLParseError


def base(url: str) -> str:
    """
    Return where a server is, in ASCII and without a slash at the end.

    :raises ValueError: this is no such place.
    """
    try:
        parts = urlsplit(url)
        if (
            parts.scheme in {"http", "https"}
            and parts.hostname
            and not (parts.query or parts.fragment or "@" in parts.netloc)
        ):
            port = "" if parts.port is None else f":{parts.port}"
            if "[" not in parts.netloc:
                return EncodedURL.from_text(url).to_uri().to_text().rstrip("/")
            # Its scope is written after a percent sign, which a URL has to write as %25.
            host, percent, scope = parts.hostname.partition("%")
            scope = scope.removeprefix("25")
            if bool(percent) == bool(scope) and parts.netloc.rpartition("]")[2][:1] in {"", ":"}:
                zone = f"%25{scope}" if scope else ""
                return f"{parts.scheme}://[{IPv6Address(host)}{zone}]{port}{quote(parts.path, safe='/%')}".rstrip("/")
    except (ValueError, URLParseError):
        pass
    raise ValueError(f"{url!r} is not the URL of a server, such as http://localhost:9501")
