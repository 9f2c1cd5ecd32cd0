"""How connections to a MySQL server are encrypted, and how it is known that they end there."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

import pymysql
from pymysql.constants import CR

from resourced.config import MySQLSettings
from resourced.errors import ConfigurationError


class Way(Enum):
    """What protects what travels between the daemon and its server."""

    LOCAL = "not encrypted, on this machine"
    CLEAR = "not encrypted"
    UNVERIFIED = "encrypted, the server not verified"
    VERIFIED = "encrypted, the server verified"


def is_local(host: str) -> bool:
    """Tell whether nothing leaves this machine on the way to a host, or to a socket whose path begins with ``/``."""
    if host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class ClearPassword:
    """What answers a server that wants the password as it is: nothing, where others could read it."""

    def __init__(self, _connection: Any) -> None:
        """Every method of authentication is made for a connection."""

    def authenticate(self, _packet: Any) -> Any:
        raise pymysql.OperationalError(
            CR.CR_AUTH_PLUGIN_CANNOT_LOAD,
            "The server asks for the password in clear, on a connection that is not encrypted",
        )


class Encryption:
    """
    What ``MYSQL_SSL_MODE`` and its kin ask for.

    Left to itself, ``preferred``, it does not encrypt what stays on this machine: nobody listens there, and commits can take a shorter way.

    :raises ConfigurationError: a file cannot be used, or they contradict each other; the sentence names the variable.
    :ivar context: for every connection that is encrypted; to make one takes 20 ms. Nothing if none is to be.
    :ivar optional: whether a server that offers no encryption is used all the same.
    """

    def __init__(self, settings: MySQLSettings) -> None:
        self._local = is_local(settings.host)
        own = settings.ssl_ca or settings.ssl_cert
        self.optional = settings.ssl_mode in {"disabled", "preferred"}
        self.context: ssl.SSLContext | None = None
        if settings.ssl_key and not settings.ssl_cert:
            raise ConfigurationError("MYSQL_SSL_KEY is the key of a certificate: set MYSQL_SSL_CERT too.")
        if settings.ssl_mode == "disabled" and own:
            raise ConfigurationError("With MYSQL_SSL_MODE=disabled neither MYSQL_SSL_CA nor MYSQL_SSL_CERT has a use.")
        if settings.ssl_mode == "disabled" or (settings.ssl_mode == "preferred" and self._local and not own):
            return
        self.context = _context(settings)

    def options(self, *, encrypted: bool) -> dict[str, Any]:
        """Return what the driver has to be told."""
        if encrypted:
            return {"ssl": self.context}
        if self._local:
            return {"ssl_disabled": True}
        return {"ssl_disabled": True, "auth_plugin_map": _NOT_IN_CLEAR}

    def way(self, *, encrypted: bool) -> Way:
        """Say what protects a connection."""
        if not encrypted:
            return Way.LOCAL if self._local else Way.CLEAR
        verified = self.context is not None and self.context.verify_mode is ssl.CERT_REQUIRED
        return Way.VERIFIED if verified else Way.UNVERIFIED

    def warning(self, way: Way) -> str:
        """Say what is wrong with a way for a password, if anything is."""
        if self._local or way in {Way.LOCAL, Way.VERIFIED}:
            return ""
        if way is Way.CLEAR:
            return (
                "The password for the database travels over a network that is not encrypted, and so does all data. "
                "Set MYSQL_SSL_MODE=verify-identity."
            )
        return (
            "The password for the database travels encrypted, but to a server that has not shown who it is. "
            "Set MYSQL_SSL_MODE=verify-identity, and MYSQL_SSL_CA."
        )


_NOT_IN_CLEAR: Final[Mapping[str, type]] = {"mysql_clear_password": ClearPassword, "dialog": ClearPassword}


def _context(settings: MySQLSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ssl_ca or None)
    except (OSError, ssl.SSLError) as error:
        raise _unusable("MYSQL_SSL_CA", settings.ssl_ca, error) from None
    # A server's own certificates, which it makes when it has no others, are older in style than this would allow.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.check_hostname = settings.ssl_mode == "verify-identity"
    if settings.ssl_mode not in {"verify-ca", "verify-identity"}:
        context.verify_mode = ssl.CERT_NONE
    if settings.ssl_cert:
        try:
            # Without a password: nobody could be asked for one.
            context.load_cert_chain(settings.ssl_cert, settings.ssl_key or None, password=lambda: b"")
        except (OSError, ssl.SSLError, ValueError) as error:
            raise _unusable("MYSQL_SSL_CERT, or its MYSQL_SSL_KEY,", settings.ssl_cert, error) from None
    return context


def _unusable(variable: str, path: str, error: Exception) -> ConfigurationError:
    why = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return ConfigurationError(f"{variable} cannot be used, {path}: {why}")
