"""Whether the daemon could start with a configuration: looks at the keys and the store, and changes nothing. Waits for the driver."""

from __future__ import annotations

from typing import NamedTuple

from resourced.auth.key_file import KeyFile
from resourced.auth.keys import Keys
from resourced.config import Config
from resourced.errors import ResourcedError
from resourced.service.guard import is_served
from resourced.service.listen_check import is_in_use
from resourced.storage.sql.dialect import Dialect
from resourced.storage.sql.migration import Schema, look


class Finding(NamedTuple):
    """
    What was found about something.

    :ivar good: whether the daemon can start with it.
    """

    good: bool
    subject: str
    text: str


def check(config: Config, dialect: Dialect) -> list[Finding]:
    """Look at all that a start needs."""
    return [
        _listening(config.listen),
        _keys(config),
        *_store(config, dialect),
    ]


def _listening(listen: str) -> Finding:
    try:
        in_use = is_in_use(listen)
    except OSError as error:
        return Finding(False, "configuration", f"it cannot listen on {listen}: {error.strerror or error}")
    return Finding(
        True, "configuration", f"it would listen on {listen}{', which is in use at this moment' if in_use else ''}"
    )


def _keys(config: Config) -> Finding:
    roles = ("resource_read", "resource_read_lock", "resource_write")
    named = [name.upper() for name in roles if getattr(config, name)]
    try:
        KeyFile(config.keys, Keys(config.resource_read, config.resource_read_lock, config.resource_write)).load()
    except ResourcedError as error:
        return Finding(False, "keys", error.sentence)
    return Finding(True, "keys", ", ".join([*named, *([f"the file {config.keys}"] if config.keys else [])]))


def _store(config: Config, dialect: Dialect) -> list[Finding]:
    name = dialect.describe()
    try:
        schema = look(dialect, config.max_body)
        served = is_served(dialect)
    except ResourcedError as error:
        # Some sentences name the store themselves.
        told = error.sentence if name in error.sentence else f"{name}: {error.sentence}"
        return [Finding(False, "store", told)]
    except (OSError, dialect.error) as error:
        return [Finding(False, "store", f"{name}: {error}")]
    return [
        Finding(True, "store", name),
        Finding(True, "schema", _spelled(schema)),
        Finding(True, "served", "by a daemon at this moment" if served else "by no daemon"),
    ]


def _spelled(schema: Schema) -> str:
    if not schema.version:
        return f"none yet; the first start makes version {schema.known}"
    if schema.version < schema.known:
        return f"version {schema.version}; the first start makes it version {schema.known}"
    return f"version {schema.version}, as this server needs it"
