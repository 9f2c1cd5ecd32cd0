"""
Where the server is and who asks: options over the variables of the environment over a file over the defaults.

Pure but for the reading of the file.
"""

from __future__ import annotations

import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resourced.addresses import base
from resourced.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Settings:
    """
    What a command needs to know of its server.

    :ivar urls: the server, and those that stand by.
    :ivar owner: who asks, for people; empty if nothing was said.
    :ivar warning: something that its user should know; empty if there is nothing.
    """

    urls: tuple[str, ...]
    key: str = field(repr=False)
    owner: str = ""
    warning: str = ""


def load(
    environ: Mapping[str, str], *, urls: tuple[str, ...] = (), key: str = "", owner: str = "", config: str = ""
) -> Settings:
    """
    Put the settings together.

    :param config: the path of the file, which must be there then.
    :raises ConfigurationError: something is missing or wrong.
    """
    path = Path(config) if config else default_path(environ)
    found, warning = _read_file(path, missing_ok=not config)
    urls = urls or tuple(environ.get("RESOURCED_URL", "").split()) or found.get("url") or ("http://localhost:9501",)
    key = key or environ.get("RESOURCED_KEY", "") or found.get("key", "")
    owner = owner or environ.get("RESOURCED_OWNER", "") or found.get("owner", "")
    if not key:
        raise ConfigurationError(f"There is no API key: put it into RESOURCED_KEY, or as key into {path}.")
    # The key itself is nothing for a message.
    if not re.fullmatch("[!-~]+", key):
        raise ConfigurationError("The API key must be printable ASCII without spaces.")
    if len(owner) > 255 or not owner.isprintable():
        raise ConfigurationError("The owner must be at most 255 printable characters.")
    for url in urls:
        try:
            base(url)
        except ValueError:
            raise ConfigurationError(f"{url!r} is no URL of a server, such as https://locks.example:9501.") from None
    return Settings(urls, key, owner, warning)


def default_path(environ: Mapping[str, str]) -> Path:
    """Return where the file is, as the XDG Base Directory Specification has it."""
    base = Path(environ.get("XDG_CONFIG_HOME", ""))
    # What is not absolute is to be ignored.
    if not base.is_absolute():
        base = Path(environ.get("HOME", "/"), ".config")
    return base / "resourced" / "ctl.toml"


def _read_file(path: Path, *, missing_ok: bool) -> tuple[Mapping[str, Any], str]:
    try:
        with path.open("rb") as file:
            found = tomllib.load(file)
            mode = stat.S_IMODE(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        if missing_ok:
            return {}, ""
        raise ConfigurationError(f"There is no file {path}.") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}.") from None
    if unknown := sorted(found.keys() - {"url", "key", "owner"}):
        raise ConfigurationError(f"{path} may have url, key and owner, but not {', '.join(map(repr, unknown))}.")
    url = found.get("url", [])
    found["url"] = (url,) if isinstance(url, str) else tuple(url) if isinstance(url, list) else (url,)
    if not all(isinstance(text, str) for text in (*found["url"], found.get("key", ""), found.get("owner", ""))):
        raise ConfigurationError(f"Each setting in {path} must be a text; url may be a list of texts.")
    exposed = "key" in found and mode & (stat.S_IRGRP | stat.S_IROTH)
    return found, f"{path} has a key in it and can be read by others: chmod 600 it." if exposed else ""
