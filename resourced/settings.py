"""
Every setting in one table: its option, its variable, its default and what it may be. Pure.

A new setting is a line here and a field of ``resourced.config.Config``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from resourced.errors import ConfigurationError
from resourced.forwarded import TrustedProxies

DAY: Final = 86400


def _text(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("printable text")
    return value.strip()


def _maybe_text(value: str) -> str:
    return _text(value) if value else ""


def _store(value: str) -> str:
    value = value.strip()
    path = value.removeprefix("sqlite:")
    if value not in {"auto", "mysql"} and (path in {"", value} or not value.isprintable()):
        raise ValueError("auto, mysql or sqlite:PATH")
    return value


def _ssl_mode(value: str) -> str:
    # MySQL's own clients spell it with capitals and underscores.
    mode = value.strip().lower().replace("_", "-")
    if mode not in {"", "disabled", "preferred", "required", "verify-ca", "verify-identity"}:
        raise ValueError("disabled, preferred, required, verify-ca or verify-identity")
    return mode


def _path(value: str) -> str:
    if not value.isprintable() or value != value.strip():
        raise ValueError("a path")
    return value


def _api_key(value: str) -> str:
    # It travels in a header: what is not visible ASCII would not arrive as it left.
    if re.fullmatch(r"[!-~]*", value) is None:
        raise ValueError("printable ASCII without spaces")
    return value


def _url(value: str) -> str:
    if value and re.fullmatch(r"https?://[!-.0-~]+/?", value) is None:
        raise ValueError("an URL such as http://10.0.0.1:9501")
    return value.rstrip("/")


def _password(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        # The driver's own error would carry the password into the log.
        raise ValueError("UTF-8 text") from None
    return value


def _log_format(value: str) -> str:
    value = value.strip()
    if value not in {"text", "json"}:
        raise ValueError("text or json")
    return value


def _access_log(value: str) -> str:
    value = value.strip()
    if value not in {"all", "quiet", "none"}:
        raise ValueError("all, quiet or none")
    return value


def _word(value: str) -> str:
    if re.fullmatch(r"[!-~]{0,64}", value) is None:
        raise ValueError("a word of at most 64 characters of ASCII, such as 1 or a date")
    return value


def _switch(value: str) -> bool:
    match value.strip().lower():
        case "1" | "true" | "yes" | "on":
            return True
        case "0" | "false" | "no" | "off":
            return False
    raise ValueError("1, true, yes or on, or else 0, false, no or off")


def _whole(most: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        # The pattern also keeps out what int() would take: signs, underscores, the digits of other scripts.
        if re.fullmatch(r"[0-9]{1,18}", value.strip()) is None or not 1 <= int(value) <= most:
            raise ValueError(f"a whole number from 1 to {most}")
        return int(value)

    return parse


def _proxies(value: str) -> TrustedProxies:
    try:
        return TrustedProxies.parse(value)
    except ValueError:
        raise ValueError("addresses or networks, or the word unix, with commas between them") from None


def _size(least: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        given = re.fullmatch(r"([0-9]{1,15})([KMG]?)", value.strip())
        size = 0 if given is None else int(given[1]) << 10 * " KMG".index(given[2] or " ")
        if size < least:
            raise ValueError(f"at least {least} bytes, as a number of them, or of K, M or G of 1024 each")
        return size

    return parse


def _seconds(most: int, *, zero: bool = False) -> Callable[[str], float]:
    bounds = f"from 0 to {most}" if zero else f"above 0 and at most {most}"

    def parse(value: str) -> float:
        given = re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,18})?", value.strip()) is not None
        if not given or float(value) > most or (float(value) == 0 and not zero):
            raise ValueError(f"a number of seconds {bounds}")
        return float(value)

    return parse


@dataclass(frozen=True, slots=True)
class Setting:
    """
    One line of the table.

    :ivar option: the long option, without the dashes; ``Config`` has it with underscores.
    :ivar default: what is read if neither the option nor the variable says anything.
    :ivar parse: from the text to the value; its ``ValueError`` says what the text must be.
    :ivar summary: a line for ``--help``.
    :ivar secret: its value is shown to nobody.
    :ivar flag: its option takes no value.
    """

    option: str
    variable: str
    default: str
    parse: Callable[[str], object]
    summary: str
    secret: bool = False
    flag: bool = False

    @property
    def help(self) -> str:
        """The line for ``--help``, with the variable and the default."""
        default = f", default {self.default}" if self.default and not self.flag else ""
        return f"{self.summary} [{self.variable}{default}]"


_IN_PS: Final = "; every user of the machine can see options in ps, so prefer the variable"

# fmt: off
SETTINGS: Final = (
    Setting("listen", "RESOURCED_LISTEN", "tcp:9501", _text, "Where to listen: any Twisted endpoint string"),
    Setting("store", "RESOURCED_STORE", "auto", _store, "auto (MySQL if any MySQL setting is given, else SQLite), mysql or sqlite:PATH"),
    Setting("mysql-host", "MYSQL_HOST", "127.0.0.1", _text, "Host of the MySQL server"),
    Setting("mysql-port", "MYSQL_PORT", "3306", _whole(65535), "Port of the MySQL server"),
    Setting("mysql-database", "MYSQL_DATABASE", "small_swoole_resource", _text, "Name of the MySQL database"),
    Setting("mysql-user", "MYSQL_USER", "root", _text, "User at the MySQL server"),
    Setting("mysql-password", "MYSQL_PASSWORD", "", _password, f"Password of that user{_IN_PS}", secret=True),
    Setting("mysql-ssl-mode", "MYSQL_SSL_MODE", "", _ssl_mode, "disabled, preferred, required, verify-ca or verify-identity. The default is preferred, or with MYSQL_SSL_CA verify-ca"),
    Setting("mysql-ssl-ca", "MYSQL_SSL_CA", "", _path, "File of certificates that the server's may be signed by"),
    Setting("mysql-ssl-cert", "MYSQL_SSL_CERT", "", _path, "File of a certificate to show to the server"),
    Setting("mysql-ssl-key", "MYSQL_SSL_KEY", "", _path, "File of that certificate's key, if it is not in the same one"),
    Setting("resource-read", "RESOURCE_READ", "", _api_key, f"Key that may read{_IN_PS}", secret=True),
    Setting("resource-read-lock", "RESOURCE_READ_LOCK", "", _api_key, f"Key that may read and lock{_IN_PS}", secret=True),
    Setting("resource-write", "RESOURCE_WRITE", "", _api_key, f"Key that may read, lock and write{_IN_PS}", secret=True),
    Setting("keys", "RESOURCED_KEYS", "", _path, "File of further keys, each with a name; see resourced key --help"),
    Setting("trusted-proxies", "RESOURCED_TRUSTED_PROXIES", "", _proxies, "Addresses and networks of trusted proxies, which say who their client is; unix is every client of a Unix socket"),
    Setting("lease", "RESOURCED_LEASE", "300", _seconds(366 * DAY), "Seconds that an unused lock lasts, where its resource does not say"),
    Setting("place", "RESOURCED_PLACE", "60", _seconds(DAY), "Seconds that an unused place in a queue lasts"),
    Setting("claim", "RESOURCED_CLAIM", "30", _seconds(DAY), "Seconds within which a lock that fell to an absent client must be used"),
    Setting("max-wait", "RESOURCED_MAX_WAIT", "50", _seconds(3600), "Most seconds that a request may stay open to wait for a lock"),
    Setting("default-wait", "RESOURCED_DEFAULT_WAIT", "0", _seconds(3600, zero=True), "Seconds that a lock request waits if it does not say; at most RESOURCED_MAX_WAIT"),
    Setting("max-body", "RESOURCED_MAX_BODY", "1048576", _whole(1 << 30), "Most bytes of a request's body"),
    Setting("max-queue", "RESOURCED_MAX_QUEUE", "10000", _whole(1_000_000), "Most tickets that wait at one selector"),
    Setting("max-waiting", "RESOURCED_MAX_WAITING", "100000", _whole(10_000_000), "Most tickets that wait in all"),
    Setting("max-locks", "RESOURCED_MAX_LOCKS", "200000", _whole(10_000_000), "Most locks that are held at once"),
    Setting("max-units", "RESOURCED_MAX_UNITS", "10000", _whole(1_000_000), "Most units that a resource has"),
    Setting("max-peer-connections", "RESOURCED_MAX_PEER_CONNECTIONS", "5000", _whole(1_000_000), "Most connections of one address, or of one /64 network of IPv6, unless it is a trusted proxy's"),
    Setting("max-connections", "RESOURCED_MAX_CONNECTIONS", "10000", _whole(1_000_000), "Most connections at once"),
    Setting("max-requests", "RESOURCED_MAX_REQUESTS", "1000", _whole(1_000_000), "Most requests that are answered at once, without those that wait for a lock"),
    Setting("max-buffered", "RESOURCED_MAX_BUFFERED", "256M", _size(1), "Most bytes of bodies and answers that are in memory at once"),
    Setting("max-pending", "RESOURCED_MAX_PENDING", "1000", _whole(1_000_000), "Most pieces of work that wait for the database"),
    Setting("max-streams", "RESOURCED_MAX_STREAMS", "1000", _whole(1_000_000), "Most clients that follow the events at once"),
    Setting("events-keep", "RESOURCED_EVENTS_KEEP", "604800", _seconds(3660 * DAY, zero=True), "Seconds that events are kept; 0 keeps none"),
    Setting("events-max", "RESOURCED_EVENTS_MAX", "1000000", _whole(1_000_000_000), "Most events that are kept; the oldest are forgotten first"),
    Setting("events-max-bytes", "RESOURCED_EVENTS_MAX_BYTES", "1G", _size(16 << 20), "Most bytes that events take in the database; the oldest are forgotten first"),
    Setting("request-deadline", "RESOURCED_REQUEST_DEADLINE", "30", _seconds(3600), "Seconds within which a request must have arrived whole"),
    Setting("store-timeout", "RESOURCED_STORE_TIMEOUT", "5", _seconds(3600), "Seconds after which an unanswered store counts as unreachable"),
    Setting("grace", "RESOURCED_GRACE", "10", _seconds(3600), "Seconds that a shutdown gives to the requests under way"),
    Setting("store-wait", "RESOURCED_STORE_WAIT", "0", _switch, "If the store cannot be reached at the start, wait for it instead of ending", flag=True),
    Setting("log-format", "RESOURCED_LOG_FORMAT", "text", _log_format, "How the log is written: text, or json for a line of JSON each"),
    Setting("access-log", "RESOURCED_ACCESS_LOG", "quiet", _access_log, "Which requests are in the log: all, none, or quiet for all but /health and /metrics that were answered well"),
    Setting("standby", "RESOURCED_STANDBY", "0", _switch, "If another daemon serves the store, wait until it is gone and take over", flag=True),
    Setting("cluster", "RESOURCED_CLUSTER", "0", _switch, "Serve the store together with other nodes; in MySQL and MariaDB only", flag=True),
    Setting("advertise", "RESOURCED_ADVERTISE", "", _url, "URL at which the other nodes of the cluster reach this one"),
    Setting("cluster-key", "RESOURCED_CLUSTER_KEY", "", _api_key, f"What the nodes of a cluster know each other by, the same for all{_IN_PS}", secret=True),
    Setting("node-listen", "RESOURCED_NODE_LISTEN", "", _maybe_text, "Where to listen for the other nodes of the cluster too: any Twisted endpoint string"),
    Setting("workers", "RESOURCED_WORKERS", "1", _whole(64), "How many nodes of a cluster to run on this machine, behind one port"),
    Setting("reference-path", "RESOURCED_REFERENCE_PATH", "0", _switch, "Go without the fast paths for plain requests, and ask the store for everything: slower", flag=True),
    Setting("open-metrics", "RESOURCED_OPEN_METRICS", "0", _switch, "Let everyone read /metrics, without a key", flag=True),
    Setting("restored", "RESOURCED_RESTORED", "", _word, "For the first start on a database that was restored from a backup: 1, or a word for this time, such as the date"),
    Setting("volatile-locks", "RESOURCED_VOLATILE_LOCKS", "0", _switch, "Keep locks in memory only: faster, and a restart forgets them", flag=True),
)
# fmt: on

#: What only programs beside the daemon know: ``resourcectl``, what it runs, and clients.
_OTHERS: Final = frozenset(
    f"RESOURCED_{name}" for name in ("URL", "KEY", "OWNER", "LOCK", "LOCKS", "TICKET", "FENCE", "DATA")
)
#: What Kubernetes, and Docker with its links, set for every container when a service has the name of the daemon.
_OF_SERVICES: Final = re.compile(
    r"RESOURCED_(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?|NAME|ENV_\w+)"
)


def check_names(environ: Mapping[str, str]) -> None:
    """
    Check that each variable that looks like a setting is one.

    :raises ConfigurationError: one is not; the sentence names it and the setting that it is most like.
    """
    known = {setting.variable for setting in SETTINGS if setting.variable.startswith("RESOURCED_")}
    for name in sorted(environ):
        if name.startswith("RESOURCED_") and name not in known | _OTHERS and not _OF_SERVICES.fullmatch(name):
            words = [variable.removeprefix("RESOURCED_") for variable in known]
            nearest = get_close_matches(name.removeprefix("RESOURCED_"), words, n=1)
            meant = f"did you mean RESOURCED_{nearest[0]}?" if nearest else "resourced --help names all there are."
            raise ConfigurationError(f"{name} is no setting: {meant}")


#: For ``optParameters`` and ``optFlags`` of ``twisted.python.usage.Options``. They have no defaults of their own,
#: so that what was not given can be told from what was.
OPTION_PARAMETERS: Final = tuple((s.option, None, None, s.help) for s in SETTINGS if not s.flag)
OPTION_FLAGS: Final = tuple((s.option, None, s.help) for s in SETTINGS if s.flag)
