"""
What the daemon is told: the frozen ``Config`` that is made of the settings.

Pure: the command line's options, the environment and the working directory come in as arguments.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import PurePath
from typing import Any

from resourced.errors import ConfigurationError
from resourced.forwarded import TrustedProxies
from resourced.settings import SETTINGS, Setting, check_names


@dataclass(frozen=True, slots=True)
class SQLiteSettings:
    """An embedded store: one file, by its absolute path."""

    path: str

    def describe(self) -> str:
        """Say for the log which store it is and where."""
        return f"SQLite, file {self.path}"


@dataclass(frozen=True, slots=True)
class MySQLSettings:
    """
    A store in a MySQL or MariaDB server.

    :ivar ssl_mode: a word of MySQL's own clients; what is not said is settled.
    :ivar ssl_ca: an absolute path, as the two others; or empty.
    """

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    ssl_mode: str = "preferred"
    ssl_ca: str = ""
    ssl_cert: str = ""
    ssl_key: str = ""

    def describe(self) -> str:
        """Say for the log which store it is and where, without the password."""
        return f"MySQL, database {self.database} at {self.host}:{self.port} as user {self.user}"


@dataclass(frozen=True, slots=True)
class _Source:
    """Where values come from: an option over a variable over the default."""

    options: Mapping[str, object]
    environ: Mapping[str, str]

    def option(self, setting: Setting) -> str | None:
        """Return what the command line says, if it does."""
        given = self.options.get(setting.option)
        if setting.flag:
            return "1" if given else None
        return None if given is None else str(given)

    def value(self, option: str) -> Any:
        """
        Read a setting.

        :raises ConfigurationError: its text is wrong.
        """
        [setting] = [s for s in SETTINGS if s.option == option]
        given = self.option(setting)
        # The default of MYSQL_PASSWORD is empty too, so an empty variable needs no rule of its own there.
        text = (self.environ.get(setting.variable) or setting.default) if given is None else given
        try:
            return setting.parse(text)
        except ValueError as error:
            name = setting.variable if given is None else f"{setting.variable} (--{setting.option})"
            shown = "" if setting.secret else f", not {json.dumps(text)}"
            raise ConfigurationError(f"{name} must be {error}{shown}.") from None

    def names_mysql(self) -> bool:
        """Whether anything at all was said about MySQL; an empty variable says it too."""
        return any(
            setting.variable in self.environ or self.option(setting) is not None
            for setting in SETTINGS
            if setting.variable.startswith("MYSQL_")
        )

    def _mysql(self, cwd: str) -> MySQLSettings:
        """Settle which server it is, and how it is reached."""
        values = {f.name: self.value(f"mysql-{f.name.replace('_', '-')}") for f in fields(MySQLSettings)}
        for name in ("ssl_ca", "ssl_cert", "ssl_key"):
            if values[name]:
                values[name] = str(PurePath(cwd, values[name]))
        values["ssl_mode"] = values["ssl_mode"] or ("verify-ca" if values["ssl_ca"] else "preferred")
        return MySQLSettings(**values)

    def store(self, cwd: str) -> SQLiteSettings | MySQLSettings:
        """Settle which store it is."""
        choice = self.value("store")
        if choice == "mysql" or (choice == "auto" and self.names_mysql()):
            return self._mysql(cwd)
        if choice == "auto":
            # systemd puts a colon between several directories.
            state = self.environ.get("STATE_DIRECTORY", "").split(":")[0]
            return SQLiteSettings(str(PurePath(cwd, state, "resourced.sqlite")))
        return SQLiteSettings(str(PurePath(cwd, choice.removeprefix("sqlite:"))))


def store_of(choice: str, environ: Mapping[str, str], cwd: str) -> tuple[SQLiteSettings | MySQLSettings, float, int]:
    """
    Return the store of a choice such as that of ``RESOURCED_STORE``, how long it may be silent, in seconds, and the longest body.

    :raises resourced.errors.ConfigurationError: the choice, or a variable, is wrong.
    """
    check_names(environ)
    source = _Source({"store": choice}, environ)
    return source.store(cwd), source.value("store-timeout"), source.value("max-body")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """
    Everything that can be set, checked. What a field means stands in ``SETTINGS``; times are in seconds, sizes in bytes.

    An empty key opens nothing. ``keys`` is an absolute path, or empty.
    """

    listen: str
    store: SQLiteSettings | MySQLSettings
    resource_read: str = field(repr=False)
    resource_read_lock: str = field(repr=False)
    resource_write: str = field(repr=False)
    keys: str
    trusted_proxies: TrustedProxies
    lease: float
    place: float
    claim: float
    max_wait: float
    default_wait: float
    max_body: int
    max_queue: int
    max_waiting: int
    max_locks: int
    max_units: int
    max_peer_connections: int
    max_connections: int
    max_requests: int
    max_buffered: int
    max_pending: int
    max_streams: int
    events_keep: float
    events_max: int
    events_max_bytes: int
    request_deadline: float
    store_timeout: float
    grace: float
    store_wait: bool
    log_format: str
    access_log: str
    standby: bool
    cluster: bool
    advertise: str
    cluster_key: str = field(repr=False)
    node_listen: str
    workers: int
    reference_path: bool
    open_metrics: bool
    restored: str
    volatile_locks: bool

    @classmethod
    def load(cls, options: Mapping[str, object], environ: Mapping[str, str], cwd: str) -> Config:
        """
        Put the configuration together.

        Settings of a store that is not used are not looked at.

        :param options: what the command line says, by long option; what it does not say is missing or ``None``,
            or for a flag false.
        :param cwd: the absolute directory that relative paths start from.
        :raises resourced.errors.ConfigurationError: a value is wrong, a variable has a name that no setting has, or there is no key. No
            secret is in its sentence.
        """
        check_names(environ)
        source = _Source(options, environ)
        values = {f.name: source.value(f.name.replace("_", "-")) for f in fields(cls) if f.name != "store"}
        if values["keys"]:
            values["keys"] = str(PurePath(cwd, values["keys"]))
        config = cls(store=source.store(cwd), **values)
        if not (config.resource_read or config.resource_read_lock or config.resource_write or config.keys):
            raise ConfigurationError(
                "No key is set, so nobody could use the server."
                " Set one or more of RESOURCE_READ, RESOURCE_READ_LOCK and RESOURCE_WRITE to keys of your choice,"
                " or RESOURCED_KEYS to a key file."
            )
        config._check_cluster()
        if config.default_wait > config.max_wait:
            raise ConfigurationError(
                f"RESOURCED_DEFAULT_WAIT ({config.default_wait:g}) must not be more than RESOURCED_MAX_WAIT ({config.max_wait:g})."
            )
        return config

    def _check_cluster(self) -> None:
        if self.workers > 1:
            # Each of them has settings of its own, which are looked at there.
            if not isinstance(self.store, MySQLSettings):
                raise ConfigurationError("RESOURCED_WORKERS needs a store in MySQL or MariaDB, which the nodes share.")
            return
        if not self.cluster:
            return
        if not isinstance(self.store, MySQLSettings):
            raise ConfigurationError("RESOURCED_CLUSTER needs a store in MySQL or MariaDB, which the nodes share.")
        if not self.advertise:
            raise ConfigurationError("RESOURCED_ADVERTISE must say at which URL the other nodes reach this one.")
        if not self.cluster_key:
            raise ConfigurationError("RESOURCED_CLUSTER_KEY must be set, to the same for all nodes.")
        if not self.events_keep:
            raise ConfigurationError(
                "RESOURCED_EVENTS_KEEP must not be 0 with RESOURCED_CLUSTER: nodes know events from the store."
            )
        for name in ("volatile_locks", "restored"):
            if getattr(self, name):
                raise ConfigurationError(f"RESOURCED_{name.upper()} cannot be used with RESOURCED_CLUSTER.")
